"""Where the audit log lies on disk, and the header of a segment, as they are read.

    DIRECTORY/front-0/00000000000000000001.audit   a segment of a stream: a header of 256 bytes, and batches
    DIRECTORY/checkpoints/2026-09-21T07.notes      checkpoints, signed, of an hour (UTC)
    DIRECTORY/anchors/front-0.notes                how a stream stood where segments were archived, signed
    DIRECTORY/checkpoint.key, checkpoint.vkey      who signs, and what signatures are checked with

What must not go in here: writing segments, and batches (ext/journal_walk.h).
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from pathlib import Path
from typing import NamedTuple

from broker._native.cachekey import crc32c
from broker.errors import DirectoryUnusable

HEADER_BYTES = 256
ALGORITHMS = {1: "sha256", 2: "sm3"}
NO_HASH = bytes(32)
FIRST, ROTATED, RESTARTED, FAILED = 1, 2, 3, 4

CHECKPOINTS, ANCHORS = "checkpoints", "anchors"
KEY_FILE, VERIFIER_FILE = "checkpoint.key", "checkpoint.vkey"
DURABLE_FILE = "durable"  # of a stream
_DURABLE_BYTES = 12

_MAGIC = b"BRAUDIT1"
_HEADER = struct.Struct(">8sHHIQQQQ16s32s32sQQ16s92sI")
_CRC_AT = HEADER_BYTES - 4
_FILE_NAME = re.compile(r"[0-9]{20}\.audit")


class HeaderDamaged(ValueError):
    """These bytes are not the header of a segment; the text says why."""


class SegmentHeader(NamedTuple):
    """What a segment says of itself; times are nanoseconds since 1970."""

    algorithm: int
    why: int
    number: int
    first_batch: int
    first_record: int
    wall_ns: int
    boot_id: bytes
    chain: bytes  # before its first batch
    stream: bytes  # filled up with zeros
    valid: int  # where the segment before ends
    cut: int  # bytes behind that, which belong to nothing
    key_id: bytes

    @property
    def places(self) -> tuple[int, int, bytes]:
        """What must be that of the stream where the segment begins."""
        return self.first_batch, self.first_record, self.chain


def read_header(data: bytes) -> SegmentHeader:
    """Read the header at the beginning of a segment.

    Raises:
        HeaderDamaged: it is cut off, its CRC does not hold, or it is of another format.
    """
    if len(data) < HEADER_BYTES or crc32c(data[:_CRC_AT]) != int.from_bytes(data[_CRC_AT:HEADER_BYTES], "big"):
        raise HeaderDamaged("the header of the segment is damaged")
    magic, algorithm, why, zero, *places, zeros, _ = _HEADER.unpack_from(data)
    if magic != _MAGIC or algorithm not in ALGORITHMS or zero or any(zeros):
        raise HeaderDamaged("the header of the segment is of another format")
    return SegmentHeader(algorithm, why, *places)


def header_of(file: Path) -> SegmentHeader:
    """Read the header of a segment file. Raises HeaderDamaged, OSError."""
    with file.open("rb") as opened:
        return read_header(opened.read(HEADER_BYTES))


def segment_file(folder: Path, number: int) -> Path:
    """Return where a segment of a stream is."""
    return folder / f"{number:020}.audit"


def segments_of(folder: Path) -> dict[int, Path]:
    """Return the segments of a stream by number, in order. Other files are nobody's. Raises OSError but where there is none."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - each stream of each look at the log
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {int(name[:20]): folder / name for name in names if _FILE_NAME.fullmatch(name)}


def durable_of(folder: Path) -> int:
    """Return how many batches of a stream its writer has said are durable; 0 where it has not, or cannot be read.

    It is said after each fdatasync, in a file that is not synced itself: after a power cut it may say less than is so.
    """
    try:
        told = (folder / DURABLE_FILE).read_bytes()
    except OSError:
        return 0
    if len(told) != _DURABLE_BYTES or crc32c(told[:8]) != int.from_bytes(told[8:], "big"):
        return 0
    return int.from_bytes(told[:8], "big")


def streams_of(directory: Path) -> dict[str, Path]:
    """Return the folders of streams by name, in order of the names' bytes.

    Raises:
        DirectoryUnusable: the directory cannot be read.
    """
    try:
        names = [entry.name for entry in os.scandir(directory) if entry.is_dir() and _has_segments(entry.path)]
    except OSError as error:
        raise DirectoryUnusable(f"{directory}: cannot be read ({error.strerror})") from error
    return {name: directory / name for name in sorted(names, key=os.fsencode)}


def _has_segments(folder: str) -> bool:
    return any(name.endswith(".audit") for name in os.listdir(folder))  # noqa: PTH208 - as above


def algorithm_of(directory: Path) -> int:
    """Return the hash of a log, which its first segment says; SHA-256 where there is none yet."""
    for folder in streams_of(directory).values():
        for file in segments_of(folder).values():
            with contextlib.suppress(HeaderDamaged):
                return header_of(file).algorithm
    return 1


def contents(file: Path, at: int = 0, end: int | None = None) -> bytes:
    """Return a segment, or what is between two offsets of it. Raises OSError.

    It is read, not mapped: a page that the disk cannot give is an error then and no SIGBUS, a file that is cut meanwhile is
    short, and what was checked cannot be another a moment later.
    """
    with file.open("rb", buffering=0) as opened:
        opened.seek(at)
        return opened.read() if end is None else read_piece(opened.fileno(), end - at, at)


def read_piece(descriptor: int, size: int, at: int) -> bytes:
    """Return so many bytes from an offset on, fewer only where the file ends. Raises OSError."""
    pieces = []
    while size > 0 and (piece := os.pread(descriptor, size, at)):
        pieces.append(piece)
        size, at = size - len(piece), at + len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
