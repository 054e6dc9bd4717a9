/* SPDX-License-Identifier: MIT */
/* The block that looks a token ahead. Its logits are those of the reference, however rows are cut and mixed,
 * on every instruction set; a file whose block is wanting is served without it; and on the model that ships
 * it guesses most of what is said while every id and logprob stays what it is without guessing.
 *
 * EK_AHEAD_PROMPTS sets how many of the demo model's questions are asked, each thinking and not (24). */
#include "same_cast.h"

#include "engine/forward.h"
#include "engine/model.h"
#include "engine/reference.h"
#include "engine/tokenizer_file.h"

#include <jansson.h>

static const char *models = "models";

/* ---- arithmetic --------------------------------------------------------------------------------------- */

enum { T = 150, CHUNK = 40 };

static struct ek_model *bind_recipe(const struct recipe *r)
{
    struct maker m = maker_model(r);
    size_t len;
    uint8_t *file = maker_keep(&m, &len);
    struct ek_gguf *g;
    struct ek_model *model = NULL;
    char why[256] = "";
    if (ek_gguf_open_memory(file, len, &g, why, sizeof why) != EK_OK ||
        ek_model_bind(&g, &model, why, sizeof why) != EK_OK) {
        fail_msg("%s", why);
    }
    return model;
}

struct pass {
    struct ek_model *model;
    struct ek_kv *kv;
    struct ek_team *team;
    struct ek_forward *forward;
};

static struct pass pass_new(struct ek_model *m, const char *isa)
{
    struct pass p = {.model = m, .team = ek_team_new(3)};
    const struct ek_shape *s = &m->shape;
    assert_int_equal(ek_kv_new(s->layers + 1, ek_shape_kv_elems(s), EK_KV_F32, 256, &p.kv), EK_OK);
    assert_int_equal(ek_forward_new(m, ek_kernels_select(isa), p.kv, p.team, EK_ACT_F32, CHUNK, CHUNK,
                                    &p.forward),
                     EK_OK);
    assert_true(ek_forward_looks(p.forward));
    return p;
}

static void pass_free(struct pass *p)
{
    ek_forward_free(&p->forward);
    ek_team_free(&p->team);
    ek_kv_free(&p->kv);
}

/* The largest difference to the reference, of those rows that are asked for: each with a chance of one in
 * `each`, in steps of random sizes. */
static double worst(struct pass *p, const uint32_t *ids, const float *right, uint64_t seed, uint32_t each)
{
    struct ek_kv_seq seq = {0};
    size_t vocab = p->model->shape.vocab;
    double most = 0;
    assert_int_equal(ek_kv_begin(p->kv, &seq, NULL, T, 0), EK_OK);
    for (uint32_t at = 0; at + 1 < T;) {
        struct ek_forward_look looks[CHUNK];
        uint32_t n = 1 + cast_below(&seed, CHUNK), wanted = 0;
        bool want[CHUNK];
        if (n > T - 1 - at) n = T - 1 - at;
        struct ek_segment seg = {.seq = &seq, .ids = ids + at, .count = n, .logits_from = n,
                                 .role = at < T / 2 ? EK_ROLE_PROMPT : EK_ROLE_GENERATED};
        ek_forward_run(p->forward, &seg, 1);
        for (uint32_t i = 0; i < n; i++) {
            want[i] = cast_below(&seed, each) == 0;
            if (want[i]) looks[wanted++] = (struct ek_forward_look){i, ids[at + i + 1]};
        }
        for (uint32_t i = 0, next = wanted; i < n; i++)
            if (!want[i]) looks[next++] = (struct ek_forward_look){i, ids[at + i + 1]};
        const float *logits = ek_forward_look(p->forward, looks, n, wanted);
        for (size_t i = 0; i < wanted * vocab; i++) {
            double d = fabs((double)right[(at + looks[i / vocab].row) * vocab + i % vocab] -
                            (double)logits[i]);
            if (!(d <= most)) most = d;
        }
        at += n;
    }
    ek_kv_release(p->kv, &seq);
    return most;
}

static void looks_as_the_reference_does(void **state)
{
    (void)state;
    uint32_t ids[T];
    uint64_t seed = 3;
    for (int form = 0; form < 3; form++) {
        struct recipe r = form == 1 ? recipe_v2 : recipe_v3;
        r.nextn = true;
        r.legacy = form == 2; /* then its keys are transposed at load */
        struct ek_model *m = bind_recipe(&r);
        assert_true(m->ahead.there);
        for (size_t i = 0; i < T; i++) ids[i] = cast_below(&seed, r.vocab);
        float *right = malloc((size_t)T * r.vocab * sizeof *right);
        assert_non_null(right);
        ek_reference_ahead(m, ids, T, right);
        for (int isa = 0; isa < EK_ISA_COUNT; isa++) {
            const struct ek_kernels *k = ek_kernels_of((enum ek_isa)isa);
            if (!k) continue;
            struct pass p = pass_new(m, k->isa);
            double all = worst(&p, ids, right, seed++, 1), some = worst(&p, ids, right, seed++, 5);
            print_message("%s %d %s: all rows %.2g, some %.2g\n", r.name, form, k->isa, all, some);
            assert_true(all <= 1e-3 && some <= 1e-3);
            pass_free(&p);
        }
        free(right);
        ek_model_free(&m);
    }
}

/* A block without one of its tensors, or of another width, is none; the model is as good as ever. */
static void a_block_that_is_not_whole_is_left_aside(void **state)
{
    (void)state;
    struct recipe r = recipe_v3;
    r.nextn = true;
    for (int way = 0; way < 2; way++) {
        struct maker whole = maker_model(&r), part = maker_new();
        size_t len;
        uint8_t *file = maker_keep(&whole, &len);
        char why[256] = "";
        struct ek_gguf *g;
        struct ek_model *m = NULL;
        uint64_t seed = 4;
        assert_int_equal(ek_gguf_open_memory(file, len, &g, why, sizeof why), EK_OK);
        maker_shape(&part, &r);
        for (size_t i = 0; i < ek_gguf_tensor_count(g); i++) {
            const struct ek_gguf_tensor *t = ek_gguf_tensor_at(g, i);
            char name[96];
            snprintf(name, sizeof name, "%.*s", (int)t->name.len, t->name.data);
            if (!strstr(name, "nextn.hnorm")) {
                maker_tensor(&part, name, t->n_dims, t->ne, t->type, t->data, t->bytes);
            } else if (way == 1) {
                maker_random_tensor(&part, &seed, name, 0, r.embd + 1, 1, 1, 0);
            }
        }
        file = maker_keep(&part, &len);
        ek_gguf_close(&g);
        assert_int_equal(ek_gguf_open_memory(file, len, &g, why, sizeof why), EK_OK);
        if (ek_model_bind(&g, &m, why, sizeof why) != EK_OK) fail_msg("%s", why);
        assert_false(m->ahead.there);
        ek_model_free(&m);
    }
}

/* ---- the model that ships ---------------------------------------------------------------------------- */

enum { DEMO_MAX = 200, DEMO_TOKENS = 400, DEMO_SLOTS = 6 };

struct said {
    struct ek_sample token[DEMO_TOKENS];
    uint32_t count;
    enum ek_job_end finish;
};

struct demo {
    char path[512];
    struct ek_ids prompt[DEMO_MAX];
    size_t prompts;
    uint32_t end_id, eos;
};

static void add_prompt(struct demo *d, const struct ek_tokenizer *t, struct ek_encoder *enc, json_t *line,
                       bool thinking)
{
    struct ek_buf text = ek_buf_make(4096);
    struct ek_ids *ids = &d->prompt[d->prompts++];
    *ids = (struct ek_ids){.count_max = 1000};
    assert_int_equal(ek_ids_push(ids, ek_tokenizer_bos(t)), EK_OK);
    ek_buf_printf(&text,
                  "%s<\xEF\xBD\x9CUser\xEF\xBD\x9C>%s<\xEF\xBD\x9C" "Assistant\xEF\xBD\x9C>%s",
                  json_string_value(json_object_get(line, "system")),
                  json_string_value(json_object_get(line, "question")), thinking ? "<think>" : "</think>");
    assert_int_equal(ek_tokenizer_encode(t, enc, ek_buf_view(&text), true, ids), EK_OK);
    ek_buf_free(&text);
}

/* False: the file has no block ahead, so there is nothing to try. */
static bool demo_read(struct demo *d, size_t most)
{
    char path[512], why[256] = "";
    struct ek_model *m;
    struct ek_tokenizer *t;
    *d = (struct demo){.prompts = 0};
    snprintf(d->path, sizeof d->path, "%s/demo.gguf", models);
    if (ek_model_open(d->path, &m, why, sizeof why) != EK_OK) fail_msg("%s", why);
    bool there = m->ahead.there;
    if (ek_tokenizer_from_gguf(&t, m->gguf, why, sizeof why) != EK_OK) fail_msg("%s", why);
    struct ek_encoder *enc = ek_encoder_new();
    d->end_id = ek_tokenizer_find(t, EK_STR("</think>"));
    d->eos = ek_tokenizer_eos(t);
    snprintf(path, sizeof path, "%s/unseen.jsonl", models);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t lines = 0;
    for (char text[8192]; fgets(text, sizeof text, f);) lines++;
    rewind(f);
    size_t each = lines * 2 > most ? lines * 2 / most : 1, at = 0; /* from all over the file */
    for (char text[8192]; fgets(text, sizeof text, f) && d->prompts + 1 < most; at++) {
        if (at % each) continue;
        json_t *line = json_loads(text, 0, NULL);
        assert_non_null(line);
        add_prompt(d, t, enc, line, true);
        add_prompt(d, t, enc, line, false);
        json_decref(line);
    }
    fclose(f);
    ek_encoder_free(&enc);
    ek_tokenizer_free(&t);
    ek_model_free(&m);
    return there;
}

/* Question i: every third at temperature 1, some with penalties. */
static struct ek_engine_job demo_job(const struct demo *d, size_t i, struct said *out)
{
    bool thinking = i % 2 == 0;
    struct ek_engine_job job = {
        .prompt_ids = d->prompt[i].data, .prompt_tokens = (uint32_t)d->prompt[i].count,
        .max_tokens = DEMO_TOKENS, .sampling = ek_sampling_greedy(), .top_logprobs = i % 4, .stop_count = 1,
        .stop_ids = {d->eos}, .guide_from = EK_NO_TOKEN, .user = out,
        .thinking = {.open_at_start = thinking, .open_id = EK_NO_TOKEN, .end_id = d->end_id,
                     .budget = i % 5 == 4 ? 40 : EK_THINK_UNLIMITED, .close_ids = {d->end_id},
                     .close_count = 1},
    };
    if (i % 3 == 2) job.sampling = ek_sampling_default();
    if (i % 7 == 6) job.sampling.frequency_penalty = 0.2f;
    job.sampling.seed = i * 31 + 7;
    return job;
}

static struct ek_engine_load demo_run(const struct demo *d, enum ek_speculation how, uint32_t slots,
                                      struct said *said)
{
    struct bench b;
    char why[256] = "";
    struct ek_engine_options o = {.model_path = d->path, .slots = slots, .waiting_max = DEMO_MAX,
                                  .ctx_tokens = 1536, .threads = 2, .speculation = how};
    struct ek_engine_load load;
    bench_open(&b, &o);
    for (size_t i = 0; i < d->prompts; i++) {
        struct ek_engine_job job = demo_job(d, i, &said[i]);
        uint64_t id;
        said[i].count = 0;
        if (ek_engine_submit(b.engine, &job, &id, why, sizeof why) != EK_OK) fail_msg("%s", why);
    }
    for (size_t over = 0; over < d->prompts;) {
        struct ek_engine_event event = next_event(&b);
        struct said *s = event.user;
        if (event.has_token) {
            assert_in_range(s->count, 0, DEMO_TOKENS - 1);
            s->token[s->count++] = event.token;
        }
        s->finish = event.finish;
        over += event.finish != EK_JOB_GOES_ON;
    }
    ek_engine_load(b.engine, &load);
    ek_engine_close(&b.engine);
    return load;
}

static void same_said(const struct said *a, const struct said *b, size_t i)
{
    bool same = a->count == b->count && a->finish == b->finish;
    for (uint32_t t = 0; same && t < a->count; t++) {
        const struct ek_sample *x = &a->token[t], *y = &b->token[t];
        same = x->id == y->id && memcmp(&x->logprob, &y->logprob, sizeof x->logprob) == 0 &&
               x->top_count == y->top_count && memcmp(x->top, y->top, x->top_count * sizeof *x->top) == 0;
    }
    if (!same) fail_msg("prompt %zu: other tokens or logprobs with guessing", i);
}

static uint32_t likeliest(const float *x, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* Over everything that was said greedily: how many tokens did the block foresee, *of how many? */
static uint32_t foreseen(const struct demo *d, const struct said *said, uint32_t *of)
{
    struct ek_model *m;
    char why[256] = "";
    uint32_t right = 0;
    if (ek_model_open(d->path, &m, why, sizeof why) != EK_OK) fail_msg("%s", why);
    struct ek_kv *kv;
    struct ek_team *team = ek_team_new(1);
    struct ek_forward *f;
    assert_int_equal(ek_kv_new(m->shape.layers + 1, ek_shape_kv_elems(&m->shape), EK_KV_BF16, 1536, &kv),
                     EK_OK);
    assert_int_equal(ek_forward_new(m, ek_kernels_select(NULL), kv, team, EK_ACT_Q8, 1500, DEMO_TOKENS, &f),
                     EK_OK);
    for (size_t i = 0; i < d->prompts; i++) {
        struct ek_engine_job job = demo_job(d, i, NULL);
        struct ek_forward_look looks[1500];
        uint32_t ids[1500], n = job.prompt_tokens, at = 0;
        struct ek_kv_seq seq = {0};
        if (job.sampling.temperature > 0 || job.sampling.frequency_penalty > 0) continue;
        if (job.thinking.budget != EK_THINK_UNLIMITED || said[i].count < 3) continue;
        memcpy(ids, job.prompt_ids, n * sizeof *ids);
        for (uint32_t t = 0; t < said[i].count; t++) ids[n++] = said[i].token[t].id;
        assert_int_equal(ek_kv_begin(kv, &seq, NULL, n, 0), EK_OK);
        struct ek_segment seg = {.seq = &seq, .ids = ids, .count = n - 2, .logits_from = n - 2};
        ek_forward_run(f, &seg, 1);
        uint32_t wanted = said[i].count - 1;
        for (uint32_t t = job.prompt_tokens - 1; at < wanted; t++)
            looks[at++] = (struct ek_forward_look){t, ids[t + 1]};
        for (uint32_t t = 0; at < n - 2; t++) looks[at++] = (struct ek_forward_look){t, ids[t + 1]};
        const float *logits = ek_forward_look(f, looks, at, wanted);
        for (uint32_t t = 0; t < wanted; t++)
            right += likeliest(logits + (size_t)t * m->shape.vocab, m->shape.vocab) ==
                     ids[job.prompt_tokens + 1 + t];
        *of += wanted;
        ek_kv_release(kv, &seq);
    }
    ek_forward_free(&f);
    ek_team_free(&team);
    ek_kv_free(&kv);
    ek_model_free(&m);
    return right;
}

static void the_demo_model_says_the_same_sooner(void **state)
{
    (void)state;
    static struct demo d;
    static struct said off[DEMO_MAX], on[DEMO_MAX];
    const char *text = getenv("EK_AHEAD_PROMPTS");
    size_t most = text && *text ? strtoul(text, NULL, 10) : 24;
    if (!demo_read(&d, most < DEMO_MAX ? most : DEMO_MAX)) {
        print_message("SKIP: %s has no block that looks ahead\n", d.path);
    } else {
        struct ek_engine_load plain = demo_run(&d, EK_SPECULATION_OFF, DEMO_SLOTS, off), load;
        uint32_t of = 0, right = foreseen(&d, off, &of);
        print_message("the block foresaw %u of %u tokens that were said greedily\n", right, of);
        assert_true(of > 100 && right * 100 >= of * 85);
        assert_int_equal(plain.ahead_tokens + plain.guessed_tokens, 0);
        for (int how = 0; how < 3; how++) {
            bool always = how > 0;
            load = demo_run(&d, always ? EK_SPECULATION_ALWAYS : EK_SPECULATION_AUTO,
                            how == 1 ? 1 : DEMO_SLOTS, on);
            for (size_t i = 0; i < d.prompts; i++) same_said(&off[i], &on[i], i);
            print_message("%s, %u slots: %llu prompts, %llu tokens in %llu steps (%llu without); ahead %llu, "
                          "held %llu; looked up %llu, held %llu\n",
                          always ? "always" : "auto", load.slots, (unsigned long long)d.prompts,
                          (unsigned long long)load.generated_tokens, (unsigned long long)load.steps,
                          (unsigned long long)plain.steps, (unsigned long long)load.ahead_tokens,
                          (unsigned long long)load.ahead_held, (unsigned long long)load.guessed_tokens,
                          (unsigned long long)load.guesses_held);
            assert_int_equal(load.generated_tokens, plain.generated_tokens);
            if (!always) continue;
            assert_true(load.ahead_tokens > 100);
            assert_true(load.ahead_held * 100 >= load.ahead_tokens * 70); /* some at temperature 1 */
        }
    }
    for (size_t i = 0; i < d.prompts; i++) ek_ids_free(&d.prompt[i]);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looks_as_the_reference_does),
        cmocka_unit_test(a_block_that_is_not_whole_is_left_aside),
        cmocka_unit_test(the_demo_model_says_the_same_sooner),
    };
    if (argc == 2) models = argv[1];
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    maker_drop_kept();
    return failed;
}
