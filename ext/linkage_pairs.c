/* Candidate pairs in batches. See `linkage_pairs.h`.
 *
 * What must not go in here: comparators and keys.
 */
#include "linkage_pairs.h"

#include <stdlib.h>

#define BATCH 32u
#define SEEN_SLOTS 4096u /* four times the most candidates, and a power of two */
#define AHEAD 8u         /* records asked for before they are compared */
#define FIRST_ROOM 4096u

typedef struct {
    uint32_t slots[SEEN_SLOTS], stamps[SEEN_SLOTS];
    uint32_t stamp;
    uint32_t candidates[2][MOST_CANDIDATES]; /* of one record and the one before */
    uint64_t keys[BATCH][MOST_KEYS];
    PostingsSpan spans[BATCH][MOST_KEYS];
} Room;

typedef struct {
    Comparison *comparison;
    Weights weights;
} Scoring;

static int grow(void **column, size_t room, size_t item)
{
    void *moved = realloc(*column, room * item);
    if (moved == NULL)
        return -1;
    *column = moved;
    return 0;
}

static int make_room(Pairs *pairs)
{
    if (pairs->count < pairs->room)
        return 0;
    size_t room = pairs->room == 0 ? FIRST_ROOM : 2 * pairs->room;
    if (grow((void **)&pairs->left, room, sizeof *pairs->left) || grow((void **)&pairs->right, room, sizeof *pairs->right) ||
        grow((void **)&pairs->patterns, room, sizeof *pairs->patterns) ||
        grow((void **)&pairs->weights, room, sizeof *pairs->weights))
        return -1;
    pairs->room = room;
    return 0;
}

void pairs_free(Pairs *pairs)
{
    free(pairs->left);
    free(pairs->right);
    free(pairs->patterns);
    free(pairs->weights);
    memset(pairs, 0, sizeof *pairs);
}

static int is_new(Room *room, uint32_t slot)
{
    uint32_t place = (uint32_t)(slot * 2654435761u) & (SEEN_SLOTS - 1);
    while (room->stamps[place] == room->stamp) {
        if (room->slots[place] == slot)
            return 0;
        place = (place + 1) & (SEEN_SLOTS - 1);
    }
    room->stamps[place] = room->stamp;
    room->slots[place] = slot;
    return 1;
}

/* Each candidate once; how many. */
static uint32_t gather(Room *room, const Search *search, const PostingsSpan *spans, uint32_t own, uint32_t *candidates,
                       uint64_t *cut)
{
    uint32_t count = 0;
    room->stamp++;
    for (uint32_t k = 0; k < search->plan->keys; k++)
        for (uint32_t i = 0; i < spans[k].count; i++) {
            uint32_t slot = spans[k].slots[i];
            if (slot >= search->right.count || (search->within && slot <= own) || !is_new(room, slot))
                continue;
            if (count == MOST_CANDIDATES) {
                ++*cut;
                return count;
            }
            candidates[count++] = slot;
            __builtin_prefetch(search->right.rows + (size_t)slot * search->layout->stride, 0, 1);
        }
    return count;
}

static int keep(Pairs *pairs, uint32_t left, uint32_t right, uint64_t pattern, float weight)
{
    if (make_room(pairs))
        return -1;
    pairs->left[pairs->count] = left;
    pairs->right[pairs->count] = right;
    pairs->patterns[pairs->count] = pattern;
    pairs->weights[pairs->count++] = weight;
    return 0;
}

static int compare_all(Pairs *pairs, const Search *search, const Scoring *scoring, uint32_t own, const uint32_t *slots,
                       uint32_t count)
{
    size_t stride = search->layout->stride;
    const uint8_t *record = search->left.rows + own * stride;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t pattern;
        float weight;
        const uint8_t *other = search->right.rows + slots[i] * stride;
        if (compare_weighed(scoring->comparison, &scoring->weights, record, other, &pattern, &weight) &&
            keep(pairs, own, slots[i], pattern, weight))
            return -1;
    }
    pairs->compared += count;
    return 0;
}

static void look_up(Room *room, const Search *search, uint32_t first, uint32_t step, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *record = search->left.rows + (size_t)(first + i * step) * search->layout->stride;
        record_keys(search->plan, search->layout, search->characters, record, room->keys[i]);
        for (uint32_t k = 0; k < search->plan->keys; k++)
            postings_prefetch(search->index, room->keys[i][k]);
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < search->plan->keys; k++) {
            room->spans[i][k] = postings_find(search->index, room->keys[i][k]);
            if (room->spans[i][k].count != 0)
                postings_prefetch_slots(room->spans[i][k]);
        }
}

/* The candidates of one record are gathered, and asked for, before those of the one before are compared. */
static int find_batch(Pairs *pairs, const Search *search, const Scoring *scoring, Room *room, uint32_t first, uint32_t step,
                      uint32_t count)
{
    uint32_t found[2] = {0, 0};
    look_up(room, search, first, step, count);
    for (uint32_t i = 0; i <= count; i++) {
        if (i < count)
            found[i & 1] = gather(room, search, room->spans[i], first + i * step, room->candidates[i & 1], &pairs->cut);
        if (i > 0 && compare_all(pairs, search, scoring, first + (i - 1) * step, room->candidates[(i - 1) & 1], found[(i - 1) & 1]))
            return -1;
    }
    return 0;
}

int pairs_find(Pairs *pairs, const Search *search, uint32_t first, uint32_t step, uint32_t count)
{
    Comparison comparison;
    Room *room = calloc(1, sizeof *room);
    int failed = room == NULL;
    if (failed || comparison_open(&comparison, search->layout, search->characters)) {
        free(room);
        return -1;
    }
    Scoring scoring = {.comparison = &comparison};
    weights_set(&scoring.weights, search->layout, search->weights, search->least);
    for (uint32_t done = 0; done < count && !failed; done += BATCH) {
        uint32_t batch = count - done < BATCH ? count - done : BATCH;
        failed = find_batch(pairs, search, &scoring, room, first + done * step, step, batch) != 0;
    }
    comparison_close(&comparison);
    free(room);
    return failed ? -1 : 0;
}

int pairs_compare(const Search *search, const uint32_t *left, const uint32_t *right, size_t count, uint64_t *patterns)
{
    Comparison comparison;
    size_t stride = search->layout->stride, i = 0;
    if (comparison_open(&comparison, search->layout, search->characters))
        return -1;
    for (; i < count && left[i] < search->left.count && right[i] < search->right.count; i++) {
        if (i + AHEAD < count && left[i + AHEAD] < search->left.count && right[i + AHEAD] < search->right.count) {
            __builtin_prefetch(search->left.rows + left[i + AHEAD] * stride, 0, 1);
            __builtin_prefetch(search->right.rows + right[i + AHEAD] * stride, 0, 1);
        }
        patterns[i] = compare_records(&comparison, search->left.rows + left[i] * stride, search->right.rows + right[i] * stride);
    }
    comparison_close(&comparison);
    return i == count ? 0 : -1;
}
