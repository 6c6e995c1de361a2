/* How rare values are: counted over the tables that are linked, and written into their cells.
 *
 * Counts are by a hash of the value in a table with four places a row, without the values. Two values that fall on one place
 * are counted together: a value is then held for more frequent than it is, never for rarer.
 *
 * A phone, date or identifier that is far more frequent than others is no value but what is written where there is none
 * (11111111111, 1900-01-01), or that of an institution: it becomes missing.
 *
 * What must not go in here: lists of such values (linkage_pack.pxd).
 */
#ifndef BROKER_LINKAGE_RARITY_H
#define BROKER_LINKAGE_RARITY_H

#include "linkage_cells.h"

#define RARITY_STEPS 32u
#define PLACEHOLDER_TIMES 50u  /* more frequent than the median of all rows */
#define PLACEHOLDER_LEAST 100u /* rows */

typedef struct {
    uint8_t *rows;
    uint32_t count;
} CountedRows;

/* `agreement[b]` is the probability that two rows drawn at random agree on a value of b bits; `values` how many rows have one.
 * There is at least one table. 0, or -1 when memory ran out. */
int rarity_count(const Layout *layout, uint32_t field, const CountedRows *tables, uint32_t table_count, double *agreement,
                 uint64_t *values, uint64_t *placeholders);

#endif
