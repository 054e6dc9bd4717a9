/* SPDX-License-Identifier: MIT */
/* evenkeel account: accounts, their money and their limits. It works on the ledger's database itself; a
 * door that is running sees what changed at its next refresh. Every act is written down (table act). */
#include "cli/books.h"
#include "cli/cli.h"
#include "ledger/codes.h"
#include "ledger/records.h"

#include <stdio.h>
#include <unistd.h>

static const char usage[] =
    "evenkeel account add NAME [--tier TIER] [--grant AMOUNT] [--topup AMOUNT] [limits]\n"
    "evenkeel account show NAME | list\n"
    "evenkeel account topup NAME AMOUNT [--name ID] [--note TEXT]     paid money; ID makes it idempotent\n"
    "evenkeel account grant NAME AMOUNT [--name ID] [--note TEXT]     a gift, spent first\n"
    "evenkeel account limit NAME [limits]\n"
    "evenkeel account suspend NAME | resume NAME\n"
    "evenkeel account invite [--tier TIER] [--grant AMOUNT] [--uses N] [--expires 30d]\n"
    "evenkeel account redeem CODE|- NAME                              its first key; -: code read\n"
    "evenkeel account audit                                           add everything up again\n\n"
    "Limits: --tier TIER --budget-day AMOUNT --budget-month AMOUNT --running N --minute-requests N\n"
    "  --minute-tokens N --day-thoughts N --models \"a b*\" --addresses \"10.0.0.0/8\" --borrow yes|no\n"
    "  --expires 30d|never; 0 and \"\" are no limit. Amounts are in units of the currency: 12.5\n"
    "--ledger FILE|postgres://... or EVENKEEL_LEDGER; --secret FILE or EVENKEEL_SECRET for codes and keys.\n";

static const char *const flags[] = {"--tier", "--grant", "--topup", "--name", "--note", "--uses",
                                    "--expires", "--budget-day", "--budget-month", "--running",
                                    "--minute-requests", "--minute-tokens", "--day-thoughts", "--models",
                                    "--addresses", "--borrow", NULL};

static int failed(const struct ek_books *b, enum ek_status s, const char *what)
{
    return ek_books_failed(b, s, what, "there is none of that name",
                           "that is not allowed, or exists already");
}

/* Who did it: the login name, for the table of acts. */
static enum ek_status written(const struct ek_books *b, const char *what, uint64_t account)
{
    char who[EK_LEDGER_NAME_MAX];
    if (getlogin_r(who, sizeof who) != 0) snprintf(who, sizeof who, "uid %u", (unsigned)getuid());
    return ek_people_act(b->ledger, who, what, account);
}

/* A name for a payment from any text: the same text, the same payment. */
static bool payment_name(const struct ek_books *b, struct ek_id *id)
{
    const char *text = ek_books_flag(b, "--name");
    uint8_t hash[EK_TOKEN_HASH_BYTES];
    struct ek_secret none = {{0}};
    *id = ek_id_random();
    if (!text) return true;
    if (!*text) return false;
    ek_token_hash(&none, ek_str_of(text), hash);
    *id = ek_id_get(hash);
    return true;
}

static int pay(struct ek_books *b, uint64_t account, const char *amount, bool gift)
{
    int64_t nano;
    bool before = false;
    struct ek_id name;
    char text[EK_AMOUNT_BYTES], what[EK_LEDGER_NOTE_MAX];
    const char *note = ek_books_flag(b, "--note");
    if (!ek_amount_parse(amount, true, &nano)) return ek_books_refused("amount", amount);
    if (!payment_name(b, &name)) return ek_books_refused("--name", "");
    if (note && strlen(note) >= EK_LEDGER_NOTE_MAX)
        return ek_books_refused("--note", "a note of more than 255 bytes");
    struct ek_money m = {gift ? nano : 0, gift ? 0 : nano};
    enum ek_status s = ek_ledger_pay(b->ledger, name, account, m, note ? note : "", &before);
    if (s != EK_OK) return failed(b, s, gift ? "grant" : "topup");
    if (before) puts("this was paid before; nothing has changed");
    snprintf(what, sizeof what, "%s %s", gift ? "grant" : "topup", ek_amount_text(nano, text));
    s = before ? EK_OK : written(b, what, account);
    return s == EK_OK ? 0 : failed(b, s, "writing it down");
}

static bool flag_number(const struct ek_books *b, const char *flag, uint64_t *out, int *code)
{
    const char *v = ek_books_flag(b, flag);
    if (!v || (ek_str_u64(ek_str_of(v), out) && *out <= INT32_MAX)) return true;
    *code = ek_books_refused(flag, v);
    return false;
}

static bool flag_amount(const struct ek_books *b, const char *flag, int64_t *out, int *code)
{
    const char *v = ek_books_flag(b, flag);
    if (!v || ek_amount_parse(v, false, out)) return true;
    *code = ek_books_refused(flag, v);
    return false;
}

static bool flag_text(const struct ek_books *b, const char *flag, char *out, size_t cap, int *code)
{
    const char *v = ek_books_flag(b, flag);
    if (!v) return true;
    if (strlen(v) >= cap) {
        *code = ek_books_refused(flag, v);
        return false;
    }
    snprintf(out, cap, "%s", v);
    return true;
}

static bool flag_expires(const struct ek_books *b, uint64_t *unix_ns, int *code)
{
    const char *v = ek_books_flag(b, "--expires");
    uint64_t ns;
    if (!v) return true;
    if (strcmp(v, "never") == 0) {
        *unix_ns = 0;
    } else if (ek_span_parse(v, &ns)) {
        *unix_ns = ek_ledger_now_ns(b->ledger) + ns;
    } else {
        *code = ek_books_refused("--expires", v);
        return false;
    }
    return true;
}

/* The limits of the flags, into the row; 0 or an exit code. */
static int limits_of(const struct ek_books *b, struct ek_account_row *row)
{
    int code = 0;
    struct ek_account_limits *l = &row->limits;
    const char *borrow = ek_books_flag(b, "--borrow");
    bool good = flag_amount(b, "--budget-day", &l->budget_day_nano, &code) &&
                flag_amount(b, "--budget-month", &l->budget_month_nano, &code) &&
                flag_number(b, "--running", &l->running_max, &code) &&
                flag_number(b, "--minute-requests", &l->minute_requests, &code) &&
                flag_number(b, "--minute-tokens", &l->minute_tokens, &code) &&
                flag_number(b, "--day-thoughts", &l->day_thoughts, &code) &&
                flag_text(b, "--tier", row->tier, sizeof row->tier, &code) &&
                flag_text(b, "--models", row->models, sizeof row->models, &code) &&
                flag_text(b, "--addresses", row->addresses, sizeof row->addresses, &code) &&
                flag_expires(b, &l->expires_unix_ns, &code);
    if (!good) return code;
    if (borrow && strcmp(borrow, "yes") != 0 && strcmp(borrow, "no") != 0)
        return ek_books_refused("--borrow", borrow);
    if (borrow) l->borrow = *borrow == 'y';
    return 0;
}

static int change(struct ek_books *b, struct ek_account_row *row, const char *what)
{
    int code = limits_of(b, row);
    if (code) return code;
    enum ek_status s = ek_people_change(b->ledger, row);
    if (s == EK_OK) s = written(b, what, row->id);
    return s == EK_OK ? 0 : failed(b, s, row->name);
}

static int add(struct ek_books *b, const char *name)
{
    uint64_t id;
    struct ek_account_row row;
    const char *tier = ek_books_flag(b, "--tier"), *grant = ek_books_flag(b, "--grant");
    const char *topup = ek_books_flag(b, "--topup");
    int64_t nano;
    if (grant && !ek_amount_parse(grant, false, &nano)) return ek_books_refused("--grant", grant);
    if (topup && !ek_amount_parse(topup, false, &nano)) return ek_books_refused("--topup", topup);
    enum ek_status s = ek_ledger_account_add(b->ledger, name, tier ? tier : "default", &id);
    if (s == EK_OK) s = ek_people_account(b->ledger, name, &row);
    if (s != EK_OK) return failed(b, s, name);
    int code = change(b, &row, "add");
    if (code == 0 && grant) code = pay(b, id, grant, true);
    if (code == 0 && topup) code = pay(b, id, topup, false);
    return code;
}

static int show(struct ek_books *b, const struct ek_account_row *row)
{
    struct ek_balance bal;
    char t[8][EK_AMOUNT_BYTES], date[EK_DATE_BYTES];
    const struct ek_account_limits *l = &row->limits;
    enum ek_status s = ek_ledger_balance(b->ledger, row->id, &bal);
    if (s != EK_OK) return failed(b, s, row->name);
    struct ek_money all = ek_money_add(bal.free, bal.leased);
    printf("%s  tier %s%s\n", row->name, row->tier, row->state == EK_ACCOUNT_SUSPENDED ? "  SUSPENDED" : "");
    printf("  balance %s (granted %s, topped up %s), of which %s with %llu doors\n",
           ek_amount_text(ek_money_sum(all), t[0]), ek_amount_text(all.granted_nano, t[1]),
           ek_amount_text(all.topped_nano, t[2]), ek_amount_text(ek_money_sum(bal.leased), t[3]),
           (unsigned long long)bal.leases);
    printf("  paid in %s, spent %s, forgiven %s; today %s, this month %s\n",
           ek_amount_text(bal.paid_nano, t[0]), ek_amount_text(bal.spent_nano, t[1]),
           ek_amount_text(bal.forgiven_nano, t[2]), ek_amount_text(bal.spent_day_nano, t[3]),
           ek_amount_text(bal.spent_month_nano, t[4]));
    printf("  limits (0: none): budget %s a day, %s a month; %llu at once; %llu requests, %llu tokens a "
           "minute; %llu deep thoughts a day\n", ek_amount_text(l->budget_day_nano, t[5]),
           ek_amount_text(l->budget_month_nano, t[6]), (unsigned long long)l->running_max,
           (unsigned long long)l->minute_requests, (unsigned long long)l->minute_tokens,
           (unsigned long long)l->day_thoughts);
    printf("  models: %s; addresses: %s; borrowed upstreams: %s; expires: %s\n",
           *row->models ? row->models : "any", *row->addresses ? row->addresses : "any",
           l->borrow ? "yes" : "no", ek_date_text(l->expires_unix_ns, date));
    return 0;
}

static void list_row(void *arg, const struct ek_account_row *row)
{
    uint64_t *last = arg;
    *last = row->version;
    printf("%-32s %-16s %s\n", row->name, row->tier, row->state == EK_ACCOUNT_SUSPENDED ? "suspended" : "");
}

static int list(struct ek_books *b)
{
    enum ek_status s = EK_OK;
    for (uint64_t last = 0, before = UINT64_MAX; s == EK_OK && last != before;) {
        before = last;
        s = ek_people_accounts(b->ledger, before, 500, list_row, &last);
    }
    return s == EK_OK ? 0 : failed(b, s, "list");
}

static int invite(struct ek_books *b)
{
    int64_t grant = 0;
    uint64_t uses = 1, expires = 0;
    int code = 0;
    char token[EK_CODE_BYTES];
    const char *tier = ek_books_flag(b, "--tier");
    if (!flag_amount(b, "--grant", &grant, &code) || !flag_number(b, "--uses", &uses, &code) ||
        !flag_expires(b, &expires, &code))
        return code;
    struct ek_code code_wanted = {.amount = {grant, 0}, .uses = uses, .expires_unix_ns = expires};
    snprintf(code_wanted.tier, sizeof code_wanted.tier, "%s", tier ? tier : "default");
    enum ek_status s = ek_code_add(b->ledger, &b->secret, &code_wanted, token);
    if (s == EK_OK) s = written(b, "invite", 0);
    if (s != EK_OK) return failed(b, s, "invite");
    printf("%s\n", token);
    return 0;
}

/* A code of "-" is read from standard input: what stands in a command line, others can see. */
static int redeem(struct ek_books *b, const char *code, const char *name)
{
    struct ek_redeemed got;
    char line[EK_CODE_BYTES + 2] = "";
    if (strcmp(code, "-") == 0) {
        if (!fgets(line, sizeof line, stdin)) return ek_books_refused("the code", "");
        line[strcspn(line, "\r\n")] = '\0';
        code = line;
    }
    enum ek_status s = ek_code_join(b->ledger, &b->secret, ek_str_of(code), name, &got);
    if (s != EK_OK) return failed(b, s, "redeem");
    printf("%s\n", got.token);
    return 0;
}

static int audit(struct ek_books *b)
{
    struct ek_audit a;
    char t[5][EK_AMOUNT_BYTES];
    enum ek_status s = ek_ledger_audit(b->ledger, &a);
    if (s != EK_OK) return failed(b, s, "audit");
    printf("%llu accounts, %llu settlements, %llu entries, %llu leases\n"
           "free %s + leased %s + spent %s = paid in %s; forgiven %s\n", (unsigned long long)a.accounts,
           (unsigned long long)a.settlements, (unsigned long long)a.entries, (unsigned long long)a.leases,
           ek_amount_text(a.balance_nano, t[0]), ek_amount_text(a.leased_nano, t[1]),
           ek_amount_text(a.spent_nano, t[2]), ek_amount_text(a.paid_nano, t[3]),
           ek_amount_text(a.forgiven_nano, t[4]));
    if (a.wrong) printf("WRONG: %llu accounts; %s\n", (unsigned long long)a.wrong, a.first);
    else puts("every account follows from its rows");
    return a.wrong ? 1 : 0;
}

/* The verbs that begin with an account that exists. */
static int on_account(struct ek_books *b, const char *verb)
{
    struct ek_account_row row;
    enum ek_status s = ek_people_account(b->ledger, b->word[1], &row);
    if (s != EK_OK) return failed(b, s, b->word[1]);
    if (strcmp(verb, "show") == 0) return show(b, &row);
    if (strcmp(verb, "topup") == 0) return pay(b, row.id, b->word[2], false);
    if (strcmp(verb, "grant") == 0) return pay(b, row.id, b->word[2], true);
    if (strcmp(verb, "suspend") == 0) row.state = EK_ACCOUNT_SUSPENDED;
    if (strcmp(verb, "resume") == 0) row.state = EK_ACCOUNT_ACTIVE;
    return change(b, &row, verb);
}

int ek_cli_account(int argc, char **argv)
{
    static const struct {
        const char *verb;
        size_t words;
    } verbs[] = {{"add", 2}, {"show", 2}, {"list", 1}, {"topup", 3}, {"grant", 3}, {"limit", 2},
                 {"suspend", 2}, {"resume", 2}, {"invite", 1}, {"redeem", 3}, {"audit", 1}};
    struct ek_books b;
    bool asked = argc == 1 && strcmp(argv[0], "--help") == 0;
    bool clear = false;
    if (!asked && !ek_books_read(&b, flags, argc, argv)) return EK_EXIT_USAGE;
    for (size_t i = 0; i < EK_COUNT(verbs) && !asked && b.words; i++)
        clear = clear || (strcmp(verbs[i].verb, b.word[0]) == 0 && verbs[i].words == b.words);
    if (!clear) {
        fputs(usage, asked ? stdout : stderr);
        return asked ? 0 : EK_EXIT_USAGE;
    }
    const char *verb = b.word[0];
    bool codes = strcmp(verb, "invite") == 0 || strcmp(verb, "redeem") == 0;
    int code = 1;
    if (!ek_books_open(&b, codes)) code = EK_EXIT_USAGE;
    else if (strcmp(verb, "add") == 0) code = add(&b, b.word[1]);
    else if (strcmp(verb, "list") == 0) code = list(&b);
    else if (strcmp(verb, "invite") == 0) code = invite(&b);
    else if (strcmp(verb, "redeem") == 0) code = redeem(&b, b.word[1], b.word[2]);
    else if (strcmp(verb, "audit") == 0) code = audit(&b);
    else code = on_account(&b, verb);
    ek_books_close(&b);
    return code;
}
