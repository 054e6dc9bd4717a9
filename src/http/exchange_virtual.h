/* SPDX-License-Identifier: MIT */
/* The virtual exchange: an upstream that exists only as a script, on any loop, for the tests of
 * those who talk to upstreams. What it is asked is kept; what it answers is written down before. */
#ifndef EK_HTTP_EXCHANGE_VIRTUAL_H
#define EK_HTTP_EXCHANGE_VIRTUAL_H

#include "http/exchange.h"

enum ek_virtual_step_kind {
    EK_VIRTUAL_HEAD, /* status, headers */
    EK_VIRTUAL_DATA, /* bytes */
    EK_VIRTUAL_END,
    EK_VIRTUAL_FAIL, /* reason */
    EK_VIRTUAL_HANG, /* nothing more comes: the exchange's own deadlines decide */
};

/* One step, after_ns behind the one before. All pointers must outlive the client. */
struct ek_virtual_step {
    enum ek_virtual_step_kind kind;
    uint64_t after_ns;
    int status;
    enum ek_reason reason;
    struct ek_str bytes;
    const struct ek_http_header *headers;
    size_t header_count;
};

/* What an exchange asked for, kept until the client is freed. */
struct ek_virtual_asked {
    char address[256];
    char method[32];
    char path[512]; /* with the target's base */
    struct ek_str body; /* all pieces joined */
    bool cancelled;
};

struct ek_exchange_client *ek_exchange_virtual_new(struct ek_loop *loop);
/* The next exchange that starts (after those already scripted) gets these steps. An exchange for
 * which no script is left fails with upstream_connect. */
void ek_exchange_virtual_script(struct ek_exchange_client *c, const struct ek_virtual_step *steps,
                                size_t count);
size_t ek_exchange_virtual_asked_count(const struct ek_exchange_client *c);
const struct ek_virtual_asked *ek_exchange_virtual_asked(const struct ek_exchange_client *c,
                                                         size_t index);

#endif
