# cython: language_level=3
"""Numbers in decimal, for headers and identifiers: `snprintf` takes ten times as long. What must not go in here: any other text."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef enum:
    MOST_DIGITS = 20


cdef inline size_t put_decimal(char *at, uint64_t number) noexcept nogil:
    """Write a number where there is room for MOST_DIGITS; returns how many bytes it took."""
    cdef char digits[MOST_DIGITS]
    cdef size_t begin = MOST_DIGITS
    while True:
        begin -= 1
        digits[begin] = <char>(48 + number % 10)
        number //= 10
        if number == 0:
            break
    memcpy(at, digits + begin, MOST_DIGITS - begin)
    return MOST_DIGITS - begin
