/* What a Jaro or Jaro-Winkler similarity is, once matches and transpositions are counted.
 *
 * Every path takes its scores from here, so no two can differ in a rounding: doubles in one order of operations, rounded to
 * float once, at the end. To be compiled without contraction to fused operations (-ffp-contract=off).
 * Jaro 1989, doi:10.1080/01621459.1989.10478785; Winkler 1990, ERIC ED325505, boosted only above 0.7.
 * What must not go in here: texts.
 */
#ifndef BROKER_MATCHING_SCORES_H
#define BROKER_MATCHING_SCORES_H

#include <stdint.h>

#define PREFIXES 5u /* common prefixes of 0 to 4 code points count */
#define PREFIX_WEIGHT 0.1
#define BOOST_ABOVE 0.7

/* Of texts of `p` and `t` code points, neither empty, with `matches` > 0; `halved` is transpositions / 2, rounded down. */
static inline double jaro_score(uint32_t p, uint32_t t, uint32_t matches, uint32_t halved)
{
    double m = (double)matches;
    double sum = m / (double)p;
    sum += m / (double)t;
    sum += (m - (double)halved) / m;
    return sum / 3.0;
}

static inline double winkler_score(double jaro, uint32_t prefix)
{
    if (!(jaro > BOOST_ABOVE))
        return jaro;
    jaro += (double)prefix * PREFIX_WEIGHT * (1.0 - jaro);
    return jaro < 1.0 ? jaro : 1.0;
}

/* How far apart two equal code points may stand and still match. */
static inline uint32_t jaro_bound(uint32_t p, uint32_t t)
{
    uint32_t half = (p > t ? p : t) / 2;
    return half - (half > 0);
}

/* A table of the scores of one query length, over (length of choice, matches, halved transpositions, prefix). The kernels
 * compute the index in lanes; of a length of choice that never came up nothing is computed. */
static inline uint32_t score_row(uint32_t p) { return (p / 2 + 1) * PREFIXES; }

static inline uint32_t score_plane(uint32_t p) { return (p + 1) * score_row(p); }

/* Fill the plane of choices of `t` code points, 1 to 64. With `winkler` 0 the prefix counts for nothing. */
static inline void fill_score_plane(float *plane, uint32_t p, uint32_t t, int winkler)
{
    uint32_t most = p < t ? p : t;
    for (uint32_t i = 0; i < score_row(p); i++)
        plane[i] = 0.0f; /* no matches */
    for (uint32_t m = 1; m <= most; m++)
        for (uint32_t halved = 0; halved <= m / 2; halved++) {
            double jaro = jaro_score(p, t, m, halved);
            float *cell = plane + m * score_row(p) + halved * PREFIXES;
            for (uint32_t prefix = 0; prefix < PREFIXES; prefix++)
                cell[prefix] = (float)(winkler ? winkler_score(jaro, prefix) : jaro);
        }
}

/* Of texts of at most 4 code points none match but neighbours, |i - j| < 2: ten bits, position i of the query and j of the
 * choice being bit 2 j + i, say it all. A table over (length of choice, these bits). */
#define NAME_LENGTH 4u
#define NAME_BITS 10u
#define NAME_CELLS ((NAME_LENGTH + 1) << NAME_BITS)

#endif
