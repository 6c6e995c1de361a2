/* The query index of a generation: packed records, the keys of records and postings in one mapped file, never written again,
 * and beside it the delta, a mapped file of what has changed since (`query_delta.h`).
 *
 * Records are opaque: so many bytes each. A *slot* below `rows` is a record of the file, one from `rows` on an entry of the delta.
 * A file is trusted no further than its size: counts are checked when it is opened, and slots and offsets wherever one is followed,
 * so that damage gives wrong candidates and no access outside. Whether the contents are as written is told by `index_damaged`,
 * one chunk after the other, which takes as long as it takes to read them; meanwhile the index may be used, for what it proposes is
 * read from the record base, which has checksums of its own.
 *
 * What must not go in here: what records and keys are made of, how files are named and synced, and probing (query_probe.h).
 */
#ifndef BROKER_QUERY_INDEX_H
#define BROKER_QUERY_INDEX_H

#include "postings.h"
#include "query_delta.h"
#include "record_keys.h"

#define INDEX_FORMAT 1u
#define INDEX_PAGE 4096u        /* the header's, before the sections */
#define INDEX_CHUNK 0x100000u   /* bytes that share a checksum */
#define INDEX_LAYOUT_BYTES 32u  /* a digest of how records and keys are made */
#define INDEX_MOST_STRIDE 4096u
#define INDEX_MOST_LEARNED 0x1000000u /* bytes */
#define INDEX_MOST_KEYS 128u    /* of a record, with places that have none */

typedef struct {
    char magic[8];
    uint32_t format, byte_order;
    unsigned char layout[INDEX_LAYOUT_BYTES];
    uint64_t build;      /* a number drawn for this file; its delta has it too */
    int64_t built_at_ms; /* since 1970 */
    uint32_t rows, stride, keys_per_record, bits;
    uint32_t slots; /* of the postings */
    uint32_t dropped_buckets;
    uint64_t dropped_slots;
    uint64_t heap_bytes;           /* of the keys of records */
    uint64_t learned_bytes;        /* of what was learnt from all records together, and keys cannot be made without */
    uint32_t checksum_of_checksums;
    uint32_t checksum; /* CRC-32C of all before it */
} IndexHeader;

/* Where the sections stand in the file; each begins on a multiple of 64. */
typedef struct {
    uint64_t records, words, heap, learned, directory, slots, checksums, file;
    uint64_t chunks;
} IndexSections;

typedef struct {
    IndexHeader header; /* as it was verified: what is mapped may change */
    const unsigned char *memory;
    IndexSections sections;
    const unsigned char *records;
    uint32_t rows, stride;
    Postings postings;
    RecordKeys keys;
    Delta delta; /* with `header` NULL where there is none */
} QueryIndex;

typedef enum { INDEX_OK, INDEX_IS_NONE, INDEX_OTHER_FORMAT, INDEX_CUT_OFF, INDEX_DAMAGED } IndexStatus;

/* Where everything stands in a file with these counts. */
IndexSections index_sections(const IndexHeader *header);

/* Look into a mapped file of `bytes` bytes, aligned as pages are; its header, the table of checksums and what was learnt are
 * verified. */
IndexStatus index_open(QueryIndex *index, const void *memory, size_t bytes);

/* Write the header of a file whose sections are written, and the checksums of all of it. `header->layout`, `build`, counts and
 * times are the caller's. */
void index_seal(unsigned char *memory, const IndexHeader *header);

/* How many of the chunks [from, to) are not what was written. */
uint64_t index_damaged(const QueryIndex *index, uint64_t from, uint64_t to);

/* The record of a slot, wherever it is; NULL if there is no such slot. Valid as long as the files are mapped. */
static inline const unsigned char *index_record(const QueryIndex *index, uint32_t slot)
{
    if (slot < index->rows)
        return index->records + (size_t)slot * index->stride;
    if (index->delta.header == NULL || slot - index->rows >= index->delta.capacity)
        return NULL;
    return index->delta.records + (size_t)(slot - index->rows) * index->stride;
}

/* Whether a slot is of a record that is in force, as of the first `visible` entries of the delta. */
static inline int index_is_live(const QueryIndex *index, uint32_t slot, uint64_t visible)
{
    if (index->delta.header == NULL)
        return slot < index->rows;
    return delta_is_live(&index->delta, slot, visible);
}

/* The key of a slot, in `room` of RECORD_KEY_MOST bytes; returns its size, 0 if there is none. */
size_t index_key_of(const QueryIndex *index, uint32_t slot, unsigned char *room);

/* Append to the delta a record, in the place of the one with its key, if there is one. Keys that the index left out because too many
 * have them are left out here too. */
DeltaStatus index_put(QueryIndex *index, const unsigned char *record, const uint64_t *keys, RecordKey key);

/* The slot of the record in force that has a key, as of the first `visible` entries; NO_SLOT if there is none. */
uint32_t index_slot_of(const QueryIndex *index, RecordKey key, uint64_t visible);

#endif
