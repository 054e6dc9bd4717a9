/* SPDX-License-Identifier: MIT */
/* One connection to a database, SQLite or PostgreSQL, behind one small synchronous interface, so that
 * every statement of the ledger is written once. Both take $1, $2, ... as parameters, RETURNING and ON
 * CONFLICT; columns are BIGINT, TEXT and BYTEA and nothing else. Used by one thread at a time; may block
 * (up to EK_SQL_PATIENCE_MS on a server that has gone quiet), so never on a loop.
 *
 * Statements are string constants: they are prepared once a connection, and found again by address. Text
 * from outside only ever travels as a parameter.
 *
 * Errors: EK_IO when the database is away or could not do it now (ek_sql_lost: reopen; ek_sql_again: roll
 * back and try again), EK_INVALID when it refused (a constraint). ek_sql_why has a sentence. */
#ifndef EK_LEDGER_SQL_H
#define EK_LEDGER_SQL_H

#include "base/status.h"
#include "base/str.h"

#include <stdint.h>

#define EK_SQL_PATIENCE_MS 10000
#define EK_SQL_PATIENCE_LONG_MS (3600 * 1000)
#define EK_SQL_TRIES_MAX 4 /* of a transaction that clashes with another writer */
#define EK_SQL_ARGS_MAX 24u
#define EK_SQL_STATEMENTS_MAX 128u
#define EK_SQL_EACH_MAX 512u /* rows of arguments in one ek_sql_each */

struct ek_sql;

enum ek_sql_type { EK_SQL_NULL, EK_SQL_NUMBER, EK_SQL_TEXT, EK_SQL_BYTES };

struct ek_sql_value {
    enum ek_sql_type type;
    int64_t number;
    struct ek_str bytes; /* TEXT and BYTES; of a row: until the row function returns */
};

static inline struct ek_sql_value ek_sql_number(int64_t n)
{
    return (struct ek_sql_value){.type = EK_SQL_NUMBER, .number = n};
}
static inline struct ek_sql_value ek_sql_bytes(const void *data, size_t len)
{
    return (struct ek_sql_value){.type = EK_SQL_BYTES, .bytes = ek_str_make(data, len)};
}
static inline struct ek_sql_value ek_sql_text(struct ek_str s)
{
    return (struct ek_sql_value){.type = EK_SQL_TEXT, .bytes = s};
}
static inline struct ek_sql_value ek_sql_cstr(const char *s) { return ek_sql_text(ek_str_of(s)); }

typedef void ek_sql_row_fn(void *arg, const struct ek_sql_value *column, size_t count);

/* url: postgres://..., postgresql://..., a path, sqlite:PATH, or ":memory:". Creates a SQLite file with
 * mode 0600. EK_INVALID: no such kind of URL. */
/* must_exist: no new database is made (a SQLite file that is missing: EK_IO). */
EK_CHECKED enum ek_status ek_sql_open(const char *url, bool must_exist, struct ek_sql **out, char *why,
                                      size_t cap);
void ek_sql_close(struct ek_sql **db);

/* Run one statement; `row` (NULL: none wanted) is called for each row of the result. */
EK_CHECKED enum ek_status ek_sql_run(struct ek_sql *db, const char *text,
                                     const struct ek_sql_value *arg,
                                     size_t args, ek_sql_row_fn *row, void *row_arg);

/* Run one statement for each of `rows` rows of arguments (arg[r * args + i]), without results but
 * the number of rows each changed. One round trip, however many. */
EK_CHECKED enum ek_status ek_sql_each(struct ek_sql *db, const char *text,
                                      const struct ek_sql_value *arg,
                                      size_t args, size_t rows, int32_t *changed);

/* PostgreSQL only. One statement for all rows: $1.. are the `ones` values of `one`, and after them each
 * column of `arg` (arg[r * args + i], of one type down a column, no NULL) is one parameter, an array, for
 * unnest. */
EK_CHECKED enum ek_status ek_sql_many(struct ek_sql *db, const char *text,
                                      const struct ek_sql_value *one, size_t ones,
                                      const struct ek_sql_value *arg, size_t args, size_t rows,
                                      ek_sql_row_fn *row, void *row_arg);

/* Several statements without parameters, `;` between them: migrations. */
EK_CHECKED enum ek_status ek_sql_script(struct ek_sql *db, const char *text);

/* A transaction that may write, from its beginning on. */
EK_CHECKED enum ek_status ek_sql_begin(struct ek_sql *db);
/* One that only reads, all of one moment, and keeps no writer waiting. */
EK_CHECKED enum ek_status ek_sql_begin_reading(struct ek_sql *db);
EK_CHECKED enum ek_status ek_sql_commit(struct ek_sql *db);
void ek_sql_rollback(struct ek_sql *db);

/* How long a server may be silent within one statement, or (SQLite) another program may keep the file, four
 * tries together: EK_SQL_PATIENCE_MS at first. More for those that read or rewrite a whole table (the audit,
 * migrations), less where somebody waits. */
void ek_sql_patience(struct ek_sql *db, int64_t ms);
const char *ek_sql_why(const struct ek_sql *db); /* of the last failure; never NULL */
/* For a connection that commits all day: SQLite's log gets its full size now, so that a commit need not make
 * the file longer. Best effort; outside a transaction. */
void ek_sql_roomy_log(struct ek_sql *db);
bool ek_sql_lost(const struct ek_sql *db);       /* nothing will work until it is opened again */
bool ek_sql_again(const struct ek_sql *db);      /* the last failure was a clash with another writer */
bool ek_sql_in_transaction(const struct ek_sql *db);
bool ek_sql_is_postgres(const struct ek_sql *db);
int64_t ek_sql_clock_ns(struct ek_sql *db);      /* the database's own clock, unix_ns; 0: it is away */

#endif
