/* SPDX-License-Identifier: MIT */
/* A small vocabulary, and what a schema lets through with it. For the tests of schemas; needs cm.h. */
#ifndef TESTS_SCHEMA_CAST_H
#define TESTS_SCHEMA_CAST_H

#include "engine/guide.h"
#include "engine/schema.h"
#include "engine_vocab.h"

#include <string.h>

static const char *const merges[] = {
    "\" :", "\": \"", "\" ,", "\", \"", "{ \"", "} ,", "} }", "] }", "[ {", "1 2", "12 3", "a b",
        "ab c", "\\ n",
    "0 .", "- 1", "\xC3\xA2 \xC4\xA4", "\xC3\xA2\xC4\xA4 \xC2\xAC", "t r", "tr u", "\xC4\xA0 \"",
        ", \xC4\xA0", "[ ]", "x x", "xx xx", "xxxx xxxx",
    "xxxxxxxx xxxxxxxx", "xxxxxxxxxxxxxxxx x", NULL,
};

static struct ek_tokenizer *tokenizer;
static struct ek_trie *trie;
static struct ek_masks *masks;
static uint32_t eos;
static struct ek_grammar grammar;

/* The guide of a schema; NULL: refused, and `fault` says why. */
static struct ek_schema_fault fault;

static bool arguments; /* what is compiled is a tool's */

static struct ek_guide *guide_of(const char *text)
{
    uint32_t rule;
    json_t *schema = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(schema);
    ek_grammar_free(&grammar);
    ek_grammar_open(&grammar, trie->available);
    fault.text[0] = 0;
    bool ok = arguments ? ek_schema_compile_object(&grammar, schema, &rule, &fault)
                        : ek_schema_compile(&grammar, schema, &rule, &fault);
    json_decref(schema);
    if (!ok) return NULL;
    enum ek_grammar_end end = ek_grammar_finish(&grammar, rule);
    if (end != EK_GRAMMAR_FINE) {
        snprintf(fault.text, sizeof fault.text, "%s", end == EK_GRAMMAR_EMPTY ? "empty" : "endless");
        return NULL;
    }
    return ek_guide_new(&grammar, trie, masks, &eos, 1);
}

static bool accepts(const char *schema, const char *text)
{
    struct ek_guide *g = guide_of(schema);
    if (!g) fail_msg("%s: %s", schema, fault.text);
    bool read = true;
    for (const char *c = text; *c && read; c++) {
        uint16_t symbol = (unsigned char)*c;
        read = ek_guide_read(g, &symbol, 1);
    }
    bool whole = read && ek_guide_complete(g);
    ek_guide_free(&g);
    return whole;
}

static void yes(const char *schema, const char *text)
{
    if (!accepts(schema, text)) fail_msg("%s does not let %s through", schema, text);
}

static void no(const char *schema, const char *text)
{
    if (accepts(schema, text)) fail_msg("%s lets %s through", schema, text);
}

static void refused(const char *schema, const char *why)
{
    struct ek_guide *g = guide_of(schema);
    if (g) fail_msg("%s is not refused", schema);
    if (!strstr(fault.text, why)) fail_msg("%s: '%s' does not say '%s'", schema, fault.text, why);
}

static int open_all(void **state)
{
    (void)state;
    tokenizer = tiny_make("gpt-2", merges, deepseek_markers, EK_TOKEN_CONTROL);
    if (!tokenizer) return -1;
    trie = ek_trie_new(tokenizer, (uint32_t)ek_tokenizer_count(tokenizer), NULL, 0, NULL, 0);
    masks = ek_masks_new(trie);
    eos = ek_tokenizer_eos(tokenizer);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    ek_grammar_free(&grammar);
    ek_masks_free(&masks);
    ek_trie_free(&trie);
    ek_tokenizer_free(&tokenizer);
    return 0;
}

#endif
