/* SPDX-License-Identifier: MIT */
/* pacer: a fake engine with a metronome. Speaks enough OpenAI-style HTTP to stand behind any relay:
 * POST .../chat/completions answers N tokens at R tokens a second, as SSE or as one JSON document,
 * GET .../models and /health answer at once. The text is a pure function of the seed (pacetext.h).
 * Every chunk carries its moment of birth (CLOCK_MONOTONIC, ns) as system_fingerprint "t<16 hex>",
 * so a client on the same machine can measure what a relay adds.
 * Owns its sockets only; raw epoll, one thread. Must never listen beyond loopback, and stops by
 * itself after --seconds. With --slots N only N streams are worked on; others get no head and wait.
 * A request may override with body members pacer_tokens, pacer_rate,
 * pacer_think (first tokens sent as reasoning_content), max_tokens and seed. */
#include "pacetext.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNS_MAX = 4096,
    IN_MAX = 1 << 16,       /* head and body of one request */
    OUT_HIGH = 1 << 16,     /* unsent bytes at which a stream waits for its reader */
    OUT_MAX = OUT_HIGH * 2, /* ... and never more than this */
    BURST_MAX = 16,         /* tokens written in one turn by a stream that is behind */
};

struct stream {
    bool active;
    bool sse;
    bool include_usage;
    uint64_t seed;
    uint64_t sent;      /* tokens written so far */
    uint64_t tokens;    /* tokens to write */
    uint64_t think;     /* of these, the first so many are thought */
    uint64_t prompt_tokens;
    uint64_t period_ns; /* 0: as fast as the reader takes them */
    uint64_t due_ns;
    uint64_t turn; /* not 0: waits for a slot, in this order */
};

struct conn {
    int fd;
    bool closing; /* close once `out` is empty */
    bool waiting_write;
    uint32_t heap_pos; /* 1-based place in the timer heap, 0 when absent */
    char *in;
    size_t in_len;
    char *out;
    size_t out_len;
    size_t out_done;
    struct stream st;
};

struct pacer {
    int ep;
    int listener;
    uint32_t heap_len;
    uint32_t slots; /* 0: no bound */
    uint32_t working, queued;
    uint64_t turns;
    uint64_t default_tokens;
    double default_rate;
    uint64_t end_ns;
    const char *model;
    uint64_t requests, tokens, broken; /* broken: connections lost in mid-stream */
    struct conn *heap[CONNS_MAX + 1];
    struct conn *by_fd[CONNS_MAX + 64];
};

static volatile sig_atomic_t stop_asked;

static void on_stop(int sig)
{
    (void)sig;
    stop_asked = 1;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- timer heap by due_ns ------------------------------------------------------------------- */

static void heap_put(struct pacer *p, uint32_t pos, struct conn *c)
{
    p->heap[pos] = c;
    c->heap_pos = pos;
}

static void heap_fix(struct pacer *p, uint32_t pos)
{
    struct conn *c = p->heap[pos];
    while (pos > 1 && p->heap[pos / 2]->st.due_ns > c->st.due_ns) {
        heap_put(p, pos, p->heap[pos / 2]);
        pos /= 2;
    }
    for (;;) {
        uint32_t child = pos * 2;
        if (child > p->heap_len) break;
        if (child < p->heap_len && p->heap[child + 1]->st.due_ns < p->heap[child]->st.due_ns) {
            child++;
        }
        if (p->heap[child]->st.due_ns >= c->st.due_ns) break;
        heap_put(p, pos, p->heap[child]);
        pos = child;
    }
    heap_put(p, pos, c);
}

static void heap_add(struct pacer *p, struct conn *c)
{
    if (c->heap_pos != 0) {
        heap_fix(p, c->heap_pos);
        return;
    }
    heap_put(p, ++p->heap_len, c);
    heap_fix(p, p->heap_len);
}

static void heap_remove(struct pacer *p, struct conn *c)
{
    uint32_t pos = c->heap_pos;
    if (pos == 0) return;
    struct conn *last = p->heap[p->heap_len--];
    c->heap_pos = 0;
    if (last != c) {
        heap_put(p, pos, last);
        heap_fix(p, pos);
    }
}

/* ---- connections ---------------------------------------------------------------------------- */

static void conn_close(struct pacer *p, struct conn *c)
{
    if (c->st.active) p->broken++;
    if (c->st.active && c->st.turn) p->queued--;
    else if (c->st.active) p->working--;
    heap_remove(p, c);
    p->by_fd[c->fd] = NULL;
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void conn_interest(struct pacer *p, struct conn *c, bool write)
{
    if (c->waiting_write == write) return;
    struct epoll_event ev = {.events = EPOLLIN | (write ? EPOLLOUT : 0u), .data.fd = c->fd};
    epoll_ctl(p->ep, EPOLL_CTL_MOD, c->fd, &ev);
    c->waiting_write = write;
}

/* Sends what it can. Returns false when the connection is gone (and freed). */
static bool conn_flush(struct pacer *p, struct conn *c)
{
    while (c->out_done < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_done, c->out_len - c->out_done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            conn_interest(p, c, true);
            return true;
        }
        if (n < 0) {
            conn_close(p, c);
            return false;
        }
        c->out_done += (size_t)n;
    }
    c->out_len = c->out_done = 0;
    conn_interest(p, c, false);
    if (c->closing) {
        conn_close(p, c);
        return false;
    }
    return true;
}

static void out_add(struct conn *c, const char *bytes, size_t len)
{
    if (c->out_len + len > OUT_MAX) {
        fprintf(stderr, "pacer: out buffer overflow, a bug\n");
        abort();
    }
    memcpy(c->out + c->out_len, bytes, len);
    c->out_len += len;
}

static void out_text(struct conn *c, const char *s)
{
    out_add(c, s, strlen(s));
}

/* One SSE event as one chunk of the transfer coding. */
static void out_event(struct conn *c, const char *event, int len)
{
    char head[16];
    out_add(c, head, (size_t)snprintf(head, sizeof head, "%x\r\n", (unsigned)len));
    out_add(c, event, (size_t)len);
    out_text(c, "\r\n");
}

static void stream_end(struct pacer *p, struct conn *c)
{
    struct stream *s = &c->st;
    char ev[640];
    const char *head = "data: {\"id\":\"chatcmpl-pace\",\"object\":\"chat.completion.chunk\","
                       "\"created\":1700000000,\"model\":\"";
    out_event(c, ev,
              snprintf(ev, sizeof ev,
                       "%s%s\",\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                       "\"finish_reason\":\"length\"}]}\n\n",
                       head, p->model));
    if (s->include_usage) {
        out_event(c, ev,
                  snprintf(ev, sizeof ev,
                           "%s%s\",\"choices\":[],\"usage\":{\"prompt_tokens\":%llu,"
                           "\"completion_tokens\":%llu,\"total_tokens\":%llu,"
                           "\"completion_tokens_details\":{\"reasoning_tokens\":%llu}}}\n\n",
                           head, p->model, (unsigned long long)s->prompt_tokens,
                           (unsigned long long)s->tokens,
                           (unsigned long long)(s->prompt_tokens + s->tokens),
                           (unsigned long long)s->think));
    }
    out_event(c, "data: [DONE]\n\n", 14);
    out_text(c, "0\r\n\r\n");
    s->active = false;
    p->working--;
    heap_remove(p, c);
}

static void stream_token(struct pacer *p, struct conn *c)
{
    struct stream *s = &c->st;
    char text[PACE_TOKEN_MAX];
    char ev[640];

    pace_token(s->seed, s->sent, text);
    int len = snprintf(ev, sizeof ev,
                       "data: {\"id\":\"chatcmpl-pace\",\"object\":\"chat.completion.chunk\","
                       "\"created\":1700000000,\"model\":\"%s\","
                       "\"system_fingerprint\":\"t%016llx\",\"choices\":[{\"index\":0,"
                       "\"delta\":{%s\"%s\":\"%s\"},\"logprobs\":null,\"finish_reason\":null}]}"
                       "\n\n",
                       p->model, (unsigned long long)now_ns(),
                       s->sent == 0 ? "\"role\":\"assistant\"," : "",
                       s->sent < s->think ? "reasoning_content" : "content", text);
    out_event(c, ev, len);
    s->sent++;
    p->tokens++;
}

/* Writes the tokens that are due, sets the next due time. False when the connection is gone. */
static bool stream_turn(struct pacer *p, struct conn *c, uint64_t now)
{
    struct stream *s = &c->st;
    for (int burst = 0; burst < BURST_MAX && s->sent < s->tokens; burst++) {
        if (c->out_len - c->out_done > OUT_HIGH) break;
        if (s->period_ns != 0 && s->due_ns > now) break;
        stream_token(p, c);
        s->due_ns = s->period_ns != 0 ? s->due_ns + s->period_ns : now;
    }
    if (s->sent == s->tokens) {
        stream_end(p, c);
    } else if (c->out_len - c->out_done > OUT_HIGH) {
        heap_remove(p, c); /* the writable event brings it back */
    } else {
        heap_add(p, c);
    }
    return conn_flush(p, c);
}

/* ---- requests ------------------------------------------------------------------------------- */

/* The number after "name": in a JSON body, or fallback. A scan, not a parse: the test tools write
 * the bodies themselves. */
static double body_number(const char *body, size_t len, const char *name, double fallback)
{
    const char *at = memmem(body, len, name, strlen(name));
    if (at == NULL) return fallback;
    at += strlen(name);
    while (at < body + len && (*at == ' ' || *at == ':')) at++;
    return at < body + len ? strtod(at, NULL) : fallback;
}

static bool body_true(const char *body, size_t len, const char *name)
{
    const char *at = memmem(body, len, name, strlen(name));
    if (at == NULL) return false;
    at += strlen(name);
    while (at < body + len && (*at == ' ' || *at == ':')) at++;
    return at < body + len && *at == 't';
}

static void answer_json(struct conn *c, int status, const char *json)
{
    char head[160];
    snprintf(head, sizeof head,
             "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
             status, status == 200 ? "OK" : "Not Found", strlen(json));
    out_text(c, head);
    out_text(c, json);
}

/* The whole answer as one document; `text` holds at most 1,000 tokens of it. */
static void answer_whole(struct pacer *p, struct conn *c)
{
    static char text[1000 * PACE_TOKEN_MAX];
    static char json[sizeof text + 1024];
    struct stream *s = &c->st;
    size_t len = 0;
    uint64_t count = s->tokens < 1000 ? s->tokens : 1000;

    for (uint64_t i = 0; i < count; i++) {
        len += pace_token(s->seed, i, text + len);
    }
    text[len] = '\0';
    snprintf(json, sizeof json,
             "{\"id\":\"chatcmpl-pace\",\"object\":\"chat.completion\",\"created\":1700000000,"
             "\"model\":\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
             "\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":\"length\"}],"
             "\"usage\":{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,"
             "\"total_tokens\":%llu}}",
             p->model, text, (unsigned long long)s->prompt_tokens, (unsigned long long)count,
             (unsigned long long)(s->prompt_tokens + count));
    answer_json(c, 200, json);
    s->active = false;
    p->working--;
    p->tokens += count;
}

static bool begin_stream(struct pacer *p, struct conn *c)
{
    out_text(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n");
    uint64_t now = now_ns();
    p->working++;
    c->st.due_ns = now;
    return stream_turn(p, c, now);
}

static bool start_completion(struct pacer *p, struct conn *c, const char *body, size_t len)
{
    struct stream *s = &c->st;
    double rate = body_number(body, len, "\"pacer_rate\"", p->default_rate);
    double tokens = body_number(body, len, "\"max_tokens\"", (double)p->default_tokens);
    double seed = body_number(body, len, "\"seed\"", -1);

    tokens = body_number(body, len, "\"pacer_tokens\"", tokens);
    *s = (struct stream){
        .active = true,
        .sse = body_true(body, len, "\"stream\""),
        .include_usage = body_true(body, len, "\"include_usage\""),
        .seed = seed >= 0 ? (uint64_t)seed : pace_hash(body, len),
        .tokens = tokens >= 1 && tokens <= 1e6 ? (uint64_t)tokens : 1,
        .think = (uint64_t)body_number(body, len, "\"pacer_think\"", 0),
        .prompt_tokens = 1 + len / 4,
        .period_ns = rate > 0 ? (uint64_t)(1e9 / rate) : 0,
    };
    if (!s->sse) {
        p->working++;
        answer_whole(p, c);
        return conn_flush(p, c);
    }
    if (p->slots && p->working >= p->slots) {
        s->turn = ++p->turns;
        p->queued++;
        return true;
    }
    return begin_stream(p, c);
}

/* Slots came free: the one that has waited longest begins. */
static void begin_waiting(struct pacer *p)
{
    while (p->queued > 0 && p->working < p->slots) {
        struct conn *next = NULL;
        for (size_t i = 0; i < sizeof p->by_fd / sizeof *p->by_fd; i++) {
            struct conn *c = p->by_fd[i];
            if (c && c->st.active && c->st.turn && (!next || c->st.turn < next->st.turn)) next = c;
        }
        if (!next) abort();
        next->st.turn = 0;
        p->queued--;
        begin_stream(p, next);
    }
}

/* Takes one whole request from `in`, if there is one. False when the connection is gone. */
static bool conn_requests(struct pacer *p, struct conn *c)
{
    while (!c->st.active && c->out_len == 0) {
        const char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
        if (end == NULL) break;
        size_t head = (size_t)(end - c->in) + 4;
        size_t body = 0;
        for (const char *line = c->in; line < end; line++) {
            if (*line == '\n' && strncasecmp(line + 1, "content-length:", 15) == 0) {
                body = strtoul(line + 16, NULL, 10);
            }
        }
        if (body > IN_MAX || head + body > c->in_len) break;
        bool post = memcmp(c->in, "POST ", 5) == 0;
        bool gone = false;
        p->requests++;
        if (post) {
            gone = !start_completion(p, c, c->in + head, body);
        } else {
            char json[160];
            snprintf(json, sizeof json,
                     "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\","
                     "\"owned_by\":\"pacer\"}]}",
                     p->model);
            bool known = memmem(c->in, head, "/models ", 8) || memmem(c->in, head, "/health ", 8);
            answer_json(c, known ? 200 : 404, known ? json : "{\"error\":{\"message\":\"?\"}}");
            gone = !conn_flush(p, c);
        }
        if (gone) return false;
        memmove(c->in, c->in + head + body, c->in_len - head - body);
        c->in_len -= head + body;
    }
    return true;
}

static void conn_readable(struct pacer *p, struct conn *c)
{
    size_t room = IN_MAX - c->in_len;
    if (room == 0) {
        conn_close(p, c);
        return;
    }
    ssize_t n = recv(c->fd, c->in + c->in_len, room, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        conn_close(p, c);
        return;
    }
    c->in_len += (size_t)n;
    conn_requests(p, c);
}

static void accept_some(struct pacer *p)
{
    for (int i = 0; i < 64; i++) {
        int fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        if (fd >= CONNS_MAX) {
            close(fd);
            return;
        }
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct conn *c = calloc(1, sizeof *c);
        if (c == NULL) abort();
        c->fd = fd;
        c->in = malloc(IN_MAX);
        c->out = malloc(OUT_MAX);
        if (c->in == NULL || c->out == NULL) abort();
        p->by_fd[fd] = c;
        struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(p->ep, EPOLL_CTL_ADD, fd, &ev);
    }
}

static int run(struct pacer *p)
{
    struct epoll_event evs[256];
    while (!stop_asked) {
        uint64_t now = now_ns();
        if (now >= p->end_ns) break;
        uint64_t wake = p->heap_len > 0 ? p->heap[1]->st.due_ns : now + 200000000u;
        uint64_t wait = wake > now ? wake - now : 0;
        if (wait > 200000000u) wait = 200000000u;
        struct timespec ts = {.tv_sec = 0, .tv_nsec = (long)wait};
        int n = epoll_pwait2(p->ep, evs, 256, &ts, NULL);
        for (int i = 0; i < n; i++) {
            int fd = evs[i].data.fd;
            if (fd == p->listener) {
                accept_some(p);
                continue;
            }
            struct conn *c = p->by_fd[fd];
            if (c == NULL) continue;
            if (evs[i].events & EPOLLOUT) {
                if (!conn_flush(p, c)) continue;
                if (c->st.active && c->heap_pos == 0) heap_add(p, c);
                if (!conn_requests(p, c)) continue;
            }
            if (evs[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) conn_readable(p, c);
        }
        now = now_ns();
        for (int i = 0; i < 4096 && p->heap_len > 0 && p->heap[1]->st.due_ns <= now; i++) {
            struct conn *c = p->heap[1];
            if (stream_turn(p, c, now)) conn_requests(p, c);
        }
        begin_waiting(p);
    }
    printf("{\"requests\":%llu,\"tokens\":%llu,\"broken\":%llu}\n", (unsigned long long)p->requests,
           (unsigned long long)p->tokens, (unsigned long long)p->broken);
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: pacer [--port N] [--tokens N] [--rate R] [--slots N] [--seconds S] "
                    "[--model NAME]\n"
                    "A paced fake engine on 127.0.0.1; prints `listening PORT`.\n");
    return 2;
}

int main(int argc, char **argv)
{
    static struct pacer p = {.default_tokens = 50, .default_rate = 0, .model = "paced"};
    long port = 0;
    double seconds = 600;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return usage();
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--port") == 0) {
            port = strtol(value, NULL, 10);
        } else if (strcmp(argv[i], "--tokens") == 0) {
            p.default_tokens = strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--slots") == 0) {
            p.slots = (uint32_t)strtoul(value, NULL, 10);
        } else if (strcmp(argv[i], "--rate") == 0) {
            p.default_rate = strtod(value, NULL);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            seconds = strtod(value, NULL);
        } else if (strcmp(argv[i], "--model") == 0 && strlen(value) < 64) {
            p.model = value;
        } else {
            return usage();
        }
    }
    if (port < 0 || port > 65535 || seconds <= 0 || seconds > 3600) return usage();
    signal(SIGTERM, on_stop);
    signal(SIGINT, on_stop);
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t at_len = sizeof at;
    int one = 1;
    p.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(p.listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(p.listener, (struct sockaddr *)&at, sizeof at) != 0 || listen(p.listener, 1024) != 0) {
        perror("pacer: listen");
        return 1;
    }
    getsockname(p.listener, (struct sockaddr *)&at, &at_len);
    p.ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = p.listener};
    epoll_ctl(p.ep, EPOLL_CTL_ADD, p.listener, &ev);
    printf("listening %d\n", ntohs(at.sin_port));
    fflush(stdout);
    p.end_ns = now_ns() + (uint64_t)(seconds * 1e9);
    return run(&p);
}
