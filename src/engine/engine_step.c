/* SPDX-License-Identifier: MIT */
/* The step thread. Its turn: take what arrived (new jobs, cancellations), plan, compute, sample,
 * deliver. It alone touches weights, KV and running jobs; it never calls out except for `wake`. */
#include "engine/engine_priv.h"

#include <errno.h>
#include <stdlib.h>

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

/* One step: which slots take part, in the order of segments. */
struct step {
    struct ek_engine *e;
    struct ek_segment segments[EK_ENGINE_SLOTS_MAX];
    size_t n_segments;
    size_t sampled[EK_ENGINE_SLOTS_MAX]; /* slots whose logits come, in order of rows */
    size_t n_sampled;
    uint32_t prompt_rows, generated_rows, decode_rows;
    const float *logits;
    struct ek_sample samples[EK_ENGINE_SLOTS_MAX];
    bool failed[EK_ENGINE_SLOTS_MAX];
};

static void add_segment(struct step *s, size_t slot, uint32_t rows)
{
    struct ek_job *job = s->e->running[slot];
    bool prompt = job->seq.tokens < job->prompt_tokens;
    bool last = job->seq.tokens + rows == job->n_ids;
    s->segments[s->n_segments++] = (struct ek_segment){
        .seq = &job->seq, .ids = job->ids + job->seq.tokens, .count = rows,
        .role = prompt ? EK_ROLE_PROMPT : EK_ROLE_GENERATED, .logits_from = last ? rows - 1 : rows,
    };
    if (last) s->sampled[s->n_sampled++] = slot;
    *(prompt ? &s->prompt_rows : &s->generated_rows) += rows;
    if (!prompt && last && rows == 1) s->decode_rows++;
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
    ek_step_plan(seqs, e->options.slots, e->options.step_tokens, grant);
    ek_engine_make_room(e, grant);
    for (int prompt = 0; prompt < 2; prompt++) {
        for (size_t i = 0; i < e->options.slots; i++) {
            if (grant[i] > 0 && (seqs[i].boundary > 0) == prompt) add_segment(s, i, grant[i]);
        }
    }
}

static void sample_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct step *s = arg;
    struct ek_engine *e = s->e;
    size_t vocab = e->model->shape.vocab;
    for (size_t i = chunk; i < s->n_sampled; i += chunks) {
        struct ek_job *job = e->running[s->sampled[i]];
        struct ek_sample_history history = ek_job_history(job);
        s->failed[i] = !ek_sample_token(&job->sampling, history, s->logits + i * vocab, (uint32_t)vocab,
                                        ek_job_generated(job),
                                        ek_thought_forced(&job->thinking, &job->thought),
                                        job->top_logprobs, e->sample_scratch + member * 2 * vocab,
                                        &s->samples[i]);
    }
}

/* The event for sampled row i; the token is appended unless it ends the job unseen. */
static struct ek_engine_event conclude(struct step *s, size_t i)
{
    struct ek_job *job = s->e->running[s->sampled[i]];
    struct ek_engine_event event = final_event(job, EK_JOB_FAILED);
    if (s->failed[i]) return event;
    event.token = s->samples[i];
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

static double smooth(double old, double now) { return old == 0 ? now : old * 0.8 + now * 0.2; }

/* The measured rates of /load. A step that only decodes measures its batch; in a mixed step the
 * decoding rows are charged at what such a batch was last seen to cost. */
static void measure(struct step *s, uint64_t ns)
{
    struct ek_engine_load *load = &s->e->load;
    double seconds = (double)(ns ? ns : 1) * 1e-9, decode = 0;
    unsigned bucket = 0;
    while (bucket + 1 < EK_ENGINE_DECODE_BUCKETS && 1u << bucket < s->decode_rows) bucket++;
    pthread_mutex_lock(&s->e->lock);
    load->steps++;
    load->prompt_tokens += s->prompt_rows;
    load->generated_tokens += s->n_sampled;
    uint32_t chunk_rows = s->prompt_rows + s->generated_rows - s->decode_rows;
    if (chunk_rows == 0) {
        load->decode_tps[bucket] = smooth(load->decode_tps[bucket], s->decode_rows / seconds);
    } else {
        if (s->decode_rows && load->decode_tps[bucket] > 0) {
            decode = s->decode_rows / load->decode_tps[bucket];
        }
        double rest = decode < 0.9 * seconds ? seconds - decode : 0.1 * seconds;
        load->prefill_tps = smooth(load->prefill_tps, chunk_rows / rest);
    }
    pthread_mutex_unlock(&s->e->lock);
}

static void run_step(struct ek_engine *e)
{
    struct step s = {.e = e};
    struct ek_engine_event events[EK_ENGINE_SLOTS_MAX];
    uint64_t begin_ns = ek_engine_clock_ns();
    plan(&s);
    if (s.n_segments == 0) return;
    s.logits = ek_forward_run(e->forward, s.segments, s.n_segments);
    for (size_t slot = 0; slot < e->options.slots; slot++) {
        struct ek_job *job = e->running[slot];
        if (job) ek_kv_name_pages(e->kv, &job->seq, job->ids);
    }
    double work = (double)s.n_sampled * e->model->shape.vocab * 40;
    ek_team_run(e->team, sample_chunk, &s,
                s.n_sampled == 0 ? 0 : ek_team_chunks(e->team, work, s.n_sampled));
    for (size_t i = 0; i < s.n_sampled; i++) {
        events[i] = conclude(&s, i);
        if (events[i].finish != EK_JOB_GOES_ON) retire(e, s.sampled[i], events[i].finish);
    }
    measure(&s, ek_engine_clock_ns() - begin_ns);
    deliver(e, events, s.n_sampled);
}

void *ek_engine_step_main(void *arg)
{
    struct ek_engine *e = arg;
    MUST_OBJ(e, ENGINE_MAGIC);
    while (take_orders(e)) run_step(e);
    return NULL;
}
