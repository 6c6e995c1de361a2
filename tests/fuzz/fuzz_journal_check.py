"""Feeds segments to the walk over batches. Invariant: it takes what the oracle takes, up to the same byte.

Run as `python tests/fuzz/fuzz_journal_check.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`. Where
atheris is installed it draws the inputs and its own options apply instead (`-max_total_time=60 corpus/`).
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker._native import journal_check
from broker._native.journal_check import Walk
from tests.fuzz import driver
from tests.oracle.audit import SEGMENT, Stream, crc32c, has_batch, walk
from tests.support.audit_log import AuditLog


def _seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory() as scratch:
        core = AuditLog(Path(scratch) / "audit", ["core"]).streams["core"]
        seeds = [core.file.read_bytes()]
        for count in (1, 2, 3, 5):
            core.batch([bytes([65 + number]) * (number + 1) for number in range(count)], flags=2 if count == 5 else 0)
            seeds.append(core.file.read_bytes())
        return [*seeds, seeds[-1] + bytes(64), seeds[2] + b"BATC" + bytes(200)]


SEEDS = _seeds()


def check(data: bytes) -> bool:
    """One input; returns whether a batch was taken."""
    if len(data) < SEGMENT.size:
        return False
    stream = Stream("core", "sha256", [])
    stream.link = stream.tree.hash(b"\3", data[: SEGMENT.size - 4])
    end, problem = walk(stream, data, len(data))
    native = Walk(1)
    native.begin_segment(data[: SEGMENT.size])
    at, status = native.take(data, SEGMENT.size, len(data))
    expected = (end, stream.batches, stream.records, stream.chain, stream.tree.root(0, stream.batches))
    found = (at, native.batches, native.records, native.chain, native.root())
    if found != expected or bool(problem) != (status in journal_check.FAULTS):
        raise AssertionError(f"native {found} {status}, oracle {expected} {problem}, input {data.hex()}")
    if (journal_check.find_whole(data, end, len(data)) >= 0) != has_batch(data, end):
        raise AssertionError(f"one finds a whole batch, the other does not, input {data.hex()}")
    _look_about(data, end, stream.records)
    return stream.batches > 0


def _look_about(data: bytes, end: int, count: int) -> None:
    """What was taken is found again; looking elsewhere is only not to crash."""
    for sequence in range(count):
        at = journal_check.find_batch(data, SEGMENT.size, end, sequence)
        if not journal_check.records_at(data, at, end):
            raise AssertionError(f"record {sequence} is not found again, input {data.hex()}")
    if len(data) - end > 0 and journal_check.used(data, end, len(data)) - end != len(data[end:].rstrip(b"\0")):
        raise AssertionError(f"bytes that are used, input {data.hex()}")
    journal_check.last_batch(data, SEGMENT.size, len(data))
    journal_check.header_hashes(data, SEGMENT.size, len(data), 2)


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Some changes, seldom none: a bit, a stretch, a number at an edge, a cut; often with a CRC that holds again."""
    changed = bytearray(data)
    for _ in range(draw.randint(0, 3)):
        at = draw.randint(0, len(changed))
        match draw.randrange(5):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << draw.randrange(8)
            case 1:
                changed[at : at + draw.randint(0, 8)] = draw.randbytes(draw.randint(0, 8))
            case 2:
                changed[at : at + 4] = draw.choice((0, 1, 5, 1024, 1025, 2**31, 2**32 - 1)).to_bytes(4, "big")
            case 3:
                del changed[at:]
            case _:
                changed[at:at] = draw.choice(SEEDS)[SEGMENT.size :]
    return bytes(_sealed(changed) if draw.random() < 0.5 else changed)


def _sealed(data: bytearray) -> bytearray:
    """Have the CRC of every batch hold, so that what is behind that check is reached."""
    at = SEGMENT.size
    while at + 124 <= len(data) and data[at : at + 4] == b"BATC":
        end = at + 124 + int.from_bytes(data[at + 4 : at + 8], "big")
        if end > len(data):
            break
        data[at + 120 : at + 124] = crc32c(bytes(data[at : at + 120] + data[at + 124 : end])).to_bytes(4, "big")
        at = end
    return data


if __name__ == "__main__":
    driver.main(__doc__, check, lambda draw: mutate(draw.choice(SEEDS), draw))
