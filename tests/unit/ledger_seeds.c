/* SPDX-License-Identifier: MIT */
/* Book and store together, on a store in memory, from many seeds: one door's life at random (top-ups,
 * leases, reservations, extensions, settlements that reach the store in groups, late, twice or after a
 * crash of the door; refunds; leases lost; nights), and after every step the equation that joins the two:
 *
 *      leased in the store  =  free in the book + reserved in the book + settled but not stored yet
 *
 * while beside it runs a tally of what was paid, spent and given back, that the store must agree with at
 * the end to the last nano, with nothing left leased. (book_oracle.h judges the book alone, step by
 * step.)
 *
 * EK_BOOK_SEEDS sets how many (make prove-book-seeds: 10,000), EK_SEED the first. */
#include "cm.h"

#include "base/random.h"
#include "ledger/book.h"
#include "ledger/ledger.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ACCOUNTS 3u
#define HOLDS 16u
#define PENDING 24u
#define STEPS 160

struct ours {
    uint64_t id, fence;
    int64_t paid, spent;
};

static struct world {
    struct ek_ledger *ledger;
    struct ek_book *book;
    struct ek_random rng;
    struct ek_now now;
    struct ours account[ACCOUNTS];
    struct ek_id held[HOLDS];
    uint32_t holds, pendings;
    struct ek_settle_record pending[PENDING]; /* settled in the book, not yet in the store */
    struct ek_settle_record last;             /* stored, for refunds and repeats */
    uint64_t names, waits, grants, brokes, late, repeats, crashes, lost, refunds;
} w;

static uint64_t seed_now;

/* A MUST that fails aborts: say which seed it was. */
static void say_seed(int number)
{
    (void)number;
    dprintf(2, "it was EK_SEED=%llu EK_BOOK_SEEDS=1\n", (unsigned long long)seed_now);
}

static uint64_t below(uint64_t n) { return ek_random_below(&w.rng, n); }
static struct ek_id fresh_name(void) { return (struct ek_id){1, ++w.names}; }

static struct ours *account_of(uint64_t id)
{
    for (uint32_t k = 0; k < ACCOUNTS; k++)
        if (w.account[k].id == id) return &w.account[k];
    WRONG("an account of nobody");
}

static void new_book(void)
{
    struct ek_book_options o = {.accounts_max = ACCOUNTS, .holds_max = HOLDS, .done_max = 8, .seed =
        below(100)};
    struct ek_book_limits limits = {0};
    w.book = ek_book_new(&o);
    MUST(w.book);
    for (uint32_t k = 0; k < ACCOUNTS; k++) {
        limits.day_nano = k == 2 ? 4000 : 0;
        MUST(ek_book_account(w.book, w.account[k].id, &limits, w.now) == EK_OK);
        ek_book_elsewhere(w.book, w.account[k].id, 1);
        w.account[k].fence = 0;
    }
    w.holds = 0;
}

static void pay(struct ours *a)
{
    struct ek_money m = {below(2) ? 0 : (int64_t)below(300), (int64_t)below(900)};
    struct ek_id name = fresh_name();
    bool before;
    MUST(ek_ledger_pay(w.ledger, name, a->id, m, "", &before) == EK_OK && !before);
    if (below(3) == 0) MUST(ek_ledger_pay(w.ledger, name, a->id, m, "", &before) == EK_OK && before);
    a->paid += ek_money_sum(m);
}

static void lease(struct ours *a)
{
    struct ek_lease l;
    MUST(ek_ledger_lease(w.ledger, a->id, (int64_t)below(600), &l) == EK_OK);
    ek_book_elsewhere(w.book, a->id, l.elsewhere_nano);
    if (ek_money_is_zero(l.part)) return;
    if (l.fence != a->fence) ek_book_lose(w.book, a->id, a->fence);
    a->fence = l.fence;
    MUST(ek_book_fund(w.book, a->id, fresh_name(), l.fence, l.part) == EK_PAID);
}

static void give(struct ours *a)
{
    struct ek_money part = ek_book_withdraw(w.book, a->id, (int64_t)below(200));
    if (ek_money_is_zero(part)) return;
    MUST(ek_ledger_give(w.ledger, a->id, a->fence, part, false) == EK_OK);
    ek_book_elsewhere(w.book, a->id, ek_money_sum(part)); /* there is some again */
}

static void reserve(struct ours *a)
{
    if (w.holds == HOLDS) return;
    struct ek_hold_ask ask = {.account = a->id, .request = fresh_name(), .least_nano = 1 +
        (int64_t)below(30),
                              .overdraft_nano = (int64_t)below(4), .alone = below(4) == 0};
    ask.need_nano = ask.least_nano + (int64_t)below(150);
    enum ek_hold_verdict v = ek_book_reserve(w.book, &ask, w.now).verdict;
    w.grants += v == EK_HOLD_GRANTED;
    w.waits += v == EK_HOLD_WAIT;
    w.brokes += v == EK_HOLD_BROKE;
    if (v == EK_HOLD_GRANTED) w.held[w.holds++] = ask.request;
    if (v == EK_HOLD_LEASE || v == EK_HOLD_BROKE) lease(a);
}

static void flush(void);

static void settle(void)
{
    if (w.holds == 0) return;
    if (w.pendings == PENDING) flush();
    uint32_t i = (uint32_t)below(w.holds);
    struct ek_id request = w.held[i];
    if (below(3) == 0) ek_book_extend(w.book, request, 1 + (int64_t)below(80), w.now);
    struct ek_settlement s = ek_book_settle(w.book, request, below(6) ? (int64_t)below(260) : 0, w.now);
    MUST(s.verdict == EK_SETTLED);
    w.held[i] = w.held[--w.holds];
    w.pending[w.pendings++] = (struct ek_settle_record){
        .request = request, .account = s.account, .fence = s.fence, .key = below(2), .charged = s.charged,
        .forgiven_nano = s.forgiven_nano, .at_unix_ns = w.now.unix_ns, .prompt_tokens = below(9),
        .output_tokens = below(99), .model = "m", .ending = "none"};
}

/* The group reaches the store; sometimes one of the last group with it again. */
static void flush(void)
{
    const struct ek_settle_record *at[PENDING + 1];
    struct ek_settle_outcome out[PENDING + 1];
    size_t count = 0;
    while (count < w.pendings) {
        at[count] = &w.pending[count];
        count++;
    }
    struct ek_settle_record again = w.last;
    bool repeat = ek_id_is_set(again.request) && below(3) == 0;
    if (repeat) at[count++] = &again;
    MUST(ek_ledger_settle(w.ledger, at, count, out) == EK_OK);
    if (repeat) MUST(out[--count].before);
    w.repeats += repeat;
    for (size_t i = 0; i < count; i++) {
        MUST(!out[i].before);
        account_of(at[i]->account)->spent += ek_money_sum(out[i].charged);
        if (out[i].late) { /* its lease is gone: what is left of it in the book goes too */
            w.late++;
            ek_book_lose(w.book, at[i]->account, at[i]->fence);
        } else {
            MUST(ek_money_sum(out[i].charged) == ek_money_sum(at[i]->charged));
        }
        w.last = *at[i];
    }
    w.pendings = 0;
}

static void refund(void)
{
    struct ek_money back;
    if (!ek_id_is_set(w.last.request)) return;
    MUST(ek_ledger_refund(w.ledger, fresh_name(), w.last.request, (int64_t)below(100), "", &back) == EK_OK);
    account_of(w.last.account)->spent -= ek_money_sum(back);
    w.refunds++;
}

/* The door is killed and starts again: the book is gone, and so is what it had reserved. What the loop
 * had handed over was in the spool, and is replayed before old leases are taken back. */
static void crash(void)
{
    flush();
    ek_book_free(&w.book);
    MUST(ek_ledger_take_back(w.ledger) == EK_OK);
    new_book();
    w.crashes++;
}

/* Frozen past its lease: another took it back. What runs settles late. */
static void freeze(struct ours *a)
{
    if (a->fence == 0) return;
    enum ek_status s = ek_ledger_give(w.ledger, a->id, a->fence, (struct ek_money){0, 0}, true);
    if (s == EK_ABSENT) return;
    MUST(s == EK_OK);
    ek_book_lose(w.book, a->id, a->fence);
    w.lost++;
}

static void compare(void)
{
    for (uint32_t k = 0; k < ACCOUNTS; k++) {
        struct ours *a = &w.account[k];
        struct ek_balance b;
        struct ek_book_state s;
        int64_t pending = 0;
        MUST(ek_ledger_balance(w.ledger, a->id, &b) == EK_OK && ek_book_look(w.book, a->id, &s));
        for (uint32_t i = 0; i < w.pendings; i++)
            if (w.pending[i].account == a->id && w.pending[i].fence == a->fence && b.leases)
                pending += ek_money_sum(w.pending[i].charged);
        int64_t in_book = ek_money_sum(s.pocket[EK_POCKET_FREE]) + ek_money_sum(s.pocket[EK_POCKET_HELD]);
        MUST(ek_money_sum(b.leased) == in_book + pending);
        MUST(b.paid_nano == a->paid && b.spent_nano == a->spent);
        MUST(ek_money_sum(b.free) + ek_money_sum(b.leased) + b.spent_nano == b.paid_nano);
    }
}

static void step(void)
{
    struct ours *a = &w.account[below(ACCOUNTS)];
    switch (below(20)) {
    case 0: pay(a); break;
    case 1: case 2: lease(a); break;
    case 3: give(a); break;
    case 4: case 5: flush(); break;
    case 6: refund(); break;
    case 7: if (below(8) == 0) crash(); break;
    case 8: if (below(6) == 0) freeze(a); break;
    case 9: w.now.unix_ns += below(2) * 3600 * 9 * EK_S_NS; break;
    case 10: case 11: case 12: case 13: settle(); break;
    default: reserve(a); break;
    }
    compare();
}

static void one_seed(uint64_t seed)
{
    char why[256];
    struct ek_audit audit;
    struct ek_ledger_options o = {.url = ":memory:", .door = "d", .lease_ns = 3600 * EK_S_NS};
    struct world keep = w;
    w = (struct world){.rng = ek_random_make(seed), .now.unix_ns = UINT64_C(1763683200) * EK_S_NS,
                       .waits = keep.waits, .grants = keep.grants, .brokes = keep.brokes, .late = keep.late,
                       .repeats = keep.repeats, .crashes = keep.crashes, .lost = keep.lost,
                       .refunds = keep.refunds};
    MUST(ek_ledger_open(&o, &w.ledger, why, sizeof why) == EK_OK);
    for (uint32_t k = 0; k < ACCOUNTS; k++) {
        char name[8];
        snprintf(name, sizeof name, "p%u", k);
        MUST(ek_ledger_account_add(w.ledger, name, "default", &w.account[k].id) == EK_OK);
        pay(&w.account[k]);
    }
    new_book();
    for (int i = 0; i < STEPS; i++) step();
    while (w.holds) settle();
    flush();
    ek_book_check(w.book);
    for (uint32_t k = 0; k < ACCOUNTS; k++) {
        ek_book_withdraw_all(w.book, w.account[k].id);
        enum ek_status s = ek_ledger_give(w.ledger, w.account[k].id, w.account[k].fence, (struct
            ek_money){0, 0},
                                          true);
        MUST(s == EK_OK || s == EK_ABSENT);
    }
    MUST(ek_ledger_audit(w.ledger, &audit) == EK_OK);
    int64_t paid = 0, spent = 0;
    for (uint32_t k = 0; k < ACCOUNTS; k++) paid += w.account[k].paid, spent += w.account[k].spent;
    if (audit.wrong) fprintf(stderr, "%s\n", audit.first);
    MUST(audit.wrong == 0 && audit.leases == 0 && audit.leased_nano == 0);
    MUST(audit.paid_nano == paid && audit.spent_nano == spent && audit.balance_nano == paid - spent);
    ek_book_free(&w.book);
    ek_ledger_close(&w.ledger);
}

static void many_seeds(void **state)
{
    (void)state;
    uint64_t seeds = getenv("EK_BOOK_SEEDS") ? strtoull(getenv("EK_BOOK_SEEDS"), NULL, 10) : 50;
    uint64_t first = getenv("EK_SEED") ? strtoull(getenv("EK_SEED"), NULL, 10) : 20261122;
    signal(SIGABRT, say_seed);
    for (uint64_t i = 0; i < seeds; i++) {
        seed_now = first + i;
        one_seed(seed_now);
    }
    printf("%llu seeds from %llu: %llu granted, %llu waited, %llu broke, %llu late, %llu repeated, %llu"
    " crashes, %llu leases"
           " lost, %llu refunds; all exact\n", (unsigned long long)seeds, (unsigned long long)first,
           (unsigned long long)w.grants, (unsigned long long)w.waits, (unsigned long long)w.brokes,
           (unsigned long long)w.late,
           (unsigned long long)w.repeats, (unsigned long long)w.crashes, (unsigned long long)w.lost,
           (unsigned long long)w.refunds);
    assert_true(w.grants > seeds && w.waits > 0 && w.late > 0 && w.crashes > 0 && w.lost > 0 && w.refunds
        > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(many_seeds)};
    return cmocka_run_group_tests_name("ledger_seeds", tests, NULL, NULL);
}
