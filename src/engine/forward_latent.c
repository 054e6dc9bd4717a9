/* SPDX-License-Identifier: MIT */
/* Latent attention of one layer over all rows of a step.
 *
 *   q, latent = products of h;  latent -> normalised, rotated, stored in the KV cache (and so rounded
 *   to its type: every row reads all tokens, its own too, as stored)
 *   prompt rows:     for each head and page: keys [64][K] and values [64][V] from the stored latents
 *   generated rows:  q' = k_b q_nope in the latent space; scores and mixing on the stored rows; v_b
 *
 * Activations are never rounded here: attention has the smaller part of the weights, and what it gets
 * wrong stays in the cache. Softmax runs page by page (online), pages counted from the sequence's
 * first token: how a prompt is cut into chunks never moves a page boundary, so it never changes a
 * row's sums. */
#include "engine/forward_priv.h"

#include <math.h>

/* The latents of one row: normalise, rotate, store. */
static void latent_row(struct ek_forward *f, size_t r)
{
    const struct ek_shape *s = &f->model->shape;
    size_t C = s->kv_lora;
    float *latent = f->latent + r * (C + s->rope);
    f->k->rmsnorm(latent, latent, f->layer->kv_a_norm, C, s->norm_eps);
    f->k->rope(latent + C, f->cs + r * s->rope, s->rope);
    ek_forward_store(f, r, latent, C + s->rope);
}

/* The same for many; the query latent, if there is one, is normalised too. */
static void latent_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    const struct ek_shape *s = &f->model->shape;
    size_t from, to;
    (void)member;
    ek_team_part(f->M, 1, chunk, chunks, &from, &to);
    for (size_t r = from; r < to; r++) {
        if (s->q_lora) {
            float *qa = f->qa.x + r * s->q_lora;
            f->k->rmsnorm(qa, qa, f->layer->q_a_norm, s->q_lora, s->norm_eps);
        }
        latent_row(f, r);
    }
}

static void rotate_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    const struct ek_shape *s = &f->model->shape;
    size_t from, to, K = s->nope + s->rope;
    (void)member;
    ek_team_part(f->M, 1, chunk, chunks, &from, &to);
    for (size_t r = from; r < to; r++) {
        for (size_t h = 0; h < s->heads; h++) {
            f->k->rope(f->q + (r * s->heads + h) * K + s->nope, f->cs + r * s->rope, s->rope);
        }
    }
}

/* q' [G][H][C | R]: each head's nope part through k_b, its rope part as it is. */
static void absorb_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    const struct ek_shape *s = &f->model->shape;
    size_t from, to, K = s->nope + s->rope, row = s->kv_lora + s->rope, H = s->heads;
    (void)member;
    ek_team_part(H, 1, chunk, chunks, &from, &to);
    for (size_t h = from; h < to; h++) {
        struct act q = {.x = f->q + h * K, .x_stride = H * K};
        ek_forward_product(f, &f->layer->k_b, h, 0, s->kv_lora, q, f->G, f->q_abs + h * row, H * row);
        for (size_t r = 0; r < f->G; r++) {
            memcpy(f->q_abs + (r * H + h) * row + s->kv_lora, q.x + r * H * K + s->nope,
                   s->rope * sizeof(float));
        }
    }
}

/* o [G][H][V]: each head's mixed latent through v_b. */
static void values_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    const struct ek_shape *s = &f->model->shape;
    size_t from, to, H = s->heads;
    (void)member;
    ek_team_part(H, 1, chunk, chunks, &from, &to);
    for (size_t h = from; h < to; h++) {
        struct act z = {.x = f->z + h * s->kv_lora, .x_stride = H * s->kv_lora};
        ek_forward_product(f, &f->layer->v_b, h, 0, s->value, z, f->G, f->o.x + h * s->value,
                           H * s->value);
    }
}

/* One generated row, `heads` heads from h0: z [heads][C]. */
static void attend_absorbed(struct ek_forward *f, size_t r, size_t h0, size_t heads,
                            struct member_scratch *w)
{
    const struct ek_shape *s = &f->model->shape;
    size_t C = s->kv_lora, row = C + s->rope;
    const struct ek_kv_seq *seq = f->segments[f->place[r].segment].seq;
    const float *q = f->q_abs + (r * s->heads + h0) * row;
    float *z = f->z + (r * s->heads + h0) * C;
    uint32_t length = f->place[r].position + 1;
    memset(z, 0, heads * C * sizeof *z);
    for (size_t h = 0; h < heads; h++) {
        w->max[h] = -INFINITY;
        w->sum[h] = 0;
    }
    for (uint32_t t = 0; t < length; t += EK_KV_PAGE) {
        size_t n = length - t < EK_KV_PAGE ? length - t : EK_KV_PAGE;
        const void *rows = ek_kv_row(f->kv, seq, f->layer_index, t);
        ek_forward_page_scores(f, w->score, q, row, heads, rows, n, row);
        for (size_t h = 0; h < heads; h++) {
            float *p = w->score + h * EK_KV_PAGE;
            float corr = f->k->online_softmax(p, n, s->attn_scale, &w->max[h], &w->sum[h]);
            ek_forward_page_mix(f, z + h * C, corr, p, rows, n, C);
        }
    }
    for (size_t h = 0; h < heads; h++) ek_forward_divide(z + h * C, C, w->sum[h]);
}

/* Keys and values of one head for n tokens of a page, from their stored latents. */
static void expand_page(struct ek_forward *f, const struct ek_kv_seq *seq, uint32_t t, size_t n,
                        size_t head, struct member_scratch *w)
{
    const struct ek_shape *s = &f->model->shape;
    size_t C = s->kv_lora, row = C + s->rope, K = s->nope + s->rope;
    const uint8_t *rows = ek_kv_row(f->kv, seq, f->layer_index, t);
    for (size_t i = 0; i < n; i++, rows += ek_kv_row_bytes(f->kv)) {
        float *latent = w->latent + i * row;
        switch (ek_kv_type(f->kv)) {
        case EK_KV_F32: f->k->row_f32(latent, rows, row); break;
        case EK_KV_F16: f->k->row_f16(latent, rows, row); break;
        case EK_KV_BF16: f->k->row_bf16(latent, rows, row); break;
        }
        memcpy(w->key + i * K + s->nope, latent + C, s->rope * sizeof(float));
    }
    struct act latent = {.x = w->latent, .x_stride = row};
    ek_forward_product(f, &f->layer->k_b_t, head, 0, s->nope, latent, n, w->key, K);
    ek_forward_product(f, &f->layer->v_b, head, 0, s->value, latent, n, w->value, s->value);
}

/* All prompt rows of one segment, one head: o [count][V]. r0 is the segment's first row. */
static void attend_expanded(struct ek_forward *f, size_t r0, const struct ek_segment *seg, size_t head,
                            struct member_scratch *w)
{
    const struct ek_shape *s = &f->model->shape;
    size_t K = s->nope + s->rope, q_stride = s->heads * K, o_stride = s->heads * s->value;
    const float *q = f->q + r0 * q_stride + head * K;
    float *o = f->o.x + r0 * o_stride + head * s->value;
    uint32_t first = f->place[r0].position, length = first + seg->count;
    for (size_t i = 0; i < seg->count; i++) {
        w->max[i] = -INFINITY;
        w->sum[i] = 0;
        memset(o + i * o_stride, 0, s->value * sizeof *o);
    }
    for (uint32_t t = 0; t < length; t += EK_KV_PAGE) {
        size_t n = length - t < EK_KV_PAGE ? length - t : EK_KV_PAGE;
        size_t i = t > first ? t - first : 0; /* rows before it do not see this page */
        expand_page(f, seg->seq, t, n, head, w);
        f->k->matmul_f32(w->score, EK_KV_PAGE, q + i * q_stride, q_stride, seg->count - i, w->key,
                         K * sizeof(float), n, K);
        for (size_t line = 0; i < seg->count; i++, line++) {
            size_t seen = first + i - t + 1 < n ? first + i - t + 1 : n;
            float *p = w->score + line * EK_KV_PAGE;
            float corr = f->k->online_softmax(p, seen, s->attn_scale, &w->max[i], &w->sum[i]);
            f->k->mix_f32(o + i * o_stride, corr, p, w->value, s->value * sizeof(float), seen, s->value);
        }
    }
    for (size_t i = 0; i < seg->count; i++) ek_forward_divide(o + i * o_stride, s->value, w->sum[i]);
}

/* Tasks: first every generated row and block of heads, then every prompt segment and head. */
static void attend_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    size_t H = f->model->shape.heads, blocks = (H + HEAD_BLOCK - 1) / HEAD_BLOCK;
    size_t absorbed = f->G * blocks, r0 = f->G, task = absorbed;
    for (size_t i = chunk; i < absorbed; i += chunks) {
        size_t h0 = i % blocks * HEAD_BLOCK;
        attend_absorbed(f, i / blocks, h0, H - h0 < HEAD_BLOCK ? H - h0 : HEAD_BLOCK,
                        &f->scratch[member]);
    }
    for (size_t i = 0; i < f->n_segments; i++) {
        const struct ek_segment *seg = &f->segments[i];
        if (seg->role != EK_ROLE_PROMPT) continue;
        for (size_t h = 0; h < H; h++, task++) {
            if (task % chunks == chunk) attend_expanded(f, r0, seg, h, &f->scratch[member]);
        }
        r0 += seg->count;
    }
}

/* Multiplications of the attention proper, to decide how many chunks are worth it. */
static double attend_work(const struct ek_forward *f)
{
    const struct ek_shape *s = &f->model->shape;
    double work = 0, length;
    for (size_t r = 0; r < f->G; r++) {
        work += (2.0 * s->kv_lora + s->rope) * (f->place[r].position + 1) * s->heads;
    }
    for (size_t i = 0; i < f->n_segments; i++) {
        const struct ek_segment *seg = &f->segments[i];
        if (seg->role != EK_ROLE_PROMPT) continue;
        length = seg->seq->tokens + seg->count;
        work += (s->nope + s->rope + s->value) * length * seg->count * s->heads;
        work += length * s->heads * s->kv_lora * (s->nope + s->value);
    }
    return work;
}

struct rows_part {
    struct ek_forward *f;
    size_t from;
};

static void rows_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    const struct rows_part *p = arg;
    size_t from, to;
    (void)member;
    ek_team_part(p->f->M - p->from, 1, chunk, chunks, &from, &to);
    for (size_t r = p->from + from; r < p->from + to; r++) latent_row(p->f, r);
}

void ek_forward_latent_rows(struct ek_forward *f, size_t from)
{
    const struct ek_shape *s = &f->model->shape;
    size_t row = s->kv_lora + s->rope, rows = f->M - from;
    struct rows_part part = {f, from};
    MUST(from < f->M);
    ek_forward_linear(f, &f->layer->kv_a, act_at(exact(f->h), from), rows, f->latent + from * row, row);
    ek_team_run(f->team, rows_chunk, &part,
                ek_team_chunks(f->team, (double)rows * (double)row * 8, rows));
}

void ek_forward_latent(struct ek_forward *f)
{
    const struct ek_shape *s = &f->model->shape;
    const struct ek_layer *l = f->layer;
    size_t H = s->heads, K = s->nope + s->rope, row = s->kv_lora + s->rope;
    double M = (double)f->M, G = (double)f->G;
    struct act h = exact(f->h);
    if (s->q_lora) {
        ek_forward_linear(f, &l->q_a, h, f->M, f->qa.x, s->q_lora);
    } else {
        ek_forward_linear(f, &l->q, h, f->M, f->q, H * K);
    }
    ek_forward_linear(f, &l->kv_a, h, f->M, f->latent, row);
    ek_team_run(f->team, latent_chunk, f,
                ek_team_chunks(f->team, M * (double)(row + s->q_lora) * 8, f->M));
    if (s->q_lora) ek_forward_linear(f, &l->q_b, f->qa, f->M, f->q, H * K);
    ek_team_run(f->team, rotate_chunk, f, ek_team_chunks(f->team, M * (double)(H * s->rope) * 4, f->M));
    if (f->G > 0) {
        double work = G * (double)H * s->kv_lora * s->nope;
        ek_team_run(f->team, absorb_chunk, f, ek_team_chunks(f->team, work, H));
    }
    ek_team_run(f->team, attend_chunk, f, ek_team_chunks(f->team, attend_work(f), f->M * H));
    if (f->G > 0) {
        double work = G * (double)H * s->kv_lora * s->value;
        ek_team_run(f->team, values_chunk, f, ek_team_chunks(f->team, work, H));
    }
    ek_forward_linear(f, &l->out, f->o, f->M, f->delta, s->embd);
}
