/* What a writer of a stream is made of, for the files that it is written in. What must not go in here: functions. */
#ifndef BROKER_JOURNAL_PRIVATE_H
#define BROKER_JOURNAL_PRIVATE_H

#include <pthread.h>

#include "journal_writer.h"

enum { JOURNAL_IDLE = 1, JOURNAL_LINGERS = 2 };

struct Journal {
    JournalStream stream;
    pthread_t thread;
    int event;
    int told; /* the file that says how many batches are durable; -1: none */

    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    int is_waiting; /* idle for a first record, or for more of a batch; 0: it is at work */
    int is_ending;
    JournalQueue queue;
    JournalFacts facts;
    JournalHead head;

    /* the thread's own */
    MerkleHash hash;
    JournalSegment segment;
    JournalBegin begin; /* of the segment that is written, or of the one that is tried */
    JournalTiming timing;
    JournalHead next; /* the head once the batch that is being written is durable */
    JournalClock clock;
    int tries;        /* after being told to end */

    /* words that others read without the lock */
    uint64_t durable, state, snapshot;
};

int journal_told_open(const JournalStream *stream); /* -1: it cannot be had */
/* Once so many are durable, and never before; without the lock, for a file may be waited for. */
void journal_tell(const Journal *journal, uint64_t batches);

#endif
