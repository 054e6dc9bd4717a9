/* SPDX-License-Identifier: MIT */
/* A door on virtual time, with clients that speak bytes and an upstream that the test plays by hand.
 *
 *      struct client ──virtual socket──▶ door ──fake exchange──▶ struct call, driven by the test
 *
 * Looks of the pool (GET) are answered by themselves: as our engine where the configuration says
 * `evenkeel`, as an OpenAI-style server where it says `openai`; `answering` off makes them fail. */
#ifndef EK_TESTS_DOOR_WORLD_H
#define EK_TESTS_DOOR_WORLD_H

#include "cm.h"

#include "base/loop_virtual.h"
#include "door/door.h"
#include "door/door_state.h"

#include <stdio.h>
#include <stdlib.h>

#define CALLS_MAX 4096

struct world;

/* One POST that the door has sent to the upstream. */
struct call {
    struct ek_exchange base;
    struct world *world;
    const struct ek_exchange_events *events;
    void *arg;
    struct ek_buf body;
    char path[600];
    char to[256]; /* address */
    bool over; /* ended, failed or cancelled */
    bool cancelled;
    bool paused;
    bool probe;
    bool headed;   /* for the test's own use */
    unsigned said; /* too */
    struct ek_post answer; /* probes */
};

struct world {
    struct ek_exchange_client client; /* first */
    struct ek_loop *loop;
    struct ek_config *config;
    struct ek_log log;
    struct ek_door *door;
    struct call *call[CALLS_MAX]; /* POSTs in order */
    size_t calls;
    struct call *probe[4];
    bool answering;
    enum ek_reason fault; /* while not answering */
    unsigned slots;
    const char *load_more; /* members of /load beside slots */
    bool stopped;
};

struct client {
    struct ek_sock *sock;
    struct ek_buf got;
    bool eof;
    bool failed;
};

/* ---- the fake exchange --------------------------------------------------------------------------- */

static void answer_probe(struct ek_post *p)
{
    struct call *c = EK_CONTAINER(p, struct call, answer);
    struct world *w = c->world;
    c->over = true;
    if (!w->answering) {
        (c->events->fail)(c->arg, &c->base, w->fault, "played dead");
    } else {
        char text[200];
        struct ek_http_head head = {.status = 200, .version = 11, .content_length = -1};
        if (strstr(c->path, "/load"))
            snprintf(text, sizeof text, "{\"slots\":%u,\"running\":0,\"waiting\":0%s}", w->slots,
                     w->load_more ? w->load_more : "");
        else
            snprintf(text, sizeof text, "{\"object\":\"list\",\"data\":[{\"id\":\"m\","
                     "\"object\":\"model\"}]}");
        c->events->head(c->arg, &c->base, &head);
        c->events->data(c->arg, &c->base, text, strlen(text));
        c->events->end(c->arg, &c->base);
    }
    for (size_t i = 0; i < EK_COUNT(w->probe); i++)
        if (w->probe[i] == c) w->probe[i] = NULL;
    free(c);
}

static struct ek_exchange *fake_start(struct ek_exchange_client *client, const struct ek_exchange_request *r,
                                      const struct ek_exchange_events *events, void *arg)
{
    struct world *w = (struct world *)client;
    struct call *c = calloc(1, sizeof *c);
    *c = (struct call){.base = {client}, .world = w, .events = events, .arg = arg,
                       .body = ek_buf_make(1 << 22)};
    snprintf(c->to, sizeof c->to, "%s", r->target->address);
    snprintf(c->path, sizeof c->path, "%s%.*s", r->target->base, (int)r->path.len, r->path.data);
    for (size_t i = 0; i < r->body_count; i++)
        ek_buf_put(&c->body, r->body[i].iov_base, r->body[i].iov_len);
    c->probe = ek_str_eq(r->method, EK_STR("GET"));
    if (c->probe) {
        ek_post_init(&c->answer, answer_probe);
        ek_post_put(w->loop, &c->answer);
        size_t i = 0;
        while (w->probe[i]) assert_true(++i < EK_COUNT(w->probe));
        w->probe[i] = c;
    } else {
        assert_true(w->calls < CALLS_MAX);
        w->call[w->calls++] = c;
    }
    return &c->base;
}

static void fake_pause(struct ek_exchange *x, bool paused) { ((struct call *)x)->paused = paused; }

static void fake_cancel(struct ek_exchange *x)
{
    struct call *c = (struct call *)x;
    assert_false(c->over);
    c->over = c->cancelled = true;
    if (!c->probe) return; /* the test looks at it; freed with the world */
    ek_post_clear(c->world->loop, &c->answer);
    for (size_t i = 0; i < EK_COUNT(c->world->probe); i++)
        if (c->world->probe[i] == c) c->world->probe[i] = NULL;
    free(c);
}

static void fake_free(struct ek_exchange_client *c) { (void)c; }

static const struct ek_exchange_ops fake_ops = {fake_start, fake_pause, fake_cancel, fake_free};

/* ---- playing the upstream ------------------------------------------------------------------------ */

static inline struct call *the_call(struct world *w, size_t index)
{
    assert_true(index < w->calls);
    return w->call[index];
}

static inline void play_head(struct call *c, int status)
{
    struct ek_http_head *head = calloc(1, sizeof *head);
    *head = (struct ek_http_head){.status = status, .version = 11, .content_length = -1, .header_count = 2};
    head->headers[0] = (struct ek_http_header){EK_STR("Content-Type"), status == 200
                           ? EK_STR("text/event-stream") : EK_STR("application/json")};
    head->headers[1] = (struct ek_http_header){EK_STR("Retry-After"), EK_STR("7")};
    assert_false(c->over);
    c->events->head(c->arg, &c->base, head);
    free(head);
    ek_virtual_settle(c->world->loop);
}

static inline void play(struct call *c, const char *text)
{
    assert_false(c->over);
    c->events->data(c->arg, &c->base, text, strlen(text));
    ek_virtual_settle(c->world->loop);
}

static inline void play_end(struct call *c)
{
    assert_false(c->over);
    c->over = true;
    c->events->end(c->arg, &c->base);
    ek_virtual_settle(c->world->loop);
}

static inline void play_fail(struct call *c, enum ek_reason why)
{
    assert_false(c->over);
    c->over = true;
    (c->events->fail)(c->arg, &c->base, why, "played");
    ek_virtual_settle(c->world->loop);
}

/* ---- the world ------------------------------------------------------------------------------------- */

static inline struct world *world_new(const char *yaml, unsigned slots)
{
    struct world *w = calloc(1, sizeof *w);
    struct ek_buf why = ek_buf_make(1 << 16);
    char sentence[512];
    struct ek_virtual_options vo = {.seed = 7, .start_unix_ns = 1700000000 * EK_S_NS};
    w->client.ops = &fake_ops;
    w->loop = ek_loop_new_virtual(&vo);
    w->log = (struct ek_log){.name = "test", .level = EK_LOG_ERROR, .fd = -1};
    w->answering = true;
    w->fault = EK_REASON_UPSTREAM_CONNECT;
    w->slots = slots;
    struct ek_config_source source = {.program = EK_PROGRAM_SERVE, .path = "test.yaml", .text = yaml};
    if (ek_config_load(&source, &w->config, &why) != EK_OK) fail_msg("%s", ek_buf_cstr(&why));
    ek_buf_free(&why);
    struct ek_door_options o = {.loop = w->loop, .config = w->config, .log = &w->log,
                                .client = &w->client, .ledger_on_loop = true};
    w->door = ek_door_start(&o, sentence, sizeof sentence);
    if (!w->door) fail_msg("%s", sentence);
    ek_virtual_settle(w->loop);
    ek_virtual_advance(w->loop, 10 * EK_MS_NS);
    return w;
}

static inline void world_free(struct world *w)
{
    ek_desk_check(w->door->desk);
    ek_door_free(&w->door);
    ek_config_unref(&w->config);
    ek_virtual_settle(w->loop);
    for (size_t i = 0; i < w->calls; i++) {
        assert_true(w->call[i]->over);
        ek_buf_free(&w->call[i]->body);
        free(w->call[i]);
    }
    ek_loop_free(&w->loop);
    free(w);
}

static inline void world_pass(struct world *w, uint64_t ms)
{
    ek_virtual_advance(w->loop, ms * EK_MS_NS);
}

/* ---- clients --------------------------------------------------------------------------------------- */

static void client_data(void *arg, char *bytes, size_t n)
{
    ek_buf_put(&((struct client *)arg)->got, bytes, n);
}
static void client_eof(void *arg) { ((struct client *)arg)->eof = true; }
static void client_nothing(void *arg) { (void)arg; }
static void client_failed(void *arg, const char *why)
{
    (void)why;
    ((struct client *)arg)->failed = true;
}
static const struct ek_sock_handler client_handler = {client_nothing, client_data, client_eof, client_nothing,
                                                      client_failed};

/* Connect and send these bytes. */
static inline struct client *client_send(struct world *w, const char *bytes)
{
    struct client *c = calloc(1, sizeof *c);
    const char *why;
    c->got = ek_buf_make(1 << 26);
    c->sock = ek_sock_connect(w->loop, "127.0.0.1:8080", &client_handler, c, &why);
    assert_non_null(c->sock);
    ek_virtual_settle(w->loop);
    ek_sock_write(c->sock, bytes, strlen(bytes));
    ek_virtual_settle(w->loop);
    return c;
}

static inline struct client *client_post(struct world *w, const char *body)
{
    char text[8192];
    int n = snprintf(text, sizeof text, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    assert_true(n > 0 && (size_t)n < sizeof text);
    return client_send(w, text);
}

static inline struct client *client_get(struct world *w, const char *path)
{
    char text[512];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    return client_send(w, text);
}

static inline void client_free(struct world *w, struct client *c)
{
    if (c->sock) ek_sock_close(&c->sock);
    ek_virtual_settle(w->loop);
    ek_buf_free(&c->got);
    free(c);
}

static inline const char *client_text(struct client *c)
{
    const char *s = ek_buf_cstr(&c->got);
    return s ? s : "";
}

static inline void expect_has(struct client *c, const char *what)
{
    if (!strstr(client_text(c), what)) fail_msg("no \"%s\" in:\n%s", what, client_text(c));
}

static inline void expect_not(struct client *c, const char *what)
{
    if (strstr(client_text(c), what)) fail_msg("there is \"%s\" in:\n%s", what, client_text(c));
}

/* How often `what` occurs in what the client got. */
static inline unsigned count_of(struct client *c, const char *what)
{
    unsigned n = 0;
    for (const char *s = client_text(c); (s = strstr(s, what)); s += strlen(what)) n++;
    return n;
}

#define ASK_STREAM "{\"model\":\"m\",\"stream\":true," \
                   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define ASK_WHOLE "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define CHUNK(delta, more) \
    "data: {\"id\":\"up-1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":" \
    "[{\"index\":0,\"delta\":" delta ",\"finish_reason\":null}]" more "}\n\n"
#define ROLE CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "")
#define SAY(text) CHUNK("{\"content\":\"" text "\"}", "")
#define THINK(text) CHUNK("{\"reasoning_content\":\"" text "\"}", "")
#define FINISH \
    "data: {\"id\":\"up-1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":" \
    "[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE \
    "data: {\"id\":\"up-1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":" \
    "[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n\n"
#define DONE "data: [DONE]\n\n"

/* ---- one slot, and two who keep it busy ------------------------------------------------------------- */

#define ONE "upstreams:\n  - url: http://u:1\n    dialect: openai\n    slots: 1\n    models: [m]\n"

/* slots 1 lets two be sent; both stay open until the test plays them. */
static inline struct world *busy_world(const char *yaml, struct client *busy[2])
{
    struct world *w = world_new(yaml, 1);
    for (int i = 0; i < 2; i++) busy[i] = client_post(w, ASK_STREAM);
    assert_int_equal(w->calls, 2);
    return w;
}

static inline void leave(struct world *w, struct client *busy[2])
{
    for (int i = 0; i < 2; i++) client_free(w, busy[i]);
    world_free(w);
}

static inline void play_all(struct call *up)
{
    play_head(up, 200);
    play(up, ROLE SAY("42") FINISH USAGE DONE);
    play_end(up);
}

#endif
