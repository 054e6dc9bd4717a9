/* SPDX-License-Identifier: MIT */
/* The admin API without a socket: requests as data on SQLite and PostgreSQL, every refusal with its code,
 * attacks in every text, the table of routes against its description, and the books exact after all of it. */
#include "both_stores.h"

#include "office/admin.h"

#include <jansson.h>
#include <sodium.h>

extern const char ek_openapi_admin_json[];

static struct pg_cluster cluster;
static struct ek_secret secret;
static struct ek_admin_books books = {.secret = &secret, .currency = "USD"};

static void open_books(bool postgres)
{
    char url[256] = ":memory:", why[256];
    if (postgres) pg_database(&cluster, "admin", url, sizeof url);
    struct ek_ledger_options o = {.url = url, .door = "admin", .lease_ns = 60 * EK_S_NS};
    assert_int_equal(ek_ledger_open(&o, &books.ledger, why, sizeof why), EK_OK);
}

static struct ek_admin_answer ask_raw(const char *method, const char *target, const char *name,
                                      struct ek_str body)
{
    struct ek_admin_answer a;
    const char *query = strchr(target, '?');
    struct ek_admin_ask q = {.method = ek_str_of(method), .who = "test", .name = ek_str_of(name),
                             .body = body,
                             .path = query ? ek_str_make(target,
                                                         (size_t)(query - target)) : ek_str_of(target),
                             .query = ek_str_of(query ? query + 1 : NULL)};
    ek_admin_do(&books, &q, &a);
    return a;
}

/* Asks, wants this status, and gives the answer's JSON (to be freed). */
static json_t *ask(const char *method, const char *target, const char *name, const char *body, int status)
{
    char path[1024];
    snprintf(path, sizeof path, EK_ADMIN_PREFIX "%s", target);
    struct ek_admin_answer a = ask_raw(method, path, name, ek_str_of(body));
    if (a.status != status)
        printf("%s %s %s: %d, not %d: %.*s\n", method, target, body ? body : "", a.status, status,
               (int)a.body.len, a.body.data);
    assert_int_equal(a.status, status);
    assert_int_equal(a.reason == EK_REASON_NONE, status < 400);
    json_t *j = json_loadb(a.body.data, a.body.len, 0, NULL);
    assert_true(json_is_object(j));
    ek_admin_answer_free(&a);
    return j;
}

static void ok(const char *method, const char *target, const char *body, int status)
{
    json_decref(ask(method, target, NULL, body, status));
}

static const char *text_of(json_t *j, const char *name)
{
    const char *text = json_string_value(json_object_get(j, name));
    assert_non_null(text);
    return text;
}

/* A refusal with this code, about this parameter (NULL: any). */
static void refused(const char *method, const char *target, const char *body, const char *code,
                    const char *param)
{
    char path[1024];
    snprintf(path, sizeof path, EK_ADMIN_PREFIX "%s", target);
    struct ek_admin_answer a = ask_raw(method, path, strstr(target, "topups") ? "t-1" : NULL,
                                       ek_str_of(body));
    json_t *j = json_loadb(a.body.data, a.body.len, 0, NULL), *e = json_object_get(j, "error");
    if (strcmp(text_of(e, "code"), code) != 0) printf("%s %s: %s\n", target, body, text_of(e, "message"));
    assert_string_equal(text_of(e, "code"), code);
    assert_int_equal(a.status, ek_reason_status(a.reason));
    if (param) assert_string_equal(text_of(e, "param"), param);
    size_t len = strlen(text_of(e, "message"));
    assert_true(len > 10 && text_of(e, "message")[len - 1] == '.');
    json_decref(j);
    ek_admin_answer_free(&a);
}

static void close_exact(void)
{
    json_t *j = ask("GET", "/audit", NULL, NULL, 200);
    assert_true(json_is_true(json_object_get(j, "exact")));
    json_decref(j);
    ek_ledger_close(&books.ledger);
}

/* ---- what it is for --------------------------------------------------------------------------- */

static void accounts(bool postgres)
{
    open_books(postgres);
    json_t *j = ask("POST", "/accounts", NULL,
                    "{\"name\":\"ann\",\"tier\":\"gold\",\"grant\":\"1\",\"topup\":\"12.5\",\"limits\":"
                    "{\"budget_day\":\"3\",\"running\":4,\"models\":[\"r1\",\"demo*\"],\"borrow\":false,"
                    "\"addresses\":[\"10.0.0.0/8\",\"2001:db8::/32\"],\"expires\":4000000000}}", 201);
    json_t *balance = json_object_get(j, "balance"), *limits = json_object_get(j, "limits");
    assert_string_equal(text_of(balance, "total"), "13.5");
    assert_string_equal(text_of(balance, "granted"), "1");
    assert_string_equal(text_of(limits, "budget_day"), "3");
    assert_int_equal(json_integer_value(json_object_get(limits, "expires")), 4000000000);
    assert_int_equal(json_array_size(json_object_get(limits, "models")), 2);
    json_decref(j);
    refused("POST", "/accounts", "{\"name\":\"ann\"}", "conflict", NULL);
    ok("POST", "/accounts", "{\"name\":\"bob\"}", 201);
    refused("POST", "/accounts", "{\"name\":\"max\",\"limits\":5}", "invalid_type", "limits");
    refused("POST", "/accounts", "{\"name\":\"max\",\"limits\":{\"running\":99999999999999999999}}",
            "invalid_value", NULL);
    ok("POST", "/accounts", "{\"name\":\"a/b\"}", 201);
    ok("GET", "/accounts/a%2Fb", NULL, 200);
    refused("GET", "/accounts/cleo", NULL, "not_found", NULL);
    j = ask("PATCH", "/accounts/ann", NULL,
            "{\"state\":\"suspended\",\"limits\":{\"running\":0,\"expires\":null}}",
            200);
    assert_string_equal(text_of(j, "state"), "suspended");
    assert_string_equal(text_of(j, "tier"), "gold");
    assert_string_equal(text_of(json_object_get(j, "limits"), "budget_day"), "3"); /* left alone */
    assert_true(json_is_null(json_object_get(json_object_get(j, "limits"), "expires")));
    json_decref(j);
    j = ask("GET", "/accounts?limit=2", NULL, NULL, 200);
    assert_int_equal(json_array_size(json_object_get(j, "accounts")), 2);
    assert_string_equal(text_of(j, "next"), "ann");
    json_decref(j);
    j = ask("GET", "/accounts?after=ann", NULL, NULL, 200);
    assert_int_equal(json_array_size(json_object_get(j, "accounts")), 1);
    assert_true(json_is_null(json_object_get(j, "next")));
    json_decref(j);
    j = ask("GET", "/acts", NULL, NULL, 200);
    json_t *act = json_array_get(json_object_get(j, "acts"), 0);
    assert_string_equal(text_of(act, "who"), "test");
    assert_non_null(strstr(text_of(act, "what"), "\"state\":\"suspended\""));
    assert_string_equal(text_of(act, "account"), "ann");
    json_decref(j);
    close_exact();
}

static void keys(bool postgres)
{
    char path[256];
    open_books(postgres);
    ok("POST", "/accounts", "{\"name\":\"ann\"}", 201);
    ok("POST", "/accounts", "{\"name\":\"bob\"}", 201);
    json_t *made = ask("POST", "/accounts/ann/keys", NULL, "{\"name\":\"laptop\",\"user\":\"u1\"}", 201);
    assert_true(strncmp(text_of(made, "key"), "sk-ek-", 6) == 0);
    snprintf(path, sizeof path, "/accounts/ann/keys/%s/rotate", text_of(made, "id"));
    json_t *fresh = ask("POST", path, NULL, "{\"overlap_s\":60}", 201);
    assert_string_not_equal(text_of(fresh, "key"), text_of(made, "key"));
    assert_string_equal(text_of(fresh, "name"), "laptop");
    snprintf(path, sizeof path, "/accounts/bob/keys/%s", text_of(made, "id"));
    refused("DELETE", path, NULL, "not_found", NULL); /* it is ann's */
    snprintf(path, sizeof path, "/accounts/ann/keys/%s", text_of(made, "id"));
    ok("DELETE", path, NULL, 200);
    refused("DELETE", path, NULL, "not_found", NULL);
    refused("DELETE", "/accounts/ann/keys/99999999999999999999", NULL, "not_found", NULL);
    refused("DELETE", "/accounts/ann/keys/x", NULL, "not_found", NULL);
    json_t *list = ask("GET", "/accounts/ann/keys", NULL, NULL, 200);
    assert_int_equal(json_array_size(json_object_get(list, "keys")), 2);
    char *shown = json_dumps(list, 0);
    assert_null(strstr(shown, "sk-ek-"));
    free(shown);
    json_decref(made);
    json_decref(fresh);
    json_decref(list);
    close_exact();
}

static void topups(bool postgres)
{
    open_books(postgres);
    ok("POST", "/accounts", "{\"name\":\"ann\"}", 201);
    ok("POST", "/accounts", "{\"name\":\"bob\"}", 201);
    json_t *first = ask("POST", "/accounts/ann/topups", "inv 7",
                        "{\"amount\":\"0.000000001\",\"note\":\"n\"}", 201);
    assert_string_equal(text_of(first, "balance"), "0.000000001");
    ok("POST", "/accounts/bob/keys", "{\"name\":\"k\"}", 201);
    const char *same = "{ \"note\":\"n\", \"amount\":\"0.000000001\"}";
    json_t *again = ask("POST", "/accounts/ann/topups", "inv 7", same, 201);
    assert_true(json_equal(first, again));
    json_decref(first);
    json_decref(again);
    json_decref(ask("POST", "/accounts/ann/topups", "inv 7", "{\"amount\":\"2\",\"note\":\"n\"}", 409));
    json_decref(ask("POST", "/accounts/bob/topups", "inv 7", "{\"amount\":\"0.000000001\",\"note\":\"n\"}",
                    409));
    json_decref(ask("POST", "/accounts/ann/topups", NULL, "{\"amount\":\"2\"}", 400));
    json_decref(ask("POST", "/accounts/ann/topups", "inv 8", "{\"amount\":\"-1\"}",
                    409)); /* has not so much */
    json_t *gift = ask("POST", "/accounts/ann/topups", "inv 9", "{\"amount\":\"5\",\"gift\":true}", 201);
    assert_string_equal(text_of(gift, "balance"), "5.000000001");
    json_decref(gift);
    json_decref(ask("POST", "/accounts/ann/topups", "inv 10", "{\"amount\":\"-5\",\"gift\":true}", 201));
    refused("POST", "/accounts/ann/topups", "{\"amount\":\"0\"}", "invalid_value", "amount");
    refused("POST", "/accounts/ann/topups", "{\"amount\":1}", "invalid_type", "amount");
    refused("POST", "/accounts/ann/topups", "{\"amount\":\"1.0000000001\"}", "invalid_value", "amount");
    refused("POST", "/accounts/ann/topups", "{\"amount\":\"9999999999999999999\"}", "invalid_value",
            "amount");
    refused("POST", "/accounts/ann/topups", "{\"amount\":\"1e3\"}", "invalid_value", "amount");
    refused("POST", "/accounts/ann/topups", "{}", "missing_parameter", "amount");
    json_t *list = ask("GET", "/accounts/ann/topups", NULL, NULL, 200);
    assert_int_equal(json_array_size(json_object_get(list, "topups")), 3);
    json_decref(list);
    list = ask("GET", "/acts?account=ann", NULL, NULL, 200);
    assert_int_equal(json_array_size(json_object_get(list, "acts")), 4); /* repeats are no acts */
    json_decref(list);
    close_exact();
}

static void codes(bool postgres)
{
    char body[512], path[64];
    open_books(postgres);
    ok("POST", "/accounts", "{\"name\":\"ann\"}", 201);
    json_t *j = ask("POST", "/codes", NULL, "{\"kind\":\"invitation\",\"tier\":\"free\",\"gift\":\"0.5\"}",
                    201);
    snprintf(body, sizeof body, "{\"code\":\"%s\",\"name\":\"dan\"}", text_of(j, "code"));
    json_decref(j);
    j = ask("POST", "/redeem", NULL, body, 201);
    assert_true(strncmp(text_of(j, "key"), "sk-ek-", 6) == 0);
    assert_string_equal(text_of(j, "tier"), "free");
    json_decref(j);
    refused("POST", "/redeem", body, "code_refused", "code");
    j = ask("POST", "/codes", NULL, "{\"kind\":\"voucher\",\"amount\":\"3\",\"uses\":5}", 201);
    snprintf(body, sizeof body, "{\"code\":\"%s\",\"account\":\"ann\"}", text_of(j, "code"));
    snprintf(path, sizeof path, "/codes/%s", text_of(j, "id"));
    json_decref(j);
    ok("POST", "/redeem", body, 201);
    refused("POST", "/redeem", body, "code_used", NULL);
    j = ask("GET", "/codes", NULL, NULL, 200);
    assert_int_equal(json_array_size(json_object_get(j, "codes")), 2);
    json_decref(j);
    ok("DELETE", path, NULL, 200);
    refused("DELETE", path, NULL, "not_found", NULL);
    refused("POST", "/codes", "{\"kind\":\"voucher\"}", "invalid_value", "amount");
    refused("POST", "/codes", "{\"kind\":\"voucher\",\"amount\":\"-1\"}", "invalid_value", "amount");
    refused("POST", "/codes", "{\"kind\":\"coupon\"}", "invalid_value", "kind");
    refused("POST", "/codes", "{\"kind\":\"invitation\",\"uses\":0}", "invalid_value", "uses");
    refused("POST", "/invitations", "{\"tier\":\"free\"}", "missing_parameter", "expires");
    refused("POST", "/invitations", "{\"expires\":null}", "invalid_value", "expires");
    j = ask("POST", "/invitations", NULL, "{\"tier\":\"free\",\"gift\":\"1\",\"expires\":4000000000}", 201);
    snprintf(body, sizeof body, "{\"code\":\"%s\",\"name\":\"eve\"}", text_of(j, "code"));
    json_decref(j);
    ok("POST", "/redeem", body, 201);
    refused("POST", "/redeem", body, "code_refused", NULL);
    refused("POST", "/redeem", "{\"code\":\"x\"}", "missing_parameter", NULL);
    j = ask("GET", "/accounts/eve", NULL, NULL, 200);
    assert_string_equal(text_of(json_object_get(j, "balance"), "granted"), "1");
    json_decref(j);
    close_exact();
}

static void moving(bool postgres)
{
    open_books(postgres);
    ok("POST", "/accounts", "{\"name\":\"ann\",\"grant\":\"1.5\"}", 201);
    ok("POST", "/accounts", "{\"name\":\"bob\"}", 201);
    struct ek_admin_answer all = ask_raw("GET", "/admin/v1/export", NULL, ek_str_make(NULL, 0));
    assert_true(all.status == 200 && all.lines);
    json_decref(ask("GET", "/usage?from=2026-01-01&to=2026-12-31&by=day,model,key,account", NULL, NULL, 200));
    struct ek_admin_answer same = ask_raw("POST", "/admin/v1/import", NULL, ek_buf_view(&all.body));
    assert_non_null(strstr(ek_buf_cstr(&same.body), "here already")); /* they are at home here */
    ek_admin_answer_free(&same);
    ek_ledger_close(&books.ledger);
    open_books(postgres);
    for (int i = 0; i < 2; i++) {
        same = ask_raw("POST", "/admin/v1/import", NULL, ek_buf_view(&all.body));
        assert_string_equal(ek_buf_cstr(&same.body), i ? "{\"imported\":0,\"present\":2,\"refused\":[]}\n"
                                                       : "{\"imported\":2,\"present\":0,\"refused\":[]}\n");
        ek_admin_answer_free(&same);
    }
    same = ask_raw("GET", "/admin/v1/export", NULL, ek_str_make(NULL, 0));
    assert_true(ek_str_eq(ek_buf_view(&same.body), ek_buf_view(&all.body)));
    ek_admin_answer_free(&same);
    ek_admin_answer_free(&all);
    same = ask_raw("GET", "/admin/v1/export", NULL, EK_STR("{}"));
    assert_int_equal(same.status, 400);
    ek_admin_answer_free(&same);
    same = ask_raw("GET", "/admin/v1/export", NULL, ek_str_make(NULL, 0));
    ek_admin_answer_free(&same);
    refused("GET", "/usage?from=2026-02-30", NULL, "invalid_value", "from");
    refused("GET", "/usage?from=2026-1-3", NULL, "invalid_value", "from");
    refused("GET", "/usage?by=day,day", NULL, "invalid_value", "by");
    refused("GET", "/usage?by=colour", NULL, "invalid_value", "by");
    refused("GET", "/usage?from=2026-02-02&to=2026-01-01", NULL, "invalid_value", "from");
    close_exact();
}

/* ---- what comes from outside ------------------------------------------------------------------ */

static void strictness(bool postgres)
{
    open_books(postgres);
    refused("GET", "/nothing", NULL, "not_found", NULL);
    refused("GET", "", NULL, "not_found", NULL);
    refused("GET", "/accounts/", NULL, "not_found", NULL);
    refused("GET", "//accounts", NULL, "not_found", NULL);
    refused("PUT", "/accounts", NULL, "method_not_allowed", NULL);
    refused("GET", "/accounts?x=1", NULL, "unknown_parameter", NULL);
    refused("GET", "/accounts?limit=0", NULL, "invalid_value", "limit");
    refused("GET", "/accounts?limit=-1", NULL, "invalid_value", "limit");
    refused("GET", "/accounts?limit=2&limit=2", NULL, "duplicate_key", "limit");
    refused("GET", "/accounts?after=%00", NULL, "invalid_value", "after");
    refused("GET", "/accounts?after=%0a", NULL, "invalid_value", "after");
    refused("GET", "/accounts?after=%ff", NULL, "invalid_value", "after");
    refused("GET", "/accounts?after=%4", NULL, "invalid_value", "after");
    refused("GET", "/accounts/%zz", NULL, "invalid_value", NULL);
    refused("GET", "/accounts/..%2f..%2fetc%2fpasswd", NULL, "not_found", NULL);
    refused("POST", "/accounts", "", "invalid_json", NULL);
    refused("POST", "/accounts", "[]", "invalid_type", NULL);
    refused("POST", "/accounts", "{\"name\":\"a\",\"name\":\"b\"}", "duplicate_key", NULL);
    refused("POST", "/accounts", "{\"name\":\"a\"} x", "invalid_json", NULL);
    refused("POST", "/accounts", "{\"name\":\"a\\u0000b\"}", "invalid_json", NULL);
    refused("POST", "/accounts", "{\"name\":7}", "invalid_type", "name");
    refused("POST", "/accounts", "{\"name\":\"a\",\"colour\":1}", "unknown_parameter", "colour");
    refused("POST", "/accounts", "{\"name\":\"a\",\"c\\n\":1}", "unknown_parameter", "?");
    refused("POST", "/accounts", "{\"name\":\"a\",\"limits\":{\"runing\":1}}", "unknown_parameter",
            "limits.runing");
    refused("POST", "/accounts", "{\"name\":\"a\",\"limits\":[]}", "invalid_type", NULL);
    refused("POST", "/accounts", "{\"name\":\"a\",\"limits\":{\"running\":-1}}", "invalid_value",
            "limits.running");
    refused("POST", "/accounts", "{\"name\":\"a\",\"limits\":{\"running\":1.5}}", "invalid_type",
            "limits.running");
    refused("POST", "/accounts", "{\"name\":\"a\",\"limits\":{\"running\":2147483648}}", "invalid_value",
            "limits.running");
    refused("POST", "/accounts", "{\"name\":\"a\",\"limits\":{\"models\":[\"a b\"]}}", "invalid_value",
            "limits.models");
    refused("POST", "/accounts", "{\"name\":\"a\",\"limits\":{\"addresses\":[\"10.0.0.0/33\"]}}",
            "invalid_value", "limits.addresses");
    refused("POST", "/accounts", "{\"name\":\"a\",\"limits\":{\"budget_day\":\"-1\"}}", "invalid_value",
            "limits.budget_day");
    refused("PATCH", "/accounts/a", "{\"tier\":\"x\"}", "not_found", NULL);
    ok("POST", "/accounts", "{\"name\":\"a\"}", 201);
    refused("PATCH", "/accounts/a", "{\"state\":\"dead\"}", "invalid_value", "state");
    json_decref(ask("POST", "/accounts", "a name", "{\"name\":\"z\"}", 400)); /* no Idempotency-Key here */
    json_t *j = ask("GET", "/accounts", NULL, NULL, 200);
    assert_int_equal(json_array_size(json_object_get(j, "accounts")), 1);
    json_decref(j);
    close_exact();
}

/* Every text that can be sent, in every place that takes one: refused, or stored and given back as it was. */
static void attacks(bool postgres)
{
    static const char *const evil[] = {
        "'; DROP TABLE account; --", "\\\" OR 1=1", "$1", "%27%20OR", "../../etc/passwd",
        "<script>alert(1)</script>",
        "a\\u202eb", "\\ud83d\\ude00", "NULL", "{\\\"x\\\":1}", "\\t", "\\u0007",
        "x' UNION SELECT hash FROM api_key",
        "%s%n%x", "-rf", "a,b", "a b", "\\u007f", "\xc3\x28", "`id`", "$(id)"};
    static const char *const places[][2] = {
        {"/accounts", "{\"name\":\"%s\"}"}, {"/accounts", "{\"name\":\"q\",\"tier\":\"%s\"}"},
        {"/accounts", "{\"name\":\"q\",\"limits\":{\"models\":[\"%s\"]}}"},
        {"/accounts", "{\"name\":\"q\",\"limits\":{\"addresses\":[\"%s\"]}}"},
        {"/accounts/ann/keys", "{\"name\":\"%s\"}"}, {"/accounts/ann/keys",
                                                      "{\"name\":\"k\",\"user\":\"%s\"}"},
        {"/accounts/ann/topups", "{\"amount\":\"%s\"}"},
        {"/accounts/ann/topups", "{\"amount\":\"1\",\"note\":\"%s\"}"},
        {"/codes", "{\"kind\":\"%s\"}"}, {"/codes", "{\"kind\":\"invitation\",\"tier\":\"%s\"}"},
        {"/codes", "{\"kind\":\"invitation\",\"note\":\"%s\"}"}, {"/redeem",
                                                                  "{\"code\":\"%s\",\"name\":\"q\"}"},
        {"/redeem", "{\"code\":\"q\",\"name\":\"%s\"}"}, {"/redeem", "{\"code\":\"q\",\"account\":\"%s\"}"},
    };
    open_books(postgres);
    ok("POST", "/accounts", "{\"name\":\"ann\"}", 201);
    for (size_t p = 0; p < EK_COUNT(places); p++) {
        for (size_t i = 0; i < EK_COUNT(evil); i++) {
            char body[512], path[128], name[32], *at = strstr(places[p][1], "%s");
            snprintf(body, sizeof body, "%.*s%s%s", (int)(at - places[p][1]), places[p][1], evil[i], at + 2);
            snprintf(path, sizeof path, "/admin/v1%s", places[p][0]);
            snprintf(name, sizeof name, "n%zu-%zu", p, i);
            struct ek_admin_answer a = ask_raw("POST", path, strstr(path, "topups") ? name : NULL,
                                               ek_str_of(body));
            json_t *j = json_loadb(a.body.data, a.body.len, 0, NULL);
            if (a.status == 500 || a.status == 503) printf("%s %s: %d\n", path, body, a.status);
            assert_true(json_is_object(j) && (a.status == 201 || (a.status >= 400 && a.status < 500)));
            json_decref(j);
            ek_admin_answer_free(&a);
        }
    }
    for (size_t i = 0; i < EK_COUNT(evil); i++) { /* as Idempotency-Key, and in paths and queries, raw */
        char path[256];
        json_decref(ask("POST", "/accounts/ann/topups", evil[i], "{\"amount\":\"1\"}", 201));
        snprintf(path, sizeof path, "/admin/v1/accounts/%s/keys?after=%s", evil[i], evil[i]);
        struct ek_admin_answer a = ask_raw("GET", path, NULL, ek_str_make(NULL, 0));
        assert_true(a.status >= 400 && a.status < 500);
        ek_admin_answer_free(&a);
    }
    json_t *j = ask("GET", "/accounts/ann/topups?limit=500", NULL, NULL, 200);
    bool stored = false;
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(j, "topups"), i, one)
        stored = stored || strcmp(text_of(one, "note"), "'; DROP TABLE account; --") == 0;
    assert_true(stored);
    json_decref(j);
    close_exact();
}

/* ---- the description -------------------------------------------------------------------------- */

/* The same template, but for the names of its parameters? */
static json_t *described(json_t *paths, const struct ek_admin_route *r)
{
    char method[8];
    size_t n = 0;
    for (; r->method[n]; n++) method[n] = (char)(r->method[n] | 0x20);
    method[n] = '\0';
    return json_object_get(json_object_get(paths, r->path), method);
}

static void check_parameters(const struct ek_admin_route *r, json_t *op)
{
    size_t i, queries = 0, want = *r->query != 0;
    json_t *p;
    bool named = false;
    for (const char *at = r->query; *at; at++) want += *at == ' ';
    json_array_foreach(json_object_get(op, "parameters"), i, p) {
        char word[64];
        named = named || strcmp(text_of(p, "name"), "Idempotency-Key") == 0;
        if (strcmp(text_of(p, "in"), "query") != 0) continue;
        queries++;
        snprintf(word, sizeof word, " %s ", text_of(p, "name"));
        char all[256];
        snprintf(all, sizeof all, " %s ", r->query);
        assert_non_null(strstr(all, word));
    }
    assert_int_equal(queries, want);
    assert_int_equal(named, r->named);
    assert_int_equal(json_object_get(op, "requestBody") != NULL, r->body);
}

static void description(void **state)
{
    (void)state;
    json_error_t error;
    json_t *doc = json_loads(ek_openapi_admin_json, JSON_REJECT_DUPLICATES, &error);
    if (!doc) printf("%s, line %d\n", error.text, error.line);
    assert_non_null(doc);
    assert_string_equal(text_of(doc, "openapi"), "3.1.0");
    json_t *paths = json_object_get(doc, "paths"), *item, *op;
    size_t count, found = 0;
    const struct ek_admin_route *r = ek_admin_routes(&count);
    const char *path, *method;
    for (size_t i = 0; i < count; i++) {
        op = described(paths, &r[i]);
        if (!op) printf("%s %s is not described\n", r[i].method, r[i].path);
        assert_non_null(op);
        check_parameters(&r[i], op);
    }
    json_object_foreach(paths, path, item)
        json_object_foreach(item, method, op)
            found += strcmp(method, "parameters") != 0;
    assert_int_equal(found, count); /* nothing is described that is not there */
    json_decref(doc);
}

/* A tier that the configuration lacks would serve nobody as was meant: refused, with those there are. */
static void tiers(bool postgres)
{
    open_books(postgres);
    books.tiers = "default\nfree\n";
    ok("POST", "/accounts", "{\"name\":\"ann\",\"tier\":\"free\"}", 201);
    ok("POST", "/accounts", "{\"name\":\"ben\"}", 201);
    refused("POST", "/accounts", "{\"name\":\"cid\",\"tier\":\"gold\"}", "invalid_value", "tier");
    refused("PATCH", "/accounts/ann", "{\"tier\":\"fre\"}", "invalid_value", "tier");
    refused("POST", "/codes", "{\"kind\":\"invitation\",\"tier\":\"gold\"}", "invalid_value", "tier");
    refused("POST", "/invitations", "{\"tier\":\"gold\",\"expires\":4000000000}", "invalid_value", "tier");
    struct ek_admin_answer a = ask_raw("PATCH", EK_ADMIN_PREFIX "/accounts/ann", NULL,
                                       EK_STR("{\"tier\":\"gold\"}"));
    assert_non_null(strstr(ek_buf_cstr(&a.body), "no tier 'gold'; it has: default free"));
    ek_admin_answer_free(&a);
    a = ask_raw("GET", EK_ADMIN_PREFIX "/export", NULL, EK_STR(""));
    struct ek_buf lines = a.body;
    ek_ledger_close(&books.ledger);
    open_books(postgres);
    books.tiers = "default\n"; /* the other ledger's door has no tier "free" */
    a = ask_raw("POST", EK_ADMIN_PREFIX "/import", NULL, ek_buf_view(&lines));
    assert_non_null(strstr(ek_buf_cstr(&a.body), "\"imported\":1"));
    assert_non_null(strstr(a.body.data, "no tier 'free'"));
    ek_admin_answer_free(&a);
    ek_buf_free(&lines);
    json_decref(ask("GET", "/accounts/ann", NULL, NULL, 404));
    books.tiers = "free\n"; /* the tier of an account is gone: its other limits can be changed */
    ok("PATCH", "/accounts/ben", "{\"limits\":{\"running\":2}}", 200);
    books.tiers = NULL;
    close_exact();
}

BOTH(accounts)
BOTH(keys)
BOTH(topups)
BOTH(codes)
BOTH(moving)
BOTH(strictness)
BOTH(attacks)
BOTH(tiers)

#define TWO(f) cmocka_unit_test(f##_sqlite), cmocka_unit_test(f##_postgres)

int main(void)
{
    const struct CMUnitTest tests[] = {TWO(accounts), TWO(keys), TWO(topups), TWO(codes), TWO(moving),
                                       TWO(strictness), TWO(attacks), TWO(tiers),
                                       cmocka_unit_test(description)};
    MUST(sodium_init() >= 0);
    randombytes_buf(&secret, sizeof secret);
    no_postgres = !pg_start(&cluster);
    int failed = cmocka_run_group_tests_name("office_admin", tests, NULL, NULL);
    pg_stop(&cluster);
    return failed;
}
