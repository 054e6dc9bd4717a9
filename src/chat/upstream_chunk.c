/* SPDX-License-Identifier: MIT */
/* The walk over one payload: a member we know is read, any other is skipped by the JSON reader, which
 * checks it all the same. Every function below is entered with the value's first event in w->e and
 * leaves behind the value's last. */
#include "chat/upstream_chunk.h"

struct walk {
    struct ek_json j;
    const char *base;
    enum ek_json_event e;
    struct ek_str name; /* of the current member, with quotes */
    const char *fault;
    struct ek_up_chunk *c;
};

static bool step(struct walk *w)
{
    w->e = ek_json_next(&w->j);
    if (w->e != EK_JSON_BAD) return true;
    w->fault = ek_json_fault_text((enum ek_json_fault)w->j.fault);
    return false;
}

static bool wrong(struct walk *w, const char *fault)
{
    w->fault = fault;
    return false;
}

static struct ek_str here(const struct walk *w)
{
    return ek_str_make(w->base + w->j.start, (size_t)(w->j.end - w->j.start));
}

static struct ek_str inside(const struct walk *w)
{
    struct ek_str s = here(w);
    return ek_str_make(s.data + 1, s.len - 2);
}

/* Any value; its raw bytes. */
static bool raw(struct walk *w, struct ek_str *out)
{
    uint64_t start = w->j.start;
    if (w->e == EK_JSON_OBJECT || w->e == EK_JSON_ARRAY) {
        uint32_t depth = w->j.depth;
        do {
            if (!step(w)) return false;
        } while (w->j.depth > depth || (w->e != EK_JSON_OBJECT_END && w->e != EK_JSON_ARRAY_END));
    }
    *out = ek_str_make(w->base + start, (size_t)(w->j.end - start));
    return true;
}

static bool skip(struct walk *w)
{
    struct ek_str unused;
    return raw(w, &unused);
}

/* A string (its inside) or null. */
static bool text(struct walk *w, struct ek_str *out, const char *fault)
{
    *out = w->e == EK_JSON_STRING ? inside(w) : (struct ek_str){0};
    return w->e == EK_JSON_STRING || w->e == EK_JSON_NULL ? true : wrong(w, fault);
}

static bool whole(struct walk *w, uint64_t *out)
{
    int64_t value = 0;
    if (w->e == EK_JSON_NUMBER && (!ek_json_int64(here(w), &value) || value < 0)) {
        return wrong(w, "a count is not a whole number");
    }
    if (w->e != EK_JSON_NUMBER && w->e != EK_JSON_NULL) return wrong(w, "a count is not a number");
    *out = (uint64_t)value;
    return true;
}

/* The next member of the object at `depth`: false at its end or on a fault (w->fault tells). */
static bool member(struct walk *w, uint32_t depth)
{
    if (!step(w)) return false;
    if (w->e == EK_JSON_OBJECT_END && w->j.depth == depth) return false;
    MUST(w->e == EK_JSON_KEY && w->j.depth == depth + 1);
    w->name = here(w);
    if (w->j.saved_bytes) w->name = EK_STR("\"escaped\""); /* nobody escapes a name we know */
    return step(w);
}

static bool named(const struct walk *w, struct ek_str name)
{
    return w->name.len == name.len + 2 && memcmp(w->name.data + 1, name.data, name.len) == 0;
}

#define NAMED(w, literal) named((w), EK_STR(literal))

/* --- usage --- */

/* A count that upstreams are not trusted with: what is none is odd, and passed over. null is no count. */
static bool counted(struct walk *w, uint64_t *out, bool *told, bool *odd)
{
    int64_t value;
    if (w->e == EK_JSON_NUMBER && ek_json_int64(here(w), &value) && value >= 0) {
        *out = (uint64_t)value;
        *told = true;
    } else if (w->e != EK_JSON_NULL) {
        *odd = true;
    }
    return skip(w);
}

static bool read_details(struct walk *w, const char *name_in, size_t name_len, uint64_t *out, bool *odd)
{
    bool told;
    *odd = *odd || (w->e != EK_JSON_NULL && w->e != EK_JSON_OBJECT);
    if (w->e != EK_JSON_OBJECT) return skip(w);
    uint32_t depth = w->j.depth;
    while (member(w, depth)) {
        bool ours = named(w, ek_str_make(name_in, name_len));
        if (ours ? !counted(w, out, &told, odd) : !skip(w)) return false;
    }
    return !w->fault;
}

#define DETAILS(w, literal, out, odd) read_details((w), (literal), sizeof(literal) - 1, (out), (odd))

/* Both sums must be told, and possible. An answer is not lost for a wrong count of it: who reads it counts
 * itself. */
static bool read_usage(struct walk *w)
{
    struct ek_up_chunk *c = w->c;
    struct ek_usage *u = &c->usage;
    bool prompt = false, made = false, other = false, odd = false, object = w->e == EK_JSON_OBJECT;
    c->usage_name = w->name;
    c->usage_raw = here(w);
    if (w->e == EK_JSON_NULL) return true;
    uint32_t depth = w->j.depth;
    if (!object && !raw(w, &c->usage_raw)) return false;
    while (object && member(w, depth)) {
        bool ok;
        if (NAMED(w, "prompt_tokens")) ok = counted(w, &u->prompt_tokens, &prompt, &odd);
        else if (NAMED(w, "completion_tokens")) ok = counted(w, &u->completion_tokens, &made, &odd);
        else if (NAMED(w, "prompt_cache_hit_tokens")) ok = counted(w, &u->cached_tokens, &other, &odd);
        else if (NAMED(w, "reasoning_tokens")) ok = counted(w, &u->reasoning_tokens, &other, &odd);
        else if (NAMED(w, "prompt_tokens_details")) ok = DETAILS(w, "cached_tokens", &u->cached_tokens, &odd);
        else if (NAMED(w, "completion_tokens_details")) {
            ok = DETAILS(w, "reasoning_tokens", &u->reasoning_tokens, &odd);
        } else {
            if (NAMED(w, "cost") && w->e == EK_JSON_NUMBER) c->usage_cost = here(w);
            ok = skip(w);
        }
        if (!ok) return false;
    }
    if (w->fault) return false;
    if (u->cached_tokens > u->prompt_tokens) u->cached_tokens = u->prompt_tokens;
    if (u->reasoning_tokens > u->completion_tokens) u->reasoning_tokens = u->completion_tokens;
    c->usage_raw.len = (size_t)(w->base + w->j.end - c->usage_raw.data);
    uint64_t more = u->prompt_tokens > u->completion_tokens ? u->prompt_tokens : u->completion_tokens;
    c->usage_wrong = odd || !prompt || !made || more > EK_UP_USAGE_TOKENS_MAX;
    if (!c->usage_wrong) c->flags |= EK_UP_USAGE;
    return true;
}

/* --- choices --- */

static enum ek_finish finish_of(struct ek_str s)
{
    static const struct ek_str names[] = {
#define X(name, text) {text, sizeof(text) - 1},
        EK_FINISHES(X)
#undef X
    };
    for (size_t i = 0; i < EK_COUNT(names); i++) {
        if (ek_str_eq(s, names[i])) return (enum ek_finish)(EK_FINISH_NONE + 1 + i);
    }
    return EK_FINISH_OTHER;
}

static bool skip_unknown(struct walk *w, struct ek_up_choice *h)
{
    if (w->e != EK_JSON_NULL) h->flags |= EK_UP_UNKNOWN;
    return skip(w);
}

/* Of a whole array: does nothing but white space stand in it? */
static bool is_empty_array(struct ek_str array)
{
    size_t at = 1;
    MUST(array.len >= 2 && array.data[0] == '[');
    while (memchr(" \t\r\n", array.data[at], 4)) at++;
    return array.data[at] == ']';
}

static bool read_delta_member(struct walk *w, struct ek_up_choice *h, struct ek_str *other_reasoning)
{
    if (NAMED(w, "content")) return text(w, &h->content, "content is not a string");
    if (NAMED(w, "reasoning_content")) return text(w, &h->reasoning, "reasoning_content is not a string");
    if (NAMED(w, "reasoning")) {
        if (w->e != EK_JSON_STRING) return skip(w); /* other meanings of the name exist */
        *other_reasoning = inside(w);
        if (w->c->choice_count == 0) w->c->reasoning_name = w->name;
        return true;
    }
    if (NAMED(w, "role")) {
        h->flags |= w->e == EK_JSON_STRING ? EK_UP_ROLE : 0;
        return skip(w);
    }
    if (!NAMED(w, "tool_calls")) return skip_unknown(w, h);
    if (w->e == EK_JSON_NULL) return true;
    if (w->e != EK_JSON_ARRAY) return wrong(w, "tool_calls is not an array");
    if (!raw(w, &h->tool_calls)) return false;
    bool empty = is_empty_array(h->tool_calls);
    h->flags |= empty ? 0 : EK_UP_TOOL_CALLS;
    return true;
}

static bool read_delta(struct walk *w, struct ek_up_choice *h)
{
    if (w->e == EK_JSON_NULL) return true;
    if (w->e != EK_JSON_OBJECT) return wrong(w, "delta is not an object");
    uint64_t start = w->j.start;
    uint32_t depth = w->j.depth;
    struct ek_str other = {0};
    while (member(w, depth)) {
        if (!read_delta_member(w, h, &other)) return false;
    }
    if (w->fault) return false;
    h->delta = ek_str_make(w->base + start, (size_t)(w->j.end - start));
    if (h->reasoning.data && w->c->choice_count == 0) w->c->reasoning_name = (struct ek_str){0};
    if (h->reasoning.len == 0 && other.data) h->reasoning = other;
    return true;
}

static bool read_choice(struct walk *w)
{
    struct ek_up_chunk *c = w->c;
    if (w->e != EK_JSON_OBJECT) return wrong(w, "a choice is not an object");
    if (c->choice_count == EK_UP_CHOICES_MAX) return wrong(w, "a chunk has more than 16 choices");
    struct ek_up_choice *h = &c->choice[c->choice_count];
    *h = (struct ek_up_choice){0};
    uint64_t start = w->j.start;
    uint64_t index = 0;
    uint32_t depth = w->j.depth;
    while (member(w, depth)) {
        bool ok;
        if (NAMED(w, "delta") || NAMED(w, "message")) ok = read_delta(w, h);
        else if (NAMED(w, "index")) ok = whole(w, &index);
        else if (NAMED(w, "text")) ok = text(w, &h->content, "text is not a string");
        else if (NAMED(w, "finish_reason")) ok = text(w, &h->finish_raw, "finish_reason is not a string");
        else if (NAMED(w, "logprobs") && w->e != EK_JSON_NULL) ok = raw(w, &h->logprobs);
        else ok = skip_unknown(w, h);
        if (!ok) return false;
    }
    if (w->fault) return false;
    if (index > UINT32_MAX) return wrong(w, "the index of a choice is too large");
    h->index = (uint32_t)index;
    h->whole = ek_str_make(w->base + start, (size_t)(w->j.end - start));
    h->flags |= h->content.len ? EK_UP_CONTENT : 0;
    h->flags |= h->reasoning.len ? EK_UP_REASONING : 0;
    h->flags |= h->logprobs.data ? EK_UP_LOGPROBS : 0;
    if (h->finish_raw.len) {
        h->flags |= EK_UP_FINISH;
        h->finish = finish_of(h->finish_raw);
    }
    c->flags |= h->flags;
    c->choice_count++;
    return true;
}

static bool read_choices(struct walk *w)
{
    if (w->e == EK_JSON_NULL) return true;
    if (w->e != EK_JSON_ARRAY) return wrong(w, "choices is not an array");
    while (step(w)) {
        if (w->e == EK_JSON_ARRAY_END) return true;
        if (!read_choice(w)) return false;
    }
    return false;
}

/* --- the rest of the top level --- */

static bool read_ek(struct walk *w)
{
    struct ek_up_chunk *c = w->c;
    c->ek_name = w->name;
    c->ek_raw = here(w);
    if (w->e != EK_JSON_OBJECT) return skip(w);
    uint64_t n = 0;
    uint32_t depth = w->j.depth;
    c->ek_prompt_tokens = c->ek_cached_tokens = 0;
    while (member(w, depth)) {
        bool ok;
        if (NAMED(w, "n")) ok = whole(w, &n);
        else if (NAMED(w, "prompt")) ok = whole(w, &c->ek_prompt_tokens);
        else if (NAMED(w, "cached")) ok = whole(w, &c->ek_cached_tokens);
        else if (NAMED(w, "ids") && w->e == EK_JSON_ARRAY) ok = raw(w, &c->ek_ids);
        else ok = skip(w);
        if (!ok) return false;
    }
    if (w->fault) return false;
    if (n > UINT32_MAX) return wrong(w, "ek.n is too large");
    c->ek_tokens = (uint32_t)n;
    c->ek_raw.len = (size_t)(w->base + w->j.end - c->ek_raw.data);
    c->flags |= EK_UP_EK;
    return true;
}

/* message, type and code, wherever a server puts them; other types than strings are no matter. */
static bool read_error_member(struct walk *w)
{
    struct ek_up_chunk *c = w->c;
    if (NAMED(w, "message") && w->e == EK_JSON_STRING) c->error_message = inside(w);
    if (NAMED(w, "type") && w->e == EK_JSON_STRING) c->error_type = inside(w);
    if (NAMED(w, "code") && (w->e == EK_JSON_STRING || w->e == EK_JSON_NUMBER)) c->error_code = here(w);
    return skip(w);
}

static bool read_error(struct walk *w)
{
    struct ek_up_chunk *c = w->c;
    if (w->e == EK_JSON_NULL || w->e == EK_JSON_FALSE) return true;
    c->flags |= EK_UP_ERROR;
    if (w->e == EK_JSON_STRING) c->error_message = inside(w);
    if (w->e != EK_JSON_OBJECT) return skip(w);
    uint32_t depth = w->j.depth;
    while (member(w, depth)) {
        if (!read_error_member(w)) return false;
    }
    return !w->fault;
}

static bool read_top_member(struct walk *w)
{
    struct ek_up_chunk *c = w->c;
    if (NAMED(w, "choices")) return read_choices(w);
    if (NAMED(w, "usage")) return read_usage(w);
    if (NAMED(w, "ek")) return read_ek(w);
    if (NAMED(w, "id")) return raw(w, &c->id);
    if (NAMED(w, "model")) return raw(w, &c->model);
    if (NAMED(w, "created")) return raw(w, &c->created);
    if (NAMED(w, "system_fingerprint")) return raw(w, &c->fingerprint);
    if (NAMED(w, "service_tier")) return raw(w, &c->service_tier);
    if (NAMED(w, "error")) return read_error(w);
    /* Older vLLM: {"object":"error","message":...} */
    if (NAMED(w, "object") && w->e == EK_JSON_STRING && ek_str_eq(inside(w), EK_STR("error"))) {
        c->flags |= EK_UP_ERROR;
    }
    if (NAMED(w, "message") || NAMED(w, "type") || NAMED(w, "code")) return read_error_member(w);
    return skip(w);
}

static struct ek_str trimmed(struct ek_str s)
{
    while (s.len && memchr(" \t\r\n", s.data[s.len - 1], 4)) s.len--;
    while (s.len && memchr(" \t\r\n", s.data[0], 4)) s = ek_str_skip(s, 1);
    return s;
}

bool ek_up_chunk_read(struct ek_str payload, struct ek_up_chunk *c, const char **fault)
{
    struct walk w;
    memset(c, 0, offsetof(struct ek_up_chunk, choice));
    if (payload.len < 16 && ek_str_eq(trimmed(payload), EK_STR("[DONE]"))) {
        c->flags = EK_UP_DONE;
        return true;
    }
    w.base = payload.data;
    w.fault = NULL;
    w.c = c;
    ek_json_begin(&w.j, false);
    ek_json_feed(&w.j, payload.data, payload.len);
    ek_json_finish(&w.j);
    bool ok = step(&w);
    if (ok && w.e != EK_JSON_OBJECT) ok = wrong(&w, "the payload is not an object");
    while (ok && member(&w, 0)) ok = read_top_member(&w);
    ok = ok && !w.fault && step(&w);
    if (!ok && fault) *fault = w.fault;
    MUST(ok == !w.fault);
    return ok;
}

const char *ek_up_ek_read(const char *at, const char *stop, struct ek_up_chunk *c)
{
    struct walk w = {.base = at - 1, .c = c};
    MUST(*at == '{');
    c->ek_ids = (struct ek_str){0};
    ek_json_begin(&w.j, false);
    ek_json_feed(&w.j, "[", 1); /* it stands one level deep, and may be nested that much less */
    if (!step(&w)) return NULL;
    ek_json_feed(&w.j, at, (size_t)(stop - at));
    ek_json_finish(&w.j);
    return step(&w) && read_ek(&w) ? w.base + w.j.end : NULL;
}

int64_t ek_up_chunk_ids(struct ek_str ek_ids, uint32_t *ids, size_t cap)
{
    struct ek_json j;
    int64_t count = 0;
    ek_json_begin(&j, true);
    ek_json_feed(&j, ek_ids.data, ek_ids.len);
    ek_json_finish(&j);
    if (ek_json_next(&j) != EK_JSON_ARRAY) return -1;
    for (;;) {
        enum ek_json_event e = ek_json_next(&j);
        int64_t value;
        if (e == EK_JSON_ARRAY_END) return ek_json_next(&j) == EK_JSON_DONE ? count : -1;
        if (e != EK_JSON_NUMBER || !ek_json_int64(ek_json_text(&j), &value)) return -1;
        if (value < 0 || value > UINT32_MAX) return -1;
        if ((uint64_t)count < cap) ids[count] = (uint32_t)value;
        count++;
    }
}

/* --- what a relay changes --- */

struct change {
    struct ek_str old; /* in the payload */
    struct ek_str value;
    bool drop; /* a whole member: old spans its name and its value; its comma goes too */
};

/* Rising by place; a handful. */
static size_t change_add(struct change *list, size_t count, struct change item)
{
    if (!item.old.data) return count;
    size_t at = count;
    while (at > 0 && list[at - 1].old.data > item.old.data) {
        list[at] = list[at - 1];
        at--;
    }
    list[at] = item;
    return count + 1;
}

static struct change drop_of(struct ek_str name, struct ek_str value)
{
    struct change d = {.drop = true};
    if (name.data) d.old = ek_str_make(name.data, (size_t)(value.data + value.len - name.data));
    return d;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Widen a dropped member by the comma before it or, when it is the first left, by the one behind. */
static struct ek_str with_comma(struct ek_str member, const char *from, const char *stop)
{
    const char *start = member.data;
    const char *end = member.data + member.len;
    while (start > from && is_space(start[-1])) start--;
    if (start > from && start[-1] == ',') return ek_str_make(start - 1, (size_t)(end - start + 1));
    while (end < stop && is_space(*end)) end++;
    if (end < stop && *end == ',') end++;
    return ek_str_make(member.data, (size_t)(end - member.data));
}

void ek_up_chunk_relay(struct ek_buf *out, struct ek_str payload, const struct ek_up_chunk *c,
                       const struct ek_up_edit *edit)
{
    struct change list[6];
    size_t count = 0;
    const char *at = payload.data;
    const char *stop = payload.data + payload.len;
    if (edit->id.data) count = change_add(list, count, (struct change){.old = c->id, .value = edit->id});
    if (edit->model.data) {
        count = change_add(list, count, (struct change){.old = c->model, .value = edit->model});
    }
    if (edit->usage_drop) {
        count = change_add(list, count, drop_of(c->usage_name, c->usage_raw));
    } else if (edit->usage_null) {
        count = change_add(list, count, (struct change){.old = c->usage_raw, .value = EK_STR("null")});
    } else if (edit->usage_more.len && (c->flags & EK_UP_USAGE)) {
        struct ek_str brace = ek_str_skip(c->usage_raw, c->usage_raw.len - 1);
        MUST(brace.data[0] == '}');
        count = change_add(list, count, (struct change){.old = ek_str_make(brace.data, 0),
                                                        .value = edit->usage_more});
    }
    if (edit->ek_drop) count = change_add(list, count, drop_of(c->ek_name, c->ek_raw));
    if (edit->reasoning_rename) {
        struct ek_str name = EK_STR("\"reasoning_content\"");
        count = change_add(list, count, (struct change){.old = c->reasoning_name, .value = name});
    }
    MUST(count <= EK_COUNT(list));
    for (size_t i = 0; i < count; i++) {
        struct ek_str old = list[i].drop ? with_comma(list[i].old, at, stop) : list[i].old;
        MUST(old.data >= at && old.data + old.len <= stop);
        ek_buf_put(out, at, (size_t)(old.data - at));
        ek_buf_str(out, list[i].value);
        at = old.data + old.len;
    }
    ek_buf_put(out, at, (size_t)(stop - at));
}

void ek_up_chunk_put_head(struct ek_buf *out, const struct ek_up_chunk *c)
{
    ek_buf_lit(out, "{\"object\":\"chat.completion.chunk\"");
    if (c->id.data) {
        ek_buf_lit(out, ",\"id\":");
        ek_buf_str(out, c->id);
    }
    if (c->created.data) {
        ek_buf_lit(out, ",\"created\":");
        ek_buf_str(out, c->created);
    }
    if (c->model.data) {
        ek_buf_lit(out, ",\"model\":");
        ek_buf_str(out, c->model);
    }
    ek_buf_printf(out, ",\"choices\":[{\"index\":%u,\"delta\":", c->choice[0].index);
}

void ek_up_chunk_put_delta(struct ek_buf *out, const char *name, struct ek_str text, bool role,
                           struct ek_str tools)
{
    const char *comma = "";
    ek_buf_char(out, '{');
    if (role) {
        ek_buf_lit(out, "\"role\":\"assistant\"");
        comma = ",";
    }
    if (text.len) {
        ek_buf_printf(out, "%s\"%s\":\"", comma, name);
        ek_buf_str(out, text);
        ek_buf_char(out, '"');
        comma = ",";
    }
    if (tools.len) {
        ek_buf_printf(out, "%s\"tool_calls\":", comma);
        ek_buf_str(out, tools);
    }
    ek_buf_char(out, '}');
}
