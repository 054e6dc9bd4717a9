/* SPDX-License-Identifier: MIT */
/* Accounts and their keys, as the admin API has them. Every change is one transaction with the act that
 * tells of it. A key's text is in the answer that makes it and nowhere else. */
#include "office/admin_inside.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define LIMIT_MAX 500u
#define OVERLAP_S_DEFAULT 86400u

static const char *const states[] = {"active", "suspended", NULL};

/* ---- writing ---------------------------------------------------------------------------------- */

static json_t *limits_json(const struct ek_account_row *a)
{
    const struct ek_account_limits *l = &a->limits;
    return json_pack("{s:o, s:o, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:o}", "budget_day",
                     ek_admin_amount(l->budget_day_nano), "budget_month",
                     ek_admin_amount(l->budget_month_nano), "running", (json_int_t)l->running_max,
                     "minute_requests", (json_int_t)l->minute_requests, "minute_tokens",
                     (json_int_t)l->minute_tokens, "day_thoughts", (json_int_t)l->day_thoughts, "borrow",
                     (int)l->borrow, "expires", ek_admin_time(l->expires_unix_ns), "models",
                     ek_admin_words(a->models), "addresses", ek_admin_words(a->addresses));
}

static json_t *balance_json(const struct ek_admin_call *c, const struct ek_balance *b)
{
    struct ek_money all = ek_money_add(b->free, b->leased);
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "currency",
                     c->books->currency, "total", ek_admin_amount(ek_money_sum(all)), "granted",
                     ek_admin_amount(all.granted_nano), "topped_up", ek_admin_amount(all.topped_nano),
                     "leased", ek_admin_amount(ek_money_sum(b->leased)), "doors", (json_int_t)b->leases,
                     "paid_in", ek_admin_amount(b->paid_nano), "spent", ek_admin_amount(b->spent_nano),
                     "forgiven", ek_admin_amount(b->forgiven_nano), "spent_today",
                     ek_admin_amount(b->spent_day_nano), "spent_this_month",
                     ek_admin_amount(b->spent_month_nano));
}

/* The account as every answer shows it; NULL and *s when its balance cannot be had. */
static json_t *account_json(const struct ek_admin_call *c, const struct ek_account_row *a, enum ek_status *s)
{
    struct ek_balance b;
    *s = ek_ledger_balance(c->books->ledger, a->id, &b);
    if (*s != EK_OK) return NULL;
    return json_pack("{s:s, s:o, s:s, s:s, s:o, s:o, s:o}", "name", a->name, "id", ek_admin_id(a->id), "tier",
                     a->tier, "state", states[a->state == EK_ACCOUNT_SUSPENDED], "created",
                     ek_admin_time(a->created_unix_ns), "balance", balance_json(c, &b), "limits",
                     limits_json(a));
}

static bool answer_account(struct ek_admin_call *c, int status)
{
    struct ek_account_row row;
    enum ek_status s;
    if (!ek_admin_account(c, &row)) return false;
    json_t *said = account_json(c, &row, &s);
    return said ? ek_admin_answer(c, status, said) : ek_admin_failed(c, s, NULL, NULL);
}

/* ---- accounts --------------------------------------------------------------------------------- */

struct page {
    struct ek_account_row *row;
    size_t count;
};

static void collect(void *arg, const struct ek_account_row *row)
{
    struct page *p = arg;
    p->row[p->count++] = *row;
}

bool ek_admin_accounts_list(struct ek_admin_call *c)
{
    uint64_t limit = 50;
    const char *after = ek_admin_query(c, "after");
    if (!ek_admin_query_number(c, "limit", 1, LIMIT_MAX, &limit)) return false;
    struct page p = {.row = calloc(limit, sizeof *p.row)};
    json_t *all = json_array();
    MUST(p.row && all);
    enum ek_status s = ek_people_accounts_named(c->books->ledger, after ? after : "", limit, collect, &p);
    for (size_t i = 0; s == EK_OK && i < p.count; i++) {
        json_t *one = account_json(c, &p.row[i], &s);
        if (one) json_array_append_new(all, one);
    }
    json_t *next = p.count == limit ? json_string(p.row[p.count - 1].name) : NULL;
    free(p.row);
    return ek_admin_page(c, s, "accounts", all, next);
}

bool ek_admin_accounts_show(struct ek_admin_call *c)
{
    return answer_account(c, 200);
}

/* The members of "limits" into the row. */
static bool read_limits(struct ek_admin_call *c, struct ek_account_row *row)
{
    struct ek_account_limits *l = &row->limits;
    const json_t *given = json_object_get(c->body, "limits");
    const struct ek_admin_field fields[] = {
        {.name = "budget_day", .kind = EK_ADMIN_AMOUNT, .out = &l->budget_day_nano},
        {.name = "budget_month", .kind = EK_ADMIN_AMOUNT, .out = &l->budget_month_nano},
        {.name = "running", .kind = EK_ADMIN_COUNT, .out = &l->running_max},
        {.name = "minute_requests", .kind = EK_ADMIN_COUNT, .out = &l->minute_requests},
        {.name = "minute_tokens", .kind = EK_ADMIN_COUNT, .out = &l->minute_tokens},
        {.name = "day_thoughts", .kind = EK_ADMIN_COUNT, .out = &l->day_thoughts},
        {.name = "borrow", .kind = EK_ADMIN_FLAG, .out = &l->borrow},
        {.name = "expires", .kind = EK_ADMIN_TIME, .out = &l->expires_unix_ns},
        {.name = "models", .kind = EK_ADMIN_WORDS, .out = row->models},
        {.name = "addresses", .kind = EK_ADMIN_WORDS, .out = row->addresses},
    };
    if (!given) return true;
    if (!ek_admin_read(c, given, "limits.", fields, EK_COUNT(fields))) return false;
    json_object_del(c->body, "limits"); /* read: the rest has a table of its own */
    return true;
}

struct account_ask {
    struct ek_admin_call *c;
    struct ek_account_row row; /* id 0: a new one, of row.name */
    struct ek_money first;     /* its first money */
    const char *change;        /* for the act */
};

static enum ek_status account_body(struct ek_ledger *l, void *arg)
{
    struct account_ask *a = arg;
    struct ek_account_row row = a->row;
    bool before, fresh = row.id == 0;
    enum ek_status s = fresh ? ek_ledger_account_add(l, row.name, row.tier, &row.id) : EK_OK;
    if (s == EK_OK) s = ek_people_change(l, &row);
    if (s == EK_OK && !ek_money_is_zero(a->first))
        s = ek_ledger_pay(l, ek_id_random(), row.id, a->first, "with the account", &before);
    if (s == EK_OK)
        s = ek_admin_act(l, a->c, row.id, fresh ? "account add %s" : "account change %s", a->change);
    return s;
}

/* What was asked for, for the act: the body has no secrets. */
static char *body_text(const struct ek_admin_call *c)
{
    char *text = json_dumps(c->body, JSON_COMPACT | JSON_SORT_KEYS);
    MUST(text);
    return text;
}

bool ek_admin_accounts_add(struct ek_admin_call *c)
{
    struct account_ask a = {.c = c, .row = {.limits = {.borrow = true}, .tier = "default"}};
    char *text = body_text(c);
    const struct ek_admin_field fields[] = {
        {.name = "name", .kind = EK_ADMIN_NAME, .out = a.row.name, .must = true},
        {.name = "tier", .kind = EK_ADMIN_NAME, .out = a.row.tier},
        {.name = "grant", .kind = EK_ADMIN_AMOUNT, .out = &a.first.granted_nano},
        {.name = "topup", .kind = EK_ADMIN_AMOUNT, .out = &a.first.topped_nano},
    };
    a.change = text;
    bool good = read_limits(c, &a.row) && ek_admin_read(c, c->body, "", fields, EK_COUNT(fields)) &&
                ek_admin_tier(c, a.row.tier);
    enum ek_status s = good ? ek_ledger_together(c->books->ledger, account_body, &a) : EK_OK;
    free(text);
    if (!good) return false;
    if (s != EK_OK) return ek_admin_failed(c, s, NULL, "An account of this name exists already.");
    c->answer->changed = true;
    memcpy(c->param[0], a.row.name, sizeof a.row.name);
    return answer_account(c, 201);
}

bool ek_admin_accounts_change(struct ek_admin_call *c)
{
    struct account_ask a = {.c = c};
    if (!ek_admin_account(c, &a.row)) return false;
    unsigned state = a.row.state == EK_ACCOUNT_SUSPENDED;
    char tier[sizeof a.row.tier] = ""; /* the one it has may be gone, which is no reason to refuse the rest */
    char *text = body_text(c);
    const struct ek_admin_field fields[] = {
        {.name = "tier", .kind = EK_ADMIN_NAME, .out = tier},
        {.name = "state", .kind = EK_ADMIN_CHOICE, .out = &state, .words = states},
    };
    a.change = text;
    bool good = read_limits(c, &a.row) && ek_admin_read(c, c->body, "", fields, EK_COUNT(fields)) &&
                ek_admin_tier(c, tier);
    if (*tier) memcpy(a.row.tier, tier, sizeof tier);
    a.row.state = state ? EK_ACCOUNT_SUSPENDED : EK_ACCOUNT_ACTIVE;
    enum ek_status s = good ? ek_ledger_together(c->books->ledger, account_body, &a) : EK_OK;
    free(text);
    if (!good) return false;
    if (s != EK_OK) return ek_admin_failed(c, s, "There is no account of this name.",
                                           "That cannot be stored.");
    c->answer->changed = true;
    return answer_account(c, 200);
}

/* What a door has in memory is added by the door: here is only whom it is about. */
bool ek_admin_accounts_live(struct ek_admin_call *c)
{
    struct ek_account_row row;
    if (!ek_admin_account(c, &row)) return false;
    c->answer->live_account = row.id;
    c->answer->live_limits = row.limits;
    return ek_admin_answer(c, 200, json_pack("{s:s, s:o}", "name", row.name, "limits", limits_json(&row)));
}

/* ---- keys ------------------------------------------------------------------------------------- */

static json_t *key_json(const struct ek_key_row *k)
{
    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o}", "id", ek_admin_id(k->id), "name", k->name, "user",
                     *k->end_user ? json_string(k->end_user) : json_null(), "created",
                     ek_admin_time(k->created_unix_ns), "expires", ek_admin_time(k->expires_unix_ns),
                     "revoked", ek_admin_time(k->revoked_unix_ns));
}

static void collect_key(void *arg, const struct ek_key_row *row)
{
    json_array_append_new(arg, key_json(row));
}

bool ek_admin_keys_list(struct ek_admin_call *c)
{
    struct ek_account_row row;
    uint64_t limit = 100, after = 0;
    if (!ek_admin_query_number(c, "limit", 1, LIMIT_MAX, &limit) ||
        !ek_admin_query_number(c, "after", 0, INT64_MAX, &after) || !ek_admin_account(c, &row))
        return false;
    json_t *all = json_array();
    enum ek_status s = ek_people_keys_of(c->books->ledger, row.id, after, limit, collect_key, all);
    return ek_admin_page(c, s, "keys", all, ek_admin_cursor(all, limit, "id"));
}

struct key_ask {
    struct ek_admin_call *c;
    struct ek_account_row account;
    struct ek_key_row key; /* the one asked about, or the new one's name, user and expiry */
    uint64_t overlap_s;
    uint64_t id;           /* the new one's */
    char token[EK_TOKEN_BYTES];
};

static enum ek_status key_add_body(struct ek_ledger *l, void *arg)
{
    struct key_ask *a = arg;
    enum ek_status s = ek_people_key_add(l, a->c->books->secret, a->account.id, a->key.name, a->key.end_user,
                                         a->key.expires_unix_ns, a->token, &a->id);
    return s == EK_OK ? ek_admin_act(l, a->c, a->account.id, "key add %s", a->key.name) : s;
}

static bool answer_token(struct ek_admin_call *c, struct key_ask *a)
{
    json_t *said = json_pack("{s:o, s:s, s:s, s:s, s:o}", "id", ek_admin_id(a->id), "account",
                             a->account.name, "name", a->key.name, "key", a->token, "expires",
                             ek_admin_time(a->key.expires_unix_ns));
    sodium_memzero(a->token, sizeof a->token);
    c->answer->changed = true;
    return ek_admin_answer(c, 201, said);
}

bool ek_admin_keys_add(struct ek_admin_call *c)
{
    struct key_ask a = {.c = c};
    const struct ek_admin_field fields[] = {
        {.name = "name", .kind = EK_ADMIN_NAME, .out = a.key.name, .must = true},
        {.name = "user", .kind = EK_ADMIN_NAME, .out = a.key.end_user, .cap = 1},
        {.name = "expires", .kind = EK_ADMIN_TIME, .out = &a.key.expires_unix_ns},
    };
    if (!ek_admin_read(c, c->body, "", fields, EK_COUNT(fields)) || !ek_admin_account(c, &a.account))
        return false;
    enum ek_status s = ek_ledger_together(c->books->ledger, key_add_body, &a);
    return s == EK_OK ? answer_token(c, &a) : ek_admin_failed(c, s, NULL, "That cannot be stored.");
}

static const char no_key[] = "This account has no such key, or it has ended.";

/* The key named by the second parameter, of the account named by the first. */
static bool find_key(struct ek_admin_call *c, struct key_ask *a)
{
    uint64_t id;
    if (!ek_admin_account(c, &a->account)) return false;
    if (!ek_str_u64(ek_str_of(c->param[1]), &id) || id > INT64_MAX)
        return ek_admin_refuse(c, EK_REASON_NOT_FOUND, NULL, "%s", no_key);
    enum ek_status s = ek_people_key(c->books->ledger, id, &a->key);
    if (s == EK_OK && a->key.account != a->account.id) s = EK_ABSENT;
    return s == EK_OK || ek_admin_failed(c, s, no_key, NULL);
}

static enum ek_status revoke_body(struct ek_ledger *l, void *arg)
{
    struct key_ask *a = arg;
    enum ek_status s = ek_people_key_revoke(l, a->key.id);
    return s == EK_OK ? ek_admin_act(l, a->c, a->account.id, "key revoke %s", a->key.name) : s;
}

bool ek_admin_keys_revoke(struct ek_admin_call *c)
{
    struct key_ask a = {.c = c};
    if (!find_key(c, &a)) return false;
    enum ek_status s = ek_ledger_together(c->books->ledger, revoke_body, &a);
    if (s == EK_OK) s = ek_people_key(c->books->ledger, a.key.id, &a.key);
    if (s != EK_OK) return ek_admin_failed(c, s, no_key, NULL);
    c->answer->changed = true;
    return ek_admin_answer(c, 200, key_json(&a.key));
}

static enum ek_status rotate_body(struct ek_ledger *l, void *arg)
{
    struct key_ask *a = arg;
    enum ek_status s = ek_people_key_rotate(l, a->c->books->secret, a->key.id, a->overlap_s * EK_S_NS,
                                            a->token, &a->id);
    return s == EK_OK ? ek_admin_act(l, a->c, a->account.id, "key rotate %s", a->key.name) : s;
}

bool ek_admin_keys_rotate(struct ek_admin_call *c)
{
    struct key_ask a = {.c = c, .overlap_s = OVERLAP_S_DEFAULT};
    const struct ek_admin_field field = {.name = "overlap_s", .kind = EK_ADMIN_COUNT, .out = &a.overlap_s};
    if (!ek_admin_read(c, c->body, "", &field, 1) || !find_key(c, &a)) return false;
    enum ek_status s = ek_ledger_together(c->books->ledger, rotate_body, &a);
    return s == EK_OK ? answer_token(c, &a) : ek_admin_failed(c, s, no_key, NULL);
}
