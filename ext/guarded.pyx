# cython: language_level=3
"""What ends a consumer's connection, or a stream of it: limits, time-outs, its age, and the wish of this process to stop.

Budgets of frames are metered before nghttp2 sees them (frame_meter.pxd); here is what is found out later. A connection ends at once
and with a reason, which is counted and told, or gently: a notice, a round trip, the last stream's number, the last call. What
must not go in here: requests and responses (connection.pyx).
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from broker._native.front cimport Rules
from broker._native.session cimport Call, Session, free_call, now_ns
from frame_meter cimport AGE, FINE, HEADER_TIMEOUT, IDLE, PINGS, PREFACE_TIMEOUT, PROTOCOL, RESETS, SETTINGS_TIMEOUT, STALLED
from frame_meter cimport STALLED_STREAM, TOO_MANY_PINGS, WINDOW_UPDATES, Reason, earn_tokens, spend_token
from nghttp2 cimport *

cdef enum:
    PING_STRIKES = 2           # pings that come too soon, as gRPC counts them; one more ends the connection
    CLOSING_NS = 1_000_000_000 # for the last frames to leave
    NOTICE_NS = 5_000_000_000  # for the answer to the ping after the notice of an end


cdef inline bint has_not_moved(const Call *call, int64_t since_ns) noexcept:
    """Whether a response stands still. One that is not to leave yet is not its consumer's to take."""
    return call.response.end > call.response.start and not call.ready and call.moved_ns < since_ns


cdef inline bint has_stopped(const Call *call, int64_t now, const Rules *rules) noexcept:
    """Whether the first message is waited for in vain. A stream on which nothing was said yet may be kept for later, as idle."""
    if call.request_done or call.dropped or (call.core != NULL and call.request.end > call.request.start):
        return False                   # or the core does not take what is there
    if call.prefix_bytes == 0:
        return now - call.heard_ns > rules.idle_ns
    return (call.prefix_bytes < 5 or call.first_left > 0) and now - call.heard_ns > rules.stream_stall_ns


cdef class Guarded(Session):
    """See `guarded.pyi`."""

    cdef void pass_on(self, Call *call) noexcept:
        """Hand to the core what is collected for a handler."""

    def pause_writing(self):
        """The socket takes no more."""
        self.paused_ns = now_ns()
        Session.pause_writing(self)

    cdef int flush(self) except -1:
        Session.flush(self)
        if self.verdict != FINE and not self.over:
            self.close_for(self.verdict, NGHTTP2_ENHANCE_YOUR_CALM)
            Session.flush(self)
        return 0

    cdef void close_for(self, Reason reason, uint32_t code) noexcept:
        """End the connection at once: the peer is told, and what it has asked for is dropped."""
        if self.over:
            return
        self.over, self.over_ns = True, now_ns()
        self.front.closed(reason)
        self.drop_calls()
        if nghttp2_session_terminate_session(self.session, code) != 0:
            self.transport.abort()
        self.touch()

    cdef void drop_calls(self) noexcept:
        cdef Call *call
        while self.calls != NULL:
            call = self.calls
            if self.session != NULL:
                nghttp2_session_set_stream_user_data(self.session, call.consumer_stream, NULL)
            self.forget(call, NGHTTP2_CANCEL)

    cdef void forget(self, Call *call, uint32_t code) noexcept:
        """The consumer's stream is over. The core hears of it unless it has said all."""
        if call.previous != NULL:
            call.previous.next = call.next
        else:
            self.calls = call.next
        if call.next != NULL:
            call.next.previous = call.previous
        if self.opening == call:
            self.opening = NULL
        if call.answered:
            self.waiting -= call.response.end - call.response.start
        if call.request.end > call.request.start and not self.over:   # what was not passed on no longer fills the window
            if nghttp2_session_consume_connection(self.session, call.request.end - call.request.start) != 0:
                self.verdict = PROTOCOL
        call.consumer = call.next = call.previous = NULL
        if call.core != NULL:
            (<Session>call.core).broken(call, code)
        elif not call.ready:
            free_call(call)

    cdef void drain(self) noexcept:
        """Say that there will be an end, and after a round trip which stream was the last (RFC 9113 §6.8)."""
        if self.notice_ns or self.over:
            return
        self.notice_ns = now_ns()
        if nghttp2_submit_shutdown_notice(self.session) != 0:
            self.verdict = PROTOCOL
        self.touch()

    cdef void say_goaway(self) noexcept:
        if self.said_goaway or not self.notice_ns:
            return
        self.said_goaway = True
        cdef int32_t last = nghttp2_session_get_last_proc_stream_id(self.session)
        if nghttp2_submit_goaway(self.session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0) != 0:
            self.verdict = PROTOCOL
        self.touch()

    cdef void tick(self, int64_t now) noexcept:
        cdef const Rules *rules = &self.front.rules
        self.give_up(now - rules.held_ns)
        if self.over:
            if now - self.over_ns > CLOSING_NS and self.transport is not None:
                self.transport.abort()
        elif not self.greeted and now - self.began_ns > rules.preface_ns:
            self.close_for(PREFACE_TIMEOUT, NGHTTP2_NO_ERROR)
        elif not self.acknowledged and now - self.began_ns > rules.settings_ns:
            self.close_for(SETTINGS_TIMEOUT, NGHTTP2_NO_ERROR)
        elif self.meter.partial_ns and now - self.meter.partial_ns > rules.header_ns:
            self.close_for(HEADER_TIMEOUT, NGHTTP2_ENHANCE_YOUR_CALM)
        elif self.paused and now - self.paused_ns > rules.stall_ns:
            self.close_for(STALLED, NGHTTP2_ENHANCE_YOUR_CALM)
        else:
            self._tick_open(now, rules)
            self._reset_stalled(now, rules)

    cdef void _tick_open(self, int64_t now, const Rules *rules) noexcept:
        if self.notice_ns and now - self.notice_ns > rules.drain_ns:
            self.close_for(AGE, NGHTTP2_NO_ERROR)
        elif self.notice_ns:
            if now - self.notice_ns > NOTICE_NS:
                self.say_goaway()
        elif self.calls == NULL and now - self.now > rules.idle_ns:
            self.front.closed(IDLE)
            self.drain()
        elif now - self.began_ns > self.age_ns:
            self.front.closed(AGE)
            self.drain()

    cdef void _reset_stalled(self, int64_t now, const Rules *rules) noexcept:
        """Reset the streams whose consumers do not take what is there for them, or do not finish what they began to say."""
        cdef Call *call = self.calls
        while call != NULL:
            if not call.was_reset and (has_not_moved(call, now - rules.stream_stall_ns) or has_stopped(call, now, rules)):
                self.front.closed(STALLED_STREAM)
                self.broken(call, NGHTTP2_CANCEL)
            elif call.held and call.prefix_bytes == 5 and call.first_left == 0:
                self.pass_on(call)
            call = call.next

    # --- what nghttp2 tells ----------------------------------------------------------------------------------------

    cdef void control(self, const nghttp2_frame *frame) noexcept:
        if frame.hd.type == NGHTTP2_SETTINGS and frame.hd.flags & NGHTTP2_FLAG_ACK:
            self.acknowledged = True
        elif frame.hd.type == NGHTTP2_SETTINGS:
            self.greeted = True
        elif frame.hd.type == NGHTTP2_PING and frame.hd.flags & NGHTTP2_FLAG_ACK:
            self.say_goaway()
        elif frame.hd.type == NGHTTP2_PING:
            self._judge_ping()

    cdef void _judge_ping(self) noexcept:
        """Pings without anything in between must not come faster than every so often (gRFC A8)."""
        if self.pinged_ns and self.now - self.pinged_ns < self.front.rules.ping_interval_ns:
            self.ping_strikes += 1
            if self.ping_strikes > PING_STRIKES:
                self.verdict = TOO_MANY_PINGS
        self.pinged_ns = self.now

    cdef void sent(self, const nghttp2_frame *frame) noexcept:
        cdef uint8_t kind = frame.hd.type
        cdef Call *call
        if kind == NGHTTP2_DATA or kind == NGHTTP2_HEADERS:
            self.pinged_ns = self.ping_strikes = 0
            earn_tokens(&self.meter, &self.front.rules.frames, PINGS, 1)
            earn_tokens(&self.meter, &self.front.rules.frames, WINDOW_UPDATES, 10)
            if frame.hd.flags & NGHTTP2_FLAG_END_STREAM:
                self._sent_all(<Call *>nghttp2_session_get_stream_user_data(self.session, frame.hd.stream_id))
        elif kind == NGHTTP2_RST_STREAM and frame.rst_stream.error_code != NGHTTP2_NO_ERROR:
            if not spend_token(&self.meter, &self.front.rules.frames, RESETS, now_ns()):
                self.verdict = <Reason><int>RESETS
        elif kind == NGHTTP2_GOAWAY and frame.goaway.error_code != NGHTTP2_NO_ERROR and not self.over:
            self.over, self.over_ns = True, now_ns()
            self.front.closed(PROTOCOL)
        elif kind == NGHTTP2_GOAWAY and self.notice_ns and not self.said_goaway and not self.over:
            if nghttp2_submit_ping(self.session, NGHTTP2_FLAG_NONE, NULL) != 0:   # earlier it would overtake the notice
                self.verdict = PROTOCOL

    cdef void _sent_all(self, Call *call) noexcept:
        """What is still to come of a request that has its answer is not waited for (RFC 9113 §8.1)."""
        if call == NULL or call.request_done:
            return
        call.dropped = True
        if nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, call.consumer_stream, NGHTTP2_NO_ERROR) != 0:
            self.verdict = PROTOCOL
