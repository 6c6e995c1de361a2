# cython: language_level=3
"""The native face of `plans.pyx`: how the arguments of an interface become a question."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t

from broker._native.cachekey cimport Pair, Slice
from broker._native.policy cimport Image
from broker._native.wire cimport CallView


cdef struct Argument:
    Slice name
    uint8_t kind           # of canonical.pxd
    bint required
    Py_ssize_t max_chars


cdef struct Plan:          # of one interface version
    bint known             # 0: its calls are for the core
    bint waits             # for the disk, before an answer leaves
    bint is_held           # answered from a record base; else from the cache
    Py_ssize_t call_slot   # of the tally
    Py_ssize_t match_slot
    Slice subject          # name of the argument that names whom the call is about
    Slice origin           # of its answers, encoded as `reply.pyx` has it
    Py_ssize_t count
    Argument *arguments    # names strictly rising by bytes


cdef Py_ssize_t question_of(Pair *into, const Plan *plan, const CallView *call) noexcept nogil
cdef Slice subject_of(const Plan *plan, const Pair *question, Py_ssize_t count) noexcept nogil
cdef dict texts_of(const Pair *pairs, Py_ssize_t count)


@cython.final
cdef class Plans:
    cdef Plan *plans       # by number of the interface version in the image
    cdef uint32_t count
    cdef list answers      # what tells, in Python, what a record says; by the same number, None where nothing is known
    cdef list _texts
    cdef Image image
    cdef int _fill(self, Plan *plan, planned) except -1
    cdef int _fill_arguments(self, Plan *plan, list arguments) except -1
    cdef int _point(self, Slice *into, bytes text) except -1
