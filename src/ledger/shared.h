/* SPDX-License-Identifier: MIT */
/* The windows of several doors, made one through Redis or Valkey. Every so often (a quarter second)
 * the owner calls ek_shared_tick: what this door has counted goes out, what the others have counted
 * comes in. Nothing on the data path ever waits for it: a request is judged by what was last heard.
 *
 *      loop ──tick──▶ [one exchange at a time] ──▶ thread ──pipeline──▶ Redis
 *           ◀──ek_windows_others, ek_windows_alone──┘
 *
 * In Redis: one hash an account and minute, PREFIX:w:ACCOUNT:MINUTE, with the fields r:DOOR,
 * t:DOOR, n:DOOR (requests, tokens, running), each written by its door alone and absolute, so that
 * an exchange repeated after a lost answer changes nothing. A door that dies leaves no count
 * behind: its fields go with their minutes.
 *
 * While Redis is away each door keeps to one part of the limits in as many as there were doors in
 * the last exchange. */
#ifndef EK_LEDGER_SHARED_H
#define EK_LEDGER_SHARED_H

#include "base/loop.h"
#include "ledger/windows.h"

#define EK_SHARED_BATCH_MAX 256u

struct ek_shared;

struct ek_shared_options {
    const char *address; /* "unix:/path" or "HOST:PORT" */
    const char *prefix;  /* of all keys: letters, digits, '-' */
    const char *door;    /* this door's name, likewise, at most 64 bytes */
};

/* The windows stay the caller's, and must outlive it. Never fails: an address that cannot be
 * reached is away. */
struct ek_shared *ek_shared_new(struct ek_loop *loop, const struct ek_shared_options *o,
                                struct ek_windows *w);
void ek_shared_free(struct ek_shared **s);

/* Start an exchange, unless one is under way; false then. heard (NULL: nobody) is called on the
 * loop when it has ended, well or not. */
bool ek_shared_tick(struct ek_shared *s, struct ek_now now, void (*heard)(void *arg), void *arg);

struct ek_shared_counters {
    bool here;
    uint32_t doors; /* in the last exchange, this one included */
    uint64_t exchanges, failures;
};
void ek_shared_counters(const struct ek_shared *s, struct ek_shared_counters *out);

#endif
