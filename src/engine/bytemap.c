/* SPDX-License-Identifier: MIT */
/* The byte alphabet of "gpt2" vocabularies. Pure; see the header for the sources. */
#include "engine/bytemap.h"

static bool prints_as_itself(int byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
}

void ek_bytemap_init(struct ek_bytemap *m)
{
    int next = 256;
    for (size_t i = 0; i < EK_COUNT(m->byte); i++) m->byte[i] = -1;
    for (int b = 0; b < 256; b++) {
        int code = prints_as_itself(b) ? b : next++;
        m->code[b] = (uint16_t)code;
        m->byte[code] = (int16_t)b;
    }
    MUST(next == 256 + 68);
}

long ek_bytemap_decode(const struct ek_bytemap *m, struct ek_str text, char *out)
{
    long n = 0;
    while (text.len > 0) {
        uint32_t cp = 0;
        int step = ek_utf8_step(text, &cp);
        if (step <= 0 || cp >= EK_COUNT(m->byte) || m->byte[cp] < 0) return -1;
        out[n++] = (char)m->byte[cp];
        text = ek_str_skip(text, (size_t)step);
    }
    return n;
}
