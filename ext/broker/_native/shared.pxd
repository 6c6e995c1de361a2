# cython: language_level=3
"""The native face of `shared.pyx`: words that processes share, and what a front counts."""

cimport cython
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    BUCKETS = 12               # of times, the last for all that are longer
    SLOT_NAME_BYTES = 144


cdef enum Word:                # of a board
    SNAPSHOT                   # version of the one in force in the core
    TRUST                      # changes whenever what was proved before may be proved no more
    DRAINING                   # 1: no new call is let in
    COUNTERS                   # changes whenever the counters are in another file
    CORE                       # changes whenever a core starts: the cache may be another one
    ALIVE                      # ms since boot when the core was last seen to be at work
    RECALLED                   # changes whenever what was decided so far may leave no more
    WORDS


cdef struct Slot:              # of a tally: answers of one interface
    uint64_t found
    uint64_t not_found
    uint8_t name[SLOT_NAME_BYTES]


cdef struct Sums:              # the head of a tally
    uint64_t answers
    uint64_t busy_ns           # time between reading a request and having its answer, over all
    uint64_t buckets[BUCKETS]


cdef uint64_t word_of(const uint64_t *words, Word word) noexcept nogil


@cython.final
cdef class Board:
    cdef Py_buffer _memory
    cdef uint64_t *words


@cython.final
cdef class Tally:
    cdef Py_buffer _memory
    cdef Sums *sums
    cdef Slot *slots
    cdef readonly Py_ssize_t size
    cdef int _check(self, Py_ssize_t slot) except -1
    cdef void add(self, uint64_t answers, uint64_t each_ns) noexcept nogil
