/* SPDX-License-Identifier: MIT */
/* Places that are kept: one whose connection broke is passed by and passes nobody, stands where it stood
 * when it is back, and ends exactly once whatever happens. */
#include "policy_world.h"

static struct ek_desk_options options(uint64_t waiting_max)
{
    static const struct ek_tier_options tier[] = {{.name = "only", .weight = 1}};
    return (struct ek_desk_options){.queue = {.waiting_max = waiting_max}, .tiers = {tier, 1},
                                    .running_max = 100, .tell_min_ns = EK_S_NS, .tell_max_ns = 10 * EK_S_NS,
                                    .tell_change = 0.1, .down_grace_ns = 30 * EK_S_NS, .seed = 3};
}

static const struct ek_used work = {.prompt_tokens = 40, .output_tokens = 40}; /* about a second */

static struct world_guest *come(struct world *w, uint64_t account)
{
    struct ek_arrival a = {.account = account, .prompt_tokens = 40, .output_tokens = 40};
    return world_come(w, &a, &work);
}

static void leave(struct world *w, struct world_guest *g, uint64_t grace_ns)
{
    assert_true(g->waits);
    assert_true(ek_desk_absent(w->desk, w->now, g->ticket, w->now.mono_ns + grace_ns));
    g->waits = false; /* the world fails if it is started now */
    ek_desk_check(w->desk);
}

static void back(struct world *w, struct world_guest *g)
{
    assert_false(g->waits);
    ek_desk_present(w->desk, w->now, g->ticket, g->a.id);
    g->waits = true;
    g->first_position = 0;
    ek_desk_check(w->desk);
    world_pull(w);
}

static void stands_where_it_stood(void **state)
{
    (void)state;
    struct ek_desk_options o = options(100);
    struct world *w = world_new(&o, 1, 1);
    come(w, 1);
    struct world_guest *a = come(w, 1), *b = come(w, 1), *c = come(w, 1);
    assert_int_equal(c->first_position, 3);
    leave(w, a, 60 * EK_S_NS);
    assert_int_equal(ek_desk_counts(w->desk).absent, 1);
    assert_int_equal(ek_desk_counts(w->desk).waiting, 2);
    world_until(w, w->now.mono_ns + 3 * EK_S_NS / 2); /* the first has ended: b went past a */
    assert_int_equal(b->order, 2);
    back(w, a);
    assert_int_equal(a->first_position, 1); /* told at once, and before c */
    world_until(w, w->now.mono_ns + 10 * EK_S_NS);
    assert_int_equal(a->order, 3);
    assert_int_equal(c->order, 4);
    world_free(w);
}

/* The account's claim is kept too: what it did not get while away, it gets when it is back. */
static void another_account_gains_nothing(void **state)
{
    (void)state;
    struct ek_desk_options o = options(100);
    struct world *w = world_new(&o, 1, 1);
    struct world_guest *theirs[6];
    for (int i = 0; i < 6; i++) theirs[i] = come(w, 1);
    struct world_guest *mine = come(w, 2);
    leave(w, mine, 60 * EK_S_NS);
    world_until(w, w->now.mono_ns + 7 * EK_S_NS / 2);
    assert_true(theirs[2]->order > 0 && theirs[5]->order == 0);
    uint32_t before = w->starts;
    back(w, mine);
    world_until(w, w->now.mono_ns + 20 * EK_S_NS);
    assert_int_equal(mine->order, before + 1);
    world_free(w);
}

static struct ek_action next_refusal(struct world *w)
{
    struct ek_action a;
    while (ek_desk_next(w->desk, w->now, &a) != EK_DESK_IDLE)
        if (a.act == EK_DESK_REFUSE) return a;
    return (struct ek_action){0};
}

static void ends_when_its_time_ends(void **state)
{
    (void)state;
    struct ek_desk_options o = options(100);
    struct world *w = world_new(&o, 1, 1);
    come(w, 1);
    struct world_guest *a = come(w, 1);
    struct ek_arrival hurried = {.account = 1, .prompt_tokens = 40,
                                 .deadline_ns = w->now.mono_ns + EK_S_NS / 2};
    struct world_guest *b = world_come(w, &hurried, &work);
    leave(w, a, EK_S_NS / 4);
    leave(w, b, 60 * EK_S_NS);
    assert_int_equal(ek_desk_wake_ns(w->desk) <= w->now.mono_ns + EK_S_NS / 4, 1);
    w->now.mono_ns += EK_S_NS / 4;
    struct ek_action r = next_refusal(w);
    assert_int_equal(r.ticket, a->ticket);
    assert_int_equal(r.reason, EK_REASON_CLIENT_GONE);
    w->now.mono_ns += EK_S_NS / 4;
    r = next_refusal(w);
    assert_int_equal(r.ticket, b->ticket);
    assert_int_equal(r.reason, EK_REASON_DEADLINE); /* its own patience was shorter than the grace */
    assert_int_equal(ek_desk_counts(w->desk).absent, 0);
    ek_desk_check(w->desk);
    world_free(w);
}

static void bounded_and_drained(void **state)
{
    (void)state;
    struct ek_desk_options o = options(3);
    struct world *w = world_new(&o, 1, 1);
    struct world_guest *runs = come(w, 1);
    for (int i = 0; i < 3; i++) leave(w, come(w, 1), 60 * EK_S_NS);
    struct world_guest *late = come(w, 1); /* those who left take no room in line */
    assert_non_null(late);
    assert_false(ek_desk_absent(w->desk, w->now, late->ticket, w->now.mono_ns + EK_S_NS));
    ek_desk_gone(w->desk, w->now, late->ticket);
    late->waits = false;
    ek_desk_finished(w->desk, w->now, runs->ticket, true);
    ek_heap_remove(&w->ends, &runs->ends);
    world_pull(w);
    assert_int_equal(w->starts, 1); /* nobody is there */
    ek_desk_drain(w->desk, w->now, w->now.mono_ns);
    world_pull(w);
    assert_int_equal(ek_desk_counts(w->desk).absent, 0);
    assert_int_equal(w->refusals, 3);
    ek_desk_check(w->desk);
    world_free(w);
}

static void a_repeat_finds_the_absent(void **state)
{
    (void)state;
    struct ek_desk_options o = options(10);
    struct world *w = world_new(&o, 1, 1);
    uint64_t old;
    come(w, 1);
    struct ek_arrival a = {.account = 1, .prompt_tokens = 40, .repeat = 77};
    struct world_guest *g = world_come(w, &a, &work);
    leave(w, g, 60 * EK_S_NS);
    assert_int_equal(ek_desk_rejoin(w->desk, w->now, 77, g->a.id, &old), g->ticket);
    assert_int_equal(old, g->a.id);
    g->waits = true;
    world_until(w, w->now.mono_ns + 5 * EK_S_NS);
    assert_int_equal(g->order, 2);
    assert_int_equal(ek_desk_rejoin(w->desk, w->now, 77, g->a.id, &old), 0);
    world_free(w);
}

/* After a restart: 200 places made anew in their order, their holders back in any. */
static void a_crowd_comes_back(void **state)
{
    (void)state;
    struct ek_desk_options o = options(300);
    struct world *w = world_new(&o, 4, 20261122);
    struct world_guest *g[200];
    uint32_t turn[200];
    ek_desk_hold(w->desk, w->now, w->now.mono_ns + 2 * EK_S_NS);
    for (uint32_t i = 0; i < 200; i++) {
        struct ek_arrival a = {.id = i, .account = 9, .prompt_tokens = 40, .output_tokens = 40,
                               .price = world_price, .deadline_ns = UINT64_MAX};
        struct ek_action refusal;
        g[i] = &w->guest[w->guests++];
        *g[i] = (struct world_guest){.a = a, .used = work};
        assert_true(ek_desk_arrive(w->desk, w->now, &a, &g[i]->ticket, &refusal));
        assert_true(ek_desk_absent(w->desk, w->now, g[i]->ticket, w->now.mono_ns + 60 * EK_S_NS));
        turn[i] = i;
    }
    world_pull(w);
    for (uint32_t i = 199; i > 0; i--) {
        uint32_t k = (uint32_t)ek_random_below(&w->rng, i + 1), t = turn[i];
        turn[i] = turn[k];
        turn[k] = t;
    }
    for (uint32_t i = 0; i < 200; i++) {
        world_until(w, w->now.mono_ns + 5 * EK_MS_NS);
        assert_int_equal(w->starts, 0); /* held: not all are back */
        back(w, g[turn[i]]);
    }
    world_until(w, w->now.mono_ns + 200 * EK_S_NS);
    for (uint32_t i = 0; i < 200; i++) assert_int_equal(g[i]->order, i + 1);
    world_free(w);
}

static void the_hold_ends(void **state)
{
    (void)state;
    struct ek_desk_options o = options(10);
    struct world *w = world_new(&o, 1, 5);
    ek_desk_hold(w->desk, w->now, w->now.mono_ns + 2 * EK_S_NS);
    struct world_guest *at_once = come(w, 1); /* nobody is absent: nothing to wait for */
    assert_int_equal(at_once->order, 1);
    struct world_guest *gone = come(w, 1), *here = come(w, 1);
    leave(w, gone, 60 * EK_S_NS);
    world_until(w, w->now.mono_ns + 3 * EK_S_NS / 2);
    assert_int_equal(here->order, 0);
    world_until(w, w->now.mono_ns + EK_S_NS);
    assert_int_equal(here->order, 2);
    world_free(w);
}

/* Anything in any order: the invariants hold, and nobody is started who is not there. */
static void at_random(void **state)
{
    (void)state;
    struct ek_desk_options o = options(60);
    struct world *w = world_new(&o, 3, 20261121);
    uint64_t absences = 0;
    for (uint32_t step = 0; step < 9000; step++) {
        uint64_t dice = ek_random_below(&w->rng, 100);
        world_until(w, w->now.mono_ns + ek_random_below(&w->rng, EK_S_NS / 4));
        if (dice < 40) come(w, 1 + ek_random_below(&w->rng, 5));
        struct world_guest *g = w->guests ? &w->guest[ek_random_below(&w->rng, w->guests)] : NULL;
        for (uint32_t i = 0; i < 20 && w->guests; i++) { /* prefer those of late */
            uint32_t from = w->guests > 60 ? w->guests - 60 : 0;
            g = &w->guest[from + ek_random_below(&w->rng, w->guests - from)];
            if (g->waits || (g->user_account && !g->refused)) break;
        }
        if (dice >= 40 && dice < 70 && g && g->waits &&
            ek_desk_absent(w->desk, w->now, g->ticket,
                           w->now.mono_ns + ek_random_below(&w->rng, 20 * EK_S_NS))) {
            g->waits = false;
            g->user_account = 1; /* here: absent */
            absences++;
        } else if (dice >= 70 && g && g->user_account && !g->refused) {
            g->user_account = 0;
            if (dice >= 95) {
                ek_desk_gone(w->desk, w->now, g->ticket);
            } else {
                back(w, g);
            }
        }
        ek_desk_check(w->desk);
    }
    struct ek_desk_counts n = ek_desk_counts(w->desk);
    printf("%llu absences, %llu started, %llu refused, %llu gone\n", (unsigned long long)absences,
           (unsigned long long)n.started, (unsigned long long)n.refused, (unsigned long long)n.gone);
    assert_true(absences > 300 && n.started > 800);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stands_where_it_stood), cmocka_unit_test(another_account_gains_nothing),
        cmocka_unit_test(ends_when_its_time_ends), cmocka_unit_test(bounded_and_drained),
        cmocka_unit_test(a_repeat_finds_the_absent), cmocka_unit_test(a_crowd_comes_back),
        cmocka_unit_test(the_hold_ends), cmocka_unit_test(at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
