/* SPDX-License-Identifier: MIT */
/* Opens tokenizer and template as the server does, only to tell what they are. */
#include "engine/inspect_text.h"

#include "engine/template.h"
#include "engine/tokenizer_file.h"

#include <stdio.h>

static void inspect_template(const struct ek_gguf *g, const struct ek_tokenizer *t, struct ek_buf *out,
                             struct ek_buf *reasons)
{
    struct ek_template chosen;
    struct ek_str text = {NULL, 0};
    char why[256];
    struct ek_encoder *e = ek_encoder_new();
    if (ek_gguf_str(g, "tokenizer.chat_template", &text) == EK_INVALID) {
        ek_buf_lit(reasons, "the key tokenizer.chat_template is not a string\n");
    } else if (ek_template_choose(&chosen, t, e, text, EK_STR(""), why, sizeof why) != EK_OK) {
        ek_buf_printf(reasons, "%s\n", why);
    } else {
        ek_buf_printf(out, "chat        template %s, %s\n", ek_template_name(&chosen),
                      chosen.can_think ? "can think" : "does not think");
    }
    ek_encoder_free(&e);
}

void ek_inspect_text(const struct ek_gguf *g, uint64_t vocab, struct ek_buf *out, struct ek_buf *reasons)
{
    struct ek_tokenizer *t = NULL;
    char why[256] = "";
    if (ek_tokenizer_from_gguf(&t, g, why, sizeof why) != EK_OK) {
        ek_buf_printf(reasons, "%s\n", why);
        return;
    }
    if (vocab && ek_tokenizer_count(t) > vocab) {
        ek_buf_printf(reasons, "the vocabulary names %zu tokens, the model computes %llu\n",
                      ek_tokenizer_count(t), (unsigned long long)vocab);
    }
    inspect_template(g, t, out, reasons);
    ek_tokenizer_free(&t);
}
