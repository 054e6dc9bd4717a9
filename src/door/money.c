/* SPDX-License-Identifier: MIT */
/* The room of money as a whole: birth, the keys and accounts that have changed (asked for each second),
 * renewing of leases, the windows of several doors, numbers, the end. */
#include "door/money_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BOOK_HOLDS_SPARE 8192u   /* beside those in line: running ones, and places kept */
#define BOOK_DONE_MAX 4096u
#define STORE_QUEUE_MAX 65536u
#define ACCOUNT_ROWS 256u /* in one refresh */
#define KEY_ROWS 1024u
#define SPOOL_PATH_MAX 4200u
#define BERTH_MARK "~" /* NAME~2: the leases of another process of the door NAME */

struct ek_store *ek_door_money_store(const struct ek_door *d) { return d->money ? d->money->store : NULL; }
struct ek_book *ek_door_money_book(const struct ek_door *d) { return d->money ? d->money->book : NULL; }

struct ek_keyring *ek_door_money_keyring(const struct ek_door *d)
{
    return d->money ? d->money->keyring : NULL;
}

bool ek_door_money_loaded(const struct ek_door *d) { return d->money && d->money->loaded; }

/* ---- what has changed -------------------------------------------------------------------------- */

static void account_changed(struct ek_door_money *m, const struct ek_account_row *row)
{
    if (ek_keyring_account(m->keyring, row) != EK_OK) {
        ek_error(m->door->log, "no memory for an account of the ledger");
        return;
    }
    struct ek_book_state now;
    if (!ek_book_look(m->book, row->id, &now)) return;
    struct ek_book_limits limits = {.day_nano = row->limits.budget_day_nano,
                                    .month_nano = row->limits.budget_month_nano};
    enum ek_status s = ek_book_account(m->book, row->id, &limits, ek_door_now(m->door));
    MUST(s == EK_OK); /* it is there */
}

static void keep_account(void *arg, const struct ek_account_row *row)
{
    struct money_rows *rows = arg;
    MUST(rows->accounts < ACCOUNT_ROWS);
    rows->account[rows->accounts++] = *row;
}

static void keep_key(void *arg, const struct ek_key_row *row)
{
    struct money_rows *rows = arg;
    MUST(rows->keys < KEY_ROWS);
    rows->key[rows->keys++] = *row;
}

static enum ek_status read_rows(struct ek_ledger *l, struct ek_store_op *op)
{
    struct money_rows *rows = EK_CONTAINER(op, struct money_rows, op);
    rows->accounts = rows->keys = 0;
    enum ek_status s = ek_people_accounts(l, rows->accounts_version, ACCOUNT_ROWS, keep_account, rows);
    if (s == EK_OK) s = ek_people_keys(l, rows->keys_version, KEY_ROWS, keep_key, rows);
    return s;
}

/* Accounts before keys, so that a key whose account is new is known when it is used. True: there is more. */
static bool feed(struct ek_door_money *m)
{
    struct money_rows *rows = &m->rows;
    for (size_t i = 0; i < rows->accounts; i++) account_changed(m, &rows->account[i]);
    for (size_t i = 0; i < rows->keys; i++)
        if (ek_keyring_key(m->keyring, &rows->key[i]) != EK_OK)
            ek_error(m->door->log, "no memory for a key of the ledger");
    bool more = rows->accounts == ACCOUNT_ROWS || rows->keys == KEY_ROWS;
    if (!more) m->loaded = true;
    return more;
}

static void ask_for_rows(struct ek_door_money *m);

static void rows_came(struct ek_store_op *op)
{
    struct ek_door_money *m = EK_CONTAINER(op, struct money_rows, op)->room;
    MUST_OBJ(m, EK_DOOR_MONEY_MAGIC);
    m->refreshing = false;
    bool more = op->status == EK_OK && feed(m), again = !more && m->again;
    if (again) m->again = false;
    if ((more || again) && !m->closing) ask_for_rows(m);
    if (more) return;
    m->refreshed++;
    ek_door_office_known(m->door, m->refreshed);
}

static void ask_for_rows(struct ek_door_money *m)
{
    if (m->refreshing) return;
    m->rows.accounts_version = ek_keyring_accounts_version(m->keyring);
    m->rows.keys_version = ek_keyring_keys_version(m->keyring);
    m->refreshing = ek_store_do(m->store, &m->rows.op, read_rows, rows_came) == EK_OK;
}

const struct ek_secret *ek_door_money_secret(const struct ek_door *d)
{
    return d->money ? &d->money->secret : NULL;
}

uint64_t ek_door_money_refresh(struct ek_door *d)
{
    struct ek_door_money *m = d->money;
    if (!m || m->closing) return 0;
    m->again = m->refreshing; /* what is being read now may be older than the change */
    ask_for_rows(m);
    return m->refreshing ? m->refreshed + 1 + m->again : 0;
}

static void refresh_due(struct ek_timer *t)
{
    struct ek_door_money *m = EK_CONTAINER(t, struct ek_door_money, refresh);
    ek_timer_set(m->door->loop, t, ek_door_now(m->door).mono_ns + EK_DOOR_REFRESH_NS);
    ask_for_rows(m);
}

/* ---- the clock --------------------------------------------------------------------------------- */

static void tick_due(struct ek_timer *t)
{
    struct ek_door_money *m = EK_CONTAINER(t, struct ek_door_money, tick);
    struct ek_now now = ek_door_now(m->door);
    ek_timer_set(m->door->loop, t, now.mono_ns + EK_DOOR_TICK_NS);
    ek_door_accounts_tick(m);
    ek_door_purse_resend(m);
    if (m->shared) (void)ek_shared_tick(m->shared, now, NULL, NULL); /* one under way: it will be said then */
}

static void renew_due(struct ek_timer *t)
{
    struct ek_door_money *m = EK_CONTAINER(t, struct ek_door_money, renew);
    uint64_t third_ns = m->door->config->ledger.lease_ns / 3;
    ek_timer_set(m->door->loop, t, ek_door_now(m->door).mono_ns + third_ns);
    ek_door_accounts_renew(m);
}

static void store_changed(void *arg, bool here, const char *why)
{
    struct ek_door_money *m = arg;
    MUST_OBJ(m, EK_DOOR_MONEY_MAGIC);
    if (here) ek_info(m->door->log, "the ledger can be reached again");
    else ek_warn(m->door->log, "the ledger cannot be reached (%s): settlements go to the spool", why);
    if (here && !m->closing) ask_for_rows(m);
}

/* ---- birth ------------------------------------------------------------------------------------- */

/* "file.db" and ".spool" as "file.db.spool". False: the database is no file. */
static bool beside(const char *url, const char *ending, char *out, size_t cap)
{
    struct ek_str u = ek_str_of(url);
    if (strstr(url, "://")) return false;
    if (ek_str_starts(u, EK_STR("sqlite:"))) u = ek_str_skip(u, 7);
    int n = snprintf(out, cap, "%.*s%s", (int)u.len, u.data, ending);
    return n > 0 && (size_t)n < cap;
}

static bool open_secret(struct ek_door_money *m, const struct ek_ledger_section *o, char *why, size_t cap)
{
    char path[1024];
    const char *file = o->secret;
    if (!file && !getenv("EVENKEEL_SECRET") && beside(o->url, ".secret", path, sizeof path)) file = path;
    return ek_secret_load(file, &m->secret, why, cap) == EK_OK;
}

static struct ek_ledger_options ledger_options(const struct ek_ledger_section *o,
                                               char host[EK_LEDGER_NAME_MAX + 1])
{
    host[EK_LEDGER_NAME_MAX] = '\0';
    if (gethostname(host, EK_LEDGER_NAME_MAX) != 0 || !*host) snprintf(host, 5, "door");
    return (struct ek_ledger_options){.url = o->url, .door = o->door ? o->door : host,
                                      .lease_ns = o->lease_ns};
}

/* Everything there is, before the first caller is asked for a key. A ledger that is away now is read as
 * soon as it is there. */
static bool load(struct ek_door_money *m, const struct ek_ledger_options *lo, char *why, size_t cap)
{
    struct ek_ledger *l = NULL;
    enum ek_status s = ek_ledger_open(lo, &l, why, cap);
    bool more = true;
    while (s == EK_OK && more) {
        m->rows.accounts_version = ek_keyring_accounts_version(m->keyring);
        m->rows.keys_version = ek_keyring_keys_version(m->keyring);
        s = read_rows(l, &m->rows.op);
        if (s == EK_OK) more = feed(m);
    }
    ek_ledger_close(&l);
    return s == EK_OK || s == EK_IO;
}

/* Each process of one door has a spool and leases of its own. */
static const char *of_berth(const char *name, const char *mark, uint32_t berth, char *out, size_t cap)
{
    if (!berth) return name;
    MUST(berth < 10 && cap > strlen(mark) + 2);
    snprintf(out, cap, "%.*s%s%u", (int)(cap - strlen(mark) - 2), name, mark, berth);
    return out;
}

/* What processes that are no more have left in theirs: settlements are stored, leases given back. */
static void gather(struct ek_door_money *m, const struct ek_ledger_section *o,
                   const struct ek_ledger_options *lo, const char *spool)
{
    struct ek_door *d = m->door;
    for (uint32_t b = 1; b < EK_SWAP_BERTHS; b++) {
        char path[SPOOL_PATH_MAX], name[EK_LEDGER_NAME_MAX + 1], why[256];
        struct ek_store *s = NULL;
        struct ek_store_options so = {.ledger = *lo, .spool_bytes_max = o->spool_bytes, .on_loop = true};
        so.spool_path = of_berth(spool, ".berth", b, path, sizeof path);
        if (access(so.spool_path, F_OK) != 0) continue;
        so.ledger.door = of_berth(lo->door, BERTH_MARK, b, name, sizeof name);
        if (ek_store_open(d->loop, &so, &s, why, sizeof why) != EK_OK) continue; /* somebody is there */
        struct ek_store_counters c;
        ek_store_counters(s, &c);
        if (c.replayed) ek_info(d->log, "%llu settlements of another process of this door are stored",
                                (unsigned long long)c.replayed);
        ek_store_close(&s);
        if (c.here && !c.spool_records) unlink(so.spool_path);
    }
}

static bool open_store(struct ek_door_money *m, const struct ek_ledger_section *o,
                       const struct ek_ledger_options *lo, bool on_loop, char *why, size_t cap)
{
    char path[1024];
    const char *spool = o->spool;
    if (!spool && beside(o->url, ".spool", path, sizeof path)) spool = path;
    if (!spool) {
        snprintf(why, cap, "ledger.spool must be given");
        return false;
    }
    char own[SPOOL_PATH_MAX];
    if (m->door->swap->state != EK_SWAP_TAKING) gather(m, o, lo, spool);
    spool = of_berth(spool, ".berth", m->door->swap->berth, own, sizeof own);
    struct ek_store_options so = {.ledger = *lo, .spool_path = spool, .spool_bytes_max = o->spool_bytes,
                                  .queue_max = STORE_QUEUE_MAX, .on_loop = on_loop, .changed = store_changed,
                                  .arg = m};
    return ek_store_open(m->door->loop, &so, &m->store, why, cap) == EK_OK;
}

static bool make(struct ek_door_money *m)
{
    uint64_t seed[2];
    struct ek_door *d = m->door;
    ek_loop_random(d->loop, seed, sizeof seed);
    struct ek_book_options bo = {.accounts_max = EK_DOOR_ACCOUNTS_MAX, .done_max = BOOK_DONE_MAX,
                                 .seed = seed[0],
                                 .holds_max = (uint32_t)d->config->queue.waiting_max * 2 + BOOK_HOLDS_SPARE};
    m->book = ek_book_new(&bo);
    m->keyring = ek_keyring_new(&m->secret, seed[1]);
    if (m->keyring && d->config->oidc.count) ek_keyring_keep_names(m->keyring);
    m->rows.account = calloc(ACCOUNT_ROWS, sizeof *m->rows.account);
    m->rows.key = calloc(KEY_ROWS, sizeof *m->rows.key);
    return m->book && m->keyring && m->rows.account && m->rows.key;
}

static void unmake(struct ek_door *d)
{
    struct ek_door_money *m = d->money;
    d->money = NULL;
    ek_book_free(&m->book);
    ek_keyring_free(&m->keyring);
    ek_secret_wipe(&m->secret);
    free(m->rows.account);
    free(m->rows.key);
    ek_map_free(&m->accounts);
    m->magic = 0;
    free(m);
}

bool ek_door_money_open(struct ek_door *d, bool on_loop, char *why, size_t cap)
{
    const struct ek_ledger_section *o = &d->config->ledger;
    char host[EK_LEDGER_NAME_MAX + 1];
    MUST(!d->money);
    if (!o->url) return true;
    struct ek_door_money *m = d->money = calloc(1, sizeof *m);
    MUST(m);
    m->magic = EK_DOOR_MONEY_MAGIC;
    m->door = d;
    m->rows.room = m->renewal.room = m;
    ek_list_init(&m->all);
    ek_list_init(&m->dirty);
    ek_list_init(&m->unsent);
    ek_post_init(&m->serve, ek_door_accounts_serve);
    ek_timer_init(&m->tick, tick_due);
    ek_timer_init(&m->refresh, refresh_due);
    ek_timer_init(&m->renew, renew_due);
    ek_histogram_init(&m->finish_s, ek_seconds_bounds, EK_SECONDS_BOUNDS);
    struct ek_ledger_options lo = ledger_options(o, host);
    char name[EK_LEDGER_NAME_MAX + 1];
    lo.door = of_berth(lo.door, BERTH_MARK, d->swap->berth, name, sizeof name);
    m->several = strstr(o->url, "://") != NULL;
    bool ok = open_secret(m, o, why, cap);
    if (ok && !make(m)) {
        snprintf(why, cap, "no memory for the ledger");
        ok = false;
    }
    if (!ok || !load(m, &lo, why, cap) || !open_store(m, o, &lo, on_loop, why, cap)) {
        unmake(d);
        return false;
    }
    if (o->redis) {
        struct ek_shared_options ro = {.address = o->redis, .prefix = o->redis_prefix, .door = lo.door};
        m->shared = ek_shared_new(d->loop, &ro, d->windows);
    }
    uint64_t now_ns = ek_door_now(d).mono_ns;
    ek_timer_set(d->loop, &m->tick, now_ns + EK_DOOR_TICK_NS);
    ek_timer_set(d->loop, &m->refresh, now_ns + EK_DOOR_REFRESH_NS);
    ek_timer_set(d->loop, &m->renew, now_ns + o->lease_ns / 3);
    if (d->config->access.open_on_loopback || d->config->access.open_to_all)
        ek_warn(d->log, "%s needs no key and pays nothing: access.%s is true",
                d->config->access.open_to_all ? "anybody" : "whoever comes from this machine "
                "itself", d->config->access.open_to_all ? "open_to_all" : "open_on_loopback");
    ek_info(d->log, "the ledger has %llu keys", (unsigned long long)ek_keyring_keys(m->keyring));
    return true;
}

void ek_door_money_shares(struct ek_door *d)
{
    if (d->money) d->money->several = true;
}

/* ---- the end ----------------------------------------------------------------------------------- */

void ek_door_money_close(struct ek_door *d)
{
    struct ek_door_money *m = d->money;
    if (!m) return;
    MUST_OBJ(m, EK_DOOR_MONEY_MAGIC);
    m->closing = true;
    ek_timer_clear(d->loop, &m->tick);
    ek_timer_clear(d->loop, &m->refresh);
    ek_timer_clear(d->loop, &m->renew);
    ek_door_purse_resend(m);
    ek_door_accounts_close(m);
    ek_shared_free(&m->shared);
    ek_store_close(&m->store); /* calls every `done` that is left */
    ek_post_clear(d->loop, &m->serve);
    if (m->unsent.count)
        ek_error(d->log, "%zu settlements could not be stored and are lost", m->unsent.count);
    ek_door_purse_abandon(m);
    ek_door_accounts_free(m);
    MUST(m->calls == 0);
    unmake(d);
}

/* ---- numbers ----------------------------------------------------------------------------------- */

static void put_nano(struct ek_buf *b, const char *name, const char *type, const char *help, int64_t nano)
{
    ek_metric_help(b, name, type, help);
    ek_metric_double(b, name, NULL, (double)nano * 1e-9);
}

static void put_one(struct ek_buf *b, const char *name, const char *type, const char *help, uint64_t value)
{
    ek_metric_help(b, name, type, help);
    ek_metric_value(b, name, NULL, value);
}

static void put_requests(const struct ek_door_money *m, struct ek_buf *b)
{
    const struct money_counters *c = &m->count;
    const struct {
        const char *what;
        uint64_t value;
    } row[] = {{"reserved", c->reserved}, {"waited", c->waited}, {"extended", c->extended},
               {"settled", c->settled}, {"partial", c->partial}, {"released", c->released},
               {"balance_end", c->ended}, {"ledger_away", c->cut_away}, {"overtime", c->overtime},
               {"late", c->late},
               {"undurable", c->undurable}};
    ek_metric_help(b, "evenkeel_ledger_requests_total", "counter", "What became of requests' reserves.");
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        char label[64];
        snprintf(label, sizeof label, "what=\"%s\"", row[i].what);
        ek_metric_value(b, "evenkeel_ledger_requests_total", label, row[i].value);
    }
    put_one(b, "evenkeel_ledger_waiting", "gauge", "Requests that wait for money of their account.",
            m->waiting);
}

static void put_leases(const struct ek_door_money *m, struct ek_buf *b)
{
    const struct money_counters *c = &m->count;
    const struct {
        const char *what;
        uint64_t value;
    } row[] = {{"taken", c->leases}, {"empty", c->leases_empty}, {"given", c->given}, {"renewed", c->renewed},
               {"lost", c->lost}};
    ek_metric_help(b, "evenkeel_ledger_leases_total", "counter", "Leases by what was done.");
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        char label[64];
        snprintf(label, sizeof label, "what=\"%s\"", row[i].what);
        ek_metric_value(b, "evenkeel_ledger_leases_total", label, row[i].value);
    }
}

void ek_door_money_metrics(struct ek_door *d, struct ek_buf *b)
{
    struct ek_door_money *m = d->money;
    struct ek_store_counters s;
    struct ek_book_totals t;
    if (!m) return;
    ek_store_counters(m->store, &s);
    ek_book_totals(m->book, &t);
    put_one(b, "evenkeel_ledger_up", "gauge", "1 while the database can be reached.", s.here);
    put_one(b, "evenkeel_ledger_away_total", "counter", "Times it was lost.", s.away);
    put_nano(b, "evenkeel_ledger_free", "gauge", "Leased and not reserved, in the currency.",
             ek_money_sum(t.pocket[EK_POCKET_FREE]));
    put_nano(b, "evenkeel_ledger_reserved", "gauge", "Reserved for requests.",
             ek_money_sum(t.pocket[EK_POCKET_HELD]));
    put_nano(b, "evenkeel_ledger_charged_total", "counter", "Charged to accounts.", m->count.charged_nano);
    put_nano(b, "evenkeel_ledger_forgiven_total", "counter", "Cost that could not be charged.",
             m->count.forgiven_nano);
    put_one(b, "evenkeel_ledger_accounts", "gauge", "Accounts that have a lease here or want one.",
            m->all.count);
    put_one(b, "evenkeel_ledger_keys", "gauge", "Keys known.", ek_keyring_keys(m->keyring));
    put_requests(m, b);
    put_leases(m, b);
    put_one(b, "evenkeel_ledger_queued", "gauge", "Settlements and jobs at the writer.", s.queued);
    put_one(b, "evenkeel_ledger_spool_records", "gauge", "Settlements in the spool.", s.spool_records);
    put_one(b, "evenkeel_ledger_spooled_total", "counter", "Settlements that went to the spool.", s.spooled);
    put_one(b, "evenkeel_ledger_replayed_total", "counter", "Of them, brought to the database.", s.replayed);
    put_one(b, "evenkeel_ledger_batches_total", "counter", "Commits of settlements.", s.batches);
    ek_metric_help(b, "evenkeel_ledger_commit_seconds", "histogram",
                   "A settlement, from asking to durable.");
    ek_metric_histogram(b, "evenkeel_ledger_commit_seconds", NULL, &s.commit);
    ek_metric_help(b, "evenkeel_ledger_finish_seconds", "histogram",
                   "How long the end of an answer was held for that.");
    ek_metric_histogram(b, "evenkeel_ledger_finish_seconds", NULL, &m->finish_s);
    if (!m->shared) return;
    struct ek_shared_counters r;
    ek_shared_counters(m->shared, &r);
    put_one(b, "evenkeel_windows_shared_up", "gauge", "1 while Redis can be reached.", r.here);
    put_one(b, "evenkeel_windows_doors", "gauge", "Doors that share the windows.", r.doors);
    put_one(b, "evenkeel_windows_exchanges_total", "counter", "Exchanges with Redis.", r.exchanges);
    put_one(b, "evenkeel_windows_failures_total", "counter", "Of them, failed.", r.failures);
}
