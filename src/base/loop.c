/* SPDX-License-Identifier: MIT */
/* What both loops share: timers on one heap, posts, and the door from the public functions to the
 * operations of the world behind them. */
#include "base/loop_priv.h"

#include <stdlib.h>

void loop_init(struct ek_loop *l, const struct loop_ops *ops)
{
    *l = (struct ek_loop){.magic = LOOP_MAGIC, .now_stale = true, .ops = ops};
    ek_list_init(&l->posts);
}

void loop_fini(struct ek_loop *l)
{
    MUST_OBJ(l, LOOP_MAGIC);
    MUST(l->timers.count == 0);
    MUST(l->posts.count == 0);
    ek_heap_free(&l->timers);
    l->magic = 0;
}

void loop_sock_init(struct ek_sock *s, struct ek_loop *l, const struct ek_sock_handler *h, void *arg)
{
    *s = (struct ek_sock){.magic = SOCK_MAGIC, .loop = l, .handler = h, .arg = arg};
}

/* ---- the loop ---- */
void ek_loop_free(struct ek_loop **loop)
{
    struct ek_loop *l = *loop;
    MUST_OBJ(l, LOOP_MAGIC);
    *loop = NULL;
    l->ops->free(l);
}

void ek_loop_run(struct ek_loop *l)
{
    MUST_OBJ(l, LOOP_MAGIC);
    l->ops->run(l);
}

void ek_loop_stop(struct ek_loop *l)
{
    MUST_OBJ(l, LOOP_MAGIC);
    l->ops->stop(l);
}

struct ek_now ek_loop_now(struct ek_loop *l)
{
    if (l->now_stale) {
        l->now = l->ops->clock(l);
        l->now_stale = false;
    }
    return l->now;
}

void ek_loop_random(struct ek_loop *l, void *out, size_t bytes)
{
    MUST_OBJ(l, LOOP_MAGIC);
    l->ops->random(l, out, bytes);
}

/* ---- timers ---- */
void ek_timer_set(struct ek_loop *l, struct ek_timer *t, uint64_t due_mono_ns)
{
    MUST(t->fire);
    if (ek_heap_has(&t->node))
        ek_heap_rekey(&l->timers, &t->node, due_mono_ns);
    else
        ek_heap_put(&l->timers, &t->node, due_mono_ns);
}

void ek_timer_clear(struct ek_loop *l, struct ek_timer *t)
{
    if (ek_heap_has(&t->node)) ek_heap_remove(&l->timers, &t->node);
}

uint64_t loop_next_due(const struct ek_loop *l)
{
    struct ek_heap_node *first = ek_heap_first(&l->timers);
    return first ? first->key : UINT64_MAX;
}

size_t loop_fire_timers(struct ek_loop *l)
{
    size_t fired = 0;
    size_t most = l->timers.count; /* a timer that sets itself for now waits for the next turn */
    uint64_t now_ns = ek_loop_now(l).mono_ns;
    while (fired < most) {
        struct ek_heap_node *first = ek_heap_first(&l->timers);
        if (!first || first->key > now_ns) break;
        struct ek_timer *t = EK_CONTAINER(first, struct ek_timer, node);
        ek_heap_remove(&l->timers, first);
        t->fire(t);
        fired++;
    }
    return fired;
}

/* ---- posts ---- */
void ek_post_put(struct ek_loop *l, struct ek_post *p)
{
    MUST(p->run);
    if (ek_link_linked(&p->link)) return;
    ek_list_append(&l->posts, &p->link);
    l->ops->poke(l);
}

void ek_post_clear(struct ek_loop *l, struct ek_post *p)
{
    if (ek_link_linked(&p->link)) ek_list_remove(&l->posts, &p->link);
}

size_t loop_run_posts(struct ek_loop *l)
{
    size_t ran = 0;
    for (size_t most = l->posts.count; ran < most && l->posts.count; ran++) {
        struct ek_post *p = EK_CONTAINER(ek_list_first(&l->posts), struct ek_post, link);
        ek_list_remove(&l->posts, &p->link);
        p->run(p);
    }
    return ran;
}

/* ---- sockets ---- */
struct ek_sock *ek_sock_connect(struct ek_loop *l, const char *address,
                                const struct ek_sock_handler *h, void *arg, const char **why)
{
    MUST_OBJ(l, LOOP_MAGIC);
    return l->ops->connect(l, address, h, arg, why);
}

void ek_sock_set_handler(struct ek_sock *s, const struct ek_sock_handler *h, void *arg)
{
    MUST_OBJ(s, SOCK_MAGIC);
    s->handler = h;
    s->arg = arg;
}

void ek_sock_writev(struct ek_sock *s, const struct iovec *parts, size_t count)
{
    MUST_OBJ(s, SOCK_MAGIC);
    MUST(!s->closed);
    s->loop->ops->writev(s, parts, count);
}

size_t ek_sock_queued(const struct ek_sock *s)
{
    MUST_OBJ(s, SOCK_MAGIC);
    return s->loop->ops->queued(s);
}

void ek_sock_read(struct ek_sock *s, bool on)
{
    MUST_OBJ(s, SOCK_MAGIC);
    s->loop->ops->read(s, on);
}

void ek_sock_shutdown(struct ek_sock *s)
{
    MUST_OBJ(s, SOCK_MAGIC);
    s->loop->ops->shutdown(s);
}

static void sock_close(struct ek_sock **s, bool reset)
{
    struct ek_sock *sock = *s;
    MUST_OBJ(sock, SOCK_MAGIC);
    MUST(!sock->closed);
    *s = NULL;
    sock->closed = true;
    sock->loop->ops->close(sock, reset);
}

void ek_sock_close(struct ek_sock **s)
{
    sock_close(s, false);
}

void ek_sock_reset(struct ek_sock **s)
{
    sock_close(s, true);
}

void ek_sock_peer(const struct ek_sock *s, char *out, size_t cap)
{
    MUST_OBJ(s, SOCK_MAGIC);
    s->loop->ops->peer(s, out, cap);
}

/* ---- the other handles: each begins with its loop ---- */
#define OPS(handle) (((const struct loop_handle *)(const void *)(handle))->loop->ops)

int ek_sock_give(struct ek_sock **s)
{
    MUST_OBJ(*s, SOCK_MAGIC);
    MUST(!(*s)->closed);
    int fd = (*s)->loop->ops->give ? (*s)->loop->ops->give(*s) : -1;
    if (fd >= 0) ek_sock_close(s);
    return fd;
}

struct ek_sock *ek_sock_take(struct ek_loop *l, int fd, const struct ek_sock_handler *h, void *arg)
{
    MUST_OBJ(l, LOOP_MAGIC);
    MUST(l->ops->take && fd >= 0);
    return l->ops->take(l, fd, h, arg);
}

struct ek_listener *ek_listen(struct ek_loop *l, const char *address, int backlog,
                              const struct ek_listener_handler *h, void *arg, const char **why)
{
    MUST_OBJ(l, LOOP_MAGIC);
    return l->ops->listen(l, address, backlog, h, arg, why);
}

struct ek_listener *ek_listen_take(struct ek_loop *l, int fd, const char *address, int backlog,
                                   const struct ek_listener_handler *h, void *arg, const char **why)
{
    MUST_OBJ(l, LOOP_MAGIC);
    MUST(l->ops->listen_take && h->accepted && fd >= 0);
    return l->ops->listen_take(l, fd, address, backlog, h, arg, why);
}

int ek_listener_give(struct ek_listener **l)
{
    int fd = OPS(*l)->listener_give ? OPS(*l)->listener_give(*l) : -1;
    if (fd >= 0) ek_listener_close(l);
    return fd;
}

void ek_listener_address(const struct ek_listener *ln, char *out, size_t cap)
{
    OPS(ln)->listener_address(ln, out, cap);
}

void ek_listener_pause(struct ek_listener *ln, bool paused)
{
    OPS(ln)->listener_pause(ln, paused);
}

/* A closer takes the pointer, NULLs the caller's and forgets the object. */
#define CLOSER(type, public, op)          \
    void public(struct type **handle)     \
    {                                     \
        struct type *it = *handle;        \
        MUST(it != NULL);                 \
        *handle = NULL;                   \
        OPS(it)->op(it);                  \
    }
CLOSER(ek_listener, ek_listener_close, listener_close)
CLOSER(ek_poll, ek_poll_close, poll_close)
CLOSER(ek_waker, ek_waker_close, waker_close)
CLOSER(ek_child, ek_child_close, child_close)
CLOSER(ek_watch, ek_watch_close, watch_close)
CLOSER(ek_signal, ek_signal_close, signal_close)

struct ek_poll *ek_poll_new(struct ek_loop *l, int fd, void (*ready)(void *arg, int fd, int events),
                            void *arg)
{
    MUST_OBJ(l, LOOP_MAGIC);
    return l->ops->poll_new(l, fd, ready, arg);
}

void ek_poll_want(struct ek_poll *p, int events)
{
    OPS(p)->poll_want(p, events);
}

enum ek_status ek_work_submit(struct ek_loop *l, void (*work)(void *arg), void (*done)(void *arg),
                              void *arg)
{
    MUST_OBJ(l, LOOP_MAGIC);
    return l->ops->work(l, work, done, arg);
}

struct ek_waker *ek_waker_new(struct ek_loop *l, void (*woken)(void *arg), void *arg)
{
    MUST_OBJ(l, LOOP_MAGIC);
    return l->ops->waker_new(l, woken, arg);
}

void ek_waker_signal(struct ek_waker *w)
{
    OPS(w)->waker_signal(w);
}

struct ek_child *ek_child_start(struct ek_loop *l, const struct ek_child_options *o,
                                void (*exited)(void *arg, int exit_code, int signal), void *arg,
                                const char **why)
{
    MUST_OBJ(l, LOOP_MAGIC);
    MUST(o->argv && o->argv[0]);
    return l->ops->child_start(l, o, exited, arg, why);
}

int ek_child_pid(const struct ek_child *c)
{
    return OPS(c)->child_pid(c);
}

void ek_child_kill(struct ek_child *c, int signal)
{
    OPS(c)->child_kill(c, signal);
}

struct ek_watch *ek_watch_eof(struct ek_loop *l, int fd, void (*gone)(void *arg), void *arg)
{
    MUST_OBJ(l, LOOP_MAGIC);
    return l->ops->watch(l, fd, gone, arg);
}

struct ek_signal *ek_signal_on(struct ek_loop *l, int signo, void (*got)(void *arg, int signo),
                               void *arg)
{
    MUST_OBJ(l, LOOP_MAGIC);
    return l->ops->signal(l, signo, got, arg);
}
