/* SPDX-License-Identifier: MIT */
/* Rules into one table, and what is known of it: which rules read nothing, whether one calls itself before
 * reading, how deep each state must still go. Pure; linear in the size of the grammar but for the fixpoint
 * over rules that read nothing. */
#include "engine/grammar.h"

#include <stdlib.h>
#include <string.h>

void ek_grammar_free(struct ek_grammar *g)
{
    ek_dfa_free(&g->dfa);
    free(g->rules);
    free(g->rule_of);
    free(g->height);
    free(g->bare);
    free(g->plain);
    free(g->like);
    free(g->nearly);
    *g = (struct ek_grammar){0};
}

uint32_t ek_grammar_reserve(struct ek_grammar *g)
{
    MUST(!g->height);
    if (g->rule_count >= EK_GRAMMAR_RULES_MAX) return EK_NO_RULE;
    if (g->rule_count == g->rule_cap) {
        g->rule_cap = g->rule_cap ? g->rule_cap * 2 : 32;
        g->rules = realloc(g->rules, g->rule_cap * sizeof *g->rules);
        MUST(g->rules);
    }
    g->rules[g->rule_count] = (struct ek_rule){.start = EK_NO_STATE, .loop = EK_NO_STATE,
                                               .most = EK_COUNT_UNBOUNDED};
    return (uint32_t)g->rule_count++;
}

static void note_rule(struct ek_grammar *g, uint32_t state, uint32_t rule)
{
    if (state >= g->rule_of_cap) {
        g->rule_of_cap = 2 * g->rule_of_cap + state + 64;
        g->rule_of = realloc(g->rule_of, g->rule_of_cap * sizeof *g->rule_of);
        MUST(g->rule_of);
    }
    g->rule_of[state] = rule;
}

bool ek_grammar_define(struct ek_grammar *g, uint32_t rule, struct ek_dfa *d)
{
    uint32_t base = (uint32_t)g->dfa.state_count;
    MUST(rule < g->rule_count && g->rules[rule].start == EK_NO_STATE);
    MUST(d->state_count > 0);
    if (base + d->state_count > EK_DFA_STATES_MAX) return false;
    g->rules[rule].start = base;
    for (size_t i = 0; i < d->state_count; i++) {
        const struct ek_dfa_state *s = &d->states[i];
        note_rule(g, ek_dfa_state(&g->dfa, s->final), rule);
        for (uint32_t k = s->edge; k < s->edge + s->edge_count; k++) {
            ek_dfa_edge(&g->dfa, d->edges[k].lo, d->edges[k].hi, base + d->edges[k].to);
        }
        for (uint32_t k = s->call; k < s->call + s->call_count; k++) {
            ek_dfa_call(&g->dfa, d->calls[k].rule, base + d->calls[k].to);
        }
    }
    ek_dfa_free(d);
    return true;
}

bool ek_grammar_define_nfa(struct ek_grammar *g, uint32_t rule, const struct ek_nfa *n, uint32_t start,
                           uint32_t end)
{
    struct ek_dfa d;
    if (!ek_nfa_determinize(n, start, end, EK_DFA_STATES_MAX, &d)) return false;
    bool fits = ek_grammar_define(g, rule, &d);
    ek_dfa_free(&d);
    return fits;
}

/* ---- rules that read nothing, and those that begin with themselves ---------------------------- */

/* Can the rule of `state` end at or behind it without reading? Calls of rules known to need no reading are
 * followed. Loops of such calls are cut by `seen`. */
static bool ends_unread(const struct ek_grammar *g, const bool *nullable, uint32_t state, bool *seen)
{
    const struct ek_dfa_state *s = &g->dfa.states[state];
    if (s->final) return true;
    if (seen[state]) return false;
    seen[state] = true;
    for (uint32_t k = s->call; k < s->call + s->call_count; k++) {
        const struct ek_dfa_call *c = &g->dfa.calls[k];
        if (nullable[c->rule] && ends_unread(g, nullable, c->to, seen)) return true;
    }
    return false;
}

static bool *find_nullable(const struct ek_grammar *g)
{
    bool *nullable = calloc(g->rule_count, sizeof *nullable);
    bool *seen = calloc(g->dfa.state_count, sizeof *seen);
    MUST(nullable && seen);
    for (bool more = true; more;) {
        more = false;
        memset(seen, 0, g->dfa.state_count * sizeof *seen);
        for (size_t r = 0; r < g->rule_count; r++) {
            if (nullable[r] || !ends_unread(g, nullable, g->rules[r].start, seen)) continue;
            nullable[r] = more = true;
        }
    }
    free(seen);
    return nullable;
}

/* A depth-first search over what is reached from a state without reading; colours as usual. Its own stack,
 * because a chain of such steps may be as long as the grammar. */
struct search {
    const struct ek_grammar *g;
    const bool *nullable;
    uint8_t *colour; /* 0 new, 1 on the path, 2 done */
    struct { uint32_t state, edge; } *path;
    size_t length;
};

static bool step_in(struct search *x, uint32_t state)
{
    if (x->colour[state] == 1) return false;
    if (x->colour[state] == 2) return true;
    x->colour[state] = 1;
    x->path[x->length].state = state;
    x->path[x->length++].edge = 0;
    return true;
}

static bool loops_from(struct search *x, uint32_t state)
{
    const struct ek_grammar *g = x->g;
    x->length = 0;
    if (!step_in(x, state)) return true;
    while (x->length > 0) {
        uint32_t at = x->path[x->length - 1].state, edge = x->path[x->length - 1].edge++;
        const struct ek_dfa_state *s = &g->dfa.states[at];
        if (edge / 2 >= s->call_count) { /* each call is looked at twice: into it, and past it */
            x->colour[at] = 2;
            x->length--;
            continue;
        }
        const struct ek_dfa_call *c = &g->dfa.calls[s->call + edge / 2];
        if (edge % 2 == 0 && !step_in(x, g->rules[c->rule].start)) return true;
        if (edge % 2 == 1 && x->nullable[c->rule] && !step_in(x, c->to)) return true;
    }
    return false;
}

static bool endless(const struct ek_grammar *g)
{
    size_t n = g->dfa.state_count;
    bool *nullable = find_nullable(g), bad = false;
    struct search x = {.g = g, .nullable = nullable, .colour = calloc(n, 1)};
    x.path = calloc(n + 1, sizeof *x.path);
    MUST(x.colour && x.path);
    for (uint32_t s = 0; s < n && !bad; s++) {
        if (x.colour[s] == 0) bad = loops_from(&x, s);
    }
    free(nullable);
    free(x.colour);
    free(x.path);
    return bad;
}

/* ---- heights --------------------------------------------------------------------------------- */

/* Backwards edges: who reaches a state by reading, by returning to it, or calls its rule. */
struct back {
    uint32_t *first; /* [n + 1] */
    uint32_t *item;
};

static void back_free(struct back *b)
{
    free(b->first);
    free(b->item);
}

/* Bring `count` pairs (key, item) into order of keys. */
static struct back back_make(size_t n, const uint32_t *keys, const uint32_t *items, size_t count)
{
    struct back b = {calloc(n + 2, sizeof *b.first), malloc((count + 1) * sizeof *b.item)};
    MUST(b.first && b.item);
    for (size_t i = 0; i < count; i++) b.first[keys[i] + 2]++;
    for (size_t i = 1; i < n + 2; i++) b.first[i] += b.first[i - 1];
    for (size_t i = 0; i < count; i++) b.item[b.first[keys[i] + 1]++] = items[i];
    return b;
}

/* States whose height is to be `level` unless they have one: a list for each level. */
struct levels {
    struct { uint32_t *state; size_t count, cap; } at[EK_GRAMMAR_DEPTH_MAX + 1];
};

static void propose(struct levels *l, uint32_t state, unsigned level)
{
    if (level > EK_GRAMMAR_DEPTH_MAX) return;
    if (l->at[level].count == l->at[level].cap) {
        l->at[level].cap = l->at[level].cap ? 2 * l->at[level].cap : 64;
        l->at[level].state = realloc(l->at[level].state, l->at[level].cap * sizeof(uint32_t));
        MUST(l->at[level].state);
    }
    l->at[level].state[l->at[level].count++] = state;
}

struct climb {
    struct ek_grammar *g;
    struct back readers, returns, callers; /* keys: state, state, rule; items: state, call, call */
    uint32_t *source;                      /* [calls]: the state each call leaves */
    struct levels levels;
};

static bool readable(const struct ek_grammar *g, const struct ek_dfa_edge *e)
{
    for (unsigned s = e->lo; s <= e->hi; s++) {
        if (g->available[s]) return true;
    }
    return false;
}

static void find_back(struct climb *c)
{
    const struct ek_dfa *d = &c->g->dfa;
    size_t reads = 0, n = d->state_count;
    uint32_t *keys = malloc((d->edge_count + d->call_count + 1) * sizeof *keys);
    uint32_t *items = malloc((d->edge_count + d->call_count + 1) * sizeof *items);
    c->source = malloc((d->call_count + 1) * sizeof *c->source);
    MUST(keys && items && c->source);
    for (uint32_t s = 0; s < n; s++) {
        const struct ek_dfa_state *state = &d->states[s];
        for (uint32_t k = state->edge; k < state->edge + state->edge_count; k++) {
            if (!readable(c->g, &d->edges[k])) continue;
            keys[reads] = d->edges[k].to;
            items[reads++] = s;
        }
        for (uint32_t k = state->call; k < state->call + state->call_count; k++) c->source[k] = s;
    }
    c->readers = back_make(n, keys, items, reads);
    for (uint32_t k = 0; k < d->call_count; k++) {
        keys[k] = d->calls[k].to;
        items[k] = k;
    }
    c->returns = back_make(n, keys, items, d->call_count);
    for (uint32_t k = 0; k < d->call_count; k++) keys[k] = d->calls[k].rule;
    c->callers = back_make(c->g->rule_count, keys, items, d->call_count);
    free(keys);
    free(items);
}

/* Both ends of a call are known: so is what it takes to get over it. */
static void consider_call(struct climb *c, uint32_t call)
{
    const struct ek_grammar *g = c->g;
    const struct ek_dfa_call *k = &g->dfa.calls[call];
    unsigned behind = g->height[k->to], inside = g->height[g->rules[k->rule].start];
    if (behind == EK_NO_HEIGHT || inside == EK_NO_HEIGHT) return;
    if (!g->bare[k->to]) inside++;
    propose(&c->levels, c->source[call], inside > behind ? inside : behind);
}

static void settle(struct climb *c, uint32_t state, unsigned level)
{
    struct ek_grammar *g = c->g;
    if (g->height[state] != EK_NO_HEIGHT) return;
    g->height[state] = (uint16_t)level;
    for (uint32_t i = c->readers.first[state]; i < c->readers.first[state + 1]; i++) {
        propose(&c->levels, c->readers.item[i], level);
    }
    for (uint32_t i = c->returns.first[state]; i < c->returns.first[state + 1]; i++) {
        consider_call(c, c->returns.item[i]);
    }
    uint32_t rule = g->rule_of[state];
    if (g->rules[rule].start != state) return;
    for (uint32_t i = c->callers.first[rule]; i < c->callers.first[rule + 1]; i++) {
        consider_call(c, c->callers.item[i]);
    }
}

/* Level by level, as Dijkstra's algorithm with a queue for each distance. */
static void find_heights(struct ek_grammar *g)
{
    struct climb c = {.g = g};
    size_t n = g->dfa.state_count;
    g->height = malloc(n * sizeof *g->height);
    g->bare = calloc(n, sizeof *g->bare);
    g->plain = calloc(n, sizeof *g->plain);
    MUST(g->height && g->bare && g->plain);
    for (uint32_t s = 0; s < n; s++) {
        const struct ek_dfa_state *state = &g->dfa.states[s];
        g->height[s] = EK_NO_HEIGHT;
        g->bare[s] = state->final && state->edge_count == 0 && state->call_count == 0;
        g->plain[s] = !state->final && state->call_count == 0;
        if (state->final) propose(&c.levels, s, 0);
    }
    find_back(&c);
    for (unsigned level = 0; level <= EK_GRAMMAR_DEPTH_MAX; level++) {
        for (size_t i = 0; i < c.levels.at[level].count; i++) settle(&c, c.levels.at[level].state[i], level);
        free(c.levels.at[level].state);
    }
    back_free(&c.readers);
    back_free(&c.returns);
    back_free(&c.callers);
    free(c.source);
}

enum ek_grammar_end ek_grammar_finish(struct ek_grammar *g, uint32_t root)
{
    MUST(root < g->rule_count && !g->height);
    for (size_t r = 0; r < g->rule_count; r++) MUST(g->rules[r].start != EK_NO_STATE);
    g->root = root;
    if (endless(g)) return EK_GRAMMAR_ENDLESS;
    find_heights(g);
    ek_grammar_find_near(g);
    return g->height[g->rules[root].start] == EK_NO_HEIGHT ? EK_GRAMMAR_EMPTY : EK_GRAMMAR_FINE;
}
