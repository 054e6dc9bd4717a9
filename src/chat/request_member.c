/* SPDX-License-Identifier: MIT */
/* What the members of a request mean to the door: types, ranges, and how much of messages and prompt
 * will become tokens. Field rules: OpenAI's and DeepSeek's API references (docs/wire.md). */
#include "chat/request_inside.h"

#define TOP(m, key) [EK_MEMBER_##m] = {key, {key, sizeof(key) - 1}, -1}
#define INNER(m, of, of_key, key) \
    [EK_MEMBER_##m] = {of_key "." key, {key, sizeof(key) - 1}, EK_MEMBER_##of}

const struct ek_member_rule ek_member_rules[EK_MEMBER_COUNT] = {
    TOP(MODEL, "model"),
    TOP(MESSAGES, "messages"),
    TOP(PROMPT, "prompt"),
    TOP(STREAM, "stream"),
    TOP(STREAM_OPTIONS, "stream_options"),
    INNER(INCLUDE_USAGE, STREAM_OPTIONS, "stream_options", "include_usage"),
    INNER(CONTINUOUS_USAGE, STREAM_OPTIONS, "stream_options", "continuous_usage_stats"),
    TOP(MAX_TOKENS, "max_tokens"),
    TOP(MAX_COMPLETION_TOKENS, "max_completion_tokens"),
    TOP(N, "n"),
    TOP(SEED, "seed"),
    TOP(THINKING, "thinking"),
    INNER(THINKING_TYPE, THINKING, "thinking", "type"),
    INNER(THINKING_BUDGET, THINKING, "thinking", "budget_tokens"),
    TOP(REASONING_EFFORT, "reasoning_effort"),
    TOP(USER, "user"),
    TOP(USER_ID, "user_id"),
    TOP(TOOLS, "tools"),
    TOP(EK, "ek"),
    TOP(PRIORITY, "priority"),
    TOP(CACHE_SALT, "cache_salt"),
    TOP(REQUEST_ID, "request_id"),
    TOP(KV_TRANSFER_PARAMS, "kv_transfer_params"),
    TOP(RESPONSE_FORMAT, "response_format"),
    TOP(CONTINUE_FINAL, "continue_final_message"),
    TOP(GENERATION_PROMPT, "add_generation_prompt"),
    TOP(TOKEN_BUDGET, "thinking_token_budget"),
    TOP(BUDGET_TOKENS, "thinking_budget_tokens"),
};

const char *ek_member_name(enum ek_member m)
{
    MUST((unsigned)m < EK_MEMBER_COUNT);
    return ek_member_rules[m].name;
}

/* --- types --- */

static bool is_bool(enum ek_json_event e)
{
    return e == EK_JSON_TRUE || e == EK_JSON_FALSE;
}

static void want(struct ek_request_reader *r, enum ek_member m, bool ok, const char *what)
{
    if (ok) return;
    ek_request_refuse(r, EK_REASON_WRONG_TYPE, ek_member_name(m), "'%s' must be %s.",
                      ek_member_name(m), what);
}

/* Digits alone, perhaps more of them than 64 bits hold. */
static bool is_whole(struct ek_str number)
{
    if (number.len && number.data[0] == '-') number = ek_str_skip(number, 1);
    for (size_t i = 0; i < number.len; i++)
        if (number.data[i] < '0' || number.data[i] > '9') return false;
    return number.len > 0;
}

/* A whole number within [min, max] goes to *out. */
static void take_whole(struct ek_request_reader *r, enum ek_member m, enum ek_json_event e, int64_t min,
                       int64_t max, int64_t *out)
{
    want(r, m, e == EK_JSON_NUMBER, "a whole number");
    if (r->bad) return;
    int64_t value = 0;
    bool fits = !r->json.text_cut && ek_json_int64(ek_json_text(&r->json), &value);
    want(r, m, fits || is_whole(ek_json_text(&r->json)), "a whole number");
    if (r->bad) return;
    if (fits && value >= min && value <= max) {
        *out = value;
        return;
    }
    if (fits && max == INT64_MAX) {
        ek_request_refuse(r, EK_REASON_BAD_VALUE, ek_member_name(m), "'%s' must be at least %lld.",
                          ek_member_name(m), (long long)min);
    } else {
        ek_request_refuse(r, EK_REASON_BAD_VALUE, ek_member_name(m),
                          "'%s' must be from %lld to %lld.", ek_member_name(m), (long long)min,
                          (long long)max);
    }
}

/* --- members one by one --- */

static void take_model(struct ek_request_reader *r, enum ek_json_event e)
{
    const struct ek_json *j = &r->json;
    want(r, EK_MEMBER_MODEL, e == EK_JSON_STRING, "a string");
    if (r->bad) return;
    _Static_assert(EK_JSON_TEXT_MAX == EK_REQUEST_MODEL_BYTES_MAX, "the reader keeps a model's name");
    if (j->text_cut || j->text_bytes == 0 || memchr(j->text, '\0', j->text_bytes)) {
        ek_request_refuse(r, EK_REASON_BAD_VALUE, "model",
                          "'model' must be a name of 1 to %u bytes without NUL.",
                          EK_REQUEST_MODEL_BYTES_MAX);
        return;
    }
    memcpy(r->out->model, j->text, j->text_bytes);
    r->out->model[j->text_bytes] = '\0';
    r->out->model_bytes = (uint8_t)j->text_bytes;
}

static void take_user(struct ek_request_reader *r, enum ek_member m, enum ek_json_event e)
{
    want(r, m, e == EK_JSON_STRING, "a string");
    if (r->bad || ek_json_decoded_bytes(&r->json) <= EK_REQUEST_USER_BYTES_MAX) return;
    ek_request_refuse(r, EK_REASON_BAD_VALUE, ek_member_name(m), "'%s' must be at most %u bytes long.",
                      ek_member_name(m), EK_REQUEST_USER_BYTES_MAX);
}

static void take_thinking_type(struct ek_request_reader *r, enum ek_json_event e)
{
    want(r, EK_MEMBER_THINKING_TYPE, e == EK_JSON_STRING, "a string");
    if (r->bad) return;
    r->out->thinking = ek_json_is(&r->json, EK_STR("enabled"))    ? EK_THINKING_ENABLED
                       : ek_json_is(&r->json, EK_STR("disabled")) ? EK_THINKING_DISABLED
                                                                  : EK_THINKING_OTHER;
}

static void take_effort(struct ek_request_reader *r, enum ek_json_event e)
{
    static const struct ek_str names[] = {
        [EK_EFFORT_NONE] = {"none", 4},     [EK_EFFORT_MINIMAL] = {"minimal", 7},
        [EK_EFFORT_LOW] = {"low", 3},       [EK_EFFORT_MEDIUM] = {"medium", 6},
        [EK_EFFORT_HIGH] = {"high", 4},     [EK_EFFORT_XHIGH] = {"xhigh", 5},
        [EK_EFFORT_MAX] = {"max", 3},
    };
    want(r, EK_MEMBER_REASONING_EFFORT, e == EK_JSON_STRING, "a string");
    if (r->bad) return;
    r->out->effort = EK_EFFORT_OTHER;
    for (uint8_t i = EK_EFFORT_NONE; i < EK_COUNT(names); i++) {
        if (ek_json_is(&r->json, names[i])) r->out->effort = i;
    }
}

static void count_text(struct ek_request_reader *r)
{
    const struct ek_json *j = &r->json;
    uint32_t decoded = (uint32_t)ek_json_decoded_bytes(j);
    MUST(decoded >= j->wide_bytes + j->other_bytes);
    r->out->prompt_bytes[EK_SCRIPT_WIDE] += j->wide_bytes;
    r->out->prompt_bytes[EK_SCRIPT_OTHER] += j->other_bytes;
    r->out->prompt_bytes[EK_SCRIPT_ASCII] += decoded - j->wide_bytes - j->other_bytes;
}

static void take_prompt(struct ek_request_reader *r, enum ek_json_event e)
{
    if (r->out->api != EK_API_COMPLETIONS) return;
    want(r, EK_MEMBER_PROMPT, e == EK_JSON_STRING || e == EK_JSON_ARRAY, "a string or an array");
    if (r->bad || e == EK_JSON_ARRAY) return;
    r->out->prompt_is_text = true;
    r->out->message_count = 1;
    count_text(r);
}

static void take_messages(struct ek_request_reader *r, enum ek_json_event e)
{
    if (r->out->api != EK_API_CHAT) return;
    want(r, EK_MEMBER_MESSAGES, e == EK_JSON_ARRAY, "an array of messages");
}

/* long: one case a member */
void ek_request_member(struct ek_request_reader *r, int8_t m, enum ek_json_event e)
{
    MUST(!r->bad);
    struct ek_request *q = r->out;
    int64_t least = q->api == EK_API_CHAT ? 1 : 0; /* 0: score a prompt, generate nothing */
    if (e == EK_JSON_NULL) return; /* as if it were not given */
    switch ((enum ek_member)m) {
    case EK_MEMBER_MODEL: take_model(r, e); break;
    case EK_MEMBER_MESSAGES: take_messages(r, e); break;
    case EK_MEMBER_PROMPT: take_prompt(r, e); break;
    case EK_MEMBER_STREAM:
        want(r, EK_MEMBER_STREAM, is_bool(e), "true or false");
        q->stream = e == EK_JSON_TRUE;
        break;
    case EK_MEMBER_STREAM_OPTIONS:
    case EK_MEMBER_THINKING:
        want(r, (enum ek_member)m, e == EK_JSON_OBJECT, "an object");
        break;
    case EK_MEMBER_INCLUDE_USAGE:
        want(r, EK_MEMBER_INCLUDE_USAGE, is_bool(e), "true or false");
        q->include_usage = e == EK_JSON_TRUE;
        break;
    case EK_MEMBER_CONTINUOUS_USAGE:
        want(r, EK_MEMBER_CONTINUOUS_USAGE, is_bool(e), "true or false");
        break;
    case EK_MEMBER_MAX_TOKENS:
        take_whole(r, EK_MEMBER_MAX_TOKENS, e, least, INT64_MAX, &r->limit[0]);
        break;
    case EK_MEMBER_MAX_COMPLETION_TOKENS:
        take_whole(r, EK_MEMBER_MAX_COMPLETION_TOKENS, e, least, INT64_MAX, &r->limit[1]);
        break;
    case EK_MEMBER_N: {
        int64_t n = 1;
        take_whole(r, EK_MEMBER_N, e, 1, EK_REQUEST_CHOICES_MAX, &n);
        q->n = (uint8_t)n;
        break;
    }
    case EK_MEMBER_SEED:
        take_whole(r, EK_MEMBER_SEED, e, INT64_MIN, INT64_MAX, &q->seed);
        q->seed_given = !r->bad;
        break;
    case EK_MEMBER_THINKING_TYPE: take_thinking_type(r, e); break;
    case EK_MEMBER_THINKING_BUDGET:
        take_whole(r, EK_MEMBER_THINKING_BUDGET, e, 0, INT64_MAX, &q->thinking_budget);
        break;
    case EK_MEMBER_REASONING_EFFORT: take_effort(r, e); break;
    case EK_MEMBER_USER:
    case EK_MEMBER_USER_ID: take_user(r, (enum ek_member)m, e); break;
    case EK_MEMBER_TOOLS: want(r, EK_MEMBER_TOOLS, e == EK_JSON_ARRAY, "an array"); break;
    case EK_MEMBER_EK:
    case EK_MEMBER_PRIORITY:
    case EK_MEMBER_CACHE_SALT:
    case EK_MEMBER_REQUEST_ID:
    case EK_MEMBER_RESPONSE_FORMAT:
    case EK_MEMBER_CONTINUE_FINAL:
    case EK_MEMBER_GENERATION_PROMPT:
    case EK_MEMBER_TOKEN_BUDGET:
    case EK_MEMBER_BUDGET_TOKENS: break; /* the upstream judges */
    case EK_MEMBER_KV_TRANSFER_PARAMS: break; /* ours to overwrite; what the caller put is no matter */
    case EK_MEMBER_COUNT: WRONG("no member");
    }
}

/* --- messages and prompt --- */

static bool one_of(const struct ek_json *j, const struct ek_str *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ek_json_is(j, names[i])) return true;
    }
    return false;
}

void ek_request_message_name(struct ek_request_reader *r)
{
    static const struct ek_str media[] = {
        {"image_url", 9}, {"input_audio", 11}, {"video_url", 9}, {"audio_url", 9},
        {"file", 4},      {"image", 5},        {"input_image", 11},
    };
    static const struct ek_str silent[] = {
        {"role", 4}, {"type", 4}, {"id", 2}, {"tool_call_id", 12}, {"format", 6}, {"detail", 6},
    };
    const struct ek_json *j = &r->json;
    if (j->depth < 3) return;
    r->is_role = j->depth == 3 && ek_json_is(j, EK_STR("role"));
    if (r->media_depth && j->depth > r->media_depth) return;
    r->media_depth = 0;
    r->is_text = !one_of(j, silent, EK_COUNT(silent));
    if (j->depth >= 5 && one_of(j, media, EK_COUNT(media))) {
        r->media_depth = (uint8_t)j->depth;
        r->out->media_count++;
    }
}

/* A message is complete. */
static void note_end(struct ek_request_reader *r)
{
    uint32_t end = (uint32_t)r->json.end;
    MUST(r->out->message_count > 0);
    if (r->out->message_count == 1) r->first_end = end;
    if (r->is_user && !r->first_user_end) r->first_user_end = end;
    r->last_end[(r->out->message_count - 1) % EK_REQUEST_ENDS_KEPT] = end;
}

void ek_request_message_value(struct ek_request_reader *r, enum ek_json_event e)
{
    const struct ek_json *j = &r->json;
    bool ends = e == EK_JSON_OBJECT_END || e == EK_JSON_ARRAY_END;
    if (j->depth == 2 && !ends) {
        want(r, EK_MEMBER_MESSAGES, e == EK_JSON_OBJECT, "an array of objects");
        r->out->message_count++;
        r->out->ends_in_answer = false;
        r->is_user = false;
    }
    if (ends && j->depth == 2) note_end(r);
    if (ends) {
        if (j->depth < r->media_depth) r->media_depth = 0;
        r->is_text = true;
    }
    if (e != EK_JSON_STRING) return;
    if (r->is_role && j->depth == 3) {
        r->out->ends_in_answer = ek_json_is(j, EK_STR("assistant"));
        r->is_user = ek_json_is(j, EK_STR("user"));
        r->has_answer = r->has_answer || r->out->ends_in_answer;
    }
    if (r->is_text && !r->media_depth) count_text(r);
}

/* "a" | ["a", "b"] | [1, 2, 3] | [[1, 2], [3]]: several texts, or one or several lists of token ids. */
void ek_request_prompt_value(struct ek_request_reader *r, enum ek_json_event e)
{
    const struct ek_json *j = &r->json;
    struct ek_request *q = r->out;
    bool fits = e == EK_JSON_NUMBER || e == EK_JSON_ARRAY_END ||
                (j->depth == 2 && (e == EK_JSON_STRING || e == EK_JSON_ARRAY));
    want(r, EK_MEMBER_PROMPT, fits && j->depth <= 3, "text, texts, token ids or lists of token ids");
    if (r->bad) return;
    if (e == EK_JSON_NUMBER) q->prompt_ids++;
    if (e == EK_JSON_STRING) count_text(r);
    bool first_id = e == EK_JSON_NUMBER && j->depth == 2 && q->message_count == 0;
    if (e == EK_JSON_STRING || e == EK_JSON_ARRAY || first_id) q->message_count++;
}

void ek_request_whole(struct ek_request_reader *r)
{
    struct ek_request *q = r->out;
    enum ek_member text = q->api == EK_API_CHAT ? EK_MEMBER_MESSAGES : EK_MEMBER_PROMPT;
    const char *name = ek_member_name(text);
    int64_t a = r->limit[0];
    int64_t b = r->limit[1];
    q->max_tokens = a < 0 ? b : b < 0 ? a : a < b ? a : b;
    if (q->member[text].end == 0) {
        ek_request_refuse(r, EK_REASON_MISSING_PARAM, name, "'%s' is missing.", name);
    } else if (q->message_count == 0) {
        ek_request_refuse(r, EK_REASON_BAD_VALUE, name, "'%s' must not be empty.", name);
    }
}
