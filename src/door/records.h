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

#define EK_DOOR_RECORDS_MAX 16384u /* about 3 MB */
#define EK_RECORD_UPSTREAMS_MAX 4u
#define EK_RECORD_NAME_BYTES 64u
#define EK_RECORD_NAMES_MAX 1024u /* different ones, ever: names come out of the configuration */

/* One request. Names by number (ek_records_name): models and upstreams may leave before it does. */
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
    int64_t hedge_nano;       /* what the attempt that lost has read in vain */
    uint32_t hedge_ms;        /* the second attempt was made so long after the first */
    bool hedged, hedge_won, reprompted;
    uint8_t borrowed_why;     /* enum ek_overflow_why; 0: no lender had it */
    enum ek_reason reason;    /* NONE: it ended well, or goes on */
    bool started, shortened, whole, continued, charged, restored;
    uint8_t upstreams;        /* moves beyond EK_RECORD_UPSTREAMS_MAX count in attempts only */
    uint16_t model, when, upstream[EK_RECORD_UPSTREAMS_MAX];
};
_Static_assert(sizeof(struct ek_request_record) <= 184, "each open stream has one");

struct ek_records;

struct ek_records *ek_records_new(uint32_t max, uint64_t seed); /* NULL: no memory */
void ek_records_free(struct ek_records **r);

/* The record of that id, made empty (all zero but the id) where there is none. Valid until the next call.
 * NULL: no memory for the map. */
struct ek_request_record *ek_records_open(struct ek_records *r, const uint8_t id[16]);
const struct ek_request_record *ek_records_find(const struct ek_records *r, const uint8_t id[16]);
/* The number of a name, cut to EK_RECORD_NAME_BYTES - 1; 0: NULL or "". Beyond EK_RECORD_NAMES_MAX all
 * others have one number, of "…". */
uint16_t ek_records_name(struct ek_records *r, const char *name);
const char *ek_records_text(const struct ek_records *r, uint16_t name); /* 0: "" */
uint64_t ek_records_forgotten(const struct ek_records *r); /* that made room */

#endif
