/* SPDX-License-Identifier: MIT */
/* Masks: the tree of the vocabulary walked with the grammar, and what is remembered of it. An entry of the
 * cache says for one state: these tokens end inside its rule; at these nodes of the tree the rule is left;
 * and it is right for every stack that leaves `reach` room above it.
 *
 * In counted rules the key also holds how many characters are still wanted and still free, as far as a
 * token could notice: strings far from both limits share one entry. Near the upper limit, but not yet
 * within the last characters, tokens of more than NEAR characters are left out, which narrows the choice
 * (never to nothing: single characters stay) and keeps the number of entries small. States that are alike
 * only from near (grammar.h) share an entry in the same way. */
#include "engine/guide_inside.h"

#include <stdlib.h>
#include <string.h>

enum { NEAR = 16 };

static void set_bit(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= UINT64_C(1) << i % 64;
}

static void set_token(const struct ek_trie *t, uint64_t *bits, uint32_t id)
{
    for (; id != EK_TOKEN_NONE; id = t->same[id]) set_bit(bits, id);
}

static void visit(struct ek_walk *w, const struct ek_trie *t, uint64_t *bits, uint32_t node,
                  struct ek_place p);

/* The same from a state where only reading leads on, which inside of strings is nearly all of them: no place
 * need be remembered, so this is most of what a walk costs. */
static void visit_plain(struct ek_walk *w, const struct ek_trie *t, uint64_t *bits, uint32_t node,
                        const struct ek_place *p)
{
    const struct ek_grammar *g = w->g;
    uint32_t end = t->nodes[node].end;
    if (w->work > EK_GUIDE_WORK_MAX || (w->reads_max && w->reads == w->reads_max)) return;
    w->reads++;
    for (uint32_t k = node + 1; k < end; k = t->nodes[k].end) {
        struct ek_place q;
        w->work++;
        if (!ek_walk_move(w, p, t->nodes[k].symbol, &q)) continue;
        set_token(t, bits, t->nodes[k].token);
        if (k + 1 == t->nodes[k].end) continue;
        if (g->plain[q.state]) visit_plain(w, t, bits, k, &q);
        else visit(w, t, bits, k, q);
    }
    w->reads--;
}

/* Everything below `node` that can be read from p. */
static void visit(struct ek_walk *w, const struct ek_trie *t, uint64_t *bits, uint32_t node,
                  struct ek_place p)
{
    uint32_t frames = w->frame_count, first = w->ready_count;
    if (w->g->plain[p.state]) {
        visit_plain(w, t, bits, node, &p);
        return;
    }
    if (w->work > EK_GUIDE_WORK_MAX) return;
    bool left = ek_walk_settle(w, p);
    uint32_t end = w->ready_count;
    if (left && w->blind) {
        if (w->exit_count < EK_WALK_EXITS_MAX) w->exits[w->exit_count++] = node;
        else w->lost_exits = true;
    }
    uint32_t last = w->reads_max && w->reads == w->reads_max ? node + 1 : t->nodes[node].end;
    w->reads++;
    for (uint32_t k = node + 1; k < last && end > first; k = t->nodes[k].end) {
        w->work++;
        for (uint32_t i = first; i < end; i++) {
            struct ek_place q;
            if (!ek_walk_move(w, &w->ready[i], t->nodes[k].symbol, &q)) continue;
            set_token(t, bits, t->nodes[k].token);
            if (k + 1 < t->nodes[k].end) visit(w, t, bits, k, q);
        }
    }
    w->reads--;
    w->frame_count = frames;
    w->ready_count = first;
}

/* ---- what is remembered ---------------------------------------------------------------------- */

static uint32_t slot_of(const struct ek_mask_cache *c, uint32_t state, uint32_t limits)
{
    uint64_t h = ((uint64_t)state << 32 | limits) * 0x9e3779b97f4a7c15u;
    uint32_t at = (uint32_t)(h >> 40) & (c->slot_count - 1);
    while (c->slots[at].used && (c->slots[at].state != state || c->slots[at].limits != limits)) {
        at = (at + 1) & (c->slot_count - 1);
    }
    return at;
}

static const struct ek_mask_entry *find(const struct ek_mask_cache *c, uint32_t state, uint32_t limits)
{
    const struct ek_mask_entry *e = &c->slots[slot_of(c, state, limits)];
    return e->used ? e : NULL;
}

static uint32_t count_bits(const uint64_t *bits, size_t words)
{
    uint32_t n = 0;
    for (size_t i = 0; i < words; i++) n += (uint32_t)__builtin_popcountll(bits[i]);
    return n;
}

/* Put what a blind walk found into the cache. False: it does not fit. */
static bool keep(struct ek_mask_cache *c, struct ek_mask_entry e, const struct ek_walk *w,
                 const uint64_t *bits, size_t words)
{
    uint32_t tokens = count_bits(bits, words);
    e.dense = tokens > 2 * words;
    e.count = e.dense ? (uint32_t)(2 * words) : tokens;
    e.exit_count = w->exit_count;
    if (4 * (c->used + 1) > 3 * c->slot_count) return false;
    if (e.count + e.exit_count > c->pool_max - c->pool_used) return false;
    e.from = c->pool_used;
    if (e.dense) {
        memcpy(c->pool + e.from, bits, words * sizeof *bits);
    } else {
        uint32_t n = e.from;
        for (size_t i = 0; i < words; i++) {
            for (uint64_t b = bits[i]; b; b &= b - 1) {
                c->pool[n++] = (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(b);
            }
        }
    }
    e.exits = e.from + e.count;
    memcpy(c->pool + e.exits, w->exits, w->exit_count * sizeof *w->exits);
    c->pool_used = e.exits + e.exit_count;
    c->slots[slot_of(c, e.state, e.limits)] = e;
    c->used++;
    return true;
}

static void forget(struct ek_mask_cache *c)
{
    memset(c->slots, 0, c->slot_count * sizeof *c->slots);
    c->used = c->pool_used = 0;
}

/* A walk from `state` without a stack; w->exits and bits are the result. False: cut short by a limit. */
static bool walk_blind(struct ek_walk *w, const struct ek_trie *t, uint64_t *bits, size_t words,
                       uint32_t state)
{
    memset(bits, 0, words * sizeof *bits);
    w->blind = true;
    w->reach = w->exit_count = w->reads = 0;
    w->reads_max = w->g->nearly[state] ? EK_GRAMMAR_NEAR : 0;
    w->lost_exits = false;
    uint32_t frames = w->frame_count;
    uint64_t before = w->work;
    w->work = 0;
    visit(w, t, bits, 0, (struct ek_place){state, 0, EK_FRAME_BELOW, 0});
    bool whole = w->work <= EK_GUIDE_WORK_MAX && !w->lost_exits;
    w->work += before;
    w->reads_max = 0;
    w->frame_count = frames;
    w->blind = false;
    return whole;
}

/* ---- the masks of the base rules -------------------------------------------------------------- */

struct ek_masks *ek_masks_new(const struct ek_trie *trie)
{
    struct ek_masks *m = calloc(1, sizeof *m);
    struct ek_walk *w = calloc(1, sizeof *w);
    MUST(m && w);
    m->trie = trie;
    ek_grammar_open(&m->g, trie->available);
    enum ek_grammar_end end = ek_grammar_finish(&m->g, EK_RULE_VALUE);
    MUST(end != EK_GRAMMAR_ENDLESS);
    size_t words = ((size_t)trie->vocab + 63) / 64;
    uint64_t *bits = calloc(words, sizeof *bits);
    struct ek_mask_cache *c = &m->cache;
    c->slot_count = 1024;
    MUST(m->g.base_states < c->slot_count / 2);
    c->slots = calloc(c->slot_count, sizeof *c->slots);
    c->pool_max = (uint32_t)(64 * words) + (1u << 20);
    c->pool = malloc(c->pool_max * sizeof *c->pool);
    w->g = &m->g;
    w->lowest_rule = EK_NO_RULE;
    w->frames = calloc(EK_WALK_FRAMES_MAX, sizeof *w->frames);
    w->frame_max = EK_WALK_FRAMES_MAX;
    w->exits = calloc(EK_WALK_EXITS_MAX, sizeof *w->exits);
    MUST(bits && c->slots && c->pool && w->frames && w->exits);
    for (uint32_t s = 0; s < m->g.base_states; s++) {
        if (m->g.height[s] == EK_NO_HEIGHT || !walk_blind(w, trie, bits, words, s)) continue;
        struct ek_mask_entry e = {.state = s, .reach = w->reach, .used = true};
        if (!keep(c, e, w, bits, words)) break; /* the rest is found as it is needed */
    }
    uint32_t *fit = realloc(c->pool, (c->pool_used + 1) * sizeof *c->pool);
    if (fit) c->pool = fit;
    free(bits);
    free(w->frames);
    free(w->exits);
    free(w);
    return m;
}

void ek_masks_free(struct ek_masks **mp)
{
    struct ek_masks *m = *mp;
    if (!m) return;
    ek_grammar_free(&m->g);
    free(m->cache.slots);
    free(m->cache.pool);
    free(m);
    *mp = NULL;
}

/* ---- the mask of a guide ---------------------------------------------------------------------- */

/* What the cache must know of a counted rule's limits; also set for the walk. */
static uint32_t limits_of(struct ek_guide *g, const struct ek_place *p)
{
    const struct ek_rule *r = &g->g->rules[g->g->rule_of[p->state]];
    g->walk.lowest_rule = EK_NO_RULE;
    if (r->loop == EK_NO_STATE) return 0;
    g->walk.lowest_rule = g->g->rule_of[p->state];
    uint32_t wanted = r->least > p->count ? r->least - p->count : 0;
    uint32_t left = r->most > p->count ? r->most - p->count : 0;
    if (r->most == EK_COUNT_UNBOUNDED || left > g->trie->longest) left = UINT32_MAX;
    else if (left > NEAR) left = NEAR;
    if (wanted > NEAR) wanted = UINT32_MAX;
    g->walk.least = wanted;
    g->walk.most = left;
    return 1 + (wanted > NEAR ? NEAR + 1 : wanted) * (NEAR + 2) + (left > NEAR ? NEAR + 1 : left);
}

static const struct ek_mask_entry *entry_of(struct ek_guide *g, const struct ek_place *p,
                                            const struct ek_mask_cache **cache)
{
    *cache = &g->masks->cache;
    const struct ek_mask_entry *known = NULL;
    uint32_t limits = limits_of(g, p);
    if (p->state < g->g->base_states) known = find(*cache, p->state, 0);
    uint32_t state = g->g->like[p->state];
    if (!known) {
        *cache = &g->cache;
        known = find(*cache, state, limits);
    }
    if (known) {
        g->counters.hits++;
        return known;
    }
    g->counters.misses++;
    if (!walk_blind(&g->walk, g->trie, g->scratch, g->words, state)) return NULL;
    struct ek_mask_entry e = {.state = state, .limits = limits, .reach = g->walk.reach, .used = true};
    if (!keep(&g->cache, e, &g->walk, g->scratch, g->words)) {
        forget(&g->cache);
        g->counters.cleared++;
        if (!keep(&g->cache, e, &g->walk, g->scratch, g->words)) return NULL;
    }
    return find(&g->cache, state, limits);
}

static void put_entry(struct ek_guide *g, const struct ek_mask_cache *c, const struct ek_mask_entry *e)
{
    const uint32_t *from = c->pool + e->from;
    if (!e->dense) {
        for (uint32_t i = 0; i < e->count; i++) set_bit(g->mask, from[i]);
        return;
    }
    for (size_t i = 0; i < g->words; i++) {
        uint64_t word;
        memcpy(&word, from + 2 * i, sizeof word);
        g->mask[i] |= word;
    }
}

static void put_place(struct ek_guide *g, struct ek_place p)
{
    const struct ek_mask_cache *cache;
    const struct ek_mask_entry *e = entry_of(g, &p, &cache);
    if (!e || p.depth + e->reach > EK_GRAMMAR_DEPTH_MAX) {
        g->counters.steps += g->walk.work;
        g->walk.work = 0; /* what was spent on what cannot be remembered is not taken from this */
        visit(&g->walk, g->trie, g->mask, 0, p);
        return;
    }
    put_entry(g, cache, e);
    if (p.frame == EK_FRAME_ROOT || e->exit_count == 0) return;
    const struct ek_frame *f = &g->walk.frames[p.frame];
    struct ek_place behind = {f->back, 0, f->below, p.depth - 1};
    bool at_root = false;
    for (uint32_t i = 0; i < e->exit_count; i++) {
        uint32_t node = cache->pool[e->exits + i];
        if (node == 0) at_root = true;
        else visit(&g->walk, g->trie, g->mask, node, behind);
    }
    if (at_root) put_place(g, behind); /* last: it may empty the cache that e lies in */
}

const uint64_t *ek_guide_mask(struct ek_guide *g)
{
    if (g->mask_made) return g->mask;
    memset(g->mask, 0, g->words * sizeof *g->mask);
    ek_walk_open(g);
    for (uint32_t i = 0; i < g->place_count; i++) {
        put_place(g, g->places[i]);
        g->counters.steps += g->walk.work;
        g->walk.work = 0;
    }
    for (uint32_t i = 0; i < g->stop_count && g->complete; i++) {
        if (g->stop_ids[i] < g->trie->vocab) set_bit(g->mask, g->stop_ids[i]);
    }
    g->counters.masks++;
    g->mask_made = true;
    return g->mask;
}

void ek_guide_permit(struct ek_guide *g, uint32_t id)
{
    MUST(g->mask_made && id < g->trie->vocab);
    set_bit(g->mask, id);
}
