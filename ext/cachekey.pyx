# cython: language_level=3
"""Canonical request -> key, and the header of a cache entry. The contract is in `broker/_native/cachekey.pyi`.

The upper half is C without Python objects (`cachekey.pxd` is its list); the lower half turns Python values into it and
its status codes into exceptions. What must not go in here: clocks, decisions about freshness, storage.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from cursor cimport Cursor, cursor_over, take_bytes, take_u8, take_u16, take_u32, take_u64

cdef extern from "<endian.h>" nogil:
    uint32_t htole32(uint32_t)
    uint64_t htole64(uint64_t)

cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_MD:
        pass
    ctypedef struct ENGINE:
        pass
    EVP_MD *EVP_MD_fetch(void *context, const char *algorithm, const char *properties)
    int EVP_Digest(const void *data, size_t count, unsigned char *md, unsigned int *size, const EVP_MD *type, ENGINE *impl)

cdef extern from "crc32c.h" nogil:
    const uint32_t CRC32C_START
    uint32_t crc32c_feed(uint32_t running, const unsigned char *data, size_t size)
    uint32_t crc32c_feed_portable(uint32_t running, const unsigned char *data, size_t size)
    uint32_t crc32c_finish(uint32_t running)
    int crc32c_is_hardware()

cdef enum:
    FORMAT = 1
    CRC_AT = 4
    TIMES_AT = 8

# Names the format of what is hashed, so that no other hash of ours can ever equal a key. Fixed size, so no prefix.
cdef bytes _TAG = b"shared-data-broker/cache-key/1\0\0"
cdef const unsigned char *TAG = _TAG
cdef Py_ssize_t TAG_BYTES = len(_TAG)

# Fetched once: an implicit fetch doubles the cost of a key. Never freed; it is as old as the process.
cdef EVP_MD *SHA256 = EVP_MD_fetch(NULL, "SHA256", NULL)
if SHA256 == NULL:
    raise ImportError("libcrypto offers no SHA-256")

NOT_FOUND = FLAG_NOT_FOUND


# --- request -> key ----------------------------------------------------------------------------------------------

cdef inline int compare(const Slice *left, const Slice *right) noexcept nogil:
    """Order by bytes, which for UTF-8 is the order of code points."""
    cdef Py_ssize_t shorter = min(left.size, right.size)
    cdef int order = memcmp(left.data, right.data, shorter) if shorter > 0 else 0
    if order != 0:
        return order
    return (left.size > right.size) - (left.size < right.size)


cdef inline bint add(Py_ssize_t *total, Py_ssize_t size) noexcept nogil:
    if size < 0 or size > MAX_PREIMAGE_BYTES - total[0]:
        return False
    total[0] += size
    return True


cdef Py_ssize_t preimage_size(const Request *request) noexcept nogil:
    """Return how many bytes are hashed, or -1 if that is beyond the limit."""
    cdef Py_ssize_t total = TAG_BYTES + 4 + 4 + 1 + 1 + 4
    cdef Py_ssize_t i
    if request.mask.size > 0xFF or not add(&total, request.mask.size) or not add(&total, request.interface.size):
        return -1
    for i in range(request.count):
        if not (add(&total, 8) and add(&total, request.arguments[i].name.size)):
            return -1
        if not add(&total, request.arguments[i].value.size):
            return -1
    return total


cdef inline unsigned char *put_raw(unsigned char *at, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    if size > 0:  # memcpy from a null pointer is undefined even for nothing
        memcpy(at, data, size)
    return at + size


cdef inline unsigned char *put_u32(unsigned char *at, uint32_t value) noexcept nogil:
    value = htole32(value)
    memcpy(at, &value, sizeof(value))
    return at + sizeof(value)


cdef inline unsigned char *put_u64(unsigned char *at, uint64_t value) noexcept nogil:
    value = htole64(value)
    memcpy(at, &value, sizeof(value))
    return at + sizeof(value)


cdef inline unsigned char *put_text(unsigned char *at, const Slice *text) noexcept nogil:
    return put_raw(put_u32(at, <uint32_t>text.size), text.data, text.size)


cdef void write_preimage(unsigned char *at, const Request *request) noexcept nogil:
    """Write exactly `preimage_size` bytes. Every part of varying size follows its length, so the text has one reading."""
    cdef Py_ssize_t i
    at = put_raw(at, TAG, TAG_BYTES)
    at = put_text(at, &request.interface)
    at = put_u32(at, request.version)
    at[0] = request.encoding
    at[1] = <uint8_t>request.mask.size
    at = put_raw(at + 2, request.mask.data, request.mask.size)
    at = put_u32(at, <uint32_t>request.count)
    for i in range(request.count):
        at = put_text(at, &request.arguments[i].name)
        at = put_text(at, &request.arguments[i].value)


cdef KeyStatus digest_request(unsigned char *key, unsigned char *room, Py_ssize_t size, const Request *request) noexcept nogil:
    cdef unsigned int written = 0
    write_preimage(room, request)
    if EVP_Digest(room, size, key, &written, SHA256, NULL) != 1 or written != KEY_BYTES:
        return KEY_NO_DIGEST
    return KEY_OK


cdef KeyStatus derive_key(unsigned char *key, const Request *request) noexcept nogil:
    """Write the 32-byte key of a request. On any status but KEY_OK the key is not to be used."""
    cdef unsigned char stack[STACK_PREIMAGE_BYTES]
    cdef unsigned char *heap
    cdef KeyStatus status
    cdef Py_ssize_t i
    cdef Py_ssize_t size = preimage_size(request)
    if size < 0:
        return KEY_TOO_LONG
    for i in range(1, request.count):
        if compare(&request.arguments[i - 1].name, &request.arguments[i].name) >= 0:
            return KEY_UNORDERED
    if size <= STACK_PREIMAGE_BYTES:
        return digest_request(key, stack, size, request)
    heap = <unsigned char *>malloc(size)
    if heap == NULL:
        return KEY_NO_MEMORY
    status = digest_request(key, heap, size, request)
    free(heap)
    return status


# --- bytes <-> entry ---------------------------------------------------------------------------------------------

cdef bint times_are_monotone(const EntryView *entry) noexcept nogil:
    """Nothing is fresh before it was stored or stale before it was fresh; the two stale windows are independent."""
    if entry.stored_at > entry.fresh_until:
        return False
    return entry.fresh_until <= entry.revalidate_until and entry.fresh_until <= entry.error_until


cdef inline uint32_t checksum(const unsigned char *key, const unsigned char *header, const Slice *body) noexcept nogil:
    """CRC-32C of key, header without the checksum itself, and body: an entry under another key is a damaged one."""
    cdef uint32_t running = crc32c_feed(CRC32C_START, key, KEY_BYTES)
    running = crc32c_feed(running, header, CRC_AT)
    running = crc32c_feed(running, header + TIMES_AT, HEADER_BYTES - TIMES_AT)
    return crc32c_finish(crc32c_feed(running, body.data, body.size))


cdef void write_header(unsigned char *header, const unsigned char *key, const EntryView *entry) noexcept nogil:
    """Write 48 bytes. The caller has checked the times and that the body is shorter than 4 GiB."""
    cdef unsigned char *at = header + TIMES_AT
    memset(header, 0, HEADER_BYTES)
    header[0] = FORMAT
    header[1] = entry.flags
    at = put_u64(at, entry.stored_at)
    at = put_u64(at, entry.fresh_until)
    at = put_u64(at, entry.revalidate_until)
    at = put_u64(at, entry.error_until)
    put_u32(at, <uint32_t>entry.body.size)
    put_u32(header + CRC_AT, checksum(key, header, &entry.body))


cdef bint view_entry(EntryView *entry, const unsigned char *key, const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Look at an entry in place. False when it is damaged, of another format or of another key; then it is not to be used."""
    cdef Cursor cursor = cursor_over(data, size)
    cdef uint8_t format = take_u8(&cursor)
    entry.flags = take_u8(&cursor)
    cdef uint16_t reserved = take_u16(&cursor)
    cdef uint32_t crc = take_u32(&cursor)
    entry.stored_at = take_u64(&cursor)
    entry.fresh_until = take_u64(&cursor)
    entry.revalidate_until = take_u64(&cursor)
    entry.error_until = take_u64(&cursor)
    entry.body.size = take_u32(&cursor)
    cdef uint32_t tail = take_u32(&cursor)
    entry.body.data = take_bytes(&cursor, entry.body.size)
    if not cursor.ok or cursor.remaining != 0:
        return False
    if format != FORMAT or reserved != 0 or tail != 0 or not times_are_monotone(entry):
        return False
    return checksum(key, data, &entry.body) == crc


# --- Python's face -----------------------------------------------------------------------------------------------

cdef int fill_slice(Slice *into, object text, str what) except -1:
    """Point at the UTF-8 that the text object itself keeps; valid as long as the object lives."""
    if not isinstance(text, str):
        raise TypeError(f"{what}: must be str")
    try:
        into.data = <const unsigned char *>PyUnicode_AsUTF8AndSize(text, &into.size)
    except UnicodeEncodeError:
        raise ValueError(f"{what}: is not encodable as UTF-8") from None  # never with the text: it may be personal
    return 0


cdef uint64_t bounded(object number, uint64_t limit, str what) except? 0:
    if not 0 <= number <= limit:
        raise ValueError(f"{what}: must be 0..{limit}")
    return number


cdef const unsigned char *key_pointer(bytes key) except NULL:
    if key is None or PyBytes_GET_SIZE(key) != KEY_BYTES:
        raise ValueError(f"key: must be {KEY_BYTES} bytes")
    return <const unsigned char *>PyBytes_AS_STRING(key)


cdef int fill_pairs(Pair *into, tuple arguments) except -1:
    cdef Py_ssize_t i
    cdef tuple pair
    for i, pair in enumerate(arguments):
        if pair is None or len(pair) != 2:
            raise TypeError("arguments: must be pairs of name and value")
        fill_slice(&into[i].name, pair[0], "name")
        fill_slice(&into[i].value, pair[1], "value")
    return 0


cdef object failure(KeyStatus status):
    if status == KEY_UNORDERED:
        return ValueError("arguments: names must be strictly rising")
    if status == KEY_TOO_LONG:
        return ValueError("request: is too long, or its mask is longer than 255 bytes")
    if status == KEY_NO_MEMORY:
        return MemoryError()
    return RuntimeError("libcrypto failed to hash")


def cache_key(interface, version, encoding, bytes mask not None, arguments):
    """See `cachekey.pyi`."""
    cdef unsigned char key[KEY_BYTES]
    cdef Pair few[8]
    cdef Request request
    cdef KeyStatus status
    # A tuple of tuples of str cannot change under us, so the pointers into its texts hold until it is let go.
    cdef tuple pairs = tuple(arguments)
    cdef Pair *room = few
    request.version = <uint32_t>bounded(version, 0xFFFFFFFF, "version")
    request.encoding = <uint8_t>bounded(encoding, 0xFF, "encoding")
    fill_slice(&request.interface, interface, "interface")
    request.mask.data = <const unsigned char *>PyBytes_AS_STRING(mask)
    request.mask.size = PyBytes_GET_SIZE(mask)
    request.count = len(pairs)
    if request.count > 8:
        room = <Pair *>PyMem_Malloc(request.count * sizeof(Pair))
        if room == NULL:
            raise MemoryError()
    try:
        fill_pairs(room, pairs)
        request.arguments = room
        status = derive_key(key, &request)
    finally:
        if room != few:
            PyMem_Free(room)
    if status != KEY_OK:
        raise failure(status)
    return PyBytes_FromStringAndSize(<char *>key, KEY_BYTES)


def pack_entry(
    bytes key not None, flags, stored_at, fresh_until, revalidate_until, error_until, bytes body not None
):
    """See `cachekey.pyi`."""
    cdef EntryView entry
    cdef uint64_t last = 0xFFFFFFFFFFFFFFFF
    cdef const unsigned char *key_at = key_pointer(key)
    entry.flags = <uint8_t>bounded(flags, 0xFF, "flags")
    entry.stored_at = bounded(stored_at, last, "stored_at")
    entry.fresh_until = bounded(fresh_until, last, "fresh_until")
    entry.revalidate_until = bounded(revalidate_until, last, "revalidate_until")
    entry.error_until = bounded(error_until, last, "error_until")
    if not times_are_monotone(&entry):
        raise ValueError("times: must be stored_at <= fresh_until <= revalidate_until and error_until")
    entry.body.data = <const unsigned char *>PyBytes_AS_STRING(body)
    entry.body.size = <Py_ssize_t>bounded(PyBytes_GET_SIZE(body), 0xFFFFFFFF, "length of body")
    packed = PyBytes_FromStringAndSize(NULL, HEADER_BYTES + entry.body.size)
    cdef unsigned char *at = <unsigned char *>PyBytes_AS_STRING(packed)
    write_header(at, key_at, &entry)
    put_raw(at + HEADER_BYTES, entry.body.data, entry.body.size)
    return packed


@cython.final
cdef class Entry:
    """One entry as read; made by `read_entry` alone. See `cachekey.pyi`."""

    cdef readonly int flags
    cdef readonly uint64_t stored_at
    cdef readonly uint64_t fresh_until
    cdef readonly uint64_t revalidate_until
    cdef readonly uint64_t error_until
    cdef readonly bytes body

    def __init__(self):
        raise TypeError("an Entry is made by read_entry")

    def __repr__(self):
        # Without the body: it is personal data, and a repr ends up in logs.
        return (
            f"Entry(flags={self.flags}, stored_at={self.stored_at}, fresh_until={self.fresh_until}, "
            f"revalidate_until={self.revalidate_until}, error_until={self.error_until}, body={len(self.body)} bytes)"
        )


cdef Entry entry_of(const EntryView *view):
    cdef Entry entry = Entry.__new__(Entry)
    entry.flags = view.flags
    entry.stored_at = view.stored_at
    entry.fresh_until = view.fresh_until
    entry.revalidate_until = view.revalidate_until
    entry.error_until = view.error_until
    entry.body = PyBytes_FromStringAndSize(<const char *>view.body.data, view.body.size)
    return entry


def read_entry(bytes key not None, data):
    """See `cachekey.pyi`."""
    cdef const unsigned char *key_at = key_pointer(key)
    cdef EntryView view
    cdef Py_buffer buffer
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    try:
        if not view_entry(&view, key_at, <const unsigned char *>buffer.buf, buffer.len):
            return None
        return entry_of(&view)
    finally:
        PyBuffer_Release(&buffer)


def crc32c(data):
    """See `cachekey.pyi`."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    try:
        return crc32c_finish(crc32c_feed(CRC32C_START, <const unsigned char *>buffer.buf, buffer.len))
    finally:
        PyBuffer_Release(&buffer)


def _crc32c_portable(data):
    """The table path of `crc32c`, which on most machines nothing else would ever run; for tests."""
    cdef Py_buffer buffer
    PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
    try:
        return crc32c_finish(crc32c_feed_portable(CRC32C_START, <const unsigned char *>buffer.buf, buffer.len))
    finally:
        PyBuffer_Release(&buffer)
