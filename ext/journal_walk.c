/* See journal_walk.h. What must not go in here: Python, files. */
#define _GNU_SOURCE /* memmem */
#include "journal_walk.h"

#include <string.h>

#include "crc32c.h"

static uint32_t read_u32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

static uint64_t read_u64(const unsigned char *at) { return (uint64_t)read_u32(at) << 32 | read_u32(at + 4); }

void journal_begin(JournalState *state, uint64_t batches, uint64_t records, const unsigned char *chain,
                   const unsigned char *nodes)
{
    int bit;

    state->batches = batches;
    state->records = records;
    memcpy(state->chain, chain, MERKLE_BYTES);
    memcpy(state->link, chain, MERKLE_BYTES);
    merkle_begin(&state->tree);
    state->tree.size = batches;
    for (bit = 63; bit >= 0; bit--)
        if ((batches >> bit & 1) != 0) {
            memcpy(state->tree.whole[bit], nodes, MERKLE_BYTES);
            nodes += MERKLE_BYTES;
        }
}

int journal_begin_segment(MerkleHash *hash, JournalState *state, const unsigned char *header)
{
    return merkle_prefixed(hash, 3, header, JOURNAL_SEGMENT_BYTES - 4, state->link) == MERKLE_OK; /* all but its CRC */
}

unsigned journal_nodes(const JournalState *state, unsigned char *nodes)
{
    unsigned count = 0;
    int bit;

    for (bit = 63; bit >= 0; bit--)
        if ((state->tree.size >> bit & 1) != 0)
            memcpy(nodes + MERKLE_BYTES * count++, state->tree.whole[bit], MERKLE_BYTES);
    return count;
}

WalkStatus journal_look(const unsigned char *data, size_t size, size_t at, JournalBatch *batch)
{
    size_t left = size - at;
    const unsigned char *header = data + at;

    if (left == 0)
        return WALK_END;
    if (memcmp(header, "\0\0\0\0", left < 4 ? left : 4) == 0)
        return WALK_END;
    if (left < JOURNAL_BATCH_BYTES)
        return WALK_CUT_OFF;
    if (memcmp(header, "BATC", 4) != 0)
        return WALK_NO_BATCH;
    batch->header = header;
    batch->records = header + JOURNAL_BATCH_BYTES;
    batch->bytes = read_u32(header + 4);
    batch->count = read_u32(header + 8);
    batch->flags = read_u32(header + 12);
    batch->number = read_u64(header + 16);
    batch->first = read_u64(header + 24);
    batch->wall_ns = read_u64(header + 32);
    if (batch->count < 1 || batch->count > JOURNAL_MOST_RECORDS || batch->bytes < 5 * batch->count ||
        batch->bytes > batch->count * (4 + JOURNAL_MOST_RECORD_BYTES))
        return WALK_NO_BATCH;
    return batch->bytes > left - JOURNAL_BATCH_BYTES ? WALK_CUT_OFF : WALK_ON;
}

int journal_crc_holds(const JournalBatch *batch)
{
    uint32_t running = crc32c_feed(CRC32C_START, batch->header, JOURNAL_HASHED_BYTES);

    running = crc32c_feed(running, batch->records, batch->bytes);
    return crc32c_finish(running) == read_u32(batch->header + JOURNAL_HASHED_BYTES);
}

static WalkStatus joins(const JournalState *state, const JournalBatch *batch)
{
    if ((batch->flags & ~3u) != 0)
        return WALK_FLAGS;
    if (batch->number != state->batches)
        return WALK_NUMBER;
    if (batch->first != state->records)
        return WALK_SEQUENCE;
    return memcmp(batch->header + 56, state->link, MERKLE_BYTES) == 0 ? WALK_ON : WALK_CHAIN;
}

const unsigned char *journal_next_record(const JournalBatch *batch, size_t *at, uint32_t *bytes)
{
    const unsigned char *record;

    if (*at >= batch->bytes || batch->bytes - *at < 4)
        return NULL;
    *bytes = read_u32(batch->records + *at);
    if (*bytes < 1 || *bytes > JOURNAL_MOST_RECORD_BYTES || *bytes > batch->bytes - *at - 4)
        return NULL;
    record = batch->records + *at + 4;
    *at += 4 + (size_t)*bytes;
    return record;
}

static int lengths_hold(const JournalBatch *batch)
{
    uint32_t count = 0, bytes;
    size_t at = 0;

    while (journal_next_record(batch, &at, &bytes) != NULL)
        count++;
    return count == batch->count && at == batch->bytes;
}

WalkStatus journal_take(MerkleHash *hash, JournalState *state, const unsigned char *data, size_t size, size_t *at)
{
    JournalBatch batch;
    unsigned char digest[MERKLE_BYTES], chain[MERKLE_BYTES];
    WalkStatus status = journal_look(data, size, *at, &batch);

    if (status != WALK_ON)
        return status;
    if (!journal_crc_holds(&batch))
        return WALK_CRC;
    status = joins(state, &batch);
    if (status != WALK_ON)
        return status;
    if (!lengths_hold(&batch))
        return WALK_RECORDS;
    if (merkle_root_of_records(hash, batch.records, batch.bytes, batch.count, digest) != MERKLE_OK)
        return WALK_NO_DIGEST;
    if (memcmp(digest, batch.header + 88, MERKLE_BYTES) != 0)
        return WALK_ROOT;
    if (merkle_prefixed(hash, 2, batch.header, JOURNAL_HASHED_BYTES, chain) != MERKLE_OK ||
        merkle_leaf(hash, batch.header, JOURNAL_HASHED_BYTES, digest) != MERKLE_OK ||
        merkle_append(hash, &state->tree, digest) != MERKLE_OK)
        return WALK_NO_DIGEST;
    memcpy(state->chain, chain, MERKLE_BYTES);
    memcpy(state->link, chain, MERKLE_BYTES);
    state->batches++;
    state->records += batch.count;
    *at += JOURNAL_BATCH_BYTES + (size_t)batch.bytes;
    return (batch.flags & JOURNAL_CLOSES) != 0 ? WALK_CLOSED : WALK_ON;
}

size_t journal_find_whole(const unsigned char *data, size_t size, size_t at)
{
    JournalBatch batch;
    const unsigned char *found;
    uint64_t allowed = 4 * (uint64_t)size; /* bytes to sum */

    while (at < size) {
        found = memmem(data + at, size - at, "BATC", 4);
        if (found == NULL)
            return size;
        at = (size_t)(found - data);
        if (journal_look(data, size, at, &batch) == WALK_ON) {
            if (batch.bytes > allowed || journal_crc_holds(&batch))
                return at;
            allowed -= batch.bytes;
        }
        at++;
    }
    return size;
}

size_t journal_used(const unsigned char *data, size_t size)
{
    static const unsigned char zeros[4096];

    while (size >= sizeof zeros && memcmp(data + size - sizeof zeros, zeros, sizeof zeros) == 0)
        size -= sizeof zeros;
    while (size > 0 && data[size - 1] == 0)
        size--;
    return size;
}

int journal_root(MerkleHash *hash, const JournalState *state, unsigned char *root)
{
    return merkle_root(hash, &state->tree, root) == MERKLE_OK;
}
