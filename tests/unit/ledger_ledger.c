/* SPDX-License-Identifier: MIT */
/* The stored ledger, each test on SQLite and on a private PostgreSQL: the same code, the same results. */
#include "cm.h"

#include "base/random.h"
#include "ledger/book.h"
#include "ledger/ledger.h"
#include "ledger/migrate.h"
#include "ledger_place.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* A long audit beside a door that writes: neither keeps the other waiting. */
static void an_audit_waits_for_nobody(void **state)
{
    struct place *p = *state;
    if (p->missing) skip();
    fresh(p);
    struct ek_ledger *a = open_as(p, "a", 60 * EK_S_NS), *b = open_as(p, "b", 60 * EK_S_NS);
    uint64_t id = account_with(a, "ann", 0, 100);
    struct ek_lease lease;
    assert_int_equal(ek_sql_begin(ek_ledger_sql(b)), EK_OK);
    assert_int_equal(ek_ledger_lease(b, id, 70, &lease), EK_OK); /* in the middle of b's transaction */
    must_balance(a);
    assert_int_equal(ek_sql_begin_reading(ek_ledger_sql(a)), EK_OK);
    struct ek_balance seen;
    assert_int_equal(ek_ledger_balance(a, id, &seen), EK_OK);
    assert_int_equal(ek_sql_commit(ek_ledger_sql(b)), EK_OK);
    assert_int_equal(ek_ledger_balance(a, id, &seen), EK_OK);
    assert_int_equal(ek_money_sum(seen.free), 100); /* still of the moment it began in */
    assert_int_equal(ek_sql_commit(ek_ledger_sql(a)), EK_OK);
    assert_int_equal(ek_ledger_balance(a, id, &seen), EK_OK);
    assert_int_equal(ek_money_sum(seen.free), 30);
    ek_ledger_close(&a);
    ek_ledger_close(&b);
    clear(p);
}

/* Another program asks whether anybody holds the database file. */
static bool somebody_holds(const char *path)
{
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0x40000000, .l_len = 512};
        int fd = open(path, O_RDWR);
        _exit(fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? 1 : 0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

/* A process that closes any descriptor of a file loses its locks on it. Once a second connection of the door
 * did so while it opened, and the next `evenkeel account` took itself for the last one and removed the log
 * that the door went on writing: payments were confirmed and gone. */
static void a_second_connection_leaves_the_first_its_locks(void **state)
{
    (void)state;
    struct place here = {.postgres = false}, *p = &here;
    fresh(p);
    struct ek_ledger *a = open_as(p, "a", 1), *b;
    uint64_t id = account_with(a, "ann", 0, 100), found;
    assert_true(somebody_holds(p->url));
    b = open_as(p, "b", 1);
    assert_true(somebody_holds(p->url));
    assert_int_equal(ek_ledger_account_find(b, "ann", &found), EK_OK);
    assert_int_equal(found, id);
    ek_ledger_close(&b);
    assert_true(somebody_holds(p->url));
    ek_ledger_close(&a);
    assert_false(somebody_holds(p->url));
    clear(p);
}

/* Nothing is ever confirmed that went into a file which nobody will find again. */
static void a_file_that_was_taken_away_is_missed(void **state)
{
    (void)state;
    struct place here = {.postgres = false}, *p = &here;
    char why[256];
    fresh(p);
    struct ek_ledger *l = open_as(p, "a", 1), *again;
    uint64_t id = account_with(l, "ann", 0, 100);
    struct ek_balance b;
    assert_int_equal(ek_ledger_balance(l, id, &b), EK_OK);
    assert_int_equal(unlink(p->url), 0);
    assert_int_equal(ek_ledger_balance(l, id, &b), EK_IO);
    assert_int_equal(ek_ledger_account_add(l, "ben", "default", &id), EK_IO);
    assert_non_null(strstr(ek_ledger_why(l), "removed or replaced"));
    assert_true(ek_ledger_lost(l));
    ek_ledger_close(&l);
    struct ek_ledger_options o = {.url = p->url, .door = "a", .lease_ns = 1, .must_exist = true};
    assert_int_equal(ek_ledger_open(&o, &again, why, sizeof why), EK_IO);
    assert_int_equal(access(p->url, F_OK), -1);
    clear(p);
}

/* A mistyped path must not become a door without books: nothing that waiting would mend. */
static void what_is_no_database_is_refused_for_good(void **state)
{
    (void)state;
    struct place here = {.postgres = false}, *p = &here;
    char why[256];
    fresh(p);
    struct ek_ledger *l = NULL;
    struct ek_ledger_options o = {.url = p->url, .door = "a", .lease_ns = 1};
    FILE *f = fopen(p->url, "w");
    assert_non_null(f);
    for (int i = 0; i < 200; i++) fputs("listen: 127.0.0.1:8080\n", f);
    fclose(f);
    assert_int_equal(ek_ledger_open(&o, &l, why, sizeof why), EK_INVALID);
    assert_non_null(strstr(why, "no database"));
    o.must_exist = true;
    assert_int_equal(ek_ledger_open(&o, &l, why, sizeof why), EK_INVALID);
    assert_int_equal(unlink(p->url), 0);
    clear(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_connection_leaves_the_first_its_locks),
        cmocka_unit_test(a_file_that_was_taken_away_is_missed),
        cmocka_unit_test(what_is_no_database_is_refused_for_good),
        BOTH(a_life), BOTH(payments_are_idempotent), BOTH(a_whole_batch), BOTH(two_doors),
        BOTH(living_leases_are_left_alone), BOTH(versions), BOTH(random_steps),
        BOTH(an_audit_waits_for_nobody),
    };
    places[1].missing = !pg_start(&cluster);
    int failed = cmocka_run_group_tests_name("ledger_ledger", tests, NULL, NULL);
    pg_stop(&cluster);
    return failed;
}
