/* SPDX-License-Identifier: MIT */
/* The book: who has how much, what is promised, what was spent. Pure double entry over a fixed piece of
 * memory: no clock, no store, no allocation after ek_book_new. Every step is one or a few entries, each
 * moving an amount between two pockets of one account:
 *
 *      WORLD ──fund──▶ FREE ──reserve, extend──▶ HELD ──settle──▶ SPENT
 *        ▲──withdraw───┘ ▲◀──────the rest of it──┘                  │
 *                        └◀─────────────refund──────────────────────┘
 *
 * WORLD is what came from outside, negated (paid in = -WORLD), so that at every instant, of every account and
 * of all together:
 *
 *      FREE + HELD + SPENT + WORLD = 0,   that is:   balance + reserved + spent = paid in
 *
 * and each step ends by checking it with MUST. A door's book is funded by leases from the store
 * (store.h): FREE is then what this door may spend without asking. The simulator funds it once.
 *
 * Rules of money
 *   - Gifts go first: a charge touches topped-up money only when no granted money is free or held for it.
 *   - Short only because of one's own other reservations is a reason to wait, not to be refused: 402 is for
 *     those whose whole balance, reserved money included, cannot pay for the least the request needs.
 *   - Who has less than the p90 cost but more than the least is let in with what there is; the stream
 *     ends when that ends.
 *   - An account falls below zero by at most the largest `overdraft_nano` of its requests (the price of one
 *     token on our engine, one chunk elsewhere), however many end at once. What a request cost beyond is
 *     forgiven, and counted.
 *   - All is idempotent by name: the second reserve, settle, refund or payment of one name changes nothing
 *     and gives the first one's answer (as long as the book remembers it; the store remembers for ever).
 *
 * Fences: money that came under a lease carries the lease's number. When the lease is lost
 * (ek_book_lose), what was left of it leaves the book; requests under way may no longer be extended, and
 * settle at most what they had reserved. */
#ifndef EK_LEDGER_BOOK_H
#define EK_LEDGER_BOOK_H

#include "base/clock.h"
#include "base/status.h"
#include "ledger/money.h"

struct ek_book;

enum ek_pocket { EK_POCKET_WORLD, EK_POCKET_FREE, EK_POCKET_HELD, EK_POCKET_SPENT, EK_POCKET_COUNT };

#define EK_ENTRY_KINDS(X) \
    X(FUND, "fund")         /* WORLD → FREE: a top-up, a grant, a lease */ \
    X(WITHDRAW, "withdraw") /* FREE → WORLD: a lease given back */ \
    X(LOSE, "lose")         /* FREE or HELD → WORLD: a lease lost */ \
    X(RESERVE, "reserve")   /* FREE → HELD */ \
    X(EXTEND, "extend")     /* FREE → HELD */ \
    X(SETTLE, "settle")     /* HELD → SPENT */ \
    X(OVER, "over")         /* FREE → SPENT: a cost beyond the reserve, or gifts instead of it */ \
    X(RELEASE, "release")   /* HELD → FREE: the rest of a reserve */ \
    X(LATE, "late")         /* WORLD → SPENT: settled after its lease was lost */ \
    X(REFUND, "refund")     /* SPENT → FREE */

enum ek_entry_kind {
#define X(name, text) EK_ENTRY_##name,
    EK_ENTRY_KINDS(X)
#undef X
    EK_ENTRY_KIND_COUNT
};

const char *ek_entry_kind_name(enum ek_entry_kind kind); /* "fund"; never NULL */

/* One entry. They are only ever appended: the sums of a book follow from its entries alone. */
struct ek_entry {
    uint64_t seq; /* 1, 2, 3, ... */
    uint64_t account;
    struct ek_id name; /* of the request or payment; unset for LOSE and WITHDRAW */
    uint64_t fence;
    enum ek_entry_kind kind;
    enum ek_pocket from, to;
    struct ek_money amount; /* topped_nano may be negative where an overdrawn account comes or goes */
};

struct ek_book_options {
    uint32_t accounts_max; /* accounts held at once; those at rest are forgotten by the caller */
    uint32_t holds_max;    /* requests reserved at once */
    uint32_t done_max;     /* names remembered after their end, the oldest forgotten first */
    uint64_t seed;         /* of the hash tables */
    void (*entry)(void *arg, const struct ek_entry *e); /* sees every entry; NULL: nobody */
    void *arg;
};

struct ek_book *ek_book_new(const struct ek_book_options *o); /* NULL: no memory */
void ek_book_free(struct ek_book **b);

/* ---- accounts -------------------------------------------------------------------------------- */

/* Budgets in nano-units, 0 for none; days and months are those of UTC. spent_*: what the store knows of
 * the current day and month when the account enters the book. */
struct ek_book_limits {
    int64_t day_nano, month_nano;
    int64_t spent_day_nano, spent_month_nano;
};

struct ek_book_state {
    struct ek_money pocket[EK_POCKET_COUNT];
    int64_t elsewhere_nano;  /* of this account's money, what is not in this book (last known) */
    int64_t forgiven_nano;   /* cost beyond what could be charged, in all */
    int64_t spent_day_nano, spent_month_nano;
    uint64_t fence;
    uint32_t holds;
};

/* Enter an account (number not 0) with its budgets, or change them. EK_FULL: accounts_max. */
EK_CHECKED enum ek_status ek_book_account(struct ek_book *b, uint64_t account,
                                          const struct ek_book_limits *limits, struct ek_now now);
/* Forget an account that has nothing reserved and nothing free. EK_FULL: it has; EK_ABSENT. */
EK_CHECKED enum ek_status ek_book_forget(struct ek_book *b, uint64_t account);
bool ek_book_look(const struct ek_book *b, uint64_t account, struct ek_book_state *out);
/* Money of the account in the store or in other doors' leases: short here is then "ask for more". */
void ek_book_elsewhere(struct ek_book *b, uint64_t account, int64_t nano);

/* ---- money in and out ------------------------------------------------------------------------ */

#define EK_BOOK_TOTAL_MAX (INT64_MAX / 2) /* of all accounts in memory together, spent money included */

enum ek_book_paid { EK_PAID, EK_PAID_BEFORE, EK_PAID_REFUSED /* no such account,
                   or past EK_MONEY_MAX or EK_BOOK_TOTAL_MAX */ };

/* Money comes in under `name`; topped-up money may be negative (a door takes over an overdrawn
 * account), not below -EK_MONEY_MAX; granted money never is. `fence` is the lease it comes under: the
 * account's own, or a higher one once all money of the old lease has left the book. */
enum ek_book_paid ek_book_fund(struct ek_book *b, uint64_t account, struct ek_id name, uint64_t fence,
                               struct ek_money amount);
/* Give back up to `nano` of what is free, topped-up money first (gifts stay to be spent first). Returns what
 * went, which may be less or nothing. */
struct ek_money ek_book_withdraw(struct ek_book *b, uint64_t account, int64_t nano);
/* All of it, below zero too, for an account with nothing reserved. */
struct ek_money ek_book_withdraw_all(struct ek_book *b, uint64_t account);
/* The lease `fence` is lost: its money leaves. Nothing happens when the account has another by now. */
void ek_book_lose(struct ek_book *b, uint64_t account, uint64_t fence);

/* ---- requests -------------------------------------------------------------------------------- */

enum ek_hold_verdict {
    EK_HOLD_GRANTED, /* reserved: held_nano, which is less than need_nano where all there is was less */
    EK_HOLD_WAIT,    /* own reservations hold it: ask again when one of them has settled */
    EK_HOLD_LEASE,   /* the store has more: lease, then ask again */
    EK_HOLD_BROKE,   /* 402: the whole balance does not pay for the least */
    EK_HOLD_DAY,     /* the budget of the day is used up */
    EK_HOLD_MONTH,
    EK_HOLD_FULL,    /* holds_max: a limit of ours, not of theirs */
    EK_HOLD_DONE,    /* this name has settled already */
    EK_HOLD_ABSENT,  /* the account is not in the book */
};

struct ek_hold_ask {
    uint64_t account;
    struct ek_id request;
    int64_t need_nano;      /* the p90 cost; >= least_nano */
    int64_t least_nano;     /* prompt and one token; >= 1 */
    int64_t overdraft_nano; /* price of the smallest step of output; >= 0 */
    bool alone;             /* the store is away: what is elsewhere does not count as reachable, */
                            /* so a smaller reserve is given rather than EK_HOLD_LEASE */
};

struct ek_hold {
    enum ek_hold_verdict verdict;
    int64_t held_nano; /* reserved for this request in all */
};

struct ek_hold ek_book_reserve(struct ek_book *b, const struct ek_hold_ask *ask, struct ek_now now);

/* Up to more_nano on top, from what is free and within the budgets. verdict GRANTED and held_nano the new
 * total; else why there is nothing: the stream ends with a reason (or the caller leases, and asks again). */
struct ek_hold ek_book_extend(struct ek_book *b, struct ek_id request, int64_t more_nano,
                              struct ek_now now);

enum ek_settle_verdict {
    EK_SETTLED,
    EK_SETTLED_BEFORE, /* the same name again: the first answer */
    EK_SETTLED_ABSENT, /* never reserved, or forgotten: the store decides */
};

struct ek_settlement {
    enum ek_settle_verdict verdict;
    uint64_t account;
    uint64_t fence; /* of the lease it was reserved under */
    bool late;      /* that lease was lost */
    struct ek_money charged;
    int64_t forgiven_nano; /* cost_nano - charged */
};

/* The request cost cost_nano (>= 0; 0 for work that failed): charge it, give the rest back. */
struct ek_settlement ek_book_settle(struct ek_book *b, struct ek_id request, int64_t cost_nano,
                                    struct ek_now now);

/* Give back up to `nano` of what a remembered, settled request was charged: top-ups first. Once a request:
 * the second refund gives nothing. Returns what went back. */
struct ek_money ek_book_refund(struct ek_book *b, struct ek_id request, int64_t nano,
                               struct ek_now now);

/* ---- checks ---------------------------------------------------------------------------------- */

struct ek_book_totals {
    struct ek_money pocket[EK_POCKET_COUNT];
    int64_t forgiven_nano;
    uint64_t entries;
    uint32_t accounts, holds, done;
    uint64_t full;       /* EK_HOLD_FULL given */
    uint64_t done_early; /* names forgotten to make room */
};

void ek_book_totals(const struct ek_book *b, struct ek_book_totals *out);
void ek_book_check(const struct ek_book *b); /* walks everything, MUSTs it consistent: for tests */

/* UTC, for budgets and reports. */
uint32_t ek_day_of(uint64_t unix_ns);   /* days since 1970-01-01 */
uint32_t ek_month_of(uint64_t unix_ns); /* months since January 1970 */

#endif
