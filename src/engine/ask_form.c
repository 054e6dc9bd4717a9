/* SPDX-License-Identifier: MIT */
/* Members of a request that say what the answer is to look like: response_format, the tools that may be
 * called and whether they must be, logit_bias, n. Pure. Schemas are only checked to be there: whether they
 * can be enforced is found when they are compiled (schema.h). */
#include "engine/ask_inside.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_word(const json_t *v, const char *word)
{
    return json_is_string(v) && ek_str_eq(ek_ask_view(v), ek_str_of(word));
}

/* ---- response_format ------------------------------------------------------------------------- */

static bool read_schema(struct ek_ask_reader *r, json_t *holder, const char *name)
{
    json_t *schema = ek_ask_member(holder, name);
    if (!schema) { /* OpenAI: without a schema any object will do */
        r->out->format = EK_FORMAT_JSON;
        return true;
    }
    if (!json_is_object(schema) && !json_is_boolean(schema)) {
        return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, name, "must be a JSON schema.");
    }
    r->out->format = EK_FORMAT_SCHEMA;
    r->out->schema = schema;
    return true;
}

static bool read_format(struct ek_ask_reader *r, json_t *root)
{
    json_t *format, *inner;
    if (!ek_ask_object(r, root, "response_format", &format)) return false;
    if (!format) return true;
    json_t *type = ek_ask_member(format, "type");
    r->under = "response_format.";
    bool ok = true;
    if (is_word(type, "json_object")) {
        ok = read_schema(r, format, "schema"); /* llama-server's way */
    } else if (is_word(type, "json_schema")) {
        ok = ek_ask_object(r, format, "json_schema", &inner);
        if (ok && !inner) ok = ek_ask_refuse(r, EK_REASON_MISSING_PARAM, "json_schema", "is missing.");
        r->under = "response_format.json_schema.";
        if (ok) ok = read_schema(r, inner, "schema");
    } else if (type && !is_word(type, "text")) {
        ok = ek_ask_refuse(r, EK_REASON_UNSUPPORTED, "type", "must be text, json_object or json_schema.");
    }
    if (ok) r->under = "";
    return ok;
}

/* ---- tools ----------------------------------------------------------------------------------- */

static bool plain_name(struct ek_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '-';
        if (!fine) return false;
    }
    return s.len > 0 && s.len <= EK_ASK_TOOL_NAME_BYTES_MAX;
}

static bool read_tool(struct ek_ask_reader *r, json_t *v, struct ek_ask_tool *tool)
{
    json_t *f, *parameters;
    if (!json_is_object(v)) return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, "tools", "must hold objects.");
    json_t *type = ek_ask_member(v, "type");
    if (type && !is_word(type, "function")) {
        return ek_ask_refuse(r, EK_REASON_UNSUPPORTED, "tools", "may only hold functions here.");
    }
    f = ek_ask_member(v, "function");
    if (!json_is_object(f)) return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, "tools", "must hold functions.");
    json_t *name = ek_ask_member(f, "name"), *text = ek_ask_member(f, "description");
    if (!json_is_string(name) || !plain_name(ek_ask_view(name))) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "tools",
                             "needs a name for each function: 1 to %d letters, digits, - and _.",
                             EK_ASK_TOOL_NAME_BYTES_MAX);
    }
    if (text && !json_is_string(text)) {
        return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, "tools", "has a description that is no string.");
    }
    parameters = ek_ask_member(f, "parameters");
    if (parameters && !json_is_object(parameters)) {
        return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, "tools", "has parameters that are no JSON schema.");
    }
    r->under = "tools.";
    if (!ek_ask_bool(r, f, "strict", &tool->strict)) return false;
    r->under = "";
    tool->told.name = ek_ask_view(name);
    if (text) tool->told.description = ek_ask_view(text);
    tool->parameters = parameters;
    if (!parameters) return true;
    char *written = json_dumps(parameters, JSON_COMPACT);
    MUST(written);
    json_t *kept = json_string_nocheck(written);
    free(written);
    MUST(kept && json_array_append_new(r->out->made, kept) == 0);
    tool->told.parameters = ek_ask_view(kept);
    return true;
}

static bool read_tools(struct ek_ask_reader *r, json_t *root)
{
    struct ek_ask *a = r->out;
    json_t *list = ek_ask_member(root, "tools");
    if (!list) return true;
    if (!json_is_array(list)) return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, "tools", "must be a list.");
    size_t n = json_array_size(list);
    if (n > EK_ASK_TOOLS_MAX) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "tools", "may hold at most %d tools.", EK_ASK_TOOLS_MAX);
    }
    a->tools = calloc(n + 1, sizeof *a->tools);
    MUST(a->tools);
    for (size_t i = 0; i < n; i++) {
        if (!read_tool(r, json_array_get(list, i), &a->tools[i])) return false;
        for (size_t k = 0; k < i; k++) {
            if (!ek_str_eq(a->tools[i].told.name, a->tools[k].told.name)) continue;
            return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "tools", "has two functions of one name.");
        }
        a->tool_count++;
    }
    return true;
}

static bool read_named(struct ek_ask_reader *r, json_t *v)
{
    struct ek_ask *a = r->out;
    json_t *name = json_object_get(json_object_get(v, "function"), "name");
    for (size_t i = 0; i < a->tool_count; i++) {
        if (!json_is_string(name) || !ek_str_eq(ek_ask_view(name), a->tools[i].told.name)) continue;
        a->choice = EK_CHOICE_NAMED;
        a->named_tool = i;
        return true;
    }
    return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "tool_choice", "must name one of the tools.");
}

static bool read_choice(struct ek_ask_reader *r, json_t *root)
{
    struct ek_ask *a = r->out;
    json_t *v = ek_ask_member(root, "tool_choice");
    bool parallel = true;
    if (!ek_ask_bool(r, root, "parallel_tool_calls", &parallel)) return false;
    a->one_call = !parallel;
    a->choice = a->tool_count > 0 ? EK_CHOICE_AUTO : EK_CHOICE_NONE;
    if (!v || is_word(v, "auto")) return true;
    if (json_is_object(v)) return read_named(r, v);
    if (is_word(v, "none")) {
        a->choice = EK_CHOICE_NONE;
    } else if (!is_word(v, "required")) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "tool_choice",
                             "must be none, auto, required or a function.");
    } else if (a->tool_count == 0) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "tool_choice", "requires a tool, and there is none.");
    } else {
        a->choice = EK_CHOICE_REQUIRED;
    }
    return true;
}

/* ---- the sampler's --------------------------------------------------------------------------- */

static bool read_bias(struct ek_ask_reader *r, json_t *root)
{
    struct ek_ask *a = r->out;
    json_t *bias, *v;
    const char *name;
    if (!ek_ask_object(r, root, "logit_bias", &bias)) return false;
    if (json_object_size(bias) > EK_ASK_BIAS_MAX) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "logit_bias", "may name at most %d tokens.",
                             EK_ASK_BIAS_MAX);
    }
    json_object_foreach(bias, name, v) {
        uint64_t id;
        double x = json_number_value(v);
        if (!ek_str_u64(ek_str_of(name), &id) || id >= UINT32_MAX) {
            return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "logit_bias", "must name tokens by their ids.");
        }
        if (!json_is_number(v) || !(x >= -100 && x <= 100)) {
            return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "logit_bias", "must hold numbers from -100 to 100.");
        }
        a->bias[a->bias_count++] = (struct ek_logit_bias){(uint32_t)id, (float)x};
    }
    return true;
}

bool ek_ask_read_form(struct ek_ask_reader *r, json_t *root)
{
    struct ek_ask *a = r->out;
    int64_t n = 1;
    if (!ek_ask_int(r, root, "n", INT64_MIN, INT64_MAX, &n)) return false;
    if (n < 1 || n > EK_ASK_CHOICES_MAX) { /* OpenAI's own range is to 128 */
        return ek_ask_refuse(r, n < 1 || n > 128 ? EK_REASON_BAD_VALUE : EK_REASON_UNSUPPORTED, "n",
                             "must be from 1 to %d here.", EK_ASK_CHOICES_MAX);
    }
    a->n = (uint32_t)n;
    if (!read_format(r, root) || !read_tools(r, root) || !read_choice(r, root) || !read_bias(r, root)) {
        return false;
    }
    if (a->ignore_eos && (a->format != EK_FORMAT_TEXT || a->choice != EK_CHOICE_NONE)) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "ignore_eos",
                             "does not go together with response_format or tools.");
    }
    return true;
}
