/* SPDX-License-Identifier: MIT */
/* The numbered events of one stream, kept so that a reader who lost them can have them again.
 *
 *      block ─▶ block ─▶ block          a block: its first event whole, of each further one only what
 *      └ the oldest go when the window    differs from that: the chunks of an answer are the same 250
 *        is full                          bytes but for a word, so a token takes about ten
 *
 * Events are payloads (the data of an SSE event), numbered from 1 without a gap. Pure but for memory; owns
 * its blocks; never changes what was added. An all-zero struct is an empty log. */
#ifndef EK_DOOR_STREAM_LOG_H
#define EK_DOOR_STREAM_LOG_H

#include "base/buf.h"
#include "base/must.h"

#define EK_STREAM_BLOCK_BYTES_MIN 1024u
#define EK_STREAM_BLOCK_BYTES_MAX 16384u /* but for an event that is larger */

struct ek_stream_block;

struct ek_stream_log {
    struct ek_stream_block *oldest, *newest;
    uint64_t first; /* number of the oldest event kept, last + 1 when none is */
    uint64_t last;  /* number of the newest; 0: there was none */
    size_t bytes;   /* of memory */
};

/* Where a reader is. All zero: before event 1. `next` alone decides; the rest only saves time. */
struct ek_stream_cursor {
    uint64_t next;  /* number of the event to come; 0 is read as 1 */
    uint64_t block; /* number of the first event of the block that `at` is in; 0: not known */
    uint32_t at;
};

void ek_stream_log_free(struct ek_stream_log *l);
void ek_stream_log_near(const struct ek_stream_log *l); /* an event comes soon */
/* Event l->last + 1. False without memory, or beyond 1 GB: nothing has changed. */
EK_CHECKED bool ek_stream_log_add(struct ek_stream_log *l, struct ek_str payload);
/* Event l->last + 1 happened and cannot be kept: nor can any before it, for nobody may read over a gap. */
void ek_stream_log_skip(struct ek_stream_log *l);
/* How many bytes of `payload` are as at the front of `whole`, and at its end; no byte counts for both. */
void ek_stream_log_diff(struct ek_str whole, struct ek_str payload, uint32_t *front, uint32_t *end);
/* Forget the oldest blocks until `bytes` are enough; the newest block stays. */
void ek_stream_log_trim(struct ek_stream_log *l, size_t bytes);
/* The event c->next is appended to `out`, and the cursor moves on. False: there is none yet, or it was
 * forgotten (c->next < l->first). */
bool ek_stream_log_read(const struct ek_stream_log *l, struct ek_stream_cursor *c, struct ek_buf *out);

#endif
