/* SPDX-License-Identifier: MIT */
/* The virtual exchange keeps the contract of http/exchange.h: scripts, deadlines, pause, cancel. */
#include "cm.h"

#include "base/loop_virtual.h"
#include "http/exchange_virtual.h"

struct asking {
    struct ek_exchange *x;
    size_t heads, datas, ends, fails;
    int status;
    enum ek_reason why;
    bool pause_at_data;
};

static void on_head(void *arg, struct ek_exchange *x, const struct ek_http_head *head)
{
    struct asking *a = arg;
    struct ek_str v;
    (void)x;
    a->heads++;
    a->status = head->status;
    if (head->header_count) assert_int_equal(ek_http_head_find(head, EK_STR("retry-after"), &v), 1);
}

static void on_data(void *arg, struct ek_exchange *x, const char *data, size_t len)
{
    struct asking *a = arg;
    a->datas++;
    assert_true(ek_str_eq(ek_str_make(data, len), EK_STR("data: x\n\n")));
    if (a->pause_at_data) ek_exchange_pause(x, true);
}

static void on_end(void *arg, struct ek_exchange *x)
{
    (void)x;
    ((struct asking *)arg)->ends++;
}

static void on_fail(void *arg, struct ek_exchange *x, enum ek_reason why, const char *detail)
{
    struct asking *a = arg;
    (void)x;
    assert_non_null(detail);
    a->fails++;
    a->why = why;
}

static const struct ek_exchange_events events = {
    .head = on_head,
    .data = on_data,
    .end = on_end,
    .fail = on_fail,
};

static struct ek_loop *loop;
static struct ek_exchange_client *client;

static int setup(void **state)
{
    struct ek_virtual_options o = {.seed = 1};
    (void)state;
    loop = ek_loop_new_virtual(&o);
    client = ek_exchange_virtual_new(loop);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ek_exchange_client_free(&client);
    ek_virtual_settle(loop);
    ek_loop_free(&loop);
    return 0;
}

static void start(struct asking *a)
{
    struct ek_exchange_target t;
    char why[128];
    struct iovec body[2] = {{"{\"a\":", 5}, {"1}", 2}};
    assert_int_equal(ek_exchange_target_parse(EK_STR("http://up:1/v1"), &t, why, sizeof why), EK_OK);
    struct ek_exchange_request r = {.target = &t, .method = EK_STR("POST"), .path = EK_STR("/chat"),
                                    .body = body, .body_count = 2, .first_byte_ns = 5 * EK_S_NS,
                                    .idle_ns = 3 * EK_S_NS};
    a->x = ek_exchange_start(client, &r, &events, a);
    assert_int_equal(a->heads + a->fails, 0);
}

static const struct ek_http_header retry = {{"Retry-After", 11}, {"7", 1}};
#define DATA(ms) {.kind = EK_VIRTUAL_DATA, .after_ns = (ms) * EK_MS_NS, .bytes = {"data: x\n\n", 9}}

static void test_script(void **state)
{
    (void)state;
    static const struct ek_virtual_step steps[] = {
        {.kind = EK_VIRTUAL_HEAD, .after_ns = 100 * EK_MS_NS, .status = 200},
        DATA(50), DATA(50), {.kind = EK_VIRTUAL_END, .after_ns = EK_MS_NS}};
    static const struct ek_virtual_step busy[] = {
        {.kind = EK_VIRTUAL_HEAD, .status = 503, .headers = &retry, .header_count = 1},
        {.kind = EK_VIRTUAL_FAIL, .reason = EK_REASON_UPSTREAM_CUT}};
    struct asking a = {0}, b = {0}, c = {0};
    ek_exchange_virtual_script(client, steps, EK_COUNT(steps));
    ek_exchange_virtual_script(client, busy, EK_COUNT(busy));
    start(&a);
    start(&b);
    start(&c);
    ek_virtual_settle(loop);
    assert_int_equal(b.status, 503);
    assert_int_equal(b.why, EK_REASON_UPSTREAM_CUT);
    assert_int_equal(c.why, EK_REASON_UPSTREAM_CONNECT); /* no script left */
    assert_int_equal(a.heads, 0);
    ek_virtual_advance(loop, 150 * EK_MS_NS);
    assert_int_equal(a.heads, 1);
    assert_int_equal(a.datas, 1);
    ek_virtual_advance(loop, 51 * EK_MS_NS);
    assert_int_equal(a.datas, 2);
    assert_int_equal(a.ends, 1);
    assert_int_equal(ek_exchange_virtual_asked_count(client), 3);
    const struct ek_virtual_asked *asked = ek_exchange_virtual_asked(client, 0);
    assert_string_equal(asked->path, "/v1/chat");
    assert_string_equal(asked->address, "up:1");
    assert_true(ek_str_eq(asked->body, EK_STR("{\"a\":1}")));
}

static void test_deadlines_pause_cancel(void **state)
{
    (void)state;
    static const struct ek_virtual_step hang[] = {{.kind = EK_VIRTUAL_HANG}};
    static const struct ek_virtual_step stall[] = {
        {.kind = EK_VIRTUAL_HEAD, .status = 200}, DATA(0), DATA(0), {.kind = EK_VIRTUAL_HANG}};
    struct asking a = {0}, b = {0}, c = {.pause_at_data = true}, d = {0};
    ek_exchange_virtual_script(client, hang, 1);
    ek_exchange_virtual_script(client, stall, EK_COUNT(stall));
    ek_exchange_virtual_script(client, stall, EK_COUNT(stall));
    ek_exchange_virtual_script(client, hang, 1);
    start(&a);
    start(&b);
    start(&c);
    start(&d);
    ek_exchange_cancel(&d.x);
    ek_virtual_advance(loop, 10 * EK_S_NS);
    assert_int_equal(a.why, EK_REASON_UPSTREAM_TIMEOUT);
    assert_int_equal(b.why, EK_REASON_UPSTREAM_STALL);
    assert_int_equal(b.datas, 2);
    assert_int_equal(c.datas, 1); /* paused: neither data nor deadline */
    assert_int_equal(c.fails, 0);
    c.pause_at_data = false;
    ek_exchange_pause(c.x, false);
    ek_virtual_advance(loop, EK_S_NS);
    assert_int_equal(c.datas, 2);
    assert_int_equal(d.heads + d.ends + d.fails, 0);
    assert_true(ek_exchange_virtual_asked(client, 3)->cancelled);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_script, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deadlines_pause_cancel, setup, teardown),
    };
    return cmocka_run_group_tests_name("http_virtual", tests, NULL, NULL);
}
