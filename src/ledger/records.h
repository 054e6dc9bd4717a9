/* SPDX-License-Identifier: MIT */
/* What is asked of the books afterwards: usage by day, model and key; payments; what administrators did;
 * and the answers that were given under a name, so that asking twice is asking once. Synchronous, like
 * ledger.h, and with its statuses; texts handed to a row function live until it returns. */
#ifndef EK_LEDGER_RECORDS_H
#define EK_LEDGER_RECORDS_H

#include "base/buf.h"
#include "ledger/people.h"

/* ---- usage ----------------------------------------------------------------------------------- */

/* What is not asked `by` is summed over. Days are days since 1970 in UTC, both ends included. */
struct ek_usage_ask {
    uint64_t account; /* 0: all */
    uint32_t from_day, to_day;
    bool by_day, by_account, by_model, by_key;
    uint64_t skip, max; /* rows */
};

struct ek_usage_row {
    uint32_t day;
    uint64_t account, key; /* key 0: none (the static list, anonymous) */
    const char *account_name, *key_name, *model; /* "" where not asked by, or gone */
    uint64_t requests, prompt_tokens, cached_tokens, output_tokens;
    int64_t charged_nano;
};
typedef void ek_usage_fn(void *arg, const struct ek_usage_row *row);

/* Ordered by day, account, key, model. */
EK_CHECKED enum ek_status ek_usage_list(struct ek_ledger *l, const struct ek_usage_ask *ask, ek_usage_fn *fn,
                                        void *arg);

/* ---- payments -------------------------------------------------------------------------------- */

struct ek_payment {
    struct ek_id name;
    bool refund;
    struct ek_money amount;
    uint64_t at_unix_ns;
    const char *note;
};
typedef void ek_payment_fn(void *arg, const struct ek_payment *p);

/* The newest first, older than before_unix_ns (0: from now on back). */
EK_CHECKED enum ek_status ek_payment_list(struct ek_ledger *l, uint64_t account, uint64_t before_unix_ns,
                                          uint64_t max, ek_payment_fn *fn, void *arg);

/* ---- what administrators did ------------------------------------------------------------------ */

/* In the same transaction as the thing done, or by itself. */
EK_CHECKED enum ek_status ek_people_act(struct ek_ledger *l, const char *who, const char *what,
                                        uint64_t account);

struct ek_act {
    uint64_t seq, at_unix_ns, account;
    const char *who, *what, *account_name; /* "": no account */
};
typedef void ek_act_fn(void *arg, const struct ek_act *act);

/* The newest first, older than the number `before` (0: the newest); of one account, or of all (0). */
EK_CHECKED enum ek_status ek_act_list(struct ek_ledger *l, uint64_t account, uint64_t before, uint64_t max,
                                      ek_act_fn *fn, void *arg);

/* ---- answers --------------------------------------------------------------------------------- */

#define EK_ANSWER_KEPT_NS (30 * 86400 * EK_S_NS) /* older ones go when a new one comes */

/* What was answered under this name. EK_ABSENT: nothing yet; EK_INVALID: something else was asked then. */
EK_CHECKED enum ek_status ek_answer_find(struct ek_ledger *l, struct ek_id name,
                                         const uint8_t asked[EK_TOKEN_HASH_BYTES], int *status,
                                         struct ek_buf *said);
/* Keep it, in the same transaction as what it speaks of. Never with a secret in it. */
EK_CHECKED enum ek_status ek_answer_keep(struct ek_ledger *l, struct ek_id name,
                                         const uint8_t asked[EK_TOKEN_HASH_BYTES], int status,
                                         struct ek_str said);

#endif
