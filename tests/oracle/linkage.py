"""How alike two values of a field are, in a few lines a kind: the oracle of ext/linkage_compare.c.

Levels are those of ext/linkage_compare.h; values are texts, compared as `normalise` has them, and none of them is counted as
rare (SAME). What must not go in here: packed cells.
"""

from __future__ import annotations

from collections.abc import Callable

from rapidfuzz.distance import OSA, JaroWinkler

from broker._native import normalise
from broker.linkage.schema import Kind

MISSING, DIFFERENT, SAME = 0, 1, 9
UNKNOWN = "?"


def slipped(one: str, other: str) -> bool:
    """One character wrong, or two neighbours swapped, in texts of one length."""
    wrong = [place for place, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]]
    if len(wrong) == 1:
        return True
    return (
        len(wrong) == 2 and wrong[1] == wrong[0] + 1 and one[wrong[0]] == other[wrong[1]] and one[wrong[1]] == other[wrong[0]]
    )


def resident_ids(one: str, other: str) -> int:
    a, b = normalise.resident_id(one), normalise.resident_id(other)
    if not a.text or not b.text:
        return MISSING
    if a.text == b.text:
        return SAME
    if a.standing == b.standing == normalise.VALID:
        return DIFFERENT
    formed = [len(x) == 18 and x[:17].isdigit() and (x[17].isdigit() or x[17] == "X") for x in (a.text, b.text)]
    return 3 if all(formed) and (a.text[:17] == b.text[:17] or slipped(a.text[:17], b.text[:17])) else 2


def dates(one: str, other: str) -> int:
    a, b = (f"{normalise.date(text):08}" if normalise.date(text) else text for text in (one, other))
    if not all(len(text) == 8 and text.isdigit() and int(text) for text in (a, b)):
        return MISSING
    if a == b:
        return SAME
    if a[:4] == b[:4] and a[4:6] == b[6:] and a[6:] == b[4:6]:
        return 6
    if slipped(a, b):
        return 5
    if a[4:] == b[4:]:
        return 4 if abs(int(a[:4]) - int(b[:4])) <= 2 else 3
    return 2 if a[:4] == b[:4] else DIFFERENT


def phones(one: str, other: str) -> int:
    a, b = (normalise.phone(text) for text in (one, other))
    placeholder = normalise.FLAGS["phone"]["placeholder"]
    if (
        min(len(a.digits), len(b.digits)) < 5
        or (a.flags | b.flags) & placeholder
        or 1 in (len(set(a.digits)), len(set(b.digits)))
    ):
        return MISSING
    if a.digits[:16] == b.digits[:16]:
        return SAME
    return 2 if len(a.digits) == len(b.digits) and slipped(a.digits[:16], b.digits[:16]) else DIFFERENT


def _likeness(one: str, other: str) -> int:
    found = JaroWinkler.similarity(one, other)
    return DIFFERENT + sum(found >= step for step in (0.7, 0.8, 0.88, 0.94))


def texts(one: str, other: str) -> int:
    """Of letters of ASCII."""
    a, b = normalise.free_text(one), normalise.free_text(other)
    if not a or not b:
        return MISSING
    if a == b:
        return SAME
    a, b = a[:26], b[:26]
    return 6 if a.startswith(b) or b.startswith(a) else _likeness(a, b)


def codes(one: str, other: str) -> int:
    """Of at most 22 letters and digits of ASCII."""
    a, b = ("".join(filter(str.isalnum, text)).upper() for text in (one, other))
    if not a or not b:
        return MISSING
    if a == b:
        return SAME
    if OSA.distance(a, b) == 1:
        return 3
    return 2 if JaroWinkler.similarity(a, b) >= 0.88 else DIFFERENT


def names(one: str, other: str) -> int:
    """Of at most eight ideographs of the BMP."""
    left, right = normalise.person_name(one), normalise.person_name(other)
    a, b = left.text, right.text
    if not a or not b:
        return MISSING
    if a == b:
        return SAME
    surname = left.surname == right.surname and left.surname > 0 and a[: left.surname] == b[: right.surname]
    if abs(len(a) - len(b)) == 1:
        short, long = sorted((a, b), key=len)
        dropped = any(long[:place] + long[place + 1 :] == short for place in range(1, len(long)))
        return 4 if dropped and len(short) > 1 else 2 if surname else DIFFERENT
    if len(a) != len(b):
        return 2 if surname else DIFFERENT
    return _names_as_long(a, b, surname=surname)


def _names_as_long(a: str, b: str, *, surname: bool) -> int:
    wrong = [place for place in range(len(a)) if a[place] != b[place]]
    likenesses = [_like(a[place], b[place]) for place in wrong]
    if len(wrong) == 2 and wrong[0] > 0 and wrong[1] == wrong[0] + 1 and slipped(a, b):
        return 5
    if None not in likenesses:
        return 6 if "shape" in likenesses else 7
    return 3 if len(wrong) == 1 and len(a) >= 3 else 2 if surname else DIFFERENT


def _like(one: str, other: str) -> str | None:
    if UNKNOWN in (one, other) or normalise.syllable(one) == normalise.syllable(other) != 0:
        return "sound"
    return "shape" if normalise.shape(one) == normalise.shape(other) != 0 else None


LEVELS: dict[Kind, Callable[[str, str], int]] = {
    Kind.RESIDENT_ID: resident_ids,
    Kind.DATE: dates,
    Kind.PHONE: phones,
    Kind.TEXT: texts,
    Kind.IDENTIFIER: codes,
    Kind.NUMBER: codes,
    Kind.PERSON_NAME: names,
}
