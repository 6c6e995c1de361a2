/* What is the same about all kinds of cells: their value as one hash, and their rarity. See `linkage_cells.h`.
 *
 * What must not go in here: likeness of values that differ.
 */
#include "linkage_cells.h"

/* Tagged with the kind, so that no two kinds have a value in common, and never 0. */
static uint64_t hashed(uint8_t kind, uint64_t value) { return joined(value, kind + 1u) | 1u; }

static uint64_t name_value(const uint8_t *cell)
{
    uint64_t first = cell_u64(cell), second = cell_u64(cell + 8);
    return first == 0 ? 0 : hashed(KIND_PERSON_NAME, joined(joined(first, second), cell_u32(cell + 16)));
}

static uint64_t address_value(const uint8_t *cell)
{
    AddressCell address = cell_address(cell);
    uint64_t street = address.road != 0 ? address.road : address.community;
    if (address.region == 0 || street == 0 || address.figures[0] == 0)
        return 0;
    uint64_t figures = (uint64_t)address.figures[0] << 32 | (uint64_t)address.figures[1] << 16 | address.figures[3];
    return hashed(KIND_ADDRESS, joined(street, figures));
}

static uint64_t bytes_value(uint8_t kind, const uint8_t *bytes, uint32_t size)
{
    uint64_t hash = size;
    for (uint32_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001B3);
    return size == 0 ? 0 : hashed(kind, hash);
}

uint64_t cell_value(uint8_t kind, const uint8_t *cell)
{
    uint64_t whole;
    switch (kind) {
    case KIND_PERSON_NAME:
        return name_value(cell);
    case KIND_RESIDENT_ID:
        whole = cell_u64(cell);
        return whole == 0 ? 0 : hashed(kind, whole & ID_OTHER ? whole : (whole & ID_NUMBER) / 11);
    case KIND_PHONE:
        whole = cell_u64(cell) & PHONE_NUMBER;
        return whole == 0 ? 0 : hashed(kind, whole);
    case KIND_DATE:
        whole = cell_u32(cell) & DATE_NUMBER;
        return whole == 0 ? 0 : hashed(kind, whole);
    case KIND_ADDRESS:
        return address_value(cell);
    case KIND_GIVEN_NAME:
    case KIND_SURNAME: /* of one kind here: a part of a name is often written in the place of the other */
    case KIND_TEXT:
        return cell[4] == 0 ? 0 : hashed(KIND_TEXT, text_hash(cell));
    case KIND_IDENTIFIER:
    case KIND_NUMBER:
        return bytes_value(kind, code_bytes(cell), code_size(cell));
    default:
        return cell[0] == 0 ? 0 : hashed(kind, cell[0]);
    }
}

/* Of the kinds whose rarity is a byte of its own, where that stands; else 0. */
static uint32_t rarity_at(uint8_t kind)
{
    static const uint8_t places[KIND_COUNT] = {21, 5, 5, 0, 1, 0, 0, 0, 5, 1, 0};
    return places[kind];
}

uint32_t cell_rarity(uint8_t kind, const uint8_t *cell)
{
    switch (kind) {
    case KIND_PHONE:
        return (uint32_t)(cell_u64(cell) >> NUMBER_RARITY_SHIFT);
    case KIND_DATE:
    case KIND_ADDRESS: /* whose region is a number of the same form */
        return cell_u32(cell) >> DATE_RARITY_SHIFT;
    default:
        return rarity_at(kind) != 0 ? cell[rarity_at(kind)] : 0;
    }
}

void cell_set_rarity(uint8_t kind, uint8_t *cell, uint32_t bits)
{
    bits = bits > 31 ? 31 : bits;
    if (kind == KIND_PHONE) {
        uint64_t whole = (cell_u64(cell) & PHONE_NUMBER) | (uint64_t)bits << NUMBER_RARITY_SHIFT;
        memcpy(cell, &whole, sizeof whole);
    } else if (kind == KIND_DATE || kind == KIND_ADDRESS) {
        uint32_t whole = (cell_u32(cell) & DATE_NUMBER) | bits << DATE_RARITY_SHIFT;
        memcpy(cell, &whole, sizeof whole);
    } else if (rarity_at(kind) != 0) {
        cell[rarity_at(kind)] = (uint8_t)bits;
    }
}
