/* SPDX-License-Identifier: MIT */
/* What the server's tests share: a loop (virtual, seeded), a server whose handler does what the path
 * says, and raw clients that see bytes, end of file and resets.
 *
 *   /echo     answers with the body once it is complete      /park     answers nothing
 *   /refuse   answers 401 at the head                        /stream   starts a chunked answer at the end
 *   /pause    pauses at the head                             /early    answers at the first body bytes */
#ifndef EK_TESTS_HTTP_RIG_H
#define EK_TESTS_HTTP_RIG_H

#include "cm.h"

#include "base/loop_virtual.h"
#include "http/server.h"

#include <stdio.h>
#include <stdlib.h>

#define RIG_ADDRESS "127.0.0.1:80"
#define RIG_GONE_MAX 64

struct rig {
    struct ek_loop *loop;
    struct ek_http_server *server;
    struct ek_http_budget budget;
    struct ek_http_options options;
    struct ek_http_req *last; /* newest live request */
    enum ek_reason gone[RIG_GONE_MAX];
    size_t heads, ends, gones, drains, body_bytes;
    bool stopped;
};

/* A handler's own data about one request. */
struct asked {
    struct rig *rig;
    struct ek_buf body;
    char path[32];
};

struct client {
    struct ek_sock *sock;
    struct ek_buf got;
    const char *to_send; /* once connected */
    size_t to_send_len;
    bool connected, eof, failed;
};

static inline void rig_head(void *arg, struct ek_http_req *req, const struct ek_http_head *head)
{
    struct rig *rig = arg;
    struct asked *a = calloc(1, sizeof *a);
    assert_non_null(a);
    a->rig = rig;
    a->body = ek_buf_make(64u << 20);
    assert_true(ek_str_copy(head->path, a->path, sizeof a->path));
    ek_http_set_user(req, a);
    rig->last = req;
    rig->heads++;
    struct ek_http_header challenge = {EK_STR("WWW-Authenticate"), EK_STR("Bearer")};
    if (strcmp(a->path, "/refuse") == 0) {
        ek_http_reply(req, 401, &challenge, 1, EK_STR("{\"error\":\"key\"}"));
    }
    if (strcmp(a->path, "/pause") == 0) ek_http_pause(req);
}

static inline void rig_body(void *arg, struct ek_http_req *req, const char *data, size_t len)
{
    struct rig *rig = arg;
    struct asked *a = ek_http_user(req);
    assert_non_null(a);
    assert_in_range(len, 1, 65536);
    rig->body_bytes += len;
    ek_buf_put(&a->body, data, len);
    assert_false(a->body.failed);
    if (strcmp(a->path, "/early") == 0) ek_http_reply(req, 200, NULL, 0, EK_STR("early"));
}

static inline void rig_end(void *arg, struct ek_http_req *req)
{
    struct rig *rig = arg;
    struct asked *a = ek_http_user(req);
    rig->ends++;
    if (strcmp(a->path, "/echo") == 0 || strcmp(a->path, "/pause") == 0) {
        ek_http_reply(req, 200, NULL, 0, ek_buf_view(&a->body));
    }
    if (strcmp(a->path, "/stream") == 0) ek_http_start(req, 200, NULL, 0, EK_HTTP_CHUNKED);
}

static inline void rig_drain(void *arg, struct ek_http_req *req)
{
    struct rig *rig = arg;
    assert_int_equal(ek_http_unsent(req), 0);
    rig->drains++;
}

static inline void rig_gone(void *arg, struct ek_http_req *req, enum ek_reason why)
{
    struct rig *rig = arg;
    struct asked *a = ek_http_user(req);
    assert_non_null(a);
    assert_true(rig->gones < RIG_GONE_MAX);
    rig->gone[rig->gones++] = why;
    if (rig->last == req) rig->last = NULL;
    ek_buf_free(&a->body);
    free(a);
}

static const struct ek_http_handler rig_handler = {
    .head = rig_head,
    .body = rig_body,
    .end = rig_end,
    .drain = rig_drain,
    .gone = rig_gone,
};

/* Every third seed cuts the bytes into crumbs, where the test's volume allows. */
static inline void rig_begin(struct rig *rig, uint64_t seed, bool crumbs)
{
    const char *why = "";
    *rig = (struct rig){.options = ek_http_options_default()};
    struct ek_virtual_options o = {.seed = seed, .start_unix_ns = 1790000000 * EK_S_NS,
                                   .piece_bytes_max = crumbs && seed % 3 == 0 ? 7 : 65536};
    rig->loop = ek_loop_new_virtual(&o);
    rig->server = ek_http_server_start(rig->loop, RIG_ADDRESS, &rig->options, &rig->budget,
                                       &rig_handler, rig, &why);
    if (!rig->server) fail_msg("no server: %s", why);
}

static inline void rig_options(struct rig *rig)
{
    ek_http_server_set_options(rig->server, &rig->options);
}

static inline void rig_end_all(struct rig *rig)
{
    ek_http_server_free(&rig->server);
    assert_int_equal(rig->gones, rig->heads);
    assert_int_equal(rig->budget.used_bytes, 0);
    ek_virtual_settle(rig->loop);
    ek_loop_free(&rig->loop);
}

static inline uint64_t rig_count(const struct rig *rig, enum ek_reason why)
{
    return ek_http_server_counters(rig->server)->reasons[why];
}

static inline void client_connected(void *arg)
{
    struct client *c = arg;
    c->connected = true;
    if (c->to_send_len) ek_sock_write(c->sock, c->to_send, c->to_send_len);
}

static inline void client_data(void *arg, char *bytes, size_t n)
{
    struct client *c = arg;
    ek_buf_put(&c->got, bytes, n);
}

static inline void client_eof(void *arg)
{
    ((struct client *)arg)->eof = true;
}

static inline void client_failed(void *arg, const char *why)
{
    (void)why;
    ((struct client *)arg)->failed = true;
}

static const struct ek_sock_handler client_handler = {
    .connected = client_connected,
    .data = client_data,
    .eof = client_eof,
    .failed = client_failed,
};

/* Connect and, once connected, send. The client struct must not move. */
static inline void client_open(struct rig *rig, struct client *c, const char *text)
{
    const char *why = "";
    *c = (struct client){.got = ek_buf_make(64u << 20), .to_send = text, .to_send_len = strlen(text)};
    c->sock = ek_sock_connect(rig->loop, RIG_ADDRESS, &client_handler, c, &why);
    assert_non_null(c->sock);
    ek_virtual_settle(rig->loop);
}

static inline void client_send(struct rig *rig, struct client *c, const char *text)
{
    ek_sock_write(c->sock, text, strlen(text));
    ek_virtual_settle(rig->loop);
}

static inline void client_close(struct rig *rig, struct client *c)
{
    if (c->sock) ek_sock_close(&c->sock);
    ek_buf_free(&c->got);
    ek_virtual_settle(rig->loop);
}

static inline bool client_has(struct client *c, const char *text)
{
    return c->got.data && c->got.len > 0 && memmem(c->got.data, c->got.len, text, strlen(text)) != NULL;
}

static inline void client_expect(struct client *c, const char *text)
{
    if (!client_has(c, text)) fail_msg("no \"%s\" in: %.*s", text, (int)c->got.len, c->got.data);
}

/* How often a text occurs in what came. */
static inline size_t client_count(struct client *c, const char *text)
{
    size_t n = 0;
    const char *at = c->got.data, *end = c->got.data + c->got.len;
    while (at && (at = memmem(at, (size_t)(end - at), text, strlen(text))) != NULL) {
        n++;
        at++;
    }
    return n;
}

#endif
