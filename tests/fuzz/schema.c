/* SPDX-License-Identifier: MIT */
/* Any bytes as a JSON schema: refused with a sentence, or compiled within the limits; and then whatever is
 * chosen from the masks, there is always something to choose, it can be read, and an answer that ends is
 * JSON. The choices come from the bytes, too. */
#include "base/buf.h"
#include "engine/guide.h"
#include "engine/schema.h"

#include "../unit/engine_vocab.h"

static struct ek_trie *trie;
static struct ek_masks *masks;
static uint32_t eos;

static void open_once(void)
{
    static const char *const merges[] = {"\" :", "\" ,", "{ \"", "} ,", "1 2", "a b",
                                         "\xC3\xA2 \xC4\xA4", NULL};
    struct ek_tokenizer *t = tiny_make("gpt-2", merges, deepseek_markers, EK_TOKEN_CONTROL);
    eos = ek_tokenizer_eos(t);
    trie = ek_trie_new(t, (uint32_t)ek_tokenizer_count(t), NULL, 0, NULL, 0);
    masks = ek_masks_new(trie);
}

static uint32_t pick(const uint64_t *mask, size_t words, uint64_t n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < words; i++) count += (uint64_t)__builtin_popcountll(mask[i]);
    MUST(count > 0); /* a dead end */
    n %= count;
    for (size_t i = 0;; i++) {
        uint64_t here = (uint64_t)__builtin_popcountll(mask[i]), bits = mask[i];
        if (n >= here) {
            n -= here;
            continue;
        }
        while (n-- > 0) bits &= bits - 1;
        return (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(bits);
    }
}

static void walk(const struct ek_grammar *g, const uint8_t *data, size_t size)
{
    struct ek_guide *guide = ek_guide_new(g, trie, masks, &eos, 1);
    struct ek_buf text = ek_buf_make(1 << 20);
    uint64_t state = size;
    bool over = false;
    for (size_t i = 0; i < 120 && !over; i++) {
        state = state * 6364136223846793005u + data[i % size] + 1;
        uint32_t id = pick(ek_guide_mask(guide), ek_guide_words(guide), state >> 33);
        over = id == eos;
        if (over) break;
        MUST(ek_guide_advance(guide, id));
        ek_buf_str(&text, ek_tokenizer_bytes(trie->tokenizer, id));
        over = ek_guide_over(guide);
    }
    if (over) {
        json_t *v = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        MUST(v || memmem(text.data, text.len, "\\u0000", 6)); /* jansson has no such names */
        json_decref(v);
    }
    ek_buf_free(&text);
    ek_guide_free(&guide);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ek_grammar g;
    struct ek_schema_fault fault = {""};
    uint32_t rule;
    if (!trie) open_once();
    json_t *schema = size ? json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL,
                                       NULL) : NULL;
    if (!schema) return 0;
    ek_grammar_open(&g, trie->available);
    if (!ek_schema_compile(&g, schema, &rule, &fault)) MUST(fault.text[0] &&
                                                            memchr(fault.text, 0, sizeof fault.text));
    else if (ek_grammar_finish(&g, rule) == EK_GRAMMAR_FINE) walk(&g, data, size);
    ek_grammar_free(&g);
    json_decref(schema);
    return 0;
}
