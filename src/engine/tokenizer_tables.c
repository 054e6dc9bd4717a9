/* SPDX-License-Identifier: MIT */
/* Building a tokenizer's tables from the arrays of a model file. The arrays come from outside: sizes
 * are limited, ids checked, and what cannot be used is refused with a sentence. After
 * ek_tokenizer_new the tables never change. */
#include "engine/tokenizer_tables.h"

#include "engine/bytemap.h"

#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

static size_t bytes_hash(struct ek_str s)
{
    return (size_t)XXH3_64bits(s.data, s.len);
}

int32_t ek_symbols_find(const struct ek_tokenizer *t, struct ek_str bytes)
{
    size_t at = bytes_hash(bytes) & t->index_mask;
    for (; t->index[at] >= 0; at = (at + 1) & t->index_mask) {
        if (ek_str_eq(t->bytes[t->index[at]], bytes)) return t->index[at];
    }
    return -1;
}

static void index_put(struct ek_tokenizer *t, int32_t sym)
{
    size_t at = bytes_hash(t->bytes[sym]) & t->index_mask;
    for (; t->index[at] >= 0; at = (at + 1) & t->index_mask) {
        if (ek_str_eq(t->bytes[t->index[at]], t->bytes[sym])) return; /* the lower id keeps the string */
    }
    t->index[at] = sym;
}

/* Take n bytes already written at the arena's end. */
static struct ek_str arena_take(struct ek_tokenizer *t, size_t n)
{
    struct ek_str s = {t->arena + t->arena_bytes, n};
    t->arena_bytes += n;
    MUST(t->arena_bytes <= t->arena_cap);
    return s;
}

/* The symbol for these bytes, made if need be; the bytes are copied. */
static int32_t symbol_of(struct ek_tokenizer *t, struct ek_str bytes)
{
    int32_t sym = ek_symbols_find(t, bytes);
    if (sym >= 0) return sym;
    MUST(t->symbol_count < t->symbol_cap && t->arena_cap - t->arena_bytes >= bytes.len);
    memcpy(t->arena + t->arena_bytes, bytes.data, bytes.len);
    sym = (int32_t)t->symbol_count++;
    t->bytes[sym] = arena_take(t, bytes.len);
    index_put(t, sym);
    return sym;
}

static enum ek_status allocate(struct ek_tokenizer *t, const struct ek_vocab *v, char *why, size_t cap)
{
    if (v->token_count == 0 || v->token_count > EK_VOCAB_TOKENS_MAX ||
        v->merge_count > EK_VOCAB_MERGES_MAX) {
        snprintf(why, cap, "a vocabulary of %zu tokens and %zu merges is not supported (1 to %d, at most %d)",
                 v->token_count, v->merge_count, EK_VOCAB_TOKENS_MAX, EK_VOCAB_MERGES_MAX);
        return EK_INVALID;
    }
    size_t bytes = 256 + 2 * EK_VOCAB_TOKEN_BYTES_MAX;
    for (size_t i = 0; i < v->token_count; i++) {
        if (v->tokens[i].len > EK_VOCAB_TOKEN_BYTES_MAX) {
            snprintf(why, cap, "token %zu is %zu bytes long (at most %d)", i, v->tokens[i].len,
                     EK_VOCAB_TOKEN_BYTES_MAX);
            return EK_INVALID;
        }
        bytes += v->tokens[i].len;
    }
    for (size_t i = 0; i < v->merge_count; i++) {
        if (v->merges[i].len > EK_VOCAB_TOKEN_BYTES_MAX) {
            snprintf(why, cap, "merge %zu is %zu bytes long (at most %d)", i, v->merges[i].len,
                     EK_VOCAB_TOKEN_BYTES_MAX);
            return EK_INVALID;
        }
        bytes += 2 * v->merges[i].len; /* the two parts and, at worst, their join */
    }
    t->token_count = t->symbol_count = v->token_count;
    t->symbol_cap = v->token_count + 3 * v->merge_count + 256;
    t->arena_cap = bytes;
    size_t slots = 1024;
    while (slots < t->symbol_cap * 2) slots *= 2;
    t->index_mask = slots - 1;
    t->arena = malloc(bytes);
    t->bytes = calloc(t->symbol_cap, sizeof *t->bytes);
    t->kinds = calloc(t->token_count, 1);
    t->whole = calloc(t->token_count, 1);
    t->index = malloc(slots * sizeof *t->index);
    t->specials = calloc(t->token_count, sizeof *t->specials);
    MUST(t->arena && t->bytes && t->kinds && t->whole && t->index && t->specials);
    for (size_t i = 0; i < slots; i++) t->index[i] = -1;
    ek_merges_init(&t->merges);
    return EK_OK;
}

static void load_tokens(struct ek_tokenizer *t, const struct ek_vocab *v, const struct ek_bytemap *map)
{
    for (size_t i = 0; i < v->token_count; i++) {
        struct ek_str text = v->tokens[i];
        int32_t kind = v->kinds ? v->kinds[i] : EK_TOKEN_NORMAL;
        char *to = t->arena + t->arena_bytes;
        long n = kind == EK_TOKEN_NORMAL || kind == EK_TOKEN_BYTE ? ek_bytemap_decode(map, text, to) : -1;
        if (n < 0) { /* stands for its own text */
            memcpy(to, text.data, text.len);
            n = (long)text.len;
            if (kind < EK_TOKEN_UNKNOWN || kind > EK_TOKEN_UNUSED) kind = EK_TOKEN_CONTROL;
        }
        t->kinds[i] = (uint8_t)kind;
        t->bytes[i] = arena_take(t, (size_t)n);
        if (t->bytes[i].len > t->longest) t->longest = t->bytes[i].len;
        if ((kind == EK_TOKEN_NORMAL || kind == EK_TOKEN_BYTE) && n > 0) index_put(t, (int32_t)i);
    }
    for (int b = 0; b < 256; b++) {
        char byte = (char)b;
        t->byte_sym[b] = symbol_of(t, ek_str_make(&byte, 1));
    }
}

/* A merge is "left right"; neither side holds a space, since the byte alphabet has none. One that is
 * not spelled in the byte alphabet can never apply and is passed over. */
static void load_merges(struct ek_tokenizer *t, const struct ek_vocab *v, const struct ek_bytemap *map)
{
    char both[EK_VOCAB_TOKEN_BYTES_MAX];
    for (size_t i = 0; i < v->merge_count; i++) {
        struct ek_str m = v->merges[i];
        const char *space = m.len > 1 ? memchr(m.data + 1, ' ', m.len - 1) : NULL;
        if (!space) continue;
        size_t left_len = (size_t)(space - m.data);
        long l = ek_bytemap_decode(map, ek_str_make(m.data, left_len), both);
        if (l <= 0) continue;
        long r = ek_bytemap_decode(map, ek_str_skip(m, left_len + 1), both + l);
        if (r <= 0) continue;
        int32_t left = symbol_of(t, ek_str_make(both, (size_t)l));
        int32_t right = symbol_of(t, ek_str_make(both + l, (size_t)r));
        int32_t result = symbol_of(t, ek_str_make(both, (size_t)(l + r)));
        ek_merges_add(&t->merges, left, right, (uint32_t)i, result);
    }
}

static void derive_merges(struct ek_tokenizer *t)
{
    for (size_t i = 0; i < t->token_count; i++) {
        struct ek_str s = t->bytes[i];
        if (t->kinds[i] != EK_TOKEN_NORMAL) continue;
        for (size_t cut = 1; cut < s.len; cut++) {
            int32_t left = ek_symbols_find(t, ek_str_make(s.data, cut));
            if (left < 0) continue;
            int32_t right = ek_symbols_find(t, ek_str_skip(s, cut));
            if (right >= 0) ek_merges_add(&t->merges, left, right, (uint32_t)i, (int32_t)i);
        }
    }
}

/* Most pieces of real text are tokens as they stand. Knowing which tokens their own merges lead to
 * lets the encoder take such a piece with one look-up, and still never differ from merging it. */
static void find_whole(struct ek_tokenizer *t)
{
    struct ek_bpe_work work = {0};
    int32_t sym[EK_VOCAB_TOKEN_BYTES_MAX];
    for (size_t i = 0; i < t->token_count; i++) {
        struct ek_str s = t->bytes[i];
        if (t->kinds[i] != EK_TOKEN_NORMAL || s.len == 0) continue;
        if (ek_pretok_ignores_merges(t->pretok)) {
            t->whole[i] = 1;
            continue;
        }
        for (size_t j = 0; j < s.len; j++) sym[j] = t->byte_sym[(unsigned char)s.data[j]];
        t->whole[i] = ek_bpe_run(&t->merges, &work, sym, s.len) == 1 && sym[0] == (int32_t)i;
    }
    ek_bpe_work_free(&work);
}

static bool holds_markup(struct ek_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.data[i];
        if (c > 32 && c < 127 && strchr("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", c)) return true;
        if (i + 3 <= s.len && memcmp(s.data + i, "\xEF\xBD\x9C", 3) == 0) return true; /* U+FF5C */
    }
    return false;
}

static int special_order(const void *a, const void *b, void *tables)
{
    const struct ek_tokenizer *t = tables;
    const struct ek_special *x = a, *y = b;
    struct ek_str s = t->bytes[x->id], r = t->bytes[y->id];
    if (s.data[0] != r.data[0]) return (unsigned char)s.data[0] < (unsigned char)r.data[0] ? -1 : 1;
    if (s.len != r.len) return s.len > r.len ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void load_specials(struct ek_tokenizer *t)
{
    for (size_t i = 0; i < t->token_count; i++) {
        bool user = t->kinds[i] == EK_TOKEN_USER;
        if ((!user && t->kinds[i] != EK_TOKEN_CONTROL) || t->bytes[i].len == 0) continue;
        t->specials[t->special_count++] =
            (struct ek_special){(uint32_t)i, user && !holds_markup(t->bytes[i])};
    }
    qsort_r(t->specials, t->special_count, sizeof *t->specials, special_order, t);
    size_t at = 0;
    for (unsigned b = 0; b < 256; b++) {
        t->special_from[b] = at;
        while (at < t->special_count && (unsigned char)t->bytes[t->specials[at].id].data[0] == b) at++;
    }
    t->special_from[256] = at;
    MUST(at == t->special_count);
}

static bool id_ok(const struct ek_vocab *v, uint32_t id)
{
    return id == EK_TOKEN_NONE || id < v->token_count;
}

enum ek_status ek_tokenizer_new(struct ek_tokenizer **out, const struct ek_vocab *v, char *why,
                                size_t why_cap)
{
    *out = NULL;
    if (!id_ok(v, v->bos) || !id_ok(v, v->eos) || !id_ok(v, v->eot)) {
        snprintf(why, why_cap, "a special token's id lies outside the vocabulary of %zu", v->token_count);
        return EK_INVALID;
    }
    struct ek_tokenizer *t = calloc(1, sizeof *t);
    MUST(t);
    t->magic = EK_TOKENIZER_MAGIC;
    t->bos = v->bos;
    t->eos = v->eos;
    t->eot = v->eot;
    t->add_bos = v->add_bos;
    enum ek_status s = ek_pretok_new(&t->pretok, v->pre);
    if (s != EK_OK) {
        snprintf(why, why_cap, "the pre-tokenizer \"%.*s\" is not known to this build", (int)v->pre.len,
                 v->pre.data ? v->pre.data : "");
        goto fail;
    }
    s = allocate(t, v, why, why_cap);
    if (s != EK_OK) goto fail;
    struct ek_bytemap map;
    ek_bytemap_init(&map);
    load_tokens(t, v, &map);
    if (v->merge_by_id) derive_merges(t);
    else load_merges(t, v, &map);
    find_whole(t);
    load_specials(t);
    *out = t;
    return EK_OK;
fail:
    ek_tokenizer_free(&t);
    return s;
}

void ek_tokenizer_free(struct ek_tokenizer **tt)
{
    struct ek_tokenizer *t = *tt;
    *tt = NULL;
    if (!t) return;
    MUST_OBJ(t, EK_TOKENIZER_MAGIC);
    ek_pretok_free(&t->pretok);
    ek_merges_free(&t->merges);
    free(t->arena);
    free(t->bytes);
    free(t->kinds);
    free(t->whole);
    free(t->index);
    free(t->specials);
    t->magic = 0;
    free(t);
}

size_t ek_tokenizer_count(const struct ek_tokenizer *t) { return t->token_count; }
uint32_t ek_tokenizer_bos(const struct ek_tokenizer *t) { return t->bos; }
uint32_t ek_tokenizer_eos(const struct ek_tokenizer *t) { return t->eos; }
uint32_t ek_tokenizer_eot(const struct ek_tokenizer *t) { return t->eot; }
bool ek_tokenizer_add_bos(const struct ek_tokenizer *t) { return t->add_bos; }
size_t ek_tokenizer_longest(const struct ek_tokenizer *t) { return t->longest; }

struct ek_str ek_tokenizer_bytes(const struct ek_tokenizer *t, uint32_t id)
{
    MUST_OBJ(t, EK_TOKENIZER_MAGIC);
    if (id >= t->token_count) return (struct ek_str){"", 0};
    return t->bytes[id];
}

enum ek_token_kind ek_tokenizer_kind(const struct ek_tokenizer *t, uint32_t id)
{
    MUST_OBJ(t, EK_TOKENIZER_MAGIC);
    if (id >= t->token_count) return EK_TOKEN_UNUSED;
    return (enum ek_token_kind)t->kinds[id];
}

uint32_t ek_tokenizer_find(const struct ek_tokenizer *t, struct ek_str text)
{
    MUST_OBJ(t, EK_TOKENIZER_MAGIC);
    for (size_t i = 0; i < t->token_count; i++) {
        if (ek_str_eq(t->bytes[i], text)) return (uint32_t)i;
    }
    return EK_TOKEN_NONE;
}
