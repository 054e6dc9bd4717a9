/* SPDX-License-Identifier: MIT */
/* Opening files, and files that come in parts: NAME-00001-of-00005.gguf and so on. The first part holds
 * all keys; each part has a table and data of its own. The parts are read one by one and their tensors
 * gathered into the first one's table.
 *
 * Source: the naming and the keys split.no, split.count, split.tensors.count of llama.cpp's
 * llama-gguf-split. */
#include "engine/gguf_priv.h"

#include <stdio.h>
#include <stdlib.h>

/* "-00001-of-00005.gguf" */
enum { SUFFIX_BYTES = 20 };

static void suffix_of(char out[32], uint64_t part, uint64_t count)
{
    snprintf(out, 32, "-%05u-of-%05u.gguf", (unsigned)part + 1, (unsigned)count); /* both small */
}

/* What the file says about parts: 1 when it says nothing. */
static enum ek_status parts_of(const struct ek_gguf *g, uint64_t *count, uint64_t *number, char *why,
                               size_t why_cap)
{
    *count = 1;
    *number = 0;
    bool good = ek_gguf_u64(g, "split.count", count) != EK_INVALID &&
                ek_gguf_u64(g, "split.no", number) != EK_INVALID;
    if (*count == 0) *count = 1; /* what an unsplit file may say */
    if (good && *count <= EK_GGUF_PARTS_MAX && *number < *count) return EK_OK;
    snprintf(why, why_cap, "the keys split.no and split.count do not name a part of at most %d",
             EK_GGUF_PARTS_MAX);
    return EK_INVALID;
}

/* Take a part's tensors over, and the part itself, whether it is good or not. */
static enum ek_status adopt(struct ek_gguf *g, struct ek_gguf *part, uint64_t number, uint64_t count,
                            char *why, size_t why_cap)
{
    uint64_t its_count, its_number;
    size_t n = g->n_tensors + part->n_tensors;
    g->others[g->n_others++] = part;
    enum ek_status s = parts_of(part, &its_count, &its_number, why, why_cap);
    if (s != EK_OK) return s;
    if (its_count != count || its_number != number) {
        snprintf(why, why_cap, "part %llu of %llu says it is part %llu of %llu",
                 (unsigned long long)number + 1, (unsigned long long)count,
                 (unsigned long long)its_number + 1, (unsigned long long)its_count);
        return EK_INVALID;
    }
    if (n > EK_GGUF_TENSORS_MAX) {
        snprintf(why, why_cap, "the parts hold more than %d tensors together", EK_GGUF_TENSORS_MAX);
        return EK_INVALID;
    }
    struct ek_gguf_tensor *tensors = realloc(g->tensors, (n + 1) * sizeof *tensors);
    if (tensors) g->tensors = tensors;
    uint32_t *order = realloc(g->tensor_order, (n + 1) * sizeof *order);
    if (order) g->tensor_order = order;
    if (!tensors || !order) {
        snprintf(why, why_cap, "no memory for %zu tensors", n);
        return EK_NOMEM;
    }
    if (part->n_tensors) {
        memcpy(tensors + g->n_tensors, part->tensors, part->n_tensors * sizeof *tensors);
    }
    g->n_tensors = n;
    return EK_OK;
}

/* After the last part: names are unique and none is missing. */
static enum ek_status finish(struct ek_gguf *g, char *why, size_t why_cap)
{
    uint64_t promised = g->n_tensors;
    enum ek_status s = ek_gguf_u64(g, "split.tensors.count", &promised);
    if (s == EK_INVALID || promised != g->n_tensors) {
        snprintf(why, why_cap, "the parts hold %zu tensors; split.tensors.count says %llu", g->n_tensors,
                 (unsigned long long)promised);
        return EK_INVALID;
    }
    return ek_gguf_sort_tensors(g, why, why_cap);
}

static enum ek_status begin(struct ek_gguf *g, uint64_t *count, char *why, size_t why_cap)
{
    uint64_t number;
    enum ek_status s = parts_of(g, count, &number, why, why_cap);
    if (s != EK_OK || *count == 1) return s;
    if (number != 0) {
        char suffix[32];
        suffix_of(suffix, 0, *count);
        snprintf(why, why_cap, "this is part %llu of %llu of a model; open the first, ...%s",
                 (unsigned long long)number + 1, (unsigned long long)*count, suffix);
        return EK_INVALID;
    }
    g->others = calloc(*count, sizeof *g->others);
    if (g->others) return EK_OK;
    snprintf(why, why_cap, "no memory for %llu parts", (unsigned long long)*count);
    return EK_NOMEM;
}

/* The path of the first part without what its name ends in; a sentence when it ends otherwise. */
static enum ek_status stem_of(const char *path, uint64_t count, size_t *stem, char *why, size_t why_cap)
{
    char suffix[32];
    size_t len = strlen(path);
    suffix_of(suffix, 0, count);
    *stem = len > SUFFIX_BYTES ? len - SUFFIX_BYTES : 0;
    if (*stem > 0 && strcmp(path + *stem, suffix) == 0) return EK_OK;
    snprintf(why, why_cap, "this is the first of %llu parts, but its name does not end in %s, so the "
             "others cannot be found", (unsigned long long)count, suffix);
    return EK_INVALID;
}

static enum ek_status open_others(struct ek_gguf *g, const char *path, char *why, size_t why_cap)
{
    uint64_t count;
    size_t stem;
    enum ek_status s = begin(g, &count, why, why_cap);
    if (s != EK_OK || count == 1) return s;
    s = stem_of(path, count, &stem, why, why_cap);
    if (s != EK_OK) return s;
    char *name = malloc(stem + 32);
    if (!name) return EK_NOMEM;
    memcpy(name, path, stem);
    for (uint64_t i = 1; i < count && s == EK_OK; i++) {
        struct ek_gguf *part;
        suffix_of(name + stem, i, count);
        s = ek_gguf_open_one(name, &part, why, why_cap);
        if (s == EK_OK) s = adopt(g, part, i, count, why, why_cap);
    }
    free(name);
    return s == EK_OK ? finish(g, why, why_cap) : s;
}

enum ek_status ek_gguf_open(const char *path, struct ek_gguf **out, char *why, size_t why_cap)
{
    MUST(path && out);
    MUST(why && why_cap > 0);
    enum ek_status s = ek_gguf_open_one(path, out, why, why_cap);
    if (s == EK_OK) s = open_others(*out, path, why, why_cap);
    if (s != EK_OK) ek_gguf_close(out);
    return s;
}

enum ek_status ek_gguf_open_parts(const struct ek_gguf_bytes *parts, size_t n, struct ek_gguf **out,
                                  char *why, size_t why_cap)
{
    MUST(parts && n > 0 && out);
    MUST(why && why_cap > 0);
    uint64_t count = 0;
    enum ek_status s = ek_gguf_read(parts[0].data, parts[0].bytes, NULL, out, why, why_cap);
    if (s != EK_OK) return s;
    s = begin(*out, &count, why, why_cap);
    if (s == EK_OK && count != n) {
        snprintf(why, why_cap, "this is one of %llu parts of a model, and %zu are here",
                 (unsigned long long)count, n);
        s = EK_INVALID;
    }
    for (size_t i = 1; i < n && s == EK_OK; i++) {
        struct ek_gguf *part;
        s = ek_gguf_read(parts[i].data, parts[i].bytes, NULL, &part, why, why_cap);
        if (s == EK_OK) s = adopt(*out, part, i, count, why, why_cap);
    }
    if (s == EK_OK && count > 1) s = finish(*out, why, why_cap);
    if (s != EK_OK) ek_gguf_close(out);
    return s;
}

enum ek_status ek_gguf_open_memory(const void *data, size_t bytes, struct ek_gguf **out, char *why,
                                   size_t why_cap)
{
    struct ek_gguf_bytes one = {data, bytes};
    MUST(data || bytes == 0);
    return ek_gguf_open_parts(&one, 1, out, why, why_cap);
}

size_t ek_gguf_part_count(const struct ek_gguf *g)
{
    MUST_OBJ(g, GGUF_MAGIC);
    return g->n_others + 1;
}

uint64_t ek_gguf_file_bytes(const struct ek_gguf *g)
{
    MUST_OBJ(g, GGUF_MAGIC);
    uint64_t bytes = g->bytes;
    for (size_t i = 0; i < g->n_others; i++) bytes += g->others[i]->bytes;
    return bytes;
}
