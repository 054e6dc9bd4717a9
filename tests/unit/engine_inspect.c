/* SPDX-License-Identifier: MIT */
/* What `evenkeel check MODEL` says: of small models, of files that lack things, and of a file shaped
 * like DeepSeek-V3 (671 billion weights) whose data is a hole: none of it may be read. */
#include "cm.h"

#include "engine/inspect.h"
#include "engine_vocab.h"
#include "model_maker.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* 256 bytes, the markers, and fillers up to `count`. */
static void put_vocabulary(struct maker *m, uint32_t count)
{
    maker_str(m, "tokenizer.ggml.model", "gpt2");
    maker_str(m, "tokenizer.ggml.pre", "deepseek-v3");
    maker_array(m, "tokenizer.ggml.tokens", EK_GGUF_STRING, count);
    for (uint32_t i = 0; i < count; i++) {
        char byte = (char)i, filler[16];
        snprintf(filler, sizeof filler, "f%u", i);
        struct ek_str mapped = vocab_mapped(ek_str_make(&byte, 1));
        bytes_u64(&m->keys, i < 256 ? mapped.len : strlen(filler));
        bytes_put(&m->keys, i < 256 ? mapped.data : filler, i < 256 ? mapped.len : strlen(filler));
        free((void *)(uintptr_t)mapped.data);
    }
    maker_array(m, "tokenizer.ggml.merges", EK_GGUF_STRING, 1);
    bytes_str(&m->keys, "a b");
}

static void save(const struct maker *m, char path[64])
{
    size_t len;
    uint8_t *file = maker_file(m, &len);
    snprintf(path, 64, "/tmp/ek-inspect-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, file, len) == (ssize_t)len);
    close(fd);
    free(file);
}

struct said {
    struct ek_buf text, reasons;
    enum ek_status status;
};

static struct said inspect(const char *path, uint64_t tokens)
{
    struct said s = {ek_buf_make(1 << 20), ek_buf_make(1 << 16), EK_OK};
    s.status = ek_inspect(path, tokens, &s.text, &s.reasons);
    return s;
}

static void says(struct ek_buf *in, const char *part)
{
    const char *text = ek_buf_cstr(in);
    if (!text || !strstr(text, part)) fail_msg("'%s' does not say '%s'", text ? text : "", part);
}

static void said_free(struct said *s)
{
    ek_buf_free(&s->text);
    ek_buf_free(&s->reasons);
}

static void tells_what_a_model_takes(void **state)
{
    (void)state;
    char path[64];
    struct recipe r = recipe_qwen2;
    r.vocab = 300;
    struct maker m = maker_model(&r);
    put_vocabulary(&m, 300);
    save(&m, path);
    struct said s = inspect(path, 100);
    assert_int_equal(s.status, EK_OK);
    assert_int_equal(s.reasons.len, 0);
    says(&s.text, "kind        qwen2, GGUF version 3");
    says(&s.text, "6 heads of 16 (16 rotated), 2 of keys and values");
    says(&s.text, "KV cache    384 bytes a token in bf16; 49.2 kB for 128 tokens"); /* 3 x (2 + 2) x 16 x 2 */
    says(&s.text, "from memory");
    said_free(&s);
    maker_free(&m);
    unlink(path);
}

/* Not only the first thing that is missing. */
static void names_everything_that_is_missing(void **state)
{
    (void)state;
    char path[64];
    struct maker m = maker_model(&recipe_v3);
    static const char *const lost[] = {"blk.1.attn_k_b.weight", "blk.2.ffn_up_exps.weight",
                                       "output_norm.weight"};
    for (size_t i = 0; i < EK_COUNT(lost); i++) {
        char *at = memmem(m.infos.data, m.infos.len, lost[i], strlen(lost[i]));
        assert_non_null(at);
        at[strlen(lost[i]) - 1] = 'T';
    }
    save(&m, path);
    struct said s = inspect(path, 0);
    assert_int_equal(s.status, EK_INVALID);
    for (size_t i = 0; i < EK_COUNT(lost); i++) {
        char sentence[80];
        snprintf(sentence, sizeof sentence, "the tensor %s is missing\n", lost[i]);
        says(&s.reasons, sentence);
    }
    says(&s.reasons, "blk.1.attn_k_b.weighT is not known");
    says(&s.reasons, "tokenizer.ggml");
    said_free(&s);
    maker_free(&m);
    unlink(path);
    s = inspect(path, 0);
    assert_int_equal(s.status, EK_IO);
    says(&s.reasons, "No such file");
    said_free(&s);
}

/* A tensor of whose data nothing is written. */
static void hollow(struct maker *m, uint64_t *at, const char *name, uint32_t type, uint64_t a, uint64_t b,
                   uint64_t c)
{
    const uint64_t ne[3] = {a, b, c};
    uint64_t bytes = a * b * c * 4;
    if (type == EK_GGML_Q4_K) bytes = a / 256 * 144 * b * c;
    if (type == EK_GGML_Q6_K) bytes = a / 256 * 210 * b * c;
    if (type == EK_GGML_Q5_0) bytes = a / 32 * 22 * b * c;
    maker_info(m, name, 3, ne, type, *at);
    *at += (bytes + 31) / 32 * 32;
}

/* Every tensor of DeepSeek-V3 in Q4_K_M, as public files have them. */
static uint64_t hollow_v3(struct maker *m, const struct recipe *r)
{
    enum { Q4 = EK_GGML_Q4_K, Q6 = EK_GGML_Q6_K, Q5 = EK_GGML_Q5_0, F = EK_GGML_F32 };
    uint64_t at = 0, E = r->embd, H = r->heads;
    char name[96];
    hollow(m, &at, "token_embd.weight", Q4, E, r->vocab, 1);
    hollow(m, &at, "output_norm.weight", F, E, 1, 1);
    hollow(m, &at, "output.weight", Q6, E, r->vocab, 1);
#define HOLLOW(what, type, a, b, c) \
    (snprintf(name, sizeof name, "blk.%u.%s", l, what), hollow(m, &at, name, type, a, b, c))
    for (uint32_t l = 0; l < r->layers; l++) {
        HOLLOW("attn_norm.weight", F, E, 1, 1);
        HOLLOW("attn_q_a.weight", Q4, E, r->q_lora, 1);
        HOLLOW("attn_q_a_norm.weight", F, r->q_lora, 1, 1);
        HOLLOW("attn_q_b.weight", Q4, r->q_lora, H * (r->nope + r->rope), 1);
        HOLLOW("attn_kv_a_mqa.weight", Q4, E, r->kv_lora + r->rope, 1);
        HOLLOW("attn_kv_a_norm.weight", F, r->kv_lora, 1, 1);
        HOLLOW("attn_k_b.weight", Q5, r->nope, r->kv_lora, H);
        HOLLOW("attn_v_b.weight", Q4, r->kv_lora, r->value, H);
        HOLLOW("attn_output.weight", Q4, H * r->value, E, 1);
        HOLLOW("ffn_norm.weight", F, E, 1, 1);
        if (l < r->dense) {
            HOLLOW("ffn_gate.weight", Q4, E, r->ff, 1);
            HOLLOW("ffn_up.weight", Q4, E, r->ff, 1);
            HOLLOW("ffn_down.weight", Q6, r->ff, E, 1);
            continue;
        }
        HOLLOW("ffn_gate_inp.weight", F, E, r->experts, 1);
        HOLLOW("exp_probs_b.bias", F, r->experts, 1, 1);
        HOLLOW("ffn_gate_exps.weight", Q4, E, r->expert_ff, r->experts);
        HOLLOW("ffn_up_exps.weight", Q4, E, r->expert_ff, r->experts);
        HOLLOW("ffn_down_exps.weight", Q4, r->expert_ff, E, r->experts);
        HOLLOW("ffn_gate_shexp.weight", Q4, E, r->expert_ff, 1);
        HOLLOW("ffn_up_shexp.weight", Q4, E, r->expert_ff, 1);
        HOLLOW("ffn_down_shexp.weight", Q4, r->expert_ff, E, 1);
    }
    return at;
}

/* Pages of the file's data in memory: none, unless someone has read there. */
static size_t pages_read(const char *path, uint64_t from, uint64_t bytes)
{
    enum { WINDOW = 1 << 30, PAGE = 4096 };
    static unsigned char seen[WINDOW / PAGE];
    size_t read = 0;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    uint64_t first = (from + WINDOW - 1) / WINDOW * WINDOW, step = 16 * (uint64_t)WINDOW;
    for (uint64_t at = first; at + WINDOW <= from + bytes; at += step) {
        void *map = mmap(NULL, WINDOW, PROT_READ, MAP_SHARED, fileno(f), (off_t)at);
        assert_true(map != MAP_FAILED);
        assert_int_equal(mincore(map, WINDOW, seen), 0);
        for (size_t i = 0; i < sizeof seen; i++) read += seen[i] & 1;
        munmap(map, WINDOW);
    }
    fclose(f);
    return read;
}

static void looks_at_671_billion_weights_without_reading_them(void **state)
{
    (void)state;
    struct recipe r = recipe_v3;
    char path[64];
    r.layers = 61, r.dense = 3, r.embd = 7168, r.heads = 128, r.nope = 128, r.rope = 64, r.value = 128;
    r.kv_lora = 512, r.q_lora = 1536, r.ff = 18432, r.experts = 256, r.used = 8, r.expert_ff = 2048;
    r.groups = 8, r.groups_used = 4, r.vocab = 129280;
    struct maker m = maker_new();
    maker_shape(&m, &r);
    put_vocabulary(&m, r.vocab);
    uint64_t data = hollow_v3(&m, &r);
    save(&m, path);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    uint64_t head = (uint64_t)st.st_size;
    if (truncate(path, (off_t)(head + data)) != 0) {
        print_message("SKIP: no file of %llu bytes can be made here\n", (unsigned long long)(head + data));
        unlink(path);
        skip();
    }
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    struct said s = inspect(path, 65536);
    getrusage(RUSAGE_SELF, &after);
    double cpu = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec -
                          before.ru_stime.tv_sec) +
                 (double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
                          before.ru_stime.tv_usec) * 1e-6;
    print_message("%s%.2f s of CPU\n", ek_buf_cstr(&s.text), cpu);
    assert_int_equal(s.status, EK_OK);
    assert_int_equal(pages_read(path, head, data), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_true((uint64_t)st.st_blocks * 512 < head + (1 << 20)); /* still a hole */
    says(&s.text, "671026.4 M parameters");
    says(&s.text, "KV cache    70272 bytes a token in bf16; 4.6 GB for 65536 tokens");
    says(&s.text, "8 of 256, sigmoid gate");
    said_free(&s);
    maker_free(&m);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_what_a_model_takes), cmocka_unit_test(names_everything_that_is_missing),
        cmocka_unit_test(looks_at_671_billion_weights_without_reading_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
