/* SPDX-License-Identifier: MIT */
/* Tables, CSV and JSON. The columns are one list, so that a number has the same name everywhere. */
#include "sim/report.h"

#define PART(a, b) ((b) > 0 ? (double)(a) / (double)(b) : 0)

/* X(name, decimals, value of tier t in run r). A value of -1 means: not measured. */
#define COLUMNS(X) \
    X(arrived, 0, (double)t->arrived) \
    X(attempts, 0, (double)t->attempts) \
    X(finished, 0, (double)t->finished) \
    X(good, 0, (double)t->good) \
    X(refused, 0, (double)t->refused) \
    X(left, 0, (double)t->left) \
    X(shortened, 0, (double)t->shortened) \
    X(good_part, 4, PART(t->good, t->arrived)) \
    X(refused_part, 4, PART(t->refused, t->arrived)) \
    X(left_part, 4, PART(t->left, t->arrived)) \
    X(amplification, 3, ek_sim_result_amplification(t)) \
    X(goodput_rps, 4, PART(t->good, r->span_s)) \
    X(over_arrived_rps, 4, PART(t->over.arrived, r->over_s)) \
    X(over_goodput_rps, 4, PART(t->over.good, r->over_s)) \
    X(peak_arrived_rps, 4, PART(t->peak.arrived, r->peak_s)) \
    X(peak_goodput_rps, 4, PART(t->peak.good, r->peak_s)) \
    X(good_100, 0, (double)t->step_good[0]) \
    X(good_75, 0, (double)t->step_good[1]) \
    X(good_50, 0, (double)t->step_good[2]) \
    X(good_25, 0, (double)t->step_good[3]) \
    X(good_0, 0, (double)t->step_good[4]) \
    X(good_tokens_per_s, 1, PART(t->good_tokens, r->span_s)) \
    X(wasted_tokens, 0, (double)t->wasted) \
    X(lent, 0, (double)t->lent) \
    X(ttft_p50_s, 3, ek_sim_sketch_quantile(&t->ttft, 0.5)) \
    X(ttft_p90_s, 3, ek_sim_sketch_quantile(&t->ttft, 0.9)) \
    X(ttft_p99_s, 3, ek_sim_sketch_quantile(&t->ttft, 0.99)) \
    X(answer_p50_s, 3, ek_sim_sketch_quantile(&t->answer, 0.5)) \
    X(answer_p90_s, 3, ek_sim_sketch_quantile(&t->answer, 0.9)) \
    X(answer_p99_s, 3, ek_sim_sketch_quantile(&t->answer, 0.99)) \
    X(tpot_p50_s, 4, ek_sim_sketch_quantile(&t->tpot, 0.5)) \
    X(tpot_p99_s, 4, ek_sim_sketch_quantile(&t->tpot, 0.99)) \
    X(itl_p50_s, 4, ek_sim_sketch_quantile(&t->itl, 0.5)) \
    X(itl_p99_s, 4, ek_sim_sketch_quantile(&t->itl, 0.99)) \
    X(wait_mean_s, 3, ek_sim_sketch_mean(&t->wait)) \
    X(wait_p90_s, 3, ek_sim_sketch_quantile(&t->wait, 0.9)) \
    X(estimates, 0, (double)t->truth.shown) \
    X(coverage_p50, 4, ek_sim_coverage(&t->truth, false)) \
    X(coverage_p90, 4, ek_sim_coverage(&t->truth, true)) \
    X(bias_s, 3, PART(t->truth.error_s, t->truth.shown)) \
    X(raised, 0, (double)t->truth.raised) \
    X(deep_estimates, 0, (double)t->truth.deep) \
    X(deep_error_p50, 4, ek_sim_sketch_quantile(&t->truth.deep_error, 0.5)) \
    X(service, 4, t->service) \
    X(contended_part, 4, PART(t->service_contended, r->all.service_contended)) \
    X(queue_full, 0, (double)t->refusals[EK_REASON_QUEUE_FULL]) \
    X(tier_queue_full, 0, (double)t->refusals[EK_REASON_TIER_QUEUE_FULL]) \
    X(account_queue_full, 0, (double)t->refusals[EK_REASON_ACCOUNT_QUEUE_FULL]) \
    X(deadline, 0, (double)t->refusals[EK_REASON_DEADLINE])

/* The same for a whole run. */
#define RUN_COLUMNS(X) \
    X(busy, 4, r->busy) \
    X(output_tokens_per_s, 1, r->output_tokens_per_s) \
    X(prompt_tokens_per_s, 1, r->prompt_tokens_per_s) \
    X(cache_hit, 4, r->hit) \
    X(preempted, 0, (double)r->preempted) \
    X(reread_tokens, 0, (double)r->reread_tokens) \
    X(fair_max, 6, r->fair.max) \
    X(fair_mean, 6, r->fair.mean) \
    X(fair_bound, 4, r->fair.bound) \
    X(jain, 4, r->fair.jain) \
    X(settle_s, 1, r->settle_s) \
    X(overshoot, 4, r->overshoot) \
    X(back_s, 1, r->back_s) \
    X(after_step_estimates, 0, (double)r->after_step.shown) \
    X(after_step_coverage_p90, 4, ek_sim_coverage(&r->after_step, true)) \
    X(split_part, 4, r->split_part) \
    X(lent_cost, 4, r->lent_cost) \
    X(rejoined, 0, (double)r->repeats) \
    X(events, 0, (double)r->events)

void ek_sim_report_head(FILE *to, const struct ek_sim_scenario *s, const struct ek_sim_plan *p)
{
    fprintf(to, "%s: %s\n", s->name, s->text);
    fprintf(to, "%llu requests of %u clients (%u accounts) in %.0f s; prompt %.0f, output %.0f tokens on "
                "average\n", (unsigned long long)p->requests, p->clients, p->accounts, p->span_s,
            p->prompt_mean, p->output_mean);
    fprintf(to, "%u engines of %u slots, times x %.3f; a request takes %.0f s; seed %llu\n", p->engines,
            s->engine.slots, p->slow, p->mean_service_s, (unsigned long long)s->seed);
    fprintf(to, "load %.2f in the busiest 10 minutes (at %.0f s), %.2f on average\n", p->load,
            p->peak_at_s, p->mean_load);
    for (uint32_t t = 0; t < s->tiers; t++)
        fprintf(to, "  tier %-12s weight %llu, %.0f %% of the work; first token in %.1f s, then %.0f ms a "
                    "token; patience %.0f s\n", s->tier[t].name, (unsigned long long)s->tier[t].weight,
                100 * p->tier_work[t], s->tier[t].ttft_s, 1e3 * s->tier[t].tpot_s, s->tier[t].patience_s);
    fputc('\n', to);
}

static void row(FILE *to, const struct ek_sim_result *r, const char *tier,
                const struct ek_sim_tier_result *t)
{
    fprintf(to, "%-6s %-9s %8llu %6.1f %6.1f %6.1f %6.1f %5.2f %8.2f %8.1f %8.1f %7.1f %5.0f %5.0f",
            r->policy, tier, (unsigned long long)t->arrived, 100 * PART(t->good, t->arrived),
            100 * PART(t->refused, t->arrived), 100 * PART(t->left, t->arrived),
            100 * PART(t->shortened, t->arrived), ek_sim_result_amplification(t),
            PART(t->good, r->span_s), ek_sim_sketch_quantile(&t->ttft, 0.5),
            ek_sim_sketch_quantile(&t->ttft, 0.99), ek_sim_sketch_quantile(&t->answer, 0.9),
            1e3 * ek_sim_sketch_quantile(&t->tpot, 0.5), 1e3 * ek_sim_sketch_quantile(&t->tpot, 0.99));
    if (t->truth.shown) {
        fprintf(to, " %5.1f %5.1f %+7.1f", 100 * ek_sim_coverage(&t->truth, false),
                100 * ek_sim_coverage(&t->truth, true), PART(t->truth.error_s, t->truth.shown));
        if (t->truth.deep) fprintf(to, " %5.0f", 100 * ek_sim_sketch_quantile(&t->truth.deep_error, 0.5));
    }
    fputc('\n', to);
}

void ek_sim_report_table(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r,
                         size_t n)
{
    fprintf(to, "%-6s %-9s %8s %6s %6s %6s %6s %5s %8s %8s %8s %7s %5s %5s %5s %5s %7s %5s\n", "policy",
            "tier", "requests", "good%", "ref.%", "left%", "short%", "tries", "goodput", "ttft50",
            "ttft99", "answ90", "tpot", "tp99", "p50%", "p90%", "bias s", "deep%");
    for (size_t i = 0; i < n; i++) {
        row(to, r[i], "all", &r[i]->all);
        for (uint32_t t = 0; t < s->tiers && s->tiers > 1; t++)
            row(to, r[i], s->tier[t].name, &r[i]->tier[t]);
    }
    fprintf(to, "\n%-6s %6s %9s %9s %6s %9s %9s %11s %11s %6s %7s %7s %7s %8s\n", "policy", "busy%",
            "out tok/s", "in tok/s", "hit%", "preempted", "wasted", "fair max", "fair mean", "jain",
            "settle", "over%", "back", "p90 step");
    for (size_t i = 0; i < n; i++) {
        const struct ek_sim_result *x = r[i];
        fprintf(to, "%-6s %6.1f %9.0f %9.0f %6.1f %9llu %9llu %11.6f %11.6f %6.3f", x->policy,
                100 * x->busy, x->output_tokens_per_s, x->prompt_tokens_per_s, 100 * x->hit,
                (unsigned long long)x->preempted, (unsigned long long)x->all.wasted, x->fair.max,
                x->fair.mean, x->fair.jain);
        if (x->settle_s >= 0)
            fprintf(to, " %6.0fs %7.1f %6.0fs", x->settle_s, 100 * x->overshoot, x->back_s);
        if (x->split_part >= 0) fprintf(to, "  split client: %.2f %% of the service", 100 * x->split_part);
        if (x->after_step.shown) fprintf(to, " %8.1f", 100 * ek_sim_coverage(&x->after_step, true));
        fputc('\n', to);
    }
    fprintf(to, "\ngood: finished, first token and time per token within the tier's targets; p50%%, p90%%: "
                "first tokens within the first\nestimate shown; deep%%: median error of estimates beyond "
                "place 50; fair: difference in service of two\naccounts of one tier while both wait, in "
                "currency (bound %.2f)\n", r[0]->fair.bound);
}

static void csv_row(FILE *to, const struct ek_sim_scenario *s, const struct ek_sim_result *r,
                    const char *tier, const struct ek_sim_tier_result *t)
{
    fprintf(to, "%s,%s,%s,%llu", s->name, r->policy, tier, (unsigned long long)s->seed);
#define X(name, decimals, value) fprintf(to, ",%.*f", decimals, value);
    COLUMNS(X)
    RUN_COLUMNS(X)
#undef X
    fputc('\n', to);
}

void ek_sim_report_csv(FILE *to, const struct ek_sim_scenario *s, struct ek_sim_result *const *r, size_t n)
{
    fputs("scenario,policy,tier,seed", to);
#define X(name, decimals, value) fputs("," #name, to);
    COLUMNS(X)
    RUN_COLUMNS(X)
#undef X
    fputc('\n', to);
    for (size_t i = 0; i < n; i++) {
        csv_row(to, s, r[i], "all", &r[i]->all);
        for (uint32_t t = 0; t < s->tiers; t++) csv_row(to, s, r[i], s->tier[t].name, &r[i]->tier[t]);
    }
}

/* Names in scenarios are plain; what JSON would have to escape is left out. */
static void json_text(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++)
        if ((unsigned char)*text >= 0x20 && *text != '"' && *text != '\\') fputc(*text, to);
    fputc('"', to);
}

static void json_tier(FILE *to, const char *name, const struct ek_sim_result *r,
                      const struct ek_sim_tier_result *t)
{
    const char *comma = "";
    json_text(to, name);
    fputs(":{", to);
#define X(name, decimals, value) \
    fprintf(to, "%s\"" #name "\":%.*f", comma, decimals, value); \
    comma = ",";
    COLUMNS(X)
#undef X
    fputs(",\"refusals\":{", to);
    comma = "";
    for (int k = 0; k < EK_REASON_COUNT; k++) {
        if (t->refusals[k] == 0) continue;
        fprintf(to, "%s\"%s\":%llu", comma, ek_reason_code((enum ek_reason)k),
                (unsigned long long)t->refusals[k]);
        comma = ",";
    }
    fputs("}}", to);
}

void ek_sim_report_json(FILE *to, const struct ek_sim_scenario *s, const struct ek_sim_plan *p,
                        struct ek_sim_result *const *results, size_t n)
{
    fputs("{\"scenario\":", to);
    json_text(to, s->name);
    fprintf(to, ",\"seed\":%llu,\"requests\":%llu,\"engines\":%u,\"load\":%.4f,\"runs\":[",
            (unsigned long long)s->seed, (unsigned long long)p->requests, p->engines, p->load);
    for (size_t i = 0; i < n; i++) {
        const struct ek_sim_result *r = results[i];
        fprintf(to, "%s\n{\"policy\":\"%s\"", i ? "," : "", r->policy);
#define X(name, decimals, value) fprintf(to, ",\"" #name "\":%.*f", decimals, value);
        RUN_COLUMNS(X)
#undef X
        fputs(",\"tiers\":{", to);
        json_tier(to, "all", r, &r->all);
        for (uint32_t t = 0; t < s->tiers; t++) {
            fputc(',', to);
            json_tier(to, s->tier[t].name, r, &r->tier[t]);
        }
        fputs("}}", to);
    }
    fputs("]}\n", to);
}

void ek_sim_report_series(FILE *to, struct ek_sim_result *const *r, size_t n)
{
    fputs("policy,at_s,waiting,running,queued,arrived,finished,good,refused,left,thinking_percent,wait_s\n",
          to);
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < r[i]->points; k++) {
            const struct ek_sim_point *p = &r[i]->series[k];
            fprintf(to, "%s,%.0f,%u,%u,%u,%u,%u,%u,%u,%u,%u,%.2f\n", r[i]->policy, p->at_s, p->waiting,
                    p->running, p->queued, p->arrived, p->finished, p->good, p->refused, p->left,
                    p->percent, p->wait_s);
        }
}
