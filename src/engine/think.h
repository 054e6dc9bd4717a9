/* SPDX-License-Identifier: MIT */
/* From generated tokens to what a reader sees: thought and answer, in whole characters, ended by stop
 * strings. Pure and incremental; what was shown after n tokens is a function of these n tokens, so a
 * generation resumed from its exact ids goes on in mid-word.
 *
 *             <think> (first token, where the prompt allows)        </think>
 *   START ────────────────────────────────────────────▶ THOUGHT ──────────────▶ ANSWER ──▶ STOPPED
 *     └──────────────── any other token ───────────────────────────────────────▶   (stop string)
 *
 * Held back until decided: an unfinished UTF-8 sequence; in the answer, text that may be the beginning
 * of a stop string; in the thought, newlines that may be its last. Bytes that are no UTF-8 are shown as
 * U+FFFD. Newlines that begin a thought, end it, or separate it from the answer are not shown. Stop
 * strings do not look into the thought, and are judged by where they end: of two, the one complete
 * first counts, of those the longer; they are not shown. Control tokens have no text. */
#ifndef EK_ENGINE_THINK_H
#define EK_ENGINE_THINK_H

#include "base/buf.h"
#include "engine/tokenizer.h"

enum { EK_STOPS_MAX = 16, EK_STOP_BYTES_MAX = 256 };

enum ek_output_state { EK_OUTPUT_START, EK_OUTPUT_THOUGHT, EK_OUTPUT_ANSWER, EK_OUTPUT_STOPPED };

struct ek_output {
    const struct ek_tokenizer *tokenizer;
    enum ek_output_state state;
    uint32_t think_id, end_id; /* EK_TOKEN_NONE: no thoughts */
    struct ek_str stops[EK_STOPS_MAX]; /* the caller's, as long as the parser lives; none empty */
    size_t stop_count;
    char tail[4]; /* an unfinished UTF-8 sequence */
    size_t tail_len;
    bool trims;            /* newlines at this place are not shown */
    size_t held_newlines;  /* of the thought, not shown unless it goes on */
    char held[EK_STOP_BYTES_MAX]; /* of the answer: the beginning of a stop string, perhaps */
    size_t held_len;
    struct ek_buf work; /* one token's text */
};

struct ek_output_start {
    uint32_t think_id, end_id;
    bool open_thought; /* the prompt ends inside a thought */
    bool may_think;    /* a first <think> opens one */
    const struct ek_str *stops;
    size_t stop_count;
};

void ek_output_init(struct ek_output *o, const struct ek_tokenizer *t, const struct ek_output_start *s);
void ek_output_free(struct ek_output *o);

/* Take the next token; append what can be shown to *thought or *answer (both the caller's; either may
 * be NULL: nothing is kept, for replaying a prefix). True: a stop string is complete, the answer ends
 * here and later tokens are ignored. */
bool ek_output_push(struct ek_output *o, uint32_t id, struct ek_buf *thought, struct ek_buf *answer);

/* A marker that is no text comes next in the answer: what was held back is text after all. */
void ek_output_break(struct ek_output *o, struct ek_buf *thought, struct ek_buf *answer);

/* Stop strings mean nothing from here on: what was held back as the beginning of one is said. */
void ek_output_forget_stops(struct ek_output *o, struct ek_buf *answer);

/* No more tokens: what was held back is text after all. */
void ek_output_end(struct ek_output *o, struct ek_buf *thought, struct ek_buf *answer);

#endif
