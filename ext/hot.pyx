# cython: language_level=3
"""What every method that a front answers has in common: the steps of a call (`broker/exchange.py`), natively.

An answer is given only where the core would give the same; whatever else comes of a step (a refusal, a miss, a stale entry, a
used-up block of a quota, an argument in another form) is for the core, which is asked as if this had not looked. All decisions
are those that the core calls too. What must not go in here: what one method reads and writes (hot_call.pyx, hot_match.pyx),
HTTP/2 and gRPC framing (connection.pyx), files (serve/front.py).
"""

import base64

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from broker._native.cachekey cimport KEY_BYTES, KEY_OK, EntryView, Pair, Request, Slice, derive_key, view_entry
from broker._native.counters cimport SPENT, Counters, Left, Line, existing_line, has_moved, left_of, spend
from broker._native.front cimport MOST_TOKEN_BYTES, Handler, Shown
from broker._native.plans cimport Plans
from broker._native.remembered cimport Proof, Remembered, keep, recall
from broker._native.session cimport Call, now_ns, room_for
from broker._native.shared cimport ALIVE, CORE, COUNTERS, DRAINING, TRUST, Board, Tally, word_of
from broker._native.trail cimport IDENTIFIER_ROOM, Given, Trail
from broker._native.wire cimport MOST_ARGUMENTS, NO_MAX_AGE, CallView
from caller cimport MOST_SAID_BYTES, Caller, digest_shown, is_last_shown, merge_operator, read_caller
from decimal cimport put_decimal
from decision cimport ALLOWED, DAY_MS, SAYS_DEVICE, SAYS_OPERATOR, Asked, decide, local_ms
from image cimport MASK_BYTES, NOBODY, Policy, Term, find_interface
from nghttp2 cimport NGHTTP2_NV_FLAG_NO_COPY_NAME, NGHTTP2_NV_FLAG_NO_INDEX, nghttp2_nv

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *into)
    const int CLOCK_REALTIME
    const int CLOCK_BOOTTIME

cdef enum:
    PREFIX = 5                 # of a gRPC message
    DEFINITION_BYTES = 16
    CLOCK_TOLERANCE_MS = 1000  # as in cache/freshness.py
    NOTE_BYTES = 40            # generation of trust, credential, begin and end of a proof
    LATE_NS = 5_000_000        # of a chunk


cdef class HotMethod:
    """See `hot.pyi`."""

    cdef bint answer(self, Hot hot, Call *call, const Slice *message, Shown *shown) noexcept:
        return False


@cython.final
cdef class Hot(Handler):
    """See `hot.pyi`."""

    def __init__(
        self, methods, Board board not None, Tally tally not None, Remembered remembered not None, limits,
        Py_ssize_t max_message_bytes, int64_t core_away_ms
    ):
        self.methods = [<HotMethod?>method for method in methods]
        self.core_away_ms = core_away_ms
        self.board, self.tally, self.remembered = board, tally, remembered
        self.max_argument_bytes, self.max_arguments = limits.max_argument_bytes, limits.max_arguments
        self.max_token_bytes, self.max_message_bytes = limits.max_token_bytes, max_message_bytes

    def use_policy(self, Plans plans):
        """See `hot.pyi`."""
        self.plans, self.image = plans, None if plans is None else plans.image
        if self.trail is not None and self.image is not None:
            self.trail.writer.set_snapshot(self.image.version)

    def use_counters(self, Counters counters, uint64_t made):
        """See `hot.pyi`."""
        self.counters, self.counters_made = counters, made

    def use_cache(self, environment, entries, uint64_t core):
        """See `hot.pyi`."""
        self.environment, self.entries, self.core, self.failed = environment, entries, core, False

    def use_trail(self, Trail trail):
        """See `hot.pyi`."""
        self.trail, self.waits = trail, False

    def use_clock(self, int64_t anchor_ms):
        """See `hot.pyi`."""
        self.anchor_ms = anchor_ms

    # --- a chunk of requests ---------------------------------------------------------------------------------------

    cdef bint begin(self) noexcept:
        cdef const uint64_t *words = self.board.words
        if self.plans is None or self.counters is None or self.environment is None or word_of(words, DRAINING):
            return False
        if word_of(words, COUNTERS) != self.counters_made or word_of(words, CORE) != self.core:
            return False
        if word_of(words, TRUST) != self.trust:
            self.trust = word_of(words, TRUST)
            memset(self.remembered._sets, 0, (self.remembered._mask + 1) * sizeof(self.remembered._sets[0]))
        if self.trail is not None and not self.trail.is_open():
            return False
        return self._look_at_clock()

    cdef bint _look_at_clock(self) noexcept:
        """As `policy/clock.py`: what begins is judged by the earliest time it can be, what ends by the latest.

        False: the core has not been seen for so long that something may have been taken away without its knowing.
        """
        cdef timespec wall, boot
        cdef int64_t anchored_ms, boot_ms
        clock_gettime(CLOCK_REALTIME, &wall)
        clock_gettime(CLOCK_BOOTTIME, &boot)
        self.clock.wall_ns = <uint64_t>wall.tv_sec * 1_000_000_000 + <uint64_t>wall.tv_nsec
        self.clock.wall_ms = <int64_t>(self.clock.wall_ns // 1_000_000)
        boot_ms = <int64_t>boot.tv_sec * 1000 + boot.tv_nsec // 1_000_000
        anchored_ms = self.anchor_ms + boot_ms
        self.clock.moment.earliest_ms = min(self.clock.wall_ms, anchored_ms)
        self.clock.moment.latest_ms = max(self.clock.wall_ms, anchored_ms)
        self.clock.mono_ns = now_ns()
        self.clock.day = local_ms(&self.image.policy, self.clock.moment.latest_ms) // DAY_MS
        return boot_ms - <int64_t>word_of(self.board.words, ALIVE) <= self.core_away_ms

    cdef void end(self, uint64_t answered) noexcept:
        if self.transaction is not None:
            try:
                self.transaction.abort()
            except Exception:
                self.failed = True
            self.transaction = None
        if answered and self.trail is not None:
            self.trail.writer.nudge()
        if answered:
            self.tally.add(answered, <uint64_t>(now_ns() - self.clock.mono_ns))

    cdef bint answer(self, Call *call, const Slice *message, Shown *shown) noexcept:
        if call.method >= len(self.methods):
            return False
        return (<HotMethod>self.methods[call.method]).answer(self, call, message, shown)

    # --- the steps of a call ---------------------------------------------------------------------------------------

    cdef bint allow(self, Call *call, CallView *view, uint32_t says, Shown *shown, Allowed *allowed) noexcept:
        """Weigh, identify, resolve and authorise."""
        cdef Caller caller
        cdef Asked asked
        if not self._weigh(view) or not read_caller(&caller, call) or not merge_operator(view, &caller):
            return False
        asked.consumer = self._identify(call, &caller, shown)
        if asked.consumer == NOBODY:
            return False
        asked.interface, asked.version, asked.purpose = view.interface, view.version, view.purpose
        asked.matter, asked.unit = view.matter, caller.unit
        asked.says = says | (SAYS_OPERATOR if view.operator.size else 0) | (SAYS_DEVICE if caller.device.size else 0)
        allowed.interface = find_interface(&self.image.policy, &view.interface, view.version)
        if decide(&self.image.policy, &asked, allowed.interface, &self.clock.moment, &allowed.term) != ALLOWED:
            return False
        allowed.consumer, allowed.device, allowed.request_id = asked.consumer, caller.device, caller.request_id
        allowed.plan = &self.plans.plans[allowed.interface]
        allowed.line = existing_line(self.counters._lines, self.counters._mask, allowed.term.counter)
        return allowed.plan.known and allowed.plan.count <= MOST_ARGUMENTS and self._may_pay(allowed)

    cdef bint is_late(self) noexcept:
        """Whether the chunk has taken long already: what comes of it yet is for the core, so that others get their turn, and
        so that nothing is decided for long by what was in force when the chunk began."""
        return now_ns() - self.clock.mono_ns > LATE_NS

    cdef bint _weigh(self, const CallView *view) noexcept:
        """Whether `weigh` of model/question.py has nothing to say."""
        if view.interface.size == 0 or view.purpose.size == 0:
            return False
        if max(view.interface.size, view.purpose.size, view.matter.size) > MOST_SAID_BYTES:
            return False
        if view.operator.size > MOST_SAID_BYTES or view.case_id.size > MOST_SAID_BYTES:
            return False
        return self._weigh_pairs(view.arguments, view.count) and self._weigh_pairs(view.asserted, view.asserted_count)

    cdef bint _weigh_pairs(self, const Pair *pairs, Py_ssize_t count) noexcept:
        cdef Py_ssize_t i
        for i in range(count):
            if pairs[i].name.size + pairs[i].value.size > self.max_argument_bytes:
                return False
        return count <= self.max_arguments

    cdef uint32_t _identify(self, Call *call, const Caller *caller, Shown *shown) noexcept:
        """Return who has proved before to the core, by what is shown now, to be somebody; NOBODY: the core is to look."""
        if caller.token.size == 0 and not shown.has_certificate:
            return NOBODY
        if caller.token.size > self.max_token_bytes or caller.token.size > MOST_TOKEN_BYTES:
            return NOBODY
        if not is_last_shown(shown, &caller.token) and not digest_shown(shown, &caller.token):
            return NOBODY
        memcpy(call.shown, shown.digest, sizeof(call.shown))
        cdef uint32_t consumer = recall(
            self.remembered._sets, self.remembered._mask, &self.image.policy, call.shown, &self.clock.moment
        )
        call.wants_proof = consumer == NOBODY
        return consumer

    cdef bint derive(
        self, unsigned char *key, const CallView *view, const Allowed *allowed, const Pair *question, Py_ssize_t count,
        const unsigned char *mask
    ) noexcept:
        """Derive the key of the answer to a canonical question, of which so much may be known as the mask stands for."""
        cdef unsigned char masked[DEFINITION_BYTES + MASK_BYTES]
        cdef Request request
        cdef Policy *policy = &self.image.policy
        memcpy(masked, policy.interfaces[allowed.interface].definition, DEFINITION_BYTES)
        memcpy(masked + DEFINITION_BYTES, mask, MASK_BYTES)
        request.interface, request.version = view.interface, policy.interfaces[allowed.interface].version
        request.encoding, request.arguments, request.count = view.encoding, question, count
        request.mask.data, request.mask.size = masked, sizeof(masked)
        return derive_key(key, &request) == KEY_OK

    cdef bint find(self, const unsigned char *key, EntryView *entry, Py_buffer *buffer) noexcept:
        """Look an answer up. Where there is one, the buffer is to be released once it has been used."""
        try:
            if self.transaction is None:
                self.transaction = self.environment.begin(buffers=True)
            found = self.transaction.get(PyBytes_FromStringAndSize(<const char *>key, KEY_BYTES), None, self.entries)
            if found is None:
                return False
            PyObject_GetBuffer(found, buffer, PyBUF_SIMPLE)
        except Exception:
            self.failed = True
            return False
        if view_entry(entry, key, <const unsigned char *>buffer.buf, buffer.len):
            return True
        PyBuffer_Release(buffer)
        return False

    cdef bint is_fresh(self, const EntryView *entry, const CallView *view, const Term *term) noexcept:
        """Whether `judge` of cache/freshness.py says FRESH, by the lesser of the two greatest ages."""
        cdef int64_t age_ms = self.clock.wall_ms - <int64_t>entry.stored_at, most = view.max_age_ms
        if entry.stored_at > <uint64_t>1 << 53 or age_ms < -CLOCK_TOLERANCE_MS:
            return False
        if term.cache_max_age_s >= 0 and (most == NO_MAX_AGE or <int64_t>term.cache_max_age_s * 1000 < most):
            most = <int64_t>term.cache_max_age_s * 1000
        if most != NO_MAX_AGE and (age_ms > most or most == 0):
            return False
        return self.clock.wall_ms < <int64_t>min(entry.fresh_until, <uint64_t>1 << 53)

    cdef bint _may_pay(self, const Allowed *allowed) noexcept:
        """Whether there is something left to pay with: else nothing is looked up, or how long that takes would tell what it is.

        Subjects are counted in the control plane, which is the core's.
        """
        cdef const Term *term = allowed.term
        cdef Left left
        if term.subjects_per_day or allowed.line == NULL or has_moved(allowed.line):
            return False
        left = left_of(allowed.line, term, <uint64_t>self.clock.mono_ns, <uint64_t>self.clock.day)
        return left.burst > 0 and (left.today > 0 or not term.quota_per_day) and (left.total > 0 or not term.quota_total)

    cdef bint finish(self, Call *call, const CallView *view, const Allowed *allowed, Given *given, uint8_t tag) noexcept:
        """Take the call off every limit, tell what is left, and put down what is answered; `tag` is that of the audit id.

        The last step, and the only one that can come to nothing when the call has been paid for: where it cannot be put down.
        """
        cdef Left left
        if not self._spend(allowed, &left):
            return False
        put_trailers(call, self.image.version, allowed.term, &left)
        return self.trail is None or self._put_down(call, view, allowed, given, tag)

    cdef bint _put_down(
        self, Call *call, const CallView *view, const Allowed *allowed, Given *given, uint8_t tag
    ) noexcept:
        cdef unsigned char *at = room_for(&call.response, IDENTIFIER_ROOM)
        if at == NULL:
            return False
        given.view, given.term, given.consumer, given.interface = view, allowed.term, allowed.consumer, allowed.interface
        self.waits = allowed.plan.waits
        given.device, given.request_id = allowed.device, allowed.request_id
        given.began_ns, given.began_wall_ns, given.snapshot = self.clock.mono_ns, self.clock.wall_ns, self.image.version
        if not self.trail.put(&self.image.policy, given, &self.mark):
            return False
        lengthen_message(call, self.trail.put_identifier(at, tag, self.mark))
        return True

    cdef bint _spend(self, const Allowed *allowed, Left *left) noexcept:
        cdef uint64_t wait_ns, now = <uint64_t>self.clock.mono_ns, day = <uint64_t>self.clock.day
        if has_moved(allowed.line) or spend(allowed.line, allowed.term, now, day, &wait_ns) != SPENT:
            return False
        left[0] = left_of(allowed.line, allowed.term, now, day)
        return True

    cdef void count(self, Py_ssize_t slot, bint found) noexcept:
        if found:
            self.tally.slots[slot].found += 1
        else:
            self.tally.slots[slot].not_found += 1

    cdef uint64_t ref_of(self, const Term *term) noexcept:
        """Return by which number Python asks the image for a term."""
        return <uint64_t>(<const uint8_t *>term - self.image.policy.terms) // 8

    cdef void learn(self, Call *call, const uint8_t *note, Py_ssize_t size) noexcept:
        """The core has told what a caller has proved by what it showed (`services/caller.py` makes the note)."""
        cdef Proof proof
        cdef uint64_t trust
        cdef const unsigned char *at
        try:
            decoded = base64.b64decode(PyBytes_FromStringAndSize(<const char *>note, size) + b"==")
        except Exception:
            return
        if len(decoded) != NOTE_BYTES:
            return
        at = decoded
        memcpy(&trust, at, 8)
        memcpy(proof.credential, at + 8, sizeof(proof.credential))
        memcpy(&proof.begins_ms, at + 24, 8)
        memcpy(&proof.ends_ms, at + 32, 8)
        memcpy(proof.digest, call.shown, sizeof(proof.digest))
        if trust == word_of(self.board.words, TRUST) and trust == self.trust and proof.ends_ms > 0:
            keep(self.remembered._sets, self.remembered._mask, &proof)


# --- the answer ----------------------------------------------------------------------------------------------------

cdef uint64_t age_of(Hot hot, const EntryView *entry) noexcept:
    return <uint64_t>max(hot.clock.wall_ms - <int64_t>entry.stored_at, 0)


cdef unsigned char *begin_message(Call *call, Py_ssize_t most) noexcept:
    """Return where a message of so many bytes at most may be written; NULL: there is no memory."""
    cdef uint8_t *at = room_for(&call.response, PREFIX + <size_t>most)
    return NULL if at == NULL else at + PREFIX


cdef void end_message(Call *call, Py_ssize_t size) noexcept:
    """Put gRPC's prefix before a message that has been written."""
    put_prefix(call.response.data + call.response.end, size)
    call.response.end += <size_t>(PREFIX + size)


cdef void lengthen_message(Call *call, Py_ssize_t size) noexcept:
    """Count in what was written behind the one message of a response."""
    cdef Py_ssize_t whole
    call.response.end += <size_t>size
    whole = <Py_ssize_t>(call.response.end - call.response.start) - PREFIX
    put_prefix(call.response.data + call.response.start, whole)


cdef void put_prefix(uint8_t *at, Py_ssize_t size) noexcept:
    at[0] = 0
    at[1], at[2], at[3], at[4] = <uint8_t>(size >> 24), <uint8_t>(size >> 16), <uint8_t>(size >> 8), <uint8_t>size


cdef void put_trailers(Call *call, uint64_t version, const Term *term, const Left *left) noexcept:
    """As `_trailing` of services/exchange_service.py, behind the status."""
    cdef char *at = call.notes
    call.trailer_count = 0
    at = put_number(call, b"grpc-status", 11, at, 0)
    at = put_number(call, b"broker-snapshot-version", 23, at, version)
    at = put_number(call, b"broker-remaining-burst", 22, at, left.burst)
    if term.quota_per_day:
        at = put_number(call, b"broker-remaining-quota-day", 26, at, left.today)
    if term.quota_total:
        put_number(call, b"broker-remaining-quota-total", 28, at, left.total)


cdef char *put_number(Call *call, const char *name, size_t name_size, char *at, uint64_t number) noexcept:
    """Add a trailer; returns where the next number may stand. What changes with each call is not to fill the peer's table."""
    cdef nghttp2_nv *trailer = &call.trailers[call.trailer_count]
    cdef size_t size = put_decimal(at, number)
    trailer.name, trailer.namelen = <uint8_t *>name, name_size
    trailer.value, trailer.valuelen = <uint8_t *>at, size
    trailer.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME   # the value is copied: the call may be gone before the frame
    if call.trailer_count >= 2:
        trailer.flags |= NGHTTP2_NV_FLAG_NO_INDEX
    call.trailer_count += 1
    return at + size
