/* Candidate pairs and their patterns: records of one table looked up in an index of another, or of the same.
 *
 * A batch of records is looked up in stages (keys, directory, slots, records), each stage asking for the memory of the next, so
 * that the waits for it overlap. A candidate that shares several keys is compared once. The work for a record is bounded: a key
 * of more than the index's cap is in no bucket, and after MOST_CANDIDATES no more are looked at (the rules come in the order of
 * their worth, so it is the weakest that are cut).
 *
 * What must not go in here: what is a link (broker/linkage/model.py, decision.py).
 */
#ifndef BROKER_LINKAGE_PAIRS_H
#define BROKER_LINKAGE_PAIRS_H

#include "linkage_compare.h"
#include "linkage_keys.h"
#include "postings.h"

#define MOST_CANDIDATES 1024u
#define WEIGHT_LEVELS (MOST_FIELDS * LEVEL_COUNT)

typedef struct {
    const uint8_t *rows;
    uint32_t count;
} Records;

/* What is kept of the pairs of a part of the left records: those of the least weight and more. */
typedef struct {
    uint32_t *left, *right;
    uint64_t *patterns;
    float *weights;
    size_t count, room;
    uint64_t compared;
    uint64_t cut; /* records of which not all candidates were looked at */
} Pairs;

typedef struct {
    const Layout *layout;
    const Plan *plan;
    const Characters *characters;
    const Postings *index;
    Records left, right;
    int within;            /* both are one table: each pair once, and none of a record with itself */
    const float *weights;  /* WEIGHT_LEVELS of them, by field and level; added up. NULL: all pairs weigh 0 */
    float least;
} Search;

/* Look up the left records from `first` on, every `step`th, `count` of them. 0, or -1 when memory ran out: then free too. */
int pairs_find(Pairs *pairs, const Search *search, uint32_t first, uint32_t step, uint32_t count);
void pairs_free(Pairs *pairs);

/* Patterns of given pairs; -1 where a slot is none or memory runs out. */
int pairs_compare(const Search *search, const uint32_t *left, const uint32_t *right, size_t count, uint64_t *patterns);

#endif
