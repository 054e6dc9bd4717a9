/* SPDX-License-Identifier: MIT */
/* A step that has been in a release is never changed: a new one is added below. Both databases take the same
 * text (SQLite reads any type name; BYTEA holds its blobs as they are). */
#include "ledger/migrate.h"

#include <stdio.h>

static const char *const steps[] = {
    /* 1: money. Accounts hold what is free; a lease holds what a door may spend by itself; entries and
     * settlements are only ever added, and the other numbers follow from them (ek_ledger_audit). */
    "CREATE TABLE account (id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, tier TEXT NOT NULL,"
    "  state BIGINT NOT NULL DEFAULT 0, granted_nano BIGINT NOT NULL DEFAULT 0 CHECK (granted_nano >= 0),"
    "  topped_nano BIGINT NOT NULL DEFAULT 0, paid_nano BIGINT NOT NULL DEFAULT 0,"
    "  spent_nano BIGINT NOT NULL DEFAULT 0, forgiven_nano BIGINT NOT NULL DEFAULT 0,"
    "  fence BIGINT NOT NULL DEFAULT 0, created_ns BIGINT NOT NULL);"
    "CREATE TABLE lease (account BIGINT NOT NULL REFERENCES account (id), door TEXT NOT NULL,"
    "  fence BIGINT NOT NULL, granted_nano BIGINT NOT NULL, topped_nano BIGINT NOT NULL,"
    "  until_ns BIGINT NOT NULL, PRIMARY KEY (account, door));"
    "CREATE TABLE entry (name BYTEA PRIMARY KEY, account BIGINT NOT NULL, kind TEXT NOT NULL,"
    "  door TEXT NOT NULL, fence BIGINT NOT NULL, about BYTEA, granted_nano BIGINT NOT NULL,"
    "  topped_nano BIGINT NOT NULL, at_ns BIGINT NOT NULL, note TEXT NOT NULL);"
    "CREATE INDEX entry_account ON entry (account, at_ns);"
    "CREATE TABLE settlement (request BYTEA PRIMARY KEY, account BIGINT NOT NULL, fence BIGINT NOT NULL,"
    "  door TEXT NOT NULL, key BIGINT NOT NULL, user_hash BIGINT NOT NULL, model TEXT NOT NULL,"
    "  granted_nano BIGINT NOT NULL, topped_nano BIGINT NOT NULL, forgiven_nano BIGINT NOT NULL,"
    "  late BIGINT NOT NULL, at_ns BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL,"
    "  cached_tokens BIGINT NOT NULL, thinking_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL,"
    "  waited_ms BIGINT NOT NULL, ran_ms BIGINT NOT NULL, ending TEXT NOT NULL);"
    "CREATE INDEX settlement_account ON settlement (account, at_ns);"
    "CREATE TABLE usage_day (account BIGINT NOT NULL, day BIGINT NOT NULL, key BIGINT NOT NULL,"
    "  model TEXT NOT NULL, requests BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL,"
    "  cached_tokens BIGINT NOT NULL, output_tokens BIGINT NOT NULL, charged_nano BIGINT NOT NULL,"
    "  PRIMARY KEY (account, day, key, model))",

    /* 2: people. `version` is drawn from one counter in the transaction that changes a row, so that a door
     * can ask for what has changed since it last asked, and misses nothing. */
    "CREATE TABLE ledger_clock (version BIGINT NOT NULL);"
    "INSERT INTO ledger_clock VALUES (1);"
    "ALTER TABLE account ADD COLUMN version BIGINT NOT NULL DEFAULT 1;"
    "ALTER TABLE account ADD COLUMN budget_day_nano BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE account ADD COLUMN budget_month_nano BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE account ADD COLUMN running_max BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE account ADD COLUMN minute_requests BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE account ADD COLUMN minute_tokens BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE account ADD COLUMN day_thoughts BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE account ADD COLUMN borrow BIGINT NOT NULL DEFAULT 1;"
    "ALTER TABLE account ADD COLUMN expires_ns BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE account ADD COLUMN models TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE account ADD COLUMN addresses TEXT NOT NULL DEFAULT '';"
    "CREATE INDEX account_version ON account (version);"
    "CREATE TABLE api_key (id BIGINT PRIMARY KEY, account BIGINT NOT NULL REFERENCES account (id),"
    "  version BIGINT NOT NULL, name TEXT NOT NULL, end_user TEXT NOT NULL, hash BYTEA NOT NULL UNIQUE,"
    "  created_ns BIGINT NOT NULL, expires_ns BIGINT NOT NULL, revoked_ns BIGINT NOT NULL);"
    "CREATE INDEX api_key_version ON api_key (version);"
    "CREATE INDEX api_key_account ON api_key (account);"
    "CREATE TABLE invite (hash BYTEA PRIMARY KEY, tier TEXT NOT NULL, granted_nano BIGINT NOT NULL,"
    "  uses BIGINT NOT NULL CHECK (uses >= 0), expires_ns BIGINT NOT NULL, created_ns BIGINT NOT NULL);"
    "CREATE TABLE act (at_ns BIGINT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,"
    "  account BIGINT NOT NULL)",

    /* 3: codes (an invitation makes an account, a voucher tops one up); acts in one order; and answers that
     * were given under a name of the asker's, to be given again. */
    "CREATE TABLE code (hash BYTEA PRIMARY KEY, id BIGINT NOT NULL UNIQUE, kind BIGINT NOT NULL,"
    "  tier TEXT NOT NULL, granted_nano BIGINT NOT NULL, topped_nano BIGINT NOT NULL,"
    "  uses BIGINT NOT NULL CHECK (uses >= 0), expires_ns BIGINT NOT NULL, created_ns BIGINT NOT NULL,"
    "  note TEXT NOT NULL);"
    "INSERT INTO code SELECT hash, created_ns, 0, tier, granted_nano, 0, uses, expires_ns, created_ns, ''"
    "  FROM invite;"
    "DROP TABLE invite;"
    "CREATE TABLE redemption (code BYTEA NOT NULL, account BIGINT NOT NULL, at_ns BIGINT NOT NULL,"
    "  PRIMARY KEY (code, account));"
    "ALTER TABLE act ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;"
    "UPDATE act SET seq = (SELECT COUNT(*) FROM act b WHERE b.at_ns <= act.at_ns);"
    "UPDATE ledger_clock SET version = version + (SELECT COUNT(*) FROM act);"
    "CREATE INDEX act_seq ON act (seq);"
    "CREATE TABLE answer (name BYTEA PRIMARY KEY, asked BYTEA NOT NULL, status BIGINT NOT NULL,"
    "  said TEXT NOT NULL, at_ns BIGINT NOT NULL);"
    "CREATE INDEX answer_at ON answer (at_ns)",
};

int64_t ek_migrate_newest(void) { return (int64_t)EK_COUNT(steps); }

static void take_number(void *arg, const struct ek_sql_value *column, size_t count)
{
    MUST(count == 1);
    *(int64_t *)arg = column[0].number;
}

/* Between begin and commit: how far is it, and one step further. *version: where it is now. */
static enum ek_status one_step(struct ek_sql *db, int64_t *version)
{
    *version = 0;
    /* A lock for all who migrate; SQLite has it from BEGIN IMMEDIATE. */
    if (ek_sql_is_postgres(db)) {
        enum ek_status s = ek_sql_script(db, "SELECT pg_advisory_xact_lock(3847502918)");
        if (s != EK_OK) return s;
    }
    enum ek_status s = ek_sql_script(db,
                                     "CREATE TABLE IF NOT EXISTS ledger_version (version BIGINT NOT NULL)");
    if (s == EK_OK)
        s = ek_sql_run(db, "SELECT CAST(COALESCE(MAX(version), 0) AS BIGINT) FROM ledger_version",
                       NULL, 0,
                       take_number, version);
    if (s != EK_OK || *version < 0 || *version >= ek_migrate_newest()) return s;
    s = ek_sql_script(db, steps[*version]);
    struct ek_sql_value next = ek_sql_number(*version + 1);
    if (s == EK_OK) s = ek_sql_run(db, "INSERT INTO ledger_version VALUES ($1)", &next, 1, NULL, NULL);
    return s;
}

enum ek_status ek_migrate(struct ek_sql *db, char *why, size_t cap)
{
    MUST(cap > 0);
    for (int64_t version = 0;;) {
        enum ek_status s = ek_sql_begin(db);
        if (s == EK_OK) s = one_step(db, &version);
        if (s == EK_OK && version <= ek_migrate_newest()) s = ek_sql_commit(db);
        if (s != EK_OK || version > ek_migrate_newest()) ek_sql_rollback(db);
        if (s != EK_OK) {
            snprintf(why, cap, "%s", ek_sql_why(db));
            return s;
        }
        if (version > ek_migrate_newest()) {
            snprintf(why, cap, "the ledger's database is at version %lld,"
                     " and this program knows up to %lld: "
                     "use the newer program", (long long)version, (long long)ek_migrate_newest());
            return EK_INVALID;
        }
        if (version == ek_migrate_newest()) return EK_OK;
    }
}
