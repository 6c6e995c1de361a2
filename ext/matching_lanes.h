/* The kernels for lanes of one width, WIDTH bits, in vectors of VECTOR_BYTES: one query against a block of 32 choices.
 *
 * A template: `matching_avx512.c` and `matching_avx2.c` include it for widths 16, 32 and 64. A lane holds one choice, and in
 * its bits the positions of the query (for Jaro of the choice, too), so that every step is that of the scalar path, 32 times.
 * `rows[j][lane]` are the positions of the query that equal position j of the choice. What must not go in here: what only one
 * kind of processor has; how rows are looked up.
 */
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define IN_WIDTH(name) PASTE(name, WIDTH)

#define Bits IN_WIDTH(Bits_)
#define Vector IN_WIDTH(Vector_)
#define Halves IN_WIDTH(Halves_)
#define Bytes IN_WIDTH(Bytes_)
#define Words IN_WIDTH(Words_)
#define IN_VECTOR (VECTOR_BYTES / (WIDTH / 8))

typedef PASTE(PASTE(uint, WIDTH), _t) Bits;
typedef Bits Vector __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(IN_VECTOR)));
typedef uint16_t Halves __attribute__((vector_size(2 * IN_VECTOR), may_alias));
typedef uint32_t Words __attribute__((vector_size(4 * IN_VECTOR), may_alias, aligned(4)));

TARGET static inline Vector IN_WIDTH(lengths_)(const Block *block, size_t first)
{
    Halves lengths;
    memcpy(&lengths, block->lengths + first, sizeof lengths);
    return __builtin_convertvector(lengths, Vector);
}

TARGET static inline Vector IN_WIDTH(row_)(const Bits *rows, size_t j, size_t first)
{
    return *(const Vector *)(rows + j * LANES + first);
}

/* How many bits are set, lane by lane. */
TARGET static inline Vector IN_WIDTH(ones_)(Vector x)
{
    const Bits all = (Bits)~(Bits)0;
    x = x - ((x >> 1) & (Bits)(all / 3));
    x = (x & (Bits)(all / 5)) + ((x >> 2) & (Bits)(all / 5));
    x = (x + (x >> 4)) & (Bits)(all / 17);
    for (unsigned shift = 8; shift < WIDTH; shift *= 2)
        x += x >> shift;
    return x & 0x7F;
}

/* --- Jaro ------------------------------------------------------------------------------------------------------------ */

typedef struct {
    Vector in_query, in_choice;
} IN_WIDTH(Flags_);

/* Match greedily, the first free position within the window. Lanes behind their end match nothing, for PAD is in no query. */
TARGET static inline IN_WIDTH(Flags_) IN_WIDTH(flag_)(const Bits *rows, size_t first, uint32_t longest, Vector bound)
{
    const Vector none = {0};
    IN_WIDTH(Flags_) flags = {none, none};
    Vector window = ((none + 2) << bound) - 1;
    for (uint32_t j = 0; j < longest; j++) {
        Vector free_ones = IN_WIDTH(row_)(rows, j, first) & window & ~flags.in_query;
        flags.in_query |= free_ones & (none - free_ones);
        flags.in_choice |= (Vector)(free_ones != none) & (Bits)((Bits)1 << j);
        window = window + window - (Vector)(bound > (Bits)j);
    }
    return flags;
}

/* The same where all lanes have one bound. */
TARGET static inline IN_WIDTH(Flags_) IN_WIDTH(flag_evenly_)(const Bits *rows, size_t first, uint32_t longest, uint32_t bound)
{
    const Vector none = {0};
    IN_WIDTH(Flags_) flags = {none, none};
    Bits window = (Bits)(((Bits)2 << bound) - 1);
    for (uint32_t j = 0; j < longest; j++) {
        Vector free_ones = IN_WIDTH(row_)(rows, j, first) & window & ~flags.in_query;
        flags.in_query |= free_ones & (none - free_ones);
        flags.in_choice |= (Vector)(free_ones != none) & (Bits)((Bits)1 << j);
        window = (Bits)((window << 1) | (j < bound));
    }
    return flags;
}

/* How many matches of the choice, in order, are not of the symbol of the query's match of the same rank. */
TARGET static inline Vector IN_WIDTH(transpositions_)(const Bits *rows, size_t first, uint32_t longest, IN_WIDTH(Flags_) flags)
{
    const Vector none = {0};
    Vector count = none;
    for (uint32_t j = 0; j < longest; j++) {
        Vector here = (Vector)((flags.in_choice & (Bits)((Bits)1 << j)) != none);
        Vector rank = flags.in_query & (none - flags.in_query);
        count -= here & (Vector)((IN_WIDTH(row_)(rows, j, first) & rank) == none);
        flags.in_query ^= rank & here;
    }
    return count;
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

/* Where in the table of scores the similarity of each lane stands. */
TARGET static inline void IN_WIDTH(jaro_)(uint32_t *index, const Bits *rows, const Block *block, uint32_t query_length)
{
    const Bits p = (Bits)query_length;
    int even = block->longest <= query_length || block->longest == block->shortest;
    for (size_t first = 0; first < LANES; first += IN_VECTOR) {
        Vector lengths = IN_WIDTH(lengths_)(block, first);
        IN_WIDTH(Flags_) flags;
        if (even) {
            flags = IN_WIDTH(flag_evenly_)(rows, first, block->longest, jaro_bound(query_length, block->longest));
        } else {
            Vector longer = (Vector)(lengths > p);
            Vector half = ((lengths & longer) | (p & ~longer)) >> 1;
            flags = IN_WIDTH(flag_)(rows, first, block->longest, half + (Vector)(half > 0));
        }
        Vector at = (lengths * (Bits)(p + 1) + IN_WIDTH(ones_)(flags.in_query)) * (Bits)(p / 2 + 1);
        at += IN_WIDTH(transpositions_)(rows, first, block->longest, flags) >> 1;
        at = at * (Bits)PREFIXES + IN_WIDTH(prefix_)(rows, first, block->longest);
        Words words = __builtin_convertvector(at, Words);
        memcpy(index + first, &words, sizeof words);
    }
}

/* --- Levenshtein ----------------------------------------------------------------------------------------------------- */

typedef struct {
    Vector up, down;
} IN_WIDTH(Column_);

/* One position of the choice further: Myers 1999 in Hyyrö's form, as in `matching_scalar.c`. */
TARGET static inline IN_WIDTH(Column_) IN_WIDTH(advance_)(IN_WIDTH(Column_) column, Vector row)
{
    Vector zero = (((row & column.up) + column.up) ^ column.up) | row | column.down;
    Vector more = column.down | ~(zero | column.up);
    Vector less = zero & column.up;
    more = (more + more) | 1;
    less = less + less;
    return (IN_WIDTH(Column_)){less | ~(zero | more), more & zero};
}

/* The distance is the length of the choice and the differences down its last column. */
TARGET static inline void IN_WIDTH(levenshtein_)(uint8_t *distances, const Bits *rows, const Block *block, uint32_t query_length)
{
    const Bits within = (Bits)((Bits)~(Bits)0 >> (WIDTH - query_length));
    for (size_t first = 0; first < LANES; first += IN_VECTOR) {
        Vector lengths = IN_WIDTH(lengths_)(block, first);
        const Vector none = {0};
        IN_WIDTH(Column_) column = {~none, none};
        uint32_t j = 0;
        for (; j < block->shortest; j++)
            column = IN_WIDTH(advance_)(column, IN_WIDTH(row_)(rows, j, first));
        for (; j < block->longest; j++) {
            Vector here = (Vector)(lengths > (Bits)j);
            IN_WIDTH(Column_) next = IN_WIDTH(advance_)(column, IN_WIDTH(row_)(rows, j, first));
            column.up = (next.up & here) | (column.up & ~here);
            column.down = (next.down & here) | (column.down & ~here);
        }
        Vector distance = lengths + IN_WIDTH(ones_)(column.up & within) - IN_WIDTH(ones_)(column.down & within);
        Bytes bytes = __builtin_convertvector(distance, Bytes);
        memcpy(distances + first, &bytes, sizeof bytes);
    }
}

#undef Bits
#undef Vector
#undef Halves
#undef Bytes
#undef Words
#undef IN_VECTOR
#undef IN_WIDTH
#undef PASTE
#undef PASTE_
