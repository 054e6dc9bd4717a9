/* SPDX-License-Identifier: MIT */
/* Fuzz the book: the bytes are the draws that choose the steps, each judged by the naive book beside it. */
#include "../unit/book_oracle.h"

struct bytes {
    const uint8_t *at;
    size_t left;
};

static uint64_t draw_byte(void *arg, uint64_t below)
{
    struct bytes *b = arg;
    uint64_t v = 0;
    for (uint64_t most = 1; most < below && b->left; most <<= 8, b->left--) v = v << 8 | *b->at++;
    return v % below;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = {data, size};
    struct oracle o;
    if (size > 4096) return 0;
    oracle_begin(&o, draw_byte, &bytes);
    while (bytes.left) oracle_step(&o);
    oracle_end(&o);
    return 0;
}
