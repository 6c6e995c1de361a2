/* Queries against a corpus, chunk by chunk. See `matching_kernels.h`.
 *
 * A chunk stays in cache while all queries pass over it; the results of its lanes come in the order of lanes and are put into
 * that of choices. What must not go in here: how one pair or one block is compared.
 */
#include "matching_kernels.h"
#include "matching_scores.h"

#include <stdlib.h>
#include <string.h>

#define LARGE (1u << 20) /* results */

#if defined(__x86_64__)
extern const Lanes lanes_avx2, lanes_avx512;

int path_is_supported(Path path)
{
    if (path == PATH_AVX512)
        return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512bitalg") && __builtin_cpu_supports("avx512vpopcntdq");
    return path == PATH_SCALAR || (path == PATH_AVX2 && __builtin_cpu_supports("avx2"));
}

const Lanes *lanes_of(Path path)
{
    static const Lanes *const lanes[PATH_COUNT] = {NULL, &lanes_avx2, &lanes_avx512};
    return lanes[path];
}
#else
int path_is_supported(Path path) { return path == PATH_SCALAR; }

const Lanes *lanes_of(Path path)
{
    (void)path;
    return NULL;
}
#endif

static float name_scores[2][NAME_LENGTH + 1][NAME_CELLS]; /* of Jaro and of Jaro-Winkler */

void matching_prepare(void)
{
    for (uint32_t p = 1; p <= NAME_LENGTH; p++) {
        fill_name_scores(name_scores[0][p], p, 0);
        fill_name_scores(name_scores[1][p], p, 1);
    }
}

/* The tables of scores by length of query, made as lengths come up. */
typedef struct {
    float *of[WORD_UNITS + 1];
    uint64_t filled[WORD_UNITS + 1]; /* bit n - 1: the plane of choices of n code points */
} Scores;

typedef struct {
    const Corpus *corpus;
    const Lanes *lanes;
    Metric metric;
    Results results;
    int is_large; /* whether the results are too many for the cache */
    Tables tables;
    Scores scores;
    Query *queries;
    uint32_t *symbols; /* of all queries */
} Work;

/* A chunk with its part of the slots. */
typedef struct {
    const Chunk *chunk;
    const Block *blocks;
    const uint16_t *slots;
    size_t count;
} Span;

/* --- results --------------------------------------------------------------------------------------------------------- */

static void put(Results results, size_t at, double result)
{
    if (results.kind == RESULT_FLOAT)
        ((float *)results.data)[at] = (float)result;
    else if (results.kind == RESULT_DOUBLE)
        ((double *)results.data)[at] = result;
    else if (results.kind == RESULT_U8)
        ((uint8_t *)results.data)[at] = (uint8_t)result;
    else if (results.kind == RESULT_U16)
        ((uint16_t *)results.data)[at] = (uint16_t)result;
    else
        ((uint32_t *)results.data)[at] = (uint32_t)result;
}

#define DEFINE_PLACE(TYPE, FROM)                                                                                           \
    static void place_##TYPE(TYPE *to, const FROM *from, const uint16_t *slots, size_t count)                              \
    {                                                                                                                      \
        for (size_t i = 0; i < count; i++)                                                                                 \
            if (slots[i] != NOWHERE)                                                                                       \
                to[i] = from[slots[i]];                                                                                    \
    }

DEFINE_PLACE(float, float)
DEFINE_PLACE(uint8_t, uint8_t)
DEFINE_PLACE(uint16_t, uint8_t)
DEFINE_PLACE(uint32_t, uint8_t)

/* Bring the results of a chunk's lanes into the order of its choices; loose ones are left alone. */
static void place_similarities(const Work *work, size_t at, const float *from, const Span *span)
{
    float *to = (float *)work->results.data + at;
    if (span->chunk->loose_count != 0)
        place_float(to, from, span->slots, span->count);
    else if (span->chunk->in_order && work->is_large)
        work->lanes->stream_similarities(to, from, span->count);
    else if (span->chunk->in_order)
        memcpy(to, from, span->count * sizeof *to);
    else
        work->lanes->place_similarities(to, from, span->slots, span->count);
}

static void place_distances(const Work *work, size_t at, const uint8_t *from, const Span *span)
{
    void *data = work->results.data;
    ResultKind kind = work->results.kind;
    if (kind == RESULT_U16)
        place_uint16_t((uint16_t *)data + at, from, span->slots, span->count);
    else if (kind == RESULT_U32)
        place_uint32_t((uint32_t *)data + at, from, span->slots, span->count);
    else if (span->chunk->loose_count != 0)
        place_uint8_t((uint8_t *)data + at, from, span->slots, span->count);
    else if (span->chunk->in_order)
        memcpy((uint8_t *)data + at, from, span->count);
    else
        work->lanes->place_distances((uint8_t *)data + at, from, span->slots, span->count);
}

/* --- a query and a chunk --------------------------------------------------------------------------------------------- */

static int prepare_scores(Scores *scores, uint32_t p, uint64_t lengths, int winkler)
{
    if (scores->of[p] == NULL) {
        scores->of[p] = malloc((size_t)score_plane(p) * (WORD_UNITS + 1) * sizeof(float));
        if (scores->of[p] == NULL)
            return -1;
        memset(scores->of[p], 0, score_plane(p) * sizeof(float)); /* an empty choice is like no text */
    }
    for (uint64_t left = lengths & ~scores->filled[p]; left != 0; left &= left - 1) {
        uint32_t t = (uint32_t)__builtin_ctzll(left) + 1;
        fill_score_plane(scores->of[p] + (size_t)t * score_plane(p), p, t, winkler);
    }
    scores->filled[p] |= lengths;
    return 0;
}

static void prepare_lane_query(LaneQuery *lane_query, const Work *work, const Query *query, int is_near)
{
    lane_query->query = query;
    lane_query->masks = work->tables.masks;
    lane_query->scores = work->scores.of[query->length];
    lane_query->name_scores = query->length <= NAME_LENGTH ? name_scores[work->metric == JARO_WINKLER][query->length] : NULL;
    for (uint32_t i = 0; i < 16; i++)
        lane_query->codes[i] = NOWHERE; /* which no block has */
    for (uint32_t i = 0; i < query->length && i < 16; i++)
        if (query->symbols[i] < NOWHERE)
            lane_query->codes[i] = (uint16_t)query->symbols[i];
    for (uint32_t i = 0; i < NEAR && is_near; i++) {
        lane_query->near16[i] = (uint16_t)work->tables.masks[i];
        lane_query->near32[i] = (uint32_t)work->tables.masks[i];
    }
}

/* An empty query is 0 like anything but nothing, and as far from a text as that is long. */
static void compare_with_nothing(Work *work, const Span *span, size_t at)
{
    for (size_t i = 0; i < span->count; i++)
        if (span->slots[i] != NOWHERE) {
            uint32_t length = span->blocks[span->slots[i] / LANES].lengths[span->slots[i] % LANES];
            put(work->results, at + i, work->metric == LEVENSHTEIN ? (double)length : (double)(length == 0));
        }
}

static int compare_blocks(Work *work, const Query *query, const Span *span, size_t at)
{
    union {
        float similarities[CHUNK];
        uint8_t distances[CHUNK + ROOM_BEHIND];
    } room;
    LaneQuery lane_query;
    if (work->metric == LEVENSHTEIN) {
        prepare_lane_query(&lane_query, work, query, span->chunk->is_near);
        work->lanes->levenshtein(room.distances, span->blocks, span->chunk->block_count, &lane_query);
        place_distances(work, at, room.distances, span);
        return 0;
    }
    if (prepare_scores(&work->scores, query->length, span->chunk->lengths, work->metric == JARO_WINKLER) != 0)
        return -1;
    prepare_lane_query(&lane_query, work, query, span->chunk->is_near);
    work->lanes->jaro(room.similarities, span->blocks, span->chunk->block_count, &lane_query);
    place_similarities(work, at, room.similarities, span);
    return 0;
}

/* A query that no lane holds, against the choices of blocks. */
static void compare_lanes_one_by_one(Work *work, const Query *query, const Span *span, size_t at)
{
    uint32_t choice[WORD_UNITS];
    for (size_t i = 0; i < span->count; i++)
        if (span->slots[i] != NOWHERE) {
            const Block *block = &span->blocks[span->slots[i] / LANES];
            uint32_t lane = span->slots[i] % LANES, length = block->lengths[lane];
            for (uint32_t j = 0; j < length; j++)
                choice[j] = block->codes[j * LANES + lane];
            put(work->results, at + i, scalar_compare(&work->tables, query, choice, length, work->metric));
        }
}

static void compare_loose(Work *work, const Query *query, const Chunk *chunk, size_t row)
{
    for (size_t i = 0; i < chunk->loose_count; i++) {
        const Loose *loose = &work->corpus->loose[chunk->first_loose + i];
        put(work->results, row * work->corpus->count + loose->choice,
            scalar_compare(&work->tables, query, loose->symbols, loose->length, work->metric));
    }
}

static int compare_chunk(Work *work, size_t c, const Query *query, size_t row)
{
    const Corpus *corpus = work->corpus;
    const Chunk *chunk = &corpus->chunks[c];
    size_t first = c * CHUNK, at = row * corpus->count + first;
    size_t left = corpus->count - first;
    Span span = {chunk, corpus->blocks + chunk->first_block, corpus->slots + first, left < CHUNK ? left : CHUNK};
    int failed = 0;
    query_load(&work->tables, query);
    if (chunk->block_count != 0) {
        if (query->length == 0)
            compare_with_nothing(work, &span, at);
        else if (query->length > WORD_UNITS)
            compare_lanes_one_by_one(work, query, &span, at);
        else
            failed = compare_blocks(work, query, &span, at);
    }
    compare_loose(work, query, chunk, row);
    query_unload(&work->tables, query);
    return failed;
}

/* --- whole jobs ------------------------------------------------------------------------------------------------------ */

static uint32_t *translate(uint32_t *symbols, const Text *text, const Alphabet *alphabet)
{
    for (uint32_t i = 0; i < text->length; i++)
        *symbols++ = symbol_of(alphabet, code_point_at(text, i));
    return symbols;
}

static uint32_t longest_of(const Text *texts, size_t count, size_t *sum)
{
    uint32_t longest = 0;
    *sum = 0;
    for (size_t i = 0; i < count; i++) {
        longest = texts[i].length > longest ? texts[i].length : longest;
        *sum += texts[i].length;
    }
    return longest;
}

static int translate_queries(Work *work, const Text *queries, size_t count, size_t sum)
{
    work->queries = malloc(sizeof *work->queries * (count + 1));
    work->symbols = malloc(sizeof *work->symbols * (sum + 1));
    if (work->queries == NULL || work->symbols == NULL)
        return -1;
    uint32_t *symbols = work->symbols;
    for (size_t q = 0; q < count; q++) {
        work->queries[q] = (Query){symbols, queries[q].length};
        symbols = translate(symbols, &queries[q], &work->corpus->alphabet);
    }
    return 0;
}

static void work_close(Work *work)
{
    tables_close(&work->tables);
    for (size_t p = 0; p <= WORD_UNITS; p++)
        free(work->scores.of[p]);
    free(work->queries);
    free(work->symbols);
}

int matching_cdist(const Corpus *corpus, Path path, const Text *queries, size_t count, Metric metric, Results results)
{
    Work work = {.corpus = corpus, .lanes = lanes_of(path), .metric = metric, .results = results};
    work.is_large = count * corpus->count > LARGE;
    size_t sum;
    uint32_t longest = longest_of(queries, count, &sum);
    uint32_t longest_choice = corpus->longest > WORD_UNITS ? corpus->longest : WORD_UNITS;
    if (tables_open(&work.tables, &corpus->alphabet, longest, longest_choice) != 0)
        return -1;
    int failed = translate_queries(&work, queries, count, sum);
    for (size_t c = 0; c < corpus->chunk_count && !failed; c++)
        for (size_t q = 0; q < count && !failed; q++)
            failed = compare_chunk(&work, c, &work.queries[q], q);
    work_close(&work);
    return failed;
}

/* One pair: both texts in symbols, the query loaded and unloaded again. */
static double compare_texts(Tables *tables, const Alphabet *alphabet, const Text *query_text, const Text *choice_text,
                            uint32_t *room, Metric metric)
{
    uint32_t *choice = translate(room, query_text, alphabet);
    Query query = {room, query_text->length};
    translate(choice, choice_text, alphabet);
    query_load(tables, &query);
    double result = scalar_compare(tables, &query, choice, choice_text->length, metric);
    query_unload(tables, &query);
    return result;
}

int matching_cpdist(const Text *queries, const Text *choices, size_t count, Metric metric, Results results)
{
    Alphabet alphabet;
    Tables tables;
    size_t sum;
    uint32_t longest = longest_of(queries, count, &sum), longest_choice = longest_of(choices, count, &sum);
    if (alphabet_of(&alphabet, choices, count) != 0)
        return -1;
    int failed = tables_open(&tables, &alphabet, longest, longest_choice);
    if (!failed) {
        uint32_t *room = malloc(((size_t)longest + longest_choice + 1) * sizeof *room);
        failed = room == NULL ? -1 : 0;
        for (size_t i = 0; i < count && !failed; i++)
            put(results, i, compare_texts(&tables, &alphabet, &queries[i], &choices[i], room, metric));
        free(room);
        tables_close(&tables);
    }
    alphabet_free(&alphabet);
    return failed;
}
