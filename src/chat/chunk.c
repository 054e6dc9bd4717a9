/* SPDX-License-Identifier: MIT */
/* The shapes of OpenAI and DeepSeek, written member by member in their documented order. Nothing here
 * decides anything; what a field means is said in chunk.h. */
#include "chat/chunk.h"

static const char *const finish_names[EK_FINISH_COUNT] = {
    [EK_FINISH_NONE] = "null",
#define X(name, text) [EK_FINISH_##name] = text,
    EK_FINISHES(X)
#undef X
    [EK_FINISH_OTHER] = "other",
};

const char *ek_finish_name(enum ek_finish f)
{
    MUST((unsigned)f < EK_FINISH_COUNT);
    return finish_names[f];
}

static void put_finish(struct ek_buf *out, enum ek_finish f)
{
    MUST((unsigned)f < EK_FINISH_COUNT && f != EK_FINISH_OTHER);
    ek_buf_lit(out, ",\"finish_reason\":");
    if (f == EK_FINISH_NONE) {
        ek_buf_lit(out, "null");
        return;
    }
    ek_buf_char(out, '"');
    ek_buf_lit(out, finish_names[f]);
    ek_buf_char(out, '"');
}

/* ,"name":"text" when present. `name` comes with its comma and colon. */
static void put_text(struct ek_buf *out, const char *name, struct ek_str text)
{
    if (!text.data) return;
    ek_buf_lit(out, name);
    ek_json_put_string(out, text);
}

static void put_raw(struct ek_buf *out, const char *name, struct ek_str raw)
{
    if (!raw.data) return;
    MUST(raw.len > 0);
    ek_buf_lit(out, name);
    ek_buf_str(out, raw);
}

static void put_raw_or_null(struct ek_buf *out, const char *name, struct ek_str raw)
{
    put_raw(out, name, raw.data ? raw : EK_STR("null"));
}

static void put_head(struct ek_buf *out, const struct ek_chunk_head *head, const char *object)
{
    ek_buf_lit(out, "{\"id\":");
    ek_json_put_string(out, head->id);
    ek_buf_lit(out, ",\"object\":\"");
    ek_buf_lit(out, object);
    ek_buf_lit(out, "\",\"created\":");
    ek_buf_i64(out, head->created_s);
    ek_buf_lit(out, ",\"model\":");
    ek_json_put_string(out, head->model);
    put_text(out, ",\"system_fingerprint\":", head->fingerprint);
}

static const char *chunk_object(enum ek_api api)
{
    return api == EK_API_CHAT ? "chat.completion.chunk" : "text_completion";
}

/* Members of a chat delta, in DeepSeek's order. */
static void put_delta(struct ek_buf *out, const struct ek_delta *d)
{
    ek_buf_char(out, '{');
    size_t before = out->len;
    if (d->role) {
        struct ek_str content = d->content;
        bool silent = d->reasoning.data || d->tool_calls.data;
        ek_buf_lit(out, ",\"role\":\"assistant\"");
        if (!content.data && silent) ek_buf_lit(out, ",\"content\":null");
        else put_text(out, ",\"content\":", content.data ? content : EK_STR(""));
    } else {
        put_text(out, ",\"content\":", d->content);
    }
    put_text(out, ",\"reasoning_content\":", d->reasoning);
    put_raw(out, ",\"tool_calls\":", d->tool_calls);
    if (out->len > before && !out->failed) { /* the first member needs no comma */
        memmove(out->data + before, out->data + before + 1, out->len - before - 1);
        out->len--;
    }
    ek_buf_char(out, '}');
}

static void put_ek(struct ek_buf *out, const struct ek_delta *d)
{
    ek_buf_lit(out, ",\"ek\":{\"n\":");
    ek_buf_u64(out, d->token_count);
    if (d->ids) {
        ek_buf_lit(out, ",\"ids\":[");
        for (size_t i = 0; i < d->id_count; i++) {
            if (i) ek_buf_char(out, ',');
            ek_buf_u64(out, d->ids[i]);
        }
        ek_buf_char(out, ']');
    }
    if (d->prompt_tokens) {
        ek_buf_lit(out, ",\"prompt\":");
        ek_buf_u64(out, d->prompt_tokens);
        ek_buf_lit(out, ",\"cached\":");
        ek_buf_u64(out, d->cached_tokens);
    }
    ek_buf_char(out, '}');
}

void ek_chunk_write(struct ek_buf *out, const struct ek_chunk_head *head, const struct ek_delta *d)
{
    put_head(out, head, chunk_object(head->api));
    ek_buf_lit(out, ",\"choices\":[{\"index\":");
    ek_buf_u64(out, d->choice);
    if (head->api == EK_API_CHAT) {
        ek_buf_lit(out, ",\"delta\":");
        put_delta(out, d);
    } else {
        put_text(out, ",\"text\":", d->content.data ? d->content : EK_STR(""));
    }
    put_raw_or_null(out, ",\"logprobs\":", d->logprobs);
    put_finish(out, d->finish);
    ek_buf_lit(out, "}]");
    if (head->include_usage) ek_buf_lit(out, ",\"usage\":null");
    if (d->ek) put_ek(out, d);
    ek_buf_char(out, '}');
}

void ek_usage_put_cost(struct ek_buf *out, int64_t nano)
{
    MUST(nano >= 0);
    ek_buf_printf(out, ",\"cost\":%llu.%09llu", (unsigned long long)nano / 1000000000,
                  (unsigned long long)nano % 1000000000);
}

void ek_usage_write(struct ek_buf *out, const struct ek_usage *u)
{
    /* The numbers may be an upstream's: odd ones are written as they are, but no miss below zero. */
    uint64_t miss = u->prompt_tokens > u->cached_tokens ? u->prompt_tokens - u->cached_tokens : 0;
    ek_buf_lit(out, "{\"prompt_tokens\":");
    ek_buf_u64(out, u->prompt_tokens);
    ek_buf_lit(out, ",\"completion_tokens\":");
    ek_buf_u64(out, u->completion_tokens);
    ek_buf_lit(out, ",\"total_tokens\":");
    ek_buf_u64(out, u->prompt_tokens + u->completion_tokens);
    ek_buf_lit(out, ",\"prompt_tokens_details\":{\"cached_tokens\":");
    ek_buf_u64(out, u->cached_tokens);
    ek_buf_lit(out, "},\"completion_tokens_details\":{\"reasoning_tokens\":");
    ek_buf_u64(out, u->reasoning_tokens);
    ek_buf_lit(out, "},\"prompt_cache_hit_tokens\":");
    ek_buf_u64(out, u->cached_tokens);
    ek_buf_lit(out, ",\"prompt_cache_miss_tokens\":");
    ek_buf_u64(out, miss);
    if (u->shortened) {
        ek_buf_lit(out, ",\"thinking_budget\":");
        ek_buf_u64(out, u->thinking_budget);
    }
    if (u->priced) ek_usage_put_cost(out, u->cost_nano);
    if (u->reprompted) ek_buf_lit(out, ",\"continued\":\"reprompt\"");
    ek_buf_lit(out, u->estimated ? ",\"estimated\":true}" : "}");
}

void ek_chunk_write_usage(struct ek_buf *out, const struct ek_chunk_head *head,
                          const struct ek_usage *usage)
{
    put_head(out, head, chunk_object(head->api));
    ek_buf_lit(out, ",\"choices\":[],\"usage\":");
    ek_usage_write(out, usage);
    ek_buf_char(out, '}');
}

static void put_choice(struct ek_buf *out, enum ek_api api, size_t index, const struct ek_choice *c)
{
    ek_buf_lit(out, "{\"index\":");
    ek_buf_u64(out, index);
    if (api == EK_API_CHAT) {
        ek_buf_lit(out, ",\"message\":{\"role\":\"assistant\"");
        if (c->content.data) put_text(out, ",\"content\":", c->content);
        else ek_buf_lit(out, ",\"content\":null");
        put_text(out, ",\"reasoning_content\":", c->reasoning);
        put_raw(out, ",\"tool_calls\":", c->tool_calls);
        ek_buf_char(out, '}');
    } else {
        put_text(out, ",\"text\":", c->content.data ? c->content : EK_STR(""));
    }
    put_raw_or_null(out, ",\"logprobs\":", c->logprobs);
    put_finish(out, c->finish);
    ek_buf_char(out, '}');
}

void ek_completion_write(struct ek_buf *out, const struct ek_chunk_head *head,
                         const struct ek_choice *choices, size_t choice_count,
                         const struct ek_usage *usage, struct ek_str extra)
{
    MUST(extra.len == 0 || extra.data[0] == ',');
    put_head(out, head, head->api == EK_API_CHAT ? "chat.completion" : "text_completion");
    ek_buf_lit(out, ",\"choices\":[");
    for (size_t i = 0; i < choice_count; i++) {
        if (i) ek_buf_char(out, ',');
        put_choice(out, head->api, i, &choices[i]);
    }
    ek_buf_lit(out, "],\"usage\":");
    ek_usage_write(out, usage);
    ek_buf_str(out, extra);
    ek_buf_char(out, '}');
}

void ek_model_write(struct ek_buf *out, const struct ek_model_entry *model)
{
    ek_buf_lit(out, "{\"id\":");
    ek_json_put_string(out, model->id);
    ek_buf_lit(out, ",\"object\":\"model\",\"created\":");
    ek_buf_i64(out, model->created_s);
    ek_buf_lit(out, ",\"owned_by\":");
    ek_json_put_string(out, model->owned_by);
    ek_buf_str(out, model->extra);
    ek_buf_char(out, '}');
}

void ek_models_write(struct ek_buf *out, const struct ek_model_entry *models, size_t count)
{
    ek_buf_lit(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < count; i++) {
        if (i) ek_buf_char(out, ',');
        ek_model_write(out, &models[i]);
    }
    ek_buf_lit(out, "]}");
}
