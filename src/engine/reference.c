/* SPDX-License-Identifier: MIT */
/* The slow, clear forward pass. Read it from the bottom: ek_reference_forward, then block, then
 * attention and experts. Letters as in model.h; every array's shape stands where it is made.
 *
 * A token's vector h [E] passes through the layers; each adds to it what attention found in earlier
 * tokens and what the feed-forward network made of it:
 *
 *     h += attention(rmsnorm(h));   h += ffn(rmsnorm(h))
 *
 * Sources: DeepSeek-V2 paper (2405.04434) eq. 9-19 (latent attention) and 20-22 (experts); DeepSeek-V3
 * paper (2412.19437) eq. 12-16 (sigmoid gate, bias, groups: section 2.1.2). */
#include "engine/reference.h"

#include <math.h>
#include <stdlib.h>

static float *floats(size_t n)
{
    float *f = calloc(n ? n : 1, sizeof *f);
    MUST(f != NULL);
    return f;
}

/* y [rows] = W x, for matrix `index` of several; x [cols]. Stored weights are widened exactly. */
static void linear(float *y, const struct ek_matrix *w, size_t index, const float *x)
{
    float *row = floats(w->cols);
    for (size_t r = 0; r < w->rows; r++) {
        float sum = 0;
        ek_weight_row(ek_kernels_of(EK_ISA_GENERIC), w, index, r, row);
        for (size_t c = 0; c < w->cols; c++) sum += row[c] * x[c];
        y[r] = sum;
    }
    free(row);
}

/* y = gain * x / rms(x). */
static void rmsnorm(float *y, const float *x, const float *gain, size_t n, float eps)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
    float scale = 1 / sqrtf(sum / (float)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = gain[i] * x[i] * scale;
}

/* Turn each pair of the R numbers of x by position * frequency_i. A pair is two neighbours, or one
 * number of each half. */
static void rope(float *x, const struct ek_model *m, size_t position)
{
    size_t half = m->shape.rope / 2;
    bool halves = m->shape.rope_pairs == EK_ROPE_HALVES;
    for (size_t i = 0; i < half; i++) {
        double angle = (double)position * m->rope_freq[i];
        float c = (float)(cos(angle) * m->rope_size), s = (float)(sin(angle) * m->rope_size);
        float *a = halves ? x + i : x + 2 * i, *b = halves ? x + i + half : x + 2 * i + 1;
        float turned = *a * c - *b * s;
        *b = *a * s + *b * c;
        *a = turned;
    }
}

static void softmax(float *x, size_t n)
{
    float max = x[0], sum = 0;
    for (size_t i = 1; i < n; i++) max = fmaxf(max, x[i]);
    for (size_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - max);
    for (size_t i = 0; i < n; i++) x[i] /= sum;
}

/* What one token contributes to attention: its queries, and the keys and values others will see. */
struct token_heads {
    float *q; /* [H][K] */
    float *k; /* [G][K]; latent form: G = H, and the rope part is the same for all heads */
    float *v; /* [G][V] */
};

/* k [N] of head h; through the transpose where the layer has it only so (the block ahead). */
static void nope_key(float *k, const struct ek_layer *l, const struct ek_shape *s, size_t h,
                     const float *latent)
{
    if (l->k_b_t.data) {
        linear(k, &l->k_b_t, h, latent);
        return;
    }
    float *row = floats(s->nope);
    for (size_t i = 0; i < s->nope; i++) k[i] = 0;
    for (size_t c = 0; c < s->kv_lora; c++) {
        ek_weight_row(ek_kernels_of(EK_ISA_GENERIC), &l->k_b, h, c, row);
        for (size_t i = 0; i < s->nope; i++) k[i] += row[i] * latent[c];
    }
    free(row);
}

/* Latent form: one short vector, from which all keys and values are made. */
static void project_latent(const struct ek_model *m, const struct ek_layer *l, const float *x,
                           size_t position, struct token_heads *t)
{
    const struct ek_shape *s = &m->shape;
    size_t K = s->nope + s->rope;
    float *latent = floats(s->kv_lora + s->rope); /* [C | R] */
    t->q = floats(s->heads * K);
    t->k = floats(s->heads * K);
    t->v = floats(s->heads * s->value);

    if (s->q_lora) { /* eq. 12-13: queries through a latent of their own */
        float *c = floats(s->q_lora);
        linear(c, &l->q_a, 0, x);
        rmsnorm(c, c, l->q_a_norm, s->q_lora, s->norm_eps);
        linear(t->q, &l->q_b, 0, c);
        free(c);
    } else {
        linear(t->q, &l->q, 0, x);
    }
    linear(latent, &l->kv_a, 0, x); /* eq. 9 and 15: one latent and one rope key for all heads */
    rmsnorm(latent, latent, l->kv_a_norm, s->kv_lora, s->norm_eps);
    rope(latent + s->kv_lora, m, position);
    for (size_t h = 0; h < s->heads; h++) {
        float *k = t->k + h * K;
        rope(t->q + h * K + s->nope, m, position);
        nope_key(k, l, s, h, latent);                                /* eq. 10 */
        linear(t->v + h * s->value, &l->v_b, h, latent);             /* eq. 11 */
        for (size_t i = 0; i < s->rope; i++) k[s->nope + i] = latent[s->kv_lora + i];
    }
    free(latent);
}

static void add(float *y, const float *bias, size_t n)
{
    for (size_t i = 0; bias && i < n; i++) y[i] += bias[i];
}

/* Grouped form: queries, keys and values straight from x, a rotation of the first R numbers of each. */
static void project_grouped(const struct ek_model *m, const struct ek_layer *l, const float *x,
                            size_t position, struct token_heads *t)
{
    const struct ek_shape *s = &m->shape;
    size_t K = s->nope + s->rope;
    t->q = floats(s->heads * K);
    t->k = floats(s->kv_heads * K);
    t->v = floats(s->kv_heads * s->value);
    linear(t->q, &l->q, 0, x);
    linear(t->k, &l->k, 0, x);
    linear(t->v, &l->v, 0, x);
    add(t->q, l->q_bias, s->heads * K);
    add(t->k, l->k_bias, s->kv_heads * K);
    add(t->v, l->v_bias, s->kv_heads * s->value);
    for (size_t h = 0; h < s->heads; h++) rope(t->q + h * K, m, position);
    for (size_t h = 0; h < s->kv_heads; h++) rope(t->k + h * K, m, position);
}

/* h [T][E] += attention over all earlier positions and itself (eq. 17-19). */
static void attention(const struct ek_model *m, const struct ek_layer *l, float *h, size_t T)
{
    const struct ek_shape *s = &m->shape;
    size_t K = s->nope + s->rope;
    struct token_heads *tokens = calloc(T, sizeof *tokens);
    float *x = floats(s->embd), *score = floats(T), *mixed = floats(s->heads * s->value);
    MUST(tokens != NULL);
    for (size_t t = 0; t < T; t++) {
        rmsnorm(x, h + t * s->embd, l->attn_norm, s->embd, s->norm_eps);
        if (s->attention == EK_ATTENTION_LATENT) {
            project_latent(m, l, x, t, &tokens[t]);
        } else {
            project_grouped(m, l, x, t, &tokens[t]);
        }
    }
    for (size_t t = 0; t < T; t++) {
        for (size_t head = 0; head < s->heads; head++) {
            float *out = mixed + head * s->value;
            size_t kv = head / (s->heads / s->kv_heads); /* the keys and values this head looks at */
            for (size_t j = 0; j <= t; j++) {
                score[j] = 0;
                for (size_t i = 0; i < K; i++) {
                    score[j] += tokens[t].q[head * K + i] * tokens[j].k[kv * K + i];
                }
                score[j] *= s->attn_scale;
            }
            softmax(score, t + 1);
            for (size_t i = 0; i < s->value; i++) out[i] = 0;
            for (size_t j = 0; j <= t; j++) {
                for (size_t i = 0; i < s->value; i++) {
                    out[i] += score[j] * tokens[j].v[kv * s->value + i];
                }
            }
        }
        linear(x, &l->out, 0, mixed);
        add(x, l->out_bias, s->embd);
        for (size_t i = 0; i < s->embd; i++) h[t * s->embd + i] += x[i];
    }
    for (size_t t = 0; t < T; t++) {
        free(tokens[t].q);
        free(tokens[t].k);
        free(tokens[t].v);
    }
    free(tokens);
    free(x);
    free(score);
    free(mixed);
}

/* y [E] += weight * down(silu(gate x) * up x), for one of several networks. */
static void ffn(float *y, const struct ek_ffn *f, size_t index, const float *x, float scale)
{
    size_t hidden = f->gate.rows, E = f->down.rows;
    float *gate = floats(hidden), *up = floats(hidden), *out = floats(E);
    linear(gate, &f->gate, index, x);
    linear(up, &f->up, index, x);
    for (size_t i = 0; i < hidden; i++) gate[i] = gate[i] / (1 + expf(-gate[i])) * up[i];
    linear(out, &f->down, index, gate);
    for (size_t i = 0; i < E; i++) y[i] += scale * out[i];
    free(gate);
    free(up);
    free(out);
}

/* The place of the largest score that is not yet taken; the first of equals. */
static size_t best_left(const float *score, const bool *taken, size_t n)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        if (!taken[i] && (best == n || score[i] > score[best])) best = i;
    }
    MUST(best < n);
    return best;
}

/* Forbid the experts of all but the best groups; a group is as good as its two best experts. */
static void limit_groups(const struct ek_shape *s, const float *score, bool *taken)
{
    size_t each = s->experts / s->groups;
    float *group = floats(s->groups);
    bool *chosen = calloc(s->groups, sizeof *chosen);
    MUST(chosen != NULL);
    for (size_t g = 0; g < s->groups; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (size_t i = g * each; i < (g + 1) * each; i++) {
            if (score[i] > first) {
                second = first;
                first = score[i];
            } else if (score[i] > second) {
                second = score[i];
            }
        }
        group[g] = each > 1 ? first + second : first;
    }
    for (size_t n = 0; n < s->groups_used; n++) chosen[best_left(group, chosen, s->groups)] = true;
    for (size_t i = 0; i < s->experts; i++) taken[i] = !chosen[i / each];
    free(group);
    free(chosen);
}

/* y [E] += the chosen experts, weighted, and the shared one. */
static void experts(const struct ek_model *m, const struct ek_layer *l, const float *x, float *y)
{
    const struct ek_shape *s = &m->shape;
    float *p = floats(s->experts), *score = floats(s->experts), sum = 0;
    size_t chosen[64];
    bool *taken = calloc(s->experts, sizeof *taken);
    MUST(taken != NULL && s->experts_used <= 64);
    linear(p, &l->router, 0, x);
    if (s->gate == EK_GATE_SOFTMAX) softmax(p, s->experts);
    for (size_t i = 0; i < s->experts; i++) {
        if (s->gate == EK_GATE_SIGMOID) p[i] = 1 / (1 + expf(-p[i]));
        score[i] = p[i] + (l->router_bias ? l->router_bias[i] : 0); /* the bias chooses only */
    }
    if (s->groups > 1) limit_groups(s, score, taken);
    for (size_t n = 0; n < s->experts_used; n++) {
        chosen[n] = best_left(score, taken, s->experts);
        taken[chosen[n]] = true;
        sum += p[chosen[n]];
    }
    if (!s->weights_norm) sum = 1;
    for (size_t n = 0; n < s->experts_used; n++) {
        float w = p[chosen[n]] / fmaxf(sum, 0x1p-14f) * s->weights_scale; /* llama.cpp's floor */
        ffn(y, &l->experts, chosen[n], x, w);
    }
    if (l->shared.gate.data) ffn(y, &l->shared, 0, x, 1);
    free(p);
    free(score);
    free(taken);
}

static void block(const struct ek_model *m, const struct ek_layer *l, float *h, size_t T)
{
    const struct ek_shape *s = &m->shape;
    attention(m, l, h, T);
    for (size_t t = 0; t < T; t++) {
        float *x = floats(s->embd), *y = floats(s->embd);
        rmsnorm(x, h + t * s->embd, l->ffn_norm, s->embd, s->norm_eps);
        if (l->dense.gate.data) {
            ffn(y, &l->dense, 0, x, 1);
        } else {
            experts(m, l, x, y);
        }
        for (size_t i = 0; i < s->embd; i++) h[t * s->embd + i] += y[i];
        free(x);
        free(y);
    }
}

/* What goes into the output matrix, [T][E]; the caller frees. */
static float *told(const struct ek_model *m, const uint32_t *ids, size_t T)
{
    const struct ek_shape *s = &m->shape;
    float *h = floats(T * s->embd);
    for (size_t t = 0; t < T; t++) {
        MUST(ids[t] < s->vocab);
        ek_weight_row(ek_kernels_of(EK_ISA_GENERIC), &m->embd, 0, ids[t], h + t * s->embd);
    }
    for (size_t l = 0; l < s->layers; l++) block(m, &m->layers[l], h, T);
    for (size_t t = 0; t < T; t++) {
        rmsnorm(h + t * s->embd, h + t * s->embd, m->out_norm, s->embd, s->norm_eps);
    }
    return h;
}

void ek_reference_forward(const struct ek_model *m, const uint32_t *ids, size_t T, float *logits)
{
    MUST_OBJ(m, EK_MODEL_MAGIC);
    float *h = told(m, ids, T);
    for (size_t t = 0; t < T; t++) {
        linear(logits + t * m->shape.vocab, &m->out, 0, h + t * m->shape.embd);
    }
    free(h);
}

void ek_reference_ahead(const struct ek_model *m, const uint32_t *ids, size_t T, float *logits)
{
    MUST_OBJ(m, EK_MODEL_MAGIC);
    MUST(m->ahead.there && T > 1);
    const struct ek_shape *s = &m->shape;
    const struct ek_ahead *a = &m->ahead;
    size_t E = s->embd;
    float *h = told(m, ids, T), *x = floats((T - 1) * E), *both = floats(2 * E);
    for (size_t t = 0; t + 1 < T; t++) {
        ek_weight_row(ek_kernels_of(EK_ISA_GENERIC), &a->embd, 0, ids[t + 1], both);
        rmsnorm(both, both, a->token_norm, E, s->norm_eps);
        rmsnorm(both + E, h + t * E, a->hidden_norm, E, s->norm_eps);
        linear(x + t * E, &a->join, 0, both);
    }
    block(m, &a->layer, x, T - 1);
    for (size_t t = 0; t + 1 < T; t++) {
        rmsnorm(x + t * E, x + t * E, a->head_norm, E, s->norm_eps);
        linear(logits + t * s->vocab, &a->out, 0, x + t * E);
    }
    free(h);
    free(x);
    free(both);
}
