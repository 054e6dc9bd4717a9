/* SPDX-License-Identifier: MIT */
/* Files of traces: read, unpack, cut into lines and fields. */
#include "sim/file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

#define CHUNK_BYTES (1u << 17)

static bool grow(struct ek_sim_file *f, size_t *cap, size_t more)
{
    if (f->len + more < *cap) return true;
    size_t next = (*cap + more) * 2;
    if (f->len + more > EK_SIM_FILE_BYTES_MAX) return false;
    char *data = realloc(f->data, next);
    if (!data) return false;
    f->data = data;
    *cap = next;
    return true;
}

static bool read_plain(struct ek_sim_file *f, FILE *in)
{
    size_t cap = 0;
    for (;;) {
        if (!grow(f, &cap, CHUNK_BYTES)) return false;
        size_t n = fread(f->data + f->len, 1, CHUNK_BYTES, in);
        f->len += n;
        if (n == 0) break;
    }
    f->data[f->len] = 0;
    return !ferror(in);
}

static bool unpack(struct ek_sim_file *f, FILE *in, ZSTD_DStream *z, char *packed)
{
    size_t cap = 0;
    size_t left = 0;
    for (;;) {
        size_t n = fread(packed, 1, CHUNK_BYTES, in);
        ZSTD_inBuffer from = {packed, n, 0};
        if (n == 0) break;
        while (from.pos < from.size) {
            if (!grow(f, &cap, CHUNK_BYTES)) return false;
            ZSTD_outBuffer to = {f->data + f->len, CHUNK_BYTES, 0};
            left = ZSTD_decompressStream(z, &to, &from);
            if (ZSTD_isError(left)) return false;
            f->len += to.pos;
        }
    }
    /* What the decoder still holds back when its output was full. */
    while (left != 0 && grow(f, &cap, CHUNK_BYTES)) {
        ZSTD_inBuffer none = {packed, 0, 0};
        ZSTD_outBuffer to = {f->data + f->len, CHUNK_BYTES, 0};
        left = ZSTD_decompressStream(z, &to, &none);
        if (ZSTD_isError(left) || to.pos == 0) return false;
        f->len += to.pos;
    }
    if (f->data) f->data[f->len] = 0;
    return f->data && left == 0 && !ferror(in);
}

static bool read_zstd(struct ek_sim_file *f, FILE *in)
{
    ZSTD_DStream *z = ZSTD_createDStream();
    char *packed = malloc(CHUNK_BYTES);
    bool ok = z && packed && unpack(f, in, z, packed);
    free(packed);
    ZSTD_freeDStream(z);
    return ok;
}

bool ek_sim_file_read(struct ek_sim_file *f, const char *path, char *why, size_t cap)
{
    size_t len = strlen(path);
    bool packed = len > 4 && strcmp(path + len - 4, ".zst") == 0;
    *f = (struct ek_sim_file){0};
    FILE *in = fopen(path, "rb");
    if (!in) {
        snprintf(why, cap, "%.300s: %s", path, strerror(errno));
        return false;
    }
    bool ok = packed ? read_zstd(f, in) : read_plain(f, in);
    fclose(in);
    if (ok) return true;
    snprintf(why, cap, "%.300s: cannot be read or unpacked, or is larger than %u MB", path,
             EK_SIM_FILE_BYTES_MAX >> 20);
    ek_sim_file_free(f);
    return false;
}

void ek_sim_file_free(struct ek_sim_file *f)
{
    free(f->data);
    *f = (struct ek_sim_file){0};
}

bool ek_sim_file_line(struct ek_sim_file *f, struct ek_str *line)
{
    if (f->at >= f->len) return false;
    const char *from = f->data + f->at;
    const char *end = memchr(from, '\n', f->len - f->at);
    size_t n = end ? (size_t)(end - from) : f->len - f->at;
    f->at += n + 1;
    f->line++;
    if (n > 0 && from[n - 1] == '\r') n--;
    *line = ek_str_make(from, n);
    return true;
}

bool ek_sim_field(struct ek_str *line, struct ek_str *field)
{
    if (!line->data) return false;
    const char *end = line->len ? memchr(line->data, ',', line->len) : NULL;
    size_t n = end ? (size_t)(end - line->data) : line->len;
    *field = ek_str_make(line->data, n);
    *line = end ? ek_str_skip(*line, n + 1) : (struct ek_str){NULL, 0};
    return true;
}

bool ek_sim_number(struct ek_str field, double *out)
{
    char text[64];
    char *end = NULL;
    if (field.len == 0 || !ek_str_copy(field, text, sizeof text)) return false;
    *out = strtod(text, &end);
    return *end == 0 && isfinite(*out);
}

bool ek_sim_count(struct ek_str field, uint32_t max, uint32_t *out)
{
    uint64_t v;
    if (!ek_str_u64(field, &v) || v > max) return false;
    *out = (uint32_t)v;
    return true;
}
