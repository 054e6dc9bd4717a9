/* SPDX-License-Identifier: MIT */
/* The pace of a pool. Owns the arithmetic of struct ek_pace; decides nothing. */
#include "policy/estimate.h"

#include "base/must.h"

#include <math.h>

static const double departures[EK_PACE_MEMORIES] = {64, 512}; /* remembered */
static const double token_s[EK_PACE_MEMORIES] = {3, 30};

#define CHANGED 1.3      /* the short memory is believed beyond this ratio */
#define TURNED 1.4       /* the same for counts, whose noise is 1 / sqrt 64: three of it */
#define SPEED_MIN 0.2
#define SPEED_SAME 0.85  /* of the usual speed: such differences are noise ... */
#define SPEED_OTHER 0.7  /* ... and these are not; in between, in part */
#define SPEED_SLOTS_S 8.0 /* slot-seconds that the short token memory must hold to be believed */
#define LUMP_TOKENS 256u  /* a shell that reports tokens in lumps says nothing about their pace */
#define CV2_UNKNOWN 1.0   /* outputs are heavy tailed */

void ek_pace_advance(struct ek_pace *d, uint64_t now_ns, uint32_t running)
{
    MUST(d->open_s >= 0);
    if (d->at_ns != 0 && now_ns > d->at_ns) {
        double dt_s = (double)(now_ns - d->at_ns) * 1e-9;
        d->open_s += dt_s * running;
        for (int m = 0; m < EK_PACE_MEMORIES; m++) {
            double keep = exp(-dt_s / token_s[m]);
            d->smooth[m] += (d->tokens[m] - d->smooth[m]) * (1 - keep);
            d->smooth_slot_s[m] += (d->token_slot_s[m] - d->smooth_slot_s[m]) * (1 - keep);
            d->tokens[m] *= keep;
            d->token_slot_s[m] = d->token_slot_s[m] * keep + dt_s * running;
        }
    }
    if (now_ns > d->at_ns) d->at_ns = now_ns;
}

void ek_pace_tokens(struct ek_pace *d, uint32_t tokens)
{
    if (tokens > LUMP_TOKENS) return;
    for (int m = 0; m < EK_PACE_MEMORIES; m++) d->tokens[m] += tokens;
}

void ek_pace_departed(struct ek_pace *d, double predicted, double actual)
{
    MUST(predicted > 0 && actual > 0);
    for (int m = 0; m < EK_PACE_MEMORIES; m++) {
        double keep = 1.0 - 1.0 / departures[m];
        d->memory[m].slot_s = d->memory[m].slot_s * keep + d->open_s;
        d->memory[m].work = d->memory[m].work * keep + predicted;
        d->memory[m].done = d->memory[m].done * keep + 1.0;
        MUST(d->memory[m].done <= departures[m]);
    }
    d->open_s = 0;
    double r = fmin(actual / predicted, 100.0);
    double weight = fmax(1.0 / 256, 1.0 / (d->memory[EK_PACE_SLOW].done + 1));
    d->ratio1 += (r - d->ratio1) * weight;
    d->ratio2 += (r * r - d->ratio2) * weight;
}

double ek_pace_slot_s(const struct ek_pace *d)
{
    if (d->memory[EK_PACE_FAST].done <= 0) return 0;
    return (d->memory[EK_PACE_FAST].slot_s + d->open_s) / d->memory[EK_PACE_FAST].done;
}

double ek_pace_cv2(const struct ek_pace *d)
{
    if (d->memory[EK_PACE_SLOW].done < 16 || d->ratio1 <= 0) return CV2_UNKNOWN;
    double cv2 = d->ratio2 / (d->ratio1 * d->ratio1) - 1.0;
    return cv2 < 0.05 ? 0.05 : cv2;
}

double ek_pace_speed(const struct ek_pace *d)
{
    if (d->smooth_slot_s[EK_PACE_FAST] < SPEED_SLOTS_S || d->smooth[EK_PACE_SLOW] <= 0) return 1.0;
    double now = d->smooth[EK_PACE_FAST] / d->smooth_slot_s[EK_PACE_FAST];
    double usual = d->smooth[EK_PACE_SLOW] / d->smooth_slot_s[EK_PACE_SLOW];
    double ratio = now / usual;
    /* Small differences are noise; prompts are read in between. */
    if (ratio >= SPEED_SAME) return 1.0;
    double same = (ratio - SPEED_OTHER) / (SPEED_SAME - SPEED_OTHER);
    if (same > 0) return ratio + (1.0 - ratio) * same;
    return ratio < SPEED_MIN ? SPEED_MIN : ratio;
}

double ek_pace_turnover(const struct ek_pace *d, uint32_t slots)
{
    double per_s[EK_PACE_MEMORIES];
    if (slots == 0 || d->memory[EK_PACE_FAST].done <= 0) return 0;
    for (int m = 0; m < EK_PACE_MEMORIES; m++)
        per_s[m] = d->memory[m].done / fmax(d->memory[m].slot_s + d->open_s, 1e-9);
    double fast = per_s[EK_PACE_FAST], slow = per_s[EK_PACE_SLOW];
    double s = fast > slow * TURNED || fast * TURNED < slow ? fast : slow;
    return slots * s * ek_pace_speed(d);
}

double ek_pace_rate(const struct ek_pace *d, uint32_t slots)
{
    double per_work[EK_PACE_MEMORIES];
    if (slots == 0 || d->memory[EK_PACE_FAST].done <= 0) return 0;
    for (int m = 0; m < EK_PACE_MEMORIES; m++)
        per_work[m] = (d->memory[m].slot_s + d->open_s) / d->memory[m].work;
    double fast = per_work[EK_PACE_FAST], slow = per_work[EK_PACE_SLOW];
    double s = fast > slow * CHANGED || fast * CHANGED < slow ? fast : slow;
    return s > 0 ? slots / s * ek_pace_speed(d) : 0;
}
