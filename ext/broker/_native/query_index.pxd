# cython: language_level=3
"""C declarations of the query index (`query_index.h`, `query_delta.h`, `query_probe.h`), and of the object that holds one.

Who searches in Cython cimports `Index`, calls `query_probe` on `&index.index` and compares `index_record` of what it returns.
What must not go in here: what Python sees (`broker/_native/query_index.pyi`).
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "record_keys.h" nogil:
    enum:
        RECORD_KEY_MOST
    uint32_t NO_SLOT
    ctypedef struct RecordKey:
        const unsigned char *data
        size_t size

cdef extern from "query_delta.h" nogil:
    enum:
        DELTA_BOOT_BYTES
    ctypedef struct DeltaHeader:
        unsigned char *boot
        uint64_t visible, reserved, retired
    ctypedef struct Delta:
        DeltaHeader *header
        uint32_t capacity
        uint64_t floor
    ctypedef struct DeltaSections:
        uint64_t file
    ctypedef enum DeltaStatus:
        DELTA_OK, DELTA_IS_NONE, DELTA_OTHER_FORMAT, DELTA_CUT_OFF, DELTA_DAMAGED, DELTA_OF_ANOTHER, DELTA_FULL
    DeltaSections delta_sections(uint32_t rows, uint32_t stride, uint32_t keys_per_record, uint32_t capacity)
    void delta_make(unsigned char *memory, uint64_t build, uint32_t rows, uint32_t stride, uint32_t keys_per_record,
                    uint32_t capacity, const unsigned char *boot)
    DeltaStatus delta_open(Delta *delta, void *memory, size_t size, uint64_t build, uint32_t rows, uint32_t stride,
                           uint32_t keys_per_record)
    uint64_t delta_visible(const Delta *delta)
    DeltaStatus delta_remove(Delta *delta, RecordKey key, uint32_t superseded)
    void delta_publish(Delta *delta)
    DeltaStatus delta_mend(Delta *delta, uint64_t known)
    DeltaStatus delta_relink(Delta *delta, uint64_t known, const unsigned char *boot)

cdef extern from "query_index.h" nogil:
    enum:
        INDEX_LAYOUT_BYTES
        INDEX_MOST_STRIDE
        INDEX_MOST_LEARNED
        INDEX_MOST_KEYS
    ctypedef struct IndexHeader:
        unsigned char *layout
        uint64_t build
        int64_t built_at_ms
        uint32_t rows, stride, keys_per_record, bits, slots, dropped_buckets
        uint64_t dropped_slots, heap_bytes, learned_bytes
    ctypedef struct IndexSections:
        uint64_t records, words, heap, learned, directory, slots, checksums, file, chunks
    ctypedef struct QueryIndex:
        IndexHeader header
        const unsigned char *memory
        IndexSections sections
        uint32_t rows, stride
        Delta delta
    ctypedef enum IndexStatus:
        INDEX_OK, INDEX_IS_NONE, INDEX_OTHER_FORMAT, INDEX_CUT_OFF, INDEX_DAMAGED
    IndexSections index_sections(const IndexHeader *header)
    IndexStatus index_open(QueryIndex *index, const void *memory, size_t size)
    void index_seal(unsigned char *memory, const IndexHeader *header)
    uint64_t index_damaged(const QueryIndex *index, uint64_t begin, uint64_t end)
    const unsigned char *index_record(const QueryIndex *index, uint32_t slot)
    bint index_is_live(const QueryIndex *index, uint32_t slot, uint64_t visible)
    size_t index_key_of(const QueryIndex *index, uint32_t slot, unsigned char *room)
    DeltaStatus index_put(QueryIndex *index, const unsigned char *record, const uint64_t *keys, RecordKey key)
    uint32_t index_slot_of(const QueryIndex *index, RecordKey key, uint64_t visible)

cdef extern from "query_probe.h" nogil:
    enum:
        PROBE_MOST
        PROBE_MOST_KEYS
    ctypedef struct Probed:
        uint32_t count
        bint is_cut
        bint has_rarest
        uint64_t visible
    void query_prefetch(const QueryIndex *index, const uint64_t *keys, size_t count)
    Probed query_probe(const QueryIndex *index, const uint64_t *keys, size_t count, size_t own, uint32_t *slots,
                       uint32_t most, uint32_t enough)


@cython.final
cdef class Index:
    cdef QueryIndex index
    cdef Py_buffer _file, _delta
    cdef bint _has_file, _has_delta, _is_writable
    cdef int _users            # without the interpreter's lock: it must stay open
    cdef int check_open(self) except -1
    cdef int check_writable(self) except -1
    cdef uint64_t _visible(self) noexcept
    cdef int _put_one(self, const unsigned char *record, const uint64_t *keys, bytes key) except -1
