/* SPDX-License-Identifier: MIT */
/* The KV cache: for every token and layer one row [C | R], the normalised latent and the rotated rope
 * key, from which keys and values of all heads are made (DeepSeek-V2 paper, eq. 9-15).
 *
 *   a sequence:  pages[0] pages[1] pages[2] ...    page p holds tokens 64 p .. 64 p + 63
 *   a page:      64 rows in each layer, one behind the other; the same page number in every layer
 *
 * Pages come from one pool whose memory is reserved at start and touched as it is used. Each page also
 * knows the role of its tokens, prompt or generated, since their arithmetic differed.
 *
 * Shared prefixes. A page whose 64 tokens are computed gets a name made of what its rows depend on: the
 * page before it, its tokens, their roles, and at the root the salt of the sequence (model, instruction
 * set and KV type are those of this process). A sequence that begins with the same tokens in the same
 * roles under the same salt is given such pages instead of computing them again, running or finished:
 *
 *      FREE ──given──▶ HELD (refs > 0) ──let go, unnamed──▶ FREE
 *        ▲             ▲   │ let go, named
 *        │             hit ▼
 *        └──evicted─── IDLE (refs = 0): in the order they were let go, the tail of a sequence first
 *
 * Idle pages count as free. A name is only an index: ids, roles and the name before are compared, so no
 * collision can show one caller's text to another. Owned and used by the step thread alone. */
#ifndef EK_ENGINE_KV_H
#define EK_ENGINE_KV_H

#include "base/status.h"
#include "engine/options.h"

#include <stdbool.h>
#include <stddef.h>

enum { EK_KV_PAGE = 64 };
enum ek_role { EK_ROLE_PROMPT = 0, EK_ROLE_GENERATED = 1 };

struct ek_kv;

struct ek_kv_name {
    uint64_t lo, hi;
};

struct ek_kv_seq {
    uint32_t *pages; /* [page_count] */
    uint32_t page_count;
    uint32_t tokens; /* computed so far, in every layer */
    uint32_t named;  /* pages, from the first, that have their names */
    struct ek_kv_name name; /* of the last of them; at first the root's, made of the salt */
};

/* What is known of a sequence before it is computed. */
struct ek_kv_text {
    const uint32_t *ids; /* [count]; at least one of them will be computed, for its logits */
    uint32_t count;
    uint32_t prompt;     /* the first so many have the role prompt, the others were generated */
    uint64_t salt;       /* sequences of different salts share nothing */
};

struct ek_kv_counters {
    uint64_t asked_pages; /* whole pages that sequences began with */
    uint64_t hit_pages;   /* of them, found */
    uint64_t evicted_pages;
    uint64_t restored_pages; /* brought back from the disk tier (kv_tier.h) */
    uint64_t lost_pages;     /* evicted before the disk tier could take them */
};

/* rows of row_elems numbers in each of `layers` layers, for `tokens` tokens (rounded up to pages).
 * EK_NOMEM when the address space cannot be had, EK_INVALID when the product overflows. */
EK_CHECKED enum ek_status ek_kv_new(uint32_t layers, uint32_t row_elems, enum ek_kv_type type,
                                    uint64_t tokens, struct ek_kv **out);
void ek_kv_free(struct ek_kv **kv);

enum ek_kv_type ek_kv_type(const struct ek_kv *kv);
uint32_t ek_kv_layers(const struct ek_kv *kv);
size_t ek_kv_row_bytes(const struct ek_kv *kv);
uint32_t ek_kv_pages_total(const struct ek_kv *kv);
uint32_t ek_kv_pages_free(const struct ek_kv *kv); /* idle ones too */
void ek_kv_counters(const struct ek_kv *kv, struct ek_kv_counters *out);

/* Give an empty sequence pages for `tokens` tokens (at least text->count), or nothing at all and EK_FULL
 * where fewer than `spare` pages would be left. Afterwards seq->tokens are there already: whole pages, fewer
 * than text->count. text NULL: none. */
EK_CHECKED enum ek_status ek_kv_begin(struct ek_kv *kv, struct ek_kv_seq *seq,
                                      const struct ek_kv_text *text, uint32_t tokens, uint32_t spare);

/* More pages, for `tokens` tokens in all. EK_FULL, and nothing, when there are not so many. */
EK_CHECKED enum ek_status ek_kv_grow(struct ek_kv *kv, struct ek_kv_seq *seq, uint32_t tokens);

/* Name the pages that have become full: `ids` are all of the sequence's, of which seq->tokens are final. */
void ek_kv_name_pages(struct ek_kv *kv, struct ek_kv_seq *seq, const uint32_t *ids);

void ek_kv_release(struct ek_kv *kv, struct ek_kv_seq *seq); /* lets all pages go; may be empty */

/* The row of token `token` (within the sequence's pages) in `layer`. Rows of one page are adjacent. */
void *ek_kv_row(const struct ek_kv *kv, const struct ek_kv_seq *seq, uint32_t layer, uint32_t token);

void ek_kv_set_role(struct ek_kv *kv, const struct ek_kv_seq *seq, uint32_t token, enum ek_role role);
enum ek_role ek_kv_role(const struct ek_kv *kv, const struct ek_kv_seq *seq, uint32_t token);

/* Walks everything and MUSTs it consistent; `held` = the sum of page_count of all sequences. For tests. */
void ek_kv_check(const struct ek_kv *kv, uint64_t held);

#endif
