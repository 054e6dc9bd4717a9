/* SPDX-License-Identifier: MIT */
/* What the files behind ledger.h share. Nobody else includes this. */
#ifndef EK_LEDGER_LEDGER_INSIDE_H
#define EK_LEDGER_LEDGER_INSIDE_H

#include "ledger/ledger.h"
#include "ledger/people.h"
#include "ledger/sql.h"

#define EK_LEDGER_MAGIC 0x1ed6e5u

struct ek_ledger {
    uint32_t magic;
    struct ek_sql *db;
    char door[EK_LEDGER_NAME_MAX + 1];
    uint64_t lease_ns;
    uint64_t since_mono_ns;  /* connected since */
    int64_t clock_ahead_ns;  /* the database's clock less ours */
};

/* One transaction around `body`: begin, body, commit; rolled back on any failure, tried again (up to four
 * times) on a clash with another writer. Within another one's body it is a part of that one, which must
 * then fail when the part does. */
enum ek_status ek_ledger_in_transaction(struct ek_ledger *l,
                                        enum ek_status (*body)(struct ek_ledger *l, void *arg),
                                        void *arg);

/* Append an entry. EK_ABSENT: the name is taken. */
enum ek_status ek_ledger_entry(struct ek_ledger *l, struct ek_id name, uint64_t account,
                               const char *kind,
                               uint64_t fence, const struct ek_id *about, struct ek_money amount,
                               const char *note);

/* Lock the account's row and read what is free. EK_ABSENT. */
enum ek_status ek_ledger_free(struct ek_ledger *l, uint64_t account, struct ek_money *out);

/* Add to the account's free money, to what was paid in, and to what was spent. */
enum ek_status ek_ledger_add(struct ek_ledger *l, uint64_t account, struct ek_money free,
                             int64_t paid_nano,
                             int64_t spent_nano, int64_t forgiven_nano);

/* The next version of a changed row, and with it the lock that keeps versions in the order of commits. */
enum ek_status ek_ledger_version(struct ek_ledger *l, int64_t *version);

/* ek_ledger_account_add inside a transaction. */
enum ek_status ek_ledger_account_put(struct ek_ledger *l, const char *name, const char *tier, uint64_t *id);

/* A fresh token, and the row that remembers it; and that row into the database, inside a transaction. */
void ek_people_key_make(const struct ek_secret *secret, struct ek_key_row *k, char token[EK_TOKEN_BYTES]);
enum ek_status ek_people_key_put(struct ek_ledger *l, const struct ek_key_row *k);
uint64_t ek_people_id(void);                     /* random, positive in every language */
bool ek_people_list_is_good(const char *list);
/* A column's text into a C string, cut at cap. */
void ek_column_text(const struct ek_sql_value *column, char *out, size_t cap);

/* Rows of numbers: into arg, an array of `max` int64 that begins with how many it holds. */
struct ek_numbers {
    size_t count, max;
    int64_t *at;
};
void ek_numbers_row(void *arg, const struct ek_sql_value *column, size_t count);

#define EK_SQL_ID(bytes) ek_sql_bytes((bytes), 16)

#endif
