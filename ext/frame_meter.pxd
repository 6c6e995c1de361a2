# cython: language_level=3
"""Meters the frames of one connection as they come, before nghttp2 sees them: what an honest peer never does ends it.

nghttp2 checks what each frame may be; this counts how many there are. A budget is a token bucket; some fill by what we send,
since honest peers answer that (PING by BDP probing, WINDOW_UPDATE by reading). Only lengths, types and flags are looked at.
What must not go in here: what a header block or a message holds.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from cursor cimport Cursor, cursor_over, take_bytes, take_u8

cdef enum:
    PREFACE_BYTES = 24
    FRAME_HEADER_BYTES = 9
    BUDGETS = 8
    REASONS = 23
    NS = 1_000_000_000


cdef enum Budget:
    FRAMES
    RESETS                 # received and sent
    PINGS
    SETTINGS
    PRIORITIES
    WINDOW_UPDATES
    EMPTY_FRAMES           # DATA and CONTINUATION without a byte or an end
    UNKNOWN_FRAMES


cdef enum Reason:          # why a connection was closed; the budgets are the first ones
    CONTINUATIONS = 8
    HEADER_BLOCK
    LARGE_HEADERS
    PREFACE_TIMEOUT
    SETTINGS_TIMEOUT
    HEADER_TIMEOUT
    STALLED
    STALLED_STREAM
    IDLE
    AGE
    CONNECTIONS
    CONNECTIONS_OF_IDENTITY
    TOO_MANY_PINGS
    NOT_HTTP2
    PROTOCOL
    FINE = 255


cdef struct Bucket:
    int64_t tokens         # thousandths
    int64_t filled_ns


cdef struct Allowance:     # of one budget
    int64_t burst          # thousandths
    int64_t per_second     # thousandths


cdef struct Limits:
    Allowance budgets[BUDGETS]
    uint32_t continuations
    uint32_t header_block_bytes


cdef struct Meter:
    Bucket buckets[BUDGETS]
    uint32_t preface       # bytes of it that have come
    uint32_t have          # bytes of the frame header that have come
    uint8_t head[FRAME_HEADER_BYTES]
    uint32_t left          # bytes of its payload that have not
    uint32_t continuations # of the header block that is being read
    uint32_t block_bytes
    bint block_open        # its end has not come
    int64_t partial_ns     # since when the rest of a frame (but DATA) or of a header block is being waited for; 0: none is


cdef inline bint spend_token(Meter *meter, const Limits *limits, Budget budget, int64_t now_ns) noexcept nogil:
    cdef Bucket *bucket = &meter.buckets[<int>budget]
    cdef const Allowance *allowed = &limits.budgets[<int>budget]
    cdef int64_t passed = now_ns - bucket.filled_ns
    if bucket.filled_ns == 0:
        bucket.tokens = allowed.burst
        bucket.filled_ns = now_ns
    elif passed > 10_000_000:        # refilled at most a hundred times a second: a division less a frame
        if passed > 3600 * <int64_t>NS:
            passed = 3600 * <int64_t>NS
        bucket.tokens = min(allowed.burst, bucket.tokens + passed // 1_000_000 * allowed.per_second // 1000)
        bucket.filled_ns = now_ns
    bucket.tokens -= 1000
    return bucket.tokens >= 0


cdef inline void earn_tokens(Meter *meter, const Limits *limits, Budget budget, int64_t tokens) noexcept nogil:
    """What we send gives a peer the right to answer it."""
    cdef Bucket *bucket = &meter.buckets[<int>budget]
    if bucket.filled_ns != 0:
        bucket.tokens = min(limits.budgets[<int>budget].burst, bucket.tokens + 1000 * tokens)


cdef inline Reason spend(Meter *meter, const Limits *limits, Budget budget, int64_t now_ns) noexcept nogil:
    return FINE if spend_token(meter, limits, budget, now_ns) else <Reason><int>budget


cdef inline Reason judge_frame(Meter *meter, const Limits *limits, int64_t now_ns) noexcept nogil:
    """Count the frame whose header has come: RFC 9113 §4.1 has its layout, §6 the types."""
    cdef uint32_t length = meter.left
    cdef uint8_t kind = meter.head[3], flags = meter.head[4]
    if not spend_token(meter, limits, FRAMES, now_ns):
        return <Reason><int>FRAMES
    if kind == 0:                                     # DATA without a byte, or maybe with padding only, and without END_STREAM
        return spend(meter, limits, EMPTY_FRAMES, now_ns) if not flags & 1 and (length == 0 or flags & 8 and length < 3) else FINE
    if kind == 1:
        meter.continuations = 0
        meter.block_bytes = length
        meter.block_open = not flags & 4
        return FINE if length <= limits.header_block_bytes else HEADER_BLOCK
    if kind == 9:
        return judge_continuation(meter, limits, length, flags, now_ns)
    if kind == 2:
        return spend(meter, limits, PRIORITIES, now_ns)
    if kind == 3:
        return spend(meter, limits, RESETS, now_ns)
    if kind == 4:
        return spend(meter, limits, SETTINGS, now_ns)
    if kind == 6:
        return FINE if flags & 1 else spend(meter, limits, PINGS, now_ns)
    if kind == 8:
        return spend(meter, limits, WINDOW_UPDATES, now_ns)
    return spend(meter, limits, UNKNOWN_FRAMES, now_ns)


cdef inline Reason judge_continuation(
    Meter *meter, const Limits *limits, uint32_t length, uint8_t flags, int64_t now_ns
) noexcept nogil:
    meter.continuations += 1
    meter.block_bytes += min(length, 1 << 24)
    meter.block_open = not flags & 4
    if meter.continuations > limits.continuations:
        return CONTINUATIONS
    if meter.block_bytes > limits.header_block_bytes:
        return HEADER_BLOCK
    if length == 0 and not flags & 4:
        return spend(meter, limits, EMPTY_FRAMES, now_ns)
    return FINE


cdef inline Reason feed(Meter *meter, const Limits *limits, const uint8_t *data, size_t size, int64_t now_ns) noexcept nogil:
    """Count the frames in the next bytes of a connection; returns FINE, or why it must end."""
    cdef Cursor cursor = cursor_over(data, <Py_ssize_t>size)
    cdef Py_ssize_t step
    cdef Reason reason
    if meter.preface < PREFACE_BYTES:
        step = min(<Py_ssize_t>(PREFACE_BYTES - meter.preface), cursor.remaining)
        take_bytes(&cursor, step)
        meter.preface += <uint32_t>step
    while cursor.remaining > 0:
        if meter.left > 0:
            step = min(<Py_ssize_t>meter.left, cursor.remaining)
            take_bytes(&cursor, step)
            meter.left -= <uint32_t>step
            continue
        meter.head[meter.have] = take_u8(&cursor)
        meter.have += 1
        if meter.have < FRAME_HEADER_BYTES:
            continue
        meter.have = 0
        if not meter.block_open:
            meter.partial_ns = 0
        meter.left = (<uint32_t>meter.head[0] << 16) | (<uint32_t>meter.head[1] << 8) | meter.head[2]
        reason = judge_frame(meter, limits, now_ns)
        if reason != FINE:
            return reason
    note_partial(meter, now_ns)
    return FINE


cdef inline void note_partial(Meter *meter, int64_t now_ns) noexcept nogil:
    if meter.have == 0 and not meter.block_open and (meter.left == 0 or meter.head[3] == 0):
        meter.partial_ns = 0
    elif meter.partial_ns == 0:
        meter.partial_ns = now_ns
