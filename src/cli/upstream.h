/* SPDX-License-Identifier: MIT */
/* The two halves of `evenkeel upstream`: upstream.c shows how a door's upstreams fare, upstream_probe.c asks
 * one who it is. Nothing else includes this. */
#ifndef EK_CLI_UPSTREAM_H
#define EK_CLI_UPSTREAM_H

#include "cli/cli.h"

enum { EK_EXIT_OTHER = 2 }; /* it was asked, and is another model */

struct ek_upstream_ask {
    const char *which; /* a URL, or a name in the file `config` */
    const char *config, *model, *dialect, *key_file, *against, *out; /* flags; NULL: not given */
};

int ek_cli_upstream_probe(const struct ek_upstream_ask *ask); /* the exit code */

#endif
