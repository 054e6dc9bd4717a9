/* SPDX-License-Identifier: MIT */
/* When will slots come free, in a house of few of them? The rate of a pool (estimate.h) knows how many do in
 * the long run; this knows those that run now: who began a moment ago is not half done, and a crowd that
 * began together ends together.
 *
 * The law of service, as the actuary writes it: a life table over u, slot-seconds per predicted token. In
 * each bucket of u (eight an octave) how many ended, of how many that came so far, those who still run among
 * them: in a house that fills, whoever has ended already was quick. What is foreseen from account, effort,
 * brownout step and prompt is in the prediction (predict.h); the table holds what is not, and how fast the
 * machine is. Beyond all that was ever seen, what has lasted so long lasts as long again.
 *
 *     S(u)      part that lasts beyond u
 *     F_i(t)    1 - S((age_i + t) / n_i) / S(age_i / n_i), n_i its predicted tokens
 *     gone(t)   sum of F_i(t), and of what is started in their places (renewal equation, in steps), until
 *               three mean services; behind that the mean rate
 *
 * What the table gets wrong all the same is learned as one factor on time, from the departures that came.
 * Memory fades by departures, never by the clock. Pure: no clock, no allocation. */
#ifndef EK_POLICY_VACANCY_H
#define EK_POLICY_VACANCY_H

#include <stdbool.h>
#include <stdint.h>

#define EK_LIFE_BUCKETS 224u  /* of u, from 2^-16 to 2^12 seconds a token, eight an octave */
#define EK_LIFE_SIZES 40u     /* of predicted tokens, two an octave */
#define EK_VACANCY_STEPS 48u  /* together three times a mean service */

struct ek_life {
    double ended[EK_LIFE_BUCKETS]; /* in this bucket, faded */
    double passed[EK_LIFE_BUCKETS]; /* came through it */
    double inside[EK_LIFE_BUCKETS]; /* of those that run, are in it */
    double alive[EK_LIFE_BUCKETS + 1]; /* S at the lower edges */
    struct { double n, tokens; } size[EK_LIFE_SIZES]; /* of those begun lately, as predicted, faded */
    bool stale; /* alive is not up to date */
};

struct ek_vacancy {
    uint64_t at_ns; /* when it was worked out; 0: never */
    uint64_t changes, ends; /* the caller's: counts of what began and ended before */
    double factor; /* departures that come over those foreseen, learned; 0: nothing yet */
    uint32_t running;
    double step_s;
    double gone[EK_VACANCY_STEPS + 1]; /* departures foreseen until so many steps */
    double rate; /* behind the last one, a second */
};

/* One began, of whom so many tokens are predicted; it lasts, and has had a slot for slot_s; it ended; it was
 * taken away, which says nothing of how long it would have lasted. *at: the bucket it is counted in; kept by
 * the caller. */
void ek_life_began(struct ek_life *l, double tokens, uint32_t *at);
void ek_life_taken(struct ek_life *l, uint32_t at);
void ek_life_lasts(struct ek_life *l, double tokens, double slot_s, uint32_t *at);
void ek_life_ended(struct ek_life *l, double tokens, double slot_s, uint32_t *at);

/* To work out a curve: begin, add each that runs, end. service_s: mean time in a slot, > 0. speed: of now,
 * as part of the usual one. rate: departures a second in the long run, > 0. */
void ek_vacancy_begin(struct ek_vacancy *v, struct ek_life *l, double service_s, double speed);
void ek_vacancy_add(struct ek_vacancy *v, struct ek_life *l, double tokens, double age_s, double speed);
void ek_vacancy_end(struct ek_vacancy *v, struct ek_life *l, double speed, double rate, uint64_t now_ns);
/* So many came in the old_s since the last one was worked out; and what that says, a part of speed. */
void ek_vacancy_learn(struct ek_vacancy *v, const struct ek_vacancy *last, double old_s, uint64_t came);
double ek_vacancy_factor(const struct ek_vacancy *v);
/* Departures from now on within t_s; and the time in which there will be n of them. The curve was worked out
 * old_s ago; of the departures `surplus` free no slot, since there are more requests than slots. */
double ek_vacancy_gone(const struct ek_vacancy *v, double old_s, double surplus, double t_s);
double ek_vacancy_until(const struct ek_vacancy *v, double old_s, double surplus, double n);

#endif
