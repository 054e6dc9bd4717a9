/* SPDX-License-Identifier: MIT */
/* The loop seam: what holds in the real world must hold in its virtual twin, so most tests run on
 * both. Nothing sleeps: each test ends when its last event has come. */
#include "cm.h"

#include "base/buf.h"
#include "base/loop.h"
#include "base/loop_virtual.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BIG_BYTES 3000000u

struct stage {
    struct ek_loop *loop;
    struct ek_listener *listener;
    struct ek_sock *server;
    struct ek_sock *client;
    struct ek_buf got;
    struct ek_timer timer;
    struct ek_timer other;
    struct ek_post post;
    unsigned order[8];
    unsigned events;
    unsigned drained;
    char failed[128];
    bool eof;
    bool throttle;
};

static struct ek_loop *new_virtual(void)
{
    return ek_loop_new_virtual(&(struct ek_virtual_options){.seed = 7, .piece_bytes_max = 5000});
}

static void finish(struct stage *t)
{
    ek_loop_stop(t->loop);
}

/* ---- echo: everything sent comes back, through back-pressure and half-close ---- */
static void server_data(void *arg, char *bytes, size_t n)
{
    struct stage *t = arg;
    ek_sock_write(t->server, bytes, n);
    if (ek_sock_queued(t->server) > 65536) ek_sock_read(t->server, false);
}

static void server_drained(void *arg)
{
    struct stage *t = arg;
    t->drained++;
    ek_sock_read(t->server, true);
}

static void server_eof(void *arg)
{
    struct stage *t = arg;
    ek_sock_shutdown(t->server);
}

static void on_failed(void *arg, const char *why)
{
    struct stage *t = arg;
    snprintf(t->failed, sizeof t->failed, "%s", why);
    finish(t);
}

static const struct ek_sock_handler server_handler = {
    .data = server_data, .eof = server_eof, .drained = server_drained, .failed = on_failed};

static void accepted(void *arg, struct ek_sock *s)
{
    struct stage *t = arg;
    char peer[64];
    ek_sock_peer(s, peer, sizeof peer);
    assert_true(strcmp(peer, "127.0.0.1") == 0 || strcmp(peer, "unix") == 0);
    t->server = s;
    ek_sock_set_handler(s, &server_handler, t);
}

static void client_connected(void *arg)
{
    struct stage *t = arg;
    char *big = malloc(BIG_BYTES);
    for (size_t i = 0; i < BIG_BYTES; i++) big[i] = (char)(i * 31 >> 3);
    struct iovec parts[2] = {{big, 1000}, {big + 1000, BIG_BYTES - 1000}};
    ek_sock_writev(t->client, parts, 2);
    free(big);
    ek_sock_shutdown(t->client);
}

static void client_data(void *arg, char *bytes, size_t n)
{
    struct stage *t = arg;
    ek_buf_put(&t->got, bytes, n);
}

static void client_eof(void *arg)
{
    struct stage *t = arg;
    t->eof = true;
    finish(t);
}

static const struct ek_sock_handler client_handler = {.connected = client_connected,
    .data = client_data, .eof = client_eof, .failed = on_failed};
static const struct ek_listener_handler listener_handler = {.accepted = accepted};

static void echo_on(struct ek_loop *loop, const char *address, const char *by_name)
{
    struct stage t = {.loop = loop, .got = ek_buf_make(BIG_BYTES + 1)};
    const char *why = "";
    char bound[128];
    t.listener = ek_listen(loop, address, 16, &listener_handler, &t, &why);
    assert_non_null(t.listener);
    ek_listener_address(t.listener, bound, sizeof bound);
    if (by_name) { /* the same port, reached through a name */
        char named[160];
        snprintf(named, sizeof named, "%s%s", by_name, strrchr(bound, ':'));
        snprintf(bound, sizeof bound, "%.120s", named);
    }
    t.client = ek_sock_connect(loop, bound, &client_handler, &t, &why);
    assert_non_null(t.client);
    ek_loop_run(loop);
    assert_string_equal(t.failed, "");
    assert_true(t.eof);
    assert_int_equal(t.got.len, BIG_BYTES);
    for (size_t i = 0; i < BIG_BYTES; i++)
        if (t.got.data[i] != (char)(i * 31 >> 3)) fail_msg("byte %zu differs", i);
    ek_sock_close(&t.client);
    ek_sock_close(&t.server);
    ek_listener_close(&t.listener);
    ek_buf_free(&t.got);
    ek_loop_free(&loop);
}

static void echo_virtual(void **state)
{
    (void)state;
    echo_on(new_virtual(), "127.0.0.1:8080", NULL);
}

static void echo_tcp(void **state)
{
    (void)state;
    echo_on(ek_loop_new(), "127.0.0.1:0", NULL);
}

static void echo_by_name(void **state)
{
    (void)state;
    echo_on(ek_loop_new(), "127.0.0.1:0", "localhost");
}

static void echo_unix(void **state)
{
    (void)state;
    char address[64];
    snprintf(address, sizeof address, "unix:/tmp/ek-loop-%d.sock", (int)getpid());
    echo_on(ek_loop_new(), address, NULL);
    assert_int_not_equal(access(address + 5, F_OK), 0); /* removed with the listener */
}

/* ---- failures ---- */
static void refused_on(struct ek_loop *loop)
{
    struct stage t = {.loop = loop};
    const char *why = "";
    assert_null(ek_sock_connect(loop, "nonsense", &client_handler, &t, &why));
    assert_non_null(strstr(why, "HOST:PORT"));
    t.client = ek_sock_connect(loop, "127.0.0.1:1", &client_handler, &t, &why);
    ek_loop_run(loop);
    assert_string_equal(t.failed, "connection refused");
    ek_sock_close(&t.client);
    /* closing while under way calls nobody */
    t.failed[0] = '\0';
    t.client = ek_sock_connect(loop, "127.0.0.1:1", &client_handler, &t, &why);
    ek_sock_close(&t.client);
    ek_loop_free(&loop);
    assert_string_equal(t.failed, "");
}

static void refused(void **state)
{
    (void)state;
    refused_on(ek_loop_new());
    refused_on(new_virtual());
}

static void reset_connected(void *arg)
{
    struct stage *t = arg;
    ek_sock_write(t->client, "x", 1);
}

static void reset_server_data(void *arg, char *bytes, size_t n)
{
    struct stage *t = arg;
    (void)bytes;
    assert_int_equal(n, 1);
    ek_sock_reset(&t->server);
}

static const struct ek_sock_handler reset_client = {.connected = reset_connected,
    .data = client_data, .eof = client_eof, .failed = on_failed};
static const struct ek_sock_handler reset_server = {.data = reset_server_data, .failed = on_failed};

static void reset_accepted(void *arg, struct ek_sock *s)
{
    struct stage *t = arg;
    t->server = s;
    ek_sock_set_handler(s, &reset_server, t);
}

static void reset_on(struct ek_loop *loop)
{
    static const struct ek_listener_handler h = {.accepted = reset_accepted};
    struct stage t = {.loop = loop};
    const char *why = "";
    char bound[64];
    t.listener = ek_listen(loop, "127.0.0.1:0", 16, &h, &t, &why);
    ek_listener_address(t.listener, bound, sizeof bound);
    t.client = ek_sock_connect(loop, bound, &reset_client, &t, &why);
    ek_loop_run(loop);
    assert_string_equal(t.failed, "connection reset by peer"); /* a break, not an end */
    assert_false(t.eof);
    ek_sock_close(&t.client);
    ek_listener_close(&t.listener);
    ek_loop_free(&loop);
}

static void reset_is_no_end(void **state)
{
    (void)state;
    reset_on(ek_loop_new());
    reset_on(new_virtual());
}

static void bad_listens(void **state)
{
    (void)state;
    struct ek_loop *loop = ek_loop_new();
    struct stage t = {.loop = loop};
    const char *why = NULL;
    assert_null(ek_listen(loop, "example.com:80", 1, &listener_handler, &t, &why));
    assert_non_null(strstr(why, "numeric"));
    assert_null(ek_listen(loop, "127.0.0.1:99999", 1, &listener_handler, &t, &why));
    assert_null(ek_listen(loop, "::1:80", 1, &listener_handler, &t, &why));
    t.listener = ek_listen(loop, "127.0.0.1:0", 1, &listener_handler, &t, &why);
    char bound[64];
    ek_listener_address(t.listener, bound, sizeof bound);
    assert_null(ek_listen(loop, bound, 1, &listener_handler, &t, &why));
    assert_non_null(strstr(why, "in use"));
    ek_listener_close(&t.listener);
    ek_loop_free(&loop);
}

/* ---- timers and posts ---- */
static void fire_other(struct ek_timer *timer)
{
    struct stage *t = EK_CONTAINER(timer, struct stage, other);
    t->order[t->events++] = 2;
    finish(t);
}

static void run_post(struct ek_post *post)
{
    struct stage *t = EK_CONTAINER(post, struct stage, post);
    t->order[t->events++] = 1;
    ek_timer_set(t->loop, &t->other, ek_loop_now(t->loop).mono_ns + 2 * EK_MS_NS);
}

static void fire(struct ek_timer *timer)
{
    struct stage *t = EK_CONTAINER(timer, struct stage, timer);
    t->order[t->events++] = 0;
    ek_post_put(t->loop, &t->post);
    ek_post_put(t->loop, &t->post); /* twice is once */
}

static void timers_on(struct ek_loop *loop)
{
    struct stage t = {.loop = loop};
    uint64_t begin_ns = ek_loop_now(loop).mono_ns;
    ek_timer_init(&t.timer, fire);
    ek_timer_init(&t.other, fire_other);
    ek_post_init(&t.post, run_post);
    ek_timer_set(loop, &t.other, begin_ns + EK_MS_NS);
    ek_timer_clear(loop, &t.other);
    ek_timer_set(loop, &t.timer, begin_ns + 500 * EK_S_NS);
    ek_timer_set(loop, &t.timer, begin_ns + 3 * EK_MS_NS);
    ek_loop_run(loop);
    assert_int_equal(t.events, 3);
    for (unsigned i = 0; i < 3; i++) assert_int_equal(t.order[i], i);
    assert_true(ek_loop_now(loop).mono_ns >= begin_ns + 5 * EK_MS_NS);
    ek_loop_free(&loop);
}

static void timers(void **state)
{
    (void)state;
    timers_on(ek_loop_new());
    timers_on(new_virtual());
}

static void virtual_time_is_exact(void **state)
{
    (void)state;
    struct stage t = {.loop = new_virtual()};
    uint64_t begin_ns = ek_loop_now(t.loop).mono_ns;
    ek_timer_init(&t.other, fire_other);
    ek_timer_set(t.loop, &t.other, begin_ns + 1000 * EK_S_NS);
    ek_virtual_advance(t.loop, 1000 * EK_S_NS - 1);
    assert_int_equal(t.events, 0);
    ek_virtual_advance(t.loop, 1);
    assert_int_equal(t.events, 1);
    assert_true(ek_loop_now(t.loop).mono_ns == begin_ns + 1000 * EK_S_NS);
    ek_loop_free(&t.loop);
}

/* ---- helper threads, wakers ---- */
static void do_work(void *arg)
{
    struct stage *t = arg;
    t->order[0] = 41;
}

static void work_done(void *arg)
{
    struct stage *t = arg;
    assert_int_equal(t->order[0]++, 41);
    finish(t);
}

static void work_on(struct ek_loop *loop)
{
    struct stage t = {.loop = loop};
    assert_int_equal(ek_work_submit(loop, do_work, work_done, &t), EK_OK);
    ek_loop_run(loop);
    assert_int_equal(t.order[0], 42);
    ek_loop_free(&loop);
}

static void helper_work(void **state)
{
    (void)state;
    work_on(ek_loop_new());
    work_on(new_virtual());
}

static void woken(void *arg)
{
    finish(arg);
}

static void *signals_waker(void *waker)
{
    ek_waker_signal(waker);
    return NULL;
}

static void waker_from_a_thread(void **state)
{
    (void)state;
    struct stage t = {.loop = ek_loop_new()};
    struct ek_waker *w = ek_waker_new(t.loop, woken, &t);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, signals_waker, w), 0);
    ek_loop_run(t.loop);
    pthread_join(thread, NULL);
    ek_waker_close(&w);
    ek_loop_free(&t.loop);
}

/* ---- children ---- */
static void child_exited(void *arg, int code, int signo)
{
    struct stage *t = arg;
    t->order[0] = (unsigned)code;
    t->order[1] = (unsigned)signo;
    finish(t);
}

static void children(void **state)
{
    (void)state;
    struct stage t = {.loop = ek_loop_new()};
    const char *why = "";
    const char *const seven[] = {"/bin/sh", "-c", "exit 7", NULL};
    struct ek_child *c = ek_child_start(t.loop, &(struct ek_child_options){.argv = seven},
                       child_exited, &t, &why);
    assert_non_null(c);
    ek_loop_run(t.loop);
    assert_int_equal(t.order[0], 7);
    ek_child_close(&c);

    /* the orphan pipe: the child reads descriptor 3 until we let go */
    const char *const waits[] = {"/bin/sh", "-c", "read x <&3; exit 9", NULL};
    c = ek_child_start(t.loop, &(struct ek_child_options){.argv = waits, .orphan_pipe = true},
                       child_exited, &t, &why);
    assert_non_null(c);
    assert_true(ek_child_pid(c) > 0);
    ek_child_kill(c, SIGKILL);
    ek_loop_run(t.loop);
    assert_int_equal(t.order[1], SIGKILL);
    ek_child_close(&c);

    const char *const none[] = {"/no/such/program", NULL};
    assert_null(ek_child_start(t.loop, &(struct ek_child_options){.argv = none},
                       child_exited, &t, &why));
    assert_non_null(strstr(why, "no such file"));
    ek_loop_free(&t.loop);
}

static void watch_sees_the_end(void **state)
{
    (void)state;
    struct stage t = {.loop = ek_loop_new()};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    struct ek_watch *w = ek_watch_eof(t.loop, ends[0], woken, &t);
    assert_non_null(w);
    close(ends[1]);
    ek_loop_run(t.loop);
    ek_watch_close(&w);
    close(ends[0]);
    ek_loop_free(&t.loop);
}

static void got_signal(void *arg, int signo)
{
    struct stage *t = arg;
    t->events = (unsigned)signo;
    finish(t);
}

static void signals(void **state)
{
    (void)state;
    struct stage t = {.loop = ek_loop_new()};
    struct ek_signal *s = ek_signal_on(t.loop, SIGHUP, got_signal, &t);
    raise(SIGHUP);
    ek_loop_run(t.loop);
    assert_int_equal(t.events, SIGHUP);
    ek_signal_close(&s);
    ek_loop_free(&t.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers), cmocka_unit_test(virtual_time_is_exact),
        cmocka_unit_test(echo_virtual), cmocka_unit_test(echo_tcp),
        cmocka_unit_test(echo_by_name), cmocka_unit_test(echo_unix),
        cmocka_unit_test(refused), cmocka_unit_test(reset_is_no_end),
        cmocka_unit_test(bad_listens), cmocka_unit_test(helper_work),
        cmocka_unit_test(waker_from_a_thread), cmocka_unit_test(children),
        cmocka_unit_test(watch_sees_the_end), cmocka_unit_test(signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
