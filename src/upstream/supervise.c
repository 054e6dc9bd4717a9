/* SPDX-License-Identifier: MIT */
/* The supervisor of the engine child: process life only. Whether the child answers is the pool's
 * business. */
#include "upstream/supervise.h"

#include <signal.h>
#include <stdlib.h>

#define SUPERVISOR_MAGIC 0x71bd02e3u
#define HEALTHY_NS (30 * EK_S_NS)

struct ek_supervisor {
    uint32_t magic;
    struct ek_loop *loop;
    struct ek_supervise_options options;
    const struct ek_supervise_events *events;
    void *arg;
    struct ek_log *log;
    struct ek_child *child; /* NULL: RESTING */
    struct ek_timer again;
    uint64_t started_ns;
    uint64_t backoff_ns; /* of the next restart; 0: at once */
    uint64_t starts;
    bool asleep;
};

static void rest(struct ek_supervisor *s);

static void exited(void *arg, int exit_code, int sig)
{
    struct ek_supervisor *s = arg;
    MUST_OBJ(s, SUPERVISOR_MAGIC);
    MUST(s->child);
    if (s->asleep) ek_info(s->log, "the engine has ended, as nobody needs it here");
    else if (sig) ek_warn(s->log, "the engine was killed by signal %d", sig);
    else ek_warn(s->log, "the engine stopped with exit code %d", exit_code);
    ek_child_close(&s->child);
    rest(s);
    s->events->died(s->arg, sig ? -1 : exit_code);
}

static void start(struct ek_timer *t)
{
    struct ek_supervisor *s = EK_CONTAINER(t, struct ek_supervisor, again);
    MUST_OBJ(s, SUPERVISOR_MAGIC);
    MUST(!s->child);
    const char *why = NULL;
    struct ek_child_options o = {.argv = s->options.argv, .orphan_pipe = true};
    s->child = ek_child_start(s->loop, &o, exited, s, &why);
    s->started_ns = ek_loop_now(s->loop).mono_ns;
    s->starts++;
    if (!s->child) {
        ek_error(s->log, "the engine cannot be started: %s", why);
        rest(s);
        return;
    }
    ek_info(s->log, "engine %s, process %d", s->starts == 1 ? "started" : "restarted",
            ek_child_pid(s->child));
    s->events->started(s->arg);
}

/* RUNNING → RESTING or ASLEEP: note when to try again. */
static void rest(struct ek_supervisor *s)
{
    MUST(!s->child);
    if (s->asleep) return;
    uint64_t now_ns = ek_loop_now(s->loop).mono_ns;
    if (ek_ns_since(now_ns, s->started_ns) >= HEALTHY_NS) s->backoff_ns = 0;
    ek_timer_set(s->loop, &s->again, now_ns + s->backoff_ns);
    uint64_t next_ns = s->backoff_ns ? s->backoff_ns * 2 : s->options.restart_min_ns;
    s->backoff_ns = next_ns < s->options.restart_max_ns ? next_ns : s->options.restart_max_ns;
}

struct ek_supervisor *ek_supervise(struct ek_loop *loop, const struct ek_supervise_options *o,
                                   const struct ek_supervise_events *events, void *arg,
                                   struct ek_log *log)
{
    struct ek_supervisor *s = calloc(1, sizeof *s);
    MUST(s);
    MUST(o->argv && o->argv[0]);
    *s = (struct ek_supervisor){.magic = SUPERVISOR_MAGIC, .loop = loop, .options = *o,
                                .events = events, .arg = arg, .log = log};
    ek_timer_init(&s->again, start);
    ek_timer_set(loop, &s->again, ek_loop_now(loop).mono_ns);
    return s;
}

void ek_supervise_kill(struct ek_supervisor *s, int sig)
{
    MUST_OBJ(s, SUPERVISOR_MAGIC);
    if (s->child) ek_child_kill(s->child, sig);
}

int ek_supervise_pid(const struct ek_supervisor *s)
{
    MUST_OBJ(s, SUPERVISOR_MAGIC);
    return s->child ? ek_child_pid(s->child) : 0;
}

void ek_supervise_sleep(struct ek_supervisor *s, bool asleep)
{
    MUST_OBJ(s, SUPERVISOR_MAGIC);
    if (s->asleep == asleep) return;
    s->asleep = asleep;
    s->backoff_ns = 0;
    if (!asleep && !s->child) ek_timer_set(s->loop, &s->again, ek_loop_now(s->loop).mono_ns);
    if (!asleep) return; /* or what was killed is about to be told as dead, and rests: at once */
    ek_timer_clear(s->loop, &s->again);
    if (s->child) ek_child_kill(s->child, SIGKILL);
}

uint64_t ek_supervise_restarts(const struct ek_supervisor *s)
{
    MUST_OBJ(s, SUPERVISOR_MAGIC);
    return s->starts > 1 ? s->starts - 1 : 0;
}

void ek_supervise_free(struct ek_supervisor **s)
{
    if (!*s) return;
    MUST_OBJ(*s, SUPERVISOR_MAGIC);
    if ((*s)->child) ek_child_close(&(*s)->child);
    ek_timer_clear((*s)->loop, &(*s)->again);
    (*s)->magic = 0;
    free(*s);
    *s = NULL;
}
