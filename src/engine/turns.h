/* SPDX-License-Identifier: MIT */
/* Whose turn it is to have a schema made ready: of those who wait, whoever has had the least of it lately.
 * One caller with a hundred schemas that take a second each keeps another waiting for one of them, not all.
 *
 * Callers are told apart by a hash into so many places: two may share one, and are then one to us. What they
 * had counts half after EK_TURNS_HALF_S. Pure; the time is an argument. */
#ifndef EK_ENGINE_TURNS_H
#define EK_ENGINE_TURNS_H

#include "base/str.h"

enum { EK_TURNS_PLACES = 256, EK_TURNS_HALF_S = 10 };

struct ek_turns { /* zeroed at first */
    double had_s[EK_TURNS_PLACES];
    uint64_t at_ns;
};

/* The place of whoever sent this request: by the salt that a door puts into the body (`ek.cache_salt`, an
 * account there), else by the address it came from. */
uint32_t ek_turns_place(struct ek_str body, struct ek_str address);

/* `place` has had so many seconds, at an end at now_ns, which never goes back. */
void ek_turns_had(struct ek_turns *t, uint64_t now_ns, uint32_t place, double seconds);

/* Is it a's turn rather than b's, who came first? */
bool ek_turns_before(const struct ek_turns *t, uint32_t a, uint32_t b);

#endif
