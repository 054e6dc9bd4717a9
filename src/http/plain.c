/* SPDX-License-Identifier: MIT */
/* The plain exchange: HTTP/1.1 to an upstream over the loop's sockets, TCP or Unix. The states are
 * drawn in plain_priv.h. The request is always built anew, so nothing a client wrote into its head can
 * reach an upstream unless the caller names it. */
#include "http/plain_priv.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUEST_HEAD_BYTES_MAX 65536u
#define HELD_BYTES_MAX (EK_HTTP_HEAD_BYTES_MAX + 2u * 65536u)

static const struct ek_sock_handler sock_handler;

static uint64_t now_ns(const struct exchange *x)
{
    return ek_loop_now(x->plain->loop).mono_ns;
}

/* ---- death ----------------------------------------------------------------------------------- */

/* From here on nothing calls back. The struct is freed by the client's next post. */
static void die(struct exchange *x)
{
    struct plain *p = x->plain;
    MUST(x->state != EX_DEAD);
    if (x->sock) ek_sock_close(&x->sock);
    ek_timer_clear(p->loop, &x->timer);
    ek_post_clear(p->loop, &x->post);
    x->state = EX_DEAD;
    ek_list_remove(&p->running, &x->link);
    ek_list_append(&p->dead, &x->link);
    ek_post_put(p->loop, &p->reap);
}

static void fail(struct exchange *x, enum ek_reason why, const char *detail)
{
    MUST_OBJ(x, EXCHANGE_MAGIC);
    die(x);
    x->plain->counters.failed++;
    x->events->fail(x->arg, &x->base, why, detail);
}

static void finish(struct exchange *x)
{
    struct plain *p = x->plain;
    bool reusable = x->keep_alive && x->body_sent && x->framing != FRAME_CLOSE &&
                    x->held.len == 0 && !x->keep_apart;
    if (reusable) ek_plain_pool_put(p, &x->sock, x->address);
    die(x);
    p->counters.ended++;
    x->events->end(x->arg, &x->base);
}

static void free_dead(struct plain *p)
{
    EK_LIST_EACH(&p->dead, it) {
        struct exchange *x = EK_CONTAINER(it, struct exchange, link);
        ek_list_remove(&p->dead, it);
        ek_buf_free(&x->out);
        ek_buf_free(&x->held);
        x->magic = 0;
        free(x);
    }
}

static void on_reap(struct ek_post *post)
{
    free_dead(EK_CONTAINER(post, struct plain, reap));
}

/* ---- deadlines ------------------------------------------------------------------------------- */

/* The idle deadline is not moved for every token: when it fires it looks at the last byte's time. */
static uint64_t due_ns(const struct exchange *x)
{
    uint64_t due = UINT64_MAX;
    if (x->state == EX_BODY) {
        return x->idle_ns && !x->paused ? x->last_ns + x->idle_ns : UINT64_MAX;
    }
    if (x->first_byte_ns) due = x->begun_ns + x->first_byte_ns;
    if (x->state == EX_CONNECTING && x->connect_ns && x->tried_ns + x->connect_ns < due) {
        due = x->tried_ns + x->connect_ns;
    }
    return due;
}

static void arm(struct exchange *x)
{
    uint64_t due = due_ns(x);
    if (due == UINT64_MAX) ek_timer_clear(x->plain->loop, &x->timer);
    else ek_timer_set(x->plain->loop, &x->timer, due);
}

static void on_timer(struct ek_timer *t)
{
    struct exchange *x = EK_CONTAINER(t, struct exchange, timer);
    MUST_OBJ(x, EXCHANGE_MAGIC);
    if (now_ns(x) < due_ns(x)) {
        arm(x);
    } else if (x->state == EX_BODY) {
        fail(x, EK_REASON_UPSTREAM_STALL, "no byte of the answer's body for too long");
    } else if (x->state == EX_CONNECTING) {
        fail(x, EK_REASON_UPSTREAM_CONNECT, "connecting took too long");
    } else {
        fail(x, EK_REASON_UPSTREAM_TIMEOUT, "no answer before the deadline of the first byte");
    }
}

/* ---- sending --------------------------------------------------------------------------------- */

static void put_request_head(struct exchange *x, const struct ek_exchange_request *r)
{
    struct ek_buf *b = &x->out;
    uint64_t length = 0;
    for (size_t i = 0; i < r->body_count; i++) {
        length += r->body[i].iov_len;
    }
    ek_buf_str(b, r->method);
    ek_buf_char(b, ' ');
    ek_buf_lit(b, r->target->base);
    ek_buf_str(b, r->path);
    ek_buf_lit(b, " HTTP/1.1\r\nHost: ");
    ek_buf_lit(b, r->target->authority);
    ek_buf_lit(b, "\r\n");
    for (size_t i = 0; i < r->header_count; i++) {
        const struct ek_http_header *h = &r->headers[i];
        if (!ek_http_is_token(h->name) || !ek_http_is_value(h->value)) continue;
        ek_buf_str(b, h->name);
        ek_buf_lit(b, ": ");
        ek_buf_str(b, h->value);
        ek_buf_lit(b, "\r\n");
    }
    if (r->body_count > 0 || ek_str_eq(r->method, EK_STR("POST"))) {
        ek_buf_lit(b, "Content-Length: ");
        ek_buf_u64(b, length);
        ek_buf_lit(b, "\r\n");
    }
    if (r->keep_apart) ek_buf_lit(b, "Connection: close\r\n");
    ek_buf_lit(b, "\r\n");
}

/* Hand the socket what it takes: slices, so that a large body is never copied whole into its queue. */
static void send_body(struct exchange *x, struct ek_str head)
{
    struct plain *p = x->plain;
    while (!x->body_sent) {
        struct iovec slice[12];
        size_t n = 0, bytes = 0;
        if (head.len > 0) slice[n++] = (struct iovec){(void *)(uintptr_t)head.data, head.len};
        while (n < EK_COUNT(slice) && x->part_index < x->part_count && bytes < SEND_SLICE_BYTES) {
            struct iovec *part = &x->parts[x->part_index];
            size_t left = part->iov_len - x->part_at;
            size_t take = left < SEND_SLICE_BYTES - bytes ? left : SEND_SLICE_BYTES - bytes;
            slice[n++] = (struct iovec){(char *)part->iov_base + x->part_at, take};
            bytes += take;
            x->part_at += take;
            if (x->part_at < part->iov_len) continue;
            x->part_index++;
            x->part_at = 0;
        }
        x->body_sent = x->part_index == x->part_count;
        p->counters.bytes_out += bytes + head.len;
        ek_sock_writev(x->sock, slice, n);
        head.len = 0;
        if (ek_sock_queued(x->sock) > 0) return; /* `drained` goes on */
    }
}

static void send_request(struct exchange *x)
{
    x->state = EX_SENT;
    x->part_index = x->part_at = 0;
    x->body_sent = false;
    send_body(x, ek_buf_view(&x->out));
    arm(x);
}

static void connect_anew(struct exchange *x)
{
    const char *why = "";
    x->state = EX_CONNECTING;
    x->reused = false;
    x->tried_ns = now_ns(x);
    x->plain->counters.connects++;
    x->sock = ek_sock_connect(x->plain->loop, x->address, &sock_handler, x, &why);
    if (x->sock) {
        arm(x);
        return;
    }
    x->why = EK_REASON_UPSTREAM_CONNECT;
    ek_post_put(x->plain->loop, &x->post);
}

/* A pooled connection may have died while it rested, unheard. As long as not a byte has come back,
 * and the caller still holds the body, asking once more on a fresh one is safe enough: the upstream
 * closed an idle connection rather than began to answer. */
static bool retry(struct exchange *x)
{
    if (!x->reused || x->retried || x->state != EX_SENT || x->interims || x->held.len) return false;
    x->retried = true;
    x->plain->counters.stale++;
    ek_sock_close(&x->sock);
    connect_anew(x);
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void hold(struct exchange *x, const char *data, size_t len)
{
    if (len > 0) ek_buf_put(&x->held, data, len);
    MUST(!x->held.failed); /* a head is refused earlier, a pause stops reading */
}

static enum framing framing_of(const struct exchange *x, const struct ek_http_head *h)
{
    if (x->is_head || h->status == 204 || h->status == 304) return FRAME_NONE;
    if (h->chunked) return FRAME_CHUNKED;
    if (h->content_length >= 0) return h->content_length ? FRAME_LENGTH : FRAME_NONE;
    return FRAME_CLOSE;
}

/* A complete head: skip an interim one, or begin the body. `more_came`: bytes stand behind it. */
static void take_final_head(struct exchange *x, const struct ek_http_head *h, bool more_came)
{
    if (h->status < 200) {
        if (h->status == 101) fail(x, EK_REASON_UPSTREAM_BAD, "the upstream switched protocols");
        else if (++x->interims > INTERIM_MAX) fail(x, EK_REASON_UPSTREAM_BAD, "too many 1xx answers");
        return;
    }
    x->framing = (uint8_t)framing_of(x, h);
    x->body_left = h->content_length > 0 ? (uint64_t)h->content_length : 0;
    x->keep_alive = h->keep_alive && !(more_came && x->framing == FRAME_NONE);
    x->state = EX_BODY;
    ek_buf_free(&x->out);
    arm(x);
    x->events->head(x->arg, &x->base, h);
    if (x->state == EX_BODY && x->framing == FRAME_NONE) finish(x);
}

static size_t take_head(struct exchange *x, const char *data, size_t len)
{
    struct ek_http_head head; /* 3 kB, of which only the filled part is ever touched */
    ssize_t n = ek_http_parse_response(data, len, 0, &ek_http_limits_default, &head);
    if (n > 0) {
        take_final_head(x, &head, (size_t)n < len);
        return (size_t)n;
    }
    if (n == EK_HTTP_BAD) fail(x, EK_REASON_UPSTREAM_BAD, ek_http_bad_text(head.bad));
    else hold(x, data, len);
    return len;
}

static size_t take_body(struct exchange *x, const char *data, size_t len)
{
    struct ek_str payload = ek_str_make(data, len);
    size_t used = len;
    bool whole = false;
    if (x->framing == FRAME_CHUNKED) {
        ssize_t n = ek_http_chunks_read(&x->chunks, data, len, &payload);
        if (n < 0) {
            fail(x, EK_REASON_UPSTREAM_BAD, ek_http_bad_text(x->chunks.bad));
            return len;
        }
        used = (size_t)n;
        whole = ek_http_chunks_done(&x->chunks);
    } else if (x->framing == FRAME_LENGTH) {
        if (x->body_left < len) used = payload.len = (size_t)x->body_left;
        x->body_left -= used;
        whole = x->body_left == 0;
    }
    if (payload.len > 0) x->events->data(x->arg, &x->base, payload.data, payload.len);
    if (whole && x->state != EX_DEAD) {
        if (used < len) x->keep_alive = false; /* more than was announced: never trust it again */
        finish(x);
    }
    return used;
}

static void consume(struct exchange *x, const char *data, size_t len)
{
    while (len > 0 && x->state != EX_DEAD) {
        size_t used;
        if (x->paused) {
            hold(x, data, len);
            return;
        }
        if (x->state == EX_SENT) {
            used = take_head(x, data, len);
        } else {
            used = take_body(x, data, len);
        }
        MUST(used <= len);
        data += used;
        len -= used;
    }
}

/* A head that trickles is looked at where it lies; nothing moves until it ends. */
static bool head_is_open(struct exchange *x, size_t prev_len)
{
    struct ek_http_head head;
    return ek_http_parse_response(x->held.data, x->held.len, prev_len, &ek_http_limits_default,
                                  &head) == EK_HTTP_MORE;
}

/* What is held comes first, new bytes behind it. */
static void feed(struct exchange *x, const char *data, size_t len)
{
    if (x->held.len == 0) {
        consume(x, data, len);
        return;
    }
    size_t prev_len = x->held.len;
    hold(x, data, len);
    if (x->paused || (x->state == EX_SENT && head_is_open(x, prev_len))) return;
    struct ek_buf mine = x->held;
    x->held = ek_buf_make(HELD_BYTES_MAX);
    consume(x, mine.data, mine.len);
    ek_buf_free(&mine);
}

/* ---- the loop's callbacks -------------------------------------------------------------------- */

static void on_connected(void *arg)
{
    struct exchange *x = arg;
    MUST_OBJ(x, EXCHANGE_MAGIC);
    send_request(x);
}

static void on_data(void *arg, char *bytes, size_t n)
{
    struct exchange *x = arg;
    MUST_OBJ(x, EXCHANGE_MAGIC);
    x->plain->counters.bytes_in += n;
    x->last_ns = now_ns(x);
    feed(x, bytes, n);
}

static void on_eof(void *arg)
{
    struct exchange *x = arg;
    MUST_OBJ(x, EXCHANGE_MAGIC);
    x->keep_alive = false;
    if (x->state == EX_BODY && x->framing == FRAME_CLOSE) finish(x);
    else if (x->state == EX_BODY) fail(x, EK_REASON_UPSTREAM_CUT, "closed before the answer's end");
    else if (!retry(x)) fail(x, EK_REASON_UPSTREAM_RESET, "closed before answering");
}

static void on_drained(void *arg)
{
    struct exchange *x = arg;
    MUST_OBJ(x, EXCHANGE_MAGIC);
    if (x->state == EX_SENT) send_body(x, EK_STR(""));
}

static void on_failed(void *arg, const char *why)
{
    struct exchange *x = arg;
    char detail[FAIL_TEXT_BYTES];
    MUST_OBJ(x, EXCHANGE_MAGIC);
    if (retry(x)) return;
    snprintf(detail, sizeof detail, "%s: %s", x->address, why);
    fail(x, x->state == EX_CONNECTING ? EK_REASON_UPSTREAM_CONNECT : EK_REASON_UPSTREAM_RESET, detail);
}

static const struct ek_sock_handler sock_handler = {
    .connected = on_connected,
    .data = on_data,
    .eof = on_eof,
    .drained = on_drained,
    .failed = on_failed,
};

static void on_post(struct ek_post *post)
{
    struct exchange *x = EK_CONTAINER(post, struct exchange, post);
    MUST_OBJ(x, EXCHANGE_MAGIC);
    if (x->why != EK_REASON_NONE) {
        fail(x, x->why, "the request could not begin");
        return;
    }
    if (x->paused || x->state != EX_BODY) return;
    feed(x, "", 0);
    if (x->state == EX_DEAD || x->paused) return;
    ek_sock_read(x->sock, true);
    arm(x);
}

/* ---- the client ------------------------------------------------------------------------------ */

static bool may_begin(const struct ek_exchange_request *r)
{
    for (size_t i = 0; i < r->path.len; i++) {
        if (r->path.data[i] <= ' ' || r->path.data[i] >= 0x7f) return false;
    }
    return ek_http_is_token(r->method) && r->path.len > 0 && r->path.data[0] == '/' &&
           r->path.len <= EK_HTTP_TARGET_BYTES_MAX;
}

static struct ek_exchange *plain_start(struct ek_exchange_client *client,
                                       const struct ek_exchange_request *r,
                                       const struct ek_exchange_events *events, void *arg)
{
    struct plain *p = (struct plain *)(void *)client;
    MUST_OBJ(p, PLAIN_MAGIC);
    MUST(r->header_count <= EK_EXCHANGE_HEADERS_MAX);
    MUST(r->body_count <= EK_EXCHANGE_BODY_PARTS_MAX);
    size_t address_len = strlen(r->target->address) + 1;
    size_t parts_bytes = r->body_count * sizeof(struct iovec);
    struct exchange *x = calloc(1, sizeof *x + parts_bytes + address_len);
    MUST(x != NULL); /* bounded by the two limits above */
    x->base.client = client;
    x->magic = EXCHANGE_MAGIC;
    x->plain = p;
    x->events = events;
    x->arg = arg;
    x->connect_ns = r->connect_ns;
    x->first_byte_ns = r->first_byte_ns;
    x->idle_ns = r->idle_ns;
    x->keep_apart = r->keep_apart;
    x->is_head = ek_str_eq(r->method, EK_STR("HEAD"));
    x->out = ek_buf_make(REQUEST_HEAD_BYTES_MAX);
    x->held = ek_buf_make(HELD_BYTES_MAX);
    x->part_count = r->body_count;
    if (parts_bytes) memcpy(x->parts, r->body, parts_bytes);
    x->address = (char *)x->parts + parts_bytes;
    memcpy(x->address, r->target->address, address_len);
    ek_timer_init(&x->timer, on_timer);
    ek_post_init(&x->post, on_post);
    ek_list_append(&p->running, &x->link);
    p->counters.started++;
    x->begun_ns = x->last_ns = now_ns(x);
    put_request_head(x, r);
    if (r->target->scheme == EK_EXCHANGE_HTTPS) x->why = EK_REASON_UPSTREAM_TLS;
    else if (!may_begin(r) || x->out.failed) x->why = EK_REASON_UPSTREAM_BAD;
    if (x->why != EK_REASON_NONE) {
        ek_post_put(p->loop, &x->post);
        return &x->base;
    }
    x->sock = r->keep_apart ? NULL : ek_plain_pool_take(p, x->address);
    if (!x->sock) {
        connect_anew(x);
        return &x->base;
    }
    x->reused = true;
    p->counters.reused++;
    ek_sock_set_handler(x->sock, &sock_handler, x);
    send_request(x);
    return &x->base;
}

static void plain_pause(struct ek_exchange *base, bool paused)
{
    struct exchange *x = (struct exchange *)(void *)base;
    MUST_OBJ(x, EXCHANGE_MAGIC);
    MUST(x->state != EX_DEAD);
    if (x->paused == paused || x->state != EX_BODY) return;
    x->paused = paused;
    x->last_ns = now_ns(x); /* the idle deadline stood still */
    if (paused) ek_sock_read(x->sock, false);
    else ek_post_put(x->plain->loop, &x->post);
    arm(x);
}

static void plain_cancel(struct ek_exchange *base)
{
    struct exchange *x = (struct exchange *)(void *)base;
    MUST_OBJ(x, EXCHANGE_MAGIC);
    x->plain->counters.cancelled++;
    die(x);
}

static void plain_free(struct ek_exchange_client *client)
{
    struct plain *p = (struct plain *)(void *)client;
    MUST_OBJ(p, PLAIN_MAGIC);
    EK_LIST_EACH(&p->running, it) {
        die(EK_CONTAINER(it, struct exchange, link));
    }
    ek_post_clear(p->loop, &p->reap);
    free_dead(p);
    ek_plain_pool_drain(p);
    p->magic = 0;
    free(p);
}

static const struct ek_exchange_ops plain_ops = {
    .start = plain_start,
    .pause = plain_pause,
    .cancel = plain_cancel,
    .free = plain_free,
};

struct ek_exchange_client *ek_exchange_plain_new(struct ek_loop *loop,
                                                 const struct ek_exchange_options *o)
{
    struct plain *p = calloc(1, sizeof *p);
    MUST(p != NULL);
    p->base.ops = &plain_ops;
    p->magic = PLAIN_MAGIC;
    p->loop = loop;
    if (o) p->options = *o;
    if (p->options.idle_connections_max == 0) p->options.idle_connections_max = 64;
    if (p->options.idle_ns == 0) p->options.idle_ns = 30 * EK_S_NS;
    ek_list_init(&p->running);
    ek_list_init(&p->dead);
    ek_list_init(&p->idle);
    ek_post_init(&p->reap, on_reap);
    return &p->base;
}

const struct ek_exchange_counters *ek_exchange_plain_counters(const struct ek_exchange_client *c)
{
    const struct plain *p = (const struct plain *)(const void *)c;
    MUST_OBJ(p, PLAIN_MAGIC);
    return &p->counters;
}
