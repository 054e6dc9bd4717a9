/* SPDX-License-Identifier: MIT */
/* What becomes of a request whose attempt failed. It depends on what its caller has already:
 *
 *   nothing                             again, elsewhere if there is an elsewhere; else a true error
 *   tokens of our engine, all known     on with their ids, at any engine of ours: exactly what was left
 *   text another can go on with         on from it, where the dialect allows it (ek_relay_can_carry)
 *   text nobody has a way to go on with, in a tier that wants it all the same: another is shown it and asked
 *                                       to go on; labelled (a comment, usage, the record): it is another's
 *   anything else                       an error event: an honest end; or again from the beginning, for who
 *                                       waits for the whole answer and has heard nothing of it
 *
 * Never in the middle of a tool call: half of one cannot be said again. What is sent again for a failure's
 * sake comes out of a budget (health.h). Where it broke off and another is up, that one is asked at once;
 * else after a jittered moment, in which the request keeps its slot: that is also what keeps others from
 * being sent to where it failed. The usage of an answer of several pieces
 * is their sum, with the prompt counted once. */
#include "door/door_state.h"

#include <stdlib.h>

#define RETRY_FIRST_MS 100u /* doubling each time; half of it is jitter */
#define RETRY_LONGEST_MS 2000u
#define ELSEWHERE_MS 40u    /* the same where another upstream is asked */
#define LENDER_QUARREL_NS (60 * EK_S_NS) /* a lender that wants a key or money is left alone so long */

/* ---- what was said --------------------------------------------------------------------------------- */

bool ek_door_keeps_text(const struct ek_door_request *r)
{
    const struct ek_pool *p = r->door->pool;
    bool carriers = r->api == EK_API_COMPLETIONS, others = false;
    bool asks = r->stream && r->door->config->tiers.item[r->tier].reprompt;
    if (r->running->n != 1) return false;
    for (uint64_t m = ek_door_reach(r); m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        carriers = carriers || ek_pool_ways(p, i)->carry != EK_CARRY_NOT;
        others = others || !ek_pool_is_ours(p, i); /* among ours alone the ids are enough */
    }
    return (carriers || asks) && others;
}

void ek_door_keep_text(struct ek_door_request *r, const struct ek_up_chunk *c)
{
    struct ek_door_running *w = r->running;
    const struct ek_up_choice *h = &c->choice[0];
    if (c->flags & EK_UP_TOOL_CALLS) w->text_whole = false;
    if (!c->choice_count || !w->text_whole) return;
    if (h->reasoning.len) ek_buf_str(&w->said_thought, h->reasoning);
    if (h->content.len) ek_buf_str(&w->said_answer, h->content);
    if (!w->said_thought.failed && !w->said_answer.failed) return;
    w->text_whole = false;
    ek_buf_free(&w->said_thought);
    ek_buf_free(&w->said_answer);
}

void ek_door_merge_usage(struct ek_door_running *w)
{
    struct ek_usage *u = &w->usage;
    MUST(w->carried);
    u->prompt_tokens = u->prompt_tokens > w->carried_tokens ? u->prompt_tokens - w->carried_tokens : 0;
    if (u->cached_tokens > u->prompt_tokens) u->cached_tokens = u->prompt_tokens;
    u->completion_tokens += w->carried_tokens;
    u->reasoning_tokens += w->carried_thought;
    u->estimated = true; /* what the first upstream counted it has not told */
}

/* ---- who can go on --------------------------------------------------------------------------------- */

static bool is_begun(const struct ek_door_running *w)
{
    return w->thought_tokens + w->answer_tokens > 0;
}

static bool has_ids(const struct ek_door_running *w)
{
    return w->ids_whole && w->id_count > 0;
}

static bool has_text(const struct ek_door_running *w)
{
    return w->text_whole && w->said_thought.len + w->said_answer.len > 0;
}

static bool can_carry(const struct ek_door_request *r, uint32_t upstream)
{
    const struct ek_door_running *w = r->running;
    return has_text(w) && ek_relay_can_carry(r->door->pool, upstream, ek_door_request_read(r),
                                             ek_buf_view(&r->body), w->said_thought.len > 0,
                                             w->said_answer.len > 0);
}

/* Can it be gone on with in words, by anybody? An answer proper must have begun: a thought alone is no
 * beginning that another's thought could follow. */
static bool can_reprompt(const struct ek_door_request *r)
{
    const struct ek_door_running *w = r->running;
    if (!r->door->config->tiers.item[r->tier].reprompt || !r->stream || !has_text(w)) return false;
    return w->said_answer.len > 0 && ek_relay_can_reprompt(ek_door_request_read(r), ek_buf_view(&r->body));
}

static uint64_t up_mask(const struct ek_door_request *r)
{
    uint64_t up = 0;
    for (uint64_t m = ek_door_reach(r); m; m &= m - 1)
        if (ek_pool_load(r->door->pool, (uint32_t)__builtin_ctzll(m)).up) up |= m & -m;
    return up;
}

/* Upstreams that serve its model, are up, and can take it as it stands. ids: by ids alone. */
static uint64_t able_mask(const struct ek_door_request *r, bool ids)
{
    const struct ek_pool *p = r->door->pool;
    const struct ek_door_running *w = r->running;
    uint64_t able = 0;
    for (uint64_t m = ek_door_reach(r); m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        if (!ek_pool_load(p, i).up) continue;
        bool can = !is_begun(w) || (ids ? has_ids(w) && ek_pool_is_ours(p, i) : can_carry(r, i));
        if (can) able |= 1ull << i;
    }
    return able;
}

/* Those that know token ids, up or not. */
static uint64_t ours_mask(const struct ek_door_request *r)
{
    uint64_t ours = 0;
    for (uint64_t m = ek_door_reach(r); m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        if (ek_pool_is_ours(r->door->pool, i)) ours |= 1ull << i;
    }
    return ours;
}

/* Of these, those at which it has not failed; when it has at all of them, all but the last one. */
static uint64_t fresh_mask(const struct ek_door_running *w, uint64_t able)
{
    uint64_t last = 1ull << w->upstream;
    if (able & ~w->failed_mask) return able & ~w->failed_mask;
    return able & ~last ? able & ~last : able;
}

/* The caller has heard nothing of this answer yet, so it can begin anew. */
static bool can_begin_anew(const struct ek_door_request *r)
{
    const struct ek_door_running *w = r->running;
    return !r->stream || !(w->saw_thought || w->saw_answer || w->finished);
}

/* Forget what a failed attempt has made; nobody has heard of it. */
static void begin_anew(struct ek_door_request *r)
{
    struct ek_door_running *w = r->running;
    if (w->collect) ek_collect_free(&w->collect);
    w->thought_tokens = w->answer_tokens = w->progress_tokens = 0;
    w->id_count = 0;
    w->ids_whole = true;
    ek_buf_clear(&w->said_thought);
    ek_buf_clear(&w->said_answer);
    w->text_whole = ek_door_keeps_text(r);
    w->saw_usage = false; /* a role once delivered stays delivered */
    w->went_on = false;
    w->holding = false;
    w->finished = 0;
    free(w->choices);
    w->choices = NULL;
    ek_buf_clear(&w->tail);
    w->prompt_tokens = w->cached_tokens = 0;
    w->money_at = ek_door_money_tokens(r);
}

bool ek_door_go_on(struct ek_door_request *r, struct ek_relay_request *q)
{
    struct ek_door_running *w = r->running;
    w->carried = false;
    w->carried_tokens = w->carried_thought = 0;
    if (!is_begun(w)) return true;
    w->went_on = true;
    w->saw_usage = false; /* what the last attempt told was of a part */
    if (w->ours && has_ids(w)) {
        q->prefix_ids = w->ids;
        q->prefix_count = w->id_count;
        return true;
    }
    bool carries = can_carry(r, q->upstream), asks = !carries && can_reprompt(r);
    if (!carries && !asks) {
        if (!can_begin_anew(r)) return false;
        begin_anew(r); /* nobody has heard of what was made, and here it is of no use */
        return true;
    }
    w->carried = true;
    q->carries = carries;
    q->reprompts = asks;
    w->reprompted = w->reprompted || asks;
    w->carried_tokens = q->carried_tokens = w->thought_tokens + w->answer_tokens;
    w->carried_thought = w->thought_tokens;
    q->thought = ek_buf_view(&w->said_thought);
    q->answer = ek_buf_view(&w->said_answer);
    w->ids_whole = false; /* those of the first piece are not known here */
    w->id_count = 0;
    return true;
}

bool ek_door_tell_reprompted(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    MUST(r->running->reprompted && r->stream && d->text.len == 0);
    d->counters.reprompted++;
    if (d->writer == r && !ek_door_flush(d)) return false;
    if (!r->committed) return true;
    ek_buf_printf(&d->text, ": continued {\"how\":\"reprompt\",\"after_tokens\":%llu}\n\n",
                  (unsigned long long)r->running->carried_tokens);
    d->counters.words++;
    bool heard = ek_door_say(r, ek_buf_view(&d->text));
    ek_buf_clear(&d->text);
    return heard;
}

/* ---- again ----------------------------------------------------------------------------------------- */

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

static uint64_t dice(struct ek_door *d, uint64_t below)
{
    uint64_t random;
    ek_loop_random(d->loop, &random, sizeof random);
    return below ? random % below : 0;
}

/* It keeps its slot for so long, and goes again. */
static void hold(struct ek_door_request *r, uint64_t ns)
{
    r->running->again_ns = ek_door_now(r->door).mono_ns + ns;
    ek_door_watch_silence(r);
}

/* So long before the next attempt: `first_ms` doubles with each; half of it is jitter. */
static uint64_t backoff_ns(struct ek_door_request *r, uint64_t first_ms, uint64_t least_ms)
{
    uint64_t ms = r->attempts > 8 ? RETRY_LONGEST_MS : first_ms << (r->attempts ? r->attempts - 1 : 0);
    if (least_ms > ms) ms = least_ms;
    if (ms > RETRY_LONGEST_MS) ms = RETRY_LONGEST_MS;
    return ms * EK_MS_NS - dice(r->door, ms * EK_MS_NS / 2);
}

/* From the beginning, to one of these, with what the budget of retries leaves: after least_ns, or at once. */
static void retry(struct ek_door_request *r, uint64_t to, uint64_t least_ns)
{
    struct ek_door *d = r->door;
    uint64_t wait_ns = ek_pool_retry_wait_ns(d->pool);
    begin_anew(r);
    d->counters.retried++;
    r->running->only_mask = to;
    if (!wait_ns && !least_ns) {
        ek_door_again(r, EK_WHY_RETRYING);
        return;
    }
    if (wait_ns) wait_ns += dice(d, wait_ns); /* all who wait for credit must not come at once */
    hold(r, wait_ns > least_ns ? wait_ns : least_ns);
}

uint64_t ek_door_onward_mask(const struct ek_door_request *r)
{
    uint64_t exact = able_mask(r, true);
    return exact ? exact : able_mask(r, false);
}

/* It has begun, and its caller has heard of it. */
static bool go_on_elsewhere(struct ek_door_request *r)
{
    struct ek_door_running *w = r->running;
    uint64_t exact = able_mask(r, true), carriers = able_mask(r, false);
    if (exact) w->only_mask = fresh_mask(w, exact);
    else if (carriers) w->only_mask = fresh_mask(w, carriers);
    else if (w->ours && has_ids(w)) w->only_mask = ours_mask(r); /* one of ours is restarted, and goes on */
    else if (can_reprompt(r) && up_mask(r)) w->only_mask = fresh_mask(w, up_mask(r));
    else return false;
    ek_door_again(r, EK_WHY_ENGINE_RESTARTED);
    return true;
}

bool ek_door_try_again(struct ek_door_request *r, enum ek_reason why)
{
    struct ek_door_running *w = r->running;
    MUST(!w->relay);
    w->failed_mask |= 1ull << w->upstream;
    if (!may_try_again(r, why)) return false;
    /* Who waits for the whole answer has heard nothing, but what was made was work all the same. */
    bool of_use = has_ids(w) || has_text(w);
    if (is_begun(w) && (of_use || !can_begin_anew(r)) && go_on_elsewhere(r)) return true;
    if (!can_begin_anew(r)) return false;
    if (why == EK_REASON_UPSTREAM_CONNECT) { /* nobody had any work of it */
        r->attempts--;
        begin_anew(r);
        w->only_mask = fresh_mask(w, able_mask(r, false));
        ek_door_again(r, EK_WHY_RETRYING);
        return true;
    }
    /* Its machine broke and another, which has not failed it, is up: whoever waits for a first token has
     * waited enough. The jitter is for those who come back to where it failed, or were told an error. */
    begin_anew(r);
    uint64_t able = able_mask(r, false);
    bool broke = why == EK_REASON_UPSTREAM_RESET || why == EK_REASON_UPSTREAM_CUT ||
                 why == EK_REASON_UPSTREAM_TIMEOUT;
    bool at_once = broke && (able & ~w->failed_mask);
    retry(r, fresh_mask(w, able), at_once ? 0 : backoff_ns(r, ELSEWHERE_MS, 0));
    return true;
}

bool ek_door_try_later(struct ek_door_request *r, bool passing, uint64_t retry_after_ms)
{
    struct ek_door_running *w = r->running;
    w->failed_mask |= 1ull << w->upstream;
    if (!may_try_again(r, EK_REASON_UPSTREAM_STATUS)) return false;
    if (is_begun(w) && (has_text(w) || !can_begin_anew(r)) && go_on_elsewhere(r)) return true;
    if (is_begun(w) && !can_begin_anew(r)) return false;
    uint64_t here = 1ull << w->upstream, others = able_mask(r, false) & ~here;
    uint64_t resting = ek_door_reach(r) & ~here & ~others; /* down, or its breaker is open: for seconds */
    if (others) {
        retry(r, fresh_mask(w, others), backoff_ns(r, ELSEWHERE_MS, 0));
        return true;
    }
    if (!passing && !resting) return false;
    if (passing) retry(r, 0, backoff_ns(r, RETRY_FIRST_MS, retry_after_ms));
    else retry(r, resting, backoff_ns(r, RETRY_LONGEST_MS, 0));
    return true;
}

/* ---- lenders ---------------------------------------------------------------------------------------- */

bool ek_door_unlend(struct ek_door_request *r, int status, uint64_t retry_after_ms)
{
    struct ek_door_running *w = r->running;
    struct ek_door *d = r->door;
    bool full = status == 429 || status == 503, quarrel = status >= 401 && status <= 403;
    if (!w->borrowed || (!full && !quarrel)) return false;
    uint64_t rest_ns = retry_after_ms * EK_MS_NS;
    if (quarrel && rest_ns < LENDER_QUARREL_NS) rest_ns = LENDER_QUARREL_NS;
    ek_desk_lender_full(d->desk, ek_door_now(d), r->ticket, rest_ns);
    w->failed_mask |= 1ull << w->upstream;
    if (is_begun(w)) return go_on_elsewhere(r);
    if (!can_begin_anew(r)) return false;
    r->attempts--; /* nobody had any work of it */
    begin_anew(r);
    w->only_mask = 0;
    ek_desk_unlend(d->desk, ek_door_now(d), r->ticket);
    ek_door_move(r, EK_DOOR_WAITING);
    ek_door_watch_silence(r);
    ek_door_pump(d);
    return true;
}

void ek_door_recalled(struct ek_door_request *r)
{
    struct ek_door_running *w = r->running;
    MUST(w && w->borrowed && ek_door_is_running(r));
    if (w->again_ns) return; /* between two attempts: it goes wherever there is money */
    if (w->finished >= w->n) return; /* all of it is there */
    if (r->door->writer == r && !ek_door_flush(r->door)) return; /* what was paid for is delivered */
    if (w->relay) ek_relay_cancel(&w->relay);
    if (ek_door_try_again(r, EK_REASON_BORROW_BUDGET)) return;
    ek_door_refuse_reason(r, EK_REASON_BORROW_BUDGET, NULL);
}
