/* SPDX-License-Identifier: MIT */
/* The waiting rules on virtual time: first words at once, later ones in time, the open status of whole
 * answers, refusals with a reason and a time, those who leave, the end of the door itself. */
#include "door_world.h"

#define KEYS "access:\n  open_on_loopback: false\nkeys:\n  - name: one\n    key: sk-12345678\n"

static void a_waiting_stream_hears_its_place_at_once_and_then_in_time(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy);
    struct client *c = client_post(w, ASK_STREAM);
    expect_has(c, "HTTP/1.1 200");
    expect_has(c, ": queue {\"position\":1,\"eta_ms\":null,"
                  "\"eta_p90_ms\":null,\"reason\":\"measuring\",\"ticket\":\"");
    for (int i = 0; i < 6; i++) {
        size_t before = c->got.len;
        world_pass(w, 10000);
        assert_true(c->got.len > before); /* never silent for longer than 10 s */
    }
    assert_true(count_of(c, ": queue ") <= 8); /* nor talkative when nothing changes */
    play_all(the_call(w, 0));
    play_all(the_call(w, 2));
    expect_has(c, "42");
    struct client *d = client_post(w, ASK_STREAM); /* one is still busy: this one starts at once */
    struct client *e = client_post(w, ASK_STREAM); /* and this one knows how long it takes */
    expect_has(e, "\"reason\":\"busy\"");
    expect_not(e, "null");
    expect_not(d, ": queue");
    client_free(w, c);
    client_free(w, d);
    client_free(w, e);
    leave(w, busy);
}

static void silence_before_the_first_token_is_broken(void **state)
{
    (void)state;
    struct world *w = world_new(ONE, 1);
    struct client *c = client_post(w, ASK_STREAM);
    world_pass(w, 900); /* a refusal by the upstream would still be a true status */
    assert_int_equal(c->got.len, 0);
    world_pass(w, 200);
    expect_has(c, "HTTP/1.1 200");
    expect_has(c, ": queue {\"position\":0,\"eta_ms\":null,\"eta_p90_ms\":null,"
                  "\"reason\":\"handed_over\"}\n\n");
    world_pass(w, 20000);
    assert_int_equal(count_of(c, "handed_over"), 3); /* and every ten seconds */
    play_all(the_call(w, 0));
    expect_has(c, "42");
    client_free(w, c);
    world_free(w);
}

static void a_whole_answer_keeps_its_status_open_then_sends_newlines(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy);
    struct client *c = client_post(w, ASK_WHOLE);
    world_pass(w, 11900);
    assert_int_equal(c->got.len, 0);
    world_pass(w, 200);
    expect_has(c, "HTTP/1.1 200");
    expect_has(c, "\r\n1\r\n\n\r\n"); /* one newline, as a chunk */
    world_pass(w, 20100);
    assert_int_equal(count_of(c, "1\r\n\n\r\n"), 3);
    play_all(the_call(w, 0));
    play_all(the_call(w, 2));
    expect_has(c, "\"content\":\"42\"");
    client_free(w, c);
    leave(w, busy);
}

static void a_committed_whole_answer_that_fails_does_not_look_complete(void **state)
{
    (void)state;
    struct world *w = world_new(ONE "relay:\n  attempts: 1\n", 1);
    struct client *c = client_post(w, ASK_WHOLE);
    world_pass(w, 13000);
    expect_has(c, "HTTP/1.1 200");
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_RESET);
    expect_has(c, "\"finish_reason\":\"insufficient_system_resource\"");
    expect_has(c, "\"code\":\"upstream_reset\"");
    client_free(w, c);
    world_free(w);
}

static void a_full_line_refuses_at_once_with_a_time(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE "queue:\n  waiting_max: 1\n", busy);
    struct client *waits = client_post(w, ASK_STREAM);
    struct client *c = client_post(w, ASK_STREAM);
    expect_has(c, "HTTP/1.1 429");
    expect_has(c, "Retry-After: ");
    expect_has(c, "\"code\":\"queue_full\"");
    expect_has(c, "\"position\":2");
    client_free(w, waits); /* it leaves: its place is free */
    assert_int_equal(ek_desk_counts(w->door->desk).waiting, 0);
    struct client *d = client_post(w, ASK_STREAM);
    expect_has(d, ": queue {\"position\":1");
    client_free(w, c);
    client_free(w, d);
    leave(w, busy);
}

static void keys_are_asked_for_before_the_body(void **state)
{
    (void)state;
    struct world *w = world_new(ONE KEYS, 1);
    struct client *c = client_send(w, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                                      "Content-Length: 900\r\n\r\n");
    expect_has(c, "HTTP/1.1 401");
    expect_has(c, "\"code\":\"missing_api_key\"");
    struct client *d = client_send(w, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                                      "Content-Length: 900\r\n"
                                      "Authorization: Bearer sk-12345679\r\n\r\n");
    expect_has(d, "\"code\":\"invalid_api_key\"");
    struct client *e = client_send(w, "GET /v1/models HTTP/1.1\r\nHost: x\r\n"
                                      "Authorization: Bearer sk-12345678\r\n\r\n");
    expect_has(e, "\"id\":\"m\"");
    struct client *f = client_get(w, "/health");
    expect_has(f, "HTTP/1.1 200");
    client_free(w, c);
    client_free(w, d);
    client_free(w, e);
    client_free(w, f);
    world_free(w);
}

static void browsers_are_let_in_only_where_it_was_said(void **state)
{
    (void)state;
    static const char ask[] = "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                              "Origin: https://page\r\n\r\n";
    struct world *w = world_new(ONE, 1);
    struct client *c = client_send(w, ask);
    expect_has(c, "HTTP/1.1 405");
    expect_not(c, "Access-Control");
    client_free(w, c);
    world_free(w);
    w = world_new(ONE "access:\n  cors_origin: https://page\n", 1);
    c = client_send(w, ask);
    expect_has(c, "HTTP/1.1 204");
    expect_has(c, "Access-Control-Allow-Origin: https://page\r\n");
    expect_has(c, "Authorization");
    struct client *d = client_post(w, ASK_STREAM);
    play_all(the_call(w, 0));
    expect_has(d, "Access-Control-Allow-Origin: https://page\r\n");
    struct client *e = client_get(w, "/nowhere");
    expect_has(e, "Access-Control-Allow-Origin: https://page\r\n");
    client_free(w, c);
    client_free(w, d);
    client_free(w, e);
    world_free(w);
}

static void what_cannot_be_is_refused_with_a_sentence(void **state)
{
    (void)state;
    struct world *w = world_new(ONE, 1);
    static const struct { const char *body, *status, *code; } cases[] = {
        {"{\"model\":\"nobody\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}",
         "HTTP/1.1 404", "model_not_found"},
        {"{\"model\":\"m\",\"messages\":[]", "HTTP/1.1 400", "invalid_json"},
        {"{\"model\":\"m\",\"model\":\"n\",\"messages\":[]}", "HTTP/1.1 400", "duplicate_key"},
        {"{\"model\":\"m\"}", "HTTP/1.1 400", "missing_parameter"},
        {"{\"model\":7,\"messages\":[]}", "HTTP/1.1 400", "invalid_type"},
    };
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        struct client *c = client_post(w, cases[i].body);
        expect_has(c, cases[i].status);
        expect_has(c, cases[i].code);
        client_free(w, c);
    }
    struct client *c = client_get(w, "/nowhere");
    expect_has(c, "HTTP/1.1 404");
    struct client *d = client_get(w, "/v1/chat/completions");
    expect_has(d, "HTTP/1.1 405");
    expect_has(d, "Allow: POST");
    client_free(w, c);
    client_free(w, d);
    assert_int_equal(w->calls, 0);
    world_free(w);
}

static void without_an_upstream_one_waits_a_while_and_is_then_refused(void **state)
{
    (void)state;
    struct world *w = world_new(ONE, 1);
    w->answering = false;
    world_pass(w, 3000);
    struct client *ready = client_get(w, "/ready");
    expect_has(ready, "HTTP/1.1 503");
    struct client *c = client_post(w, ASK_STREAM);
    expect_has(c, "\"reason\":\"engine_down\"");
    world_pass(w, 40000);
    expect_has(c, "\"code\":\"no_upstream\"");
    expect_has(c, "data: [DONE]");
    client_free(w, ready);
    client_free(w, c);
    world_free(w);
}

static void mark_stopped(void *arg) { ((struct world *)arg)->stopped = true; }

static void draining_lets_what_was_accepted_end(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy);
    struct client *waits = client_post(w, ASK_STREAM);
    ek_door_drain(w->door, mark_stopped, w);
    ek_virtual_settle(w->loop);
    assert_false(w->stopped);
    play_all(the_call(w, 0));
    play_all(the_call(w, 1));
    assert_int_equal(w->calls, 3);
    play_all(the_call(w, 2));
    expect_has(waits, "42");
    world_pass(w, 5000);
    assert_true(w->stopped);
    client_free(w, waits);
    leave(w, busy);
}

static void draining_ends_honestly_at_its_deadline(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE "drain:\n  deadline: 5s\n", busy);
    struct client *waits = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("half"));
    ek_door_drain(w->door, mark_stopped, w);
    world_pass(w, 10000);
    assert_true(w->stopped);
    expect_has(busy[0], "half");
    expect_has(busy[0], "\"code\":\"draining\"");
    expect_has(busy[0], "data: [DONE]");
    expect_has(busy[1], "handed_over"); /* it had heard that already, so the end is an event */
    expect_has(busy[1], "\"code\":\"draining\"");
    expect_has(waits, "\"code\":\"draining\"");
    assert_true(the_call(w, 0)->cancelled && the_call(w, 1)->cancelled);
    client_free(w, waits);
    leave(w, busy);
}

static void the_numbers_are_there(void **state)
{
    (void)state;
    struct client *busy[2];
    struct world *w = busy_world(ONE, busy);
    struct client *waits = client_post(w, ASK_STREAM);
    struct client *m = client_get(w, "/metrics");
    expect_has(m, "evenkeel_running 2\n");
    expect_has(m, "evenkeel_waiting{tier=\"default\"} 1\n");
    expect_has(m, "evenkeel_upstream_up{upstream=\"u:1\"} 1\n");
    expect_has(m, "evenkeel_connections 4\n");
    expect_has(m, "evenkeel_time_to_first_token_seconds_bucket{kind=\"thought\",le=\"600\"} 0\n");
    client_free(w, m);
    client_free(w, waits);
    leave(w, busy);
}

static void a_waiting_request_is_small(void **state)
{
    (void)state;
    /* Beside it: the connection (some 200 bytes) and the loop's socket. 1 kB is the promise. */
    assert_true(sizeof(struct ek_door_request) <= 320);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_waiting_stream_hears_its_place_at_once_and_then_in_time),
        cmocka_unit_test(silence_before_the_first_token_is_broken),
        cmocka_unit_test(a_whole_answer_keeps_its_status_open_then_sends_newlines),
        cmocka_unit_test(a_committed_whole_answer_that_fails_does_not_look_complete),
        cmocka_unit_test(a_full_line_refuses_at_once_with_a_time),
        cmocka_unit_test(keys_are_asked_for_before_the_body),
        cmocka_unit_test(browsers_are_let_in_only_where_it_was_said),
        cmocka_unit_test(what_cannot_be_is_refused_with_a_sentence),
        cmocka_unit_test(without_an_upstream_one_waits_a_while_and_is_then_refused),
        cmocka_unit_test(draining_lets_what_was_accepted_end),
        cmocka_unit_test(draining_ends_honestly_at_its_deadline),
        cmocka_unit_test(the_numbers_are_there),
        cmocka_unit_test(a_waiting_request_is_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
