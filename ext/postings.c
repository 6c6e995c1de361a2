/* Builds the inverted index of `postings.h`: pairs into chunks of their partition, and each partition sorted by counting.
 *
 * With 2^10 partitions the part of the directory and of the slots that one of them fills is of about a mebibyte each at 30
 * million records: random access stays within the core's own cache, and all else is written from front to back.
 *
 * What must not go in here: anything that looks up (the header), and memory of our own.
 */
#include "postings.h"

#include <string.h>

#define CHUNK_PAIRS 1024u
#define LEAST_PARTITION_BITS 1u
#define MOST_PARTITION_BITS POSTINGS_LEAST_BITS
#define PAIRS_A_PARTITION_BITS 17u /* fewer partitions where that many pairs a partition can do */
#define NO_CHUNK UINT32_MAX
#define DROPPED 0x80000000u /* on an offset, while slots are written: of a bucket beyond the cap */

struct PostingsPartition {
    uint64_t *at, *end; /* where the next pair of it goes, in its last chunk */
    uint64_t count;
    uint32_t first, last;
};

/* --- scratch: partitions, links of chunks, chunks ------------------------------------------------------------------------ */

static uint32_t log2_of(uint64_t number) { return number == 0 ? 0 : 63u - (uint32_t)__builtin_clzll(number); }

static uint32_t clamp(uint32_t value, uint32_t least, uint32_t most)
{
    return value < least ? least : value > most ? most : value;
}

static uint32_t partition_bits_of(uint64_t most_pairs)
{
    uint32_t bits = log2_of(most_pairs);
    return clamp(bits < PAIRS_A_PARTITION_BITS ? 0 : bits - PAIRS_A_PARTITION_BITS, LEAST_PARTITION_BITS, MOST_PARTITION_BITS);
}

/* One chunk a partition may be begun and not filled. */
static size_t chunks_of(uint64_t most_pairs)
{
    return (size_t)(most_pairs / CHUNK_PAIRS) + ((size_t)1 << partition_bits_of(most_pairs));
}

static size_t partition_bytes(uint64_t most_pairs) { return sizeof(PostingsPartition) << partition_bits_of(most_pairs); }

static size_t link_bytes(uint64_t most_pairs) { return (chunks_of(most_pairs) * sizeof(uint32_t) + 7) & ~(size_t)7; }

size_t postings_scratch_bytes(uint64_t most_pairs)
{
    most_pairs = most_pairs > POSTINGS_MOST ? POSTINGS_MOST : most_pairs;
    return partition_bytes(most_pairs) + link_bytes(most_pairs) + chunks_of(most_pairs) * CHUNK_PAIRS * sizeof(uint64_t);
}

PostingsStatus postings_begin(PostingsBuild *build, void *scratch, size_t scratch_bytes, uint64_t most_pairs)
{
    unsigned char *at = scratch;

    most_pairs = most_pairs > POSTINGS_MOST ? POSTINGS_MOST : most_pairs;
    if (scratch_bytes < postings_scratch_bytes(most_pairs))
        return POSTINGS_NO_ROOM;
    *build = (PostingsBuild){.partition_bits = partition_bits_of(most_pairs), .chunks = chunks_of(most_pairs)};
    build->partitions = (PostingsPartition *)(void *)at;
    build->next = (uint32_t *)(void *)(at + partition_bytes(most_pairs));
    build->pairs = (uint64_t *)(void *)(at + partition_bytes(most_pairs) + link_bytes(most_pairs));
    for (size_t i = 0; i < (size_t)1 << build->partition_bits; i++)
        build->partitions[i] = (PostingsPartition){.first = NO_CHUNK, .last = NO_CHUNK};
    return POSTINGS_OK;
}

/* --- adding -------------------------------------------------------------------------------------------------------------- */

size_t postings_scratch_used(const PostingsBuild *build, uint64_t more_pairs)
{
    uint64_t chunks = build->taken + more_pairs / CHUNK_PAIRS + ((uint64_t)1 << build->partition_bits);

    chunks = chunks < build->chunks ? chunks : build->chunks;
    return (size_t)((unsigned char *)(build->pairs + chunks * CHUNK_PAIRS) - (unsigned char *)build->partitions);
}

static int begin_chunk(PostingsBuild *build, PostingsPartition *partition)
{
    if (build->taken == build->chunks)
        return 0;
    uint32_t chunk = (uint32_t)build->taken++;
    build->next[chunk] = NO_CHUNK;
    if (partition->last == NO_CHUNK)
        partition->first = chunk;
    else
        build->next[partition->last] = chunk;
    partition->last = chunk;
    partition->at = build->pairs + (size_t)chunk * CHUNK_PAIRS;
    partition->end = partition->at + CHUNK_PAIRS;
    return 1;
}

static inline int add_pair(PostingsBuild *build, uint64_t key, uint32_t slot)
{
    PostingsPartition *partition = &build->partitions[key >> (64 - build->partition_bits)];

    if (partition->at == partition->end && !begin_chunk(build, partition))
        return 0;
    *partition->at++ = (key & 0xFFFFFFFF00000000u) | slot;
    partition->count++;
    return 1;
}

PostingsStatus postings_add(PostingsBuild *build, const uint64_t *keys, size_t rows, size_t keys_per_row, uint32_t first_slot)
{
    if (rows > (size_t)UINT32_MAX - first_slot)
        return POSTINGS_TOO_MANY;
    for (size_t row = 0; row < rows; row++)
        for (size_t i = 0; i < keys_per_row; i++) {
            uint64_t key = keys[row * keys_per_row + i];
            if (key == 0)
                continue;
            if (!add_pair(build, key, first_slot + (uint32_t)row))
                return POSTINGS_NO_ROOM;
            build->added++;
        }
    return build->added > POSTINGS_MOST ? POSTINGS_TOO_MANY : POSTINGS_OK;
}

/* --- sorting by counting ------------------------------------------------------------------------------------------------- */

uint32_t postings_bits(uint64_t pairs) { return clamp(log2_of(pairs), POSTINGS_LEAST_BITS, POSTINGS_MOST_BITS); }

/* The pairs of a partition, chunk by chunk. */
typedef struct {
    const PostingsBuild *build;
    uint32_t chunk;
    uint64_t left;
    const uint64_t *pairs;
    size_t count; /* in this chunk */
} Chunks;

static Chunks chunks_in(const PostingsBuild *build, const PostingsPartition *partition)
{
    return (Chunks){.build = build, .chunk = partition->first, .left = partition->count};
}

static int next_chunk(Chunks *chunks)
{
    if (chunks->left == 0)
        return 0;
    chunks->pairs = chunks->build->pairs + (size_t)chunks->chunk * CHUNK_PAIRS;
    chunks->count = chunks->left < CHUNK_PAIRS ? (size_t)chunks->left : CHUNK_PAIRS;
    chunks->left -= chunks->count;
    chunks->chunk = chunks->build->next[chunks->chunk];
    return 1;
}

/* The part of a directory that one partition fills. While it is filled, `ends[b]` of bucket b is what is directory[b + 1]: first
 * how many slots b has, then where its next slot goes, and so at last where it ends. */
typedef struct {
    uint32_t *ends;
    size_t buckets;
    uint32_t mask, shift; /* of the high half of a key */
} Window;

static inline uint32_t bucket_in(const Window *window, uint64_t pair)
{
    return (uint32_t)(pair >> 32) >> window->shift & window->mask;
}

static void count_slots(const Window *window, Chunks chunks)
{
    memset(window->ends, 0, window->buckets * sizeof *window->ends);
    while (next_chunk(&chunks))
        for (size_t i = 0; i < chunks.count; i++)
            window->ends[bucket_in(window, chunks.pairs[i])]++;
}

/* Turn counts into offsets, beginning where the partition before has ended. */
static void place_buckets(const Window *window, uint32_t cap, uint32_t mark, PostingsBuilt *built)
{
    for (size_t b = 0; b < window->buckets; b++) {
        uint32_t count = window->ends[b];
        window->ends[b] = built->slots;
        if (cap != POSTINGS_NO_CAP && count > cap) {
            window->ends[b] |= DROPPED;
            built->dropped_buckets++;
            built->dropped_slots += count;
            built->slots += mark;
        } else {
            built->slots += count;
        }
    }
}

/* Each bucket ends where its last slot was written; one that was dropped, where it begins, or behind its mark. */
static void write_slots(const Window *window, Chunks chunks, uint32_t mark, uint32_t *slots)
{
    while (next_chunk(&chunks))
        for (size_t i = 0; i < chunks.count; i++) {
            uint32_t *end = &window->ends[bucket_in(window, chunks.pairs[i])];
            if (!(*end & DROPPED))
                slots[(*end)++] = (uint32_t)chunks.pairs[i];
        }
    for (size_t b = 0; b < window->buckets; b++)
        if (window->ends[b] & DROPPED) {
            window->ends[b] &= ~DROPPED;
            if (mark)
                slots[window->ends[b]++] = POSTINGS_TOO_FREQUENT;
        }
}

PostingsStatus postings_finish(PostingsBuild *build, uint32_t bits, uint32_t cap, uint32_t *directory, uint32_t *slots,
                               uint64_t room, PostingsBuilt *built)
{
    if (bits < POSTINGS_LEAST_BITS || bits > POSTINGS_MOST_BITS || room < build->added)
        return POSTINGS_NO_ROOM;
    *built = (PostingsBuilt){0};
    directory[0] = 0;
    Window window = {.ends = directory + 1, .buckets = (size_t)1 << (bits - build->partition_bits), .shift = 32 - bits};
    window.mask = (uint32_t)(window.buckets - 1);
    for (size_t i = 0; i < (size_t)1 << build->partition_bits; i++, window.ends += window.buckets) {
        count_slots(&window, chunks_in(build, &build->partitions[i]));
        place_buckets(&window, cap, build->marks != 0, built);
        write_slots(&window, chunks_in(build, &build->partitions[i]), build->marks != 0, slots);
    }
    return POSTINGS_OK;
}
