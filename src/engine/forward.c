/* SPDX-License-Identifier: MIT */
/* The course of a step: place the rows, embed, run the layers, normalise and multiply by the output
 * matrix. Owns the scratch memory, all of it taken at start. */
#include "engine/forward_priv.h"

#include <math.h>
#include <stdlib.h>

/* 64-aligned memory that ek_forward_free gives back; NULL sticks in f->owned when there is none. Without
 * f->owned it is only counted. */
static void *own(struct ek_forward *f, size_t count, size_t each)
{
    size_t bytes = 0;
    void *p = NULL;
    if (__builtin_mul_overflow(count, each, &bytes) || bytes > SIZE_MAX / 2) bytes = SIZE_MAX / 2;
    bytes = bytes / 64 * 64 + 64;
    f->owned_bytes += bytes;
    if (!f->owned) return NULL;
    if (posix_memalign(&p, 64, bytes) != 0) p = NULL;
    f->owned[f->n_owned++] = p;
    return p;
}

static float *own_floats(struct ek_forward *f, size_t a, size_t b)
{
    return own(f, a * b, sizeof(float));
}

static struct act own_act(struct ek_forward *f, size_t rows, size_t cols, bool floats, bool blocks)
{
    struct act a = {.x_stride = cols, .q_stride = cols / EK_Q8_BLOCK};
    if (floats) a.x = own_floats(f, rows, cols);
    if (blocks && f->rounding && cols % EK_Q8_BLOCK == 0) a.q = own(f, rows * a.q_stride, sizeof *a.q);
    return a;
}

enum { OWNED_MAX = 64 + 8 * EK_TEAM_MAX };

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static void own_rows(struct ek_forward *f)
{
    const struct ek_shape *s = &f->model->shape;
    size_t M = f->rows_max, H = s->heads, K = s->nope + s->rope, row = ek_shape_kv_elems(s);
    size_t absorbed = s->attention == EK_ATTENTION_LATENT ? M * H : 0;
    f->place = own(f, M, sizeof *f->place);
    f->want = own(f, f->logit_rows_max, sizeof *f->want);
    f->cs = own_floats(f, M, s->rope);
    f->x = own_floats(f, M, s->embd);
    f->delta = own_floats(f, M, s->embd);
    f->h = own_act(f, M, s->embd, true, true);
    f->qa = own_act(f, M, larger(s->q_lora, 1), true, false);
    f->q = own_floats(f, M, H * K);
    f->latent = own_floats(f, M, row);
    f->o = own_act(f, M, H * s->value, true, false);
    f->q_abs = own_floats(f, absorbed, row);
    f->z = own_floats(f, absorbed, s->kv_lora);
    f->logits = own_floats(f, f->logit_rows_max, s->vocab);
    if (!f->looks) return;
    f->told_place = own(f, M, sizeof *f->told_place);
    f->told = own_floats(f, M, s->embd);
    f->joined = own_floats(f, M, (size_t)s->embd * 2);
}

static void own_experts(struct ek_forward *f)
{
    const struct ek_shape *s = &f->model->shape;
    size_t M = f->rows_max, used = s->experts_used, entries = larger(M * used, 1);
    size_t hidden = larger(s->dense_layers ? M * s->ff : 0, entries * s->expert_ff + M * s->shared_ff);
    bool all_rounded = f->rounding && s->embd % EK_Q8_BLOCK == 0;
    for (uint32_t l = s->dense_layers; l < s->layers + f->looks; l++) {
        const struct ek_ffn *e = l < s->layers ? &f->model->layers[l].experts
                                               : &f->model->ahead.layer.experts;
        all_rounded = all_rounded && ek_weight_takes_q8(e->gate.type) && ek_weight_takes_q8(e->up.type);
    }
    f->router = own_floats(f, M, larger(s->experts, 1));
    f->chosen = own(f, entries, sizeof *f->chosen);
    f->weight = own(f, entries, sizeof *f->weight);
    f->entry_row = own(f, entries, sizeof *f->entry_row);
    f->entry_weight = own(f, entries, sizeof *f->entry_weight);
    f->expert_count = own(f, s->experts + 1, sizeof *f->expert_count);
    f->units = own(f, s->experts + 2, sizeof *f->units);
    f->gathered = own_act(f, entries, s->embd, !all_rounded, true);
    f->gate = own_floats(f, hidden, 1);
    f->up = own_floats(f, hidden, 1);
    f->hidden_q = f->rounding ? own(f, hidden / EK_Q8_BLOCK + 1, sizeof *f->hidden_q) : NULL;
}

static void own_scratch(struct ek_forward *f)
{
    const struct ek_shape *s = &f->model->shape;
    size_t lines = larger(f->rows_max, s->heads), size = f->members;
    size_t page = s->attention == EK_ATTENTION_LATENT ? EK_KV_PAGE : 0;
    f->scratch = own(f, size, sizeof *f->scratch);
    if (f->owned && !f->scratch) return;
    for (size_t i = 0; i < size; i++) {
        struct member_scratch w = {
            .latent = own_floats(f, page, s->kv_lora + s->rope),
            .key = own_floats(f, page, s->nope + s->rope),
            .value = own_floats(f, page, s->value),
            .score = own_floats(f, lines, EK_KV_PAGE),
            .max = own_floats(f, lines, 1),
            .sum = own_floats(f, lines, 1),
            .down = own_floats(f, f->rows_max, DOWN_COLS),
            .route = own_floats(f, s->experts + s->groups + 1, 1),
        };
        if (f->scratch) f->scratch[i] = w;
    }
}

uint64_t ek_forward_need_bytes(const struct ek_model *model, enum ek_activation activation,
                               uint32_t rows_max, uint32_t logit_rows_max, unsigned threads)
{
    struct ek_forward f = {
        .model = model, .rounding = activation == EK_ACT_Q8, .rows_max = rows_max,
        .logit_rows_max = logit_rows_max, .members = threads, .looks = model->ahead.there,
    };
    own_rows(&f);
    own_experts(&f);
    own_scratch(&f);
    return f.owned_bytes;
}

enum ek_status ek_forward_new(const struct ek_model *model, const struct ek_kernels *kernels,
                              struct ek_kv *kv, struct ek_team *team, enum ek_activation activation,
                              uint32_t rows_max, uint32_t logit_rows_max, struct ek_forward **out)
{
    MUST_OBJ(model, EK_MODEL_MAGIC);
    MUST(model->whole);
    MUST(rows_max >= 1 && rows_max <= EK_FORWARD_ROWS_MAX);
    MUST(logit_rows_max >= 1 && logit_rows_max <= rows_max);
    struct ek_forward *f = calloc(1, sizeof *f);
    MUST(f != NULL);
    *f = (struct ek_forward){
        .magic = FORWARD_MAGIC, .model = model, .k = kernels, .kv = kv, .team = team,
        .rounding = activation == EK_ACT_Q8, .rows_max = rows_max, .logit_rows_max = logit_rows_max,
        .members = ek_team_size(team), .owned = calloc(OWNED_MAX, sizeof *f->owned),
        .looks = model->ahead.there && ek_kv_layers(kv) > model->shape.layers,
    };
    MUST(f->owned != NULL);
    own_rows(f);
    own_experts(f);
    own_scratch(f);
    MUST(f->n_owned <= OWNED_MAX);
    *out = f;
    for (size_t i = 0; i < f->n_owned; i++) {
        if (f->owned[i]) continue;
        ek_forward_free(out);
        return EK_NOMEM;
    }
    return EK_OK;
}

void ek_forward_free(struct ek_forward **fp)
{
    struct ek_forward *f = *fp;
    if (!f) return;
    MUST_OBJ(f, FORWARD_MAGIC);
    for (size_t i = 0; i < f->n_owned; i++) free(f->owned[i]);
    free(f->owned);
    f->magic = 0;
    free(f);
    *fp = NULL;
}

uint64_t ek_forward_scratch_bytes(const struct ek_forward *f) { return f->owned_bytes; }

void ek_forward_product(const struct ek_forward *f, const struct ek_matrix *w, size_t index,
                        size_t from, size_t n, struct act a, size_t m, float *y, size_t y_stride)
{
    struct ek_weight_rows rows = {a.x, a.x_stride, a.q, a.q_stride, m};
    ek_weight_product(f->k, w, index, from, n, &rows, y, y_stride);
}

struct linear_part {
    struct ek_forward *f;
    const struct ek_matrix *w;
    struct act a;
    size_t m;
    float *y;
    size_t y_stride;
};

static void linear_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    const struct linear_part *p = arg;
    size_t from, to;
    (void)member;
    ek_team_part(p->w->rows, COL_GRAIN, chunk, chunks, &from, &to);
    if (from < to) {
        ek_forward_product(p->f, p->w, 0, from, to - from, p->a, p->m, p->y + from, p->y_stride);
    }
}

void ek_forward_linear(struct ek_forward *f, const struct ek_matrix *w, struct act a, size_t m,
                       float *y, size_t y_stride)
{
    MUST(w->count == 1 && y_stride >= w->rows);
    struct linear_part part = {f, w, a, m, y, y_stride};
    double work = (double)w->rows * (double)w->cols * (double)m;
    ek_team_run(f->team, linear_chunk, &part, ek_team_chunks(f->team, work, w->rows / COL_GRAIN));
}

void ek_forward_turn(struct ek_forward *f, size_t r)
{
    const struct ek_shape *s = &f->model->shape;
    for (size_t i = 0; i < s->rope / 2; i++) {
        double angle = (double)f->place[r].position * f->model->rope_freq[i];
        f->cs[r * s->rope + 2 * i] = (float)(cos(angle) * f->model->rope_size);
        f->cs[r * s->rope + 2 * i + 1] = (float)(sin(angle) * f->model->rope_size);
    }
}

/* Embed a token and prepare the angles of its position. */
static void begin_row(struct ek_forward *f, size_t r, uint32_t id)
{
    const struct ek_shape *s = &f->model->shape;
    MUST(id < s->vocab);
    ek_weight_row(f->k, &f->model->embd, 0, id, f->x + r * s->embd);
    ek_forward_turn(f, r);
}

static void place_rows(struct ek_forward *f)
{
    f->M = f->G = f->wanted = 0;
    for (uint32_t i = 0; i < f->n_segments; i++) {
        const struct ek_segment *seg = &f->segments[i];
        MUST(seg->count > 0 && f->M + seg->count <= f->rows_max);
        MUST(seg->role == EK_ROLE_PROMPT || f->G == f->M); /* generated rows come first */
        for (uint32_t t = 0; t < seg->count; t++, f->M++) {
            f->place[f->M] = (struct row_place){.segment = i, .position = seg->seq->tokens + t};
            ek_kv_set_role(f->kv, seg->seq, seg->seq->tokens + t, seg->role);
            begin_row(f, f->M, seg->ids[t]);
            if (seg->role == EK_ROLE_GENERATED) f->G++;
            if (t < seg->logits_from) continue;
            MUST(f->wanted < f->logit_rows_max);
            f->want[f->wanted++] = (uint32_t)f->M;
        }
    }
}

struct norm_part {
    struct ek_forward *f;
    const float *gain;
    bool add;   /* delta belongs to x first */
    bool round; /* h goes into a feed-forward network */
};

/* x += delta; h = rmsnorm(x), for a feed-forward network also rounded. */
static void norm_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    const struct norm_part *p = arg;
    struct ek_forward *f = p->f;
    size_t E = f->model->shape.embd, from, to;
    (void)member;
    ek_team_part(f->M, 1, chunk, chunks, &from, &to);
    for (size_t r = from; r < to; r++) {
        float *x = f->x + r * E, *h = f->h.x + r * E;
        if (p->add) f->k->add(x, f->delta + r * E, E);
        f->k->rmsnorm(h, x, p->gain, E, f->model->shape.norm_eps);
        if (p->round && f->h.q) f->k->quant_q8(f->h.q + r * f->h.q_stride, h, E);
    }
}

void ek_forward_norm(struct ek_forward *f, const float *gain, bool add, bool round)
{
    struct norm_part p = {f, gain, add, round};
    double work = (double)f->M * f->model->shape.embd * 4;
    ek_team_run(f->team, norm_chunk, &p, ek_team_chunks(f->team, work, f->M));
}

/* The wanted rows move to the front of h; rows only ever move down, so none is overwritten early. */
static void output(struct ek_forward *f)
{
    const struct ek_shape *s = &f->model->shape;
    if (f->wanted == 0 && !f->looks) return;
    ek_forward_norm(f, f->model->out_norm, true, false);
    if (f->looks) {
        memcpy(f->told, f->h.x, f->M * s->embd * sizeof *f->told);
        memcpy(f->told_place, f->place, f->M * sizeof *f->told_place);
    }
    if (f->wanted == 0) return;
    for (size_t i = 0; i < f->wanted; i++) {
        size_t r = f->want[i];
        if (r != i) memcpy(f->h.x + i * s->embd, f->h.x + r * s->embd, s->embd * sizeof(float));
    }
    ek_forward_linear(f, &f->model->out, exact(f->h), f->wanted, f->logits, s->vocab);
}

const float *ek_forward_run(struct ek_forward *f, const struct ek_segment *segments, size_t n)
{
    MUST_OBJ(f, FORWARD_MAGIC);
    MUST(n > 0);
    f->segments = segments;
    f->n_segments = n;
    place_rows(f);
    for (uint32_t l = 0; l < f->model->shape.layers; l++) {
        f->layer_index = l;
        f->layer = &f->model->layers[l];
        ek_forward_norm(f, f->layer->attn_norm, l > 0, false);
        ek_forward_attention(f);
        ek_forward_norm(f, f->layer->ffn_norm, true, true);
        ek_forward_ffn(f);
    }
    output(f);
    for (size_t i = 0; i < n; i++) segments[i].seq->tokens += segments[i].count;
    return f->logits;
}
