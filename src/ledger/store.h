/* SPDX-License-Identifier: MIT */
/* The ledger for a loop that never waits. Requests for work go through a bounded queue to one writer thread,
 * which owns the database connection; what is done comes back on the loop.
 *
 *      loop ──settle──▶ [settlements] ─┐                  ┌─▶ database: up to 256 in one commit
 *           ──do──────▶ [jobs]        ─┴─▶ writer thread ─┤
 *           ◀─done────── [finished] ◀────────────────────┘└─▶ spool file, while the database is away
 *
 * Group commit needs no timer: while one commit is on its way to the disk the next settlements queue up, and
 * go together in the next. A thread of its own, and not the loop's helper threads: exactly one writer makes
 * the groups, a connection belongs to one thread, and a database that hangs must not take the helpers with
 * it.
 *
 * While the database is away (a second thread tries to reach it again, twice a second) settlements go to the
 * spool, fsynced in groups likewise, and are acknowledged; they are replayed, exactly once by their request's
 * id, before anything else is done on the new connection. Jobs fail with EK_IO at once: the door then goes on
 * within the leases it has.
 *
 * Operations are the caller's memory, from the call until `done`. Done is called on the loop, never inside
 * the call that asked. On a virtual loop say `on_loop`: there is no thread, and work is done in a post. */
#ifndef EK_LEDGER_STORE_H
#define EK_LEDGER_STORE_H

#include "base/list.h"
#include "base/loop.h"
#include "base/metrics.h"
#include "ledger/ledger.h"

struct ek_store;
struct ek_store_op;

typedef enum ek_status ek_store_run_fn(struct ek_ledger *l, struct ek_store_op *op);
typedef void ek_store_done_fn(struct ek_store_op *op);

struct ek_store_op {
    struct ek_link link;      /* the store's */
    uint64_t asked_mono_ns;   /* the store's */
    ek_store_run_fn *run;     /* on the writer's thread, touching only the op: of jobs */
    ek_store_done_fn *done;
    enum ek_status status;    /* what run returned; of a settlement EK_OK, or EK_IO, EK_FULL: not durable */
};

struct ek_settle_op {
    struct ek_store_op op;
    struct ek_settle_record record;
    struct ek_settle_outcome outcome;
    bool spooled; /* on the local disk; the outcome is what the book said, the database has not spoken */
};

struct ek_store_options {
    struct ek_ledger_options ledger;
    const char *spool_path;
    uint64_t spool_bytes_max; /* 0: 256 MiB, about 800,000 settlements */
    uint32_t queue_max;       /* operations under way at once; 0: 8192 */
    bool on_loop;
    void (*changed)(void *arg, bool here, const char *why); /* on the loop; NULL: nobody */
    void *arg;
};

struct ek_store_counters {
    bool here;
    uint64_t settled, batches, spooled, replayed, jobs, failed, full, away;
    uint64_t queued, spool_records, refused; /* refused: attempts to connect in vain */
    struct ek_histogram commit; /* seconds from asking to durable */
};

/* Opens the database, replays the spool and takes this door's old leases back. A database that is away is no
 * failure; one that is newer than the program, or a spool that cannot be had, is: EK_INVALID, EK_IO. */
EK_CHECKED enum ek_status ek_store_open(struct ek_loop *loop, const struct ek_store_options *o,
                                        struct ek_store **out, char *why, size_t cap);
/* Finishes what is queued (to the database, or to the spool), calls their `done`, and ends. */
void ek_store_close(struct ek_store **s);

/* EK_FULL: queue_max; nothing happens. */
EK_CHECKED enum ek_status ek_store_settle(struct ek_store *s, struct ek_settle_op *op,
                                          ek_store_done_fn *done);
EK_CHECKED enum ek_status ek_store_do(struct ek_store *s, struct ek_store_op *op, ek_store_run_fn *run,
                                      ek_store_done_fn *done);
bool ek_store_here(struct ek_store *s);
void ek_store_counters(struct ek_store *s, struct ek_store_counters *out);

#endif
