/* SPDX-License-Identifier: MIT */
/* Rates and concurrency of accounts: requests and tokens a minute, requests at once, deep thoughts
 * a day. Pure: a fixed table, time an argument, no allocation after ek_windows_new.
 *
 * A minute slides over two counters, this minute's and the last one's, the last weighted by how
 * much of it the window still covers:
 *
 *        last minute        this minute
 *      |------------------|-------now     |          used = last * (1 - part) + this
 *             |====== 60 seconds =====|                       part = how far this minute is
 *
 * Counters, and not a bucket that refills, because counters of several doors can be added: each
 * door counts its own (ek_windows_unsent hands out what is new), and is told the others'
 * (ek_windows_others). While nobody can tell (ek_windows_alone), each door keeps to its share of
 * the limit, one part of as many doors as there were. What doors admit between two exchanges is the
 * error, at most; it is paid back in the same window.
 *
 * Tokens are charged by estimate when a request begins and corrected when it ends, so a burst of
 * requests with long answers cannot pass on the strength of short prompts. */
#ifndef EK_LEDGER_WINDOWS_H
#define EK_LEDGER_WINDOWS_H

#include "base/clock.h"
#include "base/reason.h"
#include "base/status.h"
#include "base/zone.h"

#include <stdbool.h>
#include <stddef.h>

struct ek_windows;

struct ek_window_limits { /* 0: none */
    uint64_t minute_requests, minute_tokens, running_max, day_thoughts;
};

/* For the rate-limit headers; of a limit that is none, limit and left are 0. */
struct ek_window_state {
    uint64_t requests_limit, requests_left, tokens_limit, tokens_left;
    uint64_t running_limit, running_left, thoughts_limit, thoughts_left;
    uint64_t requests_reset_ns, tokens_reset_ns; /* until all that is used now has left the window */
    uint64_t thoughts_reset_ns;                  /* until the day ends */
};

struct ek_window_answer {
    enum ek_reason reason;   /* NONE, one of RATE_*, or NO_MEMORY: the table is full */
    uint64_t retry_after_ns; /* the earliest time the same question is answered with yes if nothing else */
                             /* comes; 0 for RATE_RUNNING, where it is the end of a request */
    struct ek_window_state state;
};

/* accounts_max: accounts counted at once. Those with nothing counted make room; when none can, a limited
 * account is refused with NO_MEMORY, and that is counted. NULL: no memory. */
struct ek_windows *ek_windows_new(uint32_t accounts_max, uint64_t seed);
void ek_windows_free(struct ek_windows **w);
/* Whose midnight ends a day; NULL, as at first: UTC's. Must outlive the windows. */
void ek_windows_zone(struct ek_windows *w, const struct ek_zone *zone);

/* May a request of so many estimated tokens begin? If so, it is counted. */
struct ek_window_answer ek_windows_begin(struct ek_windows *w, uint64_t account,
                                         const struct ek_window_limits *limits, uint64_t tokens, bool thinks,
                                         struct ek_now now);
/* The same question without asking: what is left now, as ek_windows_begin would find it. */
void ek_windows_look(struct ek_windows *w, uint64_t account, const struct ek_window_limits *limits,
                     struct ek_now now, struct ek_window_state *out);
/* It ended: estimated was what begin was told. One end for each begin that was answered with NONE. */
void ek_windows_end(struct ek_windows *w, uint64_t account, uint64_t estimated_tokens, uint64_t real_tokens,
                    struct ek_now now);

/* ---- several doors ---------------------------------------------------------------------------- */

/* What this door has counted of a minute (minutes since 1970), where it has changed. */
struct ek_window_delta {
    uint64_t account, minute;
    uint64_t requests, tokens; /* of this door in that minute, in all */
    uint64_t running;          /* now */
};

/* Up to `max` accounts with something new; they count as sent. */
size_t ek_windows_unsent(struct ek_windows *w, struct ek_window_delta *out, size_t max, struct ek_now now);
/* What the other doors have counted in the two minutes up to `minute`, and have running. */
void ek_windows_others(struct ek_windows *w, uint64_t account, uint64_t minute, uint64_t last_requests,
                       uint64_t this_requests, uint64_t last_tokens, uint64_t this_tokens, uint64_t running);
/* From now on nobody can tell what the others do; there were `doors` of us, this one included. 0:
 * they can. */
void ek_windows_alone(struct ek_windows *w, uint32_t doors);

struct ek_windows_counters {
    uint32_t accounts;
    uint64_t full; /* refused because the table was full */
};
void ek_windows_counters(const struct ek_windows *w, struct ek_windows_counters *out);

#endif
