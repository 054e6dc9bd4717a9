/* SPDX-License-Identifier: MIT */
/* The GGUF reader: one pass over the head of the file, in which nothing is believed.
 *
 * A cursor walks the bytes; once it fails it stays failed, with the first reason in `why`. The tables
 * of keys and tensors keep file order; beside each lies an index sorted by name, which finds and
 * which shows duplicates. It never looks at tensor data. */
#include "engine/gguf_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct cursor {
    const uint8_t *data;
    uint64_t size, at;
    bool failed;
    char *why;
    size_t why_cap;
};

/* Elements a block and bytes a block; {0, 0} = no such type. Source: ggml-common.h block structs. */
static const struct ggml_type_info {
    const char *name;
    uint16_t block, bytes;
} type_info[] = {
    [0] = {"F32", 1, 4},         [1] = {"F16", 1, 2},         [2] = {"Q4_0", 32, 18},
    [3] = {"Q4_1", 32, 20},      [6] = {"Q5_0", 32, 22},      [7] = {"Q5_1", 32, 24},
    [8] = {"Q8_0", 32, 34},      [9] = {"Q8_1", 32, 36},      [10] = {"Q2_K", 256, 84},
    [11] = {"Q3_K", 256, 110},   [12] = {"Q4_K", 256, 144},   [13] = {"Q5_K", 256, 176},
    [14] = {"Q6_K", 256, 210},   [15] = {"Q8_K", 256, 292},   [16] = {"IQ2_XXS", 256, 66},
    [17] = {"IQ2_XS", 256, 74},  [18] = {"IQ3_XXS", 256, 98}, [19] = {"IQ1_S", 256, 50},
    [20] = {"IQ4_NL", 32, 18},   [21] = {"IQ3_S", 256, 110},  [22] = {"IQ2_S", 256, 82},
    [23] = {"IQ4_XS", 256, 136}, [24] = {"I8", 1, 1},         [25] = {"I16", 1, 2},
    [26] = {"I32", 1, 4},        [27] = {"I64", 1, 8},        [28] = {"F64", 1, 8},
    [29] = {"IQ1_M", 256, 56},   [30] = {"BF16", 1, 2},       [34] = {"TQ1_0", 256, 54},
    [35] = {"TQ2_0", 256, 66},   [39] = {"MXFP4", 32, 17},
};

const char *ek_ggml_type_name(uint32_t type)
{
    return type < EK_COUNT(type_info) ? type_info[type].name : NULL;
}

EK_PRINTF(2, 3) static void fail(struct cursor *c, const char *fmt, ...)
{
    if (c->failed) return; /* the first reason is the one worth reading */
    c->failed = true;
    va_list args;
    va_start(args, fmt);
    vsnprintf(c->why, c->why_cap, fmt, args);
    va_end(args);
}

/* The next n bytes, or NULL and failed. */
static const uint8_t *take(struct cursor *c, uint64_t n, const char *what)
{
    MUST(c->at <= c->size);
    if (c->failed) return NULL;
    if (n > c->size - c->at) {
        fail(c, "the file ends at byte %llu inside %s", (unsigned long long)c->size, what);
        return NULL;
    }
    const uint8_t *p = c->data + c->at;
    c->at += n;
    return p;
}

static uint32_t take_u32(struct cursor *c, const char *what)
{
    uint32_t v = 0;
    const uint8_t *p = take(c, sizeof v, what);
    if (p) memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t take_u64(struct cursor *c, const char *what)
{
    uint64_t v = 0;
    const uint8_t *p = take(c, sizeof v, what);
    if (p) memcpy(&v, p, sizeof v);
    return v;
}

static struct ek_str take_str(struct cursor *c, uint64_t max_bytes, const char *what)
{
    uint64_t at = c->at;
    uint64_t n = take_u64(c, what);
    if (!c->failed && n > max_bytes) {
        fail(c, "%s at byte %llu says it is %llu bytes long; at most %llu are read", what,
             (unsigned long long)at, (unsigned long long)n, (unsigned long long)max_bytes);
    }
    const uint8_t *p = take(c, c->failed ? 0 : n, what);
    return p ? ek_str_make((const char *)p, (size_t)n) : ek_str_make("", 0);
}

static unsigned scalar_bytes(enum ek_gguf_type t) /* 0: not a fixed-width type */
{
    static const uint8_t width[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return (unsigned)t < sizeof width ? width[t] : 0;
}

/* A name for a sentence: printable, short. */
static const char *shown(struct ek_str s, char out[80])
{
    size_t n = s.len < 72 ? s.len : 72;
    for (size_t i = 0; i < n; i++) {
        out[i] = s.data[i] >= 0x20 && s.data[i] < 0x7f ? s.data[i] : '?';
    }
    memcpy(out + n, s.len > n ? "..." : "", s.len > n ? 4 : 1);
    return out;
}

/* Walk the elements of an array once, so that iterators need not check again. */
static void check_array(struct cursor *c, struct ek_gguf_value *v)
{
    char name[80];
    v->elem = (enum ek_gguf_type)take_u32(c, "an array's head");
    v->count = take_u64(c, "an array's head");
    v->at = c->data + c->at;
    if (c->failed) return;
    if (v->count > EK_GGUF_ARRAY_MAX) {
        fail(c, "key '%s' is an array of %llu elements, beyond the limit of %d", shown(v->key, name),
             (unsigned long long)v->count, EK_GGUF_ARRAY_MAX);
        return;
    }
    if (v->elem == EK_GGUF_STRING) {
        for (uint64_t i = 0; i < v->count && !c->failed; i++) {
            take_str(c, EK_GGUF_STRING_BYTES_MAX, "an array of strings");
        }
        return;
    }
    if (scalar_bytes(v->elem) == 0) {
        fail(c, "key '%s' is an array of type %u, which no array may hold", shown(v->key, name),
             (unsigned)v->elem);
        return;
    }
    take(c, v->count * scalar_bytes(v->elem), "an array"); /* <= 2^30 * 8: no overflow */
}

static void read_key(struct cursor *c, struct ek_gguf_value *v)
{
    char name[80];
    uint64_t start = c->at;
    v->key = take_str(c, EK_GGUF_KEY_BYTES_MAX, "a key");
    if (!c->failed && v->key.len == 0) {
        fail(c, "the key at byte %llu is empty", (unsigned long long)start);
    }
    v->type = (enum ek_gguf_type)take_u32(c, "a value's type");
    v->elem = v->type;
    v->count = 1;
    v->at = c->data + c->at;
    if (c->failed) return;
    if (v->type == EK_GGUF_ARRAY) {
        check_array(c, v);
        return;
    }
    if (v->type == EK_GGUF_STRING) {
        take_str(c, EK_GGUF_STRING_BYTES_MAX, "a string value");
        return;
    }
    if (scalar_bytes(v->type) == 0) {
        fail(c, "key '%s' has a value of unknown type %u", shown(v->key, name), (unsigned)v->type);
        return;
    }
    take(c, scalar_bytes(v->type), "a value");
    if (!c->failed && v->type == EK_GGUF_BOOL && v->at[0] > 1) {
        fail(c, "key '%s' is a truth value of %u", shown(v->key, name), (unsigned)v->at[0]);
    }
}

/* The sizes that follow from type and ne, with every product checked. */
static bool size_tensor(struct cursor *c, struct ek_gguf_tensor *t)
{
    char name[80];
    if (!ek_ggml_type_name(t->type)) {
        fail(c, "tensor '%s' has type %u, which this version does not know", shown(t->name, name),
             t->type);
        return false;
    }
    const struct ggml_type_info *info = &type_info[t->type];
    if (t->ne[0] % info->block != 0) {
        fail(c, "tensor '%s' of type %s has rows of %llu, not a multiple of %u",
             shown(t->name, name), info->name, (unsigned long long)t->ne[0], info->block);
        return false;
    }
    bool over = __builtin_mul_overflow(t->ne[0] / info->block, (uint64_t)info->bytes, &t->row_bytes);
    t->bytes = t->row_bytes;
    for (unsigned i = 1; i < EK_GGUF_DIMS_MAX; i++) {
        over |= __builtin_mul_overflow(t->bytes, t->ne[i], &t->bytes);
    }
    if (over || t->bytes > INT64_MAX) {
        fail(c, "tensor '%s' has dimensions whose product overflows", shown(t->name, name));
        return false;
    }
    return true;
}

/* `offset` is kept in .data's place by the caller until the start of the data is known. */
static uint64_t read_tensor(struct cursor *c, struct ek_gguf_tensor *t)
{
    char name[80];
    uint64_t start = c->at;
    t->name = take_str(c, EK_GGUF_NAME_BYTES_MAX, "a tensor's name");
    if (!c->failed && t->name.len == 0) {
        fail(c, "the tensor name at byte %llu is empty", (unsigned long long)start);
    }
    t->n_dims = take_u32(c, "a tensor's dimensions");
    if (!c->failed && (t->n_dims == 0 || t->n_dims > EK_GGUF_DIMS_MAX)) {
        fail(c, "tensor '%s' has %u dimensions; 1 to %d are read", shown(t->name, name), t->n_dims,
             EK_GGUF_DIMS_MAX);
    }
    for (unsigned i = 0; i < EK_GGUF_DIMS_MAX; i++) {
        t->ne[i] = c->failed || i >= t->n_dims ? 1 : take_u64(c, "a tensor's dimensions");
        if (!c->failed && (t->ne[i] == 0 || t->ne[i] > INT64_MAX)) {
            fail(c, "tensor '%s' has a dimension of %llu", shown(t->name, name),
                 (unsigned long long)t->ne[i]);
        }
    }
    t->type = take_u32(c, "a tensor's type");
    uint64_t offset = take_u64(c, "a tensor's offset");
    if (!c->failed) size_tensor(c, t);
    return offset;
}

static void place_tensor(struct cursor *c, const struct ek_gguf *g, struct ek_gguf_tensor *t,
                         uint64_t offset, uint64_t data_start)
{
    char name[80];
    uint64_t begin, end;
    if (offset % g->alignment != 0) {
        fail(c, "tensor '%s' begins at offset %llu, not a multiple of the alignment %llu",
             shown(t->name, name), (unsigned long long)offset, (unsigned long long)g->alignment);
        return;
    }
    if (__builtin_add_overflow(data_start, offset, &begin) ||
        __builtin_add_overflow(begin, t->bytes, &end) || end > c->size) {
        fail(c, "tensor '%s' (offset %llu, %llu bytes) reaches beyond the file of %llu bytes",
             shown(t->name, name), (unsigned long long)offset, (unsigned long long)t->bytes,
             (unsigned long long)c->size);
        return;
    }
    t->data = c->data + begin;
}

static int compare_str(struct ek_str a, struct ek_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int d = n ? memcmp(a.data, b.data, n) : 0;
    if (d != 0) return d;
    return a.len < b.len ? -1 : a.len > b.len;
}

static int by_key(const void *a, const void *b, void *g)
{
    const struct ek_gguf_value *keys = ((const struct ek_gguf *)g)->keys;
    return compare_str(keys[*(const uint32_t *)a].key, keys[*(const uint32_t *)b].key);
}

static int by_tensor(const void *a, const void *b, void *g)
{
    const struct ek_gguf_tensor *tensors = ((const struct ek_gguf *)g)->tensors;
    return compare_str(tensors[*(const uint32_t *)a].name, tensors[*(const uint32_t *)b].name);
}

static void sort_keys(struct cursor *c, struct ek_gguf *g)
{
    char name[80];
    for (uint32_t i = 0; i < g->n_keys; i++) g->key_order[i] = i;
    qsort_r(g->key_order, g->n_keys, sizeof *g->key_order, by_key, g);
    for (size_t i = 1; i < g->n_keys; i++) {
        if (by_key(&g->key_order[i - 1], &g->key_order[i], g) == 0) {
            fail(c, "key '%s' appears twice", shown(g->keys[g->key_order[i]].key, name));
        }
    }
}

enum ek_status ek_gguf_sort_tensors(struct ek_gguf *g, char *why, size_t why_cap)
{
    struct cursor c = {.why = why, .why_cap = why_cap};
    char name[80];
    for (uint32_t i = 0; i < g->n_tensors; i++) g->tensor_order[i] = i;
    qsort_r(g->tensor_order, g->n_tensors, sizeof *g->tensor_order, by_tensor, g);
    for (size_t i = 1; i < g->n_tensors; i++) {
        if (by_tensor(&g->tensor_order[i - 1], &g->tensor_order[i], g) == 0) {
            fail(&c, "tensor '%s' appears twice", shown(g->tensors[g->tensor_order[i]].name, name));
        }
    }
    return c.failed ? EK_INVALID : EK_OK;
}

static void read_head(struct cursor *c, struct ek_gguf *g)
{
    const uint8_t *magic = take(c, 4, "the magic number");
    if (magic && memcmp(magic, "GGUF", 4) != 0) {
        fail(c, "this is not a GGUF file (it does not begin with 'GGUF')");
    }
    g->version = take_u32(c, "the version");
    if (!c->failed && g->version != 2 && g->version != 3) {
        fail(c, "GGUF version %u; versions 2 and 3 are read%s", g->version,
             (g->version & 0xffffu) == 0 ? " (this one is big-endian)" : "");
    }
    uint64_t n_tensors = take_u64(c, "the number of tensors");
    uint64_t n_keys = take_u64(c, "the number of keys");
    if (c->failed) return;
    /* A key takes at least 13 bytes and a tensor 33: a count that cannot fit is refused before it
     * can ask for memory. */
    uint64_t left = c->size - c->at;
    if (n_keys > EK_GGUF_KEYS_MAX || n_keys > left / 13) {
        fail(c, "the file claims %llu keys", (unsigned long long)n_keys);
    } else if (n_tensors > EK_GGUF_TENSORS_MAX || n_tensors > left / 33) {
        fail(c, "the file claims %llu tensors", (unsigned long long)n_tensors);
    }
    if (c->failed) return;
    g->n_keys = (size_t)n_keys;
    g->n_tensors = (size_t)n_tensors;
}

static void read_alignment(struct cursor *c, struct ek_gguf *g)
{
    uint64_t align = 32;
    enum ek_status s = ek_gguf_u64(g, "general.alignment", &align);
    if (s == EK_INVALID || align < 8 || align > EK_GGUF_ALIGNMENT_MAX || (align & (align - 1)) != 0) {
        fail(c, "general.alignment is not a power of two from 8 to %d", EK_GGUF_ALIGNMENT_MAX);
    }
    g->alignment = align;
}

static enum ek_status parse(struct ek_gguf *g, char *why, size_t why_cap)
{
    struct cursor c = {.data = g->data, .size = g->bytes, .why = why, .why_cap = why_cap};
    uint64_t *offset = NULL;
    read_head(&c, g);
    if (c.failed) return EK_INVALID;
    g->keys = calloc(g->n_keys + 1, sizeof *g->keys);
    g->tensors = calloc(g->n_tensors + 1, sizeof *g->tensors);
    g->key_order = calloc(g->n_keys + 1, sizeof *g->key_order);
    g->tensor_order = calloc(g->n_tensors + 1, sizeof *g->tensor_order);
    offset = calloc(g->n_tensors + 1, sizeof *offset);
    if (!g->keys || !g->tensors || !g->key_order || !g->tensor_order || !offset) {
        free(offset);
        snprintf(why, why_cap, "no memory for %zu keys and %zu tensors", g->n_keys, g->n_tensors);
        return EK_NOMEM;
    }
    for (size_t i = 0; i < g->n_keys && !c.failed; i++) read_key(&c, &g->keys[i]);
    for (size_t i = 0; i < g->n_tensors && !c.failed; i++) offset[i] = read_tensor(&c, &g->tensors[i]);
    if (!c.failed) sort_keys(&c, g);
    if (!c.failed && ek_gguf_sort_tensors(g, why, why_cap) != EK_OK) c.failed = true;
    if (!c.failed) read_alignment(&c, g);
    if (!c.failed) {
        uint64_t data_start = (c.at + g->alignment - 1) / g->alignment * g->alignment;
        for (size_t i = 0; i < g->n_tensors && !c.failed; i++) {
            place_tensor(&c, g, &g->tensors[i], offset[i], data_start);
        }
    }
    free(offset);
    return c.failed ? EK_INVALID : EK_OK;
}

enum ek_status ek_gguf_read(const void *data, size_t bytes, void *mapping, struct ek_gguf **out,
                            char *why, size_t why_cap)
{
    struct ek_gguf *g = calloc(1, sizeof *g);
    MUST(g != NULL);
    g->magic = GGUF_MAGIC;
    g->data = data;
    g->bytes = bytes;
    g->mapping = mapping;
    enum ek_status s = parse(g, why, why_cap);
    if (s != EK_OK) ek_gguf_close(&g);
    *out = g;
    return s;
}

enum ek_status ek_gguf_open_one(const char *path, struct ek_gguf **out, char *why, size_t why_cap)
{
    *out = NULL;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        snprintf(why, why_cap, "%s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return EK_IO;
    }
    if (!S_ISREG(st.st_mode) || st.st_size <= 0) {
        snprintf(why, why_cap, "%s: %s", path, S_ISREG(st.st_mode) ? "the file is empty"
                                                                  : "not a regular file");
        close(fd);
        return EK_IO;
    }
    size_t bytes = (size_t)st.st_size;
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    int error = errno;
    close(fd); /* the mapping holds the file */
    if (map == MAP_FAILED) {
        snprintf(why, why_cap, "%s: cannot be mapped: %s", path, strerror(error));
        return EK_IO;
    }
    return ek_gguf_read(map, bytes, map, out, why, why_cap);
}

void ek_gguf_close(struct ek_gguf **gp)
{
    MUST(gp != NULL);
    struct ek_gguf *g = *gp;
    if (!g) return;
    MUST_OBJ(g, GGUF_MAGIC);
    for (size_t i = 0; i < g->n_others; i++) ek_gguf_close(&g->others[i]);
    free(g->others);
    if (g->mapping) munmap(g->mapping, g->bytes);
    free(g->keys);
    free(g->tensors);
    free(g->key_order);
    free(g->tensor_order);
    g->magic = 0;
    free(g);
    *gp = NULL;
}

uint32_t ek_gguf_version(const struct ek_gguf *g) { return g->version; }
size_t ek_gguf_key_count(const struct ek_gguf *g) { return g->n_keys; }
size_t ek_gguf_tensor_count(const struct ek_gguf *g) { return g->n_tensors; }

const struct ek_gguf_value *ek_gguf_key_at(const struct ek_gguf *g, size_t index)
{
    MUST_OBJ(g, GGUF_MAGIC);
    MUST(index < g->n_keys);
    return &g->keys[index];
}

const struct ek_gguf_tensor *ek_gguf_tensor_at(const struct ek_gguf *g, size_t index)
{
    MUST_OBJ(g, GGUF_MAGIC);
    MUST(index < g->n_tensors);
    return &g->tensors[index];
}

const struct ek_gguf_value *ek_gguf_find(const struct ek_gguf *g, const char *key)
{
    MUST_OBJ(g, GGUF_MAGIC);
    struct ek_str want = ek_str_of(key);
    size_t lo = 0, hi = g->n_keys;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct ek_gguf_value *v = &g->keys[g->key_order[mid]];
        int d = compare_str(want, v->key);
        if (d == 0) return v;
        if (d < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return NULL;
}

const struct ek_gguf_tensor *ek_gguf_tensor(const struct ek_gguf *g, const char *name)
{
    MUST_OBJ(g, GGUF_MAGIC);
    struct ek_str want = ek_str_of(name);
    size_t lo = 0, hi = g->n_tensors;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct ek_gguf_tensor *t = &g->tensors[g->tensor_order[mid]];
        int d = compare_str(want, t->name);
        if (d == 0) return t;
        if (d < 0) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return NULL;
}
