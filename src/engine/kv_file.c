/* SPDX-License-Identifier: MIT */
/* Writing and judging the file of a page; see kv_file.h for how it lies. */
#include "engine/kv_file.h"

#include <string.h>
#include <xxhash.h>

static const char magic[8] = "ekkvpg1\n";

enum { SUM_AT = EK_KV_FILE_HEAD - 16 };

static uint8_t *put(uint8_t *at, const void *bytes, size_t n)
{
    memcpy(at, bytes, n);
    return at + n;
}

static void write_head(uint8_t head[SUM_AT], size_t rows_bytes, struct ek_kv_fingerprint whose,
                       const struct ek_kv_key *key)
{
    uint64_t rows = rows_bytes;
    uint8_t *at = put(head, magic, sizeof magic);
    at = put(at, &whose.lo, 8);
    at = put(at, &whose.hi, 8);
    at = put(at, &rows, 8);
    at = put(at, &key->name.lo, 8);
    at = put(at, &key->name.hi, 8);
    at = put(at, &key->before.lo, 8);
    at = put(at, &key->before.hi, 8);
    at = put(at, &key->generated, 8);
    at = put(at, key->ids, sizeof key->ids);
    MUST(at == head + SUM_AT);
}

static void checksum(const uint8_t *file, size_t rows_bytes, uint64_t out[2])
{
    XXH128_hash_t head = XXH3_128bits(file, SUM_AT);
    XXH128_hash_t all = XXH3_128bits_withSeed(file + EK_KV_FILE_HEAD, rows_bytes, head.low64 ^ head.high64);
    out[0] = all.low64 ^ head.low64;
    out[1] = all.high64 + head.high64;
}

void ek_kv_file_seal(uint8_t *file, size_t rows_bytes, struct ek_kv_fingerprint whose,
                     const struct ek_kv_key *key)
{
    uint64_t sum[2];
    MUST(file && rows_bytes > 0);
    write_head(file, rows_bytes, whose, key);
    checksum(file, rows_bytes, sum);
    memcpy(file + SUM_AT, sum, sizeof sum);
}

bool ek_kv_file_good(const uint8_t *file, size_t bytes, size_t rows_bytes, struct ek_kv_fingerprint whose,
                     const struct ek_kv_key *key)
{
    uint8_t head[SUM_AT];
    uint64_t sum[2];
    if (bytes < EK_KV_FILE_HEAD || bytes - EK_KV_FILE_HEAD != rows_bytes) return false;
    write_head(head, rows_bytes, whose, key);
    if (memcmp(head, file, sizeof head) != 0) return false;
    checksum(file, rows_bytes, sum);
    return memcmp(file + SUM_AT, sum, sizeof sum) == 0;
}
