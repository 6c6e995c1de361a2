# cython: language_level=3
"""The native face of `cachekey.pyx`: what another native module may call without the interpreter lock.

Read this first: the values that cross, then the two directions (request -> key, bytes <-> entry).
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    KEY_BYTES = 32
    HEADER_BYTES = 48
    FLAG_NOT_FOUND = 1
    STACK_PREIMAGE_BYTES = 1024    # an everyday question takes 100 to 300
    MAX_PREIMAGE_BYTES = 1 << 30   # far beyond any message limit; keeps the sum of lengths from overflowing


# --- request -> key ----------------------------------------------------------------------------------------------

cdef enum KeyStatus:
    KEY_OK
    KEY_UNORDERED   # names are not strictly rising
    KEY_TOO_LONG    # a text, the mask or the whole is longer than the encoding can say
    KEY_NO_MEMORY
    KEY_NO_DIGEST   # libcrypto refused


cdef struct Slice:
    const unsigned char *data
    Py_ssize_t size


cdef struct Pair:
    Slice name
    Slice value


cdef struct Request:
    Slice interface
    uint32_t version
    uint8_t encoding
    Slice mask
    const Pair *arguments   # canonical, UTF-8, names strictly rising by bytes
    Py_ssize_t count


cdef KeyStatus derive_key(unsigned char *key, const Request *request) noexcept nogil


# --- bytes <-> entry ---------------------------------------------------------------------------------------------

cdef struct EntryView:
    uint8_t flags
    uint64_t stored_at          # ms since the epoch, UTC; so are all times
    uint64_t fresh_until
    uint64_t revalidate_until
    uint64_t error_until
    Slice body                  # points into the bytes that were viewed


cdef bint times_are_monotone(const EntryView *entry) noexcept nogil
cdef void write_header(unsigned char *header, const unsigned char *key, const EntryView *entry) noexcept nogil
cdef bint view_entry(EntryView *entry, const unsigned char *key, const unsigned char *data, Py_ssize_t size) noexcept nogil
