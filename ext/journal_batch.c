/* Batches of an audit stream and their queue: see `journal_batch.h`. What must not go in here: threads, files. */
#include "journal_batch.h"

#include <stdlib.h>
#include <string.h>

#include "crc32c.h"

enum {
    LENGTH_BYTES = 4,
    LEAST_CAPACITY = 1 << 16,
    KEPT_CAPACITY = 1 << 20, /* what was larger is given back */
    CHAIN = 0x02
};

static const uint64_t LEAP_NS = 60u * 1000000000ull;

/* --- the queue ----------------------------------------------------------------------------------------------------------- */

JournalBatch *journal_queue_first(JournalQueue *queue) { return &queue->batches[queue->first % JOURNAL_BATCHES]; }

JournalBatch *journal_queue_last(JournalQueue *queue) { return &queue->batches[queue->last % JOURNAL_BATCHES]; }

int journal_queue_has_any(JournalQueue *queue)
{
    return journal_queue_has_full(queue) || journal_queue_last(queue)->records != 0;
}

static void empty(JournalBatch *batch)
{
    if (batch->capacity > KEPT_CAPACITY) {
        free(batch->data);
        batch->data = NULL;
        batch->capacity = 0;
    }
    batch->size = JOURNAL_BATCH_HEADER;
    batch->records = 0;
    batch->closes = 0;
}

void journal_queue_open(JournalQueue *queue)
{
    unsigned i;

    memset(queue, 0, sizeof *queue);
    for (i = 0; i < JOURNAL_BATCHES; i++)
        empty(&queue->batches[i]);
}

void journal_queue_close(JournalQueue *queue)
{
    unsigned i;

    for (i = 0; i < JOURNAL_BATCHES; i++) {
        free(queue->batches[i].data);
        queue->batches[i].data = NULL;
    }
}

static int make_room(JournalBatch *batch, size_t more)
{
    size_t wanted = batch->capacity < LEAST_CAPACITY ? LEAST_CAPACITY : batch->capacity;
    unsigned char *grown;

    if (more <= batch->capacity && batch->size <= batch->capacity - more)
        return 1;
    while (wanted - batch->size < more)
        wanted *= 2;
    if ((grown = realloc(batch->data, wanted)) == NULL)
        return 0;
    batch->data = grown;
    batch->capacity = wanted;
    return 1;
}

static int seal(JournalQueue *queue)
{
    if (queue->last - queue->first + 1 >= JOURNAL_BATCHES)
        return 0;
    queue->last++;
    return 1;
}

static int has_place(const JournalBatch *batch, size_t taken)
{
    return !journal_batch_is_full(batch) &&
           (batch->records == 0 || batch->size - JOURNAL_BATCH_HEADER + taken <= JOURNAL_BATCH_BYTES);
}

static void add(JournalBatch *batch, const void *record, size_t size)
{
    journal_put_u32(batch->data + batch->size, (uint32_t)size);
    memcpy(batch->data + batch->size + LENGTH_BYTES, record, size);
    batch->size += LENGTH_BYTES + size;
    batch->records++;
}

JournalStatus journal_queue_put(JournalQueue *queue, const void *record, size_t size, int closes, uint64_t sequence)
{
    size_t taken = LENGTH_BYTES + size;
    JournalBatch *batch;

    if (size == 0 || size > JOURNAL_MOST_RECORD)
        return JOURNAL_NO_RECORD;
    if (queue->records >= JOURNAL_MOST_QUEUED || queue->bytes + taken > JOURNAL_MOST_QUEUED_BYTES)
        return JOURNAL_FULL;
    if (!has_place(journal_queue_last(queue), taken) && !seal(queue))
        return JOURNAL_FULL;
    batch = journal_queue_last(queue);
    if (!make_room(batch, taken))
        return JOURNAL_NO_MEMORY;
    if (batch->records == 0) {
        batch->first_ns = journal_clock_ns(CLOCK_MONOTONIC);
        batch->sequence = sequence;
    }
    add(batch, record, size);
    batch->closes = closes;
    queue->records++;
    queue->bytes += taken;
    return JOURNAL_OK;
}

void journal_queue_take(JournalQueue *queue)
{
    if (!journal_queue_has_full(queue))
        seal(queue); /* there is another batch: the queue holds but this one */
}

/* The memory that was just used is in the processor's cache: let the next batch to gather have it. */
static void pass_on(JournalBatch *from, JournalBatch *to)
{
    unsigned char *data = to->data;
    size_t capacity = to->capacity;

    if (to->records != 0)
        return;
    to->data = from->data;
    to->capacity = from->capacity;
    from->data = data;
    from->capacity = capacity;
}

void journal_queue_drop(JournalQueue *queue)
{
    JournalBatch *batch = journal_queue_first(queue);

    queue->records -= batch->records;
    queue->bytes -= batch->size - JOURNAL_BATCH_HEADER;
    empty(batch);
    queue->first++;
    pass_on(batch, &queue->batches[(queue->last + 1) % JOURNAL_BATCHES]);
}

/* --- the clocks ---------------------------------------------------------------------------------------------------------- */

int journal_clock_leapt(JournalClock *clock, uint64_t wall_ns, uint64_t mono_ns)
{
    uint64_t passed = mono_ns - clock->mono_ns;
    int went_back = wall_ns < clock->wall_ns;
    int went_ahead = clock->mono_ns != 0 && !went_back && wall_ns - clock->wall_ns > passed + LEAP_NS;

    clock->wall_ns = wall_ns;
    clock->mono_ns = mono_ns;
    return went_back || went_ahead;
}

/* --- the header ---------------------------------------------------------------------------------------------------------- */

MerkleStatus journal_batch_finish(JournalBatch *batch, const JournalPlace *place, MerkleHash *hash)
{
    unsigned char *header = batch->data, *records = batch->data + JOURNAL_BATCH_HEADER;
    size_t bytes = batch->size - JOURNAL_BATCH_HEADER;
    uint32_t checksum;
    MerkleStatus status;

    memcpy(header, "BATC", 4);
    journal_put_u32(header + 4, (uint32_t)bytes);
    journal_put_u32(header + 8, batch->records);
    journal_put_u32(header + 12, place->flags);
    journal_put_u64(header + 16, place->number);
    journal_put_u64(header + 24, batch->sequence);
    journal_put_u64(header + 32, place->wall_ns);
    journal_put_u64(header + 40, place->mono_ns);
    journal_put_u64(header + 48, place->snapshot);
    memcpy(header + 56, place->chain, MERKLE_BYTES);
    status = merkle_root_of_records(hash, records, bytes, batch->records, header + 88);
    checksum = crc32c_feed(CRC32C_START, header, JOURNAL_BATCH_HASHED);
    checksum = crc32c_feed(checksum, records, bytes);
    journal_put_u32(header + JOURNAL_BATCH_HASHED, crc32c_finish(checksum));
    return status;
}

MerkleStatus journal_batch_follow(const JournalBatch *batch, MerkleHash *hash, unsigned char *chain, MerkleTree *tree)
{
    unsigned char leaf[MERKLE_BYTES];
    MerkleStatus status = merkle_leaf(hash, batch->data, JOURNAL_BATCH_HASHED, leaf);

    if (status == MERKLE_OK)
        status = merkle_append(hash, tree, leaf);
    if (status == MERKLE_OK)
        status = merkle_prefixed(hash, CHAIN, batch->data, JOURNAL_BATCH_HASHED, chain);
    return status;
}
