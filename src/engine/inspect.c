/* SPDX-License-Identifier: MIT */
/* Looks at a model, and reckons with the sizes an engine would start with by default. */
#include "engine/inspect.h"

#include "engine/forward.h"
#include "engine/spec.h"
#include "engine/inspect_text.h"
#include "engine/model.h"

#include <stdio.h>
#include <unistd.h>

/* What an engine takes unless told otherwise (options.h). */
enum { SLOTS = 16, STEP_TOKENS = 256, THREADS = 8, LOGIT_ROWS = SLOTS + EK_SPEC_ROWS_MAX };

static uint64_t memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

/* How it runs: the instruction set, and from where the weights are read. */
static void put_verdict(struct ek_buf *out, uint64_t weights, uint64_t others)
{
    const struct ek_kernels *k = ek_kernels_select(NULL);
    uint64_t memory = memory_bytes();
    ek_buf_printf(out, "runs        with %s kernels, ", k ? k->isa : "no");
    if (memory == 0 || weights + others <= memory) {
        ek_buf_lit(out, "from memory\n");
    } else if (others < memory) {
        ek_buf_lit(out, "but weights do not fit beside the rest: read from disk again and again, slowly\n");
    } else {
        ek_buf_lit(out, "but not with so many tokens: there is not enough memory\n");
    }
}

static void put_memory(struct ek_buf *out, const struct ek_model *m, uint64_t tokens)
{
    const struct ek_shape *s = &m->shape;
    uint64_t weights = ek_gguf_file_bytes(m->gguf);
    uint64_t row = (uint64_t)ek_shape_kv_elems(s) * 2 * (s->layers + m->ahead.there); /* in all layers */
    uint64_t work = ek_forward_need_bytes(m, EK_ACT_Q8, STEP_TOKENS, LOGIT_ROWS, THREADS), kv;
    if (tokens == 0) tokens = s->ctx_tokens;
    tokens = (tokens + EK_KV_PAGE - 1) / EK_KV_PAGE * EK_KV_PAGE;
    if (__builtin_mul_overflow(row, tokens, &kv)) kv = UINT64_MAX / 4;
    ek_buf_lit(out, "memory      weights ");
    ek_model_put_bytes(out, weights);
    ek_buf_lit(out, " mapped from disk, transposed keys ");
    ek_model_put_bytes(out, m->derived_bytes);
    ek_buf_lit(out, ", work ");
    ek_model_put_bytes(out, work);
    ek_buf_printf(out, " (%d slots, %d threads)\nKV cache    %llu bytes a token in bf16; ", SLOTS, THREADS,
                  (unsigned long long)row);
    ek_model_put_bytes(out, kv);
    ek_buf_printf(out, " for %llu tokens\ntogether    ", (unsigned long long)tokens);
    ek_model_put_bytes(out, weights + m->derived_bytes + work + kv);
    ek_buf_lit(out, "; this machine has ");
    ek_model_put_bytes(out, memory_bytes());
    ek_buf_lit(out, "\n");
    put_verdict(out, weights, m->derived_bytes + work + kv);
}

enum ek_status ek_inspect(const char *path, uint64_t kv_tokens, struct ek_buf *out,
                          struct ek_buf *reasons)
{
    MUST(path != NULL);
    MUST(out && reasons);
    struct ek_gguf *g = NULL;
    struct ek_model *m = NULL;
    struct ek_buf text = ek_buf_make(4096);
    char why[512] = "";
    enum ek_status status = ek_gguf_open(path, &g, why, sizeof why);
    if (status != EK_OK) {
        ek_buf_printf(reasons, "%s\n", why);
        return status;
    }
    ek_model_describe(g, NULL, out);
    const struct ek_gguf_tensor *embd = ek_gguf_tensor(g, "token_embd.weight");
    ek_inspect_text(g, embd ? embd->ne[1] : 0, &text, reasons);
    status = ek_model_look(&g, &m, reasons);
    if (status == EK_OK) {
        ek_buf_clear(out);
        ek_model_describe(m->gguf, m, out);
        ek_buf_str(out, ek_buf_view(&text));
        put_memory(out, m, kv_tokens);
    }
    if (reasons->len > 0 && status == EK_OK) status = EK_INVALID;
    ek_model_free(&m);
    ek_buf_free(&text);
    return status;
}
