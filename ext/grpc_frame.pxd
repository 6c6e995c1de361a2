# cython: language_level=3
"""What of gRPC over HTTP/2 a front must know to take a request for a handler: whether it is an everyday one.

Everyday is: POST with `te: trailers`, `application/grpc`, no compression, one whole message. What is not goes to the core, where
gRPC itself says what is wrong with it. Source: gRPC over HTTP2 (grpc/grpc doc/PROTOCOL-HTTP2.md). What must not go in here:
what a message holds.
"""

from libc.stdint cimport uint8_t, uint32_t

from broker._native.cachekey cimport Slice
from broker._native.session cimport Call
from fields cimport is_text, name_of, value_of

cdef enum:
    FRAME_PREFIX = 5       # of a message: compressed or not, and its length
    HAS_PATH = 1
    HAS_METHOD = 2
    HAS_TYPE = 4
    HAS_TE = 8
    EVERYDAY = 15


cdef inline bint is_message(const uint8_t *prefix, Py_ssize_t size) noexcept nogil:
    """Whether the prefix announces exactly what follows it, not compressed."""
    cdef uint32_t stated = (<uint32_t>prefix[1] << 24) | (<uint32_t>prefix[2] << 16) | (<uint32_t>prefix[3] << 8) | prefix[4]
    return prefix[0] == 0 and <Py_ssize_t>stated == size


cdef inline bint is_timeout(const Slice *value) noexcept:
    """`grpc-timeout`: 1 to 8 digits and a unit; that it is over at once is for the core to say."""
    cdef Py_ssize_t i
    cdef bint nothing = True
    if not 2 <= value.size <= 9 or value.data[value.size - 1] not in b"HMSmun":
        return False
    for i in range(value.size - 1):
        if not 48 <= value.data[i] <= 57:
            return False
        nothing = nothing and value.data[i] == 48
    return not nothing


cdef inline int judge_field(const Slice *name, const Slice *value) noexcept:
    """Tell what a field has of an everyday request; -1: such a field no everyday request has."""
    if is_text(name, b":method", 7):
        return HAS_METHOD if is_text(value, b"POST", 4) else -1
    if is_text(name, b"content-type", 12):
        return HAS_TYPE if is_text(value, b"application/grpc", 16) or is_text(value, b"application/grpc+proto", 22) else -1
    if is_text(name, b"te", 2):
        return HAS_TE if is_text(value, b"trailers", 8) else -1
    if is_text(name, b"grpc-timeout", 12):
        return 0 if is_timeout(value) else -1
    if is_text(name, b"grpc-encoding", 13):
        return 0 if is_text(value, b"identity", 8) else -1
    return 0


cdef inline int method_at(const Slice *path, const Slice *paths, Py_ssize_t count) noexcept:
    """Return which of some paths this is; -1: none."""
    cdef Py_ssize_t i
    for i in range(count):
        if path.size == paths[i].size and is_text(path, <const char *>paths[i].data, path.size):
            return <int>i
    return -1


cdef inline int everyday_method(const Call *call, const Slice *paths, Py_ssize_t count) noexcept:
    """Return the method, by its place among the paths, that a header block is an everyday request to; -1: none."""
    cdef int found = 0, one, method = -1
    cdef uint32_t i
    cdef Slice name, value
    for i in range(call.field_count):
        name, value = name_of(&call.fields[i]), value_of(&call.fields[i])
        if is_text(&name, b":path", 5):
            method = method_at(&value, paths, count)
            one = HAS_PATH if method >= 0 else -1
        else:
            one = judge_field(&name, &value)
        if one < 0 or found & one:
            return -1
        found |= one
    return method if found == EVERYDAY else -1
