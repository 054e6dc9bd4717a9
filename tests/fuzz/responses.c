/* SPDX-License-Identifier: MIT */
/* Bodies of the Responses API: whatever comes, the chat request that is made of it is one that our own reader
 * takes or refuses with a reason, and nothing grows beyond its limits. */
#include "chat/responses.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ek_responses_wishes w = {0};
    struct ek_buf chat = ek_buf_make(1 << 20), echo = ek_buf_make(EK_RESPONSES_ECHO_BYTES_MAX);
    struct ek_error e = {0};
    char scratch[256];
    struct ek_str body = ek_str_make((const char *)data, size);
    if (ek_responses_read(body, &w, &chat, &echo, &e, scratch)) {
        struct ek_request q;
        struct ek_request_fault fault;
        bool read = ek_request_read(&q, EK_API_CHAT, ek_buf_view(&chat), &fault);
        MUST(!chat.failed && !echo.failed);
        MUST(!read || q.stream);
        MUST(read || ek_reason_status(fault.reason) >= 400);
    } else {
        MUST(ek_reason_status(e.reason) >= 400);
    }
    ek_buf_free(&chat);
    ek_buf_free(&echo);
    return 0;
}
