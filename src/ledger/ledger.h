/* SPDX-License-Identifier: MIT */
/* What is stored about money, and the steps that change it: synchronous, for one thread (the store's writer,
 * a subcommand). Each function is one transaction; when it returns EK_OK its effect is on the disk.
 *
 *      account.free ──lease──▶ lease of a door ──settle──▶ spent
 *           ▲  ▲────give back───────┘ │                      │
 *           │  ▲────reclaimed, when the door is gone         │
 *        pay│  └────────────────refund───────────────────────┘
 *
 * A door spends from its lease without asking (its book, book.h, divides the lease among requests: that
 * needs no disk); what is stored of a request is one settlement, idempotent by its 128-bit id. So a
 * reservation cannot be left behind: a killed door takes its own leases back when it starts again, and
 * another door takes them once they have expired and it has itself been connected for as long (so that
 * after an outage of the database everyone alive renews first).
 *
 * A lease has a fence: a number that grows with every new lease of the account. A settlement whose lease is
 * no longer there is late: it is charged from what is free, at most what there is, the rest forgiven.
 *
 * Always, of every account: free + leased + spent = paid in, and each of the four follows from the rows of
 * `entry` and `settlement`, which are only ever added (ek_ledger_audit).
 *
 * Status: EK_OK; EK_IO the database is away (ek_ledger_lost: reopen) and nothing was changed, or, when the
 * connection broke during the commit, perhaps everything: repeat it, all is idempotent by name; EK_ABSENT no
 * such account or request; EK_INVALID refused. ek_ledger_why has a sentence for the last two and EK_IO. */
#ifndef EK_LEDGER_LEDGER_H
#define EK_LEDGER_LEDGER_H

#include "base/clock.h"
#include "base/status.h"
#include "base/str.h"
#include "ledger/money.h"

#define EK_LEDGER_BATCH_MAX 256u /* settlements in one transaction */
#define EK_LEDGER_SETTLE_MS 3000 /* callers wait for it: a store that hangs is away after so long */
#define EK_LEDGER_NAME_MAX 64u   /* bytes of the name of an account, a key, a door, a tier */
#define EK_LEDGER_MODEL_MAX 128u
#define EK_LEDGER_ENDING_MAX 32u
#define EK_LEDGER_NOTE_MAX 256u

struct ek_ledger;
struct ek_sql;

struct ek_ledger_options {
    const char *url;   /* sql.h */
    const char *door;  /* this door's name: who starts again under it takes its leases back */
    uint64_t lease_ns; /* how long a lease holds without being renewed */
    bool must_exist;   /* it was there before: make no new one in its place */
};

/* Opens and migrates. EK_IO: away, try later; EK_INVALID: never (a newer database, a bad URL). */
EK_CHECKED enum ek_status ek_ledger_open(const struct ek_ledger_options *o, struct ek_ledger **out,
                                         char *why, size_t cap);
void ek_ledger_close(struct ek_ledger **l);
const char *ek_ledger_why(const struct ek_ledger *l);
bool ek_ledger_lost(const struct ek_ledger *l);
/* Several functions of this room as one transaction: all of them, or none. `body` calls them, returns the
 * first status that is not EK_OK, and may be run again after a clash with another writer. */
typedef enum ek_status ek_ledger_body_fn(struct ek_ledger *l, void *arg);
EK_CHECKED enum ek_status ek_ledger_together(struct ek_ledger *l, ek_ledger_body_fn *body, void *arg);
struct ek_sql *ek_ledger_sql(struct ek_ledger *l); /* for the other files of this room */
uint64_t ek_ledger_now_ns(struct ek_ledger *l);    /* the database's clock: one for all doors */

/* ---- requests -------------------------------------------------------------------------------- */

/* One record a request: the money, and how it went. Fixed in size, so that it can lie in a file as it is. */
struct ek_settle_record {
    struct ek_id request;
    uint64_t account, fence, key; /* fence 0: nothing is charged, and no lease is needed */
    uint64_t user_hash;       /* of the end user, keyed; 0: none */
    struct ek_money charged;  /* as the book charged it */
    int64_t forgiven_nano;
    uint64_t at_unix_ns;      /* when it ended */
    uint64_t prompt_tokens, cached_tokens, thinking_tokens, output_tokens;
    uint64_t waited_ms, ran_ms;
    char model[EK_LEDGER_MODEL_MAX];   /* NUL-terminated */
    char ending[EK_LEDGER_ENDING_MAX]; /* a code of base/reason.h */
};

struct ek_settle_outcome {
    bool before; /* this request was settled already; nothing changed */
    bool late;   /* its lease is lost: the door stops what runs under it (ek_book_lose) */
    struct ek_money charged; /* in fact: less than asked when late */
};

/* Settle up to EK_LEDGER_BATCH_MAX requests in one commit. */
EK_CHECKED enum ek_status ek_ledger_settle(struct ek_ledger *l,
                                           const struct ek_settle_record *const *record,
                                           size_t count, struct ek_settle_outcome *outcome);
/* What was settled of a request. EK_ABSENT: nothing. */
EK_CHECKED enum ek_status ek_ledger_request(struct ek_ledger *l, struct ek_id request,
                                            struct ek_settle_record *out, struct ek_settle_outcome *outcome);

/* ---- leases ---------------------------------------------------------------------------------- */

struct ek_lease {
    uint64_t fence;
    struct ek_money part;     /* given now, on top of what the door has */
    int64_t elsewhere_nano;   /* free or leased elsewhere after that; 0 when the account is overdrawn */
    int64_t balance_nano;     /* the whole balance: free and leased, below zero when overdrawn */
};

/* Up to want_nano of the account's free money for this door. A part of zero is no error. */
EK_CHECKED enum ek_status ek_ledger_lease(struct ek_ledger *l, uint64_t account, int64_t want_nano,
                                          struct ek_lease *out);
/* Give back part of a lease; or, with `all`, whatever is left of it, which ends it. Only when every
 * settlement under it has been stored may all be given. EK_ABSENT: the lease is not there any more. */
EK_CHECKED enum ek_status ek_ledger_give(struct ek_ledger *l, uint64_t account, uint64_t fence,
                                         struct ek_money part, bool all);
/* Renew leases (account[i], fence[i]), count <= EK_LEDGER_BATCH_MAX; valid[i]: it is still there. */
EK_CHECKED enum ek_status ek_ledger_renew(struct ek_ledger *l, const uint64_t *account,
                                          const uint64_t *fence, size_t count, bool *valid);
/* All leases of this door, left over from its former life, back into the accounts. */
EK_CHECKED enum ek_status ek_ledger_take_back(struct ek_ledger *l);

/* ---- accounts and payments ------------------------------------------------------------------- */

/* A new account without money. EK_INVALID: the name exists, or is none (people.h). */
EK_CHECKED enum ek_status ek_ledger_account_add(struct ek_ledger *l, const char *name, const char *tier,
                                                uint64_t *id);
EK_CHECKED enum ek_status ek_ledger_account_find(struct ek_ledger *l, const char *name, uint64_t *id);

struct ek_balance {
    struct ek_money free, leased;
    int64_t paid_nano, spent_nano, forgiven_nano;
    int64_t spent_day_nano, spent_month_nano; /* of the current UTC day and month */
    uint64_t leases;
};
EK_CHECKED enum ek_status ek_ledger_balance(struct ek_ledger *l, uint64_t account,
                                            struct ek_balance *out);

/* A payment or a grant (granted_nano) under a name of its own; negative amounts take back what is free.
 * *before: it was made already. EK_INVALID: the name stands for another payment, or the sum is impossible. */
EK_CHECKED enum ek_status ek_ledger_pay(struct ek_ledger *l, struct ek_id name, uint64_t account,
                                        struct ek_money amount, const char *note, bool *before);
/* Give back up to `nano` of what a request was charged, top-ups first; never more than it was in all. */
EK_CHECKED enum ek_status ek_ledger_refund(struct ek_ledger *l, struct ek_id name, struct ek_id request,
                                           int64_t nano, const char *note, struct ek_money *back);

/* ---- the audit ------------------------------------------------------------------------------- */

struct ek_audit {
    uint64_t accounts, settlements, entries, leases;
    uint64_t wrong; /* accounts whose numbers do not follow from their rows */
    int64_t paid_nano, balance_nano, leased_nano, spent_nano, forgiven_nano;
    char first[192]; /* a sentence about the first that is wrong */
};
EK_CHECKED enum ek_status ek_ledger_audit(struct ek_ledger *l, struct ek_audit *out);

/* 16 bytes for a column, and back. */
void ek_id_put(struct ek_id id, uint8_t out[16]);
struct ek_id ek_id_get(const uint8_t in[16]);
struct ek_id ek_id_random(void);

#endif
