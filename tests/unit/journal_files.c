/* SPDX-License-Identifier: MIT */
/* The journal on a real directory and a virtual loop: what lives survives a restart in its order, what was
 * used or erased does not come back, bounds hold, a disk that is full or damaged loses nothing in silence. */
#include "cm.h"
#include "journal_names.h"

#include "base/loop_virtual.h"
#include "base/random.h"
#include "journal/journal_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAMES 20000u

struct rig {
    char dir[64];
    struct ek_loop *loop;
    struct ek_journal *j;
    struct ek_log log;
    struct ek_journal_options o;
    uint32_t found[NAMES]; /* names in the order in which they were visited */
    uint32_t found_count, used_count, opened;
    uint64_t unix_ns;
    int log_pipe[2];
};

struct op {
    struct ek_journal_op op; /* first */
    enum ek_status status;
    uint32_t calls;
};

static void ended(struct ek_journal_op *op, enum ek_status s)
{
    struct op *o = (struct op *)op;
    o->status = s;
    o->calls++;
}

static void text_of(uint32_t n, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++) out[i] = (char)('a' + (n + i) % 23);
}

static void visit(void *arg, const struct ek_journal_found *f)
{
    struct rig *r = arg;
    uint32_t n;
    memcpy(&n, f->name.key + 8, sizeof n);
    if (f->used) {
        r->used_count++;
        return;
    }
    char *wanted = malloc(f->payload.len + 1);
    text_of(n, f->payload.len, wanted);
    assert_memory_equal(f->payload.data, wanted, f->payload.len);
    assert_int_equal(f->owner, n + 5);
    assert_int_equal(f->kind, 3);
    free(wanted);
    r->found[r->found_count++] = n;
}

static bool rig_open(struct rig *r)
{
    char why[256] = "";
    struct ek_virtual_options vo = {.seed = ++r->opened, .start_unix_ns = r->unix_ns};
    r->found_count = r->used_count = 0;
    r->loop = ek_loop_new_virtual(&vo);
    r->j = ek_journal_open(r->loop, &r->o, &r->log, why, sizeof why);
    if (r->j) ek_journal_visit(r->j, visit, r);
    if (!r->j) printf("%s\n", why);
    if (!r->j) ek_loop_free(&r->loop);
    return r->j != NULL;
}

static void rig_close(struct rig *r)
{
    ek_journal_check(r->j);
    r->unix_ns = ek_loop_now(r->loop).unix_ns;
    ek_journal_close(&r->j);
    ek_virtual_settle(r->loop);
    ek_loop_free(&r->loop);
}

/* What kill -9 does: nothing more is written, the files stay as they are. */
static void rig_kill(struct rig *r)
{
    char copy[80];
    char line[400];
    snprintf(copy, sizeof copy, "%s.was", r->dir);
    snprintf(line, sizeof line, "rm -rf %s && cp -a %s %s", copy, r->dir, copy);
    assert_int_equal(system(line), 0);
    rig_close(r);
    snprintf(line, sizeof line, "rm -rf %s && mv %s %s", r->dir, copy, r->dir);
    assert_int_equal(system(line), 0);
}

static struct rig *rig_new(uint64_t bytes_max)
{
    struct rig *r = calloc(1, sizeof *r);
    snprintf(r->dir, sizeof r->dir, "/tmp/evenkeel-journal-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->unix_ns = 1700000000 * EK_S_NS;
    r->log = (struct ek_log){.name = "test", .level = EK_LOG_INFO, .fd = -1};
    r->o = (struct ek_journal_options){.dir = r->dir, .bytes_max = bytes_max, .ttl_ns = 3600 * EK_S_NS,
                                       .fsync_ns = EK_S_NS};
    assert_true(rig_open(r));
    return r;
}

static void rig_free(struct rig *r)
{
    char line[200];
    rig_close(r);
    snprintf(line, sizeof line, "rm -rf %s", r->dir);
    assert_int_equal(system(line), 0);
    free(r);
}

static enum ek_status put(struct rig *r, struct op *o, uint32_t n, const char *text, size_t len)
{
    *o = (struct op){.op = {.done = ended}};
    size_t split = len / 2;
    struct ek_journal_put p = {.name = name_of(n), .owner = n + 5, .kind = 3,
                               .first = ek_str_make(text, split),
                               .second = ek_str_make(text + split, len - split)};
    return ek_journal_put(r->j, &o->op, &p);
}

/* One put, to its end. */
static enum ek_status put_now(struct rig *r, uint32_t n, size_t len)
{
    struct op o;
    char *text = malloc(len + 1);
    text_of(n, len, text);
    enum ek_status s = put(r, &o, n, text, len);
    if (s == EK_OK) {
        ek_virtual_settle(r->loop);
        assert_int_equal(o.calls, 1);
        s = o.status;
    }
    free(text);
    return s;
}

static enum ek_status use_now(struct rig *r, uint32_t n)
{
    struct op o = {.op = {.done = ended}};
    struct ek_journal_name name = name_of(n);
    enum ek_status s = ek_journal_use(r->j, &o.op, &name);
    if (s != EK_OK) return s;
    ek_virtual_settle(r->loop);
    assert_int_equal(o.calls, 1);
    return o.status;
}

static void erase(struct rig *r, uint32_t n)
{
    struct ek_journal_name name = name_of(n);
    ek_journal_erase(r->j, &name);
}

static void check_read(struct rig *r, uint32_t n, size_t len)
{
    struct op o = {.op = {.done = ended}};
    struct ek_journal_name name = name_of(n);
    struct ek_buf b = ek_buf_make(1 << 24);
    char *wanted = malloc(len + 1);
    ek_buf_lit(&b, "before");
    assert_int_equal(ek_journal_read(r->j, &o.op, &name, &b), EK_OK);
    ek_virtual_settle(r->loop);
    assert_int_equal(o.status, EK_OK);
    text_of(n, len, wanted);
    assert_int_equal(b.len, len + 6);
    assert_memory_equal(b.data, "before", 6);
    assert_memory_equal(b.data + 6, wanted, len);
    ek_buf_free(&b);
    free(wanted);
}

/* Does any file of the directory hold this text? */
static bool on_disk(struct rig *r, const char *text)
{
    char line[300];
    snprintf(line, sizeof line, "grep -rqF -- '%s' %s", text, r->dir);
    return system(line) == 0;
}

static unsigned files_in(struct rig *r)
{
    unsigned count = 0;
    DIR *d = opendir(r->dir);
    for (struct dirent *e; (e = readdir(d));) count += strstr(e->d_name, ".journal") != NULL;
    closedir(d);
    return count;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void a_life(void **state)
{
    (void)state;
    struct rig *r = rig_new(16 << 20);
    uint32_t id = ek_journal_identity(r->j)->id;
    for (uint32_t n = 0; n < 20; n++) assert_int_equal(put_now(r, n, 100 * n), EK_OK);
    for (uint32_t n = 0; n < 20; n++) check_read(r, n, 100 * n);
    assert_int_equal(use_now(r, 3), EK_OK);
    assert_int_equal(use_now(r, 3), EK_ABSENT); /* once */
    erase(r, 4);
    erase(r, 4);
    ek_virtual_settle(r->loop);
    rig_kill(r);
    assert_true(rig_open(r));
    assert_int_equal(ek_journal_identity(r->j)->id, id);
    assert_int_equal(r->found_count, 18);
    for (uint32_t i = 0, n = 0; i < 18; i++, n++) {
        if (n == 3) n = 5;
        assert_int_equal(r->found[i], n);
        check_read(r, n, 100 * n);
    }
    assert_int_equal(use_now(r, 3), EK_ABSENT);
    assert_int_equal(use_now(r, 7), EK_OK);
    assert_int_equal(ek_journal_counters(r->j).lost, 0);
    rig_free(r);
}

/* The mark is on disk before `done`: a process killed right after it will not serve it again. */
static void used_before_it_is_told(void **state)
{
    (void)state;
    struct rig *r = rig_new(16 << 20);
    struct op o = {.op = {.done = ended}};
    struct ek_journal_name name = name_of(1);
    assert_int_equal(put_now(r, 1, 1000), EK_OK);
    assert_int_equal(put_now(r, 2, 1000), EK_OK);
    assert_int_equal(ek_journal_use(r->j, &o.op, &name), EK_OK);
    assert_false(ek_journal_has(r->j, &name));
    while (!o.calls) ek_virtual_settle(r->loop);
    rig_kill(r);
    assert_true(rig_open(r));
    assert_int_equal(r->found_count, 1);
    assert_int_equal(r->found[0], 2);
    rig_free(r);
}

static void erased_means_gone_from_the_disk(void **state)
{
    (void)state;
    struct rig *r = rig_new(16 << 20);
    char text[] = "the-secret-of-somebody-0123456789";
    struct op o;
    assert_int_equal(put(r, &o, 1, text, sizeof text), EK_OK);
    ek_virtual_settle(r->loop);
    assert_true(on_disk(r, text));
    erase(r, 1);
    ek_virtual_settle(r->loop);
    assert_false(on_disk(r, text));
    assert_int_equal(put(r, &o, 2, text, sizeof text), EK_OK);
    ek_virtual_settle(r->loop);
    assert_int_equal(use_now(r, 2), EK_OK);
    ek_virtual_settle(r->loop);
    assert_false(on_disk(r, text));
    struct ek_journal_counters c = ek_journal_counters(r->j);
    assert_int_equal(c.erased, 2);
    assert_int_equal(c.live, 0);
    rig_free(r);
}

/* Over before the helper came to it: never written at all, and its owner hears so. */
static void erased_before_written(void **state)
{
    (void)state;
    struct rig *r = rig_new(16 << 20);
    char text[] = "never-to-be-written";
    struct op o;
    assert_int_equal(put(r, &o, 1, text, sizeof text), EK_OK);
    erase(r, 1);
    ek_virtual_settle(r->loop);
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.status, EK_IO);
    assert_false(on_disk(r, text));
    assert_int_equal(ek_journal_counters(r->j).failures, 0);
    assert_int_equal(put_now(r, 1, 10), EK_OK); /* the name is free again */
    rig_free(r);
}

static void bounded(void **state)
{
    (void)state;
    struct rig *r = rig_new(4 << 20);
    uint32_t n = 0;
    while (put_now(r, n, 10000) == EK_OK) n++;
    struct ek_journal_counters c = ek_journal_counters(r->j);
    assert_true(n > 300 && c.bytes <= 4 << 20);
    assert_int_equal(c.refused_full, 1);
    assert_true(files_in(r) >= 4);
    for (uint32_t i = 0; i < n; i++) erase(r, i);
    ek_virtual_settle(r->loop);
    ek_virtual_advance(r->loop, 3 * EK_S_NS); /* dead files are deleted, once a second */
    ek_journal_check(r->j);
    assert_true(files_in(r) <= 1);
    assert_true(ek_journal_counters(r->j).bytes < 1 << 20);
    assert_int_equal(put_now(r, 0, 10000), EK_OK);
    static char large[2 << 20];
    struct op o;
    assert_int_equal(put(r, &o, 9, large, sizeof large), EK_OK); /* larger than a file: one of its own */
    ek_virtual_settle(r->loop);
    assert_int_equal(o.status, EK_OK);
    struct ek_journal_put too = {.name = name_of(10), .first = {large, (size_t)EK_RECORD_PAYLOAD_MAX + 1}};
    assert_int_equal(ek_journal_put(r->j, &o.op, &too), EK_INVALID);
    struct op reads[80]; /* readers are bounded, too: 64 MiB at once */
    static struct ek_buf into[80];
    uint32_t accepted = 0;
    struct ek_journal_name nine = name_of(9);
    for (uint32_t i = 0; i < EK_COUNT(reads); i++) {
        reads[i] = (struct op){.op = {.done = ended}};
        into[i] = ek_buf_make(4 << 20);
        accepted += ek_journal_read(r->j, &reads[i].op, &nine, &into[i]) == EK_OK;
    }
    assert_int_equal(accepted, 31);
    ek_virtual_settle(r->loop);
    for (uint32_t i = 0; i < EK_COUNT(reads); i++) ek_buf_free(&into[i]);
    assert_int_equal(r->j->pending_bytes, 0);
    erase(r, 9);
    rig_free(r);
}

/* One living record in ten keeps no file alive for ever: it is moved, and keeps its place in the order. */
static void nearly_empty_files_are_emptied(void **state)
{
    (void)state;
    struct rig *r = rig_new(4 << 20);
    uint32_t n = 0, live = 0;
    while (put_now(r, n, 10000) == EK_OK) n++;
    for (uint32_t i = 0; i < n; i++)
        if (i % 10) erase(r, i);
        else live++;
    ek_virtual_settle(r->loop);
    ek_virtual_advance(r->loop, 10 * EK_S_NS);
    struct ek_journal_counters c = ek_journal_counters(r->j);
    ek_journal_check(r->j);
    printf("%u of %u live: %llu bytes in %u files, %llu moved\n", live, n, (unsigned long long)c.bytes,
           files_in(r), (unsigned long long)c.moved);
    assert_true(c.moved > 0 && c.bytes <= (4u << 20) / 4 * 3);
    for (uint32_t i = 0; i < n; i += 10) check_read(r, i, 10000);
    rig_kill(r);
    assert_true(rig_open(r));
    assert_int_equal(r->found_count, live);
    for (uint32_t i = 0; i < live; i++) assert_int_equal(r->found[i], i * 10);
    rig_free(r);
}

static void time_to_live(void **state)
{
    (void)state;
    struct rig *r = rig_new(4 << 20);
    assert_int_equal(put_now(r, 1, 100), EK_OK);
    ek_virtual_advance(r->loop, 3000 * EK_S_NS);
    assert_int_equal(put_now(r, 2, 100), EK_OK);
    ek_virtual_advance(r->loop, 700 * EK_S_NS);
    struct ek_journal_name one = name_of(1), two = name_of(2);
    assert_false(ek_journal_has(r->j, &one));
    assert_true(ek_journal_has(r->j, &two));
    rig_kill(r);
    r->unix_ns += 7200 * EK_S_NS; /* the door was away for two hours */
    assert_true(rig_open(r));
    assert_int_equal(r->found_count, 0);
    assert_int_equal(ek_journal_counters(r->j).expired, 1);
    rig_free(r);
}

static void one_door_at_a_time(void **state)
{
    (void)state;
    struct rig *r = rig_new(4 << 20);
    char why[256];
    assert_null(ek_journal_open(r->loop, &r->o, &r->log, why, sizeof why));
    assert_non_null(strstr(why, "in use by another door"));
    struct ek_journal_options nowhere = r->o;
    nowhere.dir = "/proc/nothing/here";
    assert_null(ek_journal_open(r->loop, &nowhere, &r->log, why, sizeof why));
    assert_non_null(strstr(why, "cannot be opened"));
    rig_free(r);
}

static void log_to_pipe(struct rig *r)
{
    assert_int_equal(pipe2(r->log_pipe, O_NONBLOCK), 0);
    r->log.fd = r->log_pipe[1];
}

static unsigned lines_logged(struct rig *r, const char *what)
{
    static char text[65536];
    ssize_t n = read(r->log_pipe[0], text, sizeof text - 1);
    unsigned count = 0;
    text[n > 0 ? n : 0] = '\0';
    for (const char *s = text; (s = strstr(s, what)); s++) count++;
    printf("%s", text);
    return count;
}

/* The first file's middle is overwritten, the last one's tail is cut, a third is rubbish. */
static void damage_is_counted_and_said(void **state)
{
    (void)state;
    struct rig *r = rig_new(8 << 20);
    char path[120];
    for (uint32_t n = 0; n < 200; n++) assert_int_equal(put_now(r, n, 10000), EK_OK);
    rig_kill(r);
    snprintf(path, sizeof path, "%s/%016x.journal", r->dir, 1);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "rubbish", 7, 500 * 1000), 7);
    close(fd);
    snprintf(path, sizeof path, "%s/%016x.journal", r->dir, 2);
    assert_int_equal(truncate(path, 300 * 1000), 0);
    snprintf(path, sizeof path, "%s/%016x.journal", r->dir, 99);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, "not a journal at all, and short", 31), 31);
    close(fd);
    log_to_pipe(r);
    assert_true(rig_open(r));
    struct ek_journal_counters c = ek_journal_counters(r->j);
    printf("%u found, %llu lost\n", r->found_count, (unsigned long long)c.lost);
    assert_true(r->found_count >= 130 && r->found_count < 200 && c.lost >= 3);
    for (uint32_t i = 1; i < r->found_count; i++) assert_true(r->found[i] > r->found[i - 1]);
    assert_int_equal(lines_logged(r, "is damaged"), 1);
    assert_int_equal(put_now(r, 1000, 100), EK_OK);
    rig_kill(r);
    char identity[120];
    snprintf(identity, sizeof identity, "%s/identity", r->dir);
    assert_int_equal(truncate(identity, 20), 0);
    assert_true(rig_open(r));
    assert_int_equal(r->found_count, 0);
    assert_true(lines_logged(r, "damaged") >= 2);
    assert_int_equal(put_now(r, 1001, 100), EK_OK);
    rig_free(r);
}

static bool opens(struct rig *r, const char *command)
{
    char line[400];
    if (r->j) rig_close(r);
    snprintf(line, sizeof line, "cd %s && %s", r->dir, command);
    assert_int_equal(system(line), 0);
    return rig_open(r);
}

/* --journal /dev is a slip of the hand. */
static void only_a_directory_of_its_own(void **state)
{
    (void)state;
    struct rig *r = rig_new(8 << 20);
    assert_int_equal(put_now(r, 1, 100), EK_OK);
    assert_false(opens(r, "touch thesis.tex"));
    assert_false(opens(r, "rm thesis.tex && chmod 777 ."));
    assert_false(opens(r, "chmod 700 . && mv identity identity.new && ln -s identity.new identity"));
    assert_true(opens(r, "rm identity && mv identity.new identity && mkdir lost+found"));
    assert_int_equal(r->found_count, 1);
    rig_free(r);
}

/* In a child with a file system of its own. */
static int on_a_small_disk(void)
{
    struct rig *r = calloc(1, sizeof *r);
    snprintf(r->dir, sizeof r->dir, "/tmp/evenkeel-journal-XXXXXX");
    if (!mkdtemp(r->dir)) return 1;
    if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return 77;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return 77;
    if (mount("none", r->dir, "tmpfs", 0, "size=1m") != 0) return 77;
    r->unix_ns = 1700000000 * EK_S_NS;
    r->log = (struct ek_log){.name = "test", .level = EK_LOG_INFO, .fd = -1};
    r->o = (struct ek_journal_options){.dir = r->dir, .bytes_max = 8 << 20, .ttl_ns = 3600 * EK_S_NS,
                                       .fsync_ns = EK_S_NS};
    log_to_pipe(r);
    if (!rig_open(r)) return 2;
    uint32_t n = 0;
    enum ek_status s;
    while ((s = put_now(r, n, 10000)) == EK_OK) n++;
    if (s != EK_IO || n < 80) return 3;
    if (put_now(r, n + 1, 10000) != EK_FULL) return 4; /* at once, without asking the disk again */
    ek_virtual_advance(r->loop, 2 * EK_S_NS);
    if (put_now(r, n + 2, 10000) != EK_IO) return 5;
    if (lines_logged(r, "cannot be written") != 1) return 6; /* one sentence, not one a request */
    for (uint32_t i = 0; i < n; i++) check_read(r, i, 10000);
    if (use_now(r, 0) != EK_OK) return 7; /* marks and erasures need no room */
    for (uint32_t i = 1; i < n; i++) erase(r, i);
    ek_virtual_settle(r->loop);
    ek_journal_check(r->j);
    ek_virtual_advance(r->loop, 4 * EK_S_NS);
    if (put_now(r, n + 3, 10000) != EK_OK) return 8;
    if (lines_logged(r, "can be written again") != 1) return 9;
    struct ek_journal_counters c = ek_journal_counters(r->j);
    if (c.failures < 2 || c.refused_trouble != 1 || c.live != 1) return 10;
    rig_close(r);
    if (!rig_open(r)) return 11;
    if (r->found_count != 1 || r->found[0] != n + 3 || ek_journal_counters(r->j).lost) return 12;
    rig_close(r);
    return 0;
}

static void a_full_disk(void **state)
{
    (void)state;
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(on_a_small_disk());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        printf("SKIP: a tmpfs of its own may not be mounted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Anything in any order, killed now and then: what lives afterwards is exactly what should. */
static void at_random(void **state)
{
    (void)state;
    struct rig *r = rig_new(8 << 20);
    struct ek_random rng = ek_random_make(20261121);
    static uint8_t lives[3000];
    static uint32_t bytes[3000];
    uint32_t made = 0, kills = 0;
    memset(lives, 0, sizeof lives);
    printf("seed 20261121\n");
    for (uint32_t step = 0; step < 6000; step++) {
        uint64_t dice = ek_random_below(&rng, 100);
        uint32_t n = made ? (uint32_t)ek_random_below(&rng, made) : 0;
        if (dice < 45 && made < 3000) {
            bytes[made] = (uint32_t)ek_random_below(&rng, dice == 0 ? 300000 : 6000);
            lives[made] = put_now(r, made, bytes[made]) == EK_OK;
            made++;
        } else if (dice < 60 && lives[n]) {
            assert_int_equal(use_now(r, n), EK_OK);
            lives[n] = 0;
        } else if (dice < 85) {
            erase(r, n);
            lives[n] = 0;
        } else if (dice < 90 && lives[n]) {
            check_read(r, n, bytes[n]);
        } else if (dice < 98) {
            ek_virtual_advance(r->loop, ek_random_below(&rng, 2 * EK_S_NS));
        } else if (dice == 98) {
            ek_virtual_settle(r->loop);
            rig_kill(r);
            assert_true(rig_open(r));
            kills++;
            uint32_t count = 0, last = 0;
            for (uint32_t i = 0; i < made; i++) count += lives[i];
            assert_int_equal(r->found_count, count);
            for (uint32_t i = 0; i < count; i++) {
                assert_true(lives[r->found[i]] && (i == 0 || r->found[i] > last));
                last = r->found[i];
            }
        }
        ek_virtual_settle(r->loop);
        ek_journal_check(r->j);
    }
    struct ek_journal_counters c = ek_journal_counters(r->j);
    printf("%u puts, %u kills, %llu live\n", made, kills, (unsigned long long)c.live);
    assert_true(kills > 20 && c.failures == 0 && c.lost == 0);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_life), cmocka_unit_test(used_before_it_is_told),
        cmocka_unit_test(erased_means_gone_from_the_disk), cmocka_unit_test(erased_before_written),
        cmocka_unit_test(bounded), cmocka_unit_test(nearly_empty_files_are_emptied),
        cmocka_unit_test(time_to_live), cmocka_unit_test(one_door_at_a_time),
        cmocka_unit_test(damage_is_counted_and_said), cmocka_unit_test(a_full_disk),
        cmocka_unit_test(only_a_directory_of_its_own),
        cmocka_unit_test(at_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
