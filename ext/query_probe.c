/* The staged probe of `query_probe.h`. What must not go in here: anything that changes an index. */
#include "query_probe.h"

#include <string.h>

#define FRESH_SHARE 2u /* of the candidates are changes at most, so that the rest of the index is looked at too; */
#define CHAIN_SHARE 8u /* of one key, so that a rare one is not left out for frequent ones */
#define PROBE_AHEAD 8u /* slots of a span whose deaths are asked for */
#define TABLE_LEAST 64u
#define TABLE_MOST (2u * PROBE_MOST)

typedef struct {
    const QueryIndex *index;
    uint64_t visible;
    PostingsSpan spans[PROBE_MOST_KEYS];
    uint8_t is_own[PROBE_MOST_KEYS]; /* of each span */
    uint32_t span_count, own_count;
    uint32_t fresh[PROBE_MOST]; /* slots of the delta, some named twice */
    uint32_t fresh_count;
    uint32_t looks; /* that are left */
    uint32_t is_cut, has_rarest;
    uint32_t *slots;
    uint32_t count, most, enough;
    uint32_t table[TABLE_MOST]; /* 1 + slot of what was taken, by its hash; 0: free */
    uint32_t table_mask;
} Probe;

void query_prefetch(const QueryIndex *index, const uint64_t *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        postings_prefetch(&index->postings, keys[i]);
}

/* --- first and second stage: spans, and chains of the delta ------------------------------------------------------------------ */

/* The rarest first; there are few, and most of them are of one or two slots. */
static void insert_span(Probe *probe, PostingsSpan span, uint8_t is_own)
{
    uint32_t at = probe->span_count++;

    for (; at > 0 && probe->spans[at - 1].count > span.count; at--) {
        probe->spans[at] = probe->spans[at - 1];
        probe->is_own[at] = probe->is_own[at - 1];
    }
    probe->spans[at] = span;
    probe->is_own[at] = is_own;
    probe->own_count += is_own;
}

static void find_spans(Probe *probe, const uint64_t *keys, size_t count, size_t own)
{
    for (size_t i = 0; i < count; i++) {
        PostingsSpan span = postings_find(&probe->index->postings, keys[i]);
        if (span.count == 0)
            continue;
        postings_prefetch_slots(span);
        insert_span(probe, span, i < own);
    }
}

/* Follow one chain. It is the newest entries that are found before looks run out, of which no chain gets more than its share:
 * a key that many changes share would be left out of the index, and tells as little here. */
static void walk_chain(Probe *probe, uint32_t node, uint32_t tag)
{
    const Delta *delta = &probe->index->delta;
    uint32_t nodes = delta->capacity * delta->nodes_per_entry;

    uint32_t share = 1 + probe->most / CHAIN_SHARE, room = 1 + probe->most / FRESH_SHARE;

    for (; node != 0 && node <= nodes; node = delta->nodes[node - 1].next) {
        if (probe->looks == 0 || share-- == 0 || probe->fresh_count >= room || probe->fresh_count == PROBE_MOST) {
            probe->is_cut = 1;
            return;
        }
        probe->looks--;
        if (delta->nodes[node - 1].tag == tag)
            probe->fresh[probe->fresh_count++] = delta->rows + (node - 1) / delta->nodes_per_entry;
    }
}

static void walk_chains(Probe *probe, const uint64_t *keys, size_t count)
{
    const Delta *delta = &probe->index->delta;
    uint32_t first[PROBE_MOST_KEYS];

    for (size_t i = 0; i < count; i++) {
        uint32_t tag = delta_tag(keys[i]);
        first[i] = tag == 0 ? 0 : word32_load(delta_head(delta, tag));
        if (first[i] != 0)
            __builtin_prefetch(&delta->nodes[first[i] - 1], 0, 1); /* an address, not an access */
    }
    for (size_t i = 0; i < count; i++)
        walk_chain(probe, first[i], delta_tag(keys[i]));
}

static void prefetch_heads(const Delta *delta, const uint64_t *keys, size_t count)
{
    for (size_t i = 0; i < count; i++)
        __builtin_prefetch(delta_head(delta, delta_tag(keys[i])), 0, 1);
}

/* Whether a slot has died is in lines of memory of its own. */
static void prefetch_deaths(const Probe *probe)
{
    const uint64_t *bits = probe->index->delta.dead_bits;

    for (uint32_t i = 0; i < probe->span_count; i++)
        for (uint32_t j = 0; j < probe->spans[i].count && j < PROBE_AHEAD; j++)
            if (probe->spans[i].slots[j] < probe->index->rows)
                __builtin_prefetch(&bits[probe->spans[i].slots[j] / 64], 0, 1);
}

/* --- third stage: each slot once --------------------------------------------------------------------------------------------- */

/* Room for twice as many slots as may be taken. */
static void clear_table(Probe *probe)
{
    uint64_t wanted = probe->fresh_count;
    uint32_t size = TABLE_LEAST;

    for (uint32_t i = 0; i < probe->span_count; i++)
        wanted += probe->spans[i].count;
    wanted = wanted < probe->most ? wanted : probe->most;
    while (size < 2 * wanted)
        size *= 2;
    memset(probe->table, 0, size * sizeof *probe->table);
    probe->table_mask = size - 1;
}

static int is_new(Probe *probe, uint32_t slot)
{
    uint32_t at = slot * 0x9E3779B1u >> 8 & probe->table_mask;

    for (; probe->table[at] != 0; at = (at + 1) & probe->table_mask)
        if (probe->table[at] == slot + 1)
            return 0;
    probe->table[at] = slot + 1;
    return 1;
}

static inline int is_candidate(const Probe *probe, uint32_t slot)
{
    if (probe->visible == 0) /* nothing has changed, so nothing has died */
        return slot < probe->index->rows;
    return index_is_live(probe->index, slot, probe->visible);
}

static void take(Probe *probe, uint32_t slot)
{
    if (!is_new(probe, slot))
        return;
    __builtin_prefetch(index_record(probe->index, slot), 0, 1);
    probe->slots[probe->count++] = slot;
}

/* Take what is in force of some slots; returns 0 when no more may be looked at. A slot of the file that is none is damage. */
static int take_all(Probe *probe, const uint32_t *slots, uint32_t count, uint32_t from, uint32_t to)
{
    for (uint32_t i = 0; i < count; i++) {
        if (probe->count == probe->most || probe->looks == 0) {
            probe->is_cut = 1;
            return 0;
        }
        probe->looks--;
        if (slots[i] >= from && slots[i] < to && is_candidate(probe, slots[i]))
            take(probe, slots[i]);
    }
    return 1;
}

static void take_candidates(Probe *probe)
{
    uint32_t rows = probe->index->rows, is_chain_cut = probe->is_cut;

    clear_table(probe);
    if (!take_all(probe, probe->fresh, probe->fresh_count, rows, UINT32_MAX))
        return;
    probe->has_rarest = !is_chain_cut && probe->own_count == 0;
    for (uint32_t i = 0; i < probe->span_count; i++) {
        PostingsSpan span = probe->spans[i];
        if (span.slots[0] == POSTINGS_TOO_FREQUENT) /* it stands for many, which are not there */
            continue;
        if (probe->has_rarest && probe->count >= probe->enough) {
            probe->is_cut = 1;
            return;
        }
        if (!take_all(probe, span.slots, span.count, 0, rows))
            return;
        if (probe->is_own[i])
            probe->has_rarest = !is_chain_cut;
    }
}

Probed query_probe(const QueryIndex *index, const uint64_t *keys, size_t count, size_t own, uint32_t *slots, uint32_t most,
                   uint32_t enough)
{
    Probe probe; /* of which little is written: the tables are as long as they need to be */

    probe.index = index;
    probe.visible = index->delta.header == NULL ? 0 : delta_visible(&index->delta);
    probe.span_count = probe.own_count = probe.fresh_count = probe.count = probe.has_rarest = 0;
    probe.is_cut = count > PROBE_MOST_KEYS;
    probe.slots = slots;
    probe.most = most < PROBE_MOST ? most : PROBE_MOST;
    probe.enough = enough;
    probe.looks = PROBE_LOOKS * probe.most;
    count = count < PROBE_MOST_KEYS ? count : PROBE_MOST_KEYS;
    query_prefetch(index, keys, count);
    if (probe.visible != 0)
        prefetch_heads(&index->delta, keys, count);
    find_spans(&probe, keys, count, own);
    if (probe.visible != 0) {
        walk_chains(&probe, keys, count);
        prefetch_deaths(&probe);
    }
    probe.looks = PROBE_LOOKS * probe.most; /* changes do not use up those of the rest */
    take_candidates(&probe);
    return (Probed){probe.count, probe.is_cut, probe.has_rarest, probe.visible};
}
