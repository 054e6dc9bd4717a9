/* SPDX-License-Identifier: MIT */
/* The server as a whole: listening, the caps on connections, stopping, the burial of the dead. What
 * happens on a connection is in conn.c and answer.c. */
#include "http/server_priv.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define BACKLOG 1024

struct ek_http_options ek_http_options_default(void)
{
    return (struct ek_http_options){
        .head_bytes_max = EK_HTTP_HEAD_BYTES_MAX,
        .body_bytes_max = 32u << 20,
        .bodies_bytes_max = 512u << 20,
        .connections_max = 10000,
        .address_connections_max = 1000,
        .head_deadline_ns = 10 * EK_S_NS,
        .body_grace_ns = 10 * EK_S_NS,
        .body_rate_min = 16384,
        .write_stall_ns = 30 * EK_S_NS,
        .idle_ns = 75 * EK_S_NS,
        .write_buffer_bytes = 65536,
    };
}

/* ---- addresses ------------------------------------------------------------------------------- */

/* The socket's peer into c->peer: kept in bytes, for every connection pays for what it keeps. */
static void keep_peer(struct ek_http_req *c)
{
    char text[64];
    ek_sock_peer(c->sock, text, sizeof text);
    if (inet_pton(AF_INET, text, c->peer) == 1) c->peer_family = AF_INET;
    else if (inet_pton(AF_INET6, text, c->peer) == 1) c->peer_family = AF_INET6;
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (c->peer_family != AF_INET6 || memcmp(c->peer, mapped, 12) != 0) return;
    memcpy(c->peer, c->peer + 12, 4); /* an IPv4 client of a socket for both */
    c->peer_family = AF_INET;
}

/* What connections are counted by. */
static void address_key(const struct ek_http_req *c, uint8_t key[16])
{
    memset(key, 0, 16);
    memcpy(key, c->peer, c->peer_family == AF_INET ? 4 : 8);
    key[15] = c->peer_family;
}

static bool same_address(const void *value, const void *key)
{
    return memcmp(((const struct address *)value)->key, key, 16) == 0;
}

static uint64_t hash_of(const struct ek_http_server *s, const uint8_t key[16])
{
    return ek_hash(ek_str_make((const char *)key, 16), s->hash_seed);
}

/* One more connection from this peer: false when it has too many. */
static bool count_address(struct ek_http_req *c)
{
    struct ek_http_server *s = c->server;
    uint8_t key[16];
    if (c->peer_family == 0) return true; /* a unix socket has no address */
    address_key(c, key);
    struct address *a = ek_map_find(&s->addresses, hash_of(s, key), same_address, key);
    if (a && a->count >= s->options.address_connections_max) return false;
    if (!a) {
        a = calloc(1, sizeof *a);
        if (!a) return false;
        memcpy(a->key, key, 16);
        if (ek_map_put(&s->addresses, hash_of(s, key), a) != EK_OK) {
            free(a);
            return false;
        }
    }
    a->count++;
    c->address = a;
    return true;
}

static void uncount_address(struct ek_http_req *c)
{
    struct ek_http_server *s = c->server;
    struct address *a = c->address;
    c->address = NULL;
    if (!a) return;
    MUST(a->count > 0);
    if (--a->count > 0) return;
    MUST(ek_map_take(&s->addresses, hash_of(s, a->key), same_address, a->key) == a);
    free(a);
}

/* ---- accepting ------------------------------------------------------------------------------- */

static void pace(struct ek_http_server *s)
{
    bool full = s->counters.open >= s->options.connections_max;
    if (!s->listener || full == s->waiting_to_accept) return;
    s->waiting_to_accept = full;
    if (full) s->counters.accept_waits++;
    ek_listener_pause(s->listener, full);
}

struct ek_http_req *ek_http_server_begin(struct ek_http_server *s, struct ek_sock *sock)
{
    struct ek_http_req *c = calloc(1, sizeof *c);
    if (!c) {
        s->counters.reasons[EK_REASON_NO_MEMORY]++;
        ek_sock_close(&sock);
        return NULL;
    }
    c->magic = CONN_MAGIC;
    c->server = s;
    c->sock = sock;
    keep_peer(c);
    if (!count_address(c)) {
        s->counters.reasons[EK_REASON_ADDRESS_CONNECTIONS]++;
        ek_sock_reset(&c->sock);
        c->magic = 0;
        free(c);
        return NULL;
    }
    ek_sock_set_handler(sock, &ek_http_conn_handler, c);
    s->counters.open++;
    ek_http_conn_begin(c);
    pace(s);
    return c;
}

static void on_accepted(void *arg, struct ek_sock *sock)
{
    struct ek_http_server *s = arg;
    MUST_OBJ(s, SERVER_MAGIC);
    if (ek_http_server_begin(s, sock)) s->counters.accepted++;
}

const struct ek_listener_handler ek_http_listener_handler = {.accepted = on_accepted};

/* ---- the dead -------------------------------------------------------------------------------- */

void ek_http_server_buried(struct ek_http_req *c)
{
    struct ek_http_server *s = c->server;
    MUST(c->state == CONN_DEAD);
    uncount_address(c);
    MUST(s->counters.open > 0);
    s->counters.open--;
    ek_post_put(s->loop, &s->reap);
}

static void free_dead(struct ek_http_server *s)
{
    EK_LIST_EACH(&s->conns[CONN_DEAD], it) {
        struct ek_http_req *c = EK_CONTAINER(it, struct ek_http_req, link);
        MUST(!c->live);
        ek_list_remove(&s->conns[CONN_DEAD], it);
        c->magic = 0;
        free(c);
    }
}

static void on_reap(struct ek_post *p)
{
    struct ek_http_server *s = EK_CONTAINER(p, struct ek_http_server, reap);
    MUST_OBJ(s, SERVER_MAGIC);
    free_dead(s);
    pace(s);
    if (!s->stopping || s->counters.open > 0 || !s->stopped) return;
    void (*stopped)(void *) = s->stopped;
    s->stopped = NULL;
    stopped(s->stopped_arg); /* may free s */
}

/* ---- life ------------------------------------------------------------------------------------ */

struct ek_http_server *ek_http_server_new(struct ek_loop *loop, const struct ek_http_options *options,
                                          struct ek_http_budget *budget,
                                          const struct ek_http_handler *handler, void *arg)
{
    MUST(handler->head && handler->body && handler->end && handler->gone);
    struct ek_http_server *s = calloc(1, sizeof *s);
    MUST(s != NULL);
    s->magic = SERVER_MAGIC;
    s->loop = loop;
    s->handler = handler;
    s->arg = arg;
    s->budget = budget;
    s->scratch = ek_buf_make(65536);
    ek_http_server_set_options(s, options);
    ek_loop_random(loop, &s->hash_seed, sizeof s->hash_seed);
    ek_post_init(&s->reap, on_reap);
    for (int i = 0; i < CONN_STATES; i++) {
        ek_list_init(&s->conns[i]);
    }
    return s;
}

bool ek_http_server_listen(struct ek_http_server *s, const char *address, int fd, const char **why)
{
    MUST_OBJ(s, SERVER_MAGIC);
    MUST(!s->listener && !s->stopping);
    s->waiting_to_accept = false;
    s->listener = fd >= 0 ? ek_listen_take(s->loop, fd, address, BACKLOG, &ek_http_listener_handler, s, why)
                          : ek_listen(s->loop, address, BACKLOG, &ek_http_listener_handler, s, why);
    pace(s);
    return s->listener != NULL;
}

bool ek_http_server_listens(const struct ek_http_server *s)
{
    MUST_OBJ(s, SERVER_MAGIC);
    return s->listener != NULL;
}

struct ek_http_server *ek_http_server_start(struct ek_loop *loop, const char *address,
                                            const struct ek_http_options *options,
                                            struct ek_http_budget *budget,
                                            const struct ek_http_handler *handler, void *arg,
                                            const char **why)
{
    struct ek_http_server *s = ek_http_server_new(loop, options, budget, handler, arg);
    if (!ek_http_server_listen(s, address, -1, why)) ek_http_server_free(&s);
    return s;
}

void ek_http_server_set_options(struct ek_http_server *s, const struct ek_http_options *options)
{
    MUST_OBJ(s, SERVER_MAGIC);
    s->options = *options;
    if (s->options.head_bytes_max > EK_HTTP_HEAD_BYTES_MAX) {
        s->options.head_bytes_max = EK_HTTP_HEAD_BYTES_MAX;
    }
    if (s->budget) s->budget->max_bytes = options->bodies_bytes_max;
    pace(s);
}

void ek_http_server_address(const struct ek_http_server *s, char *out, size_t cap)
{
    MUST_OBJ(s, SERVER_MAGIC);
    MUST(s->listener);
    ek_listener_address(s->listener, out, cap);
}

const struct ek_http_counters *ek_http_server_counters(const struct ek_http_server *s)
{
    MUST_OBJ(s, SERVER_MAGIC);
    return &s->counters;
}

void ek_http_server_stop(struct ek_http_server *s, void (*stopped)(void *arg), void *arg)
{
    MUST_OBJ(s, SERVER_MAGIC);
    if (s->listener) ek_listener_close(&s->listener);
    s->stopping = true;
    s->stopped = stopped;
    s->stopped_arg = arg;
    EK_LIST_EACH(&s->conns[CONN_IDLE], it) {
        ek_http_conn_close(EK_CONTAINER(it, struct ek_http_req, link), EK_REASON_NONE, false);
    }
    ek_post_put(s->loop, &s->reap);
}

void ek_http_server_free(struct ek_http_server **server)
{
    struct ek_http_server *s = *server;
    *server = NULL;
    if (!s) return;
    MUST_OBJ(s, SERVER_MAGIC);
    if (s->listener) ek_listener_close(&s->listener);
    s->stopping = true;
    for (int state = CONN_IDLE; state < CONN_DEAD; state++) {
        EK_LIST_EACH(&s->conns[state], it) {
            struct ek_http_req *c = EK_CONTAINER(it, struct ek_http_req, link);
            ek_http_conn_close(c, c->live ? EK_REASON_DRAINING : EK_REASON_NONE, c->live);
        }
    }
    ek_post_clear(s->loop, &s->reap);
    free_dead(s);
    MUST(s->counters.open == 0 && s->counters.running == 0);
    ek_map_free(&s->addresses);
    ek_buf_free(&s->scratch);
    s->magic = 0;
    free(s);
}
