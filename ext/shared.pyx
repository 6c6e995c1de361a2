# cython: language_level=3
"""Words that the core writes and fronts read, and counts that a front writes and the core reads; both in mapped files.

Each word has one writer at a time and is read and written whole, so that nobody waits for anybody. The contract is in
`broker/_native/shared.pyi`. What must not go in here: files, and what follows from a word.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

cdef extern from "atomic64.h" nogil:
    uint64_t atomic64_load(const uint64_t *word)
    void atomic64_store(uint64_t *word, uint64_t value)

BOARD_BYTES = WORDS * 8
WORD_NAMES = ("snapshot", "trust", "draining", "counters", "core", "alive", "recalled")
assert len(WORD_NAMES) == WORDS
SLOT_BYTES = sizeof(Slot)
SUMS_BYTES = sizeof(Sums)
NAME_BYTES = SLOT_NAME_BYTES
BUCKET_BOUNDS_S = (0.00001, 0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1)
assert len(BUCKET_BOUNDS_S) == BUCKETS - 1

cdef uint64_t[11] BOUNDS_NS
for at, bound in enumerate(BUCKET_BOUNDS_S):
    BOUNDS_NS[at] = round(bound * 1e9)


cdef uint64_t word_of(const uint64_t *words, Word word) noexcept nogil:
    return atomic64_load(&words[<int>word])


@cython.final
cdef class Board:
    """See `shared.pyi`."""

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self._memory, PyBUF_WRITABLE)
        if self._memory.len < WORDS * 8 or <uint64_t>self._memory.buf % 8:
            raise ValueError(f"must be at least {WORDS * 8} bytes, and begin on a multiple of 8")
        self.words = <uint64_t *>self._memory.buf

    def __dealloc__(self):
        if self.words != NULL:
            PyBuffer_Release(&self._memory)

    def __getitem__(self, str name):
        return atomic64_load(&self.words[WORD_NAMES.index(name)])

    def __setitem__(self, str name, uint64_t value):
        atomic64_store(&self.words[WORD_NAMES.index(name)], value)


@cython.final
cdef class Tally:
    """See `shared.pyi`."""

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self._memory, PyBUF_WRITABLE)
        cdef Py_ssize_t rest = self._memory.len - <Py_ssize_t>sizeof(Sums)
        if rest < 0 or rest % <Py_ssize_t>sizeof(Slot) or <uint64_t>self._memory.buf % 8:
            raise ValueError("must be sums and whole slots, and begin on a multiple of 8")
        self.size = rest // <Py_ssize_t>sizeof(Slot)
        self.sums = <Sums *>self._memory.buf
        self.slots = <Slot *>(<unsigned char *>self._memory.buf + sizeof(Sums))

    def __dealloc__(self):
        if self.sums != NULL:
            PyBuffer_Release(&self._memory)

    def name(self, Py_ssize_t slot):
        """See `shared.pyi`."""
        self._check(slot)
        return (<bytes>self.slots[slot].name[:SLOT_NAME_BYTES]).rstrip(b"\0")

    def set_name(self, Py_ssize_t slot, bytes name not None):
        """See `shared.pyi`."""
        self._check(slot)
        if not 0 < len(name) <= SLOT_NAME_BYTES:
            raise ValueError(f"a name has 1 to {SLOT_NAME_BYTES} bytes")
        memset(self.slots[slot].name, 0, SLOT_NAME_BYTES)
        memcpy(self.slots[slot].name, <const char *>name, len(name))

    def counts(self, Py_ssize_t slot):
        """See `shared.pyi`."""
        self._check(slot)
        return atomic64_load(&self.slots[slot].found), atomic64_load(&self.slots[slot].not_found)

    def put(self, Py_ssize_t slot, uint64_t count, uint64_t other):
        """See `shared.pyi`."""
        self._check(slot)
        atomic64_store(&self.slots[slot].not_found, other)
        atomic64_store(&self.slots[slot].found, count)

    def times(self):
        """See `shared.pyi`."""
        buckets = [atomic64_load(&self.sums.buckets[i]) for i in range(BUCKETS)]
        return atomic64_load(&self.sums.answers), atomic64_load(&self.sums.busy_ns), buckets

    cdef int _check(self, Py_ssize_t slot) except -1:
        if not 0 <= slot < self.size:
            raise IndexError("no such slot")
        return 0

    cdef void add(self, uint64_t answers, uint64_t each_ns) noexcept nogil:
        """Count answers that took so long each."""
        cdef int at = 0
        while at < BUCKETS - 1 and each_ns > BOUNDS_NS[at]:
            at += 1
        atomic64_store(&self.sums.answers, self.sums.answers + answers)
        atomic64_store(&self.sums.busy_ns, self.sums.busy_ns + answers * each_ns)
        atomic64_store(&self.sums.buckets[at], self.sums.buckets[at] + answers)
