/* SPDX-License-Identifier: MIT */
/* Shorter thoughts before longer lines, and the last resort: on a virtual engine whose guests think for
 * two thirds of their answer. */
#include "policy_world.h"

#include "policy/shed.h"

#include <string.h>

static const struct ek_tier_options two_tiers[] = {
    {.name = "free", .weight = 1, .patience_ns = 120 * EK_S_NS, .delay_target_ns = 10 * EK_S_NS},
    {.name = "paid", .weight = 4, .patience_ns = 600 * EK_S_NS, .delay_target_ns = 10 * EK_S_NS}};

static struct ek_desk_options options(void)
{
    return (struct ek_desk_options){.queue.waiting_max = 2000, .tiers = {two_tiers, 2}, .running_max = 1000,
                                    .tell_min_ns = EK_S_NS, .tell_max_ns = 10 * EK_S_NS, .tell_change = 0.1,
                                    .down_grace_ns = 60 * EK_S_NS, .seed = 7, .brownout = true};
}

static void arrive(struct world *w, double paid, bool keep)
{
    double out = 600 * exp(0.8 * world_normal(w));
    struct ek_used u = {.prompt_tokens = 200, .output_tokens = 20 + (uint32_t)fmin(out, 8000)};
    u.thought_tokens = u.output_tokens * 7 / 10;
    struct ek_arrival a = {.account = 1 + ek_random_below(&w->rng, 2000), .model = 7, .prompt_tokens = 200,
                           .tier = world_unit(w) < paid, .thinks = true, .keep_thinking = keep};
    world_come(w, &a, &u);
}

struct flow {
    uint32_t came, refused, shortened[2], started[2], changes;
    double wait_s[2];
};

/* rate a second for so long; 32 slots take about 1.5 a second at full length. */
static struct flow run(struct world *w, double seconds, double rate, double paid)
{
    struct flow f = {0};
    uint32_t from = w->guests;
    uint64_t end_ns = w->now.mono_ns + (uint64_t)(seconds * 1e9);
    struct ek_desk_stats s;
    uint32_t last[2] = {999, 999};
    while (w->now.mono_ns < end_ns) {
        world_until(w, w->now.mono_ns + (uint64_t)(-log(world_unit(w) + 1e-12) / rate * 1e9));
        arrive(w, paid, false);
        ek_desk_stats(w->desk, &s);
        for (int t = 0; t < 2; t++) {
            f.changes += last[t] != 999 && last[t] != s.thinking_percent[t];
            last[t] = s.thinking_percent[t];
        }
    }
    for (uint32_t i = from; i < w->guests; i++) {
        const struct world_guest *g = &w->guest[i];
        f.came++;
        f.refused += g->refused;
        if (!g->started_ns) continue;
        f.started[g->a.tier]++;
        f.shortened[g->a.tier] += g->percent < 100;
        f.wait_s[g->a.tier] += (double)(g->started_ns - g->came_ns) * 1e-9;
    }
    for (int t = 0; t < 2; t++) f.wait_s[t] /= f.started[t] ? f.started[t] : 1;
    printf("  rate %.1f: %u came, %u refused; shortened %u of %u free, %u of %u paid; waits %.1f and %.1f s; "
           "%u steps, now %u %% and %u %%\n", rate, f.came, f.refused, f.shortened[0], f.started[0],
           f.shortened[1], f.started[1], f.wait_s[0], f.wait_s[1], f.changes, last[0], last[1]);
    return f;
}

static void thoughts_are_shortened_before_anyone_is_refused_and_paid_ones_last(void **state)
{
    (void)state;
    struct ek_desk_options o = options();
    struct world *w = world_new(&o, 32, 61);
    run(w, 300, 1.0, 0.4); /* the first answers tell what a thought is */
    struct flow calm = run(w, 2000, 1.0, 0.4);
    assert_true(calm.shortened[0] < calm.started[0] / 10 && calm.shortened[1] == 0); /* bursts are felt */
    struct flow busy = run(w, 4000, 2.1, 0.4); /* 1.4 times what it can do at full length */
    assert_true(busy.refused < busy.came / 100);
    assert_true(busy.shortened[0] > busy.started[0] / 2);
    assert_true(busy.shortened[1] < busy.started[1] / 10);
    assert_true(busy.wait_s[0] < 60 && busy.wait_s[1] < 10);
    assert_true(busy.changes < 4000 / 20); /* no flutter */
    run(w, 1500, 0.8, 0.4);
    struct flow after = run(w, 1000, 0.8, 0.4); /* and all of it is taken back */
    assert_true(after.shortened[0] < after.started[0] / 20 && after.shortened[1] == 0);
    world_free(w);
}

static void who_would_rather_wait_keeps_the_whole_thought(void **state)
{
    (void)state;
    struct ek_desk_options o = options();
    struct world *w = world_new(&o, 32, 62);
    run(w, 1500, 2.3, 0.2);
    uint32_t first = w->guests;
    for (int i = 0; i < 20; i++) arrive(w, 0, true);
    world_until(w, w->now.mono_ns + 1000 * EK_S_NS);
    for (uint32_t i = first; i < w->guests; i++)
        if (w->guest[i].started_ns) assert_int_equal(w->guest[i].budget, EK_DESK_THINKING_UNLIMITED);
    world_free(w);
}

/* allowed: requests in line that nobody minds; 100 come and 70 can be served in a window of a second. */
static void serve_an_hour(double allowed, double stable_part)
{
    static struct ek_shed s;
    memset(&s, 0, sizeof s);
    const double weight[2] = {1, 4};
    struct ek_random r = ek_random_make(63);
    uint32_t in[2][500] = {0}, out[2][500] = {0};
    double longest = 0;
    uint64_t now_ns = EK_S_NS;
    ek_shed_tiers(&s, 2, weight);
    double demand = 100, capacity = 70; /* a window; a quarter of it paid */
    double queue = 0;
    uint64_t late_in = 0, late_out = 0;
    for (int window = 0; window < 1800; window++) {
        double admitted = 0;
        for (int i = 0; i < demand; i++) {
            uint32_t tier = ek_random_below(&r, 4) == 0;
            uint32_t who = (uint32_t)ek_random_below(&r, 500);
            bool ok = ek_shed_admits(&s, tier, who * 7919 + tier, 5, false);
            admitted += ok;
            if (window >= 600) (ok ? in : out)[tier][who]++;
            if (window >= 600) (ok ? late_in++ : late_out++);
        }
        queue += admitted - capacity;
        if (queue < 0) queue = 0;
        now_ns += EK_S_NS;
        ek_shed_tick(&s, now_ns, queue / allowed);
        if (window >= 600) longest = fmax(longest, queue / allowed);
    }
    double share = (double)late_in / (double)(late_in + late_out);
    uint32_t stable = 0, people = 0;
    for (uint32_t who = 0; who < 500; who++) {
        assert_int_equal(out[1][who], 0); /* the paid are all served */
        uint32_t all = in[0][who] + out[0][who];
        if (all < 20) continue;
        people++;
        stable += in[0][who] > 0.95 * all || out[0][who] > 0.95 * all;
    }
    printf("let in %.3f of what came, %.3f could be served; %u of %u free people wholly in or out; line at "
           "most %.2f of what is allowed\n", share, capacity / demand, stable, people, longest);
    assert_true(fabs(share - capacity / demand) < 0.05);
    assert_true(stable >= people * stable_part);
    for (int window = 0; window < 200; window++) { /* when it is over, all come in again */
        for (int i = 0; i < 50; i++) {
            bool ok = ek_shed_admits(&s, 0, ek_random_u64(&r), 6, false);
            (void)ok;
        }
        now_ns += EK_S_NS;
        ek_shed_tick(&s, now_ns, 0);
    }
    assert_false(ek_shed_active(&s));
}

static void the_cursor_serves_the_same_people_for_the_hour(void **state)
{
    (void)state;
    serve_an_hour(700, 0.88); /* ten seconds of work */
    serve_an_hour(50, 0.8);  /* less than one */
}

static void repeats_are_a_tenth_at_most_while_people_are_sent_away(void **state)
{
    (void)state;
    static struct ek_shed s;
    const double weight[1] = {1};
    uint32_t in[2] = {0}, came[2] = {0};
    struct ek_random r = ek_random_make(64);
    printf("seed 64\n");
    ek_shed_tiers(&s, 1, weight);
    for (uint32_t window = 0; window < 200; window++) {
        for (int i = 0; i < 100; i++) {
            bool again = ek_random_below(&r, 2) == 0; /* a storm: every second one is a repeat */
            bool ok = ek_shed_admits(&s, 0, ek_random_u64(&r), 7, again);
            if (window < 20) continue;
            came[again]++;
            in[again] += ok;
        }
        ek_shed_tick(&s, (window + 1) * EK_S_NS, window < 10 ? 2.0 : 0.7); /* shuts a little, then stands */
    }
    printf("in: %u of %u new, %u of %u repeats\n", in[0], came[0], in[1], came[1]);
    assert_true(ek_shed_active(&s));
    assert_true(in[0] > came[0] / 2);
    assert_true(in[1] <= (in[0] + in[1]) / 9);
    assert_true(in[1] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thoughts_are_shortened_before_anyone_is_refused_and_paid_ones_last),
        cmocka_unit_test(who_would_rather_wait_keeps_the_whole_thought),
        cmocka_unit_test(the_cursor_serves_the_same_people_for_the_hour),
        cmocka_unit_test(repeats_are_a_tenth_at_most_while_people_are_sent_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
