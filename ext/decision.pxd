# cython: language_level=3
"""The decision: which grant covers a question, if any. Pure C over the image; denied by default.

The oracle is a truth table, `tests/oracle/policy.py`. What must not go in here: limits (counters.pyx), clocks, and who the
caller is.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from broker._native.cachekey cimport Slice
from image cimport (
    DEVICE_REQUIRED,
    NOBODY,
    OPERATOR_REQUIRED,
    VERDICT_ONLY,
    Holding,
    Policy,
    Term,
    find_holding,
    find_symbol,
    lists_of,
)

cdef enum:
    DAY_MS = 86_400_000
    MONDAY_MS = 4 * 86_400_000     # 5 January 1970 was a Monday


cdef enum Says:            # what a call brings with it
    SAYS_OPERATOR = 1
    SAYS_DEVICE = 2
    SAYS_VERDICT = 4       # it asks for a verdict, not for data


cdef struct Asked:
    uint32_t consumer      # as identified; NOBODY is granted nothing
    Slice interface
    uint32_t version       # 0: the current one
    Slice purpose
    Slice matter
    Slice unit
    uint32_t says


cdef struct Moment:
    int64_t earliest_ms    # what begins is judged by this one
    int64_t latest_ms      # and what ends by this one


# In order: how far the grant that comes nearest to covering the call gets.
cdef enum Verdict:
    NO_GRANT
    OUTSIDE_HOURS
    ONLY_VERDICT
    NEEDS_OPERATOR
    NEEDS_DEVICE
    ALLOWED


cdef inline bint holds(const uint32_t *list, uint32_t count, uint32_t symbol) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        if list[i] == symbol:
            return True
    return False


cdef inline bint is_time(int64_t at_ms) noexcept nogil:
    """Whether a moment is so near to 1970 that no sum with it overflows. Who brings one here from outside asks this first."""
    return -(<int64_t>1 << 53) < at_ms < (<int64_t>1 << 53)


cdef inline uint32_t offset_at(const Policy *policy, int64_t at_ms) noexcept nogil:
    """Return which offset of the time zone holds at a moment, by halving; the first also holds before it begins."""
    cdef uint32_t low = 0, high = policy.offset_count, middle
    while high - low > 1:
        middle = low + (high - low) // 2
        if policy.offsets[middle].from_ms <= at_ms:
            low = middle
        else:
            high = middle
    return low


cdef inline int64_t local_ms(const Policy *policy, int64_t at_ms) noexcept nogil:
    """Return a moment as the clock on the wall shows it in the time zone of the grants."""
    return at_ms + policy.offsets[offset_at(policy, at_ms)].offset_ms


cdef inline int64_t next_day_ms(const Policy *policy, int64_t at_ms) noexcept nogil:
    """Return the first moment after this one that lies in a later day; days of 23 and 25 hours have their own length."""
    cdef uint32_t i = offset_at(policy, at_ms)
    cdef int64_t midnight = (local_ms(policy, at_ms) // DAY_MS + 1) * DAY_MS
    cdef int64_t ends = midnight - policy.offsets[i].offset_ms
    while i + 1 < policy.offset_count and ends >= policy.offsets[i + 1].from_ms:
        i += 1
        ends = max(midnight - policy.offsets[i].offset_ms, policy.offsets[i].from_ms)
    return ends


cdef inline uint32_t minute_of_week(int64_t local) noexcept nogil:
    return <uint32_t>((local - MONDAY_MS) % (7 * DAY_MS) // 60_000)   # Cython's remainder, which is never negative


cdef inline bint within_hours(const Policy *policy, const uint32_t *spans, uint32_t count, int64_t at_ms) noexcept nogil:
    cdef uint32_t i, minute
    if count == 0:
        return True
    minute = minute_of_week(local_ms(policy, at_ms))
    for i in range(count):
        if spans[2 * i] <= minute < spans[2 * i + 1]:
            return True
    return False


cdef inline Verdict examine(
    const Policy *policy, const Term *term, uint32_t purpose, uint32_t matter, uint32_t unit, uint32_t says, const Moment *now
) noexcept nogil:
    """Tell how far one grant gets towards covering the call."""
    cdef const uint32_t *purposes = lists_of(term)
    cdef const uint32_t *matters = purposes + term.purposes
    cdef const uint32_t *units = matters + term.matters
    cdef const uint32_t *hours = units + term.units
    if now.earliest_ms < term.valid_from_ms or now.latest_ms >= term.valid_until_ms or term.fields == 0:
        return NO_GRANT
    if not holds(purposes, term.purposes, purpose):
        return NO_GRANT
    if term.matters != 0 and not holds(matters, term.matters, matter):
        return NO_GRANT
    if term.units != 0 and not holds(units, term.units, unit):
        return NO_GRANT
    if not within_hours(policy, hours, term.hours, now.earliest_ms):
        return OUTSIDE_HOURS
    if not within_hours(policy, hours, term.hours, now.latest_ms):
        return OUTSIDE_HOURS
    if term.flags & VERDICT_ONLY and not says & SAYS_VERDICT:
        return ONLY_VERDICT
    if term.flags & OPERATOR_REQUIRED and not says & SAYS_OPERATOR:
        return NEEDS_OPERATOR
    if term.flags & DEVICE_REQUIRED and not says & SAYS_DEVICE:
        return NEEDS_DEVICE
    return ALLOWED


cdef inline Verdict decide(
    const Policy *policy, const Asked *asked, uint32_t interface, const Moment *now, const Term **term
) noexcept nogil:
    """Find the first grant, in order of its id, that covers the call. Denied by default."""
    cdef const Holding *holding = find_holding(policy, asked.consumer, interface)
    cdef uint32_t purpose, matter, unit, i
    cdef Verdict verdict, nearest = NO_GRANT
    cdef const Term *candidate
    term[0] = NULL
    if holding == NULL:
        return NO_GRANT
    purpose = find_symbol(policy, &asked.purpose)
    matter = find_symbol(policy, &asked.matter) if asked.matter.size > 0 else <uint32_t>NOBODY
    unit = find_symbol(policy, &asked.unit) if asked.unit.size > 0 else <uint32_t>NOBODY
    for i in range(holding.count):
        candidate = <const Term *>(policy.terms + 8 * <uint64_t>policy.refs[holding.first + i])
        verdict = examine(policy, candidate, purpose, matter, unit, asked.says, now)
        if verdict == ALLOWED:
            term[0] = candidate
            return ALLOWED
        if verdict > nearest:
            nearest = verdict
    return nearest
