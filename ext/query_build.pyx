# cython: language_level=3
"""What a query index is built of: postings of keys, and words for the keys of records. Contract: `broker/_native/query_build.pyi`.

What must not go in here: reading an index (query_index.pyx), files, and what records and keys are made of.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from broker._native.query_index cimport (
    INDEX_LAYOUT_BYTES,
    INDEX_MOST_LEARNED,
    INDEX_MOST_KEYS,
    INDEX_MOST_STRIDE,
    RECORD_KEY_MOST,
    IndexHeader,
    IndexSections,
    RecordKey,
    index_seal,
    index_sections,
)

cdef extern from "record_keys.h" nogil:
    uint64_t record_key_number(RecordKey key)
    uint64_t record_key_in_heap(uint64_t at)
    size_t record_key_heap_bytes(size_t size)
    void record_key_store(unsigned char *heap, RecordKey key)

cdef extern from "postings.h" nogil:
    enum:
        POSTINGS_MOST
    ctypedef enum PostingsStatus:
        POSTINGS_OK, POSTINGS_NO_ROOM, POSTINGS_TOO_MANY
    ctypedef struct PostingsBuild:
        uint64_t added
        bint marks
    ctypedef struct PostingsBuilt:
        uint32_t slots, dropped_buckets
        uint64_t dropped_slots
    size_t postings_scratch_bytes(uint64_t most_pairs)
    size_t postings_scratch_used(const PostingsBuild *build, uint64_t more_pairs)
    uint32_t postings_bits(uint64_t pairs)
    PostingsStatus postings_begin(PostingsBuild *build, void *scratch, size_t scratch_bytes, uint64_t most_pairs)
    PostingsStatus postings_add(PostingsBuild *build, const uint64_t *keys, size_t rows, size_t keys_per_row, uint32_t first_slot)
    PostingsStatus postings_finish(PostingsBuild *build, uint32_t bits, uint32_t cap, uint32_t *directory, uint32_t *slots,
                                   uint64_t room, PostingsBuilt *built)


def scratch_bytes(uint64_t most_pairs):
    """See `query_build.pyi`."""
    return postings_scratch_bytes(most_pairs)


def key_words(list keys not None, uint64_t heap_at):
    """See `query_build.pyi`."""
    cdef bytes words = PyBytes_FromStringAndSize(NULL, len(keys) * 8)
    cdef uint64_t word
    cdef RecordKey of
    cdef list heap = []
    cdef bytes room
    for i, key in enumerate(keys):
        if not 0 < len(<bytes?>key) <= <Py_ssize_t>RECORD_KEY_MOST:
            raise ValueError(f"keys: each must be 1 to {RECORD_KEY_MOST} bytes")
        of = RecordKey(<const unsigned char *>PyBytes_AS_STRING(key), <size_t>PyBytes_GET_SIZE(key))
        word = record_key_number(of)
        if word == 0:
            room = PyBytes_FromStringAndSize(NULL, record_key_heap_bytes(of.size))
            record_key_store(<unsigned char *>PyBytes_AS_STRING(room), of)
            word = record_key_in_heap(heap_at)
            heap_at += <uint64_t>PyBytes_GET_SIZE(room)
            heap.append(room)
        memcpy(PyBytes_AS_STRING(words) + <size_t>i * 8, &word, 8)
    return words, b"".join(heap)


cdef struct Counts:
    uint32_t rows, stride, keys_per_record
    uint64_t heap_bytes, learned_bytes


cdef IndexHeader header_of(Counts counts, uint64_t slots) except *:
    """A header with nothing but counts, that sections can be computed from."""
    cdef IndexHeader header
    memset(&header, 0, sizeof(header))
    if not 1 <= counts.stride <= INDEX_MOST_STRIDE or counts.keys_per_record > INDEX_MOST_KEYS:
        raise ValueError(f"a record has 1 to {INDEX_MOST_STRIDE} bytes and at most {INDEX_MOST_KEYS} keys")
    if slots > POSTINGS_MOST:
        raise OverflowError("keys: more than an index takes")
    if counts.learned_bytes > INDEX_MOST_LEARNED:
        raise ValueError(f"learned: must be at most {INDEX_MOST_LEARNED} bytes")
    header.learned_bytes = counts.learned_bytes
    header.rows, header.stride, header.keys_per_record = counts.rows, counts.stride, counts.keys_per_record
    header.bits, header.slots, header.heap_bytes = postings_bits(slots), <uint32_t>slots, counts.heap_bytes
    return header


def places(uint32_t rows, uint32_t stride, *, uint32_t keys_per_record=0, uint64_t pairs=0, uint64_t heap_bytes=0,
           uint64_t learned_bytes=0):
    """See `query_build.pyi`."""
    cdef IndexHeader header = header_of(Counts(rows, stride, keys_per_record, heap_bytes, learned_bytes), pairs)
    cdef IndexSections at = index_sections(&header)
    return {"records": at.records, "words": at.words, "heap": at.heap, "file": at.file}


@cython.final
cdef class Postings:
    """See `query_build.pyi`."""

    cdef Py_buffer _scratch
    cdef bint _open, _spent
    cdef PostingsBuild _build
    cdef uint32_t _rows, _keys_per_record

    def __cinit__(self, scratch, uint64_t most_pairs, uint32_t keys_per_record):
        PyObject_GetBuffer(scratch, &self._scratch, PyBUF_WRITABLE)
        self._open = True
        self._keys_per_record = keys_per_record
        if <size_t>self._scratch.buf % 8 or postings_begin(
            &self._build, self._scratch.buf, <size_t>self._scratch.len, most_pairs
        ) != POSTINGS_OK:
            raise ValueError("scratch: is too small for so many pairs, or not aligned to 8 bytes")

    def __dealloc__(self):
        self.close()

    def close(self):
        """See `query_build.pyi`."""
        if self._open:
            self._open = False
            PyBuffer_Release(&self._scratch)

    @property
    def pairs(self):
        """See `query_build.pyi`."""
        return self._build.added

    def scratch_used(self, uint64_t more_pairs):
        """See `query_build.pyi`."""
        return postings_scratch_used(&self._build, more_pairs)

    def add(self, keys):
        """See `query_build.pyi`."""
        cdef Py_buffer view
        cdef size_t rows, row_bytes = <size_t>self._keys_per_record * 8
        cdef int status
        self._check()
        PyObject_GetBuffer(keys, &view, PyBUF_SIMPLE)
        try:
            if row_bytes == 0 or <size_t>view.len % row_bytes or <size_t>view.buf % 8:
                raise ValueError(f"keys: must be rows of {self._keys_per_record} words of 64 bits, aligned to 8 bytes")
            rows = <size_t>view.len // row_bytes
            with nogil:
                status = postings_add(&self._build, <const uint64_t *>view.buf, rows, self._keys_per_record, self._rows)
        finally:
            PyBuffer_Release(&view)
        if status != POSTINGS_OK:
            self._spent = True
            raise OverflowError("keys: more than were announced, or than an index takes")
        self._rows += <uint32_t>rows

    cdef int _check(self) except -1:
        if not self._open or self._spent:
            raise ValueError("these postings are closed, or used up")
        return 0

    def seal(self, file, *, uint32_t stride, uint64_t heap_bytes, uint32_t cap, bytes layout not None, bytes learned not None,
             uint64_t build, int64_t built_at_ms):
        """See `query_build.pyi`."""
        cdef Py_buffer view
        cdef Counts counts = Counts(self._rows, stride, self._keys_per_record, heap_bytes, <uint64_t>len(learned))
        cdef IndexHeader header = header_of(counts, self._build.added)
        self._check()
        if len(layout) != INDEX_LAYOUT_BYTES:
            raise ValueError(f"layout: must be {INDEX_LAYOUT_BYTES} bytes")
        memcpy(header.layout, PyBytes_AS_STRING(layout), INDEX_LAYOUT_BYTES)
        header.build, header.built_at_ms = build, built_at_ms
        PyObject_GetBuffer(file, &view, PyBUF_WRITABLE)
        try:
            return self._write(&view, &header, learned, cap)
        finally:
            PyBuffer_Release(&view)

    cdef object _write(self, Py_buffer *view, IndexHeader *header, bytes learned, uint32_t cap):
        cdef IndexSections at = index_sections(header)
        cdef PostingsBuilt built
        cdef int status
        cdef unsigned char *memory = <unsigned char *>view.buf
        if <uint64_t>view.len < at.file or <size_t>memory % 64:
            raise ValueError(f"file: must be at least {at.file} bytes, aligned to 64")
        self._spent = True
        self._build.marks = True
        memcpy(memory + at.learned, PyBytes_AS_STRING(learned), len(learned))
        with nogil:
            status = postings_finish(&self._build, header.bits, cap, <uint32_t *>(memory + at.directory),
                                     <uint32_t *>(memory + at.slots), self._build.added, &built)
            if status == POSTINGS_OK:
                header.slots, header.dropped_buckets = built.slots, built.dropped_buckets
                header.dropped_slots = built.dropped_slots
                index_seal(memory, header)
        if status != POSTINGS_OK:
            raise OverflowError("keys: more than an index takes")
        return index_sections(header).file
