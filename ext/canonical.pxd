# cython: language_level=3
"""Whether a text is in its canonical form already: the everyday cases of `model/semantics.py`, told without Python.

True means that `canonical()` returns this very text; False means only that it was not told here, and the core is asked. So
nothing is folded or refused here, and everyday characters are printable ASCII, the ideographs U+4E00–9FFF and the middle dot
U+00B7: none of them is changed by normalisation, whatever stands beside it. What must not go in here: changing a text,
allocation, Python objects, any list of places.
"""

from libc.stdint cimport uint8_t, uint32_t

from broker._native.cachekey cimport Slice
from cursor cimport Cursor, cursor_over, take_u8

cdef enum SemanticKind:     # in the order of `SemanticType`
    KIND_PERSON_NAME
    KIND_RESIDENT_ID
    KIND_USCC
    KIND_ADDRESS
    KIND_DATE
    KIND_LICENCE_NO
    KIND_TEXT
    KIND_NUMBER
    KIND_PHONE
    KIND_COMPANY_NAME

cdef enum:
    LEAST_PHONE_DIGITS = 3
    MOST_PHONE_DIGITS = 17
    IDENTIFIER_CHARS = 18       # of a resident id, and of a unified social credit code
    FIRST_BIRTH_YEAR = 1860
    LAST_BIRTH_YEAR = 2199
    MOST_DIGITS = 30            # of a number, before and behind its point
    FIRST_IDEOGRAPH = 0x4E00
    LAST_IDEOGRAPH = 0x9FFF
    MIDDLE_DOT = 0xB7
    NO_VALUE = 0xFF


cdef inline Py_ssize_t chars_of(const Slice *text) noexcept nogil:
    """Count the code points of valid UTF-8: all bytes that continue none."""
    cdef Py_ssize_t i, count = 0
    for i in range(text.size):
        count += (text.data[i] & 0xC0) != 0x80
    return count


# --- identifiers, dates, numbers ---------------------------------------------------------------------------------

cdef inline uint8_t next_of(const Cursor *cursor) noexcept nogil:
    """Return the byte that comes next without stepping over it; zero at the end."""
    cdef Cursor ahead = cursor[0]
    return take_u8(&ahead)


cdef inline bint is_digit(uint8_t char) noexcept nogil:
    return c'0' <= char <= c'9'


cdef inline bint take_number(Cursor *cursor, int digits, uint32_t *number) noexcept nogil:
    """Read so many digits. False where one is something else; what is beyond the end reads as zero, which is no digit."""
    cdef uint8_t char
    cdef int i
    number[0] = 0
    for i in range(digits):
        char = take_u8(cursor)
        if not is_digit(char):
            return False
        number[0] = 10 * number[0] + (char - c'0')
    return True


cdef inline uint32_t days_in(uint32_t year, uint32_t month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef inline bint exists(uint32_t year, uint32_t month, uint32_t day) noexcept nogil:
    """Whether the Gregorian calendar, as `datetime.date` extends it backwards, has the day. There is no year 0."""
    return year >= 1 and 1 <= month <= 12 and 1 <= day <= days_in(year, month)


cdef inline bint is_iso_date(const Slice *text) noexcept nogil:
    cdef Cursor cursor = cursor_over(text.data, text.size)
    cdef uint32_t year = 0, month = 0, day = 0
    if not take_number(&cursor, 4, &year) or take_u8(&cursor) != c'-':
        return False
    if not take_number(&cursor, 2, &month) or take_u8(&cursor) != c'-':
        return False
    return take_number(&cursor, 2, &day) and cursor.remaining == 0 and exists(year, month, day)


cdef inline bint has_birth_date(const Slice *text) noexcept nogil:
    cdef Cursor cursor = cursor_over(text.data, text.size)
    cdef uint32_t division = 0, year = 0, month = 0, day = 0
    if not (take_number(&cursor, 6, &division) and take_number(&cursor, 4, &year)):
        return False
    if not (take_number(&cursor, 2, &month) and take_number(&cursor, 2, &day)):
        return False
    return FIRST_BIRTH_YEAR <= year <= LAST_BIRTH_YEAR and exists(year, month, day)


cdef inline bint is_resident_id(const Slice *text) noexcept nogil:
    """GB 11643-1999: 17 digits and a check character; the rest by ISO 7064 MOD 11-2 is 1."""
    cdef Cursor cursor = cursor_over(text.data, text.size)
    cdef uint32_t rest = 0
    cdef uint8_t char
    cdef int i
    if text.size != IDENTIFIER_CHARS:
        return False
    for i in range(IDENTIFIER_CHARS):
        char = take_u8(&cursor)
        if is_digit(char):
            rest = (2 * rest + (char - c'0')) % 11
        elif char == c'X' and i == IDENTIFIER_CHARS - 1:
            rest = (2 * rest + 10) % 11
        else:
            return False
    return rest == 1 and has_birth_date(text)


cdef inline uint32_t uscc_value(uint8_t char) noexcept nogil:
    """Return the place of a character in 0123456789ABCDEFGHJKLMNPQRTUWXY, which leaves out I, O, S, V and Z."""
    if is_digit(char):
        return char - c'0'
    if not c'A' <= char <= c'Y' or char == c'I' or char == c'O' or char == c'S' or char == c'V':
        return NO_VALUE
    return 10 + (char - c'A') - (char > c'I') - (char > c'O') - (char > c'S') - (char > c'V')


cdef inline bint is_uscc(const Slice *text) noexcept nogil:
    """GB 32100-2015: eight digits, nine characters and a check character; weights are the powers of 3, MOD 31."""
    cdef Cursor cursor = cursor_over(text.data, text.size)
    cdef uint32_t value, weight = 1, total = 0
    cdef int i
    if text.size != IDENTIFIER_CHARS:
        return False
    for i in range(IDENTIFIER_CHARS - 1):
        value = uscc_value(take_u8(&cursor))
        if value == NO_VALUE or (i < 8 and value > 9):
            return False
        total += value * weight
        weight = weight * 3 % 31
    value = uscc_value(take_u8(&cursor))
    return value != NO_VALUE and (total + value) % 31 == 0


cdef inline int take_digits(Cursor *cursor, uint8_t *first, uint8_t *last) noexcept nogil:
    """Step over the digits that come, and return how many: 0 where there are none, more than MOST_DIGITS where too many."""
    cdef int count = 0
    first[0] = last[0] = 0
    while is_digit(next_of(cursor)) and count <= MOST_DIGITS:
        last[0] = take_u8(cursor)
        if count == 0:
            first[0] = last[0]
        count += 1
    return count


cdef inline bint is_number(const Slice *text) noexcept nogil:
    """A plain decimal: no plus, no needless zeros, no minus zero."""
    cdef Cursor cursor = cursor_over(text.data, text.size)
    cdef bint minus = next_of(&cursor) == c'-'
    cdef uint8_t first = 0, last = 0
    cdef int count
    if minus:
        take_u8(&cursor)
    count = take_digits(&cursor, &first, &last)
    if not 1 <= count <= MOST_DIGITS or (first == c'0' and count > 1):
        return False
    if cursor.remaining == 0:
        return first != c'0' or not minus
    if take_u8(&cursor) != c'.':
        return False
    count = take_digits(&cursor, &first, &last)
    return 1 <= count <= MOST_DIGITS and last != c'0' and cursor.remaining == 0


# --- texts -------------------------------------------------------------------------------------------------------

cdef inline uint32_t take_everyday(Cursor *cursor) noexcept nogil:
    """Return the next character if it is an everyday one, else 0."""
    cdef uint32_t char = take_u8(cursor)
    if c' ' <= char <= c'~':
        return char
    if char == 0xC2:
        return MIDDLE_DOT if take_u8(cursor) == MIDDLE_DOT else 0
    if char < 0xE4 or char > 0xE9:
        return 0
    char = (char & 0x0F) << 12
    char |= (take_u8(cursor) & 0x3F) << 6
    char |= take_u8(cursor) & 0x3F
    return char if FIRST_IDEOGRAPH <= char <= LAST_IDEOGRAPH and cursor.ok else 0


cdef inline bint may_follow(uint8_t kind, uint32_t before, uint32_t char) noexcept nogil:
    """Whether a character may stand behind another, which is 0 at the start. Names have no space at an ideograph."""
    if char == c' ':
        return before != 0 and before != c' ' and kind != KIND_LICENCE_NO and (before < 0x80 or kind == KIND_TEXT)
    if before == c' ' and char >= 0x80:
        return kind == KIND_TEXT
    return kind != KIND_LICENCE_NO or not c'a' <= char <= c'z'


cdef inline bint is_everyday(uint8_t kind, const Slice *text) noexcept nogil:
    """Whether a text of everyday characters is as it is to be. In a name of ideographs a full stop is read as a middle dot."""
    cdef Cursor cursor = cursor_over(text.data, text.size)
    cdef uint32_t char, before = 0
    cdef bint wide = False, stops = False
    while cursor.remaining > 0:
        char = take_everyday(&cursor)
        if char == 0 or not may_follow(kind, before, char):
            return False
        wide |= char >= 0x80
        stops |= char == c'.'
        before = char
    return before != 0 and before != c' ' and not (kind == KIND_PERSON_NAME and wide and stops)


cdef inline bint is_phone(const Slice *text) noexcept nogil:
    """Whether a text is digits that Python leaves alone: it takes 00 86 away, and with 00 a number abroad may begin too."""
    cdef Cursor cursor = cursor_over(text.data, text.size)
    cdef Py_ssize_t at
    cdef uint8_t char, before = 0
    if not LEAST_PHONE_DIGITS <= text.size <= MOST_PHONE_DIGITS:
        return False
    for at in range(text.size):
        char = take_u8(&cursor)
        if not c'0' <= char <= c'9' or (at == 1 and before == c'0' and char == c'0'):
            return False
        before = char
    return True


cdef inline bint is_canonical(uint8_t kind, const Slice *text) noexcept nogil:
    """Whether the text, which is valid UTF-8, is certain to be its own canonical form."""
    if kind == KIND_RESIDENT_ID:
        return is_resident_id(text)
    if kind == KIND_USCC:
        return is_uscc(text)
    if kind == KIND_DATE:
        return is_iso_date(text)
    if kind == KIND_NUMBER:
        return is_number(text)
    if kind == KIND_PHONE:
        return is_phone(text)
    return kind <= KIND_COMPANY_NAME and is_everyday(kind, text)
