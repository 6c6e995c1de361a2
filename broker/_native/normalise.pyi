"""Normalisation for matching, one value at a time (ext/normalise.pyx).

The compared form of a text is looser than its canonical form (`model/semantics.py`) and nothing is refused: traditional,
variant and compatibility characters, private-use forms of GB 18030, width, case and accents are folded by tables, and each
kind of value has rules of its own. Callers keep the raw form. Every function is pure; normalising a compared form again gives
that form (an address: up to 256 characters). Of a text the first 512 folded characters are read. Every function raises
`TypeError` for what is no str, and nothing else.

The tables are made offline (tools/normalisation_tables.py) from OpenCC, pypinyin, Unicode and lists of our own; `MADE_FROM`
says which versions. Two forms that canonicalise to one text have one compared form.
"""

from collections.abc import Buffer, Mapping  # type: ignore[attr-defined]
from typing import final

MADE_FROM: str
SYLLABLES: tuple[str, ...]  # readings without tones, ü written v, by number; number 0 is no reading
FLAGS: Mapping[str, Mapping[str, int]]  # bits of `flags` by kind ("person", "company", "phone") and name
FORMS: tuple[str, ...]  # legal forms of companies by number; number 0 is none
PARTS: tuple[str, ...]  # kinds of parts of addresses by number
INVALID: int
REPAIRABLE: int
VALID: int

def fold(text: str) -> str:
    """Fold a text character by character; what every other function begins with."""

def free_text(text: str) -> str:
    """Fold a text that is of no kind below, with single spaces and none at the ends."""

def syllable(character: str) -> int:
    """Return the number of the most common reading of one folded character; 0 where it has none."""

def shape(character: str) -> int:
    """Return the class of characters that one folded character is taken for (己已巳); 0 where it has none."""

@final
class PersonName:
    """A name: small letters, no spaces beside ideographs, no dots, `?` for each character that is not known.

    `readings` has one number a character of `text`; the surname is read as one. `surname` is how many characters that is (0:
    cannot be told), `first_part` how many stood before the first dot (all: none). Of a longer name 64 characters stay.
    """

    @property
    def text(self) -> str: ...
    @property
    def readings(self) -> tuple[int, ...]: ...
    @property
    def surname(self) -> int: ...
    @property
    def first_part(self) -> int: ...
    @property
    def flags(self) -> int: ...

def person_name(text: str) -> PersonName:
    """Normalise the name of a person, in ideographs or in letters."""

@final
class CompanyName:
    """A company's name without spaces and signs (`text`) and its parts.

    `core` is without place, 集团, legal form, branch and brackets, and never empty unless the text is. `form` is a place in
    `FORMS`.
    """

    @property
    def text(self) -> str: ...
    @property
    def core(self) -> str: ...
    @property
    def place(self) -> str: ...
    @property
    def branch(self) -> str: ...
    @property
    def form(self) -> int: ...
    @property
    def flags(self) -> int: ...

def company_name(text: str) -> CompanyName:
    """Normalise the name of a company."""

def date(text: str) -> int:
    """Return a day of the Gregorian calendar as yyyymmdd; 0 where the text is not certainly one.

    What is 0 is compared as `free_text(text)`.
    """

@final
class Identifier:
    """Letters and digits, in capitals. `standing` is INVALID, REPAIRABLE (a resident id one slip away from right) or VALID.

    `organisation` is the nine-character code in the code of a company, and empty for resident ids.
    """

    @property
    def text(self) -> str: ...
    @property
    def organisation(self) -> str: ...
    @property
    def standing(self) -> int: ...

def resident_id(text: str) -> Identifier:
    """Normalise a resident id or residence permit (GB 11643-1999); 15 digits become 18 where that makes a right number."""

def resident_id_repairs(text: str) -> tuple[str, ...]:
    """Return the right numbers that are one slip away from a wrong one: none if it is right or not of the form.

    A slip is one wrong character, two neighbours swapped, or two swapped with one between. Each has a fitting check character
    (ISO 7064 MOD 11-2) and a birth date that exists; at most 18 + 17 + 16, in this order.
    """

def company_code(text: str) -> Identifier:
    """Normalise a unified social credit code (GB 32100-2015) or a code of nine characters (GB 11714-1997).

    O, I, Z and S, which codes of 2015 do not have, are read as 0, 1, 2 and 5 in both.
    """

def licence_no(text: str) -> str:
    """Return letters (capitals), digits and ideographs of the number of a licence."""

@final
class Phone:
    """National digits, or those of another country with its code; the extension apart."""

    @property
    def digits(self) -> str: ...
    @property
    def extension(self) -> str: ...
    @property
    def flags(self) -> int: ...

def phone(text: str) -> Phone:
    """Normalise the first telephone number of a text."""

@final
class Address:
    """An address with figures and one word a unit, and its parts: kind (a place in `PARTS`), text, 64-bit hash of both.

    A part of numbers is only its numbers: building 3, room 501. At most 24 parts are told.
    """

    @property
    def text(self) -> str: ...
    @property
    def parts(self) -> tuple[tuple[int, str, int], ...]: ...

def address(text: str) -> Address:
    """Normalise an address."""

def is_table_file(data: Buffer) -> bool:
    """Whether the bytes are a sound file of tables: magic, format, size, CRC-32C, and every number in it leads to something."""
