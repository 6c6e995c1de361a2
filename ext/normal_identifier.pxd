# cython: language_level=3
"""Resident ids, codes of organisations and numbers of licences for comparison.

Nothing is refused: what has no right form keeps its letters and digits, and its standing says so. Standings and check characters
are those of GB 11643-1999 and GB 32100-2015 (ISO 7064 MOD 11-2; MOD 31) and, for the older nine-character codes of
organisations, GB 11714-1997. What must not go in here: lists of places (identifiers keep the codes of districts that are gone).
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from normal_date cimport exists
from normal_tables cimport Tables, is_sign
from normal_text cimport Codes, is_alnum, is_digit, upper

cdef enum:
    IDENTIFIER_CHARS = 18       # of a resident id, and of a unified social credit code
    OLD_ID_CHARS = 15
    ORGANISATION_AT = 8         # in a unified social credit code
    ORGANISATION_CHARS = 9
    KEPT_CHARS = 32             # of what is no identifier
    FIRST_BIRTH_YEAR = 1860
    LAST_BIRTH_YEAR = 2199
    LAST_CENTENARIAN_SERIAL = 996   # 996 to 999 of 15-digit numbers were kept for people born in the 1800s
    MOST_REPAIRS = 18 + 17 + 16     # one character, two neighbours swapped, two swapped with one between
    NO_VALUE = 0xFF

cdef enum Standing:
    INVALID
    REPAIRABLE                  # of the right form, not right, and one slip away from right
    VALID

cdef struct NormalIdentifier:
    uint8_t chars[KEPT_CHARS]
    uint8_t size
    uint8_t standing
    uint8_t organisation        # where the code of the organisation begins
    uint8_t organisation_size   # 9, or 0 where there is none


cdef inline void keep_chars(NormalIdentifier *id, const Codes *codes) noexcept nogil:
    """Keep letters and digits, in capitals; spaces, hyphens and everything else goes. × is a misread X."""
    cdef uint32_t code
    cdef int i
    id.size = id.standing = id.organisation = id.organisation_size = 0
    for i in range(codes.size):
        code = codes.at[i]
        code = c'x' if code == 0xD7 or code == 0x445 else code      # the sign of multiplication; Cyrillic х
        if is_alnum(code) and id.size < KEPT_CHARS:
            id.chars[id.size] = <uint8_t>upper(code)
            id.size += 1


# --- resident ids ------------------------------------------------------------------------------------------------

cdef inline uint32_t number_at(const uint8_t *chars, int at, int digits) noexcept nogil:
    cdef uint32_t number = 0
    cdef int i
    for i in range(at, at + digits):
        number = 10 * number + (chars[i] - c'0')
    return number


cdef inline bint are_digits(const uint8_t *chars, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        if not is_digit(chars[i]):
            return False
    return True


cdef inline bint is_born(const uint8_t *chars) noexcept nogil:
    """Whether the birth date in 17 digits is a day of somebody alive since 1984."""
    cdef uint32_t year = number_at(chars, 6, 4)
    return FIRST_BIRTH_YEAR <= year <= LAST_BIRTH_YEAR and exists(year, number_at(chars, 10, 2), number_at(chars, 12, 2))


cdef inline uint32_t rest_of(const uint8_t *chars, int count) noexcept nogil:
    """Return the rest by ISO 7064 MOD 11-2, which is 1 for the 18 characters of a right number: a sum by weights, so that no
    character waits for the one before. At most 18 characters."""
    cdef const unsigned char *weights = <const unsigned char *>b"\x07\x09\x0a\x05\x08\x04\x02\x01\x06\x03\x07\x09\x0a\x05\x08\x04\x02\x01"
    cdef uint32_t sum = 0
    cdef int i
    for i in range(count):
        sum += weights[IDENTIFIER_CHARS - count + i] * <uint32_t>(10 if chars[i] == c'X' else chars[i] - c'0')
    return sum % 11


cdef inline uint8_t check_character(const uint8_t *chars) noexcept nogil:
    """Return the check character of 17 digits."""
    cdef uint32_t value = (12 - 2 * rest_of(chars, 17) % 11) % 11
    return <uint8_t>(c'X' if value == 10 else c'0' + value)


cdef inline bint has_id_form(const NormalIdentifier *id) noexcept nogil:
    return id.size == IDENTIFIER_CHARS and are_digits(id.chars, 17) and (is_digit(id.chars[17]) or id.chars[17] == c'X')


cdef inline bint is_right_id(const uint8_t *chars) noexcept nogil:
    return rest_of(chars, IDENTIFIER_CHARS) == 1 and is_born(chars)


cdef inline void read_letters_as_digits(NormalIdentifier *id) noexcept nogil:
    """O, I and L stand for 0 and 1 in what has as many characters as a resident id has."""
    cdef int i
    if id.size != IDENTIFIER_CHARS and id.size != OLD_ID_CHARS:
        return
    for i in range(id.size):
        if id.chars[i] == c'O':
            id.chars[i] = c'0'
        elif id.chars[i] == c'I' or id.chars[i] == c'L':
            id.chars[i] = c'1'


cdef inline void lengthen(NormalIdentifier *id) noexcept nogil:
    """Make 18 characters of the 15 digits of 1984 if that makes a right number."""
    cdef uint8_t longer[IDENTIFIER_CHARS]
    cdef bint old = number_at(id.chars, 12, 3) >= LAST_CENTENARIAN_SERIAL
    memcpy(longer, id.chars, 6)
    longer[6] = c'1'
    longer[7] = c'8' if old else c'9'
    memcpy(longer + 8, id.chars + 6, 9)
    longer[17] = check_character(longer)
    if is_born(longer):
        memcpy(id.chars, longer, IDENTIFIER_CHARS)
        id.size = IDENTIFIER_CHARS


cdef inline int add_if_born(uint8_t *repairs, int count, const uint8_t *chars) noexcept nogil:
    """Add 18 characters, whose check fits, to the repairs, once."""
    cdef int i, k
    if not is_born(chars):
        return count
    for i in range(count):
        k = 0
        while k < IDENTIFIER_CHARS and repairs[IDENTIFIER_CHARS * i + k] == chars[k]:
            k += 1
        if k == IDENTIFIER_CHARS:
            return count
    memcpy(repairs + IDENTIFIER_CHARS * count, chars, IDENTIFIER_CHARS)
    return count + 1


cdef inline int add_single_repairs(uint8_t *repairs, int count, uint8_t *chars) noexcept nogil:
    """Of each of the 17 digits at most one other fits the check character; and the check character may be the slip."""
    cdef uint32_t lack = (12 - rest_of(chars, IDENTIFIER_CHARS)) % 11   # what the rest is short of 1
    cdef uint32_t inverse = 6                                           # of the weight 2 of the last digit but one, MOD 11
    cdef uint32_t digit
    cdef uint8_t before
    cdef int i
    for i in range(16, -1, -1):
        before = chars[i]
        digit = (before - c'0' + lack * inverse) % 11
        if digit < 10:
            chars[i] = <uint8_t>(c'0' + digit)
            count = add_if_born(repairs, count, chars)
            chars[i] = before
        inverse = inverse * 6 % 11
    before = chars[17]
    chars[17] = check_character(chars)
    count = add_if_born(repairs, count, chars)
    chars[17] = before
    return count


cdef inline bint is_swap_right(const uint8_t *chars, uint32_t rest, int i, int k) noexcept nogil:
    """Whether the check fits once two digits change places, without adding up all of them; X only stands at the end."""
    cdef const unsigned char *weights = <const unsigned char *>b"\x07\x09\x0a\x05\x08\x04\x02\x01\x06\x03\x07\x09\x0a\x05\x08\x04\x02\x01"
    cdef int change = <int>chars[k] - <int>chars[i]
    if change == 0 or not is_digit(chars[k]):
        return False
    return (<int>rest + change * (<int>weights[i] - <int>weights[k]) + 990) % 11 == 1   # 990: no negative number


cdef inline int add_swap_repairs(uint8_t *repairs, int count, uint8_t *chars) noexcept nogil:
    """Two neighbours swapped, and two with one between."""
    cdef uint32_t rest = rest_of(chars, IDENTIFIER_CHARS)
    cdef int gap, i
    for gap in range(1, 3):             # neighbours, then with one between
        for i in range(IDENTIFIER_CHARS - gap):
            if is_swap_right(chars, rest, i, i + gap):
                chars[i], chars[i + gap] = chars[i + gap], chars[i]
                count = add_if_born(repairs, count, chars)
                chars[i], chars[i + gap] = chars[i + gap], chars[i]
    return count


cdef inline int repairs_of(const NormalIdentifier *id, uint8_t *repairs) noexcept nogil:
    """Write the right numbers that are one slip away, likeliest kind first; returns how many, at most MOST_REPAIRS."""
    cdef uint8_t chars[IDENTIFIER_CHARS]
    if not has_id_form(id) or is_right_id(id.chars):
        return 0
    memcpy(chars, id.chars, IDENTIFIER_CHARS)
    return add_swap_repairs(repairs, add_single_repairs(repairs, 0, chars), chars)


cdef inline void normal_resident_id(NormalIdentifier *id, const Codes *codes) noexcept nogil:
    cdef uint8_t repairs[MOST_REPAIRS * IDENTIFIER_CHARS]
    keep_chars(id, codes)
    read_letters_as_digits(id)
    if id.size == OLD_ID_CHARS and are_digits(id.chars, OLD_ID_CHARS):
        lengthen(id)
    if not has_id_form(id):
        return
    if is_right_id(id.chars):
        id.standing = VALID
    elif repairs_of(id, repairs) > 0:
        id.standing = REPAIRABLE


# --- codes of organisations --------------------------------------------------------------------------------------

cdef inline uint32_t uscc_value(uint8_t char) noexcept nogil:
    """Return the place of a character in 0123456789ABCDEFGHJKLMNPQRTUWXY, which leaves out I, O, S, V and Z."""
    if is_digit(char):
        return char - c'0'
    if not c'A' <= char <= c'Y' or char == c'I' or char == c'O' or char == c'S' or char == c'V':
        return NO_VALUE
    return 10 + (char - c'A') - (char > c'I') - (char > c'O') - (char > c'S') - (char > c'V')


cdef inline bint is_right_uscc(const uint8_t *chars) noexcept nogil:
    """GB 32100-2015: eight digits, nine characters and a check character; weights are the powers of 3, MOD 31."""
    cdef uint32_t value, weight = 1, total = 0
    cdef int i
    for i in range(IDENTIFIER_CHARS - 1):
        value = uscc_value(chars[i])
        if value == NO_VALUE or (i < ORGANISATION_AT and value > 9):
            return False
        total += value * weight
        weight = weight * 3 % 31
    value = uscc_value(chars[17])
    return value != NO_VALUE and (total + value) % 31 == 0


cdef inline bint is_right_organisation(const uint8_t *chars) noexcept nogil:
    """GB 11714-1997: eight digits or letters and a check character, MOD 11; X is 10."""
    cdef const unsigned char *weights = <const unsigned char *>b"\x03\x07\x09\x0a\x05\x08\x04\x02"
    cdef uint32_t total = 0, check
    cdef int i
    for i in range(8):
        total += weights[i] * (chars[i] - c'0' if is_digit(chars[i]) else chars[i] - c'A' + 10)
    check = (11 - total % 11) % 11
    return chars[8] == (c'X' if check == 10 else c'0' + check)


cdef inline void fold_letters(NormalIdentifier *id) noexcept nogil:
    """Letters that no code of 2015 has are misreadings of digits."""
    cdef int i
    for i in range(id.size):
        if id.chars[i] == c'O':
            id.chars[i] = c'0'
        elif id.chars[i] == c'I':
            id.chars[i] = c'1'
        elif id.chars[i] == c'Z':
            id.chars[i] = c'2'
        elif id.chars[i] == c'S':
            id.chars[i] = c'5'


cdef inline void normal_company_code(NormalIdentifier *id, const Codes *codes) noexcept nogil:
    """A unified social credit code, or the nine characters of an organisation, whose letters are folded for comparison too."""
    cdef bint right = False
    keep_chars(id, codes)
    if id.size == ORGANISATION_CHARS:
        right = is_right_organisation(id.chars)
    fold_letters(id)
    if id.size == ORGANISATION_CHARS:
        id.organisation_size = ORGANISATION_CHARS
        right = right or is_right_organisation(id.chars)
    elif id.size == IDENTIFIER_CHARS:
        id.organisation = ORGANISATION_AT
        id.organisation_size = ORGANISATION_CHARS
        right = is_right_uscc(id.chars)
    id.standing = VALID if right else INVALID


# --- numbers of licences -----------------------------------------------------------------------------------------

cdef inline void normal_licence(const Tables *tables, Codes *codes) noexcept nogil:
    """Keep letters (as capitals), digits and ideographs, in place; brackets, hyphens and spaces are written as one likes."""
    cdef int i, kept = 0
    for i in range(codes.size):
        if not is_sign(tables, codes.at[i]):
            codes.at[kept] = upper(codes.at[i])
            kept += 1
    codes.size = kept
