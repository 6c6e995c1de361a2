/* Comparing queries with a corpus: which path runs, and where results go.
 *
 * What must not go in here: how texts are laid out (`matching_corpus.h`) and how one pair or one block is compared.
 */
#ifndef BROKER_MATCHING_KERNELS_H
#define BROKER_MATCHING_KERNELS_H

#include "matching_corpus.h"
#include "matching_scalar.h"

#pragma GCC visibility push(hidden)

typedef enum { PATH_SCALAR, PATH_AVX2, PATH_AVX512, PATH_COUNT } Path;

/* Similarities are floats; distances are of any kind of integer that holds them all. */
typedef enum { RESULT_FLOAT, RESULT_U8, RESULT_U16, RESULT_U32, RESULT_DOUBLE } ResultKind;

typedef struct {
    void *data;
    ResultKind kind;
} Results;

/* One query in the form that lanes look it up in. */
typedef struct {
    const Query *query;
    const uint64_t *masks; /* symbol -> positions in the query */
    uint16_t codes[16]; /* its first symbols, or NOWHERE, for comparison */
    uint16_t near16[NEAR]; /* as masks, for symbols below NEAR, cut to the width of lanes */
    uint32_t near32[NEAR];
    const float *scores, *name_scores; /* the tables of `matching_scores.h` for this length of query */
} LaneQuery;

typedef struct {
    void (*jaro)(float *similarities, const Block *blocks, size_t count, const LaneQuery *query);
    void (*levenshtein)(uint8_t *distances, const Block *blocks, size_t count, const LaneQuery *query);
    /* Bring results of lanes into the order of choices; no slot is NOWHERE. */
    void (*place_similarities)(float *to, const float *from, const uint16_t *slots, size_t count);
    void (*place_distances)(uint8_t *to, const uint8_t *from, const uint16_t *slots, size_t count);
    /* The same for lanes in order, when there are too many results for the cache. */
    void (*stream_similarities)(float *to, const float *from, size_t count);
} Lanes;

#define ROOM_BEHIND 3u /* bytes behind the results of a chunk that may be read */

/* To be called once, before anything is compared. */
void matching_prepare(void);

int path_is_supported(Path path);
const Lanes *lanes_of(Path path); /* NULL for PATH_SCALAR */

/* Row q, column c of `results` compares query q with choice c. 0, or -1 when memory ran out. */
int matching_cdist(const Corpus *corpus, Path path, const Text *queries, size_t count, Metric metric, Results results);

/* Result i compares text i of both. 0, or -1 when memory ran out. */
int matching_cpdist(const Text *queries, const Text *choices, size_t count, Metric metric, Results results);

#pragma GCC visibility pop
#endif
