/* SPDX-License-Identifier: MIT */
/* Bodies that say why: the OpenAI error envelope, before and after the status is committed.
 *
 *   {"error":{"message":"...","type":"rate_limit_error","param":null,"code":"queue_full", extras}}
 *
 * Status, type and code come from the reason (base/reason.h); this file only writes. Clients key on
 * status and message. What may be retried is told by the status, X-Should-Retry and Retry-After;
 * ek_error_retryable gives the second of these.
 *
 * Never a 200 that ends without JSON, never a stream that just stops: after the status is out, the
 * two last writers end the answer so that no tested client takes it for complete. */
#ifndef EK_CHAT_ERROR_H
#define EK_CHAT_ERROR_H

#include "chat/chunk.h"

#define EK_ERROR_HELPS 5 /* "later", "less_thinking", "more_patience", "fewer_at_once", "cheaper_model" */

struct ek_error {
    enum ek_reason reason;
    struct ek_str message; /* text for a person; absent = the reason's own sentence */
    const char *param;     /* name of the member at fault; NULL = null */
    int64_t retry_after_ms; /* computed wait; <= 0 = not written */
    uint32_t help;          /* what would help: bits of EK_ERROR_HELPS, written as a list of words */
    struct ek_str model;    /* text: the cheaper model that would help; absent = not written */
    bool queue;             /* write "queue":{"position":..,"eta_ms":..,"eta_p90_ms":..} */
    uint64_t position;      /* 1 = next */
    int64_t eta_ms;         /* < 0 = not known: null */
    int64_t eta_p90_ms;
    struct ek_str extra;    /* raw members of the error object, beginning with a comma; or empty */
};

/* May the same request succeed later without being changed? (408, 429 and 5xx except 505) */
bool ek_error_retryable(enum ek_reason reason);

/* {"error":{...}}: the body of an error answer, and the data of the event that ends a broken stream
 * (before [DONE]). */
void ek_error_write(struct ek_buf *out, const struct ek_error *e);

/* Fill in an error for a refused body (chat/request.h). `fault` must outlive e. */
struct ek_error ek_error_of_fault(const struct ek_request_fault *fault);

/* A non-streamed answer that fails after 200 was sent: a complete completion with empty content,
 * finish_reason insufficient_system_resource and the error beside it, so that code which never
 * looks for errors does not crash and code which does finds one. usage may be NULL (zeros). */
void ek_error_write_committed(struct ek_buf *out, const struct ek_chunk_head *head,
                              const struct ek_error *e, const struct ek_usage *usage);

#endif
