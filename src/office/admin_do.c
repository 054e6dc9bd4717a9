/* SPDX-License-Identifier: MIT */
/* The admin API's table of routes, and the way of one request through it: route, path, query, body, run,
 * answer. What a route does is in admin_accounts.c, admin_money.c and admin_books.c. Owns nothing beyond
 * a call. */
#include "office/admin_inside.h"

#include "base/utf8.h"
#include "chat/error.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define AT EK_ADMIN_PREFIX

static const struct ek_admin_route routes[] = {
    {"GET", AT "/accounts", ek_admin_accounts_list, "after limit", false, false, false},
    {"POST", AT "/accounts", ek_admin_accounts_add, "", true, false, false},
    {"GET", AT "/accounts/{account}", ek_admin_accounts_show, "", false, false, false},
    {"PATCH", AT "/accounts/{account}", ek_admin_accounts_change, "", true, false, false},
    {"GET", AT "/accounts/{account}/live", ek_admin_accounts_live, "", false, false, false},
    {"GET", AT "/accounts/{account}/keys", ek_admin_keys_list, "after limit", false, false, false},
    {"POST", AT "/accounts/{account}/keys", ek_admin_keys_add, "", true, false, false},
    {"DELETE", AT "/accounts/{account}/keys/{key}", ek_admin_keys_revoke, "", false, false, false},
    {"POST", AT "/accounts/{account}/keys/{key}/rotate", ek_admin_keys_rotate, "", true, false, false},
    {"GET", AT "/accounts/{account}/topups", ek_admin_topups_list, "before limit", false, false, false},
    {"POST", AT "/accounts/{account}/topups", ek_admin_topups_add, "", true, false, true},
    {"GET", AT "/usage", ek_admin_usage, "account from to by skip limit", false, false, false},
    {"GET", AT "/codes", ek_admin_codes_list, "after limit", false, false, false},
    {"POST", AT "/codes", ek_admin_codes_add, "", true, false, false},
    {"DELETE", AT "/codes/{code}", ek_admin_codes_withdraw, "", false, false, false},
    {"POST", AT "/invitations", ek_admin_invitations_sign, "", true, false, false},
    {"POST", AT "/redeem", ek_admin_redeem, "", true, false, false},
    {"GET", AT "/acts", ek_admin_acts, "account before limit", false, false, false},
    {"GET", AT "/upstreams", ek_admin_upstreams, "", false, false, false},
    {"GET", AT "/audit", ek_admin_audit, "", false, false, false},
    {"GET", AT "/export", ek_admin_export, "after limit", false, false, false},
    {"POST", AT "/import", ek_admin_import, "", true, true, false},
    {"GET", AT "/openapi.json", ek_admin_openapi, "", false, false, false},
};

const struct ek_admin_route *ek_admin_routes(size_t *count)
{
    *count = EK_COUNT(routes);
    return routes;
}

/* ---- refusing and answering ------------------------------------------------------------------- */

bool ek_admin_refuse(struct ek_admin_call *c, enum ek_reason reason, const char *at, const char *fmt, ...)
{
    MUST(reason != EK_REASON_NONE && ek_reason_status(reason) >= 400);
    c->reason = reason;
    snprintf(c->at, sizeof c->at, "%s", at ? at : "");
    snprintf(c->why, sizeof c->why, "%s", ek_reason_text(reason));
    if (fmt) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(c->why, sizeof c->why, fmt, ap);
        va_end(ap);
    }
    return false;
}

bool ek_admin_failed(struct ek_admin_call *c, enum ek_status s, const char *absent, const char *invalid)
{
    MUST(s != EK_OK);
    if (s == EK_ABSENT && absent) return ek_admin_refuse(c, EK_REASON_NOT_FOUND, NULL, "%s", absent);
    if (s == EK_INVALID && invalid) return ek_admin_refuse(c, EK_REASON_CONFLICT, NULL, "%s", invalid);
    if (s == EK_FULL) return ek_admin_refuse(c, EK_REASON_ANSWER_TOO_LARGE, NULL, "Ask for less at once.");
    return ek_admin_refuse(c, EK_REASON_LEDGER_AWAY, NULL, "The books could not be asked: %.150s.",
                           ek_ledger_why(c->books->ledger));
}

bool ek_admin_answer(struct ek_admin_call *c, int status, json_t *said)
{
    char *text = said ? json_dumps(said, JSON_COMPACT) : NULL;
    MUST(text); /* what we write is ours, and valid */
    c->answer->status = status;
    ek_buf_lit(&c->answer->body, text);
    ek_buf_char(&c->answer->body, '\n');
    sodium_memzero(text, strlen(text));
    free(text);
    json_decref(said);
    return true;
}

json_t *ek_admin_cursor(const json_t *rows, uint64_t limit, const char *member)
{
    size_t count = json_array_size(rows);
    MUST(limit > 0);
    return count == limit ? json_incref(json_object_get(json_array_get(rows, count - 1), member)) : NULL;
}

bool ek_admin_page(struct ek_admin_call *c, enum ek_status s, const char *name, json_t *rows, json_t *next)
{
    json_t *said = json_pack("{s:o, s:o}", name, rows, "next", next ? next : json_null());
    if (s == EK_OK) return ek_admin_answer(c, 200, said);
    json_decref(said);
    return ek_admin_failed(c, s, NULL, NULL);
}

static void write_refusal(struct ek_admin_call *c)
{
    struct ek_admin_answer *a = c->answer;
    struct ek_error e = {.reason = c->reason, .message = ek_str_of(c->why), .param = *c->at ? c->at : NULL};
    ek_buf_clear(&a->body);
    a->reason = c->reason;
    a->status = ek_reason_status(c->reason);
    a->lines = a->changed = a->again = false;
    a->live_account = 0;
    a->live_upstreams = false;
    ek_error_write(&a->body, &e);
}

void ek_admin_answer_free(struct ek_admin_answer *a)
{
    if (a->body.data) sodium_memzero(a->body.data, a->body.cap);
    ek_buf_free(&a->body);
}

/* ---- paths and queries ------------------------------------------------------------------------ */

static unsigned hex_value(char c)
{
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    if (c >= 'a' && c <= 'f') return (unsigned)(c - 'a') + 10;
    return c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10 : 16;
}

/* Percent-decoding into a C string: printable UTF-8, nothing else. */
static bool decode(struct ek_str in, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        unsigned char b = (unsigned char)in.data[i];
        if (b == '%') {
            if (in.len - i < 3) return false;
            unsigned high = hex_value(in.data[i + 1]), low = hex_value(in.data[i + 2]);
            if (high > 15 || low > 15) return false;
            b = (unsigned char)(high * 16 + low);
            i += 2;
        }
        if (b < 0x20 || b == 0x7f || n + 1 >= cap) return false;
        out[n++] = (char)b;
    }
    out[n] = '\0';
    return ek_utf8_valid(ek_str_make(out, n)) == n;
}

/* The text up to `stop`, which goes too; the rest stays in *s. */
static struct ek_str cut(struct ek_str *s, char stop)
{
    const char *at = s->len ? memchr(s->data, stop, s->len) : NULL;
    size_t len = at ? (size_t)(at - s->data) : s->len;
    struct ek_str head = ek_str_make(s->data, len);
    *s = ek_str_skip(*s, at ? len + 1 : len);
    return head;
}

/* Does the path fit the route's? Its parameters are cut out, not yet decoded. */
static bool fits(const struct ek_admin_route *r, struct ek_str path, struct ek_str param[EK_ADMIN_PARAMS_MAX])
{
    struct ek_str want = ek_str_of(r->path);
    size_t params = 0;
    for (bool more = true; more;) {
        more = memchr(want.data, '/', want.len) != NULL;
        if (path.len == 0 || more != (memchr(path.data, '/', path.len) != NULL)) return false;
        struct ek_str w = cut(&want, '/'), p = cut(&path, '/');
        if (w.len > 0 && w.data[0] == '{') {
            MUST(params < EK_ADMIN_PARAMS_MAX);
            if (p.len == 0) return false;
            param[params++] = p;
        } else if (!ek_str_eq(w, p)) {
            return false;
        }
    }
    return true;
}

size_t ek_admin_body_max(struct ek_str method, struct ek_str path)
{
    struct ek_str param[EK_ADMIN_PARAMS_MAX];
    for (size_t i = 0; i < EK_COUNT(routes); i++) {
        const struct ek_admin_route *r = &routes[i];
        if (r->lines && ek_str_eq(method, ek_str_of(r->method)) && fits(r, path, param))
            return EK_ADMIN_LINES_BYTES_MAX;
    }
    return EK_ADMIN_BODY_BYTES_MAX; /* also where there shall be none: that is refused with its own reason */
}

static bool find_route(struct ek_admin_call *c)
{
    static const char *const allows[] = {"GET", "POST", "GET, POST", "PATCH", "GET, PATCH", "DELETE"};
    unsigned methods = 0;
    for (size_t i = 0; i < EK_COUNT(routes); i++) {
        struct ek_str param[EK_ADMIN_PARAMS_MAX] = {{NULL, 0}, {NULL, 0}};
        const struct ek_admin_route *r = &routes[i];
        if (!fits(r, c->ask->path, param)) continue;
        if (!ek_str_eq(c->ask->method, ek_str_of(r->method))) {
            methods |= *r->method == 'G' ? 1u : r->method[1] == 'O' ? 2u : *r->method == 'P' ? 4u : 8u;
            continue;
        }
        c->route = r;
        for (size_t p = 0; p < EK_ADMIN_PARAMS_MAX; p++)
            if (param[p].len && !decode(param[p], c->param[p], sizeof c->param[p]))
                return ek_admin_refuse(c, EK_REASON_BAD_VALUE, NULL, "The path is not well encoded.");
        return true;
    }
    if (methods == 0) return ek_admin_refuse(c, EK_REASON_NOT_FOUND, NULL, NULL);
    c->answer->allow = methods == 1 ? allows[0] : methods == 2 ? allows[1] : methods == 3 ? allows[2]
                       : methods == 4 ? allows[3] : methods == 5 ? allows[4] : allows[5];
    return ek_admin_refuse(c, EK_REASON_METHOD, NULL, NULL);
}

/* Is `name` one of the words of `list`? */
static bool listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; *at;) {
        size_t word = strcspn(at, " ");
        if (word == len && memcmp(at, name, len) == 0) return true;
        at += word + (at[word] == ' ');
    }
    return false;
}

static bool read_query(struct ek_admin_call *c)
{
    struct ek_str rest = c->ask->query;
    while (rest.len > 0) {
        struct ek_str value = cut(&rest, '&'), name = cut(&value, '=');
        if (c->queries == EK_ADMIN_QUERY_MAX)
            return ek_admin_refuse(c, EK_REASON_BAD_VALUE, NULL, "The query has too many parameters.");
        size_t i = c->queries;
        if (!decode(name, c->query[i].name, sizeof c->query[i].name) ||
            !listed(c->route->query, c->query[i].name))
            return ek_admin_refuse(c, EK_REASON_UNKNOWN_PARAM, NULL, "This takes as query: %s.",
                                   *c->route->query ? c->route->query : "nothing");
        if (ek_admin_query(c, c->query[i].name))
            return ek_admin_refuse(c, EK_REASON_DUPLICATE_KEY, c->query[i].name, "It is given twice.");
        if (!decode(value, c->query[i].value, sizeof c->query[i].value))
            return ek_admin_refuse(c, EK_REASON_BAD_VALUE, c->query[i].name,
                                   "Its value is not well encoded.");
        c->queries++;
    }
    return true;
}

const char *ek_admin_query(const struct ek_admin_call *c, const char *name)
{
    for (size_t i = 0; i < c->queries; i++)
        if (strcmp(c->query[i].name, name) == 0) return c->query[i].value;
    return NULL;
}

bool ek_admin_query_number(struct ek_admin_call *c, const char *name, uint64_t min, uint64_t max,
                           uint64_t *out)
{
    const char *text = ek_admin_query(c, name);
    if (!text) return true;
    if (ek_str_u64(ek_str_of(text), out) && *out >= min && *out <= max) return true;
    return ek_admin_refuse(c, EK_REASON_BAD_VALUE, name, "'%s' must be a whole number from %llu to %llu.",
                           name,
                           (unsigned long long)min, (unsigned long long)max);
}

/* ---- one request ------------------------------------------------------------------------------ */

static bool read_body(struct ek_admin_call *c)
{
    json_error_t error;
    if (c->route->lines) return true;
    if (!c->route->body && c->ask->body.len > 0)
        return ek_admin_refuse(c, EK_REASON_UNSUPPORTED, NULL, "This takes no body.");
    if (!c->route->body) return true;
    if (c->ask->body.len > EK_ADMIN_BODY_BYTES_MAX)
        return ek_admin_refuse(c, EK_REASON_BODY_TOO_LARGE, NULL, NULL);
    c->body = json_loadb(c->ask->body.data ? c->ask->body.data : "", c->ask->body.len, JSON_REJECT_DUPLICATES,
                         &error);
    if (!c->body && json_error_code(&error) == json_error_duplicate_key)
        return ek_admin_refuse(c, EK_REASON_DUPLICATE_KEY, NULL, NULL);
    if (!c->body && json_error_code(&error) == json_error_numeric_overflow)
        return ek_admin_refuse(c, EK_REASON_BAD_VALUE, NULL,
                               "The body has a number that is too large (line %d, column %d).", error.line,
                               error.column);
    if (!c->body)
        return ek_admin_refuse(c, EK_REASON_BAD_JSON, NULL,
                               "The body is not valid JSON (line %d, column %d).",
                               error.line, error.column);
    if (!json_is_object(c->body))
        return ek_admin_refuse(c, EK_REASON_WRONG_TYPE, NULL, "The body must be a JSON object.");
    return true;
}

static bool check_name(struct ek_admin_call *c)
{
    struct ek_str name = c->ask->name;
    if (c->route->named && name.len == 0)
        return ek_admin_refuse(c, EK_REASON_MISSING_PARAM, "Idempotency-Key",
                               "This moves money: it wants a header Idempotency-Key, a text of your own "
                               "that is new for each payment, so that a repeat pays once.");
    if (!c->route->named && name.len > 0)
        return ek_admin_refuse(c, EK_REASON_UNSUPPORTED, "Idempotency-Key",
                               "Idempotency-Key is not kept for this request: leave it out.");
    if (name.len > EK_ADMIN_TEXT_MAX)
        return ek_admin_refuse(c, EK_REASON_BAD_VALUE, "Idempotency-Key", "It is longer than 255 bytes.");
    return true;
}

void ek_admin_do(const struct ek_admin_books *books, const struct ek_admin_ask *ask,
                 struct ek_admin_answer *out)
{
    struct ek_admin_call c = {.books = books, .ask = ask, .answer = out};
    *out = (struct ek_admin_answer){.body = ek_buf_make(EK_ADMIN_ANSWER_BYTES_MAX)};
    MUST(ask->who && *ask->who && books->secret && books->currency);
    bool good = find_route(&c) && read_query(&c) && check_name(&c) && read_body(&c) && c.route->run(&c);
    if (good && out->body.failed)
        good = ek_admin_refuse(&c, EK_REASON_ANSWER_TOO_LARGE, NULL, "Ask for less at once.");
    if (!good) write_refusal(&c);
    json_decref(c.body);
    MUST(out->status >= 200);
}

/* ---- what several routes do ------------------------------------------------------------------- */

bool ek_admin_account(struct ek_admin_call *c, struct ek_account_row *out)
{
    enum ek_status s = ek_people_account(c->books->ledger, c->param[0], out);
    return s == EK_OK || ek_admin_failed(c, s, "There is no account of this name.", NULL);
}

bool ek_admin_tier(struct ek_admin_call *c, const char *tier)
{
    char there[160];
    const char *all = c->books->tiers;
    size_t len = strlen(tier), n = 0;
    if (len == 0 || !all) return true;
    for (const char *at = all; *at;) {
        size_t name = strcspn(at, "\n");
        if (name == len && memcmp(at, tier, len) == 0) return true;
        at += name + 1;
    }
    for (; all[n + 1] && n + 4 < sizeof there; n++) there[n] = all[n] == '\n' ? ' ' : all[n];
    snprintf(there + n, sizeof there - n, "%s", all[n] && all[n + 1] ? " ..." : "");
    return ek_admin_refuse(c, EK_REASON_BAD_VALUE, "tier",
                           "The configuration has no tier '%.64s'; it has: %s.", tier, there);
}

enum ek_status ek_admin_act(struct ek_ledger *l, const struct ek_admin_call *c, uint64_t account,
                            const char *fmt, ...)
{
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    what[ek_utf8_whole(ek_str_of(what))] = '\0'; /* never half a character */
    return ek_people_act(l, c->ask->who, what, account);
}

struct ek_id ek_admin_payment_name(struct ek_str text)
{
    static const struct ek_secret none;
    uint8_t hash[EK_TOKEN_HASH_BYTES];
    ek_token_hash(&none, text, hash);
    return ek_id_get(hash);
}
