"""Where a stream goes on: its last segment is read, what is valid of it counts, and the next segment says so.

    DIRECTORY/front-0/00000000000000000007.audit   a segment: see layout.py
    DIRECTORY/front-0/00000000000000000007.tree    the stream tree before it: derived, so that not all segments have to be read

A process that is killed, or a power cut, leaves at most one batch that is not whole, behind all that was durable. Files are
never edited: the next segment says how much of the one before counts. What else is wrong is not mended by starting anew, for
then what was tampered with would pass for a torn tail. What must not go in here: writing (ext/journal_*), checkpoints.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from broker._native import journal_check
from broker._native.cachekey import crc32c
from broker._native.journal_check import Walk
from broker.audit.layout import (
    FIRST,
    HEADER_BYTES,
    NO_HASH,
    RESTARTED,
    ROTATED,
    HeaderDamaged,
    SegmentHeader,
    contents,
    read_header,
    segment_file,
    segments_of,
)
from broker.errors import AlreadyRunning, AuditRefused, DirectoryUnusable

_TREE = struct.Struct(">8sH6xQ")
_TREE_MAGIC = b"BRTREES1"
_HASH_BYTES, _CRC_BYTES = 32, 4
_WALL_AT = 32  # of a batch


@dataclass(frozen=True)
class Start:
    """How the next segment of a stream begins, and what it says of the one before."""

    why: int
    segment: int  # number
    batches: int  # of the stream so far, as are records
    records: int
    chain: bytes
    nodes: tuple[bytes, ...]  # roots of the whole subtrees of the stream tree, largest first
    valid: int = 0  # bytes of the segment before that count
    left: int = 0  # and bytes behind them that do not
    wall_ns: int = 0  # of the last batch


def open_folder(folder: Path) -> int:
    """Return a descriptor of a stream's folder, made if need be and locked: it has one writer. What that left half made goes.

    Raises:
        AlreadyRunning: another process writes the stream.
        DirectoryUnusable: the folder cannot be made or opened.
    """
    try:
        _make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise DirectoryUnusable(f"{folder}: cannot be used ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise AlreadyRunning(f"{folder}: another process writes this audit stream") from error
    for left in folder.glob("*.new"):
        left.unlink(missing_ok=True)
    return descriptor


def _make_folder(folder: Path) -> None:
    """Make the folder and the one around it; both are there after a power cut too."""
    for made in (folder.parent, folder):
        if made.is_dir():
            continue
        made.mkdir(mode=0o700, parents=True)
        around = os.open(made.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(around)
        finally:
            os.close(around)


def find_start(folder: Path, algorithm: int) -> Start:
    """Read the last segment of a stream and return how the next one begins. For who holds the folder.

    Raises:
        AuditRefused: the last segment is damaged otherwise than by being cut off, the log has another hash, or segments
            before it are needed and are missing.
        DirectoryUnusable: a file cannot be read.
    """
    segments = segments_of(folder)
    if not segments:
        return Start(FIRST, 1, 0, 0, NO_HASH, ())
    number = max(segments)
    try:
        _sync(segments[number])
        data = contents(segments[number])
        header = _header(folder, number, data, algorithm)
        walk = Walk(algorithm, header.first_batch, header.first_record, header.chain, _nodes_before(folder, number, header))
        return _go_on(folder, number, data, walk, header)
    except OSError as error:
        raise DirectoryUnusable(f"{folder}: cannot be read ({error.strerror})") from error


def _sync(segment: Path) -> None:
    """What is found there may be of the page cache alone: its writer may have been killed before it was durable."""
    with segment.open("rb") as opened:
        os.fdatasync(opened.fileno())


def _refused(folder: Path, number: int, what: str) -> AuditRefused:
    return AuditRefused(f"audit stream {folder.name}: segment {number}: {what}; see `broker audit verify`")


def _header(folder: Path, number: int, data: bytes, algorithm: int) -> SegmentHeader:
    try:
        header = read_header(data[:HEADER_BYTES])
    except HeaderDamaged as error:
        raise _refused(folder, number, str(error)) from None
    if header.number != number or header.stream.rstrip(b"\0") != folder.name.encode():
        raise _refused(folder, number, "is another segment, or of another stream")
    if header.algorithm != algorithm:
        raise _refused(folder, number, "has another hash than is configured; a log has one")
    return header


def _go_on(folder: Path, number: int, data: bytes, walk: Walk, header: SegmentHeader) -> Start:
    walk.begin_segment(data[:HEADER_BYTES])
    end, status = walk.take(data, HEADER_BYTES, len(data))
    left = journal_check.used(data, end, len(data)) - end
    if journal_check.find_whole(data, end, end + left) >= 0 or (left and status == journal_check.CLOSED):
        raise _refused(folder, number, f"batch {walk.batches} is damaged, or does not join the one before")
    return Start(
        why=ROTATED if status == journal_check.CLOSED else RESTARTED,
        segment=number + 1,
        batches=walk.batches,
        records=walk.records,
        chain=walk.chain,
        nodes=tuple(walk.nodes()),
        valid=end,
        left=left,
        wall_ns=_last_wall_ns(data, end) or header.wall_ns,
    )


def _last_wall_ns(data: bytes, end: int) -> int:
    last = journal_check.last_batch(data, HEADER_BYTES, end)
    return int.from_bytes(data[last[0] + _WALL_AT : last[0] + _WALL_AT + 8], "big") if last else 0


# --- the stream tree before a segment ----------------------------------------------------------------------------------------


def _nodes_before(folder: Path, number: int, header: SegmentHeader) -> list[bytes]:
    """As the file beside the segment has them, else from all segments before it."""
    kept = _kept_nodes(segment_file(folder, number).with_suffix(".tree"), header)
    return _nodes_of_all_before(folder, number, header) if kept is None else kept


def _kept_nodes(file: Path, header: SegmentHeader) -> list[bytes] | None:
    """What the file holds; None if it is missing, damaged or of another place."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    body, checksum = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if len(data) < _TREE.size + _CRC_BYTES or crc32c(body) != int.from_bytes(checksum, "big"):
        return None
    magic, algorithm, batches = _TREE.unpack_from(body)
    count, rest = divmod(len(body) - _TREE.size, _HASH_BYTES)
    if (
        (magic, algorithm, batches) != (_TREE_MAGIC, header.algorithm, header.first_batch)
        or rest
        or count != batches.bit_count()
    ):
        return None
    return [body[at : at + _HASH_BYTES] for at in range(_TREE.size, len(body), _HASH_BYTES)]


def _nodes_of_all_before(folder: Path, number: int, header: SegmentHeader) -> list[bytes]:
    segments = segments_of(folder)
    if sorted(segments) != list(range(1, number + 1)):
        raise _refused(folder, number, "the tree before it is missing, and so are segments to make it from")
    walk, following = Walk(header.algorithm), header
    for before in range(1, number):
        after = contents(segments[before + 1], 0, HEADER_BYTES)
        following = _header(folder, before + 1, after, header.algorithm)
        data = contents(segments[before], 0, following.valid)
        walk.begin_segment(data[:HEADER_BYTES])
        if walk.take(data, HEADER_BYTES, len(data))[0] != following.valid:
            raise _refused(folder, before, f"batch {walk.batches} is damaged, or does not join the one before")
    if (walk.batches, walk.records, walk.chain) != following.places:
        raise _refused(folder, number, "does not join what is before it")
    return walk.nodes()
