/* SPDX-License-Identifier: MIT */
/* evenkeel check: read a file as the server would and say what is wrong with it, or what is in it. */
#include "cli/cli.h"

#include "engine/model.h"

#include <errno.h>
#include <stdio.h>
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

static int check_yaml(const char *path, bool show)
{
    struct ek_buf why = ek_buf_make(1 << 18), text = ek_buf_make(1 << 20);
    struct ek_config_source source = {.path = path};
    struct ek_config *config = NULL;
    int code = 1;

    if (ek_config_load(&source, &config, &why) != EK_OK) {
        fputs(ek_buf_cstr(&why), stderr);
    } else if (config->model.file && access(config->model.file, R_OK) != 0) {
        fprintf(stderr, "%s: model.file: %s: %s\n", path, config->model.file, strerror(errno));
    } else if (show) {
        ek_config_print(config, &text);
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
