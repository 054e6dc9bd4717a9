/* SPDX-License-Identifier: MIT */
/* Admission at the desk: slots that are learned, room for context, upstreams that say they are full, and
 * deadlines that cannot be met, refused before any work is spent. The shell is played by hand. */
#include "cm.h"

#include "policy/desk.h"

#include <stdio.h>
#include <string.h>

static const struct ek_tier_options one_tier[] = {{.name = "default", .weight = 1}};
static const struct ek_desk_price price = {70000, 270000, 1100000};

struct play {
    struct ek_policy *desk;
    struct ek_now now;
    uint32_t ticket[256]; /* by id, from START */
    uint32_t started, refused;
    enum ek_reason reason;
};

static struct play play_new(const struct ek_load *load)
{
    struct ek_desk_options o = {.queue.waiting_max = 500, .tiers = {one_tier, 1}, .running_max = 300,
                                .tell_min_ns = EK_S_NS, .tell_max_ns = 10 * EK_S_NS, .tell_change = 0.1,
                                .down_grace_ns = 60 * EK_S_NS, .seed = 7};
    struct play p = {.now = {10 * EK_S_NS, 1000 * EK_S_NS}};
    p.desk = ek_desk_new(&o, p.now);
    assert_non_null(p.desk);
    ek_desk_pool(p.desk, 1);
    ek_desk_load(p.desk, p.now, 0, load);
    return p;
}

static void pass(struct play *p, double seconds)
{
    p->now.mono_ns += (uint64_t)(seconds * 1e9);
    p->now.unix_ns += (uint64_t)(seconds * 1e9);
}

static void pull(struct play *p)
{
    struct ek_action a;
    while (ek_desk_next(p->desk, p->now, &a) != EK_DESK_IDLE) {
        p->started += a.act == EK_DESK_START;
        if (a.act == EK_DESK_START) p->ticket[a.id] = a.ticket;
        if (a.act != EK_DESK_REFUSE) continue;
        p->refused++;
        p->reason = a.reason;
    }
    ek_desk_check(p->desk);
}

/* deadline_s from now; 0: none. */
static bool come(struct play *p, uint64_t id, uint32_t prompt, double deadline_s)
{
    struct ek_action refusal;
    uint32_t ticket;
    struct ek_arrival a = {.id = id, .account = 1, .prompt_tokens = prompt, .output_tokens = 100,
                           .price = price, .deadline_ns = UINT64_MAX};
    if (deadline_s > 0) a.deadline_ns = p->now.mono_ns + (uint64_t)(deadline_s * 1e9);
    bool in = ek_desk_arrive(p->desk, p->now, &a, &ticket, &refusal);
    if (!in) p->reason = refusal.reason;
    pull(p);
    return in;
}

static void first(struct play *p, uint64_t id)
{
    ek_desk_started(p->desk, p->now, p->ticket[id]);
    ek_desk_tokens(p->desk, p->now, p->ticket[id], 1);
}

static void end(struct play *p, uint64_t id)
{
    ek_desk_tokens(p->desk, p->now, p->ticket[id], 99);
    ek_desk_finished(p->desk, p->now, p->ticket[id], true);
    pull(p);
}

/* One second for each thousand tokens, one after the other. */
static void teach(struct play *p)
{
    for (uint64_t id = 0; id < 20; id++) {
        uint32_t prompt = id % 2 ? 1000 : 3000;
        assert_true(come(p, id, prompt, 0));
        pass(p, prompt / 1000.0);
        first(p, id);
        pass(p, 0.5);
        end(p, id);
    }
}

static void what_comes_too_late_is_refused_before_any_work(void **state)
{
    (void)state;
    struct play p = play_new(&(struct ek_load){.up = true, .slots = 1});
    struct ek_desk_stats s;
    teach(&p);
    uint32_t started = p.started;
    assert_false(come(&p, 100, 4000, 3)); /* idle, but its prompt takes four seconds */
    assert_int_equal(p.reason, EK_REASON_DEADLINE);
    assert_int_equal(p.started, started);
    assert_true(come(&p, 101, 1000, 3));
    assert_int_equal(p.started, started + 1);
    assert_false(come(&p, 102, 1000, 1.5)); /* has a slot, but the one before it is read first */
    assert_true(come(&p, 103, 1000, 0));
    assert_true(come(&p, 104, 1000, 12)); /* must wait; by the estimate it will do */
    assert_int_equal(p.started, started + 2);
    pass(&p, 1);
    first(&p, 101);
    pass(&p, 10.5); /* ... but 101 takes its time: when its turn comes, a second is needed and 0.5 left */
    end(&p, 101);
    assert_int_equal(p.started, started + 2);
    assert_int_equal(p.refused, 1);
    assert_int_equal(p.reason, EK_REASON_DEADLINE);
    ek_desk_stats(p.desk, &s);
    assert_int_equal(s.late, 3);
    ek_desk_free(&p.desk);
}

static void contexts_that_do_not_fit_wait(void **state)
{
    (void)state;
    struct play p = play_new(&(struct ek_load){.up = true, .slots = 8, .kv_total_tokens = 10000,
                                               .kv_free_tokens = 10000});
    struct ek_desk_upstream_stats u;
    assert_true(come(&p, 0, 4000, 0));
    assert_true(come(&p, 1, 4000, 0));
    assert_true(come(&p, 2, 8000, 0)); /* does not fit beside them ... */
    assert_true(come(&p, 3, 10, 0));   /* ... and none overtakes it for ever */
    assert_int_equal(p.started, 2);
    ek_desk_upstream_stats(p.desk, 0, &u);
    assert_int_equal(u.kv_tokens, 8200);
    first(&p, 0);
    end(&p, 0);
    assert_int_equal(p.started, 2);
    first(&p, 1);
    end(&p, 1);
    assert_int_equal(p.started, 4);
    first(&p, 2);
    end(&p, 2);
    first(&p, 3);
    end(&p, 3);
    assert_true(come(&p, 4, 50000, 0)); /* alone it may try: the upstream knows its limits better */
    assert_int_equal(p.started, 5);
    ek_desk_upstream_stats(p.desk, 0, &u);
    assert_int_equal(u.kv_tokens, 50100);
    ek_desk_free(&p.desk);
}

static void one_that_is_full_is_sent_less_and_its_memory_remembered(void **state)
{
    (void)state;
    struct play p = play_new(&(struct ek_load){.up = true, .slots = 1, .learn = true});
    struct ek_desk_upstream_stats u;
    struct ek_desk_stats s;
    for (uint64_t id = 0; id < 6; id++) assert_true(come(&p, id, 1000, 0));
    assert_int_equal(p.started, 4); /* to begin with */
    ek_desk_full(p.desk, p.now, p.ticket[3]);
    ek_desk_upstream_stats(p.desk, 0, &u);
    assert_int_equal(u.slots, 3);
    assert_in_range(u.kv_learned_tokens, 4100, 4399); /* of 4 * 1100 */
    assert_int_equal(ek_desk_counts(p.desk).slots, 3);
    end(&p, 0);
    assert_int_equal(p.started, 4); /* three are there still */
    end(&p, 1);
    assert_int_equal(p.started, 5);
    ek_desk_stats(p.desk, &s);
    assert_int_equal(s.full, 1);
    ek_desk_free(&p.desk);
}

/* Four slots, never told: with a long line before it the fifth waits inside, and no sixth is sent. */
static void slots_are_learned(void **state)
{
    (void)state;
    struct play p = play_new(&(struct ek_load){.up = true, .slots = 1, .learn = true});
    uint64_t there[64], next_id = 0, begun[256] = {0};
    uint32_t n = 0, working = 0, most_late = 0;
    for (uint32_t turn = 0; turn < 4000; turn++) {
        while (ek_desk_counts(p.desk).waiting < 5 && ek_desk_counts(p.desk).running < 60) {
            uint64_t id = next_id++ % 256;
            begun[id] = 0;
            p.ticket[id] = 0;
            assert_true(come(&p, id, 100, 0));
            if (!p.ticket[id]) continue;
        }
        n = 0;
        for (uint64_t id = 0; id < 256; id++)
            if (p.ticket[id]) there[n++] = id;
        assert_true(n < 64);
        pass(&p, 0.1);
        working = 0;
        for (uint32_t i = 0; i < n; i++) working += begun[there[i]] > 0;
        for (uint32_t i = 0; i < n; i++) { /* read and begun, in no particular order */
            uint64_t id = there[i];
            if (begun[id] == 0 && working < 4) {
                working++;
                begun[id] = 1;
                first(&p, id);
            } else if (begun[id] > 0 && ++begun[id] > 10 + id % 7) {
                uint32_t ticket = p.ticket[id];
                p.ticket[id] = 0;
                ek_desk_tokens(p.desk, p.now, ticket, 10);
                ek_desk_finished(p.desk, p.now, ticket, true);
                pull(&p);
            }
        }
        struct ek_desk_upstream_stats u;
        ek_desk_upstream_stats(p.desk, 0, &u);
        if (turn > 1000 && u.slots > most_late) most_late = u.slots;
        if (turn > 1000) assert_in_range(u.slots, 4, 6);
    }
    printf("  at most %u were there\n", most_late);
    ek_desk_free(&p.desk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_too_late_is_refused_before_any_work),
        cmocka_unit_test(contexts_that_do_not_fit_wait),
        cmocka_unit_test(one_that_is_full_is_sent_less_and_its_memory_remembered),
        cmocka_unit_test(slots_are_learned)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
