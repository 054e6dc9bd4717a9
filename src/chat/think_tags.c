/* SPDX-License-Identifier: MIT */
/* One character at a time; the state is in the head file's drawing. */
#include "chat/think_tags.h"

#include "base/must.h"

static const struct ek_str open_tag = {"<think>", 7};
static const struct ek_str close_tag = {"</think>", 8};

void ek_think_tags_init(struct ek_think_tags *t, bool begun)
{
    *t = (struct ek_think_tags){.state = begun ? EK_THINK_THOUGHT : EK_THINK_BEGIN};
}

/* The first character of s: its bytes as written, and what it means when that is ASCII, else 0x80. */
static size_t character(struct ek_str s, unsigned *meaning)
{
    unsigned char c = (unsigned char)s.data[0];
    *meaning = c < 0x80 ? c : 0x80;
    if (c != '\\' || s.len < 2) return 1;
    unsigned code = 0;
    switch (s.data[1]) {
    case 'n': *meaning = '\n'; return 2;
    case 'r': *meaning = '\r'; return 2;
    case 't': *meaning = '\t'; return 2;
    case '/': *meaning = '/'; return 2;
    case 'u': break;
    default: *meaning = 0x80; return 2;
    }
    *meaning = 0x80;
    if (s.len < 6) return s.len;
    for (size_t i = 2; i < 6; i++) {
        unsigned char h = (unsigned char)s.data[i];
        unsigned digit = h >= '0' && h <= '9' ? h - (unsigned)'0' : (h | 32u) - 'a' + 10u;
        if (digit > 15) return 6; /* no JSON: whoever reads it later says so */
        code = code * 16 + digit;
    }
    if (code < 0x80) *meaning = code;
    return 6;
}

static bool in_thought(const struct ek_think_tags *t)
{
    return t->state == EK_THINK_THOUGHT;
}

static void say(struct ek_think_tags *t, struct ek_str text, struct ek_buf *thought, struct ek_buf *answer)
{
    if (!text.len) return;
    ek_buf_str(in_thought(t) ? thought : answer, text);
    t->said = true;
    if (!in_thought(t)) t->state = EK_THINK_ANSWER;
}

static void release(struct ek_think_tags *t, struct ek_buf *thought, struct ek_buf *answer)
{
    char held[EK_THINK_HELD_BYTES_MAX];
    size_t bytes = t->held_bytes;
    memcpy(held, t->held, bytes);
    t->matched = t->held_bytes = 0;
    say(t, ek_str_make(held, bytes), thought, answer);
}

static bool is_space(unsigned c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

/* One character that is not part of a tag. */
static void plain(struct ek_think_tags *t, struct ek_str bytes, unsigned c, struct ek_buf *thought,
                  struct ek_buf *answer)
{
    bool template_space = (t->state == EK_THINK_THOUGHT && !t->said && c == '\n') ||
                          (t->state == EK_THINK_AFTER && c == '\n') ||
                          (t->state == EK_THINK_BEGIN && is_space(c));
    if (!template_space) say(t, bytes, thought, answer);
}

static void tag_complete(struct ek_think_tags *t)
{
    t->matched = t->held_bytes = 0;
    t->said = false;
    t->state = in_thought(t) ? EK_THINK_AFTER : EK_THINK_THOUGHT;
}

void ek_think_tags_feed(struct ek_think_tags *t, struct ek_str s, struct ek_buf *thought,
                        struct ek_buf *answer)
{
    while (s.len) {
        if (t->state == EK_THINK_ANSWER) {
            say(t, s, thought, answer);
            return;
        }
        unsigned c = 0;
        size_t bytes = character(s, &c);
        MUST(bytes > 0 && bytes <= s.len);
        struct ek_str tag = in_thought(t) ? close_tag : open_tag;
        bool tags = t->state != EK_THINK_AFTER;
        if (tags && c == (unsigned char)tag.data[t->matched]) {
            MUST(t->held_bytes + bytes <= sizeof t->held);
            memcpy(t->held + t->held_bytes, s.data, bytes);
            t->held_bytes = (uint8_t)(t->held_bytes + bytes);
            if (++t->matched == tag.len) tag_complete(t);
            s = ek_str_skip(s, bytes);
            continue;
        }
        if (t->matched) { /* it was no tag; this character may begin one */
            release(t, thought, answer);
            continue;
        }
        plain(t, ek_str_make(s.data, bytes), c, thought, answer);
        s = ek_str_skip(s, bytes);
    }
}

void ek_think_tags_end(struct ek_think_tags *t, struct ek_buf *thought, struct ek_buf *answer)
{
    if (t->matched) release(t, thought, answer);
}
