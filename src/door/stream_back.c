/* SPDX-License-Identifier: MIT */
/* After a restart: the streams that the tapes hold. Those that had ended can be read again for the rest of
 * their retention; those that ran are requests again, without a connection, and go on behind their last event
 * as soon as an engine has their model (restore.c): by token ids, or by their text. */
#include "door/choices.h"
#include "door/stream_tape.h"

#include <stdlib.h>

/* What the frames say, while they are read. */
struct taken {
    struct ek_door_tape_head head;
    struct ek_str tier, model, echo, body;
    struct ek_door_stream *s;
    struct ek_buf whole, text; /* the first event; scratch */
    struct ek_door_tape_event last;
    uint32_t *ids;
    uint32_t id_count, id_cap;
    bool ids_lost, ended;
    uint32_t reason;
};

/* ---- frames ----------------------------------------------------------------------------------------- */

static bool read_head(struct taken *t, struct ek_str frame)
{
    if (frame.len < sizeof t->head) return false;
    memcpy(&t->head, frame.data, sizeof t->head);
    const struct ek_door_tape_head *h = &t->head;
    if (h->kind != EK_DOOR_TAPE_HEAD || h->version != EK_DOOR_TAPE_VERSION) return false;
    if (h->bytes != sizeof *h || h->api > EK_API_COMPLETIONS) return false;
    struct ek_str rest = ek_str_skip(frame, sizeof *h);
    uint64_t names = (uint64_t)h->tier_bytes + h->model_bytes + h->echo_bytes;
    if (rest.len <= names || h->echo_bytes > EK_RESPONSES_ECHO_BYTES_MAX) return false; /* no body is empty */
    t->tier = ek_str_make(rest.data, h->tier_bytes);
    t->model = ek_str_make(rest.data + h->tier_bytes, h->model_bytes);
    t->echo = ek_str_make(t->model.data + h->model_bytes, h->echo_bytes);
    t->body = ek_str_skip(rest, (size_t)names);
    return true;
}

static bool add_ids(struct taken *t, const char *data, uint32_t count)
{
    if (t->id_count + count > t->id_cap) {
        uint32_t cap = (t->id_count + count) * 2;
        uint32_t *more = cap <= 2 * EK_DOOR_KEPT_IDS_MAX ? realloc(t->ids, cap * sizeof *more) : NULL;
        if (!more) return false;
        t->ids = more;
        t->id_cap = cap;
    }
    if (count) memcpy(t->ids + t->id_count, data, count * sizeof *t->ids);
    t->id_count += count;
    return true;
}

static bool read_event(struct taken *t, struct ek_str frame)
{
    struct ek_door_tape_event *e = &t->last;
    if (frame.len < sizeof *e) return false;
    memcpy(e, frame.data, sizeof *e);
    struct ek_str rest = ek_str_skip(frame, sizeof *e);
    if (e->ids == UINT32_MAX) t->ids_lost = true;
    if (!t->ids_lost) {
        if (e->ids > rest.len / sizeof *t->ids || !add_ids(t, rest.data, e->ids)) return false;
        rest = ek_str_skip(rest, e->ids * sizeof *t->ids);
    }
    struct ek_str whole = ek_buf_view(&t->whole);
    if ((uint64_t)e->front + e->end > whole.len) return false;
    ek_buf_clear(&t->text);
    ek_buf_put(&t->text, whole.data, e->front);
    ek_buf_str(&t->text, rest);
    ek_buf_put(&t->text, whole.data + whole.len - e->end, e->end);
    if (!t->whole.len) ek_buf_str(&t->whole, ek_buf_view(&t->text));
    return !t->text.failed && !t->whole.failed && ek_door_stream_add_found(t->s, ek_buf_view(&t->text));
}

static bool read_frame(struct taken *t, struct ek_str frame)
{
    uint32_t kind;
    struct ek_door_tape_end end;
    if (frame.len < sizeof kind || t->ended) return false;
    memcpy(&kind, frame.data, sizeof kind);
    if (kind == EK_DOOR_TAPE_EVENT) return read_event(t, frame);
    if (kind != EK_DOOR_TAPE_END || frame.len != sizeof end) return false;
    memcpy(&end, frame.data, sizeof end);
    t->ended = true;
    t->reason = end.reason;
    return true;
}

/* ---- what becomes of it ----------------------------------------------------------------------------- */

/* It goes on: a request of before, without a connection. False: it cannot. */
static bool run_again(struct taken *t)
{
    struct ek_door_stream *s = t->s;
    struct ek_door *d = s->door;
    struct ek_door_request *r = ek_door_request_of_record(d, s->id);
    r->account = s->account;
    r->tier = ek_door_tier_named(d, t->tier);
    r->api = t->head.api & 3u;
    ek_door_arrived_then(r, t->head.arrived_unix_ns);
    r->stream = r->committed = r->detached = true;
    r->include_usage = t->head.include_usage;
    r->asked = s->asked != NULL;
    ek_buf_str(&r->body, t->body);
    if (r->body.failed || !ek_door_place_charge(r, false) || !ek_door_make_running(r)) {
        r->committed = false;
        ek_door_request_free(r);
        return false;
    }
    struct ek_door_running *w = r->running;
    w->kept = s;
    s->r = r;
    w->shortened = t->last.shortened;
    w->thinking_budget = t->last.thinking_budget;
    w->thought_tokens = t->last.thought_tokens;
    w->answer_tokens = t->last.answer_tokens;
    w->prompt_tokens = t->last.prompt_tokens;
    w->cached_tokens = t->last.cached_tokens;
    w->ids_whole = !t->ids_lost;
    w->ids = t->ids;
    w->id_count = t->ids_lost ? 0 : t->id_count;
    w->id_cap = t->id_cap;
    t->ids = NULL;
    s->taped->ids_lost = t->ids_lost;
    s->taped->ids = w->id_count;
    s->taped->whole = t->whole;
    t->whole = ek_buf_make(1);
    w->event = s->log.last;
    ek_door_restore_running(r, t->model, t->head.ledger_account, t->head.ledger_key);
    return true;
}

/* It was asked for apart from its reading. Only what goes on whoever leaves is on tape of those. */
static bool ask_again(struct taken *t)
{
    struct ek_door_asked *a = t->head.asked ? ek_door_asked_new() : NULL;
    if (!a) return !t->head.asked;
    a->response = t->head.response;
    a->whole = t->head.whole;
    a->background = true;
    a->api = t->head.api;
    ek_buf_str(&a->echo, t->echo);
    MUST(t->model.len < sizeof a->model);
    memcpy(a->model, t->model.data, t->model.len);
    t->s->asked = a;
    t->s->lasting = true;
    return true;
}

static void read_again(struct taken *t, struct ek_tape_found *f, struct ek_tape *tape)
{
    struct ek_door_stream *s = t->s;
    struct ek_door *d = s->door;
    struct ek_now now = ek_door_now(d);
    struct ek_str frame;
    bool owned = ek_door_tape_own(s, tape);
    MUST(owned); /* at the start */
    ek_tape_own(tape, &ek_door_tape_events, s);
    bool good = ask_again(t);
    while (good && ek_tape_next(f, &frame)) good = read_frame(t, frame);
    s->taped->frames = ek_tape_frames(tape);
    s->created_unix_s = t->head.created_unix_s;
    if (good && !t->ended && run_again(t)) {
        d->streams.count.resumed++;
        return;
    }
    uint64_t age_ns = ek_ns_since(now.unix_ns, f->written_unix_ns);
    bool keep = good && t->ended && t->reason < EK_REASON_COUNT && age_ns < d->config->streams.retention_ns;
    s->reason = t->reason < EK_REASON_COUNT ? (enum ek_reason)t->reason : EK_REASON_INTERNAL;
    ek_door_stream_found_ended(s, ek_ns_since(now.mono_ns, age_ns));
    if (!keep) ek_door_stream_forget(s); /* and its tape with it */
}

static void found(void *arg, struct ek_tape_found *f, struct ek_tape *tape)
{
    struct ek_door *d = arg;
    struct taken t = {.whole = ek_buf_make(EK_DOOR_OUT_BYTES_MAX),
                      .text = ek_buf_make(EK_DOOR_OUT_BYTES_MAX)};
    struct ek_str frame;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    bool good = ek_tape_next(f, &frame) && read_head(&t, frame);
    t.s = good ? ek_door_stream_new(d, f->name, t.head.account) : NULL;
    if (t.s) read_again(&t, f, tape);
    else ek_tape_erase(&tape);
    free(t.ids);
    ek_buf_free(&t.whole);
    ek_buf_free(&t.text);
}

bool ek_door_tapes_open(struct ek_door *d, const char *journal_dir, char *why, size_t cap)
{
    struct ek_buf dir = ek_buf_make(8192);
    MUST(!d->tapes);
    if (!d->config->streams.window_bytes || !d->config->streams.disk_bytes) return true;
    ek_buf_printf(&dir, "%s/streams", journal_dir);
    struct ek_tapes_options o = {.dir = ek_buf_cstr(&dir), .bytes_max = d->config->streams.disk_bytes,
                                 .fsync_ns = d->config->journal.fsync_ns};
    d->tapes = ek_tapes_open(d->loop, &o, d->log, why, cap);
    ek_buf_free(&dir);
    if (!d->tapes) return false;
    ek_tapes_on_erased(d->tapes, ek_door_tape_erased, d);
    ek_tapes_visit(d->tapes, found, d);
    return true;
}

/* ---- its model is known ----------------------------------------------------------------------------- */

bool ek_door_stream_take_up(struct ek_door_request *r)
{
    struct ek_door_running *w = r->running;
    struct ek_door_stream *s = w->kept;
    struct ek_stream_cursor c = {.next = s->log.first};
    struct ek_buf text = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
    struct ek_up_chunk chunk;
    MUST_OBJ(s, EK_DOOR_STREAM_MAGIC);
    w->text_whole = ek_door_keeps_text(r) && s->log.first <= 1;
    for (; ek_stream_log_read(&s->log, &c, &text); ek_buf_clear(&text)) {
        if (!ek_up_chunk_read(ek_buf_view(&text), &chunk, NULL)) continue;
        if (w->text_whole) ek_door_keep_text(r, &chunk);
        ek_door_note_ended(w, &chunk);
        w->saw_role = w->saw_role || (chunk.flags & EK_UP_ROLE);
        w->saw_thought = w->saw_thought || (chunk.flags & EK_UP_REASONING);
        w->saw_answer = w->saw_answer || (chunk.flags & (EK_UP_CONTENT | EK_UP_TOOL_CALLS));
        if (chunk.flags & EK_UP_USAGE) w->usage = chunk.usage;
        w->saw_usage = w->saw_usage || (chunk.flags & EK_UP_USAGE);
    }
    ek_buf_free(&text);
    if (w->finished >= w->n) return false;
    w->saw_usage = false; /* of a part */
    return true;
}
