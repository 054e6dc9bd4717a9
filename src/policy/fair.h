/* SPDX-License-Identifier: MIT */
/* One level of fair queueing: members that have work waiting, each with a counter of the work it was
 * given. The smallest counter goes next (VTC, Sheng et al., OSDI 2024, with costs in nano-units).
 *
 *   - charged as predicted when a request starts, settled when it ends: the counter moves both ways
 *   - lift: one that had nothing waiting comes back with at least the level's virtual time, so that nobody
 *     saves up service by staying away. Virtual time is that of generalized processor sharing (Parekh and
 *     Gallager 1993): it grows by cost / members for each cost served. VTC lifts to the smallest counter
 *     instead; then a stream of newcomers, each with one request, holds that smallest counter for ever and
 *     whoever has a second request waits until the stream ends
 *
 * The level also answers, in O(log n), how much would be served before a member's counter reaches S.
 * With c the counter, h the cost of the next request, w all waiting work, a member f is served, up to S,
 *
 *      0                      c_f >= S
 *      h_f                    c_f < S <= c_f + h_f            its next request
 *      min(w_f, S - c_f)      beyond: the rest flows, as in the fluid model of fair queueing
 *
 * Summed over members that is three prefix sums: over c (value h), over b = c + h and over e = c + w
 * (value the key itself): sum of h, + (N_b S - sum b) - (N_e S - sum e). Pure; intrusive. */
#ifndef EK_POLICY_FAIR_H
#define EK_POLICY_FAIR_H

#include "policy/tree.h"

struct ek_fair_node {
    struct ek_tree_node head; /* key c, value h: those with something waiting and not held back */
    struct ek_tree_node rest; /* key and value b = c + h: those with more than one waiting */
    struct ek_tree_node end;  /* key and value e = c + w: the same ones */
    int64_t counter;          /* nano-units; never negative */
    uint64_t seq;
    int64_t work;   /* waiting, nano-units */
    int64_t first;  /* cost of the next */
    uint32_t count; /* waiting */
    bool held;      /* at its cap: keeps its line, does not take part */
};

struct ek_fair {
    struct ek_tree head, rest, end;
    double floor; /* virtual time; never below the smallest counter of those who take part */
    uint64_t next_seq;
    int64_t work;   /* of those who take part */
    uint32_t count; /* requests of those who take part */
};

struct ek_fair_ahead {
    double count; /* requests */
    double work;  /* nano-units */
};

/* The member's line is now so: count requests, work in all, the next one costs `first`. Lifts on the first
 * one, unless `keep` (it was in line before, and has its place by right). */
void ek_fair_set(struct ek_fair *f, struct ek_fair_node *n, uint32_t count, int64_t work, int64_t first,
                 bool keep);
/* Move the counter: charged more, or given back. It never falls below 0. */
void ek_fair_charge(struct ek_fair *f, struct ek_fair_node *n, int64_t by);
/* Held back (its cap is reached), or no longer. */
void ek_fair_hold(struct ek_fair *f, struct ek_fair_node *n, bool held);
/* Who goes next; NULL: nobody who may. */
struct ek_fair_node *ek_fair_next(const struct ek_fair *f);
/* What others are served before n's counter has grown by `own` (its own work before the one asked for). */
struct ek_fair_ahead ek_fair_ahead(const struct ek_fair *f, const struct ek_fair_node *n, int64_t own);

#endif
