/* SPDX-License-Identifier: MIT */
/* Questions, answers, and how far two sets of answers agree. jansson reads: it is asked a few times a day. */
#include "upstream/identity.h"

#include "base/json_write.h"
#include "base/must.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

#define FORMAT "evenkeel identity 1"

/* Short, with many plausible ways to go on: that is where models differ first. */
static const char *const asks[] = {
    "List twelve animals, one after the other, separated by commas.",
    "Compute 37 * 48 step by step.",
    "Continue: Once upon a time, in a harbour town,",
    "Translate into French: The keel keeps the ship upright in heavy weather.",
    "Write a C function that returns the greatest common divisor of two ints.",
};

void ek_identity_body(uint32_t ask, const char *model, bool logprobs, struct ek_buf *out)
{
    _Static_assert(EK_COUNT(asks) == EK_IDENTITY_ASKS, "as many as the header says");
    MUST(ask < EK_IDENTITY_ASKS);
    ek_buf_lit(out, "{\"model\":");
    ek_json_put_string(out, ek_str_of(model));
    ek_buf_printf(out, ",\"temperature\":0,\"seed\":1,\"max_tokens\":%u,\"stream\":false%s,"
                  "\"messages\":[{\"role\":\"user\",\"content\":", EK_IDENTITY_TOKENS,
                  logprobs ? ",\"logprobs\":true" : "");
    ek_json_put_string(out, ek_str_of(asks[ask]));
    ek_buf_lit(out, "}]}");
}

static void add_text(struct ek_identity_answer *a, const json_t *text)
{
    size_t n = json_string_length(text), room = sizeof a->text - a->bytes;
    if (!json_is_string(text)) return;
    if (n > room) n = room;
    memcpy(a->text + a->bytes, json_string_value(text), n);
    a->bytes += (uint32_t)n;
}

/* Of the tokens of the answer, whose texts one after the other are its end. */
static void add_logprobs(struct ek_identity_answer *a, const json_t *list, uint32_t begin)
{
    uint32_t at = begin;
    for (size_t i = 0; i < json_array_size(list) && a->tokens < EK_IDENTITY_TOKENS; i++) {
        const json_t *token = json_array_get(list, i);
        const json_t *p = json_object_get(token, "logprob");
        if (!json_is_number(p)) return;
        at += (uint32_t)json_string_length(json_object_get(token, "token"));
        a->logprob[a->tokens] = (float)json_number_value(p);
        a->end[a->tokens++] = at;
    }
}

bool ek_identity_read(struct ek_str body, struct ek_identity_answer *out)
{
    json_t *o = json_loadb(body.data ? body.data : "", body.len, 0, NULL);
    const json_t *choice = json_array_get(json_object_get(o, "choices"), 0);
    const json_t *message = json_object_get(choice, "message");
    *out = (struct ek_identity_answer){.bytes = 0};
    add_text(out, json_object_get(message, "reasoning_content"));
    uint32_t begin = out->bytes;
    add_text(out, json_object_get(message, "content"));
    add_logprobs(out, json_object_get(json_object_get(choice, "logprobs"), "content"), begin);
    bool ok = json_is_object(message) && out->bytes > 0;
    json_decref(o);
    return ok;
}

/* ---- comparing --------------------------------------------------------------------------------------- */

static uint32_t common(const struct ek_identity_answer *a, const struct ek_identity_answer *b)
{
    uint32_t n = 0;
    while (n < a->bytes && n < b->bytes && a->text[n] == b->text[n]) n++;
    return n;
}

struct ek_identity_verdict ek_identity_compare(const struct ek_identity_print *recorded,
                                               const struct ek_identity_print *now)
{
    struct ek_identity_verdict v = {.same = 0};
    double drift = 0, tokens = 0;
    MUST(recorded->answers <= EK_IDENTITY_ASKS && now->answers <= EK_IDENTITY_ASKS);
    for (uint32_t i = 0; i < recorded->answers && i < now->answers; i++) {
        const struct ek_identity_answer *a = &recorded->answer[i], *b = &now->answer[i];
        uint32_t same = common(a, b), longer = a->bytes > b->bytes ? a->bytes : b->bytes;
        v.same += longer ? (double)same / longer : 0;
        for (uint32_t t = 0; t < a->tokens && t < b->tokens; t++) {
            if (a->end[t] != b->end[t] || a->end[t] > same) break;
            drift += fabs((double)a->logprob[t] - (double)b->logprob[t]);
            tokens += 1;
        }
    }
    if (recorded->answers) v.same /= recorded->answers;
    v.drift_known = tokens > 0;
    v.drift = tokens > 0 ? drift / tokens : 0;
    v.other = v.same < EK_IDENTITY_SAME_LEAST || v.drift > EK_IDENTITY_DRIFT_MOST;
    return v;
}

/* ---- the file ---------------------------------------------------------------------------------------- */

void ek_identity_write(const struct ek_identity_print *p, struct ek_buf *out)
{
    ek_buf_lit(out, "{\"format\":\"" FORMAT "\",\n \"answers\":[");
    for (uint32_t i = 0; i < p->answers; i++) {
        const struct ek_identity_answer *a = &p->answer[i];
        ek_buf_printf(out, "%s\n  {\"hex\":\"", i ? "," : "");
        for (uint32_t k = 0; k < a->bytes; k++) ek_buf_printf(out, "%02x", (unsigned char)a->text[k]);
        ek_buf_lit(out, "\",\"logprobs\":[");
        for (uint32_t t = 0; t < a->tokens; t++)
            ek_buf_printf(out, "%s[%u,%.5f]", t ? "," : "", a->end[t], (double)a->logprob[t]);
        ek_buf_lit(out, "]}");
    }
    ek_buf_lit(out, "]}\n");
}

static unsigned digit(char c)
{
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

static bool parse_answer(const json_t *o, struct ek_identity_answer *a)
{
    const char *hex = json_string_value(json_object_get(o, "hex"));
    const json_t *list = json_object_get(o, "logprobs");
    size_t n = hex ? strlen(hex) : 0;
    *a = (struct ek_identity_answer){.bytes = 0};
    if (!n || n % 2 || n / 2 > sizeof a->text || json_array_size(list) > EK_IDENTITY_TOKENS) return false;
    for (; a->bytes < n / 2; a->bytes++) {
        unsigned high = digit(hex[2 * a->bytes]), low = digit(hex[2 * a->bytes + 1]);
        if (high > 15 || low > 15) return false;
        a->text[a->bytes] = (char)(high << 4 | low);
    }
    for (size_t t = 0; t < json_array_size(list); t++) {
        const json_t *end = json_array_get(json_array_get(list, t), 0);
        const json_t *p = json_array_get(json_array_get(list, t), 1);
        json_int_t at = json_integer_value(end);
        if (!json_is_integer(end) || at < 0 || at > UINT32_MAX || !json_is_number(p)) return false;
        a->end[a->tokens] = (uint32_t)at;
        a->logprob[a->tokens++] = (float)json_number_value(p);
    }
    return true;
}

bool ek_identity_parse(struct ek_str text, struct ek_identity_print *out)
{
    json_t *o = json_loadb(text.data ? text.data : "", text.len, 0, NULL);
    const char *format = json_string_value(json_object_get(o, "format"));
    const json_t *list = json_object_get(o, "answers");
    *out = (struct ek_identity_print){.answers = 0};
    bool ok = format && strcmp(format, FORMAT) == 0 && json_array_size(list) == EK_IDENTITY_ASKS;
    for (size_t i = 0; ok && i < EK_IDENTITY_ASKS; i++)
        ok = parse_answer(json_array_get(list, i), &out->answer[out->answers++]);
    json_decref(o);
    return ok;
}
