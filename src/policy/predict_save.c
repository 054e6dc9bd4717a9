/* SPDX-License-Identifier: MIT */
/* What was learned of answers, as bytes and back. Little-endian, one record a histogram:
 *
 *      "EKLEARN1"  seed u64  records u32  time u32
 *      key u64  touched u32  total u32  sum f64  bucket u16 x 32         (88 bytes, `records` times)
 *      XXH3 of all before, u64
 *
 * Nothing of it is believed before the checksum and every record are. The seed belongs to the hashes that the
 * keys are made of: who loads the one must hash with the other. */
#include "policy/predict.h"

#include "base/map.h"

#include <math.h>

#define MAGIC "EKLEARN1"
#define HEAD_BYTES 24u
#define RECORD_BYTES 88u
#define SUM_MAX (4294967296.0 * 1024.0)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is the memory's");
_Static_assert(sizeof(struct ek_predict_cell) == RECORD_BYTES, "a record is a cell");

static void put(struct ek_buf *out, const void *bytes, size_t n)
{
    ek_buf_put(out, bytes, n);
}

void ek_predict_save(const struct ek_predict *p, uint64_t seed, struct ek_buf *out)
{
    uint32_t records = 0;
    size_t from = out->len;
    MUST(p->cell);
    for (uint32_t i = 0; i <= p->mask; i++) records += p->cell[i].key != 0;
    if (!ek_buf_reserve(out, HEAD_BYTES + (size_t)records * RECORD_BYTES + 8)) return;
    put(out, MAGIC, 8);
    put(out, &seed, 8);
    put(out, &records, 4);
    put(out, &p->time, 4);
    for (uint32_t i = 0; i <= p->mask; i++)
        if (p->cell[i].key) put(out, &p->cell[i], RECORD_BYTES);
    uint64_t sum = ek_hash(ek_str_make(out->data + from, out->len - from), 0);
    put(out, &sum, 8);
    MUST(out->failed || out->len - from == HEAD_BYTES + (size_t)records * RECORD_BYTES + 8);
}

static uint32_t u32_at(struct ek_str bytes, size_t at)
{
    uint32_t x;
    MUST(at + sizeof x <= bytes.len);
    memcpy(&x, bytes.data + at, sizeof x);
    return x;
}

static uint64_t u64_at(struct ek_str bytes, size_t at)
{
    uint64_t x;
    MUST(at + sizeof x <= bytes.len);
    memcpy(&x, bytes.data + at, sizeof x);
    return x;
}

static bool is_sound(const struct ek_predict_cell *c)
{
    uint64_t total = 0;
    for (uint32_t b = 0; b < EK_PREDICT_BUCKETS; b++) total += c->bucket[b];
    return c->key != 0 && total == c->total && total > 0 && isfinite(c->sum) && c->sum >= 0 &&
           c->sum <= SUM_MAX;
}

static const char *why_not(struct ek_str bytes)
{
    if (bytes.len < HEAD_BYTES + 8 || memcmp(bytes.data, MAGIC, 8) != 0) return "it is no file of this kind";
    uint64_t records = u32_at(bytes, 16);
    if (bytes.len != HEAD_BYTES + records * RECORD_BYTES + 8) return "it is not as long as it says";
    if (u64_at(bytes, bytes.len - 8) != ek_hash(ek_str_make(bytes.data, bytes.len - 8), 0))
        return "its checksum is wrong";
    for (uint64_t i = 0; i < records; i++) {
        struct ek_predict_cell c;
        memcpy(&c, bytes.data + HEAD_BYTES + i * RECORD_BYTES, sizeof c);
        if (!is_sound(&c)) return "one of its records makes no sense";
    }
    return NULL;
}

bool ek_predict_load(struct ek_predict *p, struct ek_str bytes, uint64_t *seed, const char **why)
{
    MUST(p->cell);
    *why = why_not(bytes);
    if (*why) return false;
    uint32_t records = u32_at(bytes, 16);
    *seed = u64_at(bytes, 8);
    p->time = u32_at(bytes, 20);
    for (uint32_t i = 0; i < records; i++) {
        struct ek_predict_cell c;
        memcpy(&c, bytes.data + HEAD_BYTES + (size_t)i * RECORD_BYTES, sizeof c);
        ek_predict_put(p, &c);
    }
    return true;
}
