/* SPDX-License-Identifier: MIT */
/* A second attempt beside one whose first token is late: when, where and how often. Pure.
 *
 *      sent ── p95 of such prompts there ──┬─ nothing yet ─▶ the same request elsewhere, too: who has a
 *                                          │                 token first goes on, alone
 *                                          └─ too busy, no budget: looked at again
 *
 * It is the cure for a machine that is slow now and then, not for one that is full: a second attempt reads
 * the whole prompt again, so where there is much to do it only makes everybody later. Hence three bounds:
 * below 70 % of the slots at both machines and nobody waiting for them, and a budget, a part of what is sent.
 * Idea: J. Dean and L. A. Barroso, "The Tail at Scale" (2013). */
#ifndef EK_POLICY_HEDGE_H
#define EK_POLICY_HEDGE_H

#include <stdbool.h>
#include <stdint.h>

#define EK_HEDGE_LOAD_MAX 0.7
#define EK_HEDGE_CLASSES 5u  /* of prompts by length: up to 256 tokens, 1024, 4096, 16384, more */
#define EK_HEDGE_SAMPLES 64u /* of each class, the last ones */
#define EK_HEDGE_LEAST 20u   /* so many are needed to speak of one in twenty */

/* How long one upstream took to the first token of late. */
struct ek_hedge_firsts {
    float s[EK_HEDGE_CLASSES][EK_HEDGE_SAMPLES];
    uint32_t seen[EK_HEDGE_CLASSES];
};

/* One first token came after first_s. at_least: it had not come by then, and was given up. */
void ek_hedge_learn(struct ek_hedge_firsts *f, uint32_t prompt_tokens, double first_s, bool at_least);
/* What 19 of 20 such prompts did not exceed; 0: not known. */
double ek_hedge_p95_s(const struct ek_hedge_firsts *f, uint32_t prompt_tokens);

/* ---- how often ------------------------------------------------------------------------------------- */

struct ek_hedge_budget {
    double credit; /* second attempts that may be made */
};

void ek_hedge_earn(struct ek_hedge_budget *b, double part); /* one was sent */
void ek_hedge_spend(struct ek_hedge_budget *b);             /* a second attempt is made */

/* ---- the decision ---------------------------------------------------------------------------------- */

enum ek_hedge_verdict {
    EK_HEDGE_GO = 0,
    EK_HEDGE_NOT,     /* its tier does not ask for it, or there is nothing to be won */
    EK_HEDGE_UNKNOWN, /* "unknown": too few first tokens were seen there */
    EK_HEDGE_EARLY,   /* it is not late yet */
    EK_HEDGE_NOWHERE, /* "nowhere": no other machine of our own that is up serves it */
    EK_HEDGE_BUSY,    /* "busy": one of the two is, or somebody waits */
    EK_HEDGE_BUDGET,  /* "budget" */
    EK_HEDGE_VERDICTS
};

struct ek_hedge_sight {
    bool asked;        /* by its tier, and it has neither a token nor a second attempt */
    double waited_s;   /* since it was sent */
    double after_s;    /* from when on it is late; 0: not known */
    bool there;        /* somewhere else it could go */
    double load_here;  /* part of its slots that is taken, itself included ... */
    double load_there; /* ... and of theirs without it */
    uint32_t waiting;  /* in line for these machines */
    double credit;
};

enum ek_hedge_verdict ek_hedge_decide(const struct ek_hedge_sight *s);
const char *ek_hedge_name(enum ek_hedge_verdict v); /* "busy"; "" where nobody counts it */

#endif
