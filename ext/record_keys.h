/* The keys of records in the order of their bytes: of each slot its key, and of a key its slot by bisection.
 *
 * Eight bytes a record: a key of 18 bytes of which each is a digit or X (a resident id) is a number in base 11, whose order is
 * that of the bytes; any other key is an offset into a heap, where its length (4 bytes) and its bytes stand. What is read may be
 * damaged: a word that leads outside the heap is of no key. What must not go in here: what a key means, and how it is stored.
 */
#ifndef BROKER_RECORD_KEYS_H
#define BROKER_RECORD_KEYS_H

#include <stddef.h>
#include <stdint.h>

#define RECORD_KEY_MOST 511u /* bytes of a key */
#define NO_SLOT UINT32_MAX

typedef struct {
    const uint64_t *words; /* one a slot, in order of the keys */
    uint32_t count;
    const unsigned char *heap;
    uint64_t heap_bytes;
} RecordKeys;

typedef struct {
    const unsigned char *data;
    size_t size;
} RecordKey;

/* The word of a key that needs no heap; 0 for one that does (no key is of 18 zeros: that is one which needs the heap). */
uint64_t record_key_number(RecordKey key);

/* The word of a key whose length and bytes stand at `at` in the heap. */
uint64_t record_key_in_heap(uint64_t at);

/* What a key takes in the heap: its length and its bytes, up to a multiple of 8. */
size_t record_key_heap_bytes(size_t size);

/* Write a key into the heap, of which there is room for `record_key_heap_bytes`. */
void record_key_store(unsigned char *heap, RecordKey key);

/* The key of a slot, in `room` of RECORD_KEY_MOST bytes; returns its size, 0 if there is no such slot or it is damaged. */
size_t record_key_of(const RecordKeys *keys, uint32_t slot, unsigned char *room);

/* The slot of a key, or NO_SLOT. */
uint32_t record_key_slot(const RecordKeys *keys, RecordKey key);

/* A hash of a key, well mixed; never 0. */
uint64_t record_key_hash(RecordKey key);

#endif
