# cython: language_level=3
"""Written dates of many forms as one number, yyyymmdd; 0 where a text is not certainly one day of the Gregorian calendar.

Read are: year, month and day in figures with any of `- / . 年 月 日 号`, middle dots, commas or spaces between (or none: eight
digits, or fourteen with a time), Chinese numerals, 元月, years of the Republic, English months, a time of day behind. Two-digit
years, dates of which two readings exist (03/05/2021), lunar dates and dates that do not exist give 0. What must not go in here:
what a text is compared as when it is no date (that is the folded text), clocks, a century that is guessed.
"""

from libc.stdint cimport uint32_t, uint64_t

from normal_text cimport MIDDLE_DOT, Codes, is_digit, is_letter

cdef enum:
    MOST_TOKENS = 20
    MOST_DIGITS = 14

cdef enum:                      # kinds of tokens; a sign has its own code point
    NUMBER_TOKEN = 1
    MONTH_TOKEN = 2
    NO_TOKEN = 0

cdef enum:                      # ideographs by name
    HAN_YEAR = 0x5E74           # 年
    HAN_MONTH = 0x6708          # 月
    HAN_DAY = 0x65E5            # 日
    HAN_NUMBER = 0x53F7         # 号
    HAN_HOUR = 0x65F6           # 时
    HAN_POINT = 0x70B9          # 点
    HAN_MINUTE = 0x5206         # 分
    HAN_SECOND = 0x79D2         # 秒
    HAN_FIRST = 0x5143          # 元
    HAN_TEN = 0x5341            # 十
    HAN_TWENTY = 0x5EFF         # 廿
    HAN_THIRTY = 0x5345         # 卅
    NO_NUMERAL = 0xFF
    REPUBLIC = 1911             # what is added to a year of the Republic

cdef struct DateToken:
    uint64_t value
    uint32_t kind               # NUMBER_TOKEN, MONTH_TOKEN, or a code point
    int digits                  # of a number
    bint spaced                 # a space stands before it

cdef struct DateTokens:
    DateToken at[MOST_TOKENS]
    int size
    bint republic               # the text begins with 民国

cdef struct Day:
    uint32_t year
    uint32_t month
    uint32_t day
    int end                     # the token behind


cdef inline uint32_t days_in(uint32_t year, uint32_t month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef inline bint exists(uint64_t year, uint64_t month, uint64_t day) noexcept nogil:
    return 1 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= days_in(<uint32_t>year, <uint32_t>month)


cdef inline uint32_t numeral(uint32_t code) noexcept nogil:
    """Return the digit that an ideograph is, 0 to 9; NO_NUMERAL where it is none. One chain, which becomes one switch."""
    if code == 0x3007 or code == 0x96F6:                            # 〇 零
        return 0
    elif code == 0x4E00 or code == 0x58F9:                            # 一 壹
        return 1
    elif code == 0x4E8C or code == 0x8D30:                            # 二 贰
        return 2
    elif code == 0x4E09 or code == 0x53C1:                            # 三 叁
        return 3
    elif code == 0x56DB or code == 0x8086:                            # 四 肆
        return 4
    elif code == 0x4E94 or code == 0x4F0D:                            # 五 伍
        return 5
    elif code == 0x516D or code == 0x9646:                            # 六 陆
        return 6
    elif code == 0x4E03 or code == 0x67D2:                            # 七 柒
        return 7
    elif code == 0x516B or code == 0x634C:                            # 八 捌
        return 8
    elif code == 0x4E5D or code == 0x7396:                            # 九 玖
        return 9
    return NO_NUMERAL


cdef inline uint32_t tens(uint32_t code) noexcept nogil:
    """Return how much a sign for tens adds: 十 拾 10, 廿 20, 卅 30; 0 where it is none."""
    if code == HAN_TEN or code == 0x62FE:
        return 10
    return 20 if code == HAN_TWENTY else 30 if code == HAN_THIRTY else 0


# --- tokens ------------------------------------------------------------------------------------------------------

cdef inline int take_figures(const Codes *codes, int i, DateToken *token) noexcept nogil:
    """Read digits; returns where they end, or -1 where there are too many."""
    while i < codes.size and is_digit(codes.at[i]):
        if token.digits == MOST_DIGITS:
            return -1
        token.value = 10 * token.value + (codes.at[i] - c'0')
        token.digits += 1
        i += 1
    return i


cdef inline int take_numerals(const Codes *codes, int i, DateToken *token) noexcept nogil:
    """Read 二〇二一, 十二, 二十, 三十一 or 廿五; returns where it ends, or -1 where it is none of these."""
    cdef uint32_t digit, ten, before = 0
    cdef bint with_ten = False
    while i < codes.size:
        digit = numeral(codes.at[i])
        ten = tens(codes.at[i])
        if ten and (with_ten or token.digits > 1 or (token.digits == 1 and (ten != 10 or token.value == 0))):
            return -1
        if ten:
            token.value = token.value * ten if token.digits == 1 else ten
            token.digits = 2
            with_ten = True
            before = i
        elif digit == NO_NUMERAL:
            break
        elif with_ten:
            if digit == 0 or i != <int>before + 1:
                return -1
            token.value += digit
        else:
            if token.digits == 8:
                return -1
            token.value = 10 * token.value + digit
            token.digits += 1
        i += 1
    return i


cdef inline uint32_t month_of(const uint32_t *word, int size) noexcept nogil:
    """Return the month of an English name or its short form (three letters, or sept); 0 where it is none."""
    cdef const char *names = b"january  february march    april    may      june     july     august   septemberoctober  november december "
    cdef int month, i
    if size < 3 or size > 9:
        return 0
    for month in range(12):
        i = 0
        while i < size and word[i] == <uint32_t>names[9 * month + i]:
            i += 1
        if i == size and (size == 3 or (size == 4 and month == 8) or size == 9 or names[9 * month + size] == c' '):
            return month + 1
    return 0


cdef inline int take_word(const Codes *codes, int i, DateToken *token) noexcept nogil:
    """Read letters: a month, one letter (of a time), or the ending of an ordinal, which leaves no token. -1: anything else."""
    cdef int start = i
    cdef uint32_t first = codes.at[i], second
    while i < codes.size and is_letter(codes.at[i]):
        i += 1
    token.value = month_of(&codes.at[start], i - start)
    if token.value != 0:
        token.kind = MONTH_TOKEN
        return i
    if i - start == 1:
        token.kind = first
        return i
    second = codes.at[start + 1]
    if i - start != 2 or start == 0 or not is_digit(codes.at[start - 1]):
        return -1
    token.kind = NO_TOKEN
    if (first == c's' and second == c't') or (first == c'n' and second == c'd'):
        return i
    return i if (first == c'r' and second == c'd') or (first == c't' and second == c'h') else -1


cdef inline int take_token(const Codes *codes, int i, DateToken *token) noexcept nogil:
    cdef uint32_t code = codes.at[i]
    token.value = 0
    token.digits = 0
    token.kind = NUMBER_TOKEN
    if is_digit(code):
        return take_figures(codes, i, token)
    if numeral(code) != NO_NUMERAL or tens(code):
        return take_numerals(codes, i, token)
    if code == HAN_FIRST:               # 元月 is the first month, 元年 the first year
        token.value = 1
        token.digits = 1
        return i + 1
    if is_letter(code):
        return take_word(codes, i, token)
    token.kind = code if code != MIDDLE_DOT else c'.'
    return i + 1


cdef inline bint tokenise(const Codes *codes, DateTokens *tokens) noexcept nogil:
    cdef bint spaced = False
    cdef int i = 0
    tokens.size = 0
    tokens.republic = codes.size > 2 and codes.at[0] == 0x6C11 and codes.at[1] == 0x56FD            # 民国
    if tokens.republic or (codes.size > 2 and codes.at[0] == 0x516C and codes.at[1] == HAN_FIRST):  # 公元
        i = 2
    while i < codes.size:
        if codes.at[i] == c' ':
            spaced = True
            i += 1
            continue
        if tokens.size == MOST_TOKENS:
            return False
        tokens.at[tokens.size].spaced = spaced
        i = take_token(codes, i, &tokens.at[tokens.size])
        if i < 0:
            return False
        tokens.size += tokens.at[tokens.size].kind != NO_TOKEN
        spaced = False
    return True


# --- forms -------------------------------------------------------------------------------------------------------

cdef inline const DateToken *token_at(const DateTokens *tokens, int i) noexcept nogil:
    if i < 0 or i >= tokens.size:
        return NULL
    return &tokens.at[i]


cdef inline bint is_kind(const DateTokens *tokens, int i, uint32_t kind) noexcept nogil:
    cdef const DateToken *token = token_at(tokens, i)
    return token != NULL and token.kind == kind


cdef inline bint is_number(const DateTokens *tokens, int i, int least, int most) noexcept nogil:
    cdef const DateToken *token = token_at(tokens, i)
    return token != NULL and token.kind == NUMBER_TOKEN and least <= token.digits <= most


cdef inline int behind_separator(const DateTokens *tokens, int i, uint32_t own) noexcept nogil:
    """Return where the next part begins: behind one separator, or here if a space is before it; -1 where nothing parts."""
    cdef const DateToken *token = token_at(tokens, i)
    if token == NULL:
        return -1
    if token.kind == c'-' or token.kind == c'/' or token.kind == c'.' or token.kind == c',' or token.kind == own:
        return i + 1
    return i if token.spaced else -1


cdef inline bint fill_day(Day *day, uint64_t year, uint64_t month, uint64_t number, int end) noexcept nogil:
    day.year = <uint32_t>year
    day.month = <uint32_t>month
    day.day = <uint32_t>number
    day.end = end
    return exists(year, month, number)


cdef inline bint year_first(const DateTokens *tokens, Day *day) noexcept nogil:
    """2021-03-05, 2021年3月5日, 2021 Mar 5, 民国69年5月3日."""
    cdef bint republic = tokens.republic
    cdef int month, number
    if not is_number(tokens, 0, 1 if republic else 4, 3 if republic else 4):
        return False
    month = behind_separator(tokens, 1, HAN_YEAR)
    if month < 0 or not (is_number(tokens, month, 1, 2) or is_kind(tokens, month, MONTH_TOKEN)):
        return False
    number = behind_separator(tokens, month + 1, HAN_MONTH)
    if number < 0 or not is_number(tokens, number, 1, 2):
        return False
    return fill_day(
        day,
        tokens.at[0].value + (REPUBLIC if republic else 0),
        tokens.at[month].value,
        tokens.at[number].value,
        number + 1 + (is_kind(tokens, number + 1, HAN_DAY) or is_kind(tokens, number + 1, HAN_NUMBER)),
    )


cdef inline bint in_one(const DateTokens *tokens, Day *day) noexcept nogil:
    """20210305, and 20210305123000."""
    cdef uint64_t value, time = 0
    if tokens.republic or not (is_number(tokens, 0, 8, 8) or is_number(tokens, 0, 14, 14)):
        return False
    value = tokens.at[0].value
    if tokens.at[0].digits == 14:
        time = value % 1000000
        value //= 1000000
    if time // 10000 > 23 or time // 100 % 100 > 59 or time % 100 > 60:
        return False
    return fill_day(day, value // 10000, value // 100 % 100, value % 100, 1)


cdef inline bint with_month_name(const DateTokens *tokens, Day *day) noexcept nogil:
    """5 March 2021, Mar 5, 2021, 5-Mar-2021."""
    cdef int month = 0 if is_kind(tokens, 0, MONTH_TOKEN) else -1
    cdef int number = 0 if is_number(tokens, 0, 1, 2) else -1
    cdef int second, year
    if tokens.republic or (month < 0 and number < 0):
        return False
    second = behind_separator(tokens, 1, c'-')
    if second < 0 and is_kind(tokens, 1, MONTH_TOKEN if month < 0 else NUMBER_TOKEN):
        second = 1          # 5mar2021
    year = behind_separator(tokens, second + 1, c'-') if second >= 0 else -1
    if year < 0 and second >= 0 and is_number(tokens, second + 1, 4, 4):
        year = second + 1
    if year < 0 or not is_number(tokens, year, 4, 4):
        return False
    if month < 0:
        month = second
    else:
        number = second
    if month < 0 or number < 0 or not is_kind(tokens, month, MONTH_TOKEN) or not is_number(tokens, number, 1, 2):
        return False
    return fill_day(day, tokens.at[year].value, tokens.at[month].value, tokens.at[number].value, year + 1)


cdef inline bint year_last(const DateTokens *tokens, Day *day) noexcept nogil:
    """31/12/2021 and 12/31/2021, if only one reading is a day or both are the same."""
    cdef uint64_t first, second, year
    cdef int i
    if tokens.republic:
        return False
    for i in range(3):
        if not is_number(tokens, 2 * i, 1 if i < 2 else 4, 2 if i < 2 else 4):
            return False
    for i in range(1, 4, 2):
        if not (is_kind(tokens, i, c'/') or is_kind(tokens, i, c'-') or is_kind(tokens, i, c'.')):
            return False
    first, second, year = tokens.at[0].value, tokens.at[2].value, tokens.at[4].value
    if first != second and exists(year, first, second) and exists(year, second, first):
        return False
    if exists(year, first, second):
        return fill_day(day, year, first, second, 5)
    return fill_day(day, year, second, first, 5)


# --- the time of day behind --------------------------------------------------------------------------------------

cdef inline int clock_part(const DateTokens *tokens, int i, uint64_t below) noexcept nogil:
    """Return what stands behind a number of one or two digits that is below; -1 where there is none."""
    return i + 1 if is_number(tokens, i, 1, 2) and tokens.at[i].value < below else -1


cdef inline int skip_zone(const DateTokens *tokens, int i) noexcept nogil:
    """Step over z, +08:00 or -0800."""
    if is_kind(tokens, i, c'z'):
        return i + 1
    if (is_kind(tokens, i, c'+') or is_kind(tokens, i, c'-')) and is_number(tokens, i + 1, 2, 4):
        i += 2
        if is_kind(tokens, i, c':') and is_number(tokens, i + 1, 2, 2):
            return i + 2
    return i


cdef inline int skip_clock(const DateTokens *tokens, int i) noexcept nogil:
    """Step over 12:30, 12:30:15.250 or 12时30分15秒; -1 where what comes is no time."""
    i = clock_part(tokens, i, 24)
    if i < 0 or not (is_kind(tokens, i, c':') or is_kind(tokens, i, HAN_HOUR) or is_kind(tokens, i, HAN_POINT)):
        return -1
    i = clock_part(tokens, i + 1, 60)
    if i < 0:
        return -1
    if is_kind(tokens, i, HAN_MINUTE) and not is_number(tokens, i + 1, 1, 2):
        return i + 1
    if is_kind(tokens, i, c':') or is_kind(tokens, i, HAN_MINUTE):
        i = clock_part(tokens, i + 1, 61)
        if i < 0:
            return -1
        if is_kind(tokens, i, HAN_SECOND):
            return i + 1
        if is_kind(tokens, i, c'.') and is_number(tokens, i + 1, 1, 9):
            i += 2
    return i


cdef inline bint ends_well(const DateTokens *tokens, int i) noexcept nogil:
    """Whether nothing follows a date but a time of day."""
    if i < 1 or i >= tokens.size:
        return i == tokens.size
    if is_kind(tokens, i, c't'):
        i += 1
    elif not tokens.at[i].spaced and not is_kind(tokens, i - 1, HAN_DAY):
        return False
    i = skip_clock(tokens, i)
    return i >= 0 and skip_zone(tokens, i) == tokens.size


cdef inline uint32_t normal_date(const Codes *codes) noexcept nogil:
    """Return yyyymmdd of a folded text, or 0."""
    cdef DateTokens tokens
    cdef Day day
    if codes.cut or not tokenise(codes, &tokens) or tokens.size == 0:
        return 0
    if year_first(&tokens, &day) or in_one(&tokens, &day) or with_month_name(&tokens, &day) or year_last(&tokens, &day):
        return day.year * 10000 + day.month * 100 + day.day if ends_well(&tokens, day.end) else 0
    return 0
