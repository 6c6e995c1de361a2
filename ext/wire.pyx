# cython: language_level=3
"""The protobuf wire of a hot call: `CallRequest` and `MatchRequest` in, the tail of `CallResponse` out. See `wire.pyi`.

What is read here is read exactly as protobuf and `services/exchange_service.py` read it; whatever is unusual is declined, and
the core, which can do everything, is asked. Declining is therefore always right, and being wrong never is. What must not go in
here: the meaning of what was read, answers (reply.pyx), other messages, allocation in the native half.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from broker._native.cachekey cimport Pair, Slice
from canonical cimport (
    KIND_ADDRESS,
    KIND_COMPANY_NAME,
    KIND_DATE,
    KIND_LICENCE_NO,
    KIND_NUMBER,
    KIND_PERSON_NAME,
    KIND_PHONE,
    KIND_RESIDENT_ID,
    KIND_TEXT,
    KIND_USCC,
    chars_of,
    is_canonical,
)
from cursor cimport Cursor, cursor_over, take_u8
from protobuf cimport decline, put_number, take_delimited, take_text, take_varint

# Number of the field, then how it is encoded: 2 is a length and bytes, 0 a varint. All fit one byte.
cdef enum:
    TAG_INTERFACE = 1 << 3 | 2
    TAG_ARGUMENTS = 2 << 3 | 2
    TAG_PURPOSE = 3 << 3 | 2
    TAG_MATTER = 4 << 3 | 2
    TAG_OPERATOR = 5 << 3 | 2
    TAG_CASE_ID = 6 << 3 | 2
    TAG_MAX_AGE = 7 << 3 | 2
    TAG_ENCODING = 8 << 3 | 0
    TAG_VERSION = 9 << 3 | 0
    TAG_BASE = 1 << 3 | 2              # of MatchRequest, from here on
    TAG_MATCHED_INTERFACE = 2 << 3 | 2
    TAG_KEY = 3 << 3 | 2
    TAG_ASSERTED = 4 << 3 | 2
    TAG_MATCH_PURPOSE = 5 << 3 | 2
    TAG_MATCH_MATTER = 6 << 3 | 2
    TAG_MATCH_OPERATOR = 7 << 3 | 2
    TAG_MATCH_CASE_ID = 8 << 3 | 2
    TAG_ENTRY_NAME = 1 << 3 | 2        # of an entry of a map
    TAG_ENTRY_VALUE = 2 << 3 | 2
    TAG_SECONDS = 1 << 3 | 0           # of a Duration
    TAG_NANOS = 2 << 3 | 0
    TAG_PROVENANCE = 3 << 3 | 2        # of CallResponse
    TAG_SOURCE = 1 << 3 | 0            # of Provenance
    TAG_AGE = 7 << 3 | 2

cdef enum:
    MOST_NANOS = 999_999_999
    JSON = 1
    MSGPACK = 2

# No enum, whose values fit an int.
cdef uint64_t MOST_SECONDS = 315_576_000_000    # of a Duration: 10,000 years


# --- maps of texts -----------------------------------------------------------------------------------------------

cdef inline int order_of(const Slice *left, const Slice *right) noexcept nogil:
    """Order by bytes, as keys are made (`cachekey.pyx`)."""
    cdef Py_ssize_t shorter = min(left.size, right.size)
    cdef int order = memcmp(left.data, right.data, shorter) if shorter > 0 else 0
    if order != 0:
        return order
    return (left.size > right.size) - (left.size < right.size)


cdef inline Pair take_entry(Cursor *cursor) noexcept nogil:
    """Return one entry of the map. One that says its name or its value twice is declined: it could be read two ways."""
    cdef Slice whole = take_delimited(cursor)
    cdef Cursor entry = cursor_over(whole.data, whole.size)
    cdef Pair pair
    cdef uint8_t tag, seen = 0
    pair.name.data = pair.value.data = NULL
    pair.name.size = pair.value.size = 0
    while entry.remaining > 0:
        tag = take_u8(&entry)
        if tag == TAG_ENTRY_NAME and not seen & 1:
            pair.name = take_text(&entry)
            seen |= 1
        elif tag == TAG_ENTRY_VALUE and not seen & 2:
            pair.value = take_text(&entry)
            seen |= 2
        else:
            decline(&entry)
    if not entry.ok:
        decline(cursor)
    return pair


cdef inline bint insert(Pair *places, Py_ssize_t *count, const Pair *pair) noexcept nogil:
    """Put a pair in its place. False where there is none: its name is there already, or all MOST_ARGUMENTS are taken."""
    cdef Py_ssize_t at = count[0], i
    cdef int order = 1
    while at > 0:
        order = order_of(&places[at - 1].name, &pair.name)
        if order <= 0:
            break
        at -= 1
    if count[0] >= MOST_ARGUMENTS or (at > 0 and order == 0):
        return False
    for i in range(count[0], at, -1):
        places[i] = places[i - 1]
    places[at] = pair[0]
    count[0] += 1
    return True


cdef inline void take_pair(Pair *places, Py_ssize_t *count, Cursor *cursor) noexcept nogil:
    cdef Pair pair = take_entry(cursor)
    if cursor.ok and not insert(places, count, &pair):
        decline(cursor)


# --- CallRequest -------------------------------------------------------------------------------------------------

cdef inline void take_max_age(CallView *call, Cursor *cursor) noexcept nogil:
    """Read the Duration. Stated twice, protobuf merges the two; that is left to protobuf."""
    cdef Slice whole = take_delimited(cursor)
    cdef Cursor duration = cursor_over(whole.data, whole.size)
    cdef uint64_t seconds = 0, nanos = 0
    cdef uint8_t tag
    while duration.remaining > 0:
        tag = take_u8(&duration)
        if tag == TAG_SECONDS:
            seconds = take_varint(&duration, MOST_SECONDS)
        elif tag == TAG_NANOS:
            nanos = take_varint(&duration, MOST_NANOS)
        else:
            decline(&duration)
    if not duration.ok or call.max_age_ms != NO_MAX_AGE:
        decline(cursor)
    call.max_age_ms = <int64_t>(seconds * 1000 + nanos // 1_000_000)


cdef inline void take_field(CallView *call, Cursor *cursor) noexcept nogil:
    """Read one field. Of a text or a number that stands twice, the last one counts."""
    cdef uint8_t tag = take_u8(cursor)
    if tag == TAG_INTERFACE:
        call.interface = take_text(cursor)
    elif tag == TAG_ARGUMENTS:
        take_pair(call.arguments, &call.count, cursor)
    elif tag == TAG_PURPOSE:
        call.purpose = take_text(cursor)
    elif tag == TAG_MATTER:
        call.matter = take_text(cursor)
    elif tag == TAG_OPERATOR:
        call.operator = take_text(cursor)
    elif tag == TAG_CASE_ID:
        call.case_id = take_text(cursor)
    elif tag == TAG_MAX_AGE:
        take_max_age(call, cursor)
    elif tag == TAG_ENCODING:
        call.encoding = <uint8_t>take_varint(cursor, MSGPACK)
    elif tag == TAG_VERSION:
        call.version = <uint32_t>take_varint(cursor, 0xFFFFFFFF)
    else:
        decline(cursor)


cdef inline void clear(CallView *call) noexcept nogil:
    """Everything as it is where nothing is said. The places of arguments stay as they were: `count` tells what is in use."""
    cdef Slice nothing
    nothing.data = NULL
    nothing.size = 0
    call.interface = call.purpose = call.matter = call.operator = call.case_id = nothing
    call.version = 0
    call.encoding = 0
    call.max_age_ms = NO_MAX_AGE
    call.count = call.asserted_count = 0


cdef bint parse_call(CallView *call, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    cdef Cursor cursor = cursor_over(data, size)
    clear(call)
    while cursor.remaining > 0:
        take_field(call, &cursor)
    if call.encoding == 0:
        call.encoding = JSON
    return cursor.ok


# --- MatchRequest ------------------------------------------------------------------------------------------------

cdef inline void take_match_field(CallView *call, Cursor *cursor) noexcept nogil:
    """Read one field. Base and interface are one choice: of the two, the last one counts, even if it is empty."""
    cdef uint8_t tag = take_u8(cursor)
    if tag == TAG_BASE or tag == TAG_MATCHED_INTERFACE:
        call.interface = take_text(cursor)
    elif tag == TAG_KEY:
        take_pair(call.arguments, &call.count, cursor)
    elif tag == TAG_ASSERTED:
        take_pair(call.asserted, &call.asserted_count, cursor)
    elif tag == TAG_MATCH_PURPOSE:
        call.purpose = take_text(cursor)
    elif tag == TAG_MATCH_MATTER:
        call.matter = take_text(cursor)
    elif tag == TAG_MATCH_OPERATOR:
        call.operator = take_text(cursor)
    elif tag == TAG_MATCH_CASE_ID:
        call.case_id = take_text(cursor)
    else:
        decline(cursor)


cdef bint parse_match(CallView *call, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    cdef Cursor cursor = cursor_over(data, size)
    clear(call)
    while cursor.remaining > 0:
        take_match_field(call, &cursor)
    call.encoding = JSON
    return cursor.ok


# --- the tail of CallResponse ------------------------------------------------------------------------------------

cdef Py_ssize_t write_tail(unsigned char *into, Source source, uint64_t age_ms) noexcept nogil:
    """Write a provenance of source and age. Both lengths are put in afterwards: they are below 128, so one byte each."""
    cdef unsigned char *end = put_circumstances(into + 2, source, age_ms)
    into[0] = TAG_PROVENANCE
    into[1] = <unsigned char>(end - into - 2)
    return end - into


cdef unsigned char *put_circumstances(unsigned char *at, Source source, uint64_t age_ms) noexcept nogil:
    cdef unsigned char *age = put_number(at, TAG_SOURCE, source)
    cdef unsigned char *end = put_number(age + 2, TAG_SECONDS, age_ms // 1000)
    end = put_number(end, TAG_NANOS, age_ms % 1000 * 1_000_000)
    age[0] = TAG_AGE    # stands there even when it is empty: an age of 0 is an age
    age[1] = <unsigned char>(end - age - 2)
    return end


# --- Python's face -----------------------------------------------------------------------------------------------

KINDS = {
    "person_name": KIND_PERSON_NAME,
    "resident_id": KIND_RESIDENT_ID,
    "uscc": KIND_USCC,
    "address": KIND_ADDRESS,
    "date": KIND_DATE,
    "licence_no": KIND_LICENCE_NO,
    "text": KIND_TEXT,
    "number": KIND_NUMBER,
    "phone": KIND_PHONE,
    "company_name": KIND_COMPANY_NAME,
}


cdef str text_of(const Slice *text):
    return PyUnicode_DecodeUTF8(<const char *>text.data, text.size, NULL)


cdef Slice slice_of(str text) except *:
    """Point at the UTF-8 that the text object itself keeps; valid as long as the object lives."""
    cdef Slice view
    try:
        view.data = <const unsigned char *>PyUnicode_AsUTF8AndSize(text, &view.size)
    except UnicodeEncodeError:
        raise ValueError("text: is not encodable as UTF-8") from None  # never with the text: it may be personal
    return view


cdef dict said_in(const CallView *call):
    """What calls and comparisons both say."""
    return {
        "interface": text_of(&call.interface),
        "purpose": text_of(&call.purpose),
        "matter": text_of(&call.matter),
        "operator": text_of(&call.operator),
        "case_id": text_of(&call.case_id),
        "arguments": pairs_of(call.arguments, call.count),
    }


cdef tuple pairs_of(const Pair *pairs, Py_ssize_t count):
    cdef Py_ssize_t i
    return tuple([(text_of(&pairs[i].name), text_of(&pairs[i].value)) for i in range(count)])


def parse_call_request(bytes data not None):
    """See `wire.pyi`."""
    cdef CallView call
    if not parse_call(&call, <const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
        return None
    return said_in(&call) | {
        "version": call.version,
        "encoding": call.encoding,
        "max_age_ms": None if call.max_age_ms == NO_MAX_AGE else call.max_age_ms,
    }


def parse_match_request(bytes data not None):
    """See `wire.pyi`."""
    cdef CallView call
    if not parse_match(&call, <const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
        return None
    return said_in(&call) | {"asserted": pairs_of(call.asserted, call.asserted_count)}


def call_tail(age_ms):
    """See `wire.pyi`."""
    cdef unsigned char tail[TAIL_BYTES]
    if not 0 <= age_ms < 1 << 53:
        raise ValueError("age_ms: must be 0..2**53-1")
    return PyBytes_FromStringAndSize(<char *>tail, write_tail(tail, FROM_CACHE, age_ms))


def is_canonical_text(kind, str text not None):
    """See `wire.pyi`."""
    cdef Slice view = slice_of(text)
    if not 0 <= kind <= 0xFF:
        raise ValueError("kind: must be 0..255")
    return is_canonical(kind, &view)


def count_chars(str text not None):
    """See `wire.pyi`."""
    cdef Slice view = slice_of(text)
    return chars_of(&view)
