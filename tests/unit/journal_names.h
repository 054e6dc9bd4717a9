/* SPDX-License-Identifier: MIT */
/* Names of records for tests and benches of the journal: a number, spread over the key and found again. */
#ifndef EK_TEST_JOURNAL_NAMES_H
#define EK_TEST_JOURNAL_NAMES_H

#include "journal/journal.h"

#include <string.h>

static inline struct ek_journal_name name_of(uint32_t n)
{
    struct ek_journal_name name = {.part = 0};
    uint64_t h = (n + 1) * 0x9e3779b97f4a7c15ull;
    memcpy(name.key, &h, sizeof h);
    memcpy(name.key + 8, &n, sizeof n);
    return name;
}

#endif
