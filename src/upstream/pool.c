/* SPDX-License-Identifier: MIT */
/* The pool: birth, reload, death, and what others may look at. The drawing is in pool.h, the other files of
 * the pool are named in pool_state.h.
 *
 * An upstream keeps its number for the life of the pool, for requests that wait refer to it by number. One
 * that a reload removes leaves: it gets nothing new and serves no model, and what runs there may end. The
 * same name with the same URL, come back by a later reload, gets its old number. */
#include "upstream/pool_state.h"
#include "upstream/relay.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY_BYTES_MAX 1024u

/* ---- servers of their own -------------------------------------------------------------------------- */

static void add_given_names(struct ek_upstream *u, const struct ek_strlist *models)
{
    for (size_t i = 0; i < models->count; i++) {
        const char *eq = strchr(models->item[i], '=');
        struct ek_str whole = ek_str_of(models->item[i]);
        struct ek_str name = eq ? ek_str_make(whole.data, (size_t)(eq - whole.data)) : whole;
        struct ek_str theirs = eq ? ek_str_of(eq + 1) : ek_str_make(NULL, 0);
        ek_pool_names_add(&u->pool->names, u->index, name, theirs, false, EK_MODEL_AS_ASKED);
        u->names_given = u->names_listed = true;
    }
}

static void set_text(char **to, const char *text)
{
    free(*to);
    *to = text ? strdup(text) : NULL;
    MUST(!text || *to); /* at start and reload only */
}

static bool cut_end(char *base, const char *end)
{
    size_t len = strlen(base), cut = strlen(end);
    if (len < cut || strcmp(base + len - cut, end) != 0) return false;
    base[len - cut] = '\0';
    return true;
}

/* False, and p->why says why, when something in the options cannot work. */
static bool can_work(struct ek_pool *p, const struct ek_upstream_options *o,
                     struct ek_exchange_target *target)
{
    char why[160];
    if (o->key && strlen(o->key) > KEY_BYTES_MAX) {
        snprintf(p->why, sizeof p->why, "the key of upstream %.100s is too long", o->name);
        return false;
    }
    if (ek_exchange_target_parse(ek_str_of(o->url), target, why, sizeof why) != EK_OK) {
        snprintf(p->why, sizeof p->why, "the URL of upstream %.60s cannot be used: %s", o->name, why);
        return false;
    }
    if (o->dialect == EK_DIALECT_AZURE && !o->models.count) {
        snprintf(p->why, sizeof p->why,
                 "upstream %.100s: Azure does not tell its deployments: name its models",
                 o->name);
        return false;
    }
    return true;
}

static void identity_changed(void *arg)
{
    ek_pool_refresh(arg);
}

static void watch(struct ek_upstream *u, const char *file)
{
    struct ek_pool *p = u->pool;
    if (u->watch && file && strcmp(ek_watch_file(u->watch), file) == 0) return;
    ek_watch_free(&u->watch);
    if (file)
        u->watch = ek_watch_new(p, u->index, p->loop, p->client, p->log, file, p->relay.identity_ns,
                                identity_changed, p);
}

/* What a reload may change in place. */
static void take_options(struct ek_upstream *u, const struct ek_upstream_options *o)
{
    set_text(&u->key, o->key);
    set_text(&u->version, o->api_version);
    u->slots_given = o->slots > 100000 ? 100000 : (uint32_t)o->slots;
    u->weight = (uint32_t)(o->weight ? o->weight : 10);
    u->reasoning = o->reasoning;
    u->budget_way = o->thinking_budget;
    u->leaving = false;
    u->loan = (struct ek_pool_loan){.borrowed = o->borrowed,
                                    .budget_nano = {o->budget_nano[0], o->budget_nano[1]}};
    snprintf(u->loan.price, sizeof u->loan.price, "%s", o->price ? o->price : "");
    add_given_names(u, &o->models);
    watch(u, o->identity);
}

static void add_server(struct ek_pool *p, const struct ek_upstream_options *o,
                       const struct ek_exchange_target *target)
{
    struct ek_upstream *u = &p->upstream[p->count];
    MUST(p->count < EK_POOL_UPSTREAMS_MAX);
    *u = (struct ek_upstream){.pool = p, .index = p->count, .given = o->dialect, .dialect = o->dialect,
                              .target = *target, .said.slots = 1};
    snprintf(u->name, sizeof u->name, "%s", o->name);
    set_text(&u->url, o->url);
    /* Paths are given with their /v1; people write it into the URL or not. */
    bool v1 = cut_end(u->target.base, "/v1");
    if (o->dialect == EK_DIALECT_DEEPSEEK) cut_end(u->target.base, "/beta");
    if (o->dialect == EK_DIALECT_AZURE) {
        u->key_alone = true;
        if (v1) u->dialect = EK_DIALECT_OPENAI; /* .../openai/v1: its newer form, models in the body */
        else cut_end(u->target.base, "/openai");
    }
    ek_pool_look_init(u);
    ek_pool_judge_init(u);
    p->count++;
    take_options(u, o);
    ek_pool_look_again(u, 0);
}

static bool add_servers(struct ek_pool *p, const struct ek_upstream_list *list)
{
    for (size_t i = 0; list && i < list->count; i++) {
        struct ek_exchange_target target;
        if (p->count == EK_POOL_UPSTREAMS_MAX) {
            snprintf(p->why, sizeof p->why, "more than %u upstreams", EK_POOL_UPSTREAMS_MAX);
            return false;
        }
        if (!can_work(p, &list->item[i], &target)) return false;
        add_server(p, &list->item[i], &target);
    }
    return true;
}

struct ek_pool *ek_pool_new(struct ek_loop *loop, struct ek_exchange_client *client,
                            const struct ek_pool_options *o, const struct ek_pool_events *events,
                            void *arg, struct ek_log *log, char *why, size_t why_cap)
{
    struct ek_pool *p = calloc(1, sizeof *p);
    MUST(p);
    MUST(events->load && events->models && events->hopeless);
    p->magic = EK_POOL_MAGIC;
    ek_list_init(&p->resting);
    p->loop = loop;
    p->client = client;
    p->relay = o->relay;
    p->events = events;
    p->arg = arg;
    p->log = log;
    ek_retry_init(&p->retries, ek_loop_now(loop).mono_ns);
    bool ok = true;
    if (o->model && o->model->file) ok = ek_pool_add_child(p, o);
    ok = ok && add_servers(p, o->upstreams);
    if (ok && p->count == 0) {
        snprintf(p->why, sizeof p->why,
                 "there is neither a model nor an upstream: say --model FILE or --upstream URL");
        ok = false;
    }
    if (ok) return p;
    snprintf(why, why_cap, "%s", p->why);
    ek_pool_free(&p);
    return NULL;
}

struct ek_up_shapes *ek_pool_shapes(struct ek_pool *p, uint32_t upstream)
{
    MUST(upstream < p->count);
    struct ek_up_shapes **shapes = &p->shapes[upstream];
    if (!*shapes) *shapes = calloc(1, sizeof **shapes);
    MUST(*shapes); /* one an upstream */
    return *shapes;
}

void ek_pool_free(struct ek_pool **pp)
{
    struct ek_pool *p = *pp;
    if (!p) return;
    MUST_OBJ(p, EK_POOL_MAGIC);
    *pp = NULL;
    while (p->resting.count) ek_relay_forget(ek_list_first(&p->resting));
    for (uint32_t i = 0; i < p->count; i++) {
        struct ek_upstream *u = &p->upstream[i];
        ek_pool_look_end(u);
        ek_pool_judge_end(u);
        ek_watch_free(&u->watch);
        ek_supervise_free(&u->child);
        free(p->shapes[i]);
        free(u->url);
        free(u->key);
        free(u->version);
    }
    ek_pool_names_free(&p->names);
    ek_pool_end_child(p);
    p->magic = 0;
    free(p);
}

/* ---- reload ---------------------------------------------------------------------------------------- */

static struct ek_upstream *same_as(struct ek_pool *p, const struct ek_upstream_options *o)
{
    for (uint32_t i = 0; i < p->count; i++) {
        struct ek_upstream *u = &p->upstream[i];
        if (!u->url || u->given != o->dialect || strcmp(u->url, o->url) != 0) continue;
        if (u->loan.borrowed != o->borrowed) continue; /* ours and theirs are never mixed in one number */
        if (strcmp(u->name, o->name) == 0) return u;
    }
    return NULL;
}

static const struct ek_upstream_options *wanted(const struct ek_upstream *u,
                                                const struct ek_upstream_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct ek_upstream_options *o = &list->item[i];
        if (u->given != o->dialect || u->loan.borrowed != o->borrowed) continue;
        if (strcmp(u->url, o->url) == 0 && strcmp(u->name, o->name) == 0) return o;
    }
    return NULL;
}

static void leave(struct ek_upstream *u)
{
    if (!u->leaving) ek_info(u->pool->log, "upstream %s leaves; %u requests there may end", u->name,
                             u->relays);
    u->leaving = true;
    ek_watch_free(&u->watch);
    ek_pool_look_end(u);
    ek_pool_names_drop(&u->pool->names, u->index);
}

static bool reload_can_work(struct ek_pool *p, const struct ek_upstream_list *list)
{
    uint32_t new_ones = 0;
    bool child = p->count && p->upstream[0].child;
    for (size_t i = 0; i < list->count; i++) {
        struct ek_exchange_target unused;
        if (!can_work(p, &list->item[i], &unused)) return false;
        new_ones += !same_as(p, &list->item[i]);
    }
    if (p->count + new_ones > EK_POOL_UPSTREAMS_MAX) {
        snprintf(p->why, sizeof p->why, "upstreams: no numbers are left for new ones; a restart makes room");
        return false;
    }
    if (!child && !list->count) {
        snprintf(p->why, sizeof p->why, "upstreams: none would be left");
        return false;
    }
    return true;
}

bool ek_pool_reload(struct ek_pool *p, const struct ek_upstream_list *list,
                    const struct ek_relay_options *relay,
                    char *why, size_t why_cap)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    if (!reload_can_work(p, list)) {
        snprintf(why, why_cap, "%s", p->why);
        return false;
    }
    p->relay = *relay;
    for (uint32_t i = 0; i < p->count; i++) {
        struct ek_upstream *u = &p->upstream[i];
        const struct ek_upstream_options *o = u->url ? wanted(u, list) : NULL;
        if (!u->url) continue; /* the child */
        if (!o) {
            leave(u);
            continue;
        }
        bool returns = u->leaving;
        /* What it has told of itself holds meanwhile: nobody shall hear that there is no such model. */
        bool discovered = (u->names_given || u->names_stale) && !u->names_listed;
        u->names_stale = discovered && !returns && o->models.count == 0;
        if (!u->names_stale) ek_pool_names_drop(&p->names, u->index);
        u->names_given = u->names_listed = u->quarrels = false;
        take_options(u, o);
        if (returns) u->said.up = false; /* it may be another by now */
        if (!u->probe) ek_pool_look_again(u, 0);
    }
    for (size_t i = 0; i < list->count; i++) {
        struct ek_exchange_target target;
        if (same_as(p, &list->item[i])) continue;
        bool ok = can_work(p, &list->item[i], &target);
        MUST(ok); /* it could a moment ago */
        add_server(p, &list->item[i], &target);
    }
    ek_pool_refresh(p);
    p->events->models(p->arg);
    return true;
}

/* ---- looking at the pool --------------------------------------------------------------------------- */

static const struct ek_upstream *at(const struct ek_pool *p, uint32_t index)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    MUST(index < p->count);
    return &p->upstream[index];
}

uint32_t ek_pool_count(const struct ek_pool *p) { return p->count; }
const char *ek_pool_name(const struct ek_pool *p, uint32_t i) { return at(p, i)->name; }
struct ek_upstream_load ek_pool_load(const struct ek_pool *p, uint32_t i) { return at(p, i)->told; }
bool ek_pool_is_ours(const struct ek_pool *p, uint32_t i) { return ek_upstream_is_ours(at(p, i)); }
bool ek_pool_answers(const struct ek_pool *p, uint32_t i) { return at(p, i)->said.up && !at(p, i)->leaving; }

void ek_pool_identity(const struct ek_pool *p, uint32_t i, struct ek_pool_identity *out)
{
    *out = (struct ek_pool_identity){.watched = false};
    if (at(p, i)->watch) ek_watch_look(at(p, i)->watch, out);
}

const struct ek_pool_loan *ek_pool_loan(const struct ek_pool *p, uint32_t i) { return &at(p, i)->loan; }
const struct ek_ways *ek_pool_ways(const struct ek_pool *p, uint32_t i) { return ek_dialect_ways(at(p,
        i)->dialect); }
enum ek_budget_way ek_pool_budget_way(const struct ek_pool *p, uint32_t i) { return at(p, i)->budget_way; }
enum ek_reasoning ek_pool_reasoning(const struct ek_pool *p, uint32_t i) { return at(p, i)->reasoning; }

bool ek_pool_looked(const struct ek_pool *p)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct ek_upstream *u = &p->upstream[i];
        bool failed = u->failures && !u->child; /* while it loads its model it fails to */
        if (!u->leaving && !failed && !(u->said.up && u->names_given)) return false;
    }
    return true;
}

bool ek_pool_names_known(const struct ek_pool *p)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    for (uint32_t i = 0; i < p->count; i++) {
        const struct ek_upstream *u = &p->upstream[i];
        bool told = u->answered && !u->probe; /* it has none, or does not tell */
        if (!u->leaving && !u->names_given && !u->names_stale && !told) return false;
    }
    return true;
}

/* Gone, and nobody is there any more: nothing is to be said of it. */
bool ek_pool_is_there(const struct ek_pool *p, uint32_t i)
{
    const struct ek_upstream *u = at(p, i);
    return !u->leaving || u->relays > 0;
}

const struct ek_exchange_target *ek_pool_target(const struct ek_pool *p, uint32_t i)
{
    return &at(p, i)->target;
}

bool ek_pool_key_header(const struct ek_pool *p, uint32_t i, char text[EK_POOL_KEY_TEXT_BYTES],
                        struct ek_http_header *out)
{
    const struct ek_upstream *u = at(p, i);
    if (!u->key) return false;
    int n = snprintf(text, EK_POOL_KEY_TEXT_BYTES, "%s%s", u->key_alone ? "" : "Bearer ", u->key);
    MUST(n > 0 && (size_t)n < EK_POOL_KEY_TEXT_BYTES); /* longer keys are refused at the start */
    *out = (struct ek_http_header){u->key_alone ? EK_STR("api-key") : EK_STR("Authorization"),
                                   ek_str_make(text, (size_t)n)};
    return true;
}

bool ek_pool_path(const struct ek_pool *p, uint32_t i, enum ek_api api, bool carried, const char *their_model,
                  char out[EK_DIALECT_PATH_BYTES_MAX])
{
    const struct ek_upstream *u = at(p, i);
    return ek_dialect_path(u->dialect, api, carried, ek_str_of(their_model), u->version, out);
}

uint64_t ek_pool_restarts(const struct ek_pool *p, uint32_t i)
{
    const struct ek_upstream *u = at(p, i);
    return u->child ? ek_supervise_restarts(u->child) : 0;
}

uint32_t ek_pool_models(const struct ek_pool *p) { return p->names.count; }

const struct ek_pool_model *ek_pool_model(const struct ek_pool *p, uint32_t model)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    MUST(model < p->names.count);
    return &p->names.model[model];
}

uint32_t ek_pool_find_model(const struct ek_pool *p, struct ek_str name)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    return ek_pool_names_served(&p->names, name);
}

const char *ek_pool_their_name(const struct ek_pool *p, uint32_t index, uint32_t model)
{
    const struct ek_pool_model *m = ek_pool_model(p, model);
    MUST(index < p->count);
    if (!(m->upstream_mask >> index & 1)) return NULL;
    return p->names.theirs[index][model] ? p->names.theirs[index][model] : m->name;
}
