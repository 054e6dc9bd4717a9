/* SPDX-License-Identifier: MIT */
/* The bare hop: server and plain exchange tied together with nothing between them. It forwards each
 * request to one upstream and its answer back, so that bench/relay's tools can tell what HTTP costs
 * from what the door adds. No back-pressure, no limits of its own: not for use.
 *
 *   bench_hop ADDRESS:PORT UPSTREAM-URL */
#include "http/exchange.h"
#include "http/server.h"

#include <stdio.h>
#include <stdlib.h>

#define BODY_BYTES_MAX (1u << 20)

struct hop {
    struct ek_loop *loop;
    struct ek_exchange_client *client;
    struct ek_exchange_target target;
};

struct carried {
    struct ek_http_req *req;
    struct ek_exchange *exchange;
    struct ek_buf body;
    char path[256];
};

static void on_answer_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    struct carried *c = arg;
    struct ek_http_header type = {.name = EK_STR("Content-Type")};
    (void)x;
    ek_http_head_find(head, type.name, &type.value);
    ek_http_start(c->req, head->status, &type, 1, head->chunked ? EK_HTTP_CHUNKED : head->content_length);
}

static void on_answer_data(void *arg, struct ek_exchange *x, const char *data, size_t len)
{
    struct carried *c = arg;
    (void)x;
    if (ek_http_write(c->req, ek_str_make(data, len)) != EK_OK) ek_http_abort(c->req, EK_REASON_WRITE_STALL);
}

static void on_answer_end(void *arg, struct ek_exchange *x)
{
    struct carried *c = arg;
    (void)x;
    c->exchange = NULL;
    ek_http_finish(c->req, EK_STR(""));
}

static void on_answer_fail(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail)
{
    struct carried *c = arg;
    (void)x;
    fprintf(stderr, "%s: %s\n", ek_reason_code(why), detail);
    c->exchange = NULL;
    ek_http_abort(c->req, why);
}

static const struct ek_exchange_events events = {
    .head = on_answer_head,
    .data = on_answer_data,
    .end = on_answer_end,
    .fail = on_answer_fail,
};

static void on_head(void *arg, struct ek_http_req *req, const struct ek_http_head *head)
{
    struct carried *c = calloc(1, sizeof *c);
    (void)arg;
    MUST(c != NULL);
    c->req = req;
    c->body = ek_buf_make(BODY_BYTES_MAX);
    MUST(ek_str_copy(head->path, c->path, sizeof c->path));
    ek_http_set_user(req, c);
}

static void on_body(void *arg, struct ek_http_req *req, const char *data, size_t len)
{
    (void)arg;
    ek_buf_put(&((struct carried *)ek_http_user(req))->body, data, len);
}

static void on_end(void *arg, struct ek_http_req *req)
{
    struct hop *hop = arg;
    struct carried *c = ek_http_user(req);
    struct iovec body = {c->body.data, c->body.len};
    struct ek_http_header type = {EK_STR("Content-Type"), EK_STR("application/json")};
    struct ek_exchange_request r = {
        .target = &hop->target, .method = body.iov_len ? EK_STR("POST") : EK_STR("GET"),
        .path = ek_str_of(c->path), .headers = &type, .header_count = 1, .body = &body,
        .body_count = body.iov_len > 0, .connect_ns = 5 * EK_S_NS, .idle_ns = 60 * EK_S_NS,
    };
    c->exchange = ek_exchange_start(hop->client, &r, &events, c);
}

static void on_gone(void *arg, struct ek_http_req *req, enum ek_reason why)
{
    struct carried *c = ek_http_user(req);
    (void)arg;
    (void)why;
    if (c->exchange) ek_exchange_cancel(&c->exchange);
    ek_buf_free(&c->body);
    free(c);
}

static const struct ek_http_handler handler = {
    .head = on_head,
    .body = on_body,
    .end = on_end,
    .gone = on_gone,
};

int main(int argc, char **argv)
{
    struct hop hop = {.loop = ek_loop_new()};
    struct ek_http_options options = ek_http_options_default();
    struct ek_exchange_options pool = {.idle_connections_max = 512};
    char text[160] = "usage: bench_hop ADDRESS:PORT UPSTREAM-URL";
    const char *why = text;
    hop.client = ek_exchange_plain_new(hop.loop, &pool);
    if (argc != 3 ||
        ek_exchange_target_parse(ek_str_of(argv[2]), &hop.target, text, sizeof text) != EK_OK ||
        !ek_http_server_start(hop.loop, argv[1], &options, NULL, &handler, &hop, &why)) {
        fprintf(stderr, "%s\n", why);
        return 64;
    }
    ek_loop_run(hop.loop);
    return 0;
}
