/* SPDX-License-Identifier: MIT */
/* Pages going to the disk and coming back; see kv_tier.h. A page number stands at most once in the ring of
 * unsaved ones, and stays there when its page is evicted: what is found under it then is looked at anew. */
#include "engine/kv_tier.h"

#include "engine/kv_priv.h"

#include <stdlib.h>
#include <string.h>

enum { SAVED_AT_ONCE = 8 }; /* pages copied in one call: some milliseconds at most */

size_t ek_kv_rows_bytes(const struct ek_kv *kv) { return kv->page_bytes * kv->layers; }

void ek_kv_use_disk(struct ek_kv *kv, struct ek_kv_disk *disk)
{
    MUST_OBJ(kv, EK_KV_MAGIC);
    MUST(!kv->disk && kv->n_free == kv->pages);
    kv->disk = disk;
    kv->unsaved = malloc(kv->pages * sizeof *kv->unsaved);
    MUST(kv->unsaved);
}

void ek_kv_tier_free(struct ek_kv *kv) { free(kv->unsaved); }

void ek_kv_tier_named(struct ek_kv *kv, uint32_t number)
{
    struct page *p = &kv->page[number];
    MUST(p->named);
    if (!kv->disk || p->to_save) return;
    MUST(kv->n_unsaved < kv->pages);
    p->to_save = true;
    kv->unsaved[((uint64_t)kv->unsaved_begin + kv->n_unsaved++) % kv->pages] = number;
}

static uint8_t *rows_at(const struct ek_kv *kv, uint32_t number, uint32_t layer)
{
    return kv->data + layer * kv->layer_bytes + number * kv->page_bytes;
}

static struct ek_kv_key key_of(const struct ek_kv *kv, uint32_t number)
{
    const struct page *p = &kv->page[number];
    struct ek_kv_key key = {.name = p->name, .before = p->before, .generated = p->generated};
    memcpy(key.ids, kv->ids[number], sizeof key.ids);
    return key;
}

/* False: all room on the way out is taken. */
static bool hand_over(struct ek_kv *kv, uint32_t number)
{
    if (ek_kv_disk_has(kv->disk, kv->page[number].name)) return true;
    uint8_t *out = ek_kv_disk_page_begin(kv->disk);
    if (!out) return false;
    for (uint32_t layer = 0; layer < kv->layers; layer++)
        memcpy(out + layer * kv->page_bytes, rows_at(kv, number, layer), kv->page_bytes);
    struct ek_kv_key key = key_of(kv, number);
    ek_kv_disk_page_write(kv->disk, out, &key);
    return true;
}

bool ek_kv_save_some(struct ek_kv *kv)
{
    MUST_OBJ(kv, EK_KV_MAGIC);
    for (int i = 0; i < SAVED_AT_ONCE && kv->n_unsaved > 0; i++) {
        uint32_t number = kv->unsaved[kv->unsaved_begin];
        struct page *p = &kv->page[number];
        MUST(p->to_save);
        if (p->named && !hand_over(kv, number)) return false;
        p->to_save = false;
        kv->unsaved_begin = (kv->unsaved_begin + 1) % kv->pages;
        kv->n_unsaved--;
    }
    return kv->n_unsaved > 0;
}

void ek_kv_tier_evicted(struct ek_kv *kv, uint32_t number)
{
    struct page *p = &kv->page[number];
    MUST(p->named && p->refs == 0);
    if (kv->disk && p->to_save && !hand_over(kv, number)) kv->count.lost_pages++;
}

/* ---- coming back ----------------------------------------------------------------------------------- */

/* Idle pages that will be wanted soon are the last to make room now. */
static void refresh(struct ek_kv *kv, uint32_t number)
{
    if (kv->page[number].refs > 0) return;
    ek_kv_idle_remove(kv, number);
    ek_kv_idle_append(kv, number);
}

/* How many pages of a text are in memory, from its first; *name is of the last of them. Those that nobody
 * holds are counted and refreshed. */
static uint32_t in_memory(struct ek_kv *kv, const struct ek_kv_text *text, uint32_t whole,
                          struct ek_kv_name *name, uint32_t *idle)
{
    uint32_t n = 0;
    *name = ek_kv_root_of(text->salt);
    for (*idle = 0; n < whole; n++) {
        uint32_t number = ek_kv_find(kv, *name, ek_kv_roles_of(text, n * EK_KV_PAGE),
                                     text->ids + n * EK_KV_PAGE);
        if (number == EK_KV_NONE) break;
        *idle += kv->page[number].refs == 0;
        refresh(kv, number);
        *name = kv->page[number].name;
    }
    return n;
}

static struct ek_kv_key key_for(const struct ek_kv_text *text, uint32_t index, struct ek_kv_name before)
{
    struct ek_kv_key key = {.before = before, .generated = ek_kv_roles_of(text, index * EK_KV_PAGE)};
    memcpy(key.ids, text->ids + index * EK_KV_PAGE, sizeof key.ids);
    key.name = ek_kv_name_of(before, key.generated, key.ids);
    return key;
}

enum ek_status ek_kv_restore_begin(struct ek_kv *kv, const struct ek_kv_text *text, uint32_t spare,
                                   struct ek_kv_restore *r)
{
    struct ek_kv_name name;
    uint32_t whole = (text->count - 1) / EK_KV_PAGE, idle, pages = whole + 1;
    MUST_OBJ(kv, EK_KV_MAGIC);
    MUST(kv->disk && !r->keys && text->count > 0);
    uint32_t have = in_memory(kv, text, whole, &name, &idle);
    if ((uint64_t)(pages - have) + spare > (uint64_t)kv->n_free + kv->n_idle - idle) return EK_FULL;
    *r = (struct ek_kv_restore){.number = ++kv->restores};
    while (have + r->count < whole) {
        struct ek_kv_key key = key_for(text, have + r->count, name);
        if (!ek_kv_disk_has(kv->disk, key.name)) break;
        if (r->count == 0) r->keys = malloc((whole - have) * sizeof *r->keys);
        MUST(r->keys);
        r->keys[r->count++] = key;
        name = key.name;
    }
    return r->count > 0 ? EK_OK : EK_ABSENT;
}

/* Rows that have come back become an idle page; false: every page is held by somebody. */
static bool install(struct ek_kv *kv, const struct ek_kv_key *key, const uint8_t *rows)
{
    uint32_t number = ek_kv_find(kv, key->before, key->generated, key->ids);
    if (number != EK_KV_NONE) { /* computed meanwhile */
        refresh(kv, number);
        return true;
    }
    if (kv->n_free + kv->n_idle == 0) return false;
    number = ek_kv_give(kv);
    for (uint32_t layer = 0; layer < kv->layers; layer++)
        memcpy(rows_at(kv, number, layer), rows + layer * kv->page_bytes, kv->page_bytes);
    kv->page[number].generated = key->generated;
    ek_kv_put_name(kv, number, key->name, key->before, key->ids);
    kv->page[number].refs = 0;
    ek_kv_idle_append(kv, number);
    kv->count.restored_pages++;
    return true;
}

bool ek_kv_restore_go_on(struct ek_kv *kv, struct ek_kv_restore *r, bool *moved)
{
    struct ek_kv_disk_read read;
    bool good = true;
    MUST_OBJ(kv, EK_KV_MAGIC);
    MUST(r->keys && r->count > 0);
    *moved = false;
    while (good && ek_kv_disk_take(kv->disk, &read)) {
        if (read.ticket >> 32 == r->number) {
            MUST((uint32_t)read.ticket == r->answered && r->answered < r->sent);
            good = read.rows && install(kv, &r->keys[r->answered], read.rows);
            r->answered++;
            *moved = true;
        }
        if (read.rows) ek_kv_disk_give_back(kv->disk, read.rows);
    }
    while (good && r->sent < r->count) {
        if (!ek_kv_disk_read(kv->disk, &r->keys[r->sent], r->number << 32 | r->sent)) break;
        r->sent++;
    }
    if (good && r->answered < r->count) return true;
    ek_kv_restore_drop(r);
    return false;
}

void ek_kv_restore_drop(struct ek_kv_restore *r)
{
    free(r->keys);
    *r = (struct ek_kv_restore){0};
}
