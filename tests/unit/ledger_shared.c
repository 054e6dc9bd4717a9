/* SPDX-License-Identifier: MIT */
/* Two doors and a private Redis (or Valkey): limits hold over both, Redis dies, each keeps to its
 * share, Redis comes back; a door that dies leaves no count behind. Skipped, saying so, where no
 * server is installed. */
#include "cm.h"

#include "ledger/shared.h"

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START (UINT64_C(29379480) * 60 * EK_S_NS)

static char dir[64], path[128];
static const char *program;
static pid_t server;

static struct ek_now at(uint64_t ms)
{
    return (struct ek_now){.mono_ns = 1, .unix_ns = START + ms * EK_MS_NS};
}

static void redis_up(void)
{
    server = fork();
    MUST(server >= 0);
    if (server == 0) {
        int null = open("/dev/null", O_RDWR);
        dup2(null, 1);
        dup2(null, 2);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(program, program, "--port", "0", "--unixsocket", path, "--save", "", "--dir", dir,
              (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 3000; i++) {
        redisContext *c = redisConnectUnix(path);
        bool good = c && !c->err;
        if (c) redisFree(c);
        if (good) return;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    WRONG("Redis did not start");
}

static void redis_kill(void)
{
    kill(server, SIGKILL);
    MUST(waitpid(server, NULL, 0) == server);
    unlink(path);
}

struct door {
    struct ek_loop *loop;
    struct ek_windows *windows;
    struct ek_shared *shared;
};

static void heard(void *arg) { ek_loop_stop(arg); }

static struct door door_new(const char *name)
{
    char address[160];
    struct door d = {ek_loop_new(), ek_windows_new(8, 1), NULL};
    snprintf(address, sizeof address, "unix:%s", path);
    struct ek_shared_options o = {address, "test", name};
    d.shared = ek_shared_new(d.loop, &o, d.windows);
    return d;
}

static void door_free(struct door *d)
{
    ek_shared_free(&d->shared);
    ek_windows_free(&d->windows);
    ek_loop_free(&d->loop);
}

static void tick(struct door *d, uint64_t ms)
{
    assert_true(ek_shared_tick(d->shared, at(ms), heard, d->loop));
    assert_false(ek_shared_tick(d->shared, at(ms), heard, d->loop)); /* one at a time */
    ek_loop_run(d->loop);
}

static const struct ek_window_limits limits = {.minute_requests = 10, .running_max = 8};

static enum ek_reason begin(struct door *d, uint64_t ms)
{
    return ek_windows_begin(d->windows, 7, &limits, 5, false, at(ms)).reason;
}

static void two_doors(void **state)
{
    (void)state;
    if (!program) skip();
    struct ek_shared_counters c;
    redis_up();
    struct door a = door_new("a"), b = door_new("b");
    for (int i = 0; i < 4; i++) assert_int_equal(begin(&a, 0), EK_REASON_NONE);
    assert_int_equal(begin(&b, 0), EK_REASON_NONE);
    tick(&a, 1);
    tick(&b, 1);
    for (int i = 0; i < 3; i++) assert_int_equal(begin(&b, 2), EK_REASON_NONE);
    assert_int_equal(begin(&b, 2), EK_REASON_RATE_RUNNING); /* four here, four there */
    for (int i = 0; i < 4; i++) ek_windows_end(b.windows, 7, 5, 5, at(3));
    for (int i = 0; i < 2; i++) assert_int_equal(begin(&b, 4), EK_REASON_NONE);
    assert_int_equal(begin(&b, 4), EK_REASON_RATE_REQUESTS); /* ten in all */
    tick(&b, 5);
    ek_windows_end(a.windows, 7, 5, 5, at(6)); /* something new, so a asks again */
    tick(&a, 6);
    assert_int_equal(begin(&a, 7), EK_REASON_RATE_REQUESTS);
    ek_shared_counters(a.shared, &c);
    assert_true(c.here && c.doors == 2 && c.failures == 0);

    redis_kill();
    tick(&a, 10);
    ek_shared_counters(a.shared, &c);
    assert_false(c.here);
    assert_int_equal(begin(&a, 11), EK_REASON_NONE); /* its share: five a minute, four at once */
    assert_int_equal(begin(&a, 11), EK_REASON_RATE_REQUESTS);
    redis_up();
    tick(&a, 12);
    ek_shared_counters(a.shared, &c);
    assert_true(c.here && c.failures == 1);

    door_free(&b); /* it dies with two running, and two minutes later they are no longer counted */
    for (int i = 0; i < 4; i++) ek_windows_end(a.windows, 7, 5, 5, at(13));
    tick(&a, 180000);
    for (int i = 0; i < 8; i++) assert_int_equal(begin(&a, 180001), EK_REASON_NONE);
    door_free(&a);
    redis_kill();
}

int main(void)
{
    static const char *const programs[] = {"/usr/bin/redis-server", "/usr/bin/valkey-server"};
    const struct CMUnitTest tests[] = {cmocka_unit_test(two_doors)};
    for (size_t i = 0; i < EK_COUNT(programs) && !program; i++)
        if (access(programs[i], X_OK) == 0) program = programs[i];
    if (!program) printf("SKIPPED: no Redis or Valkey server is installed here\n");
    snprintf(dir, sizeof dir, "/tmp/ek-redis-XXXXXX");
    MUST(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
    int failed = cmocka_run_group_tests_name("ledger_shared", tests, NULL, NULL);
    rmdir(dir);
    return failed;
}
