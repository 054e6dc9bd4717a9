/* SPDX-License-Identifier: MIT */
/* Settlements: up to a batch of requests in one transaction. The steps:
 *
 *      1. renew the leases they came under: which are still there? (and lock their rows)
 *      2. insert those of living leases; a request stored before is skipped by its primary key
 *      3. take the sums of what was new out of the leases
 *      4. add them to the accounts
 *      5. and to the usage of the day
 *      6. the late ones, one by one
 *
 * Sorted by account throughout, so that two doors lock rows in the same order.
 *
 * SQLite takes them one after the other, each a statement a row: a call costs it a microsecond.
 * PostgreSQL takes 1 to 5 as one statement for the whole batch (`whole_batch`), for there a statement
 * costs tens of them and a round trip; only the late ones, which are rare, go step by step. */
#include "base/utf8.h"
#include "ledger/book.h"
#include "ledger/ledger_inside.h"

#include <stdlib.h>

#define BATCH EK_LEDGER_BATCH_MAX
#define COLUMNS 19u

_Static_assert(BATCH <= EK_SQL_EACH_MAX && COLUMNS <= EK_SQL_ARGS_MAX, "a batch fits one ek_sql_each");

struct batch {
    const struct ek_settle_record *record[BATCH]; /* sorted */
    struct ek_settle_outcome *outcome[BATCH];
    bool lease_is_there[BATCH], is_new[BATCH];
    size_t count;
    struct ek_sql_value value[BATCH * COLUMNS];
    uint8_t id[BATCH][16];
};

struct sorted {
    const struct ek_settle_record *record;
    struct ek_settle_outcome *outcome;
};

static int order(const void *a, const void *b)
{
    const struct ek_settle_record *x = ((const struct sorted *)a)->record;
    const struct ek_settle_record *y = ((const struct sorted *)b)->record;
    if (x->account != y->account) return x->account < y->account ? -1 : 1;
    if (x->fence != y->fence) return x->fence < y->fence ? -1 : 1;
    uint32_t dx = ek_day_of(x->at_unix_ns), dy = ek_day_of(y->at_unix_ns);
    if (dx != dy) return dx < dy ? -1 : 1;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return strcmp(x->model, y->model);
}

static bool same_lease(const struct ek_settle_record *a, const struct ek_settle_record *b)
{
    return a->account == b->account && a->fence == b->fence;
}

static bool same_usage(const struct ek_settle_record *a, const struct ek_settle_record *b)
{
    return a->account == b->account && a->key == b->key &&
           ek_day_of(a->at_unix_ns) == ek_day_of(b->at_unix_ns) && strcmp(a->model, b->model) == 0;
}

static bool same_account(const struct ek_settle_record *a, const struct ek_settle_record *b)
{
    return a->account == b->account;
}

/* The end of the run that begins at `from`, of records that are `same`. */
static size_t run_end(const struct batch *b, size_t from,
                      bool (*same)(const struct ek_settle_record *, const struct ek_settle_record *))
{
    size_t to = from + 1;
    while (to < b->count && same(b->record[from], b->record[to])) to++;
    return to;
}

/* Of an account that is not charged: it came under no lease, and needs none. */
static bool is_free(const struct ek_settle_record *r)
{
    return r->fence == 0 && ek_money_is_zero(r->charged);
}

static enum ek_status find_leases(struct ek_ledger *l, struct batch *b)
{
    size_t groups = 0, first[BATCH];
    int32_t changed[BATCH];
    int64_t until = (int64_t)(ek_ledger_now_ns(l) + l->lease_ns);
    for (size_t i = 0; i < b->count; i = run_end(b, i, same_lease)) {
        struct ek_sql_value *v = b->value + groups * 4;
        v[0] = ek_sql_number((int64_t)b->record[i]->account);
        v[1] = ek_sql_cstr(l->door);
        v[2] = ek_sql_number((int64_t)b->record[i]->fence);
        v[3] = ek_sql_number(until);
        first[groups++] = i;
    }
    enum ek_status s = ek_sql_each(l->db,
                                   "UPDATE lease SET until_ns = $4 WHERE account = $1 AND door = $2"
                                   " AND fence = $3", b->value, 4, groups, changed);
    for (size_t g = 0; s == EK_OK && g < groups; g++)
        for (size_t i = first[g]; i < (g + 1 < groups ? first[g + 1] : b->count); i++)
            b->lease_is_there[i] = changed[g] > 0 || is_free(b->record[i]);
    return s;
}

/* A text of a record: cut where it is no UTF-8, which PostgreSQL would refuse, and with it the batch. */
static struct ek_sql_value text_of(const char *s, size_t cap)
{
    struct ek_str t = ek_str_make(s, strnlen(s, cap));
    t.len = ek_utf8_valid(t);
    return ek_sql_text(t);
}

static void fill_row(struct ek_ledger *l, const struct ek_settle_record *r, const uint8_t id[16],
                     struct ek_money charged, int64_t forgiven_nano, bool late, struct ek_sql_value *v)
{
    const int64_t numbers[] = {(int64_t)r->prompt_tokens, (int64_t)r->cached_tokens,
                               (int64_t)r->thinking_tokens, (int64_t)r->output_tokens,
                               (int64_t)r->waited_ms, (int64_t)r->ran_ms};
    v[0] = EK_SQL_ID(id);
    v[1] = ek_sql_number((int64_t)r->account);
    v[2] = ek_sql_number((int64_t)r->fence);
    v[3] = ek_sql_cstr(l->door);
    v[4] = ek_sql_number((int64_t)r->key);
    v[5] = ek_sql_number((int64_t)r->user_hash);
    v[6] = text_of(r->model, sizeof r->model);
    v[7] = ek_sql_number(charged.granted_nano);
    v[8] = ek_sql_number(charged.topped_nano);
    v[9] = ek_sql_number(forgiven_nano);
    v[10] = ek_sql_number(late);
    v[11] = ek_sql_number((int64_t)r->at_unix_ns);
    for (size_t i = 0; i < EK_COUNT(numbers); i++) v[12 + i] = ek_sql_number(numbers[i]);
    v[18] = text_of(r->ending, sizeof r->ending);
}

static const char insert[] =
    "INSERT INTO settlement (request, account, fence, door, key, user_hash, model, granted_nano, topped_nano,"
    " forgiven_nano, late, at_ns, prompt_tokens, cached_tokens, thinking_tokens, output_tokens, waited_ms,"
    " ran_ms, ending) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,"
    " $18, $19) ON CONFLICT (request) DO NOTHING";

static enum ek_status insert_rows(struct ek_ledger *l, struct batch *b)
{
    size_t rows = 0, who[BATCH];
    int32_t changed[BATCH];
    for (size_t i = 0; i < b->count; i++) {
        if (!b->lease_is_there[i]) continue;
        const struct ek_settle_record *r = b->record[i];
        ek_id_put(r->request, b->id[rows]);
        fill_row(l, r, b->id[rows], r->charged, r->forgiven_nano, false, b->value + rows * COLUMNS);
        who[rows++] = i;
    }
    enum ek_status s = ek_sql_each(l->db, insert, b->value, COLUMNS, rows, changed);
    for (size_t k = 0; s == EK_OK && k < rows; k++) {
        size_t i = who[k];
        b->is_new[i] = changed[k] > 0;
        *b->outcome[i] = (struct ek_settle_outcome){.before = !b->is_new[i],
                                                    .charged = b->record[i]->charged};
    }
    return s;
}

/* The sum of what is new in a run. */
static struct ek_money charged_in(const struct batch *b, size_t from, size_t to, int64_t *forgiven_nano)
{
    struct ek_money sum = {0, 0};
    for (size_t i = from; i < to; i++) {
        if (!b->is_new[i]) continue;
        sum = ek_money_add(sum, b->record[i]->charged);
        if (forgiven_nano) *forgiven_nano += b->record[i]->forgiven_nano;
    }
    return sum;
}

static enum ek_status charge_leases(struct ek_ledger *l, struct batch *b)
{
    size_t rows = 0;
    for (size_t i = 0, to; i < b->count; i = to) {
        to = run_end(b, i, same_lease);
        struct ek_money sum = charged_in(b, i, to, NULL);
        if (ek_money_is_zero(sum)) continue;
        struct ek_sql_value *v = b->value + rows++ * 5;
        v[0] = ek_sql_number((int64_t)b->record[i]->account);
        v[1] = ek_sql_cstr(l->door);
        v[2] = ek_sql_number((int64_t)b->record[i]->fence);
        v[3] = ek_sql_number(sum.granted_nano);
        v[4] = ek_sql_number(sum.topped_nano);
    }
    return ek_sql_each(l->db, "UPDATE lease SET granted_nano = granted_nano - $4,"
                       " topped_nano = topped_nano - $5"
                       " WHERE account = $1 AND door = $2 AND fence = $3", b->value, 5, rows, NULL);
}

static enum ek_status charge_accounts(struct ek_ledger *l, struct batch *b)
{
    size_t rows = 0;
    for (size_t i = 0, to; i < b->count; i = to) {
        to = run_end(b, i, same_account);
        int64_t forgiven = 0;
        struct ek_money sum = charged_in(b, i, to, &forgiven);
        if (ek_money_is_zero(sum) && forgiven == 0) continue;
        struct ek_sql_value *v = b->value + rows++ * 3;
        v[0] = ek_sql_number((int64_t)b->record[i]->account);
        v[1] = ek_sql_number(ek_money_sum(sum));
        v[2] = ek_sql_number(forgiven);
    }
    return ek_sql_each(l->db, "UPDATE account SET spent_nano = spent_nano + $2,"
                       " forgiven_nano = forgiven_nano + $3 WHERE id = $1", b->value, 3, rows, NULL);
}

static enum ek_status count_usage(struct ek_ledger *l, struct batch *b)
{
    size_t rows = 0;
    for (size_t i = 0, to; i < b->count; i = to) {
        to = run_end(b, i, same_usage);
        int64_t n[5] = {0}; /* requests, prompt, cached, output, charged */
        for (size_t k = i; k < to; k++) {
            const struct ek_settle_record *r = b->record[k];
            if (!b->is_new[k]) continue;
            n[0]++;
            n[1] += (int64_t)r->prompt_tokens;
            n[2] += (int64_t)r->cached_tokens;
            n[3] += (int64_t)r->output_tokens;
            n[4] += ek_money_sum(b->outcome[k]->charged);
        }
        if (n[0] == 0) continue;
        const struct ek_settle_record *r = b->record[i];
        struct ek_sql_value *v = b->value + rows++ * 9;
        v[0] = ek_sql_number((int64_t)r->account);
        v[1] = ek_sql_number(ek_day_of(r->at_unix_ns));
        v[2] = ek_sql_number((int64_t)r->key);
        v[3] = text_of(r->model, sizeof r->model);
        for (size_t k = 0; k < 5; k++) v[4 + k] = ek_sql_number(n[k]);
    }
    return ek_sql_each(l->db, "INSERT INTO usage_day VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
                       " ON CONFLICT (account, day, key, model) DO UPDATE SET"
                       " requests = usage_day.requests + excluded.requests,"
                       " prompt_tokens = usage_day.prompt_tokens + excluded.prompt_tokens,"
                       " cached_tokens = usage_day.cached_tokens + excluded.cached_tokens,"
                       " output_tokens = usage_day.output_tokens + excluded.output_tokens,"
                       " charged_nano = usage_day.charged_nano + excluded.charged_nano",
                       b->value, 9, rows, NULL);
}

/* A settlement whose lease is gone: from what is free, at most what there is; the rest is forgiven. */
static enum ek_status settle_late(struct ek_ledger *l, struct batch *b, size_t i)
{
    const struct ek_settle_record *r = b->record[i];
    struct ek_money free_now = {0, 0};
    int32_t changed = 0;
    enum ek_status s = ek_ledger_free(l, r->account, &free_now); /* absent: nothing can be charged */
    if (s != EK_OK && s != EK_ABSENT) return s;
    int64_t asked = ek_money_sum(r->charged), most = ek_money_sum(free_now);
    int64_t nano = asked < most ? asked : most;
    struct ek_money part = ek_money_take(free_now, nano > 0 ? nano : 0);
    int64_t forgiven = r->forgiven_nano + asked - ek_money_sum(part);
    ek_id_put(r->request, b->id[0]);
    fill_row(l, r, b->id[0], part, forgiven, true, b->value);
    s = ek_sql_each(l->db, insert, b->value, COLUMNS, 1, &changed);
    if (s == EK_OK && changed == 0) {
        *b->outcome[i] = (struct ek_settle_outcome){.before = true, .charged = r->charged};
        return EK_OK;
    }
    *b->outcome[i] = (struct ek_settle_outcome){.late = true, .charged = part};
    b->is_new[i] = true;
    if (s == EK_OK)
        s = ek_ledger_add(l, r->account, ek_money_less((struct ek_money){0, 0}, part), 0,
                          ek_money_sum(part), forgiven);
    return s;
}

static enum ek_status settle_body(struct ek_ledger *l, void *arg)
{
    struct batch *b = arg;
    for (size_t i = 0; i < b->count; i++) b->is_new[i] = false;
    enum ek_status s = find_leases(l, b);
    if (s == EK_OK) s = insert_rows(l, b);
    if (s == EK_OK) s = charge_leases(l, b);
    if (s == EK_OK) s = charge_accounts(l, b);
    for (size_t i = 0; s == EK_OK && i < b->count; i++)
        if (!b->lease_is_there[i]) s = settle_late(l, b, i);
    if (s == EK_OK) s = count_usage(l, b);
    return s;
}

/* ---- PostgreSQL: one statement --------------------------------------------------------------- */

/* Accounts are locked first and in order, and everything after reads from what they let through, so
 * nothing of an account is touched before its lock is held. What comes back is the exceptions: rows that
 * were not new (n from 1 on, and whether their lease was there). A row may be changed only once in a
 * statement, so the lease is renewed and charged in one go. A record that is free (is_free) needs no
 * lease. $1 the door, $2 until when; the columns are those of `fill_row`. */
static const char whole_batch[] =
    "WITH given AS MATERIALIZED (SELECT * FROM unnest($3::bytea[], $4::bigint[], $5::bigint[], $6::text[],"
    "  $7::bigint[], $8::bigint[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[],"
    "  $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[],"
    "  $20::bigint[], $21::text[]) WITH ORDINALITY AS g (request, account, fence, door, key, user_hash,"
    "  model, granted_nano, topped_nano, forgiven_nano, late, at_ns, prompt_tokens, cached_tokens,"
    "  thinking_tokens, output_tokens, waited_ms, ran_ms, ending, n)),"
    " locked AS MATERIALIZED (SELECT id FROM account WHERE id IN (SELECT account FROM given)"
    "  ORDER BY id FOR NO KEY UPDATE),"
    " living AS MATERIALIZED (SELECT l.account, l.fence FROM locked JOIN lease l ON l.account = locked.id"
    "  WHERE l.door = $1::text FOR NO KEY UPDATE OF l),"
    " fresh AS (INSERT INTO settlement SELECT g.request, g.account, g.fence, g.door, g.key, g.user_hash,"
    "  g.model, g.granted_nano, g.topped_nano, g.forgiven_nano, g.late, g.at_ns, g.prompt_tokens,"
    "  g.cached_tokens, g.thinking_tokens, g.output_tokens, g.waited_ms, g.ran_ms, g.ending"
    "  FROM given g LEFT JOIN living v ON v.account = g.account AND v.fence = g.fence"
    "  WHERE v.account IS NOT NULL OR (g.fence = 0 AND g.granted_nano = 0 AND g.topped_nano = 0)"
    "  ON CONFLICT (request) DO NOTHING RETURNING *),"
    " sums AS MATERIALIZED (SELECT account, CAST(SUM(granted_nano) AS BIGINT) AS granted,"
    "  CAST(SUM(topped_nano) AS BIGINT) AS topped, CAST(SUM(forgiven_nano) AS BIGINT) AS forgiven"
    "  FROM fresh GROUP BY account),"
    " leases AS (UPDATE lease l SET until_ns = $2::bigint,"
    "  granted_nano = l.granted_nano - COALESCE(s.granted, 0),"
    "  topped_nano = l.topped_nano - COALESCE(s.topped, 0)"
    "  FROM living v LEFT JOIN sums s ON s.account = v.account"
    "  WHERE l.account = v.account AND l.door = $1::text),"
    " accounts AS (UPDATE account a SET spent_nano = a.spent_nano + s.granted + s.topped,"
    "  forgiven_nano = a.forgiven_nano + s.forgiven FROM sums s WHERE a.id = s.account"
    "  AND (s.granted <> 0 OR s.topped <> 0 OR s.forgiven <> 0)),"
    " days AS (INSERT INTO usage_day SELECT account, at_ns / 86400000000000, key, model, COUNT(*),"
    "  CAST(SUM(prompt_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT),"
    "  CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(granted_nano + topped_nano) AS BIGINT)"
    "  FROM fresh GROUP BY 1, 2, 3, 4"
    "  ON CONFLICT (account, day, key, model) DO UPDATE SET requests = usage_day.requests +"
    " excluded.requests,"
    "  prompt_tokens = usage_day.prompt_tokens + excluded.prompt_tokens,"
    "  cached_tokens = usage_day.cached_tokens + excluded.cached_tokens,"
    "  output_tokens = usage_day.output_tokens + excluded.output_tokens,"
    "  charged_nano = usage_day.charged_nano + excluded.charged_nano)"
    " SELECT g.n, CASE WHEN v.account IS NULL THEN 0 ELSE 1 END FROM given g"
    "  LEFT JOIN fresh w ON w.request = g.request"
    "  LEFT JOIN living v ON v.account = g.account AND v.fence = g.fence WHERE w.request IS NULL";

static void exception_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct batch *b = arg;
    MUST(count == 2 && c[0].number >= 1 && (uint64_t)c[0].number <= b->count);
    size_t i = (size_t)c[0].number - 1;
    b->is_new[i] = false;
    b->lease_is_there[i] = c[1].number != 0 || is_free(b->record[i]);
}

/* Keep those for which `keep`, in order. */
static void only(struct batch *b, const bool *keep)
{
    size_t count = 0;
    for (size_t i = 0; i < b->count; i++) {
        if (!keep[i]) continue;
        b->record[count] = b->record[i];
        b->outcome[count++] = b->outcome[i];
    }
    b->count = count;
}

/* A request that is in the batch twice: the first counts, the others were before. */
static void drop_repeats(struct batch *b)
{
    bool keep[BATCH];
    for (size_t i = 0; i < b->count; i++) {
        keep[i] = true;
        for (size_t k = 0; k < i && keep[i]; k++)
            keep[i] = !ek_id_eq(b->record[i]->request, b->record[k]->request);
        if (keep[i]) continue;
        *b->outcome[i] = (struct ek_settle_outcome){.before = true, .charged = b->record[i]->charged};
    }
    only(b, keep);
}

/* All but the late ones; those are left in the batch. */
static enum ek_status settle_whole(struct ek_ledger *l, struct batch *b)
{
    enum ek_status s = EK_IO;
    bool late[BATCH];
    struct ek_sql_value one[] = {ek_sql_cstr(l->door),
                                 ek_sql_number((int64_t)(ek_ledger_now_ns(l) + l->lease_ns))};
    drop_repeats(b);
    for (size_t i = 0; i < b->count; i++) {
        const struct ek_settle_record *r = b->record[i];
        ek_id_put(r->request, b->id[i]);
        fill_row(l, r, b->id[i], r->charged, r->forgiven_nano, false, b->value + i * COLUMNS);
    }
    for (int i = 0; i < EK_SQL_TRIES_MAX; i++) {
        memset(b->is_new, true, sizeof b->is_new);
        memset(b->lease_is_there, true, sizeof b->lease_is_there);
        s = ek_sql_many(l->db, whole_batch, one, EK_COUNT(one), b->value, COLUMNS, b->count, exception_row,
                        b);
        if (s == EK_OK || !ek_sql_again(l->db) || ek_sql_in_transaction(l->db)) break;
    }
    for (size_t i = 0; s == EK_OK && i < b->count; i++) {
        late[i] = !b->lease_is_there[i];
        *b->outcome[i] = (struct ek_settle_outcome){.before = !b->is_new[i],
                                                    .charged = b->record[i]->charged};
    }
    if (s == EK_OK) only(b, late);
    return s;
}

enum ek_status ek_ledger_settle(struct ek_ledger *l, const struct ek_settle_record *const *record,
                                size_t count, struct ek_settle_outcome *outcome)
{
    MUST_OBJ(l, EK_LEDGER_MAGIC);
    MUST(count <= BATCH);
    if (count == 0) return EK_OK;
    struct batch *b = malloc(sizeof *b);
    struct sorted sorted[BATCH];
    MUST(b);
    b->count = count;
    for (size_t i = 0; i < count; i++) {
        MUST(ek_id_is_set(record[i]->request));
        sorted[i] = (struct sorted){record[i], &outcome[i]};
    }
    qsort(sorted, count, sizeof sorted[0], order);
    for (size_t i = 0; i < count; i++) {
        b->record[i] = sorted[i].record;
        b->outcome[i] = sorted[i].outcome;
    }
    ek_sql_patience(l->db, EK_LEDGER_SETTLE_MS);
    enum ek_status s = ek_sql_is_postgres(l->db) ? settle_whole(l, b) : EK_OK;
    if (s == EK_OK && b->count > 0) s = ek_ledger_in_transaction(l, settle_body, b);
    ek_sql_patience(l->db, EK_SQL_PATIENCE_MS);
    free(b);
    return s;
}

/* ---- looking one up -------------------------------------------------------------------------- */

struct found {
    struct ek_settle_record *record;
    struct ek_settle_outcome *outcome;
    bool any;
};

static void copy_text(char *out, size_t cap, struct ek_str s)
{
    size_t len = s.len < cap - 1 ? s.len : cap - 1;
    if (len) memcpy(out, s.data, len);
    out[len] = '\0';
}

static void request_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct found *f = arg;
    struct ek_settle_record *r = f->record;
    MUST(count == 17);
    f->any = true;
    r->account = (uint64_t)c[0].number;
    r->fence = (uint64_t)c[1].number;
    r->key = (uint64_t)c[2].number;
    r->user_hash = (uint64_t)c[3].number;
    copy_text(r->model, sizeof r->model, c[4].bytes);
    r->charged = (struct ek_money){c[5].number, c[6].number};
    r->forgiven_nano = c[7].number;
    r->at_unix_ns = (uint64_t)c[9].number;
    r->prompt_tokens = (uint64_t)c[10].number;
    r->cached_tokens = (uint64_t)c[11].number;
    r->thinking_tokens = (uint64_t)c[12].number;
    r->output_tokens = (uint64_t)c[13].number;
    r->waited_ms = (uint64_t)c[14].number;
    r->ran_ms = (uint64_t)c[15].number;
    copy_text(r->ending, sizeof r->ending, c[16].bytes);
    *f->outcome = (struct ek_settle_outcome){.before = true, .late = c[8].number != 0, .charged =
        r->charged};
}

enum ek_status ek_ledger_request(struct ek_ledger *l, struct ek_id request,
                                 struct ek_settle_record *out,
                                 struct ek_settle_outcome *outcome)
{
    uint8_t id[16];
    struct found f = {out, outcome, false};
    ek_id_put(request, id);
    *out = (struct ek_settle_record){.request = request};
    struct ek_sql_value v = EK_SQL_ID(id);
    enum ek_status s = ek_sql_run(l->db, "SELECT account, fence, key, user_hash, model, granted_nano,"
                                  " topped_nano, forgiven_nano, late, at_ns, prompt_tokens, cached_tokens,"
                                  " thinking_tokens, output_tokens, waited_ms, ran_ms, ending"
                                  " FROM settlement WHERE request = $1", &v, 1, request_row, &f);
    return s == EK_OK && !f.any ? EK_ABSENT : s;
}
