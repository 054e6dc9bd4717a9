/* SPDX-License-Identifier: MIT */
/* The subcommands. One file each; main.c has the table. argc and argv begin behind the subcommand's
 * name. The result is the exit code: 0, 1 when the thing asked for failed, EK_EXIT_USAGE when the
 * command line or the configuration was wrong. What a person asked for goes to standard output,
 * everything else to standard error. */
#ifndef EK_CLI_CLI_H
#define EK_CLI_CLI_H

#include "config/config.h"

enum { EK_EXIT_USAGE = 64 }; /* sysexits.h: EX_USAGE */

struct ek_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage; /* behind the name: "FILE [--flag]" */
    const char *text;  /* one sentence */
};

int ek_cli_serve(int argc, char **argv);
int ek_cli_check(int argc, char **argv);
int ek_cli_chat(int argc, char **argv);
int ek_cli_account(int argc, char **argv);
int ek_cli_key(int argc, char **argv);
int ek_cli_engine(int argc, char **argv);
int ek_cli_upstream(int argc, char **argv);
int ek_cli_load(int argc, char **argv);
int ek_cli_sim(int argc, char **argv);

/* Load the configuration of `serve` or `engine` from its flags, or do what the command line asked for
 * instead: print help, or all errors. Then the result is NULL and *exit_code is set. `usage` is the
 * first line of the help. */
struct ek_config *ek_cli_config(enum ek_program program, const char *usage, int argc, char **argv,
                                int *exit_code);

/* A flag of the commands that play a scenario: exactly one of the three is set. */
struct ek_cli_flag {
    const char *name;
    const char **text;  /* takes a value, kept here */
    bool *on;           /* takes none */
    const char *member; /* takes a value, for this member of the scenario */
};

struct ek_sim_scenario;

/* Read flags, any number of --set NAME=VALUE, and the scenario's path into *scenario. s NULL: the first
 * pass, before the scenario has been read; members are set in the second. false: `why` says what is wrong. */
bool ek_cli_scenario_flags(const struct ek_cli_flag *flags, size_t count, const char **scenario,
                           struct ek_sim_scenario *s, int argc, char **argv, char *why, size_t cap);

/* This process has secrets: it writes no core, and only root may look into it. (Not under AddressSanitizer,
 * whose search for leaks is such a look.) */
void ek_cli_keep_private(void);

/* An address of `listen` at which other machines reach a door that asks nobody for a key, and nobody has said
 * that it shall; NULL: there is none. The configuration's own text. */
const char *ek_cli_unguarded(const struct ek_config *c);

/* The absolute path of this very program, for starting it again as a child; false when unknown. */
bool ek_cli_self(char *out, size_t cap);

#endif
