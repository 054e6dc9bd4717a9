/* SPDX-License-Identifier: MIT */
/* What the desk has learned about answers, kept in a file across restarts: read at the start, written every
 * few minutes by a helper thread and once at the end. Whoever reads the file learns how long answers are, by
 * hashes; it is written beside its place and moved there whole, readable by its owner alone. Losing it costs
 * a few minutes of worse estimates, so nothing here ever stops the door. */
#include "door/door_state.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEARNED_BYTES_MAX (16u << 20) /* of the file: the desk's table is 6 MB */

struct ek_door_saving {
    struct ek_door *door; /* NULL: it is gone, forget the result */
    struct ek_buf bytes;
    char path[4096];
    atomic_int claimed;   /* by the helper, or by an end that does not wait for it to begin */
    sem_t finished;       /* the helper has claimed it and is through */
    int error;            /* errno; 0: written */
};

/* ---- on a helper thread ------------------------------------------------------------------------- */

static int write_all(int fd, struct ek_str bytes)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.data, bytes.len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        bytes = ek_str_skip(bytes, (size_t)n);
    }
    return fsync(fd) == 0 ? 0 : errno;
}

static int replace_file(const char *path, struct ek_str bytes)
{
    char beside[4096 + 8];
    snprintf(beside, sizeof beside, "%s.new", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return errno;
    int error = write_all(fd, bytes);
    if (close(fd) != 0 && !error) error = errno;
    if (!error && rename(beside, path) != 0) error = errno;
    if (error) unlink(beside);
    return error;
}

static void work(void *arg)
{
    struct ek_door_saving *s = arg;
    if (atomic_exchange(&s->claimed, 1)) return;
    s->error = replace_file(s->path, ek_buf_view(&s->bytes));
    MUST(sem_post(&s->finished) == 0);
}

/* ---- on the loop ---------------------------------------------------------------------------------- */

static void saving_free(struct ek_door_saving *s)
{
    sem_destroy(&s->finished);
    ek_buf_free(&s->bytes);
    free(s);
}

static void say(struct ek_door *d, const struct ek_door_saving *s)
{
    if (s->error) ek_warn(d->log, "what was learned cannot be kept in %s: %s", s->path, strerror(s->error));
    else ek_debug(d->log, "what was learned is in %s, %zu bytes", s->path, s->bytes.len);
}

static void done(void *arg)
{
    struct ek_door_saving *s = arg;
    struct ek_door *d = s->door;
    if (d) {
        MUST_OBJ(d, EK_DOOR_MAGIC);
        MUST(d->saving == s);
        d->saving = NULL;
        say(d, s);
    }
    saving_free(s);
}

static struct ek_door_saving *snapshot(struct ek_door *d)
{
    struct ek_door_saving *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    MUST(sem_init(&s->finished, 0, 0) == 0);
    s->door = d;
    s->bytes = ek_buf_make(LEARNED_BYTES_MAX);
    snprintf(s->path, sizeof s->path, "%s", d->config->queue.learned);
    ek_desk_save_learned(d->desk, d->hash_seed, &s->bytes);
    if (!s->bytes.failed) return s;
    saving_free(s);
    return NULL;
}

static void due(struct ek_timer *t)
{
    struct ek_door *d = EK_CONTAINER(t, struct ek_door, learned_timer);
    MUST_OBJ(d, EK_DOOR_MAGIC);
    ek_timer_set(d->loop, t, ek_door_now(d).mono_ns + d->config->queue.learned_ns);
    if (d->saving) return; /* a slow disk: the next one will have more to say */
    d->saving = snapshot(d);
    if (!d->saving) return;
    if (ek_work_submit(d->loop, work, done, d->saving) == EK_OK) return;
    saving_free(d->saving);
    d->saving = NULL;
}

void ek_door_learned_keep(struct ek_door *d, bool ours)
{
    if (!ours) ek_timer_clear(d->loop, &d->learned_timer);
    else if (d->config->queue.learned)
        ek_timer_set(d->loop, &d->learned_timer, ek_door_now(d).mono_ns + d->config->queue.learned_ns);
}

/* The whole file; false with errno when it cannot be read, or is larger than any of ours. */
static bool read_whole(const char *path, struct ek_buf *out)
{
    struct stat about;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool ok = fstat(fd, &about) == 0;
    if (ok && (!S_ISREG(about.st_mode) || about.st_size > LEARNED_BYTES_MAX)) {
        errno = EFBIG;
        ok = false;
    }
    while (ok && out->len < (size_t)about.st_size) {
        char *at = ek_buf_reserve(out, (size_t)about.st_size - out->len);
        ssize_t n = at ? read(fd, at, (size_t)about.st_size - out->len) : -1;
        if (n <= 0) break;
        out->len += (size_t)n;
    }
    int error = errno;
    close(fd);
    errno = error;
    return ok;
}

void ek_door_learned_start(struct ek_door *d)
{
    const char *path = d->config->queue.learned, *why = NULL;
    struct ek_buf bytes = ek_buf_make(LEARNED_BYTES_MAX);
    uint64_t seed = 0;
    MUST(d->desk);
    ek_timer_init(&d->learned_timer, due);
    if (!path) return;
    ek_door_learned_keep(d, true);
    if (!read_whole(path, &bytes)) {
        if (errno != ENOENT)
            ek_warn(d->log, "what was learned cannot be read from %s: %s", path, strerror(errno));
    } else if (!ek_desk_load_learned(d->desk, bytes.data, bytes.len, &seed, &why)) {
        ek_warn(d->log, "%s is not what was learned before and is ignored: %s", path, why);
    } else if (!d->journal) {
        d->hash_seed = seed; /* with a journal, its own seed counts; where the two differ, nothing matches */
    }
    ek_buf_free(&bytes);
}

void ek_door_learned_end(struct ek_door *d)
{
    struct ek_door_saving *s = d->saving;
    bool ours = ek_timer_is_set(&d->learned_timer); /* or another process writes what it has learned */
    ek_timer_clear(d->loop, &d->learned_timer);
    if (s) { /* `done` comes when the loop ends, and finds no door */
        if (atomic_exchange(&s->claimed, 1))
            while (sem_wait(&s->finished) != 0) MUST(errno == EINTR);
        s->door = NULL;
        d->saving = NULL;
    }
    if (!ours || !d->config->queue.learned) return;
    s = snapshot(d);
    if (!s) return;
    s->error = replace_file(s->path, ek_buf_view(&s->bytes));
    say(d, s);
    saving_free(s);
}
