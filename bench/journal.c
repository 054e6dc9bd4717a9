/* SPDX-License-Identifier: MIT */
/* What the journal costs: bench_journal DIR [RECORDS] [BYTES] [IN_FLIGHT]
 * Prints appends a second with so many in flight, the time of one put and of one use alone (what a first word
 * and a START wait for), and how long a door takes to read so many places at its start. */
#include "../tests/unit/journal_names.h"

#include "base/loop.h"
#include "journal/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct op {
    struct ek_journal_op op; /* first */
    struct bench *bench;
    uint64_t begin_ns;
    uint32_t n;
};

struct bench {
    struct ek_loop *loop;
    struct ek_journal *j;
    struct ek_journal_options o;
    struct ek_log log;
    char *body;
    size_t body_bytes;
    uint32_t count, next, ended, failed, in_flight, found;
    uint64_t *took_ns;
    bool use;
};

static void go(struct op *o);

static void done(struct ek_journal_op *p, enum ek_status s)
{
    struct op *o = (struct op *)p;
    struct bench *b = o->bench;
    b->took_ns[b->ended++] = ek_clock_read().mono_ns - o->begin_ns;
    b->failed += s != EK_OK;
    if (b->next < b->count) go(o);
    else if (b->ended == b->count) ek_loop_stop(b->loop);
}

static void go(struct op *o)
{
    struct bench *b = o->bench;
    o->n = b->next++;
    o->op = (struct ek_journal_op){.done = done};
    o->begin_ns = ek_clock_read().mono_ns;
    struct ek_journal_name name = name_of(o->n);
    struct ek_journal_put p = {.name = name, .owner = 7, .kind = 1, .first = ek_str_make(b->body, 300),
                               .second = ek_str_make(b->body, b->body_bytes)};
    enum ek_status s = b->use ? ek_journal_use(b->j, &o->op, &name) : ek_journal_put(b->j, &o->op, &p);
    MUST(s == EK_OK);
}

static int by_value(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, c = *(const uint64_t *)y;
    return a < c ? -1 : a > c;
}

static void run(struct bench *b, const char *what, bool use, uint32_t in_flight, uint32_t count)
{
    struct op *op = calloc(in_flight, sizeof *op);
    b->use = use;
    b->next = b->ended = b->failed = 0;
    b->count = count;
    uint64_t begin_ns = ek_clock_read().mono_ns;
    for (uint32_t i = 0; i < in_flight && i < count; i++) {
        op[i].bench = b;
        go(&op[i]);
    }
    ek_loop_run(b->loop);
    double s = (double)(ek_clock_read().mono_ns - begin_ns) * 1e-9;
    qsort(b->took_ns, count, sizeof *b->took_ns, by_value);
    printf("%-28s %8.0f a second, each p50 %7.0f us, p99 %7.0f us%s\n", what, count / s,
           (double)b->took_ns[count / 2] * 1e-3, (double)b->took_ns[count * 99ul / 100] * 1e-3,
           b->failed ? "  FAILED" : "");
    free(op);
}

static void found(void *arg, const struct ek_journal_found *f)
{
    ((struct bench *)arg)->found += !f->used;
}

static void open_journal(struct bench *b)
{
    char why[200] = "";
    uint64_t begin_ns = ek_clock_read().mono_ns;
    b->loop = ek_loop_new();
    b->j = ek_journal_open(b->loop, &b->o, &b->log, why, sizeof why);
    if (!b->j) fprintf(stderr, "%s\n", why);
    MUST(b->j);
    b->found = 0;
    ek_journal_visit(b->j, found, b);
    if (b->found)
        printf("%-28s %8u in %.0f ms\n", "places read at the start", b->found,
               (double)(ek_clock_read().mono_ns - begin_ns) * 1e-6);
}

static void close_journal(struct bench *b)
{
    ek_journal_close(&b->j);
    ek_loop_free(&b->loop);
}

int main(int argc, char **argv)
{
    struct bench b = {.log = {.name = "bench", .level = EK_LOG_WARN, .fd = 2}};
    if (argc < 2) return fprintf(stderr, "bench_journal DIR [RECORDS] [BYTES] [IN_FLIGHT]\n"), 64;
    uint32_t count = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 10000;
    b.body_bytes = argc > 3 ? strtoul(argv[3], NULL, 10) : 4096;
    uint32_t in_flight = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 200;
    MUST(count >= 200 && in_flight > 0);
    b.o = (struct ek_journal_options){.dir = argv[1], .bytes_max = 4ull << 30, .ttl_ns = 3600 * EK_S_NS,
                                      .fsync_ns = EK_S_NS};
    b.body = malloc(b.body_bytes < 300 ? 300 : b.body_bytes);
    b.took_ns = calloc(count, sizeof *b.took_ns);
    MUST(b.body && b.took_ns);
    memset(b.body, 'x', b.body_bytes < 300 ? 300 : b.body_bytes);
    open_journal(&b);
    printf("%u records of %zu bytes, %u in flight, fsync each second\n", count, b.body_bytes, in_flight);
    run(&b, "put", false, in_flight, count);
    close_journal(&b);
    open_journal(&b);
    run(&b, "use", true, in_flight, count - 100);
    close_journal(&b);
    open_journal(&b);
    run(&b, "put, one at a time", false, 1, 100); /* names of the used ones are free again */
    run(&b, "use, one at a time", true, 1, 100);
    close_journal(&b);
    free(b.body);
    free(b.took_ns);
    return 0;
}
