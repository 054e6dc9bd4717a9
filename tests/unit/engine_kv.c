/* SPDX-License-Identifier: MIT */
/* The pool of KV pages: taking and giving back, and prefixes shared by those who may share them. In the
 * random test a row holds a fingerprint of all it would depend on (salt, tokens and roles up to it, layer),
 * so a page handed to the wrong sequence is seen at once. */
#include "cm.h"

#include "base/map.h"
#include "engine/kv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void pages_are_taken_and_given_back(void **state)
{
    (void)state;
    struct ek_kv *kv;
    struct ek_kv_seq a = {0}, b = {0};
    assert_int_equal(ek_kv_new(2, 24, EK_KV_BF16, 300, &kv), EK_OK);
    assert_int_equal(ek_kv_pages_total(kv), 5);
    assert_int_equal(ek_kv_begin(kv, &a, NULL, 129, 0), EK_OK);
    assert_int_equal(a.page_count, 3);
    assert_int_equal(ek_kv_begin(kv, &b, NULL, 129, 0), EK_FULL);
    assert_int_equal(b.page_count, 0);
    assert_int_equal(ek_kv_begin(kv, &b, NULL, 128, 0), EK_OK);
    assert_int_equal(ek_kv_pages_free(kv), 0);
    for (uint32_t layer = 0; layer < 2; layer++) { /* no two rows share memory */
        for (uint32_t t = 0; t < 129; t++) {
            memset(ek_kv_row(kv, &a, layer, t), (int)(layer * 128 + t % 128), 48);
        }
        for (uint32_t t = 0; t < 128; t++) memset(ek_kv_row(kv, &b, layer, t), 255 - (int)t, 48);
    }
    for (uint32_t t = 0; t < 128; t++) {
        assert_int_equal(*(uint8_t *)ek_kv_row(kv, &a, 1, t), t == 0 ? 128 : 128 + t);
        assert_int_equal(((uint8_t *)ek_kv_row(kv, &b, 0, t))[47], 255 - t);
    }
    ek_kv_set_role(kv, &a, 70, EK_ROLE_GENERATED);
    assert_int_equal(ek_kv_role(kv, &a, 70), EK_ROLE_GENERATED);
    assert_int_equal(ek_kv_role(kv, &a, 71), EK_ROLE_PROMPT);
    ek_kv_release(kv, &a);
    ek_kv_release(kv, &b);
    assert_int_equal(ek_kv_pages_free(kv), 5);
    ek_kv_free(&kv);
    assert_int_equal(ek_kv_new(1024, 1 << 20, EK_KV_F32, UINT64_MAX, &kv), EK_INVALID);
}

/* ---- shared prefixes --------------------------------------------------------------------------- */

enum { LAYERS = 2, SEQS = 6, TEXT = 400, PAGES = 14 };

struct walker {
    struct ek_kv_seq seq;
    uint32_t ids[TEXT], count, room; /* tokens known; that there is room for */
    uint32_t prompt;
    uint64_t salt;
    uint64_t state[TEXT + 1]; /* hash of salt, tokens and roles before each token */
};

struct world {
    struct ek_kv *kv;
    uint64_t seed;
    struct walker walker[SEQS];
};

static uint32_t below(struct world *w, uint32_t n) /* SplitMix64 */
{
    uint64_t z = (w->seed += 0x9E3779B97F4A7C15ULL);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ z >> 27) * 0x94D049BB133111EBULL;
    return (uint32_t)((z ^ z >> 31) % n);
}

static void add_token(struct walker *s, uint32_t id)
{
    uint64_t what[3] = {s->count ? s->state[s->count] : s->salt, id, s->count >= s->prompt};
    s->ids[s->count++] = id;
    s->state[s->count] = ek_hash(ek_str_make((const char *)what, sizeof what), 7);
}

static uint64_t print_of(const struct walker *s, uint32_t layer, uint32_t token)
{
    return s->state[token + 1] * 31 + layer;
}

static uint64_t held(const struct world *w)
{
    uint64_t sum = 0;
    for (int i = 0; i < SEQS; i++) sum += w->walker[i].seq.page_count;
    return sum;
}

static void begin(struct world *w, struct walker *s)
{
    uint32_t prompt = 1 + below(w, 250), prefix = below(w, 3) ? 0 : below(w, 100);
    *s = (struct walker){.prompt = prompt, .salt = below(w, 2)};
    /* Few texts that part at few places: like a system prompt, then one of some conversations. */
    uint32_t fork = 64 * below(w, 3) + below(w, 2) * 30, kind = below(w, 2);
    for (uint32_t t = 0; t < prompt + prefix; t++) add_token(s, t < fork ? t % 9 : t * 5 + kind);
    s->room = s->count + 1 + below(w, TEXT - s->count - 1); /* at first only for what is known, or for all */
    uint32_t spare = below(w, 2) * below(w, 3), asked = below(w, 2) ? s->count : s->room;
    struct ek_kv_text text = {.ids = s->ids, .count = s->count, .prompt = s->prompt, .salt = s->salt};
    uint32_t free_before = ek_kv_pages_free(w->kv);
    if (ek_kv_begin(w->kv, &s->seq, &text, asked, spare) != EK_OK) {
        assert_int_equal(s->seq.page_count, 0);
        assert_true((asked + 63) / 64 + spare > free_before);
        return;
    }
    assert_true(s->seq.tokens < s->count && s->seq.tokens % EK_KV_PAGE == 0);
    for (uint32_t t = 0; t < s->seq.tokens; t++) {
        assert_int_equal(ek_kv_role(w->kv, &s->seq, t), t >= s->prompt);
        for (uint32_t l = 0; l < LAYERS; l++)
            assert_int_equal(*(uint64_t *)ek_kv_row(w->kv, &s->seq, l, t), print_of(s, l, t));
    }
}

static void compute(struct world *w, struct walker *s)
{
    uint32_t n = 1 + below(w, 90);
    for (; n > 0 && s->seq.tokens < s->count; n--) {
        uint32_t t = s->seq.tokens;
        if (ek_kv_grow(w->kv, &s->seq, t + 1) != EK_OK) {
            assert_true(t % EK_KV_PAGE == 0 && ek_kv_pages_free(w->kv) == 0);
            break;
        }
        ek_kv_set_role(w->kv, &s->seq, t, t >= s->prompt ? EK_ROLE_GENERATED : EK_ROLE_PROMPT);
        for (uint32_t l = 0; l < LAYERS; l++)
            *(uint64_t *)ek_kv_row(w->kv, &s->seq, l, t) = print_of(s, l, t);
        s->seq.tokens++;
        if (s->seq.tokens == s->count && s->count < s->room) add_token(s, below(w, 3));
    }
    ek_kv_name_pages(w->kv, &s->seq, s->ids);
}

static void nobody_gets_a_row_that_is_not_his(void **state)
{
    (void)state;
    const char *given = getenv("EK_SEED");
    struct world w = {.seed = given ? strtoull(given, NULL, 10) : 20261122};
    struct ek_kv_counters c;
    print_message("EK_SEED=%llu\n", (unsigned long long)w.seed);
    assert_int_equal(ek_kv_new(LAYERS, 4, EK_KV_BF16, PAGES * EK_KV_PAGE, &w.kv), EK_OK);
    for (int step = 0; step < 40000; step++) {
        struct walker *s = &w.walker[below(&w, SEQS)];
        if (s->seq.page_count == 0) begin(&w, s);
        else if (below(&w, 6) == 0) ek_kv_release(w.kv, &s->seq);
        else compute(&w, s);
        if (step % 16 == 0) ek_kv_check(w.kv, held(&w));
    }
    ek_kv_counters(w.kv, &c);
    print_message("%llu of %llu pages found, %llu made room\n", (unsigned long long)c.hit_pages,
                  (unsigned long long)c.asked_pages, (unsigned long long)c.evicted_pages);
    assert_true(c.hit_pages > 500 && c.evicted_pages > 500 && c.hit_pages < c.asked_pages);
    for (int i = 0; i < SEQS; i++) ek_kv_release(w.kv, &w.walker[i].seq);
    assert_int_equal(ek_kv_pages_free(w.kv), PAGES);
    ek_kv_check(w.kv, 0);
    ek_kv_free(&w.kv);
}

/* One sequence computed to its end and let go; then the same, and its likes. */
static uint32_t found(struct ek_kv *kv, uint32_t *ids, uint32_t count, uint32_t prompt, uint64_t salt,
                      bool keep)
{
    struct ek_kv_seq seq = {0};
    struct ek_kv_text text = {.ids = ids, .count = count, .prompt = prompt, .salt = salt};
    assert_int_equal(ek_kv_begin(kv, &seq, &text, count, 0), EK_OK);
    uint32_t tokens = seq.tokens;
    for (; keep && seq.tokens < count; seq.tokens++)
        ek_kv_set_role(kv, &seq, seq.tokens, seq.tokens >= prompt ? EK_ROLE_GENERATED : EK_ROLE_PROMPT);
    if (keep) ek_kv_name_pages(kv, &seq, ids);
    ek_kv_release(kv, &seq);
    return tokens;
}

static void shares_whole_pages_of_the_same_text_role_and_salt(void **state)
{
    (void)state;
    struct ek_kv *kv;
    uint32_t ids[300];
    for (uint32_t i = 0; i < 300; i++) ids[i] = i * 7;
    assert_int_equal(ek_kv_new(1, 8, EK_KV_BF16, 20 * EK_KV_PAGE, &kv), EK_OK);
    assert_int_equal(found(kv, ids, 256, 200, 1, true), 0);
    assert_int_equal(found(kv, ids, 256, 200, 1, false), 192); /* at least one token is left to compute */
    assert_int_equal(found(kv, ids, 257, 200, 1, false), 256);
    assert_int_equal(found(kv, ids, 257, 257, 1, false), 192); /* generated there, prompt here */
    assert_int_equal(found(kv, ids, 257, 200, 2, false), 0);   /* somebody else's */
    assert_int_equal(found(kv, ids + 50, 200, 200, 1, false), 0); /* the same tokens at another place */
    ids[70] = 999;
    assert_int_equal(found(kv, ids, 257, 200, 1, false), 64);
    ek_kv_check(kv, 0);
    ek_kv_free(&kv);
}

static void the_tail_of_the_oldest_makes_room_first(void **state)
{
    (void)state;
    struct ek_kv *kv;
    uint32_t a[257], b[257];
    struct ek_kv_seq other = {0};
    for (uint32_t i = 0; i < 257; i++) {
        a[i] = i;
        b[i] = 1000 + i;
    }
    assert_int_equal(ek_kv_new(1, 8, EK_KV_BF16, 8 * EK_KV_PAGE, &kv), EK_OK);
    assert_int_equal(found(kv, a, 256, 256, 0, true), 0);
    assert_int_equal(found(kv, b, 256, 256, 0, true), 0);
    assert_int_equal(ek_kv_pages_free(kv), 8); /* what is kept counts as free */
    assert_int_equal(ek_kv_begin(kv, &other, NULL, 3 * EK_KV_PAGE, 0), EK_OK);
    assert_int_equal(found(kv, a, 65, 65, 0, false), 64);
    assert_int_equal(found(kv, b, 257, 257, 0, false), 192); /* its tail went for the 65th token of a */
    ek_kv_release(kv, &other);
    ek_kv_check(kv, 0);
    ek_kv_free(&kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_taken_and_given_back),
        cmocka_unit_test(shares_whole_pages_of_the_same_text_role_and_salt),
        cmocka_unit_test(the_tail_of_the_oldest_makes_room_first),
        cmocka_unit_test(nobody_gets_a_row_that_is_not_his),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
