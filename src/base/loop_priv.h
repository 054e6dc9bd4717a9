/* SPDX-License-Identifier: MIT */
/* What the two loops share; private to base/. Every handle begins with the loop it lives on, whose
 * table of operations says which world it is in. */
#ifndef EK_BASE_LOOP_PRIV_H
#define EK_BASE_LOOP_PRIV_H

#include "base/loop.h"

#define LOOP_MAGIC 0x10093a51u
#define SOCK_MAGIC 0x50c4e701u
#define LOOP_RECEIVE_BYTES 65536 /* one shared buffer: also the most one socket may bring in a turn */
#define LOOP_WHY_BYTES 256

struct loop_ops {
    void (*free)(struct ek_loop *l);
    void (*run)(struct ek_loop *l);
    void (*stop)(struct ek_loop *l);
    struct ek_now (*clock)(struct ek_loop *l);
    void (*random)(struct ek_loop *l, void *out, size_t bytes);
    void (*poke)(struct ek_loop *l); /* a post was put: make sure a turn follows */
    struct ek_sock *(*connect)(struct ek_loop *l, const char *address,
                               const struct ek_sock_handler *h, void *arg, const char **why);
    void (*writev)(struct ek_sock *s, const struct iovec *parts, size_t count);
    size_t (*queued)(const struct ek_sock *s);
    void (*read)(struct ek_sock *s, bool on);
    void (*shutdown)(struct ek_sock *s);
    void (*close)(struct ek_sock *s, bool reset);
    void (*peer)(const struct ek_sock *s, char *out, size_t cap);
    int (*give)(struct ek_sock *s);
    struct ek_sock *(*take)(struct ek_loop *l, int fd, const struct ek_sock_handler *h, void *arg);
    struct ek_listener *(*listen)(struct ek_loop *l, const char *address, int backlog,
                                  const struct ek_listener_handler *h, void *arg, const char **why);
    void (*listener_address)(const struct ek_listener *ln, char *out, size_t cap);
    void (*listener_pause)(struct ek_listener *ln, bool paused);
    void (*listener_close)(struct ek_listener *ln);
    struct ek_listener *(*listen_take)(struct ek_loop *l, int fd, const char *address, int backlog,
                                       const struct ek_listener_handler *h, void *arg, const char **why);
    int (*listener_give)(struct ek_listener *ln);
    struct ek_poll *(*poll_new)(struct ek_loop *l, int fd, void (*ready)(void *, int, int), void *arg);
    void (*poll_want)(struct ek_poll *p, int events);
    void (*poll_close)(struct ek_poll *p);
    enum ek_status (*work)(struct ek_loop *l, void (*work)(void *), void (*done)(void *), void *arg);
    struct ek_waker *(*waker_new)(struct ek_loop *l, void (*woken)(void *), void *arg);
    void (*waker_signal)(struct ek_waker *w);
    void (*waker_close)(struct ek_waker *w);
    struct ek_child *(*child_start)(struct ek_loop *l, const struct ek_child_options *o,
                                    void (*exited)(void *, int, int), void *arg, const char **why);
    int (*child_pid)(const struct ek_child *c);
    void (*child_kill)(struct ek_child *c, int signal);
    void (*child_close)(struct ek_child *c);
    struct ek_watch *(*watch)(struct ek_loop *l, int fd, void (*gone)(void *), void *arg);
    void (*watch_close)(struct ek_watch *w);
    struct ek_signal *(*signal)(struct ek_loop *l, int signo, void (*got)(void *, int), void *arg);
    void (*signal_close)(struct ek_signal *s);
};

struct ek_loop {
    uint32_t magic;
    bool now_stale; /* the next ek_loop_now() reads the clock: once a turn, and only if asked */
    const struct loop_ops *ops;
    struct ek_now now;
    struct ek_heap timers;
    struct ek_list posts;
    char why[LOOP_WHY_BYTES];
};

struct ek_sock {
    uint32_t magic;
    bool closed;
    struct ek_loop *loop;
    const struct ek_sock_handler *handler;
    void *arg;
};

/* The first member of every other handle. */
struct loop_handle {
    struct ek_loop *loop;
};

void loop_init(struct ek_loop *l, const struct loop_ops *ops);
void loop_fini(struct ek_loop *l);
/* Fire every timer due at the loop's present; returns how many fired. */
size_t loop_fire_timers(struct ek_loop *l);
/* Run the posts that are there now (not those they put); returns how many ran. */
size_t loop_run_posts(struct ek_loop *l);
uint64_t loop_next_due(const struct ek_loop *l); /* mono_ns; UINT64_MAX when no timer is set */
void loop_sock_init(struct ek_sock *s, struct ek_loop *l, const struct ek_sock_handler *h, void *arg);

#endif
