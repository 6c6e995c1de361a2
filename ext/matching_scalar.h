/* One query against one choice, a word or a position at a time: the path of every processor, and of texts of any length.
 *
 * What must not go in here: lanes, blocks and tables of scores.
 */
#ifndef BROKER_MATCHING_SCALAR_H
#define BROKER_MATCHING_SCALAR_H

#include "matching_corpus.h"

#pragma GCC visibility push(hidden)

typedef enum { JARO, JARO_WINKLER, LEVENSHTEIN } Metric;

/* A query in the symbols of an alphabet. What tables have of it is taken out again by `query_unload`. */
typedef struct {
    const uint32_t *symbols;
    uint32_t length;
} Query;

/* Tables over the alphabet and room over texts; reused by query after query, and all zero or ABSENT between them. */
typedef struct {
    uint64_t *masks; /* symbol -> positions in a query of at most 64 (Levenshtein: in the word at hand) */
    uint32_t *head, *cursor; /* symbol -> its first position in a query, and the first that may still match */
    uint32_t *link; /* position -> the next one of the same symbol */
    uint8_t *query_flags, *choice_flags; /* position -> whether it has matched */
    int8_t *deltas; /* position in the choice -> the horizontal difference that leaves the word before */
} Tables;

/* 0, or -1 when memory ran out; then there is nothing to free. The lengths are the longest to come. */
int tables_open(Tables *tables, const Alphabet *alphabet, uint32_t query_length, uint32_t choice_length);
void tables_close(Tables *tables);

void query_load(Tables *tables, const Query *query);
void query_unload(Tables *tables, const Query *query);

/* The query is loaded. Symbols of choices are never ABSENT. A similarity is 0 to 1, a distance a whole number. */
double scalar_compare(Tables *tables, const Query *query, const uint32_t *choice, uint32_t length, Metric metric);

/* Fill the table of names of `matching_scores.h`, NAME_CELLS of them, for queries of `p` code points. */
void fill_name_scores(float *scores, uint32_t p, int winkler);

#pragma GCC visibility pop
#endif
