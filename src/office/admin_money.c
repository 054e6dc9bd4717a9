/* SPDX-License-Identifier: MIT */
/* Money in: top-ups under an Idempotency-Key, and codes. A top-up, its act and its answer are one
 * transaction, so the same request sent again, whenever and however often, is answered with the same
 * words and pays nothing. */
#include "office/admin_inside.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define LIMIT_MAX 500u

/* ---- top-ups ---------------------------------------------------------------------------------- */

static void collect_payment(void *arg, const struct ek_payment *p)
{
    char name[33];
    snprintf(name, sizeof name, "%016llx%016llx", (unsigned long long)p->name.hi,
             (unsigned long long)p->name.lo);
    json_array_append_new(arg, json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:s}", "payment", name, "kind",
                                         p->refund ? "refund" : "payment", "amount",
                                         ek_admin_amount(p->amount.topped_nano), "gift",
                                         ek_admin_amount(p->amount.granted_nano), "at",
                                         ek_admin_time(p->at_unix_ns), "before",
                                         (json_int_t)p->at_unix_ns, "note", p->note));
}

bool ek_admin_topups_list(struct ek_admin_call *c)
{
    struct ek_account_row row;
    uint64_t limit = 100, before = 0;
    if (!ek_admin_query_number(c, "limit", 1, LIMIT_MAX, &limit) ||
        !ek_admin_query_number(c, "before", 0, INT64_MAX, &before) || !ek_admin_account(c, &row))
        return false;
    json_t *all = json_array();
    enum ek_status s = ek_payment_list(c->books->ledger, row.id, before, limit, collect_payment, all);
    json_t *one, *last = ek_admin_cursor(all, limit, "before"), *next = NULL;
    char text[24];
    size_t i;
    if (last) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(last));
        next = json_string(text);
        json_decref(last);
    }
    json_array_foreach(all, i, one) json_object_del(one, "before"); /* it stands once, not in every row */
    return ek_admin_page(c, s, "topups", all, next);
}

struct topup {
    struct ek_admin_call *c;
    struct ek_account_row account;
    struct ek_money amount;
    bool gift, again, other, too_much;
    char note[EK_LEDGER_NOTE_MAX];
    struct ek_id name;
    uint8_t asked[EK_TOKEN_HASH_BYTES]; /* of what was asked */
    int status;
    json_t *said;
};

static enum ek_status topup_say(struct ek_ledger *l, struct topup *t)
{
    struct ek_balance b;
    char name[33];
    enum ek_status s = ek_ledger_balance(l, t->account.id, &b);
    if (s != EK_OK) return s;
    snprintf(name, sizeof name, "%016llx%016llx", (unsigned long long)t->name.hi,
             (unsigned long long)t->name.lo);
    json_decref(t->said);
    t->said = json_pack("{s:s, s:s, s:o, s:b, s:s, s:o, s:s}", "payment", name, "account", t->account.name,
                        "amount", ek_admin_amount(ek_money_sum(t->amount)), "gift", (int)t->gift, "note",
                        t->note, "balance", ek_admin_amount(ek_money_sum(ek_money_add(b.free, b.leased))),
                        "currency", t->c->books->currency);
    MUST(t->said);
    return EK_OK;
}

static enum ek_status topup_body(struct ek_ledger *l, void *arg)
{
    struct topup *t = arg;
    bool before = false;
    struct ek_buf *said = &t->c->answer->body;
    ek_buf_clear(said);
    t->again = t->other = t->too_much = false;
    t->status = 201;
    enum ek_status s = ek_answer_find(l, t->name, t->asked, &t->status, said);
    t->again = s == EK_OK;
    t->other = s == EK_INVALID;
    if (s != EK_ABSENT) return s;
    s = ek_ledger_pay(l, t->name, t->account.id, t->amount, t->note, &before);
    t->too_much = s == EK_INVALID;
    if (s == EK_OK && !before)
        s = ek_admin_act(l, t->c, t->account.id, "%s %s %s", t->gift ? "grant" : "topup",
                         json_string_value(json_object_get(t->c->body, "amount")), t->note);
    if (s == EK_OK) s = topup_say(l, t);
    char *text = s == EK_OK ? json_dumps(t->said, JSON_COMPACT) : NULL;
    if (text) s = ek_answer_keep(l, t->name, t->asked, 201, ek_str_of(text));
    free(text);
    return s;
}

/* The same question has the same hash, whatever the blanks and the order of its members. */
static void hash_question(struct ek_admin_call *c, uint8_t out[EK_TOKEN_HASH_BYTES])
{
    static const struct ek_secret none;
    char *text = json_dumps(c->body, JSON_COMPACT | JSON_SORT_KEYS);
    struct ek_buf all = ek_buf_make(2 * EK_ADMIN_BODY_BYTES_MAX);
    MUST(text);
    ek_buf_printf(&all, "%s %s %s\n%s", c->route->method, c->route->path, c->param[0], text);
    MUST(!all.failed);
    ek_token_hash(&none, ek_buf_view(&all), out);
    ek_buf_free(&all);
    free(text);
}

bool ek_admin_topups_add(struct ek_admin_call *c)
{
    struct topup t = {.c = c, .name = ek_admin_payment_name(c->ask->name)};
    int64_t nano = 0;
    const struct ek_admin_field fields[] = {
        {.name = "amount", .kind = EK_ADMIN_AMOUNT, .out = &nano, .must = true, .minus = true},
        {.name = "gift", .kind = EK_ADMIN_FLAG, .out = &t.gift},
        {.name = "note", .kind = EK_ADMIN_TEXT, .out = t.note, .cap = sizeof t.note},
    };
    if (!ek_admin_read(c, c->body, "", fields, EK_COUNT(fields)) || !ek_admin_account(c, &t.account))
        return false;
    if (nano == 0) return ek_admin_refuse(c, EK_REASON_BAD_VALUE, "amount",
                                          "An amount of nothing moves nothing.");
    t.amount = (struct ek_money){t.gift ? nano : 0, t.gift ? 0 : nano};
    hash_question(c, t.asked);
    enum ek_status s = ek_ledger_together(c->books->ledger, topup_body, &t);
    if (s == EK_OK && t.again) {
        json_decref(t.said);
        ek_buf_char(&c->answer->body, '\n');
        c->answer->status = t.status;
        c->answer->again = true;
        return true;
    }
    if (s == EK_OK) return ek_admin_answer(c, 201, t.said);
    json_decref(t.said);
    const char *called = c->ask->name_is ? c->ask->name_is : "Idempotency-Key";
    if (t.other)
        return ek_admin_refuse(c, EK_REASON_IDEMPOTENCY, called,
                               "This '%s' came with another payment before, and paid that.", called);
    if (t.too_much)
        return ek_admin_refuse(c, EK_REASON_CONFLICT, "amount",
                               "The account cannot hold so much, has not so much free to be taken back, or "
                               "this '%s' paid something else long ago.", called);
    return ek_admin_failed(c, s, "There is no account of this name.", "That cannot be stored.");
}

/* ---- codes ------------------------------------------------------------------------------------ */

static const char *const kinds[] = {"invitation", "voucher", NULL};

static void collect_code(void *arg, const struct ek_code *code)
{
    json_array_append_new(arg, json_pack(
        "{s:o, s:s, s:o, s:o, s:o, s:I, s:o, s:o, s:s}", "id", ek_admin_id(code->id), "kind",
        kinds[code->kind == EK_CODE_VOUCHER], "tier", *code->tier ? json_string(code->tier) : json_null(),
        "gift", ek_admin_amount(code->amount.granted_nano), "amount",
        ek_admin_amount(code->amount.topped_nano), "uses", (json_int_t)code->uses, "created",
        ek_admin_time(code->created_unix_ns), "expires", ek_admin_time(code->expires_unix_ns), "note",
        code->note));
}

bool ek_admin_codes_list(struct ek_admin_call *c)
{
    uint64_t limit = 100, after = 0;
    if (!ek_admin_query_number(c, "limit", 1, LIMIT_MAX, &limit) ||
        !ek_admin_query_number(c, "after", 0, INT64_MAX, &after))
        return false;
    json_t *all = json_array();
    enum ek_status s = ek_code_list(c->books->ledger, after, limit, collect_code, all);
    return ek_admin_page(c, s, "codes", all, ek_admin_cursor(all, limit, "id"));
}

struct code_ask {
    struct ek_admin_call *c;
    struct ek_code code;
    bool is_signed;
    char text[EK_CODE_BYTES];
};

static enum ek_status code_body(struct ek_ledger *l, void *arg)
{
    struct code_ask *a = arg;
    char amount[EK_AMOUNT_BYTES];
    enum ek_status s = a->is_signed ? ek_code_sign(a->c->books->secret, &a->code, a->text)
                                    : ek_code_add(l, a->c->books->secret, &a->code, a->text);
    if (s != EK_OK) return s;
    return ek_admin_act(l, a->c, 0, "code %s %llu worth %s", a->is_signed ? "sign" : "add",
                        (unsigned long long)a->code.id,
                        ek_amount_text(ek_money_sum(a->code.amount), amount));
}

/* A tier belongs to an invitation and a voucher is worth something; the rest is in the table of members. */
static bool make_code(struct ek_admin_call *c, struct code_ask *a)
{
    if (a->code.kind == EK_CODE_VOUCHER && *a->code.tier)
        return ek_admin_refuse(c, EK_REASON_BAD_VALUE, "tier", "A voucher has no tier: the account has one.");
    if (a->code.kind == EK_CODE_VOUCHER && ek_money_is_zero(a->code.amount))
        return ek_admin_refuse(c, EK_REASON_BAD_VALUE, "amount", "A voucher must be worth something.");
    if (!ek_admin_tier(c, a->code.tier)) return false;
    if (a->code.kind == EK_CODE_INVITATION && !*a->code.tier)
        snprintf(a->code.tier, sizeof a->code.tier, "default");
    if (a->code.uses == 0) return ek_admin_refuse(c, EK_REASON_BAD_VALUE, "uses",
                                                  "'uses' must be at least 1.");
    enum ek_status s = ek_ledger_together(c->books->ledger, code_body, a);
    if (s != EK_OK) return ek_admin_failed(c, s, NULL, "That cannot be stored.");
    json_t *said = json_pack("{s:s, s:s, s:o, s:I}", "code", a->text, "kind",
                             kinds[a->code.kind == EK_CODE_VOUCHER], "expires",
                             ek_admin_time(a->code.expires_unix_ns), "uses", (json_int_t)a->code.uses);
    if (!a->is_signed) json_object_set_new(said, "id", ek_admin_id(a->code.id));
    sodium_memzero(a->text, sizeof a->text);
    return ek_admin_answer(c, 201, said);
}

bool ek_admin_codes_add(struct ek_admin_call *c)
{
    struct code_ask a = {.c = c, .code = {.uses = 1}};
    unsigned kind = EK_CODE_INVITATION;
    const struct ek_admin_field fields[] = {
        {.name = "kind", .kind = EK_ADMIN_CHOICE, .out = &kind, .words = kinds, .must = true},
        {.name = "tier", .kind = EK_ADMIN_NAME, .out = a.code.tier},
        {.name = "gift", .kind = EK_ADMIN_AMOUNT, .out = &a.code.amount.granted_nano},
        {.name = "amount", .kind = EK_ADMIN_AMOUNT, .out = &a.code.amount.topped_nano},
        {.name = "uses", .kind = EK_ADMIN_COUNT, .out = &a.code.uses},
        {.name = "expires", .kind = EK_ADMIN_TIME, .out = &a.code.expires_unix_ns},
        {.name = "note", .kind = EK_ADMIN_TEXT, .out = a.code.note, .cap = sizeof a.code.note},
    };
    if (!ek_admin_read(c, c->body, "", fields, EK_COUNT(fields))) return false;
    a.code.kind = kind == EK_CODE_VOUCHER ? EK_CODE_VOUCHER : EK_CODE_INVITATION;
    return make_code(c, &a);
}

bool ek_admin_invitations_sign(struct ek_admin_call *c)
{
    struct code_ask a = {.c = c, .is_signed = true, .code = {.uses = 1, .kind = EK_CODE_INVITATION}};
    const struct ek_admin_field fields[] = {
        {.name = "tier", .kind = EK_ADMIN_NAME, .out = a.code.tier},
        {.name = "gift", .kind = EK_ADMIN_AMOUNT, .out = &a.code.amount.granted_nano},
        {.name = "amount", .kind = EK_ADMIN_AMOUNT, .out = &a.code.amount.topped_nano},
        {.name = "expires", .kind = EK_ADMIN_TIME, .out = &a.code.expires_unix_ns, .must = true},
    };
    if (!ek_admin_read(c, c->body, "", fields, EK_COUNT(fields))) return false;
    if (a.code.expires_unix_ns == 0)
        return ek_admin_refuse(c, EK_REASON_BAD_VALUE, "expires",
                               "A signed invitation cannot be withdrawn: it must expire.");
    return make_code(c, &a);
}

static enum ek_status withdraw_body(struct ek_ledger *l, void *arg)
{
    struct code_ask *a = arg;
    enum ek_status s = ek_code_withdraw(l, a->code.id);
    if (s != EK_OK) return s;
    return ek_admin_act(l, a->c, 0, "code withdraw %llu", (unsigned long long)a->code.id);
}

bool ek_admin_codes_withdraw(struct ek_admin_call *c)
{
    struct code_ask a = {.c = c};
    static const char none[] = "There is no such code with uses left.";
    if (!ek_str_u64(ek_str_of(c->param[0]), &a.code.id) || a.code.id > INT64_MAX)
        return ek_admin_refuse(c, EK_REASON_NOT_FOUND, NULL, "%s", none);
    enum ek_status s = ek_ledger_together(c->books->ledger, withdraw_body, &a);
    if (s != EK_OK) return ek_admin_failed(c, s, none, NULL);
    return ek_admin_answer(c, 200, json_pack("{s:o, s:i}", "id", ek_admin_id(a.code.id), "uses", 0));
}

/* ---- redeeming -------------------------------------------------------------------------------- */

bool ek_admin_redeem(struct ek_admin_call *c)
{
    char code[EK_CODE_BYTES] = "", name[EK_LEDGER_NAME_MAX + 1] = "", account[EK_LEDGER_NAME_MAX + 1] = "";
    struct ek_redeemed got;
    struct ek_account_row row;
    const struct ek_admin_field fields[] = {
        {.name = "code", .kind = EK_ADMIN_TEXT, .out = code, .cap = sizeof code, .must = true},
        {.name = "name", .kind = EK_ADMIN_NAME, .out = name},
        {.name = "account", .kind = EK_ADMIN_NAME, .out = account},
    };
    if (!ek_admin_read(c, c->body, "", fields, EK_COUNT(fields))) return false;
    if (!*name == !*account)
        return ek_admin_refuse(c, EK_REASON_MISSING_PARAM, "name",
                               "Say either 'name', of the new account, or 'account', to be topped up.");
    memcpy(c->param[0], account, sizeof account);
    if (*account && !ek_admin_account(c, &row)) return false;
    struct ek_ledger *l = c->books->ledger;
    enum ek_status s = *name ? ek_code_join(l, c->books->secret, ek_str_of(code), name, &got)
                             : ek_code_redeem(l, c->books->secret, ek_str_of(code), row.id, &got);
    sodium_memzero(code, sizeof code);
    if (s == EK_ABSENT) return ek_admin_refuse(c, EK_REASON_CODE_REFUSED, "code", NULL);
    if (s == EK_FULL) return ek_admin_refuse(c, EK_REASON_CODE_USED, "code", NULL);
    if (s != EK_OK)
        return ek_admin_failed(c, s, NULL, *name ? "An account of this name exists already."
                                                 : "The account cannot hold so much.");
    c->answer->changed = true;
    json_t *said = json_pack("{s:s, s:o, s:o, s:s}", "account", *name ? name : account, "gift",
                             ek_admin_amount(got.amount.granted_nano), "amount",
                             ek_admin_amount(got.amount.topped_nano), "currency", c->books->currency);
    if (*name) {
        json_object_set_new(said, "key", json_string(got.token));
        json_object_set_new(said, "key_id", ek_admin_id(got.key));
        json_object_set_new(said, "tier", json_string(got.tier));
    }
    sodium_memzero(got.token, sizeof got.token);
    return ek_admin_answer(c, 201, said);
}
