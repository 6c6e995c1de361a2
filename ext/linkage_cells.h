/* Packed records: rows of a fixed stride, one cell a field, and what stands where in a cell.
 *
 * A record is compared a hundred times for each time that it is written, so a cell holds what comparators ask for and nothing
 * else. All zero is a missing value, whatever the kind. Cells are copied out of their row (`cell_*`) because no row is aligned.
 * Integers are of this machine (little-endian, as the tables of normalisation require).
 *
 * *Rarity* is the number of bits that agreement on this value is worth, 1 to 31, counted over a table; 0 is not counted.
 *
 * What must not go in here: comparing, hashing, and how text becomes a cell (linkage_pack.pxd).
 */
#ifndef BROKER_LINKAGE_CELLS_H
#define BROKER_LINKAGE_CELLS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MOST_FIELDS 16u /* four bits each in a pattern */
#define NO_FIELD 0xFFu
#define MOST_STRIDE 512u

/* In the order of `broker.linkage.schema.Kind`. */
typedef enum {
    KIND_PERSON_NAME,
    KIND_GIVEN_NAME,
    KIND_SURNAME,
    KIND_RESIDENT_ID,
    KIND_IDENTIFIER,
    KIND_DATE,
    KIND_PHONE,
    KIND_ADDRESS,
    KIND_TEXT,
    KIND_NUMBER,
    KIND_CATEGORY,
    KIND_COUNT
} Kind;

#define NAME_UNITS 8u
#define NAME_SIZE 0x1Fu /* of `meta`: units or, of a name in letters, bytes; NAME_LONGER where there were more */
#define NAME_LONGER 0x1Fu
#define NAME_SURNAME_SHIFT 5u
#define NAME_IN_LETTERS 0x80u
#define NAME_UNKNOWN_UNIT 0x3Fu

typedef struct {
    uint16_t units[NAME_UNITS]; /* ideographs; those beyond the BMP in the range of surrogates; of letters, a byte each */
    uint32_t letters;           /* a sum over the letters of its readings, in whatever order they are written */
    uint8_t meta, rarity;
} NameCell; /* 22 bytes packed */

#define ID_DIGITS 17u
#define ID_VALID (UINT64_C(1) << 61)
#define ID_OTHER (UINT64_C(1) << 62) /* not of the form of a resident id: the rest is a hash */
#define ID_PRESENT (UINT64_C(1) << 63)
#define ID_NUMBER (ID_VALID - 1) /* 17 digits, times 11, plus the check character (X is 10) */

#define NUMBER_RARITY_SHIFT 59u
#define PHONE_NUMBER ((UINT64_C(1) << NUMBER_RARITY_SHIFT) - 1) /* digits behind a leading 1, at most 16 */
#define DATE_NUMBER 0x07FFFFFFu                                 /* yyyymmdd, not always a day that exists */
#define DATE_RARITY_SHIFT 27u

#define FIGURES 4u
#define REGION_HASH 0x07FFFFFFu
#define REGION_RARITY_SHIFT 27u

typedef struct {
    uint32_t region; /* hash of the last region, and rarity; never 0 in an address that is there */
    uint32_t community, road;
    uint16_t figures[FIGURES]; /* hashes of house, building, unit, room: the first number, those between, the last */
} AddressCell;             /* 20 bytes */

#define TEXT_BYTES 26u
typedef struct {
    uint32_t hash; /* of all of it */
    uint8_t size, rarity;
    uint8_t bytes[TEXT_BYTES]; /* the first ones; a character beyond Latin-1 is a byte of its hash */
} TextCell;                    /* 32 bytes */

#define CODE_BYTES 22u
typedef struct {
    uint8_t size, rarity;
    uint8_t bytes[CODE_BYTES]; /* letters and digits in capitals */
} CodeCell;                    /* 24 bytes */

typedef struct {
    uint8_t kind;
    uint8_t partner; /* of a given name, the surname that it may be swapped with, and the other way round; else NO_FIELD */
    uint16_t at;
} FieldCell;

typedef struct {
    FieldCell fields[MOST_FIELDS];
    uint32_t count, stride;
} Layout;

/* Readings and classes of shape of the characters of the BMP, as `normalise` has them. */
typedef struct {
    uint16_t readings[0x10000];
    uint16_t shapes[0x10000];
} Characters;

static inline uint32_t cell_size(uint8_t kind)
{
    static const uint8_t sizes[KIND_COUNT] = {22, 32, 32, 8, 24, 4, 8, 20, 32, 24, 1};
    return kind < KIND_COUNT ? sizes[kind] : 0;
}

static inline uint64_t cell_u64(const uint8_t *cell)
{
    uint64_t value;
    memcpy(&value, cell, sizeof value);
    return value;
}

static inline uint32_t cell_u32(const uint8_t *cell)
{
    uint32_t value;
    memcpy(&value, cell, sizeof value);
    return value;
}

static inline NameCell cell_name(const uint8_t *cell)
{
    NameCell name;
    memcpy(name.units, cell, sizeof name.units);
    name.letters = cell_u32(cell + 16);
    name.meta = cell[20];
    name.rarity = cell[21];
    return name;
}

static inline AddressCell cell_address(const uint8_t *cell)
{
    AddressCell address;
    memcpy(&address, cell, sizeof address);
    return address;
}

/* Those of text and code are read in place: nothing in them is wider than a byte but the hash. */
static inline uint32_t text_hash(const uint8_t *cell) { return cell_u32(cell); }
static inline uint32_t text_size(const uint8_t *cell) { return cell[4] < TEXT_BYTES ? cell[4] : TEXT_BYTES; }
static inline const uint8_t *text_bytes(const uint8_t *cell) { return cell + 6; }
static inline uint32_t code_size(const uint8_t *cell) { return cell[0] < CODE_BYTES ? cell[0] : CODE_BYTES; }
static inline const uint8_t *code_bytes(const uint8_t *cell) { return cell + 2; }

static inline uint32_t name_units(const NameCell *name)
{
    uint32_t size = name->meta & NAME_SIZE, most = name->meta & NAME_IN_LETTERS ? 2 * NAME_UNITS : NAME_UNITS;
    return size < most ? size : most;
}

static inline uint32_t name_surname(const NameCell *name)
{
    uint32_t size = name->meta >> NAME_SURNAME_SHIFT & 3u;
    return size < NAME_UNITS ? size : NAME_UNITS;
}

/* A hash of the whole value, without its rarity; 0 where it is missing. What is counted, and what keys are made of. */
uint64_t cell_value(uint8_t kind, const uint8_t *cell);

/* Where the rarity of a cell is written; a kind that has none takes it and forgets it. */
uint32_t cell_rarity(uint8_t kind, const uint8_t *cell);
void cell_set_rarity(uint8_t kind, uint8_t *cell, uint32_t bits);

static inline uint64_t mixed(uint64_t value)
{
    value = (value ^ (value >> 33)) * UINT64_C(0xFF51AFD7ED558CCD); /* the last rounds of MurmurHash3 */
    value = (value ^ (value >> 33)) * UINT64_C(0xC4CEB9FE1A85EC53);
    return value ^ (value >> 33);
}

static inline uint64_t hashed_bytes(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t hash = size, word;
    for (; size >= sizeof word; size -= sizeof word, bytes += sizeof word) {
        memcpy(&word, bytes, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9FB21C651E98DF25);
        hash ^= hash >> 35;
    }
    word = 0;
    memcpy(&word, bytes, size);
    return mixed(hash ^ word);
}

static inline uint64_t joined(uint64_t one, uint64_t other) { return mixed(one * UINT64_C(0x9E3779B97F4A7C15) + other); }

#endif
