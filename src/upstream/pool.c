/* SPDX-License-Identifier: MIT */
/* The pool: one struct an upstream, one timer each that looks at it. The drawing is in pool.h.
 *
 * What is looked at depends on the dialect: our own engines (and doors) answer GET /load, which is
 * health and load in one; of the others GET /v1/models is asked, which is liveness and, where the
 * configuration names no models, discovery. A server of unknown dialect is asked for /load once. */
#include "upstream/pool.h"

#include "upstream/models.h"
#include "upstream/probe.h"
#include "upstream/supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define POOL_MAGIC 0x3c86f0abu
#define CHILD_PROBE_NS (20 * EK_MS_NS)      /* while the child loads its model */
#define PROBE_DEADLINE_NS (5 * EK_S_NS)
#define PROBE_FAILURES_MAX 3u               /* late answers in a row before an upstream counts as down */
#define CHILD_SILENT_NS (20 * EK_S_NS)      /* a child that has answered and is silent this long is killed */
#define KEY_BYTES_MAX 1024u
#define CHILD_ARGS_MAX 256u
#define KEPT_MAX (CHILD_ARGS_MAX + EK_POOL_UPSTREAMS_MAX)

struct upstream {
    struct ek_pool *pool;
    uint32_t index;
    char name[128];
    const char *key;
    struct ek_exchange_target target;
    enum ek_dialect dialect;
    bool was_up;
    bool answered;     /* the child, since its start */
    bool names_given;  /* by the configuration or discovered: no need to read them again */
    uint32_t slots_given;
    uint32_t failures;
    uint64_t answered_ns; /* last answer, or start of the child */
    struct ek_upstream_load load;
    struct ek_timer look;
    struct ek_probe *probe;
    struct ek_supervisor *child; /* NULL: a server of its own */
};

struct ek_pool {
    uint32_t magic;
    uint32_t count;
    struct ek_loop *loop;
    struct ek_exchange_client *client;
    struct ek_relay_options relay;
    const struct ek_pool_events *events;
    void *arg;
    struct ek_log *log;
    struct upstream upstream[EK_POOL_UPSTREAMS_MAX];
    struct ek_pool_names names;
    char dir[64];    /* of the child's socket; "" without a child */
    char socket[96]; /* "unix:DIR/engine.sock" */
    const char *argv[CHILD_ARGS_MAX];
    char *kept[KEPT_MAX]; /* own copies: the configuration they came from goes with the next reload */
    size_t kept_count;
    char why[256];
};

static const char *keep(struct ek_pool *p, const char *text)
{
    if (!text) return NULL;
    MUST(p->kept_count < KEPT_MAX);
    char *copy = strdup(text);
    MUST(copy); /* at start only */
    p->kept[p->kept_count++] = copy;
    return copy;
}

static bool is_ours(const struct upstream *u)
{
    return u->dialect == EK_DIALECT_EVENKEEL;
}

/* ---- up and down ----------------------------------------------------------------------------------- */

static void set_load(struct upstream *u, const struct ek_upstream_load *load)
{
    struct ek_pool *p = u->pool;
    MUST_OBJ(p, POOL_MAGIC);
    bool changed = u->load.up != load->up;
    u->load = *load;
    u->was_up = u->was_up || load->up;
    if (changed && load->up && load->slots_unknown)
        ek_info(p->log, "upstream %s is up; how much it can take will be learned", u->name);
    else if (changed && load->up)
        ek_info(p->log, "upstream %s is up, %u slots", u->name, load->slots);
    if (changed && !load->up) ek_warn(p->log, "upstream %s is down", u->name);
    p->events->load(p->arg, u->index);
}

static void set_down(struct upstream *u)
{
    struct ek_upstream_load load = u->load;
    if (!load.up) return;
    load.up = false;
    set_load(u, &load);
}

static void look_again(struct upstream *u, uint64_t after_ns)
{
    uint64_t now_ns = ek_loop_now(u->pool->loop).mono_ns;
    ek_timer_set(u->pool->loop, &u->look, now_ns + after_ns);
}

static void next_look(struct upstream *u)
{
    bool loading = u->child && !u->load.up;
    look_again(u, loading ? CHILD_PROBE_NS : u->pool->relay.probe_ns);
}

static void no_answer(struct upstream *u, enum ek_reason why)
{
    struct ek_pool *p = u->pool;
    uint64_t now_ns = ek_loop_now(p->loop).mono_ns;
    u->failures++;
    if (!u->child && !u->was_up && u->failures == 1)
        ek_warn(p->log, "upstream %s does not answer at %s yet: %s", u->name, u->target.address,
                ek_reason_text(why));
    if (why == EK_REASON_UPSTREAM_CONNECT || u->failures >= PROBE_FAILURES_MAX) set_down(u);
    uint64_t limit_ns = u->answered ? CHILD_SILENT_NS : p->relay.start_ns;
    if (u->child && limit_ns && ek_supervise_pid(u->child) &&
        ek_ns_since(now_ns, u->answered_ns) > limit_ns) {
        ek_error(p->log, "the engine has not answered for %llu s: it is killed",
                 (unsigned long long)(limit_ns / EK_S_NS));
        ek_supervise_kill(u->child, SIGKILL);
        u->answered_ns = now_ns;
        u->answered = false;
    }
}

/* ---- models ---------------------------------------------------------------------------------------- */

static void note_model(void *arg, struct ek_str name)
{
    struct upstream *u = arg;
    ek_pool_names_add(&u->pool->names, u->index, name, ek_str_make(NULL, 0), false, EK_MODEL_AS_ASKED);
    u->names_given = true;
}

/* The two names that DeepSeek's clients have built in, for our own engine's first model. */
static void add_deepseek_aliases(struct upstream *u)
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

static void add_given_names(struct upstream *u, const struct ek_strlist *models)
{
    for (size_t i = 0; i < models->count; i++) {
        const char *eq = strchr(models->item[i], '=');
        struct ek_str whole = ek_str_of(models->item[i]);
        struct ek_str name = eq ? ek_str_make(whole.data, (size_t)(eq - whole.data)) : whole;
        struct ek_str theirs = eq ? ek_str_of(eq + 1) : ek_str_make(NULL, 0);
        ek_pool_names_add(&u->pool->names, u->index, name, theirs, false, EK_MODEL_AS_ASKED);
        u->names_given = true;
    }
}

/* ---- looking --------------------------------------------------------------------------------------- */

static void ask_models(struct upstream *u);

static void got_models(void *arg, int status, enum ek_reason why, struct ek_str body)
{
    struct upstream *u = arg;
    u->probe = NULL;
    if (status == 0 || status >= 500) {
        no_answer(u, why);
        next_look(u);
        return;
    }
    u->failures = 0;
    u->answered_ns = ek_loop_now(u->pool->loop).mono_ns;
    if (!u->names_given && ek_probe_read_models(body, note_model, u)) {
        if (is_ours(u)) add_deepseek_aliases(u);
        u->pool->events->models(u->pool->arg);
    }
    if (!is_ours(u) && !u->load.up) {
        struct ek_upstream_load load = {.up = true, .slots = u->slots_given ? u->slots_given : 1,
                                        .slots_unknown = u->slots_given == 0};
        set_load(u, &load);
    }
    next_look(u);
}

static void got_load(void *arg, int status, enum ek_reason why, struct ek_str body)
{
    struct upstream *u = arg;
    struct ek_upstream_load load;
    u->probe = NULL;
    if (status == 0 || status >= 500) {
        no_answer(u, why);
        next_look(u);
        return;
    }
    if (status != 200 || !ek_probe_read_load(body, &load)) {
        if (u->dialect == EK_DIALECT_AUTO) {
            u->dialect = EK_DIALECT_OPENAI;
            ask_models(u);
            return;
        }
        no_answer(u, EK_REASON_UPSTREAM_BAD);
        next_look(u);
        return;
    }
    u->failures = 0;
    u->answered = true;
    u->answered_ns = ek_loop_now(u->pool->loop).mono_ns;
    u->dialect = EK_DIALECT_EVENKEEL;
    if (u->slots_given) load.slots = u->slots_given;
    set_load(u, &load);
    if (u->names_given) next_look(u);
    else ask_models(u);
}

static void ask_models(struct upstream *u)
{
    MUST(!u->probe);
    u->probe = ek_probe_start(u->pool->client, &u->target, "/v1/models", u->key, PROBE_DEADLINE_NS,
                              got_models, u);
}

static void on_look(struct ek_timer *t)
{
    struct upstream *u = EK_CONTAINER(t, struct upstream, look);
    MUST_OBJ(u->pool, POOL_MAGIC);
    if (u->probe) return; /* it will set the timer when it is answered */
    if (u->dialect == EK_DIALECT_AUTO || is_ours(u))
        u->probe = ek_probe_start(u->pool->client, &u->target, "/load", u->key, PROBE_DEADLINE_NS,
                                  got_load, u);
    else
        ask_models(u);
}

/* ---- the child ------------------------------------------------------------------------------------- */

static void child_started(void *arg)
{
    struct upstream *u = arg;
    u->answered_ns = ek_loop_now(u->pool->loop).mono_ns;
    u->answered = false;
    ek_probe_cancel(&u->probe);
    look_again(u, CHILD_PROBE_NS);
}

static void child_died(void *arg, int exit_code)
{
    struct upstream *u = arg;
    if (exit_code > 0 && !u->was_up) u->pool->events->hopeless(u->pool->arg);
    ek_probe_cancel(&u->probe);
    ek_timer_clear(u->pool->loop, &u->look);
    set_down(u);
}

static const struct ek_supervise_events child_events = {child_started, child_died};

static bool make_socket_dir(struct ek_pool *p)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    if (!base || strlen(base) > 30 || access(base, W_OK) != 0) base = getenv("TMPDIR");
    if (!base || strlen(base) > 30 || access(base, W_OK) != 0) base = "/tmp";
    snprintf(p->dir, sizeof p->dir, "%s/evenkeel-XXXXXX", base);
    if (!mkdtemp(p->dir)) {
        snprintf(p->why, sizeof p->why, "no directory for the engine's socket can be made in %s: %s", base,
                 strerror(errno));
        p->dir[0] = '\0';
        return false;
    }
    snprintf(p->socket, sizeof p->socket, "unix:%s/engine.sock", p->dir);
    return true;
}

/* The public name: as configured, else the file's name without its ending. */
static struct ek_str model_name(const struct ek_model_options *m)
{
    if (m->name) return ek_str_of(m->name);
    const char *slash = strrchr(m->file, '/');
    struct ek_str s = ek_str_of(slash ? slash + 1 : m->file);
    if (s.len > 5 && strcasecmp(s.data + s.len - 5, ".gguf") == 0) s.len -= 5;
    return s;
}

static bool add_child(struct ek_pool *p, const struct ek_pool_options *o)
{
    struct upstream *u = &p->upstream[p->count];
    char url_why[128];
    if (o->engine_flags.count + 8 > CHILD_ARGS_MAX) {
        snprintf(p->why, sizeof p->why, "too many flags for the engine");
        return false;
    }
    if (!make_socket_dir(p)) return false;
    size_t n = 0;
    p->argv[n++] = o->program ? keep(p, o->program) : "/proc/self/exe";
    p->argv[n++] = "engine";
    for (size_t i = 0; i < o->engine_flags.count; i++) p->argv[n++] = keep(p, o->engine_flags.item[i]);
    p->argv[n++] = "--listen";
    p->argv[n++] = p->socket;
    p->argv[n++] = "--orphan-fd";
    p->argv[n++] = "3";
    p->argv[n] = NULL;
    *u = (struct upstream){.pool = p, .index = p->count, .name = "engine",
                           .dialect = EK_DIALECT_EVENKEEL, .names_given = true, .load.slots = 1};
    if (ek_exchange_target_parse(ek_str_of(p->socket), &u->target, url_why, sizeof url_why) != EK_OK) {
        snprintf(p->why, sizeof p->why, "the engine's socket path cannot be used: %s", url_why);
        return false;
    }
    struct ek_str name = model_name(o->model);
    ek_pool_names_add(&p->names, u->index, name, ek_str_make(NULL, 0), false, EK_MODEL_AS_ASKED);
    for (size_t i = 0; i < o->model->aliases.count; i++)
        ek_pool_names_add(&p->names, u->index, ek_str_of(o->model->aliases.item[i]), name, false,
                          EK_MODEL_AS_ASKED);
    add_deepseek_aliases(u);
    ek_timer_init(&u->look, on_look);
    p->count++;
    struct ek_supervise_options so = {.argv = p->argv, .restart_min_ns = o->relay.restart_min_ns,
                                      .restart_max_ns = o->relay.restart_max_ns};
    u->child = ek_supervise(p->loop, &so, &child_events, u, p->log);
    return true;
}

/* ---- servers of their own -------------------------------------------------------------------------- */

static bool add_server(struct ek_pool *p, const struct ek_upstream_options *o)
{
    char why[160];
    struct upstream *u = &p->upstream[p->count];
    if (p->count == EK_POOL_UPSTREAMS_MAX) {
        snprintf(p->why, sizeof p->why, "more than %u upstreams", EK_POOL_UPSTREAMS_MAX);
        return false;
    }
    *u = (struct upstream){.pool = p, .index = p->count, .key = keep(p, o->key), .dialect = o->dialect,
                           .slots_given = o->slots > 100000 ? 100000 : (uint32_t)o->slots,
                           .load.slots = 1};
    snprintf(u->name, sizeof u->name, "%s", o->name);
    if (o->key && strlen(o->key) > KEY_BYTES_MAX) {
        snprintf(p->why, sizeof p->why, "the key of upstream %s is too long", u->name);
        return false;
    }
    if (ek_exchange_target_parse(ek_str_of(o->url), &u->target, why, sizeof why) != EK_OK) {
        snprintf(p->why, sizeof p->why, "the URL of upstream %s cannot be used: %s", u->name, why);
        return false;
    }
    /* Paths are given with their /v1; people write it into the URL or not. */
    size_t base = strlen(u->target.base);
    if (base >= 3 && strcmp(u->target.base + base - 3, "/v1") == 0) u->target.base[base - 3] = '\0';
    ek_timer_init(&u->look, on_look);
    p->count++;
    add_given_names(u, &o->models);
    look_again(u, 0);
    return true;
}

struct ek_pool *ek_pool_new(struct ek_loop *loop, struct ek_exchange_client *client,
                            const struct ek_pool_options *o, const struct ek_pool_events *events,
                            void *arg, struct ek_log *log, char *why, size_t why_cap)
{
    struct ek_pool *p = calloc(1, sizeof *p);
    MUST(p);
    MUST(events->load && events->models && events->hopeless);
    p->magic = POOL_MAGIC;
    p->loop = loop;
    p->client = client;
    p->relay = o->relay;
    p->events = events;
    p->arg = arg;
    p->log = log;
    bool ok = true;
    if (o->model && o->model->file) ok = add_child(p, o);
    for (size_t i = 0; ok && o->upstreams && i < o->upstreams->count; i++)
        ok = add_server(p, &o->upstreams->item[i]);
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

void ek_pool_free(struct ek_pool **pp)
{
    struct ek_pool *p = *pp;
    if (!p) return;
    MUST_OBJ(p, POOL_MAGIC);
    *pp = NULL;
    for (uint32_t i = 0; i < p->count; i++) {
        struct upstream *u = &p->upstream[i];
        ek_probe_cancel(&u->probe);
        ek_timer_clear(p->loop, &u->look);
        ek_supervise_free(&u->child);
    }
    ek_pool_names_free(&p->names);
    if (p->dir[0]) {
        unlink(p->socket + 5);
        rmdir(p->dir);
    }
    for (size_t i = 0; i < p->kept_count; i++) free(p->kept[i]);
    p->magic = 0;
    free(p);
}

/* ---- looking at the pool --------------------------------------------------------------------------- */

static const struct upstream *at(const struct ek_pool *p, uint32_t index)
{
    MUST_OBJ(p, POOL_MAGIC);
    MUST(index < p->count);
    return &p->upstream[index];
}

uint32_t ek_pool_count(const struct ek_pool *p) { return p->count; }
const char *ek_pool_name(const struct ek_pool *p, uint32_t i) { return at(p, i)->name; }
struct ek_upstream_load ek_pool_load(const struct ek_pool *p, uint32_t i) { return at(p, i)->load; }
const char *ek_pool_key(const struct ek_pool *p, uint32_t i) { return at(p, i)->key; }
bool ek_pool_is_ours(const struct ek_pool *p, uint32_t i) { return is_ours(at(p, i)); }

const struct ek_exchange_target *ek_pool_target(const struct ek_pool *p, uint32_t i)
{
    return &at(p, i)->target;
}

uint64_t ek_pool_restarts(const struct ek_pool *p, uint32_t i)
{
    const struct upstream *u = at(p, i);
    return u->child ? ek_supervise_restarts(u->child) : 0;
}

uint32_t ek_pool_models(const struct ek_pool *p) { return p->names.count; }

const struct ek_pool_model *ek_pool_model(const struct ek_pool *p, uint32_t model)
{
    MUST_OBJ(p, POOL_MAGIC);
    MUST(model < p->names.count);
    return &p->names.model[model];
}

uint32_t ek_pool_find_model(const struct ek_pool *p, struct ek_str name)
{
    MUST_OBJ(p, POOL_MAGIC);
    return ek_pool_names_find(&p->names, name);
}

const char *ek_pool_their_name(const struct ek_pool *p, uint32_t index, uint32_t model)
{
    const struct ek_pool_model *m = ek_pool_model(p, model);
    MUST(index < p->count);
    if (!(m->upstream_mask >> index & 1)) return NULL;
    return p->names.theirs[index][model] ? p->names.theirs[index][model] : m->name;
}

void ek_pool_suspect(struct ek_pool *p, uint32_t index, bool connect_failed)
{
    MUST_OBJ(p, POOL_MAGIC);
    MUST(index < p->count);
    struct upstream *u = &p->upstream[index];
    /* A child whose connection broke is dying, though its exit may be told only later in this turn: were
     * it still called up, its work would at once be sent to a socket that resets it. */
    bool down = connect_failed || u->child;
    if (down) set_down(u);
    if (u->child && !ek_supervise_pid(u->child)) return; /* RESTING: the supervisor will tell */
    if (!u->probe) look_again(u, down ? CHILD_PROBE_NS : 0);
}
