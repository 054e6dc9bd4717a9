/* SPDX-License-Identifier: MIT */
/* How fast does a pool of slots drain, and how long is the wait at position k?
 *
 * What is measured is the slot time one request costs: slot-seconds spent by everything that ran,
 * divided by the number of requests that finished. It is measured all the time, not only under load,
 * and the time of requests still running counts too, so an engine that hangs makes the estimate grow
 * instead of leaving it at its last good value. Memory fades by departures (about the last 32 count),
 * never by the clock: a night without guests does not forget what a guest costs.
 *
 *     slot_s per request = S          n requests remembered, n <= 32
 *     start of position k            = k * S / slots
 *     p90                            = the same * (1 + 1.2816 * sqrt(1/k + 1/n))
 *
 * The p90 treats departures as a Poisson stream (relative deviation 1/sqrt(k)) and S as a mean of n
 * draws (1/sqrt(n)). It knows nothing of sizes yet; that is a later room in the same house.
 * Pure: no clock, no allocation. Before the first departure it says that it does not know. */
#ifndef EK_POLICY_ESTIMATE_H
#define EK_POLICY_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

struct ek_pace {
    double slot_s;   /* slot-seconds of remembered departures, faded */
    double open_s;   /* slot-seconds since the last departure */
    double done;     /* departures remembered, faded; < 32 */
    uint64_t at_ns;  /* monotonic time up to which open_s is counted */
};

struct ek_wait {
    bool known;          /* false: nothing was measured yet, the numbers are -1 */
    int64_t eta_ms;      /* p50 of the time until a slot is had */
    int64_t eta_p90_ms;  /* >= eta_ms */
};

/* Count `running` requests for the time from the last call to now_ns. Call before running changes. */
void ek_pace_advance(struct ek_pace *d, uint64_t now_ns, uint32_t running);

/* One request left its slot after being served (not: was cancelled before its first token). */
void ek_pace_departed(struct ek_pace *d);

/* Seconds of a slot that one request costs; 0 when nothing was measured. */
double ek_pace_slot_s(const struct ek_pace *d);

/* The wait at `position` (1 = next to start) before `slots` slots. slots 0 gives !known. */
struct ek_wait ek_pace_wait(const struct ek_pace *d, uint32_t position, uint32_t slots);

#endif
