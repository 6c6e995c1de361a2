"""What goes wrong when somebody writes down a number, a name or a date: one function an error.

A slip takes what is right and 64 random bits, and gives what is wrong, or None if it cannot happen to this value. It never
gives the right value back. Only a few records in a hundred have one, so slips are plain Python. What must not go in here: how
often an error happens (settings.py), and what needs more than the value, such as another address (observed.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise

from broker.demo.synthetic import name_tables as tables
from broker.demo.synthetic.characters import HOMOPHONES, LOOKALIKES, READINGS, TRADITIONAL

TextSlip = Callable[[str, int], str | None]
DateSlip = Callable[[dt.date, int], dt.date | None]

PLACEHOLDER_BIRTH = dt.date(1900, 1, 1)
_SHARED = {character: private for private, character in tables.PRIVATE_USE.items()}
_MISSING_GLYPHS = "?*＊〓□"
_DOTS = ("•", "‧", "・", "･", "．", ".", "")
_SPACES = (" ", "\u3000")


def _chosen(options: Sequence[int], lot: int) -> tuple[int, int]:
    """Choose one; the rest of the lot is for whoever chooses next."""
    rest, place = divmod(lot, len(options))
    return options[place], rest


def _with(text: str, place: int, character: str) -> str:
    return text[:place] + character + text[place + 1 :]


def _swapped(text: str, place: int) -> str:
    return text[:place] + text[place + 1] + text[place] + text[place + 2 :]


# --- resident ids -------------------------------------------------------------------------------------------------------


def id_digit(number: str, lot: int) -> str:
    """Write one of the first 17 digits wrong; the check character stays, and no longer fits."""
    place, rest = _chosen(range(17), lot)
    return _with(number, place, str((int(number[place]) + 1 + rest % 9) % 10))


def id_transposed(number: str, lot: int) -> str | None:
    """Swap two neighbouring digits, which MOD 11-2 always notices."""
    places = [place for place in range(16) if number[place] != number[place + 1]]
    return _swapped(number, _chosen(places, lot)[0]) if places else None


def id_15(number: str, lot: int) -> str | None:
    """Write it as until 1999: no century, no check character; only of those born in the 1900s."""
    del lot
    return number[:6] + number[8:17] if number[6:8] == "19" else None


def id_lower_x(number: str, lot: int) -> str | None:
    """Write the check character X small."""
    del lot
    return number[:17] + "x" if number[17] == "X" else None


def id_wide_x(number: str, lot: int) -> str | None:
    """Write the check character X in full width, as an input method does."""
    del lot
    return number[:17] + "Ｘ" if number[17] == "X" else None


# --- names --------------------------------------------------------------------------------------------------------------


def _like(name: str, lot: int, likes: Mapping[str, str]) -> str | None:
    places = [place for place, character in enumerate(name) if character in likes]
    if not places:
        return None
    place, rest = _chosen(places, lot)
    others = likes[name[place]]
    return _with(name, place, others[rest % len(others)])


def name_homophone(name: str, lot: int) -> str | None:
    """Write one character as another of the same sound."""
    return _like(name, lot, HOMOPHONES)


def name_lookalike(name: str, lot: int) -> str | None:
    """Write one character as another of nearly the same shape."""
    return _like(name, lot, LOOKALIKES)


def name_traditional(name: str, lot: int) -> str | None:
    """Write the name in traditional characters."""
    del lot
    found = "".join(TRADITIONAL.get(character, character) for character in name)
    return found if found != name else None


def name_transposed(name: str, lot: int) -> str | None:
    """Swap two neighbouring characters after the first."""
    pairs = enumerate(pairwise(name))
    places = [place for place, (one, other) in pairs if place and one != other and "·" not in (one, other)]
    return _swapped(name, _chosen(places, lot)[0]) if places else None


def name_dropped(name: str, lot: int) -> str | None:
    """Leave out one character after the first, of names of three and more."""
    places = [place for place, character in enumerate(name) if place and character != "·"]
    return _with(name, _chosen(places, lot)[0], "") if len(name) > 2 else None


def name_spaced(name: str, lot: int) -> str:
    """Put a space somewhere: before, between or behind; two characters are often spread to the width of three."""
    place, rest = _chosen(range(len(name) + 1), lot)
    return name[:place] + _SPACES[rest % 2] + name[place:]


def name_dot(name: str, lot: int) -> str | None:
    """Write another dot between the parts of a name, or none."""
    return name.replace("·", _DOTS[lot % len(_DOTS)]) if "·" in name else None


def name_pinyin(name: str, lot: int) -> str | None:
    """Write the name in Latin letters (GB/T 28039 and what people make of it)."""
    if not all(character in READINGS for character in name):
        return None
    double = 2 if len(name) > 2 and name[:2] in _DOUBLE else 1
    surname, given = ("".join(READINGS[character] for character in part) for part in (name[:double], name[double:]))
    forms = (
        f"{surname} {given}".upper(),
        f"{surname.title()} {given.title()}",
        f"{given.title()} {surname.title()}",
        f"{surname}{given}",
    )
    return forms[lot % len(forms)]


def name_rare(name: str, lot: int) -> str | None:
    """Write a rare character as a system does that has none: by its other code, or by a sign for whatever is missing."""
    places = [place for place, character in enumerate(name) if character in tables.RARE]
    if not places:
        return None
    place, rest = _chosen(places, lot)
    forms = [*_MISSING_GLYPHS, *filter(None, (tables.PRIVATE_USE.get(name[place]), _SHARED.get(name[place])))]
    return _with(name, place, forms[-1 - rest % len(forms)])


_DOUBLE = frozenset(("欧阳", "上官", "司马", "诸葛", "尉迟", "皇甫", *tables.MORE_DOUBLE_SURNAMES.split()))


# --- birth dates --------------------------------------------------------------------------------------------------------


def birth_swapped(birth: dt.date, lot: int) -> dt.date | None:
    """Swap day and month."""
    del lot
    return birth.replace(month=birth.day, day=birth.month) if birth.day <= 12 and birth.day != birth.month else None


def birth_year(birth: dt.date, lot: int) -> dt.date:
    """Be one year off, as by the Chinese count of ages, or two; 29 February becomes the 28th."""
    year = birth.year + (-1, 1, -1, 1, -2, 2)[lot % 6]
    return birth.replace(year=year, day=28 if (birth.month, birth.day) == (2, 29) else birth.day)


def birth_digit(birth: dt.date, lot: int) -> dt.date | None:
    """Write one of the eight digits wrong, so that it is still a date of 1900 or later."""
    text = f"{birth.year}{birth.month:02}{birth.day:02}"
    for shift in range(24):  # a few digits have no other that makes a date
        place, rest = _chosen(range(2, 8), lot + shift)
        digits = _with(text, place, str((int(text[place]) + 1 + (rest + shift) % 9) % 10))
        with suppress(ValueError):
            return dt.date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    return None


def birth_placeholder(birth: dt.date, lot: int) -> dt.date | None:
    """Put the date that stands for an unknown one."""
    del lot
    return PLACEHOLDER_BIRTH if birth != PLACEHOLDER_BIRTH else None


# --- codes of legal persons ---------------------------------------------------------------------------------------------


def code_digit(code: str, lot: int) -> str:
    """Write one of the digits of the organisation code wrong; both check characters stay."""
    place, rest = _chosen(range(8, 16), lot)
    return _with(code, place, str((int(code[place]) + 1 + rest % 9) % 10))


def code_transposed(code: str, lot: int) -> str | None:
    """Swap two neighbouring digits of the organisation code."""
    places = [place for place in range(8, 15) if code[place] != code[place + 1]]
    return _swapped(code, _chosen(places, lot)[0]) if places else None


def code_lower(code: str, lot: int) -> str | None:
    """Write its letters small."""
    del lot
    return code.lower() if code.lower() != code else None


def code_organisation(code: str, lot: int) -> str:
    """Write the organisation code of before 2015, which is in it (GB 11714): eight digits, mostly a hyphen, the check."""
    return code[8:16] + ("-" if lot % 4 else "") + code[16]


ID_SLIPS: dict[str, TextSlip] = {slip.__name__: slip for slip in (id_digit, id_transposed, id_15, id_lower_x, id_wide_x)}
NAME_SLIPS: dict[str, TextSlip] = {
    slip.__name__: slip
    for slip in (
        name_homophone,
        name_lookalike,
        name_traditional,
        name_transposed,
        name_dropped,
        name_spaced,
        name_dot,
        name_pinyin,
        name_rare,
    )
}
BIRTH_SLIPS: dict[str, DateSlip] = {slip.__name__: slip for slip in (birth_swapped, birth_year, birth_digit, birth_placeholder)}
CODE_SLIPS: dict[str, TextSlip] = {slip.__name__: slip for slip in (code_digit, code_transposed, code_lower, code_organisation)}
