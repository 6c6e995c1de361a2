/* Put before libc by LD_PRELOAD: a disk that fails as it is told to, and a trace of what reached it. For tests only.
 *
 * `disk_fault(call, skip, count, error, delay_us)` lets the call fail from now on, `count` times after `skip` that do not; the error
 * -1 is a short write. A file that failed to be written or synced is remembered until its descriptor is another's, and whoever
 * writes or syncs by it again is counted: that is what must never happen. (A folder may be synced again: what was done in it is
 * done anew.) With DISK_CONTROL=FILE the faults are those in that file, which another process writes (disk_faults.py), and are of
 * files only in whose path its text is found. With DISK_TRACE=FILE every change is written there, in
 * order, once it has returned: see disk_faults.py. With DISK_LIES=1 nothing is ever synced, and nobody is told.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PWRITE, FDATASYNC, FALLOCATE, FSYNC, CALLS, MOST_FILES = 1024, WHERE = 64 };

typedef struct {
    int skip, count, error, delay_us;
} Fault;

typedef struct {
    Fault faults[CALLS];
    char where[WHERE]; /* ends with a zero; none: everywhere */
} Control;

static Control own, *control = &own;
static unsigned char has_failed[MOST_FILES];
static int touched, trace = -2;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void disk_fault(int call, int skip, int count, int error, int delay_us)
{
    pthread_mutex_lock(&lock);
    own.faults[call] = (Fault){skip, count, error, delay_us};
    pthread_mutex_unlock(&lock);
}

int disk_touched(void) { return touched; }

/* --- the trace: 'kind', descriptor, offset, size, then so many bytes ------------------------------------------------------------ */

typedef struct {
    char kind;
    int32_t file;
    uint64_t at, size;
} __attribute__((packed)) Event;

static void tell(char kind, int file, uint64_t at, const void *data, uint64_t size)
{
    Event event = {kind, file, at, size};
    const char *name;

    pthread_mutex_lock(&lock);
    if (trace == -2)
        trace = (name = getenv("DISK_TRACE")) == NULL ? -1 : open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace >= 0 && (write(trace, &event, sizeof event) != sizeof event || (size && write(trace, data, size) != (ssize_t)size)))
        abort();
    pthread_mutex_unlock(&lock);
}

/* Called by who was told that all records below a sequence are durable. */
void disk_acknowledged(uint64_t sequence) { tell('A', 0, sequence, NULL, 0); }

/* --- faults ------------------------------------------------------------------------------------------------------------------- */

__attribute__((constructor)) static void open_control(void)
{
    const char *name = getenv("DISK_CONTROL");
    void *mapped;
    int file;

    if (name == NULL)
        return;
    if ((file = open(name, O_RDWR | O_CLOEXEC)) < 0)
        abort();
    if ((mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)) == MAP_FAILED)
        abort();
    control = mapped;
    close(file);
}

static int is_meant(int file)
{
    char link[64], path[4096];
    ssize_t size;

    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    if ((size = readlink(link, path, sizeof path - 1)) < 0)
        return 0;
    path[size] = 0;
    return strstr(path, control->where) != NULL && strstr(path, "/durable") == NULL; /* which is no more than advice */
}

/* Returns the error that a call is to fail with; 0: none. */
static int fails(int call, int file)
{
    Fault *faults = control->faults;
    int error = 0, delay_us;

    if (!is_meant(file))
        return 0;
    pthread_mutex_lock(&lock);
    if (file >= 0 && file < MOST_FILES && has_failed[file])
        touched++;
    delay_us = faults[call].delay_us;
    if (faults[call].count != 0 && faults[call].skip-- <= 0) {
        faults[call].count--;
        error = faults[call].error;
    }
    if (error > 0 && error != EINTR && call <= FDATASYNC && file >= 0 && file < MOST_FILES)
        has_failed[file] = 1;
    pthread_mutex_unlock(&lock);
    if (delay_us != 0)
        usleep((useconds_t)delay_us);
    return error;
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at)
{
    int error = fails(PWRITE, file);
    ssize_t done;

    if (error > 0) {
        errno = error;
        return -1;
    }
    done = syscall(SYS_pwrite64, file, data, error < 0 ? (size + 1) / 2 : size, at);
    if (done > 0)
        tell('W', file, (uint64_t)at, data, (uint64_t)done);
    return done;
}

ssize_t pwrite64(int file, const void *data, size_t size, off_t at) { return pwrite(file, data, size, at); }

static int sync_by(int call, long number, int file)
{
    int error = fails(call, file);

    if (error != 0) {
        errno = error;
        return -1;
    }
    if (getenv("DISK_LIES") == NULL && syscall(number, file) != 0)
        return -1;
    tell('S', file, 0, NULL, 0);
    return 0;
}

int fdatasync(int file) { return sync_by(FDATASYNC, SYS_fdatasync, file); }

int fsync(int file) { return sync_by(FSYNC, SYS_fsync, file); }

int posix_fallocate(int file, off_t at, off_t size)
{
    int error = fails(FALLOCATE, file);

    if (error != 0)
        return error;
    return syscall(SYS_fallocate, file, 0, at, size) == 0 ? 0 : errno;
}

int posix_fallocate64(int file, off_t at, off_t size) { return posix_fallocate(file, at, size); }

/* --- names -------------------------------------------------------------------------------------------------------------------- */

int openat(int directory, const char *name, int flags, ...)
{
    va_list more;
    int file;

    va_start(more, flags);
    file = (int)syscall(SYS_openat, directory, name, flags, va_arg(more, int));
    va_end(more);
    if (file >= 0 && file < MOST_FILES)
        has_failed[file] = 0;
    if (file >= 0 && flags & O_CREAT)
        tell('O', file, (uint64_t)directory, name, strlen(name));
    return file;
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    char both[512];
    size_t size = strlen(old) + 1 + strlen(new);

    if (syscall(SYS_renameat2, from, old, to, new, flags) != 0)
        return -1;
    if (size < sizeof both) {
        memcpy(both, old, strlen(old) + 1);
        memcpy(both + strlen(old) + 1, new, strlen(new));
        tell('R', from, 0, both, size);
    }
    return 0;
}

int renameat(int from, const char *old, int to, const char *new) { return renameat2(from, old, to, new, 0); }

int unlinkat(int directory, const char *name, int flags)
{
    if (syscall(SYS_unlinkat, directory, name, flags) != 0)
        return -1;
    tell('U', directory, 0, name, strlen(name));
    return 0;
}
