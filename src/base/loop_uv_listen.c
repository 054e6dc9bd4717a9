/* SPDX-License-Identifier: MIT */
/* Listeners of the real loop; and those that another process listened on before, and hands over. Socket files
 * are bound here and not by libuv, which removes a file it has bound when it closes: one that was handed over
 * must stay. */
#include "base/loop_uv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- listening ---- */
struct ek_listener {
    struct ek_loop *loop;
    const struct ek_listener_handler *handler;
    void *arg;
    bool paused;
    bool pending; /* a connection waits to be accepted while paused */
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
};

static void accept_one(struct ek_listener *ln)
{
    struct world *w = world_of(ln->loop);
    struct world_sock *s = world_sock_new(w, ln->path[0] != '\0', NULL, NULL);
    if (!s) return; /* no memory: the connection stays in the backlog */
    if (uv_accept(&ln->u.stream, &s->u.stream) != 0) {
        s->base.closed = true;
        uv_close(&s->u.handle, world_sock_gone);
        return;
    }
    if (!ln->path[0]) uv_tcp_nodelay(&s->u.tcp, 1);
    world_sock_read(&s->base, true);
    ln->handler->accepted(ln->arg, &s->base);
}

static void on_connection(uv_stream_t *stream, int status)
{
    struct ek_listener *ln = stream->data;
    if (status < 0) return; /* out of descriptors or the like: libuv keeps listening */
    if (ln->paused)
        ln->pending = true; /* libuv waits for our uv_accept before it takes another */
    else
        accept_one(ln);
}

/* A socket file that nobody answers at is left over from a crash; one that answers is not ours. */
static bool clear_stale(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) return false;
    memcpy(a.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    bool refused = connect(fd, (struct sockaddr *)&a, sizeof a) != 0 && errno == ECONNREFUSED;
    close(fd);
    struct stat st;
    if (refused && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) unlink(path);
    return true;
}

static int bind_unix(struct world *w, struct ek_listener *ln, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    MUST(uv_pipe_init(&w->uv, &ln->u.pipe, 0) == 0);
    if (!clear_stale(path)) return UV_ENAMETOOLONG;
    memcpy(a.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return uv_translate_sys_error(errno);
    mode_t old = umask(0177);
    int err = bind(fd, (struct sockaddr *)&a, sizeof a) == 0 ? 0 : uv_translate_sys_error(errno);
    umask(old);
    if (!err) err = uv_pipe_open(&ln->u.pipe, fd);
    if (err) close(fd);
    else snprintf(ln->path, sizeof ln->path, "%s", path);
    return err;
}

static void listener_gone(uv_handle_t *h)
{
    free(h->data);
}

/* Begins, and owns it until it is closed; on an error says why and closes it. */
static struct ek_listener *start(struct ek_listener *ln, int err, const char *address, int backlog,
                                 const char **why)
{
    struct ek_loop *l = ln->loop;
    ln->u.handle.data = ln;
    if (!err) err = uv_listen(&ln->u.stream, backlog, on_connection);
    if (!err) return ln;
    snprintf(l->why, sizeof l->why, "cannot listen on %s: %s", address, uv_strerror(err));
    *why = l->why;
    uv_close(&ln->u.handle, listener_gone);
    return NULL;
}

static struct ek_listener *listener_new(struct ek_loop *l, const struct ek_listener_handler *h, void *arg)
{
    struct ek_listener *ln = calloc(1, sizeof *ln);
    MUST(ln != NULL);
    *ln = (struct ek_listener){.loop = l, .handler = h, .arg = arg};
    return ln;
}

struct ek_listener *world_listen(struct ek_loop *l, const char *address, int backlog,
                                 const struct ek_listener_handler *h, void *arg, const char **why)
{
    struct world *w = world_of(l);
    struct world_place at;
    if (!world_place_read(address, &at) || (!at.path && !at.numeric)) {
        snprintf(l->why, sizeof l->why,
                 "cannot listen on %s: expected ADDRESS:PORT with a numeric address, or unix:/path", address);
        *why = l->why;
        return NULL;
    }
    struct ek_listener *ln = listener_new(l, h, arg);
    int err;
    if (at.path) {
        err = bind_unix(w, ln, at.path);
    } else {
        MUST(uv_tcp_init(&w->uv, &ln->u.tcp) == 0);
        err = uv_tcp_bind(&ln->u.tcp, (struct sockaddr *)&at.at, 0);
    }
    return start(ln, err, address, backlog, why);
}

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 ? value : -1;
}

struct ek_listener *world_listen_take(struct ek_loop *l, int fd, const char *address, int backlog,
                                      const struct ek_listener_handler *h, void *arg, const char **why)
{
    struct world *w = world_of(l);
    struct world_place at;
    bool readable = world_place_read(address, &at);
    int domain = socket_option(fd, SO_DOMAIN);
    bool fits = at.path ? domain == AF_UNIX : domain == AF_INET || domain == AF_INET6;
    if (!readable || !fits || socket_option(fd, SO_ACCEPTCONN) != 1) {
        snprintf(l->why, sizeof l->why, "the descriptor handed over for %s does not listen there", address);
        *why = l->why;
        close(fd);
        return NULL;
    }
    struct ek_listener *ln = listener_new(l, h, arg);
    int err;
    if (at.path) {
        MUST(uv_pipe_init(&w->uv, &ln->u.pipe, 0) == 0);
        err = uv_pipe_open(&ln->u.pipe, fd);
        if (!err) snprintf(ln->path, sizeof ln->path, "%s", at.path);
    } else {
        MUST(uv_tcp_init(&w->uv, &ln->u.tcp) == 0);
        err = uv_tcp_open(&ln->u.tcp, fd);
    }
    if (err) close(fd);
    return start(ln, err, address, backlog, why);
}

int world_listener_give(struct ek_listener *ln)
{
    uv_os_fd_t fd;
    if (ln->pending) { /* libuv has taken it already: it is nobody else's */
        ln->pending = false;
        accept_one(ln);
    }
    if (uv_fileno(&ln->u.handle, &fd) != 0) return -1;
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own >= 0) ln->path[0] = '\0'; /* its file stays: who listens there from now on removes it */
    return own;
}

void world_listener_address(const struct ek_listener *ln, char *out, size_t cap)
{
    struct sockaddr_storage a;
    int len = sizeof a;
    char host[64];
    if (ln->path[0]) {
        snprintf(out, cap, "unix:%s", ln->path);
        return;
    }
    MUST(uv_tcp_getsockname(&ln->u.tcp, (struct sockaddr *)&a, &len) == 0);
    MUST(uv_ip_name((struct sockaddr *)&a, host, sizeof host) == 0);
    bool six = a.ss_family == AF_INET6;
    int port = ntohs(six ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
    snprintf(out, cap, six ? "[%s]:%d" : "%s:%d", host, port);
}

void world_listener_pause(struct ek_listener *ln, bool paused)
{
    ln->paused = paused;
    if (!paused && ln->pending) {
        ln->pending = false;
        accept_one(ln);
    }
}

void world_listener_close(struct ek_listener *ln)
{
    if (ln->path[0]) unlink(ln->path);
    uv_close(&ln->u.handle, listener_gone);
}
