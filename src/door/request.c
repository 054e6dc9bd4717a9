/* SPDX-License-Identifier: MIT */
/* The life of a request. Each state is a list of the door, and ek_door_move is the only mover.
 *
 *   (HEAD) ──▶ BODY ──▶ PRICED ──▶ WAITING ──▶ SENT ──▶ STREAMING ──▶ SETTLING ──▶ DONE
 *     │         │         │          │ ▲         │          │            │          │
 *     │         │         │          │ └─ again ─┴──────────┘            │          └▶ freed when the
 *     ▼         ▼         ▼          ▼           ▼          ▼            ▼             client has all
 *   ──────────────────────────────── REFUSED(reason) ────────────────────────         ◀┘ (`gone`)
 *
 *   HEAD      has no struct: route.c decides on the headers alone
 *   BODY      bytes come, are kept and read in one pass
 *   PRICED    model, cost and prompt are known; nobody has been asked yet. Who has to wait for money of its
 *             own account waits here, not in line (money.h)
 *   WAITING   at the desk. Keeps its body and nothing else; comments are waiting.c's business. Without a
 *             connection its place is kept (place.c)
 *   SENT      an upstream has it, no token yet
 *   STREAMING tokens flow (stream.c)
 *   again     the engine died or refused for now: back before all that came later. What was delivered
 *             is kept as token ids, so that the answer goes on from there
 *   SETTLING  the answer is whole, and its end is held until what it cost is on the disk
 *   REFUSED, DONE: everything but this struct has been given back; `gone` frees it. */
#include "door/door_state.h"

#include "base/address.h"
#include "base/map.h"
#include "policy/cost.h"

#include <stdio.h>
#include <stdlib.h>

#define BODY_RESERVE_BYTES 65536 /* taken at once when a body announces itself */

static const bool legal[EK_DOOR_STATES][EK_DOOR_STATES] = {
    [EK_DOOR_BODY] = {[EK_DOOR_PRICED] = true, [EK_DOOR_REFUSED] = true},
    [EK_DOOR_PRICED] = {[EK_DOOR_WAITING] = true, [EK_DOOR_REFUSED] = true},
    [EK_DOOR_WAITING] = {[EK_DOOR_SENT] = true, [EK_DOOR_REFUSED] = true},
    [EK_DOOR_SENT] = {[EK_DOOR_STREAMING] = true, [EK_DOOR_WAITING] = true, [EK_DOOR_REFUSED] = true},
    [EK_DOOR_STREAMING] = {[EK_DOOR_SETTLING] = true, [EK_DOOR_WAITING] = true, [EK_DOOR_REFUSED] = true},
    [EK_DOOR_SETTLING] = {[EK_DOOR_DONE] = true, [EK_DOOR_REFUSED] = true},
};

void ek_door_move(struct ek_door_request *r, enum ek_door_state next)
{
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(r->state < EK_DOOR_STATES);
    MUST(legal[r->state][next]);
    ek_list_remove(&r->door->state[r->state], &r->link);
    ek_list_append(&r->door->state[next], &r->link);
    r->state = (uint8_t)next;
    r->door->counters.ended[next]++;
}

bool ek_door_is_running(const struct ek_door_request *r)
{
    return r->state == EK_DOOR_SENT || r->state == EK_DOOR_STREAMING;
}

void ek_door_hex(const uint8_t id[16], char out[33])
{
    static const char digit[] = "0123456789abcdef";
    for (size_t i = 0; i < 16; i++) {
        out[2 * i] = digit[id[i] >> 4];
        out[2 * i + 1] = digit[id[i] & 15];
    }
    out[32] = '\0';
}

void ek_door_id_hex(const struct ek_door_request *r, char out[33])
{
    ek_door_hex(r->id, out);
}

size_t ek_door_fresh_id(struct ek_door *d, char id[33], struct ek_http_header *out, size_t n)
{
    uint8_t random[16];
    ek_loop_random(d->loop, random, sizeof random);
    ek_door_hex(random, id);
    out[n++] = (struct ek_http_header){EK_STR("X-Request-Id"), ek_str_make(id, 32)};
    return n;
}

/* ---- birth, and what is given back ------------------------------------------------------------------ */

struct ek_door_request *ek_door_request_new(struct ek_door *d, struct ek_http_req *http,
                                            const struct ek_identity *who,
                                            const struct ek_door_wishes *wishes, enum ek_api api,
                                            int64_t body_bytes)
{
    struct ek_door_request *r = calloc(1, sizeof *r);
    struct ek_door_wishes *kept = malloc(sizeof *kept);
    if (!r || !kept) {
        free(r);
        free(kept);
        ek_door_refuse_http(d, http, &(struct ek_error){.reason = EK_REASON_NO_MEMORY});
        return NULL;
    }
    r->magic = EK_DOOR_REQUEST_MAGIC;
    r->door = d;
    r->http = http;
    r->body = ek_buf_make(d->config->limits.body_bytes_max);
    r->arrived_ns = ek_door_now(d).mono_ns;
    r->account = ek_identity_owner(who, d->hash_seed);
    r->window = who->window;
    *kept = *wishes;
    kept->body_bytes = body_bytes > 0 && body_bytes <= BODY_RESERVE_BYTES ? (uint32_t)body_bytes : 0;
    kept->user = who->user ? ek_hash(ek_str_of(who->user), d->hash_seed) : 0;
    kept->ledger_account = who->ledger_account;
    kept->ledger_key = who->ledger_key;
    kept->owner = who->proven ? 0 : ek_address_owner(who->peer, d->hash_seed);
    r->wishes = kept;
    r->tier = (uint8_t)who->tier;
    r->api = api & 3u;
    r->state = EK_DOOR_BODY;
    ek_timer_init(&r->silence, ek_door_silence);
    ek_loop_random(d->loop, r->id, sizeof r->id);
    ek_door_swap_mark(d, r->id);
    ek_list_append(&d->state[EK_DOOR_BODY], &r->link);
    ek_http_set_user(http, r);
    return r;
}

void ek_door_let_go(struct ek_door_request *r, bool served)
{
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    ek_timer_clear(d->loop, &r->silence);
    if (d->closing) (void)ek_door_stream_put_off(r);
    ek_door_limits_end(r);
    ek_door_money_let_go(r);
    if (r->ticket) {
        if (ek_door_is_running(r)) ek_desk_finished(d->desk, ek_door_now(d), r->ticket, served);
        else ek_desk_gone(d->desk, ek_door_now(d), r->ticket);
        r->ticket = 0;
        ek_door_pump(d);
    }
    ek_door_place_let_go(r);
    ek_door_stream_abandon(r);
    if (r->running) ek_door_running_free(&r->running);
    free(r->reading);
    r->reading = NULL;
    free(r->wishes);
    r->wishes = NULL;
    ek_buf_free(&r->body);
    if (r->http) ek_http_release_body(r->http);
}

void ek_door_gone(struct ek_door_request *r, enum ek_reason why)
{
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (ek_door_place_leave(r) || ek_door_stream_leave(r)) return;
    ek_door_money_ending(r, why);
    if (r->state != EK_DOOR_DONE && r->state != EK_DOOR_REFUSED) ek_door_note_end(r, why, NULL);
    if (r->state != EK_DOOR_DONE && r->state != EK_DOOR_REFUSED) {
        d->counters.gone++;
        d->counters.reasons[why]++;
        if (r->ticket && ek_door_is_running(r)) { /* it had its slot: gone, not finished */
            ek_desk_gone(d->desk, ek_door_now(d), r->ticket);
            r->ticket = 0;
            ek_door_pump(d);
        }
    }
    r->http = NULL;
    ek_door_request_free(r);
}

void ek_door_request_free(struct ek_door_request *r)
{
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(!r->http);
    ek_door_forget_out(r);
    ek_door_let_go(r, false);
    ek_list_remove(&r->door->state[r->state], &r->link);
    if (r->door->read_of == r) r->door->read_of = NULL;
    r->magic = 0;
    free(r);
}

struct ek_door_request *ek_door_request_of_record(struct ek_door *d, const uint8_t id[16])
{
    struct ek_door_request *r = calloc(1, sizeof *r);
    MUST(r); /* at the start, and as many as the line had */
    r->magic = EK_DOOR_REQUEST_MAGIC;
    r->door = d;
    r->body = ek_buf_make(d->config->limits.body_bytes_max);
    r->state = EK_DOOR_PRICED;
    ek_timer_init(&r->silence, ek_door_silence);
    memcpy(r->id, id, sizeof r->id);
    ek_list_append(&d->state[EK_DOOR_PRICED], &r->link);
    return r;
}

/* ---- BODY ------------------------------------------------------------------------------------------- */

static void refuse_fault(struct ek_door_request *r, const struct ek_request_fault *fault)
{
    struct ek_request_fault copy = *fault; /* the reader goes away while the answer is written */
    if (r->wishes && r->wishes->form == EK_DOOR_RESPONSE) ek_responses_rename_fault(&copy);
    struct ek_error e = ek_error_of_fault(&copy);
    ek_door_refuse(r, &e);
}

/* With the first byte, not before: who only sends a head shall cost no more than that. The body's
 * announced length is believed as far as it is small. */
static bool begin_reading(struct ek_door_request *r)
{
    if (r->reading) return true;
    r->reading = calloc(1, sizeof *r->reading);
    if (!r->reading) {
        ek_door_refuse_reason(r, EK_REASON_NO_MEMORY, NULL);
        return false;
    }
    ek_request_begin(&r->reading->reader, &r->reading->request, (enum ek_api)r->api);
    if (r->wishes->body_bytes) ek_buf_reserve(&r->body, r->wishes->body_bytes);
    return true;
}

void ek_door_body(struct ek_door_request *r, const char *data, size_t len)
{
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (r->state != EK_DOOR_BODY) return; /* refused; the rest of the body is not for us */
    /* The body is only compared with what is kept, or is to be translated first. */
    bool later = r->wishes->shown.given || r->wishes->form == EK_DOOR_RESPONSE;
    if (!later && !begin_reading(r)) return;
    ek_buf_put(&r->body, data, len);
    if (r->body.failed) {
        ek_door_refuse_reason(r, r->body.len + len > r->body.max ? EK_REASON_BODY_TOO_LARGE
                                                                : EK_REASON_NO_MEMORY, NULL);
        return;
    }
    if (!later && ek_request_feed(&r->reading->reader, data, len) == EK_REQUEST_BAD)
        refuse_fault(r, &r->reading->reader.fault);
}

/* ---- PRICED ----------------------------------------------------------------------------------------- */

void ek_door_put_models(const struct ek_door *d, struct ek_str asked, struct ek_buf *out)
{
    uint32_t listed = 0;
    ek_buf_lit(out, "The model '");
    ek_buf_str(out, asked);
    ek_buf_lit(out, "' does not exist here. There is:");
    for (uint32_t i = 0; i < ek_pool_models(d->pool) && listed < 20; i++) {
        const struct ek_pool_model *model = ek_pool_model(d->pool, i);
        if (model->alias || !model->upstream_mask) continue;
        ek_buf_printf(out, "%s %s", listed++ ? "," : "", model->name);
    }
    if (ek_door_auto_is(d, EK_STR("auto"))) ek_buf_printf(out, "%s auto", listed ? "," : "");
    ek_buf_lit(out, ".");
}

static void refuse_model(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_buf m = ek_buf_make(16384);
    if (!ek_pool_names_known(d->pool)) { /* who has not answered yet may have it: no fault of the caller's */
        ek_door_refuse_reason(r, EK_REASON_NO_UPSTREAM, NULL);
        return;
    }
    const struct ek_request *q = &r->reading->request;
    ek_door_put_models(d, ek_str_make(q->model, q->model_bytes), &m);
    struct ek_error e = {.reason = EK_REASON_MODEL_UNKNOWN, .message = ek_buf_view(&m), .param = "model"};
    ek_door_refuse(r, &e);
    ek_buf_free(&m);
}

/* The end of the body; *asked is the caller's from then on. False: r was refused. */
static bool read_whole(struct ek_door_request *r, struct ek_door_asked **asked)
{
    uint8_t form = r->wishes->form;
    if (form != EK_DOOR_PLAIN) {
        *asked = ek_door_asked_new();
        if (!*asked) {
            ek_door_refuse_reason(r, EK_REASON_NO_MEMORY, NULL);
            return false;
        }
        (*asked)->api = r->api;
        (*asked)->background = form == EK_DOOR_ASYNC;
        (*asked)->response = form == EK_DOOR_RESPONSE;
        if (form == EK_DOOR_RESPONSE && !ek_door_asked_translate(r, *asked)) return false;
    }
    if (!begin_reading(r)) return false;
    struct ek_request_reader *reader = &r->reading->reader;
    bool good = form != EK_DOOR_RESPONSE || /* the others were read as they came */
                ek_request_feed(reader, r->body.data, r->body.len) != EK_REQUEST_BAD;
    if (good && ek_request_finish(reader) == EK_REQUEST_DONE) return true;
    refuse_fault(r, &reader->fault);
    return false;
}

void ek_door_body_end(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (r->state != EK_DOOR_BODY) return;
    if (r->wishes->shown.given) {
        ek_door_move(r, EK_DOOR_PRICED);
        ek_door_return(r);
        return;
    }
    struct ek_door_asked *asked = NULL;
    if (!read_whole(r, &asked)) {
        ek_door_asked_free(&asked);
        return;
    }
    const struct ek_request *q = &r->reading->request;
    ek_door_move(r, EK_DOOR_PRICED);
    struct ek_str name = ek_str_make(q->model, q->model_bytes);
    r->automatic = ek_door_auto_is(d, name);
    uint32_t model = r->automatic ? ek_door_auto_model(r) : ek_pool_find_model(d->pool, name);
    if (model == EK_POOL_MODELS_MAX) {
        ek_door_asked_free(&asked);
        refuse_model(r);
        return;
    }
    r->model = (uint16_t)model;
    r->modelled = true;
    r->stream = q->stream;
    r->include_usage = q->include_usage;
    if (asked && !ek_door_asked_begin(r, &asked)) return;
    ek_door_arrive(r);
}

/* ---- SENT ------------------------------------------------------------------------------------------- */

/* Into d->read. False: it is none, which only a body from disk may be. */
static bool read_body(const struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_request_fault fault;
    if (d->read_of == r) return true;
    bool ok = ek_request_read(&d->read, (enum ek_api)r->api, ek_buf_view(&r->body), &fault);
    d->read_of = ok ? r : NULL;
    return ok;
}

const struct ek_request *ek_door_request_read(const struct ek_door_request *r)
{
    MUST(r->running);
    bool ok = read_body(r);
    MUST(ok); /* it was read before, and has not changed */
    return &r->door->read;
}

bool ek_door_make_running(struct ek_door_request *r)
{
    const struct ek_request *q = &r->door->read;
    if (r->reading) {
        r->door->read = r->reading->request;
        r->door->read_of = r;
        free(r->reading);
        r->reading = NULL;
    } else if (!read_body(r)) {
        return false;
    }
    struct ek_door_running *w = calloc(1, sizeof *w);
    MUST(w); /* bounded by the desk's running_max */
    w->n = ek_request_choices(q);
    w->max_tokens = q->max_tokens;
    w->prompt_guess = q->prompt_ids + ek_cost_guess_tokens(q->prompt_bytes[EK_SCRIPT_ASCII],
                                                           q->prompt_bytes[EK_SCRIPT_WIDE],
                                                           q->prompt_bytes[EK_SCRIPT_OTHER]);
    if (!r->keep) ek_buf_shrink(&r->body); /* nobody else reads it */
    w->ids_whole = true;
    w->said_thought = w->said_answer = ek_buf_make(EK_DOOR_KEPT_TEXT_MAX);
    char id[48];
    ek_door_answer_id(r, id);
    int n = snprintf(w->answer_id, sizeof w->answer_id, "\"%s\"", id);
    MUST(n > 0 && (size_t)n < sizeof w->answer_id);
    w->answer_id_bytes = (uint8_t)n;
    w->tail = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
    r->running = w;
    return true;
}

/* The first START: what was read of the body comes along, or is read again if it had to wait. */
static void make_running(struct ek_door_request *r)
{
    bool ok = ek_door_make_running(r);
    MUST(ok); /* it was read before, and has not changed */
    r->running->text_whole = ek_door_keeps_text(r);
}

static uint64_t seed_of(const struct ek_door_request *r)
{
    uint64_t seed;
    memcpy(&seed, r->id, sizeof seed);
    return seed >> 1; /* below 2^63 */
}

struct ek_relay_deadlines ek_door_deadlines(const struct ek_door *d)
{
    const struct ek_relay_options *o = &d->config->relay;
    return (struct ek_relay_deadlines){o->connect_ns, o->first_token_ns, o->stall_ns, o->floor_tokens};
}

void ek_door_relay_request(const struct ek_door_request *r, uint32_t upstream, struct ek_relay_request *q)
{
    const struct ek_door_running *w = r->running;
    struct ek_door *d = r->door;
    *q = (struct ek_relay_request){.upstream = upstream, .model = r->model,
                                   .request = ek_door_request_read(r),
                                   .body = ek_buf_view(&r->body), .seed = seed_of(r),
                                   .cache_salt = ek_desk_whose(d->desk, r->ticket) ^ d->hash_seed,
                                   .shorten = w->shortened, .thinking_budget = w->thinking_budget,
                                   .elsewhere = ek_door_reach(r) & ~(1ull << upstream)};
    ek_door_id_hex(r, q->request_id);
}

void ek_door_start_request(struct ek_door_request *r, const struct ek_action *start)
{
    uint32_t upstream = start->upstream;
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(r->state == EK_DOOR_WAITING);
    uint64_t now_ns = ek_door_now(d).mono_ns;
    if (ek_door_money_start(r, start) != EK_DOOR_PAID) return;
    if (!r->running && ek_door_keep_start(r, start)) return;
    MUST((r->http || r->detached) && !r->starting);
    if (!r->running) {
        make_running(r);
        r->running->shortened = start->thinking_budget_tokens != EK_DESK_THINKING_UNLIMITED;
        r->running->thinking_budget = start->thinking_budget_tokens;
        ek_door_stream_open(r);
        d->counters.shortened[r->tier] += r->running->shortened;
        ek_histogram_add(&d->wait_s, (double)ek_ns_since(now_ns, r->arrived_ns) * 1e-9);
    }
    struct ek_door_running *w = r->running;
    ek_door_move(r, EK_DOOR_SENT);
    r->attempts++;
    w->again_ns = 0;
    w->sent_ns = now_ns;
    w->upstream = upstream;
    w->ours = ek_pool_is_ours(d->pool, upstream);
    w->borrowed = ek_pool_loan(d->pool, upstream)->borrowed;
    w->held_back = w->resting = false;
    w->money_at = ek_door_money_tokens(r);
    if (!ek_pool_their_name(d->pool, upstream, r->model)) { /* a reload took it away, perhaps only here */
        r->attempts--;
        w->only_mask = ek_door_reach(r);
        if (w->only_mask) ek_door_again(r, EK_WHY_RETRYING);
        else ek_door_refuse_reason(r, EK_REASON_MODEL_UNKNOWN, NULL);
        return;
    }
    struct ek_relay_deadlines deadlines = ek_door_deadlines(d);
    struct ek_relay_request q;
    ek_door_relay_request(r, upstream, &q);
    if (!ek_door_go_on(r, &q)) {
        ek_door_refuse_reason(r, EK_REASON_UPSTREAM_CUT, NULL);
        return;
    }
    if (r->attempts == 1) ek_pool_first_sent(d->pool);
    if (w->shortened && r->attempts == 1 && !ek_door_tell_shortened(r)) return;
    if (q.reprompts && !ek_door_tell_reprompted(r)) return;
    ek_door_note_start(r);
    ek_door_borrow_sent(r, start);
    w->relay = ek_relay_start(d->pool, d->loop, d->client, &q, &deadlines, &ek_door_relay_events, r);
    ek_door_hedge_arm(r);
    ek_door_watch_silence(r);
}

void ek_door_again(struct ek_door_request *r, enum ek_desk_why why)
{
    struct ek_door *d = r->door;
    MUST(ek_door_is_running(r));
    MUST(r->running && !r->running->relay && !r->running->second);
    r->running->hedge_ns = 0;
    ek_desk_back(d->desk, ek_door_now(d), r->ticket, why);
    ek_desk_only(d->desk, r->ticket, r->running->only_mask);
    r->running->only_mask = 0;
    ek_door_move(r, EK_DOOR_WAITING);
    ek_door_pump(d);
}
