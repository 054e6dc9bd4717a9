/* SPDX-License-Identifier: MIT */
/* Who is asking? Every account and key of the ledger, in memory: one look-up a request, no I/O, and no clock
 * by which to guess keys. Owned by the loop; fed with the rows that have changed (people.h), so that a key
 * revoked anywhere is refused here one refresh later.
 *
 *      token ─BLAKE2b, keyed─▶ hash ─▶ map ─▶ key ─▶ account
 *
 * Look-up: the place in the table depends on the keyed hash only, which nobody outside can compute, and the
 * whole hash is compared in constant time, against a dummy where there is no candidate: an unknown key and
 * a known one differ in nothing that could be measured from outside and used. */
#ifndef EK_LEDGER_KEYRING_H
#define EK_LEDGER_KEYRING_H

#include "base/reason.h"
#include "ledger/people.h"

struct ek_keyring;

/* secret is copied. seed: of the hash table of accounts. NULL: no memory. */
struct ek_keyring *ek_keyring_new(const struct ek_secret *secret, uint64_t seed);
void ek_keyring_free(struct ek_keyring **k);

/* A row that is new or has changed; older versions than the one held are ignored. EK_NOMEM: left as it
 * was. A key whose account is unknown is refused when used. */
EK_CHECKED enum ek_status ek_keyring_account(struct ek_keyring *k, const struct ek_account_row *row);
EK_CHECKED enum ek_status ek_keyring_key(struct ek_keyring *k, const struct ek_key_row *row);

/* The version up to which everything was fed in: what to ask people.h for next. */
uint64_t ek_keyring_accounts_version(const struct ek_keyring *k);
uint64_t ek_keyring_keys_version(const struct ek_keyring *k);
uint64_t ek_keyring_keys(const struct ek_keyring *k);
/* Accounts can be found by name from now on; before the first row is fed in. */
void ek_keyring_keep_names(struct ek_keyring *k);
uint64_t ek_keyring_bytes(const struct ek_keyring *k); /* of memory, by its own count */

/* An account and the key that was shown. Strings and limits belong to the keyring: valid until the next row
 * is fed in; copy what is kept longer. */
struct ek_caller {
    uint64_t account, key;
    const char *account_name, *key_name, *tier;
    const char *end_user; /* NULL: what the request says */
    const struct ek_account_limits *limits;
};

/* EK_REASON_NONE and *out, or KEY_UNKNOWN, KEY_EXPIRED, ACCOUNT_SUSPENDED, ADDRESS_FORBIDDEN. peer is an
 * address as text ("127.0.0.1", "::1", "unix"); "unix" passes every list of addresses. */
enum ek_reason ek_keyring_find(const struct ek_keyring *k, struct ek_str token, struct ek_str peer,
                               uint64_t now_unix_ns, struct ek_caller *out);
/* The account of that name, for one whom somebody else vouches for; key is 0. EK_REASON_NO_ACCOUNT: there is
 * none; else as above. Only after ek_keyring_keep_names. */
enum ek_reason ek_keyring_named(const struct ek_keyring *k, const char *name, struct ek_str peer,
                                uint64_t now_unix_ns, struct ek_caller *out);
/* Of an account by its number; NULL: not known here. Valid as an ek_caller's. */
const struct ek_account_limits *ek_keyring_limits(const struct ek_keyring *k, uint64_t account);
const char *ek_keyring_account_name(const struct ek_keyring *k, uint64_t account);
bool ek_keyring_has_models(const struct ek_keyring *k, uint64_t account); /* a list of its own */
/* May this account use the model? */
bool ek_keyring_model(const struct ek_keyring *k, uint64_t account, struct ek_str model);

/* Is `model` named by the words of the list? "demo*" names all that begin with demo; an empty list, all. */
bool ek_list_has_model(const char *list, struct ek_str model);
#endif
