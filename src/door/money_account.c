/* SPDX-License-Identifier: MIT */
/* Accounts in the room of money: leases taken, renewed, given back and lost, and the lines of those who wait
 * for money of their own account.
 *
 *      nobody ──first request──▶ busy (lease) ──▶ has a lease ◀─┬─ more is wanted: busy (lease)
 *         ▲                                          │ at rest   │
 *         └────────── gone ◀── busy (give) ◀─────────┘           └─ lost: as if it never had one
 *
 * How much is leased ahead: eight times the largest need, doubling while leases follow each other within a
 * second, so that a busy account does not ask the disk for each request and a quiet one takes little that
 * another door might need. */
#include "door/money_inside.h"

#include <stdlib.h>

#define RETRY_NS (EK_S_NS / 2) /* after a lease that failed or brought nothing */

static bool same_account(const void *value, const void *key)
{
    return ((const struct money_account *)value)->id == *(const uint64_t *)key;
}

static uint64_t hash_of(const struct ek_door_money *m, uint64_t id)
{
    return ek_hash(ek_str_make((const char *)&id, sizeof id), m->door->hash_seed);
}

static uint64_t now_of(const struct money_account *a) { return ek_door_now(a->room->door).mono_ns; }

static struct money_account *account_of(struct ek_store_op *op)
{
    struct money_account *a = EK_CONTAINER(op, struct money_job, op)->of;
    MUST_OBJ(a->room, EK_DOOR_MONEY_MAGIC);
    MUST(a->busy);
    return a;
}

struct money_account *ek_door_account_get(struct ek_door_money *m, uint64_t id)
{
    struct money_account *a = ek_map_find(&m->accounts, hash_of(m, id), same_account, &id);
    MUST(id != 0);
    if (a) return a;
    a = m->all.count < EK_DOOR_ACCOUNTS_MAX ? calloc(1, sizeof *a) : NULL; /* as many as the book has */
    if (!a) return NULL;
    *a = (struct money_account){.room = m, .id = id, .needs = EK_DOOR_LEASE_NEEDS};
    a->job.of = a;
    ek_list_init(&a->waiting);
    ek_list_init(&a->held);
    if (ek_map_put(&m->accounts, hash_of(m, id), a) != EK_OK) {
        free(a);
        return NULL;
    }
    ek_list_append(&m->all, &a->link);
    return a;
}

/* Nobody's money is in it: not of those who wait, hold or settle, nor of places of before a restart. */
static bool is_idle(const struct money_account *a)
{
    MUST(a->purses >= a->waiting.count + a->held.count);
    return a->purses == 0 && a->settling == 0;
}

static void forget(struct money_account *a)
{
    struct ek_door_money *m = a->room;
    MUST(!a->busy && is_idle(a));
    if (a->entered) {
        struct ek_money rest = ek_book_withdraw_all(m->book, a->id);
        (void)rest; /* nothing, or what the store knows already */
        enum ek_status s = ek_book_forget(m->book, a->id);
        MUST(s == EK_OK);
    }
    void *taken = ek_map_take(&m->accounts, hash_of(m, a->id), same_account, &a->id);
    MUST(taken == a);
    if (ek_link_linked(&a->dirty_link)) ek_list_remove(&m->dirty, &a->dirty_link);
    ek_list_remove(&m->all, &a->link);
    free(a);
}

void ek_door_account_rests(struct money_account *a)
{
    bool rests = is_idle(a) && !a->busy;
    if (!rests) a->rest_ns = 0;
    else if (!a->rest_ns) a->rest_ns = now_of(a);
}

/* ---- those who wait ---------------------------------------------------------------------------- */

void ek_door_account_serve(struct money_account *a)
{
    struct ek_door_money *m = a->room;
    if (!ek_link_linked(&a->dirty_link)) ek_list_append(&m->dirty, &a->dirty_link);
    if (!m->closing) ek_post_put(m->door->loop, &m->serve);
}

/* In their order; the first that must go on waiting ends it, so that a large need is not starved by small
 * ones. Running streams come first: they hold a slot. */
static void serve(struct money_account *a)
{
    EK_LIST_EACH(&a->held, it) {
        ek_door_purse_drink(EK_CONTAINER(it, struct ek_door_purse, link));
    }
    for (struct ek_link *it; (it = ek_list_first(&a->waiting)) != NULL;) {
        struct ek_door_purse *p = EK_CONTAINER(it, struct ek_door_purse, link);
        enum ek_door_paid paid = ek_door_purse_try(p);
        if (paid == EK_DOOR_UNPAID) break;
        if (paid == EK_DOOR_PAID) ek_door_purse_go_on(p);
    }
    ek_door_account_rests(a);
}

/* Only those that were dirty when it began: who becomes so meanwhile waits for the next. */
void ek_door_accounts_serve(struct ek_post *post)
{
    struct ek_door_money *m = EK_CONTAINER(post, struct ek_door_money, serve);
    MUST_OBJ(m, EK_DOOR_MONEY_MAGIC);
    for (size_t n = m->dirty.count; n > 0 && m->dirty.count > 0; n--) {
        struct money_account *a = EK_CONTAINER(ek_list_first(&m->dirty), struct money_account, dirty_link);
        ek_list_remove(&m->dirty, &a->dirty_link);
        serve(a);
    }
    if (m->dirty.count) ek_post_put(m->door->loop, &m->serve);
}

/* ---- leases ------------------------------------------------------------------------------------ */

static enum ek_status run_lease(struct ek_ledger *l, struct ek_store_op *op)
{
    struct money_job *j = EK_CONTAINER(op, struct money_job, op);
    enum ek_status s = EK_OK;
    if (j->first) s = ek_ledger_balance(l, j->of->id, &j->balance);
    return s == EK_OK ? ek_ledger_lease(l, j->of->id, j->want_nano, &j->lease) : s;
}

static void enter_book(struct money_account *a)
{
    struct ek_door_money *m = a->room;
    const struct ek_account_limits *l = ek_keyring_limits(m->keyring, a->id);
    const struct ek_balance *b = &a->job.balance;
    struct ek_book_limits limits = {.spent_day_nano = b->spent_day_nano,
                                    .spent_month_nano = b->spent_month_nano};
    if (l) {
        limits.day_nano = l->budget_day_nano;
        limits.month_nano = l->budget_month_nano;
    }
    a->entered = ek_book_account(m->book, a->id, &limits, ek_door_now(m->door)) == EK_OK;
}

static void fund(struct money_account *a, const struct ek_lease *lease)
{
    struct ek_door_money *m = a->room;
    if (a->fence && a->fence != lease->fence) ek_door_account_lose(a, a->fence); /* taken over meanwhile */
    enum ek_book_paid paid = ek_book_fund(m->book, a->id, ek_id_random(), lease->fence, lease->part);
    a->fence = lease->fence; /* booked or not, all of it goes back at rest */
    if (paid != EK_PAID) {
        a->failed_ns = now_of(a);
        ek_warn(m->door->log, "a lease is more than the book holds; it stays with the store");
        return;
    }
    m->count.leases++;
}

static void lease_came(struct ek_store_op *op)
{
    struct money_account *a = account_of(op);
    const struct money_job *j = &a->job;
    struct ek_door_money *m = a->room;
    a->busy = false;
    if (op->status == EK_OK && j->first) enter_book(a);
    if (op->status == EK_OK && a->entered) {
        a->looked_ns = now_of(a);
        a->empty_handed = ek_money_is_zero(j->lease.part);
        m->count.leases_empty += a->empty_handed;
        if (!a->empty_handed) fund(a, &j->lease);
        ek_book_elsewhere(m->book, a->id, j->lease.elsewhere_nano);
    } else {
        a->failed_ns = now_of(a);
    }
    ek_door_account_serve(a);
}

/* What those who wait need in all; *largest: of all there are. */
static int64_t needed(const struct money_account *a, int64_t *largest)
{
    int64_t sum = 0;
    const struct ek_list *both[] = {&a->waiting, &a->held};
    *largest = 1;
    for (size_t i = 0; i < EK_COUNT(both); i++) {
        EK_LIST_EACH(both[i], it) {
            const struct ek_door_purse *p = EK_CONTAINER(it, struct ek_door_purse, link);
            if (p->need_nano > *largest) *largest = p->need_nano;
            bool wants = p->state == PURSE_WAITING || p->thirsty;
            if (wants && sum < EK_MONEY_MAX / 4) sum += p->need_nano;
        }
    }
    return sum;
}

static int64_t times(int64_t nano, uint32_t n)
{
    return nano < EK_MONEY_MAX / 4 / n ? nano * n : EK_MONEY_MAX / 4;
}

/* And something ahead. */
static int64_t wanted(struct money_account *a, uint64_t now_ns)
{
    int64_t largest, sum = needed(a, &largest);
    uint32_t most = a->room->several ? EK_DOOR_LEASE_NEEDS_SHARED : EK_DOOR_LEASE_NEEDS_MAX;
    bool busy = a->looked_ns && ek_ns_since(now_ns, a->looked_ns) < EK_S_NS;
    if (busy && a->needs < most) a->needs *= 2;
    if (!busy && a->needs > EK_DOOR_LEASE_NEEDS) a->needs /= 2;
    return sum + times(largest, a->needs);
}

bool ek_door_account_lease(struct money_account *a)
{
    struct ek_door_money *m = a->room;
    uint64_t now_ns = now_of(a);
    if (a->busy || a->giving) return true;
    if (m->closing || !ek_store_here(m->store)) return false;
    bool soon = a->failed_ns && ek_ns_since(now_ns, a->failed_ns) < RETRY_NS;
    bool again = a->empty_handed && ek_ns_since(now_ns, a->looked_ns) < EK_DOOR_LOOK_NS;
    if (soon || again) return true; /* the tick asks again */
    a->job.first = !a->entered;
    a->job.want_nano = wanted(a, now_ns);
    a->busy = ek_store_do(m->store, &a->job.op, run_lease, lease_came) == EK_OK;
    a->rest_ns = 0;
    return a->busy;
}

/* ---- given back -------------------------------------------------------------------------------- */

static enum ek_status run_give(struct ek_ledger *l, struct ek_store_op *op)
{
    struct money_job *j = EK_CONTAINER(op, struct money_job, op);
    return ek_ledger_give(l, j->of->id, j->fence, j->part, ek_money_is_zero(j->part));
}

static void part_given(struct ek_store_op *op)
{
    struct money_account *a = account_of(op);
    a->busy = false; /* had it failed: the store has it in the lease, and all of that goes back at rest */
    a->room->count.given += op->status == EK_OK;
    ek_door_account_serve(a);
}

/* Another door may be waiting for what lies here unused, and there is no way to ask: so it goes back now and
 * then, down to what is leased ahead at first. */
static void give_surplus(struct money_account *a, uint64_t now_ns)
{
    struct ek_door_money *m = a->room;
    struct ek_book_state book;
    int64_t largest, sum = needed(a, &largest), keep = times(largest, EK_DOOR_LEASE_NEEDS);
    if (a->busy || !a->fence || sum || ek_ns_since(now_ns, a->surplus_ns) < EK_DOOR_SURPLUS_NS) return;
    if (!ek_book_look(m->book, a->id, &book) || !ek_store_here(m->store)) return;
    int64_t free_nano = ek_money_sum(book.pocket[EK_POCKET_FREE]);
    if (free_nano <= 2 * keep) return;
    a->surplus_ns = now_ns;
    a->job.fence = a->fence;
    a->job.part = ek_book_withdraw(m->book, a->id, free_nano - keep);
    if (ek_money_is_zero(a->job.part)) return;
    a->busy = ek_store_do(m->store, &a->job.op, run_give, part_given) == EK_OK;
}

static void given(struct ek_store_op *op)
{
    struct money_account *a = account_of(op);
    a->busy = false;
    if (op->status != EK_OK && op->status != EK_ABSENT) {
        a->failed_ns = now_of(a); /* not known: asked again before anything else is done with the account */
        return;
    }
    a->giving = false;
    a->fence = 0;
    a->room->count.given++;
    if (is_idle(a)) forget(a);
    else ek_door_account_serve(a); /* somebody came meanwhile */
}

static void give(struct money_account *a)
{
    struct ek_door_money *m = a->room;
    if (a->busy || !ek_store_here(m->store)) return;
    if (!a->fence) {
        forget(a);
        return;
    }
    if (!a->giving) {
        struct ek_money rest = ek_book_withdraw_all(m->book, a->id);
        (void)rest; /* the store knows what is left of its lease */
        a->giving = true;
    }
    a->job.fence = a->fence;
    a->job.part = (struct ek_money){0, 0};
    a->busy = ek_store_do(m->store, &a->job.op, run_give, given) == EK_OK;
}

void ek_door_accounts_tick(struct ek_door_money *m)
{
    uint64_t now_ns = ek_door_now(m->door).mono_ns;
    uint64_t patience_ns = m->door->draining ? 0 : EK_DOOR_REST_NS;
    EK_LIST_EACH(&m->all, it) {
        struct money_account *a = EK_CONTAINER(it, struct money_account, link);
        bool rested = a->rest_ns && ek_ns_since(now_ns, a->rest_ns) >= patience_ns;
        bool idle = is_idle(a);
        if (a->giving || (rested && idle)) {
            give(a); /* it may be gone */
            continue;
        }
        if (!idle) ek_door_account_serve(a);
        if (m->several && a->held.count) give_surplus(a, now_ns);
    }
}

void ek_door_accounts_close(struct ek_door_money *m)
{
    EK_LIST_EACH(&m->all, it) {
        struct money_account *a = EK_CONTAINER(it, struct money_account, link);
        MUST(a->waiting.count == 0 && a->held.count == 0);
        if (is_idle(a) && !a->busy) give(a); /* else it is taken back at the next start */
    }
}

void ek_door_accounts_free(struct ek_door_money *m)
{
    EK_LIST_EACH(&m->all, it) {
        struct money_account *a = EK_CONTAINER(it, struct money_account, link);
        a->settling = 0; /* those that never reached the store */
        forget(a);
    }
    MUST(m->all.count == 0 && m->dirty.count == 0);
}

/* ---- renewed, and lost ------------------------------------------------------------------------- */

static enum ek_status run_renewal(struct ek_ledger *l, struct ek_store_op *op)
{
    struct money_renewal *r = EK_CONTAINER(op, struct money_renewal, op);
    enum ek_status s = EK_OK;
    for (size_t at = 0; s == EK_OK && at < r->count; at += EK_LEDGER_BATCH_MAX) {
        size_t n = r->count - at < EK_LEDGER_BATCH_MAX ? r->count - at : EK_LEDGER_BATCH_MAX;
        s = ek_ledger_renew(l, r->account + at, r->fence + at, n, r->valid + at);
    }
    return s;
}

static void drop_renewal(struct ek_door_money *m)
{
    free(m->renewal.account);
    free(m->renewal.fence);
    free(m->renewal.valid);
    m->renewal.account = m->renewal.fence = NULL;
    m->renewal.valid = NULL;
    m->renewing = false;
}

static void renewed(struct ek_store_op *op)
{
    struct money_renewal *r = EK_CONTAINER(op, struct money_renewal, op);
    struct ek_door_money *m = r->room;
    MUST_OBJ(m, EK_DOOR_MONEY_MAGIC);
    for (size_t i = 0; op->status == EK_OK && i < r->count; i++) {
        struct money_account *a = ek_map_find(&m->accounts, hash_of(m, r->account[i]), same_account,
                                              &r->account[i]);
        if (r->valid[i]) m->count.renewed++;
        else if (a && a->fence == r->fence[i] && !a->giving) ek_door_account_lose(a, a->fence);
    }
    drop_renewal(m);
}

void ek_door_accounts_renew(struct ek_door_money *m)
{
    struct money_renewal *r = &m->renewal;
    if (m->renewing || m->all.count == 0 || !ek_store_here(m->store)) return;
    r->account = calloc(m->all.count, sizeof *r->account);
    r->fence = calloc(m->all.count, sizeof *r->fence);
    r->valid = calloc(m->all.count, sizeof *r->valid);
    r->count = 0;
    if (!r->account || !r->fence || !r->valid) {
        drop_renewal(m); /* settlements renew, too; and the next time there may be memory */
        return;
    }
    EK_LIST_EACH(&m->all, it) {
        const struct money_account *a = EK_CONTAINER(it, struct money_account, link);
        if (!a->fence || a->giving) continue;
        r->account[r->count] = a->id;
        r->fence[r->count++] = a->fence;
    }
    m->renewing = r->count > 0 && ek_store_do(m->store, &r->op, run_renewal, renewed) == EK_OK;
    if (!m->renewing) drop_renewal(m);
}

void ek_door_account_lose(struct money_account *a, uint64_t fence)
{
    struct ek_door_money *m = a->room;
    if (a->fence != fence || !fence) return;
    ek_book_lose(m->book, a->id, fence);
    a->fence = 0;
    m->count.lost++;
    ek_warn(m->door->log, "a lease was lost: this door was away for longer than ledger.lease, or another "
            "has its name");
    EK_LIST_EACH(&a->held, it) {
        struct ek_door_purse *p = EK_CONTAINER(it, struct ek_door_purse, link);
        p->late = p->pays; /* others had nothing of it */
    }
    for (struct ek_link *it = ek_list_first(&a->held); it;) { /* ending one may end others: begin anew */
        struct ek_door_purse *p = EK_CONTAINER(it, struct ek_door_purse, link);
        struct ek_door_request *r = p->r;
        it = ek_list_next(&a->held, it);
        if (!r || !p->late || !ek_door_is_running(r)) continue;
        ek_door_refuse_reason(r, EK_REASON_LEASE_LOST, NULL);
        it = ek_list_first(&a->held);
    }
    ek_door_account_serve(a);
}
