/* SPDX-License-Identifier: MIT */
/* A place that is kept: what happens when a waiting client's connection breaks, and when it is back.
 *
 *      WAITING, connected ──connection breaks──▶ WAITING, absent ──grace or patience ends──▶ forgotten
 *            ▲                                        │
 *            └──── ticket, or the same request ───────┘          (a restart makes absent ones too: restore.c)
 *
 * An absent request has no connection (http is NULL) and its timer rests; the desk passes it by. Its body
 * stays on disk when the journal has it, else in memory, where it is charged to the budget of bodies. Who is
 * back gets a request of its own, which takes over everything of the old one: so no path but
 * ek_door_take_place knows of both, and whoever came by ticket and whoever was known by its repeat go the
 * same way from there. */
#include "door/door_state.h"

#include <stdio.h>
#include <stdlib.h>

#define AWAY_PART 4u /* of the budget: who is away takes a quarter at most, the rest is for who is here */

static uint64_t grace_ns(const struct ek_door_request *r)
{
    const struct ek_tier_list *tiers = &r->door->config->tiers;
    return r->tier < tiers->count ? tiers->item[r->tier].return_grace_ns : 0;
}

/* ---- the body while nobody is there ---------------------------------------------------------- */

/* away: its connection is gone, so it may only have a part. */
static bool charge(struct ek_door_request *r, bool away)
{
    struct ek_http_budget *b = &r->door->budget;
    MUST(!r->charged);
    if (b->used_bytes + r->body.len > b->max_bytes) return false;
    if (away && r->door->away_bytes + r->body.len > b->max_bytes / AWAY_PART) return false;
    r->door->away_bytes += r->body.len;
    b->used_bytes += r->body.len;
    if (b->used_bytes > b->peak_bytes) b->peak_bytes = b->used_bytes;
    r->charged = true;
    return true;
}

bool ek_door_place_charge(struct ek_door_request *r, bool away)
{
    return r->charged || charge(r, away);
}

void ek_door_place_discharge(struct ek_door_request *r)
{
    struct ek_http_budget *b = &r->door->budget;
    if (!r->charged) return;
    MUST(b->used_bytes >= r->body.len && r->door->away_bytes >= r->body.len);
    r->door->away_bytes -= r->body.len;
    b->used_bytes -= r->body.len;
    r->charged = false;
}

/* On disk: then it need not be in memory too. */
void ek_door_place_lighten(struct ek_door_request *r)
{
    MUST(!r->http && r->state == EK_DOOR_WAITING);
    if (!r->durable || r->keep) return;
    ek_door_place_discharge(r);
    ek_buf_free(&r->body);
}

/* ---- leaving --------------------------------------------------------------------------------- */

bool ek_door_place_leave(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    struct ek_now now = ek_door_now(d);
    uint64_t grace = grace_ns(r);
    if (d->closing || r->state != EK_DOOR_WAITING || !r->ticketed || r->running || r->starting) return false;
    if (!grace) return false;
    (void)ek_door_keep_lapsed(r);
    ek_http_release_body(r->http); /* what its connection was charged */
    bool on_disk = r->durable && !r->keep;
    if (!on_disk && !r->charged && !charge(r, true)) return false;
    if (!ek_desk_absent(d->desk, now, r->ticket, now.mono_ns + grace)) {
        ek_door_place_discharge(r);
        return false;
    }
    ek_door_forget_out(r);
    ek_timer_clear(d->loop, &r->silence);
    r->http = NULL;
    r->committed = false;
    ek_door_keep_untold(r);
    ek_door_place_lighten(r);
    d->places.left++;
    ek_door_pump(d);
    return true;
}

/* Its grace or its patience is over, or the door leaves. The desk has forgotten it already. */
void ek_door_place_forget(struct ek_door_request *r, enum ek_reason why)
{
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(!r->http && r->ticket == 0);
    d->places.forgotten++;
    d->counters.gone++;
    d->counters.reasons[why]++;
    ek_door_note_end(r, why, NULL);
    ek_door_request_free(r);
}

/* ---- coming back ----------------------------------------------------------------------------- */

void ek_door_take_place(struct ek_door_request *r, struct ek_door_request *old, uint32_t ticket)
{
    uint8_t id[16];
    struct ek_door *d = r->door;
    MUST_OBJ(old, EK_DOOR_REQUEST_MAGIC);
    MUST(r != old && r->ticket == 0 && old->ticket == ticket);
    MUST(old->state == EK_DOOR_WAITING && !old->running && !old->starting);
    bool ticketed = old->ticketed, filed = old->filed;
    ek_door_ticket_take(old); /* the ticket goes with the id */
    memcpy(id, old->id, sizeof id);
    memcpy(old->id, r->id, sizeof id);
    memcpy(r->id, id, sizeof id);
    r->ticketed = ticketed;
    if (filed) (void)ek_door_ticket_file(r); /* else it is found by the ticket it is given now */
    r->ticket = ticket;
    if (r->automatic) r->model = old->model; /* it is that model's line */
    r->arrived_ns = old->arrived_ns; /* its silence begins now, for nobody has heard this connection yet */
    r->spoke_ms = (uint32_t)(ek_ns_since(ek_door_now(d).mono_ns, r->arrived_ns) / EK_MS_NS);
    r->place = old->place;
    r->place_eta_ms = old->place_eta_ms;
    r->durable = old->durable;
    ek_door_keep_pass(old, r);
    ek_door_money_pass(old, r);
    ek_door_limits_pass(old, r);
    old->ticket = 0;
    old->durable = false;
    if (old->http) {
        ek_door_refuse_reason(old, EK_REASON_SUPERSEDED, NULL);
        return;
    }
    d->places.returned++;
    ek_door_request_free(old);
}

static void refuse_ticket(struct ek_door_request *r, enum ek_reason why)
{
    struct ek_error e = {.reason = why, .param = "X-Queue-Ticket"};
    if (why == EK_REASON_NO_UPSTREAM) {
        e.message = EK_STR("Your place is kept, and no engine is up yet; come back with the ticket.");
        e.retry_after_ms = ek_door_short_wait_ms(r->door);
    }
    ek_door_refuse(r, &e);
}

/* Whose ticket is it, and is there still a place behind it? NULL: *why says what is wrong. */
static struct ek_door_request *find(const struct ek_door_request *r, enum ek_reason *why)
{
    const struct ek_door *d = r->door;
    const struct ek_door_shown_ticket *t = &r->wishes->shown;
    struct ek_door_request *old = ek_door_ticket_find(d, t);
    *why = ek_door_ticket_was_used(d, t, r->account) ? EK_REASON_TICKET_USED : EK_REASON_TICKET_UNKNOWN;
    if (!old || old->account != r->account) return NULL;
    *why = EK_REASON_NO_UPSTREAM;
    if (old->state == EK_DOOR_PRICED) return NULL; /* restored, and its model is not known yet */
    *why = EK_REASON_TICKET_USED;
    if (old->state != EK_DOOR_WAITING || old->running || old->starting) return NULL;
    *why = EK_REASON_TICKET_BODY;
    if (old->api != r->api) return NULL;
    return old;
}

/* Everything is right: r stands where old stood. `body` is r's from here on, if it sent none. */
static void stand_in(struct ek_door_request *r, struct ek_door_request *old)
{
    struct ek_door *d = r->door;
    r->model = old->model;
    r->modelled = true;
    r->automatic = old->automatic;
    r->tier = old->tier;
    r->stream = old->stream;
    r->include_usage = old->include_usage;
    r->retries = old->retries;
    if (r->body.len == 0) { /* the memory itself, for the journal may be reading it */
        ek_buf_free(&r->body);
        r->body = old->body;
        r->charged = old->charged;
        old->body = ek_buf_make(r->body.max);
        old->charged = false;
    }
    uint64_t deadline_ns = r->wishes->deadline_ns;
    free(r->wishes);
    r->wishes = NULL;
    ek_desk_present(d->desk, ek_door_now(d), old->ticket, (uint64_t)(uintptr_t)r);
    ek_door_take_place(r, old, old->ticket);
    if (deadline_ns != UINT64_MAX) ek_desk_deadline(d->desk, r->ticket, deadline_ns);
    ek_door_move(r, EK_DOOR_WAITING);
    ek_door_watch_silence(r);
    ek_door_pump(d);
}

void ek_door_return(struct ek_door_request *r)
{
    enum ek_reason why;
    MUST(r->state == EK_DOOR_PRICED && r->wishes && r->wishes->shown.given);
    struct ek_door_request *old = find(r, &why);
    if (!old) {
        refuse_ticket(r, why);
        return;
    }
    if (old->body.len == 0) { /* only on disk */
        ek_door_keep_fetch(r, old);
        return;
    }
    bool same = r->body.len == 0 ||
                (r->body.len == old->body.len && memcmp(r->body.data, old->body.data, r->body.len) == 0);
    if (same) stand_in(r, old);
    else refuse_ticket(r, EK_REASON_TICKET_BODY);
}

void ek_door_return_fetched(struct ek_door_request *r, struct ek_str body)
{
    enum ek_reason why;
    MUST(r->state == EK_DOOR_PRICED && r->wishes && r->wishes->shown.given);
    struct ek_door_request *old = find(r, &why);
    if (!old) { /* it may have ended while the disk was read */
        refuse_ticket(r, why);
        return;
    }
    if (r->body.len && body.data && !ek_str_eq(ek_buf_view(&r->body), body)) {
        refuse_ticket(r, EK_REASON_TICKET_BODY);
        return;
    }
    if (r->body.len == 0) {
        ek_buf_str(&r->body, body);
        if (!body.len || r->body.failed) {
            struct ek_error e = {.reason = EK_REASON_TICKET_BODY, .param = "X-Queue-Ticket",
                                 .message = EK_STR("What you sent is kept no longer; send it with the "
                                                   "ticket, and the place is yours.")};
            ek_door_refuse(r, &e);
            return;
        }
        if (!charge(r, false)) {
            ek_door_refuse_reason(r, EK_REASON_BODY_BUDGET, NULL);
            return;
        }
    }
    stand_in(r, old);
}

/* ---- farewell -------------------------------------------------------------------------------- */

bool ek_door_place_outlives(const struct ek_door_request *r)
{
    return r->door->draining && r->state == EK_DOOR_WAITING && r->ticketed && r->durable && !r->running &&
           !r->starting;
}

void ek_door_place_farewell(const struct ek_door_request *r, struct ek_error *e, char *extra, size_t cap)
{
    char ticket[EK_DOOR_TICKET_BYTES + 1];
    MUST(ek_door_place_outlives(r));
    ek_door_ticket_text(r, ticket);
    int n = snprintf(extra, cap, ",\"ticket\":\"%s\"", ticket);
    MUST(n > 0 && (size_t)n < cap);
    e->extra = ek_str_make(extra, (size_t)n);
    if (e->reason == EK_REASON_DRAINING)
        e->message = EK_STR("The server is restarting and your place is kept: come back with this ticket.");
}

/* ---- ending ---------------------------------------------------------------------------------- */

void ek_door_place_let_go(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    bool begun = r->running || r->starting;
    bool stays = (d->draining || d->closing) && !begun;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    ek_door_keep_drop(r, stays);
    if (r->ticketed && begun) ek_door_ticket_use_up(d, r->id, r->account);
    ek_door_ticket_take(r);
    if (r->durable && !stays) {
        struct ek_journal_name name = {.part = 0};
        memcpy(name.key, r->id, sizeof name.key);
        ek_journal_erase(d->journal, &name);
    }
    r->durable = false;
    ek_door_place_discharge(r);
}
