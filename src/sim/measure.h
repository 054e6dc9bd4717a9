/* SPDX-License-Identifier: MIT */
/* What a run is judged by. Quantiles come from histograms in steps of 2 % of the value, so that a day
 * of millions of requests needs a few kilobytes; the rest are counters and sums. */
#ifndef EK_SIM_MEASURE_H
#define EK_SIM_MEASURE_H

#include "base/reason.h"
#include "policy/desk.h"

#define EK_SIM_SKETCH 1100
#define EK_SIM_SERIES_MAX 4096
#define EK_SIM_STEPS 5 /* of brownout: 100, 75, 50, 25, 0 % of the usual thought */

/* Requests that first came in some part of the day, and how many of them were served within their targets. */
struct ek_sim_part {
    uint64_t arrived, good;
};

/* Values from 0.1 ms up, in seconds; anything smaller counts as that. */
struct ek_sim_sketch {
    uint64_t n;
    double sum, max;
    uint32_t count[EK_SIM_SKETCH];
};

void ek_sim_sketch_add(struct ek_sim_sketch *s, double seconds);
double ek_sim_sketch_quantile(const struct ek_sim_sketch *s, double part); /* 0 when empty */
static inline double ek_sim_sketch_mean(const struct ek_sim_sketch *s)
{
    return s->n ? s->sum / (double)s->n : 0;
}

/* First shown estimates against the truth. */
struct ek_sim_truth {
    uint64_t shown;      /* had an estimate, and its end is known */
    uint64_t within_p50, within_p90;
    uint64_t deep;       /* of them: first shown a place beyond 50 */
    uint64_t raised;     /* times a shown p90 was taken back for a later one */
    double wait_s, error_s;
    struct ek_sim_sketch deep_error; /* |wait - p50| / wait */
};

struct ek_sim_tier_result {
    uint64_t arrived;   /* unique requests */
    uint64_t attempts;
    uint64_t finished;
    uint64_t good;      /* finished within the tier's targets */
    uint64_t shortened; /* finished, with a thought that was cut */
    uint64_t step_finished[EK_SIM_STEPS]; /* by the budget they were started with ... */
    uint64_t step_good[EK_SIM_STEPS];
    struct ek_sim_part over; /* came in windows that ask for more than the engines can do */
    struct ek_sim_part peak; /* came in the busiest ten minutes */
    uint64_t refused;   /* for good: after the client's last retry */
    uint64_t left;      /* the client's patience ended */
    uint64_t refusals[EK_REASON_COUNT]; /* of attempts */
    uint64_t tokens;      /* output of finished requests */
    uint64_t good_tokens;
    uint64_t lent;        /* sent to a lender */
    uint64_t wasted;      /* output made for clients who left */
    double service;       /* currency */
    double service_contended; /* ... while every tier had somebody waiting */
    struct ek_sim_sketch ttft, answer, tpot, wait;
    struct ek_sim_sketch itl; /* single gaps between tokens; live only */
    struct ek_sim_truth truth;
};

struct ek_sim_point { /* of the time series, at the end of its interval */
    double at_s;
    uint32_t waiting, running, queued;
    uint32_t arrived, finished, good, refused, left; /* in the interval */
    double spent;     /* on lenders, up to here, currency */
    uint32_t percent; /* thinking budget of the lowest tier */
    double apart;     /* drift in service of two accounts of a tier while both wait, currency */
    double wait_s;    /* mean wait of those started in the interval */
};

struct ek_sim_fair_result {
    double max, mean;   /* service difference of two accounts while both wait, currency */
    double jain;        /* of service over weight, accounts that waited all along counted by time */
    double bound;       /* 2 max(w_in L_max, w_out M) */
    uint64_t samples;
};

struct ek_sim_result {
    const char *policy;
    uint32_t tiers;
    struct ek_sim_tier_result tier[EK_DESK_TIERS_MAX];
    struct ek_sim_tier_result all;
    struct ek_sim_truth after_step; /* first shown within a minute behind the step */
    struct ek_sim_fair_result fair;
    struct ek_sim_point series[EK_SIM_SERIES_MAX];
    uint32_t points;
    uint64_t events;
    double span_s;      /* of arrivals */
    double over_s, peak_s; /* of it, windows that ask for too much; the busiest ten minutes */
    double busy;        /* mean share of time the engines had work */
    double output_tokens_per_s; /* decoded, whoever got them */
    double prompt_tokens_per_s; /* computed */
    double hit;         /* share of prompt tokens found cached */
    uint64_t preempted, reread_tokens;
    double split_part;  /* of the service, got by the client that splits itself; -1: none does */
    double lent_cost;   /* what lenders charged, currency */
    uint64_t repeats;   /* retries that took their old place */
    double settle_s, overshoot; /* of a step; -1: there was none */
    double back_s;      /* until the queue was back at its old level behind the step; -1: it was not */
};

double ek_sim_result_amplification(const struct ek_sim_tier_result *t); /* attempts per unique request */
/* Share of a tier's first-shown estimates that held; -1 when none were shown. */
double ek_sim_coverage(const struct ek_sim_truth *t, bool p90);
void ek_sim_result_sum(struct ek_sim_result *r); /* fills .all */
/* The queue after the step at step_at_s ... step_until_s, from the series, seen through a window of 20 s:
 * since when it stays, for the first half of the step, within a fifth of its level in the last third (or a
 * tenth of all who are in the house, if that is more); how far it was above that level, as a part of all who
 * are in the house; since when it stays where it was before, once the step is over. 0: it never left. */
void ek_sim_result_settle(struct ek_sim_result *r, double step_at_s, double step_until_s);

#endif
