# cython: language_level=3
"""The policy snapshot as a mapped image, for Python. The contract and the layout are in `broker/_native/policy.pyi`.

What must not go in here: the decision itself (decision.pxd), how an image is compiled (`policy/compiler.py`), clocks, counters
(counters.pyx).
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

import hashlib
import sys

from broker._native.cachekey cimport Slice
from cursor cimport Cursor, cursor_over, take_bytes, take_u32, take_u64
from decision cimport DAY_MS, Asked, Moment, Verdict, decide, is_time, local_ms, next_day_ms
from image cimport (
    CREDENTIAL_BYTES,
    MASK_BYTES,
    NOBODY,
    Holding,
    Policy,
    Symbol,
    Term,
    find_consumer,
    find_interface,
    hash_pair,
    hash_text,
    id_of,
    lists_of,
)
from image_check cimport HEADER_SIZE, is_sound

if sys.byteorder != "little":
    raise ImportError("the policy image is mapped as it is, which needs a little-endian machine")

cdef enum:
    FORMAT = 1

MAGIC = b"SDBPOLCY"


cdef int fill(Slice *into, str text) except -1:
    """Point at the UTF-8 that the text object itself keeps; valid as long as the object lives."""
    if text is None:
        raise TypeError("must be str")
    try:
        into.data = <const unsigned char *>PyUnicode_AsUTF8AndSize(text, &into.size)
    except UnicodeEncodeError:
        raise ValueError("is not encodable as UTF-8") from None   # never with the text
    return 0


cdef int64_t time_of(at_ms) except? -1:
    """Return a moment that no sum overflows with."""
    cdef int64_t value = at_ms
    if not is_time(value):
        raise ValueError("a time must be less than 2**53 ms from 1970")
    return value


cdef bint same_id(const Term *one, const Term *other) noexcept nogil:
    return one.id_bytes == other.id_bytes and memcmp(id_of(one), id_of(other), one.id_bytes) == 0


@cython.final
cdef class Image:
    """See `policy.pyi`."""

    def __cinit__(self, data):
        PyObject_GetBuffer(data, &self._memory, PyBUF_SIMPLE)
        self._has_memory = True
        cdef const unsigned char *at = <const unsigned char *>self._memory.buf
        cdef Py_ssize_t size = self._memory.len
        cdef int sound
        if size < HEADER_SIZE or memcmp(at, PyBytes_AS_STRING(MAGIC), 8) != 0:
            raise ValueError("is not a policy image")
        if <uint64_t>at % 8 != 0:
            raise ValueError("does not begin on a multiple of 8")
        self.version = self._header(at, size)
        self.digest = PyBytes_FromStringAndSize(<const char *>at + 32, 32)
        if _digest(memoryview(data).cast("B")) != self.digest:
            raise ValueError("is damaged")
        self._starts = <uint8_t *>calloc(size // 8 + 1, 1)
        if self._starts == NULL:
            raise MemoryError()
        with nogil:
            sound = is_sound(&self.policy, at, size, self._starts)
        if not sound:
            raise ValueError("contradicts itself")

    def __dealloc__(self):
        free(self._starts)
        if self._has_memory:
            PyBuffer_Release(&self._memory)

    cdef uint64_t _header(self, const unsigned char *at, Py_ssize_t size) except? 0:
        cdef Cursor cursor = cursor_over(at, size)
        take_bytes(&cursor, 8)
        if take_u32(&cursor) != FORMAT or take_u32(&cursor) != 0:
            raise ValueError("is of another format")
        cdef uint64_t version = take_u64(&cursor)
        if take_u64(&cursor) != <uint64_t>size:
            raise ValueError("is cut short or has something behind it")
        return version

    def consumer(self, bytes credential not None):
        """See `policy.pyi`."""
        if PyBytes_GET_SIZE(credential) != CREDENTIAL_BYTES:
            raise ValueError(f"credential: must be {CREDENTIAL_BYTES} bytes")
        found = find_consumer(&self.policy, <const unsigned char *>PyBytes_AS_STRING(credential))
        return None if found == NOBODY else found

    def consumer_id(self, uint32_t consumer):
        """See `policy.pyi`."""
        if consumer >= self.policy.consumer_count:
            raise IndexError("no such consumer")
        return self._text(self.policy.consumers[consumer])

    def decide(
        self, consumer, str interface, uint32_t version, str purpose, str matter, str unit, uint32_t says, earliest_ms, latest_ms
    ):
        """See `policy.pyi`."""
        cdef Asked asked
        cdef Moment now
        cdef const Term *term = NULL
        asked.consumer = NOBODY if consumer is None else <uint32_t>consumer
        asked.version, asked.says = version, says
        fill(&asked.interface, interface)
        fill(&asked.purpose, purpose)
        fill(&asked.matter, matter)
        fill(&asked.unit, unit)
        now.earliest_ms, now.latest_ms = time_of(earliest_ms), time_of(latest_ms)
        cdef uint32_t number = find_interface(&self.policy, &asked.interface, version)
        cdef Verdict verdict = decide(&self.policy, &asked, number, &now, &term)
        return int(verdict), None if term == NULL else (<const uint8_t *>term - self.policy.terms) // 8

    def day(self, at_ms):
        """See `policy.pyi`."""
        return local_ms(&self.policy, time_of(at_ms)) // DAY_MS

    def next_day_ms(self, at_ms):
        """See `policy.pyi`."""
        return next_day_ms(&self.policy, time_of(at_ms))

    @property
    def grants(self):
        """See `policy.pyi`."""
        cdef uint64_t at = 0, found = 0
        cdef const Term *term
        cdef const Term *before = NULL
        while at < self.policy.term_bytes:
            term = <const Term *>(self.policy.terms + at)
            found += before == NULL or not same_id(before, term)   # records of one grant stand together
            before = term
            at += term.size
        return found

    def documents(self):
        """See `policy.pyi`."""
        return PyBytes_FromStringAndSize(<const char *>self.policy.documents, self.policy.document_bytes)

    def terms(self):
        """See `policy.pyi`."""
        cdef uint64_t at = 0
        found = []
        while at < self.policy.term_bytes:
            found.append(at // 8)
            at += (<const Term *>(self.policy.terms + at)).size
        return found

    def held_by(self, uint32_t consumer):
        """See `policy.pyi`."""
        cdef uint64_t slot
        cdef const Holding *holding
        cdef uint32_t i
        found = set()
        for slot in range(self.policy.holding_mask + 1):
            holding = &self.policy.holdings[slot]
            if holding.count and holding.consumer == consumer:
                for i in range(holding.count):
                    found.add(self.policy.refs[holding.first + i])
        return sorted(found)

    def term(self, uint64_t ref):
        """See `policy.pyi`."""
        cdef const Term *term = self.at(ref)
        cdef const uint32_t *numbers = lists_of(term)
        lists = []
        for count in (term.purposes, term.matters, term.units):
            lists.append(self._texts(numbers, count))
            numbers += <uint32_t>count
        hours = tuple([(numbers[2 * i], numbers[2 * i + 1]) for i in range(term.hours)])
        numbers += 2 * <uint32_t>term.hours
        fields = self._texts(numbers, term.fields)
        return {
            "id": PyUnicode_DecodeUTF8(<const char *>id_of(term), term.id_bytes, NULL),
            "holder": self._text(term.holder),
            "interface": self._text(term.interface),
            "purposes": lists[0],
            "matters": lists[1],
            "units": lists[2],
            "hours": hours,
            "fields": fields,
            "mask": PyBytes_FromStringAndSize(<const char *>term.mask, MASK_BYTES),
            "legal_basis": self._text(term.legal_basis),
            "embargo_class": self._text(term.embargo_class),
            "valid_from_ms": term.valid_from_ms,
            "valid_until_ms": term.valid_until_ms,
            "rate_per_second": term.rate_per_second,
            "burst": term.burst,
            "quota_per_day": term.quota_per_day,
            "quota_total": term.quota_total,
            "subjects_per_day": term.subjects_per_day,
            "cache_max_age_s": term.cache_max_age_s,
            "flags": term.flags,
            "counter": term.counter,
        }

    cdef const Term *at(self, uint64_t ref) except NULL:
        """Return the term that a ref points at; any other number is refused."""
        if ref >= self.policy.term_bytes // 8 or not self._starts[ref]:
            raise IndexError("no such term")
        return <const Term *>(self.policy.terms + 8 * ref)

    cdef str _text(self, uint32_t symbol):
        cdef const Symbol *found = &self.policy.symbols[symbol]
        return PyUnicode_DecodeUTF8(<const char *>(self.policy.text + found.at), found.size, NULL)

    cdef tuple _texts(self, const uint32_t *numbers, uint32_t count):
        cdef uint32_t i
        return tuple([self._text(numbers[i]) for i in range(count)])


def _digest(view):
    """SHA-256 of an image, its own place in it left out."""
    digest = hashlib.sha256(view[:32])
    digest.update(view[64:])
    return digest.digest()


def symbol_slots(texts):
    """See `policy.pyi`."""
    cdef Slice text
    cdef uint64_t slots = 4, at
    cdef uint32_t i, count = len(texts)
    while slots < 2 * <uint64_t>count:
        slots *= 2
    cdef bytearray table = bytearray(4 * slots)
    cdef uint32_t[::1] view = memoryview(table).cast("I")
    cdef bytes one
    for i in range(count):
        one = texts[i]
        if one is None:
            raise TypeError("must be bytes")
        at = hash_text(<const unsigned char *>PyBytes_AS_STRING(one), PyBytes_GET_SIZE(one)) & (slots - 1)
        while view[at] != 0:
            at = (at + 1) & (slots - 1)
        view[at] = i + 1
    return table


def pair_slots(const uint32_t[::1] ones, const uint32_t[::1] others, const uint32_t[::1] values):
    """See `policy.pyi`."""
    cdef uint64_t slots = 4, at
    cdef Py_ssize_t i
    if others.shape[0] != ones.shape[0] or values.shape[0] != 2 * ones.shape[0]:
        raise ValueError("as many pairs as values are needed")
    while slots < 2 * <uint64_t>ones.shape[0]:
        slots *= 2
    cdef bytearray table = bytearray(16 * slots)
    cdef uint32_t[::1] view = memoryview(table).cast("I")
    for i in range(ones.shape[0]):
        at = hash_pair(ones[i], others[i]) & (slots - 1)
        while view[4 * at + 2] != 0 or view[4 * at + 3] != 0:
            at = (at + 1) & (slots - 1)
        view[4 * at], view[4 * at + 1] = ones[i], others[i]
        view[4 * at + 2], view[4 * at + 3] = values[2 * i], values[2 * i + 1]
    return table


def holding_slots(const uint32_t[::1] consumers, const uint32_t[::1] interfaces, const uint32_t[::1] refs):
    """See `policy.pyi`."""
    cdef uint64_t slots = 4
    cdef Py_ssize_t i, count = refs.shape[0]
    cdef uint32_t first = 0
    if consumers.shape[0] != count or interfaces.shape[0] != count:
        raise ValueError("as many consumers and interfaces as refs are needed")
    while slots < 2 * <uint64_t>count:
        slots *= 2
    cdef bytearray table = bytearray(sizeof(Holding) * slots), sorted_refs = bytearray(4 * count)
    cdef Holding *holdings = <Holding *>PyByteArray_AS_STRING(table)
    cdef uint32_t *into = <uint32_t *>PyByteArray_AS_STRING(sorted_refs)
    with nogil:
        for i in range(count):
            holding_at(holdings, slots - 1, consumers[i], interfaces[i]).count += 1
        for i in range(<Py_ssize_t>slots):
            holdings[i].first = first
            first += holdings[i].count
        for i in range(count):   # `first` counts up while the refs are put in, in the order in which they came
            into[move_first(holding_at(holdings, slots - 1, consumers[i], interfaces[i]))] = refs[i]
        for i in range(<Py_ssize_t>slots):
            holdings[i].first -= holdings[i].count
    return table, sorted_refs


cdef inline Holding *holding_at(Holding *holdings, uint64_t mask, uint32_t consumer, uint32_t interface) noexcept nogil:
    """Return the slot of a pair, claiming an empty one for it."""
    cdef uint64_t at = hash_pair(consumer, interface) & mask
    while holdings[at].count != 0 and (holdings[at].consumer != consumer or holdings[at].interface != interface):
        at = (at + 1) & mask
    holdings[at].consumer, holdings[at].interface = consumer, interface
    return &holdings[at]


cdef inline uint32_t move_first(Holding *holding) noexcept nogil:
    holding.first += 1
    return holding.first - 1
