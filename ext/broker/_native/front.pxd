# cython: language_level=3
"""What the connections of a front share, and what answers calls without the core. See `front.pyx`."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from broker._native.cachekey cimport Slice
from broker._native.session cimport DIGEST_BYTES, Call, Session
from frame_meter cimport REASONS, Limits, Reason

cdef enum:
    MOST_TOKEN_BYTES = 1024
    MOST_METHODS = 8


cdef struct Shown:         # what a connection has shown, and what a handler remembers of it
    bint has_certificate
    uint8_t certificate[DIGEST_BYTES]   # SHA-256 of it
    uint8_t token[MOST_TOKEN_BYTES]     # the last one, so that it need not be hashed for each call
    Py_ssize_t token_size               # 0: none
    bint has_digest
    uint8_t digest[DIGEST_BYTES]        # of the last token and the certificate


cdef struct Rules:         # times in ns
    Limits frames
    uint32_t streams
    uint32_t stream_window
    uint32_t connection_window
    uint32_t header_fields
    uint32_t header_bytes
    uint64_t outbound_bytes
    uint64_t core_calls    # over one connection
    uint32_t connections
    uint32_t connections_of_identity
    int64_t preface_ns
    int64_t settings_ns
    int64_t header_ns
    int64_t idle_ns
    int64_t age_ns
    int64_t stream_stall_ns
    int64_t stall_ns
    int64_t drain_ns
    int64_t ping_interval_ns
    int64_t held_ns        # that an answer waits for its record


cdef struct Counts:
    uint64_t accepted
    uint64_t answered      # calls that a handler has
    uint64_t relayed
    uint64_t unavailable   # calls that the core was not there for
    uint64_t unaudited     # answers that were taken back, because they could not be put down
    uint64_t closed[REASONS]


cdef class Handler:
    cdef bint waits                # what it answers leaves when it says so
    cdef uint64_t mark             # of the last answer
    cdef bint begin(self) noexcept
    cdef bint answer(self, Call *call, const Slice *message, Shown *shown) noexcept
    cdef void end(self, uint64_t answered) noexcept
    cdef void learn(self, Call *call, const uint8_t *note, Py_ssize_t size) noexcept


cdef class Front:
    cdef list waiting              # connections with answers that are not to leave yet
    cdef bytes unaudited           # as `unavailable`, of an answer that may never leave
    cdef Rules rules
    cdef Counts counts
    cdef readonly list dirty
    cdef set _open
    cdef dict _of_identity
    cdef public Session core       # None while it is not there
    cdef Handler handler
    cdef list paths                # of the methods that the handler answers
    cdef Slice _paths[MOST_METHODS]
    cdef Py_ssize_t _path_count
    cdef bytes unavailable         # grpc-status-details-bin of a call that the core was not there for, base64
    cdef object on_closed
    cdef bint draining
    cdef Reason admit(self, Session session, bytes identity)
    cdef void leave(self, Session session, bytes identity)
    cdef bint is_handled(self, Call *call) noexcept
    cdef void closed(self, Reason reason) noexcept
