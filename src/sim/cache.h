/* SPDX-License-Identifier: MIT */
/* A prefix cache of whole blocks: which block ids an engine still holds, the least recently used leaving
 * first. A hit is a run of held blocks from the first on. Fixed memory, made once. */
#ifndef EK_SIM_CACHE_H
#define EK_SIM_CACHE_H

#include <stdint.h>

struct ek_sim_cache;

struct ek_sim_cache *ek_sim_cache_new(uint32_t blocks_max);
void ek_sim_cache_free(struct ek_sim_cache *c); /* NULL is fine */
/* How many blocks from the first on are held; they become the most recently used. Ids are not 0. */
uint32_t ek_sim_cache_hit(struct ek_sim_cache *c, const uint32_t *id, uint32_t count);
/* The same without touching them. */
uint32_t ek_sim_cache_peek(const struct ek_sim_cache *c, const uint32_t *id, uint32_t count);
void ek_sim_cache_add(struct ek_sim_cache *c, const uint32_t *id, uint32_t count);

#endif
