/* Comparators of numbers, dates and addresses. See `linkage_numbers.h`.
 *
 * What must not go in here: texts.
 */
#include "linkage_numbers.h"

/* --- numbers ------------------------------------------------------------------------------------------------------------ */

/* A slip changes a number by d or 9 d at one place, d of one digit; few numbers that differ do so by that. */
static int may_be_slip(uint64_t one, uint64_t other)
{
    uint64_t apart = one > other ? one - other : other - one;
    while (apart > 81 && apart % 10 == 0)
        apart /= 10;
    return apart != 0 && apart <= 90;
}

int is_one_slip(uint64_t one, uint64_t other)
{
    uint32_t wrong = 0, first_one = 0, first_other = 0;
    if (!may_be_slip(one, other))
        return 0;
    for (; one != other; one /= 10, other /= 10) {
        uint32_t a = (uint32_t)(one % 10), b = (uint32_t)(other % 10);
        int neighbours = wrong == 1 && a == first_other && b == first_one;
        if (wrong == 1 && one / 10 == other / 10)
            return neighbours;
        if (wrong == 1)
            return 0;
        if (a == b)
            continue;
        first_one = a, first_other = b, wrong = 1;
        if (one / 10 == other / 10)
            return 1;
    }
    return 0;
}

uint32_t compare_resident_ids(const uint8_t *a, const uint8_t *b)
{
    uint64_t one = cell_u64(a), other = cell_u64(b);
    if (one == 0 || other == 0)
        return LEVEL_MISSING;
    if (one == other)
        return LEVEL_SAME;
    if (one & other & ID_VALID)
        return LEVEL_DIFFERENT;
    if ((one | other) & ID_OTHER)
        return ID_OTHER_WRONG;
    one = (one & ID_NUMBER) / 11, other = (other & ID_NUMBER) / 11;
    return one == other || is_one_slip(one, other) ? ID_SLIP : ID_OTHER_WRONG;
}

static int are_as_long(uint64_t one, uint64_t other)
{
    for (; one >= 10 && other >= 10; one /= 10)
        other /= 10;
    return one < 10 && other < 10;
}

uint32_t compare_phones(const uint8_t *a, const uint8_t *b)
{
    uint64_t one = cell_u64(a), other = cell_u64(b);
    if (one == 0 || other == 0)
        return LEVEL_MISSING;
    uint32_t rare = (uint32_t)(one >> NUMBER_RARITY_SHIFT), rare_other = (uint32_t)(other >> NUMBER_RARITY_SHIFT);
    one &= PHONE_NUMBER, other &= PHONE_NUMBER;
    if (one == other)
        return same_at(rare, rare_other);
    return is_one_slip(one, other) && are_as_long(one, other) ? PHONE_SLIP : LEVEL_DIFFERENT;
}

uint32_t compare_dates(const uint8_t *a, const uint8_t *b)
{
    uint32_t one = cell_u32(a), other = cell_u32(b);
    if (one == 0 || other == 0)
        return LEVEL_MISSING;
    uint32_t rare = one >> DATE_RARITY_SHIFT, rare_other = other >> DATE_RARITY_SHIFT;
    one &= DATE_NUMBER, other &= DATE_NUMBER;
    if (one == other)
        return same_at(rare, rare_other);
    uint32_t year = one / 10000, day = one % 10000, other_year = other / 10000, other_day = other % 10000;
    if (year == other_year && day / 100 == other_day % 100 && day % 100 == other_day / 100)
        return DATE_DAY_MONTH;
    if (is_one_slip(one, other))
        return DATE_SLIP;
    if (day == other_day)
        return year - other_year + 2 <= 4 ? DATE_NEAR_YEAR : DATE_MONTH_DAY;
    return year == other_year ? DATE_YEAR : LEVEL_DIFFERENT;
}

/* --- addresses ---------------------------------------------------------------------------------------------------------- */

/* They have the street and the house in common, and both are known. */
static uint32_t compare_figures(const AddressCell *a, const AddressCell *b)
{
    if (a->figures[1] != b->figures[1] || conflict(a->figures[2], b->figures[2]) || conflict(a->figures[3], b->figures[3]))
        return ADDRESS_HOUSE;
    if (a->figures[3] != b->figures[3])
        return ADDRESS_DWELLING;
    return same_at(a->region >> REGION_RARITY_SHIFT, b->region >> REGION_RARITY_SHIFT);
}

uint32_t compare_addresses(const uint8_t *cell, const uint8_t *other)
{
    AddressCell a = cell_address(cell), b = cell_address(other);
    if (a.region == 0 || b.region == 0)
        return LEVEL_MISSING;
    int street = agree(a.road, b.road) || (agree(a.community, b.community) && !conflict(a.road, b.road));
    if (street && agree(a.figures[0], b.figures[0]))
        return compare_figures(&a, &b);
    if (street || agree(a.community, b.community))
        return ADDRESS_STREET;
    return (a.region & REGION_HASH) == (b.region & REGION_HASH) ? ADDRESS_REGION : LEVEL_DIFFERENT;
}
