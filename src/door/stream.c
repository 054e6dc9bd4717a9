/* SPDX-License-Identifier: MIT */
/* What the relay reports, and what becomes of it. Chunks go on to a streaming caller with as little
 * change as can be (our id, the name the caller used, no `ek`, usage only if asked for), all of one
 * upstream read in one write; for other callers they are collected.
 *
 * What happens when an attempt fails depends on what the client has already:
 *
 *   nothing delivered                        again, while attempts are left; else a true error
 *   tokens delivered, all their ids known    again with the ids: the answer goes on where it stopped
 *   tokens delivered otherwise               an error event: an honest end, never a cut stream */
#include "door/door_state.h"

#include "http/sse.h"
#include "policy/cost.h"

#include <stdio.h>
#include <stdlib.h>

#define RETRY_FIRST_MS 100u    /* doubling each time; half of it is jitter */
#define RETRY_LONGEST_MS 2000u

void ek_door_running_free(struct ek_door_running **w)
{
    struct ek_door_running *dead = *w;
    *w = NULL;
    if (dead->relay) ek_relay_cancel(&dead->relay);
    if (dead->collect) ek_collect_free(&dead->collect);
    free(dead->ids);
    free(dead);
}

/* ---- counting --------------------------------------------------------------------------------------- */

/* Remember the ids, so that the answer can go on elsewhere; what cannot be remembered whole is
 * forgotten whole. */
static void keep_ids(struct ek_door_running *w, const struct ek_up_chunk *c)
{
    const uint32_t substance = EK_UP_CONTENT | EK_UP_REASONING | EK_UP_TOOL_CALLS;
    if (!w->ids_whole) return;
    if (w->request.n != 1 || ((c->flags & substance) && !(c->flags & EK_UP_EK))) goto forget;
    if (!c->ek_ids.len) return;
    for (;;) {
        uint32_t room = w->id_cap - w->id_count;
        int64_t n = ek_up_chunk_ids(c->ek_ids, w->ids + w->id_count, room);
        if (n < 0) goto forget;
        if (n <= room) {
            w->id_count += (uint32_t)n;
            return;
        }
        uint32_t cap = w->id_cap ? w->id_cap * 2 : 64;
        uint32_t *more = cap <= EK_DOOR_KEPT_IDS_MAX ? realloc(w->ids, cap * sizeof *more) : NULL;
        if (!more) goto forget;
        w->ids = more;
        w->id_cap = cap;
    }
forget:
    w->ids_whole = false;
}

static void count_tokens(struct ek_door_request *r, const struct ek_up_chunk *c)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    bool thought = (c->flags & EK_UP_REASONING) != 0;
    bool answer = (c->flags & (EK_UP_CONTENT | EK_UP_TOOL_CALLS)) != 0;
    if (w->ours) keep_ids(w, c);
    if (c->flags & EK_UP_USAGE) {
        w->usage = c->usage;
        w->saw_usage = true;
    }
    if (!thought && !answer) return;
    uint64_t tokens = 1; /* one a chunk is what servers send; our engine says it exactly */
    uint64_t before = w->thought_tokens + w->answer_tokens;
    if ((c->flags & EK_UP_EK) && w->request.n == 1)
        tokens = c->ek_tokens > before ? c->ek_tokens - before : 0;
    if (answer) w->answer_tokens += tokens;
    else w->thought_tokens += tokens;
    double since_s = (double)ek_ns_since(ek_door_now(d).mono_ns, r->arrived_ns) * 1e-9;
    if (thought && !w->saw_thought) ek_histogram_add(&d->first_thought_s, since_s);
    if (answer && !w->saw_answer) ek_histogram_add(&d->first_answer_s, since_s);
    w->saw_thought = w->saw_thought || thought;
    w->saw_answer = w->saw_answer || answer;
    ek_desk_tokens(d->desk, ek_door_now(d), r->ticket, (uint32_t)tokens);
}

/* ---- chunks ----------------------------------------------------------------------------------------- */

static void on_accepted(void *arg)
{
    struct ek_door_request *r = arg;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    ek_desk_started(r->door->desk, ek_door_now(r->door), r->ticket);
}

/* A chunk that says nothing the caller should hear (again). */
static bool is_idle_talk(const struct ek_door_request *r, const struct ek_up_chunk *c)
{
    const struct ek_door_running *w = r->running;
    const uint32_t substance = EK_UP_CONTENT | EK_UP_REASONING | EK_UP_TOOL_CALLS | EK_UP_FINISH;
    if (c->choice_count == 0 && (c->flags & EK_UP_USAGE) && !r->include_usage) return true;
    return w->saw_role && (c->flags & EK_UP_ROLE) && !(c->flags & substance);
}

/* A model's name as a JSON string. Names have no control bytes (upstream/models.c), so two characters
 * are all that needs escaping. */
static struct ek_str quote(const char *text, char out[EK_POOL_NAME_BYTES_MAX * 2 + 2])
{
    size_t n = 0;
    out[n++] = '"';
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') out[n++] = '\\';
        out[n++] = *text;
    }
    out[n++] = '"';
    MUST(n <= EK_POOL_NAME_BYTES_MAX * 2 + 2);
    return ek_str_make(out, n);
}

static void relay_chunk(struct ek_door_request *r, struct ek_str payload, const struct ek_up_chunk *c)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    const struct ek_pool_model *model = ek_pool_model(d->pool, r->model);
    const char *theirs = ek_pool_their_name(d->pool, w->upstream, r->model);
    char name[EK_POOL_NAME_BYTES_MAX * 2 + 2];
    struct ek_up_edit edit = {.id = ek_str_make(w->answer_id, w->answer_id_bytes),
                              .usage_drop = !r->include_usage, .ek_drop = true,
                              .reasoning_rename = c->reasoning_name.data != NULL};
    char budget[48];
    if (w->shortened && (c->flags & EK_UP_USAGE)) {
        int n = snprintf(budget, sizeof budget, ",\"thinking_budget\":%u", w->thinking_budget);
        edit.usage_more = ek_str_make(budget, (size_t)n);
    }
    if (theirs != model->name) /* an alias: the caller hears the name it used */
        edit.model = quote(model->name, name);
    ek_door_claim_out(r);
    ek_post_put(d->loop, &d->flush);
    ek_sse_put_id(&d->out, ++w->event);
    if (!memchr(payload.data, '\n', payload.len)) {
        ek_buf_lit(&d->out, "data: ");
        ek_up_chunk_relay(&d->out, payload, c, &edit);
        ek_buf_lit(&d->out, "\n\n");
        return;
    }
    MUST(d->text.len == 0); /* pretty-printed: each line is a data line */
    ek_up_chunk_relay(&d->text, payload, c, &edit);
    ek_sse_put_data(&d->out, ek_buf_view(&d->text));
    ek_buf_clear(&d->text);
}

static void drop_relay(struct ek_door_request *r)
{
    if (r->running->relay) ek_relay_cancel(&r->running->relay);
}

static void on_chunk(void *arg, struct ek_str payload, const struct ek_up_chunk *c)
{
    struct ek_door_request *r = arg;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(ek_door_is_running(r));
    if (r->state == EK_DOOR_SENT) ek_door_move(r, EK_DOOR_STREAMING);
    count_tokens(r, c);
    if (r->stream) {
        if (!is_idle_talk(r, c)) relay_chunk(r, payload, c);
        if (c->flags & EK_UP_ROLE) r->running->saw_role = true;
        return;
    }
    struct ek_door_running *w = r->running;
    if (!w->collect) w->collect = ek_collect_new((enum ek_api)r->api, EK_DOOR_ANSWER_BYTES_MAX);
    enum ek_status s = w->collect ? ek_collect_add(w->collect, c) : EK_NOMEM;
    if (s == EK_OK) return;
    drop_relay(r);
    ek_door_refuse_reason(r, s == EK_INVALID ? EK_REASON_UPSTREAM_BAD
                             : s == EK_FULL  ? EK_REASON_ANSWER_TOO_LARGE
                                             : EK_REASON_NO_MEMORY, NULL);
}

/* ---- writing ----------------------------------------------------------------------------------------
 * The chunks of one request gather in d->out until another request has something to say or the turn of
 * the loop ends: so all that one read of the upstream brought goes out in one write, whatever pieces it
 * was cut into on the way. */

void ek_door_claim_out(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    if (d->writer == r) return;
    ek_door_flush(d);
    MUST(d->out.len == 0 && !d->writer);
    d->writer = r;
}

void ek_door_forget_out(struct ek_door_request *r)
{
    if (r->door->writer != r) return;
    r->door->writer = NULL;
    ek_buf_clear(&r->door->out);
}

static void hold_back(struct ek_door_request *r)
{
    struct ek_door_running *w = r->running;
    uint64_t high = r->door->config->limits.write_buffer_bytes;
    if (!w || w->held_back || !w->relay) return;
    if (ek_http_unsent(r->http) <= (high ? high : EK_DOOR_UNSENT_BYTES_HIGH)) return;
    w->held_back = true;
    r->door->counters.pauses++;
    ek_relay_pause(w->relay, true);
}

bool ek_door_flush(struct ek_door *d)
{
    struct ek_door_request *r = d->writer;
    if (!r) return true;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (d->out.failed) {
        ek_door_forget_out(r);
        if (r->running) drop_relay(r);
        ek_door_refuse_reason(r, EK_REASON_ANSWER_TOO_LARGE, NULL);
        return false;
    }
    if (d->out.len) {
        ek_door_commit(r);
        if (!ek_door_say(r, ek_buf_view(&d->out))) return false;
    }
    ek_door_forget_out(r);
    hold_back(r);
    return true;
}

void ek_door_drained(struct ek_door_request *r)
{
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    if (!r->running || !r->running->held_back || !r->running->relay) return;
    r->running->held_back = false;
    ek_relay_pause(r->running->relay, false);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

/* What was used, as exactly as it is known: the upstream's word, else our own count. */
static void settle_usage(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    if (!w->saw_usage) {
        const struct ek_request *q = &w->request;
        d->counters.unpriced++;
        w->usage = (struct ek_usage){
            .prompt_tokens = ek_cost_guess_tokens(q->prompt_bytes[EK_SCRIPT_ASCII],
                                                  q->prompt_bytes[EK_SCRIPT_WIDE],
                                                  q->prompt_bytes[EK_SCRIPT_OTHER]) + q->prompt_ids,
            .completion_tokens = w->thought_tokens + w->answer_tokens,
            .reasoning_tokens = w->thought_tokens, .estimated = true};
    }
    w->usage.shortened = w->shortened;
    w->usage.thinking_budget = w->thinking_budget;
    const struct ek_usage *u = &w->usage;
    uint64_t cached = u->cached_tokens < u->prompt_tokens ? u->cached_tokens : u->prompt_tokens;
    uint64_t thought = u->reasoning_tokens ? u->reasoning_tokens : w->thought_tokens;
    if (thought > u->completion_tokens) thought = u->completion_tokens;
    struct ek_used used = {.prompt_tokens = (uint32_t)u->prompt_tokens, .cached_tokens = (uint32_t)cached,
                           .thought_tokens = (uint32_t)thought,
                           .output_tokens = (uint32_t)u->completion_tokens};
    if (u->prompt_tokens <= UINT32_MAX && u->completion_tokens <= UINT32_MAX)
        ek_desk_used(d->desk, ek_door_now(d), r->ticket, &used);
    d->counters.prompt_tokens += u->prompt_tokens - cached;
    d->counters.cached_tokens += cached;
    d->counters.thought_tokens += thought;
    d->counters.answer_tokens += u->completion_tokens - thought;
    const char *model = ek_pool_model(d->pool, r->model)->name;
    int64_t cost = ek_cost_nano(ek_door_price(r), cached, u->prompt_tokens - cached, u->completion_tokens);
    d->counters.cost_nano += (uint64_t)cost;
    char hex[33];
    ek_door_id_hex(r, hex);
    ek_debug(d->log, "%s done: %s, %llu prompt tokens (%llu cached), %llu thought, %llu answer, "
             "%lld nano, attempt %u", hex, model, (unsigned long long)u->prompt_tokens,
             (unsigned long long)cached, (unsigned long long)thought,
             (unsigned long long)(u->completion_tokens - thought), (long long)cost, r->attempts);
}

static void finish_stream(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    ek_door_claim_out(r);
    if (r->include_usage && !w->saw_usage) {
        char id[48];
        ek_door_answer_id(r, id);
        struct ek_chunk_head head = ek_door_chunk_head(r, id);
        ek_sse_put_id(&d->out, ++w->event);
        ek_buf_lit(&d->out, "data: ");
        ek_chunk_write_usage(&d->out, &head, &w->usage);
        ek_buf_lit(&d->out, "\n\n");
    }
    ek_buf_lit(&d->out, "data: [DONE]\n\n");
    ek_door_commit(r);
    struct ek_http_req *http = r->http;
    ek_door_let_go(r, true);
    ek_http_finish(http, ek_buf_view(&d->out));
    ek_door_forget_out(r);
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
    size_t n = ek_door_headers(r, false, hex, header);
    ek_collect_write(w->collect, &d->out, &head, w->saw_usage && !w->shortened ? NULL : &w->usage,
                     EK_STR(""));
    struct ek_http_req *http = r->http;
    bool committed = r->committed;
    ek_door_let_go(r, true);
    if (committed) ek_http_finish(http, ek_buf_view(&d->out));
    else ek_http_reply(http, 200, header, n, ek_buf_view(&d->out));
    ek_door_forget_out(r);
    if (d->out.cap > EK_DOOR_OUT_BYTES_MAX / 16) ek_buf_shrink(&d->out);
}

static void on_done(void *arg)
{
    struct ek_door_request *r = arg;
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(r->state == EK_DOOR_STREAMING); /* a whole answer has at least a finish_reason */
    r->running->relay = NULL;
    if (d->writer == r && d->out.failed) {
        ek_door_flush(d);
        return;
    }
    settle_usage(r);
    double since_s = (double)ek_ns_since(ek_door_now(d).mono_ns, r->arrived_ns) * 1e-9;
    ek_histogram_add(&d->request_s, since_s);
    if (r->running->id_count && r->attempts > 1) d->counters.continued++;
    /* The desk hears of the end while the state still says that it ran. */
    if (r->stream) finish_stream(r);
    else finish_whole(r);
    ek_door_move(r, EK_DOOR_SETTLING);
    ek_door_move(r, EK_DOOR_DONE);
}

/* ---- failures --------------------------------------------------------------------------------------- */

static bool may_try_again(struct ek_door_request *r, enum ek_reason why)
{
    if (why == EK_REASON_UPSTREAM_CONNECT) /* nothing was sent; the desk waits for it to be up */
        return ++r->running->connect_failures < EK_DOOR_CONNECT_FAILURES_MAX;
    struct ek_door_running *w = r->running;
    uint64_t tokens = w->thought_tokens + w->answer_tokens;
    if (tokens >= w->progress_tokens + EK_DOOR_PROGRESS_TOKENS && w->progresses < EK_DOOR_PROGRESSES_MAX) {
        /* This attempt got somewhere: an engine that dies now and then is not this request's doing. */
        w->progress_tokens = tokens;
        w->progresses++;
        r->attempts = 1;
    }
    return r->attempts < r->door->config->relay.attempts_max;
}

/* The caller has heard nothing of this answer yet, so it can begin anew. */
static bool can_begin_anew(const struct ek_door_request *r)
{
    const struct ek_door_running *w = r->running;
    return !r->stream || !(w->saw_thought || w->saw_answer);
}

static bool can_go_on(const struct ek_door_request *r)
{
    const struct ek_door_running *w = r->running;
    return w->ours && w->ids_whole && w->id_count > 0;
}

/* Forget what a failed attempt has made; nobody has heard of it. */
static void begin_anew(struct ek_door_request *r)
{
    struct ek_door_running *w = r->running;
    if (w->collect) ek_collect_free(&w->collect);
    w->thought_tokens = w->answer_tokens = w->progress_tokens = 0;
    w->id_count = 0;
    w->ids_whole = true;
    w->saw_usage = false; /* a role once delivered stays delivered */
}

/* The relay is dead. Again, if that can be honest; false when it cannot. */
static bool try_again(struct ek_door_request *r, enum ek_reason why)
{
    struct ek_door_running *w = r->running;
    MUST(!w->relay);
    if (!may_try_again(r, why)) return false;
    bool begun = w->thought_tokens + w->answer_tokens > 0;
    if (begun && can_go_on(r)) {
        ek_door_again(r, EK_WHY_ENGINE_RESTARTED);
        return true;
    }
    if (!can_begin_anew(r)) return false;
    begin_anew(r);
    if (why == EK_REASON_UPSTREAM_CONNECT) r->attempts--;
    else r->door->counters.retried++;
    ek_door_again(r, EK_WHY_RETRYING);
    return true;
}

/* The upstream refused for now. The request keeps its slot for a short, growing, jittered while, which
 * is also what keeps others from being sent there, and goes again. */
static bool try_later(struct ek_door_request *r, uint64_t retry_after_ms)
{
    struct ek_door *d = r->door;
    uint32_t random;
    if (!may_try_again(r, EK_REASON_UPSTREAM_STATUS) || !can_begin_anew(r)) return false;
    uint64_t ms = RETRY_FIRST_MS << (r->attempts - 1);
    if (retry_after_ms > ms) ms = retry_after_ms;
    if (ms > RETRY_LONGEST_MS) ms = RETRY_LONGEST_MS;
    ek_loop_random(d->loop, &random, sizeof random);
    ms -= random % (ms / 2);
    begin_anew(r);
    d->counters.retried++;
    r->running->again_ns = ek_door_now(d).mono_ns + ms * EK_MS_NS;
    ek_door_watch_silence(r);
    return true;
}

static void on_refused(void *arg, int status, uint64_t retry_after_ms, struct ek_str body)
{
    struct ek_door_request *r = arg;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    r->running->relay = NULL;
    bool passing = status == 408 || status == 429 || status >= 500;
    if (status == 429 || status == 503)
        ek_desk_full(r->door->desk, ek_door_now(r->door), r->ticket);
    if (passing && try_later(r, retry_after_ms)) return;
    ek_door_pass_error(r, status, retry_after_ms, body);
}

static void on_failed(void *arg, enum ek_reason why, const char *detail)
{
    struct ek_door_request *r = arg;
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    r->running->relay = NULL;
    if (d->writer == r && !ek_door_flush(d)) return; /* what came before the failure is good */
    ek_debug(d->log, "upstream %s: %s (%s)", ek_pool_name(d->pool, r->running->upstream),
             ek_reason_code(why), detail ? detail : "");
    if (try_again(r, why)) return;
    ek_door_refuse_reason(r, why, NULL);
}

const struct ek_relay_events ek_door_relay_events = {
    .accepted = on_accepted, .chunk = on_chunk, .done = on_done,
    .refused = on_refused, .failed = on_failed,
};
