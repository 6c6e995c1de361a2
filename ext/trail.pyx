# cython: language_level=3
"""What a front answers itself is put down before it leaves, in the same words as the core does (`audit/accesses.py`, the oracle).

What must not go in here: how records are encoded and become durable (journal.pyx), what is answered (hot.pyx).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from broker._native.cachekey cimport KEY_BYTES, Slice
from broker._native.journal cimport Writer
from broker._native.session cimport now_ns
from broker._native.wire cimport FROM_CACHE
from decimal cimport put_decimal
from image cimport NOBODY, Policy, Term, id_of, lists_of
from journal_files cimport JOURNAL_OK, JOURNAL_OPEN
from journal_record cimport (
    FIELD_ANSWER_DIGEST, FIELD_CASE_ID, FIELD_CONSUMER, FIELD_DEVICE, FIELD_EMBARGO, FIELD_GRANT, FIELD_INTERFACE, FIELD_KIND,
    FIELD_MATTER, FIELD_METHOD, FIELD_MONO_NS, FIELD_OPERATOR, FIELD_OUTCOME, FIELD_PURPOSE, FIELD_REQUEST_DIGEST, FIELD_REQUEST_ID,
    FIELD_SNAPSHOT_VERSION, FIELD_SOURCE, FIELD_SUBJECT, FIELD_TOOK_US, FIELD_VERSION, KIND_OUTCOME, JournalRecord,
)
from keyed_digest cimport KEYED_BYTES, keyed_close, keyed_digest, keyed_open

cdef enum:
    MOST_NAMED = 256           # fields of an interface
    DIGEST_BYTES = 32          # SHA-256


@cython.final
cdef class Trail:
    """See `trail.pyi`."""

    def __cinit__(self, Writer writer not None, str stream not None, *, bytes key not None, bytes subject not None,
                  bytes request not None):
        self.writer = writer
        self._name = f"{stream}.".encode()
        if len(self._name) > 32:
            raise ValueError("stream: is too long")
        if not open_keyed(&self.subjects, key, subject) or not open_keyed(&self.requests, key, request):
            raise ValueError("key: is too long")

    def __dealloc__(self):
        keyed_close(&self.subjects)
        keyed_close(&self.requests)

    cdef bint is_open(self) noexcept:
        return self.writer.state_now() == JOURNAL_OPEN

    cdef bint put(self, const Policy *policy, const Given *given, uint64_t *sequence) noexcept:
        cdef JournalRecord record
        cdef Slice names[MOST_NAMED]
        cdef uint8_t digests[2][KEYED_BYTES]
        memset(&record, 0, sizeof(record))
        fill_who(&record, policy, given)
        fill_what(&record, given)
        record.names = names
        if given.found:
            record.name_count = name_fields(names, policy, given)
        if given.subject.size:
            if not keyed_digest(&self.subjects, given.subject.data, <size_t>given.subject.size, digests[0]):
                return False
            point(&record, FIELD_SUBJECT, digests[0], KEYED_BYTES)
        if given.key != NULL:
            if not keyed_digest(&self.requests, given.key, KEY_BYTES, digests[1]):
                return False
            point(&record, FIELD_REQUEST_DIGEST, digests[1], KEYED_BYTES)
        return self.writer.put(&record, sequence) == JOURNAL_OK

    cdef Py_ssize_t put_identifier(self, uint8_t *at, uint8_t tag, uint64_t sequence) noexcept:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self._name)
        memcpy(at + 2, PyBytes_AS_STRING(self._name), size)
        size += <Py_ssize_t>put_decimal(<char *>at + 2 + size, sequence)
        at[0], at[1] = tag, <uint8_t>size
        return size + 2


cdef bint open_keyed(Keyed *keyed, bytes key, bytes purpose) noexcept:
    cdef Slice of
    of.data, of.size = <const unsigned char *>PyBytes_AS_STRING(purpose), PyBytes_GET_SIZE(purpose)
    return keyed_open(keyed, <const uint8_t *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), &of)


# --- the record ----------------------------------------------------------------------------------------------------

cdef inline void point(JournalRecord *record, int field, const void *data, Py_ssize_t size) noexcept:
    record.texts[field].data, record.texts[field].size = <const unsigned char *>data, size


cdef inline void point_symbol(Slice *into, const Policy *policy, uint32_t symbol) noexcept:
    if symbol != NOBODY and symbol < policy.symbol_count:
        into.data, into.size = policy.text + policy.symbols[symbol].at, <Py_ssize_t>policy.symbols[symbol].size


cdef inline void fill_who(JournalRecord *record, const Policy *policy, const Given *given) noexcept:
    """Who asks, by which grant, on whose behalf."""
    cdef const Term *term = given.term
    point_symbol(&record.texts[FIELD_CONSUMER], policy, policy.consumers[given.consumer])
    point_symbol(&record.texts[FIELD_EMBARGO], policy, term.embargo_class)
    point_symbol(&record.texts[FIELD_INTERFACE], policy, policy.interfaces[given.interface].symbol)
    point(record, FIELD_GRANT, id_of(term), term.id_bytes)
    record.numbers[FIELD_VERSION] = policy.interfaces[given.interface].version
    record.texts[FIELD_PURPOSE], record.texts[FIELD_MATTER] = given.view.purpose, given.view.matter
    record.texts[FIELD_OPERATOR], record.texts[FIELD_CASE_ID] = given.view.operator, given.view.case_id
    record.texts[FIELD_DEVICE], record.texts[FIELD_REQUEST_ID] = given.device, given.request_id


cdef inline void fill_what(JournalRecord *record, const Given *given) noexcept:
    """What comes of it."""
    record.numbers[FIELD_KIND], record.numbers[FIELD_SNAPSHOT_VERSION] = KIND_OUTCOME, given.snapshot
    cdef uint64_t now = <uint64_t>now_ns(), took_ns = now - <uint64_t>given.began_ns
    record.wall_ns, record.numbers[FIELD_MONO_NS] = given.began_wall_ns + took_ns, now
    record.numbers[FIELD_TOOK_US] = took_ns // 1000
    if given.asserted != NULL:
        point(record, FIELD_METHOD, <const char *>b"broker.v1.ExchangeService/Match", 31)
    else:
        point(record, FIELD_METHOD, <const char *>b"broker.v1.ExchangeService/Call", 30)
    if given.found:
        point(record, FIELD_OUTCOME, <const char *>b"FOUND", 5)
    else:
        point(record, FIELD_OUTCOME, <const char *>b"NOT_FOUND", 9)
    if given.source == FROM_CACHE:
        point(record, FIELD_SOURCE, <const char *>b"CACHE", 5)
    else:
        point(record, FIELD_SOURCE, <const char *>b"RECORDS", 7)
    if given.digest != NULL:
        point(record, FIELD_ANSWER_DIGEST, given.digest, DIGEST_BYTES)


cdef inline Py_ssize_t name_fields(Slice *names, const Policy *policy, const Given *given) noexcept:
    """The fields that the caller learns something of: those asserted, or those granted. Both are in order."""
    cdef const Term *term = given.term
    cdef const uint32_t *fields = lists_of(term) + <uint32_t>term.purposes + term.matters + term.units + 2 * <uint32_t>term.hours
    cdef Py_ssize_t i, count
    if given.asserted != NULL:
        for i in range(given.asserted_count):
            names[i] = given.asserted[i].name
        return given.asserted_count
    count = min(<Py_ssize_t>term.fields, <Py_ssize_t>MOST_NAMED)
    for i in range(count):
        names[i].data, names[i].size = NULL, 0
        point_symbol(&names[i], policy, fields[i])
    return count
