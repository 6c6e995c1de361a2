# cython: language_level=3
"""Names of companies for comparison: the whole without spaces and quotation marks, and its parts as spans of that text.

place + core + (集团) + legal form + branch. A place that opens the name (or stands in brackets in it) is told apart where it is
in the list of cities or ends as an administrative unit does; a branch is what stands behind the legal form: it is not its
parent. What must not go in here: likeness, lists of trades.
"""

from libc.stdint cimport uint8_t, uint32_t

from normal_tables cimport Tables, is_place, is_sign
from normal_text cimport MIDDLE_DOT, Codes, is_ideograph
from normal_words cimport (
    FORM_NONE,
    branch_words,
    bracketed_places,
    company_forms,
    english_forms,
    group_words,
    no_places,
    parts_of_companies,
    place_ends,
    word,
    word_at,
    word_before,
)

cdef enum:                      # flags of a company's name
    COMPANY_GROUP = 1           # 集团 stood before its legal form
    COMPANY_BRANCH = 2          # it is a part of another
    COMPANY_REMARK = 4          # a remark in brackets stood behind its legal form
    LEAST_CORE = 2              # so many characters stay when a place is taken off

cdef struct Span:
    int at
    int size

cdef struct NormalCompany:
    Codes text                  # without spaces and signs; brackets stay, as round ones
    Codes core                  # without place, 集团, legal form, branch and brackets
    Span place                  # of `text`
    Span branch                 # of `text`
    uint8_t form
    uint8_t flags


cdef inline void compact(const Tables *tables, Codes *codes) noexcept nogil:
    """Drop signs but brackets and &, in place; one space stays between what is not ideographs."""
    cdef bint spaced = False
    cdef int i, kept = 0
    cdef uint32_t code
    for i in range(codes.size):
        code = codes.at[i]
        if code == c' ' or code == c'-' or code == c'/' or code == c',' or code == c'.' or code == MIDDLE_DOT:
            spaced = True
            continue
        if code != c'(' and code != c')' and code != c'&' and is_sign(tables, code):
            continue
        if spaced and kept > 0 and not is_ideograph(code) and not is_ideograph(codes.at[kept - 1]) \
                and code != c')' and codes.at[kept - 1] != c'(':
            codes.at[kept] = c' '       # what is written never overtakes what is read: the space was read already
            kept += 1
        codes.at[kept] = code
        kept += 1
        spaced = False
    codes.size = kept


# --- places ------------------------------------------------------------------------------------------------------

cdef inline int known_place(const Tables *tables, const uint32_t *codes, int count) noexcept nogil:
    """Return how many characters at the beginning are a place of the list, with 省 or 市 if that follows; 0: none."""
    cdef const word *end
    cdef int size
    for size in range(min(4, count), 1, -1):
        if is_place(tables, codes, size):
            end = word_at(place_ends, codes + size, count - size)
            return size + end.size if end != NULL and end.kind == 1 else size
    return 0


cdef inline int told_by_end(const uint32_t *codes, int count, int kind) noexcept nogil:
    """Return how many characters at the beginning are a unit by its end (云鹤市); kind 2 also takes 区, 镇, 乡 and 旗."""
    cdef const word *end
    cdef int size
    for size in range(2 if kind == 1 else 1, min(5, count)):
        end = word_at(place_ends, codes + size, count - size)
        if end != NULL and end.kind <= kind and word_before(no_places, codes, size + end.size) == NULL:
            return size + end.size
    return 0


cdef inline int place_size(const Tables *tables, const uint32_t *codes, int count) noexcept nogil:
    """Return how many characters at the beginning are places, one within another."""
    cdef int at = 0, more
    while True:
        more = known_place(tables, codes + at, count - at)
        if more == 0:
            more = told_by_end(codes + at, count - at, 1 if at == 0 else 2)
        if more == 0 or count - at - more < LEAST_CORE:
            return at
        at += more


# --- legal forms -------------------------------------------------------------------------------------------------

cdef inline const word *find_form(const Codes *text, Span *span) noexcept nogil:
    """Find the last legal form; 公司 of 分公司 is none."""
    cdef const word *found = NULL
    cdef const word *form
    cdef int i = 0
    span.at = text.size
    span.size = 0
    while i < text.size:
        form = word_at(company_forms, &text.at[i], text.size - i)
        if form == NULL or word_before(parts_of_companies, text.at, i) != NULL:
            i += 1
            continue
        found = form
        span.at = i
        span.size = form.size
        i += form.size
    return found


cdef inline const word *find_english_form(const Codes *text, Span *span) noexcept nogil:
    cdef const word *form = word_before(english_forms, text.at, text.size)
    if form != NULL:
        span.at = text.size - form.size
        span.size = form.size
    return form


cdef inline bint is_remark(const Codes *text, int at) noexcept nogil:
    """Whether nothing but something in brackets stands from here on."""
    return at < text.size and text.at[at] == c'(' and text.at[text.size - 1] == c')'


cdef inline void judge_behind(NormalCompany *name, int end) noexcept nogil:
    """What stands behind the legal form is a remark or a branch."""
    if end >= name.text.size:
        return
    if is_remark(&name.text, end):
        name.flags |= COMPANY_REMARK
        return
    name.flags |= COMPANY_BRANCH
    name.branch.at = end
    name.branch.size = name.text.size - end


# --- the core ----------------------------------------------------------------------------------------------------

cdef inline int closing_bracket(const Codes *text, int opening, int end) noexcept nogil:
    cdef int i = opening + 1
    while i < end and text.at[i] != c')' and text.at[i] != c'(':
        i += 1
    return i if i < end and text.at[i] == c')' else -1


cdef inline bint is_bracketed_place(const Tables *tables, const uint32_t *codes, int count) noexcept nogil:
    """Whether all of it is one place."""
    cdef const word *country = word_at(bracketed_places, codes, count)
    if country != NULL and country.size == count:
        return True
    return count > 1 and (known_place(tables, codes, count) == count or told_by_end(codes, count, 1) == count)


cdef inline void write_core(const Tables *tables, NormalCompany *name, int start, int end) noexcept nogil:
    """Copy without brackets; a place in brackets goes, and is the name's place if it has no other."""
    cdef int i = start, closing
    name.core.size = 0
    name.core.cut = False
    while i < end:
        closing = closing_bracket(&name.text, i, end) if name.text.at[i] == c'(' else -1
        if closing > 0 and is_bracketed_place(tables, &name.text.at[i + 1], closing - i - 1):
            if name.place.size == 0:
                name.place.at = i + 1
                name.place.size = closing - i - 1
            i = closing + 1
            continue
        if name.text.at[i] != c'(' and name.text.at[i] != c')':
            name.core.at[name.core.size] = name.text.at[i]
            name.core.size += 1
        i += 1


cdef inline int without_group(NormalCompany *name, int end) noexcept nogil:
    cdef const word *group = word_before(group_words, name.text.at, end)
    if group == NULL or end - group.size < LEAST_CORE:
        return end
    name.flags |= COMPANY_GROUP
    return end - group.size


cdef inline void normal_company(const Tables *tables, NormalCompany *name, const Codes *codes) noexcept nogil:
    """Fill in a company's name from a folded text. The core is never empty where the text is not."""
    cdef Span form_at
    cdef const word *form
    cdef int stem
    name.text = codes[0]
    name.flags = 0
    name.place.at = name.place.size = name.branch.at = name.branch.size = 0
    compact(tables, &name.text)
    form = find_form(&name.text, &form_at)
    if form == NULL:
        form = find_english_form(&name.text, &form_at)
    if form != NULL and form_at.at == 0:
        form = NULL                     # nothing before it: then it is the name
        form_at.at = name.text.size
    name.form = form.kind if form != NULL else FORM_NONE
    if form != NULL:
        judge_behind(name, form_at.at + form_at.size)
    elif word_before(branch_words, name.text.at, name.text.size) != NULL:
        name.flags |= COMPANY_BRANCH
    stem = without_group(name, form_at.at)
    name.place.size = place_size(tables, name.text.at, stem)
    write_core(tables, name, name.place.size, stem)
    if name.core.size == 0:
        name.place.size = 0
        name.core = name.text
