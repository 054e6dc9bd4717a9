/* SPDX-License-Identifier: MIT */
/* Where tests of the stored ledger keep theirs: a SQLite file or a database of a private PostgreSQL, each
 * new for a test; and what such tests do again and again. */
#ifndef EK_TESTS_LEDGER_PLACE_H
#define EK_TESTS_LEDGER_PLACE_H

#include "ledger/ledger.h"
#include "pg_cluster.h"

struct place {
    bool postgres, missing;
    struct pg_cluster *cluster;
    char dir[64], url[256];
};

static struct pg_cluster cluster;

static inline void fresh(struct place *p) /* an empty database */
{
    if (p->postgres) {
        pg_database(&cluster, "ledger", p->url, sizeof p->url);
        return;
    }
    snprintf(p->dir, sizeof p->dir, "/tmp/ek-ledger-XXXXXX");
    MUST(mkdtemp(p->dir));
    snprintf(p->url, sizeof p->url, "%s/ledger.db", p->dir);
}

static inline void clear(struct place *p)
{
    char command[128];
    if (!p->dir[0]) return;
    snprintf(command, sizeof command, "rm -rf %s", p->dir);
    assert_int_equal(system(command), 0);
    p->dir[0] = '\0';
}

static inline struct ek_ledger *open_as(const struct place *p, const char *door, uint64_t lease_ns)
{
    char why[256];
    struct ek_ledger *l = NULL;
    struct ek_ledger_options o = {.url = p->url, .door = door, .lease_ns = lease_ns};
    enum ek_status s = ek_ledger_open(&o, &l, why, sizeof why);
    if (s != EK_OK) printf("%s\n", why);
    assert_int_equal(s, EK_OK);
    return l;
}

static inline void must_balance(struct ek_ledger *l)
{
    struct ek_audit a;
    assert_int_equal(ek_ledger_audit(l, &a), EK_OK);
    if (a.wrong) printf("%s\n", a.first);
    assert_int_equal(a.wrong, 0);
    assert_int_equal(a.balance_nano + a.leased_nano + a.spent_nano, a.paid_nano);
}

static inline struct ek_settle_record record(uint64_t request, uint64_t account, uint64_t fence,
                                      int64_t granted,
                                      int64_t topped)
{
    return (struct ek_settle_record){.request = {7, request}, .account = account, .fence = fence,
                                     .key = 3,
                                     .charged = {granted, topped}, .at_unix_ns = ek_clock_read().unix_ns,
                                     .prompt_tokens = 10, .output_tokens = 20, .model = "m'); DROP TABLE x",
                                     .ending = "none"};
}

static inline struct ek_settle_outcome settle_one(struct ek_ledger *l, struct ek_settle_record r)
{
    const struct ek_settle_record *one = &r;
    struct ek_settle_outcome out;
    assert_int_equal(ek_ledger_settle(l, &one, 1, &out), EK_OK);
    return out;
}

static inline uint64_t account_with(struct ek_ledger *l, const char *name, int64_t granted, int64_t topped)
{
    uint64_t id;
    bool before;
    assert_int_equal(ek_ledger_account_add(l, name, "default", &id), EK_OK);
    struct ek_money m = {granted, topped};
    assert_int_equal(ek_ledger_pay(l, ek_id_random(), id, m, "first", &before), EK_OK);
    return id;
}

static struct place places[2] = {{.postgres = false}, {.postgres = true}};

#define BOTH(f) \
    {#f " on SQLite", f, NULL, NULL, &places[0]}, \
    {#f " on PostgreSQL", f, NULL, NULL, &places[1]}

#endif
