/* SPDX-License-Identifier: MIT */
/* Arrivals that need no file:
 *
 *   day    a synthetic day with the published statistics of the ServeGen R1 trace: 73 clients of whom
 *          the first makes 28.6 % of the requests, the first five 52.5 %, the first ten 67.7 %; 16
 *          requests a second on average, 2.65 times that at the peak, 4.3 at the lowest; lengths by
 *          their published quantiles (facts: statistics of the trace as computed from its files)
 *   step   a constant rate, multiplied between two moments
 *   mix    clients of Zipf weights whose requests share a prefix within one client
 *   shape  the load of a file (minute, tokens a second), requests as in `day`
 *
 * Quantile functions are interpolated in the logarithm: between two published quantiles the density is
 * log-uniform, which hits all of them exactly and the means within a few per cent. */
#include "base/clock.h"
#include "base/must.h"
#include "sim/dist.h"
#include "sim/file.h"
#include "sim/windows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_S 86400.0
#define DAY_CLIENTS 73
#define SHAPE_MINUTES_MAX 20160

struct point {
    double part;
    double value;
};

static const struct point day_input[] = {{0, 8}, {0.5, 208}, {0.9, 2092}, {0.99, 23423}, {1, 57284}};
static const struct point day_output[] = {{0, 60},     {0.1, 287},    {0.5, 792},
                                          {0.9, 3432}, {0.99, 12607}, {1, 32768}};
static const struct point day_think[] = {{0, 0.05}, {0.1, 0.36}, {0.5, 0.76}, {0.9, 0.95}, {1, 0.99}};

enum made_kind { MADE_DAY, MADE_STEP, MADE_MIX, MADE_SHAPE };

struct made {
    enum made_kind kind;
    struct ek_sim_source_options o;
    double window_s;
    double weight[EK_SIM_CLIENTS_MAX]; /* sum 1 */
    double *minute; /* shape: part of the mean, per minute */
    uint32_t minutes;
    uint32_t *block;
};

static void made_free(void *ctx)
{
    struct made *m = ctx;
    free(m->minute);
    free(m->block);
    free(m);
}

static double quantile(const struct point *p, size_t n, double part)
{
    size_t i = 1;
    while (i + 1 < n && p[i].part < part) i++;
    double t = (part - p[i - 1].part) / (p[i].part - p[i - 1].part);
    return p[i - 1].value * pow(p[i].value / p[i - 1].value, t);
}

/* Requests a second of all clients together, as a multiple of the mean. */
static double level(const struct made *m, double at_s)
{
    if (m->kind == MADE_DAY) {
        double wave = 0.5 * (1.0 + cos(2.0 * M_PI * (at_s / DAY_S - 0.02)));
        return 0.27 + 2.38 * wave * wave * wave;
    }
    if (m->kind == MADE_SHAPE) return m->minute[(uint32_t)(at_s / 60.0) % m->minutes];
    bool in_step = at_s >= m->o.step_at_s && at_s < m->o.step_until_s;
    return in_step ? m->o.step_factor : 1.0;
}

static struct ek_sim_burst made_burst(void *ctx, uint32_t client, double at_s)
{
    const struct made *m = ctx;
    double rate = m->o.rate * level(m, at_s + 0.5 * m->window_s) * m->weight[client];
    /* Clients of the R1 trace come in bursts of different hardness (shape 0.02 to about 1.3). */
    double shape = m->kind == MADE_DAY ? 0.15 + 0.15 * (double)(client % 7) : m->o.shape;
    return (struct ek_sim_burst){rate * m->window_s, shape, false};
}

static void day_lengths(struct ek_random *r, struct ek_sim_spec *s)
{
    double share = quantile(day_think, EK_COUNT(day_think), ek_random_unit(r));
    s->prompt_tokens = (uint32_t)quantile(day_input, EK_COUNT(day_input), ek_random_unit(r));
    s->output_tokens = (uint32_t)quantile(day_output, EK_COUNT(day_output), ek_random_unit(r));
    s->think_tokens = (uint32_t)(share * s->output_tokens);
}

static void made_lengths(void *ctx, struct ek_random *r, double at_s, struct ek_sim_spec *s)
{
    const struct made *m = ctx;
    (void)at_s;
    if (m->o.output_mean <= 0) {
        day_lengths(r, s);
    } else {
        /* Log-normal with sigma 1: median = mean / sqrt(e). */
        double output = ek_sim_lognormal(r, m->o.output_mean * 0.6065, 1.0);
        double prompt = ek_sim_lognormal(r, m->o.prompt_mean * 0.6065, 1.0);
        s->output_tokens = (uint32_t)fmin(fmax(output, 2), 32768);
        s->prompt_tokens = (uint32_t)fmin(fmax(prompt, 1), 131072);
        s->think_tokens = (uint32_t)(m->o.think_share * (s->output_tokens - 1));
    }
    if (m->o.prefix_tokens) {
        uint32_t blocks = m->o.prefix_tokens / EK_SIM_BLOCK_TOKENS;
        s->prompt_tokens += blocks * EK_SIM_BLOCK_TOKENS;
        s->block = s->client * blocks;
        s->blocks = blocks;
    }
    if (s->think_tokens >= s->output_tokens) s->think_tokens = s->output_tokens - 1;
}

static void day_weights(struct made *m)
{
    /* Inside each group the weights fall by a constant ratio; the groups have the published sums. */
    static const struct { uint32_t from, to; double sum, ratio; } group[] = {
        {0, 1, 0.286, 1}, {1, 5, 0.239, 0.85}, {5, 10, 0.152, 0.93}, {10, DAY_CLIENTS, 0.323, 0.95}};
    for (size_t g = 0; g < EK_COUNT(group); g++) {
        double sum = 0, w = 1;
        for (uint32_t c = group[g].from; c < group[g].to; c++, w *= group[g].ratio) sum += w;
        w = group[g].sum / sum;
        for (uint32_t c = group[g].from; c < group[g].to; c++, w *= group[g].ratio) m->weight[c] = w;
    }
}

static void zipf_weights(struct made *m)
{
    double sum = 0;
    for (uint32_t c = 0; c < m->o.clients; c++) sum += pow(c + 1.0, -m->o.skew);
    for (uint32_t c = 0; c < m->o.clients; c++) m->weight[c] = pow(c + 1.0, -m->o.skew) / sum;
}

static bool read_shape(struct made *m, const char *path, char *why, size_t cap)
{
    struct ek_sim_file f;
    struct ek_str line, field;
    double sum = 0, value;
    uint32_t at;
    if (!ek_sim_file_read(&f, path, why, cap)) return false;
    m->minute = calloc(SHAPE_MINUTES_MAX, sizeof *m->minute);
    MUST(m->minute);
    bool ok = ek_sim_file_line(&f, &line);
    while (ok && ek_sim_file_line(&f, &line)) {
        if (line.len == 0) continue;
        ok = ek_sim_field(&line, &field) && ek_sim_count(field, SHAPE_MINUTES_MAX - 1, &at) &&
             ek_sim_field(&line, &field) && ek_sim_number(field, &value) && value >= 0;
        if (!ok) break;
        m->minute[at] = value;
        if (at >= m->minutes) m->minutes = at + 1;
    }
    if (!ok || m->minutes == 0) snprintf(why, cap, "%.300s:%u: not minute,tokens", path, f.line);
    ek_sim_file_free(&f);
    for (uint32_t i = 0; i < m->minutes; i++) sum += m->minute[i];
    for (uint32_t i = 0; i < m->minutes && sum > 0; i++) m->minute[i] *= m->minutes / sum;
    return ok && m->minutes > 0;
}

static void make_blocks(struct made *m)
{
    uint32_t per = m->o.prefix_tokens / EK_SIM_BLOCK_TOKENS;
    if (per == 0) return;
    m->block = calloc((size_t)per * m->o.clients, sizeof *m->block);
    MUST(m->block);
    for (uint32_t i = 0; i < per * m->o.clients; i++) m->block[i] = i + 1;
}

struct ek_sim_source *ek_sim_source_made(const struct ek_sim_source_options *o, char *why, size_t cap)
{
    struct ek_sim_windows *w = calloc(1, sizeof *w);
    struct made *m = calloc(1, sizeof *m);
    MUST(w && m);
    m->o = *o;
    m->kind = strcmp(o->kind, "day") == 0     ? MADE_DAY
              : strcmp(o->kind, "mix") == 0   ? MADE_MIX
              : strcmp(o->kind, "shape") == 0 ? MADE_SHAPE
                                              : MADE_STEP;
    if (m->kind == MADE_SHAPE && !read_shape(m, o->rates_path, why, cap)) {
        made_free(m);
        free(w);
        return NULL;
    }
    bool like_r1 = m->kind == MADE_DAY || m->kind == MADE_SHAPE;
    if (like_r1) m->o.clients = DAY_CLIENTS;
    if (like_r1) day_weights(m);
    if (!like_r1) zipf_weights(m);
    if (m->kind == MADE_DAY) m->o.rate *= 16.0;
    m->window_s = m->kind == MADE_DAY ? 600 : m->kind == MADE_SHAPE ? 60 : 10;
    make_blocks(m);
    double until_s = o->until_s > o->from_s ? o->until_s : o->from_s + DAY_S;
    *w = (struct ek_sim_windows){.seed = o->seed, .window_s = m->window_s, .from_s = o->from_s,
                                 .until_s = until_s, .ctx = m, .burst = made_burst,
                                 .lengths = made_lengths, .free_ctx = made_free};
    w->source.clients = m->o.clients;
    w->source.block = m->block;
    return ek_sim_windows_start(w);
}
