/* SPDX-License-Identifier: MIT */
/* Building automata, the subset construction and the product. Pure; owns what it allocates. Must never
 * grow beyond the limits of the header, whatever it is given: schemas come from strangers. */
#include "engine/automaton.h"

#include <stdlib.h>
#include <string.h>

static void *grown(void *data, size_t count, size_t *cap, size_t item_bytes)
{
    if (count < *cap) return data;
    *cap = *cap ? *cap * 2 : 64;
    data = realloc(data, *cap * item_bytes);
    MUST(data);
    return data;
}

/* ---- nondeterministic ------------------------------------------------------------------------ */

void ek_nfa_free(struct ek_nfa *n)
{
    free(n->edges);
    *n = (struct ek_nfa){0};
}

uint32_t ek_nfa_state(struct ek_nfa *n)
{
    if (n->states >= EK_NFA_EDGES_MAX) {
        n->full = true;
        return 0;
    }
    return n->states++;
}

static void add(struct ek_nfa *n, struct ek_nfa_edge e)
{
    MUST(n->full || (e.from < n->states && e.to < n->states));
    if (n->full || n->count >= EK_NFA_EDGES_MAX) {
        n->full = true;
        return;
    }
    n->edges = grown(n->edges, n->count, &n->cap, sizeof *n->edges);
    n->edges[n->count++] = e;
}

void ek_nfa_range(struct ek_nfa *n, uint32_t from, uint32_t to, uint16_t lo, uint16_t hi)
{
    MUST(lo <= hi && hi < EK_SYMBOLS);
    add(n, (struct ek_nfa_edge){from, to, lo, hi, EK_NO_RULE});
}

void ek_nfa_skip(struct ek_nfa *n, uint32_t from, uint32_t to)
{
    add(n, (struct ek_nfa_edge){from, to, 1, 0, EK_NO_RULE});
}

void ek_nfa_call(struct ek_nfa *n, uint32_t from, uint32_t to, uint32_t rule)
{
    MUST(rule != EK_NO_RULE);
    add(n, (struct ek_nfa_edge){from, to, 1, 0, rule});
}

uint32_t ek_nfa_symbol(struct ek_nfa *n, uint32_t from, uint16_t symbol)
{
    uint32_t to = ek_nfa_state(n);
    ek_nfa_range(n, from, to, symbol, symbol);
    return to;
}

uint32_t ek_nfa_text(struct ek_nfa *n, uint32_t from, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) from = ek_nfa_symbol(n, from, (unsigned char)bytes[i]);
    return from;
}

/* ---- deterministic --------------------------------------------------------------------------- */

void ek_dfa_free(struct ek_dfa *d)
{
    free(d->states);
    free(d->edges);
    free(d->calls);
    *d = (struct ek_dfa){0};
}

uint32_t ek_dfa_state(struct ek_dfa *d, bool final)
{
    d->states = grown(d->states, d->state_count, &d->state_cap, sizeof *d->states);
    d->states[d->state_count] = (struct ek_dfa_state){
        .edge = (uint32_t)d->edge_count, .call = (uint32_t)d->call_count, .final = final};
    return (uint32_t)d->state_count++;
}

void ek_dfa_edge(struct ek_dfa *d, uint16_t lo, uint16_t hi, uint32_t to)
{
    struct ek_dfa_state *s = &d->states[d->state_count - 1];
    struct ek_dfa_edge *last = s->edge_count ? &d->edges[d->edge_count - 1] : NULL;
    MUST(lo <= hi && (!last || last->hi < lo));
    if (last && last->to == to && last->hi + 1 == lo) {
        last->hi = hi;
        return;
    }
    d->edges = grown(d->edges, d->edge_count, &d->edge_cap, sizeof *d->edges);
    d->edges[d->edge_count++] = (struct ek_dfa_edge){lo, hi, to};
    s->edge_count++;
}

void ek_dfa_call(struct ek_dfa *d, uint32_t rule, uint32_t to)
{
    struct ek_dfa_state *s = &d->states[d->state_count - 1];
    MUST(s->call_count < UINT16_MAX);
    d->calls = grown(d->calls, d->call_count, &d->call_cap, sizeof *d->calls);
    d->calls[d->call_count++] = (struct ek_dfa_call){rule, to};
    s->call_count++;
}

/* ---- subset construction --------------------------------------------------------------------- */

/* Sets of NFA states, each once: set i is pool[from[i] .. from[i + 1]), sorted. `slots` finds one by its
 * hash. The number of a set is the number of its state in the DFA. */
struct sets {
    uint32_t *pool;
    size_t pool_count, pool_cap;
    uint32_t *from;
    size_t count, cap; /* from[] has count + 1 entries */
    uint32_t *slots;   /* index + 1; 0: free */
    size_t slot_count; /* a power of two */
};

struct maker {
    const struct ek_nfa *n;
    struct ek_nfa_edge *edges; /* sorted by `from` */
    uint32_t *first;           /* [states + 1] */
    struct sets sets;
    uint32_t *mark, now;       /* [states]: in the set being made when equal to now */
    uint32_t *work;            /* [states] */
    uint32_t *next;            /* [states]: the set being made */
    size_t next_count;
    uint32_t states_max;
    bool full;
};

static int by_from(const void *a, const void *b)
{
    const struct ek_nfa_edge *x = a, *y = b;
    if (x->from != y->from) return x->from < y->from ? -1 : 1;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t hash_of(const uint32_t *set, size_t n)
{
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ set[i]) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return h;
}

static void rehash(struct sets *s)
{
    s->slot_count = s->slot_count ? s->slot_count * 2 : 256;
    free(s->slots);
    s->slots = calloc(s->slot_count, sizeof *s->slots);
    MUST(s->slots);
    for (size_t i = 0; i < s->count; i++) {
        size_t at = hash_of(s->pool + s->from[i], s->from[i + 1] - s->from[i]) & (s->slot_count - 1);
        while (s->slots[at]) at = (at + 1) & (s->slot_count - 1);
        s->slots[at] = (uint32_t)i + 1;
    }
}

/* The number of the set m->next, which is new or known. */
static uint32_t intern(struct maker *m)
{
    struct sets *s = &m->sets;
    if (2 * (s->count + 1) > s->slot_count) rehash(s);
    qsort(m->next, m->next_count, sizeof *m->next, by_number);
    size_t at = hash_of(m->next, m->next_count) & (s->slot_count - 1);
    for (; s->slots[at]; at = (at + 1) & (s->slot_count - 1)) {
        uint32_t i = s->slots[at] - 1;
        if (s->from[i + 1] - s->from[i] != m->next_count) continue;
        if (memcmp(s->pool + s->from[i], m->next, m->next_count * sizeof *m->next) == 0) return i;
    }
    if (s->count >= m->states_max || s->pool_count + m->next_count > EK_DFA_SETS_MAX) {
        m->full = true;
        return 0;
    }
    s->slots[at] = (uint32_t)s->count + 1;
    for (size_t i = 0; i < m->next_count; i++) {
        s->pool = grown(s->pool, s->pool_count, &s->pool_cap, sizeof *s->pool);
        s->pool[s->pool_count++] = m->next[i];
    }
    s->from = grown(s->from, s->count + 1, &s->cap, sizeof *s->from);
    s->from[s->count + 1] = (uint32_t)s->pool_count;
    return (uint32_t)s->count++;
}

static void begin_set(struct maker *m)
{
    m->now++;
    m->next_count = 0;
}

/* Put a state into the set being made, and all that is reached from it without reading. */
static void include(struct maker *m, uint32_t state)
{
    size_t todo = 0;
    if (m->mark[state] == m->now) return;
    m->mark[state] = m->now;
    m->work[todo++] = state;
    while (todo > 0) {
        uint32_t at = m->work[--todo];
        m->next[m->next_count++] = at;
        for (uint32_t i = m->first[at]; i < m->first[at + 1]; i++) {
            const struct ek_nfa_edge *e = &m->edges[i];
            if (e->lo <= e->hi || e->rule != EK_NO_RULE || m->mark[e->to] == m->now) continue;
            m->mark[e->to] = m->now;
            m->work[todo++] = e->to;
        }
    }
}

/* What leaves set i, copied because the pool moves as sets are added. */
static size_t leaving(const struct maker *m, size_t i, struct ek_nfa_edge **out)
{
    size_t n = 0;
    for (size_t k = m->sets.from[i]; k < m->sets.from[i + 1]; k++) {
        uint32_t at = m->sets.pool[k];
        n += m->first[at + 1] - m->first[at];
    }
    *out = malloc((n + 1) * sizeof **out);
    MUST(*out);
    n = 0;
    for (size_t k = m->sets.from[i]; k < m->sets.from[i + 1]; k++) {
        uint32_t at = m->sets.pool[k];
        for (uint32_t j = m->first[at]; j < m->first[at + 1]; j++) (*out)[n++] = m->edges[j];
    }
    return n;
}

/* The reading edges of a set, interval by interval between the places where any of them begins or ends. */
static void read_edges(struct maker *m, const struct ek_nfa_edge *edges, size_t n, struct ek_dfa *out)
{
    bool cut[EK_SYMBOLS + 1] = {false};
    for (size_t i = 0; i < n; i++) {
        if (edges[i].lo > edges[i].hi) continue;
        cut[edges[i].lo] = cut[edges[i].hi + 1] = true;
    }
    for (unsigned lo = 0; lo < EK_SYMBOLS && !m->full;) {
        unsigned hi = lo + 1;
        while (hi < EK_SYMBOLS && !cut[hi]) hi++;
        begin_set(m);
        for (size_t i = 0; i < n; i++) {
            if (edges[i].lo <= lo && lo <= edges[i].hi) include(m, edges[i].to);
        }
        if (m->next_count > 0) ek_dfa_edge(out, (uint16_t)lo, (uint16_t)(hi - 1), intern(m));
        lo = hi;
    }
}

static void call_edges(struct maker *m, const struct ek_nfa_edge *edges, size_t n, struct ek_dfa *out)
{
    uint32_t *rules = malloc((n + 1) * sizeof *rules);
    size_t count = 0;
    MUST(rules);
    for (size_t i = 0; i < n; i++) {
        if (edges[i].rule != EK_NO_RULE) rules[count++] = edges[i].rule;
    }
    qsort(rules, count, sizeof *rules, by_number);
    for (size_t k = 0; k < count && !m->full; k++) {
        if (k > 0 && rules[k] == rules[k - 1]) continue;
        begin_set(m);
        for (size_t i = 0; i < n; i++) {
            if (edges[i].rule == rules[k]) include(m, edges[i].to);
        }
        ek_dfa_call(out, rules[k], intern(m));
    }
    free(rules);
}

static void open_maker(struct maker *m, const struct ek_nfa *n, uint32_t states_max)
{
    size_t states = (size_t)n->states + 1;
    *m = (struct maker){.n = n, .states_max = states_max};
    m->edges = malloc((n->count + 1) * sizeof *m->edges);
    m->first = calloc(states + 1, sizeof *m->first);
    m->mark = calloc(states, sizeof *m->mark);
    m->work = malloc(states * sizeof *m->work);
    m->next = malloc(states * sizeof *m->next);
    MUST(m->edges && m->first && m->mark && m->work && m->next);
    if (n->count) memcpy(m->edges, n->edges, n->count * sizeof *m->edges);
    qsort(m->edges, n->count, sizeof *m->edges, by_from);
    for (size_t i = 0; i < n->count; i++) m->first[n->edges[i].from + 1]++;
    for (size_t i = 0; i < n->states; i++) m->first[i + 1] += m->first[i];
    m->sets.from = grown(NULL, 0, &m->sets.cap, sizeof *m->sets.from);
    m->sets.from[0] = 0;
}

static void close_maker(struct maker *m)
{
    free(m->edges);
    free(m->first);
    free(m->mark);
    free(m->work);
    free(m->next);
    free(m->sets.pool);
    free(m->sets.from);
    free(m->sets.slots);
}

bool ek_nfa_determinize(const struct ek_nfa *n, uint32_t start, uint32_t end, uint32_t states_max,
                        struct ek_dfa *out)
{
    struct maker m;
    *out = (struct ek_dfa){0};
    if (n->full) return false;
    MUST(start < n->states && end < n->states);
    open_maker(&m, n, states_max);
    begin_set(&m);
    include(&m, start);
    intern(&m);
    for (size_t i = 0; i < m.sets.count && !m.full; i++) {
        struct ek_nfa_edge *edges;
        size_t count = leaving(&m, i, &edges);
        bool final = bsearch(&end, m.sets.pool + m.sets.from[i], m.sets.from[i + 1] - m.sets.from[i],
                             sizeof end, by_number) != NULL;
        ek_dfa_state(out, final);
        read_edges(&m, edges, count, out);
        call_edges(&m, edges, count, out);
        free(edges);
    }
    if (m.full) ek_dfa_free(out);
    close_maker(&m);
    return !m.full;
}

/* ---- product --------------------------------------------------------------------------------- */

/* Pairs of states, each once, in a table of [a's states][b's states]. */
struct product {
    const struct ek_dfa *a, *b;
    uint32_t *number; /* index + 1; 0: not met */
    uint64_t *pairs;
    size_t count, cap;
    uint32_t states_max;
    bool full;
};

static uint32_t pair(struct product *p, uint32_t a, uint32_t b)
{
    uint32_t *number = &p->number[(size_t)a * p->b->state_count + b];
    if (*number) return *number - 1;
    if (p->count >= p->states_max) {
        p->full = true;
        return 0;
    }
    p->pairs = grown(p->pairs, p->count, &p->cap, sizeof *p->pairs);
    p->pairs[p->count] = (uint64_t)a << 32 | b;
    *number = (uint32_t)++p->count;
    return *number - 1;
}

static void pair_edges(struct product *p, uint32_t a, uint32_t b, struct ek_dfa *out)
{
    const struct ek_dfa_state *s = &p->a->states[a], *t = &p->b->states[b];
    if (!s->edge_count || !t->edge_count) return; /* there may be no edges at all */
    const struct ek_dfa_edge *e = p->a->edges + s->edge, *f = p->b->edges + t->edge;
    for (unsigned i = 0, j = 0; i < s->edge_count && j < t->edge_count && !p->full;) {
        uint16_t lo = e[i].lo > f[j].lo ? e[i].lo : f[j].lo;
        uint16_t hi = e[i].hi < f[j].hi ? e[i].hi : f[j].hi;
        if (lo <= hi) ek_dfa_edge(out, lo, hi, pair(p, e[i].to, f[j].to));
        if (e[i].hi < f[j].hi) i++;
        else j++;
    }
}

bool ek_dfa_intersect(const struct ek_dfa *a, const struct ek_dfa *b, uint32_t states_max,
                      struct ek_dfa *out)
{
    enum { PAIRS_MAX = 1 << 26 };
    struct product p = {.a = a, .b = b, .states_max = states_max};
    MUST(a->call_count == 0 && b->call_count == 0);
    MUST(a->state_count > 0 && b->state_count > 0);
    *out = (struct ek_dfa){0};
    if (a->state_count > PAIRS_MAX / b->state_count) return false;
    p.number = calloc(a->state_count * b->state_count, sizeof *p.number);
    MUST(p.number);
    pair(&p, 0, 0);
    for (size_t i = 0; i < p.count && !p.full; i++) {
        uint32_t x = (uint32_t)(p.pairs[i] >> 32), y = (uint32_t)p.pairs[i];
        ek_dfa_state(out, a->states[x].final && b->states[y].final);
        pair_edges(&p, x, y, out);
    }
    free(p.number);
    free(p.pairs);
    if (p.full) ek_dfa_free(out);
    return !p.full;
}
