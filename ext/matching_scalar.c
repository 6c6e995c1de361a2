/* Jaro, Jaro-Winkler and Levenshtein of one pair. See `matching_scalar.h`.
 *
 * Jaro takes linear time at any length: for each symbol the positions of the query are walked once, since neither the window
 * nor what is taken ever goes back. Levenshtein is bit-parallel, a word of the query at a time: Myers 1999,
 * doi:10.1145/316542.316550, in Hyyrö's form (2003, "A bit-vector algorithm for computing Levenshtein and Damerau edit
 * distances"). What must not go in here: knowledge of where texts come from.
 */
#include "matching_scalar.h"
#include "matching_scores.h"

#include <stdlib.h>
#include <string.h>

int tables_open(Tables *tables, const Alphabet *alphabet, uint32_t query_length, uint32_t choice_length)
{
    size_t symbols = alphabet->size;
    tables->masks = calloc(symbols, sizeof *tables->masks);
    tables->head = malloc(symbols * sizeof *tables->head);
    tables->cursor = malloc(symbols * sizeof *tables->cursor);
    tables->link = malloc(((size_t)query_length + 1) * sizeof *tables->link);
    tables->query_flags = malloc((size_t)query_length + 1);
    tables->choice_flags = malloc((size_t)choice_length + 1);
    tables->deltas = malloc((size_t)choice_length + 1);
    if (tables->masks == NULL || tables->head == NULL || tables->cursor == NULL || tables->link == NULL ||
        tables->query_flags == NULL || tables->choice_flags == NULL || tables->deltas == NULL) {
        tables_close(tables);
        return -1;
    }
    memset(tables->head, 0xFF, symbols * sizeof *tables->head); /* ABSENT */
    return 0;
}

void tables_close(Tables *tables)
{
    free(tables->masks);
    free(tables->head);
    free(tables->cursor);
    free(tables->link);
    free(tables->query_flags);
    free(tables->choice_flags);
    free(tables->deltas);
}

static void load_masks(Tables *tables, const uint32_t *symbols, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (symbols[i] != ABSENT)
            tables->masks[symbols[i]] |= UINT64_C(1) << i;
}

static void unload_masks(Tables *tables, const uint32_t *symbols, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (symbols[i] != ABSENT)
            tables->masks[symbols[i]] = 0;
}

/* Masks are for queries of a word; a longer one has its words loaded one by one by `blocked_levenshtein`. */
void query_load(Tables *tables, const Query *query)
{
    if (query->length <= WORD_UNITS)
        load_masks(tables, query->symbols, query->length);
    for (uint32_t i = query->length; i-- > 0;)
        if (query->symbols[i] != ABSENT) {
            tables->link[i] = tables->head[query->symbols[i]];
            tables->head[query->symbols[i]] = i;
        }
}

void query_unload(Tables *tables, const Query *query)
{
    if (query->length <= WORD_UNITS)
        unload_masks(tables, query->symbols, query->length);
    for (uint32_t i = 0; i < query->length; i++)
        if (query->symbols[i] != ABSENT)
            tables->head[query->symbols[i]] = ABSENT;
}

/* --- Jaro ------------------------------------------------------------------------------------------------------------ */

typedef struct {
    uint32_t matches, transpositions;
} Matches;

/* Both texts are at most a word: flags are bits, and `rows[j]` are the positions that equal position j of the choice. */
static Matches match_word(const uint64_t *rows, uint32_t bound, uint32_t length)
{
    uint64_t window = (UINT64_C(2) << bound) - 1, in_query = 0, in_choice = 0;
    Matches found = {0, 0};
    for (uint32_t j = 0; j < length; j++) {
        uint64_t free_ones = rows[j] & window & ~in_query;
        in_query |= free_ones & (0 - free_ones);
        in_choice |= (uint64_t)(free_ones != 0) << j;
        window = (window << 1) | (j < bound);
    }
    for (; in_choice != 0; in_choice &= in_choice - 1) {
        uint64_t first = in_query & (0 - in_query);
        found.transpositions += (rows[__builtin_ctzll(in_choice)] & first) == 0;
        found.matches++;
        in_query ^= first;
    }
    return found;
}

static Matches match_short(const uint64_t *masks, uint32_t bound, const uint32_t *choice, uint32_t length)
{
    uint64_t rows[WORD_UNITS];
    for (uint32_t j = 0; j < length; j++)
        rows[j] = masks[choice[j]];
    return match_word(rows, bound, length);
}

static uint32_t flag_matches(Tables *tables, const Query *query, uint32_t bound, const uint32_t *choice, uint32_t length)
{
    uint32_t matches = 0;
    memset(tables->query_flags, 0, query->length);
    for (uint32_t j = 0; j < length; j++)
        tables->cursor[choice[j]] = tables->head[choice[j]];
    for (uint32_t j = 0; j < length; j++) {
        uint32_t i = tables->cursor[choice[j]];
        while (i != ABSENT && i < j && j - i > bound)
            i = tables->link[i];
        int matched = i != ABSENT && (i < j || i - j <= bound);
        tables->choice_flags[j] = (uint8_t)matched;
        if (matched) {
            tables->query_flags[i] = 1;
            i = tables->link[i];
            matches++;
        }
        tables->cursor[choice[j]] = i;
    }
    return matches;
}

static Matches match_long(Tables *tables, const Query *query, uint32_t bound, const uint32_t *choice, uint32_t length)
{
    Matches found = {flag_matches(tables, query, bound, choice, length), 0};
    uint32_t i = 0;
    for (uint32_t j = 0; j < length; j++)
        if (tables->choice_flags[j]) {
            while (!tables->query_flags[i])
                i++;
            found.transpositions += query->symbols[i++] != choice[j];
        }
    return found;
}

static double jaro(Tables *tables, const Query *query, const uint32_t *choice, uint32_t length)
{
    if (query->length == 0 || length == 0)
        return query->length == length ? 1.0 : 0.0;
    uint32_t bound = jaro_bound(query->length, length);
    Matches found = query->length <= WORD_UNITS && length <= WORD_UNITS ? match_short(tables->masks, bound, choice, length)
                                                            : match_long(tables, query, bound, choice, length);
    return found.matches == 0 ? 0.0 : jaro_score(query->length, length, found.matches, found.transpositions / 2);
}

static double jaro_winkler(Tables *tables, const Query *query, const uint32_t *choice, uint32_t length)
{
    uint32_t prefix = 0;
    uint32_t most = query->length < length ? query->length : length;
    while (prefix < PREFIXES - 1 && prefix < most && query->symbols[prefix] == choice[prefix])
        prefix++;
    return winkler_score(jaro(tables, query, choice, length), prefix);
}

/* Which neighbours are equal, back in rows. */
static void name_rows(uint64_t *rows, uint32_t bits, uint32_t p)
{
    for (uint32_t j = 0; j < NAME_LENGTH; j++) {
        rows[j] = 0;
        for (uint32_t i = j > 0 ? j - 1 : 0; i <= j + 1 && i < p; i++)
            rows[j] |= (uint64_t)((bits >> (2 * j + i)) & 1) << i;
    }
}

static double name_score(const uint64_t *rows, uint32_t p, uint32_t t, int winkler)
{
    Matches found = match_word(rows, jaro_bound(p, t), t);
    uint32_t prefix = 0;
    while (prefix < t && (rows[prefix] >> prefix) & 1)
        prefix++;
    if (found.matches == 0)
        return 0.0;
    double jaro = jaro_score(p, t, found.matches, found.transpositions / 2);
    return winkler ? winkler_score(jaro, prefix) : jaro;
}

void fill_name_scores(float *scores, uint32_t p, int winkler)
{
    uint64_t rows[NAME_LENGTH];
    memset(scores, 0, NAME_CELLS * sizeof *scores);
    for (uint32_t t = 1; t <= NAME_LENGTH; t++)
        for (uint32_t bits = 0; bits < 1u << NAME_BITS; bits++) {
            name_rows(rows, bits, p);
            scores[(t << NAME_BITS) | bits] = (float)name_score(rows, p, t, winkler);
        }
}

/* --- Levenshtein ----------------------------------------------------------------------------------------------------- */

/* Vertical differences of one column within one word, as two sets of positions. */
typedef struct {
    uint64_t up, down;
} Column;

/* Go one position of the choice further. `in` is the horizontal difference above the word, -1 to 1; the difference at the
 * position `last` of the word is returned. */
static inline int advance(Column *column, uint64_t mask, int in, uint32_t last)
{
    mask |= (uint64_t)(in < 0);
    uint64_t zero = (((mask & column->up) + column->up) ^ column->up) | mask | column->down;
    uint64_t more = column->down | ~(zero | column->up);
    uint64_t less = zero & column->up;
    int out = (int)((more >> last) & 1) - (int)((less >> last) & 1);
    more = (more << 1) | (uint64_t)(in > 0);
    less = (less << 1) | (uint64_t)(in < 0);
    column->up = less | ~(zero | more);
    column->down = more & zero;
    return out;
}

static uint32_t word_levenshtein(const uint64_t *masks, uint32_t query_length, const uint32_t *choice, uint32_t length)
{
    Column column = {~UINT64_C(0), 0};
    int64_t distance = query_length;
    for (uint32_t j = 0; j < length; j++)
        distance += advance(&column, masks[choice[j]], 1, query_length - 1);
    return (uint32_t)distance;
}

/* Word after word of the query over the whole choice, so that one table of masks is enough. */
static uint32_t blocked_levenshtein(Tables *tables, const uint32_t *query, uint32_t query_length, const uint32_t *choice,
                                    uint32_t length)
{
    int64_t distance = query_length;
    memset(tables->deltas, 1, length);
    for (uint32_t first = 0; first < query_length; first += WORD_UNITS) {
        uint32_t count = query_length - first < WORD_UNITS ? query_length - first : WORD_UNITS;
        Column column = {~UINT64_C(0), 0};
        load_masks(tables, query + first, count);
        for (uint32_t j = 0; j < length; j++)
            tables->deltas[j] = (int8_t)advance(&column, tables->masks[choice[j]], tables->deltas[j], count - 1);
        unload_masks(tables, query + first, count);
    }
    for (uint32_t j = 0; j < length; j++)
        distance += tables->deltas[j];
    return (uint32_t)distance;
}

static uint32_t levenshtein(Tables *tables, const Query *query, const uint32_t *choice, uint32_t length)
{
    const uint32_t *symbols = query->symbols;
    uint32_t left = query->length;
    if (left == 0 || length == 0)
        return left + length;
    if (left <= WORD_UNITS)
        return word_levenshtein(tables->masks, left, choice, length);
    while (left > 0 && length > 0 && symbols[0] == choice[0])
        symbols++, choice++, left--, length--;
    while (left > 0 && length > 0 && symbols[left - 1] == choice[length - 1])
        left--, length--;
    if (left == 0 || length == 0)
        return left + length;
    return blocked_levenshtein(tables, symbols, left, choice, length);
}

double scalar_compare(Tables *tables, const Query *query, const uint32_t *choice, uint32_t length, Metric metric)
{
    if (metric == LEVENSHTEIN)
        return levenshtein(tables, query, choice, length);
    return metric == JARO ? jaro(tables, query, choice, length) : jaro_winkler(tables, query, choice, length);
}
