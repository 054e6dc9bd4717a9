/* SPDX-License-Identifier: MIT */
/* What belongs together is found in bytes: turns of one conversation, prompts that begin alike, callers of
 * one neighbourhood; and what finding it costs. */
#include "cm.h"

#include "base/address.h"
#include "guard/identity.h"
#include "door/prefix.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * EK_S_NS + (uint64_t)t.tv_nsec;
}

/* ---- prefixes ---------------------------------------------------------------------------------------- */

struct read {
    struct ek_request q;
    struct ek_request_reader reader;
    struct ek_prefix prefix[EK_DESK_PREFIX_MAX];
    uint32_t count;
    uint64_t conversation;
};

static struct read *read_body(const char *body)
{
    struct read *r = calloc(1, sizeof *r);
    ek_request_begin(&r->reader, &r->q, EK_API_CHAT);
    assert_int_equal(ek_request_feed(&r->reader, body, strlen(body)), EK_REQUEST_MORE);
    assert_int_equal(ek_request_finish(&r->reader), EK_REQUEST_DONE);
    r->count = ek_prefix_chain(&r->reader, ek_str_of(body), 7, 1000, r->prefix);
    r->conversation = ek_prefix_conversation(&r->reader, ek_str_of(body), 7);
    for (uint32_t i = 1; i < r->count; i++) assert_true(r->prefix[i].tokens >= r->prefix[i - 1].tokens);
    return r;
}

/* The longest prefix that the two share, in tokens of `b`. */
static uint32_t shared(const struct read *a, const struct read *b)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < a->count; i++)
        for (uint32_t k = 0; k < b->count; k++)
            if (a->prefix[i].hash == b->prefix[k].hash && b->prefix[k].tokens > best)
                best = b->prefix[k].tokens;
    return best;
}

#define TURN(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"

static void a_conversation_and_its_prefix_are_recognised(void **state)
{
    (void)state;
    static char one[9000], two[9000], other[9000], system[1200], body[9000];
    memset(system, 's', 1000);
    snprintf(one, sizeof one, "{\"messages\":[" TURN("system", "%s") "," TURN("user", "first") "]}",
             system);
    snprintf(two, sizeof two, "{\"messages\":[" TURN("system", "%s") "," TURN("user", "first") ","
             TURN("assistant", "yes") "," TURN("user", "and then?") "],\"temperature\":0}", system);
    snprintf(other, sizeof other, "{\"messages\":[" TURN("system", "%s") "," TURN("user", "else") "]}",
             system);
    struct read *a = read_body(one), *b = read_body(two), *c = read_body(other);
    assert_true(a->conversation != 0 && a->conversation == b->conversation);
    assert_true(c->conversation != a->conversation);
    assert_true(shared(a, b) > 900); /* all of turn one */
    assert_true(shared(a, c) > 900 && shared(a, c) < 999); /* the instructions alone */
    free(c);
    snprintf(body, sizeof body, "{\"tools\":[1],\"messages\":[" TURN("system", "%s") "," TURN("user", "first")
             "]}", system);
    c = read_body(body); /* other tools stand before everything */
    assert_int_equal(shared(a, c), 0);
    free(a);
    free(b);
    free(c);
    a = read_body("{\"messages\":[" TURN("user", "hi") "]}");
    assert_int_equal(a->count, 0);
    free(a);
}

static void a_text_shared_inside_one_message_is_recognised(void **state)
{
    (void)state;
    static char one[20000], two[20000], text[14000];
    memset(text, 't', 13000);
    snprintf(one, sizeof one, "{\"messages\":[" TURN("user", "%s first?") "]}", text);
    snprintf(two, sizeof two, "{\"messages\":[" TURN("user", "%s second?") "]}", text);
    struct read *a = read_body(one), *b = read_body(two);
    assert_true(shared(a, b) >= 12288 * 1000 / 13100);
    text[5000] = 'x';
    snprintf(two, sizeof two, "{\"messages\":[" TURN("user", "%s second?") "]}", text);
    free(b);
    b = read_body(two);
    assert_true(shared(a, b) > 0 && shared(a, b) < 200); /* the first 2 KiB */
    free(a);
    free(b);
}

static void finding_prefixes_costs_little(void **state)
{
    (void)state;
    enum { BYTES = 1 << 20, ROUNDS = 20 };
    char *body = malloc(BYTES + 200);
    struct ek_prefix out[EK_DESK_PREFIX_MAX];
    struct ek_request_reader *reader = calloc(1, sizeof *reader);
    struct ek_request *q = calloc(1, sizeof *q);
    int at = snprintf(body, 100, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
    memset(body + at, 'x', BYTES);
    snprintf(body + at + BYTES, 100, "\"}]}");
    struct ek_str all = ek_str_of(body);
    uint64_t begin_ns = cpu_ns();
    ek_request_begin(reader, q, EK_API_CHAT);
    assert_int_equal(ek_request_feed(reader, body, all.len), EK_REQUEST_MORE);
    assert_int_equal(ek_request_finish(reader), EK_REQUEST_DONE);
    uint64_t read_ns = cpu_ns() - begin_ns;
    uint64_t sum = 0;
    begin_ns = cpu_ns();
    for (uint64_t i = 0; i < ROUNDS; i++) {
        assert_int_equal(ek_prefix_chain(reader, all, i, 1000, out), 4);
        sum ^= out[3].hash ^ ek_prefix_conversation(reader, all, i);
    }
    double hash_ns = (double)(cpu_ns() - begin_ns) / ROUNDS;
    print_message("1 MiB of prompt: read in %.0f us, its prefixes and conversation found in %.0f us\n",
                  (double)read_ns * 1e-3, hash_ns * 1e-3);
    assert_true(sum != 0);
    free(q);
    free(reader);
    free(body);
}

/* ---- addresses ---------------------------------------------------------------------------------------- */

static uint64_t owner(const char *address)
{
    uint64_t h = ek_address_owner(ek_str_of(address), 3);
    assert_true(h != 0);
    return h;
}

static void neighbours_share_their_part(void **state)
{
    (void)state;
    assert_true(owner("10.1.2.3") == owner("10.1.2.200"));
    assert_true(owner("10.1.2.3") == owner("::ffff:10.1.2.9"));
    assert_true(owner("10.1.2.3") != owner("10.1.3.3"));
    assert_true(owner("2001:db8:1:2200::1") == owner("2001:db8:1:22ff:9::7"));
    assert_true(owner("2001:db8:1:2200::1") != owner("2001:db8:1:2300::1"));
    assert_true(owner("unix") == owner("unix"));
    assert_true(owner("") != owner("unix"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_conversation_and_its_prefix_are_recognised),
        cmocka_unit_test(a_text_shared_inside_one_message_is_recognised),
        cmocka_unit_test(finding_prefixes_costs_little),
        cmocka_unit_test(neighbours_share_their_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
