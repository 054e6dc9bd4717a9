/* SPDX-License-Identifier: MIT */
/* evenkeel key: make a key for somebody. It is shown once. With one word, the lines for a configuration file,
 * which needs its hash only; otherwise keys of an account in the ledger. */
#include "cli/books.h"
#include "cli/cli.h"

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
    "KEY is the id that `list` shows. A running door: --admin URL or EVENKEEL_ADMIN, its key from\n"
    "--admin-key FILE or EVENKEEL_ADMIN_KEY. Without one, the database: --ledger FILE|postgres://... or\n"
    "EVENKEEL_LEDGER; --secret FILE or EVENKEEL_SECRET, else the file beside a SQLite ledger, made when\n"
    "there is none.\n";

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

/* Asks for a new key and prints it alone, for a pipe. */
static int print_new(struct ek_books *b, const char *path, json_t *body)
{
    int code;
    json_t *said = ek_books_ask(b, "POST", path, NULL, body, &code);
    if (said) printf("%s\n", ek_json_text(said, "key"));
    json_decref(said);
    return code;
}

static int key_add(struct ek_books *b)
{
    char path[EK_BOOKS_PATH_BYTES];
    const char *user = ek_books_flag(b, "--user");
    int code;
    json_t *when = ek_books_expires(b, &code);
    if (code) return code;
    json_t *body = json_pack("{s:s, s:s*}", "name", b->word[2], "user", user);
    if (!body) {
        json_decref(when);
        return ek_books_refused("the key's name", "");
    }
    if (when) json_object_set_new(body, "expires", when);
    return print_new(b, ek_books_path(path, b->word[1], "/keys"), body);
}

static void print_key(const json_t *k)
{
    char made[EK_DATE_BYTES], ends[EK_DATE_BYTES];
    printf("%-20s %-24s made %s, ends %s%s\n", ek_json_text(k, "id"), ek_json_text(k, "name"),
           ek_date_text(json_object_get(k, "created"), made),
           ek_date_text(json_object_get(k, "expires"), ends),
           json_is_integer(json_object_get(k, "revoked")) ? ", REVOKED" : "");
}

static int key_list(struct ek_books *b)
{
    char path[EK_BOOKS_PATH_BYTES], rest[64], next[24] = "0";
    do {
        int code;
        size_t i;
        json_t *one;
        snprintf(rest, sizeof rest, "/keys?limit=500&after=%s", next);
        json_t *page = ek_books_ask(b, "GET", ek_books_path(path, b->word[1], rest), NULL, NULL, &code);
        if (!page) return code;
        json_array_foreach(json_object_get(page, "keys"), i, one) print_key(one);
        snprintf(next, sizeof next, "%s", ek_json_text(page, "next"));
        json_decref(page);
    } while (*next);
    return 0;
}

static const char the_id[] = "the key's id, as `evenkeel key list` shows it,";

static bool key_path(const struct ek_books *b, const char *rest, char path[EK_BOOKS_PATH_BYTES])
{
    char part[64];
    uint64_t id;
    if (!ek_str_u64(ek_str_of(b->word[2]), &id)) return false;
    snprintf(part, sizeof part, "/keys/%llu%s", (unsigned long long)id, rest);
    ek_books_path(path, b->word[1], part);
    return true;
}

static int key_revoke(struct ek_books *b)
{
    char path[EK_BOOKS_PATH_BYTES];
    int code;
    if (!key_path(b, "", path)) return ek_books_refused(the_id, b->word[2]);
    json_decref(ek_books_ask(b, "DELETE", path, NULL, NULL, &code));
    return code;
}

static int key_rotate(struct ek_books *b)
{
    char path[EK_BOOKS_PATH_BYTES];
    uint64_t overlap = 24 * 3600 * EK_S_NS;
    const char *span = ek_books_flag(b, "--overlap");
    if (!key_path(b, "/rotate", path)) return ek_books_refused(the_id, b->word[2]);
    if (span && !ek_books_span("--overlap", span, &overlap)) return EK_EXIT_USAGE;
    return print_new(b, path, json_pack("{s:I}", "overlap_s", (json_int_t)(overlap / EK_S_NS)));
}

int ek_cli_key(int argc, char **argv)
{
    static const char *const flags[] = {"--user", "--expires", "--overlap", NULL};
    static const struct {
        const char *verb;
        size_t words;
        bool secret;
        int (*run)(struct ek_books *b);
    } verbs[] = {{"add", 3, true, key_add}, {"list", 2, false, key_list}, {"revoke", 3, false, key_revoke},
                 {"rotate", 3, true, key_rotate}};
    struct ek_books b;
    if (argc == 1 && strcmp(argv[0], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (argc == 1) return key_for_file(argv[0]);
    if (!ek_books_read(&b, flags, argc, argv)) return EK_EXIT_USAGE;
    size_t v = 0;
    while (v < EK_COUNT(verbs) && !(b.words == verbs[v].words && strcmp(verbs[v].verb, b.word[0]) == 0)) v++;
    if (v == EK_COUNT(verbs)) {
        ek_books_puzzled("key", usage, &b);
        return EK_EXIT_USAGE;
    }
    ek_cli_keep_private();
    int code = ek_books_open(&b, verbs[v].secret, false) ? verbs[v].run(&b) : EK_EXIT_USAGE;
    ek_books_close(&b);
    return code;
}
