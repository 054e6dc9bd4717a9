/* SPDX-License-Identifier: MIT */
/* Sockets of the real loop; listeners are in loop_uv_listen.c.
 *
 * Reading: one receive buffer is shared by all sockets of the loop, so an idle connection holds none;
 * a socket that filled it waits for the next turn (bounded work a turn).
 * Writing: straight to the kernel; only what it does not take is copied into a block and queued. */
#include "base/loop_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITE_PARTS_MAX 16
#define GATHER_BYTES_MAX 2048u /* parts of so little are put together: one write is cheaper than a writev */
#define UNIX_PREFIX "unix:"

enum { WANTS_READ = 1, WANTS_FAIL = 2 };

/* An outgoing connection on its way. A name may stand for addresses of both families ("localhost"),
 * and a descriptor has one family, so each address gets an attempt with a handle of its own; the
 * descriptor of the first that answers moves into the socket. */
struct connecting {
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct world_sock *sock; /* NULL: the owner has closed, we only clean up */
    struct addrinfo *found;
    struct addrinfo *next;
    uv_tcp_t *attempt; /* named connections only */
};

struct write_block {
    uv_write_t req;
    struct world_sock *sock;
    size_t len;
    char data[];
};

static struct world_sock *sock_of(const struct ek_sock *s)
{
    MUST(s->magic == SOCK_MAGIC);
    return (struct world_sock *)(uintptr_t)s;
}

static void attempt_close(struct connecting *k);

/* libuv gives its handle back, which lies in ours; so its pointer for us is free for what most sockets never
 * have: the connection under way. NULL: there is none (any more). */
static struct connecting *connecting_of(const struct world_sock *s) { return s->u.handle.data; }

static struct world_sock *sock_at(void *handle)
{
    return (struct world_sock *)(void *)((char *)handle - offsetof(struct world_sock, u));
}

void world_sock_gone(uv_handle_t *h)
{
    struct world_sock *s = sock_at(h);
    s->base.magic = 0;
    free(s);
}

static void want(struct world_sock *s, uint8_t what)
{
    struct world *w = world_of(s->base.loop);
    s->wants |= what;
    if (ek_link_linked(&s->turn)) return;
    ek_list_append(&w->turn, &s->turn);
    world_poke(&w->base);
}

static void fail(struct world_sock *s, int error)
{
    if (s->base.closed) return;
    s->base.handler->failed(s->base.arg, uv_strerror(error));
}

/* ---- reading ---- */
/* libuv reads with read(2), which goes by way of the file system's layer; recv(2) does not, and it is one of
 * the two calls a relayed token takes. A buffer of no bytes says that libuv shall not read (uv_alloc_cb); its
 * callback then comes at once with UV_ENOBUFS, and the reading is ours. */
static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    (void)h;
    (void)suggested;
    *buf = uv_buf_init(NULL, 0);
}

static ssize_t receive(struct world_sock *s)
{
    struct world *w = world_of(s->base.loop);
    ssize_t n;
    __builtin_prefetch(s->base.arg);
    do {
        n = recv(s->fd, w->receive, LOOP_RECEIVE_BYTES, MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? uv_translate_sys_error(errno) : n;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct world_sock *s = sock_at(stream);
    (void)buf;
    if (n == UV_ENOBUFS) n = receive(s);
    if (n == UV_EAGAIN) return;
    if (n == 0 || n == UV_EOF) {
        uv_read_stop(stream);
        s->reading = false;
        s->half_closed = true;
        s->base.handler->eof(s->base.arg);
        return;
    }
    if (n < 0) {
        uv_read_stop(stream);
        s->reading = false;
        fail(s, (int)n);
        return;
    }
    if (n == LOOP_RECEIVE_BYTES) { /* there may be megabytes: others first */
        uv_read_stop(stream);
        want(s, WANTS_READ);
    }
    s->base.handler->data(s->base.arg, world_of(s->base.loop)->receive, (size_t)n);
}

void world_sock_read(struct ek_sock *base, bool on)
{
    struct world_sock *s = sock_of(base);
    if (s->reading == on || s->half_closed || connecting_of(s)) return;
    s->reading = on;
    if (!on) {
        uv_read_stop(&s->u.stream);
        s->wants &= (uint8_t)~WANTS_READ;
        return;
    }
    int err = s->fd >= 0 ? 0 : uv_fileno(&s->u.handle, &s->fd);
    if (!err) err = uv_read_start(&s->u.stream, on_alloc, on_read);
    if (err && err != UV_EALREADY) {
        s->error = (int16_t)err;
        want(s, WANTS_FAIL);
    }
}

void world_sock_turn(struct world *w)
{
    for (size_t most = w->turn.count; most > 0 && w->turn.count > 0; most--) {
        struct world_sock *s = EK_CONTAINER(ek_list_first(&w->turn), struct world_sock, turn);
        ek_list_remove(&w->turn, &s->turn);
        uint8_t wants = s->wants;
        s->wants = 0;
        if (wants & WANTS_FAIL) {
            fail(s, s->error);
        } else if ((wants & WANTS_READ) && s->reading) {
            int err = uv_read_start(&s->u.stream, on_alloc, on_read);
            if (err && err != UV_EALREADY) fail(s, err);
        }
    }
}

/* ---- writing ---- */
static void on_written(uv_write_t *req, int status)
{
    struct write_block *k = req->data;
    struct world_sock *s = k->sock;
    MUST(s->queued >= k->len);
    s->queued -= k->len;
    free(k);
    if (s->base.closed || status == UV_ECANCELED) return;
    if (status < 0)
        fail(s, status);
    else if (s->queued == 0 && s->base.handler->drained)
        s->base.handler->drained(s->base.arg);
}

/* Queue the bytes of `parts` behind the first `skip`. */
static void queue_rest(struct world_sock *s, const struct iovec *parts, size_t count, size_t skip,
                       size_t total)
{
    struct write_block *k = malloc(sizeof *k + total - skip);
    MUST(k != NULL); /* the caller bounds what it queues */
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t drop = skip < parts[i].iov_len ? skip : parts[i].iov_len;
        skip -= drop;
        memcpy(k->data + at, (char *)parts[i].iov_base + drop, parts[i].iov_len - drop);
        at += parts[i].iov_len - drop;
    }
    k->sock = s;
    k->len = at;
    k->req.data = k;
    s->queued += at;
    uv_buf_t buf = uv_buf_init(k->data, (unsigned)at);
    int err = uv_write(&k->req, &s->u.stream, &buf, 1, on_written);
    if (err) {
        s->queued -= at;
        free(k);
        s->error = (int16_t)err;
        want(s, WANTS_FAIL);
    }
}

/* What the kernel takes of it now, or libuv's code. Past libuv, which has nothing queued: its way to the same
 * call costs a tenth of it. */
static ssize_t write_now(struct world_sock *s, const struct iovec *parts, size_t count, size_t total)
{
    char gathered[GATHER_BYTES_MAX];
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count};
    const void *bytes = parts[0].iov_base;
    ssize_t n;
    MUST(s->fd >= 0);
    if (count > 1 && total <= sizeof gathered) {
        for (size_t i = 0, at = 0; i < count; at += parts[i++].iov_len)
            if (parts[i].iov_len) memcpy(gathered + at, parts[i].iov_base, parts[i].iov_len);
        bytes = gathered;
        count = 1;
    }
    do {
        n = count == 1 ? send(s->fd, bytes, total, MSG_DONTWAIT | MSG_NOSIGNAL)
                       : sendmsg(s->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) return n;
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS ? 0 : uv_translate_sys_error(errno);
}

void world_sock_writev(struct ek_sock *base, const struct iovec *parts, size_t count)
{
    struct world_sock *s = sock_of(base);
    size_t total = 0;
    size_t taken = 0;
    MUST(count <= WRITE_PARTS_MAX);
    MUST(!connecting_of(s));
    for (size_t i = 0; i < count; i++) total += parts[i].iov_len;
    if (total == 0 || (s->wants & WANTS_FAIL)) return;
    if (s->queued == 0) {
        ssize_t n = write_now(s, parts, count, total);
        if (n < 0) {
            s->error = (int16_t)n;
            want(s, WANTS_FAIL);
            return;
        }
        taken = (size_t)n;
    }
    if (taken < total) queue_rest(s, parts, count, taken, total);
}

size_t world_sock_queued(const struct ek_sock *base)
{
    return sock_of(base)->queued;
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)status; /* if the FIN cannot be sent the connection is broken, and reading will say so */
    free(req);
}

void world_sock_shutdown(struct ek_sock *base)
{
    struct world_sock *s = sock_of(base);
    uv_shutdown_t *req = malloc(sizeof *req);
    MUST(req != NULL);
    if (uv_shutdown(req, &s->u.stream, on_shutdown) != 0) free(req);
}

void world_sock_close(struct ek_sock *base, bool reset)
{
    struct world_sock *s = sock_of(base);
    struct world *w = world_of(base->loop);
    if (ek_link_linked(&s->turn)) ek_list_remove(&w->turn, &s->turn);
    struct connecting *k = connecting_of(s);
    if (k) {
        k->sock = NULL;
        if (k->attempt)
            attempt_close(k); /* its callback follows, cancelled, and ends k */
        else if (k->resolve.loop)
            uv_cancel((uv_req_t *)&k->resolve);
    }
    if (reset && s->u.handle.type == UV_TCP && uv_tcp_close_reset(&s->u.tcp, world_sock_gone) == 0) return;
    uv_close(&s->u.handle, world_sock_gone);
}

int world_sock_give(struct ek_sock *base)
{
    struct world_sock *s = sock_of(base);
    uv_os_fd_t fd;
    if (s->queued > 0 || connecting_of(s) || s->wants & WANTS_FAIL) return -1;
    if (uv_fileno(&s->u.handle, &fd) != 0) return -1;
    return fcntl(fd, F_DUPFD_CLOEXEC, 3); /* closing ours says nothing to the peer while this one is open */
}

struct ek_sock *world_sock_take(struct ek_loop *l, int fd, const struct ek_sock_handler *h, void *arg)
{
    int domain = 0, type = 0;
    socklen_t len = sizeof domain;
    bool good = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0;
    len = sizeof type;
    good = good && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
    bool is_unix = domain == AF_UNIX;
    good = good && (is_unix || domain == AF_INET || domain == AF_INET6);
    struct world_sock *s = good ? world_sock_new(world_of(l), is_unix, h, arg) : NULL;
    int err = !s ? UV_EINVAL : is_unix ? uv_pipe_open(&s->u.pipe, fd) : uv_tcp_open(&s->u.tcp, fd);
    if (err) {
        close(fd);
        if (s) s->base.closed = true;
        if (s) uv_close(&s->u.handle, world_sock_gone);
        return NULL;
    }
    if (!is_unix) uv_tcp_nodelay(&s->u.tcp, 1);
    world_sock_read(&s->base, true);
    return &s->base;
}

void world_sock_peer(const struct ek_sock *base, char *out, size_t cap)
{
    struct world_sock *s = sock_of(base);
    struct sockaddr_storage a;
    int len = sizeof a;
    MUST(cap >= 8);
    snprintf(out, cap, "unix");
    if (s->u.handle.type != UV_TCP) return;
    if (uv_tcp_getpeername(&s->u.tcp, (struct sockaddr *)&a, &len) != 0 ||
        uv_ip_name((struct sockaddr *)&a, out, cap) != 0)
        snprintf(out, cap, "gone");
}

/* ---- addresses ---- */
/* "HOST:PORT", "[v6]:PORT" or "unix:/path". */
bool world_place_read(const char *address, struct world_place *out)
{
    *out = (struct world_place){.path = NULL};
    if (strncmp(address, UNIX_PREFIX, sizeof UNIX_PREFIX - 1) == 0) {
        out->path = address + sizeof UNIX_PREFIX - 1;
        return true;
    }
    const char *colon = strrchr(address, ':');
    uint64_t port;
    if (!colon || !ek_str_u64(ek_str_of(colon + 1), &port) || port > 65535) return false;
    struct ek_str name = {address, (size_t)(colon - address)};
    if (name.len >= 2 && name.data[0] == '[' && name.data[name.len - 1] == ']')
        name = (struct ek_str){name.data + 1, name.len - 2};
    else if (memchr(name.data, ':', name.len))
        return false; /* a bare IPv6 address: which colon is the port's? */
    if (name.len == 0 || !ek_str_copy(name, out->host, sizeof out->host)) return false;
    out->port = (int)port;
    out->numeric = uv_ip4_addr(out->host, out->port, (struct sockaddr_in *)&out->at) == 0 ||
                   uv_ip6_addr(out->host, out->port, (struct sockaddr_in6 *)&out->at) == 0;
    return true;
}

struct world_sock *world_sock_new(struct world *w, bool is_unix, const struct ek_sock_handler *h, void *arg)
{
    size_t kind_bytes = is_unix ? sizeof(uv_pipe_t) : sizeof(uv_tcp_t);
    struct world_sock *s = calloc(1, offsetof(struct world_sock, u) + kind_bytes);
    if (!s) return NULL;
    loop_sock_init(&s->base, &w->base, h, arg);
    if (is_unix)
        MUST(uv_pipe_init(&w->uv, &s->u.pipe, 0) == 0);
    else
        MUST(uv_tcp_init(&w->uv, &s->u.tcp) == 0);
    s->u.handle.data = NULL;
    s->fd = -1;
    return s;
}

/* ---- connecting ---- */
static void try_next(struct connecting *k, int last_error);

static void connect_over(struct connecting *k)
{
    if (k->sock) k->sock->u.handle.data = NULL;
    if (k->found) uv_freeaddrinfo(k->found);
    free(k);
}

static void attempt_gone(uv_handle_t *h)
{
    free(h);
}

static void attempt_close(struct connecting *k)
{
    if (k->attempt) uv_close((uv_handle_t *)k->attempt, attempt_gone);
    k->attempt = NULL;
}

/* Move the attempt's descriptor into the socket's own handle. */
static int adopt_attempt(struct connecting *k)
{
    uv_os_fd_t fd;
    int err = uv_fileno((uv_handle_t *)k->attempt, &fd);
    if (err) return err;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0) return uv_translate_sys_error(errno);
    attempt_close(k);
    return uv_tcp_open(&k->sock->u.tcp, own);
}

static void on_connect(uv_connect_t *req, int status)
{
    struct connecting *k = req->data;
    struct world_sock *s = k->sock;
    if (!s) {
        attempt_close(k);
        connect_over(k);
        return;
    }
    if (status == 0 && k->attempt) status = adopt_attempt(k);
    if (status < 0) {
        attempt_close(k);
        try_next(k, status);
        return;
    }
    connect_over(k);
    if (s->u.handle.type == UV_TCP) uv_tcp_nodelay(&s->u.tcp, 1);
    world_sock_read(&s->base, true);
    s->base.handler->connected(s->base.arg);
}

static void try_next(struct connecting *k, int last_error)
{
    struct world_sock *s = k->sock;
    while (k->next) {
        struct addrinfo *a = k->next;
        k->next = a->ai_next;
        k->attempt = malloc(sizeof *k->attempt);
        MUST(k->attempt != NULL);
        MUST(uv_tcp_init(&world_of(s->base.loop)->uv, k->attempt) == 0);
        last_error = uv_tcp_connect(&k->connect, k->attempt, a->ai_addr, on_connect);
        if (last_error == 0) return;
        attempt_close(k);
    }
    connect_over(k);
    fail(s, last_error);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct connecting *k = req->data;
    k->found = k->next = found;
    if (!k->sock) {
        connect_over(k);
        return;
    }
    try_next(k, status < 0 ? status : UV_EAI_NODATA);
}

static int connect_named(struct world *w, struct connecting *k, const char *host, int port)
{
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
    snprintf(service, sizeof service, "%d", port);
    return uv_getaddrinfo(&w->uv, &k->resolve, on_resolved, host, service, &hints);
}

struct ek_sock *world_sock_connect(struct ek_loop *l, const char *address,
                                const struct ek_sock_handler *h, void *arg, const char **why)
{
    struct world *w = world_of(l);
    struct world_place to;
    if (!world_place_read(address, &to)) {
        *why = "not an address: expected HOST:PORT or unix:/path";
        return NULL;
    }
    struct world_sock *s = world_sock_new(w, to.path != NULL, h, arg);
    struct connecting *k = calloc(1, sizeof *k);
    MUST(s && k);
    s->u.handle.data = k;
    k->sock = s;
    k->connect.data = k->resolve.data = k;
    int err = 0;
    if (to.path)
        uv_pipe_connect(&k->connect, &s->u.pipe, to.path, on_connect);
    else if (to.numeric)
        err = uv_tcp_connect(&k->connect, &s->u.tcp, (struct sockaddr *)&to.at, on_connect);
    else
        err = connect_named(w, k, to.host, to.port);
    if (err) { /* told like every other failure: later */
        connect_over(k);
        s->error = (int16_t)err;
        want(s, WANTS_FAIL);
    }
    return &s->base;
}
