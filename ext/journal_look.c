/* What a writer tells of itself: see `journal_writer.h`, and in a file beside its segments how many batches are durable. What must
 * not go in here: writing segments. */
#include "journal_private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomic64.h"
#include "crc32c.h"

enum { TOLD_BYTES = 8 };

int journal_told_open(const JournalStream *stream)
{
    return openat(stream->directory, "durable", O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
}

/* Never synced, and an error is none: it is read through the page cache, outlives this process there, and whoever finds an older
 * number or none after a power cut is certain of less, not of more. */
void journal_tell(const Journal *journal, uint64_t batches)
{
    unsigned char told[TOLD_BYTES + 4];

    journal_put_u64(told, batches);
    journal_put_u32(told + TOLD_BYTES, crc32c_finish(crc32c_feed(CRC32C_START, told, TOLD_BYTES)));
    while (journal->told >= 0 && pwrite(journal->told, told, sizeof told, 0) < 0 && errno == EINTR) {
    }
}

uint64_t journal_durable(const Journal *journal) { return atomic64_load(&journal->durable); }

JournalState journal_state(const Journal *journal) { return (JournalState)atomic64_load(&journal->state); }

int journal_event(const Journal *journal) { return journal->event; }

void journal_set_snapshot(Journal *journal, uint64_t version) { atomic64_store(&journal->snapshot, version); }

void journal_look(Journal *journal, JournalFacts *facts)
{
    pthread_mutex_lock(&journal->lock);
    *facts = journal->facts;
    facts->queued = journal->queue.records;
    facts->queued_bytes = journal->queue.bytes;
    pthread_mutex_unlock(&journal->lock);
}

void journal_head(Journal *journal, JournalHead *head)
{
    pthread_mutex_lock(&journal->lock);
    *head = journal->head;
    pthread_mutex_unlock(&journal->lock);
}
