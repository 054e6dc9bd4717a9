/* SPDX-License-Identifier: MIT */
/* The life of a call: body, reading, the engine's work, the end. Owns struct ek_call and its states
 * (drawn in serve_inside.h); the only file that submits to the engine. Must never free a call that the
 * engine, a helper thread or the HTTP server may still mention. */
#include "engine/serve_inside.h"

#include "base/map.h"

#include <stdio.h>
#include <stdlib.h>

static const bool legal[EK_CALL_STATES][EK_CALL_STATES] = {
    [EK_CALL_AT_BODY] = {[EK_CALL_AT_READING] = true, [EK_CALL_AT_ENDED] = true},
    [EK_CALL_AT_READING] = {[EK_CALL_AT_RUNNING] = true, [EK_CALL_AT_ENDED] = true},
    [EK_CALL_AT_RUNNING] = {[EK_CALL_AT_ENDED] = true},
};

void ek_call_set_state(struct ek_call *c, enum ek_call_state next)
{
    MUST_OBJ(c, EK_CALL_MAGIC);
    MUST(legal[c->state][next]);
    ek_list_remove(&c->serve->calls[c->state], &c->link);
    ek_list_append(&c->serve->calls[next], &c->link);
    c->state = next;
}

static void on_deadline(struct ek_timer *t)
{
    struct ek_call *c = EK_CONTAINER(t, struct ek_call, deadline);
    MUST_OBJ(c, EK_CALL_MAGIC);
    if (c->state != EK_CALL_AT_RUNNING) return;
    c->failed = EK_REASON_DEADLINE;
    ek_call_set_state(c, EK_CALL_AT_ENDED);
    ek_engine_cancel(c->serve->engine, c->engine_job);
    ek_call_send(c);
    ek_call_release(c);
}

void ek_call_head(struct ek_serve *s, struct ek_http_req *req, enum ek_call_kind kind,
                  const struct ek_http_head *head)
{
    struct ek_call *c = calloc(1, sizeof *c);
    MUST(c);
    struct ek_now now = ek_loop_now(s->loop);
    *c = (struct ek_call){.magic = EK_CALL_MAGIC, .kind = kind, .serve = s, .req = req,
                          .arrived_ns = now.mono_ns, .wrote_ns = now.mono_ns,
                          .created_s = (int64_t)(now.unix_ns / EK_S_NS)};
    c->orca = ek_serve_orca_asked(head);
    size_t max = head->content_length > 0 ? (size_t)head->content_length : SIZE_MAX / 4;
    c->body = ek_buf_make(max); /* the server has held the body to its limits */
    ek_timer_init(&c->deadline, on_deadline);
    ek_list_append(&s->calls[EK_CALL_AT_BODY], &c->link);
    ek_http_set_user(req, c);
}

void ek_call_release(struct ek_call *c)
{
    MUST_OBJ(c, EK_CALL_MAGIC);
    if (c->req || c->engine_job != 0 || c->on_helper || c->state != EK_CALL_AT_ENDED) return;
    struct ek_serve *s = c->serve;
    if (ek_link_linked(&c->dirty)) ek_list_remove(&s->dirty, &c->dirty);
    ek_list_remove(&s->calls[c->state], &c->link);
    ek_timer_clear(s->loop, &c->deadline);
    if (c->has_output) ek_output_free(&c->output);
    ek_calls_free(&c->calls);
    ek_buf_free(&c->said);
    ek_guide_free(&c->guide);
    ek_grammar_free(&c->grammar);
    ek_ask_free(&c->ask);
    ek_buf_free(&c->body);
    ek_buf_free(&c->thought);
    ek_buf_free(&c->text);
    ek_ids_free(&c->prompt);
    ek_ids_free(&c->fresh);
    free(c->samples);
    c->magic = 0;
    free(c);
    ek_serve_check_closed(s);
}

void ek_call_part(struct ek_call *c)
{
    if (!c->req) return;
    ek_http_set_user(c->req, NULL);
    c->req = NULL;
}

/* The client has left, or must: nobody will read on. */
static void leave(struct ek_call *c)
{
    c->req = NULL;
    if (c->engine_job != 0) ek_engine_cancel(c->serve->engine, c->engine_job);
    if (c->state == EK_CALL_AT_BODY || c->state == EK_CALL_AT_RUNNING) {
        ek_call_set_state(c, EK_CALL_AT_ENDED);
    }
}

void ek_call_drop(struct ek_call *c, enum ek_reason why)
{
    struct ek_http_req *req = c->req;
    ek_call_part(c);
    ek_http_abort(req, why);
    c->serve->counters.refused[why]++;
    leave(c);
}

void ek_call_gone(struct ek_call *c, enum ek_reason why)
{
    MUST_OBJ(c, EK_CALL_MAGIC);
    (void)why;
    c->serve->counters.cancelled++;
    leave(c);
    ek_call_release(c);
}

void ek_call_body(struct ek_call *c, const char *data, size_t len)
{
    MUST(c->state == EK_CALL_AT_BODY);
    ek_buf_put(&c->body, data, len);
}

/* ---- to the engine --------------------------------------------------------------------------- */

static void name_call(struct ek_call *c)
{
    struct ek_str given = c->ask.request_id;
    char made[33];
    bool plain = given.len > 0 && given.len <= EK_ASK_REQUEST_ID_BYTES_MAX;
    for (size_t i = 0; i < given.len; i++) {
        char x = given.data[i];
        plain = plain && ((x >= '0' && x <= '9') || (x >= 'a' && x <= 'z') || (x >= 'A' && x <= 'Z') ||
                          x == '-' || x == '_' || x == '.');
    }
    if (!plain) {
        unsigned char random[16];
        ek_loop_random(c->serve->loop, random, sizeof random);
        for (size_t i = 0; i < sizeof random; i++) snprintf(made + 2 * i, 3, "%02x", random[i]);
        given = ek_str_make(made, 32);
    }
    snprintf(c->id, sizeof c->id, "%s-%.*s", c->kind == EK_CALL_CHAT ? "chatcmpl" : "cmpl", (int)given.len,
             given.data);
}

static void open_output(struct ek_call *c)
{
    const struct ek_template *tp = &c->serve->chat;
    bool marked = c->kind == EK_CALL_CHAT && tp->can_think;
    struct ek_output_start start = {
        .think_id = marked ? tp->mark[EK_MARK_THINK] : EK_TOKEN_NONE,
        .end_id = marked ? tp->mark[EK_MARK_END_THINK] : EK_TOKEN_NONE,
        .open_thought = c->end.open_thought, .may_think = c->end.may_think,
        .stops = c->ask.stops, .stop_count = c->ask.stop_count};
    size_t text_max = ((size_t)c->serve->ctx_tokens + 1) * 3 * EK_VOCAB_TOKEN_BYTES_MAX;
    ek_output_init(&c->output, c->serve->tokenizer, &start);
    c->has_output = true;
    c->thought = ek_buf_make(text_max);
    c->text = ek_buf_make(text_max);
    c->fresh.count_max = c->serve->ctx_tokens;
    c->has_calls = c->kind == EK_CALL_CHAT && c->ask.choice != EK_CHOICE_NONE;
    if (!c->has_calls) return;
    char prefix[24];
    snprintf(prefix, sizeof prefix, "call_%016llx", (unsigned long long)ek_hash(ek_str_of(c->id), 0));
    bool by_text = tp->mark[EK_MARK_CALLS_BEGIN] == EK_TOKEN_NONE;
    ek_calls_open(&c->calls, by_text, !c->ask.stream, prefix,
                  4 * text_max < UINT32_MAX ? 4 * text_max : UINT32_MAX);
    c->said = ek_buf_make(3 * EK_VOCAB_TOKEN_BYTES_MAX + 512);
}

static struct ek_engine_job engine_job(struct ek_call *c)
{
    const struct ek_serve *s = c->serve;
    const struct ek_ask *a = &c->ask;
    struct ek_engine_job job = {
        .prompt_ids = c->prompt.data, .prompt_tokens = (uint32_t)c->prompt.count,
        .prefix_ids = a->prefix_ids, .prefix_tokens = (uint32_t)a->prefix_count,
        .cache_salt = ek_hash(a->cache_salt, 0), .priority = a->priority,
        .max_tokens = a->max_tokens ? a->max_tokens : s->ctx_tokens, .sampling = a->sampling,
        .top_logprobs = a->logprobs ? a->top_logprobs : 0, .ignore_stop_ids = a->ignore_eos,
        .stop_count = s->stop_count, .user = c, .guide = c->guide, .guide_from = c->guide_from,
        .bias = a->bias, .bias_count = a->bias_count,
        .thinking = {.open_at_start = c->end.open_thought, .open_id = EK_NO_TOKEN, .end_id = EK_NO_TOKEN,
                     .budget = a->thinking_budget}};
    for (uint32_t i = 0; i < s->stop_count; i++) job.stop_ids[i] = s->stop_ids[i];
    if (c->thinks) {
        if (c->end.may_think) job.thinking.open_id = s->chat.mark[EK_MARK_THINK];
        job.thinking.end_id = s->chat.mark[EK_MARK_END_THINK];
        job.thinking.close_count = s->chat.close_count;
        for (uint32_t i = 0; i < s->chat.close_count; i++) job.thinking.close_ids[i] = s->chat.close_ids[i];
    }
    if (!a->seed_given) ek_loop_random(s->loop, &job.sampling.seed, sizeof job.sampling.seed);
    return job;
}

static void refuse(struct ek_call *c, const struct ek_error *e)
{
    ek_call_refuse(c, e);
    ek_call_set_state(c, EK_CALL_AT_ENDED);
}

/* When a place is likely to be free: what is before us, at the pace answers have taken so far. */
int64_t ek_serve_wait_ms(const struct ek_serve *s)
{
    struct ek_engine_load load;
    ek_engine_load(s->engine, &load);
    if (s->job_s <= 0 || load.slots == 0) return 0;
    double seconds = s->job_s * (1.0 + (double)load.waiting) / (double)load.slots;
    return (int64_t)(1000.0 * (seconds < 60 ? seconds : 60)) + 1;
}

static void submit(struct ek_call *c)
{
    struct ek_serve *s = c->serve;
    char why[200] = "";
    open_output(c);
    if (ek_call_replay(c)) {
        ek_call_set_state(c, EK_CALL_AT_ENDED);
        ek_call_send(c);
        return;
    }
    struct ek_engine_job job = engine_job(c);
    enum ek_status st = ek_engine_submit(s->engine, &job, &c->engine_job, why, sizeof why);
    if (st != EK_OK) {
        c->engine_job = 0;
        struct ek_error e = {.reason = st == EK_FULL ? EK_REASON_ENGINE_QUEUE : EK_REASON_BAD_VALUE};
        if (st != EK_FULL) e.message = ek_str_of(why);
        refuse(c, &e);
        return;
    }
    MUST(c->engine_job != 0);
    c->guide = NULL; /* the engine's now */
    ek_call_set_state(c, EK_CALL_AT_RUNNING);
    if (c->ask.deadline_ms > 0) {
        ek_timer_set(s->loop, &c->deadline, c->arrived_ns + c->ask.deadline_ms * EK_MS_NS);
    }
}

/* Reading is done, on whichever thread; from here on everything is on the loop. */
static void after_reading(struct ek_call *c)
{
    ek_buf_free(&c->body); /* views point into the parsed document, not into the body */
    if (c->req) ek_http_release_body(c->req);
    if (!c->req || c->serve->closing) {
        ek_call_set_state(c, EK_CALL_AT_ENDED);
    } else if (c->fault.reason != EK_REASON_NONE) {
        struct ek_error e = {.reason = c->fault.reason, .message = ek_str_of(c->fault.text),
                             .param = c->fault.param[0] ? c->fault.param : NULL};
        refuse(c, &e);
    } else {
        name_call(c);
        submit(c);
    }
    ek_call_release(c);
}

static void read_on_helper(void *arg)
{
    struct ek_call *c = arg;
    struct ek_encoder *encoder = ek_encoder_new();
    ek_call_read(c, encoder);
    ek_encoder_free(&encoder);
}

static void helper_done(void *arg)
{
    struct ek_call *c = arg;
    MUST_OBJ(c, EK_CALL_MAGIC);
    c->on_helper = false;
    after_reading(c);
}

/* Compiling a schema may take a tenth of a second when it means ill: not on the thread of all streams. */
static bool may_hold_schema(const struct ek_call *c)
{
    const struct ek_str body = ek_buf_view(&c->body);
    static const char *const words[] = {"\"response_format\"", "\"tools\""};
    for (size_t i = 0; i < EK_COUNT(words); i++) {
        if (body.len && memmem(body.data, body.len, words[i], strlen(words[i]))) return true;
    }
    return false;
}

void ek_call_body_end(struct ek_call *c)
{
    MUST_OBJ(c, EK_CALL_MAGIC);
    struct ek_serve *s = c->serve;
    ek_call_set_state(c, EK_CALL_AT_READING);
    if (c->kind == EK_CALL_TOKENIZE) {
        ek_serve_tokenize(c);
        ek_call_part(c);
        ek_call_set_state(c, EK_CALL_AT_ENDED);
        ek_call_release(c);
        return;
    }
    if (c->body.len > EK_SERVE_INLINE_BYTES || may_hold_schema(c)) {
        c->on_helper = true;
        if (ek_work_submit(s->loop, read_on_helper, helper_done, c) == EK_OK) return;
        c->on_helper = false; /* all helpers are busy: then it is our turn */
    }
    ek_call_read(c, s->encoder);
    after_reading(c);
}
