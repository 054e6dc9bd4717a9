/* SPDX-License-Identifier: MIT */
/* Any bytes as a GGUF file: opened or refused; whatever was accepted is walked to its last element,
 * described, and bound as a model if it is one. */
#include "engine/model.h"

#include <stdlib.h>

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ek_gguf *g;
    char why[256];
    static volatile uint64_t sink __attribute__((unused)); /* keeps the reads alive */
    if (ek_gguf_open_memory(data, size, &g, why, sizeof why) != EK_OK) return 0;
    sink = walk(g);
    ek_gguf_close(&g);
    return 0;
}
