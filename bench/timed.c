/* SPDX-License-Identifier: MIT */
/* evenkeel with a stopwatch: the same objects as the program, linked so that what the door asks of the desk,
 * of limits and of money, and what it counts, goes through here and is timed (`--wrap` of the linker; the
 * program itself knows nothing of it). At the end lines on standard error say how often and how long;
 * `bench/money.mjs` runs it. Calls inside calls count once, for the outer one; the stopwatch itself, twice
 * the time stamp counter, is measured at the end and taken off. Only the loop's thread is timed. */
#include "door/door_state.h"
#include "door/money.h"
#include "policy/cost.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>

enum part { PART_DESK, PART_MONEY, PART_COUNT, PARTS };

static struct {
    uint64_t ticks[PARTS], calls[PARTS], began_ticks, began_ns;
    int depth;
    pthread_t loop;
} watch;

static uint64_t in(void)
{
    if (!pthread_equal(watch.loop, pthread_self())) return 0;
    return watch.depth++ ? 0 : __rdtsc();
}

static void out(enum part p, uint64_t from)
{
    if (!pthread_equal(watch.loop, pthread_self())) return;
    watch.depth--;
    if (!from) return;
    watch.ticks[p] += __rdtsc() - from;
    watch.calls[p]++;
}

#define VALUE(part, type, name, params, args) \
    type __real_##name params; \
    type __wrap_##name params; \
    type __wrap_##name params \
    { \
        uint64_t from = in(); \
        type value = __real_##name args; \
        out(part, from); \
        return value; \
    }
#define NOTHING(part, name, params, args) \
    void __real_##name params; \
    void __wrap_##name params; \
    void __wrap_##name params \
    { \
        uint64_t from = in(); \
        __real_##name args; \
        out(part, from); \
    }

VALUE(PART_DESK, bool, ek_desk_arrive,
      (struct ek_policy *p, struct ek_now now, const struct ek_arrival *a, uint32_t *ticket,
       struct ek_action *refusal), (p, now, a, ticket, refusal))
VALUE(PART_DESK, enum ek_desk_act, ek_desk_next,
      (struct ek_policy *p, struct ek_now now, struct ek_action *a), (p, now, a))
VALUE(PART_DESK, uint64_t, ek_desk_wake_ns, (const struct ek_policy *p), (p))
VALUE(PART_DESK, uint64_t, ek_desk_repeat, (const struct ek_policy *p, uint64_t repeat), (p, repeat))
VALUE(PART_DESK, uint32_t, ek_desk_output_p90, (const struct ek_policy *p, const struct ek_arrival *a),
      (p, a))
NOTHING(PART_DESK, ek_desk_started, (struct ek_policy *p, struct ek_now now, uint32_t ticket),
        (p, now, ticket))
NOTHING(PART_DESK, ek_desk_finished, (struct ek_policy *p, struct ek_now now, uint32_t ticket, bool served),
        (p, now, ticket, served))
NOTHING(PART_DESK, ek_desk_gone, (struct ek_policy *p, struct ek_now now, uint32_t ticket), (p, now, ticket))
NOTHING(PART_DESK, ek_desk_used,
        (struct ek_policy *p, struct ek_now now, uint32_t ticket, const struct ek_used *u),
        (p, now, ticket, u))

VALUE(PART_MONEY, enum ek_reason, ek_door_identify,
      (struct ek_door *d, const struct ek_http_head *head, struct ek_str peer, struct ek_identity *o),
      (d, head, peer, o))
VALUE(PART_MONEY, bool, ek_door_limits_begin,
      (struct ek_door_request *r, const struct ek_arrival *a, bool thinks), (r, a, thinks))
NOTHING(PART_MONEY, ek_door_limits_end, (struct ek_door_request *r), (r))
VALUE(PART_MONEY, size_t, ek_door_limits_headers, (const struct ek_door_request *r, struct ek_http_header *o),
      (r, o))
VALUE(PART_MONEY, enum ek_door_paid, ek_door_money_reserve,
      (struct ek_door_request *r, uint64_t account, uint64_t key, const struct ek_arrival *a),
      (r, account, key, a))
VALUE(PART_MONEY, enum ek_door_paid, ek_door_money_start,
      (struct ek_door_request *r, const struct ek_action *start), (r, start))
VALUE(PART_MONEY, uint64_t, ek_door_money_tokens, (const struct ek_door_request *r), (r))
VALUE(PART_MONEY, enum ek_reason, ek_door_money_spent, (struct ek_door_request *r, uint64_t made), (r, made))
VALUE(PART_MONEY, bool, ek_door_money_settle,
      (struct ek_door_request *r, const struct ek_door_bill *bill, enum ek_reason ending), (r, bill, ending))
NOTHING(PART_MONEY, ek_door_money_let_go, (struct ek_door_request *r), (r))

VALUE(PART_COUNT, const struct ek_price_options *, ek_cost_price,
      (const struct ek_price_list *l, const char *model, uint64_t unix_ns), (l, model, unix_ns))
VALUE(PART_COUNT, int64_t, ek_cost_nano,
      (const struct ek_price_options *price, uint64_t cached, uint64_t prompt, uint64_t output),
      (price, cached, prompt, output))
NOTHING(PART_COUNT, ek_desk_tokens,
        (struct ek_policy *p, struct ek_now now, uint32_t ticket, uint32_t tokens), (p, now, ticket, tokens))
NOTHING(PART_COUNT, ek_histogram_add, (struct ek_histogram *h, double value), (h, value))

/* What the stopwatch adds to a call, in ticks. */
static uint64_t own_ticks(void)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 10000; i++) {
        uint64_t from = __rdtsc(), ticks = __rdtsc() - from;
        if (ticks < least) least = ticks;
    }
    return least;
}

static void tell(void)
{
    static const char *const names[PARTS] = {"desk", "money", "count"};
    double ns_a_tick = (double)(ek_clock_read().mono_ns - watch.began_ns) /
                       (double)(__rdtsc() - watch.began_ticks);
    uint64_t own = own_ticks();
    for (size_t p = 0; p < PARTS; p++) {
        double ticks = (double)watch.ticks[p] - (double)own * (double)watch.calls[p];
        fprintf(stderr, "timed %s: %llu calls, %.0f ns\n", names[p], (unsigned long long)watch.calls[p],
                ticks * ns_a_tick);
    }
}

__attribute__((constructor)) static void begin(void)
{
    watch.loop = pthread_self();
    watch.began_ticks = __rdtsc();
    watch.began_ns = ek_clock_read().mono_ns;
    MUST(atexit(tell) == 0);
}
