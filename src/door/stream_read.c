/* SPDX-License-Identifier: MIT */
/* Reading a stream again: GET /v1/streams/ID, from behind the event the reader has (`starting_after`, or
 * Last-Event-ID), on to the end. A reader is fed from the log, never faster than it reads; it holds nobody
 * up, and where it is so slow that the window passes it by it is told so. */
#include "door/door_state.h"

#include "http/sse.h"

#include <stdlib.h>

/* ---- what is asked for ------------------------------------------------------------------------------ */

/* The value of a parameter of the query; false when it is not there. */
bool ek_door_query_value(struct ek_str query, struct ek_str name, struct ek_str *out)
{
    while (query.len) {
        const char *amp = memchr(query.data, '&', query.len);
        struct ek_str one = ek_str_make(query.data, amp ? (size_t)(amp - query.data) : query.len);
        query = ek_str_skip(query, amp ? one.len + 1 : one.len);
        if (!ek_str_starts(one, name) || one.len == name.len || one.data[name.len] != '=') continue;
        *out = ek_str_skip(one, name.len + 1);
        return true;
    }
    return false;
}

/* The last event the reader has had. False, and what is wrong. */
bool ek_door_read_after(const struct ek_http_head *head, bool *given, uint64_t *after, const char **param)
{
    struct ek_str text;
    *after = 0;
    *given = true;
    *param = "starting_after";
    if (ek_door_query_value(head->query, EK_STR("starting_after"), &text)) return ek_str_u64(text, after);
    *param = "Last-Event-ID";
    size_t n = ek_http_head_find(head, EK_STR("last-event-id"), &text);
    *given = n > 0;
    return n == 0 || (n == 1 && ek_str_u64(text, after));
}

static void refuse(struct ek_door *d, struct ek_http_req *http, enum ek_reason why, const char *param,
                   const char *message)
{
    struct ek_error e = {.reason = why, .param = param, .message = ek_str_of(message)};
    ek_door_refuse_http(d, http, &e);
}

struct ek_door_stream *ek_door_stream_ask(struct ek_door *d, struct ek_http_req *http,
                                          const struct ek_identity *who, struct ek_str id_text, bool response)
{
    uint8_t id[16];
    struct ek_door_stream *s = ek_door_read_id(id_text, id) ? ek_door_stream_find(d, id) : NULL;
    bool right = s && (!response || (s->asked && s->asked->response));
    if (right && s->account == ek_identity_owner(who, d->hash_seed)) return s;
    d->streams.count.unknown++;
    refuse(d, http, EK_REASON_STREAM_UNKNOWN, NULL, NULL);
    return NULL;
}

/* ---- feeding ---------------------------------------------------------------------------------------- */

void ek_door_reader_release(struct ek_door_reader *rd)
{
    struct ek_door_stream *s = rd->stream;
    ek_timer_clear(s->door->loop, &rd->silence);
    ek_list_remove(&s->readers, &rd->link);
    s->door->streams.readers--;
    rd->stream = NULL;
}

void ek_door_reader_dismiss(struct ek_door_reader *rd, struct ek_str last)
{
    ek_door_reader_release(rd);
    ek_http_finish(rd->http, last); /* `gone` follows, and frees it */
}

static void watch_silence(struct ek_door_reader *rd)
{
    struct ek_door *d = rd->stream->door;
    rd->spoke_ns = ek_door_now(d).mono_ns;
    if (!ek_timer_is_set(&rd->silence))
        ek_timer_set(d->loop, &rd->silence, rd->spoke_ns + d->config->waiting.comment_ns);
}

static void put_lost(struct ek_buf *out)
{
    struct ek_buf text = ek_buf_make(4096);
    ek_error_write(&text, &(struct ek_error){.reason = EK_REASON_STREAM_WINDOW});
    ek_sse_put_data(out, ek_buf_view(&text));
    ek_buf_lit(out, "data: [DONE]\n\n");
    ek_buf_free(&text);
}

/* Events into `out`, framed, until there are enough for a turn. */
static void put_events(struct ek_door_stream *s, struct ek_door_reader *rd, struct ek_buf *out)
{
    struct ek_buf *text = &s->door->text;
    uint64_t until = ek_door_stream_visible(s);
    MUST(text->len == 0);
    if (!ek_door_stream_has_head(s)) return;
    if (rd->as && !rd->as->begun) ek_door_response_event(rd, EK_STR(""), out);
    while (out->len < EK_DOOR_STREAM_TURN_BYTES && rd->at.next <= until &&
           ek_stream_log_read(&s->log, &rd->at, text)) {
        if (rd->as) {
            ek_door_response_event(rd, ek_buf_view(text), out);
        } else {
            ek_sse_put_id(out, rd->at.next - 1);
            ek_sse_put_data(out, ek_buf_view(text));
        }
        ek_buf_clear(text);
    }
    ek_buf_clear(text);
}

static void feed(struct ek_door_reader *rd)
{
    struct ek_door_stream *s = rd->stream;
    struct ek_door *d = s->door;
    struct ek_buf *out = &d->streams.out;
    uint64_t high = d->config->limits.write_buffer_bytes;
    if (rd->whole) {
        ek_door_response_whole(rd);
        return;
    }
    while (ek_http_unsent(rd->http) <= (high ? high : EK_DOOR_UNSENT_BYTES_HIGH)) {
        ek_buf_clear(out);
        bool lost = rd->at.next < s->log.first && s->log.last > 0;
        if (!lost) put_events(s, rd, out);
        bool all = rd->at.next > s->log.last && !s->r && ek_door_stream_is_written(s);
        if (lost) put_lost(out);
        else if (all && rd->as) ek_door_response_last(rd, out);
        else if (all) ek_buf_lit(out, "data: [DONE]\n\n");
        if (lost || all) {
            ek_door_reader_dismiss(rd, ek_buf_view(out));
            break;
        }
        if (out->len == 0) break;
        if (out->failed || ek_http_write(rd->http, ek_buf_view(out)) != EK_OK) {
            ek_http_abort(rd->http, EK_REASON_WRITE_STALL);
            break;
        }
        watch_silence(rd);
    }
    ek_buf_clear(out);
    if (out->cap > 4 * EK_DOOR_STREAM_TURN_BYTES) ek_buf_shrink(out);
}

void ek_door_stream_feed(struct ek_post *p)
{
    struct ek_door *d = EK_CONTAINER(p, struct ek_door, streams.feed);
    struct ek_link *n;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    while ((n = ek_list_first(&d->streams.dirty))) {
        struct ek_door_stream *s = EK_CONTAINER(n, struct ek_door_stream, dirty);
        ek_list_remove(&d->streams.dirty, n);
        EK_LIST_EACH(&s->readers, it) {
            feed(EK_CONTAINER(it, struct ek_door_reader, link));
        }
    }
}

void ek_door_reader_drained(struct ek_door_reader *rd)
{
    MUST_OBJ(rd, EK_DOOR_READER_MAGIC);
    if (rd->stream) feed(rd);
}

/* One who waits for the whole: its status could wait no longer. JSON allows white space in front. */
static void start_whole(struct ek_door_reader *rd)
{
    struct ek_http_header header[4] = {{EK_STR("Content-Type"), EK_STR("application/json")}};
    size_t n = ek_door_cors(rd->stream->door, header, 1);
    rd->begun = true;
    ek_http_start(rd->http, 200, header, n, EK_HTTP_CHUNKED);
}

static void silence(struct ek_timer *t)
{
    struct ek_door_reader *rd = EK_CONTAINER(t, struct ek_door_reader, silence);
    MUST_OBJ(rd, EK_DOOR_READER_MAGIC);
    struct ek_door *d = rd->stream->door;
    uint64_t now_ns = ek_door_now(d).mono_ns, due_ns = rd->spoke_ns + d->config->waiting.comment_ns;
    if (now_ns >= due_ns) {
        d->counters.words++;
        if (rd->whole && !rd->begun) start_whole(rd);
        struct ek_str word = rd->whole ? EK_STR("\n") : EK_STR(": keep-alive\n\n");
        if (ek_http_unsent(rd->http) == 0 && ek_http_write(rd->http, word) != EK_OK)
            ek_http_abort(rd->http, EK_REASON_WRITE_STALL);
        rd->spoke_ns = now_ns;
        due_ns = now_ns + d->config->waiting.comment_ns;
    }
    ek_timer_set(d->loop, t, due_ns);
}

/* ---- coming and going ------------------------------------------------------------------------------- */

void ek_door_reader_start(const struct ek_door_stream *s, struct ek_http_req *http)
{
    char hex[33];
    ek_door_hex(s->id, hex);
    struct ek_str id = ek_str_make(hex, 32);
    struct ek_http_header header[8] = {
        {EK_STR("Content-Type"), EK_STR("text/event-stream; charset=utf-8")},
        {EK_STR("X-Request-Id"), id},
        {EK_STR("X-Stream-Id"), id},
        {EK_STR("X-Accel-Buffering"), EK_STR("no")},
        {EK_STR("Cache-Control"), EK_STR("no-cache, no-transform")},
    };
    size_t n = ek_door_cors(s->door, header, 5);
    MUST(n <= EK_COUNT(header));
    ek_http_start(http, 200, header, n, EK_HTTP_CHUNKED);
}

struct ek_door_reader *ek_door_reader_new(struct ek_door_stream *s, uint64_t after)
{
    struct ek_door_reader *rd = s->readers.count < EK_DOOR_STREAM_READERS_MAX ? calloc(1, sizeof *rd) : NULL;
    if (!rd) return NULL;
    *rd = (struct ek_door_reader){.magic = EK_DOOR_READER_MAGIC, .stream = s, .at = {.next = after + 1}};
    ek_timer_init(&rd->silence, silence);
    return rd;
}

void ek_door_reader_attach(struct ek_door_reader *rd, struct ek_http_req *http)
{
    struct ek_door_stream *s = rd->stream;
    MUST(!rd->http);
    rd->http = http;
    ek_http_set_user(http, rd);
    ek_list_append(&s->readers, &rd->link);
    s->door->streams.readers++;
    ek_door_stream_watch(s);
    watch_silence(rd);
}

void ek_door_stream_read(struct ek_door *d, struct ek_http_req *http, const struct ek_http_head *head,
                         const struct ek_identity *who, struct ek_str id_text)
{
    uint64_t after;
    const char *param;
    bool given;
    struct ek_str stream;
    struct ek_door_stream *s = ek_door_stream_ask(d, http, who, id_text, false);
    if (!s) return;
    bool right = ek_door_read_after(head, &given, &after, &param);
    bool streams = ek_door_query_value(head->query, EK_STR("stream"), &stream) &&
                   ek_str_eq(stream, EK_STR("true"));
    if (s->asked && s->asked->whole && !given && !streams) {
        ek_door_asked_reply(s, http);
        return;
    }
    if (!right || after > ek_door_stream_visible(s)) {
        refuse(d, http, EK_REASON_BAD_VALUE, param, "There was no event of that number yet.");
        return;
    }
    if (after + 1 < s->log.first) {
        refuse(d, http, EK_REASON_STREAM_WINDOW, param, NULL);
        return;
    }
    if (ek_str_eq(head->method, EK_STR("HEAD"))) { /* it asks what would be answered, not for the end of it */
        ek_door_reader_start(s, http);
        ek_http_finish(http, ek_str_make(NULL, 0));
        return;
    }
    struct ek_door_reader *rd = ek_door_reader_new(s, after);
    if (!rd) {
        refuse(d, http, EK_REASON_STREAM_READERS, NULL, NULL);
        return;
    }
    d->streams.count.read++;
    ek_door_reader_start(s, http);
    ek_door_reader_attach(rd, http);
    feed(rd);
}

bool ek_door_is_reader(const void *user)
{
    return user && *(const uint32_t *)user == EK_DOOR_READER_MAGIC;
}

void ek_door_reader_gone(struct ek_door_reader *rd)
{
    struct ek_door_stream *s = rd->stream;
    MUST_OBJ(rd, EK_DOOR_READER_MAGIC);
    if (s) {
        struct ek_door *d = s->door;
        ek_timer_clear(d->loop, &rd->silence);
        ek_list_remove(&s->readers, &rd->link);
        d->streams.readers--;
        if (!d->closing) ek_door_stream_watch(s);
    }
    if (rd->as) ek_responses_free(rd->as);
    free(rd->as);
    rd->magic = 0;
    free(rd);
}

/* ---- erasing ---------------------------------------------------------------------------------------- */

bool ek_door_stream_wipe(struct ek_door_stream *s, struct ek_http_req *http)
{
    struct ek_door *d = s->door;
    if (s->r && s->r->state == EK_DOOR_PRICED) { /* of before a restart, and its model is not known yet */
        refuse(d, http, EK_REASON_NO_UPSTREAM, NULL, NULL);
        return false;
    }
    if (s->r) ek_door_refuse_reason(s->r, EK_REASON_CANCELLED, NULL); /* what was made is charged */
    MUST(!s->r);
    if (s->tape) ek_tape_erase(&s->tape); /* and nothing is waited for any more */
    EK_LIST_EACH(&s->readers, it) { /* they have had what there was, and hear of the end */
        struct ek_door_reader *rd = EK_CONTAINER(it, struct ek_door_reader, link);
        feed(rd);
        if (rd->stream) ek_door_reader_dismiss(rd, EK_STR("data: [DONE]\n\n"));
    }
    ek_door_stream_forget(s);
    d->streams.count.erased++;
    return true;
}

void ek_door_stream_erase(struct ek_door *d, struct ek_http_req *http, const struct ek_identity *who,
                          struct ek_str id_text)
{
    uint8_t id[16];
    struct ek_door_stream *s = ek_door_stream_ask(d, http, who, id_text, false);
    if (!s) return;
    memcpy(id, s->id, sizeof id);
    if (ek_door_stream_wipe(s, http)) ek_door_hold(d, http, EK_DOOR_ERASED, id, false);
}
