/* SPDX-License-Identifier: MIT */
/* The ledger in the door when things go wrong: leases lost, two doors and one account, a restart with places
 * kept, streams that rest for each other, the end of a drain. */
#include "door_bank.h"

#include "ledger/sql.h"

/* Long answers and a line: one slot, so that the third waits at the desk. */
#define SLOTS_1 "upstreams:\n  - url: http://u:1\n    dialect: openai\n    slots: 1\n    models: [m]\n"

/* What a door that was frozen for longer than its lease finds: another has taken its money over. */
static int64_t taken_over(const struct bank *b)
{
    char why[256];
    struct ek_lease lease;
    struct ek_ledger *l = open_ledger(b), *other = NULL;
    assert_int_equal(ek_sql_run(ek_ledger_sql(l), "UPDATE lease SET until_ns = 0", NULL, 0, NULL, NULL),
                     EK_OK);
    ek_ledger_close(&l);
    struct ek_ledger_options o = {.url = b->url, .door = "other", .lease_ns = 1};
    if (ek_ledger_open(&o, &other, why, sizeof why) != EK_OK) fail_msg("%s", why);
    assert_int_equal(ek_ledger_lease(other, b->account, EK_MONEY_MAX, &lease), EK_OK);
    int64_t sum = ek_money_sum(lease.part);
    assert_int_equal(ek_ledger_give(other, b->account, lease.fence, lease.part, true), EK_OK);
    ek_ledger_close(&other);
    return sum;
}

static void a_lost_lease_ends_what_runs_under_it(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 1000000, SLOTS_1 "tiers:\n  - {name: default, patience: 0s}\n");
    struct client *runs = ask(&b, ASK_STREAM), *other = ask(&b, ASK_WHOLE), *waits = ask(&b, ASK_STREAM);
    assert_int_equal(b.w->calls, 2);
    play_head(the_call(b.w, 0), 200);
    play(the_call(b.w, 0), ROLE SAY("a") SAY("b"));
    assert_int_equal(taken_over(&b), 1000000);
    world_pass(b.w, 21000); /* a third of the lease: it is to be renewed, and is gone */
    expect_has(runs, "\"code\":\"lease_lost\"");
    assert_true(the_call(b.w, 0)->cancelled && the_call(b.w, 1)->cancelled);
    expect_has(other, "lease_lost");
    assert_int_equal(b.w->calls, 3); /* who had not begun reserves anew, and is served */
    play_all(the_call(b.w, 2));
    world_pass(b.w, 1);
    expect_has(waits, "data: [DONE]");
    expect_not(waits, "\"error\"");
    client_free(b.w, runs);
    client_free(b.w, other);
    client_free(b.w, waits);
    int64_t spent = 1000000 - bank_end(&b, 2); /* what was delivered of the first, and the last */
    assert_true(spent >= 20 + COST && spent <= 60 + COST);
}

static void a_late_settlement_is_charged_what_was_reserved_at_most(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 1000000, SLOTS_8);
    struct client *c = ask(&b, ASK_STREAM);
    play_head(the_call(b.w, 0), 200);
    play(the_call(b.w, 0), ROLE SAY("a"));
    assert_int_equal(taken_over(&b), 1000000);
    play(the_call(b.w, 0), SAY("b") FINISH USAGE DONE); /* it ends before anybody has noticed */
    play_end(the_call(b.w, 0));
    world_pass(b.w, 1);
    expect_has(c, "data: [DONE]");
    assert_int_equal(b.w->door->money == NULL, 0);
    client_free(b.w, c);
    c = ask(&b, ASK_WHOLE); /* and the next has a new lease */
    play_all(the_call(b.w, 1));
    world_pass(b.w, 1);
    expect_has(c, "HTTP/1.1 200");
    client_free(b.w, c);
    assert_int_equal(bank_end(&b, 2), 1000000 - 2 * COST);
}

/* There is money, and the books that have it are away: not the balance has ended. */
static void an_answer_cut_while_the_books_are_away_says_so(void **state)
{
    (void)state;
    struct bank b;
    char away[128];
    bank_new(&b, 1000000, SLOTS_8);
    snprintf(away, sizeof away, "%s.away", b.url);
    struct client *c = ask(&b, "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\","
                           "\"content\":\"hi\"}]}");
    struct client *whole = ask(&b, "{\"model\":\"m\",\"max_tokens\":2000,\"messages\":[{\"role\":"
                               "\"user\",\"content\":\"hi\"}]}");
    assert_int_equal(b.w->calls, 2);
    assert_int_equal(rename(b.url, away), 0);
    for (size_t i = 0; i < 2; i++) {
        play_head(the_call(b.w, i), 200);
        play(the_call(b.w, i), ROLE);
    }
    for (int i = 0; i < 200000 && !(the_call(b.w, 0)->over && the_call(b.w, 1)->over); i++) {
        for (size_t k = 0; k < 2; k++)
            if (!the_call(b.w, k)->over && !the_call(b.w, k)->paused) play(the_call(b.w, k), SAY("x"));
        if (i % 64 == 0) world_pass(b.w, 1);
    }
    world_pass(b.w, 1);
    struct client *of[] = {c, whole};
    for (size_t i = 0; i < 2; i++) {
        assert_true(the_call(b.w, i)->cancelled);
        expect_has(of[i], "\"finish_reason\":\"length\"");
        expect_has(of[i], "\"end_reason\":\"ledger_away\"");
        expect_not(of[i], "balance_end");
        client_free(b.w, of[i]);
    }
    world_free(b.w);
    assert_int_equal(rename(away, b.url), 0);
    b.w = world_new(b.yaml, 8); /* the next life has the spool */
    int64_t left = bank_end(&b, 2);
    assert_true(left > 0 && left < 1000000);
}

/* The last token that was asked for is no reason to speak of money: with any balance that pays for eight. */
static void the_last_token_asked_for_is_not_cut(void **state)
{
    (void)state;
    int whole = 0;
    for (int64_t nano = 80; nano < 100; nano++) {
        struct bank b;
        bank_new(&b, nano, SLOTS_8);
        struct client *c = ask(&b, "{\"model\":\"m\",\"stream\":true,\"max_tokens\":8,\"messages\":["
                               "{\"role\":\"user\",\"content\":\"hi\"}]}");
        assert_int_equal(b.w->calls, 1);
        play_head(the_call(b.w, 0), 200);
        play(the_call(b.w, 0), ROLE);
        int said = 0;
        for (; said < 8 && !the_call(b.w, 0)->over; said++) play(the_call(b.w, 0), SAY("x"));
        bool cut = the_call(b.w, 0)->over;
        assert_true(!cut || said < 8);
        if (!cut) {
            play(the_call(b.w, 0), FINISH DONE);
            play_end(the_call(b.w, 0));
        }
        world_pass(b.w, 1);
        expect_has(c, cut ? "\"end_reason\":\"balance_end\"" : "\"finish_reason\":\"stop\"");
        if (!cut) expect_not(c, "end_reason");
        whole += !cut;
        client_free(b.w, c);
        assert_true(bank_end(&b, 1) >= -10);
    }
    assert_true(whole > 0 && whole < 20); /* the border was crossed */
}

/* ---- two doors ---------------------------------------------------------------------------------- */

static void money_at_another_door_comes_when_that_rests(void **state)
{
    (void)state;
    struct bank a, b;
    bank_new(&a, 20000, SLOTS_8); /* a lease of eight needs takes all of it */
    b = a;
    char yaml[sizeof b.yaml];
    snprintf(yaml, sizeof yaml, "ledger:\n  url: %s\n  door: b\n  spool: %s/b.spool\n" SLOTS_8 PRICES, a.url,
             a.dir);
    b.w = world_new(yaml, 8);
    client_free(b.w, ask_get(&b, "/health")); /* draws an id: the two loops have one seed */
    struct client *first = ask(&a, ASK_STREAM);
    assert_int_equal(a.w->calls, 1);
    struct client *second = ask(&b, ASK_WHOLE);
    world_pass(b.w, 3000);
    assert_int_equal(b.w->calls, 0); /* no 402: the money is there, but not here */
    assert_int_equal(second->got.len, 0);
    play_all(the_call(a.w, 0));
    world_pass(a.w, 6000); /* at rest for five seconds */
    world_pass(b.w, 1500);
    assert_int_equal(b.w->calls, 1);
    play_all(the_call(b.w, 0));
    world_pass(b.w, 1);
    expect_has(second, "HTTP/1.1 200");
    client_free(a.w, first);
    client_free(b.w, second);
    world_free(b.w);
    assert_int_equal(bank_end(&a, 2), 20000 - 2 * COST);
}

/* ---- beside each other -------------------------------------------------------------------------- */

/* 6,000 nano hold one guess and a rest of some 870: the second has that. At its end it rests, for the first
 * goes on; when that has settled there is enough for both. */
static void a_stream_rests_while_another_may_give_back(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 6000, SLOTS_8);
    struct client *one = ask(&b, ASK_STREAM);
    struct client *two = ask(&b, "{\"model\":\"m\",\"stream\":true,\"max_tokens\":60,"
                             "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    assert_int_equal(b.w->calls, 2);
    for (size_t i = 0; i < 2; i++) {
        play_head(the_call(b.w, i), 200);
        play(the_call(b.w, i), ROLE);
    }
    for (int i = 0; i < 100 && !the_call(b.w, 1)->paused; i++) play(the_call(b.w, 1), SAY("x"));
    assert_true(the_call(b.w, 1)->paused);
    world_pass(b.w, 11000);
    expect_has(two, ": keep-alive"); /* it hears that nobody has forgotten it */
    assert_false(the_call(b.w, 1)->over);
    play(the_call(b.w, 0), SAY("42") FINISH USAGE DONE);
    play_end(the_call(b.w, 0));
    world_pass(b.w, 1);
    assert_false(the_call(b.w, 1)->paused);
    for (int i = 0; i < 100; i++) play(the_call(b.w, 1), SAY("x"));
    play(the_call(b.w, 1), FINISH DONE);
    play_end(the_call(b.w, 1));
    world_pass(b.w, 1);
    expect_has(one, "\"finish_reason\":\"stop\"");
    expect_has(two, "\"finish_reason\":\"stop\"");
    client_free(b.w, one);
    client_free(b.w, two);
    int64_t left = bank_end(&b, 2);
    assert_true(left > 2000 && left < 5000);
}

/* All at the end of their money: nobody rests for ever. */
static void the_last_one_ends_and_so_do_all(void **state)
{
    (void)state;
    struct bank b;
    enum { N = 4 };
    struct client *c[N];
    bank_new(&b, 400, SLOTS_8);
    for (int i = 0; i < N; i++)
        c[i] = ask(&b, "{\"model\":\"m\",\"stream\":true,\"max_tokens\":8,"
                   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    assert_int_equal(b.w->calls, N);
    for (size_t i = 0; i < N; i++) {
        play_head(the_call(b.w, i), 200);
        play(the_call(b.w, i), ROLE);
    }
    for (int round = 0; round < 60; round++) {
        for (size_t i = 0; i < N; i++)
            if (!the_call(b.w, i)->over && !the_call(b.w, i)->paused) play(the_call(b.w, i), SAY("x"));
        world_pass(b.w, 10);
    }
    for (size_t i = 0; i < N; i++) {
        expect_has(c[i], "\"end_reason\":\"balance_end\"");
        expect_has(c[i], "[DONE]");
        client_free(b.w, c[i]);
    }
    int64_t left = bank_end(&b, N);
    assert_true(left > -20 && left < 40);
}

/* ---- lines -------------------------------------------------------------------------------------- */

static void who_waits_for_money_keeps_deadlines_and_drains(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 6000, SLOTS_8 "tiers:\n  - {name: default, patience: 3s}\n");
    struct client *runs = ask(&b, ASK_STREAM), *hurry = ask(&b, ASK_WHOLE);
    assert_int_equal(b.w->calls, 1);
    world_pass(b.w, 3100);
    expect_has(hurry, "HTTP/1.1 503");
    expect_has(hurry, "\"code\":\"deadline\"");
    struct client *late = ask(&b, ASK_WHOLE), *left = ask(&b, ASK_STREAM);
    client_free(b.w, left); /* nobody is there any more: nothing stays reserved */
    ek_door_drain(b.w->door, client_nothing, NULL);
    world_pass(b.w, 1);
    expect_has(late, "\"code\":\"draining\"");
    play_all(the_call(b.w, 0));
    world_pass(b.w, 1);
    expect_has(runs, "[DONE]");
    client_free(b.w, runs);
    client_free(b.w, hurry);
    client_free(b.w, late);
    assert_int_equal(bank_end(&b, 1), 6000 - COST);
}

static void a_budget_of_the_day_is_429(void **state)
{
    (void)state;
    struct bank b;
    struct ek_account_row row;
    bank_new(&b, 1000000, SLOTS_8);
    struct ek_ledger *l = open_ledger(&b);
    assert_int_equal(ek_people_account(l, "acme", &row), EK_OK);
    row.limits.budget_day_nano = COST + 5;
    assert_int_equal(ek_people_change(l, &row), EK_OK);
    ek_ledger_close(&l);
    world_pass(b.w, 1500);
    struct client *c = ask(&b, ASK_STREAM);
    play_all(the_call(b.w, 0));
    world_pass(b.w, 1);
    expect_has(c, "[DONE]");
    client_free(b.w, c);
    c = ask(&b, ASK_WHOLE);
    expect_has(c, "HTTP/1.1 429");
    expect_has(c, "\"code\":\"budget_day\"");
    client_free(b.w, c);
    assert_int_equal(bank_end(&b, 1), 1000000 - COST);
}

static void a_tier_that_is_not_prepaid_needs_no_balance(void **state)
{
    (void)state;
    struct bank b;
    bank_new(&b, 0, SLOTS_8 "tiers:\n  - {name: default, prepaid: false}\n");
    struct client *c = ask(&b, ASK_WHOLE);
    play_all(the_call(b.w, 0));
    world_pass(b.w, 1);
    expect_has(c, "HTTP/1.1 200");
    expect_has(c, "X-Cost: 0.00\r\n");
    client_free(b.w, c);
    assert_int_equal(bank_end(&b, 1), 0); /* recorded, and free */
}

/* ---- after a kill ------------------------------------------------------------------------------- */

static void shell(const char *what, const char *a, const char *b)
{
    char line[400];
    snprintf(line, sizeof line, "%s %s %s", what, a, b);
    assert_int_equal(system(line), 0);
}

/* Its place outlives the door; so does what it must pay, and once. */
static void a_restored_place_is_charged_once(void **state)
{
    (void)state;
    struct bank b;
    char dir[] = "/tmp/ek-money-journal-XXXXXX", more[400], was[80], journal_was[80];
    assert_non_null(mkdtemp(dir));
    snprintf(more, sizeof more, SLOTS_1 "journal: {dir: %s}\n", dir);
    bank_new(&b, 1000000, more);
    struct client *c[3];
    for (int i = 0; i < 3; i++) c[i] = ask(&b, i ? ASK_STREAM : ASK_WHOLE);
    assert_int_equal(b.w->calls, 2);
    world_pass(b.w, 600);
    expect_has(c[2], "\"durable\":true");
    snprintf(was, sizeof was, "%s.was", b.dir);
    snprintf(journal_was, sizeof journal_was, "%s.was", dir);
    shell("cp -a", b.dir, was); /* what kill -9 leaves */
    shell("cp -a", dir, journal_was);
    for (int i = 0; i < 3; i++) client_free(b.w, c[i]);
    world_free(b.w);
    shell("rm -rf", b.dir, dir);
    shell("mv", was, b.dir);
    shell("mv", journal_was, dir);
    b.w = world_new(b.yaml, 8);
    assert_int_equal(b.w->door->places.restored, 1);
    c[2] = ask(&b, ASK_STREAM); /* the same again: its old place */
    world_pass(b.w, 2100);
    assert_int_equal(b.w->calls, 1);
    play_all(the_call(b.w, 0));
    world_pass(b.w, 1);
    expect_has(c[2], "[DONE]");
    client_free(b.w, c[2]);
    assert_int_equal(b.w->door->places.returned, 1);
    assert_int_equal(bank_end(&b, 1), 1000000 - COST);
    shell("rm -rf", dir, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_lease_ends_what_runs_under_it),
        cmocka_unit_test(a_late_settlement_is_charged_what_was_reserved_at_most),
        cmocka_unit_test(an_answer_cut_while_the_books_are_away_says_so),
        cmocka_unit_test(the_last_token_asked_for_is_not_cut),
        cmocka_unit_test(money_at_another_door_comes_when_that_rests),
        cmocka_unit_test(a_stream_rests_while_another_may_give_back),
        cmocka_unit_test(the_last_one_ends_and_so_do_all),
        cmocka_unit_test(who_waits_for_money_keeps_deadlines_and_drains),
        cmocka_unit_test(a_budget_of_the_day_is_429),
        cmocka_unit_test(a_tier_that_is_not_prepaid_needs_no_balance),
        cmocka_unit_test(a_restored_place_is_charged_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
