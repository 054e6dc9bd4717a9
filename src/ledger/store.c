/* SPDX-License-Identifier: MIT */
/* The writer thread, the thread that reconnects, and the queues between them and the loop.
 *
 * Who may touch what: `lock` guards the queues, the counters, `fresh` and the flags; the ledger and the spool
 * are the writer's alone; operations belong to whoever holds the list they are on. Nothing slow is done under
 * the lock. */
#include "ledger/store.h"

#include "base/thread.h"
#include "ledger/spool.h"
#include "ledger/sql.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STORE_MAGIC 0x57053e11u
#define QUEUE_MAX 8192u
#define SPOOL_BYTES (UINT64_C(256) << 20)
#define JOBS_A_TURN 16u
#define RETRY_MS 500

struct ek_store {
    uint32_t magic;
    struct ek_loop *loop;
    struct ek_store_options o;
    char url[512], door[EK_LEDGER_NAME_MAX + 1];
    struct ek_waker *waker;
    struct ek_post post; /* on_loop only */
    struct ek_list called; /* the loop's: done, to be called */

    struct ek_ledger *ledger; /* the writer's; NULL: away */
    struct ek_spool *spool;
    bool took_back;           /* old leases of this door, since the start of the process */
    struct ek_settle_record *page; /* one batch of the spool */

    pthread_mutex_t lock;
    pthread_cond_t work, retry;
    struct ek_list settles, jobs, finished;
    struct ek_ledger *fresh; /* a new connection, for the writer to take */
    struct ek_store_counters count;
    uint32_t under_way;
    bool stop, wants_connection, told_here;
    char why[256];
    pthread_t writer, connector;
};

/* ---- the connector: a thread of its own, for a connection may hang for seconds ---------------- */

static void *connect_main(void *arg)
{
    struct ek_store *s = arg;
    char why[256];
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (!s->wants_connection || s->fresh) {
            pthread_cond_wait(&s->retry, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        struct ek_ledger *l = NULL;
        enum ek_status status = ek_ledger_open(&s->o.ledger, &l, why, sizeof why);
        pthread_mutex_lock(&s->lock);
        if (status == EK_OK) {
            s->o.ledger.must_exist = true;
            s->fresh = l;
            s->wants_connection = false;
            pthread_cond_signal(&s->work);
            continue;
        }
        snprintf(s->why, sizeof s->why, "%s", why);
        s->count.refused++;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += RETRY_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        while (!s->stop && pthread_cond_timedwait(&s->retry, &s->lock, &until) != ETIMEDOUT) {
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the database comes and goes ------------------------------------------------------------- */

static void wake(struct ek_store *s)
{
    if (s->waker) ek_waker_signal(s->waker);
}

/* The connection is of no use any more. */
static void go_away(struct ek_store *s)
{
    pthread_mutex_lock(&s->lock);
    snprintf(s->why, sizeof s->why, "%s", s->ledger ? ek_ledger_why(s->ledger) : s->why);
    s->count.away += s->count.here;
    s->count.here = false;
    s->wants_connection = true;
    pthread_cond_signal(&s->retry);
    pthread_mutex_unlock(&s->lock);
    ek_ledger_close(&s->ledger);
    wake(s);
}

static enum ek_status replay(struct ek_store *s)
{
    struct ek_settle_outcome outcome[EK_LEDGER_BATCH_MAX];
    const struct ek_settle_record *record[EK_LEDGER_BATCH_MAX] = {NULL};
    uint64_t done = 0;
    enum ek_status status = EK_OK;
    while (done < ek_spool_count(s->spool) && status == EK_OK) {
        size_t got = 0;
        status = ek_spool_read(s->spool, done, s->page, EK_LEDGER_BATCH_MAX, &got);
        for (size_t i = 0; i < got; i++) record[i] = &s->page[i];
        if (status == EK_OK) status = ek_ledger_settle(s->ledger, record, got, outcome);
        done += got;
    }
    if (status == EK_OK && done > 0) status = ek_spool_clear(s->spool);
    pthread_mutex_lock(&s->lock);
    if (status == EK_OK) s->count.replayed += done;
    s->count.spool_records = ek_spool_count(s->spool);
    pthread_mutex_unlock(&s->lock);
    return status;
}

/* A new connection: first what lies in the spool, then (once a life) the leases of the former life. */
static void come_back(struct ek_store *s)
{
    MUST(s->ledger);
    enum ek_status status = replay(s);
    if (status == EK_OK && !s->took_back) {
        status = ek_ledger_take_back(s->ledger);
        s->took_back = status == EK_OK;
    }
    if (status == EK_OK) ek_sql_roomy_log(ek_ledger_sql(s->ledger));
    if (status != EK_OK) {
        go_away(s);
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->count.here = true;
    pthread_mutex_unlock(&s->lock);
    wake(s);
}

/* ---- the work -------------------------------------------------------------------------------- */

static struct ek_settle_op *settle_of(struct ek_link *link)
{
    struct ek_store_op *op = EK_CONTAINER(link, struct ek_store_op, link);
    return EK_CONTAINER(op, struct ek_settle_op, op);
}

static enum ek_status spool(struct ek_store *s, struct ek_settle_op **op,
                            const struct ek_settle_record *const *record, size_t count)
{
    enum ek_status status = ek_spool_append(s->spool, record, count);
    for (size_t i = 0; i < count; i++) {
        op[i]->spooled = status == EK_OK;
        op[i]->outcome = (struct ek_settle_outcome){.charged = record[i]->charged};
    }
    return status;
}

/* One group: to the database, and where that fails to the spool. Either way durable when this returns EK_OK,
 * exactly once: a commit whose answer was lost is found by its ids when the spool is replayed. */
static void settle_group(struct ek_store *s, struct ek_list *group)
{
    struct ek_settle_op *op[EK_LEDGER_BATCH_MAX];
    const struct ek_settle_record *record[EK_LEDGER_BATCH_MAX] = {NULL};
    struct ek_settle_outcome outcome[EK_LEDGER_BATCH_MAX];
    size_t count = 0;
    EK_LIST_EACH(group, link) {
        MUST(count < EK_LEDGER_BATCH_MAX);
        op[count] = settle_of(link);
        record[count] = &op[count]->record;
        op[count++]->spooled = false;
    }
    enum ek_status status = s->ledger ? ek_ledger_settle(s->ledger, record, count, outcome) : EK_IO;
    bool here = status == EK_OK;
    for (size_t i = 0; i < count && here; i++) op[i]->outcome = outcome[i];
    if (!here) {
        if (s->ledger) go_away(s);
        status = spool(s, op, record, count);
    }
    uint64_t now = ek_clock_read().mono_ns;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < count; i++) {
        op[i]->op.status = status;
        ek_histogram_add(&s->count.commit, (double)ek_ns_since(now, op[i]->op.asked_mono_ns) * 1e-9);
    }
    s->count.batches++;
    s->count.settled += here ? count : 0;
    s->count.spooled += !here && status == EK_OK ? count : 0;
    s->count.failed += status != EK_OK ? count : 0;
    s->count.spool_records = ek_spool_count(s->spool);
    pthread_mutex_unlock(&s->lock);
}

static void run_job(struct ek_store *s, struct ek_store_op *op)
{
    op->status = s->ledger ? op->run(s->ledger, op) : EK_IO;
    if (s->ledger && ek_ledger_lost(s->ledger)) go_away(s);
}

static void move_all(struct ek_list *from, struct ek_list *to, size_t most)
{
    for (struct ek_link *link; most > 0 && (link = ek_list_first(from)) != NULL; most--) {
        ek_list_remove(from, link);
        ek_list_append(to, link);
    }
}

/* Jobs, the done ones into `done`: one, and more for as long as no settlement waits, for each has a commit of
 * its own, and the ends of answers would wait behind sixteen of them. */
static void run_jobs(struct ek_store *s, struct ek_list *done)
{
    while (done->count < JOBS_A_TURN) {
        struct ek_link *link = NULL;
        pthread_mutex_lock(&s->lock);
        if (done->count == 0 || s->settles.count == 0) link = ek_list_first(&s->jobs);
        if (link) ek_list_remove(&s->jobs, link);
        pthread_mutex_unlock(&s->lock);
        if (!link) break;
        run_job(s, EK_CONTAINER(link, struct ek_store_op, link));
        ek_list_append(done, link);
    }
}

/* Take what is queued, do it, hand it back. Called with the lock held, returns with it held. */
static void turn(struct ek_store *s)
{
    struct ek_list group, jobs;
    ek_list_init(&group);
    ek_list_init(&jobs);
    move_all(&s->settles, &group, EK_LEDGER_BATCH_MAX);
    struct ek_ledger *fresh = s->fresh;
    s->fresh = NULL;
    pthread_mutex_unlock(&s->lock);
    if (fresh) {
        MUST(!s->ledger);
        s->ledger = fresh;
        come_back(s);
    }
    if (group.count) {
        settle_group(s, &group);
        pthread_mutex_lock(&s->lock);
        move_all(&group, &s->finished, SIZE_MAX);
        bool jobs_follow = s->jobs.count > 0;
        pthread_mutex_unlock(&s->lock);
        if (jobs_follow) wake(s); /* those are not waited for */
    }
    run_jobs(s, &jobs);
    pthread_mutex_lock(&s->lock);
    s->count.jobs += jobs.count;
    move_all(&jobs, &s->finished, SIZE_MAX);
}

static bool idle(const struct ek_store *s)
{
    return s->settles.count == 0 && s->jobs.count == 0 && !s->fresh;
}

static void *write_main(void *arg)
{
    struct ek_store *s = arg;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (idle(s) && !s->stop) pthread_cond_wait(&s->work, &s->lock);
        if (idle(s)) break;
        turn(s);
        pthread_mutex_unlock(&s->lock);
        wake(s);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the loop's side ------------------------------------------------------------------------- */

static void deliver(struct ek_store *s)
{
    bool tell = false, here;
    char why[sizeof s->why];
    pthread_mutex_lock(&s->lock);
    move_all(&s->finished, &s->called, SIZE_MAX);
    here = s->count.here;
    tell = here != s->told_here;
    s->told_here = here;
    snprintf(why, sizeof why, "%s", s->why);
    s->under_way -= (uint32_t)s->called.count;
    pthread_mutex_unlock(&s->lock);
    if (tell && s->o.changed) s->o.changed(s->o.arg, here, here ? "" : why);
    for (struct ek_link *link; (link = ek_list_first(&s->called)) != NULL;) {
        struct ek_store_op *op = EK_CONTAINER(link, struct ek_store_op, link);
        ek_list_remove(&s->called, link);
        op->done(op);
    }
}

static void woken(void *arg)
{
    deliver(arg);
}

static void posted(struct ek_post *p)
{
    struct ek_store *s = EK_CONTAINER(p, struct ek_store, post);
    pthread_mutex_lock(&s->lock);
    while (!idle(s)) turn(s);
    pthread_mutex_unlock(&s->lock);
    deliver(s);
}

static enum ek_status put(struct ek_store *s, struct ek_list *queue, struct ek_store_op *op)
{
    MUST_OBJ(s, STORE_MAGIC);
    MUST(op->done && !ek_link_linked(&op->link));
    op->asked_mono_ns = ek_clock_read().mono_ns;
    pthread_mutex_lock(&s->lock);
    bool full = s->under_way >= s->o.queue_max;
    if (full) {
        s->count.full++;
    } else {
        s->under_way++;
        ek_list_append(queue, &op->link);
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    if (!full && s->o.on_loop) ek_post_put(s->loop, &s->post);
    return full ? EK_FULL : EK_OK;
}

enum ek_status ek_store_settle(struct ek_store *s, struct ek_settle_op *op, ek_store_done_fn *done)
{
    MUST(ek_id_is_set(op->record.request));
    op->op = (struct ek_store_op){.done = done};
    return put(s, &s->settles, &op->op);
}

enum ek_status ek_store_do(struct ek_store *s, struct ek_store_op *op, ek_store_run_fn *run,
                           ek_store_done_fn *done)
{
    MUST(run);
    *op = (struct ek_store_op){.run = run, .done = done};
    return put(s, &s->jobs, op);
}

bool ek_store_here(struct ek_store *s)
{
    pthread_mutex_lock(&s->lock);
    bool here = s->count.here;
    pthread_mutex_unlock(&s->lock);
    return here;
}

void ek_store_counters(struct ek_store *s, struct ek_store_counters *out)
{
    MUST_OBJ(s, STORE_MAGIC);
    pthread_mutex_lock(&s->lock);
    *out = s->count;
    out->queued = s->under_way;
    pthread_mutex_unlock(&s->lock);
}

/* ---- opening and closing --------------------------------------------------------------------- */

static struct ek_store *make(struct ek_loop *loop, const struct ek_store_options *o)
{
    struct ek_store *s = calloc(1, sizeof *s);
    pthread_condattr_t monotonic;
    MUST(s);
    s->magic = STORE_MAGIC;
    s->loop = loop;
    s->o = *o;
    snprintf(s->url, sizeof s->url, "%s", o->ledger.url);
    snprintf(s->door, sizeof s->door, "%s", o->ledger.door);
    s->o.ledger.url = s->url;
    s->o.ledger.door = s->door;
    if (s->o.queue_max == 0) s->o.queue_max = QUEUE_MAX;
    if (s->o.spool_bytes_max == 0) s->o.spool_bytes_max = SPOOL_BYTES;
    s->page = calloc(EK_LEDGER_BATCH_MAX, sizeof *s->page);
    MUST(s->page);
    ek_list_init(&s->called);
    ek_list_init(&s->settles);
    ek_list_init(&s->jobs);
    ek_list_init(&s->finished);
    ek_post_init(&s->post, posted);
    ek_histogram_init(&s->count.commit, ek_seconds_bounds, EK_SECONDS_BOUNDS);
    MUST(pthread_condattr_init(&monotonic) == 0);
    MUST(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    MUST(pthread_mutex_init(&s->lock, NULL) == 0);
    MUST(pthread_cond_init(&s->work, NULL) == 0 && pthread_cond_init(&s->retry, &monotonic) == 0);
    pthread_condattr_destroy(&monotonic);
    return s;
}

static void unmake(struct ek_store **s)
{
    ek_ledger_close(&(*s)->ledger);
    ek_ledger_close(&(*s)->fresh);
    ek_spool_close(&(*s)->spool);
    pthread_mutex_destroy(&(*s)->lock);
    pthread_cond_destroy(&(*s)->work);
    pthread_cond_destroy(&(*s)->retry);
    free((*s)->page);
    (*s)->magic = 0;
    free(*s);
    *s = NULL;
}

enum ek_status ek_store_open(struct ek_loop *loop, const struct ek_store_options *o, struct ek_store **out,
                             char *why, size_t cap)
{
    MUST(strlen(o->ledger.door) <= EK_LEDGER_NAME_MAX);
    *out = NULL;
    struct ek_store *s = make(loop, o);
    enum ek_status status = ek_spool_open(o->spool_path, s->o.spool_bytes_max, &s->spool, why, cap);
    if (status == EK_OK) {
        status = ek_ledger_open(&s->o.ledger, &s->ledger, why, cap);
        if (status == EK_IO) {
            snprintf(s->why, sizeof s->why, "%s", why);
            status = EK_OK; /* away: the connector goes on trying */
        }
    }
    if (status != EK_OK) {
        unmake(&s);
        return status;
    }
    s->o.ledger.must_exist = s->ledger != NULL;
    s->count.spool_records = ek_spool_count(s->spool);
    s->told_here = true; /* who opens is told only if it is away */
    s->wants_connection = !s->ledger;
    if (s->ledger) come_back(s);
    if (!s->o.on_loop) {
        s->waker = ek_waker_new(loop, woken, s);
        MUST(ek_thread_start(&s->writer, write_main, s));
        MUST(ek_thread_start(&s->connector, connect_main, s));
        if (!ek_store_here(s)) wake(s);
    }
    *out = s;
    return EK_OK;
}

void ek_store_close(struct ek_store **s)
{
    if (!*s) return;
    MUST_OBJ(*s, STORE_MAGIC);
    struct ek_store *store = *s;
    pthread_mutex_lock(&store->lock);
    store->stop = true;
    pthread_cond_broadcast(&store->work);
    pthread_cond_broadcast(&store->retry);
    pthread_mutex_unlock(&store->lock);
    if (store->o.on_loop) {
        ek_post_clear(store->loop, &store->post);
        posted(&store->post);
    } else {
        MUST(pthread_join(store->writer, NULL) == 0);
        MUST(pthread_join(store->connector, NULL) == 0);
        ek_waker_close(&store->waker);
        deliver(store);
    }
    MUST(store->under_way == 0); /* `done` asks for nothing more of a store that is being closed */
    unmake(s);
}
