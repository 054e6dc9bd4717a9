/* SPDX-License-Identifier: MIT */
/* One client's request against a live server: tried, told a place, answered or refused, tried again as an
 * SDK does, or given up when patience ends. Patience ends at the first token: who reads does not leave.
 *
 *     AWAY ──▶ CALLING ──▶ (freed)
 *      ▲          │
 *      └─ refused ┘ */
#include "cli/load.h"
#include "sim/dist.h"

#include <math.h>
#include <stdlib.h>

#define HAMMER_RETRIES 10
#define HAMMER_S 0.05
#define RETRY_AFTER_MAX_S 60
#define FOREVER_S 1e6

struct person {
    struct ek_link link; /* on load->all */
    struct ek_loading *load;
    struct ek_call call;
    struct ek_timer timer; /* AWAY: come again. CALLING: end of patience */
    struct ek_post ended;  /* the call is over: look at it outside of its callbacks */
    struct ek_buf body;
    uint64_t id;
    uint64_t first_ns, leave_ns, token_ns, answer_ns, last_ns, told_ns;
    int64_t eta_ms, p90_ms, position;
    uint32_t account, tier, pieces, tries, max_tokens, prompt_tokens;
    uint32_t output_tokens; /* what the scenario says it needs */
    struct ek_buf thought, answer; /* kept where answers are */
    bool calling, hammers, liar, thinks;
};

static uint64_t now_ns(const struct person *p)
{
    return ek_loop_now(p->load->loop).mono_ns;
}

static double since_s(uint64_t now, uint64_t then)
{
    return (double)ek_ns_since(now, then) * 1e-9;
}

static struct ek_sim_tier_result *tier_of(struct person *p)
{
    return &p->load->r->tier[p->tier];
}

static void free_person(struct person *p)
{
    struct ek_loading *l = p->load;
    MUST(!p->calling);
    ek_timer_clear(l->loop, &p->timer);
    ek_post_clear(l->loop, &p->ended);
    ek_list_remove(&l->all, &p->link);
    ek_buf_free(&p->body);
    ek_buf_free(&p->thought);
    ek_buf_free(&p->answer);
    free(p);
    l->live--;
    if (l->over && l->live == 0) ek_loop_stop(l->loop);
}

/* ---- estimates ------------------------------------------------------------------------------------ */

/* An estimate speaks of the first token, counted from the word that told it (docs/wire.md). */
static void score(struct person *p, double wait_s)
{
    struct ek_sim_truth *t = &tier_of(p)->truth;
    double p50_s = (double)p->eta_ms * 1e-3;
    t->shown++;
    t->within_p50 += wait_s <= p50_s;
    t->within_p90 += wait_s <= (double)p->p90_ms * 1e-3;
    t->wait_s += wait_s;
    t->error_s += wait_s - p50_s;
    if (p->position <= 50) return;
    t->deep++;
    ek_sim_sketch_add(&t->deep_error, fabs(wait_s - p50_s) / fmax(wait_s, 0.001));
}

static void on_place(void *arg, const struct ek_place_told *place)
{
    struct person *p = arg;
    if (p->told_ns || place->eta_ms < 0) return;
    p->told_ns = now_ns(p);
    p->eta_ms = place->eta_ms;
    p->p90_ms = place->eta_p90_ms;
    p->position = place->position;
}

/* ---- tokens --------------------------------------------------------------------------------------- */

static void on_token(struct person *p)
{
    struct ek_loading *l = p->load;
    uint64_t now = now_ns(p);
    p->pieces++;
    if (p->token_ns) {
        ek_sim_sketch_add(&tier_of(p)->itl, since_s(now, p->last_ns));
    } else {
        p->token_ns = now;
        ek_timer_clear(l->loop, &p->timer);
        ek_sim_fair_waiting(&l->fair, p->account, -1);
        l->waiting--;
        l->running++;
        l->point_wait_s += since_s(now, p->first_ns);
        l->point_starts++;
        if (p->told_ns) score(p, since_s(now, p->told_ns));
    }
    p->last_ns = now;
    double work = (double)l->s.price.output_pico * 1e-12;
    ek_sim_fair_served(&l->fair, p->account, work);
    tier_of(p)->service += work;
}

static void on_thought(void *arg, struct ek_str text)
{
    struct person *p = arg;
    if (p->load->answers) ek_buf_put(&p->thought, text.data, text.len);
    on_token(p);
}

static void on_answer(void *arg, struct ek_str text)
{
    struct person *p = arg;
    if (p->load->answers) ek_buf_put(&p->answer, text.data, text.len);
    if (!p->answer_ns) p->answer_ns = now_ns(p);
    on_token(p);
}

static void on_done(void *arg)
{
    struct person *p = arg;
    ek_post_put(p->load->loop, &p->ended);
}

static const struct ek_call_events call_events = {on_place, on_thought, on_answer, on_done};

/* ---- trying --------------------------------------------------------------------------------------- */

static bool write_body(struct person *p)
{
    static const char *const words[] = {"river", "seven", "green", "paper",
                                        "cloud", "north", "apple", "stone"};
    struct ek_random r = ek_random_make(p->id);
    struct ek_buf *b = &p->body;
    if (p->load->questions) {
        ek_load_question_put(p->load, b, p->id, p->account, p->thinks, p->liar);
        return !b->failed;
    }
    ek_buf_printf(b, "{%s\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                     "\"max_tokens\":%u,\"pacer_tokens\":%u,\"user\":\"u%u\",\"messages\":"
                     "[{\"role\":\"user\",\"content\":"
                     "\"Question %llu.", p->load->model_member, p->max_tokens, p->output_tokens, p->account,
                  (unsigned long long)p->id);
    /* A common word is about a token. */
    for (uint32_t i = 4; i < p->prompt_tokens; i++)
        ek_buf_printf(b, " %s", words[ek_random_below(&r, EK_COUNT(words))]);
    ek_buf_lit(b, "\"}]}");
    return !b->failed;
}

/* The keys of a tier are dealt to its accounts in turn. */
static const char *key_of(const struct person *p)
{
    const struct ek_loading *l = p->load;
    uint32_t of_tier = 0;
    for (uint32_t i = 0; i < l->keys; i++) of_tier += l->key[i].tier == p->tier;
    if (of_tier == 0) return NULL;
    uint32_t skip = p->account % of_tier;
    for (uint32_t i = 0; i < l->keys; i++)
        if (l->key[i].tier == p->tier && skip-- == 0) return l->key[i].key;
    return NULL;
}

static void attempt(struct person *p)
{
    struct ek_loading *l = p->load;
    MUST(!p->calling);
    p->calling = true;
    p->told_ns = 0;
    tier_of(p)->attempts++;
    l->point.arrived++;
    l->waiting++;
    ek_sim_fair_waiting(&l->fair, p->account, 1);
    ek_call_start(&p->call, l->client, &l->target, EK_STR("/v1/chat/completions"),
                  ek_buf_view(&p->body), key_of(p), &call_events, p);
    ek_timer_set(l->loop, &p->timer, p->leave_ns);
}

static void no_longer_calling(struct person *p)
{
    struct ek_loading *l = p->load;
    p->calling = false;
    ek_timer_clear(l->loop, &p->timer);
    if (p->token_ns) {
        l->running--;
        return;
    }
    l->waiting--;
    ek_sim_fair_waiting(&l->fair, p->account, -1);
}

/* The code stands in brackets behind the sentence (see chat_call.c). */
static enum ek_reason reason_of(const struct ek_call *c)
{
    for (int k = 1; k < EK_REASON_COUNT; k++) {
        char code[64];
        snprintf(code, sizeof code, "(%s)", ek_reason_code((enum ek_reason)k));
        if (strstr(c->sentence, code)) return (enum ek_reason)k;
    }
    if (c->status == 0) return EK_REASON_UPSTREAM_CONNECT;
    return c->status == 429 ? EK_REASON_QUEUE_FULL : EK_REASON_UPSTREAM_STATUS;
}

static double retry_s(struct person *p)
{
    if (p->hammers) return HAMMER_S;
    int64_t told_s = p->call.retry_after_s;
    if (told_s > 0 && told_s <= RETRY_AFTER_MAX_S) return (double)told_s;
    return fmin(8, 0.5 * pow(2, p->tries)) * (1 - 0.25 * ek_random_unit(&p->load->random));
}

static void refused(struct person *p)
{
    struct ek_loading *l = p->load;
    uint32_t retries = !l->retry ? 0 : p->hammers ? HAMMER_RETRIES : l->s.retries;
    uint64_t again_ns = now_ns(p) + (uint64_t)(retry_s(p) * 1e9);
    bool may = p->call.status == 429 || p->call.status >= 500;
    tier_of(p)->refusals[reason_of(&p->call)]++;
    l->point.refused++;
    ek_call_free(&p->call);
    if (!may || p->tries >= retries || again_ns >= p->leave_ns) {
        tier_of(p)->refused++;
        free_person(p);
        return;
    }
    p->tries++;
    ek_timer_set(l->loop, &p->timer, again_ns);
}

static void finished(struct person *p)
{
    const struct ek_sim_tier *tier = &p->load->s.tier[p->tier];
    struct ek_sim_tier_result *t = tier_of(p);
    const struct ek_call *c = &p->call;
    int64_t told = (c->thought_tokens > 0 ? c->thought_tokens : 0) +
                   (c->answer_tokens > 0 ? c->answer_tokens : 0);
    uint32_t tokens = told > 0 ? (uint32_t)told : p->pieces;
    double ttft_s = since_s(p->token_ns, p->first_ns);
    double tpot_s = tokens > 1 ? since_s(p->last_ns, p->token_ns) / (tokens - 1.0) : 0;
    bool good = ttft_s <= tier->ttft_s && tpot_s <= tier->tpot_s;
    t->finished++;
    t->good += good;
    t->shortened += c->thinking_budget >= 0;
    t->tokens += tokens;
    t->good_tokens += good ? tokens : 0;
    ek_sim_sketch_add(&t->ttft, ttft_s);
    ek_sim_sketch_add(&t->wait, ttft_s);
    if (p->answer_ns) ek_sim_sketch_add(&t->answer, since_s(p->answer_ns, p->first_ns));
    if (tokens > 1) ek_sim_sketch_add(&t->tpot, tpot_s);
    p->load->point.finished++;
    p->load->point.good += good;
    const struct ek_load_answer answer = {.id = p->id, .tier = p->tier, .thinks = p->thinks,
                                          .liar = p->liar, .thought = ek_buf_view(&p->thought),
                                          .answer = ek_buf_view(&p->answer), .call = c};
    ek_load_answer_note(p->load, &answer);
    ek_call_free(&p->call);
    free_person(p);
}

static void call_ended(struct ek_post *post)
{
    struct person *p = EK_CONTAINER(post, struct person, ended);
    enum ek_call_end end = p->call.end;
    MUST(end != EK_CALL_RUNNING && p->calling);
    no_longer_calling(p);
    p->load->heads += p->call.status != 0;
    p->load->unreached += p->call.status == 0;
    if (end == EK_CALL_DONE && p->token_ns) {
        finished(p);
        return;
    }
    if (end == EK_CALL_FAILED || end == EK_CALL_DONE) p->load->failed++;
    if (p->token_ns) { /* half an answer is not asked for again */
        tier_of(p)->refusals[EK_REASON_UPSTREAM_CUT]++;
        tier_of(p)->refused++;
        tier_of(p)->wasted += p->pieces;
        ek_call_free(&p->call);
        free_person(p);
        return;
    }
    refused(p);
}

static void leave(struct person *p)
{
    tier_of(p)->left++;
    tier_of(p)->wasted += p->pieces;
    p->load->point.left++;
    if (p->calling) {
        double waited_s = p->told_ns ? since_s(now_ns(p), p->told_ns) : 0;
        if (p->told_ns && !p->token_ns && waited_s > (double)p->p90_ms * 1e-3) score(p, waited_s);
        no_longer_calling(p);
        ek_call_stop(&p->call);
        ek_call_free(&p->call);
    }
    free_person(p);
}

static void timer_rings(struct ek_timer *t)
{
    struct person *p = EK_CONTAINER(t, struct person, timer);
    if (!p->calling) {
        attempt(p);
    } else if (p->call.end == EK_CALL_RUNNING) {
        leave(p);
    } /* else: its end is posted already */
}

void ek_load_arrive(struct ek_loading *l, const struct ek_sim_spec *spec)
{
    uint32_t account = ek_sim_plan_account(&l->plan, spec);
    uint32_t tier = l->plan.tier_of[account];
    l->r->tier[tier].arrived++;
    struct person *p = l->live < EK_LOAD_LIVE_MAX ? calloc(1, sizeof *p) : NULL;
    if (!p) {
        l->r->tier[tier].attempts++;
        l->r->tier[tier].refused++;
        l->r->tier[tier].refusals[EK_REASON_CONNECTIONS_FULL]++;
        return;
    }
    bool liar = ek_random_unit(&l->random) < l->s.liars; /* drawn in the order of the simulator */
    bool hammers = ek_random_unit(&l->random) < l->s.hammer;
    double median_s = l->s.tier[tier].patience_s;
    double patience_s = ek_sim_lognormal(&l->random, median_s > 0 ? median_s : FOREVER_S,
                                         median_s > 0 ? l->s.patience_sigma : 0);
    *p = (struct person){.load = l, .id = l->next_id++, .account = account, .tier = tier,
                         .max_tokens = liar ? EK_LOAD_LIE_TOKENS : spec->output_tokens,
                         .output_tokens = spec->output_tokens, .prompt_tokens = spec->prompt_tokens,
                         .hammers = hammers, .liar = liar, .thinks = spec->think_tokens > 0,
                         .thought = ek_buf_make(EK_LOAD_TEXT_BYTES_MAX),
                         .answer = ek_buf_make(EK_LOAD_TEXT_BYTES_MAX),
                         .body = ek_buf_make(EK_LOAD_BODY_BYTES_MAX)};
    ek_timer_init(&p->timer, timer_rings);
    ek_post_init(&p->ended, call_ended);
    p->first_ns = now_ns(p);
    p->leave_ns = p->first_ns + (uint64_t)(fmin(patience_s, FOREVER_S) * 1e9);
    ek_list_append(&l->all, &p->link);
    l->live++;
    MUST(write_body(p)); /* prompts are bounded by the source */
    attempt(p);
}

void ek_load_cut(struct ek_loading *l)
{
    struct ek_link *n;
    l->over = true;
    while ((n = ek_list_first(&l->all)) != NULL) {
        struct person *p = EK_CONTAINER(n, struct person, link);
        if (p->calling && p->call.end != EK_CALL_RUNNING) {
            call_ended(&p->ended); /* one that will come again is still in the list, and leaves next */
        } else {
            leave(p);
        }
    }
}
