/* SPDX-License-Identifier: MIT */
/* The engine's inside, shared by engine.c (what other threads call) and engine_step.c (the step
 * thread). Which thread may touch what stands at each member. */
#ifndef EK_ENGINE_ENGINE_PRIV_H
#define EK_ENGINE_ENGINE_PRIV_H

#include "engine/engine.h"
#include "engine/forward.h"
#include "engine/job.h"
#include "engine/step.h"

#include <pthread.h>

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

    /* Guarded by lock. Order: lock before ring_lock, never the other way. */
    pthread_mutex_t lock;
    pthread_cond_t work; /* a job or quit arrived */
    bool quit;
    uint64_t last_id;
    struct ek_job *waiting, **waiting_end; /* first in, first out */
    uint32_t n_waiting, n_running;
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

#endif
