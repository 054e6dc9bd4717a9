/* SPDX-License-Identifier: MIT */
/* What the public asks of the office: codes to redeem, and web hooks that pay. On the loop only the head
 * is judged; signatures, JSON and the database are the helper thread's. Either ends in ek_admin_do, so a
 * payment by hook is the same top-up, under the same idempotent name, as one by an administrator. */
#include "office/office_inside.h"

#include "base/address.h"
#include "chat/error.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define REDEEM_BODY_BYTES_MAX 2048u
#define MINUTE_NS (60 * EK_S_NS)

enum ek_office_public ek_office_find(const struct ek_office *o, struct ek_str path)
{
    MUST_OBJ(o, EK_OFFICE_MAGIC);
    if (o->o.codes && ek_str_eq(path, EK_STR("/v1/redeem"))) return EK_OFFICE_REDEEM;
    if (o->o.topup_secrets && ek_str_eq(path, EK_STR("/hooks/topup"))) return EK_OFFICE_TOPUP;
    if (o->o.stripe_secrets && ek_str_eq(path, EK_STR("/hooks/stripe"))) return EK_OFFICE_STRIPE;
    return EK_OFFICE_NONE;
}

/* ---- heads ------------------------------------------------------------------------------------- */

/* One more try from here? Counted by address in slots that some addresses share; a code has 192 bits, so this
 * keeps the database quiet rather than codes safe. Seconds to wait, or 0. */
static uint64_t count_try(struct ek_office *o, struct ek_str peer)
{
    struct ek_now now = ek_loop_now(o->o.loop);
    uint64_t minute = now.unix_ns / MINUTE_NS;
    if (minute != o->tries_minute) {
        memset(o->tries, 0, sizeof o->tries);
        o->tries_all = 0;
        o->tries_minute = minute;
    }
    uint8_t *mine = &o->tries[ek_address_owner(peer, o->seed) % EK_OFFICE_SLOTS];
    if (*mine >= EK_OFFICE_TRIES_MAX || o->tries_all >= EK_OFFICE_ALL_TRIES_MAX)
        return (MINUTE_NS - now.unix_ns % MINUTE_NS) / EK_S_NS + 1;
    ++*mine;
    o->tries_all++;
    return 0;
}

void ek_office_head(struct ek_office *o, enum ek_office_public what, struct ek_http_req *http,
                    const struct ek_http_head *head, struct ek_str peer, const char *account)
{
    struct ek_str value;
    enum ek_reason reason = EK_REASON_NONE;
    size_t max = what == EK_OFFICE_REDEEM ? REDEEM_BODY_BYTES_MAX : EK_HOOK_BODY_BYTES_MAX;
    struct ek_str field = what == EK_OFFICE_STRIPE ? EK_STR("stripe-signature")
                                                   : EK_STR("evenkeel-signature");
    uint64_t wait_s = 0;
    MUST(what != EK_OFFICE_NONE);
    bool is_signed = what != EK_OFFICE_REDEEM;
    if (head->content_length < 0 && !head->chunked) reason = EK_REASON_LENGTH_REQUIRED;
    else if (head->content_length > (int64_t)max) reason = EK_REASON_BODY_TOO_LARGE;
    else if (head->target.len >= EK_OFFICE_TARGET_BYTES) reason = EK_REASON_NOT_FOUND;
    else if (is_signed && (ek_http_head_find(head, field, &value) != 1 ||
                           value.len > EK_HOOK_HEADER_BYTES_MAX))
        reason = EK_REASON_HOOK_SIGNATURE;
    else if (o->under_way[EK_OFFICE_LANE_PUBLIC] >= EK_OFFICE_CALLS_MAX) reason = EK_REASON_ADMIN_BUSY;
    else if (!is_signed && (wait_s = count_try(o, peer)) > 0) reason = EK_REASON_RATE_CODES;
    if (reason != EK_REASON_NONE) {
        if (reason == EK_REASON_ADMIN_BUSY) wait_s = 2;
        ek_office_refuse(o, http, reason, true, wait_s);
        return;
    }
    struct ek_office_call *c = ek_office_call_new(o, http, head, what);
    c->body_max = max;
    c->body = ek_buf_make(max);
    snprintf(c->account, sizeof c->account, "%s", account);
    if (is_signed) (void)ek_str_copy(value, c->signature, sizeof c->signature);
    const char *as = what == EK_OFFICE_REDEEM ? "code" : what == EK_OFFICE_STRIPE ? "Stripe" : "web hook";
    snprintf(c->who, sizeof c->who, "%s, %.*s", as, (int)(peer.len < 60 ? peer.len : 60), peer.data);
}

/* ---- on the helper thread ---------------------------------------------------------------------- */

static void refuse(struct ek_office_call *c, enum ek_reason reason, const char *param, const char *sentence)
{
    struct ek_error e = {.reason = reason, .message = ek_str_of(sentence), .param = param};
    c->answer = (struct ek_admin_answer){.body = ek_buf_make(4096), .reason = reason,
                                         .status = ek_reason_status(reason)};
    ek_error_write(&c->answer.body, &e);
}

static void do_post(struct ek_office_call *c, const struct ek_admin_books *books, const char *path,
                    const char *name, struct ek_str body)
{
    struct ek_admin_ask ask = {.method = EK_STR("POST"), .path = ek_str_of(path), .name = ek_str_of(name),
                               .name_is = c->what == EK_OFFICE_STRIPE ? "data.object.id" : "id",
                               .body = body, .who = c->who};
    ek_admin_do(books, &ask, &c->answer);
}

/* {"code":"..."} for the account whose key was shown, {"code":"...","name":"..."} for a new one; no more. */
static void redeem(struct ek_office_call *c, const struct ek_admin_books *books)
{
    json_t *j = json_loadb(c->body.data ? c->body.data : "", c->body.len, JSON_REJECT_DUPLICATES, NULL);
    const json_t *code = json_object_get(j, "code"), *name = json_object_get(j, "name");
    size_t members = (size_t)(code != NULL) + (size_t)(name != NULL);
    if (!json_is_object(j))
        refuse(c, EK_REASON_BAD_JSON, NULL, "The body must be a JSON object with 'code'.");
    else if (json_object_size(j) != members)
        refuse(c, EK_REASON_UNKNOWN_PARAM, NULL, "Only 'code' and 'name' are known here.");
    else if (*c->account && name)
        refuse(c, EK_REASON_BAD_VALUE, "name", "With a key the code tops its account up: leave 'name' out.");
    else if (!*c->account && !name)
        refuse(c, EK_REASON_MISSING_PARAM, "name",
               "Say 'name', the account to be made; or send a key, and its account is topped up.");
    else if (name && json_is_string(name) && strchr(json_string_value(name), ':'))
        refuse(c, EK_REASON_BAD_VALUE, "name",
               "A name with ':' in it belongs to an identity provider: choose one without.");
    if (c->answer.status == 0) {
        if (*c->account) json_object_set_new(j, "account", json_string(c->account));
        char *text = json_dumps(j, JSON_COMPACT);
        MUST(text);
        do_post(c, books, EK_ADMIN_PREFIX "/redeem", NULL, ek_str_of(text));
        sodium_memzero(text, strlen(text));
        free(text);
    }
    json_decref(j);
}

/* A name into a path: everything but letters and digits is encoded. */
static void put_encoded(struct ek_buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char b = (unsigned char)*text;
        bool plain = (b >= '0' && b <= '9') || (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z');
        if (plain) ek_buf_char(out, *text);
        else ek_buf_printf(out, "%%%02X", b);
    }
}

static void hook(struct ek_office_call *c, const struct ek_hook_secrets *secrets,
                 const struct ek_admin_books *books, uint64_t tolerance_ns)
{
    struct ek_str body = ek_buf_view(&c->body);
    struct ek_hook_payment pay;
    char why[160];
    enum ek_reason reason = ek_hook_check(ek_str_of(c->signature), body, secrets, c->now.unix_ns / EK_S_NS,
                                          tolerance_ns / EK_S_NS);
    if (reason != EK_REASON_NONE) {
        refuse(c, reason, NULL, NULL);
        return;
    }
    reason = c->what == EK_OFFICE_STRIPE ? ek_hook_stripe(body, books->currency, &pay, why, sizeof why)
                                         : ek_hook_topup(body, &pay, why, sizeof why);
    if (reason != EK_REASON_NONE) {
        refuse(c, reason, NULL, why);
    } else if (!pay.pays) {
        c->answer = (struct ek_admin_answer){.status = 200, .body = ek_buf_make(64)};
        ek_buf_lit(&c->answer.body, "{\"received\":true,\"paid\":false}\n");
    } else {
        struct ek_buf path = ek_buf_make(2048);
        ek_buf_lit(&path, EK_ADMIN_PREFIX "/accounts/");
        put_encoded(&path, pay.account);
        ek_buf_lit(&path, "/topups");
        const char *text = ek_buf_cstr(&path);
        MUST(text);
        do_post(c, books, text, pay.name, ek_buf_view(&pay.body));
        if (c->answer.reason == EK_REASON_NONE) c->answer.changed = !c->answer.again;
        ek_buf_free(&path);
    }
    ek_buf_free(&pay.body);
}

void ek_office_run_public(struct ek_office_call *c, const struct ek_office_secrets *secrets,
                          const struct ek_admin_books *books, uint64_t tolerance_ns)
{
    MUST(c->what != EK_OFFICE_NONE);
    if (c->what == EK_OFFICE_REDEEM) redeem(c, books);
    else hook(c, c->what == EK_OFFICE_STRIPE ? &secrets->stripe : &secrets->topup, books, tolerance_ns);
    MUST(c->answer.status >= 200);
}
