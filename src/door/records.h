/* SPDX-License-Identifier: MIT */
/* What became of the last requests: for those who ask why (`GET /v1/requests/ID`). A bounded ring in
 * memory, the oldest making room; nothing here is needed for anything else, and it is gone with the
 * process. The books (ledger) remember what was paid; this remembers how it came about.
 *
 *      ring:  [ .. | newest | oldest | .. ]        map: id ─▶ place in the ring */
#ifndef EK_DOOR_RECORDS_H
#define EK_DOOR_RECORDS_H

#include "base/reason.h"
#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>

#define EK_DOOR_RECORDS_MAX 16384u /* about 4 MB */
#define EK_RECORD_UPSTREAMS_MAX 4u
#define EK_RECORD_NAME_BYTES 64u

/* One request. Copied names, because models and upstreams may leave before it does. */
struct ek_request_record {
    uint8_t id[16];
    uint64_t account;         /* whose; compared, never shown */
    uint64_t arrived_unix_ns; /* 0: an empty place */
    uint64_t ended_unix_ns;   /* 0: it goes on */
    uint64_t waited_ms;       /* until it started, or ended in line */
    uint32_t position;        /* the place it was told first; 0: it never had to wait */
    int32_t eta_ms;           /* and the estimate; -1: none */
    uint32_t thinking_budget; /* where `shortened` */
    uint32_t attempts;
    uint64_t prompt_tokens, cached_tokens, thought_tokens, output_tokens;
    int64_t cost_nano;
    int64_t borrowed_nano;    /* what lenders charge the house for it */
    uint8_t borrowed_why;     /* enum ek_overflow_why; 0: no lender had it */
    enum ek_reason reason;    /* NONE: it ended well, or goes on */
    bool started, shortened, whole, continued, charged, restored;
    uint8_t upstreams;        /* moves beyond EK_RECORD_UPSTREAMS_MAX count in attempts only */
    char model[EK_RECORD_NAME_BYTES], when[EK_RECORD_NAME_BYTES];
    char upstream[EK_RECORD_UPSTREAMS_MAX][EK_RECORD_NAME_BYTES];
};

struct ek_records;

struct ek_records *ek_records_new(uint32_t max, uint64_t seed); /* NULL: no memory */
void ek_records_free(struct ek_records **r);

/* The record of that id, made empty (all zero but the id) where there is none. Valid until the next call.
 * NULL: no memory for the map. */
struct ek_request_record *ek_records_open(struct ek_records *r, const uint8_t id[16]);
const struct ek_request_record *ek_records_find(const struct ek_records *r, const uint8_t id[16]);
uint64_t ek_records_forgotten(const struct ek_records *r); /* that made room */

#endif
