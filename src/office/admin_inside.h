/* SPDX-License-Identifier: MIT */
/* What the files of the admin API share. Nobody else includes this. */
#ifndef EK_OFFICE_ADMIN_INSIDE_H
#define EK_OFFICE_ADMIN_INSIDE_H

#include "office/admin.h"
#include "ledger/amount.h"
#include "ledger/records.h"

#include <jansson.h>

#define EK_ADMIN_PARAMS_MAX 2u
#define EK_ADMIN_QUERY_MAX 6u
#define EK_ADMIN_TEXT_MAX 255u /* bytes of one parameter of the path or the query */

/* One request being done. */
struct ek_admin_call {
    const struct ek_admin_books *books;
    const struct ek_admin_ask *ask;
    struct ek_admin_answer *answer;
    const struct ek_admin_route *route;
    char param[EK_ADMIN_PARAMS_MAX][EK_ADMIN_TEXT_MAX + 1]; /* of the path, decoded */
    struct {
        char name[32], value[EK_ADMIN_TEXT_MAX + 1];
    } query[EK_ADMIN_QUERY_MAX];
    size_t queries;
    json_t *body; /* an object, or NULL where the route takes none */
    enum ek_reason reason;
    char at[64];  /* the member or parameter at fault; "": none */
    char why[256];
};

/* ---- refusing and answering: admin_do.c -------------------------------------------------------- */

/* Always false, for `return ek_admin_refuse(...)`. `at` may be NULL; fmt NULL: the reason's own sentence. */
bool ek_admin_refuse(struct ek_admin_call *c, enum ek_reason reason, const char *at, const char *fmt, ...)
    EK_PRINTF(4, 5);
/* Of a status that is not EK_OK: `absent` and `invalid` are sentences; NULL: it cannot be. */
bool ek_admin_failed(struct ek_admin_call *c, enum ek_status s, const char *absent, const char *invalid);
/* Takes the reference. Always true. */
bool ek_admin_answer(struct ek_admin_call *c, int status, json_t *said);
/* What the next page begins behind: that member of the last row, where the page is full; else NULL. */
json_t *ek_admin_cursor(const json_t *rows, uint64_t limit, const char *member);
/* A page of a list that was read with s: rows under `name`, and `next` (NULL: null). Takes both
 * references. */
bool ek_admin_page(struct ek_admin_call *c, enum ek_status s, const char *name, json_t *rows, json_t *next);
/* A query parameter; NULL: it was not given. */
const char *ek_admin_query(const struct ek_admin_call *c, const char *name);
/* A number of the query; *out is left alone where it was not given. */
bool ek_admin_query_number(struct ek_admin_call *c, const char *name, uint64_t min, uint64_t max,
                           uint64_t *out);

/* ---- members of a body: admin_read.c ----------------------------------------------------------- */

enum ek_admin_kind {
    EK_ADMIN_NAME,   /* char[EK_LEDGER_NAME_MAX + 1]: as ledger/people.h says of names */
    EK_ADMIN_TEXT,   /* char[cap]: UTF-8 without control characters */
    EK_ADMIN_AMOUNT, /* int64_t nano-units, from "12.5" */
    EK_ADMIN_COUNT,  /* uint64_t, 0 to INT32_MAX */
    EK_ADMIN_FLAG,   /* bool */
    EK_ADMIN_TIME,   /* uint64_t unix_ns, from seconds; null: 0, never */
    EK_ADMIN_WORDS,  /* char[EK_PEOPLE_LIST_MAX + 1]: words with blanks between, from an array of strings */
    EK_ADMIN_CHOICE, /* unsigned: index in `words`, a NULL-terminated list */
};

struct ek_admin_field {
    const char *name;
    enum ek_admin_kind kind;
    void *out; /* left alone where the member is missing */
    size_t cap;
    bool must;
    bool minus;               /* an amount may be negative */
    const char *const *words; /* of a CHOICE */
    bool *given;              /* NULL: nobody asks */
};

/* Every member of `object` by the table, and no others; `prefix` ("limits.") goes before names in complaints.
 * false: refused. */
bool ek_admin_read(struct ek_admin_call *c, const json_t *object, const char *prefix,
                   const struct ek_admin_field *field, size_t count);

/* ---- writing ----------------------------------------------------------------------------------- */

json_t *ek_admin_amount(int64_t nano);
json_t *ek_admin_time(uint64_t unix_ns); /* seconds; 0: null */
json_t *ek_admin_id(uint64_t id);        /* as a string: it has 62 bits */
json_t *ek_admin_words(const char *list);

/* ---- what several routes do -------------------------------------------------------------------- */

/* The account named by the first parameter. */
bool ek_admin_account(struct ek_admin_call *c, struct ek_account_row *out);
/* Is there a tier of this name ("": none is asked for)? Otherwise refused, with those there are. */
bool ek_admin_tier(struct ek_admin_call *c, const char *tier);
/* An act, in the transaction of `l`; what it says is cut at 255 bytes. */
enum ek_status ek_admin_act(struct ek_ledger *l, const struct ek_admin_call *c, uint64_t account,
                            const char *fmt, ...) EK_PRINTF(4, 5);
/* A name for a payment from any text: the same text, the same payment. */
struct ek_id ek_admin_payment_name(struct ek_str text);

bool ek_admin_accounts_list(struct ek_admin_call *c);
bool ek_admin_accounts_add(struct ek_admin_call *c);
bool ek_admin_accounts_show(struct ek_admin_call *c);
bool ek_admin_accounts_change(struct ek_admin_call *c);
bool ek_admin_accounts_live(struct ek_admin_call *c);
bool ek_admin_keys_list(struct ek_admin_call *c);
bool ek_admin_keys_add(struct ek_admin_call *c);
bool ek_admin_keys_revoke(struct ek_admin_call *c);
bool ek_admin_keys_rotate(struct ek_admin_call *c);
bool ek_admin_topups_list(struct ek_admin_call *c);
bool ek_admin_topups_add(struct ek_admin_call *c);
bool ek_admin_usage(struct ek_admin_call *c);
bool ek_admin_codes_list(struct ek_admin_call *c);
bool ek_admin_codes_add(struct ek_admin_call *c);
bool ek_admin_codes_withdraw(struct ek_admin_call *c);
bool ek_admin_invitations_sign(struct ek_admin_call *c);
bool ek_admin_redeem(struct ek_admin_call *c);
bool ek_admin_acts(struct ek_admin_call *c);
bool ek_admin_audit(struct ek_admin_call *c);
bool ek_admin_upstreams(struct ek_admin_call *c);
bool ek_admin_export(struct ek_admin_call *c);
bool ek_admin_import(struct ek_admin_call *c);
bool ek_admin_openapi(struct ek_admin_call *c);

#endif
