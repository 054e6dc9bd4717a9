/* SPDX-License-Identifier: MIT */
/* After a restart: places are made again from the journal, in their old order, each absent until its holder
 * is back or its time ends. A record says of a request what the desk must know (struct kept, then names, then
 * the body). It was written by this program on this machine, so its numbers are the machine's own; its
 * version and size are checked, and whatever does not fit is left behind and counted.
 *
 * A place can be made only when its model is known, which is when an upstream has told of it; until then it
 * waits on d->restored, and on the list of PRICED requests. */
#include "door/choices.h"
#include "door/door_state.h"

#include "journal/berth.h"

#include <stdlib.h>

#define KEPT_VERSION 3u
#define RESTORE_NS (60 * EK_S_NS) /* so long an upstream may take to tell of a model */

struct kept {
    uint32_t version, bytes;
    uint64_t account, user, owner, conversation, repeat;
    uint64_t ledger_account, ledger_key; /* 0: of none */
    uint64_t arrived_unix_ns, deadline_unix_ns; /* UINT64_MAX: none */
    uint32_t prompt_tokens, output_tokens, effort, max_tokens, retries, prefix_count;
    struct ek_prefix prefix[EK_DESK_PREFIX_MAX];
    uint8_t api, stream, include_usage, thinks, keep_thinking, first_turn, may_borrow;
    uint8_t tier_bytes, model_bytes; /* of the names that follow */
    uint8_t choices; /* 0 as 1: where this stands there were zeros before */
};
_Static_assert(EK_POOL_NAME_BYTES_MAX <= 255, "fits model_bytes");

struct ek_door_restored {
    struct ek_link link;
    struct ek_door_request *r;
    struct ek_arrival a;
    uint64_t ledger_account, ledger_key;
    char model[256];
};

/* ---- the record ------------------------------------------------------------------------------ */

static uint64_t deadline_of(const struct ek_door_request *r, const struct ek_arrival *a, struct ek_now now)
{
    uint64_t patience_ns = r->door->config->tiers.item[r->tier].patience_ns;
    if (a->deadline_ns != UINT64_MAX) return now.unix_ns + ek_ns_since(a->deadline_ns, now.mono_ns);
    return patience_ns ? now.unix_ns + patience_ns : UINT64_MAX;
}

void ek_door_kept_write(const struct ek_door_request *r, const struct ek_arrival *a, struct ek_buf *out)
{
    struct ek_now now = ek_door_now(r->door);
    struct ek_str tier = ek_str_of(r->door->config->tiers.item[r->tier].name);
    struct ek_str model = ek_str_of(ek_pool_model(r->door->pool, r->model)->name);
    struct kept k;
    memset(&k, 0, sizeof k); /* padding goes to disk, too */
    MUST(tier.len <= 255 && model.len <= 255);
    k.version = KEPT_VERSION;
    k.bytes = sizeof k;
    k.account = a->account;
    k.user = a->user;
    k.owner = a->owner;
    k.conversation = a->conversation;
    k.ledger_account = ek_door_money_account(r);
    k.ledger_key = ek_door_money_key(r);
    k.repeat = a->repeat;
    k.arrived_unix_ns = ek_door_arrived_unix_ns(r);
    k.deadline_unix_ns = deadline_of(r, a, now);
    k.prompt_tokens = a->prompt_tokens;
    k.output_tokens = a->output_tokens;
    k.effort = a->effort;
    k.max_tokens = a->max_tokens;
    k.retries = a->retries;
    k.prefix_count = a->prefix_count;
    for (uint32_t i = 0; i < a->prefix_count; i++) {
        k.prefix[i].hash = a->prefix[i].hash;
        k.prefix[i].tokens = a->prefix[i].tokens;
    }
    k.api = r->api;
    k.stream = r->stream;
    k.include_usage = r->include_usage;
    k.thinks = a->thinks;
    k.keep_thinking = a->keep_thinking;
    k.first_turn = a->first_turn;
    k.may_borrow = r->may_borrow;
    k.choices = a->choices;
    k.tier_bytes = (uint8_t)tier.len;
    k.model_bytes = (uint8_t)model.len;
    ek_buf_put(out, (const char *)&k, sizeof k);
    ek_buf_str(out, tier);
    ek_buf_str(out, model);
}

static bool read_kept(struct ek_str all, struct kept *k, struct ek_str *tier, struct ek_str *model,
                      struct ek_str *body)
{
    if (all.len < sizeof *k) return false;
    memcpy(k, all.data, sizeof *k);
    if (k->version != KEPT_VERSION || k->bytes != sizeof *k) return false;
    if (k->prefix_count > EK_DESK_PREFIX_MAX || k->api > EK_API_COMPLETIONS) return false;
    struct ek_str rest = ek_str_skip(all, sizeof *k);
    if (rest.len <= (size_t)k->tier_bytes + k->model_bytes) return false; /* no body is empty */
    *tier = ek_str_make(rest.data, k->tier_bytes);
    *model = ek_str_make(rest.data + k->tier_bytes, k->model_bytes);
    *body = ek_str_skip(rest, (size_t)k->tier_bytes + k->model_bytes);
    return true;
}

bool ek_door_kept_body(struct ek_str all, struct ek_str *body)
{
    struct kept k;
    struct ek_str tier, model;
    return read_kept(all, &k, &tier, &model, body);
}

/* ---- what the journal holds ------------------------------------------------------------------ */

uint8_t ek_door_tier_named(const struct ek_door *d, struct ek_str name)
{
    const struct ek_tier_list *tiers = &d->config->tiers;
    for (size_t i = 0; i < tiers->count; i++)
        if (ek_str_eq(ek_str_of(tiers->item[i].name), name)) return (uint8_t)i;
    return 0; /* its tier is gone from the configuration: the first */
}

static struct ek_door_request *request_of(struct ek_door *d, const struct ek_journal_found *f,
                                          const struct kept *k, struct ek_str tier)
{
    struct ek_door_request *r = ek_door_request_of_record(d, f->name.key);
    ek_door_arrived_then(r, k->arrived_unix_ns);
    r->account = f->owner;
    r->tier = ek_door_tier_named(d, tier);
    r->api = k->api & 3u;
    r->retries = (uint8_t)k->retries;
    r->stream = k->stream;
    r->include_usage = k->include_usage;
    r->may_borrow = k->may_borrow == 1;
    r->durable = true;
    r->ticketed = ek_door_ticket_file(r);
    return r;
}

static struct ek_arrival arrival_of(const struct ek_door_request *r, const struct kept *k)
{
    struct ek_now now = ek_door_now(r->door);
    struct ek_arrival a = {.id = (uint64_t)(uintptr_t)r, .account = k->account, .user = k->user,
                           .owner = k->owner, .conversation = k->conversation, .repeat = k->repeat,
                           .tier = r->tier, .prompt_tokens = k->prompt_tokens,
                           .output_tokens = k->output_tokens, .effort = k->effort,
                           .max_tokens = k->max_tokens, .retries = k->retries, .thinks = k->thinks,
                           .keep_thinking = k->keep_thinking, .first_turn = k->first_turn,
                           .may_borrow = r->may_borrow, .choices = k->choices,
                           .prefix_count = k->prefix_count, .deadline_ns = UINT64_MAX};
    if (k->deadline_unix_ns != UINT64_MAX)
        a.deadline_ns = now.mono_ns + ek_ns_since(k->deadline_unix_ns, now.unix_ns);
    memcpy(a.prefix, k->prefix, sizeof a.prefix);
    return a;
}

static void found(void *arg, const struct ek_journal_found *f)
{
    struct ek_door *d = arg;
    struct kept k;
    struct ek_str tier, model, body;
    struct ek_door_restored *s;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (f->kind != EK_DOOR_KIND_PLACE) return;
    if (f->used) {
        ek_door_ticket_use_up(d, f->name.key, f->owner);
        return;
    }
    bool good = read_kept(f->payload, &k, &tier, &model, &body) && model.len < sizeof(s->model);
    s = good ? calloc(1, sizeof *s) : NULL;
    if (!s || k.deadline_unix_ns < ek_door_now(d).unix_ns) {
        free(s);
        ek_journal_erase(d->journal, &f->name);
        d->places.lost++;
        return;
    }
    s->r = request_of(d, f, &k, tier);
    s->a = arrival_of(s->r, &k);
    s->ledger_account = k.ledger_account;
    s->ledger_key = k.ledger_key;
    memcpy(s->model, model.data, model.len);
    ek_list_append(&d->restored, &s->link);
}

void ek_door_restore_running(struct ek_door_request *r, struct ek_str model, uint64_t ledger_account,
                             uint64_t ledger_key)
{
    struct ek_door_restored *s = calloc(1, sizeof *s);
    MUST(s && model.len < sizeof s->model); /* at the start */
    const struct ek_door_running *w = r->running;
    uint64_t prompt = w->prompt_tokens ? w->prompt_tokens : w->prompt_guess;
    s->r = r;
    s->a = (struct ek_arrival){.id = (uint64_t)(uintptr_t)r, .account = r->account, .tier = r->tier,
                               .prompt_tokens = prompt < UINT32_MAX ? (uint32_t)prompt : UINT32_MAX,
                               .keep_thinking = true, /* what was decided stays */
                               .deadline_ns = UINT64_MAX - 1}; /* it had begun: no patience ends */
    s->ledger_account = ledger_account;
    s->ledger_key = ledger_key;
    memcpy(s->model, model.data, model.len);
    ek_list_append(&r->door->restored, &s->link);
}

/* ---- back into the line ---------------------------------------------------------------------- */

static void give_up(struct ek_door_restored *s)
{
    struct ek_door *d = s->r->door;
    d->places.lost++;
    struct ek_door_request *r = s->r;
    ek_list_remove(&d->restored, &s->link);
    free(s);
    if (r->running && r->state == EK_DOOR_PRICED) ek_door_refuse_reason(r, EK_REASON_NO_UPSTREAM, NULL);
    else ek_door_request_free(r);
}

/* It ran: it goes on as soon as there is a slot, whether anybody reads it or not. */
static void go_on(struct ek_door_restored *s)
{
    struct ek_door_request *r = s->r;
    struct ek_door *d = r->door;
    ek_list_remove(&d->restored, &s->link);
    free(s);
    ek_door_watch_silence(r);
    ek_door_stream_watch(r->running->kept);
    ek_door_pump(d);
}

/* false: its model is not known yet. */
static bool enter(struct ek_door_restored *s)
{
    struct ek_door_request *r = s->r;
    struct ek_door *d = r->door;
    struct ek_now now = ek_door_now(d);
    struct ek_action refusal;
    uint32_t index = ek_pool_find_model(d->pool, ek_str_of(s->model));
    if (index == EK_POOL_MODELS_MAX || !ek_pool_model(d->pool, index)->upstream_mask) return false;
    const struct ek_pool_model *model = ek_pool_model(d->pool, index);
    uint64_t grace_ns = d->config->tiers.item[r->tier].return_grace_ns;
    r->model = (uint16_t)index;
    r->modelled = true;
    const struct ek_price_options *p = ek_door_price(r);
    s->a.model = ek_hash(ek_str_of(model->name), d->hash_seed);
    s->a.price = (struct ek_desk_price){p->cached_pico, p->prompt_pico, p->output_pico};
    if (r->running && !ek_door_stream_take_up(r)) {
        ek_list_remove(&d->restored, &s->link);
        free(s);
        ek_door_finish_taken_up(r);
        return true;
    }
    uint64_t able = r->running ? ek_door_onward_mask(r) : ek_door_choosers(d, model, s->a.choices);
    s->a.pool = ek_desk_pool(d->desk, able ? able : model->upstream_mask);
    ek_door_money_restored(r, s->ledger_account, s->ledger_key, &s->a);
    bool in = s->a.pool != EK_DESK_POOLS_MAX && ek_desk_arrive(d->desk, now, &s->a, &r->ticket, &refusal);
    if (in) ek_door_move(r, EK_DOOR_WAITING);
    if (in && r->running) {
        go_on(s);
        return true;
    }
    if (!in || !ek_desk_absent(d->desk, now, r->ticket, now.mono_ns + grace_ns)) {
        give_up(s);
        return true;
    }
    d->places.restored++;
    ek_list_remove(&d->restored, &s->link);
    free(s);
    return true;
}

void ek_door_restore_enter(struct ek_door *d)
{
    MUST_OBJ(d, EK_DOOR_MAGIC);
    uint64_t before = d->places.restored, lost = d->places.lost;
    if (d->restored.count == 0) return;
    EK_LIST_EACH(&d->restored, it) {
        (void)enter(EK_CONTAINER(it, struct ek_door_restored, link));
    }
    if (d->places.lost > lost)
        ek_warn(d->log, "%llu places of before the restart could not be taken up again",
                (unsigned long long)(d->places.lost - lost));
    if (d->places.restored == before) return;
    struct ek_now now = ek_door_now(d);
    ek_desk_hold(d->desk, now, now.mono_ns + d->config->waiting.gather_ns);
    ek_door_pump(d);
}

static void restore_due(struct ek_timer *t)
{
    struct ek_door *d = EK_CONTAINER(t, struct ek_door, restore_timer);
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (d->restored.count)
        ek_warn(d->log, "%zu places of before the restart are given up: no upstream has their model",
                d->restored.count);
    EK_LIST_EACH(&d->restored, it) {
        give_up(EK_CONTAINER(it, struct ek_door_restored, link));
    }
}

void ek_door_restore_drain(struct ek_door *d)
{
    EK_LIST_EACH(&d->restored, it) {
        struct ek_door_restored *s = EK_CONTAINER(it, struct ek_door_restored, link);
        struct ek_door_request *r = s->r;
        if (!r->running) continue;
        ek_list_remove(&d->restored, it);
        free(s);
        (void)ek_door_stream_next_door(r);
    }
}

void ek_door_restore_end(struct ek_door *d)
{
    ek_timer_clear(d->loop, &d->restore_timer);
    EK_LIST_EACH(&d->restored, it) {
        struct ek_door_restored *s = EK_CONTAINER(it, struct ek_door_restored, link);
        ek_list_remove(&d->restored, it);
        ek_door_request_free(s->r);
        free(s);
    }
}

/* ---- the journal's birth --------------------------------------------------------------------- */

bool ek_door_start_journal(struct ek_door *d, char *why, size_t cap)
{
    MUST(!d->journal && !d->desk);
    ek_timer_init(&d->restore_timer, restore_due);
    ek_loop_random(d->loop, d->ticket_key, sizeof d->ticket_key);
    ek_loop_random(d->loop, &d->id, sizeof d->id);
    d->id = (d->id & ~(EK_SWAP_BERTHS - 1)) | d->swap->berth;
    if (!d->config->journal.dir) return true;
    char dir[4096];
    struct ek_journal_options o = d->config->journal;
    if (d->swap->state != EK_SWAP_TAKING) ek_journal_gather(o.dir, d->log);
    if (!ek_journal_berth(o.dir, d->swap->berth, dir, sizeof dir, why, cap)) return false;
    o.dir = dir;
    d->journal = ek_journal_open(d->loop, &o, d->log, why, cap);
    if (!d->journal) return false;
    const struct ek_journal_identity *me = ek_journal_identity(d->journal);
    memcpy(d->ticket_key, me->secret, sizeof d->ticket_key);
    d->id = (me->id & ~(EK_SWAP_BERTHS - 1)) | d->swap->berth;
    d->hash_seed = me->hash_seed; /* accounts and bodies have the same hashes as before */
    if (!ek_door_tapes_open(d, dir, why, cap)) return false;
    ek_journal_visit(d->journal, found, d);
    if (d->restored.count) ek_timer_set(d->loop, &d->restore_timer, ek_door_now(d).mono_ns + RESTORE_NS);
    return true;
}
