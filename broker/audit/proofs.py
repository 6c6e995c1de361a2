"""Proofs that one record is in the log, checked with a public key alone; as a JSON file and as the message of the contract.

A proof leads from the record to the root of its batch, from the batch to the root of its stream, from the stream to the root of
the log, which a checkpoint has signed. What must not go in here: whether the rest of the log is as it was (verify.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker._native import journal_check, merkle
from broker.audit import checkpoints, records
from broker.audit.anchors import find_anchor
from broker.audit.checkpoints import Head
from broker.audit.layout import ALGORITHMS, HEADER_BYTES, algorithm_of, contents, segments_of
from broker.audit.notes import Keys, NoteRefused, decoded, encoded
from broker.audit.records import Found, RecordId
from broker.errors import AuditRefused
from broker.v1 import audit_pb2 as pb

FORMAT = "broker-audit-proof/1"
_NUMBERS = {name: number for number, name in ALGORITHMS.items()}
_BATCH_BYTES = 120


@dataclass(frozen=True)
class Inclusion:
    """From a leaf to the root of its tree."""

    index: int
    size: int
    hashes: tuple[bytes, ...]

    def leads(self, leaf: bytes, root: bytes, algorithm: int) -> bool:
        """Whether it leads from the data of a leaf to a root."""
        return merkle.check(leaf, self.index, self.size, self.hashes, root, algorithm)

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"index": self.index, "size": self.size, "path": [encoded(one) for one in self.hashes]}

    @classmethod
    def parse(cls, told: Mapping[str, Any]) -> Inclusion:
        """Read it. Raises NoteRefused, KeyError, TypeError."""
        index, size = told["index"], told["size"]
        if type(index) is not int or type(size) is not int or not 0 <= index < size < 1 << 63:
            raise NoteRefused("an index is beyond its tree")
        return cls(index, size, tuple(decoded(one, 32) for one in told["path"]))


@dataclass(frozen=True)
class Proof:
    """All that is needed but the public key."""

    id: RecordId
    record: bytes
    algorithm: int
    in_batch: Inclusion
    batch: bytes  # what is hashed of its header
    in_stream: Inclusion
    head: Head
    in_log: Inclusion
    note: str

    def check(self, keys: Keys, origin: str | None = None) -> bytes:
        """Return the record, which is in the log.

        Raises:
            AuditRefused: the proof does not show that.
        """
        try:
            signed = checkpoints.read_one(self.note, keys, self.algorithm, origin)
        except NoteRefused as error:
            raise AuditRefused(f"the proof's checkpoint does not hold: {error}") from error
        numbers = [int.from_bytes(self.batch[at : at + 8], "big") for at in (16, 24)]
        count = int.from_bytes(self.batch[8:12], "big")
        told = (self.id.stream, self.id.sequence, count, numbers[0], self.head.batches, self.head, len(signed.heads))
        is_ = (
            self.head.stream,
            numbers[1] + self.in_batch.index,
            self.in_batch.size,
            self.in_stream.index,
            self.in_stream.size,
        )
        if len(self.batch) != _BATCH_BYTES or told != (*is_, signed.by_stream.get(self.head.stream), self.in_log.size):
            raise AuditRefused("the proof is of another record, or its parts are not of one log")
        steps = (
            (self.in_batch, self.record, self.batch[88:120]),
            (self.in_stream, self.batch, self.head.root),
            (self.in_log, self.head.leaf, signed.root),
        )
        if not all(path.leads(leaf, root, self.algorithm) for path, leaf, root in steps):
            raise AuditRefused("the proof does not lead from the record to the checkpoint")
        return self.record

    def to_json(self) -> str:
        """Write it as a file that stands by itself."""
        told = {
            "format": FORMAT,
            "hash": ALGORITHMS[self.algorithm],
            "record": {"id": str(self.id), "bytes": encoded(self.record)},
            "batch": {**self.in_batch.told(), "header": encoded(self.batch)},
            "stream": {**self.in_stream.told(), "head": str(self.head)},
            "log": self.in_log.told(),
            "checkpoint": self.note,
        }
        return json.dumps(told, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Proof:
        """Read such a file. Raises AuditRefused."""
        try:
            told = json.loads(text)
            if told["format"] != FORMAT:
                raise NoteRefused("it is of another format")
            batch, stream = told["batch"], told["stream"]
            return cls(
                RecordId.parse(told["record"]["id"]),
                decoded(told["record"]["bytes"]),
                _NUMBERS[told["hash"]],
                Inclusion.parse(batch),
                decoded(batch["header"], _BATCH_BYTES),
                Inclusion.parse(stream),
                Head.parse(stream["head"]),
                Inclusion.parse(told["log"]),
                str(told["checkpoint"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AuditRefused(f"this is no proof ({error})") from error

    def to_message(self) -> pb.GetInclusionProofResponse:
        """Return it as the contract has it."""
        return pb.GetInclusionProofResponse(
            leaf=self.record,
            leaf_index=self.in_batch.index,
            tree_size=self.in_batch.size,
            path=self.in_batch.hashes,
            checkpoint=self.note,
            audit_id=str(self.id),
            hash=ALGORITHMS[self.algorithm],
            batch_header=self.batch,
            batch=_message(self.in_stream),
            head=f"{self.head}\n",
            stream=_message(self.in_log),
        )

    @classmethod
    def from_message(cls, told: pb.GetInclusionProofResponse) -> Proof:
        """Read it. Raises AuditRefused."""
        try:
            return cls(
                RecordId.parse(told.audit_id),
                told.leaf,
                _NUMBERS[told.hash],
                Inclusion(told.leaf_index, told.tree_size, tuple(told.path)),
                told.batch_header,
                Inclusion(told.batch.index, told.batch.size, tuple(told.batch.hashes)),
                Head.parse(told.head.removesuffix("\n")),
                Inclusion(told.stream.index, told.stream.size, tuple(told.stream.hashes)),
                told.checkpoint,
            )
        except (ValueError, KeyError) as error:
            raise AuditRefused(f"this is no proof ({error})") from error


def _message(path: Inclusion) -> pb.InclusionPath:
    return pb.InclusionPath(index=path.index, size=path.size, hashes=path.hashes)


class StreamTree:
    """The tree of a stream: hashes of batches from `first` on, and roots of whole subtrees before them."""

    def __init__(self, hashes: bytes, algorithm: int, first: int = 0, nodes: tuple[bytes, ...] = ()) -> None:
        self._hashes, self._algorithm = hashes, algorithm
        self._first, self._end = first, first + len(hashes) // 32
        self._nodes: dict[tuple[int, int], bytes] = {}
        at = 0
        for node in nodes:
            size = 1 << (first - at).bit_length() - 1
            self._nodes[at, at + size] = node
            at += size

    def root(self, first: int, end: int) -> bytes:
        """Return the root over some batches. Raises KeyError if they are not known one by one, nor together."""
        if (first, end) in self._nodes:
            return self._nodes[first, end]
        if first >= self._first and end <= self._end:
            return merkle.root_of_hashes(self._hashes[32 * (first - self._first) : 32 * (end - self._first)], self._algorithm)
        if end - first == 1:
            raise KeyError("batches are missing, or were archived")
        middle = first + _split(end - first)
        return merkle.digest(self.root(first, middle) + self.root(middle, end), self._algorithm, 1)

    def know(self, path: Inclusion) -> None:
        """Take what the path of its last batch says of the batches behind it."""
        first, end = 0, path.size
        for sibling in reversed(path.hashes):
            middle = first + _split(end - first)
            if path.index < middle:
                self._nodes[middle, end] = sibling
                end = middle
            else:
                first = middle

    def path(self, index: int, size: int) -> Inclusion:
        """Return the path of a batch in the tree of so many. Raises KeyError as `root`."""
        hashes, first, end = [], 0, size
        while end - first > 1:
            middle = first + _split(end - first)
            if index < middle:
                hashes.append(self.root(middle, end))
                end = middle
            else:
                hashes.append(self.root(first, middle))
                first = middle
        return Inclusion(index, size, tuple(reversed(hashes)))


def _split(size: int) -> int:
    """The largest power of two below a size of two or more."""
    return 1 << (size - 1).bit_length() - 1


def read_tree(folder: Path, algorithm: int, keys: Keys) -> StreamTree:
    """Read the tree of a stream from the segments that are kept: a hash a batch.

    Raises:
        NoteRefused: segments were archived, and no anchor says how the stream stood.
        OSError, ValueError: segments cannot be read.
    """
    segments = segments_of(folder)
    first, hashes = min(segments, default=1), bytearray()
    for number, file in segments.items():
        data = contents(file)
        end = records.end_of(folder, number, len(data))
        if end > HEADER_BYTES:
            hashes += journal_check.header_hashes(data, HEADER_BYTES, end, algorithm)
    if first == 1:
        return StreamTree(bytes(hashes), algorithm)
    anchor, _ = find_anchor(folder, first, algorithm, keys)
    return StreamTree(bytes(hashes), algorithm, anchor.batches, anchor.nodes)


def prove(directory: Path, record_id: RecordId, keys: Keys, origin: str | None = None) -> Proof:
    """Return a proof of a record by the newest checkpoint. It is checked before it is given away.

    Raises:
        AuditRefused: there is no such record, no checkpoint has it yet, or the log is damaged.
    """
    algorithm = algorithm_of(directory)
    try:
        newest = checkpoints.newest(directory, keys, algorithm, origin)
        head = newest[0].by_stream.get(record_id.stream) if newest else None
        if newest is None or head is None or head.records <= record_id.sequence:
            raise AuditRefused(f"no checkpoint has record {record_id} yet")
        found = records.find(directory / record_id.stream, record_id.sequence)
        tree = read_tree(directory / record_id.stream, algorithm, keys)
        leaves = [one.leaf for one in newest[0].heads]
        at = leaves.index(head.leaf)
        in_log = Inclusion(at, len(leaves), tuple(merkle.path(leaves, at, algorithm)))
        proof = assemble(record_id, found, tree, head, in_log, newest[1], algorithm)
    except (NoteRefused, KeyError, ValueError, OSError) as error:
        raise AuditRefused(f"record {record_id}: cannot be proved: {error}") from error
    proof.check(keys, origin)
    return proof


def assemble(
    record_id: RecordId, found: Found, tree: StreamTree, head: Head, in_log: Inclusion, note: str, algorithm: int
) -> Proof:
    """Put a proof together; it is for `Proof.check` to say whether it is one. Raises KeyError as `StreamTree.path`."""
    in_batch = Inclusion(found.place, len(found.records), tuple(merkle.path(found.records, found.place, algorithm)))
    number = int.from_bytes(found.batch[16:24], "big")
    in_stream = tree.path(number, head.batches)
    return Proof(record_id, found.records[found.place], algorithm, in_batch, found.batch, in_stream, head, in_log, note)
