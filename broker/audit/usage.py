"""Who asked about one subject: the derived index of the log, filled by following it, and searched newest first.

    subject (16 bytes of its HMAC) | 2⁶⁴ - 1 - wall clock, ns | stream | sequence   ->   segment, offset, class of embargo

Numbers are big-endian, so the order of keys is the order that is asked for. An INTENT stands there until its OUTCOME does. The
index is trusted by nobody: what is told is read from the log, and what does not say that it is of this subject is not told. It
may be removed at any time; `rebuild` makes it again. What must not go in here: how a subject is hashed (subject.py), who may
ask.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import heapq
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lmdb
from google.protobuf.message import DecodeError

from broker._native import usage_entries
from broker.audit import records
from broker.audit.layout import HEADER_BYTES, segment_file, segments_of
from broker.audit.records import RecordId
from broker.audit.tail import Place
from broker.errors import BaseBusy, DirectoryUnusable, InvalidRequest, Violation
from broker.v1 import audit_pb2 as pb

MAP_BYTES = 256 << 30  # address space, not disk
MOST_ON_A_PAGE = 1000
_LIB_VERSION = 0  # LMDB 0.9, as for record bases
_ENTRY = struct.Struct(">16sQHQ")
_WHERE = struct.Struct(">IQH")
_LAST_NS = (1 << 64) - 1
_COMMIT_RECORDS = 200_000
# No key of an entry has these lengths.
_NAME, _PLACE, _PENDING = b"name:", b"place:", b"intent:"


@dataclass(frozen=True)
class Release:
    """When what is under an embargo may be told: so long after it happened, or at a date, whichever is first."""

    after_s: float | None = None
    at_ms: int | None = None  # since 1970

    def is_over(self, happened_ns: int, now_ns: int) -> bool:
        """Whether it may be told now."""
        if self.at_ms is not None and now_ns >= self.at_ms * 1_000_000:
            return True
        return self.after_s is not None and now_ns >= happened_ns + int(self.after_s * 1e9)


def is_told(embargo: str, happened_ns: int, releases: Mapping[str, Release], now_ns: int) -> bool:
    """Whether what has a class of embargo ("": none) may be told now; of a class that `releases` does not have, never."""
    release = releases.get(embargo)
    return not embargo or (release is not None and release.is_over(happened_ns, now_ns))


class Page(NamedTuple):
    """A page of accesses, newest first; `total` is over all pages, without those that are withheld."""

    found: list[pb.AuditRecord]
    next_token: str
    total: int


class _Entry(NamedTuple):
    key: bytes
    happened_ns: int
    stream: int
    sequence: int
    segment: int
    offset: int
    embargo: int


class UsageIndex:
    """The index of one log, open."""

    def __init__(self, directory: Path, archives: Path | None = None, *, readonly: bool = False, into: str = "usage") -> None:
        """Open the index of a log, which is made where there is none. Segments that were archived are looked for in `archives`.

        Raises:
            DirectoryUnusable: it cannot be opened; if it is damaged, remove it and rebuild it.
        """
        self._directory, self._archives = directory, archives
        try:
            self._environment = lmdb.open(
                str(directory / into),
                map_size=MAP_BYTES,
                mode=0o600,
                create=not readonly,
                readonly=readonly,
                metasync=False,
                readahead=False,
                max_spare_txns=4,
                lib_version=_LIB_VERSION,
            )
        except (lmdb.Error, OSError) as error:
            raise DirectoryUnusable(f"{directory / into}: the index of usage cannot be opened; rebuild it") from error
        self._file = directory / into / "data.mdb"
        self._made = self._file.stat().st_ino
        self._numbers: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def is_replaced(self) -> bool:
        """Whether it was made anew (`rebuild`), and this is the old one."""
        try:
            return self._file.stat().st_ino != self._made
        except OSError:
            return True

    def close(self) -> None:
        """Close it."""
        self._environment.close()

    # --- filling -----------------------------------------------------------------------------------------------------

    def fill(self, places: Mapping[str, Place], done: Callable[[int], object] = lambda _: None) -> int:
        """Read streams on up to where they are certain (`tail.py`); `done` is told of records. Returns how many were read.

        Raises:
            OSError, ValueError: a segment cannot be read.
        """
        return sum(self._fill_stream(stream, place, done) for stream, place in sorted(places.items()))

    def _fill_stream(self, stream: str, until: Place, done: Callable[[int], object]) -> int:
        folder, total = self._directory / stream, 0
        at = self._place(stream)
        for segment in [number for number in segments_of(folder) if at.segment <= number <= until.segment]:
            begin = at.offset if segment == at.segment else HEADER_BYTES
            end = until.offset if segment == until.segment else None
            for stretch in _stretches(folder, segment, begin, end):
                self._add(stream, segment, stretch)
                total += sum(len(found) for _, _, found in stretch)
                done(sum(len(found) for _, _, found in stretch))
        return total

    def _place(self, stream: str) -> Place:
        with self._environment.begin() as transaction:
            held = transaction.get(_PLACE + stream.encode())
        return Place(*struct.unpack(">IQ", held)) if held else Place(0, HEADER_BYTES)

    def _add(self, stream: str, segment: int, stretch: list[Batch]) -> None:
        offset, record = stretch[-1][2][-1]
        place = struct.pack(">IQ", segment, offset + 4 + len(record))
        self._numbers.clear()  # of a transaction that may not have been committed
        with self._environment.begin(write=True) as transaction:
            number = self._number(transaction, stream)
            made: list[tuple[bytes, bytes]] = []
            for _, first, found in stretch:
                entries, rest = usage_entries.entries(found, first, number, segment)
                made += entries
                for sequence, offset, record in rest:
                    self._add_record(transaction, RecordId(stream, sequence), number, (segment, offset), record)
            made.sort()  # neighbours are put together
            transaction.cursor().putmulti(made)
            transaction.put(_PLACE + stream.encode(), place)

    def _add_record(self, transaction: Any, id_: RecordId, stream: int, where: tuple[int, int], record: bytes) -> None:
        try:
            told = pb.AuditRecord.FromString(record)
        except DecodeError:
            return  # it is in the log as it is, and says nothing
        if not told.subject or told.kind not in (pb.AUDIT_KIND_INTENT, pb.AUDIT_KIND_OUTCOME):
            return
        happened = told.at.seconds * 1_000_000_000 + told.at.nanos
        reversed_ns = _LAST_NS - min(max(happened, 0), _LAST_NS)
        key = _ENTRY.pack(told.subject[:16].ljust(16, b"\0"), reversed_ns, stream, id_.sequence)
        embargo = self._number(transaction, f"={told.embargo}") if told.embargo else 0
        transaction.put(key, _WHERE.pack(*where, embargo))
        if told.kind == pb.AUDIT_KIND_INTENT:
            transaction.put(_PENDING + str(id_).encode(), key)
        elif told.intent and (intent := transaction.pop(_PENDING + told.intent.encode())):
            transaction.delete(intent)

    def _number(self, transaction: Any, name: str) -> int:
        """Return the number of a stream, or of a class of embargo (which begins with `=`); from 1 on."""
        if name not in self._numbers:
            held = transaction.get(_NAME + name.encode())
            self._numbers[name] = int.from_bytes(held, "big") if held else 1 + len(self._read_names(transaction))
            if not held:
                transaction.put(_NAME + name.encode(), self._numbers[name].to_bytes(2, "big"))
        return self._numbers[name]

    @staticmethod
    def _read_names(transaction: Any) -> dict[int, str]:
        cursor, names = transaction.cursor(), {}
        if cursor.set_range(_NAME):
            for key, held in cursor:
                if not key.startswith(_NAME):
                    break
                names[int.from_bytes(held, "big")] = key[len(_NAME) :].decode()
        return names

    # --- searching ---------------------------------------------------------------------------------------------------

    def find(
        self,
        *subjects: bytes,
        from_ns: int = 0,
        until_ns: int = _LAST_NS + 1,
        page_size: int = 50,
        token: str = "",
        offset: int = 0,
        releases: Mapping[str, Release] | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> Page:
        """Return a page of who asked about a subject (HMACs of all its forms), from `from_ns` on and before `until_ns`.

        A page begins behind the token of the page before, and not before so many (`offset`) have been passed over. What has a
        class of embargo is withheld until that is released; of a class that `releases` does not have, for good.

        Raises:
            InvalidRequest: the token is none of a page of this search.
        """
        size = min(page_size or 50, MOST_ON_A_PAGE)
        after, now, total, more = _read_token(token), clock(), 0, False
        page: list[_Entry] = []
        with self._environment.begin(buffers=False) as transaction:
            self._names = self._read_names(transaction)
            asked = [_entries(transaction, subject[:16], max(from_ns, 0), until_ns) for subject in subjects]
            for entry in heapq.merge(*asked, key=lambda entry: entry.key[16:]):
                embargo = self._names.get(entry.embargo, "=?")[1:] if entry.embargo else ""
                if not is_told(embargo, entry.happened_ns, releases or {}, now):
                    continue
                total += 1
                if total > offset and entry.key[16:] > after and len(page) <= size:
                    page.append(entry)
        more, page = len(page) > size, page[:size]
        told = [record for entry in page if (record := self._read(entry, subjects))]
        return Page(told, _token(page[-1].key[16:]) if more else "", total)

    def _read(self, entry: _Entry, subjects: Iterable[bytes]) -> pb.AuditRecord | None:
        """Read what an entry is about; None if it is not what it should be."""
        stream = self._names.get(entry.stream, "")
        data = self._read_bytes(stream, entry)
        try:
            told = records.told(stream, entry.sequence, data)
        except DecodeError:
            return None
        return told if told.subject in subjects else None

    def _read_bytes(self, stream: str, entry: _Entry) -> bytes:
        places = [segment_file(self._directory / stream, entry.segment)]
        if self._archives:
            places.append(segment_file(self._archives / stream / f"{entry.segment:020}", entry.segment))
        for file in places:
            with contextlib.suppress(OSError), file.open("rb") as opened:
                size = int.from_bytes(os.pread(opened.fileno(), 4, entry.offset), "big")
                return os.pread(opened.fileno(), min(size, records.MOST_BYTES), entry.offset + 4)
        return b""


Batch = tuple[int, int, list[tuple[int, bytes]]]


def _stretches(folder: Path, segment: int, at: int, end: int | None) -> Iterator[list[Batch]]:
    """Yield the batches of a segment, as many together as are written together."""
    gathered: list[Batch] = []
    count = 0
    for batch in records.located(folder, segment, at, end):
        gathered.append(batch)
        count += len(batch[2])
        if count >= _COMMIT_RECORDS:
            yield gathered
            gathered, count = [], 0
    if gathered:
        yield gathered


def _entries(transaction: Any, subject: bytes, from_ns: int, until_ns: int) -> Iterator[_Entry]:
    first = subject + max(_LAST_NS - max(until_ns, 1) + 1, 0).to_bytes(8, "big")
    last = subject + (_LAST_NS - min(from_ns, _LAST_NS)).to_bytes(8, "big") + b"\xff" * 10
    cursor = transaction.cursor()
    if not cursor.set_range(first):
        return
    for key, held in cursor:
        if key > last:
            return
        if len(key) != _ENTRY.size:
            continue
        _, reversed_ns, stream, sequence = _ENTRY.unpack(key)
        yield _Entry(key, _LAST_NS - reversed_ns, stream, sequence, *_WHERE.unpack(held))


def _token(after: bytes) -> str:
    return base64.urlsafe_b64encode(after).decode("ascii")


def _read_token(token: str) -> bytes:
    try:
        after = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        after = b"?"
    if token and len(after) != _ENTRY.size - 16:
        raise InvalidRequest(Violation("page_token", "must be one of a response to the same request"))
    return after


@contextlib.contextmanager
def filling(directory: Path) -> Iterator[None]:
    """Be the one who fills the index, within the context. Raises BaseBusy: another process is; DirectoryUnusable."""
    try:
        descriptor = os.open(directory / "usage.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DirectoryUnusable(f"{directory}: cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BaseBusy("the index of usage is being filled by another process, which is likely the broker") from None
    finally:
        os.close(descriptor)


def rebuild(directory: Path, places: Mapping[str, Place], done: Callable[[int], object] = lambda _: None) -> int:
    """Make the index anew, for who is `filling`; it takes the place of the old one when it is whole. Returns records read.

    Raises:
        DirectoryUnusable, OSError, ValueError: as `UsageIndex` and `fill`.
    """
    shutil.rmtree(directory / "usage.new", ignore_errors=True)
    index = UsageIndex(directory, into="usage.new")
    try:
        count = index.fill(places, done)
    finally:
        index.close()
    shutil.rmtree(directory / "usage", ignore_errors=True)
    (directory / "usage.new").rename(directory / "usage")
    return count
