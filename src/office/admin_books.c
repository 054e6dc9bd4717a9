/* SPDX-License-Identifier: MIT */
/* What the books say afterwards: usage, acts, the audit; and accounts as JSON lines, out and in. */
#include "office/admin_inside.h"

#include "ledger/book.h"
#include "ledger/transfer.h"

#include <stdio.h>
#include <time.h>

#define LIMIT_MAX 500u
#define ROWS_MAX 10000u
#define DAY_S 86400

extern const char ek_openapi_admin_json[]; /* made from docs/openapi-admin.json */

/* ---- usage ------------------------------------------------------------------------------------ */

/* "2026-11-22" as days since 1970; false: it is none. */
static bool day_of(const char *text, uint32_t *day)
{
    struct tm tm = {0};
    char back[16];
    const char *end = strptime(text, "%Y-%m-%d", &tm);
    if (!end || *end) return false;
    time_t at = timegm(&tm);
    if (at < 0 || at / DAY_S > 100000 || strftime(back, sizeof back, "%Y-%m-%d", &tm) != 10) return false;
    *day = (uint32_t)(at / DAY_S);
    return strcmp(back, text) == 0;
}

static json_t *day_json(uint32_t day)
{
    time_t at = (time_t)day * DAY_S;
    struct tm tm;
    char text[16] = "";
    if (gmtime_r(&at, &tm)) (void)strftime(text, sizeof text, "%Y-%m-%d", &tm);
    return json_string(text);
}

static bool query_day(struct ek_admin_call *c, const char *name, uint32_t *day)
{
    const char *text = ek_admin_query(c, name);
    if (!text || day_of(text, day)) return true;
    return ek_admin_refuse(c, EK_REASON_BAD_VALUE, name, "'%s' must be a day like 2026-11-22.", name);
}

/* by=day,model,key,account in any order. */
static bool query_by(struct ek_admin_call *c, struct ek_usage_ask *ask)
{
    const char *text = ek_admin_query(c, "by");
    static const char *const words[] = {"day", "account", "model", "key"};
    bool *const flags[] = {&ask->by_day, &ask->by_account, &ask->by_model, &ask->by_key};
    if (!text) text = "day";
    for (const char *at = text; *at;) {
        size_t len = strcspn(at, ","), i = 0;
        while (i < EK_COUNT(words) && (strlen(words[i]) != len || memcmp(words[i], at, len) != 0)) i++;
        if (i == EK_COUNT(words) || *flags[i])
            return ek_admin_refuse(c, EK_REASON_BAD_VALUE, "by",
                                   "'by' must be a list of some of day, account, model and key, each once.");
        *flags[i] = true;
        at += len + (at[len] == ',');
    }
    return true;
}

struct usage_out {
    const struct ek_usage_ask *ask;
    json_t *rows;
};

static void usage_row(void *arg, const struct ek_usage_row *u)
{
    struct usage_out *o = arg;
    json_t *row = json_object();
    if (o->ask->by_day) json_object_set_new(row, "day", day_json(u->day));
    if (o->ask->by_account) json_object_set_new(row, "account", json_string(u->account_name));
    if (o->ask->by_model) json_object_set_new(row, "model", json_string(u->model));
    if (o->ask->by_key) {
        json_object_set_new(row, "key", u->key ? ek_admin_id(u->key) : json_null());
        json_object_set_new(row, "key_name", *u->key_name ? json_string(u->key_name) : json_null());
    }
    json_object_set_new(row, "requests", json_integer((json_int_t)u->requests));
    json_object_set_new(row, "prompt_tokens", json_integer((json_int_t)u->prompt_tokens));
    json_object_set_new(row, "cached_tokens", json_integer((json_int_t)u->cached_tokens));
    json_object_set_new(row, "output_tokens", json_integer((json_int_t)u->output_tokens));
    json_object_set_new(row, "charged", ek_admin_amount(u->charged_nano));
    json_array_append_new(o->rows, row);
}

bool ek_admin_usage(struct ek_admin_call *c)
{
    struct ek_account_row row;
    uint32_t today = ek_day_of(ek_ledger_now_ns(c->books->ledger));
    struct ek_usage_ask ask = {.to_day = today, .from_day = today > 29 ? today - 29 : 0, .max = 1000};
    const char *account = ek_admin_query(c, "account");
    if (!query_day(c, "from", &ask.from_day) || !query_day(c, "to", &ask.to_day) || !query_by(c, &ask) ||
        !ek_admin_query_number(c, "skip", 0, INT32_MAX, &ask.skip) ||
        !ek_admin_query_number(c, "limit", 1, ROWS_MAX, &ask.max))
        return false;
    if (ask.from_day > ask.to_day)
        return ek_admin_refuse(c, EK_REASON_BAD_VALUE, "from", "'from' is later than 'to'.");
    if (account) {
        memcpy(c->param[0], account, strlen(account) + 1);
        if (!ek_admin_account(c, &row)) return false;
        ask.account = row.id;
    }
    struct usage_out out = {&ask, json_array()};
    enum ek_status s = ek_usage_list(c->books->ledger, &ask, usage_row, &out);
    if (s != EK_OK) {
        json_decref(out.rows);
        return ek_admin_failed(c, s, NULL, NULL);
    }
    bool more = json_array_size(out.rows) == ask.max;
    return ek_admin_answer(c, 200, json_pack("{s:o, s:o, s:s, s:o, s:o}", "from", day_json(ask.from_day),
                                             "to",
                                             day_json(ask.to_day), "currency", c->books->currency, "rows",
                                             out.rows, "next_skip",
                                             more ? json_integer((json_int_t)(ask.skip + ask.max))
                                                  : json_null()));
}

/* ---- acts and the audit ----------------------------------------------------------------------- */

static void collect_act(void *arg, const struct ek_act *a)
{
    json_array_append_new(arg, json_pack("{s:o, s:o, s:s, s:s, s:o}", "seq", ek_admin_id(a->seq), "at",
                                         ek_admin_time(a->at_unix_ns), "who", a->who, "what", a->what,
                                         "account",
                                         *a->account_name ? json_string(a->account_name) : json_null()));
}

bool ek_admin_acts(struct ek_admin_call *c)
{
    struct ek_account_row row = {.id = 0};
    uint64_t limit = 100, before = 0;
    const char *account = ek_admin_query(c, "account");
    if (!ek_admin_query_number(c, "limit", 1, LIMIT_MAX, &limit) ||
        !ek_admin_query_number(c, "before", 0, INT64_MAX, &before))
        return false;
    if (account) {
        memcpy(c->param[0], account, strlen(account) + 1);
        if (!ek_admin_account(c, &row)) return false;
    }
    json_t *all = json_array();
    enum ek_status s = ek_act_list(c->books->ledger, row.id, before, limit, collect_act, all);
    return ek_admin_page(c, s, "acts", all, ek_admin_cursor(all, limit, "seq"));
}

bool ek_admin_audit(struct ek_admin_call *c)
{
    struct ek_audit a;
    enum ek_status s = ek_ledger_audit(c->books->ledger, &a);
    if (s != EK_OK) return ek_admin_failed(c, s, NULL, NULL);
    json_t *said = json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:s}", "exact",
                             a.wrong == 0, "accounts", (json_int_t)a.accounts, "settlements",
                             (json_int_t)a.settlements, "entries", (json_int_t)a.entries, "leases",
                             (json_int_t)a.leases, "wrong", (json_int_t)a.wrong, "free",
                             ek_admin_amount(a.balance_nano), "leased", ek_admin_amount(a.leased_nano),
                             "spent", ek_admin_amount(a.spent_nano), "paid_in", ek_admin_amount(a.paid_nano),
                             "forgiven", ek_admin_amount(a.forgiven_nano), "currency", c->books->currency);
    json_object_set_new(said, "first_wrong", a.wrong ? json_string(a.first) : json_null());
    return ek_admin_answer(c, 200, said);
}

/* Nothing of it is in the books: the door adds all there is to say. */
bool ek_admin_upstreams(struct ek_admin_call *c)
{
    c->answer->live_upstreams = true;
    return ek_admin_answer(c, 200, json_pack("{s:s}", "currency", c->books->currency));
}

/* ---- accounts out and in ---------------------------------------------------------------------- */

bool ek_admin_export(struct ek_admin_call *c)
{
    char last[EK_LEDGER_NAME_MAX + 1];
    uint64_t limit = 100, count = 0;
    const char *after = ek_admin_query(c, "after");
    if (!ek_admin_query_number(c, "limit", 1, LIMIT_MAX, &limit)) return false;
    enum ek_status s = ek_transfer_out(c->books->ledger, after ? after : "", limit, &c->answer->body, last,
                                       &count);
    if (s != EK_OK) return ek_admin_failed(c, s, NULL, NULL);
    c->answer->status = 200;
    c->answer->lines = true;
    return true;
}

struct import_ask {
    struct ek_admin_call *c;
    struct ek_str line;
    bool before;
    char why[160];
};

/* A good line, so it is an object with a tier. Its account shall not fall into another tier unnoticed. */
static bool import_tier(struct import_ask *a)
{
    json_t *j = json_loadb(a->line.data, a->line.len, 0, NULL);
    const char *tier = json_string_value(json_object_get(j, "tier"));
    bool good = ek_admin_tier(a->c, tier ? tier : "");
    if (!good) snprintf(a->why, sizeof a->why, "%.159s", a->c->why);
    json_decref(j);
    return good;
}

static enum ek_status import_body(struct ek_ledger *l, void *arg)
{
    struct import_ask *a = arg;
    enum ek_status s = ek_transfer_in(l, a->line, &a->before, a->why, sizeof a->why);
    if (s != EK_OK || a->before) return s;
    if (!import_tier(a)) return EK_INVALID;
    return ek_admin_act(l, a->c, 0, "import of an account, %zu bytes", a->line.len);
}

bool ek_admin_import(struct ek_admin_call *c)
{
    struct ek_str rest = c->ask->body;
    json_t *refused = json_array();
    int imported = 0, present = 0;
    for (int number = 1; rest.len > 0; number++) {
        const char *end = memchr(rest.data, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;
        struct import_ask a = {.c = c, .line = ek_str_make(rest.data, len)};
        rest = ek_str_skip(rest, end ? len + 1 : len);
        if (len == 0) continue;
        enum ek_status s = ek_ledger_together(c->books->ledger, import_body, &a);
        if (s != EK_OK && s != EK_INVALID) {
            json_decref(refused);
            return ek_admin_failed(c, s, NULL, NULL); /* what went in stays in: send it all again */
        }
        imported += s == EK_OK && !a.before;
        present += s == EK_OK && a.before;
        if (s == EK_INVALID && json_array_size(refused) < LIMIT_MAX)
            json_array_append_new(refused, json_pack("{s:i, s:s}", "line", number, "why", a.why));
    }
    c->answer->changed = imported > 0;
    return ek_admin_answer(c, 200, json_pack("{s:i, s:i, s:o}", "imported", imported, "present", present,
                                             "refused", refused));
}

bool ek_admin_openapi(struct ek_admin_call *c)
{
    c->answer->status = 200;
    ek_buf_lit(&c->answer->body, ek_openapi_admin_json);
    return true;
}
