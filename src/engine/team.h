/* SPDX-License-Identifier: MIT */
/* A small team of threads for the parallel parts of a step. The caller is a member: it works too, so a
 * team of one has no threads at all. A part is cut into chunks which members claim one by one, so a
 * member whose core is busy elsewhere delays nobody; what a chunk computes must not depend on who
 * computes it nor on how many chunks there are. */
#ifndef EK_ENGINE_TEAM_H
#define EK_ENGINE_TEAM_H

#include "base/must.h"

#include <stddef.h>

struct ek_team;

enum { EK_TEAM_MAX = 64 };

/* Compute chunk `chunk` of `chunks`; `member` (0 .. size - 1) names scratch memory. */
typedef void ek_team_fn(void *arg, unsigned chunk, unsigned chunks, unsigned member);

struct ek_team *ek_team_new(unsigned size); /* 1..EK_TEAM_MAX; starts size - 1 threads */
void ek_team_free(struct ek_team **team);
unsigned ek_team_size(const struct ek_team *team);

/* Run all chunks and return when they are done. One caller at a time, always the same thread. With
 * one chunk it is a plain call. */
void ek_team_run(struct ek_team *team, ek_team_fn *fn, void *arg, unsigned chunks);

/* How many chunks suit a part that costs about `work` multiplications: one while waking others would
 * cost more than it gains, a few for each member beyond; never more than `most`. */
unsigned ek_team_chunks(const struct ek_team *team, double work, size_t most);

/* The half-open part [*begin, *end) of n items that is chunk's, cut at multiples of `grain`. */
void ek_team_part(size_t n, size_t grain, unsigned chunk, unsigned chunks, size_t *begin, size_t *end);

#endif
