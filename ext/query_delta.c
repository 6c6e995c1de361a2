/* Writes, mends and looks through the delta of a query index: see `query_delta.h`. What must not go in here: files, locks. */
#include "query_delta.h"

#include <string.h>

#include "crc32c.h"

#define BYTE_ORDER_MARK 0x01020304u
#define LINE 64u
#define MOST_HEAD_BITS 31u

static const char MAGIC[8] = "BROKERQD";

static uint64_t aligned(uint64_t at) { return (at + LINE - 1) / LINE * LINE; }

/* --- layout -------------------------------------------------------------------------------------------------------------- */

/* A bucket a node at least: each step along a chain is a wait for memory. */
static uint32_t head_bits_of(uint64_t nodes)
{
    uint32_t bits = 6;
    while (bits < MOST_HEAD_BITS && (uint64_t)1 << bits < nodes)
        bits++;
    return bits;
}

DeltaSections delta_sections(uint32_t rows, uint32_t stride, uint32_t keys_per_record, uint32_t capacity)
{
    uint64_t nodes = ((uint64_t)keys_per_record + 1) * capacity;
    DeltaSections at;

    at.dead_bits = DELTA_PAGE;
    at.died = aligned(at.dead_bits + ((uint64_t)rows + 63) / 64 * sizeof(uint64_t));
    at.heads = aligned(at.died + (uint64_t)rows * sizeof(uint32_t));
    at.entries = aligned(at.heads + ((uint64_t)1 << head_bits_of(nodes)) * sizeof(uint32_t));
    at.records = aligned(at.entries + (uint64_t)capacity * sizeof(DeltaEntry));
    at.nodes = aligned(at.records + (uint64_t)capacity * stride);
    at.heap = aligned(at.nodes + nodes * sizeof(DeltaNode));
    at.file = at.heap + (uint64_t)capacity * DELTA_HEAP_A_ENTRY;
    return at;
}

static uint32_t checksum_of(const void *data, size_t size)
{
    return crc32c_finish(crc32c_feed(CRC32C_START, data, size));
}

void delta_make(unsigned char *memory, uint64_t build, uint32_t rows, uint32_t stride, uint32_t keys_per_record, uint32_t capacity,
                const unsigned char *boot)
{
    DeltaHeader *header = (DeltaHeader *)(void *)memory;

    memcpy(header->magic, MAGIC, sizeof MAGIC);
    header->format = DELTA_FORMAT;
    header->byte_order = BYTE_ORDER_MARK;
    header->build = build;
    header->rows = rows;
    header->stride = stride;
    header->keys_per_record = keys_per_record;
    header->capacity = capacity;
    header->head_bits = head_bits_of(((uint64_t)keys_per_record + 1) * capacity);
    header->checksum = checksum_of(header, offsetof(DeltaHeader, checksum));
    memcpy(header->boot, boot, sizeof header->boot);
}

static DeltaStatus check_header(const DeltaHeader *header, uint64_t build, uint32_t rows, uint32_t stride, uint32_t keys_per_record)
{
    if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0)
        return DELTA_IS_NONE;
    if (header->format != DELTA_FORMAT || header->byte_order != BYTE_ORDER_MARK)
        return DELTA_OTHER_FORMAT;
    if (header->checksum != checksum_of(header, offsetof(DeltaHeader, checksum)))
        return DELTA_DAMAGED;
    if (header->build != build || header->rows != rows || header->stride != stride || header->keys_per_record != keys_per_record)
        return DELTA_OF_ANOTHER;
    uint64_t nodes = ((uint64_t)keys_per_record + 1) * header->capacity;
    return nodes >= UINT32_MAX || header->head_bits != head_bits_of(nodes) ? DELTA_DAMAGED : DELTA_OK;
}

static void point_at_sections(Delta *delta, unsigned char *memory, const DeltaSections *at)
{
    delta->dead_bits = (uint64_t *)(void *)(memory + at->dead_bits);
    delta->died = (uint32_t *)(void *)(memory + at->died);
    delta->heads = (uint32_t *)(void *)(memory + at->heads);
    delta->entries = (DeltaEntry *)(void *)(memory + at->entries);
    delta->records = memory + at->records;
    delta->nodes = (DeltaNode *)(void *)(memory + at->nodes);
    delta->heap = memory + at->heap;
    delta->heap_bytes = at->file - at->heap;
}

DeltaStatus delta_open(Delta *delta, void *memory, size_t bytes, uint64_t build, uint32_t rows, uint32_t stride,
                       uint32_t keys_per_record)
{
    DeltaHeader *header = memory;

    memset(delta, 0, sizeof *delta);
    if (bytes < DELTA_PAGE || ((uintptr_t)memory & (LINE - 1)) != 0)
        return DELTA_CUT_OFF;
    DeltaStatus status = check_header(header, build, rows, stride, keys_per_record);
    if (status != DELTA_OK)
        return status;
    DeltaSections at = delta_sections(rows, stride, keys_per_record, header->capacity);
    if (bytes < at.file)
        return DELTA_CUT_OFF;
    point_at_sections(delta, memory, &at);
    delta->rows = rows;
    delta->stride = stride;
    delta->nodes_per_entry = keys_per_record + 1;
    delta->capacity = header->capacity;
    delta->head_bits = header->head_bits;
    delta->header = header;
    return DELTA_OK;
}

/* --- reading ------------------------------------------------------------------------------------------------------------- */

RecordKey delta_key(const Delta *delta, uint32_t entry)
{
    const DeltaEntry *read = &delta->entries[entry];
    uint64_t at = read->key_at;
    uint32_t size = read->key_bytes;

    if (size > RECORD_KEY_MOST || size > delta->heap_bytes || at > delta->heap_bytes - size)
        return (RecordKey){NULL, 0};
    return (RecordKey){delta->heap + at, size};
}

static int has_key(const Delta *delta, uint32_t entry, RecordKey key)
{
    RecordKey held = delta_key(delta, entry);
    return held.size == key.size && held.size != 0 && memcmp(held.data, key.data, key.size) == 0;
}

uint32_t delta_find(const Delta *delta, RecordKey key, uint64_t visible)
{
    uint32_t tag = delta_tag(record_key_hash(key)), nodes = delta->capacity * delta->nodes_per_entry;
    uint32_t node = word32_load(delta_head(delta, tag));

    for (uint32_t steps = 0; node != 0 && node <= nodes && steps < nodes; steps++) {
        const DeltaNode *read = &delta->nodes[node - 1];
        uint32_t entry = (node - 1) / delta->nodes_per_entry;
        if (read->tag == tag && delta_is_live(delta, delta->rows + entry, visible) && has_key(delta, entry, key))
            return entry;
        node = read->next;
    }
    return NO_SLOT;
}

/* --- appending ----------------------------------------------------------------------------------------------------------- */

/* Where it is marked with what a slot has died; NULL if there is no such slot. */
static uint32_t *death_of(const Delta *delta, uint32_t slot)
{
    if (slot < delta->rows)
        return &delta->died[slot];
    return slot - delta->rows < delta->capacity ? &delta->entries[slot - delta->rows].died : NULL;
}

static void word32_store(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

static void mark_dead(Delta *delta, uint32_t slot, uint32_t entry)
{
    uint32_t *death = death_of(delta, slot);

    if (death == NULL)
        return;
    word32_store(death, entry + 1);
    if (slot < delta->rows) {
        uint64_t *word = &delta->dead_bits[slot / 64];
        atomic64_store(word, atomic64_load(word) | (uint64_t)1 << slot % 64);
    }
}

static void link_node(Delta *delta, uint32_t node)
{
    uint32_t *head = delta_head(delta, delta->nodes[node].tag);
    delta->nodes[node].next = *head;
    word32_store(head, node + 1);
}

/* A key of 0 has a tag of 0, as a key has whose high half is: neither is in a chain. */
static void link_entry(Delta *delta, uint32_t entry)
{
    uint32_t first = entry * delta->nodes_per_entry;

    for (uint32_t node = first; node < first + delta->nodes_per_entry; node++)
        if (delta->nodes[node].tag != 0)
            link_node(delta, node);
}

static uint32_t checksum_of_entry(const Delta *delta, uint32_t entry)
{
    const DeltaEntry *of = &delta->entries[entry];
    RecordKey key = delta_key(delta, entry);
    uint32_t running = crc32c_feed(CRC32C_START, (const unsigned char *)&of->supersedes,
                                   offsetof(DeltaEntry, checksum) - offsetof(DeltaEntry, supersedes));

    running = crc32c_feed(running, delta->records + (size_t)entry * delta->stride, delta->stride);
    for (uint32_t i = 0; i < delta->nodes_per_entry; i++)
        running = crc32c_feed(running, (const unsigned char *)&delta->nodes[entry * delta->nodes_per_entry + i].tag,
                              sizeof(uint32_t));
    return crc32c_finish(key.size == 0 ? running : crc32c_feed(running, key.data, key.size));
}

/* Begin an entry: its number and its key. Returns NO_SLOT when there is no room. */
static uint32_t reserve(Delta *delta, RecordKey key, uint32_t superseded, EntryKind kind)
{
    DeltaHeader *header = delta->header;
    uint64_t number = header->reserved;

    if (number >= delta->capacity || header->heap_used > delta->heap_bytes || key.size > delta->heap_bytes - header->heap_used)
        return NO_SLOT;
    DeltaEntry *entry = &delta->entries[number];
    *entry = (DeltaEntry){.supersedes = superseded == NO_SLOT ? 0 : superseded + 1, .key_at = header->heap_used,
                          .key_bytes = (uint32_t)key.size, .kind = kind};
    memcpy(delta->heap + header->heap_used, key.data, key.size);
    header->heap_used += key.size;
    atomic64_store(&header->reserved, number + 1);
    return (uint32_t)number;
}

static void finish(Delta *delta, uint32_t entry, uint32_t superseded)
{
    delta->entries[entry].checksum = checksum_of_entry(delta, entry);
    link_entry(delta, entry);
    if (superseded != NO_SLOT)
        mark_dead(delta, superseded, entry);
}

DeltaStatus delta_put(Delta *delta, const unsigned char *record, const uint64_t *keys, RecordKey key, uint32_t superseded)
{
    uint32_t entry = reserve(delta, key, superseded, ENTRY_RECORD);

    if (entry == NO_SLOT)
        return DELTA_FULL;
    DeltaNode *nodes = &delta->nodes[entry * delta->nodes_per_entry];
    memcpy(delta->records + (size_t)entry * delta->stride, record, delta->stride);
    for (uint32_t i = 0; i + 1 < delta->nodes_per_entry; i++)
        nodes[i] = (DeltaNode){0, delta_tag(keys[i])};
    nodes[delta->nodes_per_entry - 1] = (DeltaNode){0, delta_tag(record_key_hash(key))};
    finish(delta, entry, superseded);
    return DELTA_OK;
}

DeltaStatus delta_remove(Delta *delta, RecordKey key, uint32_t superseded)
{
    uint32_t entry = reserve(delta, key, superseded, ENTRY_REMOVAL);

    if (entry == NO_SLOT)
        return DELTA_FULL;
    memset(delta->records + (size_t)entry * delta->stride, 0, delta->stride);
    memset(&delta->nodes[entry * delta->nodes_per_entry], 0, delta->nodes_per_entry * sizeof(DeltaNode));
    delta->entries[entry].died = 1; /* it is no record */
    finish(delta, entry, superseded);
    return DELTA_OK;
}

void delta_publish(Delta *delta) { atomic64_store(&delta->header->visible, delta->header->reserved); }

/* --- after a writer or the machine has died ------------------------------------------------------------------------------ */

static void make_void(Delta *delta, uint32_t number)
{
    DeltaEntry *entry = &delta->entries[number];
    uint32_t *death = entry->supersedes == 0 ? NULL : death_of(delta, entry->supersedes - 1);

    if (death != NULL && *death == number + 1)
        word32_store(death, 0);
    entry->kind = ENTRY_VOID;
    word32_store(&entry->died, 1);
}

DeltaStatus delta_mend(Delta *delta, uint64_t known)
{
    uint64_t reserved = delta->header->reserved;

    if (reserved < known || reserved > delta->capacity)
        return DELTA_OF_ANOTHER;
    for (uint64_t number = known; number < delta->header->visible && number < reserved; number++)
        if (delta->entries[number].kind != ENTRY_VOID)
            return DELTA_OF_ANOTHER;
    for (uint64_t number = reserved; number-- > known;) /* the newest first: it may have taken the place of an older one */
        make_void(delta, (uint32_t)number);
    delta_publish(delta);
    return DELTA_OK;
}

static int is_whole(const Delta *delta, uint32_t entry)
{
    return delta->entries[entry].kind <= ENTRY_REMOVAL && delta->entries[entry].checksum == checksum_of_entry(delta, entry);
}

static void revive(Delta *delta, uint32_t number)
{
    DeltaEntry *entry = &delta->entries[number];
    uint64_t end = entry->key_at + entry->key_bytes;

    entry->died = entry->kind != ENTRY_RECORD;
    link_entry(delta, number);
    if (entry->supersedes != 0)
        mark_dead(delta, entry->supersedes - 1, number);
    if (end <= delta->heap_bytes && end > delta->header->heap_used)
        delta->header->heap_used = end;
}

DeltaStatus delta_relink(Delta *delta, uint64_t known, const unsigned char *boot)
{
    DeltaHeader *header = delta->header;

    if (known > delta->capacity)
        return DELTA_OF_ANOTHER;
    for (uint32_t number = 0; number < known; number++)
        if (delta->entries[number].kind != ENTRY_VOID && !is_whole(delta, number))
            return DELTA_DAMAGED;
    memset(delta->dead_bits, 0, ((size_t)delta->rows + 63) / 64 * sizeof *delta->dead_bits);
    memset(delta->died, 0, (size_t)delta->rows * sizeof *delta->died);
    memset(delta->heads, 0, ((size_t)1 << delta->head_bits) * sizeof *delta->heads);
    header->heap_used = 0;
    for (uint32_t number = 0; number < known; number++)
        if (delta->entries[number].kind == ENTRY_VOID)
            delta->entries[number].died = 1;
        else
            revive(delta, number);
    atomic64_store(&header->reserved, known);
    atomic64_store(&header->visible, known);
    memcpy(header->boot, boot, sizeof header->boot);
    return DELTA_OK;
}
