/* SPDX-License-Identifier: MIT */
/* POST /tokenize: how many tokens is this, and which? POST /detokenize: what do these say? Answered at once,
 * on the loop thread; so a body is looked through before a tree is built of it, and neither takes more than
 * the context holds: more has no use here. Names as vLLM and llama-server have them. */
#include "engine/ask_inside.h"
#include "engine/serve_inside.h"

#include "base/json.h"
#include "base/json_write.h"

#include <stdlib.h>

#define ANSWER_BYTES_MAX (64u << 20)
#define VALUES_BESIDE 65536u /* of a body, beside the tokens that the context holds: messages have members */

static bool encode(struct ek_ask_reader *r, struct ek_call *c, json_t *root, struct ek_ids *ids)
{
    const struct ek_serve *s = c->serve;
    struct ek_str content = {NULL, 0};
    bool add_special = false, parse_special = false;
    enum ek_status st = EK_OK;
    if (ek_ask_member(root, "messages")) {
        if (!ek_ask_read_messages(r, root)) return false;
        st = ek_template_render(&s->chat, s->tokenizer, s->encoder, c->ask.messages, c->ask.message_count,
                                s->chat.can_think, ids, &c->end);
    } else {
        bool ok = ek_ask_string(r, root, "prompt", SIZE_MAX, &content) &&
                  ek_ask_string(r, root, "content", SIZE_MAX, &content) &&
                  ek_ask_bool(r, root, "add_special", &add_special) &&
                  ek_ask_bool(r, root, "parse_special", &parse_special);
        if (!ok) return false;
        if (!content.data) return ek_ask_refuse(r, EK_REASON_MISSING_PARAM, "content", "is missing.");
        if (add_special && ek_tokenizer_bos(s->tokenizer) != EK_TOKEN_NONE) {
            st = ek_ids_push(ids, ek_tokenizer_bos(s->tokenizer));
        }
        if (st == EK_OK) st = ek_tokenizer_encode(s->tokenizer, s->encoder, content, parse_special, ids);
    }
    if (st == EK_OK) return true;
    return ek_ask_refuse(r, EK_REASON_CONTEXT_LENGTH, "content", "is longer than the context of %u tokens.",
                         s->ctx_tokens);
}

/* {"content": text} or {"messages": [...]} -> {"count": n, "tokens": [...]} */
static bool tokenize(struct ek_ask_reader *r, struct ek_call *c, json_t *root, struct ek_buf *out)
{
    struct ek_ids ids = {.count_max = c->serve->ctx_tokens};
    bool good = encode(r, c, root, &ids);
    if (good) ek_buf_printf(out, "{\"count\":%zu,\"tokens\":[", ids.count);
    for (size_t i = 0; good && i < ids.count; i++) ek_buf_printf(out, i ? ",%u" : "%u", ids.data[i]);
    if (good) ek_buf_lit(out, "]}");
    ek_ids_free(&ids);
    return good;
}

/* {"tokens": [...]} -> {"content": text, "prompt": the same}. Special tokens by their names; bytes that are
 * no character as U+FFFD. */
static bool detokenize(struct ek_ask_reader *r, struct ek_call *c, json_t *root, struct ek_buf *out)
{
    const struct ek_serve *s = c->serve;
    json_t *list = ek_ask_member(root, "tokens");
    struct ek_buf text = ek_buf_make((size_t)s->ctx_tokens * ek_tokenizer_longest(s->tokenizer) + 1);
    uint32_t *ids = NULL;
    size_t count = 0;
    bool good = list != NULL;
    if (!good) ek_ask_refuse(r, EK_REASON_MISSING_PARAM, "tokens", "is missing.");
    else if (!json_is_array(list))
        good = ek_ask_refuse(r, EK_REASON_WRONG_TYPE, "tokens", "must be a list of token ids.");
    good = good && ek_ask_ids(r, list, "tokens", &ids, &count);
    for (size_t i = 0; good && i < count; i++) {
        if (ids[i] < s->vocab) ek_buf_str(&text, ek_tokenizer_bytes(s->tokenizer, ids[i]));
        else good = ek_ask_refuse(r, EK_REASON_BAD_VALUE, "tokens", "has an id that the vocabulary has not.");
    }
    MUST(!text.failed);
    if (good) {
        ek_buf_lit(out, "{\"content\":");
        ek_json_put_string(out, ek_buf_view(&text));
        ek_buf_lit(out, ",\"prompt\":");
        ek_json_put_string(out, ek_buf_view(&text));
        ek_buf_char(out, '}');
    }
    ek_buf_free(&text);
    free(ids);
    return good;
}

void ek_serve_tokens(struct ek_call *c)
{
    MUST_OBJ(c, EK_CALL_MAGIC);
    MUST(c->kind == EK_CALL_TOKENIZE || c->kind == EK_CALL_DETOKENIZE);
    struct ek_str body = ek_buf_view(&c->body);
    struct ek_ask_reader r = {&c->ask, &c->fault, "", c->serve->ctx_tokens};
    struct ek_buf out = ek_buf_make(ANSWER_BYTES_MAX);
    bool huge = ek_json_has_more(body, c->serve->ctx_tokens + VALUES_BESIDE), good = false;
    json_t *root = huge ? NULL : json_loadb(body.data ? body.data : "", body.len,
                                            JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    c->ask.made = json_array();
    MUST(c->ask.made);
    c->fault.reason = EK_REASON_NONE;
    if (huge) ek_ask_refuse(&r, EK_REASON_CONTEXT_LENGTH, "tokens", "are more than the context holds.");
    else if (!json_is_object(root)) ek_ask_refuse(&r, EK_REASON_BAD_JSON, "", "The body is no JSON object.");
    else good = c->kind == EK_CALL_TOKENIZE ? tokenize(&r, c, root, &out) : detokenize(&r, c, root, &out);
    MUST(good == (c->fault.reason == EK_REASON_NONE));
    if (good) {
        ek_serve_reply_json(c->req, 200, &out);
    } else {
        struct ek_error e = {.reason = c->fault.reason, .message = ek_str_of(c->fault.text),
                             .param = c->fault.param[0] ? c->fault.param : NULL};
        ek_call_refuse(c, &e);
    }
    ek_buf_free(&out);
    json_decref(root);
}
