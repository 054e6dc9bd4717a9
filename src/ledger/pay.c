/* SPDX-License-Identifier: MIT */
/* Accounts and their payments, refunds, balances; and the audit, which believes no sum that it has not added
 * up from the rows itself. */
#include "ledger/book.h"
#include "ledger/ledger_inside.h"
#include "ledger/people.h"

#include <sodium.h>
#include <stdio.h>

/* ---- accounts -------------------------------------------------------------------------------- */

enum ek_status ek_ledger_account_put(struct ek_ledger *l, const char *name, const char *tier, uint64_t *id)
{
    uint64_t random;
    int64_t version = 0;
    enum ek_status s = ek_ledger_version(l, &version);
    if (s != EK_OK) return s;
    randombytes_buf(&random, sizeof random);
    *id = (random >> 2) + 1; /* a positive number in every language, and no hint how many there are */
    struct ek_sql_value v[] = {ek_sql_number((int64_t)*id), ek_sql_cstr(name), ek_sql_cstr(tier),
                               ek_sql_number((int64_t)ek_ledger_now_ns(l)), ek_sql_number(version)};
    return ek_sql_run(l->db, "INSERT INTO account (id, name, tier, created_ns, version)"
                      " VALUES ($1, $2, $3, $4, $5)", v, EK_COUNT(v), NULL, NULL);
}

struct add_ask {
    const char *name, *tier;
    uint64_t id;
};

static enum ek_status add_body(struct ek_ledger *l, void *arg)
{
    struct add_ask *a = arg;
    return ek_ledger_account_put(l, a->name, a->tier, &a->id);
}

enum ek_status ek_ledger_account_add(struct ek_ledger *l, const char *name, const char *tier, uint64_t *id)
{
    MUST_OBJ(l, EK_LEDGER_MAGIC);
    struct add_ask ask = {name, tier, 0};
    if (!ek_name_is_good(ek_str_of(name)) || !ek_name_is_good(ek_str_of(tier))) return EK_INVALID;
    enum ek_status s = ek_ledger_in_transaction(l, add_body, &ask);
    *id = ask.id;
    return s;
}

enum ek_status ek_ledger_account_find(struct ek_ledger *l, const char *name, uint64_t *id)
{
    int64_t at[1];
    struct ek_numbers n = {.max = 1, .at = at};
    struct ek_sql_value v = ek_sql_cstr(name);
    enum ek_status s = ek_sql_run(l->db, "SELECT id FROM account WHERE name = $1", &v, 1,
                                  ek_numbers_row, &n);
    if (s == EK_OK && n.count == 0) return EK_ABSENT;
    if (s == EK_OK) *id = (uint64_t)at[0];
    return s;
}

enum ek_status ek_ledger_balance(struct ek_ledger *l, uint64_t account, struct ek_balance *out)
{
    int64_t at[10];
    struct ek_numbers n = {.max = EK_COUNT(at), .at = at};
    uint64_t now = ek_ledger_now_ns(l);
    uint32_t day = ek_day_of(now), first = day;
    while (first > 0 && ek_month_of((uint64_t)(first - 1) * 86400 * EK_S_NS) == ek_month_of(now)) first--;
    struct ek_sql_value v[] = {ek_sql_number((int64_t)account), ek_sql_number(day),
                               ek_sql_number(first)};
    enum ek_status s = ek_sql_run(
        l->db, "SELECT a.granted_nano, a.topped_nano, a.paid_nano, a.spent_nano, a.forgiven_nano,"
        " (SELECT CAST(COALESCE(SUM(granted_nano), 0) AS BIGINT) FROM lease WHERE account = $1),"
        " (SELECT CAST(COALESCE(SUM(topped_nano), 0) AS BIGINT) FROM lease WHERE account = $1),"
        " (SELECT COUNT(*) FROM lease WHERE account = $1),"
        " (SELECT CAST(COALESCE(SUM(charged_nano), 0) AS BIGINT) FROM usage_day WHERE account = $1"
        "   AND day = $2),"
        " (SELECT CAST(COALESCE(SUM(charged_nano), 0) AS BIGINT) FROM usage_day WHERE account = $1"
        "   AND day >= $3 AND day <= $2)"
        " FROM account a WHERE a.id = $1", v, EK_COUNT(v), ek_numbers_row, &n);
    if (s == EK_OK && n.count != EK_COUNT(at)) return EK_ABSENT;
    if (s != EK_OK) return s;
    *out = (struct ek_balance){.free = {at[0], at[1]}, .leased = {at[5], at[6]}, .paid_nano = at[2],
                               .spent_nano = at[3], .forgiven_nano = at[4], .leases = (uint64_t)at[7],
                               .spent_day_nano = at[8], .spent_month_nano = at[9]};
    return EK_OK;
}

/* ---- payments -------------------------------------------------------------------------------- */

struct pay_ask {
    struct ek_id name;
    uint64_t account;
    struct ek_money amount;
    const char *note;
    bool before;
};

/* The payment that stands under this name already: is it the same one? */
static enum ek_status paid_before(struct ek_ledger *l, struct pay_ask *a)
{
    uint8_t id[16];
    int64_t at[3];
    struct ek_numbers n = {.max = 3, .at = at};
    ek_id_put(a->name, id);
    struct ek_sql_value v = EK_SQL_ID(id);
    enum ek_status s = ek_sql_run(l->db, "SELECT account, granted_nano,"
                        " topped_nano FROM entry WHERE name = $1"
                                  " AND kind = 'pay'", &v, 1, ek_numbers_row, &n);
    if (s != EK_OK) return s;
    a->before = n.count == 3 && (uint64_t)at[0] == a->account && at[1] == a->amount.granted_nano &&
                at[2] == a->amount.topped_nano;
    return a->before ? EK_OK : EK_INVALID;
}

static bool payable(struct ek_money have, struct ek_money more)
{
    int64_t g, t;
    return !__builtin_add_overflow(have.granted_nano, more.granted_nano,
                                   &g) && g >= 0 && g <= EK_MONEY_MAX &&
           !__builtin_add_overflow(have.topped_nano, more.topped_nano, &t) && t <= EK_MONEY_MAX &&
           (t >= 0 || more.topped_nano >= 0);
}

static enum ek_status pay_body(struct ek_ledger *l, void *arg)
{
    struct pay_ask *a = arg;
    struct ek_money free_now;
    a->before = false;
    enum ek_status s = ek_ledger_free(l, a->account, &free_now);
    if (s != EK_OK) return s;
    s = ek_ledger_entry(l, a->name, a->account, "pay", 0, NULL, a->amount, a->note);
    if (s == EK_ABSENT) return paid_before(l, a);
    if (s == EK_OK && !payable(free_now, a->amount)) return EK_INVALID;
    if (s == EK_OK) s = ek_ledger_add(l, a->account, a->amount, ek_money_sum(a->amount), 0, 0);
    return s;
}

enum ek_status ek_ledger_pay(struct ek_ledger *l, struct ek_id name, uint64_t account,
                             struct ek_money amount,
                             const char *note, bool *before)
{
    struct pay_ask ask = {name, account, amount, note, false};
    MUST(ek_id_is_set(name));
    int64_t most = EK_MONEY_MAX;
    if (amount.granted_nano > most || amount.granted_nano < -most || amount.topped_nano > most ||
        amount.topped_nano < -most)
        return EK_INVALID;
    enum ek_status s = ek_ledger_in_transaction(l, pay_body, &ask);
    *before = ask.before;
    return s;
}

struct refund_ask {
    struct ek_id name, request;
    int64_t nano;
    const char *note;
    struct ek_money back;
};

static enum ek_status refund_body(struct ek_ledger *l, void *arg)
{
    struct refund_ask *a = arg;
    struct ek_settle_record r;
    struct ek_settle_outcome o;
    struct ek_money free_now;
    uint8_t id[16];
    int64_t at[2] = {0, 0};
    struct ek_numbers n = {.max = 2, .at = at};
    a->back = (struct ek_money){0, 0};
    enum ek_status s = ek_ledger_request(l, a->request, &r, &o);
    if (s == EK_OK) s = ek_ledger_free(l, r.account, &free_now); /* one refund at a time */
    if (s != EK_OK) return s;
    ek_id_put(a->request, id);
    struct ek_sql_value v = EK_SQL_ID(id);
    s = ek_sql_run(l->db, "SELECT CAST(COALESCE(SUM(granted_nano), 0) AS BIGINT),"
                   " CAST(COALESCE(SUM(topped_nano), 0) AS BIGINT) FROM entry"
                   " WHERE kind = 'refund' AND about = $1", &v, 1, ek_numbers_row, &n);
    int64_t topped = r.charged.topped_nano - at[1], granted = r.charged.granted_nano - at[0];
    a->back.topped_nano = a->nano < topped ? a->nano : topped;
    int64_t rest = a->nano - a->back.topped_nano;
    a->back.granted_nano = rest < granted ? rest : granted;
    if (s == EK_OK) s = ek_ledger_entry(l, a->name, r.account, "refund", 0, &a->request, a->back,
                                        a->note);
    if (s == EK_ABSENT) { /* this refund was made already */
        a->back = (struct ek_money){0, 0};
        return EK_OK;
    }
    if (s == EK_OK) s = ek_ledger_add(l, r.account, a->back, 0, -ek_money_sum(a->back), 0);
    return s;
}

enum ek_status ek_ledger_refund(struct ek_ledger *l, struct ek_id name, struct ek_id request,
                                int64_t nano,
                                const char *note, struct ek_money *back)
{
    struct refund_ask ask = {.name = name, .request = request, .nano = nano, .note = note};
    MUST(nano >= 0 && ek_id_is_set(name));
    enum ek_status s = ek_ledger_in_transaction(l, refund_body, &ask);
    *back = ask.back;
    return s;
}

/* ---- the audit: doors go on meanwhile ---------------------------------------------------------- */

/* One account: what its row says, and what its entries, settlements and leases add up to. */
static const char audit_text[] =
    "SELECT a.id, a.granted_nano + a.topped_nano, a.paid_nano, a.spent_nano, a.forgiven_nano,"
    " (SELECT CAST(COALESCE(SUM(granted_nano + topped_nano), 0) AS BIGINT) FROM lease WHERE account = a.id),"
    " (SELECT CAST(COALESCE(SUM(CASE WHEN kind = 'pay' THEN granted_nano + topped_nano END), 0) AS BIGINT)"
    "   FROM entry WHERE account = a.id),"
    " (SELECT CAST(COALESCE(SUM(CASE WHEN kind = 'refund' THEN granted_nano + topped_nano END), 0) AS BIGINT)"
    "   FROM entry WHERE account = a.id),"
    " (SELECT CAST(COALESCE(SUM(CASE kind WHEN 'lease' THEN granted_nano + topped_nano"
    "   WHEN 'return' THEN -(granted_nano + topped_nano) WHEN 'reclaim' THEN -(granted_nano + topped_nano)"
    "   END), 0) AS BIGINT) FROM entry WHERE account = a.id),"
    " (SELECT CAST(COALESCE(SUM(granted_nano + topped_nano), 0) AS BIGINT) FROM settlement"
    "   WHERE account = a.id),"
    " (SELECT CAST(COALESCE(SUM(CASE WHEN late = 0 THEN granted_nano + topped_nano END), 0) AS BIGINT)"
    "   FROM settlement WHERE account = a.id),"
    " (SELECT CAST(COALESCE(SUM(forgiven_nano), 0) AS BIGINT) FROM settlement WHERE account = a.id),"
    " (SELECT CAST(COALESCE(SUM(charged_nano), 0) AS BIGINT) FROM usage_day WHERE account = a.id)"
    " FROM account a";

static void audit_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct ek_audit *a = arg;
    MUST(count == 13);
    int64_t free_now = c[1].number, paid = c[2].number, spent = c[3].number, leased = c[5].number;
    const char *what = NULL;
    if (free_now + leased + spent != paid) what = "free + leased + spent is not paid in";
    if (paid != c[6].number) what = "its payments do not add up to what was paid in";
    if (spent != c[9].number - c[7].number) what = "its settlements do not add up to what was spent";
    if (leased != c[8].number - c[10].number) what = "its leases do not follow from the entries";
    if (c[4].number != c[11].number) what = "what was forgiven does not add up";
    if (c[12].number != c[9].number) what = "its usage by day does not add up to its settlements";
    if (what && a->wrong++ == 0)
        snprintf(a->first, sizeof a->first, "account %lld: %s (free %lld, leased %lld, spent %lld,"
                        " paid %lld)",
                 (long long)c[0].number, what, (long long)free_now, (long long)leased, (long long)spent,
                 (long long)paid);
    a->accounts++;
    a->balance_nano += free_now;
    a->paid_nano += paid;
    a->spent_nano += spent;
    a->leased_nano += leased;
    a->forgiven_nano += c[4].number;
}

static enum ek_status add_up(struct ek_ledger *l, struct ek_audit *out)
{
    int64_t at[3];
    struct ek_numbers n = {.max = 3, .at = at};
    *out = (struct ek_audit){0};
    enum ek_status s = ek_sql_run(l->db, audit_text, NULL, 0, audit_row, out);
    if (s == EK_OK)
        s = ek_sql_run(l->db, "SELECT (SELECT COUNT(*) FROM settlement), (SELECT COUNT(*) FROM entry),"
                       " (SELECT COUNT(*) FROM lease)", NULL, 0, ek_numbers_row, &n);
    if (s != EK_OK) return s;
    MUST(n.count == 3);
    out->settlements = (uint64_t)at[0];
    out->entries = (uint64_t)at[1];
    out->leases = (uint64_t)at[2];
    return EK_OK;
}

enum ek_status ek_ledger_audit(struct ek_ledger *l, struct ek_audit *out)
{
    ek_sql_patience(l->db, EK_SQL_PATIENCE_LONG_MS);
    enum ek_status s = ek_sql_begin_reading(l->db);
    if (s == EK_OK) s = add_up(l, out);
    if (s == EK_OK) s = ek_sql_commit(l->db);
    if (s != EK_OK) ek_sql_rollback(l->db);
    ek_sql_patience(l->db, EK_SQL_PATIENCE_MS);
    return s;
}
