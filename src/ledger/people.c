/* SPDX-License-Identifier: MIT */
/* Statements about accounts and keys. */
#include "ledger/people.h"

#include "base/utf8.h"
#include "ledger/ledger_inside.h"

#include <sodium.h>

bool ek_name_is_good(struct ek_str name)
{
    bool good = name.len >= 1 && name.len <= EK_LEDGER_NAME_MAX && name.data[0] != '-';
    good = good && !ek_str_eq(name, EK_STR(".")) && !ek_str_eq(name, EK_STR("..")); /* paths lose them */
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        good = good && c > 0x20 && c < 0x7f && !strchr("\"'\\#,", c);
    }
    return good;
}

bool ek_people_list_is_good(const char *list)
{
    size_t len = strlen(list);
    bool good = len <= EK_PEOPLE_LIST_MAX;
    for (size_t i = 0; i < len; i++) good = good && list[i] >= 0x20 && list[i] < 0x7f;
    return good;
}

uint64_t ek_people_id(void)
{
    uint64_t random;
    randombytes_buf(&random, sizeof random);
    return (random >> 2) + 1;
}

static void copy_text(char *out, size_t cap, struct ek_str s)
{
    size_t len = s.len < cap - 1 ? s.len : cap - 1;
    if (len) memcpy(out, s.data, len);
    out[len] = '\0';
}

void ek_column_text(const struct ek_sql_value *column, char *out, size_t cap)
{
    copy_text(out, cap, column->bytes);
}

/* ---- accounts -------------------------------------------------------------------------------- */

#define ACCOUNT_COLUMNS \
    "id, version, created_ns, state, budget_day_nano, budget_month_nano, running_max, minute_requests," \
    " minute_tokens, day_thoughts, expires_ns, borrow, name, tier, models, addresses"

struct account_rows {
    ek_account_row_fn *fn;
    void *arg;
    uint64_t count;
};

static void account_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct account_rows *r = arg;
    MUST(count == 16);
    struct ek_account_row row = {
        .id = (uint64_t)c[0].number, .version = (uint64_t)c[1].number,
        .created_unix_ns = (uint64_t)c[2].number, .state = (enum ek_account_state)c[3].number,
        .limits = {.budget_day_nano = c[4].number, .budget_month_nano = c[5].number,
                   .running_max = (uint64_t)c[6].number, .minute_requests = (uint64_t)c[7].number,
                   .minute_tokens = (uint64_t)c[8].number, .day_thoughts = (uint64_t)c[9].number,
                   .expires_unix_ns = (uint64_t)c[10].number, .borrow = c[11].number != 0}};
    copy_text(row.name, sizeof row.name, c[12].bytes);
    copy_text(row.tier, sizeof row.tier, c[13].bytes);
    copy_text(row.models, sizeof row.models, c[14].bytes);
    copy_text(row.addresses, sizeof row.addresses, c[15].bytes);
    r->count++;
    r->fn(r->arg, &row);
}

static void keep_account(void *arg, const struct ek_account_row *row)
{
    *(struct ek_account_row *)arg = *row;
}

enum ek_status ek_people_account(struct ek_ledger *l, const char *name, struct ek_account_row *out)
{
    struct account_rows r = {keep_account, out, 0};
    struct ek_sql_value v = ek_sql_cstr(name);
    enum ek_status s = ek_sql_run(l->db, "SELECT " ACCOUNT_COLUMNS " FROM account WHERE name = $1", &v, 1,
                                  account_row, &r);
    return s == EK_OK && r.count == 0 ? EK_ABSENT : s;
}

enum ek_status ek_people_accounts(struct ek_ledger *l, uint64_t version, uint64_t max, ek_account_row_fn *fn,
                                  void *arg)
{
    struct account_rows r = {fn, arg, 0};
    struct ek_sql_value v[] = {ek_sql_number((int64_t)version), ek_sql_number((int64_t)max)};
    return ek_sql_run(l->db, "SELECT " ACCOUNT_COLUMNS " FROM account WHERE version > $1"
                      " ORDER BY version LIMIT $2", v, 2, account_row, &r);
}

enum ek_status ek_people_accounts_named(struct ek_ledger *l, const char *after, uint64_t max,
                                        ek_account_row_fn *fn, void *arg)
{
    struct account_rows r = {fn, arg, 0};
    struct ek_sql_value v[] = {ek_sql_cstr(after), ek_sql_number((int64_t)max)};
    return ek_sql_run(l->db, "SELECT " ACCOUNT_COLUMNS " FROM account WHERE name > $1"
                      " ORDER BY name LIMIT $2", v, 2, account_row, &r);
}

static enum ek_status change_body(struct ek_ledger *l, void *arg)
{
    const struct ek_account_row *r = arg;
    int64_t version = 0;
    int32_t changed = 0;
    enum ek_status s = ek_ledger_version(l, &version);
    if (s != EK_OK) return s;
    struct ek_sql_value v[] = {
        ek_sql_number((int64_t)r->id), ek_sql_number(version), ek_sql_number(r->state),
        ek_sql_number(r->limits.budget_day_nano), ek_sql_number(r->limits.budget_month_nano),
        ek_sql_number((int64_t)r->limits.running_max), ek_sql_number((int64_t)r->limits.minute_requests),
        ek_sql_number((int64_t)r->limits.minute_tokens), ek_sql_number((int64_t)r->limits.day_thoughts),
        ek_sql_number((int64_t)r->limits.expires_unix_ns), ek_sql_number(r->limits.borrow),
        ek_sql_cstr(r->tier), ek_sql_cstr(r->models), ek_sql_cstr(r->addresses)};
    s = ek_sql_each(l->db, "UPDATE account SET version = $2, state = $3, budget_day_nano = $4,"
                    " budget_month_nano = $5, running_max = $6, minute_requests = $7, minute_tokens = $8,"
                    " day_thoughts = $9, expires_ns = $10, borrow = $11, tier = $12, models = $13,"
                    " addresses = $14 WHERE id = $1", v, EK_COUNT(v), 1, &changed);
    return s == EK_OK && changed == 0 ? EK_ABSENT : s;
}

enum ek_status ek_people_change(struct ek_ledger *l, const struct ek_account_row *row)
{
    if (!ek_name_is_good(ek_str_of(row->tier)) || !ek_people_list_is_good(row->models) ||
        !ek_people_list_is_good(row->addresses) || row->limits.budget_day_nano < 0 ||
        row->limits.budget_month_nano < 0)
        return EK_INVALID;
    struct ek_account_row copy = *row;
    return ek_ledger_in_transaction(l, change_body, &copy);
}

/* ---- keys ------------------------------------------------------------------------------------ */

#define KEY_COLUMNS "id, account, version, created_ns, expires_ns, revoked_ns, name, end_user, hash"

struct key_rows {
    ek_key_row_fn *fn;
    void *arg;
    uint64_t count;
};

static void key_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct key_rows *r = arg;
    MUST(count == 9);
    struct ek_key_row row = {
        .id = (uint64_t)c[0].number, .account = (uint64_t)c[1].number, .version = (uint64_t)c[2].number,
        .created_unix_ns = (uint64_t)c[3].number, .expires_unix_ns = (uint64_t)c[4].number,
        .revoked_unix_ns = (uint64_t)c[5].number};
    copy_text(row.name, sizeof row.name, c[6].bytes);
    copy_text(row.end_user, sizeof row.end_user, c[7].bytes);
    if (c[8].bytes.len == sizeof row.hash) memcpy(row.hash, c[8].bytes.data, sizeof row.hash);
    r->count++;
    r->fn(r->arg, &row);
}

static void keep_key(void *arg, const struct ek_key_row *row)
{
    *(struct ek_key_row *)arg = *row;
}

enum ek_status ek_people_key(struct ek_ledger *l, uint64_t id, struct ek_key_row *out)
{
    struct key_rows r = {keep_key, out, 0};
    struct ek_sql_value v = ek_sql_number((int64_t)id);
    enum ek_status s = ek_sql_run(l->db, "SELECT " KEY_COLUMNS " FROM api_key WHERE id = $1", &v, 1, key_row,
                                  &r);
    return s == EK_OK && r.count == 0 ? EK_ABSENT : s;
}

enum ek_status ek_people_keys(struct ek_ledger *l, uint64_t version, uint64_t max, ek_key_row_fn *fn,
                              void *arg)
{
    struct key_rows r = {fn, arg, 0};
    struct ek_sql_value v[] = {ek_sql_number((int64_t)version), ek_sql_number((int64_t)max)};
    return ek_sql_run(l->db, "SELECT " KEY_COLUMNS " FROM api_key WHERE version > $1"
                      " ORDER BY version LIMIT $2", v, 2, key_row, &r);
}

enum ek_status ek_people_keys_of(struct ek_ledger *l, uint64_t account, uint64_t after, uint64_t max,
                                 ek_key_row_fn *fn, void *arg)
{
    struct key_rows r = {fn, arg, 0};
    struct ek_sql_value v[] = {ek_sql_number((int64_t)account), ek_sql_number((int64_t)after),
                               ek_sql_number((int64_t)max)};
    return ek_sql_run(l->db, "SELECT " KEY_COLUMNS " FROM api_key WHERE account = $1 AND id > $2"
                      " ORDER BY id LIMIT $3", v, 3, key_row, &r);
}

/* Inside a transaction. */
enum ek_status ek_people_key_put(struct ek_ledger *l, const struct ek_key_row *k)
{
    int64_t version = 0;
    enum ek_status s = ek_ledger_version(l, &version);
    struct ek_sql_value v[] = {ek_sql_number((int64_t)k->id), ek_sql_number((int64_t)k->account),
                               ek_sql_number(version), ek_sql_cstr(k->name), ek_sql_cstr(k->end_user),
                               ek_sql_bytes(k->hash, sizeof k->hash),
                               ek_sql_number((int64_t)ek_ledger_now_ns(l)),
                               ek_sql_number((int64_t)k->expires_unix_ns)};
    if (s != EK_OK) return s;
    return ek_sql_run(l->db, "INSERT INTO api_key (id, account, version, name, end_user, hash, created_ns,"
                      " expires_ns, revoked_ns) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0)", v, EK_COUNT(v),
                      NULL, NULL);
}

static enum ek_status add_body(struct ek_ledger *l, void *arg)
{
    return ek_people_key_put(l, arg);
}

/* A fresh token and the row that remembers it. */
void ek_people_key_make(const struct ek_secret *secret, struct ek_key_row *k, char token[EK_TOKEN_BYTES])
{
    ek_token_make("sk-ek-", token);
    ek_token_hash(secret, ek_str_of(token), k->hash);
    k->id = ek_people_id();
}

enum ek_status ek_people_key_add(struct ek_ledger *l, const struct ek_secret *secret, uint64_t account,
                                 const char *name, const char *end_user, uint64_t expires_unix_ns,
                                 char token[EK_TOKEN_BYTES], uint64_t *id)
{
    struct ek_key_row k = {.account = account, .expires_unix_ns = expires_unix_ns};
    if (!ek_name_is_good(ek_str_of(name))) return EK_INVALID;
    if (*end_user && !ek_name_is_good(ek_str_of(end_user))) return EK_INVALID;
    copy_text(k.name, sizeof k.name, ek_str_of(name));
    copy_text(k.end_user, sizeof k.end_user, ek_str_of(end_user));
    ek_people_key_make(secret, &k, token);
    *id = k.id;
    return ek_ledger_in_transaction(l, add_body, &k);
}

struct end_ask {
    uint64_t id, expires_unix_ns; /* 0: revoked at once */
};

static enum ek_status end_body(struct ek_ledger *l, void *arg)
{
    struct end_ask *a = arg;
    int64_t version = 0;
    int32_t changed = 0;
    enum ek_status s = ek_ledger_version(l, &version);
    if (s != EK_OK) return s;
    bool now = a->expires_unix_ns == 0;
    struct ek_sql_value v[] = {
        ek_sql_number((int64_t)a->id), ek_sql_number(version),
        ek_sql_number((int64_t)(now ? ek_ledger_now_ns(l) : a->expires_unix_ns))};
    s = ek_sql_each(l->db, now ? "UPDATE api_key SET version = $2, revoked_ns = $3 WHERE id = $1"
                                 " AND revoked_ns = 0"
                               : "UPDATE api_key SET version = $2, expires_ns = $3 WHERE id = $1"
                                 " AND revoked_ns = 0 AND (expires_ns = 0 OR expires_ns > $3)",
                    v, 3, 1, &changed);
    return s == EK_OK && now && changed == 0 ? EK_ABSENT : s;
}

enum ek_status ek_people_key_revoke(struct ek_ledger *l, uint64_t id)
{
    struct end_ask ask = {id, 0};
    return ek_ledger_in_transaction(l, end_body, &ask);
}

struct rotate_ask {
    struct end_ask old;
    uint64_t overlap_ns;
    struct ek_key_row fresh;
};

static enum ek_status rotate_body(struct ek_ledger *l, void *arg)
{
    struct rotate_ask *a = arg;
    struct ek_key_row old;
    uint64_t now = ek_ledger_now_ns(l);
    enum ek_status s = ek_people_key(l, a->old.id, &old);
    if (s != EK_OK) return s;
    if (old.revoked_unix_ns || (old.expires_unix_ns && old.expires_unix_ns <= now)) return EK_ABSENT;
    struct ek_key_row fresh = a->fresh;
    fresh.account = old.account;
    fresh.expires_unix_ns = old.expires_unix_ns;
    memcpy(fresh.name, old.name, sizeof fresh.name);
    memcpy(fresh.end_user, old.end_user, sizeof fresh.end_user);
    a->old.expires_unix_ns = now + a->overlap_ns;
    s = end_body(l, &a->old);
    return s == EK_OK ? ek_people_key_put(l, &fresh) : s;
}

enum ek_status ek_people_key_rotate(struct ek_ledger *l, const struct ek_secret *secret, uint64_t id,
                                    uint64_t overlap_ns, char token[EK_TOKEN_BYTES], uint64_t *new_id)
{
    struct rotate_ask ask = {.old = {.id = id}, .overlap_ns = overlap_ns};
    MUST(overlap_ns < UINT64_C(1) << 62);
    ek_people_key_make(secret, &ask.fresh, token);
    *new_id = ask.fresh.id;
    return ek_ledger_in_transaction(l, rotate_body, &ask);
}
