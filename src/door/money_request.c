/* SPDX-License-Identifier: MIT */
/* The money of one request: reserved before it goes to the desk, extended while it streams, settled at its
 * end, released where there was nothing to pay for. A request never waits for the disk in the middle: what
 * is promised is in the book, in memory; what was spent is on the disk before the end of the answer is sent.
 *
 * A stream at the end of its reserve asks for more a little before. Where only the account's own other
 * streams hold the money it rests (its upstream is paused) as long as one of them goes on, for that one may
 * give back; nobody rests when all do, so the last one ends, and frees the next. */
#include "door/money_inside.h"

#include "policy/cost.h"

#include <stdio.h>
#include <stdlib.h>

#define CHUNK_TOKENS 16u    /* in one chunk of an engine that is not ours, at most as a rule */
#define MORE_TOKENS_MIN 64u /* of an extension */
#define MARGIN_TOKENS 32u   /* before the end of its reserve a stream asks for more */
#define MESSAGE_BYTES 900u

static struct ek_door *door_of(const struct ek_door_purse *p) { return p->of->room->door; }

const struct ek_desk_price *ek_door_money_price(const struct ek_door_request *r)
{
    return r->paying ? &ek_door_purse_of(r)->price : NULL;
}

bool ek_door_money_pays(const struct ek_door_request *r) { return r->paying && ek_door_purse_of(r)->pays; }

uint64_t ek_door_money_account(const struct ek_door_request *r)
{
    return r->paying ? ek_door_purse_of(r)->account : 0;
}

uint64_t ek_door_money_key(const struct ek_door_request *r)
{
    return r->paying ? ek_door_purse_of(r)->key : 0;
}

const char *ek_door_amount(int64_t nano, char out[EK_DOOR_AMOUNT_BYTES])
{
    uint64_t n = nano < 0 ? (uint64_t)-(nano + 1) + 1 : (uint64_t)nano;
    int len = snprintf(out, EK_DOOR_AMOUNT_BYTES, "%s%llu.%09llu", nano < 0 ? "-" : "",
                       (unsigned long long)(n / 1000000000), (unsigned long long)(n % 1000000000));
    MUST(len > 0 && len < (int)EK_DOOR_AMOUNT_BYTES);
    while (len > 4 && out[len - 1] == '0' && out[len - 3] != '.') out[--len] = '\0'; /* cents stay */
    return out;
}

static int64_t cost_of(const struct ek_door_purse *p, uint64_t prompt_tokens, uint64_t output_tokens)
{
    struct ek_price_options o = {.cached_pico = p->price.cached_pico, .prompt_pico = p->price.prompt_pico,
                                 .output_pico = p->price.output_pico};
    return ek_cost_nano(&o, 0, prompt_tokens, output_tokens);
}

/* Tokens of output that `nano` pays for, behind the prompt. */
static uint64_t tokens_for(const struct ek_door_purse *p, int64_t nano)
{
    if (p->price.output_pico == 0) return UINT64_MAX;
    __int128 pico = (__int128)nano * 1000 - (__int128)p->prompt_tokens * p->price.prompt_pico -
                    (__int128)p->cached_tokens * p->price.cached_pico;
    if (pico < p->price.output_pico) return 1;
    __int128 tokens = pico / p->price.output_pico;
    return tokens > INT64_MAX ? INT64_MAX : (uint64_t)tokens;
}

/* ---- birth ------------------------------------------------------------------------------------- */

static bool all_ours(const struct ek_door_request *r)
{
    for (uint64_t m = ek_pool_model(r->door->pool, r->model)->upstream_mask; m; m &= m - 1)
        if (!ek_pool_is_ours(r->door->pool, (uint32_t)__builtin_ctzll(m))) return false;
    return true;
}

void ek_door_purse_free(struct ek_door_purse *p)
{
    struct money_account *a = p->of;
    MUST_OBJ(p, EK_DOOR_PURSE_MAGIC);
    MUST(!p->r && !ek_link_linked(&p->link));
    free(p->arrival);
    free(p->start);
    free(p->settlement);
    p->magic = 0;
    free(p);
    MUST(a->purses > 0);
    a->purses--;
    ek_door_account_rests(a);
}

static bool costs(const struct ek_desk_price *p)
{
    return (p->cached_pico | p->prompt_pico | p->output_pico) != 0;
}

static struct ek_door_purse *purse_new(struct ek_door_request *r, uint64_t account, uint64_t key,
                                       const struct ek_arrival *a)
{
    struct ek_door *d = r->door;
    struct money_account *of = ek_door_account_get(d->money, account);
    struct ek_door_purse *p = of ? calloc(1, sizeof *p) : NULL;
    MUST(!r->paying && !r->wishes);
    if (!p) return NULL;
    *p = (struct ek_door_purse){.magic = EK_DOOR_PURSE_MAGIC, .state = PURSE_NEW, .of = of, .r = r,
                                .account = account, .key = key, .user = a->user, .name = ek_id_get(r->id),
                                .price = a->price, .prompt_tokens = a->prompt_tokens,
                                .pays = d->config->tiers.item[r->tier].prepaid && costs(&a->price),
                                .ending = EK_REASON_CANCELLED};
    uint32_t output = a->output_tokens ? a->output_tokens : ek_desk_output_p90(d->desk, a);
    p->least_nano = cost_of(p, a->prompt_tokens, 1);
    if (p->least_nano < 1) p->least_nano = 1;
    p->need_nano = cost_of(p, a->prompt_tokens, output);
    if (p->need_nano < p->least_nano) p->need_nano = p->least_nano;
    p->overdraft_nano = cost_of(p, 0, all_ours(r) ? 1 : CHUNK_TOKENS);
    r->purse = p;
    r->paying = true;
    of->purses++;
    of->rest_ns = 0;
    return p;
}

/* ---- refusals ---------------------------------------------------------------------------------- */

/* Who must pay, and where, for clients show this sentence to people. */
static struct ek_str broke_message(const struct ek_door_purse *p, char text[MESSAGE_BYTES])
{
    const struct ek_ledger_section *o = &door_of(p)->config->ledger;
    const char *name = ek_keyring_account_name(p->of->room->keyring, p->account);
    char needs[EK_DOOR_AMOUNT_BYTES];
    snprintf(text, MESSAGE_BYTES, "Insufficient Balance: the balance of account '%s' does not pay for this "
             "request (%s %s for its prompt and one token). Whoever owns the account must top it up%s%s",
             name ? name : "?", ek_door_amount(p->least_nano, needs), o->currency, o->top_up ? ": " : ".",
             o->top_up ? o->top_up : "");
    return ek_str_of(text);
}

/* Until the first second of the next day, or month, of the budgets. */
static uint64_t until_next_ms(struct ek_now now, bool month)
{
    uint32_t day = ek_day_of(now.unix_ns) + 1;
    uint64_t day_ns = 86400 * EK_S_NS;
    while (month && ek_month_of(day * day_ns) == ek_month_of(now.unix_ns)) day++;
    return (day * day_ns - now.unix_ns) / EK_MS_NS + 1;
}

static enum ek_door_paid refuse(struct ek_door_purse *p, enum ek_reason why)
{
    char text[MESSAGE_BYTES];
    struct ek_door_request *r = p->r;
    struct ek_error e = {.reason = why};
    MUST(r);
    if (why == EK_REASON_NO_BALANCE) e.message = broke_message(p, text);
    if (why == EK_REASON_BUDGET_DAY || why == EK_REASON_BUDGET_MONTH)
        e.retry_after_ms = (int64_t)until_next_ms(ek_door_now(r->door), why == EK_REASON_BUDGET_MONTH);
    ek_door_refuse(r, &e); /* frees the purse */
    return EK_DOOR_BROKE;
}

/* ---- reserving --------------------------------------------------------------------------------- */

void ek_door_purse_take_off(struct ek_door_purse *p)
{
    struct money_account *a = p->of;
    if (!ek_link_linked(&p->link)) return;
    if (p->state == PURSE_WAITING) {
        ek_list_remove(&a->waiting, &p->link);
        MUST(a->room->waiting > 0);
        a->room->waiting--;
    } else {
        MUST(p->state == PURSE_HELD);
        ek_list_remove(&a->held, &p->link);
    }
}

static enum ek_door_paid hold(struct ek_door_purse *p, int64_t held_nano)
{
    ek_door_purse_take_off(p);
    p->state = PURSE_HELD;
    p->held_nano = held_nano;
    ek_list_append(&p->of->held, &p->link);
    p->of->room->count.reserved++;
    return EK_DOOR_PAID;
}

/* The store is asked, or was a moment ago. */
static enum ek_door_paid ask_store(struct ek_door_purse *p, enum ek_reason otherwise)
{
    struct money_account *a = p->of;
    uint64_t waited_ns = p->since_ns ? ek_ns_since(ek_door_now(door_of(p)).mono_ns, p->since_ns) : 0;
    if (waited_ns > 2 * door_of(p)->config->ledger.lease_ns) {
        a->room->count.overtime++; /* its money lies with a door that keeps it */
        return refuse(p, EK_REASON_LEDGER_AWAY);
    }
    return ek_door_account_lease(a) ? EK_DOOR_UNPAID : refuse(p, otherwise);
}

enum ek_door_paid ek_door_purse_try(struct ek_door_purse *p)
{
    struct money_account *a = p->of;
    struct ek_door_money *m = a->room;
    struct ek_now now = ek_door_now(m->door);
    bool here = ek_store_here(m->store);
    if (a->giving) return here ? EK_DOOR_UNPAID : refuse(p, EK_REASON_LEDGER_AWAY);
    bool looked = a->looked_ns && ek_ns_since(now.mono_ns, a->looked_ns) < EK_DOOR_LOOK_NS;
    struct ek_hold_ask ask = {.account = a->id, .request = p->name, .need_nano = p->need_nano,
                              .least_nano = p->least_nano, .overdraft_nano = p->overdraft_nano,
                              .alone = !here || (looked && a->empty_handed)};
    struct ek_hold h = ek_book_reserve(m->book, &ask, now);
    switch (h.verdict) {
    case EK_HOLD_GRANTED: return hold(p, h.held_nano);
    case EK_HOLD_WAIT: return EK_DOOR_UNPAID;
    case EK_HOLD_ABSENT:
    case EK_HOLD_LEASE: return ask_store(p, EK_REASON_LEDGER_AWAY);
    case EK_HOLD_BROKE:
        if (a->busy) return EK_DOOR_UNPAID;
        return looked ? refuse(p, EK_REASON_NO_BALANCE) : ask_store(p, EK_REASON_LEDGER_AWAY);
    case EK_HOLD_DAY: return refuse(p, EK_REASON_BUDGET_DAY);
    case EK_HOLD_MONTH: return refuse(p, EK_REASON_BUDGET_MONTH);
    case EK_HOLD_FULL: return refuse(p, EK_REASON_NO_MEMORY);
    case EK_HOLD_DONE: break;
    }
    return refuse(p, EK_REASON_INTERNAL); /* names are random: it cannot have ended before */
}

static enum ek_door_paid wait_for_money(struct ek_door_purse *p)
{
    struct ek_door_request *r = p->r;
    struct ek_door *d = r->door;
    struct ek_now now = ek_door_now(d);
    MUST(p->state == PURSE_NEW && !ek_link_linked(&p->link));
    p->state = PURSE_WAITING;
    p->since_ns = now.mono_ns;
    ek_list_append(&p->of->waiting, &p->link);
    d->money->waiting++;
    d->money->count.waited++;
    if (r->reading) { /* from here on it costs its body and little more */
        free(r->reading);
        r->reading = NULL;
        ek_buf_shrink(&r->body);
    }
    ek_door_watch_silence(r);
    return EK_DOOR_UNPAID;
}

/* First come, first served; a newcomer goes behind those who wait already. */
static enum ek_door_paid reserve(struct ek_door_purse *p)
{
    if (!p->pays) return hold(p, 0);
    if (p->of->waiting.count) return EK_DOOR_UNPAID;
    return ek_door_purse_try(p);
}

/* Is there room in the line for money? It has the bounds of the line for an engine. */
static enum ek_reason line_full(const struct ek_door_purse *p)
{
    const struct ek_door *d = door_of(p);
    const struct ek_tier_options *t = &d->config->tiers.item[p->r->tier];
    if (t->account_waiting_max && p->of->waiting.count >= t->account_waiting_max)
        return EK_REASON_ACCOUNT_QUEUE_FULL;
    return d->money->waiting >= d->config->queue.waiting_max ? EK_REASON_QUEUE_FULL : EK_REASON_NONE;
}

enum ek_door_paid ek_door_money_reserve(struct ek_door_request *r, uint64_t account, uint64_t key,
                                        const struct ek_arrival *a)
{
    struct ek_door *d = r->door;
    if (!account) return EK_DOOR_PAID;
    MUST(d->money && r->state == EK_DOOR_PRICED);
    struct ek_door_purse *p = purse_new(r, account, key, a);
    if (!p) {
        ek_door_refuse_reason(r, EK_REASON_NO_MEMORY, NULL);
        return EK_DOOR_BROKE;
    }
    enum ek_door_paid paid = reserve(p);
    if (paid != EK_DOOR_UNPAID) return paid;
    enum ek_reason why = line_full(p);
    if (why != EK_REASON_NONE) return refuse(p, why);
    p->arrival = malloc(sizeof *p->arrival);
    if (!p->arrival) return refuse(p, EK_REASON_NO_MEMORY);
    *p->arrival = *a;
    uint64_t patience_ns = d->config->tiers.item[r->tier].patience_ns;
    p->until_ns = a->deadline_ns;
    if (a->deadline_ns == UINT64_MAX && patience_ns) p->until_ns = ek_door_now(d).mono_ns + patience_ns;
    return wait_for_money(p);
}

void ek_door_money_restored(struct ek_door_request *r, uint64_t account, uint64_t key,
                            const struct ek_arrival *a)
{
    if (!account || !r->door->money) return;
    struct ek_door_purse *p = purse_new(r, account, key, a);
    MUST(p); /* at the start, and as many as the line had */
}

enum ek_door_paid ek_door_money_start(struct ek_door_request *r, const struct ek_action *start)
{
    if (!r->paying) return EK_DOOR_PAID;
    struct ek_door_purse *p = ek_door_purse_of(r);
    p->thirsty = p->paused = false;
    if (p->state == PURSE_HELD && !p->late) return EK_DOOR_PAID;
    if (p->late && r->running) return refuse(p, EK_REASON_LEASE_LOST); /* it has spent of that lease */
    if (p->late) { /* its reserve went with the lease, before it had begun */
        struct ek_settlement s = ek_book_settle(p->of->room->book, p->name, 0, ek_door_now(r->door));
        MUST(s.verdict == EK_SETTLED);
        ek_door_purse_take_off(p);
        p->name = ek_id_random();
        p->late = false;
        p->state = PURSE_NEW;
    }
    MUST(p->state == PURSE_NEW && !p->start);
    enum ek_door_paid paid = reserve(p);
    if (paid != EK_DOOR_UNPAID) return paid;
    p->start = malloc(sizeof *p->start);
    if (!p->start) return refuse(p, EK_REASON_NO_MEMORY);
    *p->start = *start;
    p->until_ns = UINT64_MAX;
    r->starting = true;
    return wait_for_money(p);
}

void ek_door_purse_go_on(struct ek_door_purse *p)
{
    struct ek_door_request *r = p->r;
    struct ek_arrival *arrival = p->arrival;
    struct ek_action *start = p->start;
    MUST(r && p->state == PURSE_HELD && (arrival || start));
    p->arrival = NULL;
    p->start = NULL;
    if (arrival) {
        ek_door_enter(r, arrival);
    } else {
        r->starting = false;
        ek_door_start_request(r, start);
    }
    free(arrival);
    free(start);
}

uint64_t ek_door_money_due_ns(const struct ek_door_request *r)
{
    if (!r->paying) return UINT64_MAX;
    const struct ek_door_purse *p = ek_door_purse_of(r);
    return p->state == PURSE_WAITING ? p->until_ns : UINT64_MAX;
}

void ek_door_money_late(struct ek_door_request *r)
{
    (void)refuse(ek_door_purse_of(r), EK_REASON_DEADLINE);
}

void ek_door_money_drain(struct ek_door *d)
{
    if (!d->money) return;
    EK_LIST_EACH(&d->money->all, it) {
        struct money_account *a = EK_CONTAINER(it, struct money_account, link);
        for (struct ek_link *w; (w = ek_list_first(&a->waiting)) != NULL;)
            (void)refuse(EK_CONTAINER(w, struct ek_door_purse, link), EK_REASON_DRAINING);
    }
}

/* ---- streaming --------------------------------------------------------------------------------- */

/* A little before the end of the reserve. */
static uint64_t soon(uint64_t end_tokens)
{
    uint64_t margin = end_tokens / 8 < MARGIN_TOKENS ? end_tokens / 8 : MARGIN_TOKENS;
    return end_tokens - margin;
}

uint64_t ek_door_money_tokens(const struct ek_door_request *r)
{
    if (!r->paying || !ek_door_purse_of(r)->pays) return UINT64_MAX;
    uint64_t end = tokens_for(ek_door_purse_of(r), ek_door_purse_of(r)->held_nano);
    return end == UINT64_MAX ? end : soon(end);
}

uint64_t ek_door_money_prompt(struct ek_door_request *r, uint64_t prompt_tokens, uint64_t cached_tokens)
{
    if (r->paying) {
        struct ek_door_purse *p = ek_door_purse_of(r);
        p->cached_tokens = cached_tokens < prompt_tokens ? cached_tokens : prompt_tokens;
        p->prompt_tokens = prompt_tokens - p->cached_tokens;
    }
    return ek_door_money_tokens(r);
}

/* Does another stream of the account go on, which may give back some of its reserve? */
static bool others_go_on(const struct ek_door_purse *p)
{
    EK_LIST_EACH(&p->of->held, it) {
        const struct ek_door_purse *o = EK_CONTAINER(it, struct ek_door_purse, link);
        if (o != p && o->r && !o->paused && ek_door_is_running(o->r) && o->r->running->relay) return true;
    }
    return false;
}

/* Why a stream without money ends: there is none, its owner has set a limit, or there is some that cannot be
 * had now. */
static enum ek_reason end_of(enum ek_hold_verdict short_of)
{
    switch (short_of) {
    case EK_HOLD_DAY: return EK_REASON_BUDGET_DAY;
    case EK_HOLD_MONTH: return EK_REASON_BUDGET_MONTH;
    case EK_HOLD_LEASE: return EK_REASON_LEDGER_AWAY;
    default: return EK_REASON_BALANCE_END;
    }
}

/* Not NONE: it has made all it can pay for, and there is nothing to wait for. */
static enum ek_reason drink(struct ek_door_purse *p)
{
    struct ek_door_request *r = p->r;
    struct ek_door_money *m = p->of->room;
    struct ek_now now = ek_door_now(m->door);
    uint64_t made = ek_door_made_by(r), end = tokens_for(p, p->held_nano);
    uint64_t more = end / 4 > MORE_TOKENS_MIN ? end / 4 : MORE_TOKENS_MIN;
    /* Many at once, or those of before a restart: they are made, whatever was reserved. */
    int64_t more_nano = cost_of(p, 0, made > end ? more + (made - end) : more);
    struct ek_hold h = ek_book_extend(m->book, p->name, more_nano > 0 ? more_nano : 1, now);
    if (!p->thirsty) p->since_ns = now.mono_ns;
    p->thirsty = true;
    if (h.verdict == EK_HOLD_GRANTED) {
        m->count.extended++;
        p->held_nano = h.held_nano;
        end = tokens_for(p, p->held_nano);
        if (end > made) {
            p->thirsty = false;
            r->running->money_at = soon(end) > made ? soon(end) : end;
            return EK_REASON_NONE;
        }
    }
    bool asked = h.verdict == EK_HOLD_LEASE && ek_door_account_lease(p->of);
    r->running->money_at = end;
    if (made < end) return EK_REASON_NONE;
    if (ek_ns_since(now.mono_ns, p->since_ns) > m->door->config->ledger.lease_ns) return end_of(h.verdict);
    bool may_come = asked || p->of->busy || (h.verdict == EK_HOLD_WAIT && others_go_on(p));
    if (!may_come) return end_of(h.verdict);
    p->paused = true;
    r->running->money_at = UINT64_MAX;
    return EK_REASON_NONE;
}

enum ek_reason ek_door_money_spent(struct ek_door_request *r, uint64_t made_tokens)
{
    struct ek_door_purse *p = ek_door_purse_of(r);
    MUST(p->state == PURSE_HELD && p->pays && r->running);
    MUST(made_tokens == ek_door_made_by(r));
    if (p->late) return EK_REASON_LEASE_LOST;
    enum ek_reason end = drink(p);
    if (p->paused) ek_door_rest(r, true);
    return end;
}

void ek_door_purse_drink(struct ek_door_purse *p)
{
    struct ek_door_request *r = p->r;
    if (!p->thirsty || p->late || !r || !ek_door_is_running(r) || !r->running->relay) return;
    bool rested = p->paused;
    p->paused = false;
    enum ek_reason end = drink(p);
    if (end != EK_REASON_NONE) {
        p->paused = rested;
        if (rested) ek_door_money_end(r, end);
    } else if (rested && !p->paused) {
        ek_door_rest(r, false);
    }
}
