"""Feeds records to what makes entries of the index of usage. Invariant: protobuf reads the same, or the record is left to it.

Run as `python tests/fuzz/fuzz_usage_entries.py --seconds 60 [--seed 1]`, best against a build with `BROKER_SANITIZE=1`. Where
atheris is installed it draws the inputs and its own options apply instead (`-max_total_time=60 corpus/`).
"""

from __future__ import annotations

import random
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from google.protobuf.message import DecodeError

from broker._native import journal
from broker._native.usage_entries import entries
from broker.v1 import audit_pb2 as pb
from tests.fuzz import driver


def expected(written: bytes, sequence: int, stream: int, segment: int, offset: int) -> tuple[bytes, bytes]:
    """Return the entry of a record by what protobuf reads."""
    told = pb.AuditRecord.FromString(written)
    reversed_ns = (1 << 64) - 1 - told.at.seconds * 1_000_000_000 - told.at.nanos
    key = struct.pack(">16sQHQ", told.subject[:16], reversed_ns, stream, sequence)
    return key, struct.pack(">IQH", segment, offset, 0)


def check(data: bytes) -> bool:
    """One input; returns whether an entry was made of it."""
    made, rest = entries([(4096, data)], 48211, 3, 17)
    if rest:
        return False
    try:
        told = pb.AuditRecord.FromString(data)
    except DecodeError:
        raise AssertionError(f"protobuf does not read it, input {data.hex()}") from None
    needs_more = told.kind == 1 or told.intent or told.embargo
    wanted = told.subject and told.kind in (1, 2)
    if (wanted and needs_more) or bool(made) != bool(wanted):
        raise AssertionError(f"made {len(made)}, kind {told.kind}, input {data.hex()}")
    if made and made != [expected(data, 48211, 3, 17, 4096)]:
        raise AssertionError(f"another entry, input {data.hex()}")
    return bool(made)


def record(draw: random.Random) -> bytes:
    """Return a record as writers write them."""
    texts = {
        name: draw.choice(("", "x", "案件", "y" * 200)) for name in ("consumer", "case_id", "outcome", "request_id", "target")
    }
    rare = {"intent": "core.7", "embargo": "COURT"} if draw.random() < 0.2 else {}
    digests = {name: draw.randbytes(draw.choice((0, 3, 32))) for name in ("request_digest", "answer_digest", "subject")}
    numbers = {name: draw.choice((0, 1, 127, 128, 2**31, 2**63)) for name in ("grant_version", "took_us")}
    kind, at = draw.choice((0, 1, 2, 2, 2, 3, 4)), draw.choice((1, 999_999_999, 1_800_000_000_123_456_789))
    fields = draw.choice(((), ("name",), ("name", "address")))
    return journal.encode(kind=kind, wall_ns=at, fields=fields, **texts, **rare, **digests, **numbers)  # type: ignore[arg-type]


def mutate(data: bytes, draw: random.Random) -> bytes:
    """Some changes, often none: a bit, a stretch, a cut, something of another record."""
    changed = bytearray(data)
    for _ in range(draw.choice((0, 0, 1, 2))):
        at = draw.randint(0, len(changed))
        match draw.randrange(4):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << draw.randrange(8)
            case 1:
                changed[at : at + draw.randint(0, 4)] = draw.randbytes(draw.randint(0, 4))
            case 2:
                del changed[at:]
            case _:
                changed[at:at] = record(draw)[: draw.randint(0, 60)]
    return bytes(changed)


if __name__ == "__main__":
    driver.main(__doc__, check, lambda draw: mutate(record(draw), draw))
