/* SPDX-License-Identifier: MIT */
/* Who is asking? From the static key list of the configuration, or open access. Keys of the ledger are
 * found beside them (door/money.h), and said through the same struct. */
#ifndef EK_GUARD_IDENTITY_H
#define EK_GUARD_IDENTITY_H

#include "base/reason.h"
#include "base/str.h"
#include "config/config.h"

#include <stdint.h>

/* Names point into the configuration snapshot, or into the keyring: copy what outlives the call they were
 * asked in. `tier` is an index into the snapshot's tier list. */
struct ek_identity {
    const char *account;
    const char *key;  /* the key's name, never the key */
    const char *user; /* fixed by the key; NULL: what the request says */
    uint32_t tier;
    bool proven;      /* false: anonymous, or a key marked so; shares its part with its address */
    bool listed;      /* a key of the static list */
    uint64_t ledger_account, ledger_key; /* numbers in the ledger; 0: of none, nobody is charged */
    uint64_t window;  /* whose rates are counted: the account's number, or a hash with the top bit set */
    struct ek_str peer; /* the caller's address, as long as the head is there; "proxy": not known */
    const char *why;  /* TOKEN_INVALID: the end of a sentence; a constant */
};

/* authorization: the header's value, empty when absent; count: how often the header occurred.
 * peer: "127.0.0.1", "unix", ... EK_REASON_NONE and *out filled, or why not. The comparison takes the
 * same time wherever and whether a key matches. */
enum ek_reason ek_identify(const struct ek_config *c, struct ek_str authorization, size_t count,
                           struct ek_str peer, struct ek_identity *out);

/* Whose it is, as a number: what it may read, whose line and cache it shares. Accounts of the ledger are
 * known by their number, for people choose their names; others by the name that the configuration gives. */
uint64_t ek_identity_owner(const struct ek_identity *who, uint64_t seed);

/* The token behind "Bearer ", blanks skipped; empty when the header says something else. */
struct ek_str ek_identity_token(struct ek_str authorization);

#endif
