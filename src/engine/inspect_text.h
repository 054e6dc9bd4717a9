/* SPDX-License-Identifier: MIT */
/* Inside inspect: the text side of a model file (tokenizer and chat template). */
#ifndef EK_ENGINE_INSPECT_TEXT_H
#define EK_ENGINE_INSPECT_TEXT_H

#include "base/buf.h"
#include "engine/gguf.h"

/* One line into `out`, or reasons why the engine would not start with this file. `vocab` is how many
 * tokens the model computes; 0: unknown. */
void ek_inspect_text(const struct ek_gguf *g, uint64_t vocab, struct ek_buf *out, struct ek_buf *reasons);

#endif
