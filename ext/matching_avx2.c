/* The kernels in vectors of 32 bytes. Rows of short queries are compared, others looked up one by one: AVX2 has no look-up of
 * 16 bits, and its gather is slow on many a processor. What must not go in here: the kernels themselves.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET __attribute__((target("avx2")))
#define VECTOR_BYTES 32
#include "matching_blocks.h"

TARGET static void rows_16(uint16_t *rows, const Block *block, const LaneQuery *query)
{
    compare_rows_16(rows, block, query);
}

TARGET static void rows_32(uint32_t *rows, const Block *block, const LaneQuery *query)
{
    for (size_t at = 0; at < (size_t)block->longest * LANES; at++)
        rows[at] = (uint32_t)query->masks[block->codes[at]];
}

TARGET static void rows_64(uint64_t *rows, const Block *block, const LaneQuery *query)
{
    for (size_t at = 0; at < (size_t)block->longest * LANES; at++)
        rows[at] = query->masks[block->codes[at]];
}

TARGET static void rows_8(uint8_t *rows, uint16_t *room, const Block *block, const LaneQuery *query)
{
    rows_16(room, block, query);
    for (size_t at = 0; at < (size_t)block->longest * LANES; at += VECTOR_BYTES) {
        __m256i low = _mm256_load_si256((const __m256i *)(room + at));
        __m256i high = _mm256_load_si256((const __m256i *)(room + at + VECTOR_BYTES / 2));
        /* Packing goes by halves of a register; the permutation puts them in order. */
        _mm256_store_si256((__m256i *)(rows + at), _mm256_permute4x64_epi64(_mm256_packus_epi16(low, high), 0xD8));
    }
}

TARGET static inline void look_up_scores_16(float *scores, const float *table, const uint16_t *index)
{
    for (size_t i = 0; i < LANES; i++)
        scores[i] = table[index[i]];
}

TARGET static inline void look_up_scores_32(float *scores, const float *table, const uint32_t *index)
{
    for (size_t i = 0; i < LANES; i++)
        scores[i] = table[index[i]];
}

TARGET static void place_similarities(float *to, const float *from, const uint16_t *slots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = from[slots[i]];
}

TARGET static void place_distances(uint8_t *to, const uint8_t *from, const uint16_t *slots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = from[slots[i]];
}

TARGET static void stream_similarities(float *to, const float *from, size_t count) { memcpy(to, from, count * sizeof *to); }

const Lanes lanes_avx2 = {jaro_blocks, levenshtein_blocks, place_similarities, place_distances, stream_similarities};
#endif
