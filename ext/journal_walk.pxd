# cython: language_level=3
"""`journal_walk.h` for native modules. What must not go in here: anything that is not declared there."""

from libc.stdint cimport uint32_t, uint64_t

from merkle_trees cimport MerkleHash

cdef extern from "journal_walk.h" nogil:
    enum:
        JOURNAL_SEGMENT_BYTES
        JOURNAL_BATCH_BYTES
        JOURNAL_HASHED_BYTES
        JOURNAL_CLOSES

    ctypedef enum WalkStatus:
        WALK_ON
        WALK_CLOSED
        WALK_END
        WALK_CUT_OFF
        WALK_NO_BATCH
        WALK_CRC
        WALK_FLAGS
        WALK_NUMBER
        WALK_SEQUENCE
        WALK_CHAIN
        WALK_RECORDS
        WALK_ROOT
        WALK_NO_DIGEST

    ctypedef struct JournalState:
        uint64_t batches
        uint64_t records
        unsigned char chain[32]

    ctypedef struct JournalBatch:
        const unsigned char *header
        const unsigned char *records
        uint32_t bytes
        uint32_t count
        uint32_t flags
        uint64_t number
        uint64_t first
        uint64_t wall_ns

    void journal_begin(
        JournalState *state, uint64_t batches, uint64_t records, const unsigned char *chain, const unsigned char *nodes)
    int journal_begin_segment(MerkleHash *hash, JournalState *state, const unsigned char *header)
    unsigned journal_nodes(const JournalState *state, unsigned char *nodes)
    WalkStatus journal_look(const unsigned char *data, size_t size, size_t at, JournalBatch *batch)
    int journal_crc_holds(const JournalBatch *batch)
    WalkStatus journal_take(MerkleHash *hash, JournalState *state, const unsigned char *data, size_t size, size_t *at)
    size_t journal_find_whole(const unsigned char *data, size_t size, size_t at)
    size_t journal_used(const unsigned char *data, size_t size)
    const unsigned char *journal_next_record(const JournalBatch *batch, size_t *at, uint32_t *bytes)
    int journal_root(MerkleHash *hash, const JournalState *state, unsigned char *root)
