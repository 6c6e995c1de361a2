"""Feeds texts to normalisation. Invariant: every text has a compared form, which is its own, however it is encoded.

Run as `python tests/fuzz/fuzz_normalise.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`. Where
atheris is installed it draws the inputs and its own options apply instead (`-max_total_time=60 corpus/`).
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker._native import normal_columns, normalise
from tests.fuzz import driver
from tests.support.people import company_id, resident_id

COMPARED = (
    normalise.fold,
    normalise.free_text,
    normalise.licence_no,
    lambda text: normalise.person_name(text).text,
    lambda text: normalise.company_name(text).text,
    lambda text: normalise.resident_id(text).text,
    lambda text: normalise.company_code(text).text,
    lambda text: normalise.phone(text).digits,
    lambda text: normalise.address(text).text if len(text) <= 256 else "",
)
SEEDS = (
    "阿卜杜拉·买买提",
    "尉遲恭（曾用名）",
    "Anna-Maria O’Neil",
    "四川省成都市锦江区春和餐饮（集团）有限责任公司成都分公司",
    "云鹤市听松路十二号3幢二单元五〇一户",
    "荣县东兴镇王家村村民委员会第三组12号附3号",
    "3-2-5-501 a-b-c",
    "二〇二一年十二月廿五日12时30分15秒",
    "2021-03-05T12:30:15.250+08:00",
    "5th Sept., 2021",
    "+86 28-8765-4321转801、13700135508",
    resident_id(7),
    "110105491231002",
    company_id(7),
)
PIECES = (
    "第",
    "十",
    "百",
    "千",
    "〇",
    "0",
    "-",
    "#",
    "甲",
    "号楼",
    "单元",
    "门",
    "村委会",
    "(",
    ")",
    "公司",
    " ",
    "\u200b",
    "ﷺ",
    "𠮷",
    "?",
)


def check(data: bytes) -> bool:
    """One input, as UTF-8 (wrong bytes are unknown characters); returns whether it was text."""
    text = data.decode(errors="replace")[:65_536]
    for compared in COMPARED:
        once = compared(text)
        if len(once) > 512 or (len(text) <= 256 and compared(once) != once):
            raise AssertionError(f"{once!r} is not its own form, input {data.hex()}")
    if not 0 <= normalise.date(text) <= 99991231:
        raise AssertionError(f"no day, input {data.hex()}")
    for number in normalise.resident_id_repairs(text):
        if normalise.resident_id(number).standing != normalise.VALID:
            raise AssertionError(f"no repair, input {data.hex()}")
    if normal_columns.addresses([text]).hashes != b"".join(
        hashed.to_bytes(8, "little") for _, _, hashed in normalise.address(text).parts
    ):
        raise AssertionError(f"column and value differ, input {data.hex()}")
    normalise.is_table_file(data)
    return "\ufffd" not in text


def mutate(text: str, draw: random.Random) -> bytes:
    """Some changes: pieces put in, cut out, characters of anywhere, and at last a broken byte."""
    for _ in range(draw.randint(0, 6)):
        at = draw.randint(0, len(text))
        match draw.randrange(5):
            case 0:
                text = text[:at] + draw.choice(PIECES) * draw.randint(1, 4) + text[at:]
            case 1:
                text = text[:at] + text[at + draw.randint(1, 4) :]
            case 2:
                text = text[:at] + chr(draw.choice((0xFF, 0x3100, 0xA000, 0xD7FF)) - draw.randrange(0xFF)) + text[at:]
            case 3:
                text = text[:at] + draw.choice(SEEDS) + text[at:]
            case _:
                text = text[:at] + chr(draw.randrange(0xE000, 0x32000)) + text[at:]
    data = bytearray(text.encode(errors="replace"))
    if data and draw.randrange(8) == 0:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


if __name__ == "__main__":
    driver.main(__doc__, check, lambda draw: mutate(draw.choice(SEEDS), draw))
