/* SPDX-License-Identifier: MIT */
/* The table that shortened thoughts are judged by: what was served within the targets, at which budget, and
 * what that is worth when an answer counts as much as it is likely to be right. Decides nothing. */
#include "sim/file.h"
#include "sim/report.h"

#include "base/must.h"

#include <stdio.h>
#include <string.h>

static const uint32_t percents[EK_SIM_STEPS] = {100, 75, 50, 25, 0};

/* Lines of percent,budget_tokens,asked,right behind one of names. */
bool ek_sim_accuracy_read(struct ek_sim_accuracy *a, const char *path, char *why, size_t cap)
{
    struct ek_sim_file f;
    struct ek_str line, field;
    uint32_t seen = 0;
    *a = (struct ek_sim_accuracy){.known = false};
    if (!ek_sim_file_read(&f, path, why, cap)) return false;
    bool ok = ek_sim_file_line(&f, &line);
    while (ok && ek_sim_file_line(&f, &line)) {
        uint32_t value[4] = {0};
        if (line.len == 0) continue;
        for (size_t i = 0; i < EK_COUNT(value) && ok; i++)
            ok = ek_sim_field(&line, &field) && ek_sim_count(field, 10000000, &value[i]);
        ok = ok && value[2] > 0 && value[3] <= value[2];
        for (uint32_t k = 0; k < EK_SIM_STEPS && ok; k++) {
            if (percents[k] != value[0]) continue;
            a->part[k] = (double)value[3] / value[2];
            seen |= 1u << k;
        }
    }
    a->known = ok && seen == (1u << EK_SIM_STEPS) - 1;
    if (!a->known)
        snprintf(why, cap, "%.300s:%u: not percent,budget_tokens,asked,right for all steps", path, f.line);
    ek_sim_file_free(&f);
    return a->known;
}

static double rate(uint64_t count, double seconds)
{
    return seconds > 0 ? (double)count / seconds : 0;
}

static void row(FILE *to, const struct ek_sim_result *r, const char *name,
                const struct ek_sim_tier_result *t, const struct ek_sim_accuracy *a)
{
    double good = 0, right = 0;
    fprintf(to, "%-6s %-9s %8.2f %8.2f %8.2f", r->policy, name, rate(t->good, r->span_s),
            rate(t->over.good, r->over_s), rate(t->peak.good, r->peak_s));
    for (int k = 0; k < EK_SIM_STEPS; k++) good += (double)t->step_good[k];
    for (int k = 0; k < EK_SIM_STEPS; k++) {
        fprintf(to, " %7.1f", good > 0 ? 100 * (double)t->step_good[k] / good : 0);
        right += (double)t->step_good[k] * a->part[k];
    }
    if (a->known) fprintf(to, " %8.2f", right / r->span_s);
    fputc('\n', to);
}

void ek_sim_report_goodput(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r,
                           size_t n, const struct ek_sim_accuracy *a)
{
    MUST(n > 0);
    fprintf(to, "\nanswers within their targets a second: the whole day; the %.1f h that ask for more than "
            "the engines can do;\nthe busiest ten minutes; and of those of the day, %% by thinking budget",
            r[0]->over_s / 3600);
    fputs(a->known ? "; right: right answers a second\n" : "\n", to);
    fprintf(to, "%-6s %-9s %8s %8s %8s %7s %7s %7s %7s %7s%s\n", "policy", "tier", "day", "over", "peak",
            "100%", "75%", "50%", "25%", "0%", a->known ? "    right" : "");
    for (size_t i = 0; i < n; i++) {
        row(to, r[i], "all", &r[i]->all, a);
        for (uint32_t t = 0; t < s->tiers && s->tiers > 1; t++)
            row(to, r[i], s->tier[t].name, &r[i]->tier[t], a);
    }
    const struct ek_sim_tier_result *all = &r[0]->all;
    fprintf(to, "came   %-9s %8.2f %8.2f %8.2f\n", "all", rate(all->arrived, r[0]->span_s),
            rate(all->over.arrived, r[0]->over_s), rate(all->peak.arrived, r[0]->peak_s));
    if (!a->known) return;
    fputs("accuracy of the demo model at these budgets, %:      ", to);
    for (int k = 0; k < EK_SIM_STEPS; k++) fprintf(to, " %7.1f", 100 * a->part[k]);
    fputc('\n', to);
}

/* ---- lenders ------------------------------------------------------------------------------------------- */

static void lent_row(FILE *to, const struct ek_sim_result *r, const char *name,
                     const struct ek_sim_tier_result *t, bool cost)
{
    double came = t->arrived ? (double)t->arrived : 1;
    fprintf(to, "%-6s %-9s %9llu %7.2f %7.2f %7.2f %9.2f %9.2f %9.2f %9.2f", r->policy, name,
            (unsigned long long)t->lent, 100 * (double)t->lent / came, 100 * (double)t->good / came,
            100 * (double)(t->refused + t->left) / came, ek_sim_sketch_mean(&t->ttft),
            ek_sim_sketch_quantile(&t->ttft, 0.5), ek_sim_sketch_quantile(&t->ttft, 0.9),
            ek_sim_sketch_quantile(&t->ttft, 0.99));
    if (cost) fprintf(to, " %9.2f", r->lent_cost);
    fputc('\n', to);
}

void ek_sim_report_lent(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r, size_t n)
{
    if (!s->lender.slots) return;
    fprintf(to, "\nthe lender: requests sent there, %% of all, %% within their targets, %% refused or left; "
            "seconds to the first token;\nwhat it charged\n");
    fprintf(to, "%-6s %-9s %9s %7s %7s %7s %9s %9s %9s %9s %9s\n", "policy", "tier", "lent", "%", "good",
            "lost", "mean", "p50", "p90", "p99", "cost");
    for (size_t i = 0; i < n; i++) {
        lent_row(to, r[i], "all", &r[i]->all, true);
        for (uint32_t t = 0; t < s->tiers && s->tiers > 1; t++)
            lent_row(to, r[i], s->tier[t].name, &r[i]->tier[t], false);
    }
}
