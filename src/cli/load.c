/* SPDX-License-Identifier: MIT */
/* `evenkeel load SCENARIO`: reads the command line, lets the clients of the scenario come, and prints what
 * they met in the table of `evenkeel sim`. */
#include "cli/load.h"

#include "cli/cli.h"
#include "sim/file.h"
#include "sim/report.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#define TICK_NS EK_S_NS

static const char usage[] =
    "evenkeel load SCENARIO.yaml [OPTION]...\n"
    "  --url URL          the server (http://127.0.0.1:8080)\n"
    "  --model NAME       asked for; without it none is named, and a server of one model answers with that\n"
    "  --keys FILE        lines \"TIER KEY\"; the keys of a tier are dealt to its accounts\n"
    "  --questions FILE   lines {\"question\": ...} to ask instead of words at random, greedily\n"
    "  --answers FILE     write each whole answer to it, a JSON object a line\n"
    "  --no-retries       nobody comes again when refused\n"
    "  --drain SECONDS    how long to wait for answers after the last arrival (120)\n"
    "  --set NAME=VALUE   change a member of the scenario (rate, until_s, speed, ...); may be repeated\n"
    "  --csv FILE  --series FILE  --plot FILE.svg\n"
    "Open loop: requests come when the scenario says, whether or not earlier ones were answered.\n";

struct flags {
    const char *scenario, *url, *model, *keys, *csv, *series, *plot, *drain, *questions, *answers;
    bool no_retries;
};

/* ---- the run -------------------------------------------------------------------------------------- */

static double at_s(const struct ek_loading *l)
{
    return (double)ek_ns_since(ek_loop_now(l->loop).mono_ns, l->begin_ns) * 1e-9;
}

static void next_arrival(struct ek_loading *l)
{
    l->over = !l->source->next(l->source, &l->coming);
    if (!l->over) {
        ek_timer_set(l->loop, &l->arrive, l->begin_ns + l->coming.at_ns);
        return;
    }
    ek_timer_set(l->loop, &l->cut, ek_loop_now(l->loop).mono_ns + (uint64_t)(l->s.drain_s * 1e9));
    if (l->live == 0) ek_loop_stop(l->loop);
}

static void arrive(struct ek_timer *t)
{
    struct ek_loading *l = EK_CONTAINER(t, struct ek_loading, arrive);
    uint64_t now_ns = ek_loop_now(l->loop).mono_ns;
    /* All that are due: a late timer must not thin the load. */
    while (!l->over && l->begin_ns + l->coming.at_ns <= now_ns) {
        ek_load_arrive(l, &l->coming);
        next_arrival(l);
    }
}

static void cut(struct ek_timer *t)
{
    struct ek_loading *l = EK_CONTAINER(t, struct ek_loading, cut);
    ek_load_cut(l);
    ek_loop_stop(l->loop);
}

static void tick(struct ek_timer *t)
{
    struct ek_loading *l = EK_CONTAINER(t, struct ek_loading, tick);
    struct ek_sim_point *p = &l->point;
    p->at_s = at_s(l);
    p->waiting = l->waiting;
    p->running = l->running;
    p->percent = 100;
    p->wait_s = l->point_starts ? l->point_wait_s / l->point_starts : 0;
    if (l->r->points < EK_SIM_SERIES_MAX) l->r->series[l->r->points++] = *p;
    if (isatty(STDERR_FILENO) == 1)
        fprintf(stderr, "\r%6.0f s  %u waiting  %u answering  %u finished/s  %u refused/s   ", p->at_s,
                p->waiting, p->running, p->finished, p->refused);
    *p = (struct ek_sim_point){0};
    l->point_wait_s = 0;
    l->point_starts = 0;
    ek_sim_fair_tick(&l->fair, at_s(l));
    ek_timer_set(l->loop, &l->tick, ek_loop_now(l->loop).mono_ns + TICK_NS);
}

static void run(struct ek_loading *l)
{
    const struct ek_exchange_options options = {.ca_file = getenv("SSL_CERT_FILE")};
    l->loop = ek_loop_new();
    l->client = ek_exchange_client_new(l->loop, &options);
    ek_timer_init(&l->arrive, arrive);
    ek_timer_init(&l->tick, tick);
    ek_timer_init(&l->cut, cut);
    ek_list_init(&l->all);
    ek_sim_fair_init(&l->fair, l->plan.accounts, l->plan.accounts, l->plan.tier_of);
    l->random = ek_random_make(l->s.seed ^ 0x5eedull);
    l->begin_ns = ek_loop_now(l->loop).mono_ns;
    next_arrival(l);
    ek_timer_set(l->loop, &l->tick, l->begin_ns + TICK_NS);
    ek_loop_run(l->loop);
    l->r->span_s = l->plan.span_s;
    ek_sim_fair_result(&l->fair, &l->r->fair);
    ek_timer_clear(l->loop, &l->arrive);
    ek_timer_clear(l->loop, &l->tick);
    ek_timer_clear(l->loop, &l->cut);
    ek_exchange_client_free(&l->client);
    ek_loop_free(&l->loop);
    ek_sim_fair_free(&l->fair);
}

/* ---- what is asked for ----------------------------------------------------------------------------- */

static bool read_keys(struct ek_loading *l, const char *path, char *why, size_t cap)
{
    struct ek_sim_file f;
    struct ek_str line;
    bool ok = true;
    if (!ek_sim_file_read(&f, path, why, cap)) return false;
    l->key = calloc(EK_LOAD_KEYS_MAX, sizeof *l->key);
    MUST(l->key);
    while (ok && ek_sim_file_line(&f, &line)) {
        if (line.len == 0 || line.data[0] == '#') continue;
        const char *blank = memchr(line.data, ' ', line.len);
        size_t n = blank ? (size_t)(blank - line.data) : 0;
        struct ek_str name = ek_str_make(line.data, n);
        uint32_t tier = 0;
        while (tier < l->s.tiers && !ek_str_eq(name, ek_str_of(l->s.tier[tier].name)))
            tier++;
        ok = blank && tier < l->s.tiers && l->keys < EK_LOAD_KEYS_MAX;
        if (!ok) break;
        struct ek_loading_key *k = &l->key[l->keys++];
        k->tier = tier;
        ok = ek_str_copy(ek_str_skip(line, n + 1), k->key, sizeof k->key);
    }
    if (!ok)
        snprintf(why, cap, "%.300s:%u: \"TIER KEY\" is wanted, with a tier of the scenario", path, f.line);
    ek_sim_file_free(&f);
    return ok;
}

static bool read_flags(struct flags *f, struct ek_sim_scenario *s, int argc, char **argv, char *why,
                       size_t cap)
{
    const struct ek_cli_flag flags[] = {
        {"--url", .text = &f->url}, {"--model", .text = &f->model}, {"--keys", .text = &f->keys},
        {"--csv", .text = &f->csv}, {"--series", .text = &f->series}, {"--plot", .text = &f->plot},
        {"--questions", .text = &f->questions}, {"--answers", .text = &f->answers},
        {"--drain", .text = &f->drain}, {"--no-retries", .on = &f->no_retries}};
    return ek_cli_scenario_flags(flags, EK_COUNT(flags), &f->scenario, s, argc, argv, why, cap);
}

static bool prepare(struct ek_loading *l, struct flags *f, int argc, char **argv, char *why,
                    size_t cap)
{
    struct ek_sim_scenario *s = &l->s;
    double drain_s = 120;
    const char *shared = getenv("EK_SHARED");
    if (!shared || !*shared) shared = "../shared";
    if (!ek_sim_scenario_read(s, f->scenario, shared, why, cap)) return false;
    if (!read_flags(f, s, argc, argv, why, cap)) return false;
    if (f->drain && !ek_sim_number(ek_str_of(f->drain), &drain_s)) drain_s = -1;
    if (drain_s < 0 || drain_s > 1e6 || strlen(f->model) > 128 || strpbrk(f->model, "\"\\")) {
        snprintf(why, cap, "--drain wants seconds, --model a plain name");
        return false;
    }
    if (*f->model) snprintf(l->model_member, sizeof l->model_member, "\"model\":\"%s\",", f->model);
    s->drain_s = drain_s;
    s->source.seed = s->seed;
    l->retry = !f->no_retries;
    if (ek_exchange_target_parse(ek_str_of(f->url), &l->target, why, cap) != EK_OK) return false;
    if (f->keys && !read_keys(l, f->keys, why, cap)) return false;
    if (f->questions && !ek_load_questions_read(l, f->questions, why, cap)) return false;
    l->answers = f->answers ? fopen(f->answers, "w") : NULL;
    if (f->answers && (!l->answers || !l->questions)) {
        snprintf(why, cap, "--answers wants a file that can be written, and --questions");
        return false;
    }
    if (!ek_sim_plan_make(&l->plan, s, why, cap)) return false;
    l->source = ek_sim_source_open(&s->source, why, cap);
    return l->source != NULL;
}

/* ---- the report ------------------------------------------------------------------------------------ */

static bool write_one(const char *path, int what, struct ek_loading *l)
{
    FILE *to = fopen(path, "w");
    if (!to) {
        perror(path);
        return false;
    }
    if (what == 0) ek_sim_report_csv(to, &l->s, &l->r, 1);
    if (what == 1) ek_sim_report_series(to, &l->r, 1);
    if (what == 2) ek_sim_report_plot(to, &l->s, &l->r, 1);
    return fclose(to) == 0;
}

static void print_row(const char *name, const struct ek_sim_tier_result *t)
{
    printf("%-9s %7.2f %7.2f %7.2f %7.2f %7.2f %7.1f %7.1f %7llu %7.2f ", name,
           ek_sim_sketch_quantile(&t->ttft, 0.5), ek_sim_sketch_quantile(&t->ttft, 0.9),
           ek_sim_sketch_quantile(&t->answer, 0.5), ek_sim_sketch_quantile(&t->answer, 0.9),
           ek_sim_sketch_quantile(&t->answer, 0.99), 1e3 * ek_sim_sketch_quantile(&t->itl, 0.5),
           1e3 * ek_sim_sketch_quantile(&t->itl, 0.99), (unsigned long long)t->truth.shown,
           ek_sim_result_amplification(t));
    const char *comma = " ";
    for (int k = 0; k < EK_REASON_COUNT; k++) {
        if (t->refusals[k] == 0) continue;
        printf("%s%s %llu", comma, ek_reason_code((enum ek_reason)k), (unsigned long long)t->refusals[k]);
        comma = ", ";
    }
    puts(comma[0] == ' ' ? " none" : "");
}

/* What the table of the simulator has no columns for. */
static void print_people(const struct ek_loading *l)
{
    printf("\n%-9s %7s %7s %7s %7s %7s %7s %7s %7s %7s  refusals of attempts, by reason\n", "tier",
           "first50", "first90", "answ50", "answ90", "answ99", "itl50ms", "itl99ms", "told", "tries");
    print_row("all", &l->r->all);
    for (uint32_t t = 0; t < l->s.tiers; t++) print_row(l->s.tier[t].name, &l->r->tier[t]);
    printf("first: first token, thought or answer; answ: first token of the answer, s; %llu answers broke "
           "off\n", (unsigned long long)l->failed);
    if (l->unreached) printf("%llu attempts reached nobody\n", (unsigned long long)l->unreached);
}

static int report(struct ek_loading *l, const struct flags *f)
{
    bool ok = true;
    if (l->heads == 0 && l->unreached > 0) { /* a table of nothing would say that all were refused */
        fprintf(stderr, "evenkeel load: nobody answers at %s\n", f->url);
        return 1;
    }
    ek_sim_result_sum(l->r);
    printf("%s, live at %s: %llu requests in %.0f s\n\n", l->s.name, f->url,
           (unsigned long long)l->r->all.arrived, l->plan.span_s);
    ek_sim_report_table(stdout, &l->s, &l->r, 1);
    print_people(l);
    if (f->csv) ok &= write_one(f->csv, 0, l);
    if (f->series) ok &= write_one(f->series, 1, l);
    if (f->plot) ok &= write_one(f->plot, 2, l);
    return ok ? 0 : 1;
}

int ek_cli_load(int argc, char **argv)
{
    char why[700] = "";
    struct flags f = {.url = "http://127.0.0.1:8080", .model = ""};
    if (argc == 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        fputs(usage, stdout);
        return 0;
    }
    if (!read_flags(&f, NULL, argc, argv, why, sizeof why) || !f.scenario) {
        fprintf(stderr, "evenkeel load: %s\n%s", why[0] ? why : "which scenario?", usage);
        return EK_EXIT_USAGE;
    }
    struct ek_loading *l = calloc(1, sizeof *l);
    MUST(l);
    l->r = calloc(1, sizeof *l->r);
    MUST(l->r);
    int code = EK_EXIT_USAGE;
    if (prepare(l, &f, argc, argv, why, sizeof why)) {
        l->r->policy = "live";
        l->r->tiers = l->s.tiers;
        l->r->settle_s = l->r->overshoot = l->r->back_s = l->r->split_part = -1;
        run(l);
        code = report(l, &f);
    } else {
        fprintf(stderr, "evenkeel load: %s\n", why);
    }
    if (l->source) l->source->free(l->source);
    ek_sim_plan_free(&l->plan);
    ek_load_questions_free(l);
    free(l->key);
    free(l->r);
    free(l);
    return code;
}
