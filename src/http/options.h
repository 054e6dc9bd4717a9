/* SPDX-License-Identifier: MIT */
/* Limits of the HTTP server: section `limits` of the YAML file. Plain data, filled by config from its
 * table of options (defaults, ranges and one sentence about each stand there: config/table.c); a test
 * fills it by hand. Durations are nanoseconds. */
#ifndef EK_HTTP_OPTIONS_H
#define EK_HTTP_OPTIONS_H

#include <stdint.h>

struct ek_http_options {
    uint64_t head_bytes_max;          /* request line and headers of one request */
    uint64_t body_bytes_max;          /* one body; beyond: 413 */
    uint64_t bodies_bytes_max;        /* all bodies held at once; beyond: 503 body_budget */
    uint64_t connections_max;         /* beyond: accept waits */
    uint64_t address_connections_max; /* of one client address; beyond: closed at once */
    uint64_t head_deadline_ns;        /* first byte to end of head, absolute */
    uint64_t body_grace_ns;           /* a body may take this long and ... */
    uint64_t body_rate_min;           /* ... bytes / this (bytes per second) on top, absolute */
    uint64_t write_stall_ns;          /* a client that takes no byte this long is gone */
    uint64_t idle_ns;                 /* keep-alive connection between two requests */
    uint64_t write_buffer_bytes;      /* unsent bytes of one client above which its source is paused */
};

#endif
