/* SPDX-License-Identifier: MIT */
/* Names of pages in the order of their last use: at most so many, found by hash. Pure memory; what the names
 * stand for is the caller's business. 48 bytes a name. */
#ifndef EK_ENGINE_KV_INDEX_H
#define EK_ENGINE_KV_INDEX_H

#include "engine/kv.h"

struct ek_kv_index;

struct ek_kv_index *ek_kv_index_new(uint32_t names_max); /* at least 1; memory grows as they come */
void ek_kv_index_free(struct ek_kv_index **index);

bool ek_kv_index_has(const struct ek_kv_index *x, struct ek_kv_name name);
void ek_kv_index_add(struct ek_kv_index *x, struct ek_kv_name name); /* newest; nothing when full */
void ek_kv_index_use(struct ek_kv_index *x, struct ek_kv_name name); /* it is the newest now; must be there */
void ek_kv_index_remove(struct ek_kv_index *x, struct ek_kv_name name); /* may be absent */
bool ek_kv_index_pop_oldest(struct ek_kv_index *x, struct ek_kv_name *out); /* false: empty */
bool ek_kv_index_full(const struct ek_kv_index *x);
uint32_t ek_kv_index_count(const struct ek_kv_index *x);

#endif
