# cython: language_level=3
"""An audit record as protobuf writes it: `broker.v1.AuditRecord`, fields in the order of their numbers, defaults left out.

Writing cannot fail. What is told of a call may be what made it be refused, so a text is whatever came: cut where it is too
long, and bytes that are not UTF-8 become "?"; the record then says that it was altered. C without Python objects. What must
not go in here: what a record should say.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from broker._native.cachekey cimport Slice
from cursor cimport Cursor, cursor_over, take_bytes
from protobuf cimport NOT_ASCII, is_utf8, put_varint, take_character

# The numbers of the fields.
cdef enum:
    FIELD_AT = 2
    FIELD_CONSUMER = 3
    FIELD_OPERATOR = 4
    FIELD_INTERFACE = 5
    FIELD_VERSION = 6
    FIELD_PURPOSE = 7
    FIELD_MATTER = 8
    FIELD_CASE_ID = 9
    FIELD_FIELDS = 10
    FIELD_OUTCOME = 11
    FIELD_SOURCE = 12
    FIELD_REQUEST_DIGEST = 13
    FIELD_ANSWER_DIGEST = 14
    FIELD_KIND = 15
    FIELD_MONO_NS = 16
    FIELD_DEVICE = 17
    FIELD_REQUEST_ID = 18
    FIELD_GRANT = 19
    FIELD_GRANT_VERSION = 20
    FIELD_SNAPSHOT_VERSION = 21
    FIELD_PLANE = 22
    FIELD_TOOK_US = 23
    FIELD_PROVIDER_US = 24
    FIELD_SUBJECT = 25
    FIELD_INTENT = 26
    FIELD_CODE = 27
    FIELD_EMBARGO = 28
    FIELD_METHOD = 29
    FIELD_TARGET = 30
    FIELD_ALTERED = 31
    FIELD_COUNT = 32
    FIELD_CHANGE = 33
    RECORD_FIELDS = 34             # one more than the last number

cdef enum:
    KIND_INTENT = 1
    KIND_OUTCOME = 2
    KIND_CHANGE = 3
    KIND_LOOK = 4
    KIND_TOLD = 5

cdef enum:
    MOST_TEXT = 1024               # bytes
    MOST_DIGEST = 64
    MOST_NAMES = 32768             # bytes of all names of fields, with their lengths
    # 21 texts and 3 digests with tags and lengths, 11 numbers, the time, and the names: below what a record may be.
    RECORD_ROOM = 65536
    WIRE_NUMBER = 0
    WIRE_BYTES = 2

# Which fields hold numbers, which digests, a bit each; the others are texts, but for two that have a shape of their own.
# No enum, whose values fit an int.
cdef extern from *:
    """
    #define SECOND_NS 1000000000u
    static const uint64_t RECORD_NUMBERS = 1u << 6 | 1u << 15 | 1u << 16 | 1u << 20 | 1u << 21 | 1u << 23 | 1u << 24 | 1u << 31
        | 1ull << 32 | 1ull << 33;
    static const uint64_t RECORD_DIGESTS = 1u << 13 | 1u << 14 | 1u << 25;
    """
    const uint64_t SECOND_NS
    const uint64_t RECORD_NUMBERS
    const uint64_t RECORD_DIGESTS


cdef struct JournalRecord:
    uint64_t wall_ns                       # field `at`
    uint64_t numbers[RECORD_FIELDS]        # by the number of their field, as are the others
    Slice texts[RECORD_FIELDS]             # UTF-8, or bytes for digests; no pointer: none
    const Slice *names                     # of the fields answered
    Py_ssize_t name_count


cdef inline unsigned char *put_tag(unsigned char *at, int field, int wire) noexcept nogil:
    return put_varint(at, <uint64_t>(field << 3 | wire))


cdef inline bint is_ascii(const Slice *text) noexcept nogil:
    """Most texts are; to see that takes a fraction of what `is_utf8` takes."""
    cdef uint64_t seen = 0, word
    cdef Py_ssize_t at = 0
    while text.size - at >= <Py_ssize_t>sizeof(word):
        memcpy(&word, text.data + at, sizeof(word))
        seen |= word
        at += sizeof(word)
    while at < text.size:
        seen |= text.data[at]
        at += 1
    return seen & NOT_ASCII == 0


cdef inline Py_ssize_t cut_at(const Slice *text) noexcept nogil:
    """Return where a text that is too long is cut: before a character, if it has any."""
    cdef Py_ssize_t at = MOST_TEXT
    while at > MOST_TEXT - 3 and text.data[at] & 0xC0 == 0x80:
        at -= 1
    return at


cdef inline void put_mended(unsigned char *at, const Slice *text) noexcept nogil:
    """Write a text byte by byte, "?" for each that is not part of a character."""
    cdef Cursor cursor = cursor_over(text.data, text.size)
    cdef Cursor ahead
    cdef Py_ssize_t size
    while cursor.remaining > 0:
        ahead = cursor
        if take_character(&ahead) and ahead.ok:
            size = cursor.remaining - ahead.remaining
            memcpy(at, cursor.at, size)
            cursor = ahead
        else:
            size = 1
            at[0] = <uint8_t>b"?"
            take_bytes(&cursor, 1)
        at += size


cdef inline unsigned char *put_text(unsigned char *at, int field, const Slice *given, bint *altered) noexcept nogil:
    cdef Slice text = given[0]
    if text.size > MOST_TEXT:
        text.size = cut_at(&text)
        altered[0] = True
    at = put_varint(put_tag(at, field, WIRE_BYTES), <uint64_t>text.size)
    if is_ascii(&text) or is_utf8(&text):
        if text.size > 0:
            memcpy(at, text.data, text.size)
    else:
        put_mended(at, &text)
        altered[0] = True
    return at + text.size


cdef inline unsigned char *put_digest(unsigned char *at, int field, const Slice *digest) noexcept nogil:
    cdef Py_ssize_t size = min(digest.size, <Py_ssize_t>MOST_DIGEST)
    at = put_varint(put_tag(at, field, WIRE_BYTES), <uint64_t>size)
    memcpy(at, digest.data, size)
    return at + size


cdef inline unsigned char *put_names(unsigned char *at, const JournalRecord *record, bint *altered) noexcept nogil:
    cdef const unsigned char *end = at + MOST_NAMES - MOST_TEXT - 4
    cdef Py_ssize_t i
    for i in range(record.name_count):
        if at > end:
            altered[0] = True
            return at
        at = put_text(at, FIELD_FIELDS, &record.names[i], altered)
    return at


cdef inline unsigned char *put_time(unsigned char *at, uint64_t wall_ns) noexcept nogil:
    """Write a google.protobuf.Timestamp."""
    cdef unsigned char room[24]
    cdef unsigned char *end = room
    if wall_ns // SECOND_NS != 0:
        end = put_varint(put_tag(end, 1, WIRE_NUMBER), wall_ns // SECOND_NS)
    if wall_ns % SECOND_NS != 0:
        end = put_varint(put_tag(end, 2, WIRE_NUMBER), wall_ns % SECOND_NS)
    at = put_varint(put_tag(at, FIELD_AT, WIRE_BYTES), <uint64_t>(end - room))
    memcpy(at, room, end - room)
    return at + (end - room)


cdef inline unsigned char *put_field(unsigned char *at, const JournalRecord *record, int field, bint *altered) noexcept nogil:
    cdef uint64_t number = record.numbers[field], bit = <uint64_t>1 << field
    if field == FIELD_FIELDS:
        return put_names(at, record, altered)
    if field == FIELD_ALTERED:
        number = altered[0]
    if RECORD_NUMBERS & bit:
        return put_varint(put_tag(at, field, WIRE_NUMBER), number) if number != 0 else at
    if record.texts[field].data == NULL or record.texts[field].size <= 0:
        return at
    if RECORD_DIGESTS & bit:
        return put_digest(at, field, &record.texts[field])
    return put_text(at, field, &record.texts[field], altered)


cdef inline size_t write_record(unsigned char *room, const JournalRecord *record) noexcept nogil:
    """Write a record where there is RECORD_ROOM; returns its size, which is never 0."""
    cdef unsigned char *at = put_time(room, record.wall_ns)
    cdef bint altered = False
    cdef int field
    for field in range(FIELD_CONSUMER, RECORD_FIELDS):
        at = put_field(at, record, field, &altered)
    return <size_t>(at - room)
