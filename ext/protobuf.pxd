# cython: language_level=3
"""The wire of protobuf, piece by piece: reading from a bounded cursor, writing where there is room. C without Python objects.

What is read is declined (the cursor fails, and stays failed) wherever it could be read two ways or is not as every writer
writes it: a number that is not in its shortest form, a text that is not UTF-8. Source: protobuf.dev, "Encoding". What must not
go in here: messages and their fields.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from broker._native.cachekey cimport Slice
from cursor cimport Cursor, cursor_over, take_bytes, take_u8, take_u64

cdef enum:
    SEVENS_OF_63_BITS = 9
    MOST_VARINT = 10               # bytes

# No enum, whose values fit an int.
cdef extern from *:
    """
    static const uint64_t NOT_ASCII = 0x8080808080808080;
    """
    const uint64_t NOT_ASCII


# --- reading -----------------------------------------------------------------------------------------------------

cdef inline void decline(Cursor *cursor) noexcept nogil:
    cursor.ok = False
    cursor.remaining = 0


cdef inline uint64_t take_varint(Cursor *cursor, uint64_t most) noexcept nogil:
    """Return a varint in its shortest form that is not beyond `most`; decline any other, as are all negative numbers."""
    cdef uint64_t value = 0
    cdef uint8_t byte = 0
    cdef int i
    for i in range(SEVENS_OF_63_BITS):
        byte = take_u8(cursor)
        value |= <uint64_t>(byte & 0x7F) << 7 * i
        if byte < 0x80:
            break
    if byte >= 0x80 or (byte == 0 and i > 0) or value > most:
        decline(cursor)
        return 0
    return value


cdef inline Slice take_delimited(Cursor *cursor) noexcept nogil:
    """Return the bytes behind a length. Lengths that do not fit what is left never become a size."""
    cdef Slice view
    view.size = <Py_ssize_t>take_varint(cursor, <uint64_t>cursor.remaining)
    view.data = take_bytes(cursor, view.size)
    return view


cdef inline bint take_continuation(Cursor *cursor) noexcept nogil:
    return (take_u8(cursor) & 0xC0) == 0x80


cdef inline bint take_character(Cursor *cursor) noexcept nogil:
    """Step over one character by RFC 3629: shortest form, no surrogates, nothing beyond U+10FFFF. False where there is none."""
    cdef uint8_t lead = take_u8(cursor), second, low = 0x80, high = 0xBF
    if lead < 0x80:
        return True
    if lead < 0xC2 or lead > 0xF4:
        return False
    if lead == 0xE0:
        low = 0xA0     # shorter forms exist
    elif lead == 0xED:
        high = 0x9F    # surrogates
    elif lead == 0xF0:
        low = 0x90     # shorter forms exist
    elif lead == 0xF4:
        high = 0x8F    # the last plane
    second = take_u8(cursor)
    if not low <= second <= high or (lead >= 0xE0 and not take_continuation(cursor)):
        return False
    return lead < 0xF0 or take_continuation(cursor)


cdef inline bint is_utf8(const Slice *text) noexcept nogil:
    cdef Cursor cursor = cursor_over(text.data, text.size)
    cdef Cursor ahead
    while cursor.remaining > 0:
        ahead = cursor
        if (take_u64(&ahead) & NOT_ASCII) == 0 and ahead.ok:
            cursor = ahead
        elif not take_character(&cursor):
            return False
    return cursor.ok    # a character that was cut reads zeros, which no character continues with


cdef inline Slice take_text(Cursor *cursor) noexcept nogil:
    cdef Slice text = take_delimited(cursor)
    if cursor.ok and not is_utf8(&text):
        decline(cursor)
    return text


# --- writing -----------------------------------------------------------------------------------------------------

cdef inline unsigned char *put_varint(unsigned char *at, uint64_t value) noexcept nogil:
    while value >= 0x80:
        at[0] = <unsigned char>(value | 0x80)
        value >>= 7
        at += 1
    at[0] = <unsigned char>value
    return at + 1


cdef inline unsigned char *put_number(unsigned char *at, uint8_t tag, uint64_t value) noexcept nogil:
    """Write a field of a number; nothing for 0, which is what is read where nothing is written."""
    if value == 0:
        return at
    at[0] = tag
    return put_varint(at + 1, value)


cdef inline unsigned char *put_bytes(unsigned char *at, uint8_t tag, const void *data, Py_ssize_t size) noexcept nogil:
    """Write a field of bytes behind their length, even where there are none. The room: a tag, MOST_VARINT and the bytes."""
    at[0] = tag
    at = put_varint(at + 1, <uint64_t>size)
    if size > 0:
        memcpy(at, data, size)
    return at + size
