/* SPDX-License-Identifier: MIT */
/* One link between two processes of one door: a SOCK_SEQPACKET socket that carries message.h. What the kernel
 * does not take is queued, at most EK_SWAP_QUEUE_MAX messages; whoever reads a message from the other
 * side that is none ends the link. Real loop only. */
#ifndef EK_SWAP_LINK_H
#define EK_SWAP_LINK_H

#include "base/loop.h"
#include "swap/message.h"

#define EK_SWAP_QUEUE_MAX 65536u /* as many as connections may rest at once, and some */

struct ek_swap_link;

struct ek_swap_link_events {
    /* fd: -1, or the descriptor that came with it, the callee's. The callee may close the link. */
    void (*message)(void *arg, const struct ek_swap_message *m, int fd);
    /* The other process is gone (why NULL), or what it said is none of ours. Nothing comes any more; what
     * was not sent is lost, and its descriptors are closed with the link. */
    void (*ended)(void *arg, const char *why);
};

/* The descriptor is the link's from now on. */
struct ek_swap_link *ek_swap_link_new(struct ek_loop *loop, int fd, const struct ek_swap_link_events *events,
                                      void *arg);
/* fd: -1, or a descriptor that goes along and is closed here afterwards. False: the queue is full, or the
 * link has ended; fd is closed. */
bool ek_swap_link_send(struct ek_swap_link *k, const struct ek_swap_message *m, int fd);
uint32_t ek_swap_link_queued(const struct ek_swap_link *k);
/* Read no more (or again): for as long as another process reads there in our place. */
void ek_swap_link_rest(struct ek_swap_link *k, bool rests);
/* A copy of its descriptor, for another process; -1: there can be none. */
int ek_swap_link_copy(const struct ek_swap_link *k);
void ek_swap_link_close(struct ek_swap_link **k);

/* One message, here and now, of a link that is not on a loop yet. NULL, or a sentence; *m is a view of
 * bytes[0..EK_SWAP_BYTES_MAX). Blocks for timeout_ms at most. */
const char *ek_swap_receive(int fd, int timeout_ms, char *bytes, struct ek_swap_message *m, int *passed);
/* The same of sending, without waiting; false: it could not be. */
bool ek_swap_send(int fd, const struct ek_swap_message *m, int passed);
/* Is it such a socket at all? */
bool ek_swap_is_link(int fd);

#endif
