/* SPDX-License-Identifier: MIT */
/* Attempts that fail: elsewhere before the first token, on from the ids or the text behind it, and an honest
 * end where neither can be. */
#include "door_world.h"

#define PAIR(a, b) "upstreams:\n" \
    "  - {url: 'http://u:1', name: a, dialect: " a ", models: [m], slots: 1, weight: 11}\n" \
    "  - {url: 'http://u:2', name: b, dialect: " b ", models: [m], slots: 1}\n"
#define ASK_USAGE "{\"model\":\"m\",\"stream\":true,\"max_tokens\":50," \
                  "\"stream_options\":{\"include_usage\":true}," \
                  "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define USAGE_OF(p, c, r) \
    "data: {\"id\":\"u\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":[]," \
    "\"usage\":{\"prompt_tokens\":" p ",\"completion_tokens\":" c ",\"total_tokens\":1," \
    "\"completion_tokens_details\":{\"reasoning_tokens\":" r "}}}\n\n"

static const char *sent(struct world *w, size_t call)
{
    return ek_buf_cstr(&the_call(w, call)->body);
}

static void has(const char *text, const char *what)
{
    if (!strstr(text, what)) fail_msg("no \"%s\" in:\n%s", what, text);
}

static void before_the_first_token_another_is_asked(void **state)
{
    (void)state;
    struct world *w = world_new(PAIR("openai", "openai"), 1);
    struct client *c = client_post(w, ASK_STREAM);
    char first[256];
    snprintf(first, sizeof first, "%s", the_call(w, 0)->to);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE);
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_RESET);
    world_pass(w, 100); /* jitter */
    assert_int_equal(w->calls, 2);
    assert_string_not_equal(the_call(w, 1)->to, first);
    play_head(the_call(w, 1), 503);
    play_end(the_call(w, 1));
    world_pass(w, 100);
    assert_int_equal(w->calls, 3); /* both have failed: back to the first */
    assert_string_equal(the_call(w, 2)->to, first);
    play_head(the_call(w, 2), 200);
    play(the_call(w, 2), ROLE SAY("at last") FINISH DONE);
    play_end(the_call(w, 2));
    expect_has(c, "at last");
    expect_not(c, "error");
    assert_int_equal(count_of(c, "\"role\""), 1);
    client_free(w, c);
    world_free(w);
}

static void deepseek_goes_on_by_prefix(void **state)
{
    (void)state;
    struct world *w = world_new(PAIR("deepseek", "deepseek"), 1);
    struct client *c = client_post(w, ASK_USAGE);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE THINK("so \\\"it\\\"") THINK(" is") SAY("for") SAY("ty"));
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_CUT);
    world_pass(w, 100);
    assert_int_equal(w->calls, 2);
    assert_string_not_equal(the_call(w, 1)->to, the_call(w, 0)->to);
    assert_string_equal(the_call(w, 1)->path, "/beta/chat/completions");
    has(sent(w, 1), "{\"role\":\"assistant\",\"content\":\"forty\","
                    "\"reasoning_content\":\"so \\\"it\\\" is\",\"prefix\":true}]");
    has(sent(w, 1), "\"max_tokens\":46");
    play_head(the_call(w, 1), 200);
    play(the_call(w, 1), ROLE SAY("-two") FINISH USAGE_OF("17", "1", "0") DONE);
    play_end(the_call(w, 1));
    expect_has(c, "\"content\":\"-two\"");
    expect_has(c, "[DONE]");
    expect_not(c, "\"error\"");
    assert_int_equal(count_of(c, "\"role\""), 1);
    assert_int_equal(count_of(c, "\"usage\":{"), 1); /* charged once: the prompt once, all that was made */
    expect_has(c, "\"prompt_tokens\":13");
    expect_has(c, "\"completion_tokens\":5");
    expect_has(c, "\"reasoning_tokens\":2");
    expect_has(c, "\"estimated\":true");
    assert_int_equal(w->door->counters.continued, 1);
    assert_int_equal(w->door->counters.prompt_tokens, 13);
    client_free(w, c);
    world_free(w);
}

/* Who waits for the whole answer gets it in one piece, made in two places. */
static void a_whole_answer_goes_on_too(void **state)
{
    (void)state;
    struct world *w = world_new(PAIR("deepseek", "deepseek"), 1);
    struct client *c = client_post(w, ASK_WHOLE);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE THINK("hm") SAY("for") SAY("ty"));
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_CUT);
    world_pass(w, 100);
    assert_int_equal(w->calls, 2);
    has(sent(w, 1), "{\"role\":\"assistant\",\"content\":\"forty\","
                    "\"reasoning_content\":\"hm\",\"prefix\":true}]");
    play_head(the_call(w, 1), 503); /* it will not: then a third time, at the first */
    play_end(the_call(w, 1));
    world_pass(w, 200);
    assert_int_equal(w->calls, 3);
    has(sent(w, 2), "\"prefix\":true}]");
    play_head(the_call(w, 2), 200);
    play(the_call(w, 2), ROLE SAY("-two") FINISH USAGE_OF("17", "1", "0") DONE);
    play_end(the_call(w, 2));
    expect_has(c, "HTTP/1.1 200");
    expect_has(c, "\"content\":\"forty-two\"");
    expect_has(c, "\"reasoning_content\":\"hm\"");
    expect_has(c, "\"prompt_tokens\":14");
    expect_has(c, "\"completion_tokens\":4");
    assert_int_equal(w->door->counters.continued, 1);
    client_free(w, c);
    world_free(w);
}

/* Where nobody can go on with the text it begins anew: nothing of it was heard. */
static void a_whole_answer_begins_anew(void **state)
{
    (void)state;
    struct world *w = world_new(PAIR("openai", "openai"), 1);
    struct client *c = client_post(w, ASK_WHOLE);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("for") SAY("ty"));
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_CUT);
    world_pass(w, 200);
    assert_int_equal(w->calls, 2);
    play_all(the_call(w, 1));
    expect_has(c, "\"content\":\"42\"");
    client_free(w, c);
    world_free(w);
}

static void vllm_goes_on_by_its_flag(void **state)
{
    (void)state;
    struct world *w = world_new(PAIR("vllm", "vllm"), 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE THINK("hm"));
    play(the_call(w, 0), "data: {\"error\":{\"message\":\"out of memory\"}}\n\n");
    the_call(w, 0)->over = true;
    world_pass(w, 100);
    assert_int_equal(w->calls, 2);
    has(sent(w, 1), "{\"role\":\"assistant\",\"content\":\"<think>\\nhm\"}]");
    has(sent(w, 1), "\"continue_final_message\":true");
    has(sent(w, 1), "\"add_generation_prompt\":false");
    play_head(the_call(w, 1), 200);
    play(the_call(w, 1), ROLE THINK("m") SAY("yes"));
    expect_has(c, "\"reasoning_content\":\"m\"");
    /* With an answer begun and a thought before it, nobody can say how its template sets them. */
    play_fail(the_call(w, 1), EK_REASON_UPSTREAM_CUT);
    world_pass(w, 100);
    assert_int_equal(w->calls, 2);
    expect_has(c, "upstream_cut");
    client_free(w, c);
    world_free(w);
}

static void what_cannot_go_on_ends_honestly(void **state)
{
    (void)state;
    static const char *const ask[] = {
        ASK_STREAM,
        "{\"model\":\"m\",\"stream\":true,\"response_format\":{\"type\":\"json_object\"},"
        "\"messages\":[{\"role\":\"user\",\"content\":\"json\"}]}",
        "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
        "{\"role\":\"assistant\",\"content\":\"I\"}]}",
    };
    for (size_t i = 0; i < EK_COUNT(ask); i++) {
        struct world *w = world_new(PAIR("deepseek", "deepseek"), 1);
        struct client *c = client_post(w, ask[i]);
        play_head(the_call(w, 0), 200);
        play(the_call(w, 0), ROLE SAY("be"));
        if (i == 0)
            play(the_call(w, 0), CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"t\",\"type\":\"function\","
                                       "\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}", ""));
        play_fail(the_call(w, 0), EK_REASON_UPSTREAM_STALL);
        world_pass(w, 100);
        assert_int_equal(w->calls, 1);
        expect_has(c, "upstream_stall");
        expect_not(c, "finish_reason\":\"stop");
        client_free(w, c);
        world_free(w);
    }
}

static void a_prompt_is_made_longer(void **state)
{
    (void)state;
    struct world *w = world_new(PAIR("openai", "openai"), 1);
    const char *body = "{\"model\":\"m\",\"stream\":true,\"prompt\":\"once upon\"}";
    char text[512];
    snprintf(text, sizeof text, "POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
             "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    struct client *c = client_send(w, text);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,"
                         "\"text\":\" a time\",\"finish_reason\":null}]}\n\n");
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_RESET);
    world_pass(w, 100);
    assert_int_equal(w->calls, 2);
    has(sent(w, 1), "\"prompt\":\"once upon a time\"");
    client_free(w, c);
    world_free(w);
}

/* Between engines of ours it is the ids, so nothing is guessed. */
static void ours_goes_on_by_ids(void **state)
{
    (void)state;
    struct world *w = world_new(PAIR("evenkeel", "evenkeel"), 1);
    struct client *c = client_post(w, ASK_USAGE);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE CHUNK("{\"content\":\"ab\"}", ",\"ek\":{\"n\":2,\"ids\":[11,42]}"));
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_RESET);
    world_pass(w, 100);
    assert_int_equal(w->calls, 2);
    assert_string_not_equal(the_call(w, 1)->to, the_call(w, 0)->to);
    has(sent(w, 1), "\"prefix\":[11,42]");
    assert_null(strstr(sent(w, 1), "\"assistant\""));
    play_head(the_call(w, 1), 200);
    play(the_call(w, 1), CHUNK("{\"content\":\"c\"}", ",\"ek\":{\"n\":3,\"ids\":[7]}") FINISH
         USAGE_OF("9", "3", "0") DONE);
    play_end(the_call(w, 1));
    expect_has(c, "\"completion_tokens\":3");
    expect_has(c, "\"prompt_tokens\":9");
    expect_not(c, "estimated");
    client_free(w, c);
    world_free(w);
}

/* A stream that trickles keeps every idle timer happy, and nobody reads it. */
static void a_trickle_counts_as_a_stall(void **state)
{
    (void)state;
    struct world *w = world_new(PAIR("deepseek", "deepseek"), 1);
    struct client *c = client_post(w, ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("a"));
    for (int i = 0; i < 5 && !the_call(w, 0)->over; i++) {
        world_pass(w, 20000);
        if (!the_call(w, 0)->over) play(the_call(w, 0), ": keep-alive\n\n" SAY("b"));
    }
    assert_true(the_call(w, 0)->cancelled);
    world_pass(w, 200);
    assert_int_equal(w->calls, 2);
    has(sent(w, 1), "\"content\":\"abb"); /* the other goes on from there */
    for (int i = 0; i < 40; i++) { /* one in 2.5 s: above the floor */
        if (i == 0) play_head(the_call(w, 1), 200);
        play(the_call(w, 1), SAY("c"));
        world_pass(w, 2500);
    }
    assert_false(the_call(w, 1)->over);
    play(the_call(w, 1), FINISH DONE);
    play_end(the_call(w, 1));
    expect_has(c, "[DONE]");
    expect_not(c, "\"error\"");
    client_free(w, c);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_the_first_token_another_is_asked),
        cmocka_unit_test(deepseek_goes_on_by_prefix),
        cmocka_unit_test(a_whole_answer_goes_on_too),
        cmocka_unit_test(a_whole_answer_begins_anew),
        cmocka_unit_test(vllm_goes_on_by_its_flag),
        cmocka_unit_test(what_cannot_go_on_ends_honestly),
        cmocka_unit_test(a_prompt_is_made_longer),
        cmocka_unit_test(ours_goes_on_by_ids),
        cmocka_unit_test(a_trickle_counts_as_a_stall),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
