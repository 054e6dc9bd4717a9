/* SPDX-License-Identifier: MIT */
/* Answers: tokens into text, text into chunks or one whole completion, errors before and in mid-stream.
 * A slow client never makes memory grow without limit: above EK_SERVE_UNSENT_BYTES nothing more is
 * framed, its text gathers as bare text (bounded by the context), and goes out as one chunk when the
 * socket has drained. */
#include "engine/serve_inside.h"

#include "base/json_write.h"

#include <stdio.h>
#include <stdlib.h>

static const struct ek_str done_event = {"data: [DONE]\n\n", 14};

static struct ek_chunk_head head_of(const struct ek_call *c)
{
    return (struct ek_chunk_head){
        .api = c->kind == EK_CALL_CHAT ? EK_API_CHAT : EK_API_COMPLETIONS,
        .id = ek_str_of(c->id),
        .model = c->ask.model.len ? c->ask.model : ek_str_of(c->serve->model),
        .fingerprint = ek_str_of(ek_engine_numerics(c->serve->engine)),
        .created_s = c->created_s,
        .include_usage = c->ask.include_usage,
    };
}

static struct ek_usage usage_of(const struct ek_call *c)
{
    struct ek_usage u = {.prompt_tokens = c->prompt.count, .cached_tokens = c->cached_tokens};
    for (uint32_t i = 0; i < c->choice_count; i++) { /* the prompt counts once, as OpenAI has it */
        u.completion_tokens += c->choices[i].tokens;
        u.reasoning_tokens += c->choices[i].thought_tokens;
    }
    return u;
}

/* ---- logprobs -------------------------------------------------------------------------------- */

static void put_logprob(const struct ek_call *c, struct ek_buf *b, uint32_t id, float logprob)
{
    struct ek_str bytes = ek_tokenizer_bytes(c->serve->tokenizer, id);
    ek_buf_lit(b, "{\"token\":");
    ek_json_put_string(b, bytes);
    ek_buf_printf(b, ",\"logprob\":%.6g,\"bytes\":[", logprob < -9999.0F ? -9999.0 : (double)logprob);
    for (size_t i = 0; i < bytes.len; i++) {
        ek_buf_printf(b, i ? ",%d" : "%d", (unsigned char)bytes.data[i]);
    }
    ek_buf_char(b, ']');
}

static void put_samples(const struct ek_call_choice *h, struct ek_buf *b, const char *name, size_t from,
                        size_t to)
{
    ek_buf_printf(b, "\"%s\":[", name);
    for (size_t i = from; i < to; i++) {
        const struct ek_sample *s = &h->samples[i];
        if (i > from) ek_buf_char(b, ',');
        put_logprob(h->call, b, s->id, s->logprob);
        ek_buf_lit(b, ",\"top_logprobs\":[");
        for (uint32_t k = 0; k < s->top_count; k++) {
            if (k > 0) ek_buf_char(b, ',');
            put_logprob(h->call, b, s->top[k].id, s->top[k].logprob);
            ek_buf_char(b, '}');
        }
        ek_buf_lit(b, "]}");
    }
    ek_buf_char(b, ']');
}

/* The lists of OpenAI's chat API, and DeepSeek's for the thought, of samples from..to; for
 * /v1/completions too, whose older shape says less. Absent when there is nothing to say. */
static struct ek_str logprobs_of(const struct ek_call_choice *h, struct ek_buf *b, size_t from, size_t to)
{
    if (!h->call->ask.logprobs || from >= to) return (struct ek_str){NULL, 0};
    size_t middle = h->thought_samples;
    middle = middle < from ? from : middle > to ? to : middle;
    ek_buf_char(b, '{');
    put_samples(h, b, "content", middle, to);
    if (middle > from) {
        ek_buf_char(b, ',');
        put_samples(h, b, "reasoning_content", from, middle);
    }
    ek_buf_char(b, '}');
    return ek_buf_view(b);
}

static void keep_sample(struct ek_call_choice *h, const struct ek_sample *sample)
{
    if (!h->call->ask.logprobs) return;
    if (h->sample_count == h->sample_cap) {
        h->sample_cap = h->sample_cap ? h->sample_cap * 2 : 16;
        h->samples = realloc(h->samples, h->sample_cap * sizeof *h->samples);
        MUST(h->samples);
    }
    h->samples[h->sample_count++] = *sample;
}

/* ---- chunks ---------------------------------------------------------------------------------- */

/* One chunk: a text of either kind (or none) and the tokens fresh[from..to). */
static void put_chunk(struct ek_call_choice *h, struct ek_buf *b, struct ek_delta d, size_t from, size_t to)
{
    struct ek_call *c = h->call;
    struct ek_chunk_head head = head_of(c);
    struct ek_buf logprobs = ek_buf_make(64u << 20);
    MUST(from <= to && to <= h->fresh.count);
    d.choice = h->index;
    d.ek = true;
    d.token_count = h->tokens - (uint32_t)(h->fresh.count - to);
    d.ids = h->fresh.data + from;
    d.id_count = to - from;
    if (!c->prompt_said) {
        d.prompt_tokens = c->prompt.count;
        d.cached_tokens = c->cached_tokens;
        c->prompt_said = true;
    }
    if (c->ask.logprobs) d.logprobs = logprobs_of(h, &logprobs, from, to);
    ek_buf_lit(b, "data: ");
    ek_chunk_write(b, &head, &d);
    ek_buf_lit(b, "\n\n");
    ek_buf_free(&logprobs);
}

static bool has_deltas(const struct ek_call_choice *h)
{
    return h->has_calls && ek_calls_waiting(&h->calls);
}

static void put_calls(struct ek_call_choice *h, struct ek_buf *b, size_t from)
{
    struct ek_str deltas = ek_calls_deltas(&h->calls);
    struct ek_buf list = ek_buf_make(deltas.len + 2);
    ek_buf_char(&list, '[');
    ek_buf_str(&list, deltas);
    ek_buf_char(&list, ']');
    put_chunk(h, b, (struct ek_delta){.tool_calls = ek_buf_view(&list)}, from, h->fresh.count);
    ek_buf_free(&list);
    ek_calls_taken(&h->calls);
}

/* All text that waits, the thought before the answer and never in one chunk, calls of tools behind them,
 * each with exactly the tokens it came from: a stream may be cut between the two. */
static void put_text(struct ek_call_choice *h, struct ek_buf *b)
{
    size_t from = 0, all = h->fresh.count;
    bool calls = has_deltas(h), any = calls || h->thought.len > 0 || h->text.len > 0;
    size_t before_calls = calls ? h->calls_split : all;
    MUST(h->split <= all && before_calls <= all);
    if (!any) return; /* tokens without text wait for some */
    if (h->thought.len > 0) {
        from = h->text.len > 0 ? h->split : before_calls;
        put_chunk(h, b, (struct ek_delta){.reasoning = ek_buf_view(&h->thought)}, 0, from);
    }
    if (h->text.len > 0) {
        size_t to = before_calls > from ? before_calls : from;
        put_chunk(h, b, (struct ek_delta){.content = ek_buf_view(&h->text)}, from, to);
        from = to;
    }
    if (calls) put_calls(h, b, from);
    ek_buf_clear(&h->thought);
    ek_buf_clear(&h->text);
    h->fresh.count = h->split = h->calls_split = h->sample_count = h->thought_samples = 0;
}

/* The first chunk says who speaks; an answer that goes on from a prefix has said so before. */
static void put_role(struct ek_call_choice *h, struct ek_buf *b)
{
    const struct ek_call *c = h->call;
    if (h->role_sent) return;
    h->role_sent = true;
    if (c->ask.continues || c->kind != EK_CALL_CHAT) return;
    struct ek_chunk_head head = head_of(c);
    struct ek_delta d = {.choice = h->index, .role = true};
    d.content = d.reasoning = (struct ek_str){NULL, 0};
    if (c->thinks) d.reasoning = EK_STR("");
    ek_buf_lit(b, "data: ");
    ek_chunk_write(b, &head, &d);
    ek_buf_lit(b, "\n\n");
}

static bool is_call_mark(const struct ek_serve *s, uint32_t id, enum ek_mark *mark)
{
    for (int m = EK_MARK_CALLS_BEGIN; m <= EK_MARK_SEP; m++) {
        *mark = (enum ek_mark)m;
        if (s->chat.mark[m] == id && id != EK_TOKEN_NONE) return true;
    }
    return false;
}

/* Stop strings end where a call begins: inside of arguments they mean nothing. What was held back as the
 * beginning of one is said. */
static void forget_stops(struct ek_call_choice *h, struct ek_buf *text)
{
    if (h->calls.state == EK_CALLS_TEXT || h->output.stop_count == 0) return;
    ek_buf_clear(&h->said);
    ek_output_forget_stops(&h->output, &h->said);
    ek_calls_text(&h->calls, ek_buf_view(&h->said), text);
}

/* The parsers hear a token. */
void ek_choice_hear(struct ek_call_choice *h, uint32_t id, struct ek_buf *thought, struct ek_buf *text)
{
    enum ek_mark mark;
    if (!h->has_calls) {
        ek_output_push(&h->output, id, thought, text);
        return;
    }
    ek_buf_clear(&h->said);
    if (h->output.state != EK_OUTPUT_THOUGHT && h->output.state != EK_OUTPUT_STOPPED &&
        is_call_mark(h->call->serve, id, &mark)) {
        ek_output_break(&h->output, thought, &h->said);
        ek_calls_text(&h->calls, ek_buf_view(&h->said), text);
        ek_calls_mark(&h->calls, mark, text);
        forget_stops(h, text);
        return;
    }
    ek_output_push(&h->output, id, thought, &h->said);
    ek_calls_text(&h->calls, ek_buf_view(&h->said), text);
    forget_stops(h, text);
}

/* Where in `fresh` the text and the calls begin that are not yet sent. */
static void note_splits(struct ek_call_choice *h, bool had_text, bool had_calls)
{
    if (!had_text && h->text.len > 0) h->split = h->fresh.count;
    if (!had_calls && has_deltas(h)) h->calls_split = h->fresh.count;
}

/* A token's text joins what waits. */
void ek_choice_take_text(struct ek_call_choice *h, uint32_t id, const struct ek_sample *sample)
{
    bool thought = h->output.state == EK_OUTPUT_THOUGHT;
    bool had_text = h->text.len > 0, had_calls = has_deltas(h);
    ek_choice_hear(h, id, &h->thought, &h->text);
    note_splits(h, had_text, had_calls);
    h->tokens++;
    if (thought && id != h->output.end_id) h->thought_tokens++;
    bool opens = h->output.state == EK_OUTPUT_THOUGHT; /* the marks belong to the thought */
    if ((thought || opens) && h->call->ask.logprobs) h->thought_samples++;
    if (h->call->ask.stream) MUST(ek_ids_push(&h->fresh, id) == EK_OK);
    keep_sample(h, sample);
}

/* No more tokens come: what the parsers held back joins, too. */
void ek_choice_take_rest(struct ek_call_choice *h)
{
    bool had_text = h->text.len > 0, had_calls = has_deltas(h);
    if (!h->has_calls) {
        ek_output_end(&h->output, &h->thought, &h->text);
    } else {
        ek_buf_clear(&h->said);
        ek_output_end(&h->output, &h->thought, &h->said);
        ek_calls_text(&h->calls, ek_buf_view(&h->said), &h->text);
        bool only_calls = h->call->ask.choice >= EK_CHOICE_REQUIRED; /* the cut beginning of one is no text */
        ek_calls_end(&h->calls, only_calls ? NULL : &h->text);
    }
    note_splits(h, had_text, had_calls);
}

void ek_choice_set_finish(struct ek_call_choice *h, enum ek_finish how)
{
    bool called = h->has_calls && h->calls.count > 0 && how == EK_FINISH_STOP;
    h->finish = called ? EK_FINISH_TOOL_CALLS : how;
}

/* Everything there is of one choice, its end too. */
static void put_choice(struct ek_call_choice *h, struct ek_buf *b)
{
    if (h->end_sent) return;
    if (h->ended || h->tokens > h->call->ask.prefix_count) put_role(h, b);
    put_text(h, b);
    if (!h->ended) return;
    put_chunk(h, b, (struct ek_delta){.finish = h->finish}, 0, h->fresh.count);
    h->end_sent = true;
}

static void put_end(struct ek_call *c, struct ek_buf *b)
{
    struct ek_chunk_head head = head_of(c);
    if (c->failed != EK_REASON_NONE) {
        struct ek_error e = {.reason = c->failed};
        ek_buf_lit(b, "data: ");
        ek_error_write(b, &e);
        ek_buf_lit(b, "\n\n");
    } else if (c->ask.include_usage) {
        struct ek_usage usage = usage_of(c);
        ek_buf_lit(b, "data: ");
        ek_chunk_write_usage(b, &head, &usage);
        ek_buf_lit(b, "\n\n");
    }
    ek_buf_str(b, done_event);
}

static void start_stream(struct ek_call *c)
{
    if (c->started) return;
    char load[EK_ORCA_BYTES_MAX];
    struct ek_http_header headers[5] = {
        {EK_STR("Content-Type"), EK_STR("text/event-stream; charset=utf-8")},
        {EK_STR("Cache-Control"), EK_STR("no-cache, no-transform")},
        {EK_STR("X-Accel-Buffering"), EK_STR("no")},
        {EK_STR("X-Request-Id"), ek_str_of(c->id)},
    };
    c->started = true;
    size_t count = 4 + ek_serve_orca(c, load, &headers[4]);
    ek_http_start(c->req, 200, headers, count, EK_HTTP_CHUNKED);
}

static void write_or_abort(struct ek_call *c, struct ek_str bytes)
{
    if (ek_http_write(c->req, bytes) != EK_OK) ek_call_drop(c, EK_REASON_WRITE_STALL);
    c->wrote_ns = ek_loop_now(c->serve->loop).mono_ns;
}

static void count_end(struct ek_call *c)
{
    struct ek_serve *s = c->serve;
    double took = 1e-9 * (double)ek_ns_since(ek_loop_now(s->loop).mono_ns, c->arrived_ns);
    if (c->failed != EK_REASON_NONE) {
        s->counters.refused[c->failed]++;
        return;
    }
    for (uint32_t i = 0; i < c->choice_count; i++) {
        const struct ek_call_choice *h = &c->choices[i];
        s->counters.answers[h->finish]++;
        s->counters.answer_tokens += h->tokens - c->ask.prefix_count;
        s->counters.thought_tokens += h->thought_tokens;
    }
    s->counters.prompt_tokens += c->prompt.count;
    ek_histogram_add(&s->counters.whole_s, took);
    s->job_s = s->job_s > 0 ? 0.9 * s->job_s + 0.1 * took : took;
}

static void send_stream(struct ek_call *c)
{
    struct ek_buf *b = &c->serve->out;
    bool ended = c->state == EK_CALL_AT_ENDED;
    if (!ended && ek_http_unsent(c->req) > EK_SERVE_UNSENT_BYTES) {
        c->serve->counters.gathered++;
        return;
    }
    ek_buf_clear(b);
    uint32_t count = c->failed == EK_REASON_NONE ? c->choice_count : 0;
    for (uint32_t i = 0; i < count; i++) put_choice(&c->choices[i], b);
    if (ended) put_end(c, b);
    if (b->failed) {
        ek_call_drop(c, EK_REASON_ANSWER_TOO_LARGE);
    } else if (ended) {
        start_stream(c);
        ek_http_finish(c->req, ek_buf_view(b));
        count_end(c);
        ek_call_part(c);
    } else if (b->len > 0) {
        start_stream(c);
        write_or_abort(c, ek_buf_view(b));
    }
}

/* What the parts of a whole choice are kept in while it is written. */
struct whole {
    struct ek_buf logprobs, calls;
};

static struct ek_choice choice_of(const struct ek_call_choice *h, struct whole *w)
{
    struct ek_choice choice = {.finish = h->finish, .content = EK_STR("")};
    struct ek_str calls = h->has_calls ? ek_calls_whole(&h->calls) : (struct ek_str){NULL, 0};
    MUST(h->ended);
    *w = (struct whole){ek_buf_make(64u << 20), ek_buf_make(calls.len + 2)};
    if (calls.len > 0) {
        ek_buf_char(&w->calls, '[');
        ek_buf_str(&w->calls, calls);
        ek_buf_char(&w->calls, ']');
        choice.tool_calls = ek_buf_view(&w->calls);
        choice.content = (struct ek_str){NULL, 0};
    }
    if (h->text.len > 0) choice.content = ek_buf_view(&h->text);
    if (h->call->thinks) choice.reasoning = h->thought.len ? ek_buf_view(&h->thought) : EK_STR("");
    choice.logprobs = logprobs_of(h, &w->logprobs, 0, h->sample_count);
    return choice;
}

static void send_whole(struct ek_call *c)
{
    if (c->state != EK_CALL_AT_ENDED) return;
    struct ek_chunk_head head = head_of(c);
    struct ek_usage usage = usage_of(c);
    struct ek_choice choices[EK_ASK_CHOICES_MAX];
    struct whole parts[EK_ASK_CHOICES_MAX];
    struct ek_buf *b = &c->serve->out;
    MUST(c->choice_count > 0 && c->choice_count <= EK_ASK_CHOICES_MAX);
    for (uint32_t i = 0; i < c->choice_count; i++) choices[i] = choice_of(&c->choices[i], &parts[i]);
    ek_buf_clear(b);
    ek_completion_write(b, &head, choices, c->choice_count, &usage, EK_STR(""));
    for (uint32_t i = 0; i < c->choice_count; i++) {
        ek_buf_free(&parts[i].logprobs);
        ek_buf_free(&parts[i].calls);
    }
    count_end(c);
    char load[EK_ORCA_BYTES_MAX];
    struct ek_http_header headers[3] = {
        {EK_STR("Content-Type"), EK_STR("application/json")}, {EK_STR("X-Request-Id"), ek_str_of(c->id)}};
    size_t count = 2 + ek_serve_orca(c, load, &headers[2]);
    if (b->failed) {
        ek_call_drop(c, EK_REASON_ANSWER_TOO_LARGE);
        return;
    }
    ek_http_reply(c->req, 200, headers, count, ek_buf_view(b));
    ek_call_part(c);
}

void ek_call_send(struct ek_call *c)
{
    MUST_OBJ(c, EK_CALL_MAGIC);
    if (!c->req) return;
    if (c->state == EK_CALL_AT_ENDED && c->failed != EK_REASON_NONE && !c->started) {
        struct ek_error e = {.reason = c->failed};
        ek_call_refuse(c, &e);
    } else if (c->ask.stream) {
        send_stream(c);
    } else {
        send_whole(c);
    }
}

/* Proxies cut a stream that says nothing for a minute; clients begin to wonder sooner. */
void ek_call_quiet(struct ek_call *c, uint64_t now_ns)
{
    if (!c->req || !c->ask.stream || c->state != EK_CALL_AT_RUNNING || ek_http_unsent(c->req) > 0) return;
    if (ek_ns_since(now_ns, c->wrote_ns) < EK_SERVE_QUIET_S * EK_S_NS) return;
    start_stream(c);
    write_or_abort(c, EK_STR(": keep-alive\n\n"));
}

/* ---- errors ---------------------------------------------------------------------------------- */

void ek_serve_reply_json(struct ek_http_req *req, int status, struct ek_buf *body)
{
    const struct ek_http_header header = {EK_STR("Content-Type"), EK_STR("application/json")};
    if (body->failed) {
        ek_http_abort(req, EK_REASON_ANSWER_TOO_LARGE);
        return;
    }
    ek_http_reply(req, status, &header, 1, ek_buf_view(body));
}

void ek_serve_refuse(struct ek_serve *s, struct ek_http_req *req, const struct ek_error *given)
{
    char seconds[24] = "";
    struct ek_error told = *given;
    const struct ek_error *e = &told;
    if (ek_reason_status(e->reason) == 503 && e->retry_after_ms <= 0) { /* who is to come back is told when */
        told.retry_after_ms = ek_serve_wait_ms(s);
        if (told.retry_after_ms <= 0) told.retry_after_ms = 1000;
    }
    struct ek_http_header headers[2] = {{EK_STR("Content-Type"), EK_STR("application/json")}};
    size_t count = 1;
    if (e->retry_after_ms > 0) {
        int n = snprintf(seconds, sizeof seconds, "%lld", (long long)(e->retry_after_ms + 999) / 1000);
        headers[count++] = (struct ek_http_header){EK_STR("Retry-After"), {seconds, (size_t)n}};
    }
    ek_buf_clear(&s->out);
    ek_error_write(&s->out, e);
    s->counters.refused[e->reason]++;
    ek_http_reply(req, ek_reason_status(e->reason), headers, count, ek_buf_view(&s->out));
}

void ek_call_refuse(struct ek_call *c, const struct ek_error *e)
{
    MUST(c->req && !c->started);
    ek_serve_refuse(c->serve, c->req, e);
    ek_call_part(c);
}
