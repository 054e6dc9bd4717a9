/* SPDX-License-Identifier: MIT */
/* A naive book beside the real one: every rule of ledger/book.h written down a second time, in the plainest
 * way (linear searches, sums from scratch), driven by the same steps. A third witness adds up the entries.
 * Steps come from a generator of numbers: seeded in the unit test, the fuzzer's bytes in the fuzz target. */
#ifndef EK_TESTS_BOOK_ORACLE_H
#define EK_TESTS_BOOK_ORACLE_H

#include "ledger/book.h"

#include <stdlib.h>
#include <string.h>

#define ORACLE_ACCOUNTS 5u
#define ORACLE_HOLDS 12u
#define ORACLE_NAMES 40u /* requests and payments draw their names from here: repeats are common */
#define ORACLE_DAY_NS (86400 * EK_S_NS)

struct oracle_name {
    enum { NAME_NEW, NAME_HELD, NAME_DONE, NAME_PAID } state;
    uint32_t account;
    uint64_t fence;
    int64_t granted, topped; /* held; once late, what it may settle */
    int64_t charged_granted, charged_topped, forgiven, overdraft;
    bool late, refunded;
};

struct oracle_account {
    bool here;
    int64_t granted, topped; /* free */
    int64_t paid, spent, elsewhere, day_limit, month_limit, spent_day, spent_month;
    uint32_t day, month;
    uint64_t fence;
};

struct oracle {
    struct ek_book *book;
    struct oracle_account account[ORACLE_ACCOUNTS + 1];
    struct oracle_name name[ORACLE_NAMES];
    struct ek_money folded[ORACLE_ACCOUNTS + 1][EK_POCKET_COUNT]; /* from the entries alone */
    uint64_t entries;
    uint64_t verdicts[16], settles[4];
    struct ek_now now;
    uint64_t (*draw)(void *arg, uint64_t below);
    void *arg;
};

static void oracle_entry(void *arg, const struct ek_entry *e)
{
    struct oracle *o = arg;
    MUST(e->seq == ++o->entries);
    MUST(e->account >= 1 && e->account <= ORACLE_ACCOUNTS);
    MUST(ek_entry_kind_name(e->kind)[0] != '\0');
    MUST(e->kind == EK_ENTRY_LOSE || e->kind == EK_ENTRY_WITHDRAW ||
         e->kind == EK_ENTRY_FUND || (e->amount.granted_nano >= 0 && e->amount.topped_nano >= 0));
    struct ek_money *p = o->folded[e->account];
    p[e->from] = ek_money_less(p[e->from], e->amount);
    p[e->to] = ek_money_add(p[e->to], e->amount);
}

static struct ek_id oracle_id(uint32_t name) { return (struct ek_id){name / 7, name + 1}; }

static int64_t oracle_held(const struct oracle *o, uint32_t account)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < ORACLE_NAMES; i++)
        if (o->name[i].state == NAME_HELD && o->name[i].account == account && !o->name[i].late)
            sum += o->name[i].granted + o->name[i].topped;
    return sum;
}

static uint32_t oracle_holds(const struct oracle *o, uint32_t account) /* 0: of all */
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < ORACLE_NAMES; i++)
        n += o->name[i].state == NAME_HELD && (account == 0 || o->name[i].account == account);
    return n;
}

static void oracle_compare(struct oracle *o)
{
    for (uint32_t k = 1; k <= ORACLE_ACCOUNTS; k++) {
        struct oracle_account *a = &o->account[k];
        struct ek_book_state s;
        MUST(ek_book_look(o->book, k, &s) == a->here);
        if (!a->here) continue;
        MUST(s.pocket[EK_POCKET_FREE].granted_nano == a->granted);
        MUST(s.pocket[EK_POCKET_FREE].topped_nano == a->topped);
        MUST(ek_money_sum(s.pocket[EK_POCKET_HELD]) == oracle_held(o, k));
        MUST(ek_money_sum(s.pocket[EK_POCKET_SPENT]) == a->spent);
        MUST(-ek_money_sum(s.pocket[EK_POCKET_WORLD]) == a->paid);
        MUST(a->granted + a->topped + oracle_held(o, k) + a->spent == a->paid);
        MUST(s.spent_day_nano == a->spent_day && s.spent_month_nano == a->spent_month);
        MUST(s.fence == a->fence && s.holds == oracle_holds(o, k));
        MUST(memcmp(o->folded[k], s.pocket, sizeof s.pocket) == 0);
        MUST(a->granted + a->topped >= -1000); /* the largest overdraft below, and what a lease brought */
    }
}

static void oracle_roll(struct oracle *o, struct oracle_account *a)
{
    if (ek_day_of(o->now.unix_ns) > a->day) {
        a->day = ek_day_of(o->now.unix_ns);
        a->spent_day = 0;
    }
    if (ek_month_of(o->now.unix_ns) > a->month) {
        a->month = ek_month_of(o->now.unix_ns);
        a->spent_month = 0;
    }
}

static void oracle_enter(struct oracle *o, uint32_t k)
{
    struct oracle_account *a = &o->account[k];
    int64_t day = o->draw(o->arg, 3) ? 0 : (int64_t)o->draw(o->arg, 3000);
    int64_t month = o->draw(o->arg, 3) ? 0 : (int64_t)o->draw(o->arg, 20000);
    struct ek_book_limits l = {.day_nano = day, .month_nano = month};
    MUST(ek_book_account(o->book, k, &l, o->now) == EK_OK);
    if (!a->here) {
        memset(o->folded[k], 0, sizeof o->folded[k]);
        *a = (struct oracle_account){.here = true, .day = ek_day_of(o->now.unix_ns),
                                     .month = ek_month_of(o->now.unix_ns)};
    }
    a->day_limit = day;
    a->month_limit = month;
}

static void oracle_forget(struct oracle *o, uint32_t k)
{
    struct oracle_account *a = &o->account[k];
    enum ek_status want = !a->here ? EK_ABSENT
                          : oracle_holds(o, k) || a->granted || a->topped ? EK_FULL : EK_OK;
    MUST(ek_book_forget(o->book, k) == want);
    if (want == EK_OK) a->here = false;
}

static void oracle_fund(struct oracle *o, uint32_t k, uint32_t n)
{
    struct oracle_account *a = &o->account[k];
    struct ek_money m = {(int64_t)o->draw(o->arg, 800), (int64_t)o->draw(o->arg, 2000) - 100};
    uint64_t fence = a->fence;
    if (a->granted == 0 && a->topped == 0 && oracle_held(o, k) == 0) fence += o->draw(o->arg, 2);
    enum ek_book_paid got = ek_book_fund(o->book, k, oracle_id(n), fence, m);
    if (o->name[n].state != NAME_NEW) {
        MUST(got == EK_PAID_BEFORE);
    } else if (!a->here) {
        MUST(got == EK_PAID_REFUSED);
    } else {
        MUST(got == EK_PAID);
        o->name[n] = (struct oracle_name){.state = NAME_PAID, .account = k};
        a->fence = fence;
        a->granted += m.granted_nano;
        a->topped += m.topped_nano;
        a->paid += ek_money_sum(m);
    }
}

/* What reserve must answer, and how much it must hold. */
static enum ek_hold_verdict oracle_judge(const struct oracle *o, const struct oracle_account *a,
                                         uint32_t k, const struct ek_hold_ask *ask, int64_t *nano)
{
    int64_t held = oracle_held(o, k), money = a->granted + a->topped;
    int64_t day_left = a->day_limit ? a->day_limit - a->spent_day : INT64_MAX / 2;
    int64_t month_left = a->month_limit ? a->month_limit - a->spent_month : INT64_MAX / 2;
    bool budget_binds = day_left - held < money || month_left - held < money;
    int64_t can = money;
    if (day_left - held < can) can = day_left - held;
    if (month_left - held < can) can = month_left - held;
    *nano = can < ask->need_nano ? can : ask->need_nano;
    if (can >= ask->need_nano) return EK_HOLD_GRANTED;
    if (day_left < ask->least_nano) return EK_HOLD_DAY;
    if (month_left < ask->least_nano) return EK_HOLD_MONTH;
    if (money + held + a->elsewhere < ask->least_nano) return EK_HOLD_BROKE;
    if (!budget_binds && a->elsewhere > 0 && !ask->alone) return EK_HOLD_LEASE;
    if (held > 0) return EK_HOLD_WAIT;
    return can >= ask->least_nano ? EK_HOLD_GRANTED : EK_HOLD_LEASE;
}

/* Move `nano` of free money into the request's reserve, gifts first. */
static void oracle_hold(struct oracle_account *a, struct oracle_name *r, int64_t nano)
{
    int64_t granted = nano < a->granted ? nano : a->granted;
    a->granted -= granted;
    a->topped -= nano - granted;
    r->granted += granted;
    r->topped += nano - granted;
}

static void oracle_reserve(struct oracle *o, uint32_t k, uint32_t n)
{
    struct oracle_account *a = &o->account[k];
    struct oracle_name *r = &o->name[n];
    struct ek_hold_ask ask = {.account = k, .request = oracle_id(n), .alone = o->draw(o->arg, 4) == 0,
                              .least_nano = 1 + (int64_t)o->draw(o->arg, 100),
                              .overdraft_nano = (int64_t)o->draw(o->arg, 10)};
    ask.need_nano = ask.least_nano + (int64_t)o->draw(o->arg, 900);
    struct ek_hold got = ek_book_reserve(o->book, &ask, o->now);
    o->verdicts[got.verdict]++;
    if (r->state != NAME_NEW) {
        MUST(got.verdict == (r->state == NAME_HELD ? EK_HOLD_GRANTED : EK_HOLD_DONE));
        if (r->state == NAME_HELD) MUST(got.held_nano == r->granted + r->topped);
        return;
    }
    if (!a->here) {
        MUST(got.verdict == EK_HOLD_ABSENT);
        return;
    }
    oracle_roll(o, a);
    int64_t nano;
    enum ek_hold_verdict want = oracle_judge(o, a, k, &ask, &nano);
    if (want == EK_HOLD_GRANTED && oracle_holds(o, 0) == ORACLE_HOLDS) want = EK_HOLD_FULL;
    MUST(got.verdict == want);
    if (want != EK_HOLD_GRANTED) return;
    MUST(got.held_nano == nano);
    *r = (struct oracle_name){.state = NAME_HELD, .account = k, .fence = a->fence,
                              .overdraft = ask.overdraft_nano};
    oracle_hold(a, r, nano);
}

static void oracle_extend(struct oracle *o, uint32_t n)
{
    struct oracle_name *r = &o->name[n];
    int64_t more = 1 + (int64_t)o->draw(o->arg, 300);
    struct ek_hold got = ek_book_extend(o->book, oracle_id(n), more, o->now);
    if (r->state == NAME_NEW) {
        MUST(got.verdict == EK_HOLD_ABSENT);
        return;
    }
    if (r->state != NAME_HELD || r->late) {
        MUST(got.verdict == EK_HOLD_DONE);
        return;
    }
    struct oracle_account *a = &o->account[r->account];
    oracle_roll(o, a);
    int64_t held = oracle_held(o, r->account), can = a->granted + a->topped;
    if (a->day_limit && a->day_limit - a->spent_day - held < can) can = a->day_limit - a->spent_day - held;
    if (a->month_limit && a->month_limit - a->spent_month - held < can)
        can = a->month_limit - a->spent_month - held;
    if (can > more) can = more;
    MUST((got.verdict == EK_HOLD_GRANTED) == (can > 0));
    if (can > 0) oracle_hold(a, r, can);
    MUST(got.held_nano == r->granted + r->topped);
}

static void oracle_settle(struct oracle *o, uint32_t n)
{
    struct oracle_name *r = &o->name[n];
    int64_t cost = o->draw(o->arg, 8) ? (int64_t)o->draw(o->arg, 1000) : 0;
    struct ek_settlement got = ek_book_settle(o->book, oracle_id(n), cost, o->now);
    o->settles[got.verdict]++;
    if (r->state == NAME_NEW || r->state == NAME_PAID) {
        MUST(got.verdict == EK_SETTLED_ABSENT);
        return;
    }
    MUST(got.verdict == (r->state == NAME_DONE ? EK_SETTLED_BEFORE : EK_SETTLED));
    if (r->state == NAME_HELD) {
        struct oracle_account *a = &o->account[r->account];
        int64_t held = r->granted + r->topped, money = a->granted + a->topped, charged = cost;
        oracle_roll(o, a);
        int64_t most = held;
        if (!r->late && money + r->overdraft > 0) most += money + r->overdraft;
        if (charged > most) charged = most;
        int64_t gifts = r->granted + (r->late ? 0 : a->granted);
        r->charged_granted = charged < gifts ? charged : gifts;
        r->charged_topped = charged - r->charged_granted;
        r->forgiven = cost - charged;
        if (r->late) {
            a->paid += charged;
        } else {
            a->granted += r->granted - r->charged_granted;
            a->topped += r->topped - r->charged_topped;
        }
        a->spent += charged;
        a->spent_day += charged;
        a->spent_month += charged;
        r->state = NAME_DONE;
    }
    MUST(got.charged.granted_nano == r->charged_granted && got.charged.topped_nano == r->charged_topped);
    MUST(got.forgiven_nano == r->forgiven && got.late == r->late);
    MUST(got.account == r->account && got.fence == r->fence);
}

static void oracle_refund(struct oracle *o, uint32_t n)
{
    struct oracle_name *r = &o->name[n];
    int64_t nano = (int64_t)o->draw(o->arg, 500);
    struct ek_book_state before = {0};
    ek_book_look(o->book, r->account, &before);
    struct ek_money spent = before.pocket[EK_POCKET_SPENT];
    struct ek_money got = ek_book_refund(o->book, oracle_id(n), nano, o->now);
    struct oracle_account *a = &o->account[r->account];
    int64_t topped = nano < r->charged_topped ? nano : r->charged_topped;
    int64_t granted = nano - topped < r->charged_granted ? nano - topped : r->charged_granted;
    bool can = r->state == NAME_DONE && !r->refunded && a->here && spent.granted_nano >= granted &&
               spent.topped_nano >= topped;
    MUST(got.granted_nano == (can ? granted : 0) && got.topped_nano == (can ? topped : 0));
    if (!can) return;
    oracle_roll(o, a);
    r->refunded = true;
    a->granted += granted;
    a->topped += topped;
    a->spent -= granted + topped;
    a->spent_day -= granted + topped < a->spent_day ? granted + topped : a->spent_day;
    a->spent_month -= granted + topped < a->spent_month ? granted + topped : a->spent_month;
}

static void oracle_withdraw(struct oracle *o, uint32_t k)
{
    struct oracle_account *a = &o->account[k];
    int64_t nano = (int64_t)o->draw(o->arg, 600);
    bool all = o->draw(o->arg, 3) == 0;
    struct ek_money got = all ? ek_book_withdraw_all(o->book, k) : ek_book_withdraw(o->book, k, nano);
    struct ek_money want = {0, 0};
    if (a->here && all && oracle_holds(o, k) == 0) {
        want = (struct ek_money){a->granted, a->topped};
    } else if (a->here && !all && a->granted + a->topped > 0) {
        if (nano > a->granted + a->topped) nano = a->granted + a->topped;
        want.topped_nano = a->topped < 0 ? 0 : nano < a->topped ? nano : a->topped;
        want.granted_nano = nano - want.topped_nano;
    }
    MUST(got.granted_nano == want.granted_nano && got.topped_nano == want.topped_nano);
    a->granted -= want.granted_nano;
    a->topped -= want.topped_nano;
    a->paid -= ek_money_sum(want);
}

static void oracle_lose(struct oracle *o, uint32_t k)
{
    struct oracle_account *a = &o->account[k];
    uint64_t fence = a->fence - (o->draw(o->arg, 4) == 0);
    ek_book_lose(o->book, k, fence);
    if (!a->here || fence != a->fence) return;
    a->paid -= a->granted + a->topped + oracle_held(o, k);
    a->granted = a->topped = 0;
    for (uint32_t i = 0; i < ORACLE_NAMES; i++)
        if (o->name[i].state == NAME_HELD && o->name[i].account == k) o->name[i].late = true;
}

static void oracle_elsewhere(struct oracle *o, uint32_t k)
{
    int64_t nano = (int64_t)o->draw(o->arg, 3) * 200;
    ek_book_elsewhere(o->book, k, nano);
    if (o->account[k].here) o->account[k].elsewhere = nano;
}

static void oracle_step(struct oracle *o)
{
    uint32_t k = 1 + (uint32_t)o->draw(o->arg, ORACLE_ACCOUNTS);
    uint32_t n = (uint32_t)o->draw(o->arg, ORACLE_NAMES);
    switch (o->draw(o->arg, 32)) {
    case 0: oracle_enter(o, k); break;
    case 1: oracle_forget(o, k); break;
    case 2: case 3: oracle_fund(o, k, n); break;
    case 4: oracle_withdraw(o, k); break;
    case 5: if (o->draw(o->arg, 4) == 0) oracle_lose(o, k); break;
    case 6: oracle_refund(o, n); break;
    case 7: case 8: case 9: case 10: oracle_extend(o, n); break;
    case 11: oracle_elsewhere(o, k); break;
    case 12: o->now.unix_ns += o->draw(o->arg, 3) * ORACLE_DAY_NS; break;
    case 13: case 14: case 15: case 16: case 17: case 18: case 19: oracle_settle(o, n); break;
    default: oracle_reserve(o, k, n); break;
    }
    oracle_compare(o);
}

/* A fresh set of names for names that are done: the book's memory of them ends when it may. */
static void oracle_begin(struct oracle *o, uint64_t (*draw)(void *, uint64_t), void *arg)
{
    *o = (struct oracle){.draw = draw, .arg = arg, .now.unix_ns = UINT64_C(1763683200) * EK_S_NS};
    o->book = ek_book_new(&(struct ek_book_options){
        .accounts_max = ORACLE_ACCOUNTS, .holds_max = ORACLE_HOLDS, .done_max = ORACLE_NAMES,
        .seed = 5, .entry = oracle_entry, .arg = o});
    MUST(o->book);
    for (uint32_t k = 1; k < ORACLE_ACCOUNTS; k++) oracle_enter(o, k);
}

static void oracle_end(struct oracle *o)
{
    ek_book_check(o->book);
    ek_book_free(&o->book);
}

#endif
