/* SPDX-License-Identifier: MIT */
/* The drain-rate estimate. Owns the arithmetic of struct ek_pace; decides nothing. */
#include "policy/estimate.h"

#include "base/must.h"

#include <math.h>

#define MEMORY_DEPARTURES 32.0
#define Z90 1.2816 /* 90 % quantile of the standard normal */
#define ETA_MS_MAX (24 * 3600 * 1000.0)

void ek_pace_advance(struct ek_pace *d, uint64_t now_ns, uint32_t running)
{
    MUST(d->open_s >= 0);
    if (d->at_ns != 0 && now_ns > d->at_ns) {
        d->open_s += (double)(now_ns - d->at_ns) * 1e-9 * running;
    }
    if (now_ns > d->at_ns) d->at_ns = now_ns;
}

void ek_pace_departed(struct ek_pace *d)
{
    MUST(d->done >= 0);
    const double keep = 1.0 - 1.0 / MEMORY_DEPARTURES;
    d->slot_s = d->slot_s * keep + d->open_s;
    d->done = d->done * keep + 1.0;
    d->open_s = 0;
    MUST(d->done <= MEMORY_DEPARTURES);
}

double ek_pace_slot_s(const struct ek_pace *d)
{
    if (d->done <= 0) return 0;
    return (d->slot_s + d->open_s) / d->done;
}

struct ek_wait ek_pace_wait(const struct ek_pace *d, uint32_t position, uint32_t slots)
{
    MUST(position > 0);
    struct ek_wait w = {.known = false, .eta_ms = -1, .eta_p90_ms = -1};
    if (slots == 0 || d->done <= 0) return w;
    double eta_ms = 1000.0 * position * ek_pace_slot_s(d) / slots;
    double p90_ms = eta_ms * (1.0 + Z90 * sqrt(1.0 / position + 1.0 / d->done));
    w.known = true;
    w.eta_ms = (int64_t)fmin(eta_ms, ETA_MS_MAX);
    w.eta_p90_ms = (int64_t)fmin(p90_ms, ETA_MS_MAX);
    MUST(w.eta_p90_ms >= w.eta_ms);
    return w;
}
