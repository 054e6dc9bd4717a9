/* SPDX-License-Identifier: MIT */
/* The ledger in the door, on virtual time and a SQLite file: what requests reserve, wait for, cost, and
 * what is left of it when clients leave, engines die or the money ends. */
#include "door_bank.h"

/* ---- who asks --------------------------------------------------------------------------------- */

static void keys_of_the_ledger_come_in(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 1000000, SLOTS_8);
    struct client *good = ask_get(&b, "/v1/models");
    expect_has(good, "HTTP/1.1 200");
    char *at = &b.key[10], was = *at;
    *at = was == 'a' ? 'b' : 'a';
    struct client *bad = ask_get(&b, "/v1/models");
    expect_has(bad, "HTTP/1.1 401");
    *at = was;
    client_free(b.w, good);
    client_free(b.w, bad);
    assert_int_equal(bank_end(&b, 0), 1000000);
}

/* What is in its row goes before what its tier says. */
static void limits_of_an_account_are_its_own(void **state)
{
    (void)state;
    struct bank b;
    struct ek_account_row row;
    bank_new(&b, 1000000, SLOTS_8 "tiers:\n  - name: default\n    minute_requests: 50\n    day_thoughts: 7\n"
                          "    models: [nothing]\n");
    struct client *c = ask(&b, ASK_WHOLE);
    expect_has(c, "\"code\":\"model_forbidden\""); /* no list of its own: the tier's */
    client_free(b.w, c);
    struct ek_ledger *l = open_ledger(&b);
    assert_int_equal(ek_people_account(l, "acme", &row), EK_OK);
    row.limits.minute_requests = 2;
    snprintf(row.models, sizeof row.models, "m x*");
    assert_int_equal(ek_people_change(l, &row), EK_OK);
    ek_ledger_close(&l);
    world_pass(b.w, 1500);
    for (int i = 0; i < 2; i++) {
        c = ask(&b, ASK_WHOLE);
        play_all(the_call(b.w, b.w->calls - 1));
        world_pass(b.w, 1);
        expect_has(c, "HTTP/1.1 200");
        expect_has(c, "RateLimit-Policy: \"requests\";q=2;w=60, \"thoughts\";q=7;w=86400\r\n");
        client_free(b.w, c);
    }
    c = ask(&b, ASK_WHOLE);
    expect_has(c, "\"code\":\"rate_requests\"");
    expect_has(c, "X-RateLimit-Remaining-Requests: 0\r\n");
    client_free(b.w, c);
    assert_int_equal(bank_end(&b, 2), 1000000 - 2 * COST);
}

static void a_suspended_account_is_refused_a_second_later(void **state)
{
    (void)state;
    struct bank b;
    struct ek_account_row row;
    bank_new(&b, 1000000, SLOTS_8);
    struct ek_ledger *l = open_ledger(&b);
    assert_int_equal(ek_people_account(l, "acme", &row), EK_OK);
    row.state = EK_ACCOUNT_SUSPENDED;
    assert_int_equal(ek_people_change(l, &row), EK_OK);
    ek_ledger_close(&l);
    world_pass(b.w, 1500);
    struct client *c = ask_get(&b, "/v1/models");
    expect_has(c, "HTTP/1.1 403");
    expect_has(c, "account_suspended");
    client_free(b.w, c);
    assert_int_equal(bank_end(&b, 0), 1000000);
}

/* ---- charged once ----------------------------------------------------------------------------- */

static void an_answer_is_charged_and_its_end_waits_for_that(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 1000000, SLOTS_8);
    struct client *s = ask(&b, ASK_STREAM), *w = ask(&b, ASK_WHOLE);
    assert_int_equal(b.w->calls, 2);
    struct call *up = the_call(b.w, 0);
    play_head(up, 200);
    play(up, ROLE SAY("42"));
    expect_has(s, "42");
    play(up, FINISH USAGE);
    expect_not(s, "\"finish_reason\":\"stop\""); /* the end is held */
    play(up, DONE);
    play_end(up);
    world_pass(b.w, 1);
    expect_has(s, "\"finish_reason\":\"stop\"");
    expect_has(s, "data: [DONE]");
    play_all(the_call(b.w, 1));
    world_pass(b.w, 1);
    expect_has(w, "HTTP/1.1 200");
    expect_has(w, "42");
    expect_has(w, "X-Cost: 0.000000023\r\n");
    expect_has(w, "\"cost\":0.000000023");
    client_free(b.w, s);
    client_free(b.w, w);
    assert_int_equal(bank_end(&b, 2), 1000000 - 2 * COST);
}

static void what_failed_is_not_charged_what_was_delivered_is(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 1000000, SLOTS_8 "relay:\n  attempts: 1\n");
    struct client *none = ask(&b, ASK_STREAM), *some = ask(&b, ASK_STREAM), *whole = ask(&b, ASK_WHOLE);
    struct client *left = ask(&b, ASK_STREAM);
    play_fail(the_call(b.w, 0), EK_REASON_UPSTREAM_RESET);
    for (size_t i = 1; i < 4; i++) {
        play_head(the_call(b.w, i), 200);
        play(the_call(b.w, i), ROLE SAY("4") SAY("2"));
    }
    play_fail(the_call(b.w, 1), EK_REASON_UPSTREAM_RESET);
    play_fail(the_call(b.w, 2), EK_REASON_UPSTREAM_RESET);
    client_free(b.w, left);
    world_pass(b.w, 1);
    expect_has(some, "upstream_reset");
    expect_has(whole, "HTTP/1.1 502");
    client_free(b.w, none);
    client_free(b.w, some);
    client_free(b.w, whole);
    int64_t spent = 1000000 - bank_end(&b, 2); /* the stream that broke and the one whose client left */
    assert_true(spent >= 2 * 20 && spent <= 2 * 60); /* two tokens each, and the guess of the prompt */
}

static void one_sent_again_is_charged_once(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 1000000, SLOTS_8);
    struct client *c = ask(&b, ASK_STREAM);
    play_fail(the_call(b.w, 0), EK_REASON_UPSTREAM_RESET);
    world_pass(b.w, 3000);
    assert_int_equal(b.w->calls, 2);
    play_all(the_call(b.w, 1));
    world_pass(b.w, 1);
    expect_has(c, "[DONE]");
    client_free(b.w, c);
    assert_int_equal(bank_end(&b, 1), 1000000 - COST);
}

/* ---- short of money --------------------------------------------------------------------------- */

static void an_empty_balance_is_402_and_says_who_must_pay(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 0, SLOTS_8);
    struct client *c = ask(&b, ASK_WHOLE);
    world_pass(b.w, 1);
    expect_has(c, "HTTP/1.1 402");
    expect_has(c, "Insufficient Balance");
    expect_has(c, "account 'acme'");
    expect_has(c, "\"code\":\"insufficient_balance\"");
    assert_int_equal(b.w->calls, 0);
    client_free(b.w, c);
    top_up(&b, 1000000);
    world_pass(b.w, 300);
    c = ask(&b, ASK_WHOLE);
    assert_int_equal(b.w->calls, 1);
    play_all(the_call(b.w, 0));
    world_pass(b.w, 1);
    expect_has(c, "HTTP/1.1 200");
    client_free(b.w, c);
    assert_int_equal(bank_end(&b, 1), 1000000 - COST);
}

/* The guess of an answer is 512 tokens, 5,120 nano and the prompt: 6,000 hold one at a time. */
static void one_waits_for_ones_own_others(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 6000, SLOTS_8);
    struct client *c[3];
    for (int i = 0; i < 3; i++) c[i] = ask(&b, i ? ASK_WHOLE : ASK_STREAM);
    assert_int_equal(b.w->calls, 1); /* the others wait, and no engine has heard of them */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(b.w->calls, i + 1);
        play_all(the_call(b.w, i));
        world_pass(b.w, 1);
    }
    for (int i = 0; i < 3; i++) {
        expect_has(c[i], "HTTP/1.1 200");
        expect_has(c[i], "42");
        client_free(b.w, c[i]);
    }
    assert_int_equal(bank_end(&b, 3), 6000 - 3 * COST);
}

/* Who waits is told when the money is gone, and only then. */
static void who_waits_in_vain_is_told(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 100, SLOTS_8);
    struct client *first = ask(&b, ASK_STREAM), *second = ask(&b, ASK_WHOLE);
    assert_int_equal(b.w->calls, 1); /* with what there is */
    play_head(the_call(b.w, 0), 200);
    play(the_call(b.w, 0), ROLE SAY("a") SAY("b") SAY("c"));
    assert_int_equal(second->got.len, 0);
    for (int i = 0; i < 20 && !the_call(b.w, 0)->over; i++) play(the_call(b.w, 0), SAY("x"));
    assert_true(the_call(b.w, 0)->cancelled);
    world_pass(b.w, 500);
    expect_has(first, "\"finish_reason\":\"length\"");
    expect_has(first, "\"end_reason\":\"balance_end\"");
    expect_has(first, "data: [DONE]");
    expect_not(first, "\"error\"");
    expect_has(second, "HTTP/1.1 402");
    client_free(b.w, first);
    client_free(b.w, second);
    int64_t left = bank_end(&b, 1);
    assert_true(left >= 0 && left < 20);
}

static void a_stream_goes_on_past_its_reserve(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 1000000, SLOTS_8);
    struct client *c = ask(&b, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                           "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    play_head(the_call(b.w, 0), 200);
    play(the_call(b.w, 0), ROLE);
    for (int i = 0; i < 2000; i++) play(the_call(b.w, 0), SAY("x"));
    play(the_call(b.w, 0), FINISH DONE);
    play_end(the_call(b.w, 0));
    world_pass(b.w, 1);
    expect_has(c, "\"finish_reason\":\"stop\"");
    expect_has(c, "\"completion_tokens\":2000");
    expect_has(c, "\"cost\":0.00002");
    client_free(b.w, c);
    int64_t left = bank_end(&b, 1);
    assert_true(left <= 1000000 - 20000 && left >= 1000000 - 20100);
}

/* ---- the balance ------------------------------------------------------------------------------ */

static void the_balance_can_be_asked_for(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 1500000000, SLOTS_8);
    struct client *c = ask_get(&b, "/user/balance");
    expect_has(c, "\"is_available\":true");
    expect_has(c, "\"currency\":\"USD\"");
    expect_has(c, "\"total_balance\":\"1.50\"");
    expect_has(c, "\"topped_up_balance\":\"1.50\"");
    expect_has(c, "\"granted_balance\":\"0.00\"");
    client_free(b.w, c);
    assert_int_equal(bank_end(&b, 0), 1500000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_of_the_ledger_come_in),
        cmocka_unit_test(limits_of_an_account_are_its_own),
        cmocka_unit_test(a_suspended_account_is_refused_a_second_later),
        cmocka_unit_test(an_answer_is_charged_and_its_end_waits_for_that),
        cmocka_unit_test(what_failed_is_not_charged_what_was_delivered_is),
        cmocka_unit_test(one_sent_again_is_charged_once),
        cmocka_unit_test(an_empty_balance_is_402_and_says_who_must_pay),
        cmocka_unit_test(one_waits_for_ones_own_others),
        cmocka_unit_test(who_waits_in_vain_is_told),
        cmocka_unit_test(a_stream_goes_on_past_its_reserve),
        cmocka_unit_test(the_balance_can_be_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
