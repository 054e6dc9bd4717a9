/* SPDX-License-Identifier: MIT */
/* Attention of one layer with heads of keys and values that are stored as they are: G of them, each for
 * H / G heads of queries. A row of the KV cache is [G K | G V].
 *
 *   q, k, v = products of h, biases added, queries and keys rotated; k and v stored
 *   scores of a page = queries times its stored keys; softmax page by page; values mixed
 *
 * There is one arithmetic for rows of both roles. Work is laid out in lines that share a page: the
 * tokens of a chunk for one head, or the heads of a group for one token. Which of the two changes no
 * bit, since a product's value depends on its own row alone.
 * Source: Ainslie et al. 2023 (2305.13245); llama.cpp's qwen2 and llama graphs for the order of steps. */
#include "engine/forward_priv.h"

#include <math.h>

/* Biases, rotation and storing of a row. */
static void finish_row(struct ek_forward *f, size_t r)
{
    const struct ek_shape *s = &f->model->shape;
    const struct ek_layer *l = f->layer;
    size_t K = s->nope + s->rope, elems = ek_shape_kv_elems(s);
    float *q = f->q + r * s->heads * K, *k = f->latent + r * elems, *v = k + s->kv_heads * K;
    const float *cs = f->cs + r * s->rope;
    if (l->q_bias) f->k->add(q, l->q_bias, s->heads * K);
    if (l->k_bias) f->k->add(k, l->k_bias, s->kv_heads * K);
    if (l->v_bias) f->k->add(v, l->v_bias, s->kv_heads * s->value);
    bool halves = s->rope_pairs == EK_ROPE_HALVES;
    for (size_t h = 0; h < s->heads + s->kv_heads; h++) {
        float *head = h < s->heads ? q + h * K : k + (h - s->heads) * K;
        if (halves) {
            f->k->rope_halves(head, cs, s->rope);
        } else {
            f->k->rope(head, cs, s->rope);
        }
    }
    ek_forward_store(f, r, k, elems);
}

static void rows_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    size_t from, to;
    (void)member;
    ek_team_part(f->M, 1, chunk, chunks, &from, &to);
    for (size_t r = from; r < to; r++) finish_row(f, r);
}

/* Lines of queries that look at the same head of keys. Line i sees the first `seen + i * step` tokens. */
struct lines {
    const struct ek_kv_seq *seq;
    size_t kv_head, count;
    const float *q;
    float *o;
    size_t q_stride, o_stride;
    uint32_t seen, step;
};

static void attend(struct ek_forward *f, const struct lines *a, struct member_scratch *w)
{
    const struct ek_shape *s = &f->model->shape;
    size_t K = s->nope + s->rope, number = ek_kv_type(f->kv) == EK_KV_F32 ? 4 : 2;
    size_t key_at = a->kv_head * K * number;
    size_t value_at = (s->kv_heads * K + a->kv_head * s->value) * number;
    uint32_t length = a->seen + (uint32_t)(a->count - 1) * a->step;
    for (size_t i = 0; i < a->count; i++) {
        w->max[i] = -INFINITY;
        w->sum[i] = 0;
        memset(a->o + i * a->o_stride, 0, s->value * sizeof *a->o);
    }
    for (uint32_t t = 0; t < length; t += EK_KV_PAGE) {
        size_t n = length - t < EK_KV_PAGE ? length - t : EK_KV_PAGE;
        size_t first = t < a->seen ? 0 : (t - a->seen) / a->step + 1; /* lines before see nothing here */
        const uint8_t *rows = ek_kv_row(f->kv, a->seq, f->layer_index, t);
        ek_forward_page_scores(f, w->score, a->q + first * a->q_stride, a->q_stride, a->count - first,
                               rows + key_at, n, K);
        for (size_t i = first; i < a->count; i++) {
            size_t seen = a->seen + i * a->step - t < n ? a->seen + i * a->step - t : n;
            float *p = w->score + (i - first) * EK_KV_PAGE;
            float corr = f->k->online_softmax(p, seen, s->attn_scale, &w->max[i], &w->sum[i]);
            ek_forward_page_mix(f, a->o + i * a->o_stride, corr, p, rows + value_at, seen, s->value);
        }
    }
    for (size_t i = 0; i < a->count; i++) {
        ek_forward_divide(a->o + i * a->o_stride, s->value, w->sum[i]);
    }
}

/* A task is a segment and either a head (all its tokens) or, for a single token, a group of heads. */
static size_t tasks_of(const struct ek_shape *s, const struct ek_segment *seg)
{
    return seg->count == 1 ? s->kv_heads : s->heads;
}

static void run_task(struct ek_forward *f, const struct ek_segment *seg, size_t r0, size_t task,
                     struct member_scratch *w)
{
    const struct ek_shape *s = &f->model->shape;
    size_t K = s->nope + s->rope, group = s->heads / s->kv_heads;
    bool single = seg->count == 1;
    size_t head = single ? task * group : task;
    struct lines a = {
        .seq = seg->seq, .kv_head = head / group, .count = single ? group : seg->count,
        .q = f->q + (r0 * s->heads + head) * K, .o = f->o.x + (r0 * s->heads + head) * s->value,
        .q_stride = single ? K : s->heads * K, .o_stride = single ? s->value : s->heads * s->value,
        .seen = f->place[r0].position + 1, .step = single ? 0 : 1,
    };
    attend(f, &a, w);
}

static void attend_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    size_t r0 = 0, number = 0;
    for (size_t i = 0; i < f->n_segments; i++) {
        const struct ek_segment *seg = &f->segments[i];
        size_t tasks = tasks_of(&f->model->shape, seg);
        for (size_t t = 0; t < tasks; t++, number++) {
            if (number % chunks == chunk) run_task(f, seg, r0, t, &f->scratch[member]);
        }
        r0 += seg->count;
    }
}

void ek_forward_grouped(struct ek_forward *f)
{
    const struct ek_shape *s = &f->model->shape;
    const struct ek_layer *l = f->layer;
    size_t K = s->nope + s->rope, elems = ek_shape_kv_elems(s), tasks = 0;
    struct act h = exact(f->h);
    double work = 0;
    ek_forward_linear(f, &l->q, h, f->M, f->q, s->heads * K);
    ek_forward_linear(f, &l->k, h, f->M, f->latent, elems);
    ek_forward_linear(f, &l->v, h, f->M, f->latent + s->kv_heads * K, elems);
    ek_team_run(f->team, rows_chunk, f,
                ek_team_chunks(f->team, (double)(f->M * (s->heads * K + elems)) * 4, f->M));
    for (size_t i = 0; i < f->n_segments; i++) {
        const struct ek_segment *seg = &f->segments[i];
        tasks += tasks_of(s, seg);
        work += (double)(seg->seq->tokens + seg->count) * seg->count * s->heads * (double)(K + s->value);
    }
    ek_team_run(f->team, attend_chunk, f, ek_team_chunks(f->team, work, tasks));
    ek_forward_linear(f, &l->out, f->o, f->M, f->delta, s->embd);
    for (size_t r = 0; l->out_bias && r < f->M; r++) {
        f->k->add(f->delta + r * s->embd, l->out_bias, s->embd);
    }
}
