/* The writer of one audit stream: a bounded queue of records, and a thread that writes them in batches.
 *
 * Records are appended by whoever has one, in any thread; they get their sequence at once. The thread takes what has gathered,
 * at the latest `linger_ns` after the first (or as long as the last sync took, if that is less: to wait longer saves nothing),
 * or as soon as there are 1,024 or 4 MiB; hashes it, writes it with one pwrite and one fdatasync, publishes how many records
 * are durable, and rings an eventfd once a batch. It never holds Python's lock.
 *
 * After any error of a write or a sync the segment is left for good, the state is JOURNAL_FAILED and nothing more is taken.
 * What was not durable is *undecided*: who waits for it is told so, and it is written again, under the same numbers, into the
 * next segment, which is tried four times a second. What must not go in here: what a record says, files (journal_segment.c).
 */
#ifndef BROKER_JOURNAL_WRITER_H
#define BROKER_JOURNAL_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "journal_batch.h"

typedef enum { JOURNAL_OPEN, JOURNAL_FAILED, JOURNAL_ENDED } JournalState;

typedef struct {
    JournalState state;
    int error; /* errno of the last failure */
    uint64_t appended, durable, undecided; /* records; those from `durable` up to `undecided` failed at the last failure */
    uint64_t failures, batches, segments, bytes, sync_ns, last_sync_ns;
    uint64_t segment; /* the number of the one that is written */
    uint64_t segment_bytes;
    uint64_t queued, queued_bytes;
} JournalFacts;

/* All that is durable, as a checkpoint tells it. */
typedef struct {
    uint64_t records, batches;
    unsigned char chain[MERKLE_BYTES];
    MerkleTree tree;
} JournalHead;

typedef struct {
    uint64_t linger_ns, retry_ns;
    uint64_t wall_ns; /* of the last batch before; 0: none */
} JournalTiming;

typedef struct Journal Journal;

/* Begin a segment and start the thread. That the segment cannot be made is no error here but a state. */
JournalStatus journal_start(Journal **journal, const JournalStream *stream, const JournalBegin *begin, const MerkleTree *tree,
                            const JournalTiming *timing);

typedef enum {
    JOURNAL_GOES_ON,
    JOURNAL_CLOSES_SEGMENT, /* the record is the last of its segment */
    JOURNAL_CLOSES_STREAM,  /* and of this writer: nothing is taken after it */
    JOURNAL_MORE_COME       /* who appends has more, and says so by journal_nudge when it is all: until then the thread sleeps */
} JournalAfter;

/* Queue a record: OK, FULL, UNAVAILABLE, NO_RECORD, NO_MEMORY. */
JournalStatus journal_append(Journal *journal, const void *record, size_t size, JournalAfter after, uint64_t *sequence);

/* Have written what was appended with JOURNAL_MORE_COME. */
void journal_nudge(Journal *journal);

uint64_t journal_durable(const Journal *journal); /* records that are; without a lock */
JournalState journal_state(const Journal *journal);
int journal_event(const Journal *journal);
void journal_set_snapshot(Journal *journal, uint64_t version);
void journal_look(Journal *journal, JournalFacts *facts);
void journal_head(Journal *journal, JournalHead *head);

/* Write what is queued, end the thread, free everything; what cannot be written is lost, and nobody was told otherwise. */
void journal_stop(Journal *journal, JournalFacts *last);

#endif
