/* Clusters of records from the log odds of pairs: greedy average linkage, the likeliest pair first.
 *
 * Two clusters become one if all pairs across them, together, speak for it: those compared by their log odds, kept within a
 * clip so that no one pair outvotes a crowd, and each that was never compared by a little against it. So one likely pair cannot
 * chain two groups that contradict each other, and a cluster grows only as long as most of it agrees (correlation clustering:
 * Bansal, Blum and Chawla 2004, doi:10.1023/B:MACH.0000033116.57574.95; this is no approximation of the best, only quick).
 *
 * What must not go in here: where odds come from.
 */
#ifndef BROKER_LINKAGE_CLUSTERS_H
#define BROKER_LINKAGE_CLUSTERS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint32_t *left, *right;
    const double *log_odds; /* falling */
    size_t count;
} OddsOfPairs;

typedef struct {
    double least;      /* log odds of a pair that may bring clusters together */
    double clip;       /* of one pair, either way */
    double uncompared; /* log odds of a pair that was never compared */
} Clustering;

/* Write the first row of its cluster for each of `rows` rows. 0; -1 when memory ran out; -2 where a pair names no row. */
int cluster_rows(uint32_t *clusters, uint32_t rows, const OddsOfPairs *pairs, const Clustering *clustering);

#endif
