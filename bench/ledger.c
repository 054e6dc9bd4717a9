/* SPDX-License-Identifier: MIT */
/* Settlements a second through the store, and how long each waits until it is durable; what reserving and
 * settling costs the loop; and the CPU time of a settlement, in this process (loop and writer) and, where
 * the database is a PostgreSQL on this machine, in the server's processes, which says more than the clock
 * where others use the machine too.   bench_ledger URL SPOOL [SETTLEMENTS] [UNDER-WAY] [ACCOUNTS] */
#include "ledger/book.h"
#include "ledger/store.h"

#include "ledger/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define UNDER_WAY_MAX 4096u
#define ACCOUNTS_MAX 1000u

struct bench {
    struct ek_loop *loop;
    struct ek_store *store;
    struct ek_book *book;
    uint64_t account[ACCOUNTS_MAX], fence[ACCOUNTS_MAX];
    uint32_t accounts, under_way, wanted, started, done;
    uint64_t *waited_ns, book_ns;
    struct ek_store_op setup;
    int64_t server; /* PostgreSQL's first process; 0: none */
    struct ek_settle_op op[UNDER_WAY_MAX];
    uint64_t asked_ns[UNDER_WAY_MAX];
};

static struct bench b;

static void take_number(void *arg, const struct ek_sql_value *column, size_t count)
{
    MUST(count == 1);
    *(int64_t *)arg = column[0].number;
}

/* Number `at` (from 0 on) of a file under /proc/PID; 0 where there is none. */
static uint64_t proc_number(int64_t pid, const char *file, int at)
{
    char path[64], word[256];
    uint64_t n = 0;
    snprintf(path, sizeof path, "/proc/%lld/%s", (long long)pid, file);
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    for (int i = 0; i <= at && fscanf(f, "%255s", word) == 1; i++) n = strtoull(word, NULL, 10);
    fclose(f);
    return n;
}

/* Nanoseconds of CPU that the server and its children have had. */
static uint64_t server_cpu_ns(void)
{
    char path[64], line[4096] = "";
    uint64_t ns = proc_number(b.server, "schedstat", 0);
    snprintf(path, sizeof path, "/proc/%lld/task/%lld/children", (long long)b.server, (long long)b.server);
    FILE *f = b.server ? fopen(path, "r") : NULL;
    if (!f) return 0;
    if (!fgets(line, sizeof line, f)) line[0] = '\0';
    fclose(f);
    char *at = line;
    for (long pid; (pid = strtol(at, &at, 10)) > 0;) ns += proc_number(pid, "schedstat", 0);
    return ns;
}

static uint64_t own_cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * EK_S_NS +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

static enum ek_status set_up(struct ek_ledger *l, struct ek_store_op *op)
{
    (void)op;
    if (ek_sql_is_postgres(ek_ledger_sql(l))) {
        int64_t backend = 0;
        MUST(ek_sql_run(ek_ledger_sql(l), "SELECT pg_backend_pid()", NULL, 0, take_number, &backend) ==
            EK_OK);
        b.server = (int64_t)proc_number(backend, "stat", 3);
    }
    for (uint32_t k = 0; k < b.accounts; k++) {
        char name[40];
        bool before;
        struct ek_lease lease;
        snprintf(name, sizeof name, "bench-%llx", (unsigned long long)ek_id_random().lo);
        MUST(ek_ledger_account_add(l, name, "default", &b.account[k]) == EK_OK);
        struct ek_money m = {0, EK_MONEY_MAX / ACCOUNTS_MAX / 2};
        MUST(ek_ledger_pay(l, ek_id_random(), b.account[k], m, "", &before) == EK_OK);
        MUST(ek_ledger_lease(l, b.account[k], INT64_MAX / 8, &lease) == EK_OK);
        b.fence[k] = lease.fence;
    }
    return EK_OK;
}

static void go(struct bench *x, uint32_t i);

static void settled(struct ek_store_op *op)
{
    uint32_t i = (uint32_t)(EK_CONTAINER(op, struct ek_settle_op, op) - b.op);
    MUST(op->status == EK_OK && !b.op[i].spooled);
    b.waited_ns[b.done++] = ek_clock_read().mono_ns - b.asked_ns[i];
    if (b.done == b.wanted) ek_loop_stop(b.loop);
    if (b.started < b.wanted) go(&b, i);
}

static void go(struct bench *x, uint32_t i)
{
    uint32_t k = x->started++ % x->accounts;
    struct ek_now now = ek_clock_read();
    struct ek_hold_ask ask = {.account = x->account[k], .request = ek_id_random(), .need_nano = 1000,
                              .least_nano = 10, .overdraft_nano = 1};
    uint64_t from = ek_clock_read().mono_ns;
    MUST(ek_book_reserve(x->book, &ask, now).verdict == EK_HOLD_GRANTED);
    struct ek_settlement s = ek_book_settle(x->book, ask.request, 700, now);
    x->op[i].record = (struct ek_settle_record){
        .request = ask.request, .account = s.account, .fence = s.fence, .charged = s.charged, .key = 1,
        .at_unix_ns = now.unix_ns, .prompt_tokens = 100, .output_tokens = 500, .model = "demo",
        .ending = "none"};
    x->asked_ns[i] = ek_clock_read().mono_ns;
    MUST(ek_store_settle(x->store, &x->op[i], settled) == EK_OK);
    x->book_ns += ek_clock_read().mono_ns - from;
}

static void began(struct ek_store_op *op)
{
    MUST(op->status == EK_OK);
    ek_loop_stop(b.loop);
}

static int by_size(const void *x, const void *y)
{
    uint64_t p = *(const uint64_t *)x, q = *(const uint64_t *)y;
    return p < q ? -1 : p > q;
}

int main(int argc, char **argv)
{
    char why[256];
    if (argc < 3) {
        fprintf(stderr, "bench_ledger URL SPOOL [SETTLEMENTS] [UNDER-WAY] [ACCOUNTS]\n");
        return 64;
    }
    b.wanted = argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 20000;
    b.under_way = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 100;
    b.accounts = argc > 5 ? (uint32_t)strtoul(argv[5], NULL, 10) : 100;
    MUST(b.under_way > 0 && b.under_way <= UNDER_WAY_MAX && b.accounts > 0 && b.accounts <= ACCOUNTS_MAX);
    MUST(b.wanted >= b.under_way);
    b.waited_ns = calloc(b.wanted, sizeof *b.waited_ns);
    struct ek_book_options bo = {.accounts_max = ACCOUNTS_MAX, .holds_max = UNDER_WAY_MAX, .done_max =
        1000};
    b.book = ek_book_new(&bo);
    b.loop = ek_loop_new();
    struct ek_store_options so = {.ledger = {argv[1], "bench", 3600 * EK_S_NS}, .spool_path = argv[2]};
    if (!b.waited_ns || !b.book || ek_store_open(b.loop, &so, &b.store, why, sizeof why) != EK_OK) {
        fprintf(stderr, "bench_ledger: %s\n", why);
        return 1;
    }
    MUST(ek_store_do(b.store, &b.setup, set_up, began) == EK_OK);
    ek_loop_run(b.loop);
    for (uint32_t k = 0; k < b.accounts; k++) {
        struct ek_money m = {0, EK_MONEY_MAX / ACCOUNTS_MAX / 2};
        MUST(ek_book_account(b.book, b.account[k], &(struct ek_book_limits){0}, ek_clock_read()) == EK_OK);
        MUST(ek_book_fund(b.book, b.account[k], ek_id_random(), b.fence[k], m) == EK_PAID);
    }
    uint64_t from = ek_clock_read().mono_ns, cpu = own_cpu_ns(), server = server_cpu_ns();
    for (uint32_t i = 0; i < b.under_way; i++) go(&b, i);
    ek_loop_run(b.loop);
    double s = (double)(ek_clock_read().mono_ns - from) * 1e-9;
    cpu = own_cpu_ns() - cpu;
    server = server_cpu_ns() - server;
    qsort(b.waited_ns, b.wanted, sizeof *b.waited_ns, by_size);
    struct ek_store_counters c;
    ek_store_counters(b.store, &c);
    printf("%u settlements, %u under way, %u accounts: %.0f a second; durable after p50 %.2f ms, "
           "p99 %.2f ms, max %.2f ms; %.1f a commit; loop %.2f us a request (reserve, settle, hand over);"
           " CPU a "
           "settlement %.1f us here, %.1f us in the server\n",
           b.wanted, b.under_way, b.accounts, b.wanted / s, (double)b.waited_ns[b.wanted / 2] * 1e-6,
           (double)b.waited_ns[b.wanted / 100 * 99] * 1e-6, (double)b.waited_ns[b.wanted - 1] * 1e-6,
           (double)c.settled / (double)c.batches, (double)b.book_ns * 1e-3 / b.wanted,
           (double)cpu * 1e-3 / b.wanted, (double)server * 1e-3 / b.wanted);
    ek_store_close(&b.store);
    ek_loop_free(&b.loop);
    ek_book_free(&b.book);
    free(b.waited_ns);
    return 0;
}
