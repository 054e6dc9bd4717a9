/* SPDX-License-Identifier: MIT */
/* The virtual exchange: see exchange_virtual.h. A script is a list of steps; a timer walks it. The
 * deadlines of the request are kept as the plain client keeps them. */
#include "http/exchange_virtual.h"

#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#define BODY_BYTES_MAX (256u << 20)

struct script {
    struct ek_link link;
    const struct ek_virtual_step *steps;
    size_t count;
};

struct asked {
    struct ek_link link;
    struct ek_virtual_asked what;
    struct ek_buf body;
};

struct client {
    struct ek_exchange_client base;
    struct ek_loop *loop;
    struct ek_list scripts; /* not yet taken */
    struct ek_list running; /* struct vexchange */
    struct ek_list dead;
    struct ek_list asked;
    struct ek_post reap;
};

struct vexchange {
    struct ek_exchange base;
    struct client *client;
    struct ek_link link;
    struct ek_timer timer;
    const struct ek_exchange_events *events;
    void *arg;
    struct asked *asked;
    const struct ek_virtual_step *steps;
    size_t count, index;
    uint64_t step_due_ns;  /* mono: when steps[index] happens; UINT64_MAX: never */
    uint64_t begun_ns, last_ns, first_byte_ns, idle_ns;
    bool has_head, paused, dead;
};

static struct client *client_of(struct ek_exchange_client *c)
{
    return (struct client *)(void *)c;
}

static uint64_t now_ns(const struct vexchange *x)
{
    return ek_loop_now(x->client->loop).mono_ns;
}

static uint64_t deadline_ns(const struct vexchange *x)
{
    if (!x->has_head) return x->first_byte_ns ? x->begun_ns + x->first_byte_ns : UINT64_MAX;
    return x->idle_ns && !x->paused ? x->last_ns + x->idle_ns : UINT64_MAX;
}

static void arm(struct vexchange *x)
{
    uint64_t due = deadline_ns(x);
    if (!x->paused && x->step_due_ns < due) due = x->step_due_ns;
    if (due == UINT64_MAX) ek_timer_clear(x->client->loop, &x->timer);
    else ek_timer_set(x->client->loop, &x->timer, due);
}

static void die(struct vexchange *x)
{
    struct client *c = x->client;
    MUST(!x->dead);
    x->dead = true;
    ek_timer_clear(c->loop, &x->timer);
    ek_list_remove(&c->running, &x->link);
    ek_list_append(&c->dead, &x->link);
    ek_post_put(c->loop, &c->reap);
}

static void fail(struct vexchange *x, enum ek_reason why)
{
    die(x);
    x->events->fail(x->arg, &x->base, why, "as the script says");
}

/* The next step is due one after_ns behind the present. */
static void plan(struct vexchange *x)
{
    bool never = x->index >= x->count || x->steps[x->index].kind == EK_VIRTUAL_HANG;
    x->step_due_ns = never ? UINT64_MAX : now_ns(x) + x->steps[x->index].after_ns;
}

static void tell_head(struct vexchange *x, const struct ek_virtual_step *s)
{
    struct ek_http_head head;
    MUST(s->header_count <= EK_HTTP_HEADERS_MAX);
    memset(&head, 0, sizeof head);
    head.status = s->status;
    head.version = 11;
    head.content_length = -1;
    head.keep_alive = true;
    head.header_count = s->header_count;
    for (size_t i = 0; i < s->header_count; i++) {
        head.headers[i] = s->headers[i];
    }
    x->has_head = true;
    x->events->head(x->arg, &x->base, &head);
}

static void take_step(struct vexchange *x)
{
    const struct ek_virtual_step *s = &x->steps[x->index++];
    x->last_ns = now_ns(x);
    switch (s->kind) {
    case EK_VIRTUAL_HEAD:
        tell_head(x, s);
        break;
    case EK_VIRTUAL_DATA:
        MUST(x->has_head && s->bytes.len > 0 && s->bytes.len <= 65536);
        x->events->data(x->arg, &x->base, s->bytes.data, s->bytes.len);
        break;
    case EK_VIRTUAL_END:
        die(x);
        x->events->end(x->arg, &x->base);
        break;
    default:
        MUST(s->kind == EK_VIRTUAL_FAIL);
        fail(x, s->reason);
    }
}

static void on_timer(struct ek_timer *t)
{
    struct vexchange *x = EK_CONTAINER(t, struct vexchange, timer);
    if (!x->paused && now_ns(x) >= x->step_due_ns) {
        take_step(x);
        if (x->dead) return;
        plan(x);
    } else if (now_ns(x) >= deadline_ns(x)) {
        fail(x, x->has_head ? EK_REASON_UPSTREAM_STALL : EK_REASON_UPSTREAM_TIMEOUT);
        return;
    }
    arm(x);
}

static struct asked *remember(struct client *c, const struct ek_exchange_request *r)
{
    struct asked *a = calloc(1, sizeof *a);
    MUST(a != NULL);
    a->body = ek_buf_make(BODY_BYTES_MAX);
    snprintf(a->what.address, sizeof a->what.address, "%s", r->target->address);
    MUST(ek_str_copy(r->method, a->what.method, sizeof a->what.method));
    snprintf(a->what.path, sizeof a->what.path, "%s%.*s", r->target->base, (int)r->path.len,
             r->path.data);
    for (size_t i = 0; i < r->body_count; i++) {
        ek_buf_put(&a->body, r->body[i].iov_base, r->body[i].iov_len);
    }
    MUST(!a->body.failed);
    a->what.body = ek_buf_view(&a->body);
    ek_list_append(&c->asked, &a->link);
    return a;
}

static struct ek_exchange *virtual_start(struct ek_exchange_client *client,
                                         const struct ek_exchange_request *r,
                                         const struct ek_exchange_events *events, void *arg)
{
    static const struct ek_virtual_step refused = {.kind = EK_VIRTUAL_FAIL,
                                                   .reason = EK_REASON_UPSTREAM_CONNECT};
    struct client *c = client_of(client);
    struct vexchange *x = calloc(1, sizeof *x);
    MUST(x != NULL);
    *x = (struct vexchange){.base = {client}, .client = c, .events = events, .arg = arg,
                            .steps = &refused, .count = 1, .first_byte_ns = r->first_byte_ns,
                            .idle_ns = r->idle_ns};
    struct ek_link *first = ek_list_first(&c->scripts);
    if (first) {
        struct script *s = EK_CONTAINER(first, struct script, link);
        ek_list_remove(&c->scripts, first);
        x->steps = s->steps;
        x->count = s->count;
        free(s);
    }
    x->asked = remember(c, r);
    x->begun_ns = x->last_ns = now_ns(x);
    ek_timer_init(&x->timer, on_timer);
    ek_list_append(&c->running, &x->link);
    plan(x);
    arm(x);
    return &x->base;
}

static void virtual_pause(struct ek_exchange *base, bool paused)
{
    struct vexchange *x = (struct vexchange *)(void *)base;
    MUST(!x->dead);
    x->paused = paused;
    x->last_ns = now_ns(x);
    arm(x);
}

static void virtual_cancel(struct ek_exchange *base)
{
    struct vexchange *x = (struct vexchange *)(void *)base;
    x->asked->what.cancelled = true;
    die(x);
}

static void free_dead(struct client *c)
{
    EK_LIST_EACH(&c->dead, it) {
        ek_list_remove(&c->dead, it);
        free(EK_CONTAINER(it, struct vexchange, link));
    }
}

static void on_reap(struct ek_post *p)
{
    free_dead(EK_CONTAINER(p, struct client, reap));
}

static void virtual_free(struct ek_exchange_client *client)
{
    struct client *c = client_of(client);
    EK_LIST_EACH(&c->running, it) {
        die(EK_CONTAINER(it, struct vexchange, link));
    }
    ek_post_clear(c->loop, &c->reap);
    free_dead(c);
    EK_LIST_EACH(&c->scripts, s) {
        free(EK_CONTAINER(s, struct script, link));
    }
    EK_LIST_EACH(&c->asked, a) {
        struct asked *it = EK_CONTAINER(a, struct asked, link);
        ek_buf_free(&it->body);
        free(it);
    }
    free(c);
}

static const struct ek_exchange_ops virtual_ops = {
    .start = virtual_start,
    .pause = virtual_pause,
    .cancel = virtual_cancel,
    .free = virtual_free,
};

struct ek_exchange_client *ek_exchange_virtual_new(struct ek_loop *loop)
{
    struct client *c = calloc(1, sizeof *c);
    MUST(c != NULL);
    c->base.ops = &virtual_ops;
    c->loop = loop;
    ek_list_init(&c->scripts);
    ek_list_init(&c->running);
    ek_list_init(&c->dead);
    ek_list_init(&c->asked);
    ek_post_init(&c->reap, on_reap);
    return &c->base;
}

void ek_exchange_virtual_script(struct ek_exchange_client *client,
                                const struct ek_virtual_step *steps, size_t count)
{
    struct script *s = calloc(1, sizeof *s);
    MUST(s != NULL && count > 0);
    s->steps = steps;
    s->count = count;
    ek_list_append(&client_of(client)->scripts, &s->link);
}

size_t ek_exchange_virtual_asked_count(const struct ek_exchange_client *client)
{
    return ((const struct client *)(const void *)client)->asked.count;
}

const struct ek_virtual_asked *ek_exchange_virtual_asked(const struct ek_exchange_client *client,
                                                         size_t index)
{
    const struct client *c = (const struct client *)(const void *)client;
    MUST(index < c->asked.count);
    const struct ek_link *it = ek_list_first(&c->asked);
    while (index-- > 0) {
        it = ek_list_next(&c->asked, it);
    }
    return &EK_CONTAINER(it, struct asked, link)->what;
}
