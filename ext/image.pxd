# cython: language_level=3
"""The policy image as it is mapped, and the look-ups in it: C without Python objects. The layout is in `policy.pyi`.

Look-ups check nothing: `image_check.pxd` has, once, when the image was opened. What must not go in here: what is decided by
what is found (decision.pxd).
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from broker._native.cachekey cimport Slice

cdef enum:
    MASK_BYTES = 16
    CREDENTIAL_BYTES = 16
    NOBODY = 0xFFFFFFFF    # no such consumer, interface or symbol


# --- what is mapped ----------------------------------------------------------------------------------------------

cdef struct Symbol:
    uint32_t at
    uint32_t size


cdef struct Credential:
    uint8_t id[CREDENTIAL_BYTES]
    uint32_t consumer      # number of the consumer plus one; 0: the slot is empty
    uint32_t zero


cdef struct InterfaceVersion:
    uint32_t symbol
    uint32_t version
    uint8_t definition[16]


cdef struct Named:         # a slot of the table of interfaces, by symbol and version; version 0 is the current one
    uint32_t symbol
    uint32_t version
    uint32_t interface     # number plus one; 0: the slot is empty
    uint32_t zero


cdef struct Holding:       # a slot of the table of grants, by consumer and interface
    uint32_t consumer
    uint32_t interface
    uint32_t first         # of the refs
    uint32_t count         # 0: the slot is empty


cdef struct Offset:        # of the time zone, from a moment on
    int64_t from_ms
    int64_t offset_ms


cdef enum TermFlags:
    VERDICT_ONLY = 1
    STALE_ALLOWED = 2
    OPERATOR_REQUIRED = 4
    DEVICE_REQUIRED = 8


# One grant as it applies to one version of its interface. Lists of uint32 follow in the order of their counts, then the id.
cdef struct Term:
    int64_t valid_from_ms
    int64_t valid_until_ms
    uint64_t interval_ns
    uint64_t burst_ns
    uint64_t quota_per_day
    uint64_t quota_total
    uint64_t subjects_per_day
    uint64_t counter       # key of its counters in shared memory; never 0
    double rate_per_second
    uint8_t mask[MASK_BYTES]
    int32_t cache_max_age_s     # -1: what the interface allows
    uint32_t flags
    uint32_t size               # of the whole record in bytes, a multiple of 8
    uint32_t holder             # symbols, from here on
    uint32_t interface
    uint32_t legal_basis
    uint32_t embargo_class
    uint32_t burst
    uint16_t purposes
    uint16_t matters
    uint16_t units
    uint16_t hours              # spans; two numbers each
    uint16_t fields
    uint16_t id_bytes
    uint32_t zero


cdef struct Policy:
    const uint8_t *text
    const Symbol *symbols
    uint32_t symbol_count
    const uint32_t *symbol_slots        # symbol plus one
    uint64_t symbol_mask
    const Credential *credentials
    uint64_t credential_mask
    const uint32_t *consumers           # symbols
    uint32_t consumer_count
    const InterfaceVersion *interfaces
    uint32_t interface_count
    const Named *named
    uint64_t named_mask
    const Holding *holdings
    uint64_t holding_mask
    const uint32_t *refs                # offsets of terms, in units of 8 bytes
    uint32_t ref_count
    const uint8_t *terms
    uint64_t term_bytes
    const Offset *offsets
    uint32_t offset_count
    const uint8_t *documents            # for Python only
    uint64_t document_bytes


cdef inline uint64_t mixed(uint64_t value) noexcept nogil:
    """The finaliser of MurmurHash3: every bit of the result depends on every bit of the value."""
    value = (value ^ (value >> 33)) * <uint64_t>0xFF51AFD7ED558CCD
    value = (value ^ (value >> 33)) * <uint64_t>0xC4CEB9FE1A85EC53
    return value ^ (value >> 33)


cdef inline uint64_t hash_text(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """FNV-1a over eight bytes at a time, mixed. The tables are ours and half empty, so nobody gains by a collision."""
    cdef uint64_t value = <uint64_t>0xCBF29CE484222325 ^ <uint64_t>size
    cdef uint64_t word
    while size >= 8:
        memcpy(&word, data, 8)
        value = (value ^ word) * <uint64_t>0x100000001B3
        value ^= value >> 29
        data += 8
        size -= 8
    word = 0
    if size > 0:
        memcpy(&word, data, size)
    return mixed((value ^ word) * <uint64_t>0x100000001B3)


cdef inline uint64_t hash_pair(uint32_t one, uint32_t other) noexcept nogil:
    return mixed((<uint64_t>one << 32) | other)


cdef inline uint32_t find_symbol(const Policy *policy, const Slice *text) noexcept nogil:
    """Return the number of a text, or NOBODY if no grant, consumer or interface has it."""
    cdef uint64_t at = hash_text(text.data, text.size) & policy.symbol_mask
    cdef uint32_t found
    cdef const Symbol *symbol
    while policy.symbol_slots[at] != 0:
        found = policy.symbol_slots[at] - 1
        symbol = &policy.symbols[found]
        if symbol.size == <uint64_t>text.size and memcmp(policy.text + symbol.at, text.data, symbol.size) == 0:
            return found
        at = (at + 1) & policy.symbol_mask
    return NOBODY


cdef inline uint32_t find_consumer(const Policy *policy, const unsigned char *credential) noexcept nogil:
    """Return the number of the consumer that a credential stands for, or NOBODY."""
    cdef uint64_t at
    memcpy(&at, credential, sizeof(at))   # a credential is a hash already
    at &= policy.credential_mask
    while policy.credentials[at].consumer != 0:
        if memcmp(policy.credentials[at].id, credential, CREDENTIAL_BYTES) == 0:
            return policy.credentials[at].consumer - 1
        at = (at + 1) & policy.credential_mask
    return NOBODY


cdef inline uint32_t find_interface(const Policy *policy, const Slice *name, uint32_t version) noexcept nogil:
    """Return the number of an interface version, or NOBODY."""
    cdef uint32_t symbol = find_symbol(policy, name)
    cdef uint64_t at = hash_pair(symbol, version) & policy.named_mask
    if symbol == NOBODY:
        return NOBODY
    while policy.named[at].interface != 0:
        if policy.named[at].symbol == symbol and policy.named[at].version == version:
            return policy.named[at].interface - 1
        at = (at + 1) & policy.named_mask
    return NOBODY


cdef inline const Holding *find_holding(const Policy *policy, uint32_t consumer, uint32_t interface) noexcept nogil:
    cdef uint64_t at = hash_pair(consumer, interface) & policy.holding_mask
    while policy.holdings[at].count != 0:
        if policy.holdings[at].consumer == consumer and policy.holdings[at].interface == interface:
            return &policy.holdings[at]
        at = (at + 1) & policy.holding_mask
    return NULL


cdef inline const uint32_t *lists_of(const Term *term) noexcept nogil:
    return <const uint32_t *>(term + 1)


cdef inline const uint8_t *id_of(const Term *term) noexcept nogil:
    cdef uint32_t before = <uint32_t>term.purposes + term.matters + term.units + 2 * <uint32_t>term.hours + term.fields
    return <const uint8_t *>(lists_of(term) + before)
