# cython: language_level=3
"""Telephone numbers for comparison: the national digits, the extension apart, and what kind of number it seems to be.

The first of several numbers is taken. A trunk 0 is added where a country code stood in its place (GB/T 15279; ITU-T E.123, E.164).
What must not go in here: lists of area codes or of operators' prefixes, which change.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memmove

from normal_text cimport Codes, is_digit

cdef enum:
    MOST_PHONE_DIGITS = 20
    MOST_EXTENSION_DIGITS = 6

cdef enum:                      # flags of a number
    PHONE_MOBILE = 1            # eleven digits, 13 to 19
    PHONE_FIXED = 2             # trunk 0, area and number: ten to twelve digits
    PHONE_SERVICE = 4           # 400 and 800
    PHONE_FOREIGN = 8           # of another country, whose code the digits begin with
    PHONE_MORE = 16             # another number followed
    PHONE_PLACEHOLDER = 32      # digits that are typed where there is no number

cdef struct NormalPhone:
    uint8_t digits[MOST_PHONE_DIGITS]
    uint8_t extension[MOST_EXTENSION_DIGITS]
    uint8_t size
    uint8_t extension_size
    uint8_t last_group          # how many of the digits stand behind the last hyphen; 0 without one
    uint8_t flags


cdef inline bint begins_extension(uint32_t code) noexcept nogil:
    """转, 分机, ext., x, # and *."""
    return code == 0x8F6C or code == 0x5206 or code == c'e' or code == c'x' or code == c'#' or code == c'*' or code == 0xD7


cdef inline bint parts_numbers(uint32_t code) noexcept nogil:
    """/ , ; 或 and 、 (which is folded to a comma)."""
    return code == c'/' or code == c',' or code == c';' or code == 0x6216


cdef inline void take_extension(NormalPhone *phone, const Codes *codes, int i) noexcept nogil:
    while i < codes.size and not parts_numbers(codes.at[i]):
        if is_digit(codes.at[i]) and phone.extension_size < MOST_EXTENSION_DIGITS:
            phone.extension[phone.extension_size] = <uint8_t>codes.at[i]
            phone.extension_size += 1
        i += 1


cdef inline void take_digits(NormalPhone *phone, const Codes *codes) noexcept nogil:
    cdef bint hyphen = False
    cdef uint32_t code
    cdef int i
    for i in range(codes.size):
        code = codes.at[i]
        if is_digit(code) and phone.size < MOST_PHONE_DIGITS:
            phone.digits[phone.size] = <uint8_t>code
            phone.size += 1
            phone.last_group += hyphen
        elif code == c'-':
            hyphen = True
            phone.last_group = 0
        elif phone.size >= 7 and begins_extension(code):
            take_extension(phone, codes, i)
            return
        elif phone.size >= 7 and parts_numbers(code):
            phone.flags |= PHONE_MORE
            return


cdef inline void drop_front(NormalPhone *phone, int count) noexcept nogil:
    memmove(phone.digits, phone.digits + count, phone.size - count)
    phone.size -= <uint8_t>count


cdef inline bint is_mobile(const NormalPhone *phone) noexcept nogil:
    return phone.size == 11 and phone.digits[0] == c'1' and phone.digits[1] >= c'3'


cdef inline bint is_service(const NormalPhone *phone) noexcept nogil:
    return phone.size == 10 and (phone.digits[0] == c'4' or phone.digits[0] == c'8') and phone.digits[1] == c'0' \
        and phone.digits[2] == c'0'


cdef inline bint has_zeros(const NormalPhone *phone) noexcept nogil:
    return phone.size > 10 and phone.digits[0] == c'0' and phone.digits[1] == c'0'


cdef inline bint has_china(const NormalPhone *phone, bint abroad) noexcept nogil:
    return phone.size >= 10 and phone.digits[0] == c'8' and phone.digits[1] == c'6' and (abroad or phone.size == 13)


cdef inline void add_trunk(NormalPhone *phone) noexcept nogil:
    """Put the 0 back before an area; mobile and service numbers have none."""
    if is_mobile(phone) or is_service(phone) or phone.digits[0] == c'0' or not 9 <= phone.size < MOST_PHONE_DIGITS:
        return
    memmove(phone.digits + 1, phone.digits, phone.size)
    phone.digits[0] = c'0'
    phone.size += 1


cdef inline void drop_country(NormalPhone *phone, bint abroad) noexcept nogil:
    """Take off 00, +86 and 86, however often they were typed. Another country's code stays, without + and 00."""
    cdef bint domestic = False
    while has_zeros(phone) or has_china(phone, abroad):
        if has_zeros(phone):
            abroad = True
        else:
            abroad = False
            domestic = True
        drop_front(phone, 2)
    if domestic:
        add_trunk(phone)
    elif abroad:
        phone.flags |= PHONE_FOREIGN


cdef inline void split_extension(NormalPhone *phone) noexcept nogil:
    """010-12345678-801: what stands behind the last hyphen of a whole fixed number is an extension."""
    cdef int whole = phone.size - phone.last_group
    cdef int i
    if phone.extension_size or not 1 <= phone.last_group <= MOST_EXTENSION_DIGITS or phone.digits[0] != c'0':
        return
    if not 10 <= whole <= 12:
        return
    for i in range(phone.last_group):
        phone.extension[i] = phone.digits[whole + i]
    phone.extension_size = phone.last_group
    phone.size = <uint8_t>whole


cdef inline int longest_run(const NormalPhone *phone, int step) noexcept nogil:
    """Return how many digits in a row differ from the one before by the step."""
    cdef int i, run = 1, longest = 1
    for i in range(1, phone.size):
        run = run + 1 if <int>phone.digits[i] - <int>phone.digits[i - 1] == step else 1
        longest = max(longest, run)
    return longest


cdef inline bint is_placeholder(const NormalPhone *phone) noexcept nogil:
    """Seven equal digits in a row, or seven rising ones, or 13800138000 and its like."""
    cdef int i
    if phone.size < 7 or longest_run(phone, 0) >= 7 or longest_run(phone, 1) >= 7:
        return True
    if phone.size != 11 or phone.digits[3] != c'0' or phone.digits[4] != c'0':
        return False
    for i in range(3):
        if phone.digits[5 + i] != phone.digits[i] or phone.digits[8 + i] != c'0':
            return False
    return True


cdef inline bint has_plus(const Codes *codes) noexcept nogil:
    """Whether the first sign but spaces and brackets is a plus."""
    cdef int i = 0
    while i < codes.size and (codes.at[i] == c' ' or codes.at[i] == c'('):
        i += 1
    return i < codes.size and codes.at[i] == c'+'


cdef inline void normal_phone(NormalPhone *phone, const Codes *codes) noexcept nogil:
    phone.size = phone.extension_size = phone.last_group = phone.flags = 0
    take_digits(phone, codes)
    drop_country(phone, has_plus(codes))
    if phone.flags & PHONE_FOREIGN:
        return
    split_extension(phone)
    if is_mobile(phone):
        phone.flags |= PHONE_MOBILE
    elif is_service(phone):
        phone.flags |= PHONE_SERVICE
    elif phone.digits[0] == c'0' and 10 <= phone.size <= 12:
        phone.flags |= PHONE_FIXED
    if is_placeholder(phone):
        phone.flags |= PHONE_PLACEHOLDER
