/* SPDX-License-Identifier: MIT */
/* What became of a request, noted as it happens and told to the account that asked (`GET
 * /v1/requests/ID`): why it was refused, waited, was shortened or moved, and what it cost. */
#include "door/door_state.h"

#include "base/json_write.h"
#include "door/money.h"

#include <stdio.h>

/* ---- noting ------------------------------------------------------------------------------------------ */

static void write_down(const struct ek_door_request *r, struct ek_request_record *n)
{
    n->account = r->account;
    n->arrived_unix_ns = ek_door_arrived_unix_ns(r);
    if (!n->model) {
        n->model = ek_records_name(r->door->records, ek_pool_model(r->door->pool, r->model)->name);
        n->when = ek_records_name(r->door->records, ek_door_price(r)->when);
    }
    n->position = r->place;
    if (r->place) n->eta_ms = r->place_eta_ms;
}

struct ek_request_record *ek_door_note(const struct ek_door_request *r)
{
    if (!r->modelled) return NULL; /* it was never understood: its answer says all there is */
    struct ek_request_record *n = ek_records_open(r->door->records, r->id);
    if (n) write_down(r, n);
    return n;
}

/* One that has not begun: it has no record, because a line of ten thousand would cost two megabytes. */
static const struct ek_request_record *in_line(struct ek_door *d, const uint8_t id[16],
                                               struct ek_request_record *out)
{
    static const enum ek_door_state states[] = {EK_DOOR_PRICED, EK_DOOR_WAITING};
    for (size_t s = 0; s < EK_COUNT(states); s++)
        EK_LIST_EACH(&d->state[states[s]], it) {
            const struct ek_door_request *r = EK_CONTAINER(it, struct ek_door_request, link);
            if (!r->modelled || memcmp(r->id, id, sizeof r->id) != 0) continue;
            *out = (struct ek_request_record){.eta_ms = -1};
            memcpy(out->id, id, sizeof out->id);
            write_down(r, out);
            out->waited_ms = ek_ns_since(ek_door_now(d).mono_ns, r->arrived_ns) / EK_MS_NS;
            return out;
        }
    return NULL;
}

void ek_door_note_start(const struct ek_door_request *r)
{
    struct ek_request_record *n = ek_door_note(r);
    const struct ek_door_running *w = r->running;
    MUST(w);
    if (!n) return;
    if (!n->started) n->waited_ms = ek_ns_since(w->sent_ns, r->arrived_ns) / EK_MS_NS;
    n->started = true;
    n->shortened = w->shortened;
    n->thinking_budget = w->thinking_budget;
    n->attempts++;
    n->continued = w->went_on;
    n->reprompted = w->reprompted;
    uint16_t name = ek_records_name(r->door->records, ek_pool_name(r->door->pool, w->upstream));
    if (n->upstreams && n->upstream[n->upstreams - 1] == name) return;
    if (n->upstreams < EK_RECORD_UPSTREAMS_MAX) n->upstream[n->upstreams++] = name;
}

void ek_door_note_hedge(const struct ek_door_request *r, bool won)
{
    struct ek_request_record *n = ek_door_note(r);
    const struct ek_door_running *w = r->running;
    if (!n) return;
    uint64_t ms = ek_ns_since(ek_door_now(r->door).mono_ns, w->sent_ns) / EK_MS_NS;
    if (!won) n->hedge_ms = ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
    n->hedged = true;
    n->hedge_won = won;
    if (won && n->upstreams < EK_RECORD_UPSTREAMS_MAX)
        n->upstream[n->upstreams++] = ek_records_name(r->door->records,
                                                       ek_pool_name(r->door->pool, w->upstream));
}

void ek_door_note_end(const struct ek_door_request *r, enum ek_reason reason, const struct ek_door_bill *bill)
{
    struct ek_door_bill partly = {0};
    struct ek_request_record *n = ek_door_note(r);
    if (!n || n->ended_unix_ns) return;
    n->ended_unix_ns = ek_door_now(r->door).unix_ns;
    n->reason = reason;
    n->whole = bill != NULL;
    n->charged = r->paying;
    if (!n->started) n->waited_ms = ek_ns_since(ek_door_now(r->door).mono_ns, r->arrived_ns) / EK_MS_NS;
    bool made = r->running && r->running->thought_tokens + r->running->answer_tokens > 0;
    if (!bill && made) ek_door_bill_so_far(r, &partly);
    if (!bill) bill = &partly;
    n->prompt_tokens = bill->prompt_tokens;
    n->cached_tokens = bill->cached_tokens;
    n->thought_tokens = bill->thought_tokens;
    n->output_tokens = bill->output_tokens;
    n->cost_nano = bill->cost_nano;
    if (n->hedged) n->hedge_nano = ek_door_hedge_nano(r, bill->prompt_tokens);
    if (n->hedge_nano > 0) r->door->counters.hedge_nano += (uint64_t)n->hedge_nano;
    if (r->ticket) n->borrowed_nano = ek_desk_lent_nano(r->door->desk, r->ticket);
}

/* ---- telling ----------------------------------------------------------------------------------------- */

static unsigned hex_digit(char c)
{
    if (c >= '0' && c <= '9') return (unsigned)(c - '0');
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

bool ek_door_read_id(struct ek_str text, uint8_t id[16])
{
    if (ek_str_starts(text, EK_STR("chatcmpl-"))) text = ek_str_skip(text, 9);
    else if (ek_str_starts(text, EK_STR("resp_"))) text = ek_str_skip(text, 5);
    else if (ek_str_starts(text, EK_STR("cmpl-"))) text = ek_str_skip(text, 5);
    if (text.len != 32) return false;
    for (size_t i = 0; i < 16; i++) {
        unsigned high = hex_digit(text.data[2 * i]), low = hex_digit(text.data[2 * i + 1]);
        if (high > 15 || low > 15) return false;
        id[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static const char *state_of(const struct ek_request_record *n)
{
    if (!n->ended_unix_ns) return n->started ? "running" : "waiting";
    if (n->whole) return "done";
    bool left = n->reason == EK_REASON_CLIENT_GONE || n->reason == EK_REASON_CLIENT_RESET ||
                n->reason == EK_REASON_WRITE_STALL;
    return left ? "left" : n->started ? "failed" : "refused";
}

static void put_text(struct ek_buf *b, const char *name, const char *text)
{
    ek_buf_printf(b, ",\"%s\":", name);
    if (text && *text) ek_json_put_string(b, ek_str_of(text));
    else ek_buf_lit(b, "null");
}

static void put_queue(struct ek_buf *b, const struct ek_request_record *n)
{
    ek_buf_printf(b, ",\"queue\":{\"position\":%u,\"eta_ms\":", n->position);
    if (n->position && n->eta_ms >= 0) ek_buf_i64(b, n->eta_ms);
    else ek_buf_lit(b, "null");
    ek_buf_printf(b, ",\"waited_ms\":%llu}", (unsigned long long)n->waited_ms);
}

static void put_work(const struct ek_door *d, struct ek_buf *b, const struct ek_request_record *n)
{
    ek_buf_lit(b, ",\"thinking_budget\":");
    if (n->shortened) ek_buf_u64(b, n->thinking_budget);
    else ek_buf_lit(b, "null");
    ek_buf_printf(b, ",\"attempts\":%u,\"continued\":%s,\"reprompted\":%s,\"upstreams\":[", n->attempts,
                  n->continued ? "true" : "false", n->reprompted ? "true" : "false");
    for (unsigned i = 0; i < n->upstreams; i++) {
        if (i) ek_buf_char(b, ',');
        ek_json_put_string(b, ek_str_of(ek_records_text(d->records, n->upstream[i])));
    }
    ek_buf_printf(b, "],\"usage\":{\"prompt_tokens\":%llu,\"cached_tokens\":%llu,\"reasoning_tokens\":%llu,"
                  "\"completion_tokens\":%llu}", (unsigned long long)n->prompt_tokens,
                  (unsigned long long)n->cached_tokens, (unsigned long long)n->thought_tokens,
                  (unsigned long long)n->output_tokens);
}

static void put_cost(const struct ek_door *d, struct ek_buf *b, const struct ek_request_record *n)
{
    char amount[EK_DOOR_AMOUNT_BYTES];
    ek_buf_printf(b, ",\"cost\":{\"amount\":\"%s\",\"charged\":%s", ek_door_amount(n->cost_nano, amount),
                  n->charged ? "true" : "false");
    put_text(b, "currency", d->config->ledger.currency);
    put_text(b, "when", ek_records_text(d->records, n->when));
    ek_buf_char(b, '}');
}

static void put_borrowed(struct ek_buf *b, const struct ek_request_record *n)
{
    char amount[EK_DOOR_AMOUNT_BYTES];
    ek_buf_lit(b, ",\"borrowed\":");
    if (!n->borrowed_why) ek_buf_lit(b, "null");
    else
        ek_buf_printf(b, "{\"why\":\"%s\",\"cost\":\"%s\"}",
                      ek_overflow_name((enum ek_overflow_why)n->borrowed_why),
                      ek_door_amount(n->borrowed_nano, amount));
}

static void put_hedge(struct ek_buf *b, const struct ek_request_record *n)
{
    char amount[EK_DOOR_AMOUNT_BYTES];
    ek_buf_lit(b, ",\"hedge\":");
    if (!n->hedged) ek_buf_lit(b, "null");
    else
        ek_buf_printf(b, "{\"after_ms\":%u,\"won\":%s,\"cost\":\"%s\"}", n->hedge_ms,
                      n->hedge_won ? "true" : "false", ek_door_amount(n->hedge_nano, amount));
}

static void write_record(const struct ek_door *d, struct ek_buf *b, const struct ek_request_record *n)
{
    char hex[33];
    ek_door_hex(n->id, hex);
    ek_buf_printf(b, "{\"id\":\"%s\",\"object\":\"request\",\"created\":%llu,\"state\":\"%s\"", hex,
                  (unsigned long long)(n->arrived_unix_ns / EK_S_NS), state_of(n));
    put_text(b, "model", ek_records_text(d->records, n->model));
    put_text(b, "reason", n->reason == EK_REASON_NONE ? NULL : ek_reason_code(n->reason));
    put_text(b, "message", n->reason == EK_REASON_NONE ? NULL : ek_reason_text(n->reason));
    put_queue(b, n);
    put_work(d, b, n);
    put_cost(d, b, n);
    put_borrowed(b, n);
    put_hedge(b, n);
    ek_buf_lit(b, "}\n");
}

void ek_door_reply_request(struct ek_door *d, struct ek_http_req *http, const struct ek_identity *who,
                           struct ek_str id_text)
{
    uint8_t id[16];
    struct ek_request_record waiting;
    const struct ek_request_record *n = NULL;
    if (ek_door_read_id(id_text, id)) {
        n = ek_records_find(d->records, id);
        if (!n) n = in_line(d, id, &waiting);
    }
    uint64_t account = ek_identity_owner(who, d->hash_seed);
    if (!n || n->account != account) { /* another's is answered as none at all */
        struct ek_error e = {.reason = EK_REASON_NOT_FOUND,
            .message = EK_STR("There is no such request of yours, or it was so long ago that it is "
                              "forgotten.")};
        ek_door_refuse_http(d, http, &e);
        return;
    }
    MUST(d->text.len == 0);
    write_record(d, &d->text, n);
    ek_door_reply_json(d, http, 200);
}
