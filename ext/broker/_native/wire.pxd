# cython: language_level=3
"""The native face of `wire.pyx`: a `CallRequest` or a `MatchRequest` read in place, and the end of a `CallResponse`, which is
about one call.

What must not go in here: who asks, what is granted, what is cached.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from broker._native.cachekey cimport Pair, Slice

cdef enum:
    MOST_ARGUMENTS = 32    # more than any interface has; who sends more asks the core
    TAIL_BYTES = 21        # for any age, even one that no clock can tell
    NO_MAX_AGE = -1


cdef enum Source:          # of an answer, as in the contract
    FROM_CACHE = 2
    FROM_RECORDS = 3


cdef struct CallView:
    Slice interface           # points into the bytes that were read, as all texts do; data may be NULL when size is 0
    Slice purpose
    Slice matter
    Slice operator
    Slice case_id
    uint32_t version          # 0: the current one
    uint8_t encoding          # 1 JSON (also when unset), 2 MessagePack
    int64_t max_age_ms        # NO_MAX_AGE: not stated
    Py_ssize_t count
    Pair arguments[MOST_ARGUMENTS]    # UTF-8, names strictly rising by bytes; of a comparison, the key
    Py_ssize_t asserted_count         # 0 for a call
    Pair asserted[MOST_ARGUMENTS]     # as the arguments


# False: not sure to be read as protobuf and the core read it, so the core is to be asked, and the view is not to be used.
cdef bint parse_call(CallView *call, const unsigned char *data, Py_ssize_t size) noexcept nogil
cdef bint parse_match(CallView *call, const unsigned char *data, Py_ssize_t size) noexcept nogil

# Returns how many bytes it wrote, at most TAIL_BYTES.
cdef Py_ssize_t write_tail(unsigned char *into, Source source, uint64_t age_ms) noexcept nogil
# Source and age as fields of a Provenance; returns where they end, at most TAIL_BYTES on.
cdef unsigned char *put_circumstances(unsigned char *at, Source source, uint64_t age_ms) noexcept nogil
