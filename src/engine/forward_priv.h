/* SPDX-License-Identifier: MIT */
/* What the files of the forward pass share: the state of a step and its scratch memory. A layer is a
 * sequence of parts run by the team; a part reads what earlier parts wrote and writes rows or columns
 * of its own. Letters as in model.h; M rows of a step, the first G of them with role generated. */
#ifndef EK_ENGINE_FORWARD_PRIV_H
#define EK_ENGINE_FORWARD_PRIV_H

#include "engine/forward.h"
#include "engine/route.h"

#define FORWARD_MAGIC 0xf0a3a4d5u

/* Rows ready to be multiplied: as floats, and (q not NULL) also rounded to int8 blocks, which quantised
 * weights then prefer. Only the inputs of feed-forward networks are ever rounded: there most of the
 * weights are. Rounding before attention and the output matrix too was measured on the golden models:
 * five times the divergence from the reference (micro-v3: KL 0.124 instead of 0.023). */
struct act {
    float *x;
    size_t x_stride; /* floats */
    struct ek_q8_block *q;
    size_t q_stride; /* blocks */
};

struct row_place {
    uint32_t segment;
    uint32_t position;
};

/* One feed-forward network with the rows that go through it: an expert, the shared one or a dense
 * layer's. Entries begin .. begin + count of the gathered rows, or all rows in place. */
struct unit {
    const struct ek_ffn *ffn;
    size_t index;         /* which of ffn's matrices */
    size_t begin, count;
    bool in_place;        /* rows are those of f->h, each with weight 1 */
    size_t hidden;        /* width */
    size_t hidden_at;     /* where its [count][hidden] begins in the hidden buffers */
    size_t first_task;
};

/* Scratch of one member of the team. */
struct member_scratch {
    float *latent; /* [64][C + R] of a page, widened; latent form only, as the next two */
    float *key;    /* [64][K] of one head */
    float *value;  /* [64][V] of one head */
    float *score;  /* [max(rows, H)][64] */
    float *max, *sum; /* [max(rows, H)] */
    float *down;   /* [rows * used][DOWN_COLS] */
    float *route;  /* [X + groups] */
};

enum { GATE_COLS = 64, DOWN_COLS = 64, HEAD_BLOCK = 16, COL_GRAIN = 16 };

struct ek_forward {
    uint32_t magic;
    const struct ek_model *model;
    const struct ek_kernels *k;
    struct ek_kv *kv;
    struct ek_team *team;
    bool rounding; /* activations are rounded to int8 before quantised weights */
    uint32_t rows_max, logit_rows_max;
    unsigned members; /* of the team */

    const struct ek_segment *segments; /* of this step */
    size_t n_segments, M, G, wanted;
    uint32_t layer_index;
    const struct ek_layer *layer;

    struct row_place *place; /* [M] */
    uint32_t *want;          /* [wanted]: rows that give logits */
    float *cs;               /* [M][R]: cosine, sine of each pair */
    float *x;                /* [M][E]: the residual stream */
    float *delta;            /* [M][E]: what the next part adds to x */
    struct act h;            /* [M][E]: normalised input of a part */
    struct act qa;           /* [M][Q] */
    float *q;                /* [M][H][K] */
    float *latent;           /* [M][C + R]; grouped form: keys and values [M][G K + G V] */
    struct act o;            /* [M][H][V] */
    float *q_abs;            /* [G][H][C + R]; latent form only, as the next */
    float *z;                /* [G][H][C] */
    float *router;           /* [M][X] */
    uint32_t *chosen;        /* [M][used] */
    float *weight;           /* [M][used] */
    uint32_t *entry_row;     /* [M * used], by expert */
    float *entry_weight;     /* [M * used] */
    uint32_t *expert_count;  /* [X + 1] */
    struct unit *units;      /* [X + 1] */
    size_t n_units;
    struct act gathered;     /* [M * used][E] */
    float *gate, *up;        /* hidden activations of all units */
    struct ek_q8_block *hidden_q;
    float *logits;           /* [wanted][vocab] */
    struct member_scratch *scratch; /* [team size] */

    bool looks;                     /* the rest is for the block ahead, and NULL without */
    struct row_place *told_place;   /* [rows of the step]: as after the step */
    float *told;                    /* [rows of the step][E]: what goes into the output matrix */
    float *joined;                  /* [M][2 E] */
    const struct ek_forward_look *look; /* [M] */

    void **owned;
    size_t n_owned;
    uint64_t owned_bytes;
};

/* y[r][c] = row r of a times rows [from, from + n) of w's matrix `index`; y at the first of them. */
void ek_forward_product(const struct ek_forward *f, const struct ek_matrix *w, size_t index,
                        size_t from, size_t n, struct act a, size_t m, float *y, size_t y_stride);

/* y [m][w->rows] = a w^T for all rows of a single matrix, split over the team by columns. */
void ek_forward_linear(struct ek_forward *f, const struct ek_matrix *w, struct act a, size_t m,
                       float *y, size_t y_stride);

/* x += delta if `add`; h = rmsnorm(x), and rounded too if `round`. All rows. */
void ek_forward_norm(struct ek_forward *f, const float *gain, bool add, bool round);

/* Cosines and sines for the place of row r. */
void ek_forward_turn(struct ek_forward *f, size_t r);

/* Row r of the step goes into the KV cache, rounded to its type. */
void ek_forward_store(const struct ek_forward *f, size_t r, const float *x, size_t n);

/* m queries against n stored rows from `rows` on, of which `cols` numbers count: score [m][page]. */
void ek_forward_page_scores(const struct ek_forward *f, float *score, const float *q, size_t q_stride,
                            size_t m, const void *rows, size_t n, size_t cols);
/* out [dim] = out * corr + sum of p[t] times stored row t. */
void ek_forward_page_mix(const struct ek_forward *f, float *out, float corr, const float *p,
                         const void *rows, size_t n, size_t dim);
void ek_forward_divide(float *out, size_t n, float sum);

/* Rows [r, r + ...) of an act. */
static inline struct act act_at(struct act a, size_t row)
{
    a.x += row * a.x_stride;
    if (a.q) a.q += row * a.q_stride;
    return a;
}

/* The same rows without their rounded form. */
static inline struct act exact(struct act a)
{
    a.q = NULL;
    return a;
}

void ek_forward_attention(struct ek_forward *f); /* f->h -> f->delta, and the KV rows of the layer */
void ek_forward_latent(struct ek_forward *f);    /* the same, for one form of it each */
void ek_forward_grouped(struct ek_forward *f);
void ek_forward_latent_rows(struct ek_forward *f, size_t from); /* the KV rows alone, of rows from there on */
void ek_forward_ffn(struct ek_forward *f);       /* f->h -> f->delta */

#endif
