/* SPDX-License-Identifier: MIT */
/* Any bytes as the file of a KV page. The first byte chooses. Even: the rest is a file as it stands, and must
 * not pass for a page unless it is byte for byte what sealing its own rows gives. Odd: the rest are edits of
 * a good file (place, two bytes; what to flip, one byte) and a last cut; it must no longer pass once a bit of
 * it differs. */
#include "engine/kv_file.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROWS = 512, FILE_BYTES = EK_KV_FILE_HEAD + ROWS };

static const struct ek_kv_fingerprint whose = {0x0123456789abcdefu, 0xfedcba9876543210u};

static struct ek_kv_key a_key(void)
{
    struct ek_kv_key key = {.name = {11, 13}, .before = {17, 19}, .generated = 0xffff0000u};
    for (uint32_t i = 0; i < EK_KV_PAGE; i++) key.ids[i] = i * 3;
    return key;
}

static void seal(uint8_t file[FILE_BYTES])
{
    struct ek_kv_key key = a_key();
    for (int i = 0; i < ROWS; i++) file[EK_KV_FILE_HEAD + i] = (uint8_t)(i * 7);
    ek_kv_file_seal(file, ROWS, whose, &key);
}

static void as_it_stands(const uint8_t *data, size_t size)
{
    struct ek_kv_key key = a_key();
    uint8_t again[FILE_BYTES];
    if (!ek_kv_file_good(data, size, ROWS, whose, &key)) return;
    memcpy(again, data, FILE_BYTES);
    ek_kv_file_seal(again, ROWS, whose, &key);
    MUST(size == FILE_BYTES && memcmp(again, data, size) == 0);
}

static void edited(const uint8_t *data, size_t size)
{
    struct ek_kv_key key = a_key();
    uint8_t good[FILE_BYTES], file[FILE_BYTES];
    size_t length = FILE_BYTES;
    seal(good);
    MUST(ek_kv_file_good(good, FILE_BYTES, ROWS, whose, &key));
    memcpy(file, good, FILE_BYTES);
    for (; size >= 3; data += 3, size -= 3) file[(data[0] | (size_t)data[1] << 8) % FILE_BYTES] ^= data[2];
    if (size > 0) length = (size_t)data[0] * FILE_BYTES / 255;
    bool same = length == FILE_BYTES && memcmp(good, file, FILE_BYTES) == 0;
    MUST(ek_kv_file_good(file, length, ROWS, whose, &key) == same);
    key.ids[5]++; /* a good file of something else */
    MUST(!ek_kv_file_good(good, FILE_BYTES, ROWS, whose, &key));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    uint8_t *copy = malloc(size); /* of exactly its size, so that reading beyond is seen */
    MUST(copy);
    memcpy(copy, data + 1, size - 1);
    (data[0] % 2 ? edited : as_it_stands)(copy, size - 1);
    free(copy);
    return 0;
}
