/* SPDX-License-Identifier: MIT */
/* The line through the times to the first token. */
#include "policy/first.h"

#include "base/must.h"

#include <math.h>

#define REMEMBERED 64.0 /* requests */
#define CLIP 5.0        /* an engine that hung once is not the rule */

void ek_first_learn(struct ek_first *f, uint32_t prompt_tokens, double took_s)
{
    MUST(took_s >= 0 && f->n >= 0);
    double x = prompt_tokens, y = took_s, keep = 1.0 - 1.0 / REMEMBERED;
    if (f->n > 4) y = fmin(y, CLIP * f->y / f->n);
    f->n = f->n * keep + 1;
    f->x = f->x * keep + x;
    f->xx = f->xx * keep + x * x;
    f->y = f->y * keep + y;
    f->xy = f->xy * keep + x * y;
    f->yy = f->yy * keep + y * y;
}

struct ek_first_guess ek_first_guess(const struct ek_first *f, uint32_t prompt_tokens)
{
    struct ek_first_guess g = {.known = f->n};
    if (f->n <= 0) return g;
    double x = f->x / f->n, y = f->y / f->n;
    double xx = fmax(f->xx / f->n - x * x, 0), xy = f->xy / f->n - x * y, yy = fmax(f->yy / f->n - y * y, 0);
    /* Drawn towards a flat line where prompts are alike or few were seen. */
    double slope = fmax(xy / (xx + (0.002 + 4 / (f->n * f->n)) * x * x + 1), 0);
    slope = x > 0 ? fmin(slope, y / x) : 0;
    double off = prompt_tokens > 0 ? prompt_tokens - x : 0;
    g.mean_s = fmax(y + slope * off, 0);
    g.sd_s = sqrt(fmax(yy - 2 * slope * xy + slope * slope * xx, 0));
    MUST(isfinite(g.mean_s) && isfinite(g.sd_s));
    return g;
}
