/* SPDX-License-Identifier: MIT */
/* The inside of tapes, shared by tape.c (calls and batches) and tape_read.c (what is found). */
#ifndef EK_JOURNAL_TAPE_PRIV_H
#define EK_JOURNAL_TAPE_PRIV_H

#include "base/map.h"
#include "journal/tape.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <sys/stat.h>

#define EK_TAPES_MAGIC 0x2f84c6d1u
#define EK_TAPE_MAGIC 0x6a1be05du
#define EK_TAPE_HEAD_BYTES 16u
#define EK_TAPE_NAME_BYTES 38u /* 32 digits and ".tape" */

struct ek_tape {
    uint32_t magic;
    struct ek_tapes *tapes;
    struct ek_link link, dirty; /* dirty: it has something for the next batch */
    const struct ek_tape_events *events; /* NULL: nobody listens */
    void *arg;
    uint8_t name[16];
    uint64_t frames, written;   /* put; told, or to be told */
    uint64_t at;                /* bytes of the file that are given out to batches */
    uint64_t given_bytes;       /* of what was put and found, as the bound counts it */
    struct ek_buf pending;
    bool busy;                  /* in the batch that is under way */
    bool failed, erasing, leaving;
    bool stuck;                 /* it could not be erased, and that was told */
};

struct ek_tapes_item {
    struct ek_tape *tape;
    struct ek_buf bytes;
    uint8_t name[16];
    uint64_t at, frames;
    bool erase;
    int error;
};

struct ek_tapes_job {
    struct ek_tapes *tapes; /* NULL: closed meanwhile */
    atomic_int claimed;
    sem_t finished;
    int dir, error;
    bool submitted, sync_each;
    bool sync_all; /* that alone */
    uint32_t count;
    struct ek_tapes_item item[EK_TAPE_BATCH_MAX];
};

struct ek_tapes {
    uint32_t magic;
    struct ek_loop *loop;
    struct ek_log *log;
    char *dir_name;
    int dir;
    uint64_t bytes_max, fsync_ns, synced_ns;
    bool written;    /* since the last sync began */
    bool complained;
    struct ek_list all, dirty;
    struct ek_list erasing; /* instead of `all` */
    struct ek_list stuck;   /* instead of `dirty`: not to be tried again before the next tick */
    void (*erased)(void *arg, const uint8_t name[16], bool gone);
    void *erased_arg;
    bool closing;
    struct ek_post post;
    struct ek_timer timer;
    struct ek_tapes_job *job; /* the batch; NULL: none under way */
    struct ek_tapes_job *sync; /* beside it, for it may take long; NULL: the same */
    struct ek_tapes_counters counters;
};

uint64_t ek_tape_hash(const uint8_t name[16], uint32_t place, struct ek_str payload);
void ek_tape_file_name(const uint8_t name[16], char out[EK_TAPE_NAME_BYTES]);

#endif
