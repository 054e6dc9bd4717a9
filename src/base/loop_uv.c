/* SPDX-License-Identifier: MIT */
/* The real loop over libuv: the turn itself, helper threads, wakers, children, signals. Sockets are
 * in loop_uv_sock.c. libuv was measured at 0.81-0.92 of haproxy's CPU a relayed token; raw epoll
 * (0.72-0.80) would save little and cost the names, children and threads that libuv brings.
 *
 *      ┌─ uv timers: our earliest ── fire ─┐
 *      │  prepare: throttled readers, posts, arm the timer for the heap's first
 *      │  poll:    input → callbacks (the first that asks reads the clock)
 *      │  check:   posts put by the input
 *      └─ closing: closed things are freed ┘
 */
#include "base/loop_uv.h"

#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static void *born(size_t bytes)
{
    void *p = calloc(1, bytes);
    MUST(p != NULL); /* handles are few and of fixed size: without memory for one, nothing works */
    return p;
}

static void free_handle(uv_handle_t *h)
{
    free(h->data);
}

/* ---- the turn ---- */
static void on_timer(uv_timer_t *t)
{
    struct world *w = t->data;
    w->armed_ns = 0;
    w->base.now_stale = true;
    loop_fire_timers(&w->base);
}

static void on_idle(uv_idle_t *i)
{
    (void)i; /* its being active is the point: the poll returns at once */
}

static void set_idle(struct world *w, bool on)
{
    if (on)
        MUST(uv_idle_start(&w->idle, on_idle) == 0);
    else
        uv_idle_stop(&w->idle);
}

static void on_prepare(uv_prepare_t *p)
{
    struct world *w = p->data;
    bool works = w->turn.count > 0 || w->base.posts.count > 0;
    world_sock_turn(w);
    loop_run_posts(&w->base);
    if (works) uv_update_time(&w->uv); /* that may have taken long, and libuv reckons its sleep from then */
    set_idle(w, w->base.posts.count > 0 || w->turn.count > 0);

    uint64_t due_ns = loop_next_due(&w->base);
    if (due_ns == UINT64_MAX) {
        uv_timer_stop(&w->timer);
        w->armed_ns = 0;
    } else if (due_ns != w->armed_ns || due_ns == 0) {
        uv_update_time(&w->uv);
        w->base.now_stale = true;
        uint64_t left_ns = ek_ns_since(due_ns, ek_loop_now(&w->base).mono_ns);
        MUST(uv_timer_start(&w->timer, on_timer, (left_ns + EK_MS_NS - 1) / EK_MS_NS, 0) == 0);
        w->armed_ns = due_ns;
    }
    w->base.now_stale = true; /* the poll may sleep: whoever asks first afterwards reads the clock */
}

static void on_check(uv_check_t *c)
{
    struct world *w = c->data;
    loop_run_posts(&w->base);
}

void world_poke(struct ek_loop *l)
{
    set_idle(world_of(l), true);
}

static void world_run(struct ek_loop *l)
{
    uv_run(&world_of(l)->uv, UV_RUN_DEFAULT);
}

static void world_stop(struct ek_loop *l)
{
    uv_stop(&world_of(l)->uv);
}

static struct ek_now world_clock(struct ek_loop *l)
{
    (void)l;
    return ek_clock_read();
}

static void world_random(struct ek_loop *l, void *out, size_t bytes)
{
    (void)l;
    char *at = out;
    while (bytes) {
        ssize_t n = getrandom(at, bytes, 0);
        MUST(n > 0 || errno == EINTR);
        if (n <= 0) continue;
        at += n;
        bytes -= (size_t)n;
    }
}

static void world_free(struct ek_loop *l)
{
    struct world *w = world_of(l);
    loop_fini(l);
    uv_close((uv_handle_t *)&w->timer, NULL);
    uv_close((uv_handle_t *)&w->prepare, NULL);
    uv_close((uv_handle_t *)&w->check, NULL);
    uv_close((uv_handle_t *)&w->idle, NULL);
    while (uv_run(&w->uv, UV_RUN_DEFAULT)) { /* lets closing things rest and be freed; a stop asked for */
    }                                        /* since the last run is over after the first */
    MUST(uv_loop_close(&w->uv) == 0);
    free(w);
}

/* ---- foreign descriptors ---- */
struct ek_poll {
    struct ek_loop *loop;
    uv_poll_t uv;
    void (*ready)(void *arg, int fd, int events);
    void *arg;
    int fd;
};

static void on_poll(uv_poll_t *p, int status, int events)
{
    struct ek_poll *it = p->data;
    int ours = ((events & UV_READABLE) ? EK_POLL_READ : 0) | ((events & UV_WRITABLE) ? EK_POLL_WRITE : 0);
    if (status < 0) ours = EK_POLL_READ | EK_POLL_WRITE; /* let the owner find the error itself */
    it->ready(it->arg, it->fd, ours);
}

static struct ek_poll *world_poll_new(struct ek_loop *l, int fd, void (*ready)(void *, int, int),
                                      void *arg)
{
    struct ek_poll *p = born(sizeof *p);
    *p = (struct ek_poll){.loop = l, .ready = ready, .arg = arg, .fd = fd};
    MUST(uv_poll_init(&world_of(l)->uv, &p->uv, fd) == 0);
    p->uv.data = p;
    return p;
}

static void world_poll_want(struct ek_poll *p, int events)
{
    int uv = ((events & EK_POLL_READ) ? UV_READABLE : 0) | ((events & EK_POLL_WRITE) ? UV_WRITABLE : 0);
    if (uv)
        MUST(uv_poll_start(&p->uv, uv, on_poll) == 0);
    else
        uv_poll_stop(&p->uv);
}

static void world_poll_close(struct ek_poll *p)
{
    uv_close((uv_handle_t *)&p->uv, free_handle);
}

/* ---- helper threads and wakers ---- */
struct work {
    uv_work_t uv;
    struct world *world;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static void on_work(uv_work_t *u)
{
    struct work *k = u->data;
    k->work(k->arg);
}

static void on_work_done(uv_work_t *u, int status)
{
    struct work *k = u->data;
    MUST(status == 0); /* we never cancel */
    k->world->work_count--;
    void (*done)(void *) = k->done;
    void *arg = k->arg;
    free(k);
    done(arg);
}

static enum ek_status world_work(struct ek_loop *l, void (*work)(void *), void (*done)(void *), void *arg)
{
    struct world *w = world_of(l);
    if (w->work_count >= EK_WORK_MAX) return EK_FULL;
    struct work *k = born(sizeof *k);
    *k = (struct work){.world = w, .work = work, .done = done, .arg = arg};
    k->uv.data = k;
    MUST(uv_queue_work(&w->uv, &k->uv, on_work, on_work_done) == 0);
    w->work_count++;
    return EK_OK;
}

struct ek_waker {
    struct ek_loop *loop;
    uv_async_t uv;
    void (*woken)(void *arg);
    void *arg;
};

static void on_async(uv_async_t *a)
{
    struct ek_waker *k = a->data;
    k->woken(k->arg);
}

static struct ek_waker *world_waker_new(struct ek_loop *l, void (*woken)(void *), void *arg)
{
    struct ek_waker *k = born(sizeof *k);
    *k = (struct ek_waker){.loop = l, .woken = woken, .arg = arg};
    MUST(uv_async_init(&world_of(l)->uv, &k->uv, on_async) == 0);
    k->uv.data = k;
    return k;
}

static void world_waker_signal(struct ek_waker *k)
{
    MUST(uv_async_send(&k->uv) == 0);
}

static void world_waker_close(struct ek_waker *k)
{
    uv_close((uv_handle_t *)&k->uv, free_handle);
}

/* ---- children: own session (a Ctrl-C at the terminal is ours to handle), orphan pipe at 3 ---- */
struct ek_child {
    struct ek_loop *loop;
    uv_process_t uv;
    void (*exited)(void *arg, int exit_code, int signal);
    void *arg;
    int orphan_fd; /* our end; closing it, or dying, tells the child */
    bool running;
};

static void on_exit_of_child(uv_process_t *p, int64_t code, int signal)
{
    struct ek_child *c = p->data;
    c->running = false;
    c->exited(c->arg, (int)code, signal);
}

static struct ek_child *world_child_start(struct ek_loop *l, const struct ek_child_options *o,
                                          void (*exited)(void *, int, int), void *arg,
                                          const char **why)
{
    int ends[2] = {-1, -1};
    if (o->orphan_pipe && pipe2(ends, O_CLOEXEC) != 0) {
        snprintf(l->why, sizeof l->why, "no pipe for the child: %s", strerror(errno));
        *why = l->why;
        return NULL;
    }
    struct ek_child *c = born(sizeof *c);
    *c = (struct ek_child){.loop = l, .exited = exited, .arg = arg, .orphan_fd = ends[1]};
    uv_stdio_container_t stdio[4] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDOUT_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = ends[0]},
    };
    uv_process_options_t uo = {
        .exit_cb = on_exit_of_child,
        .file = o->argv[0],
        .args = (char **)(uintptr_t)o->argv,
        .flags = UV_PROCESS_DETACHED,
        .stdio_count = o->orphan_pipe ? 4 : 3,
        .stdio = stdio,
    };
    c->uv.data = c;
    int err = uv_spawn(&world_of(l)->uv, &c->uv, &uo);
    if (ends[0] >= 0) close(ends[0]);
    if (err) {
        snprintf(l->why, sizeof l->why, "cannot start %s: %s", o->argv[0], uv_strerror(err));
        *why = l->why;
        if (ends[1] >= 0) close(ends[1]);
        uv_close((uv_handle_t *)&c->uv, free_handle);
        return NULL;
    }
    c->running = true;
    return c;
}

static int world_child_pid(const struct ek_child *c)
{
    return c->uv.pid;
}

static void world_child_kill(struct ek_child *c, int signal)
{
    if (c->running) uv_process_kill(&c->uv, signal);
}

static void world_child_close(struct ek_child *c)
{
    if (c->running) uv_process_kill(&c->uv, SIGKILL);
    if (c->orphan_fd >= 0) close(c->orphan_fd);
    uv_close((uv_handle_t *)&c->uv, free_handle);
}

struct ek_watch {
    struct ek_loop *loop;
    uv_poll_t uv;
    void (*gone)(void *arg);
    void *arg;
    int fd;
};

static void on_watch(uv_poll_t *p, int status, int events)
{
    struct ek_watch *k = p->data;
    char byte;
    (void)events;
    ssize_t n = status == 0 ? read(k->fd, &byte, 1) : 0;
    if (n > 0) return; /* nobody writes there; if so, no matter */
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    uv_poll_stop(p);
    k->gone(k->arg);
}

static struct ek_watch *world_watch(struct ek_loop *l, int fd, void (*gone)(void *), void *arg)
{
    struct ek_watch *k = born(sizeof *k);
    *k = (struct ek_watch){.loop = l, .gone = gone, .arg = arg, .fd = fd};
    if (uv_poll_init(&world_of(l)->uv, &k->uv, fd) != 0) {
        free(k);
        return NULL; /* no such descriptor: whoever passed it is told */
    }
    k->uv.data = k;
    MUST(uv_poll_start(&k->uv, UV_READABLE, on_watch) == 0);
    return k;
}

static void world_watch_close(struct ek_watch *k)
{
    uv_close((uv_handle_t *)&k->uv, free_handle);
}

/* ---- signals ---- */
struct ek_signal {
    struct ek_loop *loop;
    uv_signal_t uv;
    void (*got)(void *arg, int signo);
    void *arg;
};

static void on_signal(uv_signal_t *u, int signo)
{
    struct ek_signal *s = u->data;
    s->got(s->arg, signo);
}

static struct ek_signal *world_signal(struct ek_loop *l, int signo, void (*got)(void *, int), void *arg)
{
    struct ek_signal *s = born(sizeof *s);
    *s = (struct ek_signal){.loop = l, .got = got, .arg = arg};
    MUST(uv_signal_init(&world_of(l)->uv, &s->uv) == 0);
    s->uv.data = s;
    MUST(uv_signal_start(&s->uv, on_signal, signo) == 0);
    return s;
}

static void world_signal_close(struct ek_signal *s)
{
    uv_close((uv_handle_t *)&s->uv, free_handle);
}

static const struct loop_ops world_ops = {
    .free = world_free,
    .run = world_run,
    .stop = world_stop,
    .clock = world_clock,
    .random = world_random,
    .poke = world_poke,
    .connect = world_sock_connect,
    .writev = world_sock_writev,
    .queued = world_sock_queued,
    .read = world_sock_read,
    .shutdown = world_sock_shutdown,
    .close = world_sock_close,
    .peer = world_sock_peer,
    .give = world_sock_give,
    .take = world_sock_take,
    .listen = world_listen,
    .listener_address = world_listener_address,
    .listener_pause = world_listener_pause,
    .listener_close = world_listener_close,
    .listen_take = world_listen_take,
    .listener_give = world_listener_give,
    .poll_new = world_poll_new,
    .poll_want = world_poll_want,
    .poll_close = world_poll_close,
    .work = world_work,
    .waker_new = world_waker_new,
    .waker_signal = world_waker_signal,
    .waker_close = world_waker_close,
    .child_start = world_child_start,
    .child_pid = world_child_pid,
    .child_kill = world_child_kill,
    .child_close = world_child_close,
    .watch = world_watch,
    .watch_close = world_watch_close,
    .signal = world_signal,
    .signal_close = world_signal_close,
};

static void no_work(uv_work_t *w) { (void)w; }
static void no_more(uv_work_t *w, int status)
{
    (void)w;
    MUST(status == 0);
}

/* libuv makes its pool with the first work, and that inherits what signals are blocked: so the first work is
 * nothing, and done here. */
static void make_pool_deaf(void)
{
    uv_loop_t uv;
    uv_work_t nothing;
    sigset_t old;
    ek_signals_hold(&old);
    MUST(uv_loop_init(&uv) == 0);
    MUST(uv_queue_work(&uv, &nothing, no_work, no_more) == 0);
    uv_run(&uv, UV_RUN_DEFAULT);
    MUST(uv_loop_close(&uv) == 0);
    ek_signals_release(&old);
}

struct ek_loop *ek_loop_new(void)
{
    struct world *w = born(sizeof *w);
    loop_init(&w->base, &world_ops);
    ek_list_init(&w->turn);
    signal(SIGPIPE, SIG_IGN); /* a client that left is an error code, not a death */
    make_pool_deaf();
    MUST(uv_loop_init(&w->uv) == 0);
    MUST(uv_timer_init(&w->uv, &w->timer) == 0);
    MUST(uv_prepare_init(&w->uv, &w->prepare) == 0);
    MUST(uv_check_init(&w->uv, &w->check) == 0);
    MUST(uv_idle_init(&w->uv, &w->idle) == 0);
    w->timer.data = w->prepare.data = w->check.data = w->idle.data = w;
    MUST(uv_prepare_start(&w->prepare, on_prepare) == 0);
    MUST(uv_check_start(&w->check, on_check) == 0);
    return &w->base;
}
