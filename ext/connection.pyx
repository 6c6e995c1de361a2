# cython: language_level=3
"""One consumer's connection: frames in, requests collected and answered together, everything else passed on to the core.

An asyncio protocol; a chunk is metered (frame_meter.pxd), read by nghttp2, whose callbacks fill calls, then what is whole is
answered and all frames leave in one write. No callback lets an exception out; what fails in nghttp2 ends the connection. What
must not go in here: what a request means, the core, limits (guarded.pyx).
"""

import base64
import hashlib
import random

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from broker._native.cachekey cimport Slice
from broker._native.front cimport Front, Handler, Rules
from broker._native.guarded cimport Guarded
from broker._native.session cimport CALLBACKS, MOST_FIELDS, Call, Session
from broker._native.session cimport add_field, drop_fields, empty, free_call, new_call, note_first, now_ns, put, settle
from fields cimport fields_to_pass, fill_nv, has_plain_path
from frame_meter cimport FINE, LARGE_HEADERS, NOT_HTTP2, PROTOCOL, Reason, feed
from grpc_frame cimport FRAME_PREFIX, is_message
from held cimport Held, hold, take_below, take_older
from nghttp2 cimport *
from response cimport ANSWER_HEADERS, UNAVAILABLE_NAME, UNAVAILABLE_VALUE, read_response

cdef enum:
    HELD_BYTES = 16_384        # of a request that is collected for a handler; a larger one is passed on
    TOO_LARGE_IN_A_ROW = 3

cdef uint64_t LAST = 0xFFFFFFFFFFFFFFFF    # behind every record
cdef nghttp2_option *OPTIONS = NULL
if nghttp2_option_new(&OPTIONS) != 0:
    raise MemoryError()
nghttp2_option_set_no_auto_window_update(OPTIONS, 1)
nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(OPTIONS, 1)   # gRPC's own servers let such values pass


cdef class Connection(Guarded):
    """See `connection.pyi`."""

    cdef Call *ready           # whole requests for the handler, in the order in which they came
    cdef Call *last_ready
    cdef Held unsettled        # answers that are not to leave yet
    cdef bint is_waiting       # stands among those of the front that have such
    cdef bytes certificate     # base64 of the client's

    def __cinit__(self, Front front not None):
        self.front, self.dirty = front, front.dirty
        self.verdict = FINE

    # --- asyncio ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport):
        """Let it in or not."""
        self.transport = transport
        self.began_ns = self.now = now_ns()
        self.age_ns = <int64_t>(self.front.rules.age_ns * random.uniform(0.9, 1.1))  # noqa: S311 - so that not all end at once
        tls = transport.get_extra_info("ssl_object")
        self._look_at_certificate(tls)
        cdef Reason refused = self.front.admit(self, self.identity)
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            refused = NOT_HTTP2
        if refused != FINE or self._begin() != 0:
            self.over = True
            if refused != FINE:
                self.front.closed(refused)
            transport.abort()
            return
        transport.set_write_buffer_limits(<size_t>self.front.rules.outbound_bytes)
        if self.front.draining:
            self.drain()
        self.touch()
        settle(self.dirty)

    def data_received(self, data):
        """Read frames, answer what is whole, send."""
        cdef Py_buffer buffer
        if self.over:
            return
        PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
        try:
            self._read(<const uint8_t *>buffer.buf, <size_t>buffer.len)
        finally:
            PyBuffer_Release(&buffer)
        settle(self.dirty)

    def connection_lost(self, error):
        """Whatever was on its way for it is of no use any more."""
        self.over = True
        self.front.leave(self, self.identity)
        self._drop_ready()
        self.drop_calls()
        self.release(LAST, LAST)
        self.transport = None
        settle(self.dirty)

    cdef int _look_at_certificate(self, object tls) except -1:
        der = tls.getpeercert(True) if tls is not None else None
        if der:
            self.identity = hashlib.sha256(der).digest()
            self.certificate = base64.b64encode(der).rstrip(b"=")
            self.shown.has_certificate = True
            memcpy(self.shown.certificate, PyBytes_AS_STRING(self.identity), sizeof(self.shown.certificate))
        return 0

    cdef int _begin(self) noexcept:
        """Make the session and say our settings."""
        cdef nghttp2_settings_entry settings[3]
        cdef const Rules *rules = &self.front.rules
        if nghttp2_session_server_new2(&self.session, CALLBACKS, <void *>self, OPTIONS) != 0:
            return -1
        settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, rules.streams
        settings[1].settings_id, settings[1].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, rules.stream_window
        settings[2].settings_id, settings[2].value = NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, rules.header_bytes
        if nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, settings, 3) != 0:
            return -1
        return nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, <int32_t>rules.connection_window)

    cdef void _read(self, const uint8_t *data, size_t size) noexcept:
        cdef Py_ssize_t read
        cdef Reason reason
        self.now = now_ns()
        reason = feed(&self.meter, &self.front.rules.frames, data, size, self.now)
        if reason != FINE:
            self.close_for(reason, NGHTTP2_ENHANCE_YOUR_CALM)
            return
        read = nghttp2_session_mem_recv(self.session, data, size)
        if read < 0:
            self._drop_ready()
            self.close_for(NOT_HTTP2 if read == NGHTTP2_ERR_BAD_CLIENT_MAGIC else PROTOCOL, NGHTTP2_PROTOCOL_ERROR)
            return
        self._answer_ready()
        self.touch()

    # --- requests --------------------------------------------------------------------------------------------------

    cdef Call *opened(self, int32_t stream) noexcept:
        cdef Call *call = new_call()
        if call == NULL:
            return NULL
        call.consumer, call.consumer_stream, call.next = <void *>self, stream, self.calls
        call.heard_ns = self.now
        if self.calls != NULL:
            self.calls.previous = call
        self.calls = call
        return call

    cdef void field(self, Call *call, nghttp2_rcbuf *name, nghttp2_rcbuf *value) noexcept:
        cdef const Rules *rules = &self.front.rules
        if not call.begun and not add_field(call, name, value, rules.header_fields, rules.header_bytes):
            call.too_large = True

    cdef void block(self, Call *call, bint ends) noexcept:
        """The header block is there: a handler's method is collected, anything else goes to the core at once."""
        if not call.begun:
            call.begun = True
            self._begin_call(call)
        if ends:
            self.ended(call)

    cdef void _begin_call(self, Call *call) noexcept:
        if call.too_large:
            self.large_in_a_row += 1
            if self.large_in_a_row >= TOO_LARGE_IN_A_ROW:
                self.verdict = LARGE_HEADERS
            self._refuse(call, b"8", b"received metadata is too large", None)
            return
        self.large_in_a_row = 0
        call.held = self.front.is_handled(call)
        if not call.held and not has_plain_path(call):
            self._refuse(call, b"12", b"unknown method", None)
        elif not call.held:
            self._relay(call)

    cdef void _relay(self, Call *call) noexcept:
        """Hand a call to the core, with what has come of it."""
        call.held = False
        if self.certificate is not None:
            call.certificate = <const uint8_t *>PyBytes_AS_STRING(self.certificate)
            call.certificate_size = PyBytes_GET_SIZE(self.certificate)
        if self.front.core is not None and self.front.core.open(call):
            self.front.counts.relayed += 1
            return
        self.front.counts.unavailable += 1
        self._refuse(call, b"14", b"the core is not there; try again", self.front.unavailable)

    cdef void body(self, Call *call, const uint8_t *data, size_t size) noexcept:
        call.heard_ns = self.now
        note_first(call, data, size)
        if call.dropped:
            self.taken(call, size)
            return
        if not put(&call.request, data, size):
            self.broken(call, NGHTTP2_INTERNAL_ERROR)
            return
        if call.held and call.request.end - call.request.start > HELD_BYTES:
            self._relay(call)
        elif call.core != NULL:
            (<Session>call.core).more(call)

    cdef void ended(self, Call *call) noexcept:
        """The last of a request has come."""
        cdef Py_ssize_t size = call.request.end - call.request.start - FRAME_PREFIX
        cdef const uint8_t *prefix = call.request.data + call.request.start
        call.request_done = True
        if call.held and (size < 0 or not is_message(prefix, size)):
            self._relay(call)          # gRPC has its own words for what is wrong with it
        elif call.held:
            call.ready = True
            if self.ready == NULL:
                self.ready = call
            else:
                self.last_ready.next_ready = call
            self.last_ready = call
        elif call.core != NULL:
            (<Session>call.core).more(call)

    cdef void _answer_ready(self) noexcept:
        """Answer the requests that the last chunk has made whole."""
        cdef Call *call
        cdef uint64_t answered = 0
        cdef Handler handler = self.front.handler
        if self.ready == NULL:
            return
        cdef bint going = not self.paused and handler.begin()
        while self.ready != NULL:
            call = self.ready
            self.ready, call.next_ready, call.ready = call.next_ready, NULL, False
            if call.consumer == NULL:
                free_call(call)        # reset behind its last byte
            elif going and self._answer(handler, call):
                answered += 1
            else:
                self._relay(call)
        if going:
            handler.end(answered)
        self.front.counts.answered += answered

    cdef void _drop_ready(self) noexcept:
        cdef Call *call
        while self.ready != NULL:
            call = self.ready
            self.ready, call.next_ready, call.ready = call.next_ready, NULL, False
            if call.consumer == NULL:
                free_call(call)

    cdef bint _answer(self, Handler handler, Call *call) noexcept:
        cdef Slice message
        if self.waiting > self.front.rules.outbound_bytes:
            return False               # who does not read gets no more here than a stream's window holds
        message.data = call.request.data + call.request.start + FRAME_PREFIX
        message.size = call.request.end - call.request.start - FRAME_PREFIX
        if not handler.answer(call, &message, &self.shown):
            empty(&call.response)
            call.trailer_count = 0
            return False
        call.held = False
        call.response_begun = call.response_done = call.has_trailers = call.answered = True
        self.waiting += call.response.end - call.response.start
        call.moved_ns = self.now
        drop_fields(call)
        self.taken(call, call.request.end - call.request.start)
        empty(&call.request)
        if handler.waits:
            self._hold(call, handler.mark)
        else:
            self._respond(call, ANSWER_HEADERS, 3, False)
        return True

    # --- answers that are put down first ---------------------------------------------------------------------------

    cdef void _hold(self, Call *call, uint64_t mark) noexcept:
        """Keep an answer until its record is durable."""
        hold(&self.unsettled, call, mark)
        self._wait()

    cdef void _wait(self) noexcept:
        if self.unsettled.first != NULL and not self.is_waiting:
            self.is_waiting = True
            self.front.waiting.append(self)

    cdef void release(self, uint64_t durable, uint64_t refused) noexcept:
        cdef int64_t now = now_ns()
        cdef Call *call = take_below(&self.unsettled, max(durable, refused))
        self.is_waiting = False
        while call != NULL:
            self._settle(call, call.mark < durable, now)
            call = take_below(&self.unsettled, max(durable, refused))
        self._wait()

    cdef void give_up(self, int64_t since_ns) noexcept:
        cdef Call *call = take_older(&self.unsettled, since_ns)
        while call != NULL:
            self._settle(call, False, since_ns)
            call = take_older(&self.unsettled, since_ns)

    cdef void _settle(self, Call *call, bint leaves, int64_t now) noexcept:
        if call.consumer == NULL:
            free_call(call)            # its stream has ended meanwhile
        elif leaves:
            call.moved_ns = now
            self._respond(call, ANSWER_HEADERS, 3, False)
        else:
            self._take_back(call)

    cdef void _take_back(self, Call *call) noexcept:
        """What cannot be put down does not leave."""
        self.front.counts.unaudited += 1
        self.waiting -= call.response.end - call.response.start
        empty(&call.response)
        call.answered = call.has_trailers = False
        call.trailer_count = 0
        self._refuse(call, b"14", b"the audit log cannot be written; ask again", self.front.unaudited)

    # --- responses -------------------------------------------------------------------------------------------------

    cdef void _respond(self, Call *call, const nghttp2_nv *headers, size_t count, bint ends) noexcept:
        cdef nghttp2_data_provider provider
        provider.source.ptr = NULL
        provider.read_callback = read_response
        call.response_begun = True
        if nghttp2_submit_response(self.session, call.consumer_stream, headers, count, NULL if ends else &provider) != 0:
            self.broken(call, NGHTTP2_INTERNAL_ERROR)
        self.touch()

    cdef void _refuse(self, Call *call, bytes status, bytes message, bytes details) noexcept:
        """Answer with a status of our own, and without what is still to come of the request."""
        cdef nghttp2_nv headers[5]
        cdef size_t count = 4
        headers[0], headers[1] = ANSWER_HEADERS[0], ANSWER_HEADERS[1]
        fill_nv(&headers[2], b"grpc-status", 11, PyBytes_AS_STRING(status), PyBytes_GET_SIZE(status))
        fill_nv(&headers[3], b"grpc-message", 12, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
        if details is not None:
            fill_nv(&headers[4], b"grpc-status-details-bin", 23, PyBytes_AS_STRING(details), PyBytes_GET_SIZE(details))
            count = 5
        call.dropped, call.response_done = True, True
        drop_fields(call)
        self.taken(call, call.request.end - call.request.start)
        empty(&call.request)
        self._respond(call, headers, count, True)

    cdef void begins(self, Call *call, bint ends) noexcept:
        cdef nghttp2_nv headers[MOST_FIELDS]
        cdef size_t count = fields_to_pass(headers, call)
        call.response_done = call.response_done or ends
        call.moved_ns = now_ns()
        self._respond(call, headers, count, ends)
        drop_fields(call)

    cdef void more(self, Call *call) noexcept:
        """Something of the response is there to be sent. That nothing waited for it is no error."""
        nghttp2_session_resume_data(self.session, call.consumer_stream)
        self.touch()

    cdef void taken(self, Call *call, size_t size) noexcept:
        """So much of the request is on its way: the consumer may send as much again."""
        if size and nghttp2_session_consume(self.session, call.consumer_stream, size) != 0:
            self.verdict = PROTOCOL
        self.touch()

    cdef void broken(self, Call *call, uint32_t code) noexcept:
        """The core has no more to say, though it has not said all."""
        call.dropped, call.held = True, False
        self.taken(call, call.request.end - call.request.start)
        empty(&call.request)
        if code in (NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM):
            self.front.counts.unavailable += 1
            if call.response_begun:
                self._end_unavailable(call)
            else:
                self._refuse(call, b"14", b"the core is not there; try again", self.front.unavailable)
            return
        call.was_reset = True
        if nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, call.consumer_stream, code) != 0:
            self.verdict = PROTOCOL
        self.touch()

    cdef void pass_on(self, Call *call) noexcept:
        """It is not collected any more. The core answers a message that is whole, whether the request has ended or not."""
        if call.held and not call.ready:
            self._relay(call)

    cdef void _end_unavailable(self, Call *call) noexcept:
        """End a response that has begun, behind what has come of it."""
        fill_nv(&call.trailers[0], UNAVAILABLE_NAME, 11, UNAVAILABLE_VALUE, 2)
        call.trailer_count = 1
        call.response_done = call.has_trailers = True
        self.more(call)
