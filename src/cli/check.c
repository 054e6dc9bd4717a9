/* SPDX-License-Identifier: MIT */
/* evenkeel check: read a file as the server would and say what is wrong with it, or what is in it. */
#include "cli/cli.h"

#include "base/address.h"
#include "base/clock.h"
#include "engine/inspect.h"
#include "policy/cost.h"
#include "policy/overflow.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define TOKENS_MAX ((uint64_t)1 << 40)

/* A model file says so in its first four bytes, whatever it is called; and what is called one is judged
 * as one, so that a damaged or empty file is not taken for a short configuration. */
static bool is_model(const char *path)
{
    char magic[4] = {0};
    size_t len = strlen(path);
    if (len > 5 && strcasecmp(path + len - 5, ".gguf") == 0) return true;
    FILE *f = fopen(path, "re");
    if (!f) return false;
    size_t got = fread(magic, 1, sizeof(magic), f);
    fclose(f);
    return got == sizeof(magic) && memcmp(magic, "GGUF", sizeof(magic)) == 0;
}

/* What the file is goes to standard output, every reason why it will not run to standard error. */
static int check_model(const char *path, uint64_t tokens)
{
    struct ek_buf text = ek_buf_make(1 << 20), reasons = ek_buf_make(1 << 16);
    bool good = ek_inspect(path, tokens, &text, &reasons) == EK_OK;
    if (text.len) fwrite(text.data, 1, text.len, stdout);
    if (good) printf("%s: good\n", path);
    fflush(stdout);
    for (size_t at = 0; at < reasons.len;) {
        const char *line = reasons.data + at, *end = memchr(line, '\n', reasons.len - at);
        size_t n = end ? (size_t)(end - line) : reasons.len - at;
        fprintf(stderr, "%s: %.*s\n", path, (int)n, line);
        at += n + 1;
    }
    ek_buf_free(&text);
    ek_buf_free(&reasons);
    return good ? 0 : 1;
}

/* Which prices hold at this moment, as comments, so that what is printed stays a configuration file. */
static void put_prices_now(const struct ek_config *c, struct ek_buf *out)
{
    uint64_t now_ns = ek_clock_read().unix_ns;
    if (!c->hours.count) return;
    for (size_t i = 0; i < c->prices.count; i++) {
        const char *model = c->prices.item[i].model;
        if (c->prices.item[i].when) continue; /* once a model */
        const struct ek_price_options *p = ek_cost_price(&c->prices, model, now_ns);
        int64_t until_s = ek_cost_price_until_s(&c->prices, model, now_ns);
        ek_buf_printf(out, "# now: %s: cached %.10g, prompt %.10g, output %.10g (%s%s", model,
                      (double)p->cached_pico / 1e6, (double)p->prompt_pico / 1e6,
                      (double)p->output_pico / 1e6, p->when ? "when " : "no hours", p->when ? p->when : "");
        time_t until = (time_t)until_s;
        struct tm tm;
        char when[40];
        if (until_s != EK_ZONE_NEVER && gmtime_r(&until, &tm) &&
            strftime(when, sizeof(when), ", until %Y-%m-%d %H:%M UTC", &tm))
            ek_buf_lit(out, when);
        ek_buf_lit(out, ")\n");
    }
}

/* What is no error, and will not be what was meant. */
static void warn_of_budgets(const char *path, const struct ek_config *c)
{
    char why[256];
    for (size_t i = 0; i < c->upstreams.count; i++) {
        const struct ek_upstream_options *u = &c->upstreams.item[i];
        struct ek_lender_terms terms = {.budget_nano = {u->budget_nano[0], u->budget_nano[1]},
                                        .prices = &c->prices, .price = u->price, .zone = c->wall};
        if (u->borrowed && ek_lender_is_small(&terms, ek_clock_read().unix_ns, why, sizeof(why)))
            fprintf(stderr, "%s: warning: upstreams[%zu] (%s): %s\n", path, i, u->name, why);
    }
}

const char *ek_cli_unguarded(const struct ek_config *c)
{
    if (c->keys.count > 0 || c->ledger.url || c->access.open_to_all) return NULL;
    for (size_t i = 0; i < c->listen.count; i++) {
        const char *l = c->listen.item[i];
        bool local = strncmp(l, "unix:", 5) == 0 || strncmp(l, "[::1]:", 6) == 0 ||
                     strncmp(l, "localhost:", 10) == 0 || ek_address_is_loopback(ek_str_of(l));
        if (!local) return l;
    }
    return NULL;
}

static void warn_of_everybody(const char *path, const struct ek_config *c)
{
    const char *l = ek_cli_unguarded(c);
    if (l) fprintf(stderr, "%s: warning: %s can be reached from other machines, and there are no keys: "
                   "`evenkeel serve` starts so only with --open\n", path, l);
}

static void warn_of_nobody(const char *path, const struct ek_config *c)
{
    if (c->model.file || c->upstreams.count > 0) return;
    fprintf(stderr, "%s: warning: there is neither a model nor an upstream: `evenkeel serve` starts so only "
            "with --model FILE or --upstream URL\n", path);
}

static int check_yaml(const char *path, bool show)
{
    struct ek_buf why = ek_buf_make(1 << 18), text = ek_buf_make(1 << 20);
    struct ek_config_source source = {.path = path};
    struct ek_config *config = NULL;
    int code = EK_EXIT_USAGE; /* as `serve` ends with such a file */

    if (ek_config_load(&source, &config, &why) != EK_OK) {
        fputs(ek_buf_cstr(&why), stderr);
    } else if (config->model.file && access(config->model.file, R_OK) != 0) {
        fprintf(stderr, "%s: model.file: %s: %s\n", path, config->model.file, strerror(errno));
        code = 1; /* the file is right, the machine is not */
    } else if (show) {
        ek_config_print(config, &text);
        put_prices_now(config, &text);
        fputs(ek_buf_cstr(&text), stdout);
        code = 0;
    } else {
        printf("%s: good\n", path);
        code = 0;
    }
    if (code == 0) warn_of_budgets(path, config);
    if (code == 0) warn_of_everybody(path, config);
    if (code == 0) warn_of_nobody(path, config);
    ek_config_unref(&config);
    ek_buf_free(&text);
    ek_buf_free(&why);
    return code;
}

int ek_cli_check(int argc, char **argv)
{
    const char *path = NULL;
    uint64_t tokens = 0;
    bool show = false, clear = argc > 0;

    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--show") == 0) {
            show = true;
        } else if (strcmp(argv[i], "--tokens") == 0 && i + 1 < argc) {
            clear = clear && ek_str_u64(ek_str_of(argv[++i]), &tokens) && tokens > 0 && tokens <= TOKENS_MAX;
        } else if (path || argv[i][0] == '-') {
            clear = false;
        } else {
            path = argv[i];
        }
    }
    if (!clear || !path) {
        bool asked = argc == 1 && strcmp(argv[0], "--help") == 0;
        fputs("evenkeel check FILE.yaml [--show]\nevenkeel check MODEL.gguf [--tokens N]\n\n"
              "Reads a configuration file strictly and names every error with its line and column. Or looks\n"
              "at a model file, without reading its weights: what it is, whether and how it will run, what\n"
              "memory it takes, and everything that is missing.\n"
              "  --show       print the whole configuration in force, secrets left out\n"
              "  --tokens N   reckon with a KV cache of N tokens (default: one whole context)\n",
              asked ? stdout : stderr);
        return asked ? 0 : EK_EXIT_USAGE;
    }
    return is_model(path) ? check_model(path, tokens) : check_yaml(path, show);
}
