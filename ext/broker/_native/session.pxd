# cython: language_level=3
"""One end of an HTTP/2 connection, and a call on its way between two of them. See `session.pyx`."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from nghttp2 cimport nghttp2_frame, nghttp2_nv, nghttp2_rcbuf, nghttp2_session, nghttp2_session_callbacks

cdef enum:
    MOST_FIELDS = 64       # of a header block
    MOST_TRAILERS = 8      # that a handler may answer with
    NOTES = 160            # bytes for their values
    DIGEST_BYTES = 32


cdef struct Bytes:         # a queue of bytes: what is in it stands from `start` to `end`
    uint8_t *data
    size_t start
    size_t end
    size_t room


cdef struct Field:
    nghttp2_rcbuf *name
    nghttp2_rcbuf *value


cdef struct Call:
    void *consumer         # the Session on either side, borrowed; NULL once the stream there is over
    void *core
    int32_t consumer_stream
    int32_t core_stream
    Call *next             # of the consumer's connection
    Call *previous
    Call *core_next        # of the connection to the core
    Call *core_previous
    Call *next_ready
    Bytes request          # what has come and is not passed on
    Bytes response
    uint32_t field_count   # of the request until it is passed on, then of the response, then of the trailers
    uint32_t field_bytes
    Field fields[MOST_FIELDS]
    bint begun             # its header block is whole: what comes after it are trailers, of which gRPC knows none
    bint too_large         # the header block is
    bint held              # until it is whole, for a handler
    uint8_t method         # which one of those that have a handler
    bint ready             # it is whole, or answered and not to leave yet, and on the list of those that are
    uint64_t mark          # of the answer: up to where its handler is to have come before it leaves
    bint answered          # by a handler: the response is all here, and nobody else's window bounds it
    bint dropped           # answered without what is still to come of the request
    bint was_reset         # by us
    bint request_done
    bint response_begun
    bint response_done
    bint has_trailers
    uint32_t trailer_count # of a handler's answer
    nghttp2_nv trailers[MOST_TRAILERS]
    char notes[NOTES]
    const uint8_t *certificate    # of the consumer, base64 of DER, borrowed from its connection; NULL: none
    Py_ssize_t certificate_size
    bint wants_proof               # nobody remembers who this caller is: the core is to say
    uint8_t shown[DIGEST_BYTES]   # SHA-256 of what the caller showed, for what the core says of it
    uint8_t prefix[5]      # of the first message of the request
    uint32_t prefix_bytes  # that have come of it
    uint64_t first_left    # bytes of the first message behind its prefix that have not come
    int64_t heard_ns       # when the consumer last sent something of the request
    int64_t moved_ns       # when bytes of the response were last sent, or began to wait


cdef Call *new_call() noexcept
cdef void free_call(Call *call) noexcept
cdef bint put(Bytes *queue, const uint8_t *data, size_t size) noexcept
cdef uint8_t *room_for(Bytes *queue, size_t size) noexcept
cdef size_t take(Bytes *queue, uint8_t *into, size_t most) noexcept
cdef void empty(Bytes *queue) noexcept
cdef bint add_field(Call *call, nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint32_t most_fields, uint32_t most_bytes) noexcept
cdef void drop_fields(Call *call) noexcept
cdef int64_t now_ns() noexcept nogil
cdef void settle(list dirty)
cdef void note_first(Call *call, const uint8_t *data, size_t size) noexcept

cdef nghttp2_session_callbacks *CALLBACKS   # for every session; their user data is the Session


cdef class Session:
    cdef nghttp2_session *session
    cdef object transport
    cdef list dirty        # Sessions of a front that have something to send
    cdef bint is_dirty
    cdef bint paused       # the socket takes no more for now
    cdef bint over         # nothing is read any more
    cdef Call *opening     # whose header block is being read

    cdef void touch(self) noexcept
    cdef int flush(self) except -1
    # What nghttp2 has read, and sent.
    cdef Call *opened(self, int32_t stream) noexcept
    cdef void field(self, Call *call, nghttp2_rcbuf *name, nghttp2_rcbuf *value) noexcept
    cdef void block(self, Call *call, bint ends) noexcept
    cdef void body(self, Call *call, const uint8_t *data, size_t size) noexcept
    cdef void ended(self, Call *call) noexcept
    cdef void forget(self, Call *call, uint32_t code) noexcept
    cdef void control(self, const nghttp2_frame *frame) noexcept
    cdef void sent(self, const nghttp2_frame *frame) noexcept
    # What one side of a call tells the other.
    cdef bint open(self, Call *call) noexcept
    cdef void begins(self, Call *call, bint ends) noexcept
    cdef void more(self, Call *call) noexcept
    cdef void taken(self, Call *call, size_t size) noexcept
    cdef void broken(self, Call *call, uint32_t code) noexcept
    cdef void tick(self, int64_t now) noexcept
    cdef void drain(self) noexcept
    cdef void release(self, uint64_t durable, uint64_t refused) noexcept
    cdef void give_up(self, int64_t since_ns) noexcept
