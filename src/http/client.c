/* SPDX-License-Identifier: MIT */
/* The client programs use: it owns a plain client and, from the first https target on, one of
 * libcurl's, and sends each exchange to the right one. The exchange then belongs to that client: only
 * `start` and `free` ever come through here. */
#include "http/exchange.h"

#include <stdlib.h>

struct router {
    struct ek_exchange_client base;
    struct ek_loop *loop;
    struct ek_exchange_options options;
    struct ek_exchange_client *plain;
    struct ek_exchange_client *curl; /* NULL until needed: libcurl costs megabytes */
};

static struct router *router_of(struct ek_exchange_client *c)
{
    MUST(c != NULL);
    return (struct router *)(void *)c;
}

static struct ek_exchange *router_start(struct ek_exchange_client *c,
                                        const struct ek_exchange_request *r,
                                        const struct ek_exchange_events *events, void *arg)
{
    struct router *it = router_of(c);
    if (r->target->scheme != EK_EXCHANGE_HTTPS) return ek_exchange_start(it->plain, r, events, arg);
    if (!it->curl) it->curl = ek_exchange_curl_new(it->loop, &it->options);
    return ek_exchange_start(it->curl, r, events, arg);
}

static void router_free(struct ek_exchange_client *c)
{
    struct router *it = router_of(c);
    ek_exchange_client_free(&it->plain);
    ek_exchange_client_free(&it->curl);
    free(it);
}

static const struct ek_exchange_ops router_ops = {.start = router_start, .free = router_free};

struct ek_exchange_client *ek_exchange_client_new(struct ek_loop *loop,
                                                  const struct ek_exchange_options *o)
{
    struct router *it = calloc(1, sizeof *it);
    MUST(it != NULL);
    it->base.ops = &router_ops;
    it->loop = loop;
    if (o) it->options = *o;
    it->plain = ek_exchange_plain_new(loop, o);
    return &it->base;
}
