# cython: language_level=3
"""Addresses for comparison: one text with figures and one word a unit, and its parts as spans of that text with hashes.

云鹤市听松路十二号3幢二单元501户 is compared as 云鹤市听松路12号3栋2单元501室. The parts of an address that this cannot tell stay
in its text. Parts are told by their last word and their order, never by a list of places. What must not go in here: likeness,
what a place is called elsewhere.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from normal_numerals cimport leave_out_signs, write_figures
from normal_tables cimport Tables, is_place
from normal_text cimport Codes, is_alnum, is_ideograph, put
from normal_words cimport (
    COMMUNITY_END,
    ENDS_PART,
    ONLY_BEFORE_NO_IDEOGRAPH,
    PART_BUILDING,
    PART_COMMUNITY,
    PART_FLOOR,
    PART_NONE,
    PART_NUMBER,
    PART_REGION,
    PART_ROAD,
    PART_ROOM,
    PART_UNIT,
    REGION_END,
    ROAD_END,
    ROAD_SECTION,
    no_places,
    region_ends,
    road_ends,
    signs_of,
    unit_at,
    unit_word,
    unit_words,
    village_roads,
    word,
    word_at,
    word_before,
)

cdef enum:
    MOST_PARTS = 24
    MOST_GROUPS_IN_ROW = 4      # 3-2-5-501
    HAN_ROAD_SECTION = 0x6BB5   # 段
    HAN_VILLAGE_END = 0x6751    # 村
    HAN_ATTACHED = 0x9644       # 附
    HAN_OF = 0x4E4B             # 之

cdef struct Part:
    uint64_t hash               # of kind and text
    uint16_t at                 # in the text
    uint16_t size
    uint8_t kind

cdef struct NormalAddress:
    Codes text
    Part parts[MOST_PARTS]
    int size
    uint32_t seen               # bit by kind

cdef struct Row:                # letters and digits, with hyphens between: 3-2-501
    int at[MOST_GROUPS_IN_ROW + 1]
    int end[MOST_GROUPS_IN_ROW + 1]
    int size                    # MOST_GROUPS_IN_ROW + 1 where there are more


# --- one word a unit ---------------------------------------------------------------------------------------------

cdef inline const unit_word *unit_behind(const Codes *codes, int at) noexcept nogil:
    """Return the unit word that stands here, behind a letter or digit; NULL where none does."""
    cdef const unit_word *unit
    cdef int end
    if at >= codes.size or at == 0 or is_alnum(codes.at[at]) or not is_alnum(codes.at[at - 1]):
        return NULL
    unit = unit_at(unit_words, &codes.at[at], codes.size - at)
    if unit == NULL or not unit.written.kind & ONLY_BEFORE_NO_IDEOGRAPH:
        return unit
    end = at + unit.written.size
    if end < codes.size and is_ideograph(codes.at[end]):
        return NULL
    return unit


cdef inline void write_units(const Codes *codes, Codes *out) noexcept nogil:
    cdef const unit_word *unit
    cdef int i = 0, k
    out.size = 0
    out.cut = codes.cut
    while i < codes.size:
        unit = unit_behind(codes, i)
        if unit == NULL:
            put(out, codes.at[i])
            i += 1
            continue
        for k in range(unit.compared_size):
            put(out, unit.compared[k])
        i += unit.written.size


# --- parts -------------------------------------------------------------------------------------------------------

cdef inline bint has_seen(const NormalAddress *address, int kind) noexcept nogil:
    return (address.seen >> kind) & 1


cdef inline uint64_t mix(uint64_t hash, uint64_t value) noexcept nogil:
    """One step of FNV-1a, over a whole code point at once."""
    return (hash ^ value) * <uint64_t>0x100000001B3


cdef inline uint64_t hash_of(int kind, const uint32_t *codes, int size) noexcept nogil:
    """FNV-1a over kind and code points, then the last rounds of MurmurHash3, so that every bit counts."""
    cdef uint64_t hash = mix(<uint64_t>0xCBF29CE484222325, kind)
    cdef int i
    for i in range(size):
        hash = mix(hash, codes[i])
    hash = (hash ^ (hash >> 33)) * <uint64_t>0xFF51AFD7ED558CCD
    hash = (hash ^ (hash >> 33)) * <uint64_t>0xC4CEB9FE1A85EC53
    return hash ^ (hash >> 33)


cdef inline void add_part(NormalAddress *address, int kind, int at, int end) noexcept nogil:
    cdef Part *part
    if at >= end or address.size == MOST_PARTS:
        return
    part = &address.parts[address.size]
    part.kind = <uint8_t>kind
    part.at = <uint16_t>at
    part.size = <uint16_t>(end - at)
    part.hash = hash_of(kind, &address.text.at[at], end - at)
    address.size += 1
    address.seen |= <uint32_t>1 << kind


cdef inline bint joins_numbers(const NormalAddress *address, int at, int end) noexcept nogil:
    """附 and 之 add a number to the one before: 12号附3号."""
    return end - at == 1 and (address.text.at[at] == HAN_ATTACHED or address.text.at[at] == HAN_OF)


cdef inline int take_row(const Codes *text, int at, Row *row) noexcept nogil:
    """Read groups of letters and digits with hyphens between; returns where they end."""
    row.size = 0
    while True:
        if row.size <= MOST_GROUPS_IN_ROW:
            row.at[row.size] = at
        while at < text.size and is_alnum(text.at[at]):
            at += 1
        if row.size <= MOST_GROUPS_IN_ROW:
            row.end[row.size] = at
            row.size += 1
        if at + 1 >= text.size or text.at[at] != c'-' or not is_alnum(text.at[at + 1]):
            return at
        at += 1


cdef inline bint spread(NormalAddress *address, const Row *row) noexcept nogil:
    """3-501 is building and room, 3-2-501 building, unit and room; behind a building they begin with the unit."""
    cdef bint inside = has_seen(address, PART_BUILDING)
    cdef int i, kind
    if not 2 <= row.size <= MOST_GROUPS_IN_ROW:
        return False
    for i in range(row.size):
        if i == row.size - 1:
            kind = PART_ROOM
        elif i == 0:
            kind = PART_UNIT if inside else PART_BUILDING
        elif i == 1:
            kind = PART_FLOOR if inside else PART_UNIT
        else:
            kind = PART_FLOOR
        add_part(address, kind, row.at[i], row.end[i])
    return True


cdef inline bint is_inside(const NormalAddress *address) noexcept nogil:
    return has_seen(address, PART_BUILDING) or has_seen(address, PART_UNIT) or has_seen(address, PART_FLOOR)


cdef inline bint add_bare(NormalAddress *address, const Row *row) noexcept nogil:
    """Numbers at the end without a word: 人民路12, 3栋501, 12号3-2-501."""
    cdef bint numbered = has_seen(address, PART_NUMBER)
    if has_seen(address, PART_ROAD) and not numbered and not is_inside(address) and row.size <= 2:
        add_part(address, PART_NUMBER, row.at[0], row.end[row.size - 1])
        return True
    if row.size > 1:
        return spread(address, row)
    if not numbered and not is_inside(address):
        return False
    add_part(address, PART_ROOM, row.at[0], row.end[0])
    return True


cdef inline bint add_numbered(NormalAddress *address, const Row *row, int behind) noexcept nogil:
    """12号 is the number on a road first; later a building, or a room if nothing more comes."""
    cdef bint more = behind < address.text.size and is_alnum(address.text.at[behind])
    if row.size <= 2 and not has_seen(address, PART_NUMBER) and not is_inside(address):
        add_part(address, PART_NUMBER, row.at[0], row.end[row.size - 1])
        return True
    if row.size > 1:
        return spread(address, row)
    add_part(address, PART_BUILDING if more and not has_seen(address, PART_BUILDING) else PART_ROOM, row.at[0], row.end[0])
    return True


cdef inline bint unit_follows(const Codes *text, int at) noexcept nogil:
    """Whether 2单元 or the like comes next: then the 楼 before it was a building."""
    cdef const unit_word *unit
    while at < text.size and is_alnum(text.at[at]):
        at += 1
    unit = unit_behind(text, at)
    return unit != NULL and unit.written.kind & 0x7F == PART_UNIT


cdef inline bint add_row(NormalAddress *address, const Row *row, int kind, int behind) noexcept nogil:
    """Add a row of numbers with its unit; False where it belongs to the text around it."""
    if row.size > MOST_GROUPS_IN_ROW:
        return False
    if kind == PART_NONE:
        return behind == address.text.size and add_bare(address, row)
    if kind == PART_NUMBER:
        return add_numbered(address, row, behind)
    if kind == PART_ROOM and row.size > 1:
        return spread(address, row)
    if kind == PART_FLOOR and not has_seen(address, PART_BUILDING) and unit_follows(&address.text, behind):
        kind = PART_BUILDING
    if kind == PART_UNIT and row.size == 2:
        add_part(address, PART_BUILDING, row.at[0], row.end[0])
        add_part(address, PART_UNIT, row.at[1], row.end[1])
        return True
    add_part(address, kind, row.at[0], row.end[row.size - 1])
    return True


cdef inline bint has_alnum(const Codes *text, int at, int end) noexcept nogil:
    while at < end and not is_alnum(text.at[at]):
        at += 1
    return at < end


cdef inline bint is_other_word(const Tables *tables, const uint32_t *codes, int size) noexcept nogil:
    """Whether the last word is no region after all: 城市, 古镇, but not 成都市."""
    return word_before(no_places, codes, size) != NULL and not (2 < size < 6 and is_place(tables, codes, size - 1))


cdef inline int end_of_region(const Tables *tables, const NormalAddress *address, int start, int at) noexcept nogil:
    """Return where a region ends whose last word stands here; 0 where it is none, as in 城市花园 or 县前街."""
    cdef const Codes *text = &address.text
    cdef const word *found
    cdef int end
    if at == start or address.seen & ~(<uint32_t>1 << PART_REGION):
        return 0
    found = word_at(region_ends, &text.at[at], text.size - at)
    if found == NULL:
        return 0
    end = at + found.size
    if is_other_word(tables, &text.at[start], end - start) or has_alnum(text, start, end):
        return 0
    if end == text.size or not signs_of(tables.address_signs, text.at[end]) & ROAD_END:
        return end
    return 0 if word_at(road_ends, &text.at[end], text.size - end) != NULL else end


cdef inline int end_of_community(const NormalAddress *address, int start, int at) noexcept nogil:
    """Return where a village, an estate or the like ends whose last word stands here; 0 where it is none."""
    cdef const Codes *text = &address.text
    cdef const word *found
    cdef int end = at + 1
    if at == start or is_inside(address):
        return 0
    if text.at[at] != HAN_VILLAGE_END:
        found = word_at(no_places, &text.at[at], text.size - at)
        return at + found.size if found != NULL and found.kind == 2 else 0
    return 0 if end < text.size and word_at(village_roads, &text.at[end], text.size - end) != NULL else end


cdef inline int end_of_road(const NormalAddress *address, int start, int at) noexcept nogil:
    """Return where a road ends whose last word stands here; 0 where it is none. 段 goes on with a road."""
    cdef const Codes *text = &address.text
    cdef const word *found
    if at == start or is_inside(address):
        return 0
    if text.at[at] == HAN_ROAD_SECTION:
        return at + 1 if address.size > 0 and address.parts[address.size - 1].kind == PART_ROAD else 0
    found = word_at(road_ends, &text.at[at], text.size - at)
    return 0 if found == NULL else at + found.size


cdef inline int take_worded(const Tables *tables, NormalAddress *address, int start, int at) noexcept nogil:
    """Add the part whose last word stands here; returns where it ends, 0 where there is none."""
    cdef int kind = PART_REGION, end = 0
    cdef int signs = signs_of(tables.address_signs, address.text.at[at])
    if not signs & ENDS_PART:
        return 0
    if signs & REGION_END:
        end = end_of_region(tables, address, start, at)
    if end == 0 and signs & COMMUNITY_END:
        kind = PART_COMMUNITY
        end = end_of_community(address, start, at)
    if end == 0 and signs & (ROAD_END | ROAD_SECTION):
        kind = PART_ROAD
        end = end_of_road(address, start, at)
    if end != 0:
        add_part(address, kind, start, end)
    return end


cdef inline int take_numbers(NormalAddress *address, int start, int at, int *behind) noexcept nogil:
    """Read the row that begins here. Returns where it ends; `behind` is where a part ends, 0 where it was none."""
    cdef const unit_word *unit
    cdef Row row
    cdef int end = take_row(&address.text, at, &row)
    cdef int before = address.size
    cdef uint32_t seen = address.seen
    cdef bint joined = joins_numbers(address, start, at)
    cdef int kind, past
    unit = unit_behind(&address.text, end)
    kind = unit.written.kind & 0x7F if unit != NULL else PART_NONE
    past = end + unit.written.size if kind != PART_NONE else end
    behind[0] = past
    if joined:
        add_part(address, PART_NUMBER, row.at[0], end)
        return end
    add_part(address, PART_COMMUNITY, start, at)
    if not add_row(address, &row, kind, past):
        address.size = before           # it belongs to the text around it
        address.seen = seen
        behind[0] = 0
    return end


cdef inline void tell_parts(const Tables *tables, NormalAddress *address) noexcept nogil:
    cdef int start = 0, at = 0, end, behind = 0
    address.size = 0
    address.seen = 0
    while at < address.text.size:
        if is_alnum(address.text.at[at]):
            end = take_numbers(address, start, at, &behind)
        else:
            behind = take_worded(tables, address, start, at)
            end = at + 1
        if behind:
            start = at = behind
        else:
            at = end
    add_part(address, PART_COMMUNITY, start, address.text.size)


cdef inline void normal_address(const Tables *tables, NormalAddress *address, const Codes *codes) noexcept nogil:
    """Fill in an address from a folded text."""
    cdef Codes plain, figures
    leave_out_signs(tables, codes, &plain)
    write_figures(tables, &plain, &figures)
    write_units(&figures, &address.text)
    tell_parts(tables, address)
