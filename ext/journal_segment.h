/* One segment of an audit stream as a file: made, preallocated, appended to, closed. Formats are those of docs/audit-format.md.
 *
 * Room is reserved ahead in steps and filled with zeros, so that an append changes no metadata and a full disk is an error
 * before anything is written over it. A segment that failed is never written or synced again: after an error of fdatasync
 * nobody knows what is on the disk (PostgreSQL's fsync of 2018), and asking again may say that all is well. Functions return 0
 * or an errno. What must not go in here: records, threads, and what is done about an error (journal_writer.c).
 */
#ifndef BROKER_JOURNAL_SEGMENT_H
#define BROKER_JOURNAL_SEGMENT_H

#include <stdint.h>
#include <time.h>

#include "merkle.h"

#define JOURNAL_SEGMENT_HEADER 256u
#define JOURNAL_BATCH_HEADER 124u
#define JOURNAL_BATCH_HASHED 120u /* bytes of a batch header that are hashed */
#define JOURNAL_STREAM_NAME 32u
#define JOURNAL_ID 16u

typedef enum { JOURNAL_FIRST = 1, JOURNAL_ROTATED, JOURNAL_RESTARTED, JOURNAL_AFTER_FAILURE } JournalWhy;

/* What all segments of a stream have in common. */
typedef struct {
    int directory; /* open on the stream's folder */
    int algorithm; /* MerkleAlgorithm */
    unsigned char name[JOURNAL_STREAM_NAME], boot[JOURNAL_ID], key[JOURNAL_ID];
    uint64_t segment_bytes; /* the batch that reaches it closes the segment */
    uint64_t step_bytes;    /* by which room is reserved */
} JournalStream;

/* How a segment begins, and what it says of the one before. */
typedef struct {
    JournalWhy why;
    uint64_t number, batch, sequence; /* of its first batch and record */
    unsigned char chain[MERKLE_BYTES]; /* after the last batch of the segment before */
    uint64_t valid, left; /* of the segment before: bytes that count, and bytes behind them that do not */
} JournalBegin;

typedef struct {
    int file;          /* -1: none */
    uint64_t end;      /* behind the last batch that is durable */
    uint64_t written;  /* behind the last byte that may have been written */
    uint64_t reserved; /* room on the disk */
    uint64_t zeroed;   /* filled with zeros, or with batches */
    unsigned char chain[MERKLE_BYTES]; /* before its next batch */
} JournalSegment;

/* Make a segment and give it its name once it is durable, and the stream tree before it beside it. */
int journal_segment_begin(JournalSegment *segment, const JournalStream *stream, const JournalBegin *begin,
                          const MerkleTree *tree, MerkleHash *hash, uint64_t wall_ns);

/* Write a batch behind the last one and have it reach the disk. After an error the segment must be left. */
int journal_segment_append(JournalSegment *segment, const JournalStream *stream, const void *batch, uint64_t size,
                           uint64_t *sync_ns);

/* Fill some room ahead with zeros; an error counts as one of the next append. */
int journal_segment_prepare(JournalSegment *segment);

/* Leave a segment for good, and give back the room that nothing was ever written to: what fails again and again must not fill
 * the disk. */
void journal_segment_leave(JournalSegment *segment);

/* --- what both the header of a segment and that of a batch are made of --------------------------------------------------- */

void journal_put_u16(unsigned char *at, uint16_t value);
void journal_put_u32(unsigned char *at, uint32_t value);
void journal_put_u64(unsigned char *at, uint64_t value);
uint64_t journal_clock_ns(int clock);

#endif
