/* SPDX-License-Identifier: MIT */
/* Results for people (a table), for programs (CSV, JSON) and for the eye (SVG). Numbers are printed with
 * fixed formats, so that the same run gives the same bytes. */
#ifndef EK_SIM_REPORT_H
#define EK_SIM_REPORT_H

#include "sim/measure.h"
#include "sim/plan.h"

#include <stdio.h>

void ek_sim_report_head(FILE *to, const struct ek_sim_scenario *s, const struct ek_sim_plan *p);
void ek_sim_report_table(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r,
                         size_t n);
/* Accuracy of answers at each step of thinking, read from the file that bench/accuracy.py writes. */
struct ek_sim_accuracy {
    bool known;
    double part[EK_SIM_STEPS]; /* right of asked, at 100, 75, 50, 25, 0 % of the usual thought */
};
bool ek_sim_accuracy_read(struct ek_sim_accuracy *a, const char *path, char *why, size_t cap);
/* Answers within their targets a second: over the day, in the part that asks for too much, in the busiest ten
 * minutes; and how long they were allowed to think. */
void ek_sim_report_goodput(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r,
                           size_t n, const struct ek_sim_accuracy *a);
/* What lenders had, what that cost, and what it was good for; nothing where there is none. */
void ek_sim_report_lent(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r, size_t n);
void ek_sim_report_csv(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r,
                       size_t n);
void ek_sim_report_json(FILE *to, const struct ek_sim_scenario *s, const struct ek_sim_plan *p,
                        struct ek_sim_result *const *r, size_t n);
void ek_sim_report_series(FILE *to, struct ek_sim_result *const *r, size_t n);
/* Panels over one time axis: requests waiting, finished within their targets, mean wait, thinking budget. */
void ek_sim_report_plot(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r,
                        size_t n);

#endif
