/* SPDX-License-Identifier: MIT */
/* The step thread. Its turn: take what arrived (new jobs, cancellations), plan, compute, sample,
 * deliver. It alone touches weights, KV and running jobs; it never calls out except for `wake`. */
#include "engine/engine_turn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MIXED_IN_A_ROW = 16 }; /* steps of those who generate with prompts beside them */

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
    ek_engine_job_over(e, job);
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

static void add_segment(struct step *s, size_t slot, uint32_t rows)
{
    struct ek_job *job = s->e->running[slot];
    uint32_t guesses = s->guesses[slot], known = rows - guesses;
    bool prompt = job->seq.tokens < job->prompt_tokens;
    bool last = job->seq.tokens + known == job->n_ids;
    s->slot[s->n_segments] = slot;
    s->first[s->n_segments] = job->seq.tokens;
    MUST(known > 0 && (guesses == 0 || (!prompt && last && known == 1)));
    s->segments[s->n_segments++] = (struct ek_segment){
        .seq = &job->seq, .ids = job->ids + job->seq.tokens, .count = rows,
        .role = prompt ? EK_ROLE_PROMPT : EK_ROLE_GENERATED, .logits_from = last ? known - 1 : rows,
    };
    if (last) {
        s->voices[s->n_voices++] = (struct voice){
            .slot = slot, .segment = s->n_segments - 1, .row = s->logit_rows, .guesses = guesses,
            .source = job->source};
        s->logit_rows += guesses + 1;
    }
    *(prompt ? &s->prompt_rows : &s->generated_rows) += known;
    s->guess_rows += guesses;
    if (!prompt && last && known == 1) s->decode_rows++;
}

/* Rows of this step: beside those who generate, prompts get as many as lengthen it tolerably. In a crowd
 * there is always a prompt, and what a step takes without would never be seen, or was seen with fewer who
 * generate: so now and then one has none. */
static uint32_t budget_of(const struct ek_engine *e, const struct ek_step_seq *seqs)
{
    uint32_t generating = 0, all = e->options.step_tokens;
    for (size_t i = 0; i < e->options.slots; i++) generating += ek_step_generating(&seqs[i]);
    if (generating == 0) return all;
    double step_s = ek_spec_step_s(&e->spec, generating);
    if (e->mixed_steps >= (step_s > 0 ? MIXED_IN_A_ROW : 1)) return generating;
    return generating + ek_step_chunk_rows(step_s, e->chunk_row_s, all - generating);
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
    ek_engine_plan_guesses(s, seqs, grant, total);
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
    if (job->guide_lost) return final_event(job, EK_JOB_FAILED); /* a bug, and this one's alone */
    event.thought_tokens = job->thought.tokens;
    event.has_token = true;
    event.finish = ek_job_is_over(job) ? EK_JOB_STOP :
                   ek_job_generated(job) == job->max_tokens ? EK_JOB_LENGTH : EK_JOB_GOES_ON;
    return event;
}

/* How the first guesses of a job fared, computed or not. */
static void note_guesses(struct voice *v, struct ek_job *job, uint32_t id, bool goes_on)
{
    for (int i = 0; i < EK_SPEC_SOURCES; i++) {
        if (job->guess[i] != EK_NO_TOKEN) ek_spec_note(&job->guesses[i], goes_on && job->guess[i] == id);
    }
    v->asked = job->guess[EK_SPEC_AHEAD] != EK_NO_TOKEN;
    v->right = v->asked && goes_on && job->guess[EK_SPEC_AHEAD] == id;
}

/* From the rows of one job: a token from each, as long as the next row was computed for just that token. */
static void sample_voice(struct step *s, struct voice *v, float *scratch)
{
    struct ek_job *job = s->e->running[v->slot];
    size_t vocab = s->e->model->shape.vocab;
    for (bool holds = true; holds && v->events <= v->guesses;) {
        struct ek_sample sample = {.id = EK_NO_TOKEN};
        struct ek_sample_history history = ek_job_history(job);
        uint32_t guess = v->events < v->guesses ? job->ids[job->n_ids] : EK_NO_TOKEN;
        bool good = ek_sample_token(&job->sampling, history, s->logits + (v->row + v->events) * vocab,
                                    (uint32_t)vocab, ek_job_generated(job),
                                    ek_thought_forced(&job->thinking, &job->thought), job->top_logprobs,
                                    scratch, &sample);
        struct ek_engine_event *event = &s->events[v->row + v->events++];
        *event = conclude(job, good ? &sample : NULL);
        bool goes_on = good && event->finish == EK_JOB_GOES_ON;
        holds = goes_on && sample.id == guess;
        if (v->events == 1) note_guesses(v, job, sample.id, goes_on);
        else if (guess != EK_NO_TOKEN) ek_spec_note(&job->guesses[v->source], holds);
    }
    job->guess[EK_SPEC_LOOKUP] = job->guess[EK_SPEC_AHEAD] = EK_NO_TOKEN;
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
        if (!job) continue;
        ek_kv_name_pages(e->kv, &job->seq, job->ids);
        if (job->group && job->leads && job->seq.tokens >= job->prompt_tokens) ek_engine_prompt_done(e, job);
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
    e->mixed_steps = s->decode_rows && chunk_rows ? e->mixed_steps + 1 : 0;
    pthread_mutex_lock(&e->lock);
    load->steps++;
    load->prompt_tokens += s->prompt_rows;
    load->generated_tokens += s->events_total;
    for (size_t i = 0; i < s->n_voices; i++) {
        const struct voice *v = &s->voices[i];
        *(v->source == EK_SPEC_AHEAD ? &load->ahead_tokens : &load->guessed_tokens) += v->guesses;
        *(v->source == EK_SPEC_AHEAD ? &load->ahead_held : &load->guesses_held) += v->events - 1;
    }
    if (chunk_rows == 0) {
        load->decode_tps[bucket] = smooth(load->decode_tps[bucket], s->events_total / seconds);
        ek_spec_note_step(&e->spec, s->decode_rows + s->guess_rows, seconds - s->look_s);
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
    ek_engine_look_ahead(&s);
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
