/* SPDX-License-Identifier: MIT */
/* The book's memory, its accounts, money in and out, and the checks. Requests are in book_hold.c. */
#include "ledger/book_inside.h"

#include <stdlib.h>

#define ACCOUNTS_MAX (1u << 22)
#define HOLDS_MAX (1u << 22)

const char *ek_entry_kind_name(enum ek_entry_kind kind)
{
    static const char *const names[] = {
#define X(name, text) text,
        EK_ENTRY_KINDS(X)
#undef X
    };
    MUST((unsigned)kind < EK_COUNT(names));
    return names[kind];
}

uint32_t ek_day_of(uint64_t unix_ns)
{
    return (uint32_t)(unix_ns / EK_S_NS / 86400);
}

/* The Gregorian calendar in years that begin in March, so that the leap day is the last of its year:
 * eras of 400 years are 146,097 days (H. Hinnant, "chrono-compatible low-level date algorithms"). */
uint32_t ek_month_of(uint64_t unix_ns)
{
    uint32_t z = ek_day_of(unix_ns) + 719468;
    uint32_t era = z / 146097, doe = z % 146097;
    uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    uint32_t march = (5 * doy + 2) / 153; /* 0 = March */
    return (era * 400 + yoe) * 12 + march + 2 - 1970 * 12;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static uint32_t buckets_for(uint32_t records)
{
    uint32_t n = 16;
    while (n < records) n *= 2;
    return n;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
    x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93ull;
    return x ^ (x >> 32);
}

static struct ek_book_account **account_bucket(const struct ek_book *b, uint64_t number)
{
    return &b->account_bucket[mix(number ^ b->o.seed) & b->account_mask];
}

static struct ek_book_hold **hold_bucket(const struct ek_book *b, struct ek_id name)
{
    return &b->hold_bucket[mix(name.lo ^ mix(name.hi ^ b->o.seed)) & b->hold_mask];
}

struct ek_book *ek_book_new(const struct ek_book_options *o)
{
    MUST(o->accounts_max > 0 && o->accounts_max <= ACCOUNTS_MAX);
    MUST(o->holds_max > 0 && o->holds_max <= HOLDS_MAX && o->done_max <= HOLDS_MAX);
    struct ek_book *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    size_t holds = (size_t)o->holds_max + o->done_max;
    b->magic = EK_BOOK_MAGIC;
    b->o = *o;
    b->account_mask = buckets_for(o->accounts_max) - 1;
    b->hold_mask = buckets_for((uint32_t)holds) - 1;
    b->accounts = calloc(o->accounts_max, sizeof *b->accounts);
    b->holds = calloc(holds, sizeof *b->holds);
    b->account_bucket = calloc((size_t)b->account_mask + 1, sizeof(void *));
    b->hold_bucket = calloc((size_t)b->hold_mask + 1, sizeof(void *));
    if (!b->accounts || !b->holds || !b->account_bucket || !b->hold_bucket) {
        ek_book_free(&b);
        return NULL;
    }
    ek_list_init(&b->spare);
    ek_list_init(&b->done);
    for (size_t i = 0; i < holds; i++) ek_list_append(&b->spare, &b->holds[i].link);
    for (size_t i = o->accounts_max; i-- > 0;) {
        b->accounts[i].next = b->spare_account;
        b->spare_account = &b->accounts[i];
    }
    return b;
}

void ek_book_free(struct ek_book **b)
{
    if (!*b) return;
    MUST_OBJ(*b, EK_BOOK_MAGIC);
    free((*b)->accounts);
    free((*b)->holds);
    free((*b)->account_bucket);
    free((*b)->hold_bucket);
    (*b)->magic = 0;
    free(*b);
    *b = NULL;
}

struct ek_book_account *ek_book_find(const struct ek_book *b, uint64_t number)
{
    MUST_OBJ(b, EK_BOOK_MAGIC);
    struct ek_book_account *a = *account_bucket(b, number);
    while (a && a->number != number) a = a->next;
    return a;
}

struct ek_book_hold *ek_book_find_hold(const struct ek_book *b, struct ek_id name)
{
    MUST_OBJ(b, EK_BOOK_MAGIC);
    struct ek_book_hold *h = *hold_bucket(b, name);
    while (h && !ek_id_eq(h->name, name)) h = h->next;
    return h;
}

static void forget_hold(struct ek_book *b, struct ek_book_hold *h)
{
    struct ek_book_hold **at = hold_bucket(b, h->name);
    MUST(h->done);
    while (*at != h) {
        MUST(*at);
        at = &(*at)->next;
    }
    *at = h->next;
    ek_list_remove(&b->done, &h->link);
}

struct ek_book_hold *ek_book_take_hold(struct ek_book *b, struct ek_id name)
{
    struct ek_link *link = ek_list_first(&b->spare);
    if (link) {
        ek_list_remove(&b->spare, link);
    } else {
        link = ek_list_first(&b->done);
        if (!link) return NULL;
        forget_hold(b, EK_CONTAINER(link, struct ek_book_hold, link));
        b->total.done_early++;
    }
    struct ek_book_hold *h = EK_CONTAINER(link, struct ek_book_hold, link);
    MUST(!ek_link_linked(link));
    *h = (struct ek_book_hold){.name = name, .next = *hold_bucket(b, name)};
    *hold_bucket(b, name) = h;
    return h;
}

/* ---- the mover ------------------------------------------------------------------------------- */

void ek_book_move(struct ek_book *b, struct ek_book_account *a, enum ek_entry_kind kind,
                  enum ek_pocket from, enum ek_pocket to, struct ek_money amount,
                  const struct ek_book_hold *h)
{
    MUST(from != to && from < EK_POCKET_COUNT && to < EK_POCKET_COUNT);
    if (ek_money_is_zero(amount)) return;
    a->now.pocket[from] = ek_money_less(a->now.pocket[from], amount);
    a->now.pocket[to] = ek_money_add(a->now.pocket[to], amount);
    b->total.pocket[from] = ek_money_less(b->total.pocket[from], amount);
    b->total.pocket[to] = ek_money_add(b->total.pocket[to], amount);
    b->total.entries++;
    if (!b->o.entry) return;
    struct ek_entry e = {.seq = b->total.entries, .account = a->number, .fence = a->now.fence,
                         .kind = kind, .from = from, .to = to, .amount = amount};
    if (h) {
        e.name = h->name;
        e.fence = h->fence;
    }
    b->o.entry(b->o.arg, &e);
}

static bool balanced(const struct ek_money pocket[EK_POCKET_COUNT])
{
    struct ek_money sum = {0, 0};
    for (int p = 0; p < EK_POCKET_COUNT; p++) sum = ek_money_add(sum, pocket[p]);
    return ek_money_is_zero(sum);
}

void ek_book_after(const struct ek_book *b, const struct ek_book_account *a)
{
    const struct ek_money *p = a->now.pocket;
    MUST(balanced(p));
    MUST(balanced(b->total.pocket));
    MUST(p[EK_POCKET_FREE].granted_nano >= 0);
    MUST(p[EK_POCKET_HELD].granted_nano >= 0 && p[EK_POCKET_HELD].topped_nano >= 0);
    MUST(p[EK_POCKET_SPENT].granted_nano >= 0 && p[EK_POCKET_SPENT].topped_nano >= 0);
}

/* ---- accounts -------------------------------------------------------------------------------- */

void ek_book_roll(struct ek_book_account *a, struct ek_now now)
{
    uint32_t day = ek_day_of(now.unix_ns), month = ek_month_of(now.unix_ns);
    if (day > a->day) {
        a->day = day;
        a->now.spent_day_nano = 0;
    }
    if (month > a->month) {
        a->month = month;
        a->now.spent_month_nano = 0;
    }
}

enum ek_status ek_book_account(struct ek_book *b, uint64_t account, const struct ek_book_limits *limits,
                               struct ek_now now)
{
    MUST(account != 0);
    MUST(limits->day_nano >= 0 && limits->month_nano >= 0);
    struct ek_book_account *a = ek_book_find(b, account);
    if (a) {
        a->limits = *limits;
        return EK_OK;
    }
    a = b->spare_account;
    if (!a) return EK_FULL;
    b->spare_account = a->next;
    *a = (struct ek_book_account){.number = account, .next = *account_bucket(b, account),
                                  .limits = *limits, .day = ek_day_of(now.unix_ns),
                                  .month = ek_month_of(now.unix_ns)};
    a->now.spent_day_nano = limits->spent_day_nano;
    a->now.spent_month_nano = limits->spent_month_nano;
    ek_list_init(&a->holds);
    *account_bucket(b, account) = a;
    b->total.accounts++;
    return EK_OK;
}

enum ek_status ek_book_forget(struct ek_book *b, uint64_t account)
{
    struct ek_book_account *a = ek_book_find(b, account);
    if (!a) return EK_ABSENT;
    if (a->holds.count > 0 || !ek_money_is_zero(a->now.pocket[EK_POCKET_FREE])) return EK_FULL;
    MUST(ek_money_is_zero(a->now.pocket[EK_POCKET_HELD]));
    struct ek_book_account **at = account_bucket(b, account);
    while (*at != a) at = &(*at)->next;
    *at = a->next;
    for (int p = 0; p < EK_POCKET_COUNT; p++)
        b->total.pocket[p] = ek_money_less(b->total.pocket[p], a->now.pocket[p]);
    MUST(balanced(b->total.pocket));
    a->number = 0;
    a->next = b->spare_account;
    b->spare_account = a;
    b->total.accounts--;
    return EK_OK;
}

bool ek_book_look(const struct ek_book *b, uint64_t account, struct ek_book_state *out)
{
    const struct ek_book_account *a = ek_book_find(b, account);
    if (!a) return false;
    *out = a->now;
    out->holds = (uint32_t)a->holds.count;
    return true;
}

void ek_book_elsewhere(struct ek_book *b, uint64_t account, int64_t nano)
{
    struct ek_book_account *a = ek_book_find(b, account);
    if (!a) return;
    if (nano > EK_MONEY_MAX) nano = EK_MONEY_MAX;
    a->now.elsewhere_nano = nano > 0 ? nano : 0;
}

/* ---- money in and out ------------------------------------------------------------------------ */

static bool fits(int64_t have, int64_t more, int64_t max)
{
    int64_t sum;
    return !__builtin_add_overflow(have, more, &sum) && sum <= max && sum >= -max;
}

/* What has come from the world, less what went back: of one account, and of all that are in memory. */
static bool may_fund(const struct ek_book *b, const struct ek_book_account *a, struct ek_money amount)
{
    const struct ek_money *mine = &a->now.pocket[EK_POCKET_WORLD], *all = &b->total.pocket[EK_POCKET_WORLD];
    return fits(mine->granted_nano, -amount.granted_nano, EK_MONEY_MAX) &&
           fits(mine->topped_nano, -amount.topped_nano, EK_MONEY_MAX) &&
           fits(all->granted_nano, -amount.granted_nano, EK_BOOK_TOTAL_MAX) &&
           fits(all->topped_nano, -amount.topped_nano, EK_BOOK_TOTAL_MAX);
}

enum ek_book_paid ek_book_fund(struct ek_book *b, uint64_t account, struct ek_id name, uint64_t fence,
                               struct ek_money amount)
{
    MUST(ek_id_is_set(name));
    MUST(amount.granted_nano >= 0);
    struct ek_book_account *a = ek_book_find(b, account);
    if (ek_book_find_hold(b, name)) return EK_PAID_BEFORE;
    if (!a || amount.topped_nano < -EK_MONEY_MAX || !may_fund(b, a, amount)) return EK_PAID_REFUSED;
    struct ek_book_hold *h = ek_book_take_hold(b, name);
    if (!h) return EK_PAID_REFUSED;
    if (fence != a->now.fence) { /* one lease at a time: the old one's money has left */
        MUST(fence > a->now.fence);
        MUST(ek_money_is_zero(a->now.pocket[EK_POCKET_FREE]));
        MUST(ek_money_is_zero(a->now.pocket[EK_POCKET_HELD]));
        a->now.fence = fence;
    }
    h->account = account;
    h->fence = fence;
    h->done = h->payment = true;
    h->charged = amount;
    ek_list_append(&b->done, &h->link);
    ek_book_move(b, a, EK_ENTRY_FUND, EK_POCKET_WORLD, EK_POCKET_FREE, amount, h);
    ek_book_after(b, a);
    return EK_PAID;
}

static struct ek_money withdraw(struct ek_book *b, struct ek_book_account *a, struct ek_money amount)
{
    ek_book_move(b, a, EK_ENTRY_WITHDRAW, EK_POCKET_FREE, EK_POCKET_WORLD, amount, NULL);
    ek_book_after(b, a);
    return amount;
}

struct ek_money ek_book_withdraw(struct ek_book *b, uint64_t account, int64_t nano)
{
    MUST(nano >= 0);
    struct ek_book_account *a = ek_book_find(b, account);
    if (!a) return (struct ek_money){0, 0};
    struct ek_money free_now = a->now.pocket[EK_POCKET_FREE];
    int64_t most = ek_money_sum(free_now);
    if (nano > most) nano = most > 0 ? most : 0;
    int64_t topped = nano < free_now.topped_nano ? nano : free_now.topped_nano;
    if (topped < 0) topped = 0;
    return withdraw(b, a, (struct ek_money){nano - topped, topped});
}

struct ek_money ek_book_withdraw_all(struct ek_book *b, uint64_t account)
{
    struct ek_book_account *a = ek_book_find(b, account);
    if (!a || a->holds.count > 0) return (struct ek_money){0, 0};
    return withdraw(b, a, a->now.pocket[EK_POCKET_FREE]);
}

void ek_book_lose(struct ek_book *b, uint64_t account, uint64_t fence)
{
    struct ek_book_account *a = ek_book_find(b, account);
    if (!a || a->now.fence != fence) return;
    EK_LIST_EACH(&a->holds, link) {
        struct ek_book_hold *h = EK_CONTAINER(link, struct ek_book_hold, link);
        if (h->late) continue;
        MUST(h->fence == fence);
        ek_book_move(b, a, EK_ENTRY_LOSE, EK_POCKET_HELD, EK_POCKET_WORLD, h->held, h);
        h->late = true;
    }
    ek_book_move(b, a, EK_ENTRY_LOSE, EK_POCKET_FREE, EK_POCKET_WORLD, a->now.pocket[EK_POCKET_FREE],
                 NULL);
    MUST(ek_money_is_zero(a->now.pocket[EK_POCKET_HELD]));
    ek_book_after(b, a);
}

/* ---- checks ---------------------------------------------------------------------------------- */

void ek_book_totals(const struct ek_book *b, struct ek_book_totals *out)
{
    MUST_OBJ(b, EK_BOOK_MAGIC);
    *out = b->total;
    out->done = (uint32_t)b->done.count;
}

static void check_account(const struct ek_book *b, const struct ek_book_account *a)
{
    struct ek_money held = {0, 0};
    EK_LIST_EACH(&a->holds, link) {
        struct ek_book_hold *h = EK_CONTAINER(link, struct ek_book_hold, link);
        MUST(!h->done && h->account == a->number);
        MUST(ek_book_find_hold(b, h->name) == h);
        if (!h->late) held = ek_money_add(held, h->held);
    }
    MUST(ek_money_is_zero(ek_money_less(held, a->now.pocket[EK_POCKET_HELD])));
    ek_book_after(b, a);
}

void ek_book_check(const struct ek_book *b)
{
    struct ek_money sum[EK_POCKET_COUNT] = {{0, 0}};
    uint32_t accounts = 0, holds = 0;
    int64_t forgiven = 0;
    MUST_OBJ(b, EK_BOOK_MAGIC);
    for (uint32_t i = 0; i < b->o.accounts_max; i++) {
        const struct ek_book_account *a = &b->accounts[i];
        if (a->number == 0) continue;
        MUST(ek_book_find(b, a->number) == a);
        check_account(b, a);
        for (int p = 0; p < EK_POCKET_COUNT; p++) sum[p] = ek_money_add(sum[p], a->now.pocket[p]);
        accounts++;
        holds += (uint32_t)a->holds.count;
        forgiven += a->now.forgiven_nano;
    }
    MUST(accounts == b->total.accounts);
    MUST(holds == b->total.holds);
    MUST(forgiven <= b->total.forgiven_nano); /* less: that of accounts forgotten */
    for (int p = 0; p < EK_POCKET_COUNT; p++)
        MUST(ek_money_is_zero(ek_money_less(sum[p], b->total.pocket[p])));
    MUST(holds + b->spare.count + b->done.count == (size_t)b->o.holds_max + b->o.done_max);
}
