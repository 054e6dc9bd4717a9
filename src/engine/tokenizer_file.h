/* SPDX-License-Identifier: MIT */
/* The tokenizer that a GGUF file describes: keys tokenizer.ggml.* (docs/gguf.md of ggml). */
#ifndef EK_ENGINE_TOKENIZER_FILE_H
#define EK_ENGINE_TOKENIZER_FILE_H

#include "engine/gguf.h"
#include "engine/tokenizer.h"

/* EK_INVALID (or EK_ABSENT: scheme or keys missing) with a sentence in `why`. The file may be closed
 * afterwards: the tokenizer copies what it keeps. */
EK_CHECKED enum ek_status ek_tokenizer_from_gguf(struct ek_tokenizer **out, const struct ek_gguf *g,
                                                 char *why, size_t why_cap);

#endif
