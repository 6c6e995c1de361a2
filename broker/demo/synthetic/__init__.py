"""A synthetic Chinese population of any size: a base register, what other departments hold of its people, and the truth.

The city of the demonstration (`broker.demo.population`) is made row by row and is whole: marriages, flats, licences. This is
for linking, which is only tried by millions of people and by what goes wrong among them, so it is made by the column, block by
block, and streamed.

    settings = Settings(people=1_000_000, seed=7)
    for batch in generate(settings, Register.POPULATION): ...

* **population**: one row a person: person_no (truth, to be hidden from what is tested), resident_id, name, sex, birth_date,
  ethnicity, address, phone, household_no, status (VALID, CANCELLED, DECEASED).
* **observed**: one row a record of another department: record_no, source, resident_id, name, sex, birth_date, address, phone.
* **truth**: record_no, person_no, case (`CASES`) and errors (all of them, joined by +). Whoever has an absent case is in no
  population of this seed, of any size.

Legal persons come the same way from `LegalSettings`, `legal_generate` and `legal_blocks`: companies (company_no, uscc, name,
address, representative, established_on, status), companies_observed and companies_truth.

No value is anybody's, by the rules of `broker.demo.people`. Two things to know before measuring with it: rows stand in random
order within a block of about 60,000 only (a district's people are together, as in a register), so look-ups that are to miss
the processor's caches must be shuffled; and numbers of phones repeat beyond 45 million people.

What must not go in here: anything but the public names.
"""

from broker.demo.synthetic.legal import LEGAL_ABSENT, LEGAL_ERRORS, LEGAL_RATES, LegalSettings
from broker.demo.synthetic.legal_observed import LEGAL_SCHEMAS, LegalRegister, legal_blocks, legal_generate
from broker.demo.synthetic.registers import SCHEMAS, Register, blocks, generate
from broker.demo.synthetic.settings import ABSENT, CASES, ERRORS, RATES, Settings

__all__ = [
    "ABSENT",
    "CASES",
    "ERRORS",
    "LEGAL_ABSENT",
    "LEGAL_ERRORS",
    "LEGAL_RATES",
    "LEGAL_SCHEMAS",
    "RATES",
    "SCHEMAS",
    "LegalRegister",
    "LegalSettings",
    "Register",
    "Settings",
    "blocks",
    "generate",
    "legal_blocks",
    "legal_generate",
]
