/* Keys of records as words of 64 bits, and bisection among them: see `record_keys.h`. What must not go in here: mapped files. */
#include "record_keys.h"

#include <string.h>

#define DIGITS 18u
#define BASE 11u
#define IN_HEAP 0x8000000000000000u
#define ALIGNED 8u

/* 11^18 < 2^63: the highest bit is free for keys in the heap. */
static int is_number(RecordKey key)
{
    int is_zero = 1;

    if (key.size != DIGITS)
        return 0;
    for (size_t i = 0; i < DIGITS; i++) {
        if ((key.data[i] < '0' || key.data[i] > '9') && key.data[i] != 'X')
            return 0;
        is_zero &= key.data[i] == '0';
    }
    return !is_zero;
}

uint64_t record_key_number(RecordKey key)
{
    uint64_t number = 0;

    if (!is_number(key))
        return 0;
    for (size_t i = 0; i < DIGITS; i++)
        number = number * BASE + (key.data[i] == 'X' ? 10u : (uint64_t)(key.data[i] - '0'));
    return number;
}

uint64_t record_key_in_heap(uint64_t at) { return IN_HEAP | at; }

size_t record_key_heap_bytes(size_t size) { return (sizeof(uint32_t) + size + ALIGNED - 1) / ALIGNED * ALIGNED; }

void record_key_store(unsigned char *heap, RecordKey key)
{
    uint32_t size = (uint32_t)key.size;

    memset(heap, 0, record_key_heap_bytes(key.size));
    memcpy(heap, &size, sizeof size);
    memcpy(heap + sizeof size, key.data, key.size);
}

static size_t write_digits(uint64_t number, unsigned char *room)
{
    for (size_t i = DIGITS; i-- > 0; number /= BASE)
        room[i] = (unsigned char)("0123456789X"[number % BASE]);
    return DIGITS;
}

static RecordKey in_heap(const RecordKeys *keys, uint64_t at)
{
    uint32_t size;

    if (keys->heap_bytes < sizeof size || at > keys->heap_bytes - sizeof size)
        return (RecordKey){NULL, 0};
    memcpy(&size, keys->heap + at, sizeof size);
    if (size > RECORD_KEY_MOST || size > keys->heap_bytes - sizeof size - at)
        return (RecordKey){NULL, 0};
    return (RecordKey){keys->heap + at + sizeof size, size};
}

/* The key that a word stands for; its bytes are in the heap, or in `room`. */
static RecordKey key_of_word(const RecordKeys *keys, uint64_t word, unsigned char *room)
{
    if (word & IN_HEAP)
        return in_heap(keys, word & ~IN_HEAP);
    return (RecordKey){room, write_digits(word, room)};
}

size_t record_key_of(const RecordKeys *keys, uint32_t slot, unsigned char *room)
{
    if (slot >= keys->count)
        return 0;
    RecordKey key = key_of_word(keys, keys->words[slot], room);
    if (key.size != 0 && key.data != room)
        memcpy(room, key.data, key.size);
    return key.size;
}

static int order_of_keys(RecordKey a, RecordKey b)
{
    size_t both = a.size < b.size ? a.size : b.size;
    int order = both == 0 ? 0 : memcmp(a.data, b.data, both);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* How a word compares with a key, whose own word is `number` if it needs no heap. */
static int order_of_word(const RecordKeys *keys, uint64_t word, RecordKey key, uint64_t number)
{
    unsigned char room[DIGITS];

    if (number != 0 && !(word & IN_HEAP))
        return (word > number) - (word < number);
    return order_of_keys(key_of_word(keys, word, room), key);
}

uint32_t record_key_slot(const RecordKeys *keys, RecordKey key)
{
    uint64_t number = record_key_number(key);
    uint32_t from = 0, to = keys->count;

    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        int order = order_of_word(keys, keys->words[middle], key, number);
        if (order == 0)
            return middle;
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NO_SLOT;
}

/* The finaliser of SplitMix64 (Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195). */
static uint64_t mixed(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

uint64_t record_key_hash(RecordKey key)
{
    uint64_t hash = 0x9E3779B97F4A7C15u + key.size;

    for (size_t at = 0; at < key.size; at += sizeof hash) {
        uint64_t word = 0;
        memcpy(&word, key.data + at, key.size - at < sizeof word ? key.size - at : sizeof word);
        hash = mixed(hash ^ word) + 0x9E3779B97F4A7C15u;
    }
    hash = mixed(hash);
    return hash == 0 ? 1 : hash;
}
