/* SPDX-License-Identifier: MIT */
/* The table of model names. */
#include "upstream/models.h"

#include <stdlib.h>

void ek_pool_names_free(struct ek_pool_names *n)
{
    for (uint32_t u = 0; u < EK_POOL_UPSTREAMS_MAX; u++)
        for (uint32_t m = 0; m < n->count; m++) free(n->theirs[u][m]);
    n->count = 0;
}

static bool name_ok(struct ek_str name)
{
    if (name.len == 0 || name.len > EK_POOL_NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] < 0x20 || name.data[i] == 0x7f) return false;
    return true;
}

uint32_t ek_pool_names_find(const struct ek_pool_names *n, struct ek_str name)
{
    MUST(n->count <= EK_POOL_MODELS_MAX);
    for (uint32_t m = 0; m < n->count; m++) {
        if (name.len == 0 && !n->model[m].alias) return m;
        if (ek_str_eq(ek_str_of(n->model[m].name), name)) return m;
    }
    return EK_POOL_MODELS_MAX;
}

uint32_t ek_pool_names_served(const struct ek_pool_names *n, struct ek_str name)
{
    for (uint32_t m = 0; m < n->count; m++) {
        if (!n->model[m].upstream_mask) continue;
        if (name.len == 0 ? !n->model[m].alias : ek_str_eq(ek_str_of(n->model[m].name), name)) return m;
    }
    return EK_POOL_MODELS_MAX;
}

void ek_pool_names_drop(struct ek_pool_names *n, uint32_t upstream)
{
    MUST(upstream < EK_POOL_UPSTREAMS_MAX);
    for (uint32_t m = 0; m < n->count; m++) {
        n->model[m].upstream_mask &= ~(1ull << upstream);
        free(n->theirs[upstream][m]);
        n->theirs[upstream][m] = NULL;
    }
}

bool ek_pool_names_add(struct ek_pool_names *n, uint32_t upstream, struct ek_str name,
                       struct ek_str theirs, bool alias, enum ek_model_thinking thinking)
{
    MUST(upstream < EK_POOL_UPSTREAMS_MAX);
    if (!name_ok(name) || (theirs.len && !name_ok(theirs))) return false;
    uint32_t m = ek_pool_names_find(n, name);
    if (m == EK_POOL_MODELS_MAX) {
        if (n->count == EK_POOL_MODELS_MAX) return false;
        m = n->count++;
        n->model[m] = (struct ek_pool_model){.alias = alias, .thinking = thinking};
        MUST(ek_str_copy(name, n->model[m].name, sizeof n->model[m].name));
    }
    uint64_t mask = n->model[m].upstream_mask | 1ull << upstream;
    if (mask == n->model[m].upstream_mask) return false;
    n->model[m].upstream_mask = mask;
    if (theirs.len && !ek_str_eq(theirs, name)) n->theirs[upstream][m] = strndup(theirs.data, theirs.len);
    return true;
}
