/* SPDX-License-Identifier: MIT */
/* Server and plain exchange as wholes, on the virtual loop. The first byte seeds loop and splits and
 * chooses who is fed: the server by a client (its handler echoes, parks, streams, refuses or pauses by
 * the path), or an exchange by an upstream. Whatever comes: every request is told `gone` once, every
 * exchange ends or fails once, the budget returns to zero, and after the deadlines nothing is open. */
#include "base/loop_virtual.h"
#include "http/exchange.h"
#include "http/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ADDRESS "127.0.0.1:80"

struct world {
    struct ek_loop *loop;
    struct ek_sock *sock;     /* the fuzzed side of the connection */
    const char *bytes;
    size_t len;
    size_t heads, gones, over;
};

/* ---- the server's handler ---- */
static void on_head(void *arg, struct ek_http_req *req, const struct ek_http_head *head)
{
    struct world *w = arg;
    w->heads++;
    char kind = head->path.len > 1 ? head->path.data[1] : 'e';
    ek_http_set_user(req, (void *)(uintptr_t)(uint8_t)kind);
    if (kind == 'r') ek_http_reply(req, 401, head->headers, head->header_count, EK_STR("no"));
    if (kind == 'p') ek_http_pause(req);
    if (kind == 'a') ek_http_abort(req, EK_REASON_INTERNAL);
}

static void on_body(void *arg, struct ek_http_req *req, const char *bytes, size_t len)
{
    (void)arg;
    (void)bytes;
    MUST(len > 0 && len <= 65536);
    if ((uintptr_t)ek_http_user(req) == 'b') ek_http_reply(req, 200, NULL, 0, EK_STR("early"));
}

static void on_end(void *arg, struct ek_http_req *req)
{
    uintptr_t kind = (uintptr_t)ek_http_user(req);
    (void)arg;
    if (kind == 's') {
        ek_http_start(req, 200, NULL, 0, EK_HTTP_CHUNKED);
        MUST(ek_http_write(req, EK_STR("one")) == EK_OK);
        ek_http_finish(req, EK_STR("two"));
    } else if (kind != 'w' && kind != 'a') {
        ek_http_reply(req, 200, NULL, 0, EK_STR("ok"));
    }
}

static void on_gone(void *arg, struct ek_http_req *req, enum ek_reason why)
{
    (void)req;
    MUST(why < EK_REASON_COUNT);
    ((struct world *)arg)->gones++;
}

static const struct ek_http_handler handler = {on_head, on_body, on_end, NULL, on_gone, NULL, NULL};

/* ---- the exchange's events ---- */
static void x_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    (void)x;
    MUST(((struct world *)arg)->heads++ == 0);
    MUST(head->status >= 200);
}

static void x_data(void *arg, struct ek_exchange *x, const char *bytes, size_t len)
{
    (void)bytes;
    MUST(((struct world *)arg)->heads == 1);
    MUST(len > 0 && len <= 65536);
    if (len % 5 == 0) ek_exchange_pause(x, true);
    if (len % 10 == 0) ek_exchange_pause(x, false);
}

static void x_end(void *arg, struct ek_exchange *x)
{
    (void)x;
    ((struct world *)arg)->over++;
}

static void x_fail(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail)
{
    (void)x;
    MUST(why != EK_REASON_NONE && detail);
    ((struct world *)arg)->over++;
}

static const struct ek_exchange_events events = {x_head, x_data, x_end, x_fail};

/* ---- the fuzzed side ---- */
static void send_all(void *arg)
{
    struct world *w = arg;
    ek_sock_write(w->sock, w->bytes, w->len);
}

static void heard(void *arg, char *bytes, size_t n)
{
    (void)arg;
    (void)bytes;
    (void)n;
}

static void ended(void *arg)
{
    (void)arg;
}

static void broke(void *arg, const char *why)
{
    (void)arg;
    (void)why;
}

static const struct ek_sock_handler fuzzed = {send_all, heard, ended, NULL, broke};

static void on_accepted(void *arg, struct ek_sock *s)
{
    struct world *w = arg;
    if (w->sock) ek_sock_close(&w->sock);
    w->sock = s;
    ek_sock_set_handler(s, &fuzzed, w);
    ek_sock_write(s, w->bytes, w->len);
    if (w->len % 2) ek_sock_shutdown(s);
}

static const struct ek_listener_handler listener = {on_accepted};

static void feed_server(struct world *w)
{
    struct ek_http_options o = ek_http_options_default();
    struct ek_http_budget budget = {0};
    const char *why;
    o.bodies_bytes_max = 10000;
    struct ek_http_server *s =
        ek_http_server_start(w->loop, ADDRESS, &o, &budget, &handler, w, &why);
    MUST(s);
    w->sock = ek_sock_connect(w->loop, ADDRESS, &fuzzed, w, &why);
    ek_virtual_settle(w->loop);
    if (w->len % 3 == 0) ek_sock_shutdown(w->sock);
    ek_virtual_advance(w->loop, 20 * EK_S_NS);
    if (w->len % 3 == 1) ek_sock_close(&w->sock);
    ek_virtual_advance(w->loop, 200 * EK_S_NS);
    MUST(ek_http_server_counters(s)->open <= 1); /* at most one, parked or paused */
    ek_http_server_free(&s);
    MUST(w->heads == w->gones);
    MUST(budget.used_bytes == 0);
    if (w->sock) ek_sock_close(&w->sock);
}

static void feed_exchange(struct world *w)
{
    struct ek_exchange_target t;
    char why[128];
    const char *reason;
    MUST(ek_exchange_target_parse(EK_STR("http://" ADDRESS), &t, why, sizeof why) == EK_OK);
    struct ek_listener *l = ek_listen(w->loop, ADDRESS, 8, &listener, w, &reason);
    struct ek_exchange_client *c = ek_exchange_plain_new(w->loop, NULL);
    struct ek_exchange_request r = {.target = &t, .method = EK_STR("POST"), .path = EK_STR("/x"),
                                    .body = &(struct iovec){"{}", 2}, .body_count = 1,
                                    .first_byte_ns = 5 * EK_S_NS, .idle_ns = 5 * EK_S_NS};
    struct ek_exchange *x = ek_exchange_start(c, &r, &events, w);
    ek_virtual_advance(w->loop, 4 * EK_S_NS);
    if (!w->over && w->heads) ek_exchange_pause(x, false);
    ek_virtual_advance(w->loop, 60 * EK_S_NS);
    MUST(w->over <= 1); /* 0: it was left paused */
    ek_exchange_client_free(&c);
    ek_virtual_settle(w->loop);
    if (w->sock) ek_sock_close(&w->sock);
    ek_listener_close(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 60000) return 0;
    struct ek_virtual_options o = {.seed = data[0], .piece_bytes_max = data[0] % 4 == 0 ? 3 : 65536};
    struct world w = {.bytes = (const char *)data + 1, .len = size - 1};
    w.loop = ek_loop_new_virtual(&o);
    if (data[0] & 1) feed_server(&w);
    else feed_exchange(&w);
    ek_virtual_settle(w.loop);
    ek_loop_free(&w.loop);
    return 0;
}
