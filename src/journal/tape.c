/* SPDX-License-Identifier: MIT */
/* Tapes: the calls, and the helper's batches. While a batch is under way its jobs belong to the helper; tapes
 * in it are `busy` and are not freed before it is done. */
#include "journal/tape_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AGAIN_NS (10 * EK_MS_NS) /* when no helper was free */
#define STUCK_NS EK_S_NS         /* when a file could not be erased */

static void launch(struct ek_tapes *t);
static void watch(struct ek_tapes *t);

/* ---- frames ----------------------------------------------------------------------------------------- */

uint64_t ek_tape_hash(const uint8_t name[16], uint32_t place, struct ek_str payload)
{
    uint64_t seed;
    memcpy(&seed, name, sizeof seed);
    return ek_hash(payload, seed + place);
}

static void put_u32(char *out, uint32_t n)
{
    for (int i = 0; i < 4; i++) out[i] = (char)(n >> 8 * i);
}

bool ek_tape_put(struct ek_tape *p, struct ek_str first, struct ek_str second)
{
    struct ek_tapes *t = p->tapes;
    MUST_OBJ(p, EK_TAPE_MAGIC);
    MUST(!p->erasing);
    size_t bytes = first.len + second.len, all = EK_TAPE_HEAD_BYTES + bytes;
    if (p->failed) return false;
    size_t was = p->pending.len;
    char *at = bytes <= EK_TAPE_FRAME_BYTES_MAX && t->counters.bytes + all <= t->bytes_max
                   ? ek_buf_reserve(&p->pending, all) : NULL;
    if (!at) {
        t->counters.refused++;
        p->failed = true;
        return false;
    }
    if (first.len) memcpy(at + EK_TAPE_HEAD_BYTES, first.data, first.len);
    if (second.len) memcpy(at + EK_TAPE_HEAD_BYTES + first.len, second.data, second.len);
    uint64_t hash = ek_tape_hash(p->name, (uint32_t)p->frames, ek_str_make(at + EK_TAPE_HEAD_BYTES, bytes));
    put_u32(at, (uint32_t)bytes);
    put_u32(at + 4, (uint32_t)p->frames);
    put_u32(at + 8, (uint32_t)hash);
    put_u32(at + 12, (uint32_t)(hash >> 32));
    p->pending.len = was + all;
    p->frames++;
    t->counters.bytes += all;
    t->counters.frames++;
    p->given_bytes += all;
    if (!ek_link_linked(&p->dirty)) ek_list_append(&t->dirty, &p->dirty);
    ek_post_put(t->loop, &t->post);
    return true;
}

uint64_t ek_tape_frames(const struct ek_tape *p)
{
    MUST_OBJ(p, EK_TAPE_MAGIC);
    return p->frames;
}

/* ---- birth and death -------------------------------------------------------------------------------- */

struct ek_tape *ek_tape_new(struct ek_tapes *t, const uint8_t name[16], const struct ek_tape_events *events,
                            void *arg)
{
    struct ek_tape *p = calloc(1, sizeof *p);
    MUST_OBJ(t, EK_TAPES_MAGIC);
    if (!p) return NULL;
    *p = (struct ek_tape){.magic = EK_TAPE_MAGIC, .tapes = t, .events = events, .arg = arg,
                          .pending = ek_buf_make(2 * EK_TAPE_FRAME_BYTES_MAX)};
    memcpy(p->name, name, sizeof p->name);
    ek_list_append(&t->all, &p->link);
    t->counters.made++;
    return p;
}

void ek_tape_own(struct ek_tape *p, const struct ek_tape_events *events, void *arg)
{
    MUST_OBJ(p, EK_TAPE_MAGIC);
    p->events = events;
    p->arg = arg;
}

static void tape_free(struct ek_tape *p)
{
    MUST(!p->busy);
    if (ek_link_linked(&p->dirty)) ek_list_remove(&p->tapes->dirty, &p->dirty);
    ek_list_remove(p->erasing ? &p->tapes->erasing : &p->tapes->all, &p->link);
    ek_buf_free(&p->pending);
    p->magic = 0;
    free(p);
}

void ek_tape_erase(struct ek_tape **pp)
{
    struct ek_tape *p = *pp;
    *pp = NULL;
    MUST_OBJ(p, EK_TAPE_MAGIC);
    struct ek_tapes *t = p->tapes;
    t->counters.erased++;
    MUST(!p->erasing);
    p->events = NULL;
    ek_list_remove(&t->all, &p->link);
    p->erasing = true;
    ek_list_append(&t->erasing, &p->link);
    ek_buf_free(&p->pending);
    p->frames = p->written; /* what was not written is not missed */
    if (!p->busy && p->at == 0) { /* there is no file yet */
        t->counters.bytes -= p->given_bytes;
        tape_free(p);
        return;
    }
    if (!ek_link_linked(&p->dirty)) ek_list_append(&t->dirty, &p->dirty);
    ek_post_put(t->loop, &t->post);
}

bool ek_tapes_erasing(const struct ek_tapes *t, const uint8_t name[16])
{
    MUST_OBJ(t, EK_TAPES_MAGIC);
    for (struct ek_link *n = ek_list_first(&t->erasing); n; n = ek_list_next(&t->erasing, n))
        if (memcmp(EK_CONTAINER(n, struct ek_tape, link)->name, name, 16) == 0) return true;
    return false;
}

void ek_tapes_on_erased(struct ek_tapes *t, void (*erased)(void *arg, const uint8_t name[16], bool gone),
                        void *arg)
{
    MUST_OBJ(t, EK_TAPES_MAGIC);
    t->erased = erased;
    t->erased_arg = arg;
}

void ek_tape_let_go(struct ek_tape **pp)
{
    struct ek_tape *p = *pp;
    *pp = NULL;
    MUST_OBJ(p, EK_TAPE_MAGIC);
    p->events = NULL;
    p->leaving = true;
    if (!p->busy && p->pending.len == 0) tape_free(p);
}

/* ---- the helper's work ------------------------------------------------------------------------------ */

void ek_tape_file_name(const uint8_t name[16], char out[EK_TAPE_NAME_BYTES])
{
    for (int i = 0; i < 16; i++) snprintf(out + 2 * i, 3, "%02x", name[i]);
    memcpy(out + 32, ".tape", 6);
}

static int write_at(int fd, const char *data, size_t len, uint64_t at)
{
    while (len) {
        ssize_t n = pwrite(fd, data, len, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? errno : EIO;
        data += n;
        len -= (size_t)n;
        at += (uint64_t)n;
    }
    return 0;
}

static int overwrite(int fd, uint64_t bytes)
{
    static const char zeros[16384];
    int error = 0;
    for (uint64_t at = 0; at < bytes && !error;) {
        size_t n = bytes - at < sizeof zeros ? (size_t)(bytes - at) : sizeof zeros;
        error = write_at(fd, zeros, n, at);
        at += n;
    }
    return error;
}

static int do_one(const struct ek_tapes_job *job, const struct ek_tapes_item *x)
{
    char name[EK_TAPE_NAME_BYTES];
    ek_tape_file_name(x->name, name);
    int flags = O_WRONLY | O_CLOEXEC | O_NOFOLLOW | (x->erase ? 0 : O_CREAT);
    int fd = openat(job->dir, name, flags, 0600), error = 0;
    if (fd < 0) return x->erase && errno == ENOENT ? 0 : errno;
    if (x->erase) {
        struct stat st; /* behind what is good there may be a torn frame */
        uint64_t bytes = fstat(fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : x->at;
        error = overwrite(fd, bytes);
        if (!error && job->sync_each && fdatasync(fd) != 0) error = errno;
        if (unlinkat(job->dir, name, 0) != 0) error = errno;
        if (!error && job->sync_each && fsync(job->dir) != 0) error = errno;
    } else {
        error = write_at(fd, x->bytes.data, x->bytes.len, x->at);
        if (!error && job->sync_each && fdatasync(fd) != 0) error = errno;
    }
    close(fd);
    return error;
}

static void run(struct ek_tapes_job *job)
{
    for (uint32_t i = 0; i < job->count; i++) job->item[i].error = do_one(job, &job->item[i]);
    if (job->sync_all && syncfs(job->dir) != 0) job->error = errno;
}

static void work(void *arg)
{
    struct ek_tapes_job *job = arg;
    if (atomic_exchange(&job->claimed, 1)) return;
    run(job);
    MUST(sem_post(&job->finished) == 0);
}

/* ---- batches ---------------------------------------------------------------------------------------- */

static void complain(struct ek_tapes *t, int error)
{
    t->counters.failures++;
    if (t->complained) return;
    t->complained = true;
    ek_error(t->log, "%s: %s; answers that run are not safe from a restart", t->dir_name, strerror(error));
}

static void erase_done(struct ek_tapes *t, struct ek_tape *p, int error)
{
    uint8_t name[16];
    bool tell = t->erased && (!error || !p->stuck);
    memcpy(name, p->name, sizeof name);
    if (error && !t->closing) {
        p->stuck = true;
        ek_list_append(&t->stuck, &p->dirty);
    } else {
        MUST(t->counters.bytes >= p->given_bytes);
        t->counters.bytes -= p->given_bytes;
        tape_free(p);
    }
    if (tell) t->erased(t->erased_arg, name, !error);
}

static void item_done(struct ek_tapes *t, struct ek_tapes_item *x)
{
    struct ek_tape *p = x->tape;
    MUST_OBJ(p, EK_TAPE_MAGIC);
    p->busy = false;
    ek_buf_free(&x->bytes);
    if (x->error) complain(t, x->error);
    if (x->erase) {
        erase_done(t, p, x->error);
        return;
    }
    if (!x->error) p->written = x->frames;
    if (x->error) p->failed = true;
    if (p->leaving && !p->erasing && p->pending.len == 0) {
        tape_free(p);
        return;
    }
    if (!p->events) return;
    if (x->error) p->events->failed(p->arg);
    else p->events->written(p->arg, p->written);
}

static void job_done(struct ek_tapes *t, struct ek_tapes_job *job)
{
    for (uint32_t i = 0; i < job->count; i++) item_done(t, &job->item[i]);
    if (job->error) complain(t, job->error);
    t->counters.syncs += job->sync_all;
    t->counters.batches += !job->sync_all;
    t->written = t->written || !job->sync_all;
}

static struct ek_tapes_job *job_new(struct ek_tapes *t)
{
    struct ek_tapes_job *job = calloc(1, sizeof *job);
    MUST(job); /* two at a time */
    MUST(sem_init(&job->finished, 0, 0) == 0);
    job->tapes = t;
    job->dir = t->dir;
    return job;
}

static void job_free(struct ek_tapes_job *job)
{
    MUST(sem_destroy(&job->finished) == 0);
    free(job);
}

static void done(void *arg)
{
    struct ek_tapes_job *job = arg;
    struct ek_tapes *t = job->tapes;
    if (t) {
        MUST(t->job == job || t->sync == job);
        if (t->sync == job) t->sync = NULL;
        else t->job = NULL;
        job_done(t, job);
        launch(t);
        watch(t);
    }
    job_free(job);
}

static bool wants_sync(const struct ek_tapes *t)
{
    uint64_t since_ns = ek_ns_since(ek_loop_now(t->loop).mono_ns, t->synced_ns);
    return t->written && t->fsync_ns && since_ns >= t->fsync_ns;
}

static struct ek_tapes_job *fill(struct ek_tapes *t)
{
    struct ek_tapes_job *job = job_new(t);
    struct ek_link *n;
    job->sync_each = t->fsync_ns == 0;
    while ((n = ek_list_first(&t->dirty)) && job->count < EK_TAPE_BATCH_MAX) {
        struct ek_tape *p = EK_CONTAINER(n, struct ek_tape, dirty);
        ek_list_remove(&t->dirty, n);
        MUST(!p->busy);
        p->busy = true;
        struct ek_tapes_item *x = &job->item[job->count++];
        *x = (struct ek_tapes_item){.tape = p, .erase = p->erasing, .at = p->at, .frames = p->frames,
                                    .bytes = p->pending};
        memcpy(x->name, p->name, sizeof x->name);
        p->pending = ek_buf_make(x->bytes.max);
        p->at += x->bytes.len;
        t->counters.bytes_written += x->bytes.len;
    }
    return job;
}

static void begin_sync(struct ek_tapes *t)
{
    struct ek_tapes_job *job = job_new(t);
    job->sync_all = job->submitted = true;
    if (ek_work_submit(t->loop, work, done, job) != EK_OK) { /* the next tick tries again */
        job_free(job);
        return;
    }
    t->sync = job;
    t->written = false;
    t->synced_ns = ek_loop_now(t->loop).mono_ns;
}

static void launch(struct ek_tapes *t)
{
    if (!t->sync && wants_sync(t)) begin_sync(t);
    if (t->job || t->dirty.count == 0) return;
    struct ek_tapes_job *job = t->job = fill(t);
    job->submitted = ek_work_submit(t->loop, work, done, job) == EK_OK;
    if (!job->submitted) ek_timer_set(t->loop, &t->timer, ek_loop_now(t->loop).mono_ns + AGAIN_NS);
}

/* What is to be done when nothing else makes it be done. */
static void watch(struct ek_tapes *t)
{
    uint64_t now_ns = ek_loop_now(t->loop).mono_ns, due_ns = UINT64_MAX;
    if (t->stuck.count) due_ns = now_ns + STUCK_NS;
    if (t->written && t->fsync_ns && !t->sync) {
        uint64_t sync_ns = t->synced_ns + t->fsync_ns;
        if (sync_ns <= now_ns) sync_ns = now_ns + AGAIN_NS; /* no helper was free */
        if (sync_ns < due_ns) due_ns = sync_ns;
    }
    if (due_ns != UINT64_MAX && !ek_timer_is_set(&t->timer)) ek_timer_set(t->loop, &t->timer, due_ns);
}

static void try_stuck(struct ek_tapes *t)
{
    EK_LIST_EACH(&t->stuck, it) {
        ek_list_remove(&t->stuck, it);
        ek_list_append(&t->dirty, it);
    }
}

static void launch_post(struct ek_post *p)
{
    launch(EK_CONTAINER(p, struct ek_tapes, post));
}

static void tick(struct ek_timer *timer)
{
    struct ek_tapes *t = EK_CONTAINER(timer, struct ek_tapes, timer);
    if (t->job && !t->job->submitted) {
        t->job->submitted = ek_work_submit(t->loop, work, done, t->job) == EK_OK;
        if (!t->job->submitted) ek_timer_set(t->loop, timer, ek_loop_now(t->loop).mono_ns + AGAIN_NS);
    }
    try_stuck(t);
    launch(t);
    watch(t);
}

/* ---- opening and closing ---------------------------------------------------------------------------- */

struct ek_tapes *ek_tapes_open(struct ek_loop *loop, const struct ek_tapes_options *o, struct ek_log *log,
                               char *why, size_t cap)
{
    struct ek_tapes *t = calloc(1, sizeof *t);
    MUST(t && o->dir);
    *t = (struct ek_tapes){.magic = EK_TAPES_MAGIC, .loop = loop, .log = log, .bytes_max = o->bytes_max,
                           .fsync_ns = o->fsync_ns, .dir_name = strdup(o->dir)};
    MUST(t->dir_name);
    ek_list_init(&t->all);
    ek_list_init(&t->dirty);
    ek_list_init(&t->erasing);
    ek_list_init(&t->stuck);
    ek_post_init(&t->post, launch_post);
    ek_timer_init(&t->timer, tick);
    t->synced_ns = ek_loop_now(loop).mono_ns;
    bool made = mkdir(o->dir, 0700) == 0 || errno == EEXIST;
    t->dir = made ? open(o->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (t->dir >= 0) return t;
    snprintf(why, cap, "%s: %s", o->dir, strerror(errno));
    free(t->dir_name);
    free(t);
    return NULL;
}

const struct ek_tapes_counters *ek_tapes_counters(const struct ek_tapes *t)
{
    MUST_OBJ(t, EK_TAPES_MAGIC);
    return &t->counters;
}

/* What is under way, here and now. */
static void settle(struct ek_tapes *t, struct ek_tapes_job **which)
{
    struct ek_tapes_job *job = *which;
    if (!atomic_exchange(&job->claimed, 1)) run(job);
    else while (sem_wait(&job->finished) != 0) MUST(errno == EINTR);
    *which = NULL;
    job_done(t, job);
    job->tapes = NULL; /* freed when the loop comes to it */
    if (!job->submitted) job_free(job);
}

void ek_tapes_close(struct ek_tapes **tt)
{
    struct ek_tapes *t = *tt;
    if (!t) return;
    *tt = NULL;
    MUST_OBJ(t, EK_TAPES_MAGIC);
    ek_post_clear(t->loop, &t->post);
    ek_timer_clear(t->loop, &t->timer);
    t->closing = true;
    try_stuck(t);
    while (t->job || t->dirty.count) {
        if (!t->job) t->job = fill(t);
        settle(t, &t->job);
    }
    if (t->sync) settle(t, &t->sync);
    if (t->fsync_ns && syncfs(t->dir) != 0) complain(t, errno);
    MUST(t->all.count == 0 && t->erasing.count == 0);
    close(t->dir);
    free(t->dir_name);
    t->magic = 0;
    free(t);
}
