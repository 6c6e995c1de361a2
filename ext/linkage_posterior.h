/* How likely a pattern is that of a match: what a model says (broker/linkage/model.py), as numbers.
 *
 * Classes of pairs are matches, strangers, then kin: those who are no match and agree on much. What must not go in here: how
 * the numbers are found.
 */
#ifndef BROKER_LINKAGE_POSTERIOR_H
#define BROKER_LINKAGE_POSTERIOR_H

#include "linkage_compare.h"

#define MOST_CLASSES 8u
#define CLASS_LEVELS (MOST_FIELDS * LEVEL_COUNT)

typedef struct {
    uint32_t fields, classes;
    double pairs[MOST_CLASSES];               /* logarithm of the share of all pairs */
    double levels[MOST_CLASSES][CLASS_LEVELS]; /* logarithm of the probability of a level, by class, field and level */
    double guarded;                   /* the most that the logarithm of the odds of a guarded pair can be */
    uint16_t other_name[MOST_FIELDS]; /* levels as bits: a name that is another one, */
    uint16_t same_number[MOST_FIELDS]; /* a number that is the same, which makes up for that, */
    uint16_t contradicted[MOST_FIELDS]; /* two right numbers of which only one can be theirs */
} Posterior;

enum { GUARD_NONE, GUARD_OTHER_NAME, GUARD_CONTRADICTED };

/* Why a pair is at most for review, whatever else it agrees on. */
uint32_t posterior_guard(const Posterior *posterior, uint64_t pattern);

/* The logarithm of the odds that a pair is a match, guards included; `rival` is the class but matches that is likeliest. */
double posterior_log_odds(const Posterior *posterior, uint64_t pattern, uint32_t *rival);

#endif
