/* SPDX-License-Identifier: MIT */
/* What is left of an account's windows, as headers say it. Pure. Two families: OpenAI's x-ratelimit-*,
 * which its SDKs read, and the IETF's RateLimit and RateLimit-Policy
 * (draft-ietf-httpapi-ratelimit-headers-10: lists of structured fields, RFC 9651). A limit that is none
 * is not spoken of. */
#ifndef EK_LEDGER_RATELIMIT_H
#define EK_LEDGER_RATELIMIT_H

#include "base/str.h"
#include "ledger/windows.h"

#define EK_RATELIMIT_HEADERS_MAX 8u

struct ek_ratelimit_header {
    struct ek_str name, value;
};

struct ek_ratelimit {
    uint32_t count;
    struct ek_ratelimit_header header[EK_RATELIMIT_HEADERS_MAX];
    char text[768]; /* what the values point into */
};

/* *out refers to itself: it must not be moved. */
void ek_ratelimit_write(const struct ek_window_state *s, struct ek_ratelimit *out);

/* As OpenAI writes a time until reset: "120ms", "7.5s", "6m0s", "1h0m0s". Returns the bytes written. */
size_t ek_ratelimit_duration(uint64_t ns, char out[32]);

#endif
