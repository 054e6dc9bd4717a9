/* SPDX-License-Identifier: MIT */
/* The pool of KV pages: one reservation of address space, a stack of free page numbers, and a word of
 * role bits for each page. A page number is in the stack or in exactly one sequence. */
#include "engine/kv.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define KV_MAGIC 0x4b76c0deu

struct ek_kv {
    uint32_t magic;
    enum ek_kv_type type;
    uint32_t layers;
    uint32_t pages;
    size_t row_bytes, page_bytes, layer_bytes, bytes;
    uint8_t *data;        /* [layers][pages][EK_KV_PAGE] rows */
    uint32_t *free_pages; /* [pages], the first n_free are free */
    uint32_t n_free;
    uint64_t *generated;  /* [pages]: bit t set = token t of the page was computed as generated */
};

enum ek_status ek_kv_new(uint32_t layers, uint32_t row_elems, enum ek_kv_type type, uint64_t tokens,
                         struct ek_kv **out)
{
    size_t row_bytes = (size_t)row_elems * (type == EK_KV_F32 ? 4 : 2), layer_bytes, bytes;
    uint64_t pages = tokens / EK_KV_PAGE + (tokens % EK_KV_PAGE != 0);
    *out = NULL;
    MUST(layers > 0 && row_elems > 0);
    if (pages == 0 || pages > INT32_MAX ||
        __builtin_mul_overflow(row_bytes * EK_KV_PAGE, pages, &layer_bytes) ||
        __builtin_mul_overflow(layer_bytes, layers, &bytes)) {
        return EK_INVALID;
    }
    struct ek_kv *kv = calloc(1, sizeof *kv);
    uint32_t *stack = malloc(pages * sizeof *stack);
    uint64_t *roles = calloc(pages, sizeof *roles);
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!kv || !stack || !roles || data == MAP_FAILED) {
        if (data != MAP_FAILED) munmap(data, bytes);
        free(kv);
        free(stack);
        free(roles);
        return EK_NOMEM;
    }
    *kv = (struct ek_kv){
        .magic = KV_MAGIC, .type = type, .layers = layers, .pages = (uint32_t)pages,
        .row_bytes = row_bytes, .page_bytes = row_bytes * EK_KV_PAGE, .layer_bytes = layer_bytes,
        .bytes = bytes, .data = data, .free_pages = stack, .n_free = (uint32_t)pages,
        .generated = roles,
    };
    /* The lowest page on top: memory that was touched is used again first. */
    for (uint32_t i = 0; i < pages; i++) stack[i] = (uint32_t)pages - 1 - i;
    *out = kv;
    return EK_OK;
}

void ek_kv_free(struct ek_kv **kvp)
{
    struct ek_kv *kv = *kvp;
    if (!kv) return;
    MUST_OBJ(kv, KV_MAGIC);
    MUST(kv->n_free == kv->pages);
    munmap(kv->data, kv->bytes);
    free(kv->free_pages);
    free(kv->generated);
    kv->magic = 0;
    free(kv);
    *kvp = NULL;
}

enum ek_kv_type ek_kv_type(const struct ek_kv *kv) { return kv->type; }
size_t ek_kv_row_bytes(const struct ek_kv *kv) { return kv->row_bytes; }
uint32_t ek_kv_pages_total(const struct ek_kv *kv) { return kv->pages; }
uint32_t ek_kv_pages_free(const struct ek_kv *kv) { return kv->n_free; }

enum ek_status ek_kv_reserve(struct ek_kv *kv, struct ek_kv_seq *seq, uint32_t tokens)
{
    MUST_OBJ(kv, KV_MAGIC);
    MUST(seq->page_count == 0 && tokens > 0);
    uint32_t count = tokens / EK_KV_PAGE + (tokens % EK_KV_PAGE != 0);
    if (count > kv->n_free) return EK_FULL;
    seq->pages = malloc(count * sizeof *seq->pages);
    MUST(seq->pages != NULL);
    seq->page_count = count;
    seq->tokens = 0;
    for (uint32_t i = 0; i < count; i++) {
        seq->pages[i] = kv->free_pages[--kv->n_free];
        kv->generated[seq->pages[i]] = 0;
    }
    return EK_OK;
}

void ek_kv_release(struct ek_kv *kv, struct ek_kv_seq *seq)
{
    MUST_OBJ(kv, KV_MAGIC);
    MUST(kv->n_free + seq->page_count <= kv->pages);
    for (uint32_t i = seq->page_count; i > 0; i--) kv->free_pages[kv->n_free++] = seq->pages[i - 1];
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
    uint64_t *word = &kv->generated[seq->pages[token / EK_KV_PAGE]];
    uint64_t bit = (uint64_t)1 << token % EK_KV_PAGE;
    *word = role == EK_ROLE_GENERATED ? *word | bit : *word & ~bit;
}

enum ek_role ek_kv_role(const struct ek_kv *kv, const struct ek_kv_seq *seq, uint32_t token)
{
    MUST(token / EK_KV_PAGE < seq->page_count);
    uint64_t word = kv->generated[seq->pages[token / EK_KV_PAGE]];
    return word >> token % EK_KV_PAGE & 1 ? EK_ROLE_GENERATED : EK_ROLE_PROMPT;
}
