/* SPDX-License-Identifier: MIT */
/* Words and flags of the subcommands about people, and the ledger or the door behind them. */
#include "cli/books.h"

#include "cli/cli.h"
#include "config/config.h"
#include "config/option.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SPAN_DAYS_MAX 24855u /* seconds that the admin API takes, in days */

static const char *const common[] = {"--ledger", "--secret", "--admin", "--admin-key", "--config", NULL};

static bool among(const char *const *list, const char *flag)
{
    for (; *list; list++)
        if (strcmp(*list, flag) == 0) return true;
    return false;
}

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
        bool known = among(common, argv[i]) || among(allowed, argv[i]);
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

/* ---- whom to ask ------------------------------------------------------------------------------ */

static bool open_secret(struct ek_books *b, const char *url, const char *path)
{
    char beside[4096], why[256];
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

/* From a file that is its owner's alone, or from the environment, where it is wiped. */
static bool open_door_key(struct ek_books *b)
{
    const char *path = ek_books_flag(b, "--admin-key");
    char *text = path ? NULL : getenv("EVENKEEL_ADMIN_KEY");
    struct stat st = {0};
    if (text) {
        snprintf(b->door_key, sizeof b->door_key, "%s", text);
        sodium_memzero(text, strlen(text));
        unsetenv("EVENKEEL_ADMIN_KEY");
    }
    if (path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t len = fd >= 0 && fstat(fd, &st) == 0 ? read(fd, b->door_key, sizeof b->door_key - 1) : -1;
        if (fd >= 0) close(fd);
        if (len < 0) fprintf(stderr, "evenkeel: cannot read %.200s: %s\n", path, strerror(errno));
        if (len < 0) return false;
        b->door_key[len] = '\0';
    }
    if (st.st_mode & 077) {
        fprintf(stderr, "evenkeel: %.200s may be read by others: chmod 600\n", path);
        return false;
    }
    b->door_key[strcspn(b->door_key, "\r\n")] = '\0';
    if (*b->door_key) return true;
    fprintf(stderr, "evenkeel: which key? --admin-key FILE, or set EVENKEEL_ADMIN_KEY\n");
    return false;
}

static void name_myself(struct ek_books *b)
{
    char login[40];
    if (getlogin_r(login, sizeof login) != 0) snprintf(login, sizeof login, "uid %u", (unsigned)getuid());
    snprintf(b->who, sizeof b->who, "command line, %s", login);
}

/* The configuration of --config: what tiers it has, and where its ledger is. */
static bool read_config(struct ek_books *b, struct ek_config **config)
{
    struct ek_config_source source = {.path = ek_books_flag(b, "--config")};
    struct ek_buf why = ek_buf_make(65536);
    if (!source.path) return true;
    bool good = ek_config_load(&source, config, &why) == EK_OK;
    if (!good) fprintf(stderr, "%.*s", (int)why.len, why.data);
    ek_buf_free(&why);
    b->tiers = ek_buf_make(65536);
    for (size_t i = 0; good && i < (*config)->tiers.count; i++)
        ek_buf_printf(&b->tiers, "%s\n", (*config)->tiers.item[i].name);
    return good;
}

static bool open_books(struct ek_books *b, const struct ek_config *config, bool need_secret, bool may_make)
{
    char why[256];
    const char *url = ek_books_flag(b, "--ledger"), *secret = ek_books_flag(b, "--secret");
    name_myself(b);
    b->door = ek_books_flag(b, "--admin");
    if (!b->door && !url) b->door = getenv("EVENKEEL_ADMIN");
    if (b->door) return open_door_key(b);
    if (!url) url = getenv("EVENKEEL_LEDGER");
    if (!url && config) url = config->ledger.url;
    if (!secret && config) secret = config->ledger.secret;
    if (!url) {
        fprintf(stderr,
                "evenkeel: which ledger? --ledger FILE or postgres://..., EVENKEEL_LEDGER or --config FILE; "
                        "or a door's "
                        "admin API, --admin URL or EVENKEEL_ADMIN\n");
        return false;
    }
    struct ek_ledger_options o = {.url = url, .door = "command-line", .lease_ns = 60 * EK_S_NS,
                                  .must_exist = !may_make};
    if (ek_ledger_open(&o, &b->ledger, why, sizeof why) != EK_OK) {
        fprintf(stderr, "evenkeel: %s\n", why);
        return false;
    }
    return !need_secret || open_secret(b, url, secret);
}

bool ek_books_open(struct ek_books *b, bool need_secret, bool may_make)
{
    struct ek_config *config = NULL;
    bool good = read_config(b, &config) && open_books(b, config, need_secret, may_make);
    const char *tier = ek_books_flag(b, "--tier");
    if (good && tier && !b->door && !config && strcmp(tier, "default") != 0)
        fprintf(stderr, "evenkeel: whether the door has a tier \"%.64s\" was not asked: "
                "--config FILE would say\n", tier);
    ek_config_unref(&config);
    return good;
}

void ek_books_close(struct ek_books *b)
{
    ek_ledger_close(&b->ledger);
    ek_secret_wipe(&b->secret);
    ek_buf_free(&b->tiers);
    sodium_memzero(b->door_key, sizeof b->door_key);
}

/* ---- asking ----------------------------------------------------------------------------------- */

const char *ek_books_path(char out[EK_BOOKS_PATH_BYTES], const char *name, const char *rest)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = (size_t)snprintf(out, EK_BOOKS_PATH_BYTES, "/accounts/");
    for (; *name && n + 64 < EK_BOOKS_PATH_BYTES; name++) {
        unsigned char c = (unsigned char)*name;
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!plain) {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
        }
        out[n++] = plain ? *name : hex[c & 15];
    }
    snprintf(out + n, EK_BOOKS_PATH_BYTES - n, "%s", rest);
    return out;
}

/* "error":{"message":...} for a person. 1, the exit code. */
static int say_refusal(const struct ek_admin_answer *a)
{
    json_t *j = json_loadb(a->body.data ? a->body.data : "", a->body.len, 0, NULL);
    const char *why = ek_json_text(json_object_get(j, "error"), "message");
    if (*why) fprintf(stderr, "evenkeel: %s\n", why);
    else fprintf(stderr, "evenkeel: the answer was %d, and it did not say why\n", a->status);
    json_decref(j);
    return 1;
}

/* True: an answer below 400 is in *a. */
static bool exchange(struct ek_books *b, const char *method, const char *path, const char *name,
                     struct ek_str body, struct ek_admin_answer *a, int *code)
{
    char whole[EK_BOOKS_PATH_BYTES + 16];
    snprintf(whole, sizeof whole, EK_ADMIN_PREFIX "%s", path);
    size_t len = strcspn(whole, "?");
    struct ek_admin_ask ask = {.method = ek_str_of(method), .path = ek_str_make(whole, len),
                               .query = ek_str_of(whole[len] ? whole + len + 1 : NULL),
                               .name = ek_str_of(name), .body = body, .who = b->who};
    struct ek_admin_books books = {b->ledger, &b->secret, "n/a" /* not shown */,
                                   b->tiers.len ? ek_buf_cstr(&b->tiers) : NULL};
    *code = 1;
    if (b->ledger) ek_admin_do(&books, &ask, a);
    else if (!ek_books_remote(b, &ask, a)) return false;
    b->again = a->again;
    if (a->status < 400) return true;
    *code = say_refusal(a);
    ek_admin_answer_free(a);
    return false;
}

json_t *ek_books_ask(struct ek_books *b, const char *method, const char *path, const char *name, json_t *body,
                     int *code)
{
    struct ek_admin_answer a;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    MUST(!body || text);
    json_decref(body);
    bool good = exchange(b, method, path, name, ek_str_of(text), &a, code);
    if (text) sodium_memzero(text, strlen(text));
    free(text);
    if (!good) return NULL;
    json_t *j = json_loadb(a.body.data ? a.body.data : "", a.body.len, 0, NULL);
    if (!json_is_object(j)) fprintf(stderr, "evenkeel: what answered is no admin API\n");
    ek_admin_answer_free(&a);
    *code = json_is_object(j) ? 0 : 1;
    if (*code == 0) return j;
    json_decref(j);
    return NULL;
}

bool ek_books_lines(struct ek_books *b, const char *method, const char *path, struct ek_str body,
                    struct ek_buf *out, int *code)
{
    struct ek_admin_answer a;
    if (!exchange(b, method, path, NULL, body, &a, code)) return false;
    *out = a.body;
    *code = 0;
    return true;
}

/* ---- what people write ----------------------------------------------------------------------- */

int ek_books_refused(const char *flag, const char *value)
{
    fprintf(stderr, "evenkeel: %s: what is \"%.100s\"?\n", flag, value);
    return EK_EXIT_USAGE;
}

void ek_books_puzzled(const char *command, const char *usage, const struct ek_books *b)
{
    char begin[128];
    bool any = false;
    int len = snprintf(begin, sizeof begin, "evenkeel %s %.64s ", command, b->words ? b->word[0] : "");
    MUST(len > 0 && (size_t)len < sizeof begin);
    for (const char *line = usage; b->words && line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        const char *verb = strstr(line, begin), *end = strchr(line, '\n');
        if (verb != line || !end) continue;
        if (!any) fprintf(stderr, "evenkeel: that is not how `%.*s` is used:\n", len - 1, begin);
        fprintf(stderr, "%.*s\n", (int)(end - line), line);
        any = true;
    }
    if (any) return;
    if (b->words) fprintf(stderr, "evenkeel: `%.*s` is not understood\n", len - 1, begin);
    fputs(usage, stderr);
}

bool ek_books_span(const char *flag, const char *text, uint64_t *ns)
{
    const struct ek_option span = {.type = EK_OPTION_DURATION, .bytes = sizeof *ns, .min = EK_S_NS,
                                   .max = SPAN_DAYS_MAX * 86400 * EK_S_NS};
    struct ek_buf why = ek_buf_make(1024);
    bool good = ek_option_parse(&span, ek_str_of(text), ns, NULL, &why);
    if (!good) fprintf(stderr, "evenkeel: %s: %.*s\n", flag, (int)why.len, why.data);
    ek_buf_free(&why);
    return good;
}

json_t *ek_books_expires(const struct ek_books *b, int *code)
{
    const char *v = ek_books_flag(b, "--expires");
    uint64_t ns;
    *code = 0;
    if (!v) return NULL;
    if (strcmp(v, "never") == 0) return json_null();
    if (ek_books_span("--expires", v, &ns))
        return json_integer((json_int_t)((ek_clock_read().unix_ns + ns) / EK_S_NS));
    *code = EK_EXIT_USAGE;
    return NULL;
}

const char *ek_date_text(const json_t *unix_s, char out[EK_DATE_BYTES])
{
    time_t at = (time_t)json_integer_value(unix_s);
    struct tm tm;
    snprintf(out, EK_DATE_BYTES, "never");
    if (at && gmtime_r(&at, &tm)) strftime(out, EK_DATE_BYTES, "%Y-%m-%d %H:%M UTC", &tm);
    return out;
}

const char *ek_json_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

long long ek_json_number(const json_t *object, const char *name)
{
    return (long long)json_integer_value(json_object_get(object, name));
}
