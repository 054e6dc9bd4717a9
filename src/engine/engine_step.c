/* SPDX-License-Identifier: MIT */
/* The step thread. Its turn: take what arrived (new jobs, cancellations), plan, compute, sample,
 * deliver. It alone touches weights, KV and running jobs; it never calls out except for `wake`. */
#include "engine/engine_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MASK_48 ((UINT64_C(1) << 48) - 1)

/* Put events into the ring, waiting for room as long as nobody takes any. */
static void deliver(struct ek_engine *e, const struct ek_engine_event *events, size_t n)
{
    for (size_t at = 0; at < n;) {
        pthread_mutex_lock(&e->ring_lock);
        if (e->ring_count == RING_EVENTS && !e->ring_quit) e->ring_full++;
        while (e->ring_count == RING_EVENTS && !e->ring_quit) {
            pthread_cond_wait(&e->ring_space, &e->ring_lock);
        }
        bool was_empty = e->ring_count == 0, quit = e->ring_quit;
        for (; at < n && e->ring_count < RING_EVENTS; at++, e->ring_count++) {
            e->ring[(e->ring_begin + e->ring_count) % RING_EVENTS] = events[at];
        }
        pthread_mutex_unlock(&e->ring_lock);
        if (was_empty && e->wake) e->wake(e->wake_arg);
        if (quit) return;
    }
}

/* Everything but the final event: pages back, slot free. */
static void retire(struct ek_engine *e, size_t slot, enum ek_job_end finish)
{
    struct ek_job *job = e->running[slot];
    MUST(job && job->state == EK_JOB_RUNNING);
    ek_job_set_state(job, EK_JOB_DONE);
    pthread_mutex_lock(&e->lock);
    ek_engine_leave(e, slot);
    e->load.jobs_done++;
    if (finish == EK_JOB_CANCELLED) e->load.jobs_cancelled++;
    ek_engine_publish_load(e);
    pthread_mutex_unlock(&e->lock);
    ek_job_free(&job);
}

static struct ek_engine_event final_event(const struct ek_job *job, enum ek_job_end finish)
{
    return (struct ek_engine_event){
        .job = job->id, .user = job->user, .finish = finish, .token_index = ek_job_generated(job),
        .thought_tokens = job->thought.tokens, .cached_tokens = job->cached_tokens,
    };
}

/* Until somebody kicks, or for a second when the disk owes us an answer. The lock is held. */
static void wait_for_kick(struct ek_engine *e, unsigned seen, bool disk_owes)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    while (e->kicks == seen) {
        if (!disk_owes) {
            pthread_cond_wait(&e->work, &e->lock);
        } else if (pthread_cond_timedwait(&e->work, &e->lock, &until) == ETIMEDOUT) {
            return;
        }
    }
}

/* Wait for work, then apply what other threads asked for. False: quit. */
static bool take_orders(struct ek_engine *e)
{
    bool cancelled[EK_ENGINE_SLOTS_MAX];
    pthread_mutex_lock(&e->lock);
    for (;;) {
        unsigned seen = e->kicks;
        pthread_mutex_unlock(&e->lock);
        bool owes = e->disk && ek_engine_tend_disk(e);
        pthread_mutex_lock(&e->lock);
        ek_engine_publish_load(e);
        if (e->quit || e->n_running > 0 || (e->waiting.count > 0 && !e->stalled)) break;
        wait_for_kick(e, seen, owes);
        e->stalled = false; /* whoever waits is looked at again */
    }
    bool quit = e->quit;
    for (size_t slot = 0; slot < e->options.slots; slot++) {
        cancelled[slot] = e->running[slot] && e->running[slot]->cancelled;
    }
    pthread_mutex_unlock(&e->lock);
    if (quit) return false;
    for (size_t slot = 0; slot < e->options.slots; slot++) {
        if (!cancelled[slot]) continue;
        struct ek_engine_event event = final_event(e->running[slot], EK_JOB_CANCELLED);
        retire(e, slot, EK_JOB_CANCELLED);
        deliver(e, &event, 1);
    }
    for (;;) {
        pthread_mutex_lock(&e->lock);
        struct ek_job *job = ek_engine_pop_cancelled(e);
        if (!job) {
            ek_engine_admit(e);
            ek_engine_publish_load(e);
        }
        pthread_mutex_unlock(&e->lock);
        if (!job) return true;
        struct ek_engine_event event = final_event(job, EK_JOB_CANCELLED);
        ek_job_free(&job);
        deliver(e, &event, 1);
    }
}

enum { EVENTS_MAX = EK_ENGINE_SLOTS_MAX + EK_SPEC_ROWS_MAX };

/* A slot whose logits come: rows of them from `row` on, one and one for each guess behind its newest token.
 * As many as hold become events. */
struct voice {
    size_t slot;
    uint32_t row, guesses, events;
};

/* One step: which slots take part, in the order of segments. */
struct step {
    struct ek_engine *e;
    struct ek_segment segments[EK_ENGINE_SLOTS_MAX];
    size_t n_segments;
    struct voice voices[EK_ENGINE_SLOTS_MAX]; /* in order of rows */
    size_t n_voices;
    uint32_t guesses[EK_ENGINE_SLOTS_MAX]; /* by slot */
    uint32_t prompt_rows, generated_rows, decode_rows, guess_rows, logit_rows;
    uint32_t events_total;
    const float *logits;
    struct ek_engine_event events[EVENTS_MAX]; /* by row of logits */
};

static void add_segment(struct step *s, size_t slot, uint32_t rows)
{
    struct ek_job *job = s->e->running[slot];
    uint32_t guesses = s->guesses[slot], known = rows - guesses;
    bool prompt = job->seq.tokens < job->prompt_tokens;
    bool last = job->seq.tokens + known == job->n_ids;
    MUST(known > 0 && (guesses == 0 || (!prompt && last && known == 1)));
    s->segments[s->n_segments++] = (struct ek_segment){
        .seq = &job->seq, .ids = job->ids + job->seq.tokens, .count = rows,
        .role = prompt ? EK_ROLE_PROMPT : EK_ROLE_GENERATED, .logits_from = last ? known - 1 : rows,
    };
    if (last) {
        s->voices[s->n_voices++] = (struct voice){.slot = slot, .row = s->logit_rows, .guesses = guesses};
        s->logit_rows += guesses + 1;
    }
    *(prompt ? &s->prompt_rows : &s->generated_rows) += known;
    s->guess_rows += guesses;
    if (!prompt && last && known == 1) s->decode_rows++;
}

/* Rows of this step: beside those who generate, prompts get as many as lengthen it tolerably. */
static uint32_t budget_of(const struct ek_engine *e, const struct ek_step_seq *seqs)
{
    uint32_t generating = 0, all = e->options.step_tokens;
    for (size_t i = 0; i < e->options.slots; i++) generating += ek_step_generating(&seqs[i]);
    if (generating == 0) return all;
    return generating + ek_step_chunk_rows(ek_spec_step_s(&e->spec, generating), e->chunk_row_s,
                                           all - generating);
}

/* How many guesses a job can use at most: they stay within its page, so that nobody makes room for them, and
 * within what it may say. */
static uint32_t guesses_max(const struct ek_job *job)
{
    uint32_t page = EK_KV_PAGE - 1 - job->seq.tokens % EK_KV_PAGE;
    uint32_t left = job->max_tokens - ek_job_generated(job) - 1;
    uint32_t most = page < left ? page : left;
    return most < EK_SPEC_DRAFT_MAX ? most : EK_SPEC_DRAFT_MAX;
}

/* Guess for all who generate; compute those that pay, and none beside prompts. What is guessed lies behind
 * the job's ids until it is overwritten or becomes one of them. */
static void plan_guesses(struct step *s, const struct ek_step_seq *seqs, uint32_t *grant, uint32_t total)
{
    struct ek_engine *e = s->e;
    struct ek_spec_seq guessed[EK_ENGINE_SLOTS_MAX] = {0};
    uint32_t generating = 0, free_rows = e->options.step_tokens - total;
    if (e->options.speculation == EK_SPECULATION_OFF) return;
    for (size_t i = 0; i < e->options.slots; i++) {
        struct ek_job *job = e->running[i];
        if (!job || grant[i] == 0 || !ek_step_generating(&seqs[i])) continue;
        uint32_t draft[EK_SPEC_DRAFT_MAX], n;
        n = ek_spec_lookup(job->ids, job->n_ids, guesses_max(job), draft);
        memcpy(job->ids + job->n_ids, draft, n * sizeof *draft);
        job->guess = n > 0 ? draft[0] : EK_NO_TOKEN;
        guessed[i] = (struct ek_spec_seq){n, ek_spec_chance(&job->guesses)};
        if (e->options.speculation == EK_SPECULATION_ALWAYS) guessed[i].chance = 1;
        generating++;
    }
    bool always = e->options.speculation == EK_SPECULATION_ALWAYS;
    if (generating == 0 || (total > generating && !always)) return;
    if (always) {
        static const struct ek_spec hopeful = {.step_s = {[1] = 1e-3}}; /* further rows cost nothing */
        ek_spec_plan(&hopeful, guessed, e->options.slots, generating, free_rows, s->guesses);
    } else {
        ek_spec_plan(&e->spec, guessed, e->options.slots, generating, free_rows, s->guesses);
    }
    for (size_t i = 0; i < e->options.slots; i++) grant[i] += s->guesses[i];
}

/* Generated rows first, as the forward pass wants them. */
static void plan(struct step *s)
{
    struct ek_engine *e = s->e;
    struct ek_step_seq seqs[EK_ENGINE_SLOTS_MAX] = {0};
    uint32_t grant[EK_ENGINE_SLOTS_MAX];
    for (size_t i = 0; i < e->options.slots; i++) {
        const struct ek_job *job = e->running[i];
        if (!job) continue;
        uint32_t done = job->seq.tokens;
        seqs[i].left = job->n_ids - done;
        seqs[i].boundary = done < job->prompt_tokens ? job->prompt_tokens - done : 0;
        seqs[i].arrival = (uint64_t)(EK_ENGINE_PRIORITY_MAX - job->priority) << 48 | (job->id & MASK_48);
    }
    uint32_t total = ek_step_plan(seqs, e->options.slots, budget_of(e, seqs), grant);
    plan_guesses(s, seqs, grant, total);
    ek_engine_make_room(e, grant);
    for (int prompt = 0; prompt < 2; prompt++) {
        for (size_t i = 0; i < e->options.slots; i++) {
            if (grant[i] > 0 && (seqs[i].boundary > 0) == prompt) add_segment(s, i, grant[i]);
        }
    }
}

/* The event for a sampled token, which is appended unless it ends the job unseen. */
static struct ek_engine_event conclude(struct ek_job *job, const struct ek_sample *sample)
{
    struct ek_engine_event event = final_event(job, EK_JOB_FAILED);
    if (!sample) return event;
    event.token = *sample;
    event.forced = ek_thought_forced(&job->thinking, &job->thought) >= 0;
    if (!event.forced && ek_job_is_stop(job, event.token.id)) {
        event.finish = EK_JOB_STOP;
        return event;
    }
    event.in_thought = ek_job_append(job, event.token.id);
    MUST(!job->guide_lost);
    event.thought_tokens = job->thought.tokens;
    event.has_token = true;
    event.finish = ek_job_is_over(job) ? EK_JOB_STOP :
                   ek_job_generated(job) == job->max_tokens ? EK_JOB_LENGTH : EK_JOB_GOES_ON;
    return event;
}

/* From the rows of one job: a token from each, as long as the next row was computed for just that token. */
static void sample_voice(struct step *s, struct voice *v, float *scratch)
{
    struct ek_job *job = s->e->running[v->slot];
    size_t vocab = s->e->model->shape.vocab;
    for (bool holds = true; holds && v->events <= v->guesses;) {
        struct ek_sample sample;
        struct ek_sample_history history = ek_job_history(job);
        uint32_t guess = v->events == 0 ? job->guess :
                         v->events < v->guesses ? job->ids[job->n_ids] : EK_NO_TOKEN;
        bool good = ek_sample_token(&job->sampling, history, s->logits + (v->row + v->events) * vocab,
                                    (uint32_t)vocab, ek_job_generated(job),
                                    ek_thought_forced(&job->thinking, &job->thought), job->top_logprobs,
                                    scratch, &sample);
        struct ek_engine_event *event = &s->events[v->row + v->events++];
        *event = conclude(job, good ? &sample : NULL);
        holds = good && guess != EK_NO_TOKEN && sample.id == guess && event->finish == EK_JOB_GOES_ON;
        if (guess != EK_NO_TOKEN) ek_spec_note(&job->guesses, holds);
    }
    job->guess = EK_NO_TOKEN;
}

static void sample_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct step *s = arg;
    float *scratch = s->e->sample_scratch + (size_t)member * 2 * s->e->model->shape.vocab;
    for (size_t i = chunk; i < s->n_voices; i += chunks) sample_voice(s, &s->voices[i], scratch);
}

/* What was computed for guesses that did not hold never was: it lies behind the sequence and is overwritten.
 * Then names for pages that have become full. */
static void settle(struct step *s)
{
    struct ek_engine *e = s->e;
    for (size_t i = 0; i < s->n_voices; i++) {
        const struct voice *v = &s->voices[i];
        struct ek_job *job = e->running[v->slot];
        MUST(v->events > 0 && v->events <= v->guesses + 1);
        job->seq.tokens -= v->guesses + 1 - v->events;
        MUST(job->seq.tokens <= job->n_ids);
        s->events_total += v->events;
    }
    for (size_t slot = 0; slot < e->options.slots; slot++) {
        struct ek_job *job = e->running[slot];
        if (job) ek_kv_name_pages(e->kv, &job->seq, job->ids);
    }
}

static double smooth(double old, double now) { return old == 0 ? now : old * 0.8 + now * 0.2; }

/* The measured rates of /load. A step that only decodes measures its batch; in a mixed step the
 * decoding rows are charged at what such a batch was last seen to cost. */
static void measure(struct step *s, uint64_t ns)
{
    struct ek_engine *e = s->e;
    struct ek_engine_load *load = &e->load;
    double seconds = (double)(ns ? ns : 1) * 1e-9;
    uint32_t chunk_rows = s->prompt_rows + s->generated_rows - s->decode_rows;
    unsigned bucket = 0;
    while (bucket + 1 < EK_ENGINE_DECODE_BUCKETS && 1u << bucket < s->decode_rows) bucket++;
    pthread_mutex_lock(&e->lock);
    load->steps++;
    load->prompt_tokens += s->prompt_rows;
    load->generated_tokens += s->events_total;
    load->guessed_tokens += s->guess_rows;
    load->guesses_held += s->events_total - (uint32_t)s->n_voices;
    if (chunk_rows == 0) {
        load->decode_tps[bucket] = smooth(load->decode_tps[bucket], s->events_total / seconds);
        ek_spec_note_step(&e->spec, s->decode_rows + s->guess_rows, seconds);
    } else {
        double decode = s->decode_rows ? ek_spec_step_s(&e->spec, s->decode_rows) : 0;
        double rest = decode < 0.9 * seconds ? seconds - decode : 0.1 * seconds;
        load->prefill_tps = smooth(load->prefill_tps, chunk_rows / rest);
        if (s->decode_rows) e->chunk_row_s = smooth(e->chunk_row_s, rest / chunk_rows);
    }
    pthread_mutex_unlock(&e->lock);
}

static void run_step(struct ek_engine *e)
{
    struct step s = {.e = e};
    uint64_t begin_ns = ek_engine_clock_ns();
    plan(&s);
    if (s.n_segments == 0) return;
    s.logits = ek_forward_run(e->forward, s.segments, s.n_segments);
    double work = (double)s.logit_rows * e->model->shape.vocab * 40;
    ek_team_run(e->team, sample_chunk, &s,
                s.n_voices == 0 ? 0 : ek_team_chunks(e->team, work, s.n_voices));
    settle(&s);
    for (size_t i = 0; i < s.n_voices; i++) {
        const struct voice *v = &s.voices[i];
        enum ek_job_end finish = s.events[v->row + v->events - 1].finish;
        if (finish != EK_JOB_GOES_ON) retire(e, v->slot, finish);
    }
    measure(&s, ek_engine_clock_ns() - begin_ns);
    for (size_t i = 0; i < s.n_voices; i++) deliver(e, &s.events[s.voices[i].row], s.voices[i].events);
}

void *ek_engine_step_main(void *arg)
{
    struct ek_engine *e = arg;
    MUST_OBJ(e, ENGINE_MAGIC);
    while (take_orders(e)) run_step(e);
    return NULL;
}
