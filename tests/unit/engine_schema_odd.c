/* SPDX-License-Identifier: MIT */
/* Odd schemas: alternatives that cannot be, or meet again and again, arguments that are no object, enums that
 * take long to compare, tokens that are never text. */
#include "cm.h"

#include "base/buf.h"
#include "schema_cast.h"

#include <stdlib.h>

/* Alternatives that what stands beside them rules out are none. */
static void impossible_alternatives(void **state)
{
    (void)state;
    const char *one = "{\"type\":\"object\",\"anyOf\":[{\"type\":\"null\"},{\"const\":\"x\"},"
                      "{\"properties\":{\"a\":{\"const\":1}},\"required\":[\"a\"]}]}";
    yes(one, "{\"a\":1}");
    no(one, "null");
    no(one, "\"x\"");
    refused("{\"type\":\"object\",\"anyOf\":[{\"type\":\"null\"},{\"const\":2}]}", "empty");
}

/* A tool's arguments are an object, whatever else its schema allows; where the schema means itself it means
 * all that it allows. */
static void arguments_are_objects(void **state)
{
    (void)state;
    arguments = true;
    const char *member = "\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]";
    static const struct { const char *front, *back; } forms[] = {
        {"{\"type\":\"object\",", "}"}, {"{", "}"}, {"{\"type\":\"object\",\"nullable\":true,", "}"},
        {"{\"type\":[\"null\",\"object\"],", "}"}, {"{\"$id\":\"u\",\"allOf\":[{", "}]}"},
        {"{\"$ref\":\"#/$defs/s\",\"$defs\":{\"s\":{\"type\":[\"string\",\"object\"],", "}}}"},
        {"{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"object\",", "},{\"enum\":[1,null]}]}"},
        {"{\"oneOf\":[{\"type\":\"null\"},{\"type\":\"object\",", "}]}"},
    };
    static const char *const others[] = {"null", "\"x\"", "1", "[]", "{}"};
    for (size_t i = 0; i < EK_COUNT(forms); i++) {
        char schema[400];
        snprintf(schema, sizeof schema, "%s%s%s", forms[i].front, member, forms[i].back);
        yes(schema, "{\"a\":5}");
        for (size_t k = 0; k < EK_COUNT(others); k++) no(schema, others[k]);
    }
    yes("{}", "{\"any\":[null]}");
    no("{}", "[]");
    const char *list = "{\"type\":[\"object\",\"null\"],\"properties\":{\"next\":{\"$ref\":\"#\"}},"
                       "\"required\":[\"next\"],\"additionalProperties\":false}";
    yes(list, "{\"next\":{\"next\":null}}");
    no(list, "null");
    refused("{\"enum\":[1,2]}", "leaves no value");
    refused("{\"type\":\"string\"}", "allows no object");
    refused("{\"$ref\":\"#/$defs/s\",\"$defs\":{\"s\":{\"const\":\"x\"}}}", "leaves no value");
    refused("{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}", "empty");
    arguments = false;
}

/* Alternatives that meet again and again: `levels` of `width`, each of which leads to all of the next. */
static char *diamond(unsigned levels, unsigned width, const char *root)
{
    struct ek_buf b = ek_buf_make(1u << 20);
    ek_buf_printf(&b, "{%s,\"$defs\":{", root);
    for (unsigned l = 0; l <= levels; l++) {
        for (unsigned w = 0; w < width; w++) {
            ek_buf_printf(&b, "%s\"a%u_%u\":", l + w ? "," : "", l, w);
            if (l == levels) ek_buf_printf(&b, "{\"type\":\"integer\",\"minimum\":%u}", w);
            for (unsigned k = 0; k < width && l < levels; k++)
                ek_buf_printf(&b, "%s{\"$ref\":\"#/$defs/a%u_%u\"}%s", k ? "," : "{\"anyOf\":[", l + 1, k,
                              k + 1 == width ? "]}" : "");
        }
    }
    ek_buf_lit(&b, "}}");
    assert_non_null(ek_buf_cstr(&b));
    return b.data; /* the caller frees it */
}

/* Every token of the mask can be read, step after step, and there is always one. */
static void walk_masks(const char *schema, unsigned steps)
{
    struct ek_guide *g = guide_of(schema);
    if (!g) fail_msg("%s", fault.text);
    uint64_t state = 7;
    for (unsigned i = 0; i < steps && !ek_guide_over(g); i++) {
        const uint64_t *mask = ek_guide_mask(g);
        uint32_t chosen = EK_TOKEN_NONE, seen = 0;
        for (uint32_t id = 0; id < trie->vocab; id++) {
            if (!(mask[id / 64] >> id % 64 & 1) || id == eos) continue;
            struct ek_guide *copy = ek_guide_copy(g);
            if (!ek_guide_advance(copy, id)) fail_msg("token %u of the mask is not read", id);
            ek_guide_free(&copy);
            state = state * 6364136223846793005u + 1442695040888963407u;
            if ((uint32_t)(state >> 33) % ++seen == 0) chosen = id;
        }
        if (chosen == EK_TOKEN_NONE) fail_msg("a dead end");
        assert_true(ek_guide_advance(g, chosen));
    }
    ek_guide_free(&g);
}

/* More paths than anybody can walk; each place is looked at once. */
static void alternatives_that_meet_again(void **state)
{
    (void)state;
    char *list = diamond(28, 4, "\"type\":\"array\",\"minItems\":1,"
                                "\"items\":{\"$ref\":\"#/$defs/a0_0\"}");
    char *root = diamond(28, 4, "\"$ref\":\"#/$defs/a0_0\"");
    yes(list, "[12]");
    no(list, "[\"x\"]");
    yes(root, "12");
    walk_masks(list, 12);
    char *two = diamond(23, 2, "\"type\":\"object\",\"required\":[\"a\"],\"anyOf\":["
                               "{\"properties\":{\"a\":{\"$ref\":\"#/$defs/a0_0\"}}},"
                               "{\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^[a-z]+$\"}}}]");
    yes(two, "{\"a\":\"xy\"}");
    walk_masks(two, 30);
    free(list);
    free(root);
    free(two);
}

/* Comparing is work, too. */
static void long_enums_are_refused(void **state)
{
    (void)state;
    struct ek_buf b = ek_buf_make(1u << 20);
    ek_buf_lit(&b, "{\"$defs\":{");
    for (unsigned d = 0; d < 2; d++) {
        ek_buf_printf(&b, "%s\"%c\":{\"enum\":[0", d ? "," : "", 'a' + (int)d);
        for (unsigned i = 1; i < 16000; i++) ek_buf_printf(&b, ",%u", 2 * i + d);
        ek_buf_lit(&b, "]}");
    }
    ek_buf_lit(&b, "},\"allOf\":[{\"$ref\":\"#/$defs/a\"},{\"$ref\":\"#/$defs/b\"}]}");
    refused(ek_buf_cstr(&b), "too large");
    ek_buf_free(&b);
}

/* A token that ends an answer is no text, whatever kind the file says it is of. */
static void what_ends_is_never_written(void **state)
{
    (void)state;
    uint32_t e = EK_TOKEN_NONE;
    uint16_t symbols[EK_TRIE_TOKEN_BYTES_MAX];
    for (uint32_t id = 0; id < trie->vocab && e == EK_TOKEN_NONE; id++)
        if (ek_str_eq(ek_tokenizer_bytes(tokenizer, id), EK_STR("e"))) e = id;
    assert_int_not_equal(e, EK_TOKEN_NONE);
    assert_int_equal(ek_trie_spell(trie, e, symbols), 1);
    struct ek_trie *without = ek_trie_new(tokenizer, trie->vocab, NULL, 0, &e, 1);
    assert_int_equal(ek_trie_spell(without, e, symbols), 0);
    assert_false(without->available['e']);
    ek_trie_free(&without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_alternatives), cmocka_unit_test(arguments_are_objects),
        cmocka_unit_test(alternatives_that_meet_again), cmocka_unit_test(long_enums_are_refused),
        cmocka_unit_test(what_ends_is_never_written),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
