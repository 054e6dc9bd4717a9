/* SPDX-License-Identifier: MIT */
/* What both databases have in common: which driver, which statement, which transaction. */
#include "ledger/sql_inside.h"

#include <stdio.h>
#include <stdlib.h>

enum ek_status ek_sql_open(const char *url, bool must_exist, struct ek_sql **out, char *why, size_t cap)
{
    struct ek_str u = ek_str_of(url);
    struct ek_sql *db = calloc(1, sizeof *db);
    MUST(db);
    MUST(cap > 0);
    db->magic = EK_SQL_MAGIC;
    db->patience_ms = EK_SQL_PATIENCE_MS;
    db->is_postgres = ek_str_starts(u, EK_STR("postgres://")) || ek_str_starts(u,
                                                                               EK_STR("postgresql://"));
    enum ek_status s = EK_INVALID;
    if (db->is_postgres) {
        s = ek_sql_open_postgres(db, url);
    } else if (ek_str_starts(u, EK_STR("sqlite:"))) {
        s = ek_sql_open_sqlite(db, url + 7, must_exist);
    } else if (u.len > 0 && !strstr(url, "://")) {
        s = ek_sql_open_sqlite(db, url, must_exist);
    } else {
        snprintf(db->why, sizeof db->why, "not the address of a database: a path, or postgres://...");
    }
    *why = '\0';
    if (s != EK_OK) {
        snprintf(why, cap, "%s", db->why);
        ek_sql_close(&db);
    }
    *out = db;
    return s;
}

void ek_sql_close(struct ek_sql **db)
{
    if (!*db) return;
    MUST_OBJ(*db, EK_SQL_MAGIC);
    if ((*db)->driver) (*db)->driver->close(*db);
    (*db)->magic = 0;
    free(*db);
    *db = NULL;
}

/* The statement's place among the prepared ones; prepared now if it is new. */
static enum ek_status find(struct ek_sql *db, const char *text, size_t *index)
{
    for (*index = 0; *index < db->statements; ++*index)
        if (db->text[*index] == text) return EK_OK;
    MUST(db->statements < EK_SQL_STATEMENTS_MAX);
    enum ek_status s = db->driver->prepare(db, *index, text);
    if (s != EK_OK) return s;
    db->text[db->statements++] = text;
    return EK_OK;
}

static enum ek_status ready(struct ek_sql *db)
{
    MUST_OBJ(db, EK_SQL_MAGIC);
    db->again = false;
    return db->lost ? EK_IO : EK_OK;
}

enum ek_status ek_sql_run(struct ek_sql *db, const char *text, const struct ek_sql_value *arg,
                          size_t args,
                          ek_sql_row_fn *row, void *row_arg)
{
    size_t index;
    enum ek_status s = ready(db);
    MUST(args <= EK_SQL_ARGS_MAX);
    if (s == EK_OK) s = find(db, text, &index);
    return s == EK_OK ? db->driver->run(db, index, arg, args, row, row_arg) : s;
}

enum ek_status ek_sql_each(struct ek_sql *db, const char *text, const struct ek_sql_value *arg,
                           size_t args,
                           size_t rows, int32_t *changed)
{
    size_t index;
    enum ek_status s = ready(db);
    MUST(args <= EK_SQL_ARGS_MAX && rows <= EK_SQL_EACH_MAX);
    if (rows == 0) return s;
    if (s == EK_OK) s = find(db, text, &index);
    return s == EK_OK ? db->driver->each(db, index, arg, args, rows, changed) : s;
}

enum ek_status ek_sql_many(struct ek_sql *db, const char *text, const struct ek_sql_value *one,
                           size_t ones, const struct ek_sql_value *arg, size_t args, size_t rows,
                           ek_sql_row_fn *row, void *row_arg)
{
    size_t index;
    enum ek_status s = ready(db);
    MUST(ones + args <= EK_SQL_ARGS_MAX && rows <= EK_SQL_EACH_MAX);
    MUST(db->driver->many);
    if (rows == 0) return s;
    if (s == EK_OK) s = find(db, text, &index);
    return s == EK_OK ? db->driver->many(db, index, one, ones, arg, args, rows, row, row_arg) : s;
}

enum ek_status ek_sql_script(struct ek_sql *db, const char *text)
{
    enum ek_status s = ready(db);
    return s == EK_OK ? db->driver->script(db, text) : s;
}

static enum ek_status begin(struct ek_sql *db, const char *text)
{
    enum ek_status s = ready(db);
    MUST(!db->in_transaction);
    if (s == EK_OK) s = ek_sql_run(db, text, NULL, 0, NULL, NULL);
    db->in_transaction = s == EK_OK;
    return s;
}

enum ek_status ek_sql_begin(struct ek_sql *db)
{
    return begin(db, db->is_postgres ? "BEGIN" : "BEGIN IMMEDIATE");
}

enum ek_status ek_sql_begin_reading(struct ek_sql *db)
{
    return begin(db, db->is_postgres ? "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY" : "BEGIN");
}

enum ek_status ek_sql_commit(struct ek_sql *db)
{
    MUST(db->in_transaction);
    enum ek_status s = ek_sql_run(db, "COMMIT", NULL, 0, NULL, NULL);
    if (s == EK_OK) db->in_transaction = false;
    return s;
}

void ek_sql_rollback(struct ek_sql *db)
{
    MUST_OBJ(db, EK_SQL_MAGIC);
    bool again = db->again;
    char why[sizeof db->why];
    snprintf(why, sizeof why, "%s", db->why);
    if (db->in_transaction && !db->lost &&
        ek_sql_run(db, "ROLLBACK", NULL, 0, NULL, NULL) != EK_OK && db->is_postgres)
        db->lost = true; /* in an unknown state: begin afresh. SQLite may have rolled back by itself */
    db->in_transaction = false;
    db->again = again; /* the caller wants to know about the failure, not about the undoing */
    snprintf(db->why, sizeof db->why, "%s", why);
}

void ek_sql_patience(struct ek_sql *db, int64_t ms)
{
    MUST(ms > 0);
    db->patience_ms = ms;
    if (db->driver->patience) db->driver->patience(db);
}

void ek_sql_roomy_log(struct ek_sql *db)
{
    MUST(!db->in_transaction);
    if (!db->lost && db->driver->roomy_log) db->driver->roomy_log(db);
}

const char *ek_sql_why(const struct ek_sql *db) { return db->why; }
bool ek_sql_lost(const struct ek_sql *db) { return db->lost; }
bool ek_sql_again(const struct ek_sql *db) { return db->again; }
bool ek_sql_in_transaction(const struct ek_sql *db) { return db->in_transaction; }
bool ek_sql_is_postgres(const struct ek_sql *db) { return db->is_postgres; }

static void take_number(void *arg, const struct ek_sql_value *column, size_t count)
{
    MUST(count == 1);
    *(int64_t *)arg = column[0].number;
}

int64_t ek_sql_clock_ns(struct ek_sql *db)
{
    static const char postgres[] =
        "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT) * 1000";
    static const char sqlite[] =
        "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000000";
    int64_t ns = 0;
    if (ek_sql_run(db, db->is_postgres ? postgres : sqlite, NULL, 0, take_number,
                   &ns) != EK_OK) return 0;
    return ns;
}
