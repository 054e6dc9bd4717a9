/* SPDX-License-Identifier: MIT */
/* Looking at upstreams, each by its own timer.
 *
 *   our own engine, another door     GET /load: health and load in one
 *   vLLM, SGLang, llama-server       GET /metrics, which many have switched off; then GET /v1/models
 *   clouds                           GET /v1/models
 *   not known what it is (auto)      GET /load once; then the list of models, whose owned_by often tells
 *
 * Where the configuration names no models the list is read once, after the first answer. */
#include "upstream/pool_state.h"

#include <signal.h>
#include <stdio.h>

#define PROBE_DEADLINE_NS (5 * EK_S_NS)
#define PROBE_FAILURES_MAX 3u         /* late answers in a row before an upstream counts as down */
#define FLOWS_NS (20 * EK_S_NS)        /* a token so lately is an answer */
#define CHILD_SILENT_NS (20 * EK_S_NS) /* a child that has answered and is silent this long is killed */

/* ---- up and down ----------------------------------------------------------------------------------- */

static void set_load(struct ek_upstream *u, const struct ek_upstream_load *load)
{
    struct ek_pool *p = u->pool;
    MUST_OBJ(p, EK_POOL_MAGIC);
    bool changed = u->said.up != load->up;
    u->said = *load;
    u->was_up = u->was_up || load->up;
    if (changed && load->up && load->slots_unknown)
        ek_info(p->log, "upstream %s is up; how much it can take will be learned", u->name);
    else if (changed && load->up)
        ek_info(p->log, "upstream %s is up, %u slots", u->name, load->slots);
    if (changed && !load->up && !u->asleep) ek_warn(p->log, "upstream %s is down", u->name);
    ek_pool_tell(u);
}

void ek_pool_set_down(struct ek_upstream *u)
{
    struct ek_upstream_load load = u->said;
    if (!load.up) return;
    load.up = false;
    set_load(u, &load);
}

/* What is said of slots, by the one who knows best. */
static void put_slots(const struct ek_upstream *u, struct ek_upstream_load *load)
{
    uint32_t slots = u->slots_given ? u->slots_given : u->slots_found;
    load->slots = slots ? slots : 1;
    load->slots_unknown = slots == 0;
}

static void next_look(struct ek_upstream *u)
{
    bool loading = u->child && !u->said.up;
    ek_pool_look_again(u, loading ? EK_POOL_CHILD_PROBE_NS : u->pool->relay.probe_ns);
}

static void no_answer(struct ek_upstream *u, enum ek_reason why)
{
    struct ek_pool *p = u->pool;
    uint64_t now_ns = ek_loop_now(p->loop).mono_ns;
    u->failures++;
    if (!u->child && !u->was_up && u->failures == 1)
        ek_warn(p->log, "upstream %s does not answer at %s yet: %s", u->name, u->target.address,
                ek_reason_text(why));
    bool refused = why == EK_REASON_UPSTREAM_CONNECT || why == EK_REASON_UPSTREAM_TLS;
    /* Starved of processors it answers no look in time; as long as tokens come, it works. */
    bool flows = u->flow_token_ns && ek_ns_since(now_ns, u->flow_token_ns) < FLOWS_NS;
    if (refused || (u->failures >= PROBE_FAILURES_MAX && !flows)) ek_pool_set_down(u);
    uint64_t limit_ns = u->answered ? CHILD_SILENT_NS : p->relay.start_ns;
    if (u->child && limit_ns && ek_supervise_pid(u->child) && !flows &&
        ek_ns_since(now_ns, u->answered_ns) > limit_ns) {
        ek_error(p->log, "the engine has not answered for %llu s: it is killed",
                 (unsigned long long)(limit_ns / EK_S_NS));
        ek_supervise_kill(u->child, SIGKILL);
        u->answered_ns = now_ns;
        u->answered = false;
    }
    next_look(u);
}

static void has_answered(struct ek_upstream *u)
{
    u->failures = 0;
    u->answered = true;
    u->answered_ns = ek_loop_now(u->pool->loop).mono_ns;
}

/* ---- asking ---------------------------------------------------------------------------------------- */

static void ask(struct ek_upstream *u, const char *path,
                void (*answered)(void *arg, int status, enum ek_reason why, struct ek_str body))
{
    char text[EK_POOL_KEY_TEXT_BYTES], full[128];
    struct ek_http_header key;
    const struct ek_ways *w = ek_dialect_ways(u->dialect);
    MUST(!u->probe);
    if (w->deployments) {
        snprintf(full, sizeof full, "%s?api-version=%.32s", path, u->version ? u->version : EK_AZURE_VERSION);
        path = full;
    }
    bool keyed = ek_pool_key_header(u->pool, u->index, text, &key);
    u->probe = ek_probe_start(u->pool->client, &u->target, path, keyed ? &key : NULL, PROBE_DEADLINE_NS,
                              answered, u);
}

/* ---- models ---------------------------------------------------------------------------------------- */

static void note_model(void *arg, struct ek_str name)
{
    struct ek_upstream *u = arg;
    if (u->names_stale) ek_pool_names_drop(&u->pool->names, u->index);
    u->names_stale = false;
    ek_pool_names_add(&u->pool->names, u->index, name, ek_str_make(NULL, 0), false, EK_MODEL_AS_ASKED);
    u->names_given = true;
}

void ek_pool_add_deepseek_aliases(struct ek_upstream *u)
{
    struct ek_pool_names *n = &u->pool->names;
    for (uint32_t m = 0; m < n->count; m++) {
        if (n->model[m].alias || !(n->model[m].upstream_mask >> u->index & 1)) continue;
        struct ek_str own = ek_str_of(n->theirs[u->index][m] ? n->theirs[u->index][m]
                                                              : n->model[m].name);
        ek_pool_names_add(n, u->index, EK_STR("deepseek-chat"), own, true, EK_MODEL_THINKING_OFF);
        ek_pool_names_add(n, u->index, EK_STR("deepseek-reasoner"), own, true, EK_MODEL_THINKING_ON);
        return;
    }
}

static struct ek_str host_of(const struct ek_upstream *u)
{
    const char *colon = strrchr(u->target.authority, ':');
    return colon ? ek_str_make(u->target.authority, (size_t)(colon - u->target.authority))
                 : ek_str_of(u->target.authority);
}

static void got_slots(void *arg, int status, enum ek_reason why, struct ek_str body)
{
    struct ek_upstream *u = arg;
    u->probe = NULL;
    (void)why;
    if (status == 200) u->slots_found = ek_load_read_slots(body);
    if (u->slots_found && u->said.up) {
        struct ek_upstream_load load = u->said;
        put_slots(u, &load);
        set_load(u, &load);
    }
    next_look(u);
}

/* Everything else is known; is there something to ask once? */
static void ask_slots_or_rest(struct ek_upstream *u)
{
    const struct ek_ways *w = ek_dialect_ways(u->dialect);
    bool wanted = w->slots_path && !u->slots_given && !u->slots_asked;
    u->slots_asked = true;
    if (wanted) ask(u, w->slots_path, got_slots);
    else next_look(u);
}

static void got_models(void *arg, int status, enum ek_reason why, struct ek_str body)
{
    struct ek_upstream *u = arg;
    char owner[32];
    u->probe = NULL;
    if (status == 0 || status >= 500) {
        no_answer(u, why);
        return;
    }
    has_answered(u);
    if (status >= 401 && status <= 403) ek_pool_quarrel(u->pool, u->index, status);
    ek_probe_read_owner(body, owner, sizeof owner);
    if (u->dialect == EK_DIALECT_AUTO) u->dialect = ek_dialect_guess(host_of(u), ek_str_of(owner));
    if (!u->names_given && ek_probe_read_models(body, note_model, u)) {
        if (ek_upstream_is_ours(u)) ek_pool_add_deepseek_aliases(u);
        u->pool->events->models(u->pool->arg);
    }
    if (!ek_upstream_is_ours(u) && !u->said.up) {
        struct ek_upstream_load load = {.up = true};
        put_slots(u, &load);
        set_load(u, &load);
    }
    ask_slots_or_rest(u);
}

static void ask_models(struct ek_upstream *u)
{
    ask(u, ek_dialect_ways(u->dialect)->deployments ? "/openai/models" : "/v1/models", got_models);
}

/* ---- load ------------------------------------------------------------------------------------------ */

static void got_load(void *arg, int status, enum ek_reason why, struct ek_str body)
{
    struct ek_upstream *u = arg;
    struct ek_upstream_load load;
    u->probe = NULL;
    if (status == 0 || status >= 500) {
        no_answer(u, why);
        return;
    }
    if (status != 200 || !ek_probe_read_load(body, &load)) {
        if (u->dialect == EK_DIALECT_AUTO) ask_models(u);
        else no_answer(u, EK_REASON_UPSTREAM_BAD);
        return;
    }
    has_answered(u);
    u->dialect = EK_DIALECT_EVENKEEL;
    if (u->slots_given) load.slots = u->slots_given;
    set_load(u, &load);
    if (u->names_given) next_look(u);
    else ask_models(u);
}

void ek_pool_take_report(struct ek_pool *p, uint32_t index, const struct ek_load_text *t)
{
    struct ek_upstream *u = &p->upstream[index];
    MUST(index < p->count);
    if (t->running_known) u->said.running = t->running;
    if (t->waiting_known) u->said.waiting = t->waiting;
    if (t->kv_total_tokens) u->said.kv_total_tokens = t->kv_total_tokens;
    if (t->kv_used >= 0)
        u->said.kv_free_tokens = (uint64_t)((1 - t->kv_used) * (double)u->said.kv_total_tokens);
}

static void got_metrics(void *arg, int status, enum ek_reason why, struct ek_str body)
{
    struct ek_upstream *u = arg;
    struct ek_load_text t;
    u->probe = NULL;
    if (status == 0 || (status >= 500 && status != 501)) { /* 501: llama-server without --metrics */
        no_answer(u, why);
        return;
    }
    if (status != 200 || !ek_load_read_metrics(body, &t)) {
        u->no_metrics = true;
        ask_models(u);
        return;
    }
    has_answered(u);
    ek_pool_take_report(u->pool, u->index, &t);
    struct ek_upstream_load load = u->said;
    load.up = true;
    put_slots(u, &load);
    set_load(u, &load);
    if (u->names_given) ask_slots_or_rest(u);
    else ask_models(u);
}

/* ---- the timer ------------------------------------------------------------------------------------- */

static void on_look(struct ek_timer *t)
{
    struct ek_upstream *u = EK_CONTAINER(t, struct ek_upstream, look);
    MUST_OBJ(u->pool, EK_POOL_MAGIC);
    if (u->probe || u->leaving) return; /* when it is answered it will set the timer */
    const struct ek_ways *w = ek_dialect_ways(u->dialect);
    if (w->look == EK_LOOK_LOAD) ask(u, w->look_path, got_load);
    else if (w->look == EK_LOOK_METRICS && !u->no_metrics) ask(u, w->look_path, got_metrics);
    else ask_models(u);
}

void ek_pool_look_init(struct ek_upstream *u)
{
    ek_timer_init(&u->look, on_look);
}

void ek_pool_look_again(struct ek_upstream *u, uint64_t after_ns)
{
    uint64_t now_ns = ek_loop_now(u->pool->loop).mono_ns;
    ek_timer_set(u->pool->loop, &u->look, now_ns + after_ns);
}

void ek_pool_look_end(struct ek_upstream *u)
{
    ek_probe_cancel(&u->probe);
    ek_timer_clear(u->pool->loop, &u->look);
}

void ek_pool_suspect(struct ek_pool *p, uint32_t index, enum ek_reason why)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    MUST(index < p->count);
    struct ek_upstream *u = &p->upstream[index];
    /* A child whose connection broke is dying, though its exit may be told only later in this turn: were
     * it still called up, its work would at once be sent to a socket that resets it. One that only keeps us
     * waiting may be starved; whether it hangs, the look at it will say. */
    bool broke = why == EK_REASON_UPSTREAM_RESET || why == EK_REASON_UPSTREAM_CUT;
    bool down = why == EK_REASON_UPSTREAM_CONNECT || (u->child && broke);
    if (u->leaving) return;
    if (down) ek_pool_set_down(u);
    if (u->child && !ek_supervise_pid(u->child)) return; /* RESTING: the supervisor will tell */
    if (!u->probe) ek_pool_look_again(u, down ? EK_POOL_CHILD_PROBE_NS : 0);
}
