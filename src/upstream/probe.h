/* SPDX-License-Identifier: MIT */
/* One look at an upstream: a GET whose answer is kept whole (bounded), and the reading of the two
 * answers the pool is interested in. */
#ifndef EK_UPSTREAM_PROBE_H
#define EK_UPSTREAM_PROBE_H

#include "base/buf.h"
#include "base/loop.h"
#include "http/exchange.h"
#include "upstream/pool.h"

#define EK_PROBE_BYTES_MAX (2u << 20) /* a cloud's list of models can be half a megabyte */

struct ek_probe; /* under way */

/* Ask for `path`, showing `key` (NULL: none); `answered` once: status 0 = no answer (why says), else body is
 * the whole of it (the view dies with the call; cut when it was longer than the limit). Not inside this
 * call. */
struct ek_probe *ek_probe_start(struct ek_exchange_client *client, const struct ek_exchange_target *to,
                                const char *path, const struct ek_http_header *key,
                                uint64_t deadline_ns,
                                void (*answered)(void *arg, int status, enum ek_reason why,
                                                 struct ek_str body),
                                void *arg);
/* The same with POST, these headers and this body, which is copied as far as it has to be; for an answer that
 * takes its time. */
struct ek_probe *ek_probe_post(struct ek_exchange_client *client, const struct ek_exchange_target *to,
                               const char *path, const struct ek_http_header *headers, size_t header_count,
                               struct ek_str body, uint64_t deadline_ns,
                               void (*answered)(void *arg, int status, enum ek_reason why,
                                                struct ek_str body),
                               void *arg);
void ek_probe_cancel(struct ek_probe **p);

/* Read {"slots":...} of GET /load. false when it is not that. up is set. */
bool ek_probe_read_load(struct ek_str body, struct ek_upstream_load *out);
/* What the first model of the list says in owned_by; "" when it says nothing, or too much for it. */
void ek_probe_read_owner(struct ek_str body, char *out, size_t cap);
/* Calls each(name) for every model of GET /v1/models, in order; false when it is not such a list. */
bool ek_probe_read_models(struct ek_str body, void (*each)(void *arg, struct ek_str name), void *arg);

#endif
