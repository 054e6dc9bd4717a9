/* SPDX-License-Identifier: MIT */
/*      | head 32 bytes: magic, version, record size | checksum, record | checksum, record | torn... */
#include "ledger/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define SPOOL_MAGIC 0x5b001u
#define FIRST_WORD UINT64_C(0x31306c6f6f70736b) /* "kspool01" where the lowest byte comes first */

struct head {
    uint64_t word, record_bytes, spare[2];
};

struct slot {
    uint64_t sum; /* XXH3 of the record, seeded with its number: a slot copied elsewhere does not pass */
    struct ek_settle_record record;
};

_Static_assert(sizeof(struct ek_settle_record) == 8 * 16 + EK_LEDGER_MODEL_MAX + EK_LEDGER_ENDING_MAX,
               "no padding: every byte of a slot is written");

struct ek_spool {
    uint32_t magic;
    int fd;
    uint64_t count, slots_max, cut_bytes;
};

static uint64_t sum_of(const struct ek_settle_record *r, uint64_t number)
{
    return XXH3_64bits_withSeed(r, sizeof *r, number + 1);
}

static off_t place_of(uint64_t number)
{
    return (off_t)(sizeof(struct head) + number * sizeof(struct slot));
}

static bool write_all(int fd, const void *data, size_t len, off_t at)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

/* A new file is only there for good when its folder is on the disk too. */
static bool sync_folder(const char *path)
{
    char copy[4096];
    if (strlen(path) >= sizeof copy) return false;
    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = fsync(fd) == 0;
    close(fd);
    return good;
}

static bool begin(struct ek_spool *s, const char *path)
{
    struct head h = {.word = FIRST_WORD, .record_bytes = sizeof(struct slot)};
    return ftruncate(s->fd, 0) == 0 && write_all(s->fd, &h, sizeof h, 0) && fsync(s->fd) == 0 &&
           sync_folder(path);
}

/* Count the good slots from the front; what follows the last of them is cut off. */
static bool scan(struct ek_spool *s, uint64_t bytes)
{
    struct slot slot;
    while (pread(s->fd, &slot, sizeof slot, place_of(s->count)) == (ssize_t)sizeof slot &&
           slot.sum == sum_of(&slot.record, s->count))
        s->count++;
    uint64_t good = (uint64_t)place_of(s->count);
    s->cut_bytes = bytes > good ? bytes - good : 0;
    return s->cut_bytes == 0 || (ftruncate(s->fd, (off_t)good) == 0 && fsync(s->fd) == 0);
}

static const char *prepare(struct ek_spool *s, const char *path)
{
    struct stat st;
    struct head h = {0};
    if (flock(s->fd, LOCK_EX | LOCK_NB) != 0) return "another process has it";
    if (fstat(s->fd, &st) != 0 || !S_ISREG(st.st_mode)) return "not a file";
    bool born = (size_t)st.st_size < sizeof h;
    if (!born && pread(s->fd, &h, sizeof h, 0) != (ssize_t)sizeof h) return "cannot read it";
    /* The power went while it was being made: its size was on the disk before its bytes. */
    born = born || ((size_t)st.st_size == sizeof h && h.word == 0 && h.record_bytes == 0);
    if (born) return begin(s, path) ? NULL : "cannot write it";
    if (h.word != FIRST_WORD || h.record_bytes != sizeof(struct slot))
        return "not a spool of this program; settlements may be in it, so it is left alone";
    return scan(s, (uint64_t)st.st_size) ? NULL : "cannot cut off its torn end";
}

enum ek_status ek_spool_open(const char *path, uint64_t bytes_max, struct ek_spool **out, char *why,
                             size_t cap)
{
    *out = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        snprintf(why, cap, "cannot open %.180s: %s", path, strerror(errno));
        return EK_IO;
    }
    struct ek_spool *s = calloc(1, sizeof *s);
    MUST(s);
    *s = (struct ek_spool){.magic = SPOOL_MAGIC, .fd = fd, .slots_max = bytes_max / sizeof(struct slot)};
    const char *wrong = prepare(s, path);
    if (wrong) {
        snprintf(why, cap, "%.180s: %s", path, wrong);
        ek_spool_close(&s);
        return EK_IO;
    }
    *out = s;
    return EK_OK;
}

void ek_spool_close(struct ek_spool **s)
{
    if (!*s) return;
    MUST_OBJ(*s, SPOOL_MAGIC);
    close((*s)->fd);
    (*s)->magic = 0;
    free(*s);
    *s = NULL;
}

uint64_t ek_spool_count(const struct ek_spool *s) { return s->count; }
uint64_t ek_spool_cut_bytes(const struct ek_spool *s) { return s->cut_bytes; }

enum ek_status ek_spool_append(struct ek_spool *s, const struct ek_settle_record *const *record, size_t count)
{
    MUST_OBJ(s, SPOOL_MAGIC);
    if (s->count + count > s->slots_max) return EK_FULL;
    bool good = true;
    for (size_t i = 0; i < count && good; i++) {
        struct slot slot = {.sum = sum_of(record[i], s->count + i), .record = *record[i]};
        good = write_all(s->fd, &slot, sizeof slot, place_of(s->count + i));
    }
    if (!good || fdatasync(s->fd) != 0) {
        /* Nothing of it counts; if the cut fails too, the checksums of a later append write over it. */
        if (ftruncate(s->fd, place_of(s->count)) != 0) return EK_IO;
        return EK_IO;
    }
    s->count += count;
    return EK_OK;
}

enum ek_status ek_spool_read(struct ek_spool *s, uint64_t from, struct ek_settle_record *out, size_t max,
                             size_t *got)
{
    MUST_OBJ(s, SPOOL_MAGIC);
    struct slot slot;
    for (*got = 0; *got < max && from + *got < s->count; ++*got) {
        uint64_t number = from + *got;
        if (pread(s->fd, &slot, sizeof slot, place_of(number)) != (ssize_t)sizeof slot) return EK_IO;
        if (slot.sum != sum_of(&slot.record, number)) return EK_IO;
        slot.record.model[EK_LEDGER_MODEL_MAX - 1] = '\0';
        slot.record.ending[EK_LEDGER_ENDING_MAX - 1] = '\0';
        out[*got] = slot.record;
    }
    return EK_OK;
}

enum ek_status ek_spool_clear(struct ek_spool *s)
{
    MUST_OBJ(s, SPOOL_MAGIC);
    if (ftruncate(s->fd, (off_t)sizeof(struct head)) != 0 || fsync(s->fd) != 0) return EK_IO;
    s->count = 0;
    return EK_OK;
}
