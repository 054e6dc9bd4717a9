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

void ek_reason_markdown(struct ek_buf *out)
{
    ek_buf_lit(out, "# Errors\n\n"
                    "Every refusal, close and failure has one of these codes: in `error.code` of an answer\n"
                    "or of a stream's last event, in the logs, and as the label of the counter\n"
                    "`evenkeel_refusals_total`. The sentence is the usual one; where more is known the\n"
                    "message says that. Where there is no status none can be sent any more. Made by\n"
                    "`make docs` from `src/base/reason.h`; what can be done is in [wire.md](wire.md).\n\n"
                    "| code | status | type | sentence |\n|---|---|---|---|\n");
    for (size_t i = 1; i < EK_COUNT(reasons); i++) {
        ek_buf_printf(out, "| `%s` | ", reasons[i].code);
        if (reasons[i].status) ek_buf_printf(out, "%d", reasons[i].status);
        ek_buf_printf(out, " | %s | %s |\n", reasons[i].type, reasons[i].text);
    }
}
