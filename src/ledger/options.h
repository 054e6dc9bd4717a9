/* SPDX-License-Identifier: MIT */
/* What a door is told of its ledger: section `ledger`. Plain data, filled by config (defaults, ranges,
 * texts: config/table.c). Durations are nanoseconds. */
#ifndef EK_LEDGER_OPTIONS_H
#define EK_LEDGER_OPTIONS_H

#include <stdint.h>

struct ek_ledger_section {
    const char *url;      /* sql.h; NULL: no ledger, nobody is charged */
    const char *secret;   /* file of the secret of keys; NULL: beside SQLite, else the environment */
    const char *spool;    /* file; NULL: beside SQLite */
    uint64_t spool_bytes;
    const char *door;     /* this door's name among those that share the ledger; NULL: the host's */
    uint64_t lease_ns;
    const char *redis;    /* address; NULL: windows are this door's own */
    const char *redis_prefix; /* never NULL */
    const char *currency;     /* never NULL */
    const char *top_up;       /* a sentence for those who must pay: where; NULL: none */
};

#endif
