/* SPDX-License-Identifier: MIT */
/* Settlements in groups: of several doors at once on the same accounts, and by PostgreSQL's one statement
 * against SQLite's many, row by row. */
#include "cm.h"

#include "base/random.h"
#include "ledger/sql.h"
#include "ledger_place.h"

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
        while (ek_ledger_settle(l, at, CROWD_BATCH, o) != EK_OK) /* another keeps the file for long: again */
            MUST(ek_sql_again(ek_ledger_sql(l)) && !ek_ledger_lost(l));
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
        if (n % 13 == 3) r[i].fence = 0, r[i].charged = (struct ek_money){0, 0}; /* of a tier that is free */
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

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(doors_at_once), {"both_agree", both_agree, NULL, NULL, places}};
    places[1].missing = !pg_start(&cluster);
    int failed = cmocka_run_group_tests_name("ledger_settle", tests, NULL, NULL);
    pg_stop(&cluster);
    return failed;
}
