/* SPDX-License-Identifier: MIT */
/* Reading a request: which members there are and what they mean. Pure; owns the parsed document. Must
 * never let through what the engine would then do differently from what was asked. */
#include "engine/ask.h"

#include "engine/ask_inside.h"

#include <stdio.h>
#include <stdlib.h>

static bool parse(struct ek_ask_reader *r, struct ek_str body, json_t **root)
{
    json_error_t error;
    *root = NULL;
    if (ek_json_has_more(body, EK_ASK_VALUES_MAX))
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "", "The body holds more values than are read here.");
    *root = json_loadb(body.data ? body.data : "", body.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    struct ek_ask_fault *f = r->fault;
    f->param[0] = 0;
    if (!*root) {
        bool twice = json_error_code(&error) == json_error_duplicate_key;
        bool large = json_error_code(&error) == json_error_numeric_overflow;
        f->reason = twice ? EK_REASON_DUPLICATE_KEY : large ? EK_REASON_BAD_VALUE : EK_REASON_BAD_JSON;
        const char *what = twice   ? "A JSON key occurs twice."
                           : large ? "A number in the body is too large."
                                   : "The body is not valid JSON.";
        snprintf(f->text, sizeof f->text, "%s (line %d, column %d, byte %d)", what, error.line, error.column,
                 error.position);
        return false;
    }
    r->out->document = *root;
    if (json_is_object(*root)) return true;
    f->reason = EK_REASON_WRONG_TYPE;
    snprintf(f->text, sizeof f->text, "The body must be a JSON object.");
    return false;
}

static bool read_sampling(struct ek_ask_reader *r, json_t *root)
{
    struct ek_sampling *s = &r->out->sampling;
    int64_t seed = 0;
    r->out->seed_given = ek_ask_member(root, "seed") != NULL;
    bool ok = ek_ask_float(r, root, "temperature", 0, 2, &s->temperature) &&
              ek_ask_float(r, root, "top_p", 0, 1, &s->top_p) &&
              ek_ask_float(r, root, "min_p", 0, 1, &s->min_p) &&
              ek_ask_u32(r, root, "top_k", 0, INT32_MAX, &s->top_k) &&
              ek_ask_float(r, root, "presence_penalty", -2, 2, &s->presence_penalty) &&
              ek_ask_float(r, root, "frequency_penalty", -2, 2, &s->frequency_penalty) &&
              ek_ask_float(r, root, "repetition_penalty", 0.01, 10, &s->repetition_penalty) &&
              ek_ask_int(r, root, "seed", INT64_MIN, INT64_MAX, &seed);
    if (!ok) return false;
    s->seed = (uint64_t)seed;
    if (s->top_p == 0) { /* OpenAI allows 0 and means the likeliest token */
        s->top_p = 1;
        s->temperature = 0;
    }
    return true;
}

static bool read_stops(struct ek_ask_reader *r, json_t *root)
{
    struct ek_ask *a = r->out;
    json_t *v = ek_ask_member(root, "stop");
    if (!v) return true;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n > EK_STOPS_MAX) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "stop", "may hold at most %d strings.", EK_STOPS_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(s)) {
            return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, "stop", "must be a string or a list of strings.");
        }
        struct ek_str text = ek_ask_view(s);
        if (text.len == 0 || text.len > EK_STOP_BYTES_MAX) {
            return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "stop", "needs strings of 1 to %d bytes.",
                                 EK_STOP_BYTES_MAX);
        }
        a->stops[a->stop_count++] = text;
    }
    return true;
}

/* An effort is a budget, in tokens: DeepSeek's own models take the word, this family takes a number. */
static bool read_effort(struct ek_ask_reader *r, json_t *root)
{
    static const struct { const char *word; uint32_t budget; } efforts[] = {
        {"none", 0}, {"minimal", 256}, {"low", 1024}, {"medium", 4096}, {"high", UINT32_MAX},
        {"xhigh", UINT32_MAX}, {"max", UINT32_MAX}, {"ultra", UINT32_MAX},
    };
    struct ek_str word = {NULL, 0};
    if (!ek_ask_string(r, root, "reasoning_effort", 16, &word)) return false;
    if (!word.data) return true;
    for (size_t i = 0; i < EK_COUNT(efforts); i++) {
        if (!ek_str_eq(word, ek_str_of(efforts[i].word))) continue;
        r->out->thinking = i == 0 ? EK_ASK_THINK_OFF : EK_ASK_THINK_ON;
        r->out->thinking_budget = i == 0 ? UINT32_MAX : efforts[i].budget;
        return true;
    }
    return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "reasoning_effort",
                         "must be none, minimal, low, medium, high, xhigh or max.");
}

static bool read_thinking(struct ek_ask_reader *r, json_t *root)
{
    json_t *v;
    struct ek_str type = {NULL, 0};
    uint32_t *budget = &r->out->thinking_budget;
    if (!read_effort(r, root) || !ek_ask_object(r, root, "thinking", &v)) return false;
    /* As vLLM and llama-server call it. */
    if (!ek_ask_u32(r, root, "thinking_token_budget", 0, UINT32_MAX - 1, budget)) return false;
    if (!ek_ask_u32(r, root, "thinking_budget_tokens", 0, UINT32_MAX - 1, budget)) return false;
    if (!v) return true;
    r->under = "thinking.";
    if (!ek_ask_string(r, v, "type", 32, &type)) return false;
    if (ek_str_eq(type, EK_STR("enabled"))) {
        r->out->thinking = EK_ASK_THINK_ON;
    } else if (ek_str_eq(type, EK_STR("disabled"))) {
        r->out->thinking = EK_ASK_THINK_OFF;
    } else if (type.data) {
        return ek_ask_refuse(r, EK_REASON_BAD_VALUE, "type", "must be enabled or disabled.");
    }
    if (!ek_ask_u32(r, v, "budget_tokens", 0, UINT32_MAX - 1, budget)) return false;
    r->under = "";
    return true;
}

static bool read_logprobs(struct ek_ask_reader *r, json_t *root, enum ek_api api)
{
    struct ek_ask *a = r->out;
    if (api == EK_API_COMPLETIONS) {
        a->logprobs = ek_ask_member(root, "logprobs") != NULL;
        return ek_ask_u32(r, root, "logprobs", 0, EK_TOP_LOGPROBS_MAX, &a->top_logprobs);
    }
    return ek_ask_bool(r, root, "logprobs", &a->logprobs) &&
           ek_ask_u32(r, root, "top_logprobs", 0, EK_TOP_LOGPROBS_MAX, &a->top_logprobs);
}

/* What is known and cannot be done here. */
static bool read_limits_of_ours(struct ek_ask_reader *r, json_t *root)
{
    bool echo = false;
    if (!ek_ask_bool(r, root, "echo", &echo)) return false;
    if (echo) return ek_ask_refuse(r, EK_REASON_UNSUPPORTED, "echo", "is not supported here.");
    int64_t best_of = 1;
    if (!ek_ask_int(r, root, "best_of", 1, 128, &best_of)) return false;
    if (best_of > 1) {
        return ek_ask_refuse(r, EK_REASON_UNSUPPORTED, "best_of", "above 1 is not supported here.");
    }
    if (ek_ask_member(root, "suffix")) {
        return ek_ask_refuse(r, EK_REASON_UNSUPPORTED, "suffix", "is not supported here.");
    }
    return true;
}

static bool read_prompt(struct ek_ask_reader *r, json_t *root)
{
    struct ek_ask *a = r->out;
    json_t *v = ek_ask_member(root, "prompt");
    if (!v) return ek_ask_refuse(r, EK_REASON_MISSING_PARAM, "prompt", "is missing.");
    if (json_is_array(v) && json_array_size(v) == 1 && !json_is_integer(json_array_get(v, 0))) {
        v = json_array_get(v, 0); /* a list of one prompt */
    }
    if (json_is_string(v)) {
        a->prompt = ek_ask_view(v);
        return true;
    }
    if (!json_is_array(v)) {
        return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, "prompt", "must be a string or a list of token ids.");
    }
    if (json_array_size(v) > 1 && !json_is_integer(json_array_get(v, 0))) {
        return ek_ask_refuse(r, EK_REASON_UNSUPPORTED, "prompt", "may hold only one prompt here.");
    }
    return ek_ask_ids(r, v, "prompt", &a->prompt_ids, &a->prompt_id_count);
}

static bool read_extras(struct ek_ask_reader *r, json_t *root)
{
    struct ek_ask *a = r->out;
    json_t *ek;
    int64_t seed = 0, deadline = 0;
    if (!ek_ask_object(r, root, "ek", &ek)) return false;
    if (!ek) return true;
    r->under = "ek.";
    bool ok = ek_ask_int(r, ek, "seed", 0, INT64_MAX, &seed) &&
              ek_ask_u32(r, ek, "thinking_budget", 0, UINT32_MAX - 1, &a->thinking_budget) &&
              ek_ask_u32(r, ek, "priority", 0, 255, &a->priority) &&
              ek_ask_int(r, ek, "deadline_ms", 0, INT32_MAX, &deadline) &&
              ek_ask_string(r, ek, "cache_salt", EK_ASK_SALT_BYTES_MAX, &a->cache_salt) &&
              ek_ask_string(r, ek, "request_id", SIZE_MAX, &a->request_id); /* too long: not used */
    if (!ok) return false;
    if (!a->seed_given && ek_ask_member(ek, "seed")) {
        a->sampling.seed = (uint64_t)seed;
        a->seed_given = true;
    }
    a->deadline_ms = (uint64_t)deadline;
    json_t *prefix = ek_ask_member(ek, "prefix");
    if (prefix && !json_is_array(prefix)) {
        return ek_ask_refuse(r, EK_REASON_WRONG_TYPE, "prefix", "must be a list of token ids.");
    }
    a->continues = prefix != NULL;
    if (prefix && !ek_ask_ids(r, prefix, "prefix", &a->prefix_ids, &a->prefix_count)) return false;
    r->under = "";
    return true;
}

static bool read_stream(struct ek_ask_reader *r, json_t *root)
{
    json_t *options;
    if (!ek_ask_bool(r, root, "stream", &r->out->stream)) return false;
    if (!ek_ask_object(r, root, "stream_options", &options)) return false;
    r->under = "stream_options.";
    if (options && !ek_ask_bool(r, options, "include_usage", &r->out->include_usage)) return false;
    r->under = "";
    return true;
}

static bool read_all(struct ek_ask_reader *r, enum ek_api api, struct ek_str body)
{
    struct ek_ask *a = r->out;
    json_t *root;
    if (!parse(r, body, &root)) return false;
    bool ok = ek_ask_string(r, root, "model", EK_REQUEST_MODEL_BYTES_MAX, &a->model) &&
              read_stream(r, root) &&
              ek_ask_u32(r, root, "max_tokens", 1, INT32_MAX, &a->max_tokens) &&
              ek_ask_u32(r, root, "max_completion_tokens", 1, INT32_MAX, &a->max_tokens) &&
              ek_ask_bool(r, root, "ignore_eos", &a->ignore_eos) && read_sampling(r, root) &&
              read_stops(r, root) && read_thinking(r, root) &&
              read_logprobs(r, root, api) && read_limits_of_ours(r, root) &&
              ek_ask_read_form(r, root) && read_extras(r, root);
    if (!ok) return false;
    return api == EK_API_CHAT ? ek_ask_read_messages(r, root) : read_prompt(r, root);
}

bool ek_ask_read(struct ek_ask *out, enum ek_api api, struct ek_str body, size_t ids_max,
                 struct ek_ask_fault *fault)
{
    *out = (struct ek_ask){.sampling = ek_sampling_default(), .thinking_budget = UINT32_MAX,
                           .n = 1, .made = json_array()};
    MUST(out->made);
    *fault = (struct ek_ask_fault){.reason = EK_REASON_NONE};
    struct ek_ask_reader r = {out, fault, "", ids_max};
    if (read_all(&r, api, body)) return true;
    MUST(fault->reason != EK_REASON_NONE);
    ek_ask_free(out);
    return false;
}

void ek_ask_free(struct ek_ask *a)
{
    json_decref(a->document);
    json_decref(a->made);
    free(a->messages);
    free(a->calls);
    free(a->tools);
    free(a->prompt_ids);
    free(a->prefix_ids);
    *a = (struct ek_ask){0};
}
