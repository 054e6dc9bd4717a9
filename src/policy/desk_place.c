/* SPDX-License-Identifier: MIT */
/* Places in line that outlive their client's connection. Three ways to keep one:
 *
 *   absent/present   the shell knows that the client may be back (it has a ticket): the entry stays, out of
 *                    the order, with its number there
 *   rejoin           the same request comes again while the first still waits: the place changes hands
 *   keep/reclaim     it left, and the same request may come again within a minute: only the number is kept */
#include "policy/desk_state.h"

#include "base/must.h"

#define PLACE_NS (60 * EK_S_NS)

uint32_t ek_desk_rejoin(struct ek_policy *p, struct ek_now now, uint64_t repeat, uint64_t id,
                        uint64_t *old_id)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(repeat != 0);
    uint32_t at = ek_index_find(&p->repeats, repeat);
    if (at == EK_INDEX_NONE) return 0;
    struct ek_desk_entry *e = &p->entry[at];
    MUST(e->repeat == repeat);
    *old_id = e->id;
    p->stats.rejoined++;
    ek_desk_present(p, now, ek_desk_ticket(p, e), id);
    return ek_desk_ticket(p, e);
}

bool ek_desk_absent(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint64_t until_ns)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_WAITING);
    if (p->counts.absent >= p->absent_max || e->item.returned) return false;
    uint64_t user = ek_order_user(&p->order, &e->item)->id;
    uint64_t deadline_ns = e->timed ? p->deadline[ek_desk_index(p, e)].key : UINT64_MAX;
    if (until_ns > deadline_ns) until_ns = deadline_ns;
    if (until_ns < now.mono_ns) until_ns = now.mono_ns;
    ek_desk_score_left(p, e, now.mono_ns);
    ek_desk_leave_line(p, e);
    /* Room is shared: what it was told is gone. A wait with a hole in it says nothing of estimates. */
    e->payer = ek_order_flow(&p->order, &e->item)->who;
    e->user = user;
    e->deadline_ns = deadline_ns;
    ek_desk_move(p, e, ENTRY_ABSENT);
    ek_desk_set_deadline(p, e, until_ns);
    return true;
}

void ek_desk_present(struct ek_policy *p, struct ek_now now, uint32_t ticket, uint64_t id)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_WAITING || e->state == ENTRY_ABSENT);
    e->id = id;
    if (e->state == ENTRY_WAITING) {
        ek_desk_set_fresh(p, e, true); /* told its place at once */
        return;
    }
    uint64_t deadline_ns = e->deadline_ns;
    ek_desk_tick_pool(p, &p->pool[e->pool], now.mono_ns);
    ek_order_put(&p->order, &e->item, e->tier, e->pool, e->payer, e->user, true);
    ek_desk_move(p, e, ENTRY_WAITING);
    ek_desk_set_deadline(p, e, deadline_ns);
}

void ek_desk_deadline(struct ek_policy *p, uint32_t ticket, uint64_t deadline_ns)
{
    struct ek_desk_entry *e = ek_desk_entry_of(p, ticket);
    MUST(e->state == ENTRY_WAITING && deadline_ns != UINT64_MAX);
    if (e->timed) ek_heap_remove(&p->deadlines, &p->deadline[ek_desk_index(p, e)]);
    e->timed = false;
    e->hurried = true;
    ek_desk_set_deadline(p, e, deadline_ns);
}

void ek_desk_hold(struct ek_policy *p, struct ek_now now, uint64_t until_ns)
{
    MUST_OBJ(p, EK_POLICY_MAGIC);
    MUST(until_ns < now.mono_ns + 3600 * EK_S_NS);
    p->hold_ns = until_ns;
}

void ek_desk_keep_place(struct ek_policy *p, struct ek_now now, const struct ek_desk_entry *e)
{
    if (!e->repeat || ek_index_find(&p->places, e->repeat) != EK_INDEX_NONE) return;
    struct ek_desk_place *place = &p->place[p->place_at];
    if (place->repeat) ek_index_remove(&p->places, place->repeat);
    *place = (struct ek_desk_place){.repeat = e->repeat, .seq = e->item.node.seq,
                                    .until_ns = now.mono_ns + PLACE_NS};
    ek_index_set(&p->places, e->repeat, p->place_at);
    p->place_at = (p->place_at + 1) % EK_DESK_PLACES_MAX;
}

bool ek_desk_reclaim_place(struct ek_policy *p, struct ek_now now, struct ek_desk_entry *e)
{
    uint32_t at = e->repeat ? ek_index_find(&p->places, e->repeat) : EK_INDEX_NONE;
    if (at == EK_INDEX_NONE) return false;
    struct ek_desk_place *place = &p->place[at];
    MUST(place->repeat == e->repeat);
    ek_index_remove(&p->places, e->repeat);
    place->repeat = 0;
    if (now.mono_ns > place->until_ns) return false;
    e->item.node.seq = place->seq;
    p->stats.rejoined++;
    return true;
}
