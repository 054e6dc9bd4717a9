/* SPDX-License-Identifier: MIT */
/* What a restart finds: each tape from its beginning to the first frame that is torn. */
#include "journal/tape_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_BYTES_MAX (UINT64_C(1) << 30)

struct file {
    uint8_t name[16];
    uint64_t written_ns;
};

static uint32_t get_u32(const char *at)
{
    uint32_t n = 0;
    for (int i = 0; i < 4; i++) n |= (uint32_t)(unsigned char)at[i] << 8 * i;
    return n;
}

bool ek_tape_next(struct ek_tape_found *f, struct ek_str *frame)
{
    if (f->rest.len < EK_TAPE_HEAD_BYTES) return false;
    uint32_t bytes = get_u32(f->rest.data), place = get_u32(f->rest.data + 4);
    uint64_t hash = get_u32(f->rest.data + 8) | (uint64_t)get_u32(f->rest.data + 12) << 32;
    if (bytes > f->rest.len - EK_TAPE_HEAD_BYTES || place != f->place) return false;
    *frame = ek_str_make(f->rest.data + EK_TAPE_HEAD_BYTES, bytes);
    if (ek_tape_hash(f->name, place, *frame) != hash) return false;
    f->rest = ek_str_skip(f->rest, EK_TAPE_HEAD_BYTES + bytes);
    f->place++;
    return true;
}

static unsigned digit(char c)
{
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

static bool read_name(const char *text, uint8_t name[16])
{
    if (strlen(text) != EK_TAPE_NAME_BYTES - 1 || strcmp(text + 32, ".tape") != 0) return false;
    for (int i = 0; i < 16; i++) {
        unsigned high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high > 15 || low > 15) return false;
        name[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static int by_age(const void *a, const void *b)
{
    uint64_t x = ((const struct file *)a)->written_ns, y = ((const struct file *)b)->written_ns;
    return x < y ? -1 : x > y;
}

static struct file *list_files(struct ek_tapes *t, size_t *count)
{
    struct file *list = NULL;
    size_t cap = 0;
    int fd = dup(t->dir);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    *count = 0;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        struct stat st;
        struct file f = {.written_ns = 0};
        if (!read_name(e->d_name, f.name)) continue;
        if (fstatat(t->dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(st.st_mode)) continue;
        f.written_ns = (uint64_t)st.st_mtim.tv_sec * EK_S_NS + (uint64_t)st.st_mtim.tv_nsec;
        if (*count == cap) {
            cap = cap ? cap * 2 : 64;
            list = realloc(list, cap * sizeof *list);
            MUST(list); /* at the start */
        }
        list[(*count)++] = f;
    }
    if (dir) closedir(dir);
    if (*count) qsort(list, *count, sizeof *list, by_age);
    return list;
}

/* The whole file; empty when it cannot be read. */
static struct ek_buf read_file(struct ek_tapes *t, const uint8_t name[16])
{
    char text[EK_TAPE_NAME_BYTES];
    struct stat st;
    struct ek_buf all = ek_buf_make(FILE_BYTES_MAX);
    ek_tape_file_name(name, text);
    int fd = openat(t->dir, text, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return all;
    bool sane = fstat(fd, &st) == 0 && st.st_size > 0 && (uint64_t)st.st_size < FILE_BYTES_MAX;
    size_t left = sane ? (size_t)st.st_size : 0;
    char *at = left ? ek_buf_reserve(&all, left) : NULL;
    while (at && left) {
        ssize_t n = read(fd, at, left);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        at += n;
        all.len += (size_t)n;
        left -= (size_t)n;
    }
    close(fd);
    return all;
}

/* How far it is whole. */
static uint64_t good_bytes(struct ek_tape_found f, struct ek_tape *p)
{
    size_t all = f.rest.len;
    struct ek_str frame;
    while (ek_tape_next(&f, &frame)) p->frames++;
    p->written = p->frames;
    p->tapes->counters.torn += f.rest.len > 0;
    return all - f.rest.len;
}

void ek_tapes_visit(struct ek_tapes *t,
                    void (*visit)(void *arg, struct ek_tape_found *f, struct ek_tape *tape), void *arg)
{
    size_t count;
    MUST_OBJ(t, EK_TAPES_MAGIC);
    struct file *list = list_files(t, &count);
    for (size_t i = 0; i < count; i++) {
        struct ek_buf all = read_file(t, list[i].name);
        struct ek_tape_found f = {.written_unix_ns = list[i].written_ns, .rest = ek_buf_view(&all)};
        memcpy(f.name, list[i].name, sizeof f.name);
        struct ek_tape *p = ek_tape_new(t, f.name, NULL, NULL);
        MUST(p); /* at the start */
        t->counters.made--;
        t->counters.found++;
        p->at = p->given_bytes = good_bytes(f, p);
        t->counters.bytes += p->given_bytes;
        if (!p->at) p->at = all.len; /* nothing good in it: so much is to be overwritten */
        visit(arg, &f, p);
        ek_buf_free(&all);
    }
    free(list);
}
