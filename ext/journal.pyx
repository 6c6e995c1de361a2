# cython: language_level=3
"""Audit records and the writer of a stream: the boundary of ext/journal_*.c. The contract is in `broker/_native/journal.pyi`.

What must not go in here: what a record should say, finding out where a stream goes on (broker/audit/segments.py).
"""

from typing import NamedTuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

from broker._native.cachekey cimport Slice
from journal_files cimport (
    JOURNAL_AFTER_FAILURE, JOURNAL_ENDED, JOURNAL_FIRST, JOURNAL_FULL, JOURNAL_ID, JOURNAL_MORE_COME, JOURNAL_NO_HASH,
    JOURNAL_NO_RECORD, JOURNAL_NO_THREAD, JOURNAL_OK, JOURNAL_STREAM_NAME, JOURNAL_UNAVAILABLE, JournalBegin, JournalHead,
    JournalStream, JournalTiming, JournalWhy, journal_append, journal_clock_ns, journal_durable, journal_event, journal_head,
    journal_look, journal_nudge, journal_set_snapshot, journal_start, journal_state, journal_stop,
)
from journal_record cimport (
    FIELD_ALTERED, FIELD_AT, FIELD_FIELDS, FIELD_KIND, FIELD_MONO_NS, FIELD_VERSION, KIND_TOLD, RECORD_DIGESTS, RECORD_FIELDS,
    RECORD_NUMBERS, RECORD_ROOM, write_record,
)
from merkle_trees cimport (
    MERKLE_BYTES, MERKLE_DEEPEST, MERKLE_OK, MerkleHash, MerkleStatus, MerkleTree, merkle_close, merkle_open, merkle_root,
)

cdef extern from "<time.h>" nogil:
    const int CLOCK_REALTIME
    const int CLOCK_MONOTONIC

OPEN, FAILED, ENDED = 0, 1, 2
GOES_ON, CLOSES_SEGMENT, CLOSES_STREAM = 0, 1, 2
cdef uint64_t LEAST_STEP = 4096, MOST_BYTES = <uint64_t>1 << 40

# The fields of broker.v1.AuditRecord by their names; `at` is `wall_ns` here, and `altered` is not the caller's to say.
cdef dict _FIELDS = {
    "consumer": 3, "operator": 4, "interface": 5, "version": 6, "purpose": 7, "matter": 8, "case_id": 9, "fields": 10,
    "outcome": 11, "source": 12, "request_digest": 13, "answer_digest": 14, "kind": 15, "mono_ns": 16, "device": 17,
    "request_id": 18, "grant": 19, "grant_version": 20, "snapshot_version": 21, "plane": 22, "took_us": 23, "provider_us": 24,
    "subject": 25, "intent": 26, "code": 27, "embargo": 28, "method": 29, "target": 30, "count": 32, "change": 33,
    "wall_ns": FIELD_AT,
}


class Progress(NamedTuple):
    """See `journal.pyi`."""

    is_open: bool
    durable: int
    undecided: int
    failures: int


class Full(Exception):
    """See `journal.pyi`."""


class Unavailable(Exception):
    """See `journal.pyi`."""


# --- records -------------------------------------------------------------------------------------------------------

cdef int point_at(Slice *into, object value, list kept, str name) except -1:
    """Let a slice show a text or bytes, which stay as long as `kept`."""
    cdef Py_ssize_t size
    if isinstance(value, str):
        try:
            into.data = <const unsigned char *>PyUnicode_AsUTF8AndSize(value, &size)
            into.size = size
            return 0
        except UnicodeEncodeError:        # surrogates: no text, but to be told of all the same
            value = value.encode("utf-8", "surrogatepass")
            kept.append(value)
    if not isinstance(value, bytes):
        raise TypeError(f"{name}: must be str or bytes")
    into.data = <const unsigned char *>PyBytes_AS_STRING(value)
    into.size = PyBytes_GET_SIZE(value)
    return 0


@cython.final
cdef class _Filled:
    """A record filled from Python values, which it points into."""

    cdef JournalRecord record
    cdef Slice *names
    cdef list kept

    def __cinit__(self, dict fields):
        memset(&self.record, 0, sizeof(self.record))
        self.kept = list(fields.values())
        for name, value in fields.items():
            self.fill(name, value)
        complete(&self.record)

    def __dealloc__(self):
        PyMem_Free(self.names)

    cdef int fill(self, str name, object value) except -1:
        cdef int field = _FIELDS.get(name, 0)
        if field == 0:
            raise TypeError(f"{name}: is no field of an audit record")
        if field == FIELD_AT:
            self.record.wall_ns = value
        elif field == FIELD_FIELDS:
            self.fill_names(tuple(value))
        elif RECORD_NUMBERS >> field & 1:
            if field == FIELD_VERSION and value > 0xFFFFFFFF:
                raise OverflowError("version: must be below 2**32")
            self.record.numbers[field] = value
        else:
            point_at(&self.record.texts[field], value, self.kept, name)
        return 0

    cdef int fill_names(self, tuple names) except -1:
        self.kept.append(names)
        self.names = <Slice *>PyMem_Calloc(len(names) + 1, sizeof(Slice))
        if self.names == NULL:
            raise MemoryError()
        for i, name in enumerate(names):
            point_at(&self.names[i], name, self.kept, "fields")
        self.record.names, self.record.name_count = self.names, len(names)
        return 0


cdef inline void complete(JournalRecord *record) noexcept nogil:
    if record.wall_ns == 0:
        record.wall_ns = journal_clock_ns(CLOCK_REALTIME)
    if record.numbers[FIELD_MONO_NS] == 0:
        record.numbers[FIELD_MONO_NS] = journal_clock_ns(CLOCK_MONOTONIC)


def encode(**fields):
    """See `journal.pyi`."""
    cdef unsigned char room[RECORD_ROOM]
    cdef _Filled filled = _Filled(fields)
    return PyBytes_FromStringAndSize(<char *>room, <Py_ssize_t>write_record(room, &filled.record))


# --- the writer ----------------------------------------------------------------------------------------------------

cdef int judge(JournalStatus status) except -1:
    if status == JOURNAL_OK:
        return 0
    if status == JOURNAL_FULL:
        raise Full("the queue of audit records is full")
    if status == JOURNAL_UNAVAILABLE:
        raise Unavailable("the audit log cannot be written")
    if status == JOURNAL_NO_RECORD:
        raise ValueError("record: must be 1 to 65,536 bytes")
    if status == JOURNAL_NO_HASH:
        raise ValueError("algorithm: must be SHA256 (1) or SM3 (2), and one that libcrypto offers")
    if status == JOURNAL_NO_THREAD:
        raise OSError("no thread or no eventfd can be had")
    raise MemoryError()


cdef int copy_exactly(unsigned char *into, bytes value, size_t size, str name) except -1:
    if value is None or <size_t>PyBytes_GET_SIZE(value) != size:
        raise ValueError(f"{name}: must be {size} bytes")
    memcpy(into, PyBytes_AS_STRING(value), size)
    return 0


cdef int fill_stream(JournalStream *into, int directory, str name, algorithm, boot, key, sizes) except -1:
    cdef bytes utf8 = name.encode()
    if not 0 < len(utf8) <= JOURNAL_STREAM_NAME or b"\0" in utf8:
        raise ValueError(f"stream: must be 1 to {JOURNAL_STREAM_NAME} bytes")
    memset(into, 0, sizeof(JournalStream))
    memcpy(into.name, PyBytes_AS_STRING(utf8), len(utf8))
    into.directory, into.algorithm = directory, algorithm
    copy_exactly(into.boot, boot, JOURNAL_ID, "boot")
    copy_exactly(into.key, key, JOURNAL_ID, "key")
    into.segment_bytes, into.step_bytes = sizes
    if not LEAST_STEP <= into.step_bytes <= MOST_BYTES or not LEAST_STEP <= into.segment_bytes <= MOST_BYTES:
        raise ValueError(f"segment_bytes, step_bytes: must be {LEAST_STEP} to {MOST_BYTES}")
    return 0


cdef int fill_tree(MerkleTree *into, uint64_t size, bytes hashes) except -1:
    """`hashes` are the roots of the whole subtrees, largest first: one a bit of the size."""
    cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(hashes)
    cdef int level
    if size >> 63 or PyBytes_GET_SIZE(hashes) != size.bit_count() * MERKLE_BYTES:
        raise ValueError("tree: must be a hash of 32 bytes for each bit of its size")
    memset(into, 0, sizeof(MerkleTree))
    into.size = size
    for level in range(MERKLE_DEEPEST - 1, -1, -1):
        if size >> level & 1:
            memcpy(into.whole[level], at, MERKLE_BYTES)
            at += MERKLE_BYTES
    return 0


cdef int fill_begin(JournalBegin *into, int why, numbers, bytes chain, uint64_t valid, uint64_t left) except -1:
    if not JOURNAL_FIRST <= why <= JOURNAL_AFTER_FAILURE:
        raise ValueError("why: must be 1 to 4")
    into.why = <JournalWhy>why
    into.number, into.batch, into.sequence = numbers
    copy_exactly(into.chain, chain, MERKLE_BYTES, "chain")
    into.valid, into.left = valid, left
    return 0


@cython.final
cdef class Writer:
    """See `journal.pyi`."""

    def __cinit__(self, int directory, str stream not None, *, int algorithm, bytes boot not None, bytes key not None, int why,
                  numbers, bytes chain not None, tree, uint64_t valid=0, uint64_t left=0, uint64_t wall_ns=0,
                  uint64_t segment_bytes=1 << 28, uint64_t step_bytes=1 << 26, uint64_t linger_us=200, uint64_t retry_ms=250):
        cdef JournalStream common
        cdef JournalBegin begin
        cdef MerkleTree before
        cdef JournalTiming timing
        cdef JournalStatus status
        cdef Journal *journal = NULL
        fill_stream(&common, directory, stream, algorithm, boot, key, (segment_bytes, step_bytes))
        fill_begin(&begin, why, numbers, chain, valid, left)
        fill_tree(&before, tree[0], tree[1])
        if before.size != begin.batch:
            raise ValueError("tree: must be as large as there are batches")
        if linger_us > 1_000_000 or retry_ms > 1_000_000:
            raise ValueError("linger_us, retry_ms: must be at most 1,000,000")
        timing.linger_ns, timing.retry_ns, timing.wall_ns = linger_us * 1000, retry_ms * 1_000_000, wall_ns
        with nogil:
            status = journal_start(&journal, &common, &begin, &before, &timing)
        judge(status)
        self._journal, self._algorithm = journal, algorithm

    def __dealloc__(self):
        if self._journal != NULL:
            journal_stop(self._journal, &self._last)

    cdef JournalStatus put(self, JournalRecord *record, uint64_t *sequence) noexcept nogil:
        cdef unsigned char room[RECORD_ROOM]
        if self._journal == NULL:
            return JOURNAL_UNAVAILABLE
        complete(record)
        return journal_append(self._journal, room, write_record(room, record), JOURNAL_MORE_COME, sequence)

    cdef void nudge(self) noexcept nogil:
        if self._journal != NULL:
            journal_nudge(self._journal)

    cdef uint64_t durable_now(self) noexcept nogil:
        return journal_durable(self._journal) if self._journal != NULL else self._last.durable

    cdef JournalState state_now(self) noexcept nogil:
        return journal_state(self._journal) if self._journal != NULL else JOURNAL_ENDED

    def append(self, bytes record not None, int after=0):
        """See `journal.pyi`."""
        cdef uint64_t sequence = 0
        if self._journal == NULL:
            raise Unavailable("the audit log is closed")
        if not 0 <= after <= 2:
            raise ValueError("after: must be GOES_ON, CLOSES_SEGMENT or CLOSES_STREAM")
        judge(journal_append(self._journal, PyBytes_AS_STRING(record), <size_t>PyBytes_GET_SIZE(record), <JournalAfter>after,
                             &sequence))
        return sequence

    @property
    def event(self):
        """See `journal.pyi`."""
        return journal_event(self._journal) if self._journal != NULL else -1

    @property
    def durable(self):
        """See `journal.pyi`."""
        return self.durable_now()

    @property
    def state(self):
        """See `journal.pyi`."""
        return <int>self.state_now()

    def set_snapshot(self, uint64_t version):
        """See `journal.pyi`."""
        if self._journal != NULL:
            journal_set_snapshot(self._journal, version)

    def progress(self):
        """See `journal.pyi`."""
        cdef JournalFacts facts = self._last
        if self._journal != NULL:
            journal_look(self._journal, &facts)
        return Progress(<int>facts.state == OPEN, facts.durable, facts.undecided, facts.failures)

    def facts(self):
        """See `journal.pyi`."""
        cdef JournalFacts facts = self._last
        if self._journal != NULL:
            journal_look(self._journal, &facts)
        return facts

    def head(self):
        """See `journal.pyi`."""
        cdef JournalHead head
        cdef MerkleHash hash
        cdef MerkleStatus status
        cdef unsigned char root[MERKLE_BYTES]
        if self._journal == NULL:
            raise Unavailable("the audit log is closed")
        journal_head(self._journal, &head)
        status = merkle_open(&hash, self._algorithm)
        if status == MERKLE_OK:
            status = merkle_root(&hash, &head.tree, root)
        merkle_close(&hash)
        if status != MERKLE_OK:
            raise RuntimeError("libcrypto failed to hash")
        return head.records, head.batches, head.chain[:MERKLE_BYTES], root[:MERKLE_BYTES]

    def close(self):
        """See `journal.pyi`."""
        cdef Journal *journal = self._journal
        cdef JournalFacts last
        if journal == NULL:
            return
        told = encode(kind=KIND_TOLD, outcome="CLOSED")
        try:
            self.append(told, CLOSES_STREAM)
        except (Full, Unavailable):
            pass                          # what waits is written if it can be; the next start finds it not closed
        self._journal = NULL
        with nogil:
            journal_stop(journal, &last)
        self._last = last
