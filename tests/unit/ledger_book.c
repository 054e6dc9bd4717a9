/* SPDX-License-Identifier: MIT */
/* The book: the rules one by one, then a million random steps beside a naive book. */
#include "cm.h"

#include "base/random.h"
#include "book_oracle.h"

#include <stdio.h>
#include <time.h>

static const struct ek_now noon = {.mono_ns = 1, .unix_ns = UINT64_C(1763726400) * EK_S_NS};
static const struct ek_book_limits no_limits;

static struct ek_book *book_with(uint64_t account, int64_t granted, int64_t topped)
{
    struct ek_book_options o = {.accounts_max = 4, .holds_max = 1000, .done_max = 50};
    struct ek_book *b = ek_book_new(&o);
    struct ek_money money = {granted, topped};
    assert_non_null(b);
    assert_int_equal(ek_book_account(b, account, &no_limits, noon), EK_OK);
    assert_int_equal(ek_book_fund(b, account, (struct ek_id){9, 9}, 0, money), EK_PAID);
    return b;
}

static struct ek_hold reserve(struct ek_book *b, uint64_t account, uint64_t name, int64_t need, int64_t least)
{
    struct ek_hold_ask ask = {.account = account, .request = {0, name}, .need_nano = need,
                              .least_nano = least, .overdraft_nano = 2};
    return ek_book_reserve(b, &ask, noon);
}

static struct ek_settlement settle(struct ek_book *b, uint64_t name, int64_t cost)
{
    return ek_book_settle(b, (struct ek_id){0, name}, cost, noon);
}

static struct ek_money pocket(struct ek_book *b, uint64_t account, enum ek_pocket p)
{
    struct ek_book_state s;
    assert_true(ek_book_look(b, account, &s));
    return s.pocket[p];
}

static void gifts_go_first(void **state)
{
    (void)state;
    struct ek_book *b = book_with(1, 30, 100);
    assert_int_equal(reserve(b, 1, 1, 30, 1).verdict, EK_HOLD_GRANTED); /* takes the gift */
    assert_int_equal(reserve(b, 1, 2, 50, 1).verdict, EK_HOLD_GRANTED); /* top-ups */
    struct ek_settlement s = settle(b, 1, 10);
    assert_int_equal(s.charged.granted_nano, 10);
    s = settle(b, 2, 45); /* 20 of the gift are free again, and go before the top-ups held */
    assert_int_equal(s.charged.granted_nano, 20);
    assert_int_equal(s.charged.topped_nano, 25);
    assert_int_equal(pocket(b, 1, EK_POCKET_FREE).granted_nano, 0);
    assert_int_equal(pocket(b, 1, EK_POCKET_FREE).topped_nano, 75);
    ek_book_check(b);
    ek_book_free(&b);
}

static void short_by_oneself_waits(void **state)
{
    (void)state;
    struct ek_book *b = book_with(1, 0, 100);
    assert_int_equal(reserve(b, 1, 1, 70, 5).verdict, EK_HOLD_GRANTED);
    assert_int_equal(reserve(b, 1, 2, 70, 5).verdict, EK_HOLD_WAIT);
    assert_int_equal(reserve(b, 1, 3, 200, 101).verdict, EK_HOLD_BROKE); /* never, whatever is given back */
    settle(b, 1, 40);
    struct ek_hold h = reserve(b, 1, 2, 70, 5); /* less than p90, but all there is */
    assert_int_equal(h.verdict, EK_HOLD_GRANTED);
    assert_int_equal(h.held_nano, 60);
    settle(b, 2, 60);
    assert_int_equal(reserve(b, 1, 4, 70, 5).verdict, EK_HOLD_BROKE);
    ek_book_elsewhere(b, 1, 10);
    assert_int_equal(reserve(b, 1, 4, 70, 5).verdict, EK_HOLD_LEASE);
    ek_book_check(b);
    ek_book_free(&b);
}

static void a_thousand_at_once(void **state)
{
    (void)state;
    struct ek_book *b = book_with(1, 0, 100 * 10);
    struct ek_random rng = ek_random_make(7);
    uint32_t served = 0, refused = 0, waiting = 1000, running = 0;
    uint64_t name = 0, under_way[1000];
    while (waiting || running) {
        while (waiting) { /* all that may run at once do */
            struct ek_hold h = reserve(b, 1, ++name, 13, 3);
            if (h.verdict == EK_HOLD_WAIT) break;
            waiting--;
            if (h.verdict == EK_HOLD_GRANTED) under_way[running++] = name;
            else refused++;
        }
        if (!running) continue;
        uint64_t one = ek_random_below(&rng, running), done = under_way[one];
        under_way[one] = under_way[--running];
        served += ek_money_sum(settle(b, done, 10).charged) == 10;
        assert_true(ek_money_sum(pocket(b, 1, EK_POCKET_FREE)) >= 0);
    }
    printf("served %u, refused %u\n", served, refused);
    assert_int_equal(served, 100); /* exactly what the money pays for; the rest hear 402 after it is gone */
    assert_int_equal(refused, 900);
    ek_book_check(b);
    ek_book_free(&b);
}

static void below_zero_by_one_token_only(void **state)
{
    (void)state;
    struct ek_book *b = book_with(1, 0, 20);
    for (uint64_t i = 1; i <= 4; i++) assert_int_equal(reserve(b, 1, i, 5, 5).verdict, EK_HOLD_GRANTED);
    assert_int_equal(ek_book_extend(b, (struct ek_id){0, 1}, 5, noon).verdict, EK_HOLD_WAIT);
    struct ek_settlement s = settle(b, 1, 100);
    assert_int_equal(ek_money_sum(s.charged), 7);
    assert_int_equal(s.forgiven_nano, 93);
    assert_int_equal(ek_money_sum(settle(b, 2, 7).charged), 5); /* the token below zero is used */
    assert_int_equal(ek_money_sum(settle(b, 3, 1).charged), 1);
    assert_int_equal(ek_money_sum(pocket(b, 1, EK_POCKET_FREE)), 2);
    assert_int_equal(ek_money_sum(settle(b, 4, 50).charged), 9);
    assert_int_equal(ek_money_sum(pocket(b, 1, EK_POCKET_FREE)), -2);
    ek_book_check(b);
    ek_book_free(&b);
}

static void all_is_idempotent(void **state)
{
    (void)state;
    struct ek_book *b = book_with(1, 0, 100);
    assert_int_equal(ek_book_fund(b, 1, (struct ek_id){9, 9}, 0, (struct ek_money){0, 100}), EK_PAID_BEFORE);
    assert_int_equal(reserve(b, 1, 1, 60, 1).held_nano, 60);
    assert_int_equal(reserve(b, 1, 1, 90, 1).held_nano, 60);
    assert_int_equal(settle(b, 1, 50).verdict, EK_SETTLED);
    struct ek_settlement again = settle(b, 1, 7);
    assert_int_equal(again.verdict, EK_SETTLED_BEFORE);
    assert_int_equal(ek_money_sum(again.charged), 50);
    assert_int_equal(reserve(b, 1, 1, 60, 1).verdict, EK_HOLD_DONE);
    assert_int_equal(settle(b, 2, 7).verdict, EK_SETTLED_ABSENT);
    assert_int_equal(settle(b, 9, 7).verdict, EK_SETTLED_ABSENT);
    assert_int_equal(ek_money_sum(ek_book_refund(b, (struct ek_id){0, 1}, 80, noon)), 50);
    assert_int_equal(ek_money_sum(ek_book_refund(b, (struct ek_id){0, 1}, 80, noon)), 0);
    assert_int_equal(ek_money_sum(pocket(b, 1, EK_POCKET_FREE)), 100);
    for (uint64_t i = 100; i < 1300; i++) { /* more names than are remembered */
        assert_int_equal(reserve(b, 1, i, 1, 1).verdict, EK_HOLD_GRANTED);
        settle(b, i, 0);
    }
    struct ek_book_totals t;
    ek_book_totals(b, &t);
    assert_int_equal(t.done_early, 1202 - 1050);
    ek_book_check(b);
    ek_book_free(&b);
}

static void a_lost_lease(void **state)
{
    (void)state;
    struct ek_book *b = book_with(1, 0, 10);
    ek_book_lose(b, 1, 0);
    assert_int_equal(ek_money_sum(pocket(b, 1, EK_POCKET_FREE)), 0);
    assert_int_equal(ek_book_fund(b, 1, (struct ek_id){8, 1}, 7, (struct ek_money){0, 100}), EK_PAID);
    assert_int_equal(reserve(b, 1, 1, 30, 1).verdict, EK_HOLD_GRANTED);
    ek_book_lose(b, 1, 6); /* not this one */
    assert_int_equal(ek_money_sum(pocket(b, 1, EK_POCKET_HELD)), 30);
    ek_book_lose(b, 1, 7);
    assert_int_equal(ek_money_sum(pocket(b, 1, EK_POCKET_HELD)), 0);
    assert_int_equal(ek_book_forget(b, 1), EK_FULL); /* a request is still to settle */
    assert_int_equal(ek_book_extend(b, (struct ek_id){0, 1}, 5, noon).verdict, EK_HOLD_DONE);
    struct ek_settlement s = settle(b, 1, 90);
    assert_true(s.late);
    assert_int_equal(s.fence, 7);
    assert_int_equal(ek_money_sum(s.charged), 30); /* its reserve, no more */
    assert_int_equal(s.forgiven_nano, 60);
    assert_int_equal(ek_book_forget(b, 1), EK_OK);
    assert_int_equal(ek_book_forget(b, 1), EK_ABSENT);
    ek_book_check(b);
    ek_book_free(&b);
}

static void budgets_roll_over(void **state)
{
    (void)state;
    struct ek_book *b = book_with(1, 0, 1000);
    struct ek_book_limits l = {.day_nano = 50, .month_nano = 80};
    assert_int_equal(ek_book_account(b, 1, &l, noon), EK_OK);
    assert_int_equal(reserve(b, 1, 1, 40, 1).verdict, EK_HOLD_GRANTED);
    assert_int_equal(reserve(b, 1, 2, 40, 1).verdict, EK_HOLD_WAIT);
    settle(b, 1, 40);
    struct ek_hold h = reserve(b, 1, 2, 40, 1);
    assert_int_equal(h.held_nano, 10);
    settle(b, 2, 10);
    assert_int_equal(reserve(b, 1, 3, 40, 1).verdict, EK_HOLD_DAY);
    struct ek_hold_ask ask = {.account = 1, .request = {0, 3}, .need_nano = 40, .least_nano = 1};
    struct ek_now morrow = {.unix_ns = noon.unix_ns + ORACLE_DAY_NS};
    assert_int_equal(ek_book_reserve(b, &ask, morrow).held_nano, 30); /* what the month leaves */
    ek_book_settle(b, ask.request, 30, morrow);
    ask.request.lo = 4;
    assert_int_equal(ek_book_reserve(b, &ask, morrow).verdict, EK_HOLD_MONTH);
    morrow.unix_ns += 10 * ORACLE_DAY_NS; /* 2 December */
    assert_int_equal(ek_book_reserve(b, &ask, morrow).verdict, EK_HOLD_GRANTED);
    ek_book_check(b);
    ek_book_free(&b);
}

static void calendar(void **state)
{
    (void)state;
    for (int64_t day = 0; day < 60000; day++) { /* to 2134: leap years, and 2100 which is none */
        time_t at = (time_t)(day * 86400 + 43200);
        struct tm tm;
        gmtime_r(&at, &tm);
        uint64_t ns = (uint64_t)at * EK_S_NS;
        assert_int_equal(ek_day_of(ns), day);
        assert_int_equal(ek_month_of(ns), (uint32_t)(tm.tm_year - 70) * 12 + (uint32_t)tm.tm_mon);
    }
}

static uint64_t draw_random(void *arg, uint64_t below) { return ek_random_below(arg, below); }

static void a_million_steps(void **state)
{
    (void)state;
    const char *set = getenv("EK_SEED");
    uint64_t first = set ? strtoull(set, NULL, 10) : 20261121, steps = 0;
    uint64_t verdicts[16] = {0}, settles[4] = {0}, entries = 0;
    for (uint64_t seed = first; seed < first + 2500; seed++) { /* fresh names every 400 steps */
        struct ek_random rng = ek_random_make(seed);
        struct oracle o;
        oracle_begin(&o, draw_random, &rng);
        for (int i = 0; i < 400; i++, steps++) oracle_step(&o);
        for (int i = 0; i < 16; i++) verdicts[i] += o.verdicts[i];
        for (int i = 0; i < 4; i++) settles[i] += o.settles[i];
        entries += o.entries;
        oracle_end(&o);
    }
    printf("%llu steps from seed %llu, %llu entries\n", (unsigned long long)steps,
           (unsigned long long)first, (unsigned long long)entries);
    for (int i = EK_HOLD_GRANTED; i <= EK_HOLD_ABSENT; i++) assert_true(verdicts[i] > 100);
    for (int i = EK_SETTLED; i <= EK_SETTLED_ABSENT; i++) assert_true(settles[i] > 100);
}

static void limits_of_memory_and_money(void **state)
{
    (void)state;
    struct ek_book *b = book_with(1, 0, EK_MONEY_MAX);
    assert_int_equal(ek_book_fund(b, 1, (struct ek_id){7, 7}, 0, (struct ek_money){0, 1}), EK_PAID_REFUSED);
    assert_int_equal(reserve(b, 1, 1, INT64_MAX, 1).held_nano, EK_MONEY_MAX);
    assert_int_equal(ek_money_sum(settle(b, 1, INT64_MAX).charged), EK_MONEY_MAX);
    for (uint64_t k = 2; k <= 4; k++) assert_int_equal(ek_book_account(b, k, &no_limits, noon), EK_OK);
    assert_int_equal(ek_book_account(b, 5, &no_limits, noon), EK_FULL);
    assert_int_equal(reserve(b, 5, 2, 1, 1).verdict, EK_HOLD_ABSENT);
    ek_book_check(b);
    ek_book_free(&b);
    ek_book_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calendar), cmocka_unit_test(gifts_go_first),
        cmocka_unit_test(short_by_oneself_waits), cmocka_unit_test(a_thousand_at_once),
        cmocka_unit_test(below_zero_by_one_token_only), cmocka_unit_test(all_is_idempotent),
        cmocka_unit_test(a_lost_lease), cmocka_unit_test(budgets_roll_over),
        cmocka_unit_test(limits_of_memory_and_money), cmocka_unit_test(a_million_steps),
    };
    return cmocka_run_group_tests_name("ledger_book", tests, NULL, NULL);
}
