/* SPDX-License-Identifier: MIT */
/* The chunks of one server are alike: between one token and the next, of whatever stream, only a few values
 * change. So one is kept, and of the next only that is read which may be another:
 *
 *   {"id":"x","created":17,"choices":[{"index":0,"delta":{"content":" you"}}],"ek":{"n":7}}
 *   =======-============--============================================----==========-------=
 *         hole         hole                                           hole          hole
 *
 * If every byte outside of the holes is the same, and in each hole stands a value of the same kind (text that
 * is not empty; a whole number; our engine's `ek` object), then the chunk means the same but for those
 * values, for what is the same was accepted before. The result is in every case that of ek_up_chunk_read; a
 * chunk that is not alike is read whole and kept for the next. Costs a tenth of reading.
 *
 * Servers write more than one kind of chunk (a thought, an answer, another model), so a few are kept for all
 * streams of a server, and a stream remembers which it met last: one each would be most of what an open
 * stream costs. A kind that is met often is not given up for one that is met once. */
#ifndef EK_CHAT_CHUNK_SHAPE_H
#define EK_CHAT_CHUNK_SHAPE_H

#include "chat/upstream_chunk.h"

#define EK_UP_SHAPE_BYTES_MAX 640u /* of a payload worth keeping */
#define EK_UP_SHAPE_HOLES_MAX 6u   /* id, created, fingerprint, content, reasoning, ek */
#define EK_UP_SHAPE_SPANS_MAX 21u

/* Where a part of the payload stood. A place moves with the holes that lie before it. */
struct ek_up_span {
    uint16_t field; /* of struct ek_up_chunk: a struct ek_str */
    uint8_t holes_before_start, holes_before_end;
    uint32_t start, end;
};

enum ek_up_hole_kind { EK_UP_HOLE_TEXT, EK_UP_HOLE_NUMBER, EK_UP_HOLE_EK };

struct ek_up_hole {
    uint32_t start, end; /* of the inside of a string; of a number; of an object */
    uint8_t kind;        /* enum ek_up_hole_kind */
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

#define EK_UP_SHAPES_MAX 8u

/* The kinds of one server. Begin with zeros. */
struct ek_up_shapes {
    struct ek_up_shape shape[EK_UP_SHAPES_MAX];
    uint8_t worth[EK_UP_SHAPES_MAX]; /* how often it was met lately */
    uint32_t next;                   /* that is looked at when room is wanted */
};

/* What one stream remembers of them. Begin with zeros. */
struct ek_up_shape_hint {
    uint8_t at;     /* the kind it met last */
    uint8_t misses; /* chunks in a row that were like none: after a few it looks but now and then */
};

/* ek_up_chunk_read, for the next chunk of one of a server's streams. */
bool ek_up_chunk_read_among(struct ek_up_shapes *s, struct ek_up_shape_hint *hint, struct ek_str payload,
                            struct ek_up_chunk *c, const char **fault);

/* The same where one kind is kept. */
bool ek_up_chunk_read_next(struct ek_up_shape *s, struct ek_str payload, struct ek_up_chunk *c,
                           const char **fault);

#endif
