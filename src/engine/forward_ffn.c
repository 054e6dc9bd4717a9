/* SPDX-License-Identifier: MIT */
/* The feed-forward half of a layer: one network for all rows, or experts.
 *
 * Experts: route every row once, sort the (row, expert) entries by expert, and let each expert read its
 * weights once for all its rows. Two parts of work, one barrier between them:
 *   gate and up   a task is an expert and a stretch of its hidden columns: silu(gate x) * up x
 *   down          a task is a stretch of output columns: all experts in ascending order, the shared
 *                 one last, each added with its weight
 * A task of the second part owns its output columns, so sums have one order, whoever computes them. */
#include "engine/forward_priv.h"

/* Router products and choice for each row, always in f32. */
static void route_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    const struct ek_shape *s = &f->model->shape;
    size_t from, to;
    ek_team_part(f->M, 1, chunk, chunks, &from, &to);
    for (size_t r = from; r < to; r++) {
        struct act h = {.x = f->h.x + r * s->embd, .x_stride = s->embd};
        float *logits = f->router + r * s->experts;
        ek_forward_product(f, &f->layer->router, 0, 0, s->experts, h, 1, logits, s->experts);
        ek_route(s, f->k, logits, f->layer->router_bias, f->scratch[member].route,
                 f->chosen + r * s->experts_used, f->weight + r * s->experts_used);
    }
}

/* Entries sorted by expert (counting sort, rows ascending within one), and a unit for each expert
 * that has any. */
static void sort_entries(struct ek_forward *f)
{
    const struct ek_shape *s = &f->model->shape;
    size_t used = s->experts_used, at = 0, hidden_at = 0;
    memset(f->expert_count, 0, (s->experts + 1) * sizeof *f->expert_count);
    for (size_t i = 0; i < f->M * used; i++) f->expert_count[f->chosen[i]]++;
    f->n_units = 0;
    for (uint32_t e = 0; e < s->experts; e++) {
        size_t count = f->expert_count[e];
        f->expert_count[e] = (uint32_t)at; /* from here on: where its next entry goes */
        if (count == 0) continue;
        f->units[f->n_units++] = (struct unit){
            .ffn = &f->layer->experts, .index = e, .begin = at, .count = count,
            .hidden = s->expert_ff, .hidden_at = hidden_at,
        };
        at += count;
        hidden_at += count * s->expert_ff;
    }
    MUST(at == f->M * used);
    for (size_t i = 0; i < f->M * used; i++) {
        uint32_t entry = f->expert_count[f->chosen[i]]++;
        f->entry_row[entry] = (uint32_t)(i / used);
        f->entry_weight[entry] = f->weight[i];
    }
    if (!f->layer->shared.gate.data) return;
    f->units[f->n_units++] = (struct unit){
        .ffn = &f->layer->shared, .count = f->M, .in_place = true, .hidden = s->shared_ff,
        .hidden_at = hidden_at,
    };
}

/* Rows of h beside each other in the order of entries. */
static void gather_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    const struct ek_shape *s = &f->model->shape;
    size_t from, to;
    (void)member;
    ek_team_part(f->M * s->experts_used, 1, chunk, chunks, &from, &to);
    for (size_t i = from; i < to; i++) {
        size_t r = f->entry_row[i];
        if (f->gathered.x) {
            memcpy(f->gathered.x + i * s->embd, f->h.x + r * s->embd, s->embd * sizeof(float));
        }
        if (f->gathered.q) {
            memcpy(f->gathered.q + i * f->h.q_stride, f->h.q + r * f->h.q_stride,
                   f->h.q_stride * sizeof *f->h.q);
        }
    }
}

/* The hidden activations of a unit, ready for the down product. */
static struct act hidden_of(const struct ek_forward *f, const struct unit *u)
{
    struct act a = {.x = f->gate + u->hidden_at, .x_stride = u->hidden};
    if (f->rounding && u->hidden % EK_Q8_BLOCK == 0 && ek_weight_takes_q8(u->ffn->down.type)) {
        /* hidden_at is a multiple of 32 whenever all widths are; such down weights make them so. */
        a.q = f->hidden_q + u->hidden_at / EK_Q8_BLOCK;
        a.q_stride = u->hidden / EK_Q8_BLOCK;
    }
    return a;
}

static void gate_up_task(struct ek_forward *f, const struct unit *u, size_t from)
{
    size_t n = u->hidden - from < GATE_COLS ? u->hidden - from : GATE_COLS;
    struct act x = u->in_place ? f->h : act_at(f->gathered, u->begin), hidden = hidden_of(f, u);
    float *gate = f->gate + u->hidden_at + from, *up = f->up + u->hidden_at + from;
    ek_forward_product(f, &u->ffn->gate, u->index, from, n, x, u->count, gate, u->hidden);
    ek_forward_product(f, &u->ffn->up, u->index, from, n, x, u->count, up, u->hidden);
    for (size_t i = 0; i < u->count; i++) {
        f->k->silu_mul(gate + i * u->hidden, gate + i * u->hidden, up + i * u->hidden, n);
        if (!hidden.q) continue;
        f->k->quant_q8(hidden.q + i * hidden.q_stride + from / EK_Q8_BLOCK, gate + i * u->hidden, n);
    }
}

static size_t number_tasks(struct ek_forward *f)
{
    size_t tasks = 0;
    for (size_t i = 0; i < f->n_units; i++) {
        f->units[i].first_task = tasks;
        tasks += (f->units[i].hidden + GATE_COLS - 1) / GATE_COLS;
    }
    return tasks;
}

static void gate_up_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    (void)member;
    for (size_t i = 0; i < f->n_units; i++) {
        const struct unit *u = &f->units[i];
        size_t tasks = (u->hidden + GATE_COLS - 1) / GATE_COLS;
        for (size_t t = 0; t < tasks; t++) {
            if ((u->first_task + t) % chunks == chunk) gate_up_task(f, u, t * GATE_COLS);
        }
    }
}

static void down_columns(struct ek_forward *f, size_t from, size_t n, float *out)
{
    size_t E = f->model->shape.embd;
    for (size_t r = 0; r < f->M; r++) memset(f->delta + r * E + from, 0, n * sizeof(float));
    for (size_t i = 0; i < f->n_units; i++) {
        const struct unit *u = &f->units[i];
        struct act hidden = hidden_of(f, u);
        ek_forward_product(f, &u->ffn->down, u->index, from, n, hidden, u->count, out, n);
        for (size_t e = 0; e < u->count; e++) {
            size_t r = u->in_place ? e : f->entry_row[u->begin + e];
            float weight = u->in_place ? 1 : f->entry_weight[u->begin + e];
            f->k->axpy(f->delta + r * E + from, weight, out + e * n, n);
        }
    }
}

static void down_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    size_t E = f->model->shape.embd, from, to;
    ek_team_part(E, COL_GRAIN, chunk, chunks, &from, &to);
    for (size_t c = from; c < to; c += DOWN_COLS) {
        down_columns(f, c, to - c < DOWN_COLS ? to - c : DOWN_COLS, f->scratch[member].down);
    }
}

static void choose_units(struct ek_forward *f)
{
    const struct ek_shape *s = &f->model->shape;
    if (f->layer->dense.gate.data) {
        f->n_units = 1;
        f->units[0] = (struct unit){
            .ffn = &f->layer->dense, .count = f->M, .in_place = true, .hidden = s->ff,
        };
        return;
    }
    double work = (double)f->M * s->experts * s->embd;
    ek_team_run(f->team, route_chunk, f, ek_team_chunks(f->team, work, f->M));
    sort_entries(f);
    size_t entries = f->M * s->experts_used;
    ek_team_run(f->team, gather_chunk, f,
                ek_team_chunks(f->team, (double)entries * s->embd, entries));
}

void ek_forward_ffn(struct ek_forward *f)
{
    double work = 0;
    MUST(f->M > 0);
    choose_units(f);
    size_t tasks = number_tasks(f);
    for (size_t i = 0; i < f->n_units; i++) {
        work += (double)f->units[i].count * (double)f->units[i].hidden * f->model->shape.embd;
    }
    ek_team_run(f->team, gate_up_chunk, f, ek_team_chunks(f->team, 2 * work, tasks));
    ek_team_run(f->team, down_chunk, f,
                ek_team_chunks(f->team, work, f->model->shape.embd / COL_GRAIN));
}
