/* Segments of an audit stream: see `journal_segment.h`. What must not go in here: records, threads, what follows an error. */
#define _GNU_SOURCE /* renameat2, fallocate */
#include "journal_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "crc32c.h"

enum { NAME_BYTES = 64, PIECE = 1 << 18, AHEAD = 1 << 20, TREE_HEADER = 24, HEADER_HASHED = 252, BEGINS = 0x03 };

static const unsigned char zeros[PIECE];

void journal_put_u16(unsigned char *at, uint16_t value)
{
    at[0] = (unsigned char)(value >> 8);
    at[1] = (unsigned char)value;
}

void journal_put_u32(unsigned char *at, uint32_t value)
{
    journal_put_u16(at, (uint16_t)(value >> 16));
    journal_put_u16(at + 2, (uint16_t)value);
}

void journal_put_u64(unsigned char *at, uint64_t value)
{
    journal_put_u32(at, (uint32_t)(value >> 32));
    journal_put_u32(at + 4, (uint32_t)value);
}

uint64_t journal_clock_ns(int clock)
{
    struct timespec now;

    if (clock_gettime(clock, &now) != 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint32_t checksum_of(const void *data, size_t size)
{
    return crc32c_finish(crc32c_feed(CRC32C_START, data, size));
}

/* --- writing where it belongs -------------------------------------------------------------------------------------------- */

/* Short writes and interruptions go on; anything else, and a write of nothing, is an error. */
static int write_at(int file, const void *data, uint64_t size, uint64_t at)
{
    const unsigned char *from = data;

    while (size != 0) {
        ssize_t done = pwrite(file, from, size, (off_t)at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? errno : EIO;
        from += done;
        at += (uint64_t)done;
        size -= (uint64_t)done;
    }
    return 0;
}

static int sync_file(int file) { return fdatasync(file) == 0 ? 0 : errno; }

/* Reserve room for so many bytes, by whole steps. */
static int reserve(JournalSegment *segment, const JournalStream *stream, uint64_t until)
{
    while (segment->reserved < until) {
        int error = posix_fallocate(segment->file, (off_t)segment->reserved, (off_t)stream->step_bytes);
        if (error == EINTR)
            continue;
        if (error != 0)
            return error;
        segment->reserved += stream->step_bytes;
    }
    return 0;
}

int journal_segment_prepare(JournalSegment *segment)
{
    uint64_t until = segment->end + AHEAD < segment->reserved ? segment->end + AHEAD : segment->reserved;
    int error = 0;

    if (segment->zeroed >= segment->end + AHEAD / 2) /* by halves, not by every batch */
        return 0;
    while (segment->zeroed < until && error == 0) {
        uint64_t size = until - segment->zeroed < PIECE ? until - segment->zeroed : PIECE;
        error = write_at(segment->file, zeros, size, segment->zeroed);
        segment->zeroed += error == 0 ? size : 0;
    }
    return error;
}

/* --- making one ---------------------------------------------------------------------------------------------------------- */

static int create(const JournalStream *stream, const char *name)
{
    if (unlinkat(stream->directory, name, 0) != 0 && errno != ENOENT)
        return -1;
    return openat(stream->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
}

/* A small file that is whole or not there: written and synced under another name. */
static int write_tree(const JournalStream *stream, const JournalBegin *begin, const MerkleTree *tree)
{
    unsigned char image[TREE_HEADER + MERKLE_DEEPEST * MERKLE_BYTES + 4] = "BRTREES1";
    char made[NAME_BYTES], name[NAME_BYTES];
    size_t size = TREE_HEADER;
    unsigned level;
    int file, error;

    snprintf(name, sizeof name, "%020llu.tree", (unsigned long long)begin->number);
    snprintf(made, sizeof made, "%020llu.tree.new", (unsigned long long)begin->number);
    journal_put_u16(image + 8, (uint16_t)stream->algorithm);
    journal_put_u64(image + 16, tree->size);
    for (level = MERKLE_DEEPEST; level-- != 0;)
        if (tree->size >> level & 1) {
            memcpy(image + size, tree->whole[level], MERKLE_BYTES);
            size += MERKLE_BYTES;
        }
    journal_put_u32(image + size, checksum_of(image, size));
    if ((file = create(stream, made)) < 0)
        return errno;
    error = write_at(file, image, size + 4, 0);
    error = error != 0 ? error : sync_file(file);
    close(file);
    return error != 0 || renameat(stream->directory, made, stream->directory, name) == 0 ? error : errno;
}

static void write_header(unsigned char *header, const JournalStream *stream, const JournalBegin *begin, uint64_t wall_ns)
{
    memset(header, 0, JOURNAL_SEGMENT_HEADER);
    memcpy(header, "BRAUDIT1", 8);
    journal_put_u16(header + 8, (uint16_t)stream->algorithm);
    journal_put_u16(header + 10, (uint16_t)begin->why);
    journal_put_u64(header + 16, begin->number);
    journal_put_u64(header + 24, begin->batch);
    journal_put_u64(header + 32, begin->sequence);
    journal_put_u64(header + 40, wall_ns);
    memcpy(header + 48, stream->boot, JOURNAL_ID);
    memcpy(header + 64, begin->chain, MERKLE_BYTES);
    memcpy(header + 96, stream->name, JOURNAL_STREAM_NAME);
    journal_put_u64(header + 128, begin->valid);
    journal_put_u64(header + 136, begin->left);
    memcpy(header + 144, stream->key, JOURNAL_ID);
    journal_put_u32(header + HEADER_HASHED, checksum_of(header, HEADER_HASHED));
}

static int fill(JournalSegment *segment, const JournalStream *stream, const JournalBegin *begin, MerkleHash *hash,
                uint64_t wall_ns)
{
    unsigned char header[JOURNAL_SEGMENT_HEADER];
    int error = reserve(segment, stream, JOURNAL_SEGMENT_HEADER);

    write_header(header, stream, begin, wall_ns);
    if (merkle_prefixed(hash, BEGINS, header, HEADER_HASHED, segment->chain) != MERKLE_OK)
        return EBADMSG;
    error = error != 0 ? error : write_at(segment->file, header, sizeof header, 0);
    segment->end = segment->written = segment->zeroed = JOURNAL_SEGMENT_HEADER;
    error = error != 0 ? error : journal_segment_prepare(segment);
    return error != 0 ? error : sync_file(segment->file);
}

/* The new name, and the folder in which it stands, reach the disk before anything is written that is promised to be there. No
 * segment is ever put in the place of another. */
static int give_name(const JournalStream *stream, const char *made, const char *name)
{
    int error;

    if (renameat2(stream->directory, made, stream->directory, name, RENAME_NOREPLACE) != 0)
        return errno;
    if (fsync(stream->directory) == 0)
        return 0;
    error = errno;
    unlinkat(stream->directory, name, 0); /* it holds no batch, and the next try makes it anew */
    return error;
}

int journal_segment_begin(JournalSegment *segment, const JournalStream *stream, const JournalBegin *begin,
                          const MerkleTree *tree, MerkleHash *hash, uint64_t wall_ns)
{
    char made[NAME_BYTES], name[NAME_BYTES];
    int error = write_tree(stream, begin, tree);

    if (error != 0)
        return error;
    snprintf(name, sizeof name, "%020llu.audit", (unsigned long long)begin->number);
    snprintf(made, sizeof made, "%020llu.audit.new", (unsigned long long)begin->number);
    segment->reserved = segment->written = 0;
    segment->file = create(stream, made);
    if (segment->file < 0)
        return errno;
    error = fill(segment, stream, begin, hash, wall_ns);
    error = error != 0 ? error : give_name(stream, made, name);
    if (error != 0) {
        journal_segment_leave(segment);
        unlinkat(stream->directory, made, 0); /* others may be waiting for its room */
    }
    return error;
}

/* --- appending and leaving ----------------------------------------------------------------------------------------------- */

int journal_segment_append(JournalSegment *segment, const JournalStream *stream, const void *batch, uint64_t size,
                           uint64_t *sync_ns)
{
    int error = reserve(segment, stream, segment->end + size);
    uint64_t before;

    if (error != 0)
        return error;
    segment->written = segment->end + size;
    if ((error = write_at(segment->file, batch, size, segment->end)) != 0)
        return error;
    before = journal_clock_ns(CLOCK_MONOTONIC);
    if ((error = sync_file(segment->file)) != 0)
        return error;
    *sync_ns = journal_clock_ns(CLOCK_MONOTONIC) - before;
    segment->end = segment->written;
    segment->zeroed = segment->zeroed < segment->end ? segment->end : segment->zeroed;
    return 0;
}

/* A hole, not a shorter file: others may have it mapped. */
static void give_back(const JournalSegment *segment)
{
    off_t from = (off_t)segment->written, room = (off_t)(segment->reserved - segment->written);

    if (room > 0 && fallocate(segment->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, room) != 0) {
        /* the room stays taken until the segment is archived */
    }
}

void journal_segment_leave(JournalSegment *segment)
{
    if (segment->file < 0)
        return;
    give_back(segment);
    close(segment->file);
    segment->file = -1;
}
