/* SPDX-License-Identifier: MIT */
/* Reads the vocabulary keys of a GGUF file into the plain arrays that ek_tokenizer_new takes. Owns
 * nothing beyond the call; the file is hostile until checked, sizes are limited before allocating. */
#include "engine/tokenizer_file.h"

#include <stdio.h>
#include <stdlib.h>

struct arrays {
    struct ek_str *tokens;
    int32_t *kinds;
    struct ek_str *merges;
};

static void arrays_free(struct arrays *a)
{
    free(a->tokens);
    free(a->kinds);
    free(a->merges);
}

static enum ek_status read_strings(const struct ek_gguf *g, const char *key, size_t count_max,
                                   struct ek_str **out, size_t *count, char *why, size_t cap)
{
    struct ek_gguf_iter it;
    enum ek_status s = ek_gguf_array(g, key, EK_GGUF_STRING, &it);
    if (s != EK_OK) {
        snprintf(why, cap, "the file has no list of strings \"%s\"", key);
        return s;
    }
    if (it.count == 0 || it.count > count_max) {
        snprintf(why, cap, "\"%s\" has %llu entries (1 to %zu are supported)", key,
                 (unsigned long long)it.count, count_max);
        return EK_INVALID;
    }
    *out = calloc((size_t)it.count, sizeof **out);
    MUST(*out);
    for (*count = 0; *count < it.count && ek_gguf_next_str(&it, &(*out)[*count]);) (*count)++;
    MUST(*count == it.count); /* the loader has walked every string already */
    return EK_OK;
}

static enum ek_status read_kinds(const struct ek_gguf *g, size_t count, int32_t **out, char *why,
                                 size_t cap)
{
    struct ek_gguf_iter it;
    enum ek_status s = ek_gguf_array(g, "tokenizer.ggml.token_type", EK_GGUF_U64, &it);
    if (s == EK_ABSENT) return EK_OK;
    if (s != EK_OK || it.count != count) {
        snprintf(why, cap, "\"tokenizer.ggml.token_type\" does not give one number for each of %zu tokens",
                 count);
        return EK_INVALID;
    }
    *out = calloc(count, sizeof **out);
    MUST(*out);
    int64_t kind = 0;
    for (size_t i = 0; i < count; i++) {
        if (!ek_gguf_next_int(&it, &kind) || kind < 0 || kind > EK_TOKEN_BYTE) {
            snprintf(why, cap, "token %zu has an unknown type", i);
            return EK_INVALID;
        }
        (*out)[i] = (int32_t)kind;
    }
    return EK_OK;
}

static enum ek_status read_id(const struct ek_gguf *g, const char *key, uint32_t *out, char *why, size_t cap)
{
    *out = EK_TOKEN_NONE;
    enum ek_status s = ek_gguf_u32(g, key, out);
    if (s == EK_INVALID) {
        snprintf(why, cap, "\"%s\" is not a token id", key);
        return EK_INVALID;
    }
    return EK_OK;
}

static enum ek_status read_all(const struct ek_gguf *g, struct ek_vocab *v, struct arrays *a, char *why,
                               size_t cap)
{
    struct ek_str model;
    if (ek_gguf_str(g, "tokenizer.ggml.model", &model) != EK_OK || !ek_str_eq(model, EK_STR("gpt2"))) {
        snprintf(why, cap, "\"tokenizer.ggml.model\" is not \"gpt2\": only byte-level BPE is supported");
        return EK_INVALID;
    }
    if (ek_gguf_str(g, "tokenizer.ggml.pre", &v->pre) != EK_OK) {
        snprintf(why, cap, "the file does not say how its text is split (\"tokenizer.ggml.pre\")");
        return EK_ABSENT;
    }
    enum ek_status s = read_strings(g, "tokenizer.ggml.tokens", EK_VOCAB_TOKENS_MAX, &a->tokens,
                                    &v->token_count, why, cap);
    if (s != EK_OK) return s;
    s = read_strings(g, "tokenizer.ggml.merges", EK_VOCAB_MERGES_MAX, &a->merges, &v->merge_count, why, cap);
    if (s != EK_OK) return s;
    s = read_kinds(g, v->token_count, &a->kinds, why, cap);
    if (s != EK_OK) return s;
    if ((s = read_id(g, "tokenizer.ggml.bos_token_id", &v->bos, why, cap)) != EK_OK) return s;
    if ((s = read_id(g, "tokenizer.ggml.eos_token_id", &v->eos, why, cap)) != EK_OK) return s;
    if ((s = read_id(g, "tokenizer.ggml.eot_token_id", &v->eot, why, cap)) != EK_OK) return s;
    v->add_bos = v->bos != EK_TOKEN_NONE;
    if (ek_gguf_bool(g, "tokenizer.ggml.add_bos_token", &v->add_bos) == EK_INVALID) {
        snprintf(why, cap, "\"tokenizer.ggml.add_bos_token\" is not a boolean");
        return EK_INVALID;
    }
    return EK_OK;
}

enum ek_status ek_tokenizer_from_gguf(struct ek_tokenizer **out, const struct ek_gguf *g, char *why,
                                      size_t why_cap)
{
    *out = NULL;
    struct ek_vocab v = {0};
    struct arrays a = {0};
    enum ek_status s = read_all(g, &v, &a, why, why_cap);
    if (s == EK_OK) {
        v.tokens = a.tokens;
        v.kinds = a.kinds;
        v.merges = a.merges;
        s = ek_tokenizer_new(out, &v, why, why_cap);
    }
    arrays_free(&a);
    return s;
}
