# cython: language_level=3
"""Walks the batches of segments of the audit log: the boundary of ext/journal_walk.c. The contract is in
`broker/_native/journal_check.pyi`.

What must not go in here: files, checkpoints, what a record says.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t

from journal_walk cimport (
    JOURNAL_BATCH_BYTES, JOURNAL_HASHED_BYTES, JOURNAL_SEGMENT_BYTES, WALK_CLOSED, WALK_CHAIN, WALK_CRC, WALK_CUT_OFF, WALK_END, WALK_FLAGS,
    WALK_NO_BATCH, WALK_NO_DIGEST, WALK_NUMBER, WALK_ON, WALK_RECORDS, WALK_ROOT, WALK_SEQUENCE,
    JournalBatch, JournalState, WalkStatus, journal_begin, journal_begin_segment, journal_find_whole, journal_look, journal_next_record, journal_nodes,
    journal_root, journal_take, journal_used,
)
from merkle_trees cimport (
    MERKLE_BYTES, MERKLE_DEEPEST, MERKLE_NO_ALGORITHM, MERKLE_OK, MerkleHash, MerkleStatus, merkle_close, merkle_leaf, merkle_open,
)

ON, CLOSED, END = <int>WALK_ON, <int>WALK_CLOSED, <int>WALK_END

FAULTS = {
    <int>WALK_CUT_OFF: "the batch is cut off",
    <int>WALK_NO_BATCH: "no batch begins where one should",
    <int>WALK_CRC: "the CRC does not hold",
    <int>WALK_FLAGS: "unknown flags",
    <int>WALK_NUMBER: "another batch is missing or doubled",
    <int>WALK_SEQUENCE: "records are missing or doubled",
    <int>WALK_CHAIN: "it does not follow on the batch before",
    <int>WALK_RECORDS: "lengths of records do not add up",
    <int>WALK_ROOT: "its records are not those that were hashed",
}


@cython.final
cdef class _Bytes:
    """A view of bytes for the length of a call."""

    cdef Py_buffer view
    cdef const unsigned char *data
    cdef size_t size

    def __cinit__(self, data):
        PyObject_GetBuffer(data, &self.view, PyBUF_SIMPLE)
        self.data = <const unsigned char *>self.view.buf
        self.size = <size_t>self.view.len

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef int open_hash(MerkleHash *hash, int algorithm) except -1:
    cdef MerkleStatus status = merkle_open(hash, algorithm)
    if status == MERKLE_NO_ALGORITHM:
        raise ValueError("algorithm: must be SHA-256 (1) or SM3 (2), and one that libcrypto offers")
    if status != MERKLE_OK:
        raise RuntimeError("libcrypto failed to hash")
    return 0


cdef size_t within(_Bytes segment, at, end) except? 0:
    """Return the end of what is looked at; `at` is not beyond it."""
    if not 0 <= at <= end or end > segment.size:
        raise ValueError("at, end: must be within the segment")
    return end


@cython.final
cdef class Walk:
    """See `journal_check.pyi`."""

    cdef JournalState state
    cdef MerkleHash hash
    cdef readonly int algorithm

    def __cinit__(self, int algorithm, uint64_t batches=0, uint64_t records=0, bytes chain not None=bytes(32), nodes=()):
        cdef bytes joined = b"".join(nodes)
        if PyBytes_GET_SIZE(chain) != MERKLE_BYTES or any(len(node) != MERKLE_BYTES for node in nodes):
            raise ValueError("chain, nodes: must be hashes of 32 bytes")
        if PyBytes_GET_SIZE(joined) != <Py_ssize_t>MERKLE_BYTES * bin(batches).count("1"):
            raise ValueError("nodes: must be one for each whole subtree")
        self.algorithm = algorithm
        open_hash(&self.hash, algorithm)
        journal_begin(&self.state, batches, records, <const unsigned char *>PyBytes_AS_STRING(chain),
                      <const unsigned char *>PyBytes_AS_STRING(joined))

    def __dealloc__(self):
        merkle_close(&self.hash)

    @property
    def batches(self):
        """See `journal_check.pyi`."""
        return self.state.batches

    @property
    def records(self):
        """See `journal_check.pyi`."""
        return self.state.records

    @property
    def chain(self):
        """See `journal_check.pyi`."""
        return PyBytes_FromStringAndSize(<const char *>self.state.chain, MERKLE_BYTES)

    def begin_segment(self, bytes header not None):
        """See `journal_check.pyi`."""
        if PyBytes_GET_SIZE(header) != JOURNAL_SEGMENT_BYTES:
            raise ValueError("header: must be 256 bytes")
        if not journal_begin_segment(&self.hash, &self.state, <const unsigned char *>PyBytes_AS_STRING(header)):
            raise RuntimeError("libcrypto failed to hash")

    def root(self):
        """See `journal_check.pyi`."""
        cdef unsigned char made[MERKLE_BYTES]
        if not journal_root(&self.hash, &self.state, made):
            raise RuntimeError("libcrypto failed to hash")
        return PyBytes_FromStringAndSize(<const char *>made, MERKLE_BYTES)

    def nodes(self):
        """See `journal_check.pyi`."""
        cdef unsigned char made[MERKLE_DEEPEST * MERKLE_BYTES]
        cdef unsigned count = journal_nodes(&self.state, made), i
        return [PyBytes_FromStringAndSize(<const char *>made + i * MERKLE_BYTES, MERKLE_BYTES) for i in range(count)]

    def take(self, segment, at, end, uint64_t until=0xFFFFFFFFFFFFFFFF, size_t most_bytes=1 << 26):
        """See `journal_check.pyi`."""
        cdef _Bytes view = _Bytes(segment)
        cdef size_t size = within(view, at, end), place = at, stop
        cdef WalkStatus status = WALK_ON
        stop = place + most_bytes if most_bytes < size - place else size
        with nogil:
            while status == WALK_ON and self.state.batches < until and (place < stop or place == size):
                status = journal_take(&self.hash, &self.state, view.data, size, &place)
        if status == WALK_NO_DIGEST:
            raise RuntimeError("libcrypto failed to hash")
        return place, <int>status


cdef bint look(_Bytes segment, size_t at, size_t end, JournalBatch *batch) noexcept:
    return journal_look(segment.data, end, at, batch) == WALK_ON


def find_whole(segment, at, end):
    """See `journal_check.pyi`."""
    cdef _Bytes view = _Bytes(segment)
    cdef size_t size = within(view, at, end), place = at, found
    with nogil:
        found = journal_find_whole(view.data, size, place)
    return -1 if found == size else found


def used(segment, at, end):
    """See `journal_check.pyi`."""
    cdef _Bytes view = _Bytes(segment)
    cdef size_t size = within(view, at, end), place = at
    return place + journal_used(view.data + place, size - place)


def find_batch(segment, at, end, uint64_t sequence):
    """See `journal_check.pyi`."""
    cdef _Bytes view = _Bytes(segment)
    cdef size_t size = within(view, at, end), place = at
    cdef JournalBatch batch
    while look(view, place, size, &batch) and batch.first <= sequence:
        if sequence - batch.first < batch.count:
            return place
        place += JOURNAL_BATCH_BYTES + <size_t>batch.bytes
    return -1


def last_batch(segment, at, end):
    """See `journal_check.pyi`."""
    cdef _Bytes view = _Bytes(segment)
    cdef size_t size = within(view, at, end), place = at, begun = 0
    cdef JournalBatch batch
    cdef bint found = False
    cdef uint64_t number = 0
    while look(view, place, size, &batch):
        found, begun, number = True, place, batch.number
        place += JOURNAL_BATCH_BYTES + <size_t>batch.bytes
    return (begun, place, number) if found else None


def header_hashes(segment, at, end, int algorithm):
    """See `journal_check.pyi`."""
    cdef _Bytes view = _Bytes(segment)
    cdef size_t size = within(view, at, end), place = at
    cdef JournalBatch batch
    cdef MerkleHash hash
    cdef MerkleStatus status = MERKLE_OK
    cdef unsigned char made[MERKLE_BYTES]
    cdef bytearray hashes = bytearray()
    open_hash(&hash, algorithm)
    while status == MERKLE_OK and look(view, place, size, &batch):
        status = merkle_leaf(&hash, batch.header, JOURNAL_HASHED_BYTES, made)
        hashes.extend(made[:MERKLE_BYTES])
        place += JOURNAL_BATCH_BYTES + <size_t>batch.bytes
    merkle_close(&hash)
    if status != MERKLE_OK:
        raise RuntimeError("libcrypto failed to hash")
    return bytes(hashes)


def records_at(segment, at, end):
    """See `journal_check.pyi`."""
    cdef _Bytes view = _Bytes(segment)
    cdef size_t size = within(view, at, end), place = 0
    cdef JournalBatch batch
    cdef const unsigned char *record
    cdef uint32_t count = 0
    cdef list found = []
    if not look(view, at, size, &batch):
        raise ValueError("at: no batch begins there")
    while True:
        record = journal_next_record(&batch, &place, &count)
        if record == NULL:
            break
        found.append((<size_t>(record - view.data) - 4, PyBytes_FromStringAndSize(<const char *>record, count)))
    if <uint32_t>len(found) != batch.count or place != batch.bytes:
        raise ValueError("at: lengths of the records there do not add up")
    return found
