/* SPDX-License-Identifier: MIT */
/* A request of the Responses API becomes a chat request. What the chat request cannot say is refused by its
 * name: an answer that silently lacks it would be a wrong answer. */
#include "chat/responses.h"

#include "base/json.h"

#include <jansson.h>
#include <stdio.h>

struct reading {
    struct ek_buf *chat, *echo;
    struct ek_error *e;
    char *scratch;
};

static bool refuse(struct reading *r, enum ek_reason why, const char *param, const char *message)
{
    snprintf(r->scratch, 256, "%s", param);
    *r->e = (struct ek_error){.reason = why, .param = r->scratch, .message = ek_str_of(message)};
    return false;
}

/* Both into the scratch: the name, which is one of ours, and the sentence about it. */
static bool must_be(struct reading *r, enum ek_reason why, const char *name, const char *what)
{
    size_t at = strlen(name) + 1;
    MUST(at <= 80 && strlen(what) < 128);
    snprintf(r->scratch, 256, "%s", name);
    snprintf(r->scratch + at, 256 - at, "'%s' must be %s.", name, what);
    *r->e = (struct ek_error){.reason = why, .param = r->scratch, .message = ek_str_of(r->scratch + at)};
    return false;
}

static void put_value(struct ek_buf *out, const json_t *v)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    if (text) ek_buf_lit(out, text);
    else out->failed = true;
    free(text);
}

static void put_member(struct ek_buf *out, const char *name, const json_t *v)
{
    ek_buf_printf(out, ",\"%s\":", name);
    if (v) put_value(out, v);
    else ek_buf_lit(out, "null");
}

/* ---- messages --------------------------------------------------------------------------------------- */

static void put_string(struct ek_buf *out, const json_t *text)
{
    ek_json_put_string(out, ek_str_make(json_string_value(text), json_string_length(text)));
}

/* The texts of one item behind each other. */
static bool put_parts(struct reading *r, const json_t *content, size_t item)
{
    char where[64];
    size_t i;
    json_t *part;
    ek_buf_char(r->chat, '"');
    json_array_foreach(content, i, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        const json_t *text = json_object_get(part, "text");
        bool known = type && (strcmp(type, "input_text") == 0 || strcmp(type, "output_text") == 0 ||
                              strcmp(type, "text") == 0);
        snprintf(where, sizeof where, "input[%zu].content[%zu].%s", item, i, known ? "text" : "type");
        if (!known) return refuse(r, EK_REASON_UNSUPPORTED, where, "Only parts of text are understood here.");
        if (!json_is_string(text)) return must_be(r, EK_REASON_WRONG_TYPE, where, "a string");
        if (i) ek_buf_lit(r->chat, "\\n");
        ek_json_put_inside(r->chat, ek_str_make(json_string_value(text), json_string_length(text)));
    }
    ek_buf_char(r->chat, '"');
    return true;
}

static bool put_item(struct reading *r, const json_t *item, size_t i, bool *first)
{
    char where[64];
    const char *type = json_string_value(json_object_get(item, "type"));
    const char *role = json_string_value(json_object_get(item, "role"));
    const json_t *content = json_object_get(item, "content");
    if (type && strcmp(type, "reasoning") == 0) return true; /* what was thought before is not said again */
    snprintf(where, sizeof where, "input[%zu].type", i);
    if (!json_is_object(item) || (type && strcmp(type, "message") != 0))
        return refuse(r, EK_REASON_UNSUPPORTED, where, "Only messages are understood here.");
    bool known = role && (strcmp(role, "user") == 0 || strcmp(role, "assistant") == 0 ||
                          strcmp(role, "system") == 0 || strcmp(role, "developer") == 0);
    snprintf(where, sizeof where, "input[%zu].role", i);
    if (!known) return must_be(r, EK_REASON_BAD_VALUE, where, "user, assistant, system or developer");
    ek_buf_printf(r->chat, "%s{\"role\":\"%s\",\"content\":", *first ? "" : ",", role);
    *first = false;
    snprintf(where, sizeof where, "input[%zu].content", i);
    if (json_is_string(content)) put_string(r->chat, content);
    else if (!json_is_array(content))
        return must_be(r, EK_REASON_WRONG_TYPE, where, "a string or a list of parts");
    else if (!put_parts(r, content, i)) return false;
    ek_buf_char(r->chat, '}');
    return true;
}

static bool put_messages(struct reading *r, const json_t *body)
{
    const json_t *instructions = json_object_get(body, "instructions");
    const json_t *input = json_object_get(body, "input");
    bool first = true;
    ek_buf_lit(r->chat, ",\"messages\":[");
    if (json_is_string(instructions)) {
        ek_buf_lit(r->chat, "{\"role\":\"system\",\"content\":");
        put_string(r->chat, instructions);
        ek_buf_char(r->chat, '}');
        first = false;
    } else if (instructions && !json_is_null(instructions)) {
        return must_be(r, EK_REASON_WRONG_TYPE, "instructions", "a string");
    }
    if (!input) return refuse(r, EK_REASON_MISSING_PARAM, "input", "There is no input.");
    if (json_is_string(input)) {
        ek_buf_printf(r->chat, "%s{\"role\":\"user\",\"content\":", first ? "" : ",");
        put_string(r->chat, input);
        ek_buf_lit(r->chat, "}]");
        return true;
    }
    size_t count = json_array_size(input); /* 0: no list either */
    if (count == 0 || count > EK_RESPONSES_ITEMS_MAX)
        return must_be(r, EK_REASON_WRONG_TYPE, "input", "a string or a list of messages");
    for (size_t i = 0; i < count; i++)
        if (!put_item(r, json_array_get(input, i), i, &first)) return false;
    if (first) return refuse(r, EK_REASON_BAD_VALUE, "input", "There is no message in the input.");
    ek_buf_char(r->chat, ']');
    return true;
}

/* ---- members ---------------------------------------------------------------------------------------- */

enum how {
    TAKEN,    /* read elsewhere */
    PASSED,   /* into the chat request, under `as` */
    IGNORED,  /* says nothing about the answer */
    EMPTY,    /* must be null, false, or an empty list */
};

static const struct {
    const char *name, *as;
    enum how how;
} members[] = {
    {"model", "model", PASSED}, {"input", NULL, TAKEN}, {"instructions", NULL, TAKEN},
    {"stream", NULL, TAKEN}, {"background", NULL, TAKEN}, {"text", NULL, TAKEN}, {"reasoning", NULL, TAKEN},
    {"truncation", NULL, TAKEN}, {"metadata", NULL, TAKEN}, {"store", NULL, TAKEN},
    {"max_output_tokens", "max_tokens", PASSED}, {"temperature", "temperature", PASSED},
    {"top_p", "top_p", PASSED}, {"user", "user", PASSED}, {"user_id", "user_id", PASSED},
    {"seed", "seed", PASSED}, {"thinking", "thinking", PASSED}, {"service_tier", NULL, IGNORED},
    {"safety_identifier", NULL, IGNORED}, {"prompt_cache_key", NULL, IGNORED},
    {"prompt_cache_retention", NULL, IGNORED}, {"stream_options", NULL, IGNORED},
    {"parallel_tool_calls", NULL, IGNORED}, {"max_tool_calls", NULL, IGNORED},
    {"tool_choice", NULL, TAKEN}, {"tools", NULL, EMPTY}, {"include", NULL, EMPTY},
    {"previous_response_id", NULL, EMPTY}, {"conversation", NULL, EMPTY}, {"prompt", NULL, EMPTY},
    {"top_logprobs", NULL, EMPTY}, {"context_management", NULL, EMPTY}, {"moderation", NULL, EMPTY},
};

static bool is_empty(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) || (json_is_array(v) && json_array_size(v) == 0) ||
           (json_is_integer(v) && json_integer_value(v) == 0);
}

static bool take_member(struct reading *r, const char *name, const json_t *v)
{
    for (size_t i = 0; i < EK_COUNT(members); i++) {
        if (strcmp(members[i].name, name) != 0) continue;
        if (members[i].how == PASSED && !json_is_null(v)) put_member(r->chat, members[i].as, v);
        if (members[i].how != EMPTY || is_empty(v)) return true;
        return refuse(r, EK_REASON_UNSUPPORTED, name, "This member of the Responses API is not supported.");
    }
    if (is_empty(v)) return true;
    return refuse(r, EK_REASON_UNSUPPORTED, name, "This member of the Responses API is not known here.");
}

static bool take_flag(struct reading *r, const json_t *body, const char *name, bool *out)
{
    const json_t *v = json_object_get(body, name);
    *out = json_is_true(v);
    if (!v || json_is_null(v) || json_is_boolean(v)) return true;
    return must_be(r, EK_REASON_WRONG_TYPE, name, "true or false");
}

static bool take_reasoning(struct reading *r, const json_t *body)
{
    const json_t *v = json_object_get(body, "reasoning"), *effort = json_object_get(v, "effort");
    if (effort && !json_is_null(effort)) put_member(r->chat, "reasoning_effort", effort);
    return true;
}

static bool take_object(struct reading *r, const json_t *body, const char *name)
{
    const json_t *v = json_object_get(body, name);
    if (!v || json_is_null(v) || json_is_object(v)) return true;
    return must_be(r, EK_REASON_WRONG_TYPE, name, "an object");
}

/* What only says how tools are chosen means nothing where there are none; what asks for one does. */
static bool take_tool_choice(struct reading *r, const json_t *body)
{
    const json_t *v = json_object_get(body, "tool_choice");
    const char *word = json_string_value(v);
    if (!v || json_is_null(v)) return true;
    if (word && (strcmp(word, "auto") == 0 || strcmp(word, "none") == 0)) return true;
    return refuse(r, EK_REASON_UNSUPPORTED, "tool_choice", "There are no tools here: only auto and none.");
}

/* text.format becomes response_format; a schema stands one level deeper there. */
static bool take_format(struct reading *r, const json_t *body)
{
    const json_t *format = json_object_get(json_object_get(body, "text"), "format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!format || json_is_null(format) || (type && strcmp(type, "text") == 0)) return true;
    if (type && strcmp(type, "json_object") == 0) {
        ek_buf_lit(r->chat, ",\"response_format\":{\"type\":\"json_object\"}");
        return true;
    }
    if (!type || strcmp(type, "json_schema") != 0)
        return must_be(r, EK_REASON_BAD_VALUE, "text.format.type", "text, json_object or json_schema");
    json_t *schema = json_deep_copy(format);
    json_object_del(schema, "type");
    ek_buf_lit(r->chat, ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":");
    put_value(r->chat, schema);
    ek_buf_char(r->chat, '}');
    json_decref(schema);
    return true;
}

static bool take_truncation(struct reading *r, const json_t *body)
{
    const char *how = json_string_value(json_object_get(body, "truncation"));
    if (!how || strcmp(how, "disabled") == 0) return true;
    return refuse(r, EK_REASON_UNSUPPORTED, "truncation", "Only truncation \"disabled\" is supported here.");
}

static void put_echo(struct reading *r, const json_t *body)
{
    static const char *const plain[] = {"instructions", "max_output_tokens", "temperature", "top_p", "user"};
    const json_t *v, *reasoning = json_object_get(body, "reasoning");
    for (size_t i = 0; i < EK_COUNT(plain); i++)
        put_member(r->echo, plain[i], json_object_get(body, plain[i]));
    v = json_object_get(body, "metadata");
    if (json_is_object(v)) put_member(r->echo, "metadata", v);
    else ek_buf_lit(r->echo, ",\"metadata\":{}");
    ek_buf_lit(r->echo, ",\"reasoning\":{\"effort\":");
    v = json_object_get(reasoning, "effort");
    if (v) put_value(r->echo, v);
    else ek_buf_lit(r->echo, "null");
    ek_buf_lit(r->echo, ",\"summary\":null},\"text\":");
    v = json_object_get(body, "text");
    if (json_is_object(json_object_get(v, "format"))) put_value(r->echo, v);
    else ek_buf_lit(r->echo, "{\"format\":{\"type\":\"text\"}}");
    ek_buf_printf(r->echo, ",\"store\":%s", json_is_false(json_object_get(body, "store")) ? "false" : "true");
    ek_buf_lit(r->echo, ",\"parallel_tool_calls\":true,\"previous_response_id\":null,"
                        "\"tool_choice\":\"auto\",\"tools\":[],\"truncation\":\"disabled\"");
}

static bool read_body(struct reading *r, json_t *body, struct ek_responses_wishes *w)
{
    const char *name;
    json_t *v;
    if (!json_is_object(body)) return refuse(r, EK_REASON_BAD_JSON, "", "The body must be a JSON object.");
    const json_t *model = json_object_get(body, "model");
    bool flag;
    if (!model) return refuse(r, EK_REASON_MISSING_PARAM, "model", "There is no model.");
    if (!json_is_string(model)) return must_be(r, EK_REASON_WRONG_TYPE, "model", "a string");
    ek_buf_lit(r->chat, "{\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    json_object_foreach(body, name, v)
        if (!take_member(r, name, v)) return false;
    if (!take_flag(r, body, "stream", &w->stream) || !take_flag(r, body, "background", &w->background))
        return false;
    if (!take_flag(r, body, "store", &flag) || !take_object(r, body, "metadata")) return false;
    if (!take_object(r, body, "reasoning") || !take_object(r, body, "text")) return false;
    if (!take_tool_choice(r, body)) return false;
    if (!take_reasoning(r, body) || !take_format(r, body) || !take_truncation(r, body)) return false;
    if (!put_messages(r, body)) return false;
    ek_buf_char(r->chat, '}');
    put_echo(r, body);
    if (r->echo->failed)
        return refuse(r, EK_REASON_BODY_TOO_LARGE, "", "Instructions and metadata are too large.");
    if (r->chat->failed) return refuse(r, EK_REASON_BODY_TOO_LARGE, "", "The request is too large.");
    return true;
}

static bool refuse_json(struct reading *r, const json_error_t *error)
{
    switch (json_error_code(error)) {
    case json_error_duplicate_key:
        return refuse(r, EK_REASON_DUPLICATE_KEY, "", "A name occurs twice in the body.");
    case json_error_numeric_overflow:
        return refuse(r, EK_REASON_BAD_VALUE, "", "A number in the body is larger than anything here.");
    case json_error_null_byte_in_key:
        return refuse(r, EK_REASON_BAD_VALUE, "", "A name in the body has a NUL inside.");
    default: return refuse(r, EK_REASON_BAD_JSON, "", "The body is not valid JSON.");
    }
}

bool ek_responses_read(struct ek_str body, struct ek_responses_wishes *w, struct ek_buf *chat,
                       struct ek_buf *echo, struct ek_error *e, char scratch[256])
{
    struct reading r = {.chat = chat, .echo = echo, .e = e, .scratch = scratch};
    json_error_t error;
    if (ek_json_has_more(body, EK_RESPONSES_VALUES_MAX)) /* a million in 12 MB held the loop for 1.5 s */
        return refuse(&r, EK_REASON_BAD_VALUE, "", "The body holds more values than are read here.");
    json_t *all = json_loadb(body.data, body.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!all) return refuse_json(&r, &error);
    bool good = read_body(&r, all, w);
    json_decref(all);
    return good;
}

/* ---- names ------------------------------------------------------------------------------------------- */

static const struct {
    const char *chat, *here;
} renamed[] = {{"max_tokens", "max_output_tokens"}, {"messages", "input"},
               {"reasoning_effort", "reasoning.effort"}, {"response_format", "text.format"}};

void ek_responses_rename_fault(struct ek_request_fault *fault)
{
    char text[sizeof fault->text];
    for (size_t i = 0; fault->param && i < EK_COUNT(renamed); i++) {
        const char *name = renamed[i].chat;
        if (strcmp(fault->param, name) != 0) continue;
        fault->param = renamed[i].here;
        memcpy(text, fault->text, sizeof text);
        size_t len = strlen(name);
        if (text[0] == '\'' && strncmp(text + 1, name, len) == 0) /* "'max_tokens' must be ..." */
            snprintf(fault->text, sizeof fault->text, "'%s%.*s", fault->param,
                     (int)(sizeof text - strlen(fault->param) - 2), text + 1 + len);
        return;
    }
}

bool ek_responses_rename_error(struct ek_str body, struct ek_buf *out)
{
    static const char front[] = "\"param\":\"";
    const char *at = body.len ? memmem(body.data, body.len, front, sizeof front - 1) : NULL;
    if (!at) return false;
    size_t before = (size_t)(at - body.data) + sizeof front - 1;
    struct ek_str rest = ek_str_skip(body, before);
    for (size_t i = 0; i < EK_COUNT(renamed); i++) {
        struct ek_str name = ek_str_of(renamed[i].chat);
        if (!ek_str_starts(rest, name) || rest.len == name.len) continue;
        if (!strchr("\".[", rest.data[name.len])) continue;
        ek_buf_put(out, body.data, before);
        ek_buf_lit(out, renamed[i].here);
        ek_buf_str(out, ek_str_skip(rest, name.len));
        return !out->failed;
    }
    return false;
}
