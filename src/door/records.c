/* SPDX-License-Identifier: MIT */
/* The ring and its map. */
#include "door/records.h"

#include "base/map.h"

#include <stdlib.h>

#define RECORDS_MAGIC 0x3ec02d15u

struct ek_records {
    uint32_t magic;
    uint32_t max, next;
    uint64_t seed, forgotten;
    struct ek_map map;
    struct ek_request_record *record;
};

struct ek_records *ek_records_new(uint32_t max, uint64_t seed)
{
    struct ek_records *r = calloc(1, sizeof *r);
    struct ek_request_record *record = calloc(max, sizeof *record);
    MUST(max > 0);
    if (!r || !record) {
        free(r);
        free(record);
        return NULL;
    }
    *r = (struct ek_records){.magic = RECORDS_MAGIC, .max = max, .seed = seed, .record = record};
    return r;
}

void ek_records_free(struct ek_records **rr)
{
    struct ek_records *r = *rr;
    *rr = NULL;
    if (!r) return;
    MUST_OBJ(r, RECORDS_MAGIC);
    ek_map_free(&r->map);
    free(r->record);
    r->magic = 0;
    free(r);
}

static bool same_id(const void *value, const void *key)
{
    return memcmp(((const struct ek_request_record *)value)->id, key, 16) == 0;
}

static uint64_t hash_of(const struct ek_records *r, const uint8_t id[16])
{
    return ek_hash(ek_str_make((const char *)id, 16), r->seed);
}

const struct ek_request_record *ek_records_find(const struct ek_records *r, const uint8_t id[16])
{
    MUST_OBJ(r, RECORDS_MAGIC);
    return ek_map_find(&r->map, hash_of(r, id), same_id, id);
}

struct ek_request_record *ek_records_open(struct ek_records *r, const uint8_t id[16])
{
    MUST_OBJ(r, RECORDS_MAGIC);
    struct ek_request_record *have = ek_map_find(&r->map, hash_of(r, id), same_id, id);
    if (have) return have;
    struct ek_request_record *oldest = &r->record[r->next];
    if (oldest->arrived_unix_ns) {
        void *taken = ek_map_take(&r->map, hash_of(r, oldest->id), same_id, oldest->id);
        MUST(taken == oldest);
        r->forgotten++;
    }
    *oldest = (struct ek_request_record){.eta_ms = -1};
    memcpy(oldest->id, id, sizeof oldest->id);
    if (ek_map_put(&r->map, hash_of(r, id), oldest) != EK_OK) return NULL;
    oldest->arrived_unix_ns = 1; /* taken; the owner says when */
    r->next = (r->next + 1) % r->max;
    return oldest;
}

uint64_t ek_records_forgotten(const struct ek_records *r)
{
    MUST_OBJ(r, RECORDS_MAGIC);
    return r->forgotten;
}
