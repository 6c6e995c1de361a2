# cython: language_level=3
"""The native face of `reply.pyx`: answers as they go on the wire, and a cached body read in place.

What must not go in here: who may have an answer, and how verdicts are come by.
"""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from broker._native.cachekey cimport Slice
from broker._native.wire cimport MOST_ARGUMENTS, Source

cdef enum:
    SHA256_BYTES = 32
    MOST_ORIGIN_BYTES = 512    # of the encoded fields of a provenance that are not about one call
    MOST_NAME_BYTES = 64       # of a field; as `FieldName` of model/catalogue.py has it
    REPLY_BYTES = 1024         # that an answer takes beside its payload or its verdicts
    VERDICT_BYTES = 96         # that one verdict takes at most
    NO_MOMENT = -1


cdef struct Told:              # where an answer comes from
    Slice origin               # encoded fields of a Provenance, of which none is a digest
    Slice more                 # the same; what stood behind the digest
    Source source
    int64_t fetched_at_ms      # NO_MOMENT: it stands among the fields
    uint64_t age_ms
    const uint8_t *digest      # of SHA256_BYTES; NULL: it is not told


cdef struct NamedVerdict:
    Slice name                 # UTF-8
    uint8_t verdict            # as in the contract
    double score


cdef struct Verdicts:          # what a comparison says
    Py_ssize_t count
    NamedVerdict fields[MOST_ARGUMENTS]
    uint8_t status
    uint8_t overall            # 0: there is no record


cdef struct BodyView:          # of a cached answer
    bint found
    Slice payload
    Slice origin               # of its provenance: what stands before the digest, and behind it
    Slice more
    const uint8_t *digest      # SHA256_BYTES


# False: it is not as `model/body.py` writes it, so the core is to be asked.
cdef bint view_body(BodyView *body, const unsigned char *data, Py_ssize_t size) noexcept nogil
# Both return how many bytes they wrote, at most REPLY_BYTES and the payload's or VERDICT_BYTES a verdict; -1: the origin or a
# name is longer than any.
cdef Py_ssize_t write_call_reply(unsigned char *into, bint found, const Slice *payload, const Told *told) noexcept nogil
cdef Py_ssize_t write_match_reply(unsigned char *into, bint found, const Verdicts *verdicts, const Told *told) noexcept nogil
# Point at verdicts by name, (verdict, score), which must outlive `into`; False: there are more than MOST_ARGUMENTS.
cdef bint take_verdicts(Verdicts *into, dict named, status, overall) except -1
