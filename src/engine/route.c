/* SPDX-License-Identifier: MIT */
/* The choice of experts. Scores of experts outside the kept groups become minus infinity, so that one
 * top-k over all finds the chosen ones. */
#include "engine/route.h"

#include <math.h>

/* A group's score is the sum of its two best; of the best groups the score stays, of others nothing. */
static void keep_groups(const struct ek_shape *s, const struct ek_kernels *k, float *score, float *group)
{
    size_t each = s->experts / s->groups;
    uint32_t best[2], kept[EK_EXPERTS_MAX];
    for (size_t g = 0; g < s->groups; g++) {
        size_t top = each < 2 ? each : 2;
        k->topk(best, score + g * each, each, top);
        group[g] = score[g * each + best[0]] + (top == 2 ? score[g * each + best[1]] : 0);
    }
    k->topk(kept, group, s->groups, s->groups_used);
    for (size_t g = 0; g < s->groups; g++) group[g] = 0;
    for (size_t i = 0; i < s->groups_used; i++) group[kept[i]] = 1;
    for (size_t i = 0; i < s->experts; i++) {
        if (group[i / each] == 0) score[i] = -INFINITY;
    }
}

void ek_route(const struct ek_shape *s, const struct ek_kernels *k, float *logits, const float *bias,
              float *scratch, uint32_t *chosen, float *weight)
{
    MUST(s->experts <= EK_EXPERTS_MAX && s->experts_used <= EK_EXPERTS_USED_MAX);
    MUST(s->experts_used <= s->experts);
    float sum = 0;
    if (s->gate == EK_GATE_SOFTMAX) {
        k->softmax(logits, s->experts);
    } else {
        k->sigmoid(logits, logits, s->experts);
    }
    for (size_t i = 0; i < s->experts; i++) scratch[i] = logits[i] + (bias ? bias[i] : 0);
    if (s->groups > 1) keep_groups(s, k, scratch, scratch + s->experts);
    k->topk(chosen, scratch, s->experts, s->experts_used);
    for (size_t i = 0; i < s->experts_used; i++) {
        weight[i] = logits[chosen[i]];
        sum += weight[i];
    }
    for (size_t i = 0; i < s->experts_used; i++) {
        if (s->weights_norm) weight[i] /= fmaxf(sum, 0x1p-14f); /* llama.cpp's floor */
        weight[i] *= s->weights_scale;
    }
}
