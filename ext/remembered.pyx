# cython: language_level=3
"""What callers have proved before: a hash of what they showed, and which credential that was. See `remembered.pyi`.

Sets of eight in the order in which they were written, so that the oldest goes first. What must not go in here: proving
(`policy/identify.py`) and hashing.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

from broker._native.policy cimport Image
from decision cimport Moment
from image cimport CREDENTIAL_BYTES, NOBODY, Policy, find_consumer

cdef inline Set *set_of(Set *sets, uint64_t mask, const unsigned char *digest) noexcept nogil:
    cdef uint64_t at
    memcpy(&at, digest, sizeof(at))
    return &sets[at & mask]


cdef uint32_t recall(
    Set *sets, uint64_t mask, const Policy *policy, const unsigned char *digest, const Moment *now
) noexcept nogil:
    """Return the consumer that a proof stands for now: by the clock, and by the credentials in force."""
    cdef Set *found = set_of(sets, mask, digest)
    cdef const Proof *proof
    cdef int i
    for i in range(WAYS):
        proof = &found.ways[i]
        if proof.ends_ms != 0 and memcmp(proof.digest, digest, DIGEST_BYTES) == 0:
            if now.earliest_ms < proof.begins_ms or now.latest_ms >= proof.ends_ms:
                return NOBODY
            return find_consumer(policy, proof.credential)
    return NOBODY


cdef void keep(Set *sets, uint64_t mask, const Proof *proof) noexcept nogil:
    """Write a proof as the newest one, in place of itself, else of a free place, else of the one written longest ago."""
    cdef Set *into = set_of(sets, mask, proof.digest)
    cdef int i, gone = 0
    for i in range(WAYS):
        if into.ways[i].ends_ms != 0 and memcmp(into.ways[i].digest, proof.digest, DIGEST_BYTES) == 0:
            gone = i
    memmove(&into.ways[gone], &into.ways[gone + 1], (WAYS - 1 - gone) * sizeof(Proof))
    into.ways[WAYS - 1] = proof[0]


cdef const unsigned char *bytes_of(bytes data, Py_ssize_t size) except NULL:
    if data is None or PyBytes_GET_SIZE(data) != size:
        raise ValueError(f"must be {size} bytes")
    return <const unsigned char *>PyBytes_AS_STRING(data)


@cython.final
cdef class Remembered:
    """See `remembered.pyi`."""

    def __cinit__(self, uint64_t proofs):
        cdef uint64_t sets = 1
        while sets * WAYS < proofs and sets < <uint64_t>1 << 28:
            sets *= 2
        self._mask = sets - 1
        self._sets = <Set *>PyMem_Calloc(sets, sizeof(Set))
        if self._sets == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self._sets)

    def remember(self, bytes digest, bytes credential, int64_t begins_ms, int64_t ends_ms):
        """See `remembered.pyi`."""
        cdef Proof proof
        memcpy(proof.digest, bytes_of(digest, DIGEST_BYTES), DIGEST_BYTES)
        memcpy(proof.credential, bytes_of(credential, CREDENTIAL_BYTES), CREDENTIAL_BYTES)
        if ends_ms <= 0 or ends_ms < begins_ms:
            raise ValueError("ends_ms: must be above 0 and not before begins_ms")
        proof.begins_ms, proof.ends_ms = begins_ms, ends_ms
        keep(self._sets, self._mask, &proof)

    def recall(self, Image image not None, bytes digest, int64_t earliest_ms, int64_t latest_ms):
        """See `remembered.pyi`."""
        cdef Moment now
        now.earliest_ms, now.latest_ms = earliest_ms, latest_ms
        cdef uint32_t found = recall(self._sets, self._mask, &image.policy, bytes_of(digest, DIGEST_BYTES), &now)
        return None if found == NOBODY else found

    def proof(self, bytes digest):
        """See `remembered.pyi`."""
        cdef const unsigned char *wanted = bytes_of(digest, DIGEST_BYTES)
        cdef Set *found = set_of(self._sets, self._mask, wanted)
        cdef const Proof *one
        cdef int i
        for i in range(WAYS):
            one = &found.ways[i]
            if one.ends_ms != 0 and memcmp(one.digest, wanted, DIGEST_BYTES) == 0:
                return PyBytes_FromStringAndSize(<const char *>one.credential, CREDENTIAL_BYTES), one.begins_ms, one.ends_ms
        return None

    def forget(self):
        """See `remembered.pyi`."""
        memset(self._sets, 0, (self._mask + 1) * sizeof(Set))

    def __len__(self):
        cdef uint64_t at, found = 0
        cdef int i
        for at in range(self._mask + 1):
            for i in range(WAYS):
                found += self._sets[at].ways[i].ends_ms != 0
        return found
