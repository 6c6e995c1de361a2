# cython: language_level=3
"""One end of an HTTP/2 connection (nghttp2 over an asyncio transport), and a call on its way between two of them.

A `Call` joins a stream of a consumer with a stream to the core; either side may be over before the other, and who finds that
both are frees it. Nothing is sent while frames are being read: whoever has something to send is put on the list `dirty`, and
`settle` sends it all, one write a connection. What must not go in here: which calls there are and what becomes of them.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

from nghttp2 cimport *

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *into)
    const int CLOCK_MONOTONIC

cdef enum:
    MOST_SPARE = 256           # calls that are kept for the next ones
    MOST_KEPT = 4096           # bytes of a queue that are kept with them
    WRITE_BYTES = 262_144      # at most so much is handed to a transport at once


# --- calls ---------------------------------------------------------------------------------------------------------

cdef Call *SPARE = NULL
cdef int spare_count = 0
cdef int live_count = 0


def live_calls():
    """See `session.pyi`."""
    return live_count


cdef Call *new_call() noexcept:
    """Return a call of which nothing is known; NULL when there is no memory."""
    global SPARE, spare_count, live_count
    cdef Call *call = SPARE
    if call == NULL:
        call = <Call *>calloc(1, sizeof(Call))
        live_count += call != NULL
        return call
    SPARE, spare_count, live_count = call.next, spare_count - 1, live_count + 1
    call.next = NULL
    return call


cdef void free_call(Call *call) noexcept:
    global SPARE, spare_count, live_count
    cdef Bytes request, response
    live_count -= 1
    drop_fields(call)
    empty(&call.request)
    empty(&call.response)
    if spare_count >= MOST_SPARE:
        free(call.request.data)
        free(call.response.data)
        free(call)
        return
    request, response = call.request, call.response
    memset(call, 0, sizeof(Call))
    call.request, call.response = request, response
    call.next, SPARE, spare_count = SPARE, call, spare_count + 1


cdef bint add_field(Call *call, nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint32_t most_fields, uint32_t most_bytes) noexcept:
    """Keep a header field; False when the block is too large. Sizes are counted as RFC 9113 §6.5.2 has it, decoded."""
    call.field_bytes += <uint32_t>(nghttp2_rcbuf_get_buf(name).len + nghttp2_rcbuf_get_buf(value).len + 32)
    if call.field_count >= most_fields or call.field_count >= MOST_FIELDS or call.field_bytes > most_bytes:
        return False
    nghttp2_rcbuf_incref(name)
    nghttp2_rcbuf_incref(value)
    call.fields[call.field_count].name = name
    call.fields[call.field_count].value = value
    call.field_count += 1
    return True


cdef void drop_fields(Call *call) noexcept:
    cdef uint32_t i
    for i in range(call.field_count):
        nghttp2_rcbuf_decref(call.fields[i].name)
        nghttp2_rcbuf_decref(call.fields[i].value)
    call.field_count = call.field_bytes = 0


cdef void note_first(Call *call, const uint8_t *data, size_t size) noexcept:
    """Follow how much of the first message of a request has come: who begins one and does not go on is not waited for."""
    cdef size_t more = min(size, sizeof(call.prefix) - call.prefix_bytes)
    if more:
        memcpy(call.prefix + call.prefix_bytes, data, more)
        call.prefix_bytes += <uint32_t>more
        if call.prefix_bytes == sizeof(call.prefix):
            call.first_left = (<uint64_t>call.prefix[1] << 24) | (<uint64_t>call.prefix[2] << 16)
            call.first_left |= (<uint64_t>call.prefix[3] << 8) | call.prefix[4]
    call.first_left -= min(call.first_left, <uint64_t>(size - more))


# --- queues of bytes -----------------------------------------------------------------------------------------------

cdef uint8_t *room_for(Bytes *queue, size_t size) noexcept:
    """Make room behind what is in a queue; NULL when there is no memory."""
    cdef size_t held = queue.end - queue.start
    cdef size_t wanted = queue.room if queue.room > 512 else 512
    cdef uint8_t *larger
    if queue.room - queue.end >= size:
        return queue.data + queue.end
    if queue.start > 0 and queue.start >= held:    # so that a byte is moved once for each that is taken
        memmove(queue.data, queue.data + queue.start, held)
        queue.start, queue.end = 0, held
    while wanted < queue.end + size:
        wanted *= 2
    if wanted > queue.room:
        larger = <uint8_t *>realloc(queue.data, wanted)
        if larger == NULL:
            return NULL
        queue.data, queue.room = larger, wanted
    return queue.data + queue.end


cdef bint put(Bytes *queue, const uint8_t *data, size_t size) noexcept:
    cdef uint8_t *at = room_for(queue, size)
    if at == NULL:
        return False
    if size:
        memcpy(at, data, size)
    queue.end += size
    return True


cdef size_t take(Bytes *queue, uint8_t *into, size_t most) noexcept:
    """Move at most so many bytes out of a queue; returns how many."""
    cdef size_t size = min(most, queue.end - queue.start)
    if size:
        memcpy(into, queue.data + queue.start, size)
    queue.start += size
    if queue.start == queue.end:
        queue.start = queue.end = 0
    return size


cdef void empty(Bytes *queue) noexcept:
    queue.start = queue.end = 0
    if queue.room > MOST_KEPT:
        free(queue.data)
        queue.data, queue.room = NULL, 0


# --- sessions ------------------------------------------------------------------------------------------------------

cdef uint8_t *GATHERED = NULL
cdef size_t gathered_room = 0


cdef int64_t now_ns() noexcept nogil:
    """Nanoseconds of the clock that does not stop, as `time.monotonic_ns`."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef Py_ssize_t gather(nghttp2_session *session) noexcept:
    """Put frames one behind another in GATHERED, some `WRITE_BYTES` of them; returns how many bytes, or -1."""
    global GATHERED, gathered_room
    cdef const uint8_t *data = NULL
    cdef uint8_t *larger
    cdef size_t size = 0
    cdef Py_ssize_t frame
    while size < WRITE_BYTES:
        frame = nghttp2_session_mem_send(session, &data)
        if frame < 0:
            return -1
        if frame == 0:
            break
        if size + frame > gathered_room:
            larger = <uint8_t *>realloc(GATHERED, 2 * (size + frame) + WRITE_BYTES)
            if larger == NULL:
                return -1
            GATHERED, gathered_room = larger, 2 * (size + frame) + WRITE_BYTES
        memcpy(GATHERED + size, data, frame)
        size += frame
    return size


cdef void settle(list dirty):
    """Send what there is to be sent, until nobody has anything more: passing bytes on makes others have something to send."""
    cdef Session session
    while dirty:
        session = dirty.pop()
        session.flush()


cdef class Session:
    """One end of a connection. Who makes one gives it `session`, which goes when it does."""

    def __dealloc__(self):
        if self.session != NULL:
            nghttp2_session_del(self.session)

    cdef void touch(self) noexcept:
        """Have what there is to be sent sent soon."""
        if not self.is_dirty:
            self.dirty.append(self)
            self.is_dirty = True

    cdef int flush(self) except -1:
        cdef Py_ssize_t size
        self.is_dirty = False
        while self.transport is not None and self.session != NULL and not self.paused:
            size = gather(self.session)
            if size < 0:
                self.transport.abort()
                return 0
            if size == 0:
                if not nghttp2_session_want_read(self.session) and not nghttp2_session_want_write(self.session):
                    self.transport.close()
                return 0
            self.transport.write(PyBytes_FromStringAndSize(<const char *>GATHERED, size))
        return 0

    def pause_writing(self):
        """The socket takes no more: nothing more is read either, so that who does not listen is not answered without end."""
        self.paused = True
        self.transport.pause_reading()

    def resume_writing(self):
        """The socket takes more."""
        self.paused = False
        self.transport.resume_reading()
        self.touch()
        settle(self.dirty)

    def eof_received(self):
        """The other end has closed: so do we."""
        return False

    # --- what nghttp2 has read, and sent ---------------------------------------------------------------------------

    cdef Call *opened(self, int32_t stream) noexcept:
        """A stream begins; NULL: what comes on it is dropped."""
        return NULL

    cdef void field(self, Call *call, nghttp2_rcbuf *name, nghttp2_rcbuf *value) noexcept:
        """A field of a header block."""

    cdef void block(self, Call *call, bint ends) noexcept:
        """A header block is whole, and maybe all that there is."""

    cdef void body(self, Call *call, const uint8_t *data, size_t size) noexcept:
        """A piece of a message."""

    cdef void ended(self, Call *call) noexcept:
        """The other end has said all."""

    cdef void forget(self, Call *call, uint32_t code) noexcept:
        """The stream is over, well or not."""

    cdef void control(self, const nghttp2_frame *frame) noexcept:
        """A SETTINGS, PING or GOAWAY frame."""

    cdef void sent(self, const nghttp2_frame *frame) noexcept:
        """A frame is on its way."""

    # --- what one side of a call tells the other -------------------------------------------------------------------

    cdef bint open(self, Call *call) noexcept:
        """Begin a call on this side; False if that is not possible."""
        return False

    cdef void begins(self, Call *call, bint ends) noexcept:
        """The response begins with the call's fields, or is nothing but them."""

    cdef void more(self, Call *call) noexcept:
        """There is more to be passed on, or the end of it is known."""

    cdef void taken(self, Call *call, size_t size) noexcept:
        """So many bytes were passed on."""

    cdef void broken(self, Call *call, uint32_t code) noexcept:
        """The other side has ended before its time."""

    cdef void tick(self, int64_t now) noexcept:
        """Look at what has taken too long."""

    cdef void release(self, uint64_t durable, uint64_t refused) noexcept:
        """Let answers leave that are put down, and refuse those that cannot be."""

    cdef void give_up(self, int64_t since_ns) noexcept:
        """Refuse those that have waited since before then."""

    cdef void drain(self) noexcept:
        """Let no new call in, and end with the last one."""


# --- callbacks -----------------------------------------------------------------------------------------------------

cdef inline Call *call_of(nghttp2_session *session, int32_t stream) noexcept:
    return <Call *>nghttp2_session_get_stream_user_data(session, stream)


cdef int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *owner) noexcept:
    cdef Session self = <Session>owner
    cdef int32_t stream = frame.hd.stream_id
    if frame.hd.type != NGHTTP2_HEADERS or frame.headers.cat != NGHTTP2_HCAT_REQUEST:
        self.opening = call_of(session, stream)
        return 0
    self.opening = self.opened(stream)
    if self.opening == NULL:
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE
    return 0 if nghttp2_session_set_stream_user_data(session, stream, self.opening) == 0 else NGHTTP2_ERR_CALLBACK_FAILURE


cdef int on_header(
    nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *owner
) noexcept:
    cdef Session self = <Session>owner
    if self.opening != NULL:
        self.field(self.opening, name, value)
    return 0


cdef int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *owner) noexcept:
    cdef Session self = <Session>owner
    cdef bint ends = frame.hd.flags & NGHTTP2_FLAG_END_STREAM
    cdef Call *call
    if frame.hd.type == NGHTTP2_HEADERS:
        call, self.opening = self.opening, NULL
        if call != NULL:
            self.block(call, ends)
    elif frame.hd.type == NGHTTP2_DATA:
        call = call_of(session, frame.hd.stream_id) if ends else NULL
        if call != NULL:
            self.ended(call)
    elif frame.hd.type in (NGHTTP2_SETTINGS, NGHTTP2_PING, NGHTTP2_GOAWAY):
        self.control(frame)
    return 0


cdef int on_data_chunk(
    nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size, void *owner
) noexcept:
    cdef Session self = <Session>owner
    cdef Call *call = call_of(session, stream)
    if call != NULL:
        self.body(call, data, size)
    elif nghttp2_session_consume(session, stream, size) != 0:
        return NGHTTP2_ERR_CALLBACK_FAILURE
    return 0


cdef int on_stream_over(nghttp2_session *session, int32_t stream, uint32_t code, void *owner) noexcept:
    """nghttp2 remembers some streams that are over, so as to know what must not come on them any more; their calls are gone."""
    cdef Session self = <Session>owner
    cdef Call *call = call_of(session, stream)
    if call != NULL:
        nghttp2_session_set_stream_user_data(session, stream, NULL)
        self.forget(call, code)
    return 0


cdef int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *owner) noexcept:
    (<Session>owner).sent(frame)
    return 0


if nghttp2_session_callbacks_new(&CALLBACKS) != 0:
    raise MemoryError()
nghttp2_session_callbacks_set_on_begin_headers_callback(CALLBACKS, on_begin_headers)
nghttp2_session_callbacks_set_on_header_callback2(CALLBACKS, on_header)
nghttp2_session_callbacks_set_on_frame_recv_callback(CALLBACKS, on_frame)
nghttp2_session_callbacks_set_on_data_chunk_recv_callback(CALLBACKS, on_data_chunk)
nghttp2_session_callbacks_set_on_stream_close_callback(CALLBACKS, on_stream_over)
nghttp2_session_callbacks_set_on_frame_send_callback(CALLBACKS, on_frame_sent)
