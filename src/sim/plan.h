/* SPDX-License-Identifier: MIT */
/* What is settled before the first policy runs, from one look through all arrivals: how fast the engines
 * must be for the load asked for, and which account is in which tier. */
#ifndef EK_SIM_PLAN_H
#define EK_SIM_PLAN_H

#include "sim/scenario.h"

struct ek_sim_plan {
    uint32_t engines;
    double slow;          /* times of the engines are multiplied by it */
    uint32_t clients;     /* of the source */
    uint32_t per_client;  /* accounts of each, all alike; number k of client c is c + k * clients */
    uint32_t accounts;    /* clients * per_client, and those a splitting client uses */
    uint8_t *tier_of;     /* of each account */
    uint64_t requests;
    double span_s;
    double peak_at_s;     /* start of the busiest 10 minutes */
    float *window_load;   /* of each 10 minutes */
    uint32_t windows;
    double over_s;        /* time in windows that ask for more than the engines can do */
    double load;          /* work of those / what the engines can do in 10 minutes */
    double mean_load;
    double prompt_mean, output_mean;
    double tier_work[EK_DESK_TIERS_MAX]; /* part of the work that fell to each tier */
    double rpm;           /* of the RPM baseline: four times an even share of the capacity */
    double mean_service_s; /* of a request in a full batch */
};

/* false: the source cannot be opened; why says so. */
bool ek_sim_plan_make(struct ek_sim_plan *p, const struct ek_sim_scenario *s, char *why, size_t cap);
/* Who sends this request: the same for the same request in every run. Without splitting. */
uint32_t ek_sim_plan_account(const struct ek_sim_plan *p, const struct ek_sim_spec *spec);
/* What the ten minutes in which this moment lies ask for, 1: all that the engines can do. */
double ek_sim_plan_load_at(const struct ek_sim_plan *p, double at_s);
void ek_sim_plan_free(struct ek_sim_plan *p);

#endif
