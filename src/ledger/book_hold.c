/* SPDX-License-Identifier: MIT */
/* The money of a request: reserve, extend, settle, refund. */
#include "ledger/book_inside.h"

static int64_t least_of(int64_t a, int64_t b) { return a < b ? a : b; }

static int64_t bounded(int64_t nano)
{
    MUST(nano >= 0);
    return least_of(nano, EK_MONEY_MAX);
}

/* What may be promised now, and what could be once every reservation has been given back unspent. */
struct room {
    int64_t free_nano;      /* money here */
    int64_t available_nano; /* the least of that and of the budgets */
    int64_t day_nano, month_nano; /* left of the budgets, reserved money not deducted */
    int64_t held_nano;
};

static struct room room_of(const struct ek_book_account *a)
{
    struct room r = {.free_nano = ek_money_sum(a->now.pocket[EK_POCKET_FREE]),
                     .held_nano = ek_money_sum(a->now.pocket[EK_POCKET_HELD]),
                     .day_nano = EK_MONEY_MAX, .month_nano = EK_MONEY_MAX};
    r.available_nano = r.free_nano;
    if (a->limits.day_nano) {
        r.day_nano = a->limits.day_nano - a->now.spent_day_nano;
        r.available_nano = least_of(r.available_nano, r.day_nano - r.held_nano);
    }
    if (a->limits.month_nano) {
        r.month_nano = a->limits.month_nano - a->now.spent_month_nano;
        r.available_nano = least_of(r.available_nano, r.month_nano - r.held_nano);
    }
    return r;
}

/* Why there is less than wanted. least_nano: below that nothing is of use. EK_HOLD_GRANTED: what is
 * available will do. */
static enum ek_hold_verdict short_of(const struct ek_book_account *a, const struct room *r,
                                     int64_t least_nano, bool alone)
{
    int64_t elsewhere = a->now.elsewhere_nano;
    bool money_is_short = r->available_nano == r->free_nano;
    if (r->day_nano < least_nano) return EK_HOLD_DAY;
    if (r->month_nano < least_nano) return EK_HOLD_MONTH;
    if (r->free_nano + r->held_nano + elsewhere < least_nano) return EK_HOLD_BROKE;
    if (money_is_short && elsewhere > 0 && !alone) return EK_HOLD_LEASE;
    if (r->held_nano > 0) return EK_HOLD_WAIT;
    if (r->available_nano >= least_nano) return EK_HOLD_GRANTED;
    MUST(elsewhere > 0);
    return EK_HOLD_LEASE;
}

static void hold_more(struct ek_book *b, struct ek_book_account *a, struct ek_book_hold *h,
                      int64_t nano,
                      enum ek_entry_kind kind)
{
    struct ek_money part = ek_money_take(a->now.pocket[EK_POCKET_FREE], nano);
    MUST(nano > 0);
    ek_book_move(b, a, kind, EK_POCKET_FREE, EK_POCKET_HELD, part, h);
    h->held = ek_money_add(h->held, part);
    ek_book_after(b, a);
}

struct ek_hold ek_book_reserve(struct ek_book *b, const struct ek_hold_ask *ask, struct ek_now now)
{
    MUST(ask->least_nano >= 1 && ask->need_nano >= ask->least_nano && ask->overdraft_nano >= 0);
    MUST(ek_id_is_set(ask->request));
    struct ek_book_hold *h = ek_book_find_hold(b, ask->request);
    if (h) return (struct ek_hold){h->done ? EK_HOLD_DONE : EK_HOLD_GRANTED, ek_money_sum(h->held)};
    struct ek_book_account *a = ek_book_find(b, ask->account);
    if (!a) return (struct ek_hold){EK_HOLD_ABSENT, 0};
    ek_book_roll(a, now);

    int64_t nano = bounded(ask->need_nano);
    struct room r = room_of(a);
    if (r.available_nano < nano) {
        enum ek_hold_verdict why = short_of(a, &r, bounded(ask->least_nano), ask->alone);
        if (why != EK_HOLD_GRANTED) return (struct ek_hold){why, 0};
        nano = r.available_nano;
    }
    h = b->total.holds < b->o.holds_max ? ek_book_take_hold(b, ask->request) : NULL;
    if (!h) {
        b->total.full++;
        return (struct ek_hold){EK_HOLD_FULL, 0};
    }
    h->account = a->number;
    h->fence = a->now.fence;
    h->overdraft_nano = bounded(ask->overdraft_nano);
    if (h->overdraft_nano > a->overdraft_nano) a->overdraft_nano = h->overdraft_nano;
    ek_list_append(&a->holds, &h->link);
    b->total.holds++;
    hold_more(b, a, h, nano, EK_ENTRY_RESERVE);
    return (struct ek_hold){EK_HOLD_GRANTED, nano};
}

struct ek_hold ek_book_extend(struct ek_book *b, struct ek_id request, int64_t more_nano,
                              struct ek_now now)
{
    MUST(more_nano > 0);
    struct ek_book_hold *h = ek_book_find_hold(b, request);
    if (!h) return (struct ek_hold){EK_HOLD_ABSENT, 0};
    int64_t held = ek_money_sum(h->held);
    if (h->done || h->late) return (struct ek_hold){EK_HOLD_DONE, held};
    struct ek_book_account *a = ek_book_find(b, h->account);
    MUST(a);
    ek_book_roll(a, now);
    struct room r = room_of(a);
    int64_t nano = least_of(bounded(more_nano), r.available_nano);
    if (nano > 0) {
        hold_more(b, a, h, nano, EK_ENTRY_EXTEND);
        return (struct ek_hold){EK_HOLD_GRANTED, held + nano};
    }
    /* For itself the stream's own reserve is no money to wait for. */
    r.held_nano -= held;
    r.day_nano -= a->limits.day_nano ? held : 0;
    r.month_nano -= a->limits.month_nano ? held : 0;
    return (struct ek_hold){short_of(a, &r, 1, false), held};
}

/* ---- settle ---------------------------------------------------------------------------------- */

/* Charge `nano` of what is held and, beyond that, of what is free. Gifts first: where the hold would
 * spend topped-up money while granted money lies free, the latter goes and the former is released. */
static void charge(struct ek_book *b, struct ek_book_account *a, struct ek_book_hold *h, int64_t nano)
{
    struct ek_money free_now = a->now.pocket[EK_POCKET_FREE];
    int64_t granted = least_of(nano, h->held.granted_nano + free_now.granted_nano);
    h->charged = (struct ek_money){granted, nano - granted};
    struct ek_money inside = {least_of(granted, h->held.granted_nano),
                              least_of(nano - granted, h->held.topped_nano)};
    ek_book_move(b, a, EK_ENTRY_SETTLE, EK_POCKET_HELD, EK_POCKET_SPENT, inside, h);
    ek_book_move(b, a, EK_ENTRY_OVER, EK_POCKET_FREE, EK_POCKET_SPENT,
                 ek_money_less(h->charged, inside), h);
    ek_book_move(b, a, EK_ENTRY_RELEASE, EK_POCKET_HELD, EK_POCKET_FREE,
                 ek_money_less(h->held, inside), h);
}

static struct ek_settlement answer(const struct ek_book_hold *h, enum ek_settle_verdict verdict)
{
    return (struct ek_settlement){.verdict = verdict, .account = h->account, .fence = h->fence,
                                  .late = h->late, .charged = h->charged,
                                  .forgiven_nano = h->forgiven_nano};
}

struct ek_settlement ek_book_settle(struct ek_book *b, struct ek_id request, int64_t cost_nano,
                                    struct ek_now now)
{
    struct ek_book_hold *h = ek_book_find_hold(b, request);
    if (!h || h->payment) return (struct ek_settlement){.verdict = EK_SETTLED_ABSENT};
    if (h->done) return answer(h, EK_SETTLED_BEFORE);
    struct ek_book_account *a = ek_book_find(b, h->account);
    MUST(a);
    ek_book_roll(a, now);
    int64_t cost = bounded(cost_nano);
    int64_t most = ek_money_sum(h->held);
    if (h->late) {
        h->charged = ek_money_take(h->held, least_of(cost, most));
        ek_book_move(b, a, EK_ENTRY_LATE, EK_POCKET_WORLD, EK_POCKET_SPENT, h->charged, h);
    } else {
        int64_t beyond = ek_money_sum(a->now.pocket[EK_POCKET_FREE]) + h->overdraft_nano;
        charge(b, a, h, least_of(cost, most + (beyond > 0 ? beyond : 0)));
        MUST(ek_money_sum(a->now.pocket[EK_POCKET_FREE]) >= -a->overdraft_nano ||
             ek_money_sum(h->charged) <= most);
    }
    int64_t charged = ek_money_sum(h->charged);
    h->forgiven_nano = cost - charged;
    a->now.forgiven_nano += h->forgiven_nano;
    b->total.forgiven_nano += h->forgiven_nano;
    a->now.spent_day_nano += charged;
    a->now.spent_month_nano += charged;
    h->held = (struct ek_money){0, 0};
    h->done = true;
    ek_list_remove(&a->holds, &h->link);
    ek_list_append(&b->done, &h->link);
    b->total.holds--;
    ek_book_after(b, a);
    return answer(h, EK_SETTLED);
}

struct ek_money ek_book_refund(struct ek_book *b, struct ek_id request, int64_t nano, struct ek_now now)
{
    MUST(nano >= 0);
    struct ek_money none = {0, 0};
    struct ek_book_hold *h = ek_book_find_hold(b, request);
    if (!h || !h->done || h->payment || h->refunded) return none;
    struct ek_book_account *a = ek_book_find(b, h->account);
    if (!a) return none;
    ek_book_roll(a, now);
    int64_t topped = least_of(nano, h->charged.topped_nano);
    struct ek_money back = {least_of(nano - topped, h->charged.granted_nano), topped};
    /* An account forgotten and entered again since has spent nothing here: the store must do it. */
    struct ek_money spent = a->now.pocket[EK_POCKET_SPENT];
    if (spent.granted_nano < back.granted_nano || spent.topped_nano < back.topped_nano) return none;
    h->refunded = true;
    ek_book_move(b, a, EK_ENTRY_REFUND, EK_POCKET_SPENT, EK_POCKET_FREE, back, h);
    int64_t sum = ek_money_sum(back);
    a->now.spent_day_nano -= least_of(sum, a->now.spent_day_nano);
    a->now.spent_month_nano -= least_of(sum, a->now.spent_month_nano);
    ek_book_after(b, a);
    return back;
}
