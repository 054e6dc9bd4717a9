/* SPDX-License-Identifier: MIT */
/* Deaf threads: see thread.h. The mask is inherited, so it is set around the birth and nowhere else. */
#include "base/thread.h"

#include "base/must.h"

void ek_signals_hold(sigset_t *old)
{
    sigset_t set;
    MUST(sigfillset(&set) == 0);
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&set, faults[i]);
    MUST(pthread_sigmask(SIG_BLOCK, &set, old) == 0);
}

void ek_signals_release(const sigset_t *old)
{
    MUST(pthread_sigmask(SIG_SETMASK, old, NULL) == 0);
}

bool ek_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
    sigset_t old;
    ek_signals_hold(&old);
    int error = pthread_create(thread, NULL, run, arg);
    ek_signals_release(&old);
    return error == 0;
}
