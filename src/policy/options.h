/* SPDX-License-Identifier: MIT */
/* What the desk is told by the YAML file: sections `queue`, `tiers`, `hours` and `prices`. Plain data,
 * filled by config (defaults, ranges, texts: config/table.c). Money is int64 pico-units of the configured
 * currency per token, the one unit of work in the whole house; a price in the file is written in currency
 * per million tokens, so 0.28 there is 280000 here, exactly. */
#ifndef EK_POLICY_OPTIONS_H
#define EK_POLICY_OPTIONS_H

#include "base/hours.h"
#include "base/strlist.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ek_queue_options {
    uint64_t waiting_max; /* requests waiting in all tiers together; beyond: 429 queue_full */
    bool brownout;        /* shorten thinking in the tiers that have a delay_target */
    bool shed;            /* turn people away for an hour where waits exceed the tiers' patience */
    uint64_t accounts_max;   /* accounts whose share is remembered */
    uint64_t tpot_target_ns; /* slower than this between two tokens, an upstream is full; 0: off */
    const char *learned;     /* file of what was learned about answers; NULL: forgotten at the end */
    uint64_t learned_ns;     /* saved so often */
    struct ek_strlist automatic; /* models for requests to `auto`, the best first; none: no such name */
    uint64_t hedge_after_ns; /* a first token is late after so long; 0: after the p95 of its upstream */
    double hedge_part;       /* second attempts, of what the tiers that hedge send */
    uint64_t quantum_nano;   /* how far locality may lead an account ahead; 0: four mean requests */
};

/* One class of callers. There is always at least one: "default", added when the file names none. */
struct ek_tier_options {
    const char *name;
    uint64_t weight;              /* share of work under load, relative to the other tiers */
    uint64_t waiting_max;         /* requests of this tier waiting; 0: only queue.waiting_max counts */
    uint64_t account_running_max; /* requests of one account running at once; 0: no limit */
    uint64_t account_waiting_max; /* requests of one account waiting at once; 0: no limit */
    uint64_t patience_ns;         /* how long one waits at most when it sets no deadline; 0: for ever */
    uint64_t return_grace_ns;     /* a place is kept so long for one whose connection broke; 0: not */
    uint64_t linger_ns;           /* an answer goes on so long after its reader has left; 0: it is stopped */
    bool prepaid;                 /* accounts of the ledger need a balance and are charged */
    uint64_t delay_target_ns;     /* thinking is shortened when the wait is longer; 0: never */
    /* Of one account, where it has no limit of its own; 0: none. Beyond: 429. */
    uint64_t minute_requests, minute_tokens, running_limit, day_thoughts;
    bool borrow;                  /* prompts of callers without an account of the ledger may go to borrowed */
                                  /* upstreams; an account says so itself */
    struct ek_strlist models;     /* names, or beginnings with * behind; none: all */
    bool reprompt;                /* a broken answer that nobody can go on with is asked for anew, labelled */
    bool hedge;                   /* a late first token is worth a second attempt elsewhere */
    uint64_t overflow_after_ns;   /* predicted to wait longer than this: to a borrowed upstream; 0: never */
};

/* Hours that a price can be bound to. */
struct ek_hours_options {
    const char *name;
    const char *zone; /* never NULL: "UTC" */
    struct ek_strlist days, times, except;
    const struct ek_hours *hours; /* made by config of all that; never NULL */
};

/* The price of one model's tokens. `model` is a public model name or "*" for all others; the entry "*"
 * always exists (config adds a default: it is the measure of work for those who bill nobody). A model may
 * have several entries: the first whose hours hold counts, else the one without, which it always has. */
struct ek_price_options {
    const char *model;
    const char *when;             /* name of its hours; NULL: always */
    const struct ek_hours *hours; /* those; NULL: always */
    int64_t cached_pico; /* prompt token found in the cache */
    int64_t prompt_pico; /* prompt token computed */
    int64_t output_pico; /* token generated, thinking included */
};

struct ek_tier_list {
    const struct ek_tier_options *item;
    size_t count; /* >= 1 */
};

struct ek_hours_list {
    const struct ek_hours_options *item;
    size_t count;
};

struct ek_price_list {
    const struct ek_price_options *item;
    size_t count; /* >= 1 */
};

#endif
