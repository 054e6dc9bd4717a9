/* SPDX-License-Identifier: MIT */
/* The block that looks a token ahead, over rows of the step before.
 *
 *   x = join [ rmsnorm(embedding of the next token) | rmsnorm(what the model made of this one) ]
 *   x goes through one layer like the others (absorbed attention, whatever the row's role) and the head
 *
 * Its input is all that a KV row of the block depends on, for there is one layer: so a row that is not asked
 * for a guess costs two products, and prompts are kept in step almost for nothing. */
#include "engine/forward_priv.h"

bool ek_forward_looks(const struct ek_forward *f) { return f->looks; }

/* Both halves of what is joined, and the angles. A row keeps the position of the token the model saw. */
static void join_chunk(void *arg, unsigned chunk, unsigned chunks, unsigned member)
{
    struct ek_forward *f = arg;
    const struct ek_shape *s = &f->model->shape;
    const struct ek_ahead *a = &f->model->ahead;
    size_t E = s->embd, from, to;
    (void)member;
    ek_team_part(f->M, 1, chunk, chunks, &from, &to);
    for (size_t r = from; r < to; r++) {
        float *token = f->joined + r * 2 * E;
        ek_weight_row(f->k, &a->embd, 0, f->look[r].next, token);
        f->k->rmsnorm(token, token, a->token_norm, E, s->norm_eps);
        f->k->rmsnorm(token + E, f->told + f->look[r].row * E, a->hidden_norm, E, s->norm_eps);
        ek_forward_turn(f, r);
    }
}

/* Where the wanted rows stand now: a token further. */
static void move_on(struct ek_forward *f, size_t wanted)
{
    size_t E = f->model->shape.embd;
    for (size_t i = 0; i < wanted; i++) {
        size_t row = f->look[i].row;
        memcpy(f->told + row * E, f->h.x + i * E, E * sizeof *f->told);
        f->told_place[row].position++;
    }
}

const float *ek_forward_look(struct ek_forward *f, const struct ek_forward_look *looks, size_t n,
                             size_t wanted)
{
    const struct ek_ahead *a = &f->model->ahead;
    size_t E = f->model->shape.embd;
    MUST_OBJ(f, FORWARD_MAGIC);
    MUST(f->looks && n > 0 && n <= f->rows_max);
    MUST(wanted <= n && wanted <= f->logit_rows_max);
    f->look = looks;
    f->M = n;
    for (size_t i = 0; i < n; i++) {
        MUST(looks[i].row < f->rows_max && looks[i].next < f->model->shape.vocab);
        f->place[i] = f->told_place[looks[i].row];
    }
    f->layer = &a->layer;
    f->layer_index = f->model->shape.layers;
    ek_team_run(f->team, join_chunk, f, ek_team_chunks(f->team, (double)(n * E) * 12, n));
    struct act joined = {.x = f->joined, .x_stride = 2 * E};
    ek_forward_linear(f, &a->join, joined, n, f->x, E);
    ek_forward_norm(f, a->layer.attn_norm, false, false);
    if (wanted < n) ek_forward_latent_rows(f, wanted);
    if (wanted == 0) return f->logits;
    f->M = f->G = wanted;
    f->n_segments = 0; /* none with the role prompt; rows know their sequences by their places */
    ek_forward_attention(f);
    ek_forward_norm(f, a->layer.ffn_norm, true, true);
    ek_forward_ffn(f);
    ek_forward_norm(f, a->head_norm, true, false);
    move_on(f, wanted);
    ek_forward_linear(f, &a->out, exact(f->h), wanted, f->logits, f->model->shape.vocab);
    return f->logits;
}
