/* SPDX-License-Identifier: MIT */
/* Places in the grammar, and how a token moves them. The frames of all places lie in one array without
 * doubles, copied to a fresh one at every token: so it never holds more than is needed, and two places are
 * the same if their numbers are. */
#include "engine/guide_inside.h"

#include <stdlib.h>
#include <string.h>

/* ---- the walk -------------------------------------------------------------------------------- */

static bool settle(struct ek_walk *w, struct ek_place p);

/* Has this walk been here? A schema's alternatives may meet again and again: a diamond of anyOf over $ref has
 * more paths than anybody can count, and no more places than the grammar has states. Full: as if it had. */
static bool been_here(struct ek_walk *w, const struct ek_place *p)
{
    uint64_t h = ((uint64_t)p->state << 32 | p->frame) * 0x9e3779b97f4a7c15u;
    uint32_t at = (uint32_t)(h >> 40) % EK_WALK_SEEN_SLOTS;
    for (;; at = (at + 1) % EK_WALK_SEEN_SLOTS) {
        struct ek_walk_seen *s = &w->seen[at];
        if (s->walk != w->seen_walk) break;
        if (s->state == p->state && s->frame == p->frame) return true;
    }
    if (w->seen_count >= EK_WALK_SEEN_SLOTS / 4 * 3) return true;
    w->seen[at] = (struct ek_walk_seen){w->seen_walk, p->state, p->frame};
    w->seen_count++;
    return false;
}

/* The number of a frame that this walk has made, or makes now; EK_FRAME_BELOW: there is no room. */
static uint32_t frame_for(struct ek_walk *w, struct ek_frame f)
{
    uint32_t least = w->frames_before;
    if (w->frame_count - least > EK_WALK_ALIKE_MAX) least = w->frame_count - EK_WALK_ALIKE_MAX;
    for (uint32_t i = w->frame_count; i > least; i--)
        if (w->frames[i - 1].back == f.back && w->frames[i - 1].below == f.below) return i - 1;
    if (w->frame_count >= w->frame_max) return EK_FRAME_BELOW;
    w->frames[w->frame_count] = f;
    return w->frame_count++;
}

static void settle_calls(struct ek_walk *w, const struct ek_place *p, bool *left)
{
    const struct ek_dfa_state *s = &w->g->dfa.states[p->state];
    for (uint32_t k = s->call; k < s->call + s->call_count; k++) {
        const struct ek_dfa_call *c = &w->g->dfa.calls[k];
        struct ek_place q = {.state = w->g->rules[c->rule].start, .frame = p->frame, .depth = p->depth};
        if (!ek_walk_can_enter(w, c->to, p->depth)) continue;
        if (!w->g->bare[c->to]) {
            q.frame = frame_for(w, (struct ek_frame){c->to, p->frame});
            if (q.frame == EK_FRAME_BELOW) continue;
            q.depth++;
        }
        if (ek_walk_can_enter(w, q.state, q.depth) && settle(w, q)) *left = true;
    }
}

/* True of a place where it has been before has been said there. */
static bool settle(struct ek_walk *w, struct ek_place p)
{
    const struct ek_dfa_state *s = &w->g->dfa.states[p.state];
    bool left = false;
    w->work++;
    if (been_here(w, &p)) return false;
    if (s->edge_count > 0 && w->ready_count < EK_WALK_READY_MAX) w->ready[w->ready_count++] = p;
    if (s->call_count > 0) settle_calls(w, &p, &left);
    if (!s->final) return left;
    if (p.frame == EK_FRAME_ROOT || p.frame == EK_FRAME_BELOW) return true;
    const struct ek_frame *f = &w->frames[p.frame];
    MUST(p.depth > 0);
    return settle(w, (struct ek_place){f->back, 0, f->below, p.depth - 1}) || left;
}

bool ek_walk_settle(struct ek_walk *w, struct ek_place p)
{
    w->seen_count = 0;
    w->seen_walk++;
    w->frames_before = w->frame_count;
    if (w->seen_walk == 0) { /* four thousand million walks: those marks might be mistaken for new ones */
        memset(w->seen, 0, sizeof w->seen);
        w->seen_walk = 1;
    }
    return settle(w, p);
}

/* ---- places ---------------------------------------------------------------------------------- */

struct sink { /* the places after a token */
    struct ek_guide *guide;
    struct ek_place places[EK_GUIDE_PLACES_MAX];
    uint32_t place_count;
    struct ek_frame *frames;
    uint32_t frame_count;
};

/* The frame's number among the new ones; below it first. */
static uint32_t intern(struct sink *s, const struct ek_walk *w, uint32_t frame)
{
    uint32_t chain[EK_GRAMMAR_DEPTH_MAX + 1], n = 0, below;
    for (below = frame; below < EK_FRAME_BELOW; below = w->frames[below].below) {
        MUST(n < EK_COUNT(chain));
        chain[n++] = below;
    }
    while (n > 0) {
        struct ek_frame f = {w->frames[chain[--n]].back, below};
        uint32_t at = s->frame_count;
        while (at > 0 && (s->frames[at - 1].back != f.back || s->frames[at - 1].below != f.below)) at--;
        if (at == 0) {
            MUST(s->frame_count < EK_GUIDE_FRAMES_MAX);
            s->frames[at = s->frame_count++] = f;
        } else {
            at--;
        }
        below = at;
    }
    return below;
}

static void keep_place(struct sink *s, const struct ek_walk *w, struct ek_place p)
{
    if (s->place_count == EK_GUIDE_PLACES_MAX) {
        s->guide->counters.forgotten++;
        return;
    }
    p.frame = intern(s, w, p.frame);
    for (uint32_t i = 0; i < s->place_count; i++) {
        const struct ek_place *q = &s->places[i];
        if (q->state == p.state && q->count == p.count && q->frame == p.frame) return;
    }
    s->places[s->place_count++] = p;
}

static void follow(struct ek_walk *w, struct sink *s, struct ek_place p, const uint16_t *symbols, size_t n)
{
    uint32_t frames = w->frame_count, ready = w->ready_count;
    if (w->work > EK_GUIDE_WORK_MAX) return;
    ek_walk_settle(w, p);
    uint32_t end = w->ready_count;
    for (uint32_t i = ready; i < end; i++) {
        struct ek_place q;
        if (!ek_walk_move(w, &w->ready[i], symbols[0], &q)) continue;
        if (n == 1) keep_place(s, w, q);
        else follow(w, s, q, symbols + 1, n - 1);
    }
    w->frame_count = frames;
    w->ready_count = ready;
}

/* Is there anything to read from a ready place that leads anywhere? */
static bool leads_on(const struct ek_grammar *g, const struct ek_place *p)
{
    const struct ek_dfa_state *s = &g->dfa.states[p->state];
    for (uint32_t k = s->edge; k < s->edge + s->edge_count; k++) {
        uint32_t height = g->height[g->dfa.edges[k].to];
        if (height != EK_NO_HEIGHT && p->depth + height <= EK_GRAMMAR_DEPTH_MAX) return true;
    }
    return false;
}

/* May the answer end here, and may it go on? */
static void judge(struct ek_guide *g)
{
    bool more = false;
    g->complete = false;
    g->mask_made = false;
    ek_walk_open(g);
    for (uint32_t i = 0; i < g->place_count; i++) {
        if (ek_walk_settle(&g->walk, g->places[i])) g->complete = true;
        for (uint32_t k = 0; k < g->walk.ready_count && !more; k++) more = leads_on(g->g, &g->walk.ready[k]);
        g->walk.ready_count = 0;
        g->walk.frame_count = g->frame_count;
    }
    g->over = g->complete && !more;
    MUST(g->complete || more);
}

bool ek_guide_read(struct ek_guide *g, const uint16_t *symbols, size_t n)
{
    struct sink s = {.guide = g, .frames = g->frames[!g->side]};
    if (n == 0) return true;
    ek_walk_open(g);
    for (uint32_t i = 0; i < g->place_count; i++) {
        g->walk.work = 0; /* each place has as much as its mask had */
        follow(&g->walk, &s, g->places[i], symbols, n);
        g->counters.steps += g->walk.work;
    }
    if (s.place_count == 0) return false;
    memcpy(g->places, s.places, s.place_count * sizeof *g->places);
    g->place_count = s.place_count;
    g->frame_count = s.frame_count;
    g->side = !g->side;
    judge(g);
    return true;
}

bool ek_guide_advance(struct ek_guide *g, uint32_t id)
{
    uint16_t symbols[EK_TRIE_TOKEN_BYTES_MAX];
    size_t n = ek_trie_spell(g->trie, id, symbols);
    return n > 0 && ek_guide_read(g, symbols, n);
}

bool ek_guide_complete(const struct ek_guide *g) { return g->complete; }
bool ek_guide_over(const struct ek_guide *g) { return g->over; }
size_t ek_guide_words(const struct ek_guide *g) { return g->words; }
struct ek_guide_counters ek_guide_counters(const struct ek_guide *g) { return g->counters; }

static void *room(size_t count, size_t item_bytes)
{
    void *p = calloc(count, item_bytes);
    MUST(p);
    return p;
}

struct ek_guide *ek_guide_new(const struct ek_grammar *grammar, const struct ek_trie *trie,
                              const struct ek_masks *masks, const uint32_t *stop_ids, uint32_t stop_count)
{
    enum { SLOTS = 512, DENSE = 12 };
    struct ek_guide *g = room(1, sizeof *g);
    MUST(grammar->height && stop_count <= EK_GUIDE_STOPS_MAX);
    MUST(grammar->base_states == masks->g.base_states);
    g->g = g->walk.g = grammar;
    g->trie = trie;
    g->masks = masks;
    g->stop_count = stop_count;
    for (uint32_t i = 0; i < stop_count; i++) g->stop_ids[i] = stop_ids[i];
    g->words = ((size_t)trie->vocab + 63) / 64;
    g->mask = room(g->words, sizeof *g->mask);
    g->scratch = room(g->words, sizeof *g->scratch);
    for (int i = 0; i < 2; i++) {
        g->frames[i] = room(EK_GUIDE_FRAMES_MAX + EK_WALK_FRAMES_MAX, sizeof *g->frames[i]);
    }
    g->walk.exits = g->exits = room(EK_WALK_EXITS_MAX, sizeof *g->exits);
    g->cache.slot_count = SLOTS;
    g->cache.slots = room(SLOTS, sizeof *g->cache.slots);
    g->cache.pool_max = (uint32_t)(DENSE * 2 * g->words) + 32768;
    g->cache.pool = malloc(g->cache.pool_max * sizeof *g->cache.pool);
    MUST(g->cache.pool);
    g->places[0] = (struct ek_place){grammar->rules[grammar->root].start, 0, EK_FRAME_ROOT, 0};
    g->place_count = 1;
    judge(g);
    return g;
}

struct ek_guide *ek_guide_copy(const struct ek_guide *from)
{
    struct ek_guide *g = ek_guide_new(from->g, from->trie, from->masks, from->stop_ids, from->stop_count);
    memcpy(g->places, from->places, sizeof g->places);
    memcpy(g->frames[g->side], from->frames[from->side], from->frame_count * sizeof *g->frames[0]);
    g->place_count = from->place_count;
    g->frame_count = from->frame_count;
    judge(g);
    return g;
}

void ek_guide_free(struct ek_guide **gp)
{
    struct ek_guide *g = *gp;
    if (!g) return;
    free(g->mask);
    free(g->scratch);
    free(g->frames[0]);
    free(g->frames[1]);
    free(g->exits);
    free(g->cache.slots);
    free(g->cache.pool);
    free(g);
    *gp = NULL;
}
