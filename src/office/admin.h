/* SPDX-License-Identifier: MIT */
/* The admin API, /admin/v1: what an office does with accounts, keys, money and codes. One function does
 * it all, synchronously and without a loop, from a request as data to an answer as data:
 *
 *      admin listener ──▶ helper thread ─┐
 *      evenkeel account, key ────────────┼─▶ ek_admin_do ──▶ ledger (one transaction a change, its act
 * included)
 *      tests, fuzzing ───────────────────┘
 *
 * so that the command line without a door does exactly what the API does. docs/openapi-admin.json describes
 * it, and a test holds the table of routes against that. Strict: a member, a query or a type that is not
 * in the description is refused with a sentence and a counted reason. */
#ifndef EK_OFFICE_ADMIN_H
#define EK_OFFICE_ADMIN_H

#include "base/buf.h"
#include "base/reason.h"
#include "ledger/codes.h"

#define EK_ADMIN_PREFIX "/admin/v1"
#define EK_ADMIN_BODY_BYTES_MAX (64u << 10)
#define EK_ADMIN_LINES_BYTES_MAX (4u << 20)  /* of an import */
#define EK_ADMIN_ANSWER_BYTES_MAX (16u << 20)
#define EK_ADMIN_WHO_BYTES 80u

struct ek_admin_call;

struct ek_admin_books {
    struct ek_ledger *ledger;
    const struct ek_secret *secret;
    const char *currency; /* three letters */
    const char *tiers;    /* of the configuration, a newline behind each; NULL: not known, all are taken */
};

struct ek_admin_ask {
    struct ek_str method, path, query; /* "GET", "/admin/v1/accounts/ann", "limit=3"; not decoded */
    struct ek_str name;                /* Idempotency-Key; empty: none */
    const char *name_is;               /* how whoever sent it calls that, where it came otherwise; NULL */
    struct ek_str body;
    const char *who; /* for the list of acts: "api 127.0.0.1", "command line ann" */
};

struct ek_admin_answer {
    int status;
    enum ek_reason reason; /* of a refusal; NONE otherwise */
    struct ek_buf body;    /* JSON, or JSON lines; may hold a secret: wipe it (ek_admin_answer_free) */
    bool lines;
    bool again;            /* it was given before, under the same Idempotency-Key */
    bool changed;          /* rows that a keyring holds */
    const char *allow;     /* of a 405 */
    uint64_t live_account; /* not 0: `body` lacks what only a door knows (office.h) */
    struct ek_account_limits live_limits;
    bool live_upstreams;   /* the same */
};

/* Never fails otherwise than by an answer that says so. Blocks on the database. */
void ek_admin_do(const struct ek_admin_books *books, const struct ek_admin_ask *ask,
                 struct ek_admin_answer *out);
void ek_admin_answer_free(struct ek_admin_answer *a);

/* The table, for the test that holds it against its description. */
struct ek_admin_route {
    const char *method, *path; /* "/admin/v1/accounts/{account}" */
    bool (*run)(struct ek_admin_call *c);
    const char *query;         /* the names it takes, blanks between them; "": none */
    bool body;                 /* it takes one, a JSON object */
    bool lines;                /* JSON lines instead */
    bool named;                /* it wants an Idempotency-Key */
};
const struct ek_admin_route *ek_admin_routes(size_t *count);
/* The most bytes of a body that are read for this method and path. */
size_t ek_admin_body_max(struct ek_str method, struct ek_str path);

#endif
