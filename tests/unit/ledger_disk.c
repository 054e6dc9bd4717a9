/* SPDX-License-Identifier: MIT */
/* The power cut. A till (book, store, leases, top-ups) works on a disk in memory that loses or tears what
 * was not synced (disk_vfs.h); the power goes at an operation drawn from the seed: in a commit, a
 * checkpoint, the replay of the spool, an opening. Stretches of a full or broken disk come in between,
 * which the till outlives with its spool. After each cut the store opens on what the disk kept, and then
 *   - the database is sound (SQLite's own integrity check) and the audit finds every account exact;
 *   - every settlement and every payment that was acknowledged is there, once, at its price;
 *   - a request asked for but not acknowledged is there once or not at all.
 * The spool is a real file; what of it is on the disk at the cut is what was in it, each append being
 * synced, and sometimes the beginning of one more that was not.
 *
 * EK_DISK_SEEDS sets how many seeds (make prove-disk), EK_SEED the first. */
#include "cm.h"

#include "base/random.h"
#include "disk_vfs.h"
#include "ledger/book.h"
#include "ledger/store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define ACCOUNTS 4u
#define UNDER_WAY 24u
#define LIVES 8
#define NAMES_MAX 60000u
#define SPOOL_SLOT 296 /* bytes of a record in the spool's file, for tails that were begun */

enum fate { ASKED = 1, ACKNOWLEDGED };

struct named {
    struct ek_id name;
    uint32_t k;
    int64_t nano;
    enum fate fate;
};

struct request {
    struct ek_settle_op op;
    uint32_t at; /* in named[] */
    bool busy, twice;
};

enum work { LEASE, GIVE, PAY };

struct job {
    struct ek_store_op op;
    enum work work;
    uint32_t k, at;
    bool busy;
    struct ek_money part;
    struct ek_lease lease;
};

static struct till {
    char dir[64], url[128], spool[128], saved[128];
    struct ek_loop *loop;
    struct ek_store *store;
    struct ek_book *book;
    struct ek_random rng;
    uint64_t account[ACCOUNTS], fence[ACCOUNTS];
    struct request request[UNDER_WAY];
    struct job job[ACCOUNTS];
    struct named settled[NAMES_MAX], paid[NAMES_MAX];
    uint32_t settles, pays, busy;
    uint64_t life;
    bool crashed, away;
    uint64_t acknowledged, replayed, spooled, cuts_while_opening;
} t;

/* ---- the till -------------------------------------------------------------------------------- */

static uint64_t seed_now;

/* A check that fails aborts: say which seed it was. */
static void say_seed(int number)
{
    (void)number;
    dprintf(2, "it was EK_SEED=%llu EK_DISK_SEEDS=1\n", (unsigned long long)seed_now);
}

static void copy_file(const char *from, const char *to)
{
    char buf[4096];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    MUST(out >= 0);
    for (ssize_t n; in >= 0 && (n = read(in, buf, sizeof buf)) > 0;) MUST(write(out, buf, (size_t)n) == n);
    if (in >= 0) close(in);
    close(out);
}

/* In the middle of an operation of the disk: this is the last moment of this life. */
static void power_cut(void *arg)
{
    (void)arg;
    t.crashed = true;
    copy_file(t.spool, t.saved);
}

static void answered(void)
{
    if (--t.busy == 0) ek_loop_stop(t.loop);
}

static void settle_done(struct ek_store_op *op)
{
    struct request *r = EK_CONTAINER(EK_CONTAINER(op, struct ek_settle_op, op), struct request, op);
    MUST(r->busy);
    if (!t.crashed && op->status == EK_OK && r->twice) { /* the same again, as after a lost answer */
        r->twice = false;
        MUST(ek_store_settle(t.store, &r->op, settle_done) == EK_OK);
        return;
    }
    r->busy = false;
    answered();
    if (t.crashed) return; /* nobody heard of it */
    MUST(op->status == EK_OK);
    t.away = t.away || r->op.spooled;
    t.settled[r->at].fate = ACKNOWLEDGED;
    t.acknowledged++;
    if (r->op.outcome.late) ek_book_lose(t.book, r->op.record.account, r->op.record.fence);
    if (!r->op.spooled && !r->op.outcome.before && !r->op.outcome.late)
        MUST(ek_money_sum(r->op.outcome.charged) == t.settled[r->at].nano);
}

static enum ek_status job_run(struct ek_ledger *l, struct ek_store_op *op)
{
    struct job *j = EK_CONTAINER(op, struct job, op);
    uint64_t account = t.account[j->k];
    bool before;
    switch (j->work) {
    case LEASE: return ek_ledger_lease(l, account, 600, &j->lease);
    case GIVE: return ek_ledger_give(l, account, t.fence[j->k], j->part, false);
    case PAY: break;
    }
    struct named *n = &t.paid[j->at];
    return ek_ledger_pay(l, n->name, account, (struct ek_money){0, n->nano}, "", &before);
}

static void job_done(struct ek_store_op *op)
{
    struct job *j = EK_CONTAINER(op, struct job, op);
    j->busy = false;
    answered();
    if (t.crashed) return;
    if (op->status == EK_IO) t.away = true;
    if (op->status != EK_OK) return;
    if (j->work == PAY) t.paid[j->at].fate = ACKNOWLEDGED;
    if (j->work != LEASE || ek_money_is_zero(j->lease.part)) return;
    struct ek_book_state s;
    MUST(ek_book_look(t.book, t.account[j->k], &s));
    if (s.fence != j->lease.fence) ek_book_lose(t.book, t.account[j->k], s.fence);
    t.fence[j->k] = j->lease.fence;
    MUST(ek_book_fund(t.book, t.account[j->k], ek_id_random(), j->lease.fence, j->lease.part) == EK_PAID);
}

static void start_job(uint32_t k, enum work work)
{
    struct job *j = &t.job[k];
    if (j->busy) return;
    *j = (struct job){.work = work, .k = k, .busy = true};
    if (work == GIVE) j->part = ek_book_withdraw(t.book, t.account[k], 50);
    if (work == PAY) {
        MUST(t.pays < NAMES_MAX);
        j->at = t.pays++;
        t.paid[j->at] = (struct named){{t.life, t.pays}, k, 1 + (int64_t)ek_random_below(&t.rng, 500),
            ASKED};
    }
    t.busy++;
    MUST(ek_store_do(t.store, &j->op, job_run, job_done) == EK_OK);
}

/* One request, reserved and settled; false: nothing can be reserved. */
static bool serve(struct request *r)
{
    uint32_t k = (uint32_t)ek_random_below(&t.rng, ACCOUNTS);
    struct ek_now now = ek_loop_now(t.loop);
    MUST(t.settles < NAMES_MAX);
    struct ek_hold_ask ask = {.account = t.account[k], .request = {t.life << 32, t.settles + 1},
        .need_nano = 40,
                              .least_nano = 1, .overdraft_nano = 2, .alone = t.away};
    if (ek_book_reserve(t.book, &ask, now).verdict != EK_HOLD_GRANTED) {
        start_job(k, LEASE);
        return false;
    }
    struct ek_settlement s = ek_book_settle(t.book, ask.request, (int64_t)ek_random_below(&t.rng, 50), now);
    MUST(s.verdict == EK_SETTLED);
    r->at = t.settles++;
    t.settled[r->at] = (struct named){ask.request, k, ek_money_sum(s.charged), ASKED};
    r->busy = true;
    r->twice = ek_random_below(&t.rng, 8) == 0;
    t.busy++;
    r->op.record = (struct ek_settle_record){
        .request = ask.request, .account = s.account, .fence = s.fence, .charged = s.charged,
        .forgiven_nano = s.forgiven_nano, .at_unix_ns = now.unix_ns, .key = k, .prompt_tokens = 5,
        .output_tokens = 7, .model = "demo", .ending = "none"};
    MUST(ek_store_settle(t.store, &r->op, settle_done) == EK_OK);
    return true;
}

/* One turn: some requests and now and then a job, until all of it is answered. */
static void turn(void)
{
    uint64_t many = 1 + ek_random_below(&t.rng, UNDER_WAY);
    for (uint32_t i = 0; i < many; i++)
        if (!serve(&t.request[i])) break;
    if (ek_random_below(&t.rng, 5) == 0) start_job((uint32_t)ek_random_below(&t.rng, ACCOUNTS), GIVE);
    if (ek_random_below(&t.rng, 3) == 0) start_job((uint32_t)ek_random_below(&t.rng, ACCOUNTS), PAY);
    while (t.busy > 0) ek_loop_run(t.loop);
}

static void changed(void *arg, bool here, const char *why)
{
    (void)arg, (void)here, (void)why;
    ek_loop_stop(t.loop);
}

static void till_open(bool threads)
{
    char why[256];
    struct ek_store_options o = {.ledger = {.url = t.url, .door = "till", .lease_ns = 3600 * EK_S_NS},
                                 .spool_path = t.spool, .on_loop = !threads,
                                 .changed = changed};
    struct ek_book_options b = {.accounts_max = ACCOUNTS, .holds_max = UNDER_WAY, .done_max = 64};
    struct ek_store_counters c;
    t.loop = ek_loop_new();
    enum ek_status s = ek_store_open(t.loop, &o, &t.store, why, sizeof why);
    if (s != EK_OK) fprintf(stderr, "%s\n", why);
    MUST(s == EK_OK);
    ek_store_counters(t.store, &c);
    t.replayed += c.replayed;
    t.away = !c.here;
    t.book = ek_book_new(&b);
    for (uint32_t k = 0; k < ACCOUNTS; k++) {
        struct ek_book_limits none = {0};
        t.fence[k] = 0;
        MUST(ek_book_account(t.book, t.account[k], &none, ek_loop_now(t.loop)) == EK_OK);
        ek_book_elsewhere(t.book, t.account[k], 1);
    }
}

static void till_close(void)
{
    struct ek_store_counters c;
    ek_store_counters(t.store, &c);
    t.spooled += c.spooled;
    ek_store_close(&t.store);
    ek_loop_free(&t.loop);
    ek_book_free(&t.book);
}

/* ---- what must be true ------------------------------------------------------------------------ */

static int one_text(void *arg, int columns, char **value, char **name)
{
    (void)name;
    MUST(columns == 1);
    snprintf(arg, 64, "%s", value[0]);
    return 0;
}

static void check_sound(void)
{
    sqlite3 *db;
    char said[64] = "";
    assert_int_equal(sqlite3_open(t.url, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "PRAGMA integrity_check", one_text, said, NULL), SQLITE_OK);
    assert_string_equal(said, "ok");
    sqlite3_close(db);
}

static void check_books(void)
{
    char why[256];
    struct ek_ledger *l = NULL;
    struct ek_ledger_options o = {.url = t.url, .door = "auditor", .lease_ns = 3600 * EK_S_NS};
    struct ek_audit a;
    MUST(ek_ledger_open(&o, &l, why, sizeof why) == EK_OK);
    enum ek_status audited = ek_ledger_audit(l, &a);
    if (audited != EK_OK) printf("the audit: %s\n", ek_ledger_why(l));
    assert_int_equal(audited, EK_OK);
    if (a.wrong) printf("%s\n", a.first);
    assert_int_equal(a.wrong, 0);
    assert_int_equal(a.leases, 0);
    assert_int_equal(a.balance_nano + a.spent_nano, a.paid_nano);
    uint64_t found = 0;
    for (uint32_t i = 0; i < t.settles; i++) {
        struct ek_settle_record r;
        struct ek_settle_outcome out;
        enum ek_status s = ek_ledger_request(l, t.settled[i].name, &r, &out);
        found += s == EK_OK;
        if (t.settled[i].fate != ACKNOWLEDGED) continue;
        if (s != EK_OK) printf("life %llu: settlement %u of %u is lost\n", (unsigned long long)t.life, i,
            t.settles);
        assert_int_equal(s, EK_OK);
        assert_int_equal(r.account, t.account[t.settled[i].k]);
        assert_int_equal(ek_money_sum(r.charged), t.settled[i].nano);
    }
    assert_int_equal(found, a.settlements); /* and nothing that nobody asked for */
    for (uint32_t i = 0; i < t.pays; i++) {
        bool before;
        const struct named *n = &t.paid[i];
        if (n->fate != ACKNOWLEDGED) continue;
        assert_int_equal(ek_ledger_pay(l, n->name, t.account[n->k], (struct ek_money){0, n->nano}, "",
            &before),
                         EK_OK);
        assert_true(before);
    }
    ek_ledger_close(&l);
}

/* The machine starts again with what the disk kept. */
static void restart(void)
{
    if (t.crashed) {
        copy_file(t.saved, t.spool);
        FILE *f = fopen(t.spool, "ab");
        MUST(f);
        if (ftell(f) > 0 && ek_random_below(&t.rng, 2)) { /* an append that had begun */
            for (uint64_t n = ek_random_below(&t.rng, SPOOL_SLOT); n > 0; n--)
                fputc((int)ek_random_below(&t.rng, 256), f);
        }
        fclose(f);
    }
    disk_power_on();
    t.crashed = false;
}

/* ---- one seed --------------------------------------------------------------------------------- */

static void found_accounts(void)
{
    char why[256];
    struct ek_ledger *l = NULL;
    struct ek_ledger_options o = {.url = t.url, .door = "founder", .lease_ns = 3600 * EK_S_NS};
    for (int i = 0; i < 3; i++) { /* the power goes while the tables are made */
        disk.crash_at = disk.ops + 1 + ek_random_below(&t.rng, 150);
        if (ek_ledger_open(&o, &l, why, sizeof why) == EK_OK) ek_ledger_close(&l);
        restart();
        check_sound();
    }
    MUST(ek_ledger_open(&o, &l, why, sizeof why) == EK_OK);
    for (uint32_t k = 0; k < ACCOUNTS; k++) {
        char name[8];
        bool before;
        snprintf(name, sizeof name, "p%u", k);
        MUST(ek_ledger_account_add(l, name, "default", &t.account[k]) == EK_OK);
        MUST(ek_ledger_pay(l, ek_id_random(), t.account[k], (struct ek_money){500, 40000}, "", &before)
            == EK_OK);
    }
    ek_ledger_close(&l);
}

static void draw_trouble(void)
{
    uint64_t span = ek_random_below(&t.rng, 3) ? 300 : 3000;
    disk.crash_at = disk.ops + 1 + ek_random_below(&t.rng, span);
    if (ek_random_below(&t.rng, 3) == 0) { /* and before that, trouble that the till outlives */
        disk.fail_from = disk.ops + ek_random_below(&t.rng, span);
        disk.fail_to = disk.fail_from + 1 + ek_random_below(&t.rng, 6);
        disk.full = ek_random_below(&t.rng, 2) == 0;
    }
}

static void one_life(void)
{
    t.life++;
    draw_trouble();
    till_open(false);
    t.cuts_while_opening += t.crashed;
    /* A store without threads does not reconnect: once away for a few turns, it is started again. */
    for (int away = 0; !t.crashed && away < 4; away += t.away) turn();
    if (!t.crashed && ek_random_below(&t.rng, 2)) { /* between two operations */
        power_cut(NULL);
        disk.off = true;
    } else if (!t.crashed) { /* while closing: the checkpoint, and the log's end */
        disk.crash_at = disk.ops + 1 + ek_random_below(&t.rng, 100);
    }
    till_close();
    restart();
    till_open(false); /* in peace: the spool is replayed, old leases come back */
    MUST(ek_store_here(t.store));
    till_close();
    check_sound();
    check_books();
}

static void begin(uint64_t seed)
{
    memset(&t, 0, sizeof t);
    t.rng = ek_random_make(seed);
    disk_format(seed + 1);
    disk.crashed = power_cut;
    snprintf(t.dir, sizeof t.dir, "/tmp/ek-disk-XXXXXX");
    MUST(mkdtemp(t.dir));
    snprintf(t.url, sizeof t.url, "%s/ledger.db", t.dir);
    snprintf(t.spool, sizeof t.spool, "%s/spool", t.dir);
    snprintf(t.saved, sizeof t.saved, "%s/spool.saved", t.dir);
    found_accounts();
}

static void end(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", t.dir);
    assert_int_equal(system(command), 0);
}

static uint64_t first_seed(void)
{
    return getenv("EK_SEED") ? strtoull(getenv("EK_SEED"), NULL, 10) : 20261122;
}

static void power_cuts(void **state)
{
    (void)state;
    uint64_t seeds = getenv("EK_DISK_SEEDS") ? strtoull(getenv("EK_DISK_SEEDS"), NULL, 10) : 10;
    uint64_t acknowledged = 0, replayed = 0, opening = 0;
    for (uint64_t i = 0; i < seeds; i++) {
        seed_now = first_seed() + i;
        begin(first_seed() + i);
        for (int life = 0; life < LIVES; life++) one_life();
        acknowledged += t.acknowledged;
        replayed += t.replayed;
        opening += t.cuts_while_opening;
        end();
    }
    printf("%llu seeds from %llu: %llu cuts (%llu while opening), writes since a sync: %llu kept, %llu"
    " torn, %llu"
           " lost; %llu operations failed; %llu acknowledged, all found, books exact; %llu replayed\n",
           (unsigned long long)seeds, (unsigned long long)first_seed(), (unsigned long long)disk.cuts,
           (unsigned long long)opening, (unsigned long long)disk.kept, (unsigned long long)disk.torn,
           (unsigned long long)disk.dropped, (unsigned long long)disk.failed, (unsigned long
           long)acknowledged,
           (unsigned long long)replayed);
    assert_true(disk.cuts > seeds && disk.torn > seeds && disk.dropped > seeds && acknowledged > seeds);
}

/* With its threads, on a disk that is full or broken again and again, and heals: nothing is restarted. */
static void a_disk_that_heals(void **state)
{
    (void)state;
    begin(first_seed());
    disk.failed = 0;
    t.life = 1;
    till_open(true);
    for (int i = 0; i < 12; i++) {
        pthread_mutex_lock(&disk.lock);
        disk.fail_from = disk.ops + ek_random_below(&t.rng, 200);
        disk.fail_to = disk.fail_from + 1 + ek_random_below(&t.rng, 20);
        disk.full = i % 2;
        pthread_mutex_unlock(&disk.lock);
        uint64_t acknowledged = t.acknowledged;
        for (int k = 0; k < 20; k++) turn();
        pthread_mutex_lock(&disk.lock);
        disk.fail_to = disk.fail_from; /* healed */
        pthread_mutex_unlock(&disk.lock);
        t.away = false; /* leases can be had again once the connection is back */
        while (!ek_store_here(t.store) || t.acknowledged < acknowledged + 30) {
            if (!ek_store_here(t.store)) ek_loop_run(t.loop); /* `changed` stops it */
            else turn();
        }
    }
    struct ek_store_counters c;
    ek_store_counters(t.store, &c);
    printf("%llu operations failed, %llu times away, %llu spooled, %llu replayed\n",
           (unsigned long long)disk.failed, (unsigned long long)c.away, (unsigned long long)c.spooled,
           (unsigned long long)c.replayed);
    assert_true(c.away > 0 && c.spooled > 0 && c.replayed == c.spooled && c.failed == 0);
    till_close();
    till_open(false);
    till_close();
    check_sound();
    check_books();
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(power_cuts), cmocka_unit_test(a_disk_that_heals)};
    disk_install();
    signal(SIGABRT, say_seed);
    int failed = cmocka_run_group_tests_name("ledger_disk", tests, NULL, NULL);
    disk_format(1);
    return failed;
}
