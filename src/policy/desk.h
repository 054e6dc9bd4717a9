/* SPDX-License-Identifier: MIT */
/* The desk: who goes next, who waits and how long, who is refused. It decides; its shell obeys.
 *
 *      events in                                     actions out
 *      arrive ─────────┐                         ┌─▶ START id on upstream u
 *      started, tokens │     ┌──────────────┐    ├─▶ TELL  id position, estimate, why
 *      finished, back  ├────▶│ struct       ├────┼─▶ REFUSE id reason, retry_after
 *      gone, load      │     │ ek_policy    │    └─▶ CANCEL id reason
 *      (time itself)   │     └──────────────┘
 *      ────────────────┘
 *
 * Pure: no clock, no system call, no log; time is an argument and never runs backwards; the same
 * events give the same actions. All memory is taken once by ek_desk_new. The door and the simulator
 * are two shells around this same object code.
 *
 * How to drive it: give it one event, then call ek_desk_next until it returns EK_DESK_IDLE; and when
 * nothing happens until ek_desk_wake_ns, call ek_desk_next then. Actions are not stored: each call of
 * ek_desk_next derives the next one from the state, so there is no action queue that could overflow.
 * A shell may report events between two calls of ek_desk_next.
 *
 * The promise about each arrival that was let in: it ends in exactly one of: ek_desk_finished,
 * ek_desk_gone (both said by the shell), or REFUSE (said by the desk). A ticket is dead from then on.
 *
 * The order: tiers by guaranteed share, then accounts, then users inside an account, each level by
 * weighted fair queueing on cost, charged as predicted when one starts and settled to what it used
 * (docs/why/order.md). What an arrival leaves at 0 is simply not known: an arrival with nothing but an
 * id, an account, a tier and a pool is served well. */
#ifndef EK_POLICY_DESK_H
#define EK_POLICY_DESK_H

#include "base/clock.h"
#include "base/reason.h"
#include "policy/hedge.h"
#include "policy/options.h"
#include "policy/overflow.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EK_DESK_TIERS_MAX 16
#define EK_DESK_POOLS_MAX 64
#define EK_DESK_UPSTREAMS_MAX 64
#define EK_DESK_WAITING_MAX 100000 /* bound of the bound: the table must stay below 2^17 entries */
#define EK_DESK_RUNNING_MAX 30000
#define EK_DESK_PREFIX_MAX 8 /* sampled blocks of one prompt's prefix */
#define EK_DESK_THINKING_UNLIMITED UINT32_MAX

struct ek_policy;

struct ek_desk_options {
    struct ek_queue_options queue;
    struct ek_tier_list tiers; /* copied */
    uint64_t running_max;      /* requests in service at once, all upstreams; <= EK_DESK_RUNNING_MAX */
    uint64_t tell_min_ns;      /* two TELLs of one request are never closer ... */
    uint64_t tell_max_ns;      /* ... nor farther apart */
    double tell_change;        /* in between: only when position or estimate moved by this ratio */
    uint64_t down_grace_ns;    /* with no upstream up for longer, one is refused instead of waiting */
    uint64_t seed;             /* of the jitter in retry_after */
    /* From here on 0 means the default, which is given behind it. */
    uint32_t accounts_max;     /* accounts remembered; at least those with requests always are (65536) */
    uint64_t tpot_target_ns;   /* time per output token above which an upstream counts as full (off) */
    bool brownout;             /* lower thinking budgets under load (off) */
    bool shed;                 /* the DAGOR cursor as last resort (off: full lines refuse) */
    uint64_t quantum_nano;     /* how far locality may lead an account ahead (4 mean requests) */
};

/* One member of a prompt's chain of prefixes: a hash of its first `tokens` tokens (or of the bytes that
 * make them). Two prompts with the same hash share that prefix. */
struct ek_prefix {
    uint64_t hash;
    uint32_t tokens;
};

/* Pico-units a token, as in struct ek_price_options. All 0: not known. */
struct ek_desk_price {
    int64_t cached_pico;
    int64_t prompt_pico;
    int64_t output_pico;
};

/* What a request has really used. Tell it before ek_desk_finished (or gone); without it the desk takes
 * the tokens it was told of and the prompt as estimated. */
struct ek_used {
    uint32_t prompt_tokens; /* all of them, cached ones too */
    uint32_t cached_tokens;
    uint32_t thought_tokens;
    uint32_t output_tokens; /* all of them, thought too */
};

/* One request at the counter. Costs are in nano-units of the currency, as DESIGN decides. */
struct ek_arrival {
    uint64_t id;             /* the shell's name for it, given back in every action */
    uint64_t account;        /* hash; who pays */
    uint64_t user;           /* hash inside the account; 0: none */
    uint32_t tier;           /* index into the tier list */
    uint32_t pool;           /* from ek_desk_pool: which upstreams can serve it */
    uint32_t prompt_tokens;  /* estimated */
    uint32_t output_tokens;  /* predicted */
    int64_t cost_nano;       /* predicted price */
    uint64_t deadline_ns;    /* monotonic; no first token by then is foreseen: REFUSE. UINT64_MAX: patient */
    /* What follows may be 0: not known, not wanted. */
    uint64_t owner;          /* hash of the address prefix of an unproven account (young, never paid): all
                              * unproven accounts of one owner share one budget. 0: the account is proven */
    uint64_t conversation;   /* hash: a conversation that ran lately goes before the account's new ones */
    uint64_t model;          /* hash of the model: outputs are predicted for each model apart */
    uint32_t effort;         /* 0 default, else any small number the shell gives to an effort */
    uint32_t max_tokens;     /* the caller's own limit on output */
    struct ek_desk_price price; /* with it the desk predicts output and cost where they are 0 above */
    struct ek_prefix prefix[EK_DESK_PREFIX_MAX]; /* shortest first */
    uint32_t prefix_count;
    uint64_t repeat;         /* hash of account and body: the same request sent again */
    bool first_turn;         /* begins its conversation, even if one with the same words ran lately */
    uint32_t retries;        /* the SDK's count of attempts before this one */
    bool thinks;             /* the model thinks, so its budget may be lowered ... */
    bool keep_thinking;      /* ... unless the caller would rather wait */
    bool may_borrow;         /* its prompt may go to lenders (overflow.h) */
    uint8_t choices;         /* answers to the one prompt: slots it takes where it runs. 0 as 1 */
};

/* What an upstream said of itself, or what its configuration says. */
struct ek_load {
    bool up;
    uint32_t slots;   /* requests it works on at once */
    uint32_t running;
    uint32_t waiting; /* in its own backstop queue */
    uint64_t kv_total_tokens; /* 0: unknown */
    uint64_t kv_free_tokens;
    double prefill_tokens_per_s; /* 0: unknown */
    bool learn;               /* slots are not known: the desk finds out (learn.h) */
    uint32_t weight;          /* of the work, relative to the others of a pool; 0: the usual, 10 */
};

/* What would help one who is refused. */
enum ek_desk_help {
    EK_HELP_LATER = 1,         /* come back after retry_after */
    EK_HELP_LESS_THINKING = 2, /* a lower effort, or leave to shorten the thought */
    EK_HELP_MORE_PATIENCE = 4, /* a later deadline */
    EK_HELP_FEWER_AT_ONCE = 8, /* it is the account's own line that is full */
    EK_HELP_CHEAPER_MODEL = 16, /* another model would start sooner; the shell knows which */
};

enum ek_desk_act {
    EK_DESK_IDLE = 0,
    EK_DESK_START,  /* send it to .upstream now; the desk counts it as running there from here on */
    EK_DESK_TELL,   /* say .position, .wait, .why to the waiting client */
    EK_DESK_REFUSE, /* it waited in vain: .reason, .retry_after_ms; the ticket is dead */
    EK_DESK_CANCEL, /* stop a running request: .reason; report ek_desk_finished when it stopped */
    EK_DESK_RECALL, /* the budget of its lender is used up: take it away from there, and report ek_desk_back,
                     * or how it ended */
};

/* Why one waits: the word in the queue comment. */
enum ek_desk_why {
    EK_WHY_BUSY = 0,         /* "busy": all slots are taken; estimate known */
    EK_WHY_MEASURING,        /* "measuring": nothing finished yet, so no honest estimate exists */
    EK_WHY_ENGINE_STARTING,  /* "engine_starting": no upstream of the pool was up yet */
    EK_WHY_ENGINE_DOWN,      /* "engine_down": it was up, and is not now */
    EK_WHY_ENGINE_RESTARTED, /* "engine_restarted": this request was running when its engine died */
    EK_WHY_RETRYING,         /* "retrying": an attempt failed before its first token */
    EK_WHY_SLOWER,           /* "slower": work is done more slowly than when p90 was last shown */
    EK_WHY_OVERTAKEN,        /* "overtaken": more went before it than was foreseen */
    EK_WHY_BUDGET,           /* "budget": lenders alone serve it, and their budget is used up for now; the
                              * estimate is when that is over */
    EK_WHY_COUNT
};

struct ek_action {
    enum ek_desk_act act;
    uint32_t ticket;
    uint64_t id;
    uint32_t upstream;       /* START */
    uint32_t position;       /* TELL: 1 = next. REFUSE: the place it has lost, or would have had */
    int64_t eta_ms;          /* TELL, REFUSE: until the first token, the median; -1 = not known */
    int64_t eta_p90_ms;
    enum ek_desk_why why;    /* TELL */
    enum ek_reason reason;   /* REFUSE, CANCEL */
    uint32_t retry_after_ms; /* REFUSE: 1000 ... 60000, personal and jittered; borrow_spent: to the end of the
                              * window; borrow_small: 0, no time helps */
    uint32_t help;           /* REFUSE: enum ek_desk_help, or-ed */
    uint32_t thinking_budget_tokens; /* START; EK_DESK_THINKING_UNLIMITED: as the caller asked */
    uint32_t thinking_percent;       /* START: 100, 75, 50, 25 or 0 of what such a thought would take */
    uint32_t output_tokens;  /* START: predicted */
    uint32_t cached_tokens;  /* START: of the prompt, probably still in that upstream's cache */
    int64_t cost_nano;       /* START: charged now, settled at the end */
    bool raised;             /* TELL: p90 is later than was shown before; .why says why */
    enum ek_overflow_why overflow; /* START: why it goes to a lender; NOT: it goes to one of our own */
};

/* NULL when memory is gone. The options must satisfy the limits above. */
struct ek_policy *ek_desk_new(const struct ek_desk_options *o, struct ek_now now);
void ek_desk_free(struct ek_policy **p);

/* Change bounds and tiers in place (reload). A tier is its place in the list: there may come more behind,
 * never fewer, for a shell may hold requests that have not arrived yet. false, and nothing changed, when
 * there are fewer or a bound exceeds what was allocated. */
bool ek_desk_reload(struct ek_policy *p, const struct ek_desk_options *o);

/* A pool is a set of upstreams (bit i = upstream i, not 0) that can serve the same model. Returns its
 * index, the same for the same mask; EK_DESK_POOLS_MAX when there is no room for one more. */
uint32_t ek_desk_pool(struct ek_policy *p, uint64_t upstream_mask);

/* ---- events ------------------------------------------------------------------------------------ */

/* A request came. true: it is in, *ticket names it from now on (never 0), and a START or a TELL follows
 * from ek_desk_next. false: *refusal is filled (REFUSE), nothing is kept. */
bool ek_desk_arrive(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a,
                    uint32_t *ticket, struct ek_action *refusal) EK_CHECKED;

/* The upstream took it (first head or token). Between START and this the request counts as running. */
void ek_desk_started(struct ek_policy *p, struct ek_now now, uint32_t ticket);

/* Its first token is here: by this the estimate it was shown is judged. For shells that tell how many tokens
 * there were only later; else the first ek_desk_tokens says it. */
void ek_desk_first(struct ek_policy *p, struct ek_now now, uint32_t ticket);

/* `tokens` more were generated for a running request. The first call is the time of its first token; how
 * fast its upstream reads is learned from that, unless it tells of more than 16 at once. */
void ek_desk_tokens(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint32_t tokens);

/* What it has used, exactly. Once, while running, before finished or gone. */
void ek_desk_used(struct ek_policy *p, struct ek_now now, uint32_t ticket, const struct ek_used *u);

/* The caller of `repeat` (see struct ek_arrival) has come again while its first request still waits, or
 * while its place is kept: it is present, and the place now belongs to `id`. Returns the ticket and gives the
 * old id, whose client is to be sent away without ek_desk_gone; 0 when no such request waits (then it is an
 * ordinary arrival). */
uint32_t ek_desk_rejoin(struct ek_policy *p, struct ek_now now, uint64_t repeat, uint64_t id,
                        uint64_t *old_id);

/* The id of the request of this `repeat` that waits, or whose place is kept; 0: none. */
uint64_t ek_desk_repeat(const struct ek_policy *p, uint64_t repeat);

/* Whose the request is: a hash of its account and, inside it, its user (seeded as those are). Requests of
 * different callers must share nothing; this tells an engine's cache which are which. Ticket in use. */
uint64_t ek_desk_whose(struct ek_policy *p, uint32_t ticket);

/* The id of whom the desk knows by this ticket, which may be any number; 0: nobody. */
uint64_t ek_desk_holder(const struct ek_policy *p, uint32_t ticket);

/* A running request ended. served: it was served to its end (or to its client's leaving), so its slot
 * time says something about the next one's. */
void ek_desk_finished(struct ek_policy *p, struct ek_now now, uint32_t ticket, bool served);

/* A running request must go again (its upstream died, or refused it for now): it returns to the line
 * before all that came after it, and is never refused for lack of room. why is what it is told. */
void ek_desk_back(struct ek_policy *p, struct ek_now now, uint32_t ticket, enum ek_desk_why why);

/* One that came back is to go to one of these upstreams (bit i = upstream i), as long as any of them that can
 * serve it is up; 0: to any. Until it starts. */
void ek_desk_only(struct ek_policy *p, uint32_t ticket, uint64_t upstream_mask);

/* The upstream answered that it is full (429, 503). The request keeps its slot; no more are sent there than
 * it can take. */
void ek_desk_full(struct ek_policy *p, struct ek_now now, uint32_t ticket);

/* A waiting or running client left. */
void ek_desk_gone(struct ek_policy *p, struct ek_now now, uint32_t ticket);

/* A waiting client's connection broke, and its place is kept until until_ns (monotonic): it is not started,
 * not told anything and not counted in anybody's estimate. Others go past it; its place by its account's
 * order and its account's claim stay what they were. Not back by then: REFUSE with EK_REASON_CLIENT_GONE
 * (or with EK_REASON_DEADLINE, if its patience ends first). false: no more places are kept, or it was
 * running once; then it is as it was, and the shell says ek_desk_gone. */
bool ek_desk_absent(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint64_t until_ns) EK_CHECKED;

/* It is back, under this id: it stands where it stood, before all of its account that came after it, and is
 * told its place at once. Also for a place that is not absent: the old client has been sent away. */
void ek_desk_present(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint64_t id);
/* The caller of a waiting one has said another deadline (monotonic): of its first token, as in an arrival. */
void ek_desk_deadline(struct ek_policy *p, uint32_t ticket, uint64_t deadline_ns);

/* Nothing starts before until_ns (monotonic), unless no place is absent any more: after a restart, so that
 * those who come back are served in their old order and not in the order in which they dialled. */
void ek_desk_hold(struct ek_policy *p, struct ek_now now, uint64_t until_ns);

/* What is known of upstream `index` changed. */
void ek_desk_load(struct ek_policy *p, struct ek_now now, uint32_t index, const struct ek_load *l);

/* Another process of this door sends to the same upstream, while one takes over from the other: what each may
 * have there at once, so that both together never have more than one alone. Without a word of it: all. */
struct ek_desk_share {
    bool shared;
    uint32_t elsewhere; /* so many of all that could be there belong to the other ... */
    uint32_t at_most;   /* ... and of what is left so many at most are ours */
};
/* True: that changes something. */
bool ek_desk_share(struct ek_policy *p, uint32_t index, const struct ek_desk_share *share);

/* ---- lenders: upstreams that are not ours ------------------------------------------------------------ */

/* Upstream `index` is lent to us on these terms (whose prices must stay as long as they hold); NULL: it is
 * one of our own, as all are at first. Before the first ek_desk_pool with it, or at a reload.
 *
 * Lenders are no part of the line: estimates, pace and brownout are those of our own upstreams, whose slots
 * are filled first. Who is told a place is looked at for what it is foreseen to wait, and goes to the lender
 * that takes it for least, where overflow.h says so and its permission, the lender's wall and its budget
 * allow it. */
void ek_desk_lend(struct ek_policy *p, struct ek_now now, uint32_t index, const struct ek_lender_terms *t);
/* The lender answered this one that it is full, and wants to be left alone for so long (0: it did not say).
 * Instead of ek_desk_full. */
void ek_desk_lender_full(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint64_t rest_ns);
/* A running one was refused by its lender before any work: it stands in line again where it stood, as though
 * it had never been sent. */
void ek_desk_unlend(struct ek_policy *p, struct ek_now now, uint32_t ticket);
/* A RECALL is to be given out, since the last ek_desk_tokens. */
bool ek_desk_recalls(const struct ek_policy *p);
/* What lenders have charged for this one, as far as is known. */
int64_t ek_desk_lent_nano(const struct ek_policy *p, uint32_t ticket);
/* Its purse, windows up to date. */
struct ek_lender ek_desk_lender(struct ek_policy *p, struct ek_now now, uint32_t index);
/* What other processes of this door have there, from now on. */
void ek_desk_lender_elsewhere(struct ek_policy *p, uint32_t index, const struct ek_purse_elsewhere *theirs);
/* What was spent before a restart; windows that are over count for nothing. */
void ek_desk_lender_restore(struct ek_policy *p, struct ek_now now, uint32_t index,
                            const struct ek_purse_kept *kept);

/* ---- second attempts --------------------------------------------------------------------------------- */

/* When the first token of a running one is late (hedge.h), seconds behind its START; 0: never, or unknown. */
double ek_desk_hedge_after_s(const struct ek_policy *p, uint32_t ticket);
/* Is a second attempt to be made now, at one of these upstreams? GO: at *upstream, where it counts from here
 * on, until ek_desk_hedge_end, or the end of the request. */
enum ek_hedge_verdict ek_desk_hedge(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint64_t mask,
                                    uint32_t *upstream);
/* won: the request runs there from now on, the first attempt is over. Else the second one is. */
void ek_desk_hedge_end(struct ek_policy *p, struct ek_now now, uint32_t ticket, bool won);

/* No new arrivals (EK_REASON_DRAINING); at deadline_ns (monotonic) the waiting are refused and the
 * running cancelled. */
void ek_desk_drain(struct ek_policy *p, struct ek_now now, uint64_t deadline_ns);

/* ---- actions ----------------------------------------------------------------------------------- */

/* The next thing to do, EK_DESK_IDLE when there is nothing until ek_desk_wake_ns. */
enum ek_desk_act ek_desk_next(struct ek_policy *p, struct ek_now now, struct ek_action *a);

/* Monotonic time at which ek_desk_next should be called even if nothing happens; UINT64_MAX: never. */
uint64_t ek_desk_wake_ns(const struct ek_policy *p);

/* What this arrival would be told now, were it of that pool: position 0 when it would start at once; eta_ms
 * -1 when no estimate exists. */
void ek_desk_would_wait(struct ek_policy *p, struct ek_now now, const struct ek_arrival *a, uint32_t pool,
                        struct ek_action *out);

/* ---- looking ----------------------------------------------------------------------------------- */

struct ek_desk_counts {
    uint32_t waiting;
    uint32_t absent;  /* places kept for those whose connection broke */
    uint32_t running;
    uint32_t slots;   /* what the upstreams that are up can take, "+ 1" included */
    uint64_t arrived; /* since the start; = refused + finished + gone + waiting + absent + running */
    uint64_t started; /* STARTs, repeated ones after `back` included */
    uint64_t finished;
    uint64_t gone;
    uint64_t refused;
};

/* How true the estimates were, over all requests that were shown one and then had their first token (or had
 * none though their p90 was over). A first shown p50 should hold for half of them, a first shown p90 for nine
 * of ten. Counters; they never fall. */
struct ek_desk_truth {
    uint64_t shown;      /* had a first token after a first estimate was shown */
    uint64_t within_p50; /* had it within the first shown p50 */
    uint64_t within_p90;
    uint64_t raised;     /* a shown p90 was raised (with its reason) */
    double wait_s;       /* sum of the true waits, from what was shown to the first token ... */
    double error_s;      /* ... and of (true wait - first p50): bias */
    double error_abs_s;
};

/* What the desk has learned and decided, for metrics and tests. */
struct ek_desk_stats {
    struct ek_desk_truth truth[EK_DESK_TIERS_MAX];
    int64_t charged_nano[EK_DESK_TIERS_MAX];     /* settled work of each tier, plus what runs as predicted */
    uint32_t thinking_percent[EK_DESK_TIERS_MAX]; /* now */
    uint64_t shortened;  /* STARTs with a lowered thinking budget */
    uint64_t shed;       /* refused by the cursor */
    uint64_t rejoined;   /* repeats that took their old place */
    uint64_t local;      /* STARTs out of turn because their prefix was warm */
    uint64_t late;       /* refused before any work: their deadline could not be met */
    uint64_t full;       /* times an upstream said that it is full */
    uint64_t hedge[EK_HEDGE_VERDICTS]; /* looks at late first tokens, and what followed */
    double drain_nano_per_s; /* of pool 0; 0: not known */
};

void ek_desk_stats(const struct ek_policy *p, struct ek_desk_stats *out);

struct ek_desk_counts ek_desk_counts(const struct ek_policy *p);

/* What is known of one upstream, as reported or learned. */
struct ek_desk_upstream_stats {
    uint32_t slots;    /* sent at once at most, the one that waits there included */
    uint32_t capacity; /* the same, were it not shared with another process */
    uint32_t inflight;
    uint32_t decoding; /* with a first token */
    double knee;       /* streams at which another one is no gain; 0: not known */
    double queue;      /* mean number that waited inside, last round */
    double fixed_s, prompt_token_s; /* time to the first token of so many uncached ones, undisturbed */
    double token_s;    /* time per output token now */
    uint64_t kv_tokens, kv_learned_tokens; /* foreseen context of all it has; its bound, 0: not known */
};
void ek_desk_upstream_stats(const struct ek_policy *p, uint32_t index, struct ek_desk_upstream_stats *out);

/* What is left of a usual thought for newcomers of this tier and pool: 100, 75, 50, 25 or 0. */
uint32_t ek_desk_thinking_percent(const struct ek_policy *p, uint32_t tier, uint32_t pool);

uint32_t ek_desk_waiting_of_tier(const struct ek_policy *p, uint32_t tier);
const char *ek_desk_why_name(enum ek_desk_why why); /* "busy", ... */

/* Output tokens that nine of ten such answers do not exceed, without shortening: what an arrival may cost. As
 * many as its max_tokens at most; a guess where nothing was learned. */
uint32_t ek_desk_output_p90(const struct ek_policy *p, const struct ek_arrival *a);

/* What was learned of the lengths of answers, to be kept across restarts: see predict.h. `seed` is that of
 * the hashes the shell gives as accounts and models. Loading is for a desk that has seen nothing yet. */
struct ek_buf;
void ek_desk_save_learned(const struct ek_policy *p, uint64_t seed, struct ek_buf *out);
bool ek_desk_load_learned(struct ek_policy *p, const void *bytes, size_t len, uint64_t *seed,
                          const char **why) EK_CHECKED;

/* Every invariant, in O(table); for tests and DIAG builds. Aborts when one does not hold. */
void ek_desk_check(const struct ek_policy *p);

#endif
