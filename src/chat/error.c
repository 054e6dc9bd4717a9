/* SPDX-License-Identifier: MIT */
/* The error envelope and the answer that fails after its status was sent. */
#include "chat/error.h"

bool ek_error_retryable(enum ek_reason reason)
{
    int status = ek_reason_status(reason);
    if (reason == EK_REASON_BORROW_SMALL) return false; /* no time helps */
    return status == 408 || status == 429 || (status >= 500 && status != 505);
}

static void put_or_null(struct ek_buf *out, const char *text)
{
    if (text && *text) ek_json_put_string(out, ek_str_of(text));
    else ek_buf_lit(out, "null");
}

static void put_estimate(struct ek_buf *out, const char *name, int64_t ms)
{
    ek_buf_lit(out, name);
    if (ms < 0) ek_buf_lit(out, "null");
    else ek_buf_i64(out, ms);
}

/* "help":["later","less_thinking"] */
static void put_help(struct ek_buf *out, const struct ek_error *e)
{
    static const char *const words[] = {"later", "less_thinking", "more_patience", "fewer_at_once",
                                        "cheaper_model"};
    bool first = true;
    _Static_assert(EK_COUNT(words) == EK_ERROR_HELPS, "a word a bit");
    MUST(e->help >> EK_ERROR_HELPS == 0);
    ek_buf_lit(out, ",\"help\":[");
    for (uint32_t i = 0; i < EK_ERROR_HELPS; i++) {
        if (!(e->help >> i & 1)) continue;
        ek_buf_printf(out, "%s\"%s\"", first ? "" : ",", words[i]);
        first = false;
    }
    ek_buf_char(out, ']');
    if (!e->model.len) return;
    ek_buf_lit(out, ",\"cheaper_model\":");
    ek_json_put_string(out, e->model);
}

/* "error":{...} */
static void put_error(struct ek_buf *out, const struct ek_error *e)
{
    MUST(e->reason != EK_REASON_NONE);
    MUST(e->extra.len == 0 || e->extra.data[0] == ',');
    struct ek_str message = e->message;
    if (!message.data) message = ek_str_of(ek_reason_text(e->reason));
    ek_buf_lit(out, "\"error\":{\"message\":");
    ek_json_put_string(out, message);
    ek_buf_lit(out, ",\"type\":");
    put_or_null(out, ek_reason_type(e->reason));
    ek_buf_lit(out, ",\"param\":");
    put_or_null(out, e->param);
    ek_buf_lit(out, ",\"code\":");
    put_or_null(out, ek_reason_code(e->reason));
    if (e->retry_after_ms > 0) {
        ek_buf_lit(out, ",\"retry_after_ms\":");
        ek_buf_i64(out, e->retry_after_ms);
    }
    if (e->queue) {
        ek_buf_lit(out, ",\"queue\":{\"position\":");
        ek_buf_u64(out, e->position);
        put_estimate(out, ",\"eta_ms\":", e->eta_ms);
        put_estimate(out, ",\"eta_p90_ms\":", e->eta_p90_ms);
        ek_buf_char(out, '}');
    }
    if (e->help) put_help(out, e);
    ek_buf_str(out, e->extra);
    ek_buf_char(out, '}');
}

void ek_error_write(struct ek_buf *out, const struct ek_error *e)
{
    ek_buf_char(out, '{');
    put_error(out, e);
    ek_buf_char(out, '}');
}

struct ek_error ek_error_of_fault(const struct ek_request_fault *fault)
{
    MUST(fault->reason != EK_REASON_NONE);
    return (struct ek_error){
        .reason = fault->reason,
        .message = ek_str_of(fault->text),
        .param = fault->param,
    };
}

void ek_error_write_committed(struct ek_buf *out, const struct ek_chunk_head *head,
                              const struct ek_error *e, const struct ek_usage *usage)
{
    const struct ek_choice empty = {.content = EK_STR(""), .finish = EK_FINISH_NO_RESOURCE};
    const struct ek_usage nothing = {0};
    ek_completion_write(out, head, &empty, 1, usage ? usage : &nothing, (struct ek_str){0});
    if (out->failed) return;
    MUST(out->len > 0 && out->data[out->len - 1] == '}');
    out->data[out->len - 1] = ',';
    put_error(out, e);
    ek_buf_char(out, '}');
}
