/* SPDX-License-Identifier: MIT */
/* Statements that read what others wrote, acts and answers. One text for both databases. */
#include "ledger/records.h"

#include "ledger/ledger_inside.h"

/* A column's text as a C string in `out`; columns are views without a NUL. */
#define TEXT_BYTES 512u

/* ---- usage ----------------------------------------------------------------------------------- */

struct usage_rows {
    ek_usage_fn *fn;
    void *arg;
};

static void usage_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct usage_rows *r = arg;
    char account[EK_LEDGER_NAME_MAX + 1], key[EK_LEDGER_NAME_MAX + 1], model[EK_LEDGER_MODEL_MAX];
    MUST(count == 11);
    ek_column_text(&c[8], account, sizeof account);
    ek_column_text(&c[9], key, sizeof key);
    ek_column_text(&c[10], model, sizeof model);
    struct ek_usage_row row = {
        .day = (uint32_t)c[0].number, .account = (uint64_t)c[1].number, .key = (uint64_t)c[2].number,
        .account_name = account, .key_name = key, .model = model, .requests = (uint64_t)c[3].number,
        .prompt_tokens = (uint64_t)c[4].number, .cached_tokens = (uint64_t)c[5].number,
        .output_tokens = (uint64_t)c[6].number, .charged_nano = c[7].number};
    r->fn(r->arg, &row);
}

/* Grouped by constants where it is not asked `by`: one statement for all sixteen questions. */
static const char usage_text[] =
    "SELECT g.day, g.account, g.key, g.requests, g.prompt, g.cached, g.output, g.charged,"
    " COALESCE(a.name, ''), COALESCE(k.name, ''), g.model FROM (SELECT"
    "   CASE WHEN CAST($4 AS BIGINT) = 1 THEN day ELSE 0 END AS day,"
    "   CASE WHEN CAST($5 AS BIGINT) = 1 THEN account ELSE 0 END AS account,"
    "   CASE WHEN CAST($7 AS BIGINT) = 1 THEN key ELSE 0 END AS key,"
    "   CASE WHEN CAST($6 AS BIGINT) = 1 THEN model ELSE '' END AS model,"
    "   CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(prompt_tokens) AS BIGINT) AS prompt,"
    "   CAST(SUM(cached_tokens) AS BIGINT) AS cached, CAST(SUM(output_tokens) AS BIGINT) AS output,"
    "   CAST(SUM(charged_nano) AS BIGINT) AS charged FROM usage_day"
    "   WHERE day >= $2 AND day <= $3 AND (CAST($1 AS BIGINT) = 0 OR account = $1)"
    "   GROUP BY 1, 2, 3, 4) g"
    " LEFT JOIN account a ON a.id = g.account LEFT JOIN api_key k ON k.id = g.key"
    " ORDER BY g.day, g.account, g.key, g.model LIMIT $8 OFFSET $9";

enum ek_status ek_usage_list(struct ek_ledger *l, const struct ek_usage_ask *ask, ek_usage_fn *fn, void *arg)
{
    struct usage_rows r = {fn, arg};
    struct ek_sql_value v[] = {
        ek_sql_number((int64_t)ask->account), ek_sql_number(ask->from_day), ek_sql_number(ask->to_day),
        ek_sql_number(ask->by_day), ek_sql_number(ask->by_account), ek_sql_number(ask->by_model),
        ek_sql_number(ask->by_key), ek_sql_number((int64_t)ask->max), ek_sql_number((int64_t)ask->skip)};
    MUST(ask->max > 0 && ask->max <= INT64_MAX && ask->skip <= INT64_MAX);
    return ek_sql_run(l->db, usage_text, v, EK_COUNT(v), usage_row, &r);
}

/* ---- payments -------------------------------------------------------------------------------- */

struct payment_rows {
    ek_payment_fn *fn;
    void *arg;
};

static void payment_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct payment_rows *r = arg;
    char note[TEXT_BYTES];
    MUST(count == 6 && c[0].bytes.len == 16);
    ek_column_text(&c[5], note, sizeof note);
    struct ek_payment p = {.name = ek_id_get((const uint8_t *)c[0].bytes.data),
                           .refund = c[1].bytes.len == 6, .amount = {c[2].number, c[3].number},
                           .at_unix_ns = (uint64_t)c[4].number, .note = note};
    r->fn(r->arg, &p);
}

enum ek_status ek_payment_list(struct ek_ledger *l, uint64_t account, uint64_t before_unix_ns, uint64_t max,
                               ek_payment_fn *fn, void *arg)
{
    struct payment_rows r = {fn, arg};
    int64_t before = before_unix_ns ? (int64_t)before_unix_ns : INT64_MAX;
    struct ek_sql_value v[] = {ek_sql_number((int64_t)account), ek_sql_number(before),
                               ek_sql_number((int64_t)max)};
    return ek_sql_run(l->db, "SELECT name, kind, granted_nano, topped_nano, at_ns, note FROM entry"
                      " WHERE account = $1 AND kind IN ('pay', 'refund') AND at_ns < $2"
                      " ORDER BY at_ns DESC LIMIT $3", v, 3, payment_row, &r);
}

/* ---- acts ------------------------------------------------------------------------------------ */

struct act_ask {
    const char *who, *what;
    uint64_t account;
};

static enum ek_status act_body(struct ek_ledger *l, void *arg)
{
    struct act_ask *a = arg;
    int64_t seq = 0;
    enum ek_status s = ek_ledger_version(l, &seq);
    struct ek_sql_value v[] = {ek_sql_number((int64_t)ek_ledger_now_ns(l)), ek_sql_cstr(a->who),
                               ek_sql_cstr(a->what), ek_sql_number((int64_t)a->account), ek_sql_number(seq)};
    if (s != EK_OK) return s;
    return ek_sql_run(l->db, "INSERT INTO act (at_ns, who, what, account, seq)"
                      " VALUES ($1, $2, $3, $4, $5)", v, EK_COUNT(v), NULL, NULL);
}

enum ek_status ek_people_act(struct ek_ledger *l, const char *who, const char *what, uint64_t account)
{
    struct act_ask ask = {who, what, account};
    return ek_ledger_in_transaction(l, act_body, &ask);
}

struct act_rows {
    ek_act_fn *fn;
    void *arg;
};

static void act_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct act_rows *r = arg;
    char who[TEXT_BYTES], what[TEXT_BYTES], name[EK_LEDGER_NAME_MAX + 1];
    MUST(count == 6);
    ek_column_text(&c[3], who, sizeof who);
    ek_column_text(&c[4], what, sizeof what);
    ek_column_text(&c[5], name, sizeof name);
    struct ek_act act = {.seq = (uint64_t)c[0].number, .at_unix_ns = (uint64_t)c[1].number,
                         .account = (uint64_t)c[2].number, .who = who, .what = what, .account_name = name};
    r->fn(r->arg, &act);
}

enum ek_status ek_act_list(struct ek_ledger *l, uint64_t account, uint64_t before, uint64_t max,
                           ek_act_fn *fn, void *arg)
{
    struct act_rows r = {fn, arg};
    struct ek_sql_value v[] = {ek_sql_number(before ? (int64_t)before : INT64_MAX),
                               ek_sql_number((int64_t)max), ek_sql_number((int64_t)account)};
    return ek_sql_run(l->db, "SELECT t.seq, t.at_ns, t.account, t.who, t.what, COALESCE(a.name, '')"
                      " FROM act t LEFT JOIN account a ON a.id = t.account WHERE t.seq < $1"
                      " AND (CAST($3 AS BIGINT) = 0 OR t.account = $3)"
                      " ORDER BY t.seq DESC LIMIT $2", v, 3, act_row, &r);
}

/* ---- answers --------------------------------------------------------------------------------- */

struct answer_row_arg {
    const uint8_t *asked;
    int *status;
    struct ek_buf *said;
    bool found, same;
};

static void answer_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct answer_row_arg *a = arg;
    MUST(count == 3);
    a->found = true;
    a->same = c[0].bytes.len == EK_TOKEN_HASH_BYTES &&
              memcmp(c[0].bytes.data, a->asked, EK_TOKEN_HASH_BYTES) == 0;
    if (!a->same) return;
    *a->status = (int)c[1].number;
    ek_buf_str(a->said, c[2].bytes);
}

enum ek_status ek_answer_find(struct ek_ledger *l, struct ek_id name,
                              const uint8_t asked[EK_TOKEN_HASH_BYTES], int *status, struct ek_buf *said)
{
    uint8_t id[16];
    struct answer_row_arg a = {.asked = asked, .status = status, .said = said};
    ek_id_put(name, id);
    struct ek_sql_value v = EK_SQL_ID(id);
    enum ek_status s = ek_sql_run(l->db, "SELECT asked, status, said FROM answer WHERE name = $1", &v, 1,
                                  answer_row, &a);
    if (s == EK_OK && !a.found) return EK_ABSENT;
    return s == EK_OK && !a.same ? EK_INVALID : s;
}

enum ek_status ek_answer_keep(struct ek_ledger *l, struct ek_id name,
                              const uint8_t asked[EK_TOKEN_HASH_BYTES], int status, struct ek_str said)
{
    uint8_t id[16];
    uint64_t now = ek_ledger_now_ns(l);
    ek_id_put(name, id);
    struct ek_sql_value v[] = {EK_SQL_ID(id), ek_sql_bytes(asked, EK_TOKEN_HASH_BYTES), ek_sql_number(status),
                               ek_sql_text(said), ek_sql_number((int64_t)now)};
    struct ek_sql_value old = ek_sql_number((int64_t)(now - EK_ANSWER_KEPT_NS));
    enum ek_status s = ek_sql_run(l->db, "DELETE FROM answer WHERE at_ns < $1", &old, 1, NULL, NULL);
    if (s != EK_OK) return s;
    return ek_sql_run(l->db, "INSERT INTO answer VALUES ($1, $2, $3, $4, $5)", v, EK_COUNT(v), NULL, NULL);
}
