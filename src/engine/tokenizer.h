/* SPDX-License-Identifier: MIT */
/* Text to token ids and back: byte-level BPE ("gpt2" vocabularies of GGUF files).
 *
 * A tokenizer is built once and then only read, by any number of threads; each thread that encodes
 * owns an ek_encoder (matching and merging need work space). Nothing here opens files or logs.
 *
 * Markers. Tokens such as <think> or <｜User｜> are recognised only where the caller says so, which is
 * in the text of a template, never in what a user wrote: there the same characters are plain text.
 * (llama.cpp cuts out user-defined tokens everywhere; DeepSeek-V3's markers are user-defined, so that
 * would let any user close a thought or speak as the assistant.) The exception is user-defined tokens
 * that hold neither ASCII punctuation nor a fullwidth bar, as the `ö` of DeepSeek-V2: these are how
 * the model was taught to read the letter, and are cut out everywhere.
 *
 * Input that is not UTF-8 is refused by the API before it comes here. If it comes all the same, each
 * stray byte becomes a piece of its own; bytes for which the vocabulary has no token are left out and
 * counted. So decoding the ids gives back the text exactly whenever `lost_bytes` did not move. */
#ifndef EK_ENGINE_TOKENIZER_H
#define EK_ENGINE_TOKENIZER_H

#include "base/status.h"
#include "base/str.h"

enum ek_token_kind { /* the numbers of tokenizer.ggml.token_type */
    EK_TOKEN_NORMAL = 1,
    EK_TOKEN_UNKNOWN = 2,
    EK_TOKEN_CONTROL = 3,
    EK_TOKEN_USER = 4,
    EK_TOKEN_UNUSED = 5,
    EK_TOKEN_BYTE = 6,
};

#define EK_TOKEN_NONE UINT32_MAX

/* A vocabulary as it lies in a file. All views are borrowed until ek_tokenizer_new returns. */
struct ek_vocab {
    const struct ek_str *tokens; /* byte-mapped text, index = id */
    size_t token_count;
    const int32_t *kinds; /* enum ek_token_kind each; NULL: what is byte-mapped is normal, else control */
    const struct ek_str *merges; /* "left right", lowest rank first */
    size_t merge_count;
    bool merge_by_id; /* no list of merges: two tokens merge when their joint bytes are one, rank = its id */
    struct ek_str pre;    /* tokenizer.ggml.pre: a scheme of pretok.h */
    uint32_t bos, eos, eot; /* EK_TOKEN_NONE where the file has none */
    bool add_bos;
};

/* Named limits on what a file may claim. */
enum {
    EK_VOCAB_TOKENS_MAX = 1 << 21,
    EK_VOCAB_MERGES_MAX = 1 << 22,
    EK_VOCAB_TOKEN_BYTES_MAX = 4096, /* the longest in the wild: 256 */
    EK_TOKENIZER_PIECE_BYTES = 1 << 18, /* a longer piece is cut here, so that merging it stays bounded */
};

struct ek_tokenizer;

/* EK_INVALID with a sentence in why[why_cap] when the vocabulary cannot be used; EK_ABSENT when only
 * its pre-tokenisation scheme is unknown (also with a sentence). */
EK_CHECKED enum ek_status ek_tokenizer_new(struct ek_tokenizer **out, const struct ek_vocab *v,
                                           char *why, size_t why_cap);
void ek_tokenizer_free(struct ek_tokenizer **t);

size_t ek_tokenizer_count(const struct ek_tokenizer *t);
uint32_t ek_tokenizer_bos(const struct ek_tokenizer *t);
uint32_t ek_tokenizer_eos(const struct ek_tokenizer *t);
uint32_t ek_tokenizer_eot(const struct ek_tokenizer *t);
bool ek_tokenizer_add_bos(const struct ek_tokenizer *t);
size_t ek_tokenizer_longest(const struct ek_tokenizer *t); /* bytes of the longest token */

/* The bytes a token stands for: valid while the tokenizer lives. A control token has its text too
 * (whether to show it is the caller's business). Empty for an id outside the vocabulary. */
struct ek_str ek_tokenizer_bytes(const struct ek_tokenizer *t, uint32_t id);
enum ek_token_kind ek_tokenizer_kind(const struct ek_tokenizer *t, uint32_t id);

/* The id of the token whose bytes are `text`, whatever its kind; EK_TOKEN_NONE. Linear: for start-up. */
uint32_t ek_tokenizer_find(const struct ek_tokenizer *t, struct ek_str text);

/* A growing list of ids with a limit. Zero with count_max set is an empty list. */
struct ek_ids {
    uint32_t *data;
    size_t count;
    size_t cap;
    size_t count_max;
};

EK_CHECKED enum ek_status ek_ids_push(struct ek_ids *ids, uint32_t id); /* EK_FULL beyond count_max */
void ek_ids_free(struct ek_ids *ids);

struct ek_encoder; /* one a thread */
struct ek_encoder *ek_encoder_new(void);
void ek_encoder_free(struct ek_encoder **e);

struct ek_encoder_counters {
    uint64_t lost_bytes;     /* bytes the vocabulary cannot say */
    uint64_t cut_pieces;     /* pieces longer than EK_TOKENIZER_PIECE_BYTES */
    uint64_t pattern_misses; /* a pattern ran into the limits of PCRE2 */
};
struct ek_encoder_counters ek_encoder_counters(const struct ek_encoder *e);

/* Append the ids of `text`; no BOS is added. EK_FULL when ids->count_max is reached: the ids so far stay,
 * but when the text cannot fit however well it merges, none are written. `markers`: recognise marker
 * tokens, for template text only. Time is linear in the text but for a factor log(piece) on long pieces. */
EK_CHECKED enum ek_status ek_tokenizer_encode(const struct ek_tokenizer *t, struct ek_encoder *e,
                                              struct ek_str text, bool markers, struct ek_ids *ids);

#endif
