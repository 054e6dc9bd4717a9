/* SPDX-License-Identifier: MIT */
/* Fuzz what people send to the office. Byte 0 says what the rest is: a signature's header before its
 * first newline and a body behind it; a message of a web hook; or a method, a target, an Idempotency-Key
 * and a body, a line each, for the admin API over a ledger in memory, which is thrown away with the
 * input. Whatever comes: an answer that is JSON (or lines of it), a status that goes with its reason, and
 * books that are exact. */
#include "base/buf.h"
#include "office/admin.h"
#include "office/hook.h"

#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct ek_str line(struct ek_str *rest)
{
    const char *at = rest->len ? memchr(rest->data, '\n', rest->len) : NULL;
    size_t len = at ? (size_t)(at - rest->data) : rest->len;
    struct ek_str head = ek_str_make(rest->data, len);
    *rest = ek_str_skip(*rest, at ? len + 1 : len);
    return head;
}

static void signature(struct ek_str in)
{
    static const struct ek_hook_secrets secrets = {1, {"whsec_0123456789abcdefghijklmnop"}};
    struct ek_str header = line(&in);
    enum ek_reason r = ek_hook_check(header, in, &secrets, 1760000000, 300);
    MUST(r == EK_REASON_NONE || r == EK_REASON_HOOK_SIGNATURE || r == EK_REASON_HOOK_STALE);
    MUST(r == ek_hook_check(header, in, &secrets, 1760000000, 300));
}

static void message(struct ek_str in, bool stripe)
{
    struct ek_hook_payment p;
    char why[160] = "";
    enum ek_reason r = stripe ? ek_hook_stripe(in, "USD", &p, why, sizeof why)
                              : ek_hook_topup(in, &p, why, sizeof why);
    MUST((r == EK_REASON_NONE) == !*why);
    if (r == EK_REASON_NONE && p.pays) MUST(*p.account && *p.name && ek_buf_cstr(&p.body));
    ek_buf_free(&p.body);
}

static void ask(struct ek_ledger *l, const char *method, struct ek_str target, struct ek_str name,
                struct ek_str body)
{
    static const struct ek_secret secret;
    struct ek_admin_books books = {l, &secret, "USD", "default\nfree\n"};
    struct ek_admin_answer a;
    const char *query = target.len ? memchr(target.data, '?', target.len) : NULL;
    size_t path = query ? (size_t)(query - target.data) : target.len;
    struct ek_admin_ask q = {.method = ek_str_of(method), .path = ek_str_make(target.data, path),
                             .who = "fuzz",
                             .query = query ? ek_str_skip(target, path + 1) : ek_str_make(NULL, 0),
                             .name = name, .body = body};
    ek_admin_do(&books, &q, &a);
    MUST(a.status == (a.reason ? ek_reason_status(a.reason) : a.status == 201 ? 201 : 200));
    MUST(a.status != 500 && a.status != 503);
    if (!a.lines) {
        json_t *j = json_loadb(a.body.data, a.body.len, 0, NULL);
        MUST(json_is_object(j));
        json_decref(j);
    }
    ek_admin_answer_free(&a);
}

static void office(struct ek_str in)
{
    static const char *const methods[] = {"GET", "POST", "PATCH", "DELETE", "PUT"};
    struct ek_ledger_options o = {.url = ":memory:", .door = "fuzz", .lease_ns = EK_S_NS};
    struct ek_ledger *l;
    struct ek_audit audit;
    char why[256];
    MUST(ek_ledger_open(&o, &l, why, sizeof why) == EK_OK);
    ask(l, "POST", EK_STR(EK_ADMIN_PREFIX "/accounts"), ek_str_make(NULL, 0),
        EK_STR("{\"name\":\"ann\",\"topup\":\"5\"}"));
    for (int i = 0; i < 4 && in.len > 0; i++) {
        struct ek_str method = line(&in), target = line(&in), name = line(&in), body = line(&in);
        ask(l, methods[method.len ? (unsigned char)method.data[0] % EK_COUNT(methods) : 0], target, name,
            body);
    }
    MUST(ek_ledger_audit(l, &audit) == EK_OK && audit.wrong == 0);
    ek_ledger_close(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    MUST(sodium_init() >= 0);
    struct ek_str in = ek_str_make((const char *)data + 1, size - 1);
    switch (data[0] % 4) {
    case 0: signature(in); break;
    case 1: message(in, true); break;
    case 2: message(in, false); break;
    default: office(in);
    }
    return 0;
}
