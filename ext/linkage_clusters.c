/* Greedy average linkage over a table of sums between clusters. See `linkage_clusters.h`.
 *
 * Between two clusters stands one entry, under the numbers of both roots. When a cluster goes into another, its entries are
 * added to the other's, and stay behind empty. The one with fewer neighbours goes, so each entry moves few times.
 * What must not go in here: reading and writing of tables.
 */
#include "linkage_clusters.h"
#include "linkage_memory.h"

#include <string.h>

#define ROUNDS 3u /* clusters that would not join may do so when both have grown */
#define NO_NEXT UINT32_MAX
#define FIRST_BITS 10u

typedef struct {
    uint64_t key; /* the smaller root, then the greater, plus 1; 0 is free */
    float sum;
    uint32_t count; /* of compared pairs */
} Between;

typedef struct {
    uint32_t cluster, next; /* a neighbour, perhaps gone into another by now */
} Neighbour;

typedef struct {
    uint32_t *parents, *sizes, *first, *last, *degrees;
    Neighbour *neighbours;
    size_t neighbour_count, neighbour_room;
    Between *table;
    uint32_t bits;
    size_t used;
} Clusters;

static uint32_t root_of(Clusters *clusters, uint32_t row)
{
    while (clusters->parents[row] != row) {
        clusters->parents[row] = clusters->parents[clusters->parents[row]];
        row = clusters->parents[row];
    }
    return row;
}

/* --- entries between clusters ------------------------------------------------------------------------------------------- */

static uint64_t key_of(uint32_t a, uint32_t b) { return ((uint64_t)(a < b ? a : b) << 32 | (a < b ? b : a)) + 1; }

static Between *place_of(Between *table, uint32_t bits, uint64_t key)
{
    size_t mask = ((size_t)1 << bits) - 1, at = (size_t)(key * UINT64_C(0x9E3779B97F4A7C15) >> (64 - bits));
    while (table[at].key != 0 && table[at].key != key)
        at = (at + 1) & mask;
    return &table[at];
}

static Between *empty_table(uint32_t bits)
{
    Between *table = table_memory(sizeof *table << bits);
    if (table != NULL)
        memset(table, 0, sizeof *table << bits);
    return table;
}

static int grow_table(Clusters *clusters)
{
    Between *table = empty_table(clusters->bits + 1);
    if (table == NULL)
        return -1;
    clusters->used = 0;
    for (size_t i = 0; i < (size_t)1 << clusters->bits; i++)
        if (clusters->table[i].key != 0 && clusters->table[i].count != 0) {
            *place_of(table, clusters->bits + 1, clusters->table[i].key) = clusters->table[i];
            clusters->used++;
        }
    free(clusters->table);
    clusters->table = table;
    clusters->bits++;
    return 0;
}

static int add_neighbour(Clusters *clusters, uint32_t of, uint32_t other)
{
    if (clusters->neighbour_count == clusters->neighbour_room) {
        size_t room = clusters->neighbour_room == 0 ? 1024 : 2 * clusters->neighbour_room;
        Neighbour *moved = room < NO_NEXT ? realloc(clusters->neighbours, room * sizeof *moved) : NULL;
        if (moved == NULL)
            return -1;
        clusters->neighbours = moved;
        clusters->neighbour_room = room;
    }
    uint32_t at = (uint32_t)clusters->neighbour_count++;
    clusters->neighbours[at] = (Neighbour){other, NO_NEXT};
    if (clusters->first[of] == NO_NEXT)
        clusters->first[of] = at;
    else
        clusters->neighbours[clusters->last[of]].next = at;
    clusters->last[of] = at;
    clusters->degrees[of]++;
    return 0;
}

static int add_between(Clusters *clusters, uint32_t a, uint32_t b, float sum, uint32_t count)
{
    if (2 * clusters->used >= (size_t)1 << clusters->bits && grow_table(clusters))
        return -1;
    Between *entry = place_of(clusters->table, clusters->bits, key_of(a, b));
    if (entry->key == 0) {
        entry->key = key_of(a, b);
        clusters->used++;
    }
    if (entry->count == 0 && (add_neighbour(clusters, a, b) || add_neighbour(clusters, b, a)))
        return -1;
    entry->sum += sum;
    entry->count += count;
    return 0;
}

/* --- joining ------------------------------------------------------------------------------------------------------------ */

static int speaks_for(Clusters *clusters, const Clustering *clustering, uint32_t a, uint32_t b)
{
    const Between *entry = place_of(clusters->table, clusters->bits, key_of(a, b));
    double pairs = (double)clusters->sizes[a] * clusters->sizes[b];
    return entry->sum + clustering->uncompared * (pairs - entry->count) > 0;
}

static int join(Clusters *clusters, uint32_t into, uint32_t from)
{
    clusters->parents[from] = into;
    clusters->sizes[into] += clusters->sizes[from];
    place_of(clusters->table, clusters->bits, key_of(into, from))->count = 0;
    for (uint32_t at = clusters->first[from]; at != NO_NEXT; at = clusters->neighbours[at].next) {
        uint32_t other = clusters->neighbours[at].cluster;
        Between *entry = place_of(clusters->table, clusters->bits, key_of(from, other));
        if (other == into || entry->count == 0)
            continue;
        float sum = entry->sum;
        uint32_t count = entry->count;
        entry->sum = 0;
        entry->count = 0;
        if (add_between(clusters, into, other, sum, count))
            return -1;
    }
    clusters->first[from] = NO_NEXT;
    return 0;
}

static int join_once(Clusters *clusters, const OddsOfPairs *pairs, const Clustering *clustering, int *joined)
{
    *joined = 0;
    for (size_t i = 0; i < pairs->count && pairs->log_odds[i] >= clustering->least; i++) {
        uint32_t a = root_of(clusters, pairs->left[i]), b = root_of(clusters, pairs->right[i]);
        if (a == b || !speaks_for(clusters, clustering, a, b))
            continue;
        int more = clusters->degrees[a] >= clusters->degrees[b];
        if (join(clusters, more ? a : b, more ? b : a))
            return -1;
        *joined = 1;
    }
    return 0;
}

/* --- all of it ---------------------------------------------------------------------------------------------------------- */

static void close_clusters(Clusters *clusters)
{
    free(clusters->parents);
    free(clusters->neighbours);
    free(clusters->table);
}

static int open_clusters(Clusters *clusters, uint32_t rows)
{
    memset(clusters, 0, sizeof *clusters);
    clusters->bits = FIRST_BITS;
    clusters->table = empty_table(clusters->bits);
    clusters->parents = malloc(((size_t)5 * rows + 1) * sizeof *clusters->parents);
    if (clusters->table == NULL || clusters->parents == NULL) {
        close_clusters(clusters);
        return -1;
    }
    clusters->sizes = clusters->parents + rows;
    clusters->first = clusters->sizes + rows;
    clusters->last = clusters->first + rows;
    clusters->degrees = clusters->last + rows;
    for (uint32_t i = 0; i < rows; i++) {
        clusters->parents[i] = i;
        clusters->sizes[i] = 1;
        clusters->first[i] = NO_NEXT;
        clusters->degrees[i] = 0;
    }
    return 0;
}

static int add_pairs(Clusters *clusters, uint32_t rows, const OddsOfPairs *pairs, double clip)
{
    for (size_t i = 0; i < pairs->count; i++) {
        double odds = pairs->log_odds[i];
        if (pairs->left[i] >= rows || pairs->right[i] >= rows || pairs->left[i] == pairs->right[i])
            return -2;
        odds = odds > clip ? clip : odds < -clip ? -clip : odds;
        if (add_between(clusters, pairs->left[i], pairs->right[i], (float)odds, 1))
            return -1;
    }
    return 0;
}

/* The first row of a cluster, whatever its root. */
static void write_clusters(Clusters *clusters, uint32_t *out, uint32_t rows)
{
    uint32_t *first = clusters->sizes;
    for (uint32_t i = rows; i-- > 0;)
        first[root_of(clusters, i)] = i;
    for (uint32_t i = 0; i < rows; i++)
        out[i] = first[root_of(clusters, i)];
}

int cluster_rows(uint32_t *out, uint32_t rows, const OddsOfPairs *pairs, const Clustering *clustering)
{
    Clusters clusters;
    if (open_clusters(&clusters, rows))
        return -1;
    int failed = add_pairs(&clusters, rows, pairs, clustering->clip), joined = 1;
    for (uint32_t round = 0; round < ROUNDS && joined && !failed; round++)
        failed = join_once(&clusters, pairs, clustering, &joined);
    if (!failed)
        write_clusters(&clusters, out, rows);
    close_clusters(&clusters);
    return failed;
}
