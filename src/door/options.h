/* SPDX-License-Identifier: MIT */
/* What the door itself is told: sections `waiting`, `streams` and `drain`. Plain data, filled by config
 * (defaults, ranges, texts: config/table.c). Durations are nanoseconds. */
#ifndef EK_DOOR_OPTIONS_H
#define EK_DOOR_OPTIONS_H

#include <stdint.h>

/* What a waiting request hears (DESIGN: WAITING). */
struct ek_waiting_options {
    uint64_t comment_ns;     /* longest silence on a waiting stream */
    uint64_t comment_min_ns; /* no two comments closer than this ... */
    double change;           /* ... and only when position or estimate moved by this ratio */
    uint64_t hold_ns;        /* non-stream: the status stays open this long, then 200 ... */
    uint64_t newline_ns;     /* ... and a newline this often until the answer */
    uint64_t gather_ns;      /* after a restart nothing starts so long while holders of places are away */
};

/* Streams that can be read again. */
struct ek_streams_options {
    uint64_t window_bytes;  /* of one stream's events, as they are kept; 0: none are */
    uint64_t memory_bytes;  /* of all of them */
    uint64_t disk_bytes;    /* of all of them in the journal's directory; 0: none outlives the process */
    uint64_t retention_ns;  /* so long after its end one is kept */
};

struct ek_drain_options {
    uint64_t deadline_ns; /* after SIGTERM running requests may go on this long */
};

#endif
