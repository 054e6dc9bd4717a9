/* SPDX-License-Identifier: MIT */
/* One thread and one connection. The exchange's arrays belong to the thread while `busy`, to the
 * loop otherwise. */
#include "ledger/shared.h"

#include "base/thread.h"

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define SHARED_MAGIC 0x54a8edu
#define TIMEOUT_S 1
#define NAME_BYTES 80u
#define KEEP_S 240 /* the two minutes that count, and some for clocks that differ */

/* What was heard of one account: [0] last minute, [1] this one. */
struct news {
    uint64_t requests[2], tokens[2], running;
};

struct ek_shared {
    uint32_t magic;
    struct ek_loop *loop;
    struct ek_windows *windows;
    struct ek_waker *waker;
    char address[256], prefix[NAME_BYTES], door[NAME_BYTES];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool ready, ended, stop; /* under the lock */
    bool busy;               /* the loop's */
    void (*heard)(void *arg);
    void *arg;
    struct ek_shared_counters count;
    /* the exchange */
    redisContext *redis; /* the thread's */
    struct ek_window_delta delta[EK_SHARED_BATCH_MAX];
    struct news news[EK_SHARED_BATCH_MAX];
    size_t deltas;
    uint64_t minute;
    uint32_t doors;
    bool good;
};

/* ---- the thread's side ----------------------------------------------------------------------- */

static bool connect_redis(struct ek_shared *s)
{
    struct timeval patience = {.tv_sec = TIMEOUT_S};
    char host[256];
    if (s->redis && !s->redis->err) return true;
    if (s->redis) redisFree(s->redis);
    if (strncmp(s->address, "unix:", 5) == 0) {
        s->redis = redisConnectUnixWithTimeout(s->address + 5, patience);
    } else {
        const char *colon = strrchr(s->address, ':');
        uint64_t port = 6379;
        if (colon && !ek_str_u64(ek_str_of(colon + 1), &port)) return false;
        size_t len = colon ? (size_t)(colon - s->address) : strlen(s->address);
        snprintf(host, sizeof host, "%.*s", (int)len, s->address);
        s->redis = redisConnectWithTimeout(host, (int)port, patience);
    }
    return s->redis && !s->redis->err && redisSetTimeout(s->redis, patience) == REDIS_OK;
}

/* A whole number, or 0. */
static uint64_t number_of(const redisReply *r)
{
    uint64_t n = 0;
    if (r && r->type == REDIS_REPLY_STRING && !ek_str_u64(ek_str_make(r->str, r->len), &n)) n = 0;
    return n;
}

/* The fields of the others in one minute's hash. seen[i] non-NULL: doors whose n: was in the newer
 * hash. */
static void add_hash(const struct ek_shared *s, const redisReply *r, struct news *n, int which,
                     const redisReply *newer)
{
    if (!r || r->type != REDIS_REPLY_ARRAY) return;
    for (size_t i = 0; i + 1 < r->elements; i += 2) {
        const redisReply *field = r->element[i];
        if (field->type != REDIS_REPLY_STRING || field->len < 3 || field->str[1] != ':') continue;
        if (strcmp(field->str + 2, s->door) == 0) continue;
        uint64_t value = number_of(r->element[i + 1]);
        bool known = false; /* a newer word of this door about what it has running */
        for (size_t k = 0; newer && newer->type == REDIS_REPLY_ARRAY && k < newer->elements; k += 2)
            known = known || strcmp(newer->element[k]->str, field->str) == 0;
        if (field->str[0] == 'r') n->requests[which] += value;
        if (field->str[0] == 't') n->tokens[which] += value;
        if (field->str[0] == 'n' && !known) n->running += value;
    }
}

static void count_doors(struct ek_shared *s, const redisReply *r)
{
    s->doors = 0;
    for (size_t i = 0; r && r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements; i += 2)
        s->doors += number_of(r->element[i + 1]) + 1 >= s->minute;
}

static void send_all(struct ek_shared *s)
{
    redisAppendCommand(s->redis, "HSET %s:doors %s %llu", s->prefix, s->door, (unsigned long long)s->minute);
    redisAppendCommand(s->redis, "HGETALL %s:doors", s->prefix);
    for (size_t i = 0; i < s->deltas; i++) {
        const struct ek_window_delta *d = &s->delta[i];
        char key[2][NAME_BYTES * 2];
        for (int k = 0; k < 2; k++)
            snprintf(key[k], sizeof key[k], "%s:w:%llu:%llu", s->prefix, (unsigned long long)d->account,
                     (unsigned long long)(d->minute - 1 + (uint64_t)k));
        redisAppendCommand(s->redis, "HSET %s r:%s %llu t:%s %llu n:%s %llu", key[1], s->door,
                           (unsigned long long)d->requests, s->door, (unsigned long long)d->tokens, s->door,
                           (unsigned long long)d->running);
        redisAppendCommand(s->redis, "EXPIRE %s %d", key[1], KEEP_S);
        redisAppendCommand(s->redis, "HGETALL %s", key[0]);
        redisAppendCommand(s->redis, "HGETALL %s", key[1]);
    }
}

static redisReply *next_reply(struct ek_shared *s)
{
    void *r = NULL;
    if (!s->good || redisGetReply(s->redis, &r) != REDIS_OK) s->good = false;
    redisReply *reply = r;
    if (reply && reply->type == REDIS_REPLY_ERROR) s->good = false; /* read only, out of memory, ... */
    return reply;
}

static void drop(redisReply *r)
{
    if (r) freeReplyObject(r);
}

static void exchange(struct ek_shared *s)
{
    s->good = connect_redis(s);
    if (!s->good) return;
    send_all(s);
    drop(next_reply(s));
    redisReply *doors = next_reply(s);
    if (s->good) count_doors(s, doors);
    drop(doors);
    for (size_t i = 0; i < s->deltas && s->good; i++) {
        s->news[i] = (struct news){0};
        drop(next_reply(s));
        drop(next_reply(s));
        redisReply *last = next_reply(s), *this_one = next_reply(s);
        add_hash(s, this_one, &s->news[i], 1, NULL);
        add_hash(s, last, &s->news[i], 0, this_one);
        drop(last);
        drop(this_one);
    }
    if (!s->good) { /* replies may be left over: begin afresh */
        redisFree(s->redis);
        s->redis = NULL;
    }
}

static void *thread_main(void *arg)
{
    struct ek_shared *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (!s->ready) {
            pthread_cond_wait(&s->work, &s->lock);
            continue;
        }
        s->ready = false;
        pthread_mutex_unlock(&s->lock);
        exchange(s);
        pthread_mutex_lock(&s->lock);
        s->ended = true;
        ek_waker_signal(s->waker);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the loop's side ------------------------------------------------------------------------- */

static void woken(void *arg)
{
    struct ek_shared *s = arg;
    pthread_mutex_lock(&s->lock);
    bool ended = s->ended;
    s->ended = false;
    pthread_mutex_unlock(&s->lock);
    if (!ended) return;
    MUST(s->busy);
    s->busy = false;
    s->count.exchanges++;
    s->count.failures += !s->good;
    s->count.here = s->good;
    if (s->good && s->doors > 0) s->count.doors = s->doors;
    for (size_t i = 0; i < s->deltas && s->good; i++) {
        const struct news *n = &s->news[i];
        ek_windows_others(s->windows, s->delta[i].account, s->delta[i].minute, n->requests[0], n->requests[1],
                          n->tokens[0], n->tokens[1], n->running);
    }
    ek_windows_alone(s->windows, s->good ? 0 : s->count.doors);
    if (s->heard) s->heard(s->arg);
}

bool ek_shared_tick(struct ek_shared *s, struct ek_now now, void (*heard)(void *arg), void *arg)
{
    MUST_OBJ(s, SHARED_MAGIC);
    if (s->busy) return false;
    s->heard = heard;
    s->arg = arg;
    s->deltas = ek_windows_unsent(s->windows, s->delta, EK_SHARED_BATCH_MAX, now);
    s->minute = now.unix_ns / (60 * EK_S_NS);
    s->busy = true;
    pthread_mutex_lock(&s->lock);
    s->ready = true;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    return true;
}

struct ek_shared *ek_shared_new(struct ek_loop *loop, const struct ek_shared_options *o, struct ek_windows *w)
{
    struct ek_shared *s = calloc(1, sizeof *s);
    MUST(s);
    MUST(strlen(o->prefix) < NAME_BYTES && strlen(o->door) < NAME_BYTES);
    s->magic = SHARED_MAGIC;
    s->loop = loop;
    s->windows = w;
    s->count.doors = 1;
    snprintf(s->address, sizeof s->address, "%s", o->address);
    snprintf(s->prefix, sizeof s->prefix, "%s", o->prefix);
    snprintf(s->door, sizeof s->door, "%s", o->door);
    MUST(pthread_mutex_init(&s->lock, NULL) == 0 && pthread_cond_init(&s->work, NULL) == 0);
    s->waker = ek_waker_new(loop, woken, s);
    MUST(ek_thread_start(&s->thread, thread_main, s));
    return s;
}

void ek_shared_free(struct ek_shared **s)
{
    if (!*s) return;
    MUST_OBJ(*s, SHARED_MAGIC);
    pthread_mutex_lock(&(*s)->lock);
    (*s)->stop = true;
    pthread_cond_signal(&(*s)->work);
    pthread_mutex_unlock(&(*s)->lock);
    MUST(pthread_join((*s)->thread, NULL) == 0);
    ek_waker_close(&(*s)->waker);
    if ((*s)->redis) redisFree((*s)->redis);
    pthread_mutex_destroy(&(*s)->lock);
    pthread_cond_destroy(&(*s)->work);
    (*s)->magic = 0;
    free(*s);
    *s = NULL;
}

void ek_shared_counters(const struct ek_shared *s, struct ek_shared_counters *out)
{
    MUST_OBJ(s, SHARED_MAGIC);
    *out = s->count;
}
