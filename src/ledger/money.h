/* SPDX-License-Identifier: MIT */
/* Amounts and names of the ledger. An amount is in nano-units of the configured currency, in two parts:
 * what was granted (a gift, spent first) and what was topped up (paid for). A name of a request, a top-up
 * or a lease is 128 random bits: who sends the same name twice means the same thing. */
#ifndef EK_LEDGER_MONEY_H
#define EK_LEDGER_MONEY_H

#include "base/must.h"

#include <stdbool.h>
#include <stdint.h>

/* No balance, sum or single amount of an account may pass this (2.3 billion units): two of them
 * always fit in an int64. */
#define EK_MONEY_MAX (INT64_MAX / 4)

struct ek_id {
    uint64_t hi, lo; /* both 0: no name */
};

struct ek_money {
    int64_t granted_nano;
    int64_t topped_nano;
};

static inline bool ek_id_eq(struct ek_id a, struct ek_id b) { return a.hi == b.hi && a.lo == b.lo; }
static inline bool ek_id_is_set(struct ek_id a) { return (a.hi | a.lo) != 0; }

static inline int64_t ek_money_sum(struct ek_money m) { return m.granted_nano + m.topped_nano; }
static inline bool ek_money_is_zero(struct ek_money m) { return m.granted_nano == 0 && m.topped_nano == 0; }

static inline struct ek_money ek_money_add(struct ek_money a, struct ek_money b)
{
    MUST(!__builtin_add_overflow(a.granted_nano, b.granted_nano, &a.granted_nano));
    MUST(!__builtin_add_overflow(a.topped_nano, b.topped_nano, &a.topped_nano));
    return a;
}

static inline struct ek_money ek_money_less(struct ek_money a, struct ek_money b)
{
    MUST(!__builtin_sub_overflow(a.granted_nano, b.granted_nano, &a.granted_nano));
    MUST(!__builtin_sub_overflow(a.topped_nano, b.topped_nano, &a.topped_nano));
    return a;
}

/* `nano` out of a purse, gifts first; nano <= its sum, and neither part is negative. */
static inline struct ek_money ek_money_take(struct ek_money purse, int64_t nano)
{
    MUST(purse.granted_nano >= 0 && nano >= 0);
    int64_t granted = nano < purse.granted_nano ? nano : purse.granted_nano;
    MUST(nano - granted == 0 || nano - granted <= purse.topped_nano);
    return (struct ek_money){granted, nano - granted};
}

#endif
