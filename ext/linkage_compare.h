/* How alike two packed records are: one small level a field.
 *
 * MISSING is neither agreement nor disagreement. From SAME on values are the same, and the level tells how rare they are: three
 * bits of rarity each. What lies between is told by the kind; levels of a kind are in no order, the model weighs each by itself.
 *
 * A *pattern* holds the levels of all fields, four bits each, that of the first field lowest.
 *
 * What must not go in here: weights.
 */
#ifndef BROKER_LINKAGE_COMPARE_H
#define BROKER_LINKAGE_COMPARE_H

#include "linkage_cells.h"
#include "matching_scalar.h"

enum { LEVEL_MISSING, LEVEL_DIFFERENT, LEVEL_SAME = 9, LEVEL_COUNT = 16 };

enum { /* names of people */
    NAME_SAME_SURNAME = 2,
    NAME_ONE_DIFFERS, /* one character of three or more is another one */
    NAME_ONE_LESS,    /* one left out */
    NAME_SWAPPED,     /* two neighbours, not the first */
    NAME_SHAPE,       /* written with characters of nearly the same shape */
    NAME_SOUND,       /* written with characters of the same sound, or one that is not known */
    NAME_LETTERS,     /* one of both in letters, or the letters in another order */
};

enum { ID_OTHER_WRONG = 2, ID_SLIP }; /* different, and one of both cannot be right; one digit wrong or two swapped */

enum { DATE_YEAR = 2, DATE_MONTH_DAY, DATE_NEAR_YEAR, DATE_SLIP, DATE_DAY_MONTH };

enum { PHONE_SLIP = 2 };

enum { ADDRESS_REGION = 2, ADDRESS_STREET, ADDRESS_HOUSE, ADDRESS_DWELLING };

enum { CODE_LIKE = 2, CODE_SLIP };

enum { /* texts, and given names and surnames */
    TEXT_WEAK = 2, /* Jaro-Winkler of 0.7, */
    TEXT_FAIR,     /* 0.8, */
    TEXT_GOOD,     /* 0.88, */
    TEXT_CLOSE,    /* 0.94 */
    TEXT_BEGINS,   /* one begins with the other */
    TEXT_SWAPPED_LIKE,
    TEXT_SWAPPED, /* what stands here stands there in the partner's place */
};

typedef struct {
    const Layout *layout;
    const Characters *characters;
    Alphabet alphabet; /* of bytes */
    Tables tables;
} Comparison;

/* 0, or -1 when memory ran out; then there is nothing to close. One comparison is used by one thread at a time. */
int comparison_open(Comparison *comparison, const Layout *layout, const Characters *characters);
void comparison_close(Comparison *comparison);

uint64_t compare_records(Comparison *comparison, const uint8_t *one, const uint8_t *other);

/* Weights by field and level. Fields are compared in the order in which a difference tells most, so that most pairs are done
 * with after one or two; `most_behind` is what a pair can still gain behind each place of that order. */
typedef struct {
    float at[MOST_FIELDS][LEVEL_COUNT];
    float most[MOST_FIELDS]; /* of each field */
    float most_behind[MOST_FIELDS];
    uint8_t order[MOST_FIELDS];
    uint32_t count; /* of the fields that are compared */
    float missing;  /* sum of the weights of those that are not */
    float least;
} Weights;

/* `weights` has MOST_FIELDS * LEVEL_COUNT numbers; NULL is all zero. */
void weights_set(Weights *set, const Layout *layout, const float *weights, float least);

/* Leave out the fields that a record does not have: `own` is its pattern with itself. Pairs with it are done with sooner. */
void weights_known(Weights *known, const Weights *set, uint64_t own);

/* Whether the weights of a pair add up to the least; it is not compared to the end when they no longer can, and then there is
 * no pattern. */
int compare_weighed(Comparison *comparison, const Weights *weights, const uint8_t *one, const uint8_t *other, uint64_t *pattern,
                    float *sum);

/* Whether two numbers of as many digits differ in one digit, or in two neighbours swapped. */
int is_one_slip(uint64_t one, uint64_t other);

#endif
