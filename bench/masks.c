/* SPDX-License-Identifier: MIT */
/* What a mask costs: microseconds a token, over random answers to a few schemas, for a vocabulary. Prints
 * CSV:
 * schema, tokens, median, p99, worst and mean of the time for mask and advance, compiling, and at the end how
 * long the tree and the shared masks take when a model is opened. With STEP_US the share of a step as well.
 *
 *   bench_masks MODEL.gguf [STEP_US]        (a file with a vocabulary alone will do) */
#include "base/buf.h"
#include "engine/guide.h"
#include "engine/schema.h"
#include "engine/tokenizer_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct { const char *name, *schema; } cases[] = {
    {"any object", "{\"type\":\"object\"}"},
    {"person", "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{"
     "\"type\":\"integer\",\"minimum\":0,"
     "\"maximum\":150},\"email\":{\"type\":\"string\",\"format\":\"email\"},\"tags\":{"
     "\"type\":\"array\",\"items\":"
     "{\"enum\":[\"a\",\"b\",\"c\"]},\"maxItems\":8}},\"required\":[\"name\",\"age\",\"email\",\"tags\"],"
     "\"additionalProperties\":false}"},
    {"long strings",
     "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"minLength\":50,\"maxLength\":400},\"minItems\":3,"
     "\"maxItems\":9}"},
    {"pattern", "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^[A-Za-z ]{"
     "20,200}$\"},\"minItems\":3}"},
    {"tree", "{\"$defs\":{\"t\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"string\"},"
     "\"l\":{\"anyOf\":[{\"$ref\":"
     "\"#/$defs/t\"},{\"type\":\"null\"}]},\"r\":{\"anyOf\":[{\"$ref\":\"#/$defs/t\"},{"
     "\"type\":\"null\"}]}},\"required\":"
     "[\"v\",\"l\",\"r\"],\"additionalProperties\":false}},\"$ref\":\"#/$defs/t\"}"},
};

enum { TOKENS_MAX = 4000 };

static uint64_t seed = 1;

static uint64_t random_u64(void) /* SplitMix64 */
{
    uint64_t z = (seed += 0x9E3779B97F4A7C15ULL);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return z ^ z >> 31;
}

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e6 * (double)t.tv_sec + 1e-3 * (double)t.tv_nsec;
}

static uint32_t pick(const uint64_t *mask, size_t words)
{
    uint64_t count = 0;
    for (size_t i = 0; i < words; i++) count += (uint64_t)__builtin_popcountll(mask[i]);
    uint64_t n = random_u64() % count;
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

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void bench(size_t which, const struct ek_trie *trie, const struct ek_masks *masks, uint32_t eos,
                  double step_us)
{
    static double took[TOKENS_MAX];
    struct ek_grammar g;
    struct ek_schema_fault fault;
    uint32_t rule, n = 0;
    double sum = 0, begin = now_us();
    json_t *schema = json_loads(cases[which].schema, 0, NULL);
    ek_grammar_open(&g, trie->available);
    if (!ek_schema_compile(&g, schema, &rule, &fault) ||
        ek_grammar_finish(&g, rule) != EK_GRAMMAR_FINE) abort();
    double compiled = now_us() - begin;
    json_decref(schema);
    while (n < TOKENS_MAX) { /* answer after answer */
        begin = now_us();
        struct ek_guide *guide = ek_guide_new(&g, trie, masks, &eos, 1);
        double opened = now_us() - begin;
        for (uint32_t k = 0; n < TOKENS_MAX && k < 500 && !ek_guide_over(guide); k++) {
            begin = now_us();
            const uint64_t *mask = ek_guide_mask(guide);
            double mask_us = now_us() - begin;
            uint32_t id = pick(mask, ek_guide_words(guide));
            if (id == eos) break;
            begin = now_us();
            if (!ek_guide_advance(guide, id)) abort();
            took[n] = mask_us + now_us() - begin + (k == 0 ? opened : 0);
            sum += took[n++];
        }
        ek_guide_free(&guide);
    }
    qsort(took, n, sizeof *took, ascending);
    printf("%s,%u,%u,%.1f,%.1f,%.1f,%.1f,%.2f,", cases[which].name, trie->vocab, n, took[n / 2],
           took[n - n / 100 - 1], took[n - 1], sum / n, compiled / 1000);
    if (step_us > 0) printf("%.2f", 100 * sum / n / step_us);
    puts("");
    ek_grammar_free(&g);
}

int main(int argc, char **argv)
{
    struct ek_gguf *file = NULL;
    struct ek_tokenizer *t = NULL;
    char why[300] = "no file is named";
    if (argc < 2 || ek_gguf_open(argv[1], &file, why, sizeof why) != EK_OK ||
        ek_tokenizer_from_gguf(&t, file, why, sizeof why) != EK_OK) {
        fprintf(stderr, "bench_masks: %s\n", why);
        return 1;
    }
    ek_gguf_close(&file);
    double begin = now_us();
    struct ek_trie *trie = ek_trie_new(t, (uint32_t)ek_tokenizer_count(t), NULL, 0, NULL, 0);
    double middle = now_us();
    struct ek_masks *masks = ek_masks_new(trie);
    double end = now_us();
    puts("schema,vocabulary,tokens,median_us,p99_us,worst_us,mean_us,compile_ms,percent_of_step");
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        bench(i, trie, masks, ek_tokenizer_eos(t), argc > 2 ? strtod(argv[2], NULL) : 0);
    }
    printf("# tree %.1f ms and %.1f MB, shared masks %.1f ms\n", (middle - begin) / 1000,
           (double)trie->count * sizeof *trie->nodes / 1e6, (end - middle) / 1000);
    ek_masks_free(&masks);
    ek_trie_free(&trie);
    ek_tokenizer_free(&t);
    return 0;
}
