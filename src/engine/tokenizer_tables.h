/* SPDX-License-Identifier: MIT */
/* The inside of a tokenizer: the tables that tokenizer_tables.c builds and tokenizer.c reads. Private
 * to these two files; everybody else uses tokenizer.h.
 *
 *   symbols   0 ............ token_count .............. symbol_count
 *             tokens of the file         strings that only occur half-way through merges,
 *                                        and bytes that have no token
 *   index     hash of bytes -> symbol, normal tokens and half-way strings only */
#ifndef EK_ENGINE_TOKENIZER_TABLES_H
#define EK_ENGINE_TOKENIZER_TABLES_H

#include "engine/bpe.h"
#include "engine/pretok.h"
#include "engine/tokenizer.h"

enum { EK_TOKENIZER_MAGIC = 0x544f4b4e };

struct ek_special {
    uint32_t id;
    bool everywhere; /* also in text that a user wrote: see "Markers" in tokenizer.h */
};

struct ek_tokenizer {
    uint32_t magic;
    struct ek_pretok *pretok;
    char *arena; /* all bytes of all symbols */
    size_t arena_bytes, arena_cap;
    struct ek_str *bytes; /* [symbol_count] */
    size_t token_count, symbol_count, symbol_cap;
    uint8_t *kinds; /* [token_count] enum ek_token_kind */
    uint8_t *whole; /* [token_count] 1: merging the token's bytes gives the token itself */
    int32_t *index; /* [index_mask + 1] symbol or -1 */
    size_t index_mask;
    int32_t byte_sym[256];
    struct ek_merges merges;
    struct ek_special *specials; /* by first byte, longest first */
    size_t special_count;
    size_t special_from[257]; /* special_from[b] .. special_from[b + 1]: those that begin with byte b */
    uint32_t bos, eos, eot;
    bool add_bos;
    size_t longest;
};

/* The symbol with these bytes, or -1. */
int32_t ek_symbols_find(const struct ek_tokenizer *t, struct ek_str bytes);

#endif
