/* SPDX-License-Identifier: MIT */
/* The simulated world: arrivals, clients with patience and SDKs, a policy, engines, and one heap of
 * moments. A run is one policy on one scenario; the same scenario and seed give the same result, to the
 * last bit. Checked after every event: each attempt that arrived is finished, refused, gone, waiting or
 * at an engine, and nothing else. */
#ifndef EK_SIM_WORLD_H
#define EK_SIM_WORLD_H

#include "sim/measure.h"
#include "sim/plan.h"

/* NULL when the source cannot be read (why says so). The caller frees the result with free(). Called
 * now and then with the part done, 0 ... 1, when progress is not NULL. */
struct ek_sim_result *ek_sim_run(const struct ek_sim_scenario *s, const struct ek_sim_plan *plan,
                                 const char *policy, void (*progress)(double part), char *why,
                                 size_t cap);

#endif
