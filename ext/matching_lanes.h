/* The kernels for lanes of one width, WIDTH bits, in vectors of VECTOR_BYTES: one query against a block of 64 choices.
 *
 * A template: `matching_avx512.c` and `matching_avx2.c` include it for widths 8, 16, 32 and 64. A lane holds one choice, and in
 * its bits the positions of the query (for Jaro of the choice, too), so that every step is that of the scalar path, many times.
 * `rows[j][lane]` are the positions of the query that equal position j of the choice. What must not go in here: what only one
 * kind of processor has; how rows are looked up.
 */
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define IN_WIDTH(name) PASTE(name, WIDTH)

#define Bits IN_WIDTH(Bits_)
#define Vector IN_WIDTH(Vector_)
#define Bytes IN_WIDTH(Bytes_)
#define Index IN_WIDTH(Index_)
#define Places IN_WIDTH(Places_)
#define IN_VECTOR (VECTOR_BYTES / (WIDTH / 8))
/* Two vectors go hand in hand where a block has two, for each step waits for the one before. */
#define ABREAST (LANES / IN_VECTOR < 2 ? 1 : 2)
#define FOR_EACH_ABREAST _Pragma("GCC unroll 2") for (size_t v = 0; v < ABREAST; v++)

typedef PASTE(PASTE(uint, WIDTH), _t) Bits;
typedef Bits Vector __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(IN_VECTOR), may_alias));

TARGET static inline Vector IN_WIDTH(lengths_)(const Block *block, size_t first)
{
    Bytes lengths;
    memcpy(&lengths, block->lengths + first, sizeof lengths);
    return __builtin_convertvector(lengths, Vector);
}

TARGET static inline Vector IN_WIDTH(row_)(const Bits *rows, size_t j, size_t first)
{
    return *(const Vector *)(rows + j * LANES + first);
}

#include "matching_steps.h"

/* --- Jaro ------------------------------------------------------------------------------------------------------------ */

#if WIDTH > 8
#if WIDTH == 16
typedef uint16_t Index;
#else
typedef uint32_t Index;
#endif
typedef Index Places __attribute__((vector_size(sizeof(Index) * IN_VECTOR), may_alias));

typedef struct {
    Vector in_query[ABREAST], in_choice[ABREAST];
} IN_WIDTH(Flags_);

/* Match greedily, the first free position within the window. Lanes behind their end match nothing, for PAD is in no query. */
TARGET static inline void IN_WIDTH(flag_)(IN_WIDTH(Flags_) *flags, const Bits *rows, size_t first, uint32_t longest,
                                          const Vector *bound)
{
    const Vector none = {0};
    Vector window[ABREAST];
    FOR_EACH_ABREAST window[v] = ((none + 2) << bound[v]) - 1;
    for (uint32_t j = 0; j < longest; j++)
        FOR_EACH_ABREAST {
            Vector free_ones = IN_WIDTH(row_)(rows, j, first + v * IN_VECTOR) & window[v] & ~flags->in_query[v];
            flags->in_query[v] |= free_ones & (none - free_ones);
            flags->in_choice[v] = IN_WIDTH(set_if_any_)(flags->in_choice[v], free_ones, none + (Bits)((Bits)1 << j));
            window[v] = window[v] + window[v] - (Vector)(bound[v] > (Bits)j);
        }
}

/* The same where all lanes have one bound. */
TARGET static inline void IN_WIDTH(flag_evenly_)(IN_WIDTH(Flags_) *flags, const Bits *rows, size_t first, uint32_t longest,
                                                 uint32_t bound)
{
    const Vector none = {0};
    Bits window = (Bits)(((Bits)2 << bound) - 1);
    for (uint32_t j = 0; j < longest; j++) {
        FOR_EACH_ABREAST {
            Vector free_ones = IN_WIDTH(row_)(rows, j, first + v * IN_VECTOR) & window & ~flags->in_query[v];
            flags->in_query[v] |= free_ones & (none - free_ones);
            flags->in_choice[v] = IN_WIDTH(set_if_any_)(flags->in_choice[v], free_ones, none + (Bits)((Bits)1 << j));
        }
        window = (Bits)((window << 1) | (j < bound));
    }
}

/* How many matches of the choice, in order, are not of the symbol of the query's match of the same rank. */
TARGET static inline void IN_WIDTH(transpositions_)(Vector *count, const Bits *rows, size_t first, uint32_t longest,
                                                    const IN_WIDTH(Flags_) *flags)
{
    const Vector none = {0};
    Vector left[ABREAST];
    FOR_EACH_ABREAST left[v] = flags->in_query[v];
    for (uint32_t j = 0; j < longest; j++)
        FOR_EACH_ABREAST {
            Vector row = IN_WIDTH(row_)(rows, j, first + v * IN_VECTOR);
            IN_WIDTH(pass_match_)(&left[v], &count[v], flags->in_choice[v], none + (Bits)((Bits)1 << j), row);
        }
}

/* The length of the common prefix, up to 4. */
TARGET static inline Vector IN_WIDTH(prefix_)(const Bits *rows, size_t first, uint32_t longest)
{
    Vector prefix = {0};
    Vector still = prefix + 1;
    for (uint32_t j = 0; j < longest && j < PREFIXES - 1; j++) {
        still &= IN_WIDTH(row_)(rows, j, first) >> j;
        prefix += still;
    }
    return prefix;
}

TARGET static inline Vector IN_WIDTH(bound_)(Vector lengths, Bits p)
{
    Vector longer = (Vector)(lengths > p);
    Vector half = ((lengths & longer) | (p & ~longer)) >> 1;
    return half + (Vector)(half > 0);
}

/* Where in the table of scores the similarity of each lane stands. */
TARGET static inline void IN_WIDTH(jaro_)(Index *index, const Bits *rows, const Block *block, uint32_t query_length)
{
    const Vector none = {0};
    const Bits p = (Bits)query_length;
    const uint32_t longest = block->longest;
    for (size_t first = 0; first < LANES; first += ABREAST * IN_VECTOR) {
        IN_WIDTH(Flags_) flags;
        Vector lengths[ABREAST], bound[ABREAST], halved[ABREAST];
        FOR_EACH_ABREAST {
            flags.in_query[v] = flags.in_choice[v] = halved[v] = none;
            lengths[v] = IN_WIDTH(lengths_)(block, first + v * IN_VECTOR);
            bound[v] = IN_WIDTH(bound_)(lengths[v], p);
        }
        if (longest <= query_length || longest == block->shortest)
            IN_WIDTH(flag_evenly_)(&flags, rows, first, longest, jaro_bound(query_length, longest));
        else
            IN_WIDTH(flag_)(&flags, rows, first, longest, bound);
        IN_WIDTH(transpositions_)(halved, rows, first, longest, &flags);
        FOR_EACH_ABREAST {
            Vector at = (lengths[v] * (Bits)(p + 1) + IN_WIDTH(ones_)(flags.in_query[v])) * (Bits)(p / 2 + 1);
            at = (at + (halved[v] >> 1)) * (Bits)PREFIXES + IN_WIDTH(prefix_)(rows, first + v * IN_VECTOR, longest);
            Places places = __builtin_convertvector(at, Places);
            memcpy(index + first + v * IN_VECTOR, &places, sizeof places);
        }
    }
}
#endif

/* --- Levenshtein ----------------------------------------------------------------------------------------------------- */

/* The distance is the length of the choice and the differences down its last column. */
TARGET static inline void IN_WIDTH(levenshtein_)(uint8_t *distances, const Bits *rows, const Block *block,
                                                 uint32_t query_length)
{
    const Bits within = (Bits)((Bits)~(Bits)0 >> (WIDTH - query_length));
    const Vector none = {0};
    for (size_t first = 0; first < LANES; first += ABREAST * IN_VECTOR) {
        IN_WIDTH(Column_) column[ABREAST];
        Vector lengths[ABREAST];
        uint32_t j = 0;
        FOR_EACH_ABREAST {
            lengths[v] = IN_WIDTH(lengths_)(block, first + v * IN_VECTOR);
            column[v] = (IN_WIDTH(Column_)){~none, none};
        }
        for (; j < block->shortest; j++)
            FOR_EACH_ABREAST
                column[v] = IN_WIDTH(advance_)(column[v], IN_WIDTH(row_)(rows, j, first + v * IN_VECTOR));
        for (; j < block->longest; j++)
            FOR_EACH_ABREAST {
                Vector row = IN_WIDTH(row_)(rows, j, first + v * IN_VECTOR);
                column[v] = IN_WIDTH(advance_where_)(column[v], row, lengths[v], none + (Bits)j);
            }
        FOR_EACH_ABREAST {
            Vector distance = lengths[v] + IN_WIDTH(ones_)(column[v].up & within) - IN_WIDTH(ones_)(column[v].down & within);
            Bytes bytes = __builtin_convertvector(distance, Bytes);
            memcpy(distances + first + v * IN_VECTOR, &bytes, sizeof bytes);
        }
    }
}

#undef Bits
#undef Vector
#undef Bytes
#undef Index
#undef Places
#undef IN_VECTOR
#undef ABREAST
#undef FOR_EACH_ABREAST
#undef IN_WIDTH
#undef PASTE
#undef PASTE_
