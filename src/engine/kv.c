/* SPDX-License-Identifier: MIT */
/* The pool of KV pages: one reservation of address space, a stack of free page numbers, a record for each
 * page, the index of names and the list of idle pages. A page is in exactly one of the three states of
 * kv.h; only give, hit, let_go and evict move it. */
#include "engine/kv_priv.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#define NONE EK_KV_NONE

enum ek_status ek_kv_new(uint32_t layers, uint32_t row_elems, enum ek_kv_type type, uint64_t tokens,
                         struct ek_kv **out)
{
    size_t row_bytes = (size_t)row_elems * (type == EK_KV_F32 ? 4 : 2), layer_bytes, bytes;
    uint64_t pages = tokens / EK_KV_PAGE + (tokens % EK_KV_PAGE != 0), buckets = 16;
    *out = NULL;
    MUST(layers > 0 && row_elems > 0);
    if (pages == 0 || pages > INT32_MAX ||
        __builtin_mul_overflow(row_bytes * EK_KV_PAGE, pages, &layer_bytes) ||
        __builtin_mul_overflow(layer_bytes, layers, &bytes)) {
        return EK_INVALID;
    }
    while (buckets < pages) buckets *= 2;
    struct ek_kv *kv = calloc(1, sizeof *kv);
    MUST(kv);
    *kv = (struct ek_kv){
        .magic = EK_KV_MAGIC, .type = type, .layers = layers, .pages = (uint32_t)pages,
        .row_bytes = row_bytes, .page_bytes = row_bytes * EK_KV_PAGE, .layer_bytes = layer_bytes,
        .bytes = bytes, .n_free = (uint32_t)pages, .oldest = NONE, .newest = NONE,
        .mask = (uint32_t)(buckets - 1),
        .free_pages = malloc(pages * sizeof *kv->free_pages),
        .page = calloc(pages, sizeof *kv->page), .ids = calloc(pages, sizeof *kv->ids),
        .bucket = malloc(buckets * sizeof *kv->bucket),
        .data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
    };
    if (kv->data == MAP_FAILED) kv->data = NULL;
    if (!kv->data || !kv->free_pages || !kv->page || !kv->ids || !kv->bucket) {
        ek_kv_free(&kv);
        return EK_NOMEM;
    }
    /* The lowest page on top: memory that was touched is used again first. */
    for (uint32_t i = 0; i < pages; i++) kv->free_pages[i] = (uint32_t)pages - 1 - i;
    for (uint64_t i = 0; i < buckets; i++) kv->bucket[i] = NONE;
    *out = kv;
    return EK_OK;
}

void ek_kv_free(struct ek_kv **kvp)
{
    struct ek_kv *kv = *kvp;
    if (!kv) return;
    MUST_OBJ(kv, EK_KV_MAGIC);
    MUST(kv->n_free + kv->n_idle == kv->pages);
    if (kv->data) munmap(kv->data, kv->bytes);
    free(kv->free_pages);
    free(kv->page);
    free(kv->ids);
    free(kv->bucket);
    ek_kv_tier_free(kv);
    kv->magic = 0;
    free(kv);
    *kvp = NULL;
}

enum ek_kv_type ek_kv_type(const struct ek_kv *kv) { return kv->type; }
uint32_t ek_kv_layers(const struct ek_kv *kv) { return kv->layers; }
size_t ek_kv_row_bytes(const struct ek_kv *kv) { return kv->row_bytes; }
uint32_t ek_kv_pages_total(const struct ek_kv *kv) { return kv->pages; }
uint32_t ek_kv_pages_free(const struct ek_kv *kv) { return kv->n_free + kv->n_idle; }
void ek_kv_counters(const struct ek_kv *kv, struct ek_kv_counters *out) { *out = kv->count; }

/* ---- names ----------------------------------------------------------------------------------- */

static bool same_name(struct ek_kv_name a, struct ek_kv_name b) { return a.lo == b.lo && a.hi == b.hi; }

struct ek_kv_name ek_kv_root_of(uint64_t salt) { return (struct ek_kv_name){.lo = salt, .hi = 0}; }

struct ek_kv_name ek_kv_name_of(struct ek_kv_name before, uint64_t generated, const uint32_t *ids)
{
    struct {
        struct ek_kv_name before;
        uint64_t generated;
        uint32_t ids[EK_KV_PAGE];
    } all = {.before = before, .generated = generated};
    memcpy(all.ids, ids, sizeof all.ids);
    XXH128_hash_t h = XXH3_128bits(&all, sizeof all);
    return (struct ek_kv_name){.lo = h.low64, .hi = h.high64 | 1}; /* never a root */
}

static uint32_t *bucket_of(const struct ek_kv *kv, struct ek_kv_name name)
{
    return &kv->bucket[name.lo & kv->mask];
}

/* The page behind `before` with exactly these tokens in these roles, or NONE. */
uint32_t ek_kv_find(const struct ek_kv *kv, struct ek_kv_name before, uint64_t generated,
                     const uint32_t *ids)
{
    struct ek_kv_name name = ek_kv_name_of(before, generated, ids);
    uint32_t at = *bucket_of(kv, name);
    for (; at != NONE; at = kv->page[at].next) {
        const struct page *p = &kv->page[at];
        MUST(p->named);
        if (same_name(p->name, name) && same_name(p->before, before) && p->generated == generated &&
            memcmp(kv->ids[at], ids, sizeof kv->ids[at]) == 0)
            return at;
    }
    return NONE;
}

void ek_kv_put_name(struct ek_kv *kv, uint32_t number, struct ek_kv_name name, struct ek_kv_name before,
                    const uint32_t *ids)
{
    struct page *p = &kv->page[number];
    MUST(!p->named);
    p->named = true;
    p->name = name;
    p->before = before;
    memcpy(kv->ids[number], ids, sizeof kv->ids[number]);
    p->next = *bucket_of(kv, name);
    *bucket_of(kv, name) = number;
}

static void unname(struct ek_kv *kv, uint32_t number)
{
    struct page *p = &kv->page[number];
    uint32_t *at = bucket_of(kv, p->name);
    MUST(p->named && p->refs == 0);
    while (*at != number) {
        MUST(*at != NONE);
        at = &kv->page[*at].next;
    }
    *at = p->next;
    p->named = false;
}

/* ---- the states of a page ---------------------------------------------------------------------- */

void ek_kv_idle_remove(struct ek_kv *kv, uint32_t number)
{
    struct page *p = &kv->page[number];
    MUST(p->refs == 0 && p->named && kv->n_idle > 0);
    *(p->older == NONE ? &kv->oldest : &kv->page[p->older].newer) = p->newer;
    *(p->newer == NONE ? &kv->newest : &kv->page[p->newer].older) = p->older;
    kv->n_idle--;
}

void ek_kv_idle_append(struct ek_kv *kv, uint32_t number)
{
    struct page *p = &kv->page[number];
    p->older = kv->newest;
    p->newer = NONE;
    *(kv->newest == NONE ? &kv->oldest : &kv->page[kv->newest].newer) = number;
    kv->newest = number;
    kv->n_idle++;
}

static void evict(struct ek_kv *kv)
{
    uint32_t number = kv->oldest;
    MUST(number != NONE);
    ek_kv_tier_evicted(kv, number);
    ek_kv_idle_remove(kv, number);
    unname(kv, number);
    kv->free_pages[kv->n_free++] = number;
    kv->count.evicted_pages++;
}

uint32_t ek_kv_give(struct ek_kv *kv)
{
    if (kv->n_free == 0) evict(kv);
    MUST(kv->n_free > 0);
    uint32_t number = kv->free_pages[--kv->n_free];
    struct page *p = &kv->page[number];
    MUST(!p->named && p->refs == 0);
    p->refs = 1;
    p->generated = 0;
    return number;
}

static void hit(struct ek_kv *kv, uint32_t number)
{
    if (kv->page[number].refs == 0) ek_kv_idle_remove(kv, number);
    kv->page[number].refs++;
}

static void let_go(struct ek_kv *kv, uint32_t number)
{
    struct page *p = &kv->page[number];
    MUST(p->refs > 0);
    if (--p->refs > 0) return;
    if (p->named) ek_kv_idle_append(kv, number);
    else kv->free_pages[kv->n_free++] = number;
    MUST(kv->n_free + kv->n_idle <= kv->pages);
}

/* ---- sequences -------------------------------------------------------------------------------- */

static uint32_t pages_for(uint32_t tokens) { return tokens / EK_KV_PAGE + (tokens % EK_KV_PAGE != 0); }

/* The roles that tokens [first, first + 64) of a text will have, as bits. */
uint64_t ek_kv_roles_of(const struct ek_kv_text *text, uint32_t first)
{
    if (text->prompt >= first + EK_KV_PAGE) return 0;
    return text->prompt <= first ? UINT64_MAX : UINT64_MAX << (text->prompt - first);
}

enum ek_status ek_kv_begin(struct ek_kv *kv, struct ek_kv_seq *seq, const struct ek_kv_text *text,
                           uint32_t tokens, uint32_t spare)
{
    MUST_OBJ(kv, EK_KV_MAGIC);
    MUST(seq->page_count == 0 && tokens > 0);
    MUST(!text || (text->count > 0 && text->count <= tokens && text->prompt <= text->count));
    uint32_t count = pages_for(tokens);
    uint32_t whole = text ? (text->count - 1) / EK_KV_PAGE : 0, hits = 0;
    if (count > kv->pages) return EK_FULL;
    uint32_t *pages = malloc(count * sizeof *pages);
    MUST(pages);
    struct ek_kv_name name = ek_kv_root_of(text ? text->salt : 0);
    for (; hits < whole; hits++) {
        const uint32_t *ids = text->ids + hits * EK_KV_PAGE;
        uint32_t found = ek_kv_find(kv, name, ek_kv_roles_of(text, hits * EK_KV_PAGE), ids);
        if (found == NONE) break;
        hit(kv, pages[hits] = found);
        name = kv->page[found].name;
    }
    if ((uint64_t)(count - hits) + spare > kv->n_free + kv->n_idle) { /* as if nothing had been asked */
        while (hits > 0) let_go(kv, pages[--hits]);
        free(pages);
        return EK_FULL;
    }
    for (uint32_t i = hits; i < count; i++) pages[i] = ek_kv_give(kv);
    kv->count.asked_pages += whole;
    kv->count.hit_pages += hits;
    *seq = (struct ek_kv_seq){.pages = pages, .page_count = count, .tokens = hits * EK_KV_PAGE,
                              .named = hits, .name = name};
    return EK_OK;
}

enum ek_status ek_kv_grow(struct ek_kv *kv, struct ek_kv_seq *seq, uint32_t tokens)
{
    MUST_OBJ(kv, EK_KV_MAGIC);
    MUST(seq->page_count > 0);
    uint32_t count = pages_for(tokens);
    if (count <= seq->page_count) return EK_OK;
    if (count - seq->page_count > kv->n_free + kv->n_idle) return EK_FULL;
    seq->pages = realloc(seq->pages, count * sizeof *seq->pages);
    MUST(seq->pages);
    while (seq->page_count < count) seq->pages[seq->page_count++] = ek_kv_give(kv);
    return EK_OK;
}

void ek_kv_name_pages(struct ek_kv *kv, struct ek_kv_seq *seq, const uint32_t *ids)
{
    MUST_OBJ(kv, EK_KV_MAGIC);
    MUST(seq->tokens <= seq->page_count * EK_KV_PAGE);
    for (; (seq->named + 1) * EK_KV_PAGE <= seq->tokens; seq->named++) {
        uint32_t number = seq->pages[seq->named];
        const uint32_t *its = ids + seq->named * EK_KV_PAGE;
        struct page *p = &kv->page[number];
        MUST(p->refs == 1 && !p->named);
        struct ek_kv_name name = ek_kv_name_of(seq->name, p->generated, its);
        /* Computed twice side by side: the first keeps the name, this one goes when its sequence goes. */
        if (ek_kv_find(kv, seq->name, p->generated, its) == NONE) {
            ek_kv_put_name(kv, number, name, seq->name, its);
            ek_kv_tier_named(kv, number);
        }
        seq->name = name;
    }
}

void ek_kv_release(struct ek_kv *kv, struct ek_kv_seq *seq)
{
    MUST_OBJ(kv, EK_KV_MAGIC);
    MUST(seq->page_count == 0 || seq->pages);
    for (uint32_t i = seq->page_count; i > 0; i--) let_go(kv, seq->pages[i - 1]);
    free(seq->pages);
    *seq = (struct ek_kv_seq){0};
}

void *ek_kv_row(const struct ek_kv *kv, const struct ek_kv_seq *seq, uint32_t layer, uint32_t token)
{
    MUST(layer < kv->layers);
    MUST(token / EK_KV_PAGE < seq->page_count);
    return kv->data + layer * kv->layer_bytes + seq->pages[token / EK_KV_PAGE] * kv->page_bytes +
           token % EK_KV_PAGE * kv->row_bytes;
}

void ek_kv_set_role(struct ek_kv *kv, const struct ek_kv_seq *seq, uint32_t token, enum ek_role role)
{
    MUST(token / EK_KV_PAGE < seq->page_count);
    struct page *p = &kv->page[seq->pages[token / EK_KV_PAGE]];
    uint64_t bit = (uint64_t)1 << token % EK_KV_PAGE;
    MUST(!p->named && p->refs == 1); /* a shared page is final */
    p->generated = role == EK_ROLE_GENERATED ? p->generated | bit : p->generated & ~bit;
}

enum ek_role ek_kv_role(const struct ek_kv *kv, const struct ek_kv_seq *seq, uint32_t token)
{
    MUST(token / EK_KV_PAGE < seq->page_count);
    uint64_t word = kv->page[seq->pages[token / EK_KV_PAGE]].generated;
    return word >> token % EK_KV_PAGE & 1 ? EK_ROLE_GENERATED : EK_ROLE_PROMPT;
}

void ek_kv_check(const struct ek_kv *kv, uint64_t held)
{
    uint64_t refs = 0, idle = 0, used = 0, indexed = 0, named = 0;
    MUST_OBJ(kv, EK_KV_MAGIC);
    for (uint32_t i = 0; i < kv->pages; i++) {
        const struct page *p = &kv->page[i];
        refs += p->refs;
        used += p->refs > 0;
        named += p->named;
    }
    for (uint32_t at = kv->oldest, before = NONE; at != NONE; before = at, at = kv->page[at].newer) {
        MUST(kv->page[at].refs == 0 && kv->page[at].named && kv->page[at].older == before);
        idle++;
    }
    for (uint32_t b = 0; b <= kv->mask; b++)
        for (uint32_t at = kv->bucket[b]; at != NONE; at = kv->page[at].next) {
            const struct page *p = &kv->page[at];
            MUST(p->named && same_name(p->name, ek_kv_name_of(p->before, p->generated, kv->ids[at])));
            MUST(ek_kv_find(kv, p->before, p->generated, kv->ids[at]) == at);
            indexed++;
        }
    for (uint32_t i = 0; i < kv->n_free; i++)
        MUST(kv->page[kv->free_pages[i]].refs == 0 && !kv->page[kv->free_pages[i]].named);
    MUST(refs == held && idle == kv->n_idle && indexed == named);
    MUST(used + idle + kv->n_free == kv->pages);
}
