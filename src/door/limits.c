/* SPDX-License-Identifier: MIT */
/* What an account may do in a minute, at once and in a day: asked when a request arrives, corrected when
 * it ends, and said in the head of every answer. The limits are the account's own; where it has none, its
 * tier's. Those who have no account in the ledger are counted all the same, under the window that their
 * identity has (who.c).
 *
 * A request that takes over the place of an earlier one of the same caller is not asked again: it is the same
 * request, and counts on (ek_door_limits_pass). */
#include "door/door_state.h"

#include "door/money.h"

static uint64_t own_or(uint64_t own, uint64_t tiers)
{
    return own ? own : tiers;
}

static const struct ek_account_limits *row_of(const struct ek_door_request *r)
{
    const struct ek_keyring *k = ek_door_money_keyring(r->door);
    return k ? ek_keyring_limits(k,
                                 r->window) : NULL; /* a hash has the top bit, a number of the ledger not */
}

static struct ek_window_limits limits_of(const struct ek_door_request *r)
{
    static const struct ek_account_limits none;
    const struct ek_account_limits *own = row_of(r);
    const struct ek_tier_options *t = &r->door->config->tiers.item[r->tier];
    if (!own) own = &none;
    return (struct ek_window_limits){.minute_requests = own_or(own->minute_requests, t->minute_requests),
                                     .minute_tokens = own_or(own->minute_tokens, t->minute_tokens),
                                     .running_max = own_or(own->running_max, t->running_limit),
                                     .day_thoughts = own_or(own->day_thoughts, t->day_thoughts)};
}

/* The account's own list, and else its tier's. */
bool ek_door_limits_model(const struct ek_door_request *r, uint32_t index)
{
    struct ek_str model = ek_str_of(ek_pool_model(r->door->pool, index)->name);
    const struct ek_keyring *k = ek_door_money_keyring(r->door);
    const struct ek_strlist *list = &r->door->config->tiers.item[r->tier].models;
    if (row_of(r) && ek_keyring_has_models(k, r->window)) return ek_keyring_model(k, r->window, model);
    for (size_t i = 0; i < list->count; i++)
        if (ek_list_has_model(list->item[i], model)) return true;
    return list->count == 0;
}

bool ek_door_limits_begin(struct ek_door_request *r, const struct ek_arrival *a, bool thinks)
{
    struct ek_door *d = r->door;
    struct ek_window_limits l = limits_of(r);
    MUST(r->state == EK_DOOR_PRICED && !r->counted);
    const struct ek_account_limits *own = row_of(r);
    r->may_borrow = own ? own->borrow : d->config->tiers.item[r->tier].borrow;
    if (!ek_door_limits_model(r, r->model)) {
        ek_door_refuse_reason(r, EK_REASON_MODEL_FORBIDDEN, NULL);
        return false;
    }
    uint64_t tokens = (uint64_t)a->prompt_tokens +
                      (a->output_tokens ? a->output_tokens : ek_desk_output_p90(d->desk, a));
    struct ek_window_answer w = ek_windows_begin(d->windows, r->window, &l, tokens, thinks, ek_door_now(d));
    if (w.reason != EK_REASON_NONE) {
        struct ek_error e = {.reason = w.reason,
                             .retry_after_ms = (int64_t)((w.retry_after_ns + EK_MS_NS - 1) / EK_MS_NS)};
        ek_door_refuse(r, &e);
        return false;
    }
    r->counted = true;
    r->window_tokens = tokens < UINT32_MAX ? (uint32_t)tokens : UINT32_MAX;
    return true;
}

void ek_door_limits_end(struct ek_door_request *r)
{
    struct ek_door_bill bill = {0};
    if (!r->counted) return;
    if (r->running && r->running->thought_tokens + r->running->answer_tokens > 0)
        ek_door_bill_so_far(r, &bill);
    ek_windows_end(r->door->windows, r->window, r->window_tokens, bill.prompt_tokens + bill.output_tokens,
                   ek_door_now(r->door));
    r->counted = false;
}

void ek_door_limits_pass(struct ek_door_request *old, struct ek_door_request *r)
{
    r->may_borrow = old->may_borrow;
    if (r->counted || !old->counted || old->window != r->window) return;
    r->counted = true;
    r->window_tokens = old->window_tokens;
    old->counted = false;
}

size_t ek_door_limits_headers(const struct ek_door_request *r, struct ek_http_header *out)
{
    struct ek_door *d = r->door;
    struct ek_window_limits l = limits_of(r);
    struct ek_window_state s;
    if (!r->window) return 0; /* a place of before a restart, whose caller is not back */
    if (!(l.minute_requests || l.minute_tokens || l.running_max || l.day_thoughts)) return 0;
    ek_windows_look(d->windows, r->window, &l, ek_door_now(d), &s);
    ek_ratelimit_write(&s, &d->ratelimit);
    for (uint32_t i = 0; i < d->ratelimit.count; i++)
        out[i] = (struct ek_http_header){d->ratelimit.header[i].name, d->ratelimit.header[i].value};
    return d->ratelimit.count;
}

void ek_door_limits_metrics(const struct ek_door *d, struct ek_buf *b)
{
    struct ek_windows_counters w;
    ek_windows_counters(d->windows, &w);
    ek_metric_help(b, "evenkeel_windows_accounts", "gauge", "Accounts whose rates are counted.");
    ek_metric_value(b, "evenkeel_windows_accounts", NULL, w.accounts);
    ek_metric_help(b, "evenkeel_windows_full_total", "counter", "Refused because that table was full.");
    ek_metric_value(b, "evenkeel_windows_full_total", NULL, w.full);
    if (!d->oidc) return;
    struct ek_oidc_counters o;
    ek_oidc_counters(d->oidc, &o);
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } row[] = {
        {"evenkeel_oidc_issuers_ready", "gauge", "Identity providers whose keys are here.", o.ready},
        {"evenkeel_oidc_good_total", "counter", "Bearer tokens accepted.", o.good},
        {"evenkeel_oidc_remembered_total", "counter", "Of them, known from an earlier request.",
         o.remembered},
        {"evenkeel_oidc_refused_total", "counter", "Bearer tokens refused.", o.refused},
        {"evenkeel_oidc_checks_full_total", "counter", "Put off: too many signatures in one second.",
         o.checks_full},
        {"evenkeel_oidc_fetches_total", "counter", "Fetches of keys and configurations.", o.fetches},
        {"evenkeel_oidc_fetch_failures_total", "counter", "Of them, failed.", o.fetch_failures},
    };
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        ek_metric_help(b, row[i].name, row[i].type, row[i].help);
        ek_metric_value(b, row[i].name, NULL, row[i].value);
    }
}
