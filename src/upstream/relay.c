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
#include "upstream/relay_body.h"

#include "base/buf.h"
#include "chat/think_tags.h"
#include "http/sse.h"
#include "upstream/load_text.h"
#include "upstream/pool_state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RELAY_MAGIC 0x52e1a970u
#define REST_NS (2 * EK_S_NS)
#define LATE_NS (5 * EK_S_NS)   /* for what comes behind a whole answer */
#define FLOOR_NS (60 * EK_S_NS) /* the pace of a stream is judged by so much of it */
#define FLOOR_PART 4.0  /* who makes a quarter of the usual is slow with its machine, not by itself */
#define FLOOR_S_MAX 3600.0
#define STALL_TOKENS 8.0 /* as many times the usual gap are a stall, where that is longer */
#define SPLIT_BYTES_MAX (4u << 20) /* of a chunk that is told apart */

enum relay_state { RELAY_SENT, RELAY_STREAMING, RELAY_ERROR, RELAY_RESTING, RELAY_DEAD };

/* Telling a thought from an answer where it stands in the text. */
struct ek_split {
    struct ek_think_tags tags;
    struct ek_buf thought, answer, payload;
    bool role; /* the role has been passed on */
};

struct ek_relay { /* what each token looks at comes first */
    uint32_t magic;
    uint8_t state;
    bool busy;   /* inside a callback of the exchange: free at its end */
    bool paused;
    bool got_token;
    bool answers; /* it goes on with an answer proper: a thought now would be a mistake of the other side */
    bool told;   /* the pool knows what became of it */
    struct ek_up_shape_hint shape; /* of the last chunk, among those of its upstream */
    uint32_t upstream;
    struct ek_exchange *exchange;
    const struct ek_relay_events *events;
    void *arg;
    struct ek_loop *loop;
    struct ek_pool *pool;
    struct ek_split *split; /* thoughts stand in the text; NULL: they do not */
    uint64_t last_ns; /* of the last data */
    uint64_t tokens;    /* behind the first */
    uint64_t floor_tokens; /* since the pace was looked at last */
    uint64_t seen[2];     /* bit per choice index: it has begun ... */
    uint64_t finished[2]; /* ... its finish_reason has come */
    struct ek_sse sse;
    uint64_t choices;     /* of the request, all its prompts */
    int status;
    uint64_t retry_after_ms, sent_ns;
    uint64_t first_ns;  /* of the first token; then of all counted ones, the time they took: */
    uint64_t idle_ns;   /* in which nobody read */
    uint64_t paused_ns; /* since when nobody reads */
    uint64_t floor_ns;  /* when the pace was looked at last */
    struct ek_pool_flow floor_flow;  /* ... and all that its upstream had made then */
    uint64_t elsewhere;
    struct ek_relay_deadlines deadline;
    struct ek_timer timer;
    struct ek_link rest; /* RESTING: of the pool's, for it has no other owner */
    struct ek_buf error;
    char *edits; /* the bytes of the body that are ours; until the head */
};

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
    return all_finished(r) && count >= r->choices;
}

/* ---- the end ------------------------------------------------------------------------------------ */

/* What became of it, once. */
static void tell_pool(struct ek_relay *r, enum ek_outcome what)
{
    uint64_t now_ns = ek_loop_now(r->loop).mono_ns;
    if (r->told) return;
    r->told = true;
    if (r->got_token) ek_pool_flow_end(r->pool, r->upstream);
    if (r->paused) r->idle_ns += ek_ns_since(now_ns, r->paused_ns);
    uint64_t span_ns = r->got_token ? ek_ns_since(r->last_ns, r->first_ns) : 0;
    struct ek_health_event e = {
        .what = what, .rest_ns = what == EK_OUTCOME_BUSY ? r->retry_after_ms * EK_MS_NS : 0,
        .first_token_s = r->got_token ? (double)ek_ns_since(r->first_ns, r->sent_ns) * 1e-9 : 0,
        .tokens = r->tokens, .stream_s = (double)ek_ns_since(span_ns, r->idle_ns) * 1e-9};
    ek_pool_outcome(r->pool, r->upstream, &e);
}

static void free_split(struct ek_relay *r)
{
    if (!r->split) return;
    ek_buf_free(&r->split->thought);
    ek_buf_free(&r->split->answer);
    ek_buf_free(&r->split->payload);
    free(r->split);
}

static void free_relay(struct ek_relay *r)
{
    MUST_OBJ(r, RELAY_MAGIC);
    MUST(!r->busy);
    tell_pool(r, EK_OUTCOME_LEFT);
    if (ek_link_linked(&r->rest)) ek_list_remove(&r->pool->resting, &r->rest);
    free_split(r);
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

static void tell_done(struct ek_relay *r)
{
    const struct ek_relay_events *events = r->events;
    MUST(events);
    r->events = NULL;
    r->state = RELAY_RESTING;
    ek_list_append(&r->pool->resting, &r->rest);
    ek_timer_set(r->loop, &r->timer, ek_loop_now(r->loop).mono_ns + REST_NS);
    tell_pool(r, EK_OUTCOME_DONE);
    events->done(r->arg);
}

/* What comes after an answer is whole takes nothing from it: gone on with, it would be said twice. */
static void tell_failed(struct ek_relay *r, enum ek_reason why, const char *detail)
{
    const struct ek_relay_events *events = r->events;
    MUST(events);
    if (is_whole(r)) {
        tell_done(r);
        return;
    }
    r->events = NULL;
    /* No word for too long is a reason to look, too: a child that hangs must not get the work again. */
    if (why == EK_REASON_UPSTREAM_CONNECT || why == EK_REASON_UPSTREAM_RESET ||
        why == EK_REASON_UPSTREAM_CUT || why == EK_REASON_UPSTREAM_STALL ||
        why == EK_REASON_UPSTREAM_TIMEOUT)
        ek_pool_suspect(r->pool, r->upstream, why);
    tell_pool(r, r->got_token ? EK_OUTCOME_CUT : EK_OUTCOME_FAILED);
    events->failed(r->arg, why, detail);
    die(r);
}

static void tell_refused(struct ek_relay *r)
{
    const struct ek_relay_events *events = r->events;
    MUST(events);
    r->events = NULL;
    bool busy = r->status == 429 || r->status == 503;
    bool theirs = r->status >= 500 || r->status == 408 || r->status == 401 || r->status == 402 ||
        r->status == 403;
    tell_pool(r, busy ? EK_OUTCOME_BUSY : theirs ? EK_OUTCOME_FAILED : EK_OUTCOME_REFUSED);
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

/* ---- the stream ---------------------------------------------------------------------------------- */

/* Its pace counts from here on. */
static void judge_anew(struct ek_relay *r, uint64_t now_ns)
{
    r->floor_ns = now_ns;
    r->floor_tokens = 0;
    if (r->deadline.floor_tokens) r->floor_flow = ek_pool_flow(r->pool, r->upstream);
}

static void note_data(struct ek_relay *r, const struct ek_up_chunk *chunk)
{
    bool token = (chunk->flags & EK_UP_TOKEN) != 0;
    uint64_t now_ns = ek_loop_now(r->loop).mono_ns;
    r->last_ns = now_ns;
    if (!token) return;
    if (r->got_token) {
        r->tokens++;
        r->floor_tokens++;
        if (!r->told) ek_pool_flow_token(r->pool, r->upstream, now_ns);
        return;
    }
    r->got_token = true; /* from here on the shorter clock counts */
    r->first_ns = now_ns;
    if (!r->told) ek_pool_flow_begin(r->pool, r->upstream);
    judge_anew(r, now_ns);
    ek_timer_set(r->loop, &r->timer, now_ns + r->deadline.stall_ns);
}

/* Pass text on as `name`: in a chunk of our own or, `whole`, in theirs with all else that it has. */
static void say_split(struct ek_relay *r, struct ek_str payload, const char *name, struct ek_str text,
                      const struct ek_up_chunk *c, bool whole)
{
    const struct ek_up_choice *h = &c->choice[0];
    struct ek_split *s = r->split;
    struct ek_up_chunk fresh;
    const char *fault = NULL, *behind = h->delta.data + h->delta.len;
    bool role = (h->flags & EK_UP_ROLE) && !s->role;
    s->role = s->role || role;
    ek_buf_clear(&s->payload);
    if (whole) ek_buf_put(&s->payload, payload.data, (size_t)(h->delta.data - payload.data));
    else ek_up_chunk_put_head(&s->payload, c);
    ek_up_chunk_put_delta(&s->payload, name, text, role, whole ? h->tool_calls : ek_str_make(NULL, 0));
    if (whole) ek_buf_put(&s->payload, behind, (size_t)(payload.data + payload.len - behind));
    else ek_buf_lit(&s->payload, ",\"finish_reason\":null}]}");
    if (s->payload.failed || !ek_up_chunk_read(ek_buf_view(&s->payload), &fresh, &fault)) {
        tell_failed(r, EK_REASON_UPSTREAM_BAD, fault ? fault : "a chunk is too large");
        return;
    }
    r->events->chunk(r->arg, ek_buf_view(&s->payload), &fresh);
}

/* The text goes where it belongs: the thought first, then, with all else the chunk has, the answer. */
static void split_chunk(struct ek_relay *r, struct ek_str payload, const struct ek_up_chunk *c)
{
    struct ek_split *s = r->split;
    const struct ek_up_choice *h = &c->choice[0];
    if (c->choice_count != 1 || !h->delta.data || (h->flags & EK_UP_REASONING)) {
        r->events->chunk(r->arg, payload, c);
        return;
    }
    ek_buf_clear(&s->thought);
    ek_buf_clear(&s->answer);
    if (h->content.len) ek_think_tags_feed(&s->tags, h->content, &s->thought, &s->answer);
    if (h->flags & (EK_UP_FINISH | EK_UP_TOOL_CALLS)) ek_think_tags_end(&s->tags, &s->thought, &s->answer);
    if (s->thought.len) say_split(r, payload, "reasoning_content", ek_buf_view(&s->thought), c, false);
    bool more = s->answer.len || (h->flags & (EK_UP_FINISH | EK_UP_TOOL_CALLS)) || (c->flags & EK_UP_USAGE) ||
                ((h->flags & EK_UP_ROLE) && !s->role);
    if (more && r->events) say_split(r, payload, "content", ek_buf_view(&s->answer), c, true);
}

/* The longest silence between two tokens: longer where its upstream itself says that it is so slow. Behind
 * the last finish_reason only the usage is to come, in the same breath: nobody waits a minute for it. */
static uint64_t limit_of(const struct ek_relay *r)
{
    if (is_whole(r)) return r->deadline.stall_ns < LATE_NS ? r->deadline.stall_ns : LATE_NS;
    if (!r->got_token) return r->deadline.first_token_ns;
    double token_s = fmin(ek_pool_load(r->pool, r->upstream).token_s, FLOOR_S_MAX);
    uint64_t patient_ns = (uint64_t)(token_s * STALL_TOKENS * 1e9);
    return patient_ns > r->deadline.stall_ns ? patient_ns : r->deadline.stall_ns;
}

static bool were_asked_for(const struct ek_relay *r, const struct ek_up_chunk *chunk)
{
    for (uint32_t i = 0; i < chunk->choice_count; i++)
        if (chunk->choice[i].index >= r->choices) return false;
    return true;
}

static void on_payload(struct ek_relay *r, struct ek_str payload)
{
    struct ek_up_chunk chunk;
    const char *fault = NULL;
    MUST(r->events);
    if (!ek_up_chunk_read_among(ek_pool_shapes(r->pool, r->upstream), &r->shape, payload, &chunk, &fault)) {
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
    if (chunk.usage_wrong) ek_pool_miscounts(r->pool, r->upstream);
    if (!chunk.choice_count && !(chunk.flags & EK_UP_USAGE)) return; /* Azure's filter report, and such */
    if (r->answers && (chunk.flags & EK_UP_REASONING)) {
        tell_failed(r, EK_REASON_UPSTREAM_BAD, "the answer that was to go on came as a thought");
        return;
    }
    if (!were_asked_for(r, &chunk)) {
        tell_failed(r, EK_REASON_UPSTREAM_BAD, "it gives a choice that nobody asked for");
        return;
    }
    note_data(r, &chunk);
    if (r->split) split_chunk(r, payload, &chunk);
    else r->events->chunk(r->arg, payload, &chunk);
    if (!r->events) return; /* it was the caller's last, or could not be handed on: it finishes nothing */
    mark_choices(r, &chunk);
    if ((chunk.flags & EK_UP_FINISH) && is_whole(r))
        ek_timer_set(r->loop, &r->timer, r->last_ns + limit_of(r));
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

static void read_orca(struct ek_relay *r, const struct ek_http_head *head)
{
    struct ek_str value;
    struct ek_load_text t;
    if (!ek_pool_ways(r->pool, r->upstream)->orca) return;
    if (ek_http_head_find(head, EK_STR("endpoint-load-metrics"), &value) && ek_load_read_orca(value, &t))
        ek_pool_take_report(r->pool, r->upstream, &t);
}

static void on_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    struct ek_relay *r = arg;
    MUST_OBJ(r, RELAY_MAGIC);
    MUST(r->exchange == x);
    free(r->edits);
    r->edits = NULL;
    r->status = head->status;
    read_orca(r, head);
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
    if (r->events && r->events->soon) r->events->soon(r->arg);
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
        tell_failed(r, EK_REASON_UPSTREAM_CUT, "the stream ended before its end");
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
    if (r->events) tell_failed(r, why, detail);
    r->busy = false;
    free_relay(r);
}

static const struct ek_exchange_events exchange_events = {on_head, on_data, on_end, on_fail};

static bool has_elsewhere(const struct ek_relay *r)
{
    for (uint64_t m = r->elsewhere; m; m &= m - 1)
        if (ek_pool_load(r->pool, (uint32_t)__builtin_ctzll(m)).up) return true;
    return false;
}

/* Once a minute: did it make what a minute must? Unread minutes do not count. A starved machine is slow for
 * all of its streams: cut, it would have to compute their prompts again; with nowhere else to go any token
 * is better than none. */
static bool below_floor(struct ek_relay *r, uint64_t now_ns)
{
    uint64_t made = r->floor_tokens, span_ns = ek_ns_since(now_ns, r->floor_ns);
    if (!r->got_token || !r->deadline.floor_tokens || span_ns < FLOOR_NS) return false;
    double usual = ek_pool_usual_tokens(r->pool, r->upstream, &r->floor_flow, made, (double)span_ns * 1e-9);
    judge_anew(r, now_ns);
    if (made >= r->deadline.floor_tokens) return false;
    if (made > 0 && !has_elsewhere(r)) return false;
    return usual == HUGE_VAL || (double)made * FLOOR_PART < usual;
}

static void on_timer(struct ek_timer *t)
{
    struct ek_relay *r = EK_CONTAINER(t, struct ek_relay, timer);
    MUST_OBJ(r, RELAY_MAGIC);
    uint64_t now_ns = ek_loop_now(r->loop).mono_ns;
    if (r->state == RELAY_RESTING) {
        free_relay(r);
        return;
    }
    uint64_t limit_ns = limit_of(r);
    if (r->paused) { /* it is we who do not read */
        r->last_ns = now_ns;
        judge_anew(r, now_ns);
    }
    if (below_floor(r, now_ns)) {
        tell_failed(r, EK_REASON_UPSTREAM_STALL, "fewer tokens than the floor");
        return;
    }
    if (ek_ns_since(now_ns, r->last_ns) < limit_ns) {
        uint64_t due_ns = r->last_ns + limit_ns;
        if (r->got_token && r->deadline.floor_tokens && r->floor_ns + FLOOR_NS < due_ns)
            due_ns = r->floor_ns + FLOOR_NS;
        ek_timer_set(r->loop, t, due_ns);
        return;
    }
    tell_failed(r, r->got_token ? EK_REASON_UPSTREAM_STALL : EK_REASON_UPSTREAM_TIMEOUT,
                "no token came in time");
}

/* ---- the beginning --------------------------------------------------------------------------------- */

static void make_split(struct ek_relay *r, const struct ek_relay_request *q)
{
    enum ek_reasoning form = ek_pool_reasoning(r->pool, q->upstream);
    if (form == EK_REASONING_FIELD || q->request->n != 1 || q->request->api != EK_API_CHAT) return;
    if (q->carries && q->answer.len) return; /* the thought is over */
    r->split = calloc(1, sizeof *r->split);
    MUST(r->split);
    *r->split = (struct ek_split){.thought = ek_buf_make(SPLIT_BYTES_MAX),
                                  .answer = ek_buf_make(SPLIT_BYTES_MAX),
                                  .payload = ek_buf_make(SPLIT_BYTES_MAX)};
    ek_think_tags_init(&r->split->tags, form == EK_REASONING_BEGUN || (q->carries && q->thought.len));
    r->split->tags.said = q->carries && q->thought.len; /* a newline now is the thought's own */
}

struct ek_relay *ek_relay_start(struct ek_pool *pool, struct ek_loop *loop,
                                struct ek_exchange_client *client, const struct ek_relay_request *q,
                                const struct ek_relay_deadlines *d, const struct ek_relay_events *events,
                                void *arg)
{
    struct ek_relay *r = calloc(1, sizeof *r);
    MUST(r); /* small and bounded by the desk's running_max: no memory for this is the end of us */
    MUST(events->chunk && events->done && events->refused && events->failed);
    *r = (struct ek_relay){.magic = RELAY_MAGIC, .choices = ek_request_choices(q->request), .deadline = *d,
                           .loop = loop, .elsewhere = q->elsewhere,
                           .pool = pool, .upstream = q->upstream, .events = events, .arg = arg,
                           .error = ek_buf_make(EK_RELAY_ERROR_BODY_BYTES_MAX)};
    ek_sse_init(&r->sse, 0);
    ek_timer_init(&r->timer, on_timer);
    r->sent_ns = r->last_ns = ek_loop_now(loop).mono_ns;
    ek_timer_set(loop, &r->timer, r->last_ns + d->first_token_ns);
    r->answers = q->carries && q->answer.len;
    make_split(r, q);
    ek_pool_sent(pool, q->upstream);
    struct iovec iov[EK_EXCHANGE_BODY_PARTS_MAX];
    size_t parts = ek_relay_body(pool, q, &r->edits, iov);
    MUST(parts > 0); /* a body that was read has at least its braces, and our edits are few */
    char key_text[EK_POOL_KEY_TEXT_BYTES], path[EK_DIALECT_PATH_BYTES_MAX];
    struct ek_http_header headers[5] = {
        {EK_STR("Content-Type"), EK_STR("application/json")},
        {EK_STR("Accept"), EK_STR("text/event-stream")},
        {EK_STR("X-Request-Id"), ek_str_make(q->request_id, 32)},
    };
    size_t header_count = 3;
    if (ek_pool_ways(pool, q->upstream)->orca)
        headers[header_count++] = (struct ek_http_header){EK_STR("endpoint-load-metrics-format"),
                                                          EK_STR("TEXT")};
    header_count += ek_pool_key_header(pool, q->upstream, key_text, &headers[header_count]);
    const char *theirs = ek_pool_their_name(pool, q->upstream, q->model);
    MUST(theirs); /* whoever starts a relay has looked */
    bool fits = ek_pool_path(pool, q->upstream, (enum ek_api)q->request->api, q->carries, theirs, path);
    MUST(fits); /* names are short */
    struct ek_exchange_request x = {
        .target = ek_pool_target(pool, q->upstream), .method = EK_STR("POST"), .path = ek_str_of(path),
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
    if (paused) r->paused_ns = r->last_ns;
    else r->idle_ns += ek_ns_since(r->last_ns, r->paused_ns);
    ek_exchange_pause(r->exchange, paused);
}

void ek_relay_forget(struct ek_link *rest)
{
    struct ek_relay *r = EK_CONTAINER(rest, struct ek_relay, rest);
    MUST_OBJ(r, RELAY_MAGIC);
    MUST(r->state == RELAY_RESTING);
    free_relay(r);
}

void ek_relay_cancel(struct ek_relay **r)
{
    MUST_OBJ(*r, RELAY_MAGIC);
    struct ek_relay *dead = *r;
    *r = NULL;
    die(dead);
}
