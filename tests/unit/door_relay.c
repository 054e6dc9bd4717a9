/* SPDX-License-Identifier: MIT */
/* What the door does with answers: relays and collects them, numbers events, hides what was not asked
 * for, goes again or goes on when an upstream fails, passes errors on, holds back for slow readers. */
#include "door_world.h"

#define N2 "{\"model\":\"m\",\"n\":2,\"stream\":true,\"messages\":" \
           "[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define OURS "upstreams:\n  - url: http://u:1\n    dialect: evenkeel\n    models: [m]\n"
#define OTHER "upstreams:\n  - url: http://u:1\n    dialect: openai\n    slots: 1\n" \
              "    models: [m, \"nick=m\"]\n"

static void a_stream_is_relayed(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER, 1);
    struct client *c = client_post(w, ASK_STREAM);
    struct call *up = the_call(w, 0);
    assert_string_equal(up->path, "/v1/chat/completions");
    const char *sent = ek_buf_cstr(&up->body);
    assert_non_null(strstr(sent, "\"stream\":true"));
    assert_non_null(strstr(sent, "\"include_usage\":true"));
    assert_non_null(strstr(sent, "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"));
    assert_null(strstr(sent, "\"ek\""));
    assert_int_equal(c->got.len, 0); /* it started at once: nothing to say before the first chunk */
    play_head(up, 200);
    play(up, ROLE THINK("so") SAY("42"));
    expect_has(c, "HTTP/1.1 200");
    expect_has(c, "X-Stream-Id: ");
    expect_has(c, "X-Accel-Buffering: no");
    expect_has(c, "id: 2\n");
    expect_has(c, "\"reasoning_content\":\"so\"");
    play(up, FINISH USAGE DONE);
    expect_has(c, "\"finish_reason\":\"stop\"");
    expect_not(c, "prompt_tokens"); /* not asked for */
    expect_not(c, "up-1");          /* the id is the door's */
    expect_has(c, "chatcmpl-");
    expect_has(c, "data: [DONE]\n\n");
    assert_int_equal(ek_desk_counts(w->door->desk).running, 0);
    assert_int_equal(w->door->counters.answer_tokens, 1);
    assert_int_equal(w->door->counters.thought_tokens, 1);
    play_end(up);
    client_free(w, c);
    world_free(w);
}

/* The upstream has said [DONE] and keeps its connection: nobody waits for that, and a door that leaves in
 * this moment leaves nothing behind (the loop's end looks for timers). */
static void a_door_leaves_while_an_upstream_hangs_on(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("42") FINISH DONE);
    world_pass(w, 1);
    expect_has(c, "data: [DONE]");
    client_free(w, c);
    world_free(w);
}

static void usage_comes_when_it_is_asked_for(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER, 1);
    const char *ask = "{\"model\":\"nick\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                      "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    struct client *c = client_post(w, ask);
    play_head(the_call(w, 0), 200);
    assert_non_null(strstr(ek_buf_cstr(&the_call(w, 0)->body), "\"model\":\"m\""));
    play(the_call(w, 0), ROLE SAY("42") FINISH USAGE DONE);
    expect_has(c, "\"prompt_tokens\":3");
    expect_has(c, "\"model\":\"nick\"");
    play_end(the_call(w, 0));
    struct client *c2 = client_post(w, ask); /* an upstream that tells none: the door's own count */
    play_head(the_call(w, 1), 200);
    play(the_call(w, 1), ROLE SAY("4") SAY("2") FINISH DONE);
    expect_has(c2, "\"completion_tokens\":2");
    play_end(the_call(w, 1));
    client_free(w, c);
    client_free(w, c2);
    world_free(w);
}

static void a_whole_answer_is_collected(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER, 1);
    struct client *c = client_post(w, ASK_WHOLE);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE THINK("so") SAY("4") SAY("2") FINISH USAGE DONE);
    expect_has(c, "HTTP/1.1 200");
    expect_has(c, "Content-Length: ");
    expect_has(c, "\"content\":\"42\"");
    expect_has(c, "\"reasoning_content\":\"so\"");
    expect_has(c, "\"object\":\"chat.completion\"");
    expect_has(c, "\"prompt_tokens\":3");
    play_end(the_call(w, 0));
    client_free(w, c);
    world_free(w);
}

#define OUR(text, n, ids) CHUNK("{\"content\":\"" text "\"}", ",\"ek\":{\"n\":" n ",\"ids\":[" ids "]}")

static void our_engine_dies_and_the_answer_goes_on(void **state)
{
    (void)state;
    struct world *w = world_new(OURS, 1);
    struct client *c = client_post(w, ASK_STREAM);
    assert_non_null(strstr(ek_buf_cstr(&the_call(w, 0)->body), "\"ek\":{\"request_id\":"));
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE OUR("one ", "2", "11,12") OUR("two ", "3", "13"));
    expect_has(c, "two ");
    expect_not(c, "\"ek\"");
    w->answering = false;
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_RESET);
    play_fail(the_call(w, 1), EK_REASON_UPSTREAM_CONNECT); /* it went again, and nobody was there */
    expect_has(c, "\"reason\":\"engine_restarted\"");
    world_pass(w, 2000);
    assert_int_equal(w->calls, 2);
    w->answering = true;
    world_pass(w, 2000);
    assert_int_equal(w->calls, 3);
    assert_non_null(strstr(ek_buf_cstr(&the_call(w, 2)->body), "\"prefix\":[11,12,13]"));
    play_head(the_call(w, 2), 200);
    play(the_call(w, 2), OUR("three", "4", "14") FINISH DONE);
    expect_has(c, "three");
    expect_has(c, "data: [DONE]");
    assert_int_equal(count_of(c, "two "), 1);
    assert_int_equal(count_of(c, "\"role\""), 1);
    assert_int_equal(count_of(c, "id: 5\n"), 1); /* the numbering goes on: role, 2, 1, finish */
    assert_int_equal(w->door->counters.continued, 1);
    play_end(the_call(w, 2));
    client_free(w, c);
    world_free(w);
}

static void another_upstream_that_dies_in_mid_answer_is_admitted(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("half"));
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_CUT);
    expect_has(c, "half");
    expect_has(c, "\"code\":\"upstream_cut\"");
    expect_has(c, "data: [DONE]");
    struct client *whole = client_post(w, ASK_WHOLE); /* nothing was delivered to this one: again */
    world_pass(w, 2000);
    play_head(the_call(w, 1), 200);
    play(the_call(w, 1), ROLE SAY("half"));
    play_fail(the_call(w, 1), EK_REASON_UPSTREAM_CUT);
    world_pass(w, 2000);
    play_head(the_call(w, 2), 200);
    play(the_call(w, 2), ROLE SAY("all of it") FINISH USAGE DONE);
    expect_has(whole, "\"content\":\"all of it\"");
    play_end(the_call(w, 2));
    client_free(w, c);
    client_free(w, whole);
    world_free(w);
}

static void before_the_first_token_another_attempt_is_free(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER "relay:\n  attempts: 3\n", 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 503);
    play_end(the_call(w, 0));
    assert_int_equal(w->calls, 1); /* not in the same breath */
    world_pass(w, 2500);
    play_head(the_call(w, 1), 200);
    play(the_call(w, 1), ROLE);
    play_fail(the_call(w, 1), EK_REASON_UPSTREAM_RESET);
    world_pass(w, 3000);
    play_head(the_call(w, 2), 200);
    play(the_call(w, 2), ROLE SAY("42") FINISH DONE);
    expect_has(c, "42");
    assert_int_equal(count_of(c, "\"role\""), 1);
    play_end(the_call(w, 2));
    struct client *d = client_post(w, ASK_STREAM); /* and three failures are admitted */
    for (size_t i = 3; i < 6; i++) {
        play_head(the_call(w, i), 503);
        play_end(the_call(w, i));
        for (int k = 0; k < 50 && w->calls == i + 1; k++) world_pass(w, 50); /* until it goes again */
    }
    assert_int_equal(w->calls, 6);
    expect_has(d, "HTTP/1.1 503");
    expect_has(d, "Retry-After: 7");
    expect_has(d, "\"code\":\"upstream_busy\"");
    client_free(w, c);
    client_free(w, d);
    world_free(w);
}

static void an_upstreams_4xx_passes_with_its_body(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER, 1);
    struct client *c = client_post(w, ASK_WHOLE);
    play_head(the_call(w, 0), 422);
    play(the_call(w, 0), "{\"error\":{"
                         "\"message\":\"no such tool\",\"type\":\"x\",\"param\":null,\"code\":\"y\"}}");
    play_end(the_call(w, 0));
    expect_has(c, "HTTP/1.1 422");
    expect_has(c, "no such tool");
    expect_has(c, "X-Should-Retry: false");
    struct client *d = client_post(w, ASK_WHOLE); /* but its view of our key is not the caller's business */
    play_head(the_call(w, 1), 401);
    play_end(the_call(w, 1));
    expect_has(d, "HTTP/1.1 502");
    client_free(w, c);
    client_free(w, d);
    world_free(w);
}

#define SECOND(delta, finish) \
    "data: {\"id\":\"up-1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":" \
    "[{\"index\":1,\"delta\":" delta ",\"finish_reason\":" finish "}]}\n\n"

static void several_choices_end_when_each_of_them_has(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER, 1);
    struct client *both = client_post(w, N2);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), SAY("a") SECOND("{\"content\":\"b\"}", "null") FINISH);
    play(the_call(w, 0), SECOND("{}", "\"stop\""));
    play_end(the_call(w, 0)); /* no [DONE], but nothing is missing */
    expect_has(both, "data: [DONE]");
    expect_not(both, "\"error\"");
    struct client *one = client_post(w, N2); /* a server that knows no n */
    play_head(the_call(w, 1), 200);
    play(the_call(w, 1), SAY("a") FINISH DONE);
    expect_not(one, "\"error\"");
    play_end(the_call(w, 1));
    struct client *cut = client_post(w, N2);
    play_head(the_call(w, 2), 200);
    play(the_call(w, 2), SAY("a") SECOND("{\"content\":\"b\"}", "null") FINISH DONE);
    expect_has(cut, "\"code\":\"upstream_cut\"");
    client_free(w, both);
    client_free(w, one);
    client_free(w, cut);
    world_free(w);
}

static void a_caller_who_leaves_frees_the_upstream(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER, 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4"));
    client_free(w, c);
    assert_true(the_call(w, 0)->cancelled);
    assert_int_equal(ek_desk_counts(w->door->desk).running, 0);
    assert_int_equal(w->door->counters.gone, 1);
    world_free(w);
}

static void a_slow_reader_holds_its_upstream_back(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER, 1);
    struct client *c = client_post(w, ASK_STREAM);
    ek_sock_read(c->sock, false);
    play_head(the_call(w, 0), 200);
    unsigned said = 0;
    while (!the_call(w, 0)->paused && said < 2000) {
        play(the_call(w, 0), SAY("0123456789012345678901234567890123456789"));
        said++;
    }
    assert_true(said < 2000);
    ek_sock_read(c->sock, true);
    ek_virtual_settle(w->loop);
    assert_false(the_call(w, 0)->paused);
    play(the_call(w, 0), FINISH DONE);
    assert_int_equal(count_of(c, "0123456789012345678901234567890123456789"), said);
    play_end(the_call(w, 0));
    client_free(w, c);
    world_free(w);
}

static void a_stall_is_noticed_by_data_not_by_bytes(void **state)
{
    (void)state;
    struct world *w = world_new(OTHER "relay:\n  stall: 5s\n  attempts: 1\n", 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("4"));
    for (int i = 0; i < 6 && !the_call(w, 0)->over; i++) {
        play(the_call(w, 0), ": keep-alive\n\n");
        world_pass(w, 1000);
    }
    assert_true(the_call(w, 0)->cancelled);
    expect_has(c, "\"code\":\"upstream_stall\"");
    client_free(w, c);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_is_relayed),
        cmocka_unit_test(a_door_leaves_while_an_upstream_hangs_on),
        cmocka_unit_test(usage_comes_when_it_is_asked_for),
        cmocka_unit_test(a_whole_answer_is_collected),
        cmocka_unit_test(our_engine_dies_and_the_answer_goes_on),
        cmocka_unit_test(another_upstream_that_dies_in_mid_answer_is_admitted),
        cmocka_unit_test(before_the_first_token_another_attempt_is_free),
        cmocka_unit_test(an_upstreams_4xx_passes_with_its_body),
        cmocka_unit_test(several_choices_end_when_each_of_them_has),
        cmocka_unit_test(a_caller_who_leaves_frees_the_upstream),
        cmocka_unit_test(a_slow_reader_holds_its_upstream_back),
        cmocka_unit_test(a_stall_is_noticed_by_data_not_by_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
