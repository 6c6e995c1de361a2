"""The second verifier of the audit log: the written format and nothing of ours.

Also a program: `python -m tests.oracle.audit DIRECTORY VKEY…` or `… PROOF.json VKEY…`. It recomputes every tree from its leaves
by the definition of RFC 6962 §2.1 and reads CRC-32C a byte at a time. What must not go in here: an import of `broker`, or a
trick for speed that hides the definition.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.oracle.audit_notes import (
    MISTAKES,
    ZEROS,
    Bad,
    Head,
    Note,
    Tree,
    checkpoints_of,
    field,
    hash_in,
    head_of,
    note_of,
    notes_in,
    number_in,
    opened,
    root_from,
    tree_over,
    unb64,
)

SEGMENT = struct.Struct(">8sHHIQQQQ16s32s32sQQ16s92sI")
BATCH = struct.Struct(">4sIIIQQQQQ32s32sI")
HASHED_BYTES = BATCH.size - 4
ALGORITHMS = {1: "sha256", 2: "sm3"}
FIRST, ROTATED, RESTARTED, FAILED = 1, 2, 3, 4
CLOSES = 2
NAME = re.compile(r"[0-9]{20}\.audit")


class Fault(NamedTuple):
    """The first thing wrong in a stream, or (stream "") in the checkpoints or with a witness."""

    stream: str
    segment: int | None
    batch: int | None
    what: str


class Rewritten(Exception):
    """From this batch on (segment, batch) the stream is not what a checkpoint says."""


def crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)  # noqa: PLW2901
        table.append(byte)
    return table


CRC = crc_table()


def crc32c(data: bytes) -> int:
    running = 0xFFFFFFFF
    for byte in data:
        running = CRC[(running ^ byte) & 0xFF] ^ running >> 8
    return running ^ 0xFFFFFFFF


# --- streams -------------------------------------------------------------------------------------------------------------


class Stream:
    """What is known of a stream after so many batches."""

    def __init__(self, name: str, algorithm: str, heads: Sequence[Head]) -> None:
        self.name, self.algorithm = name, algorithm
        self.records = self.batches = self.good = 0
        self.chain = self.link = ZEROS
        self.tree = Tree(algorithm)
        self.closed = False
        self.heads = sorted(heads, key=lambda head: head.batches)
        self.segment: int | None = None
        self.segment_of: dict[int, int | None] = {}  # by batch

    def begin_at(self, anchor: str) -> None:
        lines = anchor[:-1].split("\n")
        self.batches, self.records = number_in(lines[1]), number_in(field(lines[5], "records"))
        self.chain, start = hash_in(field(lines[6], "chain")), 0
        if field(lines[3], "stream") != self.name:
            raise Bad("anchor of another stream")
        known = {}
        for line in lines[7:]:
            size = 1 << (self.batches - start).bit_length() - 1 if start < self.batches else 0
            known[start, start + size] = hash_in(field(line, "node"))
            start += size
        self.tree = Tree(self.algorithm, known)
        if start != self.batches or self.tree.root(0, start) != hash_in(lines[2]):
            raise Bad("root of the anchor is not that of its nodes")
        self.heads = [head for head in self.heads if head.batches >= self.batches]
        self.good = self.batches

    def compare(self, *, at_end: bool = False) -> None:
        """Compare with the heads that checkpoints have of this size. Raises Rewritten."""
        while self.heads and (at_end or self.heads[0].batches <= self.batches):
            head = self.heads[0]
            if head[1:] != (self.records, self.batches, self.chain, self.tree.root(0, self.batches)):
                batch = self.batches if head.batches > self.batches else self.good
                raise Rewritten(self.segment_of.get(batch, self.segment), batch)
            self.good = self.batches
            self.heads.pop(0)

    def take(self, data: bytes, at: int) -> int:
        """Check the batch at an offset and return where the next begins."""
        if at + BATCH.size > len(data):
            raise Bad("batch is cut off")
        magic, size, count, flags, number, first, _, _, _, chain, root, crc = BATCH.unpack_from(data, at)
        end = at + BATCH.size + size
        if magic != b"BATC" or not 1 <= count <= 1024 or not 5 * count <= size <= count * 65_540 or end > len(data):
            raise Bad("header of a batch")
        if crc32c(data[at : at + HASHED_BYTES] + data[at + BATCH.size : end]) != crc:
            raise Bad("CRC")
        if (number, first, chain) != (self.batches, self.records, self.link) or flags & ~3:
            raise Bad("number, sequence, chain or flags")
        if tree_over(self.algorithm, records_in(data[at + BATCH.size : end], count)).root(0, count) != root:
            raise Bad("Merkle root")
        header = data[at : at + HASHED_BYTES]
        self.chain = self.link = self.tree.hash(b"\2", header)
        self.tree.append(header)
        self.segment_of[self.batches] = self.segment
        self.records, self.batches, self.closed = self.records + count, self.batches + 1, bool(flags & CLOSES)
        return end


def records_in(data: bytes, count: int) -> list[bytes]:
    records, at = [], 0
    for _ in range(count):
        size = int.from_bytes(data[at : at + 4])
        if at + 4 > len(data) or not 1 <= size <= 65_536 or at + 4 + size > len(data):
            raise Bad("length of a record")
        records.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(data):
        raise Bad("bytes behind the records")
    return records


def header_of(data: bytes) -> Any:
    if len(data) < SEGMENT.size or crc32c(data[: SEGMENT.size - 4]) != int.from_bytes(data[252:256]):
        raise Bad("header of the segment is damaged")
    header = SEGMENT.unpack_from(data)
    if header[0] != b"BRAUDIT1" or header[1] not in ALGORITHMS or header[3] or any(header[14]):
        raise Bad("header of the segment")
    return header


def check_header(header: Any, stream: Stream, number: int, end: int) -> None:
    _, algorithm, why, _, own, batch, first, _, _, chain, name, valid, cut, _, _, _ = header
    if ALGORITHMS[algorithm] != stream.algorithm or own != number or name != stream.name.encode().ljust(32, b"\0"):
        raise Bad("segment is another one than its place says")
    if (batch, first, chain) != (stream.batches, stream.records, stream.chain):
        raise Bad("segment does not join the one before")
    if number == 1 and (why, valid, cut) != (FIRST, 0, 0):
        raise Bad("first segment")
    if number > 1 and (why not in (ROTATED, RESTARTED, FAILED) or (end and valid != end)):
        raise Bad("why the segment was begun")
    if number > 1 and why == ROTATED and (cut or (end and not stream.closed)):
        raise Bad("segment before was not closed")


def has_batch(data: bytes, start: int) -> bool:
    """Tell whether a whole batch begins here or later: then what does not fit before it is no torn write."""
    return any(is_batch(data, found.start()) for found in re.compile(b"BATC").finditer(data, start))


def is_batch(data: bytes, at: int) -> bool:
    if at + BATCH.size > len(data):
        return False
    _, size, count, *_, crc = BATCH.unpack_from(data, at)
    end = at + BATCH.size + size
    if not 1 <= count <= 1024 or not 5 * count <= size <= count * 65_540 or end > len(data):
        return False
    return crc32c(data[at : at + HASHED_BYTES] + data[at + BATCH.size : end]) == crc


def walk(stream: Stream, data: bytes, limit: int) -> tuple[int, str]:
    """Take batches as long as there are some; returns where they end, and what is wrong there. Raises Rewritten."""
    at, stream.closed = SEGMENT.size, False
    while at < limit and any(data[at : at + 4]) and not stream.closed:
        try:
            at = stream.take(data[:limit], at)
        except Bad as bad:
            return at, str(bad)
        stream.compare()
    return at, ""


def verify_middle(stream: Stream, data: bytes, following: bytes) -> int:
    """Check a segment that another follows; that one's header says where it ends. Raises Bad and Rewritten."""
    try:
        header = header_of(following)
    except Bad:
        header = None  # which is told when it is its turn
    end, problem = walk(stream, data, min(header[11], len(data)) if header else len(data))
    if problem:
        raise Bad(problem)
    if header and (end != header[11] or any(data[end + header[12] :])):
        raise Bad("ends elsewhere than the next segment says")
    return end


def verify_last(stream: Stream, data: bytes) -> None:
    """Check the segment that is written, which may end in a batch that is not whole. Raises Bad and Rewritten."""
    end, problem = walk(stream, data, len(data))
    if any(data[end:]) and (stream.closed or has_batch(data, end)):
        raise Bad(problem or "bytes behind the last batch")


def verify_segments(stream: Stream, files: dict[int, bytes]) -> None:
    """Check a stream from the first segment that is kept on. Raises Bad and Rewritten."""
    numbers, end = sorted(files), 0
    for place, number in enumerate(numbers):
        data, is_last, stream.segment = files[number], number == numbers[-1], number
        if is_last and not any(data):
            break  # begun, and the process ended before it wrote the header
        if place and number != numbers[place - 1] + 1:
            raise Bad("a segment is missing before it")
        check_header(header_of(data), stream, number, end)
        stream.link = stream.tree.hash(b"\3", data[: SEGMENT.size - 4])  # what its first batch has before it
        stream.compare()
        if is_last:
            verify_last(stream, data)
        else:
            end = verify_middle(stream, data, files.get(number + 1, b""))
    stream.compare(at_end=True)


def verify_stream(folder: Path, heads: Sequence[Head], algorithm: str, vkeys: Sequence[str]) -> Fault | None:
    """Return the first thing that is wrong in a stream."""
    stream = Stream(folder.name, algorithm, heads)
    try:
        files = {int(file.stem): file.read_bytes() for file in sorted(folder.glob("*.audit")) if NAME.fullmatch(file.name)}
        if files and min(files) > 1:
            stream.segment = min(files)
            stream.begin_at(anchor_of(folder, min(files), vkeys))
        verify_segments(stream, files)
    except Rewritten as rewritten:
        return Fault(stream.name, *rewritten.args, "is not what a checkpoint says")
    except MISTAKES as bad:
        return Fault(stream.name, stream.segment, stream.batches, str(bad) or type(bad).__name__)
    return None


def anchor_of(folder: Path, segment: int, vkeys: Sequence[str]) -> str:
    file = folder.parent / "anchors" / f"{folder.name}.notes"
    for text in notes_in(file.read_bytes() if file.exists() else b"", vkeys):
        if field(text.split("\n")[4], "segment") == str(segment):
            return text
    raise Bad("the segments before were taken away, and no anchor says how they ended")


# --- a directory ---------------------------------------------------------------------------------------------------------


def algorithm_of(folders: Sequence[Path]) -> str:
    for folder in folders:
        for file in sorted(folder.glob("*.audit")):
            try:
                return ALGORITHMS[header_of(file.read_bytes()[: SEGMENT.size])[1]]
            except Bad:
                continue
    return ALGORITHMS[1]


def verify(directory: Path, vkeys: Sequence[str], witnesses: Sequence[bytes] = (), origin: str | None = None) -> list[Fault]:
    """Return what is wrong: in the checkpoints, with a witness (each is all notes that it keeps), in each stream."""
    folders = {folder.name: folder for folder in directory.iterdir() if folder.is_dir() and any(folder.glob("*.audit"))}
    algorithm = algorithm_of([folders[name] for name in sorted(folders)])
    notes, problem = checkpoints_of(sorted((directory / "checkpoints").glob("*.notes")), vkeys, origin, algorithm)
    faults = [Fault("", None, None, problem)] if problem else []
    by_serial = {note.serial: note for note in notes}
    for witness in witnesses:
        seen, problem = witnessed(witness, vkeys, origin, algorithm)
        if problem or any(by_serial.get(note.serial, note).text != note.text for note in seen):
            faults.append(Fault("", None, None, problem or "a witness has another checkpoint"))
        elif any(note.serial not in by_serial and note.serial > min(by_serial, default=0) for note in seen):
            faults.append(Fault("", None, None, "a witness has a checkpoint that is not here"))
        notes += seen
    heads = [head for note in notes for head in note.heads.values()]
    names = sorted({*folders, *(head.stream for head in heads)}, key=str.encode)
    for name in names:
        own = [head for head in heads if head.stream == name]
        fault = verify_stream(directory / name, own, algorithm, vkeys)
        faults += [fault] if fault else []
    return faults


def witnessed(data: bytes, vkeys: Sequence[str], origin: str | None, algorithm: str) -> tuple[list[Note], str]:
    notes = []
    try:
        for text in notes_in(data, vkeys):
            notes.append(note_of(text, origin, algorithm))
    except MISTAKES as error:
        return notes, f"witness: {error or type(error).__name__}"
    return notes, ""


def check_proof(proof: dict[str, Any], vkeys: Sequence[str], origin: str | None = None) -> bytes:
    """Return the record that a proof shows to be in the log. Raises one of MISTAKES."""
    algorithm = proof["hash"]
    if algorithm not in ALGORITHMS.values():
        raise Bad("hash")
    note = note_of(opened(proof["checkpoint"], vkeys), origin, algorithm)
    record, header = unb64(proof["record"]["bytes"]), unb64(proof["batch"]["header"])
    _, _, count, _, number, first, *_, root = BATCH.unpack(header + bytes(4))[:-1]
    head = head_of(proof["stream"]["head"])
    tree = Tree(algorithm)
    batch, stream, log = ((part["index"], part["size"], [unb64(one) for one in part["path"]]) for part in map(proof.get, PARTS))
    if proof["record"]["id"] != f"{head.stream}.{first + batch[0]}" or (count, number, head.batches) != (
        batch[1],
        stream[0],
        stream[1],
    ):
        raise Bad("numbers of the proof")
    if log[1] != len(note.heads) or note.heads[head.stream] != head:
        raise Bad("head is not one of the checkpoint")
    steps = ((record, batch, root), (header, stream, head.root), (head.line().encode(), log, note.root))
    for data, (index, size, path), expected in steps:
        if root_from(algorithm, tree.hash(b"\0", data), index, size, path) != expected:
            raise Bad("path does not lead to the root")
    return record


PARTS: tuple[str, ...] = ("batch", "stream", "log")


def verify_archive(folder: Path, vkeys: Sequence[str], origin: str | None = None) -> int:
    """Return how many records an archived segment has. Raises one of MISTAKES, or Rewritten.

    Where it begins stands in a signed anchor; that it is in the log shows the proof of its last record, whose batch has all
    that is before it under its chain hash.
    """
    file = next(folder.glob("*.audit"))
    header = header_of(file.read_bytes())
    name, number = header[10].rstrip(b"\0").decode(), header[4]
    stream = Stream(name, ALGORITHMS[header[1]], [])
    stream.segment = number
    if number > 1:
        anchor = opened((folder / "anchor.note").read_text(), vkeys)
        if field(anchor.split("\n")[4], "segment") != str(number):
            raise Bad("anchor of another segment")
        stream.begin_at(anchor)
    first = stream.records
    verify_segments(stream, {number: file.read_bytes()})
    proof = json.loads((folder / "proof.json").read_text())
    check_proof(proof, vkeys, origin)
    last = unb64(proof["batch"]["header"])
    if proof["record"]["id"] != f"{name}.{stream.records - 1}" or stream.tree.hash(b"\2", last) != stream.chain:
        raise Bad("proof is not that of its last batch")
    return stream.records - first


def main(directory: str, *vkeys: str, say: Callable[[str], object] = print) -> int:
    if directory.endswith(".json"):
        record = check_proof(json.loads(Path(directory).read_bytes()), vkeys)
        say(f"OK: the record of {len(record)} bytes is in the log")
        return 0
    faults = verify(Path(directory), vkeys)
    for fault in faults:
        say(f"BAD {fault.stream or 'checkpoints'} segment {fault.segment} batch {fault.batch}: {fault.what}")
    say("BAD" if faults else "OK")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
