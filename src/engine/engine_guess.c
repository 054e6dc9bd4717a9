/* SPDX-License-Identifier: MIT */
/* Guesses: from where, for whom, how many. A job has at most one draft of each source, made for just the ids
 * it has now: by lookup whenever it generates, by the block ahead when that was thought to pay at the end of
 * the step before. One of them is computed, or none. How the first guess of either fares is noted always. */
#include "engine/engine_turn.h"

#include <string.h>

/* How many guesses a job can use at most: they stay within its page, so that nobody makes room for them, and
 * within what it may say. */
static uint32_t guesses_max(const struct ek_job *job)
{
    uint32_t page = EK_KV_PAGE - 1 - job->seq.tokens % EK_KV_PAGE;
    uint32_t left = job->max_tokens - ek_job_generated(job) - 1;
    uint32_t most = page < left ? page : left;
    return most < EK_SPEC_DRAFT_MAX ? most : EK_SPEC_DRAFT_MAX;
}

/* The draft of a source, if it is for the ids there are. */
static const struct ek_spec_draft *draft_of(const struct ek_job *job, enum ek_spec_source source)
{
    static const struct ek_spec_draft none = {.n = 0};
    return job->draft_ids[source] == job->n_ids ? &job->draft[source] : &none;
}

static void look_up(struct ek_job *job)
{
    struct ek_spec_draft *d = &job->draft[EK_SPEC_LOOKUP];
    if (job->draft_ids[EK_SPEC_LOOKUP] == job->n_ids) return;
    job->draft_ids[EK_SPEC_LOOKUP] = job->n_ids;
    d->n = ek_spec_lookup(job->ids, job->n_ids, guesses_max(job), d->ids);
}

/* That the block's guess for a job holds: until it has had some of its own, as they fare in general. */
static double ahead_chance(const struct ek_engine *e, struct ek_job *job)
{
    struct ek_spec_record *own = &job->guesses[EK_SPEC_AHEAD];
    if (own->tried == 0) *own = (struct ek_spec_record){.held = e->ahead.held, .tried = 1};
    return ek_spec_chance(own);
}

static bool look_is_better(const struct ek_engine *e, struct ek_job *job, uint32_t rows)
{
    return ek_spec_look_is_better(&e->spec, rows, ahead_chance(e, job),
                                  ek_spec_chance(&job->guesses[EK_SPEC_LOOKUP]),
                                  draft_of(job, EK_SPEC_LOOKUP)->n);
}

/* One of its drafts, and behind its ids what it guesses. */
static struct ek_spec_seq choose(const struct ek_engine *e, struct ek_job *job, uint32_t generating)
{
    const struct ek_spec_draft *lookup = draft_of(job, EK_SPEC_LOOKUP), *ahead, *chosen;
    ahead = draft_of(job, EK_SPEC_AHEAD);
    job->guess[EK_SPEC_LOOKUP] = lookup->n > 0 ? lookup->ids[0] : EK_NO_TOKEN;
    job->guess[EK_SPEC_AHEAD] = ahead->n > 0 ? ahead->ids[0] : EK_NO_TOKEN;
    bool by_look = ahead->n > 0 && (lookup->n == 0 || look_is_better(e, job, generating));
    job->source = by_look ? EK_SPEC_AHEAD : EK_SPEC_LOOKUP;
    chosen = by_look ? ahead : lookup;
    memcpy(job->ids + job->n_ids, chosen->ids, chosen->n * sizeof *chosen->ids);
    return (struct ek_spec_seq){
        chosen->n, by_look ? ahead_chance(e, job) : ek_spec_chance(&job->guesses[EK_SPEC_LOOKUP])};
}

void ek_engine_plan_guesses(struct step *s, const struct ek_step_seq *seqs, uint32_t *grant, uint32_t total)
{
    struct ek_engine *e = s->e;
    struct ek_spec_seq guessed[EK_ENGINE_SLOTS_MAX] = {0};
    uint32_t generating = 0, free_rows = e->options.step_tokens - total;
    bool always = e->options.speculation == EK_SPECULATION_ALWAYS;
    if (e->options.speculation == EK_SPECULATION_OFF) return;
    for (size_t i = 0; i < e->options.slots; i++)
        generating += e->running[i] && grant[i] > 0 && ek_step_generating(&seqs[i]);
    for (size_t i = 0; i < e->options.slots; i++) {
        struct ek_job *job = e->running[i];
        if (!job || grant[i] == 0 || !ek_step_generating(&seqs[i])) continue;
        look_up(job);
        guessed[i] = choose(e, job, generating);
        if (always) guessed[i].chance = 1;
    }
    if (generating == 0 || (total > generating && !always)) return;
    static const struct ek_spec hopeful = {.step.s = {[1] = 1e-3}}; /* further rows cost nothing */
    ek_spec_plan(always ? &hopeful : &e->spec, guessed, e->options.slots, generating, free_rows, s->guesses);
    for (size_t i = 0; i < e->options.slots; i++) grant[i] += s->guesses[i];
}

/* ---- looking ahead --------------------------------------------------------------------------------- */

/* Will the next step only generate? Beside prompts nothing is computed ahead of its time. */
static bool prompts_left(const struct ek_engine *e)
{
    for (size_t i = 0; i < e->options.slots; i++) {
        const struct ek_job *job = e->running[i];
        if (job && job->seq.tokens + 1 < job->n_ids) return true;
    }
    return false;
}

/* Which of those who go on are worth a look: s->looking. */
static void plan_looks(struct step *s)
{
    struct ek_engine *e = s->e;
    double chance[EK_ENGINE_SLOTS_MAX];
    bool want[EK_ENGINE_SLOTS_MAX], always = e->options.speculation == EK_SPECULATION_ALWAYS;
    uint32_t rows = 0, most = EK_SPEC_ROWS_MAX;
    if (prompts_left(e) && !always) return;
    for (size_t i = 0; i < s->n_voices; i++) {
        const struct voice *v = &s->voices[i];
        rows += s->events[v->row + v->events - 1].finish == EK_JOB_GOES_ON;
    }
    if (rows == 0) return;
    for (size_t i = 0; i < s->n_voices; i++) {
        const struct voice *v = &s->voices[i];
        struct ek_job *job = e->running[v->slot];
        chance[i] = -1;
        want[i] = false;
        if (s->events[v->row + v->events - 1].finish != EK_JOB_GOES_ON) continue;
        MUST(job->seq.tokens + 1 == job->n_ids);
        if (guesses_max(job) == 0) continue;
        look_up(job);
        if (always) want[i] = true;
        else if (look_is_better(e, job, rows)) chance[i] = ahead_chance(e, job);
    }
    if (e->options.step_tokens - rows < most) most = e->options.step_tokens - rows;
    if (!always) ek_spec_plan_look(&e->spec, chance, s->n_voices, rows, most, want);
    for (size_t i = 0; i < s->n_voices; i++)
        if (want[i]) s->looking[s->n_looking++] = &s->voices[i];
}

/* Rows that were computed and hold, those to be looked at first: e->looks, the number. Behind the last token
 * of a job that has ended comes nothing that anybody knows. */
static size_t list_looks(struct step *s)
{
    struct ek_forward_look *out = s->e->looks;
    uint32_t last_row[EK_ENGINE_SLOTS_MAX], row = 0; /* by segment */
    bool wanted[EK_ENGINE_SLOTS_MAX] = {false};
    size_t n = s->n_looking;
    for (size_t i = 0; i < n; i++) wanted[s->looking[i]->segment] = true;
    for (size_t i = 0; i < s->n_segments; row += s->segments[i].count, i++) {
        const struct ek_job *job = s->e->running[s->slot[i]];
        uint32_t kept = job->seq.tokens - s->first[i];
        MUST(kept > 0 && kept <= s->segments[i].count);
        last_row[i] = row + kept - 1;
        for (uint32_t t = 0; t < kept - wanted[i]; t++) {
            uint32_t at = s->first[i] + t;
            out[n++] = (struct ek_forward_look){row + t, job->ids[at + 1 < job->n_ids ? at + 1 : at]};
        }
    }
    for (size_t i = 0; i < s->n_looking; i++) {
        const struct ek_job *job = s->e->running[s->looking[i]->slot];
        out[i] = (struct ek_forward_look){last_row[s->looking[i]->segment], job->ids[job->n_ids - 1]};
    }
    return n;
}

/* What the sampler would choose if the block's logits were the model's: with the same noise, bounds,
 * penalties and form, so that the guess holds as often as the two agree, at any temperature. */
static void draft_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct step *s = arg;
    size_t vocab = s->e->model->shape.vocab;
    float *scratch = s->e->sample_scratch + (size_t)member * 2 * vocab;
    for (size_t i = chunk; i < s->n_looking; i += chunks) {
        struct ek_job *job = s->e->running[s->looking[i]->slot];
        struct ek_spec_draft *d = &job->draft[EK_SPEC_AHEAD];
        struct ek_sample sample;
        job->draft_ids[EK_SPEC_AHEAD] = job->n_ids;
        d->n = ek_sample_token(&job->sampling, ek_job_history(job), s->logits + i * vocab, (uint32_t)vocab,
                               ek_job_generated(job), ek_thought_forced(&job->thinking, &job->thought), 0,
                               scratch, &sample);
        if (d->n > 0) d->ids[0] = sample.id;
    }
}

void ek_engine_look_ahead(struct step *s)
{
    struct ek_engine *e = s->e;
    if (!ek_forward_looks(e->forward)) return;
    for (size_t i = 0; i < s->n_voices; i++)
        if (s->voices[i].asked) ek_spec_note(&e->ahead, s->voices[i].right);
    plan_looks(s);
    size_t n = list_looks(s);
    uint64_t begin_ns = ek_engine_clock_ns();
    s->logits = ek_forward_look(e->forward, e->looks, n, s->n_looking);
    if (s->n_looking == 0) return;
    double work = (double)s->n_looking * e->model->shape.vocab * 40;
    ek_team_run(e->team, draft_chunk, s, ek_team_chunks(e->team, work, s->n_looking));
    s->look_s = (double)(ek_engine_clock_ns() - begin_ns) * 1e-9;
    ek_spec_note_look(&e->spec, (uint32_t)s->n_looking, s->look_s);
}
