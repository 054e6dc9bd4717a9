/* SPDX-License-Identifier: MIT */
/* A vocabulary as a tree of symbols: what its tokens begin with alike is looked at once. Built when a model
 * is opened and then only read.
 *
 * Nodes lie in preorder, so the children of node i are i + 1, nodes[i + 1].end, ... up to nodes[i].end. Only
 * ordinary tokens are in it, by their bytes, and the markers that are asked for, each by one symbol of its
 * own: a marker can never be written by its bytes, and text never contains one. */
#ifndef EK_ENGINE_TRIE_H
#define EK_ENGINE_TRIE_H

#include "engine/automaton.h"
#include "engine/tokenizer.h"

enum {
    EK_TRIE_TOKEN_BYTES_MAX = 256, /* longer tokens are left out: nothing needs them */
    EK_TRIE_UNWRITTEN_MAX = 20,
};

struct ek_trie_node {
    uint32_t token; /* that ends here, or EK_TOKEN_NONE; others with the same bytes follow by `same` */
    uint32_t end;   /* the first node that is not below this one */
    uint16_t symbol;
};

struct ek_trie {
    const struct ek_tokenizer *tokenizer;
    uint32_t vocab;
    struct ek_trie_node *nodes; /* [count]; 0 is the root */
    uint32_t count;
    uint32_t *same;             /* [vocab] */
    uint32_t marks[EK_SYMBOL_MARKS_MAX];
    uint32_t mark_count;
    uint32_t unwritten[EK_TRIE_UNWRITTEN_MAX];
    uint32_t unwritten_count;
    uint32_t longest;           /* bytes */
    bool available[EK_SYMBOLS]; /* symbols that are a token */
};

/* marks[mark_count]: tokens that become symbols EK_SYMBOL_MARK + i; EK_TOKEN_NONE: no such token. `vocab`:
 * ids of the model, at least those of the tokenizer. unwritten[]: tokens that mean something else, and are
 * never text: those that end an answer or a thought, whatever kind the file says they are of. The tokenizer
 * must outlive the tree. */
struct ek_trie *ek_trie_new(const struct ek_tokenizer *t, uint32_t vocab, const uint32_t *marks,
                            uint32_t mark_count, const uint32_t *unwritten, uint32_t unwritten_count);
void ek_trie_free(struct ek_trie **trie);

/* The symbols of a token; 0: it has none (control tokens and the like). out[EK_TRIE_TOKEN_BYTES_MAX]. */
size_t ek_trie_spell(const struct ek_trie *t, uint32_t id, uint16_t *out);

#endif
