"""Feeds bytes to `read_entry`. Invariant: it says what the oracle says, whatever comes in, and nothing else happens.

Run as `python tests/fuzz/fuzz_cachekey.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`. Where
atheris is installed it draws the inputs and its own options apply instead (`-max_total_time=60 corpus/`).
"""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from broker._native import cachekey
from tests.fuzz import driver
from tests.oracle import cachekey as oracle

KEY = bytes(range(32))
SEEDS = (
    b"",
    oracle.pack_entry(KEY, 0, 0, 0, 0, 0, b""),
    oracle.pack_entry(KEY, 1, 1000, 2000, 3000, 4000, b"body"),
    oracle.pack_entry(KEY, 255, 1, 2**64 - 1, 2**64 - 1, 2**64 - 1, bytes(range(100))),
)
EDGES = (0, 1, 47, 48, 49, 2**31 - 1, 2**31, 2**32 - 48, 2**32 - 1)


def check(data: bytes) -> None:
    """One input, as it is and with its checksum put right, so that the checks behind the checksum are reached as well."""
    for candidate in (data, signed(data)):
        native = cachekey.read_entry(KEY, candidate)
        expected = oracle.read_entry(KEY, candidate)
        found = None if native is None else oracle.Entry(*(getattr(native, field) for field in oracle.Entry._fields))
        if found != expected:
            raise AssertionError(f"native {native!r}, oracle {expected!r}, input {candidate.hex()}")


def signed(data: bytes) -> bytes:
    """The same bytes with the checksum that belongs to them."""
    if len(data) < 8:
        return data
    return data[:4] + struct.pack("<I", oracle.crc32c(KEY + data[:4] + data[8:])) + data[8:]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """One to four changes: a bit, a stretch, a length field at an edge, a cut or an addition."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(changed))
        match draw.randrange(5):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << draw.randrange(8)
            case 1:
                changed[at : at + draw.randint(0, 8)] = draw.randbytes(draw.randint(0, 8))
            case 2:
                changed[40:44] = struct.pack("<I", draw.choice(EDGES))
            case 3:
                del changed[at:]
            case _:
                changed += draw.randbytes(draw.randint(0, 16))
    return bytes(changed)


if __name__ == "__main__":
    driver.main(__doc__, check, lambda draw: mutate(draw.choice(SEEDS), draw))
