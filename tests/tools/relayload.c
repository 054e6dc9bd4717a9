/* SPDX-License-Identifier: MIT */
/* relayload: the load client of the relay bench. Two modes against 127.0.0.1:PORT:
 *   stream  N connections at once, each one streamed completion of T tokens at R tokens a second
 *           (the pacer behind the relay keeps the beat); every text is checked against pacetext.h,
 *           every token's age (birth stamp in the chunk -> parsed here) goes into a histogram;
 *   req     N keep-alive connections, each one short non-stream completion after another.
 * Prints one JSON line. Owns its sockets only; raw epoll, one thread; bounded by --seconds (plus a
 * grace) and by its counts; refuses any address but loopback. Exit 0 only when every answer was
 * complete and right. Drawing of a connection:
 *   IDLE -> HEAD -> BODY (chunked: SIZE, DATA, CRLF, TRAILER | by length) -> DONE or IDLE again */
#include "pacetext.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CONNS_MAX = 4000,
    LINE_MAX_BYTES = 16384, /* one head line, SSE line or whole short document */
    RECV_BYTES = 1 << 16,
    HIST_STEPS = 16, /* histogram steps per doubling: 4.4 % wide */
    HIST_MAX = 40 * HIST_STEPS,
};

enum phase { PHASE_HEAD, PHASE_SIZE, PHASE_DATA, PHASE_DATA_END, PHASE_TRAILER, PHASE_DONE };

struct conn {
    int fd;
    enum phase phase;
    bool chunked;
    bool event_stream;
    int status;
    uint64_t left;  /* bytes left of this chunk, or of the body by length */
    uint64_t seed;
    uint64_t index; /* tokens seen */
    uint64_t begin_ns;
    bool usage_seen, done_seen, bad;
    size_t line_len;
    char line[LINE_MAX_BYTES];
};

struct load {
    int ep;
    bool stream;
    uint16_t port;
    const char *key;
    const char *model;
    uint64_t tokens;
    double rate;
    size_t body_bytes;
    uint64_t started_ns, end_ns, hard_end_ns;
    uint64_t live; /* connections still at work */
    uint64_t requests, tokens_seen, comments, unstamped;
    uint64_t failed, failed_status, failed_text, failed_cut;
    uint64_t next_seed;
    uint64_t hist[HIST_MAX];
    uint64_t hist_count, hist_max_ns;
    struct conn *conns;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- histogram: logarithmic, HIST_STEPS steps a doubling ------------------------------------- */

static void hist_add(struct load *l, uint64_t ns)
{
    unsigned log2 = ns < HIST_STEPS ? 4 : 63 - (unsigned)__builtin_clzll(ns);
    uint64_t step = ns < HIST_STEPS ? 0 : (ns >> (log2 - 4)) & (HIST_STEPS - 1);
    uint64_t slot = (uint64_t)(log2 - 4) * HIST_STEPS + step;
    l->hist[slot < HIST_MAX ? slot : HIST_MAX - 1]++;
    l->hist_count++;
    if (ns > l->hist_max_ns) l->hist_max_ns = ns;
}

static double hist_us(const struct load *l, double quantile)
{
    uint64_t want = (uint64_t)(quantile * (double)l->hist_count);
    uint64_t seen = 0;
    for (unsigned slot = 0; slot < HIST_MAX; slot++) {
        seen += l->hist[slot];
        if (seen > want) {
            uint64_t base = 1ull << (slot / HIST_STEPS + 4);
            return ((double)base + ((double)(slot % HIST_STEPS) + 0.5) * (double)base / 16) / 1e3;
        }
    }
    return 0;
}

/* ---- requests ------------------------------------------------------------------------------- */

static bool conn_send_request(struct load *l, struct conn *c)
{
    static char body[1 << 16];
    static char head[512];
    static char filler[1 << 15];
    int n = snprintf(body, sizeof body,
                     "{\"model\":\"%s\",\"seed\":%llu,\"stream\":%s,\"max_tokens\":%llu,"
                     "\"pacer_rate\":%g,%s\"messages\":[{\"role\":\"user\",\"content\":\"",
                     l->model, (unsigned long long)l->next_seed, l->stream ? "true" : "false",
                     (unsigned long long)l->tokens, l->rate,
                     l->stream ? "\"stream_options\":{\"include_usage\":true}," : "");
    size_t fill = l->body_bytes > (size_t)n + 4 ? l->body_bytes - (size_t)n - 4 : 1;
    if (fill >= sizeof filler) fill = sizeof filler - 1;
    for (size_t i = 0; i < fill; i++) {
        filler[i] = (char)(i % 6 == 5 ? ' ' : 'a' + (int)(i % 23));
    }
    filler[fill] = '\0';
    n += snprintf(body + n, sizeof body - (size_t)n, "%s\"}]}", filler);
    int h = snprintf(head, sizeof head,
                     "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                     "Content-Type: application/json\r\nAuthorization: Bearer %s\r\n"
                     "Content-Length: %d\r\n\r\n",
                     l->port, l->key, n);
    char both[sizeof head + 4096];
    if ((size_t)(h + n) > sizeof both) return false;
    memcpy(both, head, (size_t)h);
    memcpy(both + h, body, (size_t)n);
    c->seed = l->next_seed++;
    c->phase = PHASE_HEAD;
    c->chunked = c->event_stream = c->usage_seen = c->done_seen = c->bad = false;
    c->status = 0;
    c->left = c->index = 0;
    c->line_len = 0;
    c->begin_ns = now_ns();
    return send(c->fd, both, (size_t)(h + n), MSG_NOSIGNAL) == h + n;
}

/* ---- answers -------------------------------------------------------------------------------- */

/* The value of "name":"..." in line, NUL-terminated in place copy; NULL when absent. */
static const char *member(const char *line, const char *name, char *out, size_t out_bytes)
{
    const char *at = strstr(line, name);
    if (at == NULL) return NULL;
    at += strlen(name);
    const char *end = strchr(at, '"');
    if (end == NULL || (size_t)(end - at) >= out_bytes) return NULL;
    memcpy(out, at, (size_t)(end - at));
    out[end - at] = '\0';
    return out;
}

static void take_data(struct load *l, struct conn *c, const char *line)
{
    char text[256];
    char want[PACE_TOKEN_MAX];
    if (strncmp(line, "[DONE]", 6) == 0) {
        c->done_seen = true;
        return;
    }
    if (member(line, "\"content\":\"", text, sizeof text) != NULL && text[0] != '\0') {
        pace_token(c->seed, c->index++, want);
        if (strcmp(text, want) != 0) c->bad = true;
        l->tokens_seen++;
        if (member(line, "\"system_fingerprint\":\"t", text, sizeof text) != NULL) {
            uint64_t born = strtoull(text, NULL, 16);
            uint64_t now = now_ns();
            hist_add(l, now > born ? now - born : 0);
        } else {
            l->unstamped++;
        }
    }
    if (strstr(line, "\"completion_tokens\":") != NULL) c->usage_seen = true;
}

static void take_line(struct load *l, struct conn *c)
{
    c->line[c->line_len] = '\0';
    if (c->line_len > 0 && c->line[c->line_len - 1] == '\r') c->line[c->line_len - 1] = '\0';
    if (c->line[0] == ':') {
        l->comments++;
    } else if (strncmp(c->line, "data: ", 6) == 0) {
        take_data(l, c, c->line + 6);
    }
    c->line_len = 0;
}

/* Body bytes without the transfer coding: SSE by lines, a document kept whole. */
static void take_body(struct load *l, struct conn *c, const char *bytes, size_t len)
{
    while (len > 0) {
        const char *nl = c->event_stream ? memchr(bytes, '\n', len) : NULL;
        size_t n = nl != NULL ? (size_t)(nl - bytes) : len;
        if (c->line_len + n >= LINE_MAX_BYTES) {
            c->bad = true;
            c->line_len = 0;
            return;
        }
        memcpy(c->line + c->line_len, bytes, n);
        c->line_len += n;
        if (nl != NULL) {
            take_line(l, c);
            n++;
        }
        bytes += n;
        len -= n;
    }
}

static void check_document(struct load *l, struct conn *c)
{
    char text[4096];
    char want[4096];
    size_t len = 0;
    c->line[c->line_len] = '\0';
    for (uint64_t i = 0; i < l->tokens && len + PACE_TOKEN_MAX < sizeof want; i++) {
        len += pace_token(c->seed, i, want + len);
    }
    if (member(c->line, "\"content\":\"", text, sizeof text) == NULL || strcmp(text, want) != 0) {
        c->bad = true;
    }
    c->usage_seen = strstr(c->line, "\"completion_tokens\":") != NULL;
    c->done_seen = true;
    l->tokens_seen += l->tokens;
    hist_add(l, now_ns() - c->begin_ns);
}

static void head_line(struct conn *c)
{
    c->line[c->line_len] = '\0';
    if (c->status == 0) {
        c->status = c->line_len > 12 ? (int)strtol(c->line + 9, NULL, 10) : -1;
    } else if (strncasecmp(c->line, "content-length:", 15) == 0) {
        c->left = strtoull(c->line + 15, NULL, 10);
    } else if (strncasecmp(c->line, "transfer-encoding:", 18) == 0) {
        c->chunked = strcasestr(c->line, "chunked") != NULL;
    } else if (strncasecmp(c->line, "content-type:", 13) == 0) {
        c->event_stream = strcasestr(c->line, "text/event-stream") != NULL;
    }
}

/* Takes one line of head or chunk framing from bytes. Returns bytes used; *whole when it ended. */
static size_t framing_line(struct conn *c, const char *bytes, size_t len, bool *whole)
{
    const char *nl = memchr(bytes, '\n', len);
    size_t n = nl != NULL ? (size_t)(nl - bytes) : len;
    if (c->line_len + n < LINE_MAX_BYTES) {
        memcpy(c->line + c->line_len, bytes, n);
        c->line_len += n;
    }
    *whole = nl != NULL;
    if (*whole && c->line_len > 0 && c->line[c->line_len - 1] == '\r') c->line_len--;
    return n + (nl != NULL);
}

/* long: the whole answer parser as one state machine. Chunk sizes share the line buffer with an
 * unfinished SSE line, so they are read digit by digit into `left` instead. */
static void feed(struct load *l, struct conn *c, const char *bytes, size_t len)
{
    bool whole;
    while (len > 0 && c->phase != PHASE_DONE) {
        size_t n = 1;
        switch (c->phase) {
        case PHASE_HEAD:
            n = framing_line(c, bytes, len, &whole);
            if (!whole) break;
            if (c->line_len == 0) {
                c->phase = c->chunked ? PHASE_SIZE : PHASE_DATA;
                if (c->chunked) c->left = 0;
                if (!c->chunked && c->left == 0) c->phase = PHASE_DONE;
            } else {
                head_line(c);
            }
            c->line_len = 0;
            break;
        case PHASE_SIZE:
            if (*bytes == '\n') {
                c->phase = c->left == 0 ? PHASE_TRAILER : PHASE_DATA;
            } else if (*bytes != '\r') {
                int d = *bytes >= 'a' ? *bytes - 'a' + 10 : *bytes >= 'A' ? *bytes - 'A' + 10
                                                                          : *bytes - '0';
                c->left = c->left * 16 + (uint64_t)d;
            }
            break;
        case PHASE_DATA:
            n = len < c->left ? len : (size_t)c->left;
            take_body(l, c, bytes, n);
            c->left -= n;
            if (c->left == 0) c->phase = c->chunked ? PHASE_DATA_END : PHASE_DONE;
            break;
        case PHASE_DATA_END:
            if (*bytes == '\n') c->phase = PHASE_SIZE;
            break;
        case PHASE_TRAILER: /* the blank line after the last chunk; trailers are not expected */
            if (*bytes == '\n') c->phase = PHASE_DONE;
            break;
        case PHASE_DONE:
            break;
        }
        bytes += n;
        len -= n;
    }
}

static void conn_end(struct load *l, struct conn *c)
{
    close(c->fd);
    c->fd = -1;
    l->live--;
}

/* One answer is over, rightly (PHASE_DONE) or by a cut. Counts it, starts the next in req mode. */
static void answer_over(struct load *l, struct conn *c)
{
    bool cut = c->phase != PHASE_DONE;
    l->requests++;
    if (!cut && c->status == 200 && !c->event_stream) check_document(l, c);
    if (c->status != 200) {
        l->failed_status++;
    } else if (cut || !c->done_seen || !c->usage_seen ||
               (c->event_stream && c->index != l->tokens)) {
        l->failed_cut++;
    } else if (c->bad) {
        l->failed_text++;
    }
    l->failed = l->failed_status + l->failed_cut + l->failed_text;
    if (cut || l->stream || now_ns() >= l->end_ns || !conn_send_request(l, c)) conn_end(l, c);
}

static void conn_readable(struct load *l, struct conn *c)
{
    static char buf[RECV_BYTES];
    ssize_t n = recv(c->fd, buf, sizeof buf, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        answer_over(l, c);
        return;
    }
    feed(l, c, buf, (size_t)n);
    if (c->phase == PHASE_DONE) answer_over(l, c);
}

static bool conn_open(struct load *l, struct conn *c, uint32_t slot)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(l->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0) return false;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!conn_send_request(l, c)) return false;
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = slot};
    return epoll_ctl(l->ep, EPOLL_CTL_ADD, c->fd, &ev) == 0;
}

static int run(struct load *l, uint32_t count)
{
    struct epoll_event evs[256];
    uint32_t opened = 0;
    /* Connections open evenly over half a second: a beat shared by all would measure a burst. */
    while (opened < count || l->live > 0) {
        uint64_t now = now_ns();
        uint32_t want = (uint32_t)((double)(now - l->started_ns) / 5e8 * count) + 1;
        for (; opened < count && opened < want; opened++) {
            if (!conn_open(l, &l->conns[opened], opened)) {
                l->failed_status++;
                l->failed++;
                continue;
            }
            l->live++;
        }
        if (now > l->hard_end_ns) break;
        int n = epoll_wait(l->ep, evs, 256, opened < count ? 1 : 100);
        for (int i = 0; i < n; i++) {
            struct conn *c = &l->conns[evs[i].data.u32];
            if (c->fd >= 0) conn_readable(l, c);
        }
    }
    l->failed += l->live;
    l->failed_cut += l->live;
    double seconds = (double)(now_ns() - l->started_ns) / 1e9;
    printf("{\"mode\":\"%s\",\"seconds\":%.3f,\"requests\":%llu,\"tokens\":%llu,\"failed\":%llu,"
           "\"failed_status\":%llu,\"failed_cut\":%llu,\"failed_text\":%llu,\"unstamped\":%llu,"
           "\"comments\":%llu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n",
           l->stream ? "stream" : "req", seconds, (unsigned long long)l->requests,
           (unsigned long long)l->tokens_seen, (unsigned long long)l->failed,
           (unsigned long long)l->failed_status, (unsigned long long)l->failed_cut,
           (unsigned long long)l->failed_text, (unsigned long long)l->unstamped,
           (unsigned long long)l->comments, hist_us(l, 0.5), hist_us(l, 0.9), hist_us(l, 0.99),
           (double)l->hist_max_ns / 1e3);
    return l->failed == 0 && l->requests > 0 ? 0 : 1;
}

static int usage(void)
{
    fprintf(stderr, "usage: relayload --mode stream|req --port N [--conns N] [--tokens N] [--rate R]"
                    "\n       [--seconds S] [--body-bytes N] [--model NAME] [--key KEY]\n");
    return 2;
}

int main(int argc, char **argv)
{
    static struct load l = {.stream = true, .tokens = 50, .rate = 50, .body_bytes = 300,
                            .model = "paced", .key = "none", .next_seed = 1};
    unsigned long count = 1;
    double seconds = 10;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) return usage();
        const char *name = argv[i];
        const char *value = argv[i + 1];
        if (strcmp(name, "--mode") == 0) l.stream = strcmp(value, "stream") == 0;
        else if (strcmp(name, "--port") == 0) l.port = (uint16_t)strtoul(value, NULL, 10);
        else if (strcmp(name, "--conns") == 0) count = strtoul(value, NULL, 10);
        else if (strcmp(name, "--tokens") == 0) l.tokens = strtoul(value, NULL, 10);
        else if (strcmp(name, "--rate") == 0) l.rate = strtod(value, NULL);
        else if (strcmp(name, "--seconds") == 0) seconds = strtod(value, NULL);
        else if (strcmp(name, "--body-bytes") == 0) l.body_bytes = strtoul(value, NULL, 10);
        else if (strcmp(name, "--model") == 0) l.model = value;
        else if (strcmp(name, "--key") == 0) l.key = value;
        else return usage();
    }
    if (l.port == 0 || count < 1 || count > CONNS_MAX || seconds <= 0 || seconds > 600 ||
        l.body_bytes > 3000 || l.tokens < 1 || strlen(l.model) > 64 || strlen(l.key) > 128) {
        return usage();
    }
    l.conns = calloc(count, sizeof *l.conns);
    l.ep = epoll_create1(EPOLL_CLOEXEC);
    if (l.conns == NULL || l.ep < 0) return 1;
    l.started_ns = now_ns();
    l.end_ns = l.started_ns + (uint64_t)(seconds * 1e9);
    l.hard_end_ns = l.end_ns + 30000000000u;
    return run(&l, (uint32_t)count);
}
