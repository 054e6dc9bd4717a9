/* SPDX-License-Identifier: MIT */
/* What callers may do in a minute, at once and in a day, and what they hear of it: tiers, anonymous
 * neighbours, prices by the hour, and the record of a request. On virtual time, without a ledger:
 * accounts of one are in door_money.c. */
#include "door_world.h"

#define UP "upstreams:\n  - {url: 'http://u:1', dialect: openai, slots: 4, models: [m, n]}\n"
#define KEYS "keys:\n  - {name: a, key: sk-aaaaaaaa, tier: small}\n" \
             "  - {name: b, key: sk-bbbbbbbb, tier: small}\n"
#define SMALL "tiers: [{name: small}]\n"

static struct client *send_as(struct world *w, const char *key, const char *body)
{
    char text[4096];
    int n = snprintf(text, sizeof text, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n%s%s%s"
                     "Content-Length: %zu\r\n\r\n%s", key ? "Authorization: Bearer " : "", key ? key : "",
                     key ? "\r\n" : "", strlen(body), body);
    assert_true(n > 0 && (size_t)n < sizeof text);
    return client_send(w, text);
}

static struct client *get_as(struct world *w, const char *key, const char *path)
{
    char text[512];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", path, key);
    return client_send(w, text);
}

/* One request from its head to its end. */
static struct client *served(struct world *w, const char *key)
{
    struct client *c = send_as(w, key, ASK_WHOLE);
    play_all(the_call(w, w->calls - 1));
    expect_has(c, "HTTP/1.1 200");
    return c;
}

static long number_behind(struct client *c, const char *name)
{
    const char *at = strstr(client_text(c), name);
    if (!at) fail_msg("no %s in:\n%s", name, client_text(c));
    return strtol(at + strlen(name), NULL, 10);
}

/* ---- a minute ---------------------------------------------------------------------------------------- */

static void requests_of_a_minute(void **state)
{
    (void)state;
    struct world *w = world_new(UP KEYS "tiers: [{name: small, minute_requests: 2}]\n", 4);
    struct client *c = served(w, "sk-aaaaaaaa");
    expect_has(c, "X-RateLimit-Limit-Requests: 2\r\n");
    expect_has(c, "X-RateLimit-Remaining-Requests: 1\r\n");
    expect_has(c, "RateLimit-Policy: \"requests\";q=2;w=60\r\n");
    expect_has(c, "RateLimit: \"requests\";r=1;t=");
    expect_not(c, "Tokens");
    client_free(w, c);
    client_free(w, served(w, "sk-aaaaaaaa"));
    c = send_as(w, "sk-aaaaaaaa", ASK_STREAM);
    expect_has(c, "HTTP/1.1 429");
    expect_has(c, "\"code\":\"rate_requests\"");
    expect_has(c, "X-RateLimit-Remaining-Requests: 0\r\n");
    expect_has(c, "RateLimit: \"requests\";r=0;t=");
    long after_s = number_behind(c, "Retry-After: "), after_ms = number_behind(c, "Retry-After-Ms: ");
    assert_in_range(after_s, 1, 120);
    assert_int_equal((after_ms + 999) / 1000, after_s);
    expect_has(c, after_s > 60 ? "X-Should-Retry: false" : "X-Should-Retry: true");
    client_free(w, c);
    client_free(w, served(w, "sk-bbbbbbbb")); /* another account's own */
    /* What was said is true: a millisecond before it is too early. */
    world_pass(w, (uint64_t)after_ms - 2);
    c = send_as(w, "sk-aaaaaaaa", ASK_WHOLE);
    expect_has(c, "HTTP/1.1 429");
    client_free(w, c);
    world_pass(w, 2);
    client_free(w, served(w, "sk-aaaaaaaa"));
    world_free(w);
}

static void tokens_of_a_minute_are_corrected_at_the_end(void **state)
{
    (void)state;
    struct world *w = world_new(UP KEYS "tiers: [{name: small, minute_tokens: 5000}]\n", 4);
    struct client *c = send_as(w, "sk-aaaaaaaa", ASK_STREAM);
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("1"));
    long left = number_behind(c, "X-RateLimit-Remaining-Tokens: ");
    assert_in_range(left, 1, 4990); /* by estimate */
    play(the_call(w, 0), FINISH USAGE DONE);
    play_end(the_call(w, 0));
    client_free(w, c);
    c = send_as(w, "sk-aaaaaaaa", ASK_STREAM);
    play_head(the_call(w, 1), 200);
    play(the_call(w, 1), ROLE SAY("1"));
    /* five tokens of the first are left, and the estimate of the second */
    assert_true(number_behind(c, "X-RateLimit-Remaining-Tokens: ") >= left - 5);
    client_free(w, c);
    world_free(w);
}

static void at_once(void **state)
{
    (void)state;
    struct world *w = world_new(UP KEYS "tiers: [{name: small, running_limit: 1}]\n", 4);
    struct client *first = send_as(w, "sk-aaaaaaaa", ASK_STREAM), *second = send_as(w, "sk-aaaaaaaa",
                                                                                    ASK_WHOLE);
    expect_has(second, "\"code\":\"rate_running\"");
    expect_has(second, "RateLimit-Policy: \"running\";q=1;qu=\"concurrent-requests\"\r\n");
    expect_has(second, "RateLimit: \"running\";r=0\r\n");
    client_free(w, first); /* who leaves makes room */
    client_free(w, second);
    client_free(w, served(w, "sk-aaaaaaaa"));
    world_free(w);
}

/* Its first connection broke while it waited: the same request again is the same request. */
static void who_comes_back_to_its_place_is_not_counted_twice(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n  - {url: 'http://u:1', dialect: openai, slots: 1, models: "
                                "[m]}\n"
                                KEYS "tiers: [{name: small, running_limit: 1}]\n", 1);
    struct client *busy[2] = {client_post(w, ASK_STREAM), client_post(w, ASK_STREAM)};
    struct client *c = send_as(w, "sk-aaaaaaaa", ASK_STREAM);
    expect_has(c, "\"position\":1,");
    client_free(w, c);
    c = send_as(w, "sk-aaaaaaaa", ASK_STREAM);
    expect_has(c, "\"position\":1,");
    struct client *other = send_as(w, "sk-aaaaaaaa", ASK_WHOLE);
    expect_has(other, "\"code\":\"rate_running\"");
    client_free(w, other);
    client_free(w, c);
    leave(w, busy);
}

/* ---- a day --------------------------------------------------------------------------------------------- */

#define THINK_HARD \
    "{\"model\":\"m\",\"reasoning_effort\":\"high\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}"

static void deep_thoughts_of_a_day(void **state)
{
    (void)state;
    struct world *w = world_new(UP KEYS "tiers: [{name: small, day_thoughts: 1}]\n", 4);
    struct client *c = send_as(w, "sk-aaaaaaaa", THINK_HARD);
    play_all(the_call(w, 0));
    expect_has(c, "RateLimit: \"thoughts\";r=0;t=6400\r\n"); /* it is 22:13:20 in UTC */
    client_free(w, c);
    c = send_as(w, "sk-aaaaaaaa", THINK_HARD);
    expect_has(c, "\"code\":\"rate_thoughts\"");
    expect_has(c, "Retry-After: 6400\r\n"); /* what is true, though no SDK would wait for it ... */
    expect_has(c, "X-Should-Retry: false\r\n"); /* ... so it is told not to try */
    client_free(w, c);
    client_free(w, served(w, "sk-aaaaaaaa")); /* without thinking it may */
    world_pass(w, 6400 * 1000);
    c = send_as(w, "sk-aaaaaaaa", THINK_HARD);
    play_all(the_call(w, w->calls - 1));
    expect_has(c, "HTTP/1.1 200");
    client_free(w, c);
    world_free(w);
}

/* ---- who
 * ------------------------------------------------------------------------------------------------ */

static void models_of_a_tier(void **state)
{
    (void)state;
    struct world *w = world_new(UP KEYS "tiers: [{name: small, models: [n*]}]\n", 4);
    struct client *c = send_as(w, "sk-aaaaaaaa", ASK_WHOLE);
    expect_has(c, "HTTP/1.1 403");
    expect_has(c, "\"code\":\"model_forbidden\"");
    client_free(w, c);
    c = send_as(w, "sk-aaaaaaaa", "{\"model\":\"n\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}");
    assert_int_equal(w->calls, 1);
    client_free(w, c);
    world_free(w);
}

/* The virtual network has one address, 127.0.0.1: it is in one entry here and in none there. */
static void neighbours_without_a_key(void **state)
{
    (void)state;
    struct world *w = world_new(UP KEYS "access: {open_on_loopback: false}\n"
                                "tiers: [{name: small}, {name: guest, minute_requests: 2}]\n"
                                "anonymous: [{addresses: [10.0.0.0/8, 127.0.0.0/8], tier: guest}]\n", 4);
    struct client *c = served(w, NULL);
    expect_has(c, "X-RateLimit-Remaining-Requests: 1\r\n");
    client_free(w, c);
    client_free(w, served(w, "anonymous")); /* SDKs want some key */
    c = send_as(w, NULL, ASK_WHOLE);
    expect_has(c, "\"code\":\"rate_requests\"");
    client_free(w, c);
    c = send_as(w, "sk-wrong-key", ASK_WHOLE); /* a wrong key is wrong, even here */
    expect_has(c, "HTTP/1.1 401");
    client_free(w, c);
    c = served(w, "sk-aaaaaaaa");
    expect_not(c, "RateLimit");
    client_free(w, c);
    world_free(w);
    w = world_new(UP KEYS SMALL "access: {open_on_loopback: false}\nanonymous: [{addresses: "
                                "10.0.0.0/8}]\n", 4);
    c = send_as(w, NULL, ASK_WHOLE);
    expect_has(c, "\"code\":\"missing_api_key\"");
    client_free(w, c);
    world_free(w);
}

/* ---- prices
 * --------------------------------------------------------------------------------------------- */

/* The world begins on Tuesday 14 November 2023, 22:13:20 UTC. */
#define BY_HOUR "hours: [{name: night, times: ['22:00-22:14']}]\n" \
                "prices: [{model: m, output: 1}, {model: m, when: night, output: 2}]\n"

static const char *id_of(struct client *c, char out[33])
{
    const char *at = strstr(client_text(c), "X-Request-Id: ");
    assert_non_null(at);
    snprintf(out, 33, "%.32s", at + 14);
    return out;
}

static void the_price_is_that_of_the_arrival(void **state)
{
    (void)state;
    char id[33], path[80];
    struct world *w = world_new(UP KEYS SMALL BY_HOUR, 4);
    struct client *models = client_get(w, "/v1/models/m");
    expect_has(models, "\"pricing\":{\"tokens\":1000000,\"cached\":0.003,\"prompt\":0.15,\"output\":2,"
                       "\"when\":\"night\",\"until\":1700000040}");
    client_free(w, models);
    struct client *c = send_as(w, "sk-aaaaaaaa", ASK_WHOLE);
    world_pass(w, 60000); /* the night is over, and nobody has answered yet */
    models = client_get(w, "/v1/models");
    expect_has(models, "\"output\":1,\"when\":null,\"until\":1700085600}");
    client_free(w, models);
    play_all(the_call(w, 0));
    snprintf(path, sizeof path, "/v1/requests/%s", id_of(c, id));
    struct client *record = get_as(w, "sk-aaaaaaaa", path);
    /* 3 tokens at 0.15 and 2 at 2.00 a million */
    expect_has(record, "\"cost\":{\"amount\":\"0.00000445\","
                       "\"charged\":false,\"currency\":\"USD\",\"when\":\"night\"}");
    client_free(w, record);
    client_free(w, c);
    world_free(w);
}

/* ---- the record
 * ----------------------------------------------------------------------------------------- */

static struct client *record_of(struct world *w, const char *key, struct client *c)
{
    char id[33], path[80];
    snprintf(path, sizeof path, "/v1/requests/chatcmpl-%s", id_of(c, id));
    return get_as(w, key, path);
}

static void what_became_of_it(void **state)
{
    (void)state;
    struct world *w = world_new("upstreams:\n  - {url: 'http://u:1', dialect: openai, slots: 1, models: "
                                "[m]}\n"
                                KEYS SMALL, 1);
    struct client *busy[2] = {send_as(w, "sk-bbbbbbbb", ASK_STREAM), send_as(w, "sk-bbbbbbbb", ASK_STREAM)};
    struct client *c = send_as(w, "sk-aaaaaaaa", ASK_STREAM);
    struct client *r = record_of(w, "sk-aaaaaaaa", c);
    expect_has(r, "\"state\":\"waiting\",\"model\":\"m\",\"reason\":null");
    client_free(w, r);
    world_pass(w, 5000);
    play_all(the_call(w, 0));
    play_all(the_call(w, 1));
    r = record_of(w, "sk-aaaaaaaa", c);
    expect_has(r, "\"state\":\"running\"");
    client_free(w, r);
    play_head(the_call(w, 2), 503);
    play_end(the_call(w, 2)); /* refused for now: sent again */
    world_pass(w, 3000);
    play_all(the_call(w, w->calls - 1));
    r = record_of(w, "sk-aaaaaaaa", c);
    expect_has(r, "\"state\":\"done\"");
    expect_has(r, "\"queue\":{\"position\":1,\"eta_ms\":null,\"waited_ms\":5000}");
    expect_has(r, "\"attempts\":2,\"continued\":false,\"reprompted\":false,\"upstreams\":[\"u:1\"]");
    expect_has(r, "\"usage\":{\"prompt_tokens\":3,\"cached_tokens\":0,"
                  "\"reasoning_tokens\":0,\"completion_tokens\":2}");
    client_free(w, r);
    r = record_of(w, "sk-bbbbbbbb", c); /* nobody else's business */
    expect_has(r, "HTTP/1.1 404");
    client_free(w, r);
    client_free(w, c);
    client_free(w, busy[0]);
    client_free(w, busy[1]);
    world_free(w);
}

static void why_it_was_refused_or_left(void **state)
{
    (void)state;
    struct world *w = world_new(UP KEYS "tiers: [{name: small, minute_requests: 1}]\n", 4);
    char id[33], path[80];
    struct client *c = send_as(w, "sk-aaaaaaaa", ASK_STREAM), *r;
    play_head(the_call(w, 0), 200);
    play(the_call(w, 0), ROLE SAY("1"));
    snprintf(path, sizeof path, "/v1/requests/%s", id_of(c, id));
    client_free(w, c);
    r = get_as(w, "sk-aaaaaaaa", path);
    expect_has(r, "\"state\":\"left\"");
    expect_has(r, "\"completion_tokens\":1}");
    client_free(w, r);
    c = send_as(w, "sk-aaaaaaaa", ASK_STREAM);
    r = record_of(w, "sk-aaaaaaaa", c);
    expect_has(r, "\"state\":\"refused\",\"model\":\"m\",\"reason\":\"rate_requests\",\"message\":\"Too "
                  "many");
    client_free(w, r);
    client_free(w, c);
    static const char *const none[] = {"/v1/requests/", "/v1/requests/x",
                                       "/v1/requests/00000000000000000000000000000000",
                                       "/v1/requests/chatcmpl-zz", "/v1/requests/../models",
                                           "/v1/requests/%00"};
    for (size_t i = 0; i < EK_COUNT(none); i++) {
        r = get_as(w, "sk-aaaaaaaa", none[i]);
        expect_has(r, "HTTP/1.1 404");
        client_free(w, r);
    }
    r = client_send(w, "GET /v1/requests/00000000000000000000000000000000 HTTP/1.1\r\nHost: x\r\n"
                       "Authorization: Bearer sk-wrong-key\r\n\r\n");
    expect_has(r, "HTTP/1.1 401");
    client_free(w, r);
    world_free(w);
}

static void the_ring_forgets_the_oldest(void **state)
{
    (void)state;
    struct ek_records *r = ek_records_new(4, 1);
    for (uint8_t i = 0; i < 10; i++) {
        uint8_t id[16] = {i};
        struct ek_request_record *n = ek_records_open(r, id);
        assert_non_null(n);
        n->position = i;
        assert_ptr_equal(ek_records_open(r, id), n);
    }
    for (uint8_t i = 0; i < 10; i++) {
        uint8_t id[16] = {i};
        const struct ek_request_record *n = ek_records_find(r, id);
        assert_true((n != NULL) == (i >= 6));
        if (n) assert_int_equal(n->position, i);
    }
    assert_int_equal(ek_records_forgotten(r), 6);
    ek_records_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_of_a_minute),
        cmocka_unit_test(tokens_of_a_minute_are_corrected_at_the_end),
        cmocka_unit_test(at_once),
        cmocka_unit_test(who_comes_back_to_its_place_is_not_counted_twice),
        cmocka_unit_test(deep_thoughts_of_a_day),
        cmocka_unit_test(models_of_a_tier),
        cmocka_unit_test(neighbours_without_a_key),
        cmocka_unit_test(the_price_is_that_of_the_arrival),
        cmocka_unit_test(what_became_of_it),
        cmocka_unit_test(why_it_was_refused_or_left),
        cmocka_unit_test(the_ring_forgets_the_oldest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
