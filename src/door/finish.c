/* SPDX-License-Identifier: MIT */
/* The end of an answer: what it has used, what that costs, and its last bytes. They are held until the cost
 * is on the disk, where somebody is charged; a client that leaves meanwhile has had all but the end.
 *
 * An answer whose money ends is cut there like one that reached its length, and says the reason beside it. */
#include "door/choices.h"

#include "http/sse.h"
#include "policy/cost.h"

#include <stdio.h>

#define END_REASON_BYTES 64u

/* What was used, as exactly as it is known: the upstream's word, else our own count. */
static struct ek_usage usage_of(const struct ek_door_request *r)
{
    const struct ek_door_running *w = r->running;
    if (w->saw_usage) return w->usage;
    if (w->prompt_tokens) /* our engine: all of it is exact */
        return (struct ek_usage){.prompt_tokens = w->prompt_tokens, .cached_tokens = w->cached_tokens,
                                 .completion_tokens = w->thought_tokens + w->answer_tokens,
                                 .reasoning_tokens = w->thought_tokens};
    uint64_t told = w->usage.prompt_tokens; /* before its last token; the prompt is the same all the same */
    return (struct ek_usage){
        .prompt_tokens = told ? told : w->prompt_guess, .cached_tokens = told ? w->usage.cached_tokens : 0,
        .completion_tokens = w->thought_tokens + w->answer_tokens,
        .reasoning_tokens = w->thought_tokens, .estimated = true};
}

static struct ek_door_bill bill_of(const struct ek_door_request *r, const struct ek_usage *u)
{
    const struct ek_desk_price *fixed = ek_door_money_price(r);
    uint64_t cached = u->cached_tokens < u->prompt_tokens ? u->cached_tokens : u->prompt_tokens;
    uint64_t thought = u->reasoning_tokens ? u->reasoning_tokens : r->running->thought_tokens;
    if (thought > u->completion_tokens) thought = u->completion_tokens;
    struct ek_price_options price = *ek_door_price(r);
    if (fixed) {
        price.cached_pico = fixed->cached_pico;
        price.prompt_pico = fixed->prompt_pico;
        price.output_pico = fixed->output_pico;
    }
    return (struct ek_door_bill){
        .prompt_tokens = u->prompt_tokens, .cached_tokens = cached, .thought_tokens = thought,
        .output_tokens = u->completion_tokens,
        .cost_nano = ek_cost_nano(&price, cached, u->prompt_tokens - cached, u->completion_tokens)};
}

int64_t ek_door_cost_shown(const struct ek_door_request *r, const struct ek_usage *u)
{
    struct ek_door_bill b = bill_of(r, u);
    return ek_door_money_pays(r) ? b.cost_nano : 0;
}

void ek_door_bill_so_far(const struct ek_door_request *r, struct ek_door_bill *out)
{
    struct ek_usage u = usage_of(r);
    MUST(r->running);
    /* Usage that was told earlier in the stream may be older than the last token. */
    uint64_t made = r->running->thought_tokens + r->running->answer_tokens;
    if (u.completion_tokens < made) u.completion_tokens = made;
    *out = bill_of(r, &u);
}

/* The usage of a whole answer, into w->usage; counted, and told to the desk. */
static struct ek_door_bill settle_usage(struct ek_door_request *r, enum ek_reason ending)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    d->counters.unpriced += !w->saw_usage;
    w->usage = usage_of(r);
    w->usage.shortened = w->shortened;
    w->usage.reprompted = w->reprompted;
    w->usage.thinking_budget = w->thinking_budget;
    w->usage.priced = r->paying;
    const struct ek_usage *u = &w->usage;
    struct ek_door_bill b = bill_of(r, u);
    w->usage.cost_nano = ek_door_money_pays(r) ? b.cost_nano : 0;
    struct ek_used used = {.prompt_tokens = (uint32_t)u->prompt_tokens,
                           .cached_tokens = (uint32_t)b.cached_tokens,
                           .thought_tokens = (uint32_t)b.thought_tokens,
                           .output_tokens = (uint32_t)u->completion_tokens};
    if (ending == EK_REASON_NONE && u->prompt_tokens <= UINT32_MAX && u->completion_tokens <= UINT32_MAX)
        ek_desk_used(d->desk, ek_door_now(d), r->ticket, &used);
    d->counters.prompt_tokens += u->prompt_tokens - b.cached_tokens;
    d->counters.cached_tokens += b.cached_tokens;
    d->counters.thought_tokens += b.thought_tokens;
    d->counters.answer_tokens += u->completion_tokens - b.thought_tokens;
    d->counters.cost_nano += (uint64_t)b.cost_nano;
    char hex[33];
    ek_door_id_hex(r, hex);
    ek_debug(d->log, "%s done: %s, %llu prompt tokens (%llu cached), %llu thought, %llu answer, "
             "%lld nano, attempt %u", hex, ek_pool_model(d->pool, r->model)->name,
             (unsigned long long)u->prompt_tokens, (unsigned long long)b.cached_tokens,
             (unsigned long long)b.thought_tokens,
             (unsigned long long)(u->completion_tokens - b.thought_tokens), (long long)b.cost_nano,
             r->attempts);
    return b;
}

static void finish_stream(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    (void)ek_door_stream_taped(r); /* its connection reads what comes now, if it is to be written first */
    ek_door_claim_out(r);
    size_t at = d->out.len;
    ek_buf_str(&d->out, ek_buf_view(&w->tail));
    if (r->include_usage && (!w->saw_usage || w->carried)) {
        char id[48];
        ek_door_answer_id(r, id);
        struct ek_chunk_head head = ek_door_chunk_head(r, id);
        ek_sse_put_id(&d->out, ++w->event);
        ek_buf_lit(&d->out, "data: ");
        ek_chunk_write_usage(&d->out, &head, &w->usage);
        ek_buf_lit(&d->out, "\n\n");
    }
    ek_door_stream_add_framed(r, ek_str_skip(ek_buf_view(&d->out), at));
    ek_door_stream_end(r, EK_REASON_NONE);
    ek_buf_lit(&d->out, "data: [DONE]\n\n");
    ek_door_commit(r);
    struct ek_http_req *http = r->http;
    ek_door_let_go(r, true);
    if (!r->detached) ek_http_finish(http, ek_buf_view(&d->out));
    else ek_door_stream_bury(d);
    ek_door_forget_out(r);
}

/* A member beside `choices`, behind a comma; "": its money did not end. */
static const char *end_reason(const struct ek_door_request *r, char out[END_REASON_BYTES])
{
    *out = '\0';
    if (r->running->ended != EK_REASON_NONE)
        snprintf(out, END_REASON_BYTES, ",\"end_reason\":\"%s\"", ek_reason_code(r->running->ended));
    return out;
}

static void finish_whole(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    struct ek_http_header header[EK_DOOR_HEADERS_MAX];
    char id[48];
    char hex[33];
    ek_door_claim_out(r);
    ek_door_answer_id(r, id);
    struct ek_chunk_head head = ek_door_chunk_head(r, id);
    char cost[EK_DOOR_AMOUNT_BYTES], why[END_REASON_BYTES];
    size_t n = ek_door_headers(r, false, hex, header);
    if (w->usage.priced)
        header[n++] = (struct ek_http_header){EK_STR("X-Cost"),
                                              ek_str_of(ek_door_amount(w->usage.cost_nano, cost))};
    MUST(n <= EK_DOOR_HEADERS_MAX);
    bool theirs = w->saw_usage && !w->carried && !w->shortened && !w->usage.priced;
    ek_collect_write(w->collect, &d->out, &head, theirs ? NULL : &w->usage,
                     ek_str_of(end_reason(r, why)));
    struct ek_http_req *http = r->http;
    bool committed = r->committed;
    ek_door_let_go(r, true);
    if (committed) ek_http_finish(http, ek_buf_view(&d->out));
    else ek_http_reply(http, 200, header, n, ek_buf_view(&d->out));
    ek_door_forget_out(r);
    if (d->out.cap > EK_DOOR_OUT_BYTES_MAX / 16) ek_buf_shrink(&d->out);
}

static void finish(struct ek_door_request *r)
{
    if (r->stream) finish_stream(r);
    else finish_whole(r);
}

void ek_door_finish_taken_up(struct ek_door_request *r)
{
    MUST(r->state == EK_DOOR_PRICED && r->detached && r->running && !r->ticket);
    if (!r->running->saw_usage) r->running->usage = usage_of(r);
    finish_stream(r);
    ek_door_request_free(r);
}

void ek_door_settled(struct ek_door_request *r)
{
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(r->state == EK_DOOR_SETTLING && (r->http || r->detached) && r->running);
    if (r->running->tail.failed) {
        ek_door_refuse_reason(r, EK_REASON_ANSWER_TOO_LARGE, NULL);
        return;
    }
    finish(r);
    ek_door_move(r, EK_DOOR_DONE);
}

/* The answer is whole. The desk hears of it at once, its slot is free; the end goes out when what it cost is
 * on the disk, which is now where nobody is charged. */
void ek_door_conclude(struct ek_door_request *r, enum ek_reason ending)
{
    struct ek_door *d = r->door;
    struct ek_door_bill bill = settle_usage(r, ending);
    double since_s = (double)ek_ns_since(ek_door_now(d).mono_ns, r->arrived_ns) * 1e-9;
    ek_histogram_add(&d->request_s, since_s);
    if (r->running->went_on) d->counters.continued++;
    ek_door_note_end(r, ending, &bill);
    if (!ek_door_money_settle(r, &bill, ending)) {
        finish(r); /* the desk hears of the end while the state still says that it ran */
        ek_door_move(r, EK_DOOR_SETTLING);
        ek_door_move(r, EK_DOOR_DONE);
        return;
    }
    ek_desk_finished(d->desk, ek_door_now(d), r->ticket, true);
    r->ticket = 0;
    ek_door_pump(d);
    ek_timer_clear(d->loop, &r->silence);
    ek_door_move(r, EK_DOOR_SETTLING);
}

/* The end an engine would have written of the choices from `next` on that have none yet, with a reason: for a
 * client it is an answer cut by its length. As many as one chunk may have; returns where the others begin. */
static uint32_t put_end(const struct ek_door_request *r, uint32_t next, struct ek_buf *out)
{
    bool chat = r->api == EK_API_CHAT;
    char why[END_REASON_BYTES];
    ek_buf_printf(out, "{\"id\":\"\",\"object\":\"%s\",\"created\":%llu,\"model\":\"\",\"choices\":[",
                  chat ? "chat.completion.chunk" : "text_completion",
                  (unsigned long long)(ek_door_now(r->door).unix_ns / EK_S_NS));
    uint32_t count = 0;
    for (; next < r->running->n && count < EK_UP_CHOICES_MAX; next++) {
        const struct ek_door_choices *all = r->running->choices;
        bool known = all && next < EK_REQUEST_CHOICES_MAX;
        if (known && all->ended[next / 64] >> next % 64 & 1) continue;
        ek_buf_printf(out, "%s{\"index\":%u,%s,\"logprobs\":null,\"finish_reason\":\"length\"}",
                      count++ ? "," : "", next, chat ? "\"delta\":{}" : "\"text\":\"\"");
    }
    ek_buf_printf(out, "]%s}", end_reason(r, why));
    if (count == 0) ek_buf_clear(out);
    return next;
}

static enum ek_status say_end(struct ek_door_request *r)
{
    struct ek_buf text = ek_buf_make(65536);
    enum ek_status s = EK_OK;
    for (uint32_t next = 0; next < r->running->n && s == EK_OK; ek_buf_clear(&text)) {
        struct ek_up_chunk c;
        next = put_end(r, next, &text);
        if (text.len == 0) break; /* the last of them have ended */
        bool read = ek_up_chunk_read(ek_buf_view(&text), &c, NULL);
        MUST(read && !text.failed);
        if (r->stream) ek_door_relay_chunk(r, ek_buf_view(&text), &c);
        else s = ek_collect_add(r->running->collect, &c);
    }
    ek_buf_free(&text);
    return s;
}

void ek_door_money_end(struct ek_door_request *r, enum ek_reason why)
{
    struct ek_door_running *w = r->running;
    MUST(r->state == EK_DOOR_STREAMING && w->relay);
    ek_relay_cancel(&w->relay);
    w->holding = true;
    w->ended = why;
    w->saw_usage = false; /* what was told in mid-stream is older than the last token */
    if (say_end(r) != EK_OK) ek_door_refuse_reason(r, EK_REASON_ANSWER_TOO_LARGE, NULL);
    else ek_door_conclude(r, why);
}
