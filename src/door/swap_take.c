/* SPDX-License-Identifier: MIT */
/* The new one's side of taking over: it hears what there is before it opens anything, starts as any door does
 * but does not listen where the old one still does, says that it is ready, and begins when it is told GO.
 * What the old one says is input like any other: refused with a sentence, never believed. */
#include "door/door_state.h"

#include <stdlib.h>
#include <unistd.h>

#define HEAR_MS 10000 /* the old one had all of it before it started us */

struct ek_swap_old *ek_swap_old_add(struct ek_door *d, uint64_t pid, uint32_t berth, uint32_t door_id)
{
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++) {
        struct ek_swap_old *o = &d->swap->old[i];
        if (o->door) continue;
        *o = (struct ek_swap_old){.door = d, .pid = pid, .berth = berth, .door_id = door_id,
                                  .heard = berth == EK_SWAP_NO_BERTH};
        d->swap->links++;
        return o;
    }
    return NULL;
}

void ek_swap_old_forget(struct ek_swap_old *o)
{
    struct ek_door *d = o->door;
    ek_swap_link_close(&o->link);
    *o = (struct ek_swap_old){.door = NULL};
    d->swap->links--;
    ek_swap_slots_share(d);
}

/* ---- what there is ------------------------------------------------------------------------------------- */

static const char *take_hello(struct ek_door *d, const struct ek_swap_message *m)
{
    struct ek_door_swap *s = d->swap;
    if (s->from) return "it said hello twice";
    if (m->number[1] >= EK_SWAP_BERTHS || m->number[5] >= EK_SWAP_BERTHS || m->number[1] == m->number[5] ||
        m->number[3] > UINT32_MAX)
        return "its first words make no sense";
    s->berth = (uint32_t)m->number[1];
    s->swaps = m->number[4];
    s->from = ek_swap_old_add(d, m->number[0], (uint32_t)m->number[5], (uint32_t)m->number[3]);
    MUST(s->from);
    ek_info(d->log, "taking over from process %llu (version %.*s)", (unsigned long long)m->number[0],
            (int)m->text.len, m->text.data);
    return NULL;
}

/* Marks the place as one that will be handed over. */
static void take_address(struct ek_door_swap *s, struct ek_str address)
{
    for (uint32_t i = 0; i < s->places; i++)
        if (!s->place[i].promised && ek_str_eq(ek_str_of(s->place[i].address), address)) {
            s->place[i].promised = true;
            return;
        }
}

static const char *take(struct ek_door *d, const struct ek_swap_message *m, int fd)
{
    struct ek_door_swap *s = d->swap;
    struct ek_swap_old *o;
    if (m->kind == EK_SWAP_HELLO) return take_hello(d, m);
    if (!s->from) return "it did not say hello";
    switch (m->kind) {
    case EK_SWAP_LISTEN: take_address(s, m->text); return NULL;
    case EK_SWAP_PURSE: return ek_swap_purse_take(d, fd);
    case EK_SWAP_OTHER:
        o = m->number[1] == EK_SWAP_NO_BERTH || m->number[1] < EK_SWAP_BERTHS
                ? ek_swap_old_add(d, m->number[0], (uint32_t)m->number[1], (uint32_t)m->number[2]) : NULL;
        if (!o || !ek_swap_is_link(fd)) return "what it says of others makes no sense";
        o->link = ek_swap_link_new(d->loop, fd, &ek_swap_old_events, o);
        ek_swap_link_rest(o->link, true); /* the old one still reads there */
        return NULL;
    case EK_SWAP_ALL: return NULL;
    default: return "it said what means nothing at this point";
    }
}

const char *ek_swap_take_all(struct ek_door *d, int fd)
{
    char *bytes = malloc(EK_SWAP_BYTES_MAX);
    struct ek_swap_message m = {.kind = EK_SWAP_HELLO};
    const char *no = NULL;
    MUST(bytes);
    do {
        int passed = -1;
        no = ek_swap_receive(fd, HEAR_MS, bytes, &m, &passed);
        if (no) break;
        no = take(d, &m, passed);
        if (no && passed >= 0) close(passed);
    } while (!no && m.kind != EK_SWAP_ALL);
    if (!no && !d->swap->from) no = "it did not say hello";
    free(bytes);
    return no;
}

void ek_door_swap_sorry(int fd, const char *why)
{
    struct ek_str text = ek_str_of(why);
    if (text.len > 1000) text.len = 1000;
    struct ek_swap_message m = {.kind = EK_SWAP_SORRY, .text = text};
    if (ek_swap_is_link(fd)) (void)ek_swap_send(fd, &m, -1);
}

bool ek_door_swap_inherits(const struct ek_door *d, const char *address)
{
    const struct ek_door_swap *s = d->swap;
    for (uint32_t i = 0; s->state == EK_SWAP_TAKING && i < s->places; i++)
        if (s->place[i].promised && strcmp(s->place[i].address, address) == 0) return true;
    return false;
}

bool ek_swap_taken_up(struct ek_door *d)
{
    bool late = ek_door_now(d).mono_ns >= d->swap->deadline_ns;
    return late || ek_pool_looked(d->pool); /* one that does not answer is none that would be missed */
}

/* ---- the others, from then on -------------------------------------------------------------------------- */

static void take_listener(struct ek_door *d, const struct ek_swap_message *m, int fd)
{
    struct ek_door_swap *s = d->swap;
    for (uint32_t i = 0; i < s->places; i++) {
        struct ek_swap_place *p = &s->place[i];
        if (!p->promised || p->fd >= 0 || !ek_str_eq(ek_str_of(p->address), m->text)) continue;
        p->fd = fd;
        return;
    }
    ek_warn(d->log, "nobody listens on %.*s any more: the configuration has it no longer", (int)m->text.len,
            m->text.data);
    close(fd);
}

/* GO: from here on it is ours. */
static void begin(struct ek_door *d)
{
    struct ek_door_swap *s = d->swap;
    s->state = EK_SWAP_SERVING;
    s->from = NULL;
    for (uint32_t i = 0; i < s->places; i++) {
        const char *sentence = NULL;
        int fd = s->place[i].fd;
        s->place[i].fd = -1;
        s->place[i].promised = false;
        if (ek_http_server_listens(s->place[i].server)) continue;
        if (!ek_http_server_listen(s->place[i].server, s->place[i].address, fd, &sentence))
            ek_error(d->log, "%s", sentence);
    }
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++) {
        struct ek_swap_message m = {.kind = EK_SWAP_I_AM, .number = {(uint64_t)getpid(), s->berth}};
        if (!s->old[i].link) continue;
        ek_swap_link_rest(s->old[i].link, false);
        (void)ek_swap_link_send(s->old[i].link, &m, -1);
    }
    ek_door_learned_keep(d, true);
    ek_info(d->log, "taken over: this process listens now");
    if (s->events) s->events->begun(s->arg);
}

static void from_old(void *arg, const struct ek_swap_message *m, int fd)
{
    struct ek_swap_old *o = arg;
    struct ek_door *d = o->door;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    bool taking = d->swap->state == EK_SWAP_TAKING && o == d->swap->from;
    if (taking && m->kind == EK_SWAP_LISTENING) take_listener(d, m, fd);
    else if (taking && m->kind == EK_SWAP_GO) begin(d);
    else ek_swap_from_old(o, m, fd);
}

static void old_ended(void *arg, const char *why)
{
    struct ek_swap_old *o = arg;
    struct ek_door *d = o->door;
    struct ek_door_swap *s = d->swap;
    bool early = s->state == EK_SWAP_TAKING && o == s->from;
    if (why) ek_error(d->log, "process %llu: %s", (unsigned long long)o->pid, why);
    else if (o->berth != EK_SWAP_NO_BERTH && !d->draining) /* else all were told to end, and it was quicker */
        ek_warn(d->log, "process %llu, which had not ended all it had, is gone", (unsigned long long)o->pid);
    ek_swap_purse_bury(d, o->berth);
    ek_swap_old_forget(o);
    if (early && s->events) s->events->failed(s->arg, "the process that was to be taken over from is gone");
}

const struct ek_swap_link_events ek_swap_old_events = {from_old, old_ended};
