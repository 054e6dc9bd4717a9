/* SPDX-License-Identifier: MIT */
/* The relay of one request.
 *
 *   SENT ── 2xx head ──▶ STREAMING ── [DONE] ──▶ RESTING ── end of the exchange, or 2 s ──▶ freed
 *    │ other head           │ cut, stall, bad chunk
 *    ▼                      ▼
 *   ERROR ── body ──▶ refused                       failed
 *
 * RESTING: the owner was told `done` and has forgotten us; the exchange is given the moment it needs
 * to end by itself, so that its connection can be used again.
 * The stall clock looks at data, not at bytes: an upstream that sends comments for ever is not alive. */
#include "upstream/relay.h"

#include "base/buf.h"
#include "chat/chunk_shape.h"
#include "chat/splice.h"
#include "http/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RELAY_MAGIC 0x52e1a970u
#define REST_NS (2 * EK_S_NS)
#define EDIT_BYTES_MAX (1u << 20) /* what the door puts into a body: mostly the ids of a continuation */

enum relay_state { RELAY_SENT, RELAY_STREAMING, RELAY_ERROR, RELAY_RESTING, RELAY_DEAD };

struct ek_relay {
    uint32_t magic;
    uint8_t state;
    bool busy;   /* inside a callback of the exchange: free at its end */
    bool paused;
    bool got_token;
    uint32_t choices;     /* of the request */
    uint64_t seen[2];     /* bit per choice index: it has begun ... */
    uint64_t finished[2]; /* ... its finish_reason has come */
    int status;
    uint64_t retry_after_ms;
    uint64_t last_ns; /* of the last data */
    struct ek_relay_deadlines deadline;
    struct ek_loop *loop;
    struct ek_pool *pool;
    uint32_t upstream;
    struct ek_exchange *exchange;
    const struct ek_relay_events *events;
    void *arg;
    struct ek_timer timer;
    struct ek_sse sse;
    struct ek_up_shape shape; /* of the last chunk */
    struct ek_buf error;
    char *edits; /* the bytes of the body that are ours; until the head */
};

/* ---- the end ------------------------------------------------------------------------------------ */

static void free_relay(struct ek_relay *r)
{
    MUST_OBJ(r, RELAY_MAGIC);
    MUST(!r->busy);
    if (r->exchange) ek_exchange_cancel(&r->exchange);
    ek_timer_clear(r->loop, &r->timer);
    ek_sse_free(&r->sse);
    ek_buf_free(&r->error);
    free(r->edits);
    r->magic = 0;
    free(r);
}

static void die(struct ek_relay *r)
{
    r->state = RELAY_DEAD;
    r->events = NULL;
    if (!r->busy) free_relay(r);
}

static void tell_failed(struct ek_relay *r, enum ek_reason why, const char *detail)
{
    const struct ek_relay_events *events = r->events;
    MUST(events);
    r->events = NULL;
    /* No word for too long is a reason to look, too: a child that hangs must not get the work again. */
    if (why == EK_REASON_UPSTREAM_CONNECT || why == EK_REASON_UPSTREAM_RESET ||
        why == EK_REASON_UPSTREAM_CUT || why == EK_REASON_UPSTREAM_STALL ||
        why == EK_REASON_UPSTREAM_TIMEOUT)
        ek_pool_suspect(r->pool, r->upstream, why == EK_REASON_UPSTREAM_CONNECT);
    events->failed(r->arg, why, detail);
    die(r);
}

static void tell_done(struct ek_relay *r)
{
    const struct ek_relay_events *events = r->events;
    MUST(events);
    r->events = NULL;
    r->state = RELAY_RESTING;
    ek_timer_set(r->loop, &r->timer, ek_loop_now(r->loop).mono_ns + REST_NS);
    events->done(r->arg);
}

static void tell_refused(struct ek_relay *r)
{
    const struct ek_relay_events *events = r->events;
    MUST(events);
    r->events = NULL;
    events->refused(r->arg, r->status, r->retry_after_ms, ek_buf_view(&r->error));
    die(r);
}

static void mark_choices(struct ek_relay *r, const struct ek_up_chunk *chunk)
{
    for (uint32_t i = 0; i < chunk->choice_count; i++) {
        uint32_t index = chunk->choice[i].index;
        if (index >= EK_REQUEST_CHOICES_MAX) continue; /* the collector refuses it; a stream passes it */
        uint64_t bit = 1ull << index % 64;
        r->seen[index / 64] |= bit;
        if (chunk->choice[i].flags & EK_UP_FINISH) r->finished[index / 64] |= bit;
    }
}

/* Each choice that has begun has its finish_reason, and there is one. Servers that know no `n` give
 * one choice for it: at [DONE] that is an answer. */
static bool all_finished(const struct ek_relay *r)
{
    return (r->seen[0] | r->seen[1]) && r->seen[0] == r->finished[0] && r->seen[1] == r->finished[1];
}

/* As many choices as were asked for have ended: whatever happens to the connection now, the answer is
 * whole. */
static bool is_whole(const struct ek_relay *r)
{
    uint32_t count = (uint32_t)(__builtin_popcountll(r->finished[0]) + __builtin_popcountll(r->finished[1]));
    return all_finished(r) && count >= r->choices && !ek_sse_is_open(&r->sse);
}

/* ---- the stream ---------------------------------------------------------------------------------- */

static void on_payload(struct ek_relay *r, struct ek_str payload)
{
    struct ek_up_chunk chunk;
    const char *fault = NULL;
    MUST(r->events);
    if (!ek_up_chunk_read_next(&r->shape, payload, &chunk, &fault)) {
        tell_failed(r, EK_REASON_UPSTREAM_BAD, fault);
        return;
    }
    if (chunk.flags & EK_UP_DONE) {
        if (all_finished(r)) tell_done(r);
        else tell_failed(r, EK_REASON_UPSTREAM_CUT, "the stream ended without a finish_reason");
        return;
    }
    if (chunk.flags & EK_UP_ERROR) {
        char detail[256];
        struct ek_str m = chunk.error_message;
        if (m.len >= sizeof detail) m.len = sizeof detail - 1;
        if (!m.data || !ek_str_copy(m, detail, sizeof detail)) detail[0] = '\0';
        tell_failed(r, EK_REASON_UPSTREAM_STATUS, detail);
        return;
    }
    r->last_ns = ek_loop_now(r->loop).mono_ns;
    if (!r->got_token && (chunk.flags & (EK_UP_CONTENT | EK_UP_REASONING | EK_UP_TOOL_CALLS))) {
        r->got_token = true; /* from here on the shorter clock counts */
        ek_timer_set(r->loop, &r->timer, r->last_ns + r->deadline.stall_ns);
    }
    mark_choices(r, &chunk);
    r->events->chunk(r->arg, payload, &chunk);
}

static void read_stream(struct ek_relay *r, struct ek_str input)
{
    struct ek_sse_item item;
    while (r->events) {
        switch (ek_sse_read(&r->sse, &input, &item)) {
        case EK_SSE_MORE: return;
        case EK_SSE_COMMENT: break;
        case EK_SSE_EVENT:
            if (item.data.len) on_payload(r, item.data);
            break;
        case EK_SSE_TOO_LARGE: tell_failed(r, EK_REASON_UPSTREAM_BAD, "an event is too large"); return;
        }
    }
}

static uint64_t header_number(const struct ek_http_head *head, struct ek_str name, uint64_t scale)
{
    struct ek_str value;
    uint64_t n = 0;
    if (ek_http_head_find(head, name, &value) == 0 || !ek_str_u64(value, &n)) return 0;
    return n > 86400 * 1000 ? 0 : n * scale;
}

static void on_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    struct ek_relay *r = arg;
    MUST_OBJ(r, RELAY_MAGIC);
    MUST(r->exchange == x);
    free(r->edits);
    r->edits = NULL;
    r->status = head->status;
    if (head->status >= 200 && head->status < 300) {
        struct ek_str type;
        ek_http_head_find(head, EK_STR("content-type"), &type);
        r->state = RELAY_STREAMING;
        if (type.len < 17 || strncasecmp(type.data, "text/event-stream", 17) != 0) {
            r->busy = true;
            tell_failed(r, EK_REASON_UPSTREAM_BAD, "the upstream did not stream");
            r->busy = false;
            if (r->state == RELAY_DEAD) free_relay(r);
            return;
        }
        r->busy = true;
        if (r->events && r->events->accepted) r->events->accepted(r->arg);
        r->busy = false;
        if (r->state == RELAY_DEAD) free_relay(r);
        return;
    }
    r->state = RELAY_ERROR;
    r->retry_after_ms = header_number(head, EK_STR("retry-after-ms"), 1);
    if (!r->retry_after_ms) r->retry_after_ms = header_number(head, EK_STR("retry-after"), 1000);
}

static void on_data(void *arg, struct ek_exchange *x, const char *data, size_t len)
{
    struct ek_relay *r = arg;
    MUST_OBJ(r, RELAY_MAGIC);
    MUST(r->exchange == x);
    if (r->state == RELAY_ERROR) {
        ek_buf_put(&r->error, data, len); /* sticky at its limit: an error text that long is cut */
        return;
    }
    if (r->state != RELAY_STREAMING) return;
    r->busy = true;
    read_stream(r, ek_str_make(data, len));
    r->busy = false;
    if (r->state == RELAY_DEAD) free_relay(r);
}

static void on_end(void *arg, struct ek_exchange *x)
{
    struct ek_relay *r = arg;
    MUST_OBJ(r, RELAY_MAGIC);
    MUST(r->exchange == x);
    r->exchange = NULL;
    r->busy = true;
    if (r->state == RELAY_ERROR && r->events) tell_refused(r);
    if (r->state == RELAY_STREAMING && r->events) {
        if (is_whole(r)) tell_done(r);
        else tell_failed(r, EK_REASON_UPSTREAM_CUT, "the stream ended before its end");
    }
    r->busy = false;
    free_relay(r);
}

static void on_fail(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail)
{
    struct ek_relay *r = arg;
    MUST_OBJ(r, RELAY_MAGIC);
    MUST(r->exchange == x);
    r->exchange = NULL;
    r->busy = true;
    if (r->events && r->state == RELAY_STREAMING && is_whole(r)) tell_done(r);
    else if (r->events) tell_failed(r, why, detail);
    r->busy = false;
    free_relay(r);
}

static const struct ek_exchange_events exchange_events = {on_head, on_data, on_end, on_fail};

static void on_timer(struct ek_timer *t)
{
    struct ek_relay *r = EK_CONTAINER(t, struct ek_relay, timer);
    MUST_OBJ(r, RELAY_MAGIC);
    uint64_t now_ns = ek_loop_now(r->loop).mono_ns;
    if (r->state == RELAY_RESTING) {
        free_relay(r);
        return;
    }
    uint64_t limit_ns = r->got_token ? r->deadline.stall_ns : r->deadline.first_token_ns;
    if (r->paused) r->last_ns = now_ns; /* it is we who do not read */
    if (ek_ns_since(now_ns, r->last_ns) < limit_ns) {
        ek_timer_set(r->loop, t, r->last_ns + limit_ns);
        return;
    }
    tell_failed(r, r->got_token ? EK_REASON_UPSTREAM_STALL : EK_REASON_UPSTREAM_TIMEOUT,
                "no token came in time");
}

/* ---- the body ------------------------------------------------------------------------------------ */

static void put_ek(struct ek_buf *b, const struct ek_relay_request *q)
{
    ek_buf_printf(b, "{\"request_id\":\"%s\",\"seed\":%llu,\"cache_salt\":\"%016llx\"", q->request_id,
                  (unsigned long long)q->seed, (unsigned long long)q->cache_salt);
    if (q->shorten) ek_buf_printf(b, ",\"thinking_budget\":%u", q->thinking_budget);
    if (q->prefix_count) {
        ek_buf_lit(b, ",\"prefix\":[");
        for (size_t i = 0; i < q->prefix_count; i++) {
            if (i) ek_buf_char(b, ',');
            ek_buf_u64(b, q->prefix_ids[i]);
        }
        ek_buf_char(b, ']');
    }
    ek_buf_char(b, '}');
}

/* What belongs to the talk between doors and engines is ours to say: a caller's own is overruled. */
static void overrule(struct ek_splice *s, const struct ek_relay_request *q, bool ours,
                     struct ek_str ek, struct ek_str quoted_id)
{
    if (ours) ek_splice_set(s, EK_MEMBER_EK, ek);
    else if (ek_request_has(q->request, EK_MEMBER_EK)) ek_splice_set(s, EK_MEMBER_EK, EK_STR("null"));
    if (ek_request_has(q->request, EK_MEMBER_PRIORITY))
        ek_splice_set(s, EK_MEMBER_PRIORITY, EK_STR("0"));
    if (ek_request_has(q->request, EK_MEMBER_CACHE_SALT))
        ek_splice_set(s, EK_MEMBER_CACHE_SALT, EK_STR("null"));
    if (ek_request_has(q->request, EK_MEMBER_REQUEST_ID))
        ek_splice_set(s, EK_MEMBER_REQUEST_ID, quoted_id);
    if (ek_request_has(q->request, EK_MEMBER_KV_TRANSFER_PARAMS))
        ek_splice_set(s, EK_MEMBER_KV_TRANSFER_PARAMS, EK_STR("null"));
}

static void set_model(struct ek_splice *s, const struct ek_pool *pool, const struct ek_relay_request *q)
{
    const char *theirs = ek_pool_their_name(pool, q->upstream, q->model);
    MUST(theirs);
    if (!ek_str_eq(ek_str_of(theirs), ek_str_make(q->request->model, q->request->model_bytes)))
        ek_splice_model(s, ek_str_of(theirs));
    enum ek_model_thinking thinking = ek_pool_model(pool, q->model)->thinking;
    if (thinking == EK_MODEL_AS_ASKED || q->request->thinking != EK_THINKING_UNSET) return;
    ek_splice_set(s, EK_MEMBER_THINKING_TYPE,
                  thinking == EK_MODEL_THINKING_ON ? EK_STR("\"enabled\"") : EK_STR("\"disabled\""));
}

static bool inside(struct ek_str piece, struct ek_str body)
{
    return piece.data >= body.data && piece.data < body.data + body.len;
}

/* The pieces as iovecs; runs of pieces that are not the caller's are copied together into *edits, so
 * that few iovecs are enough and the splice may go. Returns their count, 0 when they do not fit. */
static size_t to_iovecs(const struct ek_str *piece, size_t pieces, struct ek_str body, char **edits,
                        struct iovec iov[EK_EXCHANGE_BODY_PARTS_MAX])
{
    size_t bytes = 0;
    for (size_t i = 0; i < pieces; i++) bytes += inside(piece[i], body) ? 0 : piece[i].len;
    char *at = malloc(bytes ? bytes : 1);
    if (!at) return 0;
    *edits = at;
    size_t count = 0;
    for (size_t i = 0; i < pieces; i++) {
        bool theirs = inside(piece[i], body);
        if (!theirs) memcpy(at, piece[i].data, piece[i].len);
        char *base = theirs ? (char *)(uintptr_t)piece[i].data : at;
        if (!theirs) at += piece[i].len;
        bool joins = count && (char *)iov[count - 1].iov_base + iov[count - 1].iov_len == base;
        if (joins) {
            iov[count - 1].iov_len += piece[i].len;
            continue;
        }
        if (count == EK_EXCHANGE_BODY_PARTS_MAX) return 0;
        iov[count++] = (struct iovec){base, piece[i].len};
    }
    return count;
}

static size_t build_body(struct ek_relay *r, const struct ek_relay_request *q,
                         struct iovec iov[EK_EXCHANGE_BODY_PARTS_MAX])
{
    struct ek_splice splice;
    struct ek_str piece[EK_SPLICE_PIECES_MAX];
    struct ek_buf ek = ek_buf_make(EDIT_BYTES_MAX);
    char quoted_id[40];
    uint64_t bytes = 0;
    bool ours = ek_pool_is_ours(r->pool, q->upstream);
    quoted_id[0] = '"';
    memcpy(quoted_id + 1, q->request_id, 32);
    quoted_id[33] = '"';
    if (ours) put_ek(&ek, q);
    size_t count = 0;
    if (!ek.failed) {
        ek_splice_begin(&splice, q->request, q->body);
        ek_splice_stream(&splice);
        set_model(&splice, r->pool, q);
        overrule(&splice, q, ours, ek_buf_view(&ek), ek_str_make(quoted_id, 34));
        size_t pieces = ek_splice_pieces(&splice, piece, &bytes);
        count = to_iovecs(piece, pieces, q->body, &r->edits, iov);
    }
    ek_buf_free(&ek);
    return count;
}

/* ---- the beginning --------------------------------------------------------------------------------- */

struct ek_relay *ek_relay_start(struct ek_pool *pool, struct ek_loop *loop,
                                struct ek_exchange_client *client, const struct ek_relay_request *q,
                                const struct ek_relay_deadlines *d, const struct ek_relay_events *events,
                                void *arg)
{
    struct ek_relay *r = calloc(1, sizeof *r);
    MUST(r); /* small and bounded by the desk's running_max: no memory for this is the end of us */
    MUST(events->chunk && events->done && events->refused && events->failed);
    *r = (struct ek_relay){.magic = RELAY_MAGIC, .choices = q->request->n, .deadline = *d, .loop = loop,
                           .pool = pool, .upstream = q->upstream, .events = events, .arg = arg,
                           .error = ek_buf_make(EK_RELAY_ERROR_BODY_BYTES_MAX)};
    ek_sse_init(&r->sse, 0);
    ek_timer_init(&r->timer, on_timer);
    r->last_ns = ek_loop_now(loop).mono_ns;
    ek_timer_set(loop, &r->timer, r->last_ns + d->first_token_ns);
    struct iovec iov[EK_EXCHANGE_BODY_PARTS_MAX];
    size_t parts = build_body(r, q, iov);
    MUST(parts > 0); /* a body that was read has at least its braces, and our edits are few */
    char bearer[1100];
    struct ek_http_header headers[4] = {
        {EK_STR("Content-Type"), EK_STR("application/json")},
        {EK_STR("Accept"), EK_STR("text/event-stream")},
        {EK_STR("X-Request-Id"), ek_str_make(q->request_id, 32)},
    };
    size_t header_count = 3;
    const char *key = ek_pool_key(pool, q->upstream);
    if (key) {
        int n = snprintf(bearer, sizeof bearer, "Bearer %s", key);
        MUST(n > 0 && (size_t)n < sizeof bearer); /* ek_pool_new refuses longer keys */
        headers[header_count++] = (struct ek_http_header){EK_STR("Authorization"), ek_str_of(bearer)};
    }
    struct ek_exchange_request x = {
        .target = ek_pool_target(pool, q->upstream), .method = EK_STR("POST"),
        .path = q->request->api == EK_API_CHAT ? EK_STR("/v1/chat/completions")
                                               : EK_STR("/v1/completions"),
        .headers = headers, .header_count = header_count, .body = iov, .body_count = parts,
        .connect_ns = d->connect_ns,
    };
    r->exchange = ek_exchange_start(client, &x, &exchange_events, r);
    return r;
}

void ek_relay_pause(struct ek_relay *r, bool paused)
{
    MUST_OBJ(r, RELAY_MAGIC);
    if (r->paused == paused || !r->exchange) return;
    r->paused = paused;
    r->last_ns = ek_loop_now(r->loop).mono_ns;
    ek_exchange_pause(r->exchange, paused);
}

void ek_relay_cancel(struct ek_relay **r)
{
    MUST_OBJ(*r, RELAY_MAGIC);
    struct ek_relay *dead = *r;
    *r = NULL;
    die(dead);
}
