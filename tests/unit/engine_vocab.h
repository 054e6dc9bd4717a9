/* SPDX-License-Identifier: MIT */
/* Small vocabularies for the tests of the engine's text side: the 256 bytes, a few merges, and the
 * markers of the DeepSeek family. Included by one test file each; owns nothing shared. */
#ifndef EK_TESTS_ENGINE_VOCAB_H
#define EK_TESTS_ENGINE_VOCAB_H

#include "engine/bytemap.h"
#include "engine/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>

#define VOCAB_MAX 512

/* Raw bytes, byte-mapped; the caller frees .data. */
static inline struct ek_str vocab_mapped(struct ek_str raw)
{
    struct ek_bytemap map;
    ek_bytemap_init(&map);
    char *out = malloc(raw.len * 2 + 1);
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        unsigned code = map.code[(unsigned char)raw.data[i]];
        if (code < 0x80) {
            out[n++] = (char)code;
        } else {
            out[n++] = (char)(0xC0 | code >> 6);
            out[n++] = (char)(0x80 | (code & 0x3F));
        }
    }
    return ek_str_make(out, n);
}

/* Ids: 0..255 the bytes; then each merge's result ("l o" gives "lo"); then the markers. */
struct tiny_vocab {
    struct ek_str tokens[VOCAB_MAX];
    int32_t kinds[VOCAB_MAX];
    struct ek_str merges[VOCAB_MAX];
    struct ek_vocab v;
};

static inline struct ek_tokenizer *tiny_make(const char *pre, const char *const *merges,
                                      const char *const *markers, int32_t marker_kind)
{
    static struct tiny_vocab t;
    size_t n = 0, m = 0;
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        t.kinds[n] = EK_TOKEN_NORMAL;
        t.tokens[n++] = vocab_mapped(ek_str_make(&byte, 1));
    }
    for (; merges && merges[m]; m++) {
        const char *space = strchr(merges[m] + 1, ' ');
        char joint[64];
        snprintf(joint, sizeof joint, "%.*s%s", (int)(space - merges[m]), merges[m], space + 1);
        t.merges[m] = ek_str_of(merges[m]);
        t.kinds[n] = EK_TOKEN_NORMAL;
        t.tokens[n++] = ek_str_make(strdup(joint), strlen(joint));
    }
    size_t first_marker = n;
    for (size_t i = 0; markers && markers[i]; i++) {
        t.kinds[n] = marker_kind;
        t.tokens[n++] = ek_str_of(markers[i]);
    }
    t.v = (struct ek_vocab){.tokens = t.tokens, .token_count = n, .kinds = t.kinds, .merges = t.merges,
                            .merge_count = m, .pre = ek_str_of(pre),
                            .bos = markers ? (uint32_t)first_marker : EK_TOKEN_NONE,
                            .eos = markers && markers[0] ? (uint32_t)first_marker + 1 : EK_TOKEN_NONE,
                            .eot = EK_TOKEN_NONE, .add_bos = true};
    struct ek_tokenizer *out = NULL;
    char why[200] = "";
    enum ek_status s = ek_tokenizer_new(&out, &t.v, why, sizeof why);
    if (s != EK_OK) fprintf(stderr, "tiny_make: %s\n", why);
    for (size_t i = 0; i < first_marker; i++) free((void *)(uintptr_t)t.tokens[i].data);
    return out;
}

static const char *const deepseek_markers[] __attribute__((unused)) = {
    "<\xEF\xBD\x9C" "begin\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
    "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>",
    "<\xEF\xBD\x9CUser\xEF\xBD\x9C>", "<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>",
    "<think>", "</think>", NULL,
};

#endif
