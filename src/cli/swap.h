/* SPDX-License-Identifier: MIT */
/* The processes of a swap: starting the new program, and the one that stays because a supervisor watches it.
 *
 * The process that was started first keeps its number for as long as the service lives: systemd, a container,
 * a shell know it by that. When it has nothing left to do it stays as a keeper: it passes signals to the one
 * that serves, and ends as that ends. Processes in between just end.
 *
 * Every later process has the reading end of a pipe that only the first one can write to, and never does. End
 * of file there: the first one is gone without a word (kill -9), and whoever watched it believes that the
 * service has ended. So it does: each drains, and the port is free for the next start. */
#ifndef EK_CLI_SWAP_H
#define EK_CLI_SWAP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The link to the process that has started us to take over; 0: we were started otherwise, and are the first.
 * *first: the reading end of the first one's pipe; -1. */
int ek_cli_swap_inherited(int *first);
/* Start what this process was started as, anew: its first argument is looked up again, so a program that was
 * replaced (or a link that was moved) is the new one. *link is our end. *first -1: the pipe is made, we are
 * the first one; it stays for as long as this process lives. False with a sentence. */
bool ek_cli_swap_spawn(int *link, int *first, pid_t *pid, char *why, size_t cap);
/* Signals that a keeper will pass on are held from here on. */
void ek_cli_swap_hold_signals(void);
/* Stay until every process of this service is gone. Returns the exit code. Owns the link. */
int ek_cli_swap_keep(int link, pid_t serving);

#endif
