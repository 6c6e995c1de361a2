# cython: language_level=3
"""The native face of `remembered.pyx`: recalling without the interpreter lock."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from decision cimport Moment
from image cimport CREDENTIAL_BYTES, Policy

cdef enum:
    DIGEST_BYTES = 32
    WAYS = 8


cdef struct Proof:
    uint8_t digest[DIGEST_BYTES]
    uint8_t credential[CREDENTIAL_BYTES]
    int64_t begins_ms
    int64_t ends_ms        # 0: the place is free


cdef struct Set:
    Proof ways[WAYS]       # free ones first, then the one that was written longest ago


cdef uint32_t recall(
    Set *sets, uint64_t mask, const Policy *policy, const unsigned char *digest, const Moment *now
) noexcept nogil
cdef void keep(Set *sets, uint64_t mask, const Proof *proof) noexcept nogil


@cython.final
cdef class Remembered:
    cdef Set *_sets
    cdef uint64_t _mask
