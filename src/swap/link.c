/* SPDX-License-Identifier: MIT */
/* The link itself: sendmsg and recvmsg with at most one descriptor, a queue for what the kernel does not
 * take. It owns its socket and the descriptors in its queue, and must never leave a received one
 * open unseen. */
#include "swap/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINK_MAGIC 0x6c9a3e17u
#define TURN_MESSAGES 256u /* read of one link in a turn */

struct parcel {
    struct ek_link link;
    size_t bytes;
    int fd;
    char data[];
};

struct ek_swap_link {
    uint32_t magic;
    bool ended, rests;
    int fd;
    struct ek_loop *loop;
    struct ek_poll *poll;
    const struct ek_swap_link_events *events;
    void *arg;
    struct ek_list queue;
    struct ek_post end; /* a failed send is told later */
    bool reading, dead; /* closed from inside its own callback: freed when that returns */
    char in[EK_SWAP_BYTES_MAX + 1]; /* one more than any: what is longer shows */
};

bool ek_swap_is_link(int fd)
{
    int domain = 0, type = 0;
    socklen_t len = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0) return false;
    len = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0) return false;
    return domain == AF_UNIX && type == SOCK_SEQPACKET;
}

/* 0, or errno. */
static int push(int link, const char *data, size_t bytes, int fd)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.room = {0}};
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = control.room;
        m.msg_controllen = sizeof control.room;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    for (;;) {
        if (sendmsg(link, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return 0;
        if (errno != EINTR) return errno;
    }
}

/* Bytes; 0: the other side is gone; -1: errno. *fd -1 or the first that came; *fds how many. */
static ssize_t pull(int link, char *into, size_t cap, int *fd, uint32_t *fds)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec part = {into, cap};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room,
                       .msg_controllen = sizeof control.room};
    *fd = -1;
    *fds = 0;
    ssize_t n;
    do n = recvmsg(link, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0) return -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int one;
            memcpy(&one, CMSG_DATA(c) + i * sizeof one, sizeof one);
            if ((*fds)++ == 0) *fd = one;
            else close(one);
        }
    }
    return n;
}

/* ---- on a loop -------------------------------------------------------------------------------------- */

static void parcel_free(struct ek_swap_link *k, struct parcel *p)
{
    ek_list_remove(&k->queue, &p->link);
    if (p->fd >= 0) close(p->fd);
    free(p);
}

static void want(struct ek_swap_link *k)
{
    int read = k->rests ? 0 : EK_POLL_READ;
    ek_poll_want(k->poll, k->ended ? 0 : read | (k->queue.count ? EK_POLL_WRITE : 0));
}

static void end(struct ek_swap_link *k, const char *why)
{
    if (k->ended) return;
    k->ended = true;
    want(k);
    k->events->ended(k->arg, why);
}

static void end_post(struct ek_post *p)
{
    end(EK_CONTAINER(p, struct ek_swap_link, end), NULL);
}

/* The kernel has no room now; many descriptors may be on their way at once, but not any number. */
static bool is_passing(int error)
{
    return error == EAGAIN || error == ENOBUFS || error == ETOOMANYREFS || error == ENOMEM;
}

static void flush(struct ek_swap_link *k)
{
    while (k->queue.count) {
        struct parcel *p = EK_CONTAINER(ek_list_first(&k->queue), struct parcel, link);
        int error = push(k->fd, p->data, p->bytes, p->fd);
        if (is_passing(error)) return;
        parcel_free(k, p);
        if (error) ek_post_put(k->loop, &k->end);
        if (error) return;
    }
}

bool ek_swap_link_send(struct ek_swap_link *k, const struct ek_swap_message *m, int fd)
{
    MUST_OBJ(k, LINK_MAGIC);
    MUST((fd >= 0) == ek_swap_takes_fd(m->kind));
    size_t cap = 8u + 8u * EK_SWAP_NUMBERS_MAX + m->text.len;
    struct parcel *p = NULL;
    if (!k->ended && k->queue.count < EK_SWAP_QUEUE_MAX) p = malloc(sizeof *p + cap);
    if (!p) {
        if (fd >= 0) close(fd);
        return false;
    }
    *p = (struct parcel){.fd = fd};
    p->bytes = ek_swap_write(m, p->data, cap);
    ek_list_append(&k->queue, &p->link);
    if (k->queue.count == 1) flush(k);
    want(k);
    return true;
}

uint32_t ek_swap_link_queued(const struct ek_swap_link *k)
{
    MUST_OBJ(k, LINK_MAGIC);
    return (uint32_t)k->queue.count;
}

static void on_ready(void *arg, int fd, int events)
{
    struct ek_swap_link *k = arg;
    MUST_OBJ(k, LINK_MAGIC);
    (void)fd;
    if (events & EK_POLL_WRITE) flush(k);
    k->reading = true;
    for (uint32_t i = 0; (events & EK_POLL_READ) && i < TURN_MESSAGES && !k->ended && !k->rests; i++) {
        struct ek_swap_message m;
        int passed;
        uint32_t fds;
        ssize_t n = pull(k->fd, k->in, sizeof k->in, &passed, &fds);
        if (n < 0 && errno == EAGAIN) break;
        const char *why = n > 0 ? ek_swap_read(ek_str_make(k->in, (size_t)n), fds, &m) : NULL;
        if (n <= 0 || why) {
            if (passed >= 0) close(passed);
            end(k, why);
            break;
        }
        k->events->message(k->arg, &m, passed);
        if (k->dead) break;
    }
    k->reading = false;
    if (k->dead) free(k);
    else want(k);
}

struct ek_swap_link *ek_swap_link_new(struct ek_loop *loop, int fd, const struct ek_swap_link_events *events,
                                      void *arg)
{
    struct ek_swap_link *k = calloc(1, sizeof *k);
    MUST(k && fd >= 0);
    k->magic = LINK_MAGIC;
    k->fd = fd;
    k->loop = loop;
    k->events = events;
    k->arg = arg;
    ek_list_init(&k->queue);
    ek_post_init(&k->end, end_post);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    k->poll = ek_poll_new(loop, fd, on_ready, k);
    MUST(k->poll);
    want(k);
    return k;
}

void ek_swap_link_rest(struct ek_swap_link *k, bool rests)
{
    MUST_OBJ(k, LINK_MAGIC);
    k->rests = rests;
    want(k);
}

int ek_swap_link_copy(const struct ek_swap_link *k)
{
    MUST_OBJ(k, LINK_MAGIC);
    return k->ended ? -1 : fcntl(k->fd, F_DUPFD_CLOEXEC, 3);
}

void ek_swap_link_close(struct ek_swap_link **kk)
{
    struct ek_swap_link *k = *kk;
    if (!k) return;
    MUST_OBJ(k, LINK_MAGIC);
    *kk = NULL;
    flush(k);
    EK_LIST_EACH(&k->queue, it) {
        parcel_free(k, EK_CONTAINER(it, struct parcel, link));
    }
    ek_post_clear(k->loop, &k->end);
    ek_poll_close(&k->poll);
    close(k->fd);
    k->magic = 0;
    k->dead = k->ended = true;
    if (!k->reading) free(k);
}

/* ---- without one ------------------------------------------------------------------------------------ */

const char *ek_swap_receive(int fd, int timeout_ms, char *bytes, struct ek_swap_message *m, int *passed)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint32_t fds;
    int n = poll(&p, 1, timeout_ms);
    if (n == 0) return "the program that is to be taken over from says nothing";
    ssize_t got = n > 0 ? pull(fd, bytes, EK_SWAP_BYTES_MAX, passed, &fds) : -1;
    if (got <= 0) return "the program that was to be taken over from is gone";
    const char *why = ek_swap_read(ek_str_make(bytes, (size_t)got), fds, m);
    if (why && *passed >= 0) close(*passed);
    return why;
}

bool ek_swap_send(int fd, const struct ek_swap_message *m, int passed)
{
    char *bytes = malloc(EK_SWAP_BYTES_MAX);
    MUST(bytes);
    size_t n = ek_swap_write(m, bytes, EK_SWAP_BYTES_MAX);
    int error = push(fd, bytes, n, passed);
    free(bytes);
    return error == 0;
}
