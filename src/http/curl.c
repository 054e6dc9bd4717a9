/* SPDX-License-Identifier: MIT */
/* The exchange over libcurl's multi interface, for https: TLS, HTTP/2, proxies from the environment.
 * libcurl says which descriptors and which time it waits for; the loop tells it when they are due.
 *
 *      loop: poll ready, timer ──▶ curl_multi_socket_action ──▶ our callbacks (head lines, body)
 *                                          └──▶ messages: transfer done ──▶ end or fail
 *
 * libcurl forbids freeing a transfer inside its own callbacks, so a cancelled exchange is marked dead
 * and freed by a post. Certificates are always verified. Answers are decoded by libcurl; its framing
 * errors (a body cut short) are fails here like everywhere. */
#include "base/buf.h"
#include "http/exchange.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>

#define HEAD_BYTES_MAX (64u << 10)
#define CURL_BUFFER_BYTES 16384L

struct curl_client {
    struct ek_exchange_client base;
    struct ek_loop *loop;
    CURLM *multi;
    struct ek_timer timer;
    struct ek_post reap;
    struct ek_list running;
    struct ek_list dead;
    char *ca_file;
    bool inside; /* of a libcurl call: transfers must not be removed now */
};

struct transfer {
    struct ek_exchange base;
    struct curl_client *client;
    struct ek_link link;
    CURL *easy;
    struct curl_slist *headers;
    const struct ek_exchange_events *events;
    void *arg;
    struct ek_timer timer; /* first byte, then idle */
    struct ek_post post;   /* resume, or a failure to begin */
    struct ek_buf head;    /* header lines of the answer so far */
    uint64_t begun_ns, last_ns, first_byte_ns, idle_ns;
    uint64_t body_bytes;
    enum ek_reason why;    /* to be told by `post` */
    bool dead, has_head, paused;
    size_t part_index, part_at, part_count;
    char error[CURL_ERROR_SIZE];
    struct iovec parts[];
};

static struct curl_client *client_of(struct ek_exchange_client *c)
{
    return (struct curl_client *)(void *)c;
}

static void handle_messages(struct curl_client *c);

/* ---- death ----------------------------------------------------------------------------------- */

static void free_transfer(struct transfer *x)
{
    curl_multi_remove_handle(x->client->multi, x->easy);
    curl_easy_cleanup(x->easy);
    curl_slist_free_all(x->headers);
    ek_buf_free(&x->head);
    free(x);
}

static void free_dead(struct curl_client *c)
{
    MUST(!c->inside);
    EK_LIST_EACH(&c->dead, it) {
        ek_list_remove(&c->dead, it);
        free_transfer(EK_CONTAINER(it, struct transfer, link));
    }
}

static void die(struct transfer *x)
{
    struct curl_client *c = x->client;
    MUST(!x->dead);
    x->dead = true;
    ek_timer_clear(c->loop, &x->timer);
    ek_post_clear(c->loop, &x->post);
    ek_list_remove(&c->running, &x->link);
    ek_list_append(&c->dead, &x->link);
    ek_post_put(c->loop, &c->reap);
}

static void fail(struct transfer *x, enum ek_reason why, const char *detail)
{
    die(x);
    x->events->fail(x->arg, &x->base, why, detail);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static uint64_t now_ns(const struct transfer *x)
{
    return ek_loop_now(x->client->loop).mono_ns;
}

static uint64_t due_ns(const struct transfer *x)
{
    if (!x->has_head) return x->first_byte_ns ? x->begun_ns + x->first_byte_ns : UINT64_MAX;
    return x->idle_ns && !x->paused ? x->last_ns + x->idle_ns : UINT64_MAX;
}

static void arm(struct transfer *x)
{
    uint64_t due = due_ns(x);
    if (due == UINT64_MAX) ek_timer_clear(x->client->loop, &x->timer);
    else ek_timer_set(x->client->loop, &x->timer, due);
}

static void on_deadline(struct ek_timer *t)
{
    struct transfer *x = EK_CONTAINER(t, struct transfer, timer);
    if (now_ns(x) < due_ns(x)) arm(x);
    else if (x->has_head) fail(x, EK_REASON_UPSTREAM_STALL, "no byte of the answer for too long");
    else fail(x, EK_REASON_UPSTREAM_TIMEOUT, "no answer before the deadline of the first byte");
}

/* ---- libcurl calls us ------------------------------------------------------------------------ */

static size_t on_read(char *to, size_t size, size_t count, void *arg)
{
    struct transfer *x = arg;
    size_t room = size * count, put = 0;
    if (x->dead || x->has_head) return CURL_READFUNC_ABORT; /* the body may be gone by now */
    while (put < room && x->part_index < x->part_count) {
        struct iovec *part = &x->parts[x->part_index];
        size_t left = part->iov_len - x->part_at;
        size_t n = left < room - put ? left : room - put;
        memcpy(to + put, (char *)part->iov_base + x->part_at, n);
        put += n;
        x->part_at += n;
        if (x->part_at < part->iov_len) break;
        x->part_index++;
        x->part_at = 0;
    }
    return put;
}

/* libcurl may have to send the body again (a stale connection, HTTP/2 refused). */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    struct transfer *x = arg;
    if (x->dead || origin != SEEK_SET || offset != 0) return CURL_SEEKFUNC_CANTSEEK;
    x->part_index = x->part_at = 0;
    return CURL_SEEKFUNC_OK;
}

/* "HTTP/2 200" and "HTTP/1.1 200 OK" alike become a line our own parser reads, so that heads look the
 * same whichever client brought them. Framing fields were libcurl's affair and are left out. */
static void keep_line(struct transfer *x, struct ek_str line)
{
    if (ek_str_starts(line, EK_STR("HTTP/"))) {
        const char *blank = memchr(line.data, ' ', line.len);
        struct ek_str rest = ek_str_skip(line, blank ? (size_t)(blank - line.data) : line.len);
        ek_buf_clear(&x->head);
        ek_buf_lit(&x->head, "HTTP/1.1");
        ek_buf_put(&x->head, rest.data, rest.len < 4 ? rest.len : 4);
        ek_buf_lit(&x->head, "\r\n");
        return;
    }
    const char *colon = memchr(line.data, ':', line.len);
    if (!colon) return;
    struct ek_str name = ek_str_make(line.data, (size_t)(colon - line.data));
    if (ek_str_eq_nocase(name, EK_STR("transfer-encoding")) ||
        ek_str_eq_nocase(name, EK_STR("content-length"))) {
        return;
    }
    ek_buf_str(&x->head, line);
    ek_buf_lit(&x->head, "\r\n");
}

/* The empty line behind a head: hand it over unless it is interim. False: it is no sound head. */
static bool give_head(struct transfer *x)
{
    struct ek_http_head head;
    ek_buf_lit(&x->head, "\r\n");
    if (x->head.failed) return false;
    ssize_t n = ek_http_parse_response(x->head.data, x->head.len, 0, &ek_http_limits_default, &head);
    if (n != (ssize_t)x->head.len) return false;
    if (head.status < 200) return true;
    x->has_head = true;
    x->last_ns = now_ns(x);
    arm(x);
    x->events->head(x->arg, &x->base, &head);
    return true;
}

static size_t on_header(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *x = arg;
    size_t len = size * count;
    struct ek_str line = ek_str_make(data, len);
    if (x->dead) return 0;
    if (x->has_head) return len; /* trailers */
    while (line.len > 0 && (line.data[line.len - 1] == '\n' || line.data[line.len - 1] == '\r')) {
        line.len--;
    }
    if (line.len > 0) {
        keep_line(x, line);
        return len;
    }
    if (!give_head(x)) x->why = EK_REASON_UPSTREAM_BAD;
    return x->dead || x->why != EK_REASON_NONE ? 0 : len;
}

static size_t on_write(char *data, size_t size, size_t count, void *arg)
{
    struct transfer *x = arg;
    size_t len = size * count;
    if (x->dead) return 0;
    if (x->paused) return CURL_WRITEFUNC_PAUSE; /* libcurl keeps it and offers it again */
    if (len == 0) return 0;
    x->last_ns = now_ns(x);
    x->body_bytes += len;
    x->events->data(x->arg, &x->base, data, len);
    return x->dead ? 0 : len;
}

/* ---- driving it ------------------------------------------------------------------------------ */

static void act(struct curl_client *c, curl_socket_t fd, int events)
{
    int running;
    MUST(!c->inside);
    c->inside = true;
    CURLMcode code = curl_multi_socket_action(c->multi, fd, events, &running);
    c->inside = false;
    MUST(code == CURLM_OK);
    handle_messages(c);
}

static void on_ready(void *arg, int fd, int events)
{
    act(arg, fd, ((events & EK_POLL_READ) ? CURL_CSELECT_IN : 0) |
                     ((events & EK_POLL_WRITE) ? CURL_CSELECT_OUT : 0));
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct curl_client *c = arg;
    struct ek_poll *poll = socket_arg;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (poll) ek_poll_close(&poll);
        curl_multi_assign(c->multi, fd, NULL);
        return 0;
    }
    if (!poll) {
        poll = ek_poll_new(c->loop, fd, on_ready, c);
        curl_multi_assign(c->multi, fd, poll);
    }
    ek_poll_want(poll, ((what & CURL_POLL_IN) ? EK_POLL_READ : 0) |
                           ((what & CURL_POLL_OUT) ? EK_POLL_WRITE : 0));
    return 0;
}

static int on_want_time(CURLM *multi, long timeout_ms, void *arg)
{
    struct curl_client *c = arg;
    (void)multi;
    if (timeout_ms < 0) ek_timer_clear(c->loop, &c->timer);
    else ek_timer_set(c->loop, &c->timer,
                      ek_loop_now(c->loop).mono_ns + (uint64_t)timeout_ms * EK_MS_NS);
    return 0;
}

static void on_time(struct ek_timer *t)
{
    act(EK_CONTAINER(t, struct curl_client, timer), CURL_SOCKET_TIMEOUT, 0);
}

static enum ek_reason reason_of(const struct transfer *x, CURLcode code)
{
    if (x->why != EK_REASON_NONE) return x->why;
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT: return EK_REASON_UPSTREAM_CONNECT;
    case CURLE_OPERATION_TIMEDOUT: return EK_REASON_UPSTREAM_CONNECT; /* the only time limit we set */
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR: return EK_REASON_UPSTREAM_TLS;
    case CURLE_PARTIAL_FILE: return EK_REASON_UPSTREAM_CUT;
    case CURLE_OUT_OF_MEMORY: return EK_REASON_NO_MEMORY;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_BAD_CONTENT_ENCODING: return EK_REASON_UPSTREAM_BAD;
    default: return x->has_head ? EK_REASON_UPSTREAM_CUT : EK_REASON_UPSTREAM_RESET;
    }
}

static void handle_messages(struct curl_client *c)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(c->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE) continue;
        struct transfer *x = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        if (x->dead) continue; /* cancelled: `reap` frees it */
        if (code == CURLE_OK && x->has_head) {
            die(x);
            x->events->end(x->arg, &x->base);
        } else {
            fail(x, reason_of(x, code), x->error[0] ? x->error : curl_easy_strerror(code));
        }
    }
}

/* ---- one exchange ---------------------------------------------------------------------------- */

static void on_post(struct ek_post *p)
{
    struct transfer *x = EK_CONTAINER(p, struct transfer, post);
    struct curl_client *c = x->client;
    if (x->why != EK_REASON_NONE) {
        fail(x, x->why, "the request could not begin");
        return;
    }
    if (x->paused) return;
    c->inside = true;
    curl_easy_pause(x->easy, CURLPAUSE_CONT); /* may call on_write at once */
    c->inside = false;
    handle_messages(c);
}

static bool put_headers(struct transfer *x, const struct ek_exchange_request *r)
{
    static const char *const also[] = {"Expect:", "Accept:"}; /* "Name:" takes libcurl's own away */
    for (size_t i = 0; i < r->header_count + EK_COUNT(also); i++) {
        struct ek_buf line = ek_buf_make(HEAD_BYTES_MAX);
        if (i < r->header_count) {
            const struct ek_http_header *h = &r->headers[i];
            if (!ek_http_is_token(h->name) || !ek_http_is_value(h->value)) continue;
            ek_buf_str(&line, h->name);
            /* "Name;" is libcurl's way to write a field without a value. */
            ek_buf_lit(&line, h->value.len ? ": " : ";");
            ek_buf_str(&line, h->value);
        } else {
            bool given = false;
            for (size_t k = 0; k < r->header_count; k++) {
                struct ek_str name = ek_str_make(also[i - r->header_count], 6);
                given |= ek_str_eq_nocase(r->headers[k].name, name);
            }
            if (given) continue;
            ek_buf_lit(&line, also[i - r->header_count]);
        }
        const char *text = ek_buf_cstr(&line);
        struct curl_slist *more = text ? curl_slist_append(x->headers, text) : NULL;
        ek_buf_free(&line);
        if (!more) return false;
        x->headers = more;
    }
    return true;
}

static bool set_target(struct transfer *x, const struct ek_exchange_request *r)
{
    struct ek_buf url = ek_buf_make(HEAD_BYTES_MAX);
    char method[EK_HTTP_METHOD_BYTES_MAX + 1];
    if (!ek_str_copy(r->method, method, sizeof method) || !ek_http_is_token(r->method)) return false;
    if (r->path.len == 0 || r->path.data[0] != '/') return false;
    bool is_unix = r->target->scheme == EK_EXCHANGE_UNIX;
    ek_buf_lit(&url, r->target->scheme == EK_EXCHANGE_HTTPS ? "https://" : "http://");
    ek_buf_lit(&url, r->target->authority);
    ek_buf_lit(&url, r->target->base);
    ek_buf_str(&url, r->path);
    const char *text = ek_buf_cstr(&url);
    bool ok = text && curl_easy_setopt(x->easy, CURLOPT_URL, text) == CURLE_OK &&
              curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
    ek_buf_free(&url);
    if (is_unix) {
        ok = ok && curl_easy_setopt(x->easy, CURLOPT_UNIX_SOCKET_PATH, r->target->address + 5) ==
                       CURLE_OK;
    }
    return ok;
}

static bool set_up(struct transfer *x, const struct ek_exchange_request *r)
{
    CURL *e = x->easy;
    curl_off_t length = 0;
    for (size_t i = 0; i < r->body_count; i++) {
        length += (curl_off_t)r->body[i].iov_len;
    }
    if (!e || !set_target(x, r) || !put_headers(x, r)) return false;
    bool ok = true;
#define SET(option, value) ok = ok && curl_easy_setopt(e, CURLOPT_##option, value) == CURLE_OK
    SET(PRIVATE, x);
    SET(ERRORBUFFER, x->error);
    SET(NOSIGNAL, 1L);
    SET(PROTOCOLS_STR, "http,https");
    SET(HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(PIPEWAIT, 1L);
    SET(BUFFERSIZE, CURL_BUFFER_BYTES);
    SET(TCP_NODELAY, 1L);
    SET(SSL_VERIFYPEER, 1L);
    SET(SSL_VERIFYHOST, 2L);
    SET(HTTPHEADER, x->headers);
    SET(HEADERFUNCTION, on_header);
    SET(HEADERDATA, x);
    SET(WRITEFUNCTION, on_write);
    SET(WRITEDATA, x);
    if (x->client->ca_file) SET(CAINFO, x->client->ca_file);
    if (r->connect_ns) SET(CONNECTTIMEOUT_MS, (long)(r->connect_ns / EK_MS_NS + 1));
    if (r->keep_apart) SET(FORBID_REUSE, 1L);
    if (r->keep_apart) SET(FRESH_CONNECT, 1L);
    if (ek_str_eq(r->method, EK_STR("HEAD"))) SET(NOBODY, 1L);
    if (r->body_count > 0 || ek_str_eq(r->method, EK_STR("POST"))) {
        SET(POST, 1L);
        SET(POSTFIELDSIZE_LARGE, length);
        SET(READFUNCTION, on_read);
        SET(READDATA, x);
        SET(SEEKFUNCTION, on_seek);
        SET(SEEKDATA, x);
    }
#undef SET
    return ok;
}

static struct ek_exchange *curl_start(struct ek_exchange_client *client,
                                      const struct ek_exchange_request *r,
                                      const struct ek_exchange_events *events, void *arg)
{
    struct curl_client *c = client_of(client);
    MUST(r->body_count <= EK_EXCHANGE_BODY_PARTS_MAX);
    struct transfer *x = calloc(1, sizeof *x + r->body_count * sizeof(struct iovec));
    MUST(x != NULL);
    x->base.client = client;
    x->client = c;
    x->events = events;
    x->arg = arg;
    x->first_byte_ns = r->first_byte_ns;
    x->idle_ns = r->idle_ns;
    x->head = ek_buf_make(HEAD_BYTES_MAX);
    x->part_count = r->body_count;
    if (r->body_count) memcpy(x->parts, r->body, r->body_count * sizeof(struct iovec));
    ek_timer_init(&x->timer, on_deadline);
    ek_post_init(&x->post, on_post);
    ek_list_append(&c->running, &x->link);
    x->begun_ns = x->last_ns = now_ns(x);
    x->easy = curl_easy_init();
    if (!set_up(x, r) || curl_multi_add_handle(c->multi, x->easy) != CURLM_OK) {
        x->why = EK_REASON_UPSTREAM_BAD;
        ek_post_put(c->loop, &x->post);
    }
    arm(x);
    return &x->base;
}

static void curl_pause(struct ek_exchange *base, bool paused)
{
    struct transfer *x = (struct transfer *)(void *)base;
    MUST(!x->dead);
    if (x->paused == paused || !x->has_head) return;
    x->paused = paused;
    x->last_ns = now_ns(x);
    if (!paused) ek_post_put(x->client->loop, &x->post);
    arm(x);
}

static void curl_cancel(struct ek_exchange *base)
{
    die((struct transfer *)(void *)base);
}

/* ---- the client ------------------------------------------------------------------------------ */

static void on_reap(struct ek_post *p)
{
    free_dead(EK_CONTAINER(p, struct curl_client, reap));
}

static void curl_free_client(struct ek_exchange_client *client)
{
    struct curl_client *c = client_of(client);
    EK_LIST_EACH(&c->running, it) {
        die(EK_CONTAINER(it, struct transfer, link));
    }
    ek_post_clear(c->loop, &c->reap);
    free_dead(c);
    MUST(curl_multi_cleanup(c->multi) == CURLM_OK);
    ek_timer_clear(c->loop, &c->timer);
    free(c->ca_file);
    free(c);
    curl_global_cleanup();
}

static const struct ek_exchange_ops curl_ops = {
    .start = curl_start,
    .pause = curl_pause,
    .cancel = curl_cancel,
    .free = curl_free_client,
};

struct ek_exchange_client *ek_exchange_curl_new(struct ek_loop *loop,
                                                const struct ek_exchange_options *o)
{
    struct curl_client *c = calloc(1, sizeof *c);
    MUST(c != NULL);
    MUST(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); /* counted: pairs with the cleanup */
    c->base.ops = &curl_ops;
    c->loop = loop;
    c->multi = curl_multi_init();
    MUST(c->multi != NULL);
    if (o && o->ca_file) {
        c->ca_file = strdup(o->ca_file);
        MUST(c->ca_file != NULL);
    }
    long idle = o && o->idle_connections_max ? (long)o->idle_connections_max : 64;
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_want_time);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, idle);
    ek_list_init(&c->running);
    ek_list_init(&c->dead);
    ek_timer_init(&c->timer, on_time);
    ek_post_init(&c->reap, on_reap);
    return &c->base;
}
