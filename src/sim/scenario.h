/* SPDX-License-Identifier: MIT */
/* A scenario: everything that makes a run, read from a committed YAML file. The table of its members is
 * in scenario.c; an unknown member, a value out of range and a missing file are refused with the line.
 *
 * "100 %" (load 1.0) is the peak 10-minute window: the engines are scaled so that they would need all
 * their time for the work that arrives in it. load 1.5 takes engines away (and fits the rest by speed)
 * until the same window asks for one and a half times what they can do. load 0: as written. */
#ifndef EK_SIM_SCENARIO_H
#define EK_SIM_SCENARIO_H

#include "sim/engine.h"
#include "sim/policy.h"
#include "sim/spec.h"

#define EK_SIM_POLICIES_MAX 8

struct ek_sim_scenario {
    char name[64];
    char text[256];
    char paths[2][512]; /* source.rates_path, source.lengths_path point here */
    char kind[16];      /* source.kind points here */
    struct ek_sim_source_options source;
    uint32_t engines;
    struct ek_sim_engine_options engine;
    struct ek_sim_lender lender; /* slots 0: none */
    double load;
    uint32_t told_slots;   /* what an engine says it has; 0: the truth */
    bool mute;             /* engines report nothing of themselves */
    struct ek_desk_price price; /* pico-units a token */
    uint32_t tiers;
    struct ek_sim_tier tier[EK_DESK_TIERS_MAX];
    /* clients */
    uint32_t retries;      /* an SDK's attempts after the first */
    double hammer;         /* part of the clients that retry at once, ten times, whatever they are told */
    double liars;          /* part that claims a huge max_tokens */
    double patience_sigma; /* patience is log-normal around the tier's median */
    uint32_t accounts_per_client; /* a client of a trace is a tenant: its requests come from so many */
    int32_t split_client;  /* this client spreads its requests ... */
    uint32_t split_into;   /* ... over so many accounts; 0: nobody does */
    /* the machine halves */
    double slow_at_s, slow_until_s, slow_factor;
    /* policies */
    uint32_t policies;
    char policy[EK_SIM_POLICIES_MAX][16];
    uint64_t waiting_max;
    bool brownout, shed;
    double tpot_target_s, cap, rpm, ttl_s;
    uint64_t seed;
    double drain_s; /* virtual time after the last arrival before the run is cut */
};

/* data_dir: what "$EK_SHARED/" in a path stands for; NULL: such paths cannot be opened. */
bool ek_sim_scenario_read(struct ek_sim_scenario *s, const char *path, const char *data_dir, char *why,
                          size_t cap);
/* One member by name, as in the file: for --set name=value. */
bool ek_sim_scenario_set(struct ek_sim_scenario *s, const char *name, const char *value, char *why,
                         size_t cap);
/* Do its members go together? After all of them are set; false: `why` names what does not. */
bool ek_sim_scenario_sound(const struct ek_sim_scenario *s, char *why, size_t cap);
/* The value of a scenario path was under $EK_SHARED and that is not there. */
bool ek_sim_scenario_needs_data(const struct ek_sim_scenario *s);

#endif
