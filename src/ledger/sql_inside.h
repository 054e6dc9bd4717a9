/* SPDX-License-Identifier: MIT */
/* What the two drivers implement; sql.c keeps the rest. Nobody else includes this. */
#ifndef EK_LEDGER_SQL_INSIDE_H
#define EK_LEDGER_SQL_INSIDE_H

#include "ledger/sql.h"

#define EK_SQL_MAGIC 0x5a1c0de5u

struct ek_sql_driver {
    void (*close)(struct ek_sql *db);
    enum ek_status (*prepare)(struct ek_sql *db, size_t index, const char *text);
    enum ek_status (*run)(struct ek_sql *db, size_t index, const struct ek_sql_value *arg, size_t args,
                          ek_sql_row_fn *row, void *row_arg);
    enum ek_status (*each)(struct ek_sql *db, size_t index, const struct ek_sql_value *arg, size_t args,
                           size_t rows, int32_t *changed);
    /* NULL: this database has no arrays. */
    enum ek_status (*many)(struct ek_sql *db, size_t index, const struct ek_sql_value *one, size_t ones,
                           const struct ek_sql_value *arg, size_t args, size_t rows, ek_sql_row_fn *row,
                           void *row_arg);
    enum ek_status (*script)(struct ek_sql *db, const char *text);
    void (*patience)(struct ek_sql *db); /* it has changed; NULL: nothing to do */
    void (*roomy_log)(struct ek_sql *db); /* NULL: nothing to do */
};

struct ek_sql {
    uint32_t magic;
    const struct ek_sql_driver *driver;
    void *handle;                           /* sqlite3 or PGconn */
    void *prepared[EK_SQL_STATEMENTS_MAX];  /* SQLite's statements */
    const char *text[EK_SQL_STATEMENTS_MAX];
    size_t statements;
    int64_t patience_ms;
    bool in_transaction, lost, again, is_postgres;
    char why[256];
};

enum ek_status ek_sql_open_sqlite(struct ek_sql *db, const char *path, bool must_exist);
enum ek_status ek_sql_open_postgres(struct ek_sql *db, const char *url);

#endif
