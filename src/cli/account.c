/* SPDX-License-Identifier: MIT */
/* evenkeel account: accounts, their money and their limits, codes, usage, the books. Everything is asked
 * of the admin API (cli/books.h): of a running door, or of the same code on the ledger's database. Who
 * did what stands in the list of acts either way. */
#include "cli/books.h"
#include "cli/cli.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "evenkeel account add NAME [--tier TIER] [--grant AMOUNT] [--topup AMOUNT] [limits]\n"
    "evenkeel account show NAME | list\n"
    "evenkeel account topup NAME AMOUNT [--name ID] [--note TEXT]     paid money; ID makes it idempotent\n"
    "evenkeel account grant NAME AMOUNT [--name ID] [--note TEXT]     a gift, spent first\n"
    "evenkeel account topups NAME                                     what was paid, given, taken back\n"
    "evenkeel account limit NAME [limits]\n"
    "evenkeel account suspend NAME | resume NAME\n"
    "evenkeel account usage [NAME] [--from DAY] [--to DAY] [--by day,account,model,key]\n"
    "evenkeel account invite [--tier TIER] [--grant AMOUNT] [--uses N] [--expires 30d] [--signed yes]\n"
    "evenkeel account voucher AMOUNT [--grant AMOUNT] [--uses N] [--expires 30d] [--note TEXT]\n"
    "evenkeel account codes | withdraw ID\n"
    "evenkeel account redeem CODE|- NAME                              its first key; -: code read\n"
    "evenkeel account acts [NAME]                                     what administrators did\n"
    "evenkeel account audit                                           add everything up again\n"
    "evenkeel account export > FILE | import < FILE                   JSON lines, exact\n\n"
    "Limits: --tier TIER --budget-day AMOUNT --budget-month AMOUNT --running N --minute-requests N\n"
    "  --minute-tokens N --day-thoughts N --models \"a b*\" --addresses \"10.0.0.0/8\" --borrow yes|no\n"
    "  --expires 30d|never; 0 and \"\" are no limit. Amounts are in units of the currency: 12.5\n"
    "A running door: --admin http://127.0.0.1:8081 or EVENKEEL_ADMIN, its key from --admin-key FILE or\n"
    "EVENKEEL_ADMIN_KEY. Without one, the database: --ledger FILE|postgres://... or EVENKEEL_LEDGER;\n"
    "--secret FILE or EVENKEEL_SECRET for codes. --config FILE is the door's: its ledger, and its tiers.\n";

static const char *const flags[] = {"--tier", "--grant", "--topup", "--name", "--note", "--uses", "--expires",
                                    "--budget-day", "--budget-month", "--running", "--minute-requests",
                                    "--minute-tokens", "--day-thoughts", "--models", "--addresses",
        "--borrow",
                                    "--from", "--to", "--by", "--signed", NULL};

/* ---- flags into members ----------------------------------------------------------------------- */

/* An amount as written, once it is known to be one. */
static int put_amount(const struct ek_books *b, const char *flag, json_t *into, const char *member)
{
    const char *v = ek_books_flag(b, flag);
    int64_t nano;
    if (!v) return 0;
    if (!ek_amount_parse(v, false, &nano)) return ek_books_refused(flag, v);
    json_object_set_new(into, member, json_string(v));
    return 0;
}

static int put_number(const struct ek_books *b, const char *flag, json_t *into, const char *member)
{
    const char *v = ek_books_flag(b, flag);
    uint64_t n;
    if (!v) return 0;
    if (!ek_str_u64(ek_str_of(v), &n) || n > INT32_MAX) return ek_books_refused(flag, v);
    json_object_set_new(into, member, json_integer((json_int_t)n));
    return 0;
}

static int put_text(const struct ek_books *b, const char *flag, json_t *into, const char *member)
{
    const char *v = ek_books_flag(b, flag);
    if (!v) return 0;
    json_t *text = json_string(v);
    if (!text) return ek_books_refused(flag, v); /* no UTF-8 */
    json_object_set_new(into, member, text);
    return 0;
}

static int put_words(const struct ek_books *b, const char *flag, json_t *into, const char *member)
{
    const char *v = ek_books_flag(b, flag);
    if (!v) return 0;
    json_t *all = json_array();
    for (const char *at = v; *at;) {
        size_t len = strcspn(at, " ");
        json_t *word = len ? json_stringn(at, len) : NULL;
        if (word) json_array_append_new(all, word);
        at += len + (at[len] == ' ');
    }
    json_object_set_new(into, member, all);
    return 0;
}

static int put_expires(const struct ek_books *b, json_t *into)
{
    int code;
    json_t *when = ek_books_expires(b, &code);
    if (when) json_object_set_new(into, "expires", when);
    return code;
}

/* "limits" of the flags, where there are any; 0 or an exit code. */
static int put_limits(const struct ek_books *b, json_t *into)
{
    json_t *l = json_object();
    const char *borrow = ek_books_flag(b, "--borrow");
    int code = put_amount(b, "--budget-day", l, "budget_day");
    if (!code) code = put_amount(b, "--budget-month", l, "budget_month");
    if (!code) code = put_number(b, "--running", l, "running");
    if (!code) code = put_number(b, "--minute-requests", l, "minute_requests");
    if (!code) code = put_number(b, "--minute-tokens", l, "minute_tokens");
    if (!code) code = put_number(b, "--day-thoughts", l, "day_thoughts");
    if (!code) code = put_words(b, "--models", l, "models");
    if (!code) code = put_words(b, "--addresses", l, "addresses");
    if (!code) code = put_expires(b, l);
    if (!code && borrow && strcmp(borrow, "yes") != 0 && strcmp(borrow, "no") != 0)
        code = ek_books_refused("--borrow", borrow);
    if (borrow) json_object_set_new(l, "borrow", json_boolean(*borrow == 'y'));
    if (json_object_size(l)) json_object_set(into, "limits", l);
    json_decref(l);
    return code ? code : put_text(b, "--tier", into, "tier");
}

/* Asks, and drops what was said. */
static int act(struct ek_books *b, const char *method, const char *path, json_t *body)
{
    int code;
    json_decref(ek_books_ask(b, method, path, NULL, body, &code));
    return code;
}

/* ---- accounts --------------------------------------------------------------------------------- */

static int add(struct ek_books *b)
{
    json_t *body = json_pack("{s:s*}", "name", b->word[1]);
    int code = body ? put_limits(b, body) : ek_books_refused("the name", b->word[1]);
    if (!code) code = put_amount(b, "--grant", body, "grant");
    if (!code) code = put_amount(b, "--topup", body, "topup");
    if (!code) return act(b, "POST", "/accounts", body);
    json_decref(body);
    return code;
}

static void print_list(const char *what, const json_t *words)
{
    size_t i;
    json_t *word;
    printf("%s:", what);
    json_array_foreach(words, i, word) printf(" %s", json_string_value(word));
    printf("%s", json_array_size(words) ? "; " : " any; ");
}

static int show(struct ek_books *b)
{
    char path[EK_BOOKS_PATH_BYTES], date[EK_DATE_BYTES];
    int code;
    json_t *a = ek_books_ask(b, "GET", ek_books_path(path, b->word[1], ""), NULL, NULL, &code);
    if (!a) return code;
    const json_t *m = json_object_get(a, "balance"), *l = json_object_get(a, "limits");
    printf("%s  tier %s%s\n", ek_json_text(a, "name"), ek_json_text(a, "tier"),
           strcmp(ek_json_text(a, "state"), "suspended") == 0 ? "  SUSPENDED" : "");
    printf("  balance %s (granted %s, topped up %s), of which %s with %lld doors\n", ek_json_text(m, "total"),
           ek_json_text(m, "granted"), ek_json_text(m, "topped_up"), ek_json_text(m, "leased"),
           ek_json_number(m, "doors"));
    printf("  paid in %s, spent %s, forgiven %s; today %s, this month %s\n", ek_json_text(m, "paid_in"),
           ek_json_text(m, "spent"), ek_json_text(m, "forgiven"), ek_json_text(m, "spent_today"),
           ek_json_text(m, "spent_this_month"));
    printf("  limits (0: none): budget %s a day, %s a month; %lld at once; %lld requests, %lld tokens a "
           "minute; %lld deep thoughts a day\n  ", ek_json_text(l, "budget_day"),
           ek_json_text(l, "budget_month"), ek_json_number(l, "running"),
           ek_json_number(l, "minute_requests"), ek_json_number(l, "minute_tokens"),
           ek_json_number(l, "day_thoughts"));
    print_list("models", json_object_get(l, "models"));
    print_list("addresses", json_object_get(l, "addresses"));
    printf("borrowed upstreams: %s; expires: %s\n", json_is_true(json_object_get(l, "borrow")) ? "yes" : "no",
           ek_date_text(json_object_get(l, "expires"), date));
    json_decref(a);
    return 0;
}

/* Pages of a list, each handed to `print`; path has its query, if any, up to the cursor. */
static int each_page(struct ek_books *b, const char *path, const char *cursor, const char *member,
                     void (*print)(const json_t *one))
{
    char next[200] = "", whole[EK_BOOKS_PATH_BYTES];
    for (;;) {
        int code;
        size_t i;
        json_t *one;
        snprintf(whole, sizeof whole, "%.700s%slimit=500%s%s%s", path, strchr(path, '?') ? "&" : "?",
                 *next ? "&" : "", *next ? cursor : "", next);
        json_t *page = ek_books_ask(b, "GET", whole, NULL, NULL, &code);
        if (!page) return code;
        json_array_foreach(json_object_get(page, member), i, one) print(one);
        const char *text = ek_json_text(page, "next");
        size_t n = 0;
        for (next[0] = '\0'; *text && n + 4 < sizeof next; text++) /* names have other characters, too */
            n += (size_t)snprintf(next + n, sizeof next - n, "%%%02X", (unsigned char)*text);
        json_decref(page);
        if (!*next) return 0;
    }
}

static void print_account(const json_t *a)
{
    printf("%-32s %-16s %s\n", ek_json_text(a, "name"), ek_json_text(a, "tier"),
           strcmp(ek_json_text(a, "state"), "suspended") == 0 ? "suspended" : "");
}

static void print_topup(const json_t *t)
{
    char date[EK_DATE_BYTES];
    printf("%s  %-8s paid %s, given %s  %s  %s\n", ek_date_text(json_object_get(t, "at"), date),
           ek_json_text(t, "kind"), ek_json_text(t, "amount"), ek_json_text(t, "gift"),
           ek_json_text(t, "payment"), ek_json_text(t, "note"));
}

static void print_act(const json_t *a)
{
    char date[EK_DATE_BYTES];
    printf("%s  %s: %s%s%s\n", ek_date_text(json_object_get(a, "at"), date), ek_json_text(a, "who"),
           ek_json_text(a, "what"), *ek_json_text(a, "account") ? ", of " : "", ek_json_text(a, "account"));
}

static void print_code(const json_t *c)
{
    char date[EK_DATE_BYTES];
    printf("%-20s %-10s gift %s, paid %s, uses left %lld, ends %s %s %s\n", ek_json_text(c, "id"),
           ek_json_text(c, "kind"), ek_json_text(c, "gift"), ek_json_text(c, "amount"),
           ek_json_number(c, "uses"), ek_date_text(json_object_get(c, "expires"), date),
           ek_json_text(c, "tier"),
           ek_json_text(c, "note"));
}

static int acts(struct ek_books *b)
{
    char path[EK_BOOKS_PATH_BYTES], name[EK_BOOKS_PATH_BYTES];
    if (b->words == 1) return each_page(b, "/acts", "before=", "acts", print_act);
    snprintf(path, sizeof path, "/acts?account=%.700s", ek_books_path(name, b->word[1], "") + 10);
    return each_page(b, path, "before=", "acts", print_act);
}

/* ---- money ------------------------------------------------------------------------------------ */

static int pay(struct ek_books *b, bool gift)
{
    char path[EK_BOOKS_PATH_BYTES], fresh[33];
    uint8_t random[16];
    int64_t nano;
    const char *name = ek_books_flag(b, "--name");
    if (!ek_amount_parse(b->word[2], true, &nano)) return ek_books_refused("amount", b->word[2]);
    if (name && !*name) return ek_books_refused("--name", "");
    randombytes_buf(random, sizeof random);
    sodium_bin2hex(fresh, sizeof fresh, random, sizeof random);
    json_t *body = json_pack("{s:s, s:b}", "amount", b->word[2], "gift", (int)gift);
    int code = put_text(b, "--note", body, "note");
    if (code) json_decref(body);
    if (code) return code;
    json_decref(ek_books_ask(b, "POST", ek_books_path(path, b->word[1], "/topups"), name ? name : fresh, body,
                             &code));
    if (code == 0 && b->again) puts("this was paid before; nothing has changed");
    return code;
}

static int change(struct ek_books *b, const char *state)
{
    char path[EK_BOOKS_PATH_BYTES];
    json_t *body = json_object();
    int code = put_limits(b, body);
    if (state) json_object_set_new(body, "state", json_string(state));
    if (!code) return act(b, "PATCH", ek_books_path(path, b->word[1], ""), body);
    json_decref(body);
    return code;
}

/* Makes a code and prints its text alone, for a pipe. */
static int make_code(struct ek_books *b, const char *path, json_t *body)
{
    int code = put_amount(b, "--grant", body, "gift");
    if (!code && strcmp(path, "/codes") == 0) code = put_number(b, "--uses", body, "uses");
    if (!code && strcmp(path, "/codes") == 0) code = put_text(b, "--note", body, "note");
    if (!code) code = put_expires(b, body);
    if (code) json_decref(body);
    if (code) return code;
    json_t *said = ek_books_ask(b, "POST", path, NULL, body, &code);
    if (said) printf("%s\n", ek_json_text(said, "code"));
    json_decref(said);
    return code;
}

static int invite(struct ek_books *b)
{
    const char *how = ek_books_flag(b, "--signed");
    bool is_signed = how && strcmp(how, "yes") == 0;
    if (how && !is_signed && strcmp(how, "no") != 0) return ek_books_refused("--signed", how);
    json_t *body = is_signed ? json_object() : json_pack("{s:s}", "kind", "invitation");
    int code = put_text(b, "--tier", body, "tier");
    if (!code) return make_code(b, is_signed ? "/invitations" : "/codes", body);
    json_decref(body);
    return code;
}

static int voucher(struct ek_books *b)
{
    int64_t nano;
    if (!ek_amount_parse(b->word[1], false, &nano)) return ek_books_refused("amount", b->word[1]);
    return make_code(b, "/codes", json_pack("{s:s, s:s}", "kind", "voucher", "amount", b->word[1]));
}

/* A code of "-" is read from standard input: what stands in a command line, others can see. */
static int redeem(struct ek_books *b)
{
    char line[EK_CODE_BYTES + 2] = "";
    const char *text = b->word[1];
    int code;
    if (strcmp(text, "-") == 0) {
        if (!fgets(line, sizeof line, stdin)) return ek_books_refused("the code", "");
        line[strcspn(line, "\r\n")] = '\0';
        text = line;
    }
    json_t *body = json_pack("{s:s, s:s}", "code", text, "name", b->word[2]);
    if (!body) return ek_books_refused("the code or the name", "");
    json_t *said = ek_books_ask(b, "POST", "/redeem", NULL, body, &code);
    if (said) printf("%s\n", ek_json_text(said, "key"));
    json_decref(said);
    return code;
}

static int withdraw(struct ek_books *b)
{
    char path[EK_BOOKS_PATH_BYTES];
    snprintf(path, sizeof path, "/codes/%.100s", b->word[1]);
    return act(b, "DELETE", path, NULL);
}

/* ---- the books -------------------------------------------------------------------------------- */

static void print_usage(const json_t *rows)
{
    size_t i;
    json_t *r;
    json_array_foreach(rows, i, r) {
        const char *parts[] = {"day", "account", "model", "key_name"};
        for (size_t p = 0; p < EK_COUNT(parts); p++)
            if (json_object_get(r, parts[p])) printf("%-16s ", ek_json_text(r, parts[p]));
        printf("%8lld requests %12lld in (%lld cached) %12lld out  %s\n", ek_json_number(r, "requests"),
               ek_json_number(r, "prompt_tokens"), ek_json_number(r, "cached_tokens"),
               ek_json_number(r, "output_tokens"), ek_json_text(r, "charged"));
    }
}

static int show_usage(struct ek_books *b)
{
    static const char *const names[] = {"--from", "--to", "--by"};
    char path[EK_BOOKS_PATH_BYTES], name[EK_BOOKS_PATH_BYTES];
    size_t n = (size_t)snprintf(path, sizeof path, "/usage?limit=10000");
    for (size_t i = 0; i < EK_COUNT(names); i++) {
        const char *v = ek_books_flag(b, names[i]);
        if (v && (strspn(v, "0123456789-abcdefghijklmnopqrstuvwxyz,") != strlen(v) || strlen(v) > 60))
            return ek_books_refused(names[i], v);
        if (v) n += (size_t)snprintf(path + n, sizeof path - n, "&%s=%s", names[i] + 2, v);
    }
    if (b->words == 2)
        n += (size_t)snprintf(path + n, sizeof path - n, "&account=%.500s",
                              ek_books_path(name, b->word[1], "") + 10);
    for (long long skip = 0;;) {
        char page[EK_BOOKS_PATH_BYTES + 32];
        int code;
        snprintf(page, sizeof page, "%s&skip=%lld", path, skip);
        json_t *said = ek_books_ask(b, "GET", page, NULL, NULL, &code);
        if (!said) return code;
        print_usage(json_object_get(said, "rows"));
        skip = ek_json_number(said, "next_skip");
        json_decref(said);
        if (!skip) return 0;
    }
}

static int audit(struct ek_books *b)
{
    int code;
    json_t *a = ek_books_ask(b, "GET", "/audit", NULL, NULL, &code);
    if (!a) return code;
    bool exact = json_is_true(json_object_get(a, "exact"));
    printf("%lld accounts, %lld settlements, %lld entries, %lld leases\n"
           "free %s + leased %s + spent %s = paid in %s; forgiven %s\n", ek_json_number(a, "accounts"),
           ek_json_number(a, "settlements"), ek_json_number(a, "entries"), ek_json_number(a, "leases"),
           ek_json_text(a, "free"), ek_json_text(a, "leased"), ek_json_text(a, "spent"),
           ek_json_text(a, "paid_in"), ek_json_text(a, "forgiven"));
    if (exact) puts("every account follows from its rows");
    else printf("WRONG: %lld accounts; %s\n", ek_json_number(a, "wrong"), ek_json_text(a, "first_wrong"));
    json_decref(a);
    return exact ? 0 : 1;
}

/* The name in the last line of an export: where the next page begins. */
static bool last_name(struct ek_str lines, char out[3 * EK_LEDGER_NAME_MAX + 1])
{
    size_t from = lines.len - 1, n = 0;
    while (from > 0 && lines.data[from - 1] != '\n') from--;
    json_t *j = json_loadb(lines.data + from, lines.len - from, 0, NULL);
    const char *name = ek_json_text(j, "name");
    for (; *name && n + 3 < 3 * EK_LEDGER_NAME_MAX + 1; name++)
        n += (size_t)snprintf(out + n, 4, "%%%02X", (unsigned char)*name);
    json_decref(j);
    return n > 0;
}

static int export_all(struct ek_books *b)
{
    char path[EK_BOOKS_PATH_BYTES], after[3 * EK_LEDGER_NAME_MAX + 1] = "";
    for (;;) {
        struct ek_buf out;
        int code;
        snprintf(path, sizeof path, "/export?limit=100&after=%s", after);
        if (!ek_books_lines(b, "GET", path, ek_str_make(NULL, 0), &out, &code)) return code;
        size_t len = out.len;
        bool written = len == 0 || fwrite(out.data, 1, len, stdout) == len;
        bool more = len > 0 && last_name(ek_buf_view(&out), after);
        ek_buf_free(&out);
        if (!written) return 1;
        if (!more) return fflush(stdout) == 0 ? 0 : 1;
    }
}

/* One request's worth of lines, read from standard input. */
static bool read_lines(struct ek_buf *lines)
{
    char *line = NULL;
    size_t cap = 0;
    ek_buf_clear(lines);
    for (ssize_t len; lines->len < EK_ADMIN_LINES_BYTES_MAX / 2 && (len = getline(&line, &cap, stdin)) > 0;)
        ek_buf_put(lines, line, (size_t)len);
    free(line);
    return lines->len > 0;
}

static int import_all(struct ek_books *b)
{
    struct ek_buf lines = ek_buf_make(EK_ADMIN_LINES_BYTES_MAX);
    long long imported = 0, present = 0, refused = 0;
    int code = 0;
    while (!code && read_lines(&lines)) {
        struct ek_buf out = {0};
        size_t i;
        json_t *one;
        if (lines.failed) fprintf(stderr, "evenkeel: a line is longer than %u bytes\n",
                                  EK_ADMIN_LINES_BYTES_MAX);
        if (lines.failed || !ek_books_lines(b, "POST", "/import", ek_buf_view(&lines), &out, &code)) code = 1;
        json_t *said = code ? NULL : json_loadb(out.data, out.len, 0, NULL);
        imported += ek_json_number(said, "imported");
        present += ek_json_number(said, "present");
        json_array_foreach(json_object_get(said, "refused"), i, one) {
            fprintf(stderr, "evenkeel: line %lld of this part: %s\n", ek_json_number(one, "line"),
                    ek_json_text(one, "why"));
            refused++;
        }
        json_decref(said);
        ek_buf_free(&out);
    }
    ek_buf_free(&lines);
    printf("%lld accounts came in, %lld were here already, %lld were refused\n", imported, present, refused);
    return code ? code : refused ? 1 : 0;
}

/* ---- the table of verbs ----------------------------------------------------------------------- */

static int list(struct ek_books *b) { return each_page(b, "/accounts", "after=", "accounts", print_account); }
static int codes(struct ek_books *b) { return each_page(b, "/codes", "after=", "codes", print_code); }
static int topup(struct ek_books *b) { return pay(b, false); }
static int grant(struct ek_books *b) { return pay(b, true); }
static int limit(struct ek_books *b) { return change(b, NULL); }
static int suspend(struct ek_books *b) { return change(b, "suspended"); }
static int resume(struct ek_books *b) { return change(b, "active"); }

static int topups(struct ek_books *b)
{
    char path[EK_BOOKS_PATH_BYTES];
    return each_page(b, ek_books_path(path, b->word[1], "/topups"), "before=", "topups", print_topup);
}

int ek_cli_account(int argc, char **argv)
{
    static const struct {
        const char *verb;
        size_t words, words_max;
        bool secret; /* on a database it needs the installation's */
        int (*run)(struct ek_books *b);
    } verbs[] = {{"add", 2, 2, false, add}, {"show", 2, 2, false, show}, {"list", 1, 1, false, list},
                 {"topup", 3, 3, false, topup}, {"grant", 3, 3, false, grant}, {"topups", 2, 2, false,
                                                                                topups},
                 {"limit", 2, 2, false, limit}, {"suspend", 2, 2, false, suspend},
                 {"resume", 2, 2, false, resume}, {"usage", 1, 2, false, show_usage},
                 {"invite", 1, 1, true, invite}, {"voucher", 2, 2, true, voucher},
                 {"codes", 1, 1, false, codes}, {"withdraw", 2, 2, false, withdraw},
                 {"redeem", 3, 3, true, redeem}, {"acts", 1, 2, false, acts}, {"audit", 1, 1, false, audit},
                 {"export", 1, 1, false, export_all}, {"import", 1, 1, false, import_all}};
    struct ek_books b;
    size_t v = EK_COUNT(verbs);
    bool asked = argc == 1 && strcmp(argv[0], "--help") == 0;
    if (!asked && !ek_books_read(&b, flags, argc, argv)) return EK_EXIT_USAGE;
    for (size_t i = 0; i < EK_COUNT(verbs) && !asked && b.words; i++)
        if (strcmp(verbs[i].verb,
                   b.word[0]) == 0 && b.words >= verbs[i].words && b.words <= verbs[i].words_max)
            v = i;
    if (v == EK_COUNT(verbs)) {
        if (!asked) ek_books_puzzled("account", usage, &b);
        else fputs(usage, stdout);
        return asked ? 0 : EK_EXIT_USAGE;
    }
    ek_cli_keep_private();
    /* Books are begun with an account; whoever mistypes their name must not be told that all is well. */
    bool begins = strcmp(b.word[0], "add") == 0 || strcmp(b.word[0], "import") == 0 ||
                  strcmp(b.word[0], "invite") == 0;
    int code = ek_books_open(&b, verbs[v].secret, begins) ? verbs[v].run(&b) : EK_EXIT_USAGE;
    ek_books_close(&b);
    return code;
}
