/* SPDX-License-Identifier: MIT */
/* Prefill and decode speed of a model file, through the forward pass alone (no HTTP, no sampling).
 * Prints CSV: what, rows in a step, context, tokens a second (median, min, max of the rounds), and a
 * last line that names file, arithmetic and threads.
 *
 *   ninja -C build bench_engine && build/bench/bench_engine MODEL.gguf [threads [q8|f32 [isa]]] */
#include "engine/forward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5, CONTEXT = 512 };

struct bench {
    struct ek_model *model;
    struct ek_kv *kv;
    struct ek_team *team;
    struct ek_forward *forward;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void report(const char *what, unsigned rows, unsigned context, double rate[ROUNDS])
{
    qsort(rate, ROUNDS, sizeof *rate, ascending);
    printf("%s,%u,%u,%.1f,%.1f,%.1f\n", what, rows, context, rate[ROUNDS / 2], rate[0], rate[ROUNDS - 1]);
    fflush(stdout);
}

static void fill_ids(uint32_t *ids, size_t n, uint32_t vocab)
{
    for (size_t i = 0; i < n; i++) ids[i] = (uint32_t)((i * 2654435761u) % vocab);
}

static void reserve(struct bench *b, struct ek_kv_seq *seq, uint32_t tokens)
{
    *seq = (struct ek_kv_seq){0};
    if (ek_kv_begin(b->kv, seq, NULL, tokens, 0) != EK_OK) abort();
}

static void bench_prefill(struct bench *b, uint32_t chunk)
{
    uint32_t ids[CONTEXT];
    double rate[ROUNDS];
    fill_ids(ids, CONTEXT, b->model->shape.vocab);
    for (int r = 0; r < ROUNDS; r++) {
        struct ek_kv_seq seq;
        reserve(b, &seq, CONTEXT);
        double begin = now_s();
        for (uint32_t at = 0; at < CONTEXT; at += chunk) {
            uint32_t from = at + chunk < CONTEXT ? chunk : chunk - 1;
            struct ek_segment s = {&seq, ids + at, chunk, EK_ROLE_PROMPT, from};
            ek_forward_run(b->forward, &s, 1);
        }
        rate[r] = CONTEXT / (now_s() - begin);
        ek_kv_release(b->kv, &seq);
    }
    report("prefill", chunk, CONTEXT, rate);
}

static void bench_decode(struct bench *b, uint32_t batch, uint32_t context)
{
    enum { STEPS = 8 };
    static struct ek_kv_seq seqs[64];
    struct ek_segment s[64];
    uint32_t ids[CONTEXT];
    double rate[ROUNDS];
    fill_ids(ids, CONTEXT, b->model->shape.vocab);
    for (uint32_t i = 0; i < batch; i++) {
        reserve(b, &seqs[i], context + STEPS * ROUNDS);
        s[0] = (struct ek_segment){&seqs[i], ids, context, EK_ROLE_PROMPT, context};
        ek_forward_run(b->forward, s, 1);
    }
    for (int r = 0; r < ROUNDS; r++) {
        double begin = now_s();
        for (int step = 0; step < STEPS; step++) {
            for (uint32_t i = 0; i < batch; i++) {
                s[i] = (struct ek_segment){&seqs[i], ids + i, 1, EK_ROLE_GENERATED, 0};
            }
            ek_forward_run(b->forward, s, batch);
        }
        rate[r] = batch * STEPS / (now_s() - begin);
    }
    for (uint32_t i = 0; i < batch; i++) ek_kv_release(b->kv, &seqs[i]);
    report("decode", batch, context, rate);
}

static void fail(const char *why)
{
    fprintf(stderr, "bench_engine: %s\n", why);
    exit(1);
}

int main(int argc, char **argv)
{
    char why[256];
    struct bench b;
    if (argc < 2) fail("usage: bench_engine MODEL.gguf [threads [q8|f32 [isa]]]");
    unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 2;
    enum ek_activation act = argc > 3 && strcmp(argv[3], "f32") == 0 ? EK_ACT_F32 : EK_ACT_Q8;
    const struct ek_kernels *k = ek_kernels_select(argc > 4 ? argv[4] : NULL);
    if (!k || threads < 1 || threads > EK_TEAM_MAX) fail("no such instruction set or number of threads");
    if (ek_model_open(argv[1], &b.model, why, sizeof why) != EK_OK) fail(why);
    const struct ek_shape *s = &b.model->shape;
    if (ek_kv_new(s->layers, ek_shape_kv_elems(s), EK_KV_BF16, 64 * 704, &b.kv) != EK_OK) fail("KV");
    b.team = ek_team_new(threads);
    if (ek_forward_new(b.model, k, b.kv, b.team, act, CONTEXT, 64, &b.forward) != EK_OK) fail("memory");
    printf("what,rows,context,tokens_per_s,min,max\n");
    for (uint32_t chunk = 64; chunk <= CONTEXT; chunk *= 8) bench_prefill(&b, chunk);
    for (uint32_t batch = 1; batch <= 64; batch *= 4) bench_decode(&b, batch, 64);
    bench_decode(&b, 1, 512);
    bench_decode(&b, 16, 512);
    printf("# %s %s %s, %u threads, scratch %.1f MB\n", argv[1], k->isa, act == EK_ACT_F32 ? "f32" : "q8",
           threads, (double)ek_forward_scratch_bytes(b.forward) * 1e-6);
    ek_forward_free(&b.forward);
    ek_team_free(&b.team);
    ek_kv_free(&b.kv);
    ek_model_free(&b.model);
    return 0;
}
