/* SPDX-License-Identifier: MIT */
/* The stored ledger, each test on SQLite and on a private PostgreSQL: the same code, the same results. */
#include "cm.h"

#include "base/random.h"
#include "ledger/book.h"
#include "ledger/ledger.h"
#include "ledger/migrate.h"
#include "pg_cluster.h"

struct place {
    bool postgres, missing;
    struct pg_cluster *cluster;
    char dir[64], url[256];
};

static struct pg_cluster cluster;

static void fresh(struct place *p) /* an empty database */
{
    if (p->postgres) {
        pg_database(&cluster, "ledger", p->url, sizeof p->url);
        return;
    }
    snprintf(p->dir, sizeof p->dir, "/tmp/ek-ledger-XXXXXX");
    MUST(mkdtemp(p->dir));
    snprintf(p->url, sizeof p->url, "%s/ledger.db", p->dir);
}

static void clear(struct place *p)
{
    char command[128];
    if (!p->dir[0]) return;
    snprintf(command, sizeof command, "rm -rf %s", p->dir);
    assert_int_equal(system(command), 0);
    p->dir[0] = '\0';
}

static struct ek_ledger *open_as(const struct place *p, const char *door, uint64_t lease_ns)
{
    char why[256];
    struct ek_ledger *l = NULL;
    struct ek_ledger_options o = {.url = p->url, .door = door, .lease_ns = lease_ns};
    enum ek_status s = ek_ledger_open(&o, &l, why, sizeof why);
    if (s != EK_OK) printf("%s\n", why);
    assert_int_equal(s, EK_OK);
    return l;
}

static void must_balance(struct ek_ledger *l)
{
    struct ek_audit a;
    assert_int_equal(ek_ledger_audit(l, &a), EK_OK);
    if (a.wrong) printf("%s\n", a.first);
    assert_int_equal(a.wrong, 0);
    assert_int_equal(a.balance_nano + a.leased_nano + a.spent_nano, a.paid_nano);
}

static struct ek_settle_record record(uint64_t request, uint64_t account, uint64_t fence,
                                      int64_t granted,
                                      int64_t topped)
{
    return (struct ek_settle_record){.request = {7, request}, .account = account, .fence = fence,
                                     .key = 3,
                                     .charged = {granted, topped}, .at_unix_ns = ek_clock_read().unix_ns,
                                     .prompt_tokens = 10, .output_tokens = 20, .model = "m'); DROP TABLE x",
                                     .ending = "none"};
}

static struct ek_settle_outcome settle_one(struct ek_ledger *l, struct ek_settle_record r)
{
    const struct ek_settle_record *one = &r;
    struct ek_settle_outcome out;
    assert_int_equal(ek_ledger_settle(l, &one, 1, &out), EK_OK);
    return out;
}

static uint64_t account_with(struct ek_ledger *l, const char *name, int64_t granted, int64_t topped)
{
    uint64_t id;
    bool before;
    assert_int_equal(ek_ledger_account_add(l, name, "default", &id), EK_OK);
    struct ek_money m = {granted, topped};
    assert_int_equal(ek_ledger_pay(l, ek_id_random(), id, m, "first", &before), EK_OK);
    return id;
}

static void a_life(void **state)
{
    struct place *p = *state;
    if (p->missing) skip();
    fresh(p);
    struct ek_ledger *l = open_as(p, "a", 60 * EK_S_NS);
    uint64_t id = account_with(l, "ann", 30, 1000), same;
    assert_int_equal(ek_ledger_account_add(l, "ann", "default", &same), EK_INVALID);
    assert_false(ek_ledger_lost(l)); /* a refusal is an answer */
    assert_int_equal(ek_ledger_account_find(l, "ann", &same), EK_OK);
    assert_int_equal(same, id);
    assert_int_equal(ek_ledger_account_find(l, "bob' OR 1=1", &same), EK_ABSENT);

    struct ek_lease lease, more;
    assert_int_equal(ek_ledger_lease(l, id, 200, &lease), EK_OK);
    assert_int_equal(lease.part.granted_nano, 30);
    assert_int_equal(lease.part.topped_nano, 170);
    assert_int_equal(lease.elsewhere_nano, 830);
    assert_int_equal(lease.balance_nano, 1030);
    assert_int_equal(ek_ledger_lease(l, id, 100, &more), EK_OK);
    assert_int_equal(more.fence, lease.fence);
    assert_int_equal(ek_ledger_lease(l, id + 1, 100, &more), EK_ABSENT);

    struct ek_settle_outcome o = settle_one(l, record(1, id, lease.fence, 30, 50));
    assert_false(o.before || o.late);
    o = settle_one(l, record(1, id, lease.fence, 30, 50));
    assert_true(o.before);
    struct ek_settle_record found;
    assert_int_equal(ek_ledger_request(l, (struct ek_id){7, 1}, &found, &o), EK_OK);
    assert_int_equal(found.charged.topped_nano, 50);
    assert_string_equal(found.model, "m'); DROP TABLE x");
    assert_int_equal(ek_ledger_request(l, (struct ek_id){7, 2}, &found, &o), EK_ABSENT);
    must_balance(l);

    assert_int_equal(ek_ledger_give(l, id, lease.fence, (struct ek_money){0, 100}, false), EK_OK);
    struct ek_balance b;
    assert_int_equal(ek_ledger_balance(l, id, &b), EK_OK);
    assert_int_equal(ek_money_sum(b.free), 830);
    assert_int_equal(ek_money_sum(b.leased), 120);
    assert_int_equal(b.spent_nano, 80);
    assert_int_equal(b.spent_day_nano, 80);
    assert_int_equal(b.spent_month_nano, 80);
    assert_int_equal(ek_ledger_give(l, id, lease.fence, (struct ek_money){0, 0}, true), EK_OK);
    assert_int_equal(ek_ledger_give(l, id, lease.fence, (struct ek_money){0, 0}, true), EK_ABSENT);
    must_balance(l);

    struct ek_money back;
    struct ek_id why = ek_id_random();
    assert_int_equal(ek_ledger_refund(l, why, (struct ek_id){7, 1}, 60, "sorry", &back), EK_OK);
    assert_true(back.topped_nano == 50 && back.granted_nano == 10);
    assert_int_equal(ek_ledger_refund(l, why, (struct ek_id){7, 1}, 60, "sorry", &back), EK_OK);
    assert_int_equal(ek_money_sum(back), 0);
    assert_int_equal(ek_ledger_refund(l, ek_id_random(), (struct ek_id){7, 1}, 60, "again", &back),
                     EK_OK);
    assert_int_equal(ek_money_sum(back), 20); /* what was left of the charge */
    must_balance(l);
    ek_ledger_close(&l);
    clear(p);
}

static void payments_are_idempotent(void **state)
{
    struct place *p = *state;
    if (p->missing) skip();
    fresh(p);
    struct ek_ledger *l = open_as(p, "a", 60 * EK_S_NS);
    uint64_t id = account_with(l, "ann", 0, 100);
    struct ek_id name = ek_id_random();
    bool before;
    struct ek_money m = {0, 50};
    assert_int_equal(ek_ledger_pay(l, name, id, m, "", &before), EK_OK);
    assert_false(before);
    assert_int_equal(ek_ledger_pay(l, name, id, m, "", &before), EK_OK);
    assert_true(before);
    m.topped_nano = 51; /* the same name for something else */
    assert_int_equal(ek_ledger_pay(l, name, id, m, "", &before), EK_INVALID);
    m = (struct ek_money){0, -200}; /* more than there is cannot be taken back */
    assert_int_equal(ek_ledger_pay(l, ek_id_random(), id, m, "", &before), EK_INVALID);
    m = (struct ek_money){INT64_MAX, 0};
    assert_int_equal(ek_ledger_pay(l, ek_id_random(), id, m, "", &before), EK_INVALID);
    m = (struct ek_money){0, 1};
    assert_int_equal(ek_ledger_pay(l, ek_id_random(), 12345, m, "", &before), EK_ABSENT);
    struct ek_balance b;
    assert_int_equal(ek_ledger_balance(l, id, &b), EK_OK);
    assert_int_equal(b.paid_nano, 150);
    must_balance(l);
    ek_ledger_close(&l);
    clear(p);
}

static void a_whole_batch(void **state)
{
    struct place *p = *state;
    if (p->missing) skip();
    fresh(p);
    struct ek_ledger *l = open_as(p, "a", 60 * EK_S_NS);
    uint64_t id[5], fence[5];
    char name[8];
    for (int k = 0; k < 5; k++) {
        struct ek_lease lease;
        snprintf(name, sizeof name, "p%d", k);
        id[k] = account_with(l, name, 100, 10000);
        assert_int_equal(ek_ledger_lease(l, id[k], 5000, &lease), EK_OK);
        fence[k] = lease.fence;
    }
    struct ek_settle_record r[EK_LEDGER_BATCH_MAX];
    const struct ek_settle_record *at[EK_LEDGER_BATCH_MAX];
    struct ek_settle_outcome o[EK_LEDGER_BATCH_MAX];
    for (uint64_t i = 0; i < EK_LEDGER_BATCH_MAX; i++) {
        r[i] = record(i % 200, id[i % 5], fence[i % 5] + (i % 10 == 4), 1,
                      2); /* 56 twice; a tenth late */
        r[i].key = i % 3;
        snprintf(r[i].model, sizeof r[i].model, "m%llu", (unsigned long long)(i % 2));
        at[i] = &r[i];
    }
    r[0].request.lo = 1000; /* 0 is a name like any other, but keep the repeats whole */
    r[200].request.lo = 1000;
    assert_int_equal(ek_ledger_settle(l, at, EK_LEDGER_BATCH_MAX, o), EK_OK);
    uint32_t before = 0, late = 0;
    for (int i = 0; i < (int)EK_LEDGER_BATCH_MAX; i++) {
        before += o[i].before;
        late += o[i].late;
        assert_int_equal(o[i].late, i % 10 == 4 && !o[i].before);
    }
    assert_int_equal(before, 56);
    assert_int_equal(late, 20);
    struct ek_audit a;
    must_balance(l);
    assert_int_equal(ek_ledger_audit(l, &a), EK_OK);
    assert_int_equal(a.settlements, 200);
    assert_int_equal(a.spent_nano, 600);
    ek_ledger_close(&l);
    clear(p);
}

/* Two doors read the store's clock each for itself, and may differ by a millisecond: a lease of a
 * nanosecond
 * is over for the one a little before it is for the other. */
static void lease_when_over(struct ek_ledger *l, uint64_t id, int64_t nano, struct ek_lease *out)
{
    do assert_int_equal(ek_ledger_lease(l, id, nano, out), EK_OK);
    while (ek_money_sum(out->part) == 0);
}

static void two_doors(void **state)
{
    struct place *p = *state;
    if (p->missing) skip();
    fresh(p);
    struct ek_ledger *a = open_as(p, "a", 1), *b = open_as(p, "b", 1); /* leases of a nanosecond */
    uint64_t id = account_with(a, "ann", 0, 100);
    struct ek_lease la, lb;
    assert_int_equal(ek_ledger_lease(a, id, 1000, &la), EK_OK);
    assert_int_equal(la.part.topped_nano, 100);
    lease_when_over(b, id, 60, &lb); /* a is frozen: its lease is taken over */
    assert_int_equal(lb.part.topped_nano, 60);
    assert_true(lb.fence > la.fence);
    bool valid;
    assert_int_equal(ek_ledger_renew(a, &id, &la.fence, 1, &valid), EK_OK);
    assert_false(valid);
    assert_int_equal(ek_ledger_renew(b, &id, &lb.fence, 1, &valid), EK_OK);
    assert_true(valid);
    struct ek_settle_outcome o = settle_one(a, record(1, id, la.fence, 0, 70)); /* wakes, and settles */
    assert_true(o.late);
    assert_int_equal(o.charged.topped_nano, 40); /* what is free, and no more */
    assert_int_equal(ek_ledger_give(a, id, la.fence, (struct ek_money){0, 5}, false), EK_ABSENT);
    must_balance(a);
    struct ek_balance bal;
    assert_int_equal(ek_ledger_balance(a, id, &bal), EK_OK);
    assert_int_equal(bal.forgiven_nano, 30);
    assert_int_equal(ek_money_sum(bal.free), 0);
    lease_when_over(a, id, 10, &la); /* b expired in its turn */
    assert_int_equal(la.part.topped_nano, 10);
    ek_ledger_close(&b);
    b = open_as(p, "a", 60 * EK_S_NS); /* a's next life */
    assert_int_equal(ek_ledger_take_back(b), EK_OK);
    assert_int_equal(ek_ledger_balance(b, id, &bal), EK_OK);
    assert_int_equal(bal.leases, 0);
    assert_int_equal(ek_money_sum(bal.free), 60);
    must_balance(b);
    ek_ledger_close(&a);
    ek_ledger_close(&b);
    clear(p);
}

static void living_leases_are_left_alone(void **state)
{
    struct place *p = *state;
    if (p->missing) skip();
    fresh(p);
    struct ek_ledger *a = open_as(p, "a", 3600 * EK_S_NS), *b = open_as(p, "b", 3600 * EK_S_NS);
    uint64_t id = account_with(a, "ann", 0, 100);
    struct ek_lease la, lb;
    assert_int_equal(ek_ledger_lease(a, id, 70, &la), EK_OK);
    assert_int_equal(ek_ledger_lease(b, id, 70, &lb), EK_OK);
    assert_int_equal(lb.part.topped_nano, 30);
    assert_int_equal(lb.elsewhere_nano, 70);
    assert_int_equal(ek_ledger_lease(b, id, 70, &lb), EK_OK);
    assert_int_equal(ek_money_sum(lb.part), 0);
    assert_int_equal(lb.elsewhere_nano, 70);
    assert_int_equal(lb.balance_nano, 100);
    ek_ledger_close(&a);
    ek_ledger_close(&b);
    clear(p);
}

static void versions(void **state)
{
    struct place *p = *state;
    if (p->missing) skip();
    fresh(p);
    struct ek_ledger *l = open_as(p, "a", 1);
    ek_ledger_close(&l);
    l = open_as(p, "a", 1); /* migrated once only */
    struct ek_sql_value v = ek_sql_number(ek_migrate_newest() + 1);
    assert_int_equal(ek_sql_run(ek_ledger_sql(l), "INSERT INTO ledger_version VALUES ($1)", &v, 1,
                                NULL, NULL),
                     EK_OK);
    ek_ledger_close(&l);
    char why[256];
    struct ek_ledger_options o = {.url = p->url, .door = "a", .lease_ns = 1};
    assert_int_equal(ek_ledger_open(&o, &l, why, sizeof why), EK_INVALID);
    assert_non_null(strstr(why, "use the newer program"));
    o.url = "mysql://somewhere";
    assert_int_equal(ek_ledger_open(&o, &l, why, sizeof why), EK_INVALID);
    o.url = "/nowhere/at/all.db";
    assert_int_equal(ek_ledger_open(&o, &l, why, sizeof why), EK_IO);
    o.url = "postgresql://nobody@/x?host=/nowhere";
    assert_int_equal(ek_ledger_open(&o, &l, why, sizeof why), EK_IO);
    clear(p);
}

/* Random steps of three doors beside what must come out: every payment, each request once.
 * long: the steps are one switch. */
static void random_steps(void **state)
{
    struct place *p = *state;
    if (p->missing) skip();
    uint64_t seed = getenv("EK_SEED") ? strtoull(getenv("EK_SEED"), NULL, 10) : 4;
    printf("seed %llu\n", (unsigned long long)seed);
    struct ek_random rng = ek_random_make(seed);
    fresh(p);
    struct ek_ledger *door[3];
    const char *names[3] = {"a", "b", "c"};
    uint64_t id[4];
    int64_t paid[4], leased[3][4] = {{0}};
    uint64_t fence[3][4] = {{0}}, late = 0, before = 0, lost = 0;
    for (int d = 0; d < 3; d++) door[d] = open_as(p, names[d], d == 2 ? 1 : 3600 * EK_S_NS);
    for (int k = 0; k < 4; k++) {
        paid[k] = 500 + (int64_t)ek_random_below(&rng, 500);
        id[k] = account_with(door[0], (const char[]){(char)('p' + k), 0}, 100, paid[k] - 100);
    }
    for (int i = 0; i < 600; i++) {
        int d = (int)ek_random_below(&rng, 3), k = (int)ek_random_below(&rng, 4);
        int64_t nano = (int64_t)ek_random_below(&rng, 60);
        struct ek_ledger *l = door[d];
        switch (ek_random_below(&rng, 8)) {
        case 0: {
            bool again;
            struct ek_money m = {nano, 0};
            enum ek_status s = ek_ledger_pay(l, (struct ek_id){1, ek_random_below(&rng, 300)},
                                             id[k], m, "",
                                             &again);
            assert_true(s == EK_OK || s == EK_INVALID); /* a name drawn twice, for two things */
            break;
        }
        case 1: case 2: {
            struct ek_lease lease;
            assert_int_equal(ek_ledger_lease(l, id[k], nano * 3, &lease), EK_OK);
            if (lease.fence != fence[d][k] && !ek_money_is_zero(lease.part)) leased[d][k] = 0;
            if (!ek_money_is_zero(lease.part)) fence[d][k] = lease.fence;
            leased[d][k] += ek_money_sum(lease.part);
            break;
        }
        case 3: {
            bool all = ek_random_below(&rng, 2) || leased[d][k] < nano;
            enum ek_status s = ek_ledger_give(l, id[k], fence[d][k], (struct ek_money){0, nano}, all);
            lost += s == EK_ABSENT;
            leased[d][k] = s == EK_ABSENT || all ? 0 : leased[d][k] - nano;
            break;
        }
        default: {
            struct ek_settle_record r = record(1 + ek_random_below(&rng, 250), id[k], fence[d][k],
                                               0, nano);
            struct ek_settle_outcome o = settle_one(l, r);
            late += o.late;
            before += o.before;
            if (!o.before && !o.late) leased[d][k] -= nano;
        }
        }
        if (i % 50 == 0) must_balance(l);
    }
    must_balance(door[0]);
    printf("late %llu, before %llu, lost %llu\n", (unsigned long long)late, (unsigned long long)before,
           (unsigned long long)lost);
    assert_true(late > 5 && before > 5 && lost > 5);
    for (int d = 0; d < 3; d++) {
        assert_int_equal(ek_ledger_take_back(door[d]), EK_OK);
        must_balance(door[d]);
    }
    struct ek_audit a;
    assert_int_equal(ek_ledger_audit(door[0], &a), EK_OK);
    assert_int_equal(a.leased_nano, 0);
    for (int d = 0; d < 3; d++) ek_ledger_close(&door[d]);
    clear(p);
}

/* ---- several doors at once, each a process --------------------------------------------------- */

#define CROWD_DOORS 3
#define CROWD_BATCHES 12u
#define CROWD_BATCH 50u

static void settle_a_lot(const struct place *p, int door, const uint64_t id[4])
{
    uint64_t fence[4];
    struct ek_ledger *l = open_as(p, (const char[]){(char)('a' + door), 0}, 3600 * EK_S_NS);
    for (int k = 0; k < 4; k++) {
        struct ek_lease lease;
        MUST(ek_ledger_lease(l, id[k], 100000, &lease) == EK_OK);
        fence[k] = lease.fence;
    }
    for (uint32_t round = 0; round < CROWD_BATCHES; round++) {
        struct ek_settle_record r[CROWD_BATCH];
        const struct ek_settle_record *at[CROWD_BATCH];
        struct ek_settle_outcome o[CROWD_BATCH];
        for (uint32_t i = 0; i < CROWD_BATCH; i++) {
            uint32_t k = (i + (uint32_t)door) % 4; /* each in another order */
            r[i] = record(round * CROWD_BATCH + i, id[k], fence[k], 0, 2);
            r[i].request.hi = 100 + (uint64_t)door;
            at[i] = &r[i];
        }
        MUST(ek_ledger_settle(l, at, CROWD_BATCH, o) == EK_OK);
        for (uint32_t i = 0; i < CROWD_BATCH; i++) MUST(!o[i].before && !o[i].late);
    }
    ek_ledger_close(&l);
}

static void doors_at_once(void **state)
{
    struct place *p = *state;
    if (p->missing) skip();
    fresh(p);
    struct ek_ledger *l = open_as(p, "parent", 3600 * EK_S_NS);
    uint64_t id[4];
    pid_t child[CROWD_DOORS];
    for (int k = 0; k < 4; k++) id[k] = account_with(l, (const char[]){(char)('p' + k), 0}, 0, 1000000);
    ek_ledger_close(&l);
    fflush(stdout);
    for (int d = 0; d < CROWD_DOORS; d++) {
        child[d] = fork();
        MUST(child[d] >= 0);
        if (child[d]) continue;
        settle_a_lot(p, d, id);
        _exit(0);
    }
    for (int d = 0; d < CROWD_DOORS; d++) {
        int how;
        assert_int_equal(waitpid(child[d], &how, 0), child[d]);
        assert_int_equal(how, 0);
    }
    l = open_as(p, "parent", 3600 * EK_S_NS);
    struct ek_audit a;
    must_balance(l);
    assert_int_equal(ek_ledger_audit(l, &a), EK_OK);
    assert_int_equal(a.settlements, CROWD_DOORS * CROWD_BATCHES * CROWD_BATCH);
    assert_int_equal(a.spent_nano, CROWD_DOORS * CROWD_BATCHES * CROWD_BATCH * 2);
    ek_ledger_close(&l);
    clear(p);
}

/* ---- PostgreSQL's one statement does what SQLite's many do ------------------------------------ */

#define TEXT_BYTES (1u << 20)

struct text {
    char *at;
    size_t len;
};

static void dump_row(void *arg, const struct ek_sql_value *c, size_t count)
{
    struct text *t = arg;
    for (size_t i = 0; i < count; i++) {
        MUST(t->len + 600 < TEXT_BYTES);
        if (c[i].type == EK_SQL_NUMBER) {
            t->len += (size_t)snprintf(t->at + t->len, 32, "%lld ", (long long)c[i].number);
            continue;
        }
        for (size_t k = 0; k < c[i].bytes.len; k++)
            t->len += (size_t)snprintf(t->at + t->len, 4, "%02x", (uint8_t)c[i].bytes.data[k]);
        t->at[t->len++] = ' ';
    }
    t->at[t->len++] = '\n';
}

static void dump(struct ek_ledger *l, struct text *t)
{
    static const char *const tables[] = {
        "SELECT * FROM settlement ORDER BY request",
        "SELECT * FROM usage_day ORDER BY account, day, key, model",
        "SELECT account, door, fence, granted_nano, topped_nano FROM lease ORDER BY account, door",
        "SELECT id, granted_nano, topped_nano, paid_nano, spent_nano FROM account ORDER BY id",
        "SELECT id, forgiven_nano FROM account ORDER BY id",
    };
    for (size_t i = 0; i < EK_COUNT(tables); i++)
        assert_int_equal(ek_sql_run(ek_ledger_sql(l), tables[i], NULL, 0, dump_row, t), EK_OK);
}

static void random_batch(struct ek_ledger *l, struct ek_random *rng, const uint64_t fence[6], struct text
    *t)
{
    struct ek_settle_record r[EK_LEDGER_BATCH_MAX];
    const struct ek_settle_record *at[EK_LEDGER_BATCH_MAX];
    struct ek_settle_outcome o[EK_LEDGER_BATCH_MAX];
    size_t count = 1 + ek_random_below(rng, ek_random_below(rng, 2) ? EK_LEDGER_BATCH_MAX : 4);
    for (size_t i = 0; i < count; i++) {
        uint64_t n = ek_random_below(rng, 2000), k = n % 6; /* of one name all is the same */
        uint64_t old = n % 23 == 5;
        r[i] = record(n + 1, k + 1, fence[k] - old, (int64_t)(n % 3), (int64_t)(n % 7));
        r[i].at_unix_ns = UINT64_C(1763683200) * EK_S_NS + n % 4 * 86400 * EK_S_NS + n;
        r[i].forgiven_nano = n % 11 == 0 ? 4 : 0;
        r[i].key = n % 3;
        r[i].user_hash = n % 2 ? UINT64_MAX - n : 0;
        snprintf(r[i].model, sizeof r[i].model, "%s", n % 5 ? "demo" : n % 2 ? "" : "caf\xc3\xa9");
        at[i] = &r[i];
    }
    assert_int_equal(ek_ledger_settle(l, at, count, o), EK_OK);
    for (size_t i = 0; i < count; i++) {
        struct ek_sql_value v[] = {ek_sql_number(o[i].before), ek_sql_number(o[i].late),
                                   ek_sql_number(o[i].charged.granted_nano),
                                   ek_sql_number(o[i].charged.topped_nano)};
        if (o[i].before) v[2] = v[3] = ek_sql_number(0); /* which of two repeats in a batch it is may
            differ */
        dump_row(t, v, EK_COUNT(v));
    }
}

static void settle_at_random(struct place *p, uint64_t seed, struct text *t)
{
    struct ek_random rng = ek_random_make(seed);
    uint64_t fence[6];
    fresh(p);
    struct ek_ledger *l = open_as(p, "a", 3600 * EK_S_NS);
    for (uint64_t k = 0; k < 6; k++) {
        bool before;
        struct ek_lease lease;
        char name[8];
        snprintf(name, sizeof name, "p%llu", (unsigned long long)k);
        struct ek_sql_value v[] = {ek_sql_number((int64_t)k + 1), ek_sql_cstr(name)};
        assert_int_equal(ek_sql_run(ek_ledger_sql(l), "INSERT INTO account (id, name, tier, created_ns)"
                                    " VALUES ($1, $2, 'default', 0)", v, 2, NULL, NULL), EK_OK);
        struct ek_money m = {1000, k < 5 ? 100000 : 3000};
        assert_int_equal(ek_ledger_pay(l, ek_id_random(), k + 1, m, "", &before), EK_OK);
        assert_int_equal(ek_ledger_lease(l, k + 1, k < 5 ? 50000 : 4000, &lease), EK_OK);
        fence[k] = lease.fence;
    }
    for (int i = 0; i < 25; i++) {
        random_batch(l, &rng, fence, t);
        if (i == 12) assert_int_equal(ek_ledger_give(l, 2, fence[1], (struct ek_money){0, 0}, true), EK_OK);
    }
    must_balance(l);
    dump(l, t);
    ek_ledger_close(&l);
    clear(p);
}

static void both_agree(void **state)
{
    struct place *both = *state;
    if (both[1].missing) skip();
    uint64_t seed = getenv("EK_SEED") ? strtoull(getenv("EK_SEED"), NULL, 10) : 11;
    for (uint64_t i = 0; i < 3; i++) {
        struct text t[2];
        for (int k = 0; k < 2; k++) {
            t[k] = (struct text){.at = malloc(TEXT_BYTES)};
            MUST(t[k].at);
            settle_at_random(&both[k], seed + i, &t[k]);
        }
        printf("seed %llu: %zu bytes of rows\n", (unsigned long long)(seed + i), t[0].len);
        assert_true(t[0].len == t[1].len && memcmp(t[0].at, t[1].at, t[0].len) == 0);
        free(t[0].at);
        free(t[1].at);
    }
}

static struct place places[2] = {{.postgres = false}, {.postgres = true}};

#define BOTH(f) \
    {#f " on SQLite", f, NULL, NULL, &places[0]}, \
    {#f " on PostgreSQL", f, NULL, NULL, &places[1]}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_life), BOTH(payments_are_idempotent), BOTH(a_whole_batch), BOTH(two_doors),
        BOTH(living_leases_are_left_alone), BOTH(versions), BOTH(random_steps),
        BOTH(doors_at_once), {"both_agree", both_agree, NULL, NULL, places},
    };
    places[1].missing = !pg_start(&cluster);
    int failed = cmocka_run_group_tests_name("ledger_ledger", tests, NULL, NULL);
    pg_stop(&cluster);
    return failed;
}
