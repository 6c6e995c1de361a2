# cython: language_level=3
"""Answers that are ready and wait for their records to be durable, in the order in which they were put down.

A call stays in here though its stream has ended meanwhile: whoever takes it out frees it then. What must not go in here: what
becomes of an answer that is taken out (connection.pyx).
"""

from libc.stdint cimport int64_t, uint64_t

from broker._native.session cimport Call


cdef struct Held:
    Call *first
    Call *last


cdef inline void hold(Held *held, Call *call, uint64_t mark) noexcept:
    """Add an answer, whose record has this number."""
    call.mark, call.ready = mark, True
    if held.first == NULL:
        held.first = call
    else:
        held.last.next_ready = call
    held.last = call


cdef inline Call *take_first(Held *held) noexcept:
    cdef Call *call = held.first
    held.first, call.next_ready, call.ready = call.next_ready, NULL, False
    return call


cdef inline Call *take_below(Held *held, uint64_t mark) noexcept:
    """Take out the first answer if its record has a lower number; NULL: there is none such."""
    return take_first(held) if held.first != NULL and held.first.mark < mark else NULL


cdef inline Call *take_older(Held *held, int64_t since_ns) noexcept:
    """Take out the first answer if it has waited since before then; NULL: there is none such."""
    return take_first(held) if held.first != NULL and held.first.moved_ns < since_ns else NULL
