/* The single steps of `matching_lanes.h`, which includes this once a width: as anybody would write them, and as
 * AVX-512 has them.
 *
 * Compilers do not find the instructions for three operands and for masks by themselves. What must not go in here: loops.
 */
typedef struct {
    Vector up, down;
} IN_WIDTH(Column_);

#ifdef HAS_MASKS
#define TERNARY(table, a, b, c, plain) ((Vector)_mm512_ternarylogic_epi64((__m512i)(a), (__m512i)(b), (__m512i)(c), table))
#define MASKED(name) PASTE(PASTE(name, WIDTH), _mask)
#define OF_WIDTH(name) PASTE(name, WIDTH)
#define Z(vector) ((__m512i)(vector))

/* How many bits are set, lane by lane. */
TARGET static inline Vector IN_WIDTH(ones_)(Vector x) { return (Vector)OF_WIDTH(_mm512_popcnt_epi)(Z(x)); }

/* Set `bit`, which is not set yet, in lanes where anything of `tested` is. */
TARGET static inline Vector IN_WIDTH(set_if_any_)(Vector flags, Vector tested, Vector bit)
{
    return (Vector)OF_WIDTH(_mm512_mask_add_epi)(Z(flags), MASKED(_mm512_test_epi)(Z(tested), Z(tested)), Z(flags), Z(bit));
}

/* Where `bit` is among the matches of the choice: take the first one `left` of the query, and count if it is not in the row. */
TARGET static inline void IN_WIDTH(pass_match_)(Vector *left, Vector *count, Vector in_choice, Vector bit, Vector row)
{
    const Vector none = {0};
    uint64_t here = MASKED(_mm512_test_epi)(Z(in_choice), Z(bit));
    Vector rank = *left & (Vector)OF_WIDTH(_mm512_maskz_sub_epi)(here, Z(none), Z(*left));
    uint64_t missed = MASKED(_mm512_mask_testn_epi)(here, Z(row), Z(rank));
    *count = (Vector)OF_WIDTH(_mm512_mask_sub_epi)(Z(*count), missed, Z(*count), Z(~none));
    *left ^= rank;
}

/* Set `bit`, which is not set yet, in lanes where both are equal. */
TARGET static inline Vector IN_WIDTH(set_if_equal_)(Vector flags, Vector one, Vector other, Vector bit)
{
    return (Vector)OF_WIDTH(_mm512_mask_add_epi)(Z(flags), MASKED(_mm512_cmpeq_epi)(Z(one), Z(other)), Z(flags), Z(bit));
}

TARGET static inline Vector IN_WIDTH(choose_)(Vector no, Vector yes, Vector left, Vector right)
{
    return (Vector)OF_WIDTH(_mm512_mask_mov_epi)(Z(no), MASKED(_mm512_cmpgt_epu)(Z(left), Z(right)), Z(yes));
}
#else
#define TERNARY(table, a, b, c, plain) (plain)

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

TARGET static inline Vector IN_WIDTH(set_if_any_)(Vector flags, Vector tested, Vector bit)
{
    return flags | (~(Vector)(tested == 0) & bit);
}

TARGET static inline void IN_WIDTH(pass_match_)(Vector *left, Vector *count, Vector in_choice, Vector bit, Vector row)
{
    const Vector none = {0};
    Vector elsewhere = (Vector)((in_choice & bit) == none);
    Vector rank = *left & (none - *left) & ~elsewhere;
    *count -= (Vector)((row & rank) == none) & ~elsewhere;
    *left ^= rank;
}

TARGET static inline Vector IN_WIDTH(set_if_equal_)(Vector flags, Vector one, Vector other, Vector bit)
{
    return flags | ((Vector)(one == other) & bit);
}

TARGET static inline Vector IN_WIDTH(choose_)(Vector no, Vector yes, Vector left, Vector right)
{
    Vector chosen = (Vector)(left > right);
    return (yes & chosen) | (no & ~chosen);
}
#endif

/* One position of the choice further: Myers 1999 in Hyyrö's form, as in `matching_scalar.c`, but that the positive horizontal
 * differences are kept as their complement, which spares setting the lowest bit after the shift. */
TARGET static inline IN_WIDTH(Column_) IN_WIDTH(advance_)(IN_WIDTH(Column_) column, Vector row)
{
    Vector sum = (row & column.up) + column.up;
    Vector either = row | column.down;
    Vector zero = TERNARY(0xDE, sum, either, column.up, (sum ^ column.up) | either);
    Vector not_more = TERNARY(0x0E, column.down, zero, column.up, ~column.down & (zero | column.up));
    Vector less = zero & column.up;
    not_more += not_more;
    less += less;
    return (IN_WIDTH(Column_)){TERNARY(0xF2, less, zero, not_more, less | (~zero & not_more)), ~not_more & zero};
}

/* The same in lanes where `left` > `right`. */
TARGET static inline IN_WIDTH(Column_) IN_WIDTH(advance_where_)(IN_WIDTH(Column_) column, Vector row, Vector left, Vector right)
{
    IN_WIDTH(Column_) next = IN_WIDTH(advance_)(column, row);
    return (IN_WIDTH(Column_)){IN_WIDTH(choose_)(column.up, next.up, left, right),
                               IN_WIDTH(choose_)(column.down, next.down, left, right)};
}

#undef TERNARY
#undef MASKED
#undef OF_WIDTH
#undef Z
