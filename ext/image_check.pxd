# cython: language_level=3
"""The one walk over a policy image when it is opened, after which no look-up needs a check.

Everything that `image.pxd`, `decision.pxd` and `counters.pyx` rely on is checked here: sections and records one behind the
other, numbers within their tables, texts that are UTF-8, sums that cannot overflow, and an empty slot in every table, without
which a search would not end. What must not go in here: whether what is granted makes sense (`policy/validate.py`).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cursor cimport Cursor, cursor_over, take_bytes, take_u64
from decision cimport DAY_MS
from image cimport (
    DEVICE_REQUIRED,
    OPERATOR_REQUIRED,
    STALE_ALLOWED,
    VERDICT_ONLY,
    Credential,
    Holding,
    InterfaceVersion,
    Named,
    Offset,
    Policy,
    Symbol,
    Term,
    id_of,
    lists_of,
)

cdef enum:
    SECTIONS = 12
    HEADER_SIZE = 64 + SECTIONS * 16
    DAY_MINUTES = 1440
    WEEK_MINUTES = 7 * DAY_MINUTES
    FLAGS = VERDICT_ONLY | STALE_ALLOWED | OPERATOR_REQUIRED | DEVICE_REQUIRED


cdef struct Section:
    const unsigned char *data
    uint64_t count


cdef inline bint take_sections(Section *sections, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Read the directory. Sections lie one behind the other to the end of the image, each as long as its count says."""
    cdef Cursor cursor = cursor_over(data, size)
    cdef uint64_t[SECTIONS] width
    cdef uint64_t at, begins = HEADER_SIZE
    cdef int i
    width[0], width[1], width[2], width[3] = 1, sizeof(Symbol), sizeof(uint32_t), sizeof(Credential)
    width[4], width[5], width[6] = sizeof(uint32_t), sizeof(InterfaceVersion), sizeof(Named)
    width[7], width[8], width[9], width[10] = sizeof(Holding), sizeof(uint32_t), 1, sizeof(Offset)
    width[11] = 1
    take_bytes(&cursor, 64)
    for i in range(SECTIONS):
        at = take_u64(&cursor)
        sections[i].count = take_u64(&cursor)
        if not cursor.ok or at != begins or at > <uint64_t>size or sections[i].count > (<uint64_t>size - at) // width[i]:
            return False
        sections[i].data = data + at
        begins = at + (sections[i].count * width[i] + 7) // 8 * 8
    return begins == <uint64_t>size


cdef inline bint is_table(uint64_t slots) noexcept nogil:
    """A power of two, and no more than a number of 32 bits can point into."""
    return slots != 0 and slots & (slots - 1) == 0 and slots <= <uint64_t>1 << 32


cdef inline bint lay_out(Policy *policy, const Section *s) noexcept nogil:
    cdef int i
    for i in range(SECTIONS):
        if i != 0 and i != 9 and i != 11 and s[i].count > <uint64_t>0xFFFFFFFF:
            return False
    if not (is_table(s[2].count) and is_table(s[3].count) and is_table(s[6].count) and is_table(s[7].count)):
        return False
    policy.text = s[0].data
    policy.symbols, policy.symbol_count = <const Symbol *>s[1].data, <uint32_t>s[1].count
    policy.symbol_slots, policy.symbol_mask = <const uint32_t *>s[2].data, s[2].count - 1
    policy.credentials, policy.credential_mask = <const Credential *>s[3].data, s[3].count - 1
    policy.consumers, policy.consumer_count = <const uint32_t *>s[4].data, <uint32_t>s[4].count
    policy.interfaces, policy.interface_count = <const InterfaceVersion *>s[5].data, <uint32_t>s[5].count
    policy.named, policy.named_mask = <const Named *>s[6].data, s[6].count - 1
    policy.holdings, policy.holding_mask = <const Holding *>s[7].data, s[7].count - 1
    policy.refs, policy.ref_count = <const uint32_t *>s[8].data, <uint32_t>s[8].count
    policy.terms, policy.term_bytes = s[9].data, s[9].count
    policy.offsets, policy.offset_count = <const Offset *>s[10].data, <uint32_t>s[10].count
    policy.documents, policy.document_bytes = s[11].data, s[11].count
    return policy.offset_count > 0


cdef inline uint64_t bytes_behind(uint8_t first, uint8_t second) noexcept nogil:
    """How many bytes a character has behind its first, 0 if it cannot begin like this (RFC 3629 §4)."""
    if 0xC2 <= first <= 0xDF:
        return 1
    if 0xE0 <= first <= 0xEF:
        return 2 if (first != 0xE0 or second >= 0xA0) and (first != 0xED or second < 0xA0) else 0
    if 0xF0 <= first <= 0xF4:
        return 3 if (first != 0xF0 or second >= 0x90) and (first != 0xF4 or second < 0x90) else 0
    return 0


cdef inline bint is_text(const uint8_t *data, uint64_t size) noexcept nogil:
    """Whether bytes are UTF-8, so that nobody who reads them later has to be told that they are not."""
    cdef uint64_t at = 0, behind, i
    while at < size:
        behind = 0
        if data[at] >= 0x80:
            behind = bytes_behind(data[at], data[at + 1]) if size - at > 1 else 0
            if behind == 0 or behind >= size - at:
                return False
            for i in range(1, behind + 1):
                if data[at + i] & 0xC0 != 0x80:
                    return False
        at += 1 + behind
    return True


cdef inline bint names_are_sound(const Policy *policy, uint64_t text_bytes) noexcept nogil:
    cdef uint64_t i, empty = 0
    for i in range(policy.symbol_count):
        if policy.symbols[i].at > text_bytes or policy.symbols[i].size > text_bytes - policy.symbols[i].at:
            return False
        if not is_text(policy.text + policy.symbols[i].at, policy.symbols[i].size):
            return False
    for i in range(policy.symbol_mask + 1):
        empty += policy.symbol_slots[i] == 0
        if policy.symbol_slots[i] > policy.symbol_count:
            return False
    for i in range(policy.consumer_count):
        if policy.consumers[i] >= policy.symbol_count:
            return False
    for i in range(policy.interface_count):
        if policy.interfaces[i].symbol >= policy.symbol_count:
            return False
    return empty > 0   # else the search for a text that is not there would not end


cdef inline bint tables_are_sound(const Policy *policy) noexcept nogil:
    cdef uint64_t i, unknown = 0, unnamed = 0, unheld = 0, held = 0
    cdef const Holding *holding
    for i in range(policy.credential_mask + 1):
        unknown += policy.credentials[i].consumer == 0
        if policy.credentials[i].consumer > policy.consumer_count:
            return False
    for i in range(policy.named_mask + 1):
        unnamed += policy.named[i].interface == 0
        if policy.named[i].interface > policy.interface_count or policy.named[i].symbol >= policy.symbol_count:
            return False
    for i in range(policy.holding_mask + 1):
        holding = &policy.holdings[i]
        unheld += holding.count == 0
        held += holding.count
        if holding.first > policy.ref_count or holding.count > policy.ref_count - holding.first:
            return False
        if holding.count != 0 and (holding.consumer >= policy.consumer_count or holding.interface >= policy.interface_count):
            return False   # else it could be what NOBODY holds
    return unknown > 0 and unnamed > 0 and unheld > 0 and held == policy.ref_count


cdef inline bint offsets_are_sound(const Policy *policy) noexcept nogil:
    """In order, as a search by halving needs them, and none of more than a day."""
    cdef uint32_t i
    for i in range(policy.offset_count):
        if not -DAY_MS <= policy.offsets[i].offset_ms <= DAY_MS:
            return False
        if i > 0 and policy.offsets[i].from_ms <= policy.offsets[i - 1].from_ms:
            return False
    return True


cdef inline bint limits_are_sound(const Term *term) noexcept nogil:
    """No more than 2^62, so that the sums of the rate's clock (counters.pyx) do not overflow."""
    if term.interval_ns == 0 or term.burst_ns < term.interval_ns or term.burst_ns > <uint64_t>1 << 62:
        return False
    return term.counter != 0 and term.flags & ~<uint32_t>FLAGS == 0   # a flag not known here may be a condition


cdef inline bint are_spans(const uint32_t *spans, uint32_t count) noexcept nogil:
    """Whether each begins before it ends, on the same day of a week."""
    cdef uint32_t i
    for i in range(count):
        if spans[2 * i] >= WEEK_MINUTES or spans[2 * i + 1] <= spans[2 * i]:
            return False
        if spans[2 * i + 1] > (spans[2 * i] // DAY_MINUTES + 1) * DAY_MINUTES:
            return False
    return True


cdef inline bint term_is_sound(const Policy *policy, const Term *term) noexcept nogil:
    """The lists lie within the record, and every text they name is one."""
    cdef const uint32_t *numbers = lists_of(term)
    cdef uint32_t named = <uint32_t>term.purposes + term.matters + term.units
    cdef uint32_t spans = 2 * <uint32_t>term.hours
    cdef uint32_t i
    if sizeof(Term) + 4 * (named + spans + term.fields) + term.id_bytes > term.size:
        return False
    for i in range(named):
        if numbers[i] >= policy.symbol_count:
            return False
    for i in range(named + spans, named + spans + term.fields):
        if numbers[i] >= policy.symbol_count:
            return False
    if term.holder >= policy.symbol_count or term.interface >= policy.symbol_count:
        return False
    if term.legal_basis >= policy.symbol_count or term.embargo_class >= policy.symbol_count:
        return False
    return limits_are_sound(term) and are_spans(numbers + named, term.hours) and is_text(id_of(term), term.id_bytes)


cdef inline bint terms_are_sound(const Policy *policy, uint8_t *starts) noexcept nogil:
    """Walk the records one behind the other, noting where each starts; a ref that points elsewhere is not one."""
    cdef uint64_t at = 0
    cdef const Term *term
    cdef uint32_t i
    while at < policy.term_bytes:
        term = <const Term *>(policy.terms + at)
        if policy.term_bytes - at < sizeof(Term):
            return False
        if term.size < sizeof(Term) or term.size % 8 != 0 or term.size > policy.term_bytes - at:
            return False
        if not term_is_sound(policy, term):
            return False
        starts[at // 8] = 1
        at += term.size
    for i in range(policy.ref_count):
        if 8 * <uint64_t>policy.refs[i] >= policy.term_bytes or not starts[policy.refs[i]]:
            return False
    return True


cdef inline bint is_sound(Policy *policy, const unsigned char *data, Py_ssize_t size, uint8_t *starts) noexcept nogil:
    """Whether every look-up stays within the image. `starts` has a byte for every eight of the image."""
    cdef Section[SECTIONS] sections
    if not take_sections(sections, data, size) or not lay_out(policy, sections):
        return False
    if not names_are_sound(policy, sections[0].count) or not tables_are_sound(policy) or not offsets_are_sound(policy):
        return False
    return terms_are_sound(policy, starts)
