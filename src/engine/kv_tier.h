/* SPDX-License-Identifier: MIT */
/* The pool of pages with a disk behind it (kv_disk.h). A page is offered to the disk as soon as it has its
 * name, for from then on its rows are final: so what a finished, preempted or pushed-out sequence had
 * computed is there already when it is looked for. Coming back, rows become idle named pages like any
 * others, and ek_kv_begin finds them in memory: it alone decides what a sequence is given.
 *
 *   named ──▶ unsaved ──save_some: copied (a few each step)──▶ disk
 *                └──evicted before its turn: copied now if there is room on the way out, else lost
 *   disk ──▶ restore: copied into a page, named, idle
 *
 * The step thread's, like the pool. Copying is all it does here; it never waits. */
#ifndef EK_ENGINE_KV_TIER_H
#define EK_ENGINE_KV_TIER_H

#include "engine/kv_disk.h"

/* From now on; `disk` is borrowed and outlives the pool. */
void ek_kv_use_disk(struct ek_kv *kv, struct ek_kv_disk *disk);
size_t ek_kv_rows_bytes(const struct ek_kv *kv); /* of a page, in all layers */

/* Offer some pages to the disk. True: there are more, and there was room for all of these. */
bool ek_kv_save_some(struct ek_kv *kv);

/* What is being brought back for one text. Zeroed: nothing. */
struct ek_kv_restore {
    uint64_t number;
    struct ek_kv_key *keys; /* [count], owned */
    uint32_t count, sent, answered;
};

/* Begin to bring back the pages that follow those in memory. EK_OK: some are on their way, go on with
 * ek_kv_restore_go_on. EK_ABSENT: the disk has none. EK_FULL: ek_kv_begin would say so too, so not now. */
EK_CHECKED enum ek_status ek_kv_restore_begin(struct ek_kv *kv, const struct ek_kv_text *text, uint32_t spare,
                                              struct ek_kv_restore *r);
/* Take what has come and ask for more. False: it is over, `r` is empty again. *moved: something came. */
EK_CHECKED bool ek_kv_restore_go_on(struct ek_kv *kv, struct ek_kv_restore *r, bool *moved);
void ek_kv_restore_drop(struct ek_kv_restore *r); /* whatever still comes is for nobody */

#endif
