/* SPDX-License-Identifier: MIT */
/* The states of taking over, drawn in swap.h; the old one's side of it, and what both have in common. */
#include "door/door_state.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TICK_NS (100 * EK_MS_NS)
#define LEFT_NS EK_S_NS

static void swap_move(struct ek_door_swap *s, enum ek_swap_state to)
{
    static const uint8_t legal[] = {
        [EK_SWAP_SERVING] = 1u << EK_SWAP_ASKED,
        [EK_SWAP_TAKING] = 1u << EK_SWAP_SERVING,
        [EK_SWAP_ASKED] = 1u << EK_SWAP_SERVING | 1u << EK_SWAP_LEAVING,
        [EK_SWAP_LEAVING] = 1u << EK_SWAP_SERVING,
    };
    MUST(legal[s->state] >> to & 1u);
    s->state = (uint8_t)to;
}

static bool send(struct ek_swap_link *k, enum ek_swap_kind kind, uint64_t first, uint64_t second)
{
    struct ek_swap_message m = {.kind = (uint8_t)kind, .number = {first, second}};
    return ek_swap_link_send(k, &m, -1);
}

/* ---- whose it is ------------------------------------------------------------------------------------- */

void ek_door_swap_mark(const struct ek_door *d, uint8_t id[16])
{
    MUST(d->swap && d->swap->berth < EK_SWAP_BERTHS);
    id[0] = (uint8_t)((id[0] & 0x1fu) | d->swap->berth << 5);
}

static struct ek_swap_link *link_of_id(const struct ek_door_swap *s, struct ek_str text)
{
    uint8_t id[16];
    if (!ek_door_read_id(text, id) || (uint32_t)id[0] >> 5 == s->berth) return NULL;
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++)
        if (s->old[i].link && s->old[i].berth == (uint32_t)id[0] >> 5) return s->old[i].link;
    return NULL;
}

static struct ek_swap_link *link_of_ticket(const struct ek_door *d, struct ek_str text)
{
    struct ek_door_shown_ticket t;
    const struct ek_door_swap *s = d->swap;
    if (!ek_door_ticket_read(text, &t) || t.door == d->id) return NULL;
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++)
        if (s->old[i].link && s->old[i].berth != EK_SWAP_NO_BERTH && s->old[i].door_id == t.door)
            return s->old[i].link;
    return NULL;
}

bool ek_door_swap_elsewhere(void *arg, const struct ek_http_head *head)
{
    static const struct ek_str behind[] = {EK_STR("/v1/streams/"), EK_STR("/v1/requests/"),
                                           EK_STR("/v1/responses/"), EK_STR("/responses/")};
    struct ek_door *d = arg;
    struct ek_door_swap *s = d->swap;
    struct ek_str ticket;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (s->state == EK_SWAP_LEAVING) return false; /* what is asked here is meant for here */
    s->route = NULL;
    for (size_t i = 0; i < EK_COUNT(behind) && !s->route; i++) {
        if (!ek_str_starts(head->path, behind[i])) continue;
        struct ek_str id = ek_str_skip(head->path, behind[i].len);
        const char *slash = memchr(id.data, '/', id.len);
        if (slash) id.len = (size_t)(slash - id.data);
        s->route = link_of_id(s, id);
    }
    if (!s->route && ek_http_head_find(head, EK_STR("x-queue-ticket"), &ticket) > 0)
        s->route = link_of_ticket(d, ticket);
    s->routed += s->route != NULL;
    return s->route != NULL;
}

/* ---- connections ------------------------------------------------------------------------------------- */

static uint64_t address_hash(const char *address)
{
    return ek_hash(ek_str_of(address), 0);
}

void ek_door_swap_heir(void *arg, struct ek_http_server *server, int fd, struct ek_str read)
{
    struct ek_door *d = arg;
    struct ek_door_swap *s = d->swap;
    struct ek_swap_message m = {.kind = EK_SWAP_CONNECTION, .text = read};
    struct ek_swap_link *to = s->state == EK_SWAP_LEAVING ? s->heir : s->route;
    s->route = NULL;
    MUST(server);
    for (uint32_t i = 0; i < s->places; i++)
        if (s->place[i].server == server) m.number[0] = address_hash(s->place[i].address);
    if (!to || !ek_swap_link_send(to, &m, fd)) {
        if (!to) close(fd);
        ek_warn(d->log, "a connection could not be handed over and is closed");
    }
}

static void receive(struct ek_door *d, const struct ek_swap_message *m, int fd)
{
    struct ek_http_server *to = NULL;
    for (uint32_t i = 0; i < d->swap->places; i++)
        if (address_hash(d->swap->place[i].address) == m->number[0]) to = d->swap->place[i].server;
    if (to) ek_http_server_receive(to, fd, m->text);
    else close(fd); /* nobody of ours would know what to say there */
}

void ek_swap_from_old(struct ek_swap_old *o, const struct ek_swap_message *m, int fd)
{
    struct ek_door *d = o->door;
    struct ek_door_swap *s = d->swap;
    switch (m->kind) {
    case EK_SWAP_CONNECTION: receive(d, m, fd); return;
    case EK_SWAP_LEFT:
        memcpy(o->left, m->number, sizeof o->left);
        ek_door_pump(d); /* it may have given back money */
        if (o->heard) return;
        o->heard = true;
        ek_swap_slots_share(d);
        return;
    case EK_SWAP_HELD:
    case EK_SWAP_WANT: ek_swap_slots_said(o, m); return;
    case EK_SWAP_SIGNAL:
        if (s->events) s->events->told(s->arg, (int)m->number[0], m->number[1]);
        return;
    case EK_SWAP_BYE:
        if (o->berth != EK_SWAP_NO_BERTH)
            ek_info(d->log, "process %llu has ended all it had", (unsigned long long)o->pid);
        o->berth = EK_SWAP_NO_BERTH;
        o->heard = true;
        memset(o->left, 0, sizeof o->left);
        memset(o->held, 0, sizeof o->held);
        ek_swap_slots_share(d);
        return;
    default: break;
    }
    if (fd >= 0) close(fd);
    ek_warn(d->log, "process %llu said %s, which means nothing now", (unsigned long long)o->pid,
            ek_swap_kind_name(m->kind));
}

/* ---- the old one ------------------------------------------------------------------------------------- */

static void other_links_rest(struct ek_door_swap *s, bool rests)
{
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++)
        if (s->old[i].link) ek_swap_link_rest(s->old[i].link, rests);
}

static void drop_copies(struct ek_door_swap *s)
{
    for (uint32_t i = 0; i < s->places; i++) {
        if (s->place[i].fd >= 0) close(s->place[i].fd);
        s->place[i].fd = -1;
    }
}

/* The new one is ready: everything that can be its own is, from here on. */
static void step_back(struct ek_door *d)
{
    struct ek_door_swap *s = d->swap;
    swap_move(s, EK_SWAP_LEAVING);
    ek_door_money_shares(d);
    ek_door_borrow_writes(d, false);
    ek_door_learned_keep(d, false);
    for (uint32_t i = 0; i < s->places; i++) {
        struct ek_swap_message m = {.kind = EK_SWAP_LISTENING, .text = ek_str_of(s->place[i].address)};
        MUST(s->place[i].fd < 0);
        s->place[i].fd = ek_http_server_hand_over(s->place[i].server);
        int copy = s->place[i].fd >= 0 ? fcntl(s->place[i].fd, F_DUPFD_CLOEXEC, 3) : -1;
        if (copy >= 0) (void)ek_swap_link_send(s->heir, &m, copy);
        else ek_error(d->log, "%s could not be handed over", s->place[i].address);
    }
    other_links_rest(s, true);
    ek_swap_slots_begin(d);
    (void)send(s->heir, EK_SWAP_GO, 0, 0);
    struct ek_desk_counts n = ek_desk_counts(d->desk);
    ek_info(d->log, "process %llu has taken over; %u waiting and %u running end here",
            (unsigned long long)s->heir_pid, n.waiting + n.absent, n.running);
    ek_timer_set(d->loop, &s->tick, ek_door_now(d).mono_ns);
    if (s->events) s->events->taken(s->arg);
}

/* The new one is gone, or never was: as before. */
static void come_back(struct ek_door *d, const char *why)
{
    struct ek_door_swap *s = d->swap;
    bool left = s->state == EK_SWAP_LEAVING;
    swap_move(s, EK_SWAP_SERVING);
    ek_pool_child_sleep(d->pool, false);
    if (s->heir_berth != s->berth) ek_swap_purse_bury(d, s->heir_berth);
    ek_door_borrow_writes(d, true);
    ek_door_learned_keep(d, true);
    ek_swap_link_close(&s->heir);
    ek_timer_clear(d->loop, &s->tick);
    s->failed += !left;
    s->returned += left;
    for (uint32_t i = 0; left && i < s->places; i++) {
        const char *sentence = NULL;
        ek_http_server_hand_back(s->place[i].server);
        if (s->place[i].fd < 0 || d->draining) continue;
        if (!ek_http_server_listen(s->place[i].server, s->place[i].address, s->place[i].fd, &sentence))
            ek_error(d->log, "%s", sentence);
        s->place[i].fd = -1;
    }
    drop_copies(s);
    other_links_rest(s, false);
    for (uint32_t i = 0; left && i < EK_SWAP_LINKS_MAX; i++) { /* what they hold may have changed */
        memset(s->old[i].held, 0, sizeof s->old[i].held);
        s->old[i].heard = s->old[i].berth == EK_SWAP_NO_BERTH;
    }
    if (left) ek_swap_slots_end(d);
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++)
        if (s->old[i].link) (void)send(s->old[i].link, EK_SWAP_I_AM, (uint64_t)getpid(), s->berth);
    if (s->events) s->events->failed(s->arg, why);
}

bool ek_swap_works(const struct ek_door *d)
{
    for (int i = 0; i < EK_DOOR_STATES; i++)
        if (d->state[i].count) return true;
    return d->restored.count || d->streams.running.count;
}

static bool nothing_left(const struct ek_door *d)
{
    for (uint32_t i = 0; i < d->swap->places; i++)
        if (ek_http_server_counters(d->swap->place[i].server)->open) return false;
    return !ek_swap_works(d) && !d->streams.ended.count;
}

static void say_what_is_left(struct ek_door *d)
{
    struct ek_swap_message m = {.kind = EK_SWAP_LEFT};
    struct ek_desk_counts n = ek_desk_counts(d->desk);
    m.number[0] = n.waiting + n.absent;
    m.number[1] = n.running;
    for (uint32_t i = 0; i < d->servers; i++) m.number[2] += ek_http_server_counters(d->server[i])->open;
    m.number[3] = d->streams.ended.count;
    (void)ek_swap_link_send(d->swap->heir, &m, -1);
}

static void leaving(struct ek_door *d)
{
    struct ek_door_swap *s = d->swap;
    uint64_t now_ns = ek_door_now(d).mono_ns;
    if (d->draining) drop_copies(s); /* all are to end: nobody comes back to listen */
    if (now_ns >= s->deadline_ns) {
        say_what_is_left(d);
        ek_door_pump(d); /* others may have given back money */
        s->deadline_ns = now_ns + LEFT_NS;
    }
    ek_swap_engine_leaves(d);
    if (s->said_left || !nothing_left(d) || ek_swap_link_queued(s->heir)) return;
    s->said_left = true;
    drop_copies(s); /* whoever listens now is on its own */
    (void)send(s->heir, EK_SWAP_BYE, 0, 0);
    if (s->events) s->events->left(s->arg);
}

static void from_heir(void *arg, const struct ek_swap_message *m, int fd)
{
    struct ek_door *d = arg;
    struct ek_door_swap *s = d->swap;
    bool asked = s->state == EK_SWAP_ASKED;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    if (asked && m->kind == EK_SWAP_READY && m->number[0] == s->heir_pid) {
        step_back(d);
    } else if (asked && m->kind == EK_SWAP_SORRY) {
        char why[1100];
        if (ek_str_copy(m->text, why, sizeof why)) come_back(d, why);
    } else if (!asked && m->kind == EK_SWAP_CONNECTION) {
        receive(d, m, fd);
    } else if (!asked && m->kind == EK_SWAP_SIGNAL) {
        if (s->events) s->events->told(s->arg, (int)m->number[0], m->number[1]);
    } else if (!asked && m->kind == EK_SWAP_GRANT) {
        ek_swap_slots_granted(d, m);
    } else if (!asked && m->kind == EK_SWAP_I_AM) {
        s->heir_pid = m->number[0];
        s->heir_berth = m->number[1] < EK_SWAP_BERTHS ? (uint32_t)m->number[1] : EK_SWAP_NO_BERTH;
        s->deadline_ns = 0; /* it has not heard what is left */
        ek_swap_slots_tell(d);
    } else {
        if (fd >= 0) close(fd);
        ek_warn(d->log, "the new process said %s, which means nothing now", ek_swap_kind_name(m->kind));
    }
}

static void heir_ended(void *arg, const char *why)
{
    struct ek_door *d = arg;
    struct ek_door_swap *s = d->swap;
    bool asked = s->state == EK_SWAP_ASKED;
    come_back(d, why ? why : asked ? "it ended before it was ready; see what it said above"
                                   : "the process that had taken over is gone");
}

static const struct ek_swap_link_events heir_events = {from_heir, heir_ended};

/* What is there to be taken over, before anything is. */
static void tell_all(struct ek_door *d, uint32_t berth, uint32_t taken)
{
    struct ek_door_swap *s = d->swap;
    struct ek_swap_message m = {.kind = EK_SWAP_HELLO, .text = EK_STR(EK_VERSION)};
    const uint64_t hello[] = {(uint64_t)getpid(), berth, taken, d->id, s->swaps + 1, s->berth};
    memcpy(m.number, hello, sizeof hello);
    (void)ek_swap_link_send(s->heir, &m, -1);
    for (uint32_t i = 0; i < s->places; i++) {
        m = (struct ek_swap_message){.kind = EK_SWAP_LISTEN, .text = ek_str_of(s->place[i].address)};
        (void)ek_swap_link_send(s->heir, &m, -1);
    }
    int page = ek_swap_purse_make(d) ? ek_swap_purse_copy(d) : -1;
    m = (struct ek_swap_message){.kind = EK_SWAP_PURSE};
    if (page >= 0) (void)ek_swap_link_send(s->heir, &m, page);
    else ek_warn(d->log, "what both spend at lenders cannot be counted in one");
    ek_door_pump(d); /* and what we have is written there */
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++) {
        const struct ek_swap_old *o = &s->old[i];
        int copy = o->link ? ek_swap_link_copy(o->link) : -1;
        if (copy < 0) continue;
        m = (struct ek_swap_message){.kind = EK_SWAP_OTHER, .number = {o->pid, o->berth, o->door_id}};
        (void)ek_swap_link_send(s->heir, &m, copy);
    }
    (void)send(s->heir, EK_SWAP_ALL, 0, 0);
}

bool ek_door_swap(struct ek_door *d, int link_fd, uint64_t pid, char *why, size_t cap)
{
    struct ek_door_swap *s = d->swap;
    uint32_t taken = 1u << s->berth, berth = 0, others = 0;
    MUST_OBJ(d, EK_DOOR_MAGIC);
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++) {
        if (s->old[i].link && s->old[i].berth < EK_SWAP_BERTHS) taken |= 1u << s->old[i].berth;
        others += s->old[i].link != NULL;
    }
    while (berth < EK_SWAP_BERTHS && taken >> berth & 1u) berth++;
    const char *no = NULL;
    if (s->state == EK_SWAP_ASKED) no = "one is being started already";
    else if (s->state != EK_SWAP_SERVING) no = "this process is not the one that serves";
    else if (d->draining) no = "the door is closing";
    else if (berth == EK_SWAP_BERTHS || others == EK_SWAP_LINKS_MAX)
        no = "too many earlier ones still end what they have";
    if (no) snprintf(why, cap, "%s", no);
    if (no || !ek_swap_engine_fits(d, why, cap)) {
        close(link_fd);
        return false;
    }
    swap_move(s, EK_SWAP_ASKED);
    s->heir_pid = pid;
    s->heir_berth = berth;
    s->heir = ek_swap_link_new(d->loop, link_fd, &heir_events, d);
    s->said_left = false;
    s->deadline_ns = ek_door_now(d).mono_ns + EK_SWAP_READY_NS + ek_swap_engine_start_ns(d);
    ek_timer_set(d->loop, &s->tick, ek_door_now(d).mono_ns + TICK_NS);
    tell_all(d, berth, taken);
    return true;
}

bool ek_door_swap_pass_signal(struct ek_door *d, int signo, uint64_t times)
{
    struct ek_door_swap *s = d->swap;
    return s->state == EK_SWAP_LEAVING && send(s->heir, EK_SWAP_SIGNAL, (uint64_t)signo, times);
}

void ek_door_swap_drains(struct ek_door *d)
{
    if (d->swap->state == EK_SWAP_ASKED) come_back(d, "the door is closing");
}

void ek_door_swap_tell_others(struct ek_door *d, int signo)
{
    struct ek_door_swap *s = d->swap;
    for (uint32_t i = 0; s->state == EK_SWAP_SERVING && i < EK_SWAP_LINKS_MAX; i++)
        if (s->old[i].link) (void)send(s->old[i].link, EK_SWAP_SIGNAL, (uint64_t)signo, 1);
}

void ek_door_swap_events(struct ek_door *d, const struct ek_door_swap_events *events, void *arg)
{
    MUST_OBJ(d, EK_DOOR_MAGIC);
    d->swap->events = events;
    d->swap->arg = arg;
}

int ek_door_swap_keep(const struct ek_door *d, uint64_t *pid)
{
    const struct ek_door_swap *s = d->swap;
    *pid = s->heir_pid;
    return s->heir ? ek_swap_link_copy(s->heir) : -1;
}

/* ---- time ---------------------------------------------------------------------------------------------- */

/* TAKING: is everything there that can be? */
static void be_ready(struct ek_door *d)
{
    static const struct ek_str sorry = EK_STR("its engine did not answer in time");
    struct ek_door_swap *s = d->swap;
    enum ek_swap_engine engine = ek_swap_engine_look(d);
    struct ek_swap_message m = {.kind = EK_SWAP_SORRY, .text = sorry};
    if (engine == EK_SWAP_ENGINE_STARTS) return;
    if (engine == EK_SWAP_ENGINE_GOOD && !ek_swap_taken_up(d)) return;
    s->said_ready = true;
    if (engine == EK_SWAP_ENGINE_GOOD) {
        (void)send(s->from->link, EK_SWAP_READY, (uint64_t)getpid(), 0);
        return;
    }
    (void)ek_swap_link_send(s->from->link, &m, -1);
    if (s->events) s->events->failed(s->arg, sorry.data);
}

static void tick(struct ek_timer *t)
{
    struct ek_door_swap *s = EK_CONTAINER(t, struct ek_door_swap, tick);
    struct ek_door *d = s->door;
    uint64_t now_ns = ek_door_now(d).mono_ns;
    if (s->state == EK_SWAP_SERVING) return;
    ek_timer_set(d->loop, t, now_ns + TICK_NS);
    if (s->state == EK_SWAP_LEAVING) {
        leaving(d);
    } else if (s->state == EK_SWAP_ASKED && now_ns >= s->deadline_ns) {
        come_back(d, "it was not ready in time");
    } else if (s->state == EK_SWAP_TAKING && !s->said_ready) {
        be_ready(d);
    }
}

/* ---- birth and death ----------------------------------------------------------------------------------- */

static void add_place(struct ek_door_swap *s, const char *address)
{
    struct ek_swap_place *p = &s->place[s->places++];
    MUST(s->places <= EK_SWAP_ADDRESSES_MAX);
    *p = (struct ek_swap_place){.address = strdup(address), .fd = -1};
    MUST(p->address);
}

bool ek_door_swap_begin(struct ek_door *d, int link_fd, char *why, size_t cap)
{
    struct ek_door_swap *s = d->swap = calloc(1, sizeof *s);
    const char *no = NULL;
    MUST(s);
    s->door = d;
    s->inherited = -1;
    ek_timer_init(&s->tick, tick);
    for (size_t i = 0; i < d->config->listen.count && i + 1 < EK_SWAP_ADDRESSES_MAX; i++)
        add_place(s, d->config->listen.item[i]);
    if (d->config->ledger.url && d->config->admin.listen) add_place(s, d->config->admin.listen);
    if (link_fd <= 0) return true;
    s->state = EK_SWAP_TAKING;
    s->inherited = link_fd;
    no = ek_swap_is_link(link_fd) ? ek_swap_take_all(d, link_fd) : "there is no door to take over from";
    if (no) snprintf(why, cap, "%s", no);
    return !no;
}

void ek_door_swap_start(struct ek_door *d)
{
    struct ek_door_swap *s = d->swap;
    for (uint32_t i = 0; i < s->places; i++) {
        s->place[i].server = i < d->servers ? d->server[i] : ek_office_server(d->office);
        ek_http_server_heir(s->place[i].server, ek_door_swap_heir, d);
    }
    if (s->state != EK_SWAP_TAKING) return;
    ek_door_learned_keep(d, false);
    ek_door_money_shares(d);
    MUST(s->from && s->inherited >= 0);
    s->from->link = ek_swap_link_new(d->loop, s->inherited, &ek_swap_old_events, s->from);
    s->inherited = -1;
    s->deadline_ns = ek_door_now(d).mono_ns + EK_SWAP_READY_NS / 4 + ek_swap_engine_start_ns(d);
    ek_swap_slots_share(d);
    ek_timer_set(d->loop, &s->tick, ek_door_now(d).mono_ns);
}

void ek_door_swap_end(struct ek_door *d)
{
    struct ek_door_swap *s = d->swap;
    if (!s) return;
    d->swap = NULL;
    ek_timer_clear(d->loop, &s->tick);
    ek_swap_link_close(&s->heir);
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++) ek_swap_link_close(&s->old[i].link);
    drop_copies(s);
    for (uint32_t i = 0; i < s->places; i++) free(s->place[i].address);
    free(s);
}

/* ---- numbers ------------------------------------------------------------------------------------------- */

static void put_left(const struct ek_door_swap *s, struct ek_buf *b)
{
    static const char *const what[] = {"waiting", "running", "connections", "kept_streams"};
    uint64_t sum[4] = {0}, processes = 0;
    for (uint32_t i = 0; i < EK_SWAP_LINKS_MAX; i++) {
        if (!s->old[i].link || s->old[i].berth == EK_SWAP_NO_BERTH) continue;
        processes++;
        for (int k = 0; k < 4; k++) sum[k] += s->old[i].left[k];
    }
    ek_metric_help(b, "evenkeel_swap_leaving", "gauge", "Earlier processes that still end what they have.");
    ek_metric_value(b, "evenkeel_swap_leaving", NULL, processes);
    ek_metric_help(b, "evenkeel_swap_left", "gauge", "What those still have, as they say themselves.");
    for (int k = 0; k < 4; k++) {
        char label[48];
        snprintf(label, sizeof label, "what=\"%s\"", what[k]);
        ek_metric_value(b, "evenkeel_swap_left", label, sum[k]);
    }
}

void ek_door_swap_metrics(const struct ek_door *d, struct ek_buf *b)
{
    const struct ek_door_swap *s = d->swap;
    uint64_t handed = 0, received = 0;
    for (uint32_t i = 0; i < d->servers; i++) {
        handed += ek_http_server_counters(d->server[i])->handed;
        received += ek_http_server_counters(d->server[i])->received;
    }
    const struct {
        const char *result;
        uint64_t value;
    } row[] = {{"taken", s->swaps}, {"failed", s->failed}, {"returned", s->returned}};
    ek_metric_help(b, "evenkeel_swaps_total", "counter", "Times a new program took over, or did not.");
    for (size_t i = 0; i < EK_COUNT(row); i++) {
        char label[48];
        snprintf(label, sizeof label, "result=\"%s\"", row[i].result);
        ek_metric_value(b, "evenkeel_swaps_total", label, row[i].value);
    }
    ek_metric_help(b, "evenkeel_swap_connections_total", "counter", "Connections between old and new.");
    ek_metric_value(b, "evenkeel_swap_connections_total", "way=\"received\"", received);
    ek_metric_value(b, "evenkeel_swap_connections_total", "way=\"given\"", handed);
    ek_metric_value(b, "evenkeel_swap_connections_total", "way=\"asked_there\"", s->routed);
    put_left(s, b);
}
