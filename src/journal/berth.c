/* SPDX-License-Identifier: MIT */
/* Berths of a journal: made, and gathered. Moving is renaming on one disk: a file is in one place or the
 * other, and who dies in the middle is no worse than before. Touches nothing that another process has
 * locked. */
#include "journal/berth.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define IDENTITY_BYTES_MAX 256u

bool ek_journal_is_berth(const char *name)
{
    return strncmp(name, "berth", 5) == 0 && name[5] >= '1' && name[5] < '0' + (char)EK_JOURNAL_BERTHS &&
           !name[6];
}

/* ---- making one ---------------------------------------------------------------------------------------- */

static ssize_t read_small(int dir, const char *name, char out[IDENTITY_BYTES_MAX])
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t n = fd >= 0 ? read(fd, out, IDENTITY_BYTES_MAX) : -1;
    if (fd >= 0) close(fd);
    return n;
}

/* 0, or errno. */
static int copy_identity(int from, int to)
{
    char first[IDENTITY_BYTES_MAX], second[IDENTITY_BYTES_MAX];
    ssize_t n = read_small(from, "identity", first);
    if (n <= 0) return n < 0 ? errno : EINVAL;
    if (read_small(to, "identity", second) == n && memcmp(first, second, (size_t)n) == 0) return 0;
    int fd = openat(to, "identity.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return errno;
    int error = write(fd, first, (size_t)n) == n && fsync(fd) == 0 ? 0 : errno ? errno : EIO;
    close(fd);
    if (!error && renameat(to, "identity.new", to, "identity") != 0) error = errno;
    if (!error && fsync(to) != 0) error = errno;
    return error;
}

static int open_dir(int at, const char *name)
{
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

bool ek_journal_berth(const char *dir, uint32_t berth, char *out, size_t cap, char *why, size_t why_cap)
{
    char name[8];
    MUST(berth < EK_JOURNAL_BERTHS);
    snprintf(name, sizeof name, "berth%u", berth);
    int n = berth ? snprintf(out, cap, "%s/%s", dir, name) : snprintf(out, cap, "%s", dir);
    if (n < 0 || (size_t)n >= cap) {
        snprintf(why, why_cap, "the journal's path is too long");
        return false;
    }
    if (!berth) return true;
    int first = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = first < 0 ? errno : 0;
    if (!error && mkdirat(first, name, 0700) != 0 && errno != EEXIST) error = errno;
    int own = error ? -1 : open_dir(first, name);
    if (!error) error = own < 0 ? errno : copy_identity(first, own);
    if (own >= 0) close(own);
    if (first >= 0) close(first);
    if (error) snprintf(why, why_cap, "no journal for a second process can be made in %.200s: %s", out,
                        strerror(error));
    return !error;
}

/* ---- gathering them ------------------------------------------------------------------------------------ */

/* A file of records; 0: it is none. */
static uint64_t number_of(const char *name)
{
    char again[40];
    char *end;
    uint64_t number = strtoull(name, &end, 16);
    snprintf(again, sizeof again, "%016" PRIx64 ".journal", number);
    return strcmp(again, name) == 0 ? number : 0;
}

static uint64_t last_number(int dir)
{
    struct dirent **entry = NULL;
    uint64_t last = 0;
    int count = scandirat(dir, ".", &entry, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        uint64_t number = number_of(entry[i]->d_name);
        if (number > last) last = number;
        free(entry[i]);
    }
    free(entry);
    return last;
}

static bool is_tape(const char *name)
{
    size_t len = strlen(name);
    return len > 5 && strcmp(name + len - 5, ".tape") == 0;
}

/* Returns how many files were moved. */
static uint32_t move_tapes(int from, int to)
{
    struct dirent **entry = NULL;
    uint32_t moved = 0;
    int source = open_dir(from, "streams");
    if (source < 0) return 0;
    (void)mkdirat(to, "streams", 0700);
    int target = open_dir(to, "streams");
    int count = target >= 0 ? scandirat(source, ".", &entry, NULL, alphasort) : 0;
    for (int i = 0; i < count; i++) {
        const char *name = entry[i]->d_name;
        if (is_tape(name)) moved += renameat2(source, name, target, name, RENAME_NOREPLACE) == 0;
        free(entry[i]);
    }
    free(entry);
    if (moved) (void)fsync(target);
    if (target >= 0) close(target);
    close(source);
    (void)unlinkat(from, "streams", AT_REMOVEDIR);
    return moved;
}

static uint32_t move_records(int from, int to)
{
    struct dirent **entry = NULL;
    uint32_t moved = 0;
    uint64_t last = last_number(to);
    int count = scandirat(from, ".", &entry, NULL, alphasort); /* in their order */
    for (int i = 0; i < count; i++) {
        char name[40];
        if (number_of(entry[i]->d_name)) {
            snprintf(name, sizeof name, "%016" PRIx64 ".journal", ++last);
            moved += renameat2(from, entry[i]->d_name, to, name, RENAME_NOREPLACE) == 0;
        }
        free(entry[i]);
    }
    free(entry);
    if (moved) (void)fsync(to);
    return moved;
}

/* -1: somebody is there, or it cannot be had. */
static int lock(int dir)
{
    int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

static uint32_t gather_one(int first, const char *name)
{
    char mine[IDENTITY_BYTES_MAX], other[IDENTITY_BYTES_MAX];
    int dir = open_dir(first, name);
    if (dir < 0) return 0;
    uint32_t moved = 0;
    int locked = lock(dir);
    ssize_t n = read_small(first, "identity", mine);
    if (locked >= 0) {
        bool same = n > 0 && read_small(dir, "identity", other) == n && memcmp(mine, other, (size_t)n) == 0;
        if (same) moved = move_records(dir, first) + move_tapes(dir, first);
        if (same) (void)unlinkat(dir, "identity", 0);
        if (same) (void)unlinkat(dir, "lock", 0);
        close(locked);
    }
    close(dir);
    (void)unlinkat(first, name, AT_REMOVEDIR); /* fails when it is not empty, and that is meant */
    return moved;
}

void ek_journal_gather(const char *dir, struct ek_log *log)
{
    uint32_t moved = 0;
    int first = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char identity[IDENTITY_BYTES_MAX];
    bool journal = first >= 0 && read_small(first, "identity", identity) > 0;
    int locked = journal ? lock(first) : -1;
    for (uint32_t b = 1; locked >= 0 && b < EK_JOURNAL_BERTHS; b++) {
        char name[8];
        snprintf(name, sizeof name, "berth%u", b);
        moved += gather_one(first, name);
    }
    if (locked >= 0) close(locked);
    if (first >= 0) close(first);
    if (moved) ek_info(log, "the journal in %s: %u files that other processes have left were taken in", dir,
                       moved);
}
