/* SPDX-License-Identifier: MIT */
/* kill -9. A child process is a small till: book, store, leases, several requests under way. The parent kills
 * it after a number of acknowledgements drawn from the seed, starts the store again in its place, and then
 *   - the audit must find every account exact, and nothing left reserved;
 *   - every request the till acknowledged (through a pipe, after `done`) must be there, once, at its price.
 * On PostgreSQL every fourth round kills the server too, under the till, which goes on from its spool.
 *
 * EK_KILLS sets the rounds (make prove-kills), EK_SEED the seed. */
#include "cm.h"

#include "base/random.h"
#include "ledger/book.h"
#include "ledger/store.h"
#include "pg_cluster.h"

#include <errno.h>

#define ACCOUNTS 5u
#define UNDER_WAY 16u
#define ACKS_MAX 200000u

static struct pg_cluster cluster;
static bool no_postgres;

struct ack {
    struct ek_id request;
    int64_t charged_nano;
};

struct place {
    char dir[64], url[256], spool[128];
    uint64_t account[ACCOUNTS];
};

/* ---- the child ------------------------------------------------------------------------------- */

struct till;

struct till_request {
    struct ek_settle_op op;
    struct till *till;
    bool busy, twice;
};

struct till_lease {
    struct ek_store_op op;
    struct till *till;
    uint32_t k;
    bool busy, give;
    struct ek_money part;
    struct ek_lease lease;
};

struct till {
    const struct place *place;
    struct ek_loop *loop;
    struct ek_store *store;
    struct ek_book *book;
    struct ek_random rng;
    struct ek_timer again;
    uint64_t round, next;
    int acks;
    struct till_request request[UNDER_WAY];
    struct till_lease lease[ACCOUNTS];
};

static void pump(struct till *t);

static void acknowledge(struct till *t, const struct till_request *r)
{
    struct ack a = {r->op.record.request, ek_money_sum(r->op.outcome.charged)};
    MUST(write(t->acks, &a, sizeof a) == (ssize_t)sizeof a); /* whole: smaller than a pipe's buffer unit */
}

static void settled(struct ek_store_op *op)
{
    struct till_request *r = EK_CONTAINER(EK_CONTAINER(op, struct ek_settle_op, op), struct till_request, op);
    MUST(op->status == EK_OK);
    if (r->op.outcome.late) ek_book_lose(r->till->book, r->op.record.account, r->op.record.fence);
    if (r->twice) { /* the same again, as after a lost answer */
        r->twice = false;
        MUST(ek_store_settle(r->till->store, &r->op, settled) == EK_OK);
        return;
    }
    acknowledge(r->till, r);
    r->busy = false;
    pump(r->till);
}

static enum ek_status lease_run(struct ek_ledger *l, struct ek_store_op *op)
{
    struct till_lease *j = EK_CONTAINER(op, struct till_lease, op);
    uint64_t account = j->till->place->account[j->k];
    return j->give ? ek_ledger_give(l, account, j->lease.fence, j->part, false)
                   : ek_ledger_lease(l, account, 400, &j->lease);
}

static void lease_done(struct ek_store_op *op)
{
    struct till_lease *j = EK_CONTAINER(op, struct till_lease, op);
    struct till *t = j->till;
    uint64_t account = t->place->account[j->k];
    j->busy = false;
    if (op->status == EK_OK && !j->give && !ek_money_is_zero(j->lease.part)) {
        struct ek_book_state s;
        MUST(ek_book_look(t->book, account, &s));
        if (s.fence != j->lease.fence) ek_book_lose(t->book, account, s.fence);
        MUST(ek_book_fund(t->book, account, ek_id_random(), j->lease.fence, j->lease.part) == EK_PAID);
    }
    if (op->status != EK_OK) { /* away, and this account's lease used up */
        bool busy = false;
        for (uint32_t i = 0; i < UNDER_WAY; i++) busy = busy || t->request[i].busy;
        struct ack dry = {0};
        if (!busy) MUST(write(t->acks, &dry, sizeof dry) == (ssize_t)sizeof dry);
        ek_timer_set(t->loop, &t->again, ek_loop_now(t->loop).mono_ns + 5 * EK_MS_NS);
        return;
    }
    pump(t);
}

static void want_lease(struct till *t, uint32_t k, bool give)
{
    struct till_lease *j = &t->lease[k];
    if (j->busy) return;
    uint64_t fence = j->lease.fence;
    j->till = t;
    j->k = k;
    j->busy = true;
    j->give = give;
    j->lease.fence = fence;
    if (give) j->part = ek_book_withdraw(t->book, t->place->account[k], 100);
    MUST(ek_store_do(t->store, &j->op, lease_run, lease_done) == EK_OK);
}

/* One request, from its reservation to its settlement in one go; false: not now. */
static bool serve(struct till *t, struct till_request *r)
{
    uint32_t k = (uint32_t)ek_random_below(&t->rng, ACCOUNTS);
    struct ek_now now = ek_loop_now(t->loop);
    struct ek_hold_ask ask = {.account = t->place->account[k], .request = {t->round, ++t->next},
                              .need_nano = 40, .least_nano = 1, .overdraft_nano = 3};
    struct ek_hold h = ek_book_reserve(t->book, &ask, now);
    if (h.verdict != EK_HOLD_GRANTED) {
        want_lease(t, k, false);
        return false;
    }
    if (ek_random_below(&t->rng, 30) == 0) want_lease(t, k, true);
    if (ek_random_below(&t->rng, 4) == 0) ek_book_extend(t->book, ask.request, 10, now);
    struct ek_settlement s = ek_book_settle(t->book, ask.request, (int64_t)ek_random_below(&t->rng, 60), now);
    MUST(s.verdict == EK_SETTLED);
    r->till = t;
    r->busy = true;
    r->twice = ek_random_below(&t->rng, 8) == 0;
    r->op.record = (struct ek_settle_record){
        .request = ask.request, .account = s.account, .fence = s.fence, .charged = s.charged,
        .forgiven_nano = s.forgiven_nano, .at_unix_ns = now.unix_ns, .key = k, .prompt_tokens = 5,
        .output_tokens = 7, .model = "demo", .ending = "none"};
    MUST(ek_store_settle(t->store, &r->op, settled) == EK_OK);
    return true;
}

static void pump(struct till *t)
{
    for (uint32_t i = 0; i < UNDER_WAY; i++)
        if (!t->request[i].busy && !serve(t, &t->request[i])) break;
}

static void try_again(struct ek_timer *timer) { pump(EK_CONTAINER(timer, struct till, again)); }

static struct ek_store *open_store(struct ek_loop *loop, const struct place *p, bool on_loop)
{
    char why[256];
    struct ek_store *s = NULL;
    struct ek_store_options o = {.ledger = {.url = p->url, .door = "till", .lease_ns = 3600 * EK_S_NS},
                                 .spool_path = p->spool, .on_loop = on_loop};
    if (ek_store_open(loop, &o, &s, why, sizeof why) != EK_OK) printf("%s\n", why);
    MUST(s);
    return s;
}

static void till_main(const struct place *p, uint64_t seed, uint64_t round, int acks)
{
    struct till *t = calloc(1, sizeof *t);
    struct ek_book_options o = {.accounts_max = ACCOUNTS, .holds_max = UNDER_WAY, .done_max = 100};
    MUST(t);
    t->place = p;
    t->rng = ek_random_make(seed);
    t->round = round;
    t->acks = acks;
    t->book = ek_book_new(&o);
    t->loop = ek_loop_new();
    t->store = open_store(t->loop, p, false);
    ek_timer_init(&t->again, try_again);
    for (uint32_t k = 0; k < ACCOUNTS; k++) {
        struct ek_book_limits none = {0};
        MUST(ek_book_account(t->book, p->account[k], &none, ek_loop_now(t->loop)) == EK_OK);
        ek_book_elsewhere(t->book, p->account[k], 1); /* the store has more, until it says otherwise */
    }
    for (uint32_t k = 0; k < ACCOUNTS; k++) want_lease(t, k, false);
    ek_loop_run(t->loop); /* until killed */
    _exit(1);
}

/* ---- the parent ------------------------------------------------------------------------------ */

struct tally {
    struct ack ack[ACKS_MAX];
    uint32_t acks, checked;
    uint64_t replayed;
};

/* Read acknowledgements until there are `wanted`, the pipe ends, or (if so told) the till runs dry. */
static void read_acks(struct tally *y, int fd, uint32_t wanted, bool till_dry)
{
    while (y->acks < wanted) {
        MUST(y->acks < ACKS_MAX);
        ssize_t n = read(fd, &y->ack[y->acks], sizeof y->ack[0]);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        MUST(n == (ssize_t)sizeof y->ack[0]);
        if (ek_id_is_set(y->ack[y->acks].request)) y->acks++;
        else if (till_dry) return;
    }
}

static struct ek_ledger *open_ledger(const struct place *p)
{
    char why[256];
    struct ek_ledger *l = NULL;
    struct ek_ledger_options o = {.url = p->url, .door = "auditor", .lease_ns = 3600 * EK_S_NS};
    if (ek_ledger_open(&o, &l, why, sizeof why) != EK_OK) printf("%s\n", why);
    MUST(l);
    return l;
}

/* The store starts again where the till died: then everything must be exact. */
static void recover(const struct place *p, struct tally *y)
{
    struct ek_loop *loop = ek_loop_new();
    struct ek_store *s = open_store(loop, p, true);
    struct ek_store_counters c;
    struct ek_audit a;
    MUST(ek_store_here(s));
    ek_store_counters(s, &c);
    y->replayed += c.replayed;
    ek_store_close(&s);
    ek_loop_free(&loop);

    struct ek_ledger *l = open_ledger(p);
    enum ek_status audited = ek_ledger_audit(l, &a);
    if (audited != EK_OK) printf("the audit: %s\n", ek_ledger_why(l));
    assert_int_equal(audited, EK_OK);
    if (a.wrong) printf("%s\n", a.first);
    assert_int_equal(a.wrong, 0);
    assert_int_equal(a.leases, 0);
    assert_int_equal(a.balance_nano + a.spent_nano, a.paid_nano);
    for (; y->checked < y->acks; y->checked++) {
        struct ek_settle_record r;
        struct ek_settle_outcome o;
        assert_int_equal(ek_ledger_request(l, y->ack[y->checked].request, &r, &o), EK_OK);
        assert_int_equal(ek_money_sum(r.charged), y->ack[y->checked].charged_nano);
    }
    ek_ledger_close(&l);
}

static void one_round(const struct place *p, struct tally *y, struct ek_random *rng, uint64_t round,
                      bool kill_server)
{
    int pipe_fd[2];
    MUST(pipe(pipe_fd) == 0);
    uint64_t seed = ek_random_u64(rng);
    uint32_t wanted = y->acks + (uint32_t)ek_random_below(rng, ek_random_below(rng, 4) ? 60 : 600);
    fflush(stdout);
    pid_t till = fork();
    MUST(till >= 0);
    if (till == 0) {
        close(pipe_fd[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        till_main(p, seed, round, pipe_fd[1]);
    }
    close(pipe_fd[1]);
    read_acks(y, pipe_fd[0], wanted, false);
    if (kill_server) {
        pg_kill(&cluster);
        read_acks(y, pipe_fd[0], y->acks + 1 + (uint32_t)ek_random_below(rng, 100), true);
        if (ek_random_below(rng, 2)) { /* sees it come back, or does not */
            pg_up(&cluster);
            read_acks(y, pipe_fd[0], y->acks + (uint32_t)ek_random_below(rng, 300), false);
        }
    }
    for (volatile uint64_t spin = ek_random_below(rng, 3000000); spin > 0; spin--) { /* anywhere in between */
    }
    kill(till, SIGKILL);
    int status;
    MUST(waitpid(till, &status, 0) == till && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    read_acks(y, pipe_fd[0], UINT32_MAX, false);
    close(pipe_fd[0]);
    if (cluster.server == 0 && cluster.dir[0]) pg_up(&cluster);
    recover(p, y);
}

static void kills(bool postgres, uint64_t rounds)
{
    struct place p = {0};
    struct tally *y = calloc(1, sizeof *y);
    uint64_t seed = getenv("EK_SEED") ? strtoull(getenv("EK_SEED"), NULL, 10) : 20261121;
    struct ek_random rng = ek_random_make(seed);
    MUST(y);
    if (getenv("EK_KILLS")) rounds = strtoull(getenv("EK_KILLS"), NULL, 10);
    snprintf(p.dir, sizeof p.dir, "/tmp/ek-kill-XXXXXX");
    MUST(mkdtemp(p.dir));
    snprintf(p.spool, sizeof p.spool, "%s/spool", p.dir);
    snprintf(p.url, sizeof p.url, "%s/ledger.db", p.dir);
    if (postgres) pg_database(&cluster, "kills", p.url, sizeof p.url);
    struct ek_ledger *l = open_ledger(&p);
    for (uint32_t k = 0; k < ACCOUNTS; k++) {
        bool before;
        char name[8];
        snprintf(name, sizeof name, "p%u", k);
        MUST(ek_ledger_account_add(l, name, "default", &p.account[k]) == EK_OK);
        struct ek_money m = {10000, 100000000};
        MUST(ek_ledger_pay(l, ek_id_random(), p.account[k], m, "", &before) == EK_OK);
    }
    ek_ledger_close(&l);
    uint64_t servers = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        bool kill_server = postgres && i % 4 == 3;
        servers += kill_server;
        one_round(&p, y, &rng, i + 1, kill_server);
    }
    printf("seed %llu: %llu kills, %llu of them with the server's; %u acknowledged, all found, books exact; "
           "%llu replayed\n", (unsigned long long)seed, (unsigned long long)rounds,
           (unsigned long long)servers, y->acks, (unsigned long long)y->replayed);
    assert_true(y->acks > 0 && y->checked == y->acks);
    free(y);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", p.dir);
    assert_int_equal(system(command), 0);
}

static void kills_on_sqlite(void **state)
{
    (void)state;
    kills(false, 20);
}

static void kills_on_postgres(void **state)
{
    (void)state;
    if (no_postgres) skip();
    kills(true, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kills_on_sqlite), cmocka_unit_test(kills_on_postgres),
    };
    signal(SIGPIPE, SIG_IGN);
    no_postgres = !pg_start(&cluster);
    int failed = cmocka_run_group_tests_name("ledger_kill", tests, NULL, NULL);
    pg_stop(&cluster);
    return failed;
}
