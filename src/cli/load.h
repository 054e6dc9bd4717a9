/* SPDX-License-Identifier: MIT */
/* `evenkeel load`: the clients of a scenario (the same files as `evenkeel sim`) against a live server,
 * open loop: requests come when the scenario says so, however slow the answers are. Measured with the
 * same code and printed in the same table as a simulated run, so that the two can be laid side by side.
 * load.c reads the command line and reports; load_people.c is one client's request from its first
 * attempt to its end. */
#ifndef EK_CLI_LOAD_H
#define EK_CLI_LOAD_H

#include "cli/chat.h"
#include "sim/fair.h"
#include "sim/plan.h"

#define EK_LOAD_LIVE_MAX 20000
#define EK_LOAD_KEYS_MAX 4096
#define EK_LOAD_BODY_BYTES_MAX (8u << 20)

struct ek_loading_key {
    uint32_t tier;
    char key[200];
};

struct ek_loading {
    struct ek_loop *loop;
    struct ek_exchange_client *client;
    struct ek_exchange_target target;
    char model[128];
    struct ek_sim_scenario s;
    struct ek_sim_plan plan;
    struct ek_sim_source *source;
    struct ek_sim_spec coming;
    struct ek_loading_key *key;
    uint32_t keys;
    bool retry; /* false: nobody comes again */
    bool over;  /* no more arrivals */
    struct ek_random random;
    struct ek_timer arrive, tick, cut;
    uint64_t begin_ns;
    uint64_t live;
    uint32_t waiting, running;
    struct ek_list all; /* requests, in order of arrival */
    struct ek_sim_fair fair;
    struct ek_sim_point point;
    double point_wait_s;
    uint32_t point_starts;
    uint64_t next_id;
    uint64_t failed; /* answers that broke off, counted as refused too */
    struct ek_sim_result *r;
};

/* One more request, now; at most EK_LOAD_LIVE_MAX at once (beyond: counted as refused, client_limit). */
void ek_load_arrive(struct ek_loading *l, const struct ek_sim_spec *spec);
/* End everything that is under way: the run is over. They count as left. */
void ek_load_cut(struct ek_loading *l);

#endif
