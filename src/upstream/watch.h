/* SPDX-License-Identifier: MIT */
/* The watch over one upstream's identity: asks the questions of identity.h now and then, keeps the answers of
 * the first time in a file, and compares those of later times with them.
 *
 *      WAITING ──due, and it is up──▶ ASKING ──all answers──▶ WAITING   (recorded, same, or other)
 *         ▲                             └──one failed──▶ WAITING, and sooner again
 *         └── other once: a minute later again; other twice: that is an alarm
 */
#ifndef EK_UPSTREAM_WATCH_H
#define EK_UPSTREAM_WATCH_H

#include "upstream/identity.h"
#include "upstream/pool.h"

struct ek_watch;

/* file, log and client must outlive it. changed(arg) is called when `other` changes, not from here. */
struct ek_watch *ek_watch_new(struct ek_pool *pool, uint32_t index, struct ek_loop *loop,
                              struct ek_exchange_client *client, struct ek_log *log, const char *file,
                              uint64_t every_ns, void (*changed)(void *arg), void *arg);
/* Asks once, now or as soon as it answers, and keeps nothing: asked(arg, answers, NULL), or NULL and why not.
 * The owner frees it then, but not from inside the callback. */
struct ek_watch *ek_watch_once(struct ek_pool *pool, uint32_t index, struct ek_loop *loop,
                               struct ek_exchange_client *client, struct ek_log *log,
                               void (*asked)(void *arg, const struct ek_identity_print *now, const char *why),
                               void *arg);
void ek_watch_free(struct ek_watch **w);
const char *ek_watch_file(const struct ek_watch *w);
void ek_watch_look(const struct ek_watch *w, struct ek_pool_identity *out);

#endif
