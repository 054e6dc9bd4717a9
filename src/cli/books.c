/* SPDX-License-Identifier: MIT */
/* Opening the ledger for a subcommand, and reading what people write. */
#include "cli/books.h"

#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

bool ek_books_read(struct ek_books *b, const char *const *allowed, int argc, char **argv)
{
    *b = (struct ek_books){0};
    for (int i = 0; i < argc; i++) {
        char second = argv[i][0] == '-' ? argv[i][1] : '\0'; /* "-" and "-5" are words */
        if (argv[i][0] != '-' || second == '\0' || (second >= '0' && second <= '9')) {
            if (b->words == EK_BOOKS_WORDS_MAX) {
                fprintf(stderr, "evenkeel: one word too many: \"%.100s\"\n", argv[i]);
                return false;
            }
            b->word[b->words++] = argv[i];
            continue;
        }
        bool known = strcmp(argv[i], "--ledger") == 0 || strcmp(argv[i], "--secret") == 0;
        for (const char *const *a = allowed; *a && !known; a++) known = strcmp(*a, argv[i]) == 0;
        if (!known || i + 1 == argc || b->flags == EK_BOOKS_FLAGS_MAX) {
            fprintf(stderr, known ? "evenkeel: %.100s wants a value\n"
                                  : "evenkeel: there is no flag %.100s here\n", argv[i]);
            return false;
        }
        b->flag[b->flags] = argv[i];
        b->value[b->flags++] = argv[++i];
    }
    return true;
}

const char *ek_books_flag(const struct ek_books *b, const char *flag)
{
    const char *value = NULL;
    for (size_t i = 0; i < b->flags; i++)
        if (strcmp(b->flag[i], flag) == 0) value = b->value[i];
    return value;
}

static bool open_secret(struct ek_books *b, const char *url)
{
    char beside[4096], why[256];
    const char *path = ek_books_flag(b, "--secret");
    struct ek_str u = ek_str_of(url);
    if (!path && !getenv("EVENKEEL_SECRET") && !strstr(url, "://")) {
        if (ek_str_starts(u, EK_STR("sqlite:"))) u = ek_str_skip(u, 7);
        snprintf(beside, sizeof beside, "%.*s.secret", (int)(u.len < 4000 ? u.len : 4000), u.data);
        path = beside;
    }
    if (ek_secret_load(path, &b->secret, why, sizeof why) == EK_OK) return true;
    fprintf(stderr, "evenkeel: %s\n", why);
    return false;
}

bool ek_books_open(struct ek_books *b, bool need_secret)
{
    char why[256];
    const char *url = ek_books_flag(b, "--ledger");
    if (!url) url = getenv("EVENKEEL_LEDGER");
    if (!url) {
        fprintf(stderr, "evenkeel: which ledger? --ledger FILE or postgres://..., or set EVENKEEL_LEDGER\n");
        return false;
    }
    struct ek_ledger_options o = {.url = url, .door = "command-line", .lease_ns = 60 * EK_S_NS};
    if (ek_ledger_open(&o, &b->ledger, why, sizeof why) != EK_OK) {
        fprintf(stderr, "evenkeel: %s\n", why);
        return false;
    }
    return !need_secret || open_secret(b, url);
}

void ek_books_close(struct ek_books *b)
{
    ek_ledger_close(&b->ledger);
    ek_secret_wipe(&b->secret);
}

/* ---- what people write ----------------------------------------------------------------------- */

int ek_books_failed(const struct ek_books *b, enum ek_status s, const char *what, const char *absent,
                    const char *invalid)
{
    MUST(s != EK_OK);
    const char *why = s == EK_ABSENT ? absent : s == EK_INVALID ? invalid : ek_ledger_why(b->ledger);
    fprintf(stderr, "evenkeel: %.100s: %s\n", what, why);
    return 1;
}

int ek_books_refused(const char *flag, const char *value)
{
    fprintf(stderr, "evenkeel: %s: what is \"%.100s\"?\n", flag, value);
    return EK_EXIT_USAGE;
}

bool ek_span_parse(const char *text, uint64_t *ns)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {{"s", EK_S_NS}, {"min", 60 * EK_S_NS}, {"h", 3600 * EK_S_NS}, {"d", 86400 * EK_S_NS}};
    size_t digits = strspn(text, "0123456789");
    uint64_t n;
    if (!ek_str_u64(ek_str_make(text, digits), &n) || n > 36500) return false;
    for (size_t i = 0; i < EK_COUNT(units); i++) {
        if (strcmp(text + digits, units[i].unit) != 0) continue;
        *ns = n * units[i].ns;
        return true;
    }
    return false;
}

const char *ek_date_text(uint64_t unix_ns, char out[EK_DATE_BYTES])
{
    time_t at = (time_t)(unix_ns / EK_S_NS);
    struct tm tm;
    snprintf(out, EK_DATE_BYTES, "never");
    if (unix_ns && gmtime_r(&at, &tm)) strftime(out, EK_DATE_BYTES, "%Y-%m-%d %H:%M UTC", &tm);
    return out;
}
