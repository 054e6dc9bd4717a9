/* SPDX-License-Identifier: MIT */
/* Speculation that cannot hurt: what a sequence may say next is guessed from what it said before, and
 * computed along with its newest token; rows cost little where a step waits for memory. A guess is kept as
 * far as it is what the sampler, with the same noise, chooses anyway: so no answer changes by a bit. Pure.
 *
 *   lookup   the tokens that followed the last earlier occurrence of the newest few (Saxena 2023,
 *            "prompt lookup decoding"; Leviathan et al. 2023 for verifying in one pass)
 *   ahead    what the model's own block for it says (forward.h); costs a look, so that is planned too
 *   plan     how many guessed rows pay, by what steps of so many rows have been seen to take and how often
 *            guesses of each sequence hold; none when it does not pay. Whether a guess would have held is
 *            known for nothing, also when it was not computed, so switching off costs no knowledge.
 *
 * Owned by the step thread. */
#ifndef EK_ENGINE_SPEC_H
#define EK_ENGINE_SPEC_H

#include "base/must.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    EK_SPEC_DRAFT_MAX = 7,     /* guessed rows of one sequence in a step */
    EK_SPEC_ROWS_MAX = 24,     /* of all */
    EK_SPEC_BATCH_MAX = 96,    /* rows of a step that are told apart */
    EK_SPEC_LOOK_BACK = 16384, /* tokens */
};

enum ek_spec_source { EK_SPEC_LOOKUP, EK_SPEC_AHEAD, EK_SPEC_SOURCES };

struct ek_spec_draft {
    uint32_t ids[EK_SPEC_DRAFT_MAX], n;
};

/* Guess what follows ids[0 .. n): into draft[0 .. most), the number. */
uint32_t ek_spec_lookup(const uint32_t *ids, uint32_t n, uint32_t most, uint32_t *draft);

/* How guesses of one sequence fared lately; zeroed at first. */
struct ek_spec_record {
    float held; /* part of the guesses that held, smoothed; meaningful once tried > 0 */
    uint32_t tried;
};

void ek_spec_note(struct ek_spec_record *r, bool held); /* one guess, computed or not */
double ek_spec_chance(const struct ek_spec_record *r);  /* that the next one holds */

/* What something has taken, by the rows it had. Zeroed at first. */
struct ek_spec_times {
    double s[EK_SPEC_BATCH_MAX + 1]; /* 0: not known */
    uint32_t noted;
};

struct ek_spec {
    struct ek_spec_times step; /* steps that only generate, without looks */
    struct ek_spec_times look;
    uint32_t looked, unlooked; /* times in a row that looks paid, that none did */
};

void ek_spec_note_step(struct ek_spec *s, uint32_t rows, double seconds);
double ek_spec_step_s(const struct ek_spec *s, uint32_t rows); /* as far as known, between its neighbours */

void ek_spec_note_look(struct ek_spec *s, uint32_t rows, double seconds);

/* Of n sequences that all generate in the next step, of `rows` rows, which are worth a look ahead, each with
 * its chance that the token guessed holds (below 0: it cannot be looked at): want[i], at most `most`. The
 * number. When none has been for a while all are, once, to see whether that has changed. */
uint32_t ek_spec_plan_look(struct ek_spec *s, const double *chance, size_t n, uint32_t rows, uint32_t most,
                           bool *want);

/* Is a look, whose one guess holds with chance `ahead`, worth more to a sequence than its draft of n, which
 * does with chance `lookup`? In a step of `rows` rows without either. */
bool ek_spec_look_is_better(const struct ek_spec *s, uint32_t rows, double ahead, double lookup, uint32_t n);

struct ek_spec_seq {
    uint32_t drafted; /* guessed tokens at hand */
    double chance;
};

/* grant[i] = how many guesses of sequence i are worth computing in a step that computes `rows` rows without
 * any, together at most `most`; the total. */
uint32_t ek_spec_plan(const struct ek_spec *s, const struct ek_spec_seq *seqs, size_t n, uint32_t rows,
                      uint32_t most, uint32_t *grant);

#endif
