/* The kernels in vectors of 64 bytes: 32 lanes of 16 bits in one, and the frequent symbols looked up in registers.
 *
 * What must not go in here: the kernels themselves.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bitalg,avx512vpopcntdq,prefer-vector-width=512")))
#define HAS_MASKS
#define VECTOR_BYTES 64
#include "matching_blocks.h"

#define IN_ZMM_16 32u
#define IN_ZMM_32 16u
#define IN_ZMM_64 8u

TARGET static void rows_16(uint16_t *rows, const Block *block, const LaneQuery *query)
{
    if (!block->is_near || query->query->length < 2) {
        compare_rows_16(rows, block, query);
        return;
    }
    const __m512i low = _mm512_loadu_si512(query->near16), high = _mm512_loadu_si512(query->near16 + IN_ZMM_16);
    for (size_t at = 0; at < (size_t)block->longest * LANES; at += IN_ZMM_16) {
        __m512i codes = _mm512_load_si512(block->codes + at);
        _mm512_store_si512(rows + at, _mm512_permutex2var_epi16(low, codes, high));
    }
}

/* Sixteen symbols below NEAR at once: two look-ups of 32, and bit 5 says which holds. */
TARGET static inline __m512i near_masks_32(const __m512i table[4], __m512i codes)
{
    __m512i low = _mm512_permutex2var_epi32(table[0], codes, table[1]);
    __m512i high = _mm512_permutex2var_epi32(table[2], codes, table[3]);
    return _mm512_mask_mov_epi32(low, _mm512_test_epi32_mask(codes, _mm512_set1_epi32(32)), high);
}

TARGET static void near_rows_32(uint32_t *rows, const Block *block, const LaneQuery *query)
{
    __m512i table[4];
    for (size_t i = 0; i < 4; i++)
        table[i] = _mm512_loadu_si512(query->near32 + i * IN_ZMM_32);
    for (size_t at = 0; at < (size_t)block->longest * LANES; at += IN_ZMM_32) {
        __m512i codes = _mm512_cvtepu16_epi32(_mm256_load_si256((const __m256i *)(block->codes + at)));
        _mm512_store_si512(rows + at, near_masks_32(table, codes));
    }
}

TARGET static void rows_32(uint32_t *rows, const Block *block, const LaneQuery *query)
{
    if (block->is_near) {
        near_rows_32(rows, block, query);
        return;
    }
    for (size_t at = 0; at < (size_t)block->longest * LANES; at += IN_ZMM_32) {
        __m512i codes = _mm512_cvtepu16_epi32(_mm256_load_si256((const __m256i *)(block->codes + at)));
        _mm512_store_si512(rows + at, _mm512_i32gather_epi32(codes, query->masks, sizeof *query->masks));
    }
}

TARGET static void rows_64(uint64_t *rows, const Block *block, const LaneQuery *query)
{
    for (size_t at = 0; at < (size_t)block->longest * LANES; at += IN_ZMM_64) {
        __m256i codes = _mm256_cvtepu16_epi32(_mm_load_si128((const __m128i *)(block->codes + at)));
        _mm512_store_si512(rows + at, _mm512_i32gather_epi64(codes, query->masks, sizeof *query->masks));
    }
}

/* Compared as 16 bits, kept as 8: the masks of two vectors of codes make one of bytes. */
TARGET INLINE void compare_rows_8_of(uint8_t *rows, const Block *block, const LaneQuery *query, uint32_t p)
{
    __m512i symbols[8];
    for (uint32_t i = 0; i < p; i++)
        symbols[i] = _mm512_set1_epi16((short)query->codes[i]);
    for (size_t at = 0; at < (size_t)block->longest * LANES; at += VECTOR_BYTES) {
        __m512i low = _mm512_load_si512(block->codes + at), high = _mm512_load_si512(block->codes + at + IN_ZMM_16);
        __m512i row = _mm512_setzero_si512();
        for (uint32_t i = 0; i < p; i++) {
            __mmask64 equal = _mm512_kunpackd(_mm512_cmpeq_epi16_mask(high, symbols[i]),
                                              _mm512_cmpeq_epi16_mask(low, symbols[i]));
            row = _mm512_mask_add_epi8(row, equal, row, _mm512_set1_epi8((char)(1u << i)));
        }
        _mm512_store_si512(rows + at, row);
    }
}

TARGET static void rows_8(uint8_t *rows, uint16_t *room, const Block *block, const LaneQuery *query)
{
    (void)room;
    switch (query->query->length) {
    case 2: compare_rows_8_of(rows, block, query, 2); break;
    case 3: compare_rows_8_of(rows, block, query, 3); break;
    case 4: compare_rows_8_of(rows, block, query, 4); break;
    default: compare_rows_8_of(rows, block, query, query->query->length);
    }
}

TARGET static inline void look_up_scores_16(float *scores, const float *table, const uint16_t *index)
{
    for (size_t i = 0; i < LANES; i += IN_ZMM_32) {
        __m512i at = _mm512_cvtepu16_epi32(_mm256_load_si256((const __m256i *)(index + i)));
        _mm512_storeu_ps(scores + i, _mm512_i32gather_ps(at, table, sizeof *table));
    }
}

TARGET static inline void look_up_scores_32(float *scores, const float *table, const uint32_t *index)
{
    for (size_t i = 0; i < LANES; i += IN_ZMM_32)
        _mm512_storeu_ps(scores + i, _mm512_i32gather_ps(_mm512_load_si512(index + i), table, sizeof *table));
}

/* Sixteen results at once, from where they are to where they belong; the rest one by one. */
TARGET static void place_similarities(float *to, const float *from, const uint16_t *slots, size_t count)
{
    size_t i = 0;
    for (; i + IN_ZMM_32 <= count; i += IN_ZMM_32) {
        __m512i at = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(slots + i)));
        _mm512_storeu_ps(to + i, _mm512_i32gather_ps(at, from, sizeof *from));
    }
    for (; i < count; i++)
        to[i] = from[slots[i]];
}

/* The same with bytes, of which a gather takes four at a time: ROOM_BEHIND lie behind the last. */
TARGET static void place_distances(uint8_t *to, const uint8_t *from, const uint16_t *slots, size_t count)
{
    size_t i = 0;
    for (; i + IN_ZMM_32 <= count; i += IN_ZMM_32) {
        __m512i at = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(slots + i)));
        _mm_storeu_si128((__m128i *)(to + i), _mm512_cvtepi32_epi8(_mm512_i32gather_epi32(at, from, 1)));
    }
    for (; i < count; i++)
        to[i] = from[slots[i]];
}

/* Past the cache, which these results are too many for: the memory that they go to is not read first. */
TARGET static void stream_similarities(float *to, const float *from, size_t count)
{
    size_t i = 0;
    for (; i < count && (uintptr_t)(to + i) % VECTOR_BYTES != 0; i++)
        to[i] = from[i];
    for (; i + IN_ZMM_32 <= count; i += IN_ZMM_32)
        _mm512_stream_ps(to + i, _mm512_loadu_ps(from + i));
    for (; i < count; i++)
        to[i] = from[i];
    _mm_sfence();
}

const Lanes lanes_avx512 = {jaro_blocks, levenshtein_blocks, place_similarities, place_distances, stream_similarities};
#endif
