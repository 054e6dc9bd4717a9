/* SPDX-License-Identifier: MIT */
/* The router of a layer of experts: which experts a token goes to and with what weights. Pure.
 * Source: DeepSeek-V3 paper (2412.19437) eq. 12-16; V2 paper (2405.04434) eq. 22; ties go to the
 * lowest index, as in llama.cpp. */
#ifndef EK_ENGINE_ROUTE_H
#define EK_ENGINE_ROUTE_H

#include "engine/model.h"
#include "kernel/kernel.h"

enum { EK_EXPERTS_MAX = 4096, EK_EXPERTS_USED_MAX = 64 };

/* logits  [experts]: router output, overwritten with probabilities
 * bias    [experts] or NULL: added for the choice only
 * scratch [experts + groups]
 * chosen, weight [experts_used]: in order of score */
void ek_route(const struct ek_shape *s, const struct ek_kernels *k, float *logits, const float *bias,
              float *scratch, uint32_t *chosen, float *weight);

#endif
