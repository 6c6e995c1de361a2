# cython: language_level=3
"""The native face of `hot.pyx`: what every method that a front answers has in common, and what such a method is.

What must not go in here: what one method reads and writes.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from broker._native.cachekey cimport EntryView, Pair, Slice
from broker._native.counters cimport Counters, Left, Line
from broker._native.front cimport Handler, Shown
from broker._native.plans cimport Plan, Plans
from broker._native.policy cimport Image
from broker._native.remembered cimport Remembered
from broker._native.session cimport Call
from broker._native.shared cimport Board, Tally
from broker._native.trail cimport Given, Trail
from broker._native.wire cimport CallView
from caller cimport Caller
from decision cimport Moment
from image cimport Term


cdef struct Clock:             # of one chunk of requests
    uint64_t wall_ns
    int64_t wall_ms
    Moment moment
    int64_t mono_ns
    int64_t day


cdef struct Allowed:           # a call that the policy allows, and what is known of its interface
    uint32_t interface
    const Plan *plan
    const Term *term           # of the grant that covers it
    Line *line                 # of its counters
    uint32_t consumer          # number in the image
    Slice device               # as the metadata say
    Slice request_id


@cython.final
cdef class Hot(Handler):
    cdef Image image
    cdef Plans plans
    cdef Counters counters
    cdef Remembered remembered
    cdef Board board
    cdef Tally tally
    cdef list methods          # in the order of the front's
    cdef object environment    # of LMDB
    cdef object entries
    cdef object transaction    # of one chunk, from its first look at the cache
    cdef int64_t anchor_ms     # wall clock less time since boot, when the clock was anchored
    cdef uint64_t trust
    cdef uint64_t counters_made
    cdef uint64_t core
    cdef int64_t core_away_ms
    cdef Py_ssize_t max_argument_bytes
    cdef Py_ssize_t max_arguments
    cdef Py_ssize_t max_token_bytes
    cdef Py_ssize_t max_message_bytes
    cdef Clock clock
    cdef Trail trail           # None: nothing is put down
    cdef readonly bint failed  # a read of the cache was refused: it is to be opened anew

    cdef bint _look_at_clock(self) noexcept
    cdef bint _weigh(self, const CallView *view) noexcept
    cdef bint _weigh_pairs(self, const Pair *pairs, Py_ssize_t count) noexcept
    cdef uint32_t _identify(self, Call *call, const Caller *caller, Shown *shown) noexcept
    cdef bint _may_pay(self, const Allowed *allowed) noexcept
    cdef bint _spend(self, const Allowed *allowed, Left *left) noexcept
    cdef bint is_late(self) noexcept
    # The steps of a call (architecture §4), in their order; False: the core is to answer.
    cdef bint allow(self, Call *call, CallView *view, uint32_t says, Shown *shown, Allowed *allowed) noexcept
    cdef bint derive(
        self, unsigned char *key, const CallView *view, const Allowed *allowed, const Pair *question, Py_ssize_t count,
        const unsigned char *mask
    ) noexcept
    cdef bint find(self, const unsigned char *key, EntryView *entry, Py_buffer *buffer) noexcept
    cdef bint is_fresh(self, const EntryView *entry, const CallView *view, const Term *term) noexcept
    cdef bint finish(self, Call *call, const CallView *view, const Allowed *allowed, Given *given, uint8_t tag) noexcept
    cdef bint _put_down(self, Call *call, const CallView *view, const Allowed *allowed, Given *given, uint8_t tag) noexcept
    cdef void count(self, Py_ssize_t slot, bint found) noexcept
    cdef uint64_t ref_of(self, const Term *term) noexcept


cdef class HotMethod:
    """One method. Nothing of it may raise."""

    cdef bint answer(self, Hot hot, Call *call, const Slice *message, Shown *shown) noexcept


cdef uint64_t age_of(Hot hot, const EntryView *entry) noexcept
cdef void end_message(Call *call, Py_ssize_t size) noexcept
cdef unsigned char *begin_message(Call *call, Py_ssize_t most) noexcept
