/* SPDX-License-Identifier: MIT */
/* Web hooks that say "somebody has paid": is the message really from who may say so, and what does it
 * pay? Pure.
 *
 * Signature (Stripe's scheme, docs.stripe.com/webhooks, "Verify webhook signatures manually"; ours is the
 * same):
 *
 *      Stripe-Signature: t=1492774577,v1=5257a869...,v1=...,v0=...
 *      v1 = hex(HMAC-SHA256(secret, t "." body)), the secret as it is shown, "whsec_" and all
 *
 * One of the v1 must fit one of our secrets (several while one is being replaced on either side), and t
 * must be within the tolerance of now, either way. A message repeated within that is stopped by its
 * payment's name. */
#ifndef EK_OFFICE_HOOK_H
#define EK_OFFICE_HOOK_H

#include "base/buf.h"
#include "base/reason.h"

#include <stdbool.h>

#define EK_HOOK_SECRETS_MAX 4u
#define EK_HOOK_SECRET_BYTES 256u      /* of one, with its NUL */
#define EK_HOOK_HEADER_BYTES_MAX 2048u
#define EK_HOOK_SIGNATURES_MAX 8u      /* v1 looked at in one header */
#define EK_HOOK_BODY_BYTES_MAX (256u << 10)
#define EK_HOOK_NAME_BYTES 256u

struct ek_hook_secrets {
    size_t count;
    char text[EK_HOOK_SECRETS_MAX][EK_HOOK_SECRET_BYTES];
};

/* The secrets of a file, one a line, at least 16 characters each; the file must be its owner's alone.
 * false and a sentence otherwise. */
bool ek_hook_secrets_read(const char *path, struct ek_hook_secrets *out, char *why, size_t cap);

/* NONE: signed, and lately. Else HOOK_SIGNATURE or HOOK_STALE. Takes the same time for every wrong
 * signature. */
enum ek_reason ek_hook_check(struct ek_str header, struct ek_str body, const struct ek_hook_secrets *secrets,
                             uint64_t now_unix_s, uint64_t tolerance_s);

/* What a message asks for. */
struct ek_hook_payment {
    bool pays;                         /* false: nothing to do, and that is well */
    char account[EK_HOOK_NAME_BYTES];
    char name[EK_HOOK_NAME_BYTES];     /* of the payment: the same one again is not another one */
    struct ek_buf body;                /* of the top-up, as the admin API takes it */
};

/* Stripe's event; `currency` is the ledger's. Paid are checkout.session.completed with payment_status
 * paid, and checkout.session.async_payment_succeeded; the account is metadata.account, else
 * client_reference_id. NONE, or BAD_JSON, MISSING_PARAM, BAD_VALUE with a sentence. Free out->body after
 * either. */
enum ek_reason ek_hook_stripe(struct ek_str body, const char *currency, struct ek_hook_payment *out,
                              char *why, size_t cap);
/* Ours: {"id":"...","account":"ann","amount":"12.5","gift":false,"note":"..."}; id, account and amount
 * are a must. */
enum ek_reason ek_hook_topup(struct ek_str body, struct ek_hook_payment *out, char *why, size_t cap);

#endif
