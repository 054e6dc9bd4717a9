/* SPDX-License-Identifier: MIT */
/* How fast does a pool of slots work, and how sure is that?
 *
 * Measured is the slot time that one nano-unit of predicted cost takes: slot-seconds spent by everything
 * that ran, over the cost of what departed. It is measured all the time, not only under load; the time of
 * requests still running counts too, so an engine that hangs makes the estimate grow; and because it is per
 * slot, an upstream that goes away is felt at once. Memory fades by departures, never by the clock: a night
 * without guests does not forget what a guest costs. There are two memories; where they differ by much, the
 * short one is right, because something changed.
 *
 *     rate     = slots / (slot_s per nano) * speed        nano-units a second
 *     turnover = slots / (slot_s per request) * speed     requests a second
 *
 * The second is the surer: costs are heavy tailed, departures are only counted.
 *
 * speed is tokens per slot-second over the last seconds against the last minute, at most 1: an engine that
 * slows down is felt before anything departs. What follows for a wait is fluid.h. Pure: no clock, no
 * allocation. Before the first departure it says that it does not know. */
#ifndef EK_POLICY_ESTIMATE_H
#define EK_POLICY_ESTIMATE_H

#include <stdbool.h>
#include <stdint.h>

enum { EK_PACE_FAST, EK_PACE_SLOW, EK_PACE_MEMORIES };

struct ek_pace {
    struct {
        double slot_s; /* slot-seconds of remembered departures, faded */
        double work;   /* their cost, nano-units */
        double done;   /* how many */
    } memory[EK_PACE_MEMORIES];
    double open_s;  /* slot-seconds since the last departure */
    uint64_t at_ns; /* monotonic time up to which open_s is counted */
    /* Tokens and slot-seconds, faded by time, and what they are faded into once more: tokens may be told in
     * lumps, and a lump is no change of speed. */
    double tokens[EK_PACE_MEMORIES], token_slot_s[EK_PACE_MEMORIES];
    double smooth[EK_PACE_MEMORIES], smooth_slot_s[EK_PACE_MEMORIES];
    double ratio2;  /* mean of (true cost / predicted)^2, faded; 0: none yet */
    double ratio1;
};

/* Count `running` requests for the time from the last call to now_ns. Call before running changes. */
void ek_pace_advance(struct ek_pace *d, uint64_t now_ns, uint32_t running);
/* `tokens` were generated; after advance. */
void ek_pace_tokens(struct ek_pace *d, uint32_t tokens);
/* One request left its slot after being served. predicted: its cost as it was counted when it waited;
 * actual: what it came to. Both > 0. */
void ek_pace_departed(struct ek_pace *d, double predicted, double actual);
/* Seconds of a slot that one request takes; 0 when nothing was measured. */
double ek_pace_slot_s(const struct ek_pace *d);
/* Requests a second that leave so many slots, and so may start; 0 when nothing was measured. */
double ek_pace_turnover(const struct ek_pace *d, uint32_t slots);
/* Nano-units a second of so many slots; 0 when nothing was measured. */
double ek_pace_rate(const struct ek_pace *d, uint32_t slots);
/* Tokens a slot-second of now, as part of the usual ones: 1, or less. */
double ek_pace_speed(const struct ek_pace *d);
/* Squared coefficient of variation of a request's cost about its prediction. */
double ek_pace_cv2(const struct ek_pace *d);

#endif
