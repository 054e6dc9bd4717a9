/* SPDX-License-Identifier: MIT */
/* The head of a request: which endpoint it is for, who asks, and the answers that need no request
 * struct: lists of models, health, metrics, refusals. Nothing here looks at a body. */
#include "door/door_state.h"

#include "base/json_write.h"
#include "policy/cost.h"

#include <stdio.h>

enum endpoint {
    AT_NOTHING,
    AT_CHAT,
    AT_COMPLETIONS,
    AT_MODELS,
    AT_MODEL, /* one, by its name behind the path */
    AT_RESPONSES,
    AT_RESPONSE, /* one, and what is to be done with it */
    AT_STREAM,  /* one, to be read again or erased, by its id */
    AT_REQUEST, /* what became of one, by its id */
    AT_HEALTH,
    AT_READY,
    AT_METRICS,
    AT_BALANCE,
};

static const struct {
    struct ek_str path;
    enum endpoint at;
    bool post;
    bool open; /* no key needed */
} routes[] = {
    {EK_STR("/v1/chat/completions"), AT_CHAT, true, false},
    {EK_STR("/chat/completions"), AT_CHAT, true, false},
    {EK_STR("/beta/chat/completions"), AT_CHAT, true, false}, /* where DeepSeek's clients send strict tools */
    {EK_STR("/v1/completions"), AT_COMPLETIONS, true, false},
    {EK_STR("/completions"), AT_COMPLETIONS, true, false},
    {EK_STR("/v1/responses"), AT_RESPONSES, true, false},
    {EK_STR("/responses"), AT_RESPONSES, true, false},
    {EK_STR("/v1/models"), AT_MODELS, false, false},
    {EK_STR("/models"), AT_MODELS, false, false},
    {EK_STR("/beta/completions"), AT_COMPLETIONS, true, false},
    {EK_STR("/beta/models"), AT_MODELS, false, false},
    {EK_STR("/user/balance"), AT_BALANCE, false, false},
    {EK_STR("/v1/user/balance"), AT_BALANCE, false, false},
    {EK_STR("/health"), AT_HEALTH, false, true},
    {EK_STR("/ready"), AT_READY, false, true},
    {EK_STR("/metrics"), AT_METRICS, false, true},
};

static enum endpoint find_route(struct ek_str path, bool *post, bool *open, struct ek_str *rest)
{
    static const struct {
        struct ek_str prefix;
        enum endpoint at;
    } behind[] = {{EK_STR("/v1/models/"), AT_MODEL}, {EK_STR("/models/"), AT_MODEL},
                  {EK_STR("/v1/requests/"), AT_REQUEST}, {EK_STR("/v1/streams/"), AT_STREAM},
                  {EK_STR("/v1/responses/"), AT_RESPONSE}, {EK_STR("/responses/"), AT_RESPONSE}};
    *post = *open = false;
    *rest = ek_str_make(NULL, 0);
    for (size_t i = 0; i < EK_COUNT(routes); i++) {
        if (!ek_str_eq(path, routes[i].path)) continue;
        *post = routes[i].post;
        *open = routes[i].open;
        return routes[i].at;
    }
    for (size_t i = 0; i < EK_COUNT(behind); i++) {
        if (!ek_str_starts(path, behind[i].prefix)) continue;
        *rest = ek_str_skip(path, behind[i].prefix.len);
        return rest->len ? behind[i].at : AT_NOTHING;
    }
    return AT_NOTHING;
}

/* ---- the small answers --------------------------------------------------------------------------- */

void ek_door_reply_json(struct ek_door *d, struct ek_http_req *http, int status)
{
    struct ek_http_header header[4] = {{EK_STR("Content-Type"), EK_STR("application/json")}};
    char id[33];
    MUST(!d->text.failed);
    size_t n = ek_door_cors(d, header, ek_door_fresh_id(d, id, header, 1));
    ek_http_reply(http, status, header, n, ek_buf_view(&d->text));
    ek_buf_clear(&d->text);
}

static struct ek_model_entry entry_of(const struct ek_door *d, const struct ek_pool_model *m)
{
    return (struct ek_model_entry){.id = ek_str_of(m->name), .owned_by = EK_STR("evenkeel"),
                                   .created_s = (int64_t)d->born_unix_s};
}

/* What a request that comes now would cost, and until when that is so. */
static void put_pricing(const struct ek_door *d, const char *model, struct ek_buf *out)
{
    uint64_t now_ns = ek_door_now(d).unix_ns;
    const struct ek_price_options *p = ek_cost_price(&d->config->prices, model, now_ns);
    int64_t until_s = ek_cost_price_until_s(&d->config->prices, model, now_ns);
    ek_buf_printf(out, ",\"pricing\":{\"tokens\":1000000,\"cached\":%.10g,\"prompt\":%.10g,\"output\":%.10g",
                  (double)p->cached_pico / 1e6, (double)p->prompt_pico / 1e6, (double)p->output_pico / 1e6);
    ek_buf_lit(out, ",\"when\":");
    if (p->when) ek_json_put_string(out, ek_str_of(p->when));
    else ek_buf_lit(out, "null");
    ek_buf_lit(out, ",\"until\":");
    if (until_s != EK_ZONE_NEVER) ek_buf_i64(out, until_s);
    else ek_buf_lit(out, "null");
    ek_buf_char(out, '}');
}

/* It is no model of its own, so it has no price: those it may turn out to be have. */
static struct ek_model_entry entry_of_auto(const struct ek_door *d, struct ek_buf *extra)
{
    const struct ek_strlist *list = &d->config->queue.automatic;
    ek_buf_lit(extra, ",\"models\":[");
    for (size_t i = 0; i < list->count; i++) {
        if (i) ek_buf_char(extra, ',');
        ek_json_put_string(extra, ek_str_of(list->item[i]));
    }
    ek_buf_char(extra, ']');
    return (struct ek_model_entry){.id = EK_STR("auto"), .owned_by = EK_STR("evenkeel"),
                                   .created_s = (int64_t)d->born_unix_s, .extra = ek_buf_view(extra)};
}

static void reply_models(struct ek_door *d, struct ek_http_req *http)
{
    struct ek_model_entry entry[EK_POOL_MODELS_MAX + 1];
    struct ek_buf auto_extra = ek_buf_make(16 * (EK_POOL_NAME_BYTES_MAX * 6 + 8));
    size_t end[EK_POOL_MODELS_MAX], count = 0;
    struct ek_buf pricing = ek_buf_make(EK_POOL_MODELS_MAX * 512u);
    for (uint32_t m = 0; m < ek_pool_models(d->pool); m++) {
        const struct ek_pool_model *model = ek_pool_model(d->pool, m);
        if (model->alias || !model->upstream_mask) continue;
        put_pricing(d, model->name, &pricing);
        entry[count] = entry_of(d, model);
        end[count++] = pricing.len;
    }
    for (size_t i = 0; i < count && !pricing.failed; i++) /* now that it moves no more */
        entry[i].extra = ek_str_make(pricing.data + (i ? end[i - 1] : 0), end[i] - (i ? end[i - 1] : 0));
    if (ek_door_auto_is(d, EK_STR("auto"))) entry[count++] = entry_of_auto(d, &auto_extra);
    MUST(d->text.len == 0);
    ek_models_write(&d->text, entry, count);
    ek_door_reply_json(d, http, 200);
    ek_buf_free(&pricing);
    ek_buf_free(&auto_extra);
}

static unsigned hex_value(char c)
{
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f') return (unsigned)(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') return (unsigned)(c - 'A') + 10;
    return 16;
}

/* Percent-decoding of the one path that carries a name; false when it is malformed or too long. */
static bool decode(struct ek_str in, char out[EK_POOL_NAME_BYTES_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        unsigned char c = (unsigned char)in.data[i];
        if (c == '%') {
            if (in.len - i < 3) return false;
            unsigned high = hex_value(in.data[i + 1]);
            unsigned low = hex_value(in.data[i + 2]);
            if (high > 15 || low > 15) return false;
            c = (unsigned char)(high * 16 + low);
            i += 2;
        }
        if (c == 0 || n >= EK_POOL_NAME_BYTES_MAX) return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

static void reply_model(struct ek_door *d, struct ek_http_req *http, struct ek_str name)
{
    char plain[EK_POOL_NAME_BYTES_MAX + 1];
    uint32_t m = EK_POOL_MODELS_MAX;
    if (decode(name, plain)) m = ek_pool_find_model(d->pool, ek_str_of(plain));
    if (ek_door_auto_is(d, name)) {
        struct ek_buf extra = ek_buf_make(16 * (EK_POOL_NAME_BYTES_MAX * 6 + 8));
        struct ek_model_entry entry = entry_of_auto(d, &extra);
        MUST(d->text.len == 0);
        ek_model_write(&d->text, &entry);
        ek_door_reply_json(d, http, 200);
        ek_buf_free(&extra);
        return;
    }
    if (m == EK_POOL_MODELS_MAX) {
        struct ek_buf text = ek_buf_make(16384);
        ek_door_put_models(d, name, &text);
        ek_door_refuse_http(d, http, &(struct ek_error){.reason = EK_REASON_MODEL_UNKNOWN,
                                                        .message = ek_buf_view(&text)});
        ek_buf_free(&text);
        return;
    }
    struct ek_model_entry entry = entry_of(d, ek_pool_model(d->pool, m));
    struct ek_buf pricing = ek_buf_make(1024);
    put_pricing(d, ek_pool_model(d->pool, m)->name, &pricing);
    entry.extra = ek_buf_view(&pricing);
    MUST(d->text.len == 0);
    ek_model_write(&d->text, &entry);
    ek_door_reply_json(d, http, 200);
    ek_buf_free(&pricing);
}

static void reply_ready(struct ek_door *d, struct ek_http_req *http)
{
    bool up = false;
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) up = up || ek_pool_load(d->pool, i).up;
    up = up && ek_pool_models(d->pool) > 0;
    MUST(d->text.len == 0);
    ek_buf_printf(&d->text, "{\"ready\":%s%s}\n", up && !d->draining ? "true" : "false",
                  d->draining ? ",\"why\":\"draining\"" : up ? "" : ",\"why\":\"no engine is up\"");
    ek_door_reply_json(d, http, up && !d->draining ? 200 : 503);
}

static void reply_metrics(struct ek_door *d, struct ek_http_req *http)
{
    struct ek_http_header header = {EK_STR("Content-Type"),
                                    EK_STR("text/plain; version=0.0.4; charset=utf-8")};
    MUST(d->text.len == 0);
    ek_door_metrics(d, &d->text);
    ek_http_reply(http, 200, &header, 1, ek_buf_view(&d->text));
    ek_buf_clear(&d->text);
}

/* ---- heads ----------------------------------------------------------------------------------------- */

void ek_door_refuse_method(struct ek_door *d, struct ek_http_req *http, struct ek_str allow)
{
    char id[33];
    struct ek_http_header header[5] = {
        {EK_STR("Content-Type"), EK_STR("application/json")},
        {EK_STR("Allow"), allow},
    };
    d->counters.reasons[EK_REASON_METHOD]++;
    MUST(d->text.len == 0);
    ek_error_write(&d->text, &(struct ek_error){.reason = EK_REASON_METHOD});
    size_t n = ek_door_cors(d, header, ek_door_fresh_id(d, id, header, 2));
    ek_http_reply(http, 405, header, n, ek_buf_view(&d->text));
    ek_buf_clear(&d->text);
}

/* A browser asks before it sends a key to another origin. */
static void reply_preflight(struct ek_door *d, struct ek_http_req *http)
{
    struct ek_http_header header[6] = {
        {EK_STR("Access-Control-Allow-Methods"), EK_STR("GET, POST, DELETE, OPTIONS")},
        {EK_STR("Access-Control-Allow-Headers"),
         EK_STR("Authorization, Content-Type, Last-Event-ID, X-Request-Id, X-Stainless-Retry-Count, "
                "X-Deadline-Ms, X-Keep-Thinking, X-Queue-Ticket")},
        {EK_STR("Access-Control-Max-Age"), EK_STR("600")},
    };
    MUST(d->config->access.cors_origin);
    ek_http_reply(http, 204, header, ek_door_cors(d, header, 3), ek_str_make(NULL, 0));
}

/* Then what was asked is known, and a body is welcome but not needed. */
static bool shows_ticket(const struct ek_http_head *head)
{
    struct ek_str text;
    return ek_http_head_find(head, EK_STR("x-queue-ticket"), &text) > 0;
}

static void begin_request(struct ek_door *d, struct ek_http_req *http, const struct ek_http_head *head,
                          const struct ek_identity *who, enum ek_api api, enum ek_door_form form)
{
    enum ek_reason reason = EK_REASON_NONE;
    struct ek_door_wishes wishes;
    struct ek_error bad;
    if (d->draining) reason = EK_REASON_DRAINING;
    else if (head->content_length < 0 && !head->chunked && !shows_ticket(head))
        reason = EK_REASON_LENGTH_REQUIRED;
    else if (head->content_length > 0 &&
             (uint64_t)head->content_length > d->config->limits.body_bytes_max)
        reason = EK_REASON_BODY_TOO_LARGE;
    if (form == EK_DOOR_PLAIN && ek_door_asks_async(head)) form = EK_DOOR_ASYNC;
    if (!d->config->streams.window_bytes && form == EK_DOOR_RESPONSE) reason = EK_REASON_UNSUPPORTED;
    if (!d->config->streams.window_bytes) form = EK_DOOR_PLAIN; /* a preference need not be met */
    if (reason != EK_REASON_NONE) {
        ek_door_refuse_http(d, http, &(struct ek_error){.reason = reason});
        return;
    }
    if (!ek_door_read_wishes(head, ek_door_now(d), &wishes, &bad)) {
        ek_door_refuse_http(d, http, &bad);
        return;
    }
    if (!wishes.shown.given) wishes.form = (uint8_t)form;
    ek_door_request_new(d, http, who, &wishes, api, head->content_length);
}

static void refuse_caller(struct ek_door *d, struct ek_http_req *http, enum ek_reason reason, const char *why)
{
    struct ek_error e = {.reason = reason};
    char text[160];
    if (why) {
        snprintf(text, sizeof text, "This bearer token is not accepted here: %s.", why);
        e.message = ek_str_of(text);
    }
    ek_door_refuse_http(d, http, &e);
}

static void on_head(void *arg, struct ek_http_req *http, const struct ek_http_head *head)
{
    struct ek_door *d = arg;
    bool post, open;
    struct ek_str rest;
    struct ek_identity who;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    enum endpoint at = find_route(head->path, &post, &open, &rest);
    bool is_get = ek_str_eq(head->method, EK_STR("GET")) || ek_str_eq(head->method, EK_STR("HEAD"));
    bool office = at == AT_NOTHING && ek_door_office_has(d, head->path);
    if (at == AT_STREAM && memchr(rest.data, '/', rest.len)) at = AT_NOTHING; /* streams have nothing below */
    if (at == AT_NOTHING && !office) {
        ek_door_refuse_http(d, http, &(struct ek_error){.reason = EK_REASON_NOT_FOUND});
        return;
    }
    if (d->config->access.cors_origin && ek_str_eq(head->method, EK_STR("OPTIONS"))) {
        reply_preflight(d, http);
        return;
    }
    if (office) {
        ek_door_office_head(d, http, head);
        return;
    }
    bool erases = at == AT_STREAM && ek_str_eq(head->method, EK_STR("DELETE"));
    bool known = post ? ek_str_eq(head->method, EK_STR("POST")) : is_get || erases || at == AT_RESPONSE;
    if (!known) {
        ek_door_refuse_method(d, http, post ? EK_STR("POST") : at == AT_STREAM ? EK_DOOR_STREAM_METHODS
                                                                             : EK_STR("GET, HEAD"));
        return;
    }
    if (!open) {
        enum ek_reason reason = ek_door_identify(d, head, ek_door_caller(d, http, head), &who);
        if (reason != EK_REASON_NONE) {
            refuse_caller(d, http, reason, who.why);
            return;
        }
    }
    switch (at) {
    case AT_CHAT: begin_request(d, http, head, &who, EK_API_CHAT, EK_DOOR_PLAIN); break;
    case AT_COMPLETIONS: begin_request(d, http, head, &who, EK_API_COMPLETIONS, EK_DOOR_PLAIN); break;
    case AT_RESPONSES: begin_request(d, http, head, &who, EK_API_CHAT, EK_DOOR_RESPONSE); break;
    case AT_RESPONSE: ek_door_response_head(d, http, head, &who, rest); break;
    case AT_MODELS: reply_models(d, http); break;
    case AT_MODEL: reply_model(d, http, rest); break;
    case AT_STREAM:
        if (erases) ek_door_stream_erase(d, http, &who, rest);
        else ek_door_stream_read(d, http, head, &who, rest);
        break;
    case AT_REQUEST: ek_door_reply_request(d, http, &who, rest); break;
    case AT_HEALTH:
        ek_buf_lit(&d->text, "{\"status\":\"ok\"}\n");
        ek_door_reply_json(d, http, 200);
        break;
    case AT_READY: reply_ready(d, http); break;
    case AT_METRICS: reply_metrics(d, http); break;
    case AT_BALANCE: ek_door_reply_balance(d, http, &who); break;
    case AT_NOTHING: WRONG("answered above");
    }
}

/* NULL: it has no struct of its own, or is a call of the store's or the office's, or it reads. All begin with
 * their magic. */
static struct ek_door_request *request_of(struct ek_http_req *http)
{
    const uint32_t *magic = ek_http_user(http);
    return magic && *magic == EK_DOOR_REQUEST_MAGIC ? ek_http_user(http) : NULL;
}

static void on_body(void *arg, struct ek_http_req *http, const char *data, size_t len)
{
    (void)arg;
    struct ek_door_request *r = request_of(http);
    if (r) ek_door_body(r, data, len);
    else if (ek_office_is_call(ek_http_user(http))) ek_office_body(ek_http_user(http), data, len);
}

static void on_end(void *arg, struct ek_http_req *http)
{
    (void)arg;
    struct ek_door_request *r = request_of(http);
    if (r) ek_door_body_end(r);
    else if (ek_office_is_call(ek_http_user(http))) ek_office_end(ek_http_user(http));
}

static void on_drain(void *arg, struct ek_http_req *http)
{
    (void)arg;
    struct ek_door_request *r = request_of(http);
    if (r) ek_door_drained(r);
    else if (ek_door_is_reader(ek_http_user(http))) ek_door_reader_drained(ek_http_user(http));
}

static void on_gone(void *arg, struct ek_http_req *http, enum ek_reason why)
{
    (void)arg;
    struct ek_door_request *r = request_of(http);
    if (r) ek_door_gone(r, why);
    else if (ek_office_is_call(ek_http_user(http))) ek_office_gone(ek_http_user(http));
    else if (ek_door_is_reader(ek_http_user(http))) ek_door_reader_gone(ek_http_user(http));
    else if (ek_door_is_held(ek_http_user(http))) ek_door_held_gone(ek_http_user(http));
    else if (ek_http_user(http)) ek_door_call_gone(ek_http_user(http));
}

static unsigned on_refusal(void *arg, enum ek_reason why, const char *detail, struct ek_buf *body)
{
    struct ek_door *d = arg;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    struct ek_error e = {.reason = why, .message = ek_str_of(detail)};
    int status = ek_reason_status(why);
    bool advise = status == 429 || status == 503;
    if (advise) e.retry_after_ms = ek_door_short_wait_ms(d);
    d->counters.reasons[why]++;
    ek_error_write(body, &e);
    return advise ? (unsigned)((e.retry_after_ms + 999) / 1000) : 0;
}

const struct ek_http_handler ek_door_handler = {
    .head = on_head, .body = on_body, .end = on_end, .drain = on_drain, .gone = on_gone,
    .elsewhere = ek_door_swap_elsewhere,
    .refusal = on_refusal,
};
