/* Comparators of texts and names, and of whole records. See `linkage_compare.h`.
 *
 * Most pairs differ in most fields, so each comparator settles what is the same or plainly different first.
 * What must not go in here: numbers and addresses (linkage_numbers.c), how a text became a cell.
 */
#include "linkage_compare.h"
#include "linkage_numbers.h"

/* --- texts, codes, categories ------------------------------------------------------------------------------------------- */

static void widen(uint32_t *symbols, const uint8_t *bytes, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        symbols[i] = bytes[i];
}

static double likeness(Comparison *comparison, const uint8_t *a, uint32_t a_size, const uint8_t *b, uint32_t b_size)
{
    uint32_t one[TEXT_BYTES], other[TEXT_BYTES];
    Query query = {one, a_size};
    widen(one, a, a_size);
    widen(other, b, b_size);
    query_load(&comparison->tables, &query);
    double found = scalar_compare(&comparison->tables, &query, other, b_size, JARO_WINKLER);
    query_unload(&comparison->tables, &query);
    return found;
}

static double text_likeness(Comparison *comparison, const uint8_t *a, const uint8_t *b)
{
    return likeness(comparison, text_bytes(a), text_size(a), text_bytes(b), text_size(b));
}

static int begins(const uint8_t *a, const uint8_t *b)
{
    uint32_t shorter = text_size(a) < text_size(b) ? text_size(a) : text_size(b);
    return memcmp(text_bytes(a), text_bytes(b), shorter) == 0;
}

static uint32_t level_of(double likeness)
{
    static const double steps[] = {0.7, 0.8, 0.88, 0.94};
    uint32_t level = LEVEL_DIFFERENT;
    for (uint32_t i = 0; i < sizeof steps / sizeof *steps; i++)
        level += likeness >= steps[i];
    return level;
}

static uint32_t compare_texts(Comparison *comparison, const uint8_t *a, const uint8_t *b)
{
    if (a[4] == 0 || b[4] == 0)
        return LEVEL_MISSING;
    if (text_hash(a) == text_hash(b) && a[4] == b[4])
        return same_at(a[5], b[5]);
    if (begins(a, b))
        return TEXT_BEGINS;
    return level_of(text_likeness(comparison, a, b));
}

/* `partner_a` is the other part of the same name in the record of `a`. */
static uint32_t compare_parts(Comparison *comparison, const uint8_t *a, const uint8_t *partner_b, const uint8_t *b,
                              const uint8_t *partner_a)
{
    uint32_t level = compare_texts(comparison, a, b);
    if (level == LEVEL_MISSING || level > TEXT_CLOSE)
        return level;
    const uint8_t *pairs[2][2] = {{a, partner_b}, {b, partner_a}};
    for (int i = 0; i < 2; i++) {
        const uint8_t *own = pairs[i][0], *there = pairs[i][1];
        if (own[4] == 0 || there[4] == 0)
            continue;
        if (text_hash(own) == text_hash(there) && own[4] == there[4])
            return TEXT_SWAPPED;
        if (level < TEXT_GOOD && text_likeness(comparison, own, there) >= 0.9)
            level = TEXT_SWAPPED_LIKE;
    }
    return level;
}

/* One character wrong, two neighbours swapped, one too many or too few. */
static int is_code_slip(const uint8_t *a, uint32_t a_size, const uint8_t *b, uint32_t b_size)
{
    uint32_t front = 0, back = 0, shorter = a_size < b_size ? a_size : b_size;
    if (a_size > b_size + 1 || b_size > a_size + 1)
        return 0;
    while (front < shorter && a[front] == b[front])
        front++;
    while (back < shorter - front && a[a_size - 1 - back] == b[b_size - 1 - back])
        back++;
    if (a_size != b_size)
        return front + back == shorter;
    uint32_t wrong = shorter - front - back;
    return wrong == 1 || (wrong == 2 && a[front] == b[front + 1] && a[front + 1] == b[front]);
}

static uint32_t compare_codes(Comparison *comparison, const uint8_t *a, const uint8_t *b)
{
    uint32_t size = code_size(a), other = code_size(b);
    if (size == 0 || other == 0)
        return LEVEL_MISSING;
    if (a[0] == b[0] && memcmp(code_bytes(a), code_bytes(b), size) == 0)
        return same_at(a[1], b[1]);
    if (is_code_slip(code_bytes(a), size, code_bytes(b), other))
        return CODE_SLIP;
    return likeness(comparison, code_bytes(a), size, code_bytes(b), other) >= 0.88 ? CODE_LIKE : LEVEL_DIFFERENT;
}

static uint32_t compare_categories(const uint8_t *a, const uint8_t *b)
{
    if (*a == 0 || *b == 0)
        return LEVEL_MISSING;
    return *a == *b ? LEVEL_SAME : LEVEL_DIFFERENT;
}

/* --- names of people ---------------------------------------------------------------------------------------------------- */

static int same_surname(const NameCell *a, const NameCell *b)
{
    uint32_t size = name_surname(a);
    if (a->units[0] != b->units[0] || size == 0 || size != name_surname(b))
        return 0;
    return size == 1 || (a->units[1] == b->units[1] && (size == 2 || a->units[2] == b->units[2]));
}

typedef enum { UNIT_OTHER, UNIT_SHAPE, UNIT_SOUND } UnitLikeness;

static UnitLikeness compare_units(const Characters *characters, uint16_t a, uint16_t b)
{
    if (a == NAME_UNKNOWN_UNIT || b == NAME_UNKNOWN_UNIT)
        return UNIT_SOUND;
    if (agree(characters->readings[a], characters->readings[b]))
        return UNIT_SOUND;
    return agree(characters->shapes[a], characters->shapes[b]) ? UNIT_SHAPE : UNIT_OTHER;
}

static uint32_t surname_only(const NameCell *a, const NameCell *b)
{
    return same_surname(a, b) ? NAME_SAME_SURNAME : LEVEL_DIFFERENT;
}

/* Two that differ are swapped neighbours, not the first. */
static int are_swapped(const NameCell *a, const NameCell *b, uint32_t first)
{
    return first > 0 && a->units[first] == b->units[first + 1] && a->units[first + 1] == b->units[first];
}

static uint32_t compare_as_long(const Characters *characters, const NameCell *a, const NameCell *b, uint32_t size)
{
    uint32_t wrong = 0, shapes = 0;
    for (uint32_t i = 0; i < size; i++)
        wrong |= (uint32_t)(a->units[i] != b->units[i]) << i;
    uint32_t first = wrong == 0 ? 0 : (uint32_t)__builtin_ctz(wrong);
    if (wrong == 3u << first && are_swapped(a, b, first))
        return NAME_SWAPPED;
    for (uint32_t left = wrong; left != 0; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        UnitLikeness found = compare_units(characters, a->units[i], b->units[i]);
        if (found == UNIT_OTHER)
            return wrong == 1u << i && size >= 3 ? NAME_ONE_DIFFERS : surname_only(a, b);
        shapes += found == UNIT_SHAPE;
    }
    return shapes != 0 ? NAME_SHAPE : NAME_SOUND;
}

/* Whether the longer name has one character more than the shorter, not the first. */
static int is_one_less(const NameCell *shorter, const NameCell *longer, uint32_t size)
{
    uint32_t front = 0;
    while (front < size && shorter->units[front] == longer->units[front])
        front++;
    return front > 0 && memcmp(shorter->units + front, longer->units + front + 1, (size - front) * sizeof *longer->units) == 0;
}

static uint32_t compare_in_letters(Comparison *comparison, const NameCell *a, const NameCell *b)
{
    static const uint8_t levels[] = {0, LEVEL_DIFFERENT, LEVEL_DIFFERENT, NAME_ONE_DIFFERS, NAME_SHAPE, NAME_SOUND};
    double found =
        likeness(comparison, (const uint8_t *)a->units, name_units(a), (const uint8_t *)b->units, name_units(b));
    return levels[level_of(found)];
}

static uint32_t compare_names(Comparison *comparison, const uint8_t *cell, const uint8_t *other)
{
    NameCell a = cell_name(cell), b = cell_name(other);
    if (a.units[0] == 0 || b.units[0] == 0)
        return LEVEL_MISSING;
    if (a.letters == b.letters && memcmp(a.units, b.units, sizeof a.units) == 0)
        return same_at(a.rarity, b.rarity);
    if ((a.meta | b.meta) & NAME_IN_LETTERS) {
        if (a.letters == b.letters)
            return NAME_LETTERS;
        return a.meta & b.meta & NAME_IN_LETTERS ? compare_in_letters(comparison, &a, &b) : LEVEL_DIFFERENT;
    }
    uint32_t size = name_units(&a), other_size = name_units(&b);
    if (size == other_size)
        return compare_as_long(comparison->characters, &a, &b, size);
    if (size + 1 == other_size && size >= 2 && is_one_less(&a, &b, size))
        return NAME_ONE_LESS;
    if (size == other_size + 1 && other_size >= 2 && is_one_less(&b, &a, other_size))
        return NAME_ONE_LESS;
    return surname_only(&a, &b);
}

/* --- records ------------------------------------------------------------------------------------------------------------ */

static uint32_t compare_fields(Comparison *comparison, const FieldCell *field, const uint8_t *one, const uint8_t *other)
{
    const uint8_t *a = one + field->at, *b = other + field->at;
    switch (field->kind) {
    case KIND_PERSON_NAME:
        return compare_names(comparison, a, b);
    case KIND_GIVEN_NAME:
    case KIND_SURNAME:
        if (field->partner >= comparison->layout->count)
            return compare_texts(comparison, a, b);
        uint32_t at = comparison->layout->fields[field->partner].at;
        return compare_parts(comparison, a, other + at, b, one + at);
    case KIND_RESIDENT_ID:
        return compare_resident_ids(a, b);
    case KIND_DATE:
        return compare_dates(a, b);
    case KIND_PHONE:
        return compare_phones(a, b);
    case KIND_ADDRESS:
        return compare_addresses(a, b);
    case KIND_TEXT:
        return compare_texts(comparison, a, b);
    case KIND_IDENTIFIER:
    case KIND_NUMBER:
        return compare_codes(comparison, a, b);
    default:
        return compare_categories(a, b);
    }
}

uint64_t compare_records(Comparison *comparison, const uint8_t *one, const uint8_t *other)
{
    const Layout *layout = comparison->layout;
    uint64_t pattern = 0;
    for (uint32_t i = 0; i < layout->count; i++)
        pattern |= (uint64_t)compare_fields(comparison, &layout->fields[i], one, other) << 4 * i;
    return pattern;
}

static float most_of(const float *levels)
{
    float most = levels[0];
    for (uint32_t level = 1; level < LEVEL_COUNT; level++)
        most = levels[level] > most ? levels[level] : most;
    return most;
}

/* By insertion: there are few. */
static void insert_field(Weights *set, uint32_t i)
{
    uint32_t place = set->count++;
    for (; place > 0 && set->at[i][LEVEL_DIFFERENT] < set->at[set->order[place - 1]][LEVEL_DIFFERENT]; place--)
        set->order[place] = set->order[place - 1];
    set->order[place] = (uint8_t)i;
}

static void sum_behind(Weights *set)
{
    float behind = 0;
    for (uint32_t place = set->count; place-- > 0;) {
        set->most_behind[place] = behind;
        behind += set->most[set->order[place]];
    }
}

void weights_set(Weights *set, const Layout *layout, const float *weights, float least)
{
    memset(set, 0, sizeof *set);
    set->least = least;
    if (weights != NULL)
        memcpy(set->at, weights, sizeof set->at);
    for (uint32_t i = 0; i < layout->count; i++) {
        set->most[i] = most_of(set->at[i]);
        insert_field(set, i);
    }
    sum_behind(set);
}

void weights_known(Weights *known, const Weights *set, uint64_t own)
{
    *known = *set;
    known->count = 0;
    for (uint32_t place = 0; place < set->count; place++) {
        uint32_t i = set->order[place];
        if ((own >> 4 * i & 15u) == LEVEL_MISSING)
            known->missing += set->at[i][LEVEL_MISSING];
        else
            known->order[known->count++] = (uint8_t)i;
    }
    sum_behind(known);
}

int compare_weighed(Comparison *comparison, const Weights *weights, const uint8_t *one, const uint8_t *other, uint64_t *pattern,
                    float *sum)
{
    const FieldCell *fields = comparison->layout->fields;
    *pattern = 0;
    *sum = weights->missing;
    for (uint32_t place = 0; place < weights->count; place++) {
        uint32_t i = weights->order[place], level = compare_fields(comparison, &fields[i], one, other);
        *pattern |= (uint64_t)level << 4 * i;
        *sum += weights->at[i][level];
        if (*sum + weights->most_behind[place] < weights->least)
            return 0;
    }
    return 1;
}

int comparison_open(Comparison *comparison, const Layout *layout, const Characters *characters)
{
    memset(comparison, 0, sizeof *comparison);
    comparison->layout = layout;
    comparison->characters = characters;
    comparison->alphabet.size = 0x100;
    return tables_open(&comparison->tables, &comparison->alphabet, TEXT_BYTES, TEXT_BYTES);
}

void comparison_close(Comparison *comparison) { tables_close(&comparison->tables); }
