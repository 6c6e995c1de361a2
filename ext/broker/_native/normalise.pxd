# cython: language_level=3
"""The loaded tables, for other native modules: with them they call what normal_name.pxd and its siblings define, inline.

What must not go in here: Python objects.
"""

from libc.stdint cimport uint8_t, uint32_t

from normal_tables cimport Tables
from normal_text cimport Text

cdef const Tables *loaded_tables() noexcept nogil

cdef int view_text(Text *view, object text) except -1
