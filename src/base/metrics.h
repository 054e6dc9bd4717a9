/* SPDX-License-Identifier: MIT */
/* Numbers for Prometheus' text format (version 0.0.4). Rooms keep plain uint64_t counters in their own
 * structs; whoever serves /metrics writes them out with these functions. Base units in the names
 * (_seconds, _bytes, _total), labels of low cardinality only: never an account, key or address.
 *
 *      ek_metric_help(b, "evenkeel_requests_total", "counter", "Requests by how they ended.");
 *      ek_metric_value(b, "evenkeel_requests_total", "end=\"done\"", n);
 */
#ifndef EK_BASE_METRICS_H
#define EK_BASE_METRICS_H

#include "base/buf.h"

#define EK_HISTOGRAM_BUCKETS_MAX 24

struct ek_histogram {
    const double *bounds; /* upper bounds, ascending, constant table */
    unsigned count;       /* of bounds; one more bucket takes what is above */
    uint64_t buckets[EK_HISTOGRAM_BUCKETS_MAX + 1];
    double sum;
};

extern const double ek_seconds_bounds[]; /* 1 ms .. 600 s: waiting is minutes here, not the usual 10 s */
#define EK_SECONDS_BOUNDS 19

void ek_histogram_init(struct ek_histogram *h, const double *bounds, unsigned count);
void ek_histogram_add(struct ek_histogram *h, double value); /* NaN and negatives count as 0 */

void ek_metric_help(struct ek_buf *b, const char *name, const char *type, const char *help);
void ek_metric_value(struct ek_buf *b, const char *name, const char *labels, uint64_t value);
void ek_metric_double(struct ek_buf *b, const char *name, const char *labels, double value);
/* Writes _bucket, _sum and _count lines; labels NULL or "a=\"b\"". */
void ek_metric_histogram(struct ek_buf *b, const char *name, const char *labels,
                         const struct ek_histogram *h);

#endif
