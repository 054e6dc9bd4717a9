/* SPDX-License-Identifier: MIT */
/* An answer whose reader has left. What becomes of it is its tier's policy (`linger`):
 *
 *      connected ──connection breaks──▶ detached ──reader comes──▶ read ──last reader leaves──▶ detached
 *          │ linger 0                      └─ nobody for so long ─▶ stopped, charged for what was made
 *          └▶ stopped at once
 *
 * A detached request has no connection (http is NULL) and goes on as any other: its slot, its money and its
 * continuation are what they were. Its words are not written anywhere but into its stream, nobody's slowness
 * holds it back, and when it has ended there is no `gone` to free it: that is done here. */
#include "door/door_state.h"

#include "http/sse.h"

/* ---- somebody is there, or not ---------------------------------------------------------------------- */

static uint64_t linger_ns(const struct ek_door_request *r)
{
    const struct ek_tier_list *tiers = &r->door->config->tiers;
    return r->tier < tiers->count ? tiers->item[r->tier].linger_ns : 0;
}

bool ek_door_stream_lingers(const struct ek_door_request *r)
{
    return linger_ns(r) > 0;
}

void ek_door_stream_watch(struct ek_door_stream *s)
{
    struct ek_door *d = s->door;
    MUST_OBJ(s, EK_DOOR_STREAM_MAGIC);
    bool alone = s->r && s->r->detached && !s->lasting && s->readers.count == 0;
    alone = alone && s->r->state != EK_DOOR_PRICED; /* of before a restart: nobody can go on with it yet */
    d->streams.count.lingered += alone && !ek_timer_is_set(&s->linger);
    if (!alone) ek_timer_clear(d->loop, &s->linger);
    else ek_timer_set(d->loop, &s->linger, ek_door_now(d).mono_ns + linger_ns(s->r));
}

bool ek_door_stream_leave(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (d->closing || !w || !w->kept || r->state == EK_DOOR_DONE || r->state == EK_DOOR_REFUSED) return false;
    bool wanted = w->kept->lasting || w->kept->readers.count || linger_ns(r);
    if (!wanted || !r->http) return false;
    ek_http_release_body(r->http); /* what its connection was charged */
    if (!ek_door_place_charge(r, true)) return false;
    ek_door_forget_out(r); /* it is in the log */
    r->http = NULL;
    r->detached = r->committed = true;
    if (w->held_back && w->relay && !w->resting) ek_relay_pause(w->relay, false);
    w->held_back = false;
    ek_door_stream_watch(w->kept);
    return true;
}

void ek_door_stream_lingered(struct ek_timer *t)
{
    struct ek_door_stream *s = EK_CONTAINER(t, struct ek_door_stream, linger);
    MUST_OBJ(s, EK_DOOR_STREAM_MAGIC);
    MUST(s->r && s->r->detached && s->readers.count == 0);
    s->door->streams.count.stopped++;
    s->door->counters.gone++;
    ek_door_refuse_reason(s->r, EK_REASON_CLIENT_GONE, NULL);
}

bool ek_door_stream_next_door(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_buf text = ek_buf_make(4096), out = ek_buf_make(8192);
    struct ek_door_stream *s = ek_door_stream_of(r);
    if (!r->detached || !ek_door_stream_put_off(r)) return false;
    if (r->running) r->running->kept = NULL;
    s->r = NULL;
    struct ek_error e = {.reason = EK_REASON_DRAINING, .retry_after_ms = ek_door_short_wait_ms(d),
                         .message = EK_STR("The server is restarting: read this stream again in a moment, "
                                           "and it goes on.")};
    ek_error_write(&text, &e);
    ek_sse_put_data(&out, ek_buf_view(&text));
    ek_buf_lit(&out, "data: [DONE]\n\n");
    EK_LIST_EACH(&s->readers, it) {
        ek_door_reader_dismiss(EK_CONTAINER(it, struct ek_door_reader, link), ek_buf_view(&out));
    }
    ek_buf_free(&text);
    ek_buf_free(&out);
    ek_door_stream_found_ended(s, ek_door_now(d).mono_ns);
    ek_door_stream_forget(s); /* its tape has it */
    d->streams.count.put_off++;
    ek_door_let_go(r, false);
    ek_door_move(r, EK_DOOR_REFUSED);
    ek_door_stream_bury(d);
    return true;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

void ek_door_stream_bury(struct ek_door *d)
{
    ek_post_put(d->loop, &d->streams.bury);
}

void ek_door_stream_bury_post(struct ek_post *p)
{
    static const enum ek_door_state over[] = {EK_DOOR_DONE, EK_DOOR_REFUSED};
    struct ek_door *d = EK_CONTAINER(p, struct ek_door, streams.bury);
    MUST_OBJ(d, EK_DOOR_MAGIC);
    for (size_t i = 0; i < EK_COUNT(over); i++)
        EK_LIST_EACH(&d->state[over[i]], it) {
            struct ek_door_request *r = EK_CONTAINER(it, struct ek_door_request, link);
            if (!r->http) ek_door_request_free(r);
        }
    ek_door_rests(d);
}
