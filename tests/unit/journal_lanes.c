/* SPDX-License-Identifier: MIT */
/* The journal on the real loop, with real helper threads: many operations at once, in every order, and a
 * close in the middle of them. Also run under TSan. Nothing sleeps: the loop ends when a counter says so. */
#include "cm.h"
#include "journal_names.h"

#include "base/random.h"
#include "journal/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORDS 400u

struct rig {
    char dir[64];
    struct ek_loop *loop;
    struct ek_journal *j;
    struct ek_log log;
    struct ek_journal_options o;
    uint32_t put, used, read, found;
    uint32_t ended;  /* callbacks */
    uint32_t stop_at;
    char text[RECORDS][600];
};

struct op {
    struct ek_journal_op op; /* first */
    struct rig *rig;
    struct ek_buf into;
    uint32_t n;
    uint32_t step;
};

static struct ek_journal_name name_in_part(uint32_t n)
{
    struct ek_journal_name name = name_of(n);
    name.part = n % 2;
    return name;
}

static void found(void *arg, const struct ek_journal_found *f)
{
    struct rig *r = arg;
    uint32_t n;
    memcpy(&n, f->name.key + 8, sizeof n);
    if (f->used) return;
    assert_int_equal(f->payload.len, strlen(r->text[n]));
    assert_memory_equal(f->payload.data, r->text[n], f->payload.len);
    r->found++;
}

static void rig_open(struct rig *r)
{
    char why[200] = "";
    r->loop = ek_loop_new();
    r->j = ek_journal_open(r->loop, &r->o, &r->log, why, sizeof why);
    if (!r->j) fail_msg("%s", why);
    r->found = 0;
    ek_journal_visit(r->j, found, r);
}

static struct rig *rig_new(uint64_t fsync_ns)
{
    struct rig *r = calloc(1, sizeof *r);
    snprintf(r->dir, sizeof r->dir, "/tmp/evenkeel-lanes-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->log = (struct ek_log){.name = "test", .level = EK_LOG_INFO, .fd = -1};
    r->o = (struct ek_journal_options){.dir = r->dir, .bytes_max = 64 << 20, .ttl_ns = 3600 * EK_S_NS,
                                       .fsync_ns = fsync_ns};
    struct ek_random rng = ek_random_make(20261122);
    for (uint32_t n = 0; n < RECORDS; n++) {
        size_t len = 1 + ek_random_below(&rng, sizeof r->text[n] - 2);
        for (size_t i = 0; i < len; i++) r->text[n][i] = (char)('a' + (n + i) % 26);
    }
    rig_open(r);
    return r;
}

static void rig_free(struct rig *r)
{
    char line[100];
    if (r->j) ek_journal_close(&r->j);
    ek_loop_free(&r->loop);
    snprintf(line, sizeof line, "rm -rf %s", r->dir);
    assert_int_equal(system(line), 0);
    free(r);
}

/* put, then read, then (every other) use. */
static void step(struct ek_journal_op *p, enum ek_status s)
{
    struct op *o = (struct op *)p;
    struct rig *r = o->rig;
    struct ek_journal_name name = name_in_part(o->n);
    r->ended++;
    if (s == EK_OK && o->step == 0) {
        r->put++;
        o->step = 1;
        o->into = ek_buf_make(4096);
        if (ek_journal_read(r->j, &o->op, &name, &o->into) == EK_OK) return;
    } else if (s == EK_OK && o->step == 1) {
        r->read++;
        assert_int_equal(o->into.len, strlen(r->text[o->n]));
        assert_memory_equal(o->into.data, r->text[o->n], o->into.len);
        o->step = 2;
        if (o->n % 2 && ek_journal_use(r->j, &o->op, &name) == EK_OK) return;
    } else if (s == EK_OK) {
        r->used++;
    }
    ek_buf_free(&o->into);
    free(o);
    if (r->ended >= r->stop_at) ek_loop_stop(r->loop);
}

static void start_all(struct rig *r)
{
    for (uint32_t n = 0; n < RECORDS; n++) {
        struct op *o = calloc(1, sizeof *o);
        *o = (struct op){.op = {.done = step}, .rig = r, .n = n};
        struct ek_journal_put p = {.name = name_in_part(n), .owner = 1, .kind = 2,
                                   .first = ek_str_of(r->text[n]), .second = {0}};
        assert_int_equal(ek_journal_put(r->j, &o->op, &p), EK_OK);
    }
}

static void to_the_end(void **state)
{
    (void)state;
    struct rig *r = rig_new(EK_S_NS / 100); /* syncs run beside it all the time */
    r->stop_at = RECORDS * 2 + RECORDS / 2;
    start_all(r);
    ek_loop_run(r->loop);
    assert_int_equal(r->put, RECORDS);
    assert_int_equal(r->read, RECORDS);
    assert_int_equal(r->used, RECORDS / 2);
    ek_journal_check(r->j);
    ek_journal_close(&r->j);
    ek_loop_free(&r->loop);
    rig_open(r);
    assert_int_equal(r->found, RECORDS / 2);
    rig_free(r);
}

/* Closed after so many callbacks: what was reported written is there. */
static void closed_in_the_middle(void **state)
{
    (void)state;
    for (uint32_t at = 1; at < RECORDS * 2; at += 97) {
        struct rig *r = rig_new(at % 2 ? 0 : EK_S_NS / 100);
        r->stop_at = at;
        start_all(r);
        ek_loop_run(r->loop);
        r->stop_at = UINT32_MAX;
        ek_journal_close(&r->j); /* calls `done` for all that is pending, which asks for more */
        ek_loop_free(&r->loop);
        assert_int_equal(r->put, RECORDS);
        rig_open(r);
        assert_int_equal(r->found, RECORDS - r->used);
        rig_free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(to_the_end), cmocka_unit_test(closed_in_the_middle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
