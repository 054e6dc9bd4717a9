/* SPDX-License-Identifier: MIT */
/* The engine as the text side sees it: token ids in, token ids out, never text, never a socket.
 *
 *   HTTP thread:  ek_engine_submit, ek_engine_cancel ---> inbox ---> step thread (owns weights, KV,
 *                 ek_engine_take   <--- ring of events <-----------  batches; nobody else touches them)
 *
 * Every accepted job ends in exactly one event whose `finish` is not EK_JOB_GOES_ON; after it the
 * engine never mentions that job again. Functions may be called from any one thread at a time except
 * where they say otherwise; none blocks longer than a mutex held for a few copies.
 *
 * Promise (DESIGN 6): for one model file, version and instruction set, the tokens and logprobs of a job
 * depend on the job alone: not on its neighbours, chunking, cancelled jobs, what was found in the cache, how
 * often it had to make room for others, nor on whether part of its answer was handed in as `prefix`. */
#ifndef EK_ENGINE_ENGINE_H
#define EK_ENGINE_ENGINE_H

#include "base/status.h"
#include "engine/options.h"
#include "engine/sampler.h"

#include <stddef.h>

struct ek_engine;
struct ek_gguf;
struct ek_guide;

enum {
    EK_ENGINE_SLOTS_MAX = 64,
    EK_ENGINE_CLOSE_IDS_MAX = 16,
    EK_ENGINE_STOP_IDS_MAX = 16,
    EK_ENGINE_BIAS_MAX = 1024,
    EK_ENGINE_GROUP_MAX = 8,   /* jobs handed in together */
    EK_ENGINE_PRIORITY_MAX = 255,
    EK_ENGINE_DECODE_BUCKETS = 7, /* batches of 1, 2, 4, 8, 16, 32, 64 */
};

#define EK_THINK_UNLIMITED UINT32_MAX
#define EK_NO_TOKEN UINT32_MAX

/* How the thought of a reasoning model is recognised and kept within its budget. A token counts as
 * thought from the one after `open_id` (or from the first, if the prompt already opened it) up to and
 * without `end_id`. When `budget` thought tokens were generated and the thought is still open, the
 * next tokens are close_ids[0..close_count) (the last of which should be end_id), emitted as ordinary
 * tokens; then sampling goes on with the answer. All of it is replayed over `prefix`. */
struct ek_job_thinking {
    bool open_at_start;  /* the prompt ends inside a thought */
    uint32_t open_id;    /* <think>, or EK_NO_TOKEN; only honoured as the first generated token */
    uint32_t end_id;     /* </think>, or EK_NO_TOKEN: this job has no thought */
    uint32_t budget;     /* tokens, or EK_THINK_UNLIMITED */
    uint32_t close_ids[EK_ENGINE_CLOSE_IDS_MAX];
    uint32_t close_count;
};

struct ek_engine_job {
    const uint32_t *prompt_ids; /* [prompt_tokens], at least one; copied */
    uint32_t prompt_tokens;
    const uint32_t *prefix_ids; /* [prefix_tokens]: exactly what this job generated before; copied.
                                 * They are not emitted again; token indices go on after them */
    uint32_t prefix_tokens;
    uint32_t priority;   /* 0..255: larger goes first, among those that wait; and keeps its pages longer */
    uint64_t cache_salt; /* jobs of different salts share no computed prefix (kv.h) */
    uint32_t max_tokens; /* generated tokens in all, the prefix included; >= 1 */
    struct ek_sampling sampling;
    struct ek_job_thinking thinking;
    uint32_t stop_ids[EK_ENGINE_STOP_IDS_MAX]; /* end-of-sequence tokens: finish, are not emitted */
    uint32_t stop_count;
    uint32_t top_logprobs; /* 0..EK_TOP_LOGPROBS_MAX */
    bool ignore_stop_ids;  /* go on past end of sequence until max_tokens (benchmarks) */
    const struct ek_logit_bias *bias; /* [bias_count]; copied */
    uint32_t bias_count;
    /* What the answer may look like, from behind its thought, or, with guide_from, from behind the first
     * such token of the answer. The engine's from EK_OK on. Inside a thought that a guided answer is to
     * follow nothing stops the job. When the guide says that the answer is over, the job ends as
     * by a stop. */
    struct ek_guide *guide;
    uint32_t guide_from; /* EK_NO_TOKEN: the answer's beginning */
    void *user;            /* comes back in every event */
};

enum ek_job_end { /* not ek_finish: that is what an answer says on the wire (chat/chunk.h) */
    EK_JOB_GOES_ON = 0,
    EK_JOB_STOP,      /* a stop id was chosen: event.token holds it, has_token is false; or the guide ended
                       * the answer with this token */
    EK_JOB_LENGTH,    /* max_tokens or the context length */
    EK_JOB_CANCELLED, /* ek_engine_cancel, or the engine closes */
    EK_JOB_FAILED,    /* no logit of a token that may come was finite: a broken model file */
};

struct ek_engine_event {
    uint64_t job;
    void *user;
    bool has_token;          /* a token to deliver (perhaps together with a finish) */
    bool in_thought;         /* the token belongs to the thought; its end marker does too */
    bool forced;             /* the token was not sampled but forced by the thinking budget */
    enum ek_job_end finish;
    uint32_t token_index;    /* 0-based among generated tokens, the prefix counted */
    uint32_t thought_tokens; /* generated thought tokens so far */
    uint32_t cached_tokens;  /* of prompt and prefix, found in the KV cache: whole pages */
    struct ek_sample token;  /* id, logprob, top */
};

struct ek_engine_load {
    uint32_t slots, running, waiting, waiting_max;
    uint32_t kv_total_tokens, kv_free_tokens, page_tokens;
    double prefill_tps;                            /* prompt tokens a second, recent; 0: not yet known */
    double decode_tps[EK_ENGINE_DECODE_BUCKETS];   /* generated tokens a second of all, by batch */
    uint64_t prompt_tokens, generated_tokens;      /* computed since start */
    uint64_t cached_tokens;                        /* found in the cache instead, since start */
    uint64_t cache_asked_tokens;                   /* that could have been found: whole pages */
    uint64_t cache_evicted_tokens;
    uint64_t guessed_tokens, guesses_held;         /* computed ahead of their time (spec.h); rightly */
    uint64_t ahead_tokens, ahead_held;             /* the same, of guesses by the block that looks ahead */
    bool disk;                                     /* there is a disk tier: the rest of this is about it */
    uint64_t disk_restored_tokens;                 /* brought back from there */
    uint64_t disk_lost_tokens;                     /* evicted before they could be handed over */
    uint64_t disk_late;                            /* jobs that did not wait for it any longer */
    uint64_t disk_stuck;                           /* times it did not answer and nobody waited any longer */
    uint64_t disk_pages, disk_bytes;               /* there now */
    uint64_t disk_written_pages, disk_evicted_pages, disk_damaged, disk_errors, disk_skipped_pages;
    uint64_t steps, jobs_done, jobs_cancelled, jobs_preempted, ring_full;
};

/* Called on the step thread after events were put into an empty ring: make the other thread call
 * ek_engine_take soon (write to an eventfd, uv_async_send). Must not block nor call the engine. */
typedef void ek_engine_wake_fn(void *arg);

/* Load the model and start the step thread. EK_OK: *out is owned. Else *out is NULL and `why` holds
 * one sentence (EK_IO, EK_INVALID for options or file, EK_NOMEM). Blocks while it reads the file. */
EK_CHECKED enum ek_status ek_engine_open(const struct ek_engine_options *options,
                                         ek_engine_wake_fn *wake, void *wake_arg,
                                         struct ek_engine **out, char *why, size_t why_cap);

/* Stop after the current step, end all jobs (no further events can be taken), join, free. */
void ek_engine_close(struct ek_engine **engine);

/* Accept a job. EK_OK: *job_id is its name (never 0, never reused). EK_FULL: slots and waiting list
 * are taken. EK_INVALID: `why` says which value is out of range, or that prompt and max_tokens do not
 * fit (EK_INVALID also when prompt + prefix alone reach the context length; a larger max_tokens is
 * only cut at the context length). Thread-safe. */
EK_CHECKED enum ek_status ek_engine_submit(struct ek_engine *engine, const struct ek_engine_job *job,
                                           uint64_t *job_id, char *why, size_t why_cap);

/* The same for up to EK_ENGINE_GROUP_MAX jobs with one prompt: all or none (EK_INVALID, EK_FULL). The first
 * leads; the others wait until its prompt is computed (or it is gone), and so find its whole pages instead of
 * computing them again. Together they count once against the bound on those that wait. */
EK_CHECKED enum ek_status ek_engine_submit_group(struct ek_engine *engine, const struct ek_engine_job *jobs,
                                                 size_t count, uint64_t *job_ids, char *why,
                                                 size_t why_cap);

/* From the next step on the job costs nothing; its EK_JOB_CANCELLED event follows unless another
 * finish was already on its way. Unknown and finished ids are ignored. Thread-safe. */
void ek_engine_cancel(struct ek_engine *engine, uint64_t job_id);

/* Move up to `cap` events, oldest first, to out; the number moved. Call until it returns less than
 * cap. The ring is bounded: if nobody takes, the step thread waits (counted in ring_full). */
size_t ek_engine_take(struct ek_engine *engine, struct ek_engine_event *out, size_t cap);

/* A consistent picture of a moment ago. Thread-safe. */
void ek_engine_load(struct ek_engine *engine, struct ek_engine_load *out);

/* Constant after open; any thread. */
const struct ek_gguf *ek_engine_gguf(const struct ek_engine *engine); /* lives as long as the engine */
uint32_t ek_engine_vocab(const struct ek_engine *engine);      /* token ids are below this */
uint32_t ek_engine_ctx_tokens(const struct ek_engine *engine); /* of one sequence */
const char *ek_engine_numerics(const struct ek_engine *engine); /* "avx512-q8-bf16": what bits depend on */

#endif
