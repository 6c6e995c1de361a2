# cython: language_level=3
"""The way to the core: one HTTP/2 connection over a unix socket, on which every call that is not answered here is passed on.

Header blocks, DATA, resets and trailers pass as they are, so that gRPC's semantics are those of the core. What a stream may hold
is bounded by its window; the connection has none to speak of, so that nobody waits for another. The core is told the verified
certificate of a consumer by a field of our own, which no consumer can send. What must not go in here: the consumers' side.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from broker._native.cachekey cimport Slice
from broker._native.front cimport Front
from broker._native.session cimport CALLBACKS, MOST_FIELDS, Call, Session, add_field, drop_fields, empty, free_call, now_ns, put
from broker._native.session cimport settle, take
from fields cimport fields_to_pass, fill_nv, is_ours, value_of
from nghttp2 cimport *

cdef enum:
    CORE_FIELDS = 64
    CORE_FIELD_BYTES = 65_536
    MOST_WINDOW = 0x7FFFFFFF

cdef nghttp2_option *OPTIONS = NULL
if nghttp2_option_new(&OPTIONS) != 0:
    raise MemoryError()
nghttp2_option_set_no_auto_window_update(OPTIONS, 1)
nghttp2_option_set_peer_max_concurrent_streams(OPTIONS, MOST_WINDOW)


cdef class Upstream(Session):
    """See `relay.pyi`."""

    cdef Front front
    cdef Call *calls
    cdef object on_lost
    cdef uint64_t opened
    cdef bint retired

    def __cinit__(self, Front front not None, on_lost):
        self.front, self.dirty, self.on_lost = front, front.dirty, on_lost

    # --- asyncio ---------------------------------------------------------------------------------------------------

    def connection_made(self, transport):
        """The core is there."""
        self.transport = transport
        if self._begin() != 0:
            transport.abort()
            return
        self.front.core = self
        self.touch()
        settle(self.dirty)

    def data_received(self, data):
        """Read frames and pass on what they hold."""
        cdef Py_buffer buffer
        cdef Py_ssize_t read
        PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
        try:
            read = nghttp2_session_mem_recv(self.session, <const uint8_t *>buffer.buf, <size_t>buffer.len)
        finally:
            PyBuffer_Release(&buffer)
        if read < 0:
            self.transport.abort()
            return
        self.touch()
        settle(self.dirty)

    def pause_writing(self):
        """The core does not read: its streams' windows bound what waits for it, and it is read on."""
        self.paused = True

    def resume_writing(self):
        """The core reads again."""
        self.paused = False
        self.touch()
        settle(self.dirty)

    def connection_lost(self, error):
        """The core is gone, and with it what it was asked."""
        cdef Call *call
        self.transport = None
        while self.calls != NULL:
            call = self.calls
            if self.session != NULL:
                nghttp2_session_set_stream_user_data(self.session, call.core_stream, NULL)
            self.forget(call, NGHTTP2_REFUSED_STREAM)
        settle(self.dirty)
        self._lose()

    cdef int _lose(self) except -1:
        """Have another connection looked for, once."""
        on_lost, self.on_lost = self.on_lost, None
        if self.front.core is self:
            self.front.core = None
        if on_lost is not None:
            on_lost()
        return 0

    cdef int _begin(self) noexcept:
        cdef nghttp2_settings_entry settings[2]
        if nghttp2_session_client_new2(&self.session, CALLBACKS, <void *>self, OPTIONS) != 0:
            return -1
        settings[0].settings_id, settings[0].value = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, self.front.rules.stream_window
        settings[1].settings_id, settings[1].value = NGHTTP2_SETTINGS_ENABLE_PUSH, 0
        if nghttp2_submit_settings(self.session, NGHTTP2_FLAG_NONE, settings, 2) != 0:
            return -1
        return nghttp2_session_set_local_window_size(self.session, NGHTTP2_FLAG_NONE, 0, MOST_WINDOW)

    # --- towards the core ------------------------------------------------------------------------------------------

    cdef bint open(self, Call *call) noexcept:
        cdef nghttp2_nv fields[MOST_FIELDS + 2]
        cdef nghttp2_data_provider provider
        cdef size_t count = fields_to_pass(fields, call)
        cdef size_t i
        for i in range(count):
            if not may_be_kept(&fields[i]):
                fields[i].flags = NGHTTP2_NV_FLAG_NO_INDEX
        if call.certificate != NULL:
            fill_nv(&fields[count], b"broker-relay-certificate-bin", 28, call.certificate, call.certificate_size)
            count += 1
        if call.wants_proof:
            fill_nv(&fields[count], b"broker-relay-wants-proof", 24, b"1", 1)
            count += 1
        provider.source.ptr = NULL
        provider.read_callback = read_request
        call.core_stream = nghttp2_submit_request(self.session, NULL, fields, count, &provider, call)
        if call.core_stream < 0:
            self._retire()
            return False
        drop_fields(call)
        self._link(call)
        self.touch()
        self.opened += 1
        if self.opened == self.front.rules.core_calls:
            self._retire()
        return True

    cdef void _retire(self) noexcept:
        """Take no more calls: the numbers of streams are used up. The connection ends with the last call that it has."""
        self.retired = True
        try:
            self._lose()
        except Exception:              # telling that there is to be another connection
            pass
        self._close_retired()

    cdef void _close_retired(self) noexcept:
        if self.retired and self.calls == NULL and self.transport is not None:
            self.transport.close()

    cdef void _link(self, Call *call) noexcept:
        call.core, call.core_next = <void *>self, self.calls
        if self.calls != NULL:
            self.calls.core_previous = call
        self.calls = call

    cdef void more(self, Call *call) noexcept:
        """Something of the request is there to be sent. That nothing waited for it is no error."""
        nghttp2_session_resume_data(self.session, call.core_stream)
        self.touch()

    cdef void taken(self, Call *call, size_t size) noexcept:
        """So much of the response is on its way: the core may send as much again."""
        if nghttp2_session_consume_stream(self.session, call.core_stream, size) != 0:
            self.transport.abort()
        self.touch()

    cdef void broken(self, Call *call, uint32_t code) noexcept:
        """The consumer is not there any more."""
        if nghttp2_submit_rst_stream(self.session, NGHTTP2_FLAG_NONE, call.core_stream, NGHTTP2_CANCEL) != 0:
            self.transport.abort()
        self.touch()

    # --- from the core ---------------------------------------------------------------------------------------------

    cdef void field(self, Call *call, nghttp2_rcbuf *name, nghttp2_rcbuf *value) noexcept:
        cdef nghttp2_vec named = nghttp2_rcbuf_get_buf(name), noted = nghttp2_rcbuf_get_buf(value)
        cdef Slice key
        key.data, key.size = named.base, <Py_ssize_t>named.len
        if is_ours(&key):
            if call.wants_proof:
                self.front.handler.learn(call, noted.base, <Py_ssize_t>noted.len)
        elif not add_field(call, name, value, CORE_FIELDS, CORE_FIELD_BYTES):
            self.broken(call, NGHTTP2_CANCEL)

    cdef void block(self, Call *call, bint ends) noexcept:
        """The header block of the response, or its trailers."""
        if call.consumer == NULL or (not ends and is_interim(call)):
            drop_fields(call)
        elif not call.response_begun:
            (<Session>call.consumer).begins(call, ends)
        elif ends:
            call.response_done = call.has_trailers = True
            (<Session>call.consumer).more(call)

    cdef void body(self, Call *call, const uint8_t *data, size_t size) noexcept:
        if nghttp2_session_consume_connection(self.session, size) != 0:   # what one stream holds back must not hold back others
            self.transport.abort()
            return
        if call.response.end == call.response.start:
            call.moved_ns = now_ns()
        if call.consumer == NULL or not put(&call.response, data, size):
            self.taken(call, size)
            return
        (<Session>call.consumer).more(call)

    cdef void ended(self, Call *call) noexcept:
        """A response without trailers, which gRPC does not know but HTTP does."""
        call.response_done = True
        if call.consumer != NULL:
            (<Session>call.consumer).more(call)

    cdef void forget(self, Call *call, uint32_t code) noexcept:
        if call.core_previous != NULL:
            call.core_previous.core_next = call.core_next
        else:
            self.calls = call.core_next
        if call.core_next != NULL:
            call.core_next.core_previous = call.core_previous
        call.core = call.core_next = call.core_previous = NULL
        if self.opening == call:
            self.opening = NULL
        self._close_retired()
        if call.consumer == NULL:
            free_call(call)
        elif not call.response_done:
            (<Session>call.consumer).broken(call, code)

    cdef void control(self, const nghttp2_frame *frame) noexcept:
        """A core that says that it is going is asked nothing any more; the next one is looked for."""
        if frame.hd.type == NGHTTP2_GOAWAY:
            self._lose()


cdef bint is_interim(const Call *call) noexcept:
    """Whether a header block is of a response that comes before the response (RFC 9110 §15.2)."""
    cdef Slice status
    if call.field_count == 0:
        return False
    status = value_of(&call.fields[0])
    return not call.response_begun and status.size == 3 and status.data[0] == 49


cdef inline bint is_nv(const nghttp2_nv *field, const char *name, size_t name_size, const char *value, size_t size) noexcept:
    """Whether a field has a name, and a value where one is given."""
    if field.namelen != name_size or memcmp(field.name, name, name_size) != 0:
        return False
    return value == NULL or (field.valuelen == size and memcmp(field.value, value, size) == 0)


cdef bint may_be_kept(const nghttp2_nv *field) noexcept:
    """Whether a field may enter the table of header fields, which is one for all consumers.

    gRPC keeps with an entry what was wrong with it, even where another value is sent under its name. So only what cannot be
    wrong goes in: values that gRPC does not read, and everyday ones that it does.
    """
    if is_nv(field, b":path", 5, NULL, 0) or is_nv(field, b":authority", 10, NULL, 0):
        return True
    if is_nv(field, b"authorization", 13, NULL, 0) or is_nv(field, b"user-agent", 10, NULL, 0):
        return True
    if is_nv(field, b"te", 2, b"trailers", 8) or is_nv(field, b"content-type", 12, b"application/grpc", 16):
        return True
    return is_nv(field, b"grpc-accept-encoding", 20, b"identity, deflate, gzip", 23)


cdef ssize_t read_request(
    nghttp2_session *session, int32_t stream, uint8_t *into, size_t most, uint32_t *flags, nghttp2_data_source *source, void *owner
) noexcept:
    """Hand nghttp2 what there is of a request."""
    cdef Call *call = <Call *>nghttp2_session_get_stream_user_data(session, stream)
    cdef size_t size
    if call == NULL:
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    size = take(&call.request, into, most)
    if size and call.consumer != NULL:
        (<Session>call.consumer).taken(call, size)
    if call.request.end > call.request.start:
        return <ssize_t>size
    if call.request_done:
        flags[0] |= NGHTTP2_DATA_FLAG_EOF
    elif size == 0:
        return NGHTTP2_ERR_DEFERRED
    return <ssize_t>size
