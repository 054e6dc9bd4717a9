/* SPDX-License-Identifier: MIT */
/* The door: the HTTP side of `evenkeel serve`. It owns the listeners, the desk, the pool of upstreams
 * and every request between them, on one loop. What it decides it asks the desk; what it knows of
 * models and engines it asks the pool. It computes no tensor and never tokenises. */
#ifndef EK_DOOR_DOOR_H
#define EK_DOOR_DOOR_H

#include "base/log.h"
#include "base/loop.h"
#include "config/config.h"
#include "http/exchange.h"

struct ek_door;

struct ek_door_options {
    struct ek_loop *loop;
    struct ek_config *config;          /* a reference is taken */
    struct ek_log *log;                /* outlives the door */
    struct ek_exchange_client *client; /* NULL: one of its own (plain and curl) */
    const char *program;               /* of the engine child; NULL: this very program */
    bool ledger_on_loop;               /* no thread for the ledger: on a virtual loop */
    /* The engine child cannot work with the model it was given (it said why); NULL: go on trying. */
    void (*hopeless)(void *arg);
    void *arg;
    int swap_fd; /* > 0: the link to a door that runs, which this one is to take over from (ek_door_swap) */
};

/* Listen, start the child, look at the upstreams. NULL with a sentence in why[0..cap). */
struct ek_door *ek_door_start(const struct ek_door_options *o, char *why, size_t cap);

/* Swap the snapshot (a reference is taken): keys, tiers, bounds, waiting rules, limits. Requests under
 * way keep what they have. False when the desk cannot take the new bounds; then nothing changed. */
bool ek_door_reload(struct ek_door *d, struct ek_config *config);

/* Stop accepting; what waits and runs may end until the drain deadline. Then stopped(arg), not inside
 * this call; ek_door_free may be called from it. */
void ek_door_drain(struct ek_door *d, void (*stopped)(void *arg), void *arg);

/* At once: connections are cut, the child is killed. */
void ek_door_free(struct ek_door **d);

/* ---- a new program takes over, without a client that notices (door/swap.h) ---------------------------- */
struct ek_door_swap_events {
    void (*begun)(void *arg);                   /* we have taken over, and listen */
    void (*taken)(void *arg);                   /* we were taken over from, and end what we have */
    void (*left)(void *arg);                    /* nothing is left here */
    /* The new one is not, or no longer: we go on. While taking over: we cannot. */
    void (*failed)(void *arg, const char *why);
    /* One that leaves was sent this signal, so often; it is meant for the one that serves. */
    void (*told)(void *arg, int signo, uint64_t times);
};
void ek_door_swap_events(struct ek_door *d, const struct ek_door_swap_events *events, void *arg);
/* Process `pid` has been started with the other end of the link `fd` (a SOCK_SEQPACKET pair; ours from now
 * on) to take over. False with a sentence; then fd is closed. */
bool ek_door_swap(struct ek_door *d, int fd, uint64_t pid, char *why, size_t cap);
/* It has taken over: the signal is its. False: we serve ourselves. */
bool ek_door_swap_pass_signal(struct ek_door *d, int signo, uint64_t times);
/* We were told to end: those that leave hear of it. */
void ek_door_swap_tell_others(struct ek_door *d, int signo);
/* After `left`: a copy of the link to the one that serves, and its process; -1: there is none. */
int ek_door_swap_keep(const struct ek_door *d, uint64_t *pid);
/* Not yet begun, the new one must say why it cannot. */
void ek_door_swap_sorry(int fd, const char *why);

/* The address of listener `index` as really bound; false when there is none such. */
bool ek_door_address(const struct ek_door *d, size_t index, char *out, size_t cap);

#endif
