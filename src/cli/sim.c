/* SPDX-License-Identifier: MIT */
/* `evenkeel sim SCENARIO`: run the desk and its baselines on virtual time, print a table, write CSV,
 * JSON, the series and a plot where asked. Exits 1 when a file cannot be read or written, 77 (a skip)
 * when the scenario needs trace files and $EK_SHARED does not name their folder. */
#include "cli/cli.h"
#include "cli/fit.h"
#include "sim/report.h"
#include "sim/world.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_SKIP = 77 };

static const char usage[] =
    "evenkeel sim SCENARIO.yaml [OPTION]...\n"
    "  --policy NAME,NAME  only these: fcfs, cap, rpm, bands, vtc, refuse, desk\n"
    "  --set NAME=VALUE    change a member of the scenario; may be repeated\n"
    "  --csv FILE  --json FILE  --series FILE  --plot FILE.svg\n"
    "  --engine-from FROM  engines as a load report says: its file, or http://ADDRESS:PORT of an engine\n"
    "  --accuracy FILE     how right answers are at each thinking budget (bench/accuracy.py)\n"
    "  --quiet             no table\n"
    "Files under $EK_SHARED are found by that variable, or in ../shared.\n";

struct flags {
    const char *scenario;
    const char *csv, *json, *series, *plot, *accuracy, *engine_from;
    bool quiet;
};

static bool write_file(const char *path, void (*write)(FILE *to, void *arg), void *arg)
{
    FILE *to = fopen(path, "w");
    if (to) write(to, arg);
    bool ok = to && !ferror(to);
    if (to && fclose(to) != 0) ok = false;
    if (!ok) fprintf(stderr, "evenkeel sim: %s: %s\n", path, strerror(errno));
    return ok;
}

struct job {
    struct ek_sim_scenario s;
    struct ek_sim_plan plan;
    struct ek_sim_accuracy accuracy;
    struct ek_sim_result *result[EK_SIM_POLICIES_MAX];
    size_t n;
};

static void write_csv(FILE *to, void *arg)
{
    struct job *j = arg;
    ek_sim_report_csv(to, &j->s, j->result, j->n);
}

static void write_json(FILE *to, void *arg)
{
    struct job *j = arg;
    ek_sim_report_json(to, &j->s, &j->plan, j->result, j->n);
}

static void write_series(FILE *to, void *arg)
{
    struct job *j = arg;
    ek_sim_report_series(to, j->result, j->n);
}

static void write_plot(FILE *to, void *arg)
{
    struct job *j = arg;
    ek_sim_report_plot(to, &j->s, j->result, j->n);
}

static bool write_all(const struct flags *f, struct job *j)
{
    bool ok = true;
    if (f->csv) ok &= write_file(f->csv, write_csv, j);
    if (f->json) ok &= write_file(f->json, write_json, j);
    if (f->series) ok &= write_file(f->series, write_series, j);
    if (f->plot) ok &= write_file(f->plot, write_plot, j);
    return ok;
}

static void show_progress(double part)
{
    fprintf(stderr, "\r%3.0f %%", 100 * part);
}

static double cpu_s(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static bool run_all(struct job *j, char *why, size_t cap)
{
    bool watched = isatty(STDERR_FILENO) == 1;
    if (!ek_sim_plan_make(&j->plan, &j->s, why, cap)) return false;
    for (uint32_t i = 0; i < j->s.policies; i++) {
        double begun_s = cpu_s();
        struct ek_sim_result *r = ek_sim_run(&j->s, &j->plan, j->s.policy[i],
                                             watched ? show_progress : NULL, why, cap);
        if (!r) return false;
        j->result[j->n++] = r;
        /* On standard error: the table is the same bytes on every machine. */
        fprintf(stderr, "%s%s: %llu requests, %llu events, %.2f s of CPU\n", watched ? "\r" : "",
                r->policy, (unsigned long long)r->all.arrived, (unsigned long long)r->events,
                cpu_s() - begun_s);
    }
    return true;
}

static bool known_policies(const struct ek_sim_scenario *s, char *why, size_t cap)
{
    static const char *const names[] = {
#define NAME(symbol, text) #symbol,
        EK_SIM_POLICIES(NAME)
#undef NAME
    };
    for (uint32_t i = 0; i < s->policies; i++) {
        bool known = false;
        for (size_t k = 0; k < EK_COUNT(names); k++) known |= strcmp(s->policy[i], names[k]) == 0;
        if (known) continue;
        snprintf(why, cap, "there is no policy \"%s\"", s->policy[i]);
        return false;
    }
    return true;
}

/* Flags that change the scenario are applied in a second pass, when it has been read. */
static bool read_flags(struct flags *f, struct ek_sim_scenario *s, int argc, char **argv, char *why,
                       size_t cap)
{
    const struct ek_cli_flag flags[] = {
        {"--csv", .text = &f->csv}, {"--json", .text = &f->json}, {"--series", .text = &f->series},
        {"--plot", .text = &f->plot}, {"--policy", .member = "policies"},
        {"--engine-from", .text = &f->engine_from}, {"--accuracy", .text = &f->accuracy},
        {"--quiet", .on = &f->quiet}};
    return ek_cli_scenario_flags(flags, EK_COUNT(flags), &f->scenario, s, argc, argv, why, cap);
}

static const char *data_dir(void)
{
    const char *shared = getenv("EK_SHARED");
    if (shared && shared[0]) return shared;
    return access("../shared/traces", R_OK) == 0 ? "../shared" : NULL;
}

static int finish(struct job *j, int exit_code, const char *why)
{
    if (exit_code != 0) fprintf(stderr, "evenkeel sim: %s\n", why);
    for (size_t i = 0; i < j->n; i++) free(j->result[i]);
    ek_sim_plan_free(&j->plan);
    free(j);
    return exit_code;
}

int ek_cli_sim(int argc, char **argv)
{
    char why[700] = "";
    struct flags f = {0};
    if (argc == 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        fputs(usage, stdout);
        return 0;
    }
    if (!read_flags(&f, NULL, argc, argv, why, sizeof why) || !f.scenario) {
        fprintf(stderr, "evenkeel sim: %s\n%s", why[0] ? why : "which scenario?", usage);
        return EK_EXIT_USAGE;
    }
    struct job *j = calloc(1, sizeof *j);
    MUST(j);
    if (!ek_sim_scenario_read(&j->s, f.scenario, data_dir(), why, sizeof why) ||
        (f.engine_from && !ek_cli_fit_engine(&j->s, f.engine_from, why, sizeof why)) ||
        !read_flags(&f, &j->s, argc, argv, why, sizeof why) ||
        !known_policies(&j->s, why, sizeof why))
        return finish(j, EK_EXIT_USAGE, why);
    if (ek_sim_scenario_needs_data(&j->s))
        return finish(j, EXIT_SKIP, "SKIP: the trace files are missing; EK_SHARED names their folder");
    j->s.source.seed = j->s.seed;
    if (f.accuracy && !ek_sim_accuracy_read(&j->accuracy, f.accuracy, why, sizeof why))
        return finish(j, 1, why);
    if (!run_all(j, why, sizeof why)) return finish(j, 1, why);
    if (!f.quiet) {
        ek_sim_report_head(stdout, &j->s, &j->plan);
        ek_sim_report_table(stdout, &j->s, j->result, j->n);
        ek_sim_report_lent(stdout, &j->s, j->result, j->n);
        ek_sim_report_goodput(stdout, &j->s, j->result, j->n, &j->accuracy);
    }
    return finish(j, write_all(&f, j) ? 0 : 1, "not everything could be written");
}
