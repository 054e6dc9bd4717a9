/* SPDX-License-Identifier: MIT */
/* To and from another process: a server that leaves gives away where it listens and what rests, and one that
 * comes receives it. The order matters: while two processes wait at one listening socket either may get a
 * connection, so it is closed here (a copy of its descriptor goes on) before the other begins to accept;
 * in between, whoever connects waits in the kernel. */
#include "http/server_priv.h"

void ek_http_server_heir(struct ek_http_server *s, ek_http_heir_fn *take, void *arg)
{
    MUST_OBJ(s, SERVER_MAGIC);
    MUST(!s->handing);
    s->heir = take;
    s->heir_arg = arg;
}

int ek_http_server_hand_over(struct ek_http_server *s)
{
    MUST_OBJ(s, SERVER_MAGIC);
    MUST(s->heir && !s->handing);
    if (!s->listener || s->stopping) return -1;
    int fd = ek_listener_give(&s->listener);
    if (fd < 0) return -1;
    s->handing = true;
    EK_LIST_EACH(&s->conns[CONN_IDLE], it) {
        ek_post_put(s->loop, &EK_CONTAINER(it, struct ek_http_req, link)->post);
    }
    return fd;
}

void ek_http_server_hand_back(struct ek_http_server *s)
{
    MUST_OBJ(s, SERVER_MAGIC);
    s->handing = false;
}

void ek_http_server_receive(struct ek_http_server *s, int fd, struct ek_str read)
{
    MUST_OBJ(s, SERVER_MAGIC);
    struct ek_sock *sock = ek_sock_take(s->loop, fd, &ek_http_conn_handler, NULL);
    if (!sock) return; /* it was no socket; its client sees it closed */
    struct ek_http_req *c = ek_http_server_begin(s, sock);
    if (!c) return;
    s->counters.received++;
    c->sent_bytes = 1; /* it has asked before: it may rest as long as any */
    ek_http_conn_arm(c);
    if (read.len == 0) {
        if (s->handing) ek_post_put(s->loop, &c->post);
        return;
    }
    ek_http_conn_handler.data(c, (char *)(uintptr_t)read.data, read.len);
}
