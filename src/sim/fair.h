/* SPDX-License-Identifier: MIT */
/* Fairness between accounts of one tier: how far the service of two accounts drifts apart while both
 * have somebody waiting without a break (the difference VTC bounds), and Jain's index of the service
 * each account got per second of waiting. Looked at on a tick; the first EK_SIM_FAIR_MAX accounts. */
#ifndef EK_SIM_FAIR_H
#define EK_SIM_FAIR_H

#include "sim/measure.h"

#define EK_SIM_FAIR_MAX 128

struct ek_sim_fair_account {
    double service;  /* so far, currency */
    double at_start; /* when its present backlog began */
    double backlog_s, backlog_service;
    uint64_t since_tick; /* of its present backlog; 0: none */
    uint32_t waiting;
    bool dry;            /* nobody waited at some moment since the last tick */
    uint8_t tier;
};

struct ek_sim_fair_pair {
    float base, low, high; /* of the difference, since both wait */
    uint64_t since_tick;
};

struct ek_sim_fair {
    struct ek_sim_fair_account *account;
    uint32_t accounts;
    uint32_t compared; /* the first so many; those of a splitting client come last */
    struct ek_sim_fair_pair *pair; /* [EK_SIM_FAIR_MAX * EK_SIM_FAIR_MAX] */
    double max, sum;
    double apart; /* at this tick: the most two accounts have drifted apart since both wait */
    uint64_t samples, tick;
    double last_s;
};

void ek_sim_fair_init(struct ek_sim_fair *f, uint32_t accounts, uint32_t compared, const uint8_t *tier_of);
void ek_sim_fair_free(struct ek_sim_fair *f);
static inline void ek_sim_fair_served(struct ek_sim_fair *f, uint32_t account, double currency)
{
    f->account[account].service += currency;
}
void ek_sim_fair_waiting(struct ek_sim_fair *f, uint32_t account, int by);
void ek_sim_fair_tick(struct ek_sim_fair *f, double now_s);
void ek_sim_fair_result(const struct ek_sim_fair *f, struct ek_sim_fair_result *out);

#endif
