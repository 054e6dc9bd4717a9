/* SPDX-License-Identifier: MIT */
/* Objects and arrays of a schema. Pure.
 *
 *   {  ws  F0 ─name 0─▶ A1 ─,─▶ C1 ─name 1─▶ A2 ...      Fi: nothing written yet, member i is next
 *          └──────────skip an optional one: Fi ▶ Fi+1, Ci ▶ Ci+1
 *
 *   Ai: a member is written, a comma or the brace may follow; Ci: behind a comma, some member must.
 *   Behind the named members stand, where additionalProperties asks for them, members of other names. */
#include "engine/schema_inside.h"

#include "base/utf8.h"
#include "engine/spelling.h"

#include <stdio.h>
#include <stdlib.h>

struct member {
    const char *name;
    size_t name_len;
    json_t *schema;
    bool required;
};

struct members {
    struct member *item;
    size_t count;
    size_t required;
};

/* ---- which members there are ------------------------------------------------------------------ */

static bool is_required(const json_t *list, const char *name, size_t len)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (json_string_length(v) == len && memcmp(json_string_value(v), name, len) == 0) return true;
    }
    return false;
}

static void add_member(struct members *m, struct member x)
{
    m->item = realloc(m->item, (m->count + 1) * sizeof *m->item);
    MUST(m->item);
    m->item[m->count++] = x;
    m->required += x.required;
}

/* Names that must be there and that nothing is said about. */
static bool add_unnamed(struct ek_schema *c, json_t *schema, struct members *m)
{
    json_t *required = ek_schema_get(schema, "required"), *names = ek_schema_get(schema, "properties");
    json_t *others = ek_schema_get(schema, "additionalProperties");
    if (required && !json_is_array(required)) return ek_schema_refuse(c, "required", "must be a list");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const json_t *v = json_array_get(required, i);
        if (!json_is_string(v)) return ek_schema_refuse(c, "required", "must be a list of strings");
        const char *name = json_string_value(v);
        size_t len = json_string_length(v);
        if (json_object_getn(names, name, len)) continue;
        if (json_is_false(others)) {
            return ek_schema_refuse(c, "required", "names a member that additionalProperties forbids");
        }
        bool twice = false;
        for (size_t k = 0; k < m->count && !twice; k++) {
            twice = m->item[k].name_len == len && memcmp(m->item[k].name, name, len) == 0;
        }
        if (twice) continue;
        if (m->count >= EK_SCHEMA_PROPERTIES_MAX) break;
        add_member(m, (struct member){name, len, others ? others : json_true(), true});
    }
    return true;
}

static bool find_members(struct ek_schema *c, json_t *schema, struct members *m)
{
    json_t *required = ek_schema_get(schema, "required"), *names = ek_schema_get(schema, "properties");
    if (names && !json_is_object(names)) return ek_schema_refuse(c, "properties", "must be an object");
    for (void *it = json_object_iter(names); it; it = json_object_iter_next(names, it)) {
        const char *name = json_object_iter_key(it);
        size_t len = json_object_iter_key_len(it);
        bool must = is_required(required, name, len);
        if (json_is_false(json_object_iter_value(it))) {
            if (must) return ek_schema_refuse(c, "properties", "forbids a member that is required");
            continue;
        }
        if (m->count >= EK_SCHEMA_PROPERTIES_MAX) break;
        add_member(m, (struct member){name, len, json_object_iter_value(it), must});
    }
    if (!add_unnamed(c, schema, m)) return false;
    if (m->count < EK_SCHEMA_PROPERTIES_MAX) return true;
    return ek_schema_refuse(c, "properties", "has %d members or more", EK_SCHEMA_PROPERTIES_MAX);
}

/* ---- names of their own choice ---------------------------------------------------------------- */

struct name {
    const unsigned char *data;
    size_t len;
};

static int by_bytes(const void *a, const void *b)
{
    const struct name *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

/* Raw characters lo..hi of a name: JSON's escapes are never used here, because an escaped name may be one
 * of the named ones in disguise. */
static void raw_chars(struct ek_nfa *n, uint32_t from, uint32_t to, uint32_t lo, uint32_t hi)
{
    static const uint32_t holes[][2] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    for (size_t i = 0; i < EK_COUNT(holes); i++) {
        if (lo < holes[i][0] && lo <= hi) {
            uint32_t end = hi < holes[i][0] - 1 ? hi : holes[i][0] - 1;
            ek_spell_utf8(n, from, to, lo, end);
        }
        if (lo <= holes[i][1]) lo = holes[i][1] + 1;
    }
    if (lo <= hi) ek_spell_utf8(n, from, to, lo, hi);
}

static uint32_t code_at(const struct name *x, size_t at, size_t *len)
{
    uint32_t code = 0;
    int step = ek_utf8_step(ek_str_make((const char *)x->data + at, x->len - at), &code);
    MUST(step > 0);
    *len = (size_t)step;
    return code;
}

/* All texts but names[0..count), which share their first `at` bytes; those are read. `other`: where a text
 * is that can be none of them. A tree of characters, one branch at a time. */
static void other_names(struct ek_schema *c, const struct name *names, size_t count, size_t at, uint32_t from,
                        uint32_t other, uint32_t end)
{
    size_t i = 0, len;
    uint32_t next = 0;
    bool whole = count > 0 && names[0].len == at;
    if (c->n->full) return;
    if (!whole) ek_nfa_skip(c->n, from, end);
    while (i < count && names[i].len == at) i++;
    while (i < count) {
        uint32_t code = code_at(&names[i], at, &len);
        size_t last = i + 1;
        while (last < count && memcmp(names[last].data + at, names[i].data + at,
                                      len < names[last].len - at ? len : names[last].len - at) == 0) last++;
        if (next < code) raw_chars(c->n, from, other, next, code - 1);
        next = code + 1;
        uint32_t deeper = ek_nfa_state(c->n);
        raw_chars(c->n, from, deeper, code, code);
        other_names(c, names + i, last - i, at + len, deeper, other, end);
        i = last;
    }
    if (next <= EK_CODE_MAX) raw_chars(c->n, from, other, next, EK_CODE_MAX);
}

static uint32_t emit_other_name(struct ek_schema *c, json_t *schema, const struct members *m, uint32_t from)
{
    json_t *named = ek_schema_get(schema, "properties");
    size_t count = json_object_size(named) + m->count, n = 0; /* forbidden ones are among the first */
    struct name *names = calloc(count + 1, sizeof *names);
    MUST(names);
    for (void *it = json_object_iter(named); it; it = json_object_iter_next(named, it)) {
        names[n++] = (struct name){(const unsigned char *)json_object_iter_key(it),
                                   json_object_iter_key_len(it)};
    }
    for (size_t i = 0; i < m->count; i++) {
        names[n++] = (struct name){(const unsigned char *)m->item[i].name, m->item[i].name_len};
    }
    qsort(names, n, sizeof *names, by_bytes);
    uint32_t start = ek_nfa_symbol(c->n, from, '"'), other = ek_nfa_state(c->n), end = ek_nfa_state(c->n);
    other_names(c, names, n, 0, start, other, end);
    raw_chars(c->n, other, other, 0, EK_CODE_MAX);
    ek_nfa_skip(c->n, other, end);
    free(names);
    return ek_nfa_symbol(c->n, end, '"');
}

/* ---- objects --------------------------------------------------------------------------------- */

/* Constants are written in place, so that objects told apart by one are told apart by the automaton. */
static uint32_t emit_member_value(struct ek_schema *c, json_t *schema, uint32_t from)
{
    bool constant = json_is_object(schema) && (ek_schema_get(schema, "enum") ||
                                               ek_schema_get(schema, "const"));
    return constant ? ek_schema_value(c, schema, from) : ek_schema_call(c, schema, from);
}

/* Behind the name: colon, value, and the space behind it. */
static uint32_t emit_colon(struct ek_schema *c, uint32_t from)
{
    return ek_schema_space(c, ek_nfa_symbol(c->n, ek_schema_space(c, from), ':'));
}

static uint32_t emit_member(struct ek_schema *c, const struct member *x, uint32_t from)
{
    size_t before = ek_schema_enter(c, "properties", x->name);
    uint32_t at = ek_nfa_symbol(c->n, from, '"');
    at = ek_nfa_symbol(c->n, ek_spell_text(c->n, at, x->name, x->name_len), '"');
    at = emit_member_value(c, x->schema, emit_colon(c, at));
    ek_schema_leave(c, before);
    return c->failed ? 0 : ek_schema_space(c, at);
}

struct ends { /* of an object being written */
    uint32_t first, more, behind; /* nothing yet; behind a comma; behind a member */
    uint32_t end;
};

static void put_brace(struct ek_schema *c, uint32_t from, uint32_t to)
{
    ek_nfa_range(c->n, from, to, '}', '}');
}

static uint32_t put_comma(struct ek_schema *c, uint32_t from)
{
    return ek_schema_space(c, ek_nfa_symbol(c->n, from, ','));
}

/* Members of other names: `extra` at most, UINT32_MAX: any number. */
static void emit_others(struct ek_schema *c, json_t *schema, const struct members *m, uint32_t extra,
                        struct ends e)
{
    json_t *others = ek_schema_get(schema, "additionalProperties");
    bool counted = extra != UINT32_MAX;
    for (uint32_t i = 0; i < (counted ? extra : 1) && !c->failed && !c->n->full; i++) {
        uint32_t start = ek_nfa_state(c->n);
        if (i == 0) ek_nfa_skip(c->n, e.first, start);
        ek_nfa_skip(c->n, e.more, start);
        size_t before = ek_schema_enter(c, "additionalProperties", NULL);
        uint32_t at = emit_other_name(c, schema, m, start);
        at = ek_schema_call(c, others ? others : json_true(), emit_colon(c, at));
        ek_schema_leave(c, before);
        if (c->failed) return;
        at = ek_schema_space(c, at);
        put_brace(c, at, e.end);
        uint32_t next = put_comma(c, at);
        if (!counted) ek_nfa_skip(c->n, next, start);
        e.more = next;
    }
}

/* How many members beyond the named ones may be written; false: refused. */
static bool count_others(struct ek_schema *c, json_t *schema, const struct members *m, uint32_t *extra,
                         bool *some)
{
    uint32_t least = 0, most = UINT32_MAX;
    json_t *others = ek_schema_get(schema, "additionalProperties");
    if (!ek_schema_count(c, schema, "minProperties", &least)) return false;
    if (!ek_schema_count(c, schema, "maxProperties", &most)) return false;
    bool asked = others && !json_is_false(others);
    *extra = asked ? UINT32_MAX : 0;
    if (most < m->count) {
        return ek_schema_refuse(c, "maxProperties",
                                "below the number of named members cannot be enforced here");
    }
    if (asked && most != UINT32_MAX) *extra = most - (uint32_t)m->count;
    if (asked && most != UINT32_MAX && *extra > EK_SCHEMA_EXTRA_MAX) *extra = EK_SCHEMA_EXTRA_MAX;
    *some = least > m->required;
    bool can = m->count > 0 || *extra > 0;
    if (least <= m->required || (least == 1 && can)) return true;
    return ek_schema_refuse(c, "minProperties",
                            "above the number of required members cannot be enforced here");
}

static void emit_members(struct ek_schema *c, json_t *schema, const struct members *m, uint32_t from,
                         uint32_t end)
{
    uint32_t extra = 0;
    bool some = false;
    if (!count_others(c, schema, m, &extra, &some)) return;
    struct ends e = {.first = ek_schema_space(c, ek_nfa_symbol(c->n, from, '{')), .more = ek_nfa_state(c->n),
                     .behind = EK_NO_STATE, .end = end};
    size_t required = m->required;
    if (required == 0 && !some) put_brace(c, e.first, end);
    for (size_t i = 0; i < m->count && !c->failed; i++) {
        const struct member *x = &m->item[i];
        uint32_t start = ek_nfa_state(c->n), first = ek_nfa_state(c->n), more = ek_nfa_state(c->n);
        ek_nfa_skip(c->n, e.first, start);
        ek_nfa_skip(c->n, e.more, start);
        if (!x->required) {
            ek_nfa_skip(c->n, e.first, first);
            ek_nfa_skip(c->n, e.more, more);
        } else {
            required--;
        }
        uint32_t behind = emit_member(c, x, start);
        if (c->failed) return;
        if (required == 0) put_brace(c, behind, end);
        ek_nfa_skip(c->n, put_comma(c, behind), more);
        e.first = first;
        e.more = more;
    }
    if (extra > 0) emit_others(c, schema, m, extra, e);
}

uint32_t ek_schema_object(struct ek_schema *c, json_t *schema, uint32_t from)
{
    struct members m = {0};
    uint32_t end = ek_nfa_state(c->n);
    json_t *others = ek_schema_get(schema, "additionalProperties");
    bool any = !others || json_is_true(others);
    if (!find_members(c, schema, &m)) {
        free(m.item);
        return 0;
    }
    bool counted = ek_schema_get(schema, "minProperties") || ek_schema_get(schema, "maxProperties");
    if (m.count == 0 && any && !counted && !ek_schema_get(schema, "properties")) {
        ek_nfa_call(c->n, from, end, EK_RULE_OBJECT);
    } else {
        emit_members(c, schema, &m, from, end);
    }
    free(m.item);
    return c->failed ? 0 : end;
}

/* ---- arrays ---------------------------------------------------------------------------------- */

struct list {
    json_t *first; /* array of schemas, or NULL */
    json_t *rest;  /* schema of what follows; NULL: anything; false: nothing */
    uint32_t least, most;
};

static bool read_list(struct ek_schema *c, json_t *schema, struct list *l)
{
    json_t *items = ek_schema_get(schema, "items"), *first = ek_schema_get(schema, "prefixItems");
    *l = (struct list){.first = first, .rest = items, .most = UINT32_MAX};
    if (json_is_array(items)) { /* drafts before 2020-12 */
        l->first = items;
        l->rest = ek_schema_get(schema, "additionalItems");
    }
    if (first && !json_is_array(first)) return ek_schema_refuse(c, "prefixItems",
        "must be a list of schemas");
    if (!ek_schema_count(c, schema, "minItems", &l->least)) return false;
    if (!ek_schema_count(c, schema, "maxItems", &l->most)) return false;
    if (json_is_false(l->rest) && l->most > json_array_size(l->first)) {
        l->most = (uint32_t)json_array_size(l->first);
    }
    if (json_array_size(l->first) > EK_SCHEMA_ITEMS_MAX) {
        return ek_schema_refuse(c, first ? "prefixItems" : "items", "has more than %d schemas",
                                EK_SCHEMA_ITEMS_MAX);
    }
    if (l->least > l->most) return ek_schema_refuse(c, "minItems", "is more than there can be");
    if (l->least > EK_SCHEMA_ITEMS_MAX) {
        return ek_schema_refuse(c, "minItems", "may be at most %d", EK_SCHEMA_ITEMS_MAX);
    }
    if (l->most != UINT32_MAX && l->most > EK_SCHEMA_ITEMS_MAX) l->most = EK_SCHEMA_ITEMS_MAX;
    bool unique = json_is_true(ek_schema_get(schema, "uniqueItems"));
    return !unique || l->most <= 1 || ek_schema_refuse(c, "uniqueItems", "cannot be enforced here");
}

static uint32_t emit_item(struct ek_schema *c, const struct list *l, uint32_t index, uint32_t from)
{
    char number[16];
    size_t before;
    uint32_t at;
    if (index < json_array_size(l->first)) {
        snprintf(number, sizeof number, "%u", index);
        before = ek_schema_enter(c, "prefixItems", number);
        at = ek_schema_call(c, json_array_get(l->first, index), from);
    } else {
        before = ek_schema_enter(c, "items", NULL);
        at = ek_schema_call(c, l->rest ? l->rest : json_true(), from);
    }
    ek_schema_leave(c, before);
    return c->failed ? 0 : ek_schema_space(c, at);
}

uint32_t ek_schema_array(struct ek_schema *c, json_t *schema, uint32_t from)
{
    struct list l;
    if (!read_list(c, schema, &l)) return 0;
    uint32_t end = ek_nfa_state(c->n), inside = ek_schema_space(c, ek_nfa_symbol(c->n, from, '['));
    uint32_t named = (uint32_t)json_array_size(l.first), at = inside;
    uint32_t singles = named > l.least ? named : l.least; /* items that are not yet all alike */
    if (l.most != UINT32_MAX) singles = l.most;
    if (l.least == 0) ek_nfa_range(c->n, inside, end, ']', ']');
    for (uint32_t i = 0; i < singles && !c->failed && !c->n->full; i++) {
        at = emit_item(c, &l, i, i == 0 ? inside : put_comma(c, at));
        if (c->failed) return 0;
        if (i + 1 >= l.least) ek_nfa_range(c->n, at, end, ']', ']');
    }
    if (l.most == UINT32_MAX && !c->failed) {
        uint32_t item = ek_nfa_state(c->n);
        ek_nfa_skip(c->n, singles == 0 ? inside : put_comma(c, at), item);
        at = emit_item(c, &l, singles, item);
        if (c->failed) return 0;
        ek_nfa_range(c->n, at, end, ']', ']');
        ek_nfa_skip(c->n, put_comma(c, at), item);
    }
    return c->failed ? 0 : end;
}
