/* SPDX-License-Identifier: MIT */
/* One page of memory that all processes of a door have while one takes over from another: what each has spent
 * at every lender in this hour and this day, what it has reserved there, and how many it has running. So a
 * budget or a wall is one for all of them, exactly, whoever of them asks and whoever of them is killed.
 *
 *      row[berth][lender]   written by who has that berth, read by all; under one lock (fcntl, of the
 *                           process: the kernel takes it from the dead)
 *
 * Whoever decides about money opens the purse (the desk then knows what the others have), lets the desk
 * decide and shuts it (the others then know what we have). Rows of those that have ended stay, as spent, for
 * as long as there is somebody who has the page. Without a swap there is no page, and this is one branch. */
#ifndef EK_DOOR_SWAP_PURSE_H
#define EK_DOOR_SWAP_PURSE_H

#include <stdbool.h>
#include <stdint.h>

struct ek_door;
struct ek_swap_purse;

/* The first one of all: a page of our own. False: there can be none, and each counts for itself. */
bool ek_swap_purse_make(struct ek_door *d);
/* Taking over: fd is ours from now on. NULL, or a sentence. Before the desk is told of its lenders. */
const char *ek_swap_purse_take(struct ek_door *d, int fd);
/* A copy of its descriptor, for the next one; -1: there is none. */
int ek_swap_purse_copy(const struct ek_door *d);
void ek_swap_purse_open(struct ek_door *d);
void ek_swap_purse_shut(struct ek_door *d);
/* TAKING: what one spent that had our berth before us is ours. */
void ek_swap_purse_inherit(struct ek_door *d);
/* That process is gone: what it had reserved counts as spent, as after any crash. */
void ek_swap_purse_bury(struct ek_door *d, uint32_t berth);
void ek_swap_purse_close(struct ek_door *d);

#endif
