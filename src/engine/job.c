/* SPDX-License-Identifier: MIT */
/* Checking and copying what was submitted, and the small machine of the thought. */
#include "engine/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool known_ids(const uint32_t *ids, uint32_t n, uint32_t vocab)
{
    for (uint32_t i = 0; i < n; i++) {
        if (ids[i] >= vocab) return false;
    }
    return true;
}

/* NULL or what is wrong, as far as it needs no number in the sentence. */
static const char *problem(const struct ek_engine_job *j, uint32_t vocab)
{
    const struct ek_job_thinking *t = &j->thinking;
    const char *sampling = ek_sampling_problem(&j->sampling);
    if (sampling) return sampling;
    if (j->prompt_tokens == 0) return "the prompt is empty";
    if (j->max_tokens == 0) return "max_tokens must be at least 1";
    if (j->prefix_tokens >= j->max_tokens) return "the prefix already has max_tokens tokens";
    if (j->priority > EK_ENGINE_PRIORITY_MAX) return "priority must be at most 255";
    if (j->top_logprobs > EK_TOP_LOGPROBS_MAX) return "more top_logprobs than 20";
    if (j->stop_count > EK_ENGINE_STOP_IDS_MAX || t->close_count > EK_ENGINE_CLOSE_IDS_MAX) {
        return "more stop or closing tokens than 16";
    }
    if (!known_ids(j->prompt_ids, j->prompt_tokens, vocab) ||
        !known_ids(j->prefix_ids, j->prefix_tokens, vocab) ||
        !known_ids(j->stop_ids, j->stop_count, vocab) ||
        !known_ids(t->close_ids, t->close_count, vocab)) {
        return "a token id beyond the vocabulary";
    }
    if (j->bias_count > EK_ENGINE_BIAS_MAX) return "more biased tokens than 1024";
    for (uint32_t i = 0; i < j->bias_count; i++) {
        if (j->bias[i].id >= vocab) return "a biased token id beyond the vocabulary";
        if (!(fabsf(j->bias[i].bias) <= 100)) return "a bias outside of -100 to 100";
    }
    if (j->guide && j->ignore_stop_ids) return "an answer of a given form cannot go on past its end";
    if (t->end_id != EK_NO_TOKEN && t->budget != EK_THINK_UNLIMITED && t->close_count == 0) {
        return "a thinking budget needs tokens that close the thought";
    }
    return NULL;
}

static void count_seen(uint16_t *seen, uint32_t id)
{
    if (seen && seen[id] < UINT16_MAX) seen[id]++;
}

static void fill(struct ek_job *job, const struct ek_engine_job *from)
{
    memcpy(job->ids, from->prompt_ids, from->prompt_tokens * sizeof *job->ids);
    memcpy(job->stop_ids, from->stop_ids, sizeof job->stop_ids);
    for (uint32_t i = 0; i < from->prompt_tokens; i++) count_seen(job->seen_prompt, job->ids[i]);
    for (uint32_t i = 0; i < from->prefix_tokens; i++) ek_job_append(job, from->prefix_ids[i]);
}

enum ek_status ek_job_new(const struct ek_engine_job *from, uint32_t vocab, uint32_t ctx_tokens,
                          struct ek_job **out, char *why, size_t why_cap)
{
    const char *wrong = problem(from, vocab);
    *out = NULL;
    if (wrong) {
        snprintf(why, why_cap, "%s", wrong);
        return EK_INVALID;
    }
    uint64_t known = (uint64_t)from->prompt_tokens + from->prefix_tokens;
    if (known >= ctx_tokens) {
        snprintf(why, why_cap, "%llu tokens leave no room in a context of %u",
                 (unsigned long long)known, ctx_tokens);
        return EK_INVALID;
    }
    uint32_t room = ctx_tokens - from->prompt_tokens;
    const struct ek_sampling *s = &from->sampling;
    bool repetition = s->repetition_penalty != 1;
    bool penalties = repetition || s->presence_penalty != 0 || s->frequency_penalty != 0;
    struct ek_job *job = calloc(1, sizeof *job);
    MUST(job != NULL);
    *job = (struct ek_job){
        .state = EK_JOB_WAITING, .user = from->user, .prompt_tokens = from->prompt_tokens,
        .n_ids = from->prompt_tokens, .max_tokens = from->max_tokens < room ? from->max_tokens : room,
        .sampling = *s, .thinking = from->thinking, .stop_count = from->stop_count,
        .ignore_stop_ids = from->ignore_stop_ids, .top_logprobs = from->top_logprobs,
        .guess = {EK_NO_TOKEN, EK_NO_TOKEN}, .cache_salt = from->cache_salt, .priority = from->priority,
        .guide = from->guide, .guide_from = from->guide_from, .bias_count = from->bias_count,
        .thought.open = from->thinking.open_at_start && from->thinking.end_id != EK_NO_TOKEN,
    };
    job->ids = malloc(((size_t)job->prompt_tokens + job->max_tokens) * sizeof *job->ids);
    job->seen_generated = penalties ? calloc(vocab, sizeof *job->seen_generated) : NULL;
    job->seen_prompt = repetition ? calloc(vocab, sizeof *job->seen_prompt) : NULL;
    MUST(job->ids != NULL && (!penalties || job->seen_generated) && (!repetition || job->seen_prompt));
    if (from->bias_count > 0) {
        job->bias = malloc(from->bias_count * sizeof *job->bias);
        MUST(job->bias);
        memcpy(job->bias, from->bias, from->bias_count * sizeof *job->bias);
    }
    fill(job, from);
    if (job->guide_lost) {
        snprintf(why, why_cap, "the prefix is no beginning of an answer of the form asked for");
        job->guide = NULL; /* the caller's still */
        ek_job_free(&job);
        return EK_INVALID;
    }
    *out = job;
    return EK_OK;
}

void ek_job_free(struct ek_job **jp)
{
    struct ek_job *job = *jp;
    if (!job) return;
    MUST(job->seq.page_count == 0);
    free(job->ids);
    free(job->seen_prompt);
    free(job->seen_generated);
    free(job->bias);
    ek_guide_free(&job->guide);
    free(job);
    *jp = NULL;
}

void ek_job_set_state(struct ek_job *job, enum ek_job_state next)
{
    MUST(job->state != EK_JOB_DONE);
    MUST(next == EK_JOB_DONE || job->state != next);
    job->state = next;
}

int64_t ek_thought_forced(const struct ek_job_thinking *rule, const struct ek_thought *t)
{
    if (!t->open || rule->budget == EK_THINK_UNLIMITED || t->tokens < rule->budget) return -1;
    MUST(t->closing < rule->close_count);
    return rule->close_ids[t->closing];
}

bool ek_thought_advance(const struct ek_job_thinking *rule, struct ek_thought *t, uint32_t index,
                        uint32_t id)
{
    if (rule->end_id == EK_NO_TOKEN) return false;
    if (!t->open) {
        bool opens = index == 0 && !t->over && rule->open_id != EK_NO_TOKEN && id == rule->open_id;
        t->open = opens;
        return opens;
    }
    bool forced = ek_thought_forced(rule, t) >= 0;
    if (id == rule->end_id) {
        t->open = false;
        t->over = true;
    } else if (forced) {
        t->closing++;
        t->open = t->closing < rule->close_count;
        t->over = !t->open;
    } else {
        t->tokens++;
    }
    return true;
}

/* Is the next token the guide's to judge? A first token may still open a thought; then it is not. */
static bool guided(const struct ek_job *job)
{
    return job->guide && job->guide_from == EK_NO_TOKEN && !job->thought.open;
}

struct ek_sample_history ek_job_history(struct ek_job *job)
{
    struct ek_sample_history h = {.generated = job->seen_generated, .prompt = job->seen_prompt,
                                  .bias = job->bias, .bias_count = job->bias_count};
    if (job->guide && job->thought.open) { /* a thought alone is no answer */
        h.barred = job->stop_ids;
        h.barred_count = job->stop_count;
    }
    if (!guided(job)) return h;
    h.allowed = ek_guide_mask(job->guide);
    bool may_think = ek_job_generated(job) == 0 && !job->thought.over && job->thinking.end_id != EK_NO_TOKEN;
    if (may_think && job->thinking.open_id != EK_NO_TOKEN) ek_guide_permit(job->guide, job->thinking.open_id);
    return h;
}

bool ek_job_is_over(const struct ek_job *job)
{
    return guided(job) && ek_guide_over(job->guide);
}

static void guide_on(struct ek_job *job, uint32_t id)
{
    if (guided(job)) {
        if (!ek_guide_advance(job->guide, id)) job->guide_lost = true;
    } else if (job->guide && job->guide_from == id) {
        job->guide_from = EK_NO_TOKEN;
    }
}

bool ek_job_append(struct ek_job *job, uint32_t id)
{
    uint32_t index = ek_job_generated(job);
    MUST(index < job->max_tokens);
    job->ids[job->n_ids++] = id;
    count_seen(job->seen_generated, id);
    bool in_thought = ek_thought_advance(&job->thinking, &job->thought, index, id);
    if (!in_thought) guide_on(job, id);
    return in_thought;
}

bool ek_job_is_stop(const struct ek_job *job, uint32_t id)
{
    for (uint32_t i = 0; !job->ignore_stop_ids && i < job->stop_count; i++) {
        if (job->stop_ids[i] == id) return true;
    }
    return false;
}
