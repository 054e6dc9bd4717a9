/* SPDX-License-Identifier: MIT */
/* Words to those who wait. A streaming caller gets the desk's queue comments, and `: keep-alive` where
 * silence would grow too long; a caller who does not stream gets silence while a true status is still
 * possible, then 200 and a newline now and then (JSON allows white space in front). One timer a request
 * looks after all of it; on the hot path a written token only notes the time. */
#include "door/door_state.h"

#include <stdlib.h>

static void spoke(struct ek_door_request *r)
{
    uint64_t ms = ek_ns_since(ek_door_now(r->door).mono_ns, r->arrived_ns) / EK_MS_NS;
    r->spoke_ms = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX; /* 49 days */
}

bool ek_door_say(struct ek_door_request *r, struct ek_str bytes)
{
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(r->committed);
    spoke(r);
    if (r->detached) return true; /* whoever reads its stream hears of it there */
    if (ek_http_write(r->http, bytes) == EK_OK) return true;
    ek_door_forget_out(r);
    r->door->counters.reasons[EK_REASON_WRITE_STALL]++;
    ek_door_money_ending(r, EK_REASON_WRITE_STALL);
    ek_door_let_go(r, false);
    ek_door_move(r, EK_DOOR_REFUSED);
    ek_http_abort(r->http, EK_REASON_WRITE_STALL);
    return false;
}

void ek_door_commit(struct ek_door_request *r)
{
    struct ek_http_header header[EK_DOOR_HEADERS_MAX];
    char id[33];
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (r->committed) return;
    size_t count = ek_door_headers(r, r->stream, id, header);
    ek_http_start(r->http, 200, header, count, EK_HTTP_CHUNKED);
    r->committed = true;
    spoke(r);
}

static void put_ms(struct ek_buf *b, int64_t ms)
{
    if (ms < 0) ek_buf_lit(b, "null");
    else ek_buf_i64(b, ms);
}

static void put_ticket(const struct ek_door_request *r, struct ek_buf *b)
{
    char ticket[EK_DOOR_TICKET_BYTES + 1];
    ek_door_ticket_text(r, ticket);
    ek_buf_printf(b, ",\"ticket\":\"%s\",\"durable\":%s", ticket, r->durable ? "true" : "false");
}

void ek_door_tell(struct ek_door_request *r, const struct ek_action *a)
{
    struct ek_door *d = r->door;
    MUST(r->state == EK_DOOR_WAITING);
    MUST(d->text.len == 0);
    if (r->reading) { /* it has to wait: from here on it costs its body and little more */
        free(r->reading);
        r->reading = NULL;
        ek_buf_shrink(&r->body);
    }
    if (!r->place) {
        r->place = a->position;
        r->place_eta_ms = a->eta_ms > INT32_MAX ? INT32_MAX : (int32_t)a->eta_ms;
    }
    if (!r->running) r->ticketed = true; /* from here on there is a place worth coming back to */
    if (ek_door_keep_tell(r, a)) {
        ek_door_watch_silence(r);
        return;
    }
    if (!r->stream) return;
    bool lapsed = ek_door_keep_lapsed(r); /* "durable" was said, and is true no more */
    bool first = (!r->committed || lapsed) && r->ticketed && !r->running;
    ek_door_commit(r);
    ek_buf_lit(&d->text, ": queue {\"position\":");
    ek_buf_u64(&d->text, a->position);
    ek_buf_lit(&d->text, ",\"eta_ms\":");
    put_ms(&d->text, a->eta_ms);
    ek_buf_lit(&d->text, ",\"eta_p90_ms\":");
    put_ms(&d->text, a->eta_p90_ms);
    ek_buf_printf(&d->text, ",\"reason\":\"%s\"", ek_desk_why_name(a->why));
    if (first) put_ticket(r, &d->text);
    ek_buf_lit(&d->text, "}\n\n");
    d->counters.words++;
    ek_door_say(r, ek_buf_view(&d->text));
    ek_buf_clear(&d->text);
}

bool ek_door_tell_shortened(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    MUST(r->running && r->running->shortened);
    MUST(d->text.len == 0);
    if (!r->stream || !r->committed) return true; /* it will be in the head */
    ek_buf_printf(&d->text, ": thinking {\"budget\":%u}\n\n", r->running->thinking_budget);
    d->counters.words++;
    bool heard = ek_door_say(r, ek_buf_view(&d->text));
    ek_buf_clear(&d->text);
    return heard;
}

static uint64_t silence_due_ns(const struct ek_door_request *r)
{
    const struct ek_waiting_options *w = &r->door->config->waiting;
    if (r->asked && !r->detached) return UINT64_MAX; /* its one answer is yet to come */
    /* Between two attempts a true status is still hoped for; while an engine has it, hope is short. */
    bool unheard = r->stream && !r->committed && r->state == EK_DOOR_SENT && !r->running->again_ns;
    if (unheard && EK_DOOR_FIRST_WORD_NS < w->comment_ns)
        return r->running->sent_ns + EK_DOOR_FIRST_WORD_NS;
    uint64_t spoke_ns = r->arrived_ns + r->spoke_ms * EK_MS_NS;
    if (r->stream) return spoke_ns + w->comment_ns;
    return r->committed ? spoke_ns + w->newline_ns : r->arrived_ns + w->hold_ns;
}

void ek_door_watch_silence(struct ek_door_request *r)
{
    uint64_t due_ns = silence_due_ns(r);
    if (r->running && r->running->again_ns && r->running->again_ns < due_ns) due_ns = r->running->again_ns;
    if (r->running && r->running->hedge_ns && r->running->hedge_ns < due_ns) due_ns = r->running->hedge_ns;
    if (ek_door_keep_due_ns(r) < due_ns) due_ns = ek_door_keep_due_ns(r);
    if (ek_door_money_due_ns(r) < due_ns) due_ns = ek_door_money_due_ns(r);
    ek_timer_set(r->door->loop, &r->silence, due_ns);
}

/* What breaks a silence. A stream that an upstream holds without a token yet may be in prefill or in the
 * upstream's own short line (slots + 1); from here the two look alike, and the word covers both. */
static struct ek_str word(const struct ek_door_request *r)
{
    if (!r->stream) return EK_STR("\n");
    if (r->state == EK_DOOR_PRICED) /* its account's other requests hold what it needs */
        return EK_STR(": queue {\"position\":0,\"eta_ms\":null,\"eta_p90_ms\":null,"
                      "\"reason\":\"balance\"}\n\n");
    if (r->state == EK_DOOR_SENT)
        return EK_STR(": queue {\"position\":0,\"eta_ms\":null,\"eta_p90_ms\":null,"
                      "\"reason\":\"handed_over\"}\n\n");
    return EK_STR(": keep-alive\n\n");
}

void ek_door_silence(struct ek_timer *t)
{
    struct ek_door_request *r = EK_CONTAINER(t, struct ek_door_request, silence);
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(r->state == EK_DOOR_WAITING || ek_door_is_running(r) || (r->state == EK_DOOR_PRICED && r->paying));
    uint64_t now_ns = ek_door_now(r->door).mono_ns;
    if (r->running && r->running->again_ns && r->running->again_ns <= now_ns) {
        r->running->again_ns = 0;
        ek_door_again(r, EK_WHY_RETRYING);
    }
    if (r->running && r->running->hedge_ns && r->running->hedge_ns <= now_ns) ek_door_hedge_due(r);
    if (ek_door_money_due_ns(r) <= now_ns) {
        ek_door_money_late(r);
        return;
    }
    if (ek_door_keep_due_ns(r) <= now_ns) {
        ek_door_keep_late(r);
        if (r->state == EK_DOOR_REFUSED) return;
    }
    if (silence_due_ns(r) <= now_ns && r->door->writer != r) {
        ek_door_commit(r);
        r->door->counters.words++;
        if (!ek_door_say(r, word(r))) return;
    }
    ek_door_watch_silence(r);
}
