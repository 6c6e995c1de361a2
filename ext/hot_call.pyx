# cython: language_level=3
"""`ExchangeService/Call` of a front: from a fresh answer in the cache, socket to socket, or from a record base.

Every step is in hot.pyx; here is what a call reads and writes. What must not go in here: decisions, what a record says in an
answer (`serve/front_answers.py`), the wire itself (wire.pyx, reply.pyx).
"""

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from broker._native.cachekey cimport FLAG_NOT_FOUND, KEY_BYTES, EntryView, Pair, Slice
from broker._native.front cimport Shown
from broker._native.hot cimport Allowed, Hot, HotMethod, age_of, begin_message, end_message
from broker._native.plans cimport question_of, subject_of, texts_of
from broker._native.reply cimport REPLY_BYTES, SHA256_BYTES, BodyView, Told, view_body, write_call_reply
from broker._native.session cimport Call
from broker._native.trail cimport IDENTIFIER_ROOM, Given
from broker._native.wire cimport FROM_CACHE, FROM_RECORDS, MOST_ARGUMENTS, TAIL_BYTES, CallView, parse_call, write_tail

cdef enum:
    TAG_AUDIT_ID = 4 << 3 | 2          # of CallResponse


@cython.final
cdef class HotCall(HotMethod):
    """See `hot_call.pyi`."""

    cdef bint answer(self, Hot hot, Call *call, const Slice *message, Shown *shown) noexcept:
        cdef CallView view
        cdef Allowed allowed
        cdef Pair question[MOST_ARGUMENTS]
        cdef Py_ssize_t count
        if not parse_call(&view, message.data, message.size) or not hot.allow(call, &view, 0, shown, &allowed):
            return False
        count = question_of(question, allowed.plan, &view)
        if count < 0:
            return False
        if allowed.plan.is_held:
            return answer_from_base(hot, call, &view, &allowed, question, count)
        return answer_from_cache(hot, call, &view, &allowed, question, count)


# --- from the cache ------------------------------------------------------------------------------------------------

cdef bint answer_from_cache(
    Hot hot, Call *call, const CallView *view, const Allowed *allowed, const Pair *question, Py_ssize_t count
) noexcept:
    """Look the answer up, and give it if it is fresh and can be paid for."""
    cdef unsigned char key[KEY_BYTES]
    cdef EntryView entry
    cdef Py_buffer buffer
    cdef Given about
    cdef bint given = False
    if not hot.derive(key, view, allowed, question, count, allowed.term.mask) or not hot.find(key, &entry, &buffer):
        return False
    memset(&about, 0, sizeof(about))
    about.found, about.source, about.key = not entry.flags & FLAG_NOT_FOUND, FROM_CACHE, key
    about.subject = subject_of(allowed.plan, question, count)
    if hot.is_fresh(&entry, view, allowed.term) and put_cached(hot, call, &entry, &about):
        given = hot.finish(call, view, allowed, &about, TAG_AUDIT_ID)
    if given:
        hot.count(allowed.plan.call_slot, not entry.flags & FLAG_NOT_FOUND)
    PyBuffer_Release(&buffer)
    return given


cdef bint put_cached(Hot hot, Call *call, const EntryView *entry, Given *about) noexcept:
    """Write the answer as it goes on the wire: the cached body, and behind it the tail about this call."""
    cdef unsigned char *at = begin_message(call, entry.body.size + TAIL_BYTES)
    cdef BodyView body
    if at == NULL or entry.body.size + TAIL_BYTES + IDENTIFIER_ROOM > hot.max_message_bytes:   # which the core would not send either
        return False
    if hot.trail is not None:
        if not view_body(&body, entry.body.data, entry.body.size):
            return False
        about.digest = body.digest
    memcpy(at, entry.body.data, entry.body.size)
    end_message(call, entry.body.size + write_tail(at + entry.body.size, FROM_CACHE, age_of(hot, entry)))
    return True


# --- from a record base --------------------------------------------------------------------------------------------

cdef bint answer_from_base(
    Hot hot, Call *call, const CallView *view, const Allowed *allowed, const Pair *question, Py_ssize_t count
) noexcept:
    """Have the record read, and give what the grant shows of it if that can be paid for."""
    cdef unsigned char key[KEY_BYTES]
    cdef Given about
    cdef bint given = False, found
    if hot.is_late():
        return False
    if hot.trail is not None and not hot.derive(key, view, allowed, question, count, allowed.term.mask):
        return False
    try:
        answers = hot.plans.answers[allowed.interface]
        shown = answers.call_held(hot.ref_of(allowed.term), texts_of(question, count), view.encoding)
        if shown is not None:
            found, payload, digest = shown
            memset(&about, 0, sizeof(about))
            about.found, about.source, about.digest = found, FROM_RECORDS, <const uint8_t *>PyBytes_AS_STRING(digest)
            about.subject, about.key = subject_of(allowed.plan, question, count), key
            if put_held(hot, call, allowed, found, payload, digest):
                given = hot.finish(call, view, allowed, &about, TAG_AUDIT_ID)
    except Exception:
        return False
    if given:
        hot.count(allowed.plan.call_slot, found)
    return given


cdef bint put_held(Hot hot, Call *call, const Allowed *allowed, bint found, bytes payload, bytes digest) except -1:
    cdef Told told
    cdef Slice body
    cdef unsigned char *at = begin_message(call, REPLY_BYTES + PyBytes_GET_SIZE(payload))
    cdef Py_ssize_t size
    if at == NULL or PyBytes_GET_SIZE(digest) != SHA256_BYTES:
        return False
    body.data, body.size = <const unsigned char *>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload)
    told.origin, told.source, told.age_ms = allowed.plan.origin, FROM_RECORDS, 0
    told.more.data, told.more.size = NULL, 0
    told.fetched_at_ms, told.digest = hot.clock.wall_ms, <const uint8_t *>PyBytes_AS_STRING(digest)
    size = write_call_reply(at, found, &body, &told)
    if size >= 0:
        end_message(call, size)
    return size >= 0
