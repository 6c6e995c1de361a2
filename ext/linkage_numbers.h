/* How alike numbers, dates and addresses are: levels of `linkage_compare.h`, from two cells of a kind.
 *
 * What must not go in here: records.
 */
#ifndef BROKER_LINKAGE_NUMBERS_H
#define BROKER_LINKAGE_NUMBERS_H

#include "linkage_compare.h"

/* The level of two values that are the same, by the bits of their rarity: a record that was looked up may have none. */
static inline uint32_t same_at(uint32_t one, uint32_t other)
{
    uint32_t bits = one > other ? one : other;
    uint32_t step = bits < 6 ? 0 : (bits - 3) / 3;
    return LEVEL_SAME + (step > 6 ? 6 : step);
}

static inline int agree(uint32_t one, uint32_t other) { return one == other && one != 0; }
static inline int conflict(uint32_t one, uint32_t other) { return one != other && one != 0 && other != 0; }

uint32_t compare_resident_ids(const uint8_t *a, const uint8_t *b);
uint32_t compare_phones(const uint8_t *a, const uint8_t *b);
uint32_t compare_dates(const uint8_t *a, const uint8_t *b);
uint32_t compare_addresses(const uint8_t *cell, const uint8_t *other);

#endif
