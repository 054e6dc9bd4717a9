/* SPDX-License-Identifier: MIT */
/* Remembering a chunk, and reading one that is like it. */
#include "chat/chunk_shape.h"

#include "base/must.h"

/* Everything in a chunk that may point into its payload. */
static const uint16_t fields[] = {
#define AT(member) offsetof(struct ek_up_chunk, member)
    AT(id), AT(model), AT(fingerprint), AT(created), AT(usage_raw), AT(usage_name), AT(usage_cost),
    AT(ek_raw), AT(ek_name), AT(service_tier), AT(reasoning_name), AT(error_message), AT(error_type),
    AT(error_code),
    AT(choice[0].content), AT(choice[0].reasoning), AT(choice[0].tool_calls), AT(choice[0].logprobs),
    AT(choice[0].finish_raw), AT(choice[0].delta), AT(choice[0].whole),
#undef AT
};
_Static_assert(EK_COUNT(fields) <= EK_UP_SHAPE_SPANS_MAX, "room for each");

/* ---- remembering ---------------------------------------------------------------------------------- */

#define MISSES_MAX 4u   /* so many chunks in a row like no other: the stream's are all different */
#define MISSES_TURN 64u /* one of so many is looked at all the same */

static void add_hole(struct ek_up_shape *s, struct ek_str payload, struct ek_str value,
                     enum ek_up_hole_kind kind)
{
    uint32_t start = (uint32_t)(value.data - payload.data);
    uint32_t at = s->hole_count++;
    MUST(at < EK_UP_SHAPE_HOLES_MAX && value.len > 0);
    for (; at > 0 && s->hole[at - 1].start > start; at--) s->hole[at] = s->hole[at - 1];
    s->hole[at] = (struct ek_up_hole){.start = start, .end = start + (uint32_t)value.len,
                                       .kind = (uint8_t)kind};
}

static uint8_t holes_before(const struct ek_up_shape *s, uint32_t place)
{
    uint32_t count = 0;
    while (count < s->hole_count && s->hole[count].end <= place) count++;
    return (uint8_t)count;
}

static void add_spans(struct ek_up_shape *s, struct ek_str payload, const struct ek_up_chunk *c)
{
    for (size_t i = 0; i < EK_COUNT(fields); i++) {
        struct ek_str part;
        memcpy(&part, (const char *)c + fields[i], sizeof part);
        if (!part.data) continue;
        uint32_t start = (uint32_t)(part.data - payload.data);
        uint32_t end = start + (uint32_t)part.len;
        MUST(end <= payload.len);
        s->span[s->span_count++] = (struct ek_up_span){.field = fields[i], .start = start, .end = end,
            .holes_before_start = holes_before(s, start), .holes_before_end = holes_before(s, end)};
    }
}

/* A raw member's value, where it is text. */
static void add_text(struct ek_up_shape *s, struct ek_str payload, struct ek_str raw)
{
    if (raw.len > 2 && raw.data[0] == '"')
        add_hole(s, payload, ek_str_make(raw.data + 1, raw.len - 2), EK_UP_HOLE_TEXT);
}

/* The end of a whole number as servers write them; NULL: it is none, or an odd one. */
static const char *number_end(const char *at, const char *stop)
{
    const char *p = at;
    while (p < stop && *p >= '0' && *p <= '9') p++;
    return p == at || *at == '0' || p - at > 15 ? NULL : p;
}

static bool is_number(struct ek_str value)
{
    if (!value.data) return false; /* nothing may be added to it, not even 0 */
    const char *end = value.data + value.len;
    return number_end(value.data, end) == end;
}

static bool lies_in(struct ek_str part, struct ek_str whole)
{
    return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

static void remember(struct ek_up_shape *s, struct ek_str payload, const struct ek_up_chunk *c)
{
    s->len = s->hole_count = s->span_count = 0;
    if (payload.len > EK_UP_SHAPE_BYTES_MAX || c->choice_count != 1) return;
    if (c->flags & (EK_UP_ERROR | EK_UP_DONE | EK_UP_FINISH)) return;
    const struct ek_up_choice *h = &c->choice[0];
    bool has_ek = (c->flags & EK_UP_EK) && c->ek_raw.len && c->ek_raw.data[0] == '{';
    if (c->ek_ids.data && !(has_ek && lies_in(c->ek_ids, c->ek_raw))) return; /* two of them */
    add_text(s, payload, c->id);
    add_text(s, payload, c->fingerprint);
    if (is_number(c->created)) add_hole(s, payload, c->created, EK_UP_HOLE_NUMBER);
    if (h->content.len) add_hole(s, payload, h->content, EK_UP_HOLE_TEXT);
    if (h->reasoning.len) add_hole(s, payload, h->reasoning, EK_UP_HOLE_TEXT);
    if (has_ek) add_hole(s, payload, c->ek_raw, EK_UP_HOLE_EK);
    add_spans(s, payload, c);
    memcpy(s->chunk, c, sizeof s->chunk);
    memcpy(s->payload, payload.data, payload.len);
    s->len = (uint32_t)payload.len;
}

/* ---- reading one that is like it ------------------------------------------------------------------- */

/* What stands in the hole now; its end, or NULL when it is another kind of thing. */
static const char *read_hole(const struct ek_up_hole *hole, const char *at, const char *stop,
                             struct ek_up_chunk *c)
{
    if (hole->kind == EK_UP_HOLE_NUMBER) return number_end(at, stop);
    if (hole->kind == EK_UP_HOLE_TEXT) {
        const char *quote = ek_json_string_end(at, stop);
        return quote == at ? NULL : quote; /* an empty text is no text: other flags */
    }
    bool had_ids = c->ek_ids.data != NULL;
    if (at == stop || *at != '{') return NULL;
    const char *end = ek_up_ek_read(at, stop, c);
    return end && (c->ek_ids.data != NULL) == had_ids ? end : NULL;
}

static bool read_alike(const struct ek_up_shape *s, struct ek_str payload, struct ek_up_chunk *c)
{
    size_t moved[EK_UP_SHAPE_HOLES_MAX + 1] = {0}; /* what is behind so many holes; modulo 2^64 */
    const char *p = payload.data, *stop = payload.data + payload.len;
    uint32_t at = 0; /* the same place in what is kept */
    memcpy(c, s->chunk, sizeof s->chunk);
    for (uint32_t i = 0; i < s->hole_count; i++) {
        const struct ek_up_hole *hole = &s->hole[i];
        size_t same = hole->start - at;
        if ((size_t)(stop - p) < same || memcmp(p, s->payload + at, same) != 0) return false;
        const char *end = read_hole(hole, p + same, stop, c);
        if (!end) return false;
        p = end;
        at = hole->end;
        moved[i + 1] = (size_t)(p - payload.data) - at;
    }
    if ((size_t)(stop - p) != s->len - at || memcmp(p, s->payload + at, s->len - at) != 0) return false;
    for (uint32_t i = 0; i < s->span_count; i++) {
        const struct ek_up_span *span = &s->span[i];
        size_t start = span->start + moved[span->holes_before_start];
        size_t end = span->end + moved[span->holes_before_end];
        MUST(start <= end && end <= payload.len);
        struct ek_str part = ek_str_make(payload.data + start, end - start);
        memcpy((char *)c + span->field, &part, sizeof part);
    }
    return true;
}

bool ek_up_chunk_read_next(struct ek_up_shape *s, struct ek_str payload, struct ek_up_chunk *c,
                           const char **fault)
{
    if (s->len && read_alike(s, payload, c)) return true;
    bool ok = ek_up_chunk_read(payload, c, fault);
    if (ok) remember(s, payload, c);
    else s->len = 0;
    return ok;
}

/* ---- the kinds of a server --------------------------------------------------------------------------- */

static bool met(struct ek_up_shapes *s, struct ek_up_shape_hint *hint, uint32_t at)
{
    hint->at = (uint8_t)at;
    hint->misses = 0;
    s->worth[at] = s->worth[at] < 255 ? s->worth[at] + 1u : 255;
    return true;
}

/* Where a new kind may go; EK_UP_SHAPES_MAX: nowhere yet, but one that is met often is worth half now. */
static uint32_t make_room(struct ek_up_shapes *s)
{
    uint32_t at = s->next;
    s->next = (at + 1) % EK_UP_SHAPES_MAX;
    if (!s->shape[at].len || s->worth[at] == 0) return at;
    s->worth[at] /= 2;
    return EK_UP_SHAPES_MAX;
}

bool ek_up_chunk_read_among(struct ek_up_shapes *s, struct ek_up_shape_hint *hint, struct ek_str payload,
                            struct ek_up_chunk *c, const char **fault)
{
    MUST(hint->at < EK_UP_SHAPES_MAX);
    if (s->shape[hint->at].len && read_alike(&s->shape[hint->at], payload, c)) return met(s, hint, hint->at);
    bool looks = hint->misses < MISSES_MAX || hint->misses % MISSES_TURN == 0;
    for (uint32_t i = 0; looks && i < EK_UP_SHAPES_MAX; i++)
        if (i != hint->at && s->shape[i].len && read_alike(&s->shape[i], payload, c)) return met(s, hint, i);
    hint->misses = hint->misses == 2 * MISSES_TURN ? MISSES_TURN + 1 : hint->misses + 1u;
    bool ok = ek_up_chunk_read(payload, c, fault);
    uint32_t at = ok && looks ? make_room(s) : EK_UP_SHAPES_MAX;
    if (at == EK_UP_SHAPES_MAX) return ok;
    remember(&s->shape[at], payload, c);
    s->worth[at] = 0;
    hint->at = (uint8_t)at;
    return ok;
}
