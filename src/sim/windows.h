/* SPDX-License-Identifier: MIT */
/* Arrivals window by window: for each client of a window a number of requests and a burstiness are
 * asked for; as many inter-arrival times are drawn and stretched so that they fill the window (the way
 * ServeGen describes its traces); then the window is sorted by time. Memory: one window. */
#ifndef EK_SIM_WINDOWS_H
#define EK_SIM_WINDOWS_H

#include "sim/spec.h"

#define EK_SIM_WINDOW_REQUESTS_MAX 4000000u

struct ek_sim_burst {
    double count;  /* requests expected in the window; 0: none */
    double shape;  /* of the inter-arrival times; 1 with gamma: Poisson */
    bool weibull;  /* else gamma */
};

struct ek_sim_windows {
    struct ek_sim_source source; /* first: the source is cast to this */
    uint64_t seed;
    double window_s;
    double from_s, until_s; /* until_s > from_s; from_s is a multiple of window_s or cut inside one */
    void *ctx;
    struct ek_sim_burst (*burst)(void *ctx, uint32_t client, double window_at_s);
    /* Fill tokens and blocks of one request of s->client at absolute second at_s. */
    void (*lengths)(void *ctx, struct ek_random *r, double at_s, struct ek_sim_spec *s);
    void (*free_ctx)(void *ctx);

    double next_s; /* start of the window that will be filled next */
    struct ek_sim_spec *spec;
    size_t count, cap, at;
};

/* Takes a struct made by calloc and filled down to free_ctx, source.clients included. */
struct ek_sim_source *ek_sim_windows_start(struct ek_sim_windows *w);

#endif
