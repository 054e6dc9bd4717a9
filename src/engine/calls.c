/* SPDX-License-Identifier: MIT */
/* The parser of tool calls, byte by byte, so that where tokens and chunks end cannot matter. */
#include "engine/calls.h"

#include "base/json_write.h"

#include <stdio.h>

void ek_calls_open(struct ek_calls *c, bool by_text, bool keeps_whole, const char *prefix,
                   size_t answer_bytes_max)
{
    *c = (struct ek_calls){.by_text = by_text, .keeps_whole = keeps_whole};
    snprintf(c->prefix, sizeof c->prefix, "%s", prefix);
    c->pending = ek_buf_make(answer_bytes_max);
    c->deltas = ek_buf_make(answer_bytes_max);
    c->whole = ek_buf_make(answer_bytes_max);
}

void ek_calls_free(struct ek_calls *c)
{
    ek_buf_free(&c->pending);
    ek_buf_free(&c->deltas);
    ek_buf_free(&c->whole);
}

static void show(struct ek_buf *to, const char *data, size_t len)
{
    if (to) ek_buf_put(to, data, len);
}

/* ---- what is found --------------------------------------------------------------------------- */

static bool counts(const struct ek_calls *c)
{
    return c->count <= EK_CALLS_COUNT_MAX;
}

/* Arguments so far become a delta, or part of the whole. */
static void put_pending(struct ek_calls *c)
{
    if (c->pending.len == 0 || !counts(c)) {
        ek_buf_clear(&c->pending);
        return;
    }
    if (c->keeps_whole) {
        ek_json_put_inside(&c->whole, ek_buf_view(&c->pending));
    } else {
        if (c->deltas.len > 0) ek_buf_char(&c->deltas, ',');
        ek_buf_printf(&c->deltas, "{\"index\":%u,\"function\":{\"arguments\":", c->count - 1);
        ek_json_put_string(&c->deltas, ek_buf_view(&c->pending));
        ek_buf_lit(&c->deltas, "}}");
    }
    ek_buf_clear(&c->pending);
}

static void end_call(struct ek_calls *c)
{
    put_pending(c);
    if (c->keeps_whole && counts(c)) ek_buf_lit(&c->whole, "\"}}");
    c->state = EK_CALLS_BETWEEN;
    c->held_len = 0;
}

static void begin_call(struct ek_calls *c, struct ek_str name)
{
    struct ek_buf *b = c->keeps_whole ? &c->whole : &c->deltas;
    uint32_t index = c->count++;
    c->state = EK_CALLS_ARGUMENTS;
    c->held_len = 0;
    c->depth = 0;
    c->in_string = c->escaped = false;
    if (!counts(c)) return;
    if (b->len > 0) ek_buf_char(b, ',');
    if (c->keeps_whole) ek_buf_char(b, '{');
    else ek_buf_printf(b, "{\"index\":%u,", index);
    ek_buf_printf(b, "\"id\":\"%s_%u\",\"type\":\"function\",\"function\":{\"name\":", c->prefix, index);
    ek_json_put_string(b, name);
    ek_buf_lit(b, c->keeps_whole ? ",\"arguments\":\"" : ",\"arguments\":\"\"}}");
}

/* ---- headers --------------------------------------------------------------------------------- */

static struct ek_str trimmed(struct ek_str s)
{
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\n' || s.data[0] == '\r')) s = ek_str_skip(s, 1);
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\n' ||
                         s.data[s.len - 1] == '\r')) s.len--;
    return s;
}

/* Behind CALL_BEGIN, up to the arguments: "function SEP name \n```json\n" or "name SEP". Empty: neither. */
static struct ek_str name_of(struct ek_str header)
{
    struct ek_str sep = ek_str_of(ek_mark_text(EK_MARK_SEP)), none = {NULL, 0};
    const char *at = header.len ? memmem(header.data, header.len, sep.data, sep.len) : NULL;
    if (!at) return none;
    struct ek_str left = trimmed(ek_str_make(header.data, (size_t)(at - header.data)));
    struct ek_str right = trimmed(ek_str_skip(header, (size_t)(at - header.data) + sep.len));
    if (right.len == 0) return left;
    const char *line = memchr(right.data, '\n', right.len);
    return line ? trimmed(ek_str_make(right.data, (size_t)(line - right.data))) : none;
}

/* It was no call after all: all that was held is text. */
static void give_up(struct ek_calls *c, struct ek_buf *text)
{
    struct ek_str open = ek_str_of(ek_mark_text(EK_MARK_CALL_BEGIN));
    show(text, open.data, open.len);
    show(text, c->held, c->held_len);
    c->held_len = 0;
    c->state = EK_CALLS_TEXT;
}

static void header_byte(struct ek_calls *c, char x, struct ek_buf *text)
{
    if (x == '{') {
        struct ek_str name = name_of(ek_str_make(c->held, c->held_len));
        if (name.len > 0) {
            begin_call(c, name);
            ek_buf_char(&c->pending, x);
            c->depth = 1;
            return;
        }
    }
    c->held[c->held_len++] = x;
    if (x == '{' || c->held_len >= EK_CALLS_HEADER_BYTES_MAX) give_up(c, text);
}

/* ---- arguments ------------------------------------------------------------------------------- */

static void argument_byte(struct ek_calls *c, char x)
{
    ek_buf_char(&c->pending, x);
    if (c->in_string) {
        if (c->escaped) c->escaped = false;
        else if (x == '\\') c->escaped = true;
        else if (x == '"') c->in_string = false;
        return;
    }
    if (x == '"') c->in_string = true;
    if (x == '{' || x == '[') c->depth++;
    if ((x == '}' || x == ']') && --c->depth == 0) end_call(c);
}

/* ---- markers in text ------------------------------------------------------------------------- */

/* One byte where a marker may begin; true: the marker is whole. Otherwise what can be none is shown. */
static bool marker_byte(struct ek_calls *c, char x, enum ek_mark mark, struct ek_buf *text)
{
    struct ek_str m = ek_str_of(ek_mark_text(mark));
    c->held[c->held_len++] = x;
    while (c->held_len > 0 && (c->held_len > m.len || memcmp(c->held, m.data, c->held_len) != 0)) {
        show(text, c->held, 1);
        memmove(c->held, c->held + 1, --c->held_len);
    }
    if (c->held_len < m.len) return false;
    c->held_len = 0;
    return true;
}

void ek_calls_text(struct ek_calls *c, struct ek_str s, struct ek_buf *text)
{
    if (c->state == EK_CALLS_TEXT && !c->by_text) {
        show(text, s.data, s.len);
        return;
    }
    for (size_t i = 0; i < s.len; i++) {
        char x = s.data[i];
        switch (c->state) {
        case EK_CALLS_TEXT:
            if (!c->by_text) show(text, &x, 1); /* a header was none, within this very piece */
            else if (marker_byte(c, x, EK_MARK_CALLS_BEGIN, text)) c->state = EK_CALLS_BETWEEN;
            break;
        case EK_CALLS_BETWEEN:
            if (marker_byte(c, x, EK_MARK_CALL_BEGIN, NULL)) c->state = EK_CALLS_HEADER;
            break;
        case EK_CALLS_HEADER: header_byte(c, x, text); break;
        case EK_CALLS_ARGUMENTS: argument_byte(c, x); break;
        }
    }
}

void ek_calls_mark(struct ek_calls *c, enum ek_mark mark, struct ek_buf *text)
{
    struct ek_str spelled = ek_str_of(ek_mark_text(mark));
    if (c->state == EK_CALLS_TEXT && mark == EK_MARK_CALLS_BEGIN) c->state = EK_CALLS_BETWEEN;
    else if (c->state != EK_CALLS_TEXT) ek_calls_text(c, spelled, text);
}

void ek_calls_end(struct ek_calls *c, struct ek_buf *text)
{
    if (c->state == EK_CALLS_TEXT) show(text, c->held, c->held_len);
    if (c->state == EK_CALLS_HEADER) give_up(c, text);
    if (c->state == EK_CALLS_ARGUMENTS) end_call(c);
    c->held_len = 0;
}

struct ek_str ek_calls_deltas(struct ek_calls *c)
{
    if (!c->keeps_whole) put_pending(c);
    return ek_buf_view(&c->deltas);
}

void ek_calls_taken(struct ek_calls *c)
{
    ek_buf_clear(&c->deltas);
}

struct ek_str ek_calls_whole(const struct ek_calls *c)
{
    return ek_buf_view(&c->whole);
}
