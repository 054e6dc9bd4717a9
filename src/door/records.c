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
    struct ek_map by_name; /* of the names */
    uint32_t names;        /* the first is "" */
    char (*name)[EK_RECORD_NAME_BYTES];
};

struct ek_records *ek_records_new(uint32_t max, uint64_t seed)
{
    struct ek_records *r = calloc(1, sizeof *r);
    struct ek_request_record *record = calloc(max, sizeof *record);
    char (*name)[EK_RECORD_NAME_BYTES] = calloc(EK_RECORD_NAMES_MAX, sizeof *name);
    MUST(max > 0);
    if (!r || !record || !name) {
        free(r);
        free(record);
        free(name);
        return NULL;
    }
    *r = (struct ek_records){.magic = RECORDS_MAGIC, .max = max, .seed = seed, .record = record,
                             .name = name, .names = 1};
    return r;
}

void ek_records_free(struct ek_records **rr)
{
    struct ek_records *r = *rr;
    *rr = NULL;
    if (!r) return;
    MUST_OBJ(r, RECORDS_MAGIC);
    ek_map_free(&r->map);
    ek_map_free(&r->by_name);
    free(r->record);
    free(r->name);
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

static bool same_name(const void *value, const void *key)
{
    const struct ek_str *name = key;
    return strlen(value) == name->len && memcmp(value, name->data, name->len) == 0;
}

uint16_t ek_records_name(struct ek_records *r, const char *text)
{
    static const char other[] = "\xe2\x80\xa6";
    MUST_OBJ(r, RECORDS_MAGIC);
    struct ek_str name = ek_str_make(text, text ? strnlen(text, EK_RECORD_NAME_BYTES - 1) : 0);
    if (!name.len) return 0;
    const char *have = ek_map_find(&r->by_name, ek_hash(name, r->seed), same_name, &name);
    if (have) return (uint16_t)((size_t)(have - r->name[0]) / EK_RECORD_NAME_BYTES);
    if (r->names == EK_RECORD_NAMES_MAX - 1) name = EK_STR(other);
    if (r->names == EK_RECORD_NAMES_MAX) return EK_RECORD_NAMES_MAX - 1;
    char *place = r->name[r->names];
    memcpy(place, name.data, name.len);
    place[name.len] = '\0';
    if (ek_map_put(&r->by_name, ek_hash(name, r->seed), place) != EK_OK) return 0;
    return (uint16_t)r->names++;
}

const char *ek_records_text(const struct ek_records *r, uint16_t name)
{
    MUST_OBJ(r, RECORDS_MAGIC);
    MUST(name < r->names);
    return r->name[name];
}

uint64_t ek_records_forgotten(const struct ek_records *r)
{
    MUST_OBJ(r, RECORDS_MAGIC);
    return r->forgotten;
}
