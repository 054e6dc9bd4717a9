/* SPDX-License-Identifier: MIT */
/* Remembering a chunk, and reading one that is like it. */
#include "chat/chunk_shape.h"

#include "base/must.h"

/* Everything in a chunk that may point into its payload. */
static const uint16_t fields[] = {
#define AT(member) offsetof(struct ek_up_chunk, member)
    AT(id), AT(model), AT(fingerprint), AT(created), AT(usage_raw), AT(usage_name), AT(ek_raw), AT(ek_name),
    AT(service_tier), AT(reasoning_name), AT(error_message), AT(error_type), AT(error_code),
    AT(choice[0].content), AT(choice[0].reasoning), AT(choice[0].tool_calls), AT(choice[0].logprobs),
    AT(choice[0].finish_raw), AT(choice[0].delta), AT(choice[0].whole),
#undef AT
};
_Static_assert(EK_COUNT(fields) <= EK_UP_SHAPE_SPANS_MAX, "room for each");

/* ---- remembering ---------------------------------------------------------------------------------- */

static void add_hole(struct ek_up_shape *s, struct ek_str payload, struct ek_str value, bool is_ek)
{
    uint32_t start = (uint32_t)(value.data - payload.data);
    uint32_t at = s->hole_count++;
    MUST(at < EK_UP_SHAPE_HOLES_MAX && value.len > 0);
    for (; at > 0 && s->hole[at - 1].start > start; at--) s->hole[at] = s->hole[at - 1];
    s->hole[at] = (struct ek_up_hole){.start = start, .end = start + (uint32_t)value.len, .is_ek = is_ek};
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
    if (c->fingerprint.len > 2 && c->fingerprint.data[0] == '"')
        add_hole(s, payload, ek_str_make(c->fingerprint.data + 1, c->fingerprint.len - 2), false);
    if (h->content.len) add_hole(s, payload, h->content, false);
    if (h->reasoning.len) add_hole(s, payload, h->reasoning, false);
    if (has_ek) add_hole(s, payload, c->ek_raw, true);
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
    if (!hole->is_ek) {
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
