/* SPDX-License-Identifier: MIT */
/* evenkeel check: read a file as the server would and say what is wrong with it, or what is in it. */
#include "cli/cli.h"

#include "base/clock.h"
#include "engine/model.h"
#include "policy/cost.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

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

static int check_model(const char *path)
{
    char why[512] = "", ignored[512];
    struct ek_model *model = NULL;
    struct ek_gguf *gguf = NULL; /* of a file that is sound, but no model of ours */
    struct ek_buf text = ek_buf_make(1 << 20);

    bool good = ek_model_open(path, &model, why, sizeof(why)) == EK_OK;
    if (good) {
        ek_model_describe(model->gguf, model, &text);
    } else if (ek_gguf_open(path, &gguf, ignored, sizeof(ignored)) == EK_OK) {
        ek_model_describe(gguf, NULL, &text);
    }
    if (text.len > 0) {
        fputs(ek_buf_cstr(&text), stdout);
    }
    if (good) {
        printf("%s: good\n", path);
    } else {
        fprintf(stderr, "%s: %s\n", path, why);
    }
    ek_model_free(&model);
    ek_gguf_close(&gguf);
    ek_buf_free(&text);
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
    ek_config_unref(&config);
    ek_buf_free(&text);
    ek_buf_free(&why);
    return code;
}

int ek_cli_check(int argc, char **argv)
{
    const char *path = NULL;
    bool show = false, clear = argc > 0;

    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--show") == 0) {
            show = true;
        } else if (path || argv[i][0] == '-') {
            clear = false;
        } else {
            path = argv[i];
        }
    }
    if (!clear || !path) {
        bool asked = argc == 1 && strcmp(argv[0], "--help") == 0;
        fputs("evenkeel check FILE.yaml [--show]\nevenkeel check MODEL.gguf\n\n"
              "Reads a configuration file strictly and names every error with its line and column, or a\n"
              "model file, and tells what is in it.\n"
              "  --show   print the whole configuration in force, secrets left out\n",
              asked ? stdout : stderr);
        return asked ? 0 : EK_EXIT_USAGE;
    }
    return is_model(path) ? check_model(path) : check_yaml(path, show);
}
