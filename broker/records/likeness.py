"""How alike two written values are, by what they mean: the same, as near as slips and variants make them, or different. Pure.

Both are normalised first (`broker._native.normalise`), so width, case, spaces, dots, traditional and variant forms do not
count. A name is near another where every character that differs is one that it is heard, seen or copied as: an edit distance
would call 张伟 and 张明 near. Identifiers are never near: "almost" would let them be found out digit by digit. What must not
go in here: records, and verdicts over several fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from broker._native import normalise
from broker._native.matching import METRICS, compare
from broker.model.catalogue import SemanticType
from broker.model.semantics import NotCanonical, canonical

SAME, DIFFERENT = 1.0, 0.0

_UNKNOWN = "?"
_UNREADABLE = normalise.FLAGS["person"]["unknown"]
_HEARD, _SEEN, _NOT_READABLE = 0.9, 0.9, 0.8  # a character that is another one's homophone, looks like it, was not readable
_SWAPPED = 0.9  # two neighbours
_LEAST_NAME, _LEAST_TEXT, _LEAST_ADDRESS = 0.92, 0.92, 0.5
_LONGEST_TEXT = 256  # code points that are compared by what they mean
_LONGEST = {SemanticType.PERSON_NAME: 60}
_LONGEST_BY_CHARACTER = 4  # longer names are transliterated: their characters are slips of the ear, several at once
_JARO_WINKLER = METRICS["jaro_winkler"]
_DATE_SLIP, _DATE_SWAP = 0.875, 0.9  # one of eight digits; day and month, or two neighbours
_LEFT_OUT = 0.95  # of a company's name: place or legal form
_MOST_PARTS = 24  # of an address are told; what comes behind them may differ
_NUMBERS = {"number", "building", "unit", "floor", "room", "group", "lane"}  # parts of an address that are the same or not

Likeness = Callable[[str, str], float]


def is_readable(kind: SemanticType, text: str) -> bool:
    """Whether a value stands for itself alone: with signs for characters that are not known, a name stands for many."""
    return kind is not SemanticType.PERSON_NAME or not normalise.person_name(text).flags & _UNREADABLE


def likeness(kind: SemanticType, one: str, other: str) -> float:
    """Return 1 where two values mean the same, 0 where they differ, and between them how near they are."""
    if max(len(one), len(other)) > _LONGEST.get(kind, _LONGEST_TEXT):
        return SAME if _written(one) == _written(other) else DIFFERENT  # of such a one only the beginning is normalised
    return _LIKENESS[kind](one, other)


def _written(text: str) -> str:
    return " ".join(text.split())


def _same(one: str, other: str, raw_one: str, raw_other: str) -> bool:
    """Whether two forms are the same; where one says nothing (signs only), what was written has to be."""
    return one == other if one and other else _written(raw_one) == _written(raw_other) != ""


def _name(one: str, other: str) -> float:
    a, b = normalise.person_name(one), normalise.person_name(other)
    if not a.text or not b.text:
        return SAME if _same(a.text, b.text, one, other) else DIFFERENT
    if a.text == b.text:
        return DIFFERENT if set(a.text) == {_UNKNOWN} else _NOT_READABLE if _UNKNOWN in a.text else SAME
    if len(a.text) == len(b.text) <= _LONGEST_BY_CHARACTER:
        return _by_character(a, b)
    return _at_least(_LEAST_NAME, compare(a.text, b.text, _JARO_WINKLER))


def _by_character(a: normalise.PersonName, b: normalise.PersonName) -> float:
    """Compare short names character by character; one of them at least must be the same."""
    if _is_swap(a.text, b.text):
        return _SWAPPED
    pairs = zip(a.text, b.text, a.readings, b.readings, strict=True)
    scores = [_character(*pair) for pair in pairs]
    return sum(scores) / len(scores) if DIFFERENT not in scores and SAME in scores else DIFFERENT


def _character(one: str, other: str, reading: int, other_reading: int) -> float:
    if one == other != _UNKNOWN:
        return SAME
    if _UNKNOWN in (one, other):
        return _NOT_READABLE
    if reading and reading == other_reading:
        return _HEARD
    return _SEEN if normalise.shape(one) and normalise.shape(one) == normalise.shape(other) else DIFFERENT


def _is_swap(one: str, other: str) -> bool:
    """Whether two neighbours have changed places, and nothing else."""
    differing = [at for at, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]]
    if len(differing) != 2 or differing[1] != differing[0] + 1:
        return False
    first, second = differing
    return one[first] == other[second] and one[second] == other[first]


def _date(one: str, other: str) -> float:
    a, b = f"{normalise.date(one):08}", f"{normalise.date(other):08}"
    if not int(a) or not int(b):
        return SAME if _same(normalise.free_text(one), normalise.free_text(other), one, other) else DIFFERENT
    if a == b:
        return SAME
    if a[:4] == b[:4] and a[4:6] == b[6:] and a[6:] == b[4:6]:
        return _DATE_SWAP
    if _is_swap(a, b):
        return _DATE_SWAP
    return _DATE_SLIP if sum(x != y for x, y in zip(a, b, strict=True)) == 1 else DIFFERENT


def _address(one: str, other: str) -> float:
    """Compare part by part; what one of the two leaves out does not speak against it, a number that differs does."""
    a, b = normalise.address(one), normalise.address(other)
    if _same(a.text, b.text, one, other):
        return SAME
    first, second = _parts(a), _parts(b)
    if first == second and 0 < len(a.parts) < _MOST_PARTS:
        return SAME
    for kind in first.keys() & second.keys():
        if kind in _NUMBERS and first[kind] != second[kind]:
            return DIFFERENT
    shared = sum((first[kind] & second[kind]).total() for kind in first.keys() & second.keys())
    every = sum((first.get(kind, Counter()) | second.get(kind, Counter())).total() for kind in first.keys() | second.keys())
    return _at_least(_LEAST_ADDRESS, shared / every) if every else DIFFERENT


def _parts(address: normalise.Address) -> Mapping[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for kind, text, _ in address.parts:
        found.setdefault(normalise.PARTS[kind], Counter())[text] += 1
    return found


def _company(one: str, other: str) -> float:
    """Compare what a company is called: its legal form and place may be left out, a branch is not its parent."""
    a, b = normalise.company_name(one), normalise.company_name(other)
    if _same(a.text, b.text, one, other) or (a.core and _every_part(a) == _every_part(b)):
        return SAME
    if not a.core or a.branch != b.branch or _differ(a.form, b.form) or _differ(a.place, b.place):
        return DIFFERENT
    return _LEFT_OUT if a.core == b.core else _at_least(_LEAST_TEXT, _LEFT_OUT * compare(a.core, b.core, _JARO_WINKLER))


def _every_part(name: normalise.CompanyName) -> tuple[str | int, ...]:
    return name.core, name.place, name.branch, name.form, name.flags


def _differ(one: str | int, other: str | int) -> bool:
    """Whether two parts are both there and not the same."""
    return bool(one and other and one != other)


def _phone(one: str, other: str) -> float:
    """Compare digits, and extensions where both have one."""
    a, b = normalise.phone(one), normalise.phone(other)
    if _differ(a.extension, b.extension):
        return DIFFERENT
    return SAME if _same(a.digits, b.digits, one, other) else DIFFERENT


def _text(one: str, other: str) -> float:
    a, b = normalise.free_text(one), normalise.free_text(other)
    if _same(a, b, one, other):
        return SAME
    return _at_least(_LEAST_TEXT, compare(a, b, _JARO_WINKLER)) if a and b else DIFFERENT


def _at_least(least: float, score: float) -> float:
    """A score that says something, short of saying the same: two that differ are never the same."""
    return min(score, 0.999) if score >= least else DIFFERENT


def _exact(form: Callable[[str], str]) -> Likeness:
    return lambda one, other: SAME if _same(form(one), form(other), one, other) else DIFFERENT


def _canonical(kind: SemanticType, text: str) -> str:
    try:
        return canonical(kind, text)
    except NotCanonical:
        return ""


_LIKENESS: Mapping[SemanticType, Likeness] = {
    SemanticType.PERSON_NAME: _name,
    SemanticType.RESIDENT_ID: _exact(lambda text: normalise.resident_id(text).text),
    SemanticType.USCC: _exact(lambda text: normalise.company_code(text).text),
    SemanticType.LICENCE_NO: _exact(lambda text: _canonical(SemanticType.LICENCE_NO, text)),  # 1-23 is not 12-3
    SemanticType.ADDRESS: _address,
    SemanticType.DATE: _date,
    SemanticType.NUMBER: _exact(lambda text: _canonical(SemanticType.NUMBER, text)),
    SemanticType.TEXT: _text,
    SemanticType.PHONE: _phone,
    SemanticType.COMPANY_NAME: _company,
}
