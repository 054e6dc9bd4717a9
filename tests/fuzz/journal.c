/* SPDX-License-Identifier: MIT */
/* A file of the journal after anything may have happened to it. The input is a list of deeds: write a
 * record, put bytes somewhere, cut, leave a hole. Then: the walk ends, stays inside, and whatever live record
 * it gives is one that was written, unchanged. */
#include "journal/record.h"

#include <stdlib.h>

#define FILE_BYTES 65536u
#define RECORDS_MAX 128u
#define SEED 0x5eed5eed5eed5eedull

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct file {
    uint8_t bytes[FILE_BYTES];
    size_t len;
    uint64_t hash[RECORDS_MAX]; /* of the payload of record seq - 1 */
    uint32_t payload_bytes[RECORDS_MAX];
    uint32_t count;
};

static void add(struct file *f, uint8_t n, uint8_t byte)
{
    struct ek_record r = {.seq = f->count + 1, .owner = byte, .kind = n, .part = byte,
                          .payload_bytes = n * 7u, .state = EK_RECORD_LIVE};
    if (f->count == RECORDS_MAX || FILE_BYTES - f->len < ek_record_bytes(r.payload_bytes)) return;
    uint8_t *payload = f->bytes + f->len + EK_RECORD_HEAD_BYTES;
    memset(payload, byte | 1, r.payload_bytes);
    struct ek_str all = ek_str_make((char *)payload, r.payload_bytes);
    r.payload_hash = ek_record_hash(all, ek_str_make(NULL, 0), SEED);
    ek_record_put_head(f->bytes + f->len, &r, SEED);
    f->hash[f->count] = r.payload_hash;
    f->payload_bytes[f->count++] = r.payload_bytes;
    f->len += (size_t)ek_record_bytes(r.payload_bytes);
}

static void deed(struct file *f, uint8_t what, uint8_t a, uint8_t b)
{
    size_t at = EK_SEGMENT_HEAD_BYTES + ((size_t)a << 8 | b) % (f->len - EK_SEGMENT_HEAD_BYTES + 1);
    switch (what % 6) {
    case 0: case 1: add(f, a, b); break;
    case 2: if (at < f->len) f->bytes[at] ^= (uint8_t)(what | 1); break;
    case 3: memset(f->bytes + at, what >> 4, at + 40 < f->len ? 40 : f->len - at); break;
    case 4: f->len = at; memset(f->bytes + at, 0, FILE_BYTES - at); break;
    case 5: if (f->len + b < FILE_BYTES) f->len += b; break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file *f = calloc(1, sizeof *f);
    MUST(f);
    f->len = EK_SEGMENT_HEAD_BYTES;
    for (size_t i = 0; i + 3 <= size; i += 3) deed(f, data[i], data[i + 1], data[i + 2]);
    uint8_t *bytes = malloc(f->len); /* exact, so that one byte too far is seen */
    MUST(bytes);
    memcpy(bytes, f->bytes, f->len);
    struct ek_record_walk w = {.bytes = bytes, .len = f->len, .at = EK_SEGMENT_HEAD_BYTES, .seed = SEED};
    struct ek_record_found r;
    size_t last = 0;
    while (ek_record_next(&w, &r)) {
        MUST(r.at > last && r.at % 8 == EK_SEGMENT_HEAD_BYTES % 8);
        MUST(r.record.seq >= 1 && r.record.seq <= f->count);
        uint32_t n = (uint32_t)r.record.seq - 1;
        MUST(r.payload.len == f->payload_bytes[n]);
        if (r.record.state == EK_RECORD_LIVE)
            MUST(ek_record_hash(r.payload, ek_str_make(NULL, 0), SEED) == f->hash[n]);
        last = r.at;
    }
    MUST(w.at == w.len && w.lost_bytes <= f->len);
    struct ek_record_walk raw = {.bytes = data, .len = size, .at = EK_SEGMENT_HEAD_BYTES, .seed = SEED};
    if (size >= EK_SEGMENT_HEAD_BYTES)
        while (ek_record_next(&raw, &r)) MUST(r.at < size);
    free(bytes);
    free(f);
    return 0;
}
