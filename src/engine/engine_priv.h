/* SPDX-License-Identifier: MIT */
/* The engine's inside, shared by engine.c (what other threads call) and engine_step.c (the step
 * thread), with engine_place.c. Which thread may touch what stands at each member. */
#ifndef EK_ENGINE_ENGINE_PRIV_H
#define EK_ENGINE_ENGINE_PRIV_H

#include "engine/engine.h"
#include "engine/forward.h"
#include "engine/job.h"
#include "engine/kv_tier.h"
#include "engine/spec.h"
#include "engine/step.h"

#include <pthread.h>
#include <time.h>

#define ENGINE_MAGIC 0xe4618e01u

enum { RING_EVENTS = 4096, WAITING_MAX = 65536 };

struct ek_engine {
    uint32_t magic;
    struct ek_engine_options options; /* constant after open, defaults filled in */
    char numerics[64];
    struct ek_model *model; /* constant */
    const struct ek_kernels *kernels;
    ek_engine_wake_fn *wake;
    void *wake_arg;
    pthread_t thread;
    bool started;

    /* The step thread's alone, except before start and after join. */
    struct ek_kv *kv;
    struct ek_team *team;
    struct ek_forward *forward;
    struct ek_job *running[EK_ENGINE_SLOTS_MAX];
    float *sample_scratch; /* [team size][2 * vocab] */
    struct ek_spec spec;
    struct ek_spec_record ahead;   /* how the block's guesses fared, of all jobs */
    struct ek_forward_look *looks; /* [step_tokens]; NULL: nothing looks ahead */
    int mixed_steps;               /* in a row, of those who generate and prompts */
    double chunk_row_s;            /* what a row of a prompt costs beside those who generate; 0: not known */
    struct ek_kv_disk *disk;       /* NULL: no disk tier */
    struct ek_kv_restore restore;  /* for `restoring`, which waits for it */
    uint64_t restore_moved_ns;     /* when something last came */
    bool disk_stuck;               /* it did not answer; nobody waits for it until it does */

    /* Guarded by lock. Order: lock before ring_lock, never the other way. */
    pthread_mutex_t lock;
    pthread_cond_t work; /* a job, a cancellation, something from the disk or quit arrived */
    unsigned kicks;      /* so many of them */
    bool stalled;        /* all that wait, wait for the disk, and nobody runs */
    struct ek_job *restoring; /* one of the waiting; NULL: none */
    bool quit;
    uint64_t last_id;
    struct ek_list waiting; /* by ek_job_before */
    uint32_t n_running;
    uint32_t n_requests; /* accepted and not over; a group is one */
    struct ek_job *live[EK_ENGINE_SLOTS_MAX]; /* = running, for ek_engine_cancel */
    struct ek_engine_load load;

    /* Guarded by ring_lock. */
    pthread_mutex_t ring_lock;
    pthread_cond_t ring_space;
    struct ek_engine_event *ring; /* [RING_EVENTS] */
    size_t ring_begin, ring_count;
    uint64_t ring_full;
    bool ring_quit;
};

void *ek_engine_step_main(void *engine);

/* engine_place.c: who runs, who waits. Those marked L want e->lock held. */
void ek_engine_job_over(struct ek_engine *e, struct ek_job *job); /* L: leaves its group, is freed next */
void ek_engine_prompt_done(struct ek_engine *e, struct ek_job *job); /* step thread: its group begins */
void ek_engine_enqueue(struct ek_engine *e, struct ek_job *job);   /* L */
struct ek_job *ek_engine_pop_cancelled(struct ek_engine *e);       /* L: one that waited; NULL: none */
void ek_engine_admit(struct ek_engine *e);                         /* L; step thread */
void ek_engine_leave(struct ek_engine *e, size_t slot);            /* step thread: pages back, slot free */
/* Step thread: pages for grant[slot] rows of every running job. Where there are too few, who comes last by
 * ek_job_before goes back to those who wait. grant[] of whom that stops becomes 0. */
void ek_engine_make_room(struct ek_engine *e, uint32_t grant[EK_ENGINE_SLOTS_MAX]);
void ek_engine_publish_load(struct ek_engine *e);                  /* L; step thread */

/* engine_disk.c: the step thread and the disk tier. */
EK_CHECKED enum ek_status ek_engine_open_disk(struct ek_engine *e, char *why, size_t why_cap);
bool ek_engine_from_disk(struct ek_engine *e, struct ek_job *job); /* L: it waits for pages from there */
void ek_engine_forget_restore(struct ek_engine *e);                /* L */
/* Offer pages, take what came. True: there is something on its way for somebody. */
bool ek_engine_tend_disk(struct ek_engine *e);

static inline uint64_t ek_engine_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif
