/* SPDX-License-Identifier: MIT */
/* Tapes: files that grow by frames while something goes on, and are erased when it is over. The door keeps in
 * each what one running stream has said, so that a restart can go on with it.
 *
 *      put ──▶ pending ──a helper's batch──▶ written (told) ──within fsync_ns──▶ safe from the machine
 *
 * One file a tape: erasing is overwriting and removing it, and who reads after a crash reads each from its
 * beginning to the first frame that is torn. A frame is told as written when the system has it, so the death
 * of this process loses nothing that was told. All pending frames of all tapes go in one batch, one batch at
 * a time: what came while one was under way goes with the next.
 *
 *      a frame    | bytes 4 | its place in the tape 4 | hash 8, of name, place and payload | payload |
 *
 * Bounded: no put beyond bytes_max on disk. One thread, one loop; only open, visit and close block. No
 * callback from inside the call that caused it. */
#ifndef EK_JOURNAL_TAPE_H
#define EK_JOURNAL_TAPE_H

#include "base/buf.h"
#include "base/log.h"
#include "base/loop.h"

#define EK_TAPE_FRAME_BYTES_MAX (64u << 20)
#define EK_TAPE_BATCH_MAX 256u /* tapes of one batch */

struct ek_tapes;
struct ek_tape;

struct ek_tapes_options {
    const char *dir;    /* made, if it is not there; copied */
    uint64_t bytes_max; /* of all tapes */
    uint64_t fsync_ns;  /* 0: frames are told as written when they are synced */
};

struct ek_tape_events {
    void (*written)(void *arg, uint64_t frames); /* so many of its frames, in all */
    void (*failed)(void *arg);                   /* the disk refuses: no frame will be written any more */
};

struct ek_tapes_counters {
    uint64_t made, erased, frames, bytes_written, batches, syncs;
    uint64_t refused; /* puts beyond the bound */
    uint64_t failures; /* of the system */
    uint64_t found, torn; /* at the start */
    uint64_t bytes;    /* now, on disk */
};

/* NULL and a sentence when the directory cannot be used. Blocks. */
struct ek_tapes *ek_tapes_open(struct ek_loop *loop, const struct ek_tapes_options *o, struct ek_log *log,
                               char *why, size_t cap);
/* Writes what is pending; files stay. Every tape must have been erased or let go. Blocks. */
void ek_tapes_close(struct ek_tapes **t);
const struct ek_tapes_counters *ek_tapes_counters(const struct ek_tapes *t);

/* The name is not in use. NULL without memory. `events` outlive it. */
struct ek_tape *ek_tape_new(struct ek_tapes *t, const uint8_t name[16], const struct ek_tape_events *events,
                            void *arg);
/* One frame, both pieces behind each other; copied. False: no room, or it has failed; no frame may follow. */
EK_CHECKED bool ek_tape_put(struct ek_tape *tape, struct ek_str first, struct ek_str second);
uint64_t ek_tape_frames(const struct ek_tape *tape); /* that were put */
/* The file is overwritten and removed, by a helper; no callback of the tape's any more. What the disk refuses
 * is tried again until the tapes are closed. */
void ek_tape_erase(struct ek_tape **tape);
/* Is there still something on disk of one that was erased? For a few: it looks through all those. */
bool ek_tapes_erasing(const struct ek_tapes *t, const uint8_t name[16]);
/* Who is told when nothing is left of one (gone), or that it could not be erased yet, the first time. */
void ek_tapes_on_erased(struct ek_tapes *t, void (*erased)(void *arg, const uint8_t name[16], bool gone),
                        void *arg);
/* The file stays as it is; no callback any more. */
void ek_tape_let_go(struct ek_tape **tape);

/* What was found when they were opened. Views are valid in the call. */
struct ek_tape_found {
    uint8_t name[16];
    uint64_t written_unix_ns; /* last */
    struct ek_str rest;       /* for ek_tape_next */
    uint32_t place;
};
/* The next whole frame; false: there is none, or it is torn. */
bool ek_tape_next(struct ek_tape_found *f, struct ek_str *frame);
/* Each tape, oldest first by its last frame; once, right after open. The visitor owns `tape`: it must take it
 * (ek_tape_own), erase it or let it go. Frames that are put now come behind the last whole one. Blocks. */
void ek_tapes_visit(struct ek_tapes *t,
                    void (*visit)(void *arg, struct ek_tape_found *f, struct ek_tape *tape), void *arg);
void ek_tape_own(struct ek_tape *tape, const struct ek_tape_events *events, void *arg);

#endif
