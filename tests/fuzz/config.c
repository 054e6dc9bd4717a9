/* SPDX-License-Identifier: MIT */
/* Any bytes as a configuration file: a snapshot or complaints with places, never both or neither. What
 * is good prints to something that is good again. */
#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>

static bool load(const char *text, struct ek_config **c, bool must_be_good)
{
    struct ek_buf why = ek_buf_make(1 << 18);
    struct ek_config_source source = {.path = "f.yaml", .text = text};
    enum ek_status s = ek_config_load(&source, c, &why);
    MUST((s == EK_OK) == (why.len == 0));
    MUST((s == EK_OK) == (*c != NULL));
    if (must_be_good && s != EK_OK) {
        fprintf(stderr, "%s\n%s", text, ek_buf_cstr(&why));
        WRONG("what was printed is not read again");
    }
    ek_buf_free(&why);
    return s == EK_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1 << 16 || memmem(data, size, "!file", 5)) return 0; /* reads no files */
    char *text = malloc(size + 1);
    MUST(text);
    memcpy(text, data, size);
    text[size] = '\0';
    struct ek_config *c = NULL, *again = NULL;

    if (load(text, &c, false)) {
        struct ek_buf shown = ek_buf_make(1 << 20);
        bool secrets = c->keys.count > 0; /* these are not printed */
        ek_config_print(c, &shown);
        if (!secrets) {
            (void)load(ek_buf_cstr(&shown), &again, true);
        }
        ek_buf_free(&shown);
        ek_config_unref(&again);
        ek_config_unref(&c);
    }
    free(text);
    return 0;
}
