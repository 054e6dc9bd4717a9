/* SPDX-License-Identifier: MIT */
/* The collected answer as one JSON object, and looks into it on the way. */
#include "chat/collect_inside.h"

size_t ek_collect_choices(const struct ek_collect *c)
{
    MUST_OBJ(c, EK_COLLECT_MAGIC);
    size_t count = 0;
    for (size_t i = 0; i < EK_COUNT(c->choice); i++) count += c->choice[i] != NULL;
    return count;
}

static const struct collect_choice *look(const struct ek_collect *c, size_t choice_index)
{
    MUST_OBJ(c, EK_COLLECT_MAGIC);
    return choice_index < EK_COUNT(c->choice) ? c->choice[choice_index] : NULL;
}

struct ek_str ek_collect_content(const struct ek_collect *c, size_t choice_index)
{
    const struct collect_choice *h = look(c, choice_index);
    return h && h->content_seen ? ek_str_make(h->content.data ? h->content.data : "", h->content.len)
                                : (struct ek_str){0};
}

struct ek_str ek_collect_reasoning(const struct ek_collect *c, size_t choice_index)
{
    const struct collect_choice *h = look(c, choice_index);
    return h && h->reasoning_seen
               ? ek_str_make(h->reasoning.data ? h->reasoning.data : "", h->reasoning.len)
               : (struct ek_str){0};
}

static void put_escaped(struct ek_buf *out, const char *name, const struct ek_buf *inside)
{
    ek_buf_lit(out, name);
    ek_buf_char(out, '"');
    ek_buf_str(out, ek_buf_view(inside));
    ek_buf_char(out, '"');
}

static void put_raw(struct ek_buf *out, const char *name, struct ek_str raw)
{
    ek_buf_lit(out, name);
    ek_buf_str(out, raw);
}

static struct ek_str or_else(const struct ek_buf *raw, const char *otherwise)
{
    return raw->len ? ek_buf_view(raw) : ek_str_of(otherwise);
}

/* ,"name":value for every extra of one place. Returns how many. */
static unsigned put_extras(struct ek_buf *out, const struct collect_choice *h, enum collect_place place)
{
    static const char *const open[] = {[KIND_RAW] = "", [KIND_STRING] = "\"", [KIND_ARRAY] = "["};
    static const char *const close[] = {[KIND_RAW] = "", [KIND_STRING] = "\"", [KIND_ARRAY] = "]"};
    unsigned count = 0;
    for (uint32_t i = 0; i < h->extra_count; i++) {
        const struct collect_extra *x = &h->extra[i];
        if (x->place != place) continue;
        if (place != PLACE_LOGPROBS || count) ek_buf_char(out, ',');
        ek_buf_lit(out, x->name);
        ek_buf_char(out, ':');
        put_raw(out, open[x->kind], ek_buf_view(&x->value));
        ek_buf_lit(out, close[x->kind]);
        count++;
    }
    return count;
}

static void put_tools(struct ek_buf *out, const struct collect_choice *h)
{
    if (h->tool_count == 0) return;
    ek_buf_lit(out, ",\"tool_calls\":[");
    for (uint32_t i = 0; i < h->tool_count; i++) {
        const struct collect_tool *t = h->tool[i];
        if (i) ek_buf_char(out, ',');
        put_raw(out, "{\"id\":", or_else(&t->id, "\"\""));
        put_raw(out, ",\"type\":", or_else(&t->type, "\"function\""));
        put_raw(out, ",\"function\":{\"name\":", or_else(&t->name, "\"\""));
        put_escaped(out, ",\"arguments\":", &t->arguments);
        ek_buf_char(out, '}');
        ek_buf_str(out, ek_buf_view(&t->rest));
        ek_buf_char(out, '}');
    }
    ek_buf_char(out, ']');
}

static bool has_logprobs(const struct collect_choice *h)
{
    for (uint32_t i = 0; i < h->extra_count; i++) {
        if (h->extra[i].place == PLACE_LOGPROBS) return true;
    }
    return false;
}

static void put_choice(struct ek_buf *out, enum ek_api api, size_t index, const struct collect_choice *h)
{
    ek_buf_lit(out, "{\"index\":");
    ek_buf_u64(out, index);
    if (api == EK_API_CHAT) {
        bool silent = !h->content_seen && h->tool_count > 0;
        ek_buf_lit(out, ",\"message\":{\"role\":\"assistant\"");
        if (silent) ek_buf_lit(out, ",\"content\":null");
        else put_escaped(out, ",\"content\":", &h->content);
        if (h->reasoning_seen) put_escaped(out, ",\"reasoning_content\":", &h->reasoning);
        put_tools(out, h);
        put_extras(out, h, PLACE_DELTA);
        ek_buf_char(out, '}');
    } else {
        put_escaped(out, ",\"text\":", &h->content);
    }
    ek_buf_lit(out, ",\"logprobs\":");
    if (has_logprobs(h)) {
        ek_buf_char(out, '{');
        put_extras(out, h, PLACE_LOGPROBS);
        ek_buf_char(out, '}');
    } else {
        ek_buf_lit(out, "null");
    }
    if (h->finish_raw.len) put_escaped(out, ",\"finish_reason\":", &h->finish_raw);
    else ek_buf_lit(out, ",\"finish_reason\":null");
    put_extras(out, h, PLACE_CHOICE);
    ek_buf_char(out, '}');
}

void ek_collect_write(const struct ek_collect *c, struct ek_buf *out, const struct ek_chunk_head *head,
                      const struct ek_usage *usage, struct ek_str extra)
{
    MUST_OBJ(c, EK_COLLECT_MAGIC);
    MUST(extra.len == 0 || extra.data[0] == ',');
    bool first = true;
    ek_buf_lit(out, "{\"id\":");
    ek_json_put_string(out, head->id);
    ek_buf_lit(out, c->api == EK_API_CHAT ? ",\"object\":\"chat.completion\",\"created\":"
                                          : ",\"object\":\"text_completion\",\"created\":");
    ek_buf_i64(out, head->created_s);
    ek_buf_lit(out, ",\"model\":");
    ek_json_put_string(out, head->model);
    if (head->fingerprint.data) {
        ek_buf_lit(out, ",\"system_fingerprint\":");
        ek_json_put_string(out, head->fingerprint);
    } else if (c->fingerprint.len) {
        put_raw(out, ",\"system_fingerprint\":", ek_buf_view(&c->fingerprint));
    }
    if (c->service_tier.len) put_raw(out, ",\"service_tier\":", ek_buf_view(&c->service_tier));
    ek_buf_lit(out, ",\"choices\":[");
    for (size_t i = 0; i < EK_COUNT(c->choice); i++) {
        if (!c->choice[i]) continue;
        if (!first) ek_buf_char(out, ',');
        put_choice(out, c->api, i, c->choice[i]);
        first = false;
    }
    ek_buf_char(out, ']');
    if (usage || c->usage_seen) {
        ek_buf_lit(out, ",\"usage\":");
        ek_usage_write(out, usage ? usage : &c->usage);
    }
    ek_buf_str(out, extra);
    ek_buf_char(out, '}');
}
