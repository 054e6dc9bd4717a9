/* SPDX-License-Identifier: MIT */
/* The real loop's own structs, shared by its two files; private to base/. */
#ifndef EK_BASE_LOOP_UV_H
#define EK_BASE_LOOP_UV_H

#include "base/loop_priv.h"

#include <uv.h>

struct world {
    struct ek_loop base;
    uv_loop_t uv;
    uv_timer_t timer;     /* armed for the earliest of our heap, just before each poll */
    uv_prepare_t prepare; /* runs before the poll: posts, timers, throttled readers */
    uv_check_t check;     /* runs after it: posts of the input */
    uv_idle_t idle;       /* active only while posts remain, so that the poll does not block */
    struct ek_list turn;  /* sockets that want something at the next turn */
    unsigned work_count;
    char receive[LOOP_RECEIVE_BYTES];
};

static inline struct world *world_of(struct ek_loop *l)
{
    return (struct world *)(void *)l;
}

void world_poke(struct ek_loop *l); /* the next poll must not block */

/* Sockets and listeners: loop_uv_sock.c */
struct ek_sock *world_sock_connect(struct ek_loop *l, const char *address,
                                const struct ek_sock_handler *h, void *arg, const char **why);
void world_sock_writev(struct ek_sock *s, const struct iovec *parts, size_t count);
size_t world_sock_queued(const struct ek_sock *s);
void world_sock_read(struct ek_sock *s, bool on);
void world_sock_shutdown(struct ek_sock *s);
void world_sock_close(struct ek_sock *s, bool reset);
void world_sock_peer(const struct ek_sock *s, char *out, size_t cap);
void world_sock_turn(struct world *w); /* serve the sockets on w->turn */
struct ek_listener *world_listen(struct ek_loop *l, const char *address, int backlog,
                                 const struct ek_listener_handler *h, void *arg, const char **why);
void world_listener_address(const struct ek_listener *ln, char *out, size_t cap);
void world_listener_pause(struct ek_listener *ln, bool paused);
void world_listener_close(struct ek_listener *ln);

#endif
