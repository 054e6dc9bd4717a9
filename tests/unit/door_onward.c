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

/* One will not have our key, and the other is down just now: whoever asks is not the one to pay for that. */
static void another_that_rests_is_waited_for(void **state)
{
    (void)state;
    struct world *w = world_new(PAIR("openai", "openai"), 1);
    struct client *c = client_post(w, ASK_STREAM);
    char first[256];
    snprintf(first, sizeof first, "%s", the_call(w, 0)->to);
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_CONNECT);
    world_pass(w, 10);
    assert_int_equal(w->calls, 2);
    assert_string_not_equal(the_call(w, 1)->to, first);
    play_head(the_call(w, 1), 401);
    play_end(the_call(w, 1));
    for (int i = 0; i < 100 && w->calls == 2; i++) world_pass(w, 100);
    expect_not(c, "502");
    assert_int_equal(w->calls, 3);
    assert_string_equal(the_call(w, 2)->to, first);
    play_head(the_call(w, 2), 200);
    play(the_call(w, 2), ROLE SAY("at last") FINISH DONE);
    play_end(the_call(w, 2));
    expect_has(c, "at last");
    struct client *d = client_post(w, ASK_STREAM); /* where nobody ever has it, that is said, and soon */
    for (size_t call = 3; call < w->calls; call++) {
        play_head(the_call(w, call), 401);
        play_end(the_call(w, call));
        for (int i = 0; i < 100 && w->calls == call + 1; i++) world_pass(w, 100);
    }
    assert_in_range(w->calls, 5, 3 + w->door->config->relay.attempts_max);
    expect_has(d, "HTTP/1.1 502");
    client_free(w, c);
    client_free(w, d);
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

/* A machine starved of processors: steps of nine seconds, looks that are not answered in time. It is the only
 * one, it works, and all of its streams are as slow. */
static void who_is_starved_keeps_its_work(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n  - {url: 'http://u:1', name: a, dialect: openai, models: [m], "
                                "slots: 2}\n", 1);
    struct client *c[2] = {client_post(w, ASK_STREAM), client_post(w, ASK_STREAM)};
    assert_int_equal(w->calls, 2);
    for (size_t i = 0; i < 2; i++) {
        play_head(the_call(w, i), 200);
        play(the_call(w, i), ROLE SAY("a"));
    }
    w->fault = EK_REASON_UPSTREAM_TIMEOUT;
    w->answering = false;
    for (int step = 0; step < 40; step++) {
        world_pass(w, 9000);
        for (size_t i = 0; i < 2; i++) play(the_call(w, i), SAY("b"));
        assert_true(ek_pool_load(w->door->pool, 0).up);
    }
    assert_int_equal(w->calls, 2);
    assert_int_equal(ek_pool_health(w->door->pool, 0)->state, EK_HEALTH_CLOSED);
    for (size_t i = 0; i < 2; i++) {
        play(the_call(w, i), FINISH DONE);
        play_end(the_call(w, i));
        expect_has(c[i], "[DONE]");
        client_free(w, c[i]);
    }
    world_pass(w, 60000); /* nothing flows any more: now silence is silence */
    assert_false(ek_pool_load(w->door->pool, 0).up);
    world_free(w);
}

/* Asks so often; *count of them were sent to u:1. */
static void ask_until(struct world *w, struct client **c, uint32_t clients, uint32_t *call, uint32_t *count)
{
    *count = 0;
    for (uint32_t i = 0; i < clients; i++) {
        c[i] = client_post(w, ASK_STREAM);
        assert_int_equal(w->calls, i + 1);
        if (strcmp(the_call(w, i)->to, "u:1") == 0) call[(*count)++] = i;
    }
}

#define ROOMY(d) "upstreams:\n" \
    "  - {url: 'http://u:1', name: a, dialect: " d ", models: [m], slots: 16}\n" \
    "  - {url: 'http://u:2', name: b, dialect: " d ", models: [m], slots: 16}\n"

/* With somewhere else to go: one stream that is slow among quick ones is cut, all that are slow together are
 * not, nor is one whose engine says itself that it is so slow. */
static void slow_is_slower_than_the_others(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        struct world *w = world_new(kind == 2 ? ROOMY("evenkeel") : ROOMY("deepseek"), 1);
        uint32_t streams = 1, call[8] = {0}, clients = kind == 2 ? 1 : 8;
        struct client *c[8];
        if (kind == 2) c[0] = client_post(w, ASK_STREAM); /* wherever it goes */
        else ask_until(w, c, clients, call, &streams);
        assert_true(kind == 2 || streams >= 2);
        for (uint32_t i = 0; i < streams; i++) {
            play_head(the_call(w, call[i]), 200);
            play(the_call(w, call[i]), ROLE SAY("a"));
        }
        if (kind == 2) w->load_more = ",\"decode_tps\":[[1,0.1],[8,0.4]]";
        for (int s = 0; s < 200; s++) {
            world_pass(w, 1000);
            for (uint32_t i = 0; i < streams; i++) {
                bool quick = kind == 0 && i > 0;
                struct call *one = the_call(w, call[i]);
                if (!one->over && (quick || s % 10 == 0)) play(one, SAY("b"));
            }
        }
        assert_int_equal(w->calls, kind == 0 ? clients + 1 : clients);
        assert_int_equal(the_call(w, call[0])->cancelled, kind == 0);
        if (kind == 0) assert_string_equal(the_call(w, clients)->to, "u:2");
        for (uint32_t i = 0; i < clients; i++) client_free(w, c[i]);
        world_free(w);
    }
}

/* Some caught without a first token by the death of their machine, another is there: they go at once. */
static void who_was_caught_goes_at_once(void **state)
{
    (void)state;
    struct world *w = world_new(ROOMY("openai"), 1);
    struct client *c[8];
    uint32_t call[8], caught = 0;
    ask_until(w, c, EK_COUNT(c), call, &caught);
    assert_in_range(caught, 1, 4);
    size_t before = w->calls;
    for (uint32_t i = 0; i < caught; i++) play_fail(the_call(w, call[i]), EK_REASON_UPSTREAM_RESET);
    assert_int_equal(w->calls, before + caught); /* no time has passed */
    for (size_t i = before; i < w->calls; i++) assert_string_equal(the_call(w, i)->to, "u:2");
    play_fail(the_call(w, before), EK_REASON_UPSTREAM_RESET);
    assert_int_equal(w->calls, before + caught); /* both have failed it now: with jitter */
    world_pass(w, 400);
    assert_int_equal(w->calls, before + caught + 1);
    for (size_t i = 0; i < EK_COUNT(c); i++) client_free(w, c[i]);
    world_free(w);
}

/* Nobody has a way to go on from the text, and the tier would rather have a patched answer than none: another
 * is shown it and asked to go on, and the stream says so. Never in a tool call, a promised form, behind a
 * thought alone, nor where the tier does not ask for it. */
static void on_demand_it_is_labelled(void **state)
{
    (void)state;
    static const char *const yaml = PAIR("openai", "openai") "tiers:\n  - {name: default, reprompt: true}\n";
    static const char *const form =
        "{\"model\":\"m\",\"stream\":true,\"response_format\":{\"type\":\"json_object\"},"
        "\"messages\":[{\"role\":\"user\",\"content\":\"json\"}]}";
    for (int kind = 0; kind < 5; kind++) {
        struct world *w = world_new(kind == 4 ? PAIR("openai", "openai") : yaml, 1);
        struct client *c = client_post(w, kind == 2 ? form : ASK_USAGE);
        char first[256];
        snprintf(first, sizeof first, "%s", the_call(w, 0)->to);
        play_head(the_call(w, 0), 200);
        play(the_call(w, 0), ROLE);
        if (kind == 3) play(the_call(w, 0), CHUNK("{\"reasoning_content\":\"hm\"}", ""));
        else play(the_call(w, 0), SAY("Four\\nis"));
        if (kind == 1)
            play(the_call(w, 0), CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"t\",\"type\":\"function\","
                                       "\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]}", ""));
        play_fail(the_call(w, 0), EK_REASON_UPSTREAM_RESET);
        world_pass(w, 200);
        if (kind > 0) {
            assert_int_equal(w->calls, 1);
            expect_has(c, "upstream_reset");
            expect_not(c, "reprompt");
            client_free(w, c);
            world_free(w);
            continue;
        }
        assert_int_equal(w->calls, 2);
        assert_string_not_equal(the_call(w, 1)->to, first);
        has(sent(w, 1), "{\"role\":\"assistant\",\"content\":\"Four\\nis\"},{\"role\":\"user\",\"content\":"
                        "\"Your answer was cut off");
        has(sent(w, 1), "\"max_tokens\":49");
        expect_has(c, ": continued {\"how\":\"reprompt\",\"after_tokens\":1}");
        play_head(the_call(w, 1), 200);
        play(the_call(w, 1), ROLE CHUNK("{\"reasoning_content\":\"go on\"}", "") SAY(" enough.") FINISH
             USAGE_OF("40", "5", "2") DONE);
        play_end(the_call(w, 1));
        expect_has(c, "\"content\":\" enough.\"");
        expect_has(c, "\"reasoning_content\":\"go on\""); /* its own thought, and not hidden */
        expect_has(c, "\"completion_tokens\":6");
        expect_has(c, "\"continued\":\"reprompt\",\"estimated\":true");
        expect_has(c, "[DONE]");
        assert_int_equal(count_of(c, "\"role\""), 1);
        client_free(w, c);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_the_first_token_another_is_asked),
        cmocka_unit_test(another_that_rests_is_waited_for),
        cmocka_unit_test(deepseek_goes_on_by_prefix),
        cmocka_unit_test(a_whole_answer_goes_on_too),
        cmocka_unit_test(a_whole_answer_begins_anew),
        cmocka_unit_test(vllm_goes_on_by_its_flag),
        cmocka_unit_test(what_cannot_go_on_ends_honestly),
        cmocka_unit_test(a_prompt_is_made_longer),
        cmocka_unit_test(ours_goes_on_by_ids),
        cmocka_unit_test(a_trickle_counts_as_a_stall),
        cmocka_unit_test(on_demand_it_is_labelled),
        cmocka_unit_test(who_is_starved_keeps_its_work),
        cmocka_unit_test(slow_is_slower_than_the_others),
        cmocka_unit_test(who_was_caught_goes_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
