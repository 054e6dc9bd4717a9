/* SPDX-License-Identifier: MIT */
/* Connections to upstreams at rest between two exchanges. A resting connection keeps reading: whatever
 * it hears, bytes or an end, means that it cannot be used again. */
#include "http/plain_priv.h"

#include <stdlib.h>

struct pooled {
    struct plain *plain;
    struct ek_sock *sock;
    struct ek_link link;
    struct ek_timer timer;
    char address[256];
};

static struct ek_sock *pooled_free(struct pooled *k)
{
    struct ek_sock *sock = k->sock;
    ek_timer_clear(k->plain->loop, &k->timer);
    ek_list_remove(&k->plain->idle, &k->link);
    k->plain->counters.idle--;
    free(k);
    return sock;
}

static void discard(struct pooled *k)
{
    struct ek_sock *sock = pooled_free(k);
    ek_sock_close(&sock);
}

static void on_timer(struct ek_timer *t)
{
    discard(EK_CONTAINER(t, struct pooled, timer));
}

static void on_data(void *arg, char *bytes, size_t n)
{
    (void)bytes;
    (void)n;
    discard(arg);
}

static void on_eof(void *arg)
{
    discard(arg);
}

static void on_failed(void *arg, const char *why)
{
    (void)why;
    discard(arg);
}

static const struct ek_sock_handler pooled_handler = {
    .data = on_data,
    .eof = on_eof,
    .failed = on_failed,
};

struct ek_sock *ek_plain_pool_take(struct plain *p, const char *address)
{
    EK_LIST_EACH(&p->idle, it) {
        struct pooled *k = EK_CONTAINER(it, struct pooled, link);
        if (strcmp(k->address, address) == 0) return pooled_free(k);
    }
    return NULL;
}

void ek_plain_pool_put(struct plain *p, struct ek_sock **sock, const char *address)
{
    size_t same = 0;
    EK_LIST_EACH(&p->idle, it) {
        same += strcmp(EK_CONTAINER(it, struct pooled, link)->address, address) == 0;
    }
    struct pooled *k = same < p->options.idle_connections_max ? calloc(1, sizeof *k) : NULL;
    if (!k || strlen(address) >= sizeof k->address) {
        free(k);
        ek_sock_close(sock);
        return;
    }
    k->plain = p;
    k->sock = *sock;
    *sock = NULL;
    memcpy(k->address, address, strlen(address) + 1);
    ek_timer_init(&k->timer, on_timer);
    ek_timer_set(p->loop, &k->timer, ek_loop_now(p->loop).mono_ns + p->options.idle_ns);
    ek_list_prepend(&p->idle, &k->link);
    p->counters.idle++;
    ek_sock_set_handler(k->sock, &pooled_handler, k);
    ek_sock_read(k->sock, true);
}

void ek_plain_pool_drain(struct plain *p)
{
    EK_LIST_EACH(&p->idle, it) {
        discard(EK_CONTAINER(it, struct pooled, link));
    }
    MUST(p->counters.idle == 0);
}
