/* SPDX-License-Identifier: MIT */
/* The table of reasons, looked up by its columns. */
#include "base/reason.h"

static const struct {
    const char *code;
    const char *type;
    const char *text;
    int status;
} reasons[] = {
#define REASON_ROW(symbol, code, status, type, text) {code, type, text, status},
    EK_REASONS(REASON_ROW)
#undef REASON_ROW
};

const char *ek_reason_code(enum ek_reason r)
{
    MUST((unsigned)r < EK_REASON_COUNT);
    return reasons[r].code;
}

int ek_reason_status(enum ek_reason r)
{
    MUST((unsigned)r < EK_REASON_COUNT);
    return reasons[r].status;
}

const char *ek_reason_type(enum ek_reason r)
{
    MUST((unsigned)r < EK_REASON_COUNT);
    return reasons[r].type;
}

const char *ek_reason_text(enum ek_reason r)
{
    MUST((unsigned)r < EK_REASON_COUNT);
    return reasons[r].text;
}
