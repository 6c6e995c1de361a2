"""Writes audit logs of any shape for tests, right and wrong ones, by the written format (tests/oracle/audit.py has its pieces).

What must not go in here: an import of `broker`: what is made here is what the product's readers and writers are compared with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.oracle.audit import ALGORITHMS, BATCH, CLOSES, FIRST, ROTATED, SEGMENT, crc32c
from tests.oracle.audit_notes import ZEROS, Head, Tree, b64, tree_over

NAME = "broker.example/audit"
NUMBERS = {name: number for number, name in ALGORITHMS.items()}
AT_NS = 1_790_000_000_000_000_000


class Signer:
    """A key, and notes signed with it."""

    def __init__(self, seed: int = 1, name: str = NAME) -> None:
        self.key, self.name = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), name
        public = b"\1" + self.key.public_key().public_bytes_raw()
        self.short = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
        self.vkey = f"{name}+{self.short.hex()}+{b64(public)}"

    def note(self, text: str) -> str:
        return f"{text}\n— {self.name} {b64(self.short + self.key.sign(text.encode()))}\n"


class StreamLog:
    """One stream: batches go into its last segment."""

    def __init__(self, directory: Path, name: str, algorithm: str = "sha256") -> None:
        self.folder, self.name, self.algorithm = directory / name, name, algorithm
        self.folder.mkdir(parents=True)
        self.records = self.batches = self.number = 0
        self.chain, self.tree = ZEROS, Tree(algorithm)
        self.begin(FIRST)

    @property
    def file(self) -> Path:
        return self.folder / f"{self.number:020}.audit"

    def begin(self, why: int, valid: int = 0, cut: int = 0) -> None:
        self.number += 1
        name, key = self.name.encode().ljust(32, b"\0"), b"k" * 16
        places = self.number, self.batches, self.records, AT_NS, b"b" * 16, self.chain, name, valid, cut, key
        packed = SEGMENT.pack(b"BRAUDIT1", NUMBERS[self.algorithm], why, 0, *places, bytes(92), 0)[:-4]
        self.file.write_bytes(packed + crc32c(packed).to_bytes(4))
        self.link = self.tree.hash(b"\3", packed)

    def batch(self, records: Sequence[bytes], flags: int = 0) -> bytes:
        """Append a batch; returns its bytes."""
        body = b"".join(len(record).to_bytes(4) + record for record in records)
        root = tree_over(self.algorithm, records).root(0, len(records))
        at = AT_NS + self.batches * 1_000_000
        places = len(body), len(records), flags, self.batches, self.records, at, at - AT_NS, 7, self.link, root
        header = BATCH.pack(b"BATC", *places, 0)[:-4]
        written = header + crc32c(header + body).to_bytes(4) + body
        with self.file.open("ab") as file:
            file.write(written)
        self.chain = self.link = self.tree.hash(b"\2", header)
        self.tree.append(header)
        self.batches, self.records = self.batches + 1, self.records + len(records)
        return written

    def tell(self, durable: int | None = None) -> None:
        """Say, as its writer does after fdatasync, how many batches are durable; all of them without a number."""
        told = (self.batches if durable is None else durable).to_bytes(8)
        (self.file.parent / "durable").write_bytes(told + crc32c(told).to_bytes(4))

    def rotate(self, last: Sequence[bytes]) -> None:
        """Close the segment with a batch and begin another."""
        self.batch(last, CLOSES)
        self.begin(ROTATED, self.file.stat().st_size)

    def head(self) -> Head:
        return Head(self.name, self.records, self.batches, self.chain, self.tree.root(0, self.batches))


class AuditLog:
    """A directory of streams and checkpoints."""

    def __init__(self, directory: Path, names: Iterable[str] = ("core", "front-0"), algorithm: str = "sha256") -> None:
        self.directory, self.algorithm, self.signer = directory, algorithm, Signer()
        self.streams = {name: StreamLog(directory, name, algorithm) for name in names}
        self.serial, self.before = 0, ""
        self.notes: list[str] = []

    def checkpoint(self, day: str = "2026-09-21") -> str:
        """Sign a checkpoint over all heads and append it."""
        self.serial += 1
        heads = [self.streams[name].head() for name in sorted(self.streams, key=str.encode)]
        root = tree_over(self.algorithm, [head.line().encode() for head in heads]).root(0, len(heads))
        previous = hashlib.new(self.algorithm, self.before.encode()).digest() if self.before else ZEROS
        lines = [self.signer.name, f"{len(heads)}", b64(root), f"time {AT_NS // 1_000_000 + self.serial}"]
        lines += [f"serial {self.serial}", f"previous {b64(previous)}"]
        self.before = "".join(f"{line}\n" for line in lines) + "".join(f"head {head.line()}" for head in heads)
        self.notes.append(self.signer.note(self.before))
        file = self.directory / "checkpoints" / f"{day}.notes"
        file.parent.mkdir(exist_ok=True)
        held = file.read_text() if file.exists() else ""
        file.write_text(f"{held}---\n{self.notes[-1]}" if held else self.notes[-1])
        return self.notes[-1]


def small_log(directory: Path, algorithm: str = "sha256", names: Iterable[str] = ("core", "front-0")) -> AuditLog:
    """A log whose streams have two segments each, a checkpoint within and one over all of it."""
    log = AuditLog(directory, names, algorithm)
    for name, stream in log.streams.items():
        stream.batch([f"{name} a".encode()])
        log.checkpoint()
        stream.batch([f"{name} {n}".encode() for n in range(3)])
        stream.rotate([b"last"])
        stream.batch([b"x" * 40, b"y"])
    log.checkpoint("2026-09-22")
    return log
