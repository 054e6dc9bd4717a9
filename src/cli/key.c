/* SPDX-License-Identifier: MIT */
/* evenkeel key: make a key for somebody. It is shown once. With one word, the lines for a configuration file,
 * which needs its hash only; otherwise keys of an account in the ledger. */
#include "cli/books.h"
#include "cli/cli.h"
#include "ledger/records.h"

#include <sodium.h>
#include <stdio.h>

#define SECRET_BYTES 24u /* 192 random bits: 32 letters */

static const char usage[] =
    "evenkeel key NAME\n"
    "    A key, and the lines of a configuration file that make it known (NAME: one word, 64 letters).\n\n"
    "evenkeel key add ACCOUNT NAME [--user USER] [--expires 90d]      in the ledger; shown once\n"
    "evenkeel key list ACCOUNT\n"
    "evenkeel key revoke ACCOUNT KEY                                  at once and for good\n"
    "evenkeel key rotate ACCOUNT KEY [--overlap 24h]                  a new one; the old one ends then\n\n"
    "KEY is the id that `list` shows. --ledger FILE|postgres://... or EVENKEEL_LEDGER; --secret FILE or\n"
    "EVENKEEL_SECRET, else the file beside a SQLite ledger, made when there is none.\n";

static int key_for_file(const char *word)
{
    struct ek_str name = ek_str_of(word);
    bool clear = name.len >= 1 && name.len <= 64 && name.data[0] != '-';
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.data[i];
        clear = clear && c > 0x20 && c < 0x7f && !strchr("\"\\#:", c);
    }
    if (!clear) {
        fputs(usage, stderr);
        return EK_EXIT_USAGE;
    }

    unsigned char random[SECRET_BYTES], hash[crypto_hash_sha256_BYTES];
    char key[64] = "sk-ek-", hex[2 * sizeof(hash) + 1];
    randombytes_buf(random, sizeof(random));
    sodium_bin2base64(key + 6, sizeof(key) - 6, random, sizeof(random),
                      sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    crypto_hash_sha256(hash, (const unsigned char *)key, strlen(key));
    sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
    printf("# The key, for %s alone; it is kept nowhere:\n#   %s\n# For the configuration file:\nkeys:\n"
           "  - name: \"%s\"\n    sha256: %s\n", word, key, word, hex);
    sodium_memzero(key, sizeof(key));
    return 0;
}

/* ---- keys of the ledger ---------------------------------------------------------------------- */

static int failed(const struct ek_books *b, enum ek_status s, const char *what)
{
    return ek_books_failed(b, s, what, "there is none, or it has ended", "that is no name");
}

static int key_add(struct ek_books *b, uint64_t account)
{
    uint64_t ns, expires = 0, id;
    char token[EK_TOKEN_BYTES];
    const char *span = ek_books_flag(b, "--expires"), *user = ek_books_flag(b, "--user");
    if (span && !ek_span_parse(span, &ns)) return ek_books_refused("--expires", span);
    if (span) expires = ek_ledger_now_ns(b->ledger) + ns;
    enum ek_status s = ek_people_key_add(b->ledger, &b->secret, account, b->word[2], user ? user : "",
                                         expires, token, &id);
    if (s == EK_OK) s = ek_people_act(b->ledger, "command line", "key add", account);
    if (s != EK_OK) return failed(b, s, b->word[2]);
    printf("%s\n", token);
    sodium_memzero(token, sizeof(token));
    return 0;
}

struct listing {
    uint64_t account, last;
};

static void list_row(void *arg, const struct ek_key_row *row)
{
    struct listing *l = arg;
    char made[EK_DATE_BYTES], ends[EK_DATE_BYTES];
    l->last = row->version;
    if (row->account != l->account) return;
    printf("%-20llu %-24s made %s, ends %s%s\n", (unsigned long long)row->id, row->name,
           ek_date_text(row->created_unix_ns, made), ek_date_text(row->expires_unix_ns, ends),
           row->revoked_unix_ns ? ", REVOKED" : "");
}

static int key_list(struct ek_books *b, uint64_t account)
{
    struct listing l = {account, 0};
    enum ek_status s = EK_OK;
    for (uint64_t before = UINT64_MAX; s == EK_OK && l.last != before;) {
        before = l.last;
        s = ek_people_keys(b->ledger, before, 500, list_row, &l);
    }
    return s == EK_OK ? 0 : failed(b, s, "list");
}

/* revoke and rotate: the key must be the account's. */
static int key_end(struct ek_books *b, uint64_t account, bool rotate)
{
    uint64_t id, fresh, overlap = 24 * 3600 * EK_S_NS;
    struct ek_key_row row;
    char token[EK_TOKEN_BYTES] = "";
    const char *span = ek_books_flag(b, "--overlap");
    if (!ek_str_u64(ek_str_of(b->word[2]), &id)) return ek_books_refused("the key's id", b->word[2]);
    if (span && !ek_span_parse(span, &overlap)) return ek_books_refused("--overlap", span);
    enum ek_status s = ek_people_key(b->ledger, id, &row);
    if (s == EK_OK && row.account != account) s = EK_ABSENT;
    if (s == EK_OK && !rotate) s = ek_people_key_revoke(b->ledger, id);
    if (s == EK_OK && rotate) s = ek_people_key_rotate(b->ledger, &b->secret, id, overlap, token, &fresh);
    const char *what = rotate ? "key rotate" : "key revoke";
    if (s == EK_OK) s = ek_people_act(b->ledger, "command line", what, account);
    if (s != EK_OK) return failed(b, s, b->word[2]);
    if (rotate) printf("%s\n", token);
    sodium_memzero(token, sizeof(token));
    return 0;
}

int ek_cli_key(int argc, char **argv)
{
    static const char *const flags[] = {"--user", "--expires", "--overlap", NULL};
    static const char *const verbs[] = {"add", "list", "revoke", "rotate"};
    struct ek_books b;
    if (argc == 1 && strcmp(argv[0], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc == 1) return key_for_file(argv[0]);
    if (!ek_books_read(&b, flags, argc, argv)) return EK_EXIT_USAGE;
    size_t verb = 0;
    while (verb < EK_COUNT(verbs) && !(b.words && strcmp(verbs[verb], b.word[0]) == 0)) verb++;
    if (verb == EK_COUNT(verbs) || b.words != (verb == 1 ? 2u : 3u)) {
        fputs(usage, stderr);
        return EK_EXIT_USAGE;
    }
    struct ek_account_row row;
    int code = EK_EXIT_USAGE;
    if (ek_books_open(&b, verb == 0 || verb == 3)) {
        enum ek_status s = ek_people_account(b.ledger, b.word[1], &row);
        if (s != EK_OK) code = failed(&b, s, b.word[1]);
        else if (verb == 0) code = key_add(&b, row.id);
        else if (verb == 1) code = key_list(&b, row.id);
        else code = key_end(&b, row.id, verb == 3);
    }
    ek_books_close(&b);
    return code;
}
