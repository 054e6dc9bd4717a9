/* SPDX-License-Identifier: MIT */
/* What the office is told: section `admin`. Plain data, filled by config (defaults, ranges, texts:
 * config/table.c). Durations are nanoseconds. */
#ifndef EK_OFFICE_OPTIONS_H
#define EK_OFFICE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* The office: admin API, codes, web hooks. Nothing of it without a ledger. */
struct ek_admin_section {
    const char *listen;      /* NULL: no admin API */
    const char *key;         /* file; NULL: beside a SQLite ledger */
    bool remote;             /* others than this machine may connect */
    bool codes;              /* POST /v1/redeem */
    const char *topup_hook;  /* files of secrets; NULL: no such hook */
    const char *stripe_hook;
    uint64_t hook_tolerance_ns;
};

#endif
