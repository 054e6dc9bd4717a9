/* SPDX-License-Identifier: MIT */
/* The walk through grammar and tree, shared by guide.c (places, advancing) and guide_mask.c (masks and what
 * is remembered of them). Private to these files. */
#ifndef EK_ENGINE_GUIDE_INSIDE_H
#define EK_ENGINE_GUIDE_INSIDE_H

#include "engine/guide.h"

enum {
    EK_GUIDE_FRAMES_MAX = EK_GUIDE_PLACES_MAX * (EK_GRAMMAR_DEPTH_MAX + 1), /* of all places */
    EK_WALK_FRAMES_MAX = 4096, /* above those, along one path of the tree */
    EK_WALK_READY_MAX = 4096,
    EK_WALK_EXITS_MAX = 1 << 15,
    EK_WALK_SEEN_SLOTS = 8192, /* of which three quarters are used: places reached without reading */
    EK_WALK_ALIKE_MAX = 256,   /* frames among which an equal one is looked for */
};

#define EK_FRAME_ROOT UINT32_MAX        /* behind it the answer is complete */
#define EK_FRAME_BELOW (UINT32_MAX - 1) /* behind it nothing is known: an exit */

struct ek_frame {
    uint32_t back, below; /* state to come back to; frame */
};

struct ek_place {
    uint32_t state, count; /* count: characters read, in a counted rule */
    uint32_t frame;
    uint32_t depth;
};

struct ek_walk_seen {
    uint32_t walk, state, frame;
};

struct ek_walk {
    const struct ek_grammar *g;
    struct ek_frame *frames;
    uint32_t frame_count, frame_max;
    struct ek_place ready[EK_WALK_READY_MAX]; /* places with something to read, reached without reading */
    uint32_t ready_count;
    uint64_t work;
    /* one settling: where it has been, as marks of its number, and the frames there were before it */
    struct ek_walk_seen seen[EK_WALK_SEEN_SLOTS];
    uint32_t seen_walk, seen_count, frames_before;
    /* a walk without a stack, to be remembered */
    bool blind;
    uint32_t lowest_rule; /* a counted rule that the walk began in, or EK_NO_RULE */
    uint32_t least, most; /* in place of that rule's */
    uint32_t reach;       /* the deepest need met: depth + height */
    uint32_t *exits, exit_count;
    bool lost_exits;
    uint32_t reads, reads_max; /* symbols below the root of the tree; 0: as many as there are */
};

/* From a place all that is reached without reading goes to w->ready; true: its lowest frame can be left. */
bool ek_walk_settle(struct ek_walk *w, struct ek_place p);
/* May a state be entered at this depth, so that there is a way on to the end? */
static inline bool ek_walk_can_enter(struct ek_walk *w, uint32_t state, uint32_t depth)
{
    uint32_t height = w->g->height[state];
    if (height == EK_NO_HEIGHT || depth + height > EK_GRAMMAR_DEPTH_MAX) return false;
    if (depth + height > w->reach) w->reach = depth + height;
    return true;
}

/* In a counted rule: may this symbol be read, and how many characters are there then? */
static inline bool ek_walk_count(const struct ek_walk *w, const struct ek_place *p, uint16_t symbol,
                                 uint32_t to, uint32_t *characters)
{
    uint32_t rule = w->g->rule_of[p->state];
    const struct ek_rule *r = &w->g->rules[rule];
    *characters = 0;
    if (r->loop == EK_NO_STATE) return true;
    bool lowest = w->blind && rule == w->lowest_rule && p->depth == 0;
    uint32_t least = lowest ? w->least : r->least, most = lowest ? w->most : r->most;
    if (p->state == r->loop && symbol == '"' && p->count < least) return false;
    if (p->state == r->loop && symbol != '"' && p->count >= most) return false;
    *characters = p->count + (to == r->loop && p->state != r->start);
    return true;
}

/* Read one symbol. */
static inline bool ek_walk_move(struct ek_walk *w, const struct ek_place *p, uint16_t symbol,
                                struct ek_place *out)
{
    uint32_t to = ek_dfa_next(&w->g->dfa, p->state, symbol), characters;
    if (to == EK_NO_STATE || !ek_walk_count(w, p, symbol, to, &characters)) return false;
    if (!ek_walk_can_enter(w, to, p->depth)) return false;
    *out = (struct ek_place){to, characters, p->frame, p->depth};
    return true;
}


struct ek_mask_entry {
    uint32_t state, limits; /* key; limits: of a counted rule */
    uint32_t from, count;   /* in the pool: token ids, or all words of a mask */
    uint32_t exits, exit_count;
    uint32_t reach;
    bool dense, used;
};

struct ek_mask_cache {
    struct ek_mask_entry *slots;
    uint32_t slot_count, used; /* slot_count: a power of two */
    uint32_t *pool;
    uint32_t pool_used, pool_max;
};

struct ek_masks {
    struct ek_grammar g; /* the base rules alone */
    const struct ek_trie *trie;
    struct ek_mask_cache cache;
};

struct ek_guide {
    const struct ek_grammar *g;
    const struct ek_trie *trie;
    const struct ek_masks *masks;
    uint32_t stop_ids[EK_GUIDE_STOPS_MAX], stop_count;
    struct ek_place places[EK_GUIDE_PLACES_MAX];
    uint32_t place_count;
    struct ek_frame *frames[2]; /* of the places, and those being made */
    uint32_t frame_count;
    unsigned side;
    bool complete, over;
    size_t words;
    uint64_t *mask, *scratch; /* [words] */
    bool mask_made;
    struct ek_mask_cache cache;
    struct ek_walk walk;
    uint32_t *exits; /* [EK_WALK_EXITS_MAX] */
    struct ek_guide_counters counters;
};

/* A walk that begins where the guide stands. */
static inline void ek_walk_open(struct ek_guide *g)
{
    struct ek_walk *w = &g->walk;
    w->frames = g->frames[g->side];
    w->frame_count = g->frame_count;
    w->frame_max = g->frame_count + EK_WALK_FRAMES_MAX;
    w->ready_count = 0;
    w->work = 0;
    w->blind = false;
}

#endif
