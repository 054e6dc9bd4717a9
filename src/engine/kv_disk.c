/* SPDX-License-Identifier: MIT */
/* The folder of pages, its index in memory and the thread that reads and writes. All of struct ek_kv_disk is
 * guarded by its lock but for what a buffer holds while it is on its way: that belongs to whoever has it.
 *
 *   a buffer:  FREE ──page_begin──▶ being filled ──page_write──▶ queued ──▶ being written ──▶ FREE
 *              FREE ──read────────▶ queued ──▶ being read ──▶ answered ──take, give_back────▶ FREE
 *
 * The lock is never held over a call to the system but for opening and closing. */
#include "engine/kv_disk.h"

#include "base/thread.h"
#include "engine/kv_index.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KV_DISK_MAGIC 0x4b76d15cu

enum {
    BUFFERS_MAX = EK_KV_DISK_READS + EK_KV_DISK_WRITES_MAX,
    WRITES_BYTES = 24 << 20,
    PAUSE_S = 10, /* after the system refused a write */
    PAGES_MAX = 1 << 24,
    NAME_BYTES = 33,
};
static const char temporary[] = "incomplete";

struct buffer {
    uint8_t *file; /* [EK_KV_FILE_HEAD + rows_bytes] */
    struct ek_kv_key key;
    uint64_t ticket;
    bool good; /* a read found it */
};

struct queue { /* of buffer numbers */
    unsigned at[BUFFERS_MAX], begin, count;
};

struct ek_kv_disk {
    uint32_t magic;
    struct ek_kv_disk_options options; /* constant; dir is not used after opening */
    size_t file_bytes;
    int dir_fd, lock_fd;
    pthread_t thread;
    bool started;
    bool away;           /* another engine has the folder; the thread's, once there is one */
    time_t paused_until; /* the thread's */

    pthread_mutex_t lock;
    pthread_cond_t work;
    bool quit;
    struct ek_kv_index *index;
    struct buffer buffer[BUFFERS_MAX]; /* the first EK_KV_DISK_READS for reads */
    unsigned n_buffers;
    struct queue free_reads, free_writes, reads, writes, answers;
    struct ek_kv_disk_counters count;
};

static void push(struct queue *q, unsigned number)
{
    MUST(q->count < BUFFERS_MAX);
    q->at[(q->begin + q->count++) % BUFFERS_MAX] = number;
}

static unsigned pop(struct queue *q)
{
    MUST(q->count > 0);
    unsigned number = q->at[q->begin];
    q->begin = (q->begin + 1) % BUFFERS_MAX;
    q->count--;
    return number;
}

static unsigned number_of(const struct ek_kv_disk *d, const uint8_t *rows)
{
    for (unsigned i = 0; i < d->n_buffers; i++) {
        if (d->buffer[i].file + EK_KV_FILE_HEAD == rows) return i;
    }
    WRONG("rows that are in no buffer of the disk tier");
}

/* ---- names of files ------------------------------------------------------------------------------ */

static void file_name(struct ek_kv_name name, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "%016llx%016llx", (unsigned long long)name.hi, (unsigned long long)name.lo);
}

static bool hex64(const char *text, uint64_t *out)
{
    *out = 0;
    for (int i = 0; i < 16; i++) {
        char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        *out = *out << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

static bool read_name(const char *text, struct ek_kv_name *out)
{
    return strlen(text) == NAME_BYTES - 1 && hex64(text, &out->hi) && hex64(text + 16, &out->lo);
}

/* ---- what the thread does ------------------------------------------------------------------------- */

static bool write_all(int fd, const uint8_t *at, size_t left)
{
    while (left > 0) {
        ssize_t n = write(fd, at, left);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        at += n;
        left -= (size_t)n;
    }
    return true;
}

static size_t read_all(int fd, uint8_t *at, size_t want)
{
    size_t have = 0;
    while (have < want) {
        ssize_t n = read(fd, at + have, want - have);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        have += (size_t)n;
    }
    return have;
}

/* A file of this name comes to stand there whole, or not at all. */
static bool write_file(struct ek_kv_disk *d, const struct buffer *b)
{
    char name[NAME_BYTES];
    file_name(b->key.name, name);
    ek_kv_file_seal(b->file, d->options.rows_bytes, d->options.whose, &b->key);
    int fd = openat(d->dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return false;
    bool good = write_all(fd, b->file, d->file_bytes);
    good = close(fd) == 0 && good;
    good = good && renameat(d->dir_fd, temporary, d->dir_fd, name) == 0;
    if (!good) (void)unlinkat(d->dir_fd, temporary, 0);
    return good;
}

static void remove_file(const struct ek_kv_disk *d, struct ek_kv_name name)
{
    char text[NAME_BYTES];
    file_name(name, text);
    (void)unlinkat(d->dir_fd, text, 0);
}

/* Room in the index, the lock held; a file that has to go for it is removed without the lock. */
static void make_room(struct ek_kv_disk *d)
{
    struct ek_kv_name oldest;
    while (ek_kv_index_full(d->index)) {
        MUST(ek_kv_index_pop_oldest(d->index, &oldest));
        d->count.evicted++;
        pthread_mutex_unlock(&d->lock);
        remove_file(d, oldest);
        pthread_mutex_lock(&d->lock);
    }
}

static void come_in(struct ek_kv_disk *d);

static void write_page(struct ek_kv_disk *d, unsigned number)
{
    struct buffer *b = &d->buffer[number];
    time_t now = time(NULL);
    if (d->away && now >= d->paused_until) come_in(d);
    bool known = ek_kv_index_has(d->index, b->key.name), written = false;
    bool paused = d->away || now < d->paused_until;
    if (!known && !paused) {
        make_room(d);
        pthread_mutex_unlock(&d->lock);
        written = write_file(d, b);
        pthread_mutex_lock(&d->lock);
        if (!written) {
            d->count.errors++;
            d->paused_until = now + PAUSE_S;
        }
    }
    if (written) {
        ek_kv_index_add(d->index, b->key.name);
        d->count.written++;
    } else if (!known) {
        d->count.skipped++;
    }
    push(&d->free_writes, number);
}

static bool read_file(struct ek_kv_disk *d, struct buffer *b, bool *absent)
{
    char name[NAME_BYTES];
    file_name(b->key.name, name);
    int fd = openat(d->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    *absent = fd < 0;
    if (fd < 0) return false;
    size_t bytes = read_all(fd, b->file, d->file_bytes);
    (void)futimens(fd, NULL); /* the order of use outlives us */
    close(fd);
    return ek_kv_file_good(b->file, bytes, d->options.rows_bytes, d->options.whose, &b->key);
}

static void read_page(struct ek_kv_disk *d, unsigned number)
{
    struct buffer *b = &d->buffer[number];
    bool absent = true;
    b->good = false;
    if (ek_kv_index_has(d->index, b->key.name)) {
        pthread_mutex_unlock(&d->lock);
        b->good = read_file(d, b, &absent);
        if (!b->good && !absent) remove_file(d, b->key.name);
        pthread_mutex_lock(&d->lock);
        if (!b->good) ek_kv_index_remove(d->index, b->key.name);
        d->count.read += b->good;
        d->count.damaged += !b->good && !absent;
        d->count.errors += absent;
    }
    push(&d->answers, number);
}

static void *disk_main(void *arg)
{
    struct ek_kv_disk *d = arg;
    MUST_OBJ(d, KV_DISK_MAGIC);
    pthread_mutex_lock(&d->lock);
    for (;;) {
        while (d->reads.count == 0 && d->writes.count == 0 && !d->quit) pthread_cond_wait(&d->work, &d->lock);
        if (d->reads.count > 0) {
            read_page(d, pop(&d->reads));
        } else if (d->writes.count > 0) {
            write_page(d, pop(&d->writes));
        } else {
            break;
        }
        pthread_mutex_unlock(&d->lock);
        d->options.wake(d->options.wake_arg);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* ---- opening and closing -------------------------------------------------------------------------- */

static enum ek_status sorry(enum ek_status status, const char *what, const char *dir, char *why, size_t cap)
{
    snprintf(why, cap, "%s \"%s\": %s", what, dir, strerror(errno));
    return status;
}

/* The folder of this model inside the one given, made when missing, locked. */
static enum ek_status open_folder(struct ek_kv_disk *d, char *why, size_t cap)
{
    const char *dir = d->options.dir;
    char own[NAME_BYTES];
    file_name((struct ek_kv_name){d->options.whose.lo, d->options.whose.hi}, own);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return sorry(EK_IO, "cannot make the KV cache's folder", dir, why, cap);
    int outer = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (outer < 0) return sorry(EK_IO, "cannot open the KV cache's folder", dir, why, cap);
    if (mkdirat(outer, own, 0700) != 0 && errno != EEXIST) {
        close(outer);
        return sorry(EK_IO, "cannot write into the KV cache's folder", dir, why, cap);
    }
    d->dir_fd = openat(outer, own, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    close(outer);
    if (d->dir_fd < 0) return sorry(EK_IO, "cannot open the KV cache's folder in", dir, why, cap);
    d->lock_fd = openat(d->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (d->lock_fd < 0) return sorry(EK_IO, "cannot write into the KV cache's folder", dir, why, cap);
    d->away = flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0;
    if (!d->away || d->options.waits) return EK_OK;
    snprintf(why, cap, "another engine with this model has the KV cache's folder \"%s\"", dir);
    return EK_FULL;
}

struct found {
    struct ek_kv_name name;
    int64_t used_s;
    long used_ns;
};

static int by_use(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->used_s != y->used_s) return x->used_s < y->used_s ? -1 : 1;
    return (x->used_ns > y->used_ns) - (x->used_ns < y->used_ns);
}

/* Whole files into the list, others of our kind away; what is not ours stays untouched. */
static size_t look(struct ek_kv_disk *d, DIR *dir, struct found **list)
{
    size_t n = 0, cap = 0;
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL && n < PAGES_MAX) {
        struct ek_kv_name name;
        struct stat st;
        if (strcmp(e->d_name, temporary) == 0) (void)unlinkat(d->dir_fd, temporary, 0);
        if (!read_name(e->d_name, &name)) continue;
        if (fstatat(d->dir_fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
        if ((uint64_t)st.st_size != d->file_bytes) {
            d->count.damaged++;
            remove_file(d, name);
            continue;
        }
        if (n == cap) {
            cap = cap ? 2 * cap : 256;
            *list = realloc(*list, cap * sizeof **list);
            MUST(*list);
        }
        (*list)[n++] = (struct found){name, st.st_mtim.tv_sec, st.st_mtim.tv_nsec};
    }
    return n;
}

/* What stands there, oldest first; false: the folder cannot be read. The caller frees the list. */
static bool list_folder(struct ek_kv_disk *d, struct found **list, size_t *n)
{
    int fd = openat(d->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    *list = NULL;
    *n = 0;
    if (!dir && fd >= 0) close(fd);
    if (!dir) return false;
    *n = look(d, dir, list);
    closedir(dir);
    if (*n > 0) qsort(*list, *n, sizeof **list, by_use);
    return true;
}

static void take_list(struct ek_kv_disk *d, const struct found *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct ek_kv_name oldest;
        if (ek_kv_index_full(d->index) && ek_kv_index_pop_oldest(d->index, &oldest)) {
            remove_file(d, oldest);
            d->count.evicted++;
        }
        ek_kv_index_add(d->index, list[i].name);
    }
}

static enum ek_status read_folder(struct ek_kv_disk *d, char *why, size_t cap)
{
    struct found *list;
    size_t n;
    if (d->away) return EK_OK;
    if (!list_folder(d, &list, &n))
        return sorry(EK_IO, "cannot read the KV cache's folder", d->options.dir, why, cap);
    take_list(d, list, n);
    free(list);
    return EK_OK;
}

/* On the thread, the lock held: has the other one ended? Then what it left is ours. */
static void come_in(struct ek_kv_disk *d)
{
    struct found *list;
    size_t n;
    d->paused_until = time(NULL) + 1;
    if (flock(d->lock_fd, LOCK_EX | LOCK_NB) != 0) return;
    pthread_mutex_unlock(&d->lock); /* no step waits for a folder; nobody else adds to an empty index */
    bool good = list_folder(d, &list, &n);
    pthread_mutex_lock(&d->lock);
    d->away = false;
    d->paused_until = 0;
    d->count.errors += !good;
    take_list(d, list, n);
    free(list);
}

static enum ek_status make_buffers(struct ek_kv_disk *d, char *why, size_t cap)
{
    size_t writes = WRITES_BYTES / d->file_bytes;
    if (writes < EK_KV_DISK_WRITES_MIN) writes = EK_KV_DISK_WRITES_MIN;
    if (writes > EK_KV_DISK_WRITES_MAX) writes = EK_KV_DISK_WRITES_MAX;
    for (unsigned i = 0; i < EK_KV_DISK_READS + writes; i++) {
        d->buffer[i].file = malloc(d->file_bytes); /* touched only when used */
        if (!d->buffer[i].file) {
            snprintf(why, cap, "no memory for pages on their way to the KV cache's folder");
            return EK_NOMEM;
        }
        d->n_buffers++;
        push(i < EK_KV_DISK_READS ? &d->free_reads : &d->free_writes, i);
    }
    return EK_OK;
}

static enum ek_status start(struct ek_kv_disk *d, char *why, size_t cap)
{
    d->started = ek_thread_start(&d->thread, disk_main, d);
    if (d->started) return EK_OK;
    snprintf(why, cap, "the thread of the KV cache's folder cannot be started");
    return EK_NOMEM;
}

enum ek_status ek_kv_disk_open(const struct ek_kv_disk_options *o, struct ek_kv_disk **out, char *why,
                               size_t why_cap)
{
    size_t file_bytes = EK_KV_FILE_HEAD + o->rows_bytes;
    uint64_t pages = o->limit_bytes / file_bytes;
    *out = NULL;
    MUST(o->dir && o->rows_bytes > 0 && o->wake);
    if (pages == 0) {
        snprintf(why, why_cap, "the limit of the KV cache's folder is less than one page of %zu bytes",
                 file_bytes);
        return EK_INVALID;
    }
    struct ek_kv_disk *d = calloc(1, sizeof *d);
    MUST(d);
    *d = (struct ek_kv_disk){
        .magic = KV_DISK_MAGIC, .options = *o, .file_bytes = file_bytes, .dir_fd = -1, .lock_fd = -1,
        .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER,
    };
    d->index = ek_kv_index_new(pages < PAGES_MAX ? (uint32_t)pages : PAGES_MAX);
    enum ek_status status = open_folder(d, why, why_cap);
    if (status == EK_OK) status = read_folder(d, why, why_cap);
    if (status == EK_OK) status = make_buffers(d, why, why_cap);
    if (status == EK_OK) status = start(d, why, why_cap);
    if (status != EK_OK) ek_kv_disk_close(&d);
    *out = d;
    return status;
}

void ek_kv_disk_close(struct ek_kv_disk **dp)
{
    struct ek_kv_disk *d = *dp;
    if (!d) return;
    MUST_OBJ(d, KV_DISK_MAGIC);
    pthread_mutex_lock(&d->lock);
    d->quit = true;
    pthread_cond_signal(&d->work);
    pthread_mutex_unlock(&d->lock);
    if (d->started) pthread_join(d->thread, NULL);
    for (unsigned i = 0; i < d->n_buffers; i++) free(d->buffer[i].file);
    ek_kv_index_free(&d->index);
    if (d->lock_fd >= 0) close(d->lock_fd); /* and with it the lock */
    if (d->dir_fd >= 0) close(d->dir_fd);
    d->magic = 0;
    free(d);
    *dp = NULL;
}

/* ---- the step thread's side ------------------------------------------------------------------------ */

bool ek_kv_disk_has(struct ek_kv_disk *d, struct ek_kv_name name)
{
    MUST_OBJ(d, KV_DISK_MAGIC);
    pthread_mutex_lock(&d->lock);
    bool has = ek_kv_index_has(d->index, name);
    if (has) ek_kv_index_use(d->index, name);
    pthread_mutex_unlock(&d->lock);
    return has;
}

uint8_t *ek_kv_disk_page_begin(struct ek_kv_disk *d)
{
    uint8_t *rows = NULL;
    MUST_OBJ(d, KV_DISK_MAGIC);
    pthread_mutex_lock(&d->lock);
    if (d->free_writes.count > 0) rows = d->buffer[pop(&d->free_writes)].file + EK_KV_FILE_HEAD;
    pthread_mutex_unlock(&d->lock);
    return rows;
}

void ek_kv_disk_page_write(struct ek_kv_disk *d, uint8_t *rows, const struct ek_kv_key *key)
{
    MUST_OBJ(d, KV_DISK_MAGIC);
    unsigned number = number_of(d, rows);
    d->buffer[number].key = *key;
    pthread_mutex_lock(&d->lock);
    push(&d->writes, number);
    pthread_cond_signal(&d->work);
    pthread_mutex_unlock(&d->lock);
}

bool ek_kv_disk_read(struct ek_kv_disk *d, const struct ek_kv_key *key, uint64_t ticket)
{
    MUST_OBJ(d, KV_DISK_MAGIC);
    pthread_mutex_lock(&d->lock);
    bool room = d->free_reads.count > 0;
    if (room) {
        unsigned number = pop(&d->free_reads);
        d->buffer[number].key = *key;
        d->buffer[number].ticket = ticket;
        push(&d->reads, number);
        pthread_cond_signal(&d->work);
    }
    pthread_mutex_unlock(&d->lock);
    return room;
}

bool ek_kv_disk_take(struct ek_kv_disk *d, struct ek_kv_disk_read *out)
{
    MUST_OBJ(d, KV_DISK_MAGIC);
    pthread_mutex_lock(&d->lock);
    bool any = d->answers.count > 0;
    if (any) {
        unsigned number = pop(&d->answers);
        const struct buffer *b = &d->buffer[number];
        *out = (struct ek_kv_disk_read){b->ticket, b->good ? b->file + EK_KV_FILE_HEAD : NULL};
        if (!b->good) push(&d->free_reads, number);
    }
    pthread_mutex_unlock(&d->lock);
    return any;
}

void ek_kv_disk_give_back(struct ek_kv_disk *d, const uint8_t *rows)
{
    MUST_OBJ(d, KV_DISK_MAGIC);
    unsigned number = number_of(d, rows);
    MUST(number < EK_KV_DISK_READS);
    pthread_mutex_lock(&d->lock);
    push(&d->free_reads, number);
    pthread_mutex_unlock(&d->lock);
}

void ek_kv_disk_counters(struct ek_kv_disk *d, struct ek_kv_disk_counters *out)
{
    MUST_OBJ(d, KV_DISK_MAGIC);
    pthread_mutex_lock(&d->lock);
    *out = d->count;
    out->pages = ek_kv_index_count(d->index);
    pthread_mutex_unlock(&d->lock);
    out->bytes = out->pages * d->file_bytes;
}
