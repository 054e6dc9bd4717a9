/* SPDX-License-Identifier: MIT */
/* The frames of a stream's tape, shared by who writes them (stream_tape.c) and who reads them after a restart
 * (stream_back.c). */
#ifndef EK_DOOR_STREAM_TAPE_H
#define EK_DOOR_STREAM_TAPE_H

#include "door/door_state.h"
#include "journal/tape.h"

#define EK_DOOR_TAPE_VERSION 2u

enum ek_door_tape_kind { EK_DOOR_TAPE_HEAD = 1, EK_DOOR_TAPE_EVENT, EK_DOOR_TAPE_END };

/* The first frame; the names of tier and model follow, what a response gives back, the body. */
struct ek_door_tape_head {
    uint32_t kind, version, bytes, echo_bytes;
    uint64_t account, ledger_account, ledger_key;
    uint64_t arrived_unix_ns, created_unix_s;
    uint8_t api, include_usage, asked, response, whole, tier_bytes, model_bytes, zero;
};

/* Token ids of our engine since the last event follow (UINT32_MAX: they are not all known), then the bytes of
 * the payload that are neither at the front nor at the end of the first event's. */
struct ek_door_tape_event {
    uint32_t kind, ids, front, end;
    uint64_t thought_tokens, answer_tokens, prompt_tokens, cached_tokens; /* up to here */
    uint32_t thinking_budget, shortened;
};

struct ek_door_tape_end {
    uint32_t kind, reason;
};

extern const struct ek_tape_events ek_door_tape_events;

#endif
