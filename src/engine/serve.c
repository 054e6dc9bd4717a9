/* SPDX-License-Identifier: MIT */
/* Starting, routing and stopping of the engine's HTTP front. Owns the engine, the tokenizer and the
 * listening servers; calls own themselves (serve_call.c). Runs on one loop thread. */
#include "engine/serve.h"

#include "engine/gguf.h"
#include "engine/serve_inside.h"
#include "engine/tokenizer_file.h"

#include <stdio.h>
#include <stdlib.h>

enum { OUT_BYTES_MAX = 64 << 20, TICK_NS = 1000000000 };

/* ---- routing --------------------------------------------------------------------------------- */

static void refuse_head(struct ek_serve *s, struct ek_http_req *req, enum ek_reason reason)
{
    struct ek_error e = {.reason = reason};
    ek_serve_refuse(s, req, &e);
}

static bool post_kind(struct ek_str path, enum ek_call_kind *kind)
{
    if (ek_str_eq(path, EK_STR("/chat/completions"))) *kind = EK_CALL_CHAT;
    else if (ek_str_eq(path, EK_STR("/completions"))) *kind = EK_CALL_COMPLETION;
    else if (ek_str_eq(path, EK_STR("/tokenize"))) *kind = EK_CALL_TOKENIZE;
    else if (ek_str_eq(path, EK_STR("/detokenize"))) *kind = EK_CALL_DETOKENIZE;
    else return false;
    return true;
}

static void on_head(void *arg, struct ek_http_req *req, const struct ek_http_head *head)
{
    struct ek_serve *s = arg;
    MUST_OBJ(s, EK_SERVE_MAGIC);
    struct ek_str path = head->path;
    enum ek_call_kind kind;
    bool get = ek_str_eq(head->method, EK_STR("GET")) || ek_str_eq(head->method, EK_STR("HEAD"));
    if (ek_str_starts(path, EK_STR("/v1/"))) path = ek_str_skip(path, 3);
    else if (ek_str_starts(path, EK_STR("/beta/"))) path = ek_str_skip(path, 5); /* DeepSeek's strict tools */
    bool post = post_kind(path, &kind);
    if (post && ek_str_eq(head->method, EK_STR("POST"))) {
        if (s->closing || s->stopping > 0) refuse_head(s, req, EK_REASON_DRAINING);
        else ek_call_head(s, req, kind, head);
    } else if (post) {
        refuse_head(s, req, EK_REASON_METHOD);
    } else if (!get || !ek_serve_page(s, req, path)) {
        refuse_head(s, req, EK_REASON_NOT_FOUND);
    }
}

static void on_body(void *arg, struct ek_http_req *req, const char *data, size_t len)
{
    (void)arg;
    if (ek_http_user(req)) ek_call_body(ek_http_user(req), data, len);
}

static void on_end(void *arg, struct ek_http_req *req)
{
    (void)arg;
    if (ek_http_user(req)) ek_call_body_end(ek_http_user(req));
}

static void on_drain(void *arg, struct ek_http_req *req)
{
    (void)arg;
    struct ek_call *c = ek_http_user(req);
    if (!c) return;
    ek_call_send(c);
    ek_call_release(c);
}

static void on_gone(void *arg, struct ek_http_req *req, enum ek_reason why)
{
    (void)arg;
    if (ek_http_user(req)) ek_call_gone(ek_http_user(req), why);
}

static unsigned on_refusal(void *arg, enum ek_reason why, const char *detail, struct ek_buf *body)
{
    (void)arg;
    struct ek_error e = {.reason = why, .message = ek_str_of(detail)};
    ek_error_write(body, &e);
    return 0;
}

static const struct ek_http_handler handler = {
    .head = on_head, .body = on_body, .end = on_end,
    .drain = on_drain, .gone = on_gone, .refusal = on_refusal,
};

/* ---- starting -------------------------------------------------------------------------------- */

static void wake(void *arg) /* on the step thread */
{
    ek_waker_signal(arg);
}

static void on_tick(struct ek_timer *t)
{
    struct ek_serve *s = EK_CONTAINER(t, struct ek_serve, tick);
    MUST_OBJ(s, EK_SERVE_MAGIC);
    uint64_t now_ns = ek_loop_now(s->loop).mono_ns;
    EK_LIST_EACH(&s->calls[EK_CALL_AT_RUNNING], link) {
        struct ek_call *c = EK_CONTAINER(link, struct ek_call, link);
        ek_call_quiet(c, now_ns);
        ek_call_release(c);
    }
    ek_timer_set(s->loop, &s->tick, now_ns + TICK_NS);
}

static void name_model(struct ek_serve *s, const struct ek_serve_options *o)
{
    if (o->model_name) {
        snprintf(s->model, sizeof s->model, "%s", o->model_name);
        return;
    }
    const char *slash = strrchr(o->engine.model_path, '/');
    snprintf(s->model, sizeof s->model, "%s", slash ? slash + 1 : o->engine.model_path);
    size_t n = strlen(s->model);
    if (n > 5 && strcmp(s->model + n - 5, ".gguf") == 0) s->model[n - 5] = 0;
}

static void add_stop(struct ek_serve *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->stop_count; i++) {
        if (s->stop_ids[i] == id) return;
    }
    if (id < s->vocab && s->stop_count < EK_ENGINE_STOP_IDS_MAX) s->stop_ids[s->stop_count++] = id;
}

static enum ek_status open_text(struct ek_serve *s, const struct ek_serve_options *o, char *why, size_t cap)
{
    const struct ek_gguf *g = ek_engine_gguf(s->engine);
    enum ek_status st = ek_tokenizer_from_gguf(&s->tokenizer, g, why, cap);
    if (st != EK_OK) return st;
    struct ek_str text = {NULL, 0};
    if (ek_gguf_str(g, "tokenizer.chat_template", &text) == EK_INVALID) {
        snprintf(why, cap, "\"tokenizer.chat_template\" is not a string");
        return EK_INVALID;
    }
    st = ek_template_choose(&s->chat, s->tokenizer, s->encoder, text, ek_str_of(o->chat_template), why, cap);
    if (st != EK_OK) return st;
    if (ek_tokenizer_count(s->tokenizer) > s->vocab) {
        snprintf(why, cap, "the vocabulary names %zu tokens, the model computes %u",
                 ek_tokenizer_count(s->tokenizer), s->vocab);
        return EK_INVALID;
    }
    add_stop(s, ek_tokenizer_eos(s->tokenizer));
    add_stop(s, ek_tokenizer_eot(s->tokenizer));
    add_stop(s, s->chat.mark[EK_MARK_END]);
    ek_serve_open_form(s);
    return EK_OK;
}

static enum ek_status open_listeners(struct ek_serve *s, const struct ek_serve_options *o, char *why,
                                     size_t cap)
{
    if (o->listen.count == 0 || o->listen.count > EK_SERVE_LISTEN_MAX) {
        snprintf(why, cap, "1 to %d addresses to listen on are needed", EK_SERVE_LISTEN_MAX);
        return EK_INVALID;
    }
    s->budget.max_bytes = o->limits.bodies_bytes_max;
    for (size_t i = 0; i < o->listen.count; i++) {
        const char *reason = NULL;
        s->http[i] = ek_http_server_start(s->loop, o->listen.item[i], &o->limits, &s->budget, &handler, s,
                                          &reason);
        if (!s->http[i]) {
            snprintf(why, cap, "%s", reason ? reason : "cannot listen");
            return EK_IO;
        }
        s->http_count++;
    }
    return EK_OK;
}

static void post_closed(struct ek_post *p)
{
    struct ek_serve *s = EK_CONTAINER(p, struct ek_serve, closed_post);
    MUST_OBJ(s, EK_SERVE_MAGIC);
    s->closed(s->closed_arg);
}

enum ek_status ek_serve_start(struct ek_serve **out, struct ek_loop *loop,
                              const struct ek_serve_options *o, char *why, size_t why_cap)
{
    *out = NULL;
    MUST(o->aliases.count <= EK_SERVE_ALIASES_MAX);
    struct ek_serve *s = calloc(1, sizeof *s);
    MUST(s);
    *s = (struct ek_serve){.magic = EK_SERVE_MAGIC, .loop = loop, .log = o->log, .aliases = o->aliases,
                           .encoder = ek_encoder_new(), .out = ek_buf_make(OUT_BYTES_MAX),
                           .started_s = (int64_t)(ek_loop_now(loop).unix_ns / EK_S_NS)};
    for (size_t i = 0; i < EK_CALL_STATES; i++) ek_list_init(&s->calls[i]);
    ek_list_init(&s->to_shape);
    ek_list_init(&s->dirty);
    ek_histogram_init(&s->counters.first_token_s, ek_seconds_bounds, EK_SECONDS_BOUNDS);
    ek_histogram_init(&s->counters.whole_s, ek_seconds_bounds, EK_SECONDS_BOUNDS);
    ek_timer_init(&s->tick, on_tick);
    ek_post_init(&s->closed_post, post_closed);
    name_model(s, o);
    s->waker = ek_waker_new(loop, ek_serve_woken, s);
    enum ek_status st = ek_engine_open(&o->engine, wake, s->waker, &s->engine, why, why_cap);
    if (st != EK_OK) goto fail;
    s->ctx_tokens = ek_engine_ctx_tokens(s->engine);
    s->vocab = ek_engine_vocab(s->engine);
    if ((st = open_text(s, o, why, why_cap)) != EK_OK) goto fail;
    if ((st = open_listeners(s, o, why, why_cap)) != EK_OK) goto fail;
    ek_timer_set(loop, &s->tick, ek_loop_now(loop).mono_ns + TICK_NS);
    *out = s;
    return EK_OK;
fail:
    s->closing = true;
    ek_serve_free(&s);
    return st;
}

void ek_serve_address(const struct ek_serve *s, size_t index, char *out, size_t cap)
{
    MUST(index < s->http_count);
    ek_http_server_address(s->http[index], out, cap);
}

const char *ek_serve_model(const struct ek_serve *s)
{
    return s->model;
}

const char *ek_serve_template(const struct ek_serve *s)
{
    return ek_template_name(&s->chat);
}

/* ---- stopping -------------------------------------------------------------------------------- */

/* Calls that only the engine still mentions do not count: ek_engine_close ends these. */
void ek_serve_check_closed(struct ek_serve *s)
{
    if (!s->closed || s->stopping > 0) return;
    for (size_t i = 0; i < EK_CALL_STATES; i++) {
        EK_LIST_EACH(&s->calls[i], link) {
            const struct ek_call *c = EK_CONTAINER(link, struct ek_call, link);
            if (c->req || c->on_helper) return;
        }
    }
    ek_post_put(s->loop, &s->closed_post);
}

static void on_stopped(void *arg)
{
    struct ek_serve *s = arg;
    MUST(s->stopping > 0);
    s->stopping--;
    ek_serve_check_closed(s);
}

void ek_serve_drain(struct ek_serve *s, void (*closed)(void *arg), void *arg)
{
    MUST_OBJ(s, EK_SERVE_MAGIC);
    if (s->closed) return; /* already on the way out */
    s->closed = closed;
    s->closed_arg = arg;
    s->stopping = s->http_count;
    for (size_t i = 0; i < s->http_count; i++) ek_http_server_stop(s->http[i], on_stopped, s);
}

void ek_serve_close(struct ek_serve *s, void (*closed)(void *arg), void *arg)
{
    MUST_OBJ(s, EK_SERVE_MAGIC);
    s->closing = true;
    s->stopping = 1; /* until the servers below are gone */
    s->closed = closed;
    s->closed_arg = arg;
    for (size_t i = 0; i < s->http_count; i++) ek_http_server_free(&s->http[i]);
    s->http_count = 0;
    s->stopping = 0;
    ek_serve_check_closed(s);
}

void ek_serve_free(struct ek_serve **ss)
{
    struct ek_serve *s = *ss;
    *ss = NULL;
    MUST_OBJ(s, EK_SERVE_MAGIC);
    s->closed = NULL;
    ek_post_clear(s->loop, &s->closed_post);
    ek_timer_clear(s->loop, &s->tick);
    for (size_t i = 0; i < s->http_count; i++) ek_http_server_free(&s->http[i]);
    if (s->engine) ek_engine_close(&s->engine);
    for (size_t i = 0; i < EK_CALL_STATES; i++) {
        EK_LIST_EACH(&s->calls[i], link) {
            struct ek_call *c = EK_CONTAINER(link, struct ek_call, link);
            MUST(!c->req && !c->on_helper);
            for (uint32_t k = 0; k < c->choice_count; k++) c->choices[k].engine_job = 0; /* gone, too */
            if (c->state != EK_CALL_AT_ENDED) ek_call_set_state(c, EK_CALL_AT_ENDED);
        }
    }
    EK_LIST_EACH(&s->calls[EK_CALL_AT_ENDED], link) {
        ek_call_release(EK_CONTAINER(link, struct ek_call, link));
    }
    if (s->waker) ek_waker_close(&s->waker);
    ek_serve_close_form(s);
    ek_tokenizer_free(&s->tokenizer);
    ek_encoder_free(&s->encoder);
    ek_buf_free(&s->out);
    s->magic = 0;
    free(s);
}
