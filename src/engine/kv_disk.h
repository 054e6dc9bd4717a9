/* SPDX-License-Identifier: MIT */
/* The disk tier of the KV cache: full pages in a folder, one file each, written and read by a thread of its
 * own, so that no step ever waits for a disk.
 *
 *   step thread:  page_begin, page_write ──▶ ┐                    ┌─▶ temporary file ─▶ renamed
 *                 read ────────────────────▶ ├─▶ disk thread ─────┤
 *                 take ◀─── rows, or a miss ─┘  (reads go first)  └─▶ the oldest removed
 *
 * What may go wrong costs a hit and nothing else: a file is only ever seen whole (it is renamed when it is
 * complete) and checked when read (kv_file.h); what is damaged is removed and counted; a disk that is full or
 * broken is left alone for a while. Each model, number format and engine version has a folder of its own
 * inside the one given, held by one engine at a time (flock), within its own limit. Nothing is synced: a
 * power cut may lose pages, never make a wrong one look right.
 * The functions below are the step thread's; `wake` runs on the disk thread. */
#ifndef EK_ENGINE_KV_DISK_H
#define EK_ENGINE_KV_DISK_H

#include "engine/kv_file.h"

struct ek_kv_disk;

enum {
    EK_KV_DISK_READS = 4,       /* rows on their way in */
    EK_KV_DISK_WRITES_MIN = 2,  /* rows on their way out: as many as fit 24 MiB, within these two */
    EK_KV_DISK_WRITES_MAX = 64,
};

struct ek_kv_disk_options {
    const char *dir;     /* made when missing; its parent must be there */
    uint64_t limit_bytes; /* of all files of this model */
    struct ek_kv_fingerprint whose;
    size_t rows_bytes;   /* of a page, in all layers */
    bool waits;          /* for another engine that has the folder: until it has ended, all is a miss */
    void (*wake)(void *arg); /* a read is done, or room to write came back; must not block for long */
    void *wake_arg;
};

struct ek_kv_disk_read {
    uint64_t ticket;
    const uint8_t *rows; /* NULL: a miss; else give back */
};

struct ek_kv_disk_counters {
    uint64_t pages, bytes;                     /* there now */
    uint64_t written, read, evicted;           /* pages */
    uint64_t damaged;                          /* files that were not what they should be */
    uint64_t errors;                           /* the system refused: full, broken, forbidden */
    uint64_t skipped;                          /* pages not written because of that */
};

/* EK_OK; EK_FULL: another engine has the folder, and `waits` is not set; EK_INVALID: the limit holds no page;
 * EK_IO. `why` says more.
 * Reads the folder once: what is there is there. */
EK_CHECKED enum ek_status ek_kv_disk_open(const struct ek_kv_disk_options *options,
                                          struct ek_kv_disk **out, char *why, size_t why_cap);
void ek_kv_disk_close(struct ek_kv_disk **disk); /* what was handed over is written first */

bool ek_kv_disk_has(struct ek_kv_disk *d, struct ek_kv_name name);

/* Room for the rows of one page, or NULL when all is on its way out; then page_write with it, soon. */
uint8_t *ek_kv_disk_page_begin(struct ek_kv_disk *d);
void ek_kv_disk_page_write(struct ek_kv_disk *d, uint8_t *rows, const struct ek_kv_key *key);

/* Ask for a page; false: too many are on their way. Answers come in the order of asking. */
EK_CHECKED bool ek_kv_disk_read(struct ek_kv_disk *d, const struct ek_kv_key *key, uint64_t ticket);
EK_CHECKED bool ek_kv_disk_take(struct ek_kv_disk *d, struct ek_kv_disk_read *out);
void ek_kv_disk_give_back(struct ek_kv_disk *d, const uint8_t *rows);

void ek_kv_disk_counters(struct ek_kv_disk *d, struct ek_kv_disk_counters *out); /* any thread */

#endif
