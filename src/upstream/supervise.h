/* SPDX-License-Identifier: MIT */
/* Keeps one child process alive: starts it, restarts it when it dies.
 *
 *   RUNNING ── exits ──▶ RESTING ── back-off ──▶ RUNNING        first restart at once, then restart_min
 *                                                                doubling to restart_max; forgotten
 *                                                                after 30 s of life
 *   RUNNING ── asleep ──▶ ASLEEP ── awake ──▶ RUNNING            nobody needs it for now
 *
 * The child inherits a pipe that closes when we are gone (the orphan rule), so it never outlives us. */
#ifndef EK_UPSTREAM_SUPERVISE_H
#define EK_UPSTREAM_SUPERVISE_H

#include "base/log.h"
#include "base/loop.h"

struct ek_supervisor;

struct ek_supervise_options {
    const char *const *argv; /* NULL-terminated; outlives the supervisor */
    uint64_t restart_min_ns;
    uint64_t restart_max_ns;
};

struct ek_supervise_events {
    void (*started)(void *arg); /* not inside ek_supervise */
    /* It will be started again by itself. exit_code is -1 when a signal ended it. */
    void (*died)(void *arg, int exit_code);
};

/* Begins at once. Never NULL; a program that cannot be started counts as one that died. */
struct ek_supervisor *ek_supervise(struct ek_loop *loop, const struct ek_supervise_options *o,
                                   const struct ek_supervise_events *events, void *arg,
                                   struct ek_log *log);
void ek_supervise_kill(struct ek_supervisor *s, int signal); /* no-op while it is not running */
int ek_supervise_pid(const struct ek_supervisor *s);         /* 0 while not running */
/* Asleep it is killed, and not started again before it is awake: then at once. */
void ek_supervise_sleep(struct ek_supervisor *s, bool asleep);
uint64_t ek_supervise_restarts(const struct ek_supervisor *s);
void ek_supervise_free(struct ek_supervisor **s);            /* SIGKILLs what still runs */

#endif
