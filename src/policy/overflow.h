/* SPDX-License-Identifier: MIT */
/* Other people's machines: what they may cost, and when they are asked. Pure; time is an argument.
 *
 * A lender's purse has two windows, an hour and a day. Cost is reserved when a request is sent (what nine of
 * ten such requests do not exceed), grows with an answer that is longer, and is settled to what was used:
 *
 *      budget  ▕████ spent ████▒▒▒ reserved ▒▒▒░░░ left ░░░▏      spent + reserved <= budget, but for
 *                       ◀── settle ──   ◀── reserve, grow          the one request that is overdrawn
 *
 * A window that ends takes what was spent with it; what is reserved belongs to requests that run, and stays.
 * So a request counts in the window in which it ends, and no window is ever passed by more than one request.
 *
 * A lender that says it is full (429, 503) rests, for as long as it asks or 1 s doubling to 60 s, and is then
 * tried with one request before others follow: so a day on which every lender is swamped costs one request a
 * minute and lender, and everybody else waits in line, as without lenders. */
#ifndef EK_POLICY_OVERFLOW_H
#define EK_POLICY_OVERFLOW_H

#include "base/clock.h"
#include "policy/options.h"

enum ek_purse_span { EK_PURSE_HOUR, EK_PURSE_DAY, EK_PURSE_SPANS };

/* What was agreed with a lender. */
struct ek_lender_terms {
    int64_t budget_nano[EK_PURSE_SPANS]; /* 0: none */
    const struct ek_price_list *prices;  /* must outlive the lender; NULL: it costs nothing */
    const char *price;                   /* the name of the entry with what it charges */
    const struct ek_zone *zone;          /* whose midnight ends a day; NULL: UTC */
};

/* What outlives a restart. */
struct ek_purse_kept {
    uint64_t window[EK_PURSE_SPANS];
    int64_t spent_nano[EK_PURSE_SPANS];
};

/* What other processes of this door have there, while one takes over from another. */
struct ek_purse_elsewhere {
    int64_t spent_nano[EK_PURSE_SPANS]; /* in the windows of now */
    int64_t reserved_nano;
    uint32_t running;
    bool overdrawn; /* one of theirs runs beyond the budget: then none of ours does */
};

struct ek_lender {
    bool lent;
    struct ek_lender_terms terms;
    struct ek_purse_kept kept; /* ours; so is reserved_nano */
    struct ek_purse_elsewhere elsewhere;
    int64_t reserved_nano;
    bool overdrawn;        /* one request runs beyond the budget */
    bool trial;            /* after a rest: the one that tries it is under way */
    uint32_t rests;        /* in a row; 0: it is well */
    uint64_t rest_until_ns;
    /* for people */
    uint64_t refused;      /* requests that its budget did not allow */
    uint64_t swamped;      /* times it said that it is full */
    uint64_t recalled;     /* requests taken back, because the budget was used up */
    uint64_t overdrafts;
    int64_t spent_nano;    /* since the start */
};

void ek_lender_agree(struct ek_lender *l, const struct ek_lender_terms *t); /* NULL: it is ours again */
/* Windows that are over are emptied. Before any question about money. */
void ek_lender_roll(struct ek_lender *l, struct ek_now now);
/* What may still be reserved; INT64_MAX: there is no budget. Never below 0. */
int64_t ek_lender_left_nano(const struct ek_lender *l);
/* Its price of now. */
struct ek_price_options ek_lender_price(const struct ek_lender *l, struct ek_now now);

/* Can it pay so much? */
enum ek_purse_state {
    EK_PURSE_PAYS,     /* now */
    EK_PURSE_RESERVED, /* when something that runs there ends for less than was reserved; no time known */
    EK_PURSE_WINDOW,   /* when a window that is spent ends, after *wait_ns */
    EK_PURSE_NEVER,    /* no window of its budget holds that much */
};
enum ek_purse_state ek_lender_can(const struct ek_lender *l, struct ek_now now, int64_t nano,
                                  uint64_t *wait_ns);
/* What is reserved for one request of which nothing is known but that its prompt has so many tokens. */
#define EK_OVERFLOW_PROMPT_USUAL 1000u
#define EK_OVERFLOW_OUTPUT_UNKNOWN 2048u /* tokens reserved before any answer was seen */
int64_t ek_lender_usual_nano(const struct ek_lender_terms *t, uint64_t unix_ns);
/* A sentence for its owner when a budget does not hold even one such request; false: it does. */
bool ek_lender_is_small(const struct ek_lender_terms *t, uint64_t unix_ns, char *why, size_t cap);
/* The prompt as it is reserved for, tokens. */
uint64_t ek_lender_prompt(uint64_t prompt_tokens);

/* false: the budget does not allow it, nothing is reserved. */
bool ek_lender_reserve(struct ek_lender *l, int64_t nano) EK_CHECKED;
/* More for a request that runs. The first one that finds no money goes on, overdrawn; the next gets false. */
bool ek_lender_grow(struct ek_lender *l, int64_t nano, bool *overdrawn) EK_CHECKED;
/* What was reserved goes, what was used is spent. overdrawn: it was this one. */
void ek_lender_settle(struct ek_lender *l, int64_t reserved_nano, int64_t spent_nano, bool overdrawn);

/* Requests it may be sent beside the `running` ones; `wall`: the most at once. */
uint32_t ek_lender_room(const struct ek_lender *l, uint64_t now_ns, uint32_t running, uint32_t wall);
/* One is sent. true: it is the trial, and is told so when it succeeds or ends. */
bool ek_lender_sent(struct ek_lender *l);
void ek_lender_full(struct ek_lender *l, uint64_t now_ns, uint64_t rest_ns, double jitter); /* 0 to 1 */
void ek_lender_tried(struct ek_lender *l, bool good);

/* ---- when ------------------------------------------------------------------------------------------ */

enum ek_overflow_why {
    EK_OVERFLOW_NOT = 0,
    EK_OVERFLOW_DOWN,     /* "down": none of our own is up */
    EK_OVERFLOW_FULL,     /* "full": the line is */
    EK_OVERFLOW_WAIT,     /* "wait": longer than the tier's target */
    EK_OVERFLOW_DEADLINE, /* "deadline": the caller's own, which only a lender can meet */
    EK_OVERFLOW_RESCUE,   /* "rescue": the machine it ran on has failed, and the others are busy */
    EK_OVERFLOW_WHYS
};

/* What is known of one that waits. */
struct ek_overflow_sight {
    double after_s;  /* its tier's target; 0: never */
    bool own_up;
    bool line_full;  /* it came in only because a lender has room */
    bool rescued;    /* it ran already */
    bool known;      /* there is an estimate */
    double waited_s;
    double eta_s;    /* from now to its first token here */
    double there_s;  /* the same at the lender; 0: not known */
    double left_s;   /* to its own deadline; HUGE_VAL: it has none */
};

#define EK_OVERFLOW_RESCUE_S 0.25 /* who was thrown out of service waits no longer for another slot */

enum ek_overflow_why ek_overflow_decide(const struct ek_overflow_sight *s);
const char *ek_overflow_name(enum ek_overflow_why why); /* "wait"; NOT: "" */

#endif
