/* SPDX-License-Identifier: MIT */
/* The office as a part of the door: what it is told of the configuration, what it asks of the books in
 * memory, the public paths, numbers. */
#include "door/door_state.h"

#include "ledger/amount.h"

#include <stdio.h>

/* ---- what the door knows of an account ---------------------------------------------------------- */

static void left(struct ek_buf *out, const char *name, uint64_t limit, uint64_t value)
{
    if (limit) ek_buf_printf(out, "%s%llu", name, (unsigned long long)value);
    else ek_buf_printf(out, "%snull", name);
}

/* Rates are counted under the account's number (who.c). */
static void live(void *arg, uint64_t account, const struct ek_account_limits *limits, struct ek_buf *out)
{
    struct ek_door *d = arg;
    struct ek_book_state s;
    struct ek_window_state w;
    struct ek_window_limits l = {.minute_requests = limits->minute_requests,
                                 .minute_tokens = limits->minute_tokens, .running_max = limits->running_max,
                                 .day_thoughts = limits->day_thoughts};
    char text[4][EK_AMOUNT_BYTES];
    MUST_OBJ(d, EK_DOOR_MAGIC);
    ek_windows_look(d->windows, account, &l, ek_door_now(d), &w);
    left(out, ",\"left\":{\"minute_requests\":", w.requests_limit, w.requests_left);
    left(out, ",\"minute_tokens\":", w.tokens_limit, w.tokens_left);
    left(out, ",\"running\":", w.running_limit, w.running_left);
    left(out, ",\"day_thoughts\":", w.thoughts_limit, w.thoughts_left);
    ek_buf_lit(out, "},\"door\":");
    if (!ek_book_look(ek_door_money_book(d), account, &s)) {
        ek_buf_lit(out, "null");
        return;
    }
    ek_buf_printf(out, "{\"leased\":\"%s\",\"reserved\":\"%s\",\"requests\":%u,\"spent_today\":\"%s\","
                  "\"spent_this_month\":\"%s\"}",
                  ek_amount_text(ek_money_sum(s.pocket[EK_POCKET_FREE]), text[0]),
                  ek_amount_text(ek_money_sum(s.pocket[EK_POCKET_HELD]), text[1]), s.holds,
                  ek_amount_text(s.spent_day_nano, text[2]), ek_amount_text(s.spent_month_nano, text[3]));
}

static void upstreams(void *arg, struct ek_buf *out)
{
    ek_door_board(arg, out);
}

static uint64_t changed(void *arg)
{
    return ek_door_money_refresh(arg);
}

void ek_door_office_known(struct ek_door *d, uint64_t refreshed)
{
    if (d->office) ek_office_known(d->office, refreshed);
}

static void tiers(void *arg, struct ek_buf *out)
{
    const struct ek_door *d = arg;
    for (size_t i = 0; i < d->config->tiers.count; i++)
        ek_buf_printf(out, "%s\n", d->config->tiers.item[i].name);
    if (out->failed) ek_buf_clear(out);
}

static size_t headers(void *arg, struct ek_http_header *out, size_t n)
{
    return ek_door_cors(arg, out, n);
}

/* ---- birth --------------------------------------------------------------------------------------- */

bool ek_door_office_start(struct ek_door *d, char *why, size_t cap)
{
    const struct ek_admin_section *a = &d->config->admin;
    const struct ek_ledger_section *l = &d->config->ledger;
    char beside[1024], at[256];
    MUST(!d->office);
    if (!d->money) return true;
    struct ek_str url = ek_str_of(l->url);
    if (ek_str_starts(url, EK_STR("sqlite:"))) url = ek_str_skip(url, 7);
    snprintf(beside, sizeof beside, "%.*s.admin-key", (int)url.len, url.data);
    struct ek_office_options o = {
        .loop = d->loop, .log = d->log, .ledger_url = l->url, .secret = ek_door_money_secret(d),
        .currency = l->currency, .listen = a->listen, .key_path = a->key ? a->key : beside,
        .remote = a->remote, .codes = a->codes, .topup_secrets = a->topup_hook,
        .stripe_secrets = a->stripe_hook, .tolerance_ns = a->hook_tolerance_ns,
        .limits = &d->config->limits, .budget = &d->budget, .reasons = d->counters.reasons,
        .changed = changed, .tiers = tiers, .live = live, .upstreams = upstreams,
        .headers = headers, .arg = d,
        .listens_later = a->listen && ek_door_swap_inherits(d, a->listen)};
    d->office = ek_office_new(&o, why, cap);
    if (d->office && ek_office_address(d->office, at, sizeof at))
        ek_info(d->log, "the admin API listens on %s; its key is in %s", at, o.key_path);
    return d->office != NULL;
}

/* ---- the public paths ---------------------------------------------------------------------------- */

/* Whose key comes with a code: "" for none. */
static enum ek_reason who_redeems(struct ek_door *d, struct ek_str peer, const struct ek_http_head *head,
                                  const char **account)
{
    struct ek_str value;
    struct ek_identity who;
    *account = "";
    if (ek_http_head_find(head, EK_STR("authorization"), &value) == 0) return EK_REASON_NONE;
    enum ek_reason reason = ek_door_identify(d, head, peer, &who);
    if (reason == EK_REASON_NONE && !who.ledger_account) reason = EK_REASON_FORBIDDEN;
    if (reason == EK_REASON_NONE) *account = who.account;
    return reason;
}

bool ek_door_office_has(const struct ek_door *d, struct ek_str path)
{
    return d->office && ek_office_find(d->office, path) != EK_OFFICE_NONE;
}

void ek_door_office_head(struct ek_door *d, struct ek_http_req *http, const struct ek_http_head *head)
{
    enum ek_office_public what = ek_office_find(d->office, head->path);
    const char *account = "";
    struct ek_str peer = ek_door_caller(d, http, head);
    enum ek_reason reason = EK_REASON_NONE;
    MUST(what != EK_OFFICE_NONE);
    if (!ek_str_eq(head->method, EK_STR("POST"))) reason = EK_REASON_METHOD;
    else if (d->draining) reason = EK_REASON_DRAINING;
    else if (what == EK_OFFICE_REDEEM) reason = who_redeems(d, peer, head, &account);
    if (reason != EK_REASON_NONE) ek_door_refuse_http(d, http, &(struct ek_error){.reason = reason});
    else ek_office_head(d->office, what, http, head, peer, account);
}

/* ---- numbers ------------------------------------------------------------------------------------- */

static void one(struct ek_buf *b, const char *name, const char *type, const char *help, uint64_t value)
{
    ek_metric_help(b, name, type, help);
    ek_metric_value(b, name, NULL, value);
}

void ek_door_office_metrics(struct ek_door *d, struct ek_buf *out)
{
    struct ek_office_counters c;
    if (!d->office) return;
    ek_office_counters(d->office, &c);
    one(out, "evenkeel_office_calls_total", "counter", "Calls of the admin API, codes and web hooks.",
        c.calls);
    one(out, "evenkeel_office_refused_total", "counter", "Those that were refused.", c.refused);
    one(out, "evenkeel_office_replayed_total", "counter", "Payments that had been made before.", c.replayed);
    one(out, "evenkeel_office_paid_total", "counter", "Payments by web hook.", c.paid);
    one(out, "evenkeel_office_redeemed_total", "counter", "Codes redeemed.", c.redeemed);
    one(out, "evenkeel_office_running", "gauge", "Calls under way.", c.under_way);
}
