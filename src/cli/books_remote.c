/* SPDX-License-Identifier: MIT */
/* One request to a door's admin API, and its answer whole. */
#include "cli/books.h"

#include "http/exchange.h"

#include <sodium.h>
#include <stdio.h>

#define CONNECT_NS (10 * EK_S_NS)
#define ANSWER_NS (600 * EK_S_NS) /* an audit reads every row */

struct asking {
    struct ek_loop *loop;
    struct ek_exchange *exchange;
    struct ek_admin_answer *answer;
    bool done, good;
    char why[256];
};

static void finish(struct asking *a, bool good)
{
    a->exchange = NULL;
    a->done = true;
    a->good = good;
    ek_loop_stop(a->loop);
}

static void on_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    struct asking *a = arg;
    struct ek_str value;
    (void)x;
    a->answer->status = head->status;
    a->answer->again = ek_http_head_find(head, EK_STR("idempotency-replayed"), &value) > 0;
}

static void on_data(void *arg, struct ek_exchange *x, const char *data, size_t len)
{
    struct asking *a = arg;
    (void)x;
    ek_buf_put(&a->answer->body, data, len);
}

static void on_end(void *arg, struct ek_exchange *x)
{
    struct asking *a = arg;
    (void)x;
    if (a->answer->body.failed) snprintf(a->why, sizeof a->why, "the answer is too large");
    finish(a, !a->answer->body.failed);
}

static void on_fail(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail)
{
    struct asking *a = arg;
    (void)x;
    snprintf(a->why, sizeof a->why, "%s: %s", ek_reason_code(why), detail);
    finish(a, false);
}

static const struct ek_exchange_events events = {on_head, on_data, on_end, on_fail};

static void send_request(struct asking *a, struct ek_books *b, const struct ek_exchange_target *target,
                         const struct ek_admin_ask *ask)
{
    char bearer[sizeof b->door_key + 8], path[EK_BOOKS_PATH_BYTES + 32];
    struct iovec body = {(void *)(uintptr_t)ask->body.data, ask->body.len};
    struct ek_exchange_client *client = ek_exchange_client_new(a->loop, &(struct ek_exchange_options){0});
    snprintf(bearer, sizeof bearer, "Bearer %s", b->door_key);
    snprintf(path, sizeof path, "%.*s%s%.*s", (int)ask->path.len, ask->path.data, ask->query.len ? "?" : "",
             (int)ask->query.len, ask->query.len ? ask->query.data : "");
    struct ek_http_header header[3] = {{EK_STR("Authorization"), ek_str_of(bearer)},
                                       {EK_STR("Content-Type"), EK_STR("application/json")},
                                       {EK_STR("Idempotency-Key"), ask->name}};
    struct ek_exchange_request r = {.target = target, .method = ask->method, .path = ek_str_of(path),
                                    .headers = header, .header_count = ask->name.len ? 3 : 2, .body = &body,
                                    .body_count = ask->body.len ? 1 : 0, .connect_ns = CONNECT_NS,
                                    .first_byte_ns = ANSWER_NS, .idle_ns = ANSWER_NS, .keep_apart = true};
    a->exchange = ek_exchange_start(client, &r, &events, a);
    if (!a->done) ek_loop_run(a->loop);
    MUST(a->done);
    ek_exchange_client_free(&client);
    sodium_memzero(bearer, sizeof bearer);
}

bool ek_books_remote(struct ek_books *b, const struct ek_admin_ask *ask, struct ek_admin_answer *out)
{
    struct ek_exchange_target target;
    struct asking a = {.answer = out};
    *out = (struct ek_admin_answer){.body = ek_buf_make(EK_ADMIN_ANSWER_BYTES_MAX)};
    if (ek_exchange_target_parse(ek_str_of(b->door), &target, a.why, sizeof a.why) != EK_OK) {
        fprintf(stderr, "evenkeel: --admin: %s\n", a.why);
        return false;
    }
    a.loop = ek_loop_new();
    send_request(&a, b, &target, ask);
    ek_loop_free(&a.loop);
    if (a.good) return true;
    fprintf(stderr, "evenkeel: %s did not answer: %s\n", b->door, a.why);
    ek_admin_answer_free(out);
    return false;
}
