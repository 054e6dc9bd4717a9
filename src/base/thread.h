/* SPDX-License-Identifier: MIT */
/* Threads beside the one that runs the loop, and signals: these belong to that one alone. A signal to the
 * process goes to any thread that has not blocked it; one that meets a thread of a pool while nobody handles
 * it (a process that has handed its place on, and only passes signals along) is the end of the process. So
 * every thread that we make, and every one that a library's pool makes, is born with them blocked. */
#ifndef EK_BASE_THREAD_H
#define EK_BASE_THREAD_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

/* Until ek_signals_release(old), what this thread makes is deaf to all signals but those that mean a fault of
 * the thread itself, which a sanitizer or a core file is to see. */
void ek_signals_hold(sigset_t *old);
void ek_signals_release(const sigset_t *old);

/* A deaf thread; false: there can be no more. */
bool ek_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

#endif
