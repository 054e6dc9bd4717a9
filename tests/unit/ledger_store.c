/* SPDX-License-Identifier: MIT */
/* The store: group commit from a loop, the spool while the database is away, and replay exactly once. */
#include "cm.h"

#include "ledger/spool.h"
#include "ledger/store.h"
#include "pg_cluster.h"

#include <sched.h>
#include <sys/stat.h>

#define OPS 2000

static struct pg_cluster cluster;
static bool no_postgres;

struct world {
    char dir[64], url[256], spool[128];
    struct ek_loop *loop;
    struct ek_store *store;
    struct ek_settle_op op[OPS];
    struct ek_store_op job;
    struct ek_lease lease;
    uint64_t account;
    uint32_t done, wanted, spooled, before;
    uint32_t back, gone;
};

static struct world w;

static void changed(void *arg, bool here, const char *why)
{
    struct world *world = arg;
    world->back += here;
    world->gone += !here;
    if (!here) printf("away: %s\n", why);
    ek_loop_stop(world->loop);
}

static void world_open(bool postgres)
{
    memset(&w, 0, sizeof w);
    snprintf(w.dir, sizeof w.dir, "/tmp/ek-store-XXXXXX");
    MUST(mkdtemp(w.dir));
    snprintf(w.spool, sizeof w.spool, "%s/spool", w.dir);
    snprintf(w.url, sizeof w.url, "%s/ledger.db", w.dir);
    if (postgres) pg_database(&cluster, "store", w.url, sizeof w.url);
}

static void store_open(void)
{
    char why[256];
    struct ek_store_options o = {.ledger = {.url = w.url, .door = "d", .lease_ns = 60 * EK_S_NS},
                                 .spool_path = w.spool, .changed = changed, .arg = &w};
    w.loop = ek_loop_new();
    enum ek_status s = ek_store_open(w.loop, &o, &w.store, why, sizeof why);
    if (s != EK_OK) printf("%s\n", why);
    assert_int_equal(s, EK_OK);
}

static void store_close(void)
{
    ek_store_close(&w.store);
    ek_loop_free(&w.loop);
}

static void world_close(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", w.dir);
    assert_int_equal(system(command), 0);
}

static enum ek_status found_account(struct ek_ledger *l, struct ek_store_op *op)
{
    (void)op;
    bool before;
    enum ek_status s = ek_ledger_account_add(l, "ann", "default", &w.account);
    struct ek_money m = {0, 1000000};
    if (s == EK_OK) s = ek_ledger_pay(l, ek_id_random(), w.account, m, "", &before);
    return s == EK_OK ? ek_ledger_lease(l, w.account, 1000000, &w.lease) : s;
}

static void stop_loop(struct ek_store_op *op)
{
    (void)op;
    ek_loop_stop(w.loop);
}

static enum ek_status do_job(ek_store_run_fn *run)
{
    assert_int_equal(ek_store_do(w.store, &w.job, run, stop_loop), EK_OK);
    ek_loop_run(w.loop);
    return w.job.status;
}

static void settled(struct ek_store_op *op)
{
    struct ek_settle_op *s = EK_CONTAINER(op, struct ek_settle_op, op);
    MUST(op->status == EK_OK);
    w.spooled += s->spooled;
    w.before += s->outcome.before;
    if (++w.done == w.wanted) ek_loop_stop(w.loop);
}

/* Settle requests [from, to), all at once, and wait until they are durable. */
static void settle(uint32_t from, uint32_t to)
{
    w.wanted = w.done + to - from;
    for (uint32_t i = from; i < to; i++) {
        w.op[i].record = (struct ek_settle_record){
            .request = {1, i + 1}, .account = w.account, .fence = w.lease.fence, .charged = {0, 3},
            .at_unix_ns = ek_clock_read().unix_ns, .model = "m\xff", .ending = "none"};
        assert_int_equal(ek_store_settle(w.store, &w.op[i], settled), EK_OK);
    }
    ek_loop_run(w.loop);
    while (w.done < w.wanted) ek_loop_run(w.loop); /* the store may have told of something first */
}

static void audit(uint64_t settlements)
{
    char why[256];
    struct ek_ledger *l;
    struct ek_audit a;
    struct ek_ledger_options o = {.url = w.url, .door = "auditor", .lease_ns = 1};
    assert_int_equal(ek_ledger_open(&o, &l, why, sizeof why), EK_OK);
    assert_int_equal(ek_ledger_audit(l, &a), EK_OK);
    if (a.wrong) printf("%s\n", a.first);
    assert_int_equal(a.wrong, 0);
    assert_int_equal(a.settlements, settlements);
    assert_int_equal(a.spent_nano, settlements * 3);
    ek_ledger_close(&l);
}

static void group_commit(bool postgres)
{
    struct ek_store_counters c;
    world_open(postgres);
    store_open();
    assert_int_equal(do_job(found_account), EK_OK);
    settle(0, OPS);
    ek_store_counters(w.store, &c);
    printf("%llu settlements in %llu commits\n", (unsigned long long)c.settled,
           (unsigned long long)c.batches);
    assert_int_equal(c.settled + c.spooled, OPS); /* spooled: on a machine that stood still for seconds */
    assert_true(c.batches < OPS / 8);
    assert_int_equal(c.queued, 0);
    settle(0, 100); /* the same again */
    assert_int_equal(w.before, 100);
    store_close();
    audit(OPS);
    world_close();
}

static void group_commit_sqlite(void **state)
{
    (void)state;
    group_commit(false);
}

static void group_commit_postgres(void **state)
{
    (void)state;
    if (no_postgres) skip();
    group_commit(true);
}

static void a_killed_postgres(void **state)
{
    (void)state;
    if (no_postgres) skip();
    struct ek_store_counters c;
    world_open(true);
    store_open();
    assert_int_equal(do_job(found_account), EK_OK);
    settle(0, 100);
    pg_kill(&cluster);
    settle(100, 200);
    while (!w.gone) ek_loop_run(w.loop); /* it may be told after what was spooled */
    assert_true(w.spooled > 0 && w.gone == 1);
    assert_false(ek_store_here(w.store));
    assert_int_equal(do_job(found_account), EK_IO); /* at once */
    pg_up(&cluster);
    while (!ek_store_here(w.store)) ek_loop_run(w.loop); /* `changed` stops it */
    ek_store_counters(w.store, &c);
    assert_int_equal(c.replayed, w.spooled);
    assert_int_equal(c.spool_records, 0);
    settle(200, 300);
    settle(150, 160);
    assert_int_equal(w.before, 10);
    store_close();
    audit(300);
    world_close();
}

/* Away from the beginning, and away at the end: the spool outlives the process. */
static void away_at_the_start(void **state)
{
    (void)state;
    world_open(false);
    store_open();
    assert_int_equal(do_job(found_account), EK_OK);
    store_close();
    char command[512], db[128];
    snprintf(db, sizeof db, "%s/db", w.dir);
    uint64_t account = w.account;
    struct ek_lease lease = w.lease;
    /* A folder that is not there: SQLite's way of being away. */
    snprintf(w.url, sizeof w.url, "%s/ledger.db", db);
    store_open();
    assert_false(ek_store_here(w.store));
    w.account = account;
    w.lease = lease;
    settle(0, 50);
    assert_int_equal(w.spooled, 50);
    store_close();
    snprintf(command, sizeof command, "mkdir %s && mv %s/ledger.db* %s", db, w.dir, db);
    assert_int_equal(system(command), 0);
    store_open(); /* replays; the lease of the former life was still there */
    assert_true(ek_store_here(w.store));
    settle(40, 60);
    assert_int_equal(w.before, 10);
    store_close();
    audit(60);
    world_close();
}

/* Somebody moves the file away. No empty one may take its place: it would forget every account and confirm
 * payments that nobody finds again. */
static void a_removed_file(void **state)
{
    (void)state;
    char command[512];
    struct ek_store_counters c = {0};
    world_open(false);
    store_open();
    assert_int_equal(do_job(found_account), EK_OK);
    settle(0, 50);
    snprintf(command, sizeof command, "mkdir %s/aside && mv %s/ledger.db* %s/aside", w.dir, w.dir, w.dir);
    assert_int_equal(system(command), 0);
    settle(50, 100);
    assert_int_equal(w.spooled, 50);
    while (c.refused < 2) {
        ek_store_counters(w.store, &c);
        sched_yield();
    }
    assert_int_not_equal(access(w.url, F_OK), 0);
    snprintf(command, sizeof command, "mv %s/aside/ledger.db* %s", w.dir, w.dir);
    assert_int_equal(system(command), 0);
    while (!ek_store_here(w.store)) ek_loop_run(w.loop);
    settle(40, 60);
    assert_int_equal(w.before, 20);
    store_close();
    audit(100);
    world_close();
}

static void on_a_loop_without_thread(void **state)
{
    (void)state;
    char why[256];
    world_open(false);
    w.loop = ek_loop_new();
    struct ek_store_options o = {.ledger = {.url = w.url, .door = "d", .lease_ns = 60 * EK_S_NS},
                                 .spool_path = w.spool, .on_loop = true, .queue_max = 60};
    assert_int_equal(ek_store_open(w.loop, &o, &w.store, why, sizeof why), EK_OK);
    assert_int_equal(do_job(found_account), EK_OK);
    settle(0, 50);
    for (uint32_t i = 50; i < 120; i++) { /* more than the queue takes */
        w.op[i].record = (struct ek_settle_record){.request = {1, i + 1}, .account = w.account,
                                                   .fence = w.lease.fence, .charged = {0, 3}};
        assert_int_equal(ek_store_settle(w.store, &w.op[i], settled), i < 110 ? EK_OK : EK_FULL);
    }
    w.wanted = 1000;
    store_close(); /* finishes them */
    assert_int_equal(w.done, 110);
    audit(110);
    world_close();
}

static void the_spool(void **state)
{
    (void)state;
    char why[256];
    struct ek_spool *s, *second;
    struct stat st;
    size_t got;
    world_open(false);
    struct ek_settle_record r[3] = {{.request = {1, 1}}, {.request = {1, 2}}, {.request = {1, 3}}}, back[4];
    const struct ek_settle_record *at[3] = {&r[0], &r[1], &r[2]};
    assert_int_equal(ek_spool_open(w.spool, 5000, &s, why, sizeof why), EK_OK);
    assert_int_equal(ek_spool_open(w.spool, 5000, &second, why, sizeof why), EK_IO);
    assert_non_null(strstr(why, "another process"));
    assert_int_equal(ek_spool_append(s, at, 3), EK_OK);
    for (int i = 0; i < 4; i++) assert_int_equal(ek_spool_append(s, at, 3), EK_OK);
    assert_int_equal(ek_spool_append(s, at, 3), EK_FULL); /* 15 of 16 are there */
    assert_int_equal(stat(w.spool, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(ek_spool_clear(s), EK_OK);
    assert_int_equal(ek_spool_append(s, at, 3), EK_OK);
    ek_spool_close(&s);
    assert_int_equal(stat(w.spool, &st), 0);
    for (off_t cut = st.st_size; cut > st.st_size - 296; cut -= 7) { /* torn anywhere in the last record */
        assert_int_equal(truncate(w.spool, cut), 0);
        assert_int_equal(ek_spool_open(w.spool, 5000, &s, why, sizeof why), EK_OK);
        assert_int_equal(ek_spool_count(s), cut == st.st_size ? 3 : 2);
        assert_int_equal(ek_spool_read(s, 1, back, 4, &got), EK_OK);
        assert_int_equal(got, ek_spool_count(s) - 1);
        assert_int_equal(back[0].request.lo, 2);
        if (ek_spool_count(s) == 2) assert_int_equal(ek_spool_append(s, at + 2, 1), EK_OK);
        assert_int_equal(ek_spool_count(s), 3);
        ek_spool_close(&s);
    }
    FILE *f = fopen(w.spool, "r+b");
    fputs("something else altogether, and quite long enough", f);
    fclose(f);
    assert_int_equal(ek_spool_open(w.spool, 5000, &s, why, sizeof why), EK_IO);
    assert_non_null(strstr(why, "left alone"));
    world_close();
}

static off_t log_bytes(void)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "%s-wal", w.url);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* A commit overwrites, it does not lengthen; and the zeros behind it are nothing to who comes later. */
static void the_log_has_its_size_at_once(void **state)
{
    (void)state;
    char command[800];
    world_open(false);
    store_open();
    off_t size = log_bytes();
    assert_true(size > 4000 * 4096);
    assert_int_equal(do_job(found_account), EK_OK);
    settle(0, 500);
    assert_int_equal(log_bytes(), size);
    snprintf(command, sizeof command, "mkdir %s/kill && cp %s %s-wal %s/kill", w.dir, w.url, w.url, w.dir);
    assert_int_equal(system(command), 0); /* as the disk is after kill -9 */
    store_close();
    snprintf(w.url, sizeof w.url, "%s/kill/ledger.db", w.dir);
    audit(500);
    store_open();
    assert_int_equal(log_bytes(), size); /* whole again in the next life */
    settle(500, 900);
    store_close();
    audit(900);
    world_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_log_has_its_size_at_once),
        cmocka_unit_test(the_spool), cmocka_unit_test(on_a_loop_without_thread),
        cmocka_unit_test(group_commit_sqlite), cmocka_unit_test(group_commit_postgres),
        cmocka_unit_test(away_at_the_start), cmocka_unit_test(a_removed_file),
        cmocka_unit_test(a_killed_postgres),
    };
    no_postgres = !pg_start(&cluster);
    int failed = cmocka_run_group_tests_name("ledger_store", tests, NULL, NULL);
    pg_stop(&cluster);
    return failed;
}
