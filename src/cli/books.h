/* SPDX-License-Identifier: MIT */
/* What `evenkeel account` and `evenkeel key` share: their words and flags, and whom they ask. Both speak
 * the admin API (office/admin.h): over HTTP to a door (--admin URL), or, without one, the same function on
 * the ledger's database itself. What comes back is the same either way, and so is what is printed. */
#ifndef EK_CLI_BOOKS_H
#define EK_CLI_BOOKS_H

#include "office/admin.h"
#include "ledger/amount.h"

#include <jansson.h>

/* Flags that both commands take (--ledger, --secret, --admin, --admin-key, --config), and their words. A word
 * is what is no flag. */
#define EK_BOOKS_WORDS_MAX 4u
#define EK_BOOKS_FLAGS_MAX 24u
#define EK_BOOKS_PATH_BYTES 1024u

struct ek_books {
    struct ek_ledger *ledger; /* NULL: a door is asked */
    struct ek_secret secret;
    const char *door;         /* its admin URL */
    char door_key[1100];      /* and key; wiped at the end */
    char who[EK_ADMIN_WHO_BYTES];
    const char *word[EK_BOOKS_WORDS_MAX];
    size_t words;
    const char *flag[EK_BOOKS_FLAGS_MAX], *value[EK_BOOKS_FLAGS_MAX];
    size_t flags;
    struct ek_buf tiers; /* of --config; empty: not known */
    bool again; /* the last answer had been given before */
};

/* Read words and `--flag VALUE` pairs; allowed is a NULL-terminated list of flags beside --ledger, --secret,
 * --admin, --admin-key and --config. false: said why on standard error. */
bool ek_books_read(struct ek_books *b, const char *const *allowed, int argc, char **argv);
/* A door: --admin or EVENKEEL_ADMIN, its key from the file of --admin-key or from EVENKEEL_ADMIN_KEY.
 * Else the ledger of --ledger, of EVENKEEL_LEDGER, or of the door's configuration (--config FILE, whose
 * tiers are then known, too), and with need_secret the secret: of --secret, of
 * EVENKEEL_SECRET, or beside a SQLite ledger, PATH.secret. No secret is ever taken from the command line.
 * may_make: a SQLite ledger that is not there is made. */
bool ek_books_open(struct ek_books *b, bool need_secret, bool may_make);
void ek_books_close(struct ek_books *b);
const char *ek_books_flag(const struct ek_books *b, const char *flag); /* its value, or NULL */

/* Ask the admin API; path without /admin/v1; name: the Idempotency-Key, or NULL. Takes the reference of body
 * (NULL: none). NULL and an exit code when it was refused, which was said on standard error. */
json_t *ek_books_ask(struct ek_books *b, const char *method, const char *path, const char *name, json_t *body,
                     int *code);
/* The same for JSON lines, either way: what is said goes into `out`. */
bool ek_books_lines(struct ek_books *b, const char *method, const char *path, struct ek_str body,
                    struct ek_buf *out, int *code);
/* "/accounts/" NAME rest, the name encoded. Returns out. */
const char *ek_books_path(char out[EK_BOOKS_PATH_BYTES], const char *name, const char *rest);

/* books_remote.c: one request over HTTP. False: said why. */
bool ek_books_remote(struct ek_books *b, const struct ek_admin_ask *ask, struct ek_admin_answer *out);

/* Says that the value of a flag was not understood. EK_EXIT_USAGE. */
int ek_books_refused(const char *flag, const char *value);

/* Words that are no command: says so, with the lines of `usage` that begin like them, or all of it. */
void ek_books_puzzled(const char *command, const char *usage, const struct ek_books *b);

/* The value of a flag, "30d", "12h" or "10min", as durations are written in the configuration; at least a
 * second. False: said why. */
bool ek_books_span(const char *flag, const char *text, uint64_t *ns);
/* --expires: "30d" as Unix seconds from now, "never" as null; NULL: it is not given, or *code says what
 * was wrong. */
json_t *ek_books_expires(const struct ek_books *b, int *code);
/* "2026-11-22 01:05 UTC", "never" for null. */
#define EK_DATE_BYTES 32u
const char *ek_date_text(const json_t *unix_s, char out[EK_DATE_BYTES]);
/* A string member, "" where there is none; a number, 0 where there is none. */
const char *ek_json_text(const json_t *object, const char *name);
long long ek_json_number(const json_t *object, const char *name);

#endif
