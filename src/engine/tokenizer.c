/* SPDX-License-Identifier: MIT */
/* Encoding: markers are cut out, then patterns cut the rest into pieces, then bytes merge inside each
 * piece. The vocabulary's tables live in tokenizer_tables.c; this file only reads them and owns the
 * encoder. It must never merge across pieces nor see a marker in text that a user wrote. */
#include "engine/tokenizer.h"

#include "engine/bytemap.h"
#include "engine/tokenizer_tables.h"

#include <stdlib.h>

enum { ENCODER_MAGIC = 0x454e434f };

struct ek_encoder {
    uint32_t magic;
    struct ek_matcher *matcher;
    struct ek_bpe_work work;
    int32_t *sym;
    size_t sym_cap;
    struct ek_encoder_counters counters;
};

struct ek_encoder *ek_encoder_new(void)
{
    struct ek_encoder *e = calloc(1, sizeof *e);
    MUST(e);
    e->magic = ENCODER_MAGIC;
    e->matcher = ek_matcher_new();
    return e;
}

void ek_encoder_free(struct ek_encoder **ee)
{
    struct ek_encoder *e = *ee;
    *ee = NULL;
    if (!e) return;
    MUST_OBJ(e, ENCODER_MAGIC);
    ek_matcher_free(&e->matcher);
    ek_bpe_work_free(&e->work);
    free(e->sym);
    e->magic = 0;
    free(e);
}

struct ek_encoder_counters ek_encoder_counters(const struct ek_encoder *e)
{
    MUST_OBJ(e, ENCODER_MAGIC);
    return e->counters;
}

enum ek_status ek_ids_push(struct ek_ids *ids, uint32_t id)
{
    if (ids->count == ids->count_max) return EK_FULL;
    if (ids->count == ids->cap) {
        size_t cap = ids->cap ? ids->cap * 2 : 64;
        if (cap > ids->count_max) cap = ids->count_max;
        uint32_t *data = realloc(ids->data, cap * sizeof *data);
        MUST(data);
        ids->data = data;
        ids->cap = cap;
    }
    MUST(ids->count < ids->cap);
    ids->data[ids->count++] = id;
    return EK_OK;
}

void ek_ids_free(struct ek_ids *ids)
{
    free(ids->data);
    *ids = (struct ek_ids){.count_max = ids->count_max};
}

struct run { /* one call of ek_tokenizer_encode */
    const struct ek_tokenizer *t;
    struct ek_encoder *e;
    struct ek_ids *ids;
};

/* A symbol that is a token is itself; a half-way string, or a byte without a token, goes byte by byte. */
static bool emit(const struct run *r, int32_t sym)
{
    if ((size_t)sym < r->t->token_count) return ek_ids_push(r->ids, (uint32_t)sym) == EK_OK;
    struct ek_str bytes = r->t->bytes[sym];
    for (size_t i = 0; i < bytes.len; i++) {
        int32_t id = r->t->byte_sym[(unsigned char)bytes.data[i]];
        if ((size_t)id >= r->t->token_count) {
            r->e->counters.lost_bytes++;
        } else if (ek_ids_push(r->ids, (uint32_t)id) != EK_OK) {
            return false;
        }
    }
    return true;
}

static bool merge_piece(const struct run *r, struct ek_str piece)
{
    struct ek_encoder *e = r->e;
    if (piece.len > e->sym_cap) {
        e->sym = realloc(e->sym, piece.len * sizeof *e->sym);
        MUST(e->sym);
        e->sym_cap = piece.len;
    }
    for (size_t i = 0; i < piece.len; i++) e->sym[i] = r->t->byte_sym[(unsigned char)piece.data[i]];
    size_t n = ek_bpe_run(&r->t->merges, &e->work, e->sym, piece.len);
    for (size_t i = 0; i < n; i++) {
        if (!emit(r, e->sym[i])) return false;
    }
    return true;
}

static bool on_piece(void *ctx, struct ek_str piece)
{
    const struct run *r = ctx;
    int32_t sym = ek_symbols_find(r->t, piece);
    if (sym >= 0 && (size_t)sym < r->t->token_count && r->t->whole[sym]) return emit(r, sym);
    if (piece.len > EK_TOKENIZER_PIECE_BYTES) r->e->counters.cut_pieces++;
    while (piece.len > EK_TOKENIZER_PIECE_BYTES) {
        if (!merge_piece(r, ek_str_make(piece.data, EK_TOKENIZER_PIECE_BYTES))) return false;
        piece = ek_str_skip(piece, EK_TOKENIZER_PIECE_BYTES);
    }
    return merge_piece(r, piece);
}

/* Text without markers: valid UTF-8 is cut by the patterns, each stray byte is a piece. */
static bool encode_plain(struct run *r, struct ek_str text)
{
    while (text.len > 0) {
        size_t valid = ek_utf8_valid(text);
        if (!ek_pretok_cut(r->t->pretok, r->e->matcher, ek_str_make(text.data, valid), on_piece, r,
                           &r->e->counters.pattern_misses)) {
            return false;
        }
        text = ek_str_skip(text, valid);
        if (text.len == 0) break;
        if (!merge_piece(r, ek_str_make(text.data, 1))) return false;
        text = ek_str_skip(text, 1);
    }
    return true;
}

/* The longest special token that begins at s, or NULL. */
static const struct ek_special *special_at(const struct ek_tokenizer *t, struct ek_str s, bool markers)
{
    unsigned first = (unsigned char)s.data[0];
    for (size_t i = t->special_from[first]; i < t->special_from[first + 1]; i++) {
        const struct ek_special *sp = &t->specials[i];
        if ((markers || sp->everywhere) && ek_str_starts(s, t->bytes[sp->id])) return sp;
    }
    return NULL;
}

enum ek_status ek_tokenizer_encode(const struct ek_tokenizer *t, struct ek_encoder *e,
                                   struct ek_str text, bool markers, struct ek_ids *ids)
{
    MUST_OBJ(t, EK_TOKENIZER_MAGIC);
    MUST_OBJ(e, ENCODER_MAGIC);
    if (text.len == 0) return EK_OK; /* it may have no address either */
    struct run r = {t, e, ids};
    size_t from = 0, room = ids->count_max - ids->count, longest = ek_tokenizer_longest(t);
    /* Megabytes that cannot fit, however well they merge, are not worth reading. */
    if (longest > 0 && text.len / longest > room) return EK_FULL;
    for (size_t at = 0; at < text.len;) {
        const struct ek_special *sp = special_at(t, ek_str_skip(text, at), markers);
        if (!sp) {
            at++;
            continue;
        }
        if (!encode_plain(&r, ek_str_make(text.data + from, at - from))) return EK_FULL;
        if (ek_ids_push(ids, sp->id) != EK_OK) return EK_FULL;
        at += t->bytes[sp->id].len;
        from = at;
    }
    return encode_plain(&r, ek_str_skip(text, from)) ? EK_OK : EK_FULL;
}
