/* SPDX-License-Identifier: MIT */
/* What both forms of attention share: the way to the stored rows of a page, whatever type the KV cache
 * has, and the choice between the forms. Every row reads all tokens, its own too, as stored. */
#include "engine/forward_priv.h"

void ek_forward_store(const struct ek_forward *f, size_t r, const float *x, size_t n)
{
    struct row_place at = f->place[r];
    void *row = ek_kv_row(f->kv, f->segments[at.segment].seq, f->layer_index, at.position);
    switch (ek_kv_type(f->kv)) {
    case EK_KV_F32: f->k->store_f32(row, x, n); break;
    case EK_KV_F16: f->k->store_f16(row, x, n); break;
    case EK_KV_BF16: f->k->store_bf16(row, x, n); break;
    }
}

void ek_forward_page_scores(const struct ek_forward *f, float *score, const float *q, size_t q_stride,
                            size_t m, const void *rows, size_t n, size_t cols)
{
    size_t bytes = ek_kv_row_bytes(f->kv);
    switch (ek_kv_type(f->kv)) {
    case EK_KV_F32: f->k->matmul_f32(score, EK_KV_PAGE, q, q_stride, m, rows, bytes, n, cols); break;
    case EK_KV_F16: f->k->matmul_f16(score, EK_KV_PAGE, q, q_stride, m, rows, bytes, n, cols); break;
    case EK_KV_BF16: f->k->matmul_bf16(score, EK_KV_PAGE, q, q_stride, m, rows, bytes, n, cols); break;
    }
}

void ek_forward_page_mix(const struct ek_forward *f, float *out, float corr, const float *p,
                         const void *rows, size_t n, size_t dim)
{
    size_t bytes = ek_kv_row_bytes(f->kv);
    switch (ek_kv_type(f->kv)) {
    case EK_KV_F32: f->k->mix_f32(out, corr, p, rows, bytes, n, dim); break;
    case EK_KV_F16: f->k->mix_f16(out, corr, p, rows, bytes, n, dim); break;
    case EK_KV_BF16: f->k->mix_bf16(out, corr, p, rows, bytes, n, dim); break;
    }
}

void ek_forward_divide(float *out, size_t n, float sum)
{
    for (size_t i = 0; i < n; i++) out[i] /= sum;
}

void ek_forward_attention(struct ek_forward *f)
{
    switch (f->model->shape.attention) {
    case EK_ATTENTION_LATENT: ek_forward_latent(f); return;
    case EK_ATTENTION_GROUPED: ek_forward_grouped(f); return;
    }
    WRONG("a form of attention that no model can have");
}
