/* SPDX-License-Identifier: MIT */
/* The seam to the world: timers, sockets, helper work, child processes, signals, randomness.
 * Two loops stand behind it: the real one over libuv, and a virtual twin with seeded randomness,
 * in-memory sockets and time that only moves when nothing is left to do (base/loop_virtual.h). What
 * is written against this header runs unchanged on both.
 *
 * One turn of a loop:
 *      poll → now is read once, lazily → timers due → input → posts → closed things are freed
 *
 * Rules for all callbacks: they run on the loop's thread, never inside the call that registered them
 * (ek_sock_write is not re-entered by `drained`); they may close the object they were called for,
 * whose memory then rests until the end of the turn. A closed object never calls back again.
 * Only ek_waker_signal() may be called from another thread. */
#ifndef EK_BASE_LOOP_H
#define EK_BASE_LOOP_H

#include "base/clock.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/status.h"
#include "base/str.h"

#include <sys/uio.h>

struct ek_loop;

/* ---- the loop -------------------------------------------------------------------------------- */
struct ek_loop *ek_loop_new(void); /* over libuv; never NULL (dies without memory at start) */
void ek_loop_free(struct ek_loop **loop); /* every object on it must be closed before */
void ek_loop_run(struct ek_loop *loop);   /* until ek_loop_stop() */
void ek_loop_stop(struct ek_loop *loop);
struct ek_now ek_loop_now(struct ek_loop *loop); /* the same all through a turn */
/* Bytes fit for secrets on the real loop; seeded on the virtual one. */
void ek_loop_random(struct ek_loop *loop, void *out, size_t bytes);

/* ---- timers: embedded, no allocation --------------------------------------------------------- */
struct ek_timer {
    struct ek_heap_node node; /* key = due, mono_ns */
    void (*fire)(struct ek_timer *t);
};

static inline void ek_timer_init(struct ek_timer *t, void (*fire)(struct ek_timer *t))
{
    *t = (struct ek_timer){.fire = fire};
}
/* Fires once, at or (by about a millisecond) after due_mono_ns. Setting a set timer moves it. */
void ek_timer_set(struct ek_loop *loop, struct ek_timer *t, uint64_t due_mono_ns);
void ek_timer_clear(struct ek_loop *loop, struct ek_timer *t); /* no-op when not set */
static inline bool ek_timer_is_set(const struct ek_timer *t) { return ek_heap_has(&t->node); }

/* ---- posts: run a function later in this turn, or early in the next, once -------------------- */
struct ek_post {
    struct ek_link link;
    void (*run)(struct ek_post *p);
};
static inline void ek_post_init(struct ek_post *p, void (*run)(struct ek_post *p))
{
    *p = (struct ek_post){.run = run};
}
void ek_post_put(struct ek_loop *loop, struct ek_post *p); /* no-op when already posted */
void ek_post_clear(struct ek_loop *loop, struct ek_post *p);

/* ---- stream sockets -------------------------------------------------------------------------- */
/* Addresses are text: "127.0.0.1:8080", "[::1]:8080", "name:80" (connect only), "unix:/path". */
struct ek_sock;

struct ek_sock_handler {
    void (*connected)(void *arg);                      /* outgoing only; then writes may begin */
    void (*data)(void *arg, char *bytes, size_t n);    /* n > 0; bytes valid (and writable) in the call */
    void (*eof)(void *arg);                            /* the peer sends no more; we still may */
    void (*drained)(void *arg);                        /* all that was queued has left; never at once */
    void (*failed)(void *arg, const char *why);        /* refused, reset, ...: the owner must close */
};

/* Begin to connect. NULL with *why (a sentence, static or in the loop until the next call) when the
 * address is no address. Reading starts by itself once connected. */
struct ek_sock *ek_sock_connect(struct ek_loop *loop, const char *address,
                                const struct ek_sock_handler *h, void *arg, const char **why);
void ek_sock_set_handler(struct ek_sock *s, const struct ek_sock_handler *h, void *arg);
/* Hand bytes over. What the kernel does not take at once is copied and queued (ek_sock_queued);
 * bounding the queue is the caller's duty. Errors come through `failed`, later. */
void ek_sock_writev(struct ek_sock *s, const struct iovec *parts, size_t count);
static inline void ek_sock_write(struct ek_sock *s, const void *bytes, size_t n)
{
    ek_sock_writev(s, &(struct iovec){(void *)(uintptr_t)bytes, n}, 1);
}
size_t ek_sock_queued(const struct ek_sock *s);    /* bytes not yet taken by the kernel */
void ek_sock_read(struct ek_sock *s, bool on);     /* off: no data, no eof; the kernel's window fills */
void ek_sock_shutdown(struct ek_sock *s);          /* no more writes: FIN after the queue */
void ek_sock_close(struct ek_sock **s);            /* at once, drops the queue; NULLs the pointer */
void ek_sock_reset(struct ek_sock **s);            /* close with RST: the peer must see a break */
void ek_sock_peer(const struct ek_sock *s, char *out, size_t cap); /* "127.0.0.1" or "unix" */

struct ek_listener;
struct ek_listener_handler {
    /* A new connection, owned by the callee, reading already on; give it a handler before returning
     * (or close it). */
    void (*accepted)(void *arg, struct ek_sock *s);
};
/* Listen. For unix: a stale socket file is removed first, mode 0600. NULL with *why on failure. */
struct ek_listener *ek_listen(struct ek_loop *loop, const char *address, int backlog,
                              const struct ek_listener_handler *h, void *arg, const char **why);
/* The address really bound ("127.0.0.1:40123" when port 0 was asked for). */
void ek_listener_address(const struct ek_listener *l, char *out, size_t cap);
void ek_listener_pause(struct ek_listener *l, bool paused); /* stop accepting for a while */
void ek_listener_close(struct ek_listener **l);

/* ---- handing descriptors to another process -------------------------------------------------- */
/* Its descriptor, the caller's from now on; the socket is closed here and its peer hears nothing of it. What
 * came and was not read is still to be read there. -1: bytes are queued, or on a virtual loop, which has no
 * descriptors; nothing happened. */
int ek_sock_give(struct ek_sock **s);
/* One that was given, reading on. NULL: it is no stream socket; it was closed. */
struct ek_sock *ek_sock_take(struct ek_loop *loop, int fd, const struct ek_sock_handler *h, void *arg);
/* The same of listeners. The file of a unix socket stays. */
int ek_listener_give(struct ek_listener **l);
struct ek_listener *ek_listen_take(struct ek_loop *loop, int fd, const char *address, int backlog,
                                   const struct ek_listener_handler *h, void *arg, const char **why);

/* ---- foreign file descriptors (libcurl) ------------------------------------------------------ */
enum { EK_POLL_READ = 1, EK_POLL_WRITE = 2 };
struct ek_poll;
struct ek_poll *ek_poll_new(struct ek_loop *loop, int fd,
                            void (*ready)(void *arg, int fd, int events), void *arg);
void ek_poll_want(struct ek_poll *p, int events); /* 0 = nothing */
void ek_poll_close(struct ek_poll **p);           /* does not close the descriptor */

/* ---- helper threads -------------------------------------------------------------------------- */
struct ek_work;
/* Run work(arg) on a helper thread, then done(arg) on the loop. At most EK_WORK_MAX under way:
 * beyond that EK_FULL and nothing happens. On the virtual loop work runs on the loop, next turn. */
#define EK_WORK_MAX 1024
EK_CHECKED enum ek_status ek_work_submit(struct ek_loop *loop, void (*work)(void *arg),
                                         void (*done)(void *arg), void *arg);

/* A way for another thread to say "look": many signals may give one call. */
struct ek_waker;
struct ek_waker *ek_waker_new(struct ek_loop *loop, void (*woken)(void *arg), void *arg);
void ek_waker_signal(struct ek_waker *w); /* any thread; after ek_waker_close it is a bug */
void ek_waker_close(struct ek_waker **w);

/* ---- child processes, orphans, signals ------------------------------------------------------- */
struct ek_child;
struct ek_child_options {
    const char *const *argv; /* NULL-terminated; argv[0] is the path */
    bool orphan_pipe;        /* the child gets descriptor 3, which reads EOF when we are gone */
};
/* Standard output and error are inherited. NULL with *why when it cannot be started. */
struct ek_child *ek_child_start(struct ek_loop *loop, const struct ek_child_options *o,
                                void (*exited)(void *arg, int exit_code, int signal), void *arg,
                                const char **why);
int ek_child_pid(const struct ek_child *c);
void ek_child_kill(struct ek_child *c, int signal);
/* Forget it: no callback any more. A child still running is told SIGKILL first. */
void ek_child_close(struct ek_child **c);

/* The other end of orphan_pipe: calls `gone` once when the descriptor reads EOF. */
struct ek_watch;
struct ek_watch *ek_watch_eof(struct ek_loop *loop, int fd, void (*gone)(void *arg), void *arg);
void ek_watch_close(struct ek_watch **w);

struct ek_signal;
struct ek_signal *ek_signal_on(struct ek_loop *loop, int signo, void (*got)(void *arg, int signo),
                               void *arg);
void ek_signal_close(struct ek_signal **s);

#endif
