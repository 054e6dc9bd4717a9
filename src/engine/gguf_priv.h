/* SPDX-License-Identifier: MIT */
/* Inside the GGUF loader: what one opened file is, shared by gguf.c (reads a file) and gguf_split.c
 * (puts the parts of a split one together). */
#ifndef EK_ENGINE_GGUF_PRIV_H
#define EK_ENGINE_GGUF_PRIV_H

#include "engine/gguf.h"

#define GGUF_MAGIC 0x6b1f09d3u

struct ek_gguf {
    uint32_t magic;
    uint32_t version;
    const uint8_t *data;
    uint64_t bytes;
    void *mapping; /* NULL when the memory is the caller's */
    struct ek_gguf_value *keys;
    struct ek_gguf_tensor *tensors; /* of the other parts too, once they are joined */
    uint32_t *key_order;    /* indices sorted by name */
    uint32_t *tensor_order;
    size_t n_keys, n_tensors;
    uint64_t alignment;
    struct ek_gguf **others; /* parts 2, 3, ... of a split file, owned; their mappings hold tensors */
    size_t n_others;
};

/* One file by itself, or bytes in memory; a part of a split file is as good as any. */
EK_CHECKED enum ek_status ek_gguf_open_one(const char *path, struct ek_gguf **out, char *why,
                                           size_t why_cap);
EK_CHECKED enum ek_status ek_gguf_read(const void *data, size_t bytes, void *mapping,
                                       struct ek_gguf **out, char *why, size_t why_cap);

/* Sort the tensors by name; EK_INVALID and a sentence when a name appears twice. */
EK_CHECKED enum ek_status ek_gguf_sort_tensors(struct ek_gguf *g, char *why, size_t why_cap);

#endif
