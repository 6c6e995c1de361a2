/* An inverted index from keys of 64 bits to slots of 32: which records have this key? Flat, and in memory of the caller's.
 *
 * Keys are hashes, well mixed in all their bits; 0 is no key. The *bucket* of a key is its leading `bits` bits. The directory
 * holds 2^bits + 1 offsets, and the slots of bucket b stand at directory[b] up to directory[b + 1], in the order in which they
 * were added. Keys that share a bucket share their slots: whoever compares the records finds out which are not meant.
 *
 * It is built by partitions of the key space that fit a core's cache: pairs of a key and a slot are first written one after the
 * other into chunks of their partition, then each partition is sorted by counting. Nothing is allocated here: scratch, directory
 * and slots are the caller's, and may be mapped files. A reader checks what it reads of the directory, so a damaged one gives
 * wrong slots, never an access outside; slots have to be checked against the number of records by whoever follows them.
 *
 * What must not go in here: what a key is made of, what a record is, and files.
 */
#ifndef BROKER_POSTINGS_H
#define BROKER_POSTINGS_H

#include <stddef.h>
#include <stdint.h>

#define POSTINGS_MOST 0x7FFFFFFFu /* slots in an index: the highest bit of an offset is a mark while it is built */
#define POSTINGS_LEAST_BITS 10u   /* no index has fewer buckets than there are partitions */
#define POSTINGS_MOST_BITS 31u
#define POSTINGS_NO_CAP 0u
#define POSTINGS_TOO_FREQUENT UINT32_MAX /* the only slot of a bucket that was dropped, where such are marked; it is no slot */

typedef struct {
    const uint32_t *directory; /* 2^bits + 1 offsets */
    const uint32_t *slots;
    uint32_t count; /* of slots */
    uint32_t bits;
} Postings;

typedef struct {
    const uint32_t *slots;
    uint32_t count;
} PostingsSpan;

static inline uint32_t postings_bucket(const Postings *index, uint64_t key) { return (uint32_t)(key >> (64 - index->bits)); }

/* Ask for the line of the directory that `postings_find` will read. */
static inline void postings_prefetch(const Postings *index, uint64_t key)
{
    __builtin_prefetch(&index->directory[postings_bucket(index, key)], 0, 1);
}

/* The slots of a key, and of those it shares a bucket with. Those of the key 0 are none. */
static inline PostingsSpan postings_find(const Postings *index, uint64_t key)
{
    uint32_t bucket = postings_bucket(index, key);
    uint32_t from = index->directory[bucket], to = index->directory[bucket + 1];
    PostingsSpan none = {index->slots, 0};

    if (key == 0 || from > to || to > index->count)
        return none;
    return (PostingsSpan){index->slots + from, to - from};
}

/* Whether a key was dropped because too many have it, in an index that marks such. */
static inline int postings_is_too_frequent(const Postings *index, uint64_t key)
{
    PostingsSpan span = postings_find(index, key);
    return span.count == 1 && span.slots[0] == POSTINGS_TOO_FREQUENT;
}

/* Ask for the first line of slots. A span of few slots may lie on two. */
static inline void postings_prefetch_slots(PostingsSpan span) { __builtin_prefetch(span.slots, 0, 1); }

/* --- building ---------------------------------------------------------------------------------------------------------- */

typedef enum { POSTINGS_OK, POSTINGS_NO_ROOM, POSTINGS_TOO_MANY } PostingsStatus;

typedef struct PostingsPartition PostingsPartition;

typedef struct {
    PostingsPartition *partitions;
    uint32_t partition_bits;
    uint32_t *next;  /* of each chunk, the next of its partition */
    uint64_t *pairs; /* chunk by chunk: the high half of a key, and a slot */
    size_t chunks, taken;
    uint64_t added; /* pairs so far: the most slots that the index will hold */
    int marks;      /* set between begin and finish: dropped buckets are marked, so that who changes an index drops the same keys */
} PostingsBuild;

typedef struct {
    uint32_t slots;           /* written */
    uint32_t dropped_buckets; /* that had more slots than the cap: a key that so many share tells nobody apart */
    uint64_t dropped_slots;
} PostingsBuilt;

/* How many bytes of scratch it takes to add as many pairs as this: 8 each and at most 16 MiB more. */
size_t postings_scratch_bytes(uint64_t most_pairs);

/* Begin with scratch of that size, aligned to 8 bytes; what is in it does not matter. NO_ROOM: it is smaller. */
PostingsStatus postings_begin(PostingsBuild *build, void *scratch, size_t scratch_bytes, uint64_t most_pairs);

/* Add rows of `keys_per_row` keys each; the first row is of the slot `first_slot`. NO_ROOM: there were more than `most_pairs`;
 * TOO_MANY: more than an index takes. After either, what was built is of no use. */
PostingsStatus postings_add(PostingsBuild *build, const uint64_t *keys, size_t rows, size_t keys_per_row, uint32_t first_slot);

/* How much of the scratch is in use, from its beginning, once as many more pairs have been added: who maps a sparse file sees to
 * it in time that there is room on the disk. */
size_t postings_scratch_used(const PostingsBuild *build, uint64_t more_pairs);

/* How many bits suit as many pairs: one or two slots a bucket. */
uint32_t postings_bits(uint64_t pairs);

/* Write the directory, of 2^bits + 1 offsets, and the slots, of which there is room for `room`; `build->added` is always enough.
 * A bucket of more than `cap` slots is left empty and counted. NO_ROOM: `room` or `bits` does not do. The scratch is used up. */
PostingsStatus postings_finish(PostingsBuild *build, uint32_t bits, uint32_t cap, uint32_t *directory, uint32_t *slots,
                               uint64_t room, PostingsBuilt *built);

#endif
