/* SPDX-License-Identifier: MIT */
/* A policy as the simulated world sees it: the same questions and answers as policy/desk.h, so that the
 * desk itself (shell_desk.c) and the baselines it is compared with stand in the same place. Actions are
 * struct ek_action; .id is the request's pointer. A policy that queues a request itself may use the
 * request's `link` until START. */
#ifndef EK_SIM_POLICY_H
#define EK_SIM_POLICY_H

#include "policy/desk.h"
#include "sim/request.h"

struct ek_sim_tier {
    char name[24];
    uint64_t weight;
    double work;       /* part of the day's work whose accounts are put here */
    double patience_s; /* median; a client leaves when no token has come by then. 0: never */
    double ttft_s, tpot_s; /* targets */
    uint64_t waiting_max;
    uint64_t account_running_max, account_waiting_max;
    double delay_target_s;
    double deadline_s; /* its callers send X-Deadline-Ms: no use after so long; 0: they send none */
    double overflow_after_s; /* to a lender when the wait is foreseen to be longer; 0: never */
};

/* A provider beside the engines, as number `engines` among the upstreams. */
struct ek_sim_lender {
    uint32_t slots; /* its wall; 0: there is none */
    double token_s; /* of a stream, however many there are */
    struct ek_desk_price price;
    double budget_hour, budget_day; /* currency; 0: no limit of its own */
};

/* What it has had. */
struct ek_sim_lent {
    uint64_t sent, refused; /* refused: looked for, and not to be had for want of money */
    double cost;            /* currency */
};

struct ek_sim_policy_options {
    struct ek_sim_lender lender; /* only the desk knows what to do with one */
    uint32_t engines;
    uint32_t slots[32];  /* of each engine */
    bool mute;           /* engines report nothing; a static cap was set by hand */
    uint64_t kv_tokens[32];
    uint32_t tiers;
    const struct ek_sim_tier *tier;
    uint32_t accounts;
    const uint8_t *tier_of; /* of each account */
    struct ek_desk_price price;
    uint64_t waiting_max;
    bool brownout, shed;
    double tpot_target_s;
    double cap;           /* static cap: requests at the engines, as part of all slots */
    double rpm;           /* RPM limit: requests a minute of one account */
    double ttl_s;         /* bands: a waiting request is refused after it */
    uint32_t split_from;  /* accounts from here on belong to one owner and are unproven; 0: none */
    const uint32_t *block;
    uint64_t seed;
};

struct ek_sim_policy {
    const char *name;
    bool (*arrive)(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r,
                   struct ek_action *refusal); /* false: refused */
    bool (*next)(struct ek_sim_policy *p, uint64_t now_ns, struct ek_action *a); /* false: idle */
    uint64_t (*wake_ns)(struct ek_sim_policy *p); /* NULL: never */
    void (*first_token)(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r); /* or NULL */
    void (*tokens)(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r, uint32_t n);
    void (*finished)(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r);
    void (*gone)(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_request *r);
    void (*load)(struct ek_sim_policy *p, uint64_t now_ns, uint32_t engine,
                 const struct ek_load *l); /* or NULL */
    void (*check)(const struct ek_sim_policy *p); /* or NULL */
    void (*look)(const struct ek_sim_policy *p, uint32_t *percent, uint64_t *repeats); /* or NULL */
    void (*lent)(struct ek_sim_policy *p, uint64_t now_ns, struct ek_sim_lent *out); /* or NULL */
    void (*free)(struct ek_sim_policy *p);
};

#define EK_SIM_POLICIES(X) \
    X(fcfs, "every request goes to an engine at once (vLLM's default)") \
    X(cap, "a fixed number at the engines, beyond it 429 without a time") \
    X(rpm, "requests a minute of each account, beyond it 429; then fcfs") \
    X(bands, "strict bands, round robin by request, 503 after a time (llm-d)") \
    X(vtc, "virtual token counter per account, no tiers") \
    X(refuse, "the desk without brownout: it only waits and refuses") \
    X(alone, "the desk, which never borrows") \
    X(error, "the desk, which borrows when its line is full or no engine is up, as on an error") \
    X(spill, "the desk, which borrows as soon as no slot is free, as gateways without a line do") \
    X(desk, "the desk of the door itself")

#define EK_SIM_DECLARE(name, text) \
    struct ek_sim_policy *ek_sim_policy_##name(const struct ek_sim_policy_options *o);
EK_SIM_POLICIES(EK_SIM_DECLARE)
#undef EK_SIM_DECLARE

/* NULL: no policy has this name. */
struct ek_sim_policy *ek_sim_policy_open(const char *name, const struct ek_sim_policy_options *o);

#endif
