/* SPDX-License-Identifier: MIT */
/* The real loop's own structs, shared by its files; private to base/. */
#ifndef EK_BASE_LOOP_UV_H
#define EK_BASE_LOOP_UV_H

#include "base/loop_priv.h"

#include <netdb.h>
#include <uv.h>

struct world {
    struct ek_loop base;
    uv_loop_t uv;
    uv_timer_t timer;     /* armed for the earliest of our heap, just before each poll ... */
    uint64_t armed_ns;    /* ... for so much, the heap's first then; 0: it is not */
    uv_prepare_t prepare; /* runs before the poll: posts, timers, throttled readers */
    uv_check_t check;     /* runs after it: posts of the input */
    uv_idle_t idle;       /* active only while posts remain, so that the poll does not block */
    struct ek_list turn;  /* sockets that want something at the next turn */
    unsigned work_count;
    char receive[LOOP_RECEIVE_BYTES];
};

struct world_sock {
    struct ek_sock base;
    struct ek_link turn;        /* on world.turn while `wants` is not 0 */
    size_t queued;              /* bytes in write blocks */
    uint8_t wants;
    bool reading : 1;
    bool half_closed : 1;       /* eof was seen: reading is over */
    int16_t error;              /* libuv's code behind WANTS_FAIL */
    int fd;                     /* of u, once connected: beside what each write looks at */
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u; /* last: only as much of it is there as its kind takes (sock_new). handle.data: see connecting_of */
};

struct world_place { /* where to connect to, or to listen at */
    const char *path; /* of a unix socket, inside the address; NULL: the rest counts */
    char host[256];
    int port;
    bool numeric; /* `at` is host and port; else host is a name to be looked up */
    struct sockaddr_storage at;
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
int world_sock_give(struct ek_sock *s);
struct ek_sock *world_sock_take(struct ek_loop *l, int fd, const struct ek_sock_handler *h, void *arg);
struct world_sock *world_sock_new(struct world *w, bool is_unix, const struct ek_sock_handler *h, void *arg);
void world_sock_gone(uv_handle_t *h); /* of uv_close */
bool world_place_read(const char *address, struct world_place *out);
/* loop_uv_listen.c */
struct ek_listener *world_listen(struct ek_loop *l, const char *address, int backlog,
                                 const struct ek_listener_handler *h, void *arg, const char **why);
void world_listener_address(const struct ek_listener *ln, char *out, size_t cap);
void world_listener_pause(struct ek_listener *ln, bool paused);
void world_listener_close(struct ek_listener *ln);
struct ek_listener *world_listen_take(struct ek_loop *l, int fd, const char *address, int backlog,
                                      const struct ek_listener_handler *h, void *arg, const char **why);
int world_listener_give(struct ek_listener *ln);

#endif
