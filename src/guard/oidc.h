/* SPDX-License-Identifier: MIT */
/* People who sign in elsewhere: bearer tokens of identity providers (OpenID Connect), accepted beside
 * keys. Owns the providers' published keys, which it fetches and renews, and a memory of tokens found
 * good, so that a caller's hundredth request costs one hash and no signature.
 *
 *      token ─ found good before? ─▶ yes: who
 *        └─ which issuer? ─ its keys are here? ─ check (guard/jwt.h) ─▶ who, or why not
 *                               no: fetch; 503, come back in a moment
 *
 * issuer:  NONE ──fetch──▶ [configuration ─▶] keys ──▶ HERE ──refresh, or a key nobody knows──▶ fetch ...
 *
 * Keys that cannot be renewed stay good for a day (EK_OIDC_STALE_NS), for an identity provider that is
 * away must not lock out everybody; a key that is withdrawn is refused one refresh later. Limits:
 * EK_OIDC_CHECKS_PER_S signatures a second (an eighth of the loop), one fetch for unknown keys in
 * EK_OIDC_COOLDOWN_NS. */
#ifndef EK_GUARD_OIDC_H
#define EK_GUARD_OIDC_H

#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/reason.h"
#include "config/config.h"
#include "http/exchange.h"

#define EK_OIDC_ISSUERS_MAX 8u
#define EK_OIDC_REMEMBERED_MAX 4096u
#define EK_OIDC_CHECKS_PER_S 500u
#define EK_OIDC_COOLDOWN_NS (30 * EK_S_NS)
#define EK_OIDC_STALE_NS (24 * 3600 * EK_S_NS)

struct ek_oidc;

/* Fetching begins at once. The configuration is held; the other three must outlive it. */
struct ek_oidc *ek_oidc_new(struct ek_loop *loop, struct ek_exchange_client *client, struct ek_log *log,
                            struct ek_config *config);
void ek_oidc_free(struct ek_oidc **o);

struct ek_oidc_answer {
    enum ek_reason reason; /* NONE, TOKEN_INVALID, TOKEN_KEYS (the keys are being fetched), TOKEN_BUSY */
    const char *why;       /* TOKEN_INVALID: the end of a sentence, for the caller; a constant */
    const char *account;   /* with the prefix; valid until the next call */
    const char *tier;      /* the configuration's */
    bool strangers;        /* one without an account in the ledger is served all the same */
};

/* Only for what looks like a token (ek_jwt_looks_like). */
struct ek_oidc_answer ek_oidc_check(struct ek_oidc *o, struct ek_str token, struct ek_now now);

struct ek_oidc_counters {
    uint64_t good, remembered, refused, checks_full;
    uint64_t fetches, fetch_failures;
    uint32_t issuers, ready; /* with keys */
};
void ek_oidc_counters(const struct ek_oidc *o, struct ek_oidc_counters *out);

#endif
