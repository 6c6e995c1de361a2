/* Keys of one record. See `linkage_keys.h`.
 *
 * What must not go in here: an index.
 */
#include "linkage_keys.h"

typedef struct {
    uint64_t at[MOST_VALUES];
    uint32_t count;
} Values;

static void add_value(Values *values, uint64_t value)
{
    if (value == 0 || values->count == MOST_VALUES)
        return;
    for (uint32_t i = 0; i < values->count; i++)
        if (values->at[i] == value)
            return;
    values->at[values->count++] = value;
}

/* --- atoms -------------------------------------------------------------------------------------------------------------- */

static void add_syllables(Values *values, const Characters *characters, const uint8_t *cell)
{
    NameCell name = cell_name(cell);
    if (name.meta & NAME_IN_LETTERS)
        return;
    for (uint32_t i = 0; i < name_units(&name); i++) {
        uint16_t unit = name.units[i], reading = characters->readings[unit];
        if (unit != NAME_UNKNOWN_UNIT)
            add_value(values, reading != 0 ? reading : 0x10000u + unit);
    }
}

static void add_surname(Values *values, const uint8_t *cell)
{
    NameCell name = cell_name(cell);
    uint32_t size = name_surname(&name);
    if (size != 0)
        add_value(values, (uint64_t)name.units[0] << 16 | (size > 1 ? name.units[1] : 0));
}

/* The consonants of a letter in classes of like sound, after Soundex (R. C. Russell, US patent 1,261,167, 1918). */
static uint64_t sound_of(const uint8_t *cell)
{
    static const char classes[] = "01230120022455012623010202";
    const uint8_t *bytes = text_bytes(cell);
    uint32_t size = text_size(cell), kept = 0;
    uint64_t sound = size == 0 ? 0 : bytes[0];
    char before = 0;
    for (uint32_t i = 0; i < size && kept < 3; i++) {
        char own = bytes[i] >= 'a' && bytes[i] <= 'z' ? classes[bytes[i] - 'a'] : '0';
        if (i > 0 && own != '0' && own != before) {
            sound = sound << 8 | (uint8_t)own;
            kept++;
        }
        before = own;
    }
    return sound;
}

static uint64_t prefix_of(uint8_t kind, const uint8_t *cell)
{
    int code = kind == KIND_IDENTIFIER || kind == KIND_NUMBER;
    const uint8_t *bytes = code ? code_bytes(cell) : text_bytes(cell);
    uint32_t size = code ? code_size(cell) : text_size(cell);
    uint64_t prefix = 0;
    for (uint32_t i = 0; i < size && i < 4; i++)
        prefix = prefix << 8 | bytes[i];
    return prefix;
}

static uint64_t street_of(const uint8_t *cell)
{
    AddressCell address = cell_address(cell);
    return address.road != 0 ? address.road : address.community;
}

static void add_parts(Values *values, const uint8_t *cell, const uint8_t *partner, int both)
{
    uint64_t one = sound_of(cell), other = partner == NULL ? 0 : sound_of(partner);
    if (!both) {
        add_value(values, one);
        add_value(values, other);
    } else if (one != 0 && other != 0) {
        add_value(values, mixed(one) + mixed(other));
    }
}

static void atom_values(Values *values, const Atom *atom, const Layout *layout, const Characters *characters,
                        const uint8_t *record)
{
    const FieldCell *field = &layout->fields[atom->field];
    const uint8_t *cell = record + field->at;
    const uint8_t *partner = field->partner < layout->count ? record + layout->fields[field->partner].at : NULL;
    uint32_t day = field->kind == KIND_DATE ? cell_u32(cell) & DATE_NUMBER : 0;
    values->count = 0;
    switch (atom->kind) {
    case ATOM_SURNAME:
        add_surname(values, cell);
        break;
    case ATOM_SYLLABLES:
        add_syllables(values, characters, cell);
        break;
    case ATOM_LETTERS:
        add_value(values, cell_name(cell).letters);
        break;
    case ATOM_YEAR:
        add_value(values, day / 10000);
        break;
    case ATOM_MONTH_DAY:
        add_value(values, day % 10000);
        break;
    case ATOM_STREET:
        add_value(values, street_of(cell));
        break;
    case ATOM_PREFIX:
        add_value(values, prefix_of(field->kind, cell));
        break;
    case ATOM_SOUND:
        add_value(values, sound_of(cell));
        break;
    case ATOM_PARTS:
    case ATOM_BOTH:
        add_parts(values, cell, partner, atom->kind == ATOM_BOTH);
        break;
    default:
        add_value(values, cell_value(field->kind, cell));
    }
}

/* --- keys --------------------------------------------------------------------------------------------------------------- */

void record_keys(const Plan *plan, const Layout *layout, const Characters *characters, const uint8_t *record, uint64_t *keys)
{
    Values values[MOST_ATOMS];
    memset(keys, 0, plan->keys * sizeof *keys);
    for (uint32_t i = 0; i < plan->atom_count; i++)
        atom_values(&values[i], &plan->atoms[i], layout, characters, record);
    for (uint32_t r = 0; r < plan->rule_count; r++) {
        const Values *first = &values[plan->rules[r].first];
        const Values *second = plan->rules[r].second == NO_ATOM ? NULL : &values[plan->rules[r].second];
        uint64_t *at = keys + plan->places[r];
        for (uint32_t i = 0; i < first->count; i++) {
            uint64_t key = joined(first->at[i], r + 1);
            if (second == NULL)
                *at++ = key | 1;
            for (uint32_t k = 0; second != NULL && k < second->count; k++)
                *at++ = joined(key, second->at[k]) | 1;
        }
    }
}

static uint32_t most_values(const Atom *atom)
{
    static const uint8_t most[ATOM_COUNT] = {1, 1, MOST_VALUES, 1, 1, 1, 1, 1, 1, 2, 1};
    return most[atom->kind];
}

/* What an atom reads must be of the kind that the atom is of. */
static int suits(const Atom *atom, uint8_t kind)
{
    int text = kind == KIND_GIVEN_NAME || kind == KIND_SURNAME || kind == KIND_TEXT;
    switch (atom->kind) {
    case ATOM_VALUE:
        return 1;
    case ATOM_SURNAME:
    case ATOM_SYLLABLES:
    case ATOM_LETTERS:
        return kind == KIND_PERSON_NAME;
    case ATOM_YEAR:
    case ATOM_MONTH_DAY:
        return kind == KIND_DATE;
    case ATOM_STREET:
        return kind == KIND_ADDRESS;
    case ATOM_PREFIX:
        return text || kind == KIND_IDENTIFIER || kind == KIND_NUMBER;
    default:
        return atom->kind < ATOM_COUNT && text;
    }
}

int plan_places(Plan *plan, const Layout *layout)
{
    uint32_t keys = 0;
    if (plan->atom_count > MOST_ATOMS || plan->rule_count > MOST_RULES)
        return -1;
    for (uint32_t i = 0; i < plan->atom_count; i++)
        if (plan->atoms[i].field >= layout->count || !suits(&plan->atoms[i], layout->fields[plan->atoms[i].field].kind))
            return -1;
    for (uint32_t r = 0; r < plan->rule_count; r++) {
        const Rule *rule = &plan->rules[r];
        if (rule->first >= plan->atom_count || (rule->second != NO_ATOM && rule->second >= plan->atom_count))
            return -1;
        plan->places[r] = (uint16_t)keys;
        keys += most_values(&plan->atoms[rule->first]) *
                (rule->second == NO_ATOM ? 1 : most_values(&plan->atoms[rule->second]));
        if (keys > MOST_KEYS)
            return -1;
    }
    plan->places[plan->rule_count] = (uint16_t)keys;
    plan->keys = keys;
    return 0;
}
