/* SPDX-License-Identifier: MIT */
/* The plain exchange on the virtual loop, against our own server and against a scripted one that
 * misbehaves; every test under several seeds. */
#include "http_rig.h"

#include "http/exchange.h"

#define SEEDS 6
#define BAD_ADDRESS "127.0.0.1:81"

struct asking { /* one exchange and what became of it */
    struct ek_exchange *x;
    struct ek_buf body;
    int status;
    size_t heads, datas, ends, fails;
    enum ek_reason why;
    char detail[128];
    bool cancel_at_data, pause_at_data, pause_at_head;
};

static void on_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    struct asking *a = arg;
    a->heads++;
    a->status = head->status;
    if (a->pause_at_head) ek_exchange_pause(x, true);
}

static void on_data(void *arg, struct ek_exchange *x, const char *data, size_t len)
{
    struct asking *a = arg;
    assert_int_equal(a->heads, 1);
    assert_in_range(len, 1, 65536);
    a->datas++;
    ek_buf_put(&a->body, data, len);
    if (a->pause_at_data) ek_exchange_pause(x, true);
    if (a->cancel_at_data) ek_exchange_cancel(&a->x);
}

static void on_end(void *arg, struct ek_exchange *x)
{
    struct asking *a = arg;
    assert_ptr_equal(a->x, x);
    a->ends++;
}

static void on_fail(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail)
{
    struct asking *a = arg;
    assert_ptr_equal(a->x, x);
    a->fails++;
    a->why = why;
    snprintf(a->detail, sizeof a->detail, "%s", detail);
}

static const struct ek_exchange_events events = {
    .head = on_head,
    .data = on_data,
    .end = on_end,
    .fail = on_fail,
};

struct world {
    struct rig rig;
    struct ek_exchange_client *client;
    struct ek_listener *bad; /* the scripted upstream */
    const char *says[8];     /* one text per connection; NULL: silence */
    bool resets[8];          /* then reset instead of close */
    bool stays[8];           /* or keep open */
    struct ek_sock *socks[8];
    size_t accepted;
    struct ek_buf heard;
};

static struct world *the_world; /* for the scripted upstream's callbacks */

static void bad_data(void *arg, char *bytes, size_t n)
{
    struct world *w = the_world;
    size_t i = (size_t)((struct ek_sock **)arg - w->socks);
    size_t before = w->heard.len;
    ek_buf_put(&w->heard, bytes, n);
    bool had = before >= 4 && memmem(w->heard.data, before, "\r\n\r\n", 4);
    if (had || !memmem(w->heard.data, w->heard.len, "\r\n\r\n", 4) || !w->socks[i]) return;
    w->heard.len = 0;
    if (w->says[i]) ek_sock_write(w->socks[i], w->says[i], strlen(w->says[i]));
    if (w->stays[i]) return;
    if (w->resets[i]) ek_sock_reset(&w->socks[i]);
    else ek_sock_close(&w->socks[i]);
}

static void bad_end(void *arg)
{
    struct ek_sock **slot = arg;
    if (*slot) ek_sock_close(slot);
}

static void bad_failed(void *arg, const char *why)
{
    (void)why;
    bad_end(arg);
}

static const struct ek_sock_handler bad_sock = {.data = bad_data, .eof = bad_end, .failed = bad_failed};

static void bad_accepted(void *arg, struct ek_sock *s)
{
    struct world *w = arg;
    assert_true(w->accepted < EK_COUNT(w->socks));
    w->socks[w->accepted] = s;
    ek_sock_set_handler(s, &bad_sock, &w->socks[w->accepted++]);
}

static const struct ek_listener_handler bad_listener = {.accepted = bad_accepted};

static void run(void (*test)(struct world *), bool crumbs)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct world w = {0};
        const char *why = "";
        print_message("seed %d\n", (int)seed);
        the_world = &w;
        w.heard = ek_buf_make(1u << 20);
        rig_begin(&w.rig, seed, crumbs);
        w.client = ek_exchange_plain_new(w.rig.loop, NULL);
        w.bad = ek_listen(w.rig.loop, BAD_ADDRESS, 8, &bad_listener, &w, &why);
        assert_non_null(w.bad);
        test(&w);
        ek_exchange_client_free(&w.client);
        for (size_t i = 0; i < w.accepted; i++) {
            if (w.socks[i]) ek_sock_close(&w.socks[i]);
        }
        ek_listener_close(&w.bad);
        ek_buf_free(&w.heard);
        ek_virtual_settle(w.rig.loop);
        rig_end_all(&w.rig);
    }
}

static void ask_at(struct world *w, struct asking *a, const char *url, const char *method,
                   const char *path, const char *body)
{
    struct ek_exchange_target target;
    char why[128];
    size_t half = body ? strlen(body) / 2 : 0;
    struct iovec parts[2] = {{(void *)(uintptr_t)body, half},
                             {(void *)(uintptr_t)(body ? body + half : body),
                              body ? strlen(body) - half : 0}};
    assert_int_equal(ek_exchange_target_parse(ek_str_of(url), &target, why, sizeof why), EK_OK);
    struct ek_http_header header = {EK_STR("Content-Type"), EK_STR("application/json")};
    struct ek_exchange_request r = {
        .target = &target, .method = ek_str_of(method), .path = ek_str_of(path), .headers = &header,
        .header_count = 1, .body = parts, .body_count = body ? 2 : 0, .connect_ns = 2 * EK_S_NS,
        .first_byte_ns = 5 * EK_S_NS, .idle_ns = 3 * EK_S_NS,
    };
    if (!a->body.max) a->body = ek_buf_make(64u << 20);
    a->x = ek_exchange_start(w->client, &r, &events, a);
    assert_int_equal(a->heads + a->fails, 0); /* nothing inside start */
}

static void ask(struct world *w, struct asking *a, const char *method, const char *path,
                const char *body)
{
    *a = (struct asking){0};
    ask_at(w, a, "http://" RIG_ADDRESS, method, path, body);
    ek_virtual_settle(w->rig.loop);
}

static void ask_bad(struct world *w, struct asking *a)
{
    *a = (struct asking){0};
    ask_at(w, a, "http://" BAD_ADDRESS "/base/", "POST", "/x", "0123456789");
    ek_virtual_settle(w->rig.loop);
}

static void got(struct asking *a, int status, const char *body)
{
    if (a->fails) fail_msg("failed: %s, %s", ek_reason_code(a->why), a->detail);
    assert_int_equal(a->ends, 1);
    assert_int_equal(a->status, status);
    if (!ek_str_eq(ek_buf_view(&a->body), ek_str_of(body))) {
        fail_msg("body %.*s instead of %s", (int)a->body.len, a->body.data, body);
    }
    ek_buf_free(&a->body);
}

static void failed(struct asking *a, enum ek_reason why)
{
    assert_int_equal(a->ends, 0);
    assert_int_equal(a->fails, 1);
    if (a->why != why) fail_msg("%s, %s", ek_reason_code(a->why), a->detail);
    ek_buf_free(&a->body);
}

static void plain_requests(struct world *w)
{
    struct asking a;
    const struct ek_exchange_counters *n = ek_exchange_plain_counters(w->client);
    ask(w, &a, "POST", "/echo", "hello upstream");
    got(&a, 200, "hello upstream");
    ask(w, &a, "GET", "/echo", NULL);
    got(&a, 200, "");
    ask(w, &a, "HEAD", "/refuse", NULL);
    got(&a, 401, "");
    ask(w, &a, "POST", "/refuse", "x");
    got(&a, 401, "{\"error\":\"key\"}");
    assert_int_equal(n->connects, 1);
    assert_int_equal(n->reused, 3);
    assert_int_equal(n->idle, 1);
    ek_virtual_advance(w->rig.loop, 31 * EK_S_NS); /* rests too long */
    assert_int_equal(n->idle, 0);
    assert_int_equal(n->ended, 4);
}

static void streams(struct world *w)
{
    struct asking a;
    ask(w, &a, "POST", "/stream", "x");
    assert_int_equal(a.heads, 1);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ek_http_write(w->rig.last, EK_STR("data: token\n\n")), EK_OK);
        ek_virtual_settle(w->rig.loop);
        assert_int_equal(a.body.len, (size_t)(i + 1) * 13);
    }
    ek_http_finish(w->rig.last, EK_STR(""));
    ek_virtual_settle(w->rig.loop);
    assert_int_equal(a.ends, 1);
    ek_buf_free(&a.body);
    /* broken off: never an end */
    ask(w, &a, "POST", "/stream", "x");
    assert_int_equal(ek_http_write(w->rig.last, EK_STR("half")), EK_OK);
    ek_virtual_settle(w->rig.loop);
    ek_http_abort(w->rig.last, EK_REASON_INTERNAL);
    ek_virtual_settle(w->rig.loop);
    failed(&a, EK_REASON_UPSTREAM_RESET);
}

static void cancelling(struct world *w)
{
    struct asking a;
    ask(w, &a, "POST", "/park", "x");
    ek_exchange_cancel(&a.x);
    assert_null(a.x);
    ek_virtual_settle(w->rig.loop);
    assert_int_equal(w->rig.gone[0], EK_REASON_CLIENT_GONE);
    assert_int_equal(a.heads + a.fails + a.ends, 0);
    a = (struct asking){.cancel_at_data = true};
    ask_at(w, &a, "http://" RIG_ADDRESS, "POST", "/echo", "cancelled in data");
    ek_virtual_settle(w->rig.loop);
    assert_int_equal(a.datas, 1);
    assert_int_equal(a.ends + a.fails, 0);
    ek_buf_free(&a.body);
    a = (struct asking){0};
    ask_at(w, &a, "http://" RIG_ADDRESS, "POST", "/echo", "at once");
    ek_exchange_cancel(&a.x); /* before it connected */
    ek_virtual_settle(w->rig.loop);
    assert_int_equal(a.heads + a.fails + a.ends, 0);
    ek_buf_free(&a.body);
}

static void pausing(struct world *w)
{
    struct asking a = {.pause_at_data = true, .pause_at_head = true};
    size_t len = 400000;
    char *big = malloc(len + 1);
    assert_non_null(big);
    for (size_t i = 0; i < len; i++) {
        big[i] = (char)('a' + i % 26);
    }
    big[len] = '\0';
    ask_at(w, &a, "http://" RIG_ADDRESS, "POST", "/echo", big);
    ek_virtual_settle(w->rig.loop);
    assert_int_equal(a.heads, 1);
    assert_int_equal(a.datas, 0);
    ek_virtual_advance(w->rig.loop, 20 * EK_S_NS); /* no idle deadline while paused */
    while (!a.ends) {
        size_t before = a.datas;
        ek_exchange_pause(a.x, false);
        ek_virtual_settle(w->rig.loop);
        assert_int_equal(a.fails, 0);
        assert_int_equal(a.datas, before + 1);
    }
    got(&a, 200, big);
    free(big);
}

static void answers(struct world *w)
{
    struct asking a;
    static const struct {
        const char *says, *body;
        int status;
    } sound[] = {
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n"
         "Content-Length: 2\r\n\r\nok", "ok", 200},
        {"HTTP/1.1 200 OK\r\n\r\nuntil close", "until close", 200},
        {"HTTP/1.0 200 OK\r\n\r\n", "", 200},
        {"HTTP/1.1 204 No\r\n\r\n", "", 204},
        {"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nno\r\n0\r\nT: t\r\n\r\n", "no",
         503},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA", "ok", 200},
    };
    for (size_t i = 0; i < EK_COUNT(sound); i++) {
        w->says[w->accepted] = sound[i].says;
        ask_bad(w, &a);
        got(&a, sound[i].status, sound[i].body);
    }
    assert_int_equal(ek_exchange_plain_counters(w->client)->stale, 0);
}

static void broken_answers(struct world *w)
{
    struct asking a;
    static const struct {
        const char *says;
        bool reset;
        enum ek_reason why;
    } broken[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", false, EK_REASON_UPSTREAM_CUT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false,
         EK_REASON_UPSTREAM_CUT},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\n", false,
         EK_REASON_UPSTREAM_BAD},
        {"", false, EK_REASON_UPSTREAM_RESET},
        {"HTTP/1.1 200 OK\r\nContent-Le", false, EK_REASON_UPSTREAM_RESET},
        {"HTTP/1.1 200 OK\r\n\r\npart", true, EK_REASON_UPSTREAM_RESET},
        {"HTTP/1.1 101 Switching\r\n\r\n", false, EK_REASON_UPSTREAM_BAD},
        {"HTTP/2 200\r\n\r\n", false, EK_REASON_UPSTREAM_BAD},
    };
    for (size_t i = 0; i < EK_COUNT(broken); i++) {
        w->says[w->accepted] = broken[i].says;
        w->resets[w->accepted] = broken[i].reset;
        ask_bad(w, &a);
        failed(&a, broken[i].why);
    }
}

static void deadlines(struct world *w)
{
    struct asking a;
    memset(w->stays, true, sizeof w->stays);
    w->says[1] = "HTTP/1.1 200 OK\r\n\r\nand then nothing";
    ask_bad(w, &a);
    ek_virtual_advance(w->rig.loop, 4999 * EK_MS_NS);
    assert_int_equal(a.fails, 0);
    ek_virtual_advance(w->rig.loop, 2 * EK_MS_NS);
    failed(&a, EK_REASON_UPSTREAM_TIMEOUT);
    ask_bad(w, &a);
    assert_int_equal(a.heads, 1);
    ek_virtual_advance(w->rig.loop, 3001 * EK_MS_NS);
    failed(&a, EK_REASON_UPSTREAM_STALL);
    a = (struct asking){0};
    ask_at(w, &a, "http://127.0.0.1:1", "GET", "/", NULL); /* nobody listens */
    ek_virtual_settle(w->rig.loop);
    failed(&a, EK_REASON_UPSTREAM_CONNECT);
    a = (struct asking){0};
    ask_at(w, &a, "https://127.0.0.1:1", "GET", "/", NULL);
    ek_virtual_settle(w->rig.loop);
    failed(&a, EK_REASON_UPSTREAM_TLS);
    a = (struct asking){0};
    ask_at(w, &a, "http://" RIG_ADDRESS, "GET", "/a b", NULL);
    ek_virtual_settle(w->rig.loop);
    failed(&a, EK_REASON_UPSTREAM_BAD);
}

/* The upstream closes a pooled connection without being heard: asked again once, on a fresh one. */
static void stale_connections(struct world *w)
{
    struct asking a;
    w->says[0] = w->says[1] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    w->stays[0] = true;
    ask_bad(w, &a);
    got(&a, 200, "ok");
    w->stays[0] = false;
    w->says[0] = NULL; /* closes at the next request instead of answering */
    ask_bad(w, &a);
    got(&a, 200, "ok");
    assert_int_equal(w->accepted, 2);
    assert_int_equal(ek_exchange_plain_counters(w->client)->stale, 1);
    assert_int_equal(ek_exchange_plain_counters(w->client)->connects, 2);
}

#define TEST(name, crumbs) \
    static void test_##name(void **state) \
    { \
        (void)state; \
        run(name, crumbs); \
    }
TEST(plain_requests, true)
TEST(streams, true)
TEST(cancelling, true)
TEST(pausing, false)
TEST(answers, true)
TEST(broken_answers, true)
TEST(deadlines, true)
TEST(stale_connections, true)

static void test_targets(void **state)
{
    (void)state;
    static const struct {
        const char *url, *address, *authority, *base;
    } good[] = {
        {"http://a.example", "a.example:80", "a.example", ""},
        {"http://a:8080/v1/", "a:8080", "a:8080", "/v1"},
        {"https://api.deepseek.com/beta", "api.deepseek.com:443", "api.deepseek.com", "/beta"},
        {"https://[::1]:443/", "[::1]:443", "[::1]", ""},
        {"http://[2001:db8::1]", "[2001:db8::1]:80", "[2001:db8::1]", ""},
        {"unix:/run/engine.sock", "unix:/run/engine.sock", "localhost", ""},
    };
    static const char *const bad[] = {
        "", "ftp://a", "http://", "http://:80", "http://a:0", "http://a:65536", "http://a:b",
        "http://u:p@a", "http://a?b", "http://a#b", "http://a b", "unix:relative", "unix:/",
        "http://[::1", "http://[]", "http://[::1]x", "http://a\xc3\xa9", "a:80",
    };
    struct ek_exchange_target t;
    char why[128];
    for (size_t i = 0; i < EK_COUNT(good); i++) {
        if (ek_exchange_target_parse(ek_str_of(good[i].url), &t, why, sizeof why) != EK_OK) {
            fail_msg("%s: %s", good[i].url, why);
        }
        assert_string_equal(t.address, good[i].address);
        assert_string_equal(t.authority, good[i].authority);
        assert_string_equal(t.base, good[i].base);
    }
    for (size_t i = 0; i < EK_COUNT(bad); i++) {
        why[0] = '\0';
        if (ek_exchange_target_parse(ek_str_of(bad[i]), &t, why, sizeof why) != EK_INVALID) {
            fail_msg("%s was accepted", bad[i]);
        }
        assert_true(strlen(why) > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_requests), cmocka_unit_test(test_streams),
        cmocka_unit_test(test_cancelling),     cmocka_unit_test(test_pausing),
        cmocka_unit_test(test_answers),        cmocka_unit_test(test_broken_answers),
        cmocka_unit_test(test_deadlines),      cmocka_unit_test(test_stale_connections),
        cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests_name("http_exchange", tests, NULL, NULL);
}
