# cython: language_level=3
"""The tables of normalisation as they lie in `normalisation.bin`: checked once, then read without further questions.

The file, little-endian, is written by `tools/normalisation_tables.py`:

    offset  0 8 bytes  SDBNORMF        20 u32  number of sections, 12
            8 u32      format, 1       24 (u32 offset, u32 bytes) of each section, at multiples of eight, in this order:
           12 u32      size of file       fold index and pages; expansions; reading index and pages; shape index and pages;
           16 u32      CRC-32C of the     surnames; compound surnames; places; names of readings; what it was made from
                       bytes from 20

An index holds the page of each 256 code points, and page 0 is all zero. A fold value is 0 (stays as it is), a code point that
may be marked as a sign, DROPPED, or EXPANDS with a length and a place in the expansions. A reading value is the number of a
reading (0: none), marked where the character has rows as a surname. What must not go in here: rules, allocation.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from cursor cimport Cursor, cursor_over, take_bytes, take_u32
from normal_words cimport ADDRESS_SIGNS, note_address_signs

cdef extern from "crc32c.h" nogil:
    const uint32_t CRC32C_START
    uint32_t crc32c_feed(uint32_t running, const unsigned char *data, size_t size)
    uint32_t crc32c_finish(uint32_t running)

cdef enum:
    TABLE_FORMAT = 1
    CHECKED_FROM = 20           # the checksum covers what stands from here on
    SECTIONS = 12
    PAGE_SHIFT = 8
    PAGE_CODES = 256
    TABLE_PAGES = 0x1100
    LAST_CODE = 0x10FFFF
    EXPANDS_SHIFT = 20
    LONGEST_EXPANSION = 31
    READING = 0x3FFF            # the number of a reading, below its marks
    IS_SURNAME = 0x4000
    BEGINS_COMPOUND = 0x8000

cdef extern from *:
    """
    #define FOLD_EXPANDS 0x80000000u
    #define FOLD_DROPPED 0x40000000u
    #define FOLD_SIGN    0x20000000u
    #define FOLD_TARGET  0x001FFFFFu
    #define EXPANSION_AT 0x000FFFFFu
    """
    const uint32_t FOLD_EXPANDS
    const uint32_t FOLD_DROPPED
    const uint32_t FOLD_SIGN
    const uint32_t FOLD_TARGET
    const uint32_t EXPANSION_AT

cdef struct Surname:            # one of these rows a character, in rising order
    uint32_t code
    uint32_t reading

cdef struct Compound:           # one of these rows a surname of two characters, in rising order of both
    uint32_t first
    uint32_t second
    uint32_t first_reading
    uint32_t second_reading

cdef struct Section:
    const unsigned char *at
    uint32_t size

cdef struct Tables:
    const uint16_t *fold_index
    const uint32_t *fold_pages
    const uint32_t *expansions
    const uint16_t *reading_index
    const uint16_t *reading_pages
    const uint16_t *shape_index
    const uint16_t *shape_pages
    const Surname *surnames
    const Compound *compounds
    const uint64_t *places      # up to four 16-bit characters, the first one highest, in rising order
    const char *names           # of readings, one a line
    const char *about
    uint32_t surname_count
    uint32_t compound_count
    uint32_t place_count
    uint32_t names_size
    uint32_t about_size
    uint8_t address_signs[ADDRESS_SIGNS]    # by character, of normal_words.h


# --- loading -----------------------------------------------------------------------------------------------------

cdef inline bint take_sections(Cursor *cursor, Section *sections, const unsigned char *data, uint32_t size) noexcept nogil:
    """Read the directory. False where a section lies outside the file or where it would not be aligned."""
    cdef uint32_t offset
    cdef int i
    if take_u32(cursor) != SECTIONS:
        return False
    for i in range(SECTIONS):
        offset = take_u32(cursor)
        sections[i].size = take_u32(cursor)
        if not cursor.ok or offset % 8 != 0 or offset > size or sections[i].size > size - offset:
            return False
        sections[i].at = data + offset
    return True


cdef inline bint is_index(const Section *index, const Section *pages, uint32_t bytes_a_value) noexcept nogil:
    """Whether an index of the right size names only pages that are there, whole."""
    cdef uint32_t count = pages.size // (bytes_a_value * PAGE_CODES)
    cdef const uint16_t *numbers = <const uint16_t *>index.at
    cdef int i
    if index.size != TABLE_PAGES * sizeof(uint16_t) or count == 0 or pages.size != count * bytes_a_value * PAGE_CODES:
        return False
    for i in range(TABLE_PAGES):
        if numbers[i] >= count:
            return False
    return True


cdef inline bint is_fold_value(uint32_t value, uint32_t expansion_count) noexcept nogil:
    cdef uint32_t length = (value & ~FOLD_EXPANDS) >> EXPANDS_SHIFT
    cdef uint32_t at = value & EXPANSION_AT
    if value & FOLD_EXPANDS:
        return 2 <= length <= LONGEST_EXPANSION and at <= expansion_count and length <= expansion_count - at
    return value == FOLD_DROPPED or (value & ~FOLD_SIGN) <= LAST_CODE


cdef inline bint are_folds(const Section *pages, const Section *expansions) noexcept nogil:
    cdef const uint32_t *values = <const uint32_t *>pages.at
    cdef const uint32_t *targets = <const uint32_t *>expansions.at
    cdef uint32_t i, count = expansions.size // sizeof(uint32_t)
    for i in range(pages.size // sizeof(uint32_t)):
        if not is_fold_value(values[i], count):
            return False
    for i in range(count):
        if targets[i] > LAST_CODE:
            return False
    return expansions.size % sizeof(uint32_t) == 0


cdef inline bint are_sound(const Section *sections) noexcept nogil:
    """Whether every number in the tables that leads somewhere leads to something."""
    if not (is_index(&sections[0], &sections[1], sizeof(uint32_t)) and are_folds(&sections[1], &sections[2])):
        return False
    if not is_index(&sections[3], &sections[4], sizeof(uint16_t)) or not is_index(&sections[5], &sections[6], sizeof(uint16_t)):
        return False
    return sections[7].size % sizeof(Surname) == 0 and sections[8].size % sizeof(Compound) == 0 \
        and sections[9].size % sizeof(uint64_t) == 0


cdef inline bint view_tables(Tables *tables, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Look at a file in place, at an address that is a multiple of eight. False when it is damaged or of another format."""
    cdef Section sections[SECTIONS]
    cdef Cursor cursor = cursor_over(data, size)
    cdef const unsigned char *magic = take_bytes(&cursor, 8)
    cdef uint32_t form = take_u32(&cursor), stated = take_u32(&cursor), crc = take_u32(&cursor)
    if not cursor.ok or memcmp(magic, b"SDBNORMF", 8) != 0 or form != TABLE_FORMAT or <Py_ssize_t>stated != size:
        return False
    if crc32c_finish(crc32c_feed(CRC32C_START, data + CHECKED_FROM, size - CHECKED_FROM)) != crc:
        return False
    if not take_sections(&cursor, sections, data, stated) or not are_sound(sections):
        return False
    point(tables, sections)
    return True


cdef inline void point(Tables *tables, const Section *sections) noexcept nogil:
    tables.fold_index = <const uint16_t *>sections[0].at
    tables.fold_pages = <const uint32_t *>sections[1].at
    tables.expansions = <const uint32_t *>sections[2].at
    tables.reading_index = <const uint16_t *>sections[3].at
    tables.reading_pages = <const uint16_t *>sections[4].at
    tables.shape_index = <const uint16_t *>sections[5].at
    tables.shape_pages = <const uint16_t *>sections[6].at
    tables.surnames = <const Surname *>sections[7].at
    tables.surname_count = sections[7].size // sizeof(Surname)
    tables.compounds = <const Compound *>sections[8].at
    tables.compound_count = sections[8].size // sizeof(Compound)
    tables.places = <const uint64_t *>sections[9].at
    tables.place_count = sections[9].size // sizeof(uint64_t)
    tables.names = <const char *>sections[10].at
    tables.names_size = sections[10].size
    tables.about = <const char *>sections[11].at
    tables.about_size = sections[11].size
    memset(tables.address_signs, 0, sizeof(tables.address_signs))
    note_address_signs(tables.address_signs)


# --- looking up --------------------------------------------------------------------------------------------------

cdef inline uint32_t fold_value(const Tables *tables, uint32_t code) noexcept nogil:
    if code > LAST_CODE:
        return 0
    return tables.fold_pages[(<size_t>tables.fold_index[code >> PAGE_SHIFT] << PAGE_SHIFT) + (code & 0xFF)]


cdef inline bint is_sign(const Tables *tables, uint32_t code) noexcept nogil:
    """Whether a folded character is punctuation, a symbol or a space."""
    return (fold_value(tables, code) & FOLD_SIGN) != 0


cdef inline uint32_t reading_value(const Tables *tables, uint32_t code) noexcept nogil:
    if code > LAST_CODE:
        return 0
    return tables.reading_pages[(<size_t>tables.reading_index[code >> PAGE_SHIFT] << PAGE_SHIFT) + (code & 0xFF)]


cdef inline uint32_t shape_class(const Tables *tables, uint32_t code) noexcept nogil:
    """Return the class of characters that this one is taken for; 0 where there is none."""
    if code > LAST_CODE:
        return 0
    return tables.shape_pages[(<size_t>tables.shape_index[code >> PAGE_SHIFT] << PAGE_SHIFT) + (code & 0xFF)]


cdef inline const Surname *find_surname(const Tables *tables, uint32_t code) noexcept nogil:
    cdef uint32_t low = 0, high = tables.surname_count, middle
    while low < high:
        middle = (low + high) // 2
        if tables.surnames[middle].code < code:
            low = middle + 1
        else:
            high = middle
    return &tables.surnames[low] if low < tables.surname_count and tables.surnames[low].code == code else NULL


cdef inline const Compound *find_compound(const Tables *tables, uint32_t first, uint32_t second) noexcept nogil:
    cdef uint64_t wanted = (<uint64_t>first << 32) | second
    cdef uint32_t low = 0, high = tables.compound_count, middle
    while low < high:
        middle = (low + high) // 2
        if ((<uint64_t>tables.compounds[middle].first << 32) | tables.compounds[middle].second) < wanted:
            low = middle + 1
        else:
            high = middle
    if low == tables.compound_count or tables.compounds[low].first != first or tables.compounds[low].second != second:
        return NULL
    return &tables.compounds[low]


cdef inline bint is_place(const Tables *tables, const uint32_t *codes, int count) noexcept nogil:
    """Whether so many characters, 2 to 4, are the short name of a province or a city."""
    cdef uint64_t wanted = 0
    cdef uint32_t low = 0, high = tables.place_count, middle
    cdef int i
    for i in range(4):
        if i < count and codes[i] > 0xFFFF:
            return False
        wanted = (wanted << 16) | (codes[i] if i < count else 0)
    while low < high:
        middle = (low + high) // 2
        if tables.places[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low < tables.place_count and tables.places[low] == wanted
