/* Counts by hash. See `linkage_rarity.h`.
 *
 * What must not go in here: weights.
 */
#include "linkage_rarity.h"
#include "linkage_memory.h"

#define LEAST_BITS 10u
#define MOST_BITS 28u
#define HISTOGRAM 1024u
#define BATCH 32u

typedef struct {
    uint32_t *at;
    uint32_t shift;
    uint64_t rows; /* that have a value */
} Counts;

static uint32_t bits_for(uint64_t rows)
{
    uint32_t bits = LEAST_BITS;
    while (bits < MOST_BITS && ((uint64_t)1 << bits) < 4 * rows)
        bits++;
    return bits;
}

static uint32_t *place_of(const Counts *counts, uint64_t value) { return &counts->at[value >> counts->shift]; }

/* Values of a batch, whose places are asked for before the first is read: they are all over the memory. */
static uint32_t take_batch(const Counts *counts, uint8_t kind, const uint8_t *cells, uint32_t stride, uint32_t left,
                           uint64_t *values)
{
    uint32_t count = left < BATCH ? left : BATCH;
    for (uint32_t i = 0; i < count; i++) {
        values[i] = cell_value(kind, cells + (size_t)i * stride);
        __builtin_prefetch(place_of(counts, values[i]), 1, 3);
    }
    return count;
}

static void count_rows(Counts *counts, uint8_t kind, const uint8_t *cells, uint32_t stride, uint32_t count)
{
    uint64_t values[BATCH];
    for (uint32_t done = 0, taken; done < count; done += taken) {
        taken = take_batch(counts, kind, cells + (size_t)done * stride, stride, count - done, values);
        for (uint32_t i = 0; i < taken; i++)
            if (values[i] != 0) {
                ++*place_of(counts, values[i]);
                counts->rows++;
            }
    }
}

/* The count that half of the rows have at most. */
static uint32_t median_count(const Counts *counts, uint8_t kind, const uint8_t *cells, uint32_t stride, uint32_t count)
{
    uint64_t histogram[HISTOGRAM] = {0}, seen = 0, half = 0;
    uint32_t step = count / 10000 + 1, median = 0;
    for (uint32_t i = 0; i < count; i += step) {
        uint64_t value = cell_value(kind, cells + (size_t)i * stride);
        if (value == 0)
            continue;
        uint32_t found = *place_of(counts, value);
        histogram[found < HISTOGRAM ? found : HISTOGRAM - 1]++;
        half++;
    }
    half /= 2;
    while (median < HISTOGRAM - 1 && (seen += histogram[median]) <= half)
        median++;
    return median;
}

static int has_placeholders(uint8_t kind)
{
    return kind == KIND_PHONE || kind == KIND_DATE || kind == KIND_IDENTIFIER || kind == KIND_RESIDENT_ID;
}

static uint32_t bits_of(uint64_t rows, uint32_t count)
{
    uint64_t times = rows / (count == 0 ? 1 : count);
    uint32_t bits = times < 2 ? 1 : 63u - (uint32_t)__builtin_clzll(times);
    return bits < RARITY_STEPS ? bits : RARITY_STEPS - 1;
}

typedef struct {
    double agreement[RARITY_STEPS]; /* rows that agree with a row, added up over the rows */
    uint64_t placeholders;
    uint32_t most; /* rows that may have a value which is one */
} Written;

static void write_one(const Counts *counts, uint8_t kind, uint8_t *cell, uint32_t found, Written *written)
{
    uint32_t bits = bits_of(counts->rows, found);
    if (found > written->most) {
        memset(cell, 0, cell_size(kind));
        written->placeholders++;
        return;
    }
    written->agreement[bits] += found;
    cell_set_rarity(kind, cell, bits);
}

static void write_rarity(const Counts *counts, uint8_t kind, uint8_t *cells, uint32_t stride, uint32_t count, Written *written)
{
    uint64_t values[BATCH];
    for (uint32_t done = 0, taken; done < count; done += taken) {
        uint8_t *at = cells + (size_t)done * stride;
        taken = take_batch(counts, kind, at, stride, count - done, values);
        for (uint32_t i = 0; i < taken; i++)
            if (values[i] != 0)
                write_one(counts, kind, at + (size_t)i * stride, *place_of(counts, values[i]), written);
    }
}

static uint32_t most_of(const Counts *counts, uint8_t kind, const uint8_t *cells, uint32_t stride, uint32_t count)
{
    if (!has_placeholders(kind))
        return UINT32_MAX;
    uint32_t most = PLACEHOLDER_TIMES * median_count(counts, kind, cells, stride, count);
    return most < PLACEHOLDER_LEAST ? PLACEHOLDER_LEAST : most;
}

int rarity_count(const Layout *layout, uint32_t field, const CountedRows *tables, uint32_t table_count, double *agreement,
                 uint64_t *values, uint64_t *placeholders)
{
    uint8_t kind = layout->fields[field].kind;
    uint32_t at = layout->fields[field].at, stride = layout->stride, bits;
    uint64_t rows = 0;
    for (uint32_t i = 0; i < table_count; i++)
        rows += tables[i].count;
    bits = kind == KIND_CATEGORY ? LEAST_BITS : bits_for(rows);
    Counts counts = {table_memory(sizeof *counts.at << bits), 64 - bits, 0};
    if (counts.at == NULL)
        return -1;
    memset(counts.at, 0, sizeof *counts.at << bits);
    for (uint32_t i = 0; i < table_count; i++)
        count_rows(&counts, kind, tables[i].rows + at, stride, tables[i].count);
    Written written = {.most = most_of(&counts, kind, tables[0].rows + at, stride, tables[0].count)};
    for (uint32_t i = 0; i < table_count; i++)
        write_rarity(&counts, kind, tables[i].rows + at, stride, tables[i].count, &written);
    for (uint32_t i = 0; i < RARITY_STEPS; i++)
        agreement[i] = counts.rows == 0 ? 0 : written.agreement[i] / ((double)counts.rows * (double)counts.rows);
    *placeholders = written.placeholders;
    *values = counts.rows;
    free(counts.at);
    return 0;
}
