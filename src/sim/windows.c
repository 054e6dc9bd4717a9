/* SPDX-License-Identifier: MIT */
/* Arrivals window by window. Each client and window has a generator of its own, made from the seed and
 * both numbers: what one client does never moves the draws of another. */
#include "sim/windows.h"

#include "base/clock.h"
#include "base/must.h"
#include "sim/dist.h"

#include <math.h>
#include <stdlib.h>

static int by_time(const void *a, const void *b)
{
    const struct ek_sim_spec *x = a;
    const struct ek_sim_spec *y = b;
    if (x->at_ns != y->at_ns) return x->at_ns < y->at_ns ? -1 : 1;
    if (x->client != y->client) return x->client < y->client ? -1 : 1;
    /* One client, one nanosecond: any fixed order will do. */
    if (x->output_tokens != y->output_tokens) return x->output_tokens < y->output_tokens ? -1 : 1;
    return x->prompt_tokens < y->prompt_tokens ? -1 : x->prompt_tokens > y->prompt_tokens;
}

static double draw(struct ek_random *r, const struct ek_sim_burst *b)
{
    return b->weibull ? ek_sim_weibull(r, b->shape) : ek_sim_gamma(r, b->shape);
}

static bool room_for(struct ek_sim_windows *w, size_t more)
{
    if (w->count + more <= w->cap) return true;
    if (w->count + more > EK_SIM_WINDOW_REQUESTS_MAX) return false;
    size_t cap = (w->count + more) * 2;
    struct ek_sim_spec *spec = realloc(w->spec, cap * sizeof *spec);
    if (!spec) return false;
    w->spec = spec;
    w->cap = cap;
    return true;
}

static void fill_client(struct ek_sim_windows *w, uint32_t client, double at_s)
{
    uint64_t index = (uint64_t)llround(at_s / w->window_s);
    struct ek_random r = ek_random_make(w->seed + 0x9e3779b97f4a7c15ull * (index * 4096 + client + 1));
    struct ek_sim_burst b = w->burst(w->ctx, client, at_s);
    size_t n = (size_t)(b.count + ek_random_unit(&r)); /* 2.3 is 2 or 3 */
    if (n == 0) return;
    MUST(b.shape > 0);
    MUST(room_for(w, n)); /* limits of the scenario keep it far below */
    struct ek_random again = r;
    double total = 0, sum = 0;
    for (size_t i = 0; i <= n; i++) total += draw(&r, &b);
    for (size_t i = 0; i < n; i++) {
        sum += draw(&again, &b);
        double part = total > 0 ? sum / total : ((double)i + 0.5) / (double)n;
        double at = at_s + w->window_s * part;
        struct ek_sim_spec *s = &w->spec[w->count];
        *s = (struct ek_sim_spec){.client = client};
        w->lengths(w->ctx, &r, at, s);
        MUST(s->output_tokens > 0 && s->think_tokens < s->output_tokens);
        if (at < w->from_s || at >= w->until_s) continue;
        s->at_ns = (uint64_t)((at - w->from_s) * 1e9);
        w->count++;
    }
}

static bool windows_next(struct ek_sim_source *source, struct ek_sim_spec *out)
{
    struct ek_sim_windows *w = (struct ek_sim_windows *)source;
    while (w->at == w->count) {
        if (w->next_s >= w->until_s) return false;
        w->at = w->count = 0;
        for (uint32_t c = 0; c < source->clients; c++) fill_client(w, c, w->next_s);
        if (w->count) qsort(w->spec, w->count, sizeof *w->spec, by_time);
        w->next_s += w->window_s;
    }
    *out = w->spec[w->at++];
    return true;
}

static void windows_free(struct ek_sim_source *source)
{
    struct ek_sim_windows *w = (struct ek_sim_windows *)source;
    if (w->free_ctx) w->free_ctx(w->ctx);
    free(w->spec);
    free(w);
}

struct ek_sim_source *ek_sim_windows_start(struct ek_sim_windows *w)
{
    MUST(w->window_s > 0 && w->until_s > w->from_s);
    MUST(w->source.clients > 0 && w->source.clients <= EK_SIM_CLIENTS_MAX);
    w->next_s = floor(w->from_s / w->window_s) * w->window_s;
    w->source.end_ns = (uint64_t)((w->until_s - w->from_s) * 1e9);
    w->source.next = windows_next;
    w->source.free = windows_free;
    return &w->source;
}
