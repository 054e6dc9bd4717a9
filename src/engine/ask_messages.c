/* SPDX-License-Identifier: MIT */
/* The messages of a chat request: roles, texts given whole or in parts, tool calls of the past. Pure.
 * Anything but text (images, audio, files) is refused: this engine cannot look at it. */
#include "engine/ask_inside.h"

#include <stdio.h>
#include <stdlib.h>

struct at { /* "messages[3].content" */
    struct ek_ask_reader *r;
    char path[48];
};

static const char *place(struct at *at, size_t index, const char *member)
{
    snprintf(at->path, sizeof at->path, "messages[%zu]%s%s", index, member[0] ? "." : "", member);
    return at->path;
}

static bool read_role(struct at *at, size_t index, json_t *m, enum ek_role *role)
{
    static const struct { const char *name; enum ek_role role; } roles[] = {
        {"system", EK_ROLE_SYSTEM}, {"developer", EK_ROLE_SYSTEM}, {"user", EK_ROLE_USER},
        {"assistant", EK_ROLE_ASSISTANT}, {"tool", EK_ROLE_TOOL}, {"function", EK_ROLE_TOOL},
    };
    const json_t *v = ek_ask_member(m, "role");
    const char *where = place(at, index, "role");
    if (!v) return ek_ask_refuse(at->r, EK_REASON_MISSING_PARAM, where, "is missing.");
    if (!json_is_string(v)) return ek_ask_refuse(at->r, EK_REASON_WRONG_TYPE, where, "must be a string.");
    for (size_t i = 0; i < EK_COUNT(roles); i++) {
        if (!ek_str_eq(ek_ask_view(v), ek_str_of(roles[i].name))) continue;
        *role = roles[i].role;
        return true;
    }
    return ek_ask_refuse(at->r, EK_REASON_BAD_VALUE, where,
                         "must be system, developer, user, assistant or tool.");
}

/* Text of one part; a refusal when it is none. */
static bool part_text(struct at *at, size_t index, json_t *part, struct ek_str *out)
{
    const char *where = place(at, index, "content");
    json_t *type = json_object_get(part, "type"), *text = json_object_get(part, "text");
    if (!json_is_object(part) || !json_is_string(type)) {
        return ek_ask_refuse(at->r, EK_REASON_WRONG_TYPE, where, "must be a string or a list of parts.");
    }
    if (!ek_str_eq(ek_ask_view(type), EK_STR("text"))) {
        return ek_ask_refuse(at->r, EK_REASON_UNSUPPORTED, where, "holds a part that is no text.");
    }
    if (!json_is_string(text)) {
        return ek_ask_refuse(at->r, EK_REASON_WRONG_TYPE, where, "has a text part whose text is no string.");
    }
    *out = ek_ask_view(text);
    return true;
}

static bool join_parts(struct at *at, size_t index, json_t *parts, struct ek_str *out)
{
    size_t n = json_array_size(parts), bytes = 1;
    struct ek_str text;
    for (size_t i = 0; i < n; i++) {
        if (!part_text(at, index, json_array_get(parts, i), &text)) return false;
        bytes += text.len + 1;
    }
    struct ek_buf joint = ek_buf_make(bytes);
    for (size_t i = 0; i < n; i++) {
        if (!part_text(at, index, json_array_get(parts, i), &text)) WRONG("a part changed under us");
        if (i > 0) ek_buf_char(&joint, '\n');
        ek_buf_str(&joint, text);
    }
    MUST(!joint.failed);
    json_t *kept = json_stringn_nocheck(joint.len ? joint.data : "", joint.len);
    ek_buf_free(&joint);
    MUST(kept && json_array_append_new(at->r->out->made, kept) == 0);
    *out = ek_ask_view(kept);
    return true;
}

static bool read_content(struct at *at, size_t index, json_t *m, struct ek_message *out)
{
    json_t *v = ek_ask_member(m, "content");
    if (v && json_is_string(v)) {
        out->content = ek_ask_view(v);
    } else if (v && json_is_array(v)) {
        return join_parts(at, index, v, &out->content);
    } else if (v) {
        return ek_ask_refuse(at->r, EK_REASON_WRONG_TYPE, place(at, index, "content"),
                             "must be a string or a list of parts.");
    } else if (out->role != EK_ROLE_ASSISTANT) {
        return ek_ask_refuse(at->r, EK_REASON_MISSING_PARAM, place(at, index, "content"), "is missing.");
    }
    return true;
}

static bool read_calls(struct at *at, size_t index, json_t *m, struct ek_message *out)
{
    struct ek_ask *a = at->r->out;
    json_t *v = ek_ask_member(m, "tool_calls");
    if (!v) return true;
    const char *where = place(at, index, "tool_calls");
    if (!json_is_array(v)) return ek_ask_refuse(at->r, EK_REASON_WRONG_TYPE, where, "must be a list.");
    if (json_array_size(v) > EK_ASK_CALLS_MAX - a->call_count) {
        return ek_ask_refuse(at->r, EK_REASON_BAD_VALUE, where, "brings the request over %d tool calls.",
                             EK_ASK_CALLS_MAX);
    }
    out->call_count = json_array_size(v); /* out->calls is set when the array stops growing */
    for (size_t i = 0; i < out->call_count; i++) {
        json_t *f = json_object_get(json_array_get(v, i), "function");
        json_t *name = json_object_get(f, "name"), *arguments = json_object_get(f, "arguments");
        if (!json_is_string(name) || !json_is_string(arguments)) {
            return ek_ask_refuse(at->r, EK_REASON_WRONG_TYPE, where,
                                 "must hold functions with a name and arguments, both strings.");
        }
        a->calls = realloc(a->calls, (a->call_count + 1) * sizeof *a->calls);
        MUST(a->calls);
        a->calls[a->call_count++] = (struct ek_tool_call){ek_ask_view(name), ek_ask_view(arguments)};
    }
    return true;
}

static bool read_message(struct at *at, size_t index, json_t *m, struct ek_message *out)
{
    if (!json_is_object(m)) {
        return ek_ask_refuse(at->r, EK_REASON_WRONG_TYPE, place(at, index, ""), "must be an object.");
    }
    if (!read_role(at, index, m, &out->role) || !read_content(at, index, m, out)) return false;
    if (out->role != EK_ROLE_ASSISTANT) return true;
    json_t *reasoning = ek_ask_member(m, "reasoning_content");
    if (reasoning && !json_is_string(reasoning)) {
        return ek_ask_refuse(at->r, EK_REASON_WRONG_TYPE, place(at, index, "reasoning_content"),
                             "must be a string.");
    }
    if (reasoning) out->reasoning = ek_ask_view(reasoning);
    return read_calls(at, index, m, out);
}

bool ek_ask_read_messages(struct ek_ask_reader *r, json_t *root)
{
    struct ek_ask *a = r->out;
    json_t *list = ek_ask_member(root, "messages");
    if (!list) return ek_ask_refuse(r, EK_REASON_MISSING_PARAM, "messages", "is missing.");
    if (!json_is_array(list)) return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, "messages", "must be a list.");
    size_t n = json_array_size(list);
    if (n == 0 || n > EK_ASK_MESSAGES_MAX) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "messages", "must hold 1 to %d messages.",
                             EK_ASK_MESSAGES_MAX);
    }
    a->messages = calloc(n, sizeof *a->messages);
    MUST(a->messages);
    struct at at = {.r = r};
    for (size_t i = 0; i < n; i++) {
        if (!read_message(&at, i, json_array_get(list, i), &a->messages[i])) return false;
    }
    a->message_count = n;
    size_t call = 0;
    for (size_t i = 0; i < n; i++) {
        a->messages[i].calls = a->calls ? a->calls + call : NULL;
        call += a->messages[i].call_count;
    }
    MUST(call == a->call_count);
    return true;
}
