/* SPDX-License-Identifier: MIT */
/* The order in which people are served: the tree under it against a plain array, and the promises about
 * shares, accounts, users, owners and places, on a virtual engine. */
#include "policy_world.h"

#include "policy/tree.h"

static const struct ek_tier_options three_tiers[] = {
    {.name = "free", .weight = 1}, {.name = "plus", .weight = 3}, {.name = "pro", .weight = 6}};

static struct ek_desk_options options(uint32_t tiers)
{
    return (struct ek_desk_options){.queue.waiting_max = 20000, .tiers = {three_tiers, tiers},
                                    .running_max = 1000, .tell_min_ns = EK_S_NS,
                                    .tell_max_ns = 10 * EK_S_NS, .tell_change = 0.1,
                                    .down_grace_ns = 60 * EK_S_NS, .seed = 5};
}

static struct ek_used of_size(struct world *w, double median)
{
    double out = median * exp(0.8 * world_normal(w));
    return (struct ek_used){.prompt_tokens = 100 + (uint32_t)(world_unit(w) * 1000),
                            .output_tokens = 1 + (uint32_t)fmin(out, 8 * median)};
}

static struct world_guest *send(struct world *w, uint64_t account, uint32_t tier, double median)
{
    struct ek_used u = of_size(w, median);
    struct ek_arrival a = {.account = account, .tier = tier, .prompt_tokens = u.prompt_tokens, .model = 7};
    return world_come(w, &a, &u);
}

/* ---- the tree ------------------------------------------------------------------------------------- */

#define NODES 400

static void the_tree_agrees_with_a_plain_array(void **state)
{
    (void)state;
    static struct ek_tree_node node[NODES];
    struct ek_tree t = {0};
    struct ek_random r = ek_random_make(11);
    for (int i = 0; i < 60000; i++) {
        struct ek_tree_node *n = &node[ek_random_below(&r, NODES)];
        int64_t key = (int64_t)ek_random_below(&r, 40) - 20;
        int64_t value = (int64_t)ek_random_below(&r, 1000) - 100;
        if (!ek_tree_has(n)) ek_tree_put(&t, n, key, (uint64_t)i + 1, value);
        else if (ek_random_below(&r, 3) == 0) ek_tree_set_value(&t, n, (int64_t)ek_random_below(&r, 500));
        else ek_tree_remove(&t, n);
        if (i % 16) continue;
        uint64_t seq = ek_random_below(&r, (uint64_t)i + 2);
        struct ek_tree_sum sum = ek_tree_before(&t, key, seq), plain = {0};
        const struct ek_tree_node *first = NULL;
        for (int k = 0; k < NODES; k++) {
            const struct ek_tree_node *o = &node[k];
            if (!ek_tree_has(o)) continue;
            if (!first || o->key < first->key || (o->key == first->key && o->seq < first->seq)) first = o;
            if (o->key > key || (o->key == key && o->seq >= seq)) continue;
            plain.count++;
            plain.sum += (uint64_t)o->value;
        }
        assert_int_equal(sum.count, plain.count);
        assert_true(sum.sum == plain.sum);
        assert_ptr_equal(ek_tree_first(&t), first);
        ek_tree_check(&t);
    }
}

/* ---- accounts ------------------------------------------------------------------------------------- */

/* Account 1 sends ten times as many, account 2 ten times as long ones; all always have some waiting. Over
 * any stretch of time their service differs by at most 2 max(w_in L, w_out M), where M is what the engine
 * holds at once (Sheng et al., OSDI 2024). */
static void accounts_are_served_equally_whatever_they_send(void **state)
{
    (void)state;
    enum { ACCOUNTS = 5, SLOTS = 8 };
    struct ek_desk_options o = options(1);
    struct world *w = world_new(&o, SLOTS, 21);
    uint32_t waiting[ACCOUNTS] = {0}, seen = 0;
    double served[ACCOUNTS] = {0}, worst = 0, largest = 0;
    for (int step = 0; step < 6000; step++) {
        for (uint32_t k = 0; k < ACCOUNTS; k++) waiting[k] = 0;
        for (uint32_t i = 0; i < w->guests; i++)
            if (w->guest[i].waits) waiting[w->guest[i].a.account]++;
        for (uint32_t k = 0; k < ACCOUNTS; k++)
            while (waiting[k] < (k == 1 ? 20u : 2u)) {
                send(w, k, 0, k == 2 ? 3000 : 300);
                waiting[k]++;
            }
        world_until(w, w->now.mono_ns + EK_S_NS);
        if (step % 10) continue;
        for (uint32_t k = 0; k < ACCOUNTS; k++) served[k] = 0;
        for (uint32_t i = seen; i < w->guests; i++) { /* settled, or charged so far, as time passes */
            const struct world_guest *g = &w->guest[i];
            if (!g->started_ns) continue;
            double part = (double)(w->now.mono_ns - g->started_ns) / (double)(g->ended_ns - g->started_ns);
            served[g->a.account] += world_cost(g) * fmin(1, part);
            largest = fmax(largest, world_cost(g));
        }
        for (uint32_t k = 1; k < ACCOUNTS && step > 100; k++)
            worst = fmax(worst, fabs(served[k] - served[0]));
    }
    double total = 0;
    for (uint32_t k = 0; k < ACCOUNTS; k++) total += served[k];
    printf("worst difference %.2e nano, bound %.2e, served %.2e each\n", worst, 2 * SLOTS * largest,
           total / ACCOUNTS);
    assert_true(worst <= 2 * SLOTS * largest);
    assert_true(worst <= 0.1 * total / ACCOUNTS);
    ek_desk_check(w->desk);
    world_free(w);
}

/* One owner with a thousand fresh accounts beside nine proven accounts. */
static void a_thousand_accounts_of_one_owner_gain_nothing(void **state)
{
    (void)state;
    struct ek_desk_options o = options(1);
    struct world *w = world_new(&o, 8, 22);
    double mine = 0, all = 0;
    uint32_t backlog[11] = {0};
    for (int step = 0; step < 4000; step++) {
        for (uint32_t k = 0; k <= 10; k++) backlog[k] = 0;
        for (uint32_t i = 0; i < w->guests; i++)
            if (w->guest[i].waits) backlog[w->guest[i].user_account]++;
        for (uint32_t k = 0; k < 9; k++)
            for (; backlog[k] < 3; backlog[k]++) send(w, k, 0, 300)->user_account = k;
        for (; backlog[10] < 300; backlog[10]++) {
            struct ek_used u = of_size(w, 300);
            struct ek_arrival a = {.account = 1000 + ek_random_below(&w->rng, 1000), .owner = 555, .model = 7,
                                   .prompt_tokens = u.prompt_tokens};
            world_come(w, &a, &u)->user_account = 10;
        }
        world_until(w, w->now.mono_ns + EK_S_NS);
    }
    for (uint32_t i = 0; i < w->guests; i++) {
        if (!w->guest[i].started_ns) continue;
        all += world_cost(&w->guest[i]);
        if (w->guest[i].user_account == 10) mine += world_cost(&w->guest[i]);
    }
    printf("share of the owner of 1,000: %.4f of fair\n", mine / (all / 10));
    assert_true(mine / (all / 10) < 1.05);
    assert_true(mine / (all / 10) > 0.9);
    world_free(w);
}

/* The same one level down: a user who floods does not starve the other users of the account. */
static void users_of_an_account_share_it(void **state)
{
    (void)state;
    struct ek_desk_options o = options(1);
    struct world *w = world_new(&o, 2, 23);
    double served[3] = {0};
    for (int i = 0; i < 600; i++) {
        struct ek_used u = of_size(w, 300);
        struct ek_arrival a = {.account = 1, .user = i < 400 ? 1u : 2u, .model = 7,
                               .prompt_tokens = u.prompt_tokens};
        world_come(w, &a, &u);
    }
    world_until(w, w->now.mono_ns + 1000 * EK_S_NS);
    for (uint32_t i = 0; i < w->guests; i++)
        if (w->guest[i].started_ns) served[w->guest[i].a.user] += world_cost(&w->guest[i]);
    printf("users: %.3e and %.3e\n", served[1], served[2]);
    assert_true(fabs(served[1] - served[2]) < 0.15 * served[1]);
    world_free(w);
}

/* ---- tiers ---------------------------------------------------------------------------------------- */

static void run_tiers(struct world *w, const uint32_t *backlog, int steps, double share[3],
                      double wait_max_s[3])
{
    double served[3] = {0};
    uint32_t from = w->starts;
    uint32_t first = w->guests;
    for (int step = 0; step < steps; step++) {
        uint32_t waiting[3] = {0};
        for (uint32_t i = 0; i < w->guests; i++)
            if (w->guest[i].waits) waiting[w->guest[i].a.tier]++;
        for (uint32_t t = 0; t < 3; t++)
            for (; waiting[t] < backlog[t]; waiting[t]++)
                send(w, 100 * t + ek_random_below(&w->rng, 50), t, 300);
        world_until(w, w->now.mono_ns + EK_S_NS);
    }
    for (uint32_t i = 0; i < w->guests; i++) {
        const struct world_guest *g = &w->guest[i];
        if (i >= first && g->started_ns)
            wait_max_s[g->a.tier] = fmax(wait_max_s[g->a.tier], (double)(g->started_ns - g->came_ns) * 1e-9);
        if (g->order > from) served[g->a.tier] += world_cost(g);
    }
    double all = served[0] + served[1] + served[2];
    for (int t = 0; t < 3; t++) share[t] = served[t] / all;
    printf("shares %.3f %.3f %.3f, longest waits %.0f %.0f %.0f s\n", share[0], share[1], share[2],
           wait_max_s[0], wait_max_s[1], wait_max_s[2]);
}

static void tiers_get_their_shares_and_lend_what_is_idle(void **state)
{
    (void)state;
    struct ek_desk_options o = options(3);
    struct world *w = world_new(&o, 16, 24);
    double share[3], wait_s[3] = {0};
    run_tiers(w, (const uint32_t[]){300, 30, 60}, 2000, share, wait_s); /* free is flooded; all have work */
    assert_true(fabs(share[0] - 0.1) < 0.015 && fabs(share[1] - 0.3) < 0.03 && fabs(share[2] - 0.6) < 0.03);
    run_tiers(w, (const uint32_t[]){300, 30, 0}, 2000, share, wait_s); /* pro goes home: lent 1 : 3 */
    assert_true(fabs(share[0] - 0.25) < 0.03);
    run_tiers(w, (const uint32_t[]){300, 0, 0}, 500, share, wait_s);
    assert_true(share[0] > 0.9);
    double late_s[3] = {0};
    run_tiers(w, (const uint32_t[]){300, 0, 1}, 1000, share, late_s); /* pro comes back, one at a time */
    assert_true(late_s[2] < 20); /* no credit, no debt: the next slots are its */
    ek_desk_check(w->desk);
    world_free(w);
}

/* ---- places --------------------------------------------------------------------------------------- */

/* With the doors closed, the position first told is the order of starts, but for what settling moves. */
static void positions_are_the_order_of_starts(void **state)
{
    (void)state;
    struct ek_desk_options o = options(3);
    o.tell_change = 0; /* every change is told */
    struct world *w = world_new(&o, 1, 25);
    double off = 0, n = 0;
    struct ek_used long_one = {.prompt_tokens = 1, .output_tokens = 10000};
    struct ek_arrival busy = {.account = 1, .prompt_tokens = 1, .output_tokens = 10000};
    world_come(w, &busy, &long_one); /* keeps the engine busy while they come */
    for (int i = 0; i < 900; i++) {
        struct ek_used u = {.prompt_tokens = 1, .output_tokens = 100};
        struct ek_arrival a = {.account = 1 + ek_random_below(&w->rng, 1 + ek_random_below(&w->rng, 60)),
                               .tier = (uint32_t)ek_random_below(&w->rng, 3), .model = 7, .prompt_tokens = 1,
                               .output_tokens = 100};
        world_come(w, &a, &u);
    }
    ek_desk_check(w->desk);
    struct ek_action act;
    w->now.mono_ns += 20 * EK_S_NS; /* everyone is told anew where it stands */
    uint32_t told[1000] = {0};
    for (int r = 0; r < 8; r++) {
        while (ek_desk_next(w->desk, w->now, &act) != EK_DESK_IDLE)
            if (act.act == EK_DESK_TELL) told[act.id] = act.position;
        w->now.mono_ns += EK_S_NS / 4;
    }
    world_until(w, w->now.mono_ns + 100000 * EK_S_NS);
    for (uint32_t i = 1; i < w->guests; i++) {
        assert_true(told[i] > 0 && w->guest[i].order > 1);
        off += fabs((double)told[i] - (w->guest[i].order - 1.0));
        n++;
    }
    printf("mean distance of position from truth: %.2f of %.0f\n", off / n, n);
    assert_true(off / n < 0.02 * n);
    world_free(w);
}

static void a_running_conversation_goes_before_new_ones_of_its_account(void **state)
{
    (void)state;
    struct ek_desk_options o = options(1);
    struct world *w = world_new(&o, 1, 26);
    struct ek_used u = {.prompt_tokens = 10, .output_tokens = 40};
    struct ek_arrival a = {.account = 1, .conversation = 9, .prompt_tokens = 10};
    world_come(w, &a, &u);
    a.conversation = 0;
    struct world_guest *fresh = world_come(w, &a, &u);
    a.conversation = 9;
    struct world_guest *running = world_come(w, &a, &u);
    assert_int_equal(running->first_position, 1);
    world_until(w, w->now.mono_ns + 60 * EK_S_NS);
    assert_true(running->order < fresh->order);
    world_free(w);
}

static void who_comes_again_finds_the_place_kept(void **state)
{
    (void)state;
    struct ek_desk_options o = options(1);
    struct world *w = world_new(&o, 1, 27);
    struct ek_used u = {.prompt_tokens = 10, .output_tokens = 400};
    struct ek_arrival a = {.account = 1, .prompt_tokens = 10};
    uint64_t old_id;
    world_come(w, &a, &u);
    a.repeat = 42;
    struct world_guest *early = world_come(w, &a, &u);
    a.repeat = 0;
    for (uint64_t i = 0; i < 5; i++) { a.account = 1 + i % 2; world_come(w, &a, &u); }
    /* The connection still stands: the new one takes over. */
    assert_int_equal(ek_desk_rejoin(w->desk, w->now, 42, early->a.id, &old_id), early->ticket);
    assert_int_equal(ek_desk_rejoin(w->desk, w->now, 43, 1, &old_id), 0);
    world_pull(w);
    /* It left and comes back. */
    early->waits = false;
    ek_desk_gone(w->desk, w->now, early->ticket);
    a.repeat = 42;
    a.account = 1;
    struct world_guest *again = world_come(w, &a, &u);
    assert_int_equal(again->first_position, early->first_position);
    struct ek_desk_stats s;
    ek_desk_stats(w->desk, &s);
    assert_int_equal(s.rejoined, 2);
    ek_desk_check(w->desk);
    world_free(w);
}

static void a_deadline_that_cannot_be_met_is_refused_at_once(void **state)
{
    (void)state;
    struct ek_desk_options o = options(1);
    struct world *w = world_new(&o, 2, 28);
    for (uint64_t i = 0; i < 60; i++) send(w, i, 0, 400);
    world_until(w, w->now.mono_ns + 100 * EK_S_NS);
    struct ek_used u = of_size(w, 400);
    struct ek_arrival a = {.account = 900, .prompt_tokens = 100, .deadline_ns = w->now.mono_ns + EK_S_NS};
    assert_null(world_come(w, &a, &u));
    a.deadline_ns = w->now.mono_ns + 100000 * EK_S_NS;
    assert_non_null(world_come(w, &a, &u));
    struct ek_desk_stats s;
    ek_desk_stats(w->desk, &s);
    assert_int_equal(s.late, 1);
    world_free(w);
}

/* Prompts that begin alike are served in a row, and nobody pays for it with more than the quantum. */
static void warm_prefixes_go_together(void **state)
{
    (void)state;
    uint64_t cached[2] = {0};
    for (int with = 0; with < 2; with++) {
        struct ek_desk_options o = options(1);
        struct world *w = world_new(&o, 2, 29);
        uint32_t hot[4] = {0}, last[4] = {0};
        for (uint32_t i = 0; i < 1200; i++) {
            uint64_t book = ek_random_below(&w->rng, 40);
            struct ek_used u = {.prompt_tokens = 4000, .output_tokens = 40};
            struct ek_arrival a = {.account = 1 + i % 30, .prompt_tokens = 4000, .output_tokens = 40,
                                   .prefix_count = with ? 1u : 0u,
                                   .prefix = {{book * 0x9e3779b97f4a7c15ull + 1, 3800}}};
            world_come(w, &a, &u)->user_account = book;
        }
        world_until(w, w->now.mono_ns + 600 * EK_S_NS);
        for (uint32_t n = 1; n <= w->starts; n++) /* an engine that keeps the last four books */
            for (uint32_t i = 0; i < w->guests; i++) {
                if (w->guest[i].order != n) continue;
                uint32_t at = 4, oldest = 0;
                for (uint32_t k = 0; k < 4; k++) {
                    if (hot[k] == w->guest[i].user_account + 1) at = k;
                    if (last[k] < last[oldest]) oldest = k;
                }
                cached[with] += at < 4;
                at = at < 4 ? at : oldest;
                hot[at] = (uint32_t)w->guest[i].user_account + 1;
                last[at] = n;
            }
        ek_desk_check(w->desk);
        world_free(w);
    }
    printf("prompts found in a cache of four books: %llu untold, %llu told of their prefixes\n",
           (unsigned long long)cached[0], (unsigned long long)cached[1]);
    assert_true(cached[1] > 2 * cached[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_agrees_with_a_plain_array),
        cmocka_unit_test(accounts_are_served_equally_whatever_they_send),
        cmocka_unit_test(a_thousand_accounts_of_one_owner_gain_nothing),
        cmocka_unit_test(users_of_an_account_share_it),
        cmocka_unit_test(tiers_get_their_shares_and_lend_what_is_idle),
        cmocka_unit_test(positions_are_the_order_of_starts),
        cmocka_unit_test(a_running_conversation_goes_before_new_ones_of_its_account),
        cmocka_unit_test(who_comes_again_finds_the_place_kept),
        cmocka_unit_test(a_deadline_that_cannot_be_met_is_refused_at_once),
        cmocka_unit_test(warm_prefixes_go_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
