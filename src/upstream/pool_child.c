/* SPDX-License-Identifier: MIT */
/* Our own engine as a child process: its socket, its flags, its life. */
#include "upstream/pool_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *keep(struct ek_pool *p, const char *text)
{
    MUST(p->kept_count < EK_POOL_CHILD_ARGS_MAX);
    char *copy = strdup(text);
    MUST(copy); /* at start only */
    p->kept[p->kept_count++] = copy;
    return copy;
}

static void child_started(void *arg)
{
    struct ek_upstream *u = arg;
    u->answered_ns = ek_loop_now(u->pool->loop).mono_ns;
    u->answered = false;
    ek_probe_cancel(&u->probe);
    ek_pool_look_again(u, EK_POOL_CHILD_PROBE_NS);
}

static void child_died(void *arg, int exit_code)
{
    struct ek_upstream *u = arg;
    if (exit_code > 0 && !u->was_up) u->pool->events->hopeless(u->pool->arg);
    ek_pool_look_end(u);
    ek_pool_set_down(u);
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

static void make_argv(struct ek_pool *p, const struct ek_pool_options *o)
{
    size_t n = 0;
    p->argv[n++] = o->program ? keep(p, o->program) : "/proc/self/exe";
    p->argv[n++] = "engine";
    for (size_t i = 0; i < o->engine_flags.count; i++) p->argv[n++] = keep(p, o->engine_flags.item[i]);
    p->argv[n++] = "--listen";
    p->argv[n++] = p->socket;
    p->argv[n++] = "--orphan-fd";
    p->argv[n++] = "3";
    p->argv[n] = NULL;
    MUST(n < EK_POOL_CHILD_ARGS_MAX);
}

bool ek_pool_add_child(struct ek_pool *p, const struct ek_pool_options *o)
{
    struct ek_upstream *u = &p->upstream[p->count];
    char url_why[128];
    if (o->engine_flags.count + 8 > EK_POOL_CHILD_ARGS_MAX) {
        snprintf(p->why, sizeof p->why, "too many flags for the engine");
        return false;
    }
    if (!make_socket_dir(p)) return false;
    make_argv(p, o);
    *u = (struct ek_upstream){.pool = p, .index = p->count, .name = "engine", .given = EK_DIALECT_EVENKEEL,
                              .dialect = EK_DIALECT_EVENKEEL, .names_given = true, .weight = 10,
                              .said.slots = 1};
    if (ek_exchange_target_parse(ek_str_of(p->socket), &u->target, url_why, sizeof url_why) != EK_OK) {
        snprintf(p->why, sizeof p->why, "the engine's socket path cannot be used: %s", url_why);
        return false;
    }
    struct ek_str name = model_name(o->model);
    ek_pool_names_add(&p->names, u->index, name, ek_str_make(NULL, 0), false, EK_MODEL_AS_ASKED);
    for (size_t i = 0; i < o->model->aliases.count; i++)
        ek_pool_names_add(&p->names, u->index, ek_str_of(o->model->aliases.item[i]), name, false,
                          EK_MODEL_AS_ASKED);
    ek_pool_add_deepseek_aliases(u);
    ek_pool_look_init(u);
    ek_pool_judge_init(u);
    p->count++;
    struct ek_supervise_options so = {.argv = p->argv, .restart_min_ns = o->relay.restart_min_ns,
                                      .restart_max_ns = o->relay.restart_max_ns};
    u->child = ek_supervise(p->loop, &so, &child_events, u, p->log);
    return true;
}

static struct ek_upstream *child_of(const struct ek_pool *p)
{
    MUST_OBJ(p, EK_POOL_MAGIC);
    struct ek_upstream *u = (struct ek_upstream *)(uintptr_t)&p->upstream[0];
    return p->count && u->child ? u : NULL;
}

enum ek_pool_child ek_pool_child(const struct ek_pool *p)
{
    const struct ek_upstream *u = child_of(p);
    if (!u) return EK_POOL_CHILD_NONE;
    return u->said.up ? EK_POOL_CHILD_SERVES : EK_POOL_CHILD_STARTS;
}

int ek_pool_child_pid(const struct ek_pool *p)
{
    const struct ek_upstream *u = child_of(p);
    return u ? ek_supervise_pid(u->child) : 0;
}

void ek_pool_child_sleep(struct ek_pool *p, bool asleep)
{
    struct ek_upstream *u = child_of(p);
    if (!u) return;
    u->asleep = asleep;
    ek_supervise_sleep(u->child, asleep);
}

void ek_pool_end_child(struct ek_pool *p)
{
    if (p->dir[0]) {
        unlink(p->socket + 5);
        rmdir(p->dir);
    }
    for (size_t i = 0; i < p->kept_count; i++) free(p->kept[i]);
}
