/* SPDX-License-Identifier: MIT */
/* The body of one attempt: the caller's bytes with what the door has to say spliced in. The big body is never
 * copied; what is put in is copied together, so that few pieces are enough. */
#include "upstream/relay_body.h"

#include "base/buf.h"
#include "chat/splice.h"

#include <stdlib.h>
#include <string.h>

#define EDIT_BYTES_MAX (1u << 20) /* what the door puts into a body: mostly the ids of a continuation */
#define CARRIED_BYTES_MAX (4u << 20)

static void put_ek(struct ek_buf *b, const struct ek_relay_request *q)
{
    ek_buf_printf(b, "{\"request_id\":\"%s\",\"seed\":%llu,\"cache_salt\":\"%016llx\"", q->request_id,
                  (unsigned long long)q->seed, (unsigned long long)q->cache_salt);
    if (q->shorten) ek_buf_printf(b, ",\"thinking_budget\":%u", q->thinking_budget);
    if (q->prefix_count) {
        ek_buf_lit(b, ",\"prefix\":[");
        for (size_t i = 0; i < q->prefix_count; i++) {
            if (i) ek_buf_char(b, ',');
            ek_buf_u64(b, q->prefix_ids[i]);
        }
        ek_buf_char(b, ']');
    }
    ek_buf_char(b, '}');
}

/* What belongs to the talk between doors and engines is ours to say: a caller's own is overruled. */
static void overrule(struct ek_splice *s, const struct ek_relay_request *q, bool ours,
                     struct ek_str ek, struct ek_str quoted_id)
{
    if (ours) ek_splice_set(s, EK_MEMBER_EK, ek);
    else if (ek_request_has(q->request, EK_MEMBER_EK)) ek_splice_set(s, EK_MEMBER_EK, EK_STR("null"));
    if (ek_request_has(q->request, EK_MEMBER_PRIORITY))
        ek_splice_set(s, EK_MEMBER_PRIORITY, EK_STR("0"));
    if (ek_request_has(q->request, EK_MEMBER_CACHE_SALT))
        ek_splice_set(s, EK_MEMBER_CACHE_SALT, EK_STR("null"));
    if (ek_request_has(q->request, EK_MEMBER_REQUEST_ID))
        ek_splice_set(s, EK_MEMBER_REQUEST_ID, quoted_id);
    if (ek_request_has(q->request, EK_MEMBER_KV_TRANSFER_PARAMS))
        ek_splice_set(s, EK_MEMBER_KV_TRANSFER_PARAMS, EK_STR("null"));
}

static void set_model(struct ek_splice *s, const struct ek_pool *pool, const struct ek_relay_request *q)
{
    const char *theirs = ek_pool_their_name(pool, q->upstream, q->model);
    MUST(theirs);
    if (!ek_str_eq(ek_str_of(theirs), ek_str_make(q->request->model, q->request->model_bytes)))
        ek_splice_model(s, ek_str_of(theirs));
    enum ek_model_thinking thinking = ek_pool_model(pool, q->model)->thinking;
    if (thinking == EK_MODEL_AS_ASKED || q->request->thinking != EK_THINKING_UNSET) return;
    ek_splice_set(s, EK_MEMBER_THINKING_TYPE,
                  thinking == EK_MODEL_THINKING_ON ? EK_STR("\"enabled\"") : EK_STR("\"disabled\""));
}

/* A limit on the thought, for an upstream that is not ours and obeys one. What was thought before counts. */
static void limit_thought(struct ek_splice *s, enum ek_budget_way way, const struct ek_relay_request *q)
{
    static const enum ek_member names[] = {
        [EK_BUDGET_TOKEN_BUDGET] = EK_MEMBER_TOKEN_BUDGET,
        [EK_BUDGET_BUDGET_TOKENS] = EK_MEMBER_BUDGET_TOKENS,
        [EK_BUDGET_THINKING] = EK_MEMBER_THINKING_BUDGET,
    };
    if (!q->shorten || way == EK_BUDGET_NONE) return;
    uint64_t thought = q->carries ? q->carried_tokens : 0;
    MUST((size_t)way < EK_COUNT(names));
    ek_splice_thinking_budget(s, names[way],
                              thought < q->thinking_budget ? (int64_t)(q->thinking_budget - thought) : 0);
}

/* An answer in a promised form can only be gone on with by who knows where in the form it stood. */
static bool is_free_text(const struct ek_request *q, struct ek_str body)
{
    struct ek_str format = ek_request_value(q, EK_MEMBER_RESPONSE_FORMAT, body);
    bool none = !format.len || ek_str_eq(format, EK_STR("null"));
    return none || ek_str_eq(format, EK_STR("{\"type\":\"text\"}"));
}

bool ek_relay_can_reprompt(const struct ek_request *q, struct ek_str body)
{
    bool talk = q->api == EK_API_CHAT && q->message_count && !q->ends_in_answer;
    return talk && q->n == 1 && is_free_text(q, body);
}

bool ek_relay_can_carry(const struct ek_pool *pool, uint32_t upstream, const struct ek_request *q,
                        struct ek_str body, bool thinks, bool answers)
{
    const struct ek_ways *w = ek_pool_ways(pool, upstream);
    if (q->n != 1) return false;
    if (q->api == EK_API_COMPLETIONS) return q->prompt_is_text && !thinks; /* the text is the prompt's end */
    if (w->carry == EK_CARRY_NOT || q->ends_in_answer || !q->message_count) return false;
    if (!is_free_text(q, body)) return false;
    if (ek_pool_reasoning(pool, upstream) != EK_REASONING_FIELD) return true; /* it is all one text there */
    return !thinks || w->thought_member || (w->thought_tags && !answers);
}

/* Thought and answer as they stand in the text of a model. `form`: the upstream's. */
static void put_as_text(struct ek_buf *b, enum ek_reasoning form, const struct ek_relay_request *q)
{
    if (q->thought.len && form != EK_REASONING_BEGUN) ek_buf_lit(b, "<think>\\n");
    ek_buf_str(b, q->thought);
    if (q->thought.len && q->answer.len) ek_buf_lit(b, "</think>\\n\\n");
}

/* The message of the assistant that is to be gone on with. */
static void put_carried(struct ek_buf *b, const struct ek_ways *w, enum ek_reasoning form,
                        const struct ek_relay_request *q)
{
    ek_buf_lit(b, "{\"role\":\"assistant\",\"content\":\"");
    if (!w->thought_member) put_as_text(b, form, q);
    ek_buf_str(b, q->answer);
    ek_buf_char(b, '"');
    if (q->thought.len && w->thought_member) {
        ek_buf_lit(b, ",\"reasoning_content\":\"");
        ek_buf_str(b, q->thought);
        ek_buf_char(b, '"');
    }
    if (w->carry == EK_CARRY_PREFIX) ek_buf_lit(b, ",\"prefix\":true");
    ek_buf_char(b, '}');
}

/* The answer as far as it came, and the demand. */
static void put_demand(struct ek_buf *b, const struct ek_relay_request *q)
{
    ek_buf_lit(b, "{\"role\":\"assistant\",\"content\":\"");
    ek_buf_str(b, q->answer);
    ek_buf_lit(b, "\"},{\"role\":\"user\",\"content\":\"Your answer was cut off by a fault. Go on with it "
                  "from exactly where it stopped: repeat nothing of it, and say nothing about this.\"}");
}

/* What goes on has a part of the caller's limit behind it. */
static void carry(struct ek_splice *s, const struct ek_ways *w, const struct ek_relay_request *q,
                  struct ek_str message)
{
    int64_t limit = q->request->max_tokens;
    if (limit > 0) {
        int64_t left = q->carried_tokens < (uint64_t)limit ? limit - (int64_t)q->carried_tokens : 0;
        ek_splice_max_tokens(s, left > 0 ? left : 1);
    }
    if (q->request->api == EK_API_COMPLETIONS) {
        ek_splice_extend_prompt(s, q->answer);
        return;
    }
    ek_splice_append_message(s, message);
    if (w->carry != EK_CARRY_FLAG || q->reprompts) return;
    ek_splice_set(s, EK_MEMBER_CONTINUE_FINAL, EK_STR("true"));
    ek_splice_set(s, EK_MEMBER_GENERATION_PROMPT, EK_STR("false"));
}

static bool inside(struct ek_str piece, struct ek_str body)
{
    return piece.data >= body.data && piece.data < body.data + body.len;
}

/* The pieces as iovecs; runs of pieces that are not the caller's are copied together into *edits, so
 * that few iovecs are enough and the splice may go. Returns their count, 0 when they do not fit. */
static size_t to_iovecs(const struct ek_str *piece, size_t pieces, struct ek_str body, char **edits,
                        struct iovec iov[EK_EXCHANGE_BODY_PARTS_MAX])
{
    size_t bytes = 0;
    for (size_t i = 0; i < pieces; i++) bytes += inside(piece[i], body) ? 0 : piece[i].len;
    char *at = malloc(bytes ? bytes : 1);
    if (!at) return 0;
    *edits = at;
    size_t count = 0;
    for (size_t i = 0; i < pieces; i++) {
        bool theirs = inside(piece[i], body);
        if (!theirs) memcpy(at, piece[i].data, piece[i].len);
        char *base = theirs ? (char *)(uintptr_t)piece[i].data : at;
        if (!theirs) at += piece[i].len;
        bool joins = count && (char *)iov[count - 1].iov_base + iov[count - 1].iov_len == base;
        if (joins) {
            iov[count - 1].iov_len += piece[i].len;
            continue;
        }
        if (count == EK_EXCHANGE_BODY_PARTS_MAX) return 0;
        iov[count++] = (struct iovec){base, piece[i].len};
    }
    return count;
}

size_t ek_relay_body(const struct ek_pool *pool, const struct ek_relay_request *q, char **edits,
                     struct iovec iov[EK_EXCHANGE_BODY_PARTS_MAX])
{
    struct ek_splice splice;
    struct ek_str piece[EK_SPLICE_PIECES_MAX];
    struct ek_buf ek = ek_buf_make(EDIT_BYTES_MAX), message = ek_buf_make(CARRIED_BYTES_MAX);
    const struct ek_ways *ways = ek_pool_ways(pool, q->upstream);
    char quoted_id[40];
    uint64_t bytes = 0;
    size_t count = 0;
    bool ours = ek_pool_is_ours(pool, q->upstream);
    quoted_id[0] = '"';
    memcpy(quoted_id + 1, q->request_id, 32);
    quoted_id[33] = '"';
    if (ours) put_ek(&ek, q);
    if (q->reprompts) put_demand(&message, q);
    else if (q->carries) put_carried(&message, ways, ek_pool_reasoning(pool, q->upstream), q);
    if (!ek.failed && !message.failed) {
        ek_splice_begin(&splice, q->request, q->body);
        ek_splice_stream(&splice);
        set_model(&splice, pool, q);
        if (!ours) limit_thought(&splice, ek_pool_budget_way(pool, q->upstream), q);
        overrule(&splice, q, ours, ek_buf_view(&ek), ek_str_make(quoted_id, 34));
        if (q->carries || q->reprompts) carry(&splice, ways, q, ek_buf_view(&message));
        size_t pieces = ek_splice_pieces(&splice, piece, &bytes);
        count = to_iovecs(piece, pieces, q->body, edits, iov);
    }
    ek_buf_free(&ek);
    ek_buf_free(&message);
    return count;
}
