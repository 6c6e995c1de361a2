/* Opens, seals and verifies the file of a query index: see `query_index.h`. What must not go in here: changes (query_delta.c). */
#include "query_index.h"

#include <string.h>

#include "crc32c.h"

#define BYTE_ORDER_MARK 0x01020304u
#define LINE 64u

static const char MAGIC[8] = "BROKERQI";

static uint64_t aligned(uint64_t at) { return (at + LINE - 1) / LINE * LINE; }

IndexSections index_sections(const IndexHeader *header)
{
    IndexSections at;

    at.records = INDEX_PAGE;
    at.words = aligned(at.records + (uint64_t)header->rows * header->stride);
    at.heap = aligned(at.words + (uint64_t)header->rows * sizeof(uint64_t));
    at.learned = aligned(at.heap + header->heap_bytes);
    at.directory = aligned(at.learned + header->learned_bytes);
    at.slots = aligned(at.directory + (((uint64_t)1 << header->bits) + 1) * sizeof(uint32_t));
    at.checksums = aligned(at.slots + (uint64_t)header->slots * sizeof(uint32_t));
    at.chunks = (at.checksums - INDEX_PAGE + INDEX_CHUNK - 1) / INDEX_CHUNK;
    at.file = at.checksums + at.chunks * sizeof(uint32_t);
    return at;
}

static uint32_t checksum_of(const void *data, size_t size)
{
    return crc32c_finish(crc32c_feed(CRC32C_START, data, size));
}

static uint32_t checksum_of_chunk(const unsigned char *memory, const IndexSections *at, uint64_t chunk)
{
    uint64_t from = INDEX_PAGE + chunk * INDEX_CHUNK;
    uint64_t left = at->checksums - from;
    return checksum_of(memory + from, left < INDEX_CHUNK ? (size_t)left : INDEX_CHUNK);
}

/* --- opening ------------------------------------------------------------------------------------------------------------- */

/* Counts beyond these could not have been written, and sums of those within do not overflow. */
static int is_possible(const IndexHeader *header)
{
    return header->stride >= 1 && header->stride <= INDEX_MOST_STRIDE && header->keys_per_record <= INDEX_MOST_KEYS &&
           header->bits >= POSTINGS_LEAST_BITS && header->bits <= POSTINGS_MOST_BITS && header->slots <= POSTINGS_MOST &&
           header->rows < NO_SLOT && header->heap_bytes <= (uint64_t)1 << 48 &&
           header->learned_bytes <= INDEX_MOST_LEARNED;
}

static IndexStatus check_header(const IndexHeader *header)
{
    if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0)
        return INDEX_IS_NONE;
    if (header->format != INDEX_FORMAT || header->byte_order != BYTE_ORDER_MARK)
        return INDEX_OTHER_FORMAT;
    if (header->checksum != checksum_of(header, offsetof(IndexHeader, checksum)) || !is_possible(header))
        return INDEX_DAMAGED;
    return INDEX_OK;
}

static void point_at_sections(QueryIndex *index, const unsigned char *memory)
{
    const IndexHeader *header = &index->header;
    const IndexSections *at = &index->sections;

    index->memory = memory;
    index->records = memory + at->records;
    index->rows = header->rows;
    index->stride = header->stride;
    index->postings.directory = (const uint32_t *)(const void *)(memory + at->directory);
    index->postings.slots = (const uint32_t *)(const void *)(memory + at->slots);
    index->postings.count = header->slots;
    index->postings.bits = header->bits;
    index->keys.words = (const uint64_t *)(const void *)(memory + at->words);
    index->keys.count = header->rows;
    index->keys.heap = memory + at->heap;
    index->keys.heap_bytes = header->heap_bytes;
}

IndexStatus index_open(QueryIndex *index, const void *memory, size_t bytes)
{
    memset(index, 0, sizeof *index);
    if (bytes < INDEX_PAGE || ((uintptr_t)memory & (LINE - 1)) != 0)
        return INDEX_CUT_OFF;
    memcpy(&index->header, memory, sizeof index->header);
    IndexStatus status = check_header(&index->header);
    if (status != INDEX_OK)
        return status;
    index->sections = index_sections(&index->header);
    if (bytes < index->sections.file)
        return INDEX_CUT_OFF;
    point_at_sections(index, memory);
    size_t table = (size_t)(index->sections.chunks * sizeof(uint32_t));
    if (checksum_of(index->memory + index->sections.checksums, table) != index->header.checksum_of_checksums)
        return INDEX_DAMAGED;
    uint64_t first = (index->sections.learned - INDEX_PAGE) / INDEX_CHUNK;
    return index_damaged(index, first, (index->sections.directory - INDEX_PAGE) / INDEX_CHUNK + 1) ? INDEX_DAMAGED : INDEX_OK;
}

/* --- sealing and verifying ------------------------------------------------------------------------------------------------ */

void index_seal(unsigned char *memory, const IndexHeader *header)
{
    IndexHeader sealed = *header;
    IndexSections at = index_sections(header);
    uint32_t *checksums = (uint32_t *)(void *)(memory + at.checksums);

    for (uint64_t chunk = 0; chunk < at.chunks; chunk++)
        checksums[chunk] = checksum_of_chunk(memory, &at, chunk);
    memcpy(sealed.magic, MAGIC, sizeof MAGIC);
    sealed.format = INDEX_FORMAT;
    sealed.byte_order = BYTE_ORDER_MARK;
    sealed.checksum_of_checksums = checksum_of(checksums, (size_t)(at.chunks * sizeof *checksums));
    sealed.checksum = checksum_of(&sealed, offsetof(IndexHeader, checksum));
    memset(memory, 0, INDEX_PAGE);
    memcpy(memory, &sealed, sizeof sealed);
}

uint64_t index_damaged(const QueryIndex *index, uint64_t from, uint64_t to)
{
    const uint32_t *checksums = (const uint32_t *)(const void *)(index->memory + index->sections.checksums);
    uint64_t damaged = 0;

    to = to < index->sections.chunks ? to : index->sections.chunks;
    for (uint64_t chunk = from; chunk < to; chunk++)
        damaged += checksums[chunk] != checksum_of_chunk(index->memory, &index->sections, chunk);
    return damaged;
}

/* --- slots and keys of records --------------------------------------------------------------------------------------------- */

size_t index_key_of(const QueryIndex *index, uint32_t slot, unsigned char *room)
{
    if (slot < index->rows)
        return record_key_of(&index->keys, slot, room);
    if (index->delta.header == NULL || slot - index->rows >= index->delta.capacity)
        return 0;
    RecordKey key = delta_key(&index->delta, slot - index->rows);
    if (key.size != 0)
        memcpy(room, key.data, key.size);
    return key.size;
}

uint32_t index_slot_of(const QueryIndex *index, RecordKey key, uint64_t visible)
{
    uint32_t entry = index->delta.header == NULL ? NO_SLOT : delta_find(&index->delta, key, visible);

    if (entry != NO_SLOT)
        return index->rows + entry;
    uint32_t slot = record_key_slot(&index->keys, key);
    return slot != NO_SLOT && index_is_live(index, slot, visible) ? slot : NO_SLOT;
}

DeltaStatus index_put(QueryIndex *index, const unsigned char *record, const uint64_t *keys, RecordKey key)
{
    uint64_t kept[INDEX_MOST_KEYS];
    uint32_t count = index->header.keys_per_record; /* which is_possible has bounded */

    for (uint32_t i = 0; i < count; i++)
        postings_prefetch(&index->postings, keys[i]);
    uint32_t superseded = index_slot_of(index, key, index->delta.capacity);
    for (uint32_t i = 0; i < count; i++)
        kept[i] = postings_is_too_frequent(&index->postings, keys[i]) ? 0 : keys[i];
    return delta_put(&index->delta, record, kept, key, superseded);
}
