# cython: language_level=3
"""Who calls, as far as the header fields say it: the native half of `services/caller.py`, which is the oracle.

Where that would refuse, this tells that the core is to be asked. What must not go in here: whether any of it is true.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from broker._native.cachekey cimport Slice
from broker._native.front cimport MOST_TOKEN_BYTES, Shown
from broker._native.session cimport Call
from broker._native.wire cimport CallView
from fields cimport is_text, name_of, value_of

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_MD:
        pass
    ctypedef struct ENGINE:
        pass
    const EVP_MD *EVP_sha256()
    int EVP_Digest(const void *data, size_t count, unsigned char *md, unsigned int *size, const EVP_MD *type, ENGINE *impl)

cdef enum:
    MOST_SAID_BYTES = 128      # of metadata about a caller


cdef struct Caller:            # what the metadata says
    Slice token
    Slice operator
    Slice unit
    Slice device
    Slice request_id


cdef inline bint once(Slice *into, const Slice *value, Py_ssize_t most) noexcept:
    cdef Py_ssize_t i
    if into.data != NULL or value.size > most:
        return False
    for i in range(value.size):
        if value.data[i] & 0x80:       # the core reads such values as Latin-1
            return False
    into[0] = value[0]
    return True


cdef inline bint first(Slice *into, const Slice *value, Py_ssize_t most) noexcept:
    """Take what is said first, so much of it as is kept: what no decision rests on is no reason to refuse."""
    cdef Slice kept = value[0]
    if into.data != NULL:
        return True
    kept.size = min(kept.size, most)
    return once(into, &kept, most)


cdef inline bint read_caller(Caller *caller, const Call *call) noexcept:
    """Read what the metadata says of a caller, as services/caller.py does; False where that has something to say."""
    cdef uint32_t i
    cdef Slice name, value
    cdef bint good = True
    memset(caller, 0, sizeof(caller[0]))
    for i in range(call.field_count):
        name, value = name_of(&call.fields[i]), value_of(&call.fields[i])
        if is_text(&name, b"authorization", 13):
            good = is_bearer(&value) and once(&caller.token, &value, MOST_TOKEN_BYTES + 7)
        elif is_text(&name, b"operator-id", 11):
            good = once(&caller.operator, &value, MOST_SAID_BYTES)
        elif is_text(&name, b"operator-unit", 13):
            good = once(&caller.unit, &value, MOST_SAID_BYTES)
        elif is_text(&name, b"device-id", 9):
            good = once(&caller.device, &value, MOST_SAID_BYTES)
        elif is_text(&name, b"request-id", 10):
            good = first(&caller.request_id, &value, MOST_SAID_BYTES)
        if not good:
            return False
    if caller.token.data != NULL:
        caller.token.data += 7
        caller.token.size -= 7
        return caller.token.size > 0
    return True


cdef inline bint is_bearer(const Slice *value) noexcept:
    cdef Py_ssize_t i
    cdef const char *wanted = "bearer "
    if value.size < 7:
        return False
    for i in range(6):
        if value.data[i] | 0x20 != wanted[i]:
            return False
    return value.data[6] == 0x20


cdef inline bint merge_operator(CallView *view, const Caller *caller) noexcept:
    """The person may stand in the message, in the metadata, or in both alike."""
    if caller.operator.size == 0:
        return True
    if view.operator.size == 0:
        view.operator = caller.operator
        return True
    return view.operator.size == caller.operator.size and memcmp(
        view.operator.data, caller.operator.data, view.operator.size) == 0


cdef inline bint is_last_shown(const Shown *shown, const Slice *token) noexcept:
    return shown.has_digest and shown.token_size == token.size and (
        token.size == 0 or memcmp(shown.token, token.data, token.size) == 0)


cdef inline bint digest_shown(Shown *shown, const Slice *token) noexcept:
    """Hash all that is shown: the size of the token, the certificate's hash or zeros, and the token."""
    cdef unsigned char room[8 + 32 + MOST_TOKEN_BYTES]
    cdef unsigned int written = 0
    cdef uint64_t size = <uint64_t>token.size
    shown.has_digest = False
    memcpy(room, &size, 8)
    memset(room + 8, 0, 32)
    if shown.has_certificate:
        memcpy(room + 8, shown.certificate, 32)
    if token.size:
        memcpy(room + 40, token.data, token.size)
        memcpy(shown.token, token.data, token.size)
    shown.token_size = token.size
    shown.has_digest = EVP_Digest(room, 40 + token.size, shown.digest, &written, EVP_sha256(), NULL) == 1 and written == 32
    return shown.has_digest
