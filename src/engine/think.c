/* SPDX-License-Identifier: MIT */
/* The output parser. Pure: it appends to buffers it is given and keeps at most a stop string's length
 * of text. Must show the same text however the bytes are spread over tokens. */
#include "engine/think.h"

#include "engine/bytemap.h"

enum { TOKEN_TEXT_MAX = 3 * EK_VOCAB_TOKEN_BYTES_MAX + 16 }; /* each bad byte becomes three */

void ek_output_init(struct ek_output *o, const struct ek_tokenizer *t, const struct ek_output_start *s)
{
    MUST(s->stop_count <= EK_STOPS_MAX);
    *o = (struct ek_output){.tokenizer = t, .think_id = s->think_id, .end_id = s->end_id,
                            .stop_count = s->stop_count, .work = ek_buf_make(TOKEN_TEXT_MAX)};
    for (size_t i = 0; i < s->stop_count; i++) {
        MUST(s->stops[i].len > 0 && s->stops[i].len <= EK_STOP_BYTES_MAX);
        o->stops[i] = s->stops[i];
    }
    o->state = s->open_thought ? EK_OUTPUT_THOUGHT : s->may_think ? EK_OUTPUT_START : EK_OUTPUT_ANSWER;
    o->trims = s->open_thought;
}

void ek_output_free(struct ek_output *o)
{
    ek_buf_free(&o->work);
}

/* The token's bytes behind the held tail, as valid UTF-8 in o->work; a new unfinished tail is kept. */
static void take_bytes(struct ek_output *o, struct ek_str bytes)
{
    ek_buf_clear(&o->work);
    while (bytes.len > 0 || o->tail_len > 0) {
        char seq[8];
        size_t have = o->tail_len, more = bytes.len < 4 ? bytes.len : 4;
        if (have == 0) {
            size_t valid = ek_utf8_valid(bytes);
            ek_buf_put(&o->work, bytes.data, valid);
            bytes = ek_str_skip(bytes, valid);
            if (bytes.len == 0) break;
            more = bytes.len < 4 ? bytes.len : 4;
        }
        memcpy(seq, o->tail, have);
        memcpy(seq + have, bytes.data, more);
        int step = ek_utf8_step(ek_str_make(seq, have + more), NULL);
        if (step == 0) { /* unfinished: at most three bytes, and then nothing is left of `bytes` */
            MUST(have + more < 4 && more == bytes.len);
            memcpy(o->tail, seq, have + more);
            o->tail_len = have + more;
            break;
        }
        size_t used = (size_t)(step > 0 ? step : -step);
        if (step > 0) ek_buf_put(&o->work, seq, used);
        else ek_buf_lit(&o->work, "\xEF\xBF\xBD");
        MUST(used >= have); /* the tail alone was a proper beginning, so a mistake lies behind it */
        bytes = ek_str_skip(bytes, used - have);
        o->tail_len = 0;
    }
    MUST(!o->work.failed);
}

static void show(struct ek_buf *to, struct ek_str s)
{
    if (to) ek_buf_str(to, s);
}

/* Leading newlines go while `trims` holds; what is left of s. */
static struct ek_str trim(struct ek_output *o, struct ek_str s)
{
    while (o->trims && s.len > 0) {
        if (s.data[0] != '\n') o->trims = false;
        else s = ek_str_skip(s, 1);
    }
    return s;
}

static void to_thought(struct ek_output *o, struct ek_str s, struct ek_buf *thought)
{
    s = trim(o, s);
    size_t body = s.len;
    while (body > 0 && s.data[body - 1] == '\n') body--;
    if (body > 0) {
        for (; o->held_newlines > 0; o->held_newlines--) show(thought, EK_STR("\n"));
        show(thought, ek_str_make(s.data, body));
    }
    o->held_newlines += s.len - body;
}

/* Is s a proper beginning of some stop string? */
static bool begins_stop(const struct ek_output *o, struct ek_str s)
{
    for (size_t i = 0; i < o->stop_count; i++) {
        if (s.len < o->stops[i].len && ek_str_starts(o->stops[i], s)) return true;
    }
    return false;
}

/* Length of the longest stop string that s ends with; 0: none. */
static size_t ends_in_stop(const struct ek_output *o, struct ek_str s)
{
    size_t longest = 0;
    for (size_t i = 0; i < o->stop_count; i++) {
        size_t n = o->stops[i].len;
        if (n > longest && n <= s.len && memcmp(s.data + s.len - n, o->stops[i].data, n) == 0) longest = n;
    }
    return longest;
}

/* Byte by byte, so that where a token ended cannot matter: held is always the longest tail of the text
 * that begins a stop string. */
static void to_answer(struct ek_output *o, struct ek_str s, struct ek_buf *answer)
{
    s = trim(o, s);
    if (o->stop_count == 0) {
        show(answer, s);
        return;
    }
    for (; s.len > 0; s = ek_str_skip(s, 1)) {
        MUST(o->held_len < sizeof o->held);
        o->held[o->held_len++] = s.data[0];
        size_t stop = ends_in_stop(o, ek_str_make(o->held, o->held_len));
        if (stop > 0) {
            show(answer, ek_str_make(o->held, o->held_len - stop));
            o->held_len = 0;
            o->state = EK_OUTPUT_STOPPED;
            return;
        }
        size_t free = 0;
        while (free < o->held_len && !begins_stop(o, ek_str_make(o->held + free, o->held_len - free))) free++;
        show(answer, ek_str_make(o->held, free));
        memmove(o->held, o->held + free, o->held_len - free);
        o->held_len -= free;
    }
}

static void to_state(struct ek_output *o, struct ek_str s, struct ek_buf *thought, struct ek_buf *answer)
{
    if (o->state == EK_OUTPUT_THOUGHT) to_thought(o, s, thought);
    else to_answer(o, s, answer);
}

/* A sequence that will not be finished any more. */
static void flush_tail(struct ek_output *o, struct ek_buf *thought, struct ek_buf *answer)
{
    if (o->tail_len == 0) return;
    o->tail_len = 0;
    to_state(o, EK_STR("\xEF\xBF\xBD"), thought, answer);
}

bool ek_output_push(struct ek_output *o, uint32_t id, struct ek_buf *thought, struct ek_buf *answer)
{
    if (o->state == EK_OUTPUT_STOPPED) return true;
    bool first = o->state == EK_OUTPUT_START;
    if (first) o->state = EK_OUTPUT_ANSWER;
    if (id == o->think_id && id != EK_TOKEN_NONE) {
        if (first) {
            o->state = EK_OUTPUT_THOUGHT;
            o->trims = true;
        }
        return false;
    }
    if (id == o->end_id && id != EK_TOKEN_NONE) {
        if (o->state != EK_OUTPUT_THOUGHT) return false;
        flush_tail(o, thought, answer);
        o->held_newlines = 0;
        o->state = EK_OUTPUT_ANSWER;
        o->trims = true;
        return false;
    }
    if (ek_tokenizer_kind(o->tokenizer, id) == EK_TOKEN_CONTROL) return false;
    take_bytes(o, ek_tokenizer_bytes(o->tokenizer, id));
    to_state(o, ek_buf_view(&o->work), thought, answer);
    return o->state == EK_OUTPUT_STOPPED;
}

void ek_output_break(struct ek_output *o, struct ek_buf *thought, struct ek_buf *answer)
{
    if (o->state == EK_OUTPUT_STOPPED) return;
    if (o->state == EK_OUTPUT_START) o->state = EK_OUTPUT_ANSWER;
    flush_tail(o, thought, answer);
    if (o->state == EK_OUTPUT_STOPPED) return;
    show(answer, ek_str_make(o->held, o->held_len));
    o->held_len = 0;
}

void ek_output_forget_stops(struct ek_output *o, struct ek_buf *answer)
{
    show(answer, ek_str_make(o->held, o->held_len));
    o->held_len = o->stop_count = 0;
}

void ek_output_end(struct ek_output *o, struct ek_buf *thought, struct ek_buf *answer)
{
    if (o->state == EK_OUTPUT_STOPPED) return;
    ek_output_break(o, thought, answer);
    o->state = EK_OUTPUT_STOPPED;
}
