# cython: language_level=3
"""Names of people for comparison, in ideographs or in letters, and how they are read.

Compared without: spaces beside ideographs, the dot between the parts of a transliterated name (systems leave it out as often as
not; where the first part ended is kept), apostrophes, and remarks in brackets behind a name. Hyphens, stops and dots between
letters are a space. A sign for a character that somebody could not write or would not show (? * □ ×) becomes `?`. What must
not go in here: likeness of two names.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from normal_tables cimport (
    BEGINS_COMPOUND,
    IS_SURNAME,
    READING,
    Compound,
    Surname,
    Tables,
    find_compound,
    find_surname,
    is_sign,
    reading_value,
)
from normal_text cimport MIDDLE_DOT, UNKNOWN_MARK, Codes, is_ideograph

cdef enum:
    NAME_CODES = 64             # longer names are cut
    UNKNOWN = 0x3F              # ?

cdef enum:                      # flags of a name
    NAME_UNKNOWN = 1            # has characters that are not known
    NAME_PARTS = 2              # a dot stood between ideographs
    NAME_REMARK = 4             # a remark in brackets was left out
    NAME_LATIN = 8              # has no ideograph
    NAME_CUT = 16               # was longer than NAME_CODES

cdef struct NormalName:
    uint32_t codes[NAME_CODES]
    uint16_t readings[NAME_CODES]   # 0: none
    uint8_t size
    uint8_t surname             # how many characters of it are the surname; 0 where that cannot be told
    uint8_t first_part          # how many stood before the first dot; all where there was none
    uint8_t flags


cdef inline bint is_wide(uint32_t code) noexcept nogil:
    """Beside these no space is kept."""
    return is_ideograph(code) or code == UNKNOWN


cdef inline void put_name(NormalName *name, uint32_t code, bint spaced) noexcept nogil:
    cdef bint needs_space = spaced and name.size > 0 and not is_wide(code) and not is_wide(name.codes[name.size - 1])
    if name.flags & NAME_CUT or name.size + 1 + needs_space > NAME_CODES:
        name.flags |= NAME_CUT
        return
    if needs_space:
        name.codes[name.size] = c' '
        name.size += 1
    name.codes[name.size] = code
    name.size += 1


cdef inline int last_bracket(const Codes *codes) noexcept nogil:
    """Where the last closing bracket stands; -1 where there is none."""
    cdef int i
    for i in range(codes.size - 1, -1, -1):
        if codes.at[i] == c')':
            return i
    return -1


cdef inline int end_of_remark(const Codes *codes, int opening, int last) noexcept nogil:
    """Return where the bracket closes that opens here; the last of all where it does not."""
    cdef int i, depth = 0
    for i in range(opening, last + 1):
        depth += (codes.at[i] == c'(') - (codes.at[i] == c')')
        if depth == 0:
            return i
    return last


cdef inline bint parts_names(uint32_t code) noexcept nogil:
    return code == MIDDLE_DOT or code == c'.' or code == c'-'


cdef inline bint hides_character(uint32_t code) noexcept nogil:
    return code == c'?' or code == c'*' or code == UNKNOWN_MARK or code == 0xD7


cdef inline void end_first_part(NormalName *name) noexcept nogil:
    if name.first_part == 0 and name.size > 0:
        name.first_part = name.size


cdef inline void write_name(const Tables *tables, NormalName *name, const Codes *codes) noexcept nogil:
    cdef bint spaced = False
    cdef int closing = last_bracket(codes)
    cdef int i = -1
    cdef uint32_t code
    while i + 1 < codes.size:
        i += 1
        code = codes.at[i]
        if is_ideograph(code):
            put_name(name, code, False)
            name.flags &= <uint8_t>~NAME_LATIN
        elif hides_character(code):
            put_name(name, UNKNOWN, False)
            name.flags |= NAME_UNKNOWN
        elif code == c'(' and name.size > 0 and closing > i:
            i = end_of_remark(codes, i, closing)
            name.flags |= NAME_REMARK
        elif parts_names(code):
            end_first_part(name)
            spaced = True
            continue
        elif code == c' ' or code == c',':
            spaced = True
            continue
        elif code == c"'" or is_sign(tables, code):
            continue
        else:
            put_name(name, code, spaced)
        spaced = False


cdef inline void read_surname(const Tables *tables, NormalName *name) noexcept nogil:
    """Put the readings of a surname in place of the everyday ones. A name of two characters has a surname of one."""
    cdef uint32_t value = reading_value(tables, name.codes[0])
    cdef const Compound *compound = NULL
    cdef const Surname *single
    if name.size >= 3 and value & BEGINS_COMPOUND:
        compound = find_compound(tables, name.codes[0], name.codes[1])
    if compound != NULL:
        name.surname = 2
        name.readings[0] = <uint16_t>compound.first_reading
        name.readings[1] = <uint16_t>compound.second_reading
        return
    name.surname = 1
    single = find_surname(tables, name.codes[0]) if value & IS_SURNAME else NULL
    if single != NULL:
        name.readings[0] = <uint16_t>single.reading


cdef inline void normal_name(const Tables *tables, NormalName *name, const Codes *codes) noexcept nogil:
    """Fill in a name from a folded text."""
    cdef int i
    name.size = name.surname = name.first_part = 0
    name.flags = NAME_LATIN
    write_name(tables, name, codes)
    if codes.cut:
        name.flags |= NAME_CUT
    if 0 < name.first_part < name.size and not name.flags & NAME_LATIN:
        name.flags |= NAME_PARTS
    else:
        name.first_part = name.size
    for i in range(name.size):
        name.readings[i] = <uint16_t>(reading_value(tables, name.codes[i]) & READING)
    if name.size > 0 and is_ideograph(name.codes[0]) and not name.flags & NAME_PARTS:
        read_surname(tables, name)
