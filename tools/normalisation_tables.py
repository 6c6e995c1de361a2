"""Writes broker/_native/normalisation.bin, the tables by which records are normalised for matching. Run by hand.

Run as `python -m tools.normalisation_tables [file]`; it needs OpenCC and pypinyin, which nothing needs at run time. The same
versions write the same bytes. The layout is told in `ext/normal_tables.pxd`, which reads it. What must not go in here: what
the tables hold (tools/normalisation/).
"""

from __future__ import annotations

import importlib.metadata
import struct
import sys
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from opencc import OpenCC

from broker._native.cachekey import crc32c
from tools.normalisation import lists, readings
from tools.normalisation.fold import CODE_POINTS, Folding, is_sign

MAGIC = b"SDBNORMF"
FORMAT = 1
PAGE = 256
PAGES = 0x110000 // PAGE
HEADER = struct.Struct("<8sIII")
EXPANDS, DROPPED, SIGN = 1 << 31, 1 << 30, 1 << 29
LENGTH_SHIFT = 20
BEGINS_COMPOUND, IS_SURNAME = 1 << 15, 1 << 14  # beside the number of a reading: there is a row for it
TARGET = Path(__file__).parent.parent / "broker" / "_native" / "normalisation.bin"


def paged(values: Mapping[int, int], form: str) -> tuple[bytes, bytes]:
    """Return an index by page and the pages, equal pages once; what has no value is zero."""
    pages: dict[bytes, int] = {bytes(PAGE * struct.calcsize(form)): 0}
    used = {code // PAGE for code in values}
    index = [0] * PAGES
    for page in sorted(used):
        numbers = (values.get(code, 0) for code in range(page * PAGE, (page + 1) * PAGE))
        index[page] = pages.setdefault(struct.pack(f"<{PAGE}{form}", *numbers), len(pages))
    return struct.pack(f"<{PAGES}H", *index), b"".join(pages)


def fold_values(folded: Mapping[int, tuple[int, ...]]) -> tuple[dict[int, int], bytes]:
    """Return the value of each code point that does not stay as it is or is a sign, and the expansions."""
    values: dict[int, int] = {}
    expansions: list[int] = []
    for code, targets in folded.items():
        if len(targets) == 1:
            sign = SIGN if is_sign(targets[0]) else 0
            values[code] = targets[0] | sign if targets[0] != code or sign else 0
        elif not targets:
            values[code] = DROPPED
        else:
            values[code] = EXPANDS | len(targets) << LENGTH_SHIFT | len(expansions)
            expansions += targets
    return values, struct.pack(f"<{len(expansions)}I", *expansions)


def shape_values(folded: Mapping[int, tuple[int, ...]]) -> dict[int, int]:
    """Return the class of each character that has one; refuses lists that contradict themselves."""
    values: dict[int, int] = {}
    for number, shape in enumerate(lists.shapes(), 1):
        for char in shape:
            if ord(char) in values or folded[ord(char)] != (ord(char),):
                raise SystemExit(f"shapes.txt: {char} stands in two classes or is folded away")
            values[ord(char)] = number
    return values


def check_surnames(folded: Mapping[int, tuple[int, ...]]) -> None:
    """Refuse a surname that is folded away, whose row nobody would find."""
    for char in "".join([*lists.surnames(), *lists.compounds()]):
        if folded[ord(char)] != (ord(char),):
            raise SystemExit(f"surnames: {char} is folded away")


def check_variants(folded: Mapping[int, tuple[int, ...]]) -> None:
    """Refuse a list of variants that another rule contradicts."""
    simplify = OpenCC("t2s").convert
    for variant, standard in lists.variants().items():
        if simplify(chr(variant)) not in (chr(variant), chr(standard)):
            raise SystemExit(f"variants.txt: OpenCC makes another character of {chr(variant)} than {chr(standard)}")
        if folded[variant] != folded[standard] or folded[standard] != (standard,):
            raise SystemExit(f"variants.txt: {chr(variant)} does not become {chr(standard)}")


def reading_values(kept: list[int], ids: Mapping[str, int]) -> dict[int, int]:
    """Return the number of each character's reading, marked where it has rows as a surname."""
    values = {code: ids[plain] for code in kept if (plain := readings.reading(code)) is not None}
    for mark, surnames in ((IS_SURNAME, lists.surnames()), (BEGINS_COMPOUND, lists.compounds())):
        for surname in surnames:
            values[ord(surname[0])] = values.get(ord(surname[0]), 0) | mark
    return values


def surname_rows(ids: Mapping[str, int]) -> tuple[bytes, bytes]:
    """Return the surnames of one and of two characters, in order of their characters."""
    singles = sorted((ord(char), ids[plain]) for char, plain in lists.surnames().items())
    doubles = sorted((*map(ord, chars), *(ids[each] for each in pair)) for chars, pair in lists.compounds().items())
    return b"".join(struct.pack("<2I", *row) for row in singles), b"".join(struct.pack("<4I", *row) for row in doubles)


def place_rows() -> bytes:
    """Return names of up to four characters of the first plane, first character highest, in rising order."""
    rows = {int.from_bytes(place.encode("utf-16-be").ljust(8, b"\0"), "big") for place in lists.places()}
    return struct.pack(f"<{len(rows)}Q", *sorted(rows))


def about() -> bytes:
    """Say what the tables were made from."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("OpenCC", "pypinyin"))
    return f"Unicode {unicodedata.unidata_version}, {versions}".encode()


def sections() -> list[bytes]:
    """Return the sections in the order of the file."""
    folding = Folding()
    folded = {code: folding.fold(code) for code in CODE_POINTS}
    check_variants(folded)
    check_surnames(folded)
    kept = [code for code, targets in folded.items() if targets == (code,)]
    names = readings.syllables(kept)
    ids = {name: number for number, name in enumerate(names, 1)}
    values, expansions = fold_values(folded)
    singles, doubles = surname_rows(ids)
    tables = [*paged(values, "I"), expansions, *paged(reading_values(kept, ids), "H"), *paged(shape_values(folded), "H")]
    return [*tables, singles, doubles, place_rows(), "\n".join(names).encode(), about()]


def file_of(parts: list[bytes]) -> bytes:
    """Return header, directory of (offset, bytes), and the sections, each at a multiple of eight."""
    directory, body = b"", b""
    start = HEADER.size + 8 * len(parts) + 4
    start += -start % 8
    for part in parts:
        directory += struct.pack("<2I", start + len(body), len(part))
        body += part + bytes(-len(part) % 8)
    rest = (struct.pack("<I", len(parts)) + directory).ljust(start - HEADER.size, b"\0") + body
    return HEADER.pack(MAGIC, FORMAT, HEADER.size + len(rest), crc32c(rest)) + rest


def main() -> None:
    """Write the file and say how large its parts are."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    parts = sections()
    data = file_of(parts)
    target.write_bytes(data)
    sys.stdout.write(f"{target}: {len(data)} bytes, sections {[len(part) for part in parts]}, {about().decode()}\n")


if __name__ == "__main__":
    main()
