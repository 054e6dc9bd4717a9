/* SPDX-License-Identifier: MIT */
/* What the two baselines with a line per account share: the lines, and the count of what is at each
 * engine. A request is started when an engine has fewer in flight than slots. */
#ifndef EK_SIM_BASELINE_LINE_H
#define EK_SIM_BASELINE_LINE_H

#include "sim/policy.h"

struct ek_sim_line {
    struct ek_list list; /* of one account, the oldest first */
    struct ek_link round; /* linked while the account has somebody waiting (bands) */
    double counter;       /* vtc: service received, over weight */
};

struct ek_sim_lines {
    struct ek_sim_policy_options o;
    struct ek_sim_line *line; /* of each account */
    uint32_t inflight[32];
    uint32_t waiting;
};

void ek_sim_lines_init(struct ek_sim_lines *l, const struct ek_sim_policy_options *o);
/* The engine with the most free slots; o.engines when there is none. */
uint32_t ek_sim_lines_room(const struct ek_sim_lines *l);
/* Take the first of an account's line and start it. */
void ek_sim_lines_start(struct ek_sim_lines *l, uint32_t account, uint32_t engine, struct ek_action *a);
/* A request leaves: from its line, or from its engine. */
void ek_sim_lines_leave(struct ek_sim_lines *l, struct ek_sim_request *r);

#endif
