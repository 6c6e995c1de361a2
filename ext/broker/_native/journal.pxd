# cython: language_level=3
"""The native face of `journal.pyx`: how another native module has a record written without the interpreter lock."""

cimport cython
from libc.stdint cimport uint64_t

from journal_files cimport Journal, JournalAfter, JournalFacts, JournalState, JournalStatus
from journal_record cimport JournalRecord


@cython.final
cdef class Writer:
    cdef Journal *_journal           # NULL once it is closed
    cdef JournalFacts _last          # from then on
    cdef int _algorithm

    # Fills in the time where it is 0. OK, FULL, UNAVAILABLE, NO_MEMORY; what was put is durable once `durable` is beyond it, and
    # is written once `nudge` says that there is no more for now.
    cdef JournalStatus put(self, JournalRecord *record, uint64_t *sequence) noexcept nogil
    cdef void nudge(self) noexcept nogil
    cdef uint64_t durable_now(self) noexcept nogil
    cdef JournalState state_now(self) noexcept nogil
