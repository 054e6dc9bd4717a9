/* SPDX-License-Identifier: MIT */
/* Requests to `auto`: the caller leaves the model to the house, which gives the best one of a list
 * (queue.auto) and, when many come, a lighter one. This is the rung of brownout below the last of thinking:
 *
 *     first of the list ──▶ next ──▶ ...     a step down while, at the model it stands at,
 *                                              thoughts of the caller's tier are at 0 %, and
 *                                              it would have to wait in line, and
 *                                              at the next one it would have its first token sooner
 *
 * Decided once, at arrival; the answer's `model` and a header say what it was. Who asks for X-Keep-Thinking
 * rather waits for the first. Owns nothing; decides for `auto` alone, never for a model that was named. */
#include "door/door_state.h"

#define AUTO EK_STR("auto")

bool ek_door_auto_is(const struct ek_door *d, struct ek_str name)
{
    return d->config->queue.automatic.count > 0 && ek_str_eq(name, AUTO);
}

/* The model of the list at or behind `from` that is served and that the caller may use. */
static size_t served_from(const struct ek_door_request *r, size_t from, uint32_t *model)
{
    const struct ek_door *d = r->door;
    const struct ek_strlist *list = &d->config->queue.automatic;
    for (size_t i = from; i < list->count; i++) {
        uint32_t m = ek_pool_find_model(d->pool, ek_str_of(list->item[i]));
        if (m == EK_POOL_MODELS_MAX || !ek_pool_model(d->pool, m)->upstream_mask) continue;
        if (!ek_door_limits_model(r, m)) continue;
        *model = m;
        return i;
    }
    return list->count;
}

uint32_t ek_door_auto_model(const struct ek_door_request *r)
{
    uint32_t model = EK_POOL_MODELS_MAX;
    (void)served_from(r, 0, &model);
    return model;
}

/* Where this arrival would stand with that model. */
static bool would_wait(struct ek_door_request *r, struct ek_arrival a, uint32_t model, struct ek_action *out)
{
    struct ek_door *d = r->door;
    a.pool = ek_desk_pool(d->desk, ek_pool_model(d->pool, model)->upstream_mask);
    if (a.pool == EK_DESK_POOLS_MAX) return false;
    ek_desk_would_wait(d->desk, ek_door_now(d), &a, a.pool, out);
    return true;
}

bool ek_door_auto_lighter(struct ek_door_request *r, const struct ek_arrival *a)
{
    struct ek_door *d = r->door;
    struct ek_action here, there;
    MUST(r->state == EK_DOOR_PRICED && r->automatic && r->wishes);
    if (r->wishes->keep_thinking || a->pool == EK_DESK_POOLS_MAX) return false;
    if (ek_desk_thinking_percent(d->desk, r->tier, a->pool) > 0) return false;
    size_t at = 0;
    uint32_t model = EK_POOL_MODELS_MAX;
    do at = served_from(r, at, &model); /* where it stands now */
    while (at < d->config->queue.automatic.count && model != r->model && ++at);
    if (at == d->config->queue.automatic.count) return false;
    if (served_from(r, at + 1, &model) == d->config->queue.automatic.count) return false;
    if (!would_wait(r, *a, r->model, &here) || here.position == 0) return false;
    if (!would_wait(r, *a, model, &there)) return false;
    if (there.position > 0 && (there.eta_ms < 0 || (here.eta_ms >= 0 && there.eta_ms >= here.eta_ms)))
        return false;
    r->model = (uint16_t)model;
    d->counters.auto_lighter++;
    return true;
}
