/* SPDX-License-Identifier: MIT */
/* The helper side: what touches files. One batch of operations at a time, in their order, so that a use
 * never overtakes the put before it; and beside it one sync at a time, so that nobody's first word waits
 * for a slow disk's flush.
 *
 * A job belongs to whoever claims it first: normally the helper thread, but when the journal is closed
 * before a helper came to it, the closer runs it itself. */
#include "journal/journal_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH_OPS_MAX 512u
#define BATCH_BYTES_MAX (8u << 20) /* of payloads; then the next batch */

/* ---- bytes to and from a file ---------------------------------------------------------------- */

/* All of it, or errno. */
static int write_all(int fd, struct iovec *parts, int count, uint64_t at)
{
    while (count > 0) {
        ssize_t n = pwritev(fd, parts, count, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return EIO;
        at += (uint64_t)n;
        while (count > 0 && (size_t)n >= parts->iov_len) {
            n -= (ssize_t)parts->iov_len;
            parts++;
            count--;
        }
        if (n > 0) *parts = (struct iovec){(char *)parts->iov_base + n, parts->iov_len - (size_t)n};
    }
    return 0;
}

static int write_one(int fd, const void *bytes, size_t len, uint64_t at)
{
    struct iovec part = {(void *)(uintptr_t)bytes, len};
    return write_all(fd, &part, 1, at);
}

static int read_all(int fd, void *bytes, size_t len, uint64_t at)
{
    char *p = bytes;
    while (len > 0) {
        ssize_t n = pread(fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return errno;
        if (n == 0) return EIO;
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return 0;
}

static int write_zeros(int fd, uint64_t len, uint64_t at)
{
    static const uint8_t zeros[65536];
    while (len > 0) {
        size_t n = len < sizeof zeros ? (size_t)len : sizeof zeros;
        int error = write_one(fd, zeros, n, at);
        if (error) return error;
        at += n;
        len -= n;
    }
    return 0;
}

/* ---- the operations, on the helper ----------------------------------------------------------- */

static int do_make(struct ek_journal *j, struct ek_journal_op *op)
{
    char name[32];
    uint8_t head[EK_SEGMENT_HEAD_BYTES];
    struct ek_journal_segment *s = op->segment;
    MUST(s->fd < 0);
    ek_journal_file_name(s->number, name);
    ek_segment_put_head(head, s->number);
    s->fd = openat(j->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (s->fd < 0) s->failed_at = 0;
    if (s->fd < 0) return errno;
    int error = write_one(s->fd, head, sizeof head, 0);
    if (error) s->failed_at = 0;
    else if (j->options.fsync_ns == 0 && fsync(j->dir_fd) != 0) error = errno;
    return error;
}

static int do_put(struct ek_journal_op *op, uint64_t seed)
{
    uint8_t head[EK_RECORD_HEAD_BYTES];
    static const uint8_t zeros[8];
    const struct ek_journal_entry *e = op->entry; /* its name does not change */
    struct ek_record r = {.owner = op->owner, .seq = op->seq, .written_ns = op->written_ns,
                          .payload_bytes = op->payload_bytes, .part = e->part, .kind = op->kind,
                          .state = EK_RECORD_LIVE};
    const struct iovec *p = op->payload;
    memcpy(r.key, e->key, sizeof r.key);
    r.payload_hash = ek_record_hash(ek_str_make(p[0].iov_base, p[0].iov_len),
                                    ek_str_make(p[1].iov_base, p[1].iov_len), seed);
    ek_record_put_head(head, &r, seed);
    size_t pad = (size_t)(ek_record_bytes(op->payload_bytes) - EK_RECORD_HEAD_BYTES - op->payload_bytes);
    struct iovec parts[4] = {{head, sizeof head}, p[0], p[1], {(void *)(uintptr_t)zeros, pad}};
    int error = write_all(op->segment->fd, parts, 4, op->at);
    if (error) op->segment->failed_at = op->at;
    return error;
}

static int do_erase(struct ek_journal_segment *s, uint64_t at, uint32_t payload_bytes, uint8_t last)
{
    static const uint8_t used = EK_RECORD_USED;
    int error = write_one(s->fd, &used, 1, at + EK_RECORD_STATE_AT);
    if (!error) error = write_zeros(s->fd, payload_bytes, at + EK_RECORD_HEAD_BYTES);
    if (!error) error = write_one(s->fd, &last, 1, at + EK_RECORD_STATE_AT);
    return error;
}

/* Head and payload into `bytes`; EIO when they are not what was written. */
static int fetch(const struct ek_journal_op *op, uint64_t seed, char *bytes)
{
    struct ek_record r;
    int error = read_all(op->segment->fd, bytes, EK_RECORD_HEAD_BYTES + (size_t)op->payload_bytes, op->at);
    if (error) return error;
    struct ek_str payload = ek_str_make(bytes + EK_RECORD_HEAD_BYTES, op->payload_bytes);
    if (!ek_record_read_head(&r, (const uint8_t *)bytes, seed)) return EIO;
    if (r.payload_bytes != op->payload_bytes || memcmp(r.key, op->entry->key, sizeof r.key) != 0) return EIO;
    return ek_record_hash(payload, ek_str_make(NULL, 0), seed) == r.payload_hash ? 0 : EIO;
}

static int do_read(struct ek_journal_op *op, uint64_t seed)
{
    char *room = op->into->data + op->into->len; /* reserved when it was asked for */
    MUST(op->into->cap - op->into->len >= EK_RECORD_HEAD_BYTES + (size_t)op->payload_bytes);
    int error = fetch(op, seed, room);
    if (!error) memmove(room, room + EK_RECORD_HEAD_BYTES, op->payload_bytes);
    return error;
}

static int do_move(struct ek_journal_op *op, uint64_t seed)
{
    size_t len = (size_t)ek_record_bytes(op->payload_bytes);
    char *bytes = calloc(1, len);
    if (!bytes) return ENOMEM;
    int error = fetch(op, seed, bytes);
    if (!error) {
        error = write_one(op->to->fd, bytes, len, op->to_at);
        if (error) op->to->failed_at = op->to_at;
        /* Until this is done there are two of it; a reader takes the one that is farther. */
        if (!error) error = do_erase(op->segment, op->at, op->payload_bytes, EK_RECORD_ERASED);
    }
    free(bytes);
    return error;
}

static int do_drop(struct ek_journal *j, struct ek_journal_segment *s)
{
    char name[32];
    ek_journal_file_name(s->number, name);
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
    return unlinkat(j->dir_fd, name, 0) == 0 || errno == ENOENT ? 0 : errno;
}

static int do_one(struct ek_journal *j, struct ek_journal_op *op, uint64_t seed)
{
    static const uint8_t used = EK_RECORD_USED;
    struct ek_journal_segment *s = op->segment;
    if (op->what == EK_JOURNAL_NOTHING || op->error) return op->error ? op->error : EIO;
    if (op->what == EK_JOURNAL_DROP) return do_drop(j, s);
    if (s->failed_at <= op->at && op->what != EK_JOURNAL_MAKE) return EIO;
    if (op->to && op->to->failed_at <= op->to_at) return EIO;
    s->touched = true;
    if (op->to) op->to->touched = true;
    switch ((enum ek_journal_what)op->what) {
    case EK_JOURNAL_MAKE: return do_make(j, op);
    case EK_JOURNAL_PUT: return do_put(op, seed);
    case EK_JOURNAL_USE: return write_one(s->fd, &used, 1, op->at + EK_RECORD_STATE_AT);
    case EK_JOURNAL_ERASE: return do_erase(s, op->at, op->payload_bytes, op->last);
    case EK_JOURNAL_READ: return do_read(op, seed);
    case EK_JOURNAL_MOVE: return do_move(op, seed);
    case EK_JOURNAL_DROP:
    case EK_JOURNAL_NOTHING: break;
    }
    WRONG("every operation has its deed");
}

/* What a failed write left behind is cut off, so that it takes no room on a full disk. */
static void end_file(struct ek_journal_segment *s, bool sync, int *error)
{
    if (!s->touched) return;
    s->touched = false;
    if (s->fd < 0) return;
    if (s->failed_at != UINT64_MAX && ftruncate(s->fd, (off_t)s->failed_at) != 0) *error = errno;
    if (sync && fdatasync(s->fd) != 0) *error = errno;
}

static void run_batch(struct ek_journal_job *job)
{
    EK_LIST_EACH(&job->ops, it) {
        struct ek_journal_op *op = EK_CONTAINER(it, struct ek_journal_op, link);
        op->error = do_one(job->journal, op, job->seed);
    }
    EK_LIST_EACH(&job->ops, it) {
        struct ek_journal_op *op = EK_CONTAINER(it, struct ek_journal_op, link);
        bool sync = job->sync_at_once;
        if (op->segment && op->what != EK_JOURNAL_DROP) end_file(op->segment, sync, &job->error);
        if (op->to) end_file(op->to, sync, &job->error);
    }
}

static void run_sync(struct ek_journal_job *job)
{
    for (uint32_t i = 0; i < job->files; i++)
        if (fdatasync(job->fd[i]) != 0) job->error = errno;
    if (job->dir >= 0 && fsync(job->dir) != 0) job->error = errno;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void job_work(void *arg)
{
    struct ek_journal_job *job = arg;
    if (atomic_exchange(&job->claimed, 1)) return;
    job->run(job);
    MUST(sem_post(&job->finished) == 0);
}

static struct ek_journal_job *job_new(struct ek_journal *j, void (*run)(struct ek_journal_job *job))
{
    struct ek_journal_job *job = calloc(1, sizeof *job);
    MUST(job); /* two at a time */
    job->journal = j;
    job->run = run;
    job->dir = -1;
    job->seed = j->record_seed;
    job->sync_at_once = j->options.fsync_ns == 0;
    ek_list_init(&job->ops);
    MUST(sem_init(&job->finished, 0, 0) == 0);
    return job;
}

static void job_free(struct ek_journal_job *job)
{
    MUST(job->ops.count == 0);
    MUST(sem_destroy(&job->finished) == 0);
    free(job);
}

/* ---- batches --------------------------------------------------------------------------------- */

static void add_to_batch(struct ek_journal *j, struct ek_journal_job *job, struct ek_journal_op *op)
{
    ek_list_append(&job->ops, &op->link);
    j->in_batch++;
    if (op->segment) op->segment->pending++;
    if (op->to) op->to->pending++;
}

/* The file for so many bytes more; a new one is made by this very batch. */
static struct ek_journal_segment *room_for(struct ek_journal *j, struct ek_journal_job *job, uint64_t bytes)
{
    struct ek_link *n = ek_list_last(&j->segments);
    struct ek_journal_segment *s = n ? EK_CONTAINER(n, struct ek_journal_segment, link) : NULL;
    bool fits = s && !s->sealed && !s->dropping &&
                (s->bytes + bytes <= j->segment_bytes || s->bytes == EK_SEGMENT_HEAD_BYTES);
    if (fits) return s;
    if (s) s->sealed = true;
    s = ek_journal_segment_new(j, j->next_number);
    struct ek_journal_op *make = ek_journal_own_op();
    make->journal = j;
    make->what = EK_JOURNAL_MAKE;
    make->segment = s;
    add_to_batch(j, job, make);
    return s;
}

/* Gives out `bytes` at the end of a file. */
static uint64_t take_room(struct ek_journal *j, struct ek_journal_segment *s, uint64_t bytes)
{
    uint64_t at = s->bytes;
    MUST(!s->sealed);
    s->bytes += bytes;
    j->counters.bytes += bytes;
    return at;
}

static void prepare(struct ek_journal *j, struct ek_journal_job *job, struct ek_journal_op *op)
{
    struct ek_journal_entry *e = op->entry;
    if (!e) return; /* it names its file itself */
    uint64_t bytes = ek_record_bytes(e->payload_bytes);
    if (op->what == EK_JOURNAL_PUT) {
        if (e->state == ENTRY_ERASING) op->error = ECANCELED; /* over before it was written */
        if (op->error) return;
        op->segment = room_for(j, job, bytes);
        op->at = take_room(j, op->segment, bytes);
        ek_journal_entry_place(e, op->segment, op->at);
        return;
    }
    bool stays = op->what == EK_JOURNAL_MOVE &&
                 (e->state != ENTRY_LIVE || j->counters.bytes + j->pending_bytes + bytes +
                                                    EK_SEGMENT_HEAD_BYTES > j->options.bytes_max);
    if (!e->segment || stays) {
        if (op->what == EK_JOURNAL_MOVE) e->moving = false;
        op->what = EK_JOURNAL_NOTHING;
        op->error = ECANCELED;
        return;
    }
    op->segment = e->segment;
    op->at = e->at;
    op->payload_bytes = e->payload_bytes;
    op->last = e->used ? EK_RECORD_SPENT : EK_RECORD_ERASED;
    if (op->what != EK_JOURNAL_MOVE) return;
    op->to = room_for(j, job, bytes);
    op->to_at = take_room(j, op->to, bytes);
}

/* A file in which a write failed: closed for new ones, and as long as what is good of it. */
static void shorten_failed(struct ek_journal *j, struct ek_journal_segment *s)
{
    if (s->failed_at == UINT64_MAX || (s->sealed && s->bytes <= s->failed_at)) return;
    s->sealed = true;
    uint64_t good = s->failed_at > EK_SEGMENT_HEAD_BYTES ? s->failed_at : EK_SEGMENT_HEAD_BYTES;
    if (s->bytes <= good) return;
    j->counters.bytes -= s->bytes - good;
    s->bytes = good;
}

static void end_batch(struct ek_journal *j, struct ek_journal_job *job)
{
    int error = job->error;
    bool wrote = false;
    struct ek_link *n;
    while ((n = ek_list_first(&job->ops))) {
        struct ek_journal_op *op = EK_CONTAINER(n, struct ek_journal_op, link);
        struct ek_journal_segment *s = op->segment, *to = op->to;
        ek_list_remove(&job->ops, n);
        j->in_batch--;
        if (op->error && op->error != ECANCELED && op->what != EK_JOURNAL_NOTHING) error = op->error;
        wrote = wrote || (!op->error && op->what == EK_JOURNAL_PUT);
        bool drop = op->what == EK_JOURNAL_DROP;
        if (s) s->pending--;
        if (to) to->pending--;
        if (s) s->dirty = !drop;
        if (op->what == EK_JOURNAL_MAKE) s->made = j->dir_dirty = !op->error;
        if (to) to->dirty = true;
        ek_journal_op_ended(j, op); /* the op is its owner's again */
        if (s) shorten_failed(j, s);
        if (to) shorten_failed(j, to);
        if (drop) ek_journal_segment_free(j, &s);
    }
    if (error) ek_journal_in_trouble(j, error);
    else if (wrote) ek_journal_out_of_trouble(j);
}

static void batch_done(void *arg)
{
    struct ek_journal_job *job = arg;
    struct ek_journal *j = job->journal;
    if (j) {
        MUST_OBJ(j, EK_JOURNAL_MAGIC);
        MUST(j->batch == job);
        end_batch(j, job);
        j->batch = NULL;
    }
    job_free(job);
    if (j) ek_journal_launch(j);
}

static struct ek_journal_job *fill_batch(struct ek_journal *j)
{
    struct ek_journal_job *job = job_new(j, run_batch);
    uint64_t bytes = 0;
    struct ek_link *n;
    while ((n = ek_list_first(&j->pending)) && job->ops.count < BATCH_OPS_MAX && bytes < BATCH_BYTES_MAX) {
        struct ek_journal_op *op = EK_CONTAINER(n, struct ek_journal_op, link);
        ek_list_remove(&j->pending, n);
        prepare(j, job, op);
        add_to_batch(j, job, op);
        bytes += op->payload_bytes;
        if (op->what == EK_JOURNAL_MOVE) break; /* what comes behind must see where it went */
    }
    j->counters.batches++;
    return job;
}

/* When every helper is taken the next tick tries again. */
void ek_journal_hand_over(struct ek_journal *j)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    if (!j->batch || j->batch->submitted) return;
    j->batch->submitted = ek_work_submit(j->loop, job_work, batch_done, j->batch) == EK_OK;
}

void ek_journal_launch(struct ek_journal *j)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    if (j->batch || j->pending.count == 0) return;
    j->batch = fill_batch(j);
    ek_journal_hand_over(j);
}

/* ---- syncs ----------------------------------------------------------------------------------- */

static void end_sync(struct ek_journal *j, struct ek_journal_job *job)
{
    for (uint32_t i = 0; i < job->files; i++) job->file[i]->syncing = false;
    j->counters.syncs++;
    if (!job->error) return;
    j->counters.failures++;
    ek_journal_in_trouble(j, job->error);
}

static void sync_done(void *arg)
{
    struct ek_journal_job *job = arg;
    struct ek_journal *j = job->journal;
    if (j) {
        MUST_OBJ(j, EK_JOURNAL_MAGIC);
        MUST(j->sync == job);
        end_sync(j, job);
        j->sync = NULL;
    }
    job_free(job);
}

void ek_journal_sync(struct ek_journal *j)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    if (j->sync) return;
    struct ek_journal_job *job = job_new(j, run_sync);
    for (struct ek_link *n = ek_list_first(&j->segments); n; n = ek_list_next(&j->segments, n)) {
        struct ek_journal_segment *s = EK_CONTAINER(n, struct ek_journal_segment, link);
        if (!s->dirty || !s->made || s->dropping || job->files == EK_JOURNAL_SYNC_MAX) continue;
        s->dirty = false;
        s->syncing = true;
        job->file[job->files] = s;
        job->fd[job->files++] = s->fd;
    }
    if (j->dir_dirty) job->dir = j->dir_fd;
    j->dir_dirty = false;
    if (job->files == 0 && job->dir < 0) {
        job_free(job);
        return;
    }
    j->sync = job;
    job->submitted = true;
    j->synced_ns = ek_loop_now(j->loop).mono_ns;
    if (ek_work_submit(j->loop, job_work, sync_done, job) == EK_OK) return;
    for (uint32_t i = 0; i < job->files; i++) job->file[i]->dirty = true;
    end_sync(j, job);
    j->sync = NULL;
    job_free(job);
}

/* ---- here and now ---------------------------------------------------------------------------- */

static void finish_now(struct ek_journal_job *job)
{
    if (!atomic_exchange(&job->claimed, 1)) {
        job->run(job);
        return;
    }
    while (sem_wait(&job->finished) != 0) MUST(errno == EINTR);
}

void ek_journal_settle(struct ek_journal *j)
{
    MUST_OBJ(j, EK_JOURNAL_MAGIC);
    if (j->sync) {
        finish_now(j->sync);
        end_sync(j, j->sync);
        j->sync->journal = NULL; /* freed when the loop comes to it */
        j->sync = NULL;
    }
    while (j->batch || j->pending.count) {
        struct ek_journal_job *job = j->batch ? j->batch : fill_batch(j);
        j->batch = job;
        finish_now(job);
        end_batch(j, job);
        job->journal = NULL;
        if (!job->submitted) job_free(job);
        j->batch = NULL;
    }
}
