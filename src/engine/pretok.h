/* SPDX-License-Identifier: MIT */
/* Pre-tokenisation: cutting text into the pieces inside which byte pairs may merge.
 *
 * A vocabulary names its scheme; a scheme is a list of patterns. The first pattern cuts the text into
 * matches and the gaps between them; every one of these, match or gap, is then cut by the next pattern
 * as if it were a text of its own (what lies before it cannot be seen), and so on. The last cuts are
 * the pieces; joined they are the text, byte for byte.
 *
 * Patterns are compiled once (PCRE2, JIT where the system allows it) and then only read: one ek_pretok
 * may serve several threads, each with a matcher of its own. Schemes and where they come from:
 *   deepseek-v3   tokenizer.json of DeepSeek-V3 (pre_tokenizer.Sequence)
 *   deepseek-llm  tokenizer.json of DeepSeek-LLM and DeepSeek-V2
 *   deepseek-coder  tokenizer.json of DeepSeek-Coder
 *   gpt-2         the pattern of GPT-2's encoder.py
 *   qwen2, deepseek-r1-qwen, llama-bpe: tokenizer.json of Qwen2 and Llama 3 */
#ifndef EK_ENGINE_PRETOK_H
#define EK_ENGINE_PRETOK_H

#include "base/status.h"
#include "base/str.h"

struct ek_pretok;
struct ek_matcher; /* what one thread needs to match: match data and JIT stack */

/* EK_ABSENT: a scheme this build does not know. */
EK_CHECKED enum ek_status ek_pretok_new(struct ek_pretok **out, struct ek_str scheme);
void ek_pretok_free(struct ek_pretok **p);

/* True when a piece that is a token as a whole is taken as that token without merging (Llama 3). */
bool ek_pretok_ignores_merges(const struct ek_pretok *p);

struct ek_matcher *ek_matcher_new(void);
void ek_matcher_free(struct ek_matcher **m);

/* Calls piece(ctx, view) for each piece of `text` in order; views point into text. `text` must be
 * valid UTF-8. Stops early when piece returns false, and then returns false itself. A pattern that
 * runs into PCRE2's own limits leaves the rest of its segment uncut and adds one to *misses. */
typedef bool ek_piece_fn(void *ctx, struct ek_str piece);
bool ek_pretok_cut(const struct ek_pretok *p, struct ek_matcher *m, struct ek_str text,
                   ek_piece_fn *piece, void *ctx, uint64_t *misses);

#endif
