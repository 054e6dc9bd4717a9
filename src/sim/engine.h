/* SPDX-License-Identifier: MIT */
/* An engine with continuous batching, on virtual time and without an event per token.
 *
 * One step makes one token for each of B decoding streams and, while a prompt is being read, works off
 * `chunk` of its tokens. A step lasts
 *
 *     step_s + stream_s * B + kv_s * K + (reading ? chunk * prompt_s : 0)
 *
 * with K the context tokens of the streams: the roofline of a decode step (weights, activations, KV).
 * The virtual clock V counts steps. Every stream gains one token a unit of V, so its end lies at a fixed
 * V, and a heap of these is the whole schedule. K grows by B a unit of V, so real time is a quadratic
 * in V between two events and is solved exactly. V is kept in 2^-20 steps: integers, no drift.
 *
 * Prompts are read one at a time in order of arrival; a stream's KV is taken when its reading begins.
 * When KV runs out the youngest stream loses its place and is read again later (as vLLM does). */
#ifndef EK_SIM_ENGINE_H
#define EK_SIM_ENGINE_H

#include "base/must.h"
#include "sim/request.h"

#define EK_SIM_ENGINES_MAX 32
#define EK_SIM_V 1048576.0 /* units of V in a step */

struct ek_sim_engine_options {
    uint32_t slots;     /* streams decoding or being read */
    uint64_t kv_tokens; /* memory for context */
    double step_s;
    double stream_s;
    double kv_s; /* per token of context */
    double prompt_s; /* 1 / prefill rate */
    uint32_t chunk_tokens;
    uint64_t cache_tokens; /* prefix cache, whole blocks; 0: none */
};

struct ek_sim_cache; /* cache.h */

enum ek_sim_event { EK_SIM_NOTHING = 0, EK_SIM_FIRST_TOKEN, EK_SIM_ANSWER, EK_SIM_FINISHED };

struct ek_sim_engine {
    struct ek_sim_engine_options o;
    struct ek_heap_node next; /* of the world: its next event */
    struct ek_sim_cache *cache;
    struct ek_heap ends;   /* of decoding streams */
    struct ek_list queue;  /* QUEUED, in order */
    struct ek_list batch;  /* DECODE, the oldest first */
    struct ek_sim_request *reading;
    double left_tokens; /* of the prompt being read */
    uint64_t at_ns;
    uint64_t v;
    int64_t k0; /* K = (k0 + B * v), in 2^-20 tokens */
    double slow; /* all times are multiplied by it; 1 */
    /* counters */
    uint64_t preempted;
    uint64_t reread_tokens; /* prompt and output tokens computed a second time */
    uint64_t prompt_tokens; /* computed */
    uint64_t hit_tokens;    /* found in the cache */
    double busy_s;          /* with anything to do */
    double stream_steps;    /* integral of B over V: decoded tokens */
};

void ek_sim_engine_init(struct ek_sim_engine *e, const struct ek_sim_engine_options *o);
void ek_sim_engine_free(struct ek_sim_engine *e);
/* Hand it a request; block: ids of the source's prefix blocks, or NULL. */
void ek_sim_engine_send(struct ek_sim_engine *e, uint64_t now_ns, struct ek_sim_request *r,
                        const uint32_t *block);
/* Take a request away in whatever state. Returns the tokens it had made. */
uint32_t ek_sim_engine_cancel(struct ek_sim_engine *e, uint64_t now_ns, struct ek_sim_request *r);
/* When something will happen; UINT64_MAX: never, as things are. */
uint64_t ek_sim_engine_next_ns(const struct ek_sim_engine *e);
/* Something that has happened by now_ns, one at a time. A finished request has left the engine. */
enum ek_sim_event ek_sim_engine_step(struct ek_sim_engine *e, uint64_t now_ns, const uint32_t *block,
                                     struct ek_sim_request **out);
/* Tokens a request has made so far, lost ones counted once. The engine must be advanced to now. */
uint32_t ek_sim_engine_made(const struct ek_sim_engine *e, const struct ek_sim_request *r);
void ek_sim_engine_advance(struct ek_sim_engine *e, uint64_t now_ns);
/* Halve the machine, or give it back: times from now_ns on are multiplied by `slow`. */
void ek_sim_engine_slow(struct ek_sim_engine *e, uint64_t now_ns, double slow);

static inline uint32_t ek_sim_engine_running(const struct ek_sim_engine *e)
{
    return (uint32_t)e->batch.count + (e->reading ? 1 : 0);
}
static inline uint32_t ek_sim_engine_queued(const struct ek_sim_engine *e)
{
    return (uint32_t)e->queue.count;
}
uint64_t ek_sim_engine_kv_used(const struct ek_sim_engine *e);
void ek_sim_engine_check(const struct ek_sim_engine *e);

#endif
