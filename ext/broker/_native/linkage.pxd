# cython: language_level=3
"""Layouts of packed records, for other native modules: what `linkage.pyx` shares with the index and with the search.

What must not go in here: rules, keys.
"""

from cpython.buffer cimport Py_buffer
from libc.stdint cimport uint8_t, uint32_t

from linkage_cells cimport Characters, CLayout

cdef class Layout:
    cdef CLayout c
    cdef readonly tuple kinds
    cdef int fill_cells(self, uint8_t *row, tuple values, bint addresses, bint others) except -1

cdef const Characters *loaded_characters() noexcept nogil

cdef int open_rows(Py_buffer *view, object rows, uint32_t stride, bint writable) except -1
