/* SPDX-License-Identifier: MIT */
/* The KV cache: for every token and layer one row [C | R], the normalised latent and the rotated rope
 * key, from which keys and values of all heads are made (DeepSeek-V2 paper, eq. 9-15).
 *
 *   a sequence:  pages[0] pages[1] pages[2] ...    page p holds tokens 64 p .. 64 p + 63
 *   a page:      64 rows in each layer, one behind the other; the same page number in every layer
 *
 * Pages come from one pool whose memory is reserved at start and touched as it is used. Each page also
 * knows the role of its tokens, prompt or generated, since their arithmetic differed. Owned and used
 * by the step thread alone. */
#ifndef EK_ENGINE_KV_H
#define EK_ENGINE_KV_H

#include "base/status.h"
#include "engine/options.h"

#include <stdbool.h>
#include <stddef.h>

enum { EK_KV_PAGE = 64 };
enum ek_role { EK_ROLE_PROMPT = 0, EK_ROLE_GENERATED = 1 };

struct ek_kv;

struct ek_kv_seq {
    uint32_t *pages; /* [page_count] */
    uint32_t page_count;
    uint32_t tokens; /* computed so far, in every layer */
};

/* rows of row_elems numbers in each of `layers` layers, for `tokens` tokens (rounded up to pages).
 * EK_NOMEM when the address space cannot be had, EK_INVALID when the product overflows. */
EK_CHECKED enum ek_status ek_kv_new(uint32_t layers, uint32_t row_elems, enum ek_kv_type type,
                                    uint64_t tokens, struct ek_kv **out);
void ek_kv_free(struct ek_kv **kv);

enum ek_kv_type ek_kv_type(const struct ek_kv *kv);
size_t ek_kv_row_bytes(const struct ek_kv *kv);
uint32_t ek_kv_pages_total(const struct ek_kv *kv);
uint32_t ek_kv_pages_free(const struct ek_kv *kv);

/* Give an empty sequence pages for `tokens` tokens, or nothing at all and EK_FULL. */
EK_CHECKED enum ek_status ek_kv_reserve(struct ek_kv *kv, struct ek_kv_seq *seq, uint32_t tokens);
void ek_kv_release(struct ek_kv *kv, struct ek_kv_seq *seq); /* gives all pages back; may be empty */

/* The row of token `token` (within the reserved pages) in `layer`. Rows of one page are adjacent. */
void *ek_kv_row(const struct ek_kv *kv, const struct ek_kv_seq *seq, uint32_t layer, uint32_t token);

void ek_kv_set_role(struct ek_kv *kv, const struct ek_kv_seq *seq, uint32_t token, enum ek_role role);
enum ek_role ek_kv_role(const struct ek_kv *kv, const struct ek_kv_seq *seq, uint32_t token);

#endif
