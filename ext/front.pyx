# cython: language_level=3
"""What the connections of one front share: rules, counts, the handler and its methods, the way to the core; see `front.pyi`.

A table of methods, by their exact `:path`, has a handler, which answers from what this process can read or declines; everything
else is passed on to the core. It knows methods and messages, nothing of the broker. What must not go in here: a connection
(connection.pyx), the core's side (relay.pyx), identity, grants, keys and answers (hot.pyx).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from broker._native.cachekey cimport Slice
from broker._native.session cimport Call, Session, now_ns, settle
from frame_meter cimport BUDGETS, CONNECTIONS, CONNECTIONS_OF_IDENTITY, FINE, REASONS, Reason
from grpc_frame cimport everyday_method

cdef int64_t LAST_NS = 0x7FFFFFFFFFFFFFFF
BUDGET_NAMES = ("frames", "resets", "pings", "settings", "priorities", "window_updates", "empty_frames", "unknown_frames")
REASON_NAMES = (
    *BUDGET_NAMES, "continuations", "header_block", "large_headers", "preface_timeout", "settings_timeout", "header_timeout",
    "stalled", "stalled_stream", "idle", "age", "connections", "connections_of_identity", "too_many_pings", "not_http2", "protocol",
)
assert len(BUDGET_NAMES) == BUDGETS and len(REASON_NAMES) == REASONS


cdef class Handler:
    """Answers whole requests to the methods of a front. Nothing of it may raise."""

    cdef bint begin(self) noexcept:
        """Get ready for the requests of one chunk; False: the core is to answer them all."""
        return False

    cdef bint answer(self, Call *call, const Slice *message, Shown *shown) noexcept:
        """Put response and trailers into the call, which says which method it is; False: the core is to answer."""
        return False

    cdef void end(self, uint64_t answered) noexcept:
        """There is no other request in the chunk."""

    cdef void learn(self, Call *call, const uint8_t *note, Py_ssize_t size) noexcept:
        """The core has told something of who made a call."""


cdef int64_t nanoseconds(object rules, str name) except -1:
    cdef int64_t value = rules[name]
    if not 0 < value < 1 << 40:
        raise ValueError(f"{name}: must be a number of milliseconds")
    return value * 1_000_000


cdef int fill_times(Rules *into, object rules) except -1:
    into.preface_ns = nanoseconds(rules, "preface_timeout_ms")
    into.settings_ns = nanoseconds(rules, "settings_timeout_ms")
    into.header_ns = nanoseconds(rules, "header_timeout_ms")
    into.idle_ns = nanoseconds(rules, "idle_timeout_ms")
    into.age_ns = nanoseconds(rules, "max_age_ms")
    into.stream_stall_ns = nanoseconds(rules, "stalled_stream_timeout_ms")
    into.stall_ns = nanoseconds(rules, "stalled_timeout_ms")
    into.drain_ns = nanoseconds(rules, "drain_timeout_ms")
    into.ping_interval_ns = nanoseconds(rules, "ping_interval_ms")
    into.held_ns = nanoseconds(rules, "held_timeout_ms")
    return 0


cdef int fill_sizes(Rules *into, object rules) except -1:
    into.core_calls = rules["calls_a_core_connection"]
    into.streams, into.stream_window = rules["streams"], rules["stream_window_bytes"]
    into.connection_window = rules["connection_window_bytes"]
    into.header_fields, into.header_bytes = rules["header_fields"], rules["header_bytes"]
    into.outbound_bytes = rules["outbound_bytes"]
    into.connections, into.connections_of_identity = rules["connections"], rules["connections_of_identity"]
    into.frames.continuations, into.frames.header_block_bytes = rules["continuations"], rules["header_block_bytes"]
    for i, name in enumerate(BUDGET_NAMES):
        into.frames.budgets[i].burst = 1000 * <int64_t>min(rules[name], 1 << 40)
        into.frames.budgets[i].per_second = 1000 * <int64_t>min(rules[f"{name}_per_second"], 1 << 40)
    return 0


cdef class Front:
    """See `front.pyi`."""

    def __init__(
        self, rules, paths, Handler handler not None, bytes unavailable not None, on_closed, bytes unaudited not None=b""
    ):
        fill_times(&self.rules, rules)
        fill_sizes(&self.rules, rules)
        self.dirty, self._open, self._of_identity = [], set(), {}
        self.handler, self.unavailable, self.on_closed = handler, unavailable, on_closed
        self.unaudited, self.waiting = unaudited, []
        self.paths = [(<str?>path).encode() for path in paths]
        if len(self.paths) > MOST_METHODS:
            raise ValueError(f"paths: must not be more than {MOST_METHODS}")
        for i, path in enumerate(self.paths):
            self._paths[i].data = <const unsigned char *>PyBytes_AS_STRING(path)
            self._paths[i].size = PyBytes_GET_SIZE(path)
        self._path_count = len(self.paths)

    def release(self, uint64_t durable, uint64_t refused):
        """See `front.pyi`."""
        cdef Session session
        waiting, self.waiting = self.waiting, []
        for session in waiting:
            session.release(durable, refused)
        settle(self.dirty)

    def take_back(self):
        """See `front.pyi`."""
        cdef Session session
        for session in self.waiting:
            session.give_up(LAST_NS)
        settle(self.dirty)

    def tick(self):
        """See `front.pyi`."""
        cdef Session session
        cdef int64_t now = now_ns()
        for session in list(self._open):
            session.tick(now)
        settle(self.dirty)

    def drain(self):
        """See `front.pyi`."""
        cdef Session session
        self.draining = True
        for session in list(self._open):
            session.drain()
        settle(self.dirty)

    def counters(self):
        """See `front.pyi`."""
        closed = {name: self.counts.closed[i] for i, name in enumerate(REASON_NAMES)}
        return {
            "open": len(self._open),
            "accepted": self.counts.accepted,
            "answered": self.counts.answered,
            "relayed": self.counts.relayed,
            "unavailable": self.counts.unavailable,
            "unaudited": self.counts.unaudited,
            "closed": closed,
        }

    cdef Reason admit(self, Session session, bytes identity):
        """Take a connection in; FINE, or why not."""
        cdef uint32_t of_identity = self._of_identity.get(identity, 0) + 1 if identity is not None else 0
        if <uint32_t>len(self._open) >= self.rules.connections:
            return CONNECTIONS
        if of_identity > self.rules.connections_of_identity:
            return CONNECTIONS_OF_IDENTITY
        if identity is not None:
            self._of_identity[identity] = of_identity
        self._open.add(session)
        self.counts.accepted += 1
        return FINE

    cdef void leave(self, Session session, bytes identity):
        if session not in self._open:
            return
        self._open.discard(session)
        if identity is not None:
            self._of_identity[identity] -= 1
            if not self._of_identity[identity]:
                del self._of_identity[identity]

    cdef bint is_handled(self, Call *call) noexcept:
        """Whether the handler is to be asked, once the request is whole; notes by which method."""
        cdef int method = everyday_method(call, self._paths, self._path_count)
        if method >= 0:
            call.method = <uint8_t>method
        return method >= 0

    cdef void closed(self, Reason reason) noexcept:
        """Count why a connection, or a stream of it, was ended, and have it told."""
        self.counts.closed[<int>reason] += 1
        try:
            self.on_closed(REASON_NAMES[<int>reason])
        except Exception:  # telling is not worth a connection
            pass
