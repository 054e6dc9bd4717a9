/* SPDX-License-Identifier: MIT */
/* Decimal texts and nano-units. */
#include "ledger/amount.h"

#include <stddef.h>
#include <stdio.h>

bool ek_amount_parse(const char *text, bool sign, int64_t *nano)
{
    bool minus = sign && *text == '-';
    const char *at = text + minus;
    int64_t value = 0, scale = 1000000000;
    bool point = false, digits = false;
    for (; *at; at++) {
        if (*at == '.' && !point) {
            point = true;
            continue;
        }
        if (*at < '0' || *at > '9' || (point && scale == 1)) return false;
        if (point) scale /= 10;
        digits = true;
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *at - '0', &value))
            return false;
    }
    if (!digits || __builtin_mul_overflow(value, scale, &value)) return false;
    *nano = minus ? -value : value;
    return true;
}

const char *ek_amount_text(int64_t nano, char out[EK_AMOUNT_BYTES])
{
    uint64_t n = nano < 0 ? (uint64_t)-(nano + 1) + 1 : (uint64_t)nano;
    int len = snprintf(out, EK_AMOUNT_BYTES, "%s%llu.%09llu", nano < 0 ? "-" : "",
                       (unsigned long long)(n / 1000000000), (unsigned long long)(n % 1000000000));
    while (len > 0 && out[len - 1] == '0') out[--len] = '\0';
    if (len > 0 && out[len - 1] == '.') out[--len] = '\0';
    return out;
}
