/* SPDX-License-Identifier: MIT */
/* A simulated engine fitted to a real one: from its load report (docs/wire.md, GET /load), in a
 * file or fetched. */
#ifndef EK_CLI_FIT_H
#define EK_CLI_FIT_H

#include "base/must.h"

#include <stdbool.h>
#include <stddef.h>

struct ek_sim_scenario;

/* from: a file, or http://ADDRESS:PORT (its /load is asked for). Sets slots and memory, the time to read a
 * token, and, by least squares over the batches it has seen, step_s and stream_s; what the report does not
 * say stays as the scenario has it. false: `why` says what is wrong. */
bool ek_cli_fit_engine(struct ek_sim_scenario *s, const char *from, char *why, size_t cap) EK_CHECKED;

#endif
