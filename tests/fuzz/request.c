/* SPDX-License-Identifier: MIT */
/* Fuzz the request reader and the splicer. Byte 0: which API and which edits; byte 1: where the body is
 * cut in two. Whole and cut must give the same request or the same refusal; what is accepted is spliced, the
 * pieces taken from the body must be the body in order, and the new body must be accepted and say what
 * was set. */
#include "base/buf.h"
#include "chat/splice.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum ek_request_result read_cut(struct ek_request *q, enum ek_api api, struct ek_str body, size_t cut,
                                       struct ek_request_fault *fault)
{
    struct ek_request_reader r;
    ek_request_begin(&r, q, api);
    enum ek_request_result result = ek_request_feed(&r, body.data, cut);
    if (result == EK_REQUEST_MORE) result = ek_request_feed(&r, body.data + cut, body.len - cut);
    if (result == EK_REQUEST_MORE) result = ek_request_finish(&r);
    *fault = r.fault;
    return result;
}

static void check_pieces(struct ek_str body, const struct ek_str *pieces, size_t count)
{
    const char *at = body.data;
    for (size_t i = 0; i < count; i++) {
        MUST(pieces[i].len > 0);
        if (pieces[i].data < body.data || pieces[i].data >= body.data + body.len) continue;
        MUST(pieces[i].data >= at);
        at = pieces[i].data + pieces[i].len;
    }
}

static void splice(const struct ek_request *q, struct ek_str body, unsigned which)
{
    struct ek_splice s;
    struct ek_str pieces[EK_SPLICE_PIECES_MAX];
    uint64_t bytes;
    ek_splice_begin(&s, q, body);
    if (which & 1) ek_splice_stream(&s);
    if (which & 2) ek_splice_model(&s, EK_STR("\"target\"\n"));
    if (which & 4) ek_splice_seed(&s, -5);
    if (which & 8) ek_splice_thinking_budget(&s, EK_MEMBER_THINKING_BUDGET, 77);
    if (which & 16) ek_splice_max_tokens(&s, 9);
    if (which & 32) ek_splice_set(&s, EK_MEMBER_EK, EK_STR("{\"a\":[]}"));
    if ((which & 64) && q->api == EK_API_CHAT) {
        ek_splice_append_message(&s, EK_STR("{\"role\":\"assistant\",\"content\":\"x\"}"));
    }
    if ((which & 64) && q->api == EK_API_COMPLETIONS && q->prompt_is_text) {
        ek_splice_extend_prompt(&s, EK_STR("x"));
    }
    check_pieces(body, pieces, ek_splice_pieces(&s, pieces, &bytes));
    struct ek_buf out = ek_buf_make(1u << 20);
    ek_splice_flat(&s, &out);
    MUST(!out.failed && out.len == bytes);
    struct ek_request again;
    struct ek_request_fault fault;
    MUST(ek_request_read(&again, (enum ek_api)q->api, ek_buf_view(&out), &fault));
    MUST(!(which & 1) || (again.stream && again.include_usage));
    MUST(!(which & 2) || strcmp(again.model, "\"target\"\n") == 0);
    MUST(!(which & 4) || again.seed == -5);
    MUST(!(which & 8) || again.thinking_budget == 77);
    MUST(!(which & 16) || again.max_tokens == 9);
    MUST((which & 4) || (again.seed == q->seed && again.seed_given == q->seed_given));
    MUST((which & 1) || again.stream == q->stream);
    MUST(again.n == q->n && again.tools_bytes == q->tools_bytes && again.thinking == q->thinking);
    ek_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 4096) return 0;
    enum ek_api api = data[0] & 128 ? EK_API_COMPLETIONS : EK_API_CHAT;
    size_t len = size - 2;
    char *copy = malloc(len ? len : 1);
    MUST(copy);
    memcpy(copy, data + 2, len);
    struct ek_str body = ek_str_make(copy, len);
    struct ek_request whole;
    struct ek_request cut;
    struct ek_request_fault fault;
    struct ek_request_fault cut_fault;
    bool ok = read_cut(&whole, api, body, len, &fault) == EK_REQUEST_DONE;
    bool cut_ok = read_cut(&cut, api, body, data[1] % (len + 1), &cut_fault) == EK_REQUEST_DONE;
    MUST(ok == cut_ok);
    MUST(memcmp(&whole, &cut, sizeof whole) == 0);
    if (ok) {
        splice(&whole, body, data[0] & 127);
    } else {
        MUST(fault.reason != EK_REASON_NONE && fault.text[0] != '\0');
        MUST(fault.reason == cut_fault.reason && strcmp(fault.text, cut_fault.text) == 0);
    }
    free(copy);
    return 0;
}
