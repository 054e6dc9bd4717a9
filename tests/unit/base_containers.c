/* SPDX-License-Identifier: MIT */
/* Heap, map, histogram and the seeded generator against the simplest thing that could be right. */
#include "cm.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/metrics.h"
#include "base/random.h"
#include "base/reason.h"

#include <stdio.h>
#include <stdlib.h>

#define MANY 500

struct thing {
    struct ek_heap_node node;
    uint64_t name;
    bool in;
};

static void heap_agrees_with_a_scan(void **state)
{
    (void)state;
    static struct thing things[MANY];
    struct ek_heap h = {0};
    struct ek_random r = ek_random_make(11);
    for (int step = 0; step < 20000; step++) {
        struct thing *t = &things[ek_random_below(&r, MANY)];
        uint64_t key = ek_random_below(&r, 50);
        if (!t->in)
            ek_heap_put(&h, &t->node, key);
        else if (key & 1)
            ek_heap_rekey(&h, &t->node, key);
        else
            ek_heap_remove(&h, &t->node);
        t->in = ek_heap_has(&t->node);
        const struct ek_heap_node *least = NULL;
        for (int i = 0; i < MANY; i++) {
            const struct ek_heap_node *n = &things[i].node;
            if (!things[i].in) continue;
            if (!least || n->key < least->key || (n->key == least->key && n->seq < least->seq)) least = n;
        }
        assert_ptr_equal(ek_heap_first(&h), least);
    }
    ek_heap_free(&h);
}

static bool thing_eq(const void *value, const void *key)
{
    return ((const struct thing *)value)->name == *(const uint64_t *)key;
}

static void map_agrees_with_flags(void **state)
{
    (void)state;
    static struct thing things[MANY];
    struct ek_map m = {0};
    struct ek_random r = ek_random_make(12);
    for (int step = 0; step < 50000; step++) {
        uint64_t name = ek_random_below(&r, MANY);
        uint64_t hash = name % 37; /* many collisions: the runs are long */
        struct thing *t = &things[name];
        t->name = name;
        assert_ptr_equal(ek_map_find(&m, hash, thing_eq, &name), t->in ? t : NULL);
        if (t->in)
            assert_ptr_equal(ek_map_take(&m, hash, thing_eq, &name), t);
        else
            assert_int_equal(ek_map_put(&m, hash, t), EK_OK);
        t->in = !t->in;
    }
    ek_map_free(&m);
    assert_true(ek_hash(EK_STR("a"), 1) != ek_hash(EK_STR("a"), 2));
}

static void histogram_counts_and_prints(void **state)
{
    (void)state;
    struct ek_histogram h;
    struct ek_buf b = ek_buf_make(8192);
    ek_histogram_init(&h, ek_seconds_bounds, EK_SECONDS_BOUNDS);
    ek_histogram_add(&h, 0.001);
    ek_histogram_add(&h, 700);
    ek_histogram_add(&h, -1);
    ek_metric_histogram(&b, "wait_seconds", "tier=\"free\"", &h);
    const char *text = ek_buf_cstr(&b);
    assert_non_null(strstr(text, "wait_seconds_bucket{tier=\"free\",le=\"0.001\"} 2\n"));
    assert_non_null(strstr(text, "wait_seconds_bucket{tier=\"free\",le=\"600\"} 2\n"));
    assert_non_null(strstr(text, "wait_seconds_bucket{tier=\"free\",le=\"+Inf\"} 3\n"));
    assert_non_null(strstr(text, "wait_seconds_sum{tier=\"free\"} 700.001\n"));
    ek_buf_clear(&b);
    ek_metric_histogram(&b, "x", NULL, &h);
    text = ek_buf_cstr(&b);
    assert_non_null(strstr(text, "x_count 3\n"));
    assert_non_null(strstr(text, "x_bucket{le=\"0.001\"} 2\n"));
    ek_buf_free(&b);
}

static void every_reason_is_whole(void **state)
{
    (void)state;
    for (int i = 1; i < EK_REASON_COUNT; i++) {
        enum ek_reason r = (enum ek_reason)i;
        int status = ek_reason_status(r);
        assert_true(status == 0 || (status >= 400 && status < 600));
        assert_true(status == 0 || ek_reason_type(r)[0] != '\0');
        assert_int_equal(ek_reason_text(r)[strlen(ek_reason_text(r)) - 1], '.');
        for (int k = 0; k < i; k++)
            assert_string_not_equal(ek_reason_code(r), ek_reason_code((enum ek_reason)k));
    }
}

static void random_is_in_range(void **state)
{
    (void)state;
    struct ek_random r = ek_random_make(3);
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        assert_true(ek_random_below(&r, 7) < 7);
        double u = ek_random_unit(&r);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(sum > 49000 && sum < 51000);
    assert_true(ek_ns_since(5, 7) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_agrees_with_a_scan), cmocka_unit_test(map_agrees_with_flags),
        cmocka_unit_test(histogram_counts_and_prints), cmocka_unit_test(every_reason_is_whole),
        cmocka_unit_test(random_is_in_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
