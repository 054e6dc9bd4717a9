/* SPDX-License-Identifier: MIT */
/* Refusals and errors in all their forms. Which form is possible depends on what is out already:
 *
 *   nothing yet            true status, envelope, Retry-After
 *   a stream               data: {"error":...}  and then  data: [DONE]
 *   200 and newlines       a completion that is empty, with the error beside it
 *
 * Every one of them counts its reason, and none looks like a complete answer. */
#include "door/door_state.h"

#include "chat/upstream_chunk.h"
#include "http/sse.h"

#include <stdio.h>

#define RETRY_AFTER_S_MAX 60

void ek_door_answer_id(const struct ek_door_request *r, char out[48])
{
    char hex[33];
    ek_door_id_hex(r, hex);
    snprintf(out, 48, "%s-%s", r->api == EK_API_CHAT ? "chatcmpl" : "cmpl", hex);
}

struct ek_chunk_head ek_door_chunk_head(const struct ek_door_request *r, const char id[48])
{
    return (struct ek_chunk_head){
        .api = (enum ek_api)r->api, .id = ek_str_of(id),
        .model = ek_str_of(ek_pool_model(r->door->pool, r->model)->name),
        .created_s = (int64_t)(ek_door_now(r->door).unix_ns / EK_S_NS),
        .include_usage = r->include_usage,
    };
}

size_t ek_door_cors(const struct ek_door *d, struct ek_http_header *out, size_t n)
{
    const char *origin = d->config->access.cors_origin;
    if (!origin) return n;
    out[n++] = (struct ek_http_header){EK_STR("Access-Control-Allow-Origin"), ek_str_of(origin)};
    out[n++] = (struct ek_http_header){EK_STR("Access-Control-Expose-Headers"),
                                       EK_STR("X-Request-Id, X-Stream-Id, Retry-After, Retry-After-Ms, "
                                              "X-Queue-Position, X-Queue-Eta-Ms, X-Queue-Wait-Ms, "
                                              "X-Thinking-Budget, X-Auto-Model, X-Queue-Ticket, RateLimit, "
                                              "RateLimit-Policy, X-Cost, "
                                              "X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests, "
                                              "X-RateLimit-Reset-Requests, X-RateLimit-Limit-Tokens, "
                                              "X-RateLimit-Remaining-Tokens, X-RateLimit-Reset-Tokens")};
    return n;
}

enum head_text { TEXT_BUDGET, TEXT_POSITION, TEXT_ETA, TEXT_WAIT };

static struct ek_http_header number_header(struct ek_door *d, enum head_text slot, struct ek_str name,
                                           uint64_t value)
{
    char *text = d->head_text[slot];
    MUST((size_t)slot < EK_COUNT(d->head_text));
    snprintf(text, sizeof d->head_text[slot], "%llu", (unsigned long long)value);
    return (struct ek_http_header){name, ek_str_of(text)};
}

static struct ek_http_header ticket_header(const struct ek_door_request *r)
{
    char *text = r->door->ticket_text;
    char ticket[EK_DOOR_TICKET_BYTES + 1];
    ek_door_ticket_text(r, ticket);
    snprintf(text, sizeof r->door->ticket_text, "%s; durable=%d", ticket, r->durable);
    return (struct ek_http_header){EK_STR("X-Queue-Ticket"), ek_str_of(text)};
}

/* The place and its estimate as they were told first. Who still waits, or has waited, also reads how long
 * ago that was; who never had to wait reads 0. */
static size_t place_headers(const struct ek_door_request *r, struct ek_http_header *out)
{
    struct ek_door *d = r->door;
    size_t n = 0;
    out[n++] = number_header(d, TEXT_POSITION, EK_STR("X-Queue-Position"), r->place);
    if (!r->place) return n;
    if (r->state == EK_DOOR_WAITING && r->ticketed && !r->running && !r->starting)
        out[n++] = ticket_header(r);
    if (r->place_eta_ms >= 0)
        out[n++] = number_header(d, TEXT_ETA, EK_STR("X-Queue-Eta-Ms"), (uint64_t)r->place_eta_ms);
    uint64_t until_ns = r->running && r->running->sent_ns ? r->running->sent_ns : ek_door_now(d).mono_ns;
    out[n++] = number_header(d, TEXT_WAIT, EK_STR("X-Queue-Wait-Ms"),
                             ek_ns_since(until_ns, r->arrived_ns) / EK_MS_NS);
    return n;
}

/* The same for one who is refused: the place it has lost, or would have had. */
static size_t lost_place_headers(struct ek_door *d, const struct ek_error *e, struct ek_http_header *out)
{
    size_t n = 0;
    if (!e->queue) return 0;
    out[n++] = number_header(d, TEXT_POSITION, EK_STR("X-Queue-Position"), e->position);
    if (e->eta_ms >= 0) out[n++] = number_header(d, TEXT_ETA, EK_STR("X-Queue-Eta-Ms"), (uint64_t)e->eta_ms);
    return n;
}

static size_t common_headers(const struct ek_door_request *r, bool sse, char id[33],
                             struct ek_http_header out[EK_DOOR_HEADERS_MAX])
{
    size_t n = 0;
    ek_door_id_hex(r, id);
    struct ek_str hex = ek_str_make(id, 32);
    out[n++] = (struct ek_http_header){EK_STR("Content-Type"),
                                       sse ? EK_STR("text/event-stream; charset=utf-8")
                                           : EK_STR("application/json")};
    out[n++] = (struct ek_http_header){EK_STR("X-Request-Id"), hex};
    if (sse) {
        out[n++] = (struct ek_http_header){EK_STR("X-Stream-Id"), hex};
        out[n++] = (struct ek_http_header){EK_STR("X-Accel-Buffering"), EK_STR("no")};
    }
    if (r->running && r->running->shortened)
        out[n++] = number_header(r->door, TEXT_BUDGET, EK_STR("X-Thinking-Budget"),
                                 r->running->thinking_budget);
    if (r->automatic && r->modelled)
        out[n++] = (struct ek_http_header){EK_STR("X-Auto-Model"),
                                           ek_str_of(ek_pool_model(r->door->pool, r->model)->name)};
    out[n++] = (struct ek_http_header){EK_STR("Cache-Control"), EK_STR("no-cache, no-transform")};
    n = ek_door_cors(r->door, out, n);
    n += ek_door_limits_headers(r, out + n);
    MUST(n <= EK_DOOR_HEADERS_MAX);
    return n;
}

size_t ek_door_headers(const struct ek_door_request *r, bool sse, char id[33],
                       struct ek_http_header out[EK_DOOR_HEADERS_MAX])
{
    size_t n = common_headers(r, sse, id, out);
    n += place_headers(r, out + n);
    MUST(n <= EK_DOOR_HEADERS_MAX);
    return n;
}

int64_t ek_door_short_wait_ms(struct ek_door *d)
{
    uint32_t random;
    ek_loop_random(d->loop, &random, sizeof random);
    return 1000 + random % 4000;
}

/* Their Retry-After is known to the second and not a guess about a line: it is said whole, and where it
 * is more than a minute, which SDKs would not wait for, they are told not to try by themselves. */
static bool is_about_limits(enum ek_reason why)
{
    switch (why) {
    case EK_REASON_RATE_REQUESTS: case EK_REASON_RATE_TOKENS: case EK_REASON_RATE_THOUGHTS:
    case EK_REASON_BUDGET_DAY: case EK_REASON_BUDGET_MONTH: case EK_REASON_BORROW_SPENT: return true;
    default: return false;
    }
}

/* Adds X-Should-Retry and, where it helps, Retry-After (whole seconds, rounded up) with its
 * millisecond twin that some SDKs prefer. The texts live in `digits`. */
static size_t retry_headers(const struct ek_error *e, struct ek_http_header *out, char digits[2][24])
{
    size_t n = 0;
    int64_t ms = e->retry_after_ms, most_ms = RETRY_AFTER_S_MAX * 1000;
    bool long_one = is_about_limits(e->reason) && ms > most_ms;
    bool again = ek_error_retryable(e->reason) && !long_one;
    out[n++] = (struct ek_http_header){EK_STR("X-Should-Retry"), again ? EK_STR("true") : EK_STR("false")};
    if (ms <= 0) return n;
    if (ms > most_ms && !long_one) ms = most_ms;
    int64_t s = (ms + 999) / 1000;
    snprintf(digits[0], sizeof digits[0], "%lld", (long long)s);
    snprintf(digits[1], sizeof digits[1], "%lld", (long long)ms);
    out[n++] = (struct ek_http_header){EK_STR("Retry-After"), ek_str_of(digits[0])};
    out[n++] = (struct ek_http_header){EK_STR("Retry-After-Ms"), ek_str_of(digits[1])};
    return n;
}

/* A status that asks to come back says when. */
static struct ek_error advised(struct ek_door *d, const struct ek_error *e, int status)
{
    struct ek_error out = *e;
    if (ek_error_retryable(e->reason) && (status == 429 || status == 503) && out.retry_after_ms <= 0)
        out.retry_after_ms = ek_door_short_wait_ms(d);
    return out;
}

void ek_door_refuse_http(struct ek_door *d, struct ek_http_req *http, const struct ek_error *given)
{
    struct ek_http_header header[EK_DOOR_HEADERS_MAX];
    char digits[2][24];
    char id[33];
    int status = ek_reason_status(given->reason);
    struct ek_error e = advised(d, given, status);
    MUST(status >= 400);
    MUST(d->text.len == 0);
    header[0] = (struct ek_http_header){EK_STR("Content-Type"), EK_STR("application/json")};
    size_t n = 1 + retry_headers(&e, header + 1, digits);
    if (status == 401)
        header[n++] = (struct ek_http_header){EK_STR("WWW-Authenticate"), EK_STR("Bearer")};
    n = ek_door_fresh_id(d, id, header, n);
    n = ek_door_cors(d, header, n);
    MUST(n <= EK_DOOR_HEADERS_MAX);
    d->counters.reasons[e.reason]++;
    ek_error_write(&d->text, &e);
    ek_http_reply(http, status, header, n, ek_buf_view(&d->text));
    ek_buf_clear(&d->text);
}

struct ek_error ek_door_error_of(const struct ek_action *a)
{
    MUST(a->act == EK_DESK_REFUSE);
    return (struct ek_error){.reason = a->reason, .retry_after_ms = a->retry_after_ms,
                             .queue = a->position > 0, .position = a->position,
                             .eta_ms = a->eta_ms, .eta_p90_ms = a->eta_p90_ms, .help = a->help};
}

/* ---- requests --------------------------------------------------------------------------------------- */

static void end_stream(struct ek_door_request *r, enum ek_reason why, int status, struct ek_str error)
{
    struct ek_door *d = r->door;
    ek_door_claim_out(r);
    ek_door_stream_fail(r, why, status, error);
    if (r->running) ek_sse_put_id(&d->out, ++r->running->event);
    ek_sse_put_data(&d->out, error);
    ek_buf_lit(&d->out, "data: [DONE]\n\n");
    struct ek_http_req *http = r->http;
    ek_door_let_go(r, false);
    ek_door_move(r, EK_DOOR_REFUSED);
    if (!r->detached) ek_http_finish(http, ek_buf_view(&d->out));
    else ek_door_stream_bury(d);
    ek_door_forget_out(r);
}

static void reply(struct ek_door_request *r, int status, const struct ek_error *e, struct ek_str body)
{
    struct ek_http_header header[EK_DOOR_HEADERS_MAX + 4];
    char digits[2][24];
    char id[33];
    size_t n = common_headers(r, false, id, header);
    n += retry_headers(e, header + n, digits);
    n += lost_place_headers(r->door, e, header + n);
    if (ek_door_place_outlives(r)) header[n++] = ticket_header(r);
    MUST(n <= EK_COUNT(header));
    struct ek_http_req *http = r->http;
    MUST(!r->detached); /* those have had their status */
    ek_door_stream_fail(r, e->reason, status, body);
    ek_door_let_go(r, false);
    ek_door_move(r, EK_DOOR_REFUSED);
    ek_http_reply(http, status, header, n, body);
}

static void finish_committed(struct ek_door_request *r, const struct ek_error *e)
{
    struct ek_door *d = r->door;
    char id[48];
    ek_door_answer_id(r, id);
    struct ek_chunk_head head = ek_door_chunk_head(r, id);
    ek_error_write_committed(&d->text, &head, e, r->running ? &r->running->usage : NULL);
    struct ek_http_req *http = r->http;
    ek_door_let_go(r, false);
    ek_door_move(r, EK_DOOR_REFUSED);
    ek_http_finish(http, ek_buf_view(&d->text));
}

void ek_door_refuse(struct ek_door_request *r, const struct ek_error *given)
{
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(r->state != EK_DOOR_DONE && r->state != EK_DOOR_REFUSED);
    MUST(d->text.len == 0);
    if (d->writer == r && !ek_door_flush(d)) return;
    int status = ek_reason_status(given->reason);
    if (status < 400) status = 500;
    struct ek_error e = advised(d, given, status);
    ek_door_money_ending(r, e.reason);
    ek_door_note_end(r, e.reason, NULL);
    char extra[EK_DOOR_TICKET_BYTES + 16];
    d->counters.reasons[e.reason]++;
    if (ek_door_place_outlives(r)) ek_door_place_farewell(r, &e, extra, sizeof extra);
    if (r->committed && !r->stream) {
        finish_committed(r, &e);
    } else {
        ek_error_write(&d->text, &e);
        if (r->committed) end_stream(r, e.reason, status, ek_buf_view(&d->text));
        else reply(r, status, &e, ek_buf_view(&d->text));
    }
    ek_buf_clear(&d->text);
}

void ek_door_refuse_reason(struct ek_door_request *r, enum ek_reason reason, const char *message)
{
    struct ek_error e = {.reason = reason, .message = ek_str_of(message)};
    ek_door_refuse(r, &e);
}

/* ---- what an upstream said -------------------------------------------------------------------------- */

/* Its status is about us (our key, our load) and not about the caller's request. */
static enum ek_reason ours_to_explain(int status)
{
    switch (status) {
    case 401: case 402: case 403: return EK_REASON_UPSTREAM_STATUS;
    case 429: case 503: return EK_REASON_UPSTREAM_BUSY;
    case 408: case 504: return EK_REASON_UPSTREAM_TIMEOUT;
    default: return status >= 400 && status < 500 ? EK_REASON_NONE : EK_REASON_UPSTREAM_STATUS;
    }
}

static void pass_error(struct ek_door_request *r, int status, uint64_t retry_after_ms, struct ek_str body)
{
    struct ek_door *d = r->door;
    struct ek_up_chunk chunk;
    enum ek_reason reason = ours_to_explain(status);
    bool envelope = body.len > 0 && ek_up_chunk_read(body, &chunk, NULL) && (chunk.flags & EK_UP_ERROR);
    if (reason != EK_REASON_NONE) {
        /* An hour is not a time to tell a client that would believe it: at most about a minute, and not
         * the same for everyone. */
        if (retry_after_ms > RETRY_AFTER_S_MAX * 1000)
            retry_after_ms = RETRY_AFTER_S_MAX * 1000 - (uint64_t)ek_door_short_wait_ms(r->door);
        struct ek_error e = {.reason = reason, .retry_after_ms = (int64_t)retry_after_ms};
        ek_door_refuse(r, &e);
        return;
    }
    char text[96];
    ek_door_note_end(r, EK_REASON_UPSTREAM_STATUS, NULL);
    snprintf(text, sizeof text, "The engine answered with status %d.", status);
    if (envelope && !r->committed) {
        d->counters.reasons[EK_REASON_UPSTREAM_STATUS]++;
        struct ek_error e = {.reason = EK_REASON_BAD_VALUE};
        reply(r, status, &e, body);
    } else if (envelope && r->stream) {
        d->counters.reasons[EK_REASON_UPSTREAM_STATUS]++;
        end_stream(r, EK_REASON_UPSTREAM_STATUS, status >= 400 ? status : 0, body);
    } else if (!r->committed && status >= 400) {
        struct ek_error e = {.reason = EK_REASON_BAD_VALUE, .message = ek_str_of(text)};
        d->counters.reasons[EK_REASON_UPSTREAM_STATUS]++;
        MUST(d->text.len == 0);
        ek_error_write(&d->text, &e);
        reply(r, status, &e, ek_buf_view(&d->text));
        ek_buf_clear(&d->text);
    } else {
        ek_door_refuse_reason(r, EK_REASON_UPSTREAM_STATUS, text);
    }
}

void ek_door_pass_error(struct ek_door_request *r, int status, uint64_t retry_after_ms, struct ek_str body)
{
    const struct ek_door_stream *s = r->asked ? ek_door_stream_of(r) : NULL;
    struct ek_buf renamed = ek_buf_make(EK_RELAY_ERROR_BODY_BYTES_MAX + 64);
    if (s && s->asked->response && ek_responses_rename_error(body, &renamed)) body = ek_buf_view(&renamed);
    pass_error(r, status, retry_after_ms, body);
    ek_buf_free(&renamed);
}
