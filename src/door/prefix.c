/* SPDX-License-Identifier: MIT */
/* Cuts of a prompt and their hashes: blocks of 4 KiB are chained, a cut adds the bytes since the last one. */
#include "door/prefix.h"

#include "base/map.h"

#define BLOCK_BYTES 4096u
#define BYTES_MAX (4u << 20) /* what is beyond is not looked for in caches */
#define BYTES_MIN 256u       /* engines cache pages of 16 to 64 tokens: less is not worth a cut */

struct cuts {
    uint32_t count;
    uint32_t at[EK_DESK_PREFIX_MAX + 1]; /* bytes behind the text's begin, rising; one to spare */
};

static void add_cut(struct cuts *c, uint32_t at, uint32_t total)
{
    uint32_t i = c->count;
    if (at < BYTES_MIN || at > total || at > BYTES_MAX || c->count == EK_DESK_PREFIX_MAX) return;
    for (uint32_t k = 0; k < c->count; k++)
        if (c->at[k] == at) return;
    for (; i > 0 && c->at[i - 1] > at; i--) c->at[i] = c->at[i - 1];
    c->at[i] = at;
    c->count++;
}

/* The last messages first: they are worth most where there is not room for all. */
static struct cuts cuts_of(const struct ek_request_reader *reader, struct ek_span text)
{
    static const uint32_t fixed[] = {2048, 12288, 65536};
    struct cuts c = {0};
    MUST(text.end >= text.start);
    uint32_t total = text.end - text.start;
    for (uint32_t i = 0; i < EK_REQUEST_ENDS_KEPT; i++)
        if (reader->last_end[i]) add_cut(&c, reader->last_end[i] - text.start, total);
    if (reader->first_end) add_cut(&c, reader->first_end - text.start, total);
    for (size_t i = 0; i < EK_COUNT(fixed); i++) add_cut(&c, fixed[i], total);
    return c;
}

uint32_t ek_prefix_chain(const struct ek_request_reader *reader, struct ek_str body, uint64_t seed,
                         uint32_t prompt_tokens, struct ek_prefix out[EK_DESK_PREFIX_MAX])
{
    const struct ek_request *q = reader->out;
    struct ek_span span = q->member[q->api == EK_API_CHAT ? EK_MEMBER_MESSAGES : EK_MEMBER_PROMPT];
    struct cuts c = cuts_of(reader, span);
    const char *text = body.data + span.start;
    uint64_t total = span.end - span.start;
    uint32_t at = 0;
    MUST(span.end <= body.len);
    /* Tools stand before the messages in every template, so they are part of every prefix. */
    uint64_t chain = ek_hash(ek_request_value(q, EK_MEMBER_TOOLS, body), seed);
    for (uint32_t k = 0; k < c.count; k++) {
        for (; at + BLOCK_BYTES <= c.at[k]; at += BLOCK_BYTES)
            chain = ek_hash(ek_str_make(text + at, BLOCK_BYTES), chain);
        out[k].hash = ek_hash(ek_str_make(text + at, c.at[k] - at), chain);
        out[k].tokens = (uint32_t)(prompt_tokens * (uint64_t)c.at[k] / total);
    }
    return c.count;
}

uint64_t ek_prefix_conversation(const struct ek_request_reader *reader, struct ek_str body, uint64_t seed)
{
    struct ek_span span = reader->out->member[EK_MEMBER_MESSAGES];
    uint32_t end = reader->first_user_end;
    if (!end) return 0;
    MUST(end > span.start && end <= span.end && span.end <= body.len);
    uint32_t bytes = end - span.start < BYTES_MAX ? end - span.start : BYTES_MAX;
    return ek_hash(ek_str_make(body.data + span.start, bytes), seed);
}
