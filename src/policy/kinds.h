/* SPDX-License-Identifier: MIT */
/* What many requests have in common, told once: model, effort and prices. A hundred thousand may wait, for a
 * few models at a few prices, so each keeps a number of four bytes instead of these forty.
 *
 *   request ──kind──▶ { model, effort, prices, how many requests are of this kind } ◀── by hash ── index
 *
 * A kind that nobody is of any more makes room for the next. There is room for as many kinds as there may be
 * requests, and pages of the table that were never needed take no memory. Pure; owns its arrays. */
#ifndef EK_POLICY_KINDS_H
#define EK_POLICY_KINDS_H

#include "policy/desk.h"
#include "policy/index.h"

struct ek_kind {
    uint64_t model;
    struct ek_desk_price price;
    uint32_t effort;
    uint32_t members; /* 0: free, and `next_free` counts */
    uint64_t key;     /* under which the index knows it */
    uint32_t next_free; /* 1 + its number; 0: none */
};

struct ek_kinds {
    struct ek_kind *kind;
    struct ek_index index;
    uint32_t max, made;
    uint32_t first_free; /* 1 + its number; 0: none */
};

/* Room for `kinds_max`. false: no memory. */
bool ek_kinds_init(struct ek_kinds *x, uint32_t kinds_max);
void ek_kinds_free(struct ek_kinds *x);
/* One request more of this kind; its number. At most kinds_max requests may be in at once. */
uint32_t ek_kinds_join(struct ek_kinds *x, uint64_t model, uint32_t effort, struct ek_desk_price price);
void ek_kinds_leave(struct ek_kinds *x, uint32_t number);

#endif
