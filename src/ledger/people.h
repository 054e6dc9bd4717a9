/* SPDX-License-Identifier: MIT */
/* Accounts with their limits, and keys, as stored. Synchronous, like ledger.h, and with its
 * statuses. A door does not look here for each request: it holds a keyring (keyring.h) and asks for changes.
 *
 * Names (of accounts, keys, tiers) are 1 to 64 printable ASCII characters without blanks, quotes, backslash,
 * '#' and ','. Lists (models, addresses) are words with blanks between them, up to 512 bytes; empty: any. */
#ifndef EK_LEDGER_PEOPLE_H
#define EK_LEDGER_PEOPLE_H

#include "ledger/ledger.h"
#include "ledger/secret.h"

#define EK_PEOPLE_LIST_MAX 512u

enum ek_account_state { EK_ACCOUNT_ACTIVE, EK_ACCOUNT_SUSPENDED };

/* Limits of an account; 0: none. */
struct ek_account_limits {
    int64_t budget_day_nano, budget_month_nano;
    uint64_t running_max;     /* requests at once */
    uint64_t minute_requests, minute_tokens;
    uint64_t day_thoughts;    /* requests with deep thinking a day */
    uint64_t expires_unix_ns;
    bool borrow;              /* its prompts may go to borrowed upstreams */
};

struct ek_account_row {
    uint64_t id, version, created_unix_ns;
    enum ek_account_state state;
    struct ek_account_limits limits;
    char name[EK_LEDGER_NAME_MAX + 1], tier[EK_LEDGER_NAME_MAX + 1];
    char models[EK_PEOPLE_LIST_MAX + 1];    /* "deepseek-r1 demo*" */
    char addresses[EK_PEOPLE_LIST_MAX + 1]; /* "10.0.0.0/8 2001:db8::/32" */
};

struct ek_key_row {
    uint64_t id, account, version;
    uint64_t created_unix_ns, expires_unix_ns, revoked_unix_ns; /* 0: never */
    char name[EK_LEDGER_NAME_MAX + 1];
    char end_user[EK_LEDGER_NAME_MAX + 1]; /* fixed end user of all its requests; empty: none */
    uint8_t hash[EK_TOKEN_HASH_BYTES];
};

bool ek_name_is_good(struct ek_str name);

/* ---- accounts: made with ek_ledger_account_add ------------------------------------------------ */

EK_CHECKED enum ek_status ek_people_account(struct ek_ledger *l, const char *name,
                                            struct ek_account_row *out);
/* Store tier, state, limits and lists of row->id. EK_INVALID: a list or tier that is none. */
EK_CHECKED enum ek_status ek_people_change(struct ek_ledger *l, const struct ek_account_row *row);

typedef void ek_account_row_fn(void *arg, const struct ek_account_row *row);
typedef void ek_key_row_fn(void *arg, const struct ek_key_row *row);

/* Rows changed after `version`, in the order of their changes, at most `max` of them. */
EK_CHECKED enum ek_status ek_people_accounts(struct ek_ledger *l, uint64_t version, uint64_t max,
                                             ek_account_row_fn *fn, void *arg);
EK_CHECKED enum ek_status ek_people_keys(struct ek_ledger *l, uint64_t version, uint64_t max,
                                         ek_key_row_fn *fn, void *arg);

/* In the order of their names, behind the name `after` ("": from the beginning). */
EK_CHECKED enum ek_status ek_people_accounts_named(struct ek_ledger *l, const char *after, uint64_t max,
                                                   ek_account_row_fn *fn, void *arg);
/* Keys of one account in the order of their ids, behind the id `after`, the ended ones too. */
EK_CHECKED enum ek_status ek_people_keys_of(struct ek_ledger *l, uint64_t account, uint64_t after,
                                            uint64_t max, ek_key_row_fn *fn, void *arg);

/* ---- keys ------------------------------------------------------------------------------------ */

/* A new key; `token` is shown to whoever asked and kept nowhere. expires_unix_ns 0: never. */
EK_CHECKED enum ek_status ek_people_key_add(struct ek_ledger *l, const struct ek_secret *secret,
                                            uint64_t account, const char *name, const char *end_user,
                                            uint64_t expires_unix_ns, char token[EK_TOKEN_BYTES],
                                            uint64_t *id);
/* From now on refused; for good. EK_ABSENT: no such key, or revoked before. */
EK_CHECKED enum ek_status ek_people_key_revoke(struct ek_ledger *l, uint64_t id);
/* A new key like the old one, which ends after overlap_ns (or earlier, where it would have). */
EK_CHECKED enum ek_status ek_people_key_rotate(struct ek_ledger *l, const struct ek_secret *secret,
                                               uint64_t id, uint64_t overlap_ns, char token[EK_TOKEN_BYTES],
                                               uint64_t *new_id);
EK_CHECKED enum ek_status ek_people_key(struct ek_ledger *l, uint64_t id, struct ek_key_row *out);

#endif
