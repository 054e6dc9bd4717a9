/* SPDX-License-Identifier: MIT */
/* The arrival at the desk: all that is known of a request when its body is complete, on the stack, and
 * what becomes of it: a place in line, the place it had before, or a refusal.
 *
 * Hashes find what belongs together: `repeat` covers account and body, so that an SDK that gave up and asks
 * again, in the same bytes, gets the place it had; prefixes and conversations are door/prefix.h's. */
#include "door/choices.h"

#include "base/map.h"
#include "door/prefix.h"
#include "policy/cost.h"

#include <stdio.h>
#include <stdlib.h>

#define OUTPUT_TOKENS_GUESS 512u /* of one choice among several: nothing is learned about those */
#define MESSAGE_TOKENS 4u        /* of its frame in the template */
#define DEADLINE_MS_MAX 86400000u
#define RETRIES_MAX 255u

/* ---- the head ----------------------------------------------------------------------------------- */

/* False when the header is there and no whole number within the range, or there twice. */
static bool read_number(const struct ek_http_head *head, struct ek_str name, uint64_t min, uint64_t max,
                        uint64_t *out)
{
    struct ek_str text;
    size_t count = ek_http_head_find(head, name, &text);
    if (count == 0) return true;
    return count == 1 && ek_str_u64(text, out) && *out >= min && *out <= max;
}

static bool read_flag(const struct ek_http_head *head, struct ek_str name, bool *out)
{
    struct ek_str text;
    size_t count = ek_http_head_find(head, name, &text);
    *out = count == 1 && (ek_str_eq(text, EK_STR("1")) || ek_str_eq_nocase(text, EK_STR("true")));
    bool off = count == 1 && (ek_str_eq(text, EK_STR("0")) || ek_str_eq_nocase(text, EK_STR("false")));
    return count == 0 || *out || off;
}

bool ek_door_read_wishes(const struct ek_http_head *head, struct ek_now now, struct ek_door_wishes *out,
                         struct ek_error *error)
{
    uint64_t deadline_ms = 0, retries = 0;
    *out = (struct ek_door_wishes){.deadline_ns = UINT64_MAX};
    if (!read_number(head, EK_STR("x-deadline-ms"), 1, DEADLINE_MS_MAX, &deadline_ms)) {
        *error = (struct ek_error){.reason = EK_REASON_BAD_VALUE, .param = "X-Deadline-Ms",
            .message = EK_STR("X-Deadline-Ms must be a whole number of milliseconds, 1 to 86400000: how "
                              "long the request may wait for its start.")};
        return false;
    }
    struct ek_str ticket;
    size_t tickets = ek_http_head_find(head, EK_STR("x-queue-ticket"), &ticket);
    if (tickets > 1 || (tickets == 1 && !ek_door_ticket_read(ticket, &out->shown))) {
        *error = (struct ek_error){.reason = EK_REASON_BAD_VALUE, .param = "X-Queue-Ticket",
            .message = EK_STR("X-Queue-Ticket must be a ticket as it was given: 8, 8 and 32 digits.")};
        return false;
    }
    if (!read_flag(head, EK_STR("x-keep-thinking"), &out->keep_thinking)) {
        *error = (struct ek_error){.reason = EK_REASON_BAD_VALUE, .param = "X-Keep-Thinking",
            .message = EK_STR("X-Keep-Thinking must be 1 or 0.")};
        return false;
    }
    if (deadline_ms) out->deadline_ns = now.mono_ns + deadline_ms * EK_MS_NS;
    if (!read_number(head, EK_STR("x-stainless-retry-count"), 0, RETRIES_MAX, &retries))
        retries = 0; /* an SDK's own business: nobody can mend what it says */
    out->retries = (uint8_t)retries;
    return true;
}

/* ---- who, and which conversation ------------------------------------------------------------------ */

static uint64_t mixed(uint64_t a, uint64_t b)
{
    uint64_t both[2] = {a, b};
    return ek_hash(ek_str_make((const char *)both, sizeof both), 0);
}

static uint64_t user_of(const struct ek_door_request *r, const struct ek_request *q)
{
    struct ek_str body = ek_buf_view(&r->body);
    if (r->wishes->user) return r->wishes->user; /* the key says who */
    struct ek_str user = ek_request_value(q, EK_MEMBER_USER_ID, body);
    if (!user.len) user = ek_request_value(q, EK_MEMBER_USER, body);
    return user.len > 2 ? ek_hash(user, r->door->hash_seed) : 0;
}

/* Those who share their part with their address are told apart inside it. */
static void put_people(const struct ek_door_request *r, const struct ek_request *q, struct ek_arrival *a)
{
    a->account = r->account;
    a->user = user_of(r, q);
    a->owner = r->wishes->owner;
    if (a->owner && a->user) a->account = mixed(a->account, a->user);
    uint64_t who = mixed(mixed(a->account, a->user), mixed(a->owner, r->tier * 8u + r->api));
    a->repeat = ek_hash(ek_buf_view(&r->body), who);
    if (a->repeat == 0) a->repeat = 1;
}

/* ---- price ---------------------------------------------------------------------------------------- */

/* Our own engine takes a thinking budget from the door, and what the configuration says takes one. */
static bool can_be_shortened(const struct ek_door *d, const struct ek_pool_model *model,
                             const struct ek_request *q)
{
    if (q->thinking == EK_THINKING_DISABLED || q->effort == EK_EFFORT_NONE) return false;
    bool any = false;
    for (uint64_t m = model->upstream_mask; m; m &= m - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(m);
        if (ek_pool_loan(d->pool, i)->borrowed) continue; /* there it may think as it pleases */
        if (!ek_pool_is_ours(d->pool, i) && ek_pool_budget_way(d->pool, i) == EK_BUDGET_NONE) return false;
        any = true;
    }
    return any;
}

/* Who names a budget has chosen, too, whatever its upstream calls it. */
static bool names_budget(const struct ek_request *q)
{
    return q->thinking_budget >= 0 || ek_request_has(q, EK_MEMBER_TOKEN_BUDGET) ||
           ek_request_has(q, EK_MEMBER_BUDGET_TOKENS);
}

/* Is this one of the deep thoughts that may be limited a day? By its own word, else by its model's habit. */
static bool asks_to_think(const struct ek_door *d, const struct ek_pool_model *model,
                          const struct ek_request *q)
{
    if (q->thinking == EK_THINKING_DISABLED || q->effort == EK_EFFORT_NONE) return false;
    if (q->thinking != EK_THINKING_UNSET || q->effort != EK_EFFORT_UNSET) return true;
    if (strcmp(model->name, "deepseek-chat") == 0) return false;
    return strcmp(model->name, "deepseek-reasoner") == 0 || can_be_shortened(d, model, q);
}

uint64_t ek_door_arrived_unix_ns(const struct ek_door_request *r)
{
    struct ek_now now = ek_door_now(r->door);
    return now.unix_ns - ek_ns_since(now.mono_ns, r->arrived_ns);
}

void ek_door_arrived_then(struct ek_door_request *r, uint64_t unix_ns)
{
    struct ek_now now = ek_door_now(r->door);
    r->arrived_ns = ek_ns_since(now.mono_ns, ek_ns_since(now.unix_ns, unix_ns));
}

const struct ek_price_options *ek_door_price(const struct ek_door_request *r)
{
    const struct ek_pool_model *model = ek_pool_model(r->door->pool, r->model);
    return ek_cost_price(&r->door->config->prices, model->name, ek_door_arrived_unix_ns(r));
}

static struct ek_arrival describe(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    const struct ek_request *q = &r->reading->request;
    const struct ek_pool_model *model = ek_pool_model(d->pool, r->model);
    uint64_t prompt = ek_cost_guess_tokens(q->prompt_bytes[EK_SCRIPT_ASCII] + q->tools_bytes,
                                           q->prompt_bytes[EK_SCRIPT_WIDE],
                                           q->prompt_bytes[EK_SCRIPT_OTHER]);
    prompt += q->prompt_ids + (uint64_t)MESSAGE_TOKENS * q->message_count;
    /* One choice: the desk predicts from what was learned; of several it knows nothing. */
    uint64_t output = q->n > 1 ? OUTPUT_TOKENS_GUESS * (uint64_t)q->n : 0;
    uint64_t limit = q->max_tokens > 0 && q->max_tokens < UINT32_MAX ? (uint64_t)q->max_tokens : 0;
    if (limit && output > limit * q->n) output = limit * q->n;
    const struct ek_price_options *p = ek_door_price(r);
    uint64_t choosers = ek_door_choosers(d, model, q->n);
    struct ek_arrival a = {
        .id = (uint64_t)(uintptr_t)r, .tier = r->tier,
        .pool = ek_desk_pool(d->desk, choosers ? choosers : model->upstream_mask),
        .choices = q->n,
        .prompt_tokens = prompt > UINT32_MAX ? UINT32_MAX : (uint32_t)prompt,
        .output_tokens = (uint32_t)output,
        .price = {p->cached_pico, p->prompt_pico, p->output_pico},
        .model = ek_hash(ek_str_of(model->name), d->hash_seed),
        .effort = (uint32_t)q->effort + 16u * q->thinking,
        .max_tokens = (uint32_t)limit,
        .thinks = can_be_shortened(d, model, q),
        .keep_thinking = r->wishes->keep_thinking || names_budget(q),
        .deadline_ns = r->wishes->deadline_ns,
        .retries = r->wishes->retries,
    };
    put_people(r, q, &a);
    const struct ek_request_reader *reader = &r->reading->reader;
    struct ek_str body = ek_buf_view(&r->body);
    a.prefix_count = ek_prefix_chain(reader, body, a.model, a.prompt_tokens, a.prefix);
    a.first_turn = !reader->has_answer;
    a.conversation = ek_prefix_conversation(reader, body, mixed(a.account, a.user));
    return a;
}

/* ---- the place it had ------------------------------------------------------------------------------ */

/* An SDK that gave up asks again; its first connection may still seem open, to us or to a proxy between.
 * Only a later attempt takes an earlier one's place: two callers who ask the same at once both wait. What
 * has begun (`running`: its engine died) is not handed on, half of the answer went to the old connection. A
 * place that is kept for one whose connection broke is taken again by whoever asks the same. */
static bool rejoin(struct ek_door_request *r, const struct ek_arrival *a)
{
    struct ek_door *d = r->door;
    uint64_t old_id = 0;
    struct ek_door_request *old = (struct ek_door_request *)(uintptr_t)ek_desk_repeat(d->desk, a->repeat);
    if (!old) return false;
    MUST_OBJ(old, EK_DOOR_REQUEST_MAGIC);
    if (r->asked || old->asked || old->running || old->starting || old->detached) return false;
    if (old->http && old->retries >= a->retries) return false;
    uint32_t ticket = ek_desk_rejoin(d->desk, ek_door_now(d), a->repeat, a->id, &old_id);
    MUST(ticket && old_id == (uint64_t)(uintptr_t)old);
    d->counters.rejoins++;
    ek_door_take_place(r, old, ticket);
    if (a->deadline_ns != UINT64_MAX) ek_desk_deadline(d->desk, ticket, a->deadline_ns);
    return true;
}

/* ---- in, or not ------------------------------------------------------------------------------------ */

/* A model that costs less and could begin at once, or, for one in a hurry, sooner; NULL: there is none. */
static const struct ek_pool_model *cheaper(struct ek_door *d, const struct ek_arrival *a,
                                           const struct ek_action *refusal)
{
    const struct ek_pool_model *best = NULL;
    struct ek_now now = ek_door_now(d);
    bool hurried = refusal->reason == EK_REASON_DEADLINE;
    int64_t best_ms = hurried ? refusal->eta_ms : INT64_MAX;
    for (uint32_t i = 0; i < ek_pool_models(d->pool); i++) {
        const struct ek_pool_model *m = ek_pool_model(d->pool, i);
        if (m->alias) continue;
        const struct ek_price_options *p = ek_cost_price(&d->config->prices, m->name, now.unix_ns);
        if (p->output_pico >= a->price.output_pico) continue;
        uint32_t pool = m->upstream_mask ? ek_desk_pool(d->desk, m->upstream_mask) : a->pool;
        struct ek_action w;
        if (pool == a->pool || pool == EK_DESK_POOLS_MAX) continue;
        ek_desk_would_wait(d->desk, now, a, pool, &w);
        if (w.eta_ms < 0 || w.eta_ms >= best_ms || (!hurried && w.position > 0)) continue;
        best = m;
        best_ms = w.eta_ms;
    }
    return best;
}

static void refuse_arrival(struct ek_door_request *r, const struct ek_arrival *arrival,
                           const struct ek_action *a)
{
    struct ek_error e = ek_door_error_of(a);
    const struct ek_pool_model *m = NULL;
    r->door->counters.refused[r->tier]++;
    if (a->reason != EK_REASON_DRAINING) m = cheaper(r->door, arrival, a);
    if (m) {
        e.help |= EK_HELP_CHEAPER_MODEL;
        e.model = ek_str_of(m->name);
    }
    ek_door_refuse(r, &e);
}

static void forget_wishes(struct ek_door_request *r)
{
    r->retries = r->wishes->retries;
    free(r->wishes);
    r->wishes = NULL;
}

static void into_line(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    ek_door_move(r, EK_DOOR_WAITING);
    if (r->asked && !ek_door_asked_admit(r)) return;
    ek_door_watch_silence(r);
    /* One that can start does so a moment later: if its client has left by then, no engine hears of it. */
    struct ek_desk_counts n = ek_desk_counts(d->desk);
    if (n.waiting + n.running > n.slots) ek_door_pump_now(d);
    else ek_door_pump(d);
}

void ek_door_enter(struct ek_door_request *r, const struct ek_arrival *a)
{
    struct ek_door *d = r->door;
    struct ek_action refusal;
    MUST(r->state == EK_DOOR_PRICED && r->ticket == 0);
    if (!ek_desk_arrive(d->desk, ek_door_now(d), a, &r->ticket, &refusal)) {
        refuse_arrival(r, a, &refusal);
        return;
    }
    d->counters.entered++;
    if (!r->asked) ek_door_keep_prepare(r, a); /* those have a tape */
    into_line(r);
}

/* An answer that silently lacks choices would be a wrong answer. */
static bool can_choose(struct ek_door_request *r)
{
    const struct ek_pool_model *model = ek_pool_model(r->door->pool, r->model);
    uint32_t n = r->reading->request.n;
    char text[128];
    if (!model->upstream_mask || ek_door_choosers(r->door, model, n)) return true;
    snprintf(text, sizeof text, "Nobody who serves this model gives %u choices to one prompt.", n);
    struct ek_error e = {.reason = EK_REASON_UNSUPPORTED, .param = "n", .message = ek_str_of(text)};
    ek_door_refuse(r, &e);
    return false;
}

void ek_door_arrive(struct ek_door_request *r)
{
    struct ek_door *d = r->door;
    MUST(r->state == EK_DOOR_PRICED && r->reading && r->wishes);
    if (!can_choose(r)) return;
    struct ek_arrival a = describe(r);
    if (r->automatic && !ek_desk_repeat(d->desk, a.repeat)) /* else its place, if it had one, has a model */
        while (ek_door_auto_lighter(r, &a)) a = describe(r);
    uint64_t account = r->wishes->ledger_account, key = r->wishes->ledger_key;
    bool thinks = asks_to_think(d, ek_pool_model(d->pool, r->model), &r->reading->request);
    forget_wishes(r);
    if (a.pool == EK_DESK_POOLS_MAX) {
        ek_door_refuse_reason(r, EK_REASON_INTERNAL, "Too many different sets of upstreams.");
        return;
    }
    if (a.retries) d->counters.repeats++;
    if (rejoin(r, &a)) {
        into_line(r);
        return;
    }
    if (!ek_door_limits_begin(r, &a, thinks)) return;
    a.may_borrow = r->may_borrow;
    if (!ek_door_reach(r) && ek_pool_model(d->pool, r->model)->upstream_mask) {
        ek_door_refuse_reason(r, EK_REASON_BORROW_FORBIDDEN, NULL);
        return;
    }
    if (ek_door_money_reserve(r, account, key, &a) == EK_DOOR_PAID) ek_door_enter(r, &a);
}
