/* SPDX-License-Identifier: MIT */
/* Opening, transactions, leases. Settlements are in settle.c, payments, accounts and the audit in pay.c. */
#include "ledger/ledger_inside.h"
#include "ledger/migrate.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

void ek_id_put(struct ek_id id, uint8_t out[16])
{
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(id.hi >> (56 - 8 * i));
        out[8 + i] = (uint8_t)(id.lo >> (56 - 8 * i));
    }
}

struct ek_id ek_id_get(const uint8_t in[16])
{
    struct ek_id id = {0, 0};
    for (int i = 0; i < 8; i++) {
        id.hi = id.hi << 8 | in[i];
        id.lo = id.lo << 8 | in[8 + i];
    }
    return id;
}

struct ek_id ek_id_random(void)
{
    uint8_t bytes[16];
    randombytes_buf(bytes, sizeof bytes);
    return ek_id_get(bytes);
}

/* ---- opening --------------------------------------------------------------------------------- */

enum ek_status ek_ledger_open(const struct ek_ledger_options *o, struct ek_ledger **out, char *why,
                              size_t cap)
{
    struct ek_sql *db = NULL;
    *out = NULL;
    MUST(o->lease_ns > 0 && *o->door);
    enum ek_status s = ek_sql_open(o->url, o->must_exist, &db, why, cap);
    if (s == EK_OK) {
        ek_sql_patience(db, EK_SQL_PATIENCE_LONG_MS);
        s = ek_migrate(db, why, cap);
        ek_sql_patience(db, EK_SQL_PATIENCE_MS);
    }
    int64_t clock_ns = s == EK_OK ? ek_sql_clock_ns(db) : 0;
    if (s == EK_OK && clock_ns == 0) {
        snprintf(why, cap, "%s", ek_sql_why(db));
        s = EK_IO;
    }
    if (s != EK_OK) {
        ek_sql_close(&db);
        return s;
    }
    struct ek_ledger *l = calloc(1, sizeof *l);
    struct ek_now now = ek_clock_read();
    MUST(l);
    l->magic = EK_LEDGER_MAGIC;
    l->db = db;
    l->lease_ns = o->lease_ns;
    l->since_mono_ns = now.mono_ns;
    l->clock_ahead_ns = clock_ns - (int64_t)now.unix_ns;
    snprintf(l->door, sizeof l->door, "%s", o->door);
    *out = l;
    return EK_OK;
}

void ek_ledger_close(struct ek_ledger **l)
{
    if (!*l) return;
    MUST_OBJ(*l, EK_LEDGER_MAGIC);
    ek_sql_close(&(*l)->db);
    (*l)->magic = 0;
    free(*l);
    *l = NULL;
}

const char *ek_ledger_why(const struct ek_ledger *l) { return ek_sql_why(l->db); }
bool ek_ledger_lost(const struct ek_ledger *l) { return ek_sql_lost(l->db); }
struct ek_sql *ek_ledger_sql(struct ek_ledger *l) { return l->db; }

uint64_t ek_ledger_now_ns(struct ek_ledger *l)
{
    return (uint64_t)((int64_t)ek_clock_read().unix_ns + l->clock_ahead_ns);
}

/* ---- what the files share -------------------------------------------------------------------- */

enum ek_status ek_ledger_in_transaction(struct ek_ledger *l,
                                        enum ek_status (*body)(struct ek_ledger *l, void *arg),
                                        void *arg)
{
    enum ek_status s = EK_IO;
    MUST_OBJ(l, EK_LEDGER_MAGIC);
    if (ek_sql_in_transaction(l->db)) return body(l, arg);
    for (int i = 0; i < EK_SQL_TRIES_MAX; i++) {
        s = ek_sql_begin(l->db);
        if (s == EK_OK) s = body(l, arg);
        if (s == EK_OK) s = ek_sql_commit(l->db);
        if (s == EK_OK) return s;
        ek_sql_rollback(l->db);
        if (!ek_sql_again(l->db)) return s;
    }
    return s;
}

enum ek_status ek_ledger_together(struct ek_ledger *l, ek_ledger_body_fn *body, void *arg)
{
    return ek_ledger_in_transaction(l, body, arg);
}

void ek_numbers_row(void *arg, const struct ek_sql_value *column, size_t count)
{
    struct ek_numbers *n = arg;
    for (size_t i = 0; i < count && n->count < n->max; i++) n->at[n->count++] = column[i].number;
}

enum ek_status ek_ledger_entry(struct ek_ledger *l, struct ek_id name, uint64_t account,
                               const char *kind,
                               uint64_t fence, const struct ek_id *about, struct ek_money amount,
                               const char *note)
{
    uint8_t id[16], other[16];
    int32_t changed = 0;
    ek_id_put(name, id);
    if (about) ek_id_put(*about, other);
    struct ek_sql_value v[] = {EK_SQL_ID(id), ek_sql_number((int64_t)account), ek_sql_cstr(kind),
                               ek_sql_cstr(l->door), ek_sql_number((int64_t)fence),
                               about ? EK_SQL_ID(other) : (struct ek_sql_value){.type = EK_SQL_NULL},
                               ek_sql_number(amount.granted_nano), ek_sql_number(amount.topped_nano),
                               ek_sql_number((int64_t)ek_ledger_now_ns(l)), ek_sql_cstr(note)};
    enum ek_status s = ek_sql_each(l->db, "INSERT INTO entry VALUES ($1, $2, $3, $4, $5, $6, $7, $8,"
                                   " $9, $10)"
                                   " ON CONFLICT (name) DO NOTHING", v, EK_COUNT(v), 1, &changed);
    return s == EK_OK && changed == 0 ? EK_ABSENT : s;
}

enum ek_status ek_ledger_version(struct ek_ledger *l, int64_t *version)
{
    struct ek_numbers n = {.max = 1, .at = version};
    enum ek_status s = ek_sql_run(l->db, "UPDATE ledger_clock SET version = version + 1 RETURNING version",
                                  NULL, 0, ek_numbers_row, &n);
    return s == EK_OK && n.count != 1 ? EK_INVALID : s;
}

/* An update that changes nothing takes the row's lock on both databases, and reads it. */
enum ek_status ek_ledger_free(struct ek_ledger *l, uint64_t account, struct ek_money *out)
{
    int64_t at[2];
    struct ek_numbers n = {.max = 2, .at = at};
    struct ek_sql_value v = ek_sql_number((int64_t)account);
    enum ek_status s = ek_sql_run(l->db, "UPDATE account SET fence = fence WHERE id = $1"
                                  " RETURNING granted_nano, topped_nano", &v, 1, ek_numbers_row, &n);
    if (s == EK_OK && n.count != 2) s = EK_ABSENT;
    if (s == EK_OK) *out = (struct ek_money){at[0], at[1]};
    return s;
}

enum ek_status ek_ledger_add(struct ek_ledger *l, uint64_t account, struct ek_money free,
                             int64_t paid_nano,
                             int64_t spent_nano, int64_t forgiven_nano)
{
    struct ek_sql_value v[] = {ek_sql_number((int64_t)account), ek_sql_number(free.granted_nano),
                               ek_sql_number(free.topped_nano), ek_sql_number(paid_nano),
                               ek_sql_number(spent_nano), ek_sql_number(forgiven_nano)};
    return ek_sql_run(l->db, "UPDATE account SET granted_nano = granted_nano + $2,"
                      " topped_nano = topped_nano + $3, paid_nano = paid_nano + $4,"
                      " spent_nano = spent_nano + $5, forgiven_nano = forgiven_nano + $6 WHERE id = $1",
                      v, EK_COUNT(v), NULL, NULL);
}

/* ---- leases ---------------------------------------------------------------------------------- */

struct lease_ask {
    uint64_t account;
    int64_t want_nano;
    struct ek_lease *out;
};

/* Leases of doors that have not renewed in time, back into the account. Only by a door that has been
 * connected long enough for every living one to have renewed. */
static enum ek_status reclaim(struct ek_ledger *l, uint64_t account)
{
    int64_t at[3 * 16];
    struct ek_numbers n = {.max = EK_COUNT(at), .at = at};
    if (ek_ns_since(ek_clock_read().mono_ns, l->since_mono_ns) < l->lease_ns) return EK_OK;
    struct ek_sql_value v[] = {ek_sql_number((int64_t)account), ek_sql_cstr(l->door),
                               ek_sql_number((int64_t)ek_ledger_now_ns(l))};
    enum ek_status s = ek_sql_run(l->db, "SELECT fence, granted_nano, topped_nano FROM lease"
                                  " WHERE account = $1 AND door <> $2 AND until_ns < $3 LIMIT 16",
                                  v, 3, ek_numbers_row, &n);
    for (size_t i = 0; s == EK_OK && i + 2 < n.count; i += 3) {
        struct ek_money part = {at[i + 1], at[i + 2]};
        struct ek_sql_value d[] = {v[0], ek_sql_number(at[i]), ek_sql_number(part.granted_nano),
                                   ek_sql_number(part.topped_nano)};
        int32_t changed = 0;
        s = ek_sql_each(l->db,
                        "DELETE FROM lease WHERE account = $1 AND fence = $2 AND granted_nano = $3"
                        " AND topped_nano = $4", d, 4, 1, &changed);
        if (s != EK_OK || changed == 0) continue; /* it has just been used: leave it */
        s = ek_ledger_add(l, account, part, 0, 0, 0);
        if (s == EK_OK)
            s = ek_ledger_entry(l, ek_id_random(), account, "reclaim", (uint64_t)at[i], NULL, part, "");
    }
    return s;
}

/* The door's lease of the account grows by `part`; a new one gets the next fence. */
static enum ek_status put_lease(struct ek_ledger *l, uint64_t account, struct ek_money part,
                                uint64_t *fence)
{
    int64_t at[1] = {0};
    struct ek_numbers n = {.max = 1, .at = at};
    struct ek_sql_value v[] = {ek_sql_number((int64_t)account), ek_sql_cstr(l->door),
                               ek_sql_number(part.granted_nano), ek_sql_number(part.topped_nano),
                               ek_sql_number((int64_t)(ek_ledger_now_ns(l) + l->lease_ns))};
    enum ek_status s = ek_sql_run(l->db, "UPDATE account SET fence = fence + 1 WHERE id = $1", v, 1,
                                  NULL, NULL);
    if (s == EK_OK)
        s = ek_sql_run(l->db, "INSERT INTO lease (account, door, fence, granted_nano, topped_nano,"
                       " until_ns)"
                       " SELECT id, $2, fence, CAST($3 AS BIGINT), CAST($4 AS BIGINT),"
                       " CAST($5 AS BIGINT) FROM account WHERE id = $1"
                       " ON CONFLICT (account, door) DO UPDATE SET"
                       " granted_nano = lease.granted_nano + excluded.granted_nano,"
                       " topped_nano = lease.topped_nano + excluded.topped_nano,"
                       " until_ns = excluded.until_ns RETURNING fence", v, 5, ek_numbers_row, &n);
    *fence = (uint64_t)at[0];
    return s == EK_OK && n.count != 1 ? EK_ABSENT : s;
}

static enum ek_status lease_body(struct ek_ledger *l, void *arg)
{
    struct lease_ask *a = arg;
    struct ek_money free_now;
    int64_t at[2] = {0, 0};
    struct ek_numbers n = {.max = 2, .at = at};
    *a->out = (struct ek_lease){0};
    enum ek_status s = ek_ledger_free(l, a->account, &free_now);
    if (s == EK_OK && ek_money_sum(free_now) < a->want_nano) {
        s = reclaim(l, a->account);
        if (s == EK_OK) s = ek_ledger_free(l, a->account, &free_now);
    }
    if (s != EK_OK) return s;
    int64_t sum = ek_money_sum(free_now), nano = a->want_nano < sum ? a->want_nano : sum;
    struct ek_money part = {0, 0};
    if (nano > 0) {
        part = ek_money_take(free_now, nano);
        s = ek_ledger_add(l, a->account, ek_money_less((struct ek_money){0, 0}, part), 0, 0, 0);
        if (s == EK_OK) s = put_lease(l, a->account, part, &a->out->fence);
        if (s == EK_OK)
            s = ek_ledger_entry(l, ek_id_random(), a->account, "lease", a->out->fence, NULL, part, "");
    }
    struct ek_sql_value v[] = {ek_sql_number((int64_t)a->account), ek_sql_cstr(l->door)};
    if (s == EK_OK)
        s = ek_sql_run(l->db,
                       "SELECT CAST(COALESCE(SUM(CASE WHEN door <> $2 THEN granted_nano + topped_nano"
                       " END), 0) AS BIGINT), CAST(COALESCE(SUM(granted_nano + topped_nano), 0) AS BIGINT)"
                       " FROM lease WHERE account = $1", v, 2, ek_numbers_row, &n);
    int64_t elsewhere = sum - ek_money_sum(part) + at[0];
    a->out->part = part;
    a->out->elsewhere_nano = elsewhere > 0 ? elsewhere : 0;
    a->out->balance_nano = sum - ek_money_sum(part) + at[1];
    return s;
}

enum ek_status ek_ledger_lease(struct ek_ledger *l, uint64_t account, int64_t want_nano,
                               struct ek_lease *out)
{
    struct lease_ask ask = {account, want_nano, out};
    MUST(want_nano >= 0);
    return ek_ledger_in_transaction(l, lease_body, &ask);
}

struct give_ask {
    uint64_t account, fence;
    struct ek_money part;
    bool all;
};

static enum ek_status give_body(struct ek_ledger *l, void *arg)
{
    struct give_ask *a = arg;
    struct ek_money part = a->part;
    int64_t at[2];
    struct ek_numbers n = {.max = 2, .at = at};
    struct ek_sql_value v[] = {ek_sql_number((int64_t)a->account), ek_sql_cstr(l->door),
                               ek_sql_number((int64_t)a->fence), ek_sql_number(part.granted_nano),
                               ek_sql_number(part.topped_nano)};
    enum ek_status s;
    if (a->all) {
        s = ek_sql_run(l->db, "DELETE FROM lease WHERE account = $1 AND door = $2 AND fence = $3"
                       " RETURNING granted_nano, topped_nano", v, 3, ek_numbers_row, &n);
        part = n.count == 2 ? (struct ek_money){at[0], at[1]} : part;
    } else {
        s = ek_sql_run(l->db, "UPDATE lease SET granted_nano = granted_nano - $4,"
                       " topped_nano = topped_nano - $5 WHERE account = $1 AND door = $2 AND fence = $3"
                       " RETURNING granted_nano, topped_nano", v, 5, ek_numbers_row, &n);
    }
    if (s == EK_OK && n.count != 2) return EK_ABSENT;
    if (s == EK_OK) s = ek_ledger_add(l, a->account, part, 0, 0, 0);
    if (s == EK_OK && !ek_money_is_zero(part))
        s = ek_ledger_entry(l, ek_id_random(), a->account, "return", a->fence, NULL, part, "");
    return s;
}

enum ek_status ek_ledger_give(struct ek_ledger *l, uint64_t account, uint64_t fence,
                              struct ek_money part,
                              bool all)
{
    struct give_ask ask = {account, fence, part, all};
    return ek_ledger_in_transaction(l, give_body, &ask);
}

enum ek_status ek_ledger_renew(struct ek_ledger *l, const uint64_t *account, const uint64_t *fence,
                               size_t count, bool *valid)
{
    struct ek_sql_value v[EK_LEDGER_BATCH_MAX * 4];
    int32_t changed[EK_LEDGER_BATCH_MAX];
    MUST(count <= EK_LEDGER_BATCH_MAX);
    int64_t until = (int64_t)(ek_ledger_now_ns(l) + l->lease_ns);
    for (size_t i = 0; i < count; i++) {
        v[i * 4] = ek_sql_number((int64_t)account[i]);
        v[i * 4 + 1] = ek_sql_cstr(l->door);
        v[i * 4 + 2] = ek_sql_number((int64_t)fence[i]);
        v[i * 4 + 3] = ek_sql_number(until);
    }
    enum ek_status s = ek_sql_each(l->db,
                                   "UPDATE lease SET until_ns = $4 WHERE account = $1 AND door = $2"
                                   " AND fence = $3", v, 4, count, changed);
    for (size_t i = 0; s == EK_OK && i < count; i++) valid[i] = changed[i] > 0;
    return s;
}

struct left_over {
    int64_t at[4 * 64];
    struct ek_numbers rows;
};

static enum ek_status take_back_body(struct ek_ledger *l, void *arg)
{
    struct left_over *f = arg;
    f->rows = (struct ek_numbers){.max = EK_COUNT(f->at), .at = f->at};
    struct ek_sql_value v = ek_sql_cstr(l->door);
    enum ek_status s = ek_sql_run(l->db, "SELECT account, fence, granted_nano, topped_nano FROM lease"
                                  " WHERE door = $1 ORDER BY account LIMIT 64", &v, 1, ek_numbers_row,
                                  &f->rows);
    for (size_t i = 0; s == EK_OK && i + 3 < f->rows.count; i += 4) {
        struct give_ask ask = {.account = (uint64_t)f->at[i], .fence = (uint64_t)f->at[i + 1],
                               .all = true};
        s = give_body(l, &ask);
        if (s == EK_ABSENT) s = EK_OK; /* another door was quicker */
    }
    return s;
}

enum ek_status ek_ledger_take_back(struct ek_ledger *l)
{
    struct left_over f;
    for (;;) {
        enum ek_status s = ek_ledger_in_transaction(l, take_back_body, &f);
        if (s != EK_OK || f.rows.count == 0) return s;
    }
}
