/* SPDX-License-Identifier: MIT */
/* The server's protocol on the virtual loop: every test runs under several seeds, each of which cuts
 * the bytes elsewhere. Deadlines and caps are in http_server_limits.c. */
#include "http_rig.h"

#define SEEDS 6
#define GET_ECHO "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"

static void run(void (*test)(struct rig *), bool crumbs)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rig rig;
        print_message("seed %d\n", (int)seed);
        rig_begin(&rig, seed, crumbs);
        test(&rig);
        rig_end_all(&rig);
    }
}

static struct ek_http_req *rig_ask_again(struct rig *rig, struct client *c)
{
    client_send(rig, c, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(rig->last);
    return rig->last;
}

static void keep_alive(struct rig *rig)
{
    struct client c;
    client_open(rig, &c, GET_ECHO);
    client_expect(&c, "HTTP/1.1 200 OK\r\nDate: ");
    client_expect(&c, " GMT\r\nContent-Length: 0\r\n\r\n");
    client_send(rig, &c, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
    client_expect(&c, "Content-Length: 5\r\n\r\nhello");
    client_send(rig, &c, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n");
    client_expect(&c, "Content-Length: 7\r\n\r\nabcdefg");
    assert_false(c.eof);
    client_send(rig, &c, "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(client_count(&c, "HTTP/1.1 200"), 4);
    assert_int_equal(client_count(&c, "Connection: close"), 1);
    assert_true(c.eof && !c.failed);
    assert_int_equal(rig->gones, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(rig->gone[i], EK_REASON_NONE);
    }
    assert_int_equal(ek_http_server_counters(rig->server)->open, 0);
    client_close(rig, &c);
}

static void pipelining(struct rig *rig)
{
    struct client c;
    client_open(rig, &c,
                "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1" GET_ECHO
                "\r\nPOST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n3"
                "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"
                "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n5");
    assert_int_equal(rig->heads, 4); /* the fifth waits for the fourth */
    assert_int_equal(ek_http_write(rig->last, EK_STR("four")), EK_OK);
    ek_http_finish(rig->last, EK_STR(""));
    ek_virtual_settle(rig->loop);
    assert_int_equal(rig->heads, 5);
    assert_int_equal(client_count(&c, "HTTP/1.1 200"), 5);
    const char *three = memmem(c.got.data, c.got.len, "\r\n\r\n3", 5);
    const char *four = memmem(c.got.data, c.got.len, "4\r\nfour\r\n0\r\n\r\n", 14);
    const char *five = memmem(c.got.data, c.got.len, "\r\n\r\n5", 5);
    assert_true(three && four && five && three < four && four < five);
    client_close(rig, &c);
}

static void streaming(struct rig *rig)
{
    struct client c;
    client_open(rig, &c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    client_expect(&c, "Transfer-Encoding: chunked\r\n\r\n");
    assert_true(ek_str_eq(ek_http_peer(rig->last), EK_STR("127.0.0.1")));
    struct iovec parts[3] = {{"id: 7\n", 6}, {"data: ", 6}, {"0123456789\n\n", 12}};
    assert_int_equal(ek_http_writev(rig->last, parts, 3), EK_OK);
    assert_int_equal(ek_http_write(rig->last, EK_STR("")), EK_OK);
    ek_virtual_settle(rig->loop);
    client_expect(&c, "\r\n\r\n18\r\nid: 7\ndata: 0123456789\n\n\r\n");
    ek_http_finish(rig->last, EK_STR("last"));
    assert_int_equal(rig->gones, 0); /* never inside the call */
    ek_virtual_settle(rig->loop);
    client_expect(&c, "\n\n\r\n4\r\nlast\r\n0\r\n\r\n");
    assert_int_equal(rig->gones, 1);
    assert_int_equal(rig->gone[0], EK_REASON_NONE);
    client_close(rig, &c);
}

/* Two answers begun in one turn share the place where a head waits: both arrive. */
static void begun_together(struct rig *rig)
{
    struct client a, b;
    struct ek_http_req *first;
    client_open(rig, &a, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
    first = rig->last;
    client_open(rig, &b, "HEAD /park HTTP/1.1\r\nHost: x\r\n\r\n");
    struct ek_http_header who = {EK_STR("X-Who"), EK_STR("a")};
    ek_http_start(first, 200, &who, 1, EK_HTTP_CHUNKED);
    who.value = EK_STR("b");
    ek_http_start(rig->last, 200, &who, 1, 4);
    assert_int_equal(ek_http_write(first, EK_STR("one")), EK_OK);
    ek_http_finish(rig->last, EK_STR("four"));
    ek_virtual_settle(rig->loop);
    client_expect(&a, "X-Who: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    client_expect(&b, "X-Who: b\r\nContent-Length: 4\r\n\r\n");
    ek_http_start(rig_ask_again(rig, &b), 200, NULL, 0, 0);
    ek_http_abort(rig->last, EK_REASON_INTERNAL); /* before the head has left: nothing is seen */
    ek_virtual_settle(rig->loop);
    assert_int_equal(client_count(&b, "HTTP/1.1 "), 1);
    assert_true(b.failed);
    client_close(rig, &a);
    client_close(rig, &b);
}

static void old_clients(struct rig *rig)
{
    struct client c;
    client_open(rig, &c, "GET /stream HTTP/1.0\r\n\r\n");
    assert_int_equal(ek_http_write(rig->last, EK_STR("until the end")), EK_OK);
    ek_http_finish(rig->last, EK_STR("."));
    ek_virtual_settle(rig->loop);
    client_expect(&c, "Connection: close\r\n\r\nuntil the end.");
    assert_false(client_has(&c, "chunked"));
    assert_true(c.eof);
    client_close(rig, &c);
    client_open(rig, &c, "GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    client_expect(&c, "Connection: keep-alive\r\n");
    assert_false(c.eof);
    client_close(rig, &c);
}

static void head_requests(struct rig *rig)
{
    struct client c;
    client_open(rig, &c, "HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(ek_http_write(rig->last, EK_STR("unseen")), EK_OK);
    ek_http_finish(rig->last, EK_STR("unseen"));
    ek_virtual_settle(rig->loop);
    client_send(rig, &c, "HEAD /refuse HTTP/1.1\r\nHost: x\r\n\r\n");
    client_expect(&c, "Content-Length: 15\r\n");
    assert_false(client_has(&c, "unseen") || client_has(&c, "error"));
    client_send(rig, &c, GET_ECHO);
    assert_int_equal(client_count(&c, "HTTP/1.1 "), 3);
    client_close(rig, &c);
}

static void known_length(struct rig *rig)
{
    struct client c;
    client_open(rig, &c, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
    ek_http_start(rig->last, 200, NULL, 0, 6);
    assert_int_equal(ek_http_write(rig->last, EK_STR("abc")), EK_OK);
    ek_http_finish(rig->last, EK_STR("def"));
    ek_virtual_settle(rig->loop);
    client_expect(&c, "Content-Length: 6\r\n\r\nabcdef");
    client_send(rig, &c, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
    ek_http_start(rig->last, 200, NULL, 0, 6);
    ek_http_finish(rig->last, EK_STR("abc")); /* promised six */
    ek_virtual_settle(rig->loop);
    assert_true(c.failed);
    assert_int_equal(rig->gone[1], EK_REASON_INTERNAL);
    client_close(rig, &c);
    client_open(rig, &c, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
    ek_http_reply(rig->last, 204, NULL, 0, EK_STR(""));
    ek_virtual_settle(rig->loop);
    client_expect(&c, "204 No Content\r\n");
    assert_false(client_has(&c, "Content-Length"));
    client_close(rig, &c);
}

static void aborting(struct rig *rig)
{
    struct client c;
    client_open(rig, &c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(ek_http_write(rig->last, EK_STR("half")), EK_OK);
    ek_virtual_settle(rig->loop);
    ek_http_abort(rig->last, EK_REASON_UPSTREAM_RESET);
    ek_virtual_settle(rig->loop);
    client_expect(&c, "4\r\nhalf\r\n");
    assert_false(client_has(&c, "0\r\n\r\n"));
    assert_true(c.failed && !c.eof);
    assert_int_equal(rig->gone[0], EK_REASON_UPSTREAM_RESET);
    assert_int_equal(rig_count(rig, EK_REASON_UPSTREAM_RESET), 1);
    client_close(rig, &c);
}

/* Refused at the head: no byte of the body is handed over, and the client can read why. */
static void early_answers(struct rig *rig)
{
    struct client c;
    client_open(rig, &c, "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n");
    client_expect(&c, "HTTP/1.1 401 Unauthorized\r\n");
    client_expect(&c, "WWW-Authenticate: Bearer\r\n");
    client_expect(&c, "Connection: close\r\n");
    client_expect(&c, "{\"error\":\"key\"}");
    assert_true(c.eof && !c.failed);
    assert_int_equal(rig->body_bytes, 0);
    client_send(rig, &c, "some of the body, which is read and dropped");
    assert_false(c.failed);
    ek_virtual_advance(rig->loop, EK_HTTP_LINGER_NS);
    assert_int_equal(ek_http_server_counters(rig->server)->open, 0);
    client_close(rig, &c);
    /* A small rest is skipped and the connection lives on. */
    client_open(rig, &c, "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234");
    assert_int_equal(rig->gones, 2);
    client_send(rig, &c, "56789" GET_ECHO);
    client_expect(&c, "HTTP/1.1 200 OK");
    assert_false(c.eof);
    client_send(rig, &c, "POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789");
    client_expect(&c, "early");
    client_send(rig, &c, GET_ECHO);
    assert_int_equal(client_count(&c, "HTTP/1.1 200"), 3);
    assert_true(rig->body_bytes <= 10);
    client_close(rig, &c);
}

static void expect_continue(struct rig *rig)
{
    struct client c;
    static const char head[] = "POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                               "Expect: 100-continue\r\n\r\n";
    char text[160];
    snprintf(text, sizeof text, head, "echo");
    client_open(rig, &c, text);
    client_expect(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send(rig, &c, "hello");
    client_expect(&c, "\r\n\r\nhello");
    client_close(rig, &c);
    snprintf(text, sizeof text, head, "refuse"); /* the handler does not want the body */
    client_open(rig, &c, text);
    assert_false(client_has(&c, "100 Continue"));
    client_expect(&c, "401");
    assert_true(c.eof);
    client_close(rig, &c);
    snprintf(text, sizeof text, head, "pause"); /* not yet */
    client_open(rig, &c, text);
    assert_false(client_has(&c, "100 Continue"));
    ek_http_resume(rig->last);
    ek_virtual_settle(rig->loop);
    client_expect(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    client_send(rig, &c, "hello");
    client_expect(&c, "\r\n\r\nhello");
    client_close(rig, &c);
}

static void pausing(struct rig *rig)
{
    struct client c;
    size_t len = 300000;
    char *big = malloc(len + 100);
    assert_non_null(big);
    int n = snprintf(big, 100, "POST /pause HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", len);
    memset(big + n, 'b', len);
    big[(size_t)n + len] = '\0';
    client_open(rig, &c, big);
    assert_int_equal(rig->body_bytes, 0);
    ek_virtual_advance(rig->loop, 100 * EK_S_NS); /* the body's deadline stands still */
    assert_int_equal(rig->gones, 0);
    ek_http_resume(rig->last);
    ek_virtual_settle(rig->loop);
    assert_int_equal(rig->body_bytes, len);
    assert_int_equal(client_count(&c, "HTTP/1.1 200"), 1);
    assert_true(c.got.len > len);
    client_close(rig, &c);
    free(big);
}

static void injected_headers(struct rig *rig)
{
    struct client c;
    struct ek_http_header headers[] = {
        {EK_STR("X-Good"), EK_STR("yes \xe4\xbd\xa0")},
        {EK_STR("X-Split"), EK_STR("a\r\nSet-Cookie: b")},
        {EK_STR("Bad Name"), EK_STR("a")},
        {EK_STR("content-length"), EK_STR("5")},
        {EK_STR("Transfer-Encoding"), EK_STR("chunked")},
    };
    client_open(rig, &c, "GET /park HTTP/1.1\r\nHost: x\r\n\r\n");
    ek_http_reply(rig->last, 200, headers, EK_COUNT(headers), EK_STR("ok"));
    ek_virtual_settle(rig->loop);
    client_expect(&c, "X-Good: yes \xe4\xbd\xa0\r\n");
    assert_false(client_has(&c, "Set-Cookie") || client_has(&c, "Bad Name"));
    assert_int_equal(client_count(&c, "ength: "), 1);
    assert_int_equal(ek_http_server_counters(rig->server)->headers_dropped, 4);
    client_close(rig, &c);
}

static void back_pressure(struct rig *rig)
{
    struct client c;
    char block[4096];
    size_t written = 0;
    memset(block, 'x', sizeof block);
    client_open(rig, &c, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
    ek_sock_read(c.sock, false);
    while (ek_http_write(rig->last, ek_str_make(block, sizeof block)) == EK_OK) {
        written += sizeof block;
        assert_true(written < 8u << 20);
    }
    assert_true(ek_http_unsent(rig->last) <= EK_HTTP_UNSENT_BYTES_MAX);
    ek_virtual_settle(rig->loop);
    assert_int_equal(rig->drains, 0);
    ek_sock_read(c.sock, true);
    ek_virtual_settle(rig->loop);
    assert_int_equal(rig->drains, 1);
    ek_http_finish(rig->last, EK_STR(""));
    ek_virtual_settle(rig->loop);
    assert_int_equal(rig->gone[0], EK_REASON_NONE);
    assert_true(c.got.len > written);
    client_close(rig, &c);
}

/* One request cut at every byte, with everything behind it. */
static void every_split(struct rig *rig)
{
    static const char text[] = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" GET_ECHO;
    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        struct client c;
        char first[sizeof text];
        memcpy(first, text, cut);
        first[cut] = '\0';
        rig->heads = rig->gones = 0;
        client_open(rig, &c, first);
        client_send(rig, &c, text + cut);
        client_expect(&c, "\r\n\r\nabcde");
        assert_int_equal(client_count(&c, "HTTP/1.1 200"), 2);
        client_close(rig, &c);
    }
}

#define TEST(name, crumbs) \
    static void test_##name(void **state) \
    { \
        (void)state; \
        run(name, crumbs); \
    }
TEST(keep_alive, true)
TEST(pipelining, true)
TEST(streaming, true)
TEST(begun_together, true)
TEST(old_clients, true)
TEST(head_requests, true)
TEST(known_length, true)
TEST(aborting, true)
TEST(early_answers, true)
TEST(expect_continue, true)
TEST(pausing, false)
TEST(injected_headers, true)
TEST(back_pressure, false)
TEST(every_split, true)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_alive),      cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_streaming),       cmocka_unit_test(test_old_clients),
        cmocka_unit_test(test_begun_together),
        cmocka_unit_test(test_head_requests),   cmocka_unit_test(test_known_length),
        cmocka_unit_test(test_aborting),        cmocka_unit_test(test_early_answers),
        cmocka_unit_test(test_expect_continue), cmocka_unit_test(test_pausing),
        cmocka_unit_test(test_injected_headers), cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_every_split),
    };
    return cmocka_run_group_tests_name("http_server", tests, NULL, NULL);
}
