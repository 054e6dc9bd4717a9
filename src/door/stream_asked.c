/* SPDX-License-Identifier: MIT */
/* Requests that are asked for and read apart: `Prefer: respond-async`, and everything of the Responses API.
 * From the moment they are in line they have no connection of their own: they are a stream (streams.h) with
 * its tape, and whoever wants to hear of them reads it.
 *
 *      body read ──begin──▶ PRICED, connected ──in line──▶ admit: 202, a queued response, or a reader
 *                                 └ refused: a true status, and there never was a stream */
#include "door/stream_tape.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- beginning -------------------------------------------------------------------------------------- */

bool ek_door_asks_async(const struct ek_http_head *head)
{
    for (size_t i = 0; i < head->header_count; i++) {
        struct ek_str v = head->headers[i].value;
        if (!ek_str_eq_nocase(head->headers[i].name, EK_STR("prefer"))) continue;
        while (v.len) { /* preferences, with commas between; parameters behind a semicolon */
            const char *comma = memchr(v.data, ',', v.len);
            struct ek_str one = ek_str_make(v.data, comma ? (size_t)(comma - v.data) : v.len);
            v = ek_str_skip(v, comma ? one.len + 1 : one.len);
            while (one.len && one.data[0] == ' ') one = ek_str_skip(one, 1);
            for (size_t n = 0; n < one.len; n++)
                if (one.data[n] == ';' || one.data[n] == ' ') one.len = n;
            if (ek_str_eq_nocase(one, EK_STR("respond-async"))) return true;
        }
    }
    return false;
}

bool ek_door_asked_translate(struct ek_door_request *r, struct ek_door_asked *a)
{
    struct ek_responses_wishes w = {0};
    struct ek_buf chat = ek_buf_make(r->body.max);
    struct ek_error e;
    char scratch[256];
    if (!ek_responses_read(ek_buf_view(&r->body), &w, &chat, &a->echo, &e, scratch)) {
        ek_buf_free(&chat);
        ek_door_refuse(r, &e);
        return false;
    }
    ek_buf_free(&r->body);
    r->body = chat;
    a->background = w.background;
    a->whole = !w.stream;
    return true;
}

struct ek_door_asked *ek_door_asked_new(void)
{
    struct ek_door_asked *a = calloc(1, sizeof *a);
    if (a) a->echo = ek_buf_make(EK_RESPONSES_ECHO_BYTES_MAX);
    return a;
}

void ek_door_asked_free(struct ek_door_asked **a)
{
    if (!*a) return;
    ek_buf_free(&(*a)->echo);
    free(*a);
    *a = NULL;
}

bool ek_door_asked_begin(struct ek_door_request *r, struct ek_door_asked **given)
{
    struct ek_door_asked *a = *given;
    struct ek_door_stream *s = ek_door_stream_new(r->door, r->id, r->account);
    MUST(r->state == EK_DOOR_PRICED && r->modelled && !r->asked);
    if (!s) {
        ek_door_asked_free(given);
        ek_door_refuse_reason(r, EK_REASON_NO_MEMORY, NULL);
        return false;
    }
    *given = NULL;
    if (!a->response) a->whole = !r->stream;
    snprintf(a->model, sizeof a->model, "%s", ek_pool_model(r->door->pool, r->model)->name);
    s->asked = a;
    s->lasting = a->background;
    s->r = r;
    r->asked = r->stream = r->include_usage = true;
    return true;
}

/* ---- in line ---------------------------------------------------------------------------------------- */

void ek_door_asked_taken_on(struct ek_door_stream *s, struct ek_http_req *http)
{
    struct ek_door *d = s->door;
    char id[33], where[64];
    struct ek_http_header header[8] = {{EK_STR("Content-Type"), EK_STR("application/json")}};
    size_t n = 1;
    int status = 200;
    ek_door_hex(s->id, id);
    header[n++] = (struct ek_http_header){EK_STR("X-Request-Id"), ek_str_make(id, 32)};
    header[n++] = (struct ek_http_header){EK_STR("X-Stream-Id"), ek_str_make(id, 32)};
    MUST(d->text.len == 0);
    if (s->asked->response) {
        ek_door_response_write(s, &d->text);
    } else {
        status = 202;
        snprintf(where, sizeof where, "/v1/streams/%s", id);
        header[n++] = (struct ek_http_header){EK_STR("Location"), ek_str_of(where)};
        header[n++] = (struct ek_http_header){EK_STR("Preference-Applied"), EK_STR("respond-async")};
        ek_door_stream_write_state(s, &d->text);
    }
    n = ek_door_cors(d, header, n);
    MUST(n <= EK_COUNT(header));
    ek_http_reply(http, status, header, n, ek_buf_view(&d->text));
    ek_buf_clear(&d->text);
}

bool ek_door_asked_admit(struct ek_door_request *r)
{
    struct ek_door_stream *s = ek_door_stream_of(r);
    struct ek_http_req *http = r->http;
    MUST(s && http && r->asked && !r->detached);
    bool reads = s->asked->response && (!s->asked->background || !s->asked->whole);
    struct ek_door_reader *rd = reads ? ek_door_reader_new(s, 0) : NULL;
    ek_http_release_body(http); /* what its connection was charged */
    if (!ek_door_place_charge(r, !reads) || (reads && !rd)) {
        free(rd);
        ek_door_refuse_reason(r, EK_REASON_BODY_BUDGET, NULL);
        return false;
    }
    r->http = NULL;
    r->detached = r->committed = true;
    if (s->asked->background) ek_door_tape_begin(r);
    if (rd) ek_door_response_attach(rd, http, s->asked->whole, UINT64_MAX);
    else ek_door_hold(r->door, http, EK_DOOR_TAKEN_ON, s->id, s->asked->response);
    ek_door_stream_watch(s);
    return true;
}

/* ---- what it has come to ---------------------------------------------------------------------------- */

void ek_door_stream_write_state(const struct ek_door_stream *s, struct ek_buf *out)
{
    char id[33];
    const char *state = s->r ? (s->r->running ? "in_progress" : "queued")
                        : s->reason == EK_REASON_NONE ? "completed" : "failed";
    if (!s->r && s->reason == EK_REASON_CANCELLED) state = "cancelled";
    ek_door_hex(s->id, id);
    ek_buf_printf(out, "{\"id\":\"%s\",\"object\":\"stream\",\"created\":%llu,\"status\":\"%s\","
                  "\"events\":%llu}\n", id, (unsigned long long)s->created_unix_s, state,
                  (unsigned long long)ek_door_stream_visible(s));
}

/* The last event: what it failed with. */
static void last_event(const struct ek_door_stream *s, struct ek_buf *out)
{
    struct ek_stream_cursor c = {.next = s->log.last};
    (void)ek_stream_log_read(&s->log, &c, out);
}

static enum ek_status collect(const struct ek_door_stream *s, struct ek_collect *k)
{
    struct ek_stream_cursor c = {.next = 1};
    struct ek_buf text = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
    struct ek_up_chunk chunk;
    enum ek_status got = s->log.first > 1 ? EK_ABSENT : EK_OK;
    for (; got == EK_OK && ek_stream_log_read(&s->log, &c, &text); ek_buf_clear(&text))
        got = ek_up_chunk_read(ek_buf_view(&text), &chunk, NULL) ? ek_collect_add(k, &chunk) : EK_INVALID;
    ek_buf_free(&text);
    return got;
}

/* The whole answer, as if it had been waited for. */
static void reply_whole(struct ek_door_stream *s, struct ek_http_req *http)
{
    struct ek_door *d = s->door;
    char hex[33], id[48];
    struct ek_collect *k = ek_collect_new((enum ek_api)s->asked->api, EK_DOOR_ANSWER_BYTES_MAX);
    enum ek_status got = k ? collect(s, k) : EK_NOMEM;
    if (got != EK_OK) {
        if (k) ek_collect_free(&k);
        struct ek_error e = {.reason = EK_REASON_ANSWER_TOO_LARGE};
        if (got == EK_ABSENT) e.reason = EK_REASON_STREAM_WINDOW;
        ek_door_refuse_http(d, http, &e);
        return;
    }
    ek_door_hex(s->id, hex);
    snprintf(id, sizeof id, "%s-%s", s->asked->api == EK_API_CHAT ? "chatcmpl" : "cmpl", hex);
    struct ek_chunk_head head = {.api = (enum ek_api)s->asked->api, .id = ek_str_of(id),
                                 .model = ek_str_of(s->asked->model),
                                 .created_s = (int64_t)s->created_unix_s};
    MUST(d->text.len == 0);
    ek_collect_write(k, &d->text, &head, NULL, EK_STR(""));
    ek_collect_free(&k);
    ek_door_reply_json(d, http, 200);
}

void ek_door_asked_reply(struct ek_door_stream *s, struct ek_http_req *http)
{
    struct ek_door *d = s->door;
    MUST(s->asked && d->text.len == 0);
    if (s->r) {
        ek_door_stream_write_state(s, &d->text);
        ek_door_reply_json(d, http, 202);
    } else if (s->reason != EK_REASON_NONE) {
        last_event(s, &d->text);
        ek_door_reply_json(d, http, ek_door_stream_status(s));
    } else {
        reply_whole(s, http);
    }
}
