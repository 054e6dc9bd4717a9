/* SPDX-License-Identifier: MIT */
/* Any bytes as a GGUF file: opened or refused; whatever was accepted is walked to its last element,
 * looked at as a model and described, and bound as one. Bytes that begin with 'P' are a file in two
 * parts: after it two bytes with the length of the first part, then both parts. */
#include "engine/model.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t walk(const struct ek_gguf *g)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < ek_gguf_key_count(g); i++) {
        const struct ek_gguf_value *v = ek_gguf_key_at(g, i);
        struct ek_gguf_iter it = {.count = v->count, .elem = v->elem, .at = v->at};
        struct ek_str s;
        int64_t n;
        if (v->type != EK_GGUF_ARRAY) continue;
        while (v->elem == EK_GGUF_STRING && ek_gguf_next_str(&it, &s)) {
            for (size_t b = 0; b < s.len; b++) sum += (unsigned char)s.data[b];
        }
        while (v->elem != EK_GGUF_STRING && v->elem != EK_GGUF_F32 && v->elem != EK_GGUF_F64 &&
               ek_gguf_next_int(&it, &n)) {
            sum += (uint64_t)n;
        }
    }
    for (size_t i = 0; i < ek_gguf_tensor_count(g); i++) {
        const struct ek_gguf_tensor *t = ek_gguf_tensor_at(g, i);
        const uint8_t *bytes = t->data;
        if (t->bytes) sum += bytes[0] + bytes[t->bytes - 1];
    }
    return sum;
}

static void look(struct ek_gguf **g)
{
    struct ek_buf reasons = ek_buf_make(1 << 16), text = ek_buf_make(1 << 16);
    struct ek_model *m;
    ek_model_describe(*g, NULL, &text);
    if (ek_model_look(g, &m, &reasons) == EK_OK) ek_model_describe(m->gguf, m, &text);
    MUST((m == NULL) == (reasons.len > 0));
    ek_model_free(&m);
    ek_buf_free(&reasons);
    ek_buf_free(&text);
}

static bool open_parts(const struct ek_gguf_bytes *parts, size_t n, struct ek_gguf **g)
{
    char why[256] = "";
    bool good = ek_gguf_open_parts(parts, n, g, why, sizeof why) == EK_OK;
    MUST(good || why[0] != 0);
    return good;
}

static void *aligned(const uint8_t *data, size_t size)
{
    void *p = NULL;
    MUST(posix_memalign(&p, 32, size + 1) == 0);
    if (size) memcpy(p, data, size);
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static volatile uint64_t sink __attribute__((unused)); /* keeps the reads alive */
    size_t n = size >= 3 && data[0] == 'P' ? 2 : 1, from = n == 2 ? 3 : 0, first = size;
    char why[256];
    if (n == 2) {
        first = data[1] | (size_t)data[2] << 8;
        if (first > size - from) first = size - from;
    }
    struct ek_gguf_bytes parts[2] = {
        {aligned(data + from, first), first},
        {aligned(data + from + (n == 2 ? first : 0), n == 2 ? size - from - first : 0),
         n == 2 ? size - from - first : 0},
    };
    struct ek_gguf *g;
    struct ek_model *m = NULL;
    if (open_parts(parts, n, &g)) {
        sink = walk(g);
        look(&g);
        MUST(open_parts(parts, n, &g));
        if (ek_model_bind(&g, &m, why, sizeof why) == EK_OK) ek_model_free(&m);
    }
    free((void *)(uintptr_t)parts[0].data);
    free((void *)(uintptr_t)parts[1].data);
    return 0;
}
