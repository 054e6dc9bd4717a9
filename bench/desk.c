/* SPDX-License-Identifier: MIT */
/* What one arrival costs the desk: price, admit, estimate, enqueue and the first word, with so many waiting
 * and a million accounts known (each has been seen; outputs are predicted from what they got). Prints
 * nanoseconds: median and 99th percentile of 20,000 arrivals, each followed by one request that leaves, so
 * that the line keeps its length; and the same for a start with its end.
 *
 *     build/bench/bench_desk
 */
#include "base/random.h"
#include "policy/desk.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ACCOUNTS 1000000u
#define SAMPLES 20000u
#define ROOM 110000u

static struct ek_random rng;
static struct ek_now now = {.mono_ns = EK_S_NS, .unix_ns = EK_S_NS};
static uint32_t ticket[ROOM];
static uint32_t tickets;

static uint64_t hash_of(uint64_t x)
{
    x = (x + 1) * 0x9e3779b97f4a7c15ull;
    return (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ull;
}

static uint64_t wall_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * EK_S_NS + (uint64_t)t.tv_nsec;
}

static struct ek_arrival guest(uint64_t id, uint64_t account, uint32_t prefixes)
{
    uint64_t conversation = ek_random_below(&rng, 5000);
    struct ek_arrival a = {.id = id, .account = hash_of(account), .tier = (uint32_t)ek_random_below(&rng, 3),
                           .model = 77, .prompt_tokens = 100 + (uint32_t)ek_random_below(&rng, 4000),
                           .price = {70000, 270000, 1100000}, .deadline_ns = UINT64_MAX,
                           .repeat = hash_of(id ^ 0xabcdef), .prefix_count = prefixes};
    for (uint32_t k = 0; k < prefixes; k++)
        a.prefix[k] = (struct ek_prefix){hash_of(conversation * 16 + (k < 2 ? 0 : k)), 64 << k};
    return a;
}

static int by_value(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

static void print(const char *what, uint32_t waiting, uint64_t *ns, uint32_t n)
{
    qsort(ns, n, sizeof *ns, by_value);
    printf("%-46s %7u waiting  median %6llu ns  p99 %6llu ns\n", what, waiting,
           (unsigned long long)ns[n / 2], (unsigned long long)ns[n - n / 100 - 1]);
}

/* Every account is seen once: predicted, started, finished. */
static void know_accounts(struct ek_policy *p)
{
    struct ek_action act, refusal;
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        struct ek_arrival a = guest(i, i, 0);
        uint32_t t;
        now.mono_ns += 1000;
        if (!ek_desk_arrive(p, now, &a, &t, &refusal)) continue;
        while (ek_desk_next(p, now, &act) != EK_DESK_IDLE) continue;
        struct ek_used u = {.prompt_tokens = a.prompt_tokens,
                            .output_tokens = 50 + (uint32_t)ek_random_below(&rng, 3000)};
        ek_desk_used(p, now, t, &u);
        ek_desk_finished(p, now, t, true);
    }
}

static void arrive(struct ek_policy *p, uint64_t id, uint32_t prefixes, bool few)
{
    struct ek_action act, refusal;
    struct ek_arrival a = guest(id, ek_random_below(&rng, few ? 500 : ACCOUNTS), prefixes);
    if (!ek_desk_arrive(p, now, &a, &ticket[tickets], &refusal)) exit(1);
    ek_desk_next(p, now, &act);
    if (act.act != EK_DESK_TELL || act.id != id) exit(2);
    tickets++;
}

static void measure(uint32_t waiting, uint32_t prefixes, bool few, const char *what)
{
    static const struct ek_tier_options tiers[] = {
        {.name = "free", .weight = 1}, {.name = "plus", .weight = 4}, {.name = "pro", .weight = 10}};
    static uint64_t ns[SAMPLES];
    struct ek_desk_options o = {.queue.waiting_max = 100000, .tiers = {tiers, 3}, .running_max = 100,
                                .tell_min_ns = EK_S_NS, .tell_max_ns = 10 * EK_S_NS, .tell_change = 0.1,
                                .down_grace_ns = 60 * EK_S_NS, .seed = 1};
    struct ek_policy *p = ek_desk_new(&o, now);
    if (!p) exit(3);
    ek_desk_pool(p, 1);
    ek_desk_load(p, now, 0, &(struct ek_load){.up = true, .slots = 63});
    know_accounts(p);
    ek_desk_load(p, now, 0, &(struct ek_load){.up = true, .slots = 0});
    tickets = 0;
    struct ek_action act, refusal;
    struct ek_arrival first = guest(1, 1, 0);
    uint32_t running;
    if (!ek_desk_arrive(p, now, &first, &running, &refusal)) exit(4);
    ek_desk_next(p, now, &act);
    uint64_t id = 10;
    while (tickets < waiting - 1) arrive(p, id++, prefixes, few);
    uint64_t frozen_ns = now.mono_ns; /* no rounds in between: they are not part of an arrival */
    while (ek_desk_next(p, now, &act) != EK_DESK_IDLE) continue;
    now.mono_ns = frozen_ns;
    for (uint32_t i = 0; i < SAMPLES; i++) {
        uint64_t from = wall_ns();
        arrive(p, id++, prefixes, few);
        ns[i] = wall_ns() - from;
        uint32_t who = (uint32_t)ek_random_below(&rng, tickets);
        ek_desk_gone(p, now, ticket[who]);
        ticket[who] = ticket[--tickets];
    }
    print(what, waiting, ns, SAMPLES);
    uint32_t rounds = 2000;
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t from = wall_ns();
        ek_desk_finished(p, now, running, true);
        if (ek_desk_next(p, now, &act) != EK_DESK_START) exit(5);
        running = act.ticket;
        ns[i] = wall_ns() - from;
    }
    print("  one ends, the next starts", waiting, ns, rounds);
    ek_desk_free(&p);
}

int main(void)
{
    rng = ek_random_make(4);
    printf("accounts known: %u\n", ACCOUNTS);
    measure(10000, 0, false, "price+admit+estimate+enqueue, an account each");
    measure(10000, 8, true, "the same, 500 accounts, 8 prefix blocks");
    measure(100000, 0, false, "price+admit+estimate+enqueue, an account each");
    measure(100000, 8, true, "the same, 500 accounts, 8 prefix blocks");
    return 0;
}
