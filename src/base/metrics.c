/* SPDX-License-Identifier: MIT */
/* Writes Prometheus' text format. */
#include "base/metrics.h"

const double ek_seconds_bounds[EK_SECONDS_BOUNDS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                                     0.25,  0.5,    1,     2.5,  5,     10,   20,
                                                     40,    80,     160,   320,  600};

void ek_histogram_init(struct ek_histogram *h, const double *bounds, unsigned count)
{
    MUST(count > 0 && count <= EK_HISTOGRAM_BUCKETS_MAX);
    for (unsigned i = 1; i < count; i++) MUST(bounds[i - 1] < bounds[i]);
    *h = (struct ek_histogram){.bounds = bounds, .count = count};
}

void ek_histogram_add(struct ek_histogram *h, double value)
{
    MUST(h->bounds);
    if (!(value > 0)) value = 0;
    unsigned i = 0;
    while (i < h->count && value > h->bounds[i]) i++;
    h->buckets[i]++;
    h->sum += value;
}

void ek_metric_help(struct ek_buf *b, const char *name, const char *type, const char *help)
{
    ek_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void name_and_labels(struct ek_buf *b, const char *name, const char *labels)
{
    ek_buf_lit(b, name);
    if (labels) ek_buf_printf(b, "{%s}", labels);
    ek_buf_char(b, ' ');
}

void ek_metric_value(struct ek_buf *b, const char *name, const char *labels, uint64_t value)
{
    name_and_labels(b, name, labels);
    ek_buf_u64(b, value);
    ek_buf_char(b, '\n');
}

void ek_metric_double(struct ek_buf *b, const char *name, const char *labels, double value)
{
    name_and_labels(b, name, labels);
    ek_buf_printf(b, "%.9g\n", value);
}

void ek_metric_histogram(struct ek_buf *b, const char *name, const char *labels,
                         const struct ek_histogram *h)
{
    const char *comma = labels ? "," : "";
    uint64_t total = 0;
    if (!labels) labels = "";
    for (unsigned i = 0; i <= h->count; i++) {
        total += h->buckets[i];
        if (i < h->count)
            ek_buf_printf(b, "%s_bucket{%s%sle=\"%g\"} ", name, labels, comma, h->bounds[i]);
        else
            ek_buf_printf(b, "%s_bucket{%s%sle=\"+Inf\"} ", name, labels, comma);
        ek_buf_u64(b, total);
        ek_buf_char(b, '\n');
    }
    ek_buf_printf(b, *labels ? "%s_sum{%s} %.9g\n" : "%s_sum%s %.9g\n", name, labels, h->sum);
    ek_buf_printf(b, *labels ? "%s_count{%s} " : "%s_count%s ", name, labels);
    ek_buf_u64(b, total);
    ek_buf_char(b, '\n');
}
