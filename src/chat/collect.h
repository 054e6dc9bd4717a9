/* SPDX-License-Identifier: MIT */
/* A whole answer out of chunks: for callers who did not stream (every upstream call is streamed).
 *
 * Texts are collected as they came, escaped; nothing is unescaped on the way. tool_calls are merged by
 * index, arrays of logprobs joined, unknown members of choices and deltas kept: strings of a delta and
 * all arrays are joined, of the rest the last counts, null never. Memory is bounded by one limit over
 * all choices; beyond it the collector fails for good with EK_FULL.
 *
 *      chunk --> ek_collect_add --> ek_collect_add --> ... --> ek_collect_write --> one JSON object */
#ifndef EK_CHAT_COLLECT_H
#define EK_CHAT_COLLECT_H

#include "base/status.h"
#include "chat/upstream_chunk.h"

#define EK_COLLECT_TOOLS_MAX 128u  /* tool calls of one choice */
#define EK_COLLECT_EXTRAS_MAX 12u  /* unknown members of one choice; more are dropped and counted */

struct ek_collect;

/* bytes_max bounds everything held. NULL only without memory. */
struct ek_collect *ek_collect_new(enum ek_api api, size_t bytes_max);
void ek_collect_free(struct ek_collect **c);

/* Add a chunk that ek_up_chunk_read has read from payload; nothing of it is needed afterwards.
 * EK_FULL: past the limit. EK_INVALID: a choice index or a tool index beyond the limits, or a shape
 * that cannot be joined. Both are final. */
EK_CHECKED enum ek_status ek_collect_add(struct ek_collect *c, const struct ek_up_chunk *chunk);

size_t ek_collect_choices(const struct ek_collect *c);        /* choices seen */

/* Texts so far of one choice (by its index; absent when unseen), escaped; until the next add. For
 * continuing an answer on another upstream. */
struct ek_str ek_collect_content(const struct ek_collect *c, size_t choice_index);
struct ek_str ek_collect_reasoning(const struct ek_collect *c, size_t choice_index);

/* The finished answer. id, model, created and fingerprint are the head's (an absent fingerprint: the
 * upstream's, if it sent one). usage: what was settled; NULL = the upstream's own numbers, or no usage
 * at all when it sent none. extra: raw members beginning with a comma, or empty. */
void ek_collect_write(const struct ek_collect *c, struct ek_buf *out, const struct ek_chunk_head *head,
                      const struct ek_usage *usage, struct ek_str extra);

#endif
