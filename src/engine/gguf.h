/* SPDX-License-Identifier: MIT */
/* A GGUF model file, versions 2 and 3, little endian: metadata and tensor positions.
 *
 *   "GGUF" version n_tensors n_kv | key-values | tensor infos | pad | tensor data
 *
 * A model may be split into files NAME-00001-of-00005.gguf ...; opening the first opens all, and they
 * are one from then on. Files are mapped read-only; keys, strings and tensors are views into the
 * mappings and live until ek_gguf_close. Everything is checked when a file is opened: afterwards a
 * tensor's `bytes` lie within its file and every string of every array can be walked without a further
 * test. What a key means is not known here (see model.h, tokenizer.h). Nothing here writes, prints or
 * calls back. Who cuts a file short while it is mapped kills the process (SIGBUS): replace model files
 * by renaming.
 *
 * Source: ggml-org/ggml docs/gguf.md; the limits follow what llama.cpp's reader accepts. */
#ifndef EK_ENGINE_GGUF_H
#define EK_ENGINE_GGUF_H

#include "base/status.h"
#include "base/str.h"

#include <stdint.h>

struct ek_gguf;

/* Limits beyond which a file is refused with a sentence. */
enum {
    EK_GGUF_KEYS_MAX = 65536,
    EK_GGUF_TENSORS_MAX = 65536,
    EK_GGUF_KEY_BYTES_MAX = 65535,
    EK_GGUF_NAME_BYTES_MAX = 64,
    EK_GGUF_DIMS_MAX = 4,
    EK_GGUF_STRING_BYTES_MAX = 1 << 30,
    EK_GGUF_ARRAY_MAX = 1 << 30,
    EK_GGUF_ALIGNMENT_MAX = 1 << 20,
    EK_GGUF_PARTS_MAX = 1024,
};

/* Types of metadata values, as numbered in the file. */
enum ek_gguf_type {
    EK_GGUF_U8 = 0, EK_GGUF_I8 = 1, EK_GGUF_U16 = 2, EK_GGUF_I16 = 3, EK_GGUF_U32 = 4,
    EK_GGUF_I32 = 5, EK_GGUF_F32 = 6, EK_GGUF_BOOL = 7, EK_GGUF_STRING = 8, EK_GGUF_ARRAY = 9,
    EK_GGUF_U64 = 10, EK_GGUF_I64 = 11, EK_GGUF_F64 = 12,
};

/* Types of tensor elements that this version computes with. Other known types are accepted by the
 * loader (ek_ggml_type_name names them) and refused by whoever has to compute. */
enum ek_ggml_type {
    EK_GGML_F32 = 0, EK_GGML_F16 = 1, EK_GGML_Q4_0 = 2, EK_GGML_Q4_1 = 3, EK_GGML_Q5_0 = 6,
    EK_GGML_Q5_1 = 7, EK_GGML_Q8_0 = 8, EK_GGML_Q4_K = 12, EK_GGML_Q5_K = 13, EK_GGML_Q6_K = 14,
    EK_GGML_IQ4_NL = 20, EK_GGML_IQ4_XS = 23, EK_GGML_BF16 = 30,
};

struct ek_gguf_value {
    struct ek_str key;
    enum ek_gguf_type type;
    enum ek_gguf_type elem; /* of an array; else equal to type */
    uint64_t count;         /* elements of an array; else 1 */
    const uint8_t *at;      /* first byte of the value (an array: of its first element) */
};

struct ek_gguf_tensor {
    struct ek_str name;
    uint32_t type;    /* enum ek_ggml_type, or another known ggml type */
    uint32_t n_dims;  /* 1..4 */
    uint64_t ne[EK_GGUF_DIMS_MAX]; /* ne[0] is the contiguous (row) dimension; unused ones are 1 */
    uint64_t row_bytes;            /* of one row of ne[0] elements */
    uint64_t bytes;                /* of all */
    const void *data;              /* aligned to the file's alignment within the mapping */
};

/* Open a file, or bytes in memory (which the caller keeps alive, aligned to 32, until close).
 * EK_OK: *out is owned by the caller. Otherwise *out is NULL and `why` holds one sentence that names
 * the key, tensor or offset: EK_IO (cannot be read), EK_INVALID (not acceptable), EK_NOMEM.
 * May block on the disk; allocates in proportion to the number of keys and tensors. */
EK_CHECKED enum ek_status ek_gguf_open(const char *path, struct ek_gguf **out, char *why,
                                       size_t why_cap);
EK_CHECKED enum ek_status ek_gguf_open_memory(const void *data, size_t bytes, struct ek_gguf **out,
                                              char *why, size_t why_cap);
/* The parts of a split file, first to last, in memory as above. */
struct ek_gguf_bytes {
    const void *data;
    size_t bytes;
};
EK_CHECKED enum ek_status ek_gguf_open_parts(const struct ek_gguf_bytes *parts, size_t n,
                                             struct ek_gguf **out, char *why, size_t why_cap);
void ek_gguf_close(struct ek_gguf **g); /* NULL inside is fine; nulls the caller's pointer */

uint32_t ek_gguf_version(const struct ek_gguf *g);
uint64_t ek_gguf_file_bytes(const struct ek_gguf *g); /* of all parts together */
size_t ek_gguf_part_count(const struct ek_gguf *g);
size_t ek_gguf_key_count(const struct ek_gguf *g);
const struct ek_gguf_value *ek_gguf_key_at(const struct ek_gguf *g, size_t index); /* file order */
size_t ek_gguf_tensor_count(const struct ek_gguf *g);
const struct ek_gguf_tensor *ek_gguf_tensor_at(const struct ek_gguf *g, size_t index);

/* Look up by exact name; NULL when absent. O(log n). */
const struct ek_gguf_value *ek_gguf_find(const struct ek_gguf *g, const char *key);
const struct ek_gguf_tensor *ek_gguf_tensor(const struct ek_gguf *g, const char *name);

/* Scalars. EK_OK; EK_ABSENT: no such key, *out untouched (so set a default first); EK_INVALID: the
 * value has another type, or an integer does not fit, *out untouched. Integers are accepted in every
 * width and sign the file uses; f32 accepts f32 and f64. */
EK_CHECKED enum ek_status ek_gguf_u64(const struct ek_gguf *g, const char *key, uint64_t *out);
EK_CHECKED enum ek_status ek_gguf_u32(const struct ek_gguf *g, const char *key, uint32_t *out);
EK_CHECKED enum ek_status ek_gguf_f32(const struct ek_gguf *g, const char *key, float *out);
EK_CHECKED enum ek_status ek_gguf_bool(const struct ek_gguf *g, const char *key, bool *out);
EK_CHECKED enum ek_status ek_gguf_str(const struct ek_gguf *g, const char *key, struct ek_str *out);

/* An array's elements in order, without copying.
 *     struct ek_gguf_iter it;
 *     if (ek_gguf_array(g, "tokenizer.ggml.tokens", EK_GGUF_STRING, &it) != EK_OK) ...
 *     while (ek_gguf_next_str(&it, &s)) ...
 * `elem` EK_GGUF_STRING, EK_GGUF_F32 (also f64), EK_GGUF_BOOL, or EK_GGUF_U64, which stands for any
 * integer width. Result EK_OK, EK_ABSENT (no key), EK_INVALID (no array, or of other elements). */
struct ek_gguf_iter {
    uint64_t count; /* elements in all */
    uint64_t index; /* of the next one */
    enum ek_gguf_type elem;
    const uint8_t *at;
};
EK_CHECKED enum ek_status ek_gguf_array(const struct ek_gguf *g, const char *key,
                                        enum ek_gguf_type elem, struct ek_gguf_iter *it);
/* false at the end; next_int also when an element does not fit an int64. */
bool ek_gguf_next_str(struct ek_gguf_iter *it, struct ek_str *out);
bool ek_gguf_next_int(struct ek_gguf_iter *it, int64_t *out);
bool ek_gguf_next_f32(struct ek_gguf_iter *it, float *out);

/* "F32", "Q8_0", ...; NULL for a number no ggml type has. */
const char *ek_ggml_type_name(uint32_t type);

#endif
