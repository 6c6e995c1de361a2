# cython: language_level=3
"""Arrow's C data interface, as its specification has it, and how a value is found in a column.

What must not go in here: what a column means.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef struct ArrowSchema:
    const char *format
    const char *name
    const char *metadata
    int64_t flags
    int64_t n_children
    ArrowSchema **children
    ArrowSchema *dictionary
    void *release
    void *private_data

cdef struct ArrowArray:
    int64_t length
    int64_t null_count
    int64_t offset
    int64_t n_buffers
    int64_t n_children
    const void **buffers
    ArrowArray **children
    ArrowArray *dictionary
    void *release
    void *private_data


cdef inline int64_t offset_at(const ArrowArray *array, bint large, int64_t i) noexcept nogil:
    i += array.offset
    return (<const int64_t *>array.buffers[1])[i] if large else (<const int32_t *>array.buffers[1])[i]


cdef inline bint is_null(const ArrowArray *array, int64_t i) noexcept nogil:
    cdef const uint8_t *valid = <const uint8_t *>array.buffers[0]
    i += array.offset
    return valid != NULL and not (valid[i // 8] >> (i % 8)) & 1
