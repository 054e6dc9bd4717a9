/* SPDX-License-Identifier: MIT */
/* Upstreams that are not ours, as the door sees them: it tells the desk what was agreed, keeps what they have
 * cost across restarts, and shows all that to people. Who goes there, the desk decides (policy/overflow.h).
 *
 *      config, pool ── terms ──▶ desk ── purse ──▶ spend.c (beside the journal, or the books)
 */
#include "door/choices.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- who may go where ------------------------------------------------------------------------------ */

uint64_t ek_door_choosers(const struct ek_door *d, const struct ek_pool_model *model, uint32_t choices)
{
    uint64_t able = model->upstream_mask;
    for (uint64_t m = able; m && choices > 1; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m), most = ek_pool_ways(d->pool, i)->choices_max;
        if (most && choices > most) able &= ~(1ull << i);
    }
    return able;
}

uint64_t ek_door_reach(const struct ek_door_request *r)
{
    uint64_t mask = ek_pool_model(r->door->pool, r->model)->upstream_mask, reach = mask;
    if (r->may_borrow && r->door->config->tiers.item[r->tier].overflow_after_ns) return mask;
    for (uint64_t m = mask; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        if (ek_pool_loan(r->door->pool, i)->borrowed) reach &= ~(1ull << i);
    }
    return reach;
}

/* ---- terms ----------------------------------------------------------------------------------------- */

static void lend(struct ek_door *d, uint32_t i)
{
    const struct ek_pool_loan *loan = ek_pool_loan(d->pool, i);
    _Static_assert(EK_COUNT(loan->budget_nano) == EK_PURSE_SPANS, "an hour and a day");
    struct ek_lender_terms terms = {.budget_nano = {loan->budget_nano[0], loan->budget_nano[1]},
                                    .prices = &d->config->prices, .zone = d->config->wall,
                                    .price = loan->price[0] ? loan->price : NULL};
    char why[256];
    ek_desk_lend(d->desk, ek_door_now(d), i, loan->borrowed ? &terms : NULL);
    if (loan->borrowed && ek_lender_is_small(&terms, ek_door_now(d).unix_ns, why, sizeof why))
        ek_warn(d->log, "upstream %s: %s", ek_pool_name(d->pool, i), why);
}

static bool has_lender(const struct ek_door *d)
{
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++)
        if (ek_pool_loan(d->pool, i)->borrowed) return true;
    return false;
}

/* Where what they cost is kept: beside the journal, else beside the books. false: there is neither. */
static bool spend_path(const struct ek_door *d, char *out, size_t cap)
{
    const struct ek_ledger_section *l = &d->config->ledger;
    struct ek_str books = ek_str_of(l->spool ? l->spool : l->url);
    if (ek_str_starts(books, EK_STR("sqlite:"))) books = ek_str_skip(books, 7);
    int n = 0;
    struct ek_str dir = ek_str_of(d->config->journal.dir);
    while (dir.len > 1 && dir.data[dir.len - 1] == '/') dir.len--;
    if (dir.len) n = snprintf(out, cap, "%.*s.borrowed", (int)dir.len, dir.data);
    else if (books.len) n = snprintf(out, cap, "%.*s.borrowed", (int)books.len, books.data);
    return n > 0 && (size_t)n < cap;
}

static bool open_spend(struct ek_door *d, char *why, size_t cap)
{
    char path[4096];
    if (d->spend || !has_lender(d)) return true;
    if (!spend_path(d, path, sizeof path)) {
        ek_warn(d->log, "there is neither a journal nor a ledger: what borrowed upstreams have cost is "
                "forgotten at a restart, and their budgets begin anew");
        return true;
    }
    d->spend = ek_door_spend_open(d->loop, d->log, path, why, cap);
    if (!d->spend) return false;
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) {
        struct ek_purse_kept kept;
        if (!ek_pool_loan(d->pool, i)->borrowed || d->purse) continue; /* the page says it */
        if (ek_door_spend_find(d->spend, ek_pool_name(d->pool, i), &kept))
            ek_desk_lender_restore(d->desk, ek_door_now(d), i, &kept);
    }
    return true;
}

bool ek_door_borrow_start(struct ek_door *d, char *why, size_t cap)
{
    MUST(d->pool && d->desk && !d->borrowed);
    d->borrowed = calloc(EK_POOL_UPSTREAMS_MAX * EK_OVERFLOW_WHYS, sizeof *d->borrowed);
    MUST(d->borrowed);
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) lend(d, i);
    ek_swap_purse_inherit(d);
    return open_spend(d, why, cap);
}

void ek_door_borrow_end(struct ek_door *d)
{
    if (d->spend) ek_door_spend_close(&d->spend);
    free(d->borrowed);
    d->borrowed = NULL;
}

void ek_door_borrow_reload(struct ek_door *d)
{
    char why[256];
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) lend(d, i);
    if (!open_spend(d, why, sizeof why))
        ek_error(d->log, "what borrowed upstreams cost cannot be kept: %s", why);
}

/* ---- what happens ---------------------------------------------------------------------------------- */

void ek_door_borrow_sent(struct ek_door_request *r, const struct ek_action *start)
{
    struct ek_door *d = r->door;
    MUST(start->upstream < EK_POOL_UPSTREAMS_MAX);
    if (start->overflow == EK_OVERFLOW_NOT) return;
    d->borrowed[start->upstream * EK_OVERFLOW_WHYS + start->overflow]++;
    struct ek_request_record *n = ek_door_note(r);
    if (n && !n->borrowed_why) n->borrowed_why = (uint8_t)start->overflow;
}

/* What runs there may cost as much as is reserved for it: that is what a crash leaves behind as spent. */
void ek_door_borrow_changed(struct ek_door *d)
{
    bool other = d->swap && (d->swap->state == EK_SWAP_TAKING || d->swap->state == EK_SWAP_LEAVING);
    if (!d->spend || !d->pool || other) return; /* another process of ours keeps the file */
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) {
        if (!ek_pool_loan(d->pool, i)->borrowed) continue;
        struct ek_lender l = ek_desk_lender(d->desk, ek_door_now(d), i);
        int64_t reserved = l.reserved_nano + l.elsewhere.reserved_nano;
        for (int s = 0; s < EK_PURSE_SPANS; s++)
            l.kept.spent_nano[s] += l.elsewhere.spent_nano[s] + reserved;
        ek_door_spend_put(d->spend, ek_pool_name(d->pool, i), &l.kept);
    }
    ek_door_spend_write(d->spend);
}

void ek_door_borrow_writes(struct ek_door *d, bool writes)
{
    if (d->spend) ek_door_spend_hold(d->spend, writes);
    if (writes) ek_door_borrow_changed(d);
}

/* ---- numbers --------------------------------------------------------------------------------------- */

static void starts(const struct ek_door *d, struct ek_buf *b)
{
    ek_metric_help(b, "evenkeel_borrowed_total", "counter",
                   "Requests sent to an upstream that is not ours, by why.");
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) {
        if (!ek_pool_loan(d->pool, i)->borrowed) continue;
        for (unsigned w = 1; w < EK_OVERFLOW_WHYS; w++) {
            char label[256];
            snprintf(label, sizeof label, "upstream=\"%s\",why=\"%s\"", ek_pool_name(d->pool, i),
                     ek_overflow_name((enum ek_overflow_why)w));
            ek_metric_value(b, "evenkeel_borrowed_total", label, d->borrowed[i * EK_OVERFLOW_WHYS + w]);
        }
    }
}

static double units(int64_t nano)
{
    return (double)nano * 1e-9;
}

void ek_door_borrow_metrics(struct ek_door *d, struct ek_buf *out)
{
    static const struct {
        const char *name, *type, *help;
    } row[] = {
        {"evenkeel_borrowed_cost_total", "counter", "What it has cost since the start, in the currency."},
        {"evenkeel_borrowed_reserved", "gauge", "What its running requests may cost."},
        {"evenkeel_borrowed_hour_spent", "gauge", "What it has cost in this hour of the clock."},
        {"evenkeel_borrowed_day_spent", "gauge", "What it has cost today."},
        {"evenkeel_borrowed_hour_budget", "gauge", "What it may cost in an hour; 0: no limit of its own."},
        {"evenkeel_borrowed_day_budget", "gauge", "What it may cost in a day; 0: no limit of its own."},
        {"evenkeel_borrowed_swamped_total", "counter", "Times it said that it is full."},
        {"evenkeel_borrowed_recalled_total", "counter", "Requests taken back, for want of money."},
        {"evenkeel_borrowed_overdrawn_total", "counter", "Requests that ended beyond its budget."},
    };
    if (!has_lender(d)) return;
    starts(d, out);
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        ek_metric_help(out, row[i].name, row[i].type, row[i].help);
        for (uint32_t u = 0; u < ek_pool_count(d->pool); u++) {
            char label[192];
            if (!ek_pool_loan(d->pool, u)->borrowed || !ek_pool_is_there(d->pool, u)) continue;
            struct ek_lender l = ek_desk_lender(d->desk, ek_door_now(d), u);
            const double value[] = {
                units(l.spent_nano), units(l.reserved_nano + l.elsewhere.reserved_nano),
                units(l.kept.spent_nano[EK_PURSE_HOUR] + l.elsewhere.spent_nano[EK_PURSE_HOUR]),
                units(l.kept.spent_nano[EK_PURSE_DAY] + l.elsewhere.spent_nano[EK_PURSE_DAY]),
                units(l.terms.budget_nano[EK_PURSE_HOUR]),
                units(l.terms.budget_nano[EK_PURSE_DAY]), (double)l.swamped, (double)l.recalled,
                (double)l.overdrafts};
            _Static_assert(EK_COUNT(value) == EK_COUNT(row), "one value a row");
            snprintf(label, sizeof label, "upstream=\"%s\"", ek_pool_name(d->pool, u));
            ek_metric_double(out, row[i].name, label, value[i]);
        }
    }
}
