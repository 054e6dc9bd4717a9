/* SPDX-License-Identifier: MIT */
/* The inside of the journal, shared by its own files and nobody else:
 *
 *   journal.c   the calls, the index of records, what an operation's end changes
 *   lane.c      the helper threads: batches of writes in order, syncs beside them
 *   load.c      opening: lock, identity, what is found
 *   tidy_up.c   once a second: time to live, empty files, moving out of nearly empty ones, trouble
 *
 *   calls ──▶ pending ──launch──▶ batch (one at a time, on a helper) ──▶ done, in order
 *             dirty files ───────▶ sync (one at a time, on another)
 *
 * While a batch is under way its operations and the fields marked "helper's" belong to the helper thread;
 * everything else belongs to the loop. Places in files are given out at launch, so that a file in which a
 * write failed takes no more. */
#ifndef EK_JOURNAL_PRIV_H
#define EK_JOURNAL_PRIV_H

#include "base/map.h"
#include "journal/journal.h"
#include "journal/record.h"

#include <semaphore.h>
#include <stdatomic.h>

#define EK_JOURNAL_MAGIC 0x3c7de19bu
#define EK_JOURNAL_FILES_MAX 4096u
#define EK_JOURNAL_SYNC_MAX 64u          /* files synced in one go */
#define EK_JOURNAL_TICK_NS EK_S_NS
#define EK_JOURNAL_TROUBLE_NS EK_S_NS    /* after a failure no put for so long */

enum ek_journal_what {
    EK_JOURNAL_NOTHING, /* what it was about is gone: ends with EK_IO */
    EK_JOURNAL_MAKE,    /* a file */
    EK_JOURNAL_PUT,
    EK_JOURNAL_USE,
    EK_JOURNAL_ERASE,
    EK_JOURNAL_READ,
    EK_JOURNAL_MOVE,    /* to `to`, at to_at; always the last of its batch */
    EK_JOURNAL_DROP,    /* a file */
};

/*  PUTTING ──▶ LIVE ──▶ USING ──▶ ERASING ──▶ freed         erase: from any state to ERASING
 *     └──▶ FAILED ──▶ freed, when no operation knows it any more */
enum ek_journal_state { ENTRY_PUTTING, ENTRY_LIVE, ENTRY_USING, ENTRY_ERASING, ENTRY_FAILED };

struct ek_journal_segment {
    struct ek_link link;
    uint64_t number;
    uint64_t bytes;      /* given out, head included */
    uint64_t live_bytes; /* of records that are not erased */
    struct ek_list entries; /* in order of place */
    uint32_t pending;    /* operations of the batch that name it */
    bool sealed;         /* takes no more records */
    bool made;           /* fd is good until it is dropped */
    bool dirty;          /* written since it was last synced */
    bool syncing;
    bool dropping;
    int fd;              /* helper's until made */
    uint64_t failed_at;  /* helper's: nothing from here on is good; UINT64_MAX */
    bool touched;        /* helper's: written by this batch */
};

struct ek_journal_entry {
    struct ek_link link; /* in its file's list; unlinked until its put is launched */
    struct ek_journal_segment *segment;
    uint8_t key[16];
    uint32_t part;
    uint32_t at;
    uint32_t payload_bytes;
    uint32_t written_s; /* unix */
    uint32_t ops;       /* not yet done */
    uint8_t state;
    bool indexed;
    bool moving;
    bool used;          /* once: so much is still known of it when it is erased */
};

struct ek_journal_job { /* one piece of helper work; see lane.c */
    struct ek_journal *journal; /* NULL: it was closed meanwhile */
    void (*run)(struct ek_journal_job *job);
    atomic_int claimed;
    sem_t finished;
    struct ek_list ops;   /* of a batch */
    struct ek_journal_segment *file[EK_JOURNAL_SYNC_MAX]; /* of a sync */
    int fd[EK_JOURNAL_SYNC_MAX];
    uint32_t files;
    int dir;              /* to be synced too; -1: not */
    int error;
    bool sync_at_once;
    bool submitted;
    uint64_t seed;
};

struct ek_journal {
    uint32_t magic;
    struct ek_journal_identity identity;
    struct ek_loop *loop;
    struct ek_log *log;
    struct ek_journal_options options; /* dir is a copy */
    char *dir;
    int dir_fd, lock_fd;
    uint64_t record_seed;
    uint64_t segment_bytes; /* a file is sealed beyond; a larger record has one of its own */
    uint64_t next_number, next_seq;
    struct ek_list segments; /* oldest first; the last is written to */
    struct ek_map index;
    struct ek_journal_piece *piece; /* what was found, until it was visited */
    size_t piece_count, piece_cap;
    struct ek_list pending;
    uint64_t pending_bytes;  /* of puts and reads in pending and in the batch */
    uint32_t in_batch;
    struct ek_journal_job *batch, *sync;
    struct ek_timer tick;
    struct ek_post post; /* launches what one turn of the loop has asked for */
    uint64_t synced_ns;      /* when the last sync began */
    uint64_t trouble_until_ns;
    bool trouble;            /* has been logged, and is not over */
    bool closed_for_good;    /* the directory could not take an identity: every put is refused */
    bool dir_dirty;
    struct ek_journal_counters counters;
};

/* journal.c */
struct ek_journal_entry *ek_journal_entry_find(const struct ek_journal *j, const uint8_t key[16],
                                               uint32_t part);
struct ek_journal_entry *ek_journal_entry_new(struct ek_journal *j, const uint8_t key[16], uint32_t part,
                                              uint32_t payload_bytes, uint64_t written_ns);
/* In the list of a file, with its bytes counted there; and out. */
void ek_journal_entry_place(struct ek_journal_entry *e, struct ek_journal_segment *s, uint64_t at);
void ek_journal_entry_unplace(struct ek_journal_entry *e);
void ek_journal_entry_erase(struct ek_journal *j, struct ek_journal_entry *e);
void ek_journal_op_ended(struct ek_journal *j, struct ek_journal_op *op);
void ek_journal_submit(struct ek_journal *j, struct ek_journal_op *op, enum ek_journal_what what,
                       struct ek_journal_entry *e);
/* An operation of the journal's own; freed when it is done. */
struct ek_journal_op *ek_journal_own_op(void);
struct ek_journal_segment *ek_journal_segment_new(struct ek_journal *j, uint64_t number);
void ek_journal_segment_free(struct ek_journal *j, struct ek_journal_segment **s);

/* lane.c */
void ek_journal_launch(struct ek_journal *j);
void ek_journal_hand_over(struct ek_journal *j); /* a batch that no helper took yet */
void ek_journal_sync(struct ek_journal *j);
/* Everything that is pending and under way, here and now. */
void ek_journal_settle(struct ek_journal *j);

/* load.c */
void ek_journal_file_name(uint64_t number, char out[32]);

/* tidy_up.c */
void ek_journal_tick(struct ek_timer *t);
void ek_journal_in_trouble(struct ek_journal *j, int error);
void ek_journal_out_of_trouble(struct ek_journal *j);

#endif
