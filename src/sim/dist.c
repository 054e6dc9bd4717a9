/* SPDX-License-Identifier: MIT */
/* Random numbers of a given shape. Nothing here keeps a second value for the next call: a draw depends
 * on the generator alone, so that adding a draw in one place moves nothing in another. */
#include "sim/dist.h"

#include "base/must.h"

#include <math.h>

/* (0, 1]: safe under a logarithm. */
static double open_unit(struct ek_random *r)
{
    return 1.0 - ek_random_unit(r);
}

double ek_sim_exp(struct ek_random *r, double mean)
{
    MUST(mean >= 0);
    return -mean * log(open_unit(r));
}

double ek_sim_normal(struct ek_random *r)
{
    double u, v, s;
    do {
        u = 2.0 * ek_random_unit(r) - 1.0;
        v = 2.0 * ek_random_unit(r) - 1.0;
        s = u * u + v * v;
    } while (s >= 1.0 || s <= 0.0);
    return u * sqrt(-2.0 * log(s) / s);
}

double ek_sim_gamma(struct ek_random *r, double shape)
{
    MUST(shape > 0);
    if (shape < 1.0) /* boost: G(a) = G(a + 1) * U^(1/a) */
        return ek_sim_gamma(r, shape + 1.0) * pow(open_unit(r), 1.0 / shape);
    double d = shape - 1.0 / 3.0;
    double c = 1.0 / sqrt(9.0 * d);
    for (;;) {
        double x = ek_sim_normal(r);
        double v = 1.0 + c * x;
        if (v <= 0) continue;
        v = v * v * v;
        if (log(open_unit(r)) < 0.5 * x * x + d - d * v + d * log(v)) return d * v;
    }
}

double ek_sim_weibull(struct ek_random *r, double shape)
{
    MUST(shape > 0);
    return pow(-log(open_unit(r)), 1.0 / shape);
}

double ek_sim_lognormal(struct ek_random *r, double median, double sigma)
{
    return median * exp(sigma * ek_sim_normal(r));
}

size_t ek_sim_pick(struct ek_random *r, const float *cdf, size_t n)
{
    MUST(n > 0);
    float x = (float)(ek_random_unit(r) * (double)cdf[n - 1]);
    size_t low = 0, high = n - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (cdf[middle] > x) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}
