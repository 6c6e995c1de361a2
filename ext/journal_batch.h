/* Batches of an audit stream: records that gather behind the room for a header, a bounded queue of such, and the header.
 *
 * Nothing here waits or locks: who uses a queue from several threads holds a lock meanwhile. A batch that is no longer the
 * last of its queue does not change any more. What must not go in here: threads, files, what a record says.
 */
#ifndef BROKER_JOURNAL_BATCH_H
#define BROKER_JOURNAL_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "journal_segment.h"

#define JOURNAL_MOST_RECORD 65536u
#define JOURNAL_BATCH_RECORDS 1024u
#define JOURNAL_BATCH_BYTES (4u << 20)
#define JOURNAL_MOST_QUEUED 65536u
#define JOURNAL_MOST_QUEUED_BYTES (64u << 20)

/* Batches are full by records or by bytes; as many as there is room for of either, one that gathers, one that is written. */
#define JOURNAL_BATCHES                                                                                                     \
    (JOURNAL_MOST_QUEUED / JOURNAL_BATCH_RECORDS + JOURNAL_MOST_QUEUED_BYTES / JOURNAL_BATCH_BYTES * 2 + 2)

typedef enum {
    JOURNAL_OK,
    JOURNAL_FULL,        /* the queue is: the disk is slower than those who ask */
    JOURNAL_UNAVAILABLE, /* the log cannot be written now */
    JOURNAL_NO_RECORD,   /* it is empty, or longer than JOURNAL_MOST_RECORD */
    JOURNAL_NO_MEMORY,
    JOURNAL_NO_HASH,
    JOURNAL_NO_THREAD    /* the system gives none, or no eventfd */
} JournalStatus;

typedef struct {
    unsigned char *data; /* room for the header, then the records, each behind its length */
    size_t capacity, size;
    uint32_t records;
    int closes;        /* it is the last of its segment */
    uint64_t first_ns; /* when its first record came, by the monotonic clock */
    uint64_t sequence; /* of its first record */
} JournalBatch;

typedef struct {
    JournalBatch batches[JOURNAL_BATCHES];
    uint64_t first, last; /* batch `last` gathers, modulo their number */
    uint64_t records, bytes;
} JournalQueue;

void journal_queue_open(JournalQueue *queue);
void journal_queue_close(JournalQueue *queue);
JournalBatch *journal_queue_first(JournalQueue *queue);
JournalBatch *journal_queue_last(JournalQueue *queue);

static inline int journal_queue_has_full(const JournalQueue *queue) { return queue->first != queue->last; }

int journal_queue_has_any(JournalQueue *queue);

/* Whether there is no use in waiting for more records of a batch. */
static inline int journal_batch_is_full(const JournalBatch *batch)
{
    return batch->records == JOURNAL_BATCH_RECORDS || batch->closes;
}

/* Add a record of this sequence: OK, FULL, NO_RECORD, NO_MEMORY. */
JournalStatus journal_queue_put(JournalQueue *queue, const void *record, size_t size, int closes, uint64_t sequence);

/* Keep others from being added to the first batch. */
void journal_queue_take(JournalQueue *queue);

/* Forget the first batch, which was taken. */
void journal_queue_drop(JournalQueue *queue);

/* The clocks at the last batch; 0: there was none, or of the monotonic one, none in this process. */
typedef struct {
    uint64_t wall_ns, mono_ns;
} JournalClock;

/* Take the clocks of a batch. Whether the wall clock went back, or ahead of the monotonic one by more than a minute. */
int journal_clock_leapt(JournalClock *clock, uint64_t wall_ns, uint64_t mono_ns);

/* What a batch does not know of itself. */
typedef struct {
    uint32_t flags; /* JOURNAL_CLOCK_LEAPT, JOURNAL_CLOSES */
    uint64_t number, wall_ns, mono_ns, snapshot;
    const unsigned char *chain; /* before it */
} JournalPlace;

enum { JOURNAL_CLOCK_LEAPT = 1, JOURNAL_CLOSES = 2 };

MerkleStatus journal_batch_finish(JournalBatch *batch, const JournalPlace *place, MerkleHash *hash);

/* The stream's chain hash and tree of batches, moved on over a batch that is finished. */
MerkleStatus journal_batch_follow(const JournalBatch *batch, MerkleHash *hash, unsigned char *chain, MerkleTree *tree);

#endif
