/* Words of 64 bits in memory that several processes share. GCC's builtins, because C11's _Atomic is a type of its own. */
#ifndef BROKER_ATOMIC64_H
#define BROKER_ATOMIC64_H

#include <stdint.h>

static inline uint64_t atomic64_load(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

static inline void atomic64_store(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

/* Whether the word was `expected` and is `wanted` now. */
static inline int atomic64_swap(uint64_t *word, uint64_t expected, uint64_t wanted)
{
    return __atomic_compare_exchange_n(word, &expected, wanted, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

#endif
