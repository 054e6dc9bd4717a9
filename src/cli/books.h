/* SPDX-License-Identifier: MIT */
/* What `evenkeel account` and `evenkeel key` share: the ledger they work on, and amounts as people write
 * them. */
#ifndef EK_CLI_BOOKS_H
#define EK_CLI_BOOKS_H

#include "ledger/amount.h"
#include "ledger/keyring.h"

/* Flags that both commands take, and their words. A word is what is no flag. */
#define EK_BOOKS_WORDS_MAX 4u
#define EK_BOOKS_FLAGS_MAX 24u

struct ek_books {
    struct ek_ledger *ledger;
    struct ek_secret secret;
    const char *word[EK_BOOKS_WORDS_MAX];
    size_t words;
    const char *flag[EK_BOOKS_FLAGS_MAX], *value[EK_BOOKS_FLAGS_MAX];
    size_t flags;
};

/* Read words and `--flag VALUE` pairs; allowed is a NULL-terminated list of flags beside --ledger and
 * --secret. false: said why on standard error. */
bool ek_books_read(struct ek_books *b, const char *const *allowed, int argc, char **argv);
/* Open the ledger of --ledger or EVENKEEL_LEDGER, and with need_secret the secret: of --secret, of
 * EVENKEEL_SECRET, or beside a SQLite ledger, PATH.secret. */
bool ek_books_open(struct ek_books *b, bool need_secret);
void ek_books_close(struct ek_books *b);
const char *ek_books_flag(const struct ek_books *b, const char *flag); /* its value, or NULL */

/* Says on standard error why `what` failed, in the words given for EK_ABSENT and EK_INVALID, else in the
 * ledger's own. 1. */
int ek_books_failed(const struct ek_books *b, enum ek_status s, const char *what, const char *absent,
                    const char *invalid);
/* Says that the value of a flag was not understood. EK_EXIT_USAGE. */
int ek_books_refused(const char *flag, const char *value);

/* "30d", "12h", "10min", "5s". */
bool ek_span_parse(const char *text, uint64_t *ns);
/* "2026-11-22 01:05 UTC", "never" for 0. */
#define EK_DATE_BYTES 32u
const char *ek_date_text(uint64_t unix_ns, char out[EK_DATE_BYTES]);

#endif
