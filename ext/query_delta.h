/* The delta of a query index: what was put in, replaced and taken out since the index was built, in a mapped file.
 *
 * One process writes, whoever holds the lock of the base; any number read, without locks. Each change is an *entry*, appended and
 * never reused: the record, its keys in chains of a hash directory (a *node* each, newest first), the key of the record. An entry
 * that takes the place of a slot marks that as having *died* with itself. A reader takes the number of entries that are *visible*
 * once, and to it there are no entries and no deaths from that number on: so changes made together are seen together.
 *
 *     append: entries, links and deaths are written, nobody sees them
 *     the record base is committed, with the number of entries that it knows of
 *     publish: the number that is visible is set to that (release; readers acquire it)
 *
 * A writer that died before its commit leaves entries that the base does not know of; the next one makes them void (`delta_mend`).
 * Directory, links and deaths can all be made again from the entries (`delta_relink`), which is done after the machine has gone
 * down: entries were synced before the commit, and have a checksum; pages with links may be of any age.
 *
 * What must not go in here: the record base, and whether an index is too old for it (broker/records/index.py).
 */
#ifndef BROKER_QUERY_DELTA_H
#define BROKER_QUERY_DELTA_H

#include <stddef.h>
#include <stdint.h>

#include "atomic64.h"
#include "record_keys.h"

#define DELTA_FORMAT 1u
#define DELTA_PAGE 4096u
#define DELTA_HEAP_A_ENTRY 32u /* bytes for the key of a record: the mean, not the most */
#define DELTA_BOOT_BYTES 16u

typedef enum { ENTRY_RECORD, ENTRY_REMOVAL, ENTRY_VOID } EntryKind;

typedef struct {
    char magic[8];
    uint32_t format, byte_order;
    uint64_t build; /* of the index it belongs to */
    uint32_t rows, stride, keys_per_record, capacity, head_bits;
    uint32_t checksum; /* CRC-32C of all before it; what follows changes */
    unsigned char boot[DELTA_BOOT_BYTES];
    uint64_t heap_used;
    _Alignas(64) uint64_t visible;  /* entries that readers may see */
    _Alignas(64) uint64_t reserved; /* entries that a writer has begun */
    uint64_t retired;               /* not 0: this may not be the delta that is written to; look which one is */
} DeltaHeader;

typedef struct {
    uint32_t died;       /* 1 + the entry that it died with; 0: it lives */
    uint32_t supersedes; /* 1 + the slot whose place it takes; 0: none */
    uint64_t key_at;     /* in the heap */
    uint32_t key_bytes;
    uint32_t kind;       /* EntryKind */
    uint32_t checksum;   /* CRC-32C of the above without `died`, the tags, the record and the key */
    uint32_t unused;
} DeltaEntry;

typedef struct {
    uint32_t next; /* 1 + the node of the same chain that is older; 0: none */
    uint32_t tag;  /* the high half of the key */
} DeltaNode;

/* Where the sections stand in a delta; each begins on a multiple of 64. */
typedef struct {
    uint64_t dead_bits, died, heads, entries, records, nodes, heap, file;
} DeltaSections;

typedef struct {
    DeltaHeader *header;
    uint64_t *dead_bits; /* of slots of the index: whether `died` is worth reading */
    uint32_t *died;      /* as in DeltaEntry, of slots of the index */
    uint32_t *heads;     /* of each bucket, 1 + its newest node; 0: none */
    DeltaEntry *entries;
    unsigned char *records;
    DeltaNode *nodes; /* keys_per_record + 1 an entry: the last is of the key of the record */
    unsigned char *heap;
    uint64_t heap_bytes;
    uint32_t rows, stride, nodes_per_entry, capacity, head_bits;
    uint64_t floor; /* entries that are visible whatever the header says: the record base knows of them */
} Delta;

typedef enum { DELTA_OK, DELTA_IS_NONE, DELTA_OTHER_FORMAT, DELTA_CUT_OFF, DELTA_DAMAGED, DELTA_OF_ANOTHER, DELTA_FULL } DeltaStatus;

/* How big a delta of so many entries is, for an index of `rows` records. */
DeltaSections delta_sections(uint32_t rows, uint32_t stride, uint32_t keys_per_record, uint32_t capacity);

/* Make an empty delta in memory of zeros. */
void delta_make(unsigned char *memory, uint64_t build, uint32_t rows, uint32_t stride, uint32_t keys_per_record, uint32_t capacity,
                const unsigned char *boot);

/* Look into a mapped delta. OF_ANOTHER: it is that of another index. A reader's memory need not be writable. */
DeltaStatus delta_open(Delta *delta, void *memory, size_t bytes, uint64_t build, uint32_t rows, uint32_t stride,
                       uint32_t keys_per_record);

static inline uint64_t delta_visible(const Delta *delta)
{
    uint64_t visible = atomic64_load(&delta->header->visible);
    visible = visible > delta->floor ? visible : delta->floor;
    return visible < delta->capacity ? visible : delta->capacity;
}

/* --- reading ----------------------------------------------------------------------------------------------------------- */

static inline uint32_t delta_tag(uint64_t key) { return (uint32_t)(key >> 32); }

static inline uint32_t *delta_head(const Delta *delta, uint32_t tag) { return &delta->heads[tag >> (32 - delta->head_bits)]; }

static inline uint32_t word32_load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

static inline int delta_is_live(const Delta *delta, uint32_t slot, uint64_t visible)
{
    uint32_t died;

    if (slot < delta->rows) {
        if (!(atomic64_load(&delta->dead_bits[slot / 64]) >> slot % 64 & 1))
            return 1;
        died = word32_load(&delta->died[slot]);
    } else {
        if (slot - delta->rows >= visible)
            return 0;
        died = word32_load(&delta->entries[slot - delta->rows].died);
    }
    return died == 0 || died > visible;
}

/* The key of an entry; of size 0 if it is damaged. */
RecordKey delta_key(const Delta *delta, uint32_t entry);

/* The entry in force that has a key; NO_SLOT if there is none. */
uint32_t delta_find(const Delta *delta, RecordKey key, uint64_t visible);

/* --- writing, for who holds the lock ------------------------------------------------------------------------------------- */

/* Append a record that takes the place of `superseded`, a slot or NO_SLOT; `keys` are as many as a record has. FULL: no room. */
DeltaStatus delta_put(Delta *delta, const unsigned char *record, const uint64_t *keys, RecordKey key, uint32_t superseded);

/* Append that the record of a slot is gone. */
DeltaStatus delta_remove(Delta *delta, RecordKey key, uint32_t superseded);

/* Let entries be seen that the record base knows of. */
void delta_publish(Delta *delta);

/* Make void what was appended after the first `known` entries, and let the others be seen. OF_ANOTHER: more of it was seen already,
 * so this is not the delta of which the record base knows so many entries. */
DeltaStatus delta_mend(Delta *delta, uint64_t known);

/* Make directory, links and deaths again from the first `known` entries; what follows is void. DAMAGED: one of them is not as it
 * was written. */
DeltaStatus delta_relink(Delta *delta, uint64_t known, const unsigned char *boot);

#endif
