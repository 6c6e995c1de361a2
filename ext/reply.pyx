# cython: language_level=3
"""What a front answers of its own, on the wire: `CallResponse` from a record base, `MatchResponse`. See `reply.pyi`.

What is written here protobuf reads as what `model/body.py` and `services/match_messages.py` would have written, which are the
oracle. A cached body is read strictly: it was written by the core, so what is unusual in it is for the core. What must not go
in here: what an answer says, who may have it, gRPC framing, allocation in the native half.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from broker._native.cachekey cimport Slice
from broker._native.wire cimport FROM_CACHE, FROM_RECORDS, MOST_ARGUMENTS, Source, put_circumstances
from cursor cimport Cursor, cursor_over, take_u8
from protobuf cimport MOST_VARINT, decline, put_bytes, put_number, take_delimited, take_text, take_varint

cdef extern from "<endian.h>" nogil:
    uint64_t htole64(uint64_t)

# Number of the field, then how it is encoded: 2 is a length and bytes, 0 a varint, 1 eight bytes. All fit one byte.
cdef enum:
    TAG_OUTCOME = 1 << 3 | 0           # of CallResponse, and of MatchResponse
    TAG_PAYLOAD = 2 << 3 | 2           # of CallResponse
    TAG_CALL_PROVENANCE = 3 << 3 | 2
    TAG_VERDICTS = 2 << 3 | 2          # of MatchResponse
    TAG_STATUS = 3 << 3 | 0
    TAG_OVERALL = 4 << 3 | 0
    TAG_MATCH_PROVENANCE = 5 << 3 | 2
    TAG_ENTRY_NAME = 1 << 3 | 2        # of an entry of the map of verdicts
    TAG_ENTRY_VERDICT = 2 << 3 | 2
    TAG_VERDICT = 1 << 3 | 0           # of FieldVerdict
    TAG_SCORE = 2 << 3 | 1
    TAG_LEVEL = 2 << 3 | 0             # of Provenance
    TAG_PROVIDER = 3 << 3 | 2
    TAG_INTERFACE = 4 << 3 | 2
    TAG_VERSION = 5 << 3 | 0
    TAG_FETCHED_AT = 6 << 3 | 2
    TAG_DIGEST = 9 << 3 | 2
    TAG_SECONDS = 1 << 3 | 0           # of a Timestamp
    TAG_NANOS = 2 << 3 | 0

cdef enum:
    FOUND = 1                          # as an outcome
    NOT_FOUND = 2
    PROVENANCE_BYTES = MOST_ORIGIN_BYTES + 128


# --- a cached body -----------------------------------------------------------------------------------------------

cdef inline void take_moment(Cursor *cursor) noexcept nogil:
    """Step over a Timestamp."""
    cdef Slice whole = take_delimited(cursor)
    cdef Cursor fields = cursor_over(whole.data, whole.size)
    cdef uint8_t tag
    while fields.remaining > 0:
        tag = take_u8(&fields)
        if tag != TAG_SECONDS and tag != TAG_NANOS:
            decline(&fields)
        take_varint(&fields, <uint64_t>1 << 53)
    if not fields.ok:
        decline(cursor)


cdef inline const uint8_t *take_digest(Cursor *cursor) noexcept nogil:
    cdef Slice digest = take_delimited(cursor)
    if digest.size != SHA256_BYTES:
        decline(cursor)
    return digest.data


cdef inline void take_origin_field(BodyView *body, Cursor *cursor) noexcept nogil:
    """Step over one field of a provenance, and part the others where the digest stands."""
    cdef const unsigned char *begins = cursor.at
    cdef uint8_t tag = take_u8(cursor)
    if tag == TAG_DIGEST and body.more.data == NULL:
        body.digest = take_digest(cursor)
        body.origin.size = begins - body.origin.data
        body.more.data = cursor.at
    elif tag == TAG_PROVIDER or tag == TAG_INTERFACE:
        take_text(cursor)
    elif tag == TAG_FETCHED_AT:
        take_moment(cursor)
    elif tag == TAG_LEVEL or tag == TAG_VERSION:
        take_varint(cursor, 0xFFFFFFFF)
    else:
        decline(cursor)


cdef inline void take_origin(BodyView *body, Cursor *cursor) noexcept nogil:
    cdef Slice whole = take_delimited(cursor)
    cdef Cursor fields = cursor_over(whole.data, whole.size)
    if body.origin.data != NULL:
        decline(cursor)            # a second one would be merged into the first
        return
    body.origin = whole
    while fields.remaining > 0:
        take_origin_field(body, &fields)
    if not fields.ok or body.more.data == NULL:
        decline(cursor)
    else:
        body.more.size = whole.data + whole.size - body.more.data


cdef bint view_body(BodyView *body, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    cdef Cursor cursor = cursor_over(data, size)
    cdef uint64_t outcome = 0
    cdef uint8_t tag
    memset(body, 0, sizeof(body[0]))
    while cursor.remaining > 0:
        tag = take_u8(&cursor)
        if tag == TAG_OUTCOME and outcome == 0:
            outcome = take_varint(&cursor, NOT_FOUND)
        elif tag == TAG_PAYLOAD and body.payload.data == NULL:
            body.payload = take_delimited(&cursor)
        elif tag == TAG_CALL_PROVENANCE:
            take_origin(body, &cursor)
        else:
            decline(&cursor)
    body.found = outcome == FOUND
    return cursor.ok and outcome != 0 and body.origin.data != NULL and (body.payload.size > 0) == body.found


# --- writing -----------------------------------------------------------------------------------------------------

cdef inline unsigned char *put_moment(unsigned char *at, int64_t at_ms) noexcept nogil:
    """Write a Timestamp, which stands there even when it is empty."""
    cdef unsigned char *end = put_number(at + 2, TAG_SECONDS, <uint64_t>(at_ms // 1000))
    end = put_number(end, TAG_NANOS, <uint64_t>(at_ms % 1000) * 1_000_000)
    at[0] = TAG_FETCHED_AT
    at[1] = <unsigned char>(end - at - 2)
    return end


cdef inline unsigned char *put_provenance(unsigned char *at, uint8_t tag, const Told *told) noexcept nogil:
    """Write a Provenance; NULL: its fields are longer than any."""
    cdef unsigned char fields[PROVENANCE_BYTES]
    cdef unsigned char *end = fields
    if told.origin.size > MOST_ORIGIN_BYTES or told.more.size > MOST_ORIGIN_BYTES - told.origin.size:
        return NULL
    if told.origin.size > 0:
        memcpy(end, told.origin.data, told.origin.size)
        end += told.origin.size
    if told.more.size > 0:
        memcpy(end, told.more.data, told.more.size)
        end += told.more.size
    if told.fetched_at_ms >= 0:
        end = put_moment(end, told.fetched_at_ms)
    if told.digest != NULL:
        end = put_bytes(end, TAG_DIGEST, told.digest, SHA256_BYTES)
    end = put_circumstances(end, told.source, told.age_ms)
    return put_bytes(at, tag, fields, end - fields)


cdef Py_ssize_t write_call_reply(unsigned char *into, bint found, const Slice *payload, const Told *told) noexcept nogil:
    cdef unsigned char *end = put_number(into, TAG_OUTCOME, FOUND if found else NOT_FOUND)
    if payload.size > 0:
        end = put_bytes(end, TAG_PAYLOAD, payload.data, payload.size)
    end = put_provenance(end, TAG_CALL_PROVENANCE, told)
    return end - into if end != NULL else -1


cdef inline unsigned char *put_verdict(unsigned char *at, const NamedVerdict *one) noexcept nogil:
    """Write one entry of the map. All lengths are below 128, so one byte each."""
    cdef unsigned char verdict[2 * MOST_VARINT + 2]
    cdef unsigned char entry[VERDICT_BYTES]
    cdef unsigned char *end = put_number(verdict, TAG_VERDICT, one.verdict)
    cdef unsigned char *ends
    cdef uint64_t bits
    if one.score != 0.0:
        memcpy(&bits, &one.score, sizeof(bits))
        bits = htole64(bits)
        end[0] = TAG_SCORE
        memcpy(end + 1, &bits, sizeof(bits))
        end += 1 + sizeof(bits)
    ends = put_bytes(entry, TAG_ENTRY_NAME, one.name.data, one.name.size)
    ends = put_bytes(ends, TAG_ENTRY_VERDICT, verdict, end - verdict)
    return put_bytes(at, TAG_VERDICTS, entry, ends - entry)


cdef Py_ssize_t write_match_reply(unsigned char *into, bint found, const Verdicts *verdicts, const Told *told) noexcept nogil:
    cdef unsigned char *end = put_number(into, TAG_OUTCOME, FOUND if found else NOT_FOUND)
    cdef Py_ssize_t i
    for i in range(verdicts.count):
        if verdicts.fields[i].name.size > MOST_NAME_BYTES:
            return -1
        end = put_verdict(end, &verdicts.fields[i])
    end = put_number(end, TAG_STATUS, verdicts.status)
    end = put_number(end, TAG_OVERALL, verdicts.overall)
    end = put_provenance(end, TAG_MATCH_PROVENANCE, told)
    return end - into if end != NULL else -1


cdef bint take_verdicts(Verdicts *into, dict named, status, overall) except -1:
    """Point at what Python has told, which must outlive it; False: there is more than any comparison has."""
    cdef NamedVerdict *one
    cdef Py_ssize_t size
    into.count, into.status, into.overall = 0, status, overall
    if len(named) > MOST_ARGUMENTS:
        return False
    for name, (verdict, score) in named.items():
        one = &into.fields[into.count]
        one.name.data, one.verdict, one.score = <const unsigned char *>PyUnicode_AsUTF8AndSize(name, &size), verdict, score
        one.name.size = size
        into.count += 1
    return True


# --- Python's face -----------------------------------------------------------------------------------------------

LEVELS = {"NATIONAL": 1, "PROVINCIAL": 2, "CITY": 3}


def origin(int level, bytes provider not None, bytes interface not None, unsigned int version):
    """See `reply.pyi`."""
    cdef unsigned char fields[MOST_ORIGIN_BYTES + 64]
    cdef unsigned char *end
    if level < 0 or PyBytes_GET_SIZE(provider) + PyBytes_GET_SIZE(interface) > MOST_ORIGIN_BYTES - 64:
        raise ValueError("level, provider or interface: is none of the catalogue's")
    end = put_number(fields, TAG_LEVEL, <uint64_t>level)
    end = put_bytes(end, TAG_PROVIDER, PyBytes_AS_STRING(provider), PyBytes_GET_SIZE(provider))
    end = put_bytes(end, TAG_INTERFACE, PyBytes_AS_STRING(interface), PyBytes_GET_SIZE(interface))
    end = put_number(end, TAG_VERSION, version)
    return PyBytes_FromStringAndSize(<char *>fields, end - fields)


cdef int tell(Told *into, bytes told, fetched_at_ms, source, age_ms, bytes digest) except -1:
    if source not in (FROM_CACHE, FROM_RECORDS) or not 0 <= age_ms < 1 << 53 or not (
        fetched_at_ms is None or 0 <= fetched_at_ms < 1 << 53
    ):
        raise ValueError("source or time: is none")
    if digest is not None and len(digest) != SHA256_BYTES:
        raise ValueError(f"digest: must be {SHA256_BYTES} bytes")
    memset(into, 0, sizeof(into[0]))
    into.origin.data, into.origin.size = <const unsigned char *>PyBytes_AS_STRING(told), PyBytes_GET_SIZE(told)
    into.source, into.age_ms = <Source><int>source, age_ms
    into.fetched_at_ms = NO_MOMENT if fetched_at_ms is None else fetched_at_ms
    if digest is not None:
        into.digest = <const uint8_t *>PyBytes_AS_STRING(digest)
    return 0


cdef bytes cut(bytes room, Py_ssize_t size):
    if size < 0:
        raise ValueError("origin or name: is longer than any")
    return room[:size]


def call_reply(bint found, bytes payload not None, bytes origin not None, bytes digest, source, fetched_at_ms, age_ms):
    """See `reply.pyi`."""
    cdef Slice shown
    cdef Told told
    cdef bytes room = PyBytes_FromStringAndSize(NULL, REPLY_BYTES + PyBytes_GET_SIZE(payload))
    tell(&told, origin, fetched_at_ms, source, age_ms, digest)
    shown.data, shown.size = <const unsigned char *>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload)
    return cut(room, write_call_reply(<unsigned char *>PyBytes_AS_STRING(room), found, &shown, &told))


def match_reply(bint found, dict verdicts not None, status, overall, bytes origin not None, source, fetched_at_ms, age_ms):
    """See `reply.pyi`."""
    cdef Verdicts said
    cdef Told told
    cdef bytes room
    tell(&told, origin, fetched_at_ms, source, age_ms, None)
    if not take_verdicts(&said, verdicts, status, overall):
        raise ValueError(f"verdicts: must not be more than {MOST_ARGUMENTS}")
    room = PyBytes_FromStringAndSize(NULL, REPLY_BYTES + said.count * VERDICT_BYTES)
    return cut(room, write_match_reply(<unsigned char *>PyBytes_AS_STRING(room), found, &said, &told))


def read_body(bytes data not None):
    """See `reply.pyi`."""
    cdef BodyView body
    if not view_body(&body, <const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)):
        return None
    payload = <bytes>body.payload.data[: body.payload.size] if body.payload.size else b""
    return body.found, payload, <bytes>body.origin.data[: body.origin.size] + <bytes>body.more.data[: body.more.size]
