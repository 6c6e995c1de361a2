# cython: language_level=3
"""`journal_writer.h` and what it includes, for native modules. What must not go in here: anything not declared there."""

from libc.stdint cimport uint32_t, uint64_t

from merkle_trees cimport MerkleTree

cdef extern from "journal_writer.h" nogil:
    enum:
        JOURNAL_MOST_RECORD
        JOURNAL_STREAM_NAME
        JOURNAL_ID

    ctypedef enum JournalWhy:
        JOURNAL_FIRST
        JOURNAL_AFTER_FAILURE

    ctypedef enum JournalState:
        JOURNAL_OPEN
        JOURNAL_FAILED
        JOURNAL_ENDED

    ctypedef enum JournalStatus:
        JOURNAL_OK
        JOURNAL_FULL
        JOURNAL_UNAVAILABLE
        JOURNAL_NO_RECORD
        JOURNAL_NO_MEMORY
        JOURNAL_NO_HASH
        JOURNAL_NO_THREAD

    ctypedef enum JournalAfter:
        JOURNAL_GOES_ON
        JOURNAL_CLOSES_SEGMENT
        JOURNAL_CLOSES_STREAM
        JOURNAL_MORE_COME

    ctypedef struct JournalStream:
        int directory
        int algorithm
        unsigned char name[32]
        unsigned char boot[16]
        unsigned char key[16]
        uint64_t segment_bytes
        uint64_t step_bytes

    ctypedef struct JournalBegin:
        JournalWhy why
        uint64_t number
        uint64_t batch
        uint64_t sequence
        unsigned char chain[32]
        uint64_t valid
        uint64_t left

    ctypedef struct JournalTiming:
        uint64_t linger_ns
        uint64_t retry_ns
        uint64_t wall_ns

    ctypedef struct JournalFacts:
        JournalState state
        int error
        uint64_t appended
        uint64_t durable
        uint64_t undecided
        uint64_t failures
        uint64_t batches
        uint64_t segments
        uint64_t bytes
        uint64_t sync_ns
        uint64_t last_sync_ns
        uint64_t segment
        uint64_t segment_bytes
        uint64_t queued
        uint64_t queued_bytes

    ctypedef struct JournalHead:
        uint64_t records
        uint64_t batches
        unsigned char chain[32]
        MerkleTree tree

    ctypedef struct Journal:
        pass

    JournalStatus journal_start(
        Journal **journal, const JournalStream *stream, const JournalBegin *begin, const MerkleTree *tree,
        const JournalTiming *timing)
    JournalStatus journal_append(Journal *journal, const void *record, size_t size, JournalAfter after, uint64_t *sequence)
    void journal_nudge(Journal *journal)
    uint64_t journal_durable(const Journal *journal)
    JournalState journal_state(const Journal *journal)
    int journal_event(const Journal *journal)
    void journal_set_snapshot(Journal *journal, uint64_t version)
    void journal_look(Journal *journal, JournalFacts *facts)
    void journal_head(Journal *journal, JournalHead *head)
    void journal_stop(Journal *journal, JournalFacts *last)
    uint64_t journal_clock_ns(int clock)
