/* SPDX-License-Identifier: MIT */
/* What a model file is, whether and how this machine would run it, and what memory that takes: the text
 * of `evenkeel check MODEL`. Reads keys and tables, never tensor data, so that a file of hundreds of
 * gigabytes takes as long as a small one; allocates in proportion to its vocabulary. */
#ifndef EK_ENGINE_INSPECT_H
#define EK_ENGINE_INSPECT_H

#include "base/buf.h"
#include "base/status.h"

#include <stdint.h>

/* Lines for a person into `out`. kv_tokens: how many tokens' KV cache to reckon with; 0: one sequence of
 * the file's whole context. EK_OK: it will run. EK_INVALID (not this file) or EK_IO (no such file):
 * `reasons` has a line for each reason, the first complete in itself. */
EK_CHECKED enum ek_status ek_inspect(const char *path, uint64_t kv_tokens, struct ek_buf *out,
                                     struct ek_buf *reasons);

#endif
