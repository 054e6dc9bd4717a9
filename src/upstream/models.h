/* SPDX-License-Identifier: MIT */
/* The names under which models can be asked for, and what each upstream calls them. Pure; owned by the
 * pool. A name keeps its index for ever; who serves it comes and goes with reloads. A model that an upstream
 * stops serving by itself is noticed when it refuses. */
#ifndef EK_UPSTREAM_MODELS_H
#define EK_UPSTREAM_MODELS_H

#include "upstream/pool.h"

struct ek_pool_names {
    uint32_t count;
    struct ek_pool_model model[EK_POOL_MODELS_MAX];
    char *theirs[EK_POOL_UPSTREAMS_MAX][EK_POOL_MODELS_MAX]; /* NULL: the public name, or not served */
};

void ek_pool_names_free(struct ek_pool_names *n);
/* Note that `upstream` serves `name`, calling it `theirs` (empty: the same). alias and thinking count
 * only for a new name. Returns whether anything changed; names too long, empty, with control bytes, or
 * beyond the table's room are ignored. */
bool ek_pool_names_add(struct ek_pool_names *n, uint32_t upstream, struct ek_str name,
                       struct ek_str theirs, bool alias, enum ek_model_thinking thinking);
/* This upstream serves none of them any more. */
void ek_pool_names_drop(struct ek_pool_names *n, uint32_t upstream);
/* The same as find, among those that somebody serves. */
uint32_t ek_pool_names_served(const struct ek_pool_names *n, struct ek_str name);
uint32_t ek_pool_names_find(const struct ek_pool_names *n, struct ek_str name);

#endif
