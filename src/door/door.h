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

/* The address of listener `index` as really bound; false when there is none such. */
bool ek_door_address(const struct ek_door *d, size_t index, char *out, size_t cap);

#endif
