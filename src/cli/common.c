/* SPDX-License-Identifier: MIT */
/* What several subcommands share: the configuration from their flags, the flags of a scenario, and the
 * program's own path. */
#include "cli/cli.h"

#include "sim/scenario.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#if defined(__has_feature)
#define HAS_FEATURE(x) __has_feature(x)
#else
#define HAS_FEATURE(x) 0
#endif

void ek_cli_keep_private(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !HAS_FEATURE(address_sanitizer)
    (void)prctl(PR_SET_DUMPABLE, 0);
#endif
}

static void print_help(enum ek_program program, const char *usage)
{
    struct ek_buf text = ek_buf_make(1 << 17);
    ek_config_manual(EK_MANUAL_FLAGS, program, &text);
    printf("%s\n\n%s", usage, ek_buf_cstr(&text));
    printf("\nEvery option of the file's sections is a flag too: --limits-body-bytes 1MiB. Lists are made\n"
           "by repeating the flag. evenkeel.yaml(5) tells more; `evenkeel check FILE.yaml --show` prints\n"
           "what would be in force.\n");
    ek_buf_free(&text);
}

struct ek_config *ek_cli_config(enum ek_program program, const char *usage, int argc, char **argv,
                                int *exit_code)
{
    MUST(usage);
    MUST(exit_code);
    struct ek_buf why = ek_buf_make(1 << 18);
    struct ek_config_source source = {.program = program, .argc = argc, .argv = argv};
    struct ek_config *config = NULL;

    enum ek_status s = ek_config_load(&source, &config, &why);
    if (s == EK_ABSENT) {
        print_help(program, usage);
    } else if (s != EK_OK) {
        fputs(ek_buf_cstr(&why), stderr);
    }
    *exit_code = s == EK_OK || s == EK_ABSENT ? 0 : EK_EXIT_USAGE;
    ek_buf_free(&why);
    return config;
}

bool ek_cli_self(char *out, size_t cap)
{
    MUST(cap > 1);
    ssize_t len = readlink("/proc/self/exe", out, cap - 1);
    if (len <= 0 || (size_t)len >= cap - 1) {
        *out = '\0';
        return false;
    }
    out[len] = '\0';
    return true;
}

static bool set_member(struct ek_sim_scenario *s, const char *text, char *why, size_t cap)
{
    char name[64];
    const char *equals = strchr(text, '=');
    if (equals && ek_str_copy(ek_str_make(text, (size_t)(equals - text)), name, sizeof name))
        return ek_sim_scenario_set(s, name, equals + 1, why, cap);
    snprintf(why, cap, "--set wants NAME=VALUE");
    return false;
}

bool ek_cli_scenario_flags(const struct ek_cli_flag *flags, size_t count, const char **scenario,
                           struct ek_sim_scenario *s, int argc, char **argv, char *why, size_t cap)
{
    for (int i = 0; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        const struct ek_cli_flag *f = NULL;
        for (size_t k = 0; k < count && !f; k++)
            if (strcmp(argv[i], flags[k].name) == 0 && (flags[k].on || value)) f = &flags[k];
        if (f && f->on) {
            *f->on = true;
        } else if (f) {
            if (f->text) *f->text = value;
            else if (s && !ek_sim_scenario_set(s, f->member, value, why, cap)) return false;
            i++;
        } else if (value && strcmp(argv[i], "--set") == 0) {
            if (s && !set_member(s, value, why, cap)) return false;
            i++;
        } else if (argv[i][0] != '-' && (!*scenario || *scenario == argv[i])) {
            *scenario = argv[i];
        } else {
            snprintf(why, cap, "what is \"%.100s\"?", argv[i]);
            return false;
        }
    }
    return true;
}
