/* SPDX-License-Identifier: MIT */
/* What can be read: /health, /v1/models, /load, /metrics. Each page is put together in one buffer and
 * sent in one write; nothing here changes anything. */
#include "engine/serve_inside.h"

#include "base/json_write.h"

#include <stdio.h>

static struct ek_model_entry entry(const struct ek_serve *s, const char *id)
{
    return (struct ek_model_entry){.id = ek_str_of(id), .owned_by = EK_STR("evenkeel"),
                                   .created_s = s->started_s};
}

/* The model by its own name first, then by the others it answers to. */
static size_t model_entries(const struct ek_serve *s, struct ek_model_entry *out)
{
    size_t n = 0;
    out[n++] = entry(s, s->model);
    for (size_t i = 0; i < s->aliases.count; i++) out[n++] = entry(s, s->aliases.item[i]);
    out[n++] = entry(s, "deepseek-chat");
    out[n++] = entry(s, "deepseek-reasoner");
    MUST(n <= EK_SERVE_ALIASES_MAX + 3);
    return n;
}

static void models_page(struct ek_serve *s, struct ek_http_req *req, struct ek_str id)
{
    struct ek_model_entry list[EK_SERVE_ALIASES_MAX + 3];
    size_t n = model_entries(s, list), i = 0;
    ek_buf_clear(&s->out);
    if (!id.data) {
        ek_models_write(&s->out, list, n);
        ek_serve_reply_json(req, 200, &s->out);
        return;
    }
    while (i < n && !ek_str_eq(list[i].id, id)) i++;
    if (i == n) {
        struct ek_error e = {.reason = EK_REASON_MODEL_UNKNOWN};
        ek_serve_refuse(s, req, &e);
        return;
    }
    ek_model_write(&s->out, &list[i]);
    ek_serve_reply_json(req, 200, &s->out);
}

/* The batch sizes of ek_engine_load.decode_tps: powers of two. */
static void put_decode(struct ek_buf *b, const struct ek_engine_load *l)
{
    bool first = true;
    ek_buf_lit(b, "\"decode_tps\":[");
    for (unsigned i = 0; i < EK_ENGINE_DECODE_BUCKETS; i++) {
        if (!(l->decode_tps[i] > 0)) continue;
        ek_buf_printf(b, "%s[%u,%.3f]", first ? "" : ",", 1U << i, l->decode_tps[i]);
        first = false;
    }
    ek_buf_char(b, ']');
}

static void load_page(struct ek_serve *s, struct ek_http_req *req)
{
    struct ek_engine_load l;
    struct ek_buf *b = &s->out;
    ek_engine_load(s->engine, &l);
    ek_buf_clear(b);
    ek_buf_printf(b, "{\"slots\":%u,\"running\":%u,\"waiting\":%u,\"waiting_max\":%u,", l.slots, l.running,
                  l.waiting, l.waiting_max);
    ek_buf_printf(b, "\"kv_total\":%u,\"kv_free\":%u,\"page\":%u,\"prefill_tps\":%.3f,", l.kv_total_tokens,
                  l.kv_free_tokens, l.page_tokens, l.prefill_tps);
    put_decode(b, &l);
    ek_buf_printf(b, ",\"ctx\":%u,\"model\":", s->ctx_tokens);
    ek_json_put_string(b, ek_str_of(s->model));
    ek_buf_lit(b, ",\"template\":");
    ek_json_put_string(b, ek_str_of(ek_template_name(&s->chat)));
    ek_buf_lit(b, ",\"numerics\":");
    ek_json_put_string(b, ek_str_of(ek_engine_numerics(s->engine)));
    ek_buf_char(b, '}');
    ek_serve_reply_json(req, 200, b);
}

enum ek_orca ek_serve_orca_asked(const struct ek_http_head *head)
{
    struct ek_str format;
    if (!ek_http_head_find(head, EK_STR("endpoint-load-metrics-format"), &format)) return EK_ORCA_NONE;
    if (ek_str_eq_nocase(format, EK_STR("TEXT"))) return EK_ORCA_TEXT;
    return ek_str_eq_nocase(format, EK_STR("JSON")) ? EK_ORCA_JSON : EK_ORCA_NONE;
}

size_t ek_serve_orca(const struct ek_call *c, char text[EK_ORCA_BYTES_MAX], struct ek_http_header *out)
{
    struct ek_engine_load l;
    if (c->orca == EK_ORCA_NONE) return 0;
    ek_engine_load(c->serve->engine, &l);
    MUST(l.kv_total_tokens > 0 && l.kv_free_tokens <= l.kv_total_tokens);
    double used = 1 - (double)l.kv_free_tokens / l.kv_total_tokens;
    int n = c->orca == EK_ORCA_TEXT
                ? snprintf(text, EK_ORCA_BYTES_MAX,
                           "TEXT named_metrics.kv_cache_usage_perc=%.4f, "
                           "named_metrics.num_requests_running=%u, named_metrics.num_requests_waiting=%u",
                           used, l.running, l.waiting)
                : snprintf(text, EK_ORCA_BYTES_MAX,
                           "JSON {\"named_metrics\": {\"kv_cache_usage_perc\": %.4f, "
                           "\"num_requests_running\": %u, \"num_requests_waiting\": %u}}",
                           used, l.running, l.waiting);
    MUST(n > 0 && n < EK_ORCA_BYTES_MAX);
    *out = (struct ek_http_header){EK_STR("endpoint-load-metrics"), {text, (size_t)n}};
    return 1;
}

static void put_value(struct ek_buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
    ek_metric_help(b, name, type, help);
    ek_metric_value(b, name, NULL, v);
}

/* A pair of counters by where the guesses came from. */
static void put_guesses(struct ek_buf *b, const struct ek_engine_load *l)
{
    const char *name = "evenkeel_engine_guessed_tokens_total";
    ek_metric_help(b, name, "counter", "Tokens computed ahead of their time, because they were likely.");
    ek_metric_value(b, name, "source=\"lookup\"", l->guessed_tokens);
    ek_metric_value(b, name, "source=\"ahead\"", l->ahead_tokens);
    name = "evenkeel_engine_guesses_held_total";
    ek_metric_help(b, name, "counter", "Those of them that were right.");
    ek_metric_value(b, name, "source=\"lookup\"", l->guesses_held);
    ek_metric_value(b, name, "source=\"ahead\"", l->ahead_held);
}

static void put_engine(struct ek_buf *b, const struct ek_engine_load *l)
{
    put_value(b, "evenkeel_engine_slots", "gauge", "Sequences computed at once.", l->slots);
    put_value(b, "evenkeel_engine_running", "gauge", "Sequences being computed.", l->running);
    put_value(b, "evenkeel_engine_waiting", "gauge", "Accepted and not yet begun.", l->waiting);
    put_value(b, "evenkeel_engine_kv_tokens", "gauge", "Room of the KV cache.", l->kv_total_tokens);
    put_value(b, "evenkeel_engine_kv_free_tokens", "gauge", "Room left in it.", l->kv_free_tokens);
    put_value(b, "evenkeel_engine_prompt_tokens_total", "counter", "Prompt tokens computed.",
              l->prompt_tokens);
    put_value(b, "evenkeel_engine_cached_tokens_total", "counter", "Tokens found in the cache instead.",
              l->cached_tokens);
    put_value(b, "evenkeel_engine_cache_asked_tokens_total", "counter",
              "Tokens that could have been found there, in whole pages.", l->cache_asked_tokens);
    put_value(b, "evenkeel_engine_cache_evicted_tokens_total", "counter", "Tokens that made room in it.",
              l->cache_evicted_tokens);
    put_value(b, "evenkeel_engine_generated_tokens_total", "counter", "Tokens generated.",
              l->generated_tokens);
    put_value(b, "evenkeel_engine_preempted_total", "counter",
              "Times a running request gave its room to another.", l->jobs_preempted);
    put_guesses(b, l);
    put_value(b, "evenkeel_engine_steps_total", "counter", "Steps taken.", l->steps);
    put_value(b, "evenkeel_engine_ring_full_total", "counter", "Times the step thread waited for a reader.",
              l->ring_full);
    ek_metric_help(b, "evenkeel_engine_prefill_tokens_per_second", "gauge", "Recent speed on prompts.");
    ek_metric_double(b, "evenkeel_engine_prefill_tokens_per_second", NULL, l->prefill_tps);
}

static void put_disk(struct ek_buf *b, const struct ek_engine_load *l)
{
    uint64_t page = l->page_tokens;
    if (!l->disk) return;
    put_value(b, "evenkeel_kv_disk_bytes", "gauge", "Files of the KV cache's disk tier.", l->disk_bytes);
    put_value(b, "evenkeel_kv_disk_tokens", "gauge", "Tokens in them.", l->disk_pages * page);
    put_value(b, "evenkeel_kv_disk_written_tokens_total", "counter", "Tokens written there.",
              l->disk_written_pages * page);
    put_value(b, "evenkeel_kv_disk_restored_tokens_total", "counter",
              "Tokens brought back instead of computed.", l->disk_restored_tokens);
    put_value(b, "evenkeel_kv_disk_evicted_tokens_total", "counter", "Tokens removed to keep the limit.",
              l->disk_evicted_pages * page);
    put_value(b, "evenkeel_kv_disk_skipped_tokens_total", "counter",
              "Tokens not written: no room on the way, or the disk refused.",
              l->disk_skipped_pages * page + l->disk_lost_tokens);
    put_value(b, "evenkeel_kv_disk_damaged_total", "counter", "Files that were not whole, removed.",
              l->disk_damaged);
    put_value(b, "evenkeel_kv_disk_errors_total", "counter", "Times the system refused to read or write.",
              l->disk_errors);
    put_value(b, "evenkeel_kv_disk_stuck_total", "counter", "Times it did not answer and was not waited for.",
              l->disk_stuck);
    put_value(b, "evenkeel_kv_disk_late_total", "counter", "Requests that did not wait for it any longer.",
              l->disk_late);
}

static void put_calls(struct ek_buf *b, const struct ek_serve *s)
{
    char label[80];
    const struct ek_serve_counters *n = &s->counters;
    struct ek_encoder_counters text = ek_encoder_counters(s->encoder);
    ek_metric_help(b, "evenkeel_engine_answers_total", "counter", "Answers by finish_reason.");
    for (unsigned i = EK_FINISH_NONE + 1; i < EK_FINISH_OTHER; i++) {
        snprintf(label, sizeof label, "finish=\"%s\"", ek_finish_name((enum ek_finish)i));
        ek_metric_value(b, "evenkeel_engine_answers_total", label, n->answers[i]);
    }
    ek_metric_help(b, "evenkeel_engine_refused_total", "counter", "Refused or broken off, by reason.");
    for (unsigned i = 0; i < EK_REASON_COUNT; i++) {
        if (n->refused[i] == 0) continue;
        snprintf(label, sizeof label, "reason=\"%s\"", ek_reason_code((enum ek_reason)i));
        ek_metric_value(b, "evenkeel_engine_refused_total", label, n->refused[i]);
    }
    put_value(b, "evenkeel_engine_cancelled_total", "counter", "Clients that left first.", n->cancelled);
    put_value(b, "evenkeel_engine_thought_tokens_total", "counter", "Of finished answers, tokens thought.",
              n->thought_tokens);
    put_value(b, "evenkeel_engine_gathered_total", "counter", "Times a slow client's text was kept back.",
              n->gathered);
    put_value(b, "evenkeel_engine_pattern_misses_total", "counter", "Pre-tokenizer patterns that gave up.",
              text.pattern_misses);
    ek_metric_help(b, "evenkeel_engine_first_token_seconds", "histogram", "Head of request to first token.");
    ek_metric_histogram(b, "evenkeel_engine_first_token_seconds", NULL, &n->first_token_s);
    ek_metric_help(b, "evenkeel_engine_answer_seconds", "histogram", "Head of request to end of answer.");
    ek_metric_histogram(b, "evenkeel_engine_answer_seconds", NULL, &n->whole_s);
}

static void metrics_page(struct ek_serve *s, struct ek_http_req *req)
{
    const struct ek_http_header header = {EK_STR("Content-Type"),
                                          EK_STR("text/plain; version=0.0.4; charset=utf-8")};
    struct ek_engine_load load;
    uint64_t open = 0, requests = 0;
    ek_engine_load(s->engine, &load);
    ek_buf_clear(&s->out);
    put_engine(&s->out, &load);
    put_disk(&s->out, &load);
    put_calls(&s->out, s);
    for (size_t i = 0; i < s->http_count; i++) {
        const struct ek_http_counters *c = ek_http_server_counters(s->http[i]);
        open += c->open;
        requests += c->requests;
    }
    put_value(&s->out, "evenkeel_engine_connections", "gauge", "Open connections.", open);
    put_value(&s->out, "evenkeel_engine_requests_total", "counter", "Requests of every kind.", requests);
    ek_http_reply(req, 200, &header, 1, ek_buf_view(&s->out));
}

bool ek_serve_page(struct ek_serve *s, struct ek_http_req *req, struct ek_str path)
{
    const struct ek_str models = EK_STR("/models/");
    if (ek_str_eq(path, EK_STR("/health")) || ek_str_eq(path, EK_STR("/ready"))) {
        ek_buf_clear(&s->out);
        ek_buf_lit(&s->out, "{\"status\":\"ok\"}");
        ek_serve_reply_json(req, 200, &s->out);
    } else if (ek_str_eq(path, EK_STR("/models"))) {
        models_page(s, req, (struct ek_str){NULL, 0});
    } else if (ek_str_starts(path, models)) {
        models_page(s, req, ek_str_skip(path, models.len));
    } else if (ek_str_eq(path, EK_STR("/load"))) {
        load_page(s, req);
    } else if (ek_str_eq(path, EK_STR("/metrics"))) {
        metrics_page(s, req);
    } else {
        return false;
    }
    return true;
}
