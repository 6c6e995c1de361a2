/* Candidates for a query: the slots of records that have any of its keys. In stages, so that memory is asked for before it is
 * needed: lines of the directory, then lines of slots, then records. Whoever compares the records finds them in cache.
 *
 * However many records share a key, a probe returns no more than it is asked for and looks at no more than a small multiple of
 * that. Changes come first, the newest of each key and half of all at most; then slots in order of how few share the bucket, so
 * that what is left out of these is of the most frequent keys. What must not go in here: comparing, and where keys come from.
 */
#ifndef BROKER_QUERY_PROBE_H
#define BROKER_QUERY_PROBE_H

#include "query_index.h"

#define PROBE_MOST_KEYS 256u
#define PROBE_MOST 4096u    /* candidates */
#define PROBE_LOOKS 4u      /* slots that are looked at, a candidate asked for: some are named twice, or dead */

typedef struct {
    uint32_t count;  /* of the candidates written */
    uint32_t is_cut; /* not all that could have been were looked at */
    uint32_t has_rarest; /* all that have the rarest of the own keys were */
    uint64_t visible; /* entries of the delta that were taken into account */
} Probed;

/* Ask for what `query_probe` reads first. Worth calling for some queries ahead, when there are many. */
void query_prefetch(const QueryIndex *index, const uint64_t *keys, size_t count);

/* Write the slots of records in force that have one of the keys, each once, and at most `most` of them; ask for their records.
 * Once there are `enough`, and the rarest of the first `own` keys was looked at, no further bucket is begun. Keys beyond
 * PROBE_MOST_KEYS and candidates beyond PROBE_MOST are left out; keys of 0 are none. */
Probed query_probe(const QueryIndex *index, const uint64_t *keys, size_t count, size_t own, uint32_t *slots, uint32_t most,
                   uint32_t enough);

#endif
