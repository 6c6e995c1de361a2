# cython: language_level=3
"""Header fields of a call: finding one, and handing them on. Names that are ours alone (`broker-relay-…`) never pass from one side
to the other: a consumer that sends one must not be taken for a front. What must not go in here: what a field means.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcmp

from broker._native.cachekey cimport Slice
from broker._native.session cimport MOST_FIELDS, Call, Field
from nghttp2 cimport nghttp2_nv, nghttp2_rcbuf_get_buf, nghttp2_vec

cdef enum:
    OURS_BYTES = 13

cdef extern from *:
    """
    static const char OURS[] = "broker-relay-";
    """
    const char *OURS


cdef inline Slice name_of(const Field *field) noexcept:
    cdef nghttp2_vec found = nghttp2_rcbuf_get_buf(field.name)
    cdef Slice name
    name.data, name.size = found.base, <Py_ssize_t>found.len
    return name


cdef inline Slice value_of(const Field *field) noexcept:
    cdef nghttp2_vec found = nghttp2_rcbuf_get_buf(field.value)
    cdef Slice value
    value.data, value.size = found.base, <Py_ssize_t>found.len
    return value


cdef inline bint is_text(const Slice *slice, const char *text, Py_ssize_t size) noexcept:
    return slice.size == size and memcmp(slice.data, text, size) == 0


cdef inline bint is_ours(const Slice *name) noexcept:
    return name.size >= OURS_BYTES and memcmp(name.data, OURS, OURS_BYTES) == 0


cdef inline void fill_nv(nghttp2_nv *into, const char *name, Py_ssize_t name_size, const void *value, Py_ssize_t size) noexcept:
    """Describe a field to nghttp2, which copies it."""
    into.name, into.namelen = <uint8_t *>name, <size_t>name_size
    into.value, into.valuelen = <uint8_t *>value, <size_t>size
    into.flags = 0


cdef inline size_t fields_to_pass(nghttp2_nv *into, const Call *call) noexcept:
    """Describe every field but ours, in their order; `into` has room for MOST_FIELDS. Returns how many."""
    cdef size_t count = 0
    cdef uint32_t i
    cdef Slice name, value
    for i in range(call.field_count):
        name = name_of(&call.fields[i])
        if is_ours(&name):
            continue
        value = value_of(&call.fields[i])
        fill_nv(&into[count], <const char *>name.data, name.size, value.data, value.size)
        count += 1
    return count


cdef inline bint has_plain_path(const Call *call) noexcept:
    """Whether the path is visible ASCII, as gRPC has it: grpcio's server ends for good at one that is not UTF-8."""
    cdef uint32_t i
    cdef Py_ssize_t at
    cdef Slice name, path
    for i in range(call.field_count):
        name, path = name_of(&call.fields[i]), value_of(&call.fields[i])
        if is_text(&name, b":path", 5):
            for at in range(path.size):
                if not 0x21 <= path.data[at] <= 0x7E:
                    return False
    return True
