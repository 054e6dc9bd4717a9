/* SPDX-License-Identifier: MIT */
/* Where settlements lie while the database is away: a local file of records, each with a checksum, on the
 * disk before the append returns. A torn tail (killed in mid-write) is cut off when the file is opened: what
 * is in it was never acknowledged. One process owns a file at a time (flock). Blocks: not for
 * a loop's thread. */
#ifndef EK_LEDGER_SPOOL_H
#define EK_LEDGER_SPOOL_H

#include "base/status.h"
#include "ledger/ledger.h"

struct ek_spool;

/* Open or create; mode 0600. EK_IO with why: no such folder, owned by another process, not a spool. */
EK_CHECKED enum ek_status ek_spool_open(const char *path, uint64_t bytes_max, struct ek_spool **out,
                                        char *why, size_t cap);
void ek_spool_close(struct ek_spool **s);
uint64_t ek_spool_count(const struct ek_spool *s);
uint64_t ek_spool_cut_bytes(const struct ek_spool *s); /* torn tail found at opening */

/* All or nothing. EK_FULL: bytes_max; EK_IO: the disk. */
EK_CHECKED enum ek_status ek_spool_append(struct ek_spool *s, const struct ek_settle_record *const *record,
                                          size_t count);
/* Up to `max` records from number `from` on; *got says how many. */
EK_CHECKED enum ek_status ek_spool_read(struct ek_spool *s, uint64_t from, struct ek_settle_record *out,
                                        size_t max, size_t *got);
/* All of them are in the database now: empty the file. */
EK_CHECKED enum ek_status ek_spool_clear(struct ek_spool *s);

#endif
