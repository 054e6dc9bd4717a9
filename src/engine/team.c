/* SPDX-License-Identifier: MIT */
/* Threads that claim chunks from one 64-bit word:
 *
 *     word = generation << 32 | chunks left to claim
 *
 * The caller writes fn and arg, then publishes a new generation with its chunks. A member reads the
 * word, reads fn and arg, then claims a chunk by compare-and-swap on the word. If that succeeds, the
 * chunk was still unclaimed in this generation, so the caller cannot have begun the next one and what
 * was read is what was meant; if it fails, everything is read again. `done` counts finished chunks.
 * Members look for work for a short while, then sleep on a condition variable. */
#include "engine/team.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

enum { SPINS = 1000, CHUNKS_EACH = 4 }; /* some 40 microseconds */
static const double WORK_WORTH_WAKING = 100e3; /* multiplications: some ten microseconds */

#define TEAM_MAGIC 0x7ea3a001u

struct member {
    struct ek_team *team;
    unsigned index;
    pthread_t thread;
};

struct ek_team {
    uint32_t magic;
    unsigned size;
    _Atomic uint64_t word;
    _Atomic(ek_team_fn *) fn;
    _Atomic(void *) arg;
    atomic_uint chunks, done;
    atomic_uint sleepers;
    atomic_bool quit;
    pthread_mutex_t lock; /* guards only the sleep */
    pthread_cond_t wake;
    struct member member[EK_TEAM_MAX];
};

static inline void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Claim and run one chunk; false when none is left. */
static bool run_one(struct ek_team *t, unsigned member)
{
    uint64_t word = atomic_load(&t->word);
    while ((uint32_t)word != 0) {
        ek_team_fn *fn = atomic_load(&t->fn);
        void *arg = atomic_load(&t->arg);
        unsigned chunks = atomic_load(&t->chunks);
        if (!atomic_compare_exchange_weak(&t->word, &word, word - 1)) continue;
        fn(arg, chunks - (uint32_t)word, chunks, member);
        atomic_fetch_add(&t->done, 1);
        return true;
    }
    return false;
}

static void sleep_until_work(struct ek_team *t)
{
    pthread_mutex_lock(&t->lock);
    atomic_fetch_add(&t->sleepers, 1);
    while ((uint32_t)atomic_load(&t->word) == 0 && !atomic_load(&t->quit)) {
        pthread_cond_wait(&t->wake, &t->lock);
    }
    atomic_fetch_sub(&t->sleepers, 1);
    pthread_mutex_unlock(&t->lock);
}

static void *member_main(void *arg)
{
    struct member *m = arg;
    struct ek_team *t = m->team;
    unsigned idle = 0;
    while (!atomic_load(&t->quit)) {
        if (run_one(t, m->index)) {
            idle = 0;
        } else if (++idle < SPINS) {
            pause_briefly();
        } else {
            sleep_until_work(t);
            idle = 0;
        }
    }
    return NULL;
}

static void wake_all(struct ek_team *t)
{
    pthread_mutex_lock(&t->lock);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

struct ek_team *ek_team_new(unsigned size)
{
    MUST(size >= 1 && size <= EK_TEAM_MAX);
    struct ek_team *t = calloc(1, sizeof *t);
    MUST(t != NULL);
    t->magic = TEAM_MAGIC;
    t->size = size;
    MUST(pthread_mutex_init(&t->lock, NULL) == 0);
    MUST(pthread_cond_init(&t->wake, NULL) == 0);
    for (unsigned i = 1; i < size; i++) {
        t->member[i] = (struct member){.team = t, .index = i};
        if (pthread_create(&t->member[i].thread, NULL, member_main, &t->member[i]) != 0) {
            t->size = i; /* fewer threads than asked for: slower, not wrong */
            break;
        }
    }
    return t;
}

void ek_team_free(struct ek_team **tp)
{
    struct ek_team *t = *tp;
    if (!t) return;
    MUST_OBJ(t, TEAM_MAGIC);
    atomic_store(&t->quit, true);
    wake_all(t);
    for (unsigned i = 1; i < t->size; i++) pthread_join(t->member[i].thread, NULL);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    t->magic = 0;
    free(t);
    *tp = NULL;
}

unsigned ek_team_size(const struct ek_team *t) { return t->size; }

void ek_team_run(struct ek_team *t, ek_team_fn *fn, void *arg, unsigned chunks)
{
    MUST_OBJ(t, TEAM_MAGIC);
    MUST((uint32_t)atomic_load(&t->word) == 0);
    if (chunks <= 1 || t->size == 1) {
        for (unsigned i = 0; i < chunks; i++) fn(arg, i, chunks, 0);
        return;
    }
    atomic_store(&t->fn, fn);
    atomic_store(&t->arg, arg);
    atomic_store(&t->chunks, chunks);
    atomic_store(&t->done, 0);
    uint64_t generation = (atomic_load(&t->word) >> 32) + 1;
    atomic_store(&t->word, generation << 32 | chunks);
    if (atomic_load(&t->sleepers) > 0) wake_all(t);
    while (run_one(t, 0)) continue;
    /* The rest is in the hands of others. If that takes long, one of them has lost its core, perhaps to
     * us: give way. */
    for (unsigned spins = 0; atomic_load(&t->done) < chunks; spins++) {
        if (spins < SPINS) {
            pause_briefly();
        } else {
            sched_yield();
        }
    }
}

unsigned ek_team_chunks(const struct ek_team *t, double work, size_t most)
{
    size_t chunks = (size_t)t->size * CHUNKS_EACH;
    if (t->size == 1 || work < WORK_WORTH_WAKING) return 1;
    if (work / WORK_WORTH_WAKING * 2 < (double)chunks) {
        chunks = (size_t)(work / WORK_WORTH_WAKING * 2);
    }
    if (chunks > most) chunks = most;
    return chunks < 1 ? 1 : (unsigned)chunks;
}

void ek_team_part(size_t n, size_t grain, unsigned chunk, unsigned chunks, size_t *begin, size_t *end)
{
    MUST(chunk < chunks && grain > 0);
    size_t grains = (n + grain - 1) / grain;
    size_t from = grains * chunk / chunks * grain, to = grains * (chunk + 1) / chunks * grain;
    *begin = from < n ? from : n;
    *end = to < n ? to : n;
}
