/* SPDX-License-Identifier: MIT */
/* One job inside the engine: its tokens, its place, its thought.
 *
 *   WAITING --> RUNNING --> DONE          from WAITING or RUNNING also by cancelling
 *      ^___________|  preempted: its pages are needed by one that goes before it
 *
 *   ids:  [ prompt | prefix | generated ... ]      seq.tokens of them are in the KV cache
 *
 * Made and checked by whoever submits; from then on the step thread owns it, except for `cancelled`,
 * which is guarded by the engine's lock. */
#ifndef EK_ENGINE_JOB_H
#define EK_ENGINE_JOB_H

#include "base/list.h"
#include "engine/engine.h"
#include "engine/guide.h"
#include "engine/kv.h"
#include "engine/spec.h"

enum ek_job_state { EK_JOB_WAITING, EK_JOB_RUNNING, EK_JOB_DONE };

/* Where a job stands in its thought; a pure function of the tokens generated so far. */
struct ek_thought {
    bool open, over;
    uint32_t tokens;  /* generated within the thought, forced ones not counted */
    uint32_t closing; /* forced tokens already emitted */
};

/* Jobs that were handed in together. Guarded by the engine's lock. */
struct ek_job_group {
    uint32_t members;
    bool ready; /* the first one's prompt is computed, or it is gone: the others may begin */
};

struct ek_job {
    uint64_t id;
    enum ek_job_state state;
    bool cancelled; /* guarded by the engine's lock */
    void *user;
    uint32_t *ids; /* [prompt_tokens + max_tokens], owned */
    uint32_t prompt_tokens, n_ids;
    uint32_t max_tokens; /* generated, already cut at the context length */
    struct ek_sampling sampling;
    struct ek_job_thinking thinking;
    struct ek_thought thought;
    uint32_t stop_ids[EK_ENGINE_STOP_IDS_MAX], stop_count;
    bool ignore_stop_ids;
    uint32_t top_logprobs;
    uint16_t *seen_prompt, *seen_generated; /* [vocab], only with penalties; owned */
    struct ek_logit_bias *bias; /* owned */
    uint32_t bias_count;
    struct ek_guide *guide; /* owned; NULL: anything may come */
    uint32_t guide_from;
    bool guide_lost; /* a token came that the guide does not know: only in a prefix that was handed in */
    uint64_t cache_salt;
    uint32_t cached_tokens; /* that the sequence began with */
    struct ek_kv_seq seq;
    uint32_t priority;
    bool begun; /* it has run before */
    struct ek_spec_record guesses[EK_SPEC_SOURCES];
    uint32_t guess[EK_SPEC_SOURCES]; /* of this step's next token, or EK_NO_TOKEN */
    struct ek_spec_draft draft[EK_SPEC_SOURCES];
    uint32_t draft_ids[EK_SPEC_SOURCES]; /* behind so many ids; of no use when there are more */
    enum ek_spec_source source;          /* of the guesses computed in this step */
    bool disk_asked; /* since it came to wait: nothing more is coming from the disk tier for it */
    uint64_t disk_since_ns; /* has waited for that since; 0: it has not */
    struct ek_job_group *group; /* NULL: it came alone. The last member frees it */
    bool leads;                 /* the first of its group */
    struct ek_link link; /* in the waiting list */
};

/* A copy of what was submitted, checked: EK_INVALID with a sentence, EK_OK with an owned job. */
EK_CHECKED enum ek_status ek_job_new(const struct ek_engine_job *from, uint32_t vocab,
                                     uint32_t ctx_tokens, struct ek_job **out, char *why,
                                     size_t why_cap);
void ek_job_free(struct ek_job **job); /* its KV pages must be given back */

void ek_job_set_state(struct ek_job *job, enum ek_job_state next);

/* Who goes first: the more urgent, then the one that came first. */
static inline bool ek_job_before(const struct ek_job *a, const struct ek_job *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->id < b->id;
}

static inline uint32_t ek_job_generated(const struct ek_job *j) { return j->n_ids - j->prompt_tokens; }

/* The token that must come next because the thinking budget is spent, or -1. */
int64_t ek_thought_forced(const struct ek_job_thinking *rule, const struct ek_thought *t);

/* Take generated token number `index` into account. True when the token belongs to the thought (its
 * end marker does too). */
bool ek_thought_advance(const struct ek_job_thinking *rule, struct ek_thought *t, uint32_t index,
                        uint32_t id);

/* What the sampler must know of the job; a mask in it is the guide's, valid until the next token. */
struct ek_sample_history ek_job_history(struct ek_job *job);

/* The answer is whole: nothing may follow what was generated. */
bool ek_job_is_over(const struct ek_job *job);

/* Add a generated token: to the ids, the thought and the history. Its answer as above. */
bool ek_job_append(struct ek_job *job, uint32_t id);

bool ek_job_is_stop(const struct ek_job *job, uint32_t id);

#endif
