/* Packing choices into chunks, blocks and lanes. See `matching_corpus.h`.
 *
 * What must not go in here: how symbols are numbered (`matching_alphabet.c`), and what is done with blocks.
 */
#include "matching_corpus.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64u
/* Positions a block that sorting must save before it pays for the shuffling of its results. */
#define SORTING_PAYS 3u

/* The choices of one chunk. */
typedef struct {
    const Text *choices;
    size_t count;
    const uint16_t *lane; /* choice of the chunk -> lane, or NOWHERE */
} Slice;

static int fits_a_block(const Alphabet *alphabet, const Text *text)
{
    if (text->length > WORD_UNITS)
        return 0;
    if (alphabet->size <= UINT16_MAX)
        return 1;
    for (uint32_t i = 0; i < text->length; i++)
        if (symbol_of(alphabet, code_point_at(text, i)) >= UINT16_MAX)
            return 0;
    return 1;
}

/* The positions that lanes in the order given would walk: the sum of the longest text of each block. */
static size_t positions(const Text *choices, const uint16_t *lane, size_t count, size_t *each, size_t blocks)
{
    size_t sum = 0;
    memset(each, 0, sizeof *each * blocks);
    for (size_t i = 0; i < count; i++)
        if (lane[i] != NOWHERE && choices[i].length > each[lane[i] / LANES])
            each[lane[i] / LANES] = choices[i].length;
    for (size_t b = 0; b < blocks; b++)
        sum += each[b];
    return sum;
}

/* Counting sort by length, stable; who is NOWHERE stays so. */
static void lanes_by_length(uint16_t *sorted, const Text *choices, const uint16_t *lane, size_t count)
{
    size_t next[WORD_UNITS + 2] = {0};
    for (size_t i = 0; i < count; i++)
        if (lane[i] != NOWHERE)
            next[choices[i].length + 1]++;
    for (size_t length = 1; length <= WORD_UNITS; length++)
        next[length] += next[length - 1];
    for (size_t i = 0; i < count; i++)
        sorted[i] = lane[i] == NOWHERE ? NOWHERE : (uint16_t)next[choices[i].length]++;
}

/* Decide the lanes of a chunk; returns whether they are in order. */
static int assign_lanes(uint16_t *lane, const Text *choices, const Alphabet *alphabet, size_t count, int in_blocks)
{
    uint16_t sorted[CHUNK];
    size_t each[CHUNK / LANES];
    size_t blocks = (count + LANES - 1) / LANES;
    for (size_t i = 0; i < count; i++)
        lane[i] = in_blocks && fits_a_block(alphabet, &choices[i]) ? (uint16_t)i : NOWHERE;
    lanes_by_length(sorted, choices, lane, count);
    size_t as_they_come = positions(choices, lane, count, each, blocks);
    if (as_they_come <= positions(choices, sorted, count, each, blocks) + SORTING_PAYS * blocks)
        return 1;
    memcpy(lane, sorted, sizeof *lane * count);
    return 0;
}

static void measure_blocks(Block *blocks, size_t count, const Slice *slice)
{
    memset(blocks, 0, sizeof *blocks * count);
    for (size_t i = 0; i < slice->count; i++)
        if (slice->lane[i] != NOWHERE) {
            Block *block = &blocks[slice->lane[i] / LANES];
            uint8_t length = (uint8_t)slice->choices[i].length;
            block->lengths[slice->lane[i] % LANES] = length;
            block->longest = length > block->longest ? length : block->longest;
        }
    for (size_t b = 0; b < count; b++) {
        blocks[b].shortest = WORD_UNITS;
        for (size_t i = 0; i < LANES; i++)
            if (blocks[b].lengths[i] < blocks[b].shortest)
                blocks[b].shortest = blocks[b].lengths[i];
    }
}

static uint16_t *lay_out(Block *blocks, size_t count, uint16_t *codes)
{
    for (size_t b = 0; b < count; b++) {
        size_t cells = (size_t)blocks[b].longest * LANES;
        for (size_t i = 0; i < cells; i++)
            codes[i] = PAD;
        blocks[b].codes = codes;
        blocks[b].is_near = 1;
        codes += cells;
    }
    return codes;
}

static void fill_lane(Block *block, uint32_t lane, const Text *text, const Alphabet *alphabet)
{
    for (uint32_t j = 0; j < text->length; j++) {
        uint32_t symbol = symbol_of(alphabet, code_point_at(text, j));
        block->codes[j * LANES + lane] = (uint16_t)symbol;
        block->is_near &= symbol < NEAR;
    }
}

static uint32_t *add_loose(Loose *loose, size_t choice, const Text *text, const Alphabet *alphabet, uint32_t *symbols)
{
    *loose = (Loose){choice, symbols, text->length};
    for (uint32_t j = 0; j < text->length; j++)
        *symbols++ = symbol_of(alphabet, code_point_at(text, j));
    return symbols;
}

/* What the packing of all chunks needs of memory, found by assigning lanes once. */
typedef struct {
    size_t cells, blocks, loose, loose_symbols;
} Sizes;

static size_t blocks_of(const uint16_t *lane, size_t count)
{
    size_t last = 0;
    for (size_t i = 0; i < count; i++)
        if (lane[i] != NOWHERE && lane[i] + 1u > last)
            last = lane[i] + 1u;
    return (last + LANES - 1) / LANES;
}

static void plan_chunk(Corpus *corpus, size_t c, const Text *choices, int in_blocks, Sizes *sizes)
{
    size_t each[CHUNK / LANES];
    size_t first = c * CHUNK;
    size_t count = corpus->count - first < CHUNK ? corpus->count - first : CHUNK;
    uint16_t *lane = corpus->slots + first;
    Chunk *chunk = &corpus->chunks[c];
    chunk->in_order = assign_lanes(lane, choices + first, &corpus->alphabet, count, in_blocks);
    chunk->first_block = sizes->blocks;
    chunk->block_count = blocks_of(lane, count);
    chunk->first_loose = sizes->loose;
    sizes->blocks += chunk->block_count;
    sizes->cells += LANES * positions(choices + first, lane, count, each, CHUNK / LANES);
    for (size_t i = 0; i < count; i++) {
        const Text *text = &choices[first + i];
        corpus->longest = text->length > corpus->longest ? text->length : corpus->longest;
        if (lane[i] != NOWHERE && text->length > 0)
            chunk->lengths |= UINT64_C(1) << (text->length - 1);
        sizes->loose += lane[i] == NOWHERE;
        sizes->loose_symbols += lane[i] == NOWHERE ? text->length : 0;
    }
    chunk->loose_count = sizes->loose - chunk->first_loose;
}

static int allocate(Corpus *corpus, const Sizes *sizes)
{
    corpus->blocks = malloc(sizeof *corpus->blocks * (sizes->blocks + 1));
    corpus->loose = malloc(sizeof *corpus->loose * (sizes->loose + 1));
    corpus->symbols = malloc(sizeof *corpus->symbols * (sizes->loose_symbols + 1));
    corpus->codes_raw = malloc(sizeof *corpus->codes * sizes->cells + ALIGNMENT);
    if (corpus->blocks == NULL || corpus->loose == NULL || corpus->symbols == NULL || corpus->codes_raw == NULL)
        return -1;
    uintptr_t at = (uintptr_t)corpus->codes_raw;
    corpus->codes = (uint16_t *)((unsigned char *)corpus->codes_raw + (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT);
    return 0;
}

static void fill(Corpus *corpus, const Text *choices)
{
    uint16_t *codes = corpus->codes;
    uint32_t *symbols = corpus->symbols;
    Loose *loose = corpus->loose;
    for (size_t c = 0; c < corpus->chunk_count; c++) {
        Chunk *chunk = &corpus->chunks[c];
        Block *blocks = corpus->blocks + chunk->first_block;
        size_t first = c * CHUNK;
        Slice slice = {choices + first, corpus->count - first < CHUNK ? corpus->count - first : CHUNK,
                       corpus->slots + first};
        measure_blocks(blocks, chunk->block_count, &slice);
        codes = lay_out(blocks, chunk->block_count, codes);
        for (size_t i = 0; i < slice.count; i++) {
            uint16_t lane = slice.lane[i];
            if (lane == NOWHERE)
                symbols = add_loose(loose++, first + i, &slice.choices[i], &corpus->alphabet, symbols);
            else
                fill_lane(&blocks[lane / LANES], lane % LANES, &slice.choices[i], &corpus->alphabet);
        }
        for (size_t b = 0; b < chunk->block_count; b++)
            chunk->is_near |= blocks[b].is_near;
    }
}

int corpus_pack(Corpus *corpus, const Text *choices, size_t count, int in_blocks)
{
    Sizes sizes = {0};
    memset(corpus, 0, sizeof *corpus);
    if (alphabet_of(&corpus->alphabet, choices, count) != 0)
        return -1;
    corpus->count = count;
    corpus->chunk_count = (count + CHUNK - 1) / CHUNK;
    corpus->chunks = calloc(corpus->chunk_count + 1, sizeof *corpus->chunks);
    corpus->slots = malloc(sizeof *corpus->slots * (count + 1));
    int failed = corpus->chunks == NULL || corpus->slots == NULL;
    for (size_t c = 0; c < corpus->chunk_count && !failed; c++)
        plan_chunk(corpus, c, choices, in_blocks, &sizes);
    if (failed || allocate(corpus, &sizes) != 0) {
        corpus_free(corpus);
        return -1;
    }
    fill(corpus, choices);
    return 0;
}

void corpus_free(Corpus *corpus)
{
    alphabet_free(&corpus->alphabet);
    free(corpus->chunks);
    free(corpus->blocks);
    free(corpus->loose);
    free(corpus->codes_raw);
    free(corpus->symbols);
    free(corpus->slots);
    memset(corpus, 0, sizeof *corpus);
}
