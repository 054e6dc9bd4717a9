/* SPDX-License-Identifier: MIT */
/* Tool calls in what a model writes: from the text of DeepSeek's chat templates to the pieces of
 * `tool_calls`. Pure and incremental; both spellings of the family are read, whichever template is used.
 *
 *   text ... CALLS_BEGIN  CALL_BEGIN  [function SEP] name [SEP | \n```json\n]  { arguments }  ...
 *   TEXT ───────────────▶ BETWEEN ──▶ HEADER ─────────────────────────────────▶ ARGUMENTS ──▶ BETWEEN
 *
 * Arguments are one JSON object; where it ends is told by its own brackets, so a marker inside a string of
 * it is text. What stands between calls, and behind the last, is not shown. A header that is none makes all
 * of it text again: nothing the model wrote is lost.
 *
 * Where the markers are tokens, text never begins calls, only the token does; where the vocabulary has no
 * such tokens, the marker's text does, and a possible beginning of it is held back. */
#ifndef EK_ENGINE_CALLS_H
#define EK_ENGINE_CALLS_H

#include "base/buf.h"
#include "engine/template.h"

enum {
    EK_CALLS_HEADER_BYTES_MAX = 512,
    EK_CALLS_COUNT_MAX = 128, /* of one answer; further ones are not shown */
    EK_CALL_ID_BYTES_MAX = 40,
};

enum ek_calls_state { EK_CALLS_TEXT, EK_CALLS_BETWEEN, EK_CALLS_HEADER, EK_CALLS_ARGUMENTS };

struct ek_calls {
    enum ek_calls_state state;
    bool by_text;     /* markers are no tokens: look for them in the text */
    uint32_t count;   /* calls begun */
    char prefix[24];  /* of their ids */
    char held[EK_CALLS_HEADER_BYTES_MAX + 64];
    size_t held_len;  /* TEXT, BETWEEN: perhaps the beginning of a marker; HEADER: what it has so far */
    uint32_t depth;   /* open brackets of the arguments */
    bool in_string, escaped;
    struct ek_buf pending; /* arguments not yet in a delta */
    struct ek_buf deltas;  /* elements of delta.tool_calls, each behind a comma but the first */
    struct ek_buf whole;   /* elements of message.tool_calls; the last lacks its end until it is closed */
    bool keeps_whole;      /* fill `whole` instead of `deltas` */
};

/* answer_bytes_max bounds the buffers. `prefix` begins the ids of the calls. */
void ek_calls_open(struct ek_calls *c, bool by_text, bool keeps_whole, const char *prefix,
                   size_t answer_bytes_max);
void ek_calls_free(struct ek_calls *c);

/* Text of the answer, in whole characters; what is no call is appended to *text. */
void ek_calls_text(struct ek_calls *c, struct ek_str s, struct ek_buf *text);
/* A marker that is a token. */
void ek_calls_mark(struct ek_calls *c, enum ek_mark mark, struct ek_buf *text);
/* No more comes: held text is text. */
void ek_calls_end(struct ek_calls *c, struct ek_buf *text);

/* Is there anything for a delta? */
static inline bool ek_calls_waiting(const struct ek_calls *c)
{
    return !c->keeps_whole && (c->deltas.len > 0 || c->pending.len > 0);
}

/* Elements since the last ek_calls_taken; empty: none. */
struct ek_str ek_calls_deltas(struct ek_calls *c);
void ek_calls_taken(struct ek_calls *c);
/* All calls as elements of a list; only with keeps_whole, after ek_calls_end. */
struct ek_str ek_calls_whole(const struct ek_calls *c);

#endif
