/* SPDX-License-Identifier: MIT */
/* Slots of upstreams while two processes send there: each slot belongs to one of them, so both together never
 * have more than one alone would.
 *
 * Who leaves says of each upstream how many it keeps: as many as it has requests there, and one for each who
 * waits in its line (they came before anybody who comes now); but for one in eight, so that the line of the
 * one that serves moves, too. What it gave away it gets back only when it is granted, which it asks for when
 * more wait in its line than it has slots for; then it comes before those who wait where it is granted.
 *
 *      HELD berth, slots, grants heard of       the one that serves counts: slots + grants not heard of
 *
 * so that a grant and a word of fewer slots may cross on their way. */
#include "door/door_state.h"

#define SLOTS_MAX 1000000u /* more than any upstream has: of what another process says */
#define FLOOR_PART 8u /* one slot in so many, and one at least, stays for the line of the one that serves */

static bool find_upstream(const struct ek_door *d, struct ek_str name, uint32_t *index)
{
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) {
        *index = i;
        if (ek_str_eq(ek_str_of(ek_pool_name(d->pool, i)), name)) return true;
    }
    return false;
}

/* HELD, GRANT, WANT: numbers, and the upstream they are about. */
static void say(const struct ek_door *d, struct ek_swap_link *to, enum ek_swap_kind kind, uint32_t upstream,
                const uint64_t number[3])
{
    struct ek_swap_message m = {.kind = (uint8_t)kind, .text = ek_str_of(ek_pool_name(d->pool, upstream))};
    memcpy(m.number, number, 3 * sizeof number[0]);
    (void)ek_swap_link_send(to, &m, -1);
}

static uint32_t sum(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

/* What those that leave have of it. */
static uint32_t held_by_others(const struct ek_door_swap *s, uint32_t index)
{
    uint32_t all = 0;
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++)
        if (s->old[i].door && !s->old[i].heard) return UINT32_MAX; /* it may have all */
        else if (s->old[i].door) all = sum(all, s->old[i].held[index].slots);
    return all;
}

/* What those that leave may have of so many, all together. */
static uint32_t line_of(uint32_t capacity)
{
    return capacity - (capacity >= 2 * FLOOR_PART ? capacity / FLOOR_PART : capacity >= 2);
}

/* ---- the one that serves ------------------------------------------------------------------------------- */

/* Of what they miss, so much goes to them before it goes to our own line. */
static uint32_t reserved(const struct ek_door_swap *s, uint32_t index, uint32_t held, uint32_t capacity)
{
    uint32_t all = 0, line = line_of(capacity), most = line > held ? line - held : 0;
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++)
        if (s->old[i].door) all = sum(all, s->old[i].held[index].owed);
    return all < most ? all : most;
}

static bool share(struct ek_door *d)
{
    bool changed = false;
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) {
        struct ek_desk_upstream_stats u;
        ek_desk_upstream_stats(d->desk, i, &u);
        uint32_t held = held_by_others(d->swap, i);
        struct ek_desk_share part = {.elsewhere = sum(held, reserved(d->swap, i, held, u.capacity)),
                                     .at_most = UINT32_MAX};
        part.shared = part.elsewhere > 0;
        changed = ek_desk_share(d->desk, i, &part) || changed;
    }
    return changed;
}

void ek_swap_slots_share(struct ek_door *d)
{
    if (!d->pool || d->swap->state == EK_SWAP_LEAVING) return;
    (void)share(d);
    ek_door_pump(d);
}

void ek_swap_slots_said(struct ek_swap_old *o, const struct ek_swap_message *m)
{
    struct ek_door *d = o->door;
    uint32_t index;
    if (!d->pool || !find_upstream(d, m->text, &index)) return; /* we do not send there */
    struct ek_swap_held *h = &o->held[index];
    if (m->kind == EK_SWAP_WANT) {
        h->owed = m->number[0] < SLOTS_MAX ? (uint32_t)m->number[0] : SLOTS_MAX;
    } else {
        uint32_t heard = (uint32_t)m->number[2];
        if (!h->known || (int32_t)(heard - h->granted) > 0) h->granted = heard;
        h->known = true;
        uint32_t slots = m->number[1] < SLOTS_MAX ? (uint32_t)m->number[1] : SLOTS_MAX;
        h->slots = sum(slots, h->granted - heard);
    }
    ek_swap_slots_share(d);
}

/* What is missed is granted as soon as there is one that nobody has. */
static void grant(struct ek_door *d, struct ek_swap_old *o, uint32_t index)
{
    struct ek_swap_held *h = &o->held[index];
    struct ek_desk_upstream_stats u;
    ek_desk_upstream_stats(d->desk, index, &u);
    uint32_t held = held_by_others(d->swap, index);
    uint64_t taken = (uint64_t)u.inflight + held;
    uint32_t line = line_of(u.capacity), given = h->owed;
    if (taken >= u.capacity || held >= line) return;
    if (given > u.capacity - taken) given = (uint32_t)(u.capacity - taken);
    if (given > line - held) given = line - held;
    h->slots += given;
    h->granted += given;
    h->owed -= given;
    say(d, o->link, EK_SWAP_GRANT, index, (const uint64_t[3]){given});
}

static void serve_others(struct ek_door *d)
{
    struct ek_door_swap *s = d->swap;
    for (uint32_t k = 0; k < EK_SWAP_LINKS_MAX; k++)
        for (uint32_t i = 0; s->old[k].link && i < ek_pool_count(d->pool); i++)
            if (s->old[k].held[i].owed) grant(d, &s->old[k], i);
    if (share(d)) ek_door_pump(d);
}

/* ---- the one that leaves ------------------------------------------------------------------------------- */

static void tell(struct ek_door *d, uint32_t index)
{
    struct ek_door_swap *s = d->swap;
    const struct ek_swap_held *h = &s->mine[index];
    say(d, s->heir, EK_SWAP_HELD, index, (const uint64_t[3]){s->berth, h->slots, h->granted});
}

static void keep(struct ek_door *d, uint32_t index, uint32_t slots)
{
    struct ek_door_swap *s = d->swap;
    s->mine[index].slots = slots;
    struct ek_desk_share part = {.shared = true, .at_most = slots};
    (void)ek_desk_share(d->desk, index, &part);
}

/* How many it needs, whatever it has. */
static uint32_t needed(const struct ek_door *d, uint32_t index)
{
    struct ek_desk_upstream_stats u;
    ek_desk_upstream_stats(d->desk, index, &u);
    uint32_t wanted = sum(u.inflight, ek_desk_counts(d->desk).waiting), line = line_of(u.capacity);
    if (wanted > line) wanted = line;
    return wanted > u.inflight ? wanted : u.inflight;
}

void ek_swap_slots_begin(struct ek_door *d)
{
    struct ek_door_swap *s = d->swap;
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) {
        struct ek_desk_upstream_stats u;
        ek_desk_upstream_stats(d->desk, i, &u);
        uint32_t others = held_by_others(s, i);
        s->mine[i] = (struct ek_swap_held){.known = true};
        uint32_t most = u.capacity > others ? u.capacity - others : 0, wanted = needed(d, i);
        if (wanted > most) wanted = most > u.inflight ? most : u.inflight;
        keep(d, i, wanted);
        tell(d, i);
    }
    ek_door_pump(d);
}

void ek_swap_slots_end(struct ek_door *d)
{
    memset(d->swap->mine, 0, sizeof d->swap->mine);
    ek_swap_slots_share(d);
}

/* More wait than there are slots for: those are asked for. */
static void miss(struct ek_door *d)
{
    struct ek_door_swap *s = d->swap;
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) {
        struct ek_swap_held *h = &s->mine[i];
        uint32_t all = ek_pool_load(d->pool, i).up ? needed(d, i) : 0;
        uint32_t wants = all > h->slots ? all - h->slots : 0;
        if (h->owed == wants) continue;
        h->owed = wants;
        say(d, s->heir, EK_SWAP_WANT, i, (const uint64_t[3]){wants});
    }
}

void ek_swap_slots_tell(struct ek_door *d)
{
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) {
        tell(d, i);
        d->swap->mine[i].owed = 0; /* it has not heard of that */
    }
    miss(d);
}

void ek_swap_slots_granted(struct ek_door *d, const struct ek_swap_message *m)
{
    struct ek_door_swap *s = d->swap;
    uint32_t index;
    if (!find_upstream(d, m->text, &index) || m->number[0] > 1000) return;
    struct ek_swap_held *h = &s->mine[index];
    h->granted += (uint32_t)m->number[0];
    h->owed -= m->number[0] < h->owed ? (uint32_t)m->number[0] : h->owed;
    keep(d, index, sum(h->slots, (uint32_t)m->number[0]));
    tell(d, index);
    ek_door_pump(d);
}

void ek_door_swap_pumped(struct ek_door *d)
{
    struct ek_door_swap *s = d->swap;
    if (!s) return; /* the door is being taken down */
    if (s->state != EK_SWAP_LEAVING) {
        if (s->links) serve_others(d);
        return;
    }
    for (uint32_t i = 0; i < ek_pool_count(d->pool); i++) {
        uint32_t slots = needed(d, i);
        if (slots >= s->mine[i].slots) continue;
        keep(d, i, slots);
        tell(d, i);
    }
    miss(d);
}
