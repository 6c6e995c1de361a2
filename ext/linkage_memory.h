/* Memory for tables that are read at random: on huge pages where the system gives them, which saves most of the walks through
 * page tables.
 *
 * What must not go in here: growing, sharing, files.
 */
#ifndef BROKER_LINKAGE_MEMORY_H
#define BROKER_LINKAGE_MEMORY_H

#include <stdlib.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)1 << 21)

/* To be given back by `free`. NULL without memory; what is in it does not matter to the caller. */
static inline void *table_memory(size_t size)
{
    if (size < 2 * HUGE_PAGE)
        return malloc(size == 0 ? 1 : size);
    void *memory = aligned_alloc(HUGE_PAGE, (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    if (memory != NULL)
        (void)madvise(memory, size, MADV_HUGEPAGE); /* a wish: without it everything works, slower */
    return memory;
}

#endif
