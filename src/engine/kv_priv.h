/* SPDX-License-Identifier: MIT */
/* The inside of the pool of pages, for kv.c (the pool and its names) and kv_tier.c (the disk behind it). */
#ifndef EK_ENGINE_KV_PRIV_H
#define EK_ENGINE_KV_PRIV_H

#include "engine/kv.h"

#define EK_KV_MAGIC 0x4b76c0deu
#define EK_KV_NONE UINT32_MAX

struct page {
    struct ek_kv_name name, before; /* when named */
    uint64_t generated;             /* bit t set = token t of the page was computed as generated */
    uint32_t refs;                  /* sequences that hold it */
    uint32_t next;                  /* in its bucket of the index, when named */
    uint32_t older, newer;          /* among the idle */
    bool named;
    bool to_save; /* stands in kv->unsaved */
};

struct ek_kv {
    uint32_t magic;
    enum ek_kv_type type;
    uint32_t layers;
    uint32_t pages;
    size_t row_bytes, page_bytes, layer_bytes, bytes;
    uint8_t *data;        /* [layers][pages][EK_KV_PAGE] rows */
    uint32_t *free_pages; /* [pages], the first n_free are free */
    uint32_t n_free, n_idle;
    uint32_t oldest, newest; /* idle */
    struct page *page;    /* [pages] */
    uint32_t (*ids)[EK_KV_PAGE]; /* [pages]: the tokens of named ones */
    uint32_t *bucket;     /* [mask + 1]: first page of each chain */
    uint32_t mask;
    struct ek_kv_counters count;
    /* kv_tier.c; without a disk tier NULL and nothing */
    struct ek_kv_disk *disk;
    uint32_t *unsaved; /* [pages], a ring of named pages that the disk may not have yet */
    uint32_t unsaved_begin, n_unsaved;
    uint64_t restores; /* numbered */
};

/* kv.c */
struct ek_kv_name ek_kv_root_of(uint64_t salt);
struct ek_kv_name ek_kv_name_of(struct ek_kv_name before, uint64_t generated, const uint32_t *ids);
/* The roles that tokens [first, first + 64) of a text will have, as bits. */
uint64_t ek_kv_roles_of(const struct ek_kv_text *text, uint32_t first);
/* The page behind `before` with exactly these tokens in these roles, or EK_KV_NONE. */
uint32_t ek_kv_find(const struct ek_kv *kv, struct ek_kv_name before, uint64_t generated,
                    const uint32_t *ids);
uint32_t ek_kv_give(struct ek_kv *kv); /* a page nobody has: refs 1, no name; there must be one */
void ek_kv_put_name(struct ek_kv *kv, uint32_t number, struct ek_kv_name name, struct ek_kv_name before,
                    const uint32_t *ids);
void ek_kv_idle_remove(struct ek_kv *kv, uint32_t number);
void ek_kv_idle_append(struct ek_kv *kv, uint32_t number);

/* kv_tier.c */
void ek_kv_tier_named(struct ek_kv *kv, uint32_t number);
void ek_kv_tier_evicted(struct ek_kv *kv, uint32_t number); /* its rows are still there */
void ek_kv_tier_free(struct ek_kv *kv);

#endif
