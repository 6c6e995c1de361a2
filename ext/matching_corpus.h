/* Choices as the kernels of `matching_kernels.c` want them: code points numbered, short texts in blocks of 64 lanes.
 *
 * An *alphabet* numbers the code points of all choices; the 63 most frequent get the smallest symbols, so that texts of an
 * alphabetic script are looked up in registers. A *block* is 64 choices as a structure of arrays, position by position; a
 * *chunk* is the blocks of 4096 neighbouring choices, by length where that saves work. What fits no block (more than 64 code
 * points, a symbol beyond 16 bits) is *loose*. What must not go in here: comparing anything.
 */
#ifndef BROKER_MATCHING_CORPUS_H
#define BROKER_MATCHING_CORPUS_H

#include <stddef.h>
#include <stdint.h>

#define LANES 64u
#define WORD_UNITS 64u /* the longest text of a block, and the longest query that a lane holds */
#define CHUNK 4096u
#define PAD 63u /* the symbol behind the end of a text; no code point has it */
#define NEAR 64u /* symbols below it are looked up in registers */
#define ABSENT UINT32_MAX /* the symbol of a code point that no choice has */
#define NOWHERE UINT16_MAX
#define CODE_POINTS 0x110000u
#define PAGE 256u
#define PAGES (CODE_POINTS / PAGE)

#pragma GCC visibility push(hidden)

/* A text as Python keeps it: `kind` is bytes per code point, 1, 2 or 4. The text is borrowed. */
typedef struct {
    const void *data;
    uint32_t length;
    uint32_t kind;
} Text;

/* Two levels, so that an alphabet costs by the pages that it uses. Page 0 has no code point. */
typedef struct {
    uint16_t page_of[PAGES];
    uint32_t *pages;
    uint32_t page_count;
    uint32_t size; /* symbols are below it; at least NEAR */
} Alphabet;

typedef struct {
    uint16_t *codes; /* [longest][LANES] */
    uint8_t lengths[LANES];
    uint16_t longest, shortest;
    uint16_t is_near; /* whether every symbol is below NEAR */
} Block;

typedef struct {
    size_t first_block, block_count;
    size_t first_loose, loose_count;
    uint64_t lengths; /* bit n - 1: a choice of n code points is in its blocks */
    int is_near; /* whether any of its blocks is */
    int in_order; /* whether lane i of block b is choice 64 b + i of the chunk */
} Chunk;

typedef struct {
    size_t choice; /* its position among all choices */
    const uint32_t *symbols;
    uint32_t length;
} Loose;

typedef struct {
    Alphabet alphabet;
    size_t count, chunk_count;
    uint32_t longest;
    Chunk *chunks;
    Block *blocks;
    Loose *loose;
    uint16_t *codes, *codes_raw;
    uint32_t *symbols;
    uint16_t *slots; /* choice -> its lane in its chunk, or NOWHERE when it is loose */
} Corpus;

static inline uint32_t code_point_at(const Text *text, uint32_t i)
{
    if (text->kind == 1)
        return ((const uint8_t *)text->data)[i];
    return text->kind == 2 ? ((const uint16_t *)text->data)[i] : ((const uint32_t *)text->data)[i];
}

/* `code_point` is below CODE_POINTS, which Python guarantees. */
static inline uint32_t symbol_of(const Alphabet *alphabet, uint32_t code_point)
{
    return alphabet->pages[(size_t)alphabet->page_of[code_point / PAGE] * PAGE + code_point % PAGE];
}

/* Both return 0, or -1 when memory ran out; then there is nothing to free. With `in_blocks` 0 every choice is loose. */
int corpus_pack(Corpus *corpus, const Text *choices, size_t count, int in_blocks);
int alphabet_of(Alphabet *alphabet, const Text *texts, size_t count);

void alphabet_free(Alphabet *alphabet);
void corpus_free(Corpus *corpus);

#pragma GCC visibility pop
#endif
