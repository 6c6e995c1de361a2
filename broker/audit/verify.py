"""Whether a log is what was written: every stream against itself, its checkpoints, and what witnesses hold.

Of each stream, and of the checkpoints, the first thing that is wrong is named. tests/oracle/audit.py is a second verifier, out
of the written format alone, and must find the same. What must not go in here: checks of one batch (ext/journal_walk.c).
"""

from __future__ import annotations

import bisect
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from broker._native import journal_check
from broker._native.journal_check import Walk
from broker.audit import checkpoints, notes
from broker.audit.anchors import find_anchor
from broker.audit.checkpoints import Checkpoint, Head
from broker.audit.layout import (
    FAILED,
    FIRST,
    HEADER_BYTES,
    RESTARTED,
    ROTATED,
    HeaderDamaged,
    SegmentHeader,
    algorithm_of,
    contents,
    header_of,
    read_header,
    segments_of,
    streams_of,
)
from broker.audit.notes import Keys, NoteRefused

Done = Callable[[int], object]  # is told of bytes that were read
_STEP_BYTES = 1 << 24  # between two calls of Done


class Fault(NamedTuple):
    """The first thing that is wrong in a stream; stream "" is the checkpoints, here or with a witness."""

    stream: str
    segment: int | None
    batch: int | None
    what: str

    def __str__(self) -> str:
        if not self.stream:
            return f"checkpoints: {self.what}"
        return f"stream {self.stream}, segment {self.segment}, batch {self.batch}: {self.what}"


@dataclass
class StreamFacts:
    """What was found of a stream."""

    stream: str
    first_segment: int | None = None
    segments: int = 0
    batches: int = 0
    records: int = 0
    covered: int = 0  # records that a checkpoint has
    cut_bytes: int = 0  # that restarts have recorded as belonging to nothing
    unfinished_bytes: int = 0  # behind the last whole batch of the segment that is written


@dataclass
class Report:
    """What was found of a log."""

    algorithm: int
    faults: list[Fault] = field(default_factory=list)
    streams: list[StreamFacts] = field(default_factory=list)
    checkpoints: int = 0
    newest_serial: int = 0
    witnessed_serial: int = 0


class _Wrong(Exception):
    """Where a check ends: a fault in a segment, before a batch."""

    def __init__(self, segment: int | None, batch: int, what: str) -> None:
        super().__init__(what)
        self.where = segment, batch, what


def verify(
    directory: Path,
    keys: Keys,
    *,
    origin: str | None = None,
    witnesses: Sequence[bytes] = (),
    done: Done = lambda _: None,
) -> Report:
    """Check all streams of a log. `witnesses` is what each of them keeps: notes, in a file of them.

    Raises:
        DirectoryUnusable: it cannot be read.
    """
    report = Report(algorithm_of(directory))
    signed = _Signed(report, keys, origin)
    signed.read(directory)
    for witness in witnesses:
        signed.read_witness(witness)
    folders = streams_of(directory)
    for name in sorted({*folders, *signed.heads}, key=str.encode):
        check = _StreamCheck(directory / name, report.algorithm, signed.heads.get(name, ()), done)
        report.faults += check.run(keys)
        report.streams.append(check.facts)
    return report


class _Signed:
    """Reads checkpoints and gathers what they say of each stream."""

    def __init__(self, report: Report, keys: Keys, origin: str | None) -> None:
        self.heads: dict[str, set[Head]] = {}
        self._report, self._keys, self._origin = report, keys, origin
        self._own: dict[int, bytes] = {}

    def read(self, directory: Path) -> None:
        try:
            for one, _ in checkpoints.read_all(directory, self._keys, self._report.algorithm, self._origin):
                self._own[one.serial] = one.digest
                self._gather(one)
                self._report.checkpoints, self._report.newest_serial = self._report.checkpoints + 1, one.serial
        except (NoteRefused, OSError) as error:
            self._wrong(f"after serial {self._report.newest_serial}: {error}")

    def read_witness(self, held: bytes) -> None:
        problem = ""
        try:
            for note in notes.split(held):
                one = checkpoints.read_one(note, self._keys, self._report.algorithm, self._origin)
                self._gather(one)
                self._report.witnessed_serial = max(one.serial, self._report.witnessed_serial)
                problem = problem or self._problem(one)
        except NoteRefused as error:
            problem = f"what a witness has is damaged: {error}"
        if problem:
            self._wrong(problem)

    def _problem(self, one: Checkpoint) -> str:
        own = self._own.get(one.serial)
        if own is None and one.serial > min(self._own, default=0):
            return f"a witness has checkpoint {one.serial}, which is not here"
        return f"a witness has another checkpoint {one.serial}" if own not in (None, one.digest) else ""

    def _gather(self, one: Checkpoint) -> None:
        for head in one.heads:
            self.heads.setdefault(head.stream, set()).add(head)

    def _wrong(self, what: str) -> None:
        self._report.faults.append(Fault("", None, None, what))


class _StreamCheck:
    """Walks one stream from its first kept segment on."""

    def __init__(self, folder: Path, algorithm: int, heads: Iterable[Head], done: Done) -> None:
        self._folder, self._done = folder, done
        self._heads = deque(sorted(heads, key=lambda head: head.batches))
        self._walk = Walk(algorithm)
        self._good = 0  # batches that a checkpoint has as they are
        self._closed = False
        self._segment: int | None = None
        self._begun: list[tuple[int, int]] = []  # first batch and number of each segment
        self.facts = StreamFacts(folder.name)

    def run(self, keys: Keys) -> list[Fault]:
        """Return what is wrong, if anything is."""
        fault: list[Fault] = []
        try:
            files = segments_of(self._folder)
            self._begin(files, keys)
            self._check_segments(files)
            self._compare(at_end=True)
        except _Wrong as wrong:
            fault = [Fault(self._folder.name, *wrong.where)]
        except (NoteRefused, OSError) as error:
            fault = [Fault(self._folder.name, self._segment, self._walk.batches, str(error))]
        self.facts.batches, self.facts.records = self._walk.batches, self._walk.records
        return fault

    def _begin(self, files: dict[int, Path], keys: Keys) -> None:
        self.facts.first_segment = self._segment = min(files, default=None)
        if self._segment is not None and self._segment > 1:
            self._walk = find_anchor(self._folder, self._segment, self._walk.algorithm, keys)[0].walk(self._walk.algorithm)
            self._good = self._walk.batches
            self._heads = deque(head for head in self._heads if head.batches >= self._good)

    def _check_segments(self, files: dict[int, Path]) -> None:
        numbers, end = list(files), 0
        for number in numbers:
            self._segment, is_last = number, number == numbers[-1]
            data = contents(files[number])
            if is_last and journal_check.used(data, 0, len(data)) == 0:
                return  # begun, and the process ended before it wrote the header
            if number - 1 not in files and number != numbers[0]:
                raise self._wrong("a segment is missing before it")
            self._join(self._header(data), end)
            self._walk.begin_segment(data[:HEADER_BYTES])
            self._compare()
            end = self._check_last(data, files[number]) if is_last else self._check_middle(data, files.get(number + 1))
            self.facts.segments += 1

    def _header(self, data: bytes) -> SegmentHeader:
        try:
            return read_header(data[:HEADER_BYTES])
        except HeaderDamaged as error:
            raise self._wrong(str(error)) from None

    def _join(self, header: SegmentHeader, end: int) -> None:
        """Check that a segment is the one it should be, and follows on what was read, which ended at `end` (0: nothing was)."""
        named = self._folder.name.encode().ljust(32, b"\0")
        if (header.algorithm, header.number, header.stream) != (self._walk.algorithm, self._segment, named):
            raise self._wrong("the segment is another one than its place says")
        if header.places != (self._walk.batches, self._walk.records, self._walk.chain):
            raise self._wrong("the segment does not join the one before")
        if header.number == 1:
            if (header.why, header.valid, header.cut) != (FIRST, 0, 0):
                raise self._wrong("the first segment is not begun as the first")
        elif header.why not in (ROTATED, RESTARTED, FAILED) or (end and header.valid != end):
            raise self._wrong("the segment says another end of the one before, or not why it was begun")
        elif header.why == ROTATED and (header.cut or (end and not self._closed)):
            raise self._wrong("the segment before was not closed")
        self.facts.cut_bytes += header.cut
        self._begun.append((self._walk.batches, header.number))

    def _check_middle(self, data: bytes, following: Path | None) -> int:
        """Check a segment that another follows; that one's header says where it ends."""
        header = None
        with contextlib.suppress(HeaderDamaged):  # which is told when it is its turn
            header = header_of(following) if following else None
        end, problem = self._take(data, min(header.valid, len(data)) if header else len(data))
        if not problem and header and (end != header.valid or _is_used(data, end + header.cut)):
            problem = "ends elsewhere than the next segment says, or has bytes behind its end"
        if problem:
            raise self._wrong(problem)
        return end

    def _check_last(self, data: bytes, file: Path) -> int:
        """Check the segment that is written: it may end in a batch that is not whole, but in no more than one."""
        before, (end, problem) = 0, self._take(data, len(data))
        while end > before and not self._closed and journal_check.find_whole(data, end, len(data)) >= 0:
            data = contents(file)  # it was written while the file was read, and the next one too
            before, (end, problem) = end, self._take(data, len(data), end)
        unfinished = journal_check.used(data, end, len(data)) - end
        if unfinished and (self._closed or journal_check.find_whole(data, end, len(data)) >= 0):
            raise self._wrong(problem or "bytes behind the last batch")
        self.facts.unfinished_bytes = unfinished
        return end

    def _take(self, data: bytes, end: int, at: int = HEADER_BYTES) -> tuple[int, str]:
        """Take batches as long as there are some; returns where they end, and what is wrong there."""
        status = journal_check.ON
        while status == journal_check.ON and at < end:
            until = self._heads[0].batches if self._heads else (1 << 64) - 1
            before = at
            at, status = self._walk.take(data, at, end, until, _STEP_BYTES)
            self._done(at - before)
            self._compare()
        self._closed = status == journal_check.CLOSED
        return at, journal_check.FAULTS.get(status, "")

    def _compare(self, *, at_end: bool = False) -> None:
        """Compare with what checkpoints have of a stream of this size."""
        while self._heads and (at_end or self._heads[0].batches <= self._walk.batches):
            head = self._heads[0]
            if head[1:] != (self._walk.records, self._walk.batches, self._walk.chain, self._walk.root()):
                missing = head.batches > self._walk.batches
                batch = self._walk.batches if missing else self._good
                range_ = f"{batch} to {head.batches - 1}"
                what = f"batches {range_} are missing" if missing else f"of batches {range_} a checkpoint has others"
                raise _Wrong(self._segment_of(batch), batch, what)
            self._good, self.facts.covered = self._walk.batches, self._walk.records
            self._heads.popleft()

    def _segment_of(self, batch: int) -> int | None:
        if batch >= self._walk.batches or not self._begun:
            return self._segment
        return self._begun[max(bisect.bisect_right(self._begun, (batch, 1 << 64)) - 1, 0)][1]

    def _wrong(self, what: str) -> _Wrong:
        return _Wrong(self._segment, self._walk.batches, what)


def _is_used(data: bytes, at: int) -> bool:
    return at < len(data) and journal_check.used(data, at, len(data)) > at
