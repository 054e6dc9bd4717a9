/* SPDX-License-Identifier: MIT */
/* The elementwise ops, softmax and attention's mixing in plain C. */
#include "kernel/tables.h"

#include <math.h>

void ek_rmsnorm_generic(float *y, const float *x, const float *restrict gain, size_t n, float eps)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    float scale = 1.0f / sqrtf(sum / (float)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * gain[i];
}

void ek_rope_generic(float *restrict x, const float *restrict cs, size_t n)
{
    for (size_t i = 0; i + 1 < n; i += 2) {
        float a = x[i], b = x[i + 1];
        x[i] = a * cs[i] - b * cs[i + 1];
        x[i + 1] = a * cs[i + 1] + b * cs[i];
    }
}

void ek_rope_halves_generic(float *restrict x, const float *restrict cs, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        float a = x[i], b = x[i + n / 2];
        x[i] = a * cs[2 * i] - b * cs[2 * i + 1];
        x[i + n / 2] = a * cs[2 * i + 1] + b * cs[2 * i];
    }
}

void ek_softmax_generic(float *x, size_t n)
{
    float max = x[0], sum = 0;
    for (size_t i = 1; i < n; i++) max = x[i] > max ? x[i] : max;
    for (size_t i = 0; i < n; i++) {
        x[i] = expf(x[i] - max);
        sum += x[i];
    }
    for (size_t i = 0; i < n; i++) x[i] /= sum;
}

void ek_sigmoid_generic(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = 1.0f / (1.0f + expf(-x[i]));
}

void ek_silu_mul_generic(float *y, const float *gate, const float *restrict up, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

void ek_add_generic(float *restrict y, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

void ek_axpy_generic(float *restrict y, float a, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

float ek_online_softmax_generic(float *restrict score, size_t n, float scale, float *restrict max,
                                float *restrict sum)
{
    float top = *max, page = 0;
    for (size_t i = 0; i < n; i++) {
        score[i] *= scale;
        top = score[i] > top ? score[i] : top;
    }
    float corr = expf(*max - top);
    for (size_t i = 0; i < n; i++) {
        score[i] = expf(score[i] - top);
        page += score[i];
    }
    *max = top;
    *sum = *sum * corr + page;
    return corr;
}

#define MIX(type, element)                                                                         \
    void ek_mix_##type##_generic EK_MIX_ARGS                                                       \
    {                                                                                              \
        enum { STRETCH = 64 };                                                                     \
        for (size_t at = 0; at < dim; at += STRETCH) {                                             \
            float wide[STRETCH];                                                                   \
            size_t count = dim - at < STRETCH ? dim - at : STRETCH;                                \
            for (size_t d = 0; d < count; d++) out[at + d] *= corr;                                \
            for (size_t t = 0; t < n; t++) {                                                       \
                const element *row = (const element *)((const uint8_t *)rows + t * stride_bytes);  \
                ek_row_##type##_generic(wide, row + at, count);                                    \
                for (size_t d = 0; d < count; d++) out[at + d] += p[t] * wide[d];                  \
            }                                                                                      \
        }                                                                                          \
    }

MIX(f32, float)
MIX(f16, uint16_t)
MIX(bf16, uint16_t)

/* k is small (8 of 256): insert each score into the sorted list of the best so far. */
void ek_topk_generic(uint32_t *restrict index, const float *restrict score, size_t n, size_t k)
{
    MUST(k <= n);
    size_t have = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = have;
        while (at > 0) {
            float other = score[index[at - 1]];
            if (!(score[i] > other || (isnan(other) && !isnan(score[i])))) break;
            at--;
        }
        if (at == k) continue;
        size_t last = have < k ? have++ : k - 1;
        for (size_t j = last; j > at; j--) index[j] = index[j - 1];
        index[at] = (uint32_t)i;
    }
}
