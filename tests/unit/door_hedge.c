/* SPDX-License-Identifier: MIT */
/* Two attempts race for a first token behind a door: who is heard, who is cancelled, what is told. */
#include "door_world.h"

#define HOUSE(d, more) "upstreams:\n" \
    "  - {url: 'http://u:1', name: a, dialect: " d ", models: [m], slots: 8}\n" \
    "  - {url: 'http://u:2', name: b, dialect: " d ", models: [m], slots: 8}\n" \
    "queue: {hedge_after: 500ms, hedge_budget: 40%}\n" \
    "tiers:\n  - {name: default, hedge: true}\n" more

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

static double ended(struct world *w, const char *how)
{
    char line[80];
    snprintf(line, sizeof line, "evenkeel_hedged_total{end=\"%s\"} ", how);
    return metric(w, line);
}

/* Earns the credit for one second attempt. */
static void earn(struct world *w)
{
    for (int i = 0; i < 2; i++) {
        struct client *c = client_post(w, ASK_STREAM);
        play_all(the_call(w, w->calls - 1));
        expect_has(c, "[DONE]");
        client_free(w, c);
    }
}

/* A request that is late: its first attempt is the last call but one, the second the last. */
static struct client *late(struct world *w, const char *body, struct call **first, struct call **second)
{
    struct client *c = client_post(w, body);
    size_t calls = w->calls;
    *first = the_call(w, calls - 1);
    world_pass(w, 450);
    assert_int_equal(w->calls, calls);
    world_pass(w, 100);
    assert_int_equal(w->calls, calls + 1);
    *second = the_call(w, calls);
    assert_string_not_equal((*first)->to, (*second)->to);
    return c;
}

static void record_says(struct world *w, struct client *c, const char *what)
{
    char path[128];
    const char *id = strstr(client_text(c), "chatcmpl-");
    assert_non_null(id);
    snprintf(path, sizeof path, "/v1/requests/%.41s", id);
    struct client *asked = client_get(w, path);
    expect_has(asked, what);
    client_free(w, asked);
}

static void the_second_wins(void **state)
{
    (void)state;
    static const char *const ask[] = {ASK_STREAM, ASK_WHOLE};
    for (size_t i = 0; i < EK_COUNT(ask); i++) {
        struct world *w = world_new(HOUSE("openai", ""), 1);
        struct call *first, *second;
        earn(w);
        struct client *c = late(w, ask[i], &first, &second);
        play_head(first, 200);
        play(first, ROLE);
        play_head(second, 200);
        play(second, ROLE);
        assert_false(first->over);
        play(second, SAY("quick"));
        assert_true(first->cancelled);
        play(second, SAY("er") FINISH USAGE DONE);
        play_end(second);
        expect_has(c, i ? "\"content\":\"quicker\"" : "\"content\":\"quick\"");
        assert_int_equal(count_of(c, "\"role\""), 1);
        expect_not(c, "error");
        assert_true(ended(w, "won") == 1 && ended(w, "lost") == 0);
        assert_true(metric(w, "\nevenkeel_hedge_cost_total ") > 0);
        record_says(w, c, "\"hedge\":{\"after_ms\":500,\"won\":true,\"cost\":\"0.0000");
        client_free(w, c);
        world_free(w);
    }
}

static void the_first_wins(void **state)
{
    (void)state;
    struct world *w = world_new(HOUSE("openai", ""), 1);
    struct call *first, *second;
    earn(w);
    struct client *c = late(w, ASK_STREAM, &first, &second);
    play_head(second, 200);
    play(second, ROLE);
    play_all(first);
    assert_true(second->cancelled);
    expect_has(c, "\"content\":\"42\"");
    assert_int_equal(count_of(c, "\"role\""), 1);
    assert_true(ended(w, "lost") == 1);
    record_says(w, c, "\"won\":false");
    client_free(w, c);
    c = client_post(w, ASK_STREAM); /* no credit yet: it waits, however late */
    size_t calls = w->calls;
    world_pass(w, 2000);
    assert_int_equal(w->calls, calls);
    assert_true(metric(w, "evenkeel_hedge_denied_total{why=\"budget\"} ") > 1);
    client_free(w, c);
    world_free(w);
}

/* The first fails while both run, the second fails, both fail. */
static void failures_of_either(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct world *w = world_new(HOUSE("openai", ""), 1);
        struct call *first, *second;
        earn(w);
        struct client *c = late(w, ASK_STREAM, &first, &second);
        size_t calls = w->calls;
        if (kind == 0) play_fail(first, EK_REASON_UPSTREAM_RESET);
        if (kind == 1) play_fail(second, EK_REASON_UPSTREAM_RESET);
        if (kind == 2) {
            play_head(first, 503);
            play_end(first);
        }
        if (kind == 3) {
            play_head(second, 200);
            play(second, ROLE);
            play_fail(first, EK_REASON_UPSTREAM_RESET);
            play_fail(second, EK_REASON_UPSTREAM_RESET);
            world_pass(w, 300);
            assert_int_equal(w->calls, calls + 1); /* again, as ever */
        }
        assert_true(kind == 3 || w->calls == calls);
        struct call *last = kind == 1 ? first : kind == 3 ? the_call(w, calls) : second;
        play_all(last);
        expect_has(c, "\"content\":\"42\"");
        expect_has(c, "[DONE]");
        assert_int_equal(count_of(c, "\"role\""), 1);
        assert_true(ended(w, kind == 1 ? "failed" : "saved") == 1);
        client_free(w, c);
        world_free(w);
    }
}

static void whoever_leaves_leaves_both(void **state)
{
    (void)state;
    struct world *w = world_new(HOUSE("evenkeel", ""), 8);
    struct call *first, *second;
    earn(w);
    struct client *c = late(w, ASK_STREAM, &first, &second);
    client_free(w, c);
    world_pass(w, 10);
    assert_true(first->cancelled && second->cancelled);
    world_free(w);
}

/* Where the only other is a lender, and in another tier. */
static void who_is_not_hedged(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n"
                                "  - {url: 'http://u:1', name: a, dialect: openai, models: [m], slots: 8}\n"
                                "  - {url: 'http://u:2', name: b, dialect: openai, models: [m], slots: 8, "
                                "borrowed: true, budget_day: 1}\n"
                                "queue: {hedge_after: 500ms, hedge_budget: 40%}\n"
                                "tiers:\n  - {name: default, hedge: true}\n", 1);
    earn(w);
    struct client *c = client_post(w, ASK_STREAM);
    size_t calls = w->calls;
    world_pass(w, 3000);
    assert_int_equal(w->calls, calls);
    assert_true(metric(w, "evenkeel_hedge_denied_total{why=\"nowhere\"} ") > 0);
    client_free(w, c);
    world_free(w);
    w = world_new("upstreams:\n"
                  "  - {url: 'http://u:1', name: a, dialect: openai, models: [m], slots: 8}\n"
                  "  - {url: 'http://u:2', name: b, dialect: openai, models: [m], slots: 8}\n"
                  "queue: {hedge_after: 500ms, hedge_budget: 40%}\n", 1);
    earn(w);
    c = client_post(w, ASK_STREAM); /* of a tier that does not ask for it */
    calls = w->calls;
    world_pass(w, 3000);
    assert_int_equal(w->calls, calls);
    client_free(w, c);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_wins),
        cmocka_unit_test(the_first_wins),
        cmocka_unit_test(failures_of_either),
        cmocka_unit_test(whoever_leaves_leaves_both),
        cmocka_unit_test(who_is_not_hedged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
