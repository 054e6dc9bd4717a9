/* SPDX-License-Identifier: MIT */
/* What the relay reports, and what becomes of it. Chunks go on to a streaming caller with as little
 * change as can be (our id, the name the caller used, no `ek`, usage only if asked for), all of one
 * upstream read in one write; for other callers they are collected.
 *
 * What happens when an attempt fails: onward.c. */
#include "door/choices.h"

#include "http/sse.h"

#include <stdio.h>
#include <stdlib.h>

void ek_door_running_free(struct ek_door_running **w)
{
    struct ek_door_running *dead = *w;
    *w = NULL;
    if (dead->relay) ek_relay_cancel(&dead->relay);
    ek_door_second_free(&dead->second);
    if (dead->collect) ek_collect_free(&dead->collect);
    ek_buf_free(&dead->tail);
    free(dead->ids);
    free(dead->choices);
    ek_buf_free(&dead->said_thought);
    ek_buf_free(&dead->said_answer);
    free(dead);
}

/* ---- counting --------------------------------------------------------------------------------------- */

/* Remember the ids, so that the answer can go on elsewhere; what cannot be remembered whole is
 * forgotten whole. */
static void keep_ids(struct ek_door_running *w, const struct ek_up_chunk *c)
{
    if (!w->ids_whole) return;
    if (w->n != 1 || ((c->flags & EK_UP_TOKEN) && !(c->flags & EK_UP_EK))) goto forget;
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

static struct ek_door_choices *choices_of(struct ek_door_running *w)
{
    if (!w->choices) w->choices = calloc(1, sizeof *w->choices);
    MUST(w->choices);
    return w->choices;
}

/* One a chunk is what servers send; our engine says it exactly, of each choice apart. */
static uint64_t new_tokens(struct ek_door_running *w, const struct ek_up_chunk *c)
{
    uint64_t before = w->thought_tokens + w->answer_tokens, now = c->ek_tokens + w->carried_tokens;
    if (!(c->flags & EK_UP_EK)) return 1;
    if (w->n == 1) return now > before ? now - before : 0;
    struct ek_door_choices *all = choices_of(w);
    uint32_t index = c->choice_count == 1 ? c->choice[0].index : UINT32_MAX;
    if (index >= EK_COUNT(all->tokens)) return 1;
    before = all->tokens[index];
    all->tokens[index] = c->ek_tokens;
    return c->ek_tokens > before ? c->ek_tokens - before : 0;
}

void ek_door_note_ended(struct ek_door_running *w, const struct ek_up_chunk *c)
{
    for (uint32_t i = 0; i < c->choice_count; i++) {
        uint32_t index = c->choice[i].index;
        if (!(c->choice[i].flags & EK_UP_FINISH)) continue;
        if (w->n == 1) w->finished = 1;
        if (w->n == 1 || index >= EK_REQUEST_CHOICES_MAX) continue;
        uint64_t *ended = &choices_of(w)->ended[index / 64], bit = 1ull << index % 64;
        w->finished += !(*ended & bit); /* some tell it twice */
        *ended |= bit;
    }
}

static void count_tokens(struct ek_door_request *r, const struct ek_up_chunk *c)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    bool thought = (c->flags & EK_UP_REASONING) != 0;
    bool answer = (c->flags & (EK_UP_CONTENT | EK_UP_TOOL_CALLS)) != 0;
    /* Our engine's last tokens may show nothing: a marker, the half of a letter. They count. */
    bool unseen = w->ours && !thought && !answer && (c->flags & EK_UP_EK) && (c->flags & EK_UP_FINISH);
    if (w->ours) keep_ids(w, c);
    if (w->ours && !w->carried && !w->resting && (c->flags & EK_UP_EK) && c->ek_prompt_tokens) {
        w->prompt_tokens = c->ek_prompt_tokens;
        w->cached_tokens = c->ek_cached_tokens;
        w->money_at = ek_door_money_prompt(r, w->prompt_tokens, w->cached_tokens);
    }
    if (w->text_whole) ek_door_keep_text(r, c);
    if (c->flags & EK_UP_USAGE) {
        w->usage = c->usage;
        if (w->carried) ek_door_merge_usage(w);
    }
    /* What it told before its last token, or took back since, is not what it used. */
    if (c->flags & EK_UP_USAGE) w->saw_usage = true;
    else if (thought || answer || unseen || c->usage_wrong) w->saw_usage = false;
    if (!thought && !answer && !unseen) return;
    uint64_t tokens = new_tokens(w, c);
    if (answer || (unseen && (w->saw_answer || !w->saw_thought))) w->answer_tokens += tokens;
    else w->thought_tokens += tokens;
    double since_s = (double)ek_ns_since(ek_door_now(d).mono_ns, r->arrived_ns) * 1e-9;
    if (thought && !w->saw_thought) ek_histogram_add(&d->first_thought_s, since_s);
    if (answer && !w->saw_answer) ek_histogram_add(&d->first_answer_s, since_s);
    w->saw_thought = w->saw_thought || thought;
    w->saw_answer = w->saw_answer || answer;
    if (w->borrowed) ek_swap_purse_open(d);
    ek_desk_tokens(d->desk, ek_door_now(d), r->ticket, (uint32_t)tokens);
    if (w->borrowed) ek_swap_purse_shut(d);
    if (w->borrowed && ek_desk_recalls(d->desk)) ek_door_pump(d);
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
    bool unwanted = !r->include_usage || w->carried; /* the merged one is written at the end */
    if (c->choice_count == 0 && (c->flags & EK_UP_USAGE) && unwanted) return true;
    bool known = w->saw_role && w->n == 1; /* of several choices each has its own */
    return known && (c->flags & EK_UP_ROLE) && !(c->flags & (EK_UP_TOKEN | EK_UP_FINISH));
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

void ek_door_relay_chunk(struct ek_door_request *r, struct ek_str payload, const struct ek_up_chunk *c)
{
    struct ek_door *d = r->door;
    struct ek_door_running *w = r->running;
    const struct ek_pool_model *model = ek_pool_model(d->pool, r->model);
    const char *theirs = ek_pool_their_name(d->pool, w->upstream, r->model);
    char name[EK_POOL_NAME_BYTES_MAX * 2 + 2];
    struct ek_up_edit edit = {.id = ek_str_make(w->answer_id, w->answer_id_bytes),
                              .usage_drop = !r->include_usage || w->carried || c->usage_wrong,
                              .ek_drop = true,
                              .reasoning_rename = c->reasoning_name.data != NULL};
    struct ek_buf more = ek_buf_make(256);
    if (c->flags & EK_UP_USAGE) {
        if (w->shortened) ek_buf_printf(&more, ",\"thinking_budget\":%u", w->thinking_budget);
        if (w->holding) ek_usage_put_cost(&more, ek_door_cost_shown(r, &c->usage));
        edit.usage_more = ek_buf_view(&more);
    }
    if (theirs != model->name) /* an alias: the caller hears the name it used */
        edit.model = quote(model->name, name);
    if (!w->holding && ek_door_stream_taped(r)) {
        MUST(d->text.len == 0);
        ek_up_chunk_relay(&d->text, payload, c, &edit);
        w->event++;
        ek_door_stream_add(r, ek_buf_view(&d->text));
        ek_buf_clear(&d->text);
        ek_buf_free(&more);
        return;
    }
    struct ek_buf *out = &w->tail;
    if (!w->holding) {
        ek_door_claim_out(r);
        ek_post_put(d->loop, &d->flush);
        out = &d->out;
    }
    ek_sse_put_id(out, ++w->event);
    if (!memchr(payload.data, '\n', payload.len)) {
        ek_buf_lit(out, "data: ");
        size_t at = out->len;
        ek_up_chunk_relay(out, payload, c, &edit);
        if (!w->holding && !out->failed) ek_door_stream_add(r, ek_str_skip(ek_buf_view(out), at));
        ek_buf_lit(out, "\n\n");
        ek_buf_free(&more);
        return;
    }
    MUST(d->text.len == 0); /* pretty-printed: each line is a data line */
    ek_up_chunk_relay(&d->text, payload, c, &edit);
    ek_sse_put_data(out, ek_buf_view(&d->text));
    if (!w->holding) ek_door_stream_add(r, ek_buf_view(&d->text));
    ek_buf_clear(&d->text);
    ek_buf_free(&more);
}

static void drop_relay(struct ek_door_request *r)
{
    if (r->running->relay) ek_relay_cancel(&r->running->relay);
}

/* Its reserve comes to its end; nothing is done for a token but this comparison. */
static void look_at_money(struct ek_door_request *r)
{
    struct ek_door_running *w = r->running;
    uint64_t made = w->thought_tokens + w->answer_tokens;
    if (made < w->money_at || w->holding || !w->relay) return;
    if (w->max_tokens > 0 && made / w->n == (uint64_t)w->max_tokens) {
        w->money_at = made + 1; /* that was its last, and its end is on the way */
        return;
    }
    enum ek_reason why = ek_door_money_spent(r, made);
    if (why != EK_REASON_NONE) ek_door_money_end(r, why);
}

/* Hundreds of streams take turns, so that the next one's state has mostly left the cache: while its chunk is
 * read, which is a third of the work, what comes then is on its way. */
static void on_soon(void *arg)
{
    const struct ek_door_request *r = arg;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    EK_NEAR(r->running, 192);
    if (r->http) ek_http_near(r->http);
}

static void on_chunk(void *arg, struct ek_str payload, const struct ek_up_chunk *c)
{
    struct ek_door_request *r = arg;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(ek_door_is_running(r));
    if (r->running->kept) ek_door_stream_near(r->running->kept);
    if (r->running->second && (c->flags & (EK_UP_TOKEN | EK_UP_FINISH))) ek_door_hedge_lost(r);
    if (r->state == EK_DOOR_SENT) ek_door_move(r, EK_DOOR_STREAMING);
    count_tokens(r, c);
    struct ek_door_running *w = r->running;
    if (c->flags & EK_UP_FINISH) ek_door_note_ended(w, c);
    if (r->stream) {
        /* The end of a stream begins where its last choice has its finish_reason. Who pays gets it when that
         * is done. */
        if (r->paying && w->finished >= w->n) w->holding = true;
        if (!is_idle_talk(r, c)) ek_door_relay_chunk(r, payload, c);
        if (c->flags & EK_UP_ROLE) w->saw_role = true;
        look_at_money(r);
        return;
    }
    if (!w->collect) w->collect = ek_collect_new((enum ek_api)r->api, EK_DOOR_ANSWER_BYTES_MAX);
    enum ek_status s = w->collect ? ek_collect_add(w->collect, c) : EK_NOMEM;
    if (s == EK_OK) {
        look_at_money(r);
        return;
    }
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
    if (!w || w->held_back || !w->relay || r->detached) return;
    if (ek_http_unsent(r->http) <= (high ? high : EK_DOOR_UNSENT_BYTES_HIGH)) return;
    w->held_back = true;
    r->door->counters.pauses++;
    ek_relay_pause(w->relay, true);
}

void ek_door_rest(struct ek_door_request *r, bool rest)
{
    struct ek_door_running *w = r->running;
    MUST(w && w->relay && w->resting != rest);
    w->resting = rest;
    if (!w->held_back) ek_relay_pause(w->relay, rest);
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
    if (!r->running->resting) ek_relay_pause(r->running->relay, false);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void on_done(void *arg)
{
    struct ek_door_request *r = arg;
    struct ek_door *d = r->door;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(r->state == EK_DOOR_STREAMING); /* a whole answer has at least a finish_reason */
    r->running->relay = NULL;
    if (r->running->second) ek_door_hedge_lost(r);
    if (d->writer == r && d->out.failed) {
        ek_door_flush(d);
        return;
    }
    ek_door_conclude(r, EK_REASON_NONE);
}

/* ---- failures --------------------------------------------------------------------------------------- */

static void on_refused(void *arg, int status, uint64_t retry_after_ms, struct ek_str body)
{
    struct ek_door_request *r = arg;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    r->running->relay = NULL;
    bool passing = status == 408 || status == 429 || status >= 500;
    if (status >= 401 && status <= 403) ek_pool_quarrel(r->door->pool, r->running->upstream, status);
    if (ek_door_unlend(r, status, retry_after_ms)) return;
    if ((status == 429 || status == 503) && !r->running->borrowed)
        ek_desk_full(r->door->desk, ek_door_now(r->door), r->ticket);
    if (passing && ek_door_hedge_saves(r)) return;
    if (r->running->second) ek_door_hedge_lost(r);
    /* Its quarrel is with us, not with the caller; another may have none. So it is with one that shall go on
     * with another's answer, and will not. */
    bool ours = (status >= 401 && status <= 403) || r->running->went_on;
    if ((passing || ours) && ek_door_try_later(r, passing, retry_after_ms)) return;
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
    if (ek_door_hedge_saves(r) || ek_door_try_again(r, why)) return;
    ek_door_refuse_reason(r, why, NULL);
}

const struct ek_relay_events ek_door_relay_events = {
    .soon = on_soon, .accepted = on_accepted, .chunk = on_chunk, .done = on_done,
    .refused = on_refused, .failed = on_failed,
};
