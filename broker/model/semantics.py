"""Canonical forms by semantic type: written forms that mean the same become one, and what has no canonical form is refused.

The canonical form is the cache key *and* what the provider is asked, so two spellings that share a key also share a question.
A canonicaliser takes text and returns text, or raises `NotCanonical` with the rule that is broken (never the value).
Canonicalising twice changes nothing. What must not go in here: fuzzy likeness (that is matching) and any list of places,
since identifiers keep the codes of districts that no longer exist.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from stdnum.cn import uscc
from stdnum.exceptions import ValidationError
from stdnum.iso7064 import mod_11_2

from broker.model.catalogue import SemanticType

# What others hold: its greatest length, types whose values stay as they were written, and what no honest text contains: line
# breaks and tabs are part of an address or a remark, other control characters and lone surrogates are damage.
MAX_TEXT_CHARS = 4096
AS_WRITTEN = frozenset({SemanticType.PERSON_NAME, SemanticType.COMPANY_NAME, SemanticType.ADDRESS, SemanticType.TEXT})
DAMAGE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

# Full-width ASCII (U+FF01–FF5E); not NFKC, which would also merge forms that differ in meaning.
_HALF_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_SPACES = {ord(char): 0x20 for char in map(chr, range(0x10000)) if unicodedata.category(char) == "Zs"} | {0x09: 0x20}
_FOLDED = _HALF_WIDTH | _SPACES
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and symbols by category, nothing to the eye
_INVISIBLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
# Dots that are typed for the one between the parts of a transliterated name.
_MIDDLE_DOTS = dict.fromkeys(map(ord, "•‧∙⋅・･●．."), "·")
_DATE = re.compile(r"([0-9]{4})(?:[-/.年]([0-9]{1,2})[-/.月]([0-9]{1,2})日?|([0-9]{2})([0-9]{2}))")
_IDEOGRAPH = r"\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SPACE_BY_IDEOGRAPH = re.compile(rf"(?<=[{_IDEOGRAPH}·]) | (?=[{_IDEOGRAPH}·])")
_BIRTH_YEARS = range(1860, 2200)
_LAST_CENTENARIAN_SERIAL = 996  # serials 996–999 of 15-digit numbers were kept for people born in the 1800s


class NotCanonical(ValueError):
    """The text has no canonical form under its type; the message is the rule."""


def canonical(kind: SemanticType, text: str) -> str:
    """Return the canonical form.

    Raises:
        NotCanonical: the text breaks the rule of its type.
    """
    folded = _fold(text)
    if not folded:
        raise NotCanonical("must not be empty")
    return unicodedata.normalize("NFC", _CANONICAL[kind](folded))


def canonical_forms(text: str) -> set[str]:
    """Return what a subject may be known as in the cache, where nobody says which kind of identifier it is."""
    forms = set()
    for kind in SemanticType:
        with contextlib.suppress(NotCanonical):
            forms.add(canonical(kind, text))
    return forms


def _fold(text: str) -> str:
    """Half width, NFC, single spaces, none at the ends; control and invisible characters are refused, not dropped."""
    if text.isascii() and text.isprintable():  # most identifiers: only their spaces can be wrong
        return " ".join(text.split())
    folded = unicodedata.normalize("NFC", text.translate(_FOLDED))
    folded = re.sub(" +", " ", folded).strip(" ")
    if any(unicodedata.category(char) in _INVISIBLE or char in _BLANKS for char in folded):
        raise NotCanonical("must not contain control or invisible characters")
    return folded


def _person_name(text: str) -> str:
    return _SPACE_BY_IDEOGRAPH.sub("", text.translate(_MIDDLE_DOTS) if _has_ideograph(text) else text)


def _has_ideograph(text: str) -> bool:
    return re.search(f"[{_IDEOGRAPH}]", text) is not None


def _resident_id(text: str) -> str:
    """GB 11643-1999: 17 digits and a check character (ISO 7064 MOD 11-2); 15-digit numbers of 1984 get century and check."""
    digits = text.replace(" ", "").upper()
    if re.fullmatch(r"[0-9]{15}", digits):
        century = "18" if int(digits[12:]) >= _LAST_CENTENARIAN_SERIAL else "19"
        digits = digits[:6] + century + digits[6:]
        digits += mod_11_2.calc_check_digit(digits)
    if not re.fullmatch(r"[0-9]{17}[0-9X]", digits):
        raise NotCanonical("must be a resident id of 18 (or 15) characters")
    if not mod_11_2.is_valid(digits):
        raise NotCanonical("the check character of the resident id is wrong")
    born = _calendar_date(digits[6:10], digits[10:12], digits[12:14], "the birth date in the resident id does not exist")
    if born.year not in _BIRTH_YEARS:
        raise NotCanonical("the birth year in the resident id is not one of people alive since 1984")
    return digits


def _uscc(text: str) -> str:
    """GB 32100-2015: 18 characters with a MOD 31 check character."""
    compact = text.replace(" ", "").replace("-", "").upper()
    if not re.fullmatch(r"[0-9A-HJ-NPQRTUWXY]{18}", compact):
        raise NotCanonical("must be a unified social credit code of 18 characters")
    try:
        return str(uscc.validate(compact))
    except ValidationError as error:
        raise NotCanonical("the check character of the unified social credit code is wrong") from error


def _address(text: str) -> str:
    return _SPACE_BY_IDEOGRAPH.sub("", text)


def _date(text: str) -> str:
    """ISO 8601 calendar date; 2019-01-31, 20190131, 2019/1/31, 2019.1.31 and 2019年1月31日 are read."""
    found = _DATE.fullmatch(text)
    if not found:
        raise NotCanonical("must be a calendar date, YYYY-MM-DD")
    year, month, day = (part for part in found.groups() if part)
    return _calendar_date(year, month, day, "the date does not exist").isoformat()


def _calendar_date(year: str, month: str, day: str, rule: str) -> dt.date:
    try:
        return dt.date(int(year), int(month), int(day))
    except ValueError as error:
        raise NotCanonical(rule) from error


def _licence_no(text: str) -> str:
    return text.replace(" ", "").upper()


def _number(text: str) -> str:
    """A plain decimal: no exponent, no needless zeros, no minus zero."""
    if not re.fullmatch(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?", text):
        raise NotCanonical("must be a decimal number")
    try:
        plain = format(Decimal(text), "f")
    except InvalidOperation as error:  # pragma: no cover - the pattern above leaves none
        raise NotCanonical("must be a decimal number") from error
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain in ("-0", "") else plain


def _phone(text: str) -> str:
    """ITU-T E.164 in national digits: +86, 0086 and signs between the digits go; what is of another country keeps its +."""
    digits = re.sub(r"[-() .]", "", text)
    digits = re.sub(r"\A(\+|00)86(?=[1-9])", "", digits)
    if not re.fullmatch(r"\+?[0-9]{3,17}", digits):
        raise NotCanonical("must be the digits of one telephone number")
    return digits


_CANONICAL: dict[SemanticType, Callable[[str], str]] = {
    SemanticType.PERSON_NAME: _person_name,
    SemanticType.RESIDENT_ID: _resident_id,
    SemanticType.USCC: _uscc,
    SemanticType.ADDRESS: _address,
    SemanticType.DATE: _date,
    SemanticType.LICENCE_NO: _licence_no,
    SemanticType.TEXT: lambda text: text,
    SemanticType.NUMBER: _number,
    SemanticType.PHONE: _phone,
    SemanticType.COMPANY_NAME: _address,  # as written, but for spaces
}
