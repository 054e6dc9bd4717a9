/* SPDX-License-Identifier: MIT */
/* The virtual loop: sockets are two byte queues, time is a number.
 *
 *        a.out (what the window did not take) ──▶ b.inbox ──▶ b.data() in pieces drawn from the seed
 *
 * A socket takes bytes while the peer's inbox is below the window; the rest waits in `out` and moves
 * when the peer has read, whereupon `drained` is called, just as with a kernel. */
#include "base/loop_virtual.h"

#include "base/buf.h"
#include "base/loop_priv.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

#define VIRTUAL_QUEUE_MAX ((size_t)1 << 30)
#define VIRTUAL_TURNS_MAX 10000000u /* a loop that never settles is a bug in what runs on it */

struct virtual_world {
    struct ek_loop base;
    struct virtual_world_lists {
        struct ek_list socks;
        struct ek_list listeners;
        struct ek_list works;
    } has;
    struct ek_random random;
    struct ek_now now;
    size_t piece_max;
    size_t window;
    bool stopped;
};

struct virtual_sock {
    struct ek_sock base;
    struct ek_link link;
    struct virtual_sock *peer; /* NULL once the other side has closed */
    struct ek_buf inbox;
    struct ek_buf out;
    const char *fail_why;
    bool reading, connecting, fin_due, fin_sent, eof_due, eof_told, drain_due;
};

struct ek_listener {
    struct ek_loop *loop;
    struct ek_link link;
    const struct ek_listener_handler *handler;
    void *arg;
    bool paused;
    char address[128];
};

struct ek_waker {
    struct ek_loop *loop;
    struct ek_post post;
    void (*woken)(void *arg);
    void *arg;
};

struct virtual_work {
    struct ek_link link;
    void (*work)(void *arg);
    void (*done)(void *arg);
    void *arg;
};

static struct virtual_world *world(struct ek_loop *l)
{
    return (struct virtual_world *)(void *)l;
}

static struct virtual_sock *vsock(const struct ek_sock *s)
{
    MUST(s->magic == SOCK_MAGIC);
    return (struct virtual_sock *)(uintptr_t)s;
}

/* ---- sockets ---- */
static struct virtual_sock *sock_new(struct virtual_world *w, const struct ek_sock_handler *h, void *arg)
{
    struct virtual_sock *s = calloc(1, sizeof *s);
    MUST(s != NULL);
    loop_sock_init(&s->base, &w->base, h, arg);
    s->inbox = ek_buf_make(VIRTUAL_QUEUE_MAX);
    s->out = ek_buf_make(VIRTUAL_QUEUE_MAX);
    ek_list_append(&w->has.socks, &s->link);
    return s;
}

/* Move what fits from s->out into the peer's inbox. */
static bool push(struct virtual_world *w, struct virtual_sock *s)
{
    bool moved = false;
    struct virtual_sock *p = s->peer;
    if (!p || p->base.closed) return false;
    size_t room = p->inbox.len < w->window ? w->window - p->inbox.len : 0;
    size_t n = s->out.len < room ? s->out.len : room;
    if (n) {
        ek_buf_put(&p->inbox, s->out.data, n);
        ek_buf_drop(&s->out, n);
        moved = true;
        if (s->out.len == 0) s->drain_due = true;
    }
    if (s->fin_due && !s->fin_sent && s->out.len == 0) {
        s->fin_sent = true;
        p->eof_due = true;
        moved = true;
    }
    return moved;
}

static void v_writev(struct ek_sock *base, const struct iovec *parts, size_t count)
{
    struct virtual_sock *s = vsock(base);
    struct virtual_world *w = world(base->loop);
    MUST(!s->connecting);
    if (s->fail_why) return;
    if (!s->peer) {
        s->fail_why = "broken pipe";
        return;
    }
    bool was_empty = s->out.len == 0;
    for (size_t i = 0; i < count; i++) ek_buf_put(&s->out, parts[i].iov_base, parts[i].iov_len);
    MUST(!s->out.failed);
    push(w, s);
    if (was_empty && s->out.len == 0) s->drain_due = false; /* taken at once: nothing to tell */
}

static size_t v_queued(const struct ek_sock *base)
{
    return vsock(base)->out.len;
}

static void v_read(struct ek_sock *base, bool on)
{
    vsock(base)->reading = on;
}

static void v_shutdown(struct ek_sock *base)
{
    vsock(base)->fin_due = true;
}

static void v_close(struct ek_sock *base, bool reset)
{
    struct virtual_sock *s = vsock(base);
    struct virtual_sock *p = s->peer;
    if (p) {
        if (!reset) { /* the kernel still delivers what was queued */
            ek_buf_put(&p->inbox, s->out.data, s->out.len);
            p->eof_due = true;
        } else if (!p->base.closed) {
            p->fail_why = "connection reset by peer";
        }
        p->peer = NULL;
    }
    s->peer = NULL;
}

static void v_peer(const struct ek_sock *base, char *out, size_t cap)
{
    (void)base;
    snprintf(out, cap, "127.0.0.1");
}

static struct ek_sock *v_connect(struct ek_loop *l, const char *address,
                                 const struct ek_sock_handler *h, void *arg, const char **why)
{
    struct virtual_world *w = world(l);
    if (!strchr(address, ':')) {
        *why = "not an address: expected HOST:PORT or unix:/path";
        return NULL;
    }
    struct virtual_sock *s = sock_new(w, h, arg);
    s->connecting = true;
    s->fail_why = "connection refused";
    EK_LIST_EACH(&w->has.listeners, it) {
        struct ek_listener *ln = EK_CONTAINER(it, struct ek_listener, link);
        if (strcmp(ln->address, address) != 0 || ln->paused) continue;
        struct virtual_sock *other = sock_new(w, NULL, NULL);
        s->fail_why = NULL;
        s->peer = other;
        other->peer = s;
        other->reading = true;
        ln->handler->accepted(ln->arg, &other->base);
        break;
    }
    return &s->base;
}

/* Deliver at most one event to s; true when something happened. */
static bool serve(struct virtual_world *w, struct virtual_sock *s)
{
    if (s->base.closed) return false;
    const struct ek_sock_handler *h = s->base.handler;
    MUST(h != NULL);
    if (s->fail_why) {
        const char *why = s->fail_why;
        if (s->base.closed || (s->eof_told && !s->reading && !s->connecting)) return false;
        s->fail_why = NULL;
        s->connecting = false;
        s->reading = false;
        s->eof_told = true;
        h->failed(s->base.arg, why);
        return true;
    }
    if (s->connecting) {
        s->connecting = false;
        s->reading = true;
        h->connected(s->base.arg);
        return true;
    }
    if (push(w, s)) return true;
    if (s->drain_due) {
        s->drain_due = false;
        if (h->drained) h->drained(s->base.arg);
        return true;
    }
    if (s->reading && s->inbox.len) {
        size_t most = s->inbox.len < w->piece_max ? s->inbox.len : w->piece_max;
        size_t n = 1 + (size_t)ek_random_below(&w->random, most);
        char *piece = malloc(n); /* exactly n, so that the sanitizer sees an over-read */
        MUST(piece != NULL);
        memcpy(piece, s->inbox.data, n);
        ek_buf_drop(&s->inbox, n);
        h->data(s->base.arg, piece, n);
        free(piece);
        return true;
    }
    if (s->reading && s->eof_due && !s->eof_told) {
        s->eof_told = true;
        h->eof(s->base.arg);
        return true;
    }
    return false;
}

static void bury(struct virtual_world *w)
{
    EK_LIST_EACH(&w->has.socks, it) {
        struct virtual_sock *s = EK_CONTAINER(it, struct virtual_sock, link);
        if (!s->base.closed) continue;
        ek_list_remove(&w->has.socks, it);
        ek_buf_free(&s->inbox);
        ek_buf_free(&s->out);
        s->base.magic = 0;
        free(s);
    }
}

/* ---- the turn ---- */
static bool run_works(struct virtual_world *w)
{
    struct ek_link *it = ek_list_first(&w->has.works);
    if (!it) return false;
    struct virtual_work *k = EK_CONTAINER(it, struct virtual_work, link);
    ek_list_remove(&w->has.works, it);
    k->work(k->arg);
    k->done(k->arg);
    free(k);
    return true;
}

static bool turn(struct virtual_world *w)
{
    bool did = loop_fire_timers(&w->base) > 0;
    did |= loop_run_posts(&w->base) > 0;
    did |= run_works(w);
    EK_LIST_EACH(&w->has.socks, it) {
        did |= serve(w, EK_CONTAINER(it, struct virtual_sock, link));
        it_next = it->next; /* sockets appended meanwhile are met in this turn too */
    }
    bury(w);
    return did;
}

void ek_virtual_settle(struct ek_loop *l)
{
    MUST_OBJ(l, LOOP_MAGIC);
    for (unsigned turns = 0; turn(world(l)); turns++) MUST(turns < VIRTUAL_TURNS_MAX);
}

void ek_virtual_advance(struct ek_loop *l, uint64_t ns)
{
    struct virtual_world *w = world(l);
    uint64_t end_ns = w->now.mono_ns + ns;
    ek_virtual_settle(l);
    for (;;) {
        uint64_t due_ns = loop_next_due(l);
        uint64_t to_ns = due_ns < end_ns ? due_ns : end_ns;
        if (to_ns > w->now.mono_ns) {
            w->now.unix_ns += to_ns - w->now.mono_ns;
            w->now.mono_ns = to_ns;
        }
        l->now_stale = true;
        ek_virtual_settle(l);
        if (to_ns == end_ns && loop_next_due(l) > end_ns) return;
    }
}

static void v_run(struct ek_loop *l)
{
    struct virtual_world *w = world(l);
    w->stopped = false;
    while (!w->stopped) {
        ek_virtual_settle(l);
        uint64_t due_ns = loop_next_due(l);
        if (w->stopped || due_ns == UINT64_MAX) return; /* nothing will ever happen again */
        ek_virtual_advance(l, ek_ns_since(due_ns, w->now.mono_ns));
    }
}

static void v_stop(struct ek_loop *l)
{
    world(l)->stopped = true;
}

static struct ek_now v_clock(struct ek_loop *l)
{
    return world(l)->now;
}

static void v_random(struct ek_loop *l, void *out, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)out)[i] = (uint8_t)ek_random_u64(&world(l)->random);
}

static void v_poke(struct ek_loop *l)
{
    (void)l; /* settling looks at the posts anyway */
}

static void v_free(struct ek_loop *l)
{
    struct virtual_world *w = world(l);
    bury(w);
    MUST(w->has.socks.count == 0);
    MUST(w->has.listeners.count == 0);
    loop_fini(l);
    free(w);
}

/* ---- listeners, work, wakers ---- */
static struct ek_listener *v_listen(struct ek_loop *l, const char *address, int backlog,
                                    const struct ek_listener_handler *h, void *arg, const char **why)
{
    struct virtual_world *w = world(l);
    (void)backlog;
    EK_LIST_EACH(&w->has.listeners, it) {
        if (strcmp(EK_CONTAINER(it, struct ek_listener, link)->address, address) == 0) {
            *why = "address already in use";
            return NULL;
        }
    }
    struct ek_listener *ln = calloc(1, sizeof *ln);
    MUST(ln != NULL);
    *ln = (struct ek_listener){.loop = l, .handler = h, .arg = arg};
    snprintf(ln->address, sizeof ln->address, "%s", address);
    ek_list_append(&w->has.listeners, &ln->link);
    return ln;
}

static void v_listener_address(const struct ek_listener *ln, char *out, size_t cap)
{
    snprintf(out, cap, "%s", ln->address);
}

static void v_listener_pause(struct ek_listener *ln, bool paused)
{
    ln->paused = paused;
}

static void v_listener_close(struct ek_listener *ln)
{
    ek_list_remove(&world(ln->loop)->has.listeners, &ln->link);
    free(ln);
}

static enum ek_status v_work(struct ek_loop *l, void (*work)(void *), void (*done)(void *), void *arg)
{
    if (world(l)->has.works.count >= EK_WORK_MAX) return EK_FULL;
    struct virtual_work *k = calloc(1, sizeof *k);
    MUST(k != NULL);
    *k = (struct virtual_work){.work = work, .done = done, .arg = arg};
    ek_list_append(&world(l)->has.works, &k->link);
    return EK_OK;
}

static void wake(struct ek_post *p)
{
    struct ek_waker *k = EK_CONTAINER(p, struct ek_waker, post);
    k->woken(k->arg);
}

static struct ek_waker *v_waker_new(struct ek_loop *l, void (*woken)(void *), void *arg)
{
    struct ek_waker *k = calloc(1, sizeof *k);
    MUST(k != NULL);
    *k = (struct ek_waker){.loop = l, .woken = woken, .arg = arg};
    ek_post_init(&k->post, wake);
    return k;
}

static void v_waker_signal(struct ek_waker *k)
{
    ek_post_put(k->loop, &k->post);
}

static void v_waker_close(struct ek_waker *k)
{
    ek_post_clear(k->loop, &k->post);
    free(k);
}

/* ---- what does not exist in this world ---- */
static struct ek_child *v_child_start(struct ek_loop *l, const struct ek_child_options *o,
                                      void (*exited)(void *, int, int), void *arg, const char **why)
{
    (void)l, (void)o, (void)exited, (void)arg;
    *why = "the virtual world has no child processes";
    return NULL;
}

static struct ek_poll *v_poll_new(struct ek_loop *l, int fd, void (*ready)(void *, int, int), void *arg)
{
    (void)l, (void)fd, (void)ready, (void)arg;
    WRONG("libcurl is tested in real time only");
}

static struct ek_watch *v_watch(struct ek_loop *l, int fd, void (*gone)(void *), void *arg)
{
    (void)l, (void)fd, (void)gone, (void)arg;
    return NULL;
}

static struct ek_signal *v_signal(struct ek_loop *l, int signo, void (*got)(void *, int), void *arg)
{
    (void)l, (void)signo, (void)got, (void)arg;
    return NULL;
}

static const struct loop_ops virtual_ops = {
    .free = v_free,
    .run = v_run,
    .stop = v_stop,
    .clock = v_clock,
    .random = v_random,
    .poke = v_poke,
    .connect = v_connect,
    .writev = v_writev,
    .queued = v_queued,
    .read = v_read,
    .shutdown = v_shutdown,
    .close = v_close,
    .peer = v_peer,
    .listen = v_listen,
    .listener_address = v_listener_address,
    .listener_pause = v_listener_pause,
    .listener_close = v_listener_close,
    .poll_new = v_poll_new,
    .work = v_work,
    .waker_new = v_waker_new,
    .waker_signal = v_waker_signal,
    .waker_close = v_waker_close,
    .child_start = v_child_start,
    .watch = v_watch,
    .signal = v_signal,
};

struct ek_loop *ek_loop_new_virtual(const struct ek_virtual_options *o)
{
    struct virtual_world *w = calloc(1, sizeof *w);
    MUST(w != NULL);
    loop_init(&w->base, &virtual_ops);
    ek_list_init(&w->has.socks);
    ek_list_init(&w->has.listeners);
    ek_list_init(&w->has.works);
    w->random = ek_random_make(o->seed);
    w->now = (struct ek_now){.mono_ns = EK_S_NS, .unix_ns = o->start_unix_ns};
    w->piece_max = o->piece_bytes_max ? o->piece_bytes_max : 65536;
    w->window = o->window_bytes ? o->window_bytes : 65536;
    return &w->base;
}
