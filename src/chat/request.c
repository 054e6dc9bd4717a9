/* SPDX-License-Identifier: MIT */
/* The walk over a request body: events of the JSON reader in, spans and numbers out. What a single
 * member means stands in chat/request_member.c; this file knows where in the document we are.
 *
 *   depth 0  {                                          the body
 *   depth 1     "model": ... , "stream_options": {      top-level members: names checked, spans kept
 *   depth 2        "include_usage": true }              inner members of stream_options and thinking
 *            "messages": [ {                            depth 2: a message
 *   depth 3        "role": "user", "content": [ {       depth 3: its members
 *   depth 5           "type": ..., "text": ... } ] } ]  depth 5: members of a content part
 */
#include "chat/request_inside.h"

#include <stdarg.h>
#include <stdio.h>

void ek_request_begin(struct ek_request_reader *r, struct ek_request *out, enum ek_api api)
{
    MUST(api == EK_API_CHAT || api == EK_API_COMPLETIONS);
    memset(r, 0, sizeof *r);
    ek_json_begin(&r->json, true);
    r->out = out;
    r->top = -1;
    r->inner = -1;
    r->limit[0] = r->limit[1] = -1;
    *out = (struct ek_request){.api = (uint8_t)api, .n = 1, .max_tokens = -1, .thinking_budget = -1};
}

void ek_request_refuse(struct ek_request_reader *r, enum ek_reason reason, const char *param,
                       const char *fmt, ...)
{
    MUST(!r->bad);
    MUST(reason != EK_REASON_NONE);
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(r->fault.text, sizeof r->fault.text, fmt, args);
    va_end(args);
    MUST(n > 0 && (size_t)n < sizeof r->fault.text);
    r->fault.reason = reason;
    r->fault.param = param;
    r->fault.offset = (uint32_t)r->json.start;
    r->bad = true;
}

/* --- names --- */

/* The name just read, added to those of its object. */
static bool name_is_new(struct ek_request_reader *r, struct ek_json_seen *names)
{
    const struct ek_json *j = &r->json;
    if (j->text_cut) {
        ek_request_refuse(r, EK_REASON_BAD_VALUE, NULL, "A member's name is longer than %u bytes.",
                          EK_JSON_TEXT_MAX);
        return false;
    }
    enum ek_json_seen_result seen = ek_json_seen_add(names, j);
    if (seen == EK_JSON_SEEN_TWICE) {
        ek_request_refuse(r, EK_REASON_DUPLICATE_KEY, NULL, "The member \"%.*s\" is given twice.",
                          (int)j->text_bytes, j->text);
    }
    if (seen == EK_JSON_SEEN_FULL) {
        ek_request_refuse(r, EK_REASON_BAD_VALUE, NULL, "There are more than %u members.",
                          EK_REQUEST_MEMBERS_MAX);
    }
    return !r->bad;
}

/* Two letters beyond ASCII are s and k to those who ignore case the Unicode way (Go's encoding/json):
 * the long s, U+017F, and the Kelvin sign, U+212A. */
static struct ek_str folded(struct ek_str name, char out[EK_JSON_TEXT_MAX])
{
    size_t len = 0;
    while (name.len > 0) {
        bool long_s = ek_str_starts(name, EK_STR("\xC5\xBF"));
        bool kelvin = ek_str_starts(name, EK_STR("\xE2\x84\xAA"));
        out[len++] = long_s ? 's' : kelvin ? 'k' : name.data[0];
        name = ek_str_skip(name, long_s ? 2 : kelvin ? 3 : 1);
    }
    return ek_str_make(out, len);
}

/* The member of this name inside `parent` (-1: the top level); -1 when we do not interpret it. */
static int8_t name_find(struct ek_request_reader *r, int8_t parent)
{
    char fold[EK_JSON_TEXT_MAX];
    struct ek_str name = ek_json_text(&r->json);
    struct ek_str plain = folded(name, fold);
    for (int m = 0; m < EK_MEMBER_COUNT; m++) {
        const struct ek_member_rule *rule = &ek_member_rules[m];
        if (rule->parent != parent) continue;
        if (ek_str_eq(name, rule->key)) return (int8_t)m;
        if (ek_str_eq_nocase(plain, rule->key)) {
            ek_request_refuse(r, EK_REASON_BAD_VALUE, rule->name,
                              "'%.*s' must be written '%s'.", (int)name.len, name.data,
                              rule->key.data);
            return -1;
        }
    }
    return -1;
}

static void take_name(struct ek_request_reader *r)
{
    uint32_t depth = r->json.depth;
    bool in_object_we_read = r->top == EK_MEMBER_STREAM_OPTIONS || r->top == EK_MEMBER_THINKING;
    if (depth == 1) {
        if (name_is_new(r, &r->top_names)) r->top = name_find(r, -1);
    } else if (depth == 2 && in_object_we_read) {
        if (name_is_new(r, &r->inner_names)) r->inner = name_find(r, r->top);
    } else if (r->top == EK_MEMBER_MESSAGES) {
        ek_request_message_name(r);
    }
}

/* --- values --- */

static bool is_value_end(enum ek_json_event e)
{
    return e == EK_JSON_OBJECT_END || e == EK_JSON_ARRAY_END;
}

static bool is_value_begin(enum ek_json_event e)
{
    return e == EK_JSON_OBJECT || e == EK_JSON_ARRAY;
}

static void keep_span(struct ek_request_reader *r, int8_t member, uint32_t start)
{
    r->out->member[member] = (struct ek_span){start, (uint32_t)r->json.end};
}

/* A value, or the begin or end of one, directly at the top level. */
static void take_top(struct ek_request_reader *r, enum ek_json_event e)
{
    if (!is_value_end(e)) {
        r->value_start = (uint32_t)r->json.start;
        if (r->top >= 0) ek_request_member(r, r->top, e);
        if (is_value_begin(e)) r->inner_names.count = 0;
    }
    if (!is_value_begin(e) && r->top >= 0 && !r->bad) {
        keep_span(r, r->top, r->value_start);
        if (r->top == EK_MEMBER_TOOLS && e == EK_JSON_ARRAY_END) {
            r->out->tools_bytes = (uint32_t)r->json.end - r->value_start;
        }
    }
}

/* A value directly inside stream_options or thinking. */
static void take_inner(struct ek_request_reader *r, enum ek_json_event e)
{
    if (r->inner < 0 || is_value_end(e)) return;
    ek_request_member(r, r->inner, e); /* takes no containers: what remains is a scalar */
    if (!r->bad) keep_span(r, r->inner, (uint32_t)r->json.start);
}

static void take_value(struct ek_request_reader *r, enum ek_json_event e)
{
    uint32_t depth = r->json.depth;
    if (depth == 0) {
        if (e == EK_JSON_OBJECT_END) {
            r->out->close_offset = (uint32_t)r->json.start;
        } else if (e != EK_JSON_OBJECT) {
            ek_request_refuse(r, EK_REASON_WRONG_TYPE, NULL, "The body must be a JSON object.");
        }
        return;
    }
    if (depth == 1) {
        take_top(r, e);
        return;
    }
    switch (r->top) {
    case EK_MEMBER_STREAM_OPTIONS:
    case EK_MEMBER_THINKING:
        if (depth == 2) take_inner(r, e);
        break;
    case EK_MEMBER_MESSAGES:
        if (r->out->api == EK_API_CHAT) ek_request_message_value(r, e);
        break;
    case EK_MEMBER_PROMPT:
        if (r->out->api == EK_API_COMPLETIONS) ek_request_prompt_value(r, e);
        break;
    default: break;
    }
}

/* --- pieces --- */

static void bad_json(struct ek_request_reader *r)
{
    ek_request_refuse(r, EK_REASON_BAD_JSON, NULL, "The body is not valid JSON: %s (byte %u).",
                      ek_json_fault_text((enum ek_json_fault)r->json.fault),
                      (unsigned)r->json.start);
}

static enum ek_request_result pull(struct ek_request_reader *r)
{
    for (;;) {
        enum ek_json_event e = ek_json_next(&r->json);
        if (e == EK_JSON_MORE) return EK_REQUEST_MORE;
        if (e == EK_JSON_DONE) break;
        if (e == EK_JSON_BAD) bad_json(r);
        else if (e == EK_JSON_KEY) take_name(r);
        else take_value(r, e);
        if (r->bad) return EK_REQUEST_BAD;
    }
    r->out->body_bytes = (uint32_t)r->fed_bytes;
    ek_request_whole(r);
    return r->bad ? EK_REQUEST_BAD : EK_REQUEST_DONE;
}

enum ek_request_result ek_request_feed(struct ek_request_reader *r, const char *bytes, size_t len)
{
    MUST(!r->bad);
    if (len > EK_REQUEST_BODY_BYTES_MAX - r->fed_bytes) {
        ek_request_refuse(r, EK_REASON_BODY_TOO_LARGE, NULL, "The body is larger than 4 GiB.");
        return EK_REQUEST_BAD;
    }
    r->fed_bytes += len;
    ek_json_feed(&r->json, bytes, len);
    return pull(r);
}

enum ek_request_result ek_request_finish(struct ek_request_reader *r)
{
    MUST(!r->bad);
    ek_json_finish(&r->json);
    enum ek_request_result result = pull(r);
    MUST(result != EK_REQUEST_MORE);
    return result;
}

bool ek_request_read(struct ek_request *out, enum ek_api api, struct ek_str body,
                     struct ek_request_fault *fault)
{
    struct ek_request_reader r;
    ek_request_begin(&r, out, api);
    enum ek_request_result result = ek_request_feed(&r, body.data, body.len);
    if (result == EK_REQUEST_MORE) result = ek_request_finish(&r);
    if (result == EK_REQUEST_BAD) *fault = r.fault;
    return result == EK_REQUEST_DONE;
}
