/* SPDX-License-Identifier: MIT */
/* The server's armour on the virtual loop: deadlines, caps, budgets, malformed requests, clients that
 * leave, stopping. Every reason the server itself gives is reached here and counted. */
#include "http_rig.h"

#define SEEDS 6
#define GET(path) "GET /" path " HTTP/1.1\r\nHost: x\r\n\r\n"
#define POST(path, length) "POST /" path " HTTP/1.1\r\nHost: x\r\nContent-Length: " length "\r\n\r\n"

static void run(void (*test)(struct rig *))
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rig rig;
        print_message("seed %d\n", (int)seed);
        rig_begin(&rig, seed, true);
        test(&rig);
        rig_end_all(&rig);
    }
}

static uint64_t open_count(const struct rig *rig)
{
    return ek_http_server_counters(rig->server)->open;
}

/* ---- deadlines ---- */

static void slow_head(struct rig *rig)
{
    struct client c;
    client_open(rig, &c, "GET / HT");
    for (int i = 0; i < 9; i++) { /* a trickle does not move the deadline */
        ek_virtual_advance(rig->loop, EK_S_NS);
        client_send(rig, &c, i < 3 ? "T" : "");
        assert_int_equal(c.got.len, 0);
        if (i == 0) continue;
    }
    ek_virtual_advance(rig->loop, EK_S_NS + EK_MS_NS);
    client_expect(&c, "HTTP/1.1 408 Request Timeout\r\n");
    client_expect(&c, "\"code\":\"head_timeout\"");
    client_expect(&c, "Connection: close");
    assert_true(c.eof);
    assert_int_equal(rig_count(rig, EK_REASON_HEAD_TIMEOUT), 1);
    assert_int_equal(rig->heads, 0);
    client_close(rig, &c);
    assert_int_equal(open_count(rig), 0);
}

static void silence(struct rig *rig)
{
    struct client c;
    client_open(rig, &c, "");
    ek_virtual_advance(rig->loop, 9999 * EK_MS_NS);
    assert_int_equal(open_count(rig), 1);
    ek_virtual_advance(rig->loop, 2 * EK_MS_NS);
    assert_true(c.eof);
    assert_int_equal(c.got.len, 0);
    assert_int_equal(rig_count(rig, EK_REASON_IDLE), 1);
    client_close(rig, &c);
    client_open(rig, &c, GET("echo")); /* one that has asked before may rest longer */
    ek_virtual_advance(rig->loop, 74 * EK_S_NS);
    assert_false(c.eof);
    ek_virtual_advance(rig->loop, 2 * EK_S_NS);
    assert_true(c.eof);
    client_close(rig, &c);
}

static void slow_body(struct rig *rig)
{
    struct client c;
    rig->options.body_rate_min = 1000; /* bytes a second, behind 10 s of grace */
    rig_options(rig);
    client_open(rig, &c, POST("echo", "30000"));
    for (int i = 0; i < 12; i++) { /* 500 bytes a second: 6000 by second 12, allowed until 16 */
        char half[501];
        memset(half, 'h', 500);
        half[500] = '\0';
        ek_virtual_advance(rig->loop, EK_S_NS);
        client_send(rig, &c, half);
        assert_int_equal(c.got.len, 0);
    }
    ek_virtual_advance(rig->loop, 3900 * EK_MS_NS);
    assert_int_equal(c.got.len, 0);
    ek_virtual_advance(rig->loop, 200 * EK_MS_NS);
    client_expect(&c, "HTTP/1.1 408 ");
    client_expect(&c, "body_timeout");
    assert_int_equal(rig->gone[0], EK_REASON_BODY_TIMEOUT);
    client_close(rig, &c);
}

static void write_stall(struct rig *rig)
{
    struct client c;
    char block[65536];
    memset(block, 'x', sizeof block);
    client_open(rig, &c, GET("stream"));
    ek_sock_read(c.sock, false);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(ek_http_write(rig->last, ek_str_make(block, sizeof block)), EK_OK);
    }
    assert_true(ek_http_unsent(rig->last) > 0);
    ek_virtual_advance(rig->loop, 29 * EK_S_NS);
    assert_int_equal(rig->gones, 0);
    ek_virtual_advance(rig->loop, 32 * EK_S_NS);
    assert_int_equal(rig->gones, 1);
    assert_int_equal(rig->gone[0], EK_REASON_WRITE_STALL);
    client_close(rig, &c);
}

/* ---- clients that leave, or send too much ---- */

static void parked_client_leaves(struct rig *rig)
{
    struct client c[3];
    client_open(rig, &c[0], GET("park"));
    client_open(rig, &c[1], POST("park", "5") "hello");
    client_open(rig, &c[2], POST("park", "50") "hello");
    ek_virtual_advance(rig->loop, 5 * EK_S_NS);
    assert_int_equal(rig->gones, 0);
    for (int i = 0; i < 3; i++) {
        client_close(rig, &c[i]);
    }
    assert_int_equal(rig->gones, 3);
    assert_int_equal(rig->gone[0], EK_REASON_CLIENT_GONE);
    assert_int_equal(rig->gone[1], EK_REASON_CLIENT_GONE);
    assert_int_equal(rig->gone[2], EK_REASON_BODY_CUT);
    client_open(rig, &c[0], GET("park"));
    ek_sock_reset(&c[0].sock);
    client_close(rig, &c[0]);
    assert_int_equal(rig->gone[3], EK_REASON_CLIENT_RESET);
    client_open(rig, &c[0], "GET / HTTP/1.1\r\nHo");
    client_close(rig, &c[0]);
    assert_int_equal(rig_count(rig, EK_REASON_CLIENT_GONE), 3);
    assert_int_equal(open_count(rig), 0);
}

static void sent_ahead(struct rig *rig)
{
    struct client c;
    char more[EK_HTTP_PIPELINE_BYTES_MAX + 1];
    memset(more, 'G', sizeof more);
    more[sizeof more - 1] = '\0';
    client_open(rig, &c, GET("park"));
    client_send(rig, &c, more);
    assert_int_equal(rig->gones, 0);
    client_send(rig, &c, "G");
    assert_int_equal(rig->gone[0], EK_REASON_PIPELINE);
    assert_true(c.failed);
    client_close(rig, &c);
}

/* ---- malformed ---- */

static void malformed(struct rig *rig)
{
    static const struct {
        const char *text;
        int status;
        const char *code;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400, "bad_head"},
        {"GET / HTTP/2.0\r\n\r\n", 505, "bad_version"},
        {"GET / HTTP/1.1\nHost: x\n\n", 400, "bad_head"},
        {POST("echo", "5\r\nContent-Length: 5") "hello", 400, "bad_head"},
        {POST("echo", "5\r\nTransfer-Encoding: chunked") "0\r\n\r\n", 400, "bad_head"},
        {POST("echo", "5\r\nExpect: more") "hello", 417, "expectation_failed"},
        {POST("echo", "33554433"), 413, "body_too_large"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n", 400,
         "bad_chunk"},
        {"\x16\x03\x01 hello", 400, "bad_head"},
    };
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        struct client c;
        char status[32], code[64];
        client_open(rig, &c, cases[i].text);
        snprintf(status, sizeof status, "HTTP/1.1 %d ", cases[i].status);
        snprintf(code, sizeof code, "\"code\":\"%s\"", cases[i].code);
        client_expect(&c, status);
        client_expect(&c, code);
        client_expect(&c, "Connection: close\r\n");
        assert_int_equal(client_count(&c, "\r\nDate: "), 1); /* never a second answer */
        assert_true(c.eof && !c.failed);
        client_close(rig, &c);
    }
    assert_int_equal(rig->heads, 1); /* only the one whose chunks were bad */
    assert_int_equal(rig->gone[0], EK_REASON_BAD_CHUNK);
    assert_int_equal(rig_count(rig, EK_REASON_BAD_HEAD), 5);
}

static void large_head(struct rig *rig)
{
    struct client c;
    size_t len = 100000;
    char *text = malloc(len + 1);
    assert_non_null(text);
    memset(text, 'a', len);
    memcpy(text, "GET / HTTP/1.1\r\nHost: x\r\nA: ", 28);
    text[len] = '\0';
    client_open(rig, &c, text);
    client_expect(&c, "HTTP/1.1 431 ");
    client_expect(&c, "head_too_large");
    ek_virtual_advance(rig->loop, EK_HTTP_LINGER_NS);
    assert_int_equal(open_count(rig), 0);
    client_close(rig, &c);
    free(text);
}

/* ---- bodies ---- */

static void large_chunked_body(struct rig *rig)
{
    struct client c;
    rig->options.body_bytes_max = 10;
    rig_options(rig);
    client_open(rig, &c, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "8\r\n01234567\r\n8\r\n01234567\r\n");
    client_expect(&c, "HTTP/1.1 413 ");
    assert_int_equal(rig->gone[0], EK_REASON_BODY_TOO_LARGE);
    assert_true(rig->body_bytes <= 10);
    client_close(rig, &c);
    client_open(rig, &c, POST("echo", "11"));
    client_expect(&c, "HTTP/1.1 413 ");
    assert_int_equal(rig->heads, 1); /* refused before the handler heard of it */
    client_close(rig, &c);
}

static void budget(struct rig *rig)
{
    struct client a, b;
    rig->options.bodies_bytes_max = 100;
    rig_options(rig);
    client_open(rig, &a, POST("park", "60"));
    assert_int_equal(rig->budget.used_bytes, 60);
    client_open(rig, &b, POST("park", "60"));
    client_expect(&b, "HTTP/1.1 503 ");
    client_expect(&b, "body_budget");
    assert_int_equal(rig->gone[0], EK_REASON_BODY_BUDGET);
    assert_int_equal(rig->budget.refused_count, 1);
    client_close(rig, &b);
    client_open(rig, &b, "POST /park HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "14\r\n01234567890123456789\r\n");
    assert_int_equal(rig->budget.used_bytes, 80);
    client_send(rig, &b, "19\r\n0123456789012345678901234\r\n");
    client_expect(&b, "body_budget");
    client_close(rig, &b);
    ek_virtual_settle(rig->loop);
    assert_int_equal(rig->budget.used_bytes, 60);
    client_close(rig, &a);
    assert_int_equal(rig->budget.used_bytes, 0);
    client_open(rig, &a, POST("park", "1") "x");
    ek_http_release_body(rig->last); /* the handler lets go early */
    assert_int_equal(rig->budget.used_bytes, 0);
    client_close(rig, &a);
    client_open(rig, &a, POST("refuse", "90")); /* refused at the head: nothing was charged */
    assert_true(rig->budget.peak_bytes <= 100);
    client_close(rig, &a);
}

/* ---- connections ---- */

static void connection_cap(struct rig *rig)
{
    struct client c[4];
    rig->options.connections_max = 3;
    rig_options(rig);
    for (int i = 0; i < 3; i++) {
        client_open(rig, &c[i], GET("park"));
    }
    client_open(rig, &c[3], GET("echo")); /* a virtual listener that waits refuses */
    assert_true(c[3].failed);
    assert_int_equal(ek_http_server_counters(rig->server)->accept_waits, 1);
    client_close(rig, &c[3]);
    client_close(rig, &c[0]);
    client_open(rig, &c[0], GET("echo"));
    client_expect(&c[0], "HTTP/1.1 200");
    for (int i = 0; i < 3; i++) {
        client_close(rig, &c[i]);
    }
}

static void address_cap(struct rig *rig)
{
    struct client c[3];
    rig->options.address_connections_max = 2;
    rig_options(rig);
    for (int i = 0; i < 3; i++) {
        client_open(rig, &c[i], GET("park"));
    }
    assert_true(c[2].failed);
    assert_int_equal(rig_count(rig, EK_REASON_ADDRESS_CONNECTIONS), 1);
    assert_int_equal(open_count(rig), 2);
    client_close(rig, &c[0]);
    client_close(rig, &c[2]);
    client_open(rig, &c[0], GET("echo"));
    client_expect(&c[0], "HTTP/1.1 200");
    client_close(rig, &c[0]);
    client_close(rig, &c[1]);
}

/* ---- stopping ---- */

static void on_stopped(void *arg)
{
    ((struct rig *)arg)->stopped = true;
}

static void stopping(struct rig *rig)
{
    struct client idle, busy;
    client_open(rig, &idle, GET("echo"));
    client_open(rig, &busy, GET("park"));
    ek_http_server_stop(rig->server, on_stopped, rig);
    ek_virtual_settle(rig->loop);
    assert_true(idle.eof);
    assert_false(rig->stopped);
    assert_int_equal(rig->gones, 1);
    ek_http_reply(rig->last, 200, NULL, 0, EK_STR("late but whole"));
    ek_virtual_settle(rig->loop);
    client_expect(&busy, "Connection: close\r\n\r\nlate but whole");
    assert_true(rig->stopped);
    assert_int_equal(rig->gone[1], EK_REASON_NONE);
    client_close(rig, &idle);
    client_close(rig, &busy);
}

static void freeing_at_once(struct rig *rig)
{
    struct client c[2];
    client_open(rig, &c[0], GET("stream"));
    client_open(rig, &c[1], POST("park", "10") "half");
    ek_http_server_free(&rig->server);
    assert_int_equal(rig->gones, 2);
    assert_int_equal(rig->gone[0], EK_REASON_DRAINING);
    ek_virtual_settle(rig->loop);
    assert_true(c[0].failed);
    client_close(rig, &c[0]);
    client_close(rig, &c[1]);
}

/* ---- the handler's own words for the server's refusals ---- */

static unsigned refusal(void *arg, enum ek_reason why, const char *detail, struct ek_buf *body)
{
    (void)arg;
    ek_buf_printf(body, "{\"mine\":\"%s\",\"detail\":\"%s\"}", ek_reason_code(why), detail);
    return 7;
}

static void own_words(struct rig *rig)
{
    struct client c;
    const char *why = "";
    struct ek_http_handler handler = rig_handler;
    handler.refusal = refusal;
    ek_http_server_free(&rig->server);
    rig->server = ek_http_server_start(rig->loop, RIG_ADDRESS, &rig->options, &rig->budget, &handler,
                                       rig, &why);
    assert_non_null(rig->server);
    client_open(rig, &c, "GET / HTTP/1.1\r\nA : b\r\n\r\n");
    client_expect(&c, "Retry-After: 7\r\n");
    client_expect(&c, "{\"mine\":\"bad_head\",\"detail\":\"A field name is empty");
    client_close(rig, &c);
}

#define TEST(name) \
    static void test_##name(void **state) \
    { \
        (void)state; \
        run(name); \
    }
TEST(slow_head)
TEST(silence)
TEST(slow_body)
TEST(write_stall)
TEST(parked_client_leaves)
TEST(sent_ahead)
TEST(malformed)
TEST(large_head)
TEST(large_chunked_body)
TEST(budget)
TEST(connection_cap)
TEST(address_cap)
TEST(stopping)
TEST(freeing_at_once)
TEST(own_words)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_head),       cmocka_unit_test(test_silence),
        cmocka_unit_test(test_slow_body),       cmocka_unit_test(test_write_stall),
        cmocka_unit_test(test_parked_client_leaves), cmocka_unit_test(test_sent_ahead),
        cmocka_unit_test(test_malformed),       cmocka_unit_test(test_large_head),
        cmocka_unit_test(test_large_chunked_body), cmocka_unit_test(test_budget),
        cmocka_unit_test(test_connection_cap),  cmocka_unit_test(test_address_cap),
        cmocka_unit_test(test_stopping),        cmocka_unit_test(test_freeing_at_once),
        cmocka_unit_test(test_own_words),
    };
    return cmocka_run_group_tests_name("http_server_limits", tests, NULL, NULL);
}
