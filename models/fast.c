/* SPDX-License-Identifier: MIT */
/* The training step's arithmetic on AMX, or AVX-512 with bfloat16: fast.py compiles this file and calls it.
 *
 * Each exported function is half a block of the network, forward or backward, on sequences that lie
 * one behind the other without padding. Numbers between the halves are float, numbers inside matrix
 * products bfloat16, sums float: what autocast does, without writing down what lies between. Owns a
 * scratch arena. Never used to answer questions: net.py alone says what the network is.
 */
#include "fast.h"

/* ---- attention -------------------------------------------------------------------------------- */

struct span { long from, length, padded; };           /* one sequence among all tokens */

/* One head of one sequence, ready for products: queries turned and scaled, keys turned, values. */
struct head { bf *q, *k, *v; };

static void turned(const bf *s, const float *cs, float scale, bf *d, long rope)
{
    for (long i = 0; i < rope; i += 2) {
        uint32_t ua = (uint32_t)s[i] << 16, ub = (uint32_t)s[i + 1] << 16;
        float a, b, o[2];
        memcpy(&a, &ua, 4);
        memcpy(&b, &ub, 4);
        o[0] = (a * cs[i] - b * cs[i + 1]) * scale;
        o[1] = (a * cs[i + 1] + b * cs[i]) * scale;
        for (int x = 0; x < 2; x++) {
            uint32_t u;
            memcpy(&u, &o[x], 4);
            d[i + x] = (bf)((u + 0x7fff + (u >> 16 & 1)) >> 16);
        }
    }
}

/* kr: the turned rotary keys, the same for each head. */
static struct head head_of(const struct shape *s, struct span at, long h, const bf *q, const bf *kv,
                           const bf *kr, const float *turns)
{
    long wide = s->nope + s->rope, all = s->heads * (s->nope + s->value);
    float scale = 1.0f / sqrtf((float)wide);
    struct head d = {take((size_t)(at.padded * wide) * 2), take((size_t)(at.padded * wide) * 2),
                     take((size_t)(at.padded * s->value) * 2)};
    for (long r = 0; r < at.length; r++) {
        const bf *from = q + (at.from + r) * s->heads * wide + h * wide;
        for (long i = 0; i < s->nope; i += 16)
            put(d.q + r * wide + i, _mm512_mul_ps(get(from + i), _mm512_set1_ps(scale)));
        turned(from + s->nope, turns + r * s->rope, scale, d.q + r * wide + s->nope, s->rope);
        from = kv + (at.from + r) * all;
        memcpy(d.k + r * wide, from + h * s->nope, (size_t)s->nope * 2);
        memcpy(d.k + r * wide + s->nope, kr + r * s->rope, (size_t)s->rope * 2);
        memcpy(d.v + r * s->value, from + s->heads * s->nope + h * s->value, (size_t)s->value * 2);
    }
    size_t more = (size_t)(at.padded - at.length) * 2;
    memset(d.q + at.length * wide, 0, more * (size_t)wide);
    memset(d.k + at.length * wide, 0, more * (size_t)wide);
    memset(d.v + at.length * s->value, 0, more * (size_t)s->value);
    return d;
}

/* 32 rows of scores, of which row r sees its first `sees + r`, -> probabilities */
static void softmax(float *score, long n, long sees, long valid, bf *p, long ldp)
{
    for (long r = 0; r < 32; r++) {
        float *row = score + r * n;
        long seen = r < valid ? sees + r : 0;
        float sum = powers(row, n, seen);
        __m512 scale = _mm512_set1_ps(seen ? 1.0f / sum : 0.0f);
        for (long i = 0; i < n; i += 16)
            put(p + r * ldp + i, _mm512_mul_ps(_mm512_loadu_ps(row + i), scale));
    }
}

static void attend_head(const struct shape *s, struct span at, long h, struct head d, bf *p, bf *out)
{
    long wide = s->nope + s->rope, n = at.padded, v = s->value;
    const uint32_t *kt = pack_columns(wide, n, d.k, wide), *vp = pack_rows(n, v, d.v, v);
    float *score = take((size_t)n * 32 * 4);
    bf *part = take((size_t)v * 32 * 2);
    for (long i = 0; i < n; i += 32) {
        product(32, i + 32, wide, rows_of(d.q + i * wide, wide), kt, wide * 8, score, i + 32, HOW_STORE);
        softmax(score, i + 32, i + 1, at.length - i, p + i * n, n);
        product(32, v, i + 32, rows_of(p + i * n, n), vp, n * 8, part, v, HOW_ROUND);
        for (long r = 0; r < 32 && i + r < at.length; r++)
            memcpy(out + (at.from + i + r) * s->heads * v + h * v, part + r * v, (size_t)v * 2);
    }
}

struct back { float *dq, *dk, *dv; };                 /* gradients of one head, [padded][...] */

static struct back attend_head_back(const struct shape *s, struct span at, struct head d, const bf *p,
                                    const bf *dout)
{
    long wide = s->nope + s->rope, n = at.padded, v = s->value;
    struct back b = {take((size_t)(n * wide) * 4), take((size_t)(n * wide) * 4), take((size_t)(n * v) * 4)};
    const uint32_t *vt = pack_columns(v, n, d.v, v), *kp = pack_rows(n, wide, d.k, wide);
    float *dp = take((size_t)n * 32 * 4);
    bf *ds = take((size_t)(n * n) * 2);
    for (long i = 0; i < n; i += 32) {
        long w = i + 32;
        product(32, w, v, rows_of(dout + i * v, v), vt, v * 8, dp, w, HOW_STORE);
        for (long r = 0; r < 32; r++) {
            const bf *pr = p + (i + r) * n;
            __m512 sum = _mm512_setzero_ps();
            for (long j = 0; j < w; j += 16)
                sum = _mm512_fmadd_ps(get(pr + j), _mm512_loadu_ps(dp + r * w + j), sum);
            __m512 all = _mm512_set1_ps(_mm512_reduce_add_ps(sum));
            for (long j = 0; j < w; j += 16)
                put(ds + (i + r) * n + j, _mm512_mul_ps(get(pr + j),
                    _mm512_sub_ps(_mm512_loadu_ps(dp + r * w + j), all)));
        }
        product(32, wide, w, rows_of(ds + i * n, n), kp, n * 8, b.dq + i * wide, wide, HOW_STORE);
    }
    const uint32_t *qp = pack_rows(n, wide, d.q, wide), *op = pack_rows(n, v, dout, v);
    struct left dst = transposed(n, n, ds, n), pt = transposed(n, n, p, n);
    for (long i = 0; i < n; i += 32) {                /* what stands above the diagonal was never written */
        long tile = i * n + i * 16;
        product(32, wide, n - i, (struct left){dst.at + tile, 0, n}, qp + i * 8, n * 8, b.dk + i * wide, wide,
                HOW_STORE);
        product(32, v, n - i, (struct left){pt.at + tile, 0, n}, op + i * 8, n * 8, b.dv + i * v, v,
                HOW_STORE);
    }
    return b;
}

/* The turn backwards; g [rope] -> d */
static void unturned(const float *g, const float *cs, float scale, float *d, long rope)
{
    for (long i = 0; i < rope; i += 2) {
        d[i] = (g[i] * cs[i] + g[i + 1] * cs[i + 1]) * scale;
        d[i + 1] = (g[i + 1] * cs[i] - g[i] * cs[i + 1]) * scale;
    }
}

static void back_to(const struct shape *s, struct span at, long h, struct back b, const float *turns,
                    bf *dq, bf *dkv, float *dkr)
{
    long wide = s->nope + s->rope, all = s->heads * (s->nope + s->value);
    float scale = 1.0f / sqrtf((float)wide), row[256];
    for (long r = 0; r < at.length; r++) {
        for (long i = 0; i < s->nope; i++) row[i] = b.dq[r * wide + i] * scale;
        unturned(b.dq + r * wide + s->nope, turns + r * s->rope, scale, row + s->nope, s->rope);
        narrow(wide, row, dq + (at.from + r) * s->heads * wide + h * wide);
        narrow(s->nope, b.dk + r * wide, dkv + (at.from + r) * all + h * s->nope);
        narrow(s->value, b.dv + r * s->value, dkv + (at.from + r) * all + s->heads * s->nope + h * s->value);
        for (long i = 0; i < s->rope; i++) dkr[r * s->rope + i] += b.dk[r * wide + s->nope + i];
    }
}

/* The upper rows make keys, the lower values, as net.Attention has them. */
static float *keys_and_values(const struct shape *s, const float *kb, const float *vb)
{
    long c = s->kv_lora, k = s->heads * s->nope;
    float *w = take((size_t)((k + s->heads * s->value) * c) * 4);
    for (long h = 0; h < s->heads; h++)
        for (long i = 0; i < c; i++)
            for (long j = 0; j < s->nope; j++) w[(h * s->nope + j) * c + i] = kb[(h * c + i) * s->nope + j];
    memcpy(w + k * c, vb, (size_t)(s->heads * s->value * c) * 4);
    return w;
}

/* Order of the pointers for attention; the first eight weights, then what forward leaves for backward. */
struct attention {
    const float *norm, *q_a, *q_a_norm, *q_b, *kv_a, *kv_a_norm, *k_b, *v_b, *output, *turns;
    bf *y;
    float *inverse, *qa, *qa_inverse;
    bf *qn, *q;
    float *kva, *kva_inverse;
    bf *latent, *kv, *o, *p;
};

static void rotary_keys(const struct shape *s, struct span at, const struct attention *a, bf *kr)
{
    long w = s->kv_lora + s->rope;
    bf row[256];
    for (long r = 0; r < at.length; r++) {
        narrow(s->rope, a->kva + (at.from + r) * w + s->kv_lora, row);
        turned(row, a->turns + r * s->rope, 1.0f, kr + r * s->rope, s->rope);
    }
}

/* x [n][dim] -> out = x + attention(norm(x)); sequences: `count` lengths, which sum to n */
void attention_forward(const struct shape *s, long n, long count, const long *lengths,
                       const float *x, float *out, struct attention *a)
{
    long wide = s->heads * (s->nope + s->rope), kvw = s->kv_lora + s->rope;
    begin();
    norm(n, s->dim, x, s->dim, a->norm, a->y, a->inverse);
    linear(n, s->q_lora, s->dim, a->y, a->q_a, a->qa, HOW_STORE);
    norm(n, s->q_lora, a->qa, s->q_lora, a->q_a_norm, a->qn, a->qa_inverse);
    linear(n, wide, s->q_lora, a->qn, a->q_b, a->q, HOW_ROUND);
    linear(n, kvw, s->dim, a->y, a->kv_a, a->kva, HOW_STORE);
    norm(n, s->kv_lora, a->kva, kvw, a->kv_a_norm, a->latent, a->kva_inverse);
    linear(n, s->heads * (s->nope + s->value), s->kv_lora, a->latent,
           keys_and_values(s, a->k_b, a->v_b), a->kv, HOW_ROUND);
    bf *p = a->p;
    struct span at = {0, 0, 0};
    for (long c = 0; c < count; c++, at.from += at.length) {
        size_t before = taken;
        at.length = lengths[c];
        at.padded = (at.length + 31) & ~31L;
        bf *kr = take((size_t)(at.length * s->rope) * 2);
        rotary_keys(s, at, a, kr);
        for (long h = 0; h < s->heads; h++, p += at.padded * at.padded) {
            size_t inner = taken;
            attend_head(s, at, h, head_of(s, at, h, a->q, a->kv, kr, a->turns), p, a->o);
            taken = inner;
        }
        taken = before;
    }
    memcpy(out, x, (size_t)(n * s->dim) * 4);
    linear(n, s->dim, s->heads * s->value, a->o, a->output, out, HOW_ADD);
    end();
}

struct attention_grad { float *norm, *q_a, *q_a_norm, *q_b, *kv_a, *kv_a_norm, *k_b, *v_b, *output; };

static void sequence_back(const struct shape *s, struct span at, const struct attention *a, const bf *p,
                          const bf *d_o, bf *dq, bf *dkv, bf *dkva)
{
    long v = s->value, kvw = s->kv_lora + s->rope;
    bf *kr = take((size_t)(at.length * s->rope) * 2), *dout = take((size_t)(at.padded * v) * 2);
    float *dkr = take((size_t)(at.length * s->rope) * 4), row[256];
    rotary_keys(s, at, a, kr);
    memset(dkr, 0, (size_t)(at.length * s->rope) * 4);
    memset(dout, 0, (size_t)(at.padded * v) * 2);
    for (long h = 0; h < s->heads; h++, p += at.padded * at.padded) {
        size_t before = taken;
        for (long r = 0; r < at.length; r++)
            memcpy(dout + r * v, d_o + (at.from + r) * s->heads * v + h * v, (size_t)v * 2);
        struct head d = head_of(s, at, h, a->q, a->kv, kr, a->turns);
        back_to(s, at, h, attend_head_back(s, at, d, p, dout), a->turns, dq, dkv, dkr);
        taken = before;
    }
    for (long r = 0; r < at.length; r++) {
        unturned(dkr + r * s->rope, a->turns + r * s->rope, 1.0f, row, s->rope);
        narrow(s->rope, row, dkva + (at.from + r) * kvw + s->kv_lora);
    }
}

void attention_backward(const struct shape *s, long n, long count, const long *lengths, const float *x,
                        const float *g, float *dx, struct attention *a, struct attention_grad *d)
{
    long wide = s->heads * (s->nope + s->rope), kvw = s->kv_lora + s->rope, ov = s->heads * s->value;
    long all = s->heads * (s->nope + s->value), c = s->kv_lora;
    begin();
    const bf *gb = narrowed(n * s->dim, g), *p = a->p;
    bf *d_o = take((size_t)(n * ov) * 2), *dq = take((size_t)(n * wide) * 2);
    bf *dkv = take((size_t)(n * all) * 2), *dkva = take((size_t)(n * kvw) * 2);
    bf *dqa = take((size_t)(n * s->q_lora) * 2);
    float *inner = take((size_t)(n * s->dim) * 4), *dw = take((size_t)(all * c) * 4);
    linear_back(n, s->dim, ov, a->o, a->output, gb, d_o, HOW_ROUND, d->output);
    struct span at = {0, 0, 0};
    for (long i = 0; i < count; i++, at.from += at.length) {
        size_t before = taken;
        at.length = lengths[i];
        at.padded = (at.length + 31) & ~31L;
        sequence_back(s, at, a, p, d_o, dq, dkv, dkva);
        p += at.padded * at.padded * s->heads;
        taken = before;
    }
    linear_back(n, all, c, a->latent, keys_and_values(s, a->k_b, a->v_b), dkv, inner, HOW_STORE, dw);
    for (long h = 0; h < s->heads; h++)
        for (long i = 0; i < c; i++)
            for (long j = 0; j < s->nope; j++)
                d->k_b[(h * c + i) * s->nope + j] = dw[(h * s->nope + j) * c + i];
    memcpy(d->v_b, dw + s->heads * s->nope * c, (size_t)(s->heads * s->value * c) * 4);
    norm_back(n, c, a->kva, kvw, a->kv_a_norm, a->kva_inverse, inner, NULL, NULL, dkva, kvw, d->kv_a_norm);
    linear_back(n, wide, s->q_lora, a->qn, a->q_b, dq, inner, HOW_STORE, d->q_b);
    norm_back(n, s->q_lora, a->qa, s->q_lora, a->q_a_norm, a->qa_inverse, inner, NULL, NULL, dqa,
              s->q_lora, d->q_a_norm);
    linear_back(n, s->q_lora, s->dim, a->y, a->q_a, dqa, inner, HOW_STORE, d->q_a);
    linear_back(n, kvw, s->dim, a->y, a->kv_a, dkva, inner, HOW_ADD, d->kv_a);
    norm_back(n, s->dim, x, s->dim, a->norm, a->inverse, inner, g, dx, NULL, 0, d->norm);
    end();
}

/* ---- gated feed-forward ------------------------------------------------------------------------ */

struct glu { const float *gate, *up, *down; };
struct glu_grad { float *gate, *up, *down; };

/* y (float, how) from x [n][dim]; keeps gate and up [n][2 ff] and their product [n][ff] */
static void glu(long n, long dim, long ff, const bf *x, struct glu w, bf *h, bf *act, void *y, int how)
{
    size_t before = taken;
    bf *both = take((size_t)(2 * ff * dim) * 2);
    narrow(ff * dim, w.gate, both);
    narrow(ff * dim, w.up, both + ff * dim);
    product(n, 2 * ff, dim, rows_of(x, dim), pack_columns(dim, 2 * ff, both, dim), dim * 8, h, 2 * ff,
            HOW_ROUND);
    for (long r = 0; r < n; r++)
        for (long i = 0; i < ff; i += 16) {
            __m512 g = get(h + r * 2 * ff + i), u = get(h + r * 2 * ff + ff + i);
            put(act + r * ff + i, _mm512_mul_ps(_mm512_mul_ps(g, sigmoid(g)), u));
        }
    linear(n, dim, ff, act, w.down, y, how);
    taken = before;
}

/* dx (float, stored) and the weights' gradients, overwritten; h becomes its own gradient */
static void glu_back(long n, long dim, long ff, const bf *x, struct glu w, bf *h, const bf *act,
                     const bf *dy, float *dx, struct glu_grad d)
{
    size_t before = taken;
    bf *dact = take((size_t)(n * ff) * 2), *both = take((size_t)(2 * ff * dim) * 2);
    float *dboth = take((size_t)(2 * ff * dim) * 4);
    linear_back(n, dim, ff, act, w.down, dy, dact, HOW_ROUND, d.down);
    for (long r = 0; r < n; r++)
        for (long i = 0; i < ff; i += 16) {
            bf *hg = h + r * 2 * ff + i, *hu = hg + ff;
            __m512 x0 = get(hg), up = get(hu), da = get(dact + r * ff + i), sig = sigmoid(x0);
            __m512 silu = _mm512_mul_ps(x0, sig);
            __m512 slope = _mm512_add_ps(sig, _mm512_fnmadd_ps(silu, sig, silu));
            put(hg, _mm512_mul_ps(_mm512_mul_ps(da, up), slope));
            put(hu, _mm512_mul_ps(da, silu));
        }
    narrow(ff * dim, w.gate, both);
    narrow(ff * dim, w.up, both + ff * dim);
    product(n, dim, 2 * ff, rows_of(h, 2 * ff), pack_rows(2 * ff, dim, both, dim), 2 * ff * 8, dx, dim,
            HOW_STORE);
    product(2 * ff, dim, n, transposed(n, 2 * ff, h, 2 * ff), pack_rows(n, dim, x, dim), n * 8, dboth,
            dim, HOW_STORE);
    memcpy(d.gate, dboth, (size_t)(ff * dim) * 4);
    memcpy(d.up, dboth + ff * dim, (size_t)(ff * dim) * 4);
    taken = before;
}

struct dense { const float *norm; struct glu w; bf *y; float *inverse; bf *h, *act; };

void dense_forward(const struct shape *s, long n, const float *x, float *out, struct dense *a)
{
    begin();
    norm(n, s->dim, x, s->dim, a->norm, a->y, a->inverse);
    memcpy(out, x, (size_t)(n * s->dim) * 4);
    glu(n, s->dim, s->ff, a->y, a->w, a->h, a->act, out, HOW_ADD);
    end();
}

void dense_backward(const struct shape *s, long n, const float *x, const float *g, float *dx,
                    struct dense *a, struct glu_grad *d, float *dnorm)
{
    begin();
    float *inner = take((size_t)(n * s->dim) * 4);
    glu_back(n, s->dim, s->ff, a->y, a->w, a->h, a->act, narrowed(n * s->dim, g), inner, *d);
    norm_back(n, s->dim, x, s->dim, a->norm, a->inverse, inner, g, dx, NULL, 0, dnorm);
    end();
}

/* ---- experts ------------------------------------------------------------------------------------
 *
 * Every (token, expert) pair has a place: experts one behind the other, each padded to 32 rows.
 */

struct experts {
    const float *norm, *router, *bias;
    struct glu w, shared;
    bf *y;
    float *inverse, *p, *weight;                      /* [n][used]: what the router said, and what counts */
    int32_t *chosen, *place;                          /* [n][used] */
    long *rows;                                       /* [experts]: padded */
    bf *x, *h, *act, *out, *sh, *sact;
    float *load;                                      /* [experts]: tokens */
};

static void choose(const struct shape *s, const float *p, const float *bias, int32_t *chosen)
{
    long each = s->experts / s->groups;
    float score[64], group[64];
    MUST(s->experts <= 64 && each >= 2);
    for (long g = 0; g < s->groups; g++) {
        float first = -1e30f, second = -1e30f;
        for (long i = g * each; i < (g + 1) * each; i++) {
            score[i] = p[i] + bias[i];
            if (score[i] > first) second = first, first = score[i];
            else if (score[i] > second) second = score[i];
        }
        group[g] = first + second;
    }
    for (long k = s->groups_used; k < s->groups; k++) {          /* close the least promising */
        long worst = 0;
        for (long g = 1; g < s->groups; g++) if (group[g] < group[worst]) worst = g;
        group[worst] = 1e30f;
        for (long i = worst * each; i < (worst + 1) * each; i++) score[i] = -1e30f;
    }
    for (long k = 0; k < s->used; k++) {
        long best = 0;
        for (long i = 1; i < s->experts; i++) if (score[i] > score[best]) best = i;
        chosen[k] = (int32_t)best;
        score[best] = -2e30f;
    }
}

static void route(const struct shape *s, long n, float scale, struct experts *a)
{
    for (long e = 0; e < s->experts; e++) a->load[e] = 0;
    for (long t = 0; t < n; t++) {
        float p[64], sum = 0;
        for (long e = 0; e < s->experts; e++) {
            __m512 dot = _mm512_setzero_ps();
            for (long i = 0; i < s->dim; i += 16)
                dot = _mm512_fmadd_ps(get(a->y + t * s->dim + i), _mm512_loadu_ps(a->router + e * s->dim + i),
                                      dot);
            p[e] = 1.0f / (1.0f + expf(-_mm512_reduce_add_ps(dot)));
        }
        choose(s, p, a->bias, a->chosen + t * s->used);
        for (long k = 0; k < s->used; k++) sum += a->p[t * s->used + k] = p[a->chosen[t * s->used + k]];
        for (long k = 0; k < s->used; k++) {
            a->weight[t * s->used + k] = a->p[t * s->used + k] / sum * scale;
            a->load[a->chosen[t * s->used + k]] += 1;
        }
    }
}

static void gather(const struct shape *s, long n, struct experts *a)
{
    long next[64], at = 0;
    for (long e = 0; e < s->experts; e++) {
        long count = (long)a->load[e];
        a->rows[e] = (count + 31) & ~31L;
        next[e] = at;
        memset(a->x + (at + count) * s->dim, 0, (size_t)((a->rows[e] - count) * s->dim) * 2);
        at += a->rows[e];
    }
    for (long i = 0; i < n * s->used; i++) {
        a->place[i] = (int32_t)next[a->chosen[i]]++;
        memcpy(a->x + a->place[i] * s->dim, a->y + i / s->used * s->dim, (size_t)s->dim * 2);
    }
}

static struct glu expert(const struct shape *s, struct glu w, long e)
{
    long size = e * s->ff * s->dim;
    return (struct glu){w.gate + size, w.up + size, w.down + size};
}

void experts_forward(const struct shape *s, long n, float scale, const float *x, float *out,
                     struct experts *a)
{
    begin();
    norm(n, s->dim, x, s->dim, a->norm, a->y, a->inverse);
    route(s, n, scale, a);
    gather(s, n, a);
    for (long e = 0, at = 0; e < s->experts; at += a->rows[e++])
        glu(a->rows[e], s->dim, s->ff, a->x + at * s->dim, expert(s, a->w, e), a->h + at * 2 * s->ff,
            a->act + at * s->ff, a->out + at * s->dim, HOW_ROUND);
    memcpy(out, x, (size_t)(n * s->dim) * 4);
    glu(n, s->dim, s->ff, a->y, a->shared, a->sh, a->sact, out, HOW_ADD);
    for (long i = 0; i < n * s->used; i++) {
        const bf *from = a->out + a->place[i] * s->dim;
        float *to = out + i / s->used * s->dim;
        for (long j = 0; j < s->dim; j += 16)
            _mm512_storeu_ps(to + j, _mm512_fmadd_ps(_mm512_set1_ps(a->weight[i]), get(from + j),
                                                     _mm512_loadu_ps(to + j)));
    }
    end();
}

static long places(const struct shape *s, const struct experts *a)
{
    long all = 0;
    for (long e = 0; e < s->experts; e++) all += a->rows[e];
    return all;
}

/* The gradient of each place, and (into `dweight`) that of its weight */
static bf *spread(const struct shape *s, long n, const float *g, const struct experts *a, float *dweight)
{
    long rows = places(s, a);
    bf *dy = take((size_t)(rows * s->dim) * 2);
    memset(dy, 0, (size_t)(rows * s->dim) * 2);
    for (long i = 0; i < n * s->used; i++) {
        const float *from = g + i / s->used * s->dim;
        const bf *was = a->out + a->place[i] * s->dim;
        __m512 dot = _mm512_setzero_ps();
        for (long j = 0; j < s->dim; j += 16) {
            __m512 v = _mm512_loadu_ps(from + j);
            dot = _mm512_fmadd_ps(v, get(was + j), dot);
            put(dy + a->place[i] * s->dim + j, _mm512_mul_ps(v, _mm512_set1_ps(a->weight[i])));
        }
        dweight[i] = _mm512_reduce_add_ps(dot);
    }
    return dy;
}

/* Adds to dy [n][dim] what comes back through the chosen weights; drouter is overwritten */
static void route_back(const struct shape *s, long n, float scale, const struct experts *a,
                       const float *dweight, float *dy, float *drouter)
{
    memset(drouter, 0, (size_t)(s->experts * s->dim) * 4);
    for (long t = 0; t < n; t++) {
        const float *p = a->p + t * s->used, *dw = dweight + t * s->used;
        float sum = 0, pull = 0;
        for (long k = 0; k < s->used; k++) sum += p[k];
        for (long k = 0; k < s->used; k++) pull += dw[k] * p[k] / sum;
        for (long k = 0; k < s->used; k++) {
            long e = a->chosen[t * s->used + k];
            __m512 d = _mm512_set1_ps(scale * (dw[k] - pull) / sum * p[k] * (1.0f - p[k]));
            float *to = dy + t * s->dim, *dr = drouter + e * s->dim;
            for (long j = 0; j < s->dim; j += 16) {
                _mm512_storeu_ps(to + j, _mm512_fmadd_ps(d, _mm512_loadu_ps(a->router + e * s->dim + j),
                                                         _mm512_loadu_ps(to + j)));
                _mm512_storeu_ps(dr + j, _mm512_fmadd_ps(d, get(a->y + t * s->dim + j),
                                                         _mm512_loadu_ps(dr + j)));
            }
        }
    }
}

void experts_backward(const struct shape *s, long n, float scale, const float *x, const float *g, float *dx,
                      struct experts *a, struct glu_grad *d, struct glu_grad *dshared, float *dnorm,
                      float *drouter)
{
    begin();
    float *inner = take((size_t)(n * s->dim) * 4), *dweight = take((size_t)(n * s->used) * 4);
    bf *dy = spread(s, n, g, a, dweight);
    glu_back(n, s->dim, s->ff, a->y, a->shared, a->sh, a->sact, narrowed(n * s->dim, g), inner, *dshared);
    long at = 0, size = s->ff * s->dim;
    float *dplace = take((size_t)(places(s, a) * s->dim) * 4);
    for (long e = 0; e < s->experts; at += a->rows[e++])
        glu_back(a->rows[e], s->dim, s->ff, a->x + at * s->dim, expert(s, a->w, e), a->h + at * 2 * s->ff,
                 a->act + at * s->ff, dy + at * s->dim, dplace + at * s->dim,
                 (struct glu_grad){d->gate + e * size, d->up + e * size, d->down + e * size});
    for (long i = 0; i < n * s->used; i++) {
        float *to = inner + i / s->used * s->dim;
        const float *from = dplace + a->place[i] * s->dim;
        for (long j = 0; j < s->dim; j++) to[j] += from[j];
    }
    route_back(s, n, scale, a, dweight, inner, drouter);
    norm_back(n, s->dim, x, s->dim, a->norm, a->inverse, inner, g, dx, NULL, 0, dnorm);
    end();
}

/* ---- the loss ------------------------------------------------------------------------------------ */

/* Mean cross entropy of head * norm(x[row]) at `count` rows whose next token is wanted; and at once the
 * gradients: dx of all n rows, and (unless NULL) of the head. vocab: a multiple of 32. */
double loss(const struct shape *s, long n, long vocab, const float *x, const float *wnorm, const float *head,
            long count, const int64_t *rows, const int64_t *wanted, float *dx, float *dnorm, float *dhead)
{
    long m = (count + 31) & ~31L;
    double total = 0;
    begin();
    float *picked = take((size_t)(m * s->dim) * 4), *inverse = take((size_t)m * 4);
    float *score = take((size_t)(m * vocab) * 4), *inner = take((size_t)(m * s->dim) * 4);
    float *back = take((size_t)(m * s->dim) * 4);
    bf *y = take((size_t)(m * s->dim) * 2), *ds = take((size_t)(m * vocab) * 2);
    memset(picked, 0, (size_t)(m * s->dim) * 4);
    for (long i = 0; i < count; i++)
        memcpy(picked + i * s->dim, x + rows[i] * s->dim, (size_t)s->dim * 4);
    norm(m, s->dim, picked, s->dim, wnorm, y, inverse);
    linear(m, vocab, s->dim, y, head, score, HOW_STORE);
    memset(ds, 0, (size_t)(m * vocab) * 2);
    for (long i = 0; i < count; i++) {
        float *row = score + i * vocab, before = row[wanted[i]], most = -1e30f;
        for (long j = 0; j < vocab; j++) most = row[j] > most ? row[j] : most;
        float sum = powers(row, vocab, vocab);
        total += logf(sum) - (before - most);
        for (long j = 0; j < vocab; j++) row[j] *= 1.0f / sum / (float)count;
        row[wanted[i]] -= 1.0f / (float)count;
        narrow(vocab, row, ds + i * vocab);
    }
    linear_back(m, vocab, s->dim, y, head, ds, inner, HOW_STORE, dhead);
    norm_back(m, s->dim, picked, s->dim, wnorm, inverse, inner, NULL, back, NULL, 0, dnorm);
    memset(dx, 0, (size_t)(n * s->dim) * 4);
    for (long i = 0; i < count; i++)
        memcpy(dx + rows[i] * s->dim, back + i * s->dim, (size_t)s->dim * 4);
    end();
    return total / (double)(count ? count : 1);
}

/* ---- Muon ---------------------------------------------------------------------------------------- */

/* g [m][n], m <= n: replaced by the orthogonal matrix nearest to it, roughly (train.py, orthogonal()) */
void orthogonal(long m, long n, float *g)
{
    begin();
    double sum = 0;
    for (long i = 0; i < m * n; i++) sum += (double)g[i] * g[i];
    float scale = 1.0f / ((float)sqrt(sum) + 1e-7f);
    for (long i = 0; i < m * n; i++) g[i] *= scale;
    bf *x = narrowed(m * n, g), *a = take((size_t)(m * m) * 2), *b = take((size_t)(m * m) * 2);
    float *aa = take((size_t)(m * m) * 4);
    for (int turn = 0; turn < 5; turn++) {
        size_t before = taken;
        product(m, m, n, rows_of(x, n), pack_columns(n, m, x, n), n * 8, a, m, HOW_ROUND);
        product(m, m, m, rows_of(a, m), pack_rows(m, m, a, m), m * 8, aa, m, HOW_STORE);
        for (long i = 0; i < m * m; i += 16)
            put(b + i, _mm512_fmadd_ps(_mm512_set1_ps(2.0315f), _mm512_loadu_ps(aa + i),
                                       _mm512_mul_ps(_mm512_set1_ps(-4.7750f), get(a + i))));
        product(m, n, m, rows_of(b, m), pack_rows(m, n, x, n), m * 8, g, n, HOW_STORE);
        for (long i = 0; i < m * n; i += 16) {
            __m512 v = _mm512_fmadd_ps(_mm512_set1_ps(3.4445f), get(x + i), _mm512_loadu_ps(g + i));
            put(x + i, v);
            _mm512_storeu_ps(g + i, v);
        }
        taken = before;
    }
    end();
}
