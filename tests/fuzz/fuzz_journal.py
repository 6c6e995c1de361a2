"""Feeds hostile values to the encoder of audit records, and damaged segments to what reads a stream back.

Invariants: whatever is told, what is encoded is a record that protobuf reads, no longer than a record may be, and what was
good text is told as it was; whatever a folder holds, a stream is either refused or goes on behind batches that verify, and
what is written then verifies too. An input is a byte of kind and what is to be told, or places to spoil (three bytes each
where, one how). Run as `python tests/fuzz/fuzz_journal.py --seconds 60 [--seed 1]`, best against a build with
`BROKER_SANITIZE=1`. Where atheris is installed it draws the inputs and its own options apply instead.
"""

from __future__ import annotations

import functools
import random
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker._native import journal
from broker.audit.segments import find_start
from broker.errors import AuditRefused
from broker.v1.audit_pb2 import AuditRecord
from tests import journal_kit as kit
from tests.fuzz import driver

TEXTS = ("consumer", "operator", "device", "purpose", "case_id", "request_id", "outcome", "method", "target")


def check_record(data: bytes) -> bool:
    """Tell pieces of the input in one field after the other; returns whether all of it was good text."""
    pieces = data.split(b"|")
    fields: dict[str, Any] = dict(zip(TEXTS, pieces, strict=False))
    names = pieces[len(TEXTS) :]
    encoded = journal.encode(fields=names, subject=data[:80], wall_ns=len(data), **fields)
    told = AuditRecord.FromString(encoded)
    if len(encoded) > 65_536 or not encoded:
        raise AssertionError("a record is longer than one may be")
    is_good = all(_is_good(piece) for piece in pieces) and sum(map(len, names)) + 4 * len(names) < 30_000
    if is_good and (told.altered or [getattr(told, name).encode() for name in fields] != list(fields.values())):
        raise AssertionError("a good text was altered")
    if is_good and [name.encode() for name in told.fields] != names:
        raise AssertionError("a name was altered")
    return is_good


def _is_good(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return len(piece) <= 1024


@functools.cache
def left() -> dict[str, bytes]:
    """The files of a stream of two segments, the last one not closed."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory) / "core"
        with kit.writing(folder, segment_bytes=1 << 12, step_bytes=1 << 12) as writer:
            for number in range(14):
                kit.wait_for(writer, writer.append(b"%03d" % number + bytes(400)) + 1)
            return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def check_stream(data: bytes) -> bool:
    """Spoil files and go on with the stream; returns whether it was not refused."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        folder = Path(directory) / "core"
        folder.mkdir()
        for name, content in left().items():
            spoilt = bytearray(content)
            for at in range(0, len(data) - 3, 4):
                (place,) = struct.unpack("<I", data[at : at + 3] + b"\0")
                if place % len(left()) == sorted(left()).index(name):
                    spoilt[place // len(left()) % len(spoilt)] ^= data[at + 3]
            (folder / name).write_bytes(spoilt)
        return _goes_on(folder)


def _goes_on(folder: Path) -> bool:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    try:
        start = find_start(folder, 1)
    except AuditRefused:
        return False
    with kit.writing(folder, segment_bytes=1 << 12, step_bytes=1 << 12) as writer:
        kit.wait_for(writer, writer.append(b"after") + 1)
    if any((folder / name).read_bytes() != content for name, content in before.items()):
        raise AssertionError("a file that was there was changed")
    with kit.writing(folder) as writer:
        if writer.durable != start.records + 2:
            raise AssertionError("what was written is not there")
    return True


def check(data: bytes) -> bool:
    """One input; returns whether it was taken for good."""
    return bool(data) and (check_stream if data[0] & 1 else check_record)(data[1:])


def draw_input(draw: random.Random) -> bytes:
    """Texts of all lengths with what injures them, or a few places, most of them in the last segment."""
    if draw.random() < 0.9:
        pieces = [_draw_text(draw) for _ in range(draw.choice((1, 5, 12, 60)))]
        return b"\0" + b"|".join(pieces)
    places = [draw.randrange(1 << draw.choice((8, 13, 15))) for _ in range(draw.choice((0, 1, 1, 3)))]
    return b"\1" + b"".join(struct.pack("<I", place)[:3] + bytes([draw.randrange(1, 256)]) for place in places)


def _draw_text(draw: random.Random) -> bytes:
    text = draw.choice(("a", "張", "\U0001f600", "é\r\n\x1b", "x\0")) * draw.choice((0, 1, 7, 340, 1024, 3000))
    data = bytearray(text.encode()[: draw.choice((10, 1023, 1024, 1025, 5000))])
    if data and draw.random() < 0.3:
        data[draw.randrange(len(data))] = draw.randrange(256)
    return bytes(data).replace(b"|", b"")


if __name__ == "__main__":
    driver.main(__doc__, check, draw_input)
