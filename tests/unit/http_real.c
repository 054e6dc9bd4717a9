/* SPDX-License-Identifier: MIT */
/* Server and clients over the real loop: TCP, Unix sockets, libcurl, TLS. Nothing sleeps: each step
 * runs the loop until what it waits for has happened, or a minute has passed, which is a failure. */
#include "cm.h"

#include "http/exchange.h"
#include "http/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct ek_loop *loop;
static struct ek_http_server *server;
static char url[128];
static size_t gones;
static enum ek_reason last_gone;

/* ---- an echo server, and /stream: three chunks, one a timer ---- */
struct asked {
    struct ek_buf body;
    struct ek_http_req *req;
    struct ek_timer timer;
    int left;
};

static void on_tick(struct ek_timer *t)
{
    struct asked *a = EK_CONTAINER(t, struct asked, timer);
    if (a->left-- > 0) {
        assert_int_equal(ek_http_write(a->req, EK_STR("data: token\n\n")), EK_OK);
        ek_timer_set(loop, t, ek_loop_now(loop).mono_ns + EK_MS_NS);
    } else {
        ek_http_finish(a->req, EK_STR("data: [DONE]\n\n"));
    }
}

static void on_head(void *arg, struct ek_http_req *req, const struct ek_http_head *head)
{
    struct asked *a = calloc(1, sizeof *a);
    (void)arg;
    assert_non_null(a);
    a->body = ek_buf_make(64u << 20);
    a->req = req;
    ek_timer_init(&a->timer, on_tick);
    ek_http_set_user(req, a);
    if (ek_str_eq(head->path, EK_STR("/stream"))) a->left = 3;
    if (ek_str_eq(head->path, EK_STR("/park"))) a->left = -1;
}

static void on_body(void *arg, struct ek_http_req *req, const char *data, size_t len)
{
    (void)arg;
    ek_buf_put(&((struct asked *)ek_http_user(req))->body, data, len);
}

static void on_end(void *arg, struct ek_http_req *req)
{
    struct asked *a = ek_http_user(req);
    (void)arg;
    if (a->left == 0) {
        ek_http_reply(req, 200, NULL, 0, ek_buf_view(&a->body));
    } else if (a->left > 0) {
        ek_http_start(req, 200, NULL, 0, EK_HTTP_CHUNKED);
        ek_timer_set(loop, &a->timer, ek_loop_now(loop).mono_ns);
    }
}

static void on_gone(void *arg, struct ek_http_req *req, enum ek_reason why)
{
    struct asked *a = ek_http_user(req);
    (void)arg;
    ek_timer_clear(loop, &a->timer);
    ek_buf_free(&a->body);
    free(a);
    gones++;
    last_gone = why;
    ek_loop_stop(loop);
}

static const struct ek_http_handler handler = {
    .head = on_head,
    .body = on_body,
    .end = on_end,
    .gone = on_gone,
};

/* ---- running until ---- */
static void on_minute(struct ek_timer *t)
{
    (void)t;
    fail_msg("a minute has passed");
}

static void run_until(const size_t *counter, size_t value)
{
    struct ek_timer minute;
    ek_timer_init(&minute, on_minute);
    ek_timer_set(loop, &minute, ek_loop_now(loop).mono_ns + 60 * EK_S_NS);
    while (*counter < value) {
        ek_loop_run(loop);
    }
    ek_timer_clear(loop, &minute);
}

static size_t settled;
static void on_settle(struct ek_timer *t)
{
    (void)t;
    settled++;
    ek_loop_stop(loop);
}

static void begin(const char *address)
{
    const char *why = "";
    char bound[100];
    struct ek_http_options options = ek_http_options_default();
    loop = ek_loop_new();
    gones = 0;
    server = ek_http_server_start(loop, address, &options, NULL, &handler, NULL, &why);
    if (!server) fail_msg("%s", why);
    ek_http_server_address(server, bound, sizeof bound);
    bool is_unix = strncmp(bound, "unix:", 5) == 0;
    snprintf(url, sizeof url, "%s%s", is_unix ? "" : "http://", bound);
}

static void finish(struct ek_exchange_client **client)
{
    struct ek_timer t;
    ek_exchange_client_free(client);
    ek_http_server_free(&server);
    ek_timer_init(&t, on_settle); /* one more turn: closed things are freed */
    ek_timer_set(loop, &t, ek_loop_now(loop).mono_ns + EK_MS_NS);
    run_until(&settled, settled + 1);
    ek_loop_free(&loop);
}

/* ---- exchanges ---- */
struct asking {
    struct ek_exchange *x;
    struct ek_buf body;
    int status;
    size_t heads, datas, over;
    enum ek_reason why;
    char detail[200];
    bool cancel_at_data;
};

static void x_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    struct asking *a = arg;
    (void)x;
    a->heads++;
    a->status = head->status;
}

static void x_data(void *arg, struct ek_exchange *x, const char *data, size_t len)
{
    struct asking *a = arg;
    (void)x;
    assert_in_range(len, 1, 65536);
    a->datas++;
    ek_buf_put(&a->body, data, len);
    if (!a->cancel_at_data) return;
    ek_exchange_cancel(&a->x);
    a->over++;
    ek_loop_stop(loop);
}

static void x_end(void *arg, struct ek_exchange *x)
{
    struct asking *a = arg;
    (void)x;
    a->over++;
    ek_loop_stop(loop);
}

static void x_fail(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail)
{
    struct asking *a = arg;
    (void)x;
    a->why = why;
    snprintf(a->detail, sizeof a->detail, "%s", detail);
    a->over++;
    ek_loop_stop(loop);
}

static const struct ek_exchange_events events = {
    .head = x_head,
    .data = x_data,
    .end = x_end,
    .fail = x_fail,
};

static void start(struct ek_exchange_client *client, struct asking *a, const char *to,
                  const char *method, const char *path, struct ek_str body)
{
    struct ek_exchange_target target;
    char why[128];
    assert_int_equal(ek_exchange_target_parse(ek_str_of(to), &target, why, sizeof why), EK_OK);
    struct iovec part = {(void *)(uintptr_t)body.data, body.len};
    struct ek_exchange_request r = {
        .target = &target, .method = ek_str_of(method), .path = ek_str_of(path), .body = &part,
        .body_count = body.len > 0, .connect_ns = 20 * EK_S_NS, .first_byte_ns = 30 * EK_S_NS,
        .idle_ns = 30 * EK_S_NS,
    };
    a->body = ek_buf_make(64u << 20);
    a->x = ek_exchange_start(client, &r, &events, a);
}

static void ask(struct ek_exchange_client *client, struct asking *a, const char *to,
                const char *method, const char *path, struct ek_str body)
{
    start(client, a, to, method, path, body);
    run_until(&a->over, 1);
}

static void all_of_it(struct ek_exchange_client *client)
{
    size_t len = 3u << 20;
    char *big = malloc(len);
    assert_non_null(big);
    for (size_t i = 0; i < len; i++) {
        big[i] = (char)(i * 31 + i / 4096);
    }
    struct ek_str bodies[] = {EK_STR(""), EK_STR("hello"), {big, len}, EK_STR("again")};
    for (size_t i = 0; i < EK_COUNT(bodies); i++) {
        struct asking a = {0};
        ask(client, &a, url, "POST", "/echo", bodies[i]);
        if (a.why) fail_msg("%s: %s", ek_reason_code(a.why), a.detail);
        assert_int_equal(a.status, 200);
        assert_true(ek_str_eq(ek_buf_view(&a.body), bodies[i]));
        ek_buf_free(&a.body);
    }
    free(big);
    struct asking a = {0};
    ask(client, &a, url, "GET", "/stream", EK_STR(""));
    assert_int_equal(a.why, EK_REASON_NONE);
    assert_int_equal(a.body.len, 3 * 13 + 14);
    ek_buf_free(&a.body);
    run_until(&gones, 5);

    a = (struct asking){.cancel_at_data = true}; /* leaving is noticed */
    ask(client, &a, url, "GET", "/stream", EK_STR(""));
    run_until(&gones, 6);
    assert_true(last_gone == EK_REASON_CLIENT_GONE || last_gone == EK_REASON_CLIENT_RESET);
    ek_buf_free(&a.body);

    a = (struct asking){0};
    ask(client, &a, "http://127.0.0.1:1", "GET", "/", EK_STR(""));
    assert_int_equal(a.why, EK_REASON_UPSTREAM_CONNECT);
    a = (struct asking){0};
    ask(client, &a, "unix:/nowhere/at/all", "GET", "/", EK_STR(""));
    assert_int_equal(a.why, EK_REASON_UPSTREAM_CONNECT);
}

static void test_plain_tcp(void **state)
{
    (void)state;
    begin("127.0.0.1:0");
    struct ek_exchange_client *client = ek_exchange_client_new(loop, NULL);
    all_of_it(client);
    finish(&client);
}

static void test_plain_unix(void **state)
{
    char address[64];
    (void)state;
    snprintf(address, sizeof address, "unix:/tmp/ek-test-%d.sock", (int)getpid());
    begin(address);
    struct ek_exchange_client *client = ek_exchange_plain_new(loop, NULL);
    all_of_it(client);
    finish(&client);
}

static void test_curl(void **state)
{
    (void)state;
    begin("127.0.0.1:0");
    struct ek_exchange_client *client = ek_exchange_curl_new(loop, NULL);
    all_of_it(client);
    finish(&client);
}

/* ---- TLS, before openssl's test server ---- */
static size_t exits;
static void on_exit_of(void *arg, int code, int signal)
{
    (void)arg;
    (void)code;
    (void)signal;
    exits++;
    ek_loop_stop(loop);
}

static struct ek_child *spawn(const char *const *argv)
{
    struct ek_child_options o = {.argv = argv};
    const char *why = "";
    struct ek_child *c = ek_child_start(loop, &o, on_exit_of, NULL, &why);
    if (!c) fail_msg("%s", why);
    return c;
}

static void on_unwanted(void *arg, struct ek_sock *s)
{
    (void)arg;
    ek_sock_close(&s);
}

/* A port nobody listens on just now. */
static void free_port(char *out, size_t cap)
{
    static const struct ek_listener_handler nobody = {.accepted = on_unwanted};
    char bound[100];
    const char *why = "";
    struct ek_listener *l = ek_listen(loop, "127.0.0.1:0", 1, &nobody, NULL, &why);
    if (!l) fail_msg("%s", why);
    ek_listener_address(l, bound, sizeof bound);
    ek_listener_close(&l);
    snprintf(out, cap, "%s", strrchr(bound, ':') + 1);
}

static void test_tls(void **state)
{
    char dir[] = "/tmp/ek-tls-XXXXXX", key[64], cert[64];
    (void)state;
    if (access("/usr/bin/openssl", X_OK) != 0) {
        print_message("skipped: no /usr/bin/openssl\n");
        skip();
    }
    assert_non_null(mkdtemp(dir));
    snprintf(key, sizeof key, "%s/key", dir);
    snprintf(cert, sizeof cert, "%s/cert", dir);
    begin("127.0.0.1:0");
    const char *make[] = {"/usr/bin/openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-batch",
                          "-subj", "/CN=localhost", "-addext",
                          "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2", "-keyout", key,
                          "-out", cert, NULL};
    struct ek_child *child = spawn(make);
    run_until(&exits, 1);
    ek_child_close(&child);
    char port[8], to[64];
    free_port(port, sizeof port);
    snprintf(to, sizeof to, "https://127.0.0.1:%s", port);
    const char *serve[] = {"/usr/bin/openssl", "s_server", "-accept", port, "-key", key, "-cert", cert,
                           "-www", "-quiet", NULL};
    child = spawn(serve);

    struct ek_exchange_options o = {.ca_file = cert};
    struct ek_exchange_client *trusting = ek_exchange_client_new(loop, &o);
    struct ek_exchange_client *strange = ek_exchange_client_new(loop, NULL);
    struct asking a = {0};
    do { /* until it listens */
        if (a.body.max) ek_buf_free(&a.body);
        a = (struct asking){0};
        ask(trusting, &a, to, "GET", "/", EK_STR(""));
    } while (a.why == EK_REASON_UPSTREAM_CONNECT);
    if (a.why) fail_msg("%s: %s", ek_reason_code(a.why), a.detail);
    assert_int_equal(a.status, 200);
    assert_true(a.body.len > 100);
    ek_buf_free(&a.body);
    a = (struct asking){0};
    ask(strange, &a, to, "GET", "/", EK_STR(""));
    assert_int_equal(a.why, EK_REASON_UPSTREAM_TLS);
    assert_int_equal(a.heads, 0);
    ek_buf_free(&a.body);

    ek_child_kill(child, SIGKILL);
    run_until(&exits, 2);
    ek_child_close(&child);
    ek_exchange_client_free(&strange);
    finish(&trusting);
    unlink(key);
    unlink(cert);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_tcp), cmocka_unit_test(test_plain_unix),
        cmocka_unit_test(test_curl),      cmocka_unit_test(test_tls),
    };
    return cmocka_run_group_tests_name("http_real", tests, NULL, NULL);
}
