/* SPDX-License-Identifier: MIT */
/* What the journal is told: section `journal` of the YAML file. Plain data, filled by config (defaults,
 * ranges, texts: config/table.c). Durations are nanoseconds. */
#ifndef EK_JOURNAL_OPTIONS_H
#define EK_JOURNAL_OPTIONS_H

#include <stdint.h>

struct ek_journal_options {
    const char *dir;    /* NULL: no journal */
    uint64_t bytes_max; /* of all its files together */
    uint64_t ttl_ns;    /* a record is erased so long after it was written, whatever became of it */
    uint64_t fsync_ns;  /* longest time a record is only in the system's memory; 0: never so */
};

#endif
