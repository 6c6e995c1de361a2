# cython: language_level=3
"""Counters of grants in memory that every process of a broker shares. The contract is in `broker/_native/counters.pyi`.

A line of 64 bytes a grant, found by the key in its term. Rates are a virtual clock (GCRA, ITU-T I.371); quotas are spent from
blocks that the core has reserved in the control plane. Words change by compare-and-swap only, so a process may die between any
two instructions and what is left is a whole line. What must not go in here: reserving (`policy/quota.py`), clocks.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from broker._native.cachekey cimport Slice
from broker._native.policy cimport Image, time_of
from decision cimport ALLOWED, DAY_MS, Asked, Moment, Verdict, decide, local_ms
from image cimport NOBODY, Policy, Term, find_interface

cdef extern from "atomic64.h" nogil:
    uint64_t atomic64_load(const uint64_t *word)
    void atomic64_store(uint64_t *word, uint64_t value)
    bint atomic64_swap(uint64_t *word, uint64_t expected, uint64_t wanted)

cdef uint64_t LEFT_MASK = (<uint64_t>1 << LEFT_BITS) - 1
cdef int64_t MOST_DAYS = 1 << (64 - LEFT_BITS)
cdef int64_t MOST_NS = <int64_t>1 << 62            # so are a term's, so that no sum of them overflows
cdef uint64_t LEAP_NS = <uint64_t>3600 * 1_000_000_000   # more than processes differ by in what they take for now


cdef inline Line *line_of(Line *lines, uint64_t mask, uint64_t key) noexcept nogil:
    """Return the line of a key, making it where there is none; NULL when every line is taken."""
    cdef uint64_t at = key & mask
    cdef uint64_t tried, found
    for tried in range(mask + 1):
        found = atomic64_load(&lines[at].key)
        if found == 0:
            if atomic64_swap(&lines[at].key, 0, key):
                return &lines[at]
            found = atomic64_load(&lines[at].key)   # somebody else has just taken it, maybe for the same key
        if found == key:
            return &lines[at]
        at = (at + 1) & mask
    return NULL


cdef Line *existing_line(Line *lines, uint64_t mask, uint64_t key) noexcept nogil:
    """Return the line of a key; NULL where there is none."""
    cdef uint64_t at = key & mask
    cdef uint64_t tried, found
    for tried in range(mask + 1):
        found = atomic64_load(&lines[at].key)
        if found == key or found == 0:
            return &lines[at] if found == key else NULL
        at = (at + 1) & mask
    return NULL


cdef inline uint64_t spend_rate(Line *line, const Term *term, uint64_t now_ns) noexcept nogil:
    """Take one call off the rate; returns 0, or in how many nanoseconds one more is allowed."""
    cdef uint64_t held, begins, whole
    while True:
        held = atomic64_load(&line.whole_at_ns)
        if held > now_ns + term.burst_ns + LEAP_NS:   # no clock of ours wrote that: as if the burst were used up now
            atomic64_swap(&line.whole_at_ns, held, now_ns + term.burst_ns)
            continue
        begins = held if held > now_ns else now_ns
        whole = begins + term.interval_ns
        if whole - now_ns > term.burst_ns:
            return whole - now_ns - term.burst_ns
        if atomic64_swap(&line.whole_at_ns, held, whole):
            return 0


cdef inline bint spend_day(Line *line, uint64_t day) noexcept nogil:
    cdef uint64_t held
    while True:
        held = atomic64_load(&line.day_left)
        if held >> LEFT_BITS != day or held & LEFT_MASK == 0:
            return False
        if atomic64_swap(&line.day_left, held, held - 1):
            return True


cdef inline bint spend_total(Line *line) noexcept nogil:
    cdef uint64_t held
    while True:
        held = atomic64_load(&line.total_left)
        if held == 0:
            return False
        if atomic64_swap(&line.total_left, held, held - 1):
            return True


cdef inline void add(uint64_t *word, uint64_t amount) noexcept nogil:
    cdef uint64_t held = atomic64_load(word)
    while not atomic64_swap(word, held, held + amount):
        held = atomic64_load(word)


cdef inline void give_day(Line *line, uint64_t day, uint64_t amount) noexcept nogil:
    """Put calls of a day into its word; what was left of another day, or is more than fits, is dropped: never too many."""
    cdef uint64_t held, left
    while True:
        held = atomic64_load(&line.day_left)
        left = held & LEFT_MASK if held >> LEFT_BITS == day else 0
        left = amount + min(left, LEFT_MASK - amount)
        if atomic64_swap(&line.day_left, held, (day << LEFT_BITS) | left):
            return


cdef inline void give_back_day(Line *line, uint64_t day) noexcept nogil:
    """Undo `spend_day`, unless another day has begun: what was given for that one must not be dropped for this."""
    cdef uint64_t held = atomic64_load(&line.day_left)
    while held >> LEFT_BITS == day and held & LEFT_MASK != LEFT_MASK:
        if atomic64_swap(&line.day_left, held, held + 1):
            return
        held = atomic64_load(&line.day_left)


cdef Spent spend(Line *line, const Term *term, uint64_t now_ns, uint64_t day, uint64_t *wait_ns) noexcept nogil:
    """Take one call off every limit of a grant, or off none."""
    wait_ns[0] = spend_rate(line, term, now_ns)
    if wait_ns[0] != 0:
        return RATE_USED_UP
    if term.quota_per_day != 0 and not spend_day(line, day):
        add(&line.whole_at_ns, -term.interval_ns)
        return DAY_USED_UP
    if term.quota_total != 0 and not spend_total(line):
        add(&line.whole_at_ns, -term.interval_ns)
        if term.quota_per_day != 0:
            give_back_day(line, day)
        return TOTAL_USED_UP
    return SPENT


cdef Left left_of(Line *line, const Term *term, uint64_t now_ns, uint64_t day) noexcept nogil:
    """Tell what is left of a term's limits: the blocks, and what nobody has reserved."""
    cdef Left left
    cdef uint64_t held = atomic64_load(&line.day_left), beyond = atomic64_load(&line.day_beyond)
    cdef uint64_t whole = atomic64_load(&line.whole_at_ns)
    cdef uint64_t behind = min(whole - now_ns, term.burst_ns) if whole > now_ns else 0
    left.burst = (term.burst_ns - behind) // term.interval_ns
    left.today = (held & LEFT_MASK if held >> LEFT_BITS == day else 0) + (beyond & LEFT_MASK if beyond >> LEFT_BITS == day else 0)
    left.total = atomic64_load(&line.total_left) + atomic64_load(&line.total_beyond)
    return left


cdef bint has_moved(Line *line) noexcept nogil:
    return atomic64_load(&line.moved) != 0


cdef inline uint64_t take_all(uint64_t *word) noexcept nogil:
    cdef uint64_t held = atomic64_load(word)
    while not atomic64_swap(word, held, 0):
        held = atomic64_load(word)
    return held


cdef inline bint adopt_line(Line *into, uint64_t into_mask, Line *other, uint64_t mask, const Term *term) noexcept nogil:
    """Move the line of a term, if there is one; False when there is no room for it. What is moved cannot be spent twice: other
    processes that still have the old memory find its blocks empty, and know by `moved` to look for the new one."""
    cdef Line *found = existing_line(other, mask, term.counter)
    cdef Line *made
    if found == NULL or has_moved(found):
        return True
    made = line_of(into, into_mask, term.counter)
    if made == NULL:
        return False
    atomic64_store(&found.moved, 1)
    made.whole_at_ns, made.day_beyond, made.total_beyond = found.whole_at_ns, found.day_beyond, found.total_beyond
    made.day_left = take_all(&found.day_left)
    made.total_left = take_all(&found.total_left)
    return True


# --- Python's face -------------------------------------------------------------------------------------------------

cdef int check_now(int64_t now_ns, int64_t day) except -1:
    if not 0 <= now_ns < MOST_NS or not 0 <= day < MOST_DAYS:
        raise ValueError(f"now_ns must be below 2**62 and day below {MOST_DAYS}, and neither negative")
    return 0


@cython.final
cdef class Counters:
    """See `counters.pyi`."""

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self._memory, PyBUF_WRITABLE)
        self._open = True
        cdef uint64_t count = <uint64_t>self._memory.len // LINE_BYTES
        if count == 0 or count & (count - 1) != 0 or self._memory.len % LINE_BYTES or <uint64_t>self._memory.buf % 8:
            raise ValueError(f"must be a power of two lines of {LINE_BYTES} bytes each")
        self._lines = <Line *>self._memory.buf
        self._mask = count - 1

    def __dealloc__(self):
        if self._open:
            PyBuffer_Release(&self._memory)

    def close(self):
        """See `counters.pyi`."""
        if self._users:
            raise BufferError("the counters are in use")
        if self._open:
            self._open = False
            PyBuffer_Release(&self._memory)

    cdef int _check_open(self) except -1:
        if not self._open:
            raise ValueError("the counters are closed")
        return 0

    cdef Line *_line(self, const Term *term) except NULL:
        self._check_open()
        cdef Line *line = line_of(self._lines, self._mask, term.counter)
        if line == NULL:
            raise MemoryError("every line is taken")
        return line

    def spend(self, Image image not None, uint64_t ref, int64_t now_ns, int64_t day):
        """See `counters.pyi`."""
        check_now(now_ns, day)
        cdef const Term *term = image.at(ref)
        cdef uint64_t wait_ns
        cdef Spent spent = spend(self._line(term), term, now_ns, day, &wait_ns)
        return int(spent), wait_ns

    def refund(self, Image image not None, uint64_t ref, int64_t day):
        """See `counters.pyi`."""
        check_now(0, day)
        cdef const Term *term = image.at(ref)
        cdef Line *line = self._line(term)
        add(&line.whole_at_ns, -term.interval_ns)
        if term.quota_per_day != 0:
            give_back_day(line, <uint64_t>day)
        if term.quota_total != 0:
            add(&line.total_left, 1)

    def deposit(self, Image image not None, uint64_t ref, int64_t day, uint64_t amount, uint64_t beyond):
        """See `counters.pyi`."""
        check_now(0, day)
        if amount > LEFT_MASK or beyond > LEFT_MASK:
            raise ValueError(f"a quota must be at most {LEFT_MASK}")
        cdef Line *line = self._line(image.at(ref))
        if day:
            give_day(line, day, amount)
            atomic64_store(&line.day_beyond, (<uint64_t>day << LEFT_BITS) | beyond)
        else:
            add(&line.total_left, amount)
            atomic64_store(&line.total_beyond, beyond)

    def adopt(self, Counters other not None, Image image not None):
        """See `counters.pyi`."""
        self._check_open()
        other._check_open()
        cdef uint64_t at = 0
        cdef bint roomy = True
        cdef const Policy *policy = &image.policy
        with nogil:   # nobody closes either meanwhile: they have no other user
            while at < policy.term_bytes and roomy:
                roomy = adopt_line(self._lines, self._mask, other._lines, other._mask, <const Term *>(policy.terms + at))
                at += (<const Term *>(policy.terms + at)).size
        if not roomy:
            raise MemoryError("every line is taken")

    def remaining(self, Image image not None, uint64_t ref, int64_t now_ns, int64_t day):
        """See `counters.pyi`."""
        check_now(now_ns, day)
        cdef const Term *term = image.at(ref)
        cdef Line *line = self._line(term)
        cdef Left left = left_of(line, term, <uint64_t>now_ns, <uint64_t>day)
        return left.burst, left.today if term.quota_per_day else None, left.total if term.quota_total else None

    def settle(self):
        """See `counters.pyi`."""
        cdef uint64_t at
        self._check_open()
        for at in range(self._mask + 1):
            atomic64_store(&self._lines[at].moved, 0)

    def lines(self):
        """See `counters.pyi`."""
        cdef uint64_t at, taken = 0
        self._check_open()
        for at in range(self._mask + 1):
            taken += atomic64_load(&self._lines[at].key) != 0
        return taken, self._mask + 1


@cython.final
@cython.no_gc_clear        # the texts stay as long as what points into them
cdef class Questions:
    """See `counters.pyi`."""

    cdef Asked *_asked
    cdef Py_ssize_t _count
    cdef list _texts           # that the slices point into: the questions themselves may be changed by who made them

    def __cinit__(self, list questions not None):
        questions = list(questions)
        self._texts = []
        self._count = len(questions)
        self._asked = <Asked *>PyMem_Calloc(self._count + 1, sizeof(Asked))
        if self._asked == NULL:
            raise MemoryError()
        for i, (consumer, interface, version, purpose, matter, unit, says) in enumerate(questions):
            self._asked[i].consumer = NOBODY if consumer is None else <uint32_t>consumer
            self._asked[i].version, self._asked[i].says = version, says
            self._point(&self._asked[i].interface, interface)
            self._point(&self._asked[i].purpose, purpose)
            self._point(&self._asked[i].matter, matter)
            self._point(&self._asked[i].unit, unit)

    def __dealloc__(self):
        PyMem_Free(self._asked)

    def __len__(self):
        return self._count

    cdef int _point(self, Slice *into, bytes text) except -1:
        if text is None:
            raise TypeError("must be bytes")
        self._texts.append(text)
        into.data = <const unsigned char *>PyBytes_AS_STRING(text)
        into.size = PyBytes_GET_SIZE(text)
        return 0


cdef unsigned char settle(
    const Policy *policy, Line *lines, uint64_t mask, const Asked *asked, const Moment *now, uint64_t now_ns, uint64_t day
) noexcept nogil:
    """Decide one question and spend: what a front does for every call."""
    cdef const Term *term
    cdef uint64_t wait_ns
    cdef Line *line
    cdef Spent spent
    cdef Verdict verdict = decide(policy, asked, find_interface(policy, &asked.interface, asked.version), now, &term)
    if verdict != ALLOWED:
        return <unsigned char>verdict
    line = line_of(lines, mask, term.counter)
    spent = spend(line, term, now_ns, day, &wait_ns) if line != NULL else NO_LINE
    return <unsigned char>ALLOWED if spent == SPENT else <unsigned char>(16 + <int>spent)


def decide_and_spend(
    Image image not None, Counters counters not None, Questions questions not None, earliest_ms, latest_ms, int64_t now_ns,
    bytearray verdicts not None,
):
    """See `counters.pyi`."""
    cdef unsigned char[::1] into = verdicts
    cdef Moment now
    cdef Py_ssize_t i
    now.earliest_ms, now.latest_ms = time_of(earliest_ms), time_of(latest_ms)
    cdef int64_t day = local_ms(&image.policy, now.latest_ms) // DAY_MS
    check_now(now_ns, day)
    counters._check_open()
    if into.shape[0] != questions._count:
        raise ValueError("as many verdicts as questions are needed")
    counters._users += 1
    try:
        with nogil:
            for i in range(questions._count):
                into[i] = settle(&image.policy, counters._lines, counters._mask, &questions._asked[i], &now, now_ns, day)
    finally:
        counters._users -= 1
