# cython: language_level=3
"""The first steps of an address: signs and committees left out, and Chinese numerals that count something as figures.

Each step is one pass that a second one would not change. What must not go in here: what the parts of an address are
(normal_address.pxd).
"""

from libc.stdint cimport uint32_t

from normal_date cimport HAN_NUMBER, NO_NUMERAL, numeral
from normal_tables cimport Tables, is_sign
from normal_text cimport Codes, is_alnum, is_digit, put
from normal_words cimport FIGURE, committees, counted, signs_of, word, word_at, word_before

cdef enum:
    HAN_TEN_OF = 0x5341         # 十
    HAN_HUNDRED = 0x767E        # 百
    HAN_THOUSAND = 0x5343       # 千
    HAN_ORDINAL = 0x7B2C        # 第
    HAN_VILLAGE = 0x6751        # 村
    MOST_NUMERALS = 12          # what is longer is no number


# --- signs and committees ----------------------------------------------------------------------------------------

cdef inline bint is_figure(uint32_t code) noexcept nogil:
    return is_digit(code) or numeral(code) != NO_NUMERAL or code == HAN_TEN_OF


cdef inline uint32_t sign_between(uint32_t before, uint32_t after, bint dashed, bint blank) noexcept nogil:
    """Return what stands for a gap: - between numbers, a space between words of letters, 0 (nothing) beside ideographs.

    A blank gap beside an ideograph is nothing even where that is a numeral, as it is in the canonical form.
    """
    if (is_digit(before) and is_digit(after)) or (not blank and is_figure(before) and is_figure(after)):
        return c'-'
    if not is_alnum(before) or not is_alnum(after):
        return 0
    return c'-' if dashed else c' '


cdef inline void leave_out_committee(Codes *out) noexcept nogil:
    cdef const word *found
    cdef uint32_t last = out.at[out.size - 1]
    if last != 0x4F1A and last != 0x5904:       # 会, 处
        return
    found = word_before(committees, out.at, out.size)
    if found == NULL:
        return
    out.size -= found.size - found.kind
    if found.kind == 1 and out.size >= 2 and out.at[out.size - 2] == HAN_VILLAGE:
        out.size -= 1


cdef inline void leave_out_signs(const Tables *tables, const Codes *codes, Codes *out) noexcept nogil:
    cdef bint gap = False, dashed = False, blank = True
    cdef uint32_t code, sign
    cdef int i
    out.size = 0
    out.cut = codes.cut
    for i in range(codes.size):
        code = codes.at[i]
        if code == c'#' and blank and out.size > 0 and is_figure(out.at[out.size - 1]):
            code = HAN_NUMBER
        if is_sign(tables, code):
            gap = True
            dashed = dashed or code == c'-'
            blank = blank and code == c' '
            continue
        sign = sign_between(out.at[out.size - 1], code, dashed, blank) if gap and out.size > 0 else 0
        if (sign and not put(out, sign)) or not put(out, code):
            break
        gap = dashed = False
        blank = True
        leave_out_committee(out)
    if out.size > 0 and is_sign(tables, out.at[out.size - 1]):
        out.size -= 1                           # the room ended behind a gap


# --- numerals ----------------------------------------------------------------------------------------------------

cdef inline uint32_t unit_of(uint32_t code) noexcept nogil:
    return 10 if code == HAN_TEN_OF else 100 if code == HAN_HUNDRED else 1000 if code == HAN_THOUSAND else 0


cdef inline bint may_be_numeral(uint32_t code) noexcept nogil:
    return numeral(code) != NO_NUMERAL or unit_of(code) != 0


cdef inline int numerals_end(const Codes *codes, int at) noexcept nogil:
    """Return where numerals end that begin here. Hundred and thousand alone are no number (百花, 千禧)."""
    cdef bint counts = False
    cdef int i = at
    if not may_be_numeral(codes.at[at]):
        return at
    while i < codes.size and (numeral(codes.at[i]) != NO_NUMERAL or unit_of(codes.at[i])):
        counts = counts or numeral(codes.at[i]) != NO_NUMERAL or codes.at[i] == HAN_TEN_OF
        i += 1
    return i if counts and i - at <= MOST_NUMERALS else at


cdef inline bint is_counting(const Codes *codes, int start, int end) noexcept nogil:
    """Whether numerals stand behind 第 or a figure, before a figure, at the end, or before what is counted."""
    if end == codes.size or is_digit(codes.at[end]):
        return True
    if start > 0 and (codes.at[start - 1] == HAN_ORDINAL or codes.at[start - 1] == c'-'):
        return True
    return word_at(counted, &codes.at[end], codes.size - end) != NULL


cdef inline uint32_t branch_letter(uint32_t code) noexcept nogil:
    """甲, 乙, 丙 and 丁 number buildings as A to D do; 0 for all others."""
    return c'a' if code == 0x7532 else c'b' if code == 0x4E59 else c'c' if code == 0x4E19 else c'd' if code == 0x4E01 else 0


cdef inline bint put_digit(Codes *out, uint32_t digit) noexcept nogil:
    """Add a digit without 第 before it and without a needless zero; 甲 before it becomes a letter."""
    while out.size > 0 and out.at[out.size - 1] == HAN_ORDINAL:
        out.size -= 1
    if out.size > 0 and branch_letter(out.at[out.size - 1]):
        out.at[out.size - 1] = branch_letter(out.at[out.size - 1])
    if out.size > 0 and out.at[out.size - 1] == c'0' and (out.size == 1 or not is_digit(out.at[out.size - 2])):
        out.at[out.size - 1] = digit
        return True
    return put(out, digit)


cdef inline void put_number(Codes *out, uint32_t number) noexcept nogil:
    cdef uint32_t power = 1
    while number // power >= 10:
        power *= 10
    while power > 0:
        put_digit(out, c'0' + number // power % 10)
        power //= 10


cdef inline void put_numerals(Codes *out, const Codes *codes, int start, int end) noexcept nogil:
    """二〇一 digit by digit, 一百零八 by its value; what makes no sense ends one number and begins the next."""
    cdef uint32_t total = 0, digit = 0, unit, least = 10000
    cdef bint by_value = False
    cdef int i
    for i in range(start, end):
        by_value = by_value or unit_of(codes.at[i]) != 0
    for i in range(start, end):
        unit = unit_of(codes.at[i])
        if not by_value:
            put_digit(out, c'0' + numeral(codes.at[i]))
        elif unit == 0:
            if digit != 0:
                put_number(out, total + digit)
                total = 0
                least = 10000
            digit = numeral(codes.at[i])
        else:
            if unit >= least:
                put_number(out, total)
                total = 0
            total += unit * (digit if digit else 1)
            least = unit
            digit = 0
    if by_value:
        put_number(out, total + digit)


cdef inline bint numbers_buildings(uint32_t code) noexcept nogil:
    """号 栋 幢 座 楼 室."""
    return code == 0x53F7 or code == 0x680B or code == 0x5E62 or code == 0x5EA7 or code == 0x697C or code == 0x5BA4


cdef inline void read_branch_letter(Codes *out, uint32_t code) noexcept nogil:
    """甲栋 and 甲单元 are A栋 and A单元."""
    cdef int back = 1 if numbers_buildings(code) else 2
    if back == 2 and not (code == 0x5143 and out.size > 1 and out.at[out.size - 1] == 0x5355):      # 元 behind 单
        return
    if out.size >= back and branch_letter(out.at[out.size - back]):
        out.at[out.size - back] = branch_letter(out.at[out.size - back])


cdef inline void write_figures(const Tables *tables, const Codes *codes, Codes *out) noexcept nogil:
    """Write numerals that count as figures, and figures without needless zeros."""
    cdef int i = 0, end
    out.size = 0
    out.cut = codes.cut
    while i < codes.size and not (out.cut and not codes.cut):
        if not signs_of(tables.address_signs, codes.at[i]) & FIGURE:
            put(out, codes.at[i])
            i += 1
            continue
        end = numerals_end(codes, i)
        if end > i and is_counting(codes, i, end):
            put_numerals(out, codes, i, end)
            i = end
            continue
        end = max(end, i + 1)
        while i < end:
            if is_digit(codes.at[i]):
                put_digit(out, codes.at[i])
            else:
                read_branch_letter(out, codes.at[i])
                put(out, codes.at[i])
            i += 1
