# cython: language_level=3
"""The native face of `policy.pyx`. What is asked of an open image without the interpreter lock stands in `image.pxd` (look-ups)
and `decision.pxd` (the decision); this is how another native module comes by the image.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from image cimport Policy, Term

cdef int64_t time_of(at_ms) except? -1


@cython.final
cdef class Image:
    cdef Policy policy
    cdef uint8_t *_starts      # 1 for every eighth byte of `terms` where a record starts
    cdef Py_buffer _memory     # held, so that nobody resizes or unmaps what is pointed into
    cdef bint _has_memory
    cdef readonly unsigned long long version
    cdef readonly bytes digest
    cdef const Term *at(self, uint64_t ref) except NULL
    cdef uint64_t _header(self, const unsigned char *at, Py_ssize_t size) except? 0
    cdef str _text(self, uint32_t symbol)
    cdef tuple _texts(self, const uint32_t *numbers, uint32_t count)
