/* SPDX-License-Identifier: MIT */
/* Any texts as messages, tools and calls of a conversation, under every template: a prompt of known tokens,
 * or one that is too long; what people wrote never becomes a marker, and its bytes are all there. */
#include "base/utf8.h"
#include "engine/template.h"

#include "../unit/engine_vocab.h"

static struct ek_tokenizer *tokenizer;
static struct ek_encoder *encoder;

static struct ek_str take(struct ek_str *rest)
{
    size_t n = rest->len > 0 ? (unsigned char)rest->data[0] % 64u : 0;
    if (rest->len > 0) *rest = ek_str_skip(*rest, 1);
    if (n > rest->len) n = rest->len;
    struct ek_str s = ek_str_make(rest->data, ek_utf8_valid(ek_str_make(rest->data, n)));
    *rest = ek_str_skip(*rest, n);
    return s;
}

static size_t markers_in(const struct ek_ids *ids, uint32_t which)
{
    size_t n = 0;
    for (size_t i = 0; i < ids->count; i++) n += ids->data[i] == which;
    return n;
}

static void render(const char *family, struct ek_str rest)
{
    struct ek_template tp;
    struct ek_message m[8] = {0};
    struct ek_tool tools[2] = {0};
    struct ek_tool_call calls[8];
    char why[200];
    struct ek_chat_ask ask = {.messages = m, .tools = tools, .thinking = rest.len % 2};
    MUST(ek_template_choose(&tp, tokenizer, encoder, (struct ek_str){NULL, 0}, ek_str_of(family), why,
                            sizeof why) == EK_OK);
    size_t users = 0, bytes = 0;
    while (ask.count < EK_COUNT(m) && rest.len > 0) {
        struct ek_message *x = &m[ask.count];
        x->role = (enum ek_role)((unsigned char)rest.data[0] % 4u);
        x->content = take(&rest);
        if (x->role == EK_ROLE_ASSISTANT && rest.len % 3 == 0) {
            calls[ask.count] = (struct ek_tool_call){take(&rest), take(&rest)};
            x->calls = &calls[ask.count];
            x->call_count = 1;
        }
        users += x->role == EK_ROLE_USER;
        bytes += x->content.len;
        ask.count++;
    }
    if (rest.len > 0) {
        tools[0] = (struct ek_tool){take(&rest), take(&rest), take(&rest)};
        ask.tool_count = 1;
    }
    struct ek_ids ids = {.count_max = bytes % 7 == 0 ? 40 : 100000};
    struct ek_prompt_end end;
    enum ek_status s = ek_template_render_ask(&tp, tokenizer, encoder, &ask, &ids, &end);
    MUST(s == EK_OK || s == EK_FULL);
    for (size_t i = 0; i < ids.count; i++) MUST(ids.data[i] < ek_tokenizer_count(tokenizer));
    MUST(markers_in(&ids, tp.mark[EK_MARK_USER]) <= users);
    ek_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const families[] = {"v2", "v3", "r1", "v3.1"};
    if (!tokenizer) {
        tokenizer = tiny_make("gpt-2", NULL, deepseek_markers, EK_TOKEN_CONTROL);
        encoder = ek_encoder_new();
    }
    if (size == 0 || size > 4096) return 0;
    for (size_t i = 0; i < EK_COUNT(families); i++) render(families[i],
                                                           ek_str_make((const char *)data, size));
    return 0;
}
