/* SPDX-License-Identifier: MIT */
/* The chunks of one stream are alike: between one token and the next only a few values change. So the last
 * one is kept, and of the next only that is read which may be another:
 *
 *   {"id":"x","system_fingerprint":"fp","choices":[{"index":0,"delta":{"content":" you"}}],"ek":{"n":7}}
 *   ===== the same bytes ===========--============================================----==========-------=
 *                                   hole                                          hole          hole
 *
 * If every byte outside of the holes is the same, and in each hole stands a value of the same kind (text that
 * is not empty; our engine's `ek` object), then the chunk means the same but for those values: what is the
 * same was accepted before. The result is in every case exactly that of ek_up_chunk_read; a chunk that is
 * not alike is read whole and kept for the next. Costs a tenth of reading. */
#ifndef EK_CHAT_CHUNK_SHAPE_H
#define EK_CHAT_CHUNK_SHAPE_H

#include "chat/upstream_chunk.h"

#define EK_UP_SHAPE_BYTES_MAX 640u /* of a payload worth keeping */
#define EK_UP_SHAPE_HOLES_MAX 4u   /* fingerprint, content, reasoning, ek */
#define EK_UP_SHAPE_SPANS_MAX 20u

/* Where a part of the payload stood. A place moves with the holes that lie before it. */
struct ek_up_span {
    uint16_t field; /* of struct ek_up_chunk: a struct ek_str */
    uint8_t holes_before_start, holes_before_end;
    uint32_t start, end;
};

struct ek_up_hole {
    uint32_t start, end;
    bool is_ek; /* an object; else the inside of a string */
};

/* Begin with zeros. */
struct ek_up_shape {
    uint32_t len; /* of what is kept; 0: nothing is */
    uint32_t hole_count, span_count;
    struct ek_up_hole hole[EK_UP_SHAPE_HOLES_MAX];
    struct ek_up_span span[EK_UP_SHAPE_SPANS_MAX];
    /* As it was read: the chunk up to its first choice. */
    _Alignas(8) char chunk[offsetof(struct ek_up_chunk, choice) + sizeof(struct ek_up_choice)];
    char payload[EK_UP_SHAPE_BYTES_MAX];
};

/* ek_up_chunk_read, for the next chunk of a stream. */
bool ek_up_chunk_read_next(struct ek_up_shape *s, struct ek_str payload, struct ek_up_chunk *c,
                           const char **fault);

#endif
