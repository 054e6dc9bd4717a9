/* SPDX-License-Identifier: MIT */
/* The program: finds the subcommand in the table and runs it. */
#include "cli/cli.h"

#include "base/reason.h"
#include "config/option.h"

#include <sodium.h>
#include <stdio.h>

static int run_help(int argc, char **argv);
static int run_version(int argc, char **argv);

static const struct ek_command commands[] = {
    {"serve", ek_cli_serve, "--model FILE | --upstream URL", "Open the door."},
    {"engine", ek_cli_engine, "--model FILE", "Serve one model file, without a door."},
    {"chat", ek_cli_chat, "[PROMPT]", "Talk with a server in the terminal."},
    {"check", ek_cli_check, "FILE", "Check a configuration or a model file, and name every error."},
    {"account", ek_cli_account, "add|show|topup|...", "Accounts of the ledger: money, limits, invitations."},
    {"key", ek_cli_key, "NAME | add|list|...", "Make a key, for the configuration or in the ledger."},
    {"upstream", ek_cli_upstream, "list | probe NAME|URL", "How upstreams fare, and who they are."},
    {"load", ek_cli_load, "SCENARIO", "Send a scenario's clients to a live server, and measure."},
    {"sim", ek_cli_sim, "SCENARIO", "Try a policy on virtual time, beside others."},
    {"version", run_version, "", "Print the version."},
    {"help", run_help, "[COMMAND]", "Print this, or the help of a command."},
};

static const char *command_name(const void *ctx, size_t index)
{
    (void)ctx;
    return index < EK_COUNT(commands) ? commands[index].name : NULL;
}

static const struct ek_command *find_command(const char *name)
{
    for (size_t i = 0; i < EK_COUNT(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    }
    return NULL;
}

static void print_overview(FILE *to)
{
    fprintf(to, "evenkeel " EK_VERSION ": serves reasoning models to more people than fit at once\n\n");
    for (size_t i = 0; i < EK_COUNT(commands); i++) {
        char call[64];
        snprintf(call, sizeof(call), "evenkeel %s %s", commands[i].name, commands[i].usage);
        fprintf(to, "  %-44s %s\n", call, commands[i].text);
    }
    fprintf(to, "\nevenkeel(1) and evenkeel.yaml(5) tell more.\n");
}

static int unknown_command(const char *name)
{
    const char *near = ek_suggest(ek_str_of(name), command_name, NULL);
    fprintf(stderr, "evenkeel: there is no command \"%.100s\"", name);
    if (near) {
        fprintf(stderr, ", did you mean %s?\n", near);
    } else {
        fprintf(stderr, "; evenkeel help lists them\n");
    }
    return EK_EXIT_USAGE;
}

/* The pages that are made from the tables of options and reasons: for `make docs`, not for people. */
static int print_manual(enum ek_config_manual form)
{
    struct ek_buf text = ek_buf_make(1 << 18);
    ek_config_manual(form, EK_PROGRAM_SERVE, &text);
    fputs(ek_buf_cstr(&text), stdout);
    ek_buf_free(&text);
    return 0;
}

static int print_reasons(void)
{
    struct ek_buf text = ek_buf_make(1 << 18);
    ek_reason_markdown(&text);
    fputs(ek_buf_cstr(&text), stdout);
    ek_buf_free(&text);
    return 0;
}

static int run_help(int argc, char **argv)
{
    if (argc == 1 && strcmp(argv[0], "--markdown-errors") == 0) return print_reasons();
    if (argc == 1 && strcmp(argv[0], "--man-options") == 0) return print_manual(EK_MANUAL_ROFF);
    if (argc == 1 && strcmp(argv[0], "--markdown-options") == 0) {
        return print_manual(EK_MANUAL_MARKDOWN);
    }
    const struct ek_command *c = argc == 1 ? find_command(argv[0]) : NULL;
    if (c && c->run != run_help && c->run != run_version) {
        char *asked[] = {(char[]){"--help"}, NULL};
        return c->run(1, asked);
    }
    if (argc == 1 && !c) return unknown_command(argv[0]);
    print_overview(stdout);
    return 0;
}

static int run_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("evenkeel " EK_VERSION "\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (sodium_init() < 0) {
        fprintf(stderr, "evenkeel: the system gives no randomness\n");
        return 1;
    }
    if (argc < 2) {
        print_overview(stderr);
        return EK_EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        name = "help";
    } else if (strcmp(name, "--version") == 0) {
        name = "version";
    }
    const struct ek_command *c = find_command(name);
    if (!c) return unknown_command(name);
    return c->run(argc - 2, argv + 2);
}
