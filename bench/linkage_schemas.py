"""Which column is of which kind in the tables that linkage is measured on.

What must not go in here: the tables.
"""

from broker.linkage import Kind, Schema

POPULATION = Schema.of(
    {
        "resident_id": Kind.RESIDENT_ID,
        "name": Kind.PERSON_NAME,
        "sex": Kind.CATEGORY,
        "birth_date": Kind.DATE,
        "address": Kind.ADDRESS,
        "phone": Kind.PHONE,
    }
)
FEBRL = Schema.of(
    {
        "given_name": Kind.GIVEN_NAME,
        "surname": Kind.SURNAME,
        "street_number": Kind.NUMBER,
        "address_1": Kind.TEXT,
        "address_2": Kind.TEXT,
        "suburb": Kind.TEXT,
        "postcode": Kind.NUMBER,
        "state": Kind.CATEGORY,
        "date_of_birth": Kind.DATE,
        "soc_sec_id": Kind.IDENTIFIER,
    }
)
HISTORICAL = Schema.of(
    {
        "first_name": Kind.GIVEN_NAME,
        "surname": Kind.SURNAME,
        "dob": Kind.DATE,
        "birth_place": Kind.TEXT,
        "postcode_fake": Kind.NUMBER,
        "gender": Kind.CATEGORY,
        "occupation": Kind.TEXT,
    }
)
