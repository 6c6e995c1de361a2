# cython: language_level=3
"""How a value becomes a cell of a packed record (linkage_cells.h): normalised first, by the rules of its kind.

A value that says nothing (empty, a placeholder that is known as one) is a cell of zeros. What must not go in here: rules of
normalisation (normal_*.pxd), comparing.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from normal_address cimport NormalAddress, normal_address
from normal_date cimport normal_date
from normal_identifier cimport VALID, NormalIdentifier, has_id_form, keep_chars, normal_resident_id
from normal_name cimport NAME_CUT, NAME_LATIN, NormalName, normal_name
from normal_phone cimport PHONE_PLACEHOLDER, NormalPhone, normal_phone
from normal_tables cimport READING, Tables, reading_value
from normal_text cimport Codes, Text, fold_text, is_digit, is_letter, single_spaces
from normal_words cimport PART_COMMUNITY, PART_REGION, PART_ROAD

from linkage_cells cimport (
    CODE_BYTES,
    FIGURES,
    ID_NUMBER,
    ID_OTHER,
    ID_PRESENT,
    ID_VALID,
    KIND_ADDRESS,
    KIND_CATEGORY,
    KIND_DATE,
    KIND_IDENTIFIER,
    KIND_NUMBER,
    KIND_PERSON_NAME,
    KIND_PHONE,
    KIND_RESIDENT_ID,
    NAME_IN_LETTERS,
    NAME_LONGER,
    NAME_SURNAME_SHIFT,
    NAME_UNITS,
    REGION_HASH,
    TEXT_BYTES,
    AddressCell,
    Letters,
    mixed,
)

cdef enum:
    MOST_PHONE = 16
    LEAST_PHONE = 5


cdef inline uint32_t letter_sum(uint32_t letter) noexcept nogil:
    """ü is written v or u."""
    return <uint32_t>mixed(c'u' if letter == c'v' else letter)


cdef inline uint64_t hash_codes(const uint32_t *codes, int size) noexcept nogil:
    """FNV-1a by code point, mixed; never 0."""
    cdef uint64_t hash = <uint64_t>0xCBF29CE484222325
    cdef int i
    for i in range(size):
        hash = (hash ^ codes[i]) * <uint64_t>0x100000001B3
    return mixed(hash) | 1


# --- names -------------------------------------------------------------------------------------------------------

cdef inline uint16_t unit_of(uint32_t code) noexcept nogil:
    """What lies beyond the BMP stands in the range of surrogates, which no character has."""
    return <uint16_t>(code if code <= 0xFFFF else 0xD800 | (mixed(code) & 0x7FF))


cdef inline uint32_t letters_of(const Letters *letters, const NormalName *name) noexcept nogil:
    cdef uint32_t sum = 0
    cdef int i
    for i in range(name.size):
        if name.readings[i] != 0:
            sum += letters.sums[name.readings[i] & READING]
        elif is_letter(name.codes[i]):
            sum += letter_sum(name.codes[i])
        elif name.codes[i] != c' ':
            sum += <uint32_t>mixed(name.codes[i])
    return sum


cdef inline void pack_name(const Tables *tables, const Letters *letters, uint8_t *cell, const Codes *codes) noexcept nogil:
    cdef NormalName name
    cdef uint16_t units[NAME_UNITS]
    cdef uint32_t sum
    cdef bint latin
    cdef int i, most
    normal_name(tables, &name, codes)
    latin = (name.flags & NAME_LATIN) != 0
    most = 2 * NAME_UNITS if latin else NAME_UNITS
    memset(units, 0, sizeof(units))
    for i in range(name.size if name.size < most else most):
        if latin:
            (<uint8_t *>units)[i] = <uint8_t>(name.codes[i] if name.codes[i] < 0x100 else 0x80 | (name.codes[i] & 0x7F))
        else:
            units[i] = unit_of(name.codes[i])
    sum = letters_of(letters, &name)
    memcpy(cell, units, sizeof(units))
    memcpy(cell + sizeof(units), &sum, sizeof(sum))
    cell[20] = <uint8_t>(name.size if name.size <= most else NAME_LONGER)
    if latin:
        cell[20] |= NAME_IN_LETTERS
    elif name.surname <= 3:
        cell[20] |= <uint8_t>(name.surname << NAME_SURNAME_SHIFT)


# --- numbers -----------------------------------------------------------------------------------------------------

cdef inline void pack_resident_id(uint8_t *cell, const Codes *codes) noexcept nogil:
    cdef NormalIdentifier id
    cdef uint64_t value = 0
    cdef int i
    normal_resident_id(&id, codes)
    if id.size == 0:
        return
    if has_id_form(&id):
        for i in range(17):
            value = 10 * value + (id.chars[i] - c'0')
        value = 11 * value + (10 if id.chars[17] == c'X' else id.chars[17] - c'0')
        value |= ID_PRESENT | (ID_VALID if id.standing == VALID else 0)
    else:
        for i in range(id.size):
            value = (value ^ id.chars[i]) * <uint64_t>0x100000001B3
        value = (mixed(value) & ID_NUMBER) | ID_OTHER | ID_PRESENT
    memcpy(cell, &value, sizeof(value))


cdef inline bint is_one_digit(const NormalPhone *phone) noexcept nogil:
    """000000000: an exchange's prefix may have been taken off, so that it is no placeholder of a known length any more."""
    cdef int i
    for i in range(1, phone.size):
        if phone.digits[i] != phone.digits[0]:
            return False
    return True


cdef inline void pack_phone(uint8_t *cell, const Codes *codes) noexcept nogil:
    cdef NormalPhone phone
    cdef uint64_t value = 1
    cdef int i
    normal_phone(&phone, codes)
    if phone.size < LEAST_PHONE or phone.flags & PHONE_PLACEHOLDER or is_one_digit(&phone):
        return
    for i in range(phone.size if phone.size < MOST_PHONE else MOST_PHONE):
        value = 10 * value + (phone.digits[i] - c'0')
    memcpy(cell, &value, sizeof(value))


cdef inline bint is_no_date(uint32_t day) noexcept nogil:
    """What forms and systems put where there is no date."""
    return day == 19000101 or day == 19700101 or day == 18991231 or day == 99991231 or day == 11111111 or day == 10101


cdef inline void put_day(uint8_t *cell, uint32_t day) noexcept nogil:
    if not is_no_date(day):
        memcpy(cell, &day, sizeof(day))


cdef inline void pack_date(uint8_t *cell, const Codes *codes) noexcept nogil:
    """Eight digits that are no day of the calendar are a miswritten one, and kept."""
    cdef uint32_t day = normal_date(codes), digits = 0
    cdef int i, count = 0
    if day == 0:
        for i in range(codes.size):
            if is_digit(codes.at[i]) and count < 9:
                digits = digits * 10 + (codes.at[i] - c'0') if count < 8 else digits
                count += 1
        day = digits if count == 8 else 0
    put_day(cell, day)


cdef inline void pack_days(uint8_t *cell, int32_t days) noexcept nogil:
    """From days since 1970-01-01 (Arrow's date32), in the proleptic Gregorian calendar, years 1 to 9999."""
    cdef int32_t era_day, era, of_era, of_year, month, year
    if not -719162 <= days <= 2932896:
        return
    era_day = days + 719468                 # since 0000-03-01, where leap days end years
    era = era_day // 146097
    of_era = era_day - era * 146097
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    year += era * 400 + (month >= 10)
    put_day(cell, <uint32_t>(year * 10000 + (month + 3 if month < 10 else month - 9) * 100 + of_year - (153 * month + 2) // 5 + 1))


# --- addresses ---------------------------------------------------------------------------------------------------

cdef inline void add_figure(AddressCell *packed, uint32_t hash, int count) noexcept nogil:
    """The first number stays first; the last one so far is the room, and makes way for the next."""
    cdef uint16_t figure = <uint16_t>(hash if hash & 0xFFFF else 1)
    if count == 0:
        packed.figures[0] = figure
        return
    if 1 < count < FIGURES:
        packed.figures[count - 1] = packed.figures[FIGURES - 1]
    packed.figures[FIGURES - 1] = figure


cdef inline void pack_address(const Tables *tables, uint8_t *cell, const Codes *codes) noexcept nogil:
    """Numbers are told by their order, not by their word, which is left out or mistaken (12-3-2-501)."""
    cdef NormalAddress address
    cdef AddressCell packed
    cdef uint64_t hash
    cdef int i, count = 0
    normal_address(tables, &address, codes)
    if address.size == 0:
        return
    memset(&packed, 0, sizeof(packed))
    packed.region = 1
    for i in range(address.size):
        hash = hash_codes(&address.text.at[address.parts[i].at], address.parts[i].size) >> 16
        if address.parts[i].kind == PART_REGION:
            packed.region = <uint32_t>(hash & REGION_HASH) | 1
        elif address.parts[i].kind == PART_COMMUNITY:
            packed.community = packed.community if packed.community else <uint32_t>hash | 1
        elif address.parts[i].kind == PART_ROAD:
            packed.road = <uint32_t>hash | 1
        else:
            add_figure(&packed, <uint32_t>hash, count)
            count += 1
    memcpy(cell, &packed, sizeof(packed))


# --- texts -------------------------------------------------------------------------------------------------------

cdef inline void pack_text(uint8_t *cell, Codes *codes) noexcept nogil:
    cdef uint32_t hash
    cdef int i, kept
    single_spaces(codes)
    if codes.size == 0:
        return
    hash = <uint32_t>(hash_codes(codes.at, codes.size) >> 8)
    memcpy(cell, &hash, sizeof(hash))
    cell[4] = <uint8_t>(codes.size if codes.size < 0xFF else 0xFF)
    kept = codes.size if codes.size < TEXT_BYTES else TEXT_BYTES
    for i in range(kept):
        cell[6 + i] = <uint8_t>(codes.at[i] if codes.at[i] < 0x100 else 0x80 | (mixed(codes.at[i]) & 0x7F))


cdef inline void pack_code(uint8_t *cell, const Codes *codes) noexcept nogil:
    """Letters and digits; of more than there is room for, the last four are a hash of all."""
    cdef NormalIdentifier kept
    cdef uint64_t hash = 0
    cdef int i
    keep_chars(&kept, codes)
    for i in range(kept.size if kept.size < CODE_BYTES else CODE_BYTES):
        cell[2 + i] = kept.chars[i]
    cell[0] = kept.size if kept.size < CODE_BYTES else CODE_BYTES
    if kept.size > CODE_BYTES:
        for i in range(kept.size):
            hash = (hash ^ kept.chars[i]) * <uint64_t>0x100000001B3
        hash = mixed(hash)
        memcpy(cell + 2 + CODE_BYTES - 4, &hash, 4)


cdef inline void pack_category(uint8_t *cell, Codes *codes) noexcept nogil:
    single_spaces(codes)
    if codes.size != 0:
        cell[0] = <uint8_t>(1 + (hash_codes(codes.at, codes.size) >> 8) % 255)


cdef inline void pack_value(const Tables *tables, const Letters *letters, uint8_t kind, uint8_t *cell,
                            const Text *text) noexcept nogil:
    """Fill a cell that is all zero."""
    cdef Codes codes
    if text.size == 0:
        return
    fold_text(tables, text, &codes)
    if kind == KIND_PERSON_NAME:
        pack_name(tables, letters, cell, &codes)
    elif kind == KIND_RESIDENT_ID:
        pack_resident_id(cell, &codes)
    elif kind == KIND_DATE:
        pack_date(cell, &codes)
    elif kind == KIND_PHONE:
        pack_phone(cell, &codes)
    elif kind == KIND_ADDRESS:
        pack_address(tables, cell, &codes)
    elif kind == KIND_IDENTIFIER or kind == KIND_NUMBER:
        pack_code(cell, &codes)
    elif kind == KIND_CATEGORY:
        pack_category(cell, &codes)
    else:
        pack_text(cell, &codes)
