/* SPDX-License-Identifier: MIT */
/* Second attempts: when a first token is late, whether one is made, and that the desk's counts stay true
 * through all that can become of the two. */
#include "cm.h"

#include "base/random.h"
#include "policy/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void the_p95_is_that_of_its_length(void **state)
{
    (void)state;
    static struct ek_hedge_firsts f;
    memset(&f, 0, sizeof f);
    for (int i = 1; i < 20; i++) ek_hedge_learn(&f, 100, i * 0.01, false);
    assert_true(ek_hedge_p95_s(&f, 100) == 0); /* too few to speak of one in twenty */
    ek_hedge_learn(&f, 100, 0.20, false);
    assert_true(ek_hedge_p95_s(&f, 100) > 0.189 && ek_hedge_p95_s(&f, 100) < 0.191);
    assert_true(ek_hedge_p95_s(&f, 10000) == 0);
    for (int i = 0; i < 1000; i++) ek_hedge_learn(&f, 20000, i % 64 < 60 ? 2 : 9, false);
    assert_true(ek_hedge_p95_s(&f, 50000) == 9);
    assert_true(ek_hedge_p95_s(&f, 256) < 0.2);
    for (int i = 0; i < 100; i++) ek_hedge_learn(&f, 100, 0.05, true); /* given up early: nothing */
    assert_true(ek_hedge_p95_s(&f, 100) > 0.189);
    for (int i = 0; i < 10; i++) ek_hedge_learn(&f, 100, 0.3, true);
    assert_true(ek_hedge_p95_s(&f, 100) > 0.29);
}

static void a_verdict_for_each_sight(void **state)
{
    (void)state;
    const struct ek_hedge_sight good = {.asked = true, .waited_s = 1, .after_s = 0.5, .there = true,
                                        .load_here = 0.5, .load_there = 0.2, .credit = 1};
    struct ek_hedge_sight s = good;
    assert_int_equal(ek_hedge_decide(&s), EK_HEDGE_GO);
    s.asked = false;
    assert_int_equal(ek_hedge_decide(&s), EK_HEDGE_NOT);
    s = good, s.after_s = 0;
    assert_int_equal(ek_hedge_decide(&s), EK_HEDGE_UNKNOWN);
    s = good, s.waited_s = 0.4;
    assert_int_equal(ek_hedge_decide(&s), EK_HEDGE_EARLY);
    s = good, s.there = false;
    assert_int_equal(ek_hedge_decide(&s), EK_HEDGE_NOWHERE);
    s = good, s.load_here = 0.7;
    assert_int_equal(ek_hedge_decide(&s), EK_HEDGE_BUSY);
    s = good, s.load_there = 0.7;
    assert_int_equal(ek_hedge_decide(&s), EK_HEDGE_BUSY);
    s = good, s.waiting = 1;
    assert_int_equal(ek_hedge_decide(&s), EK_HEDGE_BUSY);
    s = good, s.credit = 0.9;
    assert_int_equal(ek_hedge_decide(&s), EK_HEDGE_BUDGET);
}

/* ---- at the desk ----------------------------------------------------------------------------------- */

static const struct ek_tier_options tiers[] = {{.name = "quick", .weight = 1, .hedge = true},
                                               {.name = "usual", .weight = 1}};

struct play {
    struct ek_policy *desk;
    struct ek_now now;
    uint32_t ticket[4096], where[4096];
};

static struct play *play_new(double part, uint64_t after_ns)
{
    struct ek_desk_options o = {.queue = {.waiting_max = 1000, .hedge_part = part,
                                          .hedge_after_ns = after_ns},
                                .tiers = {tiers, 2}, .running_max = 900, .tell_min_ns = EK_S_NS,
                                .tell_max_ns = 10 * EK_S_NS, .tell_change = 0.1,
                                .down_grace_ns = 30 * EK_S_NS, .seed = 7};
    struct play *p = calloc(1, sizeof *p);
    p->now = (struct ek_now){10 * EK_S_NS, 1700000000 * EK_S_NS};
    p->desk = ek_desk_new(&o, p->now);
    assert_int_equal(ek_desk_pool(p->desk, 3), 0);
    for (uint32_t i = 0; i < 2; i++)
        ek_desk_load(p->desk, p->now, i, &(struct ek_load){.up = true, .slots = 10});
    return p;
}

static void play_free(struct play *p)
{
    ek_desk_check(p->desk);
    ek_desk_free(&p->desk);
    free(p);
}

static void pull(struct play *p)
{
    struct ek_action a;
    while (ek_desk_next(p->desk, p->now, &a) != EK_DESK_IDLE)
        if (a.act == EK_DESK_START) p->where[a.id] = a.upstream;
    ek_desk_check(p->desk);
}

static void pass(struct play *p, double s)
{
    p->now.mono_ns += (uint64_t)(s * 1e9);
    p->now.unix_ns += (uint64_t)(s * 1e9);
    pull(p);
}

static void come(struct play *p, uint64_t id, uint32_t tier)
{
    struct ek_action refusal;
    struct ek_arrival a = {.id = id, .account = id + 1, .tier = tier, .prompt_tokens = 100, .model = 1,
                           .price = {0, 100000, 1000000}, .deadline_ns = UINT64_MAX};
    p->where[id] = 99;
    assert_true(ek_desk_arrive(p->desk, p->now, &a, &p->ticket[id], &refusal));
    pull(p);
}

static uint32_t inflight(struct play *p, uint32_t upstream)
{
    struct ek_desk_upstream_stats s;
    ek_desk_upstream_stats(p->desk, upstream, &s);
    return s.inflight;
}

static enum ek_hedge_verdict hedge(struct play *p, uint64_t id, uint32_t *to)
{
    enum ek_hedge_verdict v = ek_desk_hedge(p->desk, p->now, p->ticket[id], 3, to);
    ek_desk_check(p->desk);
    return v;
}

static void the_winner_keeps_the_request(void **state)
{
    (void)state;
    struct play *p = play_new(0.5, 200 * EK_MS_NS);
    uint32_t to = 9;
    for (uint64_t id = 0; id < 4; id++) come(p, id, 0); /* a credit of two */
    come(p, 4, 1);
    assert_int_equal(hedge(p, 0, &to), EK_HEDGE_EARLY);
    pass(p, 0.3);
    assert_int_equal(hedge(p, 4, &to), EK_HEDGE_NOT); /* of a tier that does not ask */
    uint32_t first = p->where[0], here = inflight(p, first), there = inflight(p, 1 - first);
    assert_int_equal(hedge(p, 0, &to), EK_HEDGE_GO);
    assert_int_equal(to, 1 - first);
    assert_int_equal(inflight(p, to), there + 1);
    assert_int_equal(hedge(p, 0, &to), EK_HEDGE_NOT); /* it has one */
    ek_desk_hedge_end(p->desk, p->now, p->ticket[0], true);
    assert_int_equal(inflight(p, first), here - 1);
    assert_int_equal(inflight(p, 1 - first), there + 1);
    ek_desk_tokens(p->desk, p->now, p->ticket[0], 1);
    assert_int_equal(hedge(p, 0, &to), EK_HEDGE_NOT); /* it has a token */
    ek_desk_finished(p->desk, p->now, p->ticket[0], true);
    assert_int_equal(inflight(p, 1 - first), there);
    assert_int_equal(hedge(p, 1, &to), EK_HEDGE_GO);
    ek_desk_hedge_end(p->desk, p->now, p->ticket[1], false);
    assert_int_equal(hedge(p, 2, &to), EK_HEDGE_BUDGET);
    play_free(p);
}

static void only_where_there_is_room(void **state)
{
    (void)state;
    struct play *p = play_new(0.5, 200 * EK_MS_NS);
    uint32_t to;
    for (uint64_t id = 0; id < 14; id++) come(p, id, 0); /* seven of ten each */
    pass(p, 1);
    assert_int_equal(hedge(p, 0, &to), EK_HEDGE_BUSY);
    for (uint64_t id = 13; id > 11; id--) ek_desk_gone(p->desk, p->now, p->ticket[id]);
    assert_int_equal(hedge(p, 0, &to), EK_HEDGE_GO);
    ek_desk_gone(p->desk, p->now, p->ticket[0]); /* with its second attempt under way */
    ek_desk_check(p->desk);
    ek_desk_load(p->desk, p->now, 1 - p->where[1], &(struct ek_load){.up = false});
    assert_int_equal(hedge(p, 1, &to), EK_HEDGE_NOWHERE);
    play_free(p);
}

/* A tenth of all first tokens are late: by a delay or by what is known of them, no more second attempts are
 * made than the budget allows, whatever becomes of the two. */
static void no_more_than_the_budget(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct play *p = play_new(0.05, seed % 2 ? 200 * EK_MS_NS : 0);
        struct ek_random rng = ek_random_make(seed);
        uint32_t sent = 0, second = 0;
        for (uint64_t id = 0; id < 2000; id++) {
            uint32_t to = 0, draw = (uint32_t)(ek_random_unit(&rng) * 5);
            come(p, id, 0);
            sent++;
            assert_true(p->where[id] < 2);
            pass(p, ek_random_unit(&rng) < 0.1 ? 1 : 0.05);
            bool hedged = hedge(p, id, &to) == EK_HEDGE_GO;
            second += hedged;
            if (hedged && draw < 2) ek_desk_hedge_end(p->desk, p->now, p->ticket[id], draw == 0);
            if (draw < 4) ek_desk_tokens(p->desk, p->now, p->ticket[id], 3);
            if (draw == 3) ek_desk_back(p->desk, p->now, p->ticket[id], EK_WHY_RETRYING);
            if (draw == 3) pull(p);
            if (draw == 2) ek_desk_gone(p->desk, p->now, p->ticket[id]);
            else ek_desk_finished(p->desk, p->now, p->ticket[id], true);
            pull(p);
            assert_int_equal(inflight(p, 0) + inflight(p, 1), 0);
        }
        if (seed <= 2) printf("%s: %u second attempts of %u\n", seed % 2 ? "delay" : "p95", second, sent);
        assert_true(second <= sent / 20);
        if (seed % 2) assert_true(second >= sent / 25);
        play_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_p95_is_that_of_its_length),
        cmocka_unit_test(a_verdict_for_each_sight),
        cmocka_unit_test(the_winner_keeps_the_request),
        cmocka_unit_test(only_where_there_is_room),
        cmocka_unit_test(no_more_than_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
