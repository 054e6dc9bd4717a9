/* SPDX-License-Identifier: MIT */
/* Requests to `auto`: the best model of the list while it can, the next one under load, said aloud. */
#include "door_world.h"

#define HOUSE "upstreams:\n" \
              "  - {url: 'http://u:1', dialect: evenkeel, models: [m]}\n" \
              "  - {url: 'http://v:1', dialect: openai, slots: 3, models: [small]}\n" \
              "  - {url: 'http://w:1', dialect: openai, slots: 3, models: [other]}\n" \
              "tiers:\n  - {name: default, delay_target: 1s, models: [m, small]}\n" \
              "queue: {waiting_max: 400, auto: [%s]}\n"
#define ASK_AUTO "{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}"
#define AUTO_USAGE \
    "data: {\"id\":\"up-1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":" \
    "[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":402,\"total_tokens\":405," \
    "\"completion_tokens_details\":{\"reasoning_tokens\":400}}}\n\n"

static struct world *house(const char *list)
{
    char yaml[800];
    snprintf(yaml, sizeof yaml, HOUSE, list);
    return world_new(yaml, 1);
}

/* Two who ask the same in the same words could be one who asks again. */
static struct client *post_auto(struct world *w, int i)
{
    char body[160];
    snprintf(body, sizeof body, "{\"model\":\"auto\",\"seed\":%d,\"messages\":[{\"role\":\"user\","
             "\"content\":\"hi\"}]}", i);
    return client_post(w, body);
}

static struct client *post_keeping(struct world *w, const char *body)
{
    char text[1024];
    snprintf(text, sizeof text, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Keep-Thinking: 1\r\n"
             "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    return client_send(w, text);
}

static void play_thought(struct call *up)
{
    play_head(up, 200);
    play(up, ROLE THINK("hm") SAY("42") FINISH AUTO_USAGE DONE);
    play_end(up);
}

static bool at_small(const struct call *c) { return strncmp(c->to, "v:", 2) == 0 || strcmp(c->to, "v") == 0; }

/* Plays what is there, two seconds each, until so many were served; what is at the small one ends at once. */
static void serve(struct world *w, size_t *played, size_t until)
{
    while (*played < until) {
        struct call *c = the_call(w, (*played)++);
        if (!at_small(c)) world_pass(w, 2000);
        play_thought(c);
        world_pass(w, 10);
    }
}

static void the_best_one_while_there_is_room(void **state)
{
    (void)state;
    struct world *w = house("gone, m, small");
    struct client *c = client_post(w, ASK_AUTO);
    assert_int_equal(w->calls, 1);
    assert_non_null(strstr(ek_buf_cstr(&the_call(w, 0)->body), "\"model\":\"m\""));
    play_thought(the_call(w, 0));
    expect_has(c, "X-Auto-Model: m\r\n");
    expect_has(c, "\"model\":\"m\"");
    client_free(w, c);
    c = client_post(w, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    play_thought(the_call(w, 1));
    expect_not(c, "X-Auto-Model");
    client_free(w, c);
    c = client_get(w, "/v1/models");
    expect_has(c, "\"id\":\"auto\"");
    expect_has(c, "\"models\":[\"gone\",\"m\",\"small\"]");
    client_free(w, c);
    c = client_get(w, "/v1/models/auto");
    expect_has(c, "HTTP/1.1 200");
    client_free(w, c);
    world_free(w);
}

static void nothing_is_called_auto_where_nobody_said_so(void **state)
{
    (void)state;
    struct world *w = house("");
    struct client *c = client_post(w, ASK_AUTO);
    expect_has(c, "model_not_found");
    client_free(w, c);
    world_free(w);
    w = house("gone, other"); /* not there, and not for this tier */
    c = client_post(w, ASK_AUTO);
    expect_has(c, "model_not_found");
    client_free(w, c);
    world_free(w);
}

static void a_lighter_one_when_thoughts_are_as_short_as_they_get(void **state)
{
    (void)state;
    enum { CROWD = 200 };
    struct client *c[CROWD], *keeps;
    struct world *w = house("m, other, small");
    size_t played = 0, small = 0;
    for (int i = 0; i < 20; i++) c[i] = client_post(w, ASK_AUTO);
    serve(w, &played, 20);
    for (int i = 0; i < 20; i++) client_free(w, c[i]);
    for (int i = 0; i < CROWD; i++) { /* two a second come, one in two seconds is served */
        c[i] = post_auto(w, i);
        if (i % 4 == 0) serve(w, &played, played + 1);
    }
    keeps = post_keeping(w, ASK_AUTO);
    while (played < w->calls) serve(w, &played, played + 1);
    for (size_t i = 0; i < w->calls; i++) small += at_small(the_call(w, i));
    expect_has(keeps, "X-Auto-Model: m\r\n");
    printf("  %zu of %d went to the lighter one\n", small, CROWD);
    assert_true(small > 20 && small < CROWD);
    size_t said = 0;
    for (int i = 0; i < CROWD; i++) {
        bool light = strstr(client_text(c[i]), "X-Auto-Model: small\r\n");
        expect_has(c[i], light ? "\"model\":\"small\"" : "\"model\":\"m\"");
        said += light;
        client_free(w, c[i]);
    }
    client_free(w, keeps);
    for (size_t i = 0; i < w->calls; i++)
        if (at_small(the_call(w, i)))
            assert_non_null(strstr(ek_buf_cstr(&the_call(w, i)->body), "\"model\":\"small\""));
    assert_int_equal(said, small);
    struct client *m = client_get(w, "/metrics");
    expect_not(m, "evenkeel_auto_lighter_total 0\n");
    client_free(w, m);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_best_one_while_there_is_room),
        cmocka_unit_test(nothing_is_called_auto_where_nobody_said_so),
        cmocka_unit_test(a_lighter_one_when_thoughts_are_as_short_as_they_get),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
