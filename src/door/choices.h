/* SPDX-License-Identifier: MIT */
/* Several choices of one prompt (`n`): who can give them, and what is known of each while they come. Inside
 * of the door only. */
#ifndef EK_DOOR_CHOICES_H
#define EK_DOOR_CHOICES_H

#include "door/door_state.h"

struct ek_door_choices {
    uint64_t ended[EK_REQUEST_CHOICES_MAX / 64]; /* bit by index: it has its finish_reason */
    uint32_t tokens[8]; /* of our engine, which has no more choices */
};

/* Those that this chunk ends are counted, in w->finished. */
void ek_door_note_ended(struct ek_door_running *w, const struct ek_up_chunk *c);

/* Upstreams of a model that give so many choices to one prompt. */
uint64_t ek_door_choosers(const struct ek_door *d, const struct ek_pool_model *model, uint32_t choices);

#endif
