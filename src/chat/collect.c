/* SPDX-License-Identifier: MIT */
/* Adding chunks. Every byte kept goes through take(), which holds the one limit; a failure is kept and
 * returned ever after. */
#include "chat/collect_inside.h"

#include <stdlib.h>

struct ek_collect *ek_collect_new(enum ek_api api, size_t bytes_max)
{
    MUST(bytes_max > 0);
    struct ek_collect *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->magic = EK_COLLECT_MAGIC;
    c->api = api;
    c->bytes_max = bytes_max;
    c->fingerprint = ek_buf_make(bytes_max);
    c->service_tier = ek_buf_make(bytes_max);
    return c;
}

static void tool_free(struct collect_tool *t)
{
    ek_buf_free(&t->id);
    ek_buf_free(&t->type);
    ek_buf_free(&t->name);
    ek_buf_free(&t->arguments);
    ek_buf_free(&t->rest);
    free(t);
}

static void choice_free(struct collect_choice *h)
{
    ek_buf_free(&h->finish_raw);
    ek_buf_free(&h->content);
    ek_buf_free(&h->reasoning);
    for (uint32_t i = 0; i < h->tool_count; i++) tool_free(h->tool[i]);
    for (uint32_t i = 0; i < h->extra_count; i++) ek_buf_free(&h->extra[i].value);
    free(h);
}

void ek_collect_free(struct ek_collect **where)
{
    struct ek_collect *c = *where;
    if (!c) return;
    MUST_OBJ(c, EK_COLLECT_MAGIC);
    *where = NULL;
    for (size_t i = 0; i < EK_COUNT(c->choice); i++) {
        if (c->choice[i]) choice_free(c->choice[i]);
    }
    ek_buf_free(&c->fingerprint);
    ek_buf_free(&c->service_tier);
    c->magic = 0;
    free(c);
}

/* --- the limit --- */

static bool fail(struct ek_collect *c, enum ek_status why)
{
    if (c->failed == EK_OK) c->failed = why;
    return false;
}

static bool take(struct ek_collect *c, size_t bytes)
{
    MUST(c->bytes <= c->bytes_max);
    if (bytes > c->bytes_max - c->bytes) return fail(c, EK_FULL);
    c->bytes += bytes;
    return true;
}

static void append(struct ek_collect *c, struct ek_buf *to, struct ek_str s)
{
    if (!take(c, s.len)) return;
    ek_buf_str(to, s);
    if (to->failed) fail(c, EK_FULL);
}

static void replace(struct ek_collect *c, struct ek_buf *to, struct ek_str s)
{
    c->bytes -= to->len;
    ek_buf_clear(to);
    append(c, to, s);
}

static void *take_new(struct ek_collect *c, size_t bytes)
{
    if (!take(c, bytes)) return NULL;
    void *p = calloc(1, bytes);
    if (!p) fail(c, EK_FULL);
    return p;
}

static struct collect_choice *choice_of(struct ek_collect *c, uint32_t index)
{
    if (index >= EK_COUNT(c->choice)) {
        fail(c, EK_INVALID);
        return NULL;
    }
    if (c->choice[index]) return c->choice[index];
    struct collect_choice *h = take_new(c, sizeof *h);
    if (!h) return NULL;
    h->finish_raw = ek_buf_make(c->bytes_max);
    h->content = ek_buf_make(c->bytes_max);
    h->reasoning = ek_buf_make(c->bytes_max);
    c->choice[index] = h;
    return h;
}

/* --- walking raw values the chunk reader has already accepted --- */

struct member {
    struct ek_str name; /* with quotes */
    struct ek_str value;
    enum ek_json_event kind; /* of the value's beginning */
};

struct members {
    struct ek_json j;
    const char *base;
};

static void members_begin(struct members *m, struct ek_str container)
{
    m->base = container.data;
    ek_json_begin(&m->j, false);
    ek_json_feed(&m->j, container.data, container.len);
    ek_json_finish(&m->j);
    enum ek_json_event e = ek_json_next(&m->j);
    MUST(e == EK_JSON_OBJECT || e == EK_JSON_ARRAY);
}

/* The next member of an object, or the next element of an array (without a name). */
static bool members_next(struct members *m, struct member *out)
{
    enum ek_json_event e = ek_json_next(&m->j);
    MUST(e != EK_JSON_BAD && e != EK_JSON_MORE);
    if (e == EK_JSON_OBJECT_END || e == EK_JSON_ARRAY_END) return false;
    out->name = (struct ek_str){0};
    if (e == EK_JSON_KEY) {
        out->name = ek_str_make(m->base + m->j.start, (size_t)(m->j.end - m->j.start));
        e = ek_json_next(&m->j);
    }
    out->kind = e;
    uint64_t start = m->j.start;
    if (e == EK_JSON_OBJECT || e == EK_JSON_ARRAY) {
        do e = ek_json_next(&m->j);
        while (m->j.depth > 1 || (e != EK_JSON_OBJECT_END && e != EK_JSON_ARRAY_END));
    }
    out->value = ek_str_make(m->base + start, (size_t)(m->j.end - start));
    return true;
}

static bool is_named(const struct member *m, const char *quoted)
{
    return ek_str_eq(m->name, ek_str_of(quoted));
}

static struct ek_str inside(struct ek_str quoted)
{
    return ek_str_make(quoted.data + 1, quoted.len - 2);
}

/* --- unknown members --- */

static struct collect_extra *extra_of(struct ek_collect *c, struct collect_choice *h, struct ek_str name,
                                      enum collect_place place)
{
    for (uint32_t i = 0; i < h->extra_count; i++) {
        struct collect_extra *x = &h->extra[i];
        if (x->place == place && ek_str_eq(name, ek_str_of(x->name))) return x;
    }
    struct collect_extra *x = &h->extra[h->extra_count];
    bool fits = h->extra_count < EK_COLLECT_EXTRAS_MAX && ek_str_copy(name, x->name, sizeof x->name);
    if (!fits) {
        c->extras_dropped++;
        return NULL;
    }
    x->place = (uint8_t)place;
    x->kind = KIND_RAW;
    x->value = ek_buf_make(c->bytes_max);
    h->extra_count++;
    return x;
}

static void add_extra(struct ek_collect *c, struct collect_choice *h, const struct member *m,
                      enum collect_place place)
{
    if (m->kind == EK_JSON_NULL) return;
    struct collect_extra *x = extra_of(c, h, m->name, place);
    if (!x) return;
    bool joins = m->kind == EK_JSON_ARRAY || (m->kind == EK_JSON_STRING && place == PLACE_DELTA);
    enum collect_kind kind = !joins ? KIND_RAW : m->kind == EK_JSON_ARRAY ? KIND_ARRAY : KIND_STRING;
    struct ek_str more = joins ? inside(m->value) : m->value;
    bool array = kind == KIND_ARRAY;
    while (array && more.len > 0 && memchr(" \t\r\n", more.data[0], 4)) more = ek_str_skip(more, 1);
    if (kind == KIND_RAW || kind != x->kind) {
        x->kind = (uint8_t)kind;
        replace(c, &x->value, more);
        return;
    }
    if (array && more.len == 0) return; /* an empty array adds nothing, nor a comma */
    if (array && x->value.len) append(c, &x->value, EK_STR(","));
    append(c, &x->value, more);
}

static void add_logprobs(struct ek_collect *c, struct collect_choice *h, struct ek_str logprobs)
{
    if (!logprobs.data || logprobs.data[0] != '{') return;
    struct members walk;
    struct member m;
    members_begin(&walk, logprobs);
    while (members_next(&walk, &m)) add_extra(c, h, &m, PLACE_LOGPROBS);
}

/* --- tool calls --- */

static struct collect_tool *tool_new(struct ek_collect *c, struct collect_choice *h, uint64_t index)
{
    if (h->tool_count == EK_COLLECT_TOOLS_MAX) {
        fail(c, EK_INVALID);
        return NULL;
    }
    struct collect_tool *t = take_new(c, sizeof *t);
    if (!t) return NULL;
    t->index = index;
    t->id = t->type = t->name = t->arguments = t->rest = ek_buf_make(c->bytes_max);
    h->tool[h->tool_count++] = t;
    return t;
}

/* Which call a delta belongs to: by its index; some servers give none, then a new id begins a call and
 * anything else continues the last. */
static struct collect_tool *tool_of(struct ek_collect *c, struct collect_choice *h, struct ek_str delta)
{
    struct members walk;
    struct member m;
    int64_t index = -1;
    bool has_id = false;
    members_begin(&walk, delta);
    while (members_next(&walk, &m)) {
        if (is_named(&m, "\"index\"") && (!ek_json_int64(m.value, &index) || index < 0)) index = -1;
        if (is_named(&m, "\"id\"") && m.kind == EK_JSON_STRING && m.value.len > 2) has_id = true;
    }
    for (uint32_t i = 0; index >= 0 && i < h->tool_count; i++) {
        if (h->tool[i]->index == (uint64_t)index) return h->tool[i];
    }
    if (index < 0 && !has_id && h->tool_count > 0) return h->tool[h->tool_count - 1];
    return tool_new(c, h, index >= 0 ? (uint64_t)index : h->tool_count);
}

static void add_function(struct ek_collect *c, struct collect_tool *t, struct ek_str function)
{
    struct members walk;
    struct member m;
    members_begin(&walk, function);
    while (members_next(&walk, &m)) {
        bool empty = m.kind != EK_JSON_STRING || m.value.len <= 2;
        if (is_named(&m, "\"name\"") && !empty) replace(c, &t->name, m.value);
        if (is_named(&m, "\"arguments\"") && m.kind == EK_JSON_STRING) {
            append(c, &t->arguments, inside(m.value));
        }
    }
}

static void add_tool(struct ek_collect *c, struct collect_choice *h, struct ek_str delta)
{
    struct collect_tool *t = tool_of(c, h, delta);
    if (!t) return;
    struct members walk;
    struct member m;
    members_begin(&walk, delta);
    while (members_next(&walk, &m)) {
        if (m.kind == EK_JSON_NULL || is_named(&m, "\"index\"")) continue;
        if (is_named(&m, "\"function\"")) {
            if (m.kind == EK_JSON_OBJECT) add_function(c, t, m.value);
            else fail(c, EK_INVALID);
        } else if (is_named(&m, "\"id\"")) {
            if (m.value.len > 2) replace(c, &t->id, m.value);
        } else if (is_named(&m, "\"type\"")) {
            if (m.value.len > 2) replace(c, &t->type, m.value);
        } else if (!t->rest.len || !memmem(t->rest.data, t->rest.len, m.name.data, m.name.len)) {
            append(c, &t->rest, EK_STR(","));
            append(c, &t->rest, m.name);
            append(c, &t->rest, EK_STR(":"));
            append(c, &t->rest, m.value);
        }
    }
}

static void add_tools(struct ek_collect *c, struct collect_choice *h, struct ek_str array)
{
    if (!array.data) return;
    struct members walk;
    struct member m;
    members_begin(&walk, array);
    while (members_next(&walk, &m) && c->failed == EK_OK) {
        if (m.kind == EK_JSON_OBJECT) add_tool(c, h, m.value);
        else fail(c, EK_INVALID);
    }
}

/* --- a choice --- */

static bool is_known(const struct member *m, const char *const *names)
{
    for (; *names; names++) {
        if (is_named(m, *names)) return true;
    }
    return false;
}

static void add_unknown(struct ek_collect *c, struct collect_choice *h, struct ek_str object,
                        const char *const *known, enum collect_place place)
{
    if (!object.data) return;
    struct members walk;
    struct member m;
    members_begin(&walk, object);
    while (members_next(&walk, &m)) {
        if (!is_known(&m, known)) add_extra(c, h, &m, place);
    }
}

static void add_choice(struct ek_collect *c, const struct ek_up_choice *from)
{
    static const char *const of_choice[] = {"\"index\"", "\"delta\"", "\"message\"", "\"text\"",
                                            "\"finish_reason\"", "\"logprobs\"", NULL};
    static const char *const of_delta[] = {"\"role\"", "\"content\"", "\"reasoning_content\"",
                                           "\"reasoning\"", "\"tool_calls\"", NULL};
    struct collect_choice *h = choice_of(c, from->index);
    if (!h) return;
    h->content_seen |= from->content.data != NULL;
    h->reasoning_seen |= from->reasoning.data != NULL;
    append(c, &h->content, from->content);
    append(c, &h->reasoning, from->reasoning);
    if (from->flags & EK_UP_FINISH) {
        h->finish = from->finish;
        replace(c, &h->finish_raw, from->finish_raw);
    }
    add_tools(c, h, from->tool_calls);
    add_logprobs(c, h, from->logprobs);
    if (!(from->flags & EK_UP_UNKNOWN)) return; /* as nearly always: not read a second time */
    add_unknown(c, h, from->whole, of_choice, PLACE_CHOICE);
    add_unknown(c, h, from->delta, of_delta, PLACE_DELTA);
}

enum ek_status ek_collect_add(struct ek_collect *c, const struct ek_up_chunk *chunk)
{
    MUST_OBJ(c, EK_COLLECT_MAGIC);
    if (chunk->flags & EK_UP_USAGE) {
        c->usage_seen = true;
        c->usage = chunk->usage;
    }
    if (chunk->fingerprint.len > 2) replace(c, &c->fingerprint, chunk->fingerprint);
    if (chunk->service_tier.len > 2) replace(c, &c->service_tier, chunk->service_tier);
    for (uint32_t i = 0; i < chunk->choice_count && c->failed == EK_OK; i++) {
        add_choice(c, &chunk->choice[i]);
    }
    return c->failed;
}
