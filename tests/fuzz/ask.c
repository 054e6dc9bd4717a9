/* SPDX-License-Identifier: MIT */
/* Any bytes as the body of a request to the engine: refused with a reason and a sentence, or accepted
 * with counts that agree. */
#include "engine/ask.h"

static void check(enum ek_api api, struct ek_str body)
{
    struct ek_ask a;
    struct ek_ask_fault f;
    if (!ek_ask_read(&a, api, body, 64, &f)) {
        MUST(f.reason != EK_REASON_NONE && ek_reason_status(f.reason) >= 400);
        MUST(f.text[0] != 0 && memchr(f.text, 0, sizeof f.text) && memchr(f.param, 0, sizeof f.param));
        return;
    }
    size_t calls = 0, bytes = a.prompt.len;
    for (size_t i = 0; i < a.message_count; i++) {
        calls += a.messages[i].call_count;
        bytes += a.messages[i].content.len;
    }
    MUST(calls == a.call_count && bytes <= body.len + a.message_count * body.len);
    MUST((api == EK_API_CHAT) == (a.message_count > 0));
    MUST(ek_sampling_problem(&a.sampling) == NULL);
    MUST(a.stop_count <= EK_STOPS_MAX && a.prefix_count <= 64 && a.prompt_id_count <= 64);
    ek_ask_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check(EK_API_CHAT, ek_str_make((const char *)data, size));
    check(EK_API_COMPLETIONS, ek_str_make((const char *)data, size));
    return 0;
}
