/* Running the kernels of `matching_lanes.h` over blocks: how wide lanes must be, block by block.
 *
 * A template: whoever includes it has defined TARGET, VECTOR_BYTES and, if its processor counts bits, COUNTS_BITS; it defines
 * after it how rows and scores are looked up. What must not go in here: what only one kind of processor has.
 */
#include "matching_kernels.h"
#include "matching_scores.h"

#include <string.h>

#define WIDTH 8
#include "matching_lanes.h"
#undef WIDTH
#define WIDTH 16
#include "matching_lanes.h"
#undef WIDTH
#define WIDTH 32
#include "matching_lanes.h"
#undef WIDTH
#define WIDTH 64
#include "matching_lanes.h"
#undef WIDTH

#define IN_VECTOR_16 (VECTOR_BYTES / 2)
#define INLINE static inline __attribute__((always_inline))

TARGET static void rows_8(uint8_t *rows, uint16_t *room, const Block *block, const LaneQuery *query);
TARGET static void rows_16(uint16_t *rows, const Block *block, const LaneQuery *query);
TARGET static void rows_32(uint32_t *rows, const Block *block, const LaneQuery *query);
TARGET static void rows_64(uint64_t *rows, const Block *block, const LaneQuery *query);
TARGET static inline void look_up_scores_16(float *scores, const float *table, const uint16_t *index);
TARGET static inline void look_up_scores_32(float *scores, const float *table, const uint32_t *index);

/* One block's rows; only one of them is in use at a time, but for the narrow ones, which may be made
 * of those of 16 bits. */
typedef union {
    struct {
        uint16_t of_16[WORD_UNITS * LANES];
        uint8_t of_8[WORD_UNITS * LANES];
    };
    uint32_t of_32[WORD_UNITS * LANES];
    uint64_t of_64[WORD_UNITS * LANES];
} Rows;

/* Each symbol is compared with every position of the query, which is quicker than looking it up while a query is short. */
TARGET INLINE void compare_rows_of(uint16_t *rows, const Block *block, const LaneQuery *query, uint32_t p)
{
    const Vector_16 none = {0};
    Vector_16 symbols[16];
    for (uint32_t i = 0; i < p; i++)
        symbols[i] = none + query->codes[i];
    for (size_t at = 0; at < (size_t)block->longest * LANES; at += IN_VECTOR_16) {
        Vector_16 row = none;
        for (uint32_t i = 0; i < p; i++)
            row = set_if_equal_16(row, *(const Vector_16 *)(block->codes + at), symbols[i], none + (uint16_t)(1u << i));
        *(Vector_16 *)(rows + at) = row;
    }
}

/* The lengths of most Chinese names get code of their own, without inner loops. */
TARGET static inline void compare_rows_16(uint16_t *rows, const Block *block, const LaneQuery *query)
{
    switch (query->query->length) {
    case 2: compare_rows_of(rows, block, query, 2); break;
    case 3: compare_rows_of(rows, block, query, 3); break;
    case 4: compare_rows_of(rows, block, query, 4); break;
    default: compare_rows_of(rows, block, query, query->query->length);
    }
}

/* --- Jaro ------------------------------------------------------------------------------------------------------------ */

/* Both texts are at most 4 long: which neighbours are equal is ten bits, and `fill_name_scores` knows their scores. */
TARGET INLINE void index_names_of(uint16_t *index, const Block *block, const LaneQuery *query, uint32_t p)
{
    const Vector_16 none = {0};
    for (size_t first = 0; first < LANES; first += IN_VECTOR_16) {
        Vector_16 at = lengths_16(block, first) << NAME_BITS;
        _Pragma("GCC unroll 4") for (uint32_t j = 0; j < NAME_LENGTH; j++) {
            if (j == block->longest)
                break;
            Vector_16 codes = *(const Vector_16 *)(block->codes + j * LANES + first);
            for (uint32_t i = j > 0 ? j - 1 : 0; i <= j + 1 && i < p; i++)
                at = set_if_equal_16(at, codes, none + query->codes[i], none + (uint16_t)(1u << (2 * j + i)));
        }
        *(Vector_16 *)(index + first) = at;
    }
}

TARGET static inline void index_names(uint16_t *index, const Block *block, const LaneQuery *query)
{
    switch (query->query->length) {
    case 1: index_names_of(index, block, query, 1); break;
    case 2: index_names_of(index, block, query, 2); break;
    case 3: index_names_of(index, block, query, 3); break;
    default: index_names_of(index, block, query, 4);
    }
}

TARGET static inline void narrow_jaro(float *similarities, Rows *rows, const Block *block, const LaneQuery *query)
{
    _Alignas(VECTOR_BYTES) uint16_t index[LANES];
    uint32_t p = query->query->length;
    if (p <= NAME_LENGTH && block->longest <= NAME_LENGTH) {
        index_names(index, block, query);
        look_up_scores_16(similarities, query->name_scores, index);
    } else {
        rows_16(rows->of_16, block, query);
        jaro_16(index, rows->of_16, block, p);
        look_up_scores_16(similarities, query->scores, index);
    }
}

TARGET static inline void wide_jaro(float *similarities, Rows *rows, const Block *block, const LaneQuery *query)
{
    _Alignas(VECTOR_BYTES) uint32_t index[LANES];
    uint32_t p = query->query->length;
    if (p <= 32 && block->longest <= 32) {
        rows_32(rows->of_32, block, query);
        jaro_32(index, rows->of_32, block, p);
    } else {
        rows_64(rows->of_64, block, query);
        jaro_64(index, rows->of_64, block, p);
    }
    look_up_scores_32(similarities, query->scores, index);
}

TARGET static void jaro_blocks(float *similarities, const Block *blocks, size_t count, const LaneQuery *query)
{
    _Alignas(VECTOR_BYTES) Rows rows;
    for (size_t b = 0; b < count; b++)
        if (query->query->length <= 16 && blocks[b].longest <= 16)
            narrow_jaro(similarities + b * LANES, &rows, &blocks[b], query);
        else
            wide_jaro(similarities + b * LANES, &rows, &blocks[b], query);
}

/* --- Levenshtein ----------------------------------------------------------------------------------------------------- */

TARGET static void levenshtein_blocks(uint8_t *distances, const Block *blocks, size_t count, const LaneQuery *query)
{
    _Alignas(VECTOR_BYTES) Rows rows;
    uint32_t p = query->query->length;
    for (size_t b = 0; b < count; b++) {
        const Block *block = &blocks[b];
        uint8_t *to = distances + b * LANES;
        if (p <= 8) {
            rows_8(rows.of_8, rows.of_16, block, query);
            levenshtein_8(to, rows.of_8, block, p);
        } else if (p <= 16) {
            rows_16(rows.of_16, block, query);
            levenshtein_16(to, rows.of_16, block, p);
        } else if (p <= 32) {
            rows_32(rows.of_32, block, query);
            levenshtein_32(to, rows.of_32, block, p);
        } else {
            rows_64(rows.of_64, block, query);
            levenshtein_64(to, rows.of_64, block, p);
        }
    }
}
