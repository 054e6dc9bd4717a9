/* SPDX-License-Identifier: MIT */
/* Writes small GGUF files into memory, well-formed or deliberately not, for tests. Memory is only
 * given back by maker_free; a test that fails may leak. */
#ifndef EK_TESTS_GGUF_MAKER_H
#define EK_TESTS_GGUF_MAKER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct bytes {
    uint8_t *data;
    size_t len, cap;
};

static inline void bytes_put(struct bytes *b, const void *data, size_t n)
{
    if (b->len + n > b->cap) {
        b->cap = (b->len + n) * 2 + 64;
        b->data = realloc(b->data, b->cap);
        if (!b->data) abort();
    }
    if (n) memcpy(b->data + b->len, data, n);
    b->len += n;
}

static inline void bytes_u32(struct bytes *b, uint32_t v) { bytes_put(b, &v, 4); }
static inline void bytes_u64(struct bytes *b, uint64_t v) { bytes_put(b, &v, 8); }
static inline void bytes_str(struct bytes *b, const char *s)
{
    bytes_u64(b, strlen(s));
    bytes_put(b, s, strlen(s));
}

struct maker {
    struct bytes keys, infos, data;
    uint64_t n_keys, n_tensors;
    uint32_t version, alignment;
};

static inline struct maker maker_new(void) { return (struct maker){.version = 3, .alignment = 32}; }

static inline void maker_key(struct maker *m, const char *key, uint32_t type)
{
    bytes_str(&m->keys, key);
    bytes_u32(&m->keys, type);
    m->n_keys++;
}

static inline void maker_u32(struct maker *m, const char *key, uint32_t v)
{
    maker_key(m, key, 4);
    bytes_u32(&m->keys, v);
}

static inline void maker_f32(struct maker *m, const char *key, float v)
{
    maker_key(m, key, 6);
    bytes_put(&m->keys, &v, 4);
}

static inline void maker_bool(struct maker *m, const char *key, bool v)
{
    uint8_t byte = v;
    maker_key(m, key, 7);
    bytes_put(&m->keys, &byte, 1);
}

static inline void maker_str(struct maker *m, const char *key, const char *v)
{
    maker_key(m, key, 8);
    bytes_str(&m->keys, v);
}

static inline void maker_array(struct maker *m, const char *key, uint32_t elem, uint64_t count)
{
    maker_key(m, key, 9);
    bytes_u32(&m->keys, elem);
    bytes_u64(&m->keys, count);
}

/* An info entry alone, with any lie in it. */
static inline void maker_info(struct maker *m, const char *name, uint32_t n_dims, const uint64_t *ne,
                              uint32_t type, uint64_t offset)
{
    bytes_str(&m->infos, name);
    bytes_u32(&m->infos, n_dims);
    for (uint32_t i = 0; i < n_dims; i++) bytes_u64(&m->infos, ne[i]);
    bytes_u32(&m->infos, type);
    bytes_u64(&m->infos, offset);
    m->n_tensors++;
}

static inline void bytes_pad(struct bytes *b, size_t alignment)
{
    while (b->len % alignment != 0) bytes_put(b, "", 1);
}

static inline void maker_tensor(struct maker *m, const char *name, uint32_t n_dims,
                                const uint64_t *ne, uint32_t type, const void *data, size_t bytes)
{
    bytes_pad(&m->data, m->alignment);
    maker_info(m, name, n_dims, ne, type, m->data.len);
    bytes_put(&m->data, data, bytes);
}

/* The whole file, in memory aligned to 64 that the caller frees. */
static inline uint8_t *maker_file(const struct maker *m, size_t *len)
{
    struct bytes f = {0};
    bytes_put(&f, "GGUF", 4);
    bytes_u32(&f, m->version);
    bytes_u64(&f, m->n_tensors);
    bytes_u64(&f, m->n_keys);
    bytes_put(&f, m->keys.data, m->keys.len);
    bytes_put(&f, m->infos.data, m->infos.len);
    bytes_pad(&f, m->alignment);
    bytes_put(&f, m->data.data, m->data.len);
    bytes_pad(&f, m->alignment);
    uint8_t *out = NULL;
    if (posix_memalign((void **)&out, 64, f.len) != 0) abort();
    memcpy(out, f.data, f.len);
    free(f.data);
    *len = f.len;
    return out;
}

static inline void maker_free(struct maker *m)
{
    free(m->keys.data);
    free(m->infos.data);
    free(m->data.data);
}

#endif
