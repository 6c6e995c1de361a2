/* Posterior odds. See `linkage_posterior.h`.
 *
 * What must not go in here: candidates.
 */
#include "linkage_posterior.h"

#include <math.h>

static double class_log(const Posterior *posterior, uint32_t class, uint64_t pattern)
{
    double sum = posterior->pairs[class];
    for (uint32_t i = 0; i < posterior->fields; i++, pattern >>= 4)
        sum += posterior->levels[class][i * LEVEL_COUNT + (pattern & 15u)];
    return sum;
}

static int has_level(const Posterior *posterior, const uint16_t *levels, uint64_t pattern)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < posterior->fields; i++, pattern >>= 4)
        found |= (uint32_t)levels[i] >> (pattern & 15u) & 1u;
    return found != 0;
}

uint32_t posterior_guard(const Posterior *posterior, uint64_t pattern)
{
    if (has_level(posterior, posterior->contradicted, pattern))
        return GUARD_CONTRADICTED;
    if (has_level(posterior, posterior->other_name, pattern) && !has_level(posterior, posterior->same_number, pattern))
        return GUARD_OTHER_NAME;
    return GUARD_NONE;
}

double posterior_log_odds(const Posterior *posterior, uint64_t pattern, uint32_t *rival)
{
    double logs[MOST_CLASSES], most = -INFINITY, sum = 0;
    *rival = 1;
    for (uint32_t c = 1; c < posterior->classes; c++) {
        logs[c] = class_log(posterior, c, pattern);
        if (logs[c] > most)
            most = logs[c], *rival = c;
    }
    for (uint32_t c = 1; c < posterior->classes; c++)
        sum += exp(logs[c] - most);
    double odds = class_log(posterior, 0, pattern) - most - log(sum);
    return odds > posterior->guarded && posterior_guard(posterior, pattern) != GUARD_NONE ? posterior->guarded : odds;
}
