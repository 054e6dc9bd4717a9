/* SPDX-License-Identifier: MIT */
/* Turns "set these members" into a sorted list of edits, and edits into views.
 *
 * A member that stands in the body is replaced there. One that does not is put before the closing
 * brace of its object; where stream_options or thinking itself is absent or null, the object is made. */
#include "chat/splice.h"

#include "base/json_write.h"

#include <stdio.h>

/* Names as they are inserted: with the comma before (skipped in an empty object) and the colon. */
#define NAME(m, key) [EK_MEMBER_##m] = {",\"" key "\":", sizeof(key) + 3}
static const struct ek_str names[EK_MEMBER_COUNT] = {
    NAME(MODEL, "model"),
    NAME(MESSAGES, "messages"),
    NAME(PROMPT, "prompt"),
    NAME(STREAM, "stream"),
    NAME(STREAM_OPTIONS, "stream_options"),
    NAME(INCLUDE_USAGE, "include_usage"),
    NAME(CONTINUOUS_USAGE, "continuous_usage_stats"),
    NAME(MAX_TOKENS, "max_tokens"),
    NAME(MAX_COMPLETION_TOKENS, "max_completion_tokens"),
    NAME(N, "n"),
    NAME(SEED, "seed"),
    NAME(THINKING, "thinking"),
    NAME(THINKING_TYPE, "type"),
    NAME(THINKING_BUDGET, "budget_tokens"),
    NAME(REASONING_EFFORT, "reasoning_effort"),
    NAME(USER, "user"),
    NAME(USER_ID, "user_id"),
    NAME(TOOLS, "tools"),
    NAME(EK, "ek"),
    NAME(PRIORITY, "priority"),
    NAME(CACHE_SALT, "cache_salt"),
    NAME(REQUEST_ID, "request_id"),
    NAME(KV_TRANSFER_PARAMS, "kv_transfer_params"),
    NAME(RESPONSE_FORMAT, "response_format"),
    NAME(CONTINUE_FINAL, "continue_final_message"),
    NAME(GENERATION_PROMPT, "add_generation_prompt"),
    NAME(TOKEN_BUDGET, "thinking_token_budget"),
    NAME(BUDGET_TOKENS, "thinking_budget_tokens"),
};

#define PARTS_MAX 8 /* name, brace, two inner names and values, brace */

struct edit {
    uint32_t start; /* [start, end) of the body is replaced; start == end inserts */
    uint32_t end;
    uint32_t part_count;
    struct ek_str part[PARTS_MAX];
};

struct edits {
    uint32_t count;
    struct edit item[EK_SPLICE_EDITS_MAX];
};

void ek_splice_begin(struct ek_splice *s, const struct ek_request *request, struct ek_str body)
{
    MUST(body.len == request->body_bytes);
    MUST(request->close_offset < body.len && body.data[request->close_offset] == '}');
    *s = (struct ek_splice){.request = request, .body = body};
}

static enum ek_member outer_of(enum ek_member m)
{
    if (m == EK_MEMBER_INCLUDE_USAGE || m == EK_MEMBER_CONTINUOUS_USAGE) return EK_MEMBER_STREAM_OPTIONS;
    if (m == EK_MEMBER_THINKING_TYPE || m == EK_MEMBER_THINKING_BUDGET) return EK_MEMBER_THINKING;
    return EK_MEMBER_COUNT;
}

void ek_splice_set(struct ek_splice *s, enum ek_member m, struct ek_str value)
{
    MUST((unsigned)m < EK_MEMBER_COUNT);
    MUST(value.len > 0);
    MUST(!s->value[m].data);
    s->value[m] = value;
}

void ek_splice_stream(struct ek_splice *s)
{
    ek_splice_set(s, EK_MEMBER_STREAM, EK_STR("true"));
    ek_splice_set(s, EK_MEMBER_INCLUDE_USAGE, EK_STR("true"));
}

void ek_splice_model(struct ek_splice *s, struct ek_str name)
{
    MUST(name.len > 0 && name.len <= EK_REQUEST_MODEL_BYTES_MAX);
    int64_t bytes = ek_json_escape(name, s->model_text + 1, sizeof s->model_text - 2);
    MUST(bytes > 0);
    s->model_text[0] = '"';
    s->model_text[bytes + 1] = '"';
    ek_splice_set(s, EK_MEMBER_MODEL, ek_str_make(s->model_text, (size_t)bytes + 2));
}

static struct ek_str number(char text[24], int64_t value)
{
    int n = snprintf(text, 24, "%lld", (long long)value);
    MUST(n > 0 && n < 24);
    return ek_str_make(text, (size_t)n);
}

void ek_splice_seed(struct ek_splice *s, int64_t seed)
{
    ek_splice_set(s, EK_MEMBER_SEED, number(s->seed_text, seed));
}

void ek_splice_max_tokens(struct ek_splice *s, int64_t tokens)
{
    MUST(tokens >= 0);
    struct ek_str value = number(s->limit_text, tokens);
    bool other = ek_request_has(s->request, EK_MEMBER_MAX_COMPLETION_TOKENS);
    if (other) ek_splice_set(s, EK_MEMBER_MAX_COMPLETION_TOKENS, value);
    if (!other || ek_request_has(s->request, EK_MEMBER_MAX_TOKENS)) {
        ek_splice_set(s, EK_MEMBER_MAX_TOKENS, value);
    }
}

void ek_splice_thinking_budget(struct ek_splice *s, enum ek_member m, int64_t tokens)
{
    MUST(tokens >= 0);
    MUST(m == EK_MEMBER_THINKING_BUDGET || m == EK_MEMBER_TOKEN_BUDGET || m == EK_MEMBER_BUDGET_TOKENS);
    ek_splice_set(s, m, number(s->budget_text, tokens));
}

void ek_splice_append_message(struct ek_splice *s, struct ek_str message)
{
    MUST(s->request->api == EK_API_CHAT && s->request->message_count > 0);
    MUST(message.len > 0 && !s->message.data);
    s->message = message;
}

void ek_splice_extend_prompt(struct ek_splice *s, struct ek_str escaped)
{
    MUST(s->request->api == EK_API_COMPLETIONS && s->request->prompt_is_text);
    MUST(!s->prompt.data);
    s->prompt = escaped;
}

/* --- edits --- */

static struct edit *edit_new(struct edits *list, uint32_t start, uint32_t end)
{
    MUST(list->count < EK_SPLICE_EDITS_MAX);
    MUST(start <= end);
    struct edit *e = &list->item[list->count++];
    e->start = start;
    e->end = end;
    e->part_count = 0;
    return e;
}

static void part(struct edit *e, struct ek_str text)
{
    MUST(e->part_count < PARTS_MAX);
    if (text.len) e->part[e->part_count++] = text;
}

/* Is the object that ends at body[close] empty? The body is valid JSON, so looking back is safe. */
static bool object_is_empty(struct ek_str body, uint32_t close)
{
    while (close > 0 && memchr(" \t\r\n", body.data[close - 1], 4)) close--;
    return body.data[close - 1] == '{';
}

static void edit_member(struct ek_splice *s, struct edits *list, enum ek_member m)
{
    struct ek_span span = s->request->member[m];
    struct ek_str value = s->value[m];
    if (span.end) {
        struct ek_str there = ek_str_make(s->body.data + span.start, span.end - span.start);
        if (!ek_str_eq(there, value)) part(edit_new(list, span.start, span.end), value);
        return;
    }
    struct edit *e = edit_new(list, s->request->close_offset, s->request->close_offset);
    part(e, names[m]);
    part(e, value);
}

static bool is_inner_to_add(const struct ek_splice *s, enum ek_member m, enum ek_member outer)
{
    return outer_of(m) == outer && s->value[m].data && s->request->member[m].end == 0;
}

/* The outer object is absent or null: it is made, whole, in one edit. */
static void edit_make_outer(struct ek_splice *s, struct edits *list, enum ek_member outer)
{
    struct ek_span span = s->request->member[outer];
    struct edit *e = NULL;
    for (int i = 0; i < EK_MEMBER_COUNT; i++) {
        enum ek_member m = (enum ek_member)i;
        if (!is_inner_to_add(s, m, outer)) continue;
        bool first = !e;
        if (first) {
            uint32_t close = s->request->close_offset;
            e = span.end ? edit_new(list, span.start, span.end) : edit_new(list, close, close);
            if (!span.end) part(e, names[outer]);
            part(e, EK_STR("{"));
        }
        part(e, first ? ek_str_skip(names[m], 1) : names[m]);
        part(e, s->value[m]);
    }
    if (e) part(e, EK_STR("}"));
}

/* All members set inside one outer object. */
static void edit_inner(struct ek_splice *s, struct edits *list, enum ek_member outer)
{
    struct ek_span span = s->request->member[outer];
    bool there = span.end && s->body.data[span.start] == '{';
    bool first = there && object_is_empty(s->body, span.end - 1);
    for (int i = 0; i < EK_MEMBER_COUNT; i++) {
        enum ek_member m = (enum ek_member)i;
        if (outer_of(m) != outer || !s->value[m].data) continue;
        MUST(!s->value[outer].data);
        if (s->request->member[m].end) {
            edit_member(s, list, m);
        } else if (there) {
            struct edit *e = edit_new(list, span.end - 1, span.end - 1);
            part(e, first ? ek_str_skip(names[m], 1) : names[m]);
            part(e, s->value[m]);
            first = false;
        }
    }
    if (!there) edit_make_outer(s, list, outer);
}

/* Rising by place; edits at one place keep their order. A handful: insertion sort. */
static void sort(struct edits *list)
{
    for (uint32_t i = 1; i < list->count; i++) {
        struct edit e = list->item[i];
        uint32_t at = i;
        while (at > 0 && list->item[at - 1].start > e.start) {
            list->item[at] = list->item[at - 1];
            at--;
        }
        list->item[at] = e;
    }
}

static void edits_of(struct ek_splice *s, struct edits *list)
{
    const struct ek_request *q = s->request;
    list->count = 0;
    for (int i = 0; i < EK_MEMBER_COUNT; i++) {
        enum ek_member m = (enum ek_member)i;
        if (s->value[m].data && outer_of(m) == EK_MEMBER_COUNT) edit_member(s, list, m);
    }
    edit_inner(s, list, EK_MEMBER_STREAM_OPTIONS);
    edit_inner(s, list, EK_MEMBER_THINKING);
    if (s->message.len) {
        MUST(!s->value[EK_MEMBER_MESSAGES].data);
        uint32_t at = q->member[EK_MEMBER_MESSAGES].end - 1;
        struct edit *e = edit_new(list, at, at);
        part(e, EK_STR(","));
        part(e, s->message);
    }
    if (s->prompt.len) {
        MUST(!s->value[EK_MEMBER_PROMPT].data);
        uint32_t at = q->member[EK_MEMBER_PROMPT].end - 1;
        part(edit_new(list, at, at), s->prompt);
    }
    sort(list);
}

size_t ek_splice_pieces(struct ek_splice *s, struct ek_str pieces[EK_SPLICE_PIECES_MAX],
                        uint64_t *bytes)
{
    struct edits list;
    size_t count = 0;
    uint32_t at = 0;
    edits_of(s, &list);
    *bytes = 0;
    for (uint32_t i = 0; i <= list.count; i++) {
        const struct edit *e = i < list.count ? &list.item[i] : NULL;
        uint32_t to = e ? e->start : (uint32_t)s->body.len;
        MUST(to >= at);
        if (to > at) pieces[count++] = ek_str_make(s->body.data + at, to - at);
        for (uint32_t p = 0; e && p < e->part_count; p++) pieces[count++] = e->part[p];
        if (e) at = e->end;
    }
    MUST(count <= EK_SPLICE_PIECES_MAX);
    for (size_t i = 0; i < count; i++) *bytes += pieces[i].len;
    return count;
}

void ek_splice_flat(struct ek_splice *s, struct ek_buf *out)
{
    struct ek_str pieces[EK_SPLICE_PIECES_MAX];
    uint64_t bytes;
    size_t count = ek_splice_pieces(s, pieces, &bytes);
    if (!ek_buf_reserve(out, bytes)) return;
    for (size_t i = 0; i < count; i++) ek_buf_str(out, pieces[i]);
}
