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
    ek_call_cancel_jobs(c);
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

void ek_call_cancel_jobs(struct ek_call *c)
{
    MUST_OBJ(c, EK_CALL_MAGIC);
    for (uint32_t i = 0; i < c->choice_count; i++) {
        uint64_t job = c->choices[i].engine_job;
        if (job != 0) ek_engine_cancel(c->serve->engine, job);
    }
}

static void free_choice(struct ek_call_choice *h)
{
    MUST(h->engine_job == 0);
    if (h->has_output) ek_output_free(&h->output);
    ek_calls_free(&h->calls);
    ek_buf_free(&h->said);
    ek_guide_free(&h->guide);
    ek_buf_free(&h->thought);
    ek_buf_free(&h->text);
    ek_ids_free(&h->fresh);
    free(h->samples);
}

static bool is_in_engine(const struct ek_call *c)
{
    for (uint32_t i = 0; i < c->choice_count; i++) {
        if (c->choices[i].engine_job != 0) return true;
    }
    return false;
}

void ek_call_release(struct ek_call *c)
{
    MUST_OBJ(c, EK_CALL_MAGIC);
    if (c->req || c->on_helper || c->state != EK_CALL_AT_ENDED || is_in_engine(c)) return;
    struct ek_serve *s = c->serve;
    if (ek_link_linked(&c->dirty)) ek_list_remove(&s->dirty, &c->dirty);
    ek_list_remove(&s->calls[c->state], &c->link);
    ek_timer_clear(s->loop, &c->deadline);
    for (uint32_t i = 0; i < c->choice_count; i++) free_choice(&c->choices[i]);
    free(c->choices);
    ek_grammar_free(&c->grammar);
    ek_ask_free(&c->ask);
    ek_buf_free(&c->body);
    ek_ids_free(&c->prompt);
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
    ek_call_cancel_jobs(c);
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

static void open_output(struct ek_call_choice *h)
{
    struct ek_call *c = h->call;
    const struct ek_template *tp = &c->serve->chat;
    bool marked = c->kind == EK_CALL_CHAT && tp->can_think;
    struct ek_output_start start = {
        .think_id = marked ? tp->mark[EK_MARK_THINK] : EK_TOKEN_NONE,
        .end_id = marked ? tp->mark[EK_MARK_END_THINK] : EK_TOKEN_NONE,
        .open_thought = c->end.open_thought, .may_think = c->end.may_think,
        .stops = c->ask.stops, /* inside of calls they mean nothing, and then there is nothing else */
        .stop_count = c->ask.choice >= EK_CHOICE_REQUIRED ? 0 : c->ask.stop_count};
    size_t text_max = ((size_t)c->serve->ctx_tokens + 1) * 3 * EK_VOCAB_TOKEN_BYTES_MAX;
    ek_output_init(&h->output, c->serve->tokenizer, &start);
    h->has_output = true;
    h->thought = ek_buf_make(text_max);
    h->text = ek_buf_make(text_max);
    h->fresh.count_max = c->serve->ctx_tokens;
    h->has_calls = c->kind == EK_CALL_CHAT && c->ask.choice != EK_CHOICE_NONE;
    if (!h->has_calls) return;
    char prefix[24];
    snprintf(prefix, sizeof prefix, "call_%016llx", (unsigned long long)ek_hash(ek_str_of(c->id), h->index));
    bool by_text = tp->mark[EK_MARK_CALLS_BEGIN] == EK_TOKEN_NONE;
    ek_calls_open(&h->calls, by_text, !c->ask.stream, prefix,
                  4 * text_max < UINT32_MAX ? 4 * text_max : UINT32_MAX);
    h->said = ek_buf_make(3 * EK_VOCAB_TOKEN_BYTES_MAX + 512);
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
        .stop_count = s->stop_count, .guide_from = c->guide_from,
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
    return job; /* but for what each choice has of its own */
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

static enum ek_status submit_jobs(struct ek_call *c, char *why, size_t why_cap)
{
    struct ek_engine_job jobs[EK_ASK_CHOICES_MAX], first = engine_job(c);
    uint64_t ids[EK_ASK_CHOICES_MAX] = {0};
    _Static_assert((int)EK_ASK_CHOICES_MAX <= (int)EK_ENGINE_GROUP_MAX, "all choices go in together");
    MUST(c->choice_count <= EK_ASK_CHOICES_MAX);
    for (uint32_t i = 0; i < c->choice_count; i++) {
        jobs[i] = first;
        jobs[i].user = &c->choices[i];
        jobs[i].guide = c->choices[i].guide;
        jobs[i].sampling.seed = first.sampling.seed + i;
    }
    enum ek_status st = ek_engine_submit_group(c->serve->engine, jobs, c->choice_count, ids, why, why_cap);
    if (st != EK_OK) return st;
    for (uint32_t i = 0; i < c->choice_count; i++) {
        c->choices[i].engine_job = ids[i];
        c->choices[i].guide = NULL; /* the engine's now */
        MUST(ids[i] != 0);
    }
    return EK_OK;
}

static void submit(struct ek_call *c)
{
    struct ek_serve *s = c->serve;
    char why[200] = "";
    MUST(c->choices && c->choice_count > 0);
    for (uint32_t i = 0; i < c->choice_count; i++) open_output(&c->choices[i]);
    c->open_choices = c->choice_count;
    if (ek_call_replay(c)) {
        ek_call_set_state(c, EK_CALL_AT_ENDED);
        ek_call_send(c);
        return;
    }
    enum ek_status st = submit_jobs(c, why, sizeof why);
    if (st != EK_OK) {
        struct ek_error e = {.reason = st == EK_FULL ? EK_REASON_ENGINE_QUEUE : EK_REASON_BAD_VALUE};
        if (st != EK_FULL) e.message = ek_str_of(why);
        refuse(c, &e);
        return;
    }
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
    uint64_t begin_ns = ek_clock_read().mono_ns;
    struct ek_encoder *encoder = ek_encoder_new();
    ek_call_read(c, encoder);
    ek_encoder_free(&encoder);
    c->read_s = (double)(ek_clock_read().mono_ns - begin_ns) * 1e-9;
}

static void helper_done(void *arg)
{
    struct ek_call *c = arg;
    MUST_OBJ(c, EK_CALL_MAGIC);
    c->on_helper = false;
    after_reading(c);
}

/* Schemas that mean ill cost up to a second each: never more than one of them beside the steps, whoever sends
 * how many, and callers take turns at it. It shares neither lock nor thread with the steps, only cores. */
static void shape_next(struct ek_serve *s);

static void shaped(void *arg)
{
    struct ek_call *c = arg;
    struct ek_serve *s = c->serve;
    MUST(s->shaping);
    s->shaping = false;
    ek_turns_had(&s->turns, ek_clock_read().mono_ns, c->place, c->read_s);
    helper_done(c);
    shape_next(s);
}

static struct ek_call *whose_turn(const struct ek_serve *s)
{
    struct ek_call *best = EK_CONTAINER(ek_list_first(&s->to_shape), struct ek_call, dirty);
    for (struct ek_link *l = best->dirty.next; l != &s->to_shape.head; l = l->next) {
        struct ek_call *c = EK_CONTAINER(l, struct ek_call, dirty);
        if (ek_turns_before(&s->turns, c->place, best->place)) best = c;
    }
    return best;
}

static void shape_next(struct ek_serve *s)
{
    while (!s->shaping && s->to_shape.count > 0) {
        struct ek_call *c = whose_turn(s);
        ek_list_remove(&s->to_shape, &c->dirty);
        MUST(c->on_helper && c->state == EK_CALL_AT_READING);
        s->shaping = c->req && ek_work_submit(s->loop, read_on_helper, shaped, c) == EK_OK;
        if (s->shaping) return;
        if (c->req) ek_call_read(c, s->encoder); /* all helpers are busy: then it is our turn */
        helper_done(c);
    }
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
    if (c->kind == EK_CALL_TOKENIZE || c->kind == EK_CALL_DETOKENIZE) {
        ek_serve_tokens(c);
        ek_call_part(c);
        ek_call_set_state(c, EK_CALL_AT_ENDED);
        ek_call_release(c);
        return;
    }
    if (may_hold_schema(c)) {
        c->on_helper = true;
        c->place = ek_turns_place(ek_buf_view(&c->body), ek_http_peer(c->req));
        ek_list_append(&s->to_shape, &c->dirty);
        shape_next(s);
        return;
    }
    if (c->body.len > EK_SERVE_INLINE_BYTES) {
        c->on_helper = true;
        if (ek_work_submit(s->loop, read_on_helper, helper_done, c) == EK_OK) return;
        c->on_helper = false; /* all helpers are busy: then it is our turn */
    }
    ek_call_read(c, s->encoder);
    after_reading(c);
}
