/* SPDX-License-Identifier: MIT */
/* Accounts out of one ledger and into another, as JSON lines: an account a line, with its limits, its
 * balance to the nano-unit (granted and topped up apart) and its keys as hashes, which are worth
 * something only where the installation's secret is the same. History stays where it was: what an account
 * has becomes its first payment in the new ledger, under a name that follows from the account's id, so
 * that a line read twice is read once.
 *
 *   {"v":1,"id":"...","name":"ann","tier":"gold","state":"active","created_ns":"...",
 *    "balance":{"granted_nano":"0","topped_nano":"12500000000"},"limits":{...},"models":"","addresses":"",
 *    "keys":[{"id":"...","name":"laptop","end_user":"","hash":"<64 hex>","created_ns":"...",
 *             "expires_ns":"0","revoked_ns":"0"}]}
 *
 * Numbers of 64 bits are strings: half the world's JSON readers would round them. What doors hold on lease is
 * part of the balance. An export of an import is the same text. */
#ifndef EK_LEDGER_TRANSFER_H
#define EK_LEDGER_TRANSFER_H

#include "base/buf.h"
#include "ledger/people.h"

#define EK_TRANSFER_KEYS_MAX 10000u          /* of one account */
#define EK_TRANSFER_LINE_BYTES_MAX (4u << 20)

/* Up to max accounts behind the name `after`, a line each, into out; last: the name of the last one, "" when
 * there was none. EK_FULL: `out` cannot hold it. */
EK_CHECKED enum ek_status ek_transfer_out(struct ek_ledger *l, const char *after, uint64_t max,
                                          struct ek_buf *out, char last[EK_LEDGER_NAME_MAX + 1],
                                          uint64_t *count);

/* One line. EK_OK: the account is there as the line says; *before: it was already (its limits and keys, which
 * may have changed since, are left alone). EK_INVALID: the line is none, or the name, the id or a key
 * belongs to something else here; why says which. */
EK_CHECKED enum ek_status ek_transfer_in(struct ek_ledger *l, struct ek_str line, bool *before, char *why,
                                         size_t cap);

#endif
