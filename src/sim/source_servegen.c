/* SPDX-License-Identifier: MIT */
/* Arrivals from ServeGen's files (Alibaba, 2025): per client and window of 600 s a rate and the shape of
 * its inter-arrival times; per client and quarter of the day histograms of prompt, output and the share
 * of the output that is thought. The source has no joint histogram: the three are drawn apart. */
#include "base/must.h"
#include "sim/dist.h"
#include "sim/file.h"
#include "sim/windows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WINDOW_S 600
#define WINDOWS_MAX 2100 /* 14 days and a little */
#define QUARTER_S 21600
#define QUARTERS 4
#define CLIENTS_MAX 256

enum field { FIELD_INPUT, FIELD_OUTPUT, FIELD_REASON, FIELDS };

struct histogram {
    uint32_t at;
    uint32_t count;
};

struct servegen {
    uint32_t clients;
    double rate;
    struct ek_sim_burst *burst; /* [client * WINDOWS_MAX + window] */
    struct histogram histogram[CLIENTS_MAX][QUARTERS][FIELDS];
    float *value;
    float *cdf;
    uint32_t values, cap;
    uint32_t windows; /* last one with traffic, + 1 */
};

static void servegen_free(void *ctx)
{
    struct servegen *g = ctx;
    free(g->burst);
    free(g->value);
    free(g->cdf);
    free(g);
}

/* ---- reading ----------------------------------------------------------------------------------- */

static bool read_rate(struct servegen *g, struct ek_str line)
{
    struct ek_str f[7];
    double number[7] = {0};
    uint32_t client;
    for (int i = 0; i < 7; i++) {
        if (!ek_sim_field(&line, &f[i])) return false;
        if (i != 0 && i != 4 && !ek_sim_number(f[i], &number[i])) return false;
    }
    if (!ek_sim_count(f[0], CLIENTS_MAX - 1, &client)) return false;
    bool weibull = ek_str_eq(f[4], EK_STR("Weibull"));
    if (!weibull && !ek_str_eq(f[4], EK_STR("Gamma"))) return false;
    double window = number[1] / WINDOW_S;
    if (window < 0 || window >= WINDOWS_MAX || number[2] < 0 || number[2] > 1e4) return false;
    if (number[5] <= 0) return false;
    if (client >= g->clients) g->clients = client + 1;
    if ((uint32_t)window >= g->windows) g->windows = (uint32_t)window + 1;
    g->burst[client * WINDOWS_MAX + (uint32_t)window] =
        (struct ek_sim_burst){number[2] * WINDOW_S, number[5], weibull};
    return true;
}

static bool read_rates(struct servegen *g, const char *path, char *why, size_t cap)
{
    struct ek_sim_file f;
    struct ek_str line;
    if (!ek_sim_file_read(&f, path, why, cap)) return false;
    bool ok = ek_sim_file_line(&f, &line); /* the head */
    while (ok && ek_sim_file_line(&f, &line)) ok = line.len == 0 || read_rate(g, line);
    if (!ok) snprintf(why, cap, "%.300s:%u: not a row of rates", path, f.line);
    ek_sim_file_free(&f);
    return ok;
}

static bool more_values(struct servegen *g)
{
    if (g->values < g->cap) return true;
    uint32_t cap = g->cap ? g->cap * 2 : 1u << 16;
    if (cap > 1u << 24) return false;
    float *value = realloc(g->value, cap * sizeof *value);
    if (value) g->value = value;
    float *cdf = realloc(g->cdf, cap * sizeof *cdf);
    if (cdf) g->cdf = cdf;
    if (!value || !cdf) return false;
    g->cap = cap;
    return true;
}

static bool read_length(struct servegen *g, struct ek_str line)
{
    struct ek_str f[5];
    uint32_t client, at_s;
    double value, prob;
    static const char *const names[FIELDS] = {"input", "output", "reason"};
    int field = 0;
    for (int i = 0; i < 5; i++)
        if (!ek_sim_field(&line, &f[i])) return false;
    while (field < FIELDS && !ek_str_eq(f[2], ek_str_of(names[field]))) field++;
    if (field == FIELDS || !ek_sim_count(f[0], CLIENTS_MAX - 1, &client)) return false;
    if (!ek_sim_count(f[1], QUARTER_S * (QUARTERS - 1), &at_s)) return false;
    if (!ek_sim_number(f[3], &value) || !ek_sim_number(f[4], &prob)) return false;
    if (value < 0 || value > EK_SIM_PROMPT_MAX || prob < 0 || prob > 1.001) return false;
    struct histogram *h = &g->histogram[client][at_s / QUARTER_S][field];
    if (h->count == 0) h->at = g->values;
    if (h->at + h->count != g->values || !more_values(g)) return false; /* its rows stand together */
    g->value[g->values] = (float)value;
    g->cdf[g->values] = (float)prob + (h->count ? g->cdf[g->values - 1] : 0);
    g->values++;
    h->count++;
    return true;
}

static bool read_lengths(struct servegen *g, const char *path, char *why, size_t cap)
{
    struct ek_sim_file f;
    struct ek_str line;
    if (!ek_sim_file_read(&f, path, why, cap)) return false;
    bool ok = ek_sim_file_line(&f, &line);
    while (ok && ek_sim_file_line(&f, &line)) ok = line.len == 0 || read_length(g, line);
    if (!ok) snprintf(why, cap, "%.300s:%u: not a row of lengths", path, f.line);
    ek_sim_file_free(&f);
    return ok;
}

/* A client that is active in a quarter without a histogram there takes one of its other quarters. */
static bool fill_gaps(struct servegen *g, char *why, size_t cap)
{
    for (uint32_t c = 0; c < g->clients; c++)
        for (int field = 0; field < FIELDS; field++) {
            struct histogram any = {0};
            for (int q = 0; q < QUARTERS; q++)
                if (g->histogram[c][q][field].count) any = g->histogram[c][q][field];
            if (any.count == 0) {
                snprintf(why, cap, "client %u has rates and no lengths", c);
                return false;
            }
            for (int q = 0; q < QUARTERS; q++)
                if (g->histogram[c][q][field].count == 0) g->histogram[c][q][field] = any;
        }
    return true;
}

/* ---- drawing ----------------------------------------------------------------------------------- */

static struct ek_sim_burst servegen_burst(void *ctx, uint32_t client, double at_s)
{
    const struct servegen *g = ctx;
    uint32_t window = (uint32_t)(at_s / WINDOW_S + 0.5);
    if (window >= WINDOWS_MAX) return (struct ek_sim_burst){0, 1, false};
    struct ek_sim_burst b = g->burst[client * WINDOWS_MAX + window];
    if (b.count <= 0) return (struct ek_sim_burst){0, 1, false};
    b.count *= g->rate;
    return b;
}

static double pick(const struct servegen *g, struct ek_random *r, uint32_t client, double at_s,
                   enum field field)
{
    uint32_t quarter = (uint32_t)(at_s / QUARTER_S) % QUARTERS;
    const struct histogram *h = &g->histogram[client][quarter][field];
    return (double)g->value[h->at + ek_sim_pick(r, g->cdf + h->at, h->count)];
}

static void servegen_lengths(void *ctx, struct ek_random *r, double at_s, struct ek_sim_spec *s)
{
    const struct servegen *g = ctx;
    double input = pick(g, r, s->client, at_s, FIELD_INPUT);
    double output = pick(g, r, s->client, at_s, FIELD_OUTPUT);
    double reason = pick(g, r, s->client, at_s, FIELD_REASON);
    if (output > EK_SIM_OUTPUT_MAX) output = EK_SIM_OUTPUT_MAX;
    s->prompt_tokens = input < 1 ? 1 : (uint32_t)input;
    s->output_tokens = output < 1 ? 1 : (uint32_t)output;
    s->think_tokens = (uint32_t)(fmin(reason, 1.0) * s->output_tokens);
    if (s->think_tokens >= s->output_tokens) s->think_tokens = s->output_tokens - 1;
}

struct ek_sim_source *ek_sim_source_servegen(const struct ek_sim_source_options *o, char *why,
                                             size_t cap)
{
    struct ek_sim_windows *w = calloc(1, sizeof *w);
    struct servegen *g = calloc(1, sizeof *g);
    MUST(w && g);
    g->burst = calloc((size_t)CLIENTS_MAX * WINDOWS_MAX, sizeof *g->burst);
    MUST(g->burst);
    g->rate = o->rate;
    if (!read_rates(g, o->rates_path, why, cap) || !read_lengths(g, o->lengths_path, why, cap) ||
        !fill_gaps(g, why, cap)) {
        servegen_free(g);
        free(w);
        return NULL;
    }
    double end_s = (double)g->windows * WINDOW_S;
    *w = (struct ek_sim_windows){.seed = o->seed, .window_s = WINDOW_S, .from_s = o->from_s,
                                 .until_s = o->until_s > 0 && o->until_s < end_s ? o->until_s : end_s,
                                 .ctx = g, .burst = servegen_burst, .lengths = servegen_lengths,
                                 .free_ctx = servegen_free};
    w->source.clients = g->clients;
    if (w->until_s > w->from_s && g->clients) return ek_sim_windows_start(w);
    snprintf(why, cap, "%.300s: no arrivals in the part asked for", o->rates_path);
    servegen_free(g);
    free(w);
    return NULL;
}
