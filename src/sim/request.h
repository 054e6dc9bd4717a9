/* SPDX-License-Identifier: MIT */
/* A request of the simulated world from its first attempt to its end.
 *
 *   AWAY ──▶ WAITING ──▶ QUEUED ──▶ PREFILL ──▶ DECODE ──▶ (freed)
 *    ▲          │          ▲                       │
 *    └─ retry ──┘          └────── preempted ──────┘
 *
 * AWAY: the client was refused and will come back. WAITING: with the policy. The other three: at an
 * engine (QUEUED: in its own queue). From every state it can be freed: refused for good, or left. */
#ifndef EK_SIM_REQUEST_H
#define EK_SIM_REQUEST_H

#include "base/heap.h"
#include "base/list.h"
#include "sim/spec.h"

enum ek_sim_state { EK_SIM_AWAY = 0, EK_SIM_WAITING, EK_SIM_QUEUED, EK_SIM_PREFILL, EK_SIM_DECODE };

struct ek_sim_request {
    struct ek_heap_node timer;  /* of the world: patience, or coming back */
    struct ek_heap_node finish; /* of its engine: next virtual deadline */
    struct ek_link link;        /* WAITING: a baseline's line. At an engine: its queue or its batch */
    struct ek_sim_spec spec;
    uint64_t id;
    uint64_t first_ns;   /* first attempt */
    uint64_t arrived_ns; /* this attempt */
    uint64_t leave_ns;   /* end of the client's patience */
    uint64_t start_ns;   /* sent to an engine the first time */
    uint64_t token_ns;   /* first token; 0: none yet */
    uint64_t answer_ns;  /* first token behind the thought */
    /* first words about the place in line */
    uint64_t told_ns; /* 0: nothing was told */
    int64_t told_eta_ms, told_p90_ms;
    uint32_t told_position;
    /* of its engine */
    uint64_t v_first;       /* virtual time of token `generated_before` + 1 */
    uint32_t generated_before; /* tokens made before the last preemption */
    uint32_t context_tokens;   /* what its prefill computes or finds cached */
    uint32_t cached_tokens;    /* of these */
    uint32_t reported_tokens;  /* told to the policy so far */
    uint32_t ticket;
    uint32_t predicted_tokens;
    uint32_t output_tokens; /* what it will really make: spec, or less when thinking was shortened */
    uint32_t think_tokens;
    uint16_t tries;
    uint8_t engine;
    uint8_t tier;
    uint8_t state;
    uint8_t step;   /* of brownout it was started at: 0 full thinking ... 4 none */
    bool shortened; /* and its thought was longer than that */
    bool liar;    /* claims a huge max_tokens */
    bool hammers; /* retries at once */
};

#endif
