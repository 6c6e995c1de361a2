/* Running the kernels of `matching_lanes.h` over blocks: how wide lanes must be, block by block.
 *
 * A template: whoever includes it has defined TARGET and VECTOR_BYTES, and defines after it rows_16, rows_32, rows_64 (how a
 * block's rows are looked up) and look_up_scores. What must not go in here: what only one kind of processor has.
 */
#include "matching_kernels.h"
#include "matching_scores.h"

#include <string.h>

#define WIDTH 16
#include "matching_lanes.h"
#undef WIDTH
#define WIDTH 32
#include "matching_lanes.h"
#undef WIDTH
#define WIDTH 64
#include "matching_lanes.h"
#undef WIDTH

TARGET static void rows_16(uint16_t *rows, const Block *block, const LaneQuery *query);
TARGET static void rows_32(uint32_t *rows, const Block *block, const LaneQuery *query);
TARGET static void rows_64(uint64_t *rows, const Block *block, const LaneQuery *query);
TARGET static void look_up_scores(float *scores, const float *table, const uint32_t *index);

/* One block's rows; only one of them is in use at a time. */
typedef union {
    uint16_t of_16[WORD * LANES];
    uint32_t of_32[WORD * LANES];
    uint64_t of_64[WORD * LANES];
} Rows;

/* Positions of the query as lanes compare them: a symbol is looked up in all of the query at once. */
TARGET static inline void compare_rows_16(uint16_t *rows, const Block *block, const LaneQuery *query)
{
    uint32_t p = query->query->length;
    for (size_t at = 0; at < (size_t)block->longest * LANES; at += VECTOR_BYTES / 2) {
        Vector_16 codes = *(const Vector_16 *)(block->codes + at);
        Vector_16 row = {0};
        for (uint32_t i = 0; i < p; i++)
            row |= (Vector_16)(codes == query->codes[i]) & (uint16_t)(1u << i);
        *(Vector_16 *)(rows + at) = row;
    }
}

TARGET static void jaro_blocks(float *similarities, const Block *blocks, size_t count, const LaneQuery *query)
{
    _Alignas(VECTOR_BYTES) Rows rows;
    _Alignas(VECTOR_BYTES) uint32_t index[LANES];
    uint32_t p = query->query->length;
    for (size_t b = 0; b < count; b++) {
        const Block *block = &blocks[b];
        uint32_t widest = p > block->longest ? p : block->longest;
        if (widest <= 16) {
            rows_16(rows.of_16, block, query);
            jaro_16(index, rows.of_16, block, p);
        } else if (widest <= 32) {
            rows_32(rows.of_32, block, query);
            jaro_32(index, rows.of_32, block, p);
        } else {
            rows_64(rows.of_64, block, query);
            jaro_64(index, rows.of_64, block, p);
        }
        look_up_scores(similarities + b * LANES, query->scores, index);
    }
}

TARGET static void levenshtein_blocks(uint8_t *distances, const Block *blocks, size_t count, const LaneQuery *query)
{
    _Alignas(VECTOR_BYTES) Rows rows;
    uint32_t p = query->query->length;
    for (size_t b = 0; b < count; b++) {
        const Block *block = &blocks[b];
        uint8_t *to = distances + b * LANES;
        if (p <= 16) {
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
