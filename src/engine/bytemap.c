/* SPDX-License-Identifier: MIT */
/* The byte alphabet of "gpt2" vocabularies and strict UTF-8. Pure; see the header for the sources. */
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

/* The second byte is where UTF-8 hides its traps; the range it must lie in, given the first. */
static void second_byte_range(unsigned first, unsigned *low, unsigned *high)
{
    *low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    *high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
}

int ek_utf8_step(struct ek_str s, uint32_t *cp)
{
    MUST(s.len > 0);
    unsigned first = (unsigned char)s.data[0];
    if (first < 0x80) {
        if (cp) *cp = first;
        return 1;
    }
    if (first < 0xC2 || first > 0xF4) return -1;
    int need = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    uint32_t code = first & (0x7FU >> need);
    unsigned low, high;
    second_byte_range(first, &low, &high);
    for (int i = 1; i < need; i++) {
        if ((size_t)i == s.len) return 0;
        unsigned b = (unsigned char)s.data[i];
        if (b < low || b > high) return -i;
        code = code << 6 | (b & 0x3FU);
        low = 0x80;
        high = 0xBF;
    }
    if (cp) *cp = code;
    return need;
}

size_t ek_utf8_valid(struct ek_str s)
{
    size_t at = 0;
    while (at < s.len) {
        if ((unsigned char)s.data[at] < 0x80) {
            at++;
            continue;
        }
        int step = ek_utf8_step(ek_str_skip(s, at), NULL);
        if (step <= 0) break;
        at += (size_t)step;
    }
    return at;
}
