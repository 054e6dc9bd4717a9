/* SPDX-License-Identifier: MIT */
/* Answers to JSON schemas, for a validator that is not ours (tests/live/engine_schemas.py).
 *
 * Reads schemas from standard input, one a line, and writes for each one a line: {"refused": why}, or
 * {"text": answer, "finish": "stop" | "length", "tokens": n}. Tokens are chosen at random from each mask:
 * the worst a model can do; with --model by a small random model of that architecture, at a temperature
 * that changes from schema to schema. Every so often some token is tried that need not be in the mask: it
 * may be read if and only if it is.
 *
 *   schema_words [--seed N] [--tokens N] [--vocab MODEL.gguf | --model v2|v3|qwen2] < schemas > answers */
#include "base/buf.h"
#include "engine/engine.h"
#include "engine/guide.h"
#include "engine/schema.h"
#include "engine/tokenizer_file.h"

#include "engine_vocab.h"
#include "model_maker.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

static uint64_t seed = 1;

static uint64_t random_u64(void) /* SplitMix64 */
{
    uint64_t z = (seed += 0x9E3779B97F4A7C15ULL);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return z ^ z >> 31;
}

/* Tokens that cross the borders of JSON's parts, and pieces of characters. */
static const char *const merges[] = {
    "\" :", "\": \"", "\" ,", "\", \"", "{ \"", "} ,", "} }", "] }", "[ {", "[ \"", "t r", "u e", "tr ue",
    "1 2", "12 3", "12 ,", "a b", "ab c", "n ame", "i d", "\\ n", "\\ \"", "0 .", "- 1", "e +",
        "\xC3\xA2 \xC4\xA4",
    "\xC3\xA2\xC4\xA4 \xC2\xAC", "f al", "al se", "n u", "l l", "nu ll", "\xC4\xA0 \"", "\xC4\xA0 {",
        ", \xC4\xA0", ": \xC4\xA0",
    "[ ]", "{ }", "\xC4\x8A \xC4\xA0", "\xC4\x8A\xC4\xA0 \xC4\xA0", "a r", "ar r", "\" }", "\" ]",
        "z z", "zz zz", "zzzz zzzz", NULL,
};

static struct ek_tokenizer *open_vocab(const char *path)
{
    struct ek_gguf *g = NULL;
    struct ek_tokenizer *t = NULL;
    char why[300] = "";
    if (!path) return tiny_make("gpt-2", merges, deepseek_markers, EK_TOKEN_CONTROL);
    if (ek_gguf_open(path, &g, why, sizeof why) != EK_OK ||
        ek_tokenizer_from_gguf(&t, g, why, sizeof why) != EK_OK) {
        fprintf(stderr, "schema_words: %s\n", why);
        exit(1);
    }
    ek_gguf_close(&g);
    return t;
}

/* The n-th token of a mask; n random. */
static uint32_t pick(const uint64_t *mask, size_t words)
{
    uint64_t count = 0;
    for (size_t i = 0; i < words; i++) count += (uint64_t)__builtin_popcountll(mask[i]);
    if (count == 0) {
        fprintf(stderr, "schema_words: a dead end\n");
        exit(1);
    }
    uint64_t n = random_u64() % count;
    for (size_t i = 0;; i++) {
        uint64_t here = (uint64_t)__builtin_popcountll(mask[i]);
        if (n >= here) {
            n -= here;
            continue;
        }
        uint64_t bits = mask[i];
        while (n-- > 0) bits &= bits - 1;
        return (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(bits);
    }
}

/* Is the mask exactly what can be read? What limits of length leave out is accepted and not in it. */
static void check_mask(const struct ek_guide *g, const struct ek_trie *t, const uint64_t *mask)
{
    uint32_t id = (uint32_t)(random_u64() % t->vocab);
    bool in = mask[id / 64] >> id % 64 & 1;
    uint16_t symbols[EK_TRIE_TOKEN_BYTES_MAX];
    if (ek_trie_spell(t, id, symbols) == 0) return;
    struct ek_guide *copy = ek_guide_copy(g);
    bool read = ek_guide_advance(copy, id);
    if (read != in && (in || ek_trie_spell(t, id, symbols) < 16)) {
        fprintf(stderr, "schema_words: token %u is %sin the mask, but was %s\n", id, in ? "" : "not ",
                read ? "read" : "refused");
        exit(1);
    }
    ek_guide_free(&copy);
}

static void say(const struct ek_buf *text, bool whole, uint32_t n)
{
    json_t *line = json_pack("{s:s, s:i}", "finish", whole ? "stop" : "length", "tokens", (int)n);
    json_t *said = json_stringn(text->data ? text->data : "", text->len);
    if (whole && !said) {
        fprintf(stderr, "schema_words: the answer is not UTF-8\n");
        exit(1);
    }
    if (said) json_object_set_new(line, "text", said);
    json_dumpf(line, stdout, 0);
    puts("");
    json_decref(line);
}

/* ---- by a model ------------------------------------------------------------------------------ */

static struct ek_engine *engine;
static int bell = -1;

static void ring(void *arg)
{
    uint64_t one = 1;
    (void)arg;
    if (write(bell, &one, sizeof one) != sizeof one) abort();
}

static void open_engine(const char *name, uint32_t vocab)
{
    struct recipe r = strcmp(name, "qwen2") == 0 ? recipe_qwen2 : strcmp(name,
        "v3") == 0 ? recipe_v3 : recipe_v2;
    char path[64], why[300] = "";
    r.vocab = vocab;
    r.seed = seed;
    maker_save(&r, path);
    bell = eventfd(0, EFD_CLOEXEC);
    struct ek_engine_options o = {.model_path = path, .slots = 1, .threads = 1, .ctx_tokens = 4096};
    if (ek_engine_open(&o, ring, NULL, &engine, why, sizeof why) != EK_OK) {
        fprintf(stderr, "schema_words: %s\n", why);
        exit(1);
    }
    unlink(path);
}

static void answer_by_model(const struct ek_grammar *grammar, const struct ek_trie *trie,
                            const struct ek_masks *masks, uint32_t eos, uint32_t tokens_max)
{
    static unsigned runs;
    const float temperatures[] = {1, 0.5f, 2, 0, 1.3f};
    uint32_t prompt[4] = {1, 2, 3, (uint32_t)(random_u64() % trie->vocab)}, n = 0;
    uint64_t id, rings;
    char why[300] = "";
    struct ek_buf text = ek_buf_make(64u << 20);
    struct ek_engine_job job = {
        .prompt_ids = prompt, .prompt_tokens = 4, .max_tokens = tokens_max < 4000 ? tokens_max : 4000,
        .sampling = ek_sampling_default(), .stop_ids = {eos}, .stop_count = 1, .guide_from = EK_NO_TOKEN,
        .guide = ek_guide_new(grammar, trie, masks, &eos, 1),
        .thinking = {.open_id = EK_NO_TOKEN, .end_id = EK_NO_TOKEN, .budget = EK_THINK_UNLIMITED}};
    job.sampling.temperature = temperatures[runs++ % EK_COUNT(temperatures)];
    job.sampling.frequency_penalty =
        job.sampling.temperature == 0 ? 1 : 0; /* the greedy go round in circles */
    job.sampling.seed = random_u64();
    if (ek_engine_submit(engine, &job, &id, why, sizeof why) != EK_OK) {
        fprintf(stderr, "schema_words: %s\n", why);
        exit(1);
    }
    struct ek_engine_event event = {.finish = EK_JOB_GOES_ON};
    while (event.finish == EK_JOB_GOES_ON) {
        if (ek_engine_take(engine, &event, 1) == 0) {
            if (read(bell, &rings, sizeof rings) != sizeof rings) abort();
            continue;
        }
        if (!event.has_token) continue;
        ek_buf_str(&text, ek_tokenizer_bytes(trie->tokenizer, event.token.id));
        n++;
    }
    say(&text, event.finish == EK_JOB_STOP, n);
    ek_buf_free(&text);
}

/* ---- by chance ------------------------------------------------------------------------------- */

static void answer(const struct ek_grammar *grammar, const struct ek_trie *trie, const struct ek_masks *masks,
                   uint32_t eos, uint32_t tokens_max)
{
    struct ek_guide *g = ek_guide_new(grammar, trie, masks, &eos, 1);
    size_t words = ek_guide_words(g);
    struct ek_buf text = ek_buf_make(64u << 20);
    uint32_t n = 0;
    bool stopped = false;
    while (!stopped && n < tokens_max && !ek_guide_over(g)) {
        const uint64_t *mask = ek_guide_mask(g);
        if (random_u64() % 64 == 0) {
            check_mask(g, trie, mask);
            mask = ek_guide_mask(g);
        }
        uint32_t id = pick(mask, words);
        n++;
        stopped = id == eos;
        if (stopped) break;
        if (!ek_guide_advance(g, id)) {
            fprintf(stderr, "schema_words: token %u of the mask was not read\n", id);
            exit(1);
        }
        ek_buf_str(&text, ek_tokenizer_bytes(trie->tokenizer, id));
    }
    bool whole = stopped || ek_guide_over(g);
    say(&text, whole, n);
    ek_buf_free(&text);
    ek_guide_free(&g);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void refused(const char *why)
{
    json_t *line = json_pack("{s:s}", "refused", why);
    json_dumpf(line, stdout, 0);
    puts("");
    json_decref(line);
}

static void do_schema(const char *text, size_t len, const struct ek_trie *trie, const struct ek_masks *masks,
                      uint32_t eos, uint32_t tokens_max)
{
    static const char *const ends[] = {[EK_GRAMMAR_EMPTY] = "no text fulfils the schema",
                                       [EK_GRAMMAR_ENDLESS] = "the schema contains itself endlessly"};
    struct ek_grammar g;
    struct ek_schema_fault fault;
    uint32_t rule;
    double begin = now_s();
    json_t *schema = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    ek_grammar_open(&g, trie->available);
    if (!ek_schema_compile(&g, schema, &rule, &fault)) {
        refused(fault.text);
    } else {
        enum ek_grammar_end end = ek_grammar_finish(&g, rule);
        if (getenv("VERBOSE")) {
            fprintf(stderr, "%zu states, %.1f ms: %.60s\n", g.dfa.state_count, 1e3 * (now_s() - begin), text);
        }
        if (end != EK_GRAMMAR_FINE) refused(ends[end]);
        else if (engine) answer_by_model(&g, trie, masks, eos, tokens_max);
        else answer(&g, trie, masks, eos, tokens_max);
    }
    ek_grammar_free(&g);
    json_decref(schema);
}

int main(int argc, char **argv)
{
    uint32_t tokens_max = 4000;
    const char *vocab = NULL, *model = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0) seed = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--tokens") == 0) tokens_max = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--vocab") == 0) vocab = argv[i + 1];
        if (strcmp(argv[i], "--model") == 0) model = argv[i + 1];
    }
    struct ek_tokenizer *t = open_vocab(vocab);
    double begin = now_s();
    struct ek_trie *trie = ek_trie_new(t, (uint32_t)ek_tokenizer_count(t), NULL, 0, NULL, 0);
    double middle = now_s();
    struct ek_masks *masks = ek_masks_new(trie);
    fprintf(stderr, "schema_words: %u tokens, %u nodes: tree %.1f ms, masks %.1f ms\n", trie->vocab,
            trie->count,
            1e3 * (middle - begin), 1e3 * (now_s() - middle));
    if (model) open_engine(model, trie->vocab);
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        do_schema(line, (size_t)n, trie, masks, ek_tokenizer_eos(t), tokens_max);
        fflush(stdout);
    }
    free(line);
    if (engine) ek_engine_close(&engine);
    ek_masks_free(&masks);
    ek_trie_free(&trie);
    ek_tokenizer_free(&t);
    return 0;
}
