/* SPDX-License-Identifier: MIT */
/* The codec of records, and the walk that finds the next good one behind damage. Nothing here trusts a
 * length before the head that says it has proved to be ours. */
#include "journal/record.h"

#include <endian.h>
#include <xxhash.h>

static const uint8_t mark[4] = {0xff, 'e', 'k', 'j'};
static const uint8_t segment_mark[8] = {0xff, 'e', 'k', 's', 'e', 'g', '1', '\n'};

static void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof v);
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof v);
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

uint64_t ek_record_hash(struct ek_str first, struct ek_str second, uint64_t seed)
{
    XXH3_state_t *state = XXH3_createState();
    MUST(state); /* half a kilobyte */
    MUST(first.data || !first.len);
    MUST(second.data || !second.len);
    XXH3_64bits_reset_withSeed(state, seed);
    if (first.len) XXH3_64bits_update(state, first.data, first.len);
    if (second.len) XXH3_64bits_update(state, second.data, second.len);
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

static uint64_t head_hash(const uint8_t head[EK_RECORD_HEAD_BYTES], uint64_t seed)
{
    uint8_t copy[EK_RECORD_HEAD_BYTES];
    memcpy(copy, head, sizeof copy);
    copy[EK_RECORD_STATE_AT] = 0;
    put64(copy + 8, 0);
    return XXH3_64bits_withSeed(copy, sizeof copy, seed);
}

void ek_record_put_head(uint8_t out[EK_RECORD_HEAD_BYTES], const struct ek_record *r, uint64_t seed)
{
    MUST(r->payload_bytes <= EK_RECORD_PAYLOAD_MAX);
    MUST(r->state != 0);
    memset(out, 0, EK_RECORD_HEAD_BYTES);
    memcpy(out, mark, sizeof mark);
    out[5] = r->kind;
    put64(out + 16, r->seq);
    put64(out + 24, r->owner);
    put64(out + 32, r->written_ns);
    memcpy(out + 40, r->key, sizeof r->key);
    put64(out + 56, r->payload_hash);
    put32(out + 64, r->payload_bytes);
    put32(out + 68, r->part);
    put64(out + 8, head_hash(out, seed));
    out[EK_RECORD_STATE_AT] = r->state;
}

bool ek_record_read_head(struct ek_record *r, const uint8_t in[EK_RECORD_HEAD_BYTES], uint64_t seed)
{
    if (memcmp(in, mark, sizeof mark) != 0 || get64(in + 8) != head_hash(in, seed)) return false;
    *r = (struct ek_record){.kind = in[5], .state = in[EK_RECORD_STATE_AT], .seq = get64(in + 16),
                            .owner = get64(in + 24), .written_ns = get64(in + 32),
                            .payload_hash = get64(in + 56), .payload_bytes = get32(in + 64),
                            .part = get32(in + 68)};
    memcpy(r->key, in + 40, sizeof r->key);
    bool known = r->state == EK_RECORD_LIVE || r->state == EK_RECORD_ERASED || r->state == EK_RECORD_SPENT;
    if (!known) r->state = EK_RECORD_USED;
    return r->payload_bytes <= EK_RECORD_PAYLOAD_MAX;
}

void ek_segment_put_head(uint8_t out[EK_SEGMENT_HEAD_BYTES], uint64_t number)
{
    MUST(number > 0);
    memcpy(out, segment_mark, sizeof segment_mark);
    put64(out + 8, number);
    put64(out + 16, XXH3_64bits(out, 16));
    MUST(get64(out + 8) == number);
}

bool ek_segment_read_head(const uint8_t in[EK_SEGMENT_HEAD_BYTES], uint64_t *number)
{
    *number = get64(in + 8);
    return memcmp(in, segment_mark, sizeof segment_mark) == 0 && get64(in + 16) == XXH3_64bits(in, 16);
}

bool ek_segment_is_foreign(const uint8_t in[EK_SEGMENT_HEAD_BYTES])
{
    const size_t version_at = 6; /* "eksegs1": all before it says what it is */
    bool ours = memcmp(in, segment_mark, sizeof segment_mark) == 0;
    bool kin = memcmp(in, segment_mark, version_at) == 0;
    return kin && !ours && get64(in + 16) == XXH3_64bits(in, 16); /* else the head is damaged */
}

/* ---- the walk -------------------------------------------------------------------------------- */

static bool all_zeros(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i]) return false;
    return true;
}

/* Move on to the next place that begins like a record, at least one step; counts what is left behind. */
static void skip(struct ek_record_walk *w)
{
    size_t from = w->at;
    const uint8_t *hit = NULL;
    size_t at = from + 8;
    while (at < w->len && (hit = memchr(w->bytes + at, mark[0], w->len - at))) {
        at = (size_t)(hit - w->bytes);
        bool here = (at - EK_SEGMENT_HEAD_BYTES) % 8 == 0 && w->len - at >= sizeof mark &&
                    memcmp(hit, mark, sizeof mark) == 0;
        if (here) break;
        at++;
    }
    w->at = hit && at < w->len ? at : w->len;
    if (all_zeros(w->bytes + from, w->at - from)) return; /* room that a failed write left */
    w->lost_bytes += w->at - from;
    w->lost_count++;
}

/* Judge the payload of a record whose head is good. false: it is torn. */
static bool settle_payload(struct ek_record_walk *w, struct ek_record_found *f)
{
    struct ek_record *r = &f->record;
    if (r->state != EK_RECORD_LIVE) return true; /* whatever is left of it is of no use */
    if (ek_record_hash(f->payload, ek_str_make(NULL, 0), w->seed) == r->payload_hash) return true;
    if (!all_zeros((const uint8_t *)f->payload.data, f->payload.len)) return false;
    r->state = EK_RECORD_ERASED;
    return true;
}

bool ek_record_next(struct ek_record_walk *w, struct ek_record_found *out)
{
    MUST(w->bytes || !w->len);
    MUST(w->at >= EK_SEGMENT_HEAD_BYTES || w->len == 0);
    while (w->at < w->len && w->len - w->at >= EK_RECORD_HEAD_BYTES) {
        struct ek_record *r = &out->record;
        size_t room = w->len - w->at - EK_RECORD_HEAD_BYTES;
        if (!ek_record_read_head(r, w->bytes + w->at, w->seed) || r->payload_bytes > room) {
            skip(w);
            continue;
        }
        out->at = w->at;
        out->payload = ek_str_make((const char *)w->bytes + w->at + EK_RECORD_HEAD_BYTES, r->payload_bytes);
        if (!settle_payload(w, out)) {
            skip(w); /* another record may have been written over its middle: none is passed over */
            continue;
        }
        uint64_t bytes = ek_record_bytes(r->payload_bytes);
        w->at = bytes < w->len - w->at ? w->at + (size_t)bytes : w->len;
        return true;
    }
    if (w->at < w->len && !all_zeros(w->bytes + w->at, w->len - w->at)) {
        w->lost_bytes += w->len - w->at;
        w->lost_count++;
    }
    w->at = w->len;
    return false;
}
