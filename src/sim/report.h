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
void ek_sim_report_csv(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r,
                       size_t n);
void ek_sim_report_json(FILE *to, const struct ek_sim_scenario *s, const struct ek_sim_plan *p,
                        struct ek_sim_result *const *r, size_t n);
void ek_sim_report_series(FILE *to, struct ek_sim_result *const *r, size_t n);
/* Three panels over one time axis: requests waiting, finished a minute, mean wait of those started. */
void ek_sim_report_plot(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r,
                        size_t n);

#endif
