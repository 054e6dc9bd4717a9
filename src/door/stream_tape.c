/* SPDX-License-Identifier: MIT */
/* A running stream on tape (journal/tape.h), so that a restart of the door can go on with it: where there is
 * a journal, and its tier lets an answer go on without its reader.
 *
 *      HEAD    at its START: whose it is, what was asked, how it is made
 *      EVENT   each event, with all that was counted and known with it: token ids above all
 *      END     its answer is whole, or failed
 *
 * Nobody hears of an event before it is written: so who comes back after a crash has never seen more than the
 * tape has, and the numbers of events mean the same. Therefore the connection such a stream came on becomes a
 * reader of it with the first event, as any other that comes later. Frames are this program's own words on
 * this machine, in its own byte order; version and sizes are checked (stream_back.c). */
#include "door/stream_tape.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- what the disk says ----------------------------------------------------------------------------- */

static void on_written(void *arg, uint64_t frames)
{
    struct ek_door_stream *s = arg;
    MUST_OBJ(s, EK_DOOR_STREAM_MAGIC);
    s->taped->frames = frames;
    ek_door_stream_mark(s);
    ek_door_held_look(s->door);
}

static void untape(struct ek_door_stream *s)
{
    if (!s->tape) return;
    ek_tape_erase(&s->tape);
    ek_door_tape_forget(s);
    s->door->streams.count.untaped++;
    ek_door_stream_mark(s); /* what was held back for it goes out */
    ek_door_held_look(s->door);
}

static void on_failed(void *arg)
{
    struct ek_door_stream *s = arg;
    MUST_OBJ(s, EK_DOOR_STREAM_MAGIC);
    untape(s);
}

const struct ek_tape_events ek_door_tape_events = {on_written, on_failed};

uint64_t ek_door_stream_visible(const struct ek_door_stream *s)
{
    if (!s->tape) return s->log.last;
    uint64_t events = s->taped->frames ? s->taped->frames - 1 : 0; /* the first is the head */
    return events < s->log.last ? events : s->log.last;
}

bool ek_door_stream_has_head(const struct ek_door_stream *s)
{
    return !s->tape || s->taped->frames > 0;
}

bool ek_door_stream_is_written(const struct ek_door_stream *s)
{
    return !s->tape || s->taped->frames >= ek_tape_frames(s->tape);
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static void put(struct ek_door_stream *s, struct ek_str first, struct ek_str second)
{
    if (s->tape && !ek_tape_put(s->tape, first, second)) untape(s);
}

static void put_head(struct ek_door_request *r, struct ek_door_stream *s)
{
    struct ek_buf text = ek_buf_make(8192 + EK_RESPONSES_ECHO_BYTES_MAX);
    struct ek_str echo = s->asked ? ek_buf_view(&s->asked->echo) : EK_STR("");
    struct ek_str tier = ek_str_of(r->door->config->tiers.item[r->tier].name);
    struct ek_str model = ek_str_of(ek_pool_model(r->door->pool, r->model)->name);
    struct ek_door_tape_head h;
    memset(&h, 0, sizeof h); /* padding goes to disk, too */
    MUST(tier.len <= 255 && model.len <= 255);
    h.kind = EK_DOOR_TAPE_HEAD;
    h.version = EK_DOOR_TAPE_VERSION;
    h.bytes = sizeof h;
    h.account = r->account;
    h.ledger_account = ek_door_money_account(r);
    h.ledger_key = ek_door_money_key(r);
    h.arrived_unix_ns = ek_door_arrived_unix_ns(r);
    h.created_unix_s = s->created_unix_s;
    h.api = r->api;
    h.include_usage = r->include_usage;
    h.asked = s->asked != NULL;
    h.response = s->asked && s->asked->response;
    h.whole = s->asked && s->asked->whole;
    h.echo_bytes = (uint32_t)echo.len;
    h.tier_bytes = (uint8_t)tier.len;
    h.model_bytes = (uint8_t)model.len;
    ek_buf_put(&text, (const char *)&h, sizeof h);
    ek_buf_str(&text, tier);
    ek_buf_str(&text, model);
    ek_buf_str(&text, echo);
    put(s, ek_buf_view(&text), ek_buf_view(&r->body));
    ek_buf_free(&text);
}

bool ek_door_tape_own(struct ek_door_stream *s, struct ek_tape *tape)
{
    MUST(!s->tape && !s->taped);
    s->taped = calloc(1, sizeof *s->taped);
    if (!s->taped) return false;
    s->taped->whole = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
    s->tape = tape;
    return true;
}

void ek_door_tape_forget(struct ek_door_stream *s)
{
    MUST(!s->tape);
    if (!s->taped) return;
    ek_buf_free(&s->taped->whole);
    free(s->taped);
    s->taped = NULL;
}

void ek_door_tape_begin(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_door_stream *s = ek_door_stream_of(r);
    if (!d->tapes || !s || (!s->lasting && !ek_door_stream_lingers(r))) return;
    struct ek_tape *tape = ek_tape_new(d->tapes, s->id, &ek_door_tape_events, s);
    if (tape && ek_door_tape_own(s, tape)) put_head(r, s);
    else if (tape) ek_tape_erase(&tape);
}

void ek_door_tape_event(struct ek_door_stream *s, struct ek_str payload)
{
    const struct ek_door_running *w = s->r ? s->r->running : NULL;
    struct ek_door_tape_event e;
    struct ek_door_taped *t = s->taped;
    if (!s->tape) return;
    memset(&e, 0, sizeof e);
    e.kind = EK_DOOR_TAPE_EVENT;
    bool ids = w && w->ids_whole && !t->ids_lost;
    uint32_t from = t->ids;
    t->ids_lost = t->ids_lost || !ids || w->id_count < from;
    e.ids = t->ids_lost ? UINT32_MAX : w->id_count - from;
    if (w) {
        e.thought_tokens = w->thought_tokens;
        e.answer_tokens = w->answer_tokens;
        e.prompt_tokens = w->prompt_tokens;
        e.cached_tokens = w->cached_tokens;
        e.thinking_budget = w->thinking_budget;
        e.shortened = w->shortened;
    }
    if (!t->whole.len) ek_buf_str(&t->whole, payload);
    else ek_stream_log_diff(ek_buf_view(&t->whole), payload, &e.front, &e.end);
    struct ek_buf text = ek_buf_make(EK_TAPE_FRAME_BYTES_MAX);
    ek_buf_put(&text, (const char *)&e, sizeof e);
    if (!t->ids_lost && e.ids) ek_buf_put(&text, (const char *)(w->ids + from), e.ids * sizeof *w->ids);
    if (!t->ids_lost) t->ids = w->id_count;
    put(s, ek_buf_view(&text), ek_str_make(payload.data + e.front, payload.len - e.front - e.end));
    ek_buf_free(&text);
}

void ek_door_tape_end(struct ek_door_stream *s)
{
    struct ek_door_tape_end e;
    if (!s->tape) return;
    memset(&e, 0, sizeof e);
    e.kind = EK_DOOR_TAPE_END;
    e.reason = (uint32_t)s->reason;
    put(s, ek_str_make((const char *)&e, sizeof e), ek_str_make(NULL, 0));
    if (s->taped) ek_buf_free(&s->taped->whole);
}

/* ---- the connection it came on ---------------------------------------------------------------------- */

bool ek_door_stream_taped(struct ek_door_request *r)
{
    struct ek_door_stream *s = r->running ? r->running->kept : NULL;
    if (!s || !s->tape) return false;
    if (r->detached) return true;
    MUST(r->http);
    struct ek_door_reader *rd = ek_door_reader_new(s, s->log.last);
    ek_http_release_body(r->http); /* what its connection was charged */
    if (!rd || !ek_door_place_charge(r, false)) {
        free(rd);
        untape(s);
        return false;
    }
    ek_door_commit(r);
    ek_door_reader_attach(rd, r->http);
    r->http = NULL;
    r->detached = true;
    return true;
}

/* ---- leaving ---------------------------------------------------------------------------------------- */

/* Its tape stays as it is, for the door that comes. Nothing is charged: that one will. */
bool ek_door_stream_put_off(struct ek_door_request *r)
{
    struct ek_door_stream *s = ek_door_stream_of(r);
    if (!s || !s->tape) return false;
    ek_tape_let_go(&s->tape);
    r->committed = false; /* so far as its money is concerned nothing was delivered */
    return true;
}
