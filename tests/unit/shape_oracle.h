/* SPDX-License-Identifier: MIT */
/* A chunk read by its shape must be the chunk read whole, to the last view. For unit tests and the fuzzer. */
#ifndef SHAPE_ORACLE_H
#define SHAPE_ORACLE_H

#include "base/must.h"
#include "chat/chunk_shape.h"

static inline void shape_same(const struct ek_up_chunk *a, const struct ek_up_chunk *b)
{
    const size_t texts = offsetof(struct ek_up_choice, content);
    MUST(a->flags == b->flags && a->choice_count == b->choice_count && a->ek_tokens == b->ek_tokens);
    MUST(memcmp(&a->usage, &b->usage, sizeof a->usage) == 0);
    MUST(memcmp(&a->ek_ids, &b->ek_ids,
                offsetof(struct ek_up_chunk, choice) - offsetof(struct ek_up_chunk, ek_ids)) == 0);
    for (uint32_t i = 0; i < a->choice_count; i++) {
        const struct ek_up_choice *x = &a->choice[i], *y = &b->choice[i];
        MUST(x->flags == y->flags && x->index == y->index && x->finish == y->finish);
        MUST(memcmp((const char *)x + texts, (const char *)y + texts, sizeof *x - texts) == 0);
    }
}

/* The next payload of the stream that `s` remembers. Returns whether it was read without reading it whole. */
static inline bool shape_check(struct ek_up_shape *s, struct ek_str payload)
{
    static struct ek_up_chunk whole, next;
    const char *fault_whole = NULL, *fault_next = NULL;
    memset(&whole, 0x5A, sizeof whole);
    memset(&next, 0xA5, sizeof next);
    bool ok = ek_up_chunk_read(payload, &whole, &fault_whole);
    struct ek_up_shape before = *s;
    MUST(ek_up_chunk_read_next(s, payload, &next, &fault_next) == ok);
    MUST(fault_whole == fault_next);
    if (ok && !(whole.flags & EK_UP_DONE)) shape_same(&whole, &next);
    return ok && before.len && memcmp(&before, s, sizeof before) == 0;
}

/* The next payload of one of a server's streams. Returns whether it was read without reading it whole. */
static inline bool shapes_check(struct ek_up_shapes *s, struct ek_up_shape_hint *hint, struct ek_str payload)
{
    static struct ek_up_chunk whole, next;
    const char *fault_whole = NULL, *fault_next = NULL;
    memset(&whole, 0x5A, sizeof whole);
    memset(&next, 0xA5, sizeof next);
    bool ok = ek_up_chunk_read(payload, &whole, &fault_whole);
    MUST(ek_up_chunk_read_among(s, hint, payload, &next, &fault_next) == ok);
    MUST(fault_whole == fault_next);
    if (ok && !(whole.flags & EK_UP_DONE)) shape_same(&whole, &next);
    return ok && hint->misses == 0;
}

#endif
