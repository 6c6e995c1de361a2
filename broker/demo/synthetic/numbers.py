"""Resident ids, phone numbers, household numbers and the numbers of the truth, by the column.

A resident id is nobody else's however many blocks there are, without remembering any: a block has serial numbers of its own in
every division its people were born in. In the eight divisions of a city (64 blocks) each of the division's own eight blocks has
40 pairs of serials a day and each of the other 56 has 3; besides, every block has one county far away that its people came
from, with 60 pairs. What must not go in here: who was born where and when.
"""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from broker.demo.people import ID_CHECKS, ID_WEIGHTS
from broker.demo.synthetic.draws import Codes, Ints, ordered
from broker.demo.synthetic.households import PLACEHOLDER_BIRTH, TODAY
from broker.demo.synthetic.places import DISTRICTS, division

Bytes = NDArray[np.uint8]

BLOCKS_OF_DISTRICT = 8
BLOCKS_OF_CITY = BLOCKS_OF_DISTRICT * DISTRICTS
ELSEWHERE = DISTRICTS  # the index, after those of the districts, of the far county of a block
_HOME_PAIRS, _OTHER_PAIRS, _FAR_PAIRS = 40, 3, 60
_FIRST_OTHER = 1 + BLOCKS_OF_DISTRICT * _HOME_PAIRS  # pair 0 is left out: no number ends in 000
_FAR_COUNTIES = 792  # 99 91 01 … 99 98 99
_PHONE_PREFIX = "154"  # which no operator was given
_PHONES = 100_000_000
_PHONES_OF_BLOCK = 1 << 17
_PHONE_STEP = 61_803_399  # has no divisor in common with the numbers there are, so that no number comes twice
NO_PHONE = -1
PLACEHOLDER_PHONES = ("13800000000", "11111111111", "13000000000", "12345678901")
_FIRST_PLACEHOLDER = -10


def digits(values: Codes, width: int) -> Bytes:
    """Write whole numbers in decimal, rows x width of ASCII."""
    fours = -(-width // 4)
    found = np.empty((len(values), fours), dtype=np.uint32)
    rest = values
    for column in range(fours - 1, -1, -1):
        rest, low = np.divmod(rest, 10_000)
        found[:, column] = _four_digits()[low]
    return found.view(np.uint8)[:, fours * 4 - width :]


@functools.cache
def _four_digits() -> NDArray[np.uint32]:
    """Give four ASCII digits of every number below 10,000, in the place of one number of four bytes."""
    return np.frombuffer("".join(f"{number:04d}" for number in range(10_000)).encode(), dtype=np.uint32)


def text(columns: Bytes) -> pa.Array:
    """Take rows of ASCII, all of one width, as strings."""
    count, width = columns.shape
    offsets = np.arange(count + 1, dtype=np.int32) * width
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(columns)))


@functools.cache
def _days() -> Bytes:
    """Give YYYYMMDD of every day from 1900-01-01 on."""
    days = np.arange(PLACEHOLDER_BIRTH, TODAY + 1).astype("datetime64[D]")
    months, years = days.astype("datetime64[M]"), days.astype("datetime64[Y]")
    numbers = [(years.astype(np.int64) + 1970) * 10_000, (months - years.astype("datetime64[M]")).astype(np.int64) * 100 + 100]
    return digits(sum(numbers) + (days - months.astype("datetime64[D]")).astype(np.int64) + 1, 8)


def divisions_of(block: int) -> list[str]:
    """Give the codes where people of a block were born: the districts of their city, then a county far away."""
    city, far = block // BLOCKS_OF_CITY, block % _FAR_COUNTIES
    return [*(division(city, district) for district in range(DISTRICTS)), f"99{91 + far // 99:02d}{1 + far % 99:02d}"]


def district_of(block: int) -> int:
    """Give the district, in its city, where the people of a block live."""
    return block % BLOCKS_OF_CITY // BLOCKS_OF_DISTRICT


def _windows(block: int) -> tuple[Ints, Ints]:
    """Give the first pair of serials that a block has in each of its divisions, and how many."""
    home, own = district_of(block), block % BLOCKS_OF_CITY
    firsts = np.zeros(DISTRICTS + 1, dtype=np.int64)
    sizes = np.full(DISTRICTS + 1, _OTHER_PAIRS, dtype=np.int64)
    for district in range(DISTRICTS):
        rank = own - BLOCKS_OF_DISTRICT * (district < home)  # among the blocks of other districts
        firsts[district] = _FIRST_OTHER + rank * _OTHER_PAIRS
    firsts[home], sizes[home] = 1 + own % BLOCKS_OF_DISTRICT * _HOME_PAIRS, _HOME_PAIRS
    firsts[ELSEWHERE], sizes[ELSEWHERE] = 1 + block // _FAR_COUNTIES * _FAR_PAIRS, _FAR_PAIRS
    return firsts, sizes


def _ranks(cells: Ints) -> Ints:
    """Number the entries of each cell from 0, in their order."""
    order = ordered(cells)
    runs = cells[order]
    fresh = np.flatnonzero(np.concatenate([[True], runs[1:] != runs[:-1]]))
    ranks = np.empty(len(cells), dtype=np.int64)
    ranks[order] = np.arange(len(cells)) - np.repeat(fresh, np.diff(np.append(fresh, len(cells))))
    return ranks


def _cells(born: Codes, birth: Ints, sex: Codes) -> Ints:
    return (born.astype(np.int64) * 65_536 + birth - PLACEHOLDER_BIRTH) * 2 + sex


def resident_ids(block: int, born: Codes, birth: Ints, sex: Codes) -> Bytes:
    """Number people after GB 11643: division, birth date, serial (odd for men), ISO 7064 MOD 11-2; rows x 18 of ASCII.

    Where more were born in one place on one day than there are serials, the rest are numbered in the district they live in.

    Raises:
        OverflowError: there are more of one birth date and sex than a block has numbers for.
    """
    (firsts, sizes), home = _windows(block), district_of(block)
    cells = _cells(born, birth, sex)
    ranks = _ranks(cells)
    too_many = (ranks >= sizes[born]) & (born != home)
    if too_many.any():
        born = np.where(too_many, home, born)
        cells = _cells(born, birth, sex)
        ranks = _ranks(cells)
    if (ranks >= sizes[born]).any():
        raise OverflowError("too many people of one birth date")
    pairs = firsts[born] + (ranks + cells * 2_654_435_761 // 65_536) % sizes[born]
    return _numbered(divisions_of(block), born, birth, pairs * 2 + sex)


def _numbered(divisions: list[str], born: Codes, birth: Ints, serials: Ints) -> Bytes:
    places = np.frombuffer("".join(divisions).encode(), dtype=np.uint8).reshape(-1, 6)
    day = birth - PLACEHOLDER_BIRTH
    found = np.empty((len(born), 18), dtype=np.uint8)
    found[:, :6] = places[born]
    found[:, 6:14] = _days().take(day, axis=0)
    found[:, 14:17] = digits(serials, 3)
    sums = _sums(places, 0)[born] + _sums_of_days()[day] + _sums(digits(np.arange(1000), 3), 14)[serials]
    found[:, 17] = np.frombuffer(ID_CHECKS.encode(), dtype=np.uint8)[sums % 11]
    return found


def _sums(columns: Bytes, start: int) -> Ints:
    """Weigh some columns of numbers for their check character: few different parts make up all the numbers."""
    weights = np.array(ID_WEIGHTS[start : start + columns.shape[1]], dtype=np.int64)
    return np.asarray((columns.astype(np.int64) - ord("0")) @ weights, dtype=np.int64)


@functools.cache
def _sums_of_days() -> Ints:
    return _sums(_days(), 6)


# --- phones -------------------------------------------------------------------------------------------------------------


def phone_numbers(block: int, places: Ints) -> Ints:
    """Give numbers of their own to places 0 … 131,071 of a block; up to 45 million people none comes twice."""
    shuffled = (places * 40_503 + 12_345) % _PHONES_OF_BLOCK
    return (block * _PHONES_OF_BLOCK + shuffled) % _PHONES * _PHONE_STEP % _PHONES


def placeholder_phones(lots: Ints) -> Ints:
    """Give numbers that are written to fill in a form, mostly the first; the lots are from 0 to 15."""
    return _FIRST_PLACEHOLDER - np.maximum(lots - 12, 0)


def phone_texts(numbers: Ints) -> pa.Array:
    """Write phone numbers; NO_PHONE is null."""
    columns = np.empty((len(numbers), 11), dtype=np.uint8)
    columns[:, :3] = np.frombuffer(_PHONE_PREFIX.encode(), dtype=np.uint8)
    columns[:, 3:] = digits(np.maximum(numbers, 0), 8)
    for rank, placeholder in enumerate(PLACEHOLDER_PHONES):
        columns[numbers == _FIRST_PLACEHOLDER - rank] = np.frombuffer(placeholder.encode(), dtype=np.uint8)
    written = text(columns)
    present = pa.array(numbers != NO_PHONE).buffers()[1]
    return pa.StringArray.from_buffers(len(numbers), *written.buffers()[1:], present)


# --- the truth ----------------------------------------------------------------------------------------------------------


def person_numbers(seed: int, places: Ints) -> NDArray[np.uint64]:
    """Turn the places of people into numbers that say nothing of them (splitmix64, one to one)."""
    mixed = places.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % (1 << 64))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
