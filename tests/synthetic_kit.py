"""Small synthetic populations for tests, as rows; and what the errors of a record look like from outside.

`shows` judges a wrong value by its right one without the code that made it wrong, so that a slip that slips is found.
"""

from __future__ import annotations

import datetime as dt
import functools
import unicodedata
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from rapidfuzz.distance import DamerauLevenshtein, Hamming, Levenshtein

from broker.demo.synthetic import Register, Settings, generate

Row = dict[str, Any]
DOTS = "•‧・･．."


@functools.lru_cache(maxsize=4)
def tables(settings_key: tuple[tuple[str, Any], ...]) -> dict[Register, pa.Table]:
    settings = Settings(**dict(settings_key))
    return {register: pa.Table.from_batches(generate(settings, register)) for register in Register}


def population(**settings: Any) -> dict[Register, pa.Table]:
    """Make a population, once for the same settings (which have to be hashable)."""
    return tables(tuple(sorted(settings.items())))


def rows(table: pa.Table) -> list[Row]:
    return list(table.to_pylist())


def _one_digit_of_17(right: str, wrong: str) -> bool:
    return Hamming.distance(right, wrong) == 1 and right[17] == wrong[17] and wrong.isascii()


def _neighbours_swapped(right: str, wrong: str) -> bool:
    return sorted(right) == sorted(wrong) and right != wrong and DamerauLevenshtein.distance(right, wrong) == 1


def _one_replaced(right: str, wrong: str) -> bool:
    return len(right) == len(wrong) and Hamming.distance(right, wrong) == 1


def _digits(date: dt.date) -> str:
    return f"{date:%Y%m%d}"


def _without_spaces(text: str) -> str:
    return "".join(char for char in text if unicodedata.category(char) != "Zs")


def _without_dots(text: str) -> str:
    return "".join(char for char in text if char not in DOTS and char != "·")


# What an error must look like, given the right value and the wrong one.
SHOWS: dict[str, Callable[[Any, Any], bool]] = {
    "id_digit": _one_digit_of_17,
    "id_transposed": lambda right, wrong: _neighbours_swapped(right, wrong) and right[17] == wrong[17],
    "id_15": lambda right, wrong: wrong == right[:6] + right[8:17] and right[6:8] == "19",
    "id_lower_x": lambda right, wrong: right.endswith("X") and wrong == right.lower(),
    "id_wide_x": lambda right, wrong: wrong != right and unicodedata.normalize("NFKC", wrong) == right and wrong[-1] == "Ｘ",
    "id_missing": lambda right, wrong: wrong is None,
    "name_homophone": _one_replaced,
    "name_lookalike": _one_replaced,
    "name_traditional": lambda right, wrong: len(right) == len(wrong) and right != wrong,
    "name_transposed": lambda right, wrong: _neighbours_swapped(right, wrong) and right[0] == wrong[0],
    "name_dropped": lambda right, wrong: len(wrong) == len(right) - 1 and Levenshtein.distance(right, wrong) == 1,
    "name_spaced": lambda right, wrong: wrong != right and _without_spaces(wrong) == right,
    "name_dot": lambda right, wrong: "·" in right and wrong != right and _without_dots(wrong) == _without_dots(right),
    "name_pinyin": lambda right, wrong: wrong.isascii() and wrong.replace(" ", "").isalpha() and not right.isascii(),
    "name_rare": _one_replaced,
    "birth_swapped": lambda right, wrong: (
        (wrong.year, wrong.month, wrong.day)
        == (right.year, right.day, right.month)
        != (
            right.year,
            right.month,
            right.day,
        )
    ),
    "birth_year": lambda right, wrong: 1 <= abs(right.year - wrong.year) <= 2 and right.month == wrong.month,
    "birth_digit": lambda right, wrong: Hamming.distance(_digits(right), _digits(wrong)) == 1,
    "birth_placeholder": lambda right, wrong: wrong == dt.date(1900, 1, 1) != right,
    "moved": lambda right, wrong: right != wrong and "室" in wrong + "室" and wrong[:3] == right[:3],
    "address_written": lambda right, wrong: right != wrong,
    "phone_changed": lambda right, wrong: right != wrong and wrong is not None,
    "phone_missing": lambda right, wrong: right is not None and wrong is None,
}
