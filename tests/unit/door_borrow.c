/* SPDX-License-Identifier: MIT */
/* Borrowed upstreams behind a door: who goes there, what happens when one is full or its money ends, what is
 * told of it, and that a restart does not hand out a budget twice. */
#include "door_world.h"

#include <unistd.h>

#define OWN "  - {url: 'http://u:1', name: own, dialect: openai, models: [m], slots: 1}\n"
#define LENT(more) "  - {url: 'http://u:2', name: lent, dialect: openai, models: [m, far], slots: 4, " \
                   "borrowed: true, price: cloud" more "}\n"
#define PRICES "prices:\n  - {model: cloud, cached: 0.1, prompt: 1, output: 2}\n"
#define TIERS "tiers:\n  - {name: default, overflow_after: 5s}\n  - {name: shy, borrow: false}\n" \
              "keys:\n  - {name: k, key: sk-secret-1, tier: shy}\n"
#define HOUSE "upstreams:\n" OWN LENT(", budget_hour: 1") PRICES TIERS

static const char *to_own = "u:1", *to_lent = "u:2";

static void went(struct world *w, size_t call, const char *to)
{
    assert_string_equal(the_call(w, call)->to, to);
}

static struct client *shy_post(struct world *w, const char *body)
{
    char text[4096];
    snprintf(text, sizeof text, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
             "Authorization: Bearer sk-secret-1\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    return client_send(w, text);
}

/* The value of a metric whose line begins so. */
static double metric(struct world *w, const char *line)
{
    struct client *c = client_get(w, "/metrics");
    const char *at = strstr(client_text(c), line);
    if (!at) fail_msg("no %s in:\n%s", line, client_text(c));
    double value = strtod(at + strlen(line), NULL);
    client_free(w, c);
    return value;
}

/* Two at our own machine, one that waits, and after the tier's target one that is lent. */
static void who_would_wait_too_long_is_lent(void **state)
{
    (void)state;
    struct world *w = world_new(HOUSE, 1);
    struct client *c[4];
    for (int i = 0; i < 3; i++) c[i] = client_post(w, ASK_STREAM);
    assert_int_equal(w->calls, 2);
    went(w, 0, to_own);
    went(w, 1, to_own);
    c[3] = shy_post(w, ASK_STREAM);
    world_pass(w, 4000);
    assert_int_equal(w->calls, 2); /* nothing was measured yet: the wait itself counts */
    world_pass(w, 3000);
    assert_int_equal(w->calls, 3);
    went(w, 2, to_lent);
    world_pass(w, 20000);
    assert_int_equal(w->calls, 3); /* who may not leave the house waits on */
    play_all(the_call(w, 2));
    expect_has(c[2], "\"content\":\"42\"");
    assert_true(metric(w, "evenkeel_borrowed_total{upstream=\"lent\",why=\"wait\"} ") == 1);
    double cost = metric(w, "evenkeel_borrowed_hour_spent{upstream=\"lent\"} ");
    assert_true(cost > 6.9e-6 && cost < 7.1e-6); /* three tokens at 1 and two at 2 a million */
    assert_true(metric(w, "evenkeel_borrowed_reserved{upstream=\"lent\"} ") == 0);
    for (int i = 0; i < 4; i++) client_free(w, c[i]);
    world_free(w);
}

static void the_record_says_why(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n" LENT(", budget_day: 2") PRICES TIERS, 1);
    struct client *c = client_post(w, ASK_WHOLE);
    went(w, 0, to_lent);
    play_all(the_call(w, 0));
    expect_has(c, "\"content\":\"42\"");
    char path[128];
    const char *id = strstr(client_text(c), "chatcmpl-");
    assert_non_null(id);
    snprintf(path, sizeof path, "/v1/requests/%.41s", id);
    struct client *asked = client_get(w, path);
    expect_has(asked, "\"borrowed\":{\"why\":\"down\",\"cost\":\"0.000007\"}");
    expect_has(asked, "\"upstreams\":[\"lent\"]");
    client_free(w, asked);
    client_free(w, c);
    c = shy_post(w, ASK_STREAM); /* nobody at home serves it */
    expect_has(c, "403");
    expect_has(c, "borrow_forbidden");
    client_free(w, c);
    world_free(w);
}

/* Its own machine dies with one in mid-answer and one that only waited for its first token. */
static void a_lender_takes_over(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n"
                                "  - {url: 'http://u:1', name: own, dialect: vllm, models: [m], slots: 1}\n"
                                "  - {url: 'http://u:2', name: lent, dialect: vllm, models: [m], slots: 4, "
                                "borrowed: true, budget_day: 1}\n", 1);
    struct client *a = client_post(w, ASK_STREAM), *b = client_post(w, ASK_STREAM);
    assert_int_equal(w->calls, 2);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("for"));
    w->answering = false;
    play_fail(the_call(w, 0), EK_REASON_UPSTREAM_RESET);
    play_fail(the_call(w, 1), EK_REASON_UPSTREAM_CONNECT);
    world_pass(w, 100);
    assert_int_equal(w->calls, 4);
    went(w, 2, to_lent);
    went(w, 3, to_lent);
    for (size_t i = 2; i < 4; i++) {
        bool on = strstr(ek_buf_cstr(&the_call(w, i)->body), "continue_final_message") != NULL;
        play_head(the_call(w, i), 200);
        play(the_call(w, i), on ? ROLE SAY("ty") FINISH DONE : ROLE SAY("42") FINISH DONE);
        play_end(the_call(w, i));
    }
    expect_has(a, "\"content\":\"for\"");
    expect_has(a, "\"content\":\"ty\"");
    expect_has(a, "[DONE]");
    expect_has(b, "\"content\":\"42\"");
    client_free(w, a);
    client_free(w, b);
    world_free(w);
}

static void a_full_lender_gives_it_back(void **state)
{
    (void)state;
    struct world *w = world_new(HOUSE, 1);
    struct client *c[3];
    for (int i = 0; i < 3; i++) c[i] = client_post(w, ASK_STREAM);
    world_pass(w, 7000);
    went(w, 2, to_lent);
    play_head(the_call(w, 2), 429); /* Retry-After: 7 */
    play_end(the_call(w, 2));
    world_pass(w, 6500);
    assert_int_equal(w->calls, 3);
    expect_not(c[2], "error");
    expect_has(c[2], ": queue {\"position\":1");
    world_pass(w, 2000);
    assert_int_equal(w->calls, 4); /* tried once more */
    went(w, 3, to_lent);
    play_head(the_call(w, 3), 402); /* it wants money: it is left alone for a minute */
    play_end(the_call(w, 3));
    world_pass(w, 50000);
    assert_int_equal(w->calls, 4);
    play_all(the_call(w, 0)); /* a slot at home comes first */
    assert_int_equal(w->calls, 5);
    went(w, 4, to_own);
    play_all(the_call(w, 4));
    expect_has(c[2], "[DONE]");
    assert_true(metric(w, "evenkeel_borrowed_swamped_total{upstream=\"lent\"} ") == 2);
    for (int i = 0; i < 3; i++) client_free(w, c[i]);
    world_free(w);
}

/* A budget for one request: the second waits at home, however long. */
static void no_money_no_loan(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n" OWN LENT(", budget_hour: 0.005") PRICES TIERS, 1);
    struct client *c[4];
    for (int i = 0; i < 4; i++) c[i] = client_post(w, ASK_STREAM);
    world_pass(w, 60000);
    assert_int_equal(w->calls, 3); /* what is reserved for an answer nothing is known of: 0.0041 */
    play_all(the_call(w, 2));
    world_pass(w, 2000);
    assert_int_equal(w->calls, 4); /* it cost little */
    for (int i = 0; i < 4; i++) client_free(w, c[i]);
    world_free(w);
}

/* Nobody else serves it: what cannot be paid is said, and why. */
static void what_cannot_be_paid_is_said(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n" LENT(", budget_hour: 0.0003") PRICES TIERS, 1);
    struct client *c = client_post(w, ASK_STREAM);
    expect_has(c, "503");
    expect_has(c, "borrow_small");
    expect_has(c, "X-Should-Retry: false");
    expect_not(c, "Retry-After");
    assert_int_equal(w->calls, 0);
    client_free(w, c);
    world_free(w);
    w = world_new("upstreams:\n" LENT(", budget_hour: 0.005") PRICES TIERS, 1);
    c = client_post(w, ASK_STREAM);
    struct client *next = client_post(w, ASK_STREAM);
    world_pass(w, 1000);
    assert_int_equal(w->calls, 1);
    expect_has(next, "\"eta_ms\":null,\"eta_p90_ms\":null,\"reason\":\"budget\"");
    play_all(the_call(w, 0));
    world_pass(w, 1000);
    assert_int_equal(w->calls, 2); /* it cost little */
    client_free(w, c);
    client_free(w, next);
    world_free(w);
}

/* An answer that grows beyond all that was foreseen, twice: the one runs on, the other is taken home. */
static void a_longer_answer_is_taken_home(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n"
                                "  - {url: 'http://u:1', name: own, dialect: deepseek, models: [m], "
                                "slots: 1}\n"
                                "  - {url: 'http://u:2', name: lent, dialect: deepseek, models: [m], "
                                "slots: 4, borrowed: true, price: cloud, budget_hour: 0.0085}\n"
                                PRICES TIERS, 1);
    struct client *c[4];
    for (int i = 0; i < 4; i++) c[i] = client_post(w, ASK_STREAM);
    world_pass(w, 7000);
    assert_int_equal(w->calls, 4);
    for (size_t i = 2; i < 4; i++) play_head(the_call(w, i), 200);
    for (int t = 0; t < 2100; t++)
        for (size_t i = 2; i < 4; i++)
            if (!the_call(w, i)->over) play(the_call(w, i), SAY("x"));
    world_pass(w, 1000);
    assert_true(the_call(w, 2)->over != the_call(w, 3)->over);
    play_all(the_call(w, 0));
    world_pass(w, 200);
    assert_int_equal(w->calls, 5);
    went(w, 4, to_own);
    assert_non_null(strstr(ek_buf_cstr(&the_call(w, 4)->body), "\"prefix\":true"));
    assert_true(metric(w, "evenkeel_borrowed_recalled_total{upstream=\"lent\"} ") == 1);
    assert_true(metric(w, "evenkeel_borrowed_overdrawn_total{upstream=\"lent\"} ") == 1);
    for (int i = 0; i < 4; i++) client_free(w, c[i]);
    world_free(w);
}

static void what_was_spent_outlives_the_door(void **state)
{
    (void)state;
    char dir[] = "/tmp/ek-borrow-XXXXXX", yaml[2048], path[64];
    assert_non_null(mkdtemp(dir));
    snprintf(yaml, sizeof yaml, "journal: {dir: %s/j}\nupstreams:\n" LENT(", budget_hour: 0.0085")
             PRICES TIERS, dir);
    for (int life = 0; life < 3; life++) {
        struct world *w = world_new(yaml, 1);
        double spent = metric(w, "evenkeel_borrowed_hour_spent{upstream=\"lent\"} ");
        struct client *c = client_post(w, ASK_STREAM);
        if (life == 0) { /* one is served, one runs when the door goes */
            play_all(the_call(w, 0));
            struct client *cut = client_post(w, ASK_STREAM);
            assert_int_equal(w->calls, 2);
            play_head(the_call(w, 1), 200);
            play(the_call(w, 1), ROLE SAY("a") SAY("b"));
            client_free(w, cut);
        } else {
            assert_true(spent > 6e-6 && spent < 3e-5);
        }
        client_free(w, c);
        world_free(w);
        snprintf(path, sizeof path, "%s/j.borrowed", dir);
        assert_int_equal(access(path, R_OK), 0);
        if (life == 1) { /* half of the file is damaged: the other half counts */
            FILE *f = fopen(path, "r+b");
            fseek(f, 40, SEEK_SET);
            fputc(0x55, f);
            fclose(f);
        }
    }
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static void configurations_that_cannot_be_meant(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"upstreams:\n" LENT("") PRICES, "it could cost any amount"},
        {"upstreams:\n" LENT(", budget_day: 1"), "no entry of prices for model \"cloud\""},
        {"upstreams:\n  - {url: 'http://u:1', budget_day: 1}\n", "of no use without borrowed"},
        {"upstreams:\n" LENT(", budget_day: 1.0000000001") PRICES, "amount of money"},
    };
    for (size_t i = 0; i < EK_COUNT(wrong); i++) {
        struct ek_config *c = NULL;
        struct ek_buf why = ek_buf_make(1 << 16);
        struct ek_config_source source = {.program = EK_PROGRAM_SERVE, .path = "t.yaml", .text = wrong[i][0]};
        assert_int_equal(ek_config_load(&source, &c, &why), EK_INVALID);
        if (!strstr(ek_buf_cstr(&why), wrong[i][1]))
            fail_msg("no \"%s\" in %s", wrong[i][1], ek_buf_cstr(&why));
        ek_buf_free(&why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_would_wait_too_long_is_lent),
        cmocka_unit_test(the_record_says_why),
        cmocka_unit_test(a_lender_takes_over),
        cmocka_unit_test(a_full_lender_gives_it_back),
        cmocka_unit_test(no_money_no_loan),
        cmocka_unit_test(what_cannot_be_paid_is_said),
        cmocka_unit_test(a_longer_answer_is_taken_home),
        cmocka_unit_test(what_was_spent_outlives_the_door),
        cmocka_unit_test(configurations_that_cannot_be_meant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
