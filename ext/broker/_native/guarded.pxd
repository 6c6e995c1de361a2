# cython: language_level=3
"""A consumer's connection as far as it is watched over. See `guarded.pyx`."""

from libc.stdint cimport int64_t, uint32_t

from broker._native.front cimport Front, Rules, Shown
from broker._native.session cimport Call, Session
from frame_meter cimport Meter, Reason


cdef class Guarded(Session):
    cdef Front front
    cdef Meter meter
    cdef Shown shown
    cdef Call *calls
    cdef size_t waiting        # bytes of handlers' answers that are not on their way
    cdef bytes identity        # SHA-256 of the client certificate; None
    cdef int64_t now           # when the last chunk came
    cdef int64_t began_ns
    cdef int64_t age_ns        # at which it is to end
    cdef int64_t paused_ns
    cdef int64_t over_ns
    cdef int64_t notice_ns     # when the peer was told that there will be an end
    cdef int64_t pinged_ns
    cdef int ping_strikes
    cdef int large_in_a_row
    cdef bint greeted          # its SETTINGS have come
    cdef bint acknowledged     # ours were
    cdef bint said_goaway
    cdef Reason verdict        # found in a callback, carried out after it

    cdef void close_for(self, Reason reason, uint32_t code) noexcept
    cdef void drop_calls(self) noexcept
    cdef void pass_on(self, Call *call) noexcept
    cdef void say_goaway(self) noexcept
    cdef void _tick_open(self, int64_t now, const Rules *rules) noexcept
    cdef void _reset_stalled(self, int64_t now, const Rules *rules) noexcept
    cdef void _judge_ping(self) noexcept
    cdef void _sent_all(self, Call *call) noexcept
