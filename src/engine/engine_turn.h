/* SPDX-License-Identifier: MIT */
/* One step of the engine in the making, for engine_step.c, which takes it, and engine_guess.c, which guesses
 * what the next one may compute ahead of its time. The step thread's. */
#ifndef EK_ENGINE_ENGINE_TURN_H
#define EK_ENGINE_ENGINE_TURN_H

#include "engine/engine_priv.h"

enum { EK_STEP_EVENTS_MAX = EK_ENGINE_SLOTS_MAX + EK_SPEC_ROWS_MAX };

/* A slot whose logits come: rows of them from `row` on, one and one for each guess behind its newest token.
 * As many as hold become events. */
struct voice {
    size_t slot, segment;
    uint32_t row, guesses, events;
    enum ek_spec_source source; /* of the guesses */
    bool asked, right;          /* the block ahead had guessed its token; rightly */
};

/* One step: which slots take part, in the order of segments. */
struct step {
    struct ek_engine *e;
    struct ek_segment segments[EK_ENGINE_SLOTS_MAX];
    size_t slot[EK_ENGINE_SLOTS_MAX];    /* of each segment */
    uint32_t first[EK_ENGINE_SLOTS_MAX]; /* position of its first row */
    size_t n_segments;
    struct voice voices[EK_ENGINE_SLOTS_MAX]; /* in order of rows */
    size_t n_voices;
    uint32_t guesses[EK_ENGINE_SLOTS_MAX]; /* by slot */
    uint32_t prompt_rows, generated_rows, decode_rows, guess_rows, logit_rows;
    uint32_t events_total;
    const float *logits;
    struct ek_engine_event events[EK_STEP_EVENTS_MAX]; /* by row of logits */
    const struct voice *looking[EK_ENGINE_SLOTS_MAX]; /* those looked ahead for, in the order of logits */
    size_t n_looking;
    double look_s; /* what that took */
};

/* Guess for all who generate; compute those that pay, and none beside prompts. What is guessed lies behind
 * the job's ids until it is overwritten or becomes one of them. `total` rows are granted already. */
void ek_engine_plan_guesses(struct step *s, const struct ek_step_seq *seqs, uint32_t *grant, uint32_t total);

/* After everything of the step is settled, and nobody has left yet: what was computed is shown to the block
 * that looks ahead, and where it pays, it guesses. */
void ek_engine_look_ahead(struct step *s);

#endif
