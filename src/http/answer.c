/* SPDX-License-Identifier: MIT */
/* What goes out: heads, framed bodies, the server's own refusals. The hot path, a token for one
 * stream, is ek_http_writev(): the chunk's size on the stack, one writev, no allocation. */
#include "http/server_priv.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <time.h>

#define ANSWER_HEAD_BYTES_MAX 16384u
_Static_assert(EK_HTTP_WRITE_PARTS_MAX + 3 <= 16, "the loop takes 16 parts a write");

static const char *phrase_of(int status)
{
    switch (status) {
    case 200: return "OK";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 206: return "Partial Content";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Status";
    }
}

/* Hand over and remember when the socket began to lag. */
static void send_parts(struct ek_http_req *c, const struct iovec *parts, size_t count)
{
    struct ek_http_server *s = c->server;
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += parts[i].iov_len;
    }
    ek_sock_writev(c->sock, parts, count);
    c->sent_bytes += total;
    s->counters.bytes_out += total;
    if (c->stalling || ek_sock_queued(c->sock) == 0) return;
    c->stalling = true;
    c->stall_ns = ek_loop_now(s->loop).mono_ns;
    c->stall_sent = c->sent_bytes - ek_sock_queued(c->sock);
    ek_http_conn_arm(c);
}

static struct iovec part(struct ek_str s)
{
    return (struct iovec){(void *)(uintptr_t)s.data, s.len};
}

void ek_http_answer_flush(struct ek_http_req *c)
{
    struct ek_http_server *s = c->server;
    if (s->pending != c) return;
    struct iovec head = part(ek_buf_view(&s->scratch));
    s->pending = NULL;
    send_parts(c, &head, 1);
}

/* ---- heads ----------------------------------------------------------------------------------- */

static void put_date(struct ek_http_server *s, struct ek_buf *b)
{
    uint64_t now_s = ek_loop_now(s->loop).unix_ns / EK_S_NS;
    if (now_s != s->date_s || s->date[0] == '\0') {
        struct tm tm;
        time_t t = (time_t)now_s;
        gmtime_r(&t, &tm);
        strftime(s->date, sizeof s->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        s->date_s = now_s;
    }
    ek_buf_lit(b, "Date: ");
    ek_buf_lit(b, s->date);
    ek_buf_lit(b, "\r\n");
}

/* Framing is ours to say, and nobody's text may end a line. */
static bool may_stand(const struct ek_http_header *h)
{
    static const char *const ours[] = {"content-length", "transfer-encoding", "connection", "date",
                                       "keep-alive", "trailer", "upgrade"};
    for (size_t i = 0; i < EK_COUNT(ours); i++) {
        if (ek_str_eq_nocase(h->name, ek_str_of(ours[i]))) return false;
    }
    return ek_http_is_token(h->name) && ek_http_is_value(h->value);
}

static void put_headers(struct ek_http_server *s, struct ek_buf *b,
                        const struct ek_http_header *headers, size_t header_count)
{
    for (size_t i = 0; i < header_count; i++) {
        size_t more = headers[i].name.len + headers[i].value.len + 4;
        if (!may_stand(&headers[i]) || b->len + more > ANSWER_HEAD_BYTES_MAX - 256) {
            s->counters.headers_dropped++;
            continue;
        }
        ek_buf_str(b, headers[i].name);
        ek_buf_lit(b, ": ");
        ek_buf_str(b, headers[i].value);
        ek_buf_lit(b, "\r\n");
    }
}

/* The framing fields, and with them the fate of the connection. body_bytes: EK_HTTP_CHUNKED too. */
static void put_framing(struct ek_http_req *c, struct ek_buf *b, int status, int64_t body_bytes)
{
    bool bodiless = status == 204 || status == 304;
    c->out_chunked = !bodiless && body_bytes == EK_HTTP_CHUNKED && !c->old;
    c->out_unbounded = !bodiless && body_bytes == EK_HTTP_CHUNKED && c->old;
    c->out_left = body_bytes > 0 && !bodiless ? (uint64_t)body_bytes : 0;
    c->close_after = !c->keep_alive || c->out_unbounded || c->server->stopping ||
                     !ek_http_conn_can_skip(c);
    if (c->out_chunked) {
        ek_buf_lit(b, "Transfer-Encoding: chunked\r\n");
    } else if (!bodiless && body_bytes >= 0) {
        ek_buf_lit(b, "Content-Length: ");
        ek_buf_u64(b, (uint64_t)body_bytes);
        ek_buf_lit(b, "\r\n");
    }
    if (c->close_after) ek_buf_lit(b, "Connection: close\r\n");
    else if (c->old) ek_buf_lit(b, "Connection: keep-alive\r\n");
    if (bodiless) c->is_head = true; /* writes are measured, not sent */
}

/* A complete head in the server's scratch buffer; valid until the next one is made. */
static struct ek_str make_head(struct ek_http_req *c, int status,
                               const struct ek_http_header *headers, size_t header_count,
                               int64_t body_bytes)
{
    struct ek_http_server *s = c->server;
    struct ek_buf *b = &s->scratch;
    MUST(status >= 200 && status <= 599);
    MUST(c->answer == ANSWER_NONE);
    if (s->pending) ek_http_answer_flush(s->pending);
    ek_buf_clear(b);
    ek_buf_printf(b, "HTTP/1.1 %d %s\r\n", status, phrase_of(status));
    put_date(s, b);
    put_headers(s, b, headers, header_count);
    put_framing(c, b, status, body_bytes);
    ek_buf_lit(b, "\r\n");
    MUST(!b->failed);
    s->counters.answers[status / 100]++;
    return ek_buf_view(b);
}

static void finished(struct ek_http_req *c)
{
    c->answer = ANSWER_FINISHED;
    if (ek_sock_queued(c->sock) == 0) ek_post_put(c->server->loop, &c->post);
}

void ek_http_reply(struct ek_http_req *c, int status, const struct ek_http_header *headers,
                   size_t header_count, struct ek_str body)
{
    MUST_OBJ(c, CONN_MAGIC);
    MUST(c->live);
    struct ek_str head = make_head(c, status, headers, header_count, (int64_t)body.len);
    struct iovec parts[2] = {part(head), part(body)};
    send_parts(c, parts, c->is_head ? 1 : 2);
    finished(c);
}

void ek_http_start(struct ek_http_req *c, int status, const struct ek_http_header *headers,
                   size_t header_count, int64_t body_bytes)
{
    MUST_OBJ(c, CONN_MAGIC);
    MUST(c->live);
    MUST(body_bytes >= EK_HTTP_CHUNKED);
    make_head(c, status, headers, header_count, body_bytes);
    c->answer = ANSWER_STARTED;
    c->server->pending = c;
    ek_post_put(c->server->loop, &c->post);
}

void ek_http_answer_continue(struct ek_http_req *c)
{
    struct iovec parts[1] = {part(EK_STR("HTTP/1.1 100 Continue\r\n\r\n"))};
    c->wants_continue = false;
    send_parts(c, parts, 1);
}

void ek_http_answer_refuse(struct ek_http_req *c, enum ek_reason why, const char *detail)
{
    struct ek_http_server *s = c->server;
    struct ek_http_header headers[2] = {{EK_STR("Content-Type"), EK_STR("application/json")}};
    struct ek_buf body = ek_buf_make(ANSWER_HEAD_BYTES_MAX);
    unsigned retry_s = 0;
    char retry[16];
    MUST(ek_reason_status(why) >= 400);
    if (s->handler->refusal) {
        retry_s = s->handler->refusal(s->arg, why, detail, &body);
    } else { /* the texts come from tables: nothing in them needs escaping */
        ek_buf_printf(&body, "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"code\":\"%s\"}}\n",
                      detail, ek_reason_type(why), ek_reason_code(why));
    }
    int retry_len = snprintf(retry, sizeof retry, "%u", retry_s);
    headers[1] = (struct ek_http_header){EK_STR("Retry-After"), {retry, (size_t)retry_len}};
    c->keep_alive = false;
    if (c->state == CONN_HEAD) c->is_head = c->old = false;
    struct ek_str head = make_head(c, ek_reason_status(why), headers, retry_s ? 2 : 1,
                                   (int64_t)body.len);
    struct iovec parts[2] = {part(head), part(ek_buf_view(&body))};
    c->answer = ANSWER_FINISHED;
    send_parts(c, parts, c->is_head ? 1 : 2);
    ek_buf_free(&body);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

/* "1a2b\r\n"; room for 16 digits. */
static size_t put_chunk_size(char *out, uint64_t n)
{
    static const char digits[] = "0123456789abcdef";
    char text[16];
    size_t at = sizeof text;
    do {
        text[--at] = digits[n & 15];
        n >>= 4;
    } while (n);
    size_t len = sizeof text - at;
    memcpy(out, text + at, len);
    memcpy(out + len, "\r\n", 2);
    return len + 2;
}

/* Frame and send, behind the head if that still waits; `end` is what follows the payload in a chunked
 * body ("\r\n", or the end of the body with it). */
static void send_framed(struct ek_http_req *c, const struct iovec *parts, size_t count,
                        uint64_t total, struct ek_str end)
{
    char size[20];
    struct iovec framed[EK_HTTP_WRITE_PARTS_MAX + 3];
    size_t n = 0;
    if (c->server->pending == c) framed[n++] = part(ek_buf_view(&c->server->scratch));
    if (c->server->pending == c) c->server->pending = NULL;
    if (total > 0 && c->out_chunked && !c->is_head) {
        framed[n++] = (struct iovec){size, put_chunk_size(size, total)};
    }
    for (size_t i = 0; i < count && total > 0 && !c->is_head; i++) {
        framed[n++] = parts[i];
    }
    if (c->out_chunked && !c->is_head) framed[n++] = part(end);
    if (n > 0) send_parts(c, framed, n);
}

enum ek_status ek_http_writev(struct ek_http_req *c, const struct iovec *parts, size_t count)
{
    uint64_t total = 0;
    MUST_OBJ(c, CONN_MAGIC);
    MUST(c->answer == ANSWER_STARTED);
    MUST(count <= EK_HTTP_WRITE_PARTS_MAX);
    for (size_t i = 0; i < count; i++) {
        total += parts[i].iov_len;
    }
    if (total == 0) return EK_OK;
    if (ek_sock_queued(c->sock) + total > EK_HTTP_UNSENT_BYTES_MAX) return EK_FULL;
    if (!c->out_chunked && !c->out_unbounded && !c->is_head) {
        MUST(total <= c->out_left);
        c->out_left -= total;
    }
    send_framed(c, parts, count, total, EK_STR("\r\n"));
    return EK_OK;
}

enum ek_status ek_http_write(struct ek_http_req *c, struct ek_str bytes)
{
    struct iovec one = part(bytes);
    return ek_http_writev(c, &one, 1);
}

void ek_http_finish(struct ek_http_req *c, struct ek_str last)
{
    MUST_OBJ(c, CONN_MAGIC);
    MUST(c->answer == ANSWER_STARTED);
    struct iovec one = part(last);
    if (!c->out_chunked && !c->out_unbounded && !c->is_head && last.len != c->out_left) {
        ek_http_abort(c, EK_REASON_INTERNAL);
        return;
    }
    struct ek_str end = last.len ? EK_STR("\r\n0\r\n\r\n") : EK_STR("0\r\n\r\n");
    send_framed(c, &one, 1, last.len, end);
    finished(c);
}

void ek_http_abort(struct ek_http_req *c, enum ek_reason why)
{
    MUST_OBJ(c, CONN_MAGIC);
    MUST(c->live);
    if (c->answer >= ANSWER_FINISHED) return;
    c->answer = ANSWER_ABORTED;
    c->abort_why = (uint16_t)why;
    ek_post_put(c->server->loop, &c->post);
}

/* ---- small questions ------------------------------------------------------------------------- */

void ek_http_near(const struct ek_http_req *c)
{
    MUST_OBJ(c, CONN_MAGIC);
    EK_NEAR(c, sizeof *c);
    EK_NEAR(c->sock, 64);
}

size_t ek_http_unsent(const struct ek_http_req *c)
{
    MUST_OBJ(c, CONN_MAGIC);
    return c->sock ? ek_sock_queued(c->sock) : 0;
}

void ek_http_set_user(struct ek_http_req *c, void *user)
{
    MUST_OBJ(c, CONN_MAGIC);
    c->user = user;
}

void *ek_http_user(const struct ek_http_req *c)
{
    MUST_OBJ(c, CONN_MAGIC);
    return c->user;
}

/* inet_ntop prints with sprintf: 1,500 instructions, asked for twice a request. */
static struct ek_str put_ipv4(const uint8_t *address, char *out)
{
    char *p = out;
    for (int i = 0; i < 4; i++) {
        unsigned n = address[i];
        if (n >= 100) *p++ = (char)('0' + n / 100);
        if (n >= 10) *p++ = (char)('0' + n / 10 % 10);
        *p++ = (char)('0' + n % 10);
        *p++ = '.';
    }
    return ek_str_make(out, (size_t)(p - 1 - out));
}

struct ek_str ek_http_peer(const struct ek_http_req *c)
{
    MUST_OBJ(c, CONN_MAGIC);
    struct ek_http_server *s = c->server;
    if (c->peer_family == 0) return EK_STR("unix");
    if (c->peer_family == AF_INET) return put_ipv4(c->peer, s->peer);
    MUST(inet_ntop(c->peer_family, c->peer, s->peer, sizeof s->peer) != NULL);
    return ek_str_of(s->peer);
}
