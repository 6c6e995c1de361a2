/* Group commit of one audit stream: see `journal_writer.h`. What must not go in here: what a record says, files. */
#include "journal_private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "atomic64.h"
#include "crc32c.h"

enum { LAST_TRIES = 3 }; /* of a writer that is told to end and cannot write */

/* --- appending ----------------------------------------------------------------------------------------------------------- */

/* The thread is woken for the first of a batch and when there is no use in waiting for more. */
static void wake_thread(Journal *journal, JournalAfter after)
{
    const JournalBatch *batch = journal_queue_last(&journal->queue);
    int begins = batch->records == 1 && after != JOURNAL_MORE_COME;

    if (journal->is_waiting && (begins || journal_batch_is_full(batch)))
        pthread_cond_signal(&journal->wake);
}

JournalStatus journal_append(Journal *journal, const void *record, size_t size, JournalAfter after, uint64_t *sequence)
{
    JournalStatus status = JOURNAL_UNAVAILABLE;
    int closes = after == JOURNAL_CLOSES_SEGMENT || after == JOURNAL_CLOSES_STREAM;

    pthread_mutex_lock(&journal->lock);
    if (journal->facts.state == JOURNAL_OPEN && !journal->is_ending)
        status = journal_queue_put(&journal->queue, record, size, closes, journal->facts.appended);
    if (status == JOURNAL_OK) {
        *sequence = journal->facts.appended++;
        journal->is_ending = after == JOURNAL_CLOSES_STREAM;
        wake_thread(journal, after);
    }
    pthread_mutex_unlock(&journal->lock);
    return status;
}

void journal_nudge(Journal *journal)
{
    pthread_mutex_lock(&journal->lock);
    if (journal->is_waiting == JOURNAL_IDLE && journal_queue_has_any(&journal->queue))
        pthread_cond_signal(&journal->wake);
    pthread_mutex_unlock(&journal->lock);
}

/* --- telling ------------------------------------------------------------------------------------------------------------- */

static void ring(const Journal *journal)
{
    uint64_t one = 1;

    while (write(journal->event, &one, sizeof one) < 0 && errno == EINTR) {
    } /* EAGAIN: it has been rung more often than anybody looked, and will be looked at */
}

static void set_state(Journal *journal, JournalState state)
{
    journal->facts.state = state;
    atomic64_store(&journal->state, (uint64_t)state);
}

/* --- a batch ------------------------------------------------------------------------------------------------------------- */

/* Give a batch its header, and work out what the head will be once it is durable. */
static MerkleStatus finish(Journal *journal, JournalBatch *batch, int closes)
{
    JournalHead *next = &journal->next;
    JournalPlace place = {.number = journal->head.batches, .chain = journal->segment.chain};
    MerkleStatus status;

    place.wall_ns = journal_clock_ns(CLOCK_REALTIME);
    place.mono_ns = journal_clock_ns(CLOCK_MONOTONIC);
    place.snapshot = atomic64_load(&journal->snapshot);
    place.flags = journal_clock_leapt(&journal->clock, place.wall_ns, place.mono_ns) ? JOURNAL_CLOCK_LEAPT : 0;
    place.flags |= closes ? JOURNAL_CLOSES : 0;
    status = journal_batch_finish(batch, &place, &journal->hash);
    *next = journal->head;
    next->batches++;
    next->records += batch->records;
    return status == MERKLE_OK ? journal_batch_follow(batch, &journal->hash, next->chain, &next->tree) : status;
}

static void publish(Journal *journal, uint64_t sync_ns)
{
    JournalFacts *facts = &journal->facts;

    journal->head = journal->next;
    memcpy(journal->segment.chain, journal->head.chain, MERKLE_BYTES);
    facts->durable = journal->head.records;
    facts->batches++;
    facts->bytes += journal_queue_first(&journal->queue)->size;
    facts->sync_ns += sync_ns;
    facts->last_sync_ns = sync_ns;
    facts->segment_bytes = journal->segment.end;
    journal_queue_drop(&journal->queue);
    atomic64_store(&journal->durable, facts->durable);
    ring(journal);
}

/* --- segments, failures -------------------------------------------------------------------------------------------------- */

/* Leave the segment that was written, and say how the next begins. With the lock held, which is given up meanwhile. */
static void leave(Journal *journal, JournalWhy why)
{
    JournalBegin *begin = &journal->begin;
    JournalSegment *segment = &journal->segment;

    begin->why = why;
    begin->number++;
    begin->batch = journal->head.batches;
    begin->sequence = journal->head.records;
    memcpy(begin->chain, journal->head.chain, MERKLE_BYTES);
    begin->valid = segment->end;
    begin->left = segment->written > segment->end ? segment->written - segment->end : 0;
    pthread_mutex_unlock(&journal->lock);
    journal_segment_leave(segment);
    pthread_mutex_lock(&journal->lock);
}

static void fail(Journal *journal, int error)
{
    JournalFacts *facts = &journal->facts;

    facts->error = error;
    if (facts->state != JOURNAL_FAILED) {
        facts->failures++;
        facts->undecided = facts->appended;
    }
    set_state(journal, JOURNAL_FAILED);
    ring(journal);
}

/* With the lock held, which is given up while the disk is waited for. */
static void begin_segment(Journal *journal)
{
    int error;

    pthread_mutex_unlock(&journal->lock);
    error = journal_segment_begin(&journal->segment, &journal->stream, &journal->begin, &journal->head.tree, &journal->hash,
                                  journal_clock_ns(CLOCK_REALTIME));
    pthread_mutex_lock(&journal->lock);
    if (error != 0) {
        fail(journal, error);
        return;
    }
    journal->facts.segments++;
    journal->facts.segment = journal->begin.number;
    journal->facts.segment_bytes = journal->segment.end;
    if (journal->facts.state == JOURNAL_FAILED) {
        set_state(journal, JOURNAL_OPEN);
        ring(journal);
    }
}

/* --- the thread ---------------------------------------------------------------------------------------------------------- */

static void wait_until(Journal *journal, uint64_t when_ns)
{
    struct timespec when = {(time_t)(when_ns / 1000000000u), (long)(when_ns % 1000000000u)};

    journal->is_waiting = when_ns == UINT64_MAX ? JOURNAL_IDLE : JOURNAL_LINGERS;
    if (when_ns == UINT64_MAX)
        pthread_cond_wait(&journal->wake, &journal->lock);
    else
        pthread_cond_timedwait(&journal->wake, &journal->lock, &when);
    journal->is_waiting = 0;
}

/* Give others the time to join a batch. Returns at once if it is full, or if somebody has waited long enough. */
static void linger(Journal *journal)
{
    uint64_t last_ns = journal->facts.last_sync_ns;
    uint64_t linger_ns = last_ns < journal->timing.linger_ns ? last_ns : journal->timing.linger_ns;

    while (!journal_queue_has_full(&journal->queue) && !journal->is_ending) {
        const JournalBatch *batch = journal_queue_first(&journal->queue);
        uint64_t until = batch->first_ns + linger_ns;
        if (journal_batch_is_full(batch) || journal_clock_ns(CLOCK_MONOTONIC) >= until)
            return;
        wait_until(journal, until);
    }
}

/* Write the first batch; with the lock held, which is given up meanwhile. One that cannot be written stays where it is, and is
 * written again, into another segment. */
static void commit(Journal *journal)
{
    JournalBatch *batch = journal_queue_first(&journal->queue);
    uint64_t sync_ns = 0;
    int error, closes;

    journal_queue_take(&journal->queue);
    pthread_mutex_unlock(&journal->lock);
    closes = batch->closes || journal->segment.end + batch->size >= journal->stream.segment_bytes;
    error = finish(journal, batch, closes) == MERKLE_OK ? 0 : EBADMSG;
    if (error == 0)
        error = journal_segment_append(&journal->segment, &journal->stream, batch->data, batch->size, &sync_ns);
    if (error == 0)
        journal_tell(journal, journal->next.batches);
    pthread_mutex_lock(&journal->lock);
    if (error != 0) {
        fail(journal, error); /* first of all: nobody is to wait for the disk to learn of it */
        leave(journal, JOURNAL_AFTER_FAILURE);
        return;
    }
    publish(journal, sync_ns);
    if (!closes)
        return;
    leave(journal, JOURNAL_ROTATED);
    if (!journal->is_ending || journal_queue_has_any(&journal->queue))
        begin_segment(journal);
}

/* Fill room ahead while nobody waits for it, or before somebody has to. */
static void prepare(Journal *journal)
{
    int error;

    if (journal->segment.file < 0)
        return;
    pthread_mutex_unlock(&journal->lock);
    error = journal_segment_prepare(&journal->segment);
    pthread_mutex_lock(&journal->lock);
    if (error != 0) {
        fail(journal, error); /* first of all: nobody is to wait for the disk to learn of it */
        leave(journal, JOURNAL_AFTER_FAILURE);
    }
}

/* One try to go on after a failure; returns whether there is any use in another. */
static int recover(Journal *journal)
{
    if (journal->is_ending && journal->tries++ == LAST_TRIES)
        return 0;
    wait_until(journal, journal_clock_ns(CLOCK_MONOTONIC) + (journal->is_ending ? 0 : journal->timing.retry_ns));
    begin_segment(journal);
    return 1;
}

static void *run(void *argument)
{
    Journal *journal = argument;

    pthread_mutex_lock(&journal->lock);
    for (;;) {
        if (journal->facts.state == JOURNAL_FAILED) {
            if (!recover(journal))
                break;
        } else if (journal_queue_has_any(&journal->queue)) {
            linger(journal);
            commit(journal);
            prepare(journal);
        } else if (journal->is_ending) {
            break;
        } else {
            wait_until(journal, UINT64_MAX);
        }
    }
    journal_segment_leave(&journal->segment);
    set_state(journal, JOURNAL_ENDED);
    ring(journal);
    pthread_mutex_unlock(&journal->lock);
    return NULL;
}

/* --- starting and stopping ----------------------------------------------------------------------------------------------- */

static void release(Journal *journal)
{
    journal_queue_close(&journal->queue);
    if (journal->event >= 0)
        close(journal->event);
    if (journal->told >= 0)
        close(journal->told);
    merkle_close(&journal->hash);
    pthread_cond_destroy(&journal->wake);
    pthread_mutex_destroy(&journal->lock);
    free(journal);
}

static int make_waiting(Journal *journal)
{
    pthread_condattr_t attributes;

    if (pthread_mutex_init(&journal->lock, NULL) != 0)
        return 0;
    if (pthread_condattr_init(&attributes) != 0 || pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) != 0 ||
        pthread_cond_init(&journal->wake, &attributes) != 0) {
        pthread_mutex_destroy(&journal->lock);
        return 0;
    }
    pthread_condattr_destroy(&attributes);
    return 1;
}

static Journal *make(const JournalStream *stream, const JournalBegin *begin, const MerkleTree *tree,
                     const JournalTiming *timing)
{
    Journal *journal = calloc(1, sizeof *journal);

    if (journal == NULL || !make_waiting(journal)) {
        free(journal);
        return NULL;
    }
    journal_queue_open(&journal->queue);
    journal->stream = *stream;
    journal->begin = *begin;
    journal->timing = *timing;
    journal->clock.wall_ns = timing->wall_ns;
    journal->head.records = journal->facts.appended = journal->facts.durable = journal->durable = begin->sequence;
    journal->head.batches = begin->batch;
    journal->head.tree = *tree;
    memcpy(journal->head.chain, begin->chain, MERKLE_BYTES);
    journal->segment.file = journal->event = -1;
    journal->told = journal_told_open(stream);
    return journal;
}

/* Signals are for the thread that runs Python. */
static int start_thread(Journal *journal)
{
    sigset_t all, before;
    int error;

    sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return 0;
    error = pthread_create(&journal->thread, NULL, run, journal);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error == 0;
}

JournalStatus journal_start(Journal **made, const JournalStream *stream, const JournalBegin *begin, const MerkleTree *tree,
                            const JournalTiming *timing)
{
    Journal *journal = make(stream, begin, tree, timing);
    JournalStatus status = JOURNAL_OK;

    if (journal == NULL)
        return JOURNAL_NO_MEMORY;
    journal->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (journal->event < 0)
        status = JOURNAL_NO_THREAD;
    else if (merkle_open(&journal->hash, stream->algorithm) != MERKLE_OK)
        status = JOURNAL_NO_HASH;
    if (status == JOURNAL_OK) {
        pthread_mutex_lock(&journal->lock);
        begin_segment(journal);
        pthread_mutex_unlock(&journal->lock);
        status = start_thread(journal) ? JOURNAL_OK : JOURNAL_NO_THREAD;
    }
    if (status == JOURNAL_OK) {
        *made = journal;
        return JOURNAL_OK;
    }
    journal_segment_leave(&journal->segment);
    release(journal);
    return status;
}

void journal_stop(Journal *journal, JournalFacts *last)
{
    pthread_mutex_lock(&journal->lock);
    journal->is_ending = 1;
    pthread_cond_signal(&journal->wake);
    pthread_mutex_unlock(&journal->lock);
    pthread_join(journal->thread, NULL);
    journal_look(journal, last);
    release(journal);
}
