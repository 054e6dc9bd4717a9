/* SPDX-License-Identifier: MIT */
/* Tells a thought from an answer where an upstream does not: engines without a reasoning parser send the
 * model's own `<think>...</think>` as text. The text comes in pieces cut anywhere, as the inside of JSON
 * strings, and leaves in such pieces:
 *
 *      BEGIN ── white space ──▶ BEGIN ── <think> ──▶ THOUGHT ── </think> ──▶ AFTER ── text ──▶ ANSWER
 *        └───────────────────── any other text ─────────────────────────────────────────────────▲
 *
 * Newlines behind either tag belong to the template, not to the text, and go, as does white space before
 * all. A tag inside an answer is text. What may be the beginning of a tag is held back (at most 8
 * characters) until it is clear. Servers that escape `<` (\u003c) are understood. Pure; allocates nothing. */
#ifndef EK_CHAT_THINK_TAGS_H
#define EK_CHAT_THINK_TAGS_H

#include "base/buf.h"

enum ek_think_state { EK_THINK_BEGIN, EK_THINK_THOUGHT, EK_THINK_AFTER, EK_THINK_ANSWER };

#define EK_THINK_HELD_BYTES_MAX 64u /* 8 characters of at most 6 bytes */

struct ek_think_tags {
    uint8_t state; /* enum ek_think_state */
    uint8_t matched; /* characters of the tag */
    uint8_t held_bytes;
    bool said; /* something of this part has gone out */
    char held[EK_THINK_HELD_BYTES_MAX]; /* as it came */
};

/* begun: the template has opened the thought, and only </think> will come. */
void ek_think_tags_init(struct ek_think_tags *t, bool begun);
/* Append what is clear to either. */
void ek_think_tags_feed(struct ek_think_tags *t, struct ek_str escaped, struct ek_buf *thought,
                        struct ek_buf *answer);
/* No more comes: what was held is text. */
void ek_think_tags_end(struct ek_think_tags *t, struct ek_buf *thought, struct ek_buf *answer);

#endif
