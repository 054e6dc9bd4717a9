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

static void finish(struct ek_call *c, enum ek_finish how)
{
    MUST(how != EK_FINISH_NONE);
    ek_call_take_rest(c);
    ek_call_set_finish(c, how);
    ek_call_set_state(c, EK_CALL_AT_ENDED);
}

static void on_token(struct ek_call *c, const struct ek_engine_event *ev)
{
    MUST(ev->token_index == c->tokens); /* every token once, in order */
    if (c->tokens == c->ask.prefix_count) {
        ek_histogram_add(&c->serve->counters.first_token_s,
                         1e-9 * (double)ek_ns_since(ek_loop_now(c->serve->loop).mono_ns, c->arrived_ns));
    }
    ek_timer_clear(c->serve->loop, &c->deadline);
    ek_call_take_text(c, ev->token.id, &ev->token);
    if (c->output.state != EK_OUTPUT_STOPPED) return;
    finish(c, EK_FINISH_STOP);
    ek_engine_cancel(c->serve->engine, c->engine_job);
}

static void on_end(struct ek_call *c, enum ek_job_end end)
{
    switch (end) {
    case EK_JOB_GOES_ON: WRONG("an end that is none");
    case EK_JOB_STOP: finish(c, EK_FINISH_STOP); break;
    case EK_JOB_LENGTH: finish(c, EK_FINISH_LENGTH); break;
    case EK_JOB_CANCELLED:
    case EK_JOB_FAILED:
        if (c->failed == EK_REASON_NONE) {
            c->failed = end == EK_JOB_FAILED ? EK_REASON_INTERNAL : EK_REASON_DRAINING;
        }
        ek_call_set_state(c, EK_CALL_AT_ENDED);
        break;
    }
}

static void on_event(const struct ek_engine_event *ev)
{
    struct ek_call *c = ev->user;
    MUST_OBJ(c, EK_CALL_MAGIC);
    MUST(c->engine_job == ev->job);
    c->cached_tokens = ev->cached_tokens < c->prompt.count ? ev->cached_tokens : (uint32_t)c->prompt.count;
    if (c->state == EK_CALL_AT_RUNNING && ev->has_token) on_token(c, ev);
    if (ev->finish != EK_JOB_GOES_ON) {
        c->engine_job = 0;
        if (c->state == EK_CALL_AT_RUNNING) on_end(c, ev->finish);
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

/* What the prefix said is known to the caller: the parser hears it, nobody else does. */
bool ek_call_replay(struct ek_call *c)
{
    const struct ek_ask *a = &c->ask;
    for (size_t i = 0; i < a->prefix_count; i++) {
        bool thought = c->output.state == EK_OUTPUT_THOUGHT;
        ek_call_hear(c, a->prefix_ids[i], NULL, NULL);
        c->tokens++;
        if (thought && a->prefix_ids[i] != c->output.end_id) c->thought_tokens++;
        if (c->output.state == EK_OUTPUT_STOPPED) {
            ek_call_set_finish(c, EK_FINISH_STOP);
            return true;
        }
    }
    if (c->has_calls && !c->calls.keeps_whole) { /* these were sent before */
        (void)ek_calls_deltas(&c->calls);
        ek_calls_taken(&c->calls);
    }
    if (a->max_tokens > 0 && a->prefix_count >= a->max_tokens) {
        ek_call_take_rest(c);
        c->finish = EK_FINISH_LENGTH;
        return true;
    }
    return false;
}
