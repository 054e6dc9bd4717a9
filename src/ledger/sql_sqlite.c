/* SPDX-License-Identifier: MIT */
/* SQLite: no set-up. Write-ahead log, and synchronous=FULL: a commit is on the disk when it returns (NORMAL
 * would survive kill -9, but not the plug). Another program at the same file (evenkeel account) is waited
 * for, up to five seconds a try. */
#include "ledger/sql_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSY_MS 5000
#define LOG_PAGES 4000 /* swept into the database from here on */
#define LOG_BYTES ((off_t)(LOG_PAGES + 400) * 4120) /* and one large commit more */

/* What went wrong, as a status: constraints are answers, all else is the database being unable. */
static enum ek_status failed(struct ek_sql *db, int code)
{
    sqlite3 *h = db->handle;
    snprintf(db->why, sizeof db->why, "SQLite: %s", h ? sqlite3_errmsg(h) : sqlite3_errstr(code));
    code &= 0xff;
    db->again = code == SQLITE_BUSY || code == SQLITE_LOCKED;
    if (code == SQLITE_CONSTRAINT || code == SQLITE_TOOBIG) return EK_INVALID;
    MUST(code != SQLITE_MISUSE && code != SQLITE_RANGE);
    if (!db->again) db->lost = true;
    return EK_IO;
}

static void close_db(struct ek_sql *db)
{
    for (size_t i = 0; i < db->statements; i++) sqlite3_finalize(db->prepared[i]);
    sqlite3_close(db->handle);
    db->handle = NULL;
}

static enum ek_status prepare(struct ek_sql *db, size_t index, const char *text)
{
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v3(db->handle, text, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL);
    if (code != SQLITE_OK) return failed(db, code);
    db->prepared[index] = s;
    return EK_OK;
}

/* "$3" is a name to SQLite, numbered by where it first stands: find it by name. */
static void bind(sqlite3_stmt *s, const struct ek_sql_value *arg, size_t args)
{
    for (size_t i = 0; i < args; i++) {
        char name[24];
        snprintf(name, sizeof name, "$%zu", i + 1);
        int at = sqlite3_bind_parameter_index(s, name), code = SQLITE_OK;
        if (at == 0) continue; /* unused in this statement */
        int len = (int)arg[i].bytes.len;
        const char *data = arg[i].bytes.data ? arg[i].bytes.data : "";
        MUST(arg[i].bytes.len < INT32_MAX);
        switch (arg[i].type) {
        case EK_SQL_NULL: code = sqlite3_bind_null(s, at); break;
        case EK_SQL_NUMBER: code = sqlite3_bind_int64(s, at, arg[i].number); break;
        case EK_SQL_TEXT: code = sqlite3_bind_text(s, at, data, len, SQLITE_STATIC); break;
        case EK_SQL_BYTES: code = sqlite3_bind_blob(s, at, data, len, SQLITE_STATIC); break;
        }
        MUST(code == SQLITE_OK);
    }
}

static size_t columns(sqlite3_stmt *s, struct ek_sql_value *out)
{
    int count = sqlite3_column_count(s);
    MUST((unsigned)count <= EK_SQL_ARGS_MAX);
    for (int i = 0; i < count; i++) {
        out[i] = (struct ek_sql_value){.type = EK_SQL_NULL};
        int type = sqlite3_column_type(s, i);
        if (type == SQLITE_INTEGER) {
            out[i] = ek_sql_number(sqlite3_column_int64(s, i));
        } else if (type == SQLITE_TEXT || type == SQLITE_BLOB) {
            const void *data = sqlite3_column_blob(s, i);
            out[i] = ek_sql_bytes(data, (size_t)sqlite3_column_bytes(s, i));
            if (type == SQLITE_TEXT) out[i].type = EK_SQL_TEXT;
        }
    }
    return (size_t)count;
}

/* A file that was removed or replaced under us would take everything and keep nothing: payments would be
 * confirmed and gone. Asked before each transaction, which costs a stat(). */
static bool is_gone(struct ek_sql *db)
{
    int moved = 0;
    if (!sqlite3_get_autocommit(db->handle)) return false;
    int code = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (code != SQLITE_OK || !moved) return false; /* not every kind of file can tell */
    snprintf(db->why, sizeof db->why, "SQLite: the database file was removed or replaced");
    db->again = false;
    db->lost = true;
    return true;
}

static enum ek_status run(struct ek_sql *db, size_t index, const struct ek_sql_value *arg, size_t args,
                          ek_sql_row_fn *row, void *row_arg)
{
    sqlite3_stmt *s = db->prepared[index];
    struct ek_sql_value column[EK_SQL_ARGS_MAX];
    int code;
    if (is_gone(db)) return EK_IO;
    bind(s, arg, args);
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        size_t count = columns(s, column);
        if (row) row(row_arg, column, count);
    }
    enum ek_status status = code == SQLITE_DONE ? EK_OK : failed(db, code);
    sqlite3_reset(s);
    return status;
}

static enum ek_status each(struct ek_sql *db, size_t index, const struct ek_sql_value *arg, size_t args,
                           size_t rows, int32_t *changed)
{
    for (size_t r = 0; r < rows; r++) {
        enum ek_status s = run(db, index, arg + r * args, args, NULL, NULL);
        if (s != EK_OK) return s;
        if (changed) changed[r] = sqlite3_changes(db->handle);
    }
    return EK_OK;
}

static enum ek_status script(struct ek_sql *db, const char *text)
{
    int code = sqlite3_exec(db->handle, text, NULL, NULL, NULL);
    return code == SQLITE_OK ? EK_OK : failed(db, code);
}

static void patience(struct ek_sql *db)
{
    int64_t ms = db->patience_ms / EK_SQL_TRIES_MAX;
    sqlite3_busy_timeout(db->handle, ms < BUSY_MS ? (int)ms : BUSY_MS);
}

/* A sync of a file that has grown must wait for the file system's journal, and with it for whatever others
 * are writing: 8 ms at p99 and 50 at worst, measured on ext4, where one that overwrites takes 0.1. SQLite
 * overwrites its log once that has been at its full size, so it gets that size at once. Zeros are no
 * frames: their salts and sums do not fit, and a recovery stops at the first of them. Within a writing
 * transaction, for nobody else may append meanwhile; the log itself bears no locks that a close drops. */
static void roomy_log(struct ek_sql *db)
{
    static const char zeros[65536];
    const char *name = sqlite3_db_filename(db->handle, "main");
    struct stat st;
    if (!name || !*name || sqlite3_exec(db->handle, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK) return;
    const char *path = sqlite3_filename_wal(name);
    int fd = path && *path ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && fstat(fd, &st) == 0) {
        off_t at = st.st_size;
        ssize_t n = 1;
        while (n > 0 && at < LOG_BYTES) {
            off_t left = LOG_BYTES - at;
            n = pwrite(fd, zeros, left < (off_t)sizeof zeros ? (size_t)left : sizeof zeros, at);
            at += n > 0 ? n : 0;
        }
        (void)fsync(fd); /* the next commit would, too */
    }
    if (fd >= 0) close(fd);
    (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

static const struct ek_sql_driver driver = {close_db, prepare, run, each, NULL, script, patience, roomy_log};

/* A folder that is missing may be mounted yet; no waiting will mend a file that is something else. */
static enum ek_status cannot_open(struct ek_sql *db, int code, const char *path)
{
    enum ek_status s = failed(db, code);
    if ((code & 0xff) != SQLITE_NOTADB) return s;
    snprintf(db->why, sizeof db->why, "%.180s is a file, but no database", path);
    return EK_INVALID;
}

enum ek_status ek_sql_open_sqlite(struct ek_sql *db, const char *path, bool must_exist)
{
    if (strcmp(path, ":memory:") != 0 && !must_exist) { /* born private; -wal and -shm take its mode */
        /* Only where there is none yet: closing any descriptor of a file drops all locks that this
         * process has on it (POSIX), those of another connection of ours too. The next program to leave
         * would take itself for the last one, and remove the log that we go on writing. */
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST) {
            snprintf(db->why, sizeof db->why, "cannot open %.180s: %m", path);
            return EK_IO;
        }
        if (fd >= 0) close(fd);
    }
    if (must_exist && strcmp(path, ":memory:") != 0 && access(path, F_OK) != 0) {
        snprintf(db->why, sizeof db->why, "there is no database %.180s", path);
        return EK_IO;
    }
    db->driver = &driver;
    sqlite3 *h = NULL;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (must_exist ? 0 : SQLITE_OPEN_CREATE);
    int code = sqlite3_open_v2(path, &h, flags, NULL);
    db->handle = h;
    if (code != SQLITE_OK) return cannot_open(db, code, path);
    patience(db);
    code = sqlite3_exec(h, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                        "PRAGMA wal_autocheckpoint=4000;" /* LOG_PAGES */, NULL, NULL, NULL);
    return code == SQLITE_OK ? EK_OK : cannot_open(db, code, path);
}
