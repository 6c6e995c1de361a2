/* The batches of one segment of the audit log, one after the other: each is checked in full and joined to those before.
 *
 * A batch has a header of 124 bytes (numbers big-endian) and records behind it, each after 4 bytes of length:
 *
 *     0 "BATC"       8 u32 records    16 u64 its number              32 u64 wall clock, ns    56 chain hash before   120 u32 CRC-32C
 *     4 u32 bytes   12 u32 flags      24 u64 first sequence          40 u64 monotonic, ns     88 Merkle root             of 0–119
 *       of records     2: the last                                   48 u64 snapshot                                    and records
 *
 * The chain hash after it is H(0x02 | bytes 0–119), and those bytes are its leaf in the tree of its stream. The first batch of a
 * segment has H(0x03 | bytes 0–251 of the segment's header) before it; that header has the chain hash before. Bytes come from outside:
 * everything is read through lengths that were checked. What must not go in here: headers of segments, files, checkpoints.
 */
#ifndef BROKER_JOURNAL_WALK_H
#define BROKER_JOURNAL_WALK_H

#include <stddef.h>
#include <stdint.h>

#include "merkle.h"

#define JOURNAL_SEGMENT_BYTES 256u
#define JOURNAL_BATCH_BYTES 124u
#define JOURNAL_HASHED_BYTES 120u
#define JOURNAL_MOST_RECORDS 1024u
#define JOURNAL_MOST_RECORD_BYTES 65536u
#define JOURNAL_CLOSES 2u

typedef enum {
    WALK_ON,       /* the next batch may follow */
    WALK_CLOSED,   /* the last batch said that it closes the segment */
    WALK_END,      /* four bytes of zero, or nothing: no batch begins here */
    WALK_CUT_OFF,  /* from here on: why what stands here is no batch that may */
    WALK_NO_BATCH,
    WALK_CRC,
    WALK_FLAGS,
    WALK_NUMBER,
    WALK_SEQUENCE,
    WALK_CHAIN,
    WALK_RECORDS,
    WALK_ROOT,
    WALK_NO_DIGEST /* libcrypto refused to hash: says nothing about the log */
} WalkStatus;

/* What is known of a stream after so many batches. */
typedef struct {
    uint64_t batches;
    uint64_t records;
    unsigned char chain[MERKLE_BYTES]; /* after the last batch */
    unsigned char link[MERKLE_BYTES];  /* what the next batch has before it */
    MerkleTree tree; /* over headers of batches */
} JournalState;

typedef struct {
    const unsigned char *header;
    const unsigned char *records;
    uint32_t bytes;
    uint32_t count;
    uint32_t flags;
    uint64_t number;
    uint64_t first;
    uint64_t wall_ns;
} JournalBatch;

/* Begin behind so many batches, whose tree has these roots of whole subtrees, largest first; there is one a bit of `batches`. */
void journal_begin(JournalState *state, uint64_t batches, uint64_t records, const unsigned char *chain,
                   const unsigned char *nodes);

/* Begin a segment, whose header has JOURNAL_SEGMENT_BYTES; 0 if libcrypto refused to hash. */
int journal_begin_segment(MerkleHash *hash, JournalState *state, const unsigned char *header);

/* Those roots of now, largest first, into room for MERKLE_DEEPEST hashes; returns how many. */
unsigned journal_nodes(const JournalState *state, unsigned char *nodes);

/* The root of the tree of now; 0 if libcrypto refused to hash. */
int journal_root(MerkleHash *hash, const JournalState *state, unsigned char *root);

/* Look at what begins at `at`, which is not beyond `size`: its header and that it fits, not its CRC. */
WalkStatus journal_look(const unsigned char *data, size_t size, size_t at, JournalBatch *batch);

int journal_crc_holds(const JournalBatch *batch);

/* Check the batch at `*at`, join it to the state and step behind it; WALK_ON or WALK_CLOSED if all of it holds, or nothing is changed. */
WalkStatus journal_take(MerkleHash *hash, JournalState *state, const unsigned char *data, size_t size, size_t *at);

/* Where the first whole batch (by its CRC) begins at or behind `at`; `size` if there is none. Bytes that were made to look like
 * very many batches are told as one: no torn write leaves such. */
size_t journal_find_whole(const unsigned char *data, size_t size, size_t at);

/* Where the bytes that are not zero end. */
size_t journal_used(const unsigned char *data, size_t size);

/* The next record of a batch: `*at` counts from the first record's length on. NULL at the end, or where lengths do not add up. */
const unsigned char *journal_next_record(const JournalBatch *batch, size_t *at, uint32_t *bytes);

#endif
