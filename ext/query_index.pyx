# cython: language_level=3
"""The query index, open for probes and changes: the boundary of its C. The contract is in `broker/_native/query_index.pyi`.

What must not go in here: how it is built (query_build.pyx), and files, locks and record bases (broker/records).
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "atomic64.h" nogil:
    uint64_t atomic64_load(const uint64_t *word)
    void atomic64_store(uint64_t *word, uint64_t value)

cdef dict _WHY_NOT = {
    <int>INDEX_IS_NONE: "is no query index",
    <int>INDEX_OTHER_FORMAT: "is of another format",
    <int>INDEX_CUT_OFF: "is cut off",
    <int>INDEX_DAMAGED: "is damaged",
}
cdef dict _WHY_NO_DELTA = {
    <int>DELTA_IS_NONE: "is no delta",
    <int>DELTA_OTHER_FORMAT: "is a delta of another format",
    <int>DELTA_CUT_OFF: "is a delta that is cut off",
    <int>DELTA_DAMAGED: "is a damaged delta",
    <int>DELTA_OF_ANOTHER: "is the delta of another index, or of other records",
}


class Unusable(ValueError):
    """See `query_index.pyi`."""


class Full(Exception):
    """See `query_index.pyi`."""


cdef int judge(int status, dict why) except -1:
    if status != 0:
        raise Unusable(why[status])
    return 0


cdef RecordKey key_of(bytes key) except *:
    if key is None or not 0 < PyBytes_GET_SIZE(key) <= <Py_ssize_t>RECORD_KEY_MOST:
        raise ValueError(f"key: must be 1 to {RECORD_KEY_MOST} bytes")
    return RecordKey(<const unsigned char *>PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key))


cdef int borrow(object values, Py_buffer *view, size_t wanted, str what) except -1:
    """Take a buffer of exactly so many bytes; whoever calls releases it."""
    PyObject_GetBuffer(values, view, PyBUF_SIMPLE)
    if <size_t>view.len != wanted or <size_t>view.buf % 8:
        PyBuffer_Release(view)
        raise ValueError(f"{what}: must be {wanted} bytes, aligned to 8")
    return 0


@cython.final
cdef class Index:
    """See `query_index.pyi`."""

    def __cinit__(self, file, delta=None, *, bint writable=False):
        PyObject_GetBuffer(file, &self._file, PyBUF_SIMPLE)
        self._has_file = True
        judge(index_open(&self.index, self._file.buf, <size_t>self._file.len), _WHY_NOT)
        if delta is not None:
            self._attach(delta, writable)

    def _attach(self, delta, bint writable):
        cdef const IndexHeader *header = &self.index.header
        PyObject_GetBuffer(delta, &self._delta, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        self._has_delta = True
        self._is_writable = writable
        judge(delta_open(&self.index.delta, self._delta.buf, <size_t>self._delta.len, header.build, header.rows,
                         header.stride, header.keys_per_record), _WHY_NO_DELTA)

    def __dealloc__(self):
        self._release()

    def _release(self):
        if self._has_delta:
            self._has_delta = False
            PyBuffer_Release(&self._delta)
        if self._has_file:
            self._has_file = False
            PyBuffer_Release(&self._file)

    def close(self):
        """See `query_index.pyi`."""
        if self._users:
            raise BufferError("the index is in use")
        self._release()

    cdef int check_open(self) except -1:
        if not self._has_file:
            raise ValueError("the index is closed")
        return 0

    cdef int check_writable(self) except -1:
        self.check_open()
        if not self._has_delta or not self._is_writable:
            raise ValueError("the index was not opened for changes")
        return 0

    # --- what it says of itself -------------------------------------------------------------------------------------

    def facts(self):
        """See `query_index.pyi`."""
        self.check_open()
        cdef const IndexHeader *header = &self.index.header
        return {
            "layout": <bytes>header.layout[:INDEX_LAYOUT_BYTES],
            "build": header.build,
            "built_at_ms": header.built_at_ms,
            "rows": header.rows,
            "stride": header.stride,
            "keys_per_record": header.keys_per_record,
            "bits": header.bits,
            "slots": header.slots,
            "dropped_buckets": header.dropped_buckets,
            "dropped_slots": header.dropped_slots,
            "bytes": self.index.sections.file,
            "chunks": self.index.sections.chunks,
        }

    def learned(self):
        """See `query_index.pyi`."""
        self.check_open()
        return PyBytes_FromStringAndSize(<const char *>self.index.memory + self.index.sections.learned,
                                         <Py_ssize_t>self.index.header.learned_bytes)

    def damaged(self, uint64_t begin, uint64_t end):
        """See `query_index.pyi`."""
        self.check_open()
        cdef uint64_t found
        self._users += 1
        with nogil:
            found = index_damaged(&self.index, begin, end)
        self._users -= 1
        return found

    def changes(self):
        """See `query_index.pyi`."""
        self.check_open()
        if not self._has_delta:
            return 0, 0
        return delta_visible(&self.index.delta), self.index.delta.capacity

    def boot(self):
        """See `query_index.pyi`."""
        self.check_open()
        return <bytes>self.index.delta.header.boot[:DELTA_BOOT_BYTES] if self._has_delta else b""

    @property
    def is_retired(self):
        """See `query_index.pyi`."""
        self.check_open()
        return self._has_delta and atomic64_load(&self.index.delta.header.retired) != 0

    # --- looking up ---------------------------------------------------------------------------------------------------

    cdef uint64_t _visible(self) noexcept:
        return delta_visible(&self.index.delta) if self._has_delta else 0

    def see(self, uint64_t known):
        """See `query_index.pyi`."""
        self.check_open()
        if self._has_delta:
            if known > atomic64_load(&self.index.delta.header.reserved):
                raise Unusable("has a delta that lacks changes of the base")
            self.index.delta.floor = known
        elif known:
            raise Unusable("has lost its delta")

    def probe(self, keys, uint32_t most):
        """See `query_index.pyi`."""
        cdef Py_buffer view
        cdef uint32_t[PROBE_MOST] slots
        cdef Probed probed
        self.check_open()
        PyObject_GetBuffer(keys, &view, PyBUF_SIMPLE)
        try:
            if view.len % 8 or <size_t>view.buf % 8:
                raise ValueError("keys: must be words of 64 bits, aligned to 8 bytes")
            probed = query_probe(&self.index, <const uint64_t *>view.buf, <size_t>view.len // 8, 0, slots, most, most)
        finally:
            PyBuffer_Release(&view)
        return [slots[i] for i in range(probed.count)], bool(probed.is_cut)

    def record(self, uint32_t slot):
        """See `query_index.pyi`."""
        self.check_open()
        if not index_is_live(&self.index, slot, self._visible()):
            return None
        return PyBytes_FromStringAndSize(<const char *>index_record(&self.index, slot), self.index.stride)

    def key(self, uint32_t slot):
        """See `query_index.pyi`."""
        cdef unsigned char[RECORD_KEY_MOST] room
        self.check_open()
        cdef size_t size = index_key_of(&self.index, slot, room)
        return <bytes>room[:size] if size and index_is_live(&self.index, slot, self._visible()) else None

    def find(self, bytes key not None):
        """See `query_index.pyi`."""
        self.check_open()
        cdef uint32_t slot = index_slot_of(&self.index, key_of(key), self._visible())
        return None if slot == NO_SLOT else slot

    def live(self):
        """See `query_index.pyi`."""
        self.check_open()
        cdef uint64_t visible = self._visible(), count = 0
        cdef uint64_t slot, end = <uint64_t>self.index.rows + visible
        self._users += 1
        with nogil:
            for slot in range(end):
                count += index_is_live(&self.index, <uint32_t>slot, visible)
        self._users -= 1
        return count

    # --- changing -------------------------------------------------------------------------------------------------------

    def put(self, records, keys, list record_keys not None):
        """See `query_index.pyi`."""
        cdef Py_buffer rows, words
        cdef size_t count = <size_t>len(record_keys), stride = self.index.stride
        cdef size_t keys_per_record
        self.check_writable()
        keys_per_record = self.index.header.keys_per_record
        borrow(records, &rows, count * stride, "records")
        try:
            borrow(keys, &words, count * keys_per_record * 8, "keys")
            try:
                for i, key in enumerate(record_keys):
                    self._put_one(<const unsigned char *>rows.buf + <size_t>i * stride,
                                  <const uint64_t *>words.buf + <size_t>i * keys_per_record, key)
            finally:
                PyBuffer_Release(&words)
        finally:
            PyBuffer_Release(&rows)

    cdef int _put_one(self, const unsigned char *record, const uint64_t *keys, bytes key) except -1:
        if index_put(&self.index, record, keys, key_of(key)) != DELTA_OK:
            raise Full("no more changes fit")
        return 0

    def remove(self, list record_keys not None):
        """See `query_index.pyi`."""
        cdef RecordKey of
        cdef uint32_t superseded
        cdef Py_ssize_t removed = 0
        self.check_writable()
        for key in record_keys:
            of = key_of(key)
            superseded = index_slot_of(&self.index, of, self.index.delta.capacity)
            if superseded == NO_SLOT:
                continue
            if delta_remove(&self.index.delta, of, superseded) != DELTA_OK:
                raise Full("no more changes fit")
            removed += 1
        return removed

    def appended(self):
        """See `query_index.pyi`."""
        self.check_writable()
        return atomic64_load(&self.index.delta.header.reserved)

    def publish(self):
        """See `query_index.pyi`."""
        self.check_writable()
        delta_publish(&self.index.delta)

    def mend(self, uint64_t known):
        """See `query_index.pyi`."""
        self.check_writable()
        judge(delta_mend(&self.index.delta, known), _WHY_NO_DELTA)

    def relink(self, uint64_t known, bytes boot not None):
        """See `query_index.pyi`."""
        cdef const unsigned char *of_boot = boot_of(boot)
        cdef int status
        self.check_writable()
        self._users += 1
        with nogil:
            status = delta_relink(&self.index.delta, known, of_boot)
        self._users -= 1
        judge(status, _WHY_NO_DELTA)

    def retire(self, bint retired):
        """See `query_index.pyi`."""
        self.check_writable()
        atomic64_store(&self.index.delta.header.retired, retired)


cdef const unsigned char *boot_of(bytes boot) except NULL:
    if PyBytes_GET_SIZE(boot) != DELTA_BOOT_BYTES:
        raise ValueError(f"boot: must be {DELTA_BOOT_BYTES} bytes")
    return <const unsigned char *>PyBytes_AS_STRING(boot)


def delta_bytes(uint32_t rows, uint32_t stride, uint32_t keys_per_record, uint32_t capacity):
    """See `query_index.pyi`."""
    if not 1 <= stride <= INDEX_MOST_STRIDE or keys_per_record > INDEX_MOST_KEYS:
        raise ValueError(f"a record has 1 to {INDEX_MOST_STRIDE} bytes and at most {INDEX_MOST_KEYS} keys")
    if capacity == 0 or <uint64_t>capacity * (keys_per_record + 1) >= 0xFFFFFFFF:
        raise ValueError("capacity: must be at least 1 and of fewer than 2**32 keys")
    return delta_sections(rows, stride, keys_per_record, capacity).file


def make_delta(memory, Index index not None, uint32_t capacity, bytes boot not None):
    """See `query_index.pyi`."""
    cdef Py_buffer view
    index.check_open()
    cdef const IndexHeader *of = &index.index.header
    cdef const unsigned char *of_boot = boot_of(boot)
    cdef uint64_t wanted = delta_bytes(of.rows, of.stride, of.keys_per_record, capacity)
    PyObject_GetBuffer(memory, &view, PyBUF_WRITABLE)
    try:
        if <uint64_t>view.len < wanted or <size_t>view.buf % 64:
            raise ValueError(f"memory: must be at least {wanted} bytes, aligned to 64")
        delta_make(<unsigned char *>view.buf, of.build, of.rows, of.stride, of.keys_per_record, capacity, of_boot)
    finally:
        PyBuffer_Release(&view)
