"""Follows the segments of a stream as they grow, from its files alone, and says how far it is certain to stay as it is.

A batch that can be read need not be durable: it may be of the page cache only, be lost in a power cut, or be left behind
because its fdatasync failed, and then written again with another hash. It is certain when

  * something follows it, for the writer begins nothing before fdatasync has returned; or
  * its writer says that it is durable (`durable_of`); or
  * a checkpoint has it.

An fdatasync of our own would tell nothing: of an error a descriptor is told once, of one before it was opened never.
What must not go in here: what follows from it (signer.py, usage.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from broker._native import journal_check
from broker._native.journal_check import Walk
from broker.audit.layout import (
    HEADER_BYTES,
    HeaderDamaged,
    SegmentHeader,
    durable_of,
    header_of,
    read_piece,
    segment_file,
    segments_of,
)
from broker.errors import AuditRefused

ALL = (1 << 64) - 1
_PIECE_BYTES = 1 << 17  # that are read at once, more where a batch needs it
_BATCH = b"BATC"


class Place(NamedTuple):
    """Up to where a stream is certain: the segment, and the offset behind the last batch."""

    segment: int
    offset: int


class StreamTail:
    """One stream, from a segment on."""

    def __init__(self, folder: Path, walk: Walk, segment: int) -> None:
        """Begin at the beginning of a segment, with the stream as it stands there; `follow` reads on."""
        self.walk, self._folder = walk, folder
        self.place = Place(segment, HEADER_BYTES)
        self.begun = Place(segment, 0), walk.batches, walk.records, walk.chain, walk.nodes()  # where this segment begins
        self._descriptor = -1
        self._most = ALL

    def follow(self, covered: int = 0, most: int = ALL) -> bool:
        """Read on as far as the stream is certain; so many batches of it are because a checkpoint has them. Tells if it grew.

        It stops where the stream has `most` batches.

        Raises:
            AuditRefused: what another segment follows is not whole, or does not join it.
            OSError: a file cannot be read.
        """
        before, self._most = self.walk.batches, most
        while self._follow_segment(covered):
            pass
        return self.walk.batches != before

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def _follow_segment(self, covered: int) -> bool:
        """Read on in one segment; tells whether to go on with the next."""
        durable = durable_of(self._folder)  # asked first: a batch that was left behind is durable only in the next segment
        following = segment_file(self._folder, self.place.segment + 1)
        header = _begun(following)  # then this: what is written before another segment begins is seen below
        if self._descriptor < 0 and not self._open():
            return False
        if header is None:
            self._take_certain(max(covered, durable))
            return False
        if not self._finish(header):
            return False
        self.close()
        self.place = Place(self.place.segment + 1, HEADER_BYTES)
        self.begun = self.place, self.walk.batches, self.walk.records, self.walk.chain, self.walk.nodes()
        return True

    def _open(self) -> bool:
        file = segment_file(self._folder, self.place.segment)
        own = _begun(file)
        if own is None:
            return False
        if own.places != (self.walk.batches, self.walk.records, self.walk.chain) or own.algorithm != self.walk.algorithm:
            raise self._refused("does not join what is before it")
        self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        self.walk.begin_segment(read_piece(self._descriptor, HEADER_BYTES, 0))
        return True

    def _finish(self, following: SegmentHeader) -> bool:
        """Read all that the header of the next segment says is of this one; tells whether there is to be more."""
        for data in self._pieces(following.valid):
            self._take(data, len(data), ALL)
        if self.walk.batches >= self._most:
            return False
        if self.place.offset != following.valid:
            raise self._refused("is not whole, or ends elsewhere than the next one says")
        return True

    def _take_certain(self, durable: int) -> None:
        for data in self._pieces(ALL):
            if (last := journal_check.last_batch(data, 0, len(data))) is not None:
                _, end, number = last
                self._take(data, end, max(number, durable))

    def _take(self, data: bytes, end: int, until: int) -> None:
        """Take the batches at the beginning of a piece."""
        most = min(until, self._most)
        if self.walk.batches < most:
            behind, _ = self.walk.take(data, 0, end, most)
            self.place = self.place._replace(offset=self.place.offset + behind)

    def _refused(self, what: str) -> AuditRefused:
        return AuditRefused(
            f"audit stream {self._folder.name}: segment {self.place.segment}, batch {self.walk.batches}: {what}"
        )

    def _pieces(self, end: int) -> Iterator[bytes]:
        """Yield what stands from `place` on, up to an offset, while batches of it are taken; one may be larger than a piece."""
        size = _PIECE_BYTES
        while self.walk.batches < self._most and self.place.offset < end:
            at = self.place.offset
            data = read_piece(self._descriptor, min(size, end - at), at)
            yield data
            if self.place.offset == at:
                if not _goes_on(data, size):
                    return
                size *= 2


def _goes_on(piece: bytes, size: int) -> bool:
    """Tell whether a piece that was read as large as `size` ends within a batch, as far as headers say."""
    last = journal_check.last_batch(piece, 0, len(piece))
    behind = piece[last[1] if last else 0 :][: len(_BATCH)]
    return len(piece) == size and _BATCH.startswith(behind)


def _begun(file: Path) -> SegmentHeader | None:
    """Return the header of a segment; None where it is not there or not whole yet."""
    try:
        return header_of(file)
    except (FileNotFoundError, HeaderDamaged):
        return None


def open_tail(folder: Path, algorithm: int, resume: Path | None = None, walk: Walk | None = None) -> StreamTail:
    """Follow a stream from where `keep` left off, else from the first segment that is kept.

    `walk` is the stream at the beginning of that segment, where segments before it were archived.

    Raises:
        AuditRefused: segments before the first were archived, and there is no `walk`.
    """
    segments = segments_of(folder)
    kept = _read_resume(resume) if resume else None
    if kept is not None and kept[0] in segments:
        return StreamTail(folder, Walk(algorithm, *kept[1:]), kept[0])
    first = min(segments, default=1)
    if first > 1 and walk is None:
        raise AuditRefused(f"audit stream {folder.name}: begins with segment {first}, and no anchor says how it stood there")
    return StreamTail(folder, walk or Walk(algorithm), first)


def keep(tail: StreamTail, resume: Path) -> None:
    """Note where the segment that is followed begins, so that the next process need not read those before.

    It is derived and trusted by nobody: what is read from there on has to lead to what checkpoints have. Raises OSError.
    """
    place, batches, records, chain, nodes = tail.begun
    told = {"segment": place.segment, "batches": batches, "records": records, "chain": chain.hex()}
    made = resume.with_suffix(".new")
    made.write_text(json.dumps({**told, "nodes": [node.hex() for node in nodes]}), encoding="ascii")
    made.replace(resume)


def _read_resume(file: Path) -> tuple[int, int, int, bytes, list[bytes]] | None:
    try:
        held = json.loads(file.read_bytes())
        chain, nodes = bytes.fromhex(held["chain"]), [bytes.fromhex(node) for node in held["nodes"]]
        kept = int(held["segment"]), int(held["batches"]), int(held["records"]), chain, nodes
        Walk(1, *kept[1:])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None
    return kept
