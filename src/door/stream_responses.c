/* SPDX-License-Identifier: MIT */
/* The Responses API over the store of streams: a response is a stream whose chunks are told as the events of
 * that API (chat/responses.h). Nothing of it is kept but the stream: who reads one again makes its events
 * again from the first chunk on, under the same numbers. */
#include "door/door_state.h"

#include <stdlib.h>

static struct ek_responses_frame frame_of(const struct ek_door_stream *s, char hex[33])
{
    ek_door_hex(s->id, hex);
    return (struct ek_responses_frame){.id = hex, .echo = ek_buf_view(&s->asked->echo),
                                       .model = ek_str_of(s->asked->model), .created_s = s->created_unix_s,
                                       .background = s->asked->background};
}

static enum ek_responses_status status_of(const struct ek_door_stream *s, const struct ek_responses *r)
{
    if (s->r) return s->r->running || !s->asked->background ? EK_RESPONSES_IN_PROGRESS : EK_RESPONSES_QUEUED;
    if (s->reason == EK_REASON_NONE) return ek_responses_how(r);
    bool stopped = s->reason == EK_REASON_CANCELLED || s->reason == EK_REASON_CLIENT_GONE;
    return stopped ? EK_RESPONSES_CANCELLED : EK_RESPONSES_FAILED;
}

/* The error object of one that failed: the inside of its last event. Valid while `text` is. */
static struct ek_str error_of(const struct ek_door_stream *s, struct ek_buf *text)
{
    static const char front[] = "{\"error\":";
    struct ek_stream_cursor c = {.next = s->log.last};
    if (s->r || s->reason == EK_REASON_NONE || !ek_stream_log_read(&s->log, &c, text)) return EK_STR("");
    struct ek_str all = ek_buf_view(text);
    while (all.len && all.data[all.len - 1] != '}') all.len--;
    if (!ek_str_starts(all, EK_STR(front))) return EK_STR("");
    return ek_str_make(all.data + sizeof front - 1, all.len - sizeof front);
}

/* One event of the log told; out NULL: only noted. */
static void add(struct ek_responses *r, const struct ek_responses_frame *f, struct ek_str payload,
                struct ek_buf *out)
{
    struct ek_up_chunk chunk;
    if (!ek_up_chunk_read(payload, &chunk, NULL) || (chunk.flags & EK_UP_ERROR)) return;
    ek_responses_add(r, f, &chunk, out);
}

void ek_door_response_event(struct ek_door_reader *rd, struct ek_str payload, struct ek_buf *out)
{
    char hex[33];
    struct ek_responses_frame f = frame_of(rd->stream, hex);
    if (!rd->as->begun) ek_responses_begin(rd->as, &f, out);
    if (payload.len) add(rd->as, &f, payload, out);
}

void ek_door_response_last(struct ek_door_reader *rd, struct ek_buf *out)
{
    char hex[33];
    struct ek_door_stream *s = rd->stream;
    struct ek_responses_frame f = frame_of(s, hex);
    struct ek_buf text = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
    if (!rd->as->begun) ek_responses_begin(rd->as, &f, out);
    ek_responses_end(rd->as, &f, status_of(s, rd->as), error_of(s, &text), out);
    ek_buf_free(&text);
}

void ek_door_response_write(struct ek_door_stream *s, struct ek_buf *out)
{
    char hex[33];
    struct ek_responses_frame f = frame_of(s, hex);
    struct ek_responses r;
    struct ek_stream_cursor c = {.next = s->log.first};
    struct ek_buf text = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
    ek_responses_init(&r, EK_DOOR_ANSWER_BYTES_MAX, UINT64_MAX);
    ek_responses_begin(&r, &f, NULL);
    for (; ek_stream_log_read(&s->log, &c, &text); ek_buf_clear(&text)) add(&r, &f, ek_buf_view(&text), NULL);
    ek_responses_write(&r, &f, status_of(s, &r), error_of(s, &text), out);
    ek_buf_free(&text);
    ek_responses_free(&r);
}

/* Its beginning may be out of the window. Who cannot have all of it is told so: never a part as if it were
 * all. */
static bool has_all(const struct ek_door_stream *s)
{
    return s->log.first <= 1;
}

/* ---- readers ---------------------------------------------------------------------------------------- */

void ek_door_response_attach(struct ek_door_reader *rd, struct ek_http_req *http, bool whole, uint64_t after)
{
    struct ek_door *d = rd->stream->door;
    rd->whole = whole;
    if (!whole) {
        rd->as = malloc(sizeof *rd->as);
        MUST(rd->as); /* readers are few */
        ek_responses_init(rd->as, EK_DOOR_ANSWER_BYTES_MAX, after);
        ek_door_reader_start(rd->stream, http);
    }
    ek_door_reader_attach(rd, http);
    ek_door_stream_mark(rd->stream);
    d->streams.count.read++;
}

/* One who waits for all of it hears it at once, when it has ended. */
void ek_door_response_whole(struct ek_door_reader *rd)
{
    struct ek_door_stream *s = rd->stream;
    struct ek_door *d = s->door;
    struct ek_http_req *http = rd->http;
    if (s->r || !ek_door_stream_is_written(s)) return;
    int status = has_all(s) ? ek_door_stream_status(s) : ek_reason_status(EK_REASON_STREAM_WINDOW);
    struct ek_buf text = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
    bool begun = rd->begun;
    if (!has_all(s)) {
        ek_error_write(&text, &(struct ek_error){.reason = EK_REASON_STREAM_WINDOW});
    } else if (begun || status == 200) {
        ek_door_response_write(s, &text);
    } else {
        struct ek_stream_cursor c = {.next = s->log.last};
        (void)ek_stream_log_read(&s->log, &c, &text);
    }
    if (begun) {
        ek_door_reader_dismiss(rd, ek_buf_view(&text));
    } else {
        ek_door_reader_release(rd);
        MUST(d->text.len == 0);
        ek_buf_str(&d->text, ek_buf_view(&text));
        ek_door_reply_json(d, http, status);
    }
    ek_buf_free(&text);
}

/* ---- addresses -------------------------------------------------------------------------------------- */

static void reply(struct ek_door_stream *s, struct ek_http_req *http)
{
    MUST(s->door->text.len == 0);
    if (!has_all(s)) {
        ek_door_refuse_http(s->door, http, &(struct ek_error){.reason = EK_REASON_STREAM_WINDOW});
        return;
    }
    ek_door_response_write(s, &s->door->text);
    ek_door_reply_json(s->door, http, 200);
}

/* How many there have been that may be told: made again, but not written. */
static uint64_t events_of(const struct ek_door_stream *s)
{
    char hex[33];
    struct ek_responses_frame f = frame_of(s, hex);
    struct ek_responses r;
    struct ek_stream_cursor c = {.next = s->log.first};
    struct ek_buf text = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
    uint64_t until = ek_door_stream_visible(s);
    if (!ek_door_stream_has_head(s)) return 0;
    ek_responses_init(&r, EK_DOOR_ANSWER_BYTES_MAX, UINT64_MAX);
    ek_responses_begin(&r, &f, NULL);
    for (; c.next <= until && ek_stream_log_read(&s->log, &c, &text); ek_buf_clear(&text))
        add(&r, &f, ek_buf_view(&text), NULL);
    ek_buf_clear(&text);
    if (!s->r && ek_door_stream_is_written(s)) ek_responses_end(&r, &f, status_of(s, &r), EK_STR(""), NULL);
    uint64_t count = r.next;
    ek_responses_free(&r);
    ek_buf_free(&text);
    return count;
}

static void read_on(struct ek_door *d, struct ek_http_req *http, const struct ek_http_head *head,
                    struct ek_door_stream *s)
{
    uint64_t after;
    const char *param;
    bool given;
    bool right = ek_door_read_after(head, &given, &after, &param);
    if (!right || (given && has_all(s) && after >= events_of(s))) {
        static const char why[] = "There was no event of that number yet.";
        ek_door_refuse_http(d, http, &(struct ek_error){.reason = EK_REASON_BAD_VALUE, .param = param,
                                                        .message = ek_str_of(why)});
        return;
    }
    if (ek_str_eq(head->method, EK_STR("HEAD"))) {
        ek_door_reader_start(s, http);
        ek_http_finish(http, ek_str_make(NULL, 0));
        return;
    }
    enum ek_reason why = has_all(s) ? EK_REASON_STREAM_READERS : EK_REASON_STREAM_WINDOW;
    struct ek_door_reader *rd = has_all(s) ? ek_door_reader_new(s, 0) : NULL;
    if (rd) ek_door_response_attach(rd, http, false, given ? after : UINT64_MAX);
    else ek_door_refuse_http(d, http, &(struct ek_error){.reason = why});
}

static void erase(struct ek_door *d, struct ek_http_req *http, struct ek_door_stream *s)
{
    uint8_t id[16];
    memcpy(id, s->id, sizeof id);
    if (ek_door_stream_wipe(s, http)) ek_door_hold(d, http, EK_DOOR_ERASED, id, true);
}

static void cancel(struct ek_door *d, struct ek_http_req *http, struct ek_door_stream *s)
{
    if (s->r && s->r->state == EK_DOOR_PRICED) { /* of before a restart, and its model is not known yet */
        ek_door_refuse_http(d, http, &(struct ek_error){.reason = EK_REASON_NO_UPSTREAM});
        return;
    }
    if (s->r) ek_door_refuse_reason(s->r, EK_REASON_CANCELLED, NULL); /* what was made is charged */
    ek_door_hold(d, http, EK_DOOR_CANCELLED, s->id, true);
}

void ek_door_response_head(struct ek_door *d, struct ek_http_req *http, const struct ek_http_head *head,
                           const struct ek_identity *who, struct ek_str rest)
{
    const char *slash = memchr(rest.data, '/', rest.len);
    struct ek_str id = ek_str_make(rest.data, slash ? (size_t)(slash - rest.data) : rest.len);
    struct ek_str verb = ek_str_skip(rest, slash ? id.len + 1 : rest.len), stream;
    bool cancels = ek_str_eq(verb, EK_STR("cancel")) && ek_str_eq(head->method, EK_STR("POST"));
    bool erases = !slash && ek_str_eq(head->method, EK_STR("DELETE"));
    bool get = ek_str_eq(head->method, EK_STR("GET")) || ek_str_eq(head->method, EK_STR("HEAD"));
    bool reads = !slash && get;
    if (slash && !ek_str_eq(verb, EK_STR("cancel"))) {
        ek_door_refuse_http(d, http, &(struct ek_error){.reason = EK_REASON_NOT_FOUND});
        return;
    }
    if (!cancels && !erases && !reads) {
        ek_door_refuse_method(d, http, slash ? EK_STR("POST") : EK_DOOR_STREAM_METHODS);
        return;
    }
    struct ek_door_stream *s = ek_door_stream_ask(d, http, who, id, true);
    if (!s) return;
    if (erases) {
        erase(d, http, s);
        return;
    }
    if (cancels) {
        cancel(d, http, s);
        return;
    }
    bool streams = reads && ek_door_query_value(head->query, EK_STR("stream"), &stream) &&
                   ek_str_eq(stream, EK_STR("true"));
    if (streams) read_on(d, http, head, s);
    else reply(s, http);
}
