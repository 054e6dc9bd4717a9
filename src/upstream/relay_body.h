/* SPDX-License-Identifier: MIT */
/* The body of one attempt, between relay.c and relay_body.c. */
#ifndef EK_UPSTREAM_RELAY_BODY_H
#define EK_UPSTREAM_RELAY_BODY_H

#include "upstream/relay.h"

/* The pieces of the body, in order; *edits holds those that are not the caller's and is to be freed when they
 * have been sent. Returns their count, 0 when there is no memory or too much to put in. */
size_t ek_relay_body(const struct ek_pool *pool, const struct ek_relay_request *q, char **edits,
                     struct iovec iov[EK_EXCHANGE_BODY_PARTS_MAX]);

#endif
