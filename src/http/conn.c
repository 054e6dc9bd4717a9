/* SPDX-License-Identifier: MIT */
/* One connection of the server: what comes in, and until when. The state machine is drawn in
 * server_priv.h. Bytes are looked at where the loop received them; only a head in parts, a little
 * sent ahead, and what a paused handler does not want yet are held. */
#include "http/server_priv.h"

#include <stdlib.h>

static const uint8_t legal_moves[CONN_STATES] = {
#define TO(s) (1u << CONN_##s)
    [CONN_IDLE] = TO(HEAD) | TO(DEAD),
    [CONN_HEAD] = TO(BODY) | TO(LINGER) | TO(DEAD),
    [CONN_BODY] = TO(WAIT) | TO(SKIP) | TO(LINGER) | TO(DEAD),
    [CONN_WAIT] = TO(IDLE) | TO(LINGER) | TO(DEAD),
    [CONN_SKIP] = TO(IDLE) | TO(LINGER) | TO(DEAD),
    [CONN_LINGER] = TO(DEAD),
    [CONN_DEAD] = 0,
#undef TO
};

static void conn_move(struct ek_http_req *c, enum conn_state to)
{
    struct ek_http_server *s = c->server;
    MUST(legal_moves[c->state] & (1u << to));
    ek_list_remove(&s->conns[c->state], &c->link);
    ek_list_append(&s->conns[to], &c->link);
    c->state = (uint8_t)to;
    if (to != CONN_DEAD) c->since_ns = ek_loop_now(s->loop).mono_ns;
}

static void count(struct ek_http_req *c, enum ek_reason why)
{
    if (why != EK_REASON_NONE) c->server->counters.reasons[why]++;
}

void ek_http_release_body(struct ek_http_req *c)
{
    MUST_OBJ(c, CONN_MAGIC);
    struct ek_http_budget *b = c->server->budget;
    if (!b || c->budget_bytes == 0) return;
    MUST(b->used_bytes >= c->budget_bytes);
    b->used_bytes -= c->budget_bytes;
    c->budget_bytes = 0;
}

static bool charge(struct ek_http_req *c, uint64_t bytes)
{
    struct ek_http_budget *b = c->server->budget;
    if (!b) return true;
    if (b->used_bytes > b->max_bytes || bytes > b->max_bytes - b->used_bytes) {
        b->refused_count++;
        return false;
    }
    b->used_bytes += bytes;
    if (b->used_bytes > b->peak_bytes) b->peak_bytes = b->used_bytes;
    c->budget_bytes += bytes;
    return true;
}

static size_t held_bytes(const struct ek_http_req *c)
{
    return c->held ? c->held->len : 0;
}

/* Take what is held away from the connection; the caller frees it. */
static struct ek_buf take_held(struct ek_http_req *c)
{
    struct ek_buf mine = c->held ? *c->held : ek_buf_make(1);
    free(c->held);
    c->held = NULL;
    return mine;
}

static void drop_held(struct ek_http_req *c)
{
    struct ek_buf mine = take_held(c);
    ek_buf_free(&mine);
}

/* The last word to the handler about this request, if it has not had it. */
static void tell_gone(struct ek_http_req *c, enum ek_reason why)
{
    if (!c->live) return;
    struct ek_http_server *s = c->server;
    c->live = false;
    ek_http_release_body(c);
    MUST(s->counters.running > 0);
    s->counters.running--;
    s->handler->gone(s->arg, c, why);
    c->user = NULL;
}

void ek_http_conn_close(struct ek_http_req *c, enum ek_reason why, bool reset)
{
    MUST_OBJ(c, CONN_MAGIC);
    if (c->state == CONN_DEAD) return;
    count(c, why);
    ek_timer_clear(c->server->loop, &c->timer);
    ek_post_clear(c->server->loop, &c->post);
    if (c->server->pending == c) c->server->pending = NULL;
    if (reset) ek_sock_reset(&c->sock);
    else ek_sock_close(&c->sock);
    conn_move(c, CONN_DEAD);
    tell_gone(c, why);
    drop_held(c);
    ek_http_server_buried(c);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static uint64_t body_due_ns(const struct ek_http_req *c)
{
    const struct ek_http_options *o = &c->server->options;
    uint64_t rate = o->body_rate_min ? o->body_rate_min : 1;
    return c->since_ns + o->body_grace_ns + c->body_seen * EK_MS_NS / rate * 1000;
}

/* When the state's own deadline is; UINT64_MAX for none. */
static uint64_t state_due_ns(const struct ek_http_req *c)
{
    const struct ek_http_options *o = &c->server->options;
    switch (c->state) {
    case CONN_IDLE: /* a client that has never asked anything has less credit */
        return c->since_ns + (c->sent_bytes ? o->idle_ns : o->head_deadline_ns);
    case CONN_HEAD:
        return c->since_ns + o->head_deadline_ns;
    case CONN_BODY:
    case CONN_SKIP:
        return c->paused ? UINT64_MAX : body_due_ns(c);
    case CONN_LINGER:
        return c->since_ns + EK_HTTP_LINGER_NS;
    default:
        return UINT64_MAX;
    }
}

void ek_http_conn_arm(struct ek_http_req *c)
{
    uint64_t due_ns = state_due_ns(c);
    if (c->stalling) {
        uint64_t stall_due_ns = c->stall_ns + c->server->options.write_stall_ns;
        if (stall_due_ns < due_ns) due_ns = stall_due_ns;
    }
    if (due_ns == UINT64_MAX) ek_timer_clear(c->server->loop, &c->timer);
    else ek_timer_set(c->server->loop, &c->timer, due_ns);
}

static bool stalled(struct ek_http_req *c, uint64_t now_ns)
{
    if (!c->stalling || now_ns < c->stall_ns + c->server->options.write_stall_ns) return false;
    uint64_t taken = c->sent_bytes - ek_sock_queued(c->sock);
    if (taken == c->stall_sent) return true;
    c->stall_sent = taken;
    c->stall_ns = now_ns;
    return false;
}

/* ---- refusing -------------------------------------------------------------------------------- */

/* Everything is said: close our half, and read on for a while, because a close with unread bytes in
 * the kernel is a reset that can overtake the answer. */
static void linger(struct ek_http_req *c)
{
    conn_move(c, CONN_LINGER);
    c->discard_left = EK_HTTP_DISCARD_BYTES_MAX;
    c->paused = false;
    drop_held(c);
    ek_sock_shutdown(c->sock);
    ek_sock_read(c->sock, true);
    ek_http_conn_arm(c);
}

/* The server itself says no. Only from the loop's callbacks, never inside a call of the handler's. */
static void refuse(struct ek_http_req *c, enum ek_reason why, const char *detail)
{
    if (c->answer != ANSWER_NONE) {
        ek_http_conn_close(c, why, true);
        return;
    }
    count(c, why);
    tell_gone(c, why);
    ek_http_answer_refuse(c, why, detail ? detail : ek_reason_text(why));
    linger(c);
}

/* ---- what comes in --------------------------------------------------------------------------- */

/* Keep bytes for later; false when that is more than anybody may send ahead. */
static bool hold(struct ek_http_req *c, const char *data, size_t len)
{
    if (!c->held) {
        c->held = malloc(sizeof *c->held);
        if (!c->held) return false;
        *c->held = ek_buf_make(HELD_BYTES_MAX);
    }
    ek_buf_put(c->held, data, len);
    return !c->held->failed;
}

static enum ek_reason reason_of(enum ek_http_bad bad)
{
    switch (bad) {
    case EK_HTTP_BAD_VERSION: return EK_REASON_BAD_VERSION;
    case EK_HTTP_BAD_HEAD_LONG:
    case EK_HTTP_BAD_HEADERS_MANY:
    case EK_HTTP_BAD_TARGET_LONG: return EK_REASON_HEAD_TOO_LARGE;
    case EK_HTTP_BAD_EXPECT: return EK_REASON_EXPECTATION;
    case EK_HTTP_BAD_CHUNK_SIZE:
    case EK_HTTP_BAD_CHUNK_LINE:
    case EK_HTTP_BAD_CHUNK_END:
    case EK_HTTP_BAD_TRAILER: return EK_REASON_BAD_CHUNK;
    default: return EK_REASON_BAD_HEAD;
    }
}

static void be_idle(struct ek_http_req *c)
{
    conn_move(c, CONN_IDLE);
    if (c->server->stopping && held_bytes(c) == 0) ek_http_conn_close(c, EK_REASON_NONE, false);
    else ek_http_conn_arm(c);
    if (c->server->handing && c->state == CONN_IDLE) ek_post_put(c->server->loop, &c->post);
}

static void end_of_body(struct ek_http_req *c)
{
    struct ek_http_server *s = c->server;
    if (c->state == CONN_SKIP) {
        be_idle(c);
        return;
    }
    conn_move(c, CONN_WAIT);
    ek_http_conn_arm(c);
    if (c->answer < ANSWER_FINISHED) s->handler->end(s->arg, c);
}

/* The head is parsed: prepare for its body, hand it over, and say what follows from the answer. */
static void begin_request(struct ek_http_req *c, const struct ek_http_head *h, bool more_came)
{
    struct ek_http_server *s = c->server;
    bool has_body = h->chunked || h->content_length > 0;
    c->keep_alive = h->keep_alive;
    c->old = h->version == 10;
    c->is_head = ek_str_eq(h->method, EK_STR("HEAD"));
    c->body_chunked = h->chunked;
    c->wants_continue = h->expect_continue && has_body;
    c->answer = ANSWER_NONE;
    c->out_chunked = c->out_unbounded = c->paused = false;
    c->body_seen = 0;
    if (h->chunked) c->in.chunks = (struct ek_http_chunks){0};
    else c->in.body_left = h->content_length > 0 ? (uint64_t)h->content_length : 0;
    conn_move(c, CONN_BODY);
    if (h->content_length > 0 && (uint64_t)h->content_length > s->options.body_bytes_max) {
        refuse(c, EK_REASON_BODY_TOO_LARGE, NULL);
        return;
    }
    c->live = true;
    s->counters.requests++;
    s->counters.running++;
    s->handler->head(s->arg, c, h);
    if (c->state == CONN_DEAD) return;
    if (c->answer == ANSWER_NONE && !h->chunked && !charge(c, c->in.body_left)) {
        refuse(c, EK_REASON_BODY_BUDGET, NULL);
        return;
    }
    if (!has_body) {
        end_of_body(c);
        return;
    }
    if (c->wants_continue && c->answer == ANSWER_NONE && !c->paused && !more_came) {
        ek_http_answer_continue(c);
    }
    ek_http_conn_arm(c);
}

static ssize_t parse_head(struct ek_http_req *c, const char *data, size_t len, size_t prev_len)
{
    struct ek_http_limits limits = ek_http_limits_default;
    limits.head_bytes = c->server->options.head_bytes_max;
    return ek_http_parse_request(data, len, prev_len, &limits, &c->server->head);
}

/* Bytes of a head: returns how many were used; the rest is its body, or sent ahead. */
static size_t take_head(struct ek_http_req *c, const char *data, size_t len)
{
    struct ek_http_server *s = c->server;
    if (c->state == CONN_IDLE) conn_move(c, CONN_HEAD);
    ssize_t n = parse_head(c, data, len, 0);
    if (n > 0 && s->heir && s->handler->elsewhere && s->handler->elsewhere(s->arg, &s->head) &&
        ek_http_conn_hand(c, ek_str_make(data, len)))
        return len;
    if (n > 0) {
        begin_request(c, &s->head, (size_t)n < len);
        return (size_t)n;
    }
    if (n == EK_HTTP_BAD) {
        char text[EK_HTTP_SENTENCE_BYTES];
        refuse(c, reason_of(s->head.bad), ek_http_bad_sentence(s->head.bad, text));
        return len;
    }
    ek_http_conn_arm(c);
    if (!hold(c, data, len)) refuse(c, EK_REASON_HEAD_TOO_LARGE, NULL);
    return len;
}

/* Hand body bytes on, unless the answer is complete and nobody wants them. False: c has moved on. */
static bool give_body(struct ek_http_req *c, struct ek_str bytes)
{
    struct ek_http_server *s = c->server;
    c->body_seen += bytes.len;
    if (bytes.len == 0 || c->state == CONN_SKIP || c->answer >= ANSWER_FINISHED) return true;
    if (c->body_chunked) {
        if (c->body_seen > s->options.body_bytes_max) {
            refuse(c, EK_REASON_BODY_TOO_LARGE, NULL);
            return false;
        }
        if (!charge(c, bytes.len)) {
            refuse(c, EK_REASON_BODY_BUDGET, NULL);
            return false;
        }
    }
    s->handler->body(s->arg, c, bytes.data, bytes.len);
    return c->state == CONN_BODY;
}

static size_t take_chunks(struct ek_http_req *c, const char *data, size_t len)
{
    struct ek_str payload;
    ssize_t n = ek_http_chunks_read(&c->in.chunks, data, len, &payload);
    if (n < 0) {
        char text[EK_HTTP_SENTENCE_BYTES];
        refuse(c, EK_REASON_BAD_CHUNK, ek_http_bad_sentence(c->in.chunks.bad, text));
        return len;
    }
    if (!give_body(c, payload)) return (size_t)n;
    if (ek_http_chunks_done(&c->in.chunks)) end_of_body(c);
    return (size_t)n;
}

static size_t take_body(struct ek_http_req *c, const char *data, size_t len)
{
    c->wants_continue = false; /* it did not wait for us */
    if (c->body_chunked) return take_chunks(c, data, len);
    size_t n = len < c->in.body_left ? len : (size_t)c->in.body_left;
    c->in.body_left -= n;
    if (!give_body(c, ek_str_make(data, n))) return n;
    if (c->in.body_left == 0) end_of_body(c);
    return n;
}

/* Sent ahead of our answer: a little is kept, more is an attack or a mistake. */
static size_t take_ahead(struct ek_http_req *c, const char *data, size_t len)
{
    if (held_bytes(c) == 0) c->server->counters.pipelined++;
    if (held_bytes(c) + len > EK_HTTP_PIPELINE_BYTES_MAX || !hold(c, data, len)) {
        ek_http_conn_close(c, EK_REASON_PIPELINE, true);
    }
    return len;
}

static size_t take_discard(struct ek_http_req *c, size_t len)
{
    if (len >= c->discard_left) ek_http_conn_close(c, EK_REASON_NONE, false);
    else c->discard_left -= (uint32_t)len;
    return len;
}

/* All bytes of one read, or of `held`: each stretch goes to whom the state says. */
static void consume(struct ek_http_req *c, const char *data, size_t len)
{
    while (len > 0 && c->state != CONN_DEAD) {
        size_t used = len;
        switch (c->state) {
        case CONN_IDLE:
        case CONN_HEAD:
            used = take_head(c, data, len);
            break;
        case CONN_BODY:
        case CONN_SKIP:
            if (c->paused) hold(c, data, len); /* at most one turn's bytes: reading is off */
            else used = take_body(c, data, len);
            break;
        case CONN_WAIT:
            used = take_ahead(c, data, len);
            break;
        default:
            MUST(c->state == CONN_LINGER);
            used = take_discard(c, len);
        }
        MUST(used > 0 && used <= len);
        data += used;
        len -= used;
    }
}

static void read_held(struct ek_http_req *c)
{
    if (held_bytes(c) == 0 || c->paused || c->state == CONN_WAIT) return;
    struct ek_buf mine = take_held(c);
    consume(c, mine.data, mine.len);
    ek_buf_free(&mine);
}

/* New bytes: behind what is held, when that is a head in parts or a paused body. */
static void feed(struct ek_http_req *c, const char *data, size_t len)
{
    bool ahead = c->state == CONN_WAIT || c->state == CONN_LINGER;
    if (held_bytes(c) == 0 || ahead) {
        consume(c, data, len);
        return;
    }
    size_t prev_len = held_bytes(c);
    if (!hold(c, data, len)) {
        ek_http_conn_close(c, EK_REASON_PIPELINE, true);
        return;
    }
    /* A head that trickles is looked at where it lies: O(new bytes), nothing moves until it ends. */
    if (c->state == CONN_HEAD && parse_head(c, c->held->data, c->held->len, prev_len) == EK_HTTP_MORE) {
        return;
    }
    read_held(c);
}

/* ---- the end of an answer -------------------------------------------------------------------- */

bool ek_http_conn_can_skip(const struct ek_http_req *c)
{
    if (c->state == CONN_WAIT) return true;
    return c->state == CONN_BODY && !c->body_chunked && !c->wants_continue &&
           c->in.body_left <= EK_HTTP_DRAIN_BODY_BYTES_MAX;
}

/* The answer is complete and the kernel has all of it. */
static void answered(struct ek_http_req *c)
{
    bool whole = c->state == CONN_WAIT;
    tell_gone(c, EK_REASON_NONE);
    if (c->client_closed || (c->close_after && whole)) {
        ek_http_conn_close(c, EK_REASON_NONE, false);
    } else if (c->close_after) {
        linger(c);
    } else {
        c->paused = false;
        ek_sock_read(c->sock, true);
        if (whole) be_idle(c);
        else conn_move(c, CONN_SKIP);
        if (c->state == CONN_SKIP) ek_http_conn_arm(c);
        if (c->state != CONN_DEAD) read_held(c);
    }
}

static void on_post(struct ek_post *p)
{
    struct ek_http_req *c = EK_CONTAINER(p, struct ek_http_req, post);
    MUST_OBJ(c, CONN_MAGIC);
    if (c->answer != ANSWER_ABORTED) ek_http_answer_flush(c);
    if (c->answer == ANSWER_ABORTED) {
        ek_http_conn_close(c, (enum ek_reason)c->abort_why, true);
    } else if (c->answer == ANSWER_FINISHED && (c->state == CONN_BODY || c->state == CONN_WAIT)) {
        if (ek_sock_queued(c->sock) == 0) answered(c);
    } else {
        read_held(c);
        bool rests = c->state == CONN_IDLE && held_bytes(c) == 0;
        if (rests && c->server->handing) (void)ek_http_conn_hand(c, ek_str_make(NULL, 0));
    }
}

bool ek_http_conn_hand(struct ek_http_req *c, struct ek_str read)
{
    struct ek_http_server *s = c->server;
    MUST(s->heir && !c->live);
    int fd = ek_sock_give(&c->sock);
    if (fd < 0) return false;
    ek_timer_clear(s->loop, &c->timer);
    ek_post_clear(s->loop, &c->post);
    conn_move(c, CONN_DEAD);
    drop_held(c);
    s->counters.handed++;
    ek_http_server_buried(c);
    s->heir(s->heir_arg, s, fd, read);
    return true;
}

/* ---- pausing --------------------------------------------------------------------------------- */

void ek_http_pause(struct ek_http_req *c)
{
    MUST_OBJ(c, CONN_MAGIC);
    if (c->paused || c->state != CONN_BODY) return;
    c->paused = true;
    c->since_ns = ek_loop_now(c->server->loop).mono_ns - c->since_ns;
    ek_sock_read(c->sock, false);
    ek_http_conn_arm(c);
}

void ek_http_resume(struct ek_http_req *c)
{
    MUST_OBJ(c, CONN_MAGIC);
    if (!c->paused) return;
    c->paused = false;
    c->since_ns = ek_loop_now(c->server->loop).mono_ns - c->since_ns; /* the deadline stood still */
    if (c->wants_continue && c->answer == ANSWER_NONE) ek_http_answer_continue(c);
    ek_sock_read(c->sock, true);
    ek_http_conn_arm(c);
    ek_post_put(c->server->loop, &c->post);
}

/* ---- the loop's callbacks --------------------------------------------------------------------- */

static void on_timer(struct ek_timer *t)
{
    struct ek_http_req *c = EK_CONTAINER(t, struct ek_http_req, timer);
    MUST_OBJ(c, CONN_MAGIC);
    uint64_t now_ns = ek_loop_now(c->server->loop).mono_ns;
    if (stalled(c, now_ns)) {
        ek_http_conn_close(c, EK_REASON_WRITE_STALL, true);
    } else if (now_ns < state_due_ns(c)) {
        ek_http_conn_arm(c);
    } else if (c->state == CONN_IDLE) {
        ek_http_conn_close(c, EK_REASON_IDLE, false);
    } else if (c->state == CONN_HEAD) {
        refuse(c, EK_REASON_HEAD_TIMEOUT, NULL);
    } else if (c->state == CONN_BODY && c->answer == ANSWER_NONE) {
        refuse(c, EK_REASON_BODY_TIMEOUT, NULL);
    } else if (c->state == CONN_LINGER) {
        ek_http_conn_close(c, EK_REASON_NONE, false);
    } else {
        ek_http_conn_close(c, EK_REASON_BODY_TIMEOUT, true);
    }
}

static void on_data(void *arg, char *bytes, size_t n)
{
    struct ek_http_req *c = arg;
    MUST_OBJ(c, CONN_MAGIC);
    c->server->counters.bytes_in += n;
    feed(c, bytes, n);
}

static void on_eof(void *arg)
{
    struct ek_http_req *c = arg;
    MUST_OBJ(c, CONN_MAGIC);
    switch (c->state) {
    case CONN_HEAD:
        ek_http_conn_close(c, EK_REASON_CLIENT_GONE, false);
        break;
    case CONN_BODY:
        ek_http_conn_close(c, EK_REASON_BODY_CUT, false);
        break;
    case CONN_WAIT:
        c->client_closed = true; /* an answer that is complete may still drain */
        if (c->answer < ANSWER_FINISHED) ek_http_conn_close(c, EK_REASON_CLIENT_GONE, true);
        break;
    default:
        ek_http_conn_close(c, EK_REASON_NONE, false);
    }
}

static void on_drained(void *arg)
{
    struct ek_http_req *c = arg;
    struct ek_http_server *s = c->server;
    MUST_OBJ(c, CONN_MAGIC);
    c->stalling = false;
    ek_http_conn_arm(c);
    if (c->answer == ANSWER_FINISHED) ek_post_put(s->loop, &c->post);
    else if (c->answer == ANSWER_STARTED && s->handler->drain) s->handler->drain(s->arg, c);
}

static void on_failed(void *arg, const char *why)
{
    struct ek_http_req *c = arg;
    (void)why;
    MUST_OBJ(c, CONN_MAGIC);
    bool at_rest = c->state == CONN_IDLE || c->state == CONN_LINGER;
    ek_http_conn_close(c, at_rest ? EK_REASON_NONE : EK_REASON_CLIENT_RESET, false);
}

const struct ek_sock_handler ek_http_conn_handler = {
    .data = on_data,
    .eof = on_eof,
    .drained = on_drained,
    .failed = on_failed,
};

void ek_http_conn_begin(struct ek_http_req *c)
{
    ek_timer_init(&c->timer, on_timer);
    ek_post_init(&c->post, on_post);
    c->state = CONN_IDLE;
    c->since_ns = ek_loop_now(c->server->loop).mono_ns;
    ek_list_append(&c->server->conns[CONN_IDLE], &c->link);
    ek_http_conn_arm(c);
}
