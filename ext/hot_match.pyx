# cython: language_level=3
"""`ExchangeService/Match` of a front: verdicts on a record of a base, or on a fresh answer in the cache.

Every step is in hot.pyx; here is what a comparison reads and writes. What must not go in here: decisions, what a record says
of what is asserted (`serve/front_answers.py`), the wire itself (wire.pyx, reply.pyx).
"""

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memset

from broker._native.cachekey cimport FLAG_NOT_FOUND, KEY_BYTES, EntryView, Pair, Slice
from broker._native.front cimport Shown
from broker._native.hot cimport Allowed, Hot, HotMethod, age_of, begin_message, end_message
from broker._native.plans cimport question_of, subject_of, texts_of
from broker._native.reply cimport (
    NO_MOMENT, REPLY_BYTES, VERDICT_BYTES, BodyView, Told, Verdicts, take_verdicts, view_body, write_match_reply
)
from broker._native.session cimport Call
from broker._native.trail cimport Given
from broker._native.wire cimport FROM_CACHE, FROM_RECORDS, MOST_ARGUMENTS, CallView, parse_match
from canonical cimport chars_of
from decision cimport SAYS_VERDICT
from image cimport MASK_BYTES

cdef enum:
    TAG_AUDIT_ID = 6 << 3 | 2      # of MatchResponse
    MOST_ASSERTED_CHARS = 256      # over all fields: what takes longer to compare is not to hold up everybody else's calls
    MOST_PAYLOAD_BYTES = 16_384    # the same, of a cached answer


@cython.final
cdef class HotMatch(HotMethod):
    """See `hot_match.pyi`."""

    cdef bint answer(self, Hot hot, Call *call, const Slice *message, Shown *shown) noexcept:
        cdef CallView view
        cdef Allowed allowed
        cdef Pair question[MOST_ARGUMENTS]
        cdef Py_ssize_t count
        if not parse_match(&view, message.data, message.size) or not is_light(&view):
            return False
        if not hot.allow(call, &view, SAYS_VERDICT, shown, &allowed):
            return False
        count = question_of(question, allowed.plan, &view)
        if count < 0 or hot.is_late():
            return False
        try:
            if allowed.plan.is_held:
                return match_held(hot, call, &view, &allowed, question, count)
            return match_cached(hot, call, &view, &allowed, question, count)
        except Exception:
            return False


cdef bint is_light(const CallView *view) noexcept:
    """Whether a comparison is soon done."""
    cdef Py_ssize_t i, chars = 0
    for i in range(view.asserted_count):
        chars += chars_of(&view.asserted[i].value)
    return view.asserted_count > 0 and chars <= MOST_ASSERTED_CHARS


# --- on a record base ----------------------------------------------------------------------------------------------

cdef bint match_held(
    Hot hot, Call *call, const CallView *view, const Allowed *allowed, const Pair *question, Py_ssize_t count
) except -1:
    cdef unsigned char key[KEY_BYTES]
    cdef Told told
    cdef Given about
    answers = hot.plans.answers[allowed.interface]
    if hot.trail is not None and not derive_matched(hot, key, view, allowed, question, count, answers):
        return False
    asserted = texts_of(view.asserted, view.asserted_count)
    judged = answers.match_held(hot.ref_of(allowed.term), texts_of(question, count), asserted, hot.clock.wall_ms)
    memset(&told, 0, sizeof(told))
    told.origin, told.source, told.fetched_at_ms = allowed.plan.origin, FROM_RECORDS, hot.clock.wall_ms
    memset(&about, 0, sizeof(about))
    about.source, about.subject, about.key = FROM_RECORDS, subject_of(allowed.plan, question, count), key
    return give(hot, call, view, allowed, judged, &told, &about)


cdef bint derive_matched(
    Hot hot, unsigned char *key, const CallView *view, const Allowed *allowed, const Pair *question, Py_ssize_t count, answers
) except -1:
    """Derive the key of the record that a comparison reads, which may have more than the grant shows: what tells that it holds."""
    cdef bytes mask = answers.mask(hot.ref_of(allowed.term))
    if PyBytes_GET_SIZE(mask) != MASK_BYTES:
        return False
    return hot.derive(key, view, allowed, question, count, <const unsigned char *>PyBytes_AS_STRING(mask))


# --- on a cached answer --------------------------------------------------------------------------------------------

cdef bint match_cached(
    Hot hot, Call *call, const CallView *view, const Allowed *allowed, const Pair *question, Py_ssize_t count
) except -1:
    """Look the answer up that a comparison reads."""
    cdef unsigned char key[KEY_BYTES]
    cdef EntryView entry
    cdef Py_buffer buffer
    cdef Given about
    answers = hot.plans.answers[allowed.interface]
    if not derive_matched(hot, key, view, allowed, question, count, answers) or not hot.find(key, &entry, &buffer):
        return False
    try:
        memset(&about, 0, sizeof(about))
        about.source, about.subject, about.key = FROM_CACHE, subject_of(allowed.plan, question, count), key
        return hot.is_fresh(&entry, view, allowed.term) and match_entry(hot, call, view, allowed, answers, &entry, &about)
    finally:
        PyBuffer_Release(&buffer)


cdef bint match_entry(
    Hot hot, Call *call, const CallView *view, const Allowed *allowed, answers, const EntryView *entry, Given *about
) except -1:
    cdef BodyView body
    cdef Told told
    if not view_body(&body, entry.body.data, entry.body.size) or body.payload.size > MOST_PAYLOAD_BYTES:
        return False
    if body.found != (not entry.flags & FLAG_NOT_FOUND):
        return False
    payload = <bytes>body.payload.data[: body.payload.size] if body.found else None
    asserted = texts_of(view.asserted, view.asserted_count)
    judged = answers.match_payload(hot.ref_of(allowed.term), payload, asserted, hot.clock.wall_ms)
    memset(&told, 0, sizeof(told))
    told.origin, told.more, told.source = body.origin, body.more, FROM_CACHE
    told.age_ms, told.fetched_at_ms = age_of(hot, entry), NO_MOMENT
    return give(hot, call, view, allowed, judged, &told, about)


# --- the answer ----------------------------------------------------------------------------------------------------

cdef bint give(
    Hot hot, Call *call, const CallView *view, const Allowed *allowed, judged, const Told *told, Given *about
) except -1:
    """Write what was judged, if anything was, and have it paid for."""
    cdef Verdicts verdicts
    cdef unsigned char *at
    cdef Py_ssize_t size
    cdef bint found
    if judged is None:
        return False
    found, (named, status, overall) = judged
    if not take_verdicts(&verdicts, named, status, overall or 0):
        return False
    at = begin_message(call, REPLY_BYTES + verdicts.count * VERDICT_BYTES)
    if at == NULL:
        return False
    size = write_match_reply(at, found, &verdicts, told)
    if size < 0:
        return False
    end_message(call, size)
    about.found, about.asserted, about.asserted_count = found, <Pair *>view.asserted, view.asserted_count
    if not hot.finish(call, view, allowed, about, TAG_AUDIT_ID):
        return False
    hot.count(allowed.plan.match_slot, found)
    return True
