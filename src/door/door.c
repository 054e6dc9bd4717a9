/* SPDX-License-Identifier: MIT */
/* The door as a whole: birth and death, the pump that obeys the desk, reload, drain.
 *
 * Whatever happens in a callback is reported to the desk at once; what the desk wants done in return is
 * done by the pump, a little later in the same turn of the loop. So no callback is ever re-entered. Only
 * the end of a body that will have to wait pumps at once: of a thousand that come in one turn, each shall
 * give back what reading it took before the next one is read. */
#include "door/door_state.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define RUNNING_MAX 16384u             /* requests in service at once, whatever the upstreams offer */
#define DOWN_GRACE_NS (30 * EK_S_NS)   /* waiting for an upstream that is not there */
#define LISTEN_MAX EK_DOOR_SERVERS_MAX

struct ek_now ek_door_now(const struct ek_door *d)
{
    return ek_loop_now(d->loop);
}

/* ---- the pump --------------------------------------------------------------------------------------- */

static struct ek_door_request *request_of(const struct ek_action *a)
{
    struct ek_door_request *r = (struct ek_door_request *)(uintptr_t)a->id;
    MUST_OBJ(r, EK_DOOR_REQUEST_MAGIC);
    MUST(r->ticket == a->ticket);
    return r;
}

static void obey(const struct ek_action *a)
{
    struct ek_door_request *r = request_of(a);
    bool there = r->http || r->detached;
    MUST(there || a->act == EK_DESK_REFUSE); /* nothing else happens to one who is away */
    bool ends = a->act == EK_DESK_REFUSE || a->act == EK_DESK_CANCEL;
    if (ends && a->reason == EK_REASON_DRAINING && r->detached) {
        if (a->act == EK_DESK_REFUSE) r->ticket = 0;
        if (ek_door_stream_next_door(r)) return;
    }
    switch (a->act) {
    case EK_DESK_START: ek_door_start_request(r, a); break;
    case EK_DESK_TELL: ek_door_tell(r, a); break;
    case EK_DESK_REFUSE: {
        struct ek_error e = ek_door_error_of(a);
        r->ticket = 0;
        r->door->counters.refused[r->tier] += there;
        if (there) ek_door_refuse(r, &e);
        else ek_door_place_forget(r, a->reason);
        break;
    }
    case EK_DESK_CANCEL: ek_door_refuse_reason(r, a->reason, NULL); break;
    case EK_DESK_RECALL: ek_door_recalled(r); break;
    case EK_DESK_IDLE: WRONG("idle is no action");
    }
}

void ek_door_pump_now(struct ek_door *d)
{
    struct ek_action a;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    ek_swap_purse_open(d);
    while (ek_desk_next(d->desk, ek_door_now(d), &a) != EK_DESK_IDLE) obey(&a);
    ek_swap_purse_shut(d);
    ek_door_borrow_changed(d);
    ek_door_swap_pumped(d);
    uint64_t wake_ns = ek_desk_wake_ns(d->desk);
    if (wake_ns == UINT64_MAX) ek_timer_clear(d->loop, &d->desk_timer);
    else ek_timer_set(d->loop, &d->desk_timer, wake_ns);
}

static void pump(struct ek_post *post)
{
    ek_door_pump_now(EK_CONTAINER(post, struct ek_door, pump));
}

void ek_door_pump(struct ek_door *d)
{
    ek_post_put(d->loop, &d->pump);
}

static void flush(struct ek_post *post)
{
    ek_door_flush(EK_CONTAINER(post, struct ek_door, flush));
}

static void desk_due(struct ek_timer *t)
{
    ek_door_pump(EK_CONTAINER(t, struct ek_door, desk_timer));
}

/* ---- what the pool reports -------------------------------------------------------------------------- */

static void on_load(void *arg, uint32_t index)
{
    struct ek_door *d = arg;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    struct ek_upstream_load u = ek_pool_load(d->pool, index);
    struct ek_load l = {.up = u.up, .slots = u.slots, .running = u.running, .waiting = u.waiting,
                        .kv_total_tokens = u.kv_total_tokens, .kv_free_tokens = u.kv_free_tokens,
                        .prefill_tokens_per_s = u.prefill_tokens_per_s, .learn = u.slots_unknown,
                        .weight = u.weight};
    ek_desk_load(d->desk, ek_door_now(d), index, &l);
    ek_door_pump(d);
}

static void on_models(void *arg)
{
    struct ek_door *d = arg;
    uint32_t count = ek_pool_models(d->pool);
    ek_door_restore_enter(d);
    ek_info(d->log, count == 1 ? "%u model can be asked for" : "%u models can be asked for", count);
}

static void on_hopeless(void *arg)
{
    struct ek_door *d = arg;
    if (d->hopeless) d->hopeless(d->hopeless_arg);
}

static const struct ek_pool_events pool_events = {on_load, on_models, on_hopeless};

/* ---- birth ------------------------------------------------------------------------------------------ */

static struct ek_desk_options desk_options(const struct ek_config *c, uint64_t seed)
{
    bool child = c->model.file != NULL;
    uint64_t grace_ns = child && c->relay.start_ns > DOWN_GRACE_NS ? c->relay.start_ns : DOWN_GRACE_NS;
    return (struct ek_desk_options){
        .queue = c->queue, .tiers = c->tiers, .running_max = RUNNING_MAX,
        .tell_min_ns = c->waiting.comment_min_ns, .tell_max_ns = c->waiting.comment_ns,
        .tell_change = c->waiting.change, .down_grace_ns = grace_ns, .seed = seed,
        .accounts_max = (uint32_t)c->queue.accounts_max, .tpot_target_ns = c->queue.tpot_target_ns,
        .brownout = c->queue.brownout, .shed = c->queue.shed, .quantum_nano = c->queue.quantum_nano};
}

static bool start_desk(struct ek_door *d, char *why, size_t cap)
{
    uint64_t seed;
    ek_loop_random(d->loop, &seed, sizeof seed);
    struct ek_desk_options o = desk_options(d->config, seed);
    d->desk = ek_desk_new(&o, ek_door_now(d));
    if (!d->desk) snprintf(why, cap, "the queue's limits are too large");
    return d->desk != NULL;
}

static bool start_pool(struct ek_door *d, const struct ek_door_options *o, char *why, size_t cap)
{
    struct ek_pool_options po = {.model = &d->config->model,
                                 .engine_flags = ek_config_engine_flags(d->config),
                                 .upstreams = &d->config->upstreams, .relay = d->config->relay,
                                 .program = o->program};
    d->pool = ek_pool_new(d->loop, d->client, &po, &pool_events, d, d->log, why, cap);
    return d->pool != NULL;
}

static bool start_servers(struct ek_door *d, char *why, size_t cap)
{
    const struct ek_strlist *l = &d->config->listen;
    if (l->count > LISTEN_MAX) {
        snprintf(why, cap, "more than %u addresses to listen on", LISTEN_MAX);
        return false;
    }
    for (size_t i = 0; i < l->count; i++) {
        const char *sentence = NULL;
        struct ek_http_server *s = ek_http_server_new(d->loop, &d->config->limits, &d->budget,
                                                      &ek_door_handler, d);
        d->server[d->servers++] = s;
        if (ek_door_swap_inherits(d, l->item[i])) continue; /* when it is handed over */
        if (!ek_http_server_listen(s, l->item[i], -1, &sentence)) {
            snprintf(why, cap, "%s", sentence);
            return false;
        }
    }
    return true;
}

static void stopped_post(struct ek_post *p)
{
    struct ek_door *d = EK_CONTAINER(p, struct ek_door, stopped_post);
    MUST_OBJ(d, EK_DOOR_MAGIC);
    uint64_t cut = d->counters.reasons[EK_REASON_DRAINING] - d->refused_before_drain;
    ek_info(d->log, "drained, %llu requests were refused or ended early for it", (unsigned long long)cut);
    d->stopped(d->stopped_arg);
}

struct ek_door *ek_door_start(const struct ek_door_options *o, char *why, size_t cap)
{
    struct ek_door *d = calloc(1, sizeof *d);
    MUST(d);
    MUST(sodium_init() >= 0);
    d->magic = EK_DOOR_MAGIC;
    d->loop = o->loop;
    d->config = ek_config_ref(o->config);
    d->log = o->log;
    d->client = o->client;
    d->hopeless = o->hopeless;
    d->hopeless_arg = o->arg;
    if (!d->client) {
        struct ek_exchange_options xo = {.ca_file = d->config->relay.ca_file};
        d->client = ek_exchange_client_new(d->loop, &xo);
        d->own_client = true;
    }
    d->out = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
    d->text = ek_buf_make(EK_DOOR_OUT_BYTES_MAX);
    d->budget.max_bytes = d->config->limits.bodies_bytes_max; /* bodies come back with the journal, too */
    d->born_unix_s = ek_door_now(d).unix_ns / EK_S_NS;
    ek_loop_random(d->loop, &d->hash_seed, sizeof d->hash_seed);
    for (int i = 0; i < EK_DOOR_STATES; i++) ek_list_init(&d->state[i]);
    ek_list_init(&d->restored);
    ek_timer_init(&d->desk_timer, desk_due);
    ek_post_init(&d->pump, pump);
    ek_post_init(&d->flush, flush);
    ek_post_init(&d->stopped_post, stopped_post);
    ek_door_streams_init(d);
    ek_histogram_init(&d->wait_s, ek_seconds_bounds, EK_SECONDS_BOUNDS);
    ek_histogram_init(&d->first_thought_s, ek_seconds_bounds, EK_SECONDS_BOUNDS);
    ek_histogram_init(&d->first_answer_s, ek_seconds_bounds, EK_SECONDS_BOUNDS);
    ek_histogram_init(&d->request_s, ek_seconds_bounds, EK_SECONDS_BOUNDS);
    uint64_t seed[2];
    ek_loop_random(d->loop, seed, sizeof seed);
    d->windows = ek_windows_new(EK_DOOR_WINDOWS_MAX, seed[0]);
    d->records = ek_records_new(EK_DOOR_RECORDS_MAX, seed[1]);
    MUST(d->windows && d->records);
    ek_windows_zone(d->windows, d->config->wall);
    if (d->config->oidc.count) d->oidc = ek_oidc_new(d->loop, d->client, d->log, d->config);
    bool ok = ek_door_swap_begin(d, o->swap_fd, why, cap) && ek_door_start_journal(d, why, cap) &&
              start_desk(d, why, cap) && ek_door_money_open(d, o->ledger_on_loop, why, cap) &&
              ek_door_office_start(d, why, cap);
    ok = ok && ek_door_salt_start(d, why, cap);
    if (ok) ek_door_learned_start(d);
    if (ok && start_servers(d, why, cap) && start_pool(d, o, why, cap) && ek_door_borrow_start(d, why, cap)) {
        ek_door_swap_start(d);
        ek_door_restore_enter(d); /* models that the configuration names */
        return d;
    }
    ek_door_free(&d);
    return NULL;
}

bool ek_door_address(const struct ek_door *d, size_t index, char *out, size_t cap)
{
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (index >= d->servers) return false;
    if (!ek_http_server_listens(d->server[index])) return false;
    ek_http_server_address(d->server[index], out, cap);
    return true;
}

/* ---- reload, drain, death --------------------------------------------------------------------------- */

bool ek_door_reload(struct ek_door *d, struct ek_config *config)
{
    MUST_OBJ(d, EK_DOOR_MAGIC);
    struct ek_desk_options o = desk_options(config, 0);
    char why[256];
    if (!ek_desk_reload(d->desk, &o)) return false;
    if (!ek_pool_reload(d->pool, &config->upstreams, &config->relay, why, sizeof why))
        ek_error(d->log, "%s; the old upstreams stay", why);
    struct ek_config *old = d->config;
    d->config = ek_config_ref(config);
    ek_door_borrow_reload(d);
    ek_windows_zone(d->windows, config->wall);
    d->budget.max_bytes = config->limits.bodies_bytes_max;
    for (uint32_t i = 0; i < d->servers; i++)
        ek_http_server_set_options(d->server[i], &config->limits);
    ek_config_unref(&old);
    return true;
}

static void server_stopped(void *arg)
{
    struct ek_door *d = arg;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    d->servers_stopped++;
    ek_door_rests(d);
}

/* Nobody is connected any more, and nothing goes on for one who has left. */
void ek_door_rests(struct ek_door *d)
{
    if (!d->draining || d->servers_stopped < d->servers || d->streams.running.count) return;
    ek_post_put(d->loop, &d->stopped_post);
}

void ek_door_drain(struct ek_door *d, void (*stopped)(void *arg), void *arg)
{
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (d->draining) return;
    d->draining = true;
    d->refused_before_drain = d->counters.reasons[EK_REASON_DRAINING];
    d->stopped = stopped;
    d->stopped_arg = arg;
    ek_door_swap_drains(d);
    struct ek_now now = ek_door_now(d);
    struct ek_desk_counts n = ek_desk_counts(d->desk);
    ek_info(d->log, "draining: %u waiting, %u running", n.waiting, n.running);
    ek_desk_drain(d->desk, now, now.mono_ns + d->config->drain.deadline_ns);
    ek_door_money_drain(d);
    ek_door_restore_drain(d);
    for (uint32_t i = 0; i < d->servers; i++) ek_http_server_stop(d->server[i], server_stopped, d);
    ek_door_pump(d);
}

void ek_door_free(struct ek_door **dd)
{
    struct ek_door *d = *dd;
    if (!d) return;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    *dd = NULL;
    d->closing = true; /* what waits stays in the journal */
    ek_door_swap_end(d);
    for (uint32_t i = 0; i < d->servers; i++) ek_http_server_free(&d->server[i]); /* `gone` for all */
    ek_door_restore_end(d);
    for (int i = 0; i < EK_DOOR_STATES; i++)
        EK_LIST_EACH(&d->state[i], it) {
            ek_door_request_free(EK_CONTAINER(it, struct ek_door_request, link)); /* nobody was there */
        }
    for (int i = 0; i < EK_DOOR_STATES; i++) MUST(d->state[i].count == 0);
    ek_door_streams_end(d);
    ek_office_free(&d->office);
    ek_door_money_close(d);
    ek_journal_close(&d->journal);
    MUST(d->tickets.count == 0);
    ek_map_free(&d->tickets);
    free(d->used);
    ek_oidc_free(&d->oidc);
    ek_records_free(&d->records);
    ek_windows_free(&d->windows);
    ek_pool_free(&d->pool);
    ek_swap_purse_close(d);
    if (d->own_client) ek_exchange_client_free(&d->client);
    ek_timer_clear(d->loop, &d->desk_timer);
    ek_post_clear(d->loop, &d->pump);
    ek_post_clear(d->loop, &d->flush);
    ek_post_clear(d->loop, &d->stopped_post);
    if (d->desk) ek_door_learned_end(d);
    ek_door_borrow_end(d);
    ek_desk_free(&d->desk);
    ek_buf_free(&d->out);
    ek_buf_free(&d->text);
    ek_config_unref(&d->config);
    d->magic = 0;
    free(d);
}
