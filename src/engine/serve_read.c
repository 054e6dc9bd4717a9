/* SPDX-License-Identifier: MIT */
/* From a body to a prompt: read the JSON, find the model's name, decide on thinking, render the template.
 * Runs on the loop thread or on a helper thread: touches the call it is given and the constants of the
 * server (tokenizer, template, names), and nothing that changes. */
#include "engine/ask_inside.h"
#include "engine/serve_inside.h"

#include <stdio.h>
#include <stdlib.h>

static bool refuse(struct ek_call *c, enum ek_reason reason, const char *param, const char *text)
{
    c->fault.reason = reason;
    snprintf(c->fault.param, sizeof c->fault.param, "%s", param);
    snprintf(c->fault.text, sizeof c->fault.text, "%s", text);
    return false;
}

static const struct ek_str chat_alias = {"deepseek-chat", 13}, reasoner_alias = {"deepseek-reasoner", 17};

/* The names of DeepSeek's API that clients have built in: one model, thinking off and on. */
static bool know_model(struct ek_call *c)
{
    const struct ek_serve *s = c->serve;
    struct ek_str m = c->ask.model;
    bool known = m.len == 0 || ek_str_eq(m, ek_str_of(s->model)) || ek_str_eq(m, chat_alias) ||
                 ek_str_eq(m, reasoner_alias);
    for (size_t i = 0; !known && i < s->aliases.count; i++) {
        known = ek_str_eq(m, ek_str_of(s->aliases.item[i]));
    }
    if (known) return true;
    refuse(c, EK_REASON_MODEL_UNKNOWN, "model", "");
    snprintf(c->fault.text, sizeof c->fault.text, "This model does not exist here; there is: %.120s.",
             s->model);
    return false;
}

static bool wants_thought(const struct ek_call *c)
{
    if (!c->serve->chat.can_think || c->ask.thinking_budget == 0) return false;
    if (c->ask.thinking != EK_ASK_THINK_DEFAULT) return c->ask.thinking == EK_ASK_THINK_ON;
    return !ek_str_eq(c->ask.model, chat_alias);
}

static bool can_do(struct ek_call *c)
{
    if (c->ask.n > 1 && c->ask.continues) {
        return refuse(c, EK_REASON_UNSUPPORTED, "ek.prefix",
                      "'ek.prefix' goes on with one answer: 'n' must be 1.");
    }
    return true;
}

static bool too_long(struct ek_call *c)
{
    refuse(c, EK_REASON_CONTEXT_LENGTH, c->kind == EK_CALL_CHAT ? "messages" : "prompt", "");
    snprintf(c->fault.text, sizeof c->fault.text,
             "The prompt fills the model's context of %u tokens: no answer would fit.", c->serve->ctx_tokens);
    return false;
}

static bool ids_exist(struct ek_call *c, const uint32_t *ids, size_t count, const char *param)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] >= c->serve->vocab) {
            return refuse(c, EK_REASON_BAD_VALUE, param, "A token id is outside the vocabulary.");
        }
    }
    return true;
}

static enum ek_status render_chat(struct ek_call *c, struct ek_encoder *e)
{
    const struct ek_serve *s = c->serve;
    const struct ek_ask *a = &c->ask;
    struct ek_tool tools[EK_ASK_TOOLS_MAX];
    size_t count = a->choice != EK_CHOICE_NONE ? a->tool_count : 0;
    for (size_t i = 0; i < count; i++) tools[i] = a->tools[i].told;
    struct ek_chat_ask ask = {.messages = a->messages, .count = a->message_count, .tools = tools,
                              .tool_count = count, .thinking = c->thinks};
    return ek_template_render_ask(&s->chat, s->tokenizer, e, &ask, &c->prompt, &c->end);
}

static bool render(struct ek_call *c, struct ek_encoder *e)
{
    const struct ek_serve *s = c->serve;
    const struct ek_ask *a = &c->ask;
    c->prompt.count_max = s->ctx_tokens;
    enum ek_status st = EK_OK;
    if (c->kind == EK_CALL_CHAT) {
        c->thinks = wants_thought(c);
        st = render_chat(c, e);
        c->thinks = c->end.open_thought || c->end.may_think;
    } else if (a->prompt_ids) {
        if (!ids_exist(c, a->prompt_ids, a->prompt_id_count, "prompt")) return false;
        for (size_t i = 0; i < a->prompt_id_count && st == EK_OK; i++) {
            st = ek_ids_push(&c->prompt, a->prompt_ids[i]);
        }
    } else {
        if (ek_tokenizer_add_bos(s->tokenizer) && ek_tokenizer_bos(s->tokenizer) != EK_TOKEN_NONE) {
            st = ek_ids_push(&c->prompt, ek_tokenizer_bos(s->tokenizer));
        }
        if (st == EK_OK) st = ek_tokenizer_encode(s->tokenizer, e, a->prompt, false, &c->prompt);
    }
    if (st != EK_OK || c->prompt.count + a->prefix_count >= s->ctx_tokens) return too_long(c);
    if (c->prompt.count == 0) return refuse(c, EK_REASON_BAD_VALUE, "prompt", "The prompt is empty.");
    for (uint32_t i = 0; i < a->bias_count; i++) {
        if (!ids_exist(c, &a->bias[i].id, 1, "logit_bias")) return false;
    }
    return ids_exist(c, a->prefix_ids, a->prefix_count, "ek.prefix");
}

static void open_choices(struct ek_call *c)
{
    MUST(!c->choices && c->ask.n >= 1 && c->ask.n <= EK_ASK_CHOICES_MAX);
    c->choices = calloc(c->ask.n, sizeof *c->choices);
    MUST(c->choices);
    c->choice_count = c->ask.n;
    for (uint32_t i = 0; i < c->choice_count; i++) {
        c->choices[i].call = c;
        c->choices[i].index = i;
    }
}

void ek_call_read(struct ek_call *c, struct ek_encoder *encoder)
{
    MUST_OBJ(c, EK_CALL_MAGIC);
    MUST(c->state == EK_CALL_AT_READING);
    enum ek_api api = c->kind == EK_CALL_CHAT ? EK_API_CHAT : EK_API_COMPLETIONS;
    if (!ek_ask_read(&c->ask, api, ek_buf_view(&c->body), c->serve->ctx_tokens, &c->fault)) return;
    c->fault.reason = EK_REASON_NONE;
    open_choices(c);
    if (know_model(c) && can_do(c) && render(c, encoder) &&
        ek_call_shape(c)) MUST(c->fault.reason == EK_REASON_NONE);
    else MUST(c->fault.reason != EK_REASON_NONE);
}
