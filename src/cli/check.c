/* SPDX-License-Identifier: MIT */
/* evenkeel check: read a file as the server would and say everything that is wrong with it. */
#include "cli/cli.h"

#include <stdio.h>

static int check_yaml(const char *path, bool show)
{
    struct ek_buf why = ek_buf_make(1 << 18), text = ek_buf_make(1 << 20);
    struct ek_config_source source = {.path = path};
    struct ek_config *config = NULL;
    int code = 1;

    if (ek_config_load(&source, &config, &why) != EK_OK) {
        fputs(ek_buf_cstr(&why), stderr);
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
        fputs("evenkeel check FILE.yaml [--show]\n\n"
              "Reads a configuration file strictly and names every error with its line and column.\n"
              "  --show   print the whole configuration in force, secrets left out\n",
              asked ? stdout : stderr);
        return asked ? 0 : EK_EXIT_USAGE;
    }
    return check_yaml(path, show);
}
