/* SPDX-License-Identifier: MIT */
/* Readers of load reports, line by line. */
#include "upstream/load_text.h"

#include "base/must.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_MAX 1000000.0
#define TOKENS_MAX 1e15

enum kind { RUNNING, WAITING, KV_USED, KV_TOTAL, CACHE_CONFIG };

static const struct {
    struct ek_str name;
    enum kind kind;
} metrics[] = {
#define M(text, kind) {{text, sizeof(text) - 1}, kind}
    M("vllm:num_requests_running", RUNNING),      M("vllm:num_requests_waiting", WAITING),
    M("vllm:kv_cache_usage_perc", KV_USED),       M("vllm:gpu_cache_usage_perc", KV_USED),
    M("vllm:cache_config_info", CACHE_CONFIG),    M("sglang:num_running_reqs", RUNNING),
    M("sglang:num_queue_reqs", WAITING),          M("sglang:token_usage", KV_USED),
    M("sglang:max_total_num_tokens", KV_TOTAL),   M("llamacpp:requests_processing", RUNNING),
    M("llamacpp:requests_deferred", WAITING),     M("llamacpp:kv_cache_usage_ratio", KV_USED),
#undef M
};

struct sum {
    double running, waiting, kv_used, kv_total;
    uint32_t runnings, waitings, kv_useds, kv_totals;
};

/* A number as these formats write it; false for NaN, infinities, and what is none. */
static bool number(struct ek_str s, double *out)
{
    char text[40];
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t')) s = ek_str_skip(s, 1);
    size_t len = 0;
    while (len < s.len && s.data[len] != ' ' && s.data[len] != '\t' && s.data[len] != '\r') len++;
    if (len == 0 || !ek_str_copy(ek_str_make(s.data, len), text, sizeof text)) return false;
    char *end;
    *out = strtod(text, &end);
    return *end == '\0' && isfinite(*out) && *out >= 0;
}

/* The value of a label inside {...}; empty when there is no such label. None of those we look for has an
 * escaped quote in it. */
static struct ek_str label(struct ek_str labels, const char *name)
{
    size_t name_len = strlen(name);
    for (size_t i = 0; i + name_len + 2 <= labels.len; i++) {
        bool begins = i == 0 || labels.data[i - 1] == ',' || labels.data[i - 1] == '{' ||
                      labels.data[i - 1] == ' ';
        if (!begins || memcmp(labels.data + i, name, name_len) != 0) continue;
        struct ek_str rest = ek_str_skip(labels, i + name_len);
        if (!ek_str_starts(rest, EK_STR("=\""))) continue;
        rest = ek_str_skip(rest, 2);
        const char *quote = rest.len ? memchr(rest.data, '"', rest.len) : NULL;
        return quote ? ek_str_make(rest.data, (size_t)(quote - rest.data)) : ek_str_make(NULL, 0);
    }
    return ek_str_make(NULL, 0);
}

static void add(struct sum *s, enum kind kind, double value)
{
    switch (kind) {
    case RUNNING: s->running += value; s->runnings++; break;
    case WAITING: s->waiting += value; s->waitings++; break;
    case KV_USED: s->kv_used += value; s->kv_useds++; break;
    case KV_TOTAL: s->kv_total += value; s->kv_totals++; break;
    case CACHE_CONFIG: WRONG("has no value of its own");
    }
}

/* What vLLM says of its cache is in labels: pages and tokens a page. */
static void add_config(struct sum *s, struct ek_str labels)
{
    double block = 0, blocks = 0;
    if (!number(label(labels, "block_size"), &block) || !number(label(labels, "num_gpu_blocks"), &blocks))
        return;
    add(s, KV_TOTAL, block * blocks);
}

static void read_line(struct sum *s, struct ek_str line)
{
    for (size_t i = 0; i < EK_COUNT(metrics); i++) {
        struct ek_str rest = line, labels = {0};
        double value = 0;
        if (!ek_str_starts(line, metrics[i].name)) continue;
        rest = ek_str_skip(rest, metrics[i].name.len);
        if (rest.len && rest.data[0] == '{') {
            const char *close = memrchr(rest.data, '}', rest.len);
            if (!close) return;
            labels = ek_str_make(rest.data, (size_t)(close - rest.data));
            rest = ek_str_skip(rest, (size_t)(close - rest.data) + 1);
        } else if (!rest.len || (rest.data[0] != ' ' && rest.data[0] != '\t')) {
            continue; /* a longer name */
        }
        if (metrics[i].kind == CACHE_CONFIG) add_config(s, labels);
        else if (number(rest, &value)) add(s, metrics[i].kind, value);
        return;
    }
}

static uint32_t count_of(double v)
{
    return v > COUNT_MAX ? (uint32_t)COUNT_MAX : (uint32_t)v;
}

static bool conclude(const struct sum *s, struct ek_load_text *out)
{
    *out = (struct ek_load_text){.running_known = s->runnings > 0, .waiting_known = s->waitings > 0,
                                 .running = count_of(s->running), .waiting = count_of(s->waiting),
                                 .kv_used = -1};
    if (s->kv_useds) out->kv_used = s->kv_used / s->kv_useds;
    if (out->kv_used > 1) out->kv_used = 1;
    if (s->kv_totals && s->kv_total >= 1 && s->kv_total < TOKENS_MAX)
        out->kv_total_tokens = (uint64_t)s->kv_total;
    return s->runnings || s->waitings || s->kv_useds || s->kv_totals;
}

bool ek_load_read_metrics(struct ek_str text, struct ek_load_text *out)
{
    struct sum s = {0};
    while (text.len) {
        const char *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t)(end - text.data) : text.len;
        if (len && text.data[0] != '#') read_line(&s, ek_str_make(text.data, len));
        text = ek_str_skip(text, end ? len + 1 : len);
    }
    return conclude(&s, out);
}

/* ---- ORCA ------------------------------------------------------------------------------------------ */

static void add_named(struct sum *s, struct ek_str name, double value)
{
    if (ek_str_eq(name, EK_STR("kv_cache_usage_perc")) || ek_str_eq(name, EK_STR("kv_cache_utilization")))
        add(s, KV_USED, value);
    else if (ek_str_eq(name, EK_STR("num_requests_waiting"))) add(s, WAITING, value);
    else if (ek_str_eq(name, EK_STR("num_requests_running"))) add(s, RUNNING, value);
}

/* "named_metrics.kv_cache_usage_perc=0.4, named_metrics.num_requests_waiting=3.0" */
static void read_orca_text(struct sum *s, struct ek_str value)
{
    const struct ek_str prefix = EK_STR("named_metrics.");
    while (value.len) {
        const char *comma = memchr(value.data, ',', value.len);
        struct ek_str item = ek_str_make(value.data, comma ? (size_t)(comma - value.data) : value.len);
        value = ek_str_skip(value, item.len + (comma ? 1 : 0));
        while (item.len && item.data[0] == ' ') item = ek_str_skip(item, 1);
        const char *eq = item.len ? memchr(item.data, '=', item.len) : NULL;
        double v = 0;
        if (!eq || !ek_str_starts(item, prefix)) continue;
        struct ek_str name = ek_str_make(item.data + prefix.len, (size_t)(eq - item.data) - prefix.len);
        if (number(ek_str_skip(item, (size_t)(eq - item.data) + 1), &v)) add_named(s, name, v);
    }
}

static void read_orca_json(struct sum *s, struct ek_str value)
{
    json_t *tree = json_loadb(value.data, value.len, 0, NULL);
    const char *name;
    json_t *v;
    json_object_foreach(json_object_get(tree, "named_metrics"), name, v) {
        double number_of = json_number_value(v);
        if (json_is_number(v) && isfinite(number_of) && number_of >= 0)
            add_named(s, ek_str_of(name), number_of);
    }
    json_decref(tree);
}

bool ek_load_read_orca(struct ek_str value, struct ek_load_text *out)
{
    struct sum s = {0};
    if (value.len > 5 && ek_str_eq_nocase(ek_str_make(value.data, 5), EK_STR("TEXT ")))
        read_orca_text(&s, ek_str_skip(value, 5));
    else if (value.len > 5 && ek_str_eq_nocase(ek_str_make(value.data, 5), EK_STR("JSON ")))
        read_orca_json(&s, ek_str_skip(value, 5));
    return conclude(&s, out);
}

uint32_t ek_load_read_slots(struct ek_str body)
{
    json_t *tree = json_loadb(body.data ? body.data : "", body.len, 0, NULL);
    const json_t *slots = json_object_get(tree, "total_slots");
    json_int_t n = json_is_integer(slots) ? json_integer_value(slots) : 0;
    json_decref(tree);
    return n > 0 ? count_of((double)n) : 0;
}
