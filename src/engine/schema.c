/* SPDX-License-Identifier: MIT */
/* The schema compiler's middle: which keywords there are, what kind of schema is at hand, alternatives,
 * references and constants. Owns the compiler's state while it runs. Must never pass over a keyword that
 * says something about the value. */
#include "engine/schema_inside.h"

#include "engine/spelling.h"

#include <stdio.h>
#include <stdlib.h>

bool ek_schema_refuse(struct ek_schema *c, const char *keyword, const char *format, ...)
{
    char what[120];
    va_list args;
    if (c->failed) return false;
    c->failed = true;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    snprintf(c->fault->text, sizeof c->fault->text, "%s%s%sat %s%s: %s", keyword ? "'" : "",
             keyword ? keyword : "", keyword ? "' " : "", c->place,
             c->place_len >= sizeof c->place ? "..." : "", what);
    return false;
}

/* ---- places ---------------------------------------------------------------------------------- */

static void put_place(struct ek_schema *c, const char *text)
{
    for (; *text; text++) {
        const char *as = *text == '~' ? "~0" : *text == '/' ? "~1" : NULL;
        for (size_t i = 0; i < (as ? 2U : 1U); i++, c->place_len++) {
            char x = as ? as[i] : *text;
            if (c->place_len + 1 < sizeof c->place) c->place[c->place_len] =
                (unsigned char)x < 0x20 ? '?' : x;
        }
    }
}

static void end_place(struct ek_schema *c)
{
    c->place[c->place_len < sizeof c->place ? c->place_len : sizeof c->place - 1] = 0;
}

size_t ek_schema_enter(struct ek_schema *c, const char *keyword, const char *name)
{
    size_t before = c->place_len;
    if (c->place_len + 1 < sizeof c->place) c->place[c->place_len] = '/';
    c->place_len++;
    put_place(c, keyword);
    if (name) {
        if (c->place_len + 1 < sizeof c->place) c->place[c->place_len] = '/';
        c->place_len++;
        put_place(c, name);
    }
    end_place(c);
    return before;
}

void ek_schema_leave(struct ek_schema *c, size_t before)
{
    MUST(before <= c->place_len);
    c->place_len = before;
    end_place(c);
}

/* ---- keywords -------------------------------------------------------------------------------- */

enum { NOTE, CORE, UNFIT }; /* says nothing about the value; we know it; we know that we cannot do it */

static const struct keyword {
    const char *name;
    int what;
    unsigned kinds; /* of values it speaks about; 0: of any */
} keywords[] = {
    {"title", NOTE, 0}, {"description", NOTE, 0}, {"default", NOTE, 0}, {"examples", NOTE, 0},
    {"example", NOTE, 0}, {"$comment", NOTE, 0}, {"$schema", NOTE, 0}, {"$defs", NOTE, 0},
    {"definitions", NOTE, 0}, {"deprecated", NOTE, 0}, {"readOnly", NOTE, 0}, {"writeOnly", NOTE, 0},
    {"contentMediaType", NOTE, 0}, {"contentEncoding", NOTE, 0}, {"discriminator", NOTE, 0},
    {"externalDocs", NOTE, 0}, {"xml", NOTE, 0}, {"$id", NOTE, 0}, {"$vocabulary", NOTE, 0},
    {"type", CORE, 0}, {"nullable", CORE, 0}, {"enum", CORE, 0}, {"const", CORE, 0}, {"$ref", CORE, 0},
    {"allOf", CORE, 0}, {"anyOf", CORE, 0}, {"oneOf", CORE, 0},
    {"properties", CORE, EK_KIND_OBJECT}, {"required", CORE, EK_KIND_OBJECT},
    {"additionalProperties", CORE, EK_KIND_OBJECT}, {"minProperties", CORE, EK_KIND_OBJECT},
    {"maxProperties", CORE, EK_KIND_OBJECT},
    {"items", CORE, EK_KIND_ARRAY}, {"prefixItems", CORE, EK_KIND_ARRAY},
    {"additionalItems", CORE, EK_KIND_ARRAY}, {"minItems", CORE, EK_KIND_ARRAY},
    {"maxItems", CORE, EK_KIND_ARRAY}, {"uniqueItems", CORE, EK_KIND_ARRAY},
    {"minLength", CORE, EK_KIND_STRING}, {"maxLength", CORE, EK_KIND_STRING},
    {"pattern", CORE, EK_KIND_STRING}, {"format", CORE, 0},
    {"minimum", CORE, EK_KIND_NUMBER}, {"maximum", CORE, EK_KIND_NUMBER},
    {"exclusiveMinimum", CORE, EK_KIND_NUMBER}, {"exclusiveMaximum", CORE, EK_KIND_NUMBER},
    {"multipleOf", CORE, EK_KIND_NUMBER},
    {"not", UNFIT, 0}, {"if", UNFIT, 0}, {"then", UNFIT, 0}, {"else", UNFIT, 0},
    {"contains", UNFIT, 0}, {"minContains", UNFIT, 0}, {"maxContains", UNFIT, 0},
    {"patternProperties", UNFIT, 0}, {"propertyNames", UNFIT, 0}, {"dependentRequired", UNFIT, 0},
    {"dependentSchemas", UNFIT, 0}, {"dependencies", UNFIT, 0}, {"unevaluatedItems", UNFIT, 0},
    {"unevaluatedProperties", UNFIT, 0}, {"$dynamicRef", UNFIT, 0}, {"$recursiveRef", UNFIT, 0},
};

static const struct keyword *keyword_of(const char *name)
{
    static const struct keyword note = {"x-", NOTE, 0};
    for (size_t i = 0; i < EK_COUNT(keywords); i++) {
        if (strcmp(keywords[i].name, name) == 0) return &keywords[i];
    }
    return strncmp(name, "x-", 2) == 0 ? &note : NULL;
}

/* Keywords that say nothing as they stand: patternProperties {}, propertyNames true. */
static bool idle(const json_t *value)
{
    return json_is_true(value) || (json_is_object(value) && json_object_size(value) == 0);
}

static bool check_keywords(struct ek_schema *c, json_t *schema)
{
    const char *name;
    json_t *value;
    json_object_foreach(schema, name, value) {
        const struct keyword *k = keyword_of(name);
        if (!k) return ek_schema_refuse(c, name, "is no keyword known here");
        bool nothing = idle(value) && strcmp(name, "not") != 0 && strcmp(name, "contains") != 0;
        if (k->what == UNFIT && !nothing) return ek_schema_refuse(c, name, "cannot be enforced here");
        if (strcmp(name, "$id") == 0 && value != ek_schema_get(c->root, "$id")) { /* copies of it have it */
            return ek_schema_refuse(c, name, "is only supported at the root");
        }
    }
    return true;
}

bool ek_schema_constrains(const json_t *schema, const char *except)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, name, value) {
        const struct keyword *k = keyword_of(name);
        if ((!k || k->what != NOTE) && (!except || strcmp(name, except) != 0)) return true;
    }
    return false;
}

bool ek_schema_count(struct ek_schema *c, json_t *schema, const char *keyword, uint32_t *out)
{
    const json_t *v = ek_schema_get(schema, keyword);
    if (!v) return true;
    double d = json_number_value(v);
    if (!json_is_number(v) || !(d >= 0) || (d < 1e15 && d != (double)(int64_t)d)) { /* above all are whole */
        return ek_schema_refuse(c, keyword, "must be a whole number from 0 on");
    }
    *out = d < (double)(UINT32_MAX - 1) ? (uint32_t)d : UINT32_MAX - 1;
    return true;
}

/* ---- kinds ----------------------------------------------------------------------------------- */

static const struct { const char *name; unsigned kind; } kind_names[] = {
    {"null", EK_KIND_NULL}, {"boolean", EK_KIND_BOOLEAN}, {"integer", EK_KIND_INTEGER},
    {"number", EK_KIND_NUMBER | EK_KIND_INTEGER}, {"string", EK_KIND_STRING}, {"array", EK_KIND_ARRAY},
    {"object", EK_KIND_OBJECT},
};

static unsigned kind_of(const json_t *name)
{
    for (size_t i = 0; json_is_string(name) && i < EK_COUNT(kind_names); i++) {
        if (strcmp(kind_names[i].name, json_string_value(name)) == 0) return kind_names[i].kind;
    }
    return 0;
}

static unsigned implied_kinds(json_t *schema)
{
    unsigned kinds = 0;
    const char *name;
    json_t *value;
    json_object_foreach(schema, name, value) {
        const struct keyword *k = keyword_of(name);
        if (k) kinds |= k->kinds;
    }
    if (kinds & EK_KIND_NUMBER) kinds |= EK_KIND_INTEGER;
    if (ek_schema_get(schema, "format")) kinds |= EK_KIND_STRING;
    return kinds ? kinds : EK_KIND_ALL;
}

unsigned ek_schema_kinds(struct ek_schema *c, json_t *schema)
{
    json_t *type = ek_schema_get(schema, "type");
    unsigned kinds = 0;
    if (!type) return implied_kinds(schema);
    size_t n = json_is_array(type) ? json_array_size(type) : 1;
    for (size_t i = 0; i < n; i++) {
        unsigned kind = kind_of(json_is_array(type) ? json_array_get(type, i) : type);
        if (kind == 0) {
            ek_schema_refuse(c, "type", "names a type that JSON does not have");
            return 0;
        }
        kinds |= kind;
    }
    if (kinds == 0) ek_schema_refuse(c, "type", "allows nothing");
    if (json_is_true(ek_schema_get(schema, "nullable"))) kinds |= EK_KIND_NULL;
    return kinds;
}

/* ---- references ------------------------------------------------------------------------------ */

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
           c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One step of a pointer, with %41 and ~1 undone; false: malformed or too long. */
static bool pointer_step(const char **at, char *out, size_t cap)
{
    const char *p = *at;
    size_t n = 0;
    for (; *p && *p != '/'; p++) {
        char x = *p;
        if (x == '%') {
            int hi = hex(p[1]), lo = hi < 0 ? -1 : hex(p[2]);
            if (lo < 0) return false;
            x = (char)(hi << 4 | lo);
            p += 2;
        } else if (x == '~') {
            if (p[1] != '0' && p[1] != '1') return false;
            x = *++p == '0' ? '~' : '/';
        }
        if (n + 1 >= cap || x == 0) return false;
        out[n++] = x;
    }
    out[n] = 0;
    *at = p;
    return true;
}

static json_t *follow(json_t *root, const char *pointer)
{
    char name[256];
    json_t *at = root;
    while (at && *pointer == '/') {
        pointer++;
        if (!pointer_step(&pointer, name, sizeof name)) return NULL;
        if (json_is_array(at)) {
            char *end;
            unsigned long i = strtoul(name, &end, 10);
            at = *end || end == name ? NULL : json_array_get(at, i);
        } else {
            at = json_object_get(at, name);
        }
    }
    return *pointer ? NULL : at;
}

json_t *ek_schema_resolve(struct ek_schema *c, json_t *schema)
{
    for (unsigned i = 0; i < EK_SCHEMA_NESTED_MAX; i++) {
        json_t *ref = json_is_object(schema) ? ek_schema_get(schema, "$ref") : NULL;
        if (!ref) return schema;
        const char *text = json_string_value(ref);
        if (!text || text[0] != '#') {
            ek_schema_refuse(c, "$ref", "must point into this schema (#/...)");
            return NULL;
        }
        schema = follow(c->root, text + 1);
        if (!json_is_object(schema) && !json_is_boolean(schema)) {
            ek_schema_refuse(c, "$ref", "points to no schema");
            return NULL;
        }
        if (ek_schema_constrains(schema, "$ref")) return schema;
    }
    ek_schema_refuse(c, "$ref", "leads in a circle");
    return NULL;
}

uint32_t ek_schema_space(struct ek_schema *c, uint32_t from)
{
    uint32_t to = ek_nfa_state(c->n);
    ek_nfa_call(c->n, from, to, EK_RULE_SPACE);
    return to;
}

static uint32_t call(struct ek_schema *c, uint32_t from, uint32_t rule)
{
    uint32_t to = ek_nfa_state(c->n);
    ek_nfa_call(c->n, from, to, rule);
    return to;
}

static void know(struct ek_schema *c, const json_t *schema, uint32_t rule)
{
    if (c->known_count == c->known_cap) {
        c->known_cap = c->known_cap ? 2 * c->known_cap : 64;
        c->known = realloc(c->known, c->known_cap * sizeof *c->known);
        MUST(c->known);
    }
    c->known[c->known_count++] = (struct ek_schema_known){schema, rule};
}

/* The rule of a schema, made when it is first asked for; known before it is whole, so that a schema may
 * contain itself. */
static uint32_t rule_of(struct ek_schema *c, json_t *schema)
{
    for (size_t i = 0; i < c->known_count; i++) {
        if (c->known[i].schema == schema) return c->known[i].rule;
    }
    uint32_t rule = ek_grammar_reserve(c->g);
    if (rule == EK_NO_RULE) {
        ek_schema_refuse(c, NULL, "more than %d schemas", EK_GRAMMAR_RULES_MAX);
        return 0;
    }
    know(c, schema, rule);
    struct ek_nfa nfa = {0}, *before = c->n;
    c->n = &nfa;
    uint32_t start = ek_nfa_state(&nfa), end = ek_schema_value(c, schema, start);
    c->n = before;
    if (!c->failed && !ek_grammar_define_nfa(c->g, rule, &nfa, start, end)) {
        ek_schema_refuse(c, NULL, "the schema is too large (%d states)", EK_DFA_STATES_MAX);
    }
    ek_nfa_free(&nfa);
    return rule;
}

/* Schemas that are no longer than a call: kinds without further words. */
static bool plain(const json_t *schema)
{
    return json_is_object(schema) && !ek_schema_constrains(schema, "type") &&
           json_is_string(ek_schema_get(schema, "type"));
}

uint32_t ek_schema_call(struct ek_schema *c, json_t *schema, uint32_t from)
{
    if (c->failed) return 0;
    bool inlined = plain(schema) || json_is_boolean(schema);
    if (inlined) return ek_schema_value(c, schema, from);
    uint32_t rule = rule_of(c, schema);
    return c->failed ? 0 : call(c, from, rule);
}

static uint32_t emit_ref(struct ek_schema *c, json_t *schema, uint32_t from)
{
    json_t *target = ek_schema_resolve(c, schema);
    if (!target) return 0;
    if (ek_schema_constrains(schema, "$ref")) {
        json_t *rest = json_copy(schema);
        MUST(rest && json_array_append_new(c->made, rest) == 0);
        json_object_del(rest, "$ref");
        json_t *both = ek_schema_merge(c, target, rest);
        return both ? ek_schema_value(c, both, from) : 0;
    }
    size_t place_len = c->place_len;
    char place[sizeof c->place];
    memcpy(place, c->place, sizeof place);
    c->place_len = 0;
    put_place(c, "#");
    const char *pointer = json_string_value(ek_schema_get(schema, "$ref")) + 1;
    for (; *pointer && c->place_len + 1 < sizeof c->place; pointer++) {
        c->place[c->place_len++] = (unsigned char)*pointer < 0x20 ? '?' : *pointer;
    }
    end_place(c);
    uint32_t to = ek_schema_call(c, target, from);
    memcpy(c->place, place, sizeof place);
    c->place_len = place_len;
    return to;
}

/* ---- constants ------------------------------------------------------------------------------- */

static uint32_t emit_constant(struct ek_schema *c, const json_t *v, uint32_t from)
{
    if (json_is_string(v)) {
        uint32_t at = ek_nfa_symbol(c->n, from, '"');
        at = ek_spell_text(c->n, at, json_string_value(v), json_string_length(v));
        return ek_nfa_symbol(c->n, at, '"');
    }
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17));
    MUST(text);
    uint32_t to = ek_nfa_text(c->n, from, text, strlen(text));
    free(text);
    return to;
}

/* enum and const: the values that the type allows. Other keywords beside them are refused rather than
 * judged: there is no validator here. */
static uint32_t emit_constants(struct ek_schema *c, json_t *schema, uint32_t from)
{
    json_t *one = ek_schema_get(schema, "const"), *list = ek_schema_get(schema, "enum");
    unsigned kinds = ek_schema_kinds(c, schema), fit = 0;
    const char *name;
    json_t *value;
    json_object_foreach(schema, name, value) {
        const struct keyword *k = keyword_of(name);
        bool fine = !k || k->what == NOTE || strcmp(name, "type") == 0 || strcmp(name, "nullable") == 0 ||
                    strcmp(name, "enum") == 0 || strcmp(name, "const") == 0;
        if (!fine) ek_schema_refuse(c, name, "beside enum or const is not supported");
    }
    if (list && !json_is_array(list)) ek_schema_refuse(c, "enum", "must be a list");
    if (c->failed) return 0;
    uint32_t to = ek_nfa_state(c->n);
    size_t n = list ? json_array_size(list) : 1;
    for (size_t i = 0; i < n; i++) {
        json_t *v = list ? json_array_get(list, i) : one;
        bool allowed = !ek_schema_get(schema, "type") || (ek_schema_kind_of_value(v) & kinds) != 0;
        if (!allowed || (one && list && !json_equal(one, v))) continue;
        ek_nfa_skip(c->n, emit_constant(c, v, from), to);
        fit++;
    }
    if (fit == 0) ek_schema_refuse(c, list ? "enum" : "const", "leaves no value");
    return to;
}

/* ---- alternatives ---------------------------------------------------------------------------- */

static uint32_t emit_branch(struct ek_schema *c, json_t *base, json_t *branch, uint32_t from)
{
    if (json_is_false(branch)) return EK_NO_STATE;
    if (!base) return ek_schema_value(c, branch, from);
    if (ek_schema_disjoint(c, base, branch)) return EK_NO_STATE;
    json_t *both = ek_schema_merge(c, base, branch);
    return both ? ek_schema_value(c, both, from) : 0;
}

static bool check_disjoint(struct ek_schema *c, json_t *list)
{
    size_t n = json_array_size(list);
    if (n > 100) return ek_schema_refuse(c, "oneOf", "has more than 100 branches; use anyOf");
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i + 1; k < n; k++) {
            bool apart = ek_schema_disjoint(c, json_array_get(list, i), json_array_get(list, k));
            if (c->failed) return false;
            if (!apart) {
                return ek_schema_refuse(c, "oneOf",
                                        "branches %zu and %zu may hold for the same value; use anyOf",
                                        i, k);
            }
        }
    }
    return true;
}

/* What stands beside the alternatives holds for each of them. */
static uint32_t emit_alternatives(struct ek_schema *c, json_t *schema, const char *keyword, uint32_t from)
{
    json_t *list = ek_schema_get(schema, keyword), *base = NULL;
    if (!json_is_array(list) || json_array_size(list) == 0) {
        ek_schema_refuse(c, keyword, "must be a list of schemas");
        return 0;
    }
    if (ek_schema_constrains(schema, keyword)) {
        base = json_copy(schema);
        MUST(base && json_array_append_new(c->made, base) == 0);
        json_object_del(base, keyword);
    }
    if (strcmp(keyword, "oneOf") == 0 && !check_disjoint(c, list)) return 0;
    uint32_t to = ek_nfa_state(c->n);
    for (size_t i = 0; i < json_array_size(list) && !c->failed; i++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", i);
        size_t before = ek_schema_enter(c, keyword, number);
        uint32_t end = emit_branch(c, base, json_array_get(list, i), from);
        if (!c->failed && end != EK_NO_STATE) ek_nfa_skip(c->n, end, to);
        ek_schema_leave(c, before);
    }
    return to;
}

static uint32_t emit_all(struct ek_schema *c, json_t *schema, uint32_t from)
{
    json_t *list = ek_schema_get(schema, "allOf"), *all = json_copy(schema);
    MUST(all && json_array_append_new(c->made, all) == 0);
    json_object_del(all, "allOf");
    if (!json_is_array(list)) ek_schema_refuse(c, "allOf", "must be a list of schemas");
    for (size_t i = 0; i < json_array_size(list) && !c->failed; i++) {
        char number[24];
        snprintf(number, sizeof number, "%zu", i);
        size_t before = ek_schema_enter(c, "allOf", number);
        all = ek_schema_merge(c, all, json_array_get(list, i));
        ek_schema_leave(c, before);
    }
    return c->failed ? 0 : ek_schema_value(c, all, from);
}

/* ---- a value --------------------------------------------------------------------------------- */

static uint32_t emit_word(struct ek_schema *c, const char *word, uint32_t from)
{
    return ek_nfa_text(c->n, from, word, strlen(word));
}

static uint32_t emit_kinds(struct ek_schema *c, json_t *schema, uint32_t from)
{
    unsigned kinds = ek_schema_kinds(c, schema);
    if (c->failed) return 0;
    if (kinds == EK_KIND_ALL) return call(c, from, EK_RULE_VALUE);
    uint32_t to = ek_nfa_state(c->n);
    if (kinds & EK_KIND_NULL) ek_nfa_skip(c->n, emit_word(c, "null", from), to);
    if (kinds & EK_KIND_BOOLEAN) {
        ek_nfa_skip(c->n, emit_word(c, "true", from), to);
        ek_nfa_skip(c->n, emit_word(c, "false", from), to);
    }
    for (unsigned kind = EK_KIND_INTEGER; kind <= EK_KIND_OBJECT && !c->failed; kind <<= 1) {
        uint32_t end;
        if ((kinds & kind) == 0 || (kind == EK_KIND_INTEGER && (kinds & EK_KIND_NUMBER))) continue;
        if (kind == EK_KIND_STRING) end = ek_schema_string(c, schema, from);
        else if (kind == EK_KIND_ARRAY) end = ek_schema_array(c, schema, from);
        else if (kind == EK_KIND_OBJECT) end = ek_schema_object(c, schema, from);
        else end = ek_schema_number(c, schema, kind == EK_KIND_NUMBER, from);
        if (!c->failed) ek_nfa_skip(c->n, end, to);
    }
    return to;
}

static uint32_t emit_object_schema(struct ek_schema *c, json_t *schema, uint32_t from)
{
    if (!check_keywords(c, schema)) return 0;
    if (ek_schema_get(schema, "allOf")) return emit_all(c, schema, from);
    if (ek_schema_get(schema, "$ref")) return emit_ref(c, schema, from);
    if (ek_schema_get(schema, "anyOf")) return emit_alternatives(c, schema, "anyOf", from);
    if (ek_schema_get(schema, "oneOf")) return emit_alternatives(c, schema, "oneOf", from);
    if (ek_schema_get(schema, "enum") || ek_schema_get(schema, "const")) {
        return emit_constants(c, schema, from);
    }
    return emit_kinds(c, schema, from);
}

uint32_t ek_schema_value(struct ek_schema *c, json_t *schema, uint32_t from)
{
    if (c->failed) return 0;
    if (json_is_true(schema)) return call(c, from, EK_RULE_VALUE);
    if (json_is_false(schema)) ek_schema_refuse(c, NULL, "the schema 'false' leaves no value");
    else if (!json_is_object(schema)) ek_schema_refuse(c, NULL, "a schema must be an object, true or false");
    else if (++c->work > EK_SCHEMA_WORK_MAX) ek_schema_refuse(c, NULL, "the schema is too large");
    else if (c->nested >= EK_SCHEMA_NESTED_MAX) ek_schema_refuse(c, NULL, "schemas are nested too deep");
    if (c->failed) return 0;
    c->nested++;
    uint32_t to = emit_object_schema(c, schema, from);
    c->nested--;
    return c->failed ? 0 : to;
}

/* The root as an object. Only here: where the schema refers to itself it means all that it allows. */
static json_t *narrow(struct ek_schema *c, json_t *schema)
{
    unsigned kinds = ek_schema_get(schema, "type") ? ek_schema_kinds(c, schema) : EK_KIND_ALL;
    if (!(kinds & EK_KIND_OBJECT)) ek_schema_refuse(c, "type", "allows no object, and arguments are one");
    if (kinds == EK_KIND_OBJECT) return schema;
    json_t *object = json_pack("{s:s}", "type", "object");
    MUST(object && json_array_append_new(c->made, object) == 0);
    return ek_schema_merge(c, schema, object);
}

static bool compile(struct ek_grammar *g, json_t *schema, bool object, uint32_t *rule,
                    struct ek_schema_fault *fault)
{
    struct ek_schema c = {.g = g, .root = schema, .made = json_array(), .fault = fault};
    struct ek_nfa nfa = {0};
    MUST(c.made);
    put_place(&c, "#");
    end_place(&c);
    c.n = &nfa;
    if (object) schema = narrow(&c, schema);
    uint32_t start = ek_nfa_state(&nfa), end = ek_schema_value(&c, schema, start);
    if (!c.failed) {
        *rule = ek_grammar_reserve(g);
        if (*rule == EK_NO_RULE || !ek_grammar_define_nfa(g, *rule, &nfa, start, end)) {
            ek_schema_refuse(&c, NULL, "the schema is too large (%d states)", EK_DFA_STATES_MAX);
        }
    }
    ek_nfa_free(&nfa);
    json_decref(c.made);
    free(c.known);
    return !c.failed;
}

bool ek_schema_compile(struct ek_grammar *g, json_t *schema, uint32_t *rule, struct ek_schema_fault *fault)
{
    return compile(g, schema, false, rule, fault);
}

bool ek_schema_compile_object(struct ek_grammar *g, json_t *schema, uint32_t *rule,
                              struct ek_schema_fault *fault)
{
    return compile(g, schema, true, rule, fault);
}
