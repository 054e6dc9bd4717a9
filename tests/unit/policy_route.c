/* SPDX-License-Identifier: MIT */
/* Which upstream takes a request: by our own count of what is there, by weight, by the work that is foreseen,
 * by what is warm as long as load allows it, and elsewhere for one that failed. */
#include "cm.h"

#include "policy/desk.h"

#include <stdio.h>
#include <string.h>

static const struct ek_tier_options one_tier[] = {{.name = "default", .weight = 1}};
static const struct ek_desk_price price = {70000, 270000, 1100000};

struct play {
    struct ek_policy *desk;
    struct ek_now now;
    uint32_t count[4];     /* of STARTs, by upstream */
    uint32_t ticket[1024]; /* by id */
    uint32_t where[1024];
};

static struct play play_new(uint32_t upstreams, uint32_t slots, const uint32_t weight[4])
{
    struct ek_desk_options o = {.queue.waiting_max = 500, .tiers = {one_tier, 1}, .running_max = 900,
                                .tell_min_ns = EK_S_NS, .tell_max_ns = 10 * EK_S_NS, .tell_change = 0.1,
                                .down_grace_ns = 60 * EK_S_NS, .seed = 7};
    struct play p = {.now = {10 * EK_S_NS, 1000 * EK_S_NS}};
    p.desk = ek_desk_new(&o, p.now);
    assert_non_null(p.desk);
    ek_desk_pool(p.desk, (1u << upstreams) - 1);
    for (uint32_t u = 0; u < upstreams; u++)
        ek_desk_load(p.desk, p.now, u, &(struct ek_load){.up = true, .slots = slots - 1,
                                                         .weight = weight[u]});
    return p;
}

static void pull(struct play *p)
{
    struct ek_action a;
    while (ek_desk_next(p->desk, p->now, &a) != EK_DESK_IDLE) {
        if (a.act != EK_DESK_START) continue;
        p->count[a.upstream]++;
        p->ticket[a.id] = a.ticket;
        p->where[a.id] = a.upstream;
    }
    ek_desk_check(p->desk);
}

static void come(struct play *p, uint64_t id, uint32_t prompt, uint64_t prefix)
{
    struct ek_action refusal;
    uint32_t ticket;
    struct ek_arrival a = {.id = id, .account = id, .prompt_tokens = prompt, .output_tokens = 100,
                           .price = price, .deadline_ns = UINT64_MAX, .prefix_count = prefix ? 1 : 0};
    a.prefix[0] = (struct ek_prefix){prefix, prompt};
    assert_true(ek_desk_arrive(p->desk, p->now, &a, &ticket, &refusal));
    pull(p);
}

static void go(struct play *p, uint64_t id)
{
    p->now.mono_ns += EK_S_NS;
    ek_desk_finished(p->desk, p->now, p->ticket[id], true);
    pull(p);
}

static const uint32_t even[4] = {10, 10, 10, 10};

static void all_get_their_part(void **state)
{
    (void)state;
    struct play p = play_new(4, 16, even);
    for (uint64_t id = 1; id <= 40; id++) come(&p, id, 100, 0);
    for (int u = 0; u < 4; u++) assert_int_equal(p.count[u], 10);
    ek_desk_free(&p.desk);
}

static void weight_is_the_part_of_the_work(void **state)
{
    (void)state;
    const uint32_t weight[4] = {30, 10, 0, 0};
    struct play p = play_new(2, 100, weight);
    for (uint64_t id = 1; id <= 80; id++) come(&p, id, 100, 0);
    assert_in_range(p.count[0], 56, 64); /* three of four */
    for (uint64_t id = 81; id <= 200; id++) come(&p, id, 100, 0);
    assert_int_equal(p.count[0], 100); /* under load every slot is used all the same */
    assert_int_equal(p.count[1], 100);
    ek_desk_free(&p.desk);
}

/* As many requests here as there, but long ones: our own count, of work, says so at once. */
static void long_work_counts_for_more(void **state)
{
    (void)state;
    struct play p = play_new(2, 32, even);
    come(&p, 1, 60000, 0);
    come(&p, 2, 100, 0);
    assert_true(p.where[1] != p.where[2]);
    come(&p, 3, 100, 0);
    assert_int_equal(p.where[3], p.where[2]);
    ek_desk_free(&p.desk);
}

static void what_is_warm_draws_until_load_is_against_it(void **state)
{
    (void)state;
    struct play p = play_new(2, 16, even);
    come(&p, 1, 5000, 77);
    uint32_t home = p.where[1];
    go(&p, 1);
    for (uint64_t id = 2; id <= 5; id++) { /* a conversation stays where it is */
        come(&p, id, 5000, 77);
        assert_int_equal(p.where[id], home);
        go(&p, id);
    }
    for (uint64_t id = 10; id < 42; id++) come(&p, id, 5000, 77); /* a crowd of it does not */
    assert_int_equal(p.count[0] + p.count[1], 37);
    assert_true(p.count[1 - home] >= 12);
    ek_desk_free(&p.desk);
}

static void one_that_failed_goes_elsewhere(void **state)
{
    (void)state;
    struct play p = play_new(3, 4, even);
    come(&p, 1, 100, 0);
    for (int i = 0; i < 6; i++) {
        uint32_t last = p.where[1];
        ek_desk_back(p.desk, p.now, p.ticket[1], EK_WHY_RETRYING);
        ek_desk_only(p.desk, p.ticket[1], 7u & ~(1u << last));
        pull(&p);
        assert_true(p.where[1] != last);
    }
    uint32_t only = p.where[1] == 2 ? 1 : 2; /* it is down: then anywhere is better than nowhere */
    ek_desk_load(p.desk, p.now, only, &(struct ek_load){.up = false, .slots = 3});
    ek_desk_back(p.desk, p.now, p.ticket[1], EK_WHY_RETRYING);
    ek_desk_only(p.desk, p.ticket[1], 1u << only);
    p.where[1] = 99;
    pull(&p);
    assert_true(p.where[1] < 3 && p.where[1] != only);
    go(&p, 1);
    come(&p, 2, 100, 0); /* what one was bound to binds nobody after it */
    assert_true(p.ticket[2] != 0);
    ek_desk_free(&p.desk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_get_their_part),
        cmocka_unit_test(weight_is_the_part_of_the_work),
        cmocka_unit_test(long_work_counts_for_more),
        cmocka_unit_test(what_is_warm_draws_until_load_is_against_it),
        cmocka_unit_test(one_that_failed_goes_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
