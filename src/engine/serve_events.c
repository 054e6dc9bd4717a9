/* SPDX-License-Identifier: MIT */
/* From the engine's ring to the calls. One batch of events is taken, every token is turned into text,
 * and then each call that got something is sent once: under load several tokens share a chunk, and a
 * write, without anybody waiting for it. */
#include "engine/serve_inside.h"

enum { BATCH = 256 };

static void mark_dirty(struct ek_call *c)
{
    if (!ek_link_linked(&c->dirty)) ek_list_append(&c->serve->dirty, &c->dirty);
}

static void finish(struct ek_call_choice *h, enum ek_finish how)
{
    struct ek_call *c = h->call;
    MUST(how != EK_FINISH_NONE && !h->ended);
    MUST(c->open_choices > 0);
    ek_choice_take_rest(h);
    ek_choice_set_finish(h, how);
    h->ended = true;
    if (--c->open_choices == 0) ek_call_set_state(c, EK_CALL_AT_ENDED);
}

static void on_token(struct ek_call_choice *h, const struct ek_engine_event *ev)
{
    struct ek_call *c = h->call;
    MUST(ev->token_index == h->tokens); /* every token once, in order */
    if (h->index == 0 && h->tokens == c->ask.prefix_count) {
        ek_histogram_add(&c->serve->counters.first_token_s,
                         1e-9 * (double)ek_ns_since(ek_loop_now(c->serve->loop).mono_ns, c->arrived_ns));
    }
    ek_timer_clear(c->serve->loop, &c->deadline);
    ek_choice_take_text(h, ev->token.id, &ev->token);
    if (h->output.state != EK_OUTPUT_STOPPED) return;
    finish(h, EK_FINISH_STOP);
    ek_engine_cancel(c->serve->engine, h->engine_job);
}

/* One that fails takes the others with it: an answer that lacks a choice is a wrong answer. */
static void fail(struct ek_call *c, enum ek_reason why)
{
    if (c->failed == EK_REASON_NONE) c->failed = why;
    ek_call_set_state(c, EK_CALL_AT_ENDED);
    ek_call_cancel_jobs(c);
}

static void on_end(struct ek_call_choice *h, enum ek_job_end end)
{
    switch (end) {
    case EK_JOB_GOES_ON: WRONG("an end that is none");
    case EK_JOB_STOP: finish(h, EK_FINISH_STOP); break;
    case EK_JOB_LENGTH: finish(h, EK_FINISH_LENGTH); break;
    case EK_JOB_CANCELLED: fail(h->call, EK_REASON_DRAINING); break;
    case EK_JOB_FAILED: fail(h->call, EK_REASON_INTERNAL); break;
    }
}

static void on_event(const struct ek_engine_event *ev)
{
    struct ek_call_choice *h = ev->user;
    struct ek_call *c = h->call;
    MUST_OBJ(c, EK_CALL_MAGIC);
    MUST(h->engine_job == ev->job);
    if (h->index == 0) { /* it computes the prompt for all */
        c->cached_tokens = ev->cached_tokens < c->prompt.count ? ev->cached_tokens
                                                               : (uint32_t)c->prompt.count;
    }
    if (c->state == EK_CALL_AT_RUNNING && !h->ended && ev->has_token) on_token(h, ev);
    if (ev->finish != EK_JOB_GOES_ON) {
        h->engine_job = 0;
        if (c->state == EK_CALL_AT_RUNNING && !h->ended) on_end(h, ev->finish);
    }
    mark_dirty(c);
}

void ek_serve_woken(void *arg)
{
    struct ek_serve *s = arg;
    MUST_OBJ(s, EK_SERVE_MAGIC);
    static const struct ek_engine_event none;
    struct ek_engine_event events[BATCH];
    events[0] = none;
    for (size_t n = BATCH; n == BATCH;) {
        n = ek_engine_take(s->engine, events, BATCH);
        MUST(n <= BATCH);
        for (size_t i = 0; i < n; i++) on_event(&events[i]);
        while (s->dirty.count > 0) {
            struct ek_call *c = EK_CONTAINER(ek_list_first(&s->dirty), struct ek_call, dirty);
            ek_list_remove(&s->dirty, &c->dirty);
            ek_call_send(c);
            ek_call_release(c);
        }
    }
}

static void end_replayed(struct ek_call_choice *h)
{
    MUST(h->finish != EK_FINISH_NONE && h->call->open_choices == 1);
    h->ended = true;
    h->call->open_choices = 0;
}

/* What the prefix said is known to the caller: the parser hears it, nobody else does. */
bool ek_call_replay(struct ek_call *c)
{
    const struct ek_ask *a = &c->ask;
    struct ek_call_choice *h = &c->choices[0];
    MUST(a->prefix_count == 0 || c->choice_count == 1);
    for (size_t i = 0; i < a->prefix_count; i++) {
        bool thought = h->output.state == EK_OUTPUT_THOUGHT;
        ek_choice_hear(h, a->prefix_ids[i], NULL, NULL);
        h->tokens++;
        if (thought && a->prefix_ids[i] != h->output.end_id) h->thought_tokens++;
        if (h->output.state == EK_OUTPUT_STOPPED) {
            ek_choice_set_finish(h, EK_FINISH_STOP);
            end_replayed(h);
            return true;
        }
    }
    if (h->has_calls && !h->calls.keeps_whole) { /* these were sent before */
        (void)ek_calls_deltas(&h->calls);
        ek_calls_taken(&h->calls);
    }
    if (a->max_tokens > 0 && a->prefix_count >= a->max_tokens) {
        ek_choice_take_rest(h);
        h->finish = EK_FINISH_LENGTH;
        end_replayed(h);
        return true;
    }
    return false;
}
