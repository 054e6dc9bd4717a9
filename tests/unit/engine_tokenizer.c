/* SPDX-License-Identifier: MIT */
/* The tokenizer: a tiny vocabulary whose ids can be worked out by hand, hostile text, round trips, and
 * the published cases of real vocabularies (from $EK_SHARED; skipped, saying so, where it is missing). */
#include "cm.h"

#include "engine_vocab.h"

#include "base/buf.h"
#include "engine/bpe.h"
#include "engine/pretok.h"
#include "engine/tokenizer_file.h"

#include <time.h>

static uint64_t seed = 20261121;

static uint64_t random_u64(void) /* SplitMix64 */
{
    uint64_t z = (seed += 0x9E3779B97F4A7C15ULL);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return z ^ z >> 31;
}

static void expect_ids(const struct ek_tokenizer *t, const char *text, bool markers, const char *want)
{
    struct ek_encoder *e = ek_encoder_new();
    struct ek_ids ids = {.count_max = 1000};
    assert_int_equal(ek_tokenizer_encode(t, e, ek_str_of(text), markers, &ids), EK_OK);
    char got[4000];
    size_t n = 0;
    got[0] = 0;
    for (size_t i = 0; i < ids.count; i++) {
        n += (size_t)snprintf(got + n, sizeof got - n, i ? " %u" : "%u", ids.data[i]);
    }
    if (strcmp(got, want) != 0) fprintf(stderr, "text \"%s\"\n", text);
    assert_string_equal(got, want);
    ek_ids_free(&ids);
    ek_encoder_free(&e);
}

/* 256 "th", 257 "he", 258 "the", 259 "Ġthe" (space), 260 "aa" */
static const char *const merges[] = {"t h", "h e", "th e", "\xC4\xA0 the", "a a", NULL};

static void merges_by_rank_and_leftmost(void **state)
{
    (void)state;
    struct ek_tokenizer *t = tiny_make("deepseek-v3", merges, NULL, 0);
    assert_non_null(t);
    expect_ids(t, "the", false, "258");
    expect_ids(t, " the", false, "259");
    expect_ids(t, "he", false, "257");
    expect_ids(t, "aaa", false, "260 97");
    expect_ids(t, "aaaaa", false, "260 260 97");
    expect_ids(t, "1the", false, "49 258"); /* a digit is a piece of its own */
    expect_ids(t, "t1he", false, "116 49 257");
    expect_ids(t, "", false, "");
    expect_ids(t, "\xE4\xB8\xAD", false, "228 184 173");
    ek_tokenizer_free(&t);
}

static void markers_only_where_asked(void **state)
{
    (void)state;
    static const char *const markers[] = {"<s>", "</s>", "<think>", "<think>>", "\xC3\xB6", NULL};
    /* ids 261.. in order; user-defined, so the letter is cut out everywhere and the rest nowhere */
    struct ek_tokenizer *t = tiny_make("deepseek-v3", merges, markers, EK_TOKEN_USER);
    expect_ids(t, "<think>the", true, "263 258");
    expect_ids(t, "<think>>>", true, "264 62"); /* the longest wins */
    expect_ids(t, "<think>", false, "60 256 105 110 107 62");
    ek_tokenizer_free(&t);
    t = tiny_make("deepseek-v3", NULL, markers, EK_TOKEN_USER); /* no merges: ids 256.. */
    expect_ids(t, "a\xC3\xB6<s>", false, "97 260 60 115 62");
    expect_ids(t, "a\xC3\xB6<s>", true, "97 260 256");
    ek_tokenizer_free(&t);
    t = tiny_make("deepseek-v3", NULL, markers, EK_TOKEN_CONTROL);
    expect_ids(t, "\xC3\xB6", false, "195 182");
    expect_ids(t, "\xC3\xB6</s>", true, "260 257");
    assert_int_equal(ek_tokenizer_find(t, EK_STR("<think>")), 258);
    assert_true(ek_tokenizer_find(t, EK_STR("<nothing>")) == EK_TOKEN_NONE);
    assert_int_equal(ek_tokenizer_kind(t, 258), EK_TOKEN_CONTROL);
    assert_int_equal(ek_tokenizer_bytes(t, 999999).len, 0);
    ek_tokenizer_free(&t);
}

static void refuses_what_it_cannot_use(void **state)
{
    (void)state;
    struct ek_str one[] = {EK_STR("a")};
    struct ek_tokenizer *t = NULL;
    char why[200];
    struct ek_vocab v = {.tokens = one, .token_count = 1, .pre = EK_STR("no-such-scheme"),
                         .bos = EK_TOKEN_NONE, .eos = EK_TOKEN_NONE, .eot = EK_TOKEN_NONE};
    assert_int_equal(ek_tokenizer_new(&t, &v, why, sizeof why), EK_ABSENT);
    assert_non_null(strstr(why, "no-such-scheme"));
    v.pre = EK_STR("deepseek-v3");
    v.bos = 1;
    assert_int_equal(ek_tokenizer_new(&t, &v, why, sizeof why), EK_INVALID);
    v.bos = 0;
    v.token_count = 0;
    assert_int_equal(ek_tokenizer_new(&t, &v, why, sizeof why), EK_INVALID);
    v.token_count = 1;
    assert_int_equal(ek_tokenizer_new(&t, &v, why, sizeof why), EK_OK);
    struct ek_encoder *e = ek_encoder_new(); /* a vocabulary of one letter: the rest is lost, and counted */
    struct ek_ids ids = {.count_max = 10};
    assert_int_equal(ek_tokenizer_encode(t, e, EK_STR("banana"), false, &ids), EK_OK);
    assert_int_equal(ids.count, 3);
    assert_int_equal(ek_encoder_counters(e).lost_bytes, 3);
    ids.count_max = 4;
    assert_int_equal(ek_tokenizer_encode(t, e, EK_STR("a"), false, &ids), EK_OK);
    assert_int_equal(ek_tokenizer_encode(t, e, EK_STR("a"), false, &ids), EK_FULL);
    assert_int_equal(ids.count, 4);
    ids.count_max = 6; /* what cannot fit however well it merges is not even begun */
    assert_int_equal(ek_tokenizer_encode(t, e, EK_STR("aaa"), false, &ids), EK_FULL);
    assert_int_equal(ids.count, 4);
    ek_ids_free(&ids);
    ek_encoder_free(&e);
    ek_tokenizer_free(&t);
}

static void scan_and_heap_agree(void **state)
{
    (void)state;
    struct ek_merges table;
    ek_merges_init(&table);
    int32_t next = 4; /* letters 0..3, then what they merge to */
    for (uint32_t rank = 0; rank < 60; rank++, next++) {
        ek_merges_add(&table, (int32_t)(random_u64() % (uint64_t)next),
                      (int32_t)(random_u64() % (uint64_t)next), rank, next);
    }
    struct ek_bpe_work work = {0};
    for (int round = 0; round < 5000; round++) {
        int32_t a[EK_BPE_SCAN_MAX], b[EK_BPE_SCAN_MAX];
        size_t n = random_u64() % (EK_BPE_SCAN_MAX + 1);
        for (size_t i = 0; i < n; i++) a[i] = b[i] = (int32_t)(random_u64() % 4);
        size_t na = ek_bpe_scan(&table, a, n), nb = ek_bpe_heap(&table, &work, b, n);
        assert_int_equal(na, nb);
        assert_memory_equal(a, b, na * sizeof *a);
    }
    ek_bpe_work_free(&work);
    ek_merges_free(&table);
}

/* Encode and decode; true when the bytes came back. */
static bool round_trip(const struct ek_tokenizer *t, struct ek_encoder *e, struct ek_str text)
{
    struct ek_ids ids = {.count_max = text.len + 1};
    assert_int_equal(ek_tokenizer_encode(t, e, text, false, &ids), EK_OK);
    size_t at = 0;
    bool same = true;
    for (size_t i = 0; i < ids.count && same; i++) {
        struct ek_str b = ek_tokenizer_bytes(t, ids.data[i]);
        same = at + b.len <= text.len && memcmp(text.data + at, b.data, b.len) == 0;
        at += b.len;
    }
    ek_ids_free(&ids);
    return same && at == text.len;
}

static size_t random_text(char *out, size_t cap)
{
    static const uint32_t plain[] = {' ', ' ', '\n', '\r', '\t', 'a', 'T', 'h', 'e', '7', '0', '.', '\'',
                                     '<', '|', 0xA0, 0x3000, 0x4E00, 0x30A2, 0x30FB, 0xFF01, 0xAC00, 0xE9,
                                     0x301, 0x430, 0x1F600, 0x200D, 0xFE0F, 0x627, 0x1, 0x7F, 0x85, 0x2028};
    size_t n = 0;
    size_t want = random_u64() % (cap - 8);
    while (n < want) {
        uint32_t cp = plain[random_u64() % EK_COUNT(plain)];
        if (random_u64() % 4 == 0) cp = (uint32_t)(random_u64() % 0x110000);
        if (cp >= 0xD800 && cp < 0xE000) continue;
        if (cp < 0x80) {
            out[n++] = (char)cp;
        } else if (cp < 0x800) {
            out[n++] = (char)(0xC0 | cp >> 6);
            out[n++] = (char)(0x80 | (cp & 63));
        } else if (cp < 0x10000) {
            out[n++] = (char)(0xE0 | cp >> 12);
            out[n++] = (char)(0x80 | (cp >> 6 & 63));
            out[n++] = (char)(0x80 | (cp & 63));
        } else {
            out[n++] = (char)(0xF0 | cp >> 18);
            out[n++] = (char)(0x80 | (cp >> 12 & 63));
            out[n++] = (char)(0x80 | (cp >> 6 & 63));
            out[n++] = (char)(0x80 | (cp & 63));
        }
    }
    return n;
}

/* EK_ROUNDS: so many strings for each vocabulary (25,000 of each of the five are the full figure). */
static void round_trips(const struct ek_tokenizer *t, int rounds)
{
    if (getenv("EK_ROUNDS")) rounds = (int)strtol(getenv("EK_ROUNDS"), NULL, 10);
    struct ek_encoder *e = ek_encoder_new();
    char text[300];
    for (int i = 0; i < rounds; i++) {
        size_t n = random_text(text, sizeof text);
        assert_int_equal(ek_utf8_valid(ek_str_make(text, n)), n);
        assert_true(round_trip(t, e, ek_str_make(text, n)));
        for (size_t j = 0; j < n; j++) { /* and as arbitrary bytes */
            if (random_u64() % 8 == 0) text[j] = (char)random_u64();
        }
        uint64_t lost = ek_encoder_counters(e).lost_bytes;
        bool same = round_trip(t, e, ek_str_make(text, n));
        assert_true(same || ek_encoder_counters(e).lost_bytes > lost);
    }
    assert_int_equal(ek_encoder_counters(e).pattern_misses, 0);
    ek_encoder_free(&e);
}

/* Long runs of one kind: none may go quadratic. Quadratic would take minutes, the suite's limit
 * is two; what is asserted is the round trip. */
static void hostile_runs(const struct ek_tokenizer *t)
{
    static const char *const units[] = {"a", " ", "\n", " \n", "1", ".", "\xE4\xB8\x80", "\xCC\x81",
                                        "th", "a1", "<", "\x01", "\xE2\x80\x83", "'", "\xF0\x9F\x98\x80"};
    enum { BYTES = 300 * 1024 };
    char *text = malloc(BYTES + 8);
    struct ek_encoder *e = ek_encoder_new();
    for (size_t u = 0; u < EK_COUNT(units); u++) {
        size_t len = strlen(units[u]), n = 0;
        while (n + len <= BYTES) {
            memcpy(text + n, units[u], len);
            n += len;
        }
        memcpy(text + n, "\xE4\xB8\x80x", 4); /* an ideograph behind the run: see `\s+$` in pretok.c */
        assert_true(round_trip(t, e, ek_str_make(text, n + 4)));
    }
    assert_true(ek_encoder_counters(e).cut_pieces > 0);
    assert_int_equal(ek_encoder_counters(e).pattern_misses, 0);
    ek_encoder_free(&e);
    free(text);
}

static void tiny_round_trips_and_hostile_runs(void **state)
{
    (void)state;
    static const char *const schemes[] = {"deepseek-v3", "deepseek-llm", "deepseek-coder", "qwen2",
                                          "llama-bpe", "gpt-2"};
    for (size_t i = 0; i < EK_COUNT(schemes); i++) {
        struct ek_tokenizer *t = tiny_make(schemes[i], merges, deepseek_markers, EK_TOKEN_CONTROL);
        round_trips(t, 1000);
        if (i < 2) hostile_runs(t);
        ek_tokenizer_free(&t);
    }
}

static bool bar_behind(void *ctx, struct ek_str piece)
{
    struct ek_buf *out = ctx;
    ek_buf_str(out, piece);
    ek_buf_lit(out, "|");
    return true;
}

/* Of two schemes no vocabulary is at hand, so their cuts are shown as such. */
static void cuts_as_the_scheme_says(void **state)
{
    (void)state;
    static const struct { const char *scheme, *text, *pieces; } cases[] = {
        {"gpt-2", "I've 2024  apples,\n don't!", "I|'ve| 2024| | apples|,|\n| don|'t|!|"},
        {"gpt-2", "THEY'RE \t x", "THEY|'|RE| \t| x|"},
        {"gpt-2", "\n\n\u4f60\u597d\uff0c\u00e9t\u00e9", "\n|\n|\u4f60\u597d|\uff0c|\u00e9t\u00e9|"},
        {"deepseek-coder", "def f(x):\r\n  return 42", "def| f|(|x|):|\r|\n| | return| |4|2|"},
        {"deepseek-coder", "\u4f60\u597d\uff0cworld 3.14", "\u4f60\u597d|\uff0c|world| |3|.|1|4|"},
    };
    struct ek_matcher *m = ek_matcher_new();
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        struct ek_buf out = ek_buf_make(1000);
        struct ek_pretok *p = NULL;
        uint64_t misses = 0;
        assert_int_equal(ek_pretok_new(&p, ek_str_of(cases[i].scheme)), EK_OK);
        assert_true(ek_pretok_cut(p, m, ek_str_of(cases[i].text), bar_behind, &out, &misses));
        ek_buf_put(&out, "", 1);
        assert_false(out.failed);
        assert_string_equal(out.data, cases[i].pieces);
        assert_int_equal(misses, 0);
        ek_pretok_free(&p);
        ek_buf_free(&out);
    }
    ek_matcher_free(&m);
}

static void utf8_steps(void **state)
{
    (void)state;
    static const struct { const char *bytes; int step; } cases[] = {
        {"a", 1}, {"\x80", -1}, {"\xC1\x80", -1}, {"\xC3", 0}, {"\xC3\xB6", 2}, {"\xC3" "a", -1},
        {"\xE0\x80", -1}, {"\xE0\xA0", 0}, {"\xE4\xB8\xAD", 3}, {"\xE4\xB8" "a", -2}, {"\xED\xA0", -1},
        {"\xF0\x9F\x98", 0}, {"\xF0\x9F\x98\x80", 4}, {"\xF0\x9F\x98z", -3}, {"\xF4\x90", -1}, {"\xF5", -1},
    };
    for (size_t i = 0; i < EK_COUNT(cases); i++) {
        assert_int_equal(ek_utf8_step(ek_str_of(cases[i].bytes), NULL), cases[i].step);
    }
    assert_int_equal(ek_utf8_valid(EK_STR("ab\xC3\xB6\xFFz")), 4);
}

/* ---- real vocabularies ---------------------------------------------------------------------- */

static char *shared_file(const char *name, size_t *len)
{
    const char *dir = getenv("EK_SHARED");
    if (!dir) return NULL;
    char path[1000];
    snprintf(path, sizeof path, "%s/vocab/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    *len = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*len + 1);
    assert_int_equal(fread(data, 1, *len, f), *len);
    data[*len] = 0;
    fclose(f);
    return data;
}

static size_t base64(const char *in, size_t len, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    int have = 0;
    size_t n = 0;
    for (size_t i = 0; i < len && in[i] != '='; i++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, in[i]) - digits);
        have += 6;
        if (have >= 8) out[n++] = (char)(bits >> (have -= 8));
    }
    return n;
}

/* A .tiktoken file: base64 and rank a line. `mapped`: the base64 holds byte-mapped text already. */
static struct ek_tokenizer *from_ranks(const char *file, const char *pre, bool mapped)
{
    size_t len = 0;
    char *data = shared_file(file, &len);
    if (!data) return NULL;
    struct ek_str *tokens = calloc(200000, sizeof *tokens);
    struct ek_vocab v = {.tokens = tokens, .merge_by_id = true, .pre = ek_str_of(pre),
                         .bos = EK_TOKEN_NONE, .eos = EK_TOKEN_NONE, .eot = EK_TOKEN_NONE};
    for (char *line = data; *line;) {
        char *space = strchr(line, ' ');
        size_t id = strtoul(space + 1, &line, 10);
        char *start = space;
        while (start > data && start[-1] != '\n') start--;
        char raw[1000];
        struct ek_str s = {raw, base64(start, (size_t)(space - start), raw)};
        tokens[id] = mapped ? ek_str_make(memcpy(malloc(s.len + 1), raw, s.len), s.len) : vocab_mapped(s);
        if (id >= v.token_count) v.token_count = id + 1;
        while (*line == '\n' || *line == '\r') line++;
    }
    struct ek_tokenizer *t = NULL;
    char why[200];
    assert_int_equal(ek_tokenizer_new(&t, &v, why, sizeof why), EK_OK);
    for (size_t i = 0; i < v.token_count; i++) free((void *)(uintptr_t)tokens[i].data);
    free(tokens);
    free(data);
    return t;
}

static void published_cases(const struct ek_tokenizer *t, const char *inp_file, const char *out_file)
{
    size_t inp_len = 0, out_len = 0;
    char *inp = shared_file(inp_file, &inp_len), *out = shared_file(out_file, &out_len);
    assert_true(inp && out);
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char *want = out, *text = inp;
    int cases = 0;
    while (text) {
        char *end = strstr(text, separator);
        if (end) *end = 0;
        char *want_end = strchr(want, '\n');
        if (want_end) *want_end = 0;
        while (*want == ' ') want++;
        for (size_t n = strlen(want); n > 0 && want[n - 1] == ' ';) want[--n] = 0;
        expect_ids(t, text, false, want);
        cases++;
        want = want_end ? want_end + 1 : want + strlen(want);
        text = end ? end + strlen(separator) : NULL;
    }
    assert_in_range(cases, 46, 50);
    print_message("%s: %d cases\n", out_file, cases);
    free(inp);
    free(out);
}

/* For the record, not asserted: how fast ordinary text goes. */
static void speed(const struct ek_tokenizer *t, const char *name)
{
    size_t len = 0;
    char *text = shared_file("README.md", &len);
    if (!text) return;
    size_t all = 2000000 / (len + 1) * len;
    char *big = malloc(all);
    for (size_t at = 0; at + len <= all; at += len) memcpy(big + at, text, len);
    struct ek_encoder *e = ek_encoder_new();
    struct ek_ids ids = {.count_max = all};
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    assert_int_equal(ek_tokenizer_encode(t, e, ek_str_make(big, all), false, &ids), EK_OK);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    print_message("%s: %.1f MB/s a core, %.2f bytes a token\n", name, (double)all / s / 1e6,
                  (double)all / (double)ids.count);
    ek_ids_free(&ids);
    ek_encoder_free(&e);
    free(text);
    free(big);
}

static void real_ranks(void **state)
{
    (void)state;
    static const struct { const char *file, *pre, *inp, *out; bool mapped; } vocabs[] = {
        {"deepseek_v3.tiktoken", "deepseek-v3", "deepseek-v3.inp", "deepseek-v3.out", true},
        {"llama3.tiktoken", "llama-bpe", "llama-bpe.inp", "llama-bpe.out", false},
        {"qwen.tiktoken", "qwen2", "qwen2.inp", "qwen2.out", false},
        {"qwen.tiktoken", "deepseek-r1-qwen", "deepseek-r1-qwen.inp", "deepseek-r1-qwen.out", false},
    };
    for (size_t i = 0; i < EK_COUNT(vocabs); i++) {
        struct ek_tokenizer *t = from_ranks(vocabs[i].file, vocabs[i].pre, vocabs[i].mapped);
        if (!t) {
            print_message("SKIP: no vocab/%s in $EK_SHARED\n", vocabs[i].file);
            skip();
        }
        published_cases(t, vocabs[i].inp, vocabs[i].out);
        if (i == 0) {
            round_trips(t, 3000);
            hostile_runs(t);
            speed(t, vocabs[i].pre);
        }
        ek_tokenizer_free(&t);
    }
}

static void real_gguf(void **state)
{
    (void)state;
    const char *dir = getenv("EK_SHARED");
    char path[1000], why[300] = "";
    snprintf(path, sizeof path, "%s/vocab/deepseek-llm.gguf", dir ? dir : "");
    struct ek_gguf *g = NULL;
    if (!dir || ek_gguf_open(path, &g, why, sizeof why) != EK_OK) {
        print_message("SKIP: no vocab/deepseek-llm.gguf in $EK_SHARED %s\n", why);
        skip();
    }
    struct ek_tokenizer *t = NULL;
    assert_int_equal(ek_tokenizer_from_gguf(&t, g, why, sizeof why), EK_OK);
    ek_gguf_close(&g);
    assert_int_equal(ek_tokenizer_count(t), 102400);
    assert_int_equal(ek_tokenizer_bos(t), 100000);
    assert_true(ek_tokenizer_add_bos(t));
    published_cases(t, "deepseek-llm.inp", "deepseek-llm.out");
    round_trips(t, 3000);
    hostile_runs(t);
    speed(t, "deepseek-llm");
    ek_tokenizer_free(&t);
}

int main(void)
{
    if (getenv("EK_SEED")) seed = strtoull(getenv("EK_SEED"), NULL, 10);
    print_message("EK_SEED=%llu\n", (unsigned long long)seed);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_rank_and_leftmost),
        cmocka_unit_test(markers_only_where_asked),
        cmocka_unit_test(refuses_what_it_cannot_use),
        cmocka_unit_test(scan_and_heap_agree),
        cmocka_unit_test(cuts_as_the_scheme_says),
        cmocka_unit_test(utf8_steps),
        cmocka_unit_test(tiny_round_trips_and_hostile_runs),
        cmocka_unit_test(real_ranks),
        cmocka_unit_test(real_gguf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
