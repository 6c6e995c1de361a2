# cython: language_level=3
"""HMAC-SHA-256 (RFC 2104) under one key and for one purpose, without hashing the key anew for each value.

The oracle is Python's `hmac`, as `broker/audit/subject.py` calls it. What must not go in here: what is hashed, and where keys
come from.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memset

from broker._native.cachekey cimport Slice

cdef extern from *:
    """
    #define OPENSSL_SUPPRESS_DEPRECATED /* a context that can be copied by assignment: EVP allocates one for each copy */
    #include <openssl/crypto.h>
    #include <openssl/sha.h>
    """
    ctypedef struct SHA256_CTX:
        pass
    int SHA256_Init(SHA256_CTX *context) nogil
    int SHA256_Update(SHA256_CTX *context, const void *data, size_t size) nogil
    int SHA256_Final(unsigned char *digest, SHA256_CTX *context) nogil
    void OPENSSL_cleanse(void *data, size_t size) nogil

cdef enum:
    KEYED_BYTES = 32           # of a digest
    BLOCK_BYTES = 64           # of SHA-256; no key is longer


cdef struct Keyed:
    SHA256_CTX inner           # with the key and the purpose in it
    SHA256_CTX outer           # with the key


cdef inline bint begin_half(SHA256_CTX *context, const uint8_t *key, Py_ssize_t size, uint8_t pad) noexcept nogil:
    cdef uint8_t block[BLOCK_BYTES]
    cdef Py_ssize_t i
    cdef bint good
    memset(block, pad, BLOCK_BYTES)
    for i in range(size):
        block[i] ^= key[i]
    good = SHA256_Init(context) == 1 and SHA256_Update(context, block, BLOCK_BYTES) == 1
    OPENSSL_cleanse(block, BLOCK_BYTES)
    return good


cdef inline bint keyed_open(Keyed *keyed, const uint8_t *key, Py_ssize_t size, const Slice *purpose) noexcept nogil:
    """False: the key is too long, or libcrypto failed."""
    if size > BLOCK_BYTES or not begin_half(&keyed.inner, key, size, 0x36) or not begin_half(&keyed.outer, key, size, 0x5C):
        return False
    return SHA256_Update(&keyed.inner, purpose.data, <size_t>purpose.size) == 1


cdef inline void keyed_close(Keyed *keyed) noexcept nogil:
    OPENSSL_cleanse(keyed, sizeof(keyed[0]))


cdef inline bint keyed_digest(const Keyed *keyed, const void *data, size_t size, uint8_t *digest) noexcept nogil:
    """Write KEYED_BYTES; False: libcrypto failed."""
    cdef SHA256_CTX inner = keyed.inner, outer = keyed.outer
    if SHA256_Update(&inner, data, size) != 1 or SHA256_Final(digest, &inner) != 1:
        return False
    return SHA256_Update(&outer, digest, KEYED_BYTES) == 1 and SHA256_Final(digest, &outer) == 1
