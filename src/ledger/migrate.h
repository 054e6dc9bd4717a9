/* SPDX-License-Identifier: MIT */
/* The tables, as a list of steps that only ever grows. A database knows how many it has had. */
#ifndef EK_LEDGER_MIGRATE_H
#define EK_LEDGER_MIGRATE_H

#include "ledger/sql.h"

/* Bring the database up to this program: each missing step in a transaction of its own, two programs starting
 * at once do it once. EK_INVALID: it is newer than this program, or a step was refused (`why`). */
EK_CHECKED enum ek_status ek_migrate(struct ek_sql *db, char *why, size_t cap);

int64_t ek_migrate_newest(void);

#endif
