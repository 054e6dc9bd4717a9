/* SPDX-License-Identifier: MIT */
/* The inside of the world, shared by world.c (the clock and the machine), world_client.c (people) and
 * nobody else.
 *
 * Every moment is a node in one heap. Which kind it is follows from where the node lies: the five fixed
 * ones below, an engine's, or else a request's timer. */
#ifndef EK_SIM_WORLD_STATE_H
#define EK_SIM_WORLD_STATE_H

#include "sim/engine.h"
#include "sim/fair.h"
#include "sim/measure.h"
#include "sim/plan.h"
#include "sim/policy.h"

#define EK_SIM_LIVE_MAX 2000000u
#define EK_SIM_SLAB 4096

struct ek_sim_slab {
    struct ek_sim_slab *next;
    struct ek_sim_request request[EK_SIM_SLAB];
};

struct ek_sim_counts { /* of attempts */
    uint64_t arrived, finished, refused, gone;
    uint64_t waiting, running; /* now */
    uint64_t away;             /* requests whose client will come back */
};

struct ek_sim_world {
    const struct ek_sim_scenario *s;
    const struct ek_sim_plan *plan;
    struct ek_sim_policy *policy;
    struct ek_sim_source *source;
    struct ek_sim_spec coming; /* the next arrival */
    struct ek_heap moments;
    struct ek_heap_node arrive_node, wake_node, load_node, sample_node, slow_node;
    struct ek_sim_engine engine[EK_SIM_ENGINES_MAX]; /* the lender, if there is one, behind ours */
    uint32_t machines; /* all of them */
    uint32_t dirty; /* bit e: when engine e will next do something must be asked anew */
    struct ek_random random;
    struct ek_sim_slab *slabs;
    struct ek_list free;
    uint64_t live;
    uint64_t next_id;
    struct ek_sim_counts n;
    struct ek_sim_counts was; /* at the event before: counters never fall */
    struct ek_sim_fair fair;
    uint32_t tier_waiting[EK_DESK_TIERS_MAX]; /* without a token yet */
    double tier_service[EK_DESK_TIERS_MAX]; /* at the last sample */
    bool contended; /* at the last sample every tier had somebody waiting */
    struct ek_sim_point point; /* being filled */
    double point_wait_s;
    uint32_t point_starts;
    uint64_t point_ns; /* interval of the series */
    uint64_t next_point_ns;
    uint64_t now_ns;
    uint64_t next_check_ns;
    bool over; /* no more arrivals */
    struct ek_sim_result *r;
};

/* people: world_client.c */
void ek_sim_client_arrives(struct ek_sim_world *w);
void ek_sim_client_tries(struct ek_sim_world *w, struct ek_sim_request *r);
void ek_sim_client_refused(struct ek_sim_world *w, struct ek_sim_request *r, const struct ek_action *a);
void ek_sim_client_leaves(struct ek_sim_world *w, struct ek_sim_request *r);
void ek_sim_client_told(struct ek_sim_world *w, struct ek_sim_request *r, const struct ek_action *a);
void ek_sim_client_started(struct ek_sim_world *w, struct ek_sim_request *r);
/* Scores the estimate it was shown. */
void ek_sim_client_first_token(struct ek_sim_world *w, const struct ek_sim_request *r);
void ek_sim_client_finished(struct ek_sim_world *w, struct ek_sim_request *r);
void ek_sim_client_free(struct ek_sim_world *w, struct ek_sim_request *r);
/* Service up to now: `tokens` made in all. Told to the policy, charged to the account. */
void ek_sim_client_tokens(struct ek_sim_world *w, struct ek_sim_request *r, uint32_t tokens);
void ek_sim_client_backlog(struct ek_sim_world *w, const struct ek_sim_request *r, int by);
void ek_sim_client_served(struct ek_sim_world *w, const struct ek_sim_request *r, double pico);
void ek_sim_moment_drop(struct ek_sim_world *w, struct ek_heap_node *n);
void ek_sim_moment_set(struct ek_sim_world *w, struct ek_heap_node *n, uint64_t at_ns);

#endif
