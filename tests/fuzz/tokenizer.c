/* SPDX-License-Identifier: MIT */
/* Any bytes as text, under every scheme: the ids must decode to exactly these bytes (the vocabulary
 * has all 256), with markers on and off, and no pattern may give up. */
#include "../unit/engine_vocab.h"

static const char *const merges[] = {"t h", "h e", "th e", "\xC4\xA0 the", "a a", "i n", "in g", NULL};
static const char *const schemes[] = {"deepseek-v3", "deepseek-llm", "qwen2", "llama-bpe"};

static void check(const struct ek_tokenizer *t, struct ek_encoder *e, struct ek_str text, bool markers)
{
    struct ek_ids ids = {.count_max = text.len + 1};
    MUST(ek_tokenizer_encode(t, e, text, markers, &ids) == EK_OK);
    size_t at = 0;
    for (size_t i = 0; i < ids.count; i++) {
        struct ek_str b = ek_tokenizer_bytes(t, ids.data[i]);
        MUST(markers || ek_tokenizer_kind(t, ids.data[i]) == EK_TOKEN_NORMAL);
        MUST(b.len > 0 && at + b.len <= text.len && memcmp(text.data + at, b.data, b.len) == 0);
        at += b.len;
    }
    MUST(at == text.len);
    ek_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct ek_tokenizer *t[EK_COUNT(schemes)];
    static struct ek_encoder *e;
    if (!e) {
        e = ek_encoder_new();
        for (size_t i = 0; i < EK_COUNT(schemes); i++) {
            t[i] = tiny_make(schemes[i], merges, deepseek_markers, EK_TOKEN_CONTROL);
        }
    }
    struct ek_str text = {(const char *)data, size};
    for (size_t i = 0; i < EK_COUNT(schemes); i++) {
        check(t[i], e, text, false);
        check(t[i], e, text, true);
    }
    struct ek_encoder_counters c = ek_encoder_counters(e);
    MUST(c.lost_bytes == 0 && c.pattern_misses == 0);
    return 0;
}
