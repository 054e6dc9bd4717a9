/* SPDX-License-Identifier: MIT */
/* Codes that people are given: an invitation makes an account with its first key, a voucher pays into an
 * account that exists. Synchronous, like ledger.h, and with its statuses.
 *
 *   stored    "ek-invite-..." or "ek-voucher-...": 192 random bits, shown once; the table keeps their
 *             keyed hash (secret.h), so that who reads the database can redeem nothing. Up to `uses` times,
 *             a voucher once an account.
 *   signed    "ek-signed-...": an invitation that says by itself what it is worth, with a MAC under a key
 *             derived from the installation's secret. Making one needs no database; redeeming it is
 *             remembered by its nonce, once.
 *
 *      payload of a signed one:  1 | expires_s u64 | granted u64 | topped u64 | nonce 16 | tier, to the end
 *      (big endian), then BLAKE2b-256 of it, all in base64url without padding
 *
 * Which of unknown, used up, expired or of the other kind a refused code was, nobody is told. */
#ifndef EK_LEDGER_CODES_H
#define EK_LEDGER_CODES_H

#include "ledger/people.h"

#define EK_CODE_BYTES 208u /* room for any code's text with its NUL */

enum ek_code_kind { EK_CODE_INVITATION, EK_CODE_VOUCHER };

struct ek_code {
    uint64_t id;
    enum ek_code_kind kind;
    struct ek_money amount;   /* neither part negative */
    uint64_t uses;            /* left; of a new one 1 to INT32_MAX */
    uint64_t expires_unix_ns; /* 0: never */
    uint64_t created_unix_ns;
    char tier[EK_LEDGER_NAME_MAX + 1]; /* of the accounts an invitation makes */
    char note[EK_LEDGER_NOTE_MAX];
};

typedef void ek_code_fn(void *arg, const struct ek_code *code);

/* Store a new code as `want` says (id and created are set). EK_INVALID: no tier, no amount, no uses. */
EK_CHECKED enum ek_status ek_code_add(struct ek_ledger *l, const struct ek_secret *secret,
                                      struct ek_code *want, char text[EK_CODE_BYTES]);
/* A signed invitation of one use; pure but for randomness. EK_INVALID as above, or no expiry: one that
 * is lost cannot be taken back. */
EK_CHECKED enum ek_status ek_code_sign(const struct ek_secret *secret, const struct ek_code *want,
                                       char text[EK_CODE_BYTES]);
/* Codes with uses left or without, in the order of their ids, behind the id `after`. */
EK_CHECKED enum ek_status ek_code_list(struct ek_ledger *l, uint64_t after, uint64_t max, ek_code_fn *fn,
                                       void *arg);
/* It has no uses left from now on. EK_ABSENT: it had none. */
EK_CHECKED enum ek_status ek_code_withdraw(struct ek_ledger *l, uint64_t id);

struct ek_redeemed {
    uint64_t account, key, code; /* code 0: a signed one */
    struct ek_money amount;
    char tier[EK_LEDGER_NAME_MAX + 1];
    char token[EK_TOKEN_BYTES]; /* of an invitation: the first key, to be shown once; wipe it */
};

/* An invitation, for a new account of that name: the account, its first key and its gift in one
 * transaction. EK_ABSENT: the code is refused; EK_INVALID: the name exists or is none. */
EK_CHECKED enum ek_status ek_code_join(struct ek_ledger *l, const struct ek_secret *secret,
                                       struct ek_str code, const char *name, struct ek_redeemed *out);
/* A voucher, for this account. EK_ABSENT: the code is refused, or no such account; EK_FULL: this account
 * has had it; EK_INVALID: the account cannot hold so much. */
EK_CHECKED enum ek_status ek_code_redeem(struct ek_ledger *l, const struct ek_secret *secret,
                                         struct ek_str code, uint64_t account, struct ek_redeemed *out);

#endif
