# cython: language_level=3
"""The native face of `counters.pyx`: what another native module may do to the counters without the interpreter lock."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from image cimport Term

cdef enum:
    LINE_BYTES = 64
    LEFT_BITS = 40             # of a day's word; the rest is the number of the day


cdef struct Line:
    uint64_t key               # 0: the line is free
    uint64_t whole_at_ns       # when the rate's allowance is whole again, by the clock that does not stop
    uint64_t day_left          # number of the day, and how many calls of the block reserved for it are left
    uint64_t total_left        # how many calls of the block reserved for good are left
    uint64_t day_beyond        # number of the day, and how many calls nobody had reserved of it when that was last known
    uint64_t total_beyond
    uint64_t moved             # 1: it is in another file now, and only who made that may still use it here
    uint64_t zero


cdef enum Spent:
    SPENT
    RATE_USED_UP
    DAY_USED_UP                # the block is; there may be another
    TOTAL_USED_UP              # the block is; there may be another
    NO_LINE                    # the memory is full, or the line has moved: there is no telling


cdef struct Left:              # after a call, as far as this machine knows
    uint64_t burst
    uint64_t today
    uint64_t total


cdef Line *existing_line(Line *lines, uint64_t mask, uint64_t key) noexcept nogil
cdef Spent spend(Line *line, const Term *term, uint64_t now_ns, uint64_t day, uint64_t *wait_ns) noexcept nogil
cdef Left left_of(Line *line, const Term *term, uint64_t now_ns, uint64_t day) noexcept nogil
cdef bint has_moved(Line *line) noexcept nogil


@cython.final
cdef class Counters:
    cdef Py_buffer _memory
    cdef Line *_lines
    cdef uint64_t _mask
    cdef bint _open
    cdef Py_ssize_t _users     # threads that are in the memory without the interpreter lock
    cdef int _check_open(self) except -1
    cdef Line *_line(self, const Term *term) except NULL
