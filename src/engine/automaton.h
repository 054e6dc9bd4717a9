/* SPDX-License-Identifier: MIT */
/* Finite automata over bytes, for what an answer may look like (grammar.h).
 *
 *   struct ek_nfa   what is built: states, and edges that read a symbol, read nothing, or call a rule
 *   struct ek_dfa   the same language, at most one edge a symbol from each state (a call of a rule counts
 *                   as a symbol of its own)
 *
 * Symbols 0..255 are bytes; from EK_SYMBOL_MARK on stand tokens that have no bytes: the markers of a chat
 * template. Two further symbols exist only inside of pattern.c. Pure but for memory; all sizes have limits,
 * and what does not fit is said by `full`, sticky like a buffer's. Subset construction: Rabin, Scott 1959. */
#ifndef EK_ENGINE_AUTOMATON_H
#define EK_ENGINE_AUTOMATON_H

#include "base/must.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EK_SYMBOL_MARK = 256, /* + index of the marker */
    EK_SYMBOL_MARKS_MAX = 32,
    EK_SYMBOL_BEGIN = EK_SYMBOL_MARK + EK_SYMBOL_MARKS_MAX, /* of a text, for ^ */
    EK_SYMBOL_END,                                          /* of a text, for $ */
    EK_SYMBOLS,
    EK_NFA_EDGES_MAX = 1 << 19,
    EK_DFA_STATES_MAX = 1 << 15, /* of all rules of a grammar together */
    EK_DFA_SETS_MAX = 1 << 20,   /* members of all sets of states during construction */
};

struct ek_nfa_edge {
    uint32_t from, to;
    uint16_t lo, hi; /* symbols; lo > hi: none is read */
    uint32_t rule;   /* EK_NO_RULE: no call */
};

#define EK_NO_RULE UINT32_MAX

struct ek_nfa {
    struct ek_nfa_edge *edges; /* owned */
    size_t count, cap;
    uint32_t states;
    bool full; /* an edge was lost: the automaton must not be used */
};

void ek_nfa_free(struct ek_nfa *n);
uint32_t ek_nfa_state(struct ek_nfa *n); /* a new one */
void ek_nfa_range(struct ek_nfa *n, uint32_t from, uint32_t to, uint16_t lo, uint16_t hi);
void ek_nfa_skip(struct ek_nfa *n, uint32_t from, uint32_t to);
void ek_nfa_call(struct ek_nfa *n, uint32_t from, uint32_t to, uint32_t rule);

/* Behind `from`: one symbol, or all bytes of a text; the state behind it. */
uint32_t ek_nfa_symbol(struct ek_nfa *n, uint32_t from, uint16_t symbol);
uint32_t ek_nfa_text(struct ek_nfa *n, uint32_t from, const char *bytes, size_t len);

struct ek_dfa_edge {
    uint16_t lo, hi;
    uint32_t to;
};

struct ek_dfa_call {
    uint32_t rule, to;
};

/* Edges of a state: sorted, disjoint. Its calls: sorted by rule, each once. */
struct ek_dfa_state {
    uint32_t edge, call; /* the first of each */
    uint16_t edge_count, call_count;
    bool final;
};

struct ek_dfa { /* all owned */
    struct ek_dfa_state *states;
    size_t state_count, state_cap;
    struct ek_dfa_edge *edges;
    size_t edge_count, edge_cap;
    struct ek_dfa_call *calls;
    size_t call_count, call_cap;
};

void ek_dfa_free(struct ek_dfa *d);
uint32_t ek_dfa_state(struct ek_dfa *d, bool final);
void ek_dfa_edge(struct ek_dfa *d, uint16_t lo, uint16_t hi, uint32_t to); /* of the state made last */
void ek_dfa_call(struct ek_dfa *d, uint32_t rule, uint32_t to);            /* the same */

/* Where `symbol` leads, or EK_NO_STATE. */
#define EK_NO_STATE UINT32_MAX
static inline uint32_t ek_dfa_next(const struct ek_dfa *d, uint32_t state, uint16_t symbol)
{
    const struct ek_dfa_state *s = &d->states[state];
    const struct ek_dfa_edge *e = d->edges + s->edge;
    for (unsigned i = 0; i < s->edge_count && e[i].lo <= symbol; i++) {
        if (symbol <= e[i].hi) return e[i].to;
    }
    return EK_NO_STATE;
}

/* The language between two states of an NFA; state 0 of *out is its start. False: too large (or n->full);
 * *out then holds nothing. */
EK_CHECKED bool ek_nfa_determinize(const struct ek_nfa *n, uint32_t start, uint32_t end,
                                   uint32_t states_max, struct ek_dfa *out);

/* What both accept. Neither may have calls. False: too large. */
EK_CHECKED bool ek_dfa_intersect(const struct ek_dfa *a, const struct ek_dfa *b, uint32_t states_max,
                                 struct ek_dfa *out);

#endif
