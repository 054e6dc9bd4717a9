/* SPDX-License-Identifier: MIT */
/* PostgreSQL through libpq. The connection is non-blocking underneath, so that a server that has gone quiet
 * (stopped, or behind a dead line) is given up after EK_SQL_PATIENCE_MS instead of never. ek_sql_each uses
 * pipeline mode: all rows are sent before the first answer is read, one round trip for all. ek_sql_many sends
 * columns as binary arrays: one statement, which is its own transaction where none is open. */
#include "ledger/sql_inside.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define OID_INT8 20
#define OID_INT4 23
#define OID_TEXT 25
#define OID_VARCHAR 1043
#define OID_BYTEA 17

static int64_t mono_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static enum ek_status lost(struct ek_sql *db, const char *what)
{
    PGconn *c = db->handle;
    const char *said = c ? PQerrorMessage(c) : "";
    snprintf(db->why, sizeof db->why, "PostgreSQL: %.200s", *said ? said : what);
    for (char *p = db->why; *p; p++)
        if (*p == '\n') *p = ' ';
    db->lost = true;
    return EK_IO;
}

/* Clashes are tried again, refusals by a constraint (class 23) are answers, a server going down (57P..) or a
 * broken line is the database being away. */
static enum ek_status failed(struct ek_sql *db, const PGresult *r)
{
    const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    if (!state || PQstatus(db->handle) == CONNECTION_BAD) return lost(db, "the connection broke");
    const char *said = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(db->why, sizeof db->why, "PostgreSQL: %.200s (%.5s)", said ? said : "", state);
    db->again = strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0 ||
                strcmp(state, "55P03") == 0;
    if (strncmp(state, "23", 2) == 0 || strncmp(state, "22", 2) == 0) return EK_INVALID;
    if (!db->again) db->lost = true;
    return EK_IO;
}

/* Send what is queued and read until a result is whole. false: away. */
static bool await(struct ek_sql *db)
{
    PGconn *c = db->handle;
    int64_t until = mono_ms() + db->patience_ms;
    for (;;) {
        int left = PQflush(c);
        if (left < 0) break;
        if (left == 0 && !PQisBusy(c)) return true;
        struct pollfd p = {.fd = PQsocket(c), .events = (short)(POLLIN | (left ? POLLOUT : 0))};
        int64_t wait = until - mono_ms();
        if (wait <= 0 || poll(&p, 1, (int)(wait < INT32_MAX ? wait : INT32_MAX)) == 0) break;
        if ((p.revents & (POLLIN | POLLHUP | POLLERR)) && !PQconsumeInput(c)) break;
    }
    lost(db, "the server does not answer");
    return false;
}

static PGresult *next_result(struct ek_sql *db)
{
    return await(db) ? PQgetResult(db->handle) : NULL;
}

/* Read results to the end of one statement; the last one that says anything is judged. */
static enum ek_status finish(struct ek_sql *db, PGresult **keep)
{
    enum ek_status s = EK_OK;
    PGresult *r;
    while (!db->lost && (r = next_result(db)) != NULL) {
        ExecStatusType t = PQresultStatus(r);
        if (t != PGRES_COMMAND_OK && t != PGRES_TUPLES_OK && s == EK_OK) s = failed(db, r);
        if (keep && s == EK_OK) {
            PQclear(*keep);
            *keep = r;
        } else {
            PQclear(r);
        }
    }
    return db->lost ? EK_IO : s;
}

static void close_db(struct ek_sql *db)
{
    PQfinish(db->handle);
    db->handle = NULL;
}

static enum ek_status prepare(struct ek_sql *db, size_t index, const char *text)
{
    char name[16];
    snprintf(name, sizeof name, "s%zu", index);
    if (!PQsendPrepare(db->handle, name, text, 0, NULL)) return lost(db, "cannot send");
    return finish(db, NULL);
}

/* The arguments as libpq wants them: numbers as text, bytes as they are. */
struct args {
    const char *value[EK_SQL_ARGS_MAX];
    int len[EK_SQL_ARGS_MAX];
    int format[EK_SQL_ARGS_MAX];
    char number[EK_SQL_ARGS_MAX][24];
};

static void fill(struct args *a, const struct ek_sql_value *arg, size_t args)
{
    for (size_t i = 0; i < args; i++) {
        MUST(arg[i].bytes.len < INT32_MAX);
        a->len[i] = (int)arg[i].bytes.len;
        a->format[i] = arg[i].type == EK_SQL_BYTES || arg[i].type == EK_SQL_TEXT;
        a->value[i] = arg[i].bytes.data ? arg[i].bytes.data : "";
        if (arg[i].type == EK_SQL_NULL) a->value[i] = NULL;
        if (arg[i].type == EK_SQL_NUMBER) {
            snprintf(a->number[i], sizeof a->number[i], "%lld", (long long)arg[i].number);
            a->value[i] = a->number[i];
        }
    }
}

static bool send_one(struct ek_sql *db, size_t index, const struct ek_sql_value *arg, size_t args)
{
    struct args a;
    char name[16];
    snprintf(name, sizeof name, "s%zu", index);
    fill(&a, arg, args);
    return PQsendQueryPrepared(db->handle, name, (int)args, a.value, a.len, a.format, 1) == 1;
}

static struct ek_sql_value column(const PGresult *r, int row, int i)
{
    struct ek_sql_value v = {.type = EK_SQL_NULL};
    if (PQgetisnull(r, row, i)) return v;
    const char *data = PQgetvalue(r, row, i);
    size_t len = (size_t)PQgetlength(r, row, i);
    switch (PQftype(r, i)) {
    case OID_INT8:
    case OID_INT4: {
        uint64_t n = 0;
        for (size_t k = 0; k < len; k++) n = n << 8 | (uint8_t)data[k];
        return ek_sql_number(len == 4 ? (int64_t)(int32_t)(uint32_t)n : (int64_t)n);
    }
    case OID_TEXT:
    case OID_VARCHAR: return ek_sql_text(ek_str_make(data, len));
    case OID_BYTEA: return ek_sql_bytes(data, len);
    default: return v; /* a kind the schema does not have: SUM() of numbers without a CAST, say */
    }
}

/* Read the answer of what was sent, and hand its rows on once the statement (outside a transaction: its
 * commit too) is known to have gone well. */
static enum ek_status answer(struct ek_sql *db, ek_sql_row_fn *row, void *row_arg)
{
    PGresult *r = NULL;
    enum ek_status s = finish(db, &r);
    if (s == EK_OK && r && row) {
        struct ek_sql_value v[EK_SQL_ARGS_MAX];
        int rows = PQntuples(r), count = PQnfields(r);
        MUST((unsigned)count <= EK_SQL_ARGS_MAX);
        for (int k = 0; k < rows; k++) {
            for (int i = 0; i < count; i++) v[i] = column(r, k, i);
            row(row_arg, v, (size_t)count);
        }
    }
    PQclear(r);
    return s;
}

static enum ek_status run(struct ek_sql *db, size_t index, const struct ek_sql_value *arg, size_t args,
                          ek_sql_row_fn *row, void *row_arg)
{
    if (!send_one(db, index, arg, args)) return lost(db, "cannot send");
    return answer(db, row, row_arg);
}

/* ---- arrays: the binary form that array_recv() reads ------------------------------------------ */

#define ARRAY_HEAD_BYTES 20u /* dimensions, may hold NULLs, type of the elements, how many, first index */

static char *put_number(char *to, uint64_t n, size_t bytes)
{
    for (size_t k = 0; k < bytes; k++) *to++ = (char)(uint8_t)(n >> (8 * (bytes - 1 - k)));
    return to;
}

static size_t element_bytes(const struct ek_sql_value *v)
{
    return 4 + (v->type == EK_SQL_NUMBER ? 8 : v->bytes.len);
}

static size_t array_bytes(const struct ek_sql_value *arg, size_t stride, size_t rows)
{
    size_t bytes = ARRAY_HEAD_BYTES;
    for (size_t r = 0; r < rows; r++) bytes += element_bytes(&arg[r * stride]);
    MUST(bytes < INT32_MAX);
    return bytes;
}

static char *put_array(char *to, const struct ek_sql_value *arg, size_t stride, size_t rows)
{
    uint32_t type = arg->type == EK_SQL_NUMBER ? OID_INT8 : arg->type == EK_SQL_TEXT ? OID_TEXT : OID_BYTEA;
    to = put_number(to, 1, 4);
    to = put_number(to, 0, 4);
    to = put_number(to, type, 4);
    to = put_number(to, rows, 4);
    to = put_number(to, 1, 4);
    for (size_t r = 0; r < rows; r++) {
        const struct ek_sql_value *v = &arg[r * stride];
        MUST(v->type == arg->type && v->type != EK_SQL_NULL);
        to = put_number(to, element_bytes(v) - 4, 4);
        if (v->type == EK_SQL_NUMBER) {
            to = put_number(to, (uint64_t)v->number, 8);
        } else if (v->bytes.len > 0) {
            memcpy(to, v->bytes.data, v->bytes.len);
            to += v->bytes.len;
        }
    }
    return to;
}

static enum ek_status many(struct ek_sql *db, size_t index, const struct ek_sql_value *one, size_t ones,
                           const struct ek_sql_value *arg, size_t args, size_t rows, ek_sql_row_fn *row,
                           void *row_arg)
{
    struct args a;
    char name[16];
    size_t bytes = 0;
    snprintf(name, sizeof name, "s%zu", index);
    fill(&a, one, ones);
    for (size_t i = 0; i < args; i++) bytes += array_bytes(arg + i, args, rows);
    char *arrays = malloc(bytes), *end = arrays;
    MUST(arrays);
    for (size_t i = 0; i < args; i++) {
        a.value[ones + i] = end;
        end = put_array(end, arg + i, args, rows);
        a.len[ones + i] = (int)(end - a.value[ones + i]);
        a.format[ones + i] = 1;
    }
    MUST(end == arrays + bytes);
    bool sent = PQsendQueryPrepared(db->handle, name, (int)(ones + args), a.value, a.len, a.format, 1) == 1;
    free(arrays); /* libpq has its own copy */
    return sent ? answer(db, row, row_arg) : lost(db, "cannot send");
}

/* Results of a pipeline: each statement's own, a NULL behind each, then one for the sync. */
static enum ek_status collect(struct ek_sql *db, size_t rows, int32_t *changed)
{
    enum ek_status s = EK_OK;
    for (size_t k = 0; k < rows && !db->lost; k++) {
        PGresult *r = next_result(db);
        ExecStatusType t = PQresultStatus(r);
        if (t == PGRES_COMMAND_OK || t == PGRES_TUPLES_OK) {
            const char *n = PQcmdTuples(r);
            if (changed) changed[k] = (int32_t)strtol(n, NULL, 10);
        } else if (s == EK_OK) {
            s = failed(db, r);
        }
        PQclear(r);
        if (!db->lost) PQclear(next_result(db));
    }
    if (!db->lost) PQclear(next_result(db)); /* PGRES_PIPELINE_SYNC */
    return db->lost ? EK_IO : s;
}

static enum ek_status each(struct ek_sql *db, size_t index, const struct ek_sql_value *arg, size_t args,
                           size_t rows, int32_t *changed)
{
    if (!PQenterPipelineMode(db->handle)) return lost(db, "no pipeline");
    bool sent = true;
    for (size_t k = 0; k < rows && sent; k++) sent = send_one(db, index, arg + k * args, args);
    if (!sent || !PQpipelineSync(db->handle)) return lost(db, "cannot send");
    enum ek_status s = collect(db, rows, changed);
    if (!db->lost && !PQexitPipelineMode(db->handle)) return lost(db, "no end of the pipeline");
    return s;
}

static enum ek_status script(struct ek_sql *db, const char *text)
{
    if (!PQsendQuery(db->handle, text)) return lost(db, "cannot send");
    return finish(db, NULL);
}

static void quiet(void *arg, const PGresult *r)
{
    (void)arg;
    (void)r;
}

static const struct ek_sql_driver driver = {close_db, prepare, run, each, many, script, NULL, NULL};

enum ek_status ek_sql_open_postgres(struct ek_sql *db, const char *url)
{
    const char *const key[] = {"dbname", "connect_timeout", "application_name", "client_encoding",
                               NULL};
    const char *const value[] = {url, "5", "evenkeel", "UTF8", NULL};
    db->driver = &driver;
    db->handle = PQconnectdbParams(key, value, 1);
    if (PQstatus(db->handle) != CONNECTION_OK) return lost(db, "no connection");
    PQsetNoticeReceiver(db->handle, quiet, NULL);
    if (PQsetnonblocking(db->handle, 1) != 0) return lost(db, "no non-blocking mode");
    return script(db, "SET synchronous_commit TO on; SET lock_timeout TO '5s';"
                      "SET idle_in_transaction_session_timeout TO '30s'");
}
