# cython: language_level=3
"""The native face of `trail.pyx`: how a front puts down what it answers."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from broker._native.cachekey cimport Pair, Slice
from broker._native.journal cimport Writer
from broker._native.wire cimport CallView, Source
from image cimport Policy, Term
from keyed_digest cimport Keyed


cdef struct Given:             # what one call is answered
    const CallView *view
    const Term *term           # of the grant that covers it
    uint32_t consumer          # numbers in the image
    uint32_t interface
    Slice device               # as the metadata say
    Slice request_id
    const Pair *asserted       # fields that were compared; NULL: the granted ones are shown
    Py_ssize_t asserted_count
    Slice subject              # canonical; size 0: none was named
    const uint8_t *key         # of the answer; NULL: none was derived
    const uint8_t *digest      # SHA-256 of the payload; NULL: it is not shown
    Source source
    bint found
    int64_t began_ns           # by the monotonic clock
    uint64_t began_wall_ns
    uint64_t snapshot


@cython.final
cdef class Trail:
    cdef readonly Writer writer
    cdef Keyed subjects
    cdef Keyed requests
    cdef bytes _name           # of the stream, and a dot
    cdef bint is_open(self) noexcept
    # Put it down; False: it could not be. The sequence of the record is written.
    cdef bint put(self, const Policy *policy, const Given *given, uint64_t *sequence) noexcept
    # Write the field of an answer that names the record; returns its size, at most IDENTIFIER_ROOM.
    cdef Py_ssize_t put_identifier(self, uint8_t *at, uint8_t tag, uint64_t sequence) noexcept


cdef enum:
    IDENTIFIER_ROOM = 64
