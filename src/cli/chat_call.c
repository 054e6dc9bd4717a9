/* SPDX-License-Identifier: MIT */
/* One call of `evenkeel chat`: a request, and its answer as events. Reads any OpenAI-style server;
 * from ours it understands the queue comments and the numbers beside an error as well. */
#include "cli/chat.h"

#include <jansson.h>

static void finish(struct ek_call *c, enum ek_call_end end)
{
    MUST(c->end == EK_CALL_RUNNING);
    MUST(end != EK_CALL_RUNNING);
    c->end = end;
    if (c->exchange) {
        ek_exchange_cancel(&c->exchange);
    }
    if (c->events->done) {
        c->events->done(c->arg);
    }
}

static void say(struct ek_call *c, const char *fmt, ...) EK_PRINTF(2, 3);
static void say(struct ek_call *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->sentence, sizeof(c->sentence), fmt, ap);
    va_end(ap);
}

/* {"message": ..., "code": ...} as a sentence without its full stop. */
static void say_error(struct ek_call *c, const json_t *error)
{
    const char *message = json_string_value(json_object_get(error, "message"));
    const char *code = json_string_value(json_object_get(error, "code"));
    size_t len = message ? strlen(message) : 0;
    if (len > 0 && message[len - 1] == '.') {
        len--;
    }
    if (len == 0) {
        message = json_string_value(error); /* some servers: {"error":"..."} */
        len = message ? strlen(message) : 0;
    }
    struct ek_str text = len ? ek_str_make(message, len) : EK_STR("the server did not say why");
    say(c, "%.*s%s%.40s%s", (int)(text.len < 300 ? text.len : 300), text.data, code ? " (" : "",
        code ? code : "", code ? ")" : "");
}

static int64_t whole_number(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    return json_is_number(v) && json_number_value(v) >= 0 && json_number_value(v) < 1e15
               ? (int64_t)json_number_value(v) : -1;
}

/* ": queue {...}" */
static void read_comment(struct ek_call *c, struct ek_str text)
{
    if (!ek_str_starts(text, EK_STR("queue "))) return;
    json_t *queue = json_loadb(text.data + 6, text.len - 6, 0, NULL);
    const struct ek_place_told place = {
        .position = whole_number(queue, "position"),
        .eta_ms = whole_number(queue, "eta_ms"),
        .eta_p90_ms = whole_number(queue, "eta_p90_ms"),
        .reason = json_string_value(json_object_get(queue, "reason")),
    };
    if (place.position >= 0) {
        c->events->place(c->arg, &place);
    }
    json_decref(queue);
}

static void read_delta(struct ek_call *c, const json_t *choice)
{
    const json_t *delta = json_object_get(choice, "delta");
    const json_t *thought = json_object_get(delta, "reasoning_content");
    const json_t *answer = json_object_get(delta, "content");
    const char *finished = json_string_value(json_object_get(choice, "finish_reason"));

    if (!json_is_string(thought)) {
        thought = json_object_get(delta, "reasoning");
    }
    if (json_string_length(thought) > 0) {
        c->events->thought(c->arg, ek_str_make(json_string_value(thought), json_string_length(thought)));
    }
    if (json_string_length(answer) > 0) {
        c->events->answer(c->arg, ek_str_make(json_string_value(answer), json_string_length(answer)));
    }
    if (finished) {
        c->finished = true;
        c->cut_by_length = strcmp(finished, "length") == 0;
    }
}

/* One data payload. False when the call ended with it. */
static bool read_event(struct ek_call *c, struct ek_str data)
{
    if (ek_str_eq(data, EK_STR("[DONE]"))) {
        if (!c->finished) {
            say(c, "the answer ended without saying that it is whole");
        }
        finish(c, c->finished ? EK_CALL_DONE : EK_CALL_FAILED);
        return false;
    }
    json_t *chunk = json_loadb(data.data, data.len, JSON_ALLOW_NUL, NULL);
    if (!json_is_object(chunk)) {
        json_decref(chunk);
        say(c, "the server sent something that is no JSON object");
        finish(c, EK_CALL_FAILED);
        return false;
    }
    const json_t *error = json_object_get(chunk, "error");
    const json_t *usage = json_object_get(chunk, "usage");
    bool failed = error && !json_is_null(error);
    if (failed) {
        say_error(c, error);
    } else {
        read_delta(c, json_array_get(json_object_get(chunk, "choices"), 0));
    }
    if (json_is_object(usage)) {
        int64_t all = whole_number(usage, "completion_tokens");
        int64_t thought = whole_number(json_object_get(usage, "completion_tokens_details"),
                                       "reasoning_tokens");
        int64_t budget = whole_number(usage, "thinking_budget");
        c->thinking_budget = budget >= 0 ? budget : c->thinking_budget;
        c->thought_tokens = thought;
        c->answer_tokens = all >= 0 && thought >= 0 && thought <= all ? all - thought : all;
    }
    json_decref(chunk);
    if (failed) {
        finish(c, EK_CALL_FAILED);
    }
    return !failed;
}

static void on_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    struct ek_call *c = arg;
    struct ek_str value;
    uint64_t seconds = 0;
    (void)x;
    MUST(c->end == EK_CALL_RUNNING);
    c->status = head->status;
    if (ek_http_head_find(head, EK_STR("retry-after"), &value) == 1 && ek_str_u64(value, &seconds) &&
        seconds < 1000000) {
        c->retry_after_s = (int64_t)seconds;
    }
    if (ek_http_head_find(head, EK_STR("x-thinking-budget"), &value) == 1 && ek_str_u64(value, &seconds) &&
        seconds < 1000000000) {
        c->thinking_budget = (int64_t)seconds;
    }
    c->is_stream = head->status == 200 &&
                   ek_http_head_find(head, EK_STR("content-type"), &value) == 1 && value.len >= 17 &&
                   ek_str_eq_nocase(ek_str_make(value.data, 17), EK_STR("text/event-stream"));
}

static void on_data(void *arg, struct ek_exchange *x, const char *data, size_t len)
{
    struct ek_call *c = arg;
    struct ek_str input = ek_str_make(data, len);
    (void)x;
    MUST(c->end == EK_CALL_RUNNING);
    if (!c->is_stream) {
        ek_buf_put(&c->body, data, len);
        return;
    }
    for (;;) {
        struct ek_sse_item item;
        switch (ek_sse_read(&c->sse, &input, &item)) {
        case EK_SSE_MORE: return;
        case EK_SSE_COMMENT: read_comment(c, item.data); break;
        case EK_SSE_EVENT:
            if (!read_event(c, item.data)) return;
            break;
        case EK_SSE_TOO_LARGE:
            say(c, "the server sent an event beyond all measure");
            finish(c, EK_CALL_FAILED);
            return;
        }
    }
}

static void on_end(void *arg, struct ek_exchange *x)
{
    struct ek_call *c = arg;
    (void)x;
    MUST(c->end == EK_CALL_RUNNING);
    c->exchange = NULL;
    if (c->status == 200 && c->is_stream) {
        say(c, "the answer was cut before its end");
        finish(c, EK_CALL_FAILED);
        return;
    }
    if (c->status == 200 && !c->body.failed) {
        finish(c, EK_CALL_DONE);
        return;
    }
    json_t *document = json_loadb(c->body.data ? c->body.data : "", c->body.len, 0, NULL);
    const json_t *error = json_object_get(document, "error");
    if (error) {
        say_error(c, error);
    } else {
        say(c, "the server answered with status %d", c->status);
    }
    json_decref(document);
    finish(c, EK_CALL_REFUSED);
}

static void on_fail(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail)
{
    struct ek_call *c = arg;
    (void)x;
    MUST(c->end == EK_CALL_RUNNING);
    c->exchange = NULL;
    if (c->status != 0) {
        say(c, "the connection broke in mid-answer: %.300s", detail ? detail : ek_reason_text(why));
    } else {
        say(c, "%s: %.300s", why == EK_REASON_UPSTREAM_CONNECT ? "no connection" : "no answer",
            detail ? detail : ek_reason_text(why));
    }
    finish(c, EK_CALL_FAILED);
}

static const struct ek_exchange_events exchange_events = {on_head, on_data, on_end, on_fail};

void ek_call_start(struct ek_call *c, struct ek_exchange_client *client,
                   const struct ek_exchange_target *target, struct ek_str path, struct ek_str json,
                   const char *key, const struct ek_call_events *events, void *arg)
{
    MUST(events->place);
    MUST(!key || strlen(key) <= 512);
    char bearer[600];
    struct ek_http_header headers[4];
    size_t count = 0;
    struct iovec body = {(void *)(uintptr_t)json.data, json.len};

    *c = (struct ek_call){.retry_after_s = -1, .thought_tokens = -1, .answer_tokens = -1,
                          .thinking_budget = -1, .body = ek_buf_make(EK_CALL_BODY_BYTES_MAX),
                          .events = events, .arg = arg};
    ek_sse_init(&c->sse, 0);
    headers[count++] = (struct ek_http_header){EK_STR("User-Agent"), EK_STR("evenkeel/" EK_VERSION)};
    if (json.len > 0) {
        headers[count++] = (struct ek_http_header){EK_STR("Content-Type"), EK_STR("application/json")};
        headers[count++] = (struct ek_http_header){EK_STR("Accept"), EK_STR("text/event-stream")};
    }
    if (key) {
        snprintf(bearer, sizeof(bearer), "Bearer %s", key);
        headers[count++] = (struct ek_http_header){EK_STR("Authorization"), ek_str_of(bearer)};
    }
    const struct ek_exchange_request request = {
        .target = target, .method = json.len ? EK_STR("POST") : EK_STR("GET"), .path = path,
        .headers = headers, .header_count = count, .body = &body, .body_count = json.len ? 1 : 0,
        .connect_ns = 10 * EK_S_NS, .first_byte_ns = 900 * EK_S_NS, .idle_ns = 900 * EK_S_NS,
        .keep_apart = true, /* minutes may pass between two questions */
    };
    c->exchange = ek_exchange_start(client, &request, &exchange_events, c);
}

void ek_call_stop(struct ek_call *c)
{
    if (c->end != EK_CALL_RUNNING) return;
    c->end = EK_CALL_STOPPED;
    MUST(c->exchange);
    ek_exchange_cancel(&c->exchange);
}

void ek_call_free(struct ek_call *c)
{
    MUST(c->end != EK_CALL_RUNNING);
    MUST(!c->exchange);
    ek_sse_free(&c->sse);
    ek_buf_free(&c->body);
}
