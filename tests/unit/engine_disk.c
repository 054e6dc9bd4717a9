/* SPDX-License-Identifier: MIT */
/* The disk tier of the KV cache: what is written is read again, by this engine and the next; what is damaged,
 * cut, foreign or gone is a miss; one engine at a time; never more than the limit; a disk that refuses costs
 * hits and nothing else. (That answers stay the same bit for bit is engine_same.c's business, too.) */
#include "same_cast.h"

#include "engine/kv_disk.h"
#include "engine/kv_index.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

enum { ROWS = 3000 };

static char top[64];
static const struct ek_kv_fingerprint mine = {1, 2}, other = {3, 4};

/* ---- the folder alone ----------------------------------------------------------------------------- */

static void on_wake(void *arg) { ring(arg); }

static struct bell bell = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static enum ek_status open_tier(struct ek_kv_fingerprint whose, uint64_t pages, struct ek_kv_disk **d,
                                char why[256])
{
    struct ek_kv_disk_options o = {.dir = top, .limit_bytes = pages * (EK_KV_FILE_HEAD + ROWS),
                                   .whose = whose, .rows_bytes = ROWS, .wake = on_wake, .wake_arg = &bell};
    return ek_kv_disk_open(&o, d, why, 256);
}

static struct ek_kv_disk *opened(uint64_t pages)
{
    char why[256] = "";
    struct ek_kv_disk *d;
    if (open_tier(mine, pages, &d, why) != EK_OK) fail_msg("%s", why);
    return d;
}

/* Wait for the disk thread to have done something more. */
static unsigned rings(void)
{
    pthread_mutex_lock(&bell.lock);
    unsigned n = bell.rings;
    pthread_mutex_unlock(&bell.lock);
    return n;
}

static void await(unsigned seen)
{
    pthread_mutex_lock(&bell.lock);
    while (bell.rings == seen) pthread_cond_wait(&bell.rung, &bell.lock);
    pthread_mutex_unlock(&bell.lock);
}

static struct ek_kv_key key_number(uint32_t n)
{
    struct ek_kv_key key = {.name = {n * 2654435761u, n + 1}, .before = {n, 7}, .generated = n};
    for (uint32_t i = 0; i < EK_KV_PAGE; i++) key.ids[i] = n + i;
    return key;
}

static void put(struct ek_kv_disk *d, uint32_t n)
{
    struct ek_kv_key key = key_number(n);
    uint8_t *rows;
    for (;;) {
        unsigned seen = rings();
        if ((rows = ek_kv_disk_page_begin(d)) != NULL) break;
        await(seen);
    }
    for (uint32_t i = 0; i < ROWS; i++) rows[i] = (uint8_t)(n * 31 + i);
    ek_kv_disk_page_write(d, rows, &key);
}

/* True: page n came back, and it is what was put. */
static bool get(struct ek_kv_disk *d, uint32_t n)
{
    struct ek_kv_key key = key_number(n);
    struct ek_kv_disk_read read;
    assert_true(ek_kv_disk_read(d, &key, 1000 + n));
    for (;;) {
        unsigned seen = rings();
        if (ek_kv_disk_take(d, &read)) break;
        await(seen);
    }
    assert_int_equal(read.ticket, 1000 + n);
    if (!read.rows) return false;
    for (uint32_t i = 0; i < ROWS; i++) assert_int_equal(read.rows[i], (uint8_t)(n * 31 + i));
    ek_kv_disk_give_back(d, read.rows);
    return true;
}

static struct ek_kv_disk_counters counters(struct ek_kv_disk *d)
{
    struct ek_kv_disk_counters c;
    ek_kv_disk_counters(d, &c);
    return c;
}

static void what_is_written_is_read_by_this_and_the_next(void **state)
{
    (void)state;
    struct ek_kv_disk *d = opened(100);
    for (uint32_t n = 0; n < 90; n++) put(d, n);
    ek_kv_disk_close(&d); /* everything is written first */
    d = opened(100);
    assert_int_equal(counters(d).pages, 90);
    for (uint32_t n = 0; n < 90; n++) {
        struct ek_kv_key key = key_number(n);
        assert_true(ek_kv_disk_has(d, key.name));
        assert_true(get(d, n));
    }
    assert_false(get(d, 90));
    assert_int_equal(counters(d).read, 90);
    assert_int_equal(counters(d).damaged + counters(d).errors, 0);
    ek_kv_disk_close(&d);
}

static void never_more_than_the_limit_and_the_oldest_goes(void **state)
{
    (void)state;
    struct ek_kv_disk *d = opened(8);
    for (uint32_t n = 0; n < 8; n++) put(d, n);
    while (counters(d).written < 8) sched_yield();
    assert_true(get(d, 0)); /* used: no longer the oldest */
    struct ek_kv_key key = key_number(0);
    assert_true(ek_kv_disk_has(d, key.name));
    for (uint32_t n = 8; n < 13; n++) put(d, n);
    ek_kv_disk_close(&d);
    d = opened(8);
    assert_int_equal(counters(d).pages, 8);
    assert_true(get(d, 0) && get(d, 12) && get(d, 6));
    assert_false(get(d, 1) || get(d, 5));
    ek_kv_disk_close(&d);
    d = opened(3); /* a smaller limit holds at once */
    assert_int_equal(counters(d).pages, 3);
    ek_kv_disk_close(&d);
    char why[256] = "";
    assert_int_equal(open_tier(mine, 0, &d, why), EK_INVALID);
}

static void one_engine_at_a_time_and_only_its_own(void **state)
{
    (void)state;
    char why[256] = "";
    struct ek_kv_disk *d = opened(8), *second, *foreign;
    put(d, 1);
    assert_int_equal(open_tier(mine, 8, &second, why), EK_FULL);
    assert_non_null(strstr(why, "another engine"));
    assert_null(second);
    assert_int_equal(open_tier(other, 8, &foreign, why), EK_OK);
    assert_int_equal(counters(foreign).pages, 0);
    assert_false(get(foreign, 1));
    ek_kv_disk_close(&foreign);
    ek_kv_disk_close(&d);
    struct ek_kv_disk_options nowhere = {.dir = "/nowhere/at/all", .limit_bytes = 1 << 20, .whose = mine,
                                         .rows_bytes = ROWS, .wake = on_wake, .wake_arg = &bell};
    assert_int_equal(ek_kv_disk_open(&nowhere, &d, why, sizeof why), EK_IO);
}

static void who_waits_has_it_when_the_other_has_ended(void **state)
{
    (void)state;
    char why[256] = "";
    struct ek_kv_disk *d = opened(8), *next;
    put(d, 21);
    while (counters(d).written < 1) sched_yield();
    struct ek_kv_disk_options o = {.dir = top, .limit_bytes = 8 * (EK_KV_FILE_HEAD + ROWS), .whose = mine,
                                   .rows_bytes = ROWS, .waits = true, .wake = on_wake, .wake_arg = &bell};
    assert_int_equal(ek_kv_disk_open(&o, &next, why, sizeof why), EK_OK);
    assert_false(get(next, 21));
    put(next, 22);
    while (counters(next).skipped < 1) sched_yield();
    assert_int_equal(counters(next).pages, 0);
    assert_true(get(d, 21));
    ek_kv_disk_close(&d);
    for (uint64_t tries = 1; counters(next).written < 1; tries++) { /* it asks once a second */
        put(next, 23);
        while (counters(next).written < 1 && counters(next).skipped <= tries) sched_yield();
    }
    assert_true(get(next, 21) && get(next, 23));
    ek_kv_disk_close(&next);
}

/* A file in our own folder; returns how many there are that could be pages. */
static unsigned each_file(const char *add, const void *bytes, size_t len)
{
    char path[512];
    unsigned n = 0;
    snprintf(path, sizeof path, "%s/%016x%016x%s%s", top, 2, 1, add ? "/" : "", add ? add : "");
    if (add) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, len, f), len);
        fclose(f);
        return 0;
    }
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (const struct dirent *e; (e = readdir(dir)) != NULL;) n += strlen(e->d_name) == 32;
    closedir(dir);
    return n;
}

static void what_is_damaged_is_a_miss(void **state)
{
    (void)state;
    uint64_t seed = 4;
    struct ek_kv_disk *d = opened(64);
    for (uint32_t n = 0; n < 60; n++) put(d, n);
    ek_kv_disk_close(&d);
    cast_each_file(top, &seed); /* a bit in every third, the lock file is empty */
    each_file("00000000000000010000000000000001", "x", 1);
    each_file("incomplete", "half a page", 11);
    each_file("notes.txt", "not ours", 8);
    d = opened(64);
    assert_int_equal(counters(d).damaged, 1); /* that could be seen from outside */
    unsigned good = 0, bad = 0;
    for (uint32_t n = 0; n < 60; n++) *(get(d, n) ? &good : &bad) += 1;
    print_message("%u whole, %u damaged\n", good, bad);
    assert_true(good > 20 && bad > 5);
    assert_int_equal(counters(d).damaged, 1 + bad);
    assert_int_equal(each_file(NULL, NULL, 0), good);
    for (uint32_t n = 0; n < 60; n++) put(d, n); /* and can be written anew */
    ek_kv_disk_close(&d);
    d = opened(64);
    for (uint32_t n = 0; n < 60; n++) assert_true(get(d, n));
    ek_kv_disk_close(&d);
}

static void a_disk_that_refuses_is_left_alone(void **state)
{
    (void)state;
    struct rlimit before, small;
    struct ek_kv_disk *d = opened(8);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = ROWS / 2;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (uint32_t n = 0; n < 5; n++) put(d, n);
    while (counters(d).skipped < 5) sched_yield();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(counters(d).errors >= 1 && counters(d).pages == 0);
    assert_int_equal(each_file(NULL, NULL, 0), 0);
    ek_kv_disk_close(&d);
}

/* Against a plain list, with few names so that they meet again and again. */
static void the_index_keeps_the_order_of_use(void **state)
{
    (void)state;
    enum { MOST = 70, NAMES = 150 };
    struct ek_kv_index *x = ek_kv_index_new(MOST);
    uint32_t list[NAMES], n = 0; /* oldest first */
    uint64_t seed = 9;
    for (int step = 0; step < 50000; step++) {
        uint32_t id = cast_below(&seed, NAMES), at = 0, act = cast_below(&seed, 8);
        struct ek_kv_name name = {id % 40, id}, oldest; /* many in one bucket */
        while (at < n && list[at] != id) at++;
        assert_int_equal(ek_kv_index_has(x, name), at < n);
        assert_int_equal(ek_kv_index_count(x), n);
        bool there = at < n, gone = there && (act < 6 || act == 6);
        if (act == 7) {
            assert_int_equal(ek_kv_index_pop_oldest(x, &oldest), n > 0);
            if (n == 0) continue;
            assert_int_equal(oldest.hi, list[0]);
            at = 0;
            gone = true;
        }
        if (gone) memmove(&list[at], &list[at + 1], (--n - at) * sizeof *list);
        if (act == 6) ek_kv_index_remove(x, name);
        if (act >= 6) continue;
        assert_int_equal(ek_kv_index_full(x), n + there == MOST);
        ek_kv_index_add(x, name);
        if (there || n < MOST) list[n++] = id;
    }
    ek_kv_index_free(&x);
}

/* ---- an engine with it ---------------------------------------------------------------------------- */

struct seen {
    uint32_t ids[64], n, cached;
};

static struct seen ask(struct bench *b, const struct ek_engine_job *job)
{
    struct seen s = {0};
    char why[256] = "";
    uint64_t id;
    struct ek_engine_event e;
    if (ek_engine_submit(b->engine, job, &id, why, sizeof why) != EK_OK) fail_msg("%s", why);
    do {
        e = next_event(b);
        if (e.has_token) s.ids[s.n++] = e.token.id;
        s.cached = e.cached_tokens;
    } while (e.finish == EK_JOB_GOES_ON);
    return s;
}

static struct ek_engine_job a_job(uint32_t *prompt, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) prompt[i] = i * 7 % 150;
    struct ek_engine_job job = {.prompt_ids = prompt, .prompt_tokens = n, .max_tokens = 20, .cache_salt = 5,
                                .sampling = ek_sampling_greedy(), .ignore_stop_ids = true};
    job.thinking = (struct ek_job_thinking){
        .open_id = EK_NO_TOKEN, .end_id = EK_NO_TOKEN, .budget = EK_THINK_UNLIMITED};
    return job;
}

static void the_next_engine_finds_what_this_one_computed(void **state)
{
    (void)state;
    char path[64];
    uint32_t prompt[300];
    uint64_t seed = 3;
    struct ek_engine_job job = a_job(prompt, 300);
    struct ek_engine_load load;
    struct bench b;
    maker_save(&cast_recipes[0], path);
    struct ek_engine_options o = {.model_path = path, .slots = 2, .threads = 1, .ctx_tokens = 512,
                                  .kv_disk = top};
    bench_open(&b, &o);
    struct seen first = ask(&b, &job), again;
    assert_int_equal(first.cached, 0);
    ek_engine_close(&b.engine);
    for (int round = 0; round < 3; round++) {
        bench_open(&b, &o);
        again = ask(&b, &job);
        assert_memory_equal(first.ids, again.ids, sizeof first.ids);
        if (round == 0) assert_int_equal(again.cached, 256);
        job.cache_salt = 100 + (uint64_t)round;
        assert_int_equal(ask(&b, &job).cached, 0); /* somebody else's is not his */
        job.cache_salt = 5;
        ek_engine_load(b.engine, &load);
        assert_true(load.disk && load.disk_errors == 0 && load.disk_stuck == 0);
        ek_engine_close(&b.engine);
        cast_each_file(top, &seed); /* from now on some are damaged */
    }
    o.kv_type = EK_KV_F16; /* other numbers: nothing of that is his */
    bench_open(&b, &o);
    assert_int_equal(ask(&b, &job).cached, 0);
    o.kv_disk = "/nowhere/at/all";
    char why[256] = "";
    struct ek_engine *none;
    assert_int_equal(ek_engine_open(&o, NULL, NULL, &none, why, sizeof why), EK_IO);
    ek_engine_close(&b.engine);
    unlink(path);
}

/* Every page becomes a pipe that is open and says nothing: fds[], their number. */
static int hang(int *fds, int most)
{
    char *dirs[] = {top, NULL};
    FTS *walk = fts_open(dirs, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    int n = 0;
    assert_non_null(walk);
    for (FTSENT *f; (f = fts_read(walk)) != NULL;) {
        if (f->fts_info != FTS_F || f->fts_namelen != 32) continue;
        assert_in_range(n, 0, most - 1);
        assert_int_equal(unlink(f->fts_accpath), 0);
        assert_int_equal(mkfifo(f->fts_accpath, 0600), 0);
        fds[n] = open(f->fts_accpath, O_RDWR | O_CLOEXEC);
        assert_true(fds[n++] >= 0);
    }
    fts_close(walk);
    return n;
}

static void release(const int *fds, int n)
{
    char *dirs[] = {top, NULL};
    FTS *walk = fts_open(dirs, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    assert_non_null(walk);
    for (FTSENT *f; (f = fts_read(walk)) != NULL;)
        if (f->fts_info == FTS_DEFAULT) assert_int_equal(unlink(f->fts_accpath), 0);
    fts_close(walk);
    for (int i = 0; i < n; i++) close(fds[i]);
}

/* Three whose beginning lies on a disk that hangs in the midst of a read, and one with nothing there: all get
 * their answers while it hangs, computed anew; and so do others whose pages it cannot take any more. */
static void a_disk_that_hangs_holds_nobody_up(void **state)
{
    (void)state;
    enum { WAITING = 3, ALL = 4, LATER = 30 };
    char path[64], why[256];
    uint32_t prompt[300];
    struct ek_engine_job job = a_job(prompt, 300);
    struct ek_engine_load load;
    struct seen first, got[ALL] = {0};
    struct bench b;
    uint64_t ids[ALL];
    int fds[8 * WAITING], n;
    maker_save(&cast_recipes[0], path);
    struct ek_engine_options o = {.model_path = path, .slots = 2, .threads = 1, .ctx_tokens = 512,
                                  .kv_disk = top, .kv_disk_wait_ms = 50, .waiting_max = 8};
    bench_open(&b, &o);
    for (uint64_t i = 0; i < WAITING; i++) {
        job.cache_salt = 10 + i;
        first = ask(&b, &job);
    }
    ek_engine_close(&b.engine);
    bench_open(&b, &o);
    n = hang(fds, 8 * WAITING);
    assert_in_range(n, 4 * WAITING, 8 * WAITING);
    for (uint64_t i = 0; i < ALL; i++) {
        job.cache_salt = 10 + i; /* of the last nothing is there */
        job.user = &got[i];
        assert_int_equal(ek_engine_submit(b.engine, &job, &ids[i], why, sizeof why), EK_OK);
    }
    for (int left = ALL; left > 0;) {
        struct ek_engine_event e = next_event(&b);
        struct seen *s = e.user;
        if (e.has_token) s->ids[s->n++] = e.token.id;
        s->cached = e.cached_tokens;
        left -= e.finish != EK_JOB_GOES_ON;
    }
    for (int i = 0; i < ALL; i++) assert_memory_equal(&got[i], &first, sizeof first); /* cached: 0 */
    for (uint64_t i = 0; i < LATER; i++) {
        job.cache_salt = 100 + i;
        assert_memory_equal(ask(&b, &job).ids, first.ids, sizeof first.ids);
    }
    ek_engine_load(b.engine, &load);
    assert_int_equal(load.disk_stuck, 1);
    assert_in_range(load.disk_late, 1, WAITING);
    assert_true(load.disk_restored_tokens == 0 && load.disk_lost_tokens > 0);
    release(fds, n);
    ek_engine_close(&b.engine);
    unlink(path);
}

static int make_top(void **state)
{
    (void)state;
    snprintf(top, sizeof top, "/tmp/ek-disk-XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static int drop_top(void **state)
{
    (void)state;
    cast_each_file(top, NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, make_top, drop_top)
        IN_FOLDER(what_is_written_is_read_by_this_and_the_next),
        IN_FOLDER(never_more_than_the_limit_and_the_oldest_goes),
        IN_FOLDER(one_engine_at_a_time_and_only_its_own),
        IN_FOLDER(who_waits_has_it_when_the_other_has_ended),
        IN_FOLDER(what_is_damaged_is_a_miss),
        IN_FOLDER(a_disk_that_refuses_is_left_alone),
        IN_FOLDER(the_next_engine_finds_what_this_one_computed),
        IN_FOLDER(a_disk_that_hangs_holds_nobody_up),
        cmocka_unit_test(the_index_keeps_the_order_of_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
