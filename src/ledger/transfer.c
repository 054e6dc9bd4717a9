/* SPDX-License-Identifier: MIT */
/* Export and import of accounts. Reading is as strict as writing is plain: a member that is missing,
 * unknown or of another type refuses the line, and a line is one transaction. */
#include "ledger/transfer.h"

#include "ledger/ledger_inside.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- out ------------------------------------------------------------------------------------- */

static json_t *text_of_u64(uint64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)v);
    return json_string(text);
}

static json_t *text_of_i64(int64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)v);
    return json_string(text);
}

static json_t *key_json(const struct ek_key_row *k)
{
    char hex[2 * EK_TOKEN_HASH_BYTES + 1];
    sodium_bin2hex(hex, sizeof hex, k->hash, sizeof k->hash);
    return json_pack("{s:o, s:s, s:s, s:s, s:o, s:o, s:o}", "id", text_of_u64(k->id), "name", k->name,
                     "end_user", k->end_user, "hash", hex, "created_ns", text_of_u64(k->created_unix_ns),
                     "expires_ns", text_of_u64(k->expires_unix_ns), "revoked_ns",
                     text_of_u64(k->revoked_unix_ns));
}

static void collect_key(void *arg, const struct ek_key_row *row)
{
    json_array_append_new(arg, key_json(row));
}

static json_t *account_json(const struct ek_account_row *a, struct ek_money balance, json_t *keys)
{
    const struct ek_account_limits *l = &a->limits;
    json_t *money = json_pack("{s:o, s:o}", "granted_nano", text_of_i64(balance.granted_nano), "topped_nano",
                              text_of_i64(balance.topped_nano));
    json_t *limits = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "budget_day_nano", text_of_i64(l->budget_day_nano),
        "budget_month_nano", text_of_i64(l->budget_month_nano), "running_max", text_of_u64(l->running_max),
        "minute_requests", text_of_u64(l->minute_requests), "minute_tokens", text_of_u64(l->minute_tokens),
        "day_thoughts", text_of_u64(l->day_thoughts), "expires_ns", text_of_u64(l->expires_unix_ns), "borrow",
        (int)l->borrow);
    return json_pack("{s:i, s:o, s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:s, s:o}", "v", 1, "id",
                     text_of_u64(a->id), "name", a->name, "tier", a->tier, "state",
                     a->state == EK_ACCOUNT_SUSPENDED ? "suspended" : "active", "created_ns",
                     text_of_u64(a->created_unix_ns), "balance", money, "limits", limits, "models", a->models,
                     "addresses", a->addresses, "keys", keys);
}

static enum ek_status put_account(struct ek_ledger *l, const struct ek_account_row *a, struct ek_buf *out)
{
    struct ek_balance b;
    json_t *keys = json_array();
    enum ek_status s = ek_ledger_balance(l, a->id, &b);
    if (s == EK_OK) s = ek_people_keys_of(l, a->id, 0, EK_TRANSFER_KEYS_MAX + 1, collect_key, keys);
    if (s == EK_OK && json_array_size(keys) > EK_TRANSFER_KEYS_MAX) s = EK_FULL;
    if (s != EK_OK) {
        json_decref(keys);
        return s;
    }
    json_t *j = account_json(a, ek_money_add(b.free, b.leased), keys);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    MUST(text);
    ek_buf_lit(out, text);
    ek_buf_char(out, '\n');
    free(text);
    json_decref(j);
    return out->failed ? EK_FULL : EK_OK;
}

struct page {
    struct ek_account_row *row;
    size_t count;
};

static void collect_account(void *arg, const struct ek_account_row *row)
{
    struct page *p = arg;
    p->row[p->count++] = *row;
}

enum ek_status ek_transfer_out(struct ek_ledger *l, const char *after, uint64_t max, struct ek_buf *out,
                               char last[EK_LEDGER_NAME_MAX + 1], uint64_t *count)
{
    MUST(max > 0 && max <= 1000);
    struct page p = {.row = calloc(max, sizeof *p.row)};
    MUST(p.row);
    *last = '\0';
    enum ek_status s = ek_people_accounts_named(l, after, max, collect_account, &p);
    for (size_t i = 0; s == EK_OK && i < p.count; i++) s = put_account(l, &p.row[i], out);
    if (s == EK_OK && p.count) snprintf(last, EK_LEDGER_NAME_MAX + 1, "%s", p.row[p.count - 1].name);
    *count = p.count;
    free(p.row);
    return s;
}

/* ---- in -------------------------------------------------------------------------------------- */

/* One object being read: every member must be asked for exactly once, and there are no others. */
struct reader {
    const json_t *object;
    size_t asked;
    bool good;
};

static const json_t *member(struct reader *r, const char *name)
{
    const json_t *v = json_object_get(r->object, name);
    r->asked++;
    r->good = r->good && v;
    return v;
}

static void read_text(struct reader *r, const char *name, char *out, size_t cap)
{
    const json_t *v = member(r, name);
    const char *text = json_string_value(v);
    r->good = r->good && text && json_string_length(v) == strlen(text) && strlen(text) < cap;
    *out = '\0';
    if (r->good) memcpy(out, text, strlen(text) + 1);
}

static uint64_t read_u64(struct reader *r, const char *name)
{
    uint64_t v = 0;
    const json_t *j = member(r, name);
    r->good = r->good && ek_str_u64(ek_str_of(json_string_value(j)), &v) && v <= INT64_MAX;
    return v;
}

static int64_t read_i64(struct reader *r, const char *name)
{
    uint64_t v = 0;
    const json_t *j = member(r, name);
    struct ek_str text = ek_str_of(json_string_value(j));
    bool minus = ek_str_starts(text, EK_STR("-"));
    if (minus) text = ek_str_skip(text, 1);
    r->good = r->good && ek_str_u64(text, &v) && v <= EK_MONEY_MAX;
    return r->good ? minus ? -(int64_t)v : (int64_t)v : 0;
}

static bool read_whole(const struct reader *r)
{
    return r->good && json_is_object(r->object) && json_object_size(r->object) == r->asked;
}

static bool read_limits(const json_t *j, struct ek_account_limits *l)
{
    struct reader r = {.object = j, .good = json_is_object(j)};
    l->budget_day_nano = read_i64(&r, "budget_day_nano");
    l->budget_month_nano = read_i64(&r, "budget_month_nano");
    l->running_max = read_u64(&r, "running_max");
    l->minute_requests = read_u64(&r, "minute_requests");
    l->minute_tokens = read_u64(&r, "minute_tokens");
    l->day_thoughts = read_u64(&r, "day_thoughts");
    l->expires_unix_ns = read_u64(&r, "expires_ns");
    const json_t *borrow = member(&r, "borrow");
    l->borrow = json_is_true(borrow);
    return read_whole(&r) && json_is_boolean(borrow) && l->budget_day_nano >= 0 && l->budget_month_nano >= 0;
}

static bool read_key(const json_t *j, struct ek_key_row *k)
{
    struct reader r = {.object = j, .good = json_is_object(j)};
    char hex[2 * EK_TOKEN_HASH_BYTES + 1];
    size_t len = 0;
    k->id = read_u64(&r, "id");
    read_text(&r, "name", k->name, sizeof k->name);
    read_text(&r, "end_user", k->end_user, sizeof k->end_user);
    read_text(&r, "hash", hex, sizeof hex);
    k->created_unix_ns = read_u64(&r, "created_ns");
    k->expires_unix_ns = read_u64(&r, "expires_ns");
    k->revoked_unix_ns = read_u64(&r, "revoked_ns");
    return read_whole(&r) && k->id > 0 && ek_name_is_good(ek_str_of(k->name)) &&
           (!*k->end_user || ek_name_is_good(ek_str_of(k->end_user))) &&
           sodium_hex2bin(k->hash, sizeof k->hash, hex, strlen(hex), NULL, &len, NULL) == 0 &&
           len == sizeof k->hash;
}

struct import {
    struct ek_account_row row;
    struct ek_money balance;
    struct ek_key_row *key;
    size_t keys;
    struct ek_id payment;
    bool before;
    const char *why;
};

static bool read_line(struct ek_str line, struct import *in)
{
    json_t *j = json_loadb(line.data, line.len, JSON_REJECT_DUPLICATES, NULL);
    struct reader r = {.object = j, .good = json_is_object(j)};
    char state[16];
    const json_t *version = member(&r, "v"); /* jansson's macros read their argument twice */
    bool good = json_is_integer(version) && json_integer_value(version) == 1;
    in->row.id = read_u64(&r, "id");
    in->row.created_unix_ns = read_u64(&r, "created_ns");
    read_text(&r, "name", in->row.name, sizeof in->row.name);
    read_text(&r, "tier", in->row.tier, sizeof in->row.tier);
    read_text(&r, "state", state, sizeof state);
    read_text(&r, "models", in->row.models, sizeof in->row.models);
    read_text(&r, "addresses", in->row.addresses, sizeof in->row.addresses);
    good = read_limits(member(&r, "limits"), &in->row.limits) && good;
    struct reader m = {.object = member(&r, "balance"), .good = r.good};
    in->balance.granted_nano = read_i64(&m, "granted_nano");
    in->balance.topped_nano = read_i64(&m, "topped_nano");
    const json_t *keys = member(&r, "keys");
    good = good && read_whole(&r) && read_whole(&m) && json_is_array(keys) &&
           json_array_size(keys) <= EK_TRANSFER_KEYS_MAX && in->row.id > 0 && in->balance.granted_nano >= 0 &&
           ek_name_is_good(ek_str_of(in->row.name)) && ek_name_is_good(ek_str_of(in->row.tier)) &&
           ek_people_list_is_good(in->row.models) && ek_people_list_is_good(in->row.addresses) &&
           (strcmp(state, "active") == 0 || strcmp(state, "suspended") == 0);
    in->row.state = *state == 's' ? EK_ACCOUNT_SUSPENDED : EK_ACCOUNT_ACTIVE;
    in->keys = good ? json_array_size(keys) : 0;
    in->key = calloc(in->keys + 1, sizeof *in->key);
    MUST(in->key);
    for (size_t i = 0; good && i < in->keys; i++) {
        in->key[i].account = in->row.id;
        good = read_key(json_array_get(keys, i), &in->key[i]);
    }
    json_decref(j);
    return good;
}

/* Is the account here because this line, or one like it, was read before? */
static enum ek_status seen(struct ek_ledger *l, struct import *in)
{
    uint8_t name[16];
    int64_t at[3];
    struct ek_account_row old;
    struct ek_numbers n = {.max = 3, .at = at};
    enum ek_status s = ek_people_account(l, in->row.name, &old);
    if (s != EK_OK) return s; /* EK_ABSENT: new */
    ek_id_put(in->payment, name);
    struct ek_sql_value v = EK_SQL_ID(name);
    s = ek_sql_run(l->db, "SELECT account, granted_nano, topped_nano FROM entry WHERE name = $1", &v, 1,
                   ek_numbers_row, &n);
    if (s != EK_OK) return s;
    bool same = old.id == in->row.id && n.count == 3 && (uint64_t)at[0] == old.id &&
                at[1] == in->balance.granted_nano && at[2] == in->balance.topped_nano;
    in->before = same;
    if (!same) in->why = "an account of this name is here already, and not from this line";
    return same ? EK_OK : EK_INVALID;
}

static enum ek_status make_account(struct ek_ledger *l, const struct import *in)
{
    int64_t version = 0;
    enum ek_status s = ek_ledger_version(l, &version);
    struct ek_sql_value v[] = {ek_sql_number((int64_t)in->row.id), ek_sql_cstr(in->row.name),
                               ek_sql_cstr(in->row.tier), ek_sql_number((int64_t)in->row.created_unix_ns),
                               ek_sql_number(version)};
    if (s == EK_OK)
        s = ek_sql_run(l->db, "INSERT INTO account (id, name, tier, created_ns, version)"
                       " VALUES ($1, $2, $3, $4, $5)", v, EK_COUNT(v), NULL, NULL);
    return s == EK_OK ? ek_people_change(l, &in->row) : s;
}

static enum ek_status make_key_row(struct ek_ledger *l, const struct ek_key_row *k)
{
    struct ek_sql_value v[] = {ek_sql_number((int64_t)k->id), ek_sql_number((int64_t)k->created_unix_ns),
                               ek_sql_number((int64_t)k->revoked_unix_ns)};
    enum ek_status s = ek_people_key_put(l, k);
    if (s != EK_OK) return s;
    return ek_sql_run(l->db, "UPDATE api_key SET created_ns = $2, revoked_ns = $3 WHERE id = $1", v, 3, NULL,
                      NULL);
}

static enum ek_status import_body(struct ek_ledger *l, void *arg)
{
    struct import *in = arg;
    in->before = false;
    enum ek_status s = seen(l, in);
    if (s != EK_ABSENT) return s;
    in->why = "its id belongs to another account here";
    s = make_account(l, in);
    if (s == EK_OK) in->why = "one of its keys belongs to another account here";
    for (size_t i = 0; s == EK_OK && i < in->keys; i++) s = make_key_row(l, &in->key[i]);
    if (s != EK_OK) return s;
    in->why = "its first payment is here already, without it";
    s = ek_ledger_entry(l, in->payment, in->row.id, "pay", 0, NULL, in->balance, "imported");
    if (s == EK_ABSENT) return EK_INVALID;
    return s == EK_OK ? ek_ledger_add(l, in->row.id, in->balance, ek_money_sum(in->balance), 0, 0) : s;
}

enum ek_status ek_transfer_in(struct ek_ledger *l, struct ek_str line, bool *before, char *why, size_t cap)
{
    struct import in = {.why = "this line is no account"};
    uint8_t hash[EK_TOKEN_HASH_BYTES];
    char text[64];
    MUST(cap > 0);
    *why = '\0';
    *before = false;
    enum ek_status s = EK_INVALID;
    if (line.len <= EK_TRANSFER_LINE_BYTES_MAX && read_line(line, &in)) {
        int len = snprintf(text, sizeof text, "evenkeel import %llu", (unsigned long long)in.row.id);
        MUST(len > 0);
        MUST(crypto_generichash(hash, sizeof hash, (const unsigned char *)text, (unsigned)len, NULL, 0) == 0);
        in.payment = ek_id_get(hash);
        s = ek_ledger_in_transaction(l, import_body, &in);
    }
    *before = s == EK_OK && in.before;
    if (s == EK_INVALID) snprintf(why, cap, "%s", in.why);
    if (s == EK_IO) snprintf(why, cap, "%s", ek_sql_why(l->db));
    free(in.key);
    return s;
}
