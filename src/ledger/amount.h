/* SPDX-License-Identifier: MIT */
/* Amounts as people write them. Pure, and exact: no float is near. */
#ifndef EK_LEDGER_AMOUNT_H
#define EK_LEDGER_AMOUNT_H

#include <stdbool.h>
#include <stdint.h>

/* "12.5" as nano-units: digits, at most nine of them behind the point; exact, never through a float. A minus
 * sign only where `sign`. */
bool ek_amount_parse(const char *text, bool sign, int64_t *nano);
/* The other way, into out: "12.5", no zeros at the end. */
#define EK_AMOUNT_BYTES 32u
const char *ek_amount_text(int64_t nano, char out[EK_AMOUNT_BYTES]);

#endif
