/* SPDX-License-Identifier: MIT */
/* States that look alike from near: for whatever symbols are read behind them, up to EK_GRAMMAR_NEAR, both
 * read them or neither does, and both rules end at the same places. A character class counted in a pattern
 * makes a chain of hundreds of states, of which nearly all are alike so; one mask serves them all.
 *
 * Moore's refinement ("Gedanken-experiments on sequential machines", 1956) with its rounds counted: classes
 * that no round splits any more are alike for ever. Exact, without trust in hashes: a schema is written by
 * strangers. Touches a grammar that is being finished and nothing else. */
#include "engine/grammar.h"

#include <stdlib.h>
#include <string.h>

struct round {
    const struct ek_grammar *g;
    uint32_t *class, *next; /* [states]: the first state like it, after the last round and this one */
    uint32_t *slots;        /* 1 + state; 0: free */
    size_t slot_count;      /* a power of two */
};

/* Only states that read and end, and count nothing: others are like themselves alone. */
static bool is_simple(const struct ek_grammar *g, uint32_t s)
{
    return s >= g->base_states && g->dfa.states[s].call_count == 0 &&
           g->rules[g->rule_of[s]].loop == EK_NO_STATE;
}

static bool alike(const struct round *r, uint32_t a, uint32_t b)
{
    const struct ek_grammar *g = r->g;
    const struct ek_dfa_state *x = &g->dfa.states[a], *y = &g->dfa.states[b];
    if (r->class[a] != r->class[b] || x->edge_count != y->edge_count) return false;
    for (uint32_t k = 0; k < x->edge_count; k++) {
        const struct ek_dfa_edge *p = &g->dfa.edges[x->edge + k], *q = &g->dfa.edges[y->edge + k];
        if (p->lo != q->lo || p->hi != q->hi || r->class[p->to] != r->class[q->to]) return false;
    }
    return true;
}

static size_t hash_of(const struct round *r, uint32_t s)
{
    const struct ek_dfa_state *x = &r->g->dfa.states[s];
    uint64_t h = r->class[s] * UINT64_C(0x9e3779b97f4a7c15);
    for (uint32_t k = x->edge; k < x->edge + x->edge_count; k++) {
        const struct ek_dfa_edge *e = &r->g->dfa.edges[k];
        h = (h ^ ((uint64_t)r->class[e->to] << 32 | (uint64_t)e->lo << 16 | e->hi)) * 0xff51afd7ed558ccdu;
        h ^= h >> 29;
    }
    return (size_t)(h >> 8) & (r->slot_count - 1);
}

/* What nothing has been read from yet can be told apart by. */
static void begin(struct round *r, size_t states)
{
    const struct ek_grammar *g = r->g;
    uint32_t first[2][EK_GRAMMAR_DEPTH_MAX + 2];
    memset(first, 0xff, sizeof first);
    for (uint32_t s = 0; s < states; s++) {
        unsigned height = g->height[s] <= EK_GRAMMAR_DEPTH_MAX ? g->height[s] : EK_GRAMMAR_DEPTH_MAX + 1;
        uint32_t *f = &first[g->dfa.states[s].final][height];
        r->class[s] = s;
        if (!is_simple(g, s)) continue;
        if (*f == UINT32_MAX) *f = s;
        r->class[s] = *f;
    }
}

/* True: some class fell apart. */
static bool refine(struct round *r, size_t states)
{
    bool split = false;
    memset(r->slots, 0, r->slot_count * sizeof *r->slots);
    for (uint32_t s = 0; s < states; s++) {
        r->next[s] = s;
        if (!is_simple(r->g, s)) continue;
        size_t at = hash_of(r, s);
        while (r->slots[at] && !alike(r, r->slots[at] - 1, s)) at = (at + 1) & (r->slot_count - 1);
        if (!r->slots[at]) r->slots[at] = s + 1;
        r->next[s] = r->slots[at] - 1;
        split = split || r->next[s] != r->class[s];
    }
    uint32_t *old = r->class;
    r->class = r->next;
    r->next = old;
    return split;
}

void ek_grammar_find_near(struct ek_grammar *g)
{
    size_t n = g->dfa.state_count;
    struct round r = {.g = g, .slot_count = 64};
    bool split = true;
    MUST(g->height && !g->like);
    while (r.slot_count < 2 * n) r.slot_count *= 2;
    r.class = malloc((n + 1) * sizeof *r.class);
    r.next = malloc((n + 1) * sizeof *r.next);
    r.slots = malloc(r.slot_count * sizeof *r.slots);
    g->nearly = calloc(n + 1, sizeof *g->nearly);
    MUST(r.class && r.next && r.slots && g->nearly);
    begin(&r, n);
    for (int i = 0; i < EK_GRAMMAR_NEAR && split; i++) split = refine(&r, n);
    for (uint32_t s = 0; s < n; s++) { /* whether farther on they differ is not known */
        MUST(r.class[s] <= s);
        if (split && r.class[s] != s) g->nearly[r.class[s]] = true;
    }
    g->like = r.class;
    free(r.next);
    free(r.slots);
}
