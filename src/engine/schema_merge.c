/* SPDX-License-Identifier: MIT */
/* Two schemas into one that asks for both: allOf, and keywords beside $ref, anyOf or oneOf. What cannot be
 * said in one schema of our keywords is refused. Also the question of oneOf: can two schemas hold for the
 * same value? Pure; merged schemas belong to the compiler. */
#include "engine/schema_inside.h"

#include <stdlib.h>

static json_t *keep(struct ek_schema *c, json_t *made)
{
    MUST(made && json_array_append_new(c->made, made) == 0);
    return made;
}

/* {"allOf": [a, b]}: put together when it is looked at. */
static json_t *both_of(json_t *a, json_t *b)
{
    json_t *list = json_array(), *all = json_object();
    MUST(list && all);
    MUST(json_array_append(list, a) == 0 && json_array_append(list, b) == 0);
    MUST(json_object_set_new(all, "allOf", list) == 0);
    return all;
}

static bool is_one_of(const char *name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) return true;
    }
    return false;
}

/* ---- member by member ------------------------------------------------------------------------ */

static json_t *type_list(unsigned kinds)
{
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    json_t *list = json_array();
    MUST(list);
    for (size_t i = 0; i < EK_COUNT(names); i++) {
        if (kinds & 1u << i) MUST(json_array_append_new(list, json_string(names[i])) == 0);
    }
    return list;
}

static void merge_types(struct ek_schema *c, json_t *out, json_t *a, json_t *b)
{
    bool said = ek_schema_get(a, "type") || ek_schema_get(b, "type");
    if (!said) return;
    unsigned x = ek_schema_get(a, "type") ? ek_schema_kinds(c, a) : EK_KIND_ALL;
    unsigned y = ek_schema_get(b, "type") ? ek_schema_kinds(c, b) : EK_KIND_ALL;
    if (c->failed) return;
    if ((x & y) == 0) ek_schema_refuse(c, "type", "leaves no type together with the other schemas here");
    json_object_set_new(out, "type", type_list(x & y));
    json_object_del(out, "nullable"); /* it is in the list now */
}

/* So many comparisons are work, too: two enums of 16,000 take two seconds. */
static void charge(struct ek_schema *c, size_t a, size_t b)
{
    c->work += (unsigned)((a < 65536 ? a : 65536) * (b < 65536 ? b : 65536) / EK_SCHEMA_COMPARED);
    if (c->work > EK_SCHEMA_WORK_MAX) ek_schema_refuse(c, NULL, "the schema is too large");
}

static json_t *merge_required(struct ek_schema *c, json_t *a, json_t *b)
{
    charge(c, json_array_size(a), json_array_size(b));
    if (c->failed) return json_incref(a);
    json_t *list = json_copy(a);
    MUST(list);
    for (size_t i = 0; i < json_array_size(b); i++) {
        bool known = false;
        for (size_t k = 0; k < json_array_size(a) && !known; k++) {
            known = json_equal(json_array_get(a, k), json_array_get(b, i)) == 1;
        }
        if (!known) MUST(json_array_append(list, json_array_get(b, i)) == 0);
    }
    return list;
}

static json_t *values_of(json_t *schema, json_t *one)
{
    json_t *list = ek_schema_get(schema, "enum");
    if (list) return json_incref(list);
    MUST(json_array_append(one, ek_schema_get(schema, "const")) == 0);
    return json_incref(one);
}

/* enum and const of both, as the values that both have. */
static void merge_values(struct ek_schema *c, json_t *out, json_t *a, json_t *b)
{
    json_t *x_one = json_array(), *y_one = json_array();
    json_t *x = values_of(a, x_one), *y = values_of(b, y_one), *left = json_array();
    MUST(left);
    charge(c, json_array_size(x), json_array_size(y));
    for (size_t i = 0; i < json_array_size(x) && !c->failed; i++) {
        for (size_t k = 0; k < json_array_size(y); k++) {
            if (!json_equal(json_array_get(x, i), json_array_get(y, k))) continue;
            MUST(json_array_append(left, json_array_get(x, i)) == 0);
            break;
        }
    }
    if (json_array_size(left) == 0) ek_schema_refuse(c, "enum", "leaves no value together with the others");
    json_object_del(out, "const");
    json_object_set_new(out, "enum", left);
    json_decref(x);
    json_decref(y);
    json_decref(x_one);
    json_decref(y_one);
}

/* Members of one side that the other does not name fall under the other's additionalProperties. */
static void add_named(json_t *out, json_t *names, json_t *others_names, json_t *others)
{
    const char *name;
    json_t *value;
    json_object_foreach(names, name, value) {
        json_t *here = json_object_get(others_names, name);
        json_t *merged;
        if (json_object_get(out, name)) continue;
        if (here) merged = json_is_false(here) || json_is_false(value) ? json_false() : both_of(value, here);
        else if (json_is_false(others)) merged = json_false();
        else merged = others && !json_is_true(others) ? both_of(value, others) : json_incref(value);
        MUST(json_object_set_new(out, name, merged) == 0);
    }
}

static void merge_members(json_t *out, json_t *a, json_t *b)
{
    json_t *x = ek_schema_get(a, "properties"), *y = ek_schema_get(b, "properties");
    json_t *x_others = ek_schema_get(a, "additionalProperties"),
        *y_others = ek_schema_get(b, "additionalProperties");
    if (x || y) {
        json_t *all = json_object();
        MUST(all);
        add_named(all, x, y, y_others);
        add_named(all, y, x, x_others);
        MUST(json_object_set_new(out, "properties", all) == 0);
    }
    if (!x_others || !y_others) return; /* whichever there is was copied */
    json_t *others = json_is_false(x_others) || json_is_false(y_others) ? json_false() :
                     json_is_true(x_others) ? json_incref(y_others) :
                     json_is_true(y_others) ? json_incref(x_others) : both_of(x_others, y_others);
    MUST(json_object_set_new(out, "additionalProperties", others) == 0);
}

static json_t *stricter(json_t *a, json_t *b, bool larger)
{
    double x = json_number_value(a), y = json_number_value(b);
    return json_incref((larger ? x >= y : x <= y) ? a : b);
}

/* A keyword that both have and that is none of the above. */
static void merge_keyword(struct ek_schema *c, json_t *out, const char *name, json_t *a, json_t *b)
{
    static const char *const larger[] = {"minLength", "minItems", "minProperties", "minimum",
                                         "exclusiveMinimum"};
    static const char *const smaller[] = {"maxLength", "maxItems", "maxProperties", "maximum",
                                          "exclusiveMaximum"};
    json_t *merged;
    if (is_one_of(name, larger, EK_COUNT(larger))) {
        merged = stricter(a, b, true);
    } else if (is_one_of(name, smaller, EK_COUNT(smaller))) {
        merged = stricter(a, b, false);
    } else if (strcmp(name, "items") == 0 && !json_is_array(a) && !json_is_array(b)) {
        merged = json_is_false(a) || json_is_false(b) ? json_false() : both_of(a, b);
    } else if (strcmp(name, "uniqueItems") == 0) {
        merged = json_boolean(json_is_true(a) || json_is_true(b));
    } else if (json_equal(a, b)) {
        return;
    } else {
        ek_schema_refuse(c, name, "cannot be put together with that of the other schemas here");
        return;
    }
    MUST(json_object_set_new(out, name, merged) == 0);
}

/* Keywords whose meaning depends on others of the same schema must not come from two. */
static void check_apart(struct ek_schema *c, json_t *a, json_t *b)
{
    static const char *const lists[] = {"prefixItems", "additionalItems"};
    for (size_t i = 0; i < EK_COUNT(lists); i++) {
        bool x = ek_schema_get(a, lists[i]) != NULL, y = ek_schema_get(b, lists[i]) != NULL;
        bool x_items = ek_schema_get(a, "items") != NULL, y_items = ek_schema_get(b, "items") != NULL;
        if ((x && y_items && !y) || (y && x_items && !x)) {
            ek_schema_refuse(c, lists[i], "cannot be put together with items of the other schemas here");
        }
    }
    if (json_is_array(ek_schema_get(a, "items")) != json_is_array(ek_schema_get(b, "items")) &&
        ek_schema_get(a, "items") && ek_schema_get(b, "items")) {
        ek_schema_refuse(c, "items", "cannot be put together with items of the other schemas here");
    }
}

static void merge_into(struct ek_schema *c, json_t *out, json_t *a, json_t *b)
{
    static const char *const done[] = {"type", "nullable", "required", "enum", "const", "properties",
                                       "additionalProperties", "$defs", "definitions"};
    const char *name;
    json_t *value;
    check_apart(c, a, b);
    json_object_foreach(b, name, value) {
        json_t *here = json_object_get(a, name);
        json_t *note = json_object();
        MUST(note && json_object_set(note, name, value) == 0);
        bool says = ek_schema_constrains(note, NULL);
        json_decref(note);
        if (!here) MUST(json_object_set(out, name, value) == 0);
        else if (says && !is_one_of(name, done, EK_COUNT(done))) merge_keyword(c, out, name, here, value);
    }
    merge_types(c, out, a, b);
    merge_members(out, a, b);
    json_t *x = ek_schema_get(a, "required"), *y = ek_schema_get(b, "required");
    if (json_is_array(x) && json_is_array(y)) {
        MUST(json_object_set_new(out, "required", merge_required(c, x, y)) == 0);
    }
    bool a_values = ek_schema_get(a, "enum") || ek_schema_get(a, "const");
    bool b_values = ek_schema_get(b, "enum") || ek_schema_get(b, "const");
    if (a_values && b_values) merge_values(c, out, a, b);
}

/* A schema without $ref and allOf: what they bring, put together with what stands beside them. */
static json_t *flat(struct ek_schema *c, json_t *s)
{
    while (s && json_is_object(s) && (ek_schema_get(s, "$ref") || ek_schema_get(s, "allOf"))) {
        const char *word = ek_schema_get(s, "$ref") ? "$ref" : "allOf";
        json_t *rest = keep(c, json_copy(s)), *part = json_true();
        json_object_del(rest, word);
        if (word[0] == '$') {
            part = ek_schema_resolve(c, s);
        } else {
            json_t *list = ek_schema_get(s, word);
            for (size_t i = 0; i < json_array_size(list) && part; i++) {
                part = ek_schema_merge(c, part, json_array_get(list, i));
            }
        }
        s = part ? ek_schema_merge(c, rest, part) : NULL;
    }
    return s;
}

json_t *ek_schema_merge(struct ek_schema *c, json_t *a, json_t *b)
{
    if (++c->work > EK_SCHEMA_WORK_MAX) ek_schema_refuse(c, NULL, "the schema is too large");
    if (c->nested >= EK_SCHEMA_NESTED_MAX) ek_schema_refuse(c, NULL, "schemas are nested too deep");
    if (c->failed) return NULL;
    c->nested++;
    a = flat(c, a);
    b = a ? flat(c, b) : NULL;
    c->nested--;
    if (!a || !b) return NULL;
    if (json_is_true(a)) return b;
    if (json_is_true(b)) return a;
    if (!json_is_object(a) || !json_is_object(b)) {
        ek_schema_refuse(c, NULL, "no value fulfils all of the schemas here");
        return NULL;
    }
    json_t *out = keep(c, json_copy(a));
    merge_into(c, out, a, b);
    return c->failed ? NULL : out;
}

/* ---- oneOf ----------------------------------------------------------------------------------- */

/* Do both name values, and none that is the same? */
static bool values_apart(struct ek_schema *c, json_t *a, json_t *b)
{
    bool apart = true;
    if (!ek_schema_get(a, "enum") && !ek_schema_get(a, "const")) return false;
    if (!ek_schema_get(b, "enum") && !ek_schema_get(b, "const")) return false;
    json_t *x_one = json_array(), *y_one = json_array();
    json_t *x = values_of(a, x_one), *y = values_of(b, y_one);
    charge(c, json_array_size(x), json_array_size(y));
    for (size_t i = 0; i < json_array_size(x) && apart && !c->failed; i++) {
        for (size_t k = 0; k < json_array_size(y) && apart; k++) {
            const json_t *v = json_array_get(x, i), *w = json_array_get(y, k);
            bool equal = json_equal(v, w) == 1;
            if (json_is_number(v) && json_is_number(w)) equal = json_number_value(v) == json_number_value(w);
            apart = apart && !equal;
        }
    }
    json_decref(x);
    json_decref(y);
    json_decref(x_one);
    json_decref(y_one);
    return apart;
}

unsigned ek_schema_kind_of_value(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_NULL: return EK_KIND_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return EK_KIND_BOOLEAN;
    case JSON_INTEGER: return EK_KIND_INTEGER;
    case JSON_REAL:
        return json_real_value(v) == (double)(int64_t)json_real_value(v) ? EK_KIND_INTEGER : EK_KIND_NUMBER;
    case JSON_STRING: return EK_KIND_STRING;
    case JSON_ARRAY: return EK_KIND_ARRAY;
    case JSON_OBJECT: return EK_KIND_OBJECT;
    }
    WRONG("a value of no kind");
}

/* Does `a` name values, and none of a kind that `b` allows? */
static bool values_outside(struct ek_schema *c, json_t *a, json_t *b)
{
    json_t *list = ek_schema_get(a, "enum"), *one = ek_schema_get(a, "const");
    if ((!one && !json_is_array(list)) || !ek_schema_get(b, "type")) return false;
    unsigned kinds = ek_schema_kinds(c, b);
    size_t n = list ? json_array_size(list) : 1;
    for (size_t i = 0; i < n; i++)
        if (ek_schema_kind_of_value(list ? json_array_get(list, i) : one) & kinds) return false;
    return !c->failed;
}

static bool requires(const json_t *schema, const char *name)
{
    const json_t *list = ek_schema_get(schema, "required");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (text && strcmp(text, name) == 0) return true;
    }
    return false;
}

/* Is there a member that all objects of `a` have and no object of `b` may have, or that both must have, with
 * values that differ? */
static bool objects_apart(struct ek_schema *c, json_t *a, json_t *b)
{
    const json_t *list = ek_schema_get(a, "required");
    charge(c, json_array_size(list), json_array_size(ek_schema_get(b, "required")));
    for (size_t i = 0; i < json_array_size(list) && !c->failed; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!name) continue;
        json_t *x = json_object_get(ek_schema_get(a, "properties"), name);
        json_t *y = json_object_get(ek_schema_get(b, "properties"), name);
        if (!y && json_is_false(ek_schema_get(b, "additionalProperties"))) return true;
        if (json_is_false(y)) return true;
        c->nested++;
        bool apart = x && y && requires(b, name) && ek_schema_disjoint(c, x, y);
        c->nested--;
        if (apart) return true;
    }
    return false;
}

bool ek_schema_disjoint(struct ek_schema *c, json_t *a, json_t *b)
{
    a = ek_schema_resolve(c, a);
    b = a ? ek_schema_resolve(c, b) : NULL;
    if (c->nested >= EK_SCHEMA_NESTED_MAX) return false;
    if (++c->work > EK_SCHEMA_WORK_MAX) ek_schema_refuse(c, NULL, "the schema is too large");
    if (c->failed) return false;
    if (json_is_false(a) || json_is_false(b)) return true;
    if (!json_is_object(a) || !json_is_object(b)) return false;
    if (values_apart(c, a, b) || values_outside(c, a, b) || values_outside(c, b, a)) return true;
    unsigned x = ek_schema_get(a, "type") ? ek_schema_kinds(c, a) : EK_KIND_ALL;
    unsigned y = ek_schema_get(b, "type") ? ek_schema_kinds(c, b) : EK_KIND_ALL;
    if (c->failed) return false;
    if ((x & y) == 0) return true;
    if ((x & y) != EK_KIND_OBJECT) return false;
    return objects_apart(c, a, b) || objects_apart(c, b, a);
}
