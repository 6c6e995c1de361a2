# cython: language_level=3
"""Texts as they come (a `str` of Python, or UTF-8) folded into code points: what every kind of value begins with.

Folding looks at one character at a time, by the tables; whatever looks at neighbours belongs to a kind of value. At most
MAX_CODES folded characters are kept, which bounds the work and the room of everything behind. What must not go in here:
meaning, Python objects, allocation.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from cursor cimport Cursor, cursor_over, take_u8
from normal_tables cimport (
    EXPANDS_SHIFT,
    EXPANSION_AT,
    FOLD_DROPPED,
    FOLD_EXPANDS,
    FOLD_TARGET,
    LONGEST_EXPANSION,
    Tables,
    fold_value,
)

cdef enum:
    MAX_CODES = 512             # of one value; an address of everyday has 30
    UTF8 = 0                    # beside the kinds of a str of Python, which are its bytes a character
    NO_CHARACTER = 0xFFFD
    MIDDLE_DOT = 0xB7
    UNKNOWN_MARK = 0x25A1       # what every sign for an unreadable character folds to

cdef struct Text:
    const void *data
    Py_ssize_t size             # in characters, for UTF-8 in bytes
    int kind

cdef struct Codes:
    uint32_t at[MAX_CODES]
    int size
    bint cut                    # there was more


cdef inline bint put(Codes *codes, uint32_t code) noexcept nogil:
    if codes.size >= MAX_CODES:
        codes.cut = True
        return False
    codes.at[codes.size] = code
    codes.size += 1
    return True


cdef inline bint put_folded(const Tables *tables, Codes *codes, uint32_t code) noexcept nogil:
    """Add what a character folds to. False when the room is full."""
    cdef uint32_t value = fold_value(tables, code)
    cdef uint32_t i
    if value == 0:
        return put(codes, code)
    if value & FOLD_EXPANDS:
        for i in range((value >> EXPANDS_SHIFT) & LONGEST_EXPANSION):
            if not put(codes, tables.expansions[(value & EXPANSION_AT) + i]):
                return False
        return True
    return (value & FOLD_DROPPED) != 0 or put(codes, value & FOLD_TARGET)


cdef inline uint32_t take_code(Cursor *cursor) noexcept nogil:
    """Read one character of UTF-8; whatever is none is an unknown character, and reading goes on behind its first byte."""
    cdef uint32_t lead = take_u8(cursor)
    cdef int more = 1 if 0xC2 <= lead <= 0xDF else 2 if 0xE0 <= lead <= 0xEF else 3 if 0xF0 <= lead <= 0xF4 else 0
    cdef uint32_t code = lead & (0x3F >> more)
    cdef Cursor ahead = cursor[0]
    cdef uint32_t byte
    cdef int i
    if lead < 0x80:
        return lead
    if more == 0:
        return NO_CHARACTER
    for i in range(more):
        byte = take_u8(&ahead)
        if not ahead.ok or (byte & 0xC0) != 0x80:
            return NO_CHARACTER
        code = (code << 6) | (byte & 0x3F)
    if code < (0x80 << (5 * (more - 1) - (more > 1))) or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return NO_CHARACTER
    cursor[0] = ahead
    return code


cdef inline uint32_t take_common(Cursor *cursor) noexcept nogil:
    """Read a character of ASCII, or of three bytes as most ideographs have; 0 where another or none stands here."""
    cdef const unsigned char *at = cursor.at
    cdef uint32_t code
    if at[0] < 0x80:
        cursor.at += 1
        cursor.remaining -= 1
        return at[0]
    if cursor.remaining < 3 or not 0xE1 <= at[0] <= 0xEC or (at[1] & 0xC0) != 0x80 or (at[2] & 0xC0) != 0x80:
        return 0
    code = (<uint32_t>(at[0] & 0x0F) << 12) | (<uint32_t>(at[1] & 0x3F) << 6) | (at[2] & 0x3F)
    cursor.at += 3
    cursor.remaining -= 3
    return code


cdef inline void fold_utf8(const Tables *tables, const Text *text, Codes *codes) noexcept nogil:
    cdef Cursor cursor = cursor_over(<const unsigned char *>text.data, text.size)
    cdef uint32_t code
    while cursor.remaining > 0:
        code = take_common(&cursor)
        if not put_folded(tables, codes, code if code else take_code(&cursor)):
            return


cdef inline void fold_text(const Tables *tables, const Text *text, Codes *codes) noexcept nogil:
    """Fold a text. Whatever the text is, there is a result."""
    cdef Py_ssize_t i
    codes.size = 0
    codes.cut = False
    if text.kind == UTF8:
        fold_utf8(tables, text, codes)
    elif text.kind == 1:
        for i in range(text.size):
            if not put_folded(tables, codes, (<const uint8_t *>text.data)[i]):
                return
    elif text.kind == 2:
        for i in range(text.size):
            if not put_folded(tables, codes, (<const uint16_t *>text.data)[i]):
                return
    else:
        for i in range(text.size):
            if not put_folded(tables, codes, (<const uint32_t *>text.data)[i]):
                return


cdef inline void single_spaces(Codes *codes) noexcept nogil:
    """Leave one space of each run and none at the ends, in place."""
    cdef int i, kept = 0
    for i in range(codes.size):
        if codes.at[i] != c' ' or (kept > 0 and codes.at[kept - 1] != c' '):
            codes.at[kept] = codes.at[i]
            kept += 1
    codes.size = kept - (kept > 0 and codes.at[kept - 1] == c' ')


# --- what a folded character is ----------------------------------------------------------------------------------

cdef inline bint is_ideograph(uint32_t code) noexcept nogil:
    """Folded characters only: compatibility ideographs are gone, ideographs of all extensions count, and so does 〇."""
    return 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x3FFFF or code == 0x3007 \
        or 0xE000 <= code <= 0xF8FF or 0xFA0E <= code <= 0xFA29 or 0x2E80 <= code <= 0x2FDF


cdef inline bint is_digit(uint32_t code) noexcept nogil:
    return c'0' <= code <= c'9'


cdef inline bint is_letter(uint32_t code) noexcept nogil:
    """A letter of ASCII; folded letters are small."""
    return c'a' <= code <= c'z'


cdef inline bint is_alnum(uint32_t code) noexcept nogil:
    return is_digit(code) or is_letter(code)


cdef inline uint32_t upper(uint32_t code) noexcept nogil:
    return code - 32 if is_letter(code) else code
