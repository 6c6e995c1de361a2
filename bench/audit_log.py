"""Audit logs of any size for benchmarks: whole batches of records as the broker's writer encodes them, and a checkpoint.

What must not go in here: what is measured.
"""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from broker._native import journal, merkle
from broker._native.cachekey import crc32c
from broker.audit.layout import segment_file
from broker.audit.signer import CheckpointSigner, open_key
from broker.v1 import audit_pb2 as pb

ORIGIN = "bench/audit"
A_BATCH = 512
AT_NS = 1_790_000_000_000_000_000
_HEADER = struct.Struct(">8sHHIQQQQ16s32s32sQQ16s92s")
_BATCH = struct.Struct(">4sIIIQQQQQ32s32s")


def subjects(count: int) -> list[bytes]:
    """Return digests of so many subjects."""
    draw = random.Random(1)
    return [draw.randbytes(32) for _ in range(count)]


def records(count: int, of: list[bytes]) -> Iterator[bytes]:
    """Yield records of about 300 bytes, each of a subject drawn at random."""
    draw = random.Random(2)
    for number in range(count):
        yield (
            journal.encode(
                kind=pb.AUDIT_KIND_OUTCOME,
                wall_ns=AT_NS + number * 1_000_000,
                subject=draw.choice(of),
                consumer="consumer-of-a-bureau",
                operator="operator-17",
                interface="population.person.basic",
                version=1,
                purpose="SOCIAL_SECURITY",
                matter="0123456789",
                case_id=f"case-{number:012}",
                fields=("name", "status", "address"),
                outcome="FOUND",
                source="CACHE",
                request_digest=bytes(32),
                answer_digest=bytes(32),
            )
        )


def write(directory: Path, drawn: Iterable[bytes], algorithm: int = 1) -> None:
    """Write one segment of one stream."""
    folder = directory / "front-0"
    folder.mkdir(parents=True)
    name = b"front-0".ljust(32, b"\0")
    header = _HEADER.pack(b"BRAUDIT1", algorithm, 1, 0, 1, 0, 0, AT_NS, bytes(16), bytes(32), name, 0, 0, bytes(16), bytes(92))
    chain = merkle.digest(header, algorithm, 3)
    with segment_file(folder, 1).open("wb") as out:
        out.write(header + crc32c(header).to_bytes(4, "big"))
        each, first, number = iter(drawn), 0, 0
        while some := list(itertools.islice(each, A_BATCH)):
            body = b"".join(len(one).to_bytes(4, "big") + one for one in some)
            root = merkle.root_of_records(body, len(some), algorithm)
            at = AT_NS + number * 1_000_000
            batch = _BATCH.pack(b"BATC", len(body), len(some), 0, number, first, at, at - AT_NS, 1, chain, root)
            out.write(batch + crc32c(batch + body).to_bytes(4, "big") + body)
            chain = merkle.digest(batch, algorithm, 2)
            first, number = first + len(some), number + 1


def sign(directory: Path) -> CheckpointSigner:
    """Sign what is certain of a log; returns who has read it."""
    signer = CheckpointSigner(directory, open_key(directory, ORIGIN), ORIGIN)
    signer.sign()
    return signer
